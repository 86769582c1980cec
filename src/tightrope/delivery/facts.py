"""What a delivery tells, as plain values, with names as the sender has them: `mapping` finds out whom they mean."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from tightrope.delivery.changes import DeploymentState, Recorded
from tightrope.specs.model import ChangeKind


class BuildState(StrEnum):
    """How far a build is."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


_RANK = {state: rank for rank, state in enumerate(BuildState)}


@dataclass(frozen=True, slots=True)
class Pushed:
    """Commits came into a repository."""

    repository: str
    branch: str
    commits: tuple[Recorded, ...]


@dataclass(frozen=True, slots=True)
class Merged:
    """A change was merged: a pull or merge request, by its number; ``sha`` is the commit that came of it."""

    repository: str
    name: str
    title: str
    sha: str
    merged_at: int
    author: str = ""
    labels: tuple[str, ...] = ()
    url: str = ""

    def merged(self, other: Merged) -> Merged:
        """The one that says more of one and the same change: labels may be added later."""
        return max(self, other, key=lambda one: (one.merged_at, len(one.labels), one.labels, one.title, one.url))


@dataclass(frozen=True, slots=True)
class Built:
    """A build began or ended."""

    external: str
    repository: str
    revision: str
    name: str
    state: BuildState
    at: int
    url: str = ""
    branch: str = ""

    def merged(self, other: Built) -> Built:
        """What is newer of one and the same build."""
        return max(self, other, key=lambda one: (one.at, _RANK[one.state], one.url, one.name))


@dataclass(frozen=True, slots=True)
class Published:
    """An artifact can be fetched: its purl or digest, and what it was made of where that is told."""

    artifact: str
    at: int
    repository: str = ""
    revision: str = ""
    url: str = ""

    def merged(self, other: Published) -> Published:
        """What both tell; it was published when it first was."""
        first, second = sorted((self, other), key=lambda one: (-one.at, one.repository, one.revision, one.url))
        return replace(
            second,
            repository=max(first.repository, second.repository),
            revision=max(first.revision, second.revision),
            url=max(first.url, second.url),
        )


@dataclass(frozen=True, slots=True)
class Deployed:
    """A deployment, as its sender tells of it; see `DeploymentReport` for what is meant by the rest.

    Attributes:
        external: The sender's name of this very deployment.
        app, repository, artifact: By which the service is found, in this order.
        service: Where the sender uses our own names.
        environment: As the sender calls it; empty: it has none.
    """

    external: str
    at: int
    state: DeploymentState
    service: str = ""
    app: str = ""
    repository: str = ""
    artifact: str = ""
    environment: str = ""
    version: str = ""
    revision: str = ""
    previous: str = ""
    rollback: bool | None = None
    kind: ChangeKind | None = None
    change: str = ""
    title: str = ""
    decision: str = ""
    by: str = ""
    url: str = ""
    started_at: int | None = None


Fact = Pushed | Merged | Built | Published | Deployed


@dataclass(frozen=True, slots=True)
class Told:
    """What one delivery tells: facts, or why it tells none that we want to know."""

    event: str
    facts: tuple[Fact, ...] = ()
    ignored: str = ""
