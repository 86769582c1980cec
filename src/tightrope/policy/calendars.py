"""iCalendar text (RFC 5545) as stretches of time: recurrence, exceptions and time zones resolved, within bounds."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import lru_cache
from typing import Any, NoReturn
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from tightrope.base.errors import TightropeError
from tightrope.base.units import instant_of
from tightrope.base.values import dataclass, field

LONGEST_TEXT = 1_000_000
"""Characters of a calendar that are read; more is refused."""

MOST_OCCURRENCES = 20_000
"""Occurrences of one calendar that are looked at, from its first DTSTART on; more is refused."""

_FREQUENCIES = ("DAILY", "WEEKLY", "MONTHLY", "YEARLY")
_CLOCK_CHANGE = re.compile(r"FREQ=YEARLY(;(BYMONTH|BYDAY|BYMONTHDAY|BYYEARDAY|INTERVAL|UNTIL|COUNT|WKST)=[^;]*)*")
_FIRST_YEAR, _LAST_YEAR = 1900, 2999
_GREGORIAN_CYCLE = 400  # years after which dates and weekdays repeat exactly


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of time ``[starts_at, ends_at)`` in UTC epoch seconds, and what the calendar calls it."""

    starts_at: int
    ends_at: int
    summary: str = ""


def spans(text: str, year: int) -> tuple[Span, ...]:
    """Tell the stretches of a calendar that touch *year* or the one after it: oldest first, joined where they meet.

    Recurrence runs on the wall clock of the event's zone. An occurrence with DTEND ends at the same wall-clock time as
    the first one did, as calendar programs draw it; with DURATION, days are days of the wall clock and hours are exact.
    Floating times and whole days are those of X-WR-TIMEZONE, or of UTC where the calendar names no zone. A local time
    that a change of clocks leaves out is read with the offset before the change; of a repeated one the first is meant.

    Raises:
        TightropeError: The calendar can't be read, or has too many occurrences; names line and property.

    Source:
        RFC 5545, 3.3.5 (local times), 3.3.10 and 3.8.5 (recurrence), 3.8.4.4 (RECURRENCE-ID).
    """
    return _spans(text, year)


def check(text: str) -> None:
    """Read a calendar only to find out whether it can be read; raises `TightropeError` naming line and property."""
    _events(text)


# --- occurrences -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Rule:
    """An RRULE without its UNTIL, and the last local time at which an occurrence may begin."""

    text: str
    until: datetime | None
    line: int


@dataclass(frozen=True, slots=True)
class _Added:
    """An RDATE: a local start, and an end of its own if it is a period."""

    start: datetime
    ends_at: int | None


@dataclass(frozen=True, slots=True)
class _Left:
    """Occurrences taken out: by instant, or by local date."""

    instants: frozenset[int] = frozenset()
    days: frozenset[date] = frozenset()

    def __or__(self, other: _Left) -> _Left:
        return _Left(self.instants | other.instants, self.days | other.days)


@dataclass(frozen=True, slots=True)
class _Event:
    """A VEVENT as plain values. ``first_ends_at`` is exact; ``wall_length`` and ``exact_s`` give the later ends."""

    uid: str
    summary: str
    start: datetime
    zone: tzinfo
    first_ends_at: int
    wall_length: timedelta
    exact_s: int
    rules: tuple[_Rule, ...]
    added: tuple[_Added, ...]
    left: _Left
    replaces: _Left | None
    cancelled: bool


@lru_cache(maxsize=256)
def _spans(text: str, year: int) -> tuple[Span, ...]:
    begin, end = instant_of(_new_year(year), UTC), instant_of(_new_year(year + 2), UTC)
    events = _events(text)
    replaced: dict[str, _Left] = {}
    for event in events:
        if event.replaces is not None:
            replaced[event.uid] = replaced.get(event.uid, _Left()) | event.replaces
    found: list[Span] = []
    looked_at = 0
    for event in events:
        if event.cancelled:
            continue
        left = event.left if event.replaces is not None else event.left | replaced.get(event.uid, _Left())
        for start, ends_at, line in _occurrences(event, _new_year(year + 2) + timedelta(days=2)):
            looked_at += 1
            if looked_at > MOST_OCCURRENCES:
                _fail(
                    line,
                    "RRULE",
                    f"the calendar has more than {MOST_OCCURRENCES:,} occurrences before {year + 2}",
                    "begin DTSTART later, or end the rule by UNTIL or COUNT",
                )
            starts_at = instant_of(start, event.zone)
            if starts_at in left.instants or start.date() in left.days:
                continue
            if ends_at > starts_at and ends_at > begin and starts_at < end:
                found.append(Span(starts_at, ends_at, event.summary))
    return _joined(found)


def _occurrences(event: _Event, horizon: datetime) -> Iterator[tuple[datetime, int, int]]:
    """Local starts before *horizon* with their ends, each start once, and the line of the rule that made it."""
    seen = {event.start}
    if event.start < horizon:
        yield event.start, event.first_ends_at, 0
    for rule in event.rules:
        for start in _recurrences(rule, event.start, horizon):
            if start not in seen:
                seen.add(start)
                yield start, _ends_at(event, start), rule.line
    for added in event.added:
        if added.start not in seen and added.start < horizon:
            seen.add(added.start)
            yield added.start, _ends_at(event, added.start) if added.ends_at is None else added.ends_at, 0


def _ends_at(event: _Event, start: datetime) -> int:
    return instant_of(start + event.wall_length, event.zone) + event.exact_s


def _recurrences(rule: _Rule, start: datetime, horizon: datetime) -> Iterator[datetime]:
    """Local starts of a rule before *horizon*.

    The rule runs some multiple of 400 years later, where every date has the same weekday: a rule that matches nothing
    (30 February) then meets the end of the calendar after at most 400 years, not after 8,000.
    """
    from dateutil.rrule import rrulestr

    years = (9998 - max(horizon.year, start.year + 1)) // _GREGORIAN_CYCLE * _GREGORIAN_CYCLE
    for found in rrulestr(rule.text, dtstart=start.replace(year=start.year + years)):
        occurrence = found.replace(year=found.year - years)
        if occurrence >= horizon or (rule.until is not None and occurrence > rule.until):
            return
        yield occurrence


def _joined(found: list[Span]) -> tuple[Span, ...]:
    joined: list[Span] = []
    for span in sorted(found, key=lambda span: (span.starts_at, span.ends_at, span.summary)):
        if joined and span.starts_at <= joined[-1].ends_at:
            last = joined[-1]
            joined[-1] = Span(last.starts_at, max(last.ends_at, span.ends_at), last.summary or span.summary)
        else:
            joined.append(span)
    return tuple(joined)


# --- reading -----------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Lines:
    """Where things stand in the text: for each VEVENT its first line, and the lines of its properties by name."""

    begins: list[int] = field(default_factory=list)
    properties: list[dict[str, list[int]]] = field(default_factory=list)
    every: list[tuple[int, str]] = field(default_factory=list)

    def of(self, event: int, name: str, nth: int = 0) -> int:
        found = self.properties[event].get(name, []) if event < len(self.properties) else []
        return found[min(nth, len(found) - 1)] if found else self.begins[event] if event < len(self.begins) else 1

    def text(self, line: int) -> str:
        return next((text for number, text in self.every if number == line), "")

    def holding(self, message: str) -> int:
        """The line whose text a library's message quotes; 1 if none."""
        return next((number for number, text in self.every if text and f"'{text}'" in message), 1)


def _lines(text: str) -> _Lines:
    lines = _Lines()
    inside: list[str] = []
    for number, line in _unfolded(text):
        lines.every.append((number, line))
        name = re.split("[:;]", line, maxsplit=1)[0].strip().upper()
        value = line.partition(":")[2].strip().upper()
        if name == "BEGIN":
            inside.append(value)
            if value == "VEVENT":
                lines.begins.append(number)
                lines.properties.append({})
        elif name == "END":
            if not inside or inside[-1] != value:
                begun = ", ".join(inside) or "nothing"
                _fail(number, "END", f"END:{value} closes nothing", f"end what was begun: {begun}")
            inside.pop()
        elif inside[-1:] == ["VEVENT"]:
            lines.properties[-1].setdefault(name, []).append(number)
        elif name == "RRULE" and inside[-1:] != ["VEVENT"] and not _CLOCK_CHANGE.fullmatch(value):
            _fail(number, "RRULE", "is no rule for a change of clocks", "write FREQ=YEARLY;BYMONTH=3;BYDAY=-1SU")
    if inside:
        last = len(text.splitlines())
        _fail(last, "END", f"the text ends inside {inside[-1]}", f"add END:{inside[-1]}")
    return lines


def _unfolded(text: str) -> Iterator[tuple[int, str]]:
    """The logical lines of a calendar, each with the number of its first physical line (RFC 5545, 3.1)."""
    first, held = 0, ""
    for number, raw in enumerate(text.splitlines(), start=1):
        if raw[:1] in {" ", "\t"}:
            held += raw[1:]
            continue
        if held.strip():
            yield first, held.strip()
        first, held = number, raw
    if held.strip():
        yield first, held.strip()


def _fail(line: int, name: str, what: str, remedy: str) -> NoReturn:
    where = f"line {line}: " if line else ""
    raise TightropeError(f"{where}{name}: {what}", remedy=remedy)


@lru_cache(maxsize=64)
def _events(text: str) -> tuple[_Event, ...]:
    if len(text) > LONGEST_TEXT:
        _fail(
            1,
            "VCALENDAR",
            f"a calendar of {len(text):,} characters",
            f"keep it below {LONGEST_TEXT:,}; split it, or drop old events",
        )
    if "BEGIN:VCALENDAR" not in text.upper():
        _fail(1, "VCALENDAR", "this is not an iCalendar text", "begin with BEGIN:VCALENDAR and end with END:VCALENDAR")
    lines = _lines(text)
    from icalendar import Calendar

    try:
        calendars = Calendar.from_ical(text, multiple=True)
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        _fail(
            lines.holding(str(error)),
            "VCALENDAR",
            f"cannot be read: {error}",
            "mend this line; RFC 5545 tells its form",
        )
    events: list[_Event] = []
    for calendar in calendars:
        zones = _zones(calendar)
        floating = _floating(calendar, zones)
        for component in calendar.walk("VEVENT"):
            events.append(_Reader(component, len(events), lines, zones, floating).event())
    return tuple(events)


def _zones(calendar: Any) -> Mapping[str, tzinfo]:
    """The time zones that a calendar defines itself; a definition under an IANA name yields to the IANA zone."""
    zones: dict[str, tzinfo] = {}
    for component in calendar.walk("VTIMEZONE"):
        name = str(component.get("TZID", ""))
        try:
            zones[name] = component.to_tz(lookup_tzid=False)
        except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
            _fail(
                0,
                "VTIMEZONE",
                f"the time zone {name!r} cannot be read: {error}",
                "use an IANA name such as Europe/Berlin",
            )
    return zones


def _zone(name: str, own: Mapping[str, tzinfo]) -> tzinfo | None:
    from icalendar.timezone.windows_to_olson import WINDOWS_TO_OLSON

    for known_as in (name, WINDOWS_TO_OLSON.get(name, "")):
        try:
            return ZoneInfo(known_as)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            continue
    return own.get(name)


def _floating(calendar: Any, own: Mapping[str, tzinfo]) -> tzinfo:
    name = str(calendar.get("X-WR-TIMEZONE", "UTC"))
    zone = _zone(name, own)
    if zone is None:
        _fail(0, "X-WR-TIMEZONE", f"no time zone is called {name!r}", "write an IANA name such as Europe/Berlin")
    return zone


class _Reader:
    """Reads one VEVENT; knows the line of each of its properties."""

    def __init__(
        self, component: Any, index: int, lines: _Lines, zones: Mapping[str, tzinfo], floating: tzinfo
    ) -> None:
        self.component = component
        self.index = index
        self.lines = lines
        self.zones = zones
        self.floating = floating

    def event(self) -> _Event:
        for name, message in self.component.errors:
            line = self.lines.of(self.index, name.upper()) if name else self.lines.holding(message)
            _fail(line, name or "VEVENT", f"cannot be read: {message}", "mend this line; RFC 5545 tells its form")
        if "DTSTART" not in self.component:
            self.fail("DTSTART", "the event has no beginning", "add DTSTART")
        if "EXRULE" in self.component:
            self.fail("EXRULE", "EXRULE is not supported", "name the days by EXDATE")
        value = self.moment("DTSTART", self.component["DTSTART"])
        whole_day = not isinstance(value, datetime)
        start = _naive(value)
        if not _FIRST_YEAR <= start.year <= _LAST_YEAR:
            self.fail("DTSTART", f"the year {start.year} is out of reach", f"begin in {_FIRST_YEAR} to {_LAST_YEAR}")
        zone = self.zone_of("DTSTART", self.component["DTSTART"])
        ends_at, wall_length, exact_s = self.length(start, zone, whole_day=whole_day)
        return _Event(
            uid=str(self.component.get("UID", "")) or f"event {self.index}",
            summary=str(self.component.get("SUMMARY", "")).strip(),
            start=start,
            zone=zone,
            first_ends_at=ends_at,
            wall_length=wall_length,
            exact_s=exact_s,
            rules=tuple(
                self.rule(rule, nth, start, zone, whole_day=whole_day)
                for nth, rule in enumerate(_listed(self.component.get("RRULE")))
            ),
            added=tuple(self.added(zone)),
            left=self.left("EXDATE", self.values("EXDATE")),
            replaces=self.replaces(),
            cancelled=str(self.component.get("STATUS", "")).upper() == "CANCELLED",
        )

    def fail(self, name: str, what: str, remedy: str, nth: int = 0) -> NoReturn:
        _fail(self.lines.of(self.index, name, nth), name, what, remedy)

    def moment(self, name: str, value: Any, nth: int = 0) -> date:
        """The date or time of a property; a failure where the library keeps it as broken text."""
        try:
            moment = value.dt
        except (AttributeError, ValueError) as error:
            reason = str(error).rpartition(": ")[2]
            self.fail(name, f"cannot be read: {reason}", "write 20260321, 20260321T094000 or 20260321T094000Z", nth)
        if not isinstance(moment, date):
            self.fail(name, "is no date or time", "write 20260321, 20260321T094000 or 20260321T094000Z", nth)
        return moment

    def zone_of(self, name: str, value: Any, nth: int = 0) -> tzinfo:
        """The zone a property is written in. Looked up here: the library knows zones by what it has read before."""
        tzid = value.params.get("TZID") if hasattr(value, "params") else None
        if tzid is not None:
            zone = _zone(str(tzid), self.zones)
            if zone is None:
                self.fail(
                    name, f"no time zone is called {str(tzid)!r}", "write an IANA name such as Europe/Berlin", nth
                )
            return zone
        moment = getattr(value, "dt", None)
        return UTC if isinstance(moment, datetime) and moment.tzinfo is not None else self.floating

    def length(self, start: datetime, zone: tzinfo, *, whole_day: bool) -> tuple[int, timedelta, int]:
        """Exact end of the first occurrence; length on the wall clock and exact seconds of the later ones."""
        if "DTEND" in self.component and "DURATION" in self.component:
            self.fail("DURATION", "the event has both DTEND and DURATION", "keep one of them")
        if "DURATION" in self.component:
            try:
                duration = self.component["DURATION"].dt
            except (AttributeError, ValueError) as error:
                self.fail("DURATION", f"cannot be read: {str(error).rpartition(': ')[2]}", "write P3D, PT12H or P1W")
            if not isinstance(duration, timedelta) or duration <= timedelta(0):
                self.fail(
                    "DURATION", "the event ends before it begins", "write a positive duration such as P3D or PT12H"
                )
            days = timedelta(days=self.wall_days())
            exact_s = int((duration - days).total_seconds())
            return instant_of(start + days, zone) + exact_s, days, exact_s
        if "DTEND" in self.component:
            end = self.moment("DTEND", self.component["DTEND"])
            if isinstance(end, datetime) is whole_day:
                self.fail("DTEND", "DTSTART and DTEND are not of one kind", "write both as dates, or both as times")
            ends_at = instant_of(_naive(end), self.zone_of("DTEND", self.component["DTEND"]))
            if ends_at <= instant_of(start, zone):
                self.fail(
                    "DTEND", "the event ends before it begins", "put DTEND after DTSTART; the end is not included"
                )
            wall_end = datetime.fromtimestamp(ends_at, tz=zone).replace(tzinfo=None)
            return ends_at, wall_end - start, 0
        if not whole_day:
            self.fail("DTSTART", "the event has no DTEND or DURATION, so it lasts no time", "add DTEND or DURATION")
        day = timedelta(days=1)
        return instant_of(start + day, zone), day, 0

    def wall_days(self) -> int:
        """Days of the DURATION as it is written: the library does not tell 24 hours from a day."""
        text = self.lines.text(self.lines.of(self.index, "DURATION"))
        return sum(
            int(number) * (7 if unit == "W" else 1)
            for number, unit in re.findall(r"(\d+)([WD])", text.rpartition(":")[2].upper().partition("T")[0])
        )

    def rule(self, value: Any, nth: int, start: datetime, zone: tzinfo, *, whole_day: bool) -> _Rule:
        from dateutil.rrule import rrulestr

        line = self.lines.of(self.index, "RRULE", nth)
        try:
            parts = {name.upper(): _listed(given) for name, given in value.items()}
            text = ";".join(
                part for part in value.to_ical().decode().split(";") if not part.upper().startswith("UNTIL=")
            )
        except (AttributeError, ValueError):
            self.fail("RRULE", "cannot be read", "write a rule such as FREQ=WEEKLY;BYDAY=FR", nth)
        frequency = str((parts.get("FREQ") or [""])[0]).upper()
        if frequency not in _FREQUENCIES:
            self.fail(
                "RRULE", f"FREQ={frequency or '(none)'} is not supported", f"use FREQ={', '.join(_FREQUENCIES)}", nth
            )
        for name in ("INTERVAL", "COUNT"):
            if any(int(count) < 1 for count in parts.get(name, [])):
                self.fail("RRULE", f"{name} is below 1", f"write {name}=1 or more", nth)
        if "COUNT" in parts and "UNTIL" in parts:
            self.fail("RRULE", "has both COUNT and UNTIL", "keep one of them", nth)
        until = None
        for last in parts.get("UNTIL", []):
            if isinstance(last, datetime):
                until = last.astimezone(zone).replace(tzinfo=None) if last.tzinfo is not None else last
            else:
                until = datetime.combine(last, time() if whole_day else time(23, 59, 59))
        rule = _Rule(text, until, line)
        try:
            rrulestr(text, dtstart=start)
            if next(_recurrences(rule, start, start.replace(year=start.year + _GREGORIAN_CYCLE)), None) is None:
                self.fail("RRULE", "the rule never happens", "look at UNTIL and at the days and months it names", nth)
        except (ValueError, TypeError, OverflowError) as error:
            self.fail("RRULE", f"cannot be read: {error}", "write a rule such as FREQ=WEEKLY;BYDAY=FR", nth)
        return rule

    def values(self, name: str) -> Iterator[tuple[Any, int]]:
        """The single values of a property that may hold a list and may stand there more than once."""
        for nth, held in enumerate(_listed(self.component.get(name))):
            if not hasattr(held, "dts"):
                self.fail(name, "cannot be read", "write 20260321, 20260321T094000 or 20260321T094000Z", nth)
            for value in held.dts:
                if "TZID" in held.params and "TZID" not in value.params:
                    value.params["TZID"] = held.params["TZID"]
                yield value, nth

    def added(self, zone: tzinfo) -> Iterator[_Added]:
        for value, nth in self.values("RDATE"):
            period = value.dt if isinstance(value.dt, tuple) else None
            of = self.zone_of("RDATE", value, nth)
            if period is not None:
                first, last = period
                of = UTC if first.tzinfo is not None and "TZID" not in value.params else of
                starts_at = instant_of(_naive(first), of)
                ends_at = (
                    starts_at + int(last.total_seconds())
                    if isinstance(last, timedelta)
                    else instant_of(_naive(last), of)
                )
            else:
                starts_at, ends_at = instant_of(_naive(self.moment("RDATE", value, nth)), of), None
            yield _Added(datetime.fromtimestamp(starts_at, tz=zone).replace(tzinfo=None), ends_at)

    def left(self, name: str, values: Iterable[tuple[Any, int]]) -> _Left:
        instants, days = set[int](), set[date]()
        for value, nth in values:
            moment = self.moment(name, value, nth)
            if isinstance(moment, datetime):
                instants.add(instant_of(_naive(moment), self.zone_of(name, value, nth)))
            else:
                days.add(moment)
        return _Left(frozenset(instants), frozenset(days))

    def replaces(self) -> _Left | None:
        value = self.component.get("RECURRENCE-ID")
        if value is None:
            return None
        if "RANGE" in getattr(value, "params", {}):
            self.fail("RECURRENCE-ID", "RANGE is not supported", "end the first event by UNTIL and begin a second one")
        return self.left("RECURRENCE-ID", [(value, 0)])


def _new_year(year: int) -> datetime:
    return datetime.combine(date(year, 1, 1), time())


def _naive(value: date) -> datetime:
    return value.replace(tzinfo=None) if isinstance(value, datetime) else datetime.combine(value, time())


def _listed(value: Any) -> list[Any]:
    return [] if value is None else value if isinstance(value, list) else [value]
