"""The OTLP receiver: points of every kind, names in both worlds, and what is refused."""

from __future__ import annotations

import contextlib
import gzip
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality

from tests.telemetry.builders import NOON, data_source, ratio, threshold
from tightrope.base.errors import TooLargeError, UsageError
from tightrope.specs.model import Comparison
from tightrope.telemetry.counting import ORIGINAL_NAME, Counting
from tightrope.telemetry.plan import Request
from tightrope.telemetry.receivers import bodies
from tightrope.telemetry.receivers.otlp import Otlp, prometheus_name
from tightrope.telemetry.samples import STALE_BITS, Delivery, labels_of

PROTOBUF, JSON = {"Content-Type": "application/x-protobuf"}, {"Content-Type": "application/json"}
DELTA = AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA
CUMULATIVE = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
SECOND = 10**9


class Export:
    """One request with one resource and scope, built metric by metric."""

    def __init__(self, **resource: str) -> None:
        self.request = ExportMetricsServiceRequest()
        one = self.request.resource_metrics.add()
        for key, value in ({"service.name": "shop"} | {k.replace("_", "."): v for k, v in resource.items()}).items():
            one.resource.attributes.add(key=key).value.string_value = value
        self.scope = one.scope_metrics.add()
        self.scope.scope.name = "meter"

    def metric(self, name: str, unit: str = "") -> Any:
        return self.scope.metrics.add(name=name, unit=unit)

    def sum(
        self, name: str, after: float, value: int, *, kind: Any = CUMULATIVE, begun: float = 0, **labels: str
    ) -> Export:
        metric = self.metric(name, "{request}")
        metric.sum.is_monotonic = True
        metric.sum.aggregation_temporality = kind
        point = metric.sum.data_points.add(as_int=value)
        _timed(point, after, begun, labels)
        return self

    def histogram(self, after: float, counts: list[int], *, kind: Any = CUMULATIVE, begun: float = 0) -> Export:
        metric = self.metric("http.server.request.duration", "s")
        metric.histogram.aggregation_temporality = kind
        point = metric.histogram.data_points.add(
            count=sum(counts), sum=1.5, bucket_counts=counts, explicit_bounds=[0.3, 1]
        )
        _timed(point, after, begun, {})
        return self

    def delivered(self, receiver: Otlp, headers: Mapping[str, str] = PROTOBUF) -> Delivery:
        body = (
            json_format.MessageToJson(self.request).encode()
            if headers["Content-Type"] == "application/json"
            else self.request.SerializeToString()
        )
        return receiver.check(body, headers, NOON + 3600).delivery


def _timed(point: Any, after: float, begun: float, labels: Mapping[str, str]) -> None:
    point.time_unix_nano = int((NOON + after) * SECOND)
    if begun:
        point.start_time_unix_nano = int(begun * SECOND)
    for key, value in labels.items():
        point.attributes.add(key=key.replace("__", ".")).value.string_value = value


def found(delivery: Delivery) -> dict[str, tuple[dict[str, str], float]]:
    """The samples by name and bound, with their labels and values."""
    samples = delivery.samples
    listed = {}
    for number, value in zip(samples.numbers.tolist(), samples.values.tolist(), strict=True):
        labels = labels_of(samples.book.labels[number])
        listed[labels["__name__"] + labels.get("le", labels.get("quantile", ""))] = (labels, value)
    return listed


def request_on(good: str, total: str) -> Request:
    return ratio(data_source("otlp", ".", {}), {"series": good}, {"series": total}, counter=True)


def counted(request: Request, *exports: Export, headers: Mapping[str, str] = PROTOBUF) -> dict[int, tuple[int, int]]:
    receiver, counting = Otlp(), Counting("otlp", [(0, request)])
    counting.take(*(export.delivered(receiver, headers) for export in exports))
    touched = counting.drain()
    rows = zip(touched.slots.tolist(), touched.bad.tolist(), touched.total.tolist(), strict=True)
    return {slot - NOON // 60: (total - bad, total) for slot, bad, total in rows}


CALLS = 'http_server_requests_total{http_response_status_code!~"5.."}', "http_server_requests_total"


@pytest.mark.parametrize("headers", [PROTOBUF, JSON])
def test_cumulative_sums_are_counters(headers: Mapping[str, str]) -> None:
    exports = [
        Export()
        .sum("http.server.requests", 60 * minute + 30, 10 * minute, http__response__status_code="200")
        .sum("http.server.requests", 60 * minute + 30, minute, http__response__status_code="503")
        for minute in range(3)
    ]
    assert counted(request_on(*CALLS), *exports, headers=headers) == {1: (10, 11), 2: (10, 11)}


def test_both_names_and_dotted_labels_are_understood() -> None:
    exports = [Export().sum("http.server.requests", 60 * minute + 30, 5 * minute, a__b="x") for minute in range(2)]
    for name in ("http.server.requests", "http_server_requests_total", '{"http.server.requests"}'):
        for label in ("a.b", "a_b"):
            selector = name.removesuffix("}") + (", " if "{" in name else "{") + f'{label}="x"' + "}"
            assert counted(request_on(selector, name), *exports) == {1: (5, 5)}


def test_delta_sums_count_as_they_are_and_once() -> None:
    exports = [Export().sum("http.server.requests", 60 * minute + 30, 7, kind=DELTA) for minute in range(2)]
    assert counted(request_on(CALLS[1], CALLS[1]), *exports, *exports) == {0: (7, 7), 1: (7, 7)}


def test_a_stream_that_begins_within_the_record_counts_from_its_start() -> None:
    first = Export().sum("http.server.requests", 30, 100, code="200")
    for begun, expected in ((NOON + 50, {1: (3, 3)}), (NOON - 900, {})):
        fresh = Export().sum("http.server.requests", 90, 3, begun=begun, code="500")
        assert counted(request_on(CALLS[1], CALLS[1]), first, fresh) == expected


def test_a_start_time_that_moves_is_a_restart() -> None:
    exports = [
        Export().sum("http.server.requests", 30, 4, begun=NOON - 900),
        Export().sum("http.server.requests", 90, 6, begun=NOON + 60),
    ]
    assert counted(request_on(CALLS[1], CALLS[1]), *exports) == {1: (6, 6)}


@pytest.mark.parametrize(("kind", "expected"), [(CUMULATIVE, {1: (4, 5)}), (DELTA, {0: (6, 9), 1: (10, 14)})])
def test_histograms_become_buckets(kind: Any, expected: dict[int, tuple[int, int]]) -> None:
    exports = [Export().histogram(30, [6, 2, 1], kind=kind), Export().histogram(90, [10, 2, 2], kind=kind)]
    name = "http_server_request_duration_seconds"
    assert counted(request_on(f'{name}_bucket{{le="0.3"}}', f"{name}_count"), *exports) == expected
    assert counted(
        request_on('http.server.request.duration_bucket{le="0.30"}', f'{name}_bucket{{le="+Inf"}}'), *exports
    ) == (expected)


def test_points_of_every_kind_are_samples() -> None:
    export = Export(service_namespace="web", service_instance_id="i1", cloud_region="eu")
    export.scope.scope.version = "2"
    gauge = export.metric("queue.depth", "1")
    _timed(gauge.gauge.data_points.add(as_double=2.5), 1, NOON, {"queue": "a"})
    updown = export.metric("active.requests")
    updown.sum.aggregation_temporality = CUMULATIVE
    _timed(updown.sum.data_points.add(as_int=-3), 1, NOON, {})
    summary = export.metric("lag", "ms").summary.data_points.add(count=4, sum=10.0)
    summary.quantile_values.add(quantile=0.99, value=7)
    _timed(summary, 1, NOON, {})
    export.histogram(1, [1, 2, 3])
    exponential = export.metric("wait", "s").exponential_histogram
    exponential.aggregation_temporality = CUMULATIVE
    _timed(exponential.data_points.add(count=9, sum=4.5, scale=2), 1, NOON, {})
    delivery = export.delivered(Otlp())
    values = {name: value for name, (_, value) in found(delivery).items()}
    assert values == {
        "queue_depth_ratio": 2.5,
        "active_requests": -3,
        "lag_milliseconds_count": 4,
        "lag_milliseconds_sum": 10,
        "lag_milliseconds0.99": 7,
        "http_server_request_duration_seconds_bucket0.3": 1,
        "http_server_request_duration_seconds_bucket1": 3,
        "http_server_request_duration_seconds_bucket+Inf": 6,
        "http_server_request_duration_seconds_count": 6,
        "http_server_request_duration_seconds_sum": 1.5,
        "wait_seconds_count": 9,
        "wait_seconds_sum": 4.5,
    }
    assert delivery.unsupported == {"buckets of exponential histograms": 1}
    assert found(delivery)["queue_depth_ratio"][0] == {
        "__name__": "queue_depth_ratio",
        ORIGINAL_NAME: "queue.depth",
        "job": "web/shop",
        "instance": "i1",
        "service_name": "shop",
        "service_namespace": "web",
        "service_instance_id": "i1",
        "cloud_region": "eu",
        "otel_scope_name": "meter",
        "otel_scope_version": "2",
        "queue": "a",
    }


def test_a_gauge_can_be_a_value() -> None:
    receiver, counting = (
        Otlp(),
        Counting("otlp", [(0, threshold(data_source("otlp", ".", {}), {"series": "queue.depth"}, Comparison.LT, "3"))]),
    )
    for after, value in ((10, 2.5), (20, 3.0)):
        export = Export()
        _timed(export.metric("queue.depth").gauge.data_points.add(as_double=value), after, 0, {})
        counting.take(export.delivered(receiver))
    touched = counting.drain()
    assert (touched.bad.tolist(), touched.total.tolist()) == ([1], [2])


def test_a_point_without_a_recorded_value_ends_its_series() -> None:
    export = Export().sum("http.server.requests", 30, 5)
    export.scope.metrics[0].sum.data_points[0].flags = 1
    samples = export.delivered(Otlp()).samples
    assert samples.values.view(np.int64).tolist() == [STALE_BITS]


def test_what_can_not_be_used_is_told_in_the_answer() -> None:
    export = Export()
    lost = export.metric("lost").sum
    lost.data_points.add(as_int=1, time_unix_nano=1)
    export.metric("").gauge.data_points.add(as_int=1, time_unix_nano=1)
    export.metric("timeless").gauge.data_points.add(as_int=1)
    export.metric("empty").gauge.data_points.add(time_unix_nano=SECOND)
    crooked = export.metric("crooked").histogram
    crooked.aggregation_temporality = CUMULATIVE
    crooked.data_points.add(count=1, bucket_counts=[1], explicit_bounds=[1, 2], time_unix_nano=SECOND)
    export.metric("nothing")
    checked = Otlp().check(export.request.SerializeToString(), PROTOBUF, NOON)
    assert (checked.count, checked.answer_type) == (0, "application/x-protobuf")
    answer = ExportMetricsServiceResponse.FromString(checked.answer)
    assert answer.partial_success.rejected_data_points == 5
    assert "points without a temporality: 1" in answer.partial_success.error_message
    in_json = Otlp().check(json_format.MessageToJson(export.request).encode(), JSON, NOON)
    assert json_format.Parse(in_json.answer, ExportMetricsServiceResponse()) == answer
    fine = Otlp().check(Export().sum("x", 1, 1).request.SerializeToString(), PROTOBUF, NOON)
    assert fine.answer == b""
    assert Otlp().check(b"{}", JSON, NOON).answer == b"{}"


def test_json_as_the_specification_writes_it_is_read() -> None:
    body = {
        "resourceMetrics": [
            {
                "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]},
                "scopeMetrics": [
                    {
                        "scope": {"name": "meter"},
                        "metrics": [
                            {
                                "name": "http.server.requests",
                                "unit": "1",
                                "unknownField": 1,
                                "sum": {
                                    "aggregationTemporality": 2,
                                    "isMonotonic": True,
                                    "dataPoints": [
                                        {
                                            "asInt": "5",
                                            "startTimeUnixNano": "1544712660300000000",
                                            "timeUnixNano": "1544712661300000000",
                                            "attributes": [{"key": "ok", "value": {"boolValue": True}}],
                                        }
                                    ],
                                },
                            }
                        ],
                    }
                ],
            }
        ]
    }
    delivery = Otlp().check(json.dumps(body).encode(), JSON, NOON).delivery
    labels, value = found(delivery)["http_server_requests_total"]
    assert (value, labels["ok"], delivery.samples.times.tolist()) == (5, "true", [1544712661300])
    assert delivery.samples.begun is not None
    assert delivery.samples.begun.tolist() == [1544712660300]


def test_attributes_of_every_type_become_text() -> None:
    export = Export()
    point = export.metric("x").gauge.data_points.add(as_int=1, time_unix_nano=SECOND)
    for key, value in {"i": 5, "b": False, "s": "t", "d": 1.5}.items():
        of = point.attributes.add(key=key).value
        setattr(
            of, {int: "int_value", bool: "bool_value", str: "string_value", float: "double_value"}[type(value)], value
        )
    listed = point.attributes.add(key="l").value.array_value
    listed.values.add(int_value=1)
    listed.values.add(string_value="a")
    point.attributes.add(key="m").value.kvlist_value.values.add(key="k").value.bool_value = True
    point.attributes.add(key="y").value.bytes_value = b"\0\1"
    point.attributes.add(key="n")
    point.attributes.add(key="0.x").value.string_value = "digit"
    point.attributes.add(key="u.v").value.string_value = "1"
    point.attributes.add(key="u_v").value.string_value = "2"
    labels, _ = found(export.delivered(Otlp()))["x"]
    wanted = {"i": "5", "b": "false", "s": "t", "d": "1.5", "l": '[1,"a"]', "m": '{"k":true}', "y": "AAE="}
    assert {key: labels[key] for key in wanted} == wanted
    assert (labels["key_0_x"], labels["u_v"], "n" in labels) == ("digit", "1;2", False)


@pytest.mark.parametrize(
    ("name", "unit", "monotonic", "gauge", "translated"),
    [
        ("http.server.request.duration", "s", False, False, "http_server_request_duration_seconds"),
        ("http.server.requests", "{request}", True, False, "http_server_requests_total"),
        ("requests_total", "1", True, False, "requests_total"),
        ("total.requests", "", True, False, "requests_total"),
        ("cpu.utilization", "1", False, True, "cpu_utilization_ratio"),
        ("hit.ratio", "1", False, True, "hit_ratio"),
        ("disk.io", "By/s", False, True, "disk_io_bytes_per_second"),
        ("speed", "m/{lap}", False, True, "speed_meters"),
        ("wait.seconds", "s", False, False, "wait_seconds"),
        ("2xx", "", False, True, "_2xx"),
        ("a  ß-b", "", False, True, "a_b"),
        ("temp", "Cel", False, True, "temp_celsius"),
        ("x", "furlong", False, True, "x_furlong"),
    ],
)
def test_names_are_translated_as_prometheus_does(
    name: str, unit: str, monotonic: bool, gauge: bool, translated: str
) -> None:
    assert prometheus_name(name, unit, monotonic=monotonic, gauge=gauge) == translated


# --- refused -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [b"\xff\xff", b"<html>", b"\x0a\x7f"])
def test_a_body_that_is_no_protobuf_is_refused(body: bytes) -> None:
    with pytest.raises(UsageError, match="no ExportMetricsServiceRequest in protobuf"):
        Otlp().check(body, PROTOBUF, NOON)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b'{"resourceMetrics": 5}',
        b'{"resourceMetrics": [{"scopeMetrics": [{"metrics": ["x"]}]}]}',
        b"\xff",
    ],
)
def test_a_body_that_is_no_json_is_refused(body: bytes) -> None:
    with pytest.raises(UsageError, match="no ExportMetricsServiceRequest in JSON"):
        Otlp().check(body, JSON, NOON)


def test_deep_json_is_refused() -> None:
    deep = '{"arrayValue":{"values":[' * 500 + "{}" + "]}}" * 500
    body = '{"resourceMetrics":[{"resource":{"attributes":[{"key":"a","value":' + deep + "}]}}]}"
    with pytest.raises(UsageError, match="no ExportMetricsServiceRequest in JSON"):
        Otlp().check(body.encode(), JSON, NOON)


@pytest.mark.parametrize("kind", ["", "text/plain", "application/grpc"])
def test_other_types_are_refused(kind: str) -> None:
    with pytest.raises(UsageError, match="OTLP is protobuf or JSON"):
        Otlp().check(b"", {"Content-Type": kind}, NOON)


def test_gzip_is_unpacked_within_bounds() -> None:
    body = Export().sum("x", 1, 1).request.SerializeToString()
    zipped = {**PROTOBUF, "Content-Encoding": "gzip"}
    assert Otlp().check(gzip.compress(body), zipped, NOON).count == 1
    two = gzip.compress(body) + gzip.compress(Export().sum("y", 1, 1).request.SerializeToString())
    assert Otlp().check(two, zipped, NOON).count == 2  # two members, as gzip has it, are one stream
    with pytest.raises(TooLargeError):
        Otlp().check(gzip.compress(b"\0" * (bodies.MOST_BYTES + 1)), zipped, NOON)
    for broken, why in ((body, "is not gzip"), (gzip.compress(body)[:-4], "cut off")):
        with pytest.raises(UsageError, match=why):
            Otlp().check(broken, zipped, NOON)
    with pytest.raises(UsageError, match="'br' is not known"):
        Otlp().check(body, {**PROTOBUF, "Content-Encoding": "br"}, NOON)


@given(st.binary(max_size=40), st.integers(0, 200))
def test_no_body_whatever_ends_in_a_traceback(noise: bytes, at: int) -> None:
    export = Export().sum("x", 1, 1).histogram(1, [1, 2, 3])
    summary = export.metric("lag").summary.data_points.add(count=4, sum=10.0, time_unix_nano=5)
    summary.quantile_values.add(quantile=0.99, value=7)
    body = export.request.SerializeToString()
    with contextlib.suppress(UsageError):
        Otlp().check(body[:at] + noise + body[at + len(noise) :], PROTOBUF, NOON)
