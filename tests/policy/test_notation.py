"""Values of the gate, written as JSON and read back: nothing is lost, and what is no value is refused."""

from __future__ import annotations

import json
from dataclasses import make_dataclass, replace
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.policy.test_gate_laws import worlds
from tests.policy.worlds import asking, facts, overspent, silent, slo
from tightrope.base.canonical import canonical
from tightrope.base.errors import DataError, Place
from tightrope.policy.decision import Decision, Forecast, GateFacts, GateRequest
from tightrope.policy.gate import decide
from tightrope.policy.notation import plain, read_as
from tightrope.specs.model import (
    AlertFiring,
    AllOf,
    AnyOf,
    Basis,
    BlackoutHours,
    BurnRateIs,
    ChangeKind,
    Comparison,
    ErrorBudgetPolicy,
    ExceptionQuota,
    Expression,
    Flow,
    FreezeCalendar,
    GateRule,
    IncidentOpen,
    Not,
    PolicyState,
    Predicate,
    RemainingIs,
    ShipHow,
    WhenUnknown,
)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
whole = st.integers(-(10**12), 10**12)
names = st.frozensets(texts, max_size=3)
kinds = st.frozensets(st.sampled_from(ChangeKind))
places = st.builds(Place, texts, whole, whole, whole)
bounds = st.fractions()
leaves = (
    st.builds(RemainingIs, st.sampled_from(Comparison), bounds)
    | st.builds(BurnRateIs, whole, st.sampled_from(Comparison), bounds)
    | st.builds(IncidentOpen, names)
    | st.builds(AlertFiring, names)
    | st.builds(Expression, texts, places)
)
predicates: st.SearchStrategy[Predicate] = st.recursive(
    leaves,
    lambda inner: (
        st.builds(AllOf, st.lists(inner, max_size=3).map(tuple))
        | st.builds(AnyOf, st.lists(inner, max_size=3).map(tuple))
        | st.builds(Not, inner)
    ),
    max_leaves=6,
)
states = st.builds(
    PolicyState,
    texts,
    st.sampled_from(Flow),
    kinds,
    st.sampled_from(ShipHow),
    st.none() | predicates,
    st.none() | predicates,
    whole,
    whole,
    whole,
)
policies = st.builds(
    ErrorBudgetPolicy,
    texts,
    st.lists(states, min_size=1, max_size=3).map(tuple),
    names,
    st.sampled_from(Basis),
    st.builds(WhenUnknown, kinds, whole),
    st.lists(st.builds(FreezeCalendar, texts, texts, kinds, names, names, texts, places), max_size=2).map(tuple),
    st.lists(
        st.builds(BlackoutHours, texts, st.frozensets(st.integers(0, 6)), whole, whole, texts, kinds, names), max_size=2
    ).map(tuple),
    st.none() | st.builds(ExceptionQuota, whole, texts, st.lists(texts, max_size=2).map(tuple), whole),
    st.none() | bounds,
    st.none() | bounds,
    names,
    st.none() | whole,
    st.lists(st.builds(GateRule, texts, texts, texts, texts, places), max_size=2).map(tuple),
    texts,
    texts,
    places,
)


def _there_and_back(value: Any) -> Any:
    return read_as(type(value), json.loads(canonical(plain(value))))


@given(policies)
@settings(max_examples=60)
def test_a_policy_is_read_back_exactly(policy: ErrorBudgetPolicy) -> None:
    assert _there_and_back(policy) == policy


@given(st.builds(GateRequest, texts, whole, texts, st.sampled_from(ChangeKind), texts, texts, texts, texts))
def test_a_request_is_read_back_exactly(request: GateRequest) -> None:
    assert _there_and_back(request) == request


@given(worlds(), st.sampled_from(ChangeKind))
@settings(max_examples=40)
def test_facts_and_the_decision_on_them_are_read_back_exactly(world: GateFacts, kind: ChangeKind) -> None:
    assert _there_and_back(world) == world
    decision = decide(asking(kind), world)
    assert _there_and_back(decision) == decision


def test_forecasts_and_unknown_values_are_read_back_exactly() -> None:
    for one in (overspent(), silent(None), slo(remaining=None), slo(forecast=Forecast("exhausted", None))):
        world = facts(one)
        assert _there_and_back(world) == world


@given(st.fractions())
def test_a_fraction_stays_exact(share: Fraction) -> None:
    world = facts(slo(remaining=share))
    assert _there_and_back(world).slos[0].remaining == share


def test_a_set_is_written_in_one_order() -> None:
    signs = [chr(number) for number in range(97, 123)]
    assert plain(frozenset(reversed(signs))) == signs


def test_a_field_that_an_older_version_did_not_know_takes_its_default() -> None:
    written = plain(asking())
    del written["asked_by"]
    assert read_as(GateRequest, written) == replace(asking(), asked_by="")


def test_a_field_that_a_later_version_adds_changes_no_digest_of_before() -> None:
    before = make_dataclass("Facts", [("state", str)])
    after = make_dataclass("Facts", [("state", str), ("doubts", tuple, ())])
    assert plain(after("feature"), essence=True) == plain(before("feature"), essence=True)
    assert plain(after("feature", ("late",)), essence=True) != plain(before("feature"), essence=True)


def _changed(path: str, value: Any) -> dict[str, Any]:
    """The written facts of one SLO with one part put in the place of another."""
    written: dict[str, Any] = plain(facts(slo()))
    inner: Any = written
    *steps, last = path.split(".")
    for step in steps:
        inner = inner[int(step)] if step.isdecimal() else inner[step]
    inner[last] = value
    return written


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        ("slos.0.remaining", 0.5, r"GateFacts\.slos\[0\]\.remaining cannot be read: 0\.5 is no Fraction"),
        ("slos.0.remaining", "1/0", r"'1/0' is no Fraction"),
        ("slos.0.remaining", "0.5", r"'0\.5' is no Fraction"),
        ("slos.0.stale", 1, r"slos\[0\]\.stale cannot be read: 1 is no bool"),
        ("slos.0.window_s", True, r"window_s cannot be read: True is no int"),
        ("slos.0.firing", [["a"]], r"firing\[0\] cannot be read: \['a'\] is no such list"),
        ("slos.0.firing", "a", r"firing cannot be read: 'a' is no such list"),
        ("slos.0.later", 1, r"this version knows no 'later'"),
        ("slos.0.is", "Slo", r"is no SloFacts"),
        ("policy.states.1.enter", {"is": "Dice"}, r"states\[1\]\.enter cannot be read: .* is none of what may stand"),
        ("policy.states.1.flow", "uphill", r"flow cannot be read: 'uphill' is no Flow"),
        ("policy", None, r"policy cannot be read: None is no ErrorBudgetPolicy"),
    ],
)
def test_what_is_no_such_value_is_named_with_its_path(path: str, value: Any, says: str) -> None:
    with pytest.raises(DataError, match=says):
        read_as(GateFacts, _changed(path, value))


def test_a_part_that_must_be_there_is_missed() -> None:
    written = plain(decide(asking(), facts(slo())))
    del written["verdict"]
    with pytest.raises(DataError, match="there is no 'verdict'"):
        read_as(Decision, written)
