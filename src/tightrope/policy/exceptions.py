"""Exceptions as people handle them: asked for, granted or refused by somebody else, revoked; and broken glass.

What is granted is a silver bullet, and the gate treats it as one; see `tightrope.policy.silver_bullets`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable
from dataclasses import replace
from enum import StrEnum
from typing import Any

from tightrope.base.errors import ConflictError, ForbiddenError, UsageError
from tightrope.base.units import DAY_S, HOUR_S, duration_text, time_text
from tightrope.base.values import dataclass
from tightrope.policy.silver_bullets import GLASS_LONGEST_S, exceptions_left, period_word
from tightrope.specs.model import ExceptionQuota, SilverBullet

LAPSES_S = 7 * DAY_S
"""A request that nobody answered for so long is none any more."""

USUAL_S = 4 * HOUR_S
"""How long an exception lasts if nobody says."""


class Standing(StrEnum):
    """How far a request for an exception has come."""

    REQUESTED = "requested"
    GRANTED = "granted"
    REFUSED = "refused"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class ExceptionRequest:
    """A request to ship what the policy refuses, and what became of it.

    Attributes:
        id: ``X-`` and eight digits.
        service, environment, change: What it is for; an empty environment or change means any.
        requested_by, reason, requested_at: Who asked for it, why, and when, UTC epoch seconds.
        lasts_s: For how long, from the grant on.
        standing: How far it has come.
        decided_by, decided_at, note: Who granted, refused or revoked it last, when, and what they said.
        approved_by: The approver as the policy names them: their own name, or that of a team of theirs.
        granted_at, expires_at: From when to when it holds; None while it was not granted.
        break_glass: Nobody granted it: who asked took it upon themselves.
    """

    id: str
    service: str
    environment: str
    change: str
    requested_by: str
    reason: str
    requested_at: int
    lasts_s: int
    standing: Standing = Standing.REQUESTED
    decided_by: str = ""
    decided_at: int | None = None
    note: str = ""
    approved_by: str = ""
    granted_at: int | None = None
    expires_at: int | None = None
    break_glass: bool = False

    def holds(self, now: int) -> bool:
        """Whether the gate counts it at *now*."""
        return self.standing is Standing.GRANTED and self.expires_at is not None and now < self.expires_at

    def waits(self, now: int) -> bool:
        """Whether somebody should answer it."""
        return self.standing is Standing.REQUESTED and now < self.requested_at + LAPSES_S


def request(
    service: str,
    *,
    by: str,
    reason: str,
    now: int,
    environment: str = "",
    change: str = "",
    lasts_s: int | None = None,
    quota: ExceptionQuota | None,
) -> ExceptionRequest:
    """Ask for an exception.

    Raises:
        UsageError: It has no reason or requester, or lasts longer than the policy allows.
        ConflictError: The policy of the service knows no exceptions.
    """
    if quota is None:
        raise ConflictError(
            f"the policy of {service} knows no exceptions",
            remedy="give it `exceptions`, wait, or ship a kind of change that it lets through",
        )
    lasts_s = min(USUAL_S, quota.longest_s) if lasts_s is None else lasts_s
    if not 0 < lasts_s <= quota.longest_s:
        raise UsageError(f"an exception of {service} lasts at most {duration_text(quota.longest_s)}")
    return _made(service, environment, change, by, reason, now, lasts_s)


def broken_glass(
    service: str, *, by: str, reason: str, now: int, environment: str = "", change: str = "", lasts_s: int | None = None
) -> ExceptionRequest:
    """Let changes through although nobody is there to approve: it holds at once, and lifts all that stands in the way.

    Raises:
        UsageError: It has no reason or no name, or lasts longer than `GLASS_LONGEST_S`.
    """
    lasts_s = HOUR_S if lasts_s is None else lasts_s
    if not 0 < lasts_s <= GLASS_LONGEST_S:
        raise UsageError(f"broken glass lasts at most {duration_text(GLASS_LONGEST_S)}")
    made = _made(service, environment, change, by, reason, now, lasts_s)
    return replace(
        made, standing=Standing.GRANTED, break_glass=True, decided_at=now, granted_at=now, expires_at=now + lasts_s
    )


def _made(
    service: str, environment: str, change: str, by: str, reason: str, now: int, lasts_s: int
) -> ExceptionRequest:
    by, reason = " ".join(by.split()), reason.strip()
    if not by or not reason:
        raise UsageError("an exception needs who asks for it, and why", remedy="say both: somebody has to judge it")
    parts = (service, environment, change, by, reason, str(now), str(lasts_s))
    name = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:8].upper()
    return ExceptionRequest(f"X-{name}", service, environment, change.strip(), by, reason, now, lasts_s)


def granted(
    one: ExceptionRequest,
    *,
    by: str,
    teams: Collection[str] = (),
    note: str = "",
    lasts_s: int | None = None,
    quota: ExceptionQuota | None,
    others: Iterable[SilverBullet] = (),
    now: int,
) -> ExceptionRequest:
    """Grant a request.

    Args:
        one: The request.
        by, teams: Who grants it, and the teams they belong to: a policy may name either as approvers.
        note: What they say.
        lasts_s: For how long, in place of what was asked for.
        quota: The rule of the service's policy.
        others: All that were granted to the service.
        now: UTC epoch seconds.

    Raises:
        ForbiddenError: They asked for it themselves, or are none of the policy's approvers.
        ConflictError: It was answered already or has lapsed, the quota is used up, or the policy knows no exceptions.
        UsageError: It would last longer than the policy allows.
    """
    _must_wait(one, now)
    if quota is None:
        raise ConflictError(f"the policy of {one.service} knows no exceptions any more")
    if same_person(by, one.requested_by):
        raise ForbiddenError(f"{by} asked for {one.id}; somebody else must grant it")
    lasts_s = one.lasts_s if lasts_s is None else lasts_s
    if not 0 < lasts_s <= quota.longest_s:
        raise UsageError(f"an exception of {one.service} lasts at most {duration_text(quota.longest_s)}")
    if exceptions_left(quota, one.service, others, now) <= 0:
        raise ConflictError(
            f"{one.service} has used all {quota.count} exceptions of this {period_word(quota)}",
            remedy="wait for the next one, or change the quota of the policy, which the journal shows",
        )
    return replace(
        one,
        standing=Standing.GRANTED,
        decided_by=by,
        decided_at=now,
        note=note.strip(),
        approved_by=_approver(by, teams, quota),
        granted_at=now,
        expires_at=now + lasts_s,
    )


def _approver(by: str, teams: Collection[str], quota: ExceptionQuota) -> str:
    if not quota.approvers:
        return by
    for name in (by, *sorted(teams)):
        for approver in quota.approvers:
            if same_person(name, approver):
                return approver
    raise ForbiddenError(
        f"{by} is none of the approvers that the policy names ({', '.join(quota.approvers)})", remedy="ask one of them"
    )


def refused(one: ExceptionRequest, *, by: str, note: str, now: int) -> ExceptionRequest:
    """Refuse a request; raises `ConflictError` where it was answered already."""
    _must_wait(one, now)
    return replace(one, standing=Standing.REFUSED, decided_by=by, decided_at=now, note=note.strip())


def revoked(one: ExceptionRequest, *, by: str, note: str, now: int) -> ExceptionRequest:
    """End an exception before its time; it counts against the quota all the same. Raises `ConflictError`."""
    if not one.holds(now):
        raise ConflictError(f"{one.id} does not hold: it is {standing_text(one, now)}")
    return replace(one, standing=Standing.REVOKED, decided_by=by, decided_at=now, note=note.strip(), expires_at=now)


def _must_wait(one: ExceptionRequest, now: int) -> None:
    if not one.waits(now):
        raise ConflictError(f"{one.id} waits for no answer: it is {standing_text(one, now)}")


def bullet_of(one: ExceptionRequest) -> SilverBullet | None:
    """The silver bullet that was granted; None while nothing was."""
    if one.granted_at is None or one.expires_at is None:
        return None
    return SilverBullet(
        name=one.id,
        service=one.service,
        requested_by=one.requested_by,
        approved_by=one.approved_by,
        reason=one.reason,
        granted_at=one.granted_at,
        expires_at=one.expires_at,
        change=one.change,
        environment=one.environment,
        break_glass=one.break_glass,
    )


def same_person(one: str, other: str) -> bool:
    """Tell whether two names mean one: case and spaces do not matter."""
    return " ".join(one.split()).casefold() == " ".join(other.split()).casefold()


def standing_text(one: ExceptionRequest, now: int) -> str:
    """How far it has come, in a word or a few."""
    if one.standing is Standing.REQUESTED:
        return "waiting" if one.waits(now) else "lapsed"
    if one.standing is Standing.GRANTED and not one.holds(now):
        return "over"
    return "broken glass" if one.break_glass and one.holds(now) else one.standing.value


def document_of(one: ExceptionRequest, now: int) -> dict[str, Any]:
    """The request as plain values, the same in every front."""

    def instant(at: int | None) -> str | None:
        return None if at is None else time_text(at)

    return {
        "id": one.id,
        "service": one.service,
        "environment": one.environment or None,
        "change": one.change or None,
        "standing": standing_text(one, now),
        "holds": one.holds(now),
        "breakGlass": one.break_glass,
        "requestedBy": one.requested_by,
        "reason": one.reason,
        "requestedAt": time_text(one.requested_at),
        "lastsSeconds": one.lasts_s,
        "decidedBy": one.decided_by or None,
        "decidedAt": instant(one.decided_at),
        "note": one.note or None,
        "approvedBy": one.approved_by or None,
        "grantedAt": instant(one.granted_at),
        "expiresAt": instant(one.expires_at),
    }
