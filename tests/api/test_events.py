"""The stream of live changes: nothing is missed, nobody is waited for, and nobody hears what is not theirs."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.api.world import World, until
from tightrope.api import events as module


@contextmanager
def stream(world: World, who: str = "admin", **headers: str) -> Iterator[Iterator[tuple[str, str, Any]]]:
    """Listen; yields (event, id, data)."""
    with world.client(who).stream("GET", "/api/v1/events/stream", headers=headers, timeout=15) as answer:
        assert answer.status_code == 200, answer.read()
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield _events(answer.iter_lines())


def _events(lines: Iterator[str]) -> Iterator[tuple[str, str, Any]]:
    found: dict[str, str] = {}
    for line in lines:
        if line.startswith(":"):
            yield "comment", "", line
        elif line:
            name, _, value = line.partition(": ")
            found[name] = value
        elif "data" in found:
            yield found.get("event", "message"), found.get("id", ""), json.loads(found["data"])
            found = {}


def test_a_decision_is_heard_of_with_its_row(world: World) -> None:
    with stream(world) as heard:
        kind, _, hello = next(heard)
        assert (kind, hello["version"]) == ("hello", world.server.version)
        asked = world.post("/api/v1/gate/checkout", json={"change": "heard"}).json()
        for kind, row, data in heard:
            if kind == "journal" and data["id"].startswith(asked["id"]):
                assert int(row) == int(data["sequence"])
                break


def test_a_turn_is_heard_of(world: World) -> None:
    with stream(world) as heard:
        next(heard)
        world.server.live.nudge()
        path = world.server.settings.spec_paths[0]
        with open(path, "a", encoding="utf-8") as file:  # noqa: PTH123 - a change that changes nothing
            file.write("# \n")
        turn = next(data for kind, _, data in heard if kind == "turn")
        assert set(turn) == {"number", "at", "services", "events"}


def test_who_comes_back_goes_on_where_it_stopped(world: World) -> None:
    first = world.post("/api/v1/gate/checkout", json={"change": "before"}).json()
    rows = world.server.events(limit=1)
    world.post("/api/v1/gate/checkout", json={"change": "missed-1"})
    world.post("/api/v1/gate/basket", json={"change": "missed-2"})
    with stream(world, **{"Last-Event-ID": str(rows[0].sequence)}) as heard:
        assert next(heard)[0] == "hello"
        missed = [next(heard)[2] for _ in range(2)]
    assert [one["data"]["request"]["change"] for one in missed] == ["missed-1", "missed-2"]
    assert all(not one["id"].startswith(first["id"]) for one in missed)


@pytest.mark.parametrize("row", ["999999999", "0"])
def test_who_cannot_go_on_is_told(world: World, row: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_BEHIND", 1)
    with stream(world, **{"Last-Event-ID": row}) as heard:
        assert [next(heard)[0], next(heard)[0]] == ["hello", "reset"]


def test_what_is_no_row_is_refused(world: World) -> None:
    for path in ("/api/v1/events/stream?after=last", "/api/v1/events/stream?after=-1"):
        assert world.get(path).status_code == 400
    assert world.get("/api/v1/events/stream", "").status_code == 401


def test_who_is_limited_to_a_service_hears_of_that_one(world: World) -> None:
    head = world.server.events(limit=1)[0].sequence
    world.post("/api/v1/gate/checkout", json={"change": "not-for-all"})
    world.post("/api/v1/gate/basket", json={"change": "for-all"})
    with stream(world, "basket", **{"Last-Event-ID": str(head)}) as heard:
        next(heard)
        assert next(data["subject"] for kind, _, data in heard if kind == "journal") == "basket"


def test_a_heartbeat_comes_and_ends_with_the_token(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HEARTBEAT_S", 0.3)
    made = world.post("/api/v1/tokens", json={"name": "listener", "role": "viewer"}).json()
    with stream(world, "", Authorization=f"Bearer {made['token']}") as heard:
        next(heard)
        assert any(kind == "comment" for kind, _, _ in heard)
        world.ask("DELETE", f"/api/v1/tokens/{made['id']}")
        for _ in heard:
            pass


def test_who_leaves_is_forgotten(world: World) -> None:
    hub = world.app.state.hub
    with stream(world) as heard:
        next(heard)
        assert hub.listeners >= 1
    until(lambda: hub.listeners == 0)


def test_who_falls_behind_is_let_go(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that reads nothing holds neither memory nor anybody up."""
    monkeypatch.setattr(module, "PATIENCE_S", 0.5)
    monkeypatch.setattr(module, "MOST_BEHIND", 50)
    hub = world.app.state.hub
    host, port = world.url.removeprefix("http://").split(":")
    before = hub.dropped
    with socket.socket() as lazy:
        lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        lazy.connect((host, int(port)))
        token = world.tokens["admin"]
        head = f"GET /api/v1/events/stream HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n"
        lazy.sendall(head.encode())
        until(lambda: hub.listeners == 1)
        rows = [("turn", {"number": 1, "at": 1, "services": [f"s{n}" for n in range(3000)], "events": 0})] * 40

        def tell() -> bool:
            hub._tell(rows)
            return bool(hub.listeners == 0)

        until(tell)
    assert hub.dropped > before


def test_there_is_an_end_to_how_many_may_listen(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_LISTENERS", 0)
    answer = world.get("/api/v1/events/stream")
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "30")
