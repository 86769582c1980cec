"""A real Prometheus, filled with a record whose exact counts are known."""

from __future__ import annotations

from itertools import accumulate
from pathlib import Path

import pytest

from tests.live.conftest import StartPrometheus, free_port
from tests.telemetry.builders import NOON, counts, data_source, ratio, read, threshold
from tightrope.base.errors import SourceError, SourceUnreachableError
from tightrope.specs.model import Comparison, DataSource

pytestmark = pytest.mark.live

MINUTES = 180
RESTART = 100  # pod a starts again between these minutes, from 0
OUTAGE = range(140, 150)  # minutes whose samples are missing
LONG = 12_000  # minutes of the long series: more points than one answer holds


def _requests(minute: int) -> dict[tuple[str, str], int]:
    return {("a", "200"): 10 + minute % 7, ("b", "200"): 5, ("a", "500"): 2 if minute % 10 == 0 else 0}


def _record() -> str:
    """Counters of two pods, one of which restarts; a gauge; and one series that is longer than an answer."""
    lines = ["# TYPE http_requests counter"]
    for pod, code in _requests(0):
        value = 1000 if pod == "b" else 0
        for minute in range(MINUTES + 1):
            if minute:
                value = (0 if pod == "a" and minute == RESTART else value) + _requests(minute)[(pod, code)]
            if minute not in OUTAGE:
                lines.append(f'http_requests_total{{pod="{pod}",code="{code}"}} {value} {NOON + 60 * minute}')
    lines.append("# TYPE latency gauge")
    lines += [f"latency {'0.3' if minute % 4 else '0.31'} {NOON + 60 * minute}" for minute in range(MINUTES + 1)]
    lines.append("# TYPE ticks counter")
    for minute, value in enumerate(accumulate(range(LONG + 1))):
        lines.append(f"ticks_total {value} {NOON - 60 * (LONG - minute)}")
    return "\n".join([*lines, "# EOF", ""])


@pytest.fixture(scope="module")
def source(start_prometheus: StartPrometheus) -> DataSource:
    return data_source("prometheus", ".", {"url": start_prometheus(_record())})


ALL = {"query": "http_requests_total"}
GOOD = {"query": 'http_requests_total{code!~"5.."}'}


def test_counts_are_exact_through_a_reset(source: DataSource) -> None:
    until = NOON + 60 * OUTAGE.start - 60
    reading = read(ratio(source, GOOD, ALL, counter=True), since=NOON, until=until)
    expected = [
        (sum(value for (_, code), value in _requests(minute).items() if code == "200"), sum(_requests(minute).values()))
        for minute in range(1, OUTAGE.start)
    ]
    assert counts(reading) == expected
    assert "2 counter resets resolved (total)" in reading.quality.notes


def test_nothing_is_lost_over_an_outage_of_the_monitoring(source: DataSource) -> None:
    reading = read(ratio(source, GOOD, ALL, counter=True), since=NOON, until=NOON + 60 * MINUTES)
    assert int(reading.slices.total.sum()) == sum(sum(_requests(minute).values()) for minute in range(1, MINUTES + 1))


def test_an_absent_error_counter_is_no_error_and_told_of(source: DataSource) -> None:
    bad = {"query": 'http_requests_total{code="504"}'}
    reading = read(ratio(source, bad=bad, total=ALL, counter=True), since=NOON, until=NOON + 600)
    assert (int(reading.slices.bad.sum()), len(reading.slices)) == (0, 10)
    assert any(note.startswith("bad is absent in 10 slices with traffic") for note in reading.quality.notes)


def test_more_points_than_an_answer_holds_are_read_whole(source: DataSource) -> None:
    ticks = {"query": "ticks_total"}
    reading = read(ratio(source, ticks, ticks, counter=True), since=NOON - 60 * LONG, until=NOON)
    assert reading.slices.total.tolist() == list(range(1, LONG + 1))


def test_a_value_is_compared_exactly(source: DataSource) -> None:
    request = threshold(source, {"query": "latency"}, Comparison.LTE, "3/10")
    reading = read(request, since=NOON, until=NOON + 60 * 8)
    assert counts(reading) == [(1, 1), (1, 1), (1, 1), (0, 1)] * 2


def test_the_same_record_as_a_file_gives_the_same_sums(source: DataSource, tmp_path: Path) -> None:
    (tmp_path / "record.om").write_text(_record(), encoding="utf-8")
    file = data_source("openmetrics", tmp_path, {"path": "record.om"})
    of_file = read(
        ratio(
            file,
            {"metric": "http_requests_total", "labels": {"code": "!~5.."}},
            {"metric": "http_requests_total"},
            counter=True,
        )
    )
    of_server = read(ratio(source, GOOD, ALL, counter=True), since=NOON, until=NOON + 60 * MINUTES)
    # A sample tells of what came before it: the server's slices end at it, a file's hold it.
    assert of_file.slices.start == of_server.slices.start + 60
    # Prometheus holds a sample for 5 minutes: that much of the outage looks like no traffic to it.
    first = OUTAGE.start - 1
    assert counts(of_server)[first : first + 6] == [(0, 0)] * 5 + [None]
    assert counts(of_file) == [*counts(of_server)[:first], *[None] * 5, *counts(of_server)[first + 5 :]]


def test_a_query_that_is_no_promql_is_refused_with_the_servers_words(source: DataSource) -> None:
    with pytest.raises(SourceError, match=r"answers 400 to the query 'sum\(': .*parse error"):
        read(ratio(source, {"query": "sum("}, ALL), since=NOON, until=NOON + 600)


def test_a_wrong_path_is_refused(source: DataSource) -> None:
    lost = data_source("prometheus", ".", {"url": f"{source.connection['url']}/elsewhere"})
    with pytest.raises(SourceError, match="answers 404"):
        read(ratio(lost, GOOD, ALL), since=NOON, until=NOON + 600)


def test_a_server_that_is_not_there_is_unreachable() -> None:
    nobody = data_source("prometheus", ".", {"url": f"http://127.0.0.1:{free_port()}", "timeout": "1s"})
    with pytest.raises(SourceUnreachableError, match="can't be reached, after 4 attempts"):
        read(ratio(nobody, GOOD, ALL), since=NOON, until=NOON + 600)
