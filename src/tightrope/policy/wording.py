"""How the gate says numbers, instants and lists to people."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction

from tightrope.base.units import DAY_S, MINUTE_S, percent_text
from tightrope.budget.words import amount_text, day_text, moment_text
from tightrope.policy.decision import Forecast, SloFacts
from tightrope.specs.model import ChangeKind

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


def count(number: int, noun: str) -> str:
    """Count things: ``1 rollout``, ``2 rollouts``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def listing(items: Sequence[str], last: str = "and") -> str:
    """Write a list in words: ``a``, ``a and b``, ``a, b and c``."""
    return " ".join(items) if len(items) < 2 else f"{', '.join(items[:-1])} {last} {items[-1]}"


def instant_text(at: int, seen_from: int) -> str:
    """Write an instant for a person: ``14:42 UTC`` on the same UTC day, else ``21 Mar 09:40 UTC``."""
    text = moment_text(at, seen_from)
    same_day = at // DAY_S == seen_from // DAY_S
    return f"{text.rpartition(' ')[2] if same_day else text} UTC"


def part_text(part: Fraction, whole: Fraction) -> str:
    """Write a number of events out of another: ``1,240 of 43,140 events``."""
    return f"{amount_text(part, 0).partition(' ')[0]} of {amount_text(whole, 0)}"


def over_text(slo: SloFacts) -> str:
    """Say by how much an overspent budget is overspent: ``5.0 min``, or ``1,240 of 1,103 events`` spent."""
    if slo.allowed is None or slo.consumed is None:
        return ""
    if slo.unit_s:
        return amount_text(slo.consumed - slo.allowed, slo.unit_s)
    return part_text(slo.consumed, slo.allowed)


def left_text(slo: SloFacts) -> str:
    """Say how much of a budget is left: ``2 h 36 m``, or ``42,100 of 43,140 events``."""
    if slo.allowed is None or slo.consumed is None:
        return ""
    if slo.unit_s:
        return amount_text(slo.allowed - slo.consumed, slo.unit_s)
    return part_text(slo.allowed - slo.consumed, slo.allowed)


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
    return f"budget {percent_text(slo.remaining)} ({part_text(left, slo.allowed)})"


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
        return f"{about} (80 %: {day_text(forecast.earliest or forecast.at, seen_from)} or later)"
    if forecast.earliest is None:
        return f"{about} (80 %: {day_text(forecast.latest, seen_from)} or sooner)"
    first, last = day_text(forecast.earliest, seen_from), day_text(forecast.latest, seen_from)
    if first == last:
        return (
            f"{about} (80 %: the same day)" if first == day_text(forecast.at, seen_from) else f"{about} (80 %: {first})"
        )
    if first.split()[1:] == last.split()[1:]:
        first = first.split()[0]
    return f"{about} (80 %: {first} to {last})"


def kinds_text(kinds: Iterable[ChangeKind]) -> str:
    """List kinds in the order of `ChangeKind`: ``reliability, security and rollback``."""
    wanted = set(kinds)
    return listing([kind.value for kind in ChangeKind if kind in wanted])
