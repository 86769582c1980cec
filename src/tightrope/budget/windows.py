"""Windows: the stretch a promise covers, rolling or on a calendar in a time zone."""

from __future__ import annotations

from calendar import monthrange
from datetime import timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from tightrope.base.units import instant_of
from tightrope.specs.model import CalendarWindow, RollingWindow, Window

_MONTHS = {"M": 1, "Q": 3, "Y": 12}
_DAYS = {"d": 1, "w": 7}


def period(window: CalendarWindow, at: int) -> tuple[int, int]:
    """Tell the calendar period that contains *at*, as ``(start, end)`` in UTC epoch seconds, end exclusive.

    Periods are steps of the window's duration on the wall clock of its zone, counted from its start time in both
    directions, so a day of 23 hours is 23 hours long. Minutes and hours are steps of true time. A start on the 31st is
    the last day of shorter months.
    """
    guess = _periods_since(window, at)
    start, end = _boundary(window, guess), _boundary(window, guess + 1)
    while at < start:
        guess, end = guess - 1, start
        start = _boundary(window, guess)
    while at >= end:
        guess, start = guess + 1, end
        end = _boundary(window, guess + 1)
    return start, end


def span(window: Window, at: int, step_s: int = 0) -> tuple[int, int]:
    """Tell the full window that holds *at*: a rolling one ends there, a calendar period may run on.

    Args:
        window: Rolling or calendar.
        at: UTC epoch seconds.
        step_s: Where *at* is the end of a slice, how long that is: the period is then the one in which the slice
            starts, so that a month still shows its account at the instant it is over. 0: any instant.
    """
    if isinstance(window, RollingWindow):
        return at - window.duration.seconds, at
    return period(window, at - step_s)


def periods(window: CalendarWindow, start: int, end: int) -> tuple[tuple[int, int], ...]:
    """List the calendar periods that overlap ``[start, end]``, oldest first."""
    found = [period(window, start)]
    while found[-1][1] <= end:
        found.append(period(window, found[-1][1]))
    return tuple(found)


def _periods_since(window: CalendarWindow, at: int) -> int:
    """Guess how many periods lie between the window's start time and *at*; off by a few at most."""
    origin = instant_of(window.start_time, ZoneInfo(window.time_zone))
    return (at - origin) // max(1, window.duration.seconds)


@lru_cache(maxsize=4096)
def _boundary(window: CalendarWindow, number: int) -> int:
    count, unit = window.duration.count * number, window.duration.unit
    if unit in _MONTHS:
        months = window.start_time.month - 1 + count * _MONTHS[unit]
        year, month = window.start_time.year + months // 12, months % 12 + 1
        day = min(window.start_time.day, _days_in_month(year, month))
        return instant_of(window.start_time.replace(year=year, month=month, day=day), ZoneInfo(window.time_zone))
    if unit in _DAYS:
        return instant_of(window.start_time + timedelta(days=count * _DAYS[unit]), ZoneInfo(window.time_zone))
    return instant_of(window.start_time, ZoneInfo(window.time_zone)) + window.duration.seconds * number


def _days_in_month(year: int, month: int) -> int:
    return monthrange(year, month)[1]
