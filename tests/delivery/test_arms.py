"""Versions told apart: by a field, by queries, and slices of both made into what was measured."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.specs.samples import SLO, SOURCE, read
from tightrope.base.errors import UsageError
from tightrope.delivery.rollouts.arms import arm_of, histogram_of, versions_of
from tightrope.delivery.rollouts.usecases import _histograms, _sliced
from tightrope.sli.slices import Slices
from tightrope.specs.model import ArmQuery, Arms, ArmsFrom, RatioMetric, Slo

STEP = 60


def slo() -> Slo:
    return read(SLO, SOURCE).slos[0]


def metric_of(one: Slo) -> RatioMetric:
    assert one.indicator is not None
    assert isinstance(one.indicator.metric, RatioMetric)
    return one.indicator.metric


def test_a_field_narrows_what_the_slo_asks() -> None:
    arms = Arms(ArmsFrom.LOG, "version")
    one, objective = arm_of(slo(), slo().objectives[0], arms, ("v2", "v3"), step_s=1)
    asked = metric_of(one)
    assert asked.total is not None
    assert asked.total.spec["where"]["version"] == ["v2", "v3"]
    before = metric_of(slo()).total
    assert before is not None
    assert {**asked.total.spec["where"]} == {**before.spec.get("where", {}), "version": ["v2", "v3"]}
    assert (one.step_s, objective) == (1, slo().objectives[0])


def test_queries_stand_in_for_what_the_slo_asks() -> None:
    name = slo().name
    arms = Arms(ArmsFrom.QUERIES, queries=(ArmQuery(name, good='a{v=~"$arm"}', total='b{v=~"$arm"}', counter=True),))
    asked = metric_of(arm_of(slo(), slo().objectives[0], arms, ("v2", "v3"), step_s=None)[0])
    assert asked.counter
    assert asked.good is not None
    assert asked.good.spec == {"query": 'a{v=~"v2|v3"}'}
    before = metric_of(slo()).total
    assert before is not None
    assert asked.good.source == before.source
    with pytest.raises(UsageError, match="no queries"):
        arm_of(replace(slo(), name="other"), slo().objectives[0], arms, ("v2",), step_s=None)


def test_a_histogram_is_asked_bound_by_bound_however_bounds_are_written() -> None:
    query = ArmQuery(slo().name, good="a", total="b", counter=True, latency='c_bucket{v=~"$arm",le=~"$le"}')
    arms = Arms(ArmsFrom.QUERIES, queries=(query,))
    asked = [
        metric_of(one) for one, _ in histogram_of(slo(), slo().objectives[0], arms, ("v2", "v3"), (50, 1000, 2500))
    ]
    texts = [one.good.spec["query"] for one in asked if one.good is not None]
    patterns = [re.search('le=~"(.*)"', text).group(1) for text in texts]  # type: ignore[union-attr]
    for pattern, fits in zip(patterns, (("0.05",), ("1", "1.0"), ("2.5",)), strict=True):
        assert [
            one for one in ("0.05", "0.5", "1", "1.0", "10", "2.5", "25", "+Inf") if re.fullmatch(pattern, one)
        ] == [*fits]
    assert all('v=~"v2|v3"' in text for text in texts)
    assert {one.total.spec["query"] for one in asked if one.total is not None} == {'c_bucket{v=~"v2|v3",le=~"[+]Inf"}'}
    assert all(one.counter for one in asked)


def test_versions_are_as_the_strategy_says_else_as_the_target_knows() -> None:
    arms = Arms(ArmsFrom.LOG, "version", ("$version", "$version-hot"), ("$previous",))
    assert versions_of(arms, ("", ""), "v2", "v1").canary == ("v2", "v2-hot")
    known = versions_of(Arms(ArmsFrom.LOG, "upstream_addr"), ("h:2", "h:1"), "v2", "")
    assert (known.canary, known.baseline) == (("h:2",), ("h:1",))
    with pytest.raises(UsageError, match="old version"):
        versions_of(arms, ("", ""), "v2", "")


def test_an_slo_whose_requests_cannot_be_counted_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="one by one"):
        arm_of(replace(slo(), scale=1000), slo().objectives[0], Arms(ArmsFrom.LOG, "v"), ("v2",), step_s=1)


rows = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.booleans()), min_size=1, max_size=12)


def slices(table: list[tuple[int, int, bool]]) -> Slices:
    covered = np.array([known for _, _, known in table])
    total = np.array([bad + good for bad, good, _ in table], np.int64) * covered
    bad = np.array([bad for bad, _, _ in table], np.int64) * covered
    return Slices(0, STEP, bad, total, covered)


@given(rows, rows, st.integers(0, 12 * STEP))
def test_slices_become_counts_and_what_is_missing_is_told(
    canary: list[tuple[int, int, bool]], baseline: list[tuple[int, int, bool]], after: int
) -> None:
    one, other = slices(canary), slices(baseline)
    found = _sliced("shop", one, other, after).get("shop")
    begin = after // STEP
    known = [
        place
        for place in range(begin, min(len(one), len(other)))
        if one.covered[place] and other.covered[place] and (place + 1) * STEP > after
    ]
    if not known:
        assert found is None
        return
    assert found is not None
    last = known[-1]
    assert found.until == (last + 1) * STEP
    assert found.canary_total == int(sum(one.total[place] for place in known))
    assert found.canary_bad == int(sum(one.bad[place] for place in known))
    assert sum(batch.baseline.total for batch in found.batches) == int(sum(other.total[place] for place in known))
    missing = sum(1 for place in range(begin, last) if place not in known)
    assert found.unmeasured_s == min(missing * STEP, found.until - after)


counted = st.lists(
    st.tuples(st.lists(st.integers(0, 9), min_size=3, max_size=3), st.booleans()), min_size=1, max_size=6
)


def bounds_of(table: list[tuple[list[int], bool]]) -> list[Slices]:
    """Slices as two bounds of a histogram with three buckets are read: good are those that took no longer."""
    covered = np.array([known for _, known in table])
    total = np.array([sum(row) for row, _ in table], np.int64) * covered
    below = [np.array([sum(row[:count]) for row, _ in table], np.int64) * covered for count in (1, 2)]
    return [Slices(0, STEP, total - one, total, covered) for one in below]


@given(counted, counted, st.integers(0, 6 * STEP), st.integers(0, 8 * STEP))
def test_bounds_become_buckets_slice_by_slice(
    canary: list[tuple[list[int], bool]], baseline: list[tuple[list[int], bool]], after: int, until: int
) -> None:
    found = _histograms(bounds_of(canary), bounds_of(baseline), after, until)
    places = range(after // STEP, min(len(canary), len(baseline), until // STEP))
    known = [place for place in places if canary[place][1] and baseline[place][1]]
    assert [one.canary for one in found] == [tuple(canary[place][0]) for place in known]
    assert [one.baseline for one in found] == [tuple(baseline[place][0]) for place in known]
    assert all(one.seconds == STEP for one in found)


def test_a_histogram_whose_parts_were_read_apart_is_left_out() -> None:
    whole, torn = bounds_of([([5, 3, 1], True)]), bounds_of([([5, 3, 1], True)])
    torn[0] = replace(torn[0], bad=np.array([0], np.int64))
    assert len(_histograms(whole, whole, 0, STEP)) == 1
    assert _histograms(whole, torn, 0, STEP) == ()
