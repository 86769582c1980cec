"""The compiled scan of remote write: the walk over a request and the look-up of its series in machine code.

It finds what `write_request.scan` finds, and reads by a layout what `layouts.read` reads. What does not have the usual
form goes to the same Python code. This module needs numba (the extra ``fast``) and is imported only where it was
chosen; compiled once, the code is kept on disk.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from tightrope.sli.slices import Counts
from tightrope.telemetry.receivers.bodies import Raw
from tightrope.telemetry.receivers.layouts import Layout, overlapping
from tightrope.telemetry.receivers.write_request import Found, fail, other, series, varint_at
from tightrope.telemetry.samples import Book, Values

Bytes = npt.NDArray[np.uint8]
Hashes = npt.NDArray[np.uint64]

# The interpreter is not let go of: another thread may add to the index meanwhile.
_compiled: Callable[[Callable[..., Any]], Callable[..., Any]] = njit(cache=True, error_model="numpy")

_ROOM = 1024
_EMPTY = -1
_PRIME = np.uint64(0x9E3779B97F4A7C15)


class Index:
    """The keys of a book, to be found by compiled code: an open table of hashes, and all keys in one array."""

    def __init__(self) -> None:
        self.count = 0
        self.table = np.full(2 * _ROOM, _EMPTY, np.int64)
        self.hashes = np.zeros(_ROOM, np.uint64)
        self.begins = np.zeros(_ROOM + 1, np.int64)
        self.keys = np.zeros(64 * _ROOM, np.uint8)
        self.words = overlapping(self.keys)

    def follow(self, book: Book) -> None:
        """Take in what was added to the book."""
        if self.count == len(book):
            return
        with book.lock:
            for number in range(self.count, len(book.keys)):
                self._add(np.frombuffer(book.keys[number], np.uint8))

    def _add(self, key: Bytes) -> None:
        if self.count == len(self.hashes):
            self._grow()
        number = self.count
        begin = int(self.begins[number])
        end = begin + len(key)
        if end > len(self.keys):
            self.keys = np.concatenate([self.keys, np.zeros(end + len(self.keys), np.uint8)])
            self.words = overlapping(self.keys)
        self.keys[begin:end] = key
        self.begins[number + 1] = end
        self.hashes[number] = _hash(self.words, begin, end)
        _place(self.table, self.hashes[number], number)
        self.count += 1

    def _grow(self) -> None:
        size = 2 * self.count
        self.hashes = np.concatenate([self.hashes, np.zeros(self.count, np.uint64)])
        self.begins = np.concatenate([self.begins, np.zeros(size + 1 - len(self.begins), np.int64)])
        self.table = np.full(2 * size, _EMPTY, np.int64)
        for number in range(self.count):
            _place(self.table, self.hashes[number], number)


def compiled_scan(raw: bytes, book: Book, found: Found) -> None:
    """Walk over a ``WriteRequest``; see `write_request.scan`."""
    index = book.index
    if not isinstance(index, Index):
        index = book.index = Index()
    buffer = np.frombuffer(raw, np.uint8)
    words = overlapping(buffer)
    size = len(raw)
    most = size // 2 + 2
    numbers, times, bits = np.empty(most, np.int64), np.empty(most, np.int64), np.empty(most, np.uint64)
    stops = np.empty(most, np.int64)
    at = count = 0
    usual = True
    while at < size:
        index.follow(book)
        known = index.count  # first: another thread may add more meanwhile, and then all arrays hold at least these
        at, count = _walk(
            buffer,
            words,
            at,
            known,
            index.table,
            index.hashes,
            index.begins,
            index.words,
            numbers,
            times,
            bits,
            stops,
            count,
        )
        if at == size:
            break
        # Something that does not have the usual form, or a series that is new.
        usual = False
        begin = at
        if raw[at] != 0x0A:
            at = other(raw, at, found)
            continue
        length, at = varint_at(raw, at + 1)
        if at + length > size:
            fail("it is cut off", begin)
        series(raw, at, at + length, book, found)
        at += length
        more = len(found.numbers)
        numbers[count : count + more] = found.numbers
        times[count : count + more] = [time for time, _ in found.odd]
        bits[count : count + more] = np.array([value for _, value in found.odd], np.float64).view(np.uint64)
        count += more
        found.numbers, found.stops, found.odd = [], [], []
    found.arrays = numbers[:count].copy(), times[:count].copy(), bits[:count].view(np.float64).copy()
    found.array_stops = stops[:count].copy() if usual else None


def compiled_read(layout: Layout, raw: Raw) -> tuple[Counts, Values] | None:
    """Read times and values of a body of a layout (`layouts.Read`)."""
    times = np.empty(len(layout.times), np.int64)
    bits = np.empty(len(layout.times), np.uint64)
    alike = _filled(
        raw.buffer.view(np.uint64),
        overlapping(raw.buffer),
        layout.fixed,
        layout.mask,
        layout.times,
        layout.values,
        layout.full is not None,
        times if layout.full is None else layout.full,
        times,
        bits,
    )
    return (times, bits.view(np.float64)) if alike else None


@_compiled
def _filled(
    words: Hashes,
    everywhere: Hashes,
    fixed: Hashes,
    mask: Hashes,
    time_places: Counts,
    value_places: Counts,
    some: bool,
    full: npt.NDArray[Any],
    times: Counts,
    bits: Hashes,
) -> bool:
    """Compare a body with what does not change of its layout, and if it is alike read the rest; tells whether it is."""
    differ = np.uint64(0)
    for at in range(len(words)):
        differ |= (words[at] ^ fixed[at]) & mask[at]
    if differ != 0:
        return False
    before, time = np.uint64(0), np.int64(0)
    value = 0
    for at in range(len(time_places)):
        digits = everywhere[time_places[at]] >> np.uint64(16)
        if digits != before:
            before, time = digits, np.int64(0)
            for place in range(6):
                time |= np.int64((digits >> np.uint64(8 * place)) & np.uint64(127)) << (7 * place)
        times[at] = time
        if some and not full[at]:
            bits[at] = 0
        else:
            bits[at] = everywhere[value_places[value]]
            value += 1
    return True


@_compiled
def _walk(
    raw: Bytes,
    words: Hashes,
    at: int,
    known: int,
    table: Counts,
    hashes: Hashes,
    begins: Counts,
    keys: Hashes,
    numbers: Counts,
    times: Counts,
    bits: Hashes,
    stops: Counts,
    count: int,
) -> tuple[int, int]:
    """Walk while series are known and have one sample of the usual form; tells where it stands, and how many."""
    size = len(raw)
    mask = len(table) - 1
    while at + 2 < size:
        if raw[at] != 0x0A:
            break
        length = int(raw[at + 1])
        begin = at + 2
        if length > 127:
            more = int(raw[at + 2])
            if more > 127:
                break
            length = (length & 127) | (more << 7)
            begin = at + 3
        stop = begin + length
        if stop > size or length <= 9:
            break
        timed = raw[stop - 7] == 0x10 and raw[stop - 1] < 128
        for place in range(stop - 6, stop - 1):
            timed = timed and raw[place] > 127
        if not timed:
            break
        if length > 18 and raw[stop - 17] == 0x10:
            if raw[stop - 18] != 0x12 or raw[stop - 16] != 0x09:
                break
            end = stop - 18
        elif raw[stop - 8] == 0x07 and raw[stop - 9] == 0x12:
            end = stop - 9
        else:
            break
        if end - begin < 8:
            break
        code = _hash(words, begin, end)
        slot = np.int64(code) & mask
        number = table[slot]
        while number != _EMPTY:
            alike = number < known and hashes[number] == code
            if alike and _same(words, begin, end, keys, begins[number], begins[number + 1]):
                break
            slot = (slot + 1) & mask
            number = table[slot]
        if number == _EMPTY:
            break
        numbers[count] = number
        time = np.int64(0)
        for place in range(6):
            time |= (np.int64(raw[stop - 6 + place]) & 127) << (7 * place)
        times[count] = time
        bits[count] = words[stop - 15] if end == stop - 18 else np.uint64(0)
        stops[count] = stop if end == stop - 18 else -stop
        count += 1
        at = stop
    return at, count


@_compiled
def _hash(words: Hashes, begin: int, end: int) -> Any:
    """Mix the bytes from *begin* to *end*, eight at least, the last eight whatever they overlap with."""
    code = np.uint64(end - begin) * _PRIME
    last = end - 8
    at = begin
    while at < last:
        code = (code ^ words[at]) * _PRIME
        code ^= code >> np.uint64(29)
        at += 8
    code = (code ^ words[last]) * _PRIME
    return code ^ (code >> np.uint64(32))


@_compiled
def _same(words: Hashes, begin: int, end: int, keys: Hashes, first: int, last: int) -> bool:
    if end - begin != last - first:
        return False
    differ = words[end - 8] ^ keys[last - 8]
    for at in range(0, end - begin - 8, 8):
        differ |= words[begin + at] ^ keys[first + at]
    return bool(differ == 0)


@_compiled
def _place(table: Counts, code: Any, number: int) -> None:
    mask = len(table) - 1
    slot = np.int64(code) & mask
    while table[slot] != _EMPTY:
        slot = (slot + 1) & mask
    table[slot] = number
