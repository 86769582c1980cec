"""OpenTelemetry's metrics over HTTP, protobuf or JSON, named as Prometheus names them.

A metric is known by two names: the one that Prometheus' translation gives it, and its own.
"""

from __future__ import annotations

import base64
import json
import re
import struct
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import lru_cache
from math import inf, isfinite
from typing import Any

from tightrope.base.errors import UsageError
from tightrope.telemetry.counting import ORIGINAL_NAME
from tightrope.telemetry.receivers.bodies import header, media_type, opened, sealed, unpacked
from tightrope.telemetry.samples import STALE_BITS, Book, Checked, Delivery, label_bytes, samples_of
from tightrope.telemetry.selectors import NAME

_PROTOBUF, _JSON = 1, 2
_FORMS = {"application/x-protobuf": _PROTOBUF, "application/protobuf": _PROTOBUF, "application/json": _JSON}
_TYPES = {_PROTOBUF: "application/x-protobuf", _JSON: "application/json"}
_NO_VALUE = 1  # DataPointFlags.DATA_POINT_FLAGS_NO_RECORDED_VALUE_MASK
_DELTA, _CUMULATIVE = 1, 2
_NS_OF_MS = 1_000_000
_STALE: float = struct.unpack("<d", struct.pack("<Q", STALE_BITS))[0]

_UNITS = {
    "d": "days",
    "h": "hours",
    "min": "minutes",
    "s": "seconds",
    "ms": "milliseconds",
    "us": "microseconds",
    "ns": "nanoseconds",
    "By": "bytes",
    "KiBy": "kibibytes",
    "MiBy": "mebibytes",
    "GiBy": "gibibytes",
    "TiBy": "tibibytes",
    "KBy": "kilobytes",
    "MBy": "megabytes",
    "GBy": "gigabytes",
    "TBy": "terabytes",
    "m": "meters",
    "V": "volts",
    "A": "amperes",
    "J": "joules",
    "W": "watts",
    "g": "grams",
    "Cel": "celsius",
    "Hz": "hertz",
    "1": "",
    "%": "percent",
}
_PER = {"s": "second", "m": "minute", "h": "hour", "d": "day", "w": "week", "mo": "month", "y": "year"}


class Otlp:
    """Reads the bodies of OTLP/HTTP, ``ExportMetricsServiceRequest`` as protobuf or JSON, plain or gzip."""

    kind = "otlp"

    def __init__(self) -> None:
        self._book = Book()

    def check(self, body: bytes, headers: Mapping[str, str], now: int) -> Checked:
        """Read a body, and check that it is whole; see `Receiver.check`."""
        form = _FORMS.get(media_type(headers)[0])
        if form is None:
            raise UsageError(
                f"OTLP is protobuf or JSON, not {header(headers, 'content-type') or 'without a Content-Type'!r}",
                remedy="send application/x-protobuf or application/json",
            )
        plain = unpacked(body, headers)
        delivery = self._read(form, plain, now)
        answer = _answer(form, delivery.unsupported)
        return Checked(len(delivery), sealed(form, now, plain), delivery, answer, _TYPES[form])

    def read(self, kept: bytes) -> Delivery:
        """Read what was kept of a body."""
        form, at, body = opened(kept)
        return self._read(form, body, at)

    def _read(self, form: int, body: bytes, at: int) -> Delivery:
        if self._book.full:
            self._book = Book()
        points = _Points(self._book)
        request = _request(form, body)
        for resource in request.resource_metrics:
            for scope in resource.scope_metrics:
                context = _Context(resource, scope)
                for metric in scope.metrics:
                    points.take(context, metric)
        samples = samples_of(self._book, points.rows, points.begun, points.increments)
        return Delivery(samples, (), at, dict(points.unsupported))


def _request(form: int, body: bytes) -> Any:
    from google.protobuf import json_format
    from google.protobuf.message import DecodeError
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

    request = ExportMetricsServiceRequest()
    try:
        if form == _PROTOBUF:
            request.ParseFromString(body)
        else:
            content = json.loads(body)
            _check_shape(content)
            json_format.ParseDict(content, request, ignore_unknown_fields=True)
    except (DecodeError, json_format.ParseError, ValueError, TypeError, RecursionError) as error:
        what = "protobuf" if form == _PROTOBUF else "JSON"
        raise UsageError(
            f"the body is no ExportMetricsServiceRequest in {what}: {str(error)[:200]}",
            remedy="check that the exporter speaks OTLP/HTTP with metrics, and its Content-Type",
        ) from None
    return request


def _check_shape(content: Any, names: tuple[str, ...] = ("resourceMetrics", "scopeMetrics", "metrics")) -> None:
    """Refuse what protobuf's reader of JSON would pass over in silence."""
    if not isinstance(content, dict):
        raise TypeError(f"an object should stand where {str(content)[:40]!r} does")
    if names:
        inside = content.get(names[0]) or []
        if not isinstance(inside, list):
            raise TypeError(f"{names[0]} must be a list")
        for one in inside:
            _check_shape(one, names[1:])


def _answer(form: int, unsupported: Mapping[str, int]) -> bytes:
    """Write an ``ExportMetricsServiceResponse``, which tells what could not be used."""
    rejected = sum(count for what, count in unsupported.items() if what not in _IN_PART)
    told = ", ".join(f"{what}: {count}" for what, count in unsupported.items())
    if form == _JSON:
        partial = {"rejectedDataPoints": str(rejected), "errorMessage": f"not supported: {told}"}
        return json.dumps({"partialSuccess": partial} if told else {}).encode()
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse

    response = ExportMetricsServiceResponse()
    if told:
        response.partial_success.rejected_data_points = rejected
        response.partial_success.error_message = f"not supported: {told}"
    written: bytes = response.SerializeToString()
    return written


# --- points ------------------------------------------------------------------------------------------------------

_EXPONENTIAL = "buckets of exponential histograms"
_IN_PART = frozenset({_EXPONENTIAL})


class _Context:
    """Labels that all points of a resource and scope share, and the bytes these are known by."""

    def __init__(self, resource: Any, scope: Any) -> None:
        attributes = {one.key: _text(one.value) for one in resource.resource.attributes}
        labels = _translated(attributes)
        service = attributes.get("service.name", "")
        space = attributes.get("service.namespace", "")
        if service:
            labels["job"] = f"{space}/{service}" if space else service
        if attributes.get("service.instance.id"):
            labels["instance"] = attributes["service.instance.id"]
        if scope.scope.name:
            labels["otel_scope_name"] = scope.scope.name
        if scope.scope.version:
            labels["otel_scope_version"] = scope.scope.version
        of_scope = {f"otel_scope_{one.key}": _text(one.value) for one in scope.scope.attributes}
        self.labels = labels | _translated(of_scope)
        self.key = _framed(resource.resource.SerializeToString()) + _framed(scope.scope.SerializeToString())


class _Points:
    """Samples that are made of data points."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self.rows: list[tuple[int, int, float]] = []
        self.begun: list[int] = []
        self.increments: list[bool] = []
        self.unsupported: Counter[str] = Counter()

    def take(self, context: _Context, metric: Any) -> None:
        """Take all points of one metric."""
        kind = metric.WhichOneof("data")
        if kind is None:
            return
        data = getattr(metric, kind)
        if not metric.name:
            self.unsupported["points without a name"] += len(data.data_points)
            return
        family = _Family(context, metric, kind, monotonic=kind == "sum" and data.is_monotonic)
        delta = False
        if kind in {"sum", "histogram", "exponential_histogram"}:
            if data.aggregation_temporality not in {_DELTA, _CUMULATIVE}:
                self.unsupported["points without a temporality"] += len(data.data_points)
                return
            delta = data.aggregation_temporality == _DELTA
        for point in data.data_points:
            if not point.time_unix_nano:
                self.unsupported["points without a time"] += 1
                continue
            if kind in {"gauge", "sum"}:
                self._number(family, point, delta)
            elif kind == "summary":
                self._summary(family, point)
            else:
                self._histogram(family, point, delta, kind)

    def _number(self, family: _Family, point: Any, delta: bool) -> None:
        value = float(point.as_int) if point.WhichOneof("value") == "as_int" else point.as_double
        if point.WhichOneof("value") is None and not point.flags & _NO_VALUE:
            self.unsupported["points without a value"] += 1
            return
        self._add(family, point, value, delta)

    def _histogram(self, family: _Family, point: Any, delta: bool, kind: str) -> None:
        if kind == "histogram":
            bounds, counts = list(point.explicit_bounds), list(point.bucket_counts)
            if counts and len(counts) != len(bounds) + 1:
                self.unsupported["histograms whose buckets and bounds do not fit"] += 1
                return
            below = 0
            for bound, count in zip([*bounds, inf], counts, strict=True) if counts else ():
                below += count
                self._add(family, point, float(below), delta, "_bucket", "le", _bound(bound))
            if not counts:
                self._add(family, point, float(point.count), delta, "_bucket", "le", "+Inf")
        else:
            self.unsupported[_EXPONENTIAL] += 1
        self._add(family, point, float(point.count), delta, "_count")
        if point.HasField("sum"):
            self._add(family, point, point.sum, delta, "_sum")

    def _summary(self, family: _Family, point: Any) -> None:
        self._add(family, point, float(point.count), False, "_count")
        self._add(family, point, point.sum, False, "_sum")
        for one in point.quantile_values:
            self._add(family, point, one.value, False, "", "quantile", _bound(one.quantile))

    def _add(
        self, family: _Family, point: Any, value: float, delta: bool, suffix: str = "", extra: str = "", which: str = ""
    ) -> None:
        ended = bool(point.flags & _NO_VALUE)
        number = family.number(self._book, point.attributes, suffix, extra, which)
        self.rows.append((number, point.time_unix_nano // _NS_OF_MS, _STALE if ended else value))
        self.begun.append(0 if family.gauge else point.start_time_unix_nano // _NS_OF_MS)
        self.increments.append(delta and not ended)


class _Family:
    """The series of one metric."""

    def __init__(self, context: _Context, metric: Any, kind: str, *, monotonic: bool) -> None:
        self._labels = context.labels
        self._original = metric.name
        self.gauge = kind == "gauge" or (kind == "sum" and not monotonic)
        self._name = prometheus_name(metric.name, metric.unit, monotonic=monotonic, gauge=kind == "gauge")
        self._key = context.key + _framed(self._name.encode()) + _framed(metric.name.encode())

    def number(self, book: Book, attributes: Iterable[Any], suffix: str, extra: str, which: str) -> int:
        pairs = b"".join([one.SerializeToString(deterministic=True) for one in attributes])
        key = self._key + _framed(f"{suffix} {which}".encode()) + pairs
        number = book.numbers.get(key)
        if number is None:
            labels = self._labels | _translated({one.key: _text(one.value) for one in attributes})
            labels[NAME] = self._name + suffix
            labels[ORIGINAL_NAME] = self._original + suffix
            if extra:
                labels[extra] = which
            number = book.add(key, label_bytes(labels))
        return number


# --- names -------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=4096)
def prometheus_name(name: str, unit: str, *, monotonic: bool, gauge: bool) -> str:
    """Translate the name of a metric as Prometheus does: its unit and ``total`` behind it, underscores for dots.

    Source:
        OpenTelemetry, "Prometheus and OpenMetrics Compatibility", and Prometheus' otlptranslator.
    """
    words = [word for word in re.split(r"[^a-zA-Z0-9:]+", name) if word]
    main, _, per = unit.partition("/")
    main, per = ("" if "{" in part else part.strip() for part in (main, per))
    of_unit = re.sub(r"[^a-zA-Z0-9]+", "_", _UNITS.get(main, main)).strip("_")
    if of_unit and of_unit not in words:
        words.append(of_unit)
    of_per = re.sub(r"[^a-zA-Z0-9]+", "_", _PER.get(per, per)).strip("_")
    if of_per and of_per not in words:
        words += ["per", of_per]
    if monotonic:
        words = [word for word in words if word != "total"] + ["total"]
    elif gauge and main == "1" and not per:
        words = [word for word in words if word != "ratio"] + ["ratio"]
    joined = "_".join(words)
    return "_" + joined if joined[:1].isdigit() else joined


@lru_cache(maxsize=4096)
def _label(name: str) -> str:
    written = re.sub(r"[^a-zA-Z0-9_]", "_", name)
    return "key_" + written if written[:1].isdigit() else written


def _translated(attributes: Mapping[str, str]) -> dict[str, str]:
    """Translate the names of attributes; what then has the same name is put together, as Prometheus does."""
    labels: dict[str, str] = {}
    for name, value in sorted(attributes.items()):
        label = _label(name)
        labels[label] = f"{labels[label]};{value}" if label in labels else value
    return labels


def _text(value: Any) -> str:
    """Write the value of an attribute."""
    plain = _plain(value)
    if isinstance(plain, str):
        return plain
    return json.dumps(plain, separators=(",", ":"), sort_keys=True)


def _plain(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind is None:
        return ""
    content = getattr(value, kind)
    if kind == "array_value":
        return [_plain(one) for one in content.values]
    if kind == "kvlist_value":
        return {one.key: _plain(one.value) for one in content.values}
    if kind == "bytes_value":
        return base64.b64encode(content).decode()
    return content


def _bound(value: float) -> str:
    if value == inf:
        return "+Inf"
    return str(int(value)) if isfinite(value) and value == int(value) and abs(value) < 1e15 else repr(value)


def _framed(part: bytes) -> bytes:
    return len(part).to_bytes(4, "big") + part
