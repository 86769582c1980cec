"""What authors hear of their releases: the price, on the commit, once, in what their forge takes; nobody is named."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from tests.delivery.forges import Forge, GitHubServer, GitLabServer, Got, Reply, listening
from tests.delivery.hold_worlds import Clock, Gate, close_all, github_of, gitlab_of, holds_of
from tests.delivery.worlds import NOON, REPOSITORY, report, sha
from tightrope.budget.attribution import BAKE_S
from tightrope.delivery.changes import Deployment
from tightrope.delivery.feedback import Price, calls_of, comment_of, line_of
from tightrope.delivery.holds.usecases import Holds
from tightrope.delivery.usecases import Deliveries
from tightrope.loop.feedback import LOOKS_EVERY_S, Feedback
from tightrope.specs.model import Integration, IntegrationType, Specs
from tightrope.state.database import opened

DEAR = Price("checkout-availability", Fraction(458, 1000), "18.5 min", Fraction(37, 2))
CHEAP = Price("checkout-latency", Fraction(3, 1000), "120 requests")
BOTH = ("status", "comment")


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    close_all()


@pytest.fixture
def released(tmp_path: Path) -> Deployment:
    with opened(str(tmp_path / "one"), create=True) as database:
        deliveries = Deliveries(database, specs=Specs, clock=lambda: NOON)
        return deliveries.record(report("1", 0, version="v2.34.0", revision=sha(7), repository=REPOSITORY))


def test_the_line_names_the_dearest_objective_in_share_and_amount(released: Deployment) -> None:
    line = line_of(released, [CHEAP, DEAR], BAKE_S)
    assert line == "v2.34.0 cost 45.8 % of the budget of checkout-availability (18.5 min)"
    assert line_of(released, [], BAKE_S) == "v2.34.0 cost nothing of the budget of checkout in 60.0 min"
    long = replace(released, version="v" * 300)
    assert len(line_of(long, [DEAR], BAKE_S)) == 140


def test_a_comment_is_text_whatever_things_are_called(released: Deployment) -> None:
    wicked = replace(released, version="<img src=x>|`*_", by="Ann")
    comment = comment_of(wicked, [CHEAP, replace(DEAR, slo="a|b [c](d)")], BAKE_S, "https://t.example/services/x")
    assert "<img" not in comment.replace("\\<", "")
    assert "a\\|b \\[c\\](d)" in comment
    assert "Ann" not in comment, "blame falls on changes"
    assert "| 45.8 % | 18.5 min | 18.5 min |" in comment
    assert "| 120 requests |  |" in comment, "nothing is made up where nothing is known"
    assert "[Where the budget went](https://t.example/services/x)" in comment


@pytest.mark.parametrize(("prices", "state"), [([DEAR], "failure"), ([CHEAP], "success"), ([], "success")])
def test_github_is_told_a_status_and_a_comment_only_of_a_cost(
    released: Deployment, prices: list[Price], state: str
) -> None:
    integration = github_of("https://api.github.com", feedback=BOTH)
    status, *comments = calls_of(released, prices, integration, bake_s=BAKE_S, base_url="https://t.example/")
    assert (status.method, status.path) == ("POST", f"/repos/acme/shop/statuses/{sha(7)}")
    assert status.body["state"] == state
    assert status.body["context"] == "tightrope/budget"
    assert status.body["target_url"] == "https://t.example/services/checkout#spent"
    assert [one.path for one in comments] == [f"/repos/acme/shop/commits/{sha(7)}/comments"] * bool(prices)


def test_gitlab_is_told_in_its_own_words_and_others_nothing(released: Deployment) -> None:
    status, comment = calls_of(released, [DEAR], gitlab_of("https://g.example", feedback=BOTH), bake_s=BAKE_S)
    assert status.path == f"/projects/acme%2Fshop/statuses/{sha(7)}"
    assert (status.body["state"], status.body["name"]) == ("failed", "tightrope/budget")
    assert comment.path == f"/projects/acme%2Fshop/repository/commits/{sha(7)}/comments"
    assert set(comment.body) == {"note"}
    gitea = Integration("gitea", IntegrationType.GITEA, "HOOK", feedback=BOTH)
    assert calls_of(released, [DEAR], gitea, bake_s=BAKE_S) == ()
    only = github_of("https://api.github.com", feedback=("status",))
    assert len(calls_of(released, [DEAR], only, bake_s=BAKE_S)) == 1
    assert calls_of(replace(released, revision=""), [DEAR], only, bake_s=BAKE_S) == ()


# --- over a real socket ----------------------------------------------------------------------------------------------


@dataclass
class CommitsOfGitHub(GitHubServer):
    """GitHub as it takes what is said of commits."""

    said: list[tuple[str, Any]] = field(default_factory=list)

    def answer(self, got: Got) -> Reply:
        found = re.fullmatch(r"/repos/acme/shop/(statuses/[0-9a-f]{40}|commits/[0-9a-f]{40}/comments)", got.path)
        if not found or got.method != "POST":
            return super().answer(got)
        if self.tokens.get(got.headers.get("authorization", "").removeprefix("Bearer "), 0) <= self.now():
            return 401, {"message": "Bad credentials"}, {}
        if "statuses" in found[1] and (
            got.body.get("state") not in {"error", "failure", "pending", "success"}
            or len(got.body["description"]) > 140
        ):
            return 422, {"message": "Validation Failed"}, {}
        self.said.append((found[1].partition("/")[0], got.body))
        return 201, {"id": len(self.said)}, {}


def prices(_: Deployment) -> list[Price]:
    """Every release cost a fiftieth of the one budget."""
    return [Price("checkout-availability", Fraction(1, 50), "48 s")]


@pytest.fixture
def forge() -> Iterator[Forge]:
    with listening(CommitsOfGitHub()) as found:
        yield found


def test_a_release_is_told_of_once_it_has_baked_and_never_again(tmp_path: Path, forge: Forge) -> None:
    assert isinstance(forge, CommitsOfGitHub)
    clock, where = Clock(NOON), str(tmp_path / "store")
    forge.now = clock
    integration = github_of(forge.url, feedback=BOTH)
    specs = Specs(integrations=(integration,), services={"checkout": "Checkout"})
    with opened(where, create=True) as database:
        deliveries = Deliveries(database, specs=lambda: specs, clock=clock)
        deliveries.record(report("1", 0, version="v1", revision=sha(1), repository=REPOSITORY))
        deliveries.record(report("2", 30, version="v2", revision=sha(2), repository="github.com/acme/other"))
        deliveries.record(report("3", 60, version="v3", repository=REPOSITORY))
        holds = holds_of(database, Gate(), clock, integration)
        feedback = Feedback(
            deliveries, holds, specs=lambda: specs, prices=prices, base_url="https://t.example", now=clock
        )
        assert feedback.turn() == 0
        clock.forward(BAKE_S)
        forge.next.append((503, {}))
        assert feedback.turn() == 2
        for _ in range(4):
            holds.deliver()
            clock.forward(600)
        assert [what for what, _ in forge.said] == ["statuses", "commits"]
        assert forge.said[0][1]["description"] == "v1 cost 2.0 % of the budget of checkout-availability (48 s)"
        again = Feedback(deliveries, holds, specs=lambda: specs, prices=prices, base_url="", now=clock)
        clock.forward(LOOKS_EVERY_S)
        assert again.turn() == 0, "a restarted server knows what was said"


@dataclass
class Forgetful(CommitsOfGitHub):
    """GitHub that takes comments, shows them, and is gone before it answers; GitLab is much the same."""

    word: str = "body"
    lists: bool = True
    taken: list[dict[str, Any]] = field(default_factory=list)

    def answer(self, got: Got) -> Reply:
        if not got.path.partition("?")[0].endswith("/comments"):
            return 201, {"id": 1}, {}
        if got.method == "GET":
            return (200, [{"id": 0, self.word: "nice"}, *self.taken], {}) if self.lists else (403, {}, {})
        self.taken.append({"id": len(self.taken), self.word: got.body[self.word]})
        return (502, {}, {}) if len(self.taken) == 1 else (201, {"id": 7}, {})


@pytest.mark.parametrize(("kind", "lists", "times"), [("github", True, 1), ("gitlab", True, 1), ("github", False, 2)])
def test_a_comment_that_was_taken_unheard_is_not_written_again_if_the_forge_shows_it(
    tmp_path: Path, released: Deployment, kind: str, lists: bool, times: int
) -> None:
    clock = Clock(NOON)
    with (
        listening(Forgetful(word="note" if kind == "gitlab" else "body", lists=lists)) as forge,
        opened(str(tmp_path / "store"), create=True) as database,
    ):
        assert isinstance(forge, Forgetful)
        of = gitlab_of if kind == "gitlab" else github_of
        integration = replace(of(forge.url, feedback=("comment",)), token_from="TOKEN", app=None)
        holds = Holds(
            database,
            lambda: Specs(integrations=(integration,)),
            ask=Gate().ask,
            weigh=Gate().weigh,
            now=clock,
            variable=lambda _name: "secret-token",
        )
        holds.say(calls_of(released, [DEAR], integration, bake_s=BAKE_S))
        for _ in range(4):
            holds.deliver()
            clock.forward(600)
        assert len(forge.taken) == times
        assert holds.deliver() is None, "nothing waits any longer"
        holds.close()


def test_nobody_is_told_who_did_not_ask_for_it(tmp_path: Path) -> None:
    clock = Clock(NOON + BAKE_S)
    with listening(GitLabServer()) as forge, opened(str(tmp_path / "store"), create=True) as database:
        integration = gitlab_of(forge.url)
        specs = Specs(integrations=(integration,), services={"checkout": "Checkout"})
        deliveries = Deliveries(database, specs=lambda: specs, clock=clock)
        deliveries.record(report("1", 0, version="v1", revision=sha(1), repository=REPOSITORY))
        holds = holds_of(database, Gate(), clock, integration)
        quiet = Feedback(deliveries, holds, specs=lambda: specs, prices=prices, base_url="", now=clock)
        assert quiet.turn() == 0
        holds.deliver()
        assert forge.got == []
