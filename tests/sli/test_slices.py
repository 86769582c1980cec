"""Slices: cutting, and refusing what cannot be true."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.oracle import strategies
from tests.oracle.bridge import record_of, slices_of
from tests.oracle.reference import Record, Row
from tightrope.base.errors import DataError
from tightrope.sli.slices import checked


@given(strategies.records(), st.data())
def test_a_cut_holds_the_slices_that_lie_wholly_inside(record: Record, data: st.DataObject) -> None:
    instants = st.integers(record.start - 3 * record.step_s, record.end + 3 * record.step_s)
    begin, end = data.draw(instants), data.draw(instants)
    cut = slices_of(record).between(begin, end)
    inside = [
        row for i, row in enumerate(record.rows) if begin <= record.begin(i) and record.begin(i) + record.step_s <= end
    ]
    assert list(record_of(cut).rows) == inside
    if inside:
        assert begin <= cut.start
        assert cut.end <= end


@given(strategies.records())
def test_good_and_bad_make_the_total(record: Record) -> None:
    slices = checked(slices_of(record))
    assert (slices.good + slices.bad).tolist() == [row.total for row in record.rows]
    assert slices.end == record.end


@pytest.mark.parametrize("row", [Row(2, 1), Row(-1, 1), Row(0, -1)])
def test_counts_that_cannot_be_true_are_named(row: Row) -> None:
    with pytest.raises(DataError, match="slice 1 has"):
        checked(slices_of(Record(0, 60, (Row(0, 1), row))))


def test_slices_start_on_their_grid() -> None:
    with pytest.raises(DataError, match="no multiple"):
        checked(slices_of(Record(30, 60, (Row(0, 1),))))
