"""Keep decisions, and account for them: list, show, verify, export; and handle exceptions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tightrope import __version__
from tightrope.base.batching import Batching
from tightrope.base.clock import now
from tightrope.base.errors import NotFoundError
from tightrope.base.values import dataclass
from tightrope.policy import exceptions, store
from tightrope.policy.decision import Decision, GateFacts, GateRequest
from tightrope.policy.exceptions import ExceptionRequest, bullet_of, document_of
from tightrope.policy.record import DecisionRecord, Kept, recompute
from tightrope.policy.silver_bullets import same_change
from tightrope.policy.store import DECISION_MADE, Decisions
from tightrope.specs.model import ExceptionQuota, SilverBullet
from tightrope.state.database import Database, opened
from tightrope.state.journal import Event, Findings, Journal, cloud_event

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


# --- exceptions ----------------------------------------------------------------------------------------------------

QuotaOf = Callable[[str], ExceptionQuota | None]
"""Tells the rule for exceptions of a service's policy; raises `NotFoundError` for a service that nobody knows."""

FRESH_S = 1
"""What is known of exceptions is read again after so long: another process may have granted one."""


class Exceptions:
    """Exceptions of one store: asked for, granted by somebody else, revoked; and broken glass."""

    def __init__(self, database: Database, quota_of: QuotaOf) -> None:
        self._database = database
        self._journal = Journal(database)
        self._quota_of = quota_of
        self._known: dict[str, tuple[SilverBullet, ...]] = {}
        self._read_at: int | None = None
        self._used: dict[tuple[str, str, int], tuple[int, str]] = {}

    def bullets(self, service: str, now: int) -> tuple[SilverBullet, ...]:
        """All that was ever granted to a service, for the gate; from memory where it was read in this second."""
        if self._read_at is None or not 0 <= now - self._read_at < FRESH_S:
            with self._database.reading() as connection:
                found = store.exceptions_in(connection, granted=True)
            known: dict[str, list[SilverBullet]] = {}
            for one in found:
                bullet = bullet_of(one)
                if bullet is not None:
                    known.setdefault(one.service, []).append(bullet)
            self._known, self._read_at = {name: tuple(of) for name, of in known.items()}, now
        return self._known.get(service, ())

    def spent(self, request: GateRequest, bullets: Iterable[SilverBullet]) -> frozenset[str]:
        """Names of exceptions for any change that let another one through already, by the recorded decisions.

        Each is good for one change: the first that it lets through. A question that names no change uses up none, and
        broken glass is for whatever comes.

        Args:
            request: The question.
            bullets: All that were granted to its service.
        """
        if not request.change:
            return frozenset()
        held = [
            one
            for one in bullets
            if not one.change and not one.break_glass and one.granted_at <= request.asked_at < one.expires_at
        ]
        used = {one.name: self._used_for(one) for one in held}
        return frozenset(name for name, change in used.items() if change and not same_change(change, request.change))

    def _used_for(self, bullet: SilverBullet) -> str:
        """The first change that an exception let through; empty: none so far. The journal is read on from last time."""
        key = (bullet.service, bullet.name, bullet.granted_at)
        row, change = self._used.get(key, (0, ""))
        if change:
            return change
        for entry in self._journal.read(
            kind=DECISION_MADE,
            subject=bullet.service,
            since=bullet.granted_at,
            after=row,
            left_out=lambda _row, _why: None,
        ):
            row = entry.sequence
            if entry.event.data["decision"]["exception"] == bullet.name:
                change = str(entry.event.data["request"]["change"])
                if change:
                    break
        self._used[key] = row, change
        return change

    def listed(self, *, service: str = "", before: int | None = None, limit: int = 100) -> list[ExceptionRequest]:
        """Requests and what became of them, newest first."""
        with self._database.reading() as connection:
            return store.exceptions_in(connection, service=service, before=before, limit=limit)

    def named(self, name: str) -> ExceptionRequest:
        """One request by its id; raises `NotFoundError`."""
        with self._database.reading() as connection:
            return _found(store.exception_in(connection, name), name)

    def request(
        self,
        service: str,
        *,
        by: str,
        reason: str,
        now: int,
        environment: str = "",
        change: str = "",
        lasts_s: int | None = None,
    ) -> ExceptionRequest:
        """Ask for an exception; see `exceptions.request` for what it raises. Asked again, it is the same request."""
        quota = self._quota_of(service)
        made = exceptions.request(
            service,
            by=by,
            reason=reason,
            now=now,
            environment=environment,
            change=change,
            lasts_s=lasts_s,
            quota=quota,
        )
        return self._made(made, "requested", by, now)

    def break_glass(
        self,
        service: str,
        *,
        by: str,
        reason: str,
        now: int,
        environment: str = "",
        change: str = "",
        lasts_s: int | None = None,
    ) -> ExceptionRequest:
        """Let changes through at once, with nobody's leave; see `exceptions.broken_glass`."""
        self._quota_of(service)
        made = exceptions.broken_glass(
            service, by=by, reason=reason, now=now, environment=environment, change=change, lasts_s=lasts_s
        )
        return self._made(made, "glass-broken", by, now)

    def grant(
        self,
        name: str,
        *,
        by: str,
        now: int,
        teams: Sequence[str] = (),
        note: str = "",
        lasts_s: int | None = None,
    ) -> ExceptionRequest:
        """Grant a request; see `exceptions.granted` for what it raises."""

        def granted(one: ExceptionRequest, others: Sequence[SilverBullet]) -> ExceptionRequest:
            quota = self._quota_of(one.service)
            return exceptions.granted(
                one, by=by, teams=teams, note=note, lasts_s=lasts_s, quota=quota, others=others, now=now
            )

        return self._answered(name, "granted", by, now, granted)

    def refuse(self, name: str, *, by: str, note: str, now: int) -> ExceptionRequest:
        """Refuse a request; raises `ConflictError` where it was answered already."""
        return self._answered(
            name, "refused", by, now, lambda one, _: exceptions.refused(one, by=by, note=note, now=now)
        )

    def revoke(self, name: str, *, by: str, note: str, now: int) -> ExceptionRequest:
        """End an exception before its time; raises `ConflictError` where it does not hold."""
        return self._answered(
            name, "revoked", by, now, lambda one, _: exceptions.revoked(one, by=by, note=note, now=now)
        )

    def _answered(
        self,
        name: str,
        verb: str,
        by: str,
        now: int,
        answer: Callable[[ExceptionRequest, Sequence[SilverBullet]], ExceptionRequest],
    ) -> ExceptionRequest:
        with self._database.writing() as connection:
            one = _found(store.exception_in(connection, name, lock=True), name)
            granted = store.exceptions_in(connection, service=one.service, granted=True)
            changed = answer(one, [bullet for each in granted if (bullet := bullet_of(each)) is not None])
            self._keep_in(connection, changed, verb, by, now)
        self._read_at = None
        return changed

    def _made(self, made: ExceptionRequest, verb: str, by: str, now: int) -> ExceptionRequest:
        with self._database.writing() as connection:
            there = store.exception_in(connection, made.id)
            if there is not None:
                return there
            self._keep_in(connection, made, verb, by, now)
        self._read_at = None
        return made

    def _keep_in(self, connection: Any, one: ExceptionRequest, verb: str, by: str, now: int) -> None:
        store.keep_exception_in(connection, one)
        event = Event(
            id=f"{one.id}.{verb}.{now}",
            source="/tightrope/exceptions",
            type=f"dev.tightrope.exception.{verb}.v1",
            subject=one.service,
            time=now,
            data={"exception": document_of(one, now), "who": by},
        )
        self._journal.append_in(connection, [event])


def _found(one: ExceptionRequest | None, name: str) -> ExceptionRequest:
    if one is None:
        raise NotFoundError(f"there is no exception {name!r}", remedy="`tightrope exception list` shows what there is")
    return one


def granted_exceptions(where: str, service: str) -> tuple[SilverBullet, ...]:
    """All that was ever granted to a service in the store *where*; none where there is no store yet."""
    with opened(where, create=True) as database, database.reading() as connection:
        found = store.exceptions_in(connection, service=service, granted=True)
    return tuple(bullet for one in found if (bullet := bullet_of(one)) is not None)


def spent_exceptions(where: str, request: GateRequest, bullets: Iterable[SilverBullet]) -> frozenset[str]:
    """As `Exceptions.spent`, by what is recorded in the store *where*."""
    with opened(where, create=True) as database:
        return Exceptions(database, lambda _service: None).spent(request, bullets)


@contextmanager
def exceptions_at_hand(where: str, quota_of: QuotaOf) -> Iterator[Exceptions]:
    """The exceptions of a store that no server of this process holds open."""
    with opened(where, create=True) as database:
        yield Exceptions(database, quota_of)
