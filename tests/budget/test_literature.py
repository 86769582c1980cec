"""The worked numbers of the literature, out of the engine and out of the oracle."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from fractions import Fraction
from math import ceil, floor
from random import Random

import numpy as np
import pytest

from tests.oracle.bridge import epoch, record_of, slices_of, slo_of
from tests.oracle.literature import (
    DETECTION,
    MONTH,
    RESET,
    SLICE_TARGET,
    THREE_NINES,
    constant_errors,
    flip,
    outage_at_peak,
    rare_errors_at_night,
)
from tests.oracle.reference import Record, Row, apply_method, budget
from tests.oracle.reference import period as naive_period
from tightrope.base.units import HOUR_S, Duration
from tightrope.budget.statement import state_of
from tightrope.budget.windows import period
from tightrope.engine.plan import compile_plan
from tightrope.engine.replay import Episode, replay
from tightrope.sli.methods import unit_slices
from tightrope.sli.slices import Slices
from tightrope.specs.defaults import DEFAULT_POLICY, default_conditions
from tightrope.specs.model import Basis, BudgetingMethod, CalendarWindow, Objective, RollingWindow

TIERS = {condition.name: condition for condition in default_conditions(MONTH.duration.seconds)}


def consumed(raw: Record, method: BudgetingMethod, slice_s: int) -> Fraction:
    """Share of a 30 d budget at 99.9 %, told alike by engine and oracle."""
    objective = Objective(THREE_NINES, time_slice_target=SLICE_TARGET, time_slice_window=Duration(slice_s, "s"))
    units = unit_slices(slices_of(raw), slo_of(method, objective), objective)
    assert record_of(units) == apply_method(raw, method, slice_s, SLICE_TARGET)
    told = state_of(units, THREE_NINES, MONTH, raw.end).observed.consumed_ratio
    assert told == budget(record_of(units), THREE_NINES, MONTH, raw.end, Basis.OBSERVED).consumed
    assert told is not None
    return told


def percent(share: Fraction) -> float:
    """One decimal, as printed."""
    return round(float(share * 100), 1)


def episodes(record: Record, name: str) -> tuple[Episode, ...]:
    """Alerts of one default tier of a 30 d objective at 99.9 %."""
    plan = compile_plan(
        step_s=record.step_s,
        target=THREE_NINES,
        window=MONTH,
        conditions=(TIERS[name],),
        policy=DEFAULT_POLICY,
    )
    return replay(plan, slices_of(record)).episodes


@pytest.mark.parametrize(
    ("method", "share"),
    [
        (BudgetingMethod.OCCURRENCES, 74.3),
        (BudgetingMethod.RATIO_TIMESLICES, 101.9),
        (BudgetingMethod.TIMESLICES, 1574.1),
    ],
)
def test_the_same_telemetry_ships_or_freezes_by_method(method: BudgetingMethod, share: float) -> None:
    assert percent(consumed(flip(), method, 60)) == share


@pytest.mark.parametrize(
    ("raw", "occurrences", "mean_of_ratios"),
    [(rare_errors_at_night(), 50.4, 159.8), (outage_at_peak(), 138.6, 69.4)],
    ids=["rare errors at night", "outage at peak"],
)
def test_a_mean_of_ratios_is_another_budget(raw: Record, occurrences: float, mean_of_ratios: float) -> None:
    assert percent(consumed(raw, BudgetingMethod.OCCURRENCES, 300)) == occurrences
    assert percent(consumed(raw, BudgetingMethod.RATIO_TIMESLICES, 300)) == mean_of_ratios


def test_the_default_tiers_are_those_of_the_workbook() -> None:
    factors = {name: (float(tier.threshold), *tier.lookbacks_s) for name, tier in TIERS.items()}
    assert factors == {
        "page-1h": (14.4, 3600, 300),
        "page-6h": (6.0, 21600, 1800),
        "ticket-1d": (3.0, 86400, 7200),
        "ticket-3d": (1.0, 259200, 21600),
    }


@pytest.mark.parametrize(("bad", "total", "name", "step_s", "exact_s"), DETECTION)
def test_detection_takes_as_long_as_the_formula_says(
    bad: int, total: int, name: str, step_s: int, exact_s: Fraction
) -> None:
    tier = TIERS[name]
    assert exact_s == tier.threshold * (1 - THREE_NINES) * total / bad * tier.lookbacks_s[0]
    quiet_s = tier.lookbacks_s[0]
    (episode,) = episodes(constant_errors(bad, total, step_s, quiet_s, 2 * quiet_s), name)
    assert episode.start - quiet_s == ceil(exact_s / step_s) * step_s
    assert episode.end is None


@pytest.mark.parametrize(
    ("bad", "total", "name"), [(143, 10_000, "page-1h"), (5, 1000, "page-6h"), (9, 10_000, "ticket-3d")]
)
def test_below_its_factor_a_tier_never_fires(bad: int, total: int, name: str) -> None:
    quiet_s = TIERS[name].lookbacks_s[0]
    assert episodes(constant_errors(bad, total, 300, quiet_s, 3 * quiet_s), name) == ()


@pytest.mark.parametrize(("name", "step_s", "outage_s", "exact_s"), RESET)
def test_after_a_full_outage_an_alert_resets_with_its_short_lookback(
    name: str, step_s: int, outage_s: int, exact_s: Fraction
) -> None:
    quiet_s = outage_s
    record = constant_errors(1, 1, step_s, quiet_s, outage_s)
    record = replace(record, rows=record.rows + (Row(0, 1),) * (7 * HOUR_S // step_s))
    (episode,) = episodes(record, name)
    # it still holds at the exact instant, and no longer at the first slice after it
    assert episode.end == record.begin(0) + quiet_s + outage_s + (floor(exact_s / step_s) + 1) * step_s


def test_a_tier_cannot_fire_where_its_factor_exceeds_the_whole() -> None:
    told = {"page-1h": Fraction(9306, 10_000), "page-6h": Fraction(5, 6), "ticket-1d": Fraction(2, 3)}
    for name, target in told.items():
        limit = 1 - 1 / TIERS[name].threshold
        assert abs(limit - target) < Fraction(1, 10_000)
        for below, fires in ((Fraction(0), True), (Fraction(1, 10**9), False)):
            plan = compile_plan(
                step_s=300, target=limit - below, window=MONTH, conditions=(TIERS[name],), policy=DEFAULT_POLICY
            )
            all_bad = slices_of(Record(0, 300, (Row(1, 1),) * 12))
            assert bool(replay(plan, all_bad).episodes) is fires


def test_a_burn_rate_just_at_its_factor_fires_every_time() -> None:
    """``1 - 0.999 != 0.001``: in floating point this comparison is decided by noise."""
    random = Random(14)
    tier = TIERS["page-1h"]
    plan = compile_plan(
        step_s=300, target=THREE_NINES, window=MONTH, conditions=(tier,), policy=DEFAULT_POLICY, lookbacks_s=()
    )
    for _ in range(500):
        unit = random.randrange(1, 10**9)
        at_the_factor = Row(9 * unit, 625 * unit)  # 9/625 = 14.4 * 0.001
        history = replay(plan, slices_of(Record(0, 300, (at_the_factor,) * 12)))
        assert [(e.start, e.end) for e in history.episodes] == [(300, None)]
        just_below = Row(9 * unit - 1, 625 * unit)
        assert replay(plan, slices_of(Record(0, 300, (just_below,) * 12))).episodes == ()


@pytest.mark.parametrize(
    ("zone", "month", "hours"),
    [
        ("America/New_York", "2026-03", "743"),
        ("America/New_York", "2026-11", "721"),
        ("Europe/London", "2026-10", "745"),
        ("Australia/Lord_Howe", "2026-10", "743.5"),
        ("UTC", "2026-10", "744"),
    ],
)
def test_a_month_is_as_long_as_its_wall_clock_makes_it(zone: str, month: str, hours: str) -> None:
    window = CalendarWindow(Duration(1, "M"), datetime(2024, 1, 1), zone)
    at = epoch(f"{month}-15T00:00:00Z")
    start, end = period(window, at)
    assert (start, end) == naive_period(window, at)
    assert Fraction(end - start, HOUR_S) == Fraction(hours)


@pytest.mark.parametrize(
    ("zone", "day", "hours"), [("America/New_York", "2026-03-08", 23), ("Europe/London", "2026-10-25", 25)]
)
def test_a_short_day_has_a_short_budget(zone: str, day: str, hours: int) -> None:
    window = CalendarWindow(Duration(1, "d"), datetime(2026, 1, 1), zone)
    start, end = period(window, epoch(f"{day}T12:00:00Z"))
    assert end - start == hours * HOUR_S
    units = slices_of(Record(start, 60, (Row(1, 100),) * 60))
    assert state_of(units, THREE_NINES, window, start + HOUR_S).projected.allowed == Fraction(hours * 60 * 100, 1000)


def test_lost_telemetry_alone_spends_no_budget() -> None:
    minutes = 28 * 1440
    total = np.full(minutes, 100, np.int64)
    bad = np.zeros(minutes, np.int64)
    bad[:20] = 100  # one outage of 20 minutes, at the beginning of the window
    covered = np.ones(minutes, np.bool_)
    before = Slices(0, 60, bad, total, covered)
    covered = covered.copy()
    covered[-6 * 1440 :] = False
    after = Slices(0, 60, bad, total * covered, covered)
    window = RollingWindow(Duration(28, "d"))
    told = [state_of(units, THREE_NINES, window, minutes * 60).projected for units in (before, after)]
    assert told[0].allowed == told[1].allowed
    assert told[0].remaining_ratio == told[1].remaining_ratio == 1 - Fraction(2000, 4032)
