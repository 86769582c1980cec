"""Sliding sums of many members at once: each window is kept as one sum, and what leaves it is taken off again.

All arrays are time-major: one row holds one slice of every member, so that a tick is a few operations on whole rows.
The newest slices are kept in a ring that short lookbacks read what leaves them from. Where a long one ends, a block of
slices around its trailing edge is kept instead, and filled up from where slices are stored as the edge moves on. So
every sum is exact to the slice, and memory does not grow with the window.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tightrope.budget.burn import slices_in
from tightrope.budget.windows import period
from tightrope.engine.ticks import UNWRITTEN
from tightrope.specs.model import RollingWindow, Window

Columns = slice | npt.NDArray[np.int64]
"""Members by their place in a row: a stretch of them, or some."""

Values = npt.NDArray[np.int64]
Flags = npt.NDArray[np.uint8]

SEEN, COVERED, EXCLUDED = 0, 1, 2
"""Bits of a slice's flags, and rows of `SlidingSums.counts`: it was no gap without units, was measured, was taken out;
the first and the last only from the beginning of history on."""

BAD, TOTAL, SCOPED = 0, 1, 2
"""Rows of the series: bad units, valid ones, and bad ones without causes out of scope where these are told apart."""

BLOCK = 256
"""Slices held around the trailing edge of a long lookback."""

NARROW = 2**31
"""Counts below this fit the rows of a narrow fleet, half as large as those of a wide one."""

_MOST_NARROW = 2**22
"""Slices of which so many narrow counts sum up to less than 2**53, where a float64 is an exact integer."""

_FAR_AWAY = 2**62

Part = tuple[int, tuple[Values, ...], Flags]
"""The number of a slice (its start over the step), and from there on each of the series, and the flags; ``(n,)``."""

Read = Callable[[npt.NDArray[np.int64], int, int], Sequence[Part]]
"""Reads slices from one number to another (exclusive) of some columns, one part each, cut off at the record's ends."""


class SlidingSums:
    """Sums over several lookbacks and the window, for a growing row of members.

    Attributes:
        full: Slices of a rolling window; None for a calendar.
        places: Where each lookback's sums are; the window's are last.
        sums: Shape ``(series, lookbacks + 1, capacity)``; float64 while narrow, int64 while wide, exact either way.
        counts: What the flags of the window's slices count up to, int64 of shape ``(3, capacity)``.
    """

    def __init__(
        self,
        step_s: int,
        lookbacks: Sequence[int],
        window: Window,
        *,
        scoped: bool,
        wide: bool,
        block: int = BLOCK,
        unwritten: int = UNWRITTEN,
    ) -> None:
        self.step_s, self.window = step_s, window
        self.full = slices_in(window.duration.seconds, step_s) if isinstance(window, RollingWindow) else None
        self.wide = wide or max(*lookbacks, self.full or 1) > _MOST_NARROW
        self.places = {lookback: place for place, lookback in enumerate(lookbacks)}
        self.window_place = len(lookbacks)
        edges = [*enumerate(lookbacks), *([(self.window_place, self.full)] if self.full is not None else [])]
        self.block = block
        # the longest lookback that is kept whole: a block ends where all slices are written
        self._kept = block + unwritten
        self._near = [(place, length) for place, length in edges if length <= self._kept]
        self._far = [(place, length) for place, length in edges if length > self._kept]
        self._ring_size = max([1, *(length for _, length in self._near)])
        series, row = 3 if scoped else 2, np.dtype(np.int64 if self.wide else np.int32)
        self.capacity = 0
        self.sums = np.zeros((series, len(lookbacks) + 1, 0), np.int64 if self.wide else np.float64)
        self.counts = np.zeros((3, 0), np.int64)
        self._ring = np.zeros((series, self._ring_size, 0), row)
        self._blocks = np.zeros((len(self._far), series, self.block, 0), row)
        # slices of a block before this number are there
        self._until = np.zeros((len(self._far), 0), np.int64)
        self._first_until = [_FAR_AWAY] * len(self._far)
        flag_rows = 0 if self.full is None else self.full if self.full <= self._kept else self.block
        self._flags = np.zeros((flag_rows, 0), np.uint8)
        self._period = (0, 0)

    def grow(self, capacity: int) -> None:
        """Make room for so many members."""
        for name in ("sums", "counts", "_ring", "_blocks", "_until", "_flags"):
            held: npt.NDArray[Any] = getattr(self, name)
            wider = np.zeros((*held.shape[:-1], capacity), held.dtype)
            wider[..., : self.capacity] = held
            setattr(self, name, wider)
        self._until[:, self.capacity :] = _FAR_AWAY
        self.capacity = capacity

    def clear(self) -> None:
        """Let all members go, and their room."""
        for name in ("sums", "counts", "_ring", "_blocks", "_until", "_flags"):
            setattr(self, name, getattr(self, name)[..., :0].copy())
        self._first_until = [_FAR_AWAY] * len(self._far)
        self.capacity = 0

    def bounds(self, slot: int) -> tuple[int, int]:
        """The first slice of the window in which a slice lies, and how many slices the window has when full."""
        if self.full is not None:
            return slot + 1 - self.full, self.full
        low, end = self._period
        if not low <= slot < end:
            begin, until = period(self.window, slot * self.step_s)  # type: ignore[arg-type]
            low, end = self._period = -(-begin // self.step_s), -(-until // self.step_s)
        return low, end - low

    # --- members that come and go ----------------------------------------------------------------------------------

    def enter(self, columns: npt.NDArray[np.int64], slot: int, parts: Sequence[Part]) -> None:
        """Take members in whose next slice is *slot*, with their records up to there."""
        count, series = len(columns), len(self.sums)
        ring = np.zeros((count, series, self._ring_size), self._ring.dtype)
        blocks = np.zeros((count, len(self._far), series, self.block), self._ring.dtype)
        flags = np.zeros((count, len(self._flags)), np.uint8)
        sums = np.zeros((count, series, self.sums.shape[1]), np.int64)
        counts = np.zeros((count, 3), np.int64)
        window_low = self.bounds(slot - 1)[0]
        stops = sorted({*(slot - length for length in self.places), window_low, slot})
        for number, (column, (first, values, marks)) in enumerate(zip(columns.tolist(), parts, strict=True)):
            for one, counts_of in enumerate(values):
                self._fill(ring[number, one], counts_of, first, slot - self._ring_size, slot)
                total, since = 0, {}
                for low, high in zip(reversed(stops[:-1]), reversed(stops[1:]), strict=True):
                    total += int(counts_of[max(0, low - first) : max(0, high - first)].sum())
                    since[low] = total
                for length, place in self.places.items():
                    sums[number, one, place] = since[slot - length]
                sums[number, one, self.window_place] = since[window_low]
            inside = marks[max(0, window_low - first) :]
            counts[number] = [int(np.count_nonzero(inside >> bit & 1)) for bit in (SEEN, COVERED, EXCLUDED)]
            for block, (place, length) in enumerate(self._far):
                # members are filled up at different times, so that no tick has to do it for all
                edge = slot - length
                until = edge + self.block - column * 37 % (self.block - self.block // 4)
                for one, counts_of in enumerate(values):
                    self._fill(blocks[number, block, one], counts_of, first, edge, until)
                self._until[block, column] = until
                if place == self.window_place:
                    self._fill(flags[number], marks, first, edge, until)
            if self.full is not None and self.full <= self._kept:
                self._fill(flags[number], marks, first, slot - self.full, slot)
        self._ring[:, :, columns] = ring.transpose(1, 2, 0)
        self._blocks[:, :, :, columns] = blocks.transpose(1, 2, 3, 0)
        self._flags[:, columns] = flags.T
        self.sums[:, :, columns] = sums.transpose(1, 2, 0)
        self.counts[:, columns] = counts.T
        self._first_until = self._until.min(axis=1).tolist()

    def leave(self, column: int) -> None:
        """Forget a member."""
        self._until[:, column] = _FAR_AWAY

    def take_over(self, other: SlidingSums, theirs: int, ours: int) -> None:
        """Take in a member of sums that differ only in how wide they are."""
        for name in ("sums", "counts", "_ring", "_blocks", "_until", "_flags"):
            getattr(self, name)[..., ours] = getattr(other, name)[..., theirs]
        self._first_until = self._until.min(axis=1).tolist()

    @staticmethod
    def _fill(into: npt.NDArray[Any], values: npt.NDArray[Any], first: int, low: int, high: int) -> None:
        """Write slices *low* to *high* (exclusive) where a ring of the length of *into* has them."""
        size = len(into)
        low, high = max(low, first), min(high, first + len(values))
        while low < high:
            row = low % size
            run = min(high - low, size - row)
            into[row : row + run] = values[low - first : low - first + run]
            low += run

    # --- ticks -----------------------------------------------------------------------------------------------------

    def push(self, slot: int, columns: Columns, values: Values, flags: Flags, read: Read) -> None:
        """Add a slice of some members, each the one after its last.

        Args:
            slot: Its number.
            columns: The members.
            values: The series, shape ``(series, n)``.
            flags: The flags, shape ``(n,)``.
            read: Fills blocks up that have run out.
        """
        self._fill_up(slot, columns, read)
        low, _ = self.bounds(slot)
        if self.full is None and low == slot:
            self.sums[:, self.window_place, columns] = 0
            self.counts[:, columns] = 0
        sums = self.sums[:, :, columns]
        sums += values[:, None, :].astype(sums.dtype)
        for place, length in self._near:
            sums[:, place] -= self._ring[:, (slot - length) % self._ring_size, columns]
        for block, (place, length) in enumerate(self._far):
            sums[:, place] -= self._blocks[block][:, (slot - length) % self.block][:, columns]
        self._ring[:, slot % self._ring_size, columns] = values
        if not isinstance(columns, slice):
            self.sums[:, :, columns] = sums
        if self.full is None:
            self._count(columns, flags, None)
            return
        row = (slot - self.full) % len(self._flags)
        self._count(columns, flags, self._flags[row, columns])
        if self.full <= self._kept:
            self._flags[row, columns] = flags

    def _count(self, columns: Columns, flags: Flags, old: Flags | None) -> None:
        if old is not None and np.array_equal(flags, old):
            return
        for bit in (SEEN, COVERED, EXCLUDED):
            change = (flags >> np.uint8(bit) & 1).astype(np.int64)
            if old is not None:
                change -= old >> np.uint8(bit) & 1
            self.counts[bit, columns] += change

    def _fill_up(self, slot: int, columns: Columns, read: Read) -> None:
        """Fill the blocks up from which the next slice to leave is missing."""
        for block, (_, length) in enumerate(self._far):
            edge = slot - length
            if edge < self._first_until[block]:
                continue
            chosen = np.arange(columns.start, columns.stop) if isinstance(columns, slice) else columns
            out = chosen[self._until[block, chosen] <= edge]
            if len(out):
                self._refill(block, out, edge, read)

    def prepare(self, slots: npt.NDArray[np.int64], read: Read) -> None:
        """Fill blocks up of which little is left.

        Args:
            slots: The next slice of each member, shape ``(n,)``.
            read: Reads what is missing.
        """
        for block, (_, length) in enumerate(self._far):
            edges = slots - length
            out = np.flatnonzero(self._until[block, : len(slots)] - edges <= self.block // 4)
            for edge in np.unique(edges[out]).tolist():
                self._refill(block, out[edges[out] == edge], edge, read)

    def _refill(self, block: int, columns: npt.NDArray[np.int64], edge: int, read: Read) -> None:
        begins = np.maximum(self._until[block, columns], edge)
        end = edge + self.block
        window = self._far[block][0] == self.window_place
        parts = read(columns, int(begins.min()), end)
        for begin in np.unique(begins).tolist():  # most often one: those that run out together were filled together
            chosen = np.flatnonzero(begins == begin)
            some = columns[chosen]
            counts = np.zeros((len(chosen), len(self.sums), end - begin), self._blocks.dtype)
            marks = np.zeros((len(chosen), end - begin), np.uint8)
            for place, number in enumerate(chosen.tolist()):
                first, values, flags = parts[number]
                if len(flags) and not self.wide and int(values[TOTAL].max()) >= NARROW:
                    raise AssertionError("slices that were small when they were handed in have grown since")
                low, high = max(begin, first), min(end, first + len(flags))
                if low < high:
                    for one, counts_of in enumerate(values):
                        counts[place, one, low - begin : high - begin] = counts_of[low - first : high - first]
                    marks[place, low - begin : high - begin] = flags[low - first : high - first]
            rows = np.arange(begin, end)[:, None] % self.block
            for one in range(len(self.sums)):
                self._blocks[block, one][rows, some] = counts[:, one].T
            if window:
                self._flags[rows, some] = marks.T
            self._until[block, some] = end
        self._first_until[block] = int(self._until[block].min())

    def at(self, series: int, place: int, column: int) -> int:
        """One sum, exact."""
        return int(self.sums[series, place, column])
