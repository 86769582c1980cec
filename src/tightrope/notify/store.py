"""The door to the outbox: messages that wait, in order, until their channel has taken them; and what was told."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Connection,
    Index,
    Integer,
    Row,
    Table,
    Text,
    case,
    delete,
    exists,
    func,
    select,
)

from tightrope.base.canonical import canonical
from tightrope.notify.messages import Message, message_of
from tightrope.notify.outgoing import Outgoing, State
from tightrope.notify.planning import Told
from tightrope.state.tables import TABLES

_TOLD = Table(
    "notify_told",
    TABLES,
    Column("alert", Text, primary_key=True),
    Column("channel", Text, primary_key=True),
    Column("firing", Boolean, nullable=False),
    Column("severity", Text, nullable=False),
    Column("frozen", Boolean, nullable=False),
    Column("count", Integer, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("changed_at", BigInteger, nullable=False),
    Column("previous", Text, nullable=False),
)
_OUTBOX = Table(
    "outbox",
    TABLES,
    Column("sequence", BigInteger().with_variant(Integer(), "sqlite"), primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("channel", Text, nullable=False),
    Column("about", Text, nullable=False),
    Column("key", Text, nullable=False, unique=True),
    Column("message", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("due_at", BigInteger, nullable=False),
    Column("leased_until", BigInteger, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("error", Text, nullable=False),
    Column("sent_at", BigInteger, nullable=True),
    Index("outbox_waiting", "state", "channel", "sequence"),
    Index("outbox_about", "about", "sequence"),
)
_THREAD = Table(
    "notify_thread",
    TABLES,
    Column("channel", Text, primary_key=True),
    Column("about", Text, primary_key=True),
    Column("reference", Text, nullable=False),
)


_MOST_NAMES = 500


# --- what was told -------------------------------------------------------------------------------------------------


def told_in(connection: Connection, alerts: Sequence[str]) -> list[Told]:
    """What was told of some alerts."""
    found: list[Told] = []
    for some in _in_parts(alerts):
        found += [Told(*row) for row in connection.execute(select(_TOLD).where(_TOLD.c.alert.in_(some)))]
    return found


def told_firing_in(connection: Connection) -> list[Told]:
    """All that channels believe to fire."""
    return [Told(*row) for row in connection.execute(select(_TOLD).where(_TOLD.c.firing))]


def told_by_in(connection: Connection, channel: str, ended_since: int) -> list[Told]:
    """What a channel believes to fire, and what it was told the end of, or of another severity, since an instant."""
    query = select(_TOLD).where(
        _TOLD.c.channel == channel, _TOLD.c.firing | ((_TOLD.c.count > 0) & (_TOLD.c.changed_at >= ended_since))
    )
    return [Told(*row) for row in connection.execute(query.order_by(_TOLD.c.alert))]


def tell_in(connection: Connection, told: Sequence[Told]) -> None:
    """Keep what channels are told from now on."""
    by_channel: dict[str, list[str]] = {}
    for one in told:
        by_channel.setdefault(one.channel, []).append(one.alert)
    for channel, alerts in by_channel.items():
        for some in _in_parts(alerts):
            connection.execute(delete(_TOLD).where(_TOLD.c.channel == channel, _TOLD.c.alert.in_(some)))
    if told:
        names = [column.name for column in _TOLD.columns]
        connection.execute(_TOLD.insert(), [{name: getattr(one, name) for name in names} for one in told])


# --- the outbox ----------------------------------------------------------------------------------------------------


def enqueue_in(connection: Connection, messages: Sequence[tuple[str, str, str, Message]], now: int) -> None:
    """Put messages into the outbox, each as id, channel, key and content; a key that is there stays as it is."""
    known: set[str] = set()
    for keys in _in_parts([key for _, _, key, _ in messages]):
        known |= set(connection.scalars(select(_OUTBOX.c.key).where(_OUTBOX.c.key.in_(keys))))
    rows = {
        key: {
            "id": name,
            "channel": channel,
            "about": message.about,
            "key": key,
            "message": canonical(message.document()),
            "state": State.WAITING.value,
            "created_at": now,
            "due_at": now,
            "leased_until": 0,
            "attempts": 0,
            "error": "",
        }
        for name, channel, key, message in messages
        if key not in known
    }
    if rows:
        connection.execute(_OUTBOX.insert(), list(rows.values()))


def _in_parts(names: Sequence[str]) -> Iterator[Sequence[str]]:
    """Names in parts that a query can take."""
    for first in range(0, len(names), _MOST_NAMES):
        yield names[first : first + _MOST_NAMES]


def waits_in(connection: Connection, channel: str, about: str) -> bool:
    """Whether a message of a channel about a matter is still to be sent."""
    query = select(_OUTBOX.c.id).where(
        _OUTBOX.c.about == about, _OUTBOX.c.channel == channel, _OUTBOX.c.state == State.WAITING.value
    )
    return connection.scalar(query.limit(1)) is not None


def _next_in_line() -> ColumnElement[bool]:
    """Whether no earlier message of the same channel about the same matter waits."""
    earlier = _OUTBOX.alias()
    return ~exists().where(
        earlier.c.channel == _OUTBOX.c.channel,
        earlier.c.about == _OUTBOX.c.about,
        earlier.c.state == State.WAITING.value,
        earlier.c.sequence < _OUTBOX.c.sequence,
    )


def claim_in(connection: Connection, channel: str, now: int, *, lease_s: int) -> Outgoing | None:
    """Take the next message of a channel that may be sent now, for *lease_s* seconds: nobody else takes it then.

    A message waits for every earlier one of its channel about the same matter.
    """
    query = (
        select(_OUTBOX)
        .where(
            _OUTBOX.c.state == State.WAITING.value,
            _OUTBOX.c.channel == channel,
            _OUTBOX.c.due_at <= now,
            _OUTBOX.c.leased_until <= now,
            _next_in_line(),
        )
        .order_by(_OUTBOX.c.sequence)
        .limit(1)
        .with_for_update(skip_locked=True, of=_OUTBOX)
    )
    row = connection.execute(query).one_or_none()
    if row is None:
        return None
    taken = replace(_outgoing(row), leased_until=now + lease_s, attempts=row.attempts + 1)
    connection.execute(
        _OUTBOX.update()
        .where(_OUTBOX.c.sequence == taken.sequence)
        .values(leased_until=taken.leased_until, attempts=taken.attempts)
    )
    return taken


def release_in(connection: Connection) -> None:
    """End all claims, where nobody is left who could have made one: what was being sent is sent again."""
    connection.execute(_OUTBOX.update().where(_OUTBOX.c.leased_until > 0).values(leased_until=0))


def settle_in(
    connection: Connection, taken: Outgoing, state: State, *, now: int, due_at: int = 0, error: str = ""
) -> None:
    """Note what came of a message that was claimed; nothing, if another has claimed it meanwhile and noted so."""
    connection.execute(
        _OUTBOX.update()
        .where(
            _OUTBOX.c.sequence == taken.sequence,
            _OUTBOX.c.state == State.WAITING.value,
            # what was taken by the receiver was taken, whoever sent it
            *(() if state is State.SENT else (_OUTBOX.c.leased_until == taken.leased_until,)),
        )
        .values(
            state=state.value,
            due_at=due_at or now,
            leased_until=0,
            error=error,
            sent_at=now if state is State.SENT else None,
        )
    )


def channels_waiting_in(connection: Connection) -> dict[str, int]:
    """For each channel that has messages waiting, when the first of those that wait for no other may be sent."""
    ready = case((_OUTBOX.c.due_at > _OUTBOX.c.leased_until, _OUTBOX.c.due_at), else_=_OUTBOX.c.leased_until)
    query = (
        select(_OUTBOX.c.channel, func.min(ready))
        .where(_OUTBOX.c.state == State.WAITING.value, _next_in_line())
        .group_by(_OUTBOX.c.channel)
    )
    return {row[0]: int(row[1]) for row in connection.execute(query)}


def revive_in(connection: Connection, name: str, now: int) -> None:
    """Send a message at the next opportunity, whatever became of it before."""
    connection.execute(
        _OUTBOX.update()
        .where(_OUTBOX.c.id == name, _OUTBOX.c.state != State.SENT.value)
        .values(state=State.WAITING.value, due_at=now, leased_until=0, attempts=0)
    )


def outgoing_in(connection: Connection, name: str) -> Outgoing | None:
    """One message by its id."""
    row = connection.execute(select(_OUTBOX).where(_OUTBOX.c.id == name)).one_or_none()
    return None if row is None else _outgoing(row)


def messages_in(
    connection: Connection, *, state: str = "", channel: str = "", about: str = "", limit: int = 100
) -> list[Outgoing]:
    """Messages, newest first."""
    query = select(_OUTBOX).order_by(_OUTBOX.c.sequence.desc()).limit(limit)
    for column, value in ((_OUTBOX.c.state, state), (_OUTBOX.c.channel, channel), (_OUTBOX.c.about, about)):
        if value:
            query = query.where(column == value)
    return [_outgoing(row) for row in connection.execute(query)]


def counts_in(connection: Connection) -> Mapping[tuple[str, str], int]:
    """How many messages there are, by channel and state."""
    query = select(_OUTBOX.c.channel, _OUTBOX.c.state, func.count()).group_by(_OUTBOX.c.channel, _OUTBOX.c.state)
    return {(row[0], row[1]): int(row[2]) for row in connection.execute(query)}


def last_in(connection: Connection, channel: str) -> tuple[int | None, str]:
    """When a channel last took a message, and what its newest message that it did not take came to."""
    sent = connection.scalar(select(func.max(_OUTBOX.c.sent_at)).where(_OUTBOX.c.channel == channel))
    query = select(_OUTBOX.c.error).where(
        _OUTBOX.c.channel == channel, _OUTBOX.c.error != "", _OUTBOX.c.state != State.SENT.value
    )
    error = connection.scalar(query.order_by(_OUTBOX.c.sequence.desc()).limit(1))
    return sent, error or ""


def prune_in(connection: Connection, before: int) -> int:
    """Forget messages that were sent before an instant, and what was told of matters that are over since then."""
    connection.execute(delete(_TOLD).where(~_TOLD.c.firing, _TOLD.c.at < before))
    gone = delete(_OUTBOX).where(_OUTBOX.c.state == State.SENT.value, _OUTBOX.c.sent_at < before)
    count = int(connection.execute(gone).rowcount)
    known = select(_OUTBOX.c.about)
    connection.execute(delete(_THREAD).where(_THREAD.c.about.not_in(known)))
    return count


# --- threads -------------------------------------------------------------------------------------------------------


def thread_in(connection: Connection, channel: str, about: str) -> str:
    """How a channel calls the first message about a matter; empty: it has none."""
    query = select(_THREAD.c.reference).where(_THREAD.c.channel == channel, _THREAD.c.about == about)
    return connection.scalar(query) or ""


def keep_thread_in(connection: Connection, channel: str, about: str, reference: str) -> None:
    """Keep how a channel calls the first message about a matter."""
    connection.execute(delete(_THREAD).where(_THREAD.c.channel == channel, _THREAD.c.about == about))
    connection.execute(_THREAD.insert().values(channel=channel, about=about, reference=reference))


def _outgoing(row: Row[Any]) -> Outgoing:
    return Outgoing(
        sequence=row.sequence,
        id=row.id,
        channel=row.channel,
        about=row.about,
        key=row.key,
        message=message_of(json.loads(row.message)),
        state=State(row.state),
        created_at=row.created_at,
        due_at=row.due_at,
        leased_until=row.leased_until,
        attempts=row.attempts,
        error=row.error,
        sent_at=row.sent_at,
    )
