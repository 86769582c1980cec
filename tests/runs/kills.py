"""A worker that kills itself at the n-th moment: before a commit, after it, before an effect on the world, after it.

``python -m tests.runs.kills STORE FOLDER STORY`` plays a story to its end to count the moments, and then once for each
of them: killed there, a third of them once more on the way back, and let go on. What came of each is a line of JSON.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import event

from tests.runs.worlds import NOON
from tightrope.base.errors import ConflictError
from tightrope.runs.commands import Command
from tightrope.runs.executors.local import LocalExecutor
from tightrope.runs.steps import Action, Again, Answer, Done, Effects, RunPlan, Step, StepPlan, Unknown, When
from tightrope.runs.usecases import CommandAction, Runs, plain_command
from tightrope.state.database import Database, opened
from tightrope.state.journal import Journal

_DAY_S = 86_400


class Moments:
    """Counts the moments of one life, and ends it at one of them."""

    def __init__(self, last: int) -> None:
        self.seen = 0
        self._last = last

    def __call__(self) -> None:
        self.seen += 1
        if self.seen == self._last:
            os.kill(os.getpid(), signal.SIGKILL)


class Outside:
    """The world outside: it remembers what was done to it, under which key, in one file."""

    def __init__(self, file: Path, moment: Callable[[], None]) -> None:
        self._file = file
        self._moment = moment

    def act(self, key: str) -> None:
        self._moment()
        with self._file.open("a") as file:
            file.write(f"{key}\n")
        self._moment()

    def done(self) -> list[str]:
        return self._file.read_text().split("\n") if self._file.exists() else [""]


class Deploy(Action):
    """Does what can be looked for."""

    def __init__(self, outside: Outside) -> None:
        self._outside = outside

    def turn(self, step: Step, now: int, effects: Effects) -> Answer:
        intent = effects.intend("deploy", {"version": "7"})
        if intent.result is None:
            if intent.new or intent.key not in self._outside.done():
                self._outside.act(intent.key)
            intent = effects.settle(intent, {"live": "7"})
        return Done({"result": intent.result})


class Notify(Action):
    """Does what nobody can look for."""

    def __init__(self, outside: Outside) -> None:
        self._outside = outside

    def turn(self, step: Step, now: int, effects: Effects) -> Answer:
        intent = effects.intend("notify")
        if intent.result is None:
            if not intent.new:
                return Unknown("the message may have gone out")
            self._outside.act(intent.key)
            effects.settle(intent, {"sent": True})
        return Done({"sent": True})


class Count(Action):
    """Counts in its memory to three, and fails in its first attempt if asked to."""

    def turn(self, step: Step, now: int, effects: Effects) -> Answer:
        count = int(step.memory.get("count", 0)) + 1
        if count < 3:
            return Again(now, {"count": count})
        return Done({"count": count}, ok=not (step.document.get("fails") and step.attempt == 1))


class Executor(LocalExecutor):
    """Runs commands, with a moment before and after each start."""

    def __init__(self, folder: Path, moment: Callable[[], None]) -> None:
        super().__init__(folder)
        self._moment = moment

    def start(self, key: str, command: Command) -> None:
        self._moment()
        super().start(key, command)
        self._moment()


_NOTHING: Callable[[], None] = lambda: None  # noqa: E731  a name for it
_moment = [_NOTHING]


@contextmanager
def _life(
    database: Database, folder: Path, number: int, now: int, moment: Callable[[], None] = _NOTHING
) -> Iterator[Runs]:
    _moment[0] = moment
    outside = Outside(folder / f"outside-{number}", moment)
    executor = Executor(folder / "work", moment)
    runs = Runs(database, place=executor.place, clock=lambda: now)
    for kind, action in (("deploy", Deploy(outside)), ("notify", Notify(outside)), ("count", Count())):
        runs.register(kind, action)
    runs.register("command", CommandAction(executor, plain_command))
    yield runs
    executor.close()
    _moment[0] = _NOTHING


def _instrument(database: Database) -> None:
    engine, writing = database.engine, [False]

    @event.listens_for(engine, "commit")
    def _commits(connection: Any) -> None:
        writing[0] = bool(connection.get_execution_options().get("tightrope_writes"))
        if writing[0]:
            _moment[0]()

    @event.listens_for(engine, "checkin")
    def _committed(_connection: Any, _record: Any) -> None:
        if writing[0]:
            writing[0] = False
            _moment[0]()

    if engine.dialect.name == "sqlite":

        @event.listens_for(engine, "connect")
        def _connected(connection: Any, _record: Any) -> None:
            connection.execute("PRAGMA synchronous = OFF")  # a killed process takes no power cut with it

    engine.dispose()


def _plan(number: int, name: str, *steps: StepPlan) -> RunPlan:
    return RunPlan("pipeline", steps, group=f"group-{number}", key=f"{name}-{number}", by="ada")


def play_command(runs: Runs, number: int, folder: Path) -> None:
    """One run with one command, which writes down that it ran."""
    script = f"echo $KEY >> {folder}/outside-{number}; sleep 0.02"
    document = {"argv": ["/bin/sh", "-c", script]}
    run = runs.start(_plan(number, "first", StepPlan("command", "command", document)))
    runs.renew()
    end = time.monotonic() + 20  # noqa: TID251  a real process
    while not runs.show(run.id).state.over and time.monotonic() < end:  # noqa: TID251  a real process
        if not runs.work_until_idle():
            time.sleep(0.002)


def play(runs: Runs, number: int, _folder: Path) -> None:
    """Two runs of one group, the second behind the first, and a third that is cancelled."""
    runs.start(
        _plan(
            number,
            "first",
            StepPlan("build", "count"),
            StepPlan("deploy", "deploy", needs=("build",)),
            StepPlan("flaky", "count", {"fails": True}, retries=1, backoff_s=0, needs=("build",)),
            StepPlan("tell", "notify", needs=("deploy",)),
            StepPlan("mend", "deploy", needs=("deploy",), when=When.FAILURE),
        )
    )
    runs.start(_plan(number, "second", StepPlan("deploy", "deploy")))
    third = runs.start(_plan(number, "third", StepPlan("deploy", "deploy")))
    try:
        runs.cancel(third.id, by="ada")
    except ConflictError:
        assert runs.show(third.id).cancelled_by == "ada"
    runs.work_until_idle()


def _in_a_life_of_its_own(database: Database, work: Callable[[], None]) -> bool:
    """Do it in a child process, with connections of its own; whether that came to its end."""
    database.engine.dispose()
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        except BaseException as error:  # noqa: BLE001  told to the parent, which prints it
            sys.stderr.write(f"{type(error).__name__}: {error}\n")
            os._exit(1)
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return False
    assert status == 0, "the story itself failed"
    return True


STORIES = {"effects": play, "command": play_command}


def _told(database: Database, folder: Path, number: int) -> dict[str, Any]:
    """How the story stands: states and effects."""
    with _life(database, folder, number, NOON) as runs:
        found = {run.key.rsplit("-", 1)[0]: run for run in runs.runs(group=f"group-{number}")}
        outside = Outside(folder / f"outside-{number}", _NOTHING).done()
        return {
            "runs": {name: run.state.value for name, run in found.items()},
            "steps": {f"{name}/{step.name}": step.state.value for name, run in found.items() for step in run.steps},
            "attempts": {f"{name}/{step.name}": step.attempt for name, run in found.items() for step in run.steps},
            "outcomes": {f"{name}/{step.name}": step.outcome for name, run in found.items() for step in run.steps},
            "effects": sorted(
                f"{name}/{key.split('/')[1]}"
                for name, run in found.items()
                for key in outside
                if key.startswith(f"{run.id}/")
            ),
            "lines": len(outside) - 1,
        }


def _say(document: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()


def main(store: str, folder: Path, story: str) -> None:
    with opened(store, create=True) as database:
        _instrument(database)
        _play_all(database, folder, STORIES[story])
        journal = Journal(database)
        kinds = Counter(entry.event.type for entry in journal.read())
        _say({"broken": len(journal.verify().broken), "kinds": kinds})


def _play_all(database: Database, folder: Path, playing: Callable[[Runs, int, Path], None]) -> None:
    def live(number: int, life: int, moments: Moments) -> None:
        now = NOON + number * _DAY_S + life * 1000
        with _life(database, folder, number, now, moments) as runs:
            playing(runs, number, folder)

    def settle(number: int) -> None:
        with _life(database, folder, number, NOON + number * _DAY_S + 5000) as runs:
            for run in runs.runs(group=f"group-{number}"):
                for step in run.steps:
                    if step.state.value == "unknown":
                        runs.settle(run.id, step.name, "succeeded", by="ada", reason="I asked who was told")
            runs.work_until_idle()

    undisturbed = Moments(0)
    live(0, 0, undisturbed)
    moments = undisturbed.seen
    _say({"moments": moments, **_told(database, folder, 0)})
    for number in range(1, moments + 1):
        killed = not _in_a_life_of_its_own(database, partial(live, number, 0, Moments(number)))
        assert killed, "it should have been killed"
        if number % 3 == 0:
            _in_a_life_of_its_own(database, partial(live, number, 1, Moments(1 + number * 7 % moments)))
        assert _in_a_life_of_its_own(database, partial(live, number, 2, Moments(0)))
        held = told = _told(database, folder, number)
        if "unknown" in held["steps"].values():
            assert _in_a_life_of_its_own(database, partial(settle, number))
            told = _told(database, folder, number)
        _say({"held": held, **told})


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
