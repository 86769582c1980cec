"""The door to what is kept of rollouts besides their runs: what people said to them, and every turn they took."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import BigInteger, Column, Connection, Index, Integer, Table, Text, delete, select

from tightrope.base.canonical import canonical
from tightrope.base.values import dataclass
from tightrope.state.tables import TABLES

_WORD = Table(
    "rollout_word",
    TABLES,
    Column("sequence", BigInteger().with_variant(Integer(), "sqlite"), primary_key=True),
    Column("run", Text, nullable=False),
    Column("said", Text, nullable=False),
    Column("said_by", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("document", Text, nullable=False),
    Column("said_at", BigInteger, nullable=False),
    Index("rollout_word_run", "run", "sequence"),
)
_TURN = Table(
    "rollout_turn",
    TABLES,
    Column("run", Text, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("at", BigInteger, nullable=False),
    Column("facts", Text, nullable=False),
    Column("shown", Text, nullable=False),
)
COUNTS = "counts"
"""A word that no person says: counts of both versions that were sent."""


@dataclass(frozen=True, slots=True)
class SaidWord:
    """Something that was said to a rollout."""

    row: int
    said: str
    by: str
    reason: str
    document: Mapping[str, Any]
    at: int


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn: the facts that it went by (the state it began with, for number 0), and what is shown of it."""

    number: int
    at: int
    facts: Mapping[str, Any]
    shown: Mapping[str, Any]


def say_in(
    connection: Connection, run: str, said: str, *, by: str, reason: str, document: Mapping[str, Any], at: int
) -> None:
    """Write down what was said."""
    connection.execute(
        _WORD.insert().values(
            run=run, said=said, said_by=by, reason=reason, document=canonical(dict(document)), said_at=at
        )
    )


def words_in(connection: Connection, run: str, after: int) -> list[SaidWord]:
    """What was said after a row, in order."""
    rows = connection.execute(
        select(_WORD).where(_WORD.c.run == run, _WORD.c.sequence > after).order_by(_WORD.c.sequence)
    )
    return [
        SaidWord(row.sequence, row.said, row.said_by, row.reason, json.loads(row.document), row.said_at) for row in rows
    ]


def keep_turn_in(
    connection: Connection, run: str, number: int, at: int, facts: Mapping[str, Any], shown: Mapping[str, Any]
) -> None:
    """Keep a turn; one that was cut short before its answer was kept is taken again, and replaced here."""
    connection.execute(delete(_TURN).where(_TURN.c.run == run, _TURN.c.number == number))
    connection.execute(
        _TURN.insert().values(run=run, number=number, at=at, facts=canonical(dict(facts)), shown=canonical(dict(shown)))
    )


def turns_in(connection: Connection, run: str, after: int = -1, limit: int = 100_000) -> list[Turn]:
    """The turns of a rollout after a number, in order."""
    rows = connection.execute(
        select(_TURN).where(_TURN.c.run == run, _TURN.c.number > after).order_by(_TURN.c.number).limit(limit)
    )
    return [Turn(row.number, row.at, json.loads(row.facts), json.loads(row.shown)) for row in rows]
