"""Traffic that looks like traffic: days and weeks, noise, a low floor of errors, and now and then an outage."""

from __future__ import annotations

import numpy as np

from tightrope.base.units import DAY_S, HOUR_S, MINUTE_S
from tightrope.sli.slices import Slices

START = 1_735_689_600
"""2025-01-01T00:00:00Z, a Wednesday; a multiple of every step in use."""


def traffic(number: int, days: int, *, step_s: int = MINUTE_S, seed: int = 2026) -> Slices:
    """Make the slices of one service: the same for the same *number*, *days*, *step_s* and *seed*.

    A base rate between 20 and 20,000 events a minute swings by day and week; about 0.05 % of the events fail; twice a
    month something breaks for minutes to hours and fails between 1 % and all of the events.
    """
    random = np.random.default_rng([seed, number])
    count = days * DAY_S // step_s
    at = np.arange(count, dtype=np.float64) * step_s
    rate = 20 * 10 ** random.uniform(0, 3) * step_s / MINUTE_S
    day = 1 + 0.7 * np.sin(2 * np.pi * (at / DAY_S - random.uniform()))
    weekend = np.where((at // DAY_S + 2) % 7 >= 5, 0.6, 1.0)
    expected = rate * day * weekend
    total = np.rint(np.maximum(0, expected + np.sqrt(expected) * random.standard_normal(count))).astype(np.int64)
    share = np.full(count, 10 ** random.uniform(-4, -3.2))
    for _ in range(random.poisson(days / 15)):
        begin = int(random.integers(count))
        length = max(1, int(random.exponential(0.7 * HOUR_S) / step_s))
        share[begin : begin + length] = 10 ** random.uniform(-2, 0)
    bad = np.minimum(random.poisson(total * share), total)
    return Slices(START, step_s, bad, total, np.ones(count, np.bool_))
