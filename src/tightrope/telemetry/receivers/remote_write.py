"""Prometheus remote write 1.0: snappy, protobuf, read by a scan of its bytes."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from importlib.util import find_spec

from tightrope.base.errors import UsageError
from tightrope.telemetry.receivers.bodies import header, media_type, opened, sealed, unsnapped
from tightrope.telemetry.receivers.layouts import Layouts
from tightrope.telemetry.receivers.write_request import Found, fail, scan
from tightrope.telemetry.samples import Book, Checked, Delivery

_TYPES = frozenset({"", "application/x-protobuf", "application/protobuf", "application/octet-stream"})
_VERSION = re.compile(r"0\.1\.\d+|1\.0")
Scan = Callable[[bytes, Book, Found], None]


class RemoteWrite:
    """Reads the bodies of remote write.

    Args:
        compiled: Scan with compiled code (True), with Python (False), or with whichever is installed (None). They
            find the same.
    """

    kind = "remote-write"

    def __init__(self, *, compiled: bool | None = None) -> None:
        self._scan = _scanner(compiled)
        self._layouts = Layouts(Book())

    def check(self, body: bytes, headers: Mapping[str, str], now: int) -> Checked:
        """Read a body, and check that it is whole; see `Receiver.check`."""
        _check_headers(headers)
        delivery = self._read(body, now)
        return Checked(len(delivery), sealed(0, now, body), delivery)

    def read(self, kept: bytes) -> Delivery:
        """Read what was kept of a body."""
        _, at, body = opened(kept)
        return self._read(body, at)

    def _read(self, body: bytes, at: int) -> Delivery:
        if self._layouts.book.full:
            self._layouts = Layouts(Book())
        layouts = self._layouts
        raw = unsnapped(body)
        known = layouts.read(raw)
        if known is not None:
            return Delivery(known, (), at)
        found = Found()
        try:
            self._scan(raw, layouts.book, found)
        except IndexError:
            fail("it is cut off", len(raw))
        samples = found.samples(raw, layouts.book)
        ends = found.ends()
        if ends is not None:
            layouts.learn(raw, samples.numbers, ends)
        return Delivery(samples, (), at, dict(found.unsupported))


def _check_headers(headers: Mapping[str, str]) -> None:
    kind, parameters = media_type(headers)
    if kind not in _TYPES or parameters.get("proto", "prometheus.WriteRequest") != "prometheus.WriteRequest":
        raise UsageError(
            f"remote write 1.0 is taken here, not {header(headers, 'content-type')!r}",
            remedy="set protobuf_message: prometheus.WriteRequest in the sender's remote_write section",
        )
    encoding = header(headers, "content-encoding").lower()
    if encoding not in {"", "snappy"}:
        raise UsageError(f"remote write is compressed with snappy, not {encoding!r}", remedy="set Content-Encoding")
    version = header(headers, "x-prometheus-remote-write-version")
    if version and not _VERSION.fullmatch(version):
        raise UsageError(f"remote write {version!r} is not known", remedy="send version 0.1.0, which is remote write 1")


def _scanner(compiled: bool | None) -> Scan:
    installed = find_spec("numba") is not None
    if compiled and not installed:
        raise UsageError("the compiled scan needs numba, which is not installed", remedy="install tightrope[fast]")
    if not installed or compiled is False:
        return scan
    from tightrope.telemetry.receivers.kernel import compiled_scan

    return compiled_scan
