"""What SLOs say while a new version bakes: is it good, bad, or not to be told. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any

from tightrope.base.units import percent_text, span_text
from tightrope.base.values import dataclass


@dataclass(frozen=True, slots=True)
class Sight:
    """What is seen of one SLO.

    Attributes:
        paging: Names of its alerts of severity ``page`` that fire.
        remaining: Share of the budget that is left; None: not known.
        stale: There is no new telemetry.
    """

    slo: str
    paging: tuple[str, ...] = ()
    remaining: Fraction | None = None
    stale: bool = False


WatchSlos = Callable[[str, Sequence[str]], Sequence[Sight]]
"""Looks at SLOs of a service, by their names; those that are not there are left out."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What follows from a look: ``bad`` in words why it must go back; ``waits`` why nothing can be told; or neither."""

    bad: str = ""
    waits: str = ""


def noted(sights: Sequence[Sight]) -> dict[str, Any]:
    """What to remember of the first look."""
    return {
        one.slo: {"paging": list(one.paging), "remaining": None if one.remaining is None else str(one.remaining)}
        for one in sights
    }


def judged(begun: Mapping[str, Any], names: Sequence[str], sights: Sequence[Sight]) -> Seen:
    """Judge what is seen now by what was when the bake began.

    An alert that began to page, or a budget that ran out, is bad. One that paged before is no fault of this version,
    but nothing is promoted while it does.
    """
    there = {one.slo: one for one in sights}
    for name in names:
        one = there.get(name)
        if one is None:
            continue
        before = begun.get(name, {})
        news = [alert for alert in one.paging if alert not in before.get("paging", ())]
        if news:
            return Seen(bad=f"{name} pages: {', '.join(news)}")
        had = before.get("remaining")
        if one.remaining is not None and one.remaining <= 0 and had is not None and Fraction(had) > 0:
            return Seen(bad=f"the budget of {name} ran out, {percent_text(one.remaining)} is left")
    missing = [name for name in names if name not in there]
    if missing:
        return Seen(waits=f"nothing is known of {', '.join(missing)}")
    stale = [one.slo for one in sights if one.stale]
    if stale:
        return Seen(waits=f"no new telemetry of {', '.join(stale)}")
    still = [one.slo for one in sights if one.paging]
    return Seen(waits=f"{', '.join(still)} still pages, as before") if still else Seen()


def bake_text(now: int, began_at: int, bake_s: int) -> str:
    """How far a bake is."""
    return f"baking, {span_text(max(0, now - began_at))} of {span_text(bake_s)}"
