"""Scenarios: small worlds as text, slices and events in, states and decisions out, to test a policy with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Any, TypeVar

import numpy as np

from tightrope.base.errors import NotFoundError, Place, SpecError, UsageError
from tightrope.base.units import duration_text, parse_duration, parse_fraction, parse_time, time_text
from tightrope.base.values import dataclass
from tightrope.engine.plan import Incident
from tightrope.policy.decision import Verdict
from tightrope.sli.slices import Slices
from tightrope.specs.model import (
    Basis,
    BudgetingMethod,
    ChangeKind,
    Flow,
    Objective,
    RollingWindow,
    SilverBullet,
    Slo,
)
from tightrope.telemetry.tally import MOST_SLICES

_CODE = "TR090"
_SEE = "see docs/policy.md, 'Policies have tests'"
_MOST_UNITS = 10**11  # in one slice, so that the sum over all of them stays exact in 64 bits

Word = TypeVar("Word", bound=StrEnum)
Value = TypeVar("Value")


class AbsentError(NotFoundError):
    """A test names a policy or a state that is not there; *path* tells where in the document."""

    def __init__(self, message: str, path: str, *, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.path = path


class _MisreadError(UsageError):
    """A field of a test that cannot be meant; *path* tells where in the document."""

    def __init__(self, path: str, says: str, *, remedy: str = "") -> None:
        super().__init__(says, remedy=remedy)
        self.path = path


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
    """Read a ``PolicyTest`` document; raises `SpecError` at *place* that has the path of the field."""
    try:
        return _scenario(document)
    except _MisreadError as error:
        raise SpecError(_CODE, error.message, place, remedy=error.remedy, path=error.path) from None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise SpecError(
            _CODE,
            f"this PolicyTest cannot be read: {type(error).__name__}: {error}",
            place,
            path="spec",
            remedy=f"{_SEE}, for the fields",
        ) from None


def _scenario(document: Mapping[str, Any]) -> Scenario:
    name = str(_field(document.get("metadata"), "name", "metadata"))
    spec = _mapping(document.get("spec"), "spec")
    _only(spec, {"policy", "slo", "start", "resolution", "slices", "incidents", "exceptions", "expect"}, "spec")
    slo_spec = _mapping(spec.get("slo", {}), "spec.slo")
    _only(slo_spec, {"objective", "window", "budgetingMethod", "timeSliceTarget", "basis"}, "spec.slo")
    resolution = _parsed(parse_duration, spec.get("resolution", "1m"), "spec.resolution")
    step = resolution.seconds
    start = _parsed(parse_time, _field(spec, "start", "spec"), "spec.start")
    if not step or start % step:
        raise _MisreadError(
            "spec.start",
            f"spec.start {time_text(start)} is no multiple of the resolution of {duration_text(step)}",
            remedy="start at a full minute, hour or day",
        )
    written = slo_spec.get("budgetingMethod", "Occurrences")
    method = _word(BudgetingMethod, written, "budgeting method", "spec.slo.budgetingMethod")
    objective = Objective(
        _parsed(parse_fraction, slo_spec.get("objective", "0.999"), "spec.slo.objective"),
        time_slice_target=_parsed(parse_fraction, slo_spec.get("timeSliceTarget", "1"), "spec.slo.timeSliceTarget"),
        time_slice_window=resolution,
    )
    slo = Slo(
        name=name,
        service=name,
        method=method,
        window=RollingWindow(_parsed(parse_duration, slo_spec.get("window", "28d"), "spec.slo.window")),
        objectives=(objective,),
        basis=_word(Basis, slo_spec.get("basis", "projected"), "basis", "spec.slo.basis"),
        step_s=step,
    )
    slices = _slices(_items(spec, "slices"), start, step)
    expected = _items(spec, "expect")
    if not expected:
        raise _MisreadError(
            "spec.expect",
            "spec.expect is empty, so the test would hold whatever happens",
            remedy="expect something, such as {at: 28d, state: feature}",
        )
    return Scenario(
        name,
        str(spec.get("policy", "default")),
        slo,
        slices,
        tuple(
            _incident(one, start, f"spec.incidents[{number}]")
            for number, one in enumerate(_items(spec, "incidents", optional=True))
        ),
        tuple(
            _bullet(one, name, start, f"spec.exceptions[{number}]")
            for number, one in enumerate(_items(spec, "exceptions", optional=True))
        ),
        tuple(_expectation(one, start, f"spec.expect[{number}]") for number, one in enumerate(expected)),
    )


def _slices(stretches: Sequence[Mapping[str, Any]], start: int, step: int) -> Slices:
    if not stretches:
        raise _MisreadError(
            "spec.slices",
            "spec.slices is empty",
            remedy="give at least one stretch such as {for: 20d, total: 1000, bad: 0}",
        )
    counts: list[int] = []
    units: list[tuple[int, int, bool]] = []
    for number, stretch in enumerate(stretches):
        where = f"spec.slices[{number}]"
        _only(stretch, {"for", "total", "bad", "badRatio", "gap"}, where)
        length = _parsed(parse_duration, _field(stretch, "for", where), f"{where}.for").seconds
        count, rest = divmod(length, step)
        if rest or not count:
            what = "no time at all" if not length else f"no multiple of the resolution of {duration_text(step)}"
            raise _MisreadError(
                f"{where}.for",
                f"{where}.for is {duration_text(length)}, {what}",
                remedy="give whole slices, such as 1d",
            )
        counts.append(count)
        units.append(_units(stretch, where))
    if sum(counts) > MOST_SLICES:
        raise _MisreadError(
            "spec.slices",
            f"spec.slices are more than {MOST_SLICES:,} slices of {duration_text(step)}",
            remedy="make them shorter, or the resolution coarser",
        )
    bad, total, covered = (np.repeat(np.array(each), counts) for each in zip(*units, strict=True))
    return Slices(start, step, bad, total, covered)


def _units(stretch: Mapping[str, Any], where: str) -> tuple[int, int, bool]:
    """Bad and total of each slice of a stretch, and whether it was measured."""
    gap = stretch.get("gap", False)
    if not isinstance(gap, bool):
        raise _MisreadError(
            f"{where}.gap", f"{where}.gap is {gap!r}, not true or false", remedy="write gap: true, or leave it out"
        )
    counted = [name for name in ("total", "bad", "badRatio") if name in stretch]
    if gap and counted:
        raise _MisreadError(
            f"{where}.{counted[0]}",
            f"{where} is a gap, and has {counted[0]}",
            remedy="a gap has no counts: keep one of them",
        )
    if gap:
        return 0, 0, False
    if counted[-2:] == ["bad", "badRatio"]:
        raise _MisreadError(f"{where}.badRatio", f"{where} has both bad and badRatio", remedy="keep one of them")
    total = _whole(stretch.get("total", 1000), f"{where}.total")
    if "badRatio" in stretch:
        ratio = _parsed(parse_fraction, stretch["badRatio"], f"{where}.badRatio")
        if not 0 <= ratio <= 1:
            raise _MisreadError(
                f"{where}.badRatio", f"{where}.badRatio is {stretch['badRatio']}", remedy="write a share from 0 to 1"
            )
        return round(total * ratio), total, True
    bad = _whole(stretch.get("bad", 0), f"{where}.bad")
    if bad > total:
        raise _MisreadError(
            f"{where}.bad", f"{where}.bad is {bad} of a total of {total}", remedy="lower bad, or raise total"
        )
    return bad, total, True


def _incident(one: Mapping[str, Any], start: int, where: str) -> Incident:
    _only(one, {"from", "to", "severity", "cause", "id"}, where)
    begin, end = _stretch(one, start, where)
    return Incident(begin, end, str(one.get("severity", "")), str(one.get("cause", "")), str(one.get("id", "")))


def _bullet(one: Mapping[str, Any], service: str, start: int, where: str) -> SilverBullet:
    _only(one, {"from", "to", "requestedBy", "approvedBy", "reason", "change"}, where)
    granted_at, expires_at = _stretch(one, start, where)
    return SilverBullet(
        name=str(one.get("reason", "exception")),
        service=service,
        requested_by=str(one.get("requestedBy", "requester")),
        approved_by=str(one.get("approvedBy", "approver")),
        reason=str(one.get("reason", "")),
        granted_at=granted_at,
        expires_at=expires_at,
        change=str(one.get("change", "")),
    )


def _stretch(one: Mapping[str, Any], start: int, where: str) -> tuple[int, int]:
    begin, end = (_instant(_field(one, name, where), start, f"{where}.{name}") for name in ("from", "to"))
    if end < begin:
        raise _MisreadError(f"{where}.to", f"{where} ends before it begins", remedy="put `to` after `from`")
    return begin, end


def _expectation(one: Mapping[str, Any], start: int, where: str) -> Expectation:
    _only(one, {"at", "state", "flow", "gate"}, where)
    said = str(_field(one, "at", where))
    gate = _mapping(one.get("gate", {}), f"{where}.gate")
    if one.get("state") is None and one.get("flow") is None and not gate:
        raise _MisreadError(
            where,
            f"{where} asks nothing, so it would hold whatever happens",
            remedy="add state, flow or gate, or drop it",
        )
    at = _instant(said, start, f"{where}.at")
    if at < start:
        raise _MisreadError(
            f"{where}.at", f"{where}.at {said} lies before the start", remedy=f"start is {time_text(start)}"
        )
    return Expectation(
        at,
        said,
        None if one.get("state") is None else str(one["state"]),
        None if one.get("flow") is None else str(_word(Flow, one["flow"], "flow", f"{where}.flow")),
        tuple(
            (
                _word(ChangeKind, kind, "kind of change", f"{where}.gate.{kind}"),
                str(_word(Verdict, verdict, "verdict", f"{where}.gate.{kind}")),
            )
            for kind, verdict in gate.items()
        ),
    )


def _word(words: type[Word], value: object, what: str, where: str) -> Word:
    try:
        return words(str(value))
    except ValueError:
        raise _MisreadError(where, f"{value!r} is no {what}", remedy=f"it is one of {', '.join(words)}") from None


def _parsed(parse: Callable[[str], Value], value: object, where: str) -> Value:
    try:
        return parse(str(value))
    except UsageError as error:
        raise _MisreadError(where, error.message, remedy=error.remedy) from None


def _whole(value: object, where: str) -> int:
    number = int(value) if isinstance(value, float) and value.is_integer() else value
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number <= _MOST_UNITS:
        raise _MisreadError(
            where,
            f"{where} is {value!r}, not a whole number from 0 to {_MOST_UNITS:,}",
            remedy="write the count of one slice, such as 1000",
        )
    return number


def _instant(value: Any, start: int, where: str) -> int:
    """An instant: a time, or durations after the start such as ``20d`` or ``20d 30m``."""
    text = str(value)
    parts = text.split()
    try:
        return start + sum(parse_duration(part).seconds for part in parts) if parts else parse_time(text)
    except UsageError:
        return _parsed(parse_time, text, where)


def _field(mapping: Any, name: str, where: str) -> Any:
    found = _mapping(mapping, where)
    if name not in found:
        raise _MisreadError(f"{where}.{name}", f"{where}.{name} is missing", remedy=f"add `{name}`")
    return found[name]


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise _MisreadError(where, f"{where} must be a mapping", remedy=_SEE)
    return value


def _items(spec: Mapping[str, Any], name: str, *, optional: bool = False) -> Sequence[Mapping[str, Any]]:
    items = spec.get(name, [] if optional else None)
    if not isinstance(items, list) or not all(isinstance(one, Mapping) for one in items):
        raise _MisreadError(f"spec.{name}", f"spec.{name} must be a list of mappings", remedy=_SEE)
    return items


def _only(mapping: Mapping[str, Any], known: set[str], where: str) -> None:
    unknown = [name for name in mapping if name not in known]
    if unknown:
        raise _MisreadError(
            f"{where}.{unknown[0]}",
            f"{where}.{unknown[0]} is not a field",
            remedy=f"fields are {', '.join(sorted(known))}",
        )
