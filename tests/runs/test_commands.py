"""Steps that are commands: started once, found again, stopped, probed for, and unknown where nobody can tell."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.live.serving import wait_for
from tests.runs.worlds import NOON, Clock, plan
from tightrope.base.clock import now
from tightrope.base.errors import NotFoundError, UsageError
from tightrope.runs.commands import Command, Ended, Limits, command_of
from tightrope.runs.executors.local import LocalExecutor
from tightrope.runs.executors.supervisor import start_time
from tightrope.runs.reconcile import LEASE_S
from tightrope.runs.steps import Document, Effects, OnUnknown, Run, RunState, Step, StepPlan, StepState
from tightrope.runs.usecases import (
    FILES_KEPT_S,
    RUNS_KEPT_S,
    CommandAction,
    Runs,
    plain_command,
    plain_probe,
)
from tightrope.state.database import opened


@contextmanager
def server(
    folder: Path, clock: Clock, *, work: str = "work", prepare: Any = plain_command, finished: Any = None
) -> Iterator[Runs]:
    """A server's runs, and its commands, over the store in a folder."""
    executor = LocalExecutor(folder / work)
    with opened(str(folder / "store"), create=True) as database:
        runs = Runs(database, place=executor.place, clock=clock)
        runs.register("command", CommandAction(executor, prepare, finished, plain_probe))
        runs.renew()
        yield runs
    executor.close()


def command(script: str, **others: Any) -> StepPlan:
    document = {"argv": ["/bin/sh", "-c", script], **others.pop("document", {})}
    return StepPlan("deploy", "command", document, **others)


def settled(runs: Runs, run: Run) -> Run:
    """Turn whatever is due until the run is over, or held up."""

    def through() -> bool:
        runs.work_until_idle()
        return runs.show(run.id).state not in {RunState.RUNNING, RunState.QUEUED}

    wait_for(through, 15)
    return runs.show(run.id)


def turned(runs: Runs, run: Run) -> Step:
    """The step after a look at how its command does."""
    runs.wake(run.id, "deploy")
    runs.work_until_idle()
    return runs.show(run.id).step("deploy")


def _supervisor(folder: Path) -> int:
    return _processes(folder)[0]


def _processes(folder: Path) -> tuple[int, int]:
    """The supervisor, and its command."""
    (started,) = folder.rglob("started")
    found = json.loads(started.read_text())
    return int(found["pid"]), int(found["child"])


@pytest.fixture(autouse=True)
def _leaves_nothing_behind(tmp_path: Path) -> Iterator[None]:
    yield
    for started in tmp_path.rglob("started"):
        if not started.with_name("status").exists():
            try:
                os.killpg(json.loads(started.read_text())["child"], signal.SIGKILL)
            except (ProcessLookupError, ValueError):
                continue


def test_a_command_that_ends_wakes_its_step_and_its_outcome_is_kept(tmp_path: Path) -> None:
    with server(tmp_path, Clock()) as runs:
        done = settled(runs, runs.start(plan(command("echo hello; exit 0"))))
        outcome = done.step("deploy").outcome
        assert (done.state, outcome["code"], outcome["logBytes"]) == (RunState.SUCCEEDED, 0, 6)
        assert runs.log(done.id, "deploy").data == b"hello\n"
        assert runs.log(done.id, "deploy").ended
        assert "tail" not in outcome
        loud = settled(runs, runs.start(plan(command("seq 1 5000; printf '\\0\\377end'; exit 1"))))
        assert loud.step("deploy").outcome["tail"].endswith("4999\n5000\n\ufffd\ufffdend")
        assert len(loud.step("deploy").outcome["tail"]) <= 2048
        failed = settled(runs, runs.start(plan(command("exit 9"))))
        assert (failed.state, failed.step("deploy").why) == (RunState.FAILED, "ended with status 9")
        assert settled(runs, runs.start(plan(command("kill -9 $$")))).step("deploy").why == "ended by signal 9"


def test_each_attempt_has_a_log_of_its_own(tmp_path: Path) -> None:
    with server(tmp_path, Clock()) as runs:
        mark = tmp_path / "mark"
        script = f"echo attempt; test -e {mark} || {{ touch {mark}; exit 1; }}; echo fine"
        done = settled(runs, runs.start(plan(command(script, retries=1, backoff_s=0))))
        assert (done.state, done.step("deploy").attempt) == (RunState.SUCCEEDED, 2)
        assert runs.log(done.id, "deploy", attempt=1).data == b"attempt\n"
        assert runs.log(done.id, "deploy").data == b"attempt\nfine\n"


def test_a_missing_command_fails_with_what_is_missing(tmp_path: Path) -> None:
    with server(tmp_path, Clock()) as runs:
        done = settled(runs, runs.start(plan(StepPlan("deploy", "command", {"argv": ["no-such-program"]}))))
        assert (done.state, done.step("deploy").why) == (RunState.FAILED, "there is no program 'no-such-program'")
        none = settled(runs, runs.start(plan(StepPlan("deploy", "command", {}, retries=3))))
        assert (none.step("deploy").why, none.step("deploy").attempt) == ("the step names no command", 1)


def test_a_server_that_comes_back_goes_on_with_the_command_and_starts_no_second(tmp_path: Path) -> None:
    clock, count, go = Clock(), tmp_path / "count", tmp_path / "go"
    with server(tmp_path, clock) as runs:
        run = runs.start(plan(command(f"echo x >> {count}; while [ ! -e {go} ]; do sleep 0.02; done")))
        runs.work_until_idle()
        wait_for(count.exists, 10)
    clock.wait(600)
    go.touch()
    with server(tmp_path, clock) as runs:
        assert settled(runs, run).state is RunState.SUCCEEDED
    assert count.read_text() == "x\n"


def test_the_outcome_of_a_command_whose_supervisor_was_killed_is_unknown_once_it_is_over_and_it_is_not_repeated(
    tmp_path: Path,
) -> None:
    clock, count, go = Clock(), tmp_path / "count", tmp_path / "go"
    with server(tmp_path, clock) as runs:
        run = runs.start(plan(command(f"echo x >> {count}; while [ ! -e {go} ]; do sleep 0.02; done", retries=5)))
        runs.work_until_idle()
        wait_for(count.exists, 10)
        os.kill(_supervisor(tmp_path), signal.SIGKILL)
        wait_for(lambda: turned(runs, run).why == "its supervisor was killed, and it runs on", 10)
        go.touch()
        wait_for(lambda: turned(runs, run).state is StepState.UNKNOWN, 10)
        held = runs.show(run.id)
        assert (held.state, held.step("deploy").why) == (RunState.UNKNOWN, "its supervisor was killed")
        clock.wait(3600)
        assert runs.work_until_idle() == 0
        assert count.read_text() == "x\n"


@pytest.mark.parametrize(
    ("probe", "state", "attempts", "why"),
    [
        ("exit 0", RunState.SUCCEEDED, 1, ""),
        ("exit 1", RunState.SUCCEEDED, 2, ""),
        ("exit 2", RunState.UNKNOWN, 1, "the probe could not tell: ended with status 2"),
        ("", RunState.UNKNOWN, 1, "its supervisor was killed"),
    ],
)
def test_a_probe_finds_out_what_became_of_it(
    tmp_path: Path, probe: str, state: RunState, attempts: int, why: str
) -> None:
    clock, count = Clock(), tmp_path / "count"
    script = f"echo x >> {count}; [ $(wc -l < {count}) = 2 ] || exec sleep 60"
    document = {"probe": {"argv": ["/bin/sh", "-c", probe]}} if probe else {}
    with server(tmp_path, clock) as runs:
        run = runs.start(plan(command(script, on_unknown=OnUnknown.PROBE, document=document)))
        runs.work_until_idle()
        wait_for(count.exists, 10)
        for process in _processes(tmp_path):  # the command, too: as long as it runs nobody probes
            os.kill(process, signal.SIGKILL)
        done = settled(runs, run)
        assert (done.state, len(count.read_text().split())) == (state, attempts)
        assert why in done.step("deploy").why


def test_a_cancelled_command_is_stopped_with_all_its_processes(tmp_path: Path) -> None:
    clock, pid = Clock(), tmp_path / "pid"
    script = f"trap '' TERM; (trap '' TERM; sleep 60) & echo $! > {pid}; wait; sleep 60"
    with server(tmp_path, clock) as runs:
        run = runs.start(plan(command(script, document={"grace_s": 1})))
        runs.work_until_idle()
        wait_for(lambda: pid.exists() and pid.read_text().strip() != "", 10)
        runs.cancel(run.id, by="ada", reason="wrong version")
        done = settled(runs, run)
        assert (done.state, done.step("deploy").state) == (RunState.CANCELLED, StepState.CANCELLED)
        assert done.step("deploy").why == "stopped"
        assert done.step("deploy").outcome["signal"] == signal.SIGKILL


def test_a_command_is_stopped_at_its_deadline_also_while_no_server_runs(tmp_path: Path) -> None:
    clock = Clock()
    with server(tmp_path, clock) as runs:
        run = runs.start(plan(command("sleep 60", timeout_s=1)))
        runs.work_until_idle()
    wait_for(lambda: any(tmp_path.rglob("status")), 10)
    clock.wait(2)
    with server(tmp_path, clock) as runs:
        done = settled(runs, run)
        assert (done.state, done.step("deploy").why) == (RunState.FAILED, "timed out after 1 s: timed out")


def test_a_worker_of_another_place_leaves_a_living_place_alone_and_takes_over_from_a_dead_one(tmp_path: Path) -> None:
    clock, count = Clock(), tmp_path / "count"
    with server(tmp_path, clock) as runs, server(tmp_path, clock, work="elsewhere") as other:
        run = runs.start(plan(command(f"echo x >> {count}; sleep 1")))
        runs.work_until_idle()
        wait_for(count.exists, 10)
        clock.wait(LEASE_S - 1)
        assert other.work_until_idle() == 0
        clock.wait(1)  # nobody at the first place says that it is alive
        other.renew()
        held = settled(other, run)
        assert held.state is RunState.UNKNOWN
        assert "which is gone" in held.step("deploy").why
        with pytest.raises(NotFoundError, match="is kept at"):
            other.log(run.id, "deploy")
        assert count.read_text() == "x\n"
        assert other.recall() == 0
        wait_for(lambda: any(tmp_path.rglob("status")), 10)
        assert runs.recall() == 1  # it comes back, and can tell after all
        assert settled(runs, run).state is RunState.SUCCEEDED
        assert runs.recall() == 0


def test_what_a_dead_worker_of_this_place_held_is_taken_up_without_waiting_for_its_lease(tmp_path: Path) -> None:
    with subprocess.Popen(["/bin/true"]) as ended:
        number = ended.pid
    with server(tmp_path, Clock()) as runs:
        run = runs.start(plan(command("true")))
        alive = runs._owner
        for owner, recalled in ((alive, 0), (f"{alive.split('#')[0]}#{number}.1#x", 1)):
            runs._owner = owner
            assert len(runs.claim(1)) == 1
            runs._owner = alive
            runs.recall()
            assert len(runs.claim(1)) == recalled
            if not recalled:
                runs._clock = Clock(NOON + LEASE_S)
        assert runs.show(run.id).step("deploy").faults == 2


def test_what_a_command_needs_is_prepared_and_what_it_leaves_is_gathered(tmp_path: Path) -> None:
    def prepare(step: Step, effects: Effects) -> Command:
        folder = tmp_path / f"space-{effects.run.number}"
        folder.mkdir(exist_ok=True)
        (folder / "input").write_text("seven")
        script = "tr a-z A-Z < input > output; echo $TOKEN"
        return Command(("/bin/sh", "-c", script), folder=str(folder), secrets={"TOKEN": "hunter2"})

    def finished(step: Step, effects: Effects, ended: Ended) -> Document:
        return {"output": (tmp_path / "space-1" / "output").read_text(), "well": ended.ok}

    with server(tmp_path, Clock(), prepare=prepare, finished=finished) as runs:
        done = settled(runs, runs.start(plan(StepPlan("deploy", "command"))))
        assert done.step("deploy").outcome["output"] == "SEVEN"
        assert done.step("deploy").outcome["well"] is True
        assert runs.log(done.id, "deploy").data == b"***\n"
    assert b"hunter2" not in (tmp_path / "store" / "tightrope.db").read_bytes()


def test_a_secret_that_is_not_there_fails_the_step_and_tells_which(tmp_path: Path) -> None:
    def prepare(step: Step, effects: Effects) -> Command:
        raise NotFoundError("there is no secret 'deploy-key'")

    with server(tmp_path, Clock(), prepare=prepare) as runs:
        done = settled(runs, runs.start(plan(StepPlan("deploy", "command", retries=3))))
        assert (done.state, done.step("deploy").why) == (RunState.FAILED, "there is no secret 'deploy-key'")


def test_files_of_runs_that_are_forgotten_go_with_them(tmp_path: Path) -> None:
    clock = Clock()
    with server(tmp_path, clock) as runs:
        settled(runs, runs.start(plan(command("echo hello"))))
        assert list(tmp_path.rglob("log"))
        clock.wait(100)
        assert runs.forget(clock.now) == 1
        assert [path.name for path in (tmp_path / "work").iterdir()] == ["place"]


def test_old_runs_and_files_are_let_go_of_day_by_day(tmp_path: Path) -> None:
    clock = Clock(now())
    with server(tmp_path, clock) as runs:
        old = settled(runs, runs.start(plan(command("echo hello"))))
        clock.wait(FILES_KEPT_S - 600)
        runs.tidy()
        assert runs.log(old.id, "deploy").data == b"hello\n"
        clock.wait(1200)
        runs.tidy()
        assert runs.log(old.id, "deploy").data == b""
        assert [run.id for run in runs.runs()] == [old.id]
        clock.wait(RUNS_KEPT_S)
        runs.tidy()
        assert runs.runs() == []


def test_a_cancelled_command_without_a_supervisor_is_ended_and_unknown(tmp_path: Path) -> None:
    clock, pid = Clock(), tmp_path / "pid"
    with server(tmp_path, clock) as runs:
        run = runs.start(plan(command(f"echo $$ > {pid}; sleep 60")))
        runs.work_until_idle()
        wait_for(lambda: pid.exists() and pid.read_text().strip() != "", 10)
        runs.cancel(run.id, by="ada")
        os.kill(_supervisor(tmp_path), signal.SIGKILL)
        assert settled(runs, run).state is RunState.UNKNOWN
        wait_for(lambda: start_time(int(pid.read_text())) == "", 5)


def test_a_place_that_was_taken_for_dead_looks_again_at_what_it_knows(tmp_path: Path) -> None:
    clock, count = Clock(), tmp_path / "count"
    with server(tmp_path, clock) as runs, server(tmp_path, clock, work="elsewhere") as other:
        run = runs.start(plan(command(f"echo x >> {count}; sleep 0.5")))
        runs.work_until_idle()
        wait_for(count.exists, 10)
        clock.wait(LEASE_S)
        assert settled(other, run).state is RunState.UNKNOWN
        runs.renew()
        assert settled(runs, run).state is RunState.SUCCEEDED


def test_a_command_is_read_from_plain_values() -> None:
    full = {"argv": ["make"], "folder": "/srv", "environment": {"A": "b"}, "limits": {"cpu_s": 3}, "grace_s": 2}
    assert command_of(full) == Command(("make",), "/srv", {"A": "b"}, grace_s=2, limits=Limits(cpu_s=3))


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"argv": "make"},
        {"argv": []},
        {"argv": [1]},
        {"argv": ["make"], "environment": {"A": 1}},
        {"argv": ["make"], "environment": []},
        {"argv": ["make"], "limits": {"cpu_s": -1}},
        {"argv": ["make"], "limits": {"gold": 1}},
    ],
)
def test_nonsense_is_refused(document: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        command_of(document)


def test_a_command_that_nothing_can_begin_is_given_up_in_the_end(tmp_path: Path) -> None:
    class Nobody(LocalExecutor):
        """Its supervisors die before they begin anything, as where their code cannot be read."""

        tries = 0

        def start(self, key: str, command: Command) -> None:
            self.tries += 1
            self._of(key).mkdir(parents=True, exist_ok=True)

    clock, executor = Clock(), Nobody(tmp_path / "work")
    with opened(str(tmp_path / "store"), create=True) as database:
        runs = Runs(database, place=executor.place, clock=clock)
        runs.register("command", CommandAction(executor, plain_command))
        run = runs.start(plan(command("echo hello", timeout_s=3600)))
        for _ in range(60):
            runs.work_until_idle()
            clock.wait(1)
        ended = runs.show(run.id)
    executor.close()
    assert ended.state is RunState.FAILED
    assert "did not begin, though it was tried 30 times" in ended.steps[0].why
    assert executor.tries == 30
    assert list((tmp_path / "work").rglob("stop")), "a supervisor that comes late must not begin it either"
