"""Deployments recorded: in any order the same in the end, with their commits, on both databases."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import count

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.delivery.worlds import NOON, REPOSITORY, Shop, commit, essence, report, sha, shop
from tightrope.base.errors import NotFoundError, UsageError
from tightrope.delivery.cdevents import read_event
from tightrope.delivery.changes import Deployment, DeploymentReport, DeploymentState, Recorded
from tightrope.delivery.facts import Merged
from tightrope.delivery.usecases import named
from tightrope.loop.telling import changed_lately
from tightrope.specs.model import ChangeKind, Mapped, Specs

STARTED, SUCCEEDED, FAILED = DeploymentState


@pytest.fixture
def here(store: str) -> Iterator[Shop]:
    with shop(store) as found:
        yield found


def test_a_deployment_is_recorded_and_told_in_the_journal(here: Shop) -> None:
    made = here.deliveries.record(report("1", 0, STARTED, by="ann"))
    assert (made.state, made.service, made.by, made.finished_at) == (STARTED, "checkout", "ann", None)
    done = here.deliveries.record(report("1", 60, url="https://ci/1"))
    assert (done.id, done.state, done.started_at, done.finished_at) == (made.id, SUCCEEDED, NOON, NOON + 60)
    assert here.deliveries.deployment(made.id) == done
    assert here.deliveries.live("checkout") == done
    here.deliveries.record(report("2", 120))
    here.deliveries.record(report("3", 180, FAILED))
    back = here.deliveries.record(report("4", 240, version="v1"))
    assert (back.rollback, back.kind, back.previous_version) == (True, ChangeKind.ROLLBACK, "v2")
    assert here.kinds() == [
        "dev.cdevents.environment.created.0.3.0",
        "dev.tightrope.deployment.started.v1",
        "dev.cdevents.service.deployed.0.3.0",
        "dev.cdevents.service.upgraded.0.3.0",
        "dev.tightrope.deployment.failed.v1",
        "dev.cdevents.service.rolledback.0.3.0",
    ]
    (last,) = here.journal.read(kind="dev.cdevents.service.rolledback.0.3.0")
    event = read_event(last.event.data)
    assert (event.subject, event.text("environment", "id"), event.text("artifactId")) == (
        "checkout",
        "production",
        "pkg:generic/checkout@v1",
    )
    assert event.custom["because"] == "version v1 is below v2, which was live"
    assert not here.journal.verify().broken


def test_commits_are_told_in_the_journal_once(here: Shop) -> None:
    line = [commit(number, f"fix: {number}") for number in range(1, 71)]
    for some in (line, line, line[:3]):
        here.deliveries.record_commits(REPOSITORY, some)
    (entry,) = here.journal.read(kind="dev.tightrope.commits.recorded.v1")
    told = entry.event.data
    assert (told["count"], len(told["commits"]), told["commits"][0]["title"]) == (70, 50, "fix: 70")
    assert (entry.event.subject, entry.event.time) == (REPOSITORY, line[-1].committed_at)
    here.specs = Specs(services={"checkout": ""}, mapped=(Mapped("checkout", "acme/shop"),))
    here.deliveries.record_commits(REPOSITORY, [commit(71)])
    assert [one.event.subject for one in here.journal.read(kind="dev.tightrope.commits.recorded.v1")][-1] == "checkout"


def test_the_same_again_changes_nothing(here: Shop) -> None:
    told = report("1", 0, commits=(commit(1),), repository=REPOSITORY, revision=sha(1))
    first = here.deliveries.record(told)
    before = here.kinds()
    assert here.deliveries.record(told) == first
    assert here.kinds() == before
    assert len(here.deliveries.deployments()) == 1


def test_what_is_told_later_of_earlier_deployments_changes_what_followed(here: Shop) -> None:
    late = here.deliveries.record(report("3", 300))
    assert late.previous_version == ""
    here.deliveries.record(report("2", 200))
    after = here.deliveries.deployment(late.id)
    assert (after.previous_version, after.rollback) == ("v2", False)
    here.deliveries.record(report("x", 250, version="v9"))
    last = here.deliveries.deployment(late.id)
    assert (last.previous_version, last.rollback) == ("v9", True)
    assert here.kinds()[-2:] == ["dev.cdevents.service.upgraded.0.3.0", "dev.tightrope.deployment.updated.v1"]


def test_commits_that_are_told_after_the_deployment_are_found_all_the_same(here: Shop) -> None:
    here.deliveries.record(report("1", 0, revision=sha(2), repository=REPOSITORY))
    made = here.deliveries.record(report("2", 60, revision=sha(4), repository="acme/shop"))
    assert (made.commits, made.complete, made.kind_from) == ((), False, "default: no commit is known")
    new = here.deliveries.record_commits(
        f"https://{REPOSITORY}.git", [commit(2), commit(3, "fix: a\n\nbody"), commit(4, "perf: b")]
    )
    found = here.deliveries.deployment(made.id)
    assert new == 3
    assert ([one.title for one in found.commits], found.kind, found.complete) == (
        ["perf: b", "fix: a"],
        ChangeKind.RELIABILITY,
        True,
    )
    assert here.deliveries.record_commits(REPOSITORY, [commit(3, "fix: a\n\nbody")]) == 0


def test_a_short_name_of_a_commit_means_the_whole(here: Shop) -> None:
    names = [f"{letter * 7}{'0' * 33}" for letter in "abc"]
    line = [
        Recorded(name, "fix: it", "Ann", NOON - 100 + number, parents=tuple(names[:number][-1:]))
        for number, name in enumerate(names)
    ]
    here.deliveries.record_commits(REPOSITORY, line)
    here.deliveries.record(report("1", 0, revision="AAAAAAA", repository=REPOSITORY))
    made = here.deliveries.record(report("2", 10, revision="ccccccc", repository=REPOSITORY))
    assert (made.revision, made.previous) == (names[2], names[0])
    assert [one.sha for one in made.commits] == [names[2], names[1]]


@pytest.mark.parametrize("more", [(), (Mapped("checkout", app="checkout"), Mapped("checkout", artifact="acme/shop"))])
def test_the_repository_of_a_service_is_found_by_the_map(here: Shop, more: tuple[Mapped, ...]) -> None:
    here.specs = Specs(mapped=(Mapped("checkout", "acme/shop", paths=("shop/",)), *more))
    here.deliveries.record(report("1", 0, revision=sha(1)))
    made = here.deliveries.record(report("2", 60, revision=sha(3)))
    line = [commit(1), commit(2, "feat: x", files=("desk/a",)), commit(3, "fix: y", files=("shop/b",))]
    here.deliveries.record_commits(REPOSITORY, line)
    found = here.deliveries.deployment(made.id)
    assert ([one.title for one in found.commits], found.repository) == (["fix: y"], REPOSITORY)


def test_a_long_history_is_read_as_far_as_it_is_needed(here: Shop) -> None:
    here.deliveries.record_commits(REPOSITORY, [commit(number, f"fix: {number}") for number in range(1, 801)])
    here.deliveries.record(report("1", 0, revision=sha(300), repository=REPOSITORY))
    made = here.deliveries.record(report("2", 60, revision=sha(790), repository=REPOSITORY))
    assert (len(made.commits), made.complete, made.rollback) == (490, True, False)
    back = here.deliveries.record(report("3", 90, revision=sha(10), repository=REPOSITORY))
    assert (back.rollback, back.commits) == (True, ())


def test_changes_are_listed_with_where_they_went(here: Shop) -> None:
    here.deliveries.record_commits(REPOSITORY, [commit(1), commit(2, "fix: a"), commit(3, "fix: b")])
    here.deliveries.record(report("1", 0, revision=sha(1), repository=REPOSITORY))
    made = here.deliveries.record(report("2", 60, revision=sha(2), repository=REPOSITORY))
    found = here.deliveries.changes(repository="acme/shop")
    assert [one.commit.sha for one in found] == [sha(3), sha(2), sha(1)]
    assert [[each.id for each in one.deployments] for one in found] == [[], [made.id], []]
    assert found[1].document()["deployments"][0]["environment"] == "production"
    assert here.deliveries.changes(repository="acme/shop", limit=1) == found[:1]
    place = (found[0].commit.committed_at, found[0].commit.sha)
    assert here.deliveries.changes(before=place) == found[1:]


def test_lists_are_narrowed_and_paged(here: Shop) -> None:
    for number in range(5):
        here.deliveries.record(report(str(number), number * 10))
    here.deliveries.record(report("9", 5, environment="staging"))
    found = here.deliveries.deployments("checkout", "production")
    assert [one.external for one in found] == ["4", "3", "2", "1", "0"]
    last = found[1]
    assert here.deliveries.deployments("checkout", "production", before=(last.at, last.id)) == found[2:]
    assert here.deliveries.deployments(since=NOON + 30) == found[:2]
    assert here.deliveries.deployments(state="failed") == []
    assert [one.external for one in here.deliveries.recent("checkout", NOON + 20)] == ["2", "3", "4"]
    assert here.deliveries.live("checkout", "elsewhere") is None
    with pytest.raises(NotFoundError, match="no deployment 'none'"):
        here.deliveries.deployment("none")


def test_a_report_without_a_name_means_the_deployment_that_goes_on(here: Shop) -> None:
    def tell_unnamed(at: int, state: DeploymentState) -> Deployment:
        told = replace(report("", at, state), version="v7")
        return here.deliveries.record(named(here.deliveries, told))

    started, ended = tell_unnamed(0, STARTED), tell_unnamed(30, SUCCEEDED)
    assert (started.external, ended.id) == (f"v7@{NOON}", started.id)
    assert tell_unnamed(90, SUCCEEDED).id != started.id


def test_nothing_is_kept_of_many_reports_of_which_one_is_wrong(here: Shop) -> None:
    with pytest.raises(UsageError):
        here.deliveries.record_all([report("1", 0), replace(report("2", 10), service="")])
    assert here.deliveries.deployments() == []


# --- order never matters -------------------------------------------------------------------------------------------

_worlds = count()
_versions = st.sampled_from(["v1", "v2", "v3", "main-a", "main-b"])


@st.composite
def tellings(draw: st.DrawFn) -> list[object]:
    """Reports of a few deployments and pushes of a line of commits, in the order of time."""
    told: list[object] = []
    for name in range(draw(st.integers(1, 4))):
        revision = draw(st.sampled_from(["", *(sha(number) for number in range(1, 6))]))
        version = draw(_versions)
        for state in draw(st.lists(st.sampled_from(DeploymentState), min_size=1, max_size=2)):
            at = (
                draw(st.integers(0, 40)) * 10 + name
            )  # of two at one instant the id decides, which each world has its own
            told.append(report(str(name), at, state, version=version, revision=revision, repository=REPOSITORY))
    messages = st.sampled_from(["fix: a", "feat: b", "docs: c"])
    told += [[commit(number, draw(messages))] for number in draw(st.lists(st.integers(1, 5), unique=True))]
    return told


def tell(here: Shop, told: Sequence[object], world: str) -> None:
    """Tell all in one transaction, which is quicker, and no other than one each."""
    deliveries, repository = here.deliveries, f"{REPOSITORY}/{world}"
    with here.database.writing() as connection:
        for one in told:
            if isinstance(one, DeploymentReport):
                deliveries.record_in(connection, replace(one, service=world, repository=repository))
            else:
                assert isinstance(one, list)
                deliveries.commits_in(connection, repository, one)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with shop(str(tmp_path_factory.mktemp("order"))) as found:
        yield found


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(told=tellings(), random=st.randoms(use_true_random=False))
def test_in_whatever_order_and_however_often_it_is_told_the_end_is_the_same(
    told: list[object], random: object, many: Shop
) -> None:
    ends = []
    shuffled = [*told, *told[:3]]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    for order in (told, shuffled):
        world = f"world-{next(_worlds)}"
        tell(many, order, world)
        known = sorted(many.deliveries.deployments(world), key=lambda one: (one.at, one.external))
        changes = many.deliveries.changes(repository=f"{REPOSITORY}/{world}")
        ends.append(([essence(one) for one in known], sorted(one.commit.sha for one in changes)))
    assert ends[0] == ends[1]


def test_git_denies_later_what_numbers_of_versions_said(here: Shop) -> None:
    here.deliveries.record(report("1", 0, version="v2", revision=sha(3), repository=REPOSITORY))
    here.deliveries.record(report("2", 60, version="v1", revision=sha(4), repository=REPOSITORY))
    assert [one.rollback for one in here.deliveries.deployments("checkout")] == [True, False]
    here.deliveries.record_commits(REPOSITORY, [commit(3), commit(4, "fix: a")])
    newest = here.deliveries.deployments("checkout")[0]
    assert (newest.rollback, newest.kind, [one.sha for one in newest.commits]) == (
        False,
        ChangeKind.RELIABILITY,
        [sha(4)],
    )


def test_a_merged_change_gives_its_labels_to_the_commit(here: Shop) -> None:
    one = Merged(REPOSITORY, "7", "Bump", sha(2), NOON, labels=("bug",))
    more = replace(one, labels=("bug", "security"))
    assert one.merged(more) == more.merged(one) == more


def test_the_kind_of_a_change_is_known_before_it_is_deployed(here: Shop) -> None:
    here.specs = Specs(mapped=(Mapped("checkout", "acme/shop"),))
    ask = here.deliveries.kind_of
    assert ask("checkout", "production", sha(4)) is None
    here.deliveries.record_commits(
        REPOSITORY, [commit(1), commit(2, "fix: a"), commit(3, "perf: b"), commit(4, "feat: c"), commit(5)]
    )
    here.deliveries.record(report("0", -100, version="v0", revision=sha(1)))
    here.deliveries.record(report("1", -10, version="v1", revision=sha(2)))

    def kind(change: str) -> ChangeKind | None:
        found = ask("checkout", "production", change)
        return None if found is None else found.kind

    assert (kind(sha(3)), kind(sha(4))) == (ChangeKind.RELIABILITY, ChangeKind.FEATURE)
    assert (kind(sha(1)), kind("v0")) == (ChangeKind.ROLLBACK, ChangeKind.ROLLBACK)
    assert (kind(sha(2)), kind("v1"), kind("v9"), kind(sha(99))) == (None, None, None, None)
    assert kind("v0.9") is None, "a lower number that was never live passes no gate"
    found = ask("checkout", "production", sha(3))
    assert found is not None
    assert found.source == "1 commit since v1: conventional commit"


def test_changes_of_a_service_are_those_of_its_repository(here: Shop) -> None:
    here.deliveries.record(report("1", 0, revision=sha(1), repository=REPOSITORY), [commit(1)])
    here.deliveries.record_commits("github.com/acme/other", [commit(9)])
    assert [one.commit.sha for one in here.deliveries.changes(service="checkout")] == [sha(1)]
    assert here.deliveries.changes(service="search") == []
    here.specs = Specs(mapped=(Mapped("search", "acme/other"),))
    assert [one.commit.sha for one in here.deliveries.changes(service="search")] == [sha(9)]


def test_a_message_about_an_alert_tells_what_was_deployed_before(here: Shop) -> None:
    line = tuple(commit(number, "fix: it") for number in (1, 2))
    here.deliveries.record(report("1", 0, commits=line))
    here.deliveries.record(report("2", 60, commits=(commit(3, "feat: more"),)))
    here.deliveries.record(report("3", 120, FAILED))
    here.deliveries.record(report("4", 180, STARTED))
    here.deliveries.record(report("5", 240, version="v1"))
    told = changed_lately(here.deliveries, "checkout", NOON + 30)
    assert [(one.at - NOON, one.what) for one in told] == [
        (60, "v2 went to production: feature, 1 commit by Ann"),
        (120, "v3 did not get to production: feature"),
        (180, "v4 goes to production: feature"),
        (240, "production was rolled back to v1"),
    ]
    assert changed_lately(here.deliveries, "search", 0) == []


def test_many_may_tell_at_once(here: Shop) -> None:
    told: list[object] = [[commit(number, "fix: it")] for number in range(1, 9)]
    for number in range(1, 9):
        told += [
            report(
                str(number), number * 10 + at, state, revision=sha(number), version=f"v{number}", repository=REPOSITORY
            )
            for at, state in ((0, STARTED), (5, SUCCEEDED))
        ]

    def tell_one(one: object) -> None:
        if isinstance(one, DeploymentReport):
            here.deliveries.record(one)
        else:
            assert isinstance(one, list)
            here.deliveries.record_commits(REPOSITORY, one)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(tell_one, [*told, *reversed(told)]))
    found = list(reversed(here.deliveries.deployments()))
    assert [one.version for one in found] == [f"v{number}" for number in range(1, 9)]
    assert all(one.state is SUCCEEDED and not one.rollback for one in found)
    assert [len(one.commits) for one in found] == [0, *[1] * 7]
    assert not here.journal.verify().broken
