"""What a forge tells of a push, as a trigger of pipelines. Pure.

Source:
    GitHub, Gitea and Forgejo: the webhook event ``push``. GitLab: ``Push Hook`` and ``Tag Push Hook``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tightrope.delivery.pipelines.plan import Push
from tightrope.specs.model import IntegrationType

EVENTS: Mapping[IntegrationType, tuple[str, frozenset[str]]] = {
    IntegrationType.GITHUB: ("x-github-event", frozenset({"push"})),
    IntegrationType.GITLAB: ("x-gitlab-event", frozenset({"Push Hook", "Tag Push Hook"})),
    IntegrationType.GITEA: ("x-gitea-event", frozenset({"push"})),
}
"""By which header each forge names its events, and which of them are pushes."""

_MOST_LISTED = 20
"""Forges list no more commits than this for sure; of a longer push nobody knows all paths."""


def push_of(kind: IntegrationType, headers: Mapping[str, str], document: Any) -> Push | None:
    """The push that a delivery tells of; None where it tells of none, or of a branch or tag that was removed.

    Args:
        kind: Who speaks.
        headers: Of the delivery, names in lower case.
        document: Its body, read.
    """
    header, events = EVENTS.get(kind, ("", frozenset()))
    event = headers.get(header) or (headers.get("x-forgejo-event", "") if kind is IntegrationType.GITEA else "")
    if event not in events or not isinstance(document, Mapping):
        return None
    ref, after = _text(document, "ref"), _text(document, "after")
    branch, tag = _after(ref, "refs/heads/"), _after(ref, "refs/tags/")
    if not (branch or tag) or not after.strip("0"):
        return None
    about = document.get("project" if kind is IntegrationType.GITLAB else "repository")
    about = about if isinstance(about, Mapping) else {}
    addresses = (_text(about, name) for name in ("git_http_url", "clone_url", "html_url", "web_url"))
    address = next(filter(None, addresses), "")
    if not address:
        return None
    head = document.get("head_commit")
    commit = _text(document, "checkout_sha") or (_text(head, "id") if isinstance(head, Mapping) else "") or after
    listed = document.get("commits")
    commits = [one for one in listed if isinstance(one, Mapping)] if isinstance(listed, list) else []
    if not re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", commit):
        return None
    last = next((one for one in commits if one.get("id") == commit), head if isinstance(head, Mapping) else {})
    return Push(
        repository=address,
        branch=branch,
        tag=tag,
        before=_text(document, "before"),
        after=commit,
        paths=_paths(document, commits),
        title=_text(last, "message").partition("\n")[0][:500],
        by=_who(document),
    )


def _paths(document: Mapping[str, Any], commits: list[Mapping[str, Any]]) -> tuple[str, ...] | None:
    """All that changed; None where not all of it is told."""
    count = document.get("total_commits_count", document.get("total_commits", len(commits)))
    new = not _text(document, "before").strip("0")
    if new or document.get("forced") or not commits or len(commits) >= _MOST_LISTED or count != len(commits):
        return None
    found: dict[str, None] = {}
    for one in commits:
        for part in ("added", "modified", "removed"):
            paths = one.get(part)
            if not isinstance(paths, list):
                return None
            found |= dict.fromkeys(path for path in paths if isinstance(path, str))
    return tuple(found)


def _who(document: Mapping[str, Any]) -> str:
    name = _text(document, "user_username")
    for part in ("sender", "pusher"):
        about = document.get(part)
        if isinstance(about, Mapping):
            name = name or _text(about, "login") or _text(about, "name") or _text(about, "username")
    return name


def _text(document: Mapping[str, Any], name: str) -> str:
    value = document.get(name)
    return value if isinstance(value, str) else ""


def _after(text: str, beginning: str) -> str:
    return text.removeprefix(beginning) if text.startswith(beginning) else ""
