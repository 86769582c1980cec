"""Bodies of requests: unpacked within bounds, and kept in a form that can be read again without the request."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tightrope.base.errors import TooLargeError, UsageError

MOST_BYTES = 64 << 20
"""Bytes that a body may have once it is unpacked."""

_TIME = 8  # bytes of the time of receipt in what is kept
_ROOMY = 4 << 20  # a larger room is not held for the next body

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Raw:
    """A body that is unpacked: its bytes, and zeros behind them up to a whole word and one more; *spare* is as long."""

    buffer: Bytes
    size: int
    spare: Bytes

    @classmethod
    def of(cls, content: bytes) -> Raw:
        """Bytes as they are."""
        buffer = np.zeros(whole(len(content)), np.uint8)
        buffer[: len(content)] = np.frombuffer(content, np.uint8)
        return cls(buffer, len(content), np.empty_like(buffer))

    def __bytes__(self) -> bytes:
        return self.buffer[: self.size].tobytes()


def whole(size: int) -> int:
    """Bytes of whole words that hold so many, and a word more."""
    return -(-size // 8) * 8 + 8


class Rooms:
    """Where bodies are unpacked, one after the other in the same place: fresh memory costs more than unpacking."""

    def __init__(self) -> None:
        self._free: list[Bytes] = []

    @contextmanager
    def unsnapped(self, body: bytes) -> Iterator[Raw]:
        """Unpack a block of snappy, for as long as this lasts.

        Raises:
            UsageError: It is none.
            TooLargeError: It would grow too large.
        """
        import cramjam

        try:
            size = cramjam.snappy.decompress_raw_len(body)
            if size > MOST_BYTES:
                raise _too_large(size)
            room = self._room(2 * whole(size))
            if size:
                wrote = cramjam.snappy.decompress_raw_into(body, room[:size].data)
            else:
                wrote = len(cramjam.snappy.decompress_raw(body))
        except cramjam.DecompressionError as error:
            raise _not_snappy(error) from None
        room[wrote : whole(size)] = 0
        try:
            yield Raw(room[: whole(size)], wrote, room[whole(size) : 2 * whole(size)])
        finally:
            if len(room) <= _ROOMY:
                self._free.append(room)

    def _room(self, size: int) -> Bytes:
        try:
            free = self._free.pop()
        except IndexError:
            free = np.zeros(0, np.uint8)
        return free if len(free) >= size else np.zeros(size + size // 8, np.uint8)


def header(headers: Mapping[str, str], name: str) -> str:
    """Find a header whatever the case of its name; empty where there is none."""
    found = headers.get(name)
    if found is None:
        found = next((value for key, value in headers.items() if key.lower() == name), "")
    return found.strip()


def media_type(headers: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """Read ``Content-Type``: the type in lower case, and its parameters."""
    kind, *rest = header(headers, "content-type").split(";")
    pairs = (one.partition("=") for one in rest)
    return kind.strip().lower(), {key.strip().lower(): value.strip().strip('"') for key, _, value in pairs}


def unpacked(body: bytes, headers: Mapping[str, str]) -> bytes:
    """Unpack a body by its ``Content-Encoding``, gzip or deflate or none; bounded as `Rooms.unsnapped` is."""
    encoding = header(headers, "content-encoding").lower()
    if encoding in {"", "identity"}:
        if len(body) > MOST_BYTES:
            raise _too_large(len(body))
        return body
    if encoding not in {"gzip", "deflate"}:
        raise UsageError(f"the content encoding {encoding!r} is not known", remedy="send gzip, or send it plain")
    whole = bytearray()
    rest = body
    while rest or not whole:
        reader = zlib.decompressobj(wbits=47)  # gzip or zlib, whichever its head says
        try:
            whole += reader.decompress(rest, MOST_BYTES + 1 - len(whole))
        except zlib.error as error:
            raise UsageError(f"the body is not {encoding}: {error}", remedy="send what Content-Encoding says") from None
        if len(whole) > MOST_BYTES:
            raise _too_large(len(whole))
        if not reader.eof:
            raise UsageError(f"the {encoding} body is cut off", remedy="send it again, whole")
        rest = reader.unused_data  # gzip may have several members, one behind the other
        if not rest:
            break
    return bytes(whole)


def sealed(form: int, now: int, body: bytes) -> bytes:
    """Put a body together with its form (0 to 255) and the time of its receipt."""
    return bytes([form]) + now.to_bytes(_TIME, "big", signed=True) + body


def opened(kept: bytes) -> tuple[int, int, bytes]:
    """Take apart what `sealed` put together: form, time, body."""
    return kept[0], int.from_bytes(kept[1 : 1 + _TIME], "big", signed=True), kept[1 + _TIME :]


def _not_snappy(error: Exception) -> UsageError:
    remedy = "send it compressed with snappy's block format, as remote write demands"
    return UsageError(f"the body is not snappy: {str(error)[:120]}", remedy=remedy)


def _too_large(size: int) -> TooLargeError:
    return TooLargeError(
        f"the body unpacks to {size:,} bytes or more; {MOST_BYTES:,} are taken at once", remedy="send smaller batches"
    )
