"""How long a person waits: the command line from cold, a new process each time."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.tables import seconds, show
from benchmarks.traffic import traffic
from tightrope.base.units import time_text
from tightrope.sli.slices import Slices

_ROUNDS = 10

_SPEC = """\
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


def write_csv(slices: Slices, path: Path) -> None:
    """Write slices as ``time,good,total``, one row for each."""
    rows = zip(slices.good.tolist(), slices.total.tolist(), strict=True)
    lines = [f"{time_text(slices.start + k * slices.step_s)},{good},{total}" for k, (good, total) in enumerate(rows)]
    path.write_text("\n".join(["time,good,total", *lines]) + "\n", encoding="utf-8")


def _timed(command: Sequence[str], folder: Path) -> list[float]:
    # compiled modules are kept between runs, as they are wherever a program is installed
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    taken = []
    for _ in range(_ROUNDS + 1):
        begin = time.perf_counter()
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        taken.append(time.perf_counter() - begin)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr}")
    return sorted(taken[1:])  # the first one fills the caches of the disk


def main() -> None:
    """Print minimum and median of ten runs, beside the bare interpreter."""
    program = str(Path(sys.executable).with_name("tightrope"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "shop.yaml").write_text(_SPEC, encoding="utf-8")
        write_csv(traffic(1, 30), folder / "shop.csv")
        commands = {
            "python -c pass": [sys.executable, "-c", "pass"],
            "python -c 'import numpy'": [sys.executable, "-c", "import numpy"],
            "tightrope --help": [program, "--help"],
            "tightrope validate (one file)": [program, "validate", "shop.yaml"],
            "tightrope status (one SLO, 30 d of minutes, csv)": [program, "status", "-f", "shop.yaml"],
        }
        rows = []
        for label, command in commands.items():
            taken = _timed(command, folder)
            rows.append([label, seconds(taken[0]), seconds(statistics.median(taken))])
    show(f"From cold, a new process each time ({_ROUNDS} runs)", ["command", "min", "median"], rows)


if __name__ == "__main__":
    main()
