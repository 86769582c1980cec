"""A small world to run the command line in: one service, one csv, thirty days of minutes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from tightrope.base.errors import TightropeError
from tightrope.cli.main import cli

START = 1_772_323_200  # 2026-03-01T00:00:00Z
MINUTES = 30 * 1440

SPECS = """
apiVersion: openslo/v1
kind: DataSource
metadata: {name: shop-log}
spec:
  type: csv
  connectionDetails: {path: shop.csv, timestamp: time}
---
apiVersion: openslo/v1
kind: SLO
metadata: {name: checkout-availability}
spec:
  service: checkout
  budgetingMethod: Occurrences
  timeWindow: [{duration: 28d, isRolling: true}]
  objectives: [{target: 0.999}]
  indicator:
    metadata: {name: checkout-success}
    spec:
      ratioMetric:
        counter: false
        good:  {metricSource: {metricSourceRef: shop-log, spec: {column: good, where: {service: checkout}}}}
        total: {metricSource: {metricSourceRef: shop-log, spec: {column: total, where: {service: checkout}}}}
"""


def write_world(folder: Path, outages: dict[int, tuple[int, int]] | None = None, specs: str = SPECS) -> Path:
    """Write specs and telemetry: 100 requests a minute, good but in outages ``{minute: (minutes, bad a minute)}``."""
    bad = [0] * MINUTES
    for first, (minutes, each) in (outages or {}).items():
        bad[first : first + minutes] = [each] * minutes
    rows = (f"{START + 60 * minute},checkout,{100 - wrong},100\n" for minute, wrong in enumerate(bad))
    (folder / "shop.csv").write_text("time,service,good,total\n" + "".join(rows), encoding="utf-8")
    path = folder / "slo.yaml"
    path.write_text(specs, encoding="utf-8")
    return path


def run(*arguments: object) -> Result:
    """Run a command in this process; known errors are left in the result, as `main` would meet them."""
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def answer(*arguments: object) -> Any:
    """Run a command that prints JSON, and read it."""
    result = run(*arguments, "-o", "json")
    assert result.stdout, result.exception
    return json.loads(result.stdout)


def error_of(result: Result) -> TightropeError:
    """The known error that a command ended with."""
    assert isinstance(result.exception, TightropeError), result.exception
    return result.exception
