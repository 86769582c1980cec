"""Blocks: some weeks of hours of one record, packed small."""

from __future__ import annotations

import struct
import zlib

from tightrope.base.errors import DataError
from tightrope.base.units import DAY_S
from tightrope.sli.hours import Hours
from tightrope.telemetry.chunks import added_up, differences, gathered, shuffled

_HEAD = struct.Struct("<BIBBBB")  # version, hours, bytes of a total, a bad count, a known and a slice count
_VERSION = 1
_LEVEL = 6
_BLOCK_DAYS = 32


def per_block(hour_s: int) -> int:
    """How many hours of that length one block has room for: 32 days of them, at least one."""
    return max(1, _BLOCK_DAYS * DAY_S // hour_s)


def pack(hours: Hours) -> bytes:
    """Write hours as bytes; their place is not in them."""
    columns = [shuffled(differences(hours.total)), shuffled(hours.bad)]
    columns += [shuffled(differences(one)) for one in (hours.known, hours.slices)]
    head = _HEAD.pack(_VERSION, len(hours), *(width for _, width in columns))
    return head + zlib.compress(b"".join(content for content, _ in columns), _LEVEL)


def unpack(start: int, hour_s: int, scale: int, blob: bytes) -> Hours:
    """Read the hours that `pack` wrote; raises `DataError` where it is none, or was damaged."""
    try:
        version, count, *widths = _HEAD.unpack_from(blob)
        content = zlib.decompress(blob[_HEAD.size :])
    except (struct.error, zlib.error) as error:
        raise DataError(f"a block of hours cannot be read: {error}", remedy="restore the store from a backup") from None
    if version != _VERSION or len(content) != count * sum(widths):
        raise DataError("a block of hours cannot be read: it is damaged", remedy="restore the store from a backup")
    places = [count * sum(widths[:number]) for number in range(len(widths))]
    total, bad, known, slices = (gathered(content, at, count, width) for at, width in zip(places, widths, strict=True))
    return Hours(start, hour_s, bad, added_up(total), added_up(known), added_up(slices), scale=scale)
