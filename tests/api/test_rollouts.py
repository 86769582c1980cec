"""Rollouts over the API: planned, begun, told, fed with counts and shown; each by who may."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.api.world import World, running, until, write_fleet
from tightrope.base.clock import now
from tightrope.base.units import time_text

STRATEGY = """\
apiVersion: tightrope.dev/v1
kind: RolloutStrategy
metadata: {{name: {service}}}
spec:
  service: {service}
  steps: [{{weight: 50%, bake: 3s}}]
  allowance: 50%
  reaction: {{measure: 60s, evaluate: 1s, act: 1s}}
  analysis:
    slos: [checkout-availability]
    clusterGuard: 1
    minimumExposure: {{requests: 0, for: 1s}}
    arms: {{push: true}}
  target:
    shell:
      folder: {folder}
      setWeight: echo "$TIGHTROPE_WEIGHT" > weight
      observe: cat weight
---
"""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A server of its own, whose checkout can be released."""
    folder = tmp_path_factory.mktemp("shop")
    write_fleet(folder, now())
    (folder / "weight").write_text("0\n")
    specs = folder / "shop.yaml"
    text = specs.read_text().replace("objectives: [{target: 0.99}]", "objectives: [{target: 0.9}]", 1)
    specs.write_text(STRATEGY.format(service="checkout", folder=folder) + text)
    with running(folder, required=True) as world:
        yield world


def begun(world: World, version: str, **more: Any) -> dict[str, Any]:
    answer = world.post(
        "/api/v1/rollouts", "operator", json={"service": "checkout", "version": version, "previous": "1"} | more
    )
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    assert answer.headers["location"] == f"/api/v1/rollouts/{found['id']}"
    return found


def shown(world: World, name: str) -> dict[str, Any]:
    found: dict[str, Any] = world.get(f"/api/v1/rollouts/{name}", "viewer").json()
    return found


def at_half(world: World, name: str) -> bool:
    return shown(world, name).get("seenWeight") == 0.5


def gauged(world: World) -> dict[str, list[tuple[dict[str, str], float]]]:
    """The gauges of the server, as they are now."""
    return {one.name: [(dict(labels), value) for labels, value in one.samples] for one in world.server.metrics()}


def landed(world: World, name: str) -> None:
    """Wait until it is rolled back: it is told that no request met the new version after that."""
    until(lambda: shown(world, name)["phase"] == "rolling back" and shown(world, name)["settledAt"])
    nothing = {"bad": 0, "total": 0}
    counts = {"slo": "checkout-availability", "until": time_text(now() + 5), "canary": nothing, "baseline": nothing}
    assert world.post(f"/api/v1/rollouts/{name}/counts", "operator", json=counts).status_code == 202
    until(lambda: shown(world, name)["over"])


def test_a_plan_is_drawn_up_by_the_strategy(shop: World) -> None:
    plan = shop.get("/api/v1/rollouts/plan?service=checkout", "viewer").json()
    assert plan["possible"]
    assert [one["weight"] for one in plan["stages"]] == [0.5, 1]
    assert plan["costsAtMost"][0]["slo"] == "checkout-availability"
    assert shop.get("/api/v1/rollouts/plan?service=basket", "viewer").status_code == 404
    assert shop.get("/api/v1/rollouts/plan?service=checkout", "basket").status_code == 403


def test_a_release_is_begun_counted_told_and_taken_back(shop: World) -> None:
    assert shop.post("/api/v1/rollouts", "viewer", json={"service": "checkout", "version": "2"}).status_code == 403
    assert shop.post("/api/v1/rollouts", "basket", json={"service": "checkout", "version": "2"}).status_code == 403
    one = begun(shop, "2", kind="reliability")
    name = str(one["number"])
    assert (one["service"], one["version"], one["kind"], one["by"]) == ("checkout", "2", "reliability", "operator")
    until(lambda: at_half(shop, name))
    assert shop.server.rollouts.running("checkout") == 1
    decision = shop.post("/api/v1/gate/checkout", "operator", json={}).json()
    assert decision["verdict"] == "go"
    kept = shop.server.decision(decision["id"])
    assert kept is not None
    assert kept.record.facts.rollouts_running == 1
    counts = {
        "slo": "checkout-availability",
        "until": time_text(now() + 2),
        "canary": {"bad": 40, "total": 100},
        "baseline": {"bad": 0, "total": 100},
    }
    path = f"/api/v1/rollouts/{name}/counts"
    assert shop.post(path, "viewer", json=counts).status_code == 403
    assert shop.post(path, "operator", json=counts | {"slo": "search-pushed"}).status_code == 400
    assert shop.post(path, "operator", json=counts | {"canary": {"bad": 2, "total": 1}}).status_code in {400, 422}
    assert shop.post(path, "operator", json=counts).status_code == 202
    landed(shop, name)
    ended = shown(shop, name)
    assert ended["phase"] == "rolled back"
    assert ended["evidence"]["verdict"] == "harm"
    assert ended["objectives"][0]["canaryBad"] == 40
    assert "weight 0 seen" in ended["proof"]
    turns = shop.get(f"/api/v1/rollouts/{name}/turns", "viewer").json()["items"]
    assert max(one["harm"] for one in turns) >= turns[0]["bound"]
    assert shop.get(f"/api/v1/rollouts/{name}/turns?after={turns[-2]['turn']}", "viewer").json()["items"] == turns[-1:]
    assert shop.get(f"/api/v1/rollouts/{name}/replay", "viewer").json()["agrees"] is True
    until(lambda: shop.server.rollouts.running("checkout") == 0)
    assert shop.post(f"/api/v1/rollouts/{name}/abort", "operator", json={}).status_code == 409


def test_people_pause_resume_promote_and_abort_and_are_named(shop: World) -> None:
    one = begun(shop, "3")
    name = str(one["id"])
    until(lambda: at_half(shop, name))
    gauges = gauged(shop)
    assert gauges["tightrope_rollout_weight_ratio"] == [({"service": "checkout", "environment": "production"}, 0.5)]
    phases = {labels["phase"]: value for labels, value in gauges["tightrope_rollout_phase"]}
    assert sum(phases.values()) == 1
    assert phases["baking"] + phases["holding"] == 1
    ((_, bound),) = gauges["tightrope_rollout_evidence_bound_nats"]
    ((_, evidence),) = gauges["tightrope_rollout_evidence_nats"]
    assert -1 < evidence < bound == pytest.approx(2.9957, abs=1e-3)
    ((labels, spent),) = gauges["tightrope_rollout_allowance_spent_ratio"]
    assert labels["slo"] == "checkout-availability"
    assert 0 <= spent <= 1
    states = {(labels["kind"], labels["state"]): value for labels, value in gauges["tightrope_runs"]}
    assert states["rollout", "running"] == 1
    assert states["rollout", "queued"] == 0
    assert states["pipeline", "running"] == 0
    assert ({"kind": "rollout", "state": "running"}, 1.0) in gauges["tightrope_run_steps"]
    tell = f"/api/v1/rollouts/{name}"
    assert shop.post(f"{tell}/pause", "viewer", json={}).status_code == 403
    assert shop.post(f"{tell}/pause", "operator", json={"reason": "lunch"}).status_code == 200
    until(lambda: shown(shop, name)["paused"])
    shop.post(f"{tell}/resume", "operator", json={})
    until(lambda: not shown(shop, name)["paused"])
    shop.post(f"{tell}/promote", "operator", json={"all": True, "reason": "seen enough"})
    until(lambda: shown(shop, name)["weight"] == 1)
    shop.post(f"{tell}/abort", "admin", json={"reason": "wrong build"})
    landed(shop, name)
    assert "aborted by admin: wrong build" in shown(shop, name)["why"]
    until(lambda: not gauged(shop)["tightrope_rollout_phase"])
    until(lambda: all(value == 0 for _, value in gauged(shop)["tightrope_runs"]))


def test_rollouts_are_listed_and_nobody_sees_those_of_others(shop: World) -> None:
    for version in ("8", "9"):
        name = str(begun(shop, version)["number"])
        until(lambda name=name: at_half(shop, name))  # type: ignore[misc]
        shop.post(f"/api/v1/rollouts/{name}/abort", "admin", json={"reason": "only to be listed"})
        landed(shop, name)
    listed = shop.get("/api/v1/rollouts?limit=1", "viewer").json()
    assert len(listed["items"]) == 1
    assert listed["next"]
    more = shop.get(listed["next"], "viewer").json()
    assert more["items"][0]["number"] < listed["items"][0]["number"]
    assert shop.get("/api/v1/rollouts?running=true", "viewer").json()["items"] == []
    assert shop.get("/api/v1/rollouts?service=checkout", "basket").status_code == 403
    assert shop.get("/api/v1/rollouts/999", "viewer").status_code == 404
    missing = shop.get("/api/v1/rollouts/none", "viewer")
    assert missing.headers["content-type"] == "application/problem+json"


def test_what_says_too_little_is_refused(shop: World, tmp_path: Path) -> None:
    for told, status in (
        ({"service": "checkout"}, 422),
        ({"service": "checkout", "version": " "}, 400),
        ({"service": "nobody", "version": "1"}, 404),
        ({"service": "checkout", "version": "1", "kind": "holiday"}, 422),
        ({"service": "checkout", "version": "1", "environment": "moon"}, 404),
    ):
        answer = shop.post("/api/v1/rollouts", "operator", json=told)
        assert answer.status_code == status, answer.text
        assert answer.json()["detail"]
