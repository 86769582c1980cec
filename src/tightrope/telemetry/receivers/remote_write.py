"""Prometheus remote write 1.0: snappy, protobuf, read by a scan of its bytes."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from importlib.util import find_spec

from tightrope.base.errors import UsageError
from tightrope.telemetry.receivers.bodies import Rooms, header, media_type, opened, sealed
from tightrope.telemetry.receivers.layouts import Layouts, Read, read
from tightrope.telemetry.receivers.write_request import Found, fail, scan
from tightrope.telemetry.samples import Book, Checked, Delivery

_TYPES = frozenset({"", "application/x-protobuf", "application/protobuf", "application/octet-stream"})
_VERSION = re.compile(r"0\.1\.\d+|1\.0")
Scan = Callable[[bytes, Book, Found], None]


class RemoteWrite:
    """Reads the bodies of remote write.

    Args:
        compiled: Scan with compiled code (True), with Python (False), or with whichever is installed (None). They
            find the same. The attribute tells which, so that what is read is counted likewise.
    """

    kind = "remote-write"

    def __init__(self, *, compiled: bool | None = None) -> None:
        self.compiled, self._scan, self._read_by = _readers(compiled)
        self._layouts = Layouts(Book(), self._read_by)
        self._rooms = Rooms()

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
            self._layouts = Layouts(Book(), self._read_by)
        layouts = self._layouts
        with self._rooms.unsnapped(body) as unpacked:
            known = layouts.read(unpacked)
            if known is not None:
                return Delivery(known, (), at)
            raw = bytes(unpacked)
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


def _readers(compiled: bool | None) -> tuple[bool, Scan, Read]:
    installed = find_spec("numba") is not None
    if compiled and not installed:
        raise UsageError("the compiled scan needs numba, which is not installed", remedy="install tightrope[fast]")
    if not installed or compiled is False:
        return False, scan, read
    from tightrope.telemetry.receivers.kernel import compiled_read, compiled_scan

    return True, compiled_scan, compiled_read
