"""Changes, deployments and findings as plain documents: what command line, API and journal show of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tightrope.base.units import parse_time, time_text
from tightrope.delivery.changes import Commit, Deployment, DeploymentReport, DeploymentState, Recorded
from tightrope.delivery.facts import Built, Published
from tightrope.delivery.findings import Finding
from tightrope.delivery.inbox import Incoming
from tightrope.specs.model import ChangeKind

MOST_TEXT, MOST_FILES = 20_000, 5000
"""So long may a text be that a server is told, and so many the files of a commit."""


def commit_document(one: Commit) -> dict[str, Any]:
    """A commit."""
    return {
        "sha": one.sha,
        "title": one.title,
        "author": one.author,
        "authoredAt": _moment(one.authored_at),
        "committedAt": time_text(one.committed_at),
        "kind": one.kind.value,
        "kindFrom": one.kind_from,
        "url": one.url,
    }


def deployment_line(one: Deployment) -> str:
    """A deployment in a few words, such as ``v2.36.0 went to production: feature, 3 commits by Ann and Ben``."""
    if one.rollback:
        verb = {
            "started": "is being rolled back to",
            "succeeded": "was rolled back to",
            "failed": "was not rolled back to",
        }
        return f"{one.environment} {verb[one.state]} {one.called}"
    verb = {"started": "goes to", "succeeded": "went to", "failed": "did not get to"}
    told = f"{one.called} {verb[one.state]} {one.environment}: {one.kind}"
    if not one.commits:
        return told
    authors = sorted({commit.author for commit in one.commits if commit.author})
    named = ", ".join(authors[:3]) + (f" and {len(authors) - 3} more" if len(authors) > 3 else "")
    count = f"{len(one.commits)} commit{'s' if len(one.commits) != 1 else ''}"
    return f"{told}, {count}" + (f" by {named}" if named else "")


def deployment_document(one: Deployment) -> dict[str, Any]:
    """A deployment; its commits are only counted."""
    return {
        "id": one.id,
        "service": one.service,
        "environment": one.environment,
        "version": one.version,
        "revision": one.revision,
        "previous": one.previous,
        "previousVersion": one.previous_version,
        "artifact": one.artifact,
        "repository": one.repository,
        "kind": one.kind.value,
        "kindFrom": one.kind_from,
        "rollback": one.rollback,
        "because": one.because,
        "state": one.state.value,
        "startedAt": time_text(one.started_at),
        "finishedAt": _moment(one.finished_at),
        "change": one.change,
        "title": one.title,
        "decision": one.decision,
        "by": one.by,
        "source": one.source,
        "externalId": one.external,
        "url": one.url,
        "commitCount": len(one.commits),
        "commitsComplete": one.complete,
        "authors": sorted({commit.author for commit in one.commits if commit.author}),
    }


def deployment_in_full(
    one: Deployment,
    findings: Sequence[Finding] = (),
    builds: Sequence[Built] = (),
    artifact: Published | None = None,
) -> dict[str, Any]:
    """A deployment with its commits, what was found of it, and what it was built by."""
    return deployment_document(one) | {
        "commits": [commit_document(commit) for commit in one.commits],
        "findings": [finding_document(finding) for finding in findings],
        "builds": [
            {"name": each.name, "state": each.state.value, "at": time_text(each.at), "url": each.url} for each in builds
        ],
        "artifactPublishedAt": _moment(artifact.at if artifact else None),
    }


def change_document(
    repository: str, one: Commit, deployed: Sequence[Deployment], pull: str = "", labels: Sequence[str] = ()
) -> dict[str, Any]:
    """A change: a commit, the pull or merge request it came by, and where it went."""
    return commit_document(one) | {
        "repository": repository,
        "pullRequest": pull,
        "labels": list(labels),
        "deployments": [
            {
                "id": each.id,
                "service": each.service,
                "environment": each.environment,
                "state": each.state.value,
                "at": time_text(each.at),
            }
            for each in deployed
        ],
    }


def told_commit(one: Recorded) -> dict[str, Any]:
    """A commit as it is told to a server."""
    return {
        "sha": one.sha,
        "message": one.message[:MOST_TEXT],
        "author": one.author[:MOST_TEXT],
        "committedAt": time_text(one.committed_at),
        "authoredAt": _moment(one.authored_at),
        "parents": list(one.parents) if one.exact else None,
        "files": list(one.files[:MOST_FILES]),
        "url": one.url,
    }


def commit_told(told: Mapping[str, Any]) -> Recorded:
    """Read a commit that was told so; raises `UsageError`."""
    parents = told.get("parents")
    authored = told.get("authoredAt")
    return Recorded(
        told["sha"].lower(),
        _kept(told["message"]),
        _kept(told.get("author") or ""),
        parse_time(told["committedAt"]),
        parse_time(authored) if authored else None,
        _kept(told.get("url") or ""),
        tuple(_kept(each.lower()) for each in parents or ()),
        exact=parents is not None,
        files=tuple(sorted({_kept(one) for one in told.get("files") or ()})),
    )


def _kept(text: str) -> str:
    """A text without what no database keeps."""
    return "".join("\N{REPLACEMENT CHARACTER}" if one == "\0" or "\ud800" <= one <= "\udfff" else one for one in text)


def report_told(told: Mapping[str, Any], *, by: str, now: int) -> DeploymentReport:
    """Read what is told of a deployment; what is missing is as the API has it. Raises `UsageError`."""
    at, started = told.get("at"), told.get("startedAt")
    texts: dict[str, Any] = {
        name: str(told.get(name) or "")
        for name in ("version", "revision", "previous", "repository", "artifact", "change", "title", "decision", "url")
    }
    return DeploymentReport(
        source=told.get("source") or "api",
        external=told.get("id") or "",
        service=told["service"],
        environment=told.get("environment") or "production",
        at=parse_time(at) if at else now,
        state=DeploymentState(told.get("state") or DeploymentState.SUCCEEDED.value),
        kind=ChangeKind(told["kind"]) if told.get("kind") else None,
        rollback=told.get("rollback"),
        by=told.get("by") or by,
        started_at=parse_time(started) if started else None,
        **texts,
    )


def finding_document(one: Finding) -> dict[str, Any]:
    """A finding."""
    return {
        "id": one.id,
        "kind": one.bypass.value,
        "service": one.service,
        "environment": one.environment,
        "deployment": one.deployment,
        "decision": one.decision,
        "says": one.says,
        "open": one.open,
        "openedAt": time_text(one.opened_at),
        "closedAt": _moment(one.closed_at),
        "closedBy": one.closed_by,
        "reason": one.reason,
    }


def incoming_document(one: Incoming) -> dict[str, Any]:
    """A delivery in the inbox, without what it holds."""
    return {
        "id": one.id,
        "integration": one.integration,
        "type": one.type,
        "event": one.event,
        "key": one.key,
        "state": one.state.value,
        "why": one.why,
        "attempts": one.attempts,
        "receivedAt": time_text(one.received_at),
        "processedAt": _moment(one.processed_at),
    }


def receipt_document(name: str, state: str, why: str) -> Mapping[str, Any]:
    """What a sender is told of its delivery."""
    return {"delivery": name, "state": state, "why": why}


def _moment(at: int | None) -> str | None:
    return None if at is None else time_text(at)
