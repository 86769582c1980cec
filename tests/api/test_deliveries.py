"""Deployments and findings over the API, and the command line against it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.api.world import World
from tightrope.cli.main import cli


def recorded(world: World, who: str = "operator", **told: Any) -> dict[str, Any]:
    answer = world.post("/api/v1/deployments", who, json={"service": "basket"} | told)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_a_deployment_is_recorded_shown_and_listed(world: World) -> None:
    line = [
        {"sha": "a" * 40, "message": "feat: one", "committedAt": "2026-01-01T00:00:00Z", "parents": []},
        {"sha": "b" * 40, "message": "fix: two", "committedAt": "2026-01-01T00:01:00Z", "parents": ["a" * 40]},
    ]
    told = {"environment": "qa", "repository": "github.com/acme/basket"}
    first = recorded(world, revision="a" * 40, at="2026-01-02T00:00:00Z", **told)
    made = recorded(
        world, revision="b" * 40, version="v2", at="2026-01-02T00:01:00Z", history=line, title="Two", **told
    )
    assert (made["kind"], made["previous"], made["commitCount"], made["by"]) == ("reliability", "a" * 40, 1, "operator")
    shown = world.get(f"/api/v1/deployments/{made['id']}", "viewer").json()
    assert shown == made
    assert [one["title"] for one in shown["commits"]] == ["fix: two"]
    listed = world.get("/api/v1/deployments?service=basket&environment=qa", "viewer").json()["items"]
    assert [one["id"] for one in listed] == [made["id"], first["id"]]
    assert "commits" not in listed[0]
    (change,) = [
        one for one in world.get("/api/v1/changes?repository=acme/basket").json()["items"] if one["sha"] == "b" * 40
    ]
    assert [one["id"] for one in change["deployments"]] == [made["id"]]


def test_the_same_id_is_the_same_deployment(world: World) -> None:
    told = {"id": "run-7", "version": "v7", "environment": "ids"}
    began = recorded(world, **told, state="started", at="2026-01-01T00:00:00Z")
    ended = recorded(world, **told, at="2026-01-01T00:05:00Z")
    late = recorded(world, **told, state="started", at="2026-01-01T00:00:00Z")
    assert began["id"] == ended["id"]
    assert late == ended
    assert (ended["startedAt"], ended["finishedAt"]) == ("2026-01-01T00:00:00Z", "2026-01-01T00:05:00Z")


def test_deployments_are_paged_and_nobody_sees_those_of_others(world: World) -> None:
    names = [recorded(world, version=f"v{number}", environment="paged")["id"] for number in range(5)]
    recorded(world, service="checkout", version="v1", environment="paged")
    seen: list[str] = []
    path: str | None = "/api/v1/deployments?environment=paged&limit=2"
    while path is not None:
        page = world.get(path, "basket").json()
        seen += [one["id"] for one in page["items"]]
        path = page["next"]
    assert sorted(seen) == sorted(names)
    assert world.get("/api/v1/deployments?service=checkout", "basket").status_code == 403
    assert world.post("/api/v1/deployments", "basket", json={"service": "checkout", "version": "1"}).status_code == 403
    assert world.get("/api/v1/changes", "basket").status_code == 403
    assert world.get("/api/v1/changes?service=basket", "basket").status_code == 200


@pytest.mark.parametrize(
    ("told", "status", "says"),
    [
        ({"service": "nobody", "version": "v1"}, 404, "nobody"),
        ({"service": "basket"}, 400, "what was deployed"),
        ({"service": "basket", "version": "v1", "state": "rolled-back"}, 422, "state"),
        ({"service": "basket", "version": "v1", "at": "yesterday"}, 400, "yesterday"),
        ({"service": "basket", "version": "v1", "history": [{"sha": "zz"}]}, 422, "sha"),
    ],
)
def test_what_cannot_be_recorded_is_told(world: World, told: dict[str, Any], status: int, says: str) -> None:
    answer = world.post("/api/v1/deployments", json=told)
    assert (answer.status_code, says in answer.text) == (status, True), answer.text


def asked(world: World, service: str, change: str) -> dict[str, Any]:
    """Ask the gate about a change in the environment ``gated``, of which nobody else asks without naming one."""
    found: dict[str, Any] = world.post(
        f"/api/v1/gate/{service}", json={"change": change, "environment": "gated"}
    ).json()
    return found


def test_a_deployment_without_a_decision_opens_a_finding_and_one_with_it_does_not(world: World) -> None:
    assert asked(world, "checkout", "v10")["verdict"] == "go"
    made = recorded(world, service="checkout", version="past-the-gate", environment="gated")
    (finding,) = made["findings"]
    assert (finding["kind"], finding["open"]) == ("no-decision", True)
    assert finding["says"] == "checkout past-the-gate went to gated without a decision of the gate"
    assert recorded(world, service="checkout", version="v10", environment="gated")["findings"] == []
    stopped = asked(world, "basket", "v10")
    assert stopped["verdict"] == "stop"
    moment = world.server.now()
    after = recorded(world, version="v10", environment="gated", decision=stopped["id"], at=str(moment))
    assert [one["kind"] for one in after["findings"]] == ["after-stop"]
    back = recorded(world, version="v9", environment="gated", at=str(moment + 1))
    assert (back["rollback"], back["findings"]) == (True, [])
    found = world.get("/api/v1/findings?open=true&service=checkout").json()["items"]
    assert finding in found
    path = f"/api/v1/findings/{finding['id']}/close"
    assert world.post(path, "operator", json={"reason": "x"}).status_code == 403
    assert world.post(path, "applier", json={"reason": "x"}).status_code == 403
    closed = world.post(path, "approver", json={"reason": "an emergency"}).json()
    assert (closed["open"], closed["closedBy"], closed["reason"]) == (False, "approver", "an emergency")
    assert world.post(path, "approver", json={"reason": "again"}).status_code == 409
    assert finding["id"] not in [one["id"] for one in world.get("/api/v1/findings?open=true").json()["items"]]


def test_the_command_line_tells_a_server(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TIGHTROPE_TOKEN", world.tokens["approver"])
    monkeypatch.setenv("TIGHTROPE_SERVER", world.url)
    asked(world, "checkout", "v11")

    def run(*arguments: str) -> Any:
        cli.main([*arguments, "-o", "json"], standalone_mode=False)
        return json.loads(capsys.readouterr().out)

    made = run("deployment", "record", "checkout", "--version", "cli-1", "--environment", "gated")
    assert (made["by"], made["source"], made["state"]) == ("approver", "cli", "succeeded")
    assert run("deployment", "show", made["id"]) == made
    listed = run("deployment", "list", "--service", "checkout", "--since", "2020-01-01")
    assert made["id"] in [one["id"] for one in listed]
    (finding,) = made["findings"]
    assert finding in run("finding", "list", "--service", "checkout")
    assert run("finding", "close", finding["id"], "--reason", "a trial")["closedBy"] == "approver"


def test_a_recorded_deployment_answers_for_what_the_budget_lost_after_it(world: World) -> None:
    def causes() -> dict[str, float]:
        (account,) = world.get("/api/v1/services/basket/attribution").json()["items"]
        return {one["name"]: one["bad"] for one in account["causes"] if one["cause"] == "D"}

    assert "v-bad" not in causes()
    end = world.server.assessments("basket")[0].statement.at
    recorded(world, version="v-bad", startedAt=str(end - 4 * 3600 - 60), at=str(end - 4 * 3600))
    assert causes()["v-bad"] > 1000


def test_the_gate_knows_what_a_change_is_for_from_what_is_live(world: World) -> None:
    names = ["c" * 40, "d" * 40, "e" * 40]
    line = [
        {"sha": name, "message": message, "committedAt": f"2026-02-01T00:0{number}:00Z", "parents": names[:number][-1:]}
        for number, (name, message) in enumerate(zip(names, ("feat: a", "fix: b", "feat: c"), strict=True))
    ]
    told: dict[str, Any] = {"environment": "known", "repository": "github.com/acme/known", "history": line}
    recorded(world, revision=names[0], version="v1", at="2026-02-01T01:00:00Z", **told)

    def verdict(change: str, **more: str) -> tuple[str, str, str]:
        asked = {"change": change, "environment": "known"} | more
        found = world.post("/api/v1/gate/basket", json=asked).json()
        return found["verdict"], found["kind"], found["kindFrom"]

    assert verdict("unknown") == ("stop", "feature", "default")
    assert verdict(names[2]) == ("stop", "feature", "2 commits since v1: conventional commit")
    assert verdict(names[1]) == ("go", "reliability", "1 commit since v1: conventional commit")
    assert verdict(names[1], kind="feature") == ("stop", "feature", "given")
    recorded(world, revision=names[2], version="v2", at="2026-02-01T02:00:00Z", **told)
    back = verdict(names[0])
    assert back[:2] == ("go", "rollback")
    assert "is in the past of" in back[2]
