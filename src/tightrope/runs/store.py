"""The door to runs: their steps with leases and fences, the intents, and which places are alive.

Who changes a run takes its locks in this order: the group, the run, its steps, and last the journal. A claim takes
steps alone and skips those that others hold, so neither waits for the other.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import lru_cache
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
    UniqueConstraint,
    and_,
    bindparam,
    delete,
    func,
    or_,
    select,
    text,
    tuple_,
    update,
)

from tightrope.base.canonical import canonical
from tightrope.runs.steps import Document, Intent, OnUnknown, Run, RunState, Step, StepPlan, StepState, Stop, When
from tightrope.state.tables import TABLES

_RUN = Table(
    "run",
    TABLES,
    Column("number", BigInteger().with_variant(Integer(), "sqlite"), primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("kind", Text, nullable=False),
    Column("service", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("group_name", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("document", Text, nullable=False),
    Column("asked_by", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("ticket", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("started_at", BigInteger, nullable=True),
    Column("finished_at", BigInteger, nullable=True),
    Column("cancelled_by", Text, nullable=False),
    Column("reason", Text, nullable=False),
    UniqueConstraint("kind", "key", name="run_key"),
    Index("run_group_state", "group_name", "state", "ticket"),
    Index("run_service", "service", "number"),
)
_STEP = Table(
    "run_step",
    TABLES,
    Column("run", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("number", BigInteger, nullable=False),
    Column("position", Integer, nullable=False),
    Column("kind", Text, nullable=False),
    Column("plan", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("first_attempt", Integer, nullable=False),
    Column("memory", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("why", Text, nullable=False),
    Column("due_at", BigInteger, nullable=False),
    Column("deadline_at", BigInteger, nullable=True),
    Column("started_at", BigInteger, nullable=True),
    Column("finished_at", BigInteger, nullable=True),
    Column("stop", Text, nullable=False),
    Column("probing", Boolean, nullable=False),
    Column("faults", Integer, nullable=False),
    Column("fence", BigInteger, nullable=False),
    Column("owner", Text, nullable=False),
    Column("leased_until", BigInteger, nullable=False),
    Column("place", Text, nullable=False),
    Column("woken", Boolean, nullable=False),
    Index("run_step_due", "state", "due_at"),
)
_INTENT = Table(
    "run_intent",
    TABLES,
    Column("key", Text, primary_key=True),
    Column("run", Text, nullable=False),
    Column("step", Text, nullable=False),
    Column("document", Text, nullable=False),
    Column("result", Text, nullable=True),
    Column("made_at", BigInteger, nullable=False),
    Column("settled_at", BigInteger, nullable=True),
    Index("run_intent_run", "run", "step"),
)
_PLACE = Table(
    "run_place",
    TABLES,
    Column("place", Text, primary_key=True),
    Column("alive_until", BigInteger, nullable=False),
)

# What every turn asks is put together once: SQLAlchemy takes longer for that than a database for the answer.
_OF_STEP = and_(_STEP.c.run == bindparam("of_run"), _STEP.c.name == bindparam("of_name"))
_KEPT = update(_STEP).where(_OF_STEP)
_MINE = (
    select(_STEP)
    .where(_OF_STEP, _STEP.c.fence == bindparam("of_fence"), _STEP.c.owner == bindparam("of_owner"))
    .with_for_update()
)
_RENEWED = _KEPT.where(_STEP.c.fence == bindparam("of_fence"), _STEP.c.owner == bindparam("of_owner"))
_GROUP_OF_RUN = select(_RUN.c.group_name).where(_RUN.c.id == bindparam("of_run"))
_ONE_RUN = select(_RUN).where(_RUN.c.id == bindparam("of_run"))
_ITS_STEPS = select(_STEP).where(_STEP.c.run == bindparam("of_run")).order_by(_STEP.c.position)
_LOCKED_RUN, _LOCKED_STEPS = _ONE_RUN.with_for_update(), _ITS_STEPS.with_for_update()
_KEPT_RUN = update(_RUN).where(_RUN.c.id == bindparam("of_run"))
_REACHABLE = or_(
    _STEP.c.place == "",
    _STEP.c.place == bindparam("at_place"),
    _STEP.c.place.not_in(select(_PLACE.c.place).where(_PLACE.c.alive_until > bindparam("now"))),
)
_UNDER_WAY = (RunState.RUNNING.value, RunState.UNKNOWN.value)
_TURNED = _STEP.c.state.in_((StepState.READY.value, StepState.RUNNING.value))
_OF_KINDS = _STEP.c.kind.in_(bindparam("kinds", expanding=True))
_IS_DUE = _STEP.c.due_at <= bindparam("now")
_IS_WOKEN = and_(
    tuple_(_STEP.c.run, _STEP.c.name).in_(bindparam("woken", expanding=True)),
    _STEP.c.state == StepState.RUNNING.value,
)
_FREE = select(_STEP.c.run, _STEP.c.name).where(_IS_WOKEN, _STEP.c.leased_until <= bindparam("now"))
_DUE = {
    dialect: select(func.min(later(_STEP.c.due_at, _STEP.c.leased_until))).where(_TURNED, _OF_KINDS, _REACHABLE)
    for dialect, later in (("sqlite", func.max), ("postgresql", func.greatest))
}
_CLAIMED, _CLAIMED_WITH_WOKEN = (
    select(_STEP)
    .where(_TURNED, _STEP.c.leased_until <= bindparam("now"), _OF_KINDS, due, _REACHABLE)
    .order_by(_STEP.c.due_at, _STEP.c.number, _STEP.c.position)
    .limit(bindparam("most", type_=Integer))
    .with_for_update(skip_locked=True)
    for due in (_IS_DUE, or_(_IS_DUE, _IS_WOKEN))
)


def now_in(connection: Connection) -> int:
    """The present by the clock of the database, UTC epoch seconds; it goes on within a transaction."""
    postgresql = connection.dialect.name == "postgresql"
    query = "SELECT floor(extract(epoch FROM clock_timestamp()))" if postgresql else "SELECT strftime('%s', 'now')"
    return int(connection.execute(text(query)).scalar_one())


# --- runs ----------------------------------------------------------------------------------------------------------


def group_lock(group: str) -> str:
    """What is locked for a group; empty: nothing."""
    return f"tightrope run group {group}" if group else ""


def lock_in(connection: Connection, what: str) -> None:
    """Be the only one who deals with a group, or a key, until the transaction ends; SQLite has one writer anyway."""
    if what and connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:what, 0))"), {"what": what})


def add_in(connection: Connection, run: Run) -> Run:
    """Keep a new run with its steps; hands it out with its number."""
    values = _run_values(run)
    del values["number"]
    number = connection.execute(_RUN.insert().values(values)).inserted_primary_key
    assert number is not None
    run = replace(run, number=int(number[0]))
    rows = [
        _step_values(step)
        | {"run": step.run, "name": step.name, "kind": step.kind, "plan": _plan_text(step.plan)}
        | {"number": run.number, "position": position, "woken": False}
        for position, step in enumerate(run.steps)
    ]
    connection.execute(_STEP.insert(), rows)
    return run


def next_ticket_in(connection: Connection, group: str) -> int:
    """The next place in the queue of a group."""
    last = connection.scalar(select(func.max(_RUN.c.ticket)).where(_RUN.c.group_name == group)) if group else None
    return 1 if last is None else int(last) + 1


def keyed_in(connection: Connection, kind: str, key: str) -> Run | None:
    """The run that was started under a key."""
    return _one_in(connection, (_RUN.c.kind == kind) & (_RUN.c.key == key))


def run_in(connection: Connection, name: str) -> Run | None:
    """One run, by its id or its number."""
    if name.isascii() and name.isdigit() and len(name) < 19:
        return _one_in(connection, _RUN.c.number == int(name))
    row = connection.execute(_ONE_RUN, {"of_run": name}).one_or_none()
    return None if row is None else _whole(connection, row)


def locked_in(connection: Connection, name: str) -> Run | None:
    """One run with its steps, by its id, to be changed: nobody else changes it until the transaction ends."""
    which = {"of_run": name}
    group = connection.scalar(_GROUP_OF_RUN, which)
    if group is None:
        return None
    lock_in(connection, group_lock(group))
    row = connection.execute(_LOCKED_RUN, which).one()
    return _run(row, [_step(one) for one in connection.execute(_LOCKED_STEPS, which)])


def busy_in(connection: Connection, group: str) -> bool:
    """Whether a run of a group is under way or waits."""
    query = select(_RUN.c.id).where(_RUN.c.group_name == group, _RUN.c.state.in_((*_UNDER_WAY, RunState.QUEUED.value)))
    return connection.scalar(query.limit(1)) is not None


def next_of_group_in(connection: Connection, group: str) -> str | None:
    """The id of the run of a group that may begin now; None where one is under way, or none waits."""
    mine = _RUN.c.group_name == group
    if connection.scalar(select(_RUN.c.id).where(mine, _RUN.c.state.in_(_UNDER_WAY)).limit(1)) is not None:
        return None
    query = select(_RUN.c.id).where(mine, _RUN.c.state == RunState.QUEUED.value).order_by(_RUN.c.ticket).limit(1)
    return connection.scalar(query)


def keep_in(connection: Connection, before: Run, after: Run) -> None:
    """Keep what differs between a run that was locked and what became of it."""
    if replace(before, steps=()) != replace(after, steps=()):
        values = _run_values(after)
        connection.execute(_KEPT_RUN, values | {"of_run": after.id})
    for old, new in zip(before.steps, after.steps, strict=True):
        if old != new:
            keep_step_in(connection, new)


def open_counts_in(connection: Connection) -> tuple[dict[tuple[str, str], int], dict[tuple[str, str], int]]:
    """How many runs are not over, by kind and state; and how many of their steps wait for a turn or have had one."""
    opened = (RunState.QUEUED.value, *_UNDER_WAY)
    runs = select(_RUN.c.kind, _RUN.c.state, func.count()).where(_RUN.c.state.in_(opened))
    steps = select(_STEP.c.kind, _STEP.c.state, func.count()).where(
        _STEP.c.state.in_((StepState.READY.value, StepState.RUNNING.value, StepState.UNKNOWN.value))
    )
    return (
        {(kind, state): count for kind, state, count in connection.execute(runs.group_by(_RUN.c.kind, _RUN.c.state))},
        {
            (kind, state): count
            for kind, state, count in connection.execute(steps.group_by(_STEP.c.kind, _STEP.c.state))
        },
    )


def runs_in(
    connection: Connection,
    *,
    kind: str = "",
    service: str = "",
    group: str | None = None,
    states: Collection[RunState] = (),
    before: int | None = None,
    limit: int = 50,
) -> list[Run]:
    """Runs with their steps, newest first: of a kind, a service, a group, in some states, with a lower number."""
    query = select(_RUN)
    if kind:
        query = query.where(_RUN.c.kind == kind)
    if service:
        query = query.where(_RUN.c.service == service)
    if group is not None:
        query = query.where(_RUN.c.group_name == group)
    if states:
        query = query.where(_RUN.c.state.in_([state.value for state in states]))
    if before is not None:
        query = query.where(_RUN.c.number < before)
    rows = connection.execute(query.order_by(_RUN.c.number.desc()).limit(limit)).all()
    steps: dict[str, list[Step]] = {row.id: [] for row in rows}
    if rows:
        wanted = select(_STEP).where(_STEP.c.run.in_(list(steps))).order_by(_STEP.c.run, _STEP.c.position)
        for one in connection.execute(wanted):
            steps[one.run].append(_step(one))
    return [_run(row, steps[row.id]) for row in rows]


def forget_in(connection: Connection, finished_before: int, limit: int = 100) -> list[Run]:
    """Let go of runs that ended long ago; hands out those that are gone."""
    query = select(_RUN.c.id).where(_RUN.c.finished_at < finished_before).order_by(_RUN.c.number).limit(limit)
    gone = [run for name in connection.scalars(query).all() if (run := run_in(connection, name)) is not None]
    names = [run.id for run in gone]
    for table, column in ((_INTENT, _INTENT.c.run), (_STEP, _STEP.c.run), (_RUN, _RUN.c.id)):
        connection.execute(delete(table).where(column.in_(names)))
    return gone


def _one_in(connection: Connection, which: ColumnElement[bool]) -> Run | None:
    row = connection.execute(select(_RUN).where(which)).one_or_none()
    return None if row is None else _whole(connection, row)


def _whole(connection: Connection, row: Row[Any]) -> Run:
    return _run(row, [_step(one) for one in connection.execute(_ITS_STEPS, {"of_run": row.id})])


# --- claims --------------------------------------------------------------------------------------------------------


def due_in(connection: Connection, kinds: Collection[str], place: str, now: int) -> int | None:
    """When a step may next be claimed at this place; None: none is waiting."""
    told = {"kinds": list(kinds), "at_place": place, "now": now}
    at = connection.scalar(_DUE[connection.dialect.name], told)
    return None if at is None else int(at)


def claim_in(
    connection: Connection,
    kinds: Collection[str],
    place: str,
    now: int,
    *,
    most: int,
    woken: Collection[tuple[str, str]] = (),
) -> list[Step]:
    """Steps that may be turned now, oldest first, locked: the caller is to keep them as its own, or let them be.

    Args:
        kinds: Of these kinds.
        place: Where the worker is: steps whose command runs at another living place are not its business.
        woken: Steps, by run and name, that are due whatever their time says.
        most: At most so many.
    """
    told = {"kinds": list(kinds), "at_place": place, "now": now, "most": most}
    query = _CLAIMED_WITH_WOKEN if woken else _CLAIMED
    return [_step(row) for row in connection.execute(query, told | {"woken": list(woken)} if woken else told)]


def free_in(connection: Connection, names: Collection[tuple[str, str]], now: int) -> set[tuple[str, str]]:
    """Of some steps, by run and name, those that are under way and that nobody turns now."""
    if not names:
        return set()
    found = connection.execute(_FREE, {"woken": list(names), "now": now})
    return {(row.run, row.name) for row in found}


def own_in(connection: Connection, step: Step) -> None:
    """Keep a claimed step as its worker's; what had woken it is done with."""
    connection.execute(_KEPT, _step_values(step) | {"woken": False} | _name_of(step))


def mine_in(connection: Connection, step: Step) -> tuple[Step, bool] | None:
    """A claimed step as it is now, locked, and whether it was woken meanwhile; None: it is another's."""
    row = connection.execute(_MINE, _name_of(step) | {"of_fence": step.fence, "of_owner": step.owner}).one_or_none()
    return None if row is None else (_step(row), bool(row.woken))


def keep_step_in(connection: Connection, step: Step) -> None:
    """Keep a step that is locked."""
    connection.execute(_KEPT, _step_values(step) | _name_of(step))


def _name_of(step: Step) -> dict[str, str]:
    return {"of_run": step.run, "of_name": step.name}


def renew_in(connection: Connection, held: Sequence[Step], until: int) -> list[Step]:
    """Hold steps for longer; hands out those that are another's by now."""
    lost = []
    for step in held:
        fence = {"of_fence": step.fence, "of_owner": step.owner}
        kept = connection.execute(_RENEWED, {"leased_until": until} | _name_of(step) | fence)
        if kept.rowcount != 1:
            lost.append(step)
    return lost


def wake_in(connection: Connection, run: str, name: str, now: int) -> bool:
    """Let a step be turned at once; one that is being turned is turned again after that."""
    done = connection.execute(
        update(_STEP)
        .where(_STEP.c.run == run, _STEP.c.name == name, _STEP.c.state == StepState.RUNNING.value)
        .values(woken=True, due_at=now)
    )
    return done.rowcount == 1


def alive_in(connection: Connection, place: str, now: int, until: int) -> bool:
    """Keep that a place is alive; whether it was taken for dead, or not known at all."""
    before = connection.scalar(select(_PLACE.c.alive_until).where(_PLACE.c.place == place))
    connection.execute(
        text(
            "INSERT INTO run_place (place, alive_until) VALUES (:place, :until)"
            " ON CONFLICT (place) DO UPDATE SET alive_until = excluded.alive_until"
        ),
        {"place": place, "until": until},
    )
    return before is None or before <= now


def owners_in(connection: Connection, beginning: str) -> list[str]:
    """The owners of steps that are being turned, of those whose names begin so."""
    query = select(_STEP.c.owner).where(
        _STEP.c.state == StepState.RUNNING.value,
        _STEP.c.leased_until > 0,
        _STEP.c.owner.startswith(beginning, autoescape=True),
    )
    return list(connection.scalars(query.distinct()))


def release_in(connection: Connection, owner: str, now: int) -> None:
    """End the leases of an owner who is known to be dead."""
    connection.execute(
        update(_STEP)
        .where(_STEP.c.state == StepState.RUNNING.value, _STEP.c.owner == owner, _STEP.c.leased_until > now)
        .values(leased_until=now, due_at=now)
    )


def wake_at_in(connection: Connection, place: str, now: int) -> None:
    """Let all steps whose command runs at a place be looked at."""
    connection.execute(
        update(_STEP)
        .where(_STEP.c.state == StepState.RUNNING.value, _STEP.c.place == place, _STEP.c.owner == "")
        .where(_STEP.c.due_at > now)
        .values(due_at=now)
    )


def unknown_at_in(connection: Connection, place: str, kinds: Collection[str]) -> list[tuple[str, str]]:
    """Steps with unknown outcome whose command ran at this place, by run and name."""
    query = select(_STEP.c.run, _STEP.c.name).where(
        _STEP.c.state == StepState.UNKNOWN.value, _STEP.c.place == place, _STEP.c.kind.in_(kinds)
    )
    return [(row.run, row.name) for row in connection.execute(query)]


# --- intents -------------------------------------------------------------------------------------------------------


def intent_in(connection: Connection, key: str) -> Intent | None:
    """The intent that was announced under a key."""
    row = connection.execute(select(_INTENT).where(_INTENT.c.key == key)).one_or_none()
    return None if row is None else _intent(row)


def intend_in(connection: Connection, step: Step, intent: Intent) -> None:
    """Keep a new intent of a step."""
    values = {
        "key": intent.key,
        "run": step.run,
        "step": step.name,
        "document": canonical(dict(intent.document)),
        "result": None,
        "made_at": intent.made_at,
        "settled_at": None,
    }
    connection.execute(_INTENT.insert().values(values))


def settle_in(connection: Connection, key: str, result: Document, now: int) -> None:
    """Keep what came of an intent, unless that is known already."""
    connection.execute(
        update(_INTENT)
        .where(_INTENT.c.key == key, _INTENT.c.result.is_(None))
        .values(result=canonical(dict(result)), settled_at=now)
    )


def intents_in(connection: Connection, run: str, step: str = "") -> list[Intent]:
    """The intents of a run, or of one of its steps, oldest first."""
    query = select(_INTENT).where(_INTENT.c.run == run).order_by(_INTENT.c.made_at, _INTENT.c.key)
    if step:
        query = query.where(_INTENT.c.step == step)
    return [_intent(row) for row in connection.execute(query)]


def _intent(row: Row[Any]) -> Intent:
    result = None if row.result is None else json.loads(row.result)
    return Intent(row.key, json.loads(row.document), False, result, row.made_at)


# --- rows ----------------------------------------------------------------------------------------------------------


def _run_values(run: Run) -> dict[str, Any]:
    return {
        "number": run.number,
        "id": run.id,
        "kind": run.kind,
        "service": run.service,
        "title": run.title,
        "group_name": run.group,
        "key": run.key,
        "document": canonical(dict(run.document)),
        "asked_by": run.by,
        "state": run.state.value,
        "ticket": run.ticket,
        "created_at": run.created_at,
        "started_at": run.started_at,
        "finished_at": run.finished_at,
        "cancelled_by": run.cancelled_by,
        "reason": run.reason,
    }


def _run(row: Row[Any], steps: Sequence[Step]) -> Run:
    return Run(
        id=row.id,
        number=row.number,
        kind=row.kind,
        service=row.service,
        title=row.title,
        group=row.group_name,
        key=row.key,
        document=json.loads(row.document),
        by=row.asked_by,
        state=RunState(row.state),
        ticket=row.ticket,
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        cancelled_by=row.cancelled_by,
        reason=row.reason,
        steps=tuple(steps),
    )


def _step_values(step: Step) -> dict[str, Any]:
    """What of a step may change."""
    return {
        "state": step.state.value,
        "attempt": step.attempt,
        "first_attempt": step.first_attempt,
        "memory": canonical(dict(step.memory)),
        "outcome": canonical(dict(step.outcome)),
        "why": step.why,
        "due_at": step.due_at,
        "deadline_at": step.deadline_at,
        "started_at": step.started_at,
        "finished_at": step.finished_at,
        "stop": "" if step.stop is None else step.stop.value,
        "probing": step.probing,
        "faults": step.faults,
        "fence": step.fence,
        "owner": step.owner,
        "leased_until": step.leased_until,
        "place": step.place,
    }


def _step(row: Row[Any]) -> Step:
    return Step(
        run=row.run,
        plan=_plan(row.plan),
        state=StepState(row.state),
        attempt=row.attempt,
        first_attempt=row.first_attempt,
        memory={} if row.memory == "{}" else json.loads(row.memory),
        outcome={} if row.outcome == "{}" else json.loads(row.outcome),
        why=row.why,
        due_at=row.due_at,
        deadline_at=row.deadline_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        stop=Stop(row.stop) if row.stop else None,
        probing=bool(row.probing),
        faults=row.faults,
        fence=row.fence,
        owner=row.owner,
        leased_until=row.leased_until,
        place=row.place,
    )


def _plan_text(plan: StepPlan) -> str:
    return canonical(
        {
            "name": plan.name,
            "kind": plan.kind,
            "document": dict(plan.document),
            "needs": list(plan.needs),
            "when": plan.when.value,
            "timeout_s": plan.timeout_s,
            "retries": plan.retries,
            "backoff_s": plan.backoff_s,
            "on_unknown": plan.on_unknown.value,
            "optional": plan.optional,
        }
    )


@lru_cache(maxsize=4096)
def _plan(plain: str) -> StepPlan:
    """A plan never changes, and is read with every turn: those read before are kept."""
    document = json.loads(plain)
    return StepPlan(
        **document
        | {
            "needs": tuple(document["needs"]),
            "when": When(document["when"]),
            "on_unknown": OnUnknown(document["on_unknown"]),
        }
    )
