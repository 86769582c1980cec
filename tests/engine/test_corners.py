"""Corners that random worlds rarely reach, each held against the oracle too."""

from __future__ import annotations

from fractions import Fraction

import pytest

from tests.oracle.reference import GAP, NO_TRAFFIC, Incident, Member, Promise, Record, Row
from tests.oracle.stories import SCANNERS, assert_same_story, scanner_of
from tightrope.base.units import Duration
from tightrope.specs.model import (
    AllOf,
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
