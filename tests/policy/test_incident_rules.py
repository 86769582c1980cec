"""What incidents oblige to: postmortems and objectives for what keeps returning."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from tightrope.base.units import DAY_S, parse_time
from tightrope.policy.incident_rules import IncidentCost, postmortems_needed, recurring_classes
from tightrope.specs.defaults import DEFAULT_POLICY

WINDOW_S = 28 * DAY_S
NO_RULES = replace(DEFAULT_POLICY, postmortem_share=None, recurring_share=None)


def cost(name: str, share: Fraction, outage_class: str = "database", at: str = "2026-02-03") -> IncidentCost:
    return IncidentCost(name, outage_class, parse_time(at), share)


def test_one_incident_above_a_fifth_of_the_budget_needs_a_postmortem() -> None:
    costs = (cost("INC-1", Fraction(1, 5)), cost("INC-2", Fraction(21, 100)), cost("INC-3", Fraction(9, 10)))
    assert [one.id for one in postmortems_needed(DEFAULT_POLICY, costs)] == ["INC-3", "INC-2"]


def test_a_policy_may_have_no_such_rules() -> None:
    costs = (cost("INC-1", Fraction(5)),)
    assert postmortems_needed(NO_RULES, costs) == ()
    assert recurring_classes(NO_RULES, costs, WINDOW_S) == ()


def test_a_class_that_spends_more_than_a_fifth_of_a_quarter_needs_an_objective() -> None:
    # The first quarter of 2026 has 90 days: 20 % of its budget is 64.29 % of that of 28 days.
    under = (cost("INC-1", Fraction(45, 70)),)
    over = (cost("INC-1", Fraction(33, 100)), cost("INC-2", Fraction(32, 100)))
    assert recurring_classes(DEFAULT_POLICY, under, WINDOW_S) == ()
    (found,) = recurring_classes(DEFAULT_POLICY, over, WINDOW_S)
    assert found.outage_class == "database"
    assert found.quarter_start == parse_time("2026-01-01")
    assert found.share == Fraction(65, 100) * 28 / 90
    assert found.incidents == ("INC-1", "INC-2")


def test_classes_and_quarters_are_counted_apart_and_nothing_without_a_class() -> None:
    half = Fraction(1, 2)
    costs = (
        cost("INC-1", half, "database"),
        cost("INC-2", half, "network"),
        cost("INC-3", half, "database", "2026-04-01"),
        cost("INC-4", Fraction(5), ""),
    )
    assert recurring_classes(DEFAULT_POLICY, costs, WINDOW_S) == ()


@given(st.lists(st.fractions(0, 1, max_denominator=20), max_size=6), st.randoms(use_true_random=False))
def test_the_order_of_incidents_never_matters(shares: list[Fraction], random: Random) -> None:
    costs = [cost(f"INC-{number}", share) for number, share in enumerate(shares)]
    mixed = list(costs)
    random.shuffle(mixed)
    assert postmortems_needed(DEFAULT_POLICY, mixed) == postmortems_needed(DEFAULT_POLICY, costs)
    assert recurring_classes(DEFAULT_POLICY, mixed, WINDOW_S) == recurring_classes(DEFAULT_POLICY, costs, WINDOW_S)
