"""What a short command does not need, it does not wait for."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

_SPEC = """\
apiVersion: openslo/v1
kind: DataSource
metadata: {name: shop-log}
spec: {type: csv, connectionDetails: {path: shop.csv, timestamp: time}}
---
apiVersion: openslo/v1
kind: SLO
metadata: {name: checkout-availability}
spec:
  service: checkout
  budgetingMethod: Occurrences
  timeWindow: [{duration: 30d, isRolling: true}]
  objectives: [{target: 0.999}]
  indicator:
    metadata: {name: checkout-success}
    spec:
      ratioMetric:
        counter: false
        good: {metricSource: {metricSourceRef: shop-log, spec: {column: good}}}
        total: {metricSource: {metricSourceRef: shop-log, spec: {column: total}}}
"""
_CSV = "time,good,total\n2026-01-01T00:00:00Z,1,1\n2026-01-01T00:01:00Z,1,1\n"

_PROBE = """\
import io, sys
from tightrope.cli.main import main
out, sys.stdout = sys.stdout, io.StringIO()
try:
    main()
except SystemExit:
    pass
loaded = list(sys.modules)
import dataclasses, json
slow = [
    f"{name}.{one.__qualname__}"
    for name in loaded if name.startswith("tightrope.") and name != "tightrope.base.values"
    for one in vars(sys.modules[name]).values()
    if isinstance(one, type) and one.__module__ == name and dataclasses.is_dataclass(one)
    and getattr(one.__eq__, "__module__", "") == name and one.__dataclass_params__.frozen
]
print(json.dumps({"modules": loaded, "slow": slow}), file=out)
"""


def _started(folder: Path, *words: str) -> dict[str, list[str]]:
    (folder / "shop.yaml").write_text(_SPEC, encoding="utf-8")
    (folder / "shop.csv").write_text(_CSV, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", _PROBE, *words], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, list[str]] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize(
    ("words", "unneeded"),
    [
        (["--help"], {"yaml", "json", "pathlib", "hashlib", "numpy"}),
        (
            ["validate", "shop.yaml"],
            {"numpy", "pathlib", "urllib.parse", "zoneinfo", "dateutil", "sqlalchemy", "rich", "difflib", "logging"},
        ),
        (["status", "-f", "shop.yaml"], {"sqlalchemy", "rich", "httpx2", "pyarrow", "numba", "icalendar", "asyncio"}),
    ],
    ids=["help", "validate", "status"],
)
def test_a_command_waits_for_nothing_that_it_does_not_need(
    words: list[str], unneeded: set[str], tmp_path: Path
) -> None:
    assert unneeded.intersection(_started(tmp_path, *words)["modules"]) == set()


def test_values_on_the_way_of_validate_are_of_the_quick_kind(tmp_path: Path) -> None:
    assert _started(tmp_path, "validate", "shop.yaml")["slow"] == []
