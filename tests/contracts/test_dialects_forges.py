"""Callers that are answered later, from their webhook to our call, against a real server: GitHub and GitLab."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import httpx2
import pytest

from tests.api.world import World, until
from tests.contracts.dialect_world import close_gate, dialect_world, open_gate
from tests.delivery.forges import APP, INSTALLATION, GitHubServer, GitLabServer, app_key, listening
from tests.delivery.hold_worlds import blocked, protection, status_check

HOOK_SECRET = "It's a Secret to Everybody"

INTEGRATIONS = """\
---
apiVersion: tightrope.dev/v1
kind: Integration
metadata: {{name: github}}
spec:
  type: github
  secretFrom: {{env: TIGHTROPE_TEST_HOOK}}
  url: {github}
  app: {{id: {app}, installation: {installation}, privateKeyFrom: {{env: TIGHTROPE_TEST_KEY}}}}
  map: [{{repository: acme/shop, service: held-1, environments: {{"prod*": production}}}}]
---
apiVersion: tightrope.dev/v1
kind: Integration
metadata: {{name: gitlab}}
spec:
  type: gitlab
  secretFrom: {{env: TIGHTROPE_TEST_HOOK}}
  tokenFrom: {{env: TIGHTROPE_TEST_GITLAB}}
  url: {gitlab}/api/v4
  map: [{{repository: acme/shop, service: held-2}}]
"""


@dataclass
class Joined:
    """A server between a GitHub and a GitLab."""

    world: World
    github: GitHubServer
    gitlab: GitLabServer


@pytest.fixture(scope="module", name="joined")
def _joined(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Joined]:
    github, gitlab = GitHubServer(), GitLabServer()
    with pytest.MonkeyPatch.context() as patch, listening(github), listening(gitlab):
        patch.setenv("TIGHTROPE_TEST_HOOK", HOOK_SECRET)
        patch.setenv("TIGHTROPE_TEST_KEY", app_key())
        patch.setenv("TIGHTROPE_TEST_GITLAB", gitlab.token)
        more = INTEGRATIONS.format(github=github.url, gitlab=gitlab.url, app=APP, installation=INSTALLATION)
        with dialect_world(tmp_path_factory.mktemp("forges"), more) as world:
            yield Joined(world, github, gitlab)


@dataclass
class GitHubHook:
    """GitHub's side of a webhook: signs the raw body, and gives the same delivery the same id."""

    url: str
    secret: str = HOOK_SECRET
    statuses: list[int] = field(default_factory=list)

    def send(self, event: str, payload: Any, delivery: str = "") -> int:
        body = json.dumps(payload).encode()
        signature = hmac.new(self.secret.encode(), body, hashlib.sha256).hexdigest()
        headers = {
            "content-type": "application/json",
            "x-github-event": event,
            "x-github-delivery": delivery or str(uuid4()),
            "x-hub-signature-256": f"sha256={signature}",
        }
        self.statuses.append(httpx2.post(self.url, content=body, headers=headers, timeout=10).status_code)
        return self.statuses[-1]


@dataclass
class GitLabHook:
    """GitLab's side: four failures in a row disable a hook, and so does any 4xx, until a person enables it again."""

    url: str
    secret: str = HOOK_SECRET
    failures: int = 0
    disabled: bool = False

    def send(self, event: str, payload: Any) -> bool:
        """Send it, if the hook is not disabled; tells whether it was taken."""
        if self.disabled:
            return False
        headers = {"x-gitlab-event": event, "x-gitlab-event-uuid": str(uuid4()), "x-gitlab-token": self.secret}
        status = httpx2.post(self.url, json=payload, headers=headers, timeout=10).status_code
        if 200 <= status < 300:
            self.failures = 0
            return True
        self.failures += 1
        self.disabled = 400 <= status < 500 or self.failures >= 4
        return False


def test_a_job_of_github_waits_and_starts_by_itself_when_the_gate_opens(joined: Joined) -> None:
    world, github = joined.world, joined.github
    close_gate(world, "held-1")
    hook = GitHubHook(f"{world.url}/api/v1/hooks/github")
    payload = protection(github.url)
    assert hook.send("deployment_protection_rule", payload, "d-1") in {200, 202}
    assert hook.send("deployment_protection_rule", payload, "d-1") in {200, 202}
    until(lambda: github.comments)
    assert github.comments["acme/shop 42 prod-eu"][0].startswith("**stop**: held-1 has overspent")
    assert github.reviews == {}
    open_gate(world, "held-1")
    until(lambda: github.reviews)
    assert github.reviews == {"acme/shop 42 prod-eu": "approved"}
    held = world.get("/api/v1/holds?service=held-1").json()["items"]
    assert [(one["caller"], one["state"]) for one in held] == [("github-deployment", "approved")]
    shown = world.get(f"/api/v1/holds/{held[0]['id']}").json()
    assert [(one["verb"], one["state"]) for one in shown["calls"]] == [("comment", "done"), ("approve", "done")]
    assert world.get(f"/api/v1/decisions/{held[0]['decision']}").json()["decision"]["verdict"] == "go"
    kinds = [one["type"] for one in world.get("/api/v1/journal?subject=held-1&limit=1000").json()["items"]]
    assert "dev.cdevents.approval.created.0.1.0" in kinds
    assert "dev.cdevents.approval.closed.0.1.0" in kinds


def test_a_forged_delivery_of_github_holds_nothing(joined: Joined) -> None:
    before = len(joined.world.get("/api/v1/holds?limit=1000").json()["items"])
    forged = GitHubHook(f"{joined.world.url}/api/v1/hooks/github", secret="guessed")
    assert forged.send("deployment_protection_rule", protection(joined.github.url, 43)) in {400, 401, 403}
    elsewhere = protection("https://evil.example", 44)
    genuine = GitHubHook(f"{joined.world.url}/api/v1/hooks/github")
    assert genuine.send("deployment_protection_rule", elsewhere) in {200, 202}
    waiting = "/api/v1/hooks/github/deliveries?state=waiting"
    until(lambda: not joined.world.get(waiting).json()["items"])
    assert len(joined.world.get("/api/v1/holds?limit=1000").json()["items"]) == before
    aside = joined.world.get("/api/v1/hooks/github/deliveries?state=set-aside").json()["items"]
    assert "wants to be answered elsewhere" in json.dumps(aside)


def test_gitlab_is_never_told_4xx_for_what_is_genuine_or_it_would_disable_the_hook(joined: Joined) -> None:
    world, gitlab = joined.world, joined.gitlab
    close_gate(world, "held-2")
    hook = GitLabHook(f"{world.url}/api/v1/hooks/gitlab")
    for event, payload in (
        ("Push Hook", {"object_kind": "push"}),
        ("Some New Hook", {"object_kind": "of a kind that nobody knows"}),
        ("Note Hook", {"object_kind": "note", "project": None}),
        ("Deployment Hook", {**blocked(99, 990), "project": {"id": 7, "path_with_namespace": "somebody/else"}}),
    ):
        assert hook.send(event, payload), event
    assert hook.send("Deployment Hook", blocked())
    until(lambda: world.get("/api/v1/holds?service=held-2").json()["items"])
    assert gitlab.approvals == {}
    open_gate(world, "held-2")
    until(lambda: gitlab.played)
    assert (gitlab.approvals, gitlab.played) == ({15: "approved"}, [796])
    assert not hook.disabled


def test_a_status_check_of_gitlab_shows_its_token_in_the_path(joined: Joined) -> None:
    """It can send no header of ours."""
    world, gitlab = joined.world, joined.gitlab
    sha = "d" * 40
    gitlab.newest[3] = sha
    url = f"{world.url}/api/v1/dialects/key/{world.tokens['operator']}/gitlab/gitlab"
    assert httpx2.post(url, json=status_check(sha)).json()["state"] in {"waiting", "approved"}
    until(lambda: (sha, "passed") in gitlab.statuses)
    assert httpx2.post(url, json={"object_kind": "merge_request"}).json()["state"] == "ignored"
    assert httpx2.post(url, content=b"{").status_code == 202
    assert httpx2.post(f"{world.url}/api/v1/dialects/gitlab/gitlab", json=status_check(sha)).status_code == 401
