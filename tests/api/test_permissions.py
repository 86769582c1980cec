"""Who may do what: every route that the OpenAPI document lists, tried by every role."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.api.world import World, extra, until
from tightrope.access.roles import NEEDS, Permission, Role

OPEN = {"/healthz", "/readyz", "/api/v1/hooks/{integration}", "/api/v1/errors/{name}", "/api/v1/session"}
"""Where nobody has to show who they are, in any of the methods."""

DIALECTS = "/api/v1/dialects/"
"""Where who is not known hears no 401 but what does no harm in that dialect; tests/contracts has them."""

BODIES: dict[tuple[str, str], dict[str, Any]] = {
    ("post", "/api/v1/backtest"): {"json": {"names": ["none"]}},
    ("post", "/api/v1/gate/{service}"): {"json": {}},
    ("post", "/api/v1/exceptions"): {"json": {"service": "checkout", "reason": " "}},
    ("post", "/api/v1/exceptions/break-glass"): {"json": {"service": "checkout", "reason": " "}},
    ("post", "/api/v1/exceptions/{exception}/grant"): {"json": {}},
    ("post", "/api/v1/exceptions/{exception}/refuse"): {"json": {}},
    ("post", "/api/v1/exceptions/{exception}/revoke"): {"json": {}},
    ("post", "/api/v1/deployments"): {"json": {"service": "checkout"}},
    ("post", "/api/v1/findings/{finding}/close"): {"json": {"reason": "x"}},
    ("post", "/api/v1/pipelines/{pipeline}/runs"): {"json": {}},
    ("post", "/api/v1/pipelines/pushes"): {"json": {"repository": "none", "ref": "refs/heads/main", "after": "a" * 40}},
    ("post", "/api/v1/runs/{run}/cancel"): {"json": {}},
    ("post", "/api/v1/runs/{run}/retry"): {"json": {}},
    ("post", "/api/v1/runs/{run}/settle"): {"json": {"step": "x", "as": "failed", "reason": "x"}},
    ("post", "/api/v1/rollouts"): {"json": {"service": "checkout", "version": "2"}},
    ("post", "/api/v1/rollouts/{rollout}/promote"): {"json": {}},
    ("post", "/api/v1/rollouts/{rollout}/abort"): {"json": {}},
    ("post", "/api/v1/rollouts/{rollout}/pause"): {"json": {}},
    ("post", "/api/v1/rollouts/{rollout}/resume"): {"json": {}},
    ("post", "/api/v1/rollouts/{rollout}/counts"): {
        "json": {
            "slo": "x",
            "until": "2026-01-01",
            "canary": {"bad": 0, "total": 0},
            "baseline": {"bad": 0, "total": 0},
        }
    },
    ("post", "/api/v1/silences"): {"json": {"matchers": ["alertname=None"], "duration": "1h", "reason": "x"}},
    ("post", "/api/v1/tokens"): {"json": {"name": "x", "role": "viewer", "expiresAt": "2000-01-01"}},
    ("put", "/api/v1/specs"): {"content": extra("by-role"), "params": {"dryRun": "true"}},
    ("put", "/api/v1/specs/{kind}/{name}"): {"content": extra("none")},
    ("post", "/api/v1/specs/validate"): {"content": extra("none")},
    ("post", "/api/v1/push"): {"content": b"nonsense"},
    ("post", "/api/v1/write"): {"content": b"nonsense"},
    ("post", "/api/v1/otlp/v1/metrics"): {"content": b"nonsense"},
    ("post", "/v1/metrics"): {"content": b"nonsense"},
}


def _routes(world: World) -> list[tuple[str, str, str]]:
    return [
        (method, path, operation["x-permission"])
        for path, methods in world.app.openapi()["paths"].items()
        for method, operation in methods.items()
        if path != "/api/v1/events/stream"  # it goes on for ever; tests/api/test_events.py has it
    ]


def _asked(world: World, method: str, path: str, who: str) -> int:
    more = dict(BODIES.get((method, path), {}))
    if "{" in path and path != "/api/v1/gate/{service}":
        path = re.sub(r"{(?!service})\w+}", "none", path)
    return world.ask(method.upper(), path.replace("{service}", "checkout"), who, **more).status_code


def test_every_route_says_what_it_takes(world: World) -> None:
    routes = _routes(world)
    assert len(routes) > 45
    assert {permission for _, _, permission in routes} <= {*map(str, Permission), "none"}


@pytest.mark.parametrize("role", [*Role])
def test_a_role_may_do_what_it_is_trusted_with_and_no_more(world: World, role: Role) -> None:
    wrong = []
    for method, path, permission in _routes(world):
        if permission == "none" or path == "/api/v1/session":
            continue
        refused = _asked(world, method, path, str(role)) == 403
        expected = role < NEEDS[Permission(permission)]
        if refused is not expected:
            wrong.append((method, path, permission, "was refused" if refused else "was let in"))
    assert wrong == []


def test_nobody_gets_in_without_a_token(world: World) -> None:
    let_in = [
        (method, path)
        for method, path, permission in _routes(world)
        if permission != "none" and _asked(world, method, path, "") != 401
    ]
    assert let_in == []
    open_to_all = {path for _, path, permission in _routes(world) if permission == "none"}
    assert {path for path in open_to_all if not path.startswith(DIALECTS)} <= OPEN


def test_who_is_limited_to_a_service_sees_and_does_nothing_elsewhere(world: World) -> None:
    assert [one["name"] for one in world.get("/api/v1/services", "basket").json()["items"]] == ["basket"]
    assert {one["service"] for one in world.get("/api/v1/status", "basket").json()} == {"basket"}
    assert world.get("/api/v1/services/checkout", "basket").status_code == 403
    assert world.get("/api/v1/services/checkout/explain", "basket").status_code == 403
    assert world.get("/api/v1/status?service=checkout", "basket").status_code == 403
    assert world.get("/api/v1/gate/checkout", "basket").status_code == 403
    assert world.get("/api/v1/gate/basket", "basket").status_code == 200
    world.get("/api/v1/gate/checkout")
    decisions = world.get("/api/v1/decisions?limit=1000", "basket").json()["items"]
    assert {one["decision"]["service"] for one in decisions} == {"basket"}
    newest = world.get("/api/v1/decisions?service=checkout").json()["items"][0]["decision"]["id"]
    assert world.get(f"/api/v1/decisions/{newest}", "basket").status_code == 403
    events = world.get("/api/v1/journal?limit=1000", "basket").json()["items"]
    assert {one["subject"] for one in events} == {"basket"}
    exported = world.get("/api/v1/journal/export", "basket").text
    assert "checkout" not in exported
    names = {one["name"] for one in world.get("/api/v1/specs?kind=SLO&limit=1000", "basket").json()["items"]}
    assert "basket-availability" in names
    assert "checkout-availability" not in names
    assert world.get("/api/v1/specs/SLO/checkout-availability", "basket").status_code == 404
    assert "checkout" not in world.get("/metrics", "basket").text
    series = world.get("/api/v1/query?query=tightrope_budget_remaining_ratio", "basket").json()["data"]["result"]
    assert {one["metric"]["service"] for one in series} == {"basket"}
    assert world.post("/api/v1/backtest", "basket", json={"names": ["checkout"]}).status_code == 404


def test_who_is_limited_to_a_service_silences_only_there(world: World) -> None:
    wanted = {"matchers": ["service=basket"], "duration": "1h", "reason": "x"}
    made = world.post("/api/v1/silences", "basket", json=wanted)
    assert made.status_code == 201
    for matchers in (["service=checkout"], ["service=~basket|checkout"], ["severity=page"]):
        assert world.post("/api/v1/silences", "basket", json=wanted | {"matchers": matchers}).status_code == 403
    other = world.post("/api/v1/silences", json=wanted | {"matchers": ["service=checkout"]}).json()["id"]
    assert world.ask("DELETE", f"/api/v1/silences/{other}", "basket").status_code == 403
    assert world.ask("DELETE", f"/api/v1/silences/{made.json()['id']}", "basket").status_code == 200
    assert world.ask("DELETE", f"/api/v1/silences/{other}").status_code == 200


def test_who_is_limited_to_a_service_applies_only_there(world: World) -> None:
    own, other = extra("scoped", service="basket"), extra("scoped-elsewhere", service="checkout")
    assert world.ask("PUT", "/api/v1/specs", "applier", content=other).status_code == 403
    assert world.ask("PUT", "/api/v1/specs", "applier", content=own + "---\n" + other).status_code == 403
    assert world.ask("PUT", "/api/v1/specs", "applier", content=own).status_code == 200
    until(lambda: world.get("/api/v1/specs/SLO/scoped", "applier").status_code == 200)
    until(lambda: "scoped" in world.get("/api/v1/services/basket").json()["slos"])
    moved = extra("scoped", service="checkout")
    headers = {"If-Match": "*"}
    assert world.ask("PUT", "/api/v1/specs/SLO/scoped", "applier", content=moved, headers=headers).status_code == 403
    assert world.ask("DELETE", "/api/v1/specs/SLO/scoped", "applier", headers=headers).status_code == 200
    until(lambda: "scoped" not in world.get("/api/v1/services/basket").json()["slos"])
    source = "apiVersion: openslo/v1\nkind: Service\nmetadata: {name: newcomer}\nspec: {description: x}\n"
    assert world.ask("PUT", "/api/v1/specs", "applier", content=source).status_code == 403
