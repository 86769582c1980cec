"""Assumed futures are counted like the past: every sum is that of the slices it is made of."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tightrope.base.units import DAY_S, HOUR_S, Duration
from tightrope.budget.forecast import Futures, Outlook, Past, drawn, expected, outlook, past_of
from tightrope.budget.windows import period
from tightrope.sli.slices import Slices
from tightrope.specs.model import CalendarWindow, RollingWindow, Window

MONDAY = 1_772_409_600  # 2026-03-02T00:00:00Z
WEEK = CalendarWindow(Duration(1, "w"), datetime(2026, 1, 5), "UTC")
STEPS = (300, 420, 2400, HOUR_S, 5400, DAY_S)


def record(step_s: int, days: int, *, seed: int = 0) -> Slices:
    """Random counts that end on a multiple of the step close to a Monday."""
    generator = np.random.default_rng(seed)
    count, end = max(1, days * DAY_S // step_s), MONDAY - MONDAY % step_s
    total = generator.integers(50, 150, count)
    bad = generator.binomial(total, 0.02)
    return Slices(end - count * step_s, step_s, bad, total, np.ones(count, np.bool_))


def past(units: Slices, window: Window, *, forgiven: Slices | None = None) -> Past:
    scoped = units if forgiven is None else forgiven
    return past_of(units, scoped, window, units.end, began=units.start, longest_s=40 * DAY_S)


def slice_by_slice(futures: Futures) -> tuple[list[float], list[list[float]]]:
    """The valid units of every slice of record and future, and its bad units in each future."""
    known = futures.past
    count, week = int(futures.columns[-1]), np.diff(known.week)
    total = [float(week[one % len(week)]) for one in range(count)]
    bad = [
        [ratios[np.flatnonzero(futures.starts <= one)[-1]] * total[one] for one in range(count)]
        for ratios in futures.ratios[:3]
    ]
    return [*np.diff(known.total), *total], [[*np.diff(known.bad), *each] for each in bad]


@settings(max_examples=40)
@given(
    step_s=st.sampled_from(STEPS),
    days=st.integers(1, 25),
    lookback_s=st.sampled_from([60, HOUR_S, 6 * HOUR_S, 3 * DAY_S]),
    burning=st.booleans(),
    seed=st.integers(0, 99),
)
def test_a_lookback_holds_its_slices_known_or_assumed(
    step_s: int, days: int, lookback_s: int, burning: bool, seed: int
) -> None:
    futures = drawn(past(record(step_s, days, seed=seed), RollingWindow(Duration(7, "d"))), burning, 5 * DAY_S)
    total, bad = slice_by_slice(futures)
    known, held = len(futures.past.total) - 1, max(1, lookback_s // step_s)
    valid, spent = futures.valid(lookback_s, projected=False), futures.bad(lookback_s, scoped=False)
    for number, column in enumerate(futures.columns.tolist()):
        part = slice(max(0, known + column - held), known + column)
        assert valid[number] == pytest.approx(sum(total[part]))
        for future, each in enumerate(bad):
            assert spent[future, number] == pytest.approx(sum(each[part]), abs=1e-6)


@settings(max_examples=40)
@given(step_s=st.sampled_from(STEPS), days=st.integers(1, 25), calendar=st.booleans(), short=st.booleans())
def test_a_window_moves_on_into_the_future(step_s: int, days: int, calendar: bool, short: bool) -> None:
    window: Window = WEEK if calendar else RollingWindow(Duration(2 if short else 10, "d"))
    futures = expected(past(record(step_s, days), window), 0.05, 9 * DAY_S)
    total, (bad,) = slice_by_slice(futures)
    known = futures.past
    began = known.at - (len(known.total) - 1) * step_s
    valid, spent = futures.valid(None, projected=False), futures.bad(None, scoped=False)
    whole = futures.valid(None, projected=True)
    for number, at in enumerate(futures.times.tolist()):
        if isinstance(window, RollingWindow):
            length = window.duration.seconds // step_s
            starts = range(at - length * step_s, at, step_s)
        else:
            first, end = period(window, at - step_s)
            first = -(-first // step_s) * step_s
            starts, length = range(first, at, step_s), -(-(end - first) // step_s)
        inside = [(one - began) // step_s for one in starts if one >= began]
        assert valid[number] == pytest.approx(sum(total[one] for one in inside))
        assert spent[0, number] == pytest.approx(sum(bad[one] for one in inside), abs=1e-6)
        assert whole[number] == pytest.approx(sum(total[one] for one in inside) * length / len(inside))


def test_next_week_has_the_traffic_of_last_week() -> None:
    units = record(HOUR_S, 10)
    futures = expected(past(units, WEEK), 0.0, 7 * DAY_S)
    assert futures.valid(HOUR_S, projected=False)[1:].tolist() == units.total[-168:].tolist()


def test_an_hour_without_data_is_no_hour_without_traffic() -> None:
    units = record(HOUR_S, 10)
    covered = units.covered.copy()
    covered[-48:-24] = False
    units = replace(units, covered=covered, total=units.total * covered, bad=units.bad * covered)
    ahead = expected(past(units, WEEK), 0.0, 7 * DAY_S).valid(HOUR_S, projected=False)[1:]
    mean = units.total[covered].mean()
    assert ahead[-48:-24] == pytest.approx(np.full(24, mean))
    assert ahead[-24:].tolist() == units.total[-24:].tolist()


def test_a_young_record_goes_on_at_its_mean() -> None:
    units = record(HOUR_S, 2)
    ahead = expected(past(units, WEEK), 0.0, DAY_S).valid(HOUR_S, projected=False)[1:]
    assert ahead == pytest.approx(np.full(24, units.total.mean()))


def test_forgiven_units_count_in_one_sum_only() -> None:
    units = record(HOUR_S, 10)
    futures = expected(past(units, WEEK, forgiven=replace(units, bad=np.zeros_like(units.bad))), 0.0, DAY_S)
    assert futures.bad(DAY_S, scoped=False)[0, 0] == units.bad[-24:].sum()
    assert not futures.bad(DAY_S, scoped=True).any()
    assert (futures.past.recent, futures.past.quiet) == (0.0, 0.0)


@pytest.mark.parametrize("step_s", STEPS)
def test_a_quiet_day_is_the_median_one(step_s: int) -> None:
    units = record(step_s, 20)
    per_day = max(1, DAY_S // step_s)
    days = [slice(len(units) - per_day * (day + 1), len(units) - per_day * day) for day in range(14)]
    ratios = [units.bad[day].sum() / units.total[day].sum() for day in days]
    assert past(units, WEEK).quiet == pytest.approx(np.median(ratios))


def test_a_day_without_traffic_is_no_quiet_day() -> None:
    units = record(HOUR_S, 3)
    total = np.where(np.arange(72) < 48, 0, units.total)
    lone = past(replace(units, total=total, bad=np.minimum(units.bad, total)), WEEK)
    assert lone.quiet == pytest.approx(units.bad[-24:].sum() / units.total[-24:].sum())
    silent = past(replace(units, total=0 * total, bad=0 * total), WEEK)
    assert (silent.quiet, silent.recent) == (0.0, 0.0)
    assert not drawn(silent, True, DAY_S).bad(None, scoped=True).any()


def test_the_same_past_draws_the_same_futures() -> None:
    one, other = (drawn(past(record(300, 20), WEEK), True, 7 * DAY_S).ratios for _ in range(2))
    assert (one == other).all()
    assert len(np.unique(one)) > 2


def test_the_burn_of_now_lasts_six_hours_in_every_draw() -> None:
    known = past(record(300, 20), WEEK)
    ratios = drawn(known, True, 7 * DAY_S)
    assert ratios.starts[:3].tolist() == [0, 72, 72 + 288]
    assert (ratios.ratios[:, 0] == known.recent).all()


def test_the_interval_holds_the_middle_of_the_draws_and_what_is_expected() -> None:
    draws = list(range(100))
    assert outlook(50, draws) == Outlook(50, 10, 89)
    assert outlook(3, draws) == Outlook(3, 3, 89)
    assert outlook(95, draws) == Outlook(95, 10, 95)
    assert outlook(None, draws) == Outlook(None, 10, None)
    assert outlook(50, [*range(80), *[None] * 20]) == Outlook(50, 10, None)
    assert outlook(50, [None] * 100) == Outlook(50, 50, None)
    assert outlook(None, [None] * 100) == Outlook(None, None, None)
