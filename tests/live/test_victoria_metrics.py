"""A real VictoriaMetrics, asked as a Prometheus is: the same record gives the same counts."""

from __future__ import annotations

import re
import shutil
import urllib.request
from collections.abc import Iterator

import pytest

from tests.live.conftest import _running
from tests.live.test_prometheus import ALL, GOOD, LONG, MINUTES, OUTAGE, _record, _requests
from tests.telemetry.builders import NOON, counts, data_source, ratio, read, threshold
from tightrope.base.errors import SourceError
from tightrope.specs.model import Comparison, DataSource

pytestmark = pytest.mark.live


class _running_victoria(_running):  # noqa: N801  reads as what it is, as its base does
    def _command(self, address: str) -> list[str]:
        return [
            self._prometheus,
            "-storageDataPath=data",
            "-retentionPeriod=100y",
            "-search.maxPointsPerTimeseries=100000",
            f"-httpListenAddr={address}",
        ]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DataSource]:
    """The record of the tests of Prometheus, imported; skips where the program is missing."""
    program = shutil.which("victoria-metrics")
    if program is None:
        pytest.skip("victoria-metrics is not installed (Debian: apt-get install victoria-metrics)")
    with _running_victoria(program, tmp_path_factory.mktemp("victoria")) as url:
        lines = [line for line in _record().splitlines() if not line.startswith("#")]
        in_ms = "\n".join(re.sub(r"(\d+)$", r"\g<1>000", line) for line in lines)
        urllib.request.urlopen(f"{url}/api/v1/import/prometheus", in_ms.encode(), timeout=60).close()
        urllib.request.urlopen(f"{url}/internal/force_flush", timeout=60).close()
        yield data_source("prometheus", ".", {"url": url})


def test_counts_are_exact_through_a_reset(source: DataSource) -> None:
    until = NOON + 60 * OUTAGE.start - 60
    reading = read(ratio(source, GOOD, ALL, counter=True), since=NOON, until=until)
    assert counts(reading) == [
        (sum(value for (_, code), value in _requests(minute).items() if code == "200"), sum(_requests(minute).values()))
        for minute in range(1, OUTAGE.start)
    ]


def test_nothing_is_lost_over_an_outage_of_the_monitoring(source: DataSource) -> None:
    reading = read(ratio(source, GOOD, ALL, counter=True), since=NOON, until=NOON + 60 * MINUTES)
    assert int(reading.slices.total.sum()) == sum(sum(_requests(minute).values()) for minute in range(1, MINUTES + 1))


def test_more_points_than_an_answer_holds_are_read_whole(source: DataSource) -> None:
    ticks = {"query": "ticks_total"}
    reading = read(ratio(source, ticks, ticks, counter=True), since=NOON - 60 * LONG, until=NOON)
    assert reading.slices.total.tolist() == list(range(1, LONG + 1))


def test_a_value_is_compared_exactly(source: DataSource) -> None:
    request = threshold(source, {"query": "latency"}, Comparison.LTE, "3/10")
    reading = read(request, since=NOON, until=NOON + 60 * 8)
    assert counts(reading) == [(1, 1), (1, 1), (1, 1), (0, 1)] * 2


def test_a_query_that_is_none_is_refused_with_the_servers_words(source: DataSource) -> None:
    with pytest.raises(SourceError, match=r"to the query 'sum\('"):
        read(ratio(source, {"query": "sum("}, ALL), since=NOON, until=NOON + 600)
