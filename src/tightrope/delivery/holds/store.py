"""The door to what is held: holds, the calls that tell their callers, and the pod templates that were let in."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Index,
    Integer,
    Row,
    Table,
    Text,
    delete,
    exists,
    func,
    select,
)

from tightrope.base.canonical import canonical
from tightrope.delivery.holds.hold import Caller, Hold, HoldState
from tightrope.delivery.holds.telling import Call, Verb
from tightrope.policy.dialects.hearing import Asking
from tightrope.specs.model import ChangeKind, OnStop
from tightrope.state.tables import TABLES

_HOLD = Table(
    "hold",
    TABLES,
    Column("id", Text, primary_key=True),
    Column("caller", Text, nullable=False),
    Column("integration", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("service", Text, nullable=False),
    Column("asking", Text, nullable=False),
    Column("address", Text, nullable=False),
    Column("on_stop", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("verdict", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("rules", Text, nullable=False),
    Column("decision", Text, nullable=False),
    Column("round", Integer, nullable=False),
    Column("comments", Integer, nullable=False),
    Column("steps", Integer, nullable=False),
    Column("told", Text, nullable=False),
    Column("told_at", BigInteger, nullable=False),
    Column("opened_at", BigInteger, nullable=False),
    Column("decided_at", BigInteger, nullable=False),
    Column("until", BigInteger, nullable=False),
    Column("closed_at", BigInteger, nullable=True),
    Index("hold_waiting", "state", "decided_at"),
    Index("hold_opened", "opened_at", "id"),
)
_CALL = Table(
    "hold_call",
    TABLES,
    Column("sequence", BigInteger().with_variant(Integer(), "sqlite"), primary_key=True),
    Column("key", Text, nullable=False, unique=True),
    Column("hold", Text, nullable=False),
    Column("integration", Text, nullable=False),
    Column("verb", Text, nullable=False),
    Column("document", Text, nullable=False),
    Column("not_after", BigInteger, nullable=True),
    Column("state", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("due_at", BigInteger, nullable=False),
    Column("leased_until", BigInteger, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("error", Text, nullable=False),
    Column("done_at", BigInteger, nullable=True),
    Index("hold_call_waiting", "state", "due_at"),
    Index("hold_call_hold", "hold", "sequence"),
)
_ADMITTED = Table(
    "admitted",
    TABLES,
    Column("place", Text, primary_key=True),
    Column("template", Text, primary_key=True),
    Column("number", Integer, nullable=False),
    Column("at", BigInteger, nullable=False),
)
_MOST_TEMPLATES = 50


class CallState(StrEnum):
    """How far a call is: it waits, it was taken, it never will be, or it came too late and was not sent."""

    WAITING = "waiting"
    DONE = "done"
    DEAD = "dead"
    LAPSED = "lapsed"


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A call on its way."""

    sequence: int
    call: Call
    state: CallState
    created_at: int
    due_at: int
    leased_until: int
    attempts: int
    error: str
    done_at: int | None


# --- holds ---------------------------------------------------------------------------------------------------------


def add_in(connection: Connection, hold: Hold) -> bool:
    """Keep a new hold; False where it is there already, which stays as it is."""
    if connection.scalar(select(_HOLD.c.id).where(_HOLD.c.id == hold.id)) is not None:
        return False
    connection.execute(_HOLD.insert().values(**_columns(hold)))
    return True


def keep_in(connection: Connection, hold: Hold, was: Hold) -> bool:
    """Keep a hold as it is now; False, and nothing is kept, where it is no longer as it was taken to be."""
    same = (_HOLD.c.id == hold.id, _HOLD.c.state == was.state.value, _HOLD.c.steps == was.steps)
    found = connection.execute(_HOLD.update().where(*same).values(**_columns(hold)))
    return bool(found.rowcount)


def hold_in(connection: Connection, name: str) -> Hold | None:
    """One hold by its id."""
    row = connection.execute(select(_HOLD).where(_HOLD.c.id == name)).one_or_none()
    return None if row is None else _hold(row)


def waiting_in(connection: Connection, limit: int) -> list[Hold]:
    """Holds that wait, those first that were looked at longest ago."""
    query = select(_HOLD).where(_HOLD.c.state == HoldState.WAITING.value).order_by(_HOLD.c.decided_at, _HOLD.c.id)
    return [_hold(row) for row in connection.execute(query.limit(limit))]


def holds_in(
    connection: Connection, *, service: str = "", state: str = "", before: tuple[int, str] | None = None, limit: int
) -> list[Hold]:
    """Holds, newest first: of one service, in one state, older than a place in the list."""
    query = select(_HOLD).order_by(_HOLD.c.opened_at.desc(), _HOLD.c.id.desc()).limit(limit)
    if service:
        query = query.where(_HOLD.c.service == service)
    if state:
        query = query.where(_HOLD.c.state == state)
    if before is not None:
        at, name = before
        query = query.where((_HOLD.c.opened_at < at) | ((_HOLD.c.opened_at == at) & (_HOLD.c.id < name)))
    return [_hold(row) for row in connection.execute(query)]


def counts_in(connection: Connection) -> dict[tuple[str, str], int]:
    """How many holds wait, by service and caller."""
    query = select(_HOLD.c.service, _HOLD.c.caller, func.count()).where(_HOLD.c.state == HoldState.WAITING.value)
    return {
        (row[0], row[1]): int(row[2]) for row in connection.execute(query.group_by(_HOLD.c.service, _HOLD.c.caller))
    }


def waiting_like_in(connection: Connection, caller: Caller, integration: str) -> list[Hold]:
    """The holds of a caller through an integration that wait."""
    query = select(_HOLD).where(
        _HOLD.c.state == HoldState.WAITING.value,
        _HOLD.c.caller == caller.value,
        _HOLD.c.integration == integration,
    )
    return [_hold(row) for row in connection.execute(query)]


def prune_in(connection: Connection, before: int) -> int:
    """Forget holds that ended before an instant, with their calls."""
    gone = select(_HOLD.c.id).where(_HOLD.c.closed_at.is_not(None), _HOLD.c.closed_at < before)
    connection.execute(delete(_CALL).where(_CALL.c.hold.in_(gone)))
    return int(
        connection.execute(delete(_HOLD).where(_HOLD.c.closed_at.is_not(None), _HOLD.c.closed_at < before)).rowcount
    )


def _columns(hold: Hold) -> dict[str, Any]:
    asking = hold.asking
    return {
        "id": hold.id,
        "caller": hold.caller.value,
        "integration": hold.integration,
        "key": hold.key,
        "service": asking.service,
        "asking": canonical(
            {
                "environment": asking.environment,
                "kind": asking.kind.value,
                "kindFrom": asking.kind_from,
                "change": asking.change,
                "title": asking.title,
                "askedBy": asking.asked_by,
            }
        ),
        "address": canonical(dict(hold.address)),
        "on_stop": hold.on_stop.value,
        "state": hold.state.value,
        "verdict": hold.verdict,
        "reason": hold.reason,
        "rules": canonical(list(hold.rules)),
        "decision": hold.decision,
        "round": hold.round,
        "comments": hold.comments,
        "steps": hold.steps,
        "told": hold.told,
        "told_at": hold.told_at,
        "opened_at": hold.opened_at,
        "decided_at": hold.decided_at,
        "until": hold.until,
        "closed_at": hold.closed_at,
    }


def _hold(row: Row[Any]) -> Hold:
    asked = json.loads(row.asking)
    asking = Asking(
        row.service,
        asked["environment"],
        ChangeKind(asked["kind"]),
        asked["kindFrom"],
        asked["change"],
        asked["title"],
        asked["askedBy"],
    )
    return Hold(
        row.id,
        Caller(row.caller),
        row.integration,
        row.key,
        asking,
        json.loads(row.address),
        OnStop(row.on_stop),
        row.opened_at,
        row.until,
        HoldState(row.state),
        row.verdict,
        row.reason,
        tuple(json.loads(row.rules)),
        row.decision,
        row.decided_at,
        row.round,
        row.comments,
        row.steps,
        row.told,
        row.told_at,
        row.closed_at,
    )


# --- calls ---------------------------------------------------------------------------------------------------------


def plan_in(connection: Connection, calls: Sequence[Call], now: int) -> None:
    """Put calls into the outbox, in their order; one that is there already stays as it is."""
    for call in calls:
        if connection.scalar(select(_CALL.c.key).where(_CALL.c.key == call.key)) is not None:
            continue
        document = {"method": call.method, "path": call.path, "body": call.body, "creates": call.creates}
        connection.execute(
            _CALL.insert().values(
                key=call.key,
                hold=call.hold,
                integration=call.integration,
                verb=call.verb.value,
                document=canonical(document),
                not_after=call.not_after,
                state=CallState.WAITING.value,
                created_at=now,
                due_at=now,
                leased_until=0,
                attempts=0,
                error="",
            )
        )


def planned_in(connection: Connection, prefix: str) -> bool:
    """Whether there is a call whose key begins so, sent or not."""
    query = select(_CALL.c.sequence).where(_CALL.c.key.startswith(prefix, autoescape=True)).limit(1)
    return connection.scalar(query) is not None


def _next_in_line() -> ColumnElement[bool]:
    """Whether no earlier call of the same hold waits."""
    earlier = _CALL.alias()
    return ~exists().where(
        earlier.c.hold == _CALL.c.hold,
        earlier.c.state == CallState.WAITING.value,
        earlier.c.sequence < _CALL.c.sequence,
    )


def release_in(connection: Connection) -> None:
    """End all claims, where nobody is left who could have made one: what was being sent is sent again."""
    connection.execute(_CALL.update().where(_CALL.c.leased_until > 0).values(leased_until=0))


def claim_in(connection: Connection, now: int, *, lease_s: int, without: Collection[str] = ()) -> Outgoing | None:
    """Take the next call that may be sent now, for *lease_s* seconds; each waits for the earlier ones of its hold.

    Calls through the integrations in *without* are left alone.
    """
    query = (
        select(_CALL)
        .where(
            _CALL.c.state == CallState.WAITING.value,
            _CALL.c.due_at <= now,
            _CALL.c.leased_until <= now,
            _CALL.c.integration.not_in(list(without)),
            _next_in_line(),
        )
        .order_by(_CALL.c.sequence)
        .limit(1)
        .with_for_update(skip_locked=True, of=_CALL)
    )
    row = connection.execute(query).one_or_none()
    if row is None:
        return None
    values = {"leased_until": now + lease_s, "attempts": row.attempts + 1}
    connection.execute(_CALL.update().where(_CALL.c.sequence == row.sequence).values(**values))
    return _outgoing(row, **values)


def settle_in(
    connection: Connection, taken: Outgoing, state: CallState, *, now: int, due_at: int = 0, error: str = ""
) -> bool:
    """Note what came of a call that was claimed; False where another has noted so meanwhile."""
    found = connection.execute(
        _CALL.update()
        .where(_CALL.c.sequence == taken.sequence, _CALL.c.state == CallState.WAITING.value)
        .values(
            state=state.value,
            due_at=due_at or now,
            leased_until=0,
            error=error,
            done_at=None if state is CallState.WAITING else now,
        )
    )
    return bool(found.rowcount)


def drop_waiting_in(connection: Connection, hold: str, verbs: Sequence[Verb], now: int) -> int:
    """Let calls of a hold that were not sent yet be: something newer is said instead."""
    values = {"state": CallState.LAPSED.value, "done_at": now, "leased_until": 0}
    found = connection.execute(
        _CALL.update()
        .where(
            _CALL.c.hold == hold,
            _CALL.c.state == CallState.WAITING.value,
            _CALL.c.verb.in_([one.value for one in verbs]),
            _CALL.c.leased_until <= now,
        )
        .values(**values)
    )
    return int(found.rowcount)


def calls_in(connection: Connection, hold: str) -> list[Outgoing]:
    """The calls of a hold, oldest first."""
    query = select(_CALL).where(_CALL.c.hold == hold).order_by(_CALL.c.sequence)
    return [_outgoing(row) for row in connection.execute(query)]


def call_counts_in(connection: Connection) -> dict[tuple[str, str], int]:
    """How many calls wait, and how many will never be taken, by integration and state."""
    query = select(_CALL.c.integration, _CALL.c.state, func.count()).where(
        _CALL.c.state.in_([CallState.WAITING.value, CallState.DEAD.value])
    )
    grouped = query.group_by(_CALL.c.integration, _CALL.c.state)
    return {(row[0], row[1]): int(row[2]) for row in connection.execute(grouped)}


def next_due_in(connection: Connection) -> int | None:
    """When the next call may be sent; None where none waits."""
    query = select(func.min(_CALL.c.due_at)).where(_CALL.c.state == CallState.WAITING.value, _next_in_line())
    found = connection.scalar(query)
    return None if found is None else int(found)


def _outgoing(row: Row[Any], **values: Any) -> Outgoing:
    told: Mapping[str, Any] = json.loads(row.document)
    call = Call(
        row.key,
        row.hold,
        row.integration,
        Verb(row.verb),
        told["method"],
        told["path"],
        told["body"],
        row.not_after,
        told["creates"],
    )
    return Outgoing(
        row.sequence,
        call,
        CallState(row.state),
        row.created_at,
        row.due_at,
        values.get("leased_until", row.leased_until),
        values.get("attempts", row.attempts),
        row.error,
        row.done_at,
    )


# --- pod templates -------------------------------------------------------------------------------------------------


def admitted_in(connection: Connection, place: str) -> dict[str, int]:
    """The pod templates that were let in at a place, each with its number: those that came later have greater ones."""
    query = select(_ADMITTED.c.template, _ADMITTED.c.number).where(_ADMITTED.c.place == place)
    return {row[0]: int(row[1]) for row in connection.execute(query)}


def admit_in(connection: Connection, place: str, template: str, now: int) -> None:
    """Note that a pod template was let in; the oldest of many are forgotten."""
    here = _ADMITTED.c.place == place
    if connection.execute(_ADMITTED.update().where(here, _ADMITTED.c.template == template).values(at=now)).rowcount:
        return
    number = int(connection.scalar(select(func.coalesce(func.max(_ADMITTED.c.number), 0)).where(here)) or 0) + 1
    connection.execute(_ADMITTED.insert().values(place=place, template=template, number=number, at=now))
    connection.execute(delete(_ADMITTED).where(here, _ADMITTED.c.number <= number - _MOST_TEMPLATES))
