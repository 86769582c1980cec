"""What a caller is told, as calls to its API; and what the journal is told, as CDEvents. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from urllib.parse import quote

from tightrope.base.units import time_text
from tightrope.delivery.holds.hold import Caller, Hold, HoldState, Step
from tightrope.policy.decision import Decision, Verdict
from tightrope.policy.dialects import github, gitlab
from tightrope.policy.dialects.hearing import Heard, word

SOURCE = "/tightrope/holds"
SPEC_VERSION = "0.6.0-draft"
KEPT_COMMENTS = 1
"""So many of GitHub's comments are kept back: the last words must be heard."""


class Verb(StrEnum):
    """What a call does."""

    COMMENT = "comment"
    APPROVE = "approve"
    REFUSE = "refuse"
    PLAY = "play"
    CHECK = "check"
    STATUS = "status"


@dataclass(frozen=True, slots=True)
class Call:
    """One call to a caller's API.

    Attributes:
        key: Names it: what is planned twice is sent for once.
        path: Below the address of the API.
        not_after: Until when it may be sent, UTC epoch seconds: an approval is as valid as its decision. None: always.
        creates: Where the answer has an ``id`` that later calls need, how the hold's address calls it; else empty.
    """

    key: str
    hold: str
    integration: str
    verb: Verb
    method: str
    path: str
    body: Mapping[str, Any]
    not_after: int | None = None
    creates: str = ""


def mark_of(key: str) -> str:
    """What a call leaves in its text, unseen in Markdown, to be known by if nobody heard whether it was taken."""
    return f"<!-- tightrope {key} -->"


def calls(hold: Hold, heard: Heard | None, now: int, base_url: str = "") -> tuple[Call, ...]:
    """What the caller is to be told of a hold as it is now; nothing where it asks again itself.

    Args:
        hold: After a turn that tells.
        heard: What the gate came to; None: the hold ended without it.
        now: UTC epoch seconds.
        base_url: Where our pages are.
    """
    if heard is None:
        return ()
    if hold.caller is Caller.GITHUB_DEPLOYMENT:
        return _github_deployment(hold, heard, base_url)
    if hold.caller is Caller.GITHUB_CHECK:
        return _github_check(hold, heard, now, base_url)
    if hold.caller is Caller.GITLAB_CHECK:
        return _gitlab_check(hold, heard)
    if hold.caller is Caller.GITLAB_DEPLOYMENT:
        return _gitlab_deployment(hold, heard)
    return ()


def comments(hold: Hold) -> bool:
    """Whether the caller may be told something without being answered."""
    return hold.caller is not Caller.GITHUB_DEPLOYMENT or hold.comments < github.MOST_COMMENTS - KEPT_COMMENTS


def _call(hold: Hold, verb: Verb, method: str, path: str, body: Mapping[str, Any], **more: Any) -> Call:
    number = f".{hold.comments}" if verb in {Verb.COMMENT, Verb.CHECK} else ""
    key = f"{hold.id}:{hold.round}:{verb.value}{number}:{hold.state.value}"
    return Call(key, hold.id, hold.integration, verb, method, path, body, **more)


def _valid_until(heard: Heard) -> int | None:
    return heard.expires_at if isinstance(heard, Decision) else None


def _github_deployment(hold: Hold, heard: Heard, base_url: str) -> tuple[Call, ...]:
    repository, run, environment = (hold.address.get(name) for name in ("repository", "run", "environment"))
    if not run:
        return ()
    path = f"/repos/{repository}/actions/runs/{run}/deployment_protection_rule"
    if hold.state is HoldState.APPROVED:
        body = github.review(str(environment), heard, "approved", base_url)
        return (_call(hold, Verb.APPROVE, "POST", path, body, not_after=_valid_until(heard)),)
    if hold.state in {HoldState.REFUSED, HoldState.EXPIRED}:
        more = "The gate did not open in time." if hold.state is HoldState.EXPIRED else ""
        return (
            _call(hold, Verb.REFUSE, "POST", path, github.review(str(environment), heard, "rejected", base_url, more)),
        )
    more = "This job starts by itself once the gate opens."
    return (_call(hold, Verb.COMMENT, "POST", path, github.review(str(environment), heard, "", base_url, more)),)


def _github_check(hold: Hold, heard: Heard, now: int, base_url: str) -> tuple[Call, ...]:
    body = github.check_run(str(hold.address["sha"]), heard, now, hold=hold.id, base_url=base_url)
    if hold.state is HoldState.EXPIRED:
        body |= {"status": "completed", "conclusion": "timed_out", "completed_at": time_text(now)}
    path, known = f"/repos/{hold.address['repository']}/check-runs", hold.address.get("check_run")
    approves = hold.state is HoldState.APPROVED
    not_after = _valid_until(heard) if approves else None
    verb = Verb.APPROVE if approves else Verb.CHECK
    if known:
        return (_call(hold, verb, "PATCH", f"{path}/{known}", body, not_after=not_after),)
    return (_call(hold, verb, "POST", path, body, not_after=not_after, creates="check_run"),)


def _gitlab_check(hold: Hold, heard: Heard) -> tuple[Call, ...]:
    path = f"{_project(hold)}/merge_requests/{hold.address['merge_request']}/status_check_responses"
    verdict = {
        HoldState.WAITING: Verdict.WAIT,
        HoldState.APPROVED: Verdict.GO,
    }.get(hold.state, Verdict.STOP)
    body = gitlab.status(str(hold.address["sha"]), int(hold.address["check"]), verdict)
    verb = {Verdict.GO: Verb.APPROVE, Verdict.WAIT: Verb.COMMENT, Verdict.STOP: Verb.REFUSE}[verdict]
    return (_call(hold, verb, "POST", path, body, not_after=_valid_until(heard) if verdict is Verdict.GO else None),)


def _gitlab_deployment(hold: Hold, heard: Heard) -> tuple[Call, ...]:
    if hold.state not in {HoldState.APPROVED, HoldState.REFUSED}:
        return ()  # blocked is what it is already, and there is no way to say so
    path = f"{_project(hold)}/deployments/{hold.address['deployment']}/approval"
    approved = hold.state is HoldState.APPROVED and word(heard) is Verdict.GO
    not_after = _valid_until(heard) if approved else None
    told = _call(
        hold,
        Verb.APPROVE if approved else Verb.REFUSE,
        "POST",
        path,
        gitlab.approval(heard, refused=not approved),
        not_after=not_after,
    )
    job = hold.address.get("job")
    if not approved or not job:
        return (told,)
    play = f"{_project(hold)}/jobs/{job}/play"
    return told, _call(hold, Verb.PLAY, "POST", play, {}, not_after=not_after)


def _project(hold: Hold) -> str:
    """By its name, which a map of ours has: a number of somebody's choice could be that of another project."""
    return f"/projects/{quote(str(hold.address['repository']), safe='')}"


# --- the journal ---------------------------------------------------------------------------------------------------


def event_document(hold: Hold, step: Step, now: int, base_url: str = "") -> dict[str, Any]:
    """An approval as a CDEvent: created, updated or closed.

    Source:
        cdevents/spec, schemas/approvalcreated.json, approvalupdated.json and approvalclosed.json, 0.1.0.
    """
    content: dict[str, Any] = {
        "approvalDetailsUrl": f"{base_url}/api/v1/holds/{hold.id}",
        "resourceTargetUrl": str(hold.address.get("url") or f"{base_url}/api/v1/services/{hold.service or 'unknown'}"),
    }
    if step is Step.CREATED:
        content["requestor"] = f"urn:tightrope:caller:{hold.caller.value}"
    else:
        content["responder"] = "urn:tightrope:gate"
        content["decision"] = hold.verdict or hold.state.value
    if step is Step.CLOSED:
        content["status"] = _STATUSES[hold.state]
    return {
        "context": {
            "specversion": SPEC_VERSION,
            "id": event_id(hold),
            "source": SOURCE,
            "type": event_type(step),
            "timestamp": time_text(now),
        },
        "subject": {"id": hold.id, "source": SOURCE, "content": content},
        "customData": {
            "caller": hold.caller.value,
            "integration": hold.integration,
            "service": hold.service,
            "environment": hold.asking.environment,
            "kind": hold.asking.kind.value,
            "change": hold.asking.change,
            "state": hold.state.value,
            "verdict": hold.verdict,
            "reason": hold.reason,
            "rules": list(hold.rules),
            "decision": hold.decision,
        },
        "customDataContentType": "application/json",
    }


def event_type(step: Step) -> str:
    """The type of a CDEvent about an approval."""
    return f"dev.cdevents.approval.{step.value}.0.1.0"


def event_id(hold: Hold) -> str:
    """Names the newest event of a hold."""
    return f"{hold.id}-{hold.steps}"


_STATUSES: Mapping[HoldState, str] = {
    HoldState.APPROVED: "approved",
    HoldState.REFUSED: "rejected",
    HoldState.EXPIRED: "expired",
    HoldState.CANCELLED: "cancelled",
    HoldState.SUPERSEDED: "cancelled",
}


def hold_document(hold: Hold, told: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """A hold as the API tells it; never a secret."""
    return {
        "id": hold.id,
        "caller": hold.caller.value,
        "integration": hold.integration,
        "service": hold.service,
        "environment": hold.asking.environment,
        "kind": hold.asking.kind.value,
        "kindFrom": hold.asking.kind_from,
        "change": hold.asking.change,
        "title": hold.asking.title,
        "askedBy": hold.asking.asked_by,
        "state": hold.state.value,
        "onStop": hold.on_stop.value,
        "verdict": hold.verdict or None,
        "reason": hold.reason,
        "rules": list(hold.rules),
        "decision": hold.decision,
        "openedAt": time_text(hold.opened_at),
        "decidedAt": time_text(hold.decided_at) if hold.decided_at else None,
        "until": time_text(hold.until),
        "closedAt": None if hold.closed_at is None else time_text(hold.closed_at),
        "calls": list(told),
    }
