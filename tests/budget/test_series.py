"""Series agree with statements at every evaluation they show, and lose no dip."""

from __future__ import annotations

from datetime import UTC, datetime
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tightrope.base.units import Duration
from tightrope.budget.series import fewer, ledger, silent_stretches
from tightrope.budget.statement import state_of
from tightrope.sli.slices import Slices
from tightrope.specs.model import Basis, CalendarWindow, RollingWindow, Window

STEP = 600
DAY = CalendarWindow(Duration(1, "d"), datetime(2026, 3, 1, tzinfo=UTC).replace(tzinfo=None), "Europe/Zurich")
WINDOWS: list[Window] = [
    RollingWindow(Duration(6, "h")),
    DAY,
    RollingWindow(Duration(45, "m")),
    RollingWindow(Duration(5, "m")),
]
WEIGHTS = st.sampled_from([Fraction(1), Fraction(2), Fraction(1, 3)])


@st.composite
def records(draw: st.DrawFn) -> Slices:
    count = draw(st.integers(1, 300))
    seed = np.random.default_rng(draw(st.integers(0, 2**32)))
    covered = seed.random(count) < draw(st.sampled_from([0.3, 0.9, 1.0]))
    total = seed.integers(0, 5, count) * covered
    bad = np.minimum(seed.integers(0, 3, count), total)
    start = 1774652400 + draw(st.integers(0, 300)) * STEP  # around the clock change of 29 March 2026
    return Slices(start, STEP, bad.astype(np.int64), total.astype(np.int64), covered)


@settings(max_examples=60)
@given(records(), st.sampled_from(WINDOWS), st.sampled_from(list(Basis)), WEIGHTS)
def test_a_series_says_what_a_statement_says_at_every_evaluation(
    units: Slices, window: Window, basis: Basis, weight: Fraction
) -> None:
    target = Fraction(9, 10)
    series = ledger(units, target, window, basis, weight=weight).remaining()
    assert len(series.times) == (len(units) - int(np.argmax(units.covered)) if units.covered.any() else 0)
    for at, value, known in zip(*(column.tolist() for column in series), strict=True):
        told = state_of(units, target, window, at, weight=weight).budget(basis).remaining_ratio
        assert known == (told is not None)
        if told is not None:
            assert value == pytest.approx(float(told), abs=1e-9)


@settings(max_examples=40)
@given(records(), st.integers(2, 40))
def test_thinning_keeps_the_worst_dip_and_the_last_word(units: Slices, points: int) -> None:
    window = WINDOWS[0]
    whole = ledger(units, Fraction(9, 10), window, Basis.PROJECTED).remaining()
    few = fewer(whole, points)
    assert len(few.times) <= max(points, 2)
    assert few.times.tolist() == sorted(set(few.times.tolist()) | set(few.times[-1:].tolist()))
    assert few.times[-1:].tolist() == whole.times[-1:].tolist()
    if whole.known.any():
        assert few.values[few.known].min() == whole.values[whole.known].min()


@settings(max_examples=30)
@given(records(), st.sampled_from((300, 600, 3600)), WEIGHTS)
def test_burn_rates_over_time_are_those_of_statements(units: Slices, lookback_s: int, weight: Fraction) -> None:
    target, window = Fraction(9, 10), WINDOWS[0]
    series = ledger(units, target, window, Basis.OBSERVED, weight=weight).burn(lookback_s)
    for at, value, known in zip(*(column.tolist() for column in series), strict=True):
        burn = state_of(units, target, window, at, lookbacks_s=(lookback_s,), weight=weight).burns[0]
        assert known == (not burn.no_traffic)
        assert value == pytest.approx(float(burn.rate), abs=1e-9)


def test_silence_is_told_where_it_lasts_and_an_exclusion_is_no_silence() -> None:
    covered = np.array([1, 0, 0, 0, 1, 0, 1, 0, 0, 0], np.bool_)
    excluded = np.array([0, 0, 0, 0, 0, 0, 0, 1, 1, 1], np.bool_)
    nothing = np.zeros(10, np.int64)
    assert silent_stretches(Slices(0, 60, nothing, nothing, covered, excluded), 2) == ((60, 240),)
    assert silent_stretches(Slices(0, 60, nothing, nothing, covered), 2) == ((60, 240), (420, 600))
