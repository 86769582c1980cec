"""The oracle against cases small enough to work out by hand from docs/maths.md."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from fractions import Fraction

import pytest

from tests.oracle.bridge import epoch
from tests.oracle.reference import (
    BILLION,
    EXCLUDED,
    GAP,
    NO_TRAFFIC,
    Incident,
    Member,
    Promise,
    Record,
    Row,
    apply_method,
    budget,
    burn,
    composite,
    consumed_of,
    evaluate,
    exclude,
    fill,
    period,
    strictest,
    tail,
)
from tightrope.base.units import Duration
from tightrope.specs.model import (
    Basis,
    BudgetingMethod,
    CalendarWindow,
    ChangeKind,
    Comparison,
    Condition,
    ConditionKind,
    ErrorBudgetPolicy,
    Flow,
    Gaps,
    IncidentOpen,
    Not,
    PolicyState,
    RemainingIs,
    RollingWindow,
)

TEN_MINUTES = RollingWindow(Duration(10, "m"))
NINE_OF_TEN = Fraction(9, 10)


def minutes(*rows: Row, start: int = 0) -> Record:
    return Record(start, 60, rows)


def good(times: int) -> tuple[Row, ...]:
    return (Row(0, 10),) * times


def bad(times: int) -> tuple[Row, ...]:
    return (Row(10, 10),) * times


def promise(record: Record, *conditions: Condition, **more: object) -> Promise:
    plain = Promise((Member(record, NINE_OF_TEN),), TEN_MINUTES, conditions=conditions)
    return replace(plain, **more)  # type: ignore[arg-type]


def test_a_slice_that_touches_an_exclusion_loses_its_counts() -> None:
    raw = minutes(*good(4))
    assert exclude(raw, [(119, 121)]).rows == (Row(0, 10), EXCLUDED, EXCLUDED, Row(0, 10))
    assert exclude(raw, [(60, 120)]).rows == (Row(0, 10), EXCLUDED, Row(0, 10), Row(0, 10))
    assert exclude(raw, [(60, 60)]) == raw


def test_the_three_methods_count_different_units() -> None:
    raw = minutes(Row(1, 10), Row(0, 10), GAP, NO_TRAFFIC, GAP, GAP, NO_TRAFFIC, NO_TRAFFIC, Row(2, 3))
    assert apply_method(raw, BudgetingMethod.OCCURRENCES, 60) == raw
    slices = apply_method(raw, BudgetingMethod.TIMESLICES, 120, NINE_OF_TEN + Fraction(5, 100))
    assert slices.rows == (Row(0, 1), Row(0, 1), GAP, Row(0, 1))
    assert apply_method(raw, BudgetingMethod.TIMESLICES, 120, NINE_OF_TEN + Fraction(6, 100)).rows[0] == Row(1, 1)
    ratios = apply_method(raw, BudgetingMethod.RATIO_TIMESLICES, 120)
    assert ratios == Record(0, 120, (Row(BILLION // 20, BILLION), NO_TRAFFIC, GAP, NO_TRAFFIC), BILLION)
    assert apply_method(raw, BudgetingMethod.RATIO_TIMESLICES, 60).rows[-1] == Row(666_666_667, BILLION)


def test_a_time_slice_is_excluded_only_if_all_of_it_is() -> None:
    raw = minutes(EXCLUDED, EXCLUDED, EXCLUDED, GAP, EXCLUDED, Row(0, 1))
    assert apply_method(raw, BudgetingMethod.TIMESLICES, 120, NINE_OF_TEN).rows == (EXCLUDED, GAP, Row(0, 1))


def test_gaps_carry_what_the_slo_says() -> None:
    units = minutes(GAP, Row(2, 10), GAP, EXCLUDED, GAP, NO_TRAFFIC, GAP)
    assert fill(units, Gaps.IGNORE) == units
    filled = {gaps: [(row.bad, row.total) for row in fill(units, gaps).rows] for gaps in Gaps}
    assert filled[Gaps.GOOD] == [(0, 0), (2, 10), (0, 10), (0, 0), (0, 10), (0, 0), (0, 0)]
    assert filled[Gaps.BAD] == [(0, 0), (2, 10), (10, 10), (0, 0), (10, 10), (0, 0), (0, 0)]
    assert filled[Gaps.HOLD] == [(0, 0), (2, 10), (2, 10), (0, 0), (2, 10), (0, 0), (0, 0)]
    assert [row.covered for row in fill(units, Gaps.BAD).rows] == [row.covered for row in units.rows]


def test_a_young_budget_is_projected_to_the_full_window() -> None:
    record = minutes(GAP, GAP, Row(1, 10), Row(0, 10))
    observed = budget(record, NINE_OF_TEN, TEN_MINUTES, 240, Basis.OBSERVED)
    projected = budget(record, NINE_OF_TEN, TEN_MINUTES, 240, Basis.PROJECTED)
    assert (observed.slices, observed.elapsed, observed.allowed) == (10, 2, Fraction(2))
    assert (projected.allowed, projected.consumed, projected.remaining) == (Fraction(10), Fraction(1, 10), NINE_OF_TEN)
    assert observed.coverage == Fraction(2, 10)


def test_a_rolling_window_forgets_its_oldest_slice() -> None:
    record = minutes(Row(5, 10), *good(10))
    assert budget(record, NINE_OF_TEN, TEN_MINUTES, 600, Basis.OBSERVED).consumed == Fraction(1, 2)
    assert budget(record, NINE_OF_TEN, TEN_MINUTES, 660, Basis.OBSERVED).consumed == 0
    uneven = RollingWindow(Duration(659, "s"))
    assert budget(record, NINE_OF_TEN, uneven, 660, Basis.OBSERVED).slices == 10


def test_gaps_widen_the_interval_and_lower_the_coverage() -> None:
    record = minutes(Row(1, 10), Row(0, 10), EXCLUDED, GAP, GAP)
    account = budget(record, NINE_OF_TEN, RollingWindow(Duration(5, "m")), 300, Basis.OBSERVED)
    assert account.coverage == Fraction(2, 4)
    assert account.consumed == Fraction(1, 2)
    assert account.interval == (Fraction(1, 4), Fraction(21, 4))


def test_an_empty_window_knows_nothing() -> None:
    account = budget(minutes(NO_TRAFFIC, NO_TRAFFIC), NINE_OF_TEN, TEN_MINUTES, 120, Basis.PROJECTED)
    assert (account.allowed, account.remaining, account.interval) == (None, None, None)
    assert account.coverage == Fraction(2, 10)


def test_a_burn_rate_is_the_bad_ratio_over_the_allowed_ratio() -> None:
    record = minutes(Row(0, 10), Row(3, 10), NO_TRAFFIC)
    assert burn(record, NINE_OF_TEN, 180, 180) == (Fraction(3, 2), False)
    assert burn(record, NINE_OF_TEN, 179, 180) == (Fraction(3), False)
    assert burn(record, NINE_OF_TEN, 60, 180) == (Fraction(0), True)


def test_binomial_tails_are_exact() -> None:
    assert tail(Fraction(2), 3, Fraction(1, 2)) == Fraction(1, 2)
    assert tail(Fraction(3, 2), 3, Fraction(1, 2)) == Fraction(1, 2)
    assert tail(Fraction(0), 5, Fraction(1, 7)) == 1
    assert tail(Fraction(4), 4, Fraction(1, 10)) == Fraction(1, 10**4)


def test_an_alert_waits_and_resolves_at_once() -> None:
    condition = Condition("page", "page", Fraction(5), (60,), alert_after_s=120)
    moments = evaluate(promise(minutes(*good(2), *bad(4), *good(1)), condition))
    assert [(m.at, m.fired, m.resolved) for m in moments if m.fired or m.resolved] == [
        (300, ("page",), ()),
        (420, (), ("page",)),
    ]


def test_waiting_starts_anew_when_data_returns() -> None:
    condition = Condition("page", "page", Fraction(5), (240,), alert_after_s=180)
    record = minutes(*good(1), *bad(2), GAP, GAP, *bad(3), GAP, GAP, *good(2))
    moments = evaluate(promise(record, condition, stale_after=2))
    assert [m.at for m in moments if m.stale] == [300, 600]
    # it holds from 120 on, and again from 360 on
    assert [(m.at, m.fired, m.resolved) for m in moments if m.fired or m.resolved] == [
        (540, ("page",), ()),
        (720, (), ("page",)),
    ]


def test_while_stale_an_alert_neither_fires_nor_resolves() -> None:
    condition = Condition("page", "page", Fraction(5), (60,))
    moments = evaluate(promise(minutes(*bad(1), GAP, GAP, *bad(1), *good(1), GAP), condition, stale_after=1))
    assert [bool(m.firing) for m in moments] == [True, True, True, True, False, False]


def test_an_excluded_slice_keeps_a_gap_from_being_stale() -> None:
    record = minutes(*good(1), GAP, EXCLUDED, GAP, GAP)
    assert [m.stale for m in evaluate(promise(record, stale_after=2))] == [False] * 4 + [True]
    assert not any(m.stale for m in evaluate(promise(record, stale_after=2, gaps=Gaps.HOLD)))


def test_significance_needs_more_than_one_unlucky_request() -> None:
    condition = Condition("page", "page", Fraction(1), (60,), ConditionKind.SIGNIFICANCE, confidence=Fraction(95, 100))
    moments = evaluate(promise(minutes(Row(1, 1), Row(2, 2), Row(2, 20), Row(5, 20)), condition))
    # P(X >= 1 | 1, 0.1) = 0.1; P(X >= 2 | 2, 0.1) = 0.01; P(X >= 2 | 20, 0.1) = 0.61; P(X >= 5 | 20, 0.1) = 0.043
    assert [m.firing for m in moments] == [(), ("page",), (), ("page",)]


def ladder(**more: object) -> ErrorBudgetPolicy:
    kinds = frozenset(ChangeKind)
    middle = PolicyState(
        "middle",
        Flow.FEATURE,
        kinds,
        enter=RemainingIs(Comparison.LT, Fraction(1, 2)),
        exit=RemainingIs(Comparison.GT, Fraction(3, 4)),
    )
    frozen = PolicyState(
        "frozen",
        Flow.STABILITY,
        kinds,
        enter=RemainingIs(Comparison.LTE, Fraction(0)),
        exit=RemainingIs(Comparison.GT, Fraction(0)),
    )
    return ErrorBudgetPolicy(
        "ladder",
        (PolicyState("free", Flow.FEATURE, kinds), middle, replace(frozen, **more)),  # type: ignore[arg-type]
        basis=Basis.OBSERVED,
    )


def states(record: Record, policy: ErrorBudgetPolicy, **more: object) -> list[str]:
    return [m.state for m in evaluate(promise(record, policy=policy, **more))]


def test_a_service_comes_down_by_the_rungs_it_has_not_earned_its_way_out_of() -> None:
    window = RollingWindow(Duration(4, "m"))
    record = minutes(Row(4, 10), Row(0, 10), Row(0, 10), Row(0, 20), Row(0, 10))
    # consumed: 4, 2, 4/3, 4/5, 0
    assert states(record, ladder(), window=window) == ["frozen", "frozen", "frozen", "middle", "free"]


def test_leaving_needs_the_minimum_stay_and_the_wait() -> None:
    record = minutes(Row(10, 10), *good(12))
    # the bad minute leaves the window of ten minutes with the evaluation at 660
    assert states(record, ladder()).index("free") == 10
    assert states(record, ladder(exit_for_s=60)).index("free") == 11
    assert states(record, ladder(minimum_stay_s=660)).index("free") == 11
    assert states(record, ladder(enter_for_s=120))[:3] == ["middle", "middle", "frozen"]


def test_an_incident_is_open_up_to_but_not_at_its_end() -> None:
    incident_free = Not(IncidentOpen(frozenset()))
    policy = ladder(enter=IncidentOpen(frozenset({"sev1"})), exit=incident_free)
    incidents = (Incident(120, 240, "sev1"), Incident(300, 360, "sev3"))
    expected = ["free", "frozen", "frozen", "free", "free", "free"]
    assert states(minutes(*good(6)), policy, incidents=incidents) == expected


def test_causes_out_of_scope_spend_the_budget_but_do_not_move_the_policy() -> None:
    record = minutes(*good(5), *bad(2), *good(1))
    moments = evaluate(promise(record, policy=ladder(), out_of_scope=((301, 420),)))
    assert {m.state for m in moments} == {"free"}
    assert moments[-1].consumed == Fraction(20, 10)


def test_the_worst_member_speaks_for_a_composite_by_occurrences() -> None:
    members = (
        Member(minutes(Row(1, 10)), NINE_OF_TEN),
        Member(minutes(Row(1, 100)), NINE_OF_TEN, Fraction(20)),
        Member(minutes(NO_TRAFFIC), NINE_OF_TEN),
    )
    assert composite(members, BudgetingMethod.OCCURRENCES) == members
    assert consumed_of(members, TEN_MINUTES, 60, Basis.OBSERVED) == 2


def test_a_composite_by_time_is_bad_if_any_member_is() -> None:
    one = Member(minutes(Row(1, 1), Row(0, 1), GAP, GAP), NINE_OF_TEN, Fraction(9))
    two = Member(minutes(Row(0, 1), Row(0, 1), Row(1, 1), EXCLUDED), Fraction(8, 10))
    (whole,) = composite([one, two], BudgetingMethod.TIMESLICES)
    assert whole == Member(minutes(Row(1, 1), Row(0, 1), Row(1, 1), GAP), Fraction(8, 10))


def test_missing_parts_of_a_composite_add_up_to_one_slice_at_most() -> None:
    def member(*tenths: int, weight: int = 1) -> Member:
        rows = tuple(Row(n * BILLION // 10, BILLION) for n in tenths)
        return Member(Record(0, 60, rows, BILLION), NINE_OF_TEN, Fraction(weight))

    (whole,) = composite([member(1, 5), member(2, 3, weight=2)], BudgetingMethod.RATIO_TIMESLICES, Fraction(1, 2))
    assert [row.bad for row in whole.record.rows] == [BILLION // 2, BILLION]
    assert whole.target == Fraction(1, 2)


def test_the_strictest_state_speaks_for_the_service() -> None:
    assert strictest(ladder(), ["free", "frozen", "middle"]) == "frozen"


@pytest.mark.parametrize(
    ("duration", "start", "zone", "at", "expected"),
    [
        ("1M", "2024-01-31T00:00", "UTC", "2024-02-29T00:00Z", ("2024-02-29T00:00Z", "2024-03-31T00:00Z")),
        ("1d", "2026-01-01T00:00", "America/New_York", "2026-03-08T12:00Z", ("2026-03-08T05:00Z", "2026-03-09T04:00Z")),
        ("1w", "2026-01-05T00:00", "Europe/London", "2020-06-10T00:00Z", ("2020-06-07T23:00Z", "2020-06-14T23:00Z")),
        ("1Q", "2026-01-01T00:00", "UTC", "2025-12-31T23:59Z", ("2025-10-01T00:00Z", "2026-01-01T00:00Z")),
    ],
)
def test_calendar_periods_follow_the_wall_clock(
    duration: str, start: str, zone: str, at: str, expected: tuple[str, str]
) -> None:
    window = CalendarWindow(Duration(int(duration[:-1]), duration[-1]), datetime.fromisoformat(start), zone)
    assert period(window, epoch(at)) == (epoch(expected[0]), epoch(expected[1]))
