"""Changes and deployments: recorded from whoever tells of them, in any order, and held against the gate's decisions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tightrope.base.canonical import digest
from tightrope.base.clock import now as clock_now
from tightrope.base.errors import NotFoundError
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
    called,
    deployment_of,
    history_of,
    is_sha,
    touched,
)
from tightrope.delivery.documents import change_document, deployment_document
from tightrope.delivery.executors.git import Repository
from tightrope.delivery.facts import Built, Merged, Published
from tightrope.delivery.findings import Finding
from tightrope.delivery.history import History
from tightrope.delivery.inbox import fit
from tightrope.delivery.judging.usecases import SOURCE, Findings
from tightrope.delivery.mapping import (
    PRODUCTION,
    paths_of,
    repository_name,
    repository_of,
    same_repository,
    services_of,
)
from tightrope.policy.change_kinds import FoundKind
from tightrope.specs.model import Mapped, Specs
from tightrope.state.database import Database, opened
from tightrope.state.journal import Event, Journal

STARTED, FAILED, UPDATED = (f"dev.tightrope.deployment.{word}.v1" for word in ("started", "failed", "updated"))
COMMITS = "dev.tightrope.commits.recorded.v1"
MOST_TOLD = 50
"""So many commits an event names, the newest; all are in the store."""

RECENT_S = DAY_S
"""What changed so lately is told beside an alert, unless another stretch is asked about."""

_MOST_FOLLOWING = 1000
_MOST_INCOMPLETE = 50
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

    Attributes:
        findings: Those that went out past the gate.
    """

    def __init__(
        self, database: Database, *, specs: Callable[[], Specs] = Specs, clock: Callable[[], int] = clock_now
    ) -> None:
        self._database = database
        self._journal = Journal(database)
        self._specs = specs
        self._now = clock
        self.findings = Findings(database, specs, clock)

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
        with store.taking_turns(self._database) as connection:
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
        with store.taking_turns(self._database) as connection:
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
        event = _commits_event(
            repository, [one for one in commits if one.sha in set(changed)], self.subject_of(repository)
        )
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

    def merge_in(self, connection: Connection, fact: Merged) -> list[Event]:
        """Keep a merged change; deployments that carried it may be of another kind then."""
        if not store.keep_merged_in(connection, fact):
            return []
        events = [_merged_event(fact, self.subject_of(fact.repository))]
        for name in store.carrying_in(connection, [fact.sha]).get(fact.sha, ()):
            account = store.account_in(connection, name)
            if account is not None:
                events += self._derive(connection, account, store.deployment_in(connection, name))
        return events

    def subject_of(self, repository: str) -> str:
        """What an event about a repository is about: its service, where it has just one."""
        specs = self._specs()
        known = {*specs.services, *(slo.service for slo in specs.slos)}
        services = services_of(repository, self._mapped(), known)
        return services[0] if len(services) == 1 else fit(repository) or SOURCE

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
        return [*made, *_deployment_events(before, after), *self.findings.judge_in(connection, after)]

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
        since = called(found.previous_version, found.previous)
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


def _cut_off(history: History, revision: str, previous: str) -> bool:
    """Whether more commits of the past could tell more."""
    if history.is_ancestor(revision, previous):
        return False
    carried = history.carried(previous, revision)
    return carried is None or not carried.complete


def _deployment_events(before: Deployment | None, after: Deployment) -> list[Event]:
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
    name = f"{deployment.id}.{word}.{digest(told)[:16]}"
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
    name = f"environment.{digest({'environment': place, 'at': deployment.started_at, 'by': deployment.id})[:16]}"
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


def _commits_event(repository: str, commits: Sequence[Recorded], about: str) -> Event:
    """Commits that are new, or of which more is known: the newest by name, all by a digest.

    Args:
        repository: Where they are.
        commits: One at least.
        about: What the event is about: a service, or a repository.
    """
    newest = sorted(commits, key=lambda one: (-one.committed_at, one.sha))
    told = {
        "repository": repository,
        "count": len(commits),
        "digest": digest({"shas": sorted((one.sha, *one.parents) for one in commits)})[:16],
        "commits": [
            {"sha": one.sha, "title": made.title, "author": made.author, "kind": made.kind.value}
            for one in newest[:MOST_TOLD]
            for made in (one.commit(),)
        ],
    }
    name = f"commits.{digest(told)[:16]}"
    return Event(name, SOURCE, COMMITS, about, newest[0].committed_at, told)


def _merged_event(fact: Merged, about: str) -> Event:
    """A pull or merge request was merged."""
    told = {
        "repository": fact.repository,
        "pullRequest": fact.name,
        "title": fact.title,
        "revision": fact.sha,
        "author": fact.author,
        "labels": list(fact.labels),
        "url": fact.url,
    }
    return event_about(
        "change.merged",
        fact.repository,
        fact.name,
        fact.merged_at,
        {"repository": {"id": fact.repository}},
        told,
        about,
    )


def event_about(
    kind: str, repository: str, subject: str, at: int, content: Mapping[str, Any], told: Mapping[str, Any], about: str
) -> Event:
    """A CDEvent for the journal about something of a repository.

    Args:
        kind: Of CDEvents, such as ``build.finished``.
        repository: Where its subject is from.
        subject: The CDEvent's.
        at: When it happened, UTC epoch seconds.
        content: What CDEvents have for it; *told*: what they have no place for.
        about: What it is filed under: a service, or a repository.
    """
    name = f"{subject}.{digest({'kind': kind, 'told': dict(told)})[:16]}"
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
    return Event(name, SOURCE, event_type(kind), about, at, document)
