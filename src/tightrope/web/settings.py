"""Settings: who may do what, where telemetry comes from and how far it is, and what this server is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from starlette.responses import Response
from starlette.routing import BaseRoute

from tightrope.access.roles import NEEDS, Permission, Role, parse_role
from tightrope.access.tokens import Issued, Token
from tightrope.base.errors import ConflictError, UsageError
from tightrope.base.units import DAY_S, parse_duration, percent_text, span_text
from tightrope.loop.assess import Assessment
from tightrope.loop.snapshot import Backfill
from tightrope.specs.openslo import sources_of
from tightrope.web.visit import Desk, Visit

_LASTS = (("30d", "30 days"), ("90d", "90 days"), ("1Y", "a year"), ("", "for ever"))
_MOST_SOURCES = 300


@dataclass(frozen=True, slots=True)
class Source:
    """One SLO and where its telemetry comes from."""

    title: str
    service: str
    kind: str
    lag: str
    coverage: str
    tone: str
    rows: str


@dataclass(frozen=True, slots=True)
class Filling:
    """A backfill: how far it is, and what holds it up."""

    name: str
    share: float
    words: str
    error: str


def routes(desk: Desk) -> list[BaseRoute]:
    """The page of settings, and the forms on it."""
    return [
        desk.route("/settings", settings),
        desk.route("/settings/tokens", settings, do=create, needs=Permission.MANAGE),
        desk.route("/settings/tokens/{name}", settings, do=revoke, needs=Permission.MANAGE),
    ]


def settings(visit: Visit) -> Response:
    """Show all settings."""
    return _page(visit)


def create(visit: Visit) -> Response:
    """Make a token, and show its text for the only time."""
    lasts = visit.form.get("lasts", "90d")
    expires_at = visit.server.now() + parse_duration(lasts).seconds if lasts else None
    try:
        issued = visit.server.access.create_token(
            visit.form.get("name", ""),
            parse_role(visit.form.get("role", "viewer")),
            by=visit.actor,
            now=visit.server.now(),
            expires_at=expires_at,
            teams=_names(visit.form.get("teams", "")),
            services=_names(visit.form.get("services", "")),
        )
    except (ConflictError, UsageError) as error:
        return _page(visit, refused=f"{error.message}: {error.remedy}", status=400)
    return _page(visit, issued=issued)


def revoke(visit: Visit) -> Response:
    """Let a token be used no more."""
    visit.server.access.revoke_token(visit.path("name"), by=visit.actor, now=visit.server.now())
    return visit.go("/settings", done="revoked")


def sources(visit: Visit) -> list[Source]:
    """Where telemetry comes from, what lags most first."""
    found = [_source(one, visit.now) for group in visit.board.groups.values() for one in group if not one.whole]
    return [one for _, one in sorted(found, key=lambda pair: pair[0])][:_MOST_SOURCES]


def fillings(backfills: Sequence[Backfill]) -> list[Filling]:
    """Backfills that are not done, with how far they are."""
    found = []
    for one in backfills:
        share = one.done_s / one.of_s if one.of_s else 1.0
        if share < 1 or one.error:
            words = f"{percent_text(share, 0)}, {span_text(one.done_s)} of {span_text(one.of_s)}"
            found.append(Filling(one.series, share, words, one.error))
    return found


def _page(visit: Visit, *, issued: Issued | None = None, refused: str = "", status: int = 200) -> Response:
    manages = visit.actor.may(Permission.MANAGE)
    tokens = visit.server.access.tokens(visit.actor) if manages else []
    now = visit.now
    found = sources(visit)
    return visit.page(
        "settings.html",
        title="Settings",
        current="settings",
        status=status,
        cached=issued is None,
        answer=_answer(visit, tokens),
        tokens=[(one, one.standing(now)) for one in tokens],
        issued=issued,
        refused=refused,
        roles=[(str(role), _allowed(role)) for role in Role],
        lasts=_LASTS,
        sources=found,
        silent=sum(one.tone == "none" for one in found),
        fillings=fillings(visit.server.backfills()),
        settings=visit.server.settings,
        oidc=visit.server.access.oidc,
        day=DAY_S,
    )


def _answer(visit: Visit, tokens: list[Token]) -> str:
    active = sum(one.standing(visit.now) == "active" for one in tokens)
    if not visit.server.settings.auth_required:
        others = f"{active:,} tokens let" if active > 1 else "1 token lets" if active else "no token lets"
        return f"Whoever sits at this machine may do everything here; {others} others in."
    used = f"{active or 'No'} {'token is' if active == 1 else 'tokens are'} in use"
    return f"{used}; you are {visit.actor.name}, {visit.actor.role}."


def _source(one: Assessment, now: int) -> tuple[tuple[bool, int, str], Source]:
    age, coverage = one.age_s(now), one.statement.coverage
    kinds = sorted({source.type for source in sources_of(one.slo)})
    rows = f"{one.quality.bad_rows:,} of {one.quality.rows:,} rows could not be used" if one.quality.bad_rows else ""
    tone = "none" if one.stale else "warn" if coverage * 10 < 9 or one.quality.bad_rows else "good"
    told = Source(
        one.title,
        one.slo.service,
        ", ".join(kinds) or "unknown",
        "never" if age is None else span_text(age),
        percent_text(coverage),
        tone,
        rows,
    )
    return (not one.stale, -(age if age is not None else 2**40), one.title), told


def _allowed(role: Role) -> str:
    return ", ".join(str(permission) for permission, needed in NEEDS.items() if needed <= role)


def _names(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
