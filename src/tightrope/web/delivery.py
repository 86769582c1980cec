"""Delivery: what is on its way, what came of it, what a run writes, and releases that went past the gate."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from starlette.responses import Response
from starlette.routing import BaseRoute

from tightrope.access.roles import Permission
from tightrope.base.errors import NotFoundError, UsageError
from tightrope.base.units import span_text
from tightrope.delivery.changes import Deployment, DeploymentState
from tightrope.delivery.pipelines.plan import KIND as PIPELINE
from tightrope.delivery.pipelines.telling import title_of
from tightrope.delivery.rollout import Said
from tightrope.delivery.rollouts.usecases import KIND as ROLLOUT
from tightrope.policy.record import Kept
from tightrope.runs.commands import LogPart
from tightrope.runs.steps import Run, RunState, Step, StepState
from tightrope.web.blocks import verdict_word
from tightrope.web.rollouts import Shown, shown
from tightrope.web.visit import Desk, Visit

RUNS_A_PAGE = 40
LOG_MOST = 200_000
"""Bytes of a log that the page shows, the last ones."""

_RUNS = {
    RunState.QUEUED: ("Queued", "none"),
    RunState.RUNNING: ("Running", "wait"),
    RunState.UNKNOWN: ("Unknown", "warn"),
    RunState.SUCCEEDED: ("Done", "good"),
    RunState.FAILED: ("Failed", "bad"),
    RunState.CANCELLED: ("Cancelled", "none"),
}
_STEPS = {
    StepState.WAITING: ("Waiting", "none", ""),
    StepState.READY: ("Next", "none", ""),
    StepState.RUNNING: ("Running", "wait", "run"),
    StepState.SUCCEEDED: ("Done", "good", "ok"),
    StepState.FAILED: ("Failed", "bad", "bad"),
    StepState.CANCELLED: ("Cancelled", "none", ""),
    StepState.SKIPPED: ("Skipped", "none", ""),
    StepState.UNKNOWN: ("Unknown", "warn", "bad"),
}
_DEPLOYMENTS = {
    DeploymentState.STARTED: ("On its way", "wait"),
    DeploymentState.SUCCEEDED: ("Live", "good"),
    DeploymentState.FAILED: ("Failed", "bad"),
}
_SILENT = frozenset({"gate", "watch", ROLLOUT})
"""Kinds of steps that write no log."""

_ENDED = {RunState.SUCCEEDED: "succeeded", RunState.FAILED: "failed", RunState.CANCELLED: "was cancelled"}
_OPEN = (RunState.QUEUED, RunState.RUNNING, RunState.UNKNOWN)


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run as a row: what it brings, its word and sign, how long it took, and the step that tells most of it."""

    run: Run
    title: str
    word: str
    tone: str
    took: str
    told: str


@dataclass(frozen=True, slots=True)
class StepRow:
    """A step as a row: its word, sign and class, how long it took, what is said of it, and where its log is."""

    step: Step
    word: str
    tone: str
    kind: str
    took: str
    says: str
    log: str


def routes(desk: Desk) -> list[BaseRoute]:
    """The pages of runs, and the forms on them."""
    return [
        desk.route("/delivery", delivery),
        desk.route("/delivery/runs/{number}", run, do=act),
        desk.route("/delivery/runs/{number}/steps/{step:path}", log),
        desk.route("/findings/{name}", delivery, do=close),
    ]


# --- all of it -----------------------------------------------------------------------------------------------------


def delivery(visit: Visit) -> Response:
    """Say what is on its way, and what came of the last ones."""
    service, before = visit.asked("service"), visit.number("before")
    found = [one for one in _runs(visit, service, before) if _seen(visit, one)]
    rows = [_run_row(one, visit.now, visit.server.runs.ahead_of(one)) for one in found[:RUNS_A_PAGE]]
    troubles = visit.server.pipelines.trouble.items()
    deployed = [
        one for one in visit.server.deliveries.deployments(service=service, limit=60) if _sees(visit, one.service)
    ]
    findings = [
        one for one in visit.server.deliveries.findings.listed(open_only=True, limit=60) if _sees(visit, one.service)
    ]
    return visit.page(
        "delivery.html",
        title="Delivery",
        current="delivery",
        answer=sentence(found, deployed, len(findings), visit.now),
        rows=rows,
        older=rows[-1].run.number if len(found) > RUNS_A_PAGE else None,
        first=before is None,
        service=service,
        services=[one.line.service for one in visit.board.posts][:2_000],
        deployed=_deployment_rows(deployed)[:20],
        findings=findings,
        troubles=[(name, why) for name, why in sorted(troubles) if _sees_pipeline(visit, name)],
    )


def sentence(runs: Sequence[Run], deployed: Sequence[Deployment], findings: int, now: int) -> str:
    """Say in a sentence or two what is on its way, and whether somebody has to do something."""
    unknown = [one for one in runs if one.state is RunState.UNKNOWN]
    under_way = [one for one in runs if one.state in {RunState.QUEUED, RunState.RUNNING}]
    told = []
    if unknown:
        first = unknown[0]
        told.append(f"Somebody has to say what became of run {first.number}")
    if findings:
        told.append(f"{findings:,} {'release' if findings == 1 else 'releases'} went past the gate")
    if under_way:
        what = f"Run {under_way[0].number}" if len(under_way) == 1 else f"{len(under_way):,} runs"
        told.append(f"{what} {'is' if len(under_way) == 1 else 'are'} under way")
    last = next((one for one in deployed if one.state is DeploymentState.SUCCEEDED), None)
    if not told and last is not None:
        told.append(
            f"Nothing is under way; {last.called} of {last.service} reached {last.environment} "
            f"{span_text(max(0, now - last.at))} ago"
        )
    if not told and runs:
        ended = runs[0]
        ago = span_text(max(0, now - (ended.finished_at or now)))
        told.append(f"Nothing is under way; run {ended.number} {_ENDED.get(ended.state, 'ended')} {ago} ago")
    return ". ".join(told or ["Nothing was delivered yet"]) + "."


def _runs(visit: Visit, service: str, before: int | None) -> list[Run]:
    """One page of runs and one more; those that are not over come with the first page, however old they are."""
    runs = visit.server.runs
    found = runs.runs(service=service, before=before, limit=RUNS_A_PAGE + 1)
    if before is None:
        known = {one.id for one in found}
        found += [one for one in runs.runs(service=service, states=_OPEN, limit=RUNS_A_PAGE) if one.id not in known]
        found.sort(key=lambda one: (one.state.over, -one.number))
    return found


def _seen(visit: Visit, one: Run) -> bool:
    return _sees(visit, one.service)


def _sees(visit: Visit, service: str) -> bool:
    return visit.actor.may(Permission.READ, service)


def _sees_pipeline(visit: Visit, name: str) -> bool:
    try:
        return _sees(visit, visit.server.pipelines.definition(name).service)
    except NotFoundError:
        return False  # it was taken away since


def _run_row(one: Run, now: int, ahead: Run | None = None) -> RunRow:
    word, tone = _RUNS[one.state]
    told = f"behind run {ahead.number}" if ahead else _told(one)
    return RunRow(one, title_of(one) or one.kind, word, tone, _took(one.started_at, one.finished_at, now), told)


def _took(started: int | None, finished: int | None, now: int) -> str:
    if started is None:
        return ""
    return span_text(max(0, (now if finished is None else finished) - started))


def _told(one: Run) -> str:
    """The step that tells most of a run, and why it stands as it does."""
    step = _telling(one)
    if step is None:
        return one.reason
    return f"{step.name}: {step.why.rstrip('.')}" if step.why not in {"", "running"} else step.name


def _telling(one: Run) -> Step | None:
    telling = {
        RunState.RUNNING: (StepState.RUNNING, StepState.READY),
        RunState.UNKNOWN: (StepState.UNKNOWN,),
        RunState.FAILED: (StepState.FAILED,),
    }.get(one.state, ())
    for state in telling:
        for step in one.steps:
            if step.state is state and not (state is StepState.FAILED and step.plan.optional):
                return step
    return None


def _deployment_rows(deployed: Sequence[Deployment]) -> list[tuple[Deployment, str, str]]:
    """Deployments with their word and sign: of each service and environment the newest that succeeded is live."""
    live: set[tuple[str, str]] = set()
    rows = []
    for one in deployed:
        place = one.service, one.environment
        word, tone = _DEPLOYMENTS[one.state]
        if one.state is DeploymentState.SUCCEEDED:
            if place in live:
                word, tone = "Replaced", "none"
            live.add(place)
        rows.append((one, word, tone))
    return rows


def close(visit: Visit) -> Response:
    """Close a finding, with the reason."""
    name = visit.path("name")
    visit.must(Permission.APPROVE, visit.server.deliveries.findings.named(name).service)
    visit.server.deliveries.findings.close(name, by=visit.actor.name, reason=visit.form.get("reason", ""))
    return visit.go("/delivery", done="closed")


# --- one run -------------------------------------------------------------------------------------------------------


def run(visit: Visit) -> Response:
    """Say how a run goes, step by step."""
    one = _run(visit)
    steps = [_step_row(one, step, visit.now) for step in one.steps]
    word, tone = _RUNS[one.state]
    rollout = _rollout(visit, one)
    if rollout is not None and (one.kind == ROLLOUT or not one.state.over):
        word, tone = rollout.word, rollout.tone
    said = run_sentence(one, visit.now, visit.server.runs.ahead_of(one)) if rollout is None else rollout.sentence
    decided = _decision(visit, one, rollout)
    recent = [
        other for other in visit.server.runs.runs(service=one.service, kind=one.kind, limit=8) if _seen(visit, other)
    ]
    return visit.page(
        "run.html",
        title=f"Run {one.number}",
        current="delivery",
        one=one,
        called=title_of(one) or one.kind,
        word=word,
        tone=tone,
        answer=said,
        lead=rollout.lead if rollout is not None else "",
        steps=steps,
        stages=_stages(steps),
        took=_took(one.started_at, one.finished_at, visit.now),
        rollout=rollout,
        decided=decided,
        decided_word=verdict_word(decided.record.decision) if decided is not None else None,
        artifacts=[file for step in one.steps for file in step.outcome.get("artifacts", ())],
        unknown=[row for row in steps if row.step.state is StepState.UNKNOWN],
        may_run=visit.actor.may(Permission.RUN, one.service),
        recent=[_run_row(other, visit.now) for other in recent],
    )


def act(visit: Visit) -> Response:
    """Cancel, retry or settle, as a form says."""
    one = _run(visit)
    visit.must(Permission.RUN, one.service)
    form, runs, by = visit.form, visit.server.runs, visit.actor.name
    match form.get("do", ""):
        case Said.PROMOTE | Said.PROMOTE_ALL | Said.ABORT | Said.PAUSE | Said.RESUME as said:
            visit.server.rollouts.say(one.id, Said(said), by=by, reason=form.get("reason", ""))
        case "cancel":
            runs.cancel(one.id, by=by, reason=form.get("reason", ""))
        case "retry":
            (visit.server.pipelines if one.kind == PIPELINE else runs).retry(one.id, by=by)
        case "settle":
            runs.settle(one.id, form.get("step", ""), form.get("as", ""), by=by, reason=form.get("reason", ""))
        case other:
            raise UsageError(
                f"{other[:40]!r} is nothing that can be done to a run",
                remedy="cancel, retry, settle, or what a rollout is told",
            )
    return visit.go(f"/delivery/runs/{one.number}", done="told")


def _run(visit: Visit) -> Run:
    name = visit.path("number")
    if not (name.isascii() and name.isdecimal()):
        raise NotFoundError(f"there is no run {name[:40]!r}", remedy="/delivery lists them")
    one = visit.server.runs.show(name)
    if not _seen(visit, one):
        raise NotFoundError(f"there is no run {name!r}", remedy="/delivery lists them")
    return one


def run_sentence(one: Run, now: int, ahead: Run | None = None) -> str:
    """Say in one sentence how a run goes; *ahead*: the one that it waits behind."""
    took = _took(one.started_at, one.finished_at, now)
    told = _told(one)
    match one.state:
        case RunState.QUEUED:
            before = f"run {ahead.number}" if ahead else "another run"
            held = ahead is not None and ahead.state is RunState.UNKNOWN
            how = "waits for somebody to say what became of it" if held else "is under way"
            return f"Queued: {before} of {one.group.partition('/')[2] or one.group} {how}." if one.group else "Queued."
        case RunState.RUNNING:
            done = sum(step.state.over for step in one.steps)
            how = f"At {told}" if told else "Running"
            if _verdict(one) == "wait":
                how = "The gate says wait"
            return f"{how}; {done} of {len(one.steps)} steps are over."
        case RunState.UNKNOWN:
            return f"Nobody knows what became of {told}. Somebody has to say."
        case RunState.FAILED:
            if verdict := _verdict(one):
                return f"The gate said {verdict} after {took}."
            return f"Failed at {told} after {took}." if told else f"Failed after {took}."
        case RunState.CANCELLED:
            reason = f": {one.reason}" if one.reason else ""
            return f"Cancelled by {one.cancelled_by or 'somebody'}{reason}."
        case RunState.SUCCEEDED:
            return f"Done in {took}."


def _verdict(one: Run) -> str:
    """What the gate said where it is the gate that holds a run, or ended it; why is told beside it."""
    step = _telling(one)
    return "" if step is None else str(step.memory.get("verdict") or step.outcome.get("verdict") or "")


def _step_row(one: Run, step: Step, now: int) -> StepRow:
    word, tone, kind = _STEPS[step.state]
    log = "" if step.kind in _SILENT else f"/delivery/runs/{one.number}/steps/{quote(step.name, safe='')}"
    if step.outcome.get("skipped"):
        word, tone, kind = _STEPS[StepState.SKIPPED]
    if step.state is StepState.RUNNING and step.memory.get("verdict") == "wait":
        word = "Wait"
    says = str(step.outcome.get("skipped") or step.why or step.outcome.get("says", ""))
    return StepRow(step, word, tone, kind, _took(step.started_at, step.finished_at, now), says, log)


def _stages(steps: Sequence[StepRow]) -> list[tuple[str, StepRow, int]]:
    """The stages of a run in their order: each with the row that tells most of it, and how many steps it has."""
    stages: dict[str, list[StepRow]] = {}
    for row in steps:
        stages.setdefault(str(row.step.document.get("stage") or row.step.name), []).append(row)
    order = (StepState.UNKNOWN, StepState.FAILED, StepState.RUNNING, StepState.READY, StepState.CANCELLED)

    def weight(row: StepRow) -> int:
        return order.index(row.step.state) if row.step.state in order else len(order)

    return [(name, min(rows, key=weight), len(rows)) for name, rows in stages.items()]


def _rollout(visit: Visit, one: Run) -> Shown | None:
    """The rollout that a run carries, if any, once it has taken a turn."""
    if not any(step.kind == ROLLOUT for step in one.steps):
        return None
    view = visit.server.rollouts.view(one.id)
    if view.state is None:
        return None
    return shown(view.state, visit.server.rollouts.turns(one.id), visit.now, view.trouble)


def _decision(visit: Visit, one: Run, rollout: Shown | None) -> Kept | None:
    """The gate's decision that a run went on."""
    if rollout is not None and rollout.decision:
        return visit.server.decision(rollout.decision)
    for step in one.steps:
        name = step.outcome.get("decision") or step.memory.get("decision")
        if isinstance(name, str) and name:
            return visit.server.decision(name)
    return None


# --- what a step writes --------------------------------------------------------------------------------------------


def log(visit: Visit) -> Response:
    """Show what a step has written, as it writes it."""
    one, name = _run(visit), visit.path("step")
    step = next((each for each in one.steps if each.name == name), None)
    if step is None:
        raise NotFoundError(f"run {one.number} has no step {name[:200]!r}")
    attempt = visit.number("attempt")
    text, skipped, ended = _tail(visit, one, step, attempt)
    row = _step_row(one, step, visit.now)
    return visit.page(
        "log.html",
        title=f"{step.name}, run {one.number}",
        current="delivery",
        one=one,
        row=row,
        text=text,
        skipped=skipped,
        ended=ended,
        attempt=attempt or step.attempt,
        attempts=range(1, step.attempt + 1),
        answer=f"{row.word}{f' after {row.took}' if row.took else ''}{f': {row.says}' if row.says else ''}.",
    )


def _tail(visit: Visit, one: Run, step: Step, attempt: int | None) -> tuple[str, int, bool]:
    """The end of a log as text, how many bytes before it are left out, and whether it is all there will be."""
    kept, offset, ended = b"", 0, True
    for part in _parts(visit, one, step, attempt):
        kept, offset, ended = (kept + part.data)[-LOG_MOST:], part.next_offset, part.ended
    return kept.decode("utf-8", "replace"), max(0, offset - len(kept)), ended


def _parts(visit: Visit, one: Run, step: Step, attempt: int | None) -> Iterator[LogPart]:
    offset = 0
    while True:
        part = visit.server.runs.log(one.id, step.name, attempt=attempt, offset=offset)
        yield part
        if not part.data or part.ended:
            return
        offset = part.next_offset
