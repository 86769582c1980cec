"""Telemetry behind the worked numbers of the literature, rebuilt as records."""

from __future__ import annotations

from fractions import Fraction

from tests.oracle.reference import Record, Row
from tightrope.base.units import DAY_S, HOUR_S, MINUTE_S, Duration
from tightrope.specs.model import RollingWindow

MONTH = RollingWindow(Duration(30, "d"))
THREE_NINES = Fraction(999, 1000)
SLICE_TARGET = Fraction(99, 100)


def flip() -> Record:
    """30 d of minutes with 1000 requests each, on which the three methods disagree.

    20 minutes of full outage, 600 minutes at 2 % errors, and 60 minutes with 5 requests of which one fails.
    """
    steady = 30 * 24 * 60 - 20 - 600 - 60
    parts = [(steady, Row(0, 1000)), (20, Row(1000, 1000)), (600, Row(20, 1000)), (60, Row(1, 5))]
    return Record(0, MINUTE_S, tuple(row for times, row in parts for _ in range(times)))


def day_and_night(days: list[Row], nights: list[Row]) -> Record:
    """30 d of five-minute slices, half of each day busy and half quiet; both lists hold 30 * 144 slices."""
    rows: list[Row] = []
    for day in range(30):
        rows += days[day * 144 : (day + 1) * 144]
        rows += nights[day * 144 : (day + 1) * 144]
    return Record(0, 5 * MINUTE_S, tuple(rows))


def rare_errors_at_night() -> Record:
    """10,000 requests by day with 5 errors, 20 by night; 233 slices of the nights lose one request each."""
    nights = [Row(1 if n * 233 // 4320 != (n + 1) * 233 // 4320 else 0, 20) for n in range(4320)]
    return day_and_night([Row(5, 10_000)] * 4320, nights)


def outage_at_peak() -> Record:
    """The same traffic without an error, but for one hour by day in which every second request fails."""
    days = [Row(5000 if 1440 <= n < 1452 else 0, 10_000) for n in range(4320)]
    return day_and_night(days, [Row(0, 20)] * 4320)


def constant_errors(bad: int, total: int, step_s: int, quiet_s: int, length_s: int) -> Record:
    """*quiet_s* of clean traffic, then *length_s* in which *bad* of *total* fail in every slice."""
    return Record(0, step_s, (Row(0, total),) * (quiet_s // step_s) + (Row(bad, total),) * (length_s // step_s))


DETECTION = (
    # bad, total, condition, step, exact time to detect in seconds
    (1, 1, "page-1h", 1, Fraction(5184, 100)),  # the "52 s" of the book
    (1, 10, "page-1h", 1, Fraction(5184, 10)),  # 8.6 min
    (2, 100, "page-1h", 12, Fraction(2592)),  # 43 min
    (2, 1000, "ticket-3d", 300, Fraction(36 * HOUR_S)),
    (144, 10_000, "page-1h", 60, Fraction(HOUR_S)),
    (144, 10_000, "ticket-1d", 300, Fraction(5 * HOUR_S)),
    (1, 100, "page-6h", 60, Fraction(36, 10) * HOUR_S),
    (6, 1000, "page-6h", 60, Fraction(6 * HOUR_S)),
    (3, 1000, "ticket-1d", 300, Fraction(DAY_S)),
    (1, 1000, "ticket-3d", 900, Fraction(3 * DAY_S)),
)

RESET = (
    # condition, step, length of the full outage (the long lookback is full of it), exact time to reset in seconds
    ("page-1h", 1, HOUR_S, 5 * MINUTE_S * (1 - Fraction(144, 10_000))),  # 4.9 min
    ("page-6h", 10, 6 * HOUR_S, 30 * MINUTE_S * (1 - Fraction(6, 1000))),  # 30 min
    ("ticket-3d", 60, 3 * DAY_S, 6 * HOUR_S * (1 - Fraction(1, 1000))),  # 6 h
)
