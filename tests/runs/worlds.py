"""Small worlds of runs: a clock to set, actions that do as their step says, and a world that remembers every effect."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from tightrope.base.errors import SourceError
from tightrope.runs.steps import Action, Again, Answer, Done, Effects, Run, RunPlan, Step, StepPlan, Unknown
from tightrope.runs.usecases import Runs
from tightrope.state.database import opened

NOON = 1_772_366_400  # 2026-03-01T12:00:00Z


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self, now: int = NOON) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now

    def wait(self, seconds: int) -> None:
        self.now += seconds


class Scripted(Action):
    """Answers what the step's document says for the attempt: ``ok``, ``fail``, ``hopeless``, ``unknown``, ``fault``,
    ``crash``, or ``again`` with how many turns it takes; and tells which turns it saw."""

    def __init__(self) -> None:
        self.turns: list[tuple[str, str, int]] = []
        self.probes: list[str] = []

    def turn(self, step: Step, now: int, effects: Effects) -> Answer:
        self.turns.append(("turn", step.name, step.attempt))
        script: Any = step.document.get("script", ["ok"])
        word = script[min(step.attempt, len(script)) - 1]
        if word.startswith("again"):
            turns = int(step.memory.get("turns", 0)) + 1
            if turns < int(word.split()[1]):
                return Again(now + 5, {"turns": turns}, "not yet")
            return Done({"turns": turns})
        match word:
            case "fail":
                return Done({"said": "no"}, ok=False, why="it said no")
            case "hopeless":
                return Done(ok=False, retry=False, why="it never will")
            case "unknown":
                return Unknown("the line went dead", {"asked": True})
            case "fault":
                raise SourceError("nobody answers")
            case "crash":
                raise ZeroDivisionError("a bug")
            case "acting fault":
                effects.intend("act")
                raise SourceError("nobody answers")
            case _:
                return Done({"attempt": step.attempt})

    def stop(self, step: Step, now: int, effects: Effects) -> Answer:
        self.turns.append(("stop", step.name, step.attempt))
        if step.document.get("stubborn") and not step.memory.get("asked"):
            return Again(now + 3, {"asked": True}, "ending")
        return Done(ok=bool(step.document.get("finishes")))

    def probe(self, step: Step, now: int, effects: Effects) -> Answer:
        self.probes.append(step.name)
        match step.document.get("probe"):
            case "yes":
                return Done({"found": True})
            case "no":
                return Done(ok=False)
            case _:
                return Unknown("cannot tell")


def step(name: str, *needs: str, **others: Any) -> StepPlan:
    """A step of the kind that does as its script says."""
    script = others.pop("script", None)
    document = dict(others.pop("document", {}))
    if script is not None:
        document["script"] = [script] if isinstance(script, str) else script
    return replace(StepPlan(name, "scripted", document, needs), **others)


def plan(*steps: StepPlan, **others: Any) -> RunPlan:
    """A run of such steps."""
    return replace(RunPlan("pipeline", steps, service="checkout", by="ada"), **others)


class World:
    """Runs over a store, with one scripted action and a clock that stands."""

    def __init__(self, runs: Runs, clock: Clock, action: Scripted) -> None:
        self.runs = runs
        self.clock = clock
        self.action = action

    def go(self, run: Run, *, for_s: int = 0) -> Run:
        """Turn whatever is due, second by second."""
        self.runs.work_until_idle()
        for _ in range(for_s):
            self.clock.wait(1)
            self.runs.work_until_idle()
        return self.runs.show(run.id)


@contextmanager
def world(where: str) -> Iterator[World]:
    clock, action = Clock(), Scripted()
    with opened(where, create=True) as database:
        runs = Runs(database, clock=clock)
        runs.register("scripted", action)
        yield World(runs, clock, action)


def states(run: Run) -> dict[str, str]:
    """The state of each step, by name."""
    return {one.name: str(one.state) for one in run.steps}
