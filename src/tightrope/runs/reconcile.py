"""What becomes of a run after each answer: which steps may start, which are skipped, and when it is over. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from tightrope.base.units import HOUR_S, span_text, time_text
from tightrope.runs.steps import (
    Again,
    Answer,
    Change,
    Done,
    OnUnknown,
    Run,
    RunState,
    Step,
    StepState,
    Stop,
    Unknown,
    When,
)

LEASE_S = 30
"""For how long a step, or a place, is one worker's without a word of it."""

MOST_FAULTS = 12
"""After so many turns in a row that came to no answer, a step is given up."""

MOST_DEATHS = 5
"""After so many turns in a row that ended with the death of their worker, a step is given up."""

UNKNOWN_TRIES = 3
"""How often a step with unknown outcome is done again at most where its plan says so but names no retries."""

_LONGEST_PAUSE_S = HOUR_S
_LONGEST_FAULT_PAUSE_S = 60
_PASSED_OVER = "what it needs did not come out as it must"


# --- a step --------------------------------------------------------------------------------------------------------


def claimed(step: Step, owner: str, now: int, *, lease_s: int = LEASE_S) -> Step:
    """The step in the hands of a worker; an attempt that begins gets its deadline, one that is past it is stopped."""
    died = step.owner != ""  # whoever had it did not come back with an answer
    begins = step.started_at is None
    timeout_s = step.plan.timeout_s
    deadline = (now + timeout_s if timeout_s is not None else None) if begins else step.deadline_at
    late = deadline is not None and now >= deadline
    return replace(
        step,
        state=StepState.RUNNING,
        started_at=now if begins else step.started_at,
        deadline_at=deadline,
        stop=Stop.TIMED_OUT if late and step.stop is None else step.stop,
        faults=step.faults + 1 if died else step.faults,
        fence=step.fence + 1,
        owner=owner,
        leased_until=now + lease_s,
    )


def answered(step: Step, answer: Answer, now: int) -> Step:
    """The step after a turn, in nobody's hands."""
    free = replace(step, owner="", leased_until=0, faults=0)
    match answer:
        case Again():
            at = answer.at
            if free.deadline_at is not None and free.stop is None:
                at = min(at, free.deadline_at)
            return replace(free, due_at=at, memory=dict(answer.memory), why=answer.why)
        case Done(ok=True):
            return _over(free, StepState.SUCCEEDED, answer, now)
        case Done():
            return _failed(free, answer, now)
        case Unknown():
            return _unknown(free, answer, now)


def faulted(step: Step, said: str, now: int, *, acting: bool, dead: bool = False) -> Step:
    """The step after a turn that came to no answer.

    Args:
        step: As it was claimed.
        said: What went wrong.
        acting: An intent of this attempt is announced and not settled.
        dead: The worker had died over it, again and again.
    """
    faults = step.faults if dead else step.faults + 1
    if dead or faults >= MOST_FAULTS:
        given_up = f"given up after {faults} turns without an answer: {said}"
        answer: Answer = Unknown(given_up) if acting else Done({}, ok=False, retry=False, why=given_up)
        return answered(step, answer, now)
    pause_s = min(2 ** min(faults, 10), _LONGEST_FAULT_PAUSE_S)
    at = now + pause_s
    if step.deadline_at is not None and step.stop is None:
        at = min(at, max(step.deadline_at, now))
    return replace(step, owner="", leased_until=0, faults=faults, due_at=at, why=f"{said}; looked at again")


def _over(step: Step, state: StepState, answer: Done | Unknown, now: int) -> Step:
    return replace(
        step, state=state, outcome=dict(answer.outcome), why=answer.why, finished_at=now, probing=False, due_at=now
    )


def _failed(step: Step, answer: Done, now: int) -> Step:
    if step.probing:
        return _once_more(step, "the probe says that it did not happen", now, 0)
    if step.stop is Stop.CANCELLED:
        return _over(step, StepState.CANCELLED, answer, now)
    timed_out = step.stop is Stop.TIMED_OUT
    if timed_out:
        limit = span_text(step.plan.timeout_s or 0)
        answer = replace(answer, why=f"timed out after {limit}{': ' if answer.why else ''}{answer.why}")
    tries = step.attempt - step.first_attempt
    if (answer.retry or timed_out) and tries < step.plan.retries:
        pause_s = min(step.plan.backoff_s * 2 ** min(tries, 20), _LONGEST_PAUSE_S)
        return _once_more(step, answer.why or "failed", now, pause_s)
    return _over(step, StepState.FAILED, answer, now)


def _unknown(step: Step, answer: Unknown, now: int) -> Step:
    policy = step.plan.on_unknown
    if step.stop is None and not step.probing:
        tries = step.attempt - step.first_attempt
        if policy is OnUnknown.RETRY and tries < max(step.plan.retries, UNKNOWN_TRIES):
            return _once_more(step, answer.why, now, 0)
        if policy is OnUnknown.PROBE:
            return replace(step, probing=True, due_at=now, memory={}, why=answer.why, outcome=dict(answer.outcome))
    return _over(step, StepState.UNKNOWN, answer, now)


def _once_more(step: Step, why: str, now: int, pause_s: int) -> Step:
    return replace(
        anew(step, now + pause_s),
        state=StepState.READY,
        first_attempt=step.first_attempt,
        why=f"attempt {step.attempt}: {why}; again at {time_text(now + pause_s)}",
    )


def anew(step: Step, due_at: int) -> Step:
    """The step before a further attempt, the first of a new series."""
    return replace(
        step,
        state=StepState.WAITING,
        attempt=step.attempt + 1,
        first_attempt=step.attempt + 1,
        memory={},
        outcome={},
        why="",
        due_at=due_at,
        deadline_at=None,
        started_at=None,
        finished_at=None,
        stop=None,
        probing=False,
        faults=0,
        owner="",
        leased_until=0,
        place="",
    )


# --- a run ---------------------------------------------------------------------------------------------------------


def advanced(run: Run, now: int) -> Run:
    """The run with every step in the state that follows from the others; one that is queued or over stays as it is."""
    if run.state is RunState.QUEUED and run.cancelled_by:
        steps = tuple(
            _cancelled(step, now) if step.plan.when is not When.ALWAYS else _skipped(step, now) for step in run.steps
        )
        return replace(run, state=RunState.CANCELLED, finished_at=now, steps=steps)
    if run.state is RunState.QUEUED or run.state.over:
        return run
    steps_by_name = {step.name: step for step in run.steps}
    ahead = dict(steps_by_name)
    moved = True
    while moved:
        moved = False
        for name, step in list(ahead.items()):
            after = _judged(step, steps_by_name, bool(run.cancelled_by), now)
            if after is not step:
                steps_by_name[name] = after
                moved = True
            if after.state is not StepState.WAITING:
                del ahead[name]
    run = replace(run, steps=tuple(steps_by_name.values()))
    if any(step.state is StepState.UNKNOWN for step in run.steps):
        return replace(run, state=RunState.UNKNOWN)
    if all(step.state.over for step in run.steps):
        return replace(run, state=_end(run), finished_at=now)
    return replace(run, state=RunState.RUNNING)


def _end(run: Run) -> RunState:
    if run.cancelled_by and any(step.state is StepState.CANCELLED for step in run.steps):
        return RunState.CANCELLED
    failed = any(step.state in {StepState.FAILED, StepState.CANCELLED} and not step.plan.optional for step in run.steps)
    return RunState.FAILED if failed else RunState.SUCCEEDED


def _judged(step: Step, steps: Mapping[str, Step], cancelled: bool, now: int) -> Step:
    """What a step should be, by the states of the others; the very same object where nothing is to change."""
    always = step.plan.when is When.ALWAYS
    match step.state:
        case StepState.RUNNING if cancelled and step.stop is None and not always:
            return replace(step, stop=Stop.CANCELLED, due_at=min(step.due_at, now))
        case StepState.READY if cancelled and not always:
            return _cancelled(step, now)
        case StepState.WAITING:
            if cancelled and not always:
                return _cancelled(step, now)
            needed = [steps[name] for name in step.needs]
            if not all(one.state.over for one in needed):
                return step
            return replace(step, state=StepState.READY, due_at=now) if _meets(step, steps) else _skipped(step, now)
    return step


def _meets(step: Step, steps: Mapping[str, Step]) -> bool:
    match step.plan.when:
        case When.ALWAYS:
            return True
        case When.SUCCESS:
            return all(_good(steps[name]) for name in step.needs)
        case When.FAILURE:
            return any(one.state is StepState.FAILED and not one.plan.optional for one in _before(step, steps))


def _good(step: Step) -> bool:
    return step.state is StepState.SUCCEEDED or (step.state is StepState.FAILED and step.plan.optional)


def _before(step: Step, steps: Mapping[str, Step]) -> Iterable[Step]:
    """All that a step needs, and all that these need."""
    found: dict[str, Step] = {}
    ahead = list(step.needs)
    while ahead:
        name = ahead.pop()
        if name not in found:
            found[name] = steps[name]
            ahead += steps[name].needs
    return found.values()


def _cancelled(step: Step, now: int) -> Step:
    return replace(step, state=StepState.CANCELLED, finished_at=now, why="the run was cancelled")


def _skipped(step: Step, now: int) -> Step:
    return replace(step, state=StepState.SKIPPED, finished_at=now, why=_PASSED_OVER)


def changes(before: Run | None, after: Run, now: int) -> list[Change]:
    """What differs in the states of a run and its steps, ends first, the run last; *before* is None for a new one."""
    found: list[Change] = []
    if before is not None:
        for old, new in zip(before.steps, after.steps, strict=True):
            if (old.state, old.attempt) != (new.state, new.attempt):
                found.append(Change(after, new, old.state, new.state, now))
    found.sort(key=lambda one: not StepState(one.after).over)
    was = "" if before is None else before.state
    if was != after.state:
        found.append(Change(after, None, was, after.state, now))
    return found
