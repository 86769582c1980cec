"""Exact numbers, durations and instants, read from text and written for people."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, tzinfo
from fractions import Fraction

from tightrope.base.errors import UsageError
from tightrope.base.values import dataclass

MINUTE_S = 60
HOUR_S = 3600
DAY_S = 86400
WEEK_S = 7 * DAY_S

_UNIT_S = {
    "s": 1,
    "m": MINUTE_S,
    "h": HOUR_S,
    "d": DAY_S,
    "w": WEEK_S,
    "M": 30 * DAY_S,
    "Q": 90 * DAY_S,
    "Y": 365 * DAY_S,
}
_DURATION = re.compile(r"^(\d+)([smhdwMQY])$")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_YEAR = 2200


@dataclass(frozen=True, slots=True)
class Duration:
    """A number of one unit: ``s m h d w M Q Y`` (OpenSLO's duration shorthand, and seconds for our own kinds)."""

    count: int
    unit: str

    @property
    def seconds(self) -> int:
        """Length in seconds; a month is 30 d, a quarter 90 d, a year 365 d (OpenSLO SDK): for rolling windows only."""
        return self.count * _UNIT_S[self.unit]

    def __str__(self) -> str:
        return f"{self.count}{self.unit}"


def parse_duration(text: str) -> Duration:
    """Read ``28d``, ``1h``, ``5m``, ``1M``; raises `UsageError` for anything else."""
    match = _DURATION.match(text.strip())
    if match is None:
        raise UsageError(
            f"{text!r} is not a duration",
            remedy="write a whole number and one unit of s m h d w M Q Y, such as 5m, 6h or 28d",
        )
    return Duration(int(match[1]), match[2])


def duration_text(seconds: int) -> str:
    """Write seconds as the largest whole unit of ``d h m s``: 3600 is ``1h``, 5400 is ``90m``."""
    for unit, size in (("d", DAY_S), ("h", HOUR_S), ("m", MINUTE_S)):
        if seconds and seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def span_text(seconds: float) -> str:
    """Write a stretch of time for a person, two units at most: ``2 h 36 m``, ``4.2 d``, ``36.7 min``."""
    sign = "−" if seconds < 0 else ""
    seconds = abs(seconds)
    if seconds < 100:
        return f"{sign}{seconds:.0f} s"
    if seconds < 100 * MINUTE_S:
        return f"{sign}{seconds / MINUTE_S:.1f} min"
    if seconds < 2 * DAY_S:
        hours, minutes = divmod(round(seconds / MINUTE_S), 60)
        return f"{sign}{hours} h {minutes} m" if minutes else f"{sign}{hours} h"
    return f"{sign}{seconds / DAY_S:.1f} d"


def percent_text(share: Fraction | float, digits: int = 1) -> str:
    """Write a share for a person: ``−12.4 %`` with a true minus; never a minus before what is shown as nothing."""
    value = float(share) * 100
    text = f"{abs(value):,.{digits}f}"
    return f"{'−' if value < 0 and float(text.replace(',', '')) else ''}{text} %"


def parse_fraction(text: str) -> Fraction:
    """Read a decimal, a ratio ``3/4`` or a percentage ``25 %`` exactly; raises `UsageError`."""
    stripped = text.strip().replace("_", "")
    try:
        if stripped.endswith("%"):
            return Fraction(stripped[:-1].strip()) / 100
        return Fraction(stripped)
    except (ValueError, ZeroDivisionError):
        raise UsageError(
            f"{text!r} is not a number", remedy="write a decimal such as 0.25, or a percentage such as 25%"
        ) from None


def parse_time(text: str) -> int:
    """Read an instant as UTC epoch seconds: ISO 8601 (UTC unless it says) or epoch seconds.

    Raises:
        UsageError: It is neither, or lies outside the years 1970 to 2200, where only a mistake can lead.
    """
    stripped = text.strip()
    if re.fullmatch(r"-?\d+", stripped, re.ASCII) and len(stripped) != 8:
        return _sensible(int(stripped[:40]), text)
    try:
        moment = datetime.fromisoformat(stripped)
    except ValueError:
        raise UsageError(
            f"{text!r} is not a time", remedy="write ISO 8601 such as 2026-03-21T09:40:00Z, or epoch seconds"
        ) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return _sensible((moment - _EPOCH) // timedelta(seconds=1), text)


def _sensible(epoch_s: int, text: str) -> int:
    """The instant, if telemetry can speak of it; milliseconds and their like are told apart by their size."""
    last = instant_of(datetime(_LAST_YEAR, 1, 1), UTC)
    if 0 <= epoch_s < last:
        return epoch_s
    remedy = f"give an instant from 1970 to {_LAST_YEAR - 1}"
    for parts, called in ((1_000, "milliseconds"), (1_000_000, "microseconds"), (1_000_000_000, "nanoseconds")):
        if text.strip().isdecimal() and last <= epoch_s < last * parts:
            remedy = f"it looks like {called}; write {time_text(epoch_s // parts)} or {epoch_s // parts}"
            break
    raise UsageError(f"the time {text.strip()[:40]} is not between 1970 and {_LAST_YEAR}", remedy=remedy)


def instant_of(local: datetime, zone: tzinfo) -> int:
    """Tell the instant of a naive wall-clock time, UTC epoch seconds.

    A time that the clock skips is read with the offset before the change, so it lies as far behind the change as it
    says; of a repeated one the first is meant, or the second where ``fold`` is 1.
    """
    return (local.replace(tzinfo=zone) - _EPOCH) // timedelta(seconds=1)


def time_text(epoch_s: int) -> str:
    """Write UTC epoch seconds as ISO 8601 with ``Z``."""
    moment = _EPOCH + timedelta(seconds=epoch_s)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ") if moment.year >= 1000 else moment.isoformat().replace("+00:00", "Z")


def first_reached(since: int, after_s: int, begin: int, step_s: int) -> int:
    """Tell the first step, not before *begin*, at which something true *since* has held for *after_s*."""
    return max(begin, since - (-after_s // step_s) * step_s)
