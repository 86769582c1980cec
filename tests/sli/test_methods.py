"""From raw counts to units: the three methods, and the slices of a composite."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.oracle import strategies
from tests.oracle.bridge import record_of, slices_of, slo_of
from tests.oracle.reference import (
    BILLION,
    EXCLUDED,
    GAP,
    NO_TRAFFIC,
    Member,
    Record,
    Row,
    apply_method,
    composite,
    exclude,
)
from tightrope.base.errors import DataError
from tightrope.base.units import Duration
from tightrope.sli.methods import combine, unit_slices
from tightrope.specs.model import BudgetingMethod, Objective

TIME_BASED = (BudgetingMethod.TIMESLICES, BudgetingMethod.RATIO_TIMESLICES)


def units_of(raw: Record, method: BudgetingMethod, slice_s: int, slice_target: Fraction | None = None) -> Record:
    """The engine's units, as the oracle has them."""
    objective = Objective(Fraction(9, 10), time_slice_target=slice_target, time_slice_window=Duration(slice_s, "s"))
    return record_of(unit_slices(slices_of(raw), slo_of(method, objective), objective))


@given(strategies.records())
def test_occurrences_leave_the_counts_alone(raw: Record) -> None:
    assert units_of(raw, BudgetingMethod.OCCURRENCES, raw.step_s) == raw


@given(
    strategies.records(step_s=60),
    st.sampled_from(TIME_BASED),
    st.integers(1, 7),
    st.sampled_from([Fraction(text) for text in ("0.5", "0.9", "0.99", "1")]),
    st.data(),
)
def test_time_slices_are_the_oracles(
    raw: Record, method: BudgetingMethod, times: int, slice_target: Fraction, data: st.DataObject
) -> None:
    raw = exclude(raw, data.draw(strategies.stretches(raw)))
    expected = apply_method(raw, method, 60 * times, slice_target)
    assert units_of(raw, method, 60 * times, slice_target) == expected


def test_a_slice_just_at_its_target_is_good() -> None:
    raw = Record(0, 60, (Row(1, 1000), Row(2, 1001)))
    units = units_of(raw, BudgetingMethod.TIMESLICES, 60, Fraction(999, 1000))
    assert units.rows == (Row(0, 1), Row(1, 1))


def test_a_slice_target_of_one_bears_no_bad_event() -> None:
    raw = Record(0, 60, (Row(0, 10**15), Row(1, 10**15)))
    assert [row.bad for row in units_of(raw, BudgetingMethod.TIMESLICES, 60, Fraction(1)).rows] == [0, 1]


def test_ratios_round_half_up_in_billionths() -> None:
    raw = Record(0, 60, (Row(1, 2 * BILLION), Row(1, 2 * BILLION + 1), Row(1, 3), Row(2, 3)))
    rows = units_of(raw, BudgetingMethod.RATIO_TIMESLICES, 60).rows
    assert [row.bad for row in rows] == [1, 0, 333_333_333, 666_666_667]


def test_ratios_of_very_large_counts_do_not_overflow() -> None:
    most = 4 * 10**18
    rows = units_of(Record(0, 60, (Row(most, most), Row(most // 4, most))), BudgetingMethod.RATIO_TIMESLICES, 60).rows
    assert [row.bad for row in rows] == [BILLION, BILLION // 4]


def test_a_gap_is_not_traffic_and_no_traffic_is_no_gap() -> None:
    raw = Record(0, 60, (GAP, NO_TRAFFIC))
    assert units_of(raw, BudgetingMethod.TIMESLICES, 60, Fraction(1, 2)).rows == (GAP, Row(0, 1))
    assert units_of(raw, BudgetingMethod.RATIO_TIMESLICES, 60).rows == (GAP, NO_TRAFFIC)


@pytest.mark.parametrize("method", TIME_BASED)
def test_a_time_slice_counts_once_it_is_complete(method: BudgetingMethod) -> None:
    raw = Record(0, 60, (Row(0, 1),) * 14)
    assert len(units_of(raw, method, 300, Fraction(1, 2)).rows) == 2
    assert units_of(replace(raw, rows=raw.rows[:4]), method, 300, Fraction(1, 2)).rows == ()


@pytest.mark.parametrize("method", TIME_BASED)
def test_a_time_slice_is_a_whole_multiple_of_the_resolution(method: BudgetingMethod) -> None:
    with pytest.raises(DataError) as caught:
        units_of(Record(0, 60, (Row(0, 1),) * 5), method, 90, Fraction(1, 2))
    assert caught.value.remedy


@st.composite
def families(draw: st.DrawFn) -> tuple[BudgetingMethod, list[Member]]:
    """Members of one composite: unit slices over one stretch, with weights."""
    method = draw(st.sampled_from(TIME_BASED))
    length = draw(st.integers(1, 5))
    rows = st.lists(st.one_of(st.just(GAP), st.just(EXCLUDED), strategies.rows(100)), min_size=length, max_size=length)
    weights = st.sampled_from([Fraction(text) for text in ("1", "2", "1/2", "1/3")])
    raws = draw(st.lists(rows, min_size=1, max_size=4))
    return method, [
        Member(apply_method(Record(0, 60, tuple(raw)), method, 60, Fraction(9, 10)), Fraction(9, 10), draw(weights))
        for raw in raws
    ]


@given(families())
def test_the_slices_of_a_composite_are_the_oracles(family: tuple[BudgetingMethod, list[Member]]) -> None:
    method, members = family
    (whole,) = composite(members, method)
    combined = record_of(combine([(slices_of(member.record), member.weight) for member in members], method))
    assert combined == whole.record


def test_members_of_a_composite_may_start_and_end_apart() -> None:
    early = slices_of(Record(0, 60, (Row(1, 1), Row(0, 1))))
    late = slices_of(Record(60, 60, (Row(1, 1), Row(1, 1))))
    whole = record_of(combine([(early, Fraction(1)), (late, Fraction(1))], BudgetingMethod.TIMESLICES))
    assert whole == Record(0, 60, (Row(1, 1), Row(1, 1), Row(1, 1)))


@given(families())
def test_the_order_of_members_never_matters(family: tuple[BudgetingMethod, list[Member]]) -> None:
    method, members = family
    parts = [(slices_of(member.record), member.weight) for member in members]
    assert record_of(combine(parts, method)) == record_of(combine(parts[::-1], method))


def test_time_that_no_member_reaches_is_a_gap() -> None:
    early = slices_of(Record(0, 60, (Row(0, 1),)))
    late = slices_of(Record(180, 60, (Row(0, 1),)))
    whole = record_of(combine([(early, Fraction(1)), (late, Fraction(1))], BudgetingMethod.TIMESLICES))
    assert whole == Record(0, 60, (Row(0, 1), GAP, GAP, Row(0, 1)))
