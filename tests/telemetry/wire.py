"""Prometheus' messages of remote write, made by google.protobuf from the published definitions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import cramjam
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

HEADERS = {
    "Content-Type": "application/x-protobuf",
    "Content-Encoding": "snappy",
    "X-Prometheus-Remote-Write-Version": "0.1.0",
}

_DOUBLE, _INT64, _STRING, _MESSAGE, _UINT64, _SINT64, _SINT32, _ENUM, _UINT32 = 1, 3, 9, 11, 4, 18, 17, 14, 13
_ONE, _MANY = 1, 3

# prompb/remote.proto and prompb/types.proto of Prometheus 2.42, field by field: name, number, type, of which message.
_MESSAGES: dict[str, list[tuple[str, int, int, int, str]]] = {
    "Label": [("name", 1, _STRING, _ONE, ""), ("value", 2, _STRING, _ONE, "")],
    "Sample": [("value", 1, _DOUBLE, _ONE, ""), ("timestamp", 2, _INT64, _ONE, "")],
    "Exemplar": [
        ("labels", 1, _MESSAGE, _MANY, "Label"),
        ("value", 2, _DOUBLE, _ONE, ""),
        ("timestamp", 3, _INT64, _ONE, ""),
    ],
    "Histogram": [
        ("count_int", 1, _UINT64, _ONE, ""),
        ("sum", 3, _DOUBLE, _ONE, ""),
        ("schema", 4, _SINT32, _ONE, ""),
        ("zero_threshold", 5, _DOUBLE, _ONE, ""),
        ("timestamp", 15, _INT64, _ONE, ""),
    ],
    "MetricMetadata": [
        ("type", 1, _UINT32, _ONE, ""),
        ("metric_family_name", 2, _STRING, _ONE, ""),
        ("help", 4, _STRING, _ONE, ""),
        ("unit", 5, _STRING, _ONE, ""),
    ],
    "TimeSeries": [
        ("labels", 1, _MESSAGE, _MANY, "Label"),
        ("samples", 2, _MESSAGE, _MANY, "Sample"),
        ("exemplars", 3, _MESSAGE, _MANY, "Exemplar"),
        ("histograms", 4, _MESSAGE, _MANY, "Histogram"),
    ],
    "WriteRequest": [
        ("timeseries", 1, _MESSAGE, _MANY, "TimeSeries"),
        ("metadata", 3, _MESSAGE, _MANY, "MetricMetadata"),
    ],
}


def _classes() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="remote.proto", package="prometheus", syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, number, kind, label, of in fields:
            one = message.field.add(name=field, number=number, label=label, type=kind)
            if of:
                one.type_name = f".prometheus.{of}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"prometheus.{name}")) for name in _MESSAGES
    }


MESSAGES = _classes()
"""The classes of all messages, by name."""

Series = tuple[Mapping[str, str], Iterable[tuple[int, float]]]
"""Labels, and samples of time (ms) and value."""


def write_request(series: Iterable[Series]) -> bytes:
    """Write a request, not compressed."""
    request = MESSAGES["WriteRequest"]()
    for labels, samples in series:
        one = request.timeseries.add()
        for name, value in sorted(labels.items()):
            one.labels.add(name=name, value=value)
        for time, sample in samples:
            one.samples.add(timestamp=time, value=sample)
    written: bytes = request.SerializeToString(deterministic=True)
    return written


def snapped(body: bytes) -> bytes:
    """Compress as remote write does."""
    return bytes(cramjam.snappy.compress_raw(body))


def sent(series: Iterable[Series]) -> bytes:
    """Write and compress a request."""
    return snapped(write_request(series))
