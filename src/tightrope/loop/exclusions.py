"""Exclusions unrolled: which stretches of time do not count for an SLO."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from tightrope.base.errors import DataError, TightropeError
from tightrope.base.units import instant_of
from tightrope.policy.calendars import spans
from tightrope.sli.coverage import Stretch
from tightrope.specs.model import Exclusion, Slo

_LAST_YEAR = 9990  # no calendar reaches further


def stretches_of(
    exclusions: Sequence[Exclusion], slo: Slo, start: int, end: int, *, known_at: int | None = None
) -> tuple[Stretch, ...]:
    """List the stretches within ``[start, end)`` that exclusions take out for *slo*, oldest first.

    A stretch that began before its exclusion was declared counts only if the exclusion is retroactive; one that is
    declared after *known_at* is not known yet. Rules recur as those of freeze calendars do (`policy.calendars.spans`):
    the start is the first occurrence, and the rule is DAILY or rarer.

    Raises:
        DataError: A rule can't be used; names the exclusion.
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
        for begin in _begins(exclusion, start - exclusion.duration_s, end):
            within = begin < end and begin + exclusion.duration_s > start
            if within and (exclusion.retroactive or declared is None or begin >= declared):
                found.append((begin, begin + exclusion.duration_s))
    return tuple(sorted(found))


def _begins(exclusion: Exclusion, start: int, end: int) -> list[int]:
    """When an exclusion begins, at least within ``[start, end)``."""
    if not exclusion.rrule:
        return [instant_of(exclusion.starts_at, ZoneInfo(exclusion.time_zone))]
    first, last = (min(datetime.fromtimestamp(at, UTC).year, _LAST_YEAR) for at in (start, end))
    # An event of one second a time: longer ones that meet would be handed out as one, with the begin of the first.
    calendar = "\n".join(
        (
            "BEGIN:VCALENDAR",
            "BEGIN:VEVENT",
            f"DTSTART;TZID={exclusion.time_zone}:{exclusion.starts_at:%Y%m%dT%H%M%S}",
            "DURATION:PT1S",
            f"RRULE:{exclusion.rrule}",
            "END:VEVENT",
            "END:VCALENDAR",
        )
    )
    try:
        return [span.starts_at for year in range(first, last + 1, 2) for span in spans(calendar, year)]
    except TightropeError as error:
        what = re.sub(r"^line \d+: ", "", error.message)
        raise DataError(f"exclusion {exclusion.name}: {what}", remedy=error.remedy) from None
