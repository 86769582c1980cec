"""A live loop on a real store, turned by hand: a clock that is set, and feeds that bring what they are told to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np

from tightrope.base.errors import SpecError, TightropeError
from tightrope.engine.plan import Incident
from tightrope.loop.assess import Assessment, assess
from tightrope.loop.feeds import Fed, Feed, Hear, Turns, Wanted
from tightrope.loop.live import Live
from tightrope.loop.store import LiveStore
from tightrope.sli.slices import Slices
from tightrope.specs.model import Objective, Slo, Specs
from tightrope.specs.store import examine, load
from tightrope.state.database import opened
from tightrope.state.journal import Entry, Journal
from tightrope.telemetry.reading import Reading
from tightrope.telemetry.received import RECEIVED
from tightrope.telemetry.store import SliceStore
from tightrope.telemetry.usecases import open_receiver

START = 1_772_323_200  # 2026-03-01T00:00:00Z
STEP = 60


class Script:
    """A feed that brings, when it is asked, what the test has given it."""

    name = "script"
    every_s = 1.0

    def __init__(self, wanted: Sequence[Wanted]) -> None:
        self.wanted = wanted

    def read(self, now: int) -> list[Fed]:
        raise AssertionError("the test hands it over itself")


class Idle:
    """Turns no feed: the test does."""

    def __init__(self, feed: Feed, now: Callable[[], int], out: Hear) -> None:
        self.feed, self.out = feed, out

    def stop(self) -> None:
        self.out = lambda _feed, _found, _error: None


class World:
    """One store with a live loop on it, which can be stopped and started again as after a kill."""

    def __init__(
        self,
        where: Path | str,
        text: str,
        tmp_path: Path,
        *,
        incidents: Sequence[Incident] = (),
        keep_s: int | None = None,
    ) -> None:
        self.keep_s = keep_s
        self.where = str(where)
        self.folder = tmp_path / "specs"
        self.folder.mkdir(exist_ok=True)
        self.incidents = tuple(incidents)
        self.at = START
        self.write(text)
        self.idle: list[Idle] = []
        self._stack = ExitStack()
        self.begin()

    def write(self, text: str) -> None:
        """Edit the specs."""
        (self.folder / "slo.yaml").write_text(text, encoding="utf-8")

    def begin(self) -> None:
        """Start a loop on what the store holds: nothing of an earlier one is left but that."""
        self._stack.close()
        self._stack = ExitStack()
        database = self._stack.enter_context(opened(self.where, create=True))
        self.journal = Journal(database)
        self.slices = SliceStore(database)
        self._stack.callback(self.slices.close)

        def pump(feed: Feed, now: Callable[[], int], out: Hear) -> Turns:
            self.idle.append(Idle(feed, now, out))
            return self.idle[-1]

        self.live = Live(
            database,
            self.slices,
            LiveStore(database),
            self.journal,
            examine=lambda: _examined(self.folder),
            look=lambda: (self.folder / "slo.yaml").stat().st_mtime_ns,
            feeds=lambda wanted, _live: [Script(wanted)],
            receivers={kind: open_receiver(kind) for kind in RECEIVED},
            now=lambda: self.at,
            incidents=self.incidents,
            keep_s=self.keep_s,
            pump=pump,
        )
        self.live.turn()

    def close(self) -> None:
        self._stack.close()

    def feed(self, track: str, slices: Slices, *, caught_up: bool = True) -> None:
        """Let the source of a track bring slices."""
        one = self.idle[-1]
        one.out(one.feed, [Fed(track, slices, (slices.start, slices.end), caught_up)], None)

    def fail(self, error: TightropeError) -> None:
        """Let the source be out of reach."""
        one = self.idle[-1]
        one.out(one.feed, [], error)

    def turn(self, at: int) -> None:
        """Set the clock, and turn."""
        self.at = at
        self.live.turn()

    def events(self, kind: str) -> list[Entry]:
        """What the journal has of one kind, oldest first."""
        return list(self.journal.read(kind=kind))


Begin = Callable[..., World]
"""Begins a world on specs that are given as text."""


def agree(world: World, **records: Slices) -> None:
    """Every track stands where a replay of its record stands."""
    for key in records:
        now = world.live.assessment(key)
        then = replayed(world.folder, records, now.statement.at)[key]
        assert (now.history.memory, now.statement) == (then.history.memory, then.statement), key


def _examined(folder: Path) -> tuple[Specs | None, tuple[SpecError, ...]]:
    return examine([str(folder)])


def replayed(
    text_folder: Path, records: dict[str, Slices], at: int, incidents: Sequence[Incident] = ()
) -> dict[str, Assessment]:
    """What a replay of whole records gives as of an instant."""
    specs = load([str(text_folder)])

    def read(wanted: Sequence[tuple[Slo, Objective]]) -> Sequence[Reading]:
        found = []
        for slo, objective in wanted:
            number = slo.objectives.index(objective)
            key = slo.name if len(slo.objectives) == 1 else f"{slo.name}/{objective.display_name or number + 1}"
            whole = records[key]
            found.append(Reading(whole.between(whole.start, at)))
        return found

    return {one.title: one for one in assess(specs, specs.slos, read, at=at, incidents=incidents)}


def traffic(seed: int, minutes: int, *, gaps: bool = True) -> Slices:
    """Minutes of traffic with bursts of errors, quiet stretches and gaps."""
    chance = np.random.default_rng(seed)
    total = chance.poisson(40, minutes)
    total[chance.random(minutes) < 0.02] = 0
    ratio = np.full(minutes, 0.001)
    for _ in range(max(1, minutes // 400)):
        begin = int(chance.integers(0, minutes))
        ratio[begin : begin + int(chance.integers(2, 90))] = chance.choice([0.02, 0.2, 0.9])
    bad = chance.binomial(total, ratio)
    covered = np.ones(minutes, np.bool_)
    if gaps:
        for _ in range(max(1, minutes // 600)):
            begin = int(chance.integers(0, minutes))
            covered[begin : begin + int(chance.integers(1, 40))] = False
    return Slices(START, STEP, (bad * covered).astype(np.int64), (total * covered).astype(np.int64), covered)


def cut(slices: Slices, start: int, end: int) -> Slices:
    """The part of a record in a stretch."""
    return replace(slices.between(start, end))


SOURCE = """
apiVersion: openslo/v1
kind: DataSource
metadata: {name: log}
spec: {type: csv, connectionDetails: {path: log.csv}}
"""


def slo(name: str, service: str = "checkout", *, annotations: str = "", spec: str = "", objective: str = "") -> str:
    """One SLO as YAML."""
    return f"""
---
apiVersion: openslo/v1
kind: SLO
metadata: {{name: {name}, annotations: {{{annotations}}}}}
spec:
  service: {service}
  {spec or "budgetingMethod: Occurrences"}
  timeWindow: [{{duration: 1d, isRolling: true}}]
  objectives: [{{target: 0.99{objective}}}]
  indicator:
    metadata: {{name: {name}-sli}}
    spec:
      ratioMetric:
        good: {{metricSource: {{metricSourceRef: log, spec: {{column: good, where: {{name: {name}}}}}}}}}
        total: {{metricSource: {{metricSourceRef: log, spec: {{column: total, where: {{name: {name}}}}}}}}}
"""
