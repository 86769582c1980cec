"""Ever-growing counters: differences, restarts, series, and the sums that they end up in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.telemetry.builders import NOON, counts, csv_source, ratio, read
from tightrope.base.errors import DataError, UsageError
from tightrope.telemetry.tally import Ledger


def _table(rows: list[tuple[int, int, int]], header: str = "time,good,total") -> str:
    return header + "\n" + "".join(f"{NOON + at},{good},{total}\n" for at, good, total in rows)


def test_counters_are_differenced_and_the_first_row_gives_nothing(tmp_path: Path) -> None:
    source = csv_source(tmp_path, _table([(0, 100, 1000), (60, 103, 1005), (120, 103, 1005), (150, 104, 1007)]))
    assert counts(read(ratio(source, counter=True))) == [(3, 5), (1, 2)]


def test_a_reset_gives_all_that_was_counted_since_for_good_and_total_apart(tmp_path: Path) -> None:
    source = csv_source(tmp_path, _table([(0, 0, 0), (60, 50, 50), (120, 0, 60), (180, 50, 3)]))
    reading = read(ratio(source, counter=True))
    assert counts(reading) == [(50, 50), (0, 10), (3, 3)]
    assert "1 counter reset resolved (good)" in reading.quality.notes
    assert (
        "good was above total in 1 slices, as counters read at different moments can be: cut off"
        in reading.quality.notes
    )


def test_a_series_from_0_to_50_twice_gives_100(tmp_path: Path) -> None:
    steps = [*range(0, 51, 10), *range(0, 51, 10)]
    source = csv_source(tmp_path, _table([(60 * k, v, v) for k, v in enumerate(steps)]))
    assert sum(slot[1] for slot in counts(read(ratio(source, counter=True))) if slot) == 100


def test_counters_are_told_apart_by_series_before_the_sum(tmp_path: Path) -> None:
    text = "time,pod,good,total\n" + "".join(
        f"{NOON + at},{pod},{value},{value}\n"
        for at, pod, value in [(0, "a", 5), (0, "b", 900), (60, "a", 7), (60, "b", 2)]
    )
    spec = ({"column": "good", "series": "pod"}, {"column": "total", "series": ["pod"]})
    assert counts(read(ratio(csv_source(tmp_path, text), *spec, counter=True))) == [(4, 4)]
    pods = {"pod": ["a", "b"]}
    both = ({"column": "good", "where": pods}, {"column": "total", "where": pods})
    assert counts(read(ratio(csv_source(tmp_path, text), *both, counter=True))) == [(4, 4)]


def test_two_values_at_one_time_ask_for_series(tmp_path: Path) -> None:
    source = csv_source(tmp_path, _table([(0, 1, 1), (60, 2, 2), (60, 900, 900), (120, 3, 3)]))
    quality = read(ratio(source, counter=True)).quality
    assert [(row.line, "series: [columns]" in row.why) for row in quality.examples] == [(4, True)]


def test_counters_that_run_back_in_time_are_refused_and_named(tmp_path: Path) -> None:
    source = csv_source(tmp_path, _table([(0, 1, 1), (120, 5, 5), (60, 3, 3), (180, 6, 6)]))
    with pytest.raises(DataError, match=r"shop\.csv:4 runs back in time, behind 2026-01-01T12:02:00Z"):
        read(ratio(source, counter=True))


def test_a_counter_that_stands_in_the_file_backwards_is_refused(tmp_path: Path) -> None:
    source = csv_source(tmp_path, _table([(60 * k, k, k) for k in range(9, 0, -1)]))
    with pytest.raises(DataError, match=r"shop\.csv:3 runs back in time"):
        read(ratio(source, counter=True))


def test_a_counter_that_begins_late_is_told_of(tmp_path: Path) -> None:
    text = "time,pod,good,total\n" + "".join(
        f"{NOON + at},{pod},{value},{value}\n"
        for at, pod, value in [(0, "a", 5), (300, "a", 6), (300, "b", 70), (360, "b", 71)]
    )
    spec = ({"column": "good", "series": "pod"}, {"column": "total", "series": "pod"})
    reading = read(ratio(csv_source(tmp_path, text), *spec, counter=True))
    assert reading.slices.total.sum() == 2
    assert any(
        "1 counters began within the record (total)" in note and "70 in all" in note for note in reading.quality.notes
    )


def test_a_counter_needs_a_column(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a counter needs its column"):
        read(ratio(csv_source(tmp_path, _table([(0, 1, 1)])), {"where": {"good": 1}}, counter=True))


@given(st.lists(st.integers(0, 30), min_size=1, max_size=200), st.integers(1, 40))
def test_differences_sum_to_the_growth_however_the_file_is_cut(
    tmp_path_factory: pytest.TempPathFactory, growth: list[int], restart_every: int
) -> None:
    rows, value, seen = [(0, 0, 0)], 0, 0
    for step, more in enumerate(growth, start=1):
        if step % restart_every == 0:
            value = 0
        value += more
        rows.append((20 * step, value, value))
        previous = rows[-2][2]
        seen += value if value < previous else value - previous
    reading = read(ratio(csv_source(tmp_path_factory.mktemp("cut"), _table(rows)), counter=True))
    assert int(reading.slices.total.sum()) == seen


@given(st.lists(st.tuples(st.integers(-5000, 5000), st.integers(0, 9)), min_size=1, max_size=80), st.integers(1, 7))
def test_a_ledger_holds_the_same_sums_whatever_the_order(rows: list[tuple[int, int]], batch: int) -> None:
    ledger, expected = Ledger(60), dict.fromkeys(sorted({at for at, _ in rows}), 0)
    for start in range(0, len(rows), batch):
        part = rows[start : start + batch]
        ledger.add(np.array([at for at, _ in part]), np.array([amount for _, amount in part]))
    for at, amount in rows:
        expected[at] += amount
    tally = ledger.tally()
    found = {tally.first + k: int(tally.amounts[k]) for k in np.flatnonzero(tally.points).tolist()}
    assert found == expected
    assert int(tally.points.sum()) == len(rows)
