"""The live loop: turns over many objectives that are fed by remote write, from the body that arrives to the disk."""

from __future__ import annotations

import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np

from tests.telemetry.wire import HEADERS, sent
from tightrope.loop.feeds import Feed, Hear, Turns
from tightrope.loop.live import Live
from tightrope.loop.store import LiveStore
from tightrope.loop.telling import Teller
from tightrope.specs.model import MetricSource, RatioMetric, Specs
from tightrope.specs.store import load
from tightrope.state.database import opened
from tightrope.state.journal import Journal
from tightrope.telemetry.store import SliceStore
from tightrope.telemetry.usecases import open_receiver

START = 1_772_323_200
STEP = 60
_PER_REQUEST = 2000
_SPEC = """
apiVersion: openslo/v1
kind: DataSource
metadata: {name: prom}
spec: {type: remote-write, connectionDetails: {resolution: 1m}}
---
apiVersion: openslo/v1
kind: SLO
metadata: {name: one}
spec:
  service: one
  budgetingMethod: Occurrences
  timeWindow: [{duration: 30d, isRolling: true}]
  objectives: [{target: 0.999}]
  indicator:
    metadata: {name: one}
    spec:
      ratioMetric:
        counter: true
        good: {metricSource: {metricSourceRef: prom, spec: {series: 'good_total{slo="0"}'}}}
        total: {metricSource: {metricSourceRef: prom, spec: {series: 'all_total{slo="0"}'}}}
"""


def fleet(size: int) -> Specs:
    """So many SLOs, each with a service and two series of its own."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "slo.yaml").write_text(_SPEC)
        specs = load([folder])
    (first,) = specs.slos
    assert first.indicator is not None
    metric = first.indicator.metric
    assert isinstance(metric, RatioMetric)
    good, total = metric.good, metric.total
    assert good is not None
    assert total is not None

    def of(part: MetricSource, name: str, number: int) -> MetricSource:
        return replace(part, spec={"series": f'{name}{{slo="{number}"}}'})

    slos = tuple(
        replace(
            first,
            name=f"slo-{number}",
            service=f"service-{number}",
            indicator=replace(
                first.indicator,
                name=f"sli-{number}",
                metric=replace(metric, good=of(good, "good_total", number), total=of(total, "all_total", number)),
            ),
        )
        for number in range(size)
    )
    return replace(specs, slos=slos, digest=f"fleet-{size}")


def bodies(size: int, at: int, good: np.ndarray, total: np.ndarray) -> list[bytes]:
    """What Prometheus sends of one scrape."""
    series = [
        ({"__name__": name, "slo": str(number), "job": "shop", "instance": "shop-1:9090"}, [(at * 1000, float(value))])
        for number in range(size)
        for name, value in (("all_total", total[number]), ("good_total", good[number]))
    ]
    return [sent(series[first : first + _PER_REQUEST]) for first in range(0, len(series), _PER_REQUEST)]


class _Still:
    def __init__(self, feed: Feed, now: Callable[[], int], out: Hear) -> None:
        pass

    def stop(self) -> None:
        pass


def run(size: int, ticks: int = 12) -> None:
    """Measure turns of one fleet, and print them."""
    specs = fleet(size)
    clock = [START]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    def still(feed: Feed, now: Callable[[], int], out: Hear) -> Turns:
        return _Still(feed, now, out)

    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        database = stack.enter_context(opened(folder, create=True))
        slices = SliceStore(database)
        stack.callback(slices.close)
        live = Live(
            database,
            slices,
            LiveStore(database),
            Journal(database),
            examine=lambda: (specs, ()),
            look=lambda: 0,
            feeds=lambda _wanted, _live: [],
            receivers={"remote-write": open_receiver("remote-write")},
            now=lambda: clock[0],
            teller=Teller("http://localhost"),
            pump=still,
        )
        live.turn()
        chance = np.random.default_rng(1)
        total, good = np.zeros(size, np.int64), np.zeros(size, np.int64)
        received: list[float] = []
        turned: list[float] = []
        for tick in range(ticks + 4):
            more = chance.poisson(500, size)
            total += more
            good += more - chance.binomial(more, 0.0001)
            clock[0] = START + tick * STEP + 30
            requests = bodies(size, clock[0], good, total)
            began = time.perf_counter()
            for body in requests:
                live.receive("remote-write", body, HEADERS)
            middle = time.perf_counter()
            live.turn()
            ended = time.perf_counter()
            if tick >= 4:
                received.append(middle - began)
                turned.append(ended - middle)
        kib = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / size
        _print(size, received, turned, kib)


def _print(size: int, received: Sequence[float], turned: Sequence[float], kib: float) -> None:
    print(
        f"  {size:6,} SLOs: {1000 * statistics.median(received):7.1f} ms to receive {2 * size:,} samples durably, "
        f"{1000 * statistics.median(turned):7.1f} ms a turn (count, store, evaluate, alert, store); "
        f"at most {kib:.1f} KiB resident an SLO"
    )


def main() -> None:
    """Measure fleets of several sizes."""
    print("\nloop: live turns, fed by remote write")
    for size in (100, 1000, 10_000) if len(sys.argv) < 3 else [int(sys.argv[2])]:
        run(size)
