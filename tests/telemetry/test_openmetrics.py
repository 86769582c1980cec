"""OpenMetrics and Prometheus text: samples, labels, and the times of snapshots."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.telemetry.builders import NOON, counts, data_source, ratio, raw, read, threshold
from tightrope.base.errors import DataError, UsageError
from tightrope.specs.model import Comparison, DataSource

TIMED = f"""# HELP http_requests Requests.
# TYPE http_requests counter
http_requests_total{{code="200",pod="a"}} 10 {NOON}
http_requests_total{{code="200",pod="a"}} 15 {NOON + 60} # {{trace_id="x"}} 1
http_requests_total{{code="500",pod="a"}} 1.0 {NOON}.000
http_requests_total{{code="500",pod="a"}} 2 {NOON + 60}.5
http_requests_total{{pod="b",code="200"}} 7e0 {NOON}
http_requests_total{{pod="b",code="200"}} 3 {NOON + 60}
http_requests_total_other{{code="200"}} 99 {NOON + 60}
# EOF
"""


def _metrics(folder: Path, text: str, name: str = "shop.prom") -> DataSource:
    (folder / name).write_text(text, encoding="utf-8")
    return data_source("openmetrics", folder, {"path": name})


def test_counters_are_differenced_series_by_series(tmp_path: Path) -> None:
    source = _metrics(tmp_path, TIMED)
    reading = read(
        ratio(
            source,
            {"metric": "http_requests_total", "labels": {"code": "2.."}},
            {"metric": "http_requests_total"},
            counter=True,
        )
    )
    assert counts(reading) == [(8, 9)]
    assert (reading.slices.start, reading.quality.rows) == (NOON + 60, 7)


@pytest.mark.parametrize(
    ("spec", "growth"),
    [
        ({"metric": "http_requests_total", "labels": {"code": 500}}, 1),
        ({"metric": "http_requests_total", "labels": {"code": "!=500"}}, 8),
        ({"metric": "http_requests_total", "labels": {"code": "!~5.."}}, 8),
        ({"metric": "http_requests_total", "labels": {"pod": ["a"], "code": ["200", "500"]}}, 6),
        ({"metric": "http_requests_total", "labels": {"zone": ""}}, 9),
        ({"selector": 'http_requests_total{code=~"2..", pod!="b"}'}, 5),
        ({"selector": "http_requests_total"}, 9),
    ],
)
def test_labels_select_as_in_promql(tmp_path: Path, spec: dict[str, Any], growth: int) -> None:
    assert int(read(ratio(_metrics(tmp_path, TIMED), spec, spec, counter=True)).slices.total.sum()) == growth


def test_a_bucket_is_found_by_its_bound_however_it_is_written(tmp_path: Path) -> None:
    text = "".join(
        f'latency_bucket{{le="{le}"}} {value} {at}000\n'
        for at, rows in ((NOON, (("0.3", 4), ("+Inf", 5))), (NOON + 60, (("0.3", 10), ("+Inf", 12))))
        for le, value in rows
    )
    good, total = ({"metric": "latency_bucket", "labels": {"le": le}} for le in ("0.30", "+Inf"))
    assert counts(read(ratio(_metrics(tmp_path, text), good, total, counter=True))) == [(6, 7)]


def test_labels_may_hold_braces_quotes_and_hashes(tmp_path: Path) -> None:
    text = f'x_total{{path="/a}}b # \\"c\\"",n="\\\\1"}} 3 {NOON}\n'
    spec = {"metric": "x_total", "labels": {"path": '=/a}b # "c"', "n": "=\\1"}}
    assert counts(read(ratio(_metrics(tmp_path, text), spec, spec))) == [(3, 3)]


def test_gauges_are_values_or_ratios(tmp_path: Path) -> None:
    source = _metrics(tmp_path, f"up 1 {NOON}\nup 0 {NOON + 10}\nup NaN {NOON + 20}\nshare 0.5 {NOON}\n")
    assert counts(read(threshold(source, {"metric": "up"}, Comparison.GTE, "1"))) == [(1, 2)]
    assert counts(read(raw(source, {"metric": "share"}))) == [(500_000, 1_000_000)]


@pytest.mark.parametrize("how", ["line", "name", "modified"])
def test_snapshots_without_times_take_the_time_of_their_file(tmp_path: Path, how: str) -> None:
    for number, (at, value) in enumerate([(NOON + 60, 12), (NOON, 10), (NOON + 120, 3)]):
        name = f"shop-{at}.prom" if how == "name" else f"shop-{number}.prom"
        head = f"# time {at}\n" if how == "line" else ""
        (tmp_path / name).write_text(f"{head}x_total {value}\n")
        os.utime(tmp_path / name, (at, at) if how == "modified" else (0, 0))
    source = data_source("openmetrics", tmp_path, {"path": "."})
    spec = {"metric": "x_total"}
    assert counts(read(ratio(source, spec, spec, counter=True))) == [(2, 2), (3, 3)]


def test_one_file_may_hold_many_snapshots_each_below_its_time(tmp_path: Path) -> None:
    text = "# time 2026-01-01T12:00:00Z\nx_total 1\n# time 2026-01-01T12:01:00Z\nx_total 5\n"
    spec = {"metric": "x_total"}
    assert counts(read(ratio(_metrics(tmp_path, text), spec, spec, counter=True))) == [(4, 4)]


def test_lines_that_are_no_samples_are_counted(tmp_path: Path) -> None:
    text = f'x_total 1 {NOON}\nx_total{{a="b}} 2 {NOON}\n<html>\nx_total two {NOON}\n'
    text += f"x_total 1 {NOON}\n" * 2
    quality = read(ratio(_metrics(tmp_path, text), {"metric": "x_total"}, {"metric": "x_total"})).quality
    assert [row.line for row in quality.examples] == [2, 3, 4]


def test_a_file_without_samples_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no samples"):
        read(ratio(_metrics(tmp_path, "# EOF\n"), {"metric": "x"}, {"metric": "x"}))


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({"labels": {"a": "b"}}, "metric is missing"),
        ({"metric": "x", "selector": "x"}, "exclude each other"),
        ({"selector": "sum(x)"}, "is no selector"),
        ({"selector": 'x{a="b"'}, "is no selector"),
        ({"metric": "x", "labels": {"a": "("}}, "no regular expression"),
    ],
)
def test_wrong_metric_specs_are_named(tmp_path: Path, spec: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        read(ratio(_metrics(tmp_path, TIMED), spec, {"metric": "x"}))
