"""Chunks: the slices of one record over one day, packed small, with their sums beside them.

Totals are written as differences between neighbours, which are small where traffic is steady. Each column is written
with as few bytes as its largest number needs, the first bytes of all of them before the second bytes (so that the many
zeros stand together), and packed with the standard library's zlib.
"""

from __future__ import annotations

import struct
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt

from tightrope.base.errors import DataError
from tightrope.base.units import DAY_S
from tightrope.base.values import dataclass
from tightrope.sli.slices import Counts, Mask

_HEAD = struct.Struct("<BIBBB")  # version, rows, bytes of a total and of a bad count, whether a mask follows
_PLAIN_TOTALS, _VERSION = 1, 2  # the first version wrote totals as they are; it is read still
_LEVEL = 1
_WIDTHS = (0, 1, 2, 4, 8)


@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """Slices side by side: counts int64 and the mask of what was measured, all of shape ``(n,)``.

    ``first`` is the number of the first one: its start / step.
    """

    first: int
    bad: Counts
    total: Counts
    covered: Mask

    def __len__(self) -> int:
        return len(self.total)

    @property
    def sums(self) -> tuple[int, int, int]:
        """Bad units, valid units, measured slices."""
        return int(self.bad.sum()), int(self.total.sum()), int(self.covered.sum())


def per_chunk(step_s: int) -> int:
    """How many slices of that length one chunk has room for: a day of them, at least one."""
    return max(1, DAY_S // step_s)


def packed(chunk: Chunk) -> bytes:
    """Write a chunk as bytes; its place is not in them."""
    total, total_width = shuffled(differences(chunk.total))
    bad, bad_width = shuffled(chunk.bad)
    whole = bool(chunk.covered.all())
    mask = b"" if whole else np.packbits(chunk.covered).tobytes()
    head = _HEAD.pack(_VERSION, len(chunk), total_width, bad_width, not whole)
    return head + zlib.compress(total + bad + mask, _LEVEL)


def unpacked(first: int, blob: bytes) -> Chunk:
    """Read the chunk that `packed` wrote; raises `DataError` where it is none, or was damaged."""
    try:
        version, count, total_width, bad_width, masked = _HEAD.unpack_from(blob)
        content = zlib.decompress(blob[_HEAD.size :])
    except (struct.error, zlib.error) as error:
        raise DataError(
            f"a chunk of slices cannot be read: {error}", remedy="restore the store from a backup"
        ) from None
    expected = count * (total_width + bad_width) + (-(-count // 8) if masked else 0)
    if version not in (_PLAIN_TOTALS, _VERSION) or len(content) != expected:
        raise DataError("a chunk of slices cannot be read: it is damaged", remedy="restore the store from a backup")
    at = count * total_width
    end = at + count * bad_width
    covered = (
        np.unpackbits(np.frombuffer(content, np.uint8, offset=end), count=count).astype(np.bool_)
        if masked
        else np.ones(count, np.bool_)
    )
    total, bad = gathered(content, 0, count, total_width), gathered(content, at, count, bad_width)
    return Chunk(first, bad, added_up(total) if version == _VERSION else total, covered)


def shuffled(values: npt.NDArray[np.integer[Any]]) -> tuple[bytes, int]:
    """The bytes of counts that are not negative, all first ones first, and how many each has: 0, 1, 2, 4 or 8."""
    most = int(values.max()) if len(values) else 0
    width = next(one for one in _WIDTHS if most < 1 << (8 * one) or one == 8)
    if not width:
        return b"", 0
    narrow = values.astype(f"<u{width}")
    return (narrow if width == 1 else narrow.view(np.uint8).reshape(-1, width).T).tobytes(), width


def gathered(content: bytes, at: int, count: int, width: int) -> Counts:
    """The counts that `shuffled` wrote, from the place *at* on."""
    if not width or not count:
        return np.zeros(count, np.int64)
    columns = np.frombuffer(content, np.uint8, count * width, offset=at)
    if width == 1:
        return columns.astype(np.int64)
    return np.ascontiguousarray(columns.reshape(width, count).T).view(f"<u{width}").reshape(count).astype(np.int64)


def differences(values: Counts) -> npt.NDArray[np.uint64]:
    """Each count less the one before, the sign in the lowest bit."""
    steps = values.copy()
    steps[1:] -= values[:-1]
    folded: Counts = (steps << 1) ^ (steps >> 63)
    return folded.view(np.uint64)


def added_up(steps: Counts) -> Counts:
    """The counts of which `differences` told the steps."""
    folded = steps.view(np.uint64)
    found: Counts = np.cumsum((folded >> np.uint64(1)).view(np.int64) ^ -(folded & np.uint64(1)).view(np.int64))
    return found
