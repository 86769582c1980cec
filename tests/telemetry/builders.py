"""Small SLOs on small files, for the tests of this room."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

from tightrope.base.units import Duration
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
from tightrope.telemetry.reading import Reading
from tightrope.telemetry.usecases import read_many

NOON = 1_767_268_800
"""2026-01-01T12:00:00Z"""


def data_source(kind: str, folder: Path | str, connection: Mapping[str, Any]) -> DataSource:
    return DataSource("log", kind, connection, str(folder))


def csv_source(folder: Path, text: str | bytes, **connection: Any) -> DataSource:
    """Write a CSV file, and make the data source that reads it."""
    raw = text if isinstance(text, bytes) else text.encode()
    (folder / "shop.csv").write_bytes(raw)
    return data_source("csv", folder, {"path": "shop.csv", "timestamp": "time", **connection})


def ratio(
    source: DataSource,
    good: Mapping[str, Any] | None = None,
    total: Mapping[str, Any] | None = None,
    *,
    bad: Mapping[str, Any] | None = None,
    counter: bool = False,
    total_source: DataSource | None = None,
    **slo: Any,
) -> Request:
    """An objective on good (or bad) and total; columns called good and total where nothing is said."""
    metric = RatioMetric(
        total=MetricSource(total_source or source, {"column": "total"} if total is None else total),
        good=None if bad is not None else MetricSource(source, {"column": "good"} if good is None else good),
        bad=None if bad is None else MetricSource(source, bad),
        counter=counter,
    )
    return _request(metric, Objective(Fraction(999, 1000)), slo)


def raw(source: DataSource, spec: Mapping[str, Any], kind: str = "success", **slo: Any) -> Request:
    """An objective on a ratio that already is one."""
    return _request(RatioMetric(raw=MetricSource(source, spec), raw_type=kind), Objective(Fraction(99, 100)), slo)


def threshold(source: DataSource, spec: Mapping[str, Any], op: Comparison, value: str, **slo: Any) -> Request:
    """An objective on a value that is compared with a bound."""
    objective = Objective(Fraction(99, 100), op=op, value=Fraction(value))
    return _request(ThresholdMetric(MetricSource(source, spec)), objective, slo)


def _request(metric: RatioMetric | ThresholdMetric, objective: Objective, slo: Mapping[str, Any]) -> Request:
    promise = Slo(
        name="checkout",
        service="shop",
        method=BudgetingMethod.OCCURRENCES,
        window=RollingWindow(Duration(28, "d")),
        objectives=(objective,),
        indicator=Indicator("checkout", metric),
        **slo,
    )
    return Request(promise, objective)


def read(request: Request, **how: Any) -> Reading:
    """Read one objective."""
    return read_many([request], **how)[0]


def counts(reading: Reading) -> list[tuple[int, int] | None]:
    """Good and total of each slice; None for a gap."""
    slices = reading.slices
    rows = zip(slices.good.tolist(), slices.total.tolist(), slices.covered.tolist(), strict=True)
    return [(good, total) if covered else None for good, total, covered in rows]
