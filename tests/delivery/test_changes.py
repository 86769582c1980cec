"""Deployments as values: accounts that no order of reports changes, and what follows from them."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.delivery.worlds import NOON, commit, report, sha
from tightrope.base.errors import UsageError
from tightrope.delivery.changes import (
    Account,
    Around,
    DeploymentReport,
    DeploymentState,
    Lived,
    Recorded,
    account_of,
    called,
    deployment_of,
    is_older,
    kind_of_commits,
    touched,
)
from tightrope.delivery.history import History
from tightrope.specs.model import ChangeKind

STARTED, SUCCEEDED, FAILED = DeploymentState

reports = st.builds(
    report,
    st.just("7"),
    st.integers(0, 5),
    st.sampled_from(DeploymentState),
    version=st.sampled_from(["", "v1", "v2"]),
    revision=st.sampled_from(["abc1234", "def5678"]),
    by=st.sampled_from(["", "ann", "ben"]),
    rollback=st.sampled_from([None, True, False]),
    kind=st.sampled_from([None, *ChangeKind]),
    decision=st.sampled_from(["", "D-1"]),
)


def together(told: list[DeploymentReport]) -> Account:
    first, *rest = map(account_of, told)
    for one in rest:
        first = first.merged(one)
    return first


@given(st.lists(reports, min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_neither_order_nor_repetition_of_reports_matters(told: list[DeploymentReport], random: object) -> None:
    shuffled = [*told, *told[:2]]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert together(shuffled) == together(told)


@given(st.lists(reports, min_size=3, max_size=3))
def test_accounts_may_be_merged_in_any_grouping(told: list[DeploymentReport]) -> None:
    one, two, three = map(account_of, told)
    assert one.merged(two).merged(three) == one.merged(two.merged(three))
    assert one.merged(one) == one


commits = st.builds(
    Recorded,
    st.just(sha(1)),
    st.sampled_from(["", "fix: a", "feat: bb"]),
    st.sampled_from(["", "ann", "Ann Lee"]),
    st.integers(1, 3),
    st.sampled_from([None, 1, 2]),
    parents=st.lists(st.sampled_from([sha(2), sha(3)]), max_size=1).map(tuple),
    files=st.lists(st.sampled_from(["a", "b"]), unique=True, max_size=2).map(lambda one: tuple(sorted(one))),
)
exact = st.builds(replace, commits, parents=st.just((sha(9), sha(8))), exact=st.just(True))


@given(st.lists(st.one_of(commits, exact), min_size=2, max_size=5))
def test_a_commit_is_the_same_in_whatever_order_it_is_told_of(told: list[Recorded]) -> None:
    def all_of(some: list[Recorded]) -> Recorded:
        first = some[0]
        for one in some[1:]:
            first = first.merged(one)
        return first

    assert len({all_of(list(order)) for order in permutations(told)}) == 1
    assert all_of([*told, told[0]]) == all_of(told)


def test_the_latest_report_by_its_own_time_wins_and_the_first_end_counts() -> None:
    told = [
        report("1", 90, SUCCEEDED, version="v1"),
        report("1", 10, STARTED, version="v1", by="ann"),
        report("1", 60, SUCCEEDED, version="v1", by="ben"),
        report("1", 40, FAILED, version="v1"),
    ]
    account = together(told)
    assert (account.state, account.started_at, account.finished_at) == (SUCCEEDED, NOON + 10, NOON + 60)
    assert account.fact("by") == "ben"
    assert together([*told, report("1", 95, STARTED)]).finished_at is None


def test_states_without_end_are_cut_to_the_first_and_the_newest() -> None:
    many = [account_of(report("1", at, (STARTED, FAILED)[at % 2])) for at in range(300)]
    forwards, backwards = many[0], many[-1]
    for one in many:
        forwards = forwards.merged(one)
    for one in reversed(many):
        backwards = backwards.merged(one)
    assert forwards.states == backwards.states
    assert (len(forwards.states), forwards.started_at, forwards.state) == (100, NOON, FAILED)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"version": "", "revision": ""}, "what was deployed"),
        ({"service": " "}, "without service"),
        ({"started_at": NOON + 500}, "began after"),
    ],
)
def test_a_report_that_says_too_little_is_refused(more: dict[str, object], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        replace(report("1", 0), **more).checked()  # type: ignore[arg-type]


# --- versions ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ("v1", "v2"),
        ("1.9.3", "1.10.0"),
        ("v1.2", "1.2.1"),
        ("release_9", "release_10"),
        ("1.0.0-alpha", "1.0.0-alpha.1"),
        ("1.0.0-alpha.1", "1.0.0-beta"),
        ("1.0.0-beta.2", "1.0.0-beta.11"),
        ("1.0.0-rc.1", "1.0.0"),
        ("2024.12.1", "2025.1.0"),
        ("1.0.0+5", "1.0.1+1"),
    ],
)
def test_versions_are_ordered_by_their_numbers(older: str, newer: str) -> None:
    assert (is_older(older, newer), is_older(newer, older)) == (True, False)
    assert (is_older(older, older), is_older(newer, newer)) == (False, False)


@pytest.mark.parametrize(
    ("one", "other"),
    [("main", "v1"), ("v1", ""), ("a1", "b2"), ("8f0b1c2d", "9a7c"), ("v12", "12abc34"), ("v1.2.3.4.5.6.7", "v1")],
)
def test_names_without_an_order_are_not_compared(one: str, other: str) -> None:
    assert is_older(one, other) is None


# --- history -------------------------------------------------------------------------------------------------------


def chain(*numbers: int, gap: int = 0) -> History:
    """A line of commits, each on the one before; behind *gap* nothing is known."""
    parents = {sha(one): (sha(one - 1),) if one > 1 else () for one in numbers}
    return History({name: each for name, each in parents.items() if name != sha(gap)})


def test_a_range_holds_what_is_in_the_one_and_not_in_the_other() -> None:
    history = chain(*range(1, 8))
    found = history.carried(sha(4), sha(7))
    assert found is not None
    assert (found.shas, found.complete) == ((sha(7), sha(6), sha(5)), True)
    assert history.carried(sha(7), sha(7)) is not None
    assert history.carried(sha(99), sha(7)) is None
    assert history.carried(sha(4), sha(99)) is None


def test_a_branch_that_was_merged_later_belongs_to_the_range() -> None:
    history = History(
        {
            sha(1): (),
            sha(2): (sha(1),),
            sha(3): (sha(2),),
            sha(10): (sha(1),),
            sha(11): (sha(10),),
            sha(12): (sha(3), sha(11)),
        }
    )
    found = history.carried(sha(3), sha(12))
    assert found is not None
    assert (set(found.shas), found.complete) == ({sha(12), sha(10), sha(11)}, True)


def test_a_gap_makes_a_range_incomplete_and_an_unknown_end_makes_it_unknown() -> None:
    history = History({sha(5): (sha(4),), sha(4): (sha(3), sha(30)), sha(3): (sha(2),)})
    found = history.carried(sha(3), sha(5))
    assert found is not None
    assert (found.shas, found.complete) == ((sha(5), sha(4)), False)
    assert chain(5, 6, 7).carried(sha(2), sha(7)) is None
    named = chain(5, 6, 7).carried(sha(4), sha(7))
    assert named is not None
    assert named.complete


def test_whether_a_commit_is_older_is_known_or_not_known() -> None:
    history = chain(3, 4, 5)
    assert history.is_ancestor(sha(3), sha(5)) is True
    assert history.is_ancestor(sha(2), sha(5)) is True
    assert history.is_ancestor(sha(1), sha(5)) is None
    assert chain(1, 2, 3).is_ancestor(sha(3), sha(1)) is False


@given(st.integers(2, 30), st.data())
def test_what_a_range_carries_is_what_plain_sets_say(count: int, data: st.DataObject) -> None:
    parents = {
        sha(one): tuple(
            sha(each)
            for each in data.draw(st.lists(st.integers(0, one - 1), max_size=2, unique=True) if one else st.just([]))
        )
        for one in range(count)
    }
    history = History(parents)

    def past(name: str) -> set[str]:
        return {name}.union(*(past(each) for each in parents[name]))

    one, other = (sha(data.draw(st.integers(0, count - 1))) for _ in range(2))
    found = history.carried(one, other)
    assert found is not None
    assert (set(found.shas), found.complete) == (past(other) - past(one), True)
    assert history.is_ancestor(one, other) is (one in past(other))


# --- what follows --------------------------------------------------------------------------------------------------


def worked_out(told: DeploymentReport, *messages: str, previous: Lived | None = None, **more: object):  # type: ignore[no-untyped-def]
    """A deployment of commits with *messages*, the oldest first, on commit 0."""
    recorded = {sha(number): commit(number, text) for number, text in enumerate(messages, 1)}
    history = History({name: one.parents for name, one in recorded.items()})
    if messages:
        told = replace(told, revision=sha(len(messages)), previous=sha(0))
    around = Around(previous=previous, history=history, commits=recorded, **more)  # type: ignore[arg-type]
    return deployment_of(account_of(told), around)


def test_a_release_is_as_feature_like_as_its_most_feature_like_commit() -> None:
    found = worked_out(report("1", 0), "fix: a", "feat(cart): b", "docs: c")
    assert (found.kind, found.kind_from) == (ChangeKind.FEATURE, "conventional commit")
    assert [one.sha for one in found.commits] == [sha(3), sha(2), sha(1)]
    assert worked_out(report("1", 0), "fix: a", "docs: c").kind is ChangeKind.RELIABILITY
    assert worked_out(report("1", 0), "docs: c").kind is ChangeKind.CONFIG
    assert worked_out(report("1", 0), 'Revert "feat: x"').kind is ChangeKind.ROLLBACK


def test_labels_of_a_merged_change_speak_for_its_commit() -> None:
    labels = {sha(1): ("security",)}
    assert worked_out(report("1", 0), "Bump lib", labels=labels).kind is ChangeKind.SECURITY
    assert worked_out(report("1", 0), "Bump lib").kind is ChangeKind.FEATURE


def test_what_the_sender_says_counts_before_commits() -> None:
    told = report("1", 0, kind=ChangeKind.EMERGENCY)
    found = worked_out(told, "feat: a")
    assert (found.kind, found.kind_from) == (ChangeKind.EMERGENCY, "given")


def test_missing_commits_count_as_features_and_that_is_said() -> None:
    told = replace(report("1", 0), revision=sha(5), previous=sha(3))
    history = History({sha(5): (sha(4),), sha(4): (sha(3), sha(30)), sha(3): (sha(2),)})
    known = {sha(5): commit(5, "fix: a"), sha(4): commit(4, "fix: b")}
    found = deployment_of(account_of(told), Around(history=history, commits=known))
    assert (found.kind, found.kind_from, found.complete) == (
        ChangeKind.FEATURE,
        "default: not all commits are known",
        False,
    )
    nothing = deployment_of(account_of(report("1", 0)), Around())
    assert (nothing.kind, nothing.kind_from) == (ChangeKind.FEATURE, "default: no commit is known")


@pytest.mark.parametrize(
    ("version", "revision", "artifact", "told"),
    [
        ("v1.4.2", sha(7), "", "v1.4.2"),
        (sha(7), sha(7), "", sha(7)[:12]),
        ("20261126123000", "", "", "20261126123000"),
        ("", sha(7), "", sha(7)[:12]),
        ("", "", "acme/shop@sha256:12", "acme/shop@sha256:12"),
    ],
)
def test_what_was_deployed_has_a_short_name(version: str, revision: str, artifact: str, told: str) -> None:
    assert called(version, revision, artifact) == told


def test_commits_of_other_parts_of_a_repository_are_none_of_the_services() -> None:
    recorded = {
        sha(1): commit(1, "feat: shop", files=("shop/a.py",)),
        sha(2): commit(2, "feat: desk", files=("desk/b.py",)),
        sha(3): commit(3, "fix: all", files=("desk/c.py", "shop/d.py")),
        sha(4): commit(4, "fix: unknown"),
    }
    history = History({name: one.parents for name, one in recorded.items()})
    told = replace(report("1", 0), revision=sha(4), previous=sha(0))
    found = deployment_of(account_of(told), Around(history=history, commits=recorded, paths=("shop/",)))
    assert [one.title for one in found.commits] == ["fix: unknown", "fix: all", "feat: shop"]
    none = deployment_of(
        account_of(replace(told, revision=sha(2), previous=sha(1))),
        Around(history=history, commits=recorded, paths=("shop",)),
    )
    assert (none.commits, none.kind) == ((), ChangeKind.CONFIG)


def test_a_merge_is_none_of_a_services_where_its_paths_matter_and_it_changes_no_file() -> None:
    merge = commit(4, "Merge branch f", parents=(2, 3), exact=True)
    assert merge.touches(())
    assert not merge.touches(("shop/",))
    assert replace(merge, files=("shop/a.py",)).touches(("shop/",)), "a conflict was solved in it"
    assert replace(merge, exact=False).touches(("shop/",)), "two pushes told of it, and its parents are guesses"
    assert commit(5, "chore: build again", exact=True).touches(("shop/",)), "an empty commit is for all"


@pytest.mark.parametrize(
    ("told", "previous", "first_at", "rollback"),
    [
        (report("1", 0, version="v1"), Lived("v2", "", "", 5), None, True),
        (report("1", 0, version="v3"), Lived("v2", "", "", 5), 1, False),
        (report("1", 0, version="v2"), Lived("v2", "", "", 5), 5, False),
        (report("1", 0, version="v1", rollback=False), Lived("v2", "", "", 5), None, False),
        (report("1", 0, version="v3", rollback=True), Lived("v2", "", "", 5), None, True),
        (report("1", 0, version="main-a"), Lived("main-b", "", "", 5), 1, True),
        (report("1", 0, version="main-a"), Lived("main-b", "", "", 5), 9, False),
        (report("1", 0, version="main-a"), Lived("main-b", "", "", 5), None, False),
        (report("1", 0, version="v1", previous="v2"), None, None, True),
        (report("1", 0, version="v1"), None, None, False),
    ],
)
def test_a_rollback_is_told_by_the_sender_by_numbers_or_by_what_was_live_before(
    told: DeploymentReport, previous: Lived | None, first_at: int | None, rollback: bool
) -> None:
    found = deployment_of(account_of(told), Around(previous=previous, first_at=first_at))
    assert (found.rollback, bool(found.because), found.kind is ChangeKind.ROLLBACK) == (rollback, rollback, rollback)


def test_git_knows_a_rollback_better_than_numbers_do() -> None:
    back = report("1", 0, version="v3", revision=sha(2))
    found = deployment_of(account_of(back), Around(previous=Lived("v2", sha(4), "", 5), history=chain(1, 2, 3, 4)))
    assert found.rollback
    assert found.because == f"{sha(2)[:12]} is in the past of {sha(4)[:12]}, which was live"
    assert found.commits == ()
    on = report("1", 0, version="v1", revision=sha(4))
    assert not deployment_of(
        account_of(on), Around(previous=Lived("v2", sha(2), "", 5), history=chain(1, 2, 3, 4))
    ).rollback


def test_silent_commits_leave_the_word_to_others_unless_they_are_alone() -> None:
    silent, spoken = commit(1, "docs: a").commit(), commit(2, "perf: b").commit()
    assert kind_of_commits([silent, spoken]).kind is ChangeKind.RELIABILITY
    assert kind_of_commits([silent]).kind is ChangeKind.CONFIG
    assert kind_of_commits([]).source == "default: no commit is known"


def test_only_what_may_come_out_otherwise_is_looked_at_again() -> None:
    def at(hour: int, version: str, state: DeploymentState = DeploymentState.SUCCEEDED) -> Account:
        told = DeploymentReport("ci", f"{hour}", "checkout", "production", hour * 3600, state, version=version)
        return account_of(told)

    later = [at(2, "v2", DeploymentState.FAILED), at(3, "v3"), at(4, "v4"), at(5, "v1"), at(6, "v6"), at(7, "v7")]
    names = [one.external for one in touched(at(1, "v1"), None, later)]
    assert names == ["2", "3", "5", "6"], "up to what went live next; the same thing again, and what replaced that"
    moved = account_of(DeploymentReport("ci", "0", "checkout", "production", 0, DeploymentState.STARTED, version="v0"))
    ended = moved.merged(replace(moved, states=((5 * 3600 + 60, DeploymentState.SUCCEEDED),)))
    assert [one.external for one in touched(ended, moved, [at(1, "v1"), *later])] == ["1", "6"]
