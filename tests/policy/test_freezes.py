"""Freezes: iCalendar read rightly across zones and changes of clocks, bounded, and clear about what is broken."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.policy.worlds import calendar, freeze
from tightrope.base.errors import Place, SpecError, TightropeError
from tightrope.base.units import parse_time, time_text
from tightrope.policy import calendars
from tightrope.policy.calendars import spans
from tightrope.policy.freezes import check, freezes_at, kinds_allowed, next_freezes
from tightrope.specs.model import ChangeKind, FreezeCalendar

OFFICE = """BEGIN:VTIMEZONE
TZID:Office
BEGIN:STANDARD
DTSTART:19701025T030000
TZOFFSETFROM:+0200
TZOFFSETTO:+0100
RRULE:FREQ=YEARLY;BYMONTH=10;BYDAY=-1SU
END:STANDARD
BEGIN:DAYLIGHT
DTSTART:19700329T020000
TZOFFSETFROM:+0100
TZOFFSETTO:+0200
RRULE:FREQ=YEARLY;BYMONTH=3;BYDAY=-1SU
END:DAYLIGHT
END:VTIMEZONE
"""


def told(text: str, year: int = 2025) -> list[tuple[str, str]]:
    """The stretches of a calendar, as text to the minute."""
    return [(time_text(one.starts_at)[:16], time_text(one.ends_at)[:16]) for one in spans(text, year)]


# --- zones and clocks --------------------


def test_a_night_freeze_ends_at_its_wall_clock_time_when_the_clocks_change() -> None:
    nightly = calendar(
        "DTSTART;TZID=Europe/Berlin:20250328T220000\nDTEND;TZID=Europe/Berlin:20250329T060000\nRRULE:FREQ=DAILY;COUNT=4"
    )
    assert told(nightly) == [
        ("2025-03-28T21:00", "2025-03-29T05:00"),
        ("2025-03-29T21:00", "2025-03-30T04:00"),  # 7 hours: 02:00 to 03:00 did not happen
        ("2025-03-30T20:00", "2025-03-31T04:00"),
        ("2025-03-31T20:00", "2025-04-01T04:00"),
    ]


def test_a_duration_in_hours_is_exact_and_one_in_days_is_days() -> None:
    hours = calendar("DTSTART;TZID=Europe/Berlin:20251025T120000\nDURATION:PT24H")
    days = calendar("DTSTART;TZID=Europe/Berlin:20251025T120000\nDURATION:P1D")
    assert told(hours) == [("2025-10-25T10:00", "2025-10-26T10:00")]
    assert told(days) == [("2025-10-25T10:00", "2025-10-26T11:00")]  # the night of 25 hours


def test_a_whole_day_has_the_hours_of_its_zone() -> None:
    sunday = "DTSTART;VALUE=DATE:20251102"
    assert told(calendar(sunday, head="X-WR-TIMEZONE:America/New_York\n")) == [("2025-11-02T04:00", "2025-11-03T05:00")]
    assert told(calendar(sunday)) == [("2025-11-02T00:00", "2025-11-03T00:00")]


def test_floating_times_take_the_zone_of_the_calendar_or_utc() -> None:
    event = "DTSTART:20250310T000000\nDTEND:20250310T030000"
    assert told(calendar(event)) == [("2025-03-10T00:00", "2025-03-10T03:00")]
    assert told(calendar(event, head="X-WR-TIMEZONE:America/New_York\n")) == [("2025-03-10T04:00", "2025-03-10T07:00")]


@pytest.mark.parametrize(
    ("local", "utc"),
    [
        ("20250330T023000", "2025-03-30T01:30"),  # left out: read with the offset before, 03:30 summer time
        ("20251026T023000", "2025-10-26T00:30"),  # twice: the first one
    ],
)
def test_local_times_that_do_not_exist_or_come_twice_are_read_as_the_standard_says(local: str, utc: str) -> None:
    text = calendar(f"DTSTART;TZID=Europe/Berlin:{local}\nDURATION:PT4H")
    assert told(text)[0][0] == utc


def test_a_weekly_rule_stays_on_its_local_hour_in_new_york() -> None:
    weekly = calendar(
        "DTSTART;TZID=America/New_York:20250307T170000\nDURATION:PT1H\nRRULE:FREQ=WEEKLY;UNTIL=20250314T210000Z"
    )
    assert told(weekly) == [("2025-03-07T22:00", "2025-03-07T23:00"), ("2025-03-14T21:00", "2025-03-14T22:00")]


def test_a_calendar_may_define_its_own_zone_and_use_names_of_windows() -> None:
    text = calendar(
        "DTSTART;TZID=Office:20250730T000000\nDTEND;TZID=W. Europe Standard Time:20250730T030000", head=OFFICE
    )
    assert told(text) == [("2025-07-29T22:00", "2025-07-30T01:00")]


def test_the_zones_of_one_calendar_are_unknown_to_the_next() -> None:
    event = "DTSTART;TZID=Office:20250730T000000\nDURATION:PT1H"
    assert told(calendar(event, head=OFFICE))
    with pytest.raises(TightropeError, match="line 5: DTSTART: no time zone is called 'Office'"):
        spans(calendar(event), 2025)


@given(
    st.datetimes(datetime(2024, 1, 1), datetime(2026, 12, 31), timezones=st.none()),
    st.integers(1, 72),
    st.sampled_from(["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata"]),
)
def test_an_exact_duration_is_exact_wherever_the_clocks_change(begin: datetime, hours: int, zone: str) -> None:
    text = calendar(f"DTSTART;TZID={zone}:{begin:%Y%m%dT%H%M%S}\nDURATION:PT{hours}H")
    (found,) = spans(text, begin.year - 1)
    assert found.ends_at - found.starts_at == hours * 3600


# --- recurrence --------------------


def test_rules_extra_dates_exceptions_and_moved_occurrences_add_up() -> None:
    text = calendar(
        "UID:1\nDTSTART:20250103T120000Z\nDTEND:20250103T130000Z\nRRULE:FREQ=WEEKLY;COUNT=5\n"
        "EXDATE:20250110T120000Z\nRDATE:20250111T120000Z\nRDATE;VALUE=PERIOD:20250112T000000Z/PT2H",
        "UID:1\nRECURRENCE-ID:20250117T120000Z\nDTSTART:20250118T090000Z\nDTEND:20250118T100000Z",
        "UID:1\nRECURRENCE-ID:20250124T120000Z\nDTSTART:20250124T120000Z\nDTEND:20250124T130000Z\nSTATUS:CANCELLED",
        "UID:2\nDTSTART:20250601T000000Z\nDURATION:PT1H\nSTATUS:CANCELLED",
    )
    assert told(text) == [
        ("2025-01-03T12:00", "2025-01-03T13:00"),
        ("2025-01-11T12:00", "2025-01-11T13:00"),
        ("2025-01-12T00:00", "2025-01-12T02:00"),
        ("2025-01-18T09:00", "2025-01-18T10:00"),
        ("2025-01-31T12:00", "2025-01-31T13:00"),
    ]


def test_a_date_takes_out_every_occurrence_of_its_local_day() -> None:
    text = calendar(
        "DTSTART;TZID=Asia/Kolkata:20250101T010000\nDURATION:PT1H\nRRULE:FREQ=DAILY;COUNT=3\nEXDATE;VALUE=DATE:20250102"
    )
    assert told(text, 2024) == [("2024-12-31T19:30", "2024-12-31T20:30"), ("2025-01-02T19:30", "2025-01-02T20:30")]


def test_a_whole_day_rule_ends_with_the_day_of_its_until() -> None:
    text = calendar("DTSTART;VALUE=DATE:20250224\nRRULE:FREQ=MONTHLY;BYDAY=-1MO;UNTIL=20250428")
    assert [begin[:10] for begin, _ in told(text)] == ["2025-02-24", "2025-03-31", "2025-04-28"]


def test_a_leap_day_comes_every_four_years() -> None:
    text = calendar("DTSTART;VALUE=DATE:20240229\nRRULE:FREQ=YEARLY")
    assert told(text, 2026) == []
    assert told(text, 2027) == [("2028-02-29T00:00", "2028-03-01T00:00")]


def test_events_that_meet_are_one_stretch() -> None:
    text = calendar(
        "DTSTART;VALUE=DATE:20251224\nDTEND;VALUE=DATE:20251227\nSUMMARY:Holidays",
        "DTSTART:20251227T000000Z\nDTEND:20260102T080000Z",
    )
    assert told(text) == [("2025-12-24T00:00", "2026-01-02T08:00")]
    assert spans(text, 2025)[0].summary == "Holidays"


@given(
    st.sampled_from(["DAILY", "WEEKLY", "MONTHLY", "YEARLY"]),
    st.integers(1, 5),
    st.dates(datetime(2023, 1, 1).date(), datetime(2025, 12, 31).date()),
)
def test_a_bounded_rule_agrees_with_the_library_run_directly(frequency: str, interval: int, begin: object) -> None:
    from dateutil.rrule import rrulestr

    start = datetime.fromisoformat(str(begin))
    rule = f"FREQ={frequency};INTERVAL={interval}"
    text = calendar(f"DTSTART:{start:%Y%m%dT%H%M%S}Z\nDURATION:PT1H\nRRULE:{rule}")
    direct = rrulestr(rule, dtstart=start).between(datetime(2025, 1, 1), datetime(2026, 12, 31, 23), inc=True)
    expected = [int(one.replace(tzinfo=UTC).timestamp()) for one in direct]
    assert [one.starts_at for one in spans(text, 2025)] == expected


# --- what is broken --------------------


@pytest.mark.parametrize(
    ("event", "message"),
    [
        ("DTSTART:2025033\nDURATION:PT1H", "line 5: DTSTART: cannot be read"),
        ("DTSTART;VALUE=DATE:20251301", "line 5: DTSTART: cannot be read"),
        ("UID:1\nSUMMARY:x\nDTSTART:20250101T000000Z\nDURATION:PX", "line 8: DURATION: cannot be read"),
        ("UID:1\nthis is junk", "line 6: VEVENT: cannot be read"),
        ("UID:1", "line 4: DTSTART: the event has no beginning"),
        ("DTSTART:20250101T000000Z", "line 5: DTSTART: the event has no DTEND or DURATION"),
        ("DTSTART:20250101T000000Z\nDURATION:-PT1H", "line 6: DURATION: the event ends before it begins"),
        ("DTSTART:20250101T000000Z\nDTEND:20250101T000000Z", "line 6: DTEND: the event ends before it begins"),
        ("DTSTART:20250101T000000Z\nDTEND;VALUE=DATE:20250102", "line 6: DTEND: DTSTART and DTEND are not of one kind"),
        ("DTSTART:20250101T000000Z\nDTEND:20250102T000000Z\nDURATION:P1D", "DURATION: the event has both"),
        ("DTSTART:18000101T000000Z\nDURATION:P1D", "DTSTART: the year 1800 is out of reach"),
        ("DTSTART;TZID=Mars/Base:20250101T000000\nDURATION:P1D", "DTSTART: no time zone is called 'Mars/Base'"),
        ("DTSTART:20250101T000000Z\nDURATION:P1D\nEXRULE:FREQ=DAILY", "line 7: EXRULE: EXRULE is not supported"),
        ("DTSTART:20250101T000000Z\nDURATION:P1D\nEXDATE:soon", "line 7: EXDATE: cannot be read"),
        (
            "DTSTART:20250101T000000Z\nDURATION:P1D\nRECURRENCE-ID;RANGE=THISANDFUTURE:20250101",
            "RANGE is not supported",
        ),
    ],
)
def test_a_broken_event_names_line_and_property(event: str, message: str) -> None:
    with pytest.raises(TightropeError) as caught:
        calendars.check(calendar(event))
    assert message in caught.value.message
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("FREQ=SECONDLY", "FREQ=SECONDLY is not supported"),
        ("FREQ=HOURLY;COUNT=3", "FREQ=HOURLY is not supported"),
        ("FREQ=WEKLY", "cannot be read"),
        ("BYDAY=MO", "FREQ=(none) is not supported"),
        ("FREQ=DAILY;INTERVAL=0", "INTERVAL is below 1"),
        ("FREQ=DAILY;COUNT=0", "COUNT is below 1"),
        ("FREQ=DAILY;COUNT=2;UNTIL=20260101T000000Z", "has both COUNT and UNTIL"),
        ("FREQ=DAILY;UNTIL=20240101T000000Z", "the rule never happens"),
        ("FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30", "the rule never happens"),
        ("FREQ=DAILY;COLOUR=red", "cannot be read"),
    ],
)
def test_a_broken_rule_names_line_and_fault(rule: str, message: str) -> None:
    with pytest.raises(TightropeError) as caught:
        calendars.check(calendar(f"DTSTART:20250101T000000Z\nDURATION:PT1H\nRRULE:{rule}"))
    assert caught.value.message.startswith("line 7: RRULE: ")
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not an iCalendar text"),
        ("<html></html>", "not an iCalendar text"),
        ("BEGIN:VCALENDAR\nBEGIN:VEVENT\nUID:1\n", "line 3: END: the text ends inside VEVENT"),
        ("BEGIN:VCALENDAR\nEND:VEVENT\nEND:VCALENDAR\n", "line 2: END: END:VEVENT closes nothing"),
        (calendar(head="X-WR-TIMEZONE:Mars/Base\n"), "X-WR-TIMEZONE: no time zone is called 'Mars/Base'"),
        (calendar(head=OFFICE.replace("TZOFFSETFROM:+0200\n", "")), "mandatory TZOFFSETFROM not found"),
        (calendar(head=OFFICE.replace("FREQ=YEARLY;BYMONTH=10", "FREQ=SECONDLY")), "line 10: RRULE: is no rule for a"),
        (f"BEGIN:VCALENDAR\n{'X' * calendars.LONGEST_TEXT}", "a calendar of 1,000,016 characters"),
    ],
)
def test_a_text_that_is_no_calendar_is_refused_clearly(text: str, message: str) -> None:
    with pytest.raises(TightropeError) as caught:
        calendars.check(text)
    assert message in caught.value.message


def test_a_calendar_with_too_many_occurrences_is_refused_not_expanded() -> None:
    minutes = ",".join(map(str, range(60)))
    bomb = calendar(
        f"DTSTART:20250101T000000Z\nDURATION:PT1S\nRRULE:FREQ=DAILY;COUNT=999999999;BYHOUR=1,2,3;BYMINUTE={minutes}"
    )
    with pytest.raises(TightropeError, match="line 7: RRULE: the calendar has more than 20,000 occurrences"):
        spans(bomb, 2025)


def test_an_endless_rule_and_a_huge_count_are_cut_at_the_horizon() -> None:
    for rule in ("FREQ=DAILY", "FREQ=DAILY;COUNT=2000000000"):
        text = calendar(f"DTSTART:20250101T000000Z\nDURATION:PT1H\nRRULE:{rule}")
        assert len(spans(text, 2025)) == 730


@given(st.text(alphabet="BEGIN:ENDVCALRUTZ;=,0123456789-+PTHW\n\t é", max_size=200))
def test_no_text_makes_the_reader_stumble(noise: str) -> None:
    for text in (noise, calendar(noise), calendar(f"DTSTART:20250101T000000Z\nDURATION:PT1H\nRRULE:{noise}")):
        try:
            spans(text, 2025)
        except TightropeError as error:
            assert error.remedy  # noqa: PT017 - one of two outcomes


# --- which freeze holds --------------------

HOLIDAYS = calendar("DTSTART;VALUE=DATE:20251224\nDTEND;VALUE=DATE:20260102\nSUMMARY:Holidays\nRRULE:FREQ=YEARLY")


@pytest.mark.parametrize(
    ("at", "holds"),
    [
        ("2025-12-23T23:59:59Z", False),
        ("2025-12-24T00:00:00Z", True),
        ("2026-01-01T23:59:59Z", True),
        ("2026-01-02T00:00:00Z", False),
        ("2031-12-31T12:00:00Z", True),
    ],
)
def test_a_freeze_holds_from_its_begin_to_just_before_its_end(at: str, holds: bool) -> None:
    assert bool(freezes_at([freeze(HOLIDAYS)], "checkout", "production", parse_time(at))) is holds


def test_a_freeze_over_new_year_ends_in_the_new_year() -> None:
    (found,) = freezes_at([freeze(HOLIDAYS)], "checkout", "production", parse_time("2025-12-31"))
    assert time_text(found.ends_at) == "2026-01-02T00:00:00Z"
    assert found.reason == "Holidays"


def test_the_next_freeze_is_found_a_year_ahead() -> None:
    (coming,) = next_freezes([freeze(HOLIDAYS)], "checkout", "production", parse_time("2026-01-02"))
    assert time_text(coming.starts_at) == "2026-12-24T00:00:00Z"


def test_a_freeze_covers_its_services_and_environments_only() -> None:
    mine = freeze(HOLIDAYS, services=frozenset({"checkout"}), environments=frozenset({"production"}))
    at = parse_time("2025-12-25")
    assert freezes_at([mine], "checkout", "production", at)
    assert not freezes_at([mine], "search", "production", at)
    assert not freezes_at([mine], "checkout", "staging", at)
    assert not next_freezes([mine], "search", "production", at)


def test_several_freezes_allow_what_all_of_them_allow() -> None:
    one = freeze(HOLIDAYS, "one", frozenset({ChangeKind.SECURITY, ChangeKind.RELIABILITY}))
    two = freeze(HOLIDAYS, "two", frozenset({ChangeKind.SECURITY, ChangeKind.CONFIG}))
    found = freezes_at([two, one], "checkout", "production", parse_time("2025-12-25"))
    assert [freeze.name for freeze in found] == ["one", "two"]
    assert kinds_allowed(found) == {ChangeKind.SECURITY}
    assert kinds_allowed([]) == frozenset(ChangeKind)


def test_a_broken_calendar_is_a_finding_at_the_place_of_the_spec() -> None:
    broken = FreezeCalendar("sale", calendar("DTSTART:soon"), frozenset(), place=Place("policy.yaml", 12, 5))
    for ask in (lambda: check(broken), lambda: freezes_at([broken], "a", "b", 0)):
        with pytest.raises(SpecError) as caught:
            ask()
        assert caught.value.place == Place("policy.yaml", 12, 5)
        assert "freeze 'sale', line 5: DTSTART" in caught.value.message


def test_every_instant_of_a_year_is_frozen_or_not_as_the_spans_say() -> None:
    weekend = freeze(
        calendar(
            "DTSTART;TZID=Europe/Berlin:20250103T180000\nDTEND;TZID=Europe/Berlin:20250106T080000\n"
            "RRULE:FREQ=WEEKLY;BYDAY=FR"
        )
    )
    from zoneinfo import ZoneInfo

    begin = datetime(2025, 3, 1, tzinfo=UTC)
    for hour in range(24 * 60):
        moment = begin + timedelta(hours=hour)
        local = moment.astimezone(ZoneInfo("Europe/Berlin"))
        minute_of_week = local.weekday() * 24 + local.hour
        expected = minute_of_week >= 4 * 24 + 18 or minute_of_week < 8
        assert bool(freezes_at([weekend], "a", "b", int(moment.timestamp()))) is expected, local
