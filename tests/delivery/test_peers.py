"""The rules of others, as the benchmarks judge them, give the values that are known of them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import brentq

from benchmarks.trials import SEED, Trials, _RankSum, flagger, mann_whitney, releases, score, two_by_two_rule


def test_the_interval_of_mann_whitney_is_that_of_kayenta_and_r() -> None:
    shifted = _RankSum(np.array([10, 20, 30, 40]), np.array([1, 2, 3, 4]))
    assert shifted.lower(brentq) == pytest.approx(6, abs=2e-4)
    assert shifted.estimate(brentq) == pytest.approx(22.5, abs=0.5)


def test_mann_whitney_passes_over_new_errors_in_half_of_the_minutes() -> None:
    new = np.array([[0, 1, 0, 1, 0, 1, 0, 1, 0, 1]])
    assert not mann_whitney(Trials(new * 3, new * 0), paths=1).any()
    assert two_by_two_rule(Trials(new * 3, new * 0)).any()


def test_a_threshold_stops_healthy_releases_when_both_versions_have_a_bad_minute() -> None:
    shocked = releases(np.random.default_rng(SEED), 300, shocks=True)
    assert score(flagger(shocked, least=0.99), shocked).alarmed > 0.5
    assert score(two_by_two_rule(shocked), shocked).alarmed < 0.05
