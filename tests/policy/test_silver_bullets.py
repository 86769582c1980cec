"""Silver bullets: who may grant one, for what, how long, and how many a period holds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.policy.worlds import NOW, asking, bullet
from tightrope.base.units import parse_time, time_text
from tightrope.policy.silver_bullets import exceptions_left, flaw, period_around, refusal, same_change
from tightrope.specs.model import ExceptionQuota, SilverBullet

QUOTA = ExceptionQuota(2, "Q", ("payments lead", "SRE lead"))


@pytest.mark.parametrize(
    ("at", "period", "begin", "end"),
    [
        ("2026-03-12T14:12:00Z", "M", "2026-03-01", "2026-04-01"),
        ("2026-03-12T14:12:00Z", "Q", "2026-01-01", "2026-04-01"),
        ("2026-03-12T14:12:00Z", "Y", "2026-01-01", "2027-01-01"),
        ("2025-12-31T23:59:59Z", "M", "2025-12-01", "2026-01-01"),
        ("2025-12-31T23:59:59Z", "Q", "2025-10-01", "2026-01-01"),
        ("2024-02-29T00:00:00Z", "M", "2024-02-01", "2024-03-01"),
        ("2026-01-01T00:00:00Z", "Q", "2026-01-01", "2026-04-01"),
    ],
)
def test_a_period_is_one_of_the_utc_calendar(at: str, period: str, begin: str, end: str) -> None:
    assert [time_text(one)[:10] for one in period_around(parse_time(at), period)] == [begin, end]


@given(st.integers(0, 4_000_000_000), st.sampled_from("MQY"))
def test_periods_hold_their_instants_and_meet(at: int, period: str) -> None:
    begin, end = period_around(at, period)
    assert begin <= at < end
    assert period_around(end, period)[0] == end


@pytest.mark.parametrize(
    ("others", "why"),
    [
        ({}, ""),
        ({"approved_by": "SRE  Lead"}, ""),
        ({"change": "abc123"}, ""),
        ({"environment": "production"}, ""),
        ({"expires_at": NOW}, "it expired 14:12 UTC"),
        ({"granted_at": NOW + 1}, "it is granted from 14:12 UTC on"),
        ({"service": "search"}, "it is for search"),
        ({"environment": "staging"}, "it is for staging"),
        ({"change": "def456"}, "it is for change def456"),
        ({"name": "spent"}, "it was used before"),
        ({"approved_by": "dev"}, "dev asked for it and approved it; somebody else must approve"),
        ({"approved_by": " DEV "}, " DEV  asked for it and approved it; somebody else must approve"),
        ({"approved_by": "intern"}, "intern is none of the approvers (payments lead, SRE lead)"),
        ({"approved_by": ""}, "it needs a requester, an approver and a reason"),
        ({"requested_by": " "}, "it needs a requester, an approver and a reason"),
        ({"reason": ""}, "it needs a requester, an approver and a reason"),
        ({"expires_at": NOW - 3600}, "it expires before it is granted"),
        (
            {"granted_at": NOW - 8 * 86400, "expires_at": NOW + 60},
            "it lasts longer than 7d, the longest that the policy",
        ),
    ],
)
def test_an_exception_counts_only_if_everything_about_it_is_right(others: dict[str, Any], why: str) -> None:
    one = bullet(**others)
    found = refusal(one, asking(), QUOTA, (one,), {"spent"})
    assert found.startswith(why)
    assert bool(found) is bool(why)


def test_who_approved_an_exception_may_not_use_it() -> None:
    one = bullet()
    assert refusal(one, replace(asking(), asked_by="dev"), QUOTA, (one,), ()) == ""
    for asker in (one.approved_by, f" {one.approved_by.upper()}"):
        found = refusal(one, replace(asking(), asked_by=asker), QUOTA, (one,), ())
        assert found == f"{one.approved_by} approved it; somebody else must use it"


def test_anybody_but_who_asks_may_approve_where_nobody_is_listed() -> None:
    anybody = replace(QUOTA, approvers=())
    assert flaw(bullet(approved_by="intern"), anybody) == ""
    assert "somebody else" in flaw(bullet(approved_by="dev"), anybody)


def test_a_policy_without_exceptions_has_none() -> None:
    assert refusal(bullet(), asking(), None, (bullet(),), ()) == "the policy knows no exceptions"


def test_the_third_of_two_in_a_quarter_does_not_count() -> None:
    granted = tuple(bullet(name, granted_at=NOW - 3600 + order) for order, name in enumerate(("a", "b", "c")))
    whys = [refusal(one, asking(), QUOTA, granted, ()) for one in granted]
    assert whys == ["", "", "it is over the quota of 2 a quarter"]
    assert exceptions_left(QUOTA, "checkout", granted, NOW) == 0


def test_used_and_expired_exceptions_count_against_the_quota_and_last_quarters_do_not() -> None:
    expired = bullet("expired", granted_at=parse_time("2026-01-02"), expires_at=parse_time("2026-01-03"))
    last_year = bullet("old", granted_at=parse_time("2025-12-31"), expires_at=parse_time("2026-01-01"))
    assert exceptions_left(QUOTA, "checkout", (expired, last_year), NOW) == 1
    assert exceptions_left(QUOTA, "checkout", (last_year,), NOW) == 2
    assert exceptions_left(QUOTA, "search", (expired,), NOW) == 2


def test_an_exception_that_nobody_may_use_takes_nothing_from_the_quota() -> None:
    own = bullet("own", approved_by="dev")
    assert exceptions_left(QUOTA, "checkout", (own,), NOW) == 2


def test_an_exception_granted_later_takes_nothing_yet() -> None:
    assert exceptions_left(QUOTA, "checkout", (bullet(granted_at=NOW + 1),), NOW) == 2


@given(st.lists(st.integers(NOW - 80 * 86400, NOW), max_size=6), st.integers(0, 4))
def test_never_more_exceptions_count_than_the_quota_holds(grants: list[int], count: int) -> None:
    quota = ExceptionQuota(count, "Q")
    granted: tuple[SilverBullet, ...] = tuple(
        bullet(f"b{number}", granted_at=at, expires_at=at + 86400) for number, at in enumerate(grants)
    )
    valid = sum(refusal(one, asking(at=one.granted_at), quota, granted, ()) == "" for one in granted)
    in_quarter = sum(at >= period_around(NOW, "Q")[0] for at in grants)
    before = len(grants) - in_quarter
    assert valid <= min(count, in_quarter) + min(count, before)
    assert exceptions_left(quota, "checkout", granted, NOW) == max(0, count - in_quarter)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("v1.2.3", "v1.2.3", True),
        ("abcdef1", "ABCDEF1234567", True),
        ("abcdef1234567", "abcdef1", True),
        ("abcdef", "abcdef1234567", False),
        ("v1.2.3", "v1.2.34", False),
        ("", "", True),
    ],
)
def test_a_short_sha_means_its_commit(one: str, other: str, same: bool) -> None:
    assert same_change(one, other) is same
