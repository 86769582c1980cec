"""GitLab: an external status check on a merge request, and the approval of a deployment.

Source:
    gitlabhq/gitlabhq, doc/api/status_checks.md and doc/user/project/merge_requests/status_checks.md: a pending check
    fails by itself after two minutes, an answer for an older commit is a conflict. doc/ci/environments/
    deployment_approvals.md: an approved job does not start by itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tightrope.policy.decision import Verdict
from tightrope.policy.dialects.hearing import Asking, Heard, asking, at, cut, line, texts, word

MOST_COMMENT = 1000

_SHA = re.compile(r"[0-9a-f]{40,64}")
_NAME = re.compile(r"(?:(?!\.+/)[\w.-]{1,255}/)+(?!\.+$)[\w.-]{1,255}", re.ASCII)


@dataclass(frozen=True, slots=True)
class StatusCheck:
    """A merge request that waits for a status of ours."""

    project: int
    repository: str
    merge_request: int
    sha: str
    check: int
    branch: str
    given: Mapping[str, Any]
    title: str
    by: str


@dataclass(frozen=True, slots=True)
class Blocked:
    """A deployment that waits for an approval.

    Attributes:
        job: The job that is to be played once it is approved; None: not told.
        environment: As GitLab calls it.
    """

    repository: str
    deployment: int
    job: int | None
    environment: str
    sha: str
    given: Mapping[str, Any]
    title: str
    by: str


def read_status_check(payload: Any) -> StatusCheck | None:
    """Read the payload of an external status check; None for anything else."""
    project, check = number(at(payload, "project", "id")), number(at(payload, "external_approval_rule", "id"))
    merge_request = number(at(payload, "object_attributes", "iid"))
    sha = cut(at(payload, "object_attributes", "last_commit", "id"), 64)
    repository = cut(at(payload, "project", "path_with_namespace"), 300)
    known = project is not None and check is not None and merge_request is not None
    if not known or not _SHA.fullmatch(sha) or not _NAME.fullmatch(repository):
        return None
    assert project is not None
    assert check is not None
    assert merge_request is not None
    labels = at(payload, "labels") or at(payload, "object_attributes", "labels")
    names = [name for one in (labels if isinstance(labels, list) else []) if (name := cut(at(one, "title"), 100))]
    title = cut(at(payload, "object_attributes", "title"), 500)
    return StatusCheck(
        project,
        repository,
        merge_request,
        sha,
        check,
        cut(at(payload, "object_attributes", "target_branch"), 200),
        {"message": texts(title) or texts(at(payload, "object_attributes", "last_commit", "message")), "labels": names},
        title,
        cut(at(payload, "user", "username"), 100),
    )


def read_deployment(payload: Any) -> Blocked | None:
    """Read a deployment event; None unless it is blocked."""
    if at(payload, "object_kind") != "deployment" or at(payload, "status") != "blocked":
        return None
    deployment = number(at(payload, "deployment_id"))
    repository = cut(at(payload, "project", "path_with_namespace"), 300)
    if deployment is None or not _NAME.fullmatch(repository):
        return None
    address = at(payload, "commit_url")
    whole = address.rpartition("/")[2] if isinstance(address, str) else ""
    title = cut(at(payload, "commit_title"), 500)
    return Blocked(
        repository,
        deployment,
        number(at(payload, "deployable_id")),
        cut(at(payload, "environment"), 200) or "production",
        whole if _SHA.fullmatch(whole) else cut(at(payload, "short_sha"), 64),
        {"message": texts(title)},
        title,
        cut(at(payload, "user", "username"), 100),
    )


def read_listed(row: Any, repository: str) -> Blocked | None:
    """Read one deployment as the list of a project has it; None unless it is blocked."""
    deployment = number(at(row, "id"))
    if at(row, "status") != "blocked" or deployment is None:
        return None
    message = at(row, "deployable", "commit", "message") or at(row, "deployable", "commit", "title")
    return Blocked(
        repository,
        deployment,
        number(at(row, "deployable", "id")),
        cut(at(row, "environment", "name"), 200) or "production",
        cut(at(row, "sha"), 64),
        {"message": texts(message)},
        cut(at(row, "deployable", "commit", "title"), 500),
        cut(at(row, "user", "username"), 100),
    )


def question(one: StatusCheck | Blocked, service: str, environment: str) -> Asking:
    """What the gate is asked."""
    return asking(
        one.given,
        service=service,
        environment=environment,
        change=one.sha,
        title=one.title,
        asked_by=f"gitlab {one.by}",
    )


def status(sha: str, check: int, verdict: Verdict) -> dict[str, Any]:
    """The status of an external check."""
    said = {Verdict.GO: "passed", Verdict.WAIT: "pending", Verdict.STOP: "failed"}[verdict]
    return {"sha": sha, "external_status_check_id": check, "status": said}


def approval(heard: Heard, *, refused: bool = False) -> dict[str, Any]:
    """The approval of a deployment, or its rejection with the reason."""
    approved = word(heard) is Verdict.GO and not refused
    return {"status": "approved" if approved else "rejected", "comment": line(heard, MOST_COMMENT)}


def number(given: Any) -> int | None:
    """A number of GitLab's; None for what is none."""
    return given if isinstance(given, int) and not isinstance(given, bool) and 0 < given < 1 << 62 else None
