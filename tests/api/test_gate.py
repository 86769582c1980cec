"""The gate over HTTP: one decision for each second and question, recorded before it is told."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest

from tests.api.world import World, until
from tightrope.base.errors import StoreError
from tightrope.policy.decision import Decision, GateRequest


def in_one_second(ask: Callable[[], Any]) -> Any:
    """Do something early in a second, so that it ends in the same."""
    time.sleep(1.02 - time.time() % 1)  # noqa: TID251 - the server runs on the real clock
    return ask()


@pytest.mark.parametrize(
    ("asked", "kind", "found_in"),
    [
        ({}, "feature", "default"),
        ({"kind": "security"}, "security", "given"),
        ({"message": "fix: round down"}, "reliability", ""),
        ({"message": ["docs: say more", "feat: more"]}, "feature", ""),
        ({"labels": ["bug"]}, "reliability", ""),
        ({"kind": "config", "message": "feat: more"}, "config", "given"),
    ],
)
def test_the_kind_is_given_or_found_as_on_the_command_line(
    world: World, asked: dict[str, Any], kind: str, found_in: str
) -> None:
    found = world.post("/api/v1/gate/checkout", json=asked).json()
    assert found["kind"] == kind
    if found_in:
        assert found["kindFrom"] == found_in
    query = {"label" if name == "labels" else name: value for name, value in asked.items()}
    assert world.get("/api/v1/gate/checkout", params=query).json()["kind"] == kind


def test_a_rollback_goes_where_a_feature_does_not(world: World) -> None:
    assert world.get("/api/v1/gate/basket?kind=feature").json()["verdict"] == "stop"
    assert world.get("/api/v1/gate/basket?kind=rollback").json()["verdict"] == "go"


def test_who_asks_is_recorded_and_for_whom(world: World, local: World) -> None:
    assert world.get("/api/v1/gate/checkout", "operator").json()["askedBy"] == "operator"
    assert world.get("/api/v1/gate/checkout?as=maria", "operator").json()["askedBy"] == "maria (by operator)"
    assert local.get("/api/v1/gate/checkout", "").json()["askedBy"] == "local"
    assert local.get("/api/v1/gate/checkout?as=maria", "").json()["askedBy"] == "maria"


def test_all_who_ask_the_same_at_once_are_told_one_recorded_decision(world: World) -> None:
    change = "asked-by-many"

    def ask(number: int) -> dict[str, Any]:
        with httpx2.Client(headers={"Authorization": f"Bearer {world.tokens['operator']}"}) as client:
            found: dict[str, Any] = client.get(
                f"{world.url}/api/v1/gate/checkout?change={change}", headers={"traceparent": str(number)}
            ).json()
            return found

    with ThreadPoolExecutor(8) as pool:
        told = in_one_second(lambda: list(pool.map(ask, range(24))))
    by_second = {one["decidedAt"]: one["id"] for one in told}
    assert {(one["decidedAt"], one["id"]) for one in told} == set(by_second.items())
    kept = [
        one for one in world.server.decisions(service="checkout", limit=1000) if one.record.request.change == change
    ]
    assert sorted(one.record.decision.id for one in kept) == sorted(by_second.values())


def test_an_answer_from_memory_is_the_same_but_for_its_name(world: World) -> None:
    path = "/api/v1/gate/checkout?change=again"
    first, second = in_one_second(lambda: (world.get(path), world.get(path)))
    assert first.content == second.content
    assert first.headers["x-request-id"] != second.headers["x-request-id"]
    same = {"content-type", "content-length", "cache-control", "x-content-type-options"}
    assert {name: first.headers[name] for name in same} == {name: second.headers[name] for name in same}
    assert "date" in second.headers


def test_somebody_else_gets_no_answer_from_memory_that_is_not_theirs(world: World) -> None:
    path = "/api/v1/gate/checkout?change=mine"

    def ask() -> list[int]:
        return [world.get(path, who).status_code for who in ("operator", "viewer", "", "basket", "operator")]

    assert in_one_second(ask) == [200, 403, 401, 403, 200]


def test_a_revoked_token_opens_no_gate(world: World) -> None:
    made = world.post("/api/v1/tokens", json={"name": "gate-opener", "role": "operator"}).json()
    headers = {"Authorization": f"Bearer {made['token']}"}
    assert world.get("/api/v1/gate/checkout", "", headers=headers).status_code == 200
    world.ask("DELETE", f"/api/v1/tokens/{made['id']}")
    until(lambda: world.get("/api/v1/gate/checkout", "", headers=headers).status_code == 401, within_s=3)
    assert world.get("/api/v1/gate/checkout", "", headers=headers).status_code == 401


def test_nobody_waits_for_the_first_decision_of_a_second(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was decided in the second before is told meanwhile, and nothing that is older or about other facts."""
    real = world.server.decide
    path = "/api/v1/gate/checkout?change=no-wait"

    def slowly(request: GateRequest) -> Decision:
        time.sleep(0.3)
        return real(request)

    def twice() -> tuple[httpx2.Response, httpx2.Response]:
        before = world.get(path)
        monkeypatch.setattr(world.server, "decide", slowly)
        return before, in_one_second(lambda: world.get(path))

    number = world.server.live.snapshot.number
    before, meanwhile = in_one_second(twice)
    if world.server.live.snapshot.number == number:
        assert meanwhile.json() == before.json()
        assert meanwhile.elapsed.total_seconds() < 0.25
    time.sleep(0.4)
    assert world.get(path).json()["id"] != before.json()["id"]


def test_what_cannot_be_recorded_is_not_told_and_may_be_asked_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, failing = world.server.decide, threading.Event()

    def decide(request: GateRequest) -> Decision:
        if not failing.is_set():
            raise StoreError("the disk is full", remedy="make room")
        return real(request)

    monkeypatch.setattr(world.server, "decide", decide)
    answer = world.get("/api/v1/gate/checkout?change=unkept")
    assert (answer.status_code, answer.json()["detail"]) == (503, "the disk is full")
    failing.set()
    assert world.get("/api/v1/gate/checkout?change=unkept").status_code == 200


def test_a_bug_is_told_as_one_and_is_no_verdict(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def decide(request: GateRequest) -> Decision:
        raise RuntimeError(request.service)

    monkeypatch.setattr(world.server, "decide", decide)
    answer = world.get("/api/v1/gate/checkout?change=bug")
    assert answer.status_code == 500
    assert "verdict" not in answer.json()
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
    assert answer.json()["request_id"] in caplog.text


def test_too_many_questions_at_once_are_refused_and_not_queued(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tightrope.api.gate.MOST_WAITING", 0)
    answer = world.get("/api/v1/gate/checkout?change=busy")
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")


def test_names_that_need_escaping_reach_the_gate_whole(world: World) -> None:
    for name in ("a%2Fb", "%E2%82%AC", "a%20b"):
        found = world.get(f"/api/v1/gate/{name}").json()
        assert found["status"] == 404
    assert "'a/b'" in world.get("/api/v1/gate/a%2Fb").json()["detail"]
    assert world.get("/api/v1/gate/%ff").status_code == 422


def test_a_plain_answer_is_for_people(world: World) -> None:
    for answer in (
        world.get("/api/v1/gate/basket?dialect=plain"),
        world.get("/api/v1/gate/basket", headers={"Accept": "text/plain"}),
        world.post("/api/v1/gate/basket?dialect=plain", json={}),
    ):
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        assert answer.text.startswith("STOP    basket · feature\n")
    as_json = world.get("/api/v1/gate/basket?dialect=json", headers={"Accept": "text/plain"})
    assert json.loads(as_json.text)["verdict"] == "stop"


def test_a_post_without_a_body_asks_for_a_feature(world: World) -> None:
    assert world.post("/api/v1/gate/checkout").json()["kind"] == "feature"
