"""What the run of a pipeline tells the world: its deployments, and CDEvents of runs, tasks and artifacts. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from tightrope.base.values import dataclass
from tightrope.delivery.cdevents import VERSIONS, event_document, event_type
from tightrope.delivery.changes import DeploymentReport, DeploymentState
from tightrope.delivery.pipelines.plan import CHECKOUT, DEPLOY, GATE, KIND, ROLLBACK, ROLLOUT
from tightrope.runs.steps import Change, Run, RunState, Step, StepState
from tightrope.specs.model import ChangeKind

SOURCE = "/tightrope/pipelines"
FROM = "pipeline"
"""Who tells of the deployments that pipelines make."""

_OUTCOMES = {
    "succeeded": "success",
    "failed": "failure",
    "cancelled": "cancel",
    "skipped": "cancel",
}


@dataclass(frozen=True, slots=True)
class Told:
    """An event for the journal: its name, type, what it is about, when it was, and the CDEvent document."""

    id: str
    type: str
    subject: str
    at: int
    document: Mapping[str, Any]


def title_of(run: Run) -> str:
    """The title of the commit: whoever started the run may not have known it, but the checkout does."""
    checkout = next((step for step in run.steps if step.name == CHECKOUT), None)
    return run.title or str(checkout.outcome.get("title", "") if checkout else "")


def action_of(step: Step) -> str:
    """What a step does, wherever its command runs: ``command`` of ``command.container``."""
    return step.kind.partition(".")[0]


def began(step: Step) -> bool:
    """Whether a step did anything to the world, in this attempt or in one before."""
    if step.outcome.get("skipped"):
        return False
    if step.attempt > step.first_attempt:
        return True
    if step.outcome.get("untouched") or step.outcome.get("already"):
        return False  # it looked, and left all as it was
    never = step.state is StepState.FAILED and not step.outcome and not step.why.startswith("settled by ")
    return step.started_at is not None and not never


def before(run: Run, name: str) -> list[Step]:
    """All steps that a step needs, and that these need, in the order of the run."""
    steps = {one.name: one for one in run.steps}
    found: set[str] = set()
    ahead = list(steps[name].needs)
    while ahead:
        one = ahead.pop()
        if one not in found:
            found.add(one)
            ahead += steps[one].needs
    return [one for one in run.steps if one.name in found]


def done_again(run: Run, wanted: Collection[str]) -> set[str]:
    """The steps that a retry does again, for some that are wanted; none: those that did not succeed.

    A deployment that was taken back is among them, and so is the gate before each that is made again.
    """
    found = set(wanted) or {step.name for step in run.steps if step.state is not StepState.SUCCEEDED}
    for step in run.steps:
        took_back = action_of(step) == ROLLBACK and step.state is StepState.SUCCEEDED
        if took_back and not step.outcome.get("skipped") and not wanted:
            found |= set(step.document.get("of", ()))
    growing = True
    while growing:
        more = {step.name for step in run.steps if found & set(step.needs)}
        for step in run.steps:
            if step.name in found | more and action_of(step) in {DEPLOY, ROLLOUT}:
                more |= {one.name for one in before(run, step.name) if one.kind == GATE}
        growing = not more <= found
        found |= more
    return found


def decision_for(run: Run, step: Step) -> Mapping[str, Any]:
    """What the gate said before a deployment, about the same service and environment; empty: it was not asked."""
    about = (step.document.get("service"), step.document.get("environment"))
    for one in reversed(before(run, step.name)):
        same = (one.document.get("service"), one.document.get("environment")) == about
        if one.kind == GATE and same and one.outcome.get("decision"):
            return one.outcome
    return {}


def report_of(run: Run, step: Step, *, previous: str = "", url: str = "") -> DeploymentReport | None:
    """What is to be told of a step that deploys or rolls back; None where it did nothing of the kind.

    Args:
        run: As it stands.
        step: Of the run.
        previous: What a rollback brings back: version or revision.
        url: Where people find the run.
    """
    does = action_of(step)
    if run.kind != KIND or does not in {DEPLOY, ROLLBACK} or not step.document.get("service"):
        return None
    if not began(step) or step.state in {StepState.SKIPPED, StepState.WAITING, StepState.READY}:
        return None
    if does == ROLLBACK and not step.document.get("of"):
        return None
    state = DeploymentState.STARTED
    if step.state is StepState.SUCCEEDED:
        state = DeploymentState.SUCCEEDED
    elif step.state in {StepState.FAILED, StepState.CANCELLED}:
        state = DeploymentState.FAILED
    started = step.started_at if step.started_at is not None else run.created_at
    ended = step.finished_at if state is not DeploymentState.STARTED else None
    told = run.document
    revision = str(told.get("revision", ""))
    version = str(told.get("version", "")) or f"run-{run.number}"
    gate = decision_for(run, step) if does == DEPLOY else {}
    kind = ChangeKind.ROLLBACK if does == ROLLBACK else ChangeKind(gate["kind"]) if gate.get("kind") else None
    back = previous or f"before {version[:12]}"
    sha = bool(re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", back))
    return DeploymentReport(
        source=FROM,
        external=f"{run.id}/{step.name}/{step.first_attempt}",
        service=str(step.document["service"]),
        environment=str(step.document["environment"]),
        at=max(started, ended if ended is not None else started),
        state=state,
        version=("" if sha else back) if does == ROLLBACK else version,
        revision=(back if sha else "") if does == ROLLBACK else revision,
        repository=str(told.get("repository", "")),
        kind=kind,
        kind_from="rollback of a pipeline" if does == ROLLBACK else str(gate.get("kindFrom", "")),
        rollback=does == ROLLBACK,
        change=str(gate.get("change", "")),
        title=title_of(run),
        decision=str(gate.get("decision", "")),
        by=run.by,
        url=url,
        started_at=started,
    )


def events_of(changes: Sequence[Change], url: str = "") -> list[Told]:
    """CDEvents of runs of pipelines, of their steps, and of the artifacts that these leave behind."""
    found: list[Told] = []
    for change in changes:
        run = change.run
        if run.kind != KIND:
            continue
        pipeline = str(run.document.get("pipeline", ""))
        common = {"pipeline": pipeline, "number": run.number, "revision": run.document.get("revision", "")}
        if change.step is None:
            kind = {RunState.QUEUED: "queued", RunState.RUNNING: "started"}.get(
                RunState(change.after), "finished" if RunState(change.after).over else ""
            )
            if kind == "started" and change.before not in {"", RunState.QUEUED}:
                kind = ""  # it goes on, and did not begin
            if kind:
                about: dict[str, Any] = {"pipelineName": pipeline}
                about |= {"url": url} if url else {}
                if kind == "finished":
                    about |= {"outcome": _OUTCOMES[change.after], "errors": run.reason}
                more = common | {"service": run.service, "ticket": run.ticket}
                unique = f"{run.ticket}.{sum(step.attempt for step in run.steps)}"  # a retried run ends more than once
                found.append(_event(f"pipelinerun.{kind}", change, run.id, unique, about, more))
            continue
        step = change.step
        kind = "started" if change.after == StepState.RUNNING else "finished"
        if change.after not in {StepState.RUNNING, StepState.SUCCEEDED, StepState.FAILED, StepState.CANCELLED}:
            continue
        if kind == "started" and change.before == StepState.UNKNOWN:
            continue
        subject = f"{run.id}/{step.name}"
        content: dict[str, Any] = {"taskName": step.name, "pipelineRun": {"id": run.id}}
        if kind == "finished":
            content |= {"outcome": _OUTCOMES[change.after], "errors": step.why}
        more = common | {"does": step.kind, "attempt": step.attempt}
        found.append(_event(f"taskrun.{kind}", change, subject, f"{step.attempt}.{step.fence}", content, more))
        if change.after == StepState.SUCCEEDED:
            artifacts = step.outcome.get("artifacts", ())
            found += [_artifact(change, run, step, artifact, common) for artifact in artifacts]
    return found


def _artifact(change: Change, run: Run, step: Step, artifact: Mapping[str, Any], common: Mapping[str, Any]) -> Told:
    from urllib.parse import quote

    name = quote(str(artifact["path"]).rpartition("/")[2], safe="")
    purl = f"pkg:generic/{name}@{run.number}?checksum=sha256:{artifact['digest']}"
    more = dict(common) | dict(artifact) | {"run": run.id, "step": step.name}
    unique = f"{step.attempt}.{artifact['path']}"
    return _event("artifact.published", change, purl, unique, {}, more, prefix=f"{run.id}/{step.name}")


def _event(
    kind: str,
    change: Change,
    subject: str,
    unique: str,
    content: Mapping[str, Any],
    more: Mapping[str, Any],
    prefix: str = "",
) -> Told:
    assert kind in VERSIONS
    name = f"{prefix or subject}.{kind}.{unique}"
    document = event_document(
        kind, id=name, source=SOURCE, at=change.at, subject=subject, content=content, custom=more, chain=change.run.id
    )
    return Told(name, event_type(kind), change.run.id, change.at, document)
