"""Deliveries of webhooks: kept at once as they came, and read afterwards, each once."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from threading import Event as Wakeup
from threading import Lock
from typing import Any

from tightrope.base.clock import now as clock_now
from tightrope.base.errors import (
    ConflictError,
    DataError,
    NotFoundError,
    SourceUnreachableError,
    StoreError,
    TightropeError,
    UnauthorizedError,
    UsageError,
)
from tightrope.base.settings import environment
from tightrope.base.units import DAY_S
from tightrope.delivery import store
from tightrope.delivery.changes import DeploymentReport
from tightrope.delivery.facts import BuildState, Built, Deployed, Merged, Published, Pushed
from tightrope.delivery.inbox import InboxState, Incoming, Receipt, fit
from tightrope.delivery.mapping import mapped_for, whom
from tightrope.delivery.receivers import KEPT_HEADERS, Receiver, receiver_of
from tightrope.delivery.receivers.bodies import document_of
from tightrope.delivery.usecases import Connection, Deliveries, event_about
from tightrope.specs.model import Integration, IntegrationType, Specs
from tightrope.state.database import Database
from tightrope.state.journal import Event, Journal

Holding = Callable[[Integration, str, Any], object]
"""Holds whoever waits for an answer: through which integration it came, the sender's word for it, and the document."""

Pushing = Callable[[IntegrationType, Mapping[str, str], Any], object]
"""Hears of what forges send, for what a push starts: who speaks, headers and document. Told twice, it starts once."""

INBOX_S = 90 * DAY_S
"""For so long deliveries are kept after they were read: one that comes again within that time is known."""

BODIES_S = 7 * DAY_S
"""For so long it is kept what a delivery held after it was read, for whoever wonders."""

MOST_REFUSED = 100
"""So many refused deliveries of an integration are kept, the newest."""

_BUILD_ENDS = frozenset({BuildState.SUCCEEDED, BuildState.FAILED, BuildState.CANCELLED})
_FORGES = frozenset({IntegrationType.GITHUB, IntegrationType.GITLAB, IntegrationType.GITEA})
_ASKING = frozenset({IntegrationType.GITHUB, IntegrationType.GITLAB})


class Inbox:
    """What integrations send us.

    Args:
        database: The store.
        deliveries: What is made of it.
        specs: The specs as they are now.
        clock: Tells the time, UTC epoch seconds.
        environment: Tells the value of environment variables, which hold the secrets.
        holding: Holds whoever waits for an answer of ours; None: nobody is held.
        pushing: Starts what a push starts; None: nothing.
        ready: Tells whether *specs* are there; until then nobody is told that there is no such integration or service.

    Attributes:
        came: Set when something came in.
        refusals: How many deliveries were refused since the start, by integration.
        outcomes: How many were read since the start, by integration and what became of them.
    """

    def __init__(
        self,
        database: Database,
        deliveries: Deliveries,
        *,
        specs: Callable[[], Specs] = Specs,
        clock: Callable[[], int] = clock_now,
        environment: Callable[[str], str] = environment,
        holding: Holding | None = None,
        pushing: Pushing | None = None,
        ready: Callable[[], bool] = lambda: True,
    ) -> None:
        self._database = database
        self._journal = Journal(database)
        self._deliveries = deliveries
        self._specs = specs
        self._environment = environment
        self._holding = holding
        self._pushing = pushing
        self._ready = ready
        self._now = clock
        self._lock = Lock()
        self._refused_at: dict[str, int] = {}
        self.refusals: Counter[str] = Counter()
        self.outcomes: Counter[tuple[str, str]] = Counter()
        self.came = Wakeup()

    def receive(self, name: str, headers: Mapping[str, str], body: bytes) -> Receipt:
        """Take a delivery of an integration: proved, and on the disk when this returns; it is read afterwards.

        One that comes again is known, and harmless; one that could not be read gets another try. GitLab stops sending
        for good when it is refused, so what is genuine and yet no delivery is taken and set aside.

        Args:
            name: Of the integration.
            headers: Names in lower case.
            body: As it came.

        Raises:
            NotFoundError: There is no such integration, or it sends no deliveries.
            SourceUnreachableError: The specs are not read yet, or the variable with the secret is not set here.
            UnauthorizedError: It is not proved that the integration sent it.
            UsageError: It is genuine, and no delivery.
        """
        if not self._ready():
            raise SourceUnreachableError("the specs are not read yet", remedy="send it again in a moment")
        now = self._now()
        integration, receiver = self._integration(name)
        secret = self._environment(integration.secret_from)
        if not secret:
            raise SourceUnreachableError(
                f"deliveries of {name} cannot be proved: the variable {integration.secret_from} is not set",
                remedy="set it for the server, and start it again",
            )
        if not receiver.genuine(headers, body, secret, now):
            self._refuse(integration, headers, "it is not signed with the secret of the integration", now)
            raise UnauthorizedError(
                f"this delivery is not proved to come from {name}",
                remedy=f"let the sender use the secret that the variable {integration.secret_from} holds",
            )
        kept = {key: headers[key] for key in KEPT_HEADERS if key in headers}
        state, why = InboxState.WAITING, ""
        try:
            event, key = receiver.named(headers, body)
        except DataError as error:
            if integration.type is not IntegrationType.GITLAB:
                self._refuse(integration, headers, error.message, now)
                raise UsageError(error.message, remedy=error.remedy) from None
            event, key = headers.get("x-gitlab-event", ""), hashlib.sha256(body).hexdigest()
            state, why = InboxState.SET_ASIDE, error.message
        one = Incoming(
            0,
            _incoming_id(name, key),
            name,
            integration.type.value,
            fit(key),
            fit(event),
            {key: fit(value) for key, value in kept.items()},
            body,
            state,
            why,
            0,
            now,
            None,
        )
        with store.taking_turns(self._database) as connection:
            known = store.take_in(connection, one)
            if known is not None and known.state is InboxState.SET_ASIDE and state is InboxState.WAITING:
                store.reopen_in(connection, known.sequence, one.headers, body)
                known = replace(known, state=InboxState.WAITING)
        self.came.set()
        if known is None:
            return Receipt(202, one.id, state, why)
        return Receipt(200, known.id, known.state, "it came before")

    def process(self, limit: int = 1000) -> int:
        """Read what waits in the inbox, one transaction each; returns how many there were. None before specs are there.

        What a delivery tells and that it was read are on the disk together: whoever is killed in between reads it
        again, and nothing is told twice. One that cannot be read is set aside with the reason, and holds up no other.

        Raises:
            StoreError: The store cannot be read or written; what is not read waits.
        """
        if not self._ready():
            return 0
        for count in range(limit):
            with self._database.reading() as connection:
                one = store.next_in(connection)
            if one is None:
                return count
            try:
                self._push(one)
                held = self._held(one)  # to be repeated without harm, and in a transaction of its own
                with store.taking_turns(self._database) as connection:
                    if not store.waits_in(connection, one.sequence):
                        continue  # another process was quicker
                    events, ignored = self._read(connection, one)
                    state = InboxState.IGNORED if ignored and not held else InboxState.DONE
                    why = "" if held else ignored
                    store.settle_in(connection, one.sequence, state, why, self._now())
                    self._journal.append_in(connection, events)
                self._count(one.integration, state)
            except StoreError:
                raise
            except Exception as fault:  # noqa: BLE001 - whatever somebody sends must hold up no other
                why = fault.message if isinstance(fault, TightropeError) else f"{type(fault).__name__}: {fault}"
                with store.taking_turns(self._database) as connection:
                    store.settle_in(connection, one.sequence, InboxState.SET_ASIDE, fit(why), self._now())
                self._count(one.integration, InboxState.SET_ASIDE)
        return limit

    def _count(self, integration: str, state: InboxState) -> None:
        with self._lock:
            self.outcomes[integration, state.value] += 1

    def _push(self, one: Incoming) -> None:
        """Let a push start what it starts, in transactions of its own."""
        kind = IntegrationType(one.type)
        if self._pushing is not None and kind in _FORGES:
            self._pushing(kind, one.headers, document_of(one.body, one.headers))

    def _held(self, one: Incoming) -> bool:
        """Whether a forge asks by a delivery if a release may go out: then that is held until the gate answers."""
        kind = IntegrationType(one.type)
        integration = next((each for each in self._specs().integrations if each.name == one.integration), None)
        if integration is None or self._holding is None or kind not in _ASKING:
            return False
        event = one.headers.get("x-github-event") or one.headers.get("x-gitlab-event", "")
        return self._holding(integration, event, document_of(one.body, one.headers)) is not None

    def listed(
        self, integration: str = "", *, state: str = "", before: int | None = None, limit: int = 100
    ) -> list[Incoming]:
        """What was sent to us, newest first, without what it holds."""
        with self._database.reading() as connection:
            return store.inbox_in(connection, integration=integration, state=state, before=before, limit=limit)

    def standing(self) -> Mapping[tuple[str, str], int]:
        """How many deliveries there are, by integration and state."""
        with self._database.reading() as connection:
            return store.inbox_counts_in(connection)

    def counts(self) -> tuple[dict[tuple[str, str], int], dict[str, int]]:
        """How many deliveries were read and refused since the start: `outcomes` and `refusals`, as they are now."""
        with self._lock:
            return dict(self.outcomes), dict(self.refusals)

    def named(self, name: str) -> Incoming:
        """One delivery; raises `NotFoundError`."""
        with self._database.reading() as connection:
            known = store.incoming_in(connection, name)
        if known is None:
            raise NotFoundError(f"there is no delivery {name!r}", remedy="list those of the integration")
        return known

    def redeliver(self, name: str) -> Incoming:
        """Read a delivery again that was set aside, or that was ignored, such as before its service was mapped.

        Raises:
            NotFoundError: There is none of that name.
            ConflictError: It told something, was never genuine, or is too old.
        """
        self.named(name)
        with store.taking_turns(self._database) as connection:
            known = store.incoming_in(connection, name)
            if known is None:
                raise NotFoundError(f"there is no delivery {name!r} any more")
            if known.state not in {InboxState.SET_ASIDE, InboxState.IGNORED}:
                raise ConflictError(f"the delivery {name} is {known.state}: it is not read again")
            if not known.body:
                raise ConflictError(f"what the delivery {name} held is no longer kept", remedy="let it be sent again")
            store.reopen_in(connection, known.sequence, known.headers, known.body)
        self.came.set()
        return replace(known, state=InboxState.WAITING, why="", processed_at=None)

    def prune(self, now: int) -> int:
        """Forget deliveries that were read long ago, and sooner what they held; returns how many are forgotten."""
        with self._database.writing() as connection:
            return store.prune_inbox_in(connection, now - INBOX_S, now - BODIES_S)

    def _integration(self, name: str) -> tuple[Integration, Receiver]:
        found = next((one for one in self._specs().integrations if one.name == name), None)
        if found is None:
            raise NotFoundError(f"there is no integration {name!r}", remedy="add a document of kind Integration")
        try:
            return found, receiver_of(found.type)
        except UsageError as error:
            raise NotFoundError(error.message, remedy=error.remedy) from None

    def _refuse(self, integration: Integration, headers: Mapping[str, str], why: str, now: int) -> None:
        """Note what was refused: the newest of each integration, and one a second at most; all of them are counted."""
        with self._lock:
            self.refusals[integration.name] += 1
            if now <= self._refused_at.get(integration.name, 0):
                return
            self._refused_at[integration.name] = now
            number = self.refusals[integration.name]
        kept = {key: fit(headers[key]) for key in KEPT_HEADERS if key in headers}
        key = f"refused {now} {number}"
        one = Incoming(
            0,
            _incoming_id(integration.name, key),
            integration.name,
            integration.type.value,
            key,
            "",
            kept,
            b"",
            InboxState.REFUSED,
            why,
            0,
            now,
            now,
        )
        with self._database.writing() as connection:
            store.take_in(connection, one)
            store.forget_in(connection, integration.name, InboxState.REFUSED, MOST_REFUSED)

    def _read(self, connection: Connection, one: Incoming) -> tuple[list[Event], str]:
        """Take over what a delivery tells; returns events, and why nothing was taken over."""
        told = receiver_of(IntegrationType(one.type)).read(one.headers, one.body, one.received_at)
        if not told.facts:
            return [], told.ignored or "it tells nothing"
        integration = next((each for each in self._specs().integrations if each.name == one.integration), None)
        events: list[Event] = []
        strangers: list[str] = []
        for fact in told.facts:
            match fact:
                case Pushed():
                    events += self._deliveries.commits_in(connection, fact.repository, fact.commits)[1]
                case Merged():
                    events += self._deliveries.merge_in(connection, fact)
                case Built():
                    built = store.keep_build_in(connection, one.integration, fact)
                    if built is not None and built.state in _BUILD_ENDS:
                        about = self._deliveries.subject_of(built.repository)
                        events.append(_build_event(one.integration, built, about))
                case Published():
                    published = store.keep_artifact_in(connection, fact)
                    if published is not None:
                        about = self._deliveries.subject_of(published.repository)
                        events.append(_artifact_event(published, about))
                case Deployed():
                    reports = self._reports(integration, one.integration, fact)
                    for report in reports:
                        events += self._deliveries.record_in(connection, report.checked())
                    if not reports:
                        strangers.append(fact.app or fact.artifact or fact.repository or fact.service)
        if strangers and len(strangers) == len(told.facts):
            return events, f"no service is mapped to {strangers[0]}"
        return events, ""

    def _reports(self, integration: Integration | None, source: str, fact: Deployed) -> list[DeploymentReport]:
        """What a deployment means in our names: a report for each service that it is of."""
        specs = self._specs()
        known = {*specs.services, *(slo.service for slo in specs.slos)}
        return [
            DeploymentReport(
                source=source,
                external=fit(fact.external),
                service=one.service,
                environment=fit(one.environment),
                at=fact.at,
                state=fact.state,
                version=fit(fact.version),
                revision=fit(fact.revision),
                previous=fit(fact.previous),
                repository=fit(fact.repository),
                artifact=fit(fact.artifact),
                kind=fact.kind,
                rollback=fact.rollback,
                change=fit(fact.change),
                title=fit(fact.title),
                decision=fit(fact.decision),
                by=fit(fact.by),
                url=fit(fact.url),
                started_at=fact.started_at,
            )
            for one in whom(fact, mapped_for(integration, specs.mapped), known)
        ]


def _incoming_id(integration: str, key: str) -> str:
    made = hashlib.sha256(f"{integration}\n{key}".encode("utf-8", "replace")).hexdigest()
    return f"IN-{made[:12].upper()}"


def _build_event(source: str, built: Built, about: str) -> Event:
    told = {
        "repository": built.repository,
        "revision": built.revision,
        "name": built.name,
        "outcome": built.state.value,
        "url": built.url,
        "source": source,
    }
    return event_about("build.finished", built.repository, built.external, built.at, {}, told, about)


def _artifact_event(one: Published, about: str) -> Event:
    told = {"repository": one.repository, "revision": one.revision, "url": one.url}
    return event_about("artifact.published", one.repository, one.artifact, one.at, {}, told, about)
