"""Durable steps: what one costs beyond its work, and a thousand of them through three workers with one killed."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from benchmarks.tables import show
from tightrope.runs.executors.local import LocalExecutor
from tightrope.runs.steps import Action, Answer, Done, Effects, RunPlan, RunState, Step, StepPlan, StepState, Unknown
from tightrope.runs.usecases import CommandAction, Runs, plain_command
from tightrope.state.database import opened
from tightrope.state.journal import Journal

ROOT = Path(__file__).resolve().parent.parent
GOAL_MS = 50
STEPS, RUNS, WORKERS, LEASE_S = 1000, 50, 3, 5
CHAIN, COMMANDS = 100, 40


class Nothing(Action):
    """Done at once."""

    def turn(self, step: Step, now: int, effects: Effects) -> Answer:
        return Done()


class Effect(Action):
    """Writes its key into a file that stands for the world outside: nobody can look whether it did."""

    def __init__(self, world: Path) -> None:
        self._world = world

    def turn(self, step: Step, now: int, effects: Effects) -> Answer:
        intent = effects.intend("write")
        if intent.result is None:
            if not intent.new:
                return Unknown("it may have been written")
            descriptor = os.open(self._world, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.write(descriptor, f"{intent.key}\n".encode())
            os.close(descriptor)
            time.sleep(0.005)
            effects.settle(intent, {"written": True})
        return Done()


@contextmanager
def postgresql(folder: Path) -> Iterator[str | None]:
    """A PostgreSQL server of our own as it comes, with fsync; None where there is no such program."""
    on_path = shutil.which("initdb")
    found = [one for root in (Path("/"), ROOT / "build" / "servers") for one in root.glob("usr/lib/postgresql/*/bin")]
    programs = Path(on_path).resolve().parent if on_path else max(found, default=None)
    if programs is None:
        yield None
        return
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    user = None
    if os.geteuid() == 0:  # it refuses to run as root
        user = next(one.pw_name for one in pwd.getpwall() if one.pw_name in {"postgres", "nobody"})
        folder.chmod(0o755)
        shutil.chown(folder, user)
    libraries = sorted(str(one) for one in (ROOT / "build" / "servers" / "usr" / "lib").glob("*-linux-gnu"))
    surroundings = {**os.environ, "LC_ALL": "C", "LD_LIBRARY_PATH": ":".join(libraries)}
    command = [str(programs / "initdb"), "-D", "data", "-U", "tightrope", "-A", "trust", "-E", "UTF8"]
    subprocess.run(command, cwd=folder, user=user, env=surroundings, check=True, capture_output=True)
    settings = ["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]
    with (folder / "log").open("wb") as log:
        command = [str(programs / "postgres"), "-D", "data", "-p", str(port), *settings]
        server = subprocess.Popen(command, cwd=folder, user=user, env=surroundings, stdout=log, stderr=log)
    import psycopg

    try:
        address = f"postgresql://tightrope@127.0.0.1:{port}/postgres"
        for _ in range(300):
            with suppress(psycopg.OperationalError), psycopg.connect(address):
                break
            time.sleep(0.1)
        yield address
    finally:
        server.send_signal(signal.SIGQUIT)
        server.wait(30)


def chain(runs: Runs, kind: str, length: int) -> float:
    """Run steps one after the other; seconds from the start of the run to its end."""
    document = {"argv": ["/bin/true"]} if kind == "command" else {}
    steps = [StepPlan(f"s{n}", kind, document, (f"s{n - 1}",) if n else ()) for n in range(length)]
    over = threading.Event()
    runs.on_change(lambda change: over.set() if change.step is None and change.run.state.over else None)
    began = time.perf_counter()
    run = runs.start(RunPlan("benchmark", tuple(steps)))
    over.wait(120)
    took = time.perf_counter() - began
    assert runs.show(run.id).state is RunState.SUCCEEDED
    return took


def overhead(name: str, where: str, folder: Path) -> Iterator[list[str]]:
    """Rows of the table for one store."""
    executor = LocalExecutor(folder / "work")
    with opened(where, create=True) as database:
        runs = Runs(database, place=executor.place)
        runs.register("nothing", Nothing())
        runs.register("command", CommandAction(executor, plain_command))
        runs.start_working()
        for kind, what, length in (("nothing", "no work", CHAIN), ("command", "/bin/true, supervised", COMMANDS)):
            chain(runs, kind, 5)
            each_ms = chain(runs, kind, length) / length * 1000
            yield [name, what, str(length), f"{each_ms:.1f} ms", "yes" if each_ms < GOAL_MS else "no"]
        runs.stop_working()
    executor.close()


def plain(folder: Path) -> list[str]:
    """What the machine itself takes: a file brought to the disk, and a program started and waited for."""
    times: dict[str, list[float]] = {"sync": [], "program": []}
    for _ in range(30):
        began = time.perf_counter()
        with (folder / "probe").open("wb") as file:
            file.write(b"x")
            file.flush()
            os.fsync(file.fileno())
        times["sync"].append(time.perf_counter() - began)
        began = time.perf_counter()
        subprocess.run(["/bin/true"], check=True)
        times["program"].append(time.perf_counter() - began)
    sync, program = (sorted(some)[len(some) // 2] * 1000 for some in times.values())
    return [f"On this machine a file takes {sync:.1f} ms to reach the disk, and /bin/true takes {program:.1f} ms."]


def through_workers(where: str, folder: Path) -> list[list[str]]:
    """A thousand steps through three workers, of which one is killed in the midst; rows of the table."""
    world = folder / "world"
    with opened(where, create=True) as database:
        runs = Runs(database)
        each = STEPS // RUNS
        for number in range(RUNS):
            steps = [StepPlan(f"s{n}", "effect", needs=(f"s{n - 10}",) if n >= 10 else ()) for n in range(each)]
            runs.start(RunPlan("benchmark", tuple(steps), key=f"bench-{number}"))
        command = [sys.executable, "-m", "benchmarks.runs", where, str(world)]
        began = time.perf_counter()
        workers = [subprocess.Popen(command, cwd=ROOT) for _ in range(WORKERS)]
        try:
            while _lines(world) < STEPS // 3:
                time.sleep(0.01)
            workers[0].kill()
            killed_at = time.perf_counter() - began
            end = time.monotonic() + 240
            states: Counter[StepState] = Counter({StepState.READY: STEPS})
            while time.monotonic() < end and (states[StepState.RUNNING] or states[StepState.READY]):
                time.sleep(0.2)
                states = Counter(step.state for run in runs.runs(limit=RUNS) for step in run.steps)
            took = time.perf_counter() - began
        finally:
            for worker in workers[1:]:
                worker.terminate()
            for worker in workers:
                worker.wait(30)
        effects = Counter(world.read_text().split())
        found = runs.runs(limit=RUNS)
        succeeded = {step.key for run in found for step in run.steps if step.state is StepState.SUCCEEDED}
        unknown = {step.key for run in found for step in run.steps if step.state is StepState.UNKNOWN}
        once = sum(1 for key in succeeded if effects[f"{key}/write"] == 1)
        return [
            ["steps", str(STEPS)],
            ["workers, of which one was killed", f"{WORKERS}, after {killed_at:.1f} s"],
            ["took, with leases of 5 s", f"{took:.1f} s"],
            ["succeeded, with their effect exactly once", f"{len(succeeded)}, {once}"],
            ["unknown, and said so", str(len(unknown))],
            ["waiting behind an unknown one", str(states[StepState.WAITING])],
            ["effects done twice", str(sum(1 for count in effects.values() if count > 1))],
            ["breaks in the journal's chain", str(len(Journal(database).verify().broken))],
        ]


def _lines(file: Path) -> int:
    return file.read_bytes().count(b"\n") if file.exists() else 0


def work(where: str, world: Path) -> None:
    """One worker, until it is told to stop."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    with opened(where) as database:
        runs = Runs(database, lease_s=LEASE_S)
        runs.register("effect", Effect(world))
        runs.start_working()
        stop.wait()
        runs.stop_working()


def main() -> None:
    """Print what steps cost, and what became of a thousand."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        server = folder / "postgresql"
        server.mkdir()
        notes = plain(folder)
        rows = list(overhead("SQLite", str(folder / "store"), folder))
        through: Sequence[Sequence[str]] = []
        with postgresql(server) as address:
            if address is None:
                notes.append("PostgreSQL is not here: `make servers`.")
            else:
                rows += overhead("PostgreSQL", address, folder)
                through = through_workers(address, folder)
        title = f"One step after the other: what each takes in all (goal: under {GOAL_MS} ms)"
        show(title, ["store", "work", "steps", "a step", "in reach"], rows, notes=notes)
        if through:
            show("Steps through three workers on PostgreSQL, one of them killed", ["what", "figure"], through)


if __name__ == "__main__":
    work(sys.argv[1], Path(sys.argv[2]))
