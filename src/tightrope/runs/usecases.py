"""Runs begun, turned, cancelled, retried and settled; each change in one transaction with its events.

A worker claims a step, turns it, and keeps the answer if the step is still its own. Whoever is killed in between leaves
a lease that ends, and the next worker finds all that was announced. See docs/runs.md.
"""

from __future__ import annotations

import hashlib
import json
import threading
import uuid
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any

from tightrope.base.canonical import canonical, digest
from tightrope.base.errors import ConflictError, DataError, NotFoundError, StoreError, TightropeError, UsageError
from tightrope.base.units import DAY_S
from tightrope.base.values import dataclass
from tightrope.runs import store
from tightrope.runs.commands import Absent, Command, Ended, LogPart, Lost, Running, command_of
from tightrope.runs.executors import Executor
from tightrope.runs.executors.supervisor import is_gone, this_process
from tightrope.runs.reconcile import (
    LEASE_S,
    MOST_DEATHS,
    MOST_FAULTS,
    advanced,
    anew,
    answered,
    changes,
    claimed,
    faulted,
)
from tightrope.runs.steps import (
    Action,
    Again,
    Answer,
    Change,
    Document,
    Done,
    Effects,
    Intent,
    LeaseLostError,
    Run,
    RunPlan,
    RunState,
    Step,
    StepState,
    Unknown,
    check_plan,
)
from tightrope.runs.worker import Worker
from tightrope.state.database import Database
from tightrope.state.journal import Event, Journal

SOURCE = "/tightrope/runs"
THREADS = 4
"""How many steps a worker turns at once; commands that run take none of them."""

RUNS_KEPT_S = 400 * DAY_S
"""For how long runs are kept after their end; what happened stays in the journal."""

FILES_KEPT_S = 30 * DAY_S
"""For how long logs and folders of commands are kept after their end."""

_FOLLOWED_EVERY_S = 10
_TAIL_BYTES = 2048
_KEPT_WITHIN_TRIES, _PAUSE_S = 4, 0.5
_LONGEST_TEXT = 4000
_SOON_S = 0.1  # what ends so quickly is done in the turn that began it
_PROBE_S = 300
_TRIES = 30
"""So often a command is begun that never comes to be: its supervisor dies each time, or nobody can make one."""

Connection = Any
"""A transaction of the store; its library stays behind the stores."""

Told = Callable[[Sequence[Change]], Sequence[Event]]
"""Tells more of what happened: its events are written in the same transaction."""


@dataclass(frozen=True, slots=True)
class _Fault:
    """A turn that came to no answer; *dead*: again and again its worker died over it."""

    said: str
    dead: bool = False


class Runs:
    """Durable work. Any thread may call it; any number of processes may work on one store.

    Args:
        database: The store.
        place: Where this process's commands run, as its executor says; empty: it runs none.
        clock: Tells the time, UTC epoch seconds; None: the database does, the same for all workers.
        lease_s: For how long a step is a worker's without a word of it.
    """

    def __init__(
        self,
        database: Database,
        *,
        place: str = "",
        clock: Callable[[], int] | None = None,
        lease_s: int = LEASE_S,
    ) -> None:
        self._database = database
        self._journal = Journal(database)
        self._place = place
        self._clock = clock
        self._lease_s = lease_s
        self._actions: dict[str, Action] = {}
        self._told: list[Told] = []
        self._listeners: list[Callable[[Change], None]] = []
        self._owner = f"{place}#{this_process()}#{uuid.uuid4().hex[:8]}"
        self._lock = threading.Condition()
        self._held: dict[tuple[str, str, int], Step] = {}
        self._woken: set[tuple[str, str]] = set()
        self._worker: Worker | None = None
        self._ending = False
        self._stumbled = ""

    # --- joining

    @property
    def kinds(self) -> frozenset[str]:
        """The kinds of steps that this process turns."""
        return frozenset(self._actions)

    @property
    def failure(self) -> str:
        """Why the work does not go on at present; empty: it does."""
        return self._stumbled or ("" if self._worker is None else self._worker.failure)

    def register(self, kind: str, action: Action) -> None:
        """Let *action* turn all steps of a kind; before the work begins."""
        if kind in self._actions:
            raise UsageError(f"there is an action for {kind!r} already")
        self._actions[kind] = action

    def tell(self, told: Told) -> None:
        """Ask *told* for further events with every change; they are written in its transaction."""
        self._told.append(told)

    def on_change(self, listener: Callable[[Change], None]) -> None:
        """Call *listener* after every change that this process has made and kept; it must be quick."""
        self._listeners.append(listener)

    # --- what people ask for

    def start(self, plan: RunPlan) -> Run:
        """Begin a run, or queue it behind others of its group; one that was begun under the same key is handed out.

        Raises:
            UsageError: The plan can never end; nothing is kept.
            ConflictError: The key stands for a run with another plan.
        """
        check_plan(plan)
        plan = _plain(plan)
        key = plan.key or uuid.uuid4().hex
        name = run_id(plan.kind, key)
        with self._database.writing() as connection:
            store.lock_in(connection, f"tightrope run key {plan.kind} {key}")
            known = store.keyed_in(connection, plan.kind, key)
            if known is not None:
                if tuple(step.plan for step in known.steps) != plan.steps or known.group != plan.group:
                    raise ConflictError(
                        f"run {known.number} was started under the key {key!r} with other steps",
                        remedy="give another run a key of its own",
                    )
                return known
            now = self._now(connection)
            store.lock_in(connection, store.group_lock(plan.group))
            run = Run(
                id=name,
                number=0,
                kind=plan.kind,
                service=plan.service,
                title=plan.title,
                group=plan.group,
                key=key,
                document=plan.document,
                by=plan.by,
                state=RunState.QUEUED,
                ticket=store.next_ticket_in(connection, plan.group),
                created_at=now,
                steps=tuple(Step(name, step) for step in plan.steps),
            )
            first = not plan.group or not store.busy_in(connection, plan.group)
            ahead = _begun(run, now) if first else run
            kept = store.add_in(connection, ahead)
            run = replace(run, number=kept.number)
            found = changes(None, run, now) + changes(run, kept, now)
            self._tell_in(connection, found)
        self._announce(found)
        return kept

    def show(self, name: str | int) -> Run:
        """One run with its steps, by its id or its number; raises `NotFoundError`."""
        with self._database.reading() as connection:
            run = store.run_in(connection, str(name))
        if run is None:
            raise NotFoundError(f"there is no run {name!r}", remedy="list the runs to see which there are")
        return run

    def runs(
        self,
        *,
        kind: str = "",
        service: str = "",
        group: str | None = None,
        states: Collection[RunState] = (),
        before: int | None = None,
        limit: int = 50,
    ) -> list[Run]:
        """Runs with their steps, newest first; *before*: only those with a lower number."""
        with self._database.reading() as connection:
            return store.runs_in(
                connection, kind=kind, service=service, group=group, states=states, before=before, limit=limit
            )

    def ahead_of(self, run: Run) -> Run | None:
        """The run of its group that a queued one waits behind; None: it does not wait, or nobody is under way now."""
        if run.state is not RunState.QUEUED or not run.group:
            return None
        return next(iter(self.runs(group=run.group, states=(RunState.RUNNING, RunState.UNKNOWN), limit=1)), None)

    def counts(self) -> tuple[dict[tuple[str, str], int], dict[tuple[str, str], int]]:
        """How many runs, and how many steps, are not over: each by kind and state."""
        with self._database.reading() as connection:
            return store.open_counts_in(connection)

    def intents(self, name: str | int, step: str = "") -> list[Intent]:
        """What a run, or one of its steps, announced to do, and what came of it; raises `NotFoundError`."""
        run = self.show(name)
        with self._database.reading() as connection:
            return store.intents_in(connection, run.id, step)

    def cancel(self, name: str | int, *, by: str, reason: str = "") -> Run:
        """Bring a run to an end: what runs is stopped, what did not begin never does, but for steps that always run.

        Raises:
            NotFoundError: There is no such run. ConflictError: It is over.
        """

        def cancelled(run: Run, now: int) -> Run:
            if run.state.over:
                raise ConflictError(f"run {run.number} is over: it {_ended(run)}")
            if run.cancelled_by:
                return run
            return advanced(replace(run, cancelled_by=_clean(by) or "somebody", reason=_clean(reason)), now)

        return self._change(name, cancelled, "cancelling", by, reason)

    def retry(self, name: str | int, *, by: str, steps: Collection[str] = ()) -> Run:
        """Let a run that is over go on from where it failed: what succeeded stays, unless it needs what is done again.

        Args:
            name: Its id or number.
            by: Who asks.
            steps: Names of the steps to do again, with all that need them; empty: those that did not succeed.

        Raises:
            NotFoundError: There is no such run, or no such step. ConflictError: It is not over, or nothing failed.
        """

        def retried(run: Run, now: int) -> Run:
            if not run.state.over:
                raise ConflictError(
                    f"run {run.number} is not over", remedy="cancel it first, or settle its step with unknown outcome"
                )
            unknown = set(steps) - {step.name for step in run.steps}
            if unknown:
                raise NotFoundError(f"run {run.number} has no step {min(unknown)!r}")
            again = set(steps) or {step.name for step in run.steps if step.state is not StepState.SUCCEEDED}
            if not again:
                raise ConflictError(f"nothing in run {run.number} failed", remedy="name the steps to do again")
            growing = True
            while growing:
                more = {one.name for one in run.steps if again & set(one.needs)} - again
                again |= more
                growing = bool(more)
            return replace(
                run,
                state=RunState.QUEUED,
                finished_at=None,
                cancelled_by="",
                reason="",
                steps=tuple(anew(one, now) if one.name in again else one for one in run.steps),
            )

        return self._change(name, retried, "retried", by, "", queue=True)

    def settle(self, name: str | int, step: str, as_: str, *, by: str, reason: str) -> Run:
        """Say what became of a step with unknown outcome: ``succeeded``, ``failed``, or ``again`` to do it once more.

        Raises:
            NotFoundError: There is no such run or step. ConflictError: Its outcome is not unknown.
            UsageError: *as_* is none of these, or there is no reason.
        """
        if as_ not in {"succeeded", "failed", "again"}:
            raise UsageError(f"a step cannot be settled as {as_!r}", remedy="say succeeded, failed or again")
        if not reason.strip():
            raise UsageError("a step is settled with a reason", remedy="say how you know what became of it")

        def settled(run: Run, now: int) -> Run:
            found = _step_of(run, step)
            if found.state is not StepState.UNKNOWN:
                raise ConflictError(f"the outcome of {step!r} in run {run.number} is not unknown: it is {found.state}")
            if as_ == "again":
                after = replace(anew(found, now), state=StepState.READY)
            else:
                why = _clean(f"settled by {by}: {reason}")
                after = replace(found, state=StepState(as_), why=why, finished_at=now, fence=found.fence + 1)
            return advanced(_with(run, after), now)

        return self._change(name, settled, "settled", by, reason, step=step, as_=as_)

    def wake(self, name: str, step: str) -> bool:
        """Let a step be turned at once, wherever its worker is; whether there was one to wake."""
        with self._database.writing() as connection:
            done = store.wake_in(connection, name, step, self._now(connection))
        self._nudge()
        return done

    def log(
        self, name: str | int, step: str, *, attempt: int | None = None, offset: int = 0, limit: int = 1 << 20
    ) -> LogPart:
        """Read what a step has written, from *offset* on; of its newest attempt unless *attempt* says.

        Raises:
            NotFoundError: There is no such run, step or attempt, or its log is kept at another place.
        """
        run = self.show(name)
        found = _step_of(run, step)
        number = found.attempt if attempt is None else attempt
        if not 1 <= number <= found.attempt:
            raise NotFoundError(f"{step!r} in run {run.number} has no attempt {number}")
        elsewhere = str(found.place if number == found.attempt else "")
        if elsewhere and elsewhere != self._place:
            raise NotFoundError(
                f"the log of {step!r} is kept at {elsewhere}, and not here", remedy="ask the server that runs there"
            )
        action = self._actions.get(found.kind)
        if action is None:
            return LogPart(offset, b"", ended=True)
        part = action.log(f"{run.id}/{step}/{number}", offset, limit)
        return replace(part, ended=part.ended and (number < found.attempt or found.state in _QUIET))

    def forget(self, finished_before: int) -> int:
        """Let go of runs that ended before an instant, and of what executors keep of them; how many there were."""
        with self._database.writing() as connection:
            gone = store.forget_in(connection, finished_before)
        for run in gone:
            for step in run.steps:
                action = self._actions.get(step.kind)
                if action is not None:
                    for attempt in range(1, step.attempt + 1):
                        action.forget(f"{run.id}/{step.name}/{attempt}")
        return len(gone)

    # --- the work

    def start_working(self, threads: int = THREADS) -> None:
        """Turn steps in threads of this process until `stop_working`."""
        if self._worker is None:
            self._ending = False
            self._worker = Worker(self, threads, self._lease_s)

    def stop_working(self) -> None:
        """End after the turns under way; commands run on, and whoever comes next finds them."""
        if self._worker is not None:
            self._ending = True
            self._worker.stop()
            self._worker = None

    def turn_once(self, most: int = 1) -> int:
        """Claim steps that are due, and turn each here, with what follows from it; how many there were."""
        taken = self.claim(most)
        for step, died in taken:
            self.turn(step, died=died)
        return len(taken)

    def work_until_idle(self, most: int = 10_000) -> int:
        """Turn whatever is due until nothing is; how many times that took."""
        times = 0
        while times < most and self.turn_once():
            times += 1
        return times

    def claim(self, most: int, *, blindly: bool = False) -> list[tuple[Step, bool]]:
        """Take steps that are due; with each, whether the worker that had it before never came back.

        Args:
            most: At most so many.
            blindly: Without looking first, which spares other writers where there is nothing to take.
        """
        if not self._actions:
            return []
        with self._lock:  # what is woken while it is being turned stays so until that turn is over
            woken = set(self._woken)
            asleep = woken - {(run, name) for run, name, _ in self._held}
        if not woken and not blindly:
            with self._database.reading() as connection:
                now = self._now(connection)
                due = store.due_in(connection, self.kinds, self._place, now)
            if due is None or due > now:
                return []
        taken: list[tuple[Step, bool]] = []
        found: list[Change] = []
        with self._database.writing() as connection:
            now = self._now(connection)
            for free in store.claim_in(connection, self.kinds, self._place, now, most=most, woken=woken):
                step = claimed(free, self._owner, now, lease_s=self._lease_s)
                store.own_in(connection, step)
                taken.append((step, free.owner != ""))
                if free.started_at is None:
                    run = store.run_in(connection, step.run)
                    assert run is not None
                    found.append(Change(run, step, free.state, step.state, now))
            self._tell_in(connection, found)
            mine = {(step.run, step.name) for step, _ in taken}
            # one that was one too many, or locked with its run by another thread, is still to be turned
            over = asleep - store.free_in(connection, asleep - mine, now)
        with self._lock:
            for step, _ in taken:
                self._held[step.run, step.name, step.fence] = step
            self._woken -= mine | over
        self._announce(found)
        return taken

    def turn(self, step: Step, *, died: bool = False) -> None:
        """Turn a claimed step, and keep the answer if it is still ours; then what follows from it, and so on."""
        ahead: Step | None = step
        while ahead is not None:
            step, ahead = ahead, None
            try:
                if died and step.faults >= MOST_DEATHS:
                    ended = _Fault("its worker ended in the midst of it, again and again", dead=True)
                    ahead = self._keep_surely(step, ended)
                else:
                    ahead = self._keep_surely(step, self._answer(step))
            except LeaseLostError:
                return
            finally:
                with self._lock:
                    self._held.pop((step.run, step.name, step.fence), None)
            died = False

    def _answer(self, step: Step) -> Answer | _Fault:
        action, effects = self._actions[step.kind], _Effects(self, step)
        now = step.leased_until - self._lease_s  # when it was claimed
        try:
            if step.stop is not None:
                answer = action.stop(step, now, effects)
            elif step.probing:
                answer = action.probe(step, now, effects)
            else:
                answer = action.turn(step, now, effects)
            document = answer.memory if isinstance(answer, Again) else answer.outcome
            canonical(dict(document)).encode()
            return replace(answer, why=_clean(answer.why))
        except LeaseLostError:
            raise
        except TightropeError as error:
            return _Fault(_clean(error.message))
        except Exception as fault:  # noqa: BLE001  a fault in one action must not keep all others from working
            return _Fault(_clean(f"a fault in Tightrope: {type(fault).__name__}: {fault}"))

    def _keep_surely(self, step: Step, answer: Answer | _Fault) -> Step | None:
        """As `_keep`; a store that cannot be written for a moment is tried again while the lease lasts."""
        for _ in range(_KEPT_WITHIN_TRIES):
            try:
                return self._keep(step, answer)
            except StoreError:
                threading.Event().wait(_PAUSE_S)
        return self._keep(step, answer)

    def _keep(self, step: Step, answer: Answer | _Fault) -> Step | None:
        """Keep an answer; hands out a step that may begin now and was claimed on the way, to spare it a way of its own.

        Raises:
            LeaseLostError: The step is another's by now.
        """
        giving_up = isinstance(answer, _Fault) and (answer.dead or step.faults + 1 >= MOST_FAULTS)
        if isinstance(answer, Again) or (isinstance(answer, _Fault) and not giving_up):
            with self._database.writing() as connection:
                mine = store.mine_in(connection, step)
                if mine is None:
                    raise LeaseLostError(f"{step.key} was taken over")
                now = self._now(connection)
                after = self._after(connection, mine[0], answer, now)
                if mine[1] or mine[0].stop != step.stop:  # something happened meanwhile that it should look at
                    after = replace(after, due_at=now)
                store.keep_step_in(connection, after)
            return None
        with self._database.writing() as connection:
            run = store.locked_in(connection, step.run)
            fresh = None if run is None else _step_of(run, step.name)
            if run is None or fresh is None or (fresh.fence, fresh.owner) != (step.fence, step.owner):
                raise LeaseLostError(f"{step.key} was taken over")
            now = self._now(connection)
            after = self._after(connection, fresh, answer, now)
            found = self._advance_in(connection, run, _with(run, after), now)
            ahead = self._follow_in(connection, found, now)
            self._tell_in(connection, found)
        with self._lock:
            self._woken.discard((step.run, step.name))
            if ahead is not None:
                self._held[ahead.run, ahead.name, ahead.fence] = ahead
        self._announce(found)
        return ahead

    def _follow_in(self, connection: Connection, found: list[Change], now: int) -> Step | None:
        """Claim the first step that may begin since a change, and add that to what happened."""
        for change in found:
            step = change.step
            if step is None or step.state is not StepState.READY or self._ending:
                continue
            if step.kind in self._actions and step.due_at <= now:
                ahead = claimed(step, self._owner, now, lease_s=self._lease_s)
                store.own_in(connection, ahead)
                found.append(Change(_with(change.run, ahead), ahead, step.state, ahead.state, now))
                return ahead
        return None

    def _after(self, connection: Connection, fresh: Step, answer: Answer | _Fault, now: int) -> Step:
        if not isinstance(answer, _Fault):
            return answered(fresh, answer, now)
        intents = store.intents_in(connection, fresh.run, fresh.name)
        acting = any(one.result is None and one.key.startswith(f"{fresh.key}/") for one in intents)
        return faulted(fresh, answer.said, now, acting=acting, dead=answer.dead)

    def renew(self) -> None:
        """Hold what is being turned for longer, and say that this place is alive."""
        with self._lock:
            held = list(self._held.values())
        if not held and not (self._place and self._actions):
            return
        with self._database.writing() as connection:
            until = self._now(connection) + self._lease_s
            lapsed = bool(self._place and self._actions) and store.alive_in(
                connection, self._place, until - self._lease_s, until
            )
            lost = store.renew_in(connection, held, until)
        with self._lock:
            for step in lost:
                self._held.pop((step.run, step.name, step.fence), None)
        if lapsed:  # others may have taken this place for dead meanwhile
            self.recall()

    def tidy(self) -> None:
        """Let go of runs, and of files of commands, that are older than anybody looks at."""
        with self._database.reading() as connection:
            now = self._now(connection)
        while self.forget(now - RUNS_KEPT_S):
            continue
        for action in self._actions.values():
            action.tidy(now - FILES_KEPT_S)

    def recall(self) -> int:
        """Take up what this place knows of: steps of workers that died here, commands that ran on, unknown outcomes.

        Returns:
            How many steps with unknown outcome can be told of after all.
        """
        if not self._place or not self._actions:
            return 0
        with self._database.writing() as connection:
            now = self._now(connection)
            for owner in store.owners_in(connection, f"{self._place}#"):
                if is_gone(owner.split("#")[1]):
                    store.release_in(connection, owner, now)
            store.wake_at_in(connection, self._place, now)
            there = store.unknown_at_in(connection, self._place, self.kinds)
        recalled = 0
        for name, step in there:
            found = _step_of(self.show(name), step)
            if found.state is StepState.UNKNOWN and self._actions[found.kind].recalls(found):
                recalled += 1

                def again(run: Run, now: int, step: str = step) -> Run:
                    one = _step_of(run, step)
                    if one.state is not StepState.UNKNOWN:
                        return run
                    why = "its place is back, and knows of it"
                    back = replace(one, state=StepState.RUNNING, finished_at=None, due_at=now, why=why, owner="")
                    return advanced(_with(run, back), now)

                self._change(name, again, "recalled", "", "", step=step)
        return recalled

    # --- within a transaction

    def _now(self, connection: Connection) -> int:
        return self._clock() if self._clock is not None else store.now_in(connection)

    def _change(
        self,
        name: str | int,
        change: Callable[[Run, int], Run],
        happened: str,
        by: str,
        reason: str,
        *,
        step: str = "",
        as_: str = "",
        queue: bool = False,
    ) -> Run:
        """Change a run as a person asks; with *queue* it gets a new place in the queue of its group."""
        known, by, reason = self.show(name), _clean(by), _clean(reason)
        with self._database.writing() as connection:
            run = store.locked_in(connection, known.id)
            if run is None:
                raise NotFoundError(f"there is no run {name!r}")
            now = self._now(connection)
            after = change(run, now)
            if after == run:
                return run
            if queue:
                after = replace(after, ticket=store.next_ticket_in(connection, run.group))
            event = _asked(after, happened, by, reason, step, as_, now)
            found = self._advance_in(connection, run, after, now)
            self._tell_in(connection, found, [event])
        self._announce(found)
        return self.show(known.id)

    def _advance_in(self, connection: Connection, before: Run, after: Run, now: int) -> list[Change]:
        """Keep a changed run, with all that follows from the change; the next of its group may begin."""
        after = advanced(after, now)
        if after.state is RunState.QUEUED and not after.group:
            queued, after = after, _begun(after, now)
            found = changes(before, queued, now) + changes(queued, after, now)
        else:
            found = changes(before, after, now)
        store.keep_in(connection, before, after)
        while after.group and (after.state.over or after.state is RunState.QUEUED):
            name = store.next_of_group_in(connection, after.group)
            waiting = None if name is None else store.locked_in(connection, name)
            if waiting is None:
                break
            after = _begun(waiting, now)
            store.keep_in(connection, waiting, after)
            found += changes(waiting, after, now)
        return found

    def _tell_in(self, connection: Connection, found: Sequence[Change], first: Sequence[Event] = ()) -> None:
        events = [*first, *(_event(change) for change in found)]
        for told in self._told if found else ():
            events += told(found)
        if events:
            self._journal.append_in(connection, events)

    def _announce(self, found: Sequence[Change]) -> None:
        for change in found:
            for listener in self._listeners:
                try:
                    listener(change)
                except Exception as fault:  # noqa: BLE001  what has happened stays so, whoever stumbles over it
                    self._stumbled = f"a listener: {type(fault).__name__}: {fault}"
        if found:
            self._nudge()

    def _nudge(self) -> None:
        if self._worker is not None:
            self._worker.nudge()

    # --- what effects need

    def intend(self, step: Step, what: str, document: Document, place: str) -> Intent:
        """See `Effects.intend`."""
        key = f"{step.key}/{what}"
        with self._database.writing() as connection:
            mine = store.mine_in(connection, step)
            if mine is None:
                raise LeaseLostError(f"{step.key} was taken over")
            known = store.intent_in(connection, key)
            if known is not None:
                return known
            intent = Intent(key, document, True, None, self._now(connection))
            store.intend_in(connection, step, intent)
            if place:
                store.keep_step_in(connection, replace(mine[0], place=place))
        return intent

    def settle_intent(self, step: Step, intent: Intent, result: Document) -> Intent:
        """See `Effects.settle`."""
        with self._database.writing() as connection:
            if store.mine_in(connection, step) is None:
                raise LeaseLostError(f"{step.key} was taken over")
            store.settle_in(connection, intent.key, result, self._now(connection))
            kept = store.intent_in(connection, intent.key)
        assert kept is not None
        return kept

    def hold(self, step: Step) -> None:
        """See `Effects.hold`."""
        with self._database.writing() as connection:
            if store.renew_in(connection, [step], self._now(connection) + self._lease_s):
                raise LeaseLostError(f"{step.key} was taken over")

    def wake_soon(self, run: str, name: str) -> None:
        """Let a step of this process be turned at once; nothing is written."""
        with self._lock:
            self._woken.add((run, name))
        self._nudge()


_QUIET = frozenset(state for state in StepState if state.over) | {StepState.UNKNOWN}


class _Effects:
    """What one turn may do; see `Effects`."""

    def __init__(self, runs: Runs, step: Step) -> None:
        self._runs = runs
        self._run: Run | None = None
        self._step = step

    @property
    def run(self) -> Run:
        """The run as it is when the turn first asks."""
        if self._run is None:
            self._run = self._runs.show(self._step.run)
        return self._run

    def intend(self, what: str, document: Document | None = None, *, place: str = "") -> Intent:
        """Announce a side effect."""
        return self._runs.intend(self._step, what, document or {}, place)

    def settle(self, intent: Intent, result: Document) -> Intent:
        """Keep what came of it."""
        return self._runs.settle_intent(self._step, intent, result)

    def hold(self) -> None:
        """Make sure that the step is still ours."""
        self._runs.hold(self._step)

    def waker(self) -> Callable[[], None]:
        """A function that lets the step be turned at once."""
        runs, run, name = self._runs, self._step.run, self._step.name
        return lambda: runs.wake_soon(run, name)


def run_id(kind: str, key: str) -> str:
    """The id that a run of a kind has, or would have, under a key."""
    return f"R-{hashlib.sha256(f'{kind} {key}'.encode()).hexdigest()[:15].upper()}"


# --- small verbs ---------------------------------------------------------------------------------------------------


def _plain(plan: RunPlan) -> RunPlan:
    """The plan as it will be read again; raises `UsageError` where it holds more than plain values."""
    for what in ("kind", "service", "group", "key"):
        text = getattr(plan, what)
        if text != _clean(text):
            raise UsageError(
                f"the {what} of a run cannot be {text!r}", remedy="use printable characters, in valid UTF-8"
            )
    try:
        steps = tuple(replace(step, document=_plain_document(step.document)) for step in plan.steps)
        document = _plain_document(plan.document)
    except (TypeError, ValueError):
        raise UsageError(
            "a run is described by plain JSON values", remedy="use texts, numbers, lists and maps"
        ) from None
    return replace(plan, steps=steps, document=document, title=_clean(plan.title), by=_clean(plan.by))


def _plain_document(document: Document) -> Document:
    found: Document = json.loads(canonical(dict(document)).encode())
    return found


def _clean(text: str) -> str:
    """A text for people that every store takes: valid UTF-8 on few lines, and not without end."""
    valid = text.encode("utf-8", "replace").decode()
    return "".join(one if one.isprintable() or one == "\n" else "\ufffd" for one in valid)[:_LONGEST_TEXT]


def _begun(run: Run, now: int) -> Run:
    return advanced(replace(run, state=RunState.RUNNING, started_at=now), now)


def _step_of(run: Run, name: str) -> Step:
    try:
        return run.step(name)
    except KeyError:
        names = ", ".join(step.name for step in run.steps)
        raise NotFoundError(f"run {run.number} has no step {name!r}", remedy=f"there are: {names}") from None


def _with(run: Run, step: Step) -> Run:
    return replace(run, steps=tuple(step if one.name == step.name else one for one in run.steps))


def _ended(run: Run) -> str:
    return "was cancelled" if run.state is RunState.CANCELLED else str(run.state)


# --- events --------------------------------------------------------------------------------------------------------


def _event(change: Change) -> Event:
    """What happened to a run or a step, for the journal; named by what it says, so that it is recorded once."""
    run, step = change.run, change.step
    data: dict[str, Any] = {
        "run": run.id,
        "number": run.number,
        "kind": run.kind,
        "service": run.service,
        "before": change.before,
        "state": change.after,
    }
    if step is None:
        data |= {"title": run.title, "group": run.group, "by": run.by, "cancelledBy": run.cancelled_by}
        data |= {"reason": run.reason, "ticket": run.ticket}
    else:
        data |= {"step": step.name, "does": step.kind, "attempt": step.attempt, "why": step.why, "fence": step.fence}
    thing = "run" if step is None else "step"
    happened = _happened(change)
    return Event(
        _event_id(run, thing, happened, change.at, data),
        SOURCE,
        f"dev.tightrope.{thing}.{happened}.v1",
        run.id,
        change.at,
        data,
    )


def _happened(change: Change) -> str:
    if change.step is None:
        state = RunState(change.after)
        if state.over:
            return "finished"
        if state is RunState.RUNNING:
            return "resumed" if change.before == RunState.UNKNOWN else "started"
        return {RunState.QUEUED: "queued", RunState.UNKNOWN: "held"}[state]
    after = StepState(change.after)
    if after.over:
        return "finished"
    if after is StepState.RUNNING:
        return "recalled" if change.before == StepState.UNKNOWN else "started"
    if after is StepState.UNKNOWN:
        return "unknown"
    return "ready" if change.before == StepState.WAITING else "requeued"


def _asked(run: Run, happened: str, by: str, reason: str, step: str, as_: str, now: int) -> Event:
    """What a person asked for, for the journal."""
    data = {"run": run.id, "number": run.number, "kind": run.kind, "service": run.service, "by": by, "reason": reason}
    if step:
        data |= {"step": step, "as": as_, "attempt": run.step(step).attempt}
    thing = "step" if step else "run"
    kind = f"dev.tightrope.{thing}.{happened}.v1"
    return Event(_event_id(run, thing, happened, now, data), SOURCE, kind, run.id, now, data)


def _event_id(run: Run, thing: str, happened: str, at: int, data: dict[str, Any]) -> str:
    return f"{run.id}.{thing}.{happened}.{digest([at, run.ticket, data])[:12]}"


# --- commands ------------------------------------------------------------------------------------------------------


class CommandAction(Action):
    """Turns steps that are commands: starts each once, finds it again after a crash, and never starts it twice.

    Args:
        executor: Where they run.
        prepare: What to run; called before the start, and again where the start was cut short. It makes the folder,
            and finds the secrets. `UsageError`, `NotFoundError` and `DataError` fail the step for good.
        finished: Called once the command is over and before the step is: gathers what it left behind. May be called
            twice; what it hands out becomes part of the outcome.
        probe: What to run to find out whether a command with unknown outcome had its effect: it ends with 0 for yes and
            with 1 for no. None: there is no such command.
    """

    def __init__(
        self,
        executor: Executor,
        prepare: Callable[[Step, Effects], Command],
        finished: Callable[[Step, Effects, Ended], Document] | None = None,
        probe: Callable[[Step, Effects], Command | None] | None = None,
    ) -> None:
        self.executor = executor
        self._prepare = prepare
        self._finished = finished
        self._probe = probe
        self._wakers: dict[str, Callable[[], None]] = {}
        executor.listen(self._over)

    def turn(self, step: Step, now: int, effects: Effects) -> Answer:
        """Start the command, or look how it does."""
        place = self.executor.place
        intent = effects.intend("start", {"place": place}, place=place)
        if intent.document.get("place", "") != place:
            return self.gone(replace(step, place=str(intent.document.get("place", ""))))
        waker, over = effects.waker(), threading.Event()

        def wake() -> None:
            over.set()
            waker()

        self._wakers[step.key] = wake
        seen = self.executor.look(step.key)
        if isinstance(seen, Absent) and step.memory.get("began"):
            self._wakers.pop(step.key, None)
            return Unknown("it is not there any more: somebody removed it before it was seen to end")
        if isinstance(seen, Absent):
            tries = int(step.memory.get("tries", 0))
            if tries >= _TRIES:
                return self._given_up(step, now, tries)
            try:
                command = self._prepare(step, effects)
            except (UsageError, NotFoundError, DataError) as error:
                self._wakers.pop(step.key, None)
                return Done({}, ok=False, retry=False, why=error.message)
            left_s = None if step.deadline_at is None else max(1, step.deadline_at - now)
            limits = [limit for limit in (command.timeout_s, left_s) if limit is not None]
            if not intent.new:
                effects.hold()
            self.executor.start(step.key, replace(command, timeout_s=min(limits, default=None)))
            if place:
                over.wait(_SOON_S)
            seen = self.executor.look(step.key)
            if isinstance(seen, Absent):
                return Again(now + 1, {**step.memory, "tries": tries + 1}, "beginning")
        return self._told(step, now, effects, seen)

    def gone(self, step: Step) -> Unknown:
        """What is known of a step that began at a place that only its own workers could see."""
        return Unknown(f"it ran at {step.place}, which is gone")

    def _given_up(self, step: Step, now: int, tries: int) -> Answer:
        """Nothing begins it, however often it is tried: forbid it first, in case it begins late, then say so."""
        if tries == _TRIES:
            self.executor.stop(step.key, 0)
            return Again(now + 1, {**step.memory, "tries": tries + 1}, "does not begin")
        self._wakers.pop(step.key, None)
        return Done(
            {}, ok=False, why=f"it did not begin, though it was tried {_TRIES} times; see supervisor.err beside its log"
        )

    def stop(self, step: Step, now: int, effects: Effects) -> Answer:
        """Ask the command to end, and wait until it has."""
        if step.place and step.place != self.executor.place:
            return self.gone(step)
        seen = self.executor.look(step.key)
        if isinstance(seen, Lost):
            self.executor.stop(step.key, 0)  # what is left of it
        if isinstance(seen, Running):
            self._wakers[step.key] = effects.waker()
            self.executor.stop(step.key, int(step.document.get("grace_s", 10)))
            return Again(now + 2, step.memory, f"being stopped: {step.stop}")
        if isinstance(seen, Absent):
            return Done({}, ok=False, retry=False, why="it never began")
        return self._told(step, now, effects, seen)

    def probe(self, step: Step, now: int, effects: Effects) -> Answer:
        """Find out with a command of its own whether the effect happened."""
        try:
            command = None if self._probe is None else self._probe(step, effects)
        except (UsageError, NotFoundError, DataError) as error:
            return Unknown(f"{step.why}; the probe could not tell: {error.message}", step.outcome)
        if command is None:
            return Unknown(step.why or "there is no way to find out", step.outcome)
        key, tries = f"{step.key}/probe", int(step.memory.get("probes", 0))
        seen = self.executor.look(key)
        if isinstance(seen, Absent):
            if tries >= _TRIES:
                return Unknown(f"{step.why}; the probe did not begin, though it was tried {tries} times", step.outcome)
            self._wakers[key] = effects.waker()
            limit_s = _PROBE_S if command.timeout_s is None else command.timeout_s
            self.executor.start(key, replace(command, timeout_s=limit_s))
            seen = self.executor.look(key)
        match seen:
            case Absent():
                return Again(now + 2, {**step.memory, "probes": tries + 1}, step.why)
            case Running():
                return Again(now + 2, step.memory, step.why)
            case Ended(code=0, why=""):
                return Done({"probed": True}, ok=True)
            case Ended(code=1, why=""):
                return Done({"probed": False}, ok=False)
            case Ended():
                return Unknown(f"{step.why}; the probe could not tell: {_how(seen)}", step.outcome)
            case Lost():
                return Unknown(f"{step.why}; the probe was lost, too", step.outcome)

    def recalls(self, step: Step) -> bool:
        """Whether the command is here, and it is known what became of it."""
        return step.place == self.executor.place and isinstance(self.executor.look(step.key), Running | Ended)

    def log(self, key: str, offset: int, limit: int) -> LogPart:
        """Read what the command wrote."""
        return self.executor.log(key, offset, limit)

    def forget(self, key: str) -> None:
        """Let go of its files."""
        self.executor.forget(key)

    def tidy(self, before: int) -> None:
        """Let go of the files of all commands that ended before an instant."""
        self.executor.prune(before)

    def _told(self, step: Step, now: int, effects: Effects, seen: Absent | Running | Ended | Lost) -> Answer:
        match seen:
            case Absent():
                return Again(now + 1, step.memory, "beginning")
            case Running(began_at, why):
                began = began_at is not None or bool(step.memory.get("began"))
                return Again(now + _FOLLOWED_EVERY_S, {"began": began}, why or "running")
            case Lost(why):
                self._wakers.pop(step.key, None)
                return Unknown(why)
            case Ended():
                more = self._finished(step, effects, seen) if self._finished is not None else {}
                self._wakers.pop(step.key, None)
                told = _outcome(seen)
                if not seen.ok and seen.log_bytes:  # for those who cannot reach the log where it is
                    last = self.executor.log(step.key, max(0, seen.log_bytes - _TAIL_BYTES), _TAIL_BYTES)
                    told["tail"] = last.data.decode(errors="replace").replace("\0", "\ufffd")
                return Done({**told, **more}, ok=seen.ok, why="" if seen.ok else _how(seen))

    def _over(self, key: str) -> None:
        waker = self._wakers.get(key)
        if waker is not None:
            waker()


def plain_command(step: Step, _effects: Effects) -> Command:
    """The command that a step's document holds; see `command_of`."""
    return command_of(step.document)


def plain_probe(step: Step, _effects: Effects) -> Command | None:
    """The command in ``probe`` of a step's document, which finds out what became of its own."""
    document = step.document.get("probe")
    return None if document is None else command_of(document)


def _outcome(ended: Ended) -> dict[str, Any]:
    found: dict[str, Any] = {"code": ended.code, "endedAt": ended.ended_at, "logBytes": ended.log_bytes}
    more = {
        "signal": ended.signal,
        "why": ended.why,
        "beganAt": ended.began_at,
        "cpuMs": ended.cpu_ms,
        "memoryBytes": ended.memory_bytes,
        "leftOut": ended.left_out,
    }
    return found | {name: value for name, value in more.items() if value}


def _how(ended: Ended) -> str:
    if ended.why:
        return ended.why
    return f"ended by signal {ended.signal}" if ended.signal is not None else f"ended with status {ended.code}"
