"""GitHub's webhooks; Gitea and its kin speak the same with few other words.

Source:
    docs.github.com, "Webhook events and payloads" and "Validating webhook deliveries".
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from tightrope.base.errors import DataError
from tightrope.delivery.changes import DeploymentState, Recorded
from tightrope.delivery.facts import BuildState, Built, Deployed, Fact, Merged, Pushed, Told
from tightrope.delivery.mapping import repository_name
from tightrope.delivery.receivers import Named
from tightrope.delivery.receivers.bodies import (
    MOST_FILES,
    digest,
    document_of,
    items,
    line_of,
    moment,
    needed,
    part,
    sha,
    signed,
    text,
)

MOST_COMMITS = 2048
"""GitHub lists no more commits of one push."""

_STATES = {
    "in_progress": DeploymentState.STARTED,
    "success": DeploymentState.SUCCEEDED,
    "failure": DeploymentState.FAILED,
    "error": DeploymentState.FAILED,
}
_CONCLUSIONS = {
    "success": BuildState.SUCCEEDED,
    "neutral": BuildState.SUCCEEDED,
    "cancelled": BuildState.CANCELLED,
    "skipped": BuildState.CANCELLED,
    "stale": BuildState.CANCELLED,
}
_VERSION = re.compile(r"(?:[a-z]+[-_/])?v?\d+(?:\.\d+)+(?:[-+].*)?|v\d+", re.IGNORECASE)


class GitHub:
    """See `Receiver`."""

    def genuine(self, headers: Mapping[str, str], body: bytes, secret: str, now: int) -> bool:
        return signed(secret, body, headers.get("x-hub-signature-256", ""))

    def named(self, headers: Mapping[str, str], body: bytes) -> Named:
        document_of(body, headers)
        event = headers.get("x-github-event", "")
        if not event:
            raise DataError("there is no X-GitHub-Event", remedy="let GitHub itself send it")
        return Named(event, headers.get("x-github-delivery") or digest(event, body))

    def read(self, headers: Mapping[str, str], body: bytes, received_at: int) -> Told:
        return told(headers.get("x-github-event", ""), document_of(body, headers), received_at)


def told(event: str, document: dict[str, Any], received_at: int) -> Told:
    """Read one event, as GitHub has it."""
    match event:
        case "push":
            return pushed(document, received_at)
        case "pull_request":
            return merged(document)
        case "deployment_status":
            return _deployed(document)
        case "deployment":
            return Told(event, ignored="a deployment is told of when it begins, by deployment_status")
        case "workflow_run":
            return _built(event, part(document, "workflow_run"), document)
        case "workflow_job":
            return _built(event, part(document, "workflow_job"), document)
        case "check_run":
            if text(document, "check_run", "app", "slug") == "github-actions":
                return Told(event, ignored="workflow_job tells the same")
            return _built(event, part(document, "check_run"), document)
        case "ping":
            return Told(event, ignored="it only shows that the hook works")
    return Told(event, ignored=f"{event} is no matter of ours")


def repository_of(document: Any) -> str:
    """The name of the repository that an event is of."""
    address = text(document, "repository", "html_url")
    name = repository_name(address) if address else text(document, "repository", "full_name")
    if not name:
        raise DataError("repository.html_url is missing")
    return name


def pushed(document: dict[str, Any], received_at: int) -> Told:
    """Commits that came into a branch."""
    ref = needed(document, "ref")
    if not ref.startswith("refs/heads/"):
        return Told("push", ignored=f"{ref} is no branch")
    listed = items(document, "commits")
    if part(document, "deleted") is True or not listed:
        return Told("push", ignored="it brings no commits")
    after, before = sha(document, "after"), sha(document, "before")
    total = part(document, "total_commits")
    whole = total == len(listed) if isinstance(total, int) else len(listed) < MOST_COMMITS
    if part(document, "forced") is True or not whole:
        before = ""
    commits = line_of([_commit(one, received_at) for one in listed], before, after)
    return Told("push", (Pushed(repository_of(document), ref.removeprefix("refs/heads/"), commits),))


def _commit(one: Any, received_at: int) -> Recorded:
    name = sha(one, "id") or sha(one, "sha")
    if not name:
        raise DataError("a commit has no id")
    files = {path for kind in ("added", "removed", "modified") for path in items(one, kind) if isinstance(path, str)}
    return Recorded(
        name,
        text(one, "message"),
        text(one, "author", "name") or text(one, "author", "username"),
        moment(one, "timestamp") or received_at,
        url=text(one, "url"),
        files=tuple(sorted(files)[:MOST_FILES]),
    )


def merged(document: dict[str, Any]) -> Told:
    """A pull request that was merged; also when its labels change afterwards."""
    pull = part(document, "pull_request")
    at, commit = moment(pull, "merged_at"), sha(pull, "merge_commit_sha")
    if at is None or part(pull, "merged") is False or not commit:
        return Told("pull_request", ignored="it is not merged")
    labels = sorted({text(one, "name") for one in items(pull, "labels")} - {""})
    return Told(
        "pull_request",
        (
            Merged(
                repository_of(document),
                needed(pull, "number"),
                text(pull, "title"),
                commit,
                at,
                text(pull, "user", "login"),
                tuple(labels),
                text(pull, "html_url"),
            ),
        ),
    )


def _deployed(document: dict[str, Any]) -> Told:
    status, deployment = part(document, "deployment_status"), part(document, "deployment")
    state = text(status, "state")
    if state not in _STATES:
        return Told("deployment_status", ignored=f"{state or 'no state'} says not that it began or ended")
    at = moment(status, "created_at") or moment(status, "updated_at")
    if at is None:
        raise DataError("deployment_status.created_at is missing")
    repository = repository_of(document)
    payload = part(deployment, "payload")
    if isinstance(payload, str):
        try:
            payload = json.loads(payload)
        except (ValueError, RecursionError):
            payload = None
    ref = text(deployment, "ref")
    rollback = part(payload, "rollback")
    return Told(
        "deployment_status",
        (
            Deployed(
                external=f"{repository}#{needed(deployment, 'id')}",
                at=at,
                state=_STATES[state],
                service=text(payload, "service"),
                repository=repository,
                environment=text(status, "environment") or text(deployment, "environment"),
                version=text(payload, "version") or (ref if _VERSION.fullmatch(ref) else ""),
                revision=sha(deployment, "sha"),
                rollback=True
                if text(deployment, "task") == "rollback"
                else rollback
                if isinstance(rollback, bool)
                else None,
                decision=text(payload, "decision"),
                title=text(deployment, "description"),
                by=text(deployment, "creator", "login"),
                url=text(status, "log_url") or text(status, "target_url") or text(deployment, "url"),
            ),
        ),
    )


def _built(event: str, one: Any, document: dict[str, Any]) -> Told:
    """A workflow's run or job, or somebody else's check."""
    status, conclusion = text(one, "status"), text(one, "conclusion")
    ends = moment(one, "completed_at") or moment(one, "updated_at")
    begins = moment(one, "run_started_at") or moment(one, "started_at") or moment(one, "created_at")
    if status == "completed" or conclusion:
        state, at = _CONCLUSIONS.get(conclusion, BuildState.FAILED), ends or begins
    elif status == "in_progress":
        state, at = BuildState.RUNNING, begins or ends
    else:
        state, at = BuildState.QUEUED, moment(one, "created_at") or begins or ends
    if at is None:
        raise DataError(f"{event} has no time")
    attempt = text(one, "run_attempt")
    found: Fact = Built(
        external=f"{event}/{needed(one, 'id')}" + (f"/{attempt}" if attempt else ""),
        repository=repository_of(document),
        revision=sha(one, "head_sha"),
        name=text(one, "name"),
        state=state,
        at=at,
        url=text(one, "html_url"),
        branch=text(one, "head_branch"),
    )
    return Told(event, (found,))
