"""Findings, kept: each deployment is held against the gate's decisions as soon as something is known of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tightrope.base.canonical import digest
from tightrope.base.errors import ConflictError, NotFoundError, UsageError
from tightrope.base.units import DAY_S
from tightrope.delivery import store
from tightrope.delivery.changes import Deployment
from tightrope.delivery.documents import finding_document
from tightrope.delivery.findings import CLEARED_BY, LOOKS_BACK_S, Asked, Finding, bypass_of, finding_of
from tightrope.delivery.mapping import PRODUCTION
from tightrope.policy.store import DECISION_MADE
from tightrope.specs.model import Specs
from tightrope.state.database import Database
from tightrope.state.journal import Event, Journal

SOURCE = "/tightrope/delivery"
OPENED, CLOSED = (f"dev.tightrope.finding.{word}.v1" for word in ("opened", "closed"))

GATED_S = 90 * DAY_S
"""An environment counts as gated while the gate was asked about it so lately."""

_MOST_DECISIONS = 300

Connection = Any
"""A transaction of the store; its library stays behind the stores."""


class Findings:
    """Deployments that went out past the gate.

    Args:
        database: The store.
        specs: The specs as they are now.
        clock: Tells the time, UTC epoch seconds.
    """

    def __init__(self, database: Database, specs: Callable[[], Specs], clock: Callable[[], int]) -> None:
        self._database = database
        self._journal = Journal(database)
        self._specs = specs
        self._now = clock
        self._begun: int | None = None

    def judge_in(self, connection: Connection, deployment: Deployment) -> list[Event]:
        """Open a finding for a deployment that went past the gate; close one that turns out to be none."""
        now = self._now()
        if now - deployment.started_at > LOOKS_BACK_S or deployment.started_at < self._begun_at():
            return []  # history that is told afterwards is nobody's surprise
        known = store.findings_of_in(connection, deployment.id)
        asked, gated = ([], False) if deployment.rollback else self._asked(deployment)
        found = bypass_of(deployment, asked) if gated else None
        meant = finding_of(deployment, found[0], found[1], now) if found else None
        events: list[Event] = []
        for one in known:
            if one.open and (meant is None or one.id != meant.id):
                why = "it was a rollback" if deployment.rollback else "more is known of the deployment now"
                closed = one.closed(CLEARED_BY, why, now)
                store.keep_finding_in(connection, closed)
                events.append(_event(closed, CLOSED, now))
        if meant is not None:
            before = next((one for one in known if one.id == meant.id), None)
            if before is None or before.closed_by == CLEARED_BY:
                store.keep_finding_in(connection, meant)
                events.append(_event(meant, OPENED, now))
        return events

    def _begun_at(self) -> int:
        """When the journal began, UTC epoch seconds: nobody could ask the gate before. 0: it did not begin."""
        if self._begun is None:
            first = next(self._journal.read(limit=1, left_out=lambda _row, _why: None), None)
            self._begun = None if first is None else first.event.time
        return self._begun or 0

    def _asked(self, deployment: Deployment) -> tuple[list[Asked], bool]:
        """The decisions that may be a deployment's, and whether the gate is to be asked where it went."""
        since = deployment.started_at - GATED_S
        events = [
            entry.event
            for entry in self._journal.read(
                kind=DECISION_MADE,
                subject=deployment.service,
                since=since,
                newest_first=True,
                limit=_MOST_DECISIONS,
                left_out=lambda _row, _why: None,
            )
        ]
        if deployment.decision:
            named = self._journal.read(
                kind=DECISION_MADE, ids=f"{deployment.decision}.", limit=5, left_out=lambda _row, _why: None
            )
            events += [entry.event for entry in named]
        asked = [one for one in map(_asked_of, events) if one is not None]
        here = [one for one in asked if one.environment == deployment.environment]
        promised = bool(self._specs().of_service(deployment.service)) and deployment.environment == PRODUCTION
        late = [
            one
            for one in asked
            if one.id == deployment.decision or one.decided_at >= deployment.started_at - LOOKS_BACK_S
        ]
        return late, promised or bool(here)

    def listed(
        self,
        *,
        service: str = "",
        open_only: bool = False,
        before: tuple[int, str] | None = None,
        limit: int = 100,
    ) -> list[Finding]:
        """Deployments that went out past the gate, newest first."""
        with self._database.reading() as connection:
            return store.findings_in(connection, service=service, open_only=open_only, before=before, limit=limit)

    def open_counts(self) -> Mapping[str, int]:
        """How many findings are open, by service."""
        with self._database.reading() as connection:
            return store.open_findings_in(connection)

    def named(self, name: str) -> Finding:
        """One finding; raises `NotFoundError`."""
        with self._database.reading() as connection:
            return _found(store.finding_in(connection, name), name)

    def close(self, name: str, *, by: str, reason: str) -> Finding:
        """Close a finding.

        Raises:
            NotFoundError: There is none. ConflictError: It is closed. UsageError: Nobody says why.
        """
        if not reason.strip():
            raise UsageError("a finding is closed for a reason", remedy="say in a few words what came of it")
        now = self._now()
        with store.taking_turns(self._database) as connection:
            known = _found(store.finding_in(connection, name), name)
            if not known.open:
                raise ConflictError(f"the finding {name} was closed by {known.closed_by}")
            closed = known.closed(by, reason.strip(), now)
            store.keep_finding_in(connection, closed)
            self._journal.append_in(connection, [_event(closed, CLOSED, now)])
        return closed


def _found(finding: Finding | None, name: str) -> Finding:
    if finding is None:
        raise NotFoundError(f"there is no finding {name!r}", remedy="`tightrope finding list` shows them")
    return finding


def _asked_of(event: Event) -> Asked | None:
    """A decision as it is recorded; None where it is none that can be read."""
    try:
        decision = event.data["decision"]
        request = decision["request"]
        return Asked(
            decision["id"],
            request["service"],
            request["environment"],
            request["change"],
            decision["verdict"],
            decision["decided_at"],
            decision["expires_at"],
        )
    except (KeyError, TypeError):
        return None


def _event(finding: Finding, kind: str, now: int) -> Event:
    told = finding_document(finding)
    return Event(f"{finding.id}.{digest(told)[:16]}", SOURCE, kind, finding.service, now, told)
