"""Timestamps: ISO 8601 or epoch numbers, read into microseconds since the epoch."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tightrope.base.errors import DataError
from tightrope.sli.slices import Counts, Mask
from tightrope.telemetry.cells import Bad, Bytes, Cells, Numbers, Words, plain_integers
from tightrope.telemetry.options import Options, remembered

MICROS = 1_000_000
"""Microseconds in a second."""

EPOCH_UNITS = {"s": MICROS, "ms": 1000, "us": 1}
END_MICROS = 7_258_118_400 * MICROS
"""The year 2200: a time from then on, or before 1970, is a mistake."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_NUMBER = re.compile(r"[+-]?\d{1,20}(\.\d{1,12})?", re.ASCII)
_LAST_MICRO = 253_402_300_800 * MICROS  # the year 10000
_DATE_AND_TIME = 19  # characters of 2026-03-21T09:40:00
_DAYS_BEFORE_MONTH = np.array([0, 0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334])
_DAYS_OF_MONTH = np.array([0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])


class Stamp(NamedTuple):
    """An instant in microseconds since the epoch; ``zoned``: whether the text names a zone, None: it needs none."""

    micros: int
    zoned: bool | None


def epoch_micros(text: str, unit: str = "") -> int | None:
    """Read an epoch number; None: it is none.

    Without a unit its size tells: below 1e11 it is seconds, below 1e14 ms, below 1e17 µs, else ns.
    """
    if _EPOCH_NUMBER.fullmatch(text) is None:
        return None
    value = Decimal(text)
    size = abs(value)
    if unit == "ns" or (not unit and size >= 10**17):
        micros = int(value // 1000)
    else:
        factor = EPOCH_UNITS[unit] if unit else MICROS if size < 10**11 else 1000 if size < 10**14 else 1
        micros = int((value * factor).to_integral_value("ROUND_FLOOR"))
    return micros if abs(micros) < _LAST_MICRO else None


def read_stamp(text: str) -> Stamp | str:
    """Read one timestamp of any known form; a text in return says why it is none."""
    if not text:
        return "has no time"
    micros = None if len(text) == 8 and text.isdigit() else epoch_micros(text)
    if micros is not None:
        return Stamp(micros, None)
    try:
        moment = datetime.fromisoformat(text.removesuffix(" UTC") + "Z" if text.endswith(" UTC") else text)
    except ValueError:
        return f"has {text[:40]!r} where a time should stand"
    return _stamp(moment)


class StampColumn:
    """Reads the time column of a source, batch by batch, and holds it to one way of naming zones.

    Times with a zone are instants whatever the zone; times without are UTC. Both in one source means that somebody
    is wrong about one of them, by hours, which no later check would find.

    Args:
        layout: Empty for ISO 8601 or epoch numbers, ``s ms us ns`` for epoch numbers of that unit, else a strptime
            pattern such as ``%d/%b/%Y:%H:%M:%S %z``.
    """

    def __init__(self, layout: str = "") -> None:
        self._read: Callable[[str], Stamp | str] = remembered(_reader(layout))
        self._quick = not layout
        self._tails = remembered(_read_tail)
        self._seen: dict[bool, tuple[str, int]] = {}

    def instants(self, cells: Cells, file: str, lines: Counts) -> tuple[Counts, Bad]:
        """Read a batch; bad rows hold 0.

        Raises:
            DataError: Some times of the source name a zone and others don't.
        """
        if self._quick:
            narrow = _narrow(cells)
            if narrow is not None:
                return self._by_column(narrow, file, lines)
        return self._one_by_one(cells.words(), file, lines)

    def _one_by_one(self, words: Sequence[str], file: str, lines: Counts) -> tuple[Counts, Bad]:
        micros = np.zeros(len(words), np.int64)
        bad: Bad = {}
        for row, word in enumerate(words):
            stamp = self._read(word)
            if isinstance(stamp, str):
                bad[row] = stamp
                continue
            micros[row] = stamp.micros
            if stamp.zoned is not None:
                self._note(stamp.zoned, file, int(lines[row]))
        return micros, bad

    def _by_column(self, cells: Bytes, file: str, lines: Counts) -> tuple[Counts, Bad]:
        characters = cells.characters
        micros = np.zeros(len(cells), np.int64)
        width = characters.shape[1]
        numbers, known = plain_integers(characters[:, :_DATE_AND_TIME])
        known &= numbers >= 10**8  # eight digits are a date
        if known.any():
            size = np.where(known, numbers, 0)
            factors = np.select([size < 10**11, size < 10**14, size < 10**17], [MICROS, 1000, 1], 0)
            micros = np.where(factors > 0, size * factors, size // 1000)
        if width >= _DATE_AND_TIME and not known.all():
            dated, seconds = _calendar_seconds(characters)
            dated &= ~known
            tails = _tails_of(characters)
            if tails.dtype.itemsize and len(tails) and (tails == tails[0]).all():
                tails = tails[:1]
            ends = [self._tails(tail.decode("latin-1")) for tail in tails.tolist()]
            shift = np.array([0 if isinstance(end, str) else end.micros for end in ends], np.int64)
            dated &= np.array([not isinstance(end, str) for end in ends])
            zoned = np.array([not isinstance(end, str) and end.zoned is True for end in ends])
            micros = np.where(dated, seconds * MICROS + shift, micros)
            for kind in (True, False):
                of_kind = np.flatnonzero(dated & (zoned == kind))
                if len(of_kind):
                    self._note(kind, file, int(lines[of_kind[0]]))
            known |= dated
        odd = np.flatnonzero(~known)
        bad: Bad = {}
        if len(odd):
            micros[odd], odd_bad = self._one_by_one(Bytes(cells.cells[odd]).words(), file, lines[odd])
            bad = {int(odd[row]): why for row, why in odd_bad.items()}
        return micros, bad

    def _note(self, zoned: bool, file: str, line: int) -> None:
        self._seen.setdefault(zoned, (file, line))
        if len(self._seen) == 2:
            with_zone, without = self._seen[True], self._seen[False]
            raise DataError(
                f"mixed zones: {with_zone[0]}:{with_zone[1]} names a zone, {without[0]}:{without[1]} does not",
                remedy="write every time with a zone (2026-03-21T09:40:00Z), or none of them, which means UTC",
            )


def stamp_layout(options: Options) -> str:
    """Read how times are written: ``timestampUnit`` or a strptime ``timestampFormat``, else empty."""
    unit = options.text("timestampUnit", "")
    layout = options.text("timestampFormat", "")
    if unit and unit not in ("s", "ms", "us", "ns"):
        raise options.wrong(f"timestampUnit is {unit!r}", "it can be s, ms, us or ns")
    if layout and "%" not in layout:
        remedy = "write a strptime pattern such as %d/%m/%Y %H:%M:%S; ISO 8601 needs none"
        raise options.wrong(f"timestampFormat is {layout!r}", remedy)
    if unit and layout:
        raise options.wrong("timestampUnit and timestampFormat exclude each other", "keep one of them")
    return unit or layout


def _reader(layout: str) -> Callable[[str], Stamp | str]:
    if not layout:
        return read_stamp
    if layout in EPOCH_UNITS or layout == "ns":

        def epoch(text: str) -> Stamp | str:
            micros = epoch_micros(text, layout)
            return f"has {text[:40]!r} where epoch {layout} should stand" if micros is None else Stamp(micros, None)

        return epoch

    def by_pattern(text: str) -> Stamp | str:
        try:
            return _stamp(datetime.strptime(text, layout))  # noqa: DTZ007  without a zone it is UTC
        except ValueError:
            return f"has {text[:40]!r} where a time like {layout} should stand"

    return by_pattern


def _stamp(moment: datetime) -> Stamp:
    zoned = moment.tzinfo is not None
    if not zoned:
        moment = moment.replace(tzinfo=UTC)
    return Stamp((moment - _EPOCH) // timedelta(microseconds=1), zoned)


def _narrow(cells: Cells) -> Bytes | None:
    if isinstance(cells, Bytes):
        return cells if 0 < cells.cells.dtype.itemsize <= 40 else None
    if isinstance(cells, Words):
        try:
            array = np.array(cells.words(), dtype=np.bytes_)
        except UnicodeEncodeError:
            return None
        return Bytes(array) if len(array) and array.dtype.itemsize <= 40 else None
    return _narrow(Words(cells.words())) if isinstance(cells, Numbers) else None


def _tails_of(characters: npt.NDArray[np.uint8]) -> npt.NDArray[np.bytes_]:
    rest = np.ascontiguousarray(characters[:, _DATE_AND_TIME:])
    if rest.shape[1] == 0:
        return np.zeros(len(rest), "S1")
    return rest.view(f"S{rest.shape[1]}").reshape(len(rest))


def _read_tail(tail: str) -> Stamp | str:
    # What follows the seconds, put behind a known second and read by the same reader as everything else.
    stamp = read_stamp("1970-01-02T00:00:00" + tail)
    return stamp if isinstance(stamp, str) else Stamp(stamp.micros - 86400 * MICROS, stamp.zoned)


def _calendar_seconds(characters: npt.NDArray[np.uint8]) -> tuple[Mask, Counts]:
    """Read ``YYYY-MM-DDTHH:MM:SS`` in the first 19 bytes of each row; the mask says which rows have that form."""
    fits = (characters[:, 10] == ord("T")) | (characters[:, 10] == ord(" "))
    for at, mark in ((4, "-"), (7, "-"), (13, ":"), (16, ":")):
        fits &= characters[:, at] == ord(mark)
    parts = []
    for first, last in ((0, 4), (5, 7), (8, 10), (11, 13), (14, 16), (17, 19)):
        part = np.zeros(len(characters), np.int64)
        for at in range(first, last):
            digit = characters[:, at] - np.uint8(48)
            fits &= digit < 10
            part = part * 10 + digit
        parts.append(part)
    year, month, day, hour, minute, second = parts
    fits &= (year >= 1) & (month >= 1) & (month <= 12) & (day >= 1) & (hour < 24) & (minute < 60) & (second < 60)
    month = np.where(fits, month, 1)
    leap = (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
    fits &= day <= _DAYS_OF_MONTH[month] + (leap & (month == 2))
    before = year - 1
    days = before * 365 + before // 4 - before // 100 + before // 400 - 719_162
    days += _DAYS_BEFORE_MONTH[month] + (leap & (month > 2)) + day - 1
    return fits, ((days * 24 + hour) * 60 + minute) * 60 + second
