"""Exceptions: asked for by one, granted by another, scarce and expiring; and broken glass, which lifts everything."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.policy.worlds import facts, overspent, silent
from tightrope.base.errors import ConflictError, ForbiddenError, UsageError
from tightrope.policy.decision import GateRequest, Verdict
from tightrope.policy.exceptions import (
    LAPSES_S,
    ExceptionRequest,
    Standing,
    broken_glass,
    bullet_of,
    granted,
    refused,
    request,
    revoked,
    standing_text,
)
from tightrope.policy.gate import decide
from tightrope.specs.model import ChangeKind, ExceptionQuota, SilverBullet

NOW = 1_772_000_000
QUOTA = ExceptionQuota(2, "Q")


def _asked(**given: Any) -> ExceptionRequest:
    return replace(request("checkout", by="Payments Team", reason="contract date", now=NOW, quota=QUOTA), **given)


def _bullet(one: ExceptionRequest) -> SilverBullet:
    found = bullet_of(one)
    assert found is not None
    return found


def test_what_is_granted_is_a_silver_bullet_from_the_grant_on() -> None:
    one = granted(_asked(change="4f2a9c1"), by="SRE lead", quota=QUOTA, now=NOW + 60)
    bullet = _bullet(one)
    assert (bullet.granted_at, bullet.expires_at) == (NOW + 60, NOW + 60 + 4 * 3600)
    assert (bullet.requested_by, bullet.approved_by, bullet.change) == ("Payments Team", "SRE lead", "4f2a9c1")
    assert one.holds(NOW + 60)
    assert not one.holds(one.expires_at or 0)
    assert standing_text(one, bullet.expires_at) == "over"


def test_what_was_only_asked_for_is_none() -> None:
    assert bullet_of(_asked()) is None
    assert bullet_of(refused(_asked(), by="SRE lead", note="wait", now=NOW)) is None


@pytest.mark.parametrize("by", ["payments team", " Payments  TEAM "])
def test_nobody_grants_what_they_asked_for(by: str) -> None:
    with pytest.raises(ForbiddenError, match="somebody else must grant it"):
        granted(_asked(), by=by, quota=QUOTA, now=NOW)


def test_only_those_whom_the_policy_names_grant_by_name_or_team() -> None:
    quota = replace(QUOTA, approvers=("SRE lead", "payments"))
    with pytest.raises(ForbiddenError, match="none of the approvers"):
        granted(_asked(), by="alex", quota=quota, now=NOW)
    assert granted(_asked(), by="sre LEAD", quota=quota, now=NOW).approved_by == "SRE lead"
    assert granted(_asked(), by="alex", teams=["payments"], quota=quota, now=NOW).approved_by == "payments"


def test_the_quota_of_a_quarter_is_all_there_is() -> None:
    given = [_bullet(granted(_asked(id=f"X-{n}"), by="lead", quota=QUOTA, now=NOW + n)) for n in range(2)]
    with pytest.raises(ConflictError, match="has used all 2 exceptions of this quarter"):
        granted(_asked(), by="lead", quota=QUOTA, others=given, now=NOW + 9)
    assert granted(_asked(), by="lead", quota=QUOTA, others=given[:1], now=NOW + 9).standing is Standing.GRANTED


def test_broken_glass_uses_up_no_quota() -> None:
    glass = [_bullet(broken_glass("checkout", by="on-call", reason=f"fire {n}", now=NOW)) for n in range(5)]
    assert granted(_asked(), by="lead", quota=QUOTA, others=glass, now=NOW).standing is Standing.GRANTED


def test_what_was_answered_is_answered_once() -> None:
    one = granted(_asked(), by="lead", quota=QUOTA, now=NOW)
    for again in (one, refused(_asked(), by="lead", note="", now=NOW), revoked(one, by="lead", note="", now=NOW + 9)):
        with pytest.raises(ConflictError, match="waits for no answer"):
            granted(again, by="lead", quota=QUOTA, now=NOW + 10)


def test_a_request_that_nobody_answers_lapses() -> None:
    with pytest.raises(ConflictError, match="lapsed"):
        granted(_asked(), by="lead", quota=QUOTA, now=NOW + LAPSES_S)


def test_what_is_revoked_ends_then_and_counts_all_the_same() -> None:
    one = revoked(granted(_asked(), by="lead", quota=QUOTA, now=NOW), by="lead", note="done", now=NOW + 600)
    assert _bullet(one).expires_at == NOW + 600
    assert not one.holds(NOW + 600)
    with pytest.raises(ConflictError):
        revoked(one, by="lead", note="", now=NOW + 601)


@pytest.mark.parametrize(("lasts_s", "reason"), [(8 * 86400, "x"), (0, "x"), (60, "  ")])
def test_an_exception_has_a_reason_and_an_end(lasts_s: int, reason: str) -> None:
    with pytest.raises(UsageError):
        request("checkout", by="me", reason=reason, now=NOW, lasts_s=lasts_s, quota=QUOTA)


def test_a_policy_without_exceptions_takes_no_request_but_the_glass_breaks() -> None:
    with pytest.raises(ConflictError, match="knows no exceptions"):
        request("checkout", by="me", reason="x", now=NOW, quota=None)
    with pytest.raises(UsageError, match="at most 4h"):
        broken_glass("checkout", by="me", reason="x", now=NOW, lasts_s=5 * 3600)
    assert broken_glass("checkout", by="me", reason="x", now=NOW).holds(NOW)


def test_a_granted_exception_turns_a_stop_into_an_exempt_go() -> None:
    spent = facts(overspent())
    ask = GateRequest("checkout", NOW, kind=ChangeKind.FEATURE, change="4f2a9c1d")
    assert decide(ask, spent).verdict is Verdict.STOP
    bullet = _bullet(granted(_asked(change="4f2a9c1"), by="lead", quota=QUOTA, now=NOW - 60))
    decided = decide(ask, replace(spent, bullets=(bullet,)))
    assert (decided.verdict, decided.exempt, decided.exception) == (Verdict.GO, True, bullet.name)


def test_broken_glass_lifts_even_missing_data_and_is_used_only_if_nothing_else_counts() -> None:
    stale = facts(silent(7200))
    ask = GateRequest("checkout", NOW, kind=ChangeKind.FEATURE, change="4f2a9c1d")
    bullet = _bullet(granted(_asked(), by="lead", quota=QUOTA, now=NOW - 60))
    glass = _bullet(broken_glass("checkout", by="on-call", reason="fire", now=NOW - 60))
    assert decide(ask, replace(stale, bullets=(bullet,))).verdict is not Verdict.GO
    decided = decide(ask, replace(stale, bullets=(bullet, glass)))
    assert (decided.verdict, decided.exempt, decided.exception) == (Verdict.GO, True, glass.name)
    assert any("on-call broke the glass" in one.says for one in decided.reasons)
    spent = facts(overspent())
    assert decide(ask, replace(spent, bullets=(glass, bullet))).exception == bullet.name


def test_broken_glass_ends_within_hours_whatever_a_record_says() -> None:
    spent = facts(overspent())
    glass = _bullet(broken_glass("checkout", by="on-call", reason="fire", now=NOW - 60))
    forever = replace(glass, expires_at=NOW + 30 * 86400)
    ask = GateRequest("checkout", NOW, kind=ChangeKind.FEATURE)
    assert decide(ask, replace(spent, bullets=(forever,))).verdict is Verdict.STOP
