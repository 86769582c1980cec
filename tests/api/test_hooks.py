"""Webhooks over HTTP: who is taken, who is refused, and with which status."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.api.world import SPECS, World, running, until, write_fleet
from tests.contracts import hooks
from tests.contracts.hooks import SECRET

INTEGRATIONS = """\
---
apiVersion: tightrope.dev/v1
kind: Integration
metadata: {name: github}
spec:
  type: github
  secretFrom: {env: TEST_HOOK_SECRET}
  map: [{repository: acme/shop, service: checkout, environments: {prod: hooked}}]
---
apiVersion: tightrope.dev/v1
kind: Integration
metadata: {name: gitlab}
spec:
  type: gitlab
  secretFrom: {env: TEST_HOOK_SECRET}
  map: [{repository: acme/shop, service: checkout}]
"""


@pytest.fixture(scope="module")
def hooked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A server that wants a token of everybody, and has integrations."""
    folder: Path = tmp_path_factory.mktemp("hooks")
    write_fleet(folder, hooks.NOON)
    (folder / "shop.yaml").write_text(SPECS + INTEGRATIONS, encoding="utf-8")
    with pytest.MonkeyPatch.context() as surroundings:
        surroundings.setenv("TEST_HOOK_SECRET", SECRET)
        with running(folder, required=True) as found:
            yield found


def send(world: World, integration: str, headers: dict[str, str], body: bytes) -> httpx2.Response:
    return world.client("").post(f"/api/v1/hooks/{integration}", content=body, headers=headers)


def state(world: World, integration: str, name: str) -> dict[str, Any]:
    listed = world.get(f"/api/v1/hooks/{integration}/deliveries?limit=1000").json()["items"]
    found: dict[str, Any] = next(one for one in listed if one["id"] == name)
    return found


def test_a_delivery_is_answered_at_once_and_becomes_a_deployment(hooked: World) -> None:
    sent = hooks.github("deployment_status", hooks.github_deployment("success"), "api-1")
    answer = send(hooked, "github", *sent)
    assert (answer.status_code, answer.json()["state"]) == (202, "waiting")
    until(lambda: state(hooked, "github", answer.json()["delivery"])["state"] == "done")
    (made,) = hooked.get("/api/v1/deployments?service=checkout&environment=hooked").json()["items"]
    assert (made["version"], made["source"], made["externalId"]) == (
        "v2.36.0",
        "github",
        "github.com/acme/shop#145988746",
    )
    again = send(hooked, "github", *sent)
    assert (again.status_code, again.json()["delivery"]) == (200, answer.json()["delivery"])


def test_what_is_forged_is_401_and_what_is_none_is_400_but_never_for_gitlab(hooked: World) -> None:
    headers, body = hooks.github("ping", {"zen": "x"}, "api-2")
    forged = send(hooked, "github", headers | {"x-hub-signature-256": "sha256=00"}, body)
    assert forged.status_code == 401
    assert forged.headers["content-type"] == "application/problem+json"
    nothing = b"{"
    signed = headers | {"x-hub-signature-256": f"sha256={hooks.signature(nothing)}"}
    assert send(hooked, "github", signed, nothing).status_code == 400
    taken = send(hooked, "gitlab", {"x-gitlab-token": SECRET}, nothing)
    assert (taken.status_code, taken.json()["state"]) == (202, "set-aside")
    assert send(hooked, "gitlab", {"x-gitlab-token": "guess"}, nothing).status_code == 401
    refused = hooked.get("/api/v1/hooks/github/deliveries?state=refused").json()["items"]
    assert refused
    assert "not signed" in refused[-1]["why"]


def test_what_is_too_large_is_413_and_who_is_unknown_is_404(hooked: World) -> None:
    sent = {"content-type": "application/json"}
    assert send(hooked, "github", sent, b"x" * (25 * 1024 * 1024 + 1)).status_code == 413
    assert send(hooked, "nobody", sent, b"{}").status_code == 404


def test_a_large_delivery_is_taken(hooked: World) -> None:
    commits = [hooks.github_commit(number, "fix: it\n" + "x" * 5000) for number in range(20, 620)]
    answer = send(hooked, "github", *hooks.github("push", hooks.github_push(*commits), "api-3"))
    assert answer.status_code == 202
    until(lambda: state(hooked, "github", answer.json()["delivery"])["state"] == "done")
    assert len(hooked.get("/api/v1/changes?repository=acme/shop&limit=1000").json()["items"]) >= 600


def test_what_was_set_aside_is_shown_and_read_again(hooked: World) -> None:
    wrong = hooks.github("deployment_status", hooks.github_deployment("success", id=None), "api-4")
    name = send(hooked, "github", *wrong).json()["delivery"]
    until(lambda: state(hooked, "github", name)["state"] == "set-aside")
    assert state(hooked, "github", name)["why"] == "id is missing"
    path = f"/api/v1/hooks/github/deliveries/{name}/redeliver"
    assert hooked.post(path, "viewer").status_code == 403
    assert hooked.post(path.replace("/github/", "/gitlab/"), "operator").status_code == 404
    assert hooked.post(path, "operator").status_code == 202
    until(lambda: state(hooked, "github", name)["attempts"] == 2)
    push = hooks.github("push", hooks.github_push(hooks.github_commit(2, "fix: a")), "api-6")
    other = send(hooked, "github", *push).json()["delivery"]
    until(lambda: state(hooked, "github", other)["state"] == "done")
    assert hooked.post(path.replace(name, other), "operator").status_code == 409


def test_who_is_limited_to_a_service_sees_no_deliveries(hooked: World) -> None:
    assert hooked.get("/api/v1/hooks/github/deliveries", "basket").status_code == 403
    assert hooked.get("/api/v1/hooks/github/deliveries", "viewer").status_code == 200


def test_a_page_of_another_site_can_send_nothing_that_is_taken(hooked: World) -> None:
    headers, body = hooks.github("ping", {"zen": "x"}, "api-5")
    foreign = {"origin": "https://evil.example", "sec-fetch-site": "cross-site"}
    unsigned = {key: value for key, value in headers.items() if "signature" not in key}
    assert send(hooked, "github", unsigned | foreign, body).status_code == 401


def test_deliveries_and_findings_are_counted_for_those_who_scrape(hooked: World) -> None:
    name = send(hooked, "github", *hooks.github("ping", {"zen": "y"}, "api-7")).json()["delivery"]
    until(lambda: state(hooked, "github", name)["state"] == "ignored")
    send(hooked, "github", {"x-github-event": "ping"}, b"{}")
    told = hooked.get("/metrics").text
    assert 'tightrope_deliveries_total{integration="github",state="ignored"}' in told
    assert 'tightrope_deliveries_total{integration="github",state="refused"}' in told
