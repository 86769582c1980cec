"""The door to what is known of changes: inbox, commits, builds, artifacts, deployments and findings."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Connection,
    Index,
    Integer,
    LargeBinary,
    Row,
    Table,
    Text,
    UniqueConstraint,
    and_,
    delete,
    func,
    or_,
    select,
    text,
)

from tightrope.base.canonical import canonical
from tightrope.delivery.changes import Account, Deployment, DeploymentState, Lived, Recorded
from tightrope.delivery.facts import Built, Merged, Published
from tightrope.delivery.findings import Finding
from tightrope.delivery.inbox import InboxState, Incoming
from tightrope.policy.notation import plain, read_as
from tightrope.state.database import Database
from tightrope.state.tables import TABLES

_INBOX = Table(
    "delivery_inbox",
    TABLES,
    Column("sequence", BigInteger().with_variant(Integer(), "sqlite"), primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("integration", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("event", Text, nullable=False),
    Column("headers", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("state", Text, nullable=False),
    Column("why", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("received_at", BigInteger, nullable=False),
    Column("processed_at", BigInteger, nullable=True),
    UniqueConstraint("integration", "key", name="delivery_inbox_key"),
    Index("delivery_inbox_state", "state", "sequence"),
    Index("delivery_inbox_integration", "integration", "sequence"),
)
_COMMIT = Table(
    "recorded_commit",
    TABLES,
    Column("repository", Text, primary_key=True),
    Column("sha", Text, primary_key=True),
    Column("committed_at", BigInteger, nullable=False),
    Column("document", Text, nullable=False),
    Index("recorded_commit_at", "repository", "committed_at"),
    Index("recorded_commit_newest", "committed_at", "sha"),
)
_REPOSITORY = Table("known_repository", TABLES, Column("name", Text, primary_key=True))
_MERGED = Table(
    "merged_change",
    TABLES,
    Column("repository", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("sha", Text, nullable=False),
    Column("merged_at", BigInteger, nullable=False),
    Column("document", Text, nullable=False),
    Index("merged_change_sha", "repository", "sha"),
)
_BUILD = Table(
    "build",
    TABLES,
    Column("source", Text, primary_key=True),
    Column("external", Text, primary_key=True),
    Column("repository", Text, nullable=False),
    Column("revision", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("document", Text, nullable=False),
    Index("build_revision", "revision", "at"),
)
_ARTIFACT = Table(
    "artifact",
    TABLES,
    Column("id", Text, primary_key=True),
    Column("repository", Text, nullable=False),
    Column("revision", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("document", Text, nullable=False),
    Index("artifact_revision", "revision", "at"),
)
_DEPLOYMENT = Table(
    "deployment",
    TABLES,
    Column("id", Text, primary_key=True),
    Column("service", Text, nullable=False),
    Column("environment", Text, nullable=False),
    Column("repository", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("revision", Text, nullable=False),
    Column("artifact", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("started_at", BigInteger, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("rollback", Boolean, nullable=False),
    Column("complete", Boolean, nullable=False),
    Column("account", Text, nullable=False),
    Column("document", Text, nullable=False),
    Index("deployment_place", "service", "environment", "at", "id"),
    Index("deployment_at", "at", "id"),
    Index("deployment_environment", "environment"),
    Index("deployment_repository", "repository", "complete", "at"),
)
_CARRIED = Table(
    "deployment_commit",
    TABLES,
    Column("deployment", Text, primary_key=True),
    Column("sha", Text, primary_key=True),
    Index("deployment_commit_sha", "sha"),
)
_FINDING = Table(
    "finding",
    TABLES,
    Column("id", Text, primary_key=True),
    Column("service", Text, nullable=False),
    Column("deployment", Text, nullable=False),
    Column("opened_at", BigInteger, nullable=False),
    Column("closed_at", BigInteger, nullable=True),
    Column("document", Text, nullable=False),
    Index("finding_deployment", "deployment"),
    Index("finding_opened", "opened_at", "id"),
)

_AT_ONCE = 500
_TURN = 0x7469_6768_6465_6C69  # any fixed number: PostgreSQL's advisory locks are told apart by it
_SUCCEEDED = DeploymentState.SUCCEEDED.value

Place = tuple[int, str]
"""Where a deployment stands among others: its instant, and its id."""


def take_turn_in(connection: Connection) -> None:
    """Wait until nobody else changes what is known of deployments, until the end of the transaction.

    What follows from a deployment reaches to others, so that no lock on rows would do. SQLite has one writer anyway.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _TURN})


@contextmanager
def taking_turns(database: Database) -> Iterator[Connection]:
    """A writing transaction in which nobody else changes what is known of deployments."""
    with database.writing() as connection:
        take_turn_in(connection)
        yield connection


def _in_parts(names: Sequence[str]) -> Iterator[Sequence[str]]:
    for first in range(0, len(names), _AT_ONCE):
        yield names[first : first + _AT_ONCE]


# --- the inbox -----------------------------------------------------------------------------------------------------


def take_in(connection: Connection, one: Incoming) -> Incoming | None:
    """Put a delivery into the inbox; hands back the one that is there already under its key."""
    known = connection.execute(
        select(_INBOX).where(_INBOX.c.integration == one.integration, _INBOX.c.key == one.key)
    ).one_or_none()
    if known is not None:
        return _incoming(known)
    connection.execute(
        _INBOX.insert().values(
            id=one.id,
            integration=one.integration,
            type=one.type,
            key=one.key,
            event=one.event,
            headers=canonical(dict(one.headers)),
            body=one.body,
            state=one.state.value,
            why=one.why,
            attempts=one.attempts,
            received_at=one.received_at,
            processed_at=one.processed_at,
        )
    )
    return None


def next_in(connection: Connection) -> Incoming | None:
    """The oldest delivery that waits."""
    query = select(_INBOX).where(_INBOX.c.state == InboxState.WAITING.value).order_by(_INBOX.c.sequence).limit(1)
    row = connection.execute(query).one_or_none()
    return None if row is None else _incoming(row)


def waits_in(connection: Connection, sequence: int) -> bool:
    """Whether a delivery still waits."""
    query = select(_INBOX.c.state).where(_INBOX.c.sequence == sequence)
    return connection.scalar(query) == InboxState.WAITING.value


def settle_in(connection: Connection, sequence: int, state: InboxState, why: str, now: int) -> None:
    """Note what became of a delivery."""
    connection.execute(
        _INBOX.update()
        .where(_INBOX.c.sequence == sequence)
        .values(state=state.value, why=why, processed_at=now, attempts=_INBOX.c.attempts + 1)
    )


def reopen_in(connection: Connection, sequence: int, headers: Mapping[str, str], body: bytes) -> None:
    """Let a delivery wait to be read again, as it came now."""
    connection.execute(
        _INBOX.update()
        .where(_INBOX.c.sequence == sequence)
        .values(state=InboxState.WAITING.value, why="", processed_at=None, headers=canonical(dict(headers)), body=body)
    )


def incoming_in(connection: Connection, name: str) -> Incoming | None:
    """One delivery by its id."""
    row = connection.execute(select(_INBOX).where(_INBOX.c.id == name)).one_or_none()
    return None if row is None else _incoming(row)


def inbox_in(
    connection: Connection, *, integration: str = "", state: str = "", before: int | None = None, limit: int = 100
) -> list[Incoming]:
    """Deliveries, newest first, without their bodies."""
    columns = [column for column in _INBOX.columns if column.name != "body"]
    query = select(*columns).order_by(_INBOX.c.sequence.desc()).limit(limit)
    if integration:
        query = query.where(_INBOX.c.integration == integration)
    if state:
        query = query.where(_INBOX.c.state == state)
    if before is not None:
        query = query.where(_INBOX.c.sequence < before)
    return [_incoming(row) for row in connection.execute(query)]


def inbox_counts_in(connection: Connection) -> Mapping[tuple[str, str], int]:
    """How many deliveries there are, by integration and state."""
    query = select(_INBOX.c.integration, _INBOX.c.state, func.count()).group_by(_INBOX.c.integration, _INBOX.c.state)
    return {(row[0], row[1]): int(row[2]) for row in connection.execute(query)}


def forget_in(connection: Connection, integration: str, state: InboxState, keep: int) -> None:
    """Keep only the newest of an integration's deliveries in one state."""
    mine = (_INBOX.c.integration == integration, _INBOX.c.state == state.value)
    edge = connection.scalar(
        select(_INBOX.c.sequence).where(*mine).order_by(_INBOX.c.sequence.desc()).offset(keep).limit(1)
    )
    if edge is not None:
        connection.execute(delete(_INBOX).where(*mine, _INBOX.c.sequence <= edge))


def prune_inbox_in(connection: Connection, before: int, emptied: int) -> int:
    """Forget deliveries that were read before an instant, and what those held that were before *emptied*.

    Those that nobody could read stay as they are. Returns how many are forgotten.
    """
    read = _INBOX.c.state.in_([InboxState.DONE.value, InboxState.IGNORED.value, InboxState.REFUSED.value])
    gone = connection.execute(delete(_INBOX).where(read, _INBOX.c.received_at < before))
    full = func.length(_INBOX.c.body) > 0
    connection.execute(_INBOX.update().where(read, full, _INBOX.c.received_at < emptied).values(body=b""))
    return int(gone.rowcount)


def _incoming(row: Row[Any]) -> Incoming:
    return Incoming(
        row.sequence,
        row.id,
        row.integration,
        row.type,
        row.key,
        row.event,
        json.loads(row.headers),
        bytes(getattr(row, "body", b"")),
        InboxState(row.state),
        row.why,
        row.attempts,
        row.received_at,
        row.processed_at,
    )


# --- commits, merged changes, builds and artifacts -----------------------------------------------------------------


def keep_commits_in(connection: Connection, repository: str, commits: Sequence[Recorded]) -> list[str]:
    """Keep commits; returns those that are new, or of which more is known than before."""
    told: dict[str, Recorded] = {}
    for one in commits:
        told[one.sha] = one.merged(told[one.sha]) if one.sha in told else one
    known = commits_in(connection, repository, list(told))
    changed = {
        sha: one.merged(known[sha]) if sha in known else one
        for sha, one in told.items()
        if sha not in known or one.merged(known[sha]) != known[sha]
    }
    for some in _in_parts(sorted(set(changed) & set(known))):
        connection.execute(delete(_COMMIT).where(_COMMIT.c.repository == repository, _COMMIT.c.sha.in_(some)))
    if changed:
        if connection.scalar(select(_REPOSITORY.c.name).where(_REPOSITORY.c.name == repository)) is None:
            connection.execute(_REPOSITORY.insert().values(name=repository))
        rows = [
            {
                "repository": repository,
                "sha": sha,
                "committed_at": one.committed_at,
                "document": canonical(plain(one)),
            }
            for sha, one in changed.items()
        ]
        connection.execute(_COMMIT.insert(), rows)
    return list(changed)


def commits_in(connection: Connection, repository: str, shas: Sequence[str]) -> dict[str, Recorded]:
    """Commits of a repository by their names."""
    found = {}
    for some in _in_parts(shas):
        query = select(_COMMIT.c.sha, _COMMIT.c.document).where(
            _COMMIT.c.repository == repository, _COMMIT.c.sha.in_(some)
        )
        for row in connection.execute(query):
            found[row.sha] = read_as(Recorded, json.loads(row.document))
    return found


def older_in(connection: Connection, repository: str, until: int, most: int) -> dict[str, Recorded]:
    """The newest commits of a repository that were committed by an instant."""
    query = (
        select(_COMMIT.c.sha, _COMMIT.c.document)
        .where(_COMMIT.c.repository == repository, _COMMIT.c.committed_at <= until)
        .order_by(_COMMIT.c.committed_at.desc(), _COMMIT.c.sha)
        .limit(most)
    )
    return {row.sha: read_as(Recorded, json.loads(row.document)) for row in connection.execute(query)}


def repository_like_in(connection: Connection, name: str) -> str:
    """The one repository of which commits are known and whose name is, or ends with, *name*; empty: none or several."""
    query = select(_REPOSITORY.c.name)
    if connection.scalar(query.where(_REPOSITORY.c.name == name)) is not None:
        return name
    ends = query.where(_REPOSITORY.c.name.endswith(f"/{name}", autoescape=True))
    found = list(connection.scalars(ends.limit(2)))
    return found[0] if len(found) == 1 else ""


def full_sha_in(connection: Connection, repository: str, short: str) -> str:
    """The one commit of a repository whose name begins so; empty where there is none, or more than one."""
    query = select(_COMMIT.c.sha).where(
        _COMMIT.c.repository == repository, _COMMIT.c.sha >= short, _COMMIT.c.sha < f"{short}g"
    )
    found = list(connection.scalars(query.limit(2)))
    return found[0] if len(found) == 1 else ""


def newest_commits_in(
    connection: Connection, *, repository: str = "", since: int | None = None, before: Place | None = None, limit: int
) -> list[tuple[str, Recorded]]:
    """Commits of all repositories, or of one, newest first, each with its repository."""
    query = (
        select(_COMMIT.c.repository, _COMMIT.c.document)
        .order_by(_COMMIT.c.committed_at.desc(), _COMMIT.c.sha.desc())
        .limit(limit)
    )
    if repository:
        query = query.where(_COMMIT.c.repository == repository)
    if since is not None:
        query = query.where(_COMMIT.c.committed_at >= since)
    if before is not None:
        query = query.where(_before(_COMMIT.c.committed_at, _COMMIT.c.sha, before))
    return [(row.repository, read_as(Recorded, json.loads(row.document))) for row in connection.execute(query)]


def keep_merged_in(connection: Connection, one: Merged) -> bool:
    """Keep a merged change; returns whether anything is new in it."""
    where = (_MERGED.c.repository == one.repository, _MERGED.c.name == one.name)
    known = connection.scalar(select(_MERGED.c.document).where(*where))
    merged = one if known is None else one.merged(read_as(Merged, json.loads(known)))
    document = canonical(plain(merged))
    if document == known:
        return False
    connection.execute(delete(_MERGED).where(*where))
    connection.execute(
        _MERGED.insert().values(
            repository=merged.repository,
            name=merged.name,
            sha=merged.sha,
            merged_at=merged.merged_at,
            document=document,
        )
    )
    return True


def merged_of_in(connection: Connection, repository: str, shas: Sequence[str]) -> dict[str, Merged]:
    """The changes that some commits came of, by commit."""
    found: dict[str, Merged] = {}
    for some in _in_parts(shas):
        query = select(_MERGED.c.sha, _MERGED.c.document).where(
            _MERGED.c.repository == repository, _MERGED.c.sha.in_(some)
        )
        for row in connection.execute(query.order_by(_MERGED.c.name)):
            found[row.sha] = read_as(Merged, json.loads(row.document))
    return found


def keep_build_in(connection: Connection, source: str, one: Built) -> Built | None:
    """Keep a build; returns how it stands now, None where nothing is new."""
    where = (_BUILD.c.source == source, _BUILD.c.external == one.external)
    known = connection.scalar(select(_BUILD.c.document).where(*where))
    merged = one if known is None else one.merged(read_as(Built, json.loads(known)))
    document = canonical(plain(merged))
    if document == known:
        return None
    connection.execute(delete(_BUILD).where(*where))
    connection.execute(
        _BUILD.insert().values(
            source=source,
            external=one.external,
            repository=merged.repository,
            revision=merged.revision,
            state=merged.state.value,
            at=merged.at,
            document=document,
        )
    )
    return merged


def builds_in(connection: Connection, revision: str, limit: int = 20) -> list[Built]:
    """The builds of a revision, newest first."""
    query = select(_BUILD.c.document).where(_BUILD.c.revision == revision)
    rows = connection.scalars(query.order_by(_BUILD.c.at.desc(), _BUILD.c.external).limit(limit))
    return [read_as(Built, json.loads(row)) for row in rows]


def keep_artifact_in(connection: Connection, one: Published) -> Published | None:
    """Keep an artifact; returns what is known of it now, None where nothing is new."""
    known = connection.scalar(select(_ARTIFACT.c.document).where(_ARTIFACT.c.id == one.artifact))
    merged = one if known is None else one.merged(read_as(Published, json.loads(known)))
    document = canonical(plain(merged))
    if document == known:
        return None
    connection.execute(delete(_ARTIFACT).where(_ARTIFACT.c.id == one.artifact))
    connection.execute(
        _ARTIFACT.insert().values(
            id=one.artifact,
            repository=merged.repository,
            revision=merged.revision,
            at=merged.at,
            document=document,
        )
    )
    return merged


def artifact_in(connection: Connection, name: str) -> Published | None:
    """One artifact by its purl or digest."""
    row = connection.scalar(select(_ARTIFACT.c.document).where(_ARTIFACT.c.id == name))
    return None if row is None else read_as(Published, json.loads(row))


# --- deployments ---------------------------------------------------------------------------------------------------


def account_in(connection: Connection, name: str) -> Account | None:
    """All that was told of a deployment."""
    row = connection.execute(select(_DEPLOYMENT).where(_DEPLOYMENT.c.id == name)).one_or_none()
    return None if row is None else _account(row)


def keep_deployment_in(connection: Connection, account: Account, deployment: Deployment) -> None:
    """Keep a deployment in the place of what was kept of it."""
    connection.execute(delete(_DEPLOYMENT).where(_DEPLOYMENT.c.id == deployment.id))
    told = {
        "source": account.source,
        "external": account.external,
        "service": account.service,
        "environment": account.environment,
        "facts": {name: list(fact) for name, fact in account.facts.items()},
        "states": [[at, state.value] for at, state in account.states],
    }
    connection.execute(
        _DEPLOYMENT.insert().values(
            id=deployment.id,
            service=deployment.service,
            environment=deployment.environment,
            repository=deployment.repository,
            version=deployment.version,
            revision=deployment.revision,
            artifact=deployment.artifact,
            state=deployment.state.value,
            source=deployment.source,
            started_at=deployment.started_at,
            at=deployment.at,
            rollback=deployment.rollback,
            complete=deployment.complete,
            account=canonical(told),
            document=canonical(plain(deployment)),
        )
    )
    connection.execute(delete(_CARRIED).where(_CARRIED.c.deployment == deployment.id))
    rows = [{"deployment": deployment.id, "sha": sha} for sha in dict.fromkeys(one.sha for one in deployment.commits)]
    if rows:
        connection.execute(_CARRIED.insert(), rows)


def environment_known_in(connection: Connection, environment: str) -> bool:
    """Whether anything was ever deployed into an environment."""
    query = select(_DEPLOYMENT.c.id).where(_DEPLOYMENT.c.environment == environment)
    return connection.scalar(query.limit(1)) is not None


def deployment_in(connection: Connection, name: str) -> Deployment | None:
    """One deployment by its id."""
    row = connection.scalar(select(_DEPLOYMENT.c.document).where(_DEPLOYMENT.c.id == name))
    return None if row is None else read_as(Deployment, json.loads(row))


def deployments_in(
    connection: Connection,
    *,
    service: str = "",
    environment: str = "",
    state: str = "",
    since: int | None = None,
    before: Place | None = None,
    limit: int = 100,
) -> list[Deployment]:
    """Deployments, newest first."""
    query = select(_DEPLOYMENT.c.document).order_by(_DEPLOYMENT.c.at.desc(), _DEPLOYMENT.c.id.desc()).limit(limit)
    for column, value in (
        (_DEPLOYMENT.c.service, service),
        (_DEPLOYMENT.c.environment, environment),
        (_DEPLOYMENT.c.state, state),
    ):
        if value:
            query = query.where(column == value)
    if since is not None:
        query = query.where(_DEPLOYMENT.c.at >= since)
    if before is not None:
        query = query.where(_before(_DEPLOYMENT.c.at, _DEPLOYMENT.c.id, before))
    return [read_as(Deployment, json.loads(row)) for row in connection.scalars(query)]


def live_in(connection: Connection, service: str, environment: str, before: Place | None = None) -> Deployment | None:
    """What is live in an environment; or what was live there before the deployment that stands at *before*."""
    query = select(_DEPLOYMENT.c.document).where(*_successful(service, environment, before))
    row = connection.scalar(query.order_by(_DEPLOYMENT.c.at.desc(), _DEPLOYMENT.c.id.desc()).limit(1))
    return None if row is None else read_as(Deployment, json.loads(row))


def first_live_in(connection: Connection, service: str, environment: str, what: Lived, before: Place) -> int | None:
    """When a version, revision or artifact was first live in an environment, before a deployment; None: never."""
    name, value = next(
        ((name, value) for name in ("version", "revision", "artifact") if (value := getattr(what, name))), ("", "")
    )
    if not name:
        return None
    query = select(func.min(_DEPLOYMENT.c.at)).where(
        *_successful(service, environment, before), _DEPLOYMENT.c[name] == value
    )
    found = connection.scalar(query)
    return None if found is None else int(found)


def accounts_after_in(
    connection: Connection, service: str, environment: str, after: Place, limit: int
) -> list[Account]:
    """What was told of the deployments that follow on one in its environment, in their order."""
    query = select(_DEPLOYMENT).where(
        _DEPLOYMENT.c.service == service,
        _DEPLOYMENT.c.environment == environment,
        or_(_DEPLOYMENT.c.at > after[0], and_(_DEPLOYMENT.c.at == after[0], _DEPLOYMENT.c.id > after[1])),
    )
    rows = connection.execute(query.order_by(_DEPLOYMENT.c.at, _DEPLOYMENT.c.id).limit(limit))
    return [_account(row) for row in rows]


def open_accounts_in(connection: Connection, service: str, environment: str, source: str) -> list[Account]:
    """What a sender told of deployments that go on, newest first."""
    query = select(_DEPLOYMENT).where(
        _DEPLOYMENT.c.service == service,
        _DEPLOYMENT.c.environment == environment,
        _DEPLOYMENT.c.source == source,
        _DEPLOYMENT.c.state == DeploymentState.STARTED.value,
    )
    rows = connection.execute(query.order_by(_DEPLOYMENT.c.at.desc(), _DEPLOYMENT.c.id.desc()).limit(_AT_ONCE))
    return [_account(row) for row in rows]


def incomplete_in(
    connection: Connection, repositories: Sequence[str], services: Sequence[str], limit: int
) -> list[Account]:
    """The newest deployments from a repository of whose commits some are not known, oldest of them first.

    A deployment is from the repository by any of its names; or, where it knows of none, by its service.
    """
    nameless = [f"service:{service}" for service in services]
    query = select(_DEPLOYMENT).where(_DEPLOYMENT.c.repository.in_([*repositories, *nameless]), ~_DEPLOYMENT.c.complete)
    rows = connection.execute(query.order_by(_DEPLOYMENT.c.at.desc(), _DEPLOYMENT.c.id.desc()).limit(limit)).all()
    return [_account(row) for row in reversed(rows)]


def carrying_in(connection: Connection, shas: Sequence[str]) -> dict[str, list[str]]:
    """The deployments that carried some commits, by commit."""
    found: dict[str, list[str]] = {}
    for some in _in_parts(shas):
        query = select(_CARRIED.c.sha, _CARRIED.c.deployment).where(_CARRIED.c.sha.in_(some))
        for row in connection.execute(query.order_by(_CARRIED.c.deployment)):
            found.setdefault(row.sha, []).append(row.deployment)
    return found


def named_deployments_in(connection: Connection, names: Sequence[str]) -> dict[str, Deployment]:
    """Deployments by their ids."""
    found = {}
    for some in _in_parts(names):
        query = select(_DEPLOYMENT.c.id, _DEPLOYMENT.c.document).where(_DEPLOYMENT.c.id.in_(some))
        for row in connection.execute(query):
            found[row.id] = read_as(Deployment, json.loads(row.document))
    return found


def _successful(service: str, environment: str, before: Place | None) -> list[ColumnElement[bool]]:
    found = [
        _DEPLOYMENT.c.service == service,
        _DEPLOYMENT.c.environment == environment,
        _DEPLOYMENT.c.state == _SUCCEEDED,
    ]
    if before is not None:  # what is kept of that deployment itself may be older than what is asked about
        found += [_before(_DEPLOYMENT.c.at, _DEPLOYMENT.c.id, before), _DEPLOYMENT.c.id != before[1]]
    return found


def _before(at: Column[Any], name: Column[Any], place: Place) -> ColumnElement[bool]:
    return or_(at < place[0], and_(at == place[0], name < place[1]))


def _account(row: Row[Any]) -> Account:
    told = json.loads(row.account)
    return Account(
        told["source"],
        told["external"],
        told["service"],
        told["environment"],
        {name: (int(at), str(text)) for name, (at, text) in told["facts"].items()},
        tuple((int(at), DeploymentState(state)) for at, state in told["states"]),
    )


# --- findings ------------------------------------------------------------------------------------------------------


def findings_of_in(connection: Connection, deployment: str) -> list[Finding]:
    """What was found of a deployment."""
    query = select(_FINDING.c.document).where(_FINDING.c.deployment == deployment).order_by(_FINDING.c.id)
    return [read_as(Finding, json.loads(row)) for row in connection.scalars(query)]


def finding_in(connection: Connection, name: str) -> Finding | None:
    """One finding by its id."""
    row = connection.scalar(select(_FINDING.c.document).where(_FINDING.c.id == name))
    return None if row is None else read_as(Finding, json.loads(row))


def keep_finding_in(connection: Connection, one: Finding) -> None:
    """Keep a finding in the place of what was kept of it."""
    connection.execute(delete(_FINDING).where(_FINDING.c.id == one.id))
    connection.execute(
        _FINDING.insert().values(
            id=one.id,
            service=one.service,
            deployment=one.deployment,
            opened_at=one.opened_at,
            closed_at=one.closed_at,
            document=canonical(plain(one)),
        )
    )


def findings_in(
    connection: Connection,
    *,
    service: str = "",
    open_only: bool = False,
    before: Place | None = None,
    limit: int = 100,
) -> list[Finding]:
    """Findings, newest first."""
    query = select(_FINDING.c.document).order_by(_FINDING.c.opened_at.desc(), _FINDING.c.id.desc()).limit(limit)
    if service:
        query = query.where(_FINDING.c.service == service)
    if open_only:
        query = query.where(_FINDING.c.closed_at.is_(None))
    if before is not None:
        query = query.where(_before(_FINDING.c.opened_at, _FINDING.c.id, before))
    return [read_as(Finding, json.loads(row)) for row in connection.scalars(query)]


def open_findings_in(connection: Connection) -> Mapping[str, int]:
    """How many findings are open, by service."""
    query = select(_FINDING.c.service, func.count()).where(_FINDING.c.closed_at.is_(None)).group_by(_FINDING.c.service)
    return {row[0]: int(row[1]) for row in connection.execute(query)}
