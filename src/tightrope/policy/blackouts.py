"""Blackout hours: hours of the week, on the wall clock of a time zone, in which only some kinds of change ship."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date, datetime, time, timedelta, tzinfo
from zoneinfo import ZoneInfo

from tightrope.base.units import DAY_S, instant_of
from tightrope.policy.freezes import Freeze
from tightrope.specs.model import BlackoutHours


def blackouts_at(hours: Iterable[BlackoutHours], environment: str, at: int) -> tuple[Freeze, ...]:
    """Tell which blackout hours hold at an instant, by name, and until when in UTC epoch seconds.

    ``days`` are the local days on which the hours begin. Hours whose end is not after their begin run past midnight
    (equal ones: around the clock). Where the clocks change, the local time decides: an hour that is left out takes its
    part of the blackout with it, an hour that comes twice is blacked out both times. Hours that meet are one stretch.
    """
    found = []
    for blackout in _covering(hours, environment):
        for start, end in _stretches(blackout, at):
            if start <= at < end:
                found.append(Freeze(blackout.name, start, end, blackout.allows))
    return tuple(sorted(found, key=lambda freeze: freeze.name))


def next_blackouts(hours: Iterable[BlackoutHours], environment: str, at: int) -> tuple[Freeze, ...]:
    """Tell the next stretch of each of the blackout hours that begins after *at*, soonest first."""
    found = []
    for blackout in _covering(hours, environment):
        coming = next(((start, end) for start, end in _stretches(blackout, at) if start > at), None)
        if coming is not None:
            found.append(Freeze(blackout.name, *coming, blackout.allows))
    return tuple(sorted(found, key=lambda freeze: (freeze.starts_at, freeze.name)))


def _covering(hours: Iterable[BlackoutHours], environment: str) -> list[BlackoutHours]:
    return [one for one in hours if not one.environments or environment in one.environments]


def _stretches(blackout: BlackoutHours, at: int) -> Iterator[tuple[int, int]]:
    """Stretches from some days before *at* to more than a week after it, oldest first, joined where they meet."""
    zone = ZoneInfo(blackout.time_zone)
    today = datetime.fromtimestamp(at, tz=zone).date()
    last: tuple[int, int] | None = None
    for offset in range(-9, 10):
        day = today + timedelta(days=offset)
        if day.weekday() not in blackout.days:
            continue
        over_midnight = timedelta(days=1) if blackout.to_minute <= blackout.from_minute else timedelta(0)
        start = _begins(_wall(day, blackout.from_minute), zone)
        end = _ends(_wall(day + over_midnight, blackout.to_minute), zone)
        if end <= start:
            continue
        if last is not None and start <= last[1]:
            last = (last[0], max(last[1], end))
            continue
        if last is not None:
            yield last
        last = (start, end)
    if last is not None:
        yield last


def _wall(day: date, minute: int) -> datetime:
    return datetime.combine(day, time()) + timedelta(minutes=minute)


def _begins(wall: datetime, zone: tzinfo) -> int:
    """The first instant at which the local clock shows *wall* or, where it never does, jumps over it."""
    first = instant_of(wall, zone)
    return first if _shows(first, zone) == wall else _jump_over(wall, zone, first)


def _ends(wall: datetime, zone: tzinfo) -> int:
    """The last instant at which the local clock shows *wall* or, where it never does, jumps over it."""
    last = instant_of(wall.replace(fold=1), zone)
    return last if _shows(last, zone) == wall else _jump_over(wall, zone, last)


def _shows(at: int, zone: tzinfo) -> datetime:
    return datetime.fromtimestamp(at, tz=zone).replace(tzinfo=None, fold=0)


def _jump_over(wall: datetime, zone: tzinfo, near: int) -> int:
    """The instant within a day of *near* at which the local clock first shows *wall* or later."""
    before, after = near - DAY_S, near + DAY_S
    while after - before > 1:
        middle = (before + after) // 2
        if _shows(middle, zone) < wall:
            before = middle
        else:
            after = middle
    return after
