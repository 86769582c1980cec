"""The journal: everything that happened, newest first, and whether it is still as it was written."""

from __future__ import annotations

import json
from dataclasses import dataclass
from shlex import quote

from starlette.responses import Response
from starlette.routing import BaseRoute

from tightrope.access.roles import Permission
from tightrope.base.errors import UsageError
from tightrope.base.units import DAY_S, parse_duration, span_text
from tightrope.loop.record import Entry
from tightrope.policy.usecases import Audit
from tightrope.web.telling import Told, told
from tightrope.web.visit import Desk, Visit

_PAGE = 60
_SHOWN = 4_000  # characters of an event's data


@dataclass(frozen=True, slots=True)
class Line:
    """One event of the journal: told, and as it is recorded."""

    told: Told
    data: str
    hash: str
    source: str
    id: str


def routes(desk: Desk) -> list[BaseRoute]:
    """The page of the journal."""
    return [desk.route("/journal", journal)]


def journal(visit: Visit) -> Response:
    """List events, and check the chain where that is asked for."""
    kind, subject, span = visit.asked("kind"), visit.asked("subject"), visit.asked("range")
    before = visit.number("before")
    since = None
    if span:
        try:
            since = visit.now - parse_duration(span).seconds
        except UsageError:
            span = ""
    found = list(visit.server.events(kind=kind, subject=subject, since=since, before=before, limit=_PAGE + 1))
    more = len(found) > _PAGE
    shown = found[:_PAGE]
    allowed = visit.actor.services
    newest = next(iter(visit.server.events(limit=1)), None)
    audit = visit.server.verify(again=True) if visit.asked("verify") and visit.actor.may(Permission.READ) else None
    return visit.page(
        "journal.html",
        title="Journal",
        current="journal",
        answer=_answer(visit, newest, audit),
        lines=[_line(one) for one in shown if allowed is None or one.event.subject in allowed],
        kind=kind,
        kinds=sorted({one.event.type for one in found} | ({kind} if kind else set())),
        subject=subject,
        range=span,
        ranges=(("", "All"), ("1h", "1 h"), ("24h", "24 h"), ("7d", "7 d"), ("28d", "28 d")),
        next=shown[-1].sequence if more else None,
        first=before is None,
        audit=audit,
        commands=[
            f"tightrope audit verify --data {quote(visit.server.settings.data)}",
            f"tightrope audit export --data {quote(visit.server.settings.data)}",
        ],
    )


def _answer(visit: Visit, newest: Entry | None, audit: Audit | None) -> str:
    if audit is not None:
        if audit.holds:
            count = audit.recomputed or 0
            again = f", and {_many(count, 'decision')} {'comes' if count == 1 else 'come'} out alike" if count else ""
            rows = audit.chain.rows
            whole = "The only event is as it was" if rows == 1 else f"All {rows:,} events are as they were"
            return f"{whole} written{again}."
        wrong = len(audit.chain.broken) + len(audit.differing)
        return f"{wrong:,} of {_many(audit.chain.rows, 'event')} {'is' if wrong == 1 else 'are'} not as written."
    if newest is None:
        return "Nothing has happened yet."
    count = newest.sequence
    age = visit.now - newest.event.time
    when = "just now" if age < 10 else f"{span_text(age)} ago" if age < 30 * DAY_S else "long ago"
    return f"{count:,} {'event is' if count == 1 else 'events are'} on record, the newest {when}."


def _many(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _line(entry: Entry) -> Line:
    event = entry.event
    text = json.dumps(event.data, indent=2, ensure_ascii=False, default=str)
    cut = f"{text[:_SHOWN]}\n… {len(text) - _SHOWN:,} characters more" if len(text) > _SHOWN else text
    return Line(told(entry), cut, entry.hash, event.source, event.id)
