"""Bodies of requests: unpacked within bounds, and kept in a form that can be read again without the request."""

from __future__ import annotations

import zlib
from collections.abc import Mapping

from tightrope.base.errors import TooLargeError, UsageError

MOST_BYTES = 64 << 20
"""Bytes that a body may have once it is unpacked."""

_TIME = 8  # bytes of the time of receipt in what is kept


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


def unsnapped(body: bytes) -> bytes:
    """Unpack a block of snappy; raises `UsageError` where it is none, `TooLargeError` before it grows too large."""
    import cramjam

    try:
        size = cramjam.snappy.decompress_raw_len(body)
        if size > MOST_BYTES:
            raise _too_large(size)
        return bytes(cramjam.snappy.decompress_raw(body))
    except cramjam.DecompressionError as error:
        remedy = "send it compressed with snappy's block format, as remote write demands"
        raise UsageError(f"the body is not snappy: {str(error)[:120]}", remedy=remedy) from None


def unpacked(body: bytes, headers: Mapping[str, str]) -> bytes:
    """Unpack a body by its ``Content-Encoding``, gzip or deflate or none; bounded as `unsnapped` is."""
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


def _too_large(size: int) -> TooLargeError:
    return TooLargeError(
        f"the body unpacks to {size:,} bytes or more; {MOST_BYTES:,} are taken at once", remedy="send smaller batches"
    )
