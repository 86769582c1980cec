"""The door to alerts and silences: what is open, what was, step by step, and what nobody is told of."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sqlalchemy import BigInteger, Column, Connection, Index, Integer, Row, Table, Text, delete, func, select

from tightrope.alerting.grouping import Alert, Change, Step, alert_of, document_of
from tightrope.alerting.silences import Silence, parse_matcher
from tightrope.base.canonical import canonical
from tightrope.state.tables import TABLES

_ALERT = Table(
    "alert",
    TABLES,
    Column("id", Text, primary_key=True),
    Column("track", Text, nullable=False),
    Column("service", Text, nullable=False),
    Column("opened_at", BigInteger, nullable=False),
    Column("resolved_at", BigInteger, nullable=True),
    Column("document", Text, nullable=False),
    Index("alert_track", "track", "opened_at"),
    Index("alert_resolved", "resolved_at"),
    Index("alert_opened", "opened_at"),
)
_STEP = Table(
    "alert_step",
    TABLES,
    Column("alert", Text, primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("at", BigInteger, nullable=False),
    Column("change", Text, nullable=False),
    Column("before", Text, nullable=False),
    Column("why", Text, nullable=False),
    Column("document", Text, nullable=False),
)
_SILENCE = Table(
    "silence",
    TABLES,
    Column("id", Text, primary_key=True),
    Column("matchers", Text, nullable=False),
    Column("starts_at", BigInteger, nullable=False),
    Column("ends_at", BigInteger, nullable=False),
    Column("who", Text, nullable=False),
    Column("why", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("ended_at", BigInteger, nullable=True),
    Column("ended_by", Text, nullable=False),
)
_MOST_NAMES = 500


# --- alerts --------------------------------------------------------------------------------------------------------


def open_in(connection: Connection) -> list[Alert]:
    """Every alert that has not ended, oldest first."""
    query = select(_ALERT.c.document).where(_ALERT.c.resolved_at.is_(None)).order_by(_ALERT.c.opened_at, _ALERT.c.id)
    return [_read(document) for document in connection.scalars(query)]


def ended_since_in(connection: Connection, since: int) -> list[Alert]:
    """The alerts that ended at or after an instant."""
    query = select(_ALERT.c.document).where(_ALERT.c.resolved_at >= since).order_by(_ALERT.c.opened_at, _ALERT.c.id)
    return [_read(document) for document in connection.scalars(query)]


def newest_in(connection: Connection, tracks: Sequence[str]) -> dict[str, Alert]:
    """The newest alert of each of some tracks that has one."""
    found: dict[str, Alert] = {}
    for some in _in_parts(tracks):
        last = (
            select(_ALERT.c.track, func.max(_ALERT.c.opened_at).label("opened_at"))
            .where(_ALERT.c.track.in_(some))
            .group_by(_ALERT.c.track)
            .subquery()
        )
        query = (
            select(_ALERT.c.document)
            .join(last, (_ALERT.c.track == last.c.track) & (_ALERT.c.opened_at == last.c.opened_at))
            .order_by(_ALERT.c.resolved_at.is_(None), _ALERT.c.id)  # one that is open counts before one that is not
        )
        found |= {alert.track: alert for alert in map(_read, connection.scalars(query))}
    return found


def alert_in(connection: Connection, name: str) -> Alert | None:
    """One alert by its id."""
    document = connection.scalar(select(_ALERT.c.document).where(_ALERT.c.id == name))
    return None if document is None else _read(document)


def alerts_in(
    connection: Connection, *, open_only: bool = False, service: str = "", before: int | None = None, limit: int = 100
) -> list[Alert]:
    """Alerts by their opening, newest first: of one service, opened before an instant, or all."""
    query = select(_ALERT.c.document).order_by(_ALERT.c.opened_at.desc(), _ALERT.c.id).limit(limit)
    if open_only:
        query = query.where(_ALERT.c.resolved_at.is_(None))
    if service:
        query = query.where(_ALERT.c.service == service)
    if before is not None:
        query = query.where(_ALERT.c.opened_at < before)
    return [_read(document) for document in connection.scalars(query)]


def steps_in(connection: Connection, name: str) -> tuple[Step, ...]:
    """What happened to an alert, oldest first."""
    query = select(_STEP).where(_STEP.c.alert == name).order_by(_STEP.c.number)
    return tuple(
        Step(Change(row.change), row.at, _read(row.document), row.before, row.why) for row in connection.execute(query)
    )


def keep_in(connection: Connection, alerts: Iterable[Alert], steps: Sequence[Step] = ()) -> None:
    """Keep alerts as they are now, and what happened to them."""
    rows = {
        alert.id: {
            "id": alert.id,
            "track": alert.track,
            "service": alert.service,
            "opened_at": alert.opened_at,
            "resolved_at": alert.resolved_at,
            "document": canonical(document_of(alert)),
        }
        for alert in (*(step.alert for step in steps), *alerts)
    }
    for names in _in_parts(list(rows)):
        connection.execute(delete(_ALERT).where(_ALERT.c.id.in_(names)))
    if rows:
        connection.execute(_ALERT.insert(), list(rows.values()))
    if steps:
        _keep_steps_in(connection, steps)


def _keep_steps_in(connection: Connection, steps: Sequence[Step]) -> None:
    numbers: dict[str, int] = {}
    for names in _in_parts(sorted({step.alert.id for step in steps})):
        counted = select(_STEP.c.alert, func.max(_STEP.c.number)).where(_STEP.c.alert.in_(names))
        numbers |= {row[0]: int(row[1]) for row in connection.execute(counted.group_by(_STEP.c.alert))}
    rows = []
    for step in steps:
        number = numbers[step.alert.id] = numbers.get(step.alert.id, 0) + 1
        row = {"alert": step.alert.id, "number": number, "at": step.at, "change": step.change.value}
        rows.append(row | {"before": step.before, "why": step.why, "document": canonical(document_of(step.alert))})
    connection.execute(_STEP.insert(), rows)


def _in_parts(names: Sequence[str]) -> Iterator[Sequence[str]]:
    """Names in parts that a query can take."""
    for first in range(0, len(names), _MOST_NAMES):
        yield names[first : first + _MOST_NAMES]


def prune_in(connection: Connection, before: int) -> int:
    """Forget alerts that ended before an instant; returns how many."""
    gone = select(_ALERT.c.id).where(_ALERT.c.resolved_at < before)
    connection.execute(delete(_STEP).where(_STEP.c.alert.in_(gone)))
    return int(connection.execute(delete(_ALERT).where(_ALERT.c.resolved_at < before)).rowcount)


def _read(document: str) -> Alert:
    return alert_of(json.loads(document))


# --- silences ------------------------------------------------------------------------------------------------------


def silences_in(connection: Connection, *, now: int, ended: bool = False) -> list[Silence]:
    """Silences that hold or are to come, by their start; with *ended* those that are over, too, newest first."""
    query = select(_SILENCE)
    if ended:
        query = query.order_by(_SILENCE.c.starts_at.desc(), _SILENCE.c.id)
    else:
        over = _SILENCE.c.ended_at.is_not(None) & (_SILENCE.c.ended_at <= now)
        query = query.where(_SILENCE.c.ends_at > now, ~over).order_by(_SILENCE.c.starts_at, _SILENCE.c.id)
    return [_silence(row) for row in connection.execute(query)]


def silence_in(connection: Connection, name: str) -> Silence | None:
    """One silence by its id."""
    row = connection.execute(select(_SILENCE).where(_SILENCE.c.id == name)).one_or_none()
    return None if row is None else _silence(row)


def keep_silence_in(connection: Connection, silence: Silence) -> None:
    """Keep a silence as it is now."""
    connection.execute(delete(_SILENCE).where(_SILENCE.c.id == silence.id))
    connection.execute(
        _SILENCE.insert().values(
            id=silence.id,
            matchers=canonical([str(one) for one in silence.matchers]),
            starts_at=silence.starts_at,
            ends_at=silence.ends_at,
            who=silence.who,
            why=silence.why,
            created_at=silence.created_at,
            ended_at=silence.ended_at,
            ended_by=silence.ended_by,
        )
    )


def _silence(row: Row[Any]) -> Silence:
    return Silence(
        row.id,
        tuple(map(parse_matcher, json.loads(row.matchers))),
        row.starts_at,
        row.ends_at,
        row.who,
        row.why,
        row.created_at,
        row.ended_at,
        row.ended_by,
    )
