"""Runs of pipelines as documents, the same for command line, API and pages; and what a stage comes to. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tightrope.base.units import time_text
from tightrope.delivery.pipelines.plan import CHECKOUT, GATE, ROLLBACK
from tightrope.delivery.pipelines.telling import action_of, title_of
from tightrope.runs.steps import Run, Step
from tightrope.specs.pipeline import Pipeline

EXIT_CODES = {"succeeded": 0, "cancelled": 6, "unknown": 4, "failed": 6}
"""What the command line ends with, unless the gate was the reason: 3 for stop, 4 for wait."""

_NOT_TAKEN = frozenset({"waiting", "ready", "skipped", "cancelled"})
_ORDER = ("unknown", "failed", "running", "cancelled", "ready", "waiting", "succeeded", "skipped")


def run_document(run: Run, ahead: Run | None = None) -> dict[str, Any]:
    """A run with its stages and their steps, and the run *ahead* of it, if it waits behind one."""
    told = run.document
    by_stage: dict[str, list[Step]] = {CHECKOUT: []}
    for one in told.get("stages", ()):
        by_stage[one["name"]] = []
    for step in run.steps:
        by_stage.setdefault(str(step.document.get("stage", step.name)), []).append(step)
    does = {one["name"]: one["does"] for one in told.get("stages", ())} | {CHECKOUT: CHECKOUT}
    needs = {one["name"]: one["needs"] for one in told.get("stages", ())}
    stages = []
    for name, steps in by_stage.items():
        listed = [step_document(step) for step in steps]
        # a way back that was not taken is no part of what a deployment came to
        counted = [step for step in steps if action_of(step) != ROLLBACK or str(step.state) not in _NOT_TAKEN] or steps
        started = [step.started_at for step in counted if step.started_at is not None]
        ended = [step.finished_at for step in counted if step.finished_at is not None]
        state = stage_state([_state(step) for step in counted], [step.plan.optional for step in counted])
        over = state not in {"running", "ready", "waiting"}
        stages.append(
            {
                "name": name,
                "does": does.get(name, "steps"),
                "needs": list(needs.get(name, ())),
                "state": state,
                "startedAt": _time(min(started, default=None)),
                "finishedAt": _time(max(ended, default=None)) if over and started else None,
                "steps": listed,
            }
        )
    return {
        "number": run.number,
        "id": run.id,
        "pipeline": told.get("pipeline", ""),
        "state": str(run.state),
        "summary": summary(run, ahead),
        "service": run.service,
        "title": title_of(run),
        "by": run.by,
        "trigger": told.get("trigger", ""),
        "repository": told.get("repository", ""),
        "revision": told.get("revision", ""),
        "branch": told.get("branch", ""),
        "tag": told.get("tag", ""),
        "version": told.get("version", ""),
        "inputs": dict(told.get("inputs", {})),
        "group": run.group.removeprefix("pipeline/"),
        "createdAt": _time(run.created_at),
        "startedAt": _time(run.started_at),
        "finishedAt": _time(run.finished_at),
        "cancelledBy": run.cancelled_by,
        "reason": run.reason,
        "stages": stages,
    }


def step_document(step: Step) -> dict[str, Any]:
    """A step as it stands. One that was passed over counts as skipped, however it came to know."""
    return {
        "name": step.name,
        "does": action_of(step),
        "state": _state(step),
        "attempt": step.attempt,
        "needs": list(step.needs),
        "why": str(step.outcome.get("skipped") or step.why),
        "waits": step.memory.get("verdict") == "wait",
        "optional": step.plan.optional,
        "startedAt": _time(step.started_at),
        "finishedAt": _time(step.finished_at),
        "outcome": dict(step.outcome),
    }


def _state(step: Step) -> str:
    return "skipped" if step.outcome.get("skipped") else str(step.state)


def stage_state(states: Sequence[str], optional: Sequence[bool]) -> str:
    """What a stage comes to, by its steps: the worst that happened, unless it goes on."""
    if not states:
        return "waiting"
    found = {state for state, may in zip(states, optional, strict=True) if not (may and state == "failed")}
    found |= {"succeeded"} if not found else set()
    if found == {"skipped"}:
        return "skipped"
    if "unknown" not in found and "running" not in found and found & {"ready", "waiting"} and "succeeded" in found:
        return "failed" if "failed" in found else "running"
    return next(state for state in _ORDER if state in found)


def summary(run: Run, ahead: Run | None = None) -> str:
    """One sentence on where a run is."""
    name = f"{run.document.get('pipeline', 'pipeline')} #{run.number}"
    match str(run.state):
        case "queued":
            before = f"#{ahead.number}" if ahead else "another run"
            return f"{name} waits behind {before} of {run.group.removeprefix('pipeline/')}"
        case "unknown":
            lost = next((step for step in run.steps if step.state == "unknown"), None)
            return f"{name} waits for somebody to say what became of {lost.name if lost else 'a step'}"
        case "failed":
            broken = next((step for step in run.steps if step.state == "failed" and not step.plan.optional), None)
            if broken is not None and broken.kind == GATE:
                return f"{name} was stopped by the gate: {broken.why}"
            return f"{name} failed" + (f" in {broken.name}: {broken.why}" if broken else "")
        case "cancelled":
            return f"{name} was cancelled by {run.cancelled_by}" + (f": {run.reason}" if run.reason else "")
        case "running":
            under_way = [step for step in run.steps if step.state == "running"]
            return f"{name} is at {', '.join(step.name for step in under_way[:3]) or 'its next step'}"
    return f"{name} {run.state}"


def exit_code(document: Mapping[str, Any]) -> int | None:
    """What a command ends with that waited for a run; None: it goes on."""
    state = document["state"]
    if state == "failed":
        for stage in document["stages"]:
            for step in stage["steps"]:
                if step["does"] == GATE and step["state"] == "failed" and step["outcome"].get("verdict"):
                    return 3 if step["outcome"]["verdict"] == "stop" else 4
    return EXIT_CODES.get(state)


def pipeline_document(pipeline: Pipeline, newest: Run | None, trouble: str = "") -> dict[str, Any]:
    """A pipeline with its newest run in short."""
    triggers = pipeline.triggers
    return {
        "name": pipeline.name,
        "service": pipeline.service,
        "description": pipeline.description,
        "repository": pipeline.repository,
        "file": pipeline.file,
        "version": pipeline.version,
        "concurrency": pipeline.concurrency or pipeline.name,
        "stages": [{"name": one.name, "does": str(one.kind)} for one in pipeline.stages],
        "triggers": {
            "branches": list(triggers.push.branches or ("**",)) if triggers.push else [],
            "tags": list(triggers.tags),
            "schedules": [{"cron": one.cron, "timeZone": one.zone, "branch": one.branch} for one in triggers.schedules],
        },
        "inputs": [
            {
                "name": one.name,
                "description": one.description,
                "default": one.default,
                "required": one.required,
                "oneOf": list(one.choices),
            }
            for one in triggers.inputs
        ],
        "trouble": trouble,
        "lastRun": None
        if newest is None
        else {
            "number": newest.number,
            "state": str(newest.state),
            "createdAt": _time(newest.created_at),
            "summary": summary(newest),
        },
    }


def _time(instant: int | None) -> str | None:
    return None if instant is None else time_text(instant)
