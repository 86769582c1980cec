"""A hold: a caller that is to be answered later, and what becomes of it. Pure.

A hold waits until the gate opens. A stop may turn to go, so it waits through one, too, unless it is to be refused; for
want of telemetry alone nobody is refused. At the caller's own limit a hold ends.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from tightrope.base.canonical import digest
from tightrope.policy.decision import Decision, Verdict
from tightrope.policy.dialects.hearing import Asking, Heard, NoDecision, cut, firm_word, says, word
from tightrope.specs.model import OnStop

DAY_S = 86_400
POLLED_S = 3600
"""A hold that is polled ends when nobody asked for so long."""

COMMENT_EVERY_S = 600
"""A waiting caller is told of other reasons no sooner than this after the last time, and then less and less often."""


class Caller(StrEnum):
    """Who waits, and for what."""

    GITHUB_DEPLOYMENT = "github-deployment"
    GITHUB_CHECK = "github-check"
    GITLAB_CHECK = "gitlab-status-check"
    GITLAB_DEPLOYMENT = "gitlab-deployment"
    SPINNAKER = "spinnaker"
    KAYENTA = "kayenta"


POLLING = frozenset({Caller.SPINNAKER, Caller.KAYENTA})
"""Callers that ask again themselves; the others are called."""


class HoldState(StrEnum):
    """How far a hold is."""

    WAITING = "waiting"
    APPROVED = "approved"
    REFUSED = "refused"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    SUPERSEDED = "superseded"


LIMITS_S: Mapping[Caller, int] = {
    Caller.GITHUB_DEPLOYMENT: 29 * DAY_S,  # a job waits 30 days
    Caller.GITHUB_CHECK: 14 * DAY_S,
    Caller.GITLAB_CHECK: 14 * DAY_S,
    Caller.GITLAB_DEPLOYMENT: 29 * DAY_S,
    Caller.SPINNAKER: POLLED_S,
    Caller.KAYENTA: POLLED_S,
}
"""How long a caller waits at most, seconds; for those that poll, since the last time."""


@dataclass(frozen=True, slots=True)
class Hold:
    """One caller that waits.

    Attributes:
        id: Short and printable, ``H-…``.
        key: Names what is waited for: the same, asked for again, is the same hold.
        integration: Through which it is answered; empty: it asks again itself.
        asking: The question; without a service where nobody knows yet whose repository it is.
        address: What it takes to answer: plain JSON values, never a secret.
        verdict, reason, rules, decision: Of the last time the gate was asked: go, stop or wait, the sentence, the rules
            that stand in the way, and the id of the decision that was recorded; empty before.
        round: How often it was opened; an approval that could not be delivered in time is decided anew.
        comments: How many comments without a state the caller was told.
        until: When the caller waits no longer, UTC epoch seconds.
        steps: How many events the journal has of it.
        told, told_at: What the caller was last told while it waits, and when.
    """

    id: str
    caller: Caller
    integration: str
    key: str
    asking: Asking
    address: Mapping[str, Any]
    on_stop: OnStop
    opened_at: int
    until: int
    state: HoldState = HoldState.WAITING
    verdict: str = ""
    reason: str = ""
    rules: tuple[str, ...] = ()
    decision: str = ""
    decided_at: int = 0
    round: int = 0
    comments: int = 0
    steps: int = 0
    told: str = ""
    told_at: int = 0
    closed_at: int | None = None

    @property
    def service(self) -> str:
        """The service that is held; empty where nobody knows."""
        return self.asking.service


def opened(
    caller: Caller,
    key: str,
    asking: Asking,
    address: Mapping[str, Any],
    now: int,
    *,
    integration: str = "",
    on_stop: OnStop = OnStop.HOLD,
    limit_s: int | None = None,
) -> Hold:
    """A new hold. Its id follows from who waits for what, so that whoever asks twice waits once."""
    name = f"H-{digest([caller.value, integration, key])[:12]}"
    until = now + (LIMITS_S[caller] if limit_s is None else min(limit_s, LIMITS_S[caller]))
    return Hold(name, caller, integration, key, asking, address, on_stop, now, until)


class Step(StrEnum):
    """What happened to a hold."""

    CREATED = "created"
    UPDATED = "updated"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Turned:
    """What one look at a hold came to: the hold as it is now, what happened, and whether the caller is to be told.

    Attributes:
        opens: The gate is open: the decision has to be recorded, and then counts.
    """

    hold: Hold
    step: Step | None = None
    tells: bool = False
    opens: bool = False


def turned(hold: Hold, heard: Heard, now: int) -> Turned:
    """Look at a waiting hold again.

    Args:
        hold: As it was.
        heard: What the gate says now.
        now: UTC epoch seconds.
    """
    if hold.state is not HoldState.WAITING:
        return Turned(hold)
    seen = replace(
        hold,
        verdict=word(heard).value,
        reason=cut(says(heard), 1000),
        rules=_rules(heard),
        decided_at=now,
    )
    given_up = hold.round > 0 and now >= hold.until  # it was answered already, and nobody took the answer
    if word(heard) is Verdict.GO and isinstance(heard, Decision) and not given_up:
        closed = replace(seen, state=HoldState.APPROVED, decision=heard.id, closed_at=now)
        return Turned(closed, Step.CLOSED, tells=True, opens=True)
    if firm_word(heard) is Verdict.STOP and hold.on_stop is OnStop.REFUSE and isinstance(heard, Decision):
        closed = replace(seen, state=HoldState.REFUSED, decision=heard.id, closed_at=now)
        return Turned(closed, Step.CLOSED, tells=True, opens=True)
    if now >= hold.until:
        reason = f"the gate did not open in time; {seen.reason}"
        closed = replace(seen, state=HoldState.EXPIRED, reason=cut(reason, 1000), closed_at=now)
        return Turned(closed, Step.CLOSED, tells=True)
    other = (seen.verdict, seen.rules) != (hold.verdict, hold.rules)
    tells = _standing(seen) != hold.told and (not hold.told_at or now - hold.told_at >= _patience_s(hold))
    if tells:
        seen = replace(seen, told=_standing(seen), told_at=now)
    return Turned(seen, Step.UPDATED if other else None, tells=tells)


def holds_up(heard: Heard) -> int:
    """How much an answer holds a release up: that of several services waits for the one that does so most."""
    order = (Verdict.GO, Verdict.WAIT, Verdict.STOP)
    return order.index(word(heard)) + order.index(firm_word(heard))


def _standing(hold: Hold) -> str:
    return " ".join((hold.verdict, *hold.rules))


def _patience_s(hold: Hold) -> int:
    """How long a caller is left alone: twice as long each time, for it takes only so many comments."""
    return min(COMMENT_EVERY_S << min(hold.comments, 16), DAY_S)


def reopened(hold: Hold, now: int) -> Hold:
    """A hold whose approval could not be delivered while it was valid: it waits again, and is decided anew."""
    return replace(
        hold, state=HoldState.WAITING, round=hold.round + 1, closed_at=None, verdict="", rules=(), decided_at=now
    )


def ended(hold: Hold, state: HoldState, reason: str, now: int) -> Turned:
    """A hold that ends for another reason than the gate: the caller gave it up, or something newer took its place."""
    if hold.state is not HoldState.WAITING:
        return Turned(hold)
    return Turned(replace(hold, state=state, reason=cut(reason, 1000), closed_at=now), Step.CLOSED)


def patience_s(attempts: int, key: str, asked_s: int = 0) -> int:
    """How long to wait before a call is tried again: twice as long each time, up to a quarter of an hour.

    A fifth more or less by *key* keeps many calls from coming back at the same moment; what the other side asks for is
    kept.
    """
    plain = min(15 * 60, 2 << min(max(attempts, 1) - 1, 12))
    chance = int.from_bytes(hashlib.sha256(f"{key}#{attempts}".encode()).digest()[:2])
    return max(asked_s, plain * (80 + chance % 41) // 100, 1)


def _rules(heard: Heard) -> tuple[str, ...]:
    if isinstance(heard, NoDecision):
        return (f"none:{heard.trouble.value}",)
    return tuple(sorted({one.rule for one in heard.reasons if one.outcome in {"stop", "wait"}}))
