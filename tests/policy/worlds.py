"""Small worlds for the gate: facts with sensible defaults, and calendars."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

from tightrope.base.units import parse_time
from tightrope.policy.decision import Forecast, GateFacts, GateRequest, SloFacts
from tightrope.specs.defaults import DEFAULT_POLICY
from tightrope.specs.model import ChangeKind, ErrorBudgetPolicy, FreezeCalendar, SilverBullet

NOW = parse_time("2026-03-12T14:12:00Z")
ONLY_STABILITY = frozenset({ChangeKind.RELIABILITY, ChangeKind.SECURITY})
MINUTE_S = 60


def slo(
    state: str = "feature",
    *,
    name: str = "checkout-availability",
    remaining: Fraction | None = Fraction(6, 10),
    allowed: Fraction = Fraction(4032, 100),
    unit_s: int = MINUTE_S,
    age_s: int | None = 21,
    stale: bool = False,
    coverage: Fraction = Fraction(997, 1000),
    burn: Fraction | None = Fraction(1, 2),
    firing: tuple[tuple[str, str], ...] = (),
    forecast: Forecast | None = None,
) -> SloFacts:
    """An SLO of 99.9 % over 28 days with a budget of 40.32 minutes."""
    return SloFacts(
        slo=name,
        objective=Fraction(999, 1000),
        state=state,
        state_since=NOW - 39_180,
        state_reason="budget left −12.4 % (≤ 0 %)" if state == "stability" else "",
        remaining=remaining,
        allowed=None if remaining is None else allowed,
        consumed=None if remaining is None else allowed * (1 - remaining),
        unit="minutes" if unit_s else "events",
        unit_s=unit_s,
        window_s=28 * 86400,
        coverage=coverage,
        data_age_s=age_s,
        stale=stale,
        stale_after_s=600,
        burn_rates=(("1h", burn), ("6h", burn)),
        firing=firing,
        forecast=forecast,
    )


def overspent(name: str = "checkout-availability") -> SloFacts:
    """The SLO of the guide's example: 12.4 % over, back about 21 March."""
    return slo(
        "stability",
        name=name,
        remaining=Fraction(-124, 1000),
        forecast=Forecast(
            "recovered",
            parse_time("2026-03-21T09:40:00Z"),
            parse_time("2026-03-21T02:00:00Z"),
            parse_time("2026-03-27T02:00:00Z"),
            "quiet days",
        ),
    )


def silent(age_s: int | None, name: str = "checkout-availability", state: str = "feature") -> SloFacts:
    """An SLO whose data went missing *age_s* ago."""
    return slo(state, name=name, age_s=age_s, stale=True)


def asking(
    kind: ChangeKind = ChangeKind.FEATURE, *, at: int = NOW, change: str = "abc123", env: str = "production"
) -> GateRequest:
    return GateRequest("checkout", at, env, kind, "given", change, "Express wallet button", "dev")


def facts(*slos: SloFacts, policy: ErrorBudgetPolicy = DEFAULT_POLICY, **others: object) -> GateFacts:
    return replace(GateFacts(policy, slos), **others)  # type: ignore[arg-type]


def bullet(name: str = "contract-date", **others: object) -> SilverBullet:
    granted = SilverBullet(name, "checkout", "dev", "payments lead", "contract date", NOW - 3600, NOW + 4 * 3600)
    return replace(granted, **others)  # type: ignore[arg-type]


def calendar(*events: str, head: str = "") -> str:
    """An iCalendar text; each event is its lines without BEGIN and END."""
    body = "".join(f"BEGIN:VEVENT\n{event.strip()}\nEND:VEVENT\n" for event in events)
    return f"BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:-//tests//\n{head}{body}END:VCALENDAR\n"


def freeze(
    text: str,
    name: str = "spring-sale",
    allows: frozenset[ChangeKind] = ONLY_STABILITY,
    *,
    services: frozenset[str] = frozenset(),
    environments: frozenset[str] = frozenset(),
) -> FreezeCalendar:
    return FreezeCalendar(name, text, allows, services, environments)
