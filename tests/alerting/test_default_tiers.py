"""The default alert tiers, as the SRE Workbook has them and as other windows need them."""

from __future__ import annotations

from fractions import Fraction

import pytest

from tightrope.base.units import DAY_S
from tightrope.specs.defaults import burn_factor, default_conditions


@pytest.mark.parametrize(
    ("days", "factors"),
    [
        (30, ["14.4", "6", "3", "1"]),
        (28, ["13.44", "5.6", "2.8", "14/15"]),
        (90, ["43.2", "18", "9", "3"]),
        (7, ["14.4", "6", "3", "1"]),
        (1, ["14.4"]),
    ],
)
def test_factors_follow_the_window_from_four_weeks_on(days: int, factors: list[str]) -> None:
    conditions = default_conditions(days * DAY_S)
    assert [one.threshold for one in conditions] == [Fraction(factor) for factor in factors]
    assert [one.severity for one in conditions] == ["page", "page", "ticket", "ticket"][: len(factors)]


@pytest.mark.parametrize("days", [1, 3, 7, 14, 28, 30, 90, 365])
def test_every_default_tier_can_fire_while_there_is_budget_left(days: int) -> None:
    for one in default_conditions(days * DAY_S):
        assert one.threshold * one.lookbacks_s[0] <= days * DAY_S
        assert one.lookbacks_s[1] * 12 == one.lookbacks_s[0]


def test_a_share_of_the_budget_gives_the_burn_rate_that_spends_it() -> None:
    assert burn_factor(Fraction(2, 100), 30 * DAY_S, 3600) == Fraction("14.4")
