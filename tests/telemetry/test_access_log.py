"""Access logs: formats, what is good, and lines that are no requests."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from tests.telemetry.builders import NOON, counts, data_source, ratio, read, threshold
from tightrope.base.errors import DataError, NotFoundError, UsageError
from tightrope.specs.model import Comparison, DataSource

COMBINED = """203.0.113.9 - - [01/Jan/2026:12:00:05 +0000] "GET /cart?x=1 HTTP/1.1" 200 12 "-" "curl/8" 0.120
203.0.113.9 - bob [01/Jan/2026:13:00:06 +0100] "POST /cart HTTP/1.1" 503 0 "https://shop.example/" "a \\"b\\" c" 0.300
203.0.113.9 - - [01/Jan/2026:12:02:01 +0000] "GET /healthz HTTP/1.1" 200 2 "-" "probe" 0.001
203.0.113.9 - - [01/Jan/2026:12:01:59 +0000] "GET /api/v1/items HTTP/1.1" 404 2 "-" "curl/8" 1.500
garbage
203.0.113.9 - - [01/Jan/2026:12:02:30 +0000] "GET /cart HTTP/1.1" 499 0 "-" "curl/8" 0.299
"""


def _log(folder: Path, text: str, name: str = "access.log", **connection: Any) -> DataSource:
    (folder / name).write_text(text, encoding="utf-8")
    return data_source("access-log", folder, {"path": name, **connection})


def _sums(source: DataSource, good: dict[str, Any], total: dict[str, Any] | None = None) -> tuple[int, int]:
    slices = read(ratio(source, good, total or {})).slices
    return int(slices.good.sum()), int(slices.total.sum())


def test_lines_are_requests_in_any_order_of_time_and_bad_ones_are_counted(tmp_path: Path) -> None:
    reading = read(ratio(_log(tmp_path, COMBINED), {}, {}))
    assert counts(reading) == [(1, 2), (1, 1), (2, 2)]
    assert reading.slices.start == NOON
    assert [(row.line, row.why) for row in reading.quality.examples] == [
        (5, "is not in the common or combined log format")
    ]


def test_bad_without_a_status_is_every_answer_from_500_on(tmp_path: Path) -> None:
    reading = read(ratio(_log(tmp_path, COMBINED), bad={}, total={}))
    assert (int(reading.slices.bad.sum()), int(reading.slices.total.sum())) == (1, 5)


@pytest.mark.parametrize(
    ("good", "expected"),
    [
        ({"status": ["2xx"]}, 2),
        ({"status": ["2xx", 404]}, 3),
        ({"not": ["5xx", 499]}, 3),
        ({"latencyBelow": "300ms"}, 3),
        ({"latencyBelow": "301ms"}, 3),
        ({"latencyBelow": "301ms", "status": ["2xx", "3xx", "4xx", "5xx"]}, 4),
        ({"latencyBelow": "1500001us", "latencyField": 1}, 4),
        ({"where": {"method": "GET", "path": "/cart"}}, 2),
        ({"where": {"path": ["=/healthz", "~^/api/v[12]/"]}}, 2),
        ({"where": {"client": "203.0.113.9", "status": "4xx"}}, 2),
        ({"where": {"agent": '~"b'}, "status": ["5xx"]}, 1),
        ({"ignore": [{"path": "/healthz"}, {"status": 499}]}, 2),
    ],
)
def test_what_is_good_is_a_matter_of_status_latency_and_filters(
    tmp_path: Path, good: dict[str, Any], expected: int
) -> None:
    assert _sums(_log(tmp_path, COMBINED), good) == (expected, 5)


def test_a_latency_is_compared_as_a_value(tmp_path: Path) -> None:
    reading = read(threshold(_log(tmp_path, COMBINED), {}, Comparison.LTE, "0.3"))
    assert (int(reading.slices.good.sum()), int(reading.slices.total.sum())) == (4, 5)


def test_a_log_without_latencies_is_not_taken_for_a_slow_one(tmp_path: Path) -> None:
    text = "\n".join(line.rpartition(" ")[0] for line in COMBINED.splitlines() if line != "garbage")
    with pytest.raises(
        DataError, match=r"none of 4 rows has a good that can be used: access\.log:1 column 'latency' is empty"
    ):
        _sums(_log(tmp_path, text), {"latencyBelow": "1s"})


def test_latencies_may_have_a_name_and_a_unit(tmp_path: Path) -> None:
    line = '203.0.113.9 - - [01/Jan/2026:12:00:05 +0000] "GET / HTTP/1.1" 200 12 "-" "x" rt=120 uct="0.001"\n'
    source = _log(tmp_path, line, latencyUnit="ms")
    assert _sums(source, {"latencyBelow": "121ms", "latencyField": "rt"}) == (1, 1)
    assert _sums(source, {"latencyBelow": "120ms", "latencyField": "rt"}) == (0, 1)


def test_the_common_format_and_a_leading_virtual_host_are_read(tmp_path: Path) -> None:
    text = (
        '203.0.113.9 - - [01/Jan/2026:12:00:05 +0000] "GET / HTTP/1.0" 200 -\n'
        'shop.example:443 203.0.113.9 - - [01/Jan/2026:12:00:05 +0000] "GET / HTTP/1.0" 500 3\n'
    )
    source = _log(tmp_path, text)
    assert _sums(source, {}) == (1, 2)
    assert _sums(source, {"where": {"vhost": "~^shop"}, "status": ["5xx"]}) == (1, 2)


def test_combined_refuses_a_line_without_its_last_fields(tmp_path: Path) -> None:
    text = COMBINED + '203.0.113.9 - - [01/Jan/2026:12:00:05 +0000] "GET / HTTP/1.0" 200 -\n'
    assert read(ratio(_log(tmp_path, text, format="combined"), {}, {})).quality.bad_rows == 2
    assert read(ratio(_log(tmp_path, text), {}, {})).quality.bad_rows == 1


def test_json_lines_are_read_by_known_or_named_fields(tmp_path: Path) -> None:
    records: list[dict[str, Any]] = [
        {"time": "2026-01-01T12:00:05Z", "status": 200, "path": "/a?b", "duration": "12ms"},
        {"time": "2026-01-01T12:00:06Z", "status": "502", "path": "/a", "duration": 0.5},
    ]
    source = _log(tmp_path, "\n".join(map(json.dumps, records)), "access.jsonl")
    assert _sums(source, {}) == (1, 2)
    assert _sums(source, {"where": {"path": "=/a"}, "latencyBelow": "13ms"}) == (1, 2)
    nested = [{"t": NOON, "http": {"code": 404}, "url.path": "/x", "ok": True}, {"t": NOON, "http": {}}, {"t": NOON}]
    text = "\n".join(map(json.dumps, nested)) + "\n[1]\n{broken\n"
    source = _log(tmp_path, text, "other.json", format="json", fields={"time": "t", "status": "http.code"})
    reading = read(ratio(source, {"where": {"url.path": "/x", "ok": "true"}}, {}))
    assert counts(reading) == [(1, 1)]
    assert [row.line for row in reading.quality.examples] == [2, 3, 4, 5]


def test_nginx_local_times_in_json_are_read(tmp_path: Path) -> None:
    source = _log(tmp_path, '{"time_local": "01/Jan/2026:13:00:00 +0100", "status": 200}\n', "a.json")
    assert read(ratio(source, {}, {})).slices.start == NOON


@pytest.mark.parametrize(
    ("good", "says"),
    [
        ({"status": ["ok"]}, "status 'ok' is neither"),
        ({"status": [200], "not": [500]}, "exclude each other"),
        ({"latencyBelow": "fast"}, "latencyBelow is 'fast'"),
        ({"where": {"path": "~("}}, "no regular expression"),
        ({"ignore": {"path": "/x"}}, "ignore must be a list"),
        ({"staus": [200]}, "unknown setting 'staus'"),
    ],
)
def test_wrong_metric_specs_are_named(tmp_path: Path, good: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        _sums(_log(tmp_path, COMBINED), good)


def test_wrong_settings_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="fields has an unknown name 'statuss'"):
        _sums(_log(tmp_path, COMBINED, fields={"statuss": "x"}), {})
    with pytest.raises(UsageError, match="latencyBelow tells the good requests"):
        _sums(_log(tmp_path, COMBINED), {}, {"latencyBelow": "1s"})
    with pytest.raises(UsageError, match="lines of a log are no counters"):
        read(ratio(_log(tmp_path, COMBINED), {}, {}, counter=True))


def test_an_empty_log_and_a_missing_one_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no lines"):
        _sums(_log(tmp_path, ""), {})
    with pytest.raises(NotFoundError, match="there is no file"):
        _sums(data_source("access-log", tmp_path, {"path": "acces.log"}), {})


def test_a_directory_of_rotated_logs_is_one_log(tmp_path: Path) -> None:
    lines = COMBINED.splitlines(keepends=True)
    (tmp_path / "a.log").write_text("".join(lines[:2]))
    (tmp_path / "a.log.gz").write_bytes(gzip.compress("".join(lines[2:]).encode()))
    assert _sums(data_source("access-log", tmp_path, {"path": "."}), {}) == (4, 5)


def test_a_log_may_be_mostly_of_other_lines(tmp_path: Path) -> None:
    reading = read(ratio(_log(tmp_path, COMBINED + "starting up\n" * 9), {}, {}))
    assert (int(reading.slices.total.sum()), reading.quality.bad_rows) == (5, 10)


def test_a_log_of_failures_alone_is_an_outage_and_no_mistyped_name(tmp_path: Path) -> None:
    failures = _log(tmp_path, COMBINED.splitlines()[0].replace(" 200 ", " 503 ") + "\n")
    reading = read(ratio(failures, {}, {}))
    assert (counts(reading), reading.quality.notes) == ([(0, 1)], ())
    with pytest.raises(DataError, match="good has no rows, though total has 1: no row has path /nowhere"):
        read(ratio(failures, {"where": {"path": "/nowhere"}}, {}))


def test_a_log_without_failures_needs_no_note(tmp_path: Path) -> None:
    reading = read(ratio(_log(tmp_path, COMBINED.splitlines()[0] + "\n"), bad={}, total={}))
    assert (counts(reading), reading.quality.notes) == ([(1, 1)], ())


def test_a_real_apache_log_has_one_line_that_does_not_parse(recorded: Path) -> None:
    source = data_source("access-log", recorded / "access-logs", {"path": "apache_2015-05.log.gz"})
    reading = read(ratio(source, {}, {}))
    assert (int(reading.slices.total.sum()), int(reading.slices.bad.sum())) == (9999, 3)
    assert (reading.quality.rows, [row.line for row in reading.quality.examples]) == (10_000, [8899])


def test_a_real_log_with_stray_lines_gives_the_requests_and_counts_the_rest(recorded: Path) -> None:
    source = data_source("access-log", recorded / "access-logs", {"path": "erddap_2024-05-12_to_16.log.gz"})
    reading = read(ratio(source, {"not": ["5xx", 499]}, {}))
    assert (int(reading.slices.total.sum()), int(reading.slices.bad.sum())) == (6621, 104)
    assert (reading.quality.rows, reading.quality.bad_rows) == (11_858, 5237)
