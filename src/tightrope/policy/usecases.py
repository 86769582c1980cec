"""Keep decisions, and account for them: list, show, verify, export."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tightrope import __version__
from tightrope.base.batching import Batching
from tightrope.base.clock import now
from tightrope.base.errors import NotFoundError
from tightrope.policy.decision import Decision, GateFacts
from tightrope.policy.record import DecisionRecord, Kept, recompute
from tightrope.policy.store import Decisions
from tightrope.state.database import Database, opened
from tightrope.state.journal import Findings, Journal, cloud_event

LeftOut = Callable[[int, str], None]
"""Hears the row of a record that is not shown, and why."""


@dataclass(frozen=True, slots=True)
class Differing:
    """A recorded decision that comes out otherwise now: its row, its id, what differs, and the version of then."""

    sequence: int
    decision: str
    what: str
    decided_by: str


@dataclass(frozen=True, slots=True)
class Audit:
    """What a verification found; ``recomputed`` is how many decisions were decided again, None if none was to be."""

    chain: Findings
    recomputed: int | None
    differing: tuple[Differing, ...]

    @property
    def holds(self) -> bool:
        """Whether nothing is broken and nothing differs."""
        return not self.chain.broken and not self.differing


def keep_decision(where: str, decision: Decision, facts: GateFacts) -> int:
    """Record a decision with all its inputs, and return its row in the journal.

    Args:
        where: The store: a directory, made where there is none, or the address of a PostgreSQL database.
        decision: What was decided.
        facts: What it was decided on.

    Raises:
        StoreError: It could not be recorded.
    """
    record = DecisionRecord(decision.request, facts, decision, __version__)
    with opened(where, create=True) as database:
        return Decisions(Journal(database)).add(record, now())


class DecisionBook:
    """The decisions of an open store: kept before they are told, many at once where many ask at once."""

    def __init__(self, database: Database, clock: Callable[[], int] = now) -> None:
        self._decisions = Decisions(Journal(database))
        self._now = clock
        self._writing: Batching[DecisionRecord, int] = Batching("decisions", self._keep)

    def keep(self, decision: Decision, facts: GateFacts) -> int:
        """Record a decision with all its inputs, and return its row; raises `StoreError` where that cannot be."""
        return self._writing.submit(DecisionRecord(decision.request, facts, decision, __version__)).result()

    def newest(self, *, service: str = "", limit: int, before: int | None = None) -> list[Kept]:
        """The newest decisions, newest first; of one *service*, and older than the row *before*, where these are given.

        Rows that do not match their hash, or that this version cannot read, are left out.
        """
        found = self._decisions.read(
            service=service, newest_first=True, limit=limit, before=before, left_out=lambda _row, _why: None
        )
        return list(found)

    def named(self, name: str) -> Kept | None:
        """The newest record of the decision with that id; None where there is none."""
        return next(self._decisions.read(name=name, newest_first=True, limit=1), None)

    def close(self) -> None:
        """Keep what is waiting, and end."""
        self._writing.close()

    def _keep(self, records: Sequence[DecisionRecord]) -> Sequence[int]:
        return self._decisions.add_all(records, self._now())


def kept_decisions(where: str, *, service: str, limit: int, left_out: LeftOut) -> list[Kept]:
    """The newest decisions, newest first; empty *service*: of all services."""
    with opened(where) as database:
        found = Decisions(Journal(database)).read(service=service, newest_first=True, limit=limit, left_out=left_out)
        return list(found)


def kept_decision(where: str, name: str) -> list[Kept]:
    """Every record of the decision *name*, oldest first: more than one if several versions decided on the same inputs.

    Raises:
        NotFoundError: There is none.
    """
    with opened(where) as database:
        found = list(Decisions(Journal(database)).read(name=name))
    if not found:
        raise NotFoundError(f"there is no decision {name!r}", remedy="`tightrope audit list` shows what there is")
    return found


def verify(where: str, *, again: bool = False, head: str = "") -> Audit:
    """Check the journal's chain, and if wanted decide every decision *again* from its recorded inputs.

    Args:
        where: The store.
        again: Recompute; a row that is broken is not, nor one that this version can't read, which is named instead.
        head: The hash of the journal's last row as noted elsewhere at an earlier time; empty: none.
    """
    with opened(where) as database:
        journal = Journal(database)
        chain = journal.verify(head)
        if not again:
            return Audit(chain, None, ())
        broken = {one.sequence for one in chain.broken}
        differing: list[Differing] = []

        def unread(sequence: int, why: str) -> None:
            if sequence not in broken:
                differing.append(Differing(sequence, "", why, ""))

        count = 0
        for kept in Decisions(journal).read(left_out=unread):
            count += 1
            found = recompute(kept.record, __version__)
            if found:
                differing.append(Differing(kept.sequence, kept.record.decision.id, found, kept.record.decided_by))
    return Audit(chain, count, tuple(differing))


def exported(where: str, since: int | None = None) -> Iterator[dict[str, Any]]:
    """Every event of the journal as a CloudEvent in the structured mode, oldest first; from *since* on if given."""
    with opened(where) as database:
        for entry in Journal(database).read(since=since):
            yield cloud_event(entry)
