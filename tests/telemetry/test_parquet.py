"""Parquet files: typed columns mean the same as text."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.telemetry.builders import NOON, counts, data_source, ratio, raw, read, threshold
from tightrope.base.errors import DataError
from tightrope.specs.model import Comparison, DataSource

pa = pytest.importorskip("pyarrow", reason="reading parquet is the extra `parquet` (pyarrow)")
pq = pytest.importorskip("pyarrow.parquet")


def _parquet(folder: Path, **columns: Any) -> DataSource:
    pq.write_table(pa.table(columns), folder / "shop.parquet")
    return data_source("parquet", folder, {"path": "shop.parquet", "timestamp": "time"})


@pytest.mark.parametrize(
    "times",
    [
        [NOON, NOON + 60],
        [float(NOON), NOON + 60.5],
        [NOON * 1000, NOON * 1000 + 60_000],
        ["2026-01-01T12:00:00Z", "2026-01-01T12:01:00Z"],
        [datetime(2026, 1, 1, 12, 0, tzinfo=UTC), datetime(2026, 1, 1, 12, 1, tzinfo=UTC)],
    ],
)
def test_columns_keep_their_types(tmp_path: Path, times: list[Any]) -> None:
    source = _parquet(tmp_path, time=times, good=[1, 2], total=[4.0, 2.0])
    reading = read(ratio(source))
    assert (counts(reading), reading.slices.start) == ([(1, 4), (2, 2)], NOON)


def test_naive_timestamps_are_utc(tmp_path: Path) -> None:
    naive = pa.array([NOON * 10**9], pa.timestamp("ns"))
    assert read(ratio(_parquet(tmp_path, time=naive, good=[1], total=[1]))).slices.start == NOON


def test_where_and_strings_work_as_in_csv(tmp_path: Path) -> None:
    source = _parquet(tmp_path, time=[NOON] * 3, code=[200, 500, None], n=["3", "2", "1"])
    assert counts(read(ratio(source, {"column": "n", "where": {"code": 200}}, {"column": "n"}))) == [(3, 6)]


def test_floats_mean_what_their_shortest_text_says(tmp_path: Path) -> None:
    source = _parquet(tmp_path, time=[NOON] * 3, ms=[0.3, 0.1 + 0.2, 0.29])
    assert counts(read(threshold(source, {"column": "ms"}, Comparison.LTE, "3/10"))) == [(2, 3)]
    source = _parquet(tmp_path, time=[NOON], ms=[0.1])
    assert counts(read(raw(source, {"column": "ms"}))) == [(100_000, 1_000_000)]


def test_decimals_are_exact(tmp_path: Path) -> None:
    source = _parquet(tmp_path, time=[NOON], good=[Decimal("0.25")], total=[Decimal("1.00")])
    assert counts(read(ratio(source, scale=100))) == [(25, 100)]


def test_empty_and_impossible_cells_are_bad_rows_by_number(tmp_path: Path) -> None:
    source = _parquet(
        tmp_path,
        time=[NOON, None, NOON, NOON, NOON, NOON, *[NOON] * 4],
        good=[1.0, 1.0, None, 1e30, 0.5, float("nan"), *[1.0] * 4],
        total=[1] * 10,
    )
    quality = read(ratio(source)).quality
    assert [row.line for row in quality.examples] == [2, 3, 4, 5, 6]


def test_a_negative_count_is_refused_by_number(tmp_path: Path) -> None:
    source = _parquet(tmp_path, time=[NOON] * 4, good=[1, 1, -2, 1], total=[1] * 4)
    with pytest.raises(DataError, match=r"shop\.parquet:3 column 'good' is -2: a count can't be negative"):
        read(ratio(source))


def test_time_that_runs_backwards_is_refused_within_one_series(tmp_path: Path) -> None:
    times = [NOON, NOON + 60, NOON, NOON + 60]
    paths = ["/a", "/a", "/b", "/b"]
    assert counts(read(ratio(_parquet(tmp_path, time=times, path=paths, good=[1] * 4, total=[1] * 4)))) == [(2, 2)] * 2
    source = _parquet(tmp_path, time=times, path=["/a"] * 4, good=[1] * 4, total=[1] * 4)
    with pytest.raises(DataError, match=r"shop\.parquet:3: time runs backwards"):
        read(ratio(source))


def test_a_gzipped_file_is_read(tmp_path: Path) -> None:
    _parquet(tmp_path, time=[NOON], good=[1], total=[2])
    packed = gzip.compress((tmp_path / "shop.parquet").read_bytes())
    (tmp_path / "shop.parquet.gz").write_bytes(packed)
    source = data_source("parquet", tmp_path, {"path": "shop.parquet.gz", "timestamp": "time"})
    assert counts(read(ratio(source))) == [(1, 2)]


def test_a_file_that_is_no_parquet_is_refused(tmp_path: Path) -> None:
    (tmp_path / "shop.parquet").write_text("time,good,total\n")
    source = data_source("parquet", tmp_path, {"path": "shop.parquet", "timestamp": "time"})
    with pytest.raises(DataError, match="is not a parquet file that can be read"):
        read(ratio(source))


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no column 'good'") as caught:
        read(ratio(_parquet(tmp_path, time=[NOON], godo=[1], total=[2])))
    assert "did you mean 'godo'?" in caught.value.remedy
