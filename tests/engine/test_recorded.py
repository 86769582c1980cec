"""On recorded telemetry the engine says what the oracle says: real outages, real gaps, real traffic."""

from __future__ import annotations

import csv
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from tests.oracle.bridge import record_of, slices_of
from tests.oracle.reference import Member, Promise, Record, apply_method, budget, fill
from tests.oracle.stories import SCANNERS, assert_same_story, scanner_of
from tightrope.base.units import DAY_S, HOUR_S, Duration
from tightrope.budget.statement import state_of
from tightrope.sli.coverage import fill_gaps
from tightrope.sli.methods import unit_slices
from tightrope.specs.defaults import default_conditions
from tightrope.specs.model import (
    Basis,
    BudgetingMethod,
    Condition,
    ConditionKind,
    DataSource,
    Gaps,
    Indicator,
    MetricSource,
    Objective,
    RatioMetric,
    RollingWindow,
    Slo,
)
from tightrope.telemetry.plan import Request
from tightrope.telemetry.usecases import read_many

WEEK = RollingWindow(Duration(7, "d"))
MONTH = RollingWindow(Duration(28, "d"))


def read(
    indicator: Indicator, method: BudgetingMethod, objective: Objective, gaps: Gaps, step_s: int
) -> tuple[Record, Record]:
    """Raw slices of recorded telemetry and their units, gaps filled: by the engine, and just so by the oracle."""
    slo = Slo("recorded", "recorded", method, MONTH, (objective,), indicator, gaps=gaps, step_s=step_s)
    raw = read_many([Request(slo, objective)])[0].slices
    units = record_of(fill_gaps(unit_slices(raw, slo, objective), gaps))
    slice_s = objective.time_slice_window.seconds if objective.time_slice_window is not None else step_s
    assert units == fill(apply_method(record_of(raw), method, slice_s, objective.time_slice_target), gaps)
    return record_of(raw), units


def probes(folder: Path, group: str, site: str, every: str) -> Indicator:
    """How often a site was up, by the states that a public status page recorded."""
    source = DataSource("probes", "csv", {"path": "probes.csv.gz", "timestamp": "timestamp"}, str(folder / group))
    spec = {"state": "status", "every": every, "where": {"site": site}}
    total = MetricSource(source, spec)
    return Indicator("up", RatioMetric(total=total, good=replace(total, spec={**spec, "in": ["up"]})))


def requests(folder: Path) -> Indicator:
    """Share of requests that were not answered with an error, by a web server's log."""
    log = DataSource("log", "access-log", {"path": "apache_2015-05.log.gz", "resolution": "10m"}, str(folder))
    total = MetricSource(log, {})
    return Indicator("answered", RatioMetric(total=total, bad=replace(total, spec={"status": ["4xx", "5xx"]})))


def sites(folder: Path, group: str, most: int) -> list[str]:
    """The sites of a group with the most outages."""
    with (folder / group / "outages.csv").open(encoding="utf-8", newline="") as file:
        names = [row["site"] for row in csv.DictReader(file)]
    return sorted(set(names), key=lambda name: (-names.count(name), name))[:most]


HOURLY = (
    Condition("page-6h", "page", Fraction(6), (6 * HOUR_S, HOUR_S)),
    Condition("ticket-3d", "ticket", Fraction(1), (3 * DAY_S, 6 * HOUR_S), alert_after_s=2 * HOUR_S),
    Condition("spent-1d", "ticket", Fraction(1, 10), (DAY_S,), ConditionKind.CONSUMED),
)


@pytest.mark.parametrize("scanner", SCANNERS)
@pytest.mark.parametrize(("group", "gaps"), [("dhbern", Gaps.IGNORE), ("curc", Gaps.HOLD)])
def test_public_sites_over_months(recorded: Path, group: str, gaps: Gaps, scanner: str) -> None:
    folder = recorded / "uptime-probes"
    fired = moved = 0
    for site in sites(folder, group, 2):
        objective = Objective(Fraction(99, 100))
        indicator = probes(folder, group, site, "1h")
        _, units = read(indicator, BudgetingMethod.OCCURRENCES, objective, gaps, HOUR_S)
        promise = Promise((Member(units, objective.target),), MONTH, gaps=gaps, conditions=HOURLY)
        moments = assert_same_story(promise, scanner_of(scanner))
        fired += sum(len(moment.fired) for moment in moments)
        moved += len({moment.state for moment in moments}) - 1
        slices = slices_of(units)
        for moment in moments[::97]:
            for basis in Basis:
                account = budget(units, objective.target, MONTH, moment.at, basis)
                told = state_of(slices, objective.target, MONTH, moment.at, gaps=gaps)
                assert told.budget(basis).consumed_ratio == account.consumed
                assert told.coverage == account.coverage
    assert fired
    assert moved


@pytest.mark.parametrize("scanner", SCANNERS)
def test_a_site_in_five_minute_slices_with_the_default_tiers(recorded: Path, scanner: str) -> None:
    folder = recorded / "uptime-probes"
    objective = Objective(Fraction(95, 100))
    (site,) = sites(folder, "manticore", 1)
    _, units = read(probes(folder, "manticore", site, "5m"), BudgetingMethod.OCCURRENCES, objective, Gaps.IGNORE, 300)
    conditions = default_conditions(WEEK.duration.seconds)
    moments = assert_same_story(
        Promise((Member(units, objective.target),), WEEK, conditions=conditions), scanner_of(scanner)
    )
    assert any(moment.fired for moment in moments)


@pytest.mark.parametrize("method", tuple(BudgetingMethod))
def test_a_web_server_log_by_every_method(recorded: Path, method: BudgetingMethod) -> None:
    timed = Objective(Fraction(96, 100), time_slice_target=Fraction(9, 10), time_slice_window=Duration(30, "m"))
    objective = Objective(timed.target) if method is BudgetingMethod.OCCURRENCES else timed
    raw, units = read(requests(recorded / "access-logs"), method, objective, Gaps.IGNORE, 600)
    assert sum(row.total for row in raw.rows) == 9999
    assert sum(row.bad for row in raw.rows) == 213 + 2 + 2 + 3
    conditions = (
        Condition("burn", "page", Fraction(3, 2), (3 * HOUR_S, HOUR_S)),
        Condition("spent", "ticket", Fraction(1, 20), (3 * HOUR_S,), ConditionKind.CONSUMED),
        Condition("sure", "page", Fraction(1), (3 * HOUR_S,), ConditionKind.SIGNIFICANCE, confidence=Fraction(9, 10)),
    )
    window = RollingWindow(Duration(2, "d"))
    moments = assert_same_story(
        Promise((Member(units, objective.target),), window, conditions=conditions), scanner_of("numpy")
    )
    assert any(moment.fired for moment in moments)
