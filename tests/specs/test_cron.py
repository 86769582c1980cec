"""Cron expressions on the wall clock of a zone."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tightrope.base.errors import UsageError
from tightrope.base.units import parse_time, time_text
from tightrope.specs.cron import parse_cron


def following(text: str, zone: str, after: str, count: int = 1) -> list[str]:
    cron = parse_cron(text, zone)
    found, at = [], parse_time(after)
    for _ in range(count):
        later = cron.after(at)
        assert later is not None
        found.append(time_text(later))
        at = later
    return found


@pytest.mark.parametrize(
    ("text", "after", "then"),
    [
        ("30 2 * * *", "2026-03-01T02:30:00Z", "2026-03-02T02:30:00Z"),
        ("30 2 * * *", "2026-03-01T02:29:59Z", "2026-03-01T02:30:00Z"),
        ("*/10 * * * *", "2026-03-01T02:31:00Z", "2026-03-01T02:40:00Z"),
        ("0 9-17/4 * * mon-fri", "2026-03-06T17:00:00Z", "2026-03-09T09:00:00Z"),
        ("0 0 29 2 *", "2026-03-01T00:00:00Z", "2028-02-29T00:00:00Z"),
        ("0 0 13 * fri", "2026-03-01T00:00:00Z", "2026-03-06T00:00:00Z"),  # either, as crontab(5) has it
        ("@weekly", "2026-03-01T00:00:00Z", "2026-03-08T00:00:00Z"),
        ("0 0 * jan 7", "2026-03-01T00:00:00Z", "2027-01-03T00:00:00Z"),
        ("5,35 1 1 */3 *", "2026-03-01T00:00:00Z", "2026-04-01T01:05:00Z"),
    ],
)
def test_it_happens_when_crontab_says(text: str, after: str, then: str) -> None:
    assert following(text, "UTC", after) == [then]


def test_a_time_that_the_clock_skips_happens_behind_the_change() -> None:
    told = following("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", 2)
    assert told == ["2026-03-29T01:30:00Z", "2026-03-30T00:30:00Z"]


def test_a_time_that_the_clock_repeats_happens_once() -> None:
    told = following("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", 2)
    assert told == ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]


def test_what_happens_every_half_hour_goes_on_while_the_clock_changes() -> None:
    told = following("*/30 * * * *", "Europe/Berlin", "2026-10-25T00:00:00Z", 4)
    assert told == [f"2026-10-25T{time}:00Z" for time in ("00:30", "01:00", "01:30", "02:00")]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("* * * *", "4 fields"),
        ("0 0 0 1 1 *", "seconds"),
        ("60 * * * *", "minute"),
        ("* 24 * * *", "hour"),
        ("* * 0 * *", "day of the month"),
        ("* * * foo *", "month"),
        ("* * * * 8", "day of the week"),
        ("*/0 * * * *", "minute"),
        ("5-1 * * * *", "minute"),
        ("0 0 31 4,6 *", "never happens"),
        ("@reboot", "1 fields"),
    ],
)
def test_what_is_no_cron_expression_is_told_by_its_field(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse_cron(text)


FIELDS = st.tuples(
    st.sampled_from(["*", "0", "*/15", "5,50", "10-20/5"]),
    st.sampled_from(["*", "2", "1-3", "*/6", "0,12"]),
    st.sampled_from(["*", "1", "13", "28-31"]),
    st.sampled_from(["*", "3", "10", "jan-jun"]),
    st.sampled_from(["*", "0", "fri", "1-5"]),
)


@given(
    FIELDS, st.sampled_from(["UTC", "Asia/Kolkata"]), st.integers(parse_time("2026-01-01"), parse_time("2027-01-01"))
)
def test_where_no_clock_changes_every_minute_that_fits_happens_and_no_other(
    fields: tuple[str, ...], zone: str, at: int
) -> None:
    cron = parse_cron(" ".join(fields), zone)
    first = at - at % 60 + 60

    def fits(instant: int) -> bool:
        local = datetime.fromtimestamp(instant, UTC).astimezone(ZoneInfo(zone))
        return local.minute in cron.minutes and local.hour in cron.hours and cron.fits_day(local.date())

    told = cron.after(at)
    naive = next((one for one in range(first, first + 3 * 86_400, 60) if fits(one)), None)
    if naive is not None:
        assert told == naive
    else:
        assert told is None or told >= first + 3 * 86_400
    if told is not None:
        assert cron.last(at, told) == told
        assert cron.last(at, told - 1) is None
