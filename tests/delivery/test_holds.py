"""Releases are held, let go by themselves when the gate opens, and whoever waits is told, once and in time."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any

import jsonschema
import pytest

from tests.delivery.forges import APP, GitHubServer, GitLabServer, listening
from tests.delivery.hold_worlds import (
    REFUSE,
    Clock,
    Gate,
    blocked,
    close_all,
    github_of,
    gitlab_of,
    holds_of,
    protection,
    status_check,
)
from tightrope.base.errors import ForbiddenError, NotFoundError, UsageError
from tightrope.base.units import time_text
from tightrope.delivery.holds.hold import DAY_S, Caller, HoldState, patience_s
from tightrope.delivery.holds.usecases import Holds
from tightrope.delivery.trackers import is_under
from tightrope.policy.decision import Decision, Verdict
from tightrope.policy.dialects.hearing import Asking
from tightrope.specs.model import Mapped
from tightrope.state.database import Database, opened
from tightrope.state.journal import Journal

PROD = "acme/shop 42 prod-eu"


@pytest.fixture(name="database")
def _database(tmp_path: Path) -> Iterator[Database]:
    with opened(str(tmp_path / "store"), create=True) as database:
        yield database
        close_all()


@pytest.fixture(name="either")
def _either(store: str) -> Iterator[Database]:
    """A store on each kind of database."""
    with opened(store, create=True) as database:
        yield database
        close_all()


@pytest.fixture(name="clock")
def _clock() -> Clock:
    return Clock()


@pytest.fixture(name="gate")
def _gate() -> Gate:
    return Gate()


@pytest.fixture(name="github")
def _github(clock: Clock) -> Iterator[GitHubServer]:
    with listening(GitHubServer(now=clock)) as forge:
        assert isinstance(forge, GitHubServer)
        yield forge


@pytest.fixture(name="gitlab")
def _gitlab() -> Iterator[GitLabServer]:
    with listening(GitLabServer()) as forge:
        assert isinstance(forge, GitLabServer)
        yield forge


def events(database: Database) -> list[tuple[str, dict[str, Any]]]:
    found = [(one.event.type, dict(one.event.data)) for one in Journal(database).read()]
    return [one for one in found if "approval" in one[0] or "hold" in one[0]]


def states(holds: Holds) -> list[str]:
    return [one.state.value for one in holds.holds()]


# --- GitHub: a deployment protection rule ----------------------------------------------------------------------------


def test_a_job_waits_with_a_comment_and_is_approved_when_the_gate_opens(
    either: Database, github: GitHubServer, gate: Gate, clock: Clock
) -> None:
    integration = github_of(github.url)
    holds = holds_of(either, gate, clock, integration)
    hold = holds.take(integration, "deployment_protection_rule", protection(github.url))
    assert hold is not None
    assert (hold.state, hold.service, hold.asking.environment) == (HoldState.WAITING, "checkout", "production")
    holds.deliver()
    assert len(github.comments[PROD]) == 1
    assert github.comments[PROD][0].startswith("**stop**: checkout has overspent")
    assert github.reviews == {}
    clock.forward(15)
    gate.says = "go"
    holds.turn()
    holds.deliver()
    assert github.reviews == {PROD: "approved"}
    assert states(holds) == ["approved"]
    assert holds.hold(hold.id).decision == gate.recorded[-1].id
    holds.turn(), holds.deliver()
    assert len([one for one in github.got if "protection_rule" in one.path]) == 2


def test_an_open_gate_approves_at_once_without_a_comment(
    database: Database, github: GitHubServer, gate: Gate, clock: Clock
) -> None:
    gate.says = "go"
    integration = github_of(github.url)
    holds = holds_of(database, gate, clock, integration)
    holds.take(integration, "deployment_protection_rule", protection(github.url))
    holds.deliver()
    assert (github.comments, github.reviews) == ({}, {PROD: "approved"})


SEVERAL = (
    Mapped("checkout", repository="acme/shop", environment="production"),
    Mapped("basket", repository="acme/shop", environment="production"),
)


def test_a_job_of_several_services_waits_for_each_of_them(
    either: Database, github: GitHubServer, gate: Gate, clock: Clock
) -> None:
    gate.says, gate.of = "go", {"basket": "stop"}
    integration = github_of(github.url, map=SEVERAL)
    holds = holds_of(either, gate, clock, integration)
    hold = holds.take(integration, "deployment_protection_rule", protection(github.url))
    holds.deliver()
    assert hold is not None
    assert (hold.state, hold.service) == (HoldState.WAITING, "basket")
    assert github.comments[PROD][0].startswith("**stop**: basket has overspent")
    assert gate.recorded == []
    clock.forward(15)
    gate.of = {"checkout": "wait"}
    holds.turn(), holds.deliver()
    assert (holds.hold(hold.id).state, holds.hold(hold.id).service) == (HoldState.WAITING, "checkout")
    gate.of = {}
    clock.forward(15)
    holds.turn(), holds.deliver()
    assert github.reviews == {PROD: "approved"}
    assert [one.request.service for one in gate.recorded] == ["checkout", "basket"]


def test_services_that_a_change_leaves_as_they_are_hold_nothing_up(
    database: Database, github: GitHubServer, gate: Gate, clock: Clock
) -> None:
    gate.of, gate.leaves = {"checkout": "go"}, frozenset({"basket"})
    integration = github_of(github.url, map=SEVERAL)
    holds = holds_of(database, gate, clock, integration)
    holds.take(integration, "deployment_protection_rule", protection(github.url))
    holds.deliver()
    assert github.reviews == {PROD: "approved"}
    assert [one.request.service for one in gate.recorded] == ["checkout"]


def test_who_cannot_be_held_hears_of_the_service_that_holds_it_up(
    database: Database, github: GitHubServer, gate: Gate, clock: Clock
) -> None:
    integration = github_of(github.url, map=SEVERAL)
    holds = holds_of(database, gate, clock, integration)
    gate.of = {"checkout": "go"}
    heard = holds.answer(integration, "acme/shop", "production", Asking("", change="a" * 40))
    assert isinstance(heard, Decision)
    assert (heard.request.service, heard.verdict) == ("basket", Verdict.STOP)
    assert gate.recorded == [heard], "what nobody acts on is not recorded"
    gate.says = "go"
    heard = holds.answer(integration, "acme/shop", "production", Asking(""))
    assert isinstance(heard, Decision)
    assert heard.verdict is Verdict.GO
    assert [one.request.service for one in gate.recorded] == ["basket", "checkout", "basket"]
    assert holds.answer(integration, "acme/else", "production", Asking("")) is None


def test_a_stop_is_refused_where_the_integration_says_so(
    database: Database, github: GitHubServer, gate: Gate, clock: Clock
) -> None:
    integration = github_of(github.url, on_stop=REFUSE)
    holds = holds_of(database, gate, clock, integration)
    holds.take(integration, "deployment_protection_rule", protection(github.url))
    holds.deliver()
    assert github.reviews == {PROD: "rejected"}
    assert states(holds) == ["refused"]


def test_for_want_of_telemetry_nobody_is_refused(
    database: Database, github: GitHubServer, gate: Gate, clock: Clock
) -> None:
    gate.says = "wait"
    integration = github_of(github.url, on_stop=REFUSE)
    holds = holds_of(database, gate, clock, integration)
    holds.take(integration, "deployment_protection_rule", protection(github.url))
    for _ in range(20):
        clock.forward(900)
        holds.turn(), holds.deliver()
    assert (github.reviews, states(holds)) == ({}, ["waiting"])


def test_at_the_limit_of_the_caller_a_hold_ends(
    database: Database, github: GitHubServer, gate: Gate, clock: Clock
) -> None:
    integration = github_of(github.url, wait_s=3600)
    holds = holds_of(database, gate, clock, integration)
    holds.take(integration, "deployment_protection_rule", protection(github.url))
    clock.forward(3600)
    holds.turn(), holds.deliver()
    assert (github.reviews, states(holds)) == ({PROD: "rejected"}, ["expired"])
    assert "did not open in time" in github.told(".*protection_rule")[-1]["comment"]


def test_ten_comments_are_never_exceeded_however_often_the_gate_changes_its_mind(
    database: Database, github: GitHubServer, gate: Gate, clock: Clock
) -> None:
    integration = github_of(github.url)
    holds = holds_of(database, gate, clock, integration)
    holds.take(integration, "deployment_protection_rule", protection(github.url))
    for number in range(60):
        gate.says = ("wait", "stop")[number % 2]
        clock.forward(6 * 3600)
        holds.turn(), holds.deliver()
    assert 3 <= len(github.comments[PROD]) <= 9
    assert states(holds) == ["waiting"]
    assert not [one for one in github.got if one.path.endswith("rule") and len(one.body["comment"]) > 1024]
    gate.says = "go"
    holds.turn(), holds.deliver()
    assert github.reviews == {PROD: "approved"}


def test_the_same_delivery_holds_once_and_a_job_run_again_is_another_one(
    database: Database, github: GitHubServer, gate: Gate, clock: Clock
) -> None:
    integration = github_of(github.url)
    holds = holds_of(database, gate, clock, integration)
    first, again = (holds.take(integration, "deployment_protection_rule", protection(github.url)) for _ in range(2))
    other = holds.take(integration, "deployment_protection_rule", protection(github.url, deployment=2))
    assert first is not None and again is not None and other is not None  # noqa: PT018 - one thing
    assert first.id == again.id != other.id
    assert [kind for kind, _ in events(database)].count("dev.cdevents.approval.created.0.1.0") == 2


def test_a_repository_that_nobody_knows_waits_until_somebody_says_whose_it_is(
    database: Database, github: GitHubServer, gate: Gate, clock: Clock
) -> None:
    gate.says = "go"
    unmapped = github_of(github.url, map=())
    holds = holds_of(database, gate, clock, unmapped)
    hold = holds.take(unmapped, "deployment_protection_rule", protection(github.url))
    assert hold is not None
    assert (hold.service, hold.state) == ("", HoldState.WAITING)
    holds.deliver()
    assert "which service acme/shop belongs to" in github.comments[PROD][0]
    mapped = replace(unmapped, map=(Mapped("checkout", repository="github.com/acme/shop"),))
    holds = holds_of(database, gate, clock, mapped)
    clock.forward(15)
    holds.turn(), holds.deliver()
    assert github.reviews == {PROD: "approved"}


@pytest.mark.parametrize(
    "callback",
    [
        "https://evil.example/repos/acme/shop/actions/runs/42/deployment_protection_rule",
        "http://169.254.169.254/repos/acme/shop/actions/runs/42/deployment_protection_rule",
        "{url}.evil.example/repos/acme/shop/actions/runs/42/deployment_protection_rule",
        "http://user@{host}/repos/acme/shop/actions/runs/42/deployment_protection_rule",
    ],
)
def test_an_answer_goes_nowhere_but_to_the_api_that_the_integration_names(
    database: Database, github: GitHubServer, gate: Gate, clock: Clock, callback: str
) -> None:
    integration = github_of(github.url)
    holds = holds_of(database, gate, clock, integration)
    address = callback.format(url=github.url, host=github.url.removeprefix("http://"))
    payload = {**protection(github.url), "deployment_callback_url": address}
    with pytest.raises(ForbiddenError, match="wants to be answered elsewhere"):
        holds.take(integration, "deployment_protection_rule", payload)
    assert states(holds) == []


def test_another_installation_is_answered_by_nobody(
    database: Database, github: GitHubServer, gate: Gate, clock: Clock
) -> None:
    integration = github_of(github.url)
    payload = {**protection(github.url), "installation": {"id": 99}}
    with pytest.raises(ForbiddenError, match="installation 99"):
        holds_of(database, gate, clock, integration).take(integration, "deployment_protection_rule", payload)


def test_a_payload_without_most_of_its_fields_is_taken(
    database: Database, github: GitHubServer, gate: Gate, clock: Clock
) -> None:
    """Only action, repository and sender are required by the schema."""
    integration = github_of(github.url)
    holds = holds_of(database, gate, clock, integration)
    bare = {"action": "requested", "repository": {"full_name": "acme/shop"}, "sender": {"login": "x"}}
    with pytest.raises(UsageError, match="does not say which run"):
        holds.take(integration, "deployment_protection_rule", bare)
    bare["deployment_callback_url"] = protection(github.url)["deployment_callback_url"]
    assert holds.take(integration, "deployment_protection_rule", bare) is not None
    assert holds.take(integration, "push", {"ref": "main"}) is None
    assert holds.take(integration, "deployment_protection_rule", []) is None


# --- calls that fail -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "due_in"),
    [
        ((500, {}), 1),
        ((502, {}), 1),
        ((403, {"retry-after": "120"}), 120),
        ((429, {"retry-after": "30"}), 30),
        ((0, {}), 1),
    ],
)
def test_what_may_pass_is_tried_again_when_the_other_side_wants_it(
    database: Database, github: GitHubServer, gate: Gate, clock: Clock, answer: Any, due_in: int
) -> None:
    gate.says = "go"
    integration = github_of(github.url)
    holds = holds_of(database, gate, clock, integration)
    holds.take(integration, "deployment_protection_rule", protection(github.url))
    holds_token(holds, github, clock)
    github.next = [answer]
    due = holds.deliver()
    taken = answer[0] == 0  # the answer was lost, not the approval
    assert github.reviews == ({PROD: "approved"} if taken else {})
    assert due is not None
    assert due - clock.at >= due_in
    clock.at = due
    holds.deliver()
    assert github.reviews == {PROD: "approved"}


def holds_token(holds: Holds, github: GitHubServer, clock: Clock) -> None:
    """Let the App get its token with another call, so that the next request is the one that counts."""
    integration = holds._integration("github")
    assert integration is not None
    holds._tracker(integration).send("GET", "/nothing", {}, clock.at)
    github.got.clear()


def test_what_will_never_be_taken_is_not_sent_again_and_told(
    database: Database, github: GitHubServer, gate: Gate, clock: Clock
) -> None:
    gate.says = "go"
    integration = github_of(github.url)
    holds = holds_of(database, gate, clock, integration)
    hold = holds.take(integration, "deployment_protection_rule", protection(github.url, run=9999))
    assert hold is not None
    assert holds.deliver() is None
    assert holds.document(hold)["calls"][0]["state"] == "dead"
    assert "answers 404" in holds.document(hold)["calls"][0]["error"]
    assert [data["verb"] for kind, data in events(database) if "undelivered" in kind] == ["approve"]


def test_a_run_that_is_gone_is_waited_for_no_longer(
    database: Database, github: GitHubServer, gate: Gate, clock: Clock
) -> None:
    integration = github_of(github.url)
    holds = holds_of(database, gate, clock, integration)
    holds.take(integration, "deployment_protection_rule", protection(github.url, run=9999))
    holds.deliver()
    assert states(holds) == ["superseded"]


def test_an_approval_that_is_late_is_not_sent_and_the_gate_decides_anew(
    either: Database, github: GitHubServer, gate: Gate, clock: Clock
) -> None:
    """GitHub was out of reach for an hour; meanwhile the budget went."""
    gate.says = "go"
    integration = github_of(github.url)
    holds = holds_of(either, gate, clock, integration)
    holds.take(integration, "deployment_protection_rule", protection(github.url))
    gate.says = "stop"
    clock.forward(3600)
    holds.deliver(), holds.turn(), holds.deliver()
    assert github.reviews == {}
    assert states(holds) == ["waiting"]
    gate.says = "go"
    clock.forward(15)
    holds.turn(), holds.deliver()
    assert github.reviews == {PROD: "approved"}


def test_comments_that_could_not_be_sent_do_not_pile_up(
    either: Database, github: GitHubServer, gate: Gate, clock: Clock
) -> None:
    integration = github_of(github.url)
    holds = holds_of(either, gate, clock, integration)
    holds.take(integration, "deployment_protection_rule", protection(github.url))
    for number in range(6):
        gate.says = ("wait", "stop")[number % 2]
        clock.forward(DAY_S)
        holds.turn()
    gate.says = "go"
    holds.turn(), holds.deliver()
    assert (github.comments, github.reviews) == ({}, {PROD: "approved"})


def test_the_app_asks_for_a_token_once_and_for_another_when_it_is_refused(
    database: Database, github: GitHubServer, gate: Gate, clock: Clock
) -> None:
    integration = github_of(github.url)
    holds = holds_of(database, gate, clock, integration)
    for run in (42, 43):
        holds.take(integration, "deployment_protection_rule", protection(github.url, run))
        holds.deliver()
    asked = [one for one in github.got if one.path.endswith("access_tokens")]
    assert len(asked) == 1
    assert asked[0].headers["authorization"].count(".") == 2
    github.tokens.clear()
    holds.take(integration, "deployment_protection_rule", protection(github.url, 44))
    due = holds.deliver()
    assert due is not None
    clock.at = due
    holds.deliver()
    assert "acme/shop 44 prod-eu" in github.comments
    assert len([one for one in github.got if one.path.endswith("access_tokens")]) == 2


def test_no_secret_is_in_what_is_told_of_a_failure(
    database: Database, github: GitHubServer, gate: Gate, clock: Clock
) -> None:
    gate.says = "go"
    integration = github_of(github.url, app=APP + 1)
    holds = holds_of(database, gate, clock, integration)
    hold = holds.take(integration, "deployment_protection_rule", protection(github.url))
    assert hold is not None
    holds.deliver()
    told = json.dumps(holds.document(hold))
    assert "gives the App no token: it answers 401" in told
    assert "PRIVATE KEY" not in told
    unset = github_of(github.url, app_key_from="UNSET")
    holds = holds_of(database, gate, clock, unset)
    clock.forward(60)
    holds.deliver()
    assert "UNSET is not set" in json.dumps(holds.document(hold))


# --- GitHub: check runs ----------------------------------------------------------------------------------------------


def test_a_check_run_is_made_once_and_then_changed(
    database: Database, github: GitHubServer, gate: Gate, clock: Clock
) -> None:
    gate.says = "wait"
    integration = github_of(github.url)
    holds = holds_of(database, gate, clock, integration)
    payload = {
        "action": "requested",
        "repository": {"full_name": "acme/shop"},
        "sender": {"login": "dev"},
        "check_suite": {"head_sha": "c" * 40, "head_branch": "main", "head_commit": {"message": "feat: x"}},
    }
    holds.take(integration, "check_suite", payload)
    holds.deliver()
    assert {number: one["status"] for number, one in github.checks.items()} == {1: "in_progress"}
    gate.says = "go"
    clock.forward(15)
    holds.turn(), holds.deliver()
    assert [(one["status"], one["conclusion"]) for one in github.checks.values()] == [("completed", "success")]


# --- GitLab ----------------------------------------------------------------------------------------------------------


def test_a_status_check_is_pending_until_the_gate_opens(
    database: Database, gitlab: GitLabServer, gate: Gate, clock: Clock
) -> None:
    sha = "d" * 40
    gitlab.newest = {3: sha}
    integration = gitlab_of(gitlab.url)
    holds = holds_of(database, gate, clock, integration)
    holds.take(integration, "Merge Request Hook", status_check(sha))
    holds.deliver()
    clock.forward(300)  # GitLab has failed it by itself meanwhile; a later answer still counts
    gate.says = "go"
    holds.turn(), holds.deliver()
    assert gitlab.statuses == [(sha, "pending"), (sha, "passed")]


def test_a_newer_commit_takes_the_place_of_the_older(
    database: Database, gitlab: GitLabServer, gate: Gate, clock: Clock
) -> None:
    integration = gitlab_of(gitlab.url)
    holds = holds_of(database, gate, clock, integration)
    for sha in ("d" * 40, "e" * 40):
        gitlab.newest = {3: sha}
        holds.take(integration, "Merge Request Hook", status_check(sha))
        holds.deliver()
        clock.forward(1)
    assert states(holds) == ["waiting", "superseded"]


def test_a_stale_commit_is_a_conflict_and_ends_the_hold(
    database: Database, gitlab: GitLabServer, gate: Gate, clock: Clock
) -> None:
    gitlab.newest = {3: "f" * 40}
    integration = gitlab_of(gitlab.url)
    holds = holds_of(database, gate, clock, integration)
    holds.take(integration, "Merge Request Hook", status_check("d" * 40))
    assert holds.deliver() is None
    assert states(holds) == ["superseded"]


def test_a_check_that_is_asked_again_is_answered_again(
    either: Database, gitlab: GitLabServer, gate: Gate, clock: Clock
) -> None:
    gate.says, sha = "go", "d" * 40
    gitlab.newest = {3: sha}
    integration = gitlab_of(gitlab.url)
    holds = holds_of(either, gate, clock, integration)
    for _ in range(2):
        holds.take(integration, "Merge Request Hook", status_check(sha))
        holds.deliver()
        clock.forward(60)
    assert gitlab.statuses == [(sha, "passed")] * 2


def test_a_blocked_deployment_is_approved_and_its_job_played(
    either: Database, gitlab: GitLabServer, gate: Gate, clock: Clock
) -> None:
    """After an approval the job does not start by itself."""
    integration = gitlab_of(gitlab.url)
    holds = holds_of(either, gate, clock, integration)
    holds.take(integration, "Deployment Hook", blocked())
    holds.deliver()
    assert (gitlab.approvals, gitlab.played, gitlab.got) == ({}, [], [])
    gate.says = "go"
    clock.forward(15)
    holds.turn(), holds.deliver()
    assert (gitlab.approvals, gitlab.played) == ({15: "approved"}, [796])
    assert holds.take(integration, "Deployment Hook", {**blocked(), "status": "running"}) is None


def test_the_job_is_played_though_the_answer_to_the_approval_was_lost(
    database: Database, gitlab: GitLabServer, gate: Gate, clock: Clock
) -> None:
    gate.says = "go"
    integration = gitlab_of(gitlab.url)
    holds = holds_of(database, gate, clock, integration)
    holds.take(integration, "Deployment Hook", blocked())
    gitlab.next = [(0, {})]
    due = holds.deliver()
    assert (gitlab.approvals, gitlab.played) == ({15: "approved"}, [])
    assert due is not None
    clock.at = due
    holds.deliver()
    assert gitlab.played == [796]


def test_blocked_deployments_that_no_webhook_told_of_are_found(
    database: Database, gitlab: GitLabServer, gate: Gate, clock: Clock
) -> None:
    commit = {"title": "feat: x", "message": "feat: x"}
    gitlab.blocked = [
        {
            "id": 15,
            "status": "blocked",
            "sha": "b" * 40,
            "environment": {"name": "production"},
            "deployable": {"id": 796, "commit": commit},
        }
    ]
    integration = gitlab_of(gitlab.url, map=(Mapped("checkout", repository="https://gitlab.example/acme/shop.git"),))
    holds = holds_of(database, gate, clock, integration)
    assert holds.sweep() == 1
    assert holds.sweep() == 0, "not every time"
    assert holds.take(integration, "Deployment Hook", blocked()) is not None
    assert states(holds) == ["waiting"], "the webhook that comes late is the same hold"


# --- the journal, the list, and time ---------------------------------------------------------------------------------


def test_a_hold_is_an_approval_in_the_journal(
    database: Database, github: GitHubServer, gate: Gate, clock: Clock
) -> None:
    gate.says = "wait"
    integration = github_of(github.url)
    holds = holds_of(database, gate, clock, integration)
    holds.take(integration, "deployment_protection_rule", protection(github.url))
    for says in ("stop", "go"):
        gate.says = says
        clock.forward(3600)
        holds.turn()
    told = events(database)
    assert [kind for kind, _ in told] == [
        "dev.cdevents.approval.created.0.1.0",
        "dev.cdevents.approval.updated.0.1.0",
        "dev.cdevents.approval.updated.0.1.0",
        "dev.cdevents.approval.closed.0.1.0",
    ]
    for kind, document in told:
        jsonschema.validate(document, approval_schema(kind))
    assert told[-1][1]["subject"]["content"]["status"] == "approved"
    assert told[-1][1]["customData"]["decision"] == gate.recorded[-1].id
    assert Journal(database).verify().broken == ()


def approval_schema(kind: str) -> dict[str, Any]:
    """What cdevents/spec demands of approval events 0.1.0 (schemas/approval*.json, 0.6.0-draft)."""
    text = {"type": "string", "minLength": 1}
    more = {
        "created": ["requestor"],
        "updated": ["responder", "decision"],
        "closed": ["responder", "decision", "status"],
    }[kind.split(".")[3]]
    content: dict[str, Any] = dict.fromkeys(("approvalDetailsUrl", "resourceTargetUrl", *more), text)
    if "status" in content:
        content["status"] = {"enum": ["approved", "rejected", "cancelled", "expired"]}
    context = dict.fromkeys(("specversion", "id", "source", "type", "timestamp"), text)
    return {
        "type": "object",
        "additionalProperties": False,
        "required": ["context", "subject"],
        "properties": {
            "context": {
                "type": "object",
                "additionalProperties": False,
                "required": list(context),
                "properties": {**context, "type": {"const": kind}},
            },
            "subject": {
                "type": "object",
                "additionalProperties": False,
                "required": ["id", "content"],
                "properties": {
                    "id": text,
                    "source": text,
                    "content": {
                        "type": "object",
                        "additionalProperties": False,
                        "required": list(content),
                        "properties": content,
                    },
                },
            },
            "customData": {"type": "object"},
            "customDataContentType": text,
        },
    }


def test_a_hold_that_waits_is_no_news(database: Database, github: GitHubServer, gate: Gate, clock: Clock) -> None:
    """It is decided anew all the time; neither the journal nor the decisions grow by that."""
    integration = github_of(github.url)
    holds = holds_of(database, gate, clock, integration)
    holds.take(integration, "deployment_protection_rule", protection(github.url))
    before = len(events(database))
    for _ in range(120):
        clock.forward(15)
        holds.turn()
    assert gate.weighed > 120
    assert (len(events(database)), gate.recorded) == (before, [])


def test_a_gate_that_closed_between_two_looks_lets_nobody_through(
    database: Database, github: GitHubServer, clock: Clock
) -> None:
    class Fickle(Gate):
        def ask(self, request: Any) -> Any:
            self.says = "stop"
            return super().ask(request)

    gate = Fickle("go")
    integration = github_of(github.url)
    holds = holds_of(database, gate, clock, integration)
    holds.take(integration, "deployment_protection_rule", protection(github.url))
    holds.deliver()
    assert github.reviews == {}
    assert states(holds) == ["waiting"]


def test_who_polls_is_held_for_as_long_as_they_do(either: Database, gate: Gate, clock: Clock) -> None:
    holds = holds_of(either, gate, clock)
    kayenta = holds.open(Caller.KAYENTA, "k", Asking("checkout"), {})
    stage = holds.open(Caller.SPINNAKER, "s", Asking("checkout"), {})
    for _ in range(30):
        clock.forward(1800)
        assert holds.polled(kayenta.id) is not None
        holds.turn()
    assert {one.caller: one.state for one in holds.holds()} == {
        Caller.KAYENTA: HoldState.WAITING,
        Caller.SPINNAKER: HoldState.EXPIRED,
    }
    clock.forward(2 * DAY_S)
    holds.turn()
    again = holds.polled(kayenta.id)
    assert again is not None
    assert again.state is HoldState.WAITING, "an analysis that comes back after a pause is not failed for it"
    assert holds.polled(stage.id).state is HoldState.EXPIRED  # type: ignore[union-attr]
    assert holds.polled("H-none") is None


def test_a_hold_is_given_up_once(database: Database, gate: Gate, clock: Clock) -> None:
    holds = holds_of(database, gate, clock)
    hold = holds.open(Caller.SPINNAKER, "s", Asking("checkout"), {})
    assert holds.cancel(hold.id, by="dev").state is HoldState.CANCELLED
    gate.says = "go"
    holds.turn()
    assert holds.cancel(hold.id, by="dev").state is HoldState.CANCELLED
    with pytest.raises(NotFoundError):
        holds.cancel("H-none", by="dev")


def test_holds_that_ended_long_ago_are_forgotten(either: Database, gate: Gate, clock: Clock) -> None:
    holds = holds_of(either, gate, clock)
    hold = holds.open(Caller.SPINNAKER, "s", Asking("checkout"), {})
    holds.open(Caller.SPINNAKER, "t", Asking("checkout"), {})
    holds.cancel(hold.id, by="dev")
    assert holds.prune(clock.at + 500 * DAY_S) == 1
    assert states(holds) == ["waiting"]


def test_waiting_grows_to_a_quarter_of_an_hour_and_keeps_to_what_is_asked() -> None:
    waits = [patience_s(attempt, "k") for attempt in range(1, 30)]
    assert waits[0] <= 3
    assert max(waits) <= 1080
    assert patience_s(1, "k", 7200) == 7200


@pytest.mark.parametrize(
    ("address", "inside"),
    [
        ("https://api.github.com/repos/a/b", True),
        ("https://API.github.com:443/repos/a/b", True),
        ("https://api.github.com", False),
        ("http://api.github.com/repos/a/b", False),
        ("https://api.github.com:8443/repos/a/b", False),
        ("https://api.github.com.evil.example/repos", False),
        ("https://api.github.com@evil.example/repos", False),
        ("https://evil.example/https://api.github.com/repos", False),
        ("https://api.github.com/../secret", False),
        ("https://api.github.com/%2e%2e/secret", False),
        ("https://api.github.com\\@evil.example/repos", False),
        ("https://[::1]/repos", False),
        ("https://[bad/repos", False),
        ("//api.github.com/repos", False),
        ("", False),
    ],
)
def test_what_is_below_an_api_and_what_only_looks_like_it(address: str, inside: bool) -> None:
    assert is_under(address, "https://api.github.com") is inside


def test_a_path_is_part_of_an_api() -> None:
    assert is_under("https://ghes.example/api/v3/repos/a/b", "https://ghes.example/api/v3")
    assert not is_under("https://ghes.example/api/v33/repos/a/b", "https://ghes.example/api/v3")
    assert not is_under("https://ghes.example/repos/a/b", "https://ghes.example/api/v3")


def test_before_the_first_turn_nobody_is_told_anything(
    database: Database, github: GitHubServer, gate: Gate, clock: Clock
) -> None:
    """Every service is one that nobody knows then."""
    gate.says = "unknown"
    integration = github_of(github.url)
    turned: list[int] = []
    holds = holds_of(database, gate, clock, integration, ready=lambda: bool(turned))
    holds.take(integration, "deployment_protection_rule", protection(github.url))
    holds.turn(), holds.deliver()
    assert (github.got, gate.weighed) == ([], 0)
    gate.says = "go"
    turned.append(1)
    holds.turn(), holds.deliver()
    assert github.reviews == {PROD: "approved"}


@pytest.mark.parametrize(("environments", "where"), [((), "production"), ((("main", "staging"),), "staging")])
def test_a_branch_is_no_environment_unless_a_map_says_so(
    database: Database, gitlab: GitLabServer, gate: Gate, clock: Clock, environments: Any, where: str
) -> None:
    integration = gitlab_of(gitlab.url, map=(Mapped("checkout", repository="acme/shop", environments=environments),))
    holds = holds_of(database, gate, clock, integration)
    hold = holds.take(integration, "Merge Request Hook", status_check("d" * 40))
    assert hold is not None
    assert (hold.service, hold.asking.environment) == ("checkout", where)


def test_deliveries_that_github_could_not_make_are_asked_for_again(
    database: Database, github: GitHubServer, gate: Gate, clock: Clock
) -> None:
    """GitHub sends nothing again by itself: a job would wait for 30 days."""
    integration = github_of(github.url)
    holds = holds_of(database, gate, clock, integration)
    github.deliveries = [
        delivery(9, "lost", clock.at - 600, 502),
        delivery(8, "well", clock.at - 700, 202),
        delivery(7, "mended", clock.at - 800, 200),
        delivery(6, "mended", clock.at - 900, 0),
        delivery(5, "fresh", clock.at - 20, 502),
        delivery(4, "old", clock.at - 4 * DAY_S, 502),
        *[delivery(10 + number, "hopeless", clock.at - 1000 - number, 500) for number in range(6)],
    ]
    holds.sweep()
    assert github.again == [9]
    holds.sweep()
    assert github.again == [9], "not every time"
    clock.forward(3600)
    holds.sweep()
    assert github.again == [9, 9, 5]


def delivery(number: int, guid: str, at: int, status: int) -> dict[str, Any]:
    return {
        "id": number,
        "guid": guid,
        "delivered_at": time_text(at),
        "status_code": status,
        "event": "deployment_protection_rule",
    }


def test_a_forge_that_is_down_does_not_keep_another_from_being_told(
    database: Database, gitlab: GitLabServer, gate: Gate, clock: Clock
) -> None:
    gate.says = "go"
    down, up = github_of("http://127.0.0.1:9"), gitlab_of(gitlab.url)
    holds = holds_of(database, gate, clock, down, up)
    for run in (42, 43, 44):
        holds.take(down, "deployment_protection_rule", protection("http://127.0.0.1:9", run))
    holds.take(up, "Deployment Hook", blocked())
    holds.deliver()
    assert gitlab.played == [796]
    told = [
        call["attempts"]
        for one in holds.holds()
        if one.integration == "github"
        for call in holds.document(one)["calls"]
    ]
    assert sorted(told) == [0, 0, 1]


def test_who_polls_and_the_doorkeeper_never_get_in_each_others_way(either: Database, clock: Clock) -> None:
    """An error here would end a stage of Spinnaker."""

    class Restless(Gate):
        def weigh(self, request: Any) -> Any:
            self.says = "wait" if self.says == "stop" else "stop"
            return super().weigh(request)

    holds = holds_of(either, Restless(), clock)
    hold = holds.open(Caller.SPINNAKER, "s", Asking("checkout"), {})
    wrong: list[Exception] = []

    def often(call: Callable[[], object]) -> None:
        try:
            for _ in range(25):
                clock.forward(1)
                call()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is wrong here
            wrong.append(error)

    threads = [Thread(target=often, args=(call,)) for call in (holds.turn, *[lambda: holds.polled(hold.id)] * 3)]
    for one in threads:
        one.start()
    for one in threads:
        one.join(30)
    assert wrong == []
    assert Journal(either).verify().broken == ()
    assert holds.hold(hold.id).state is HoldState.WAITING


def test_a_forge_that_never_comes_back_is_given_up_at_the_limit(database: Database, gate: Gate, clock: Clock) -> None:
    gate.says = "go"
    down = github_of("http://127.0.0.1:9", wait_s=7200)
    holds = holds_of(database, gate, clock, down)
    holds.take(down, "deployment_protection_rule", protection("http://127.0.0.1:9"))
    for _ in range(14):
        clock.forward(700)
        holds.turn(), holds.deliver()
    assert states(holds) == ["expired"]
    clock.forward(40 * DAY_S)
    holds.deliver()
    assert holds.deliver() is None, "and nothing is tried for ever"
