"""Freezes: stretches in which only some kinds of change may ship, from iCalendar texts."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from tightrope.base.errors import SpecError, TightropeError
from tightrope.base.values import dataclass
from tightrope.policy import calendars
from tightrope.specs.model import ChangeKind, FreezeCalendar

CALENDAR_CODE = "TR028"
"""The code of the finding that a freeze calendar can't be read."""


@dataclass(frozen=True, slots=True)
class Freeze:
    """One stretch ``[starts_at, ends_at)`` in UTC epoch seconds, what may ship in it, and why there is one."""

    name: str
    starts_at: int
    ends_at: int
    allows: frozenset[ChangeKind]
    reason: str = ""


def freezes_at(freezes: Iterable[FreezeCalendar], service: str, environment: str, at: int) -> tuple[Freeze, ...]:
    """Tell which freezes hold for a service and environment at an instant, by name.

    Several may hold at once: then only what all of them allow may ship (`kinds_allowed`). Events of one calendar that
    meet or overlap are one freeze, so ``ends_at`` is when it is over.

    Raises:
        SpecError: A calendar that covers the service and environment can't be read; names line and property.
    """
    found = []
    for freeze in _covering(freezes, service, environment):
        for span in _spans(freeze, at):
            if span.starts_at <= at < span.ends_at:
                reason = freeze.reason or span.summary
                found.append(Freeze(freeze.name, span.starts_at, span.ends_at, freeze.allows, reason))
    return tuple(sorted(found, key=lambda freeze: freeze.name))


def next_freezes(freezes: Iterable[FreezeCalendar], service: str, environment: str, at: int) -> tuple[Freeze, ...]:
    """Tell the next freeze of each calendar that begins after *at*, soonest first; at least a year is looked ahead.

    Raises:
        SpecError: A calendar that covers the service and environment can't be read; names line and property.
    """
    found = []
    for freeze in _covering(freezes, service, environment):
        coming = next((span for span in _spans(freeze, at) if span.starts_at > at), None)
        if coming is not None:
            reason = freeze.reason or coming.summary
            found.append(Freeze(freeze.name, coming.starts_at, coming.ends_at, freeze.allows, reason))
    return tuple(sorted(found, key=lambda freeze: (freeze.starts_at, freeze.name)))


def kinds_allowed(freezes: Iterable[Freeze]) -> frozenset[ChangeKind]:
    """The kinds that every one of these freezes lets through; every kind where there is none."""
    allowed = frozenset(ChangeKind)
    for freeze in freezes:
        allowed &= freeze.allows
    return allowed


def check(freeze: FreezeCalendar) -> None:
    """Find out whether a calendar can be read; raises `SpecError` naming line and property of the calendar."""
    try:
        calendars.check(freeze.calendar)
    except TightropeError as error:
        raise _finding(freeze, error) from None


def _covering(freezes: Iterable[FreezeCalendar], service: str, environment: str) -> list[FreezeCalendar]:
    return [
        freeze
        for freeze in freezes
        if (not freeze.services or service in freeze.services)
        and (not freeze.environments or environment in freeze.environments)
    ]


def _spans(freeze: FreezeCalendar, at: int) -> tuple[calendars.Span, ...]:
    try:
        return calendars.spans(freeze.calendar, datetime.fromtimestamp(at, tz=UTC).year)
    except TightropeError as error:
        raise _finding(freeze, error) from None


def _finding(freeze: FreezeCalendar, error: TightropeError) -> SpecError:
    return SpecError(
        CALENDAR_CODE,
        f"calendar of freeze {freeze.name!r}, {error.message}",
        freeze.place,
        path="spec.freezes",
        remedy=error.remedy,
    )
