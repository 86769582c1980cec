"""Blackout hours: days and hours on the wall clock, past midnight, and on the days the clocks change."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tightrope.base.units import parse_time, time_text
from tightrope.policy.blackouts import blackouts_at, next_blackouts
from tightrope.specs.model import BlackoutHours, ChangeKind

EVERY_DAY = frozenset(range(7))


def hours(begin: str, end: str, days: frozenset[int] = EVERY_DAY, zone: str = "Europe/Berlin") -> BlackoutHours:
    first, last = (int(clock[:2]) * 60 + int(clock[3:]) for clock in (begin, end))
    return BlackoutHours("quiet", days, first, last, zone, frozenset({ChangeKind.SECURITY}))


def stretch(blackout: BlackoutHours, at: str) -> tuple[str, str] | None:
    found = blackouts_at([blackout], "production", parse_time(at))
    return (time_text(found[0].starts_at)[:16], time_text(found[0].ends_at)[:16]) if found else None


def test_the_end_is_not_part_of_the_hours() -> None:
    office = hours("09:00", "17:00", zone="UTC")
    assert stretch(office, "2026-03-12T08:59:59Z") is None
    assert stretch(office, "2026-03-12T09:00:00Z") == ("2026-03-12T09:00", "2026-03-12T17:00")
    assert stretch(office, "2026-03-12T17:00:00Z") is None


def test_hours_past_midnight_belong_to_the_day_they_begin_on() -> None:
    friday_night = hours("22:00", "06:00", frozenset({4}), "UTC")
    assert stretch(friday_night, "2026-03-14T05:59:59Z") == ("2026-03-13T22:00", "2026-03-14T06:00")
    assert stretch(friday_night, "2026-03-13T05:00:00Z") is None


@pytest.mark.parametrize(
    ("begin", "end", "at", "expected"),
    [
        # Berlin, 30 March 2025: 02:00 to 03:00 is left out.
        ("22:00", "06:00", "2025-03-30T00:00:00Z", ("2025-03-29T21:00", "2025-03-30T04:00")),
        ("02:30", "04:00", "2025-03-30T01:00:00Z", ("2025-03-30T01:00", "2025-03-30T02:00")),
        ("01:00", "02:30", "2025-03-30T00:30:00Z", ("2025-03-30T00:00", "2025-03-30T01:00")),
        ("02:15", "02:45", "2025-03-30T01:00:00Z", None),
        # Berlin, 26 October 2025: 02:00 to 03:00 comes twice.
        ("22:00", "06:00", "2025-10-26T00:00:00Z", ("2025-10-25T20:00", "2025-10-26T05:00")),
        ("02:15", "02:45", "2025-10-26T00:30:00Z", ("2025-10-26T00:15", "2025-10-26T01:45")),
    ],
)
def test_the_wall_clock_decides_when_clocks_change(
    begin: str, end: str, at: str, expected: tuple[str, str] | None
) -> None:
    assert stretch(hours(begin, end), at) == expected


def test_the_hours_move_with_new_york_while_berlin_has_not_changed_yet() -> None:
    office = hours("09:00", "10:00", zone="America/New_York")
    assert stretch(office, "2026-03-06T14:30:00Z") == ("2026-03-06T14:00", "2026-03-06T15:00")
    assert stretch(office, "2026-03-09T13:30:00Z") == ("2026-03-09T13:00", "2026-03-09T14:00")


def test_days_that_meet_are_one_stretch() -> None:
    weekend = hours("00:00", "00:00", frozenset({5, 6}), "UTC")
    assert stretch(weekend, "2026-03-15T12:00:00Z") == ("2026-03-14T00:00", "2026-03-16T00:00")


def test_the_next_hours_are_found_within_a_week() -> None:
    thursday = hours("09:00", "10:00", frozenset({3}), "UTC")
    (coming,) = next_blackouts([thursday], "production", parse_time("2026-03-12T09:00:00Z"))
    assert time_text(coming.starts_at) == "2026-03-19T09:00:00Z"


def test_hours_of_another_environment_do_not_count() -> None:
    staging = BlackoutHours("quiet", EVERY_DAY, 0, 0, "UTC", frozenset(), frozenset({"staging"}))
    assert not blackouts_at([staging], "production", 0)
    assert not next_blackouts([staging], "production", 0)
    assert blackouts_at([staging], "staging", 0)


@given(
    st.integers(0, 1439),
    st.integers(0, 1439),
    st.sets(st.integers(0, 6), min_size=1).map(frozenset),
    st.sampled_from(["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC"]),
    st.integers(int(datetime(2025, 1, 1, tzinfo=UTC).timestamp()), int(datetime(2026, 1, 1, tzinfo=UTC).timestamp())),
)
def test_the_local_time_tells_whether_it_is_dark(
    first: int, last: int, days: frozenset[int], zone: str, at: int
) -> None:
    local = datetime.fromtimestamp(at, tz=ZoneInfo(zone))
    changing = {(at + shift) for shift in (-7200, 7200)}
    if len({datetime.fromtimestamp(one, tz=ZoneInfo(zone)).utcoffset() for one in changing}) > 1:
        return  # the hours around a change of clocks have tests of their own
    minute, today, yesterday = local.hour * 60 + local.minute, local.weekday(), (local.weekday() - 1) % 7
    if last > first:
        expected = today in days and first <= minute < last
    else:
        expected = (today in days and minute >= first) or (yesterday in days and minute < last)
    blackout = BlackoutHours("quiet", days, first, last, zone, frozenset())
    assert bool(blackouts_at([blackout], "production", at)) is expected
