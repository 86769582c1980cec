"""GitLab's webhooks: a token that is shown, or a signature after Standard Webhooks.

Source:
    docs.gitlab.com, "Webhook events"; MR 230944 of gitlab-org/gitlab for the signature.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tightrope.base.errors import DataError
from tightrope.delivery.changes import DeploymentState, Recorded
from tightrope.delivery.facts import BuildState, Built, Deployed, Merged, Pushed, Told
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
    shows,
    signed,
    standard_webhook,
    text,
)

_STATES = {
    "running": DeploymentState.STARTED,
    "success": DeploymentState.SUCCEEDED,
    "failed": DeploymentState.FAILED,
    "canceled": DeploymentState.FAILED,
}
_BUILDS = {
    "running": BuildState.RUNNING,
    "success": BuildState.SUCCEEDED,
    "failed": BuildState.FAILED,
    "canceled": BuildState.CANCELLED,
    "skipped": BuildState.CANCELLED,
}


class GitLab:
    """See `Receiver`. Whoever is genuine is always told that all is well: else GitLab would stop sending for good."""

    def genuine(self, headers: Mapping[str, str], body: bytes, secret: str, now: int) -> bool:
        proofs = (
            shows(secret, headers.get("x-gitlab-token", "")),
            standard_webhook(secret, headers, body, now),
            signed(secret, body, headers.get("x-gitlab-signature", "")),  # of external status checks
        )
        return any(proofs)

    def named(self, headers: Mapping[str, str], body: bytes) -> Named:
        document = document_of(body, headers)
        event = text(document, "object_kind") or headers.get("x-gitlab-event", "")
        if not event:
            raise DataError("there is neither object_kind nor X-Gitlab-Event", remedy="let GitLab itself send it")
        key = headers.get("idempotency-key") or headers.get("webhook-id")
        # hooks that one event sets off share its X-Gitlab-Event-UUID
        return Named(event, key or digest(headers.get("x-gitlab-event-uuid", ""), body))

    def read(self, headers: Mapping[str, str], body: bytes, received_at: int) -> Told:
        document = document_of(body, headers)
        event = text(document, "object_kind") or headers.get("x-gitlab-event", "")
        match event:
            case "push":
                return _pushed(document, received_at)
            case "deployment":
                return _deployed(document)
            case "merge_request":
                return _merged(document)
            case "pipeline":
                return _pipeline(document)
            case "build":
                return _job(document, received_at)
        return Told(event, ignored=f"{event} is no matter of ours")


def _repository(document: Any) -> str:
    address = text(document, "project", "web_url") or text(document, "repository", "homepage")
    name = repository_name(address) if address else text(document, "project", "path_with_namespace")
    if not name:
        raise DataError("project.web_url is missing")
    return name


def _pushed(document: dict[str, Any], received_at: int) -> Told:
    ref = needed(document, "ref")
    listed = items(document, "commits")
    if not ref.startswith("refs/heads/") or not listed or not sha(document, "after"):
        return Told("push", ignored="it brings no commits into a branch")
    total = part(document, "total_commits_count")
    # GitLab lists twenty commits at most, and does not say whether a push was forced
    before = sha(document, "before") if total == len(listed) else ""
    commits = [
        Recorded(
            needed(one, "id").lower(),
            text(one, "message") or text(one, "title"),
            text(one, "author", "name"),
            moment(one, "timestamp") or received_at,
            url=text(one, "url"),
            files=tuple(
                sorted(
                    {
                        path
                        for kind in ("added", "modified", "removed")
                        for path in items(one, kind)
                        if isinstance(path, str)
                    }
                )[:MOST_FILES]
            ),
        )
        for one in listed
    ]
    line = line_of(commits, before, sha(document, "after"))
    return Told("push", (Pushed(_repository(document), ref.removeprefix("refs/heads/"), line),))


def _deployed(document: dict[str, Any]) -> Told:
    status = text(document, "status")
    if status not in _STATES:
        return Told("deployment", ignored=f"{status or 'no status'} says not that it began or ended")
    at = moment(document, "status_changed_at")
    if at is None:
        raise DataError("status_changed_at is missing")
    repository = _repository(document)
    short = sha(document, "short_sha")
    last = text(document, "commit_url").rpartition("/")[2].lower()
    ref = text(document, "ref")
    return Told(
        "deployment",
        (
            Deployed(
                external=f"{repository}#{needed(document, 'deployment_id')}",
                at=at,
                state=_STATES[status],
                repository=repository,
                environment=text(document, "environment"),
                version=ref if ref.removeprefix("v")[:1].isdecimal() and not sha(document, "ref") else "",
                revision=last if short and last.startswith(short) else short,
                title=text(document, "commit_title"),
                by=text(document, "user", "username"),
                url=text(document, "deployable_url"),
            ),
        ),
    )


def _merged(document: dict[str, Any]) -> Told:
    request = part(document, "object_attributes")
    commit = sha(request, "merge_commit_sha") or sha(request, "squash_commit_sha") or sha(request, "last_commit", "id")
    if text(request, "state") != "merged" or not commit:
        return Told("merge_request", ignored="it is not merged")
    at = moment(request, "merged_at") or moment(request, "updated_at")
    if at is None:
        raise DataError("object_attributes.updated_at is missing")
    labels = sorted({text(one, "title") for one in items(document, "labels")} - {""})
    return Told(
        "merge_request",
        (
            Merged(
                _repository(document),
                needed(request, "iid"),
                text(request, "title"),
                commit,
                at,
                text(document, "user", "username"),
                tuple(labels),
                text(request, "url"),
            ),
        ),
    )


def _pipeline(document: dict[str, Any]) -> Told:
    one = part(document, "object_attributes")
    at = moment(one, "finished_at") or moment(one, "created_at")
    if at is None:
        raise DataError("object_attributes.created_at is missing")
    return Told(
        "pipeline",
        (
            Built(
                external=f"pipeline/{needed(one, 'id')}",
                repository=_repository(document),
                revision=sha(one, "sha"),
                name=text(one, "name") or "pipeline",
                state=_BUILDS.get(text(one, "status"), BuildState.QUEUED),
                at=at,
                url=text(one, "url"),
                branch=text(one, "ref"),
            ),
        ),
    )


def _job(document: dict[str, Any], received_at: int) -> Told:
    at = (
        moment(document, "build_finished_at")
        or moment(document, "build_started_at")
        or moment(document, "build_created_at")
    )
    return Told(
        "build",
        (
            Built(
                external=f"job/{needed(document, 'build_id')}",
                repository=_repository(document),
                revision=sha(document, "sha"),
                name=text(document, "build_name"),
                state=_BUILDS.get(text(document, "build_status"), BuildState.QUEUED),
                at=received_at if at is None else at,
                branch=text(document, "ref"),
            ),
        ),
    )
