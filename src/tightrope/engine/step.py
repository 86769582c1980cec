"""One turn of the loop as a pure function: slices in, alerts, policy moves and a new memory out.

A replay is this function over a long record, a live step is this function over the newest slice: what comes out does
not depend on how the record is cut into calls.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction

from tightrope.alerting import alerts
from tightrope.alerting.alerts import AlertEvent, AlertMemory
from tightrope.base.units import duration_text
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
    return _unfold(plan, memory, record, scanned, incidents)


def _unfold(
    plan: Plan, memory: Memory, record: Record, scanned: Scanned, incidents: Sequence[Incident]
) -> tuple[Memory, Outcome]:
    """Walk over the stretches in which no column changes."""
    step, origin = plan.step_s, record.units.start
    alert_memories = list(memory.alerts or (AlertMemory(),) * len(plan.conditions))
    stale_s, stale = 0, memory.stale
    events: list[AlertEvent] = []
    walk = _PolicyWalk(plan, memory.policy, _firing(plan, alert_memories))
    watched = tuple(enumerate(zip(plan.conditions, plan.condition_columns, strict=True)))
    settled = [_settled(one) for one in alert_memories]
    stale_bit = 1 << len(plan.columns)
    ends = [*scanned.indices[1:].tolist(), scanned.last]
    for index, code, until in zip(scanned.indices.tolist(), scanned.codes.tolist(), ends, strict=False):
        begin, end = origin + (index + 1) * step, origin + until * step
        stale = bool(code & stale_bit)
        if stale:
            stale_s += (until - index) * step
            alert_memories = [alerts.pause(one) for one in alert_memories]
            settled = [_settled(one) for one in alert_memories]
            walk.pause()
            continue
        changed_at: set[int] = set()
        for number, (condition, column) in watched:
            holds = code >> column & 1 == 1
            if settled[number] is holds:
                continue
            after, at, fired = alerts.unfold(alert_memories[number], holds, condition.alert_after_s, begin, end, step)
            alert_memories[number], settled[number] = after, _settled(after)
            if at is not None:
                events.append(AlertEvent(at, condition.name, condition.severity, fired, number))
                changed_at.add(at)
        if changed_at <= {begin}:
            if changed_at:
                walk.firing = _firing(plan, alert_memories, begin)
            walk.go_on(code, begin, end)
            continue
        starts = sorted({begin} | changed_at)
        for part, following in zip(starts, [*starts[1:], end + step], strict=True):
            walk.firing = _firing(plan, alert_memories, part)
            walk.go_on(code, part, following - step)
    events.sort(key=lambda event: event.at)
    evaluated = (origin + (scanned.first + 1) * step, origin + scanned.last * step) if len(scanned.indices) else None
    policy = walk.arrive()
    transitions = tuple(_transition(plan, record, move, incidents, firing) for move, firing in walk.moves)
    return Memory(memory.history_start, tuple(alert_memories), policy, stale), Outcome(
        tuple(events), transitions, scanned.burns, scanned.consumed, evaluated, stale_s
    )


def _settled(memory: AlertMemory) -> bool | None:
    """What the condition may go on doing without any change to the alert; None: nothing."""
    if memory.firing_since is None:
        return False if memory.held_since is None else None
    return True if memory.held_since is not None else None


def _firing(plan: Plan, memories: Sequence[AlertMemory], at: int | None = None) -> frozenset[str]:
    """Severities of the alerts that fire, by *at* if given."""
    return frozenset(
        condition.severity
        for condition, one in zip(plan.conditions, memories, strict=True)
        if one.firing_since is not None and (at is None or one.firing_since <= at)
    )


class _PolicyWalk:
    """The policy machine on its way over the stretches; those in which it sees the same are walked in one go."""

    def __init__(self, plan: Plan, memory: PolicyMemory, firing: frozenset[str]) -> None:
        self.firing = firing
        self.moves: list[tuple[states.Move, frozenset[str]]] = []
        self._plan, self._memory = plan, memory
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
        self._holdings: dict[tuple[int, frozenset[str]], Holding] = {}
        self._key: tuple[int, frozenset[str]] | None = None
        self._holding: Holding | None = None
        self._fired: list[tuple[int, frozenset[str]]] = []
        self._begin, self._end = 0, 0

    def go_on(self, code: int, begin: int, end: int) -> None:
        """Take in evaluations *begin* to *end* (inclusive), which follow those taken in before."""
        key = (code & self._relevant, self.firing)
        if key == self._key:
            self._end = end
            return
        self._key = key
        holding = self._holdings.get(key)
        if holding is None:
            holding = self._holdings[key] = Holding(
                tuple(_holds(check, code, self._columns, self.firing) for check in self._plan.enter),
                tuple(_holds(check, code, self._columns, self.firing) for check in self._plan.exit),
            )
        if holding != self._holding:
            self.arrive()
            self._holding, self._begin, self._fired = holding, begin, []
        self._fired.append((begin, self.firing))
        self._end = end

    def arrive(self) -> PolicyMemory:
        """Walk over what was taken in, and tell what the machine remembers then."""
        if self._holding is not None:
            self._memory, moves = states.unfold(
                self._memory, self._plan.policy.states, self._holding, self._begin, self._end, self._plan.step_s
            )
            for move in moves:
                self.moves.append((move, next(firing for since, firing in reversed(self._fired) if since <= move.at)))
            self._holding = None
        return self._memory

    def pause(self) -> None:
        """A stale evaluation follows."""
        self._memory, self._key = states.pause(self.arrive()), None


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
    up = move.after > move.before
    rule, held_s = (after.enter, after.enter_for_s) if up else (before.exit, before.exit_for_s)
    return Transition(
        move.at, before.name, after.name, rule, held_s, _seen(plan, record, move.at, rule, incidents, firing)
    )


def _seen(
    plan: Plan,
    record: Record,
    at: int,
    rule: Predicate | None,
    incidents: Sequence[Incident],
    firing: frozenset[str],
) -> Seen:
    """What the policy saw at the evaluation *at*, as far as *rule* looks at it."""
    share = plan.share
    index = (at - record.units.start) // plan.step_s - 1
    low, full, elapsed = window_bounds(plan, record, index)
    projected, measured = (full, elapsed) if plan.basis is Basis.PROJECTED and elapsed else (1, 1)
    whole = record.counts("total", low, index + 1) * projected * share.numerator
    bad = record.counts("scoped", low, index + 1) * measured * share.denominator
    burns = []
    for leaf in leaves(rule) if rule is not None else ():
        if isinstance(leaf, BurnRateIs):
            start = index + 1 - slices_in(leaf.lookback_s, plan.step_s)
            spent = record.counts("scoped", start, index + 1) * share.denominator
            burns.append((leaf.lookback_s, spent, record.counts("total", start, index + 1) * share.numerator))
    open_now = tuple(one.severity for one in incidents if one.start <= at < one.end)
    return Seen(whole - bad, whole, tuple(burns), open_now, tuple(sorted(firing)))
