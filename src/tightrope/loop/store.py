"""The door to what the loop remembers: engine memories by track, and how far each series' telemetry was asked for."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BigInteger, Column, Connection, Integer, Table, Text, delete, select

from tightrope.alerting.alerts import AlertMemory
from tightrope.base.canonical import canonical
from tightrope.engine.step import Memory
from tightrope.policy.states import PolicyMemory
from tightrope.state.database import Database
from tightrope.state.tables import TABLES

_TRACK = Table(
    "live_track",
    TABLES,
    Column("track", Text, primary_key=True),
    Column("definition", Text, nullable=False),
    Column("evaluated_to", BigInteger, nullable=False),
    Column("memory", Text, nullable=False),
    Column("reason", Text, nullable=False),
)
_FEED = Table(
    "live_feed",
    TABLES,
    Column("series", Integer, primary_key=True, autoincrement=False),
    Column("asked_from", BigInteger, nullable=False),
    Column("asked_to", BigInteger, nullable=False),
    Column("shift_s", BigInteger, nullable=False),
)


@dataclass(frozen=True, slots=True)
class Remembered:
    """What is known of one track.

    Attributes:
        track: Its key.
        definition: Digest of all that its evaluation rests on beside telemetry; another one needs another memory.
        evaluated_to: The evaluation after which *memory* was as it is, UTC epoch seconds; it has not changed since.
        memory: The engine's.
        reason: Why the policy is in its state, in words; empty: it started there.
    """

    track: str
    definition: str
    evaluated_to: int
    memory: Memory
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Asked:
    """The stretch that a series' source was asked for, UTC epoch seconds; *shift_s* moves recorded data in time."""

    series: int
    asked_from: int
    asked_to: int
    shift_s: int = 0


class LiveStore:
    """What the loop remembers."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def tracks(self) -> dict[str, Remembered]:
        """Everything that is remembered, by track."""
        with self._database.reading() as connection:
            rows = connection.execute(select(_TRACK)).all()
        return {
            row.track: Remembered(
                row.track, row.definition, row.evaluated_to, memory_of(json.loads(row.memory)), row.reason
            )
            for row in rows
        }

    def feeds(self) -> dict[int, Asked]:
        """How far every series was asked for."""
        with self._database.reading() as connection:
            return {row.series: Asked(*row) for row in connection.execute(select(_FEED))}

    def remember_in(self, connection: Connection, tracks: Iterable[Remembered]) -> None:
        """Keep memories, in the place of older ones."""
        rows = [
            {
                "track": one.track,
                "definition": one.definition,
                "evaluated_to": one.evaluated_to,
                "memory": canonical(document_of(one.memory)),
                "reason": one.reason,
            }
            for one in tracks
        ]
        if rows:
            connection.execute(delete(_TRACK).where(_TRACK.c.track.in_([row["track"] for row in rows])))
            connection.execute(_TRACK.insert(), rows)

    def asked_in(self, connection: Connection, feeds: Iterable[Asked]) -> None:
        """Keep how far series were asked for."""
        rows = [
            {"series": one.series, "asked_from": one.asked_from, "asked_to": one.asked_to, "shift_s": one.shift_s}
            for one in feeds
        ]
        if rows:
            connection.execute(delete(_FEED).where(_FEED.c.series.in_([row["series"] for row in rows])))
            connection.execute(_FEED.insert(), rows)


def document_of(memory: Memory) -> dict[str, Any]:
    """An engine memory as plain JSON values."""
    policy = memory.policy
    return {
        "history": memory.history_start,
        "alerts": [[one.held_since, one.firing_since] for one in memory.alerts],
        "policy": [policy.state, policy.since, list(policy.enter_since), list(policy.exit_since)],
        "stale": memory.stale,
    }


def memory_of(document: dict[str, Any]) -> Memory:
    """The memory that `document_of` wrote."""
    state, since, enter, leave = document["policy"]
    return Memory(
        document["history"],
        tuple(AlertMemory(*one) for one in document["alerts"]),
        PolicyMemory(state, since, tuple(enter), tuple(leave)),
        document["stale"],
    )
