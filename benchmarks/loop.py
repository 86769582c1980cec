"""The live loop: turns over many objectives that are fed by remote write, from the body that arrives to the disk."""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack
from ctypes import CDLL
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from benchmarks.tables import show
from tests.telemetry.wire import HEADERS, snapped, write_request
from tightrope.loop.feeds import Feed, Hear, Turns
from tightrope.loop.live import Live
from tightrope.loop.store import LiveStore
from tightrope.loop.telling import Teller
from tightrope.specs.model import MetricSource, RatioMetric, Specs
from tightrope.specs.store import load
from tightrope.state.database import opened
from tightrope.state.journal import Journal
from tightrope.telemetry.receivers.remote_write import RemoteWrite
from tightrope.telemetry.samples import varint
from tightrope.telemetry.store import SliceStore

START = 1_772_323_200
STEP = 60
_PER_REQUEST = 2000
_SHARDS = 4
_WARM = 10
_TIDY = 60
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


class Sender:
    """What Prometheus sends of one scrape after the other: the same series each time, with other times and values.

    Each body is written once by google.protobuf; from then on only its times and values are, in their places.
    """

    def __init__(self, size: int) -> None:
        series = [
            ({"__name__": name, "slo": str(number), "job": "shop", "instance": "shop-1:9090"}, [(START * 1000, 1.0)])
            for number in range(size)
            for name in ("all_total", "good_total")
        ]
        self._bodies = [
            _places(write_request(series[first : first + _PER_REQUEST]))
            for first in range(0, len(series), _PER_REQUEST)
        ]

    def bodies(self, at: int, good: np.ndarray, total: np.ndarray) -> list[bytes]:
        """The bodies of the scrape *at*, UTC epoch seconds; counts above 0, of which protobuf leaves none out."""
        values = np.stack([total, good], axis=1).astype("<f8").reshape(-1).view(np.uint8).reshape(-1, 8)
        time = np.frombuffer(varint(at * 1000), np.uint8)
        found = []
        for number, (body, places) in enumerate(self._bodies):
            body[places[:, None] + np.arange(8)] = values[number * _PER_REQUEST : number * _PER_REQUEST + len(places)]
            body[places[:, None] + np.arange(9, 15)] = time
            found.append(snapped(body.tobytes()))
        return found


def _places(written: bytes) -> tuple[np.ndarray, np.ndarray]:
    """A request that can be written over, and where the values in it begin; a tag and the time follow each."""
    places, at = [], 0
    while at < len(written):
        length, at = written[at + 1], at + 2
        if length > 127:
            length, at = length & 127 | written[at] << 7, at + 1
        at += length
        places.append(at - 15)
    return np.frombuffer(written, np.uint8).copy(), np.array(places)


class _Still:
    def __init__(self, feed: Feed, now: Callable[[], int], out: Hear) -> None:
        pass

    def stop(self) -> None:
        pass


@dataclass(frozen=True, slots=True)
class Figures:
    """What turns of one fleet cost: milliseconds, the median of all ticks; and bytes resident an SLO."""

    receive: float
    receive_cpu: float
    phases: dict[str, float]
    turn: float
    turn_cpu: float
    slowest: float
    ahead: float
    resident: float


def measure(size: int, ticks: int, *, compiled: bool) -> Figures:
    """Turn a loop with a fleet, fed by remote write in shards as Prometheus does."""
    specs = fleet(size)
    clock = [START]
    _trim()
    before = _resident_bytes()

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
            receivers={"remote-write": RemoteWrite(compiled=compiled)},
            now=lambda: clock[0],
            teller=Teller("http://localhost"),
            pump=still,
        )
        live.turn()
        sender = Sender(size)
        shards = stack.enter_context(ThreadPoolExecutor(_SHARDS))
        chance = np.random.default_rng(1)
        total, good = np.zeros(size, np.int64), np.zeros(size, np.int64)
        received, turned = [], []
        phases: dict[str, list[float]] = defaultdict(list)
        for tick in range(ticks + _WARM):
            more = chance.poisson(500, size)
            total += more
            good += more - chance.binomial(more, 0.0001)
            clock[0] = START + tick * STEP + 30
            requests = sender.bodies(clock[0], good, total)
            began, spent = time.perf_counter(), time.process_time()
            list(shards.map(lambda body: live.receive("remote-write", body, HEADERS), requests))
            middle, spent_then = time.perf_counter(), time.process_time()
            live.turn()
            found = live.counts()["phases"]
            if tick >= _WARM:
                received.append((middle - began, spent_then - spent))
                # reading ahead, for which nobody waits, is told apart
                turned.append((live.counts()["turn_s"] + found["publish"], time.process_time() - spent_then))
                for name, seconds_of in found.items():
                    phases[name].append(1000 * seconds_of)
            if tick % _TIDY == _TIDY - 1:
                live.tidy()
        _trim()
        resident = (_resident_bytes() - before) / size
    middle_of = {name: statistics.median(values) for name, values in phases.items()}
    receive, receive_cpu = (1000 * statistics.median(one) for one in zip(*received, strict=True))
    turn, turn_cpu = (1000 * statistics.median(one) for one in zip(*turned, strict=True))
    slowest = 1000 * max(one for one, _ in turned)
    return Figures(receive, receive_cpu, middle_of, turn, turn_cpu, slowest, middle_of["read ahead"], resident)


def _trim() -> None:
    gc.collect()
    CDLL(None).malloc_trim(0)


def _resident_bytes() -> int:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return 1024 * int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")))


def main(arguments: Sequence[str] = ()) -> None:
    """Measure fleets of several sizes, each in a process of its own."""
    parser = argparse.ArgumentParser(prog="benchmarks.loop", description=__doc__)
    parser.add_argument("--slos", type=int, nargs="*", default=[100, 1_000, 10_000])
    parser.add_argument("--ticks", type=int, default=240, help="minutes that are turned through")
    given = parser.parse_args(arguments)
    rows = []
    for size in given.slos:
        for compiled in (False, True) if find_spec("numba") is not None else (False,):
            with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as alone:
                told = alone.submit(measure, size, given.ticks, compiled=compiled).result()
            rows.append(
                [
                    f"{size:,} SLOs" + (", compiled" if compiled else ""),
                    *(f"{one:.1f} ms" for one in (told.receive, told.phases["take in"], told.phases["evaluate"])),
                    f"{told.phases['store'] + told.phases['publish']:.1f} ms",
                    f"{told.receive + told.turn:.1f} ms",
                    f"{told.slowest:.0f} ms",
                    f"{told.receive_cpu + told.turn_cpu - told.ahead:.1f} ms",
                    f"{told.ahead:.1f} ms",
                    f"{told.resident / 1024:.1f} KiB",
                ]
            )
    show(
        f"The live loop: {given.ticks} turns of minutes, fed by remote write, all of it durable",
        [
            "fleet",
            "receive",
            "count, append",
            "evaluate",
            "alert, store",
            "tick",
            "slowest turn",
            "CPU",
            "ahead",
            "keeps",
        ],
        rows,
        notes=[
            f"medians; two counters an SLO, in bodies of {_PER_REQUEST:,} samples by {_SHARDS} shards, each answered",
            "when it is on the disk. Tick: all before it. CPU: of the process, for the same. Ahead: reading what later",
            "ticks need, when all is told. The slowest are those that store what was counted, every fifth.",
            "goal at 10,000 SLOs: a tick under 25 ms, 10 ms compiled, under 40 KiB an SLO;",
            f"load of this machine when done: {os.getloadavg()[0]:.1f}",
        ],
    )


if __name__ == "__main__":
    main(sys.argv[1:])
