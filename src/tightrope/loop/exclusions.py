"""Exclusions unrolled: which stretches of time do not count for an SLO."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from tightrope.base.errors import DataError
from tightrope.sli.coverage import Stretch
from tightrope.specs.model import Exclusion, Slo

_MOST_OCCURRENCES = 100_000


def stretches_of(
    exclusions: Sequence[Exclusion], slo: Slo, start: int, end: int, *, known_at: int | None = None
) -> tuple[Stretch, ...]:
    """List the stretches within ``[start, end)`` that exclusions take out for *slo*, oldest first.

    A stretch that began before its exclusion was declared counts only if the exclusion is retroactive; one that is
    declared after *known_at* is not known yet.
    """
    found: list[Stretch] = []
    for exclusion in exclusions:
        if exclusion.services and slo.service not in exclusion.services:
            continue
        if exclusion.slos and slo.name not in exclusion.slos:
            continue
        declared = exclusion.declared_at
        if declared is not None and known_at is not None and declared > known_at:
            continue
        for begin, stop in _occurrences(exclusion, start, end):
            if exclusion.retroactive or declared is None or begin >= declared:
                found.append((begin, stop))
    return tuple(sorted(found))


def _occurrences(exclusion: Exclusion, start: int, end: int) -> list[Stretch]:
    if not exclusion.rrule:
        begin = _instant(exclusion.starts_at, exclusion.time_zone)
        return [(begin, begin + exclusion.duration_s)] if begin < end and begin + exclusion.duration_s > start else []
    from dateutil.rrule import rrulestr

    zone = ZoneInfo(exclusion.time_zone)
    text = exclusion.rrule if ":" in exclusion.rrule else f"RRULE:{exclusion.rrule}"
    try:
        rule = rrulestr(text, dtstart=exclusion.starts_at, ignoretz=True)
    except (ValueError, TypeError) as error:
        raise DataError(f"exclusion {exclusion.name}: {exclusion.rrule!r} is no recurrence rule: {error}") from None
    local_start = datetime.fromtimestamp(start - exclusion.duration_s, UTC).astimezone(zone).replace(tzinfo=None)
    local_end = datetime.fromtimestamp(end, UTC).astimezone(zone).replace(tzinfo=None)
    found: list[Stretch] = []
    for count, local in enumerate(rule.xafter(local_start - timedelta(hours=1), inc=True)):
        if local > local_end + timedelta(hours=1):
            break
        if count >= _MOST_OCCURRENCES:
            raise DataError(
                f"exclusion {exclusion.name} recurs more than {_MOST_OCCURRENCES} times in the stretch looked at",
                remedy="use a rarer FREQ, or a longer duration",
            )
        begin = _instant(local, exclusion.time_zone)
        if begin < end and begin + exclusion.duration_s > start:
            found.append((begin, begin + exclusion.duration_s))
    return found


def _instant(local: datetime, zone: str) -> int:
    return int(local.replace(tzinfo=ZoneInfo(zone)).timestamp())
