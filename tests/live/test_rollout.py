"""Releases through a real nginx: a healthy one arrives, a harmful one goes back, and neither minds a kill."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.live.serving import Served, wait_for
from tightrope.delivery.executors.local import run_command
from tightrope.delivery.targets import Release, Target, TargetError, open_target
from tightrope.specs.store import load

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.live, pytest.mark.timeout(300)]

NGINX = shutil.which("nginx") or str(ROOT / "build" / "servers" / "usr" / "sbin" / "nginx")


@pytest.fixture(scope="module")
def play() -> ModuleType:
    """The example that people run."""
    if not Path(NGINX).is_file():
        pytest.skip("nginx is not installed (Debian: apt-get install nginx-light)")
    spec = importlib.util.spec_from_file_location("play", ROOT / "examples" / "rollout" / "play.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["play"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def shop(play: ModuleType, tmp_path: Path) -> Iterator[Any]:
    """Two versions behind nginx, with buyers."""
    opened = play.Shop(tmp_path / "shop", nginx=NGINX, bake="2s", weights=(20,))
    try:
        yield opened
    finally:
        opened.close()


@pytest.fixture
def served(shop: Any, tmp_path: Path) -> Iterator[Served]:
    """A server that watches the shop."""
    server = Served(shop.folder, str(tmp_path / "data")).start()
    wait_for(lambda: server.get("/api/v1/rollouts/plan?service=checkout")[0] == 200, 60)
    try:
        yield server
    finally:
        server.stop()


def begun(served: Served) -> str:
    told = json.dumps({"service": "checkout", "version": "2.0", "previous": "1.0"}).encode()
    headers = {"content-type": "application/json"}
    request = urllib.request.Request(f"{served.url}/api/v1/rollouts", told, headers)
    with urllib.request.urlopen(request, timeout=20) as answer:
        assert answer.status == 201
        return str(json.loads(answer.read())["id"])


def shown(served: Served, name: str) -> dict[str, Any]:
    found: dict[str, Any] = served.document(f"/api/v1/rollouts/{name}")
    return found


def to_slot(shop: Any, slot: str, since: float) -> list[dict[str, str]]:
    """Requests that went to a slot, logged in a second that began after an instant."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(since))
    return [one for one in shop.log() if one["slot"] == slot and one["time"][:19] > stamp]


def test_a_healthy_release_is_promoted_and_the_next_one_uses_the_other_slot(shop: Any, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "tightrope",
        "rollout",
        "start",
        "checkout",
        "--version",
        "2.0",
        "--previous",
        "1.0",
    ]
    command += ["-f", str(shop.folder / "specs.yaml"), "--data", str(tmp_path / "alone")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "PROMOTED  checkout · 2.0 · production" in ended.stdout
    assert "all of the traffic seen on the new version" in ended.stdout
    assert [line.split()[1] for line in ended.stderr.splitlines() if line.startswith("..")][-1] in {
        "baking",
        "promoting",
        "promoted",
    }
    since = time.time()  # noqa: TID251  what nginx logs is of now
    time.sleep(1.5)
    assert to_slot(shop, "green", since)
    assert not to_slot(shop, "blue", since)
    replayed = [sys.executable, "-m", "tightrope", "rollout", "replay", "--data", str(tmp_path / "alone")]
    assert "AGREES" in subprocess.run(replayed, capture_output=True, text=True, timeout=60, check=True).stdout
    shop.blue.fails = 0.3
    again = [one.replace("2.0", "3.0").replace("1.0", "2.0") if one != "3.0" else one for one in command]
    ended = subprocess.run(again, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 3, ended.stdout + ended.stderr
    assert "ROLLED BACK  checkout · 3.0" in ended.stdout


@pytest.mark.kills
def test_a_release_that_was_carried_out_alone_and_killed_is_carried_on(shop: Any, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "tightrope",
        "rollout",
        "start",
        "checkout",
        "--version",
        "2.0",
        "--previous",
        "1.0",
    ]
    command += ["-f", str(shop.folder / "specs.yaml"), "--data", str(tmp_path / "alone")]
    weights = shop.folder / "weights.conf"
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as first:
        wait_for(lambda: '"weight": "1/5"' in weights.read_text(encoding="utf-8"), 120)
        first.kill()
    ended = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "rollout 1 goes on where it was left" in ended.stderr
    assert "PROMOTED  checkout · 2.0 · production · rollout 1" in ended.stdout


def test_a_harmful_release_is_rolled_back_and_no_more_requests_reach_it(shop: Any, served: Served) -> None:
    shop.green.fails = 0.25
    name = begun(served)
    wait_for(lambda: shown(served, name)["over"], 120)
    found = shown(served, name)
    assert found["phase"] == "rolled back"
    assert "bad requests hit the canary" in found["why"]
    assert found["proof"].startswith("weight 0 seen at ")
    assert "its last request" in found["proof"]
    since = time.time()  # noqa: TID251  what nginx logs is of now
    time.sleep(2)
    assert not to_slot(shop, "green", since - 1)
    assert len(to_slot(shop, "blue", since)) > 20
    weights = (shop.folder / "weights.conf").read_text(encoding="utf-8")
    assert '"weight": "0"' in weights
    objective = found["objectives"][0]
    assert objective["spent"] <= objective["allowance"] + objective["inFlight"]
    wait_for(lambda: len(served.document("/api/v1/deployments?service=checkout")["items"]) == 2, 10)
    told = served.document("/api/v1/deployments?service=checkout")["items"]
    assert {(one["version"], one["state"], one["rollback"]) for one in told} == {
        ("2.0", "failed", False),
        ("1.0", "succeeded", True),
    }
    kinds = [one["type"] for one in served.document("/api/v1/journal?limit=100")["items"]]
    for phase in ("preparing", "stepping", "rolling-back", "rolled-back"):  # harm may be plain before the first look
        assert f"dev.tightrope.rollout.{phase}.v1" in kinds


@pytest.mark.kills
def test_a_killed_server_goes_on_where_it_was_with_all_of_its_evidence(shop: Any, served: Served) -> None:
    name = begun(served)
    wait_for(lambda: (shown(served, name).get("weight") or 0) > 0.1, 120)
    before = shown(served, name)
    served.kill()
    time.sleep(2)
    served.start()
    wait_for(lambda: shown(served, name)["objectives"][0]["canaryTotal"] > before["objectives"][0]["canaryTotal"], 120)
    after = shown(served, name)
    assert after["phase"] in {"stepping", "baking", "holding", "promoting", "promoted"}
    assert after["stage"] >= before["stage"]
    wait_for(lambda: shown(served, name)["over"], 120)
    ended = shown(served, name)
    assert ended["phase"] == "promoted"
    logged = [
        one for one in shop.log() if one["slot"] == "green" and one["time"] <= ended["objectives"][0]["measuredTo"]
    ]
    counted = ended["objectives"][0]["canaryTotal"]
    assert abs(counted - len([one for one in logged if one["path"] == "/buy"])) <= 0.02 * counted + 60
    assert served.document(f"/api/v1/rollouts/{name}/replay")["agrees"] is True


@pytest.mark.kills
def test_a_killed_server_whose_release_turned_bad_meanwhile_takes_it_back(shop: Any, served: Served) -> None:
    name = begun(served)
    wait_for(lambda: (shown(served, name).get("seenWeight") or 0) > 0, 60)
    served.kill()
    shop.green.fails = 0.5
    time.sleep(3)
    served.start()
    wait_for(lambda: shown(served, name)["over"], 120)
    assert shown(served, name)["phase"] == "rolled back"


def test_the_example_opens_a_shop_and_closes_it(play: ModuleType, tmp_path: Path) -> None:
    folder = tmp_path / "shop"
    port = str(play._free_port())
    command = [sys.executable, str(ROOT / "examples" / "rollout" / "play.py"), str(folder), "--port", port]
    path = f"{Path(NGINX).parent}:/usr/bin:/bin"
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={"PATH": path}) as process:
        assert process.stdout is not None
        said = [process.stdout.readline() for _ in range(4)]
        assert f"the shop is open at http://127.0.0.1:{port}" in said[0]
        bad = said[3].split()[-1]
        request = urllib.request.Request(bad, b"")
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert answer.read() == b"version 2.0 fails 20 %\n"
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/tightrope", timeout=10) as answer:
            assert answer.read().startswith(b"canary=green weight=0/1")
        process.terminate()
        assert process.wait(20) == 0
    validated = [sys.executable, "-m", "tightrope", "validate", str(folder / "specs.yaml")]
    assert subprocess.run(validated, capture_output=True, check=False, timeout=60).returncode == 0


def nginx_of(shop: Any, mode: str = "split") -> Target:
    specs = load([str(shop.folder / "specs.yaml")])
    strategy = replace(specs.rollouts[0], settings={**specs.rollouts[0].settings, "mode": mode})
    release = Release("R-1", "checkout", "production", "2.0", "1.0")
    kept = open_target(strategy, release, {}, run=run_command, environment=lambda _: "").begin()
    return open_target(strategy, release, kept, run=run_command, environment=lambda _: "")


def settled(target: Target, weight: Fraction) -> None:
    """Wait until the running workers, old and new, have a weight."""

    def seen() -> bool:
        try:
            return target.observe().weight == weight
        except TargetError:
            return False

    wait_for(seen, 30)


def test_nginx_splits_as_it_was_asked_and_tells_what_runs(shop: Any) -> None:
    target = nginx_of(shop)
    assert target.observe().weight == 0
    assert target.arms() == (f"127.0.0.1:{shop.green.port}", f"127.0.0.1:{shop.blue.port}")
    target.set_weight(Fraction(1, 4), "k")
    settled(target, Fraction(1, 4))
    since = time.time()  # noqa: TID251  what nginx logs is of now
    time.sleep(4)
    green, blue = len(to_slot(shop, "green", since)), len(to_slot(shop, "blue", since))
    assert 0.12 < green / (green + blue) < 0.4
    before = (shop.folder / "weights.conf").stat().st_mtime_ns
    target.set_weight(Fraction(1, 4), "k")
    assert (shop.folder / "weights.conf").stat().st_mtime_ns == before


def test_a_worker_of_before_that_still_serves_keeps_a_rollback_from_counting(shop: Any) -> None:
    target = nginx_of(shop)
    target.set_weight(Fraction(1), "k")
    settled(target, Fraction(1))
    shop.green.slow_s = 3.0
    slow = threading.Thread(target=lambda: urllib.request.urlopen(f"{shop.url}/buy", timeout=20).close())
    slow.start()
    time.sleep(0.5)
    target.roll_back("k")
    shop.green.slow_s = 0.0
    held = []

    def landed() -> bool:
        try:
            seen = target.observe()
        except TargetError:
            return False
        held.append((seen.weight, seen.how))
        return seen.weight == 0

    wait_for(landed, 30)
    slow.join()
    assert held[-1][0] == 0
    assert any(weight == 1 and "still serve" in how for weight, how in held), held


def test_an_nginx_that_is_gone_or_refuses_is_an_error_and_harms_nothing(shop: Any) -> None:
    target = nginx_of(shop)
    before = (shop.folder / "weights.conf").read_text(encoding="utf-8")
    broken = shop.folder / "nginx.conf"
    whole = broken.read_text(encoding="utf-8")
    broken.write_text(whole + "nonsense;\n", encoding="utf-8")
    with pytest.raises(TargetError, match="nonsense"):
        target.set_weight(Fraction(1, 4), "k")
    assert (shop.folder / "weights.conf").read_text(encoding="utf-8") == before
    broken.write_text(whole, encoding="utf-8")
    shop.nginx.terminate()
    shop.nginx.wait(10)
    with pytest.raises(TargetError, match="does not tell its weight"):
        target.observe()


def test_weights_of_one_upstream_split_as_well(shop: Any) -> None:
    conf = shop.folder / "nginx.conf"
    text = conf.read_text(encoding="utf-8").replace("http://$tightrope_slot;", "http://tightrope_slot;")
    conf.write_text(text.replace('"slot":"$tightrope_slot"', '"slot":"$upstream_addr"'), encoding="utf-8")
    target = nginx_of(shop, "upstream")
    target.set_weight(Fraction(1, 4), "k")
    settled(target, Fraction(1, 4))
    since = time.time()  # noqa: TID251  what nginx logs is of now
    time.sleep(3)
    addresses = [to_slot(shop, f"127.0.0.1:{version.port}", since) for version in (shop.green, shop.blue)]
    green, blue = map(len, addresses)
    assert 0.2 < green / (green + blue) < 0.3
    target.roll_back("k")
    settled(target, Fraction(0))
    since = time.time()  # noqa: TID251  what nginx logs is of now
    time.sleep(2)
    assert not to_slot(shop, f"127.0.0.1:{shop.green.port}", since)
