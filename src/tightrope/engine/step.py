"""One turn of the loop as a pure function: slices in, alerts, policy moves and a new memory out.

A replay is this function over a long record, a live step is this function over the newest slice: what comes out does
not depend on how the record is cut into calls.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from fractions import Fraction
from operator import attrgetter
from typing import Protocol

from tightrope.alerting import alerts
from tightrope.alerting.alerts import AlertEvent, AlertMemory
from tightrope.base.units import duration_text
from tightrope.base.values import dataclass, field
from tightrope.budget.burn import slices_in
from tightrope.engine.plan import Check, Every, Firing, Incident, Never, Plan, Some
from tightrope.engine.record import Record, Workspace, record_of
from tightrope.engine.scan import Ask, Peak, Scanned, Scanner, scan, window_bounds
from tightrope.policy import states
from tightrope.policy.states import Holding, Measured, PolicyMemory
from tightrope.sli.coverage import Stretch
from tightrope.sli.slices import Slices
from tightrope.specs.model import Basis, BurnRateIs, Predicate, leaves


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
class Seen:
    """What the policy saw at an evaluation, as whole numbers; made into words when somebody asks.

    ``left`` and ``whole`` are in proportion: remaining = left / whole, unknown where *whole* is 0. ``burns`` holds a
    lookback (seconds) with spent and allowed units in proportion: burn = spent / allowed.
    """

    left: int
    whole: int
    burns: tuple[tuple[int, int, int], ...]
    incidents: tuple[str, ...]
    firing: tuple[str, ...]

    def measured(self) -> Measured:
        """The same as exact ratios."""
        burns = {
            lookback: Fraction(spent, allowed) if allowed else Fraction(0) for lookback, spent, allowed in self.burns
        }
        remaining = Fraction(self.left, self.whole) if self.whole else None
        return Measured(remaining, burns.get, self.incidents, self.firing)


@dataclass(frozen=True, slots=True)
class Transition:
    """The policy state changed at an evaluation, by a rule that had held for ``held_s``, on what was seen."""

    at: int
    before: str
    after: str
    rule: Predicate | None
    held_s: int
    seen: Seen

    @property
    def reason(self) -> str:
        """Why, in words."""
        if self.rule is None:
            return ""
        reason = states.because(self.rule, self.seen.measured())
        return f"{reason}, for {duration_text(self.held_s)}" if self.held_s else reason


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
    scanner: Scanner = scan,
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
    told = unfold(
        plan, memory, _runs(scanned, units.start, units.step_s), lambda at: _InRecord(plan, record, at), incidents
    )
    evaluated = None
    if len(scanned.indices):
        evaluated = units.start + (scanned.first + 1) * units.step_s, units.start + scanned.last * units.step_s
    return told.memory, Outcome(told.alerts, told.transitions, scanned.burns, scanned.consumed, evaluated, told.stale_s)


class Counted(Protocol):
    """What was counted up to one evaluation: bad units without causes out of scope, and valid ones."""

    def window(self) -> tuple[int, int, int, int]:
        """Bad and valid units of the window, how many slices a full one has, and how many of it were seen."""

    def over(self, slices: int) -> tuple[int, int]:
        """Bad and valid units over a lookback."""


Run = tuple[int, int, int]
"""A code with the first and the last evaluation of a run of them that share it, UTC epoch seconds.

Bit k of the code is the plan's column k, and the bit after the last column tells that the evaluation is stale.
"""


@dataclass(frozen=True, slots=True)
class Unfolded:
    """What alerts and policy did over some runs of evaluations, and what is remembered then."""

    memory: Memory
    alerts: tuple[AlertEvent, ...]
    transitions: tuple[Transition, ...]
    stale_s: int


def _runs(scanned: Scanned, origin: int, step_s: int) -> Iterable[Run]:
    ends = [*scanned.indices[1:].tolist(), scanned.last]
    for index, code, until in zip(scanned.indices.tolist(), scanned.codes.tolist(), ends, strict=False):
        yield code, origin + (index + 1) * step_s, origin + until * step_s


def unfold(
    plan: Plan,
    memory: Memory,
    runs: Iterable[Run],
    counted: Callable[[int], Counted],
    incidents: Sequence[Incident] = (),
) -> Unfolded:
    """Walk over runs of evaluations in which no column changes.

    Args:
        plan: The compiled objective.
        memory: What the evaluations before left.
        runs: Codes with their evaluations, one run after the other.
        counted: Tells what had been counted at an evaluation; asked where the policy moves.
        incidents: Known incidents of the service.
    """
    step = plan.step_s
    alert_memories = list(memory.alerts or (AlertMemory(),) * len(plan.conditions))
    stale_s, stale = 0, memory.stale
    events: list[AlertEvent] = []
    firing = _Firing(plan, alert_memories)
    walk = _PolicyWalk(plan, memory.policy, firing)
    watched = tuple(
        (number, column, condition)
        for number, (condition, column) in enumerate(zip(plan.conditions, plan.condition_columns, strict=True))
    )
    settled = [_settled(one) for one in alert_memories]
    stale_bit = 1 << len(plan.columns)
    for code, begin, end in runs:
        stale = code & stale_bit != 0
        if stale:
            stale_s += end - begin + step
            alert_memories = [alerts.pause(one) for one in alert_memories]
            settled = [_settled(one) for one in alert_memories]
            walk.pause()
            continue
        turns: list[tuple[int, int, bool]] = []
        for number, column, condition in watched:
            holds = code >> column & 1 == 1
            if settled[number] is holds:
                continue
            after, at, fired = alerts.unfold(alert_memories[number], holds, condition.alert_after_s, begin, end, step)
            alert_memories[number], settled[number] = after, _settled(after)
            if at is not None:
                events.append(AlertEvent(at, condition.name, condition.severity, fired, number))
                turns.append((at, number, fired))
        turns.sort()
        part = begin
        for at, number, fired in turns:
            if at > part:
                walk.go_on(code, part, at - step)
                part = at
            firing.turn(at, number, fired)
        walk.go_on(code, part, end)
    events.sort(key=_at)
    policy = walk.arrive()
    telling = _Telling(plan, counted, incidents)
    transitions = tuple([telling.transition(move, firing.severities_at(move.at)) for move in walk.moves])
    return Unfolded(
        Memory(memory.history_start, tuple(alert_memories), policy, stale), tuple(events), transitions, stale_s
    )


_at = attrgetter("at")


def _settled(memory: AlertMemory) -> bool | None:
    """What the condition may go on doing without any change to the alert; None: nothing."""
    if memory.firing_since is None:
        return False if memory.held_since is None else None
    return True if memory.held_since is not None else None


class _Firing:
    """Which conditions' alerts fire, as bits, and since when."""

    def __init__(self, plan: Plan, memories: Sequence[AlertMemory]) -> None:
        self._severities = [condition.severity for condition in plan.conditions]
        self.bits = sum(1 << number for number, one in enumerate(memories) if one.firing_since is not None)
        self._turns, self._after = list[int](), [self.bits]

    def turn(self, at: int, number: int, fired: bool) -> None:
        """The alert of a condition fires from an evaluation on, or no longer does."""
        self.bits = self.bits | 1 << number if fired else self.bits & ~(1 << number)
        self._turns.append(at)
        self._after.append(self.bits)

    def severities(self, bits: int) -> frozenset[str]:
        """Severities of the alerts of some conditions."""
        return frozenset([one for number, one in enumerate(self._severities) if bits >> number & 1])

    def severities_at(self, at: int) -> frozenset[str]:
        """Severities of the alerts that fired at an evaluation."""
        return self.severities(self._after[bisect_right(self._turns, at)])


class _PolicyWalk:
    """The policy machine on its way over the stretches; those in which it sees the same are walked in one go."""

    def __init__(self, plan: Plan, memory: PolicyMemory, firing: _Firing) -> None:
        self.moves: list[states.Move] = []
        self._plan, self._firing = plan, firing
        self._machine = states.Machine(memory, plan.policy.states, plan.step_s)
        checks = [*plan.enter, *plan.exit]
        self._columns = (
            {check: index for index, check in enumerate(plan.columns)}
            if any(not isinstance(check, int | None) for check in checks)
            else {}
        )
        columns = [*self._columns.values(), *(check for check in checks if isinstance(check, int))]
        self._relevant = 0
        for column in columns:
            self._relevant |= 1 << column
        self._holdings: dict[tuple[int, int], Holding] = {}
        self._code, self._bits = -1, -1
        self._holding: Holding | None = None
        self._begin, self._end = 0, 0

    def go_on(self, code: int, begin: int, end: int) -> None:
        """Take in evaluations *begin* to *end* (inclusive), which follow those taken in before."""
        code &= self._relevant
        bits = self._firing.bits if self._columns else 0  # without these, nothing asks for alerts
        if code == self._code and bits == self._bits:
            self._end = end
            return
        self._code, self._bits = code, bits
        holding = self._holdings.get((code, bits))
        if holding is None:
            holding = self._holdings[code, bits] = self._held(code, self._firing.severities(bits))
        if holding is not self._holding:
            self._walk()
            self._holding, self._begin = holding, begin
        self._end = end

    def arrive(self) -> PolicyMemory:
        """Walk over what was taken in, and tell what the machine remembers then."""
        self._walk()
        return self._machine.memory

    def pause(self) -> None:
        """A stale evaluation follows."""
        self._walk()
        self._machine.pause()
        self._code = -1

    def _held(self, code: int, severities: frozenset[str]) -> Holding:
        """Which conditions hold; equal answers are the same object."""
        found = Holding(
            tuple(_holds(check, code, self._columns, severities) for check in self._plan.enter),
            tuple(_holds(check, code, self._columns, severities) for check in self._plan.exit),
        )
        return next((one for one in self._holdings.values() if one == found), found)

    def _walk(self) -> None:
        if self._holding is not None:
            self.moves += self._machine.go_through(self._holding, self._begin, self._end)
            self._holding = None


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


class _Telling:
    """Tells of each move of the policy what it saw then."""

    def __init__(self, plan: Plan, counted: Callable[[int], Counted], incidents: Sequence[Incident]) -> None:
        self._plan, self._counted, self._incidents, self._share = plan, counted, incidents, plan.share
        self._lookbacks: dict[int, tuple[int, ...]] = {}

    def transition(self, move: states.Move, firing: frozenset[str]) -> Transition:
        """A move, by which rule, on what was seen."""
        before, after = self._plan.policy.states[move.before], self._plan.policy.states[move.after]
        up = move.after > move.before
        rule, held_s = (after.enter, after.enter_for_s) if up else (before.exit, before.exit_for_s)
        return Transition(move.at, before.name, after.name, rule, held_s, self._seen(move.at, rule, firing))

    def _seen(self, at: int, rule: Predicate | None, firing: frozenset[str]) -> Seen:
        """What the policy saw at the evaluation *at*, as far as *rule* looks at it."""
        plan, counted = self._plan, self._counted(at)
        allowed, of = self._share.numerator, self._share.denominator
        bad, total, full, elapsed = counted.window()
        projected, measured = (full, elapsed) if plan.basis is Basis.PROJECTED and elapsed else (1, 1)
        whole = total * projected * allowed
        burns = []
        for lookback_s in self._looked_over(rule):
            spent, valid = counted.over(slices_in(lookback_s, plan.step_s))
            burns.append((lookback_s, spent * of, valid * allowed))
        open_now = tuple([one.severity for one in self._incidents if one.start <= at < one.end])
        return Seen(whole - bad * measured * of, whole, tuple(burns), open_now, tuple(sorted(firing)))

    def _looked_over(self, rule: Predicate | None) -> tuple[int, ...]:
        """The lookbacks of the burn rates in a rule, which the policy keeps alive."""
        if rule is None:
            return ()
        known = self._lookbacks.get(id(rule))
        if known is None:
            known = tuple(leaf.lookback_s for leaf in leaves(rule) if isinstance(leaf, BurnRateIs))
            self._lookbacks[id(rule)] = known
        return known


@dataclass(frozen=True, slots=True)
class _InRecord:
    """What a record counts up to the evaluation *at* (`Counted`)."""

    plan: Plan
    record: Record
    at: int

    @property
    def _index(self) -> int:
        return (self.at - self.record.units.start) // self.plan.step_s - 1

    def window(self) -> tuple[int, int, int, int]:
        low, full, elapsed = window_bounds(self.plan, self.record, self._index)
        return *self._counts(low), full, elapsed

    def over(self, slices: int) -> tuple[int, int]:
        return self._counts(self._index + 1 - slices)

    def _counts(self, low: int) -> tuple[int, int]:
        end = self._index + 1
        return self.record.counts("scoped", low, end), self.record.counts("total", low, end)
