"""A plan: everything about one objective that does not change from evaluation to evaluation, ready to be computed."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from tightrope.base.values import dataclass, field
from tightrope.budget.burn import allowed_share
from tightrope.policy.states import compare
from tightrope.specs.defaults import LOOKBACKS_S
from tightrope.specs.model import (
    AlertFiring,
    AllOf,
    AnyOf,
    Basis,
    BurnRateIs,
    Comparison,
    Condition,
    ConditionKind,
    ErrorBudgetPolicy,
    Expression,
    Gaps,
    IncidentOpen,
    Not,
    Predicate,
    RemainingIs,
    Window,
)

WINDOW = 0
"""Lookback that stands for the SLO's whole window."""

_FLIPPED = {
    Comparison.LT: Comparison.GT,
    Comparison.LTE: Comparison.GTE,
    Comparison.GT: Comparison.LT,
    Comparison.GTE: Comparison.LTE,
}


@dataclass(frozen=True, slots=True)
class Test:
    """One exact comparison of counts: bad units over *top* against ``threshold`` times valid units over *bottom*.

    Attributes:
        top: Lookback of the bad units in seconds, or `WINDOW`.
        bottom: Lookback of the valid units in seconds, or `WINDOW`; projected there if *projected*.
        threshold: The ratio they are held against.
        op: How.
        when_empty: What it says where there are no valid units; `None`: compare 0 with the threshold.
        scoped: Whether causes out of scope are left out of the bad units.
        projected: Whether the valid units of a window not yet full are scaled up to it.
    """

    top: int
    bottom: int
    threshold: Fraction
    op: Comparison
    when_empty: bool
    scoped: bool = False
    projected: bool = False


@dataclass(frozen=True, slots=True)
class Floor:
    """At least so many units over a lookback: of bad ones, or of all valid ones."""

    lookback_s: int
    bad: bool
    at_least: int


@dataclass(frozen=True, slots=True)
class Significance:
    """The exact binomial bound over a lookback lies above a ratio."""

    lookback_s: int
    ratio: Fraction
    confidence: Fraction


@dataclass(frozen=True, slots=True)
class Open:
    """An incident of one of the severities is open; none means any."""

    severities: frozenset[str]


@dataclass(frozen=True, slots=True)
class Asked:
    """A CEL expression, answered slice by slice."""

    text: str


@dataclass(frozen=True, slots=True)
class Firing:
    """An alert of one of the severities fires; known only while unfolding, so never inside a column."""

    severities: frozenset[str]


@dataclass(frozen=True, slots=True)
class Every:
    """All parts hold."""

    parts: tuple[Check, ...]


@dataclass(frozen=True, slots=True)
class Some:
    """At least one part holds."""

    parts: tuple[Check, ...]


@dataclass(frozen=True, slots=True)
class Never:
    """The part does not hold."""

    part: Check


Check = Test | Floor | Significance | Open | Asked | Firing | Every | Some | Never


@dataclass(frozen=True, slots=True)
class Incident:
    """A known incident: open in ``[start, end)``, of a severity, with a cause (empty: unknown)."""

    start: int
    end: int
    severity: str = ""
    cause: str = ""
    id: str = ""
    service: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is promised and how it is watched, compiled for one objective.

    Attributes:
        step_s: Length of a unit slice, seconds.
        target: The objective, exact.
        window: Rolling or calendar.
        basis: Of the budget that the policy sees.
        gaps, stale_after: When an evaluation is stale.
        lookbacks_s: Burn rates whose peaks are kept.
        conditions: The alert conditions, in order.
        policy: The error budget policy.
        columns: Checks that only need counts and known incidents, computed for every slice; deduplicated.
        condition_columns: For each condition its column.
        enter, exit: For each state of the policy a column, or a check with a `Firing` inside; None for the first.
        scale: What one count is a part of.
        weight: What the objective weighs in a composite, 1 outside of one.
    """

    step_s: int
    target: Fraction
    window: Window
    basis: Basis
    gaps: Gaps
    stale_after: int
    lookbacks_s: tuple[int, ...]
    conditions: tuple[Condition, ...]
    policy: ErrorBudgetPolicy
    columns: tuple[Check, ...]
    condition_columns: tuple[int, ...]
    enter: tuple[int | Check | None, ...]
    exit: tuple[int | Check | None, ...]
    scale: int = 1
    weight: Fraction = Fraction(1)

    @property
    def share(self) -> Fraction:
        """Share of the valid units that may be bad: (1 − target) / weight."""
        return allowed_share(self.target, self.weight)

    @property
    def longest_s(self) -> int:
        """How far back an evaluation may look, seconds."""
        stale_s = self.stale_after * self.step_s
        return max(self.window_s_at_most, stale_s, 2 * self.step_s, *self.lookbacks_s, *_lookbacks(self.columns))

    @property
    def window_s_at_most(self) -> int:
        """Length of the longest window, seconds; a calendar period gets slack for long months and clocks."""
        duration = self.window.duration
        slack = {"M": 1, "Q": 2, "Y": 1}.get(duration.unit, 0) * duration.count + 2
        return duration.seconds + slack * 86400


@dataclass(slots=True)
class _Columns:
    """The columns found so far; equal checks share one."""

    found: dict[Check, int] = field(default_factory=dict)

    def of(self, check: Check) -> int:
        return self.found.setdefault(check, len(self.found))


def compile_plan(
    *,
    step_s: int,
    target: Fraction,
    window: Window,
    conditions: Sequence[Condition],
    policy: ErrorBudgetPolicy,
    basis: Basis = Basis.PROJECTED,
    gaps: Gaps = Gaps.IGNORE,
    stale_after: int = 10,
    lookbacks_s: Sequence[int] = LOOKBACKS_S,
    scale: int = 1,
    weight: Fraction = Fraction(1),
) -> Plan:
    """Compile one objective: every condition and predicate becomes an exact comparison of counts.

    A member of a composite is held against ``threshold / weight`` (docs/maths.md, "Composites").

    Raises:
        UsageError: *target* is outside ``[0, 1)``.
    """
    share = allowed_share(target, weight)
    columns = _Columns()
    condition_columns = tuple(columns.of(_condition(one, share, basis)) for one in conditions)
    enter: list[int | Check | None] = []
    leave: list[int | Check | None] = []
    for state in policy.states:
        for predicate, into in ((state.enter, enter), (state.exit, leave)):
            if predicate is None:
                into.append(None)
                continue
            check = _predicate(predicate, share, basis)
            into.append(_with_columns(check, columns) if _looks_at_alerts(check) else columns.of(check))
    return Plan(
        step_s=step_s,
        target=target,
        window=window,
        basis=basis,
        gaps=gaps,
        stale_after=stale_after,
        lookbacks_s=tuple(lookbacks_s),
        conditions=tuple(conditions),
        policy=policy,
        columns=tuple(columns.found),
        condition_columns=condition_columns,
        enter=tuple(enter),
        exit=tuple(leave),
        scale=scale,
        weight=weight,
    )


def _condition(condition: Condition, share: Fraction, basis: Basis) -> Check:
    checks: list[Check] = []
    if condition.kind is ConditionKind.CONSUMED:
        checks.append(
            Test(
                top=condition.lookbacks_s[0],
                bottom=WINDOW,
                threshold=condition.threshold * share,
                op=condition.op,
                when_empty=False,
                projected=basis is Basis.PROJECTED,
            )
        )
    else:
        checks.extend(_burn(lookback, condition.op, condition.threshold, share) for lookback in condition.lookbacks_s)
    if condition.kind is ConditionKind.SIGNIFICANCE:
        confidence = condition.confidence if condition.confidence is not None else Fraction(19, 20)
        checks.append(Significance(condition.lookbacks_s[0], condition.threshold * share, confidence))
    longest = max(condition.lookbacks_s)
    if condition.at_least_bad:
        checks.append(Floor(longest, bad=True, at_least=condition.at_least_bad))
    if condition.at_least_total:
        checks.append(Floor(longest, bad=False, at_least=condition.at_least_total))
    return checks[0] if len(checks) == 1 else Every(tuple(checks))


def _burn(lookback_s: int, op: Comparison, factor: Fraction, share: Fraction, *, scoped: bool = False) -> Test:
    return Test(
        top=lookback_s,
        bottom=lookback_s,
        threshold=factor * share,
        op=op,
        when_empty=compare(Fraction(0), op, factor),
        scoped=scoped,
    )


def _predicate(predicate: Predicate, share: Fraction, basis: Basis) -> Check:
    match predicate:
        case RemainingIs():
            # 1 - B / (a N') op bound  <=>  B flipped(op) (1 - bound) a N'
            return Test(
                top=WINDOW,
                bottom=WINDOW,
                threshold=(1 - predicate.bound) * share,
                op=_FLIPPED[predicate.op],
                when_empty=False,
                scoped=True,
                projected=basis is Basis.PROJECTED,
            )
        case BurnRateIs():
            return _burn(predicate.lookback_s, predicate.op, predicate.bound, share, scoped=True)
        case IncidentOpen():
            return Open(predicate.severities)
        case AlertFiring():
            return Firing(predicate.severities)
        case Expression():
            return Asked(predicate.text)
        case AllOf():
            return Every(tuple(_predicate(part, share, basis) for part in predicate.parts))
        case AnyOf():
            return Some(tuple(_predicate(part, share, basis) for part in predicate.parts))
        case Not():
            return Never(_predicate(predicate.part, share, basis))


def parts_of(check: Check) -> tuple[Check, ...]:
    """The parts of a check that has some."""
    match check:
        case Every() | Some():
            return check.parts
        case Never():
            return (check.part,)
        case _:
            return ()


def _looks_at_alerts(check: Check) -> bool:
    return isinstance(check, Firing) or any(_looks_at_alerts(part) for part in parts_of(check))


def _with_columns(check: Check, columns: _Columns) -> Check:
    """Give every part that does not look at alerts a column of its own, so that unfolding can ask for it."""
    if not _looks_at_alerts(check):
        columns.of(check)
        return check
    match check:
        case Every():
            return Every(tuple(_with_columns(part, columns) for part in check.parts))
        case Some():
            return Some(tuple(_with_columns(part, columns) for part in check.parts))
        case Never():
            return Never(_with_columns(check.part, columns))
        case _:
            return check


def _lookbacks(checks: Sequence[Check]) -> list[int]:
    found: list[int] = [0]
    for check in checks:
        match check:
            case Test():
                found += [check.top, check.bottom]
            case Floor() | Significance():
                found.append(check.lookback_s)
            case _:
                found += _lookbacks(parts_of(check))
    return found
