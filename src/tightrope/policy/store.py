"""The door to recorded decisions, which are events of the journal and nothing else, and to exceptions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import BigInteger, Boolean, Column, Connection, Index, Integer, Row, Table, Text, delete, select

from tightrope.base.canonical import digest
from tightrope.base.errors import DataError
from tightrope.policy.exceptions import ExceptionRequest, Standing
from tightrope.policy.record import DecisionRecord, Kept, document_of, record_of
from tightrope.state.journal import Event, Journal
from tightrope.state.tables import TABLES

DECISION_MADE = "dev.tightrope.decision.made.v1"
SOURCE = "/tightrope/gate"

_EXCEPTION = Table(
    "exception_request",
    TABLES,
    Column("id", Text, primary_key=True),
    Column("service", Text, nullable=False),
    Column("environment", Text, nullable=False),
    Column("change", Text, nullable=False),
    Column("requested_by", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("requested_at", BigInteger, nullable=False),
    Column("lasts_s", Integer, nullable=False),
    Column("standing", Text, nullable=False),
    Column("decided_by", Text, nullable=False),
    Column("decided_at", BigInteger, nullable=True),
    Column("note", Text, nullable=False),
    Column("approved_by", Text, nullable=False),
    Column("granted_at", BigInteger, nullable=True),
    Column("expires_at", BigInteger, nullable=True),
    Column("break_glass", Boolean, nullable=False),
    Index("exception_request_service", "service", "requested_at"),
)


class Decisions:
    """The decisions in a journal."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def add(self, record: DecisionRecord, now: int) -> int:
        """Keep a decision; returns its row, which is the old one where the very same was recorded before.

        The event's id holds a digest of all that is recorded, so that one id of a decision can neither hide another
        decision that happens to share it nor what another version decided on the same inputs.
        """
        return self.add_all([record], now)[0]

    def add_all(self, records: Sequence[DecisionRecord], now: int) -> tuple[int, ...]:
        """Keep decisions in one transaction; returns the row of each, as `add` does."""
        return self._journal.append([_event(record, now) for record in records])

    def read(
        self,
        *,
        service: str = "",
        name: str = "",
        before: int | None = None,
        newest_first: bool = False,
        limit: int | None = None,
        left_out: Callable[[int, str], None] | None = None,
    ) -> Iterator[Kept]:
        """Read decisions: of one service, or with one id ``D-...``, or all; see `Journal.read`.

        Raises:
            DataError: Without *left_out*, a record is none that this version can read.
        """
        ids = f"{name}." if name else ""
        for entry in self._journal.read(
            kind=DECISION_MADE,
            subject=service,
            ids=ids,
            before=before,
            newest_first=newest_first,
            limit=limit,
            left_out=left_out,
        ):
            try:
                record = record_of(entry.event.data)
            except DataError as error:
                if left_out is None:
                    raise
                left_out(entry.sequence, error.message)
            else:
                yield Kept(entry.sequence, entry.event.time, record)


def _event(record: DecisionRecord, now: int) -> Event:
    document = document_of(record)
    return Event(
        f"{record.decision.id}.{digest(document)}", SOURCE, DECISION_MADE, record.request.service, now, document
    )


# --- exceptions ----------------------------------------------------------------------------------------------------


def exceptions_in(
    connection: Connection,
    *,
    service: str = "",
    granted: bool = False,
    before: int | None = None,
    limit: int | None = None,
) -> list[ExceptionRequest]:
    """Requests for exceptions, newest first: of a service, that were ever granted, asked for before an instant."""
    query = select(_EXCEPTION).order_by(_EXCEPTION.c.requested_at.desc(), _EXCEPTION.c.id)
    if service:
        query = query.where(_EXCEPTION.c.service == service)
    if granted:
        query = query.where(_EXCEPTION.c.granted_at.is_not(None))
    if before is not None:
        query = query.where(_EXCEPTION.c.requested_at < before)
    return [_exception(row) for row in connection.execute(query if limit is None else query.limit(limit))]


def exception_in(connection: Connection, name: str, *, lock: bool = False) -> ExceptionRequest | None:
    """One request by its id; with *lock* nobody else changes it within the transaction."""
    query = select(_EXCEPTION).where(_EXCEPTION.c.id == name)
    row = connection.execute(query.with_for_update() if lock else query).one_or_none()
    return None if row is None else _exception(row)


def keep_exception_in(connection: Connection, one: ExceptionRequest) -> None:
    """Keep a request as it is now."""
    connection.execute(delete(_EXCEPTION).where(_EXCEPTION.c.id == one.id))
    connection.execute(_EXCEPTION.insert().values(**asdict(one) | {"standing": one.standing.value}))


def _exception(row: Row[Any]) -> ExceptionRequest:
    return ExceptionRequest(**dict(row._mapping) | {"standing": Standing(row.standing)})  # noqa: SLF001  public in SQLAlchemy
