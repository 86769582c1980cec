"""The bytes of a ``WriteRequest``, Prometheus' remote write 1.0: a scan that finds series and samples in them.

A sender repeats the labels of a series with every sample, byte for byte. So the bytes are the key: the labels of a
series are read when they are seen first, and from then on a sample costs one look-up. Times and values are then read
from all samples at once.
"""

from __future__ import annotations

import struct
from collections import Counter
from dataclasses import dataclass, field
from typing import NoReturn

import numpy as np
import numpy.typing as npt

from tightrope.base.errors import UsageError
from tightrope.sli.slices import Counts
from tightrope.telemetry.samples import Book, Samples, Values, label_bytes
from tightrope.telemetry.selectors import NAME

_SAMPLE_BYTES, _ZERO_BYTES = 18, 9  # a sample of today with its tag and length; a value of 0 is left out
_MASK = (1 << 64) - 1

Bytes = npt.NDArray[np.uint8]


@dataclass(slots=True)
class Found:
    """Samples as a scan meets them.

    ``stops`` tells where the sample ends, if it has the usual form; below 0: it ends there and has the value 0; 0: the
    next of ``odd`` is meant. A scan that reads times and values itself hands out ``arrays``: series, times and values;
    and ``array_stops``, if all have the usual form.
    """

    numbers: list[int] = field(default_factory=list)
    stops: list[int] = field(default_factory=list)
    odd: list[tuple[int, float]] = field(default_factory=list)
    unsupported: Counter[str] = field(default_factory=Counter)
    arrays: tuple[Counts, Counts, Values] | None = None
    array_stops: Counts | None = None

    def ends(self) -> Counts | None:
        """The stops of all samples; None: some have no usual form, or there is more than samples."""
        if self.unsupported or self.odd or (self.arrays is not None and self.array_stops is None):
            return None
        stops = np.array(self.stops, np.int64) if self.array_stops is None else self.array_stops
        return stops if len(stops) else None

    def clear(self) -> None:
        """Forget everything, to scan again."""
        self.numbers, self.stops, self.odd = [], [], []
        self.unsupported = Counter()

    def samples(self, raw: bytes, book: Book) -> Samples:
        """Read times and values of all samples at once."""
        if self.arrays is not None:
            return Samples(book, *self.arrays)
        numbers, stops = np.array(self.numbers, np.int64), np.array(self.stops, np.int64)
        times = np.zeros(len(numbers), np.int64)
        values = np.zeros(len(numbers), np.float64)
        buffer = np.frombuffer(raw, np.uint8)
        usual = np.flatnonzero(stops > 0)
        if len(usual):
            tails = buffer[stops[usual, None] + np.arange(-_SAMPLE_BYTES, 0)]
            values[usual] = np.ascontiguousarray(tails[:, 3:11]).view("<f8")[:, 0]
            times[usual] = _six_bytes(tails[:, 12:])
        zeros = np.flatnonzero(stops < 0)
        if len(zeros):
            times[zeros] = _six_bytes(buffer[-stops[zeros, None] + np.arange(-6, 0)])
        others = np.flatnonzero(stops == 0)
        if len(others):
            times[others] = [time for time, _ in self.odd]
            values[others] = np.array([value for _, value in self.odd], np.float64)
        return Samples(book, numbers, times, values)


def _six_bytes(digits: Bytes) -> Counts:
    """Read varints of six bytes: milliseconds from 2004 to 2109."""
    places = 7 * np.arange(6, dtype=np.int64)
    times: Counts = ((digits & 127).astype(np.int64) << places).sum(axis=1)
    return times


def scan(raw: bytes, book: Book, found: Found) -> None:
    """Walk over a ``WriteRequest``.

    Raises:
        UsageError: It is malformed.
        IndexError: It is cut off.
    """
    try:
        _scan_quickly(raw, book, found)
        usual = _usual(raw, found)
    except (UsageError, IndexError):
        usual = False
    if not usual:
        found.clear()
        _scan_slowly(raw, book, found)


def _scan_quickly(raw: bytes, book: Book, found: Found) -> None:
    """Walk over a request, and take a series that is known for one with a sample of the usual form."""
    find = book.numbers.get
    number_of, stop_of = found.numbers.append, found.stops.append
    at, size = 0, len(raw)
    while at < size:
        begin = at
        if raw[at] != 0x0A:
            at = other(raw, at, found)
            continue
        length = raw[at + 1]
        at += 2
        if length > 127:
            more = raw[at]
            if more > 127:
                length, at = varint_at(raw, at - 1)
            else:
                length = length & 127 | more << 7
                at += 1
        stop = at + length
        if stop > size:
            fail("it is cut off", begin)
        # A usual series has labels that are known, and one sample. Two of its bytes are looked at here to tell which
        # form that has; all of them are, for all samples at once, in `_usual`.
        if length > _SAMPLE_BYTES and raw[stop - 17] == 0x10:
            number = find(raw[at : stop - _SAMPLE_BYTES])
            if number is not None:
                number_of(number)
                stop_of(stop)
                at = stop
                continue
        elif length > _ZERO_BYTES and raw[stop - 8] == 0x07:
            number = find(raw[at : stop - _ZERO_BYTES])
            if number is not None:
                number_of(number)
                stop_of(-stop)
                at = stop
                continue
        series(raw, at, stop, book, found)
        at = stop


def _usual(raw: bytes, found: Found) -> bool:
    """Whether what was taken for usual samples are such, byte by byte."""
    buffer = np.frombuffer(raw, np.uint8)
    stops = np.array(found.stops, np.int64)
    ends = np.abs(stops[stops != 0])
    digits = buffer[ends[:, None] + np.arange(-7, 0)]
    timed = (digits[:, 0] == 0x10) & (digits[:, 1:6] > 127).all(axis=1) & (digits[:, 6] < 128)
    valued = stops[stops > 0]
    full = (buffer[valued - 18] == 0x12) & (buffer[valued - 16] == 0x09)
    empty = buffer[-stops[stops < 0] - 9] == 0x12
    return bool(timed.all() and full.all() and empty.all())


def _scan_slowly(raw: bytes, book: Book, found: Found) -> None:
    """Walk over a request whose samples have unusual forms."""
    at, size = 0, len(raw)
    while at < size:
        begin = at
        if raw[at] != 0x0A:
            at = other(raw, at, found)
            continue
        length, at = varint_at(raw, at + 1)
        if at + length > size:
            fail("it is cut off", begin)
        series(raw, at, at + length, book, found)
        at += length


def series(raw: bytes, at: int, stop: int, book: Book, found: Found) -> None:
    """Read one series of any form: labels, samples, and what is not used of it."""
    begin = at
    labels: list[tuple[int, int]] = []  # from the tag to the end
    samples: list[tuple[int, float]] = []
    while at < stop:
        field_at = at
        tag, at = varint_at(raw, at)
        if tag in {0x0A, 0x12, 0x1A, 0x22}:
            length, at = varint_at(raw, at)
            end = at + length
            if end > stop:
                fail("a field of a series reaches beyond it", field_at)
            if tag == 0x0A:
                labels.append((field_at, end))
            elif tag == 0x12:
                samples.append(_sample(raw, at, end))
            else:
                found.unsupported["exemplars" if tag == 0x1A else "native histograms"] += 1
            at = end
        else:
            at = _skipped(raw, at, tag, stop)
    key = b"".join(raw[first:last] for first, last in labels)
    number = book.numbers.get(key)
    if number is None:
        number = book.add(key, _labels(raw, labels, begin))
    found.numbers += [number] * len(samples)
    found.stops += [0] * len(samples)
    found.odd += samples


def _labels(raw: bytes, fields: list[tuple[int, int]], place: int) -> bytes:
    """Read the labels of a series that is seen first, and check them; hands them out in one form."""
    labels: dict[str, str] = {}
    seen: set[str] = set()
    for first, last in fields:
        _, at = varint_at(raw, first + 1)
        pair = {0x0A: "", 0x12: ""}
        while at < last:
            tag, at = varint_at(raw, at)
            if tag not in pair:
                at = _skipped(raw, at, tag, last)
                continue
            length, at = varint_at(raw, at)
            if at + length > last:
                fail("a field of a label reaches beyond it", first)
            try:
                pair[tag] = raw[at : at + length].decode()
            except UnicodeDecodeError:
                fail("a label is not UTF-8", at)
            at += length
        name, value = pair[0x0A], pair[0x12]
        if not name:
            fail("a label has no name", first)
        if name in seen:
            fail(f"a series has the label {name!r} twice", first)
        seen.add(name)
        labels[name] = value
    if not labels.get(NAME):
        fail("a series has no __name__", place)
    return label_bytes(labels)


def _sample(raw: bytes, at: int, end: int) -> tuple[int, float]:
    value, time = 0.0, 0
    while at < end:
        tag, at = varint_at(raw, at)
        if tag == 0x09:
            if at + 8 > end:
                fail("a sample is cut off", at)
            value = struct.unpack_from("<d", raw, at)[0]
            at += 8
        elif tag == 0x10:
            time, at = varint_at(raw, at)
            time = time - (1 << 64) if time >> 63 else time
        else:
            at = _skipped(raw, at, tag, end)
    if at != end:
        fail("a field of a sample reaches beyond it", at)
    return time, value


def other(raw: bytes, at: int, found: Found) -> int:
    """Pass over a field of the request that is no series."""
    tag, at = varint_at(raw, at)
    if tag >> 3 == 1:
        fail("a series is not a message", at)
    if tag == 0x1A:
        found.unsupported["metadata"] += 1
    return _skipped(raw, at, tag, len(raw))


def _skipped(raw: bytes, at: int, tag: int, end: int) -> int:
    """Pass over the content of a field that is not known."""
    wire = tag & 7
    begin = at
    if tag >> 3 == 0:
        fail("a field has the number 0", begin)
    if wire == 0:
        _, at = varint_at(raw, at)
    elif wire == 1:
        at += 8
    elif wire == 2:
        length, at = varint_at(raw, at)
        at += length
    elif wire == 5:
        at += 4
    else:
        fail(f"a field has the wire type {wire}", begin)
    if at > end:
        fail("a field reaches beyond what holds it", begin)
    return at


def varint_at(raw: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    begin = at
    while True:
        byte = raw[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value & _MASK, at
        shift += 7
        if shift > 63:
            fail("a number is longer than ten bytes", begin)


def fail(why: str, at: int) -> NoReturn:
    raise UsageError(
        f"the body is no WriteRequest of remote write: {why}, at byte {at}",
        remedy="check that the sender speaks Prometheus remote write 1.0",
    )
