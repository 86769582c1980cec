"""Bypass detection: what went past the gate opens a finding, a rollback never does, and more knowledge may close it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.delivery.worlds import NOON, REPOSITORY, Shop, commit, report, sha, shop
from tests.specs.samples import SLO, SOURCE, read
from tightrope.base.errors import ConflictError, NotFoundError, UsageError
from tightrope.base.units import DAY_S
from tightrope.delivery.changes import Around, Deployment, DeploymentState, account_of, deployment_of
from tightrope.delivery.findings import CLEARED_BY, Asked, Bypass, bypass_of, decision_of, finding_of
from tightrope.policy.decision import GateFacts, GateRequest
from tightrope.policy.gate import decide
from tightrope.policy.usecases import DecisionBook
from tightrope.specs.defaults import DEFAULT_POLICY
from tightrope.specs.model import Mapped

STARTED, SUCCEEDED, FAILED = DeploymentState


def deployment(**more: object) -> Deployment:
    return deployment_of(account_of(replace(report("1", 0), **more)), Around())  # type: ignore[arg-type]


def asked(name: str = "D-1", verdict: str = "go", at: int = -60, **more: object) -> Asked:
    made = Asked(name, "checkout", "production", "", verdict, NOON + at, NOON + at + 900)
    return replace(made, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("decisions", "found"),
    [
        ([], Bypass.UNASKED),
        ([asked()], None),
        ([asked(verdict="stop")], Bypass.STOPPED),
        ([asked(verdict="wait")], Bypass.WAITED),
        ([asked(at=-2000)], Bypass.EXPIRED),
        ([asked(at=-960)], None),
        ([asked(at=600)], Bypass.UNASKED),
        ([asked(at=30)], None),
        ([asked(verdict="stop", at=-300), asked("D-2", at=-60)], None),
        ([asked(at=-300), asked("D-2", verdict="stop", at=-60)], Bypass.STOPPED),
        ([asked(environment="staging")], Bypass.UNASKED),
        ([asked(service="search")], Bypass.UNASKED),
        ([asked(change="v1")], None),
        ([asked(change="v2")], Bypass.UNASKED),
        ([asked(change="v1", verdict="stop", at=-300), asked("D-2", at=-60)], Bypass.STOPPED),
        ([asked(change=sha(7)[:12])], Bypass.UNASKED),
    ],
)
def test_the_decision_is_the_newest_for_the_change_or_else_for_any(
    decisions: list[Asked], found: Bypass | None
) -> None:
    told = bypass_of(deployment(), decisions)
    assert (told[0] if told else None) == found


def test_a_change_is_known_by_its_commit_even_a_short_one() -> None:
    one = deployment(revision="0b31b1c02ff458ad9b7b81cbdf8f028bd54699fa")
    assert decision_of(one, [asked(change="0b31b1c")]) is not None
    assert decision_of(one, [asked(change="0b31b1d")]) is None
    assert decision_of(deployment(change="PR-7"), [asked(change="PR-7")]) is not None


def test_the_decision_that_a_deployment_names_counts_and_no_other() -> None:
    named = deployment(decision="D-2")
    assert bypass_of(named, [asked(), asked("D-2", "stop")]) == (Bypass.STOPPED, asked("D-2", "stop"))
    assert bypass_of(named, [asked("D-2", change="other")]) is None
    assert bypass_of(named, [asked()]) == (Bypass.UNASKED, None)
    assert "there is no decision D-2" in finding_of(named, Bypass.UNASKED, None, NOON).says


@given(st.lists(st.builds(asked, verdict=st.sampled_from(["go", "stop", "wait"]), at=st.integers(-3000, 3000))))
def test_a_rollback_is_never_a_finding(decisions: list[Asked]) -> None:
    assert bypass_of(deployment(rollback=True), decisions) is None


@given(
    st.lists(
        st.builds(
            asked,
            st.sampled_from(["D-1", "D-2", "D-3"]),
            st.sampled_from(["go", "stop"]),
            st.integers(-3000, 100),
            change=st.sampled_from(["", "v1", "v2"]),
        ),
        max_size=5,
    ),
    st.randoms(use_true_random=False),
)
def test_the_order_of_decisions_does_not_matter(decisions: list[Asked], random: object) -> None:
    shuffled = list(decisions)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    one, other = (bypass_of(deployment(), each) for each in (decisions, shuffled))
    assert (one and one[0]) == (other and other[0]) or len({(d.decided_at, d.id) for d in decisions}) < len(decisions)


# --- kept ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def here(store: str) -> Iterator[Shop]:
    with shop(store) as found:
        found.specs = read(SLO, SOURCE)
        yield found


def kinds(here: Shop) -> list[str]:
    return [one.bypass.value for one in here.deliveries.findings.listed(open_only=True)]


def test_production_of_a_service_with_a_promise_is_gated_and_elsewhere_what_was_asked_about(here: Shop) -> None:
    here.deliveries.record(report("1", 0))
    assert kinds(here) == ["no-decision"]
    here.deliveries.record(report("2", 0, environment="staging"))
    here.deliveries.record(report("3", 0, service="nobody"))
    assert kinds(here) == ["no-decision"]
    here.decided("D-1", environment="staging", change="v9")
    here.deliveries.record(report("4", 10, environment="staging"))
    assert kinds(here) == ["no-decision", "no-decision"]
    assert "dev.tightrope.finding.opened.v1" in here.kinds()


def test_what_went_out_before_the_journal_began_is_no_finding(here: Shop) -> None:
    here.decided("D-1", change="v9")
    here.deliveries.record(report("1", -DAY_S))
    assert kinds(here) == []
    here.deliveries.record(report("2", 60))
    assert kinds(here) == ["no-decision"]


def test_a_service_that_went_out_with_others_and_was_not_changed_is_no_finding(here: Shop) -> None:
    here.specs = replace(here.specs, mapped=(Mapped("checkout", REPOSITORY, paths=("shop/",)),))
    line = [commit(1, files=("shop/a",)), commit(2, "feat: x", files=("desk/a",)), commit(3, files=("shop/b",))]
    here.deliveries.record_commits(REPOSITORY, line)
    here.decided("D-1")
    here.deliveries.record(report("1", 0, version="", revision=sha(1)))
    assert here.deliveries.concerns("checkout", "production", sha(3))
    assert not here.deliveries.concerns("checkout", "production", sha(2))
    assert here.deliveries.concerns("checkout", "production", sha(1)), "the same again is a deployment"
    assert here.deliveries.concerns("checkout", "production", sha(7)), "nobody knows it"
    assert here.deliveries.concerns("checkout", "staging", sha(2)), "nothing is live there"
    assert here.deliveries.record(report("2", 2 * DAY_S, version="", revision=sha(2))).untouched
    assert kinds(here) == []
    here.deliveries.record(report("3", 2 * DAY_S + 60, version="", revision=sha(3)))
    assert kinds(here) == ["decision-expired"]


def test_a_finding_is_opened_once_with_its_deployment_and_closed_for_a_reason(here: Shop) -> None:
    here.decided("D-1", "stop")
    here.deliveries.record(report("1", 0, STARTED))
    here.deliveries.record(report("1", 30))
    here.deliveries.record(report("1", 30))
    (one,) = here.deliveries.findings.listed()
    assert (one.bypass, one.decision, one.open) == (Bypass.STOPPED, "D-1", True)
    assert one.says == "checkout v1 went to production although the gate had said stop (D-1)"
    with pytest.raises(UsageError, match="for a reason"):
        here.deliveries.findings.close(one.id, by="ann", reason=" ")
    closed = here.deliveries.findings.close(one.id, by="ann", reason="agreed by phone")
    assert (closed.closed_by, closed.reason, closed.closed_at) == ("ann", "agreed by phone", NOON)
    with pytest.raises(ConflictError, match="closed by ann"):
        here.deliveries.findings.close(one.id, by="ben", reason="x")
    with pytest.raises(NotFoundError):
        here.deliveries.findings.close("F-0", by="ben", reason="x")
    here.deliveries.record(report("1", 40, url="https://ci/1"))
    assert (kinds(here), here.deliveries.findings.named(one.id)) == ([], closed)
    told = [kind for kind in here.kinds() if ".finding." in kind]
    assert told == ["dev.tightrope.finding.opened.v1", "dev.tightrope.finding.closed.v1"]


def test_a_decision_that_is_named_later_closes_the_finding(here: Shop) -> None:
    here.decided("D-1", change="PR-7")
    here.deliveries.record(report("1", 0))
    assert kinds(here) == ["no-decision"]
    here.deliveries.record(report("1", 30, decision="D-1"))
    (one,) = here.deliveries.findings.listed()
    assert (one.open, one.closed_by) == (False, CLEARED_BY)


def test_what_turns_out_to_be_a_rollback_is_no_finding_any_more(here: Shop) -> None:
    here.deliveries.record(report("3", 60, version="v1"))
    assert kinds(here) == ["no-decision"]
    here.decided("D-1", change="v2", at=-60)
    here.deliveries.record(report("2", 30, version="v2"))
    assert kinds(here) == []
    assert [one.reason for one in here.deliveries.findings.listed()] == ["it was a rollback"]


def test_a_deployment_that_failed_went_past_the_gate_as_well(here: Shop) -> None:
    here.deliveries.record(report("1", 0, FAILED))
    assert kinds(here) == ["no-decision"]


def test_an_old_deployment_that_is_told_afterwards_is_no_surprise(here: Shop) -> None:
    here.deliveries.record(report("1", -8 * 86400))
    assert kinds(here) == []


def test_no_finding_is_there_without_its_deployment(here: Shop) -> None:
    wrong = replace(report("2", 0), service=" ")
    with pytest.raises(UsageError):
        here.deliveries.record_all([report("1", 0), wrong])
    assert (kinds(here), here.deliveries.deployments()) == ([], [])


def test_findings_are_narrowed_and_paged(here: Shop) -> None:
    for number in range(3):
        here.clock[0] = NOON + number
        here.deliveries.record(report(str(number), number))
    newest, middle, oldest = here.deliveries.findings.listed()
    assert [newest.opened_at, oldest.opened_at] == [NOON + 2, NOON]
    assert here.deliveries.findings.listed(before=(newest.opened_at, newest.id), limit=1) == [middle]
    assert here.deliveries.findings.listed(service="search") == []


def test_a_decision_of_the_gate_itself_is_found(here: Shop) -> None:
    """Not a short stand-in: what the decision book really writes."""
    request = GateRequest("checkout", NOON - 60, change="v1")
    facts = GateFacts(DEFAULT_POLICY, ())
    decision = decide(request, facts)
    book = DecisionBook(here.database, lambda: NOON - 60)
    try:
        book.keep(decision, facts)
    finally:
        book.close()
    here.deliveries.record(report("1", 0))
    assert kinds(here) == []
    assert decision.verdict == "go"
