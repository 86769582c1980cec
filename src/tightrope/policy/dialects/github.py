"""GitHub: a custom deployment protection rule, and a check run.

Source:
    github/docs, create-custom-protection-rules.md: a comment without a state is a status, at most ten of them for a
    deployment and 1,024 signs each; ``state`` ends the wait. npm @octokit/openapi: check runs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from tightrope.base.units import time_text
from tightrope.policy.decision import Decision, Verdict
from tightrope.policy.dialects.hearing import Asking, Heard, asking, at, cut, page_of, says, texts, word

MOST_COMMENTS, MOST_COMMENT = 10, 1024
MOST_SUMMARY = 60_000
CHECK_NAME = "tightrope"

_CALLBACK = re.compile(
    r"(?P<base>/.*)?/repos/(?P<repository>[^/]+/[^/]+)/actions/runs/(?P<run>\d{1,19})/deployment_protection_rule"
)
_NAME = re.compile(r"(?!\.+/)[A-Za-z0-9._-]{1,100}/(?!\.+$)[A-Za-z0-9._-]{1,100}")


@dataclass(frozen=True, slots=True)
class Protection:
    """A job that waits for our word.

    Attributes:
        repository: ``owner/name``.
        run: Number of the workflow run; None: it is not told, and nothing can be answered.
        callback: Where GitHub says that the answer goes; to be held against where we know GitHub to be.
        environment: As GitHub calls it.
        deployment: Its number, another one each time the job is run again; None: not told.
        installation: Of the App; None: not told.
    """

    repository: str
    run: int | None
    callback: str
    environment: str
    sha: str
    deployment: int | None
    installation: int | None
    given: Mapping[str, Any]
    title: str
    by: str


def read_protection(payload: Any) -> Protection | None:
    """Read ``deployment_protection_rule``; None for another action, or where nobody is told whom to answer."""
    repository = cut(at(payload, "repository", "full_name"), 201)
    if at(payload, "action") != "requested" or not _NAME.fullmatch(repository):
        return None
    callback = at(payload, "deployment_callback_url")
    callback = callback if isinstance(callback, str) and len(callback) < 2000 else ""
    found = _CALLBACK.fullmatch(urlsplit(callback).path) if callback else None
    run = int(found["run"]) if found is not None and found["repository"].lower() == repository.lower() else None
    pulls = at(payload, "pull_requests")
    pulls = pulls if isinstance(pulls, list) else []
    titles = [title for pull in pulls if (title := cut(at(pull, "title"), 500))]
    labels = [name for pull in pulls for one in _list(at(pull, "labels")) if (name := cut(at(one, "name"), 100))]
    deployment = at(payload, "deployment")
    extra = at(deployment, "payload")
    given: dict[str, Any] = {"message": titles, "labels": labels}
    if isinstance(extra, Mapping):
        given |= {name: extra[name] for name in ("kind", "change", "title") if isinstance(extra.get(name), str)}
    if cut(at(deployment, "task"), 50).lower() == "rollback":
        given["kind"] = "rollback"
    sender = cut(at(payload, "sender", "login"), 100)
    return Protection(
        repository,
        run,
        callback,
        cut(at(payload, "environment"), 200) or cut(at(deployment, "environment"), 200) or "production",
        cut(at(deployment, "sha"), 64),
        _number(at(deployment, "id")),
        _number(at(payload, "installation", "id")),
        given,
        titles[0] if titles else cut(at(deployment, "description"), 500) or cut(at(deployment, "ref"), 200),
        cut(at(deployment, "creator", "login"), 100) or sender,
    )


def question(one: Protection, service: str, environment: str) -> Asking:
    """What the gate is asked for a job that waits."""
    return asking(
        one.given,
        service=service,
        environment=environment,
        change=one.sha,
        title=one.title,
        asked_by=f"github {one.by}",
    )


def review(environment: str, heard: Heard, state: str = "", base_url: str = "", more: str = "") -> dict[str, Any]:
    """What is posted to the callback: with ``approved`` or ``rejected`` the wait is over, without it goes on.

    Args:
        environment: As GitHub calls it.
        heard: What the gate came to.
        state: Empty: only a comment.
        base_url: Where our pages are.
        more: A sentence that is added.
    """
    document = {"environment_name": environment, "comment": comment(heard, base_url, more)}
    return document | ({"state": state} if state else {})


def comment(heard: Heard, base_url: str = "", more: str = "") -> str:
    """The answer in Markdown, at most as long as GitHub takes."""
    head = f"**{word(heard).value}**: {_plain(says(heard))}"
    reasons = heard.reasons if isinstance(heard, Decision) else ()
    parts = [head, *([_plain(more)] if more else [])]
    parts += [f"* {_plain(one.says)}" for one in reasons if one.outcome in {"stop", "wait"}]
    address = page_of(heard, base_url)
    tail = f"\n\n[{heard.id}]({address})" if isinstance(heard, Decision) and address else ""
    text = ""
    for part in parts:
        longer = f"{text}\n\n{part}" if text and not part.startswith("* ") else f"{text}\n{part}" if text else part
        if len(longer) + len(tail) > MOST_COMMENT:
            break
        text = longer
    return (text or cut(head, MOST_COMMENT - len(tail))) + tail


# --- check runs ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Check:
    """A commit of which GitHub asks what we think."""

    repository: str
    sha: str
    branch: str
    installation: int | None
    given: Mapping[str, Any]
    title: str
    by: str


def read_check(event: str, payload: Any) -> Check | None:
    """Read what asks for a check run: ``check_suite`` requested, ``check_run`` asked again; None for anything else."""
    repository = cut(at(payload, "repository", "full_name"), 201)
    suite = at(payload, event) if event in {"check_suite", "check_run"} else None
    wanted = {"check_suite": {"requested", "rerequested"}, "check_run": {"rerequested"}}.get(event, set())
    sha = cut(at(suite, "head_sha"), 64)
    if (
        at(payload, "action") not in wanted
        or not _NAME.fullmatch(repository)
        or not re.fullmatch(r"[0-9a-f]{40,64}", sha)
    ):
        return None
    inner = suite if event == "check_suite" else at(suite, "check_suite")
    message = at(inner, "head_commit", "message")
    told = texts(message)
    return Check(
        repository,
        sha,
        cut(at(inner, "head_branch"), 200),
        _number(at(payload, "installation", "id")),
        {"message": told},
        cut(told[0].partition("\n")[0], 500) if told else "",
        cut(at(payload, "sender", "login"), 100),
    )


def check_question(one: Check, service: str, environment: str) -> Asking:
    """What the gate is asked for a commit."""
    return asking(
        one.given,
        service=service,
        environment=environment,
        change=one.sha,
        title=one.title,
        asked_by=f"github {one.by}",
    )


def check_run(sha: str, heard: Heard, now: int, *, hold: str, base_url: str = "") -> dict[str, Any]:
    """A check run on a commit: done with success for go, in progress for wait, and ``action_required`` for stop."""
    verdict = word(heard)
    document: dict[str, Any] = {
        "name": CHECK_NAME,
        "head_sha": sha,
        "external_id": hold,
        "status": "in_progress" if verdict is Verdict.WAIT else "completed",
        "output": {"title": cut(f"{verdict.value}: {says(heard)}", 255), "summary": _summary(heard)},
    }
    address = page_of(heard, base_url)
    if address:
        document["details_url"] = address
    if verdict is not Verdict.WAIT:
        document["conclusion"] = "success" if verdict is Verdict.GO else "action_required"
        document["completed_at"] = time_text(now)
    return document


def _summary(heard: Heard) -> str:
    lines = [_plain(says(heard))]
    if isinstance(heard, Decision):
        rows = [
            f"| {_cell(one.rule)} | {one.outcome} | {_cell(one.says)} | {_cell(one.measured)} | {_cell(one.bound)} |"
            for one in heard.reasons
        ]
        lines += ["", "| rule | says | why | measured | bound |", "|---|---|---|---|---|", *rows]
        lines += ["", *[f"* {_plain(one)}" for one in heard.would_change]]
    return "\n".join(lines)[:MOST_SUMMARY]


def _cell(text: str) -> str:
    return _plain(text).replace("|", "\\|")


def _plain(text: str) -> str:
    """Text that came from outside, so that Markdown leaves it as it is: no links, no mentions, no markup."""
    line = cut(text, 2000)
    return re.sub(r"([\\`*_\[\]<>#])", r"\\\1", line).replace("@", "@\u200b")


def _list(given: Any) -> list[Any]:
    return given if isinstance(given, list) else []


def _number(given: Any) -> int | None:
    return given if isinstance(given, int) and not isinstance(given, bool) and 0 < given < 1 << 62 else None
