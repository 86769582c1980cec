"""How the gate says numbers, instants and lists to people."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from fractions import Fraction

from tightrope.base.units import MINUTE_S, percent_text, span_text
from tightrope.policy.decision import Forecast, SloFacts
from tightrope.specs.model import ChangeKind

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_PLURALS = {
    ChangeKind.FEATURE: "features",
    ChangeKind.CONFIG: "config changes",
    ChangeKind.RELIABILITY: "reliability changes",
    ChangeKind.SECURITY: "security fixes",
    ChangeKind.EMERGENCY: "emergency fixes",
    ChangeKind.ROLLBACK: "rollbacks",
}


def plural(kind: ChangeKind) -> str:
    """Name the changes of a kind: features, security fixes."""
    return _PLURALS[kind]


def capitalised(text: str) -> str:
    """Begin a sentence."""
    return f"{text[:1].upper()}{text[1:]}"


def count(number: int, noun: str) -> str:
    """Count things: ``1 rollout``, ``2 rollouts``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def listing(items: Sequence[str], last: str = "and") -> str:
    """Write a list in words: ``a``, ``a and b``, ``a, b and c``."""
    return " ".join(items) if len(items) < 2 else f"{', '.join(items[:-1])} {last} {items[-1]}"


def instant_text(at: int, seen_from: int) -> str:
    """Write an instant for a person: ``14:42 UTC`` on the same UTC day, ``21 Mar 09:40 UTC`` in the same year."""
    moment = datetime.fromtimestamp(at, tz=UTC)
    seen = datetime.fromtimestamp(seen_from, tz=UTC)
    clock = f"{moment:%H:%M} UTC"
    if moment.date() == seen.date():
        return clock
    year = "" if moment.year == seen.year else f" {moment.year}"
    return f"{moment.day} {_MONTHS[moment.month - 1]}{year} {clock}"


def day_text(at: int) -> str:
    """Write the UTC day of an instant: ``21 Mar``."""
    moment = datetime.fromtimestamp(at, tz=UTC)
    return f"{moment.day} {_MONTHS[moment.month - 1]}"


def count_text(count: Fraction) -> str:
    """Write a number of events: whole and with commas, one decimal below ten."""
    value = abs(float(count))
    text = f"{value:,.0f}" if value >= 10 or count.denominator == 1 else f"{value:.1f}"
    return f"−{text}" if count < 0 and text.strip("0.,") else text


def over_text(slo: SloFacts) -> str:
    """Say by how much an overspent budget is overspent: ``5.0 min``, or ``1,240 of 1,103 events`` spent."""
    if slo.allowed is None or slo.consumed is None:
        return ""
    if slo.unit_s:
        return span_text(float((slo.consumed - slo.allowed) * slo.unit_s))
    return f"{count_text(slo.consumed)} of {count_text(slo.allowed)} events"


def left_text(slo: SloFacts) -> str:
    """Say how much of a budget is left: ``2 h 36 m``, or ``42,100 of 43,140 events``."""
    if slo.allowed is None or slo.consumed is None:
        return ""
    if slo.unit_s:
        return span_text(float((slo.allowed - slo.consumed) * slo.unit_s))
    return f"{count_text(slo.allowed - slo.consumed)} of {count_text(slo.allowed)} events"


def budget_text(slo: SloFacts) -> str:
    """Write what is left in both measures: ``budget −12.4 % (−5.0 of 40.3 min)``."""
    if slo.remaining is None:
        return "budget unknown"
    if slo.allowed is None or slo.consumed is None:
        return f"budget {percent_text(slo.remaining)}"
    left = slo.allowed - slo.consumed
    if slo.unit_s:
        minutes, allowed = (float(units * slo.unit_s / MINUTE_S) for units in (left, slo.allowed))
        shown = f"{abs(minutes):,.1f}"
        sign = "−" if minutes < 0 and shown.strip("0.,") else ""
        return f"budget {percent_text(slo.remaining)} ({sign}{shown} of {allowed:,.1f} min)"
    return f"budget {percent_text(slo.remaining)} ({count_text(left)} of {count_text(slo.allowed)} events)"


def standing(service: str, slo: SloFacts, *, alone: bool) -> str:
    """Say how the budget of a service stands; the SLO is named where the service has others."""
    whose = "its budget" if alone else f"the budget of {slo.slo}"
    if slo.remaining is None:
        return f"{service} has no known budget yet" if alone else f"{service} does not know {whose} yet"
    amount = over_text(slo) if slo.remaining < 0 else left_text(slo)
    amount = f" ({amount})" if amount else ""
    if slo.remaining < 0:
        return f"{service} has overspent {whose} by {percent_text(-slo.remaining)}{amount}"
    if slo.remaining == 0:
        return f"{service} has spent all of {whose}"
    return f"{service} has {percent_text(slo.remaining)} of {whose} left{amount}"


def forecast_text(forecast: Forecast, seen_from: int) -> str:
    """Say when something is expected: ``about 21 Mar 09:40 UTC (80 %: 21 to 27 Mar)``."""
    if forecast.at is None:
        return "not within the forecast's horizon"
    about = f"about {instant_text(forecast.at, seen_from)}"
    if forecast.earliest is None and forecast.latest is None:
        return about
    if forecast.latest is None:
        return f"{about} (80 %: {day_text(forecast.earliest or forecast.at)} or later)"
    if forecast.earliest is None:
        return f"{about} (80 %: {day_text(forecast.latest)} or sooner)"
    first, last = day_text(forecast.earliest), day_text(forecast.latest)
    if first == last:
        return f"{about} (80 %: the same day)" if first == day_text(forecast.at) else f"{about} (80 %: {first})"
    if first.split()[1] == last.split()[1]:
        first = first.split()[0]
    return f"{about} (80 %: {first} to {last})"


def kinds_text(kinds: Iterable[ChangeKind]) -> str:
    """List kinds in the order of `ChangeKind`: ``reliability, security and rollback``."""
    wanted = set(kinds)
    return listing([kind.value for kind in ChangeKind if kind in wanted])
