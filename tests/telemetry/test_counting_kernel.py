"""Compiled counting finds what counting without it finds, whatever comes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.telemetry.builders import NOON, data_source, ratio, threshold
from tests.telemetry.test_counting import ALL, GOOD, STALE, of, wanted
from tightrope.specs.model import Comparison
from tightrope.telemetry.counting import LOOKBACK_S, Counting, Touched
from tightrope.telemetry.plan import Request
from tightrope.telemetry.samples import Book, Delivery, label_bytes, samples_of

pytest.importorskip("numba")

SOURCE = data_source("remote-write", ".", {})
REQUESTS: list[Request] = [
    wanted(),
    ratio(SOURCE, {"series": 'x{code="500"}'}, ALL, counter=True),
    ratio(SOURCE, GOOD, ALL, counter=True, step_s=300),
    threshold(SOURCE, {"series": 'x{code="404"}'}, Comparison.LT, "20"),
]
SERIES = [*(of(code, pod) for code in (200, 500) for pod in ("a", "b")), of(404), {"job": "nobody's"}]
VALUES = st.one_of(
    st.integers(0, 40).map(float), st.sampled_from([0.5, float("nan"), float("inf"), -1.0, STALE, 2.0**53, 2.0**60])
)
AFTER = st.one_of(
    st.integers(0, 12).map(lambda step: 15.0 * step),
    st.sampled_from([3600.0, LOOKBACK_S + 60.0, 2 * LOOKBACK_S, 10_000_000.0, -(10.0**8)]),
)
ROWS = st.lists(st.tuples(st.integers(0, len(SERIES) - 1), AFTER, VALUES), min_size=1, max_size=12)


class Both:
    """The same deliveries, counted with compiled code and without."""

    def __init__(self) -> None:
        self.countings = [Counting("remote-write", list(enumerate(REQUESTS)), compiled=one) for one in (False, True)]
        self.book = Book()
        self.slices: list[dict[tuple[int, int], tuple[int, int, bool]]] = [{}, {}]

    def delivery(self, rows: list[tuple[int, float, float]], at: int) -> Delivery:
        samples = []
        for series, after, value in rows:
            name = "y" if "job" in SERIES[series] else "x"
            key = label_bytes({"__name__": name, **SERIES[series]})
            samples.append((self.book.add(key, key), round((NOON + after) * 1000), value))
        return Delivery(samples_of(self.book, samples), (), at)

    def take(self, *deliveries: Delivery) -> None:
        for counting, kept in zip(self.countings, self.slices, strict=True):
            counting.take(*deliveries)
            _keep(counting.drain(), kept)

    def agree(self) -> None:
        plain, compiled = self.countings
        assert self.slices[0] == self.slices[1]
        assert plain.complete() == compiled.complete()
        assert plain.account == compiled.account
        assert plain.snapshot() == compiled.snapshot()


def _keep(touched: Touched, kept: dict[tuple[int, int], tuple[int, int, bool]]) -> None:
    columns = (touched.tracks, touched.slots, touched.bad, touched.total, touched.covered)
    for track, slot, *figures in zip(*(column.tolist() for column in columns), strict=True):
        kept[track, slot] = (figures[0], figures[1], figures[2])


def _rising(minute: int) -> list[tuple[int, float, float]]:
    return [(series, 60.0 * minute, 100.0 * minute + series) for series in range(len(SERIES))]


@given(st.lists(st.lists(ROWS, min_size=1, max_size=3), min_size=1, max_size=6), st.booleans())
def test_whatever_is_delivered_both_say_the_same(turns: list[list[list[Any]]], ordered: bool) -> None:
    both = Both()
    both.take(both.delivery(_rising(0), NOON))
    for turn in turns:
        rows = [sorted(one, key=lambda row: row[1]) if ordered else one for one in turn]
        both.take(*(both.delivery(one, NOON + 600) for one in rows))
    both.agree()


def test_a_scrape_after_the_other_is_counted_compiled_to_the_last_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    both = Both()
    compiled = both.countings[1]
    both.take(both.delivery(_rising(0), NOON))
    slowly: list[int] = []
    monkeypatch.setattr(type(compiled), "_count", lambda _self, rows: slowly.append(len(rows)))
    for minute in range(1, 150):
        rows = _rising(minute)
        compiled.take(*(both.delivery(some, NOON + 60 * minute) for some in (rows[:3], rows[3:])))
        assert len(compiled.drain())
    assert not slowly
    assert compiled.account.taken == (len(SERIES) - 1) * 150


def test_one_series_that_began_again_holds_up_nothing_that_comes_with_it() -> None:
    both = Both()
    for minute in range(6):
        rows = _rising(minute)
        if minute == 4:
            rows[1] = (1, rows[1][1], 3.0)
        both.take(both.delivery(rows, NOON + 60 * minute))
    both.agree()
    assert both.countings[1].account.resets == 1


def test_what_was_not_handed_out_before_its_place_is_needed_is_handed_out() -> None:
    both = Both()
    for minute in (0, 1, LOOKBACK_S // 60 + 1, LOOKBACK_S // 60 + 2):
        for counting in both.countings:
            counting.take(both.delivery(_rising(minute), NOON + 60 * minute))
    for counting, kept in zip(both.countings, both.slices, strict=True):
        _keep(counting.drain(), kept)
    both.agree()
    assert (0, (NOON + 60) // 60 - 1) in both.slices[1]


def test_counts_reach_as_far_as_without_compiled_code() -> None:
    both = Both()
    for minute, value in enumerate((0.0, 2.0**52, 2.0**53, 2.0**53 + 2, 2.0**62, 2.0**63)):
        both.take(both.delivery([(0, 60.0 * minute, value)], NOON + 60 * minute))
    both.agree()
    assert np.max([total for _, total, _ in both.slices[1].values()]) >= 2**52
