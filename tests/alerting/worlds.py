"""Alerts to play with: an objective with the usual tiers, and short ways to say what was seen of it."""

from __future__ import annotations

from tightrope.alerting.alerts import AlertEvent
from tightrope.alerting.grouping import Alert, Change, Seen, Step, Watched, unfold
from tightrope.specs.defaults import default_conditions

NOON = 1_772_366_400  # 2026-03-01T12:00:00Z
MINUTE = 60
TIERS = default_conditions(28 * 86400)  # page-1h, page-6h, ticket-1d, ticket-3d
FAST, SLOW, TICKET, LAST = range(4)
CHECKOUT = Watched("checkout-availability", "checkout", "checkout-availability", TIERS, MINUTE, "ticket")


def seen(at: int, firing: dict[int, int] | None = None, *, stale: bool = False, events: object = ()) -> Seen:
    """What was seen at an instant: which conditions fire, and since when."""
    found = tuple((firing or {}).get(number) for number in range(len(TIERS)))
    return Seen(CHECKOUT, found, stale, at, tuple(events))  # type: ignore[arg-type]


def event(at: int, number: int, fired: bool) -> AlertEvent:
    """A condition fired, or ended."""
    return AlertEvent(at, TIERS[number].name, TIERS[number].severity, fired, number)


def course(*looks: Seen) -> tuple[Alert | None, list[Step]]:
    """Carry the alert through some looks."""
    alert, steps = None, list[Step]()
    for look in looks:
        alert, more = unfold(alert, look)
        steps += more
    return alert, steps


def changes(*looks: Seen) -> list[Change]:
    return [step.change for step in course(*looks)[1]]
