"""Exceptions over HTTP and from the command line: asked for, granted by somebody else, used by the gate, revoked."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from tests.api.world import World, running, until, write_fleet
from tests.cli.world import answer, error_of, run
from tightrope.base.errors import ConflictError, ForbiddenError, NotFoundError
from tightrope.policy.usecases import exceptions_at_hand, verify
from tightrope.specs.model import ExceptionQuota

FEATURE = {"kind": "feature", "change": "4f2a9c1d"}


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A world of its own: its basket has spent its budget, and a quota can be used up."""
    folder = tmp_path_factory.mktemp("exceptions")
    write_fleet(folder, int(time.time()))  # noqa: TID251 - the server runs on the real clock
    with running(folder, required=True) as found:
        until(lambda: gate(found)["verdict"] == "stop")
        yield found


def gate(world: World, who: str = "operator") -> dict[str, Any]:
    found: dict[str, Any] = world.post("/api/v1/gate/basket", who, json=FEATURE).json()
    return found


def ask(world: World, **more: str) -> dict[str, Any]:
    wanted = {"service": "basket", "reason": "contract date"} | more
    made = world.post("/api/v1/exceptions", "operator", json=wanted)
    assert made.status_code == 201, made.text
    found: dict[str, Any] = made.json()
    assert made.headers["location"] == f"/api/v1/exceptions/{found['id']}"
    return found


def test_what_somebody_else_grants_lets_the_change_through_until_it_is_revoked(own: World) -> None:
    made = ask(own, change="4f2a9c1", duration="2h")
    assert (made["standing"], made["requestedBy"], made["holds"]) == ("waiting", "operator", False)
    until(lambda: gate(own)["verdict"] == "stop")
    granted = own.post(f"/api/v1/exceptions/{made['id']}/grant", "approver", json={"note": "go"}).json()
    assert (granted["standing"], granted["approvedBy"], granted["holds"]) == ("granted", "approver", True)
    until(lambda: gate(own)["exempt"])
    assert gate(own)["exception"] == made["id"]
    again = own.post(f"/api/v1/exceptions/{made['id']}/grant", "approver", json={})
    assert again.status_code == 409
    revoked = own.post(f"/api/v1/exceptions/{made['id']}/revoke", "approver", json={"note": "not needed"}).json()
    assert (revoked["standing"], revoked["holds"]) == ("revoked", False)
    until(lambda: gate(own)["verdict"] == "stop")
    assert own.get(f"/api/v1/exceptions/{made['id']}").json() == revoked
    kinds = [one["type"] for one in own.get("/api/v1/journal", params={"subject": "basket"}).json()["items"]]
    assert {f"dev.tightrope.exception.{verb}.v1" for verb in ("requested", "granted", "revoked")} <= set(kinds)


def test_an_exception_for_any_change_is_used_up_by_the_first_that_it_lets_through(own: World) -> None:
    def of(change: str) -> dict[str, Any]:
        asked = {"kind": "feature", "change": change}
        found: dict[str, Any] = own.post("/api/v1/gate/basket", "operator", json=asked).json()
        return found

    made = ask(own, reason="one release", duration="1h")
    own.post(f"/api/v1/exceptions/{made['id']}/grant", "approver", json={})
    until(lambda: of("")["exempt"])
    first = "a1b2c3d" + "0" * 33
    until(lambda: of(first)["exempt"])
    assert of("fffffff1")["verdict"] == "stop"
    assert any("it was used before" in one["says"] for one in of("fffffff2")["reasons"])
    assert of("a1b2c3d")["exempt"], "the change that used it may ask again"
    assert of("")["exempt"]
    own.post(f"/api/v1/exceptions/{made['id']}/revoke", "approver", json={})
    until(lambda: of(first)["verdict"] == "stop")


def test_of_changes_that_ask_at_the_same_moment_an_exception_lets_one_through(own: World) -> None:
    made = ask(own, reason="one of many", duration="1h")
    own.post(f"/api/v1/exceptions/{made['id']}/grant", "approver", json={})
    until(lambda: own.post("/api/v1/gate/basket", "operator", json={"kind": "feature"}).json()["exempt"])
    changes = [f"{number:07x}" for number in range(0xA00, 0xA08)]
    together = Barrier(len(changes))

    def of(change: str) -> bool:
        together.wait(30)
        asked = {"kind": "feature", "change": change}
        return bool(own.post("/api/v1/gate/basket", "operator", json=asked).json()["exempt"])

    with ThreadPoolExecutor(len(changes)) as threads:
        found = list(threads.map(of, changes))
    assert found.count(True) == 1
    own.post(f"/api/v1/exceptions/{made['id']}/revoke", "approver", json={})
    until(lambda: gate(own)["verdict"] == "stop")


def test_who_asked_cannot_grant_and_who_may_not_grant_is_told(own: World) -> None:
    wanted = {"service": "basket", "reason": "contract date"}
    mine = own.post("/api/v1/exceptions", "approver", json=wanted).json()
    assert own.post(f"/api/v1/exceptions/{mine['id']}/grant", "operator", json={}).status_code == 403
    refused = own.post(f"/api/v1/exceptions/{mine['id']}/grant", "approver", json={})
    assert refused.status_code == 403
    assert "somebody else must grant it" in refused.json()["detail"]
    as_other = own.post(f"/api/v1/exceptions/{mine['id']}/grant", "approver", json={"by": "another"})
    assert "speaks for nobody else" in as_other.json()["detail"]
    over = own.post(f"/api/v1/exceptions/{mine['id']}/refuse", "admin", json={"note": "no"}).json()
    assert (over["standing"], over["decidedBy"], over["note"]) == ("refused", "admin", "no")


def test_broken_glass_holds_at_once_and_for_an_hour(own: World) -> None:
    wanted = {"service": "basket", "reason": "the shop is on fire"}
    assert own.post("/api/v1/exceptions/break-glass", "viewer", json=wanted).status_code == 403
    too_long = own.post("/api/v1/exceptions/break-glass", "operator", json=wanted | {"duration": "1d"})
    assert too_long.status_code in {400, 422}
    made = own.post("/api/v1/exceptions/break-glass", "operator", json=wanted).json()
    assert (made["standing"], made["breakGlass"], made["lastsSeconds"]) == ("broken glass", True, 3600)
    until(lambda: gate(own)["exception"] == made["id"])
    assert own.post(f"/api/v1/exceptions/{made['id']}/revoke", "approver", json={}).json()["holds"] is False


def test_the_list_is_paged_newest_first_and_shows_what_one_may_see(own: World) -> None:
    names = [ask(own, reason=f"reason {n}")["id"] for n in range(5)]
    found: list[str] = []
    address = "/api/v1/exceptions?limit=2&service=basket"
    while address:
        page = own.get(address).json()
        found += [one["id"] for one in page["items"]]
        address = page["next"]
    assert len(found) == len(set(found))
    assert set(names) <= set(found)
    assert own.get("/api/v1/exceptions", "basket").json()["items"]
    assert own.post("/api/v1/exceptions", "basket", json={"service": "checkout", "reason": "x"}).status_code == 403


@pytest.mark.parametrize(
    ("wanted", "status"),
    [
        ({"service": "nowhere", "reason": "x"}, 404),
        ({"service": "basket"}, 422),
        ({"service": "basket", "reason": "  "}, 400),
        ({"service": "basket", "reason": "x", "duration": "soon"}, 400),
        ({"service": "basket", "reason": "x", "duration": "400d"}, 400),
    ],
)
def test_what_cannot_be_asked_is_told(own: World, wanted: dict[str, str], status: int) -> None:
    assert own.post("/api/v1/exceptions", "operator", json=wanted).status_code in {status, 422}


# --- the command line ----------------------------------------------------------------------------------------------


@pytest.fixture
def specs(tmp_path: Path) -> str:
    path = tmp_path / "specs.yaml"
    path.write_text("apiVersion: openslo/v1\nkind: Service\nmetadata: {name: checkout}\nspec: {}\n", encoding="utf-8")
    return str(path)


def test_the_command_line_asks_grants_and_lists_in_a_store(tmp_path: Path, specs: str) -> None:
    at = ("--data", str(tmp_path / "store"), "-f", specs)
    made = answer("exception", "request", "checkout", *at, "--change", "v2", "--reason", "date", "--who", "dev")
    own = error_of(run("exception", "grant", made["id"], *at, "--who", "Dev"))
    assert isinstance(own, ForbiddenError)
    granted = answer("exception", "grant", made["id"], *at, "--who", "lead", "--for", "1h")
    assert (granted["standing"], granted["lastsSeconds"]) == ("granted", 4 * 3600)
    shown = run("exception", "show", made["id"], "--data", at[1]).stdout
    assert "granted" in shown
    assert "by dev" in shown
    assert made["id"] in run("exception", "list", "--data", at[1]).stdout
    assert isinstance(error_of(run("exception", "grant", made["id"], *at, "--who", "lead")), ConflictError)
    assert isinstance(error_of(run("exception", "show", "X-NONE", "--data", at[1])), NotFoundError)
    assert isinstance(error_of(run("exception", "request", "nowhere", *at, "--reason", "x")), NotFoundError)
    assert verify(at[1]).holds


def test_the_gate_of_a_store_counts_what_was_granted_there(tmp_path: Path, specs: str) -> None:
    where = str(tmp_path / "store")
    run("exception", "break-glass", "checkout", "--data", where, "-f", specs, "--reason", "fire", "--who", "me")
    with exceptions_at_hand(where, lambda _: ExceptionQuota(2, "Q")) as fronts:
        (one,) = fronts.listed()
    assert one.break_glass
    decided = answer("gate", "checkout", "-f", specs, "--data", where)
    assert decided["verdict"] == "go"


def test_the_command_line_speaks_with_a_server(own: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIGHTROPE_TOKEN", own.tokens["operator"])
    made = answer("exception", "request", "basket", "--server", own.url, "--reason", "from a shell")
    assert made["requestedBy"] == "operator"
    assert answer("exception", "show", made["id"], "--server", own.url)["standing"] == "waiting"
    monkeypatch.setenv("TIGHTROPE_TOKEN", own.tokens["admin"])
    refused = answer("exception", "refuse", made["id"], "--server", own.url, "--note", "no")
    assert (refused["standing"], refused["decidedBy"]) == ("refused", "admin")
    assert made["id"] in [one["id"] for one in answer("exception", "list", "--server", own.url)]
