"""The server: what every front is written against; it answers from memory, and records what it answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from queue import Queue
from threading import Lock
from typing import Any

from tightrope import __version__
from tightrope.access.usecases import Access
from tightrope.backtest.labels import Deployment
from tightrope.base.errors import SpecError, SpecsInvalidError, StoreError
from tightrope.base.units import DAY_S
from tightrope.delivery.changes import Deployment as Recorded
from tightrope.delivery.feedback import Price
from tightrope.delivery.holds.usecases import Holds
from tightrope.delivery.mapping import PRODUCTION
from tightrope.delivery.pipelines.usecases import Pipelines
from tightrope.delivery.receiving.usecases import Inbox
from tightrope.delivery.rollouts.usecases import Rollouts
from tightrope.delivery.usecases import Deliveries
from tightrope.loop.assess import Assessment
from tightrope.loop.attribution import accounts_of, prices_of, shipped
from tightrope.loop.gatekeeper import gather, unread_facts
from tightrope.loop.gauges import Family, gauges_of, gauges_of_deliveries, gauges_of_rollouts, gauges_of_runs
from tightrope.loop.holding import hold_gauges
from tightrope.loop.live import Live
from tightrope.loop.snapshot import Backfill, Turned
from tightrope.policy.decision import Decision, GateFacts, GateRequest
from tightrope.policy.gate import decide
from tightrope.policy.record import Kept
from tightrope.policy.usecases import Audit, DecisionBook, Exceptions, verify
from tightrope.runs.usecases import Runs
from tightrope.specs.model import Slo, Specs
from tightrope.specs.usecases import Applied, Shelf, SpecDocument
from tightrope.state.journal import Entry, Journal, cloud_event

FAR_S = 90 * DAY_S
"""How far back a preview looks, unless it is told."""

MOST_SHIPPED = 2000
"""So many deployments of a service are held against its budget, the newest."""


@dataclass(frozen=True, slots=True)
class ServeSettings:
    """How the server was started.

    Attributes:
        host, port: Where it listens.
        base_url: How people reach it; links in messages begin so.
        auth_required: Every request needs a token or a session; else whoever is on this machine may do all.
        replayed: It shows recorded data, moved in time to end about now.
        data: The store: a directory, or the address of a database without its password.
        spec_paths: Files and directories of specs that are followed.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    base_url: str = ""
    auth_required: bool = False
    replayed: bool = False
    data: str = ""
    spec_paths: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Preview:
    """What specs do on the stored history: as they are *now*, and *then*, as they would be."""

    findings: tuple[SpecError, ...]
    now: tuple[Assessment, ...]
    then: tuple[Assessment, ...]


class Server:
    """One running server. Any thread may call it.

    Args:
        settings: How it was started.
        live: The loop.
        access: Who may do what.
        alerts: Alerts, silences, channels and messages.
        shelf: The specs.
        decisions: Where decisions are recorded.
        journal: Everything that happened.
        where: The store, as `tightrope audit` is given it.
        clock: Tells the time, UTC epoch seconds.
        exceptions: Who may ship what the policy refuses, and by whose leave.
        holds: Releases that wait for an answer.
        runs: Durable work.
        deliveries: Changes and deployments.
        rollouts: Releases in steps.
        pipelines: From a commit to production, and back.
    """

    version = __version__

    def __init__(
        self,
        settings: ServeSettings,
        live: Live,
        access: Access,
        alerts: Any,
        shelf: Shelf,
        decisions: DecisionBook,
        journal: Journal,
        where: str,
        clock: Callable[[], int],
        *,
        exceptions: Exceptions,
        holds: Holds,
        runs: Runs,
        deliveries: Deliveries,
        inbox: Inbox,
        rollouts: Rollouts,
        pipelines: Pipelines,
    ) -> None:
        self.settings = settings
        self.live = live
        self.access = access
        self.alerts = alerts
        self.exceptions = exceptions
        self.holds = holds
        self.runs = runs
        self.deliveries = deliveries
        self.inbox = inbox
        self.rollouts = rollouts
        self.pipelines = pipelines
        self._shelf = shelf
        self._decisions = decisions
        self._journal = journal
        self._where = where
        self._now = clock
        self._exempting = Lock()

    def now(self) -> int:
        """The present, UTC epoch seconds."""
        return self._now()

    def ready(self) -> tuple[bool, str]:
        """Whether questions can be answered, and why not."""
        if self.live.failure:
            return False, self.live.failure
        if not self.live.snapshot.number:
            return False, "the first turn of the loop is not done yet"
        if not self.live.following:
            problems = self.live.snapshot.problems
            first = f"; the first: {problems[0].message}" if problems else ""
            return False, f"no specs are followed, since they have errors: {len(problems)} findings{first}"
        return True, "ready"

    # --- decisions and journal -------------------------------------------------------------------------------------

    def decide(self, request: GateRequest) -> Decision:
        """Answer whether a change may go out, from memory; the decision is recorded before it is told.

        Raises:
            NotFoundError: Nobody knows the service.
            SourceUnreachableError: No specs are followed yet.
            StoreError: It cannot be recorded.
        """
        decision, facts = self._decided(request)
        if not decision.exception:
            return self._recorded(decision, facts)
        with self._exempting:  # an exception is spent by the first change, and only what is recorded tells which
            return self._recorded(*self._decided(request))

    def _recorded(self, decision: Decision, facts: GateFacts) -> Decision:
        try:
            self._decisions.keep(decision, facts)
        except StoreError as error:
            self.live.not_stored(error)
            raise
        return decision

    def weigh(self, request: GateRequest) -> Decision:
        """The same answer, which nobody acts on and nothing records; raises `NotFoundError`."""
        return self._decided(request)[0]

    def _decided(self, request: GateRequest) -> tuple[Decision, GateFacts]:
        specs = self.live.snapshot.specs
        if not specs.of_service(request.service) and request.service not in specs.services:
            raise self.live.unknown(request.service)
        request = self._with_kind(request)
        assessments = self.live.assessments(request.service)
        facts = gather(specs, request, assessments, rollouts_running=self.rollouts.running(request.service))
        known = {one.slo.name for one in assessments}
        waiting = [slo for slo in specs.of_service(request.service) if slo.name not in known]
        if waiting:  # its history is still being read, or nothing was ever measured
            facts = replace(facts, slos=(*facts.slos, *unread_facts(specs, waiting, "nothing was evaluated yet")))
        granted = self.exceptions.bullets(request.service, request.asked_at)
        if granted:
            facts = replace(facts, bullets=(*facts.bullets, *granted))
        if facts.bullets:
            facts = replace(facts, bullets_used=self.exceptions.spent(request, facts.bullets))
        return decide(request, facts), facts

    def _with_kind(self, request: GateRequest) -> GateRequest:
        """The request with the kind of its change, where nobody told it and recorded commits and deployments do."""
        if not request.change or not request.kind_from.startswith("default"):
            return request
        try:
            found = self.deliveries.kind_of(request.service, request.environment, request.change)
        except StoreError:
            return request
        return request if found is None else replace(request, kind=found.kind, kind_from=found.source)

    def decisions(self, *, service: str = "", limit: int = 50, before: int | None = None) -> list[Kept]:
        """Recorded decisions, newest first; older than the row *before* of the journal where that is given."""
        return self._decisions.newest(service=service, limit=limit, before=before)

    def decision(self, name: str) -> Kept | None:
        """One recorded decision by its id; None where there is none."""
        return self._decisions.named(name)

    def events(
        self,
        *,
        kind: str = "",
        subject: str = "",
        since: int | None = None,
        before: int | None = None,
        after: int = 0,
        limit: int = 100,
        newest_first: bool = True,
    ) -> list[Entry]:
        """What happened, newest first: of one kind, about one subject, since an instant, before a row."""
        found = self._journal.read(
            kind=kind,
            subject=subject,
            since=since,
            before=before,
            after=after,
            limit=limit,
            newest_first=newest_first,
            left_out=lambda _row, _why: None,
        )
        return list(found)

    def verify(self, *, again: bool = False, head: str = "") -> Audit:
        """Check the journal's chain, and decide every decision *again* if wanted."""
        return verify(self._where, again=again, head=head)

    def exported(self, since: int | None = None) -> Iterator[dict[str, Any]]:
        """Every event as a CloudEvent, oldest first."""
        return (cloud_event(entry) for entry in self._journal.read(since=since))

    # --- services --------------------------------------------------------------------------------------------------

    def assessments(self, service: str) -> list[Assessment]:
        """Where the objectives of a service stand; raises `NotFoundError`."""
        return self.live.assessments(service)

    def history(self, service: str, since: int | None = None) -> list[Assessment]:
        """The same with a replay of all that is stored, told from *since* on; raises `NotFoundError`."""
        self.live.assessments(service)
        return self.live.history(self.live.snapshot.specs.of_service(service), since=since)

    def shipped(self, assessments: Sequence[Assessment]) -> list[Deployment]:
        """What went out to production within the windows of some objectives, for the account of their budgets."""
        found: list[Deployment] = []
        for service in sorted({one.slo.service for one in assessments}):
            begin = min(one.statement.window_start for one in assessments if one.slo.service == service)
            found += shipped(self.deliveries.deployments(service, PRODUCTION, since=begin, limit=MOST_SHIPPED))
        return found

    def prices(self, deployment: Recorded) -> list[Price]:
        """What a release cost each objective of its service so far; nothing where nothing is promised."""
        found = self.live.history(self.live.snapshot.specs.of_service(deployment.service))
        begin = min((one.statement.window_start for one in found), default=None)
        if begin is None:
            return []
        recorded = self.deliveries.deployments(
            deployment.service, deployment.environment, since=begin, limit=MOST_SHIPPED
        )
        return prices_of(accounts_of(found, self.history, shipped(recorded, by_id=True)), deployment.id)

    # --- specs -----------------------------------------------------------------------------------------------------

    def documents(self) -> list[SpecDocument]:
        """Every document of the specs."""
        return self._shelf.documents()

    def document(self, kind: str, name: str) -> SpecDocument:
        """One document; raises `NotFoundError`."""
        return self._shelf.document(kind, name)

    def apply(self, text: str, *, actor: str, if_match: str | None = None, dry_run: bool = False) -> Applied:
        """Take documents over, all or none; the next turn follows them. See `Shelf.apply`."""
        done = self._shelf.apply(text, actor=actor, now=self._now(), if_match=if_match, dry_run=dry_run)
        if not dry_run:
            self.live.nudge()
        return done

    def withdraw(self, kind: str, name: str, *, actor: str, if_match: str | None = None) -> Applied:
        """Let an applied document count no more."""
        done = self._shelf.withdraw(kind, name, actor=actor, now=self._now(), if_match=if_match)
        self.live.nudge()
        return done

    def examine(self, text: str) -> tuple[Specs | None, tuple[SpecError, ...]]:
        """Check what the specs would be with *text*; nothing is kept."""
        return self._shelf.candidate(text)[0]

    def preview(self, text: str, *, last_s: int = FAR_S) -> Preview:
        """What edited documents would have done on the stored history, beside what the present ones do.

        Only SLOs that come out otherwise are told. Raises `SpecsInvalidError` where they have errors.
        """
        (specs, findings), _ = self._shelf.candidate(text)
        if specs is None:
            raise SpecsInvalidError(findings)
        present = self.live.snapshot.specs
        changed = [slo for slo in specs.slos if _other(present, specs, slo)]
        names = {slo.name for slo in changed}
        since = self._now() - last_s
        before = self.live.history([slo for slo in present.slos if slo.name in names], since=since)
        after = self.live.history(changed, specs=specs, since=since)
        return Preview(findings, tuple(before), tuple(after))

    def problems(self) -> tuple[SpecError, ...]:
        """What is wrong with a newer edit of the specs, which is not followed."""
        return self.live.snapshot.problems

    def backfills(self) -> list[Backfill]:
        """How far histories that are still being read have come."""
        return self.live.backfills()

    def metrics(self) -> list[Family]:
        """Everything there is to scrape."""
        own = (
            gauges_of(self.live, self._now()),
            gauges_of_deliveries(self.inbox, self.deliveries),
            hold_gauges(self.holds),
            gauges_of_runs(self.runs),
            gauges_of_rollouts(self.rollouts),
        )
        return [family for each in own for family in each]

    # --- telemetry and listeners -----------------------------------------------------------------------------------

    def receive(self, kind: str, body: bytes, headers: Mapping[str, str]) -> int:
        """Take telemetry that was sent: on the disk when this returns. See `Live.receive`."""
        return self.live.receive(kind, body, headers)

    def listen(self) -> AbstractContextManager[Queue[Turned]]:
        """Hear of every turn that changed something."""
        return self.live.listen()


def _other(present: Specs, specs: Specs, slo: Slo) -> bool:
    """Whether an SLO, or what watches it, is another one in *specs* than at present."""
    from tightrope.loop.tracks import tracks_of

    def known(of: Specs) -> list[str]:
        found = of.slo(slo.name)
        return [] if found is None else [one.definition for one in tracks_of(replace(of, slos=(found,)), ())]

    return known(present) != known(specs)
