"""One turn of the loop as a pure function: slices in, alerts, policy moves and a new memory out.

A replay is this function over a long record, a live step is this function over the newest slice: what comes out does
not depend on how the record is cut into calls.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction

import numpy as np

from tightrope.alerting import alerts
from tightrope.alerting.alerts import AlertEvent, AlertMemory
from tightrope.engine.plan import Check, Every, Firing, Incident, Never, Plan, Some
from tightrope.engine.record import Record, Workspace, record_of
from tightrope.engine.scan import Ask, Peak, Scanned, Scanner, scan, window_bounds
from tightrope.policy import states
from tightrope.policy.states import Holding, Measured, PolicyMemory
from tightrope.sli.coverage import Stretch
from tightrope.sli.slices import Slices

Scan = Scanner


@dataclass(frozen=True, slots=True)
class Memory:
    """All that one objective remembers between calls; small, and worth storing.

    Attributes:
        history_start: When measuring began, UTC epoch seconds; None before the first covered slice.
        alerts: One memory for each of the plan's conditions.
        policy: The policy machine's memory.
        stale: Whether the last evaluation was stale.
    """

    history_start: int | None = None
    alerts: tuple[AlertMemory, ...] = ()
    policy: PolicyMemory = field(default_factory=PolicyMemory)
    stale: bool = False


@dataclass(frozen=True, slots=True)
class Transition:
    """The policy state changed at an evaluation, and why."""

    at: int
    before: str
    after: str
    reason: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What happened over the slices of one call.

    Attributes:
        alerts: Firings and resolutions, oldest first.
        transitions: Moves of the policy, oldest first.
        burns: Peak burn rate for each of the plan's lookbacks.
        consumed: Peak consumed share of the budget, on the plan's basis; the worst remaining is 1 less it.
        evaluated: First and last evaluation (UTC epoch seconds); None where there was none.
        stale_s: Seconds that were stale.
    """

    alerts: tuple[AlertEvent, ...]
    transitions: tuple[Transition, ...]
    burns: tuple[Peak, ...]
    consumed: Peak
    evaluated: tuple[int, int] | None
    stale_s: int


def advance(
    plan: Plan,
    memory: Memory,
    units: Slices,
    *,
    since: int | None = None,
    incidents: Sequence[Incident] = (),
    out_of_scope: Sequence[Stretch] = (),
    ask: Ask | None = None,
    scanner: Scan = scan,
    workspace: Workspace | None = None,
) -> tuple[Memory, Outcome]:
    """Evaluate the slices that end after *since*, and unfold alerts and policy over them.

    Args:
        plan: The compiled objective.
        memory: What earlier calls left; ``Memory()`` at first.
        units: Unit slices, gaps filled: the new ones, and before them at least the plan's longest lookback.
        since: End of the last slice that was evaluated already; None: evaluate all.
        incidents: Known incidents of the service.
        out_of_scope: Stretches whose bad units do not count for the policy.
        ask: Answers CEL expressions.
        scanner: The scan to use: NumPy's, or the compiled one with the same answers.
        workspace: Memory that this thread uses again for record after record.

    Returns:
        The new memory, and what happened. Any way of cutting a record into calls gives the same sequence.
    """
    record = record_of(
        units,
        plan.longest_s,
        history_start=memory.history_start,
        out_of_scope=out_of_scope,
        summing=scanner.summing,
        workspace=workspace,
    )
    if memory.history_start is None and record.first < len(units):
        memory = replace(memory, history_start=units.start + record.first * units.step_s)
    first = 0 if since is None else max(0, (since - units.start) // units.step_s)
    scanned = scanner(plan, record, first, len(units), incidents=incidents, ask=ask)
    return _unfold(plan, memory, record, scanned, incidents)


def _unfold(
    plan: Plan, memory: Memory, record: Record, scanned: Scanned, incidents: Sequence[Incident]
) -> tuple[Memory, Outcome]:
    """Walk over the stretches in which no column changes."""
    step, origin = plan.step_s, record.units.start
    alert_memories = list(memory.alerts or (AlertMemory(),) * len(plan.conditions))
    policy, stale_s, stale = memory.policy, 0, memory.stale
    events: list[AlertEvent] = []
    transitions: list[Transition] = []
    column_of = {check: index for index, check in enumerate(plan.columns)}
    stale_bit = 1 << len(plan.columns)
    ends = [*scanned.indices[1:].tolist(), scanned.last]
    for index, code, until in zip(scanned.indices.tolist(), scanned.codes.tolist(), ends, strict=False):
        begin, end = origin + (index + 1) * step, origin + until * step
        stale = bool(code & stale_bit)
        if stale:
            stale_s += (until - index) * step
            alert_memories = [alerts.pause(one) for one in alert_memories]
            policy = states.pause(policy)
            continue
        changes = {begin}
        for number, condition in enumerate(plan.conditions):
            alert_memories[number], at, fired = alerts.unfold(
                alert_memories[number],
                bool(code >> plan.condition_columns[number] & 1),
                condition.alert_after_s,
                begin,
                end,
                step,
            )
            if at is not None:
                events.append(AlertEvent(at, condition.name, condition.severity, fired))
                changes.add(at)
        for part, part_end in _parts(sorted(changes), end, step):
            firing = frozenset(
                condition.severity
                for condition, one in zip(plan.conditions, alert_memories, strict=True)
                if one.firing_since is not None and one.firing_since <= part
            )
            holding = Holding(
                tuple(_holds(check, code, column_of, firing) for check in plan.enter),
                tuple(_holds(check, code, column_of, firing) for check in plan.exit),
            )
            policy, moves = states.unfold(policy, plan.policy.states, holding, part, part_end, step)
            transitions += [_transition(plan, record, move, incidents, firing) for move in moves]
    events.sort(key=lambda event: event.at)
    evaluated = (origin + (scanned.first + 1) * step, origin + scanned.last * step) if len(scanned.indices) else None
    after = Memory(memory.history_start, tuple(alert_memories), policy, stale)
    return after, Outcome(tuple(events), tuple(transitions), scanned.burns, scanned.consumed, evaluated, stale_s)


def _parts(starts: list[int], end: int, step: int) -> list[tuple[int, int]]:
    return list(zip(starts, [*(at - step for at in starts[1:]), end], strict=True))


def _holds(check: int | Check | None, code: int, column_of: dict[Check, int], firing: frozenset[str]) -> bool:
    match check:
        case None:
            return False
        case int():
            return bool(code >> check & 1)
        case Firing():
            return bool(firing & check.severities) if check.severities else bool(firing)
        case Every() if check not in column_of:
            return all(_holds(part, code, column_of, firing) for part in check.parts)
        case Some() if check not in column_of:
            return any(_holds(part, code, column_of, firing) for part in check.parts)
        case Never() if check not in column_of:
            return not _holds(check.part, code, column_of, firing)
        case _:
            return bool(code >> column_of[check] & 1)


def _transition(
    plan: Plan, record: Record, move: states.Move, incidents: Sequence[Incident], firing: frozenset[str]
) -> Transition:
    before, after = plan.policy.states[move.before], plan.policy.states[move.after]
    rule = after.enter if move.after > move.before else before.exit
    index = (move.at - record.units.start) // plan.step_s - 1
    measured = measured_at(plan, record, index, incidents, tuple(sorted(firing)))
    reason = states.because(rule, measured) if rule is not None else ""
    held = after.enter_for_s if move.after > move.before else before.exit_for_s
    if held:
        from tightrope.base.units import duration_text

        reason = f"{reason}, for {duration_text(held)}"
    return Transition(move.at, before.name, after.name, reason)


def measured_at(
    plan: Plan, record: Record, index: int, incidents: Sequence[Incident] = (), firing: tuple[str, ...] = ()
) -> Measured:
    """What the policy saw at the end of slice *index*, exact, for words."""
    at = record.units.start + (index + 1) * plan.step_s
    share = 1 - plan.target
    low, full, elapsed = window_bounds(plan, record, index)
    total = Fraction(record.counts("total", low, index + 1))
    if plan.basis.value == "projected" and elapsed:
        total = total * full / elapsed
    bad = record.counts("scoped", low, index + 1)

    def burn(lookback_s: int) -> Fraction:
        start = index + 1 - lookback_s // plan.step_s
        units = record.counts("total", start, index + 1)
        return Fraction(record.counts("scoped", start, index + 1), units) / share if units else Fraction(0)

    open_now = tuple(one.severity for one in incidents if one.start <= at < one.end)
    return Measured(1 - Fraction(bad) / (share * total) if total else None, burn, open_now, firing)


def evaluated_slices(scanned: Scanned) -> np.ndarray:
    """The codes slice by slice, uint64 of shape ``(last - first,)``: what a test compares."""
    return np.repeat(scanned.codes, np.diff([*scanned.indices.tolist(), scanned.last]))
