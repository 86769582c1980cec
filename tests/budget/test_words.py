"""Every surface says the same words: pieces, words with letters, sentences of a service and of a fleet."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tightrope.base.units import DAY_S, parse_time
from tightrope.budget.statement import Budget
from tightrope.budget.words import (
    Standing,
    amount_text,
    budget_text,
    burn_meaning,
    burn_text,
    day_text,
    fleet_sentence,
    flow_word,
    moment_text,
    outlook_text,
    sentence_case,
    service_sentence,
    standing_word,
    status_word,
)
from tightrope.specs.model import Basis, Flow, ShipHow

NOW = parse_time("2026-03-12T14:20:00Z")
FINE = Standing(
    "cart", Budget(Basis.PROJECTED, Fraction(40), Fraction(15)), 60, Flow.FEATURE, ShipHow.STANDARD, age_s=21
)
OVERSPENT = replace(
    FINE,
    service="checkout",
    budget=Budget(Basis.PROJECTED, Fraction(4032, 100), Fraction(4532, 100)),
    flow=Flow.STABILITY,
    ship=ShipHow.GUARDED,
    coming="recovered",
    coming_at=parse_time("2026-03-21T09:40:00Z"),
    holds_features=True,
)
BURNING = replace(FINE, service="search", coming="exhausted", coming_at=NOW + int(2.4 * DAY_S))
SILENT = replace(FINE, service="shipping", stale=True, age_s=38 * 60)


def test_a_budget_is_told_as_share_and_in_minutes_or_events() -> None:
    assert budget_text(FINE.budget, 60) == "62.5 %, 25.0 min left"
    assert budget_text(OVERSPENT.budget, 60) == "−12.4 %, 5.0 min over budget"
    assert budget_text(OVERSPENT.budget, 0) == "−12.4 %, 5 events over budget"
    assert budget_text(Budget(Basis.OBSERVED, Fraction(5), Fraction(5)), 60) == "0.0 %, nothing left"
    assert budget_text(Budget(Basis.OBSERVED, Fraction(0), Fraction(0)), 60) == "no data"


@pytest.mark.parametrize(
    ("amount", "unit_s", "text"),
    [
        (Fraction(5977), 0, "5,977 events"),
        (Fraction(1), 0, "1 event"),
        (Fraction(43, 10), 0, "4.3 events"),
        (Fraction(-2, 100), 0, "0.0 events"),
        (Fraction(-12), 0, "−12 events"),
        (Fraction(367, 10), 60, "36.7 min"),
        (Fraction(-5), 60, "−5.0 min"),
    ],
)
def test_an_amount_has_its_unit(amount: Fraction, unit_s: int, text: str) -> None:
    assert amount_text(amount, unit_s) == text


def test_a_burn_rate_is_never_bare() -> None:
    assert (burn_text(Fraction(21, 10)), burn_meaning(Fraction(21, 10), 28 * DAY_S)) == (
        "2.1×",
        "spends a whole budget in 13.3 d",
    )
    assert (burn_text(1), burn_meaning(1, DAY_S)) == ("1.0×", "within plan")
    assert (burn_text(0), burn_meaning(0, DAY_S)) == ("0.0×", "nothing is spent")
    assert (burn_text(None), burn_meaning(None, DAY_S)) == ("–", "no traffic")
    assert burn_text(1200) == "1,200×"


def test_an_outlook_says_when() -> None:
    assert outlook_text("exhausted", NOW + int(2.4 * DAY_S), NOW) == "runs out in 2.4 d at this burn"
    assert outlook_text("exhausted", None, NOW) == "lasts this window at this burn"
    assert outlook_text("recovered", OVERSPENT.coming_at, NOW) == "recovers about 21 Mar"
    assert outlook_text("recovered", None, NOW) == "no way back within one window"
    assert outlook_text(None, None, NOW) == "steady"
    assert sentence_case(outlook_text(None, None, NOW)) == "Steady"


@pytest.mark.parametrize(
    ("remaining", "expected"),
    [
        (Fraction(1), ("Healthy", "ok")),
        (Fraction(1, 4), ("Healthy", "ok")),
        (Fraction(249, 1000), ("At risk", "!")),
        (Fraction(0), ("Exhausted", "x")),
        (Fraction(-1), ("Exhausted", "x")),
        (None, ("No data", "?")),
    ],
)
def test_a_budget_has_a_word_and_a_letter(remaining: Fraction | None, expected: tuple[str, str]) -> None:
    assert status_word(remaining, Flow.FEATURE, ShipHow.STANDARD, stale=False) == expected


def test_what_runs_out_within_a_week_is_at_risk_and_stale_is_never_green() -> None:
    assert standing_word(BURNING, NOW) == ("At risk", "!")
    assert standing_word(replace(BURNING, coming_at=NOW + 8 * DAY_S), NOW) == ("Healthy", "ok")
    assert standing_word(SILENT, NOW) == ("No data", "?")
    assert standing_word(replace(FINE, ship=ShipHow.GUARDED), NOW) == ("At risk", "!")


def test_flows_have_words() -> None:
    assert flow_word(Flow.FEATURE, ShipHow.STANDARD) == ("Feature", "F")
    assert flow_word(Flow.FEATURE, ShipHow.GUARDED) == ("Guarded", "G")
    assert flow_word(Flow.STABILITY, ShipHow.GUARDED) == ("Stability", "S")


@pytest.mark.parametrize(
    ("standing", "sentence"),
    [
        (OVERSPENT, "checkout is 5.0 min over budget. Features wait until about 21 Mar."),
        (replace(OVERSPENT, coming_at=None), "checkout is 5.0 min over budget. Features wait."),
        (BURNING, "search has 62.5 % of its budget left, 25.0 min. It runs out in 2.4 d at this burn."),
        (FINE, "cart has 62.5 % of its budget left, 25.0 min."),
        (replace(FINE, ship=ShipHow.GUARDED), "cart has 62.5 % of its budget left, 25.0 min. Changes ship guarded."),
        (SILENT, "shipping has sent no data for 38.0 min."),
        (replace(SILENT, age_s=None), "shipping has sent no data yet."),
        (
            replace(FINE, budget=Budget(Basis.PROJECTED, Fraction(0), Fraction(0))),
            "cart had no traffic in its window, so its budget is not known.",
        ),
        (
            replace(FINE, budget=Budget(Basis.PROJECTED, Fraction(3), Fraction(3)), holds_features=True),
            "cart has spent its budget. Features wait.",
        ),
    ],
)
def test_a_service_is_answered_for_in_a_sentence(standing: Standing, sentence: str) -> None:
    assert service_sentence(standing, NOW) == sentence


@pytest.mark.parametrize(
    ("standings", "sentence"),
    [
        (
            [OVERSPENT, BURNING, *[FINE] * 10],
            "One of 12 services is in stability flow, and one more runs out of budget in 2.4 days.",
        ),
        ([FINE] * 12, "All 12 services are in feature flow with budget left."),
        ([OVERSPENT, OVERSPENT], "All 2 services are in stability flow."),
        ([OVERSPENT, OVERSPENT, FINE], "Two of 3 services are in stability flow."),
        ([BURNING, FINE], "One of 2 services runs out of budget in 2.4 days."),
        (
            [OVERSPENT, BURNING, BURNING, FINE],
            "One of 4 services is in stability flow, and two more run out of budget within a week, the first in 2.4 days.",  # noqa: E501
        ),
        ([replace(OVERSPENT, flow=Flow.FEATURE), FINE, FINE],
         "One of 3 services ships guarded, and one has no budget left."),
        ([replace(FINE, budget=Budget(Basis.PROJECTED, Fraction(0), Fraction(0))), FINE],
         "All 2 services are in feature flow."),
        ([SILENT, FINE], "One of 2 services sends no data."),
        ([OVERSPENT, BURNING, SILENT],
         "One of 3 services is in stability flow, one more runs out of budget in 2.4 days, and one sends no data."),
        ([replace(FINE, ship=ShipHow.GUARDED), FINE], "One of 2 services ships guarded."),
        ([FINE], "cart has 62.5 % of its budget left, 25.0 min."),
        ([], "No service is watched yet."),
    ],
)  # fmt: skip
def test_a_fleet_is_answered_for_in_one_sentence(standings: list[Standing], sentence: str) -> None:
    assert fleet_sentence(standings, NOW) == sentence


def test_dates_are_short_and_name_another_year() -> None:
    assert day_text(parse_time("2026-03-21T09:40:00Z"), NOW) == "21 Mar"
    assert day_text(parse_time("2027-01-02T00:00:00Z"), NOW) == "2 Jan 2027"
    assert moment_text(parse_time("2026-03-21T09:40:00Z"), NOW) == "21 Mar 09:40"


@given(st.fractions(-100, 100), st.sampled_from([0, 60]))
def test_what_is_over_budget_is_told_without_a_minus(spent: Fraction, unit_s: int) -> None:
    text = budget_text(Budget(Basis.OBSERVED, Fraction(7), 7 + abs(spent)), unit_s)
    assert "−" not in text.split(", ", 1)[1]


@given(st.lists(st.sampled_from([FINE, OVERSPENT, BURNING, SILENT]), max_size=6))
def test_the_order_of_services_does_not_change_the_answer(standings: list[Standing]) -> None:
    assert fleet_sentence(standings, NOW) == fleet_sentence(standings[::-1], NOW)
