"""The commands on the store say what they did, in words and in JSON, and how to mend what is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from tests.state.worlds import filled, tamper
from tightrope.base.errors import ConflictError, UsageError
from tightrope.cli.main import cli
from tightrope.sli.hours import by_the_hour
from tightrope.state.database import opened
from tightrope.telemetry.rollup.store import HourStore
from tightrope.telemetry.store import Batch, SeriesKey, SliceStore

SPEC = """
apiVersion: openslo/v1
kind: DataSource
metadata: {name: log}
spec: {type: csv, connectionDetails: {path: log.csv, timestamp: time}}
---
apiVersion: openslo/v1
kind: SLO
metadata: {name: up}
spec:
  service: checkout
  budgetingMethod: Occurrences
  timeWindow: [{duration: 28d, isRolling: true}]
  objectives: [{target: 0.99}]
  indicator:
    metadata: {name: up}
    spec:
      ratioMetric:
        good: {metricSource: {metricSourceRef: log, spec: {column: good}}}
        total: {metricSource: {metricSourceRef: log, spec: {column: total}}}
"""


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, list(arguments))


@pytest.fixture
def store(tmp_path: Path) -> str:
    where = str(tmp_path / "store")
    filled(where, 3)
    with opened(where) as database:
        slices = SliceStore(database)
        (number,) = slices.admit([SeriesKey("up", "d", 60)])
        count = np.arange(100)
        slices.write(Batch(np.full(100, number, np.int32), count, count * 0, count + 1, count % 2 == 0))
    return where


def test_info_tells_what_is_kept(store: str) -> None:
    told = json.loads(run("store", "info", "--data", store, "-o", "json").output)
    assert told["journalRows"] == 3
    assert told["records"] == [
        {
            "track": "up",
            "series": 1,
            "stepSeconds": 60,
            "start": "1970-01-01T00:00:00Z",
            "end": "1970-01-01T01:40:00Z",
        }
    ]


def test_slices_are_exported_as_they_are(store: str, tmp_path: Path) -> None:
    done = run("store", "export", str(tmp_path / "slices.parquet"), "--data", store)
    assert (done.exit_code, done.output) == (0, f"wrote 100 slices to {tmp_path / 'slices.parquet'}\n")
    rows = pq.read_table(tmp_path / "slices.parquet").to_pylist()
    assert [row["total"] for row in rows] == [(at + 1) * (at % 2 == 0) for at in range(100)]
    assert {row["track"] for row in rows} == {"up"}
    assert isinstance(run("store", "export", str(tmp_path / "slices.parquet"), "--data", store).exception, UsageError)


def test_what_was_let_go_of_is_exported_and_told_of_by_the_hour(store: str, tmp_path: Path) -> None:
    with opened(store) as database:
        slices, hours = SliceStore(database), HourStore(database)
        slices.compact()
        slices.prune(2 * 86_400, fold=lambda into, of, gone: hours.fold_in(into, of, by_the_hour(gone)))
    done = run("store", "export", "--hours", str(tmp_path / "hours.parquet"), "--data", store)
    assert (done.exit_code, done.output) == (0, f"wrote 24 hours to {tmp_path / 'hours.parquet'}\n")
    rows = pq.read_table(tmp_path / "hours.parquet").to_pylist()
    odd = [at + 1 for at in range(0, 100, 2)]
    told = [(row["track"], row["step_s"], row["total"], row["bad"], row["known"], row["slices"]) for row in rows]
    assert told[:2] == [("up", 3600, sum(odd[:30]), 0, 30, 60), ("up", 3600, sum(odd[30:]), 0, 20, 60)]
    (tmp_path / "slo.yaml").write_text(SPEC)
    said = run("doctor", "--data", store, "-f", str(tmp_path / "slo.yaml")).output
    assert "1 record by the hour from 1970-01-01T00:00:00Z" in " ".join(said.split())


def test_a_backup_is_made_and_brought_back(store: str, tmp_path: Path) -> None:
    copy = str(tmp_path / "copy.db")
    assert "3 rows of journal; note its head: " in run("store", "backup", copy, "--data", store).output
    assert run("store", "restore", copy, "--data", str(tmp_path / "other")).exit_code == 0
    assert isinstance(run("store", "restore", copy, "--data", store).exception, ConflictError)
    assert run("store", "compact", "--data", str(tmp_path / "other")).output == "folded 1 tick\n"


def test_the_doctor_finds_what_is_wrong(store: str, tmp_path: Path) -> None:
    (tmp_path / "slo.yaml").write_text(SPEC)
    (tmp_path / "log.csv").write_text("time,good,total\n2020-01-01T00:00:00Z,1,1\n")
    asked = ("doctor", "-f", str(tmp_path / "slo.yaml"), "--data", store, "-o", "json")
    well = run(*asked)
    assert well.exit_code == 0
    assert {one["check"]: one["mark"] for one in json.loads(well.output)} == {
        "specs": "ok",
        "source log": "!",
        "store": "ok",
        "journal": "ok",
        "disk": "ok",
    }
    tamper(store, "UPDATE journal SET time = 0 WHERE sequence = 2")
    (tmp_path / "log.csv").unlink()
    ill = run(*asked)
    assert ill.exit_code == 2
    found = {one["check"]: one for one in json.loads(ill.output)}
    assert found["source log"]["mark"] == found["journal"]["mark"] == "x"
    assert "did you mean" in found["source log"]["remedy"] or "check path" in found["source log"]["remedy"]
    assert "row 2" in found["journal"]["says"]
