"""Exclusions unrolled: recurrence on the wall clock, the end of a rule, and rules that would never end."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from fractions import Fraction

import pytest

from tightrope.base.errors import DataError
from tightrope.base.units import DAY_S, HOUR_S, Duration, parse_time, time_text
from tightrope.loop.exclusions import stretches_of
from tightrope.specs.model import BudgetingMethod, Exclusion, Objective, RollingWindow, Slo

SHOP = Slo(
    "shop-up", "shop", BudgetingMethod.OCCURRENCES, RollingWindow(Duration(28, "d")), (Objective(Fraction(9, 10)),)
)
NIGHTLY = Exclusion("nightly", datetime(2026, 3, 1, 2), HOUR_S, "America/New_York", "FREQ=DAILY")


def begins(exclusion: Exclusion, since: str, until: str, known_at: int | None = None) -> list[str]:
    found = stretches_of([exclusion], SHOP, parse_time(since), parse_time(until), known_at=known_at)
    assert all(end - begin == exclusion.duration_s for begin, end in found)
    return [time_text(begin)[:16] for begin, _ in found]


def test_a_rule_runs_on_the_wall_clock() -> None:
    rule = replace(NIGHTLY, starts_at=datetime(2026, 3, 7, 4))
    assert begins(rule, "2026-03-07", "2026-03-10") == ["2026-03-07T09:00", "2026-03-08T08:00", "2026-03-09T08:00"]


def test_an_until_in_utc_ends_the_rule_at_that_instant() -> None:
    # 2026-03-04T02:00 in New York is 07:00 UTC: an UNTIL of 05:00Z on that day comes before it.
    rule = replace(NIGHTLY, rrule="FREQ=DAILY;UNTIL=20260304T050000Z")
    assert begins(rule, "2026-03-01", "2026-03-10") == ["2026-03-01T07:00", "2026-03-02T07:00", "2026-03-03T07:00"]
    east = replace(rule, time_zone="Asia/Tokyo", rrule="FREQ=DAILY;UNTIL=20260302T170000Z")
    assert begins(east, "2026-02-27", "2026-03-10") == ["2026-02-28T17:00", "2026-03-01T17:00", "2026-03-02T17:00"]


def test_an_until_that_is_a_date_takes_the_whole_day() -> None:
    rule = replace(NIGHTLY, rrule="FREQ=DAILY;UNTIL=20260302")
    assert begins(rule, "2026-03-01", "2026-03-10") == ["2026-03-01T07:00", "2026-03-02T07:00"]


def test_a_rule_is_seen_across_the_years() -> None:
    rule = replace(NIGHTLY, starts_at=datetime(2019, 12, 31), time_zone="UTC", rrule="FREQ=YEARLY")
    assert begins(rule, "2021-06-01", "2026-06-01") == [f"{year}-12-31T00:00" for year in range(2021, 2026)]


def test_an_occurrence_that_reaches_into_the_stretch_counts() -> None:
    rule = replace(
        NIGHTLY, starts_at=datetime(2025, 12, 31, 12), time_zone="UTC", duration_s=2 * DAY_S, rrule="FREQ=YEARLY"
    )
    assert begins(rule, "2026-01-01", "2026-01-02") == ["2025-12-31T12:00"]
    assert begins(rule, "2026-01-03", "2026-01-04") == []


def test_occurrences_that_meet_are_declared_one_by_one() -> None:
    rule = replace(
        NIGHTLY,
        starts_at=datetime(2026, 3, 1),
        time_zone="UTC",
        duration_s=DAY_S,
        declared_at=parse_time("2026-03-02T09:00Z"),
    )
    at = parse_time("2026-03-05")
    assert begins(rule, "2026-03-01", "2026-03-05", at) == ["2026-03-03T00:00", "2026-03-04T00:00"]
    assert len(begins(replace(rule, retroactive=True), "2026-03-01", "2026-03-05", at)) == 4
    assert begins(rule, "2026-03-01", "2026-03-05", parse_time("2026-03-02")) == []


def test_once_is_once() -> None:
    assert begins(replace(NIGHTLY, rrule=""), "2026-02-01", "2026-04-01") == ["2026-03-01T07:00"]


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ("FREQ=MINUTELY", "FREQ=MINUTELY is not supported"),
        ("FREQ=HOURLY;INTERVAL=2", "FREQ=HOURLY is not supported"),
        ("FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30", "never happens"),
        ("FREQ=DAILY;BYMINUTE=" + ",".join(str(minute) for minute in range(60)), "more than 20,000 occurrences"),
    ],
)
def test_a_rule_that_would_take_long_is_refused_at_once(rule: str, says: str) -> None:
    old = replace(NIGHTLY, starts_at=datetime(2000, 1, 1, 2), rrule=rule)
    with pytest.raises(DataError, match=f"^exclusion nightly: .*{says}") as caught:
        begins(old, "2026-03-01", "2026-03-02")
    assert caught.value.remedy
    assert "line " not in caught.value.message


def test_a_daily_rule_of_long_ago_is_soon_done() -> None:
    old = replace(NIGHTLY, starts_at=datetime(2000, 1, 1, 2), rrule="FREQ=DAILY")
    assert len(begins(old, "2026-03-01", "2026-03-31")) == 30
