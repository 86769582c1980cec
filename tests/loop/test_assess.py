"""From raw slices to where every objective stands, and what the gate may know of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tightrope.base.errors import DataError
from tightrope.base.units import DAY_S, HOUR_S, Duration
from tightrope.engine.plan import compile_plan
from tightrope.loop.assess import Assessment, assess, reach_s
from tightrope.loop.documents import status_document
from tightrope.loop.gatekeeper import facts_of
from tightrope.loop.standing import standing_of
from tightrope.sli.slices import Slices
from tightrope.specs.defaults import DEFAULT_POLICY, LOOKBACKS_S, default_conditions
from tightrope.specs.model import (
    AllOf,
    BudgetingMethod,
    BurnRateIs,
    Comparison,
    ErrorBudgetPolicy,
    Exclusion,
    Expression,
    Gaps,
    Objective,
    RemainingIs,
    RollingWindow,
    Slo,
    Specs,
    leaves,
)
from tightrope.telemetry.reading import Reading

START = 1_772_323_200  # 2026-03-01T00:00:00Z


def promise(name: str = "checkout", *, days: int = 1, gaps: Gaps = Gaps.IGNORE, stale_after: int = 10) -> Slo:
    return Slo(
        name,
        "checkout",
        BudgetingMethod.OCCURRENCES,
        RollingWindow(Duration(days, "d")),
        (Objective(Fraction(99, 100)),),
        gaps=gaps,
        stale_after=stale_after,
    )


def record(covered: Sequence[bool], bad: Sequence[int] | None = None, *, step_s: int = 60) -> Slices:
    """100 requests in every slice that was measured."""
    mask = np.array(covered, np.bool_)
    wrong = np.array(bad if bad is not None else [0] * len(mask), np.int64) * mask
    return Slices(START, step_s, wrong, mask * np.int64(100), mask)


def assessed(
    slo: Slo,
    slices: Slices,
    at: int | None,
    *,
    policy: ErrorBudgetPolicy = DEFAULT_POLICY,
    exclusions: tuple[Exclusion, ...] = (),
    begun_at: int | None = None,
) -> Assessment:
    specs = Specs(slos=(slo,), policies=(policy,), exclusions=exclusions)
    (found,) = assess(specs, specs.slos, lambda _: [Reading(slices)], at=at, begun_at=begun_at)
    return found


def maintenance(minute: int, minutes: int) -> Exclusion:
    from datetime import UTC, datetime

    begin = datetime.fromtimestamp(START + 60 * minute, UTC).replace(tzinfo=None)
    return Exclusion("upgrade", begin, 60 * minutes)


@given(
    st.lists(st.booleans(), min_size=1, max_size=30),
    st.integers(0, 25),
    st.sampled_from(Gaps),
    st.integers(1, 6),
    st.one_of(st.none(), st.tuples(st.integers(0, 40), st.integers(1, 20))),
)
def test_engine_statement_and_gate_agree_on_what_is_stale(
    covered: list[bool], beyond: int, gaps: Gaps, stale_after: int, excluded: tuple[int, int] | None
) -> None:
    slices = record([True, *covered])
    at = slices.end + 60 * beyond
    exclusions = (maintenance(*excluded),) if excluded and excluded[0] > 0 else ()
    one = assessed(promise(gaps=gaps, stale_after=stale_after), slices, at, exclusions=exclusions)
    stale = one.history.memory.stale
    assert one.statement.stale is stale
    assert facts_of(one, at).stale is stale
    assert standing_of(one, at).stale is stale
    assert status_document(one)["stale"] is stale


def test_a_gap_that_counts_as_good_does_not_make_the_data_stale() -> None:
    slices = record([True] * 30)
    one = assessed(promise(gaps=Gaps.GOOD), slices, slices.end + 2 * HOUR_S)
    facts = facts_of(one, slices.end + 2 * HOUR_S)
    assert not facts.stale
    assert facts.data_age_s == 2 * HOUR_S


def test_maintenance_is_no_loss_of_data() -> None:
    slices = record([True] * 60)
    at = slices.end + HOUR_S
    one = assessed(promise(), slices, at, exclusions=(maintenance(60, 58),))
    facts = facts_of(one, at)
    assert not facts.stale
    assert facts.data_age_s == 120
    assert standing_of(one, at).age_s == 120


@pytest.mark.parametrize("gaps", Gaps)
def test_what_was_never_measured_is_stale_however_gaps_count(gaps: Gaps) -> None:
    one = assessed(promise(gaps=gaps), record([False] * 20), START + 1200)
    facts = facts_of(one, START + 1200)
    assert facts.stale
    assert facts.data_age_s is None


def test_an_instant_far_beyond_the_data_is_refused_in_words() -> None:
    with pytest.raises(DataError, match="after the end of the data of checkout"):
        assessed(promise(), record([True] * 10), START + 150 * 365 * DAY_S)


def test_years_beyond_the_data_are_stale_and_keep_the_state() -> None:
    one = assessed(promise(), record([True] * 10), START + 3 * 365 * DAY_S)
    assert facts_of(one, START + 3 * 365 * DAY_S).stale
    assert one.history.final_state == "feature"


# --- what a live source is asked for -----------------------------------------------------------------------------


def test_a_live_history_reaches_over_the_longest_lookback_and_the_longest_wait() -> None:
    slo = promise(days=1)
    assert reach_s(Specs(slos=(slo,)), slo) == 2 * max(*LOOKBACKS_S, DAY_S) + DAY_S  # 24 h of exit
    slow = replace(
        DEFAULT_POLICY,
        states=(
            DEFAULT_POLICY.states[0],
            replace(
                DEFAULT_POLICY.states[1],
                enter=BurnRateIs(5 * DAY_S, Comparison.GTE, Fraction(2)),
                minimum_stay_s=7 * DAY_S,
            ),
        ),
    )
    assert reach_s(Specs(slos=(slo,), policies=(slow,)), slo) == 2 * 5 * DAY_S + 7 * DAY_S
    assert reach_s(Specs(slos=(promise(days=28),)), promise(days=28)) == 2 * 28 * DAY_S + DAY_S


STICKY = replace(
    DEFAULT_POLICY,
    states=(
        DEFAULT_POLICY.states[0],
        replace(
            DEFAULT_POLICY.states[2],
            enter=RemainingIs(Comparison.LTE, Fraction(0)),
            exit=RemainingIs(Comparison.GTE, Fraction(1, 2)),
            exit_for_s=0,
        ),
    ),
)


def test_a_state_that_depends_on_what_was_not_read_says_so() -> None:
    tight = record([True] * 1152, [0, 1, 1, 1] * 288, step_s=600)  # three quarters of the budget, all the time
    unsure = assessed(promise(), tight, tight.end, policy=STICKY, begun_at=START)
    assert unsure.history.final_state == "feature"
    (doubt,) = unsure.doubts
    assert "older than 2026-03-01T00:00:00Z" in doubt
    assert "it is feature if all was well then, and stability if it was in stability" in doubt
    assert doubt in status_document(unsure)["quality"]["notes"]
    assert facts_of(unsure, tight.end).doubts == (doubt,)
    assert not assessed(promise(), tight, tight.end, policy=STICKY).doubts, "a file is all there is"


def test_a_state_that_the_reading_settles_leaves_no_doubt() -> None:
    half = record([True] * 1152, [0, 1] * 576, step_s=600)  # half of the budget is left, enough to come down
    one = assessed(promise(), half, half.end, policy=STICKY, begun_at=START)
    assert (one.history.final_state, one.doubts) == ("feature", ())


# --- expressions -------------------------------------------------------------------------------------------------


def test_an_expression_that_fails_does_not_hold_and_says_so() -> None:
    broken = Expression("burn['9h'] > 1.0")
    policy = replace(
        STICKY,
        states=(STICKY.states[0], replace(STICKY.states[1], enter=AllOf((STICKY.states[1].enter, broken)))),  # type: ignore[arg-type]
    )
    assert any(isinstance(leaf, Expression) for leaf in leaves(policy.states[1].enter))  # type: ignore[arg-type]
    slices = record([True] * 120, [50] * 120)
    one = assessed(promise(), slices, slices.end, policy=policy)
    assert one.history.final_state == "feature"
    (doubt,) = one.doubts
    assert "burn['9h'] > 1.0" in doubt
    assert "counts as not holding" in doubt


# --- composites --------------------------------------------------------------------------------------------------


def test_a_members_weight_counts_in_all_that_is_shown_of_it() -> None:
    from tightrope.specs.model import Indicator, RatioMetric

    member = Objective(Fraction(99, 100), indicator=Indicator("search", RatioMetric()), weight=Fraction(2))
    slo = replace(promise(), objectives=(member,), indicator=None)
    slices = record([True] * 1440, [1] + [0] * 1439)
    specs = Specs(slos=(slo,))
    (one,) = assess(specs, specs.slos, lambda _: [Reading(slices)], at=slices.end)
    plain = assessed(promise(), slices, slices.end)
    assert one.budget.consumed_ratio == 2 * (plain.budget.consumed_ratio or 0)
    assert status_document(one)["weight"] == 2
    assert "weight" not in status_document(plain)
    assert one.plan == compile_plan(
        step_s=60,
        target=Fraction(99, 100),
        window=slo.window,
        conditions=default_conditions(DAY_S),
        policy=DEFAULT_POLICY,
        weight=Fraction(2),
    )
