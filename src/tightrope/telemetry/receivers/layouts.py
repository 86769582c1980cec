"""Layouts: a sender repeats the same series in the same order, scrape for scrape, and only times and values differ.

So a body is first held against those that came before, byte by byte and all bytes at once. If it differs from one of
them in nothing but times and values, its series are known, and so is where its times and values stand.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tightrope.sli.slices import Counts
from tightrope.telemetry.receivers.bodies import Raw, whole
from tightrope.telemetry.samples import Book, Samples, Values

MOST_BYTES = 64 << 20
"""What the layouts of one book may take together."""

MOST_SEEN = 4096
"""Bodies that are remembered by their first series, so that a layout is made of those that come again."""

_FULL, _EMPTY = 18, 9  # bytes of a sample with its tag and length; a value of 0 is left out

Words = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """What does not change of a body.

    Attributes:
        fixed, mask: Its bytes, and which bits of them are the same each time; in whole words.
        numbers: Its series, in order.
        full: Which of its samples have a value that is not left out; None: all have.
        values, times: Where the words begin that hold the value, and that hold the time behind two other bytes.
    """

    fixed: Words
    mask: Words
    numbers: Counts
    full: npt.NDArray[np.bool_] | None
    values: Counts
    times: Counts

    @classmethod
    def of(cls, raw: bytes, numbers: Counts, stops: Counts) -> Layout:
        """The layout of a body; *stops* are the ends of its samples, below 0 where the value is left out."""
        fixed, mask = Raw.of(raw).buffer, np.full(whole(len(raw)), 0xFF, np.uint8)
        ends = np.abs(stops)
        valued = stops > 0
        for place in range(-15, -7):
            mask[ends[valued] + place] = 0
        for place in range(-6, 0):
            mask[ends + place] = 0x80  # whether the number goes on
        fixed &= mask
        full = None if valued.all() else valued
        return cls(fixed.view(np.uint64), mask.view(np.uint64), numbers.copy(), full, ends[valued] - 15, ends - 8)

    @property
    def size(self) -> int:
        """Bytes that it takes."""
        return self.fixed.nbytes + self.mask.nbytes + 4 * self.numbers.nbytes


Read = Callable[[Layout, Raw], tuple[Counts, Values] | None]
"""Reads times and values of a body of a layout, as long as that; None: it has another one."""


def read(layout: Layout, raw: Raw) -> tuple[Counts, Values] | None:
    """Read a body with NumPy (`Read`)."""
    differ = np.bitwise_xor(raw.buffer.view(np.uint64), layout.fixed, out=raw.spare.view(np.uint64))
    differ &= layout.mask
    if differ.any():
        return None
    words = overlapping(raw.buffer)
    found = words[layout.values].view(np.float64)
    if layout.full is None:
        return _times(words[layout.times]), found
    values = np.zeros(len(layout.times), np.float64)
    values[layout.full] = found
    return _times(words[layout.times]), values


class Layouts:
    """The layouts of what one book's senders send.

    Args:
        book: Numbers the series.
        read: Reads a body by its layout.
    """

    def __init__(self, book: Book, read: Read = read) -> None:
        self.book = book
        self._read = read
        self._known: dict[Hashable, Layout] = {}
        self._seen: dict[Hashable, None] = {}
        self._size = 0

    def read(self, raw: Raw) -> Samples | None:
        """The samples of a body whose layout is known; None: it must be scanned."""
        layout = self._known.get(_key(raw))
        found = None if layout is None else self._read(layout, raw)
        return None if layout is None or found is None else Samples(self.book, layout.numbers, *found)

    def learn(self, raw: bytes, numbers: Counts, stops: Counts) -> None:
        """Remember a body that was scanned and has nothing but samples of the usual form; from the second time on."""
        key = _key(Raw.of(raw))
        if key not in self._seen:
            if len(self._seen) >= MOST_SEEN:
                self._seen.clear()
            self._seen[key] = None
            return
        layout = Layout.of(raw, numbers, stops)
        if self._size + layout.size > MOST_BYTES:
            self._known, self._size = {}, 0
        self._known[key] = layout
        self._size += layout.size


def _key(raw: Raw) -> Hashable:
    """By what layouts are looked up: the length of a body, and the labels of its first series."""
    if raw.size < _FULL:
        return bytes(raw)
    head = raw.buffer[:_FULL].tobytes()
    length, begin = head[1], 2
    if length > 127:
        length, begin = length & 127 | head[2] << 7, 3
    stop = min(begin + length, raw.size)
    first = raw.buffer[:stop].tobytes()
    full = stop > _FULL and first[stop - 17] == 0x10
    return raw.size, full, first[: max(begin, stop - (_FULL if full else _EMPTY))]


def overlapping(buffer: npt.NDArray[np.uint8]) -> Words:
    """See the eight bytes from every place on as one number."""
    return np.ndarray((max(0, len(buffer) - 7),), np.uint64, buffer, 0, (1,))


def _times(words: Words) -> Counts:
    """Read varints of six bytes from the third byte of each word on: milliseconds from 2004 to 2109."""
    digits = words >> np.uint64(16)
    if len(digits) and (digits == digits[0]).all():  # one scrape has one time
        return np.full(len(digits), int(_joined(digits[:1])[0]), np.int64)
    return _joined(digits)


def _joined(digits: Words) -> Counts:
    times = np.zeros(len(digits), np.uint64)
    for place in range(6):
        times |= (digits >> np.uint64(8 * place) & np.uint64(127)) << np.uint64(7 * place)
    return times.astype(np.int64)
