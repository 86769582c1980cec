"""Scenarios: small worlds as text, slices and events in, states and decisions out, to test a policy with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from tightrope.base.errors import Place, SpecError, UsageError
from tightrope.base.units import duration_text, parse_duration, parse_fraction, parse_time, time_text
from tightrope.engine.plan import Incident
from tightrope.sli.slices import Slices
from tightrope.specs.model import (
    Basis,
    BudgetingMethod,
    ChangeKind,
    Objective,
    RollingWindow,
    SilverBullet,
    Slo,
)

_CODE = "TR090"


@dataclass(frozen=True, slots=True)
class Expectation:
    """What must be true at one instant: the state, and the verdict for some kinds of change; None: not asked."""

    at: int
    said: str
    state: str | None
    flow: str | None
    gate: tuple[tuple[ChangeKind, str], ...]


@dataclass(frozen=True, slots=True, eq=False)
class Scenario:
    """One test: a made-up SLO, its slices, what happened, and what must follow."""

    name: str
    policy: str
    slo: Slo
    slices: Slices
    incidents: tuple[Incident, ...]
    bullets: tuple[SilverBullet, ...]
    expectations: tuple[Expectation, ...]


@dataclass(frozen=True, slots=True)
class Result:
    """How a scenario went: how many checks there were, and each that failed, in words."""

    name: str
    checks: int
    failures: tuple[str, ...]


Situation = tuple[str, str, Mapping[ChangeKind, str]]
"""State, flow, and the verdict for each kind that was asked about."""


def run(scenario: Scenario, situation: Callable[[Scenario, int, Sequence[ChangeKind]], Situation]) -> Result:
    """Hold a scenario's expectations against what the engine and the gate say at each instant."""
    failures: list[str] = []
    checks = 0
    for expected in scenario.expectations:
        state, flow, verdicts = situation(scenario, expected.at, [kind for kind, _ in expected.gate])
        for what, wanted, got in (("state", expected.state, state), ("flow", expected.flow, flow)):
            if wanted is not None:
                checks += 1
                if wanted != got:
                    failures.append(f"at {expected.said} ({time_text(expected.at)}): {what} is {got}, not {wanted}")
        for kind, wanted in expected.gate:
            checks += 1
            if verdicts[kind] != wanted:
                failures.append(
                    f"at {expected.said} ({time_text(expected.at)}): gate says {verdicts[kind]} to {kind}, not {wanted}"
                )
    return Result(scenario.name, checks, tuple(failures))


def read_scenario(document: Mapping[str, Any], place: Place) -> Scenario:
    """Read a ``PolicyTest`` document; raises `SpecError` that names the field."""
    try:
        return _scenario(document)
    except UsageError as error:
        raise SpecError(_CODE, error.message, place, remedy=error.remedy, path="spec") from None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise SpecError(
            _CODE,
            f"this PolicyTest cannot be read: {type(error).__name__}: {error}",
            place,
            path="spec",
            remedy="see docs/policy.md, 'Policies have tests', for the fields",
        ) from None


def _scenario(document: Mapping[str, Any]) -> Scenario:
    name = str(_field(document.get("metadata"), "name", "metadata"))
    spec = _mapping(document.get("spec"), "spec")
    _only(spec, {"policy", "slo", "start", "resolution", "slices", "incidents", "exceptions", "expect"}, "spec")
    slo_spec = _mapping(spec.get("slo", {}), "spec.slo")
    _only(slo_spec, {"objective", "window", "budgetingMethod", "timeSliceTarget", "basis"}, "spec.slo")
    step = parse_duration(str(spec.get("resolution", "1m"))).seconds
    start = parse_time(str(_field(spec, "start", "spec")))
    if not step or start % step:
        raise UsageError(
            f"spec.start {time_text(start)} is no multiple of the resolution of {duration_text(step)}",
            remedy="start at a full minute, hour or day",
        )
    method = BudgetingMethod(slo_spec.get("budgetingMethod", "Occurrences"))
    objective = Objective(
        parse_fraction(str(slo_spec.get("objective", "0.999"))),
        time_slice_target=parse_fraction(str(slo_spec.get("timeSliceTarget", "1"))),
        time_slice_window=parse_duration(str(spec.get("resolution", "1m"))),
    )
    slo = Slo(
        name=name,
        service=name,
        method=method,
        window=RollingWindow(parse_duration(str(slo_spec.get("window", "28d")))),
        objectives=(objective,),
        basis=Basis(slo_spec.get("basis", "projected")),
        step_s=step,
    )
    slices = _slices(_items(spec, "slices"), start, step)
    return Scenario(
        name,
        str(spec.get("policy", "default")),
        slo,
        slices,
        tuple(_incident(one, start) for one in _items(spec, "incidents", optional=True)),
        tuple(_bullet(one, name, start) for one in _items(spec, "exceptions", optional=True)),
        tuple(_expectation(one, start) for one in _items(spec, "expect")),
    )


def _slices(stretches: Sequence[Mapping[str, Any]], start: int, step: int) -> Slices:
    bad: list[np.ndarray] = []
    total: list[np.ndarray] = []
    covered: list[np.ndarray] = []
    for number, stretch in enumerate(stretches):
        where = f"spec.slices[{number}]"
        _only(stretch, {"for", "total", "bad", "badRatio", "gap"}, where)
        length = parse_duration(str(_field(stretch, "for", where))).seconds
        count, rest = divmod(length, step)
        if rest:
            raise UsageError(
                f"{where}.for {duration_text(length)} is no multiple of the resolution {duration_text(step)}"
            )
        gap = bool(stretch.get("gap", False))
        units = 0 if gap else int(stretch.get("total", 1000))
        ratio = Fraction(int(stretch.get("bad", 0)), units) if units else Fraction(0)
        if "badRatio" in stretch:
            ratio = parse_fraction(str(stretch["badRatio"]))
        if not 0 <= ratio <= 1:
            raise UsageError(f"{where}: bad must lie between 0 and total", remedy="lower bad, or raise total")
        total.append(np.full(count, units, np.int64))
        bad.append(np.full(count, round(units * ratio), np.int64))
        covered.append(np.full(count, not gap))
    if not bad:
        raise UsageError(
            "spec.slices is empty", remedy="give at least one stretch such as {for: 20d, total: 1000, bad: 0}"
        )
    return Slices(start, step, np.concatenate(bad), np.concatenate(total), np.concatenate(covered))


def _incident(one: Mapping[str, Any], start: int) -> Incident:
    _only(one, {"from", "to", "severity", "cause", "id"}, "spec.incidents[]")
    return Incident(
        _instant(_field(one, "from", "spec.incidents[]"), start),
        _instant(_field(one, "to", "spec.incidents[]"), start),
        str(one.get("severity", "")),
        str(one.get("cause", "")),
        str(one.get("id", "")),
    )


def _bullet(one: Mapping[str, Any], service: str, start: int) -> SilverBullet:
    _only(one, {"from", "to", "requestedBy", "approvedBy", "reason", "change"}, "spec.exceptions[]")
    return SilverBullet(
        name=str(one.get("reason", "exception")),
        service=service,
        requested_by=str(one.get("requestedBy", "requester")),
        approved_by=str(one.get("approvedBy", "approver")),
        reason=str(one.get("reason", "")),
        granted_at=_instant(_field(one, "from", "spec.exceptions[]"), start),
        expires_at=_instant(_field(one, "to", "spec.exceptions[]"), start),
        change=str(one.get("change", "")),
    )


def _expectation(one: Mapping[str, Any], start: int) -> Expectation:
    _only(one, {"at", "state", "flow", "gate"}, "spec.expect[]")
    said = str(_field(one, "at", "spec.expect[]"))
    gate = _mapping(one.get("gate", {}), "spec.expect[].gate")
    return Expectation(
        _instant(said, start),
        said,
        None if one.get("state") is None else str(one["state"]),
        None if one.get("flow") is None else str(one["flow"]),
        tuple((ChangeKind(kind), str(verdict)) for kind, verdict in gate.items()),
    )


def _instant(value: Any, start: int) -> int:
    """An instant: a time, or durations after the start such as ``20d`` or ``20d 30m``."""
    text = str(value)
    try:
        return start + sum(parse_duration(part).seconds for part in text.split())
    except UsageError:
        return parse_time(text)


def _field(mapping: Any, name: str, where: str) -> Any:
    found = _mapping(mapping, where)
    if name not in found:
        raise UsageError(f"{where}.{name} is missing", remedy=f"add `{name}`")
    return found[name]


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise UsageError(f"{where} must be a mapping", remedy="see docs/policy.md, 'Policies have tests'")
    return value


def _items(spec: Mapping[str, Any], name: str, *, optional: bool = False) -> Sequence[Mapping[str, Any]]:
    items = spec.get(name, [] if optional else None)
    if not isinstance(items, list) or not all(isinstance(one, Mapping) for one in items):
        raise UsageError(f"spec.{name} must be a list of mappings", remedy="see docs/policy.md, 'Policies have tests'")
    return items


def _only(mapping: Mapping[str, Any], known: set[str], where: str) -> None:
    unknown = [name for name in mapping if name not in known]
    if unknown:
        raise UsageError(f"{where}.{unknown[0]} is not a field", remedy=f"fields are {', '.join(sorted(known))}")
