"""Evidence: e-values have mean 1 at most under the null, and the published numbers come out again."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, special, stats

from benchmarks.trials import (
    REQUESTS,
    SEED,
    SIGNAL,
    Trials,
    at_end,
    conditional_rule,
    crossing,
    flagger,
    latencies,
    latency_evidence,
    msprt,
    releases,
    score,
    two_by_two_evidence,
    two_by_two_rule,
    z_test,
)
from tightrope.delivery.evidence import (
    USUAL_INFLATION,
    averaged,
    bound,
    buckets,
    conditional,
    grown,
    inflation,
    stakes,
    two_by_two,
    worse_by,
    worth,
)

rates = st.floats(0.001, 0.999)
few = st.integers(1, 12)


def _mean(
    canary_total: int, baseline_total: int, truth: tuple[float, float], bet: tuple[float, float], margin: float
) -> float:
    """The exact mean of the e-value over all outcomes of a batch."""
    outcomes = np.arange(canary_total + 1)[:, None], np.arange(baseline_total + 1)[None, :]
    logs = two_by_two(outcomes[0], canary_total, outcomes[1], baseline_total, *bet, margin=margin)
    chance = stats.binom.pmf(outcomes[0], canary_total, truth[0]) * stats.binom.pmf(
        outcomes[1], baseline_total, truth[1]
    )
    return float((np.exp(logs) * chance).sum())


@given(few, few, rates, rates, rates, rates, st.sampled_from([0.0, 0.05, 0.3]))
def test_an_e_value_for_harm_has_mean_one_at_most_while_the_canary_is_no_worse_than_the_margin(
    canary: int, baseline: int, true_baseline: float, part: float, bet_baseline: float, excess: float, margin: float
) -> None:
    true_canary = min(0.999, (true_baseline + margin) * part)
    bet = bet_baseline * (0.99 - margin) * (1 - excess), 0.0
    bet = (min(0.9995, bet[0] + margin + excess * 0.3), bet[0] + 1e-6)
    if bet[0] <= bet[1] + margin:
        return
    assert _mean(canary, baseline, (true_canary, true_baseline), bet, margin) <= 1 + 1e-9


@given(few, few, rates, rates, rates, rates, st.sampled_from([0.05, 0.3]))
def test_an_e_value_for_no_harm_has_mean_one_at_most_while_the_canary_is_worse_by_the_margin(
    canary: int, baseline: int, true_baseline: float, more: float, bet_baseline: float, part: float, margin: float
) -> None:
    true_baseline *= 1 - margin
    true_canary = true_baseline + margin + more * (1 - margin - true_baseline)
    bet_baseline *= 1 - margin
    bet = bet_baseline + part * margin, bet_baseline
    assert _mean(canary, baseline, (true_canary, true_baseline), bet, margin) <= 1 + 1e-9


def test_without_a_difference_the_mean_is_just_one_at_the_nearest_point_of_the_null() -> None:
    assert _mean(7, 5, (0.3 * 7 / 12 + 0.1 * 5 / 12,) * 2, (0.3, 0.1), 0.0) == pytest.approx(1)


def test_the_nearest_point_of_a_shifted_null_is_what_scipy_finds() -> None:
    canary, baseline, n, m, margin = 0.02, 0.01, 700, 2100, 0.03

    def distance(rate: float) -> float:
        def kl(p: float, q: float) -> float:
            return float(special.rel_entr(p, q) + special.rel_entr(1 - p, 1 - q))

        return n * kl(canary, rate + margin) + m * kl(baseline, rate)

    nearest = optimize.minimize_scalar(distance, bounds=(1e-9, 0.9), method="bounded", options={"xatol": 1e-12})
    expected = two_by_two(n * canary, n, m * baseline, m, canary, baseline, margin=margin)
    assert float(expected) == pytest.approx(nearest.fun, rel=1e-6)


def test_the_conditional_test_is_a_beta_binomial_against_a_binomial() -> None:
    hits, others, share, weight = 9, 14, 0.2, 10.0
    alternative = stats.betabinom.logpmf(hits, hits + others, weight * share, weight * (1 - share))
    null = stats.binom.logpmf(hits, hits + others, share)
    assert conditional(hits, others, share) == pytest.approx(alternative - null)


def test_for_rare_errors_the_two_by_two_test_is_the_conditional_one_whatever_the_rate() -> None:
    share, ratio, hits, others = 0.25, 5.0, 6, 4
    expected = hits * math.log(ratio / (share * ratio + 1 - share)) - others * math.log(share * ratio + 1 - share)
    for usual in (1e-6, 1e-5):
        # as many requests as make the counts what the alternative expects, so that only the split tells
        requests = round((hits + others) / (usual * (share * ratio + 1 - share)))
        canary = round(requests * share)
        found = two_by_two(hits, canary, others, requests - canary, worse_by(usual, ratio), usual)
        assert float(found) == pytest.approx(expected, abs=1e-3)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(0.05, 1), min_size=2, max_size=5), st.floats(0.05, 3), st.integers(1, 3), st.integers(1, 3))
def test_a_bucket_e_value_has_mean_one_at_most_while_the_canary_is_no_slower(
    weights: list[float], tilt: float, canary: int, baseline: int
) -> None:
    shares = np.array(weights) / sum(weights)
    truth = shares[::-1] / shares.sum()  # predictions may be wrong
    faster = truth * np.exp(-0.4 * np.arange(len(truth)))
    for own in (truth, faster / faster.sum()):
        mean = sum(
            float(np.exp(buckets(one, other, shares, [tilt])[0]))
            * stats.multinomial.pmf(one, canary, own)
            * stats.multinomial.pmf(other, baseline, truth)
            for one in _splits(canary, len(truth))
            for other in _splits(baseline, len(truth))
        )
        assert mean <= 1 + 1e-9


def _splits(total: int, parts: int) -> list[list[int]]:
    if parts == 1:
        return [[total]]
    return [[first, *rest] for first in range(total + 1) for rest in _splits(total - first, parts - 1)]


def test_two_buckets_are_the_two_by_two_test() -> None:
    shares, tilt = np.array([0.99, 0.01]), 2.0
    ranks = np.cumsum(shares) - shares / 2
    ratio = math.exp(tilt * (ranks[1] - ranks[0]))
    found = buckets([590, 10], [597, 3], shares, [tilt])[0]
    assert float(found) == pytest.approx(float(two_by_two(10, 600, 3, 600, worse_by(0.01, ratio), 0.01)))


@given(st.lists(st.lists(st.floats(-3, 3), min_size=2, max_size=2), min_size=1, max_size=8), st.floats(0, 0.5))
def test_wealth_is_never_made_by_moving_it(gains: list[list[float]], moved: float) -> None:
    weights = (0.2, 0.5, 0.3)
    wealth = stakes(weights)
    for gain in gains:
        before = float(worth(wealth))
        wealth = grown(wealth, np.array(gain), weights, moved=moved)
        assert float(worth(wealth)) <= before + max(0, *gain) + 1e-9
        assert float(worth(wealth)) >= before + min(0, *gain) - 1e-9


def test_the_average_of_e_values_is_their_mean() -> None:
    assert math.exp(averaged([math.log(3), math.log(5), math.log(1)])) == pytest.approx(3)
    assert averaged([900.0, -900.0]) == pytest.approx(900 - math.log(2))


def test_the_bound_is_the_logarithm_of_one_over_alpha() -> None:
    assert bound(Fraction(1, 20)) == pytest.approx(math.log(20))


# --- the cluster guard ----------------------------------------------------------------------------------------------


def _pairs(trials: Trials) -> list[tuple[int, int, int, int]]:
    return [
        (int(one), trials.canary_total, int(other), trials.baseline_total)
        for one, other in zip(trials.canary[0], trials.baseline[0], strict=True)
    ]


def test_independent_requests_are_hardly_guarded_and_shared_shocks_are_none() -> None:
    rng = np.random.default_rng(SEED)
    for shocks in (False, True):
        found = inflation(_pairs(releases(rng, 1, looks=1440, shocks=shocks)))
        assert 1 <= found <= Fraction(3, 2)


def test_clusters_on_one_arm_are_found() -> None:
    found = inflation(_pairs(releases(np.random.default_rng(SEED), 1, looks=1440, clusters=True)))
    assert Fraction(2) <= found <= Fraction(5)


def test_clusters_that_outlast_an_interval_are_found() -> None:
    rng = np.random.default_rng(SEED)
    level = np.repeat(rng.gamma(0.5, 2, 96), 15)
    pairs = [(int(rng.poisson(0.6 * one)), REQUESTS, int(rng.poisson(0.6)), REQUESTS) for one in level]
    assert inflation(pairs) > 4


def test_too_little_history_is_guarded_as_usual() -> None:
    assert inflation([]) == USUAL_INFLATION
    assert inflation([(5, 100, 5, 100)] * 19) == USUAL_INFLATION
    assert inflation([(0, 100, 0, 100)] * 500) == USUAL_INFLATION


# --- published numbers ----------------------------------------------------------------------------------------------


def _near(found: float, expected: float, count: int, *, other: int = 4000) -> bool:
    """Whether two shares agree within four standard errors of the simulations they come from."""
    return abs(found - expected) <= 4 * math.sqrt(max(expected * (1 - expected), 0.001) * (1 / count + 1 / other))


def test_repeated_tests_err_as_armitage_mcpherson_and_rowe_computed() -> None:
    found = crossing(np.random.default_rng(SEED), [1.95996] * 100, paths=100_000)
    published = {1: 0.05, 2: 0.083, 5: 0.142, 10: 0.193, 20: 0.248, 50: 0.320, 100: 0.374}
    for looks, share in published.items():
        assert found[looks - 1] == pytest.approx(share, abs=0.006), looks


def test_pocock_and_obrien_fleming_bounds_hold_five_percent() -> None:
    rng = np.random.default_rng(SEED)
    assert crossing(rng, [2.413] * 5)[-1] == pytest.approx(0.05, abs=0.0015)
    assert crossing(rng, [2.040 * math.sqrt(5 / look) for look in range(1, 6)])[-1] == pytest.approx(0.05, abs=0.0015)


@pytest.fixture(scope="module")
def same() -> dict[str, Trials]:
    rng = np.random.default_rng(SEED)
    return {
        "iid": releases(rng, 4000),
        "shocks": releases(rng, 4000, shocks=True),
        "clusters": releases(rng, 4000, clusters=True),
    }


@pytest.fixture(scope="module")
def worse() -> dict[int, Trials]:
    rng = np.random.default_rng(SEED + 1)
    return {times: releases(rng, 1000, times=times) for times in (2, 5, 10)}


def test_peeking_at_a_z_test_alarms_on_every_fourth_good_release(
    same: dict[str, Trials], worse: dict[int, Trials]
) -> None:
    for kind, every_minute, once in (("iid", 0.271, 0.053), ("shocks", 0.25, 0.048)):
        alarms = z_test(same[kind])
        assert _near(score(alarms, same[kind]).alarmed, every_minute, 4000), kind
        assert _near(score(at_end(alarms), same[kind]).alarmed, once, 4000), kind
    assert score(z_test(same["clusters"]), same["clusters"]).alarmed > 0.4
    end = score(at_end(z_test(worse[5])), worse[5])
    assert end.minute == 60
    assert end.bad == pytest.approx(179, abs=3)


def test_the_msprt_row_comes_out_again(same: dict[str, Trials], worse: dict[int, Trials]) -> None:
    assert _near(score(msprt(same["iid"]), same["iid"]).alarmed, 0.004, 4000)
    twice = score(msprt(worse[2]), worse[2])
    assert _near(twice.alarmed, 0.706, 1000, other=1000)
    assert twice.minute == pytest.approx(31, abs=3)


def test_the_conditional_row_comes_out_again(same: dict[str, Trials], worse: dict[int, Trials]) -> None:
    assert _near(score(conditional_rule(same["iid"]), same["iid"]).alarmed, 0.005, 4000)
    twice = score(conditional_rule(worse[2]), worse[2])
    assert _near(twice.alarmed, 0.772, 1000, other=1000)
    assert twice.minute == pytest.approx(31, abs=3)
    for times, minute, bad in ((5, 6, 21), (10, 3, 18)):
        found = score(conditional_rule(worse[times]), worse[times])
        assert found.minute == pytest.approx(minute, abs=1)
        assert found.bad == pytest.approx(bad, abs=2)


def test_our_two_by_two_test_is_at_least_as_good_as_the_published_row(
    same: dict[str, Trials], worse: dict[int, Trials]
) -> None:
    for kind in ("iid", "shocks"):
        assert score(two_by_two_rule(same[kind]), same[kind]).alarmed <= 0.05
    assert _near(score(flagger(same["shocks"], least=0.99), same["shocks"]).alarmed, 0.699, 4000)
    twice = score(two_by_two_rule(worse[2]), worse[2])
    assert twice.alarmed >= 0.786
    assert twice.minute <= 27
    for times, minute, bad in ((5, 4, 16), (10, 2, 15)):
        found = score(two_by_two_rule(worse[times]), worse[times])
        assert found.minute <= minute
        assert found.bad <= bad


def test_held_to_the_published_false_alarm_rate_it_still_finds_as_much(
    same: dict[str, Trials], worse: dict[int, Trials]
) -> None:
    signal = float(np.quantile(two_by_two_evidence(same["iid"]).max(1), 1 - 0.016))
    assert score(two_by_two_rule(worse[2], signal=signal), worse[2]).alarmed >= 0.786


def test_with_the_guard_clusters_alarm_within_the_bound_and_strong_harm_is_found_as_soon_as_published(
    same: dict[str, Trials], worse: dict[int, Trials]
) -> None:
    assert score(two_by_two_rule(same["clusters"]), same["clusters"]).alarmed > 0.05
    assert score(two_by_two_rule(same["clusters"], guard=2.0), same["clusters"]).alarmed <= 0.05
    assert score(two_by_two_rule(same["iid"], guard=2.0), same["iid"]).alarmed <= 0.003
    assert _near(score(two_by_two_rule(worse[2], guard=2.0), worse[2]).alarmed, 0.428, 1000, other=1000)
    for times, minute, bad in ((5, 8, 27.5), (10, 4, 23)):
        found = score(two_by_two_rule(worse[times], guard=2.0), worse[times])
        assert found.minute <= minute
        assert found.bad <= bad


def test_an_undeclared_drift_of_the_split_leaves_our_test_alone(same: dict[str, Trials]) -> None:
    rng = np.random.default_rng(SEED)
    drifted = releases(rng, 4000, canary_total=690, baseline_total=510)
    assert score(two_by_two_rule(drifted), drifted).alarmed <= 0.035
    assert (
        score(conditional_rule(drifted), drifted).alarmed
        > 2 * score(conditional_rule(same["iid"]), same["iid"]).alarmed
    )


def test_a_canary_with_a_twentieth_of_the_traffic_is_judged_in_minutes() -> None:
    rng = np.random.default_rng(SEED)
    good = releases(rng, 2000, baseline_total=11_400)
    bad = releases(rng, 500, times=5, baseline_total=11_400)
    assert score(two_by_two_rule(good), good).alarmed <= 0.05
    found = score(two_by_two_rule(bad), bad)
    assert found.alarmed == 1
    assert found.minute <= 3
    assert found.bad <= 9.5


@pytest.mark.parametrize("alpha", [0.2, 0.05, 0.01])
def test_evidence_ever_reaches_one_over_alpha_in_a_share_alpha_of_good_releases_at_most(alpha: float) -> None:
    """Ville's inequality, over long runs and at every look."""
    trials = releases(np.random.default_rng(SEED), 4000, looks=240)
    ever = two_by_two_evidence(trials).max(1) >= math.log(1 / alpha)
    assert ever.mean() <= alpha + 3 * math.sqrt(alpha / 4000)


def test_a_canary_that_turns_bad_late_is_found_soon() -> None:
    rng = np.random.default_rng(SEED)
    good, bad = releases(rng, 500, looks=40), releases(rng, 500, times=10, looks=20)
    joined = Trials(np.hstack([good.canary, bad.canary]), np.hstack([good.baseline, bad.baseline]))
    alarms = two_by_two_rule(joined)
    early = alarms[:, :40].any(1)
    delay = alarms[~early, 40:].argmax(1) + 1
    assert early.mean() <= 0.05
    assert alarms[~early].any(1).all()
    assert np.median(delay) <= 6


def test_slower_canaries_are_found_sooner_than_published_and_equal_ones_let_be() -> None:
    rng = np.random.default_rng(SEED)
    assert (latency_evidence(*latencies(rng, 400)).max(1) >= SIGNAL).mean() <= 0.05
    # the first look only teaches, so the greatest shift takes one more
    for more, minutes in ((0.05, 21), (0.1, 4.5), (0.25, 2)):
        alarms = latency_evidence(*latencies(rng, 60, times=1 + more, looks=40)) >= SIGNAL
        assert alarms.any(1).all()
        assert np.median(alarms.argmax(1) + 1) <= minutes
    faster = latency_evidence(*latencies(rng, 60, times=0.8, looks=40))
    assert faster.max() < SIGNAL
