"""What a spec says correctly but hardly means: warnings, each with the reason and the better wording."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from fractions import Fraction
from itertools import pairwise, product

from tightrope.base.errors import Place, UsageError
from tightrope.base.units import HOUR_S, MINUTE_S, Duration, duration_text, parse_duration
from tightrope.specs.defaults import default_conditions
from tightrope.specs.model import (
    AlertFiring,
    AllOf,
    AnyOf,
    BudgetingMethod,
    BurnRateIs,
    Comparison,
    Condition,
    ConditionKind,
    ErrorBudgetPolicy,
    Expression,
    IncidentOpen,
    Not,
    PolicyState,
    Predicate,
    RemainingIs,
    Slo,
    leaves,
    questions_of,
)
from tightrope.specs.positions import Report, clipped
from tightrope.specs.shapes import Table, nearest, percent_text

SOURCE_TYPES = (
    "csv",
    "parquet",
    "access-log",
    "openmetrics",
    "prometheus",
    "sql",
    "probe",
    "remote-write",
    "otlp",
    "push",
)
"""Types of data source that can be read, probed or received; ``telemetry`` has a door for each."""

_LOOKBACK_FIELDS = ("lookbackWindow", "short", "long")  # a tier without `short` derives it from `long`
_STRICTEST_S = MINUTE_S
_COMBINATIONS_MAX = 20_000


def lint_slo(spec: Table, report: Report) -> None:
    """Look at an SLO as written, also when other parts of it are wrong."""
    window = next(iter(spec.tables("timeWindow")), None)
    duration = window.get("duration", Duration) if window else None
    if window is not None and duration is not None and (duration.unit == "m" or duration.seconds < HOUR_S):
        month = duration.unit == "m" and duration.count <= 12
        report.add(
            "TR033",
            f"a time window of {duration} is {duration.count} minute{'s' if duration.count != 1 else ''}",
            window.at("duration"),
            path=window.path("duration"),
            note="m is minutes, M is months" if month else "very short",
            remedy=f"write {duration.count}M for {_months(duration.count)}"
            if month
            else "take a window of days, such as 28d",
        )
        duration = None  # what follows from so short a window is not worth saying
    for item in spec.tables("objectives"):
        _lint_target(item, duration, report)
        if spec.text("budgetingMethod") == "Timeslices" and item.given("compositeWeight"):
            report.add(
                "TR038",
                "compositeWeight has no effect in a Timeslices composite",
                item.at("compositeWeight"),
                path=item.path("compositeWeight"),
                note="ignored",
                remedy="remove it; a slice is bad when it is bad for any member",
            )


def lint_condition(spec: Table, report: Report) -> None:
    """Look at an AlertCondition as written."""
    table = spec.get("condition", Table)
    if table is not None and table.text("op") in ("lte", "lt"):
        better = "gte" if table.text("op") == "lte" else "gt"
        report.add(
            "TR032",
            f"op: {table.text('op')} on a burn rate fires when all is well",
            table.at("op"),
            path=table.path("op"),
            note="true nearly always",
            remedy=f"write `op: {better}`",
        )


def lint_conditions(slo: Slo, conditions: Iterable[tuple[Condition, Table]], report: Report) -> None:
    """Hold the alert conditions of an SLO against its targets and its window."""
    lowest = min(slo.objectives, key=lambda objective: objective.target).target
    window_s = slo.window.duration.seconds
    for condition, table in conditions:
        path = next(
            (table.path(name) for name in ("threshold", "factor", "budget", "share") if table.given(name)),
            table.spot.path,
        )
        needed = condition.threshold * (1 - lowest)
        rising = condition.op in (Comparison.GTE, Comparison.GT)
        beyond = needed > 1 or (needed == 1 and condition.op is Comparison.GT)
        if condition.kind is not ConditionKind.CONSUMED and rising and beyond and lowest > 0:
            factor = f"{float(condition.threshold):.4g}x"
            report.add(
                "TR031",
                f"{condition.name} can never fire: {factor} needs an error ratio of {percent_text(needed)} "
                f"at target {percent_text(lowest)} of {slo.name}",
                condition.place,
                path=path,
                note="the error ratio ends at 100 %",
                remedy=f"take a burn rate below {float(1 / (1 - lowest)):.4g}, or a higher target",
            )
        for lookback_s in condition.lookbacks_s:
            field = _lookback_field(table, lookback_s)
            if lookback_s > window_s:
                report.add(
                    "TR037",
                    f"{condition.name} looks back {duration_text(lookback_s)}, longer than the window of "
                    f"{slo.name} ({slo.window.duration})",
                    table.at(field),
                    path=table.path(field),
                    remedy=f"look back {slo.window.duration} at most",
                )
            _lint_lookbacks(condition.name, (lookback_s,), slo, table.at(field), table.path(field), report)


def _lookback_field(table: Table, lookback_s: int) -> str:
    """The field of a condition that a lookback is written in, or derived from."""
    given = [name for name in _LOOKBACK_FIELDS if table.given(name)]
    written = (name for name in given if (span := table.get(name, Duration)) and span.seconds == lookback_s)
    return next(written, given[-1])


def lint_source(kind: str, place: Place, path: str, report: Report) -> None:
    """Warn of a data source of an SLO whose type nobody here reads; OpenSLO itself allows any."""
    if kind.lower() not in SOURCE_TYPES:
        close = nearest(kind, SOURCE_TYPES)
        report.add(
            "TR043",
            f"data sources of type {clipped(kind)!r} cannot be read, so the SLOs that need one have no status",
            place,
            path=path,
            note=f"did you mean {close}?" if close else "",
            remedy=f"types that can be read are {', '.join(SOURCE_TYPES)}",
        )


def lint_unwritten(slo: Slo, policy: ErrorBudgetPolicy, report: Report) -> None:
    """Hold what an SLO does not say itself against its slices: the default alerts, and the policy it follows."""
    if not slo.alert_policies:
        alerts = default_conditions(slo.window.duration.seconds)
        looks = [lookback for condition in alerts for lookback in condition.lookbacks_s]
        _lint_lookbacks("its default alerts", looks, slo, slo.place, "spec.alertPolicies", report)
    for state in policy.states:
        predicates = [one for one in (state.enter, state.exit) if one is not None]
        looks = [leaf.lookback_s for one in predicates for leaf in leaves(one) if isinstance(leaf, BurnRateIs)]
        what = f"state {state.name} of policy {policy.name}"
        _lint_lookbacks(what, looks, slo, slo.place, "spec", report)


def _lint_lookbacks(what: str, lookbacks_s: Iterable[int], slo: Slo, place: Place, path: str, report: Report) -> None:
    step_s = _slice_s(slo)
    short = sorted({lookback for lookback in lookbacks_s if step_s is not None and lookback < step_s})
    if short and step_s is not None:
        said = " and ".join(duration_text(lookback) for lookback in short)
        report.add(
            "TR036",
            f"{slo.name}: {what} would look back {said}, but there is one slice in {duration_text(step_s)}",
            place,
            path=path,
            note="one whole slice counts instead",
            remedy=f"look back {duration_text(step_s)} or longer, or take finer slices",
        )


def _slice_s(slo: Slo) -> int | None:
    """How long a slice of the budget is, as far as the spec says."""
    spans = [told_step_s(slo) or 0]
    if slo.method is not BudgetingMethod.OCCURRENCES:
        spans += [one.time_slice_window.seconds for one in slo.objectives if one.time_slice_window is not None]
    return max(spans) or None


def told_step_s(slo: Slo) -> int | None:
    """The resolution that the SLO declares, else the longest that its sources do: seconds, None if nobody does."""
    if slo.step_s is not None:
        return slo.step_s
    told = [question.source.connection.get("resolution") for question in questions_of(slo)]
    told += [question.spec.get("every") for question in questions_of(slo) if "state" in question.spec]
    steps_s = [0]
    for text in told:
        with suppress(UsageError):  # the source says so itself, when it is read
            steps_s.append(parse_duration(text).seconds if isinstance(text, str) else 0)
    return max(steps_s) or None


def lint_resolution(slo: Slo, spec: Table, report: Report) -> None:
    """Hold the window of an SLO against its declared resolution."""
    window = next(iter(spec.tables("timeWindow")), None)
    duration = window.get("duration", Duration) if window else None
    step_s = told_step_s(slo)
    if step_s is not None and window is not None and duration is not None and duration.seconds < step_s:
        report.add(
            "TR036",
            f"duration {duration} is shorter than the resolution of {duration_text(step_s)}",
            window.at("duration"),
            path=window.path("duration"),
            remedy=f"write {duration_text(step_s)} or more, or a finer tightrope.dev/resolution",
        )


def lint_policy(policy: ErrorBudgetPolicy, states: tuple[Table, ...], report: Report) -> None:
    """Find states that flap, that are never entered, or never left."""
    for state, table in zip(policy.states, states, strict=False):
        said = _contradiction(state)
        if said:
            report.add(
                "TR040",
                f"state {state.name} {said}",
                table.at("exit"),
                path=table.path("exit"),
                remedy="let exit begin where enter no longer holds, with a gap between both bounds",
            )


def _lint_target(item: Table, window: Duration | None, report: Report) -> None:
    name = "target" if item.given("target") else "targetPercent"
    number = item.get(name, Fraction)
    if number is None:
        return
    target = number if name == "target" else number / 100
    if target == 0:
        report.add(
            "TR034",
            f"{name} 0 cannot be missed, so no alert is possible",
            item.at(name),
            path=item.path(name),
            note="every unit may fail",
            remedy="write a target above 0",
        )
    elif window is not None and (1 - target) * window.seconds < _STRICTEST_S:
        outage_s = float((1 - target) * window.seconds)
        report.add(
            "TR035",
            f"target {percent_text(target)} allows {outage_s:.3g} s of outage in {window}",
            item.at(name),
            path=item.path(name),
            note="no alert can defend this",
            remedy=f"write at most {float(int((1 - Fraction(_STRICTEST_S, window.seconds)) * 10**6)) / 10**6:.6g}, "
            "or take a longer window",
        )


def _months(count: int) -> str:
    return "a month" if count == 1 else f"{count} months"


# --- contradictions between enter and exit: every condition is constant between its bounds, so a few points do ---


def _contradiction(state: PolicyState) -> str:
    if state.enter is None or state.exit is None:
        return ""
    parts = [*leaves(state.enter), *leaves(state.exit)]
    if any(isinstance(leaf, Expression) for leaf in parts):
        return ""
    axes = _axes(parts)
    points = 1
    for values in axes.values():
        points *= len(values)
    if points > _COMBINATIONS_MAX:
        return ""
    entered = left = both = False
    for values in product(*axes.values()):
        facts = dict(zip(axes, values, strict=True))
        enters, exits = _holds(state.enter, facts), _holds(state.exit, facts)
        entered, left, both = entered or enters, left or exits, both or (enters and exits)
    if not entered:
        return "can never be entered"
    if not left:
        return "can never be left"
    return "has an exit that holds while its enter still holds, so it flaps" if both else ""


_Axis = tuple[str, int | frozenset[str]]


def _axes(parts: list[Predicate]) -> dict[_Axis, tuple[Fraction, ...]]:
    """Values worth trying of each thing that is measured: at, below and above every bound, as far as they occur."""
    bounds: dict[_Axis, set[Fraction]] = {}
    for leaf in parts:
        if isinstance(leaf, RemainingIs | BurnRateIs):
            bounds.setdefault(_axis(leaf), set()).add(leaf.bound)
        elif isinstance(leaf, IncidentOpen | AlertFiring):
            for severity in leaf.severities or {""}:
                bounds.setdefault((_axis(leaf)[0], frozenset({severity})), set())
    axes: dict[_Axis, tuple[Fraction, ...]] = {}
    for axis, found in bounds.items():
        if isinstance(axis[1], frozenset):
            axes[axis] = (Fraction(0), Fraction(1))
            continue
        ordered = sorted(found)
        between = [(a + b) / 2 for a, b in pairwise(ordered)]
        tried = {*ordered, *between, ordered[0] - 1, ordered[-1] + 1, Fraction(1), Fraction(0)}
        axes[axis] = tuple(value for value in tried if (value <= 1 if axis[0] == "remaining" else value >= 0))
    return axes


def _axis(leaf: Predicate) -> _Axis:
    match leaf:
        case RemainingIs():
            return ("remaining", 0)
        case BurnRateIs():
            return ("burn", leaf.lookback_s)
        case IncidentOpen():
            return ("incident", leaf.severities)
        case AlertFiring():
            return ("alert", leaf.severities)
        case _:
            return ("", 0)


def _holds(predicate: Predicate, facts: dict[_Axis, Fraction]) -> bool:
    match predicate:
        case AllOf():
            return all(_holds(part, facts) for part in predicate.parts)
        case AnyOf():
            return any(_holds(part, facts) for part in predicate.parts)
        case Not():
            return not _holds(predicate.part, facts)
        case RemainingIs() | BurnRateIs():
            measured, bound = facts[_axis(predicate)], predicate.bound
            return {
                Comparison.LT: measured < bound,
                Comparison.LTE: measured <= bound,
                Comparison.GT: measured > bound,
                Comparison.GTE: measured >= bound,
            }[predicate.op]
        case _:
            # No severity means any of them, also those that other parts of the condition name.
            kind, severities = _axis(predicate)
            return any(
                value == 1 and (not severities or axis[1] <= severities)
                for axis, value in facts.items()
                if axis[0] == kind and isinstance(axis[1], frozenset) and isinstance(severities, frozenset)
            )
