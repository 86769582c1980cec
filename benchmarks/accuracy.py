"""Right answers: the engine and the mean of ratios against Python's integers, on recorded and on generated data."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from benchmarks.answers import (
    consumed_by_mean_of_ratios,
    consumed_exactly,
    spent_by_engine,
    spent_exactly,
    window_counts,
)
from benchmarks.tables import show
from benchmarks.traffic import START, traffic
from tightrope.base.units import DAY_S, MINUTE_S, Duration, duration_text
from tightrope.budget.statement import state_of
from tightrope.sli.slices import Slices
from tightrope.specs.model import (
    BudgetingMethod,
    Comparison,
    DataSource,
    Indicator,
    MetricSource,
    Objective,
    RatioMetric,
    RollingWindow,
    Slo,
    ThresholdMetric,
)
from tightrope.telemetry.plan import Request
from tightrope.telemetry.usecases import read_many

RECORDED = Path(__file__).resolve().parent.parent.parent / "shared" / "data"


@dataclass(frozen=True, slots=True)
class Case:
    """One data set: the slices of its indicators, an objective, a window."""

    name: str
    target: Fraction
    window_s: int
    records: tuple[Slices, ...]


def _slices(
    case: str, target: Fraction, window_s: int, metrics: list[RatioMetric | ThresholdMetric], step_s: int
) -> Case:
    """Read indicators the way the product reads them."""
    bounds = {"op": Comparison.GTE, "value": Fraction(99)} if isinstance(metrics[0], ThresholdMetric) else {}
    objective = Objective(target, **bounds)  # type: ignore[arg-type]
    window = RollingWindow(Duration(window_s, "s"))
    requests = [
        Request(
            Slo(
                f"{case} {k}",
                case,
                BudgetingMethod.OCCURRENCES,
                window,
                (objective,),
                Indicator("", one),
                step_s=step_s,
            ),
            objective,
        )
        for k, one in enumerate(metrics)
    ]
    records = [reading.slices for reading in read_many(requests)]
    return Case(case, target, window_s, tuple(one for one in records if len(one)))


def _column(path: Path, column: str) -> list[str]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return sorted({row[column] for row in csv.DictReader(file)})


def _probes(folder: Path) -> Case:
    path = folder / "probes.csv.gz"
    source = DataSource(folder.name, "csv", {"path": str(path), "timestamp": "timestamp"})
    metrics: list[RatioMetric | ThresholdMetric] = []
    for site in _column(path, "site"):
        sampled = {"state": "status", "every": "5m", "where": {"site": site}}
        total, good = MetricSource(source, sampled), MetricSource(source, {**sampled, "in": ["up"]})
        metrics.append(RatioMetric(total=total, good=good))
    return _slices(f"uptime-probes/{folder.name}", Fraction(999, 1000), 30 * DAY_S, metrics, 5 * MINUTE_S)


def _petshop(folder: Path) -> Case:
    path = folder / "metrics.csv.gz"
    source = DataSource("petshop", "csv", {"path": str(path), "timestamp": "time"})
    metrics: list[RatioMetric | ThresholdMetric] = []
    for scenario in _column(path, "scenario"):
        where = {"scenario": scenario, "window": "noissue", "service": "PetSite"}
        total = MetricSource(source, {"column": "requests", "where": where})
        metrics.append(RatioMetric(total=total, bad=MetricSource(source, {"column": "errors_est", "where": where})))
    return _slices("petshop, front", Fraction(99, 100), DAY_S, metrics, 5 * MINUTE_S)


def _nezha(folder: Path) -> Case:
    source = DataSource("nezha", "csv", {"path": str(folder / "2022-08-22_frontend.csv"), "timestamp": "time"})
    rate = ThresholdMetric(MetricSource(source, {"column": "success_rate_pct"}))
    return _slices("nezha, minutes of success >= 99 %", Fraction(99, 100), DAY_S // 4, [rate], MINUTE_S)


def _access_log(path: Path) -> Case:
    source = DataSource("log", "access-log", {"path": str(path), "format": "combined"})
    ratio = RatioMetric(total=MetricSource(source, {}), good=MetricSource(source, {"not": ["4xx", "5xx"]}))
    return _slices(f"access log {path.name.split('_')[0]}", Fraction(95, 100), DAY_S, [ratio], MINUTE_S)


def _recorded() -> Iterator[Case]:
    for folder in sorted((RECORDED / "uptime-probes").iterdir()):
        yield _probes(folder)
    yield _petshop(RECORDED / "petshop")
    yield _nezha(RECORDED / "nezha")
    for path in sorted((RECORDED / "access-logs").iterdir()):
        yield _access_log(path)


def _generated() -> Iterator[Case]:
    month = 30 * DAY_S
    yield Case("generated traffic", Fraction(999, 1000), month, tuple(traffic(number, 61) for number in range(8)))
    count, per_day = 35 * 288, 288
    hour = np.arange(count) % per_day // 12
    covered = np.ones(count, np.bool_)
    night = (hour < 6) | (hour >= 22)
    total = np.where(night, 20, 10_000)
    bad = np.where(night, np.random.default_rng(7).random(count) < 0.05, 4).astype(np.int64)
    yield Case("busy days, quiet nights", Fraction(999, 1000), month, (Slices(START, 300, bad, total, covered),))
    outage = np.zeros(count, np.int64)
    outage[31 * per_day + 12 * 12 : 31 * per_day + 13 * 12] = 5_000
    yield Case(
        "an hour at half, at the peak", Fraction(999, 1000), month, (Slices(START, 300, outage, total, covered),)
    )


def _row(case: Case) -> list[str]:
    wrong = mean_wrong = evaluated = 0
    event_error, mean_error = Fraction(0), 0.0
    for units in case.records:
        exact = spent_exactly(units, case.target, case.window_s)
        consumed = consumed_exactly(units, case.target, case.window_s)
        mean = consumed_by_mean_of_ratios(units, case.target, case.window_s)
        known = ~np.isnan(consumed)
        evaluated += int(known.sum())
        wrong += int(np.count_nonzero(spent_by_engine(units, case.target, case.window_s) != exact))
        mean_wrong += int(np.count_nonzero(((mean >= 1) != (consumed >= 1))[known]))
        mean_error = max(mean_error, float(np.abs(mean - consumed)[known].max(initial=0)))
        event_error = max(event_error, _event_error(units, case))
    return [
        case.name,
        str(len(case.records)),
        duration_text(case.window_s),
        f"{evaluated:,}",
        str(event_error),
        str(wrong),
        f"{100 * mean_error:,.1f} %",
        f"{mean_wrong:,}",
    ]


def _event_error(units: Slices, case: Case) -> Fraction:
    """Largest difference of bad or valid units between a statement and the integers, at fifty instants."""
    steps = case.window_s // units.step_s
    bad, total = window_counts(units.bad.tolist(), steps), window_counts(units.total.tolist(), steps)
    window = RollingWindow(Duration(case.window_s, "s"))
    error = Fraction(0)
    for k in np.linspace(0, len(units) - 1, 50).astype(int).tolist():
        statement = state_of(units, case.target, window, units.start + (k + 1) * units.step_s)
        error = max(
            error,
            abs(statement.observed.consumed * units.scale - bad[k]),
            abs(statement.total * units.scale - total[k]),
        )
    return error


def main() -> None:
    """Print the errors of both, data set by data set."""
    cases = [*_generated(), *(_recorded() if RECORDED.is_dir() else ())]
    show(
        'Errors against integers: units of the budget, and the answer to "is the budget spent?" slice by slice',
        ["data", "SLIs", "window", "answers", "unit error", "wrong", "mean of ratios: error", "wrong"],
        [_row(case) for case in cases],
        notes=(
            "The mean of ratios is the unweighted mean of 5-minute error ratios over the window, those without traffic",
            "left out; its error is the largest difference in the share of the budget consumed.",
            *(
                ()
                if RECORDED.is_dir()
                else ("The recorded data (../shared/data) is not on this machine and is left out.",)
            ),
        ),
    )


if __name__ == "__main__":
    main()
