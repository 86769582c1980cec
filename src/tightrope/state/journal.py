"""The journal: an append-only record of everything that happened, as CloudEvents in a chain of hashes.

Each row holds the hash of the row before it, and its own: sha256 over the canonical JSON of the CloudEvent as it is
exported, without ``sequence`` and ``hash``. So the place of a row follows from the chain, and anybody can check an
export with a JSON tool. What a chain can show, and what only a head noted elsewhere can, is in docs/journal.md.

Source:
    CloudEvents 1.0.2, the JSON event format and the extension ``sequence``.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Index,
    Integer,
    Row,
    Table,
    Text,
    UniqueConstraint,
    select,
)

from tightrope.base.canonical import canonical
from tightrope.base.errors import DataError, StoreError, UsageError
from tightrope.base.units import time_text
from tightrope.state.database import Database
from tightrope.state.tables import TABLES

GENESIS = "0" * 64
"""What the first row has as the hash of the row before it."""

_JOURNAL = Table(
    "journal",
    TABLES,
    Column("sequence", BigInteger().with_variant(Integer(), "sqlite"), primary_key=True, autoincrement=False),
    Column("id", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("time", BigInteger, nullable=False),
    Column("data", Text, nullable=False),
    Column("previous", Text, nullable=False),
    Column("hash", Text, nullable=False),
    UniqueConstraint("source", "id", name="journal_event"),
    Index("journal_type_subject", "type", "subject", "sequence"),
)
_HEAD = Table(
    "journal_head",
    TABLES,
    Column("one", Integer, primary_key=True, autoincrement=False),
    Column("sequence", BigInteger, nullable=False),
    Column("hash", Text, nullable=False),
)
_PAGE = 500
_HASH = re.compile(r"[0-9a-f]{64}")
_UNWRITABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_CHANGED = "does not match its hash: it was changed after it was written"
_REMEDY = "`tightrope audit verify` names every row that is not as it was written"


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened.

    Attributes:
        id, source: Together they name the event; the same pair is the same event, delivered again.
        type: Such as ``dev.tightrope.decision.made.v1``.
        subject: What it happened to, such as a service.
        time: When, UTC epoch seconds.
        data: Plain JSON values without floats, which have no one spelling: fractions are text, ``"p/q"``.
    """

    id: str
    source: str
    type: str
    subject: str
    time: int
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Entry:
    """An event in its place in the journal: ``sequence`` counts from 1, ``previous`` and ``hash`` are hex sha256."""

    sequence: int
    event: Event
    previous: str
    hash: str


@dataclass(frozen=True, slots=True)
class Broken:
    """A row that is not as it was written, or not where; ``sequence`` is None for what is no row's fault."""

    sequence: int | None
    what: str


@dataclass(frozen=True, slots=True)
class Findings:
    """What a check of the whole journal found.

    Attributes:
        rows: How many rows there are.
        sequence, head: The last row by the journal's own head record, and its hash; to be noted elsewhere.
        noted: The row whose hash was noted elsewhere; None where none was given, or no such row is there.
        broken: All that is wrong, oldest first; empty if the chain holds.
    """

    rows: int
    sequence: int
    head: str
    noted: int | None
    broken: tuple[Broken, ...]


class Journal:
    """The journal of one store. Any number of processes may write at once; each append is whole or not there."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def append(self, events: Sequence[Event]) -> tuple[int, ...]:
        """Write events, all or none; when this returns they survive a crash.

        Returns:
            The sequence of each event in the journal, in their order; of the row that is there already for an event
            delivered again.

        Raises:
            DataError: An event can't be a CloudEvent, holds a float, or has the id of another one.
            StoreError: The store can't be written; nothing was.
        """
        with self._database.writing() as connection:
            return self.append_in(connection, events)

    def append_in(self, connection: Connection, events: Sequence[Event]) -> tuple[int, ...]:
        """As `append`, in the caller's writing transaction: the events are there if that is committed, and only then.

        Whoever writes more than events in one transaction writes the events last: from here on, until the transaction
        ends, every other writer of the journal waits.
        """
        texts = [_checked(event) for event in events]
        # The lock on the head puts writers in a queue: on PostgreSQL by this row, on SQLite by the transaction.
        head = _head(connection, lock=True)
        if head is None:
            raise StoreError(
                f"the journal in {self._database.where} has lost its head record", remedy="restore it from a backup"
            )
        sequence, previous = head.sequence, head.hash
        there = _recorded(connection, events)
        positions, rows = [], []
        for event, text in zip(events, texts, strict=True):
            known = there.get((event.source, event.id))
            if known is None:
                sequence += 1
                digest = _digest(event, previous)
                rows.append(
                    {
                        "sequence": sequence,
                        "id": event.id,
                        "source": event.source,
                        "type": event.type,
                        "subject": event.subject,
                        "time": event.time,
                        "data": text,
                        "previous": previous,
                        "hash": digest,
                    }
                )
                previous = digest
                known = there[event.source, event.id] = sequence, event.type, event.subject, text
            elif known[1:] != (event.type, event.subject, text):
                raise DataError(
                    f"the event {event.id} of {event.source} is recorded already, as row {known[0]}, "
                    "with other content",
                    remedy="give another event an id of its own",
                )
            positions.append(known[0])
        if rows:
            connection.execute(_JOURNAL.insert(), rows)
            connection.execute(_HEAD.update().values(sequence=sequence, hash=previous))
        return tuple(positions)

    def read(
        self,
        *,
        after: int = 0,
        before: int | None = None,
        kind: str = "",
        subject: str = "",
        ids: str = "",
        since: int | None = None,
        newest_first: bool = False,
        limit: int | None = None,
        left_out: Callable[[int, str], None] | None = None,
    ) -> Iterator[Entry]:
        """Read rows in their order, a page at a time, each held against its hash.

        Args:
            after, before: Only rows with a higher sequence, and with a lower one.
            kind: Only events of this type; empty: all.
            subject: Only events about this; empty: all.
            ids: Only events whose id begins so; empty: all.
            since: Only events at or after this instant, UTC epoch seconds.
            newest_first: The other way round.
            limit: At most so many.
            left_out: Hears the sequence of a row that does not match its hash, and what is wrong; it is left out.

        Raises:
            StoreError: The store can't be read; or, without *left_out*, a row does not match its hash.
        """
        query = select(_JOURNAL).where(_JOURNAL.c.sequence > after)
        if before is not None:
            query = query.where(_JOURNAL.c.sequence < before)
        if kind:
            query = query.where(_JOURNAL.c.type == kind)
        if subject:
            query = query.where(_JOURNAL.c.subject == subject)
        if ids:
            query = query.where(_JOURNAL.c.id.startswith(ids, autoescape=True))
        if since is not None:
            query = query.where(_JOURNAL.c.time >= since)
        query = query.order_by(_JOURNAL.c.sequence.desc() if newest_first else _JOURNAL.c.sequence)
        last: int | None = None
        while limit is None or limit > 0:
            page = query.limit(_PAGE if limit is None else min(_PAGE, limit))
            if last is not None:
                page = page.where(_JOURNAL.c.sequence < last if newest_first else _JOURNAL.c.sequence > last)
            with self._database.reading() as connection:
                rows = connection.execute(page).all()
            for row in rows:
                entry = _entry(row)
                if entry is not None:
                    yield entry
                elif left_out is not None:
                    left_out(row.sequence, _CHANGED)
                else:
                    where = self._database.where
                    raise StoreError(f"row {row.sequence} of the journal in {where} {_CHANGED}", remedy=_REMEDY)
            if len(rows) < _PAGE:
                return
            last = rows[-1].sequence
            limit = None if limit is None else limit - len(rows)

    def verify(self, head: str = "") -> Findings:
        """Check the whole chain as of one instant: every row's hash, its link to the row before, and the head record.

        Args:
            head: A hash noted elsewhere at an earlier time; all up to its row is then as it was at that time.

        Raises:
            UsageError: *head* is no hash.
            StoreError: The store can't be read.
        """
        if head and not _HASH.fullmatch(head):
            raise UsageError(
                f"{head!r} is not the hash of a row", remedy="give 64 hex digits, as `tightrope audit verify` shows"
            )
        with self._database.reading() as connection:
            return _verified(connection, head)


def cloud_event(entry: Entry) -> dict[str, Any]:
    """Write a row as a CloudEvent in the structured mode: plain JSON values, the journal's own as extensions."""
    return _envelope(entry.event, entry.previous) | {"sequence": f"{entry.sequence:012d}", "hash": entry.hash}


def _envelope(event: Event, previous: str) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": event.id,
        "source": event.source,
        "type": event.type,
        "subject": event.subject,
        "time": time_text(event.time),
        "datacontenttype": "application/json",
        "previoushash": previous,
        "data": event.data,
    }


def _digest(event: Event, previous: str) -> str:
    return hashlib.sha256(canonical(_envelope(event, previous)).encode()).hexdigest()


def _head(connection: Connection, *, lock: bool = False) -> Row[Any] | None:
    """The head record; None where it is missing or no such record any more."""
    row = connection.execute(select(_HEAD).with_for_update() if lock else select(_HEAD)).one_or_none()
    if row is None or not isinstance(row.sequence, int) or not _HASH.fullmatch(str(row.hash)):
        return None
    return row


# --- writing -------------------------------------------------------------------------------------------------------


def _checked(event: Event) -> str:
    """The event's data as canonical JSON; raises `DataError` for what could not be read back as it is."""
    for name in ("id", "source", "type", "subject"):
        value: str = getattr(event, name)
        if not value or _UNWRITABLE.search(value):
            raise DataError(
                f"an event cannot be recorded: its {name} is {value!r}",
                remedy="use one printable character or more, in valid UTF-8",
            )
    _refuse_floats(event.data, "data")
    text = canonical(event.data)
    try:
        text.encode()
        time_text(event.time)
    except UnicodeEncodeError:
        raise DataError(f"the event {event.id} cannot be recorded: a text in it is not valid UTF-8") from None
    except OverflowError:
        raise DataError(f"the event {event.id} cannot be recorded: its time {event.time} is in no calendar") from None
    return text


def _refuse_floats(value: Any, path: str) -> None:
    match value:
        case float():
            raise DataError(
                f"an event cannot be recorded: {path} is the float {value!r}, which has no one spelling",
                remedy="write it as a whole number, or as text such as 1/3",
            )
        case Mapping():
            for key, part in value.items():
                _refuse_floats(part, f"{path}.{key}")
        case list() | tuple():
            for number, part in enumerate(value):
                _refuse_floats(part, f"{path}[{number}]")


def _recorded(connection: Connection, events: Sequence[Event]) -> dict[tuple[str, str], tuple[int, str, str, str]]:
    """Those of the events that are recorded already, by source and id: row, type, subject and data."""
    found: dict[tuple[str, str], tuple[int, str, str, str]] = {}
    by_source: dict[str, list[str]] = {}
    for event in events:
        by_source.setdefault(event.source, []).append(event.id)
    columns = (_JOURNAL.c.sequence, _JOURNAL.c.id, _JOURNAL.c.type, _JOURNAL.c.subject, _JOURNAL.c.data)
    for source, ids in by_source.items():
        for at in range(0, len(ids), _PAGE):
            some = ids[at : at + _PAGE]
            query = select(*columns).where(_JOURNAL.c.source == source, _JOURNAL.c.id.in_(some))
            for row in connection.execute(query):
                found[source, row.id] = row.sequence, row.type, row.subject, row.data
    return found


# --- checking ------------------------------------------------------------------------------------------------------


def _entry(row: Row[Any]) -> Entry | None:
    """The row as a value; None where it is not what its hash was taken of."""
    try:
        data = json.loads(row.data)
        event = Event(row.id, row.source, row.type, row.subject, row.time, data)
        if canonical(data) != row.data or _digest(event, row.previous) != row.hash:
            return None
    except (ValueError, TypeError, OverflowError, RecursionError):
        return None
    return Entry(row.sequence, event, row.previous, row.hash)


def _own_hash(row: Row[Any]) -> str | None:
    """The hash that belongs to the row as it stands; None where it cannot have been written by us."""
    try:
        event = Event(row.id, row.source, row.type, row.subject, row.time, json.loads(row.data))
        return _digest(event, row.previous)
    except (ValueError, TypeError, OverflowError, RecursionError):
        return None


def _verified(connection: Connection, noted_hash: str) -> Findings:
    head = _head(connection)
    everything = select(_JOURNAL).order_by(_JOURNAL.c.sequence).execution_options(yield_per=_PAGE)
    broken: list[Broken] = []
    rows, expected, noted = 0, 1, None
    links: set[str | None] | None = {GENESIS}  # what the next row may name as the row before it; None: anything
    for row in connection.execute(everything):
        rows += 1
        if row.sequence > expected:
            broken.append(Broken(expected, _missing(expected, row.sequence - 1)))
            links = None
        intact = _entry(row) is not None
        if not intact:
            broken.append(Broken(row.sequence, _CHANGED))
        elif links is not None and row.previous not in links:
            broken.append(Broken(row.sequence, _misplaced(connection, row)))
        if head is not None and row.sequence > head.sequence:
            broken.append(Broken(row.sequence, f"stands beyond the head of the journal, which is row {head.sequence}"))
        if intact and row.hash == noted_hash:
            noted = row.sequence
        links = {row.hash} if intact else {row.hash, _own_hash(row)}
        expected = row.sequence + 1
    if head is None:
        broken.append(
            Broken(None, "the head record is missing or damaged: whether rows are missing from the end is unknown")
        )
        return Findings(rows, expected - 1, "", noted, tuple(broken))
    if expected <= head.sequence:
        broken.append(Broken(expected, f"{_missing(expected, head.sequence)} from the end"))
    elif expected - 1 == head.sequence and links is not None and head.hash not in links:
        broken.append(Broken(head.sequence, "is not the row that the head record notes"))
    if noted_hash and noted is None:
        broken.append(Broken(None, f"no row has the hash that was noted elsewhere, {noted_hash}"))
    return Findings(rows, head.sequence, head.hash, noted, tuple(broken))


def _missing(first: int, last: int) -> str:
    return "is missing" if first == last else f"to {last} are missing"


def _misplaced(connection: Connection, row: Row[Any]) -> str:
    """Say what a row follows, if not the row before it."""
    before = row.sequence - 1
    query = select(_JOURNAL.c.sequence).where(_JOURNAL.c.hash == row.previous).order_by(_JOURNAL.c.sequence).limit(1)
    follows = 0 if row.previous == GENESIS else connection.execute(query).scalar()
    if follows is None:
        return f"does not follow row {before}: that row was replaced"
    if follows < before:
        between = f"row {before} was" if follows + 1 == before else f"rows {follows + 1} to {before} were"
        return f"was written after row {follows}: {between} inserted or moved"
    return f"was written after row {follows}: the rows were re-ordered"
