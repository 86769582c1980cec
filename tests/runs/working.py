"""A worker as a process of its own, to be killed: ``python -m tests.runs.working STORE WORLD WORK``."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

from tightrope.runs.executors.local import LocalExecutor
from tightrope.runs.steps import Action, Answer, Done, Effects, Step, Unknown
from tightrope.runs.usecases import CommandAction, Runs, plain_command
from tightrope.state.database import opened

LEASE_S = 3


class Effect(Action):
    """Writes its key into the world, which nobody can read again."""

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
            time.sleep(0.02)
            effects.settle(intent, {"written": True})
        return Done()


def main(store: str, world: str, work: str) -> None:
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    executor = LocalExecutor(Path(work))
    with opened(store) as database:
        runs = Runs(database, place=executor.place, lease_s=LEASE_S)
        runs.register("effect", Effect(Path(world)))
        runs.register("command", CommandAction(executor, plain_command))
        runs.start_working()
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        stop.wait()
        runs.stop_working()
    executor.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
