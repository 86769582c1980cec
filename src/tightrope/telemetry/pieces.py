"""Pieces: arrays and their description written down as bytes, small and quickly, in pieces that are replaced alone."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tightrope.base.errors import DataError

_SIZES = (np.dtype("<i1"), np.dtype("<i2"), np.dtype("<i4"))


def written(head: Any, arrays: Sequence[npt.NDArray[Any]] = ()) -> bytes:
    """Write plain JSON values and arrays; whole numbers take no more bytes than they need."""
    narrow = [_narrowed(one) for one in arrays]
    told = json.dumps(
        [head, [[one.dtype.str, array.dtype.str, len(one)] for one, array in zip(narrow, arrays, strict=True)]]
    )
    raw = told.encode()
    return zlib.compress(b"".join([len(raw).to_bytes(8, "big"), raw, *(one.tobytes() for one in narrow)]), 1)


def read(piece: bytes) -> tuple[Any, list[npt.NDArray[Any]]]:
    """Read what `written` wrote; raises `DataError` where it is none."""
    try:
        raw = zlib.decompress(piece)
        at = 8 + int.from_bytes(raw[:8], "big")
        head, kinds = json.loads(raw[8:at])
        arrays = []
        for narrow, wide, length in kinds:
            dtype = np.dtype(narrow)
            arrays.append(np.frombuffer(raw, dtype, length, at).astype(np.dtype(wide)))
            at += length * dtype.itemsize
    except (zlib.error, ValueError, TypeError) as error:
        raise DataError(f"a piece of what was counted cannot be read: {error}", remedy="restore a backup") from None
    return head, arrays


def _narrowed(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if array.dtype != np.int64 or not len(array):
        return array
    low, high = int(array.min()), int(array.max())
    for size in _SIZES:
        if np.iinfo(size).min <= low and high <= np.iinfo(size).max:
            return array.astype(size)
    return array
