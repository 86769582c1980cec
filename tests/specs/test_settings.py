"""A mistyped setting of a source or a metric is told by `validate`, where it stands, without the source's libraries."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.specs.samples import SLO, SOURCE, codes, found, only, swapped
from tests.telemetry.builders import data_source, ratio
from tightrope.base.errors import UsageError
from tightrope.specs.lints import SOURCE_TYPES
from tightrope.specs.settings import SETTINGS
from tightrope.telemetry import probing
from tightrope.telemetry.received import CONNECTION_OPTIONS, METRIC_OPTIONS
from tightrope.telemetry.usecases import SOURCES, open_source, read_many


def test_a_mistyped_setting_of_a_metric_has_its_place_and_a_caret() -> None:
    finding = only(swapped(SLO, "{column: good}", "{colum: good}"), SOURCE)
    assert (finding.code, finding.severity) == ("TR011", "error")
    assert finding.path == "spec.indicator.spec.ratioMetric.good.metricSource.spec.colum"
    assert finding.source_line[finding.place.column - 1 :].startswith("colum: good")
    assert (finding.note, finding.remedy) == ("did you mean column?", "write column")


def test_a_mistyped_setting_of_a_connection_has_its_place_whether_anything_refers_to_it_or_not() -> None:
    wrong = swapped(SOURCE, "timestamp:", "timestmp:")
    for texts in ((SLO, wrong), (wrong,)):
        finding = only(*texts)
        assert (finding.code, finding.path) == ("TR011", "spec.connectionDetails.timestmp")
        assert finding.source_line[finding.place.column - 1 :].startswith("timestmp: time")


def test_without_a_data_source_the_connection_stands_beside_the_question() -> None:
    written = "metricSourceRef: shop, spec: {column: good}"
    inlined = "type: csv, spec: {column: good, connectionDetails: {path: shop.csv, timestamp: time}}"
    assert codes(swapped(SLO, written, inlined), SOURCE) == []
    finding = only(swapped(SLO, written, inlined.replace("path:", "paht:")), SOURCE)
    assert finding.path.endswith("metricSource.spec.connectionDetails.paht")
    assert [one.code for one in found(swapped(SLO, written, inlined.replace("column:", "colunm:")), SOURCE)] == [
        "TR011"
    ]


def test_the_connection_of_a_data_source_is_no_setting_of_a_metric() -> None:
    assert codes(swapped(SLO, "{column: good}", "{column: good, connectionDetails: {}}"), SOURCE) == ["TR011"]


def test_of_a_type_that_is_not_known_no_setting_is_judged() -> None:
    assert codes(SLO, swapped(SOURCE, "type: csv", "type: datadog")) == ["TR043"]


def test_every_type_has_its_settings() -> None:
    assert set(SETTINGS) == set(SOURCE_TYPES)


CONNECTIONS: dict[str, dict[str, Any]] = {
    "csv": {"path": "rows", "timestamp": "time"},
    "parquet": {"path": "rows", "timestamp": "time"},
    "access-log": {"path": "rows"},
    "openmetrics": {"path": "rows"},
    "prometheus": {"url": "http://127.0.0.1:9"},
    "sql": {"url": "sqlite:///rows.db"},
    "probe": {"url": "http://127.0.0.1:9"},
}


def known_to_the_door(error: UsageError) -> set[str]:
    """What the door says that it knows, when it was given something that it does not."""
    assert "unknown setting 'zzz'" in error.message
    return set(re.split(r", ", error.remedy.partition("it knows: ")[2]))


@pytest.mark.parametrize("kind", SOURCES)
def test_validate_knows_the_settings_of_a_connection_that_the_door_reads(kind: str) -> None:
    with pytest.raises(UsageError) as raised:
        open_source(data_source(kind, ".", CONNECTIONS[kind] | {"zzz": 1}))
    assert known_to_the_door(raised.value) == set(SETTINGS[kind].connection)


METRICS: dict[str, list[Mapping[str, Any]]] = {
    "csv": [{"column": "good"}, {"state": "up"}],
    "parquet": [{"column": "good"}, {"state": "up"}],
    "access-log": [{}],
    "openmetrics": [{"metric": "good"}],
    "prometheus": [{"query": "good"}],
    "sql": [{"table": "rows"}],
}


@pytest.mark.parametrize("kind", METRICS)
def test_validate_knows_the_settings_of_a_metric_that_the_door_reads(kind: str, tmp_path: Path) -> None:
    (tmp_path / "rows").write_text("time,good,total,up\n2026-01-01T12:00:00Z,1,1,up\n", encoding="utf-8")
    source = data_source(kind, tmp_path, CONNECTIONS[kind])
    known: set[str] = set()
    for spec in METRICS[kind]:
        with pytest.raises(UsageError) as raised:
            read_many([ratio(source, {**spec, "zzz": 1})], since=0, until=60)
        known |= known_to_the_door(raised.value)
    assert known == set(SETTINGS[kind].metric)


def test_validate_knows_the_settings_of_what_is_received() -> None:
    for kind, metric in METRIC_OPTIONS.items():
        assert (set(SETTINGS[kind].connection), set(SETTINGS[kind].metric)) == (set(CONNECTION_OPTIONS), set(metric))


def test_validate_knows_the_settings_of_what_is_probed() -> None:
    known = (set(SETTINGS["probe"].connection), set(SETTINGS["probe"].metric))
    assert known == (set(probing.CONNECTION_OPTIONS), set(probing.METRIC_OPTIONS))


def test_the_settings_are_known_without_numpy() -> None:
    code = "import sys, tightrope.specs.openslo; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
