"""Changes and deployments: recorded from whoever tells of them, in any order, and held against the gate's decisions."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event as Wakeup
from threading import Lock
from typing import Any

from tightrope.base.canonical import canonical
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
from tightrope.delivery.cdevents import artifact_purl, event_document, event_type
from tightrope.delivery.changes import (
    Account,
    Around,
    Commit,
    Deployment,
    DeploymentReport,
    DeploymentState,
    Lived,
    Recorded,
    account_of,
    deployment_of,
    history_of,
    is_sha,
    touched,
)
from tightrope.delivery.documents import change_document, deployment_document, finding_document
from tightrope.delivery.executors.git import Repository
from tightrope.delivery.facts import BuildState, Built, Deployed, Merged, Published, Pushed
from tightrope.delivery.findings import (
    CLEARED_BY,
    LOOKS_BACK_S,
    Asked,
    Finding,
    bypass_of,
    decision_of,
    finding_of,
)
from tightrope.delivery.history import History
from tightrope.delivery.inbox import InboxState, Incoming, Receipt
from tightrope.delivery.mapping import (
    PRODUCTION,
    mapped_for,
    paths_of,
    repository_name,
    repository_of,
    same_repository,
    services_of,
    whom,
)
from tightrope.delivery.receivers import KEPT_HEADERS, Receiver, receiver_of
from tightrope.delivery.receivers.bodies import document_of
from tightrope.policy.change_kinds import FoundKind
from tightrope.policy.store import DECISION_MADE
from tightrope.specs.model import Integration, IntegrationType, Mapped, Specs
from tightrope.state.database import Database, opened
from tightrope.state.journal import Event, Journal

Holding = Callable[[Integration, str, Any], object]
"""Holds whoever waits for an answer: through which integration it came, the sender's word for it, and the document."""

Pushing = Callable[[IntegrationType, Mapping[str, str], Any], object]
"""Hears of what forges send, for what a push starts: who speaks, headers and document. Told twice, it starts once."""

SOURCE = "/tightrope/delivery"
STARTED, FAILED, UPDATED = (f"dev.tightrope.deployment.{word}.v1" for word in ("started", "failed", "updated"))
COMMITS = "dev.tightrope.commits.recorded.v1"
FINDING_OPENED, FINDING_CLOSED = (f"dev.tightrope.finding.{word}.v1" for word in ("opened", "closed"))

RECENT_S = DAY_S
"""What changed so lately is told beside an alert, unless another stretch is asked about."""

GATED_S = 90 * DAY_S
"""An environment counts as gated while the gate was asked about it so lately."""

INBOX_S = 90 * DAY_S
"""For so long deliveries are kept after they were read: one that comes again within that time is known."""

BODIES_S = 7 * DAY_S
"""For so long it is kept what a delivery held after it was read, for whoever wonders."""

MOST_TOLD = 50
"""So many commits an event names, the newest; all are in the store."""

MOST_REFUSED = 100
"""So many refused deliveries of an integration are kept, the newest."""

_BUILD_ENDS = frozenset({BuildState.SUCCEEDED, BuildState.FAILED, BuildState.CANCELLED})
_FORGES = frozenset({IntegrationType.GITHUB, IntegrationType.GITLAB, IntegrationType.GITEA})
_ASKING = frozenset({IntegrationType.GITHUB, IntegrationType.GITLAB})
_MOST_FOLLOWING = 1000
_MOST_INCOMPLETE = 50
_MOST_DECISIONS = 300
_LOADED = (200, 1000, 4000)

Connection = Any
"""A transaction of the store; its library stays behind the stores."""


@dataclass(frozen=True, slots=True)
class Change:
    """A commit, the pull or merge request it came by, and where it went."""

    repository: str
    commit: Commit
    deployments: tuple[Deployment, ...] = ()
    pull: str = ""
    labels: tuple[str, ...] = ()

    def document(self) -> dict[str, Any]:
        """As command line and API show it."""
        return change_document(self.repository, self.commit, self.deployments, self.pull, self.labels)


class Deliveries:
    """What is known of changes and deployments.

    Args:
        database: The store.
        specs: The specs as they are now.
        clock: Tells the time, UTC epoch seconds.
        environment: Tells the value of environment variables, which hold the secrets.
        holding: Holds whoever waits for an answer of ours; None: nobody is held.
        pushing: Starts what a push starts; None: nothing.
        ready: Tells whether *specs* are there; until then nobody is told that there is no such integration or service.

    Attributes:
        came: Set when something came into the inbox.
        refusals: How many deliveries were refused since the start, by integration.
        outcomes: How many were read since the start, by integration and what became of them.
    """

    def __init__(
        self,
        database: Database,
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
        self._specs = specs
        self._environment = environment
        self._holding = holding
        self._pushing = pushing
        self._ready = ready
        self._now = clock
        self._lock = Lock()
        self._refused_at: dict[str, int] = {}
        self._begun: int | None = None
        self.refusals: Counter[str] = Counter()
        self.outcomes: Counter[tuple[str, str]] = Counter()
        self.came = Wakeup()

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        """A writing transaction in which nobody else changes what is known of deployments."""
        with self._database.writing() as connection:
            store.take_turn_in(connection)
            yield connection

    # --- telling ---------------------------------------------------------------------------------------------------

    def record(self, report: DeploymentReport, history: Sequence[Recorded] = ()) -> Deployment:
        """Take what somebody tells of a deployment; the same again changes nothing.

        Args:
            report: What is told.
            history: Commits of its repository that the sender knows, whether the deployment carried them or not.

        Raises:
            UsageError: It says too little to be told apart.
            StoreError: It cannot be recorded.
        """
        return self.record_all([report], history)[0]

    def record_all(self, reports: Sequence[DeploymentReport], history: Sequence[Recorded] = ()) -> list[Deployment]:
        """Take many reports in one transaction; returns what is known then of the deployment of each."""
        checked = [report.checked() for report in reports]
        with self._writing() as connection:
            events = []
            if history and checked:
                told = account_of(replace(checked[0], repository=repository_name(checked[0].repository)))
                events = self.commits_in(connection, self._repository(connection, told), history)[1]
            events += [event for report in checked for event in self.record_in(connection, report)]
            names = [account_of(report).id for report in checked]
            found = store.named_deployments_in(connection, names)
            self._journal.append_in(connection, events)
        return [found[name] for name in names]

    def record_commits(self, repository: str, commits: Sequence[Recorded]) -> int:
        """Take commits of a repository; deployments that carried them know it from then on. Returns how many are new.

        Raises:
            StoreError: They cannot be recorded.
        """
        with self._writing() as connection:
            count, events = self.commits_in(connection, repository_name(repository), commits)
            self._journal.append_in(connection, events)
        return count

    def record_in(self, connection: Connection, report: DeploymentReport) -> list[Event]:
        """As `record`, in the caller's transaction; returns events for the journal, to be appended last."""
        report = replace(report, repository=repository_name(report.repository))
        told = account_of(report)
        known = store.account_in(connection, told.id)
        account = told if known is None else known.merged(told)
        events: list[Event] = []
        if report.commits:
            repository = self._repository(connection, account)
            _, events = self.commits_in(connection, repository, report.commits, but=account.id)
            if not account.fact("repository"):
                account = account.merged(account_of(replace(report, repository=repository)))
        elif account == known:
            return []
        before = store.deployment_in(connection, account.id)
        events += self._derive(connection, account, before)
        first = min((one for one in (account, known) if one is not None), key=lambda one: (one.at, one.id))
        following = store.accounts_after_in(
            connection, account.service, account.environment, (first.at, account.id), _MOST_FOLLOWING
        )
        for one in touched(account, known, following):
            events += self._derive(connection, one, store.deployment_in(connection, one.id))
        return events

    def commits_in(
        self, connection: Connection, repository: str, commits: Sequence[Recorded], but: str = ""
    ) -> tuple[int, list[Event]]:
        """As `record_commits`, in the caller's transaction, leaving the deployment *but* to the caller."""
        changed = store.keep_commits_in(connection, repository, commits)
        if not changed:
            return 0, []
        event = self._commits_event(repository, [one for one in commits if one.sha in set(changed)])
        return len(changed), [event, *self.again_in(connection, repository, but=but)]

    def again_in(self, connection: Connection, repository: str, but: str = "") -> list[Event]:
        """Look again at deployments of a repository of which not all commits were known."""
        mapped = self._mapped()
        services = sorted({one.service for one in mapped if same_repository(one.repository, repository)})
        short = repository.partition("/")[2]
        names = [repository, *([short] if "/" in short else [])]
        events: list[Event] = []
        for account in store.incomplete_in(connection, names, services, _MOST_INCOMPLETE):
            if account.id != but:
                events += self._derive(connection, account, store.deployment_in(connection, account.id))
        return events

    def _derive(self, connection: Connection, account: Account, before: Deployment | None) -> list[Event]:
        """Work out a deployment from all that is known now, and keep it where that is something new."""
        after = deployment_of(account, self._around(connection, account))
        if after == before:
            known = store.account_in(connection, account.id)
            if known != account:
                store.keep_deployment_in(connection, account, after)
            return []
        new = before is None and not store.environment_known_in(connection, after.environment)
        store.keep_deployment_in(connection, account, after)
        made = [_environment_event(after)] if new else []
        return [*made, *_events(before, after), *self._judge(connection, after)]

    def _around(self, connection: Connection, account: Account) -> Around:
        place = (account.at, account.id)
        service, environment = account.service, account.environment
        live = store.live_in(connection, service, environment, before=place)
        lived = None
        if live is not None:
            lived = Lived(live.version, live.revision, live.artifact, live.at)
            first = store.first_live_in(connection, service, environment, lived, place)
            lived = replace(lived, first_at=live.at if first is None else first)
        revision = account.fact("revision")
        this = Lived(account.fact("version"), revision, account.fact("artifact"), 0)
        first_at = store.first_live_in(connection, service, environment, this, place)
        repository = self._repository(connection, account)
        listed = account.fact("commits").split()
        if listed:
            commits = store.commits_in(connection, repository, listed)
            history = History()
        else:
            told = account.fact("previous")
            previous = told if is_sha(told) else lived.revision if lived else ""
            revision, previous = (self._full(connection, repository, one) for one in (revision, previous))
            commits, history = self._history(connection, repository, revision, previous)
            if lived is not None and lived.revision and previous.startswith(lived.revision):
                lived = replace(lived, revision=previous)
            carried = history.carried(previous, revision)
            listed = list(carried.shas) if carried else []
        merged = store.merged_of_in(connection, repository, listed)
        return Around(
            previous=lived,
            first_at=first_at,
            revision=revision,
            repository=repository,
            history=history,
            commits=commits,
            labels={sha: one.labels for sha, one in merged.items() if one.labels},
            paths=paths_of(service, repository, self._mapped()),
        )

    def _repository(self, connection: Connection, account: Account) -> str:
        """The repository whose commits count: as told, or as mapped, by the name under which its commits are kept."""
        name = account.fact("repository") or repository_of(account.service, self._mapped())
        if not name:
            return f"service:{account.service}"
        return store.repository_like_in(connection, name) or name

    @staticmethod
    def _full(connection: Connection, repository: str, name: str) -> str:
        if not is_sha(name) or len(name) >= 40:
            return name
        return store.full_sha_in(connection, repository, name) or name

    @staticmethod
    def _history(
        connection: Connection, repository: str, revision: str, previous: str
    ) -> tuple[dict[str, Recorded], History]:
        """The commits around two revisions, as far back as they are needed, and no further than a few thousand."""
        commits = store.commits_in(connection, repository, [one for one in (revision, previous) if one])
        if not commits:
            return {}, History()
        until = max(one.committed_at for one in commits.values())
        history = History()
        for most in _LOADED:
            older = store.older_in(connection, repository, until, most)
            commits |= older
            history = history_of(commits.values())
            if len(older) < most or not _cut_off(history, revision, previous):
                break
        return commits, history

    def _mapped(self) -> tuple[Mapped, ...]:
        specs = self._specs()
        return (*(one for integration in specs.integrations for one in integration.map), *specs.mapped)

    # --- deliveries ------------------------------------------------------------------------------------------------

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
            _fit(key),
            _fit(event),
            {key: _fit(value) for key, value in kept.items()},
            body,
            state,
            why,
            0,
            now,
            None,
        )
        with self._writing() as connection:
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
                with self._writing() as connection:
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
                with self._writing() as connection:
                    store.settle_in(connection, one.sequence, InboxState.SET_ASIDE, _fit(why), self._now())
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

    def inbox(
        self, integration: str = "", *, state: str = "", before: int | None = None, limit: int = 100
    ) -> list[Incoming]:
        """What was sent to us, newest first, without what it holds."""
        with self._database.reading() as connection:
            return store.inbox_in(connection, integration=integration, state=state, before=before, limit=limit)

    def inbox_counts(self) -> Mapping[tuple[str, str], int]:
        """How many deliveries there are, by integration and state."""
        with self._database.reading() as connection:
            return store.inbox_counts_in(connection)

    def incoming(self, name: str) -> Incoming:
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
        self.incoming(name)
        with self._writing() as connection:
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
        kept = {key: _fit(headers[key]) for key in KEPT_HEADERS if key in headers}
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
                    events += self.commits_in(connection, fact.repository, fact.commits)[1]
                case Merged():
                    events += self._merge(connection, fact)
                case Built():
                    built = store.keep_build_in(connection, one.integration, fact)
                    if built is not None and built.state in _BUILD_ENDS:
                        events.append(self._build_event(one.integration, built))
                case Published():
                    published = store.keep_artifact_in(connection, fact)
                    if published is not None:
                        events.append(self._artifact_event(published))
                case Deployed():
                    reports = self._reports(integration, one.integration, fact)
                    for report in reports:
                        events += self.record_in(connection, report.checked())
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
                external=_fit(fact.external),
                service=one.service,
                environment=_fit(one.environment),
                at=fact.at,
                state=fact.state,
                version=_fit(fact.version),
                revision=_fit(fact.revision),
                previous=_fit(fact.previous),
                repository=_fit(fact.repository),
                artifact=_fit(fact.artifact),
                kind=fact.kind,
                rollback=fact.rollback,
                change=_fit(fact.change),
                title=_fit(fact.title),
                decision=_fit(fact.decision),
                by=_fit(fact.by),
                url=_fit(fact.url),
                started_at=fact.started_at,
            )
            for one in whom(fact, mapped_for(integration, specs.mapped), known)
        ]

    def _merge(self, connection: Connection, fact: Merged) -> list[Event]:
        """Keep a merged change; deployments that carried it may be of another kind then."""
        if not store.keep_merged_in(connection, fact):
            return []
        told = {
            "repository": fact.repository,
            "pullRequest": fact.name,
            "title": fact.title,
            "revision": fact.sha,
            "author": fact.author,
            "labels": list(fact.labels),
            "url": fact.url,
        }
        event = self._told_of(
            "change.merged", fact.repository, fact.name, fact.merged_at, {"repository": {"id": fact.repository}}, told
        )
        events = [event]
        for name in store.carrying_in(connection, [fact.sha]).get(fact.sha, ()):
            account = store.account_in(connection, name)
            if account is not None:
                events += self._derive(connection, account, store.deployment_in(connection, name))
        return events

    def _commits_event(self, repository: str, commits: Sequence[Recorded]) -> Event:
        """Commits that are new, or of which more is known: the newest by name, all by a digest."""
        newest = sorted(commits, key=lambda one: (-one.committed_at, one.sha))
        told = {
            "repository": repository,
            "count": len(commits),
            "digest": _digest({"shas": sorted((one.sha, *one.parents) for one in commits)}),
            "commits": [
                {"sha": one.sha, "title": made.title, "author": made.author, "kind": made.kind.value}
                for one in newest[:MOST_TOLD]
                for made in (one.commit(),)
            ],
        }
        name = f"commits.{_digest(told)}"
        return Event(name, SOURCE, COMMITS, self._subject(repository), newest[0].committed_at, told)

    def _subject(self, repository: str) -> str:
        """What an event about a repository is about: its service, where it has just one."""
        specs = self._specs()
        known = {*specs.services, *(slo.service for slo in specs.slos)}
        services = services_of(repository, self._mapped(), known)
        return services[0] if len(services) == 1 else _fit(repository) or SOURCE

    def _build_event(self, source: str, built: Built) -> Event:
        told = {
            "repository": built.repository,
            "revision": built.revision,
            "name": built.name,
            "outcome": built.state.value,
            "url": built.url,
            "source": source,
        }
        return self._told_of("build.finished", built.repository, built.external, built.at, {}, told)

    def _artifact_event(self, one: Published) -> Event:
        told = {"repository": one.repository, "revision": one.revision, "url": one.url}
        return self._told_of("artifact.published", one.repository, one.artifact, one.at, {}, told)

    def _told_of(
        self, kind: str, repository: str, subject: str, at: int, content: Mapping[str, Any], told: Mapping[str, Any]
    ) -> Event:
        """An event about something of a repository; about its service, where it has just one."""
        name = f"{subject}.{_digest({'kind': kind, 'told': dict(told)})}"
        document = event_document(
            kind,
            id=name,
            source=SOURCE,
            at=at,
            subject=subject,
            subject_source=repository,
            content=content,
            custom=told,
        )
        return Event(name, SOURCE, event_type(kind), self._subject(repository), at, document)

    # --- the gate --------------------------------------------------------------------------------------------------

    def _judge(self, connection: Connection, deployment: Deployment) -> list[Event]:
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
                events.append(_finding_event(closed, FINDING_CLOSED, now))
        if meant is not None:
            before = next((one for one in known if one.id == meant.id), None)
            if before is None or before.closed_by == CLEARED_BY:
                store.keep_finding_in(connection, meant)
                events.append(_finding_event(meant, FINDING_OPENED, now))
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

    def decision_for(self, deployment: Deployment) -> str:
        """Id of the decision that a deployment went out on, told or found; empty: none is known."""
        found = decision_of(deployment, self._asked(deployment)[0])
        return found.id if found else ""

    def findings(
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

    def counts(self) -> tuple[dict[tuple[str, str], int], dict[str, int]]:
        """How many deliveries were read and refused since the start: `outcomes` and `refusals`, as they are now."""
        with self._lock:
            return dict(self.outcomes), dict(self.refusals)

    def open_findings(self) -> Mapping[str, int]:
        """How many findings are open, by service."""
        with self._database.reading() as connection:
            return store.open_findings_in(connection)

    def finding(self, name: str) -> Finding:
        """One finding; raises `NotFoundError`."""
        with self._database.reading() as connection:
            return _found(store.finding_in(connection, name), name)

    def close_finding(self, name: str, *, by: str, reason: str) -> Finding:
        """Close a finding.

        Raises:
            NotFoundError: There is none. ConflictError: It is closed. UsageError: Nobody says why.
        """
        if not reason.strip():
            raise UsageError("a finding is closed for a reason", remedy="say in a few words what came of it")
        now = self._now()
        with self._writing() as connection:
            known = _found(store.finding_in(connection, name), name)
            if not known.open:
                raise ConflictError(f"the finding {name} was closed by {known.closed_by}")
            closed = known.closed(by, reason.strip(), now)
            store.keep_finding_in(connection, closed)
            self._journal.append_in(connection, [_finding_event(closed, FINDING_CLOSED, now)])
        return closed

    # --- asking ----------------------------------------------------------------------------------------------------

    def deployments(
        self,
        service: str = "",
        environment: str = "",
        *,
        state: str = "",
        since: int | None = None,
        before: tuple[int, str] | None = None,
        limit: int = 100,
    ) -> list[Deployment]:
        """Deployments, newest first; of those, older ones than the place *before*: an instant and an id."""
        with self._database.reading() as connection:
            return store.deployments_in(
                connection,
                service=service,
                environment=environment,
                state=state,
                since=since,
                before=before,
                limit=limit,
            )

    def deployment(self, name: str) -> Deployment:
        """One deployment; raises `NotFoundError`."""
        with self._database.reading() as connection:
            found = store.deployment_in(connection, name)
        if found is None:
            raise NotFoundError(f"there is no deployment {name!r}", remedy="`tightrope deployment list` shows them")
        return found

    def about(self, name: str) -> tuple[Deployment, list[Finding], list[Built], Published | None]:
        """One deployment, what was found of it, and what it was built by; raises `NotFoundError`."""
        found = self.deployment(name)
        with self._database.reading() as connection:
            builds = store.builds_in(connection, found.revision) if found.revision else []
            artifact = store.artifact_in(connection, found.artifact) if found.artifact else None
            return found, store.findings_of_in(connection, name), builds, artifact

    def live(self, service: str, environment: str = PRODUCTION) -> Deployment | None:
        """What is live in an environment: the newest deployment that succeeded; None: none is known."""
        with self._database.reading() as connection:
            return store.live_in(connection, service, environment)

    def kind_of(self, service: str, environment: str, change: str) -> FoundKind | None:
        """What a change is for, from what is known of it and of what is live; None where that tells nothing.

        It is a rollback where git has it in the past of what is live, or where it was live before: that a number is
        lower is not enough here, since rollbacks pass every gate. Else it is what its commits are, if none is missing.

        Args:
            service, environment: Where it is to go.
            change: A commit, tag or version.
        """
        if (looked_at := self._if_deployed(service, environment, change)) is None:
            return None
        found, around = looked_at
        if found.rollback:
            lived = around.first_at is not None
            past = around.history.is_ancestor(found.revision, found.previous) if found.previous else None
            return FoundKind(found.kind, found.kind_from) if lived or past else None
        if not found.commits or not found.complete:
            return None
        since = found.previous_version or found.previous[:12]
        count = f"{len(found.commits)} commit{'s' if len(found.commits) != 1 else ''}"
        return FoundKind(found.kind, f"{count} since {since}: {found.kind_from}")

    def concerns(self, service: str, environment: str, change: str) -> bool:
        """Whether a change is about a service: not where all of its commits are known and none touches its paths."""
        found = self._if_deployed(service, environment, change) if change else None
        return found is None or not found[0].untouched

    def _if_deployed(self, service: str, environment: str, change: str) -> tuple[Deployment, Around] | None:
        """The deployment that a change would be, and what it is judged by; None where nothing is live."""
        now = self._now()
        named: dict[str, Any] = {"revision": change.lower()} if is_sha(change.lower()) else {"version": change}
        with self._database.reading() as connection:
            live = store.live_in(connection, service, environment)
            if live is None:
                return None
            report = DeploymentReport(
                "gate",
                change,
                service,
                environment,
                now,
                DeploymentState.STARTED,
                repository=live.repository,
                **named,
            )
            account = replace(account_of(report), states=((now + 1, DeploymentState.STARTED),))
            around = self._around(connection, account)
        return deployment_of(account, around), around

    def recent(self, service: str, since: int) -> list[Deployment]:
        """What changed in a service since an instant, oldest first."""
        found = self.deployments(service, since=since, limit=50)
        return list(reversed(found))

    def changes(
        self,
        *,
        service: str = "",
        repository: str = "",
        since: int | None = None,
        before: tuple[int, str] | None = None,
        limit: int = 100,
    ) -> list[Change]:
        """Commits that are known, newest first, with where they went; of a *service*: of its repository."""
        if service and not repository:
            repository = repository_of(service, self._mapped())
            newest = self.deployments(service, limit=1) if not repository else []
            repository = repository or next((one.repository for one in newest), "") or f"service:{service}"
        with self._database.reading() as connection:
            if repository:
                name = repository_name(repository)
                repository = store.repository_like_in(connection, name) or name
            rows = store.newest_commits_in(connection, repository=repository, since=since, before=before, limit=limit)
            shas = [one.sha for _, one in rows]
            carrying = store.carrying_in(connection, shas)
            deployments = store.named_deployments_in(
                connection, sorted({name for names in carrying.values() for name in names})
            )
            merged = {
                (name, sha): one
                for name in {name for name, _ in rows}
                for sha, one in store.merged_of_in(
                    connection, name, [one.sha for own, one in rows if own == name]
                ).items()
            }
        found = []
        for name, one in rows:
            pull = merged.get((name, one.sha))
            went = [deployments[each] for each in carrying.get(one.sha, ()) if each in deployments]
            went.sort(key=lambda each: (each.at, each.id))
            labels = pull.labels if pull else ()
            found.append(Change(name, one.commit(labels), tuple(went), pull.name if pull else "", labels))
        return found

    def open_external(self, service: str, environment: str, source: str, version: str, revision: str) -> str:
        """The sender's name of its newest deployment that goes on, of a version and revision; empty: none goes on."""
        with self._database.reading() as connection:
            for account in store.open_accounts_in(connection, service, environment, source):
                same = (account.fact("version"), account.fact("revision")) == (version, revision)
                if same:
                    return account.external
        return ""


@dataclass(frozen=True, slots=True)
class FromGit:
    """What a repository on this machine tells of a deployment.

    Attributes:
        revision, previous: Full names of commits; an empty one is not known there.
        repository: The address that it was cloned from; its folder, where it has none.
        version: The tag on the revision; empty: it has none, or several.
        history: The commits around the two.
        lacking: Why not all is known; empty: it is.
    """

    revision: str
    previous: str
    repository: str
    version: str
    history: tuple[Recorded, ...]
    lacking: str = ""


def read_git(folder: str, revision: str, previous: str, *, given: bool) -> FromGit:
    """Read from git what a deployment of *revision* carries beyond *previous*.

    Args:
        folder: Of the repository.
        revision: Commit, branch or tag; empty: what is checked out.
        previous: What is live; empty: not known.
        given: Somebody named *previous*: that it is not there is then an error, and else only a lack.

    Raises:
        NotFoundError: There is no repository, or no such commit.
    """
    repository = Repository(folder)
    name = repository.resolve(revision or "HEAD")
    tags = repository.tags(name)
    address = repository_name(repository.origin()) or str(Path(folder).resolve())
    version = tags[0] if len(tags) == 1 else ""
    if not previous:
        return FromGit(name, "", address, version, (repository.one(name),))
    if not given and not repository.has(previous):
        lacking = f"{previous[:12]}, which is live, is not in {folder}: what was carried since is not known"
        return FromGit(name, "", address, version, (repository.one(name),), lacking)
    before = repository.resolve(previous)
    return FromGit(name, before, address, version, tuple(repository.between(before, name)))


def named(deliveries: Deliveries, report: DeploymentReport) -> DeploymentReport:
    """Name the deployment of somebody who has no name for it: the one that goes on is meant, else it is a new one."""
    if report.external:
        return report
    name = ""
    if report.state is not DeploymentState.STARTED:
        name = deliveries.open_external(
            report.service, report.environment, report.source, report.version, report.revision
        )
    return replace(report, external=name or f"{report.version or report.revision or report.artifact}@{report.at}")


@contextmanager
def at_hand(where: str, specs: Specs | None = None, *, create: bool = False) -> Iterator[Deliveries]:
    """What there is to tell and ask of a store that no server of this process holds open."""
    with opened(where, create=create) as database:
        yield Deliveries(database, specs=lambda: specs or Specs())


def _found(finding: Finding | None, name: str) -> Finding:
    if finding is None:
        raise NotFoundError(f"there is no finding {name!r}", remedy="`tightrope finding list` shows them")
    return finding


def _cut_off(history: History, revision: str, previous: str) -> bool:
    """Whether more commits of the past could tell more."""
    if history.is_ancestor(revision, previous):
        return False
    carried = history.carried(previous, revision)
    return carried is None or not carried.complete


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


def _events(before: Deployment | None, after: Deployment) -> list[Event]:
    """What is to be told of a deployment that is another one than before."""
    if before is not None and before.state is after.state:
        return [_event(UPDATED, after)]
    if after.state is DeploymentState.STARTED:
        return [_event(STARTED if before is None else UPDATED, after)]
    if after.state is DeploymentState.FAILED:
        return [_event(FAILED, after)]
    kind = "service.rolledback" if after.rollback else "service.upgraded" if _follows(after) else "service.deployed"
    return [_event(kind, after)]


def _follows(deployment: Deployment) -> bool:
    return bool(deployment.previous or deployment.previous_version)


def _event(kind: str, deployment: Deployment) -> Event:
    told = deployment_document(deployment)
    told["commits"] = [one.sha for one in deployment.commits]
    word = kind.removeprefix("dev.tightrope.").removesuffix(".v1").rpartition(".")[2]
    name = f"{deployment.id}.{word}.{_digest(told)}"
    if not kind.startswith("service."):
        return Event(name, SOURCE, kind, deployment.service, deployment.at, told)
    purl = artifact_purl(deployment.service, deployment.version, deployment.revision, deployment.artifact)
    document = event_document(
        kind,
        id=name,
        source=SOURCE,
        at=deployment.at,
        subject=deployment.service,
        content={"environment": {"id": deployment.environment}, "artifactId": purl},
        custom=told,
    )
    return Event(name, SOURCE, event_type(kind), deployment.service, deployment.at, document)


def _environment_event(deployment: Deployment) -> Event:
    """The first that anybody tells of an environment."""
    place = deployment.environment
    name = f"environment.{_digest({'environment': place, 'at': deployment.started_at, 'by': deployment.id})}"
    document = event_document(
        "environment.created",
        id=name,
        source=SOURCE,
        at=deployment.started_at,
        subject=place,
        content={"name": place},
        custom={"deployment": deployment.id, "service": deployment.service},
    )
    kind = event_type("environment.created")
    return Event(name, SOURCE, kind, deployment.service, deployment.started_at, document)


def _finding_event(finding: Finding, kind: str, now: int) -> Event:
    told = finding_document(finding)
    return Event(f"{finding.id}.{_digest(told)}", SOURCE, kind, finding.service, now, told)


def _incoming_id(integration: str, key: str) -> str:
    made = hashlib.sha256(f"{integration}\n{key}".encode("utf-8", "replace")).hexdigest()
    return f"IN-{made[:12].upper()}"


def _fit(text: str) -> str:
    """A text that every database can keep and every terminal show."""
    shown = [one if one.isprintable() else " " if one.isspace() else "\N{REPLACEMENT CHARACTER}" for one in text[:2000]]
    return "".join(shown).strip()[:500]


def _digest(told: Mapping[str, Any]) -> str:
    return hashlib.sha256(canonical(told).encode()).hexdigest()[:16]
