"""Silver bullets: scarce, named, expiring exceptions; who may grant them, how many are left, which one counts."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import UTC, date, datetime

from tightrope.base.units import HOUR_S, duration_text, instant_of
from tightrope.policy.decision import GateRequest
from tightrope.policy.wording import instant_text
from tightrope.specs.model import ExceptionQuota, SilverBullet

_MONTHS = {"M": 1, "Q": 3, "Y": 12}
_PERIOD_WORDS = {"M": "month", "Q": "quarter", "Y": "year"}
_SHORTEST_SHA = 7

GLASS_LONGEST_S = 4 * HOUR_S
"""Broken glass lets changes through for at most so long."""


def period_around(at: int, period: str) -> tuple[int, int]:
    """Tell begin and end of the UTC calendar month, quarter or year (``M``, ``Q``, ``Y``) that holds an instant."""
    moment = datetime.fromtimestamp(at, tz=UTC)
    months = _MONTHS[period]
    first = (moment.year * 12 + moment.month - 1) // months * months
    return _month_begin(first), _month_begin(first + months)


def period_word(quota: ExceptionQuota) -> str:
    """Name the quota's period: month, quarter or year."""
    return _PERIOD_WORDS[quota.period]


def exceptions_left(quota: ExceptionQuota, service: str, bullets: Iterable[SilverBullet], at: int) -> int:
    """Tell how many exceptions a service may still be granted in the UTC calendar period that holds *at*.

    Each one granted so far counts, whether it was used or has expired; one that nobody may use (`flaw`) does not.
    """
    return max(0, quota.count - len(_counted(quota, service, bullets, at, at)))


def flaw(bullet: SilverBullet, quota: ExceptionQuota) -> str:
    """Say what is wrong with an exception in itself, whatever it is used for; empty if nothing is."""
    approver, requester = _name(bullet.approved_by), _name(bullet.requested_by)
    if not approver or not requester or not bullet.reason.strip():
        return "it needs a requester, an approver and a reason"
    if approver == requester:
        return f"{bullet.approved_by} asked for it and approved it; somebody else must approve"
    if quota.approvers and approver not in {_name(one) for one in quota.approvers}:
        return f"{bullet.approved_by} is none of the approvers ({', '.join(quota.approvers)})"
    if bullet.expires_at <= bullet.granted_at:
        return "it expires before it is granted"
    if bullet.expires_at - bullet.granted_at > quota.longest_s:
        return f"it lasts longer than {duration_text(quota.longest_s)}, the longest that the policy allows"
    return ""


def flaw_of_glass(bullet: SilverBullet) -> str:
    """Say what is wrong with broken glass in itself; empty if nothing is."""
    if not _name(bullet.requested_by) or not bullet.reason.strip():
        return "it needs a name and a reason"
    if not bullet.granted_at < bullet.expires_at <= bullet.granted_at + GLASS_LONGEST_S:
        return f"it does not end within {duration_text(GLASS_LONGEST_S)}"
    return ""


def refusal(
    bullet: SilverBullet,
    request: GateRequest,
    quota: ExceptionQuota | None,
    bullets: Iterable[SilverBullet],
    used: Collection[str],
) -> str:
    """Say why an exception does not count for a request; empty if it does.

    Args:
        bullet: The exception.
        request: Service, environment, change and instant it is to be used for.
        quota: The policy's rule; None means the policy knows no exceptions.
        bullets: All that were granted to the service: the first ones of a period use up its quota.
        used: Names of those already spent.
    """
    if quota is None and not bullet.break_glass:
        return "the policy knows no exceptions"
    if bullet.service != request.service:
        return f"it is for {bullet.service}"
    if bullet.environment and bullet.environment != request.environment:
        return f"it is for {bullet.environment}"
    if bullet.change and not same_change(bullet.change, request.change):
        return f"it is for change {bullet.change}"
    wrong = flaw_of_glass(bullet) if quota is None or bullet.break_glass else flaw(bullet, quota)
    if wrong:
        return wrong
    if not bullet.break_glass and request.asked_by and _name(bullet.approved_by) == _name(request.asked_by):
        return f"{bullet.approved_by} approved it; somebody else must use it"
    if bullet.granted_at > request.asked_at:
        return f"it is granted from {instant_text(bullet.granted_at, request.asked_at)} on"
    if bullet.expires_at <= request.asked_at:
        return f"it expired {instant_text(bullet.expires_at, request.asked_at)}"
    if bullet.name in used:
        return "it was used before"
    if quota is None or bullet.break_glass:
        return ""
    counted = _counted(quota, request.service, bullets, bullet.granted_at, request.asked_at)
    if bullet not in counted[: quota.count]:
        return f"it is over the quota of {quota.count} a {period_word(quota)}"
    return ""


def same_change(one: str, other: str) -> bool:
    """Tell whether two names mean one change: equal, or one is the short form (7 or more digits) of a commit's sha."""
    short, long = sorted((one.strip().lower(), other.strip().lower()), key=len)
    if short == long:
        return True
    return len(short) >= _SHORTEST_SHA and long.startswith(short) and all(digit in "0123456789abcdef" for digit in long)


def _counted(
    quota: ExceptionQuota, service: str, bullets: Iterable[SilverBullet], within: int, until: int
) -> list[SilverBullet]:
    """The well-formed exceptions granted in the period around *within* and not after *until*, the first one first."""
    begin, end = period_around(within, quota.period)
    granted = {
        bullet
        for bullet in bullets
        if bullet.service == service
        and begin <= bullet.granted_at < end
        and bullet.granted_at <= until
        and not bullet.break_glass
    }
    sound = [bullet for bullet in granted if not flaw(bullet, quota)]
    return sorted(sound, key=lambda bullet: (bullet.granted_at, bullet.name, bullet.expires_at, bullet.change))


def _name(person: str) -> str:
    return " ".join(person.split()).casefold()


def _month_begin(month: int) -> int:
    return instant_of(datetime.combine(date(month // 12, month % 12 + 1, 1), datetime.min.time()), UTC)
