"""The door to recorded decisions: they are events of the journal, and nothing else."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence

from tightrope.base.canonical import canonical
from tightrope.base.errors import DataError
from tightrope.policy.record import DecisionRecord, Kept, document_of, record_of
from tightrope.state.journal import Event, Journal

DECISION_MADE = "dev.tightrope.decision.made.v1"
SOURCE = "/tightrope/gate"


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
    digest = hashlib.sha256(canonical(document).encode()).hexdigest()
    return Event(f"{record.decision.id}.{digest}", SOURCE, DECISION_MADE, record.request.service, now, document)
