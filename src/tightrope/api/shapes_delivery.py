"""The documents of changes, deployments and findings, as OpenAPI has them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tightrope.api.shapes import Asked, Shape

Kind = Literal["feature", "config", "reliability", "security", "rollback", "emergency"]
State = Literal["started", "succeeded", "failed"]

_MOST_COMMITS = 2000


class CommitDocument(Shape):
    sha: str
    title: str
    author: str
    authored_at: str | None
    committed_at: str
    kind: Kind
    kind_from: str
    url: str


class DeploymentDocument(Shape):
    """An artifact came, or is to come, into an environment."""

    id: str = Field(examples=["DEP-0B31B1C02FF4"])
    service: str
    environment: str
    version: str
    revision: str
    previous: str = Field(description="The revision that was live before; empty where that is not known.")
    previous_version: str
    artifact: str
    repository: str
    kind: Kind
    kind_from: str
    rollback: bool
    because: str = Field(description="How it is known that it was a rollback.")
    state: State
    started_at: str
    finished_at: str | None
    change: str
    title: str
    decision: str = Field(description="Id of the gate's decision, as it was told.")
    by: str
    source: str
    external_id: str
    url: str
    commit_count: int
    commits_complete: bool = Field(description="Whether none of the commits that it carried is missing.")
    authors: list[str]


class FindingDocument(Shape):
    """A deployment that went out past the gate."""

    id: str = Field(examples=["F-0B31B1C02FF4"])
    kind: Literal["no-decision", "after-stop", "while-waiting", "decision-expired"]
    service: str
    environment: str
    deployment: str
    decision: str
    says: str
    open: bool
    opened_at: str
    closed_at: str | None
    closed_by: str
    reason: str


class BuildDocument(Shape):
    name: str
    state: Literal["queued", "running", "succeeded", "failed", "cancelled"]
    at: str
    url: str


class PriceDocument(Shape):
    """What a release cost one objective until now."""

    slo: str
    share_of_budget: float | None = Field(description="1 is all of it; null: there is none.")
    amount: str = Field(examples=["18.5 min"])
    minutes: float | None = Field(description="As minutes in which nothing works; null: there is no budget.")


class DeploymentInFull(DeploymentDocument):
    """A deployment with its commits, what was found of it, what it was built by, and what it cost."""

    commits: list[CommitDocument]
    findings: list[FindingDocument]
    builds: list[BuildDocument]
    artifact_published_at: str | None
    price: list[PriceDocument]


class Deployments(Shape):
    items: list[DeploymentDocument]
    next: str | None


class WentTo(Shape):
    id: str
    service: str
    environment: str
    state: State
    at: str


class ChangeDocument(CommitDocument):
    """A commit, the pull or merge request it came by, and where it went."""

    repository: str
    pull_request: str
    labels: list[str]
    deployments: list[WentTo]


class Changes(Shape):
    items: list[ChangeDocument]
    next: str | None


class Findings(Shape):
    items: list[FindingDocument]
    next: str | None


class ToldCommit(Asked):
    """A commit of the repository that is deployed from."""

    sha: str = Field(pattern="^[0-9a-fA-F]{7,64}$")
    message: str = Field(max_length=20_000)
    author: str = ""
    committed_at: str = Field(examples=["2026-03-17T12:00:00Z"])
    authored_at: str | None = None
    parents: list[str] | None = Field(None, max_length=100, description="All of them; null where they are not known.")
    files: list[str] = Field(default_factory=list, max_length=5000)
    url: str = ""


class RecordDeployment(Asked):
    """What is told of a deployment. One of version, revision and artifact is needed."""

    service: str = Field(min_length=1, max_length=500)
    environment: str = Field("production", min_length=1, max_length=500)
    state: State = "succeeded"
    version: str = Field("", max_length=500)
    revision: str = Field("", max_length=500, description="The commit.")
    artifact: str = Field(
        "", max_length=2000, description="Image or package: a package URL, or a name with its digest."
    )
    previous: str = Field("", max_length=500, description="What was live before; found by itself, if absent.")
    repository: str = Field("", max_length=2000)
    kind: Kind | None = Field(None, description="Of the change; found from its commits, if absent.")
    rollback: bool | None = Field(None, description="Whether it goes back; found by itself, if absent.")
    decision: str = Field("", max_length=200, description="Id of the gate's decision.")
    change: str = Field("", max_length=500, description="What the gate was asked about, if not revision or version.")
    title: str = Field("", max_length=2000)
    by: str = Field("", max_length=500, description="Who deploys; who asks, if absent.")
    url: str = Field("", max_length=2000)
    id: str = Field("", max_length=500, description="The deployment's name with you: told again, it is the same one.")
    source: str = Field("api", min_length=1, max_length=200, pattern=r"^\S+$", description="Who tells.")
    at: str | None = Field(None, description="When it was so; now, if absent.")
    started_at: str | None = None
    history: list[ToldCommit] = Field(
        default_factory=list, max_length=_MOST_COMMITS, description="Commits around it, as git has them."
    )


class CloseFinding(Asked):
    reason: str = Field(min_length=1, max_length=2000)


class Taken(Shape):
    """What becomes of a delivery."""

    delivery: str = Field(examples=["IN-0B31B1C02FF4"])
    state: Literal["waiting", "done", "ignored", "set-aside", "refused"]
    why: str


class IncomingDocument(Shape):
    """A delivery in the inbox."""

    id: str
    integration: str
    type: str
    event: str
    key: str
    state: Literal["waiting", "done", "ignored", "set-aside", "refused"]
    why: str
    attempts: int
    received_at: str
    processed_at: str | None


class Incomings(Shape):
    items: list[IncomingDocument]
    next: str | None
