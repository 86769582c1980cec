"""Corners that random worlds rarely reach, each held against the oracle too."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from fractions import Fraction

import pytest

from tests.oracle.bridge import plan_of, slices_of
from tests.oracle.reference import GAP, NO_TRAFFIC, Incident, Member, Promise, Record, Row
from tests.oracle.stories import SCANNERS, assert_same_story, scanner_of
from tightrope.base.errors import DataError
from tightrope.base.units import DAY_S, HOUR_S, Duration
from tightrope.budget.series import ledger
from tightrope.budget.statement import state_of
from tightrope.engine.plan import compile_plan
from tightrope.engine.replay import replay
from tightrope.specs.defaults import DEFAULT_POLICY, default_conditions
from tightrope.specs.model import (
    AllOf,
    Basis,
    BurnRateIs,
    CalendarWindow,
    ChangeKind,
    Comparison,
    Condition,
    ConditionKind,
    ErrorBudgetPolicy,
    Flow,
    IncidentOpen,
    Not,
    PolicyState,
    RemainingIs,
    RollingWindow,
)

KINDS = frozenset(ChangeKind)
FREE = PolicyState("free", Flow.FEATURE, KINDS)
BURNING = IncidentOpen(frozenset({"sev1"}))
KNOWN = RemainingIs(Comparison.GTE, Fraction(-100))
NEVER = AllOf((KNOWN, Not(KNOWN)))
NINE_OF_TEN = Fraction(9, 10)


def minutes(*rows: Row) -> Member:
    return Member(Record(0, 60, rows), NINE_OF_TEN)


def test_waiting_for_an_alert_starts_anew_after_stale_data() -> None:
    condition = Condition("page", "page", Fraction(5), (240,), alert_after_s=180)
    rows = (Row(0, 10), Row(9, 10), Row(9, 10), GAP, GAP, Row(9, 10), Row(9, 10), Row(9, 10), Row(9, 10), Row(9, 10))
    promise = Promise((minutes(*rows),), RollingWindow(Duration(10, "m")), stale_after=2, conditions=(condition,))
    moments = assert_same_story(promise, scanner_of("numpy"))
    # it holds from 120 to the stale 300, and again from 360 on
    assert [moment.at for moment in moments if moment.fired] == [540]


def test_waiting_for_a_state_starts_anew_after_stale_data() -> None:
    strict = PolicyState("strict", Flow.STABILITY, KINDS, enter=BURNING, exit=Not(BURNING), enter_for_s=240)
    promise = Promise(
        (minutes(Row(0, 10), Row(0, 10), Row(0, 10), GAP, *(Row(0, 10),) * 8),),
        RollingWindow(Duration(10, "m")),
        stale_after=1,
        policy=ErrorBudgetPolicy("corner", (FREE, strict)),
        incidents=(Incident(60, None, "sev1"),),
    )
    moments = assert_same_story(promise, scanner_of("numpy"))
    # it holds from 60 to the stale 240, and again from 300 on
    assert next(moment.at for moment in moments if moment.state == "strict") == 540


def test_up_goes_before_down_at_the_same_evaluation() -> None:
    middle = PolicyState("middle", Flow.FEATURE, KINDS, enter=BURNING, exit=Not(BURNING), exit_for_s=180)
    strict = PolicyState("strict", Flow.STABILITY, KINDS, enter=KNOWN, exit=NEVER, enter_for_s=240)
    promise = Promise(
        (minutes(*(Row(0, 10),) * 8),),
        RollingWindow(Duration(10, "m")),
        policy=ErrorBudgetPolicy("corner", (FREE, middle, strict)),
        incidents=(Incident(60, 120, "sev1"),),
    )
    moments = assert_same_story(promise, scanner_of("numpy"))
    assert [moment.state for moment in moments] == ["middle"] * 4 + ["strict"] * 4


@pytest.mark.parametrize("scanner", SCANNERS)
def test_a_projected_budget_shrinks_while_nothing_comes(scanner: str) -> None:
    """One failure, then silence: the projection falls with every quiet slice, and each share is passed in its turn."""
    slices = 200
    conditions = tuple(
        Condition(f"spent-{n}", "page", Fraction(n, slices), (slices * 60,), ConditionKind.CONSUMED)
        for n in range(1, slices + 1)
    )
    promise = Promise(
        (minutes(Row(1, 10), *(NO_TRAFFIC,) * (slices - 1)),),
        RollingWindow(Duration(slices, "m")),
        conditions=conditions,
    )
    moments = assert_same_story(promise, scanner_of(scanner))
    assert [moment.fired for moment in moments] == [(f"spent-{n}",) for n in range(1, slices + 1)]


@pytest.mark.parametrize("scanner", SCANNERS)
def test_hourly_rows_page_although_the_short_lookback_is_five_minutes(scanner: str) -> None:
    rows = (Row(0, 100),) * 48 + (Row(100, 100),) * 6
    member = Member(Record(0, HOUR_S, rows), Fraction(999, 1000))
    promise = Promise((member,), RollingWindow(Duration(30, "d")), conditions=default_conditions(30 * DAY_S))
    moments = assert_same_story(promise, scanner_of(scanner))
    assert next(moment.at for moment in moments if "page-1h" in moment.fired) == 49 * HOUR_S
    history = replay(plan_of(promise, (300,)), slices_of(member.record), scanner=scanner_of(scanner))
    assert history.burns[0].value == pytest.approx(1000)


def test_a_window_shorter_than_a_slice_holds_the_newest_one() -> None:
    promise = Promise((minutes(Row(0, 10), Row(1, 10)),), RollingWindow(Duration(10, "s")))
    moments = assert_same_story(promise, scanner_of("numpy"))
    assert [moment.consumed for moment in moments] == [0, 1]


@pytest.mark.parametrize("scanner", SCANNERS)
def test_the_last_slice_of_a_day_is_in_its_account(scanner: str) -> None:
    """Full through 23 hours, then one bad hour at the very end: the day shows it, and the next day does not."""
    window = CalendarWindow(Duration(1, "d"), datetime(2024, 1, 1), "UTC")
    member = Member(Record(0, HOUR_S, (Row(0, 10),) * 23 + (Row(10, 10),) + (Row(0, 10),) * 2), NINE_OF_TEN)
    spent = Condition("spent", "page", Fraction(1, 10), (2 * DAY_S,), ConditionKind.CONSUMED)
    moments = assert_same_story(Promise((member,), window, conditions=(spent,)), scanner_of(scanner))
    units = slices_of(member.record)
    at_midnight, later = state_of(units, NINE_OF_TEN, window, DAY_S), state_of(units, NINE_OF_TEN, window, DAY_S + 3600)
    assert at_midnight.projected.consumed == 10
    assert (at_midnight.window_start, at_midnight.window_end, later.window_start) == (0, DAY_S, DAY_S)
    assert later.projected.consumed == 0
    assert [moment.budgets[0].bad for moment in moments[22:25]] == [0, 10, 0]
    assert ledger(units, NINE_OF_TEN, window, Basis.OBSERVED).remaining().values[22:25].tolist() == [
        1,
        pytest.approx(1 - 10 / 24),
        1,
    ]


def test_a_slice_across_midnight_is_of_the_day_in_which_it_starts() -> None:
    window = CalendarWindow(Duration(1, "d"), datetime(2024, 1, 1, 3), "UTC")
    member = Member(Record(0, 21600, tuple(Row(n % 2, 10) for n in range(12))), NINE_OF_TEN)
    moments = assert_same_story(Promise((member,), window), scanner_of("numpy"))
    budgets = [moment.budgets[0] for moment in moments]
    assert {one.slices for one in budgets} == {4}
    assert [one.elapsed for one in budgets] == [1, 1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 3]


def test_the_reason_of_a_move_tells_the_weighted_budget() -> None:
    burning = BurnRateIs(120, Comparison.GTE, Fraction(1))
    strict = PolicyState("strict", Flow.STABILITY, KINDS, enter=burning, exit=NEVER)
    spent = PolicyState("spent", Flow.STABILITY, KINDS, enter=RemainingIs(Comparison.LTE, Fraction(0)), exit=NEVER)
    weighted = replace(minutes(Row(1, 20)), weight=Fraction(2))
    for state, reason in ((strict, "burn over 2m 1.0× (≥ 1×)"), (spent, "budget left 0.0 % (≤ 0 %)")):
        promise = Promise(
            (weighted,), RollingWindow(Duration(10, "m")), Basis.OBSERVED,
            policy=ErrorBudgetPolicy("corner", (FREE, state), basis=Basis.OBSERVED),
        )  # fmt: skip
        assert_same_story(promise, scanner_of("numpy"))
        (move,) = replay(plan_of(promise), slices_of(weighted.record)).transitions
        assert move.reason == reason


def test_conditions_of_one_name_are_told_apart() -> None:
    """Two alert policies may each name a condition alike: one fires late and resolves early."""
    conditions = tuple(Condition("page", "page", Fraction(2), (lookback_s,)) for lookback_s in (60, 180))
    rows = (Row(0, 10), Row(9, 10), Row(0, 10), Row(0, 10), Row(0, 10), Row(0, 10))
    promise = Promise((minutes(*rows),), RollingWindow(Duration(10, "m")), conditions=conditions)
    history = replay(plan_of(promise), slices_of(promise.members[0].record))
    assert sorted((one.start, one.end) for one in history.episodes) == [(120, 180), (120, 300)]


@pytest.mark.parametrize("scanner", SCANNERS)
@pytest.mark.parametrize("count", [2, 4, 8, 12, 1_024])
def test_counts_beyond_64_bits_are_refused_in_words(count: int, scanner: str) -> None:
    """Also where their sum, cut to 64 bits, would look like nothing."""
    units = slices_of(Record(0, 60, (Row(0, 2**61),) * count))
    plan = compile_plan(
        step_s=60, target=NINE_OF_TEN, window=RollingWindow(Duration(1, "h")), conditions=(), policy=DEFAULT_POLICY
    )
    with pytest.raises(DataError, match="more than can be counted exactly"):
        replay(plan, units, scanner=scanner_of(scanner))


@pytest.mark.parametrize("scanner", SCANNERS)
def test_gaps_behind_a_burst_leave_the_sums_of_a_projected_window_alone(scanner: str) -> None:
    consumed = Condition("consumed", "page", Fraction(1), (21_600,), kind=ConditionKind.CONSUMED)
    record = Record(86_400, 21_600, (Row(1, 1), *(GAP for _ in range(10))))
    promise = Promise(
        (Member(record, Fraction(0)),), RollingWindow(Duration(1, "s")), stale_after=1, conditions=(consumed,)
    )
    assert_same_story(promise, scanner_of(scanner))
