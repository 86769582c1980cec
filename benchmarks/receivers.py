"""How many samples a second are received: remote write bodies read, counted and handed out as slices."""

from __future__ import annotations

import struct
import time
from collections.abc import Mapping, Sequence
from fractions import Fraction
from importlib.util import find_spec
from itertools import pairwise

import cramjam
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality

from benchmarks.tables import figure, seconds, show
from tightrope.base.units import Duration
from tightrope.specs.model import (
    BudgetingMethod,
    DataSource,
    Indicator,
    MetricSource,
    Objective,
    RatioMetric,
    RollingWindow,
    Slo,
)
from tightrope.telemetry.counting import Counting
from tightrope.telemetry.plan import Request
from tightrope.telemetry.receivers import Receiver
from tightrope.telemetry.receivers.otlp import Otlp
from tightrope.telemetry.receivers.remote_write import RemoteWrite
from tightrope.telemetry.samples import label_bytes, varint

_SLOS = 10_000
_SIZES = (500, 2_000, 20_000)  # samples of a body; Prometheus sends 500 to 2,000
_ROUNDS = 6
_NOON = 1_767_268_800
_HEADERS = {"content-type": "application/x-protobuf", "content-encoding": "snappy"}


def _requests(kind: str) -> list[tuple[int, Request]]:
    source = DataSource("metrics", kind, {})
    return [(number, _request(source, number)) for number in range(_SLOS)]


def _request(source: DataSource, number: int) -> Request:
    service = f'service="s{number}"'
    metric = RatioMetric(
        total=MetricSource(source, {"series": f"http_requests_total{{{service}}}"}),
        good=MetricSource(source, {"series": f'http_requests_total{{{service},code!~"5.."}}'}),
        counter=True,
    )
    objective = Objective(Fraction(999, 1000))
    window = RollingWindow(Duration(28, "d"))
    slo = Slo(
        f"s{number}",
        "shop",
        BudgetingMethod.OCCURRENCES,
        window,
        (objective,),
        Indicator(f"s{number}", metric),
        step_s=60,
    )
    return Request(slo, objective)


def _label_sets() -> list[dict[str, str]]:
    fixed = {"job": "shop", "instance": "10.0.0.1:8080", "namespace": "production", "cluster": "eu-west-1"}
    return [
        {"__name__": "http_requests_total", "service": f"s{number}", "code": code, **fixed}
        for number in range(_SLOS)
        for code in ("200", "500")
    ]


def _bodies(labels: Sequence[bytes], minute: int, size: int) -> list[bytes]:
    """Requests of one scrape of everything, as Prometheus writes them."""
    bodies = []
    for begin in range(0, len(labels), size):
        body = bytearray()
        for number, written in enumerate(labels[begin : begin + size], start=begin):
            value = float(minute * (10 if number % 2 == 0 else number % 7 == 1))
            time_ms = (_NOON + 60 * minute + 30) * 1000 + number % 1000
            sample = (b"\x09" + struct.pack("<d", value) if value else b"") + b"\x10" + varint(time_ms)
            series = written + b"\x12" + varint(len(sample)) + sample
            body += b"\x0a" + varint(len(series)) + series
        bodies.append(bytes(cramjam.snappy.compress_raw(bytes(body))))
    return bodies


def _best(
    receiver: Receiver, counting: Counting, rounds: Sequence[Sequence[bytes]], headers: Mapping[str, str]
) -> list[float]:
    """Shortest times to read, count and hand out one scrape, after the first two have made everything known."""
    best = [float("inf")] * 3
    for number, bodies in enumerate(rounds):
        times = [time.perf_counter()]
        deliveries = [receiver.check(body, headers, _NOON + 86_400).delivery for body in bodies]
        times.append(time.perf_counter())
        counting.take(*deliveries)
        times.append(time.perf_counter())
        counting.drain()
        times.append(time.perf_counter())
        if number > 1:
            best = min(best, [later - earlier for earlier, later in pairwise(times)], key=sum)
    return best


def _otlp_bodies(minute: int, size: int) -> list[bytes]:
    bodies = []
    for begin in range(0, _SLOS, size // 2):
        request = ExportMetricsServiceRequest()
        resource = request.resource_metrics.add()
        resource.resource.attributes.add(key="service.name").value.string_value = "shop"
        metric = resource.scope_metrics.add().metrics.add(name="http.requests")
        metric.sum.is_monotonic = True
        metric.sum.aggregation_temporality = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
        for number in range(begin, min(begin + size // 2, _SLOS)):
            for code in ("200", "500"):
                point = metric.sum.data_points.add(as_int=minute, time_unix_nano=(_NOON + 60 * minute + 30) * 10**9)
                point.attributes.add(key="service").value.string_value = f"s{number}"
                point.attributes.add(key="code").value.string_value = code
        bodies.append(request.SerializeToString())
    return bodies


def main() -> None:
    """Print rates for remote write, with and without compiled code, and for OTLP; and the size of what is kept."""
    labels = [label_bytes(one) for one in _label_sets()]
    rows = []
    counting = Counting("remote-write", _requests("remote-write"))
    minute = 0
    for size in _SIZES:
        for compiled in (False, True) if find_spec("numba") else (False,):
            scrapes = [_bodies(labels, minute + one, size) for one in range(_ROUNDS)]
            minute += _ROUNDS
            parts = _best(RemoteWrite(compiled=compiled), counting, scrapes, _HEADERS)
            name = f"remote write, {size:,} a body, {'compiled' if compiled else 'Python and NumPy'}"
            rows.append([name, *(seconds(part) for part in parts), figure(len(labels) / sum(parts))])
    otlp = Counting("otlp", _requests("otlp"))
    scrapes = [_otlp_bodies(one, 2_000) for one in range(4)]
    parts = _best(Otlp(), otlp, scrapes, {"content-type": "application/x-protobuf"})
    rows.append(["OTLP, 2,000 a body", *(seconds(part) for part in parts), figure(len(labels) / sum(parts))])
    begin = time.perf_counter()
    blob = counting.snapshot()
    written = time.perf_counter() - begin
    fresh = Counting("remote-write", _requests("remote-write"))
    begin = time.perf_counter()
    fresh.restore(blob)
    read = time.perf_counter() - begin
    show(
        f"Receiving {len(labels):,} samples for {_SLOS:,} SLOs (one scrape of all; best of {_ROUNDS - 2})",
        ["protocol", "read", "count", "hand out", "samples/s"],
        rows,
        notes=[f"A snapshot: {figure(len(blob))}B, written in {seconds(written)}, restored in {seconds(read)}."],
    )


if __name__ == "__main__":
    main()
