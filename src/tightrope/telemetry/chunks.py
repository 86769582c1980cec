"""How slices are written down: day chunks of one series, and ticks, the rows of many series that arrived together.

Counts are split into bytes, all lowest bytes first (a shuffle), without the bytes that are zero in every row, and
deflated; totals are written as differences between neighbours, which are small where traffic is steady. Everything is
exact: what is read is what was written, to the last unit, and a checksum tells where it can't be.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tightrope.base.errors import DataError
from tightrope.base.units import DAY_S
from tightrope.sli.slices import Counts, Mask

_LEVEL = 1
_FORMAT = 1
_ALL_COVERED = 0x80
_CHUNK = struct.Struct("<BB")
_TICK = struct.Struct("<BIBBBB")
_MOST = float(1 << 63)
_Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Sums:
    """What the slices of a chunk add up to: bad units, valid units, and how many slices were measured."""

    bad: int
    total: int
    covered: int


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Slices of any number of series, column by column.

    Attributes:
        series: Whose slice, int32 of shape ``(n,)``.
        slot: Which slice: its start // the step of the series, int64.
        bad, total: Units, int64, ``0 <= bad <= total``; zero where nothing was measured.
        covered: Whether the slice was measured; False makes it a gap again.
    """

    series: npt.NDArray[np.int32]
    slot: Counts
    bad: Counts
    total: Counts
    covered: Mask

    def __len__(self) -> int:
        return len(self.slot)


def slots_of_a_day(step_s: int) -> int:
    """How many slices a chunk has room for: a day of them, and one where a slice is longer than half a day."""
    return max(1, DAY_S // step_s)


def sums_of(bad: Counts, total: Counts, covered: Mask) -> Sums:
    """Add the slices of a chunk up; raises `DataError` where that is more than 64 bits can hold."""
    if float(total.sum(dtype=np.float64)) >= _MOST:
        raise DataError("the units of one day are too many to count", remedy="give the indicator a larger scale")
    return Sums(int(bad.sum()), int(total.sum()), int(np.count_nonzero(covered)))


def pack(bad: Counts, total: Counts, covered: Mask) -> bytes:
    """Write the slices of a chunk, at least one, oldest first."""
    bad_planes, total_planes = _planes(bad.view(np.uint64)), _planes(_differences(total))
    parts = [bad_planes, total_planes]
    whole = bool(covered.all())
    if not whole:
        parts.append(np.packbits(covered, bitorder="little").tobytes())
    count = len(total)
    head = _CHUNK.pack(_FORMAT | (_ALL_COVERED if whole else 0), len(bad_planes) // count << 4 | len(total_planes) // count)
    return head + zlib.compress(b"".join(parts), _LEVEL)


def unpack(blob: bytes, count: int) -> tuple[Counts, Counts, Mask]:
    """Read what `pack` wrote: bad, total and covered of *count* slices; raises `DataError` if the bytes are damaged."""
    try:
        flags, widths = _CHUNK.unpack_from(blob)
        if flags & ~_ALL_COVERED != _FORMAT:
            raise DataError(f"a chunk is in the format {flags & ~_ALL_COVERED}, which this version cannot read")
        raw = np.frombuffer(zlib.decompress(memoryview(blob)[_CHUNK.size :]), np.uint8)
    except (zlib.error, struct.error) as error:
        raise DataError(f"a chunk is damaged: {error}") from None
    bad_width, total_width = widths >> 4, widths & 15
    middle, end = bad_width * count, (bad_width + total_width) * count
    whole = bool(flags & _ALL_COVERED)
    if len(raw) != end + (0 if whole else (count + 7) // 8):
        raise DataError(f"a chunk is damaged: it does not hold {count} slices")
    bad = _joined(raw[:middle], bad_width, count).view(np.int64)
    total = _summed(_joined(raw[middle:end], total_width, count))
    if whole:
        return bad, total, np.ones(count, np.bool_)
    return bad, total, np.unpackbits(raw[end:], count=count, bitorder="little").view(np.bool_)


def pack_rows(rows: Rows) -> bytes:
    """Write rows, small where they are sorted by series and slot."""
    columns = (
        _planes(_differences(rows.series.astype(np.int64))),
        _planes(_differences(rows.slot)),
        _planes(rows.bad.view(np.uint64)),
        _planes(rows.total.view(np.uint64)),
    )
    count = len(rows)
    whole = bool(rows.covered.all())
    flags = _FORMAT | (_ALL_COVERED if whole else 0)
    head = _TICK.pack(flags, count, *(len(one) // max(1, count) for one in columns))
    gaps = b"" if whole else np.packbits(rows.covered, bitorder="little").tobytes()
    return head + zlib.compress(b"".join((*columns, gaps)), _LEVEL)


def unpack_rows(blob: bytes) -> Rows:
    """Read what `pack_rows` wrote; raises `DataError` if the bytes are damaged."""
    try:
        flags, count, *widths = _TICK.unpack_from(blob)
        if flags & ~_ALL_COVERED != _FORMAT:
            raise DataError(f"a tick is in the format {flags & ~_ALL_COVERED}, which this version cannot read")
        raw = np.frombuffer(zlib.decompress(memoryview(blob)[_TICK.size :]), np.uint8)
    except (zlib.error, struct.error) as error:
        raise DataError(f"a tick is damaged: {error}") from None
    ends = np.cumsum([0, *widths]) * count
    whole = bool(flags & _ALL_COVERED)
    if len(raw) != ends[-1] + (0 if whole else (count + 7) // 8):
        raise DataError(f"a tick is damaged: it does not hold {count} rows")
    series, slot, bad, total = (
        _joined(raw[begin:end], width, count) for begin, end, width in zip(ends, ends[1:], widths, strict=False)
    )
    covered = (
        np.ones(count, np.bool_)
        if whole
        else np.unpackbits(raw[ends[-1] :], count=count, bitorder="little").view(np.bool_)
    )
    return Rows(
        _summed(series).astype(np.int32), _summed(slot), bad.view(np.int64), total.view(np.int64), covered
    )


def _planes(values: npt.NDArray[np.uint64]) -> bytes:
    """Byte planes, lowest first, as many as the largest value needs."""
    if not len(values):
        return b""
    width = (int(values.max()).bit_length() + 7) // 8
    if width == 0:
        return b""
    if width == 1:
        return values.astype(np.uint8).tobytes()
    parts = values.astype("<u8", copy=False).view(np.uint8).reshape(-1, 8)
    return parts[:, :width].T.tobytes()


def _joined(planes: _Bytes, width: int, count: int) -> npt.NDArray[np.uint64]:
    if width == 1:
        return planes.astype(np.uint64)
    values = np.zeros((count, 8), np.uint8)
    if width:
        values[:, :width] = planes.reshape(width, count).T
    return values.view("<u8").reshape(count).astype(np.uint64, copy=False)


def _differences(values: Counts) -> npt.NDArray[np.uint64]:
    """Each value less the one before, with the sign in the lowest bit; counts below 2**63 never leave 64 bits."""
    steps = np.diff(values, prepend=np.int64(0))
    folded: npt.NDArray[np.uint64] = ((steps << 1) ^ (steps >> 63)).view(np.uint64)
    return folded


def _summed(folded: npt.NDArray[np.uint64]) -> Counts:
    signs = -(folded & np.uint64(1)).view(np.int64)
    steps: Counts = (folded >> np.uint64(1)).view(np.int64) ^ signs
    return np.cumsum(steps, dtype=np.int64)
