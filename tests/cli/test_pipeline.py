"""The commands on pipelines, and the example that shows them all."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.api.world import write_fleet
from tests.cli.world import run as command
from tests.cli.world import write_world
from tests.conftest import ROOT
from tests.delivery.pipeline_world import HEAD, Shop
from tightrope.base.clock import now, ticks
from tightrope.base.errors import TightropeError

EXAMPLE = ROOT / "examples" / "pipeline"


def run(folder: Path, *words: str, given: str = "", home: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the program as it is installed, with a home of its own."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "src"), "HOME": str(home or folder)}  # noqa: TID251 - of the test
    return subprocess.run(
        [sys.executable, "-m", "tightrope", *words],
        cwd=folder,
        input=given,
        capture_output=True,
        text=True,
        env=environment,
        timeout=50,
        check=False,
    )


def lines(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines() if line.startswith(("ok", "x", "?", "-", ".."))]


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path / "repositories")


def test_the_example_runs_from_commit_to_production_and_back(tmp_path: Path) -> None:
    work = tmp_path / "example"
    shutil.copytree(EXAMPLE, work, ignore=shutil.ignore_patterns("__pycache__"))
    done = run(work, "pipeline", "run", "--as-is", "--data", "store", home=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [line[:2] for line in lines(done.stdout)] == [
        ["ok", name] for name in ("checkout", "build", "test", "ask", "ship", "look", "everyone")
    ]
    assert done.stderr == ""
    live = tmp_path / ".cache" / "greeting" / "live"
    first = live.readlink()
    smoke = work / "smoke.sh"
    smoke.write_text("#!/bin/sh\necho it does not greet; exit 1\n", encoding="utf-8")
    broken = run(work, "pipeline", "run", "--as-is", "--data", "store", home=tmp_path)
    assert broken.returncode == 6
    assert "    | it does not greet" in broken.stdout.splitlines()
    assert "rolled back" in broken.stdout
    assert "next: tightrope pipeline retry 2 --data store" in broken.stderr
    assert live.readlink() == first
    deployed = json.loads(run(work, "deployment", "list", "--data", "store", "-o", "json").stdout)
    assert [one["rollback"] for one in deployed] == [True, False, False]
    assert deployed[1]["decision"].startswith("D-")
    shown = run(work, "pipeline", "show", "1", "--data", "store").stdout
    assert "dist/greeting.pyz" in shown
    assert "sha256:" in shown


def test_the_example_is_without_findings() -> None:
    done = run(EXAMPLE, "validate", "tightrope.yaml", "tightrope", "-o", "json", home=EXAMPLE)
    assert json.loads(done.stdout) == {"valid": True, "findings": []}


def test_what_a_gate_says_is_the_exit_code(tmp_path: Path, shop: Shop) -> None:
    specs = write_world(tmp_path)  # its telemetry ended long ago
    text = HEAD.replace("service: shop", "service: checkout") + "  stages:\n    - {name: ask, gate: {}}\n"
    shop.commit({"tightrope.yaml": text})
    data = str(tmp_path / "data")
    words = ("pipeline", "run", "--data", data, "--specs", str(specs))
    stopped = run(shop.clone, *words)
    assert stopped.returncode == 3, stopped.stdout + stopped.stderr
    assert "was stopped by the gate: checkout has had no telemetry since" in stopped.stdout
    write_fleet(tmp_path, now() - 1800)
    waits = run(shop.clone, *words[:-1], str(tmp_path / "shop.yaml"))
    assert waits.returncode == 4, waits.stdout + waits.stderr
    assert "    WAIT  checkout" in waits.stdout
    assert "tightrope pipeline resume 2" in waits.stderr
    without = run(shop.clone, "pipeline", "run", "--data", str(tmp_path / "other"))
    assert without.returncode == 2
    assert "there is no gate here for 'ask'" in without.stderr
    assert "no pipeline ever ran" not in run(shop.clone, "pipeline", "list", "--data", str(tmp_path / "other")).stdout


def test_a_pipeline_with_errors_is_refused_with_all_of_them(tmp_path: Path) -> None:
    text = HEAD + "  stages:\n    - {name: a, needs: [b], steps: [{name: x}]}\n    - {name: b, gat: {}}\n"
    (tmp_path / "tightrope.yaml").write_text(text, encoding="utf-8")
    for words in (("pipeline", "validate"), ("pipeline", "run", "--data", "d"), ("validate", "tightrope.yaml")):
        done = run(tmp_path, *words)
        assert done.returncode == 2
        told = done.stdout + done.stderr
        for code, place in (("TR064", "7:17"), ("TR013", "7:37"), ("TR011", "8:17")):
            assert f"error[{code}]" in told
            assert f"tightrope.yaml:{place}" in told, told
    assert not (tmp_path / "d").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("run",), "Give --data DIR"),
        (("list",), "Give --data DIR or --server URL"),
        (("list", "--data", "nowhere"), "no pipeline ever ran in nowhere"),
        (("run", "--data", "d", "-f", "no.yaml"), "cannot be found"),
        (("run", "--data", "d", "-i", "x"), "is no input"),
        (("trigger", "--repo", ".", "--data", "d"), "no push on standard input"),
        (("install-hook", "nope.git", "--data", "d"), "is not there"),
    ],
)
def test_what_is_not_there_is_said_with_a_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TIGHTROPE_DATA", raising=False)
    done = command("pipeline", *words)
    assert done.exit_code != 0
    told = done.exception.message if isinstance(done.exception, TightropeError) else done.output
    assert said in told


def test_a_document_is_printed_and_commands_read_it_again(tmp_path: Path, shop: Shop) -> None:
    shop.commit(
        {
            "tightrope.yaml": HEAD
            + "  stages:\n    - {name: a, steps: [{name: x, run: 'echo hi; printf \"\\\\033[2J\"; exit 7'}]}\n"
        }
    )
    data = str(tmp_path / "data")
    done = run(shop.clone, "pipeline", "run", "--data", data, "-o", "json")
    assert done.returncode == 6
    found = json.loads(done.stdout)
    assert (found["state"], found["stages"][1]["steps"][0]["outcome"]["code"]) == ("failed", 7)
    plain = run(shop.clone, "pipeline", "run", "--data", data)
    assert "    | ·[2J" in plain.stdout.splitlines(), "no control sequence gets through to the terminal"
    assert run(shop.clone, "pipeline", "logs", "1", "a/x", "--data", data).stdout == "hi\n\x1b[2J"
    verbose = run(shop.clone, "pipeline", "run", "--data", data, "-v")
    assert "a/x | hi" in verbose.stdout.splitlines()
    listed = json.loads(run(shop.clone, "pipeline", "list", "--data", data, "-o", "json").stdout)
    assert [one["number"] for one in listed] == [3, 2, 1]
    again = run(shop.clone, "pipeline", "retry", "1", "--data", data)
    assert again.returncode == 6
    assert "attempt 2" in run(shop.clone, "pipeline", "show", "1", "--data", data).stdout
    cancelled = run(shop.clone, "pipeline", "cancel", "1", "--data", data)
    assert cancelled.returncode == 2
    assert "run 1 is over" in cancelled.stderr


def test_a_change_that_is_not_committed_is_told(tmp_path: Path, shop: Shop) -> None:
    shop.commit({"tightrope.yaml": HEAD + "  stages:\n    - {name: a, steps: [{name: x, run: cat f}]}\n", "f": "old"})
    (shop.clone / "f").write_text("new", encoding="utf-8")
    data = str(tmp_path / "data")
    done = run(shop.clone, "pipeline", "run", "--data", data, "-v")
    assert "what is not committed is not part of the run" in done.stderr
    assert "a/x | old" in done.stdout.splitlines()
    taken = run(shop.clone, "pipeline", "run", "--data", data, "-v", "--as-is")
    assert "a/x | new" in taken.stdout.splitlines()


def test_an_interruption_pauses_and_what_runs_goes_on(tmp_path: Path, shop: Shop) -> None:
    trail = tmp_path / "trail"
    stages = f"    - {{name: a, steps: [{{name: x, run: 'echo in >> {trail}; sleep 1.5; echo out >> {trail}'}}]}}\n"
    shop.commit({"tightrope.yaml": f"{HEAD}  stages:\n{stages}"})
    data = str(tmp_path / "data")
    command_line = [sys.executable, "-m", "tightrope", "pipeline", "run", "--data", data]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "src")}  # noqa: TID251 - of the test
    with subprocess.Popen(
        command_line, cwd=shop.clone, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        end = ticks() + 20
        while not trail.exists():
            assert ticks() < end
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
    assert process.returncode == 130
    assert f"Next: tightrope pipeline resume 1 --data {data}" in said
    done = run(shop.clone, "pipeline", "resume", "1", "--data", data)
    assert done.returncode == 0, done.stdout + done.stderr
    assert trail.read_text().split() == ["in", "out"]
