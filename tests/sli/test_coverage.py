"""What was not measured: exclusions, causes out of scope, and gaps."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.oracle import strategies
from tests.oracle.bridge import record_of, slices_of
from tests.oracle.reference import EXCLUDED, GAP, Record, Row, fill, forgiven, overlaps
from tests.oracle.reference import exclude as naive_exclude
from tightrope.sli.coverage import exclude, fill_gaps, forgive, overlapping
from tightrope.specs.model import Gaps


@given(strategies.records(), st.data())
def test_exclusions_are_the_oracles(raw: Record, data: st.DataObject) -> None:
    stretches = data.draw(strategies.stretches(raw))
    assert record_of(exclude(slices_of(raw), stretches)) == naive_exclude(raw, stretches)


@given(strategies.records(), st.data())
def test_excluding_twice_is_excluding_once(raw: Record, data: st.DataObject) -> None:
    first, second = data.draw(strategies.stretches(raw)), data.draw(strategies.stretches(raw))
    one_by_one = exclude(exclude(slices_of(raw), first), second)
    assert record_of(one_by_one) == record_of(exclude(slices_of(raw), [*second, *first]))


@given(strategies.records(), st.data())
def test_overlapping_marks_what_shares_an_instant(raw: Record, data: st.DataObject) -> None:
    stretches = data.draw(strategies.stretches(raw))
    marked = overlapping(slices_of(raw), stretches).tolist()
    assert marked == [overlaps(raw.begin(i), raw.begin(i) + raw.step_s, stretches) for i in range(len(raw.rows))]


@given(strategies.records(), st.data())
def test_causes_out_of_scope_lose_their_bad_units_only(raw: Record, data: st.DataObject) -> None:
    stretches = data.draw(strategies.stretches(raw))
    assert record_of(forgive(slices_of(raw), stretches)) == forgiven(raw, stretches)


@given(strategies.records(), st.sampled_from(tuple(Gaps)), st.data())
def test_filled_gaps_are_the_oracles(raw: Record, gaps: Gaps, data: st.DataObject) -> None:
    units = naive_exclude(raw, data.draw(strategies.stretches(raw, most=2)))
    filled = fill_gaps(slices_of(units), gaps)
    assert record_of(filled) == fill(units, gaps)
    assert filled.covered.tolist() == [row.covered for row in units.rows]


@given(strategies.records(), st.sampled_from(tuple(Gaps)), st.data())
def test_filling_gaps_leaves_its_input_alone(raw: Record, gaps: Gaps, data: st.DataObject) -> None:
    units = slices_of(raw)
    fill_gaps(units, gaps)
    exclude(units, data.draw(strategies.stretches(raw)))
    forgive(units, data.draw(strategies.stretches(raw)))
    assert record_of(units) == raw


def test_a_gap_is_not_filled_from_the_far_side_of_the_record() -> None:
    units = Record(0, 60, (GAP, Row(1, 4), EXCLUDED, GAP))
    assert record_of(fill_gaps(slices_of(units), Gaps.BAD)).rows == (
        GAP,
        Row(1, 4),
        EXCLUDED,
        Row(4, 4, covered=False),
    )
