"""Targets: real commands, a real service over HTTP, the file that nginx reads, and what is handed to kubectl."""

from __future__ import annotations

import json
import stat
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tightrope.base.errors import UsageError
from tightrope.delivery.executors.local import run_command
from tightrope.delivery.targets import Release, Target, TargetError, open_target, read_weight
from tightrope.delivery.targets.nginx import read_written, render
from tightrope.specs.model import Arms, ArmsFrom, RolloutHow, RolloutStrategy, TargetType

RELEASE = Release("R-1", "shop", "production", "v2", "v1")
SLOTS = {"blue": "127.0.0.1:9001", "green": "127.0.0.1:9002"}


def target(
    kind: TargetType, settings: dict[str, Any], folder: Path, kept: dict[str, str] | None = None, **more: Any
) -> Target:
    strategy = RolloutStrategy(
        "shop", "shop", RolloutHow.CANARY, kind, Arms(ArmsFrom.SERVICE), settings=settings, folder=str(folder)
    )
    secrets = {"TOKEN": "hush"}
    return open_target(
        replace(strategy, **more), RELEASE, kept or {}, run=run_command, environment=lambda name: secrets.get(name, "")
    )


# --- commands -------------------------------------------------------------------------------------------------------


def test_commands_of_ones_own_are_told_everything_and_believed(tmp_path: Path) -> None:
    settings = {
        "setWeight": 'echo "$TIGHTROPE_WEIGHT" > weight; env > told',
        "observe": ["/bin/sh", "-c", "echo looking; cat weight"],
        "promote": "echo 1 > weight; touch promoted",
        "rollback": "echo 0% > weight",
        "env": {"COLOUR": "green"},
        "secrets": {"KEY": {"env": "TOKEN"}},
    }
    (tmp_path / "weight").write_text("0\n")
    shell = target(TargetType.SHELL, settings, tmp_path)
    assert shell.observe().weight == 0
    shell.set_weight(Fraction(1, 20), "k1")
    assert shell.observe().weight == Fraction(1, 20)
    told = dict(line.split("=", 1) for line in (tmp_path / "told").read_text().splitlines() if "=" in line)
    assert (told["TIGHTROPE_PERCENT"], told["TIGHTROPE_VERSION"], told["TIGHTROPE_PREVIOUS"]) == ("5", "v2", "v1")
    assert (told["COLOUR"], told["KEY"], told["TIGHTROPE_KEY"]) == ("green", "hush", "k1")
    shell.promote("k2")
    assert shell.observe().promoted
    assert (tmp_path / "promoted").exists()
    shell.roll_back("k3")
    assert shell.observe().weight == 0


@pytest.mark.parametrize(
    ("observe", "says"),
    [
        ("echo no such thing >&2; exit 3", "ended with exit status 3: no such thing"),
        ("echo nonsense", "is no share of traffic"),
        ("echo 120%", "more than all"),
        ("true", "is no share"),
        ("sleep 5", "took longer than 1 s"),
        ("kill -9 $$", "signal 9"),
    ],
)
def test_a_command_that_fails_is_told_of(tmp_path: Path, observe: str, says: str) -> None:
    shell = target(TargetType.SHELL, {"setWeight": "true", "observe": observe, "timeout": "1s"}, tmp_path)
    with pytest.raises(TargetError, match=says):
        shell.observe()


def test_a_command_that_is_not_there_and_a_folder_that_is_not(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="cannot be started"):
        target(TargetType.SHELL, {"setWeight": "x", "observe": ["no-such-program"]}, tmp_path).observe()
    with pytest.raises(TargetError, match="there is no folder"):
        target(TargetType.SHELL, {"setWeight": "x", "observe": "true", "folder": "gone"}, tmp_path).observe()
    settings = {"setWeight": "x", "observe": "true", "secrets": {"A": {"env": "GONE"}}}
    with pytest.raises(UsageError, match="GONE is not set"):
        target(TargetType.SHELL, settings, tmp_path).observe()


def test_what_a_slow_command_started_ends_with_it(tmp_path: Path) -> None:
    begun = run_command(["/bin/sh", "-c", f"(sleep 1; touch {tmp_path}/late) & sleep 1"], timeout_s=0.2)
    assert begun.code is None
    time.sleep(1.3)
    assert not (tmp_path / "late").exists()


# --- HTTP -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def service() -> Iterator[tuple[str, dict[str, Any], list[tuple[str, str, dict[str, Any]]]]]:
    """A service that moves traffic: what it has, and what it was asked."""
    state: dict[str, Any] = {"weight": "0/1", "status": 200}
    asked: list[tuple[str, str, dict[str, Any]]] = []

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            document = json.loads(self.rfile.read(length) or b"{}")
            if document:
                asked.append((self.command, self.path, {**document, "key": self.headers["idempotency-key"]}))
                state["weight"] = document["weight"]
            state["path"] = self.path
            state["token"] = self.headers.get("authorization", "")
            content = json.dumps({"weight": state["weight"]}).encode()
            self.send_response(state["status"])
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_PUT(self) -> None:
            self.do_GET()

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/shop", state, asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_service_is_asked_with_a_key_for_each_wish(service: Any, tmp_path: Path) -> None:
    url, state, asked = service
    http = target(TargetType.HTTP, {"url": url, "tokenFrom": {"env": "TOKEN"}}, tmp_path)
    http.set_weight(Fraction(1, 20), "k1")
    assert http.observe().weight == Fraction(1, 20)
    assert state["path"] == "/shop?service=shop&environment=production&version=v2"
    http.promote("k2")
    assert http.observe().promoted
    http.roll_back("k3")
    assert http.observe().weight == 0
    assert [(method, path, one["key"]) for method, path, one in asked] == [
        ("PUT", "/shop", "k1"),
        ("POST", "/shop/promote", "k2"),
        ("POST", "/shop/rollback", "k3"),
    ]
    assert asked[0][2]["percent"] == "5"
    assert state["token"] == "Bearer hush"


def test_a_service_that_refuses_or_talks_nonsense_is_told_of(service: Any, tmp_path: Path) -> None:
    url, state, _ = service
    http = target(TargetType.HTTP, {"url": url, "timeout": "2s"}, tmp_path)
    state["status"] = 403
    with pytest.raises(TargetError, match="answers 403"):
        http.observe()
    state |= {"status": 200, "weight": "soon"}
    with pytest.raises(TargetError, match="no share"):
        http.observe()
    gone = target(TargetType.HTTP, {"url": "http://127.0.0.1:1/x", "timeout": "1s"}, tmp_path)
    with pytest.raises(TargetError, match="can't be reached"):
        gone.observe()


# --- nginx ----------------------------------------------------------------------------------------------------------


@given(st.integers(0, 10_000), st.integers(0, 10_000), st.sampled_from(["split", "upstream"]))
def test_the_file_says_what_was_written_into_it(share: int, before: int, mode: str) -> None:
    weight, last = Fraction(share, 10_000), Fraction(before, 10_000)
    text = render(SLOTS, "green", weight, last, variable="slot", mode=mode, key="$request_id")
    written = read_written(text)
    assert (written.canary, written.weight, written.before) == ("green", weight, last)
    assert f"weight={weight.numerator}/{weight.denominator} generation={written.generation}" in text


def test_the_file_splits_as_nginx_reads_it() -> None:
    def lines(weight: Fraction, mode: str = "split") -> list[str]:
        text = render(SLOTS, "green", weight, Fraction(0), variable="slot", mode=mode, key="$remote_addr")
        return [line.strip() for line in text.splitlines()]

    assert "5% green;" in lines(Fraction(1, 20))
    assert "* blue;" in lines(Fraction(1, 20))
    assert "* blue;" in lines(Fraction(0))
    assert "* green;" in lines(Fraction(1))
    assert 'split_clients "$remote_addr" $slot {' in lines(Fraction(0))
    assert "server 127.0.0.1:9001 weight=19;  # blue" in lines(Fraction(1, 20), "upstream")
    assert "server 127.0.0.1:9002 weight=1;  # green" in lines(Fraction(1, 20), "upstream")
    assert "server 127.0.0.1:9002 down;  # green" in lines(Fraction(0), "upstream")
    assert "server 127.0.0.1:9001 down;  # blue" in lines(Fraction(1), "upstream")


def test_a_file_of_somebody_else_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "weights.conf").write_text("upstream mine { server 127.0.0.1:1; }\n")
    settings = {"file": "weights.conf", "slots": SLOTS, "probe": "http://127.0.0.1:1/"}
    nginx = target(TargetType.NGINX, settings, tmp_path)
    for verb in (nginx.begin, nginx.observe, lambda: nginx.roll_back("k")):
        with pytest.raises(TargetError, match="not written by Tightrope"):
            verb()
    assert (tmp_path / "weights.conf").read_text().startswith("upstream mine")


def test_a_file_that_nginx_refuses_is_put_back(tmp_path: Path) -> None:
    program = _program(tmp_path / "nginx", 'echo "nginx: [emerg] unknown directive" >&2; exit 1')
    before = render(
        SLOTS, "green", Fraction(0), Fraction(0), variable="tightrope_slot", mode="split", key="$request_id"
    )
    (tmp_path / "weights.conf").write_text(before)
    settings = {"file": "weights.conf", "slots": SLOTS, "probe": "http://127.0.0.1:1/", "program": program}
    nginx = target(TargetType.NGINX, settings, tmp_path, {"canary": "green", "baseline": "blue"})
    with pytest.raises(TargetError, match="unknown directive"):
        nginx.set_weight(Fraction(1, 20), "k")
    assert (tmp_path / "weights.conf").read_text() == before
    assert not list(tmp_path.glob(".tightrope-*"))
    assert nginx.arms() == ("127.0.0.1:9002", "127.0.0.1:9001")


def test_an_nginx_that_is_gone_is_named_in_its_own_words(tmp_path: Path) -> None:
    said = "echo '[notice] 7#7: signal process started'; echo '[alert] 7#7: kill(5, 1) failed (3: No such process)'"
    program = _program(tmp_path / "nginx", f'test "$1" = -t || {{ {{ {said}; }} >&2; exit 1; }}')
    settings = {"file": "weights.conf", "slots": SLOTS, "probe": "http://127.0.0.1:1/", "program": program}
    nginx = target(TargetType.NGINX, settings, tmp_path, {"canary": "green", "baseline": "blue"})
    with pytest.raises(TargetError, match=r"cannot be reloaded.*No such process"):
        nginx.set_weight(Fraction(1, 20), "k")


# --- Kubernetes and Argo --------------------------------------------------------------------------------------------


def _program(path: Path, script: str) -> str:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


@pytest.fixture
def kubectl(tmp_path: Path) -> Callable[[], list[tuple[list[str], Any]]]:
    """A program in the place of kubectl: it writes down what it was given, and tells what lies in files."""
    _program(
        tmp_path / "kubectl",
        'case "$3" in\nget) cat "$4-$5.json";;\npatch) { echo "$@"; cat; echo; } >> patches;;\nesac',
    )

    def patches() -> list[tuple[list[str], Any]]:
        lines = (tmp_path / "patches").read_text().splitlines()
        return [(first.split(), json.loads(second)) for first, second in zip(lines[::2], lines[1::2], strict=True)]

    return patches


def test_replicas_of_two_deployments_are_scaled_and_counted(kubectl: Any, tmp_path: Path) -> None:
    settings = {
        "stable": "old",
        "canary": "new",
        "replicas": 20,
        "namespace": "shop",
        "kubectl": str(tmp_path / "kubectl"),
    }
    pods = target(TargetType.KUBERNETES, settings, tmp_path)
    assert pods.grain == Fraction(1, 20)
    pods.set_weight(Fraction(1, 20), "k")
    assert [(one[4], document) for one, document in kubectl()] == [
        ("old", {"spec": {"replicas": 19}}),
        ("new", {"spec": {"replicas": 1}}),
    ]
    assert kubectl()[0][0][:3] == ["--namespace", "shop", "patch"]
    for name, ready in (("old", 19), ("new", 1)):
        (tmp_path / f"deployment-{name}.json").write_text(json.dumps({"status": {"readyReplicas": ready}}))
    assert pods.observe().weight == Fraction(1, 20)
    (tmp_path / "deployment-old.json").write_text("{}")
    assert pods.observe().promoted
    (tmp_path / "deployment-new.json").write_text("{}")
    with pytest.raises(TargetError, match="no replica is ready"):
        pods.observe()


def test_a_service_is_switched_by_its_selector(kubectl: Any, tmp_path: Path) -> None:
    settings = {"stable": "a", "canary": "b", "replicas": 2, "service": "shop", "kubectl": [str(tmp_path / "kubectl")]}
    switch = target(TargetType.KUBERNETES, settings, tmp_path, how=RolloutHow.BLUE_GREEN)
    switch.set_weight(Fraction(1), "k")
    switch.roll_back("k")
    assert [document for _, document in kubectl()] == [
        {"spec": {"selector": {"version": "v2"}}},
        {"spec": {"selector": {"version": "v1"}}},
    ]
    (tmp_path / "service-shop.json").write_text(json.dumps({"spec": {"selector": {"version": "v2"}}}))
    assert switch.observe().weight == 1


def test_an_argo_rollout_is_told_weights_and_its_end(kubectl: Any, tmp_path: Path) -> None:
    argo = target(TargetType.ARGO_ROLLOUTS, {"rollout": "shop", "kubectl": str(tmp_path / "kubectl")}, tmp_path)
    argo.set_weight(Fraction(1, 20), "k")
    argo.promote("k")
    argo.roll_back("k")
    documents = [document for _, document in kubectl()]
    assert documents[0]["spec"]["strategy"]["canary"]["steps"] == [{"setWeight": 5}, {"pause": {}}]
    assert documents[1:] == [{"status": {"promoteFull": True}}, {"status": {"abort": True}}]
    assert kubectl()[1][0][-2:] == ["--subresource", "status"]
    status: dict[str, Any] = {"stableRS": "abc", "currentPodHash": "def"}
    for more, weight, promoted in (
        ({"canary": {"weights": {"canary": {"weight": 25}}}}, Fraction(1, 4), False),
        ({"availableReplicas": 10, "updatedReplicas": 3}, Fraction(3, 10), False),
        ({"stableRS": "def"}, Fraction(1), True),
    ):
        (tmp_path / "rollout-shop.json").write_text(json.dumps({"status": status | more}))
        seen = argo.observe()
        assert (seen.weight, seen.promoted) == (weight, promoted)


def test_a_cluster_that_is_away_is_told_of(tmp_path: Path) -> None:
    program = _program(tmp_path / "kubectl", 'echo "Unable to connect to the server" >&2; exit 1')
    argo = target(TargetType.ARGO_ROLLOUTS, {"rollout": "shop", "kubectl": program}, tmp_path)
    with pytest.raises(TargetError, match="Unable to connect"):
        argo.observe()


@given(st.integers(0, 1000), st.integers(1, 1000))
def test_a_share_is_read_as_it_may_be_told(part: int, whole: int) -> None:
    share = Fraction(min(part, whole), whole)
    assert read_weight(f"{share.numerator}/{share.denominator}") == share
    assert read_weight(" 5 % ") == read_weight("0.05") == Fraction(1, 20)
    for wrong in ("1/0", "-1", "2", "", "a lot", "nan"):
        with pytest.raises(TargetError):
            read_weight(wrong)
