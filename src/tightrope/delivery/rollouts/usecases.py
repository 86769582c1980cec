"""Rollouts begun, told, carried out turn by turn, and shown again.

Each turn is committed with what it means to do before it is done, and seen again after: whoever is killed in between
leaves a rollout that goes on where it was, with all of its evidence.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from tightrope.base.canonical import canonical
from tightrope.base.clock import now as clock_now
from tightrope.base.errors import ConflictError, DataError, NotFoundError, TightropeError, UsageError
from tightrope.base.settings import environment as variable
from tightrope.base.values import dataclass
from tightrope.delivery.canary import Batch, Counts, LatencyBatch, bound_nano
from tightrope.delivery.changes import DeploymentReport, DeploymentState
from tightrope.delivery.commands import RunCommand
from tightrope.delivery.evidence import USUAL_INFLATION, inflation
from tightrope.delivery.executors.local import run_command
from tightrope.delivery.planner import Plan, Promise
from tightrope.delivery.rollout import (
    NEVER_BEGAN,
    Asked,
    AskPerson,
    Deed,
    Facts,
    Measured,
    Phase,
    Promote,
    RollBack,
    Rollout,
    Said,
    SetWeight,
    Word,
    aborted_by,
    again_s,
    prepared,
    read_rollout,
    rollout_memory,
    turn,
)
from tightrope.delivery.rollouts import store
from tightrope.delivery.rollouts.arms import (
    Versions,
    arm_of,
    histogram_of,
    slower_than,
    source_of,
    versions_of,
    whole,
)
from tightrope.delivery.rollouts.standing import (
    Pages,
    SlicesOf,
    Standing,
    Stands,
    analysis_of,
    drawn_up,
    latency_of,
    strategy_of,
)
from tightrope.delivery.targets import Environment, Release, Target, open_target
from tightrope.policy.decision import Decision, GateRequest, Verdict
from tightrope.policy.notation import plain, read_as
from tightrope.runs.steps import (
    Action,
    Again,
    Answer,
    Done,
    Effects,
    Run,
    RunPlan,
    RunState,
    Step,
    StepPlan,
    StepState,
)
from tightrope.runs.usecases import Runs
from tightrope.sli.slices import Slices
from tightrope.specs.model import ArmsFrom, ChangeKind, Objective, RolloutHow, RolloutStrategy, ShipHow, Slo, Specs
from tightrope.state.database import Database
from tightrope.state.journal import Event, Journal
from tightrope.telemetry.plan import Request
from tightrope.telemetry.sources.counting import Counted
from tightrope.telemetry.usecases import open_counting, read_many

KIND = "rollout"
"""The kind of its runs, and of the step that a pipeline may have, too."""

SOURCE = "/tightrope/rollouts"
TOLD_BY = "tightrope"
_DAY_S = 86_400
_MOST_LOG = 64 << 20
_MOST_BATCHES = 120
_MOST_RUNS = 200
_UNDER_WAY = frozenset({Phase.STEPPING, Phase.BAKING, Phase.HOLDING, Phase.PROMOTING, Phase.ROLLING_BACK})

AskGate = Callable[[GateRequest], Decision]
"""Answers whether a change may go out."""

Report = Callable[[DeploymentReport], object]
"""Hears of deployments as they begin and end."""

Live = Callable[[str, str], str]
"""Tells the version of a service that runs in an environment; empty where that is not known."""

Row = tuple[Slo, Objective]


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody wants released. ``previous`` is what runs now, as people call it; it may not be known."""

    service: str
    version: str
    environment: str = "production"
    previous: str = ""
    revision: str = ""
    kind: ChangeKind = ChangeKind.FEATURE
    kind_from: str = "default"
    change: str = ""
    title: str = ""
    url: str = ""


@dataclass(frozen=True, slots=True)
class View:
    """A rollout as it can be shown: its run, what was wished, where it is; None: it took no turn.

    ``ahead`` is the run that it waits behind, if it does; ``unheard`` counts words that its next turn will hear.
    """

    run: Run
    step: Step
    wish: Wish
    state: Rollout | None
    ahead: Run | None = None
    unheard: int = 0

    @property
    def phase(self) -> Phase:
        """Where it is; a run that ended before its first turn failed, unless somebody called it off."""
        if self.state is not None:
            return self.state.phase
        if self.step.state is StepState.CANCELLED:
            return Phase.ROLLED_BACK
        return Phase.FAILED if self.step.state.over else Phase.PREPARING

    @property
    def why(self) -> str:
        """Why it stands as it does."""
        if self.ahead is not None:
            return f"it waits behind run {self.ahead.number} of {self.wish.service}"
        if self.state is None and self.phase is Phase.ROLLED_BACK:
            return aborted_by(self.run.cancelled_by, self.run.reason)
        return self.step.why if self.state is None else self.state.why

    @property
    def trouble(self) -> str:
        """What target or telemetry complain of now, where that is not why it stands as it does anyway."""
        said = str(self.step.memory.get("trouble", "")) if self.state is not None and not self.phase.over else ""
        return "" if said in self.why else said

    @property
    def proof(self) -> str:
        """For its end: what was seen."""
        if self.state is None:
            return NEVER_BEGAN if self.phase is Phase.ROLLED_BACK else ""
        return self.state.proof


@dataclass(frozen=True, slots=True)
class Shown:
    """One turn as it is drawn: instant and values, and the number of the turn."""

    number: int
    at: int
    shown: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Replay:
    """A rollout decided again from its record: how many turns, and the first that came out otherwise; None: none."""

    turns: int
    differs_at: int | None
    state: Rollout


@dataclass(frozen=True, slots=True)
class _World:
    """All that rollouts reach for; see `Rollouts`."""

    database: Database
    journal: Journal
    specs: Callable[[], Specs]
    ask: AskGate
    weigh: AskGate
    stands: Stands
    pages: Pages
    slices: SlicesOf
    report: Report
    live: Live
    environment: Environment
    run: RunCommand
    clock: Callable[[], int]

    def doors(self) -> dict[str, Any]:
        """What targets are opened with."""
        return {"run": self.run, "environment": self.environment}

    def standing(self, strategy: RolloutStrategy) -> Standing:
        """Where the service of a strategy stands, by the SLOs that judge."""
        return self.stands(strategy.service, strategy.slos)


class Rollouts:
    """All rollouts of a store.

    Args:
        database: Where they are kept.
        runs: Carries them; the action of the step ``rollout`` is registered with it.
        specs: The specs as they are now.
        ask: Asks the gate; the answer is recorded. *weigh*: the same, and nobody records it.
        stands: Where a service stands.
        pages: Who pages for it now.
        slices: The slices that the server has of an SLO.
        report: Hears of deployments.
        live: Which version runs now, where nobody says it.
        environment: For secrets.
        run: Runs commands of targets.
        clock: Tells the time, UTC epoch seconds.
    """

    def __init__(
        self,
        database: Database,
        runs: Runs,
        *,
        specs: Callable[[], Specs],
        ask: AskGate,
        weigh: AskGate,
        stands: Stands,
        pages: Pages,
        slices: SlicesOf,
        report: Report,
        live: Live = lambda _service, _environment: "",
        environment: Environment = variable,
        run: RunCommand = run_command,
        clock: Callable[[], int] = clock_now,
    ) -> None:
        self._world = _World(
            database,
            Journal(database),
            specs,
            ask,
            weigh,
            stands,
            pages,
            slices,
            report,
            live,
            environment,
            run,
            clock,
        )
        self._runs = runs
        self._lock = threading.Lock()
        self._busy: dict[str, str] | None = None
        runs.register(KIND, RolloutAction(self._world, self._mark))

    # --- what people ask for

    def plan(self, service: str, environment: str = "production", kind: ChangeKind = ChangeKind.FEATURE) -> Plan:
        """What a release would do and cost now; raises `NotFoundError`, `DataError` and `UsageError`."""
        strategy = strategy_of(self._world.specs(), service, environment)
        return plan_by(strategy, self._world.standing(strategy), kind)

    def start(self, wish: Wish, *, by: str, key: str = "") -> View:
        """Begin a rollout; the gate is asked in its first turn, and it waits for it where it must.

        Raises:
            NotFoundError: There is no such service, or no strategy for it.
            UsageError: The release says too little, or no plan can be drawn up.
            DataError: The telemetry is too old to plan on.
        """
        if not wish.version.strip():
            raise UsageError("a rollout needs a version", remedy="say what is released: --version 1.4.2")
        strategy = strategy_of(self._world.specs(), wish.service, wish.environment)
        drawn = self.plan(wish.service, wish.environment, wish.kind)
        if not drawn.stages:
            raise UsageError(
                f"{wish.service} cannot be rolled out now: {drawn.why}", remedy="see tightrope rollout plan"
            )
        if strategy.arms.come_from in {ArmsFrom.LOG, ArmsFrom.QUERIES} and "$previous" in strategy.arms.baseline:
            # Looked up only to say at once what would be missing: behind another rollout it is another one by then.
            previous = wish.previous or self._world.live(wish.service, wish.environment)
            versions_of(strategy.arms, ("", ""), wish.version, previous)
        run = self._runs.start(
            RunPlan(
                kind=KIND,
                steps=(StepPlan(KIND, KIND, plain(wish)),),
                service=wish.service,
                title=wish.title or f"{wish.version} to {wish.environment}",
                group=f"deploy/{wish.service}/{wish.environment}",
                key=key,
                document=plain(wish),
                by=by,
            )
        )
        return self.view(run.id)

    def view(self, name: str | int) -> View:
        """One rollout, by the id or number of its run; raises `NotFoundError`."""
        run = self._runs.show(name)
        step = next((one for one in run.steps if one.kind == KIND), None)
        if step is None:
            raise NotFoundError(f"run {run.number} is no rollout", remedy="tightrope rollout list shows them")
        view = replace(_view(run, step), ahead=self._runs.ahead_of(run))
        if view.state is None or view.phase.over:
            return view
        with self._world.database.reading() as connection:
            said = store.words_in(connection, _run_key(step), view.state.heard)
        return replace(view, unheard=sum(one.said != store.COUNTS for one in said))

    def views(
        self, *, service: str = "", running: bool = False, before: int | None = None, limit: int = 50
    ) -> list[View]:
        """Rollouts, newest first; *before*: of runs with a lower number."""
        states = [one for one in RunState if not one.over] if running else ()
        views: list[View] = []
        while len(views) < limit:
            found = self._runs.runs(states=states, before=before, limit=_MOST_RUNS)
            views += [
                replace(_view(run, step), ahead=self._runs.ahead_of(run))
                for run in found
                for step in run.steps
                if step.kind == KIND and service in {"", str(step.document.get("service", ""))}
            ]
            views = [one for one in views if not (running and one.phase.over)]
            if len(found) < _MOST_RUNS:
                break
            before = found[-1].number
        return views[:limit]

    def say(self, name: str | int, said: Said, *, by: str, reason: str = "") -> View:
        """Tell a rollout something; it is heard in its next turn, which comes at once.

        One that still waits for its turn behind another is called off at once.

        Raises:
            NotFoundError: There is no such rollout. ConflictError: It is over, or is to be promoted before it begins.
        """
        view = self.view(name)
        if view.phase.over or view.step.state.over:
            raise ConflictError(f"rollout {view.run.number} is over: it was {view.phase}", remedy="begin another one")
        queued = view.run.kind == KIND and view.run.state is RunState.QUEUED
        if queued and said in {Said.PROMOTE, Said.PROMOTE_ALL}:
            raise ConflictError(f"rollout {view.run.number} has not begun: {view.why}", remedy="wait until it has")
        if queued and said is Said.ABORT:
            self._runs.cancel(view.run.id, by=by, reason=reason)
            return self.view(view.run.id)
        with self._world.database.writing() as connection:
            store.say_in(
                connection, _run_key(view.step), said, by=by, reason=reason, document={}, at=self._world.clock()
            )
        self._runs.wake(view.run.id, view.step.name)
        return self.view(view.run.id)

    def counts(self, name: str | int, slo: str, until: int, canary: Counts, baseline: Counts, *, by: str) -> None:
        """Take counts of both versions, since the last that were sent and up to *until*.

        Raises:
            NotFoundError: There is no such rollout. ConflictError: It is over, or counts otherwise.
            UsageError: It has no such SLO.
        """
        view = self.view(name)
        if view.phase.over:
            raise ConflictError(f"rollout {view.run.number} is over")
        if view.state is not None and slo not in {one.name for one in view.state.tallies}:
            known = ", ".join(one.name for one in view.state.tallies)
            raise UsageError(f"rollout {view.run.number} is not judged by {slo!r}", remedy=f"it is by {known}")
        document = {
            "slo": slo,
            "until": until,
            "canary": [canary.bad, canary.total],
            "baseline": [baseline.bad, baseline.total],
        }
        with self._world.database.writing() as connection:
            store.say_in(
                connection,
                _run_key(view.step),
                store.COUNTS,
                by=by,
                reason="",
                document=document,
                at=self._world.clock(),
            )
        self._runs.wake(view.run.id, view.step.name)

    def turns(self, name: str | int, *, after: int = 0, limit: int = 10_000) -> list[Shown]:
        """What every turn showed, oldest first: weight, evidence, what was spent."""
        view = self.view(name)
        with self._world.database.reading() as connection:
            found = store.turns_in(connection, _run_key(view.step), after, limit)
        return [Shown(one.number, one.at, one.shown) for one in found]

    def replay(self, name: str | int) -> Replay:
        """Decide a rollout again from its record, with the code that decides live."""
        view = self.view(name)
        with self._world.database.reading() as connection:
            found = store.turns_in(connection, _run_key(view.step))
        if not found:
            raise NotFoundError(f"rollout {view.run.number} has taken no turn yet")
        state, differs = read_rollout(found[0].facts), None
        for one in found[1:]:
            state, deeds = turn(state, read_as(Facts, one.facts), one.at)
            if differs is None and _digestible(_shown(state, deeds)) != _digestible(one.shown):
                differs = one.number
        return Replay(len(found) - 1, differs, state)

    def running(self, service: str = "") -> int:
        """How many releases have begun and are not over, of a service or of all; told from memory."""
        with self._lock:
            if self._busy is None:
                self._busy = {
                    _run_key(view.step): view.wish.service
                    for view in self.views(running=True, limit=1000)
                    if view.phase in _UNDER_WAY
                }
            return sum(1 for one in self._busy.values() if service in {"", one})

    # --- what turns need

    def _mark(self, key: str, service: str, phase: Phase) -> None:
        with self._lock:
            if self._busy is not None:
                if phase in _UNDER_WAY:
                    self._busy[key] = service
                else:
                    self._busy.pop(key, None)


def plan_by(strategy: RolloutStrategy, standing: Standing, kind: ChangeKind = ChangeKind.FEATURE) -> Plan:
    """What a release by a strategy would do and cost, without asking its target anything."""
    release = Release("", strategy.service, strategy.environment, "", "")
    grain = open_target(strategy, release, {}, run=run_command, environment=variable).grain
    return drawn_up(strategy, standing, kind, strategy.cluster_guard or USUAL_INFLATION, grain)[0]


# --- what a step remembers ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Memory:
    """What a turn leaves to the next one.

    Attributes:
        strategy: As it was when the rollout began.
        kept: What the target wants to be remembered.
        deeds: Announced, and to be done first of all.
        phase, before: The phase of the state before this turn, for what is told of the change.
        logs: How far each access log was counted.
        row: The last row of what was said that was looked at.
        previous: What ran before, where nobody said it and it was known.
    """

    state: Rollout
    strategy: RolloutStrategy
    kept: Mapping[str, str]
    deeds: tuple[Deed, ...] = ()
    before: str = ""
    trouble: str = ""
    logs: Mapping[str, Sequence[Mapping[str, Any]]] | None = None
    row: int = 0
    previous: str = ""

    def written(self) -> dict[str, Any]:
        """As plain JSON without floats."""
        return {
            "state": rollout_memory(self.state),
            "strategy": plain(replace(self.strategy, settings={})),
            "settings": json.dumps(dict(self.strategy.settings)),
            "kept": dict(self.kept),
            "deeds": [plain(one) for one in self.deeds],
            "before": self.before,
            "trouble": self.trouble,
            "logs": None if self.logs is None else {name: [dict(one) for one in of] for name, of in self.logs.items()},
            "row": self.row,
            "previous": self.previous,
        }


@dataclass(frozen=True, slots=True)
class _Deeds:
    """A holder, to read deeds back by their names."""

    of: tuple[SetWeight | Promote | RollBack | AskPerson, ...]


def _memory_of(document: Mapping[str, Any]) -> _Memory:
    try:
        settings = json.loads(document["settings"])
        deeds = read_as(_Deeds, {"is": "_Deeds", "of": list(document["deeds"])}).of
        kept = {name: value for name, value in document["strategy"].items() if name != "settings"}
        strategy = read_as(RolloutStrategy, kept)
        return _Memory(
            read_rollout(document["state"]),
            replace(strategy, settings=settings),
            dict(document["kept"]),
            deeds,
            str(document["before"]),
            str(document["trouble"]),
            document["logs"],
            int(document["row"]),
            str(document["previous"]),
        )
    except (KeyError, ValueError, TypeError) as error:
        raise DataError(f"what is kept of a rollout cannot be read: {error!r}") from None


def _run_key(step: Step) -> str:
    """What names a rollout where several steps or attempts of a run may be one."""
    return f"{step.run}/{step.name}/{step.attempt}"


def _view(run: Run, step: Step) -> View:
    wish = _wish_of(step.document)
    if step.memory.get("state"):
        wish = replace(wish, previous=str(step.memory["previous"]))
        return View(run, step, wish, read_rollout(step.memory["state"]))
    if step.outcome.get("state"):
        return View(run, step, wish, read_rollout(step.outcome["state"]))
    return View(run, step, wish, None)


def _wish_of(document: Mapping[str, Any]) -> Wish:
    """What is to be released, as `Rollouts.start` or a pipeline wrote it."""
    known = {"service", "version", "environment", "previous", "revision", "kind", "kind_from", "change", "title", "url"}
    return read_as(Wish, {"is": "Wish", **{name: value for name, value in document.items() if name in known}})


# --- the action -----------------------------------------------------------------------------------------------------


class RolloutAction(Action):
    """Turns steps of the kind ``rollout``. Trouble with target or telemetry is a fact to decide on, not a fault."""

    def __init__(self, world: _World, mark: Callable[[str, str, Phase], None]) -> None:
        self._of = world
        self._mark = mark

    def turn(self, step: Step, now: int, effects: Effects) -> Answer:
        """Do what the last turn announced, look, decide, and announce what is next."""
        if not step.memory:
            return self._prepare(step, now)
        memory = _memory_of(step.memory)
        return self._turned(step, memory, now, effects)

    def stop(self, step: Step, now: int, effects: Effects) -> Answer:
        """A run that is cancelled goes back first."""
        if not step.memory:
            return Done({}, ok=False, retry=False, why="it had not begun")
        memory = _memory_of(step.memory)
        run = effects.run
        word = Word(memory.row + 1, Said.ABORT, run.cancelled_by or "the run's end", run.reason)
        return self._turned(step, memory, now, effects, (word,))

    # --- the first turn

    def _prepare(self, step: Step, now: int) -> Answer:
        wish = _wish_of(step.document)
        named = str(step.document.get("strategy", ""))
        strategy = strategy_of(self._of.specs(), wish.service, wish.environment, named)
        if not wish.previous:
            wish = replace(wish, previous=self._of.live(wish.service, wish.environment))
        standing = self._of.standing(strategy)
        release = _release(step, wish)
        kept = dict(open_target(strategy, release, {}, **self._of.doors()).begin())
        target = open_target(strategy, release, kept, **self._of.doors())
        guard = strategy.cluster_guard or self._measured_guard(strategy, standing, target, wish, now)
        drawn, conduct = drawn_up(strategy, standing, wish.kind, guard, target.grain)
        if strategy.arms.come_from in {ArmsFrom.LOG, ArmsFrom.QUERIES}:
            versions_of(strategy.arms, target.arms(), wish.version, wish.previous)
        state = prepared(drawn, conduct, analysis_of(strategy, standing, guard), now)
        memory = _Memory(state, strategy, kept, previous=wish.previous)
        with self._of.database.writing() as connection:
            store.keep_turn_in(connection, _run_key(step), 0, now, rollout_memory(state), _shown(state, ()))
        return Again(now, memory.written(), state.why)

    def _measured_guard(
        self, strategy: RolloutStrategy, standing: Standing, target: Target, wish: Wish, now: int
    ) -> Fraction:
        """How much more bad requests varied between both versions' places over the last day than by chance."""
        if strategy.arms.come_from not in {ArmsFrom.LOG, ArmsFrom.QUERIES} or strategy.how is not RolloutHow.CANARY:
            return USUAL_INFLATION
        found = Fraction(1)
        try:
            versions = versions_of(strategy.arms, target.arms(), wish.version, wish.previous)
            for slo, objective in standing.objectives:
                if _log_bytes(slo) > _MOST_LOG:
                    return USUAL_INFLATION
                pair = [
                    Request(*arm_of(slo, objective, strategy.arms, values, step_s=60))
                    for values in (versions.canary, versions.baseline)
                ]
                one, other = (reading.slices for reading in read_many(pair, since=now - _DAY_S, until=now))
                begin, end = max(one.start, other.start), min(one.end, other.end)
                one, other = one.between(begin, end), other.between(begin, end)
                known = [
                    (int(a), int(b), int(c), int(d))
                    for a, b, c, d in zip(one.bad, one.total, other.bad, other.total, strict=True)
                    if b and d
                ]
                found = max(found, inflation(known))
        except TightropeError:
            return USUAL_INFLATION
        return found

    # --- every other turn

    def _turned(self, step: Step, memory: _Memory, now: int, effects: Effects, words: tuple[Word, ...] = ()) -> Answer:
        wish, state = replace(_wish_of(step.document), previous=memory.previous), memory.state
        self._tell(step, wish, memory, effects.run)
        trouble = self._do(step, wish, memory, effects)
        self._mark(_run_key(step), wish.service, state.phase)
        if state.phase.over:
            ok = state.phase is Phase.PROMOTED
            outcome = {
                "state": rollout_memory(state),
                "phase": state.phase.value,
                "version": wish.version,
                "proof": state.proof,
                "why": state.why,
            }
            return Done(outcome, ok=ok, retry=False, why="" if ok else f"{state.phase}: {state.why}")
        facts, logs, row = self._facts(step, wish, memory, now, trouble, words)
        after, deeds = turn(state, facts, now)
        with self._of.database.writing() as connection:
            store.keep_turn_in(connection, _run_key(step), after.turns, now, plain(facts), _shown(after, deeds))
        following = replace(
            memory, state=after, deeds=deeds, before=state.phase.value, trouble=facts.trouble, logs=logs, row=row
        )
        return Again(now + again_s(after, deeds, memory.deeds, state.phase), following.written(), after.why)

    def _do(self, step: Step, wish: Wish, memory: _Memory, effects: Effects) -> str:
        """Do what was announced; what went wrong, empty if nothing did."""
        trouble = ""
        for number, deed in enumerate(memory.deeds):
            if isinstance(deed, AskPerson):
                continue
            what = f"turn {memory.state.turns}.{number} {_named(deed)}"
            intent = effects.intend(what, plain(deed))
            if intent.result is not None:
                continue
            effects.hold()
            try:
                target = open_target(memory.strategy, _release(step, wish), memory.kept, **self._of.doors())
                match deed:
                    case SetWeight(weight):
                        target.set_weight(weight, intent.key)
                    case Promote():
                        target.promote(intent.key)
                    case RollBack():
                        target.roll_back(intent.key)
                effects.settle(intent, {"done": True})
            except TightropeError as error:
                trouble = error.message
                effects.settle(intent, {"done": False, "why": error.message})
        return trouble

    def _tell(self, step: Step, wish: Wish, memory: _Memory, run: Run) -> None:
        """Tell of the last turn's change, which is on the disk by now; told once, however often this is called."""
        state, key = memory.state, _run_key(step)
        again = state.moved_at < state.turned_at  # a target that did not obey is asked again; that is no news
        moved = any(isinstance(deed, SetWeight) for deed in memory.deeds) and not again
        asked = next((deed.why for deed in memory.deeds if isinstance(deed, AskPerson)), "")
        if memory.before == state.phase.value and not moved and not asked:
            return
        events = []
        if memory.before != state.phase.value or moved:
            name = state.phase.value.replace(" ", "-")
            events.append(_event(f"{key}:{state.turns}", f"dev.tightrope.rollout.{name}.v1", state, wish, run))
        if asked:
            told = _event(f"{key}:{state.turns}:asked", "dev.tightrope.rollout.person-needed.v1", state, wish, run)
            events.append(replace(told, data={**told.data, "asked": asked}))
        with self._of.database.writing() as connection:
            self._of.journal.append_in(connection, events)
        for report in _reports(key, state, wish, run, memory.before):
            self._of.report(report)

    # --- the facts

    def _facts(
        self, step: Step, wish: Wish, memory: _Memory, now: int, trouble: str, words: tuple[Word, ...]
    ) -> tuple[Facts, Mapping[str, Sequence[Mapping[str, Any]]] | None, int]:
        of, state, strategy = self._of, memory.state, memory.strategy
        target = open_target(strategy, _release(step, wish), memory.kept, **of.doors())
        weight, promoted = None, False
        try:
            seen = target.observe()
            weight, promoted = seen.weight, seen.promoted
        except TightropeError as error:
            trouble = trouble or error.message
        pages: tuple[str, ...] = state.pages
        guarded = False
        try:
            pages, guarded = of.pages(strategy.service)
        except TightropeError as error:
            trouble = trouble or error.message
        with of.database.reading() as connection:
            said = store.words_in(connection, _run_key(step), memory.row)
        measured: tuple[Measured, ...] = ()
        logs = memory.logs
        try:
            measured, logs = self._measured(memory, wish, target, said, now)
        except TightropeError as error:
            trouble = trouble or error.message
        heard = tuple(Word(one.row, Said(one.said), one.by, one.reason) for one in said if one.said != store.COUNTS)
        row = max((one.row for one in said), default=memory.row)
        facts = Facts(
            weight,
            promoted,
            trouble,
            measured,
            pages,
            guarded,
            self._gate(state, wish, now),
            heard + words,
        )
        return facts, logs, row

    def _gate(self, state: Rollout, wish: Wish, now: int) -> Asked | None:
        """Ask the gate while the rollout waits for it; only an answer that is acted on is recorded."""
        if state.phase not in {Phase.PREPARING, Phase.GATED}:
            return None
        request = GateRequest(
            wish.service,
            now,
            wish.environment,
            wish.kind,
            wish.kind_from,
            wish.change or wish.revision or wish.version,
            wish.title,
            "rollout",
        )
        try:
            answer = self._of.weigh(request) if state.phase is Phase.GATED else self._of.ask(request)
            if state.phase is Phase.GATED and answer.verdict is Verdict.GO:
                answer = self._of.ask(request)
        except TightropeError as error:
            return Asked("wait", error.message)
        against = [one for one in answer.reasons if one.outcome != "ok"]
        worst = [one for one in against if one.outcome == answer.verdict.value]
        why = "; ".join(one.says for one in worst or against)
        return Asked(answer.verdict.value, why, answer.id, answer.ship is ShipHow.GUARDED)

    def _measured(
        self, memory: _Memory, wish: Wish, target: Target, said: Sequence[store.SaidWord], now: int
    ) -> tuple[tuple[Measured, ...], Mapping[str, Sequence[Mapping[str, Any]]] | None]:
        strategy, state, logs = memory.strategy, memory.state, memory.logs
        specs = self._of.specs()
        rows = {one.name: _row_of(specs, one.name) for one in state.plan.promises}
        arms = strategy.arms
        found: dict[str, Measured] = {}
        if arms.come_from in {ArmsFrom.LOG, ArmsFrom.QUERIES}:
            versions = versions_of(arms, target.arms(), wish.version, wish.previous)
            logged = {name: row for name, row in rows.items() if arms.come_from is ArmsFrom.LOG and _is_log(row[0])}
            if logged:
                found, logs = self._counted(logged, versions, memory, now)
            if state.begun_at is not None:
                for name, row in rows.items():
                    if name not in logged:
                        found |= self._asked_for(row, name, versions, memory, now)
        elif state.begun_at is not None:
            if arms.come_from is ArmsFrom.PUSH:
                found |= _pushed(state, said)
            else:
                for promise in state.plan.promises:
                    found |= self._known(promise, memory, now)
        if state.begun_at is None:
            return (), logs
        for promise in state.plan.promises:
            if promise.unit_s:
                found |= self._units(promise, found.get(promise.name), state, now)
        return tuple(found[name] for name in sorted(found)), logs

    def _counted(
        self, rows: Mapping[str, Row], versions: Versions, memory: _Memory, now: int
    ) -> tuple[dict[str, Measured], dict[str, Sequence[Mapping[str, Any]]]]:
        """Count what was added to access logs since the last turn; before the first weight only how far is noted."""
        state, arms = memory.state, memory.strategy.arms
        by_source: dict[str, list[tuple[str, Row]]] = {}
        for title, row in rows.items():
            by_source.setdefault(source_of(row[0]).name, []).append((title, row))
        found: dict[str, Measured] = {}
        logs: dict[str, Sequence[Mapping[str, Any]]] = dict(memory.logs or {})
        for name, own in by_source.items():
            requests = [
                Request(*arm_of(slo, objective, arms, values, step_s=1))
                for _, (slo, objective) in own
                for values in (versions.canary, versions.baseline)
            ]
            timed = latency_of(memory.strategy, state.plan.promises)
            bounds = memory.strategy.latency_ms if timed in {title for title, _ in own} else ()
            requests += [
                Request(*slower_than(request.slo, request.objective, bound))
                for request in _of(timed, own, requests)
                for bound in bounds
            ]
            log = open_counting(source_of(own[0][1][0]), requests, logs.get(name))
            counts = log.count(now + 60)
            logs[name] = log.state()
            if state.begun_at is None:
                continue
            for number, (title, _) in enumerate(own):
                canary, baseline = counts[2 * number], counts[2 * number + 1]
                tally = next(one for one in state.tallies if one.name == title)
                begun = tally.until or state.begun_at
                batch = Batch(
                    Counts(canary.bad, canary.total), Counts(baseline.bad, baseline.total), max(1, now - begun)
                )
                slow: tuple[LatencyBatch, ...] = ()
                if title == timed and bounds:
                    below = [one.total - one.bad for one in counts[2 * len(own) :]]
                    arms_of = below[: len(bounds)], below[len(bounds) :]
                    pair = [_bucketed(one, arm) for one, arm in zip(arms_of, (canary, baseline), strict=True)]
                    slow = (LatencyBatch(pair[0], pair[1], batch.seconds),)
                found[title] = Measured(
                    title, max(now, begun), canary.bad, canary.total, (batch,), slow, canary_at=canary.newest
                )
        return found, logs

    def _asked_for(self, row: Row, name: str, versions: Versions, memory: _Memory, now: int) -> dict[str, Measured]:
        """Ask a source for the slices of both versions since the last that were counted."""
        state = memory.state
        tally = next(one for one in state.tallies if one.name == name)
        assert tally.until is not None
        slo, objective = row
        pair = [
            Request(*arm_of(slo, objective, memory.strategy.arms, values, step_s=None))
            for values in (versions.canary, versions.baseline)
        ]
        step_s = slo.step_s or 60
        since = tally.until // step_s * step_s
        arms = memory.strategy.arms
        timed_here = arms.come_from is ArmsFrom.QUERIES and latency_of(memory.strategy, state.plan.promises) == name
        bounds = memory.strategy.latency_ms if timed_here else ()
        timed = [
            Request(*one)
            for values in ((versions.canary, versions.baseline) if bounds else ())
            for one in histogram_of(slo, objective, arms, values, bounds)
        ]
        readings = read_many([*pair, *timed], since=since, until=now)
        found = _sliced(name, readings[0].slices, readings[1].slices, tally.until)
        if not bounds or name not in found:
            return found
        below = [one.slices for one in readings[2:]]
        histograms = _histograms(below[: len(bounds)], below[len(bounds) :], tally.until, found[name].until)
        return {name: replace(found[name], latencies=histograms)}

    def _known(self, promise: Promise, memory: _Memory, now: int) -> dict[str, Measured]:
        """Slices that the server has: of an SLO for each version, or of the service as a whole."""
        tally = next(one for one in memory.state.tallies if one.name == promise.name)
        assert tally.until is not None
        pair = next((one for one in memory.strategy.arms.queries if one.slo == promise.name and one.canary_slo), None)
        since = tally.until - tally.until % 3600  # so that a slice that began before is whole
        if memory.strategy.arms.come_from is ArmsFrom.SLOS:
            if pair is None:
                raise UsageError(
                    f"no SLOs tell the versions of {promise.name} apart", remedy="add them to analysis.arms"
                )
            canary, baseline = (self._of.slices(name, since, now) for name in (pair.canary_slo, pair.baseline_slo))
        else:
            canary, baseline = self._of.slices(promise.name, since, now), None
        if canary is None or (baseline is None and pair is not None):
            raise DataError(f"nothing is known of the requests of {promise.name} yet")
        back = memory.state.settled_at if memory.state.phase is Phase.ROLLING_BACK and pair is None else None
        return _sliced(promise.name, canary, baseline, tally.until, only_before=back)

    def _units(self, promise: Promise, found: Measured | None, state: Rollout, now: int) -> dict[str, Measured]:
        """What a time-based promise lost: slices that were bad, whoever made them so."""
        tally = next(one for one in state.tallies if one.name == promise.name)
        assert tally.until is not None
        slices = self._of.slices(promise.name, tally.until - tally.until % 3600, now)
        if slices is None:
            return {}
        step, scale = slices.step_s, slices.scale
        cut = slices.between(tally.until // step * step, slices.end)
        covered = cut.covered.nonzero()[0]
        if not len(covered):
            return {}
        until = cut.start + (int(covered[-1]) + 1) * step
        if until <= tally.until:
            return {}
        bad = whole(int(cut.bad[: int(covered[-1]) + 1].sum()), scale)
        lost = int((~cut.covered[: int(covered[-1]) + 1]).sum()) * step
        base = found or Measured(promise.name, until)
        return {promise.name: replace(base, until=until, bad_units=bad, unmeasured_s=lost)}


# --- from slices and words to what was measured ---------------------------------------------------------------------


def _sliced(
    name: str, canary: Any, baseline: Any, after: int, *, only_before: int | None = None
) -> dict[str, Measured]:
    """Whole slices since *after*, up to the newest that was measured of both versions.

    Where all requests of a service are taken for the canary's, those of *only_before* and later are not its own.
    """
    step = canary.step_s
    begin = after // step * step
    end = canary.end if baseline is None else min(canary.end, baseline.end)
    one = canary.between(begin, end)
    other = None if baseline is None else baseline.between(begin, end)
    if other is not None and (other.start != one.start or len(other) != len(one)):
        start = max(one.start, other.start)
        one, other = canary.between(start, end), baseline.between(start, end)
    covered = one.covered if other is None else one.covered & other.covered
    known = covered.nonzero()[0]
    if not len(known):
        return {}
    last = int(known[-1]) + 1
    until = one.start + last * step
    if until <= after:
        return {}
    scale = one.scale
    batches, bad, total, newest = [], 0, 0, None
    for place in range(last):
        if not covered[place] or (only_before is not None and one.start + place * step >= only_before):
            continue
        slice_bad, slice_total = int(one.bad[place]) // scale, int(one.total[place]) // scale
        bad, total = bad + slice_bad, total + slice_total
        if slice_total:
            newest = one.start + (place + 1) * step - 1
        if other is not None:
            others = Counts(int(other.bad[place]) // scale, int(other.total[place]) // scale)
            batches.append(Batch(Counts(slice_bad, slice_total), others, step))
    lost = sum(step for place in range(last) if not covered[place]) + max(0, one.start - begin)
    if len(batches) > _MOST_BATCHES:
        batches = list(_joined(batches))
    return {
        name: Measured(name, until, bad, total, tuple(batches), unmeasured_s=min(lost, until - after), canary_at=newest)
    }


def _histograms(
    canary: Sequence[Slices], baseline: Sequence[Slices], after: int, until: int
) -> tuple[LatencyBatch, ...]:
    """The latencies of both versions slice by slice, from slices that count as good what took no longer than a bound.

    A slice that misses a bound, or in which fewer requests took no longer than a higher bound (parts of a histogram
    that were read apart), is no evidence of anything, and is left out.
    """
    step = canary[0].step_s
    all_of = (*canary, *baseline)
    begin = max(after // step * step, *(one.start for one in all_of))
    end = min(until, *(one.end for one in all_of))
    if end <= begin:
        return ()
    cut = [one.between(begin, end) for one in all_of]
    covered = np.logical_and.reduce([one.covered for one in cut])
    batches = []
    for place in covered.nonzero()[0]:
        arms = []
        for arm in (cut[: len(canary)], cut[len(canary) :]):
            below = [int(one.total[place] - one.bad[place]) // one.scale for one in arm]
            edges = [0, *below, int(arm[-1].total[place]) // arm[-1].scale]
            arms.append(tuple(high - low for low, high in pairwise(edges)))
        if min(*arms[0], *arms[1]) >= 0:
            batches.append(LatencyBatch(arms[0], arms[1], step))
    size = max(1, -(-len(batches) // _MOST_BATCHES))
    return tuple(_together(batches[first : first + size]) for first in range(0, len(batches), size))


def _together(batches: Sequence[LatencyBatch]) -> LatencyBatch:
    """Histograms of one stretch of time as one."""
    canary = tuple(map(sum, zip(*(one.canary for one in batches), strict=True)))
    baseline = tuple(map(sum, zip(*(one.baseline for one in batches), strict=True)))
    return LatencyBatch(canary, baseline, sum(one.seconds for one in batches))


def _of(title: str, own: Sequence[tuple[str, Row]], requests: Sequence[Request]) -> Sequence[Request]:
    """The two requests of one promise among those of all, two for each."""
    place = next((number for number, (name, _) in enumerate(own) if name == title), None)
    return requests[2 * place : 2 * place + 2] if place is not None else ()


def _bucketed(below: Sequence[int], counted: Counted) -> tuple[int, ...]:
    """Requests in each bucket, of how many took less than each bound."""
    edges = [0, *below, counted.total]
    return tuple(max(0, high - low) for low, high in pairwise(edges))


def _joined(batches: Sequence[Batch]) -> Iterator[Batch]:
    """Fewer batches of the same counts, for a rollout that was away for long."""
    size = -(-len(batches) // _MOST_BATCHES)
    for first in range(0, len(batches), size):
        part = batches[first : first + size]
        canary = sum((one.canary for one in part), Counts(0, 0))
        baseline = sum((one.baseline for one in part), Counts(0, 0))
        yield Batch(canary, baseline, sum(one.seconds for one in part))


def _pushed(state: Rollout, said: Sequence[store.SaidWord]) -> dict[str, Measured]:
    """Counts that were sent; what was sent twice, or is of before the last, counts once."""
    found: dict[str, Measured] = {}
    until = {one.name: one.until or 0 for one in state.tallies}
    for one in said:
        if one.said != store.COUNTS or one.document["slo"] not in until:
            continue
        name, end = str(one.document["slo"]), int(one.document["until"])
        if end <= until[name]:
            continue
        canary, baseline = Counts(*one.document["canary"]), Counts(*one.document["baseline"])
        before = found.get(name, Measured(name, until[name]))
        found[name] = replace(
            before,
            until=end,
            canary_bad=before.canary_bad + canary.bad,
            canary_total=before.canary_total + canary.total,
            batches=(*before.batches, Batch(canary, baseline, end - until[name])),
            canary_at=end if canary.total else before.canary_at,
        )
        until[name] = end
    return found


def _row_of(specs: Specs, title: str) -> Row:
    """The SLO and objective of a promise, as the specs have it now."""
    name, _, part = title.partition("/")
    slo = specs.slo(name)
    if slo is None:
        raise NotFoundError(f"there is no SLO called {name} any more", remedy="put it back, or roll back by hand")
    objective = next(
        (one for number, one in enumerate(slo.objectives) if part in {"", one.display_name, str(number + 1)}),
        slo.objectives[0],
    )
    return slo, objective


def _is_log(slo: Slo) -> bool:
    return source_of(slo).type.lower() == "access-log"


def _log_bytes(slo: Slo) -> int:
    """How much an access log holds that would have to be read; 0 for other sources."""
    source = source_of(slo)
    named = source.connection.get("path")
    total = 0
    for text in named if isinstance(named, (list, tuple)) else [named]:
        path = Path(source.folder, str(text))
        if path.is_file():
            total += path.stat().st_size
    return total


def _release(step: Step, wish: Wish) -> Release:
    return Release(step.run, wish.service, wish.environment, wish.version, wish.previous)


def _named(deed: Deed) -> str:
    return f"weight {deed.weight}" if isinstance(deed, SetWeight) else type(deed).__name__.lower()


# --- what is shown and told -----------------------------------------------------------------------------------------


def _shown(state: Rollout, deeds: Sequence[Deed]) -> dict[str, Any]:
    """What a turn shows, without floats."""
    said = state.verdict
    return {
        "phase": state.phase.value,
        "weight": f"{state.weight.numerator}/{state.weight.denominator}",
        "seen": None if state.seen is None else f"{state.seen.numerator}/{state.seen.denominator}",
        "harmNano": None if said is None else said.harm_nano,
        "boundNano": bound_nano(state.plan.terms.alpha),
        "spent": {one.name: f"{one.spent.numerator}/{one.spent.denominator}" for one in state.tallies},
        "requests": {one.name: [one.bad, one.requests] for one in state.tallies},
        "arms": {
            one.name: [one.canary.bad, one.canary.total, one.baseline.bad, one.baseline.total]
            for one in (state.analysis.errors if state.analysis is not None else ())
        },
        "why": state.why,
        "deeds": [_named(one) for one in deeds],
    }


def _digestible(shown: Mapping[str, Any]) -> str:
    return canonical(dict(shown))


def _event(name: str, kind: str, state: Rollout, wish: Wish, run: Run) -> Event:
    said = state.verdict
    data = {
        "run": run.id,
        "number": run.number,
        "service": wish.service,
        "environment": wish.environment,
        "version": wish.version,
        "previous": wish.previous,
        "phase": state.phase.value,
        "weight": f"{state.weight.numerator}/{state.weight.denominator}",
        "why": state.why,
        "proof": state.proof,
        "decision": state.decision,
        "evidence": "" if said is None else said.evidence,
        "spent": {one.name: f"{one.spent.numerator}/{one.spent.denominator}" for one in state.tallies},
        "allowance": {one.name: f"{one.allowance.numerator}/{one.allowance.denominator}" for one in state.plan.costs},
        "by": run.by,
    }
    return Event(name, SOURCE, kind, wish.service, state.turned_at, data)


def _reports(key: str, state: Rollout, wish: Wish, run: Run, before: str) -> list[DeploymentReport]:
    """What deployments there are to tell of: one as it begins and ends, and one of its own for a rollback."""
    if state.begun_at is None or before == state.phase.value:
        return []
    base = DeploymentReport(
        source=TOLD_BY,
        external=key,
        service=wish.service,
        environment=wish.environment,
        at=state.turned_at,
        state=DeploymentState.STARTED,
        version=wish.version,
        revision=wish.revision,
        previous=wish.previous,
        kind=wish.kind if wish.kind_from != "default" else None,
        kind_from=wish.kind_from if wish.kind_from != "default" else "",
        rollback=wish.kind is ChangeKind.ROLLBACK,
        change=wish.change,
        title=wish.title,
        decision=state.decision,
        by=run.by,
        url=wish.url,
        started_at=state.begun_at,
    )
    if before in {"", Phase.PREPARING.value, Phase.GATED.value}:
        return [replace(base, at=state.begun_at)]
    if state.phase is Phase.PROMOTED:
        return [replace(base, state=DeploymentState.SUCCEEDED)]
    if state.phase is Phase.FAILED:
        return [replace(base, state=DeploymentState.FAILED)]
    if state.phase is Phase.ROLLED_BACK:
        found = [replace(base, state=DeploymentState.FAILED)]
        if wish.previous:
            found.append(
                replace(
                    base,
                    external=f"{key}/rollback",
                    state=DeploymentState.SUCCEEDED,
                    version=wish.previous,
                    revision="",
                    previous=wish.version,
                    kind=ChangeKind.ROLLBACK,
                    kind_from="rollout",
                    rollback=True,
                    change="",
                    title=f"back from {wish.version}: {state.why}",
                    decision="",
                )
            )
        return found
    return []
