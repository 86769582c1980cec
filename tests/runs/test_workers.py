"""Several workers on one store, real processes, killed and ended: every step once, or said to be unknown."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.live.serving import Served, wait_for
from tests.runs.worlds import plan
from tightrope.runs.steps import RunState, StepPlan, StepState
from tightrope.runs.usecases import Runs
from tightrope.state.database import opened
from tightrope.state.journal import Journal

_SURROUNDINGS = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}"}  # noqa: TID251
Worker = subprocess.Popen[str]


@contextmanager
def workers(store: str, folder: Path, count: int) -> Iterator[list[Worker]]:
    """So many workers, each at a place of its own."""
    found = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.runs.working", store, str(folder / "world"), str(folder / f"work{number}")],
            cwd=ROOT,
            env=_SURROUNDINGS,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(count)
    ]
    try:
        for worker in found:
            assert worker.stdout is not None
            assert worker.stdout.readline() == "ready\n"
        yield found
    finally:
        for worker in found:
            worker.terminate()
        for worker in found:
            with suppress(subprocess.TimeoutExpired):
                worker.wait(30)
            worker.kill()
            worker.wait()
            assert worker.stdout is not None
            worker.stdout.close()


def _lines(world: Path) -> list[str]:
    return world.read_text().splitlines() if world.exists() else []


def _is_quiet(runs: Runs) -> bool:
    states = {step.state for run in runs.runs() for step in run.steps}
    return not states & {StepState.RUNNING, StepState.READY}


@pytest.mark.timeout(120)
def test_with_one_of_three_workers_killed_every_step_is_done_once_or_unknown(store: str, tmp_path: Path) -> None:
    world = tmp_path / "world"
    with opened(store, create=True) as database:
        runs = Runs(database)
        for number in range(6):
            steps = [StepPlan(f"s{n}", "effect", needs=(f"s{n - 5}",) if n >= 5 else ()) for n in range(10)]
            runs.start(plan(*steps, key=f"run-{number}"))
        with workers(store, tmp_path, 3) as (victim, *_):
            wait_for(lambda: len(_lines(world)) > 15, 40)
            victim.send_signal(signal.SIGKILL)
            wait_for(lambda: _is_quiet(runs), 60)
        effects = Counter(_lines(world))
        assert max(effects.values()) == 1
        for step in (step for run in runs.runs() for step in run.steps):
            done = effects[f"{step.key}/write"]
            match step.state:
                case StepState.SUCCEEDED:
                    assert done == 1
                case StepState.UNKNOWN:
                    assert step.why == "it may have been written"
                case StepState.WAITING:
                    assert done == 0
                case other:
                    pytest.fail(f"{step.key} is {other}")
        assert Journal(database).verify().broken == ()


@pytest.mark.timeout(120)
def test_a_command_of_a_killed_worker_is_unknown_elsewhere_and_known_again_when_its_place_is_back(
    store: str, tmp_path: Path
) -> None:
    count = tmp_path / "count"
    with opened(store, create=True) as database:
        runs = Runs(database)
        document = {"argv": ["/bin/sh", "-c", f"echo x >> {count}; sleep 1; echo done"]}
        with workers(store, tmp_path, 1) as (victim,):
            run = runs.start(plan(StepPlan("deploy", "command", document)))
            wait_for(count.exists, 20)
            victim.send_signal(signal.SIGKILL)
            victim.wait()
            elsewhere = tmp_path / "elsewhere"
            elsewhere.mkdir()
            with workers(store, elsewhere, 1):
                wait_for(lambda: runs.show(run.id).state is RunState.UNKNOWN, 30)
        assert "which is gone" in runs.show(run.id).step("deploy").why
        with workers(store, tmp_path, 1):
            wait_for(lambda: runs.show(run.id).state is RunState.SUCCEEDED, 30)
    assert count.read_text() == "x\n"


@pytest.mark.timeout(120)
def test_the_worker_command_goes_on_with_what_one_before_it_began(store: str, tmp_path: Path) -> None:
    begun, go = tmp_path / "begun", tmp_path / "go"
    command = [sys.executable, "-m", "tightrope", "worker", "--data", store, "--work", str(tmp_path / "work")]

    def worker() -> Worker:
        found = subprocess.Popen(
            command, env=_SURROUNDINGS, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert found.stdout is not None
        assert "command" in found.stdout.readline()
        return found

    with opened(store, create=True) as database:
        runs = Runs(database)
        document = {"argv": ["/bin/sh", "-c", f"echo x >> {begun}; while [ ! -e {go} ]; do sleep 0.05; done"]}
        first = worker()
        run = runs.start(plan(StepPlan("deploy", "command", document)))
        wait_for(begun.exists, 20)
        first.terminate()
        assert first.wait(30) == 0
        assert first.stdout is not None
        assert "commands run on" in first.stdout.read()
        first.stdout.close()
        go.touch()
        second = worker()
        wait_for(lambda: runs.show(run.id).state is RunState.SUCCEEDED, 45)
        second.terminate()
        assert second.wait(30) == 0
        assert second.stdout is not None
        second.stdout.close()
    assert begun.read_text() == "x\n"


def test_a_worker_needs_a_store_and_on_a_server_a_folder(tmp_path: Path) -> None:
    def asked(*argv: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "tightrope", "worker", *argv]
        return subprocess.run(command, env=_SURROUNDINGS, capture_output=True, text=True, check=False, timeout=50)

    missing = asked("--data", str(tmp_path / "nowhere"))
    assert (missing.returncode, "there is no store" in missing.stderr) == (2, True)


@pytest.mark.live
def test_a_worker_on_postgresql_without_a_folder_is_refused(new_database: object) -> None:
    assert callable(new_database)
    command = [sys.executable, "-m", "tightrope", "worker", "--data", new_database()]
    done = subprocess.run(command, env=_SURROUNDINGS, capture_output=True, text=True, check=False, timeout=50)
    assert (done.returncode, "give --work DIR" in done.stderr) == (2, True)


@pytest.mark.timeout(120)
def test_a_killed_server_that_comes_back_goes_on_with_its_commands(store: str, tmp_path: Path) -> None:
    begun, go, specs = tmp_path / "begun", tmp_path / "go", tmp_path / "specs"
    specs.mkdir()
    shop = "apiVersion: openslo/v1\nkind: Service\nmetadata: {name: shop}\nspec: {}\n"
    (specs / "shop.yaml").write_text(shop, encoding="utf-8")
    served = Served(specs, store, options=("--work", str(tmp_path / "work")))
    document = {"argv": ["/bin/sh", "-c", f"echo x >> {begun}; while [ ! -e {go} ]; do sleep 0.05; done; echo bye"]}
    with opened(store, create=True) as database:
        runs = Runs(database)
        served.start()
        try:
            after = StepPlan("next", "command", {"argv": ["/bin/echo", "next"]}, ("deploy",))
            run = runs.start(plan(StepPlan("deploy", "command", document), after))
            wait_for(begun.exists, 20)
            served.kill()
            go.touch()
            served.start()
            wait_for(lambda: runs.show(run.id).state is RunState.SUCCEEDED, 20)
        finally:
            served.stop()
        assert Journal(database).verify().broken == ()
    assert begun.read_text() == "x\n"
