"""Alerts: what fires, what is rising, who was told, and what is silenced."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from starlette.responses import Response
from starlette.routing import BaseRoute

from tightrope.access.roles import Permission
from tightrope.alerting.grouping import NO_DATA, Alert
from tightrope.base.errors import NotFoundError
from tightrope.base.units import HOUR_S, parse_duration, span_text, time_text
from tightrope.budget.words import left_text, service_sentence
from tightrope.loop.assess import Assessment
from tightrope.notify.usecases import Notifications
from tightrope.web.board import Board, worst_of
from tightrope.web.marks import burn_bars
from tightrope.web.sections import AlertRow, alert_rows
from tightrope.web.visit import Desk, Visit, service_path

_ORDER = {"Firing": 0, "Firing, held": 1, "Rising": 2, "Recovering": 3, "Held": 4, "Quiet": 5}
_MOST = 300

LASTS = (("30m", "30 minutes"), ("1h", "an hour"), ("4h", "4 hours"), ("24h", "a day"), ("7d", "a week"))
"""For how long a silence may be set on the page."""


@dataclass(frozen=True, slots=True)
class Burning:
    """One condition that is not quiet, with its objective and since when it is out."""

    row: AlertRow
    service: str
    title: str
    since: int | None
    lasts: str
    left: str
    bars: str


def routes(desk: Desk) -> list[BaseRoute]:
    """The page of alerts, that of each, and the forms on them."""
    return [
        desk.route("/alerts", alerts),
        desk.route("/alerts/{name}", alert),
        desk.route("/silences", alerts, do=silence),
        desk.route("/silences/{name}", alerts, do=unsilence),
        desk.route("/messages/{name}", alerts, do=retry),
        desk.route("/channels/{name}", alerts, do=trial),
    ]


def alerts(visit: Visit) -> Response:
    """Say what fires, what comes near, and what is quiet."""
    rows = list(_all(visit.board))
    counts = Counter(row.row.word for row in rows)
    loud = [row for row in rows if row.row.word not in {"Quiet", "Held"}]
    state = visit.asked("state").lower()
    shown = [row for row in rows if row.row.word.lower().startswith(state)] if state else loud
    return visit.page(
        "alerts.html",
        title="Alerts",
        current="alerts",
        answer=sentence(loud, counts),
        rows=sorted(shown, key=_urgency)[:_MOST],
        count=len(shown),
        state=state,
        states=[("", "Loud", len(loud))]
        + [
            (word.lower(), word, counts[word])
            for word in ("Firing", "Rising", "Recovering", "Quiet", "Held")
            if counts[word]
        ],
        total=len(rows),
        **_told(visit),
    )


def _told(visit: Visit) -> dict[str, Any]:
    """Who was told of what: alerts, silences, channels, and messages that did not go out."""
    found, seen = visit.server.alerts, visit.actor.services
    if not isinstance(found, Notifications):
        return {"known": False}
    recent = [one for one in found.alerts(limit=40) if seen is None or one.service in seen]
    conditions = [condition for post in visit.board.posts for condition in post.worst.plan.conditions]
    stuck = found.messages(state="dead", limit=30)
    stuck += [one for one in found.messages(state="waiting", limit=30) if one.attempts]
    return {
        "known": True,
        "recent": [
            (one, *alert_word(one), span_text((one.resolved_at or visit.now) - one.opened_at)) for one in recent
        ],
        "silences": [
            (one, one.active(visit.now), " and ".join(map(str, one.matchers)), span_text(max(0, one.until - visit.now)))
            for one in found.silences(now=visit.server.now())
        ],
        "channels": found.channels(),
        "stuck": [one for one in stuck if seen is None or one.message.service in seen],
        "lasts": LASTS,
        "services": [one.line.service for one in visit.board.posts][:2_000],
        "severities": sorted({condition.severity for condition in conditions}),
        "asked_service": visit.asked("service"),
        "silences_any": visit.may_somewhere(Permission.SILENCE),
    }


def sentence(loud: Sequence[Burning], counts: Counter[str]) -> str:
    """Say in one sentence whether anybody is called."""
    out = [row for row in loud if row.row.word.startswith("Firing")]
    near = counts["Rising"]
    more = f" {near:,} {'is' if near == 1 else 'are'} rising." if near else ""
    if not out:
        return f"Nothing fires; {near:,} {'is' if near == 1 else 'are'} rising." if near else "All is quiet."
    alerts: dict[tuple[str, str], list[str]] = {}
    for row in out:
        alerts.setdefault((row.service, row.title), []).append(row.row.severity)
    kinds = Counter(worst_of(severities) for severities in alerts.values())
    told = " and ".join(f"{count:,} {name}{'s' if count > 1 else ''}" for name, count in kinds.most_common())
    services = sorted({row.service for row in out})
    where = f"for {services[0]}" if len(services) == 1 else f"in {len(services):,} services"
    return f"{told} {'fires' if len(alerts) == 1 else 'fire'} {where}.{more}"


def _all(board: Board) -> Iterator[Burning]:
    for service, group in board.groups.items():
        for one in group:
            if one.watched:
                yield from _of(one, board, service)


def _of(one: Assessment, board: Board, service: str) -> Iterator[Burning]:
    since = {
        condition.name: memory.firing_since
        for condition, memory in zip(one.plan.conditions, one.history.memory.alerts, strict=False)
    }
    for row in alert_rows(one, one.stale):
        at = since.get(row.name) if row.word.startswith("Firing") else None
        yield Burning(
            row,
            service,
            one.title,
            at,
            "" if at is None else span_text(board.now - at),
            left_text(one.budget, one.statement.unit_s) if one.budget.remaining_ratio is not None else "not known",
            burn_bars([rate for _, rate in row.rates], row.limit) if row.rates and row.word != "Quiet" else "",
        )


def _urgency(one: Burning) -> tuple[int, bool, int, str]:
    return _ORDER.get(one.row.word, 9), one.row.severity != "page", one.since or 0, one.service


# --- alerts as people know them, and who was told ---------------------------------------------------------------------


def alert(visit: Visit) -> Response:
    """Show one alert: what happened, who was told, and what keeps it quiet."""
    account = _notifications(visit).alert(visit.path("name"), now=visit.server.now())
    one = account.alert
    visit.must(Permission.READ, one.service)
    post = next((each for each in visit.board.posts if each.line.service == one.service), None)
    end = one.resolved_at if one.resolved_at is not None else visit.now
    around = f"{time_text(one.opened_at - max(HOUR_S, end - one.opened_at))}..{time_text(min(end + HOUR_S, visit.now))}"
    return visit.page(
        "alert.html",
        title=one.id,
        current="alerts",
        answer=alert_sentence(one, visit.now),
        lead=service_sentence(post.standing, visit.now) if post is not None else "",
        account=account,
        one=one,
        word=alert_word(one),
        steps=account.steps[::-1],
        around=f"{service_path(one.service, one.slo)}&range={quote(around, safe='')}",
        lasts=LASTS,
    )


def alert_sentence(one: Alert, now: int) -> str:
    """Say what one alert is about, and how long it is out or was."""
    who, lasted = one.track or one.service, _lasted(one, now)
    if one.name == NO_DATA:
        return (
            f"{who} has sent no telemetry for {lasted}." if one.open else f"{who} sent none for {lasted}. It is over."
        )
    if not one.open:
        return f"{who} burned its error budget too fast for {lasted}. It is over."
    held = "; it is held while telemetry is missing" if one.frozen_since is not None else ""
    return f"{who} has burned its error budget too fast for {lasted}{held}."


def _lasted(one: Alert, now: int) -> str:
    return span_text((one.resolved_at if one.resolved_at is not None else now) - one.opened_at)


def alert_word(one: Alert) -> tuple[str, str]:
    """How an alert stands, and its colour."""
    if not one.open:
        return "Over", "good"
    if one.frozen_since is not None and one.name != NO_DATA:
        return "Firing, held", "bad"
    return "Firing", "bad" if one.severity == "page" else "warn"


def silence(visit: Visit) -> Response:
    """Be quiet about some alerts for a while."""
    service = visit.form.get("service", "").strip()
    visit.must(Permission.SILENCE, service)
    lasts, now = visit.form.get("lasts", "1h"), visit.server.now()
    matchers = [
        f'{name}="{escaped}"'
        for name in ("service", "slo", "severity")
        if (escaped := _escaped(visit.form.get(name, "").strip()))
    ]
    _notifications(visit).add_silence(
        matchers,
        ends_at=now + parse_duration(lasts).seconds,
        who=visit.actor.name,
        why=visit.form.get("why", ""),
        now=now,
    )
    return visit.go("/alerts", done="silenced")


def unsilence(visit: Visit) -> Response:
    """End a silence before its time."""
    found = {one.id: one for one in _notifications(visit).silences(now=visit.server.now())}
    known = found.get(visit.path("name"))
    services = [one.value for one in known.matchers if (one.name, one.op) == ("service", "=")] if known else []
    visit.must(Permission.SILENCE, services[0] if services else "")
    _notifications(visit).end_silence(visit.path("name"), who=visit.actor.name, now=visit.server.now())
    return visit.go("/alerts", done="ended")


def retry(visit: Visit) -> Response:
    """Send a message at the next opportunity."""
    visit.must(Permission.SILENCE)
    _notifications(visit).retry_message(visit.path("name"), now=visit.server.now())
    return visit.go("/alerts", done="retried")


def trial(visit: Visit) -> Response:
    """Send a message that only shows that a channel works."""
    visit.must(Permission.SILENCE)
    _notifications(visit).test_channel(visit.path("name"), who=visit.actor.name, now=visit.server.now())
    return visit.go("/alerts", done="tested")


def _notifications(visit: Visit) -> Notifications:
    found = visit.server.alerts
    if not isinstance(found, Notifications):
        raise NotFoundError("nobody is told of alerts here", remedy="the server was started without notifications")
    return found


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
