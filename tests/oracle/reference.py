"""A second reading of docs/maths.md: naive, exact, and written without a look at the engine.

Plain lists, whole numbers and fractions; every window is added up anew at every instant. Slow on purpose: each
function should be readable beside the sentence of the page that it stands for. Where the engine and this file disagree,
the page decides who is wrong.
"""

from __future__ import annotations

import calendar
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from functools import cached_property
from math import ceil, comb
from typing import NamedTuple
from zoneinfo import ZoneInfo

from tightrope.base.units import Duration
from tightrope.specs.defaults import DEFAULT_POLICY
from tightrope.specs.model import (
    AlertFiring,
    AllOf,
    AnyOf,
    Basis,
    BudgetingMethod,
    BurnRateIs,
    CalendarWindow,
    Comparison,
    Condition,
    ConditionKind,
    ErrorBudgetPolicy,
    Gaps,
    IncidentOpen,
    Not,
    PolicyState,
    Predicate,
    RemainingIs,
    Window,
)

BILLION = 10**9

Stretch = tuple[int, int]
"""``[start, end)`` in UTC epoch seconds."""


# --- time and slices ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Row:
    """One slice."""

    bad: int
    total: int
    covered: bool = True
    excluded: bool = False


GAP = Row(0, 0, covered=False)
EXCLUDED = Row(0, 0, covered=False, excluded=True)
NO_TRAFFIC = Row(0, 0)


class Count(NamedTuple):
    """What some slices hold together."""

    bad: int
    valid: int
    covered: int
    excluded: int
    empty_gaps: int
    slices: int


@dataclass(frozen=True)
class Record:
    """Slices in a row: the first starts at *start*; one count is a *scale*-th part of a unit."""

    start: int
    step_s: int
    rows: tuple[Row, ...]
    scale: int = 1

    @property
    def end(self) -> int:
        return self.start + len(self.rows) * self.step_s

    def begin(self, index: int) -> int:
        """When slice *index* starts."""
        return self.start + index * self.step_s

    @cached_property
    def history(self) -> int | None:
        """The start of the first covered slice."""
        return next((self.begin(index) for index, row in enumerate(self.rows) if row.covered), None)

    def within(self, begin: int, end: int) -> slice:
        """Where the slices are that start at or after *begin* and end at or before *end*."""
        first = -((self.start - begin) // self.step_s)
        return slice(max(0, first), max(0, (end - self.start) // self.step_s))

    @cached_property
    def columns(self) -> list[list[int]]:
        """The rows turned on their side: bad, total, covered, excluded, and whether it is a gap without units."""
        sides = [[getattr(row, name) for row in self.rows] for name in ("bad", "total", "covered", "excluded")]
        return [*sides, [not row.covered and not row.excluded and row.total == 0 for row in self.rows]]

    def count(self, begin: int, end: int) -> Count:
        """Add up the slices that start at or after *begin* and end at or before *end*."""
        inside = self.within(begin, end)
        bad, valid, covered, excluded, empty_gaps = (sum(column[inside]) for column in self.columns)
        return Count(bad, valid, covered, excluded, empty_gaps, len(self.rows[inside]))

    def last(self, length_s: int, at: int) -> Count:
        """Add up the ``⌊length/step⌋`` slices, at least one, that end at or before *at*."""
        return self.count(at - max(1, length_s // self.step_s) * self.step_s, at)


# --- from raw counts to units of the budget ----------------------------------------------------------------------


def overlaps(begin: int, end: int, stretches: Sequence[Stretch]) -> bool:
    """Whether ``[begin, end)`` shares an instant with any of the stretches."""
    return any(max(begin, start) < min(end, stop) for start, stop in stretches)


def exclude(raw: Record, stretches: Sequence[Stretch]) -> Record:
    """Take out each slice that overlaps a stretch at all."""
    return replace(
        raw,
        rows=tuple(
            EXCLUDED if overlaps(raw.begin(i), raw.begin(i) + raw.step_s, stretches) else row
            for i, row in enumerate(raw.rows)
        ),
    )


def apply_method(raw: Record, method: BudgetingMethod, step_s: int, slice_target: Fraction | None = None) -> Record:
    """Turn counts into units of the budget, gaps still empty."""
    if method is BudgetingMethod.OCCURRENCES:
        return raw
    first = raw.start // step_s * step_s
    rows = []
    for begin in range(first, raw.end - step_s + 1, step_s):
        parts = raw.rows[raw.within(begin, begin + step_s)]
        bad, total = sum(row.bad for row in parts), sum(row.total for row in parts)
        covered = any(row.covered for row in parts)
        if not covered:
            rows.append(EXCLUDED if all(row.excluded for row in parts) else GAP)
        elif method is BudgetingMethod.TIMESLICES:
            assert slice_target is not None
            rows.append(Row(int(total > 0 and Fraction(total - bad, total) < slice_target), 1))
        elif total == 0:
            rows.append(NO_TRAFFIC)
        else:
            rows.append(Row((2 * BILLION * bad + total) // (2 * total), BILLION))
    scale = BILLION if method is BudgetingMethod.RATIO_TIMESLICES else 1
    return Record(first, step_s, tuple(rows), scale)


def fill(units: Record, gaps: Gaps) -> Record:
    """Let gaps carry what *gaps* says; a filled gap is still not covered."""
    if gaps is Gaps.IGNORE:
        return units
    rows: list[Row] = []
    before: Row | None = None
    for row in units.rows:
        if row.covered:
            before = row
        elif before is not None and not row.excluded:
            bad = {Gaps.GOOD: 0, Gaps.BAD: before.total, Gaps.HOLD: before.bad}[gaps]
            row = Row(bad, before.total, covered=False)
        rows.append(row)
    return replace(units, rows=tuple(rows))


# --- windows -----------------------------------------------------------------------------------------------------


def boundary(window: CalendarWindow, number: int) -> int:
    """The instant at which calendar period *number* starts; 0 is the one that starts at ``start_time``."""
    local = later(window.start_time, window.duration, number)
    moment = local.replace(tzinfo=ZoneInfo(window.time_zone)).astimezone(UTC)
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(seconds=1)


def later(local: datetime, duration: Duration, times: int) -> datetime:
    """Add *times* durations on the wall clock; a day that the month does not have becomes its last day."""
    months = {"M": 1, "Q": 3, "Y": 12}.get(duration.unit)
    if months is None:
        return local + timedelta(seconds=duration.seconds * times)
    year, month = divmod(local.year * 12 + local.month - 1 + months * duration.count * times, 12)
    return local.replace(year=year, month=month + 1, day=min(local.day, calendar.monthrange(year, month + 1)[1]))


def period(window: CalendarWindow, at: int) -> Stretch:
    """The calendar period that contains *at*."""
    number = (at - boundary(window, 0)) // window.duration.seconds - 2
    while boundary(window, number) > at:
        number -= 1
    while boundary(window, number + 1) <= at:
        number += 1
    return boundary(window, number), boundary(window, number + 1)


# --- the budget --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Budget:
    """What one objective's window holds; shares and the allowance are None while nothing is known."""

    bad: int
    valid: int
    slices: int
    elapsed: int
    coverage: Fraction
    allowed: Fraction | None
    consumed: Fraction | None
    remaining: Fraction | None
    interval: tuple[Fraction, Fraction] | None


def budget(record: Record, target: Fraction, window: Window, at: int, basis: Basis) -> Budget:
    """The account at *at*."""
    step = record.step_s
    if isinstance(window, CalendarWindow):
        opens, closes = period(window, at - step)
        first = ceil(Fraction(opens, step)) * step
        full = ceil(Fraction(closes, step)) - first // step
        so_far = at // step - first // step
    else:
        full = so_far = max(1, window.duration.seconds // step)
        first = at - full * step
    held = record.count(first if record.history is None else max(first, record.history), at)
    bad, valid, elapsed = held.bad, held.valid, held.slices
    gaps = elapsed - held.excluded - held.covered
    coverage = Fraction(held.covered, so_far - held.excluded) if so_far > held.excluded else Fraction(0)
    if valid == 0:
        return Budget(bad, valid, full, elapsed, coverage, None, None, None, None)
    seen = elapsed - held.empty_gaps
    valid_full = Fraction(valid) if basis is Basis.OBSERVED else Fraction(valid * full, seen)
    allowed = (1 - target) * valid_full
    consumed = bad / allowed
    interval = None
    if held.covered:
        even = allowed if basis is Basis.OBSERVED else (1 - target) * Fraction(valid * full, elapsed)
        below = even * (held.covered + gaps)
        interval = (bad * held.covered / below, (bad * held.covered + valid * gaps) / below)
    return Budget(bad, valid, full, elapsed, coverage, allowed, consumed, 1 - consumed, interval)


# --- burn rates and conditions -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Member:
    """One objective's units, what is promised of them, and how much it weighs in a composite."""

    record: Record
    target: Fraction
    weight: Fraction = Fraction(1)


def compare(left: Fraction | int, op: Comparison, right: Fraction | int) -> bool:
    """Whether ``left op right``."""
    return {
        Comparison.LT: left < right,
        Comparison.LTE: left <= right,
        Comparison.GT: left > right,
        Comparison.GTE: left >= right,
    }[op]


def burn(record: Record, target: Fraction, lookback_s: int, at: int) -> tuple[Fraction, bool]:
    """Burn rate, and whether there was no traffic to tell it from."""
    held = record.last(lookback_s, at)
    if held.valid == 0:
        return Fraction(0), True
    return Fraction(held.bad, held.valid) / (1 - target), False


def tail(bad: Fraction, trials: int, chance: Fraction) -> Fraction:
    """P(X >= bad), X binomial."""
    if chance >= 1:
        return Fraction(1)
    hit, miss, whole = chance.numerator, chance.denominator - chance.numerator, chance.denominator
    ways = sum(comb(trials, k) * hit**k * miss ** (trials - k) for k in range(ceil(bad), trials + 1))
    return Fraction(ways, whole**trials)


def holds(member: Member, condition: Condition, window: Window, basis: Basis, at: int) -> bool:
    """Whether the condition holds for one objective (for a member of a composite: at threshold / weight)."""
    record = member.record
    threshold = condition.threshold / member.weight
    longest = record.last(max(condition.lookbacks_s), at)
    if longest.bad < condition.at_least_bad * record.scale or longest.valid < condition.at_least_total * record.scale:
        return False
    first = record.last(condition.lookbacks_s[0], at)
    if condition.kind is ConditionKind.CONSUMED:
        allowed = budget(record, member.target, window, at, basis).allowed
        return allowed is not None and compare(first.bad / allowed, condition.op, threshold)
    for lookback_s in condition.lookbacks_s:
        if not compare(burn(record, member.target, lookback_s, at)[0], condition.op, threshold):
            return False
    if condition.kind is ConditionKind.SIGNIFICANCE:
        assert condition.confidence is not None
        if first.valid == 0:
            return False
        chance = threshold * (1 - member.target)
        likely = tail(Fraction(first.bad, record.scale), first.valid // record.scale, chance)
        return likely < 1 - condition.confidence
    return True


# --- composites --------------------------------------------------------------------------------------------------


def composite(members: Sequence[Member], method: BudgetingMethod, target: Fraction | None = None) -> tuple[Member, ...]:
    """The members whose worst is the composite: all of them by Occurrences, one of made-up slices by time."""
    if method is BudgetingMethod.OCCURRENCES:
        return tuple(members)
    rows = tuple(
        together(parts, [member.weight for member in members], method)
        for parts in zip(*(member.record.rows for member in members), strict=True)
    )
    lowest = min(member.target for member in members)
    return (Member(replace(members[0].record, rows=rows), lowest if target is None else target),)


def together(parts: Sequence[Row], weights: Sequence[Fraction], method: BudgetingMethod) -> Row:
    """One slice of a time-based composite."""
    covered = any(row.covered for row in parts)
    excluded = not covered and all(row.excluded for row in parts)
    total = max(row.total for row in parts)
    if method is BudgetingMethod.TIMESLICES:
        bad = int(any(row.bad for row in parts))
    else:
        missing = sum((row.bad * weight for row, weight in zip(parts, weights, strict=True)), Fraction(0))
        bad = min(total, (2 * missing.numerator + missing.denominator) // (2 * missing.denominator))
    return Row(bad, total, covered, excluded)


# --- what is true at an instant ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Incident:
    """Open at t if ``start <= t < end``; no end: still open."""

    start: int
    end: int | None
    severity: str

    def open_at(self, at: int) -> bool:
        return self.start <= at and (self.end is None or at < self.end)


@dataclass(frozen=True, slots=True)
class Promise:
    """All that is asked of one SLO: its members (one, unless it is a composite) and the rules around them."""

    members: tuple[Member, ...]
    window: Window
    basis: Basis = Basis.PROJECTED
    gaps: Gaps = Gaps.IGNORE
    stale_after: int = 10
    conditions: tuple[Condition, ...] = ()
    policy: ErrorBudgetPolicy = DEFAULT_POLICY
    incidents: tuple[Incident, ...] = ()
    out_of_scope: tuple[Stretch, ...] = ()


@dataclass(frozen=True, slots=True)
class Moment:
    """All that is true at the end of one slice; ``fired`` and ``resolved`` name the conditions that turned just now."""

    at: int
    stale: bool
    consumed: Fraction | None
    budgets: tuple[Budget, ...]
    firing: tuple[str, ...]
    fired: tuple[str, ...]
    resolved: tuple[str, ...]
    state: str


def consumed_of(members: Sequence[Member], window: Window, at: int, basis: Basis) -> Fraction | None:
    """The largest of weight * consumed over the members of which anything is known."""
    shares = [
        member.weight * share
        for member in members
        if (share := budget(member.record, member.target, window, at, basis).consumed) is not None
    ]
    return max(shares) if shares else None


def burn_of(members: Sequence[Member], lookback_s: int, at: int) -> Fraction:
    """The largest of weight * burn."""
    return max(member.weight * burn(member.record, member.target, lookback_s, at)[0] for member in members)


def is_stale(promise: Promise, at: int) -> bool:
    """Whether the last ``staleAfter`` slices were all gaps."""
    if promise.gaps is not Gaps.IGNORE:
        return False
    lasts = [m.record.last(promise.stale_after * m.record.step_s, at) for m in promise.members]
    return all(last.covered == last.excluded == 0 for last in lasts)


def forgiven(record: Record, stretches: Sequence[Stretch]) -> Record:
    """Without the bad units of slices that overlap a stretch with an out-of-scope cause; their total stays."""
    rows = [
        replace(row, bad=0) if overlaps(record.begin(i), record.begin(i) + record.step_s, stretches) else row
        for i, row in enumerate(record.rows)
    ]
    return replace(record, rows=tuple(rows))


@dataclass(slots=True)
class Machine:
    """What must be remembered from one evaluation to the next."""

    promise: Promise
    scoped: tuple[Member, ...]
    condition_since: dict[str, int] = field(default_factory=dict)
    firing: set[str] = field(default_factory=set)
    enter_since: dict[str, int] = field(default_factory=dict)
    exit_since: dict[str, int] = field(default_factory=dict)
    state: int = 0
    state_since: int = 0

    def predicate(self, predicate: Predicate | None, at: int) -> bool:
        """Whether *predicate* holds at *at*; what is not said never holds."""
        promise = self.promise
        match predicate:
            case None:
                return False
            case AllOf(parts):
                return all(self.predicate(part, at) for part in parts)
            case AnyOf(parts):
                return any(self.predicate(part, at) for part in parts)
            case Not(part):
                return not self.predicate(part, at)
            case RemainingIs(op, bound):
                consumed = consumed_of(self.scoped, promise.window, at, promise.policy.basis)
                return consumed is not None and compare(1 - consumed, op, bound)
            case BurnRateIs(lookback_s, op, bound):
                return compare(burn_of(self.scoped, lookback_s, at), op, bound)
            case IncidentOpen(severities):
                return any(i.open_at(at) and (not severities or i.severity in severities) for i in promise.incidents)
            case AlertFiring(severities):
                return any(
                    condition.name in self.firing and (not severities or condition.severity in severities)
                    for condition in promise.conditions
                )
        raise ValueError(f"the oracle reads no {type(predicate).__name__}")

    def turn_alerts(self, at: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Let alerts fire and resolve; names those that did."""
        fired, resolved = [], []
        for condition in self.promise.conditions:
            name = condition.name
            if any(holds(m, condition, self.promise.window, self.promise.basis, at) for m in self.promise.members):
                since = self.condition_since.setdefault(name, at)
                if name not in self.firing and at - since >= condition.alert_after_s:
                    self.firing.add(name)
                    fired.append(name)
            else:
                self.condition_since.pop(name, None)
                if name in self.firing:
                    self.firing.remove(name)
                    resolved.append(name)
        return tuple(fired), tuple(resolved)

    def turn_policy(self, at: int) -> None:
        """At most one move."""
        states = self.promise.policy.states
        entered = [hold(self.enter_since, s.name, self.predicate(s.enter, at), at, s.enter_for_s) for s in states]
        left = [hold(self.exit_since, s.name, self.predicate(s.exit, at), at, s.exit_for_s) for s in states]
        stricter = [i for i in range(self.state + 1, len(states)) if entered[i]]
        if stricter:
            self.move(stricter[-1], at)
        elif self.state > 0 and left[self.state] and at - self.state_since >= states[self.state].minimum_stay_s:
            self.move(max(i for i in range(self.state) if i == 0 or self.stops_at(states[i], at)), at)

    def stops_at(self, state: PolicyState, at: int) -> bool:
        """Whether a service on its way down has to stay on this rung."""
        return self.predicate(state.enter, at) or not self.predicate(state.exit, at)

    def move(self, state: int, at: int) -> None:
        self.state, self.state_since = state, at


def hold(since: dict[str, int], name: str, now: bool, at: int, for_s: int) -> bool:
    """Whether it holds and has held for *for_s*, counted from the first evaluation at which it did."""
    if not now:
        since.pop(name, None)
        return False
    return at - since.setdefault(name, at) >= for_s


def evaluate(promise: Promise) -> list[Moment]:
    """Every evaluation of the record, oldest first; nothing before history."""
    histories = [start for member in promise.members if (start := member.record.history) is not None]
    if not histories:
        return []
    step = promise.members[0].record.step_s
    scoped = tuple(replace(member, record=forgiven(member.record, promise.out_of_scope)) for member in promise.members)
    machine = Machine(promise, scoped)
    moments = []
    for at in range(min(histories) + step, promise.members[0].record.end + 1, step):
        stale = is_stale(promise, at)
        fired: tuple[str, ...] = ()
        resolved: tuple[str, ...] = ()
        if stale:
            machine.condition_since.clear()
            machine.enter_since.clear()
            machine.exit_since.clear()
        else:
            fired, resolved = machine.turn_alerts(at)
            machine.turn_policy(at)
        moments.append(
            Moment(
                at,
                stale,
                consumed_of(promise.members, promise.window, at, promise.basis),
                tuple(budget(m.record, m.target, promise.window, at, promise.basis) for m in promise.members),
                tuple(c.name for c in promise.conditions if c.name in machine.firing),
                fired,
                resolved,
                promise.policy.states[machine.state].name,
            )
        )
    return moments


def strictest(policy: ErrorBudgetPolicy, states: Sequence[str]) -> str:
    """A service's state: the strictest over its SLOs."""
    names = [state.name for state in policy.states]
    return max(states, key=names.index)
