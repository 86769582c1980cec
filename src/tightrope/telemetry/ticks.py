"""Ticks: the rows of one turn as they are stored until they are folded, packed small.

Whose rows they are is packed apart from the rows, so that a tick which was damaged is, most often, no matter of others.
"""

from __future__ import annotations

import struct
import zlib
from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt

from tightrope.base.errors import DataError
from tightrope.base.values import dataclass
from tightrope.sli.slices import Counts, Mask
from tightrope.telemetry.chunks import gathered, shuffled

_PLAIN, _ZIPPED, _SHUFFLED, _APART = 1, 2, 3, 4  # the first three were written by earlier versions, and are read still
_OLD_HEAD = struct.Struct("<BI")
_WIDTHS = struct.Struct("<qBBBB")  # the first slot; bytes of a series, of a slot after the first, of a bad and a total
_HEAD = struct.Struct("<BIqBBBBI")  # form, rows, then as above, and the bytes of the packed series
_SUM = struct.Struct("<I")  # of the head
_PLAIN_ROW = 4 + 3 * 8 + 1
_LEVEL = 1


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Slices of any records in any order; of two rows of one slice the later one counts.

    Attributes:
        series: Ids, int32 of shape ``(n,)``.
        slot: Numbers of the slices: start / step, int64 of shape ``(n,)``.
        bad, total: Counts, int64 of shape ``(n,)``, ``0 <= bad <= total``.
        covered: Whether the slice was measured, bool of shape ``(n,)``; False takes back what was known of it.
    """

    series: npt.NDArray[np.int32]
    slot: Counts
    bad: Counts
    total: Counts
    covered: Mask

    def __len__(self) -> int:
        return len(self.series)


@dataclass(frozen=True, slots=True, eq=False)
class Damage:
    """A tick that cannot be read, by its sequence; ``series`` tells whose rows are in it, None: that cannot be told."""

    sequence: int
    series: npt.NDArray[np.int32] | None

    def concerns(self, number: int) -> bool:
        """Whether rows of a record are in it, as far as anybody can tell."""
        return self.series is None or bool((self.series == number).any())

    @property
    def error(self) -> DataError:
        """What to say to whoever wants them."""
        return DataError(
            f"tick {self.sequence} of slices cannot be read: it is damaged",
            remedy="restore the store from a backup",
        )


def tick_bytes(batch: Batch) -> bytes:
    """Write a batch as bytes."""
    bad, total = batch.bad * batch.covered, batch.total * batch.covered  # what was not measured counts nothing
    base = int(batch.slot.min())
    columns = [shuffled(one) for one in (batch.series, batch.slot - base, bad, total)]
    covered = np.ascontiguousarray(batch.covered, np.uint8).tobytes()
    series = zlib.compress(columns[0][0], _LEVEL)
    rows = zlib.compress(b"".join([*(one for one, _ in columns[1:]), covered]), _LEVEL)
    head = _HEAD.pack(_APART, len(batch), base, *(width for _, width in columns), len(series))
    return b"".join([head, _SUM.pack(zlib.crc32(head)), series, rows])


def tick_of(sequence: int, blob: bytes) -> Batch | Damage:
    """Read what `tick_bytes` wrote, or say what of it can still be told."""
    series = None
    try:
        if blob[:1] != bytes([_APART]):
            return _read_old(blob)
        head = blob[: _HEAD.size]
        _, count, base, *widths, size = _HEAD.unpack(head)
        if _SUM.unpack_from(blob, _HEAD.size) != (zlib.crc32(head),):
            raise ValueError("the head is another one")
        begin = _HEAD.size + _SUM.size
        (found,) = _columns(blob[begin : begin + size], count, widths[:1])
        series = found.astype(np.int32)
        slot, bad, total, covered = _columns(blob[begin + size :], count, [*widths[1:], 1])
    except (struct.error, zlib.error, ValueError):
        return Damage(sequence, series)
    return Batch(series, slot + base, bad, total, covered.astype(np.bool_))


def _columns(packed: bytes, count: int, widths: list[int]) -> list[Counts]:
    content = zlib.decompress(packed)
    starts = [0, *accumulate(width * count for width in widths)]
    if len(content) != starts[-1]:
        raise ValueError("it has another length")
    return [gathered(content, at, count, width) for at, width in zip(starts, widths, strict=False)]


def _read_old(blob: bytes) -> Batch:
    how, count = _OLD_HEAD.unpack_from(blob)
    if how == _SHUFFLED:
        base, *widths = _WIDTHS.unpack_from(blob, _OLD_HEAD.size)
        content = blob[_OLD_HEAD.size + _WIDTHS.size :]
        series, slot, bad, total, covered = _columns(content, count, [*widths, 1])
        return Batch(series.astype(np.int32), slot + base, bad, total, covered.astype(np.bool_))
    content = blob[_OLD_HEAD.size :] if how == _PLAIN else zlib.decompress(blob[_OLD_HEAD.size :])
    if len(content) != _PLAIN_ROW * count:
        raise ValueError("it has another length")
    columns: Any = (
        np.frombuffer(content, "<i4", count),
        *(np.frombuffer(content, "<i8", count, offset=4 * count + 8 * count * one) for one in range(3)),
        np.frombuffer(content, np.uint8, count, offset=28 * count).astype(np.bool_),
    )
    return Batch(*columns)
