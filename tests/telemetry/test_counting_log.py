"""An access log counted line by line: each once, from where the count began, through rotation and restarts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tightrope.base.errors import NotFoundError, UsageError
from tightrope.delivery.rollouts.arms import arm_of
from tightrope.specs.model import Arms, ArmsFrom, Slo
from tightrope.specs.store import load
from tightrope.telemetry.plan import Request
from tightrope.telemetry.sources.counting import Counted, CountingLog
from tightrope.telemetry.usecases import open_counting

SPECS = """\
apiVersion: openslo/v1
kind: DataSource
metadata: {name: log}
spec: {type: access-log, connectionDetails: {path: access.log, format: json}}
---
apiVersion: openslo/v1
kind: SLO
metadata: {name: shop}
spec:
  service: shop
  budgetingMethod: Occurrences
  timeWindow: [{duration: 28d, isRolling: true}]
  objectives: [{target: 0.99}]
  indicator:
    metadata: {name: shop-success}
    spec:
      ratioMetric:
        counter: false
        good: {metricSource: {metricSourceRef: log, spec: {where: {path: /}}}}
        total: {metricSource: {metricSourceRef: log, spec: {where: {path: /}}}}
"""
NOW = 1_767_225_600
ARMS = Arms(ArmsFrom.LOG, "version")


def line(version: str, status: int = 200, at: str = "2026-01-01T00:00:00Z", path: str = "/buy") -> str:
    return json.dumps({"time": at, "status": status, "path": path, "version": version}) + "\n"


def slo_in(folder: Path) -> Slo:
    (folder / "specs.yaml").write_text(SPECS)
    return load([str(folder / "specs.yaml")]).slos[0]


def counting(folder: Path, kept: list[dict[str, object]] | None = None) -> CountingLog:
    slo = slo_in(folder)
    requests = [Request(*arm_of(slo, slo.objectives[0], ARMS, (version,), step_s=1)) for version in ("v2", "v1")]
    source = slo.indicator.metric.total.source  # type: ignore[union-attr]
    return open_counting(source, requests, kept)


def test_only_what_is_added_counts_and_each_line_once(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    log.write_text(line("v2") + line("v1") + '{"half": ')
    count = counting(tmp_path)
    assert count.count(NOW + 60) == [Counted(), Counted()]
    with log.open("a") as stream:
        stream.write('"no request"}\n' + line("v2", 500) + line("v2") + line("v1") + line("v1", path="elsewhere"))
    assert count.count(NOW + 60) == [Counted(1, 2, NOW), Counted(0, 1, NOW)]
    assert count.count(NOW + 60) == [Counted(), Counted()]
    with log.open("a") as stream:
        stream.write(line("v2", at="2026-01-01T00:00:09Z") + line("v3"))
    again = counting(tmp_path, count.state())
    assert again.count(NOW + 60) == [Counted(0, 1, NOW + 9), Counted()]


def test_a_rotated_log_is_counted_to_its_end(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    log.write_text(line("v2"))
    count = counting(tmp_path)
    with log.open("a") as stream:
        stream.write(line("v2"))
    log.rename(tmp_path / "access.log.1")
    log.write_text(line("v2") * 3)
    assert count.count(NOW + 60)[0].total == 4


def test_a_log_that_is_not_there_yet_is_counted_from_its_beginning(tmp_path: Path) -> None:
    count = counting(tmp_path)
    with pytest.raises(NotFoundError):
        count.count(NOW + 60)
    (tmp_path / "access.log").write_text(line("v2") * 2)
    assert count.count(NOW + 60)[0].total == 2


def test_an_slo_that_looks_at_the_same_field_is_refused(tmp_path: Path) -> None:
    slo = slo_in(tmp_path)
    with pytest.raises(UsageError, match="itself looks at path"):
        arm_of(slo, slo.objectives[0], Arms(ArmsFrom.LOG, "path"), ("v2",), step_s=1)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.lists(st.tuples(st.sampled_from(["v1", "v2"]), st.booleans()), max_size=6), max_size=6), st.data())
def test_however_it_is_looked_at_the_sums_are_those_of_the_lines(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[list[tuple[str, bool]]], data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("log")
    log = folder / "access.log"
    log.write_text(line("v2"))
    count = counting(folder)
    sums = [[0, 0], [0, 0]]
    for piece in pieces:
        with log.open("a") as stream:
            stream.writelines(line(version, 500 if bad else 200) for version, bad in piece)
        if data.draw(st.booleans()):
            count = counting(folder, count.state())
        if data.draw(st.booleans()):
            for place, one in enumerate(count.count(NOW + 60)):
                sums[place][0] += one.bad
                sums[place][1] += one.total
    for place, one in enumerate(count.count(NOW + 60)):
        sums[place][0] += one.bad
        sums[place][1] += one.total
    everything = [each for piece in pieces for each in piece]
    assert sums == [
        [sum(bad for version, bad in everything if version == arm), sum(version == arm for version, _ in everything)]
        for arm in ("v2", "v1")
    ]
