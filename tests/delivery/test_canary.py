"""Canary analysis: harm, proof of no harm, waiting, and a state that survives as plain JSON."""

from __future__ import annotations

import json
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.trials import SEED, latencies, latency_evidence, releases, two_by_two_evidence
from tightrope.base.errors import DataError, UsageError
from tightrope.delivery.canary import (
    NANO,
    Analysis,
    Batch,
    Counts,
    ErrorTest,
    Harm,
    LatencyBatch,
    LatencyTest,
    Rules,
    Safe,
    Undecided,
    analysis_document,
    bound_nano,
    difference,
    evidence_of_harm,
    raise_weight,
    read_analysis,
    update,
    verdict,
)

THOUSANDTH = Fraction(1, 1000)


def _test(name: str = "errors", **more: object) -> ErrorTest:
    return ErrorTest(name, THOUSANDTH, THOUSANDTH, **({"inflation": Fraction(1)} | more))  # type: ignore[arg-type]


def _minute(canary: int, baseline: int, *, requests: int = 600) -> Batch:
    return Batch(Counts(canary, requests), Counts(baseline, requests), 60)


def _fed(state: Analysis, *minutes: tuple[int, int], name: str = "errors") -> Analysis:
    for canary, baseline in minutes:
        state = update(state, {name: _minute(canary, baseline)})
    return state


def test_a_canary_that_fails_is_harm_at_once_and_says_why_in_counts() -> None:
    found = verdict(_fed(Analysis((_test(),)), (40, 0)), Rules())
    assert isinstance(found, Harm)
    assert found.why == "errors: 40 of the last 40 bad requests hit the canary, 20.0 expected"
    assert found.explanations[0].log_evidence > math.log(20)


def test_harm_needs_no_least_exposure_and_stays_once_seen() -> None:
    state = _fed(Analysis((_test(),)), (8, 0), *[(0, 10)] * 30)
    assert evidence_of_harm(state) < bound_nano(Rules().alpha)
    assert isinstance(verdict(state, Rules(least_requests=10**9, least_s=10**9)), Harm)
    assert isinstance(verdict(raise_weight(state), Rules()), Harm)


def test_an_equal_canary_is_proven_harmless_in_time_but_not_before_the_least_exposure() -> None:
    state = _fed(Analysis((_test(),)), *[(0, 1), (1, 0)] * 20)
    assert isinstance(verdict(state, Rules()), Safe)
    early = verdict(state, Rules(least_requests=24_001))
    assert isinstance(early, Undecided)
    assert early.why.startswith("24,000 of at least 24,001 canary requests")
    assert early.safe_in_s == 1
    assert isinstance(verdict(state, Rules(least_s=2401)), Undecided)


def test_what_was_proven_at_a_low_weight_is_proven_anew_at_a_higher_one() -> None:
    state = raise_weight(_fed(Analysis((_test(),)), *[(0, 0)] * 30))
    found = verdict(state, Rules())
    assert isinstance(found, Undecided)
    assert found.silent
    assert isinstance(verdict(_fed(state, *[(0, 0)] * 30), Rules()), Safe)


def test_without_traffic_the_answer_is_to_wait_and_nothing_moves() -> None:
    fresh = Analysis((_test(),))
    for batch in (
        Batch(Counts(0, 0), Counts(5, 600), 60),
        Batch(Counts(5, 600), Counts(0, 0), 60),
        Batch(Counts(0, 0), Counts(0, 0), 60),
    ):
        assert update(fresh, {"errors": batch}) == fresh
    found = verdict(update(fresh, {}), Rules())
    assert isinstance(found, Undecided)
    assert found.silent
    assert found.why == "no traffic to compare at this weight yet: errors"
    assert (found.harm_in_s, found.safe_in_s) == (None, None)


def test_every_objective_must_be_proven_and_a_silent_one_holds_all() -> None:
    state = Analysis((_test("a"), _test("b")))
    for _ in range(40):
        state = update(state, {"a": _minute(0, 0)})
    assert isinstance(verdict(state, Rules()), Undecided)
    for _ in range(40):
        state = update(state, {"b": _minute(0, 0)})
    assert isinstance(verdict(state, Rules()), Safe)


def test_several_objectives_share_one_bound_by_the_mean_of_their_evidence() -> None:
    one = Analysis((_test("a"),))
    two = Analysis((_test("a"), _test("b")))
    one, two = _fed(one, (8, 1), name="a"), _fed(two, (8, 1), name="a")
    alone, shared = math.exp(one.peak_nano / NANO), math.exp(two.peak_nano / NANO)
    assert shared == pytest.approx((alone + 1) / 2, rel=1e-6)


def test_the_time_until_a_verdict_is_about_what_it_then_takes() -> None:
    state = _fed(Analysis((_test(),)), *[(2, 1)] * 10)
    found = verdict(state, Rules())
    assert isinstance(found, Undecided)
    assert found.harm_in_s is not None
    minutes = 0
    while not isinstance(verdict(state, Rules()), Harm):
        state, minutes = _fed(state, (2, 1)), minutes + 1
    assert minutes * 60 == pytest.approx(found.harm_in_s, rel=0.4)


def test_a_margin_forgives_what_it_says() -> None:
    forgiving = Analysis((_test(margin=Fraction(1, 100)),))
    assert isinstance(verdict(_fed(Analysis((_test(),)), *[(5, 0)] * 10), Rules()), Harm)
    assert isinstance(verdict(_fed(forgiving, *[(5, 0)] * 10), Rules()), Undecided)
    assert isinstance(verdict(_fed(forgiving, *[(60, 0)] * 10), Rules()), Harm)


def test_history_of_the_baseline_makes_no_alarm_by_itself() -> None:
    state = Analysis((_test(history=Counts(6000, 600_000)),))
    assert evidence_of_harm(state) == pytest.approx(0, abs=10)
    assert isinstance(verdict(_fed(state, *[(6, 6)] * 30), Rules()), Undecided)


def test_a_slower_canary_is_harm_and_a_latency_test_alone_never_proves_safety() -> None:
    rng = np.random.default_rng(SEED)
    for times, kind in ((1.5, Harm), (1.0, Undecided)):
        canary, baseline = latencies(rng, 1, times=times, looks=10)
        state = Analysis(latencies=(LatencyTest("latency", Fraction(1)),))
        for look in range(10):
            batch = LatencyBatch(tuple(map(int, canary[0, look])), tuple(map(int, baseline[0, look])), 60)
            state = update(state, {"latency": batch})
        found = verdict(state, Rules())
        assert isinstance(found, kind)
        if isinstance(found, Harm):
            assert found.why == "latency: the canary is slower than the baseline"


def test_the_state_and_the_simulations_have_the_same_evidence() -> None:
    trials = releases(np.random.default_rng(SEED), 3, times=2)
    expected = two_by_two_evidence(trials)
    for row in range(3):
        state = Analysis((_test(),))
        for look in range(60):
            state = _fed(state, (int(trials.canary[row, look]), int(trials.baseline[row, look])))
            assert evidence_of_harm(state) / NANO == pytest.approx(expected[row, look], abs=1e-6)
    canary, baseline = latencies(np.random.default_rng(SEED), 1, times=1.05, looks=8)
    state = Analysis(latencies=(LatencyTest("latency", Fraction(1)),))
    slow = latency_evidence(canary, baseline)
    for look in range(8):
        batch = LatencyBatch(tuple(map(int, canary[0, look])), tuple(map(int, baseline[0, look])), 60)
        state = update(state, {"latency": batch})
        assert evidence_of_harm(state) / NANO == pytest.approx(slow[0, look], abs=1e-6)


def test_harm_beyond_what_is_tolerated_is_hardly_ever_called_safe() -> None:
    rng = np.random.default_rng(SEED)
    called = 0
    for _ in range(80):
        state = Analysis((_test(),))
        for _ in range(20):
            state = update(state, {"errors": Batch(_drawn(rng, 0.002), _drawn(rng, 0.001), 60)})
        called += isinstance(verdict(state, Rules()), Safe)
    assert called <= 80 * 0.05 + 3 * math.sqrt(80 * 0.05 * 0.95)


def _drawn(rng: np.random.Generator, rate: float, requests: int = 3000) -> Counts:
    return Counts(int(rng.binomial(requests, rate)), requests)


counts = st.integers(0, 50).flatmap(lambda total: st.builds(Counts, st.integers(0, total), st.just(total)))
batches = st.lists(st.builds(Batch, counts, counts, st.integers(1, 600)), max_size=8)
bucketed = st.lists(
    st.builds(LatencyBatch, st.tuples(*[st.integers(0, 9)] * 3), st.tuples(*[st.integers(0, 9)] * 3), st.just(60)),
    max_size=8,
)


@settings(max_examples=40, deadline=None)
@given(batches, bucketed)
def test_the_state_survives_as_plain_json_at_any_point(errors: list[Batch], slow: list[LatencyBatch]) -> None:
    state = Analysis((_test(inflation=Fraction(7, 3)),), (LatencyTest("latency"),))
    for one in errors:
        state = update(state, {"errors": one})
    for other in slow:
        state = update(state, {"latency": other})
    kept = json.loads(json.dumps(analysis_document(state), allow_nan=False))
    assert read_analysis(kept) == state
    assert verdict(read_analysis(kept), Rules()) == verdict(state, Rules())


@settings(max_examples=40, deadline=None)
@given(batches, st.fractions(1, 8, max_denominator=10))
def test_a_guard_never_makes_more_of_a_single_batch(errors: list[Batch], guard: Fraction) -> None:
    for one in errors:
        plain = update(Analysis((_test(),)), {"errors": one})
        guarded = update(Analysis((_test(inflation=guard),)), {"errors": one})
        assert guarded.peak_nano <= plain.peak_nano + 10


def test_what_cannot_be_true_is_refused() -> None:
    with pytest.raises(DataError, match="5 of 4"):
        Counts(5, 4)
    with pytest.raises(DataError, match="do not match"):
        LatencyBatch((1, 2), (1,), 60)
    state = Analysis((_test(),), (LatencyTest("latency"),))
    with pytest.raises(UsageError, match="no such test"):
        update(state, {"other": _minute(0, 0)})
    with pytest.raises(UsageError, match="no such test"):
        update(state, {"latency": _minute(0, 0)})
    with pytest.raises(DataError, match="lasted 0 s"):
        update(state, {"errors": Batch(Counts(0, 1), Counts(0, 1), 0)})
    with pytest.raises(DataError, match="buckets"):
        update(update(state, {"latency": LatencyBatch((1, 1), (1, 1), 60)}), {"latency": LatencyBatch((1,), (1,), 60)})
    with pytest.raises(UsageError):
        Analysis((_test(), _test()))
    with pytest.raises(UsageError):
        Analysis()
    with pytest.raises(UsageError):
        Rules(alpha=Fraction(1))
    with pytest.raises(UsageError):
        _test(inflation=Fraction(1, 2))
    with pytest.raises(DataError, match="cannot be read"):
        read_analysis({"errors": [{"name": "x"}], "latencies": [], "peakNano": 0})


# --- what is shown --------------------------------------------------------------------------------------------------


def test_the_band_of_the_difference_holds_the_truth_however_often_one_looks() -> None:
    rng, missed = np.random.default_rng(SEED), 0
    for _ in range(200):
        canary, baseline, out = Counts(0, 0), Counts(0, 0), False
        for _ in range(60):
            canary += Counts(int(rng.binomial(600, 0.01)), 600)
            baseline += Counts(int(rng.binomial(600, 0.008)), 600)
            found = difference(canary, baseline, Fraction(1, 100), Fraction(1, 20), Fraction(1))
            assert found is not None
            assert found.low <= found.value <= found.high
            out = out or not found.low <= 0.002 <= found.high
        missed += out
    assert missed <= 14


def test_the_band_is_wider_under_a_guard_and_absent_without_requests() -> None:
    arms = Counts(60, 6000), Counts(50, 6000)
    bands = [difference(*arms, Fraction(1, 100), Fraction(1, 20), Fraction(guard)) for guard in (1, 4)]
    assert [one is None for one in bands] == [False, False]
    free, guarded = (one.high - one.low for one in bands if one is not None)
    assert guarded > 1.5 * free
    assert difference(Counts(0, 0), arms[1], Fraction(1, 100), Fraction(1, 20), Fraction(1)) is None
