"""The inbox: deliveries proved, kept at once, read once, and set aside where nobody can read them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import ROOT
from tests.contracts import hooks
from tests.contracts.hooks import NOON, SECRET, sha
from tests.contracts.test_hooks import SAMPLES, any_json, places
from tests.delivery.worlds import Shop, shop
from tightrope.base.errors import (
    ConflictError,
    ForbiddenError,
    NotFoundError,
    SourceUnreachableError,
    StoreError,
    UnauthorizedError,
    UsageError,
)
from tightrope.delivery.changes import DeploymentState
from tightrope.delivery.inbox import InboxState
from tightrope.delivery.receiving.usecases import MOST_REFUSED, Inbox
from tightrope.specs.model import ChangeKind, Integration, IntegrationType, Mapped, Specs

MAP = (
    Mapped("checkout", "acme/shop", environments=(("prod", "production"), ("review/*", "review"))),
    Mapped("checkout", app="checkout"),
)
SPECS = Specs(
    services={"checkout": "", "search": ""},
    integrations=(
        *(Integration(kind.value, kind, secret_from="SECRET", map=MAP) for kind in IntegrationType),
        Integration("unset", IntegrationType.GITHUB, secret_from="NO_SUCH_VARIABLE"),
    ),
)

Sent = tuple[dict[str, str], bytes]


_numbers = count()


class Post:
    """A store with integrations, and somebody who sends."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        shop.specs = SPECS
        shop.clock[0] = NOON + 5
        self.deliveries = shop.deliveries
        self.inbox = self.inbox_with()

    def inbox_with(self, **more: Any) -> Inbox:
        """The inbox, with something in it otherwise."""
        plain = {
            "specs": lambda: self.shop.specs,
            "clock": lambda: self.shop.clock[0],
            "environment": lambda name: SECRET if name == "SECRET" else "",
        }
        return Inbox(self.shop.database, self.deliveries, **plain | more)

    def send(self, integration: str, sent: Sent) -> int:
        return self.inbox.receive(integration, *sent).status

    def states(self) -> list[tuple[str, str]]:
        """What became of deliveries, oldest first."""
        return [(one.event, one.state.value) for one in reversed(self.inbox.listed())]


@pytest.fixture
def post(store: str) -> Iterator[Post]:
    with shop(store) as found:
        yield Post(found)


PUSH = hooks.github(
    "push", hooks.github_push(hooks.github_commit(2, "fix: a"), hooks.github_commit(3, "perf: b")), "d-1"
)
BEFORE = hooks.github(
    "deployment_status",
    hooks.github_deployment("success", at="2026-03-17T11:00:00Z", id=1, sha=sha(1), ref="main"),
    "d-0",
)
BEGUN = hooks.github("deployment_status", hooks.github_deployment("in_progress", at="2026-03-17T11:59:00Z"), "d-2")
ENDED = hooks.github("deployment_status", hooks.github_deployment("success"), "d-3")


def test_a_delivery_is_kept_at_once_and_read_afterwards(post: Post) -> None:
    assert [post.send("github", one) for one in (PUSH, BEFORE, BEGUN, ENDED)] == [202] * 4
    assert post.deliveries.deployments() == []
    assert {state for _, state in post.states()} == {"waiting"}
    assert post.inbox.process() == 4
    assert post.states() == [("push", "done"), *[("deployment_status", "done")] * 3]
    made, before = post.deliveries.deployments("checkout", "production")
    assert (made.version, made.state, made.by, made.source) == ("v2.36.0", DeploymentState.SUCCEEDED, "ann", "github")
    assert (made.previous, made.kind, [one.title for one in made.commits]) == (
        before.revision,
        ChangeKind.RELIABILITY,
        ["perf: b", "fix: a"],
    )
    assert (made.started_at, made.finished_at) == (NOON - 60, NOON)
    assert post.inbox.process() == 0


def test_a_delivery_that_comes_again_is_known_and_harmless(post: Post) -> None:
    assert [post.send("github", PUSH) for _ in range(3)] == [202, 200, 200]
    post.inbox.process()
    assert post.send("github", PUSH) == 200
    assert (post.inbox.process(), len(post.states())) == (0, 1)
    again = post.inbox.receive("github", *PUSH)
    assert (again.state, again.why) == (InboxState.DONE, "it came before")


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (2, 0, 3, 1, 0, 2)])
def test_deliveries_in_any_order_end_alike(post: Post, order: tuple[int, ...]) -> None:
    for number in order:
        post.send("github", (BEFORE, PUSH, BEGUN, ENDED)[number])
        post.inbox.process()
    made = post.deliveries.live("checkout")
    assert made is not None
    assert (made.version, made.started_at, made.finished_at, len(made.commits), made.complete) == (
        "v2.36.0",
        NOON - 60,
        NOON,
        2,
        True,
    )
    assert not post.shop.journal.verify().broken


def test_every_type_of_sender_ends_in_a_deployment(post: Post) -> None:
    token = {"authorization": f"Bearer {SECRET}", "content-type": "application/json"}
    event = hooks.cdevent("service.deployed", {"environment": {"id": "prod"}, "artifactId": "pkg:oci/x@v1"})
    sent: dict[str, Sent] = {
        "github": ENDED,
        "gitlab": hooks.gitlab(hooks.gitlab_deployment("success")),
        "argocd": hooks.bearer(hooks.argocd("on-deployed")),
        "argo-rollouts": hooks.bearer(hooks.rollout("on-rollout-completed")),
        "flux": hooks.flux("ReconciliationSucceeded", revision=f"main@sha1:{sha(4)}"),
        "cdevents": (token, hooks.encoded(event)),
    }
    for name, one in sent.items():
        assert post.send(name, one) == 202, name
    post.inbox.process()
    assert {state for _, state in post.states()} == {"done"}
    found = {one.source: (one.service, one.environment) for one in post.deliveries.deployments()}
    assert found == dict.fromkeys(sent, ("checkout", "production"))


def test_a_service_that_is_mapped_twice_is_deployed_once_where_the_first_line_that_fits_says(post: Post) -> None:
    post.shop.specs = replace(SPECS, mapped=(Mapped("checkout", "github.com/acme/shop"), Mapped("search", "acme/shop")))
    post.send("github", ENDED)
    post.inbox.process()
    found = {(one.service, one.environment) for one in post.deliveries.deployments()}
    assert found == {("checkout", "production"), ("search", "prod")}


def test_labels_that_are_told_later_change_the_kind_of_what_was_deployed(post: Post) -> None:
    for one in (BEFORE, PUSH, ENDED):
        post.send("github", one)
    post.send("github", hooks.github("pull_request", hooks.github_pull(("security",)), "d-9"))
    post.inbox.process()
    made = post.deliveries.live("checkout")
    assert made is not None
    assert {one.sha: one.kind for one in made.commits} == {
        sha(3): ChangeKind.SECURITY,
        sha(2): ChangeKind.RELIABILITY,
    }
    (event,) = post.shop.journal.read(kind="dev.cdevents.change.merged.0.3.0")
    assert (event.event.subject, event.event.data["customData"]["labels"]) == ("checkout", ["security"])
    change = post.deliveries.changes(repository="acme/shop")[0]
    assert (change.pull, change.labels) == ("7", ("security",))


def test_builds_are_shown_with_the_deployment_of_their_revision(post: Post) -> None:
    for number, (status, conclusion) in enumerate((("completed", "success"), ("in_progress", None))):
        post.send("github", hooks.github("workflow_run", hooks.github_run(status, conclusion), f"b-{number}"))
    post.send("github", ENDED)
    post.inbox.process()
    made = post.deliveries.live("checkout")
    assert made is not None
    assert [(one.name, one.state.value) for one in post.deliveries.about(made.id)[2]] == [("Build", "succeeded")]
    assert post.shop.kinds().count("dev.cdevents.build.finished.0.3.0") == 1


def test_what_is_of_no_matter_or_of_nobody_is_kept_and_says_why(post: Post) -> None:
    post.send("github", hooks.github("issues", {"action": "opened"}, "i-1"))
    stranger = hooks.github_deployment("success") | {"repository": hooks.REPOSITORY | {"html_url": "https://x.y/a/b"}}
    post.send("github", hooks.github("deployment_status", stranger, "i-2"))
    named = hooks.github_deployment("success") | {"repository": {"html_url": "https://x.y/a/search"}}
    post.send("github", hooks.github("deployment_status", named, "i-3"))
    post.inbox.process()
    one, two, three = reversed(post.inbox.listed("github"))
    assert (one.state, one.why) == (InboxState.IGNORED, "issues is no matter of ours")
    assert (two.state, two.why) == (InboxState.IGNORED, "no service is mapped to x.y/a/b")
    assert three.state is InboxState.DONE
    assert [one.service for one in post.deliveries.deployments()] == ["search"]
    assert post.inbox.standing() == {("github", "ignored"): 2, ("github", "done"): 1}


def test_what_was_ignored_is_read_again_once_its_service_is_mapped(post: Post) -> None:
    post.shop.specs = replace(
        SPECS, integrations=(Integration("github", IntegrationType.GITHUB, secret_from="SECRET"),)
    )
    post.send("github", ENDED)
    post.inbox.process()
    (ignored,) = post.inbox.listed("github")
    assert (ignored.state, ignored.why) == (InboxState.IGNORED, "no service is mapped to github.com/acme/shop")
    post.shop.specs = SPECS
    post.inbox.redeliver(ignored.id)
    post.inbox.process()
    assert post.deliveries.live("checkout") is not None
    with pytest.raises(ConflictError, match="is done"):
        post.inbox.redeliver(ignored.id)


def test_nothing_is_refused_or_read_before_the_specs_are_there(post: Post) -> None:
    post.send("github", ENDED)
    early = post.inbox_with(specs=Specs, ready=lambda: False)
    with pytest.raises(SourceUnreachableError, match="not read yet"):
        early.receive("gitlab", *hooks.gitlab(hooks.gitlab_deployment("success")))
    assert early.process() == 0
    assert post.states() == [("deployment_status", "waiting")]
    assert post.inbox.process() == 1


# --- forged, malformed, poisonous ----------------------------------------------------------------------------------


def test_what_is_forged_is_refused_noted_within_bounds_and_never_read(post: Post) -> None:
    headers, body = PUSH
    forged = headers | {"x-hub-signature-256": f"sha256={'0' * 64}", "x-github-delivery": "forged"}
    for second in range(MOST_REFUSED + 20):
        post.shop.clock[0] += 1 + second // 1000
        for _ in range(2):
            with pytest.raises(UnauthorizedError, match="not proved"):
                post.inbox.receive("github", forged, body)
    refused = post.inbox.listed("github", state="refused", limit=1000)
    assert len(refused) == MOST_REFUSED
    assert post.inbox.refusals["github"] == 2 * (MOST_REFUSED + 20)
    assert post.inbox.process() == 0
    assert post.send("github", PUSH) == 202
    with pytest.raises(ConflictError, match="refused"):
        post.inbox.redeliver(refused[0].id)


def test_nothing_that_proves_a_delivery_is_kept(post: Post) -> None:
    for name, one in (("gitlab", hooks.gitlab(hooks.gitlab_push(2))), ("argocd", hooks.bearer(hooks.argocd("x")))):
        post.send(name, one)
    with post.shop.database.reading() as connection:
        rows = connection.exec_driver_sql("SELECT headers, id FROM delivery_inbox").all()
    assert rows
    assert SECRET not in str(rows)


def test_a_genuine_delivery_that_is_none_is_refused_unless_gitlab_sent_it(post: Post) -> None:
    body = b"{no json"
    headers = {"x-github-event": "push", "x-hub-signature-256": f"sha256={hooks.signature(body)}"}
    with pytest.raises(UsageError, match="no JSON"):
        post.inbox.receive("github", headers, body)
    taken = post.inbox.receive("gitlab", {"x-gitlab-token": SECRET, "x-gitlab-event": "Push Hook"}, body)
    assert (taken.status, taken.state) == (202, InboxState.SET_ASIDE)
    assert "no JSON" in taken.why
    assert post.send("gitlab", hooks.gitlab({"object_kind": "nobody knows"})) == 202


def test_who_is_unknown_or_cannot_be_proved_is_told(post: Post) -> None:
    for name in ("none", "flagger"):
        with pytest.raises(NotFoundError):
            post.inbox.receive(name, *PUSH)
    with pytest.raises(SourceUnreachableError, match="NO_SUCH_VARIABLE"):
        post.inbox.receive("unset", *PUSH)


POISON: list[Sent] = [
    hooks.github("deployment_status", hooks.github_deployment("success", at="yesterday"), "p-1"),
    hooks.github("push", hooks.github_push(hooks.github_commit(2, "a")) | {"ref": None}, "p-2"),
    hooks.github("deployment_status", {"deployment_status": {"state": "success", "created_at": hooks.AT}}, "p-3"),
]


def test_what_cannot_be_read_is_set_aside_with_the_reason_and_holds_up_no_other(post: Post) -> None:
    for one in POISON:
        post.send("github", one)
    post.send("github", ENDED)
    assert post.inbox.process() == 4
    assert [state for _, state in post.states()] == ["set-aside"] * 3 + ["done"]
    reasons = [one.why for one in post.inbox.listed("github", state="set-aside")]
    assert all(reasons), reasons
    assert "yesterday" in reasons[-1]


def test_what_was_set_aside_is_read_again_when_asked_or_sent_again(post: Post) -> None:
    post.send("github", POISON[0])
    post.inbox.process()
    (aside,) = post.inbox.listed("github")
    waiting = post.inbox.redeliver(aside.id)
    assert waiting.state is InboxState.WAITING
    assert (post.inbox.process(), post.inbox.named(aside.id).attempts) == (1, 2)
    mended = hooks.github("deployment_status", hooks.github_deployment("success"), "p-1")
    assert post.send("github", mended) == 200
    post.inbox.process()
    assert post.inbox.named(aside.id).state is InboxState.DONE
    with pytest.raises(ConflictError, match="done"):
        post.inbox.redeliver(aside.id)
    with pytest.raises(NotFoundError):
        post.inbox.redeliver("IN-0")


@pytest.mark.parametrize("sign", ["\x00", "\ud800", "\x1b[2J", "\u202e", "é" * 50_000])
def test_odd_characters_can_be_kept_and_read(post: Post, sign: str) -> None:
    message = f"fix: {sign} sign"
    post.send("github", hooks.github("push", hooks.github_push(hooks.github_commit(2, message)), f"{sign}d"))
    status = hooks.github_deployment("success", description=message, creator={"login": sign})
    post.send("github", hooks.github("deployment_status", status, "o-2"))
    post.inbox.process()
    assert {state for _, state in post.states()} == {"done"}
    made = post.deliveries.live("checkout")
    assert made is not None
    assert "\x1b" not in made.title
    assert not post.shop.journal.verify().broken


def test_a_store_that_cannot_be_written_loses_no_delivery(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    post.send("github", ENDED)
    broken = post.inbox_with(specs=_no_specs)
    with pytest.raises(StoreError):
        broken.process()
    assert post.states() == [("deployment_status", "waiting")]
    assert post.inbox.process() == 1


def _no_specs() -> Specs:
    raise StoreError("the disk is full")


def test_what_was_read_long_ago_is_forgotten_and_what_nobody_could_read_is_not(post: Post) -> None:
    def held() -> list[int]:
        with post.shop.database.reading() as connection:
            rows = connection.exec_driver_sql("SELECT length(body) FROM delivery_inbox ORDER BY sequence")
            return [int(row[0]) for row in rows]

    post.send("github", ENDED)
    post.send("github", POISON[0])
    post.inbox.process()
    assert post.inbox.prune(NOON + 6 * 86400) == 0
    assert held() == [len(ENDED[1]), len(POISON[0][1])]
    assert post.inbox.prune(NOON + 8 * 86400) == 0
    assert held() == [0, len(POISON[0][1])]
    assert post.send("github", ENDED) == 200
    assert post.inbox.prune(NOON + 91 * 86400) == 1
    assert [state for _, state in post.states()] == ["set-aside"]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(SAMPLES), any_json, st.data())
def test_whatever_somebody_sends_the_inbox_goes_on(
    post: Post, sample: tuple[IntegrationType, Sent], value: Any, data: st.DataObject
) -> None:
    kind, (headers, body) = sample
    document = json.loads(body)
    path = data.draw(st.sampled_from(places(document)))
    part = document
    for name in path[:-1]:
        part = part[name]
    part[path[-1]] = value
    written = json.dumps(document).encode("utf-8", "surrogatepass")
    proofs = {"x-gitlab-token": SECRET, "authorization": f"Bearer {SECRET}"} | {
        name: f"sha256={hooks.signature(written)}"
        for name in ("x-hub-signature-256", "x-signature", "x-gitea-signature")
    }
    own = {"x-github-delivery": str(next(_numbers)), "x-gitea-delivery": str(next(_numbers))}
    own["idempotency-key"] = own["x-github-delivery"]
    with suppress(UsageError):
        post.inbox.receive(kind.value, headers | proofs | own, written)
    post.inbox.process()
    assert {state for _, state in post.states()} <= {"done", "ignored", "set-aside", "refused"}
    for one in post.deliveries.deployments(limit=5):
        assert one.called.isprintable()
    assert not post.shop.journal.verify().broken


def test_who_asks_whether_a_release_may_go_out_is_heard(post: Post) -> None:
    heard: list[tuple[str, str, Any]] = []

    def hold(integration: Integration, event: str, payload: Any) -> object:
        heard.append((integration.name, event, payload))
        if payload.get("deployment_callback_url", "").startswith("https://evil"):
            raise ForbiddenError("the answer was to go elsewhere")
        return "H-1" if event == "deployment_protection_rule" else None

    listening = post.inbox_with(holding=hold)
    asks = {"action": "requested", "environment": "prod", "deployment_callback_url": "https://api.github.com/x"}
    evil = asks | {"deployment_callback_url": "https://evil.example"}
    post.send("github", hooks.github("deployment_protection_rule", asks, "h-1"))
    post.send("github", hooks.github("deployment_protection_rule", evil, "h-2"))
    post.send("github", ENDED)
    post.send("gitea", hooks.gitea("push", hooks.gitea_push(2)))
    assert listening.process() == 4
    assert heard[0] == ("github", "deployment_protection_rule", asks)
    assert [event for _, event, _ in heard] == [*["deployment_protection_rule"] * 2, "deployment_status"]
    assert [state for _, state in post.states()] == ["done", "set-aside", "done", "done"]


# --- kill -9 -------------------------------------------------------------------------------------------------------

READER = """\
import sys
from tests.delivery.test_inbox import Post
from tests.delivery.worlds import shop
with shop(sys.argv[1]) as found:
    post = Post(found)
    print("ready", flush=True)
    while post.inbox.process(1):
        print("read", flush=True)
"""


def test_a_reader_that_is_killed_reads_nothing_twice_and_loses_nothing(store: str) -> None:
    count = 25
    with shop(store) as here:
        post = Post(here)
        for number in range(count):
            status = hooks.github_deployment("success", id=number, sha=sha(20 + number), ref=f"v1.{number}.0")
            status["deployment_status"]["created_at"] = f"2026-03-17T10:{number:02}:00Z"
            post.send("github", hooks.github("deployment_status", status, f"k-{number}"))
    kills = 0
    while True:
        reader = subprocess.Popen(
            [sys.executable, "-c", READER, store],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"},  # noqa: TID251
        )
        assert reader.stdout is not None
        assert reader.stdout.readline() == "ready\n"
        if kills == 3:
            reader.communicate(timeout=50)
            break
        for _ in range(5):
            reader.stdout.readline()
        time.sleep(0.004 * kills)  # somewhere within the next one
        reader.send_signal(signal.SIGKILL)
        reader.wait()
        reader.stdout.close()
        kills += 1
    with shop(store) as here:
        post = Post(here)
        assert {state for _, state in post.states()} == {"done"}
        assert {one.attempts for one in post.inbox.listed()} == {1}
        made = post.deliveries.deployments(limit=1000)
        assert sorted(one.version for one in made) == sorted(f"v1.{number}.0" for number in range(count))
        told = [kind for kind in here.kinds() if kind.startswith("dev.cdevents.service.")]
        assert len(told) == count
        assert not here.journal.verify().broken


def test_services_of_one_repository_are_told_apart_by_environments_of_their_own(post: Post) -> None:
    lines = (
        Mapped("search", "acme/shop", environments=(("find-*", "production"),)),
        Mapped("checkout", "acme/shop", environments=(("prod", "production"),)),
    )
    post.shop.specs = replace(SPECS, integrations=(replace(SPECS.integrations[0], map=lines),))
    post.send(post.shop.specs.integrations[0].name, ENDED)
    post.inbox.process()
    assert [(one.service, one.environment) for one in post.deliveries.deployments()] == [("checkout", "production")]


def test_a_document_may_name_the_same_service_in_many_ways(post: Post) -> None:
    post.shop.specs = replace(
        SPECS,
        integrations=(
            Integration(
                "github",
                IntegrationType.GITHUB,
                secret_from="SECRET",
                map=(
                    Mapped("checkout", "acme/shop", paths=("shop/",)),
                    Mapped("search", "acme/shop", paths=("find/",)),
                ),
            ),
        ),
    )
    document: dict[str, Any] = json.loads(ENDED[1])
    post.send("github", hooks.github("deployment_status", document, "m-1"))
    post.inbox.process()
    assert {one.service for one in post.deliveries.deployments()} == {"checkout", "search"}
    assert len({one.id for one in post.deliveries.deployments()}) == 2
