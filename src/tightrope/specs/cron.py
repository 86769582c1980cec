"""Cron expressions on the wall clock of a zone: five fields, as crontab(5) has them.

A time that the clock skips in spring still happens, as far behind the change as it says. Of a time that the clock
repeats in autumn the first counts; where the hour is ``*`` both do, so that what runs every ten minutes goes on.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from tightrope.base.errors import UsageError
from tightrope.base.units import instant_of
from tightrope.base.values import dataclass

_MONTHS = {
    name: number
    for number, name in enumerate("jan feb mar apr may jun jul aug sep oct nov dec".split(), 1)  # noqa: SIM905  shorter
}
_WEEKDAYS = {name: number for number, name in enumerate("sun mon tue wed thu fri sat".split())}  # noqa: SIM905  shorter
_NAMED = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_FIELDS: tuple[tuple[str, int, int, Mapping[str, int]], ...] = (
    ("minute", 0, 59, {}),
    ("hour", 0, 23, {}),
    ("day of the month", 1, 31, {}),
    ("month", 1, 12, _MONTHS),
    ("day of the week", 0, 7, _WEEKDAYS),
)
_HORIZON_DAYS = 366 * 8 + 40
"""Between two 29ths of February lie eight years where a century is no leap year."""


@dataclass(frozen=True, slots=True)
class Cron:
    """A recurrence: the minutes, hours, days, months and weekdays (0 is Sunday) that it fits, and its zone.

    ``either_day``: both the day of the month and the weekday were limited, and a day needs to fit one of them only.
    """

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either_day: bool
    every_hour: bool
    zone: str = "UTC"

    def fits_day(self, day: date) -> bool:
        """Whether it happens on this day at all."""
        if day.month not in self.months:
            return False
        of_month, of_week = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return of_month or of_week if self.either_day else of_month and of_week

    def instants(self, day: date) -> list[int]:
        """All instants that belong to a day of the zone, oldest first, UTC epoch seconds."""
        zone = ZoneInfo(self.zone)
        found = set()
        for hour in self.hours:
            for minute in self.minutes:
                local = datetime(day.year, day.month, day.day, hour, minute)
                found.add(instant_of(local, zone))
                if self.every_hour:
                    found.add(instant_of(local.replace(fold=1), zone))
        return sorted(found)

    def after(self, instant: int) -> int | None:
        """The first instant that lies after *instant*, UTC epoch seconds; None if there is none within eight years."""
        day = datetime.fromtimestamp(instant, UTC).astimezone(ZoneInfo(self.zone)).date() - timedelta(days=1)
        for _ in range(_HORIZON_DAYS):
            if self.fits_day(day):
                later = next((one for one in self.instants(day) if one > instant), None)
                if later is not None:
                    return later
            day += timedelta(days=1)
        return None

    def last(self, since: int, until: int) -> int | None:
        """The newest instant after *since* and not after *until*; None if there is none."""
        zone = ZoneInfo(self.zone)
        day = datetime.fromtimestamp(until, UTC).astimezone(zone).date() + timedelta(days=1)
        first = max(since, until - _HORIZON_DAYS * 86400)
        stop = datetime.fromtimestamp(first, UTC).astimezone(zone).date() - timedelta(days=1)
        while day >= stop:
            if self.fits_day(day):
                earlier = [one for one in self.instants(day) if since < one <= until]
                if earlier:
                    return earlier[-1]
            day -= timedelta(days=1)
        return None


def parse_cron(text: str, zone: str = "UTC") -> Cron:
    """Read ``30 2 * * mon-fri``, or ``@daily`` and its like.

    Raises:
        UsageError: It is no cron expression, or one that never happens; the message says which field is wrong.
    """
    shown = text.strip()
    fields = _NAMED.get(shown.lower(), shown).split()
    if len(fields) != 5:
        hint = "its six fields hold seconds, which cron does not know" if len(fields) == 6 else f"{len(fields)} fields"
        raise UsageError(
            f"{shown!r} is no cron expression: {hint}",
            remedy="write minute, hour, day of the month, month and day of the week, such as 30 2 * * mon-fri",
        )
    sets = [frozenset(_numbers(word, *known)) for word, known in zip(fields, _FIELDS, strict=True)]
    minutes, hours, days, months, weekdays = sets
    found = Cron(
        minutes=minutes,
        hours=hours,
        days=days,
        months=months,
        weekdays=frozenset(number % 7 for number in weekdays),
        either_day=not fields[2].startswith("*") and not fields[4].startswith("*"),
        every_hour=fields[1].startswith("*"),
        zone=zone,
    )
    if not found.either_day and not any(day <= _longest(month) for day in days for month in months):
        raise UsageError(
            f"{shown!r} never happens: no such month has a day {min(days)}", remedy="write a day that the month has"
        )
    return found


def _longest(month: int) -> int:
    return 29 if month == 2 else 30 if month in {4, 6, 9, 11} else 31


def _numbers(word: str, name: str, low: int, high: int, names: Mapping[str, int]) -> Iterator[int]:
    for part in word.split(","):
        match = re.fullmatch(r"(\*|[0-9a-z]+(?:-[0-9a-z]+)?)(?:/([0-9]{1,4}))?", part.lower(), re.ASCII)
        if match is None:
            raise _refused(part, name, low, high, names)
        span, step = match[1], int(match[2]) if match[2] else 1
        first, _, last = (f"{low}-{high}" if span == "*" else span).partition("-")
        begin = _number(first, part, name, low, high, names)
        end = _number(last, part, name, low, high, names) if last else high if match[2] else begin
        if step < 1 or end < begin:
            raise _refused(part, name, low, high, names)
        yield from range(begin, end + 1, step)


def _number(text: str, part: str, name: str, low: int, high: int, names: Mapping[str, int]) -> int:
    number = names.get(text, int(text) if text.isdecimal() and len(text) <= 4 else -1)
    if not low <= number <= high:
        raise _refused(part, name, low, high, names)
    return number


def _refused(part: str, name: str, low: int, high: int, names: Mapping[str, int]) -> UsageError:
    words = f", or {next(iter(names))} and its like" if names else ""
    return UsageError(
        f"{part[:40]!r} is no {name}", remedy=f"write numbers from {low} to {high}{words}: 5, 1-5, 1,3,5, * or */10"
    )
