"""Runs and their steps, what an action may answer, and which plans make sense: plain values, nothing is read here.

A run is a graph of steps. A step is turned again and again by an action, which is told what it remembered and answers
*again*, *done* or *unknown*. Every answer is on the disk before the next turn, so a turn that was cut short is simply
turned again; what must not happen twice is announced by an intent before it is done.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from enum import StrEnum
from typing import Any, Protocol

from tightrope.base.errors import TightropeError, UsageError
from tightrope.base.values import dataclass, field
from tightrope.runs.commands import LogPart

Document = Mapping[str, Any]
"""Plain JSON values without floats: what a step is to do, what it remembers, what came of it."""


class LeaseLostError(TightropeError):
    """Another worker has taken the step over: whatever this one does now must not count."""


class ExecutorError(TightropeError):
    """An executor refused, or could not be reached; what became of the command is to be looked at."""


class StepState(StrEnum):
    """Where a step is. The last five are ends, though an unknown one waits to be settled, and a run can be retried."""

    WAITING = "waiting"
    READY = "ready"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"
    UNKNOWN = "unknown"

    @property
    def over(self) -> bool:
        """Whether nothing more happens by itself, and steps that need this one can be judged."""
        return self in _OVER


_OVER = frozenset({StepState.SUCCEEDED, StepState.FAILED, StepState.CANCELLED, StepState.SKIPPED})


class RunState(StrEnum):
    """Where a run is: queued behind another of its group, running, held up by a step with unknown outcome, or over."""

    QUEUED = "queued"
    RUNNING = "running"
    UNKNOWN = "unknown"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def over(self) -> bool:
        """Whether it is at its end."""
        return self in {RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED}


class When(StrEnum):
    """What must have become of the steps before, for a step to run; else it is skipped."""

    SUCCESS = "success"
    FAILURE = "failure"
    ALWAYS = "always"


class OnUnknown(StrEnum):
    """What to do where nobody can tell whether a step had its effect: ask a person, do it again, or probe for it."""

    HUMAN = "human"
    RETRY = "retry"
    PROBE = "probe"


class Stop(StrEnum):
    """Why a step is being brought to an end before its time."""

    CANCELLED = "cancelled"
    TIMED_OUT = "timed out"


# --- plans ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StepPlan:
    """One step as it is asked for.

    Attributes:
        name: Unique in its run.
        kind: Which action turns it, such as ``command``.
        document: What to do, as the action understands it. Never a secret: it is stored.
        needs: Names of the steps that must be over before.
        when: What must have become of them. ``failure``: one of them, or of what they needed, failed or was cancelled
            by its timeout; a cancelled run starts only ``always`` steps.
        timeout_s: When an attempt is stopped, seconds after its begin; None: never.
        retries: How often it is tried again after a failure.
        backoff_s: The pause before the first of these, doubled for each further one, an hour at most.
        on_unknown: What to do where its outcome is unknown.
        optional: Its failure does no harm to the run, nor to steps that need it.
    """

    name: str
    kind: str
    document: Document = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    when: When = When.SUCCESS
    timeout_s: int | None = None
    retries: int = 0
    backoff_s: int = 10
    on_unknown: OnUnknown = OnUnknown.HUMAN
    optional: bool = False


@dataclass(frozen=True, slots=True)
class RunPlan:
    """One run as it is asked for.

    Attributes:
        kind: ``pipeline``, ``rollout``.
        steps: At least one; their needs form no circle.
        service: What it is about; may be empty.
        title: For people, such as the title of the commit.
        group: Of one group, one run is under way at a time; others queue in the order they came, and none is dropped.
            Empty: it waits for nobody.
        key: Who asks again with the same kind and key is handed the run that is there; empty: always a new run.
        document: What the run is about, for whoever asked for it. Never a secret.
        by: Who asked.
    """

    kind: str
    steps: tuple[StepPlan, ...]
    service: str = ""
    title: str = ""
    group: str = ""
    key: str = ""
    document: Document = field(default_factory=dict)
    by: str = ""


def check_plan(plan: RunPlan) -> None:
    """Refuse a plan that could never end; raises `UsageError` that names the steps at fault."""
    if not plan.steps:
        raise UsageError("a run without steps does nothing", remedy="give it one step or more")
    names: set[str] = set()
    for step in plan.steps:
        if not step.name or not step.name.isprintable():
            raise UsageError(f"{step.name!r} is no name for a step", remedy="use one printable character or more")
        if step.name in names:
            raise UsageError(f"two steps are named {step.name!r}", remedy="give each step a name of its own")
        names.add(step.name)
        if step.retries < 0 or step.backoff_s < 0 or (step.timeout_s is not None and step.timeout_s <= 0):
            raise UsageError(
                f"the step {step.name!r} has a negative number", remedy="give timeouts and retries above 0"
            )
    for name in names:
        above = _mistakable(name, names)
        if above:
            raise UsageError(
                f"what the step {name!r} does could be taken for what a try of {above!r} does",
                remedy="do not put a number behind the name of another step and a slash",
            )
    for step in plan.steps:
        for need in step.needs:
            if need not in names:
                raise UsageError(
                    f"the step {step.name!r} needs {need!r}, which is no step of this run",
                    remedy=f"there are: {', '.join(sorted(names))}",
                )
    circle = _circle({step.name: step.needs for step in plan.steps})
    if circle:
        raise UsageError(
            f"steps need each other in a circle: {' → '.join((*circle, circle[0]))}",
            remedy="let one of them not need the next",
        )


def _mistakable(name: str, names: Collection[str]) -> str:
    """The step whose keys could be those of this one, such as ``a`` for ``a/1``; empty where there is none."""
    parts = name.split("/")
    heads = ("/".join(parts[:count]) for count in range(1, len(parts)) if parts[count].isdecimal())
    return next((head for head in heads if head in names), "")


def _circle(needs: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Steps that need each other, each the next one; empty where there is no circle."""
    done: set[str] = set()
    for first in needs:
        path: list[str] = []
        on_path: set[str] = set()
        ahead: list[tuple[str, int]] = [(first, 0)]
        while ahead:
            name, at = ahead.pop()
            if at == 0:
                if name in done:
                    continue
                if name in on_path:
                    return tuple(path[path.index(name) :])
                path.append(name)
                on_path.add(name)
            if at < len(needs[name]):
                ahead += [(name, at + 1), (needs[name][at], 0)]
            else:
                path.pop()
                on_path.discard(name)
                done.add(name)
    return ()


# --- runs as they are ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Step:
    """A step as it stands.

    Attributes:
        run: The id of its run.
        plan: As it was asked for; its parts are at hand here, too.
        attempt: Counts from 1, over all tries; part of the key of all that it does.
        first_attempt: With which attempt the present series began: a person who retries begins a new one.
        memory: What its action remembers from turn to turn of this attempt.
        outcome: What came of it; of a failed or unknown step what is known.
        why: For people: what it waits for, why it failed, what nobody knows.
        due_at: When it is to be turned next, UTC epoch seconds.
        deadline_at: When this attempt is stopped; None: never.
        started_at, finished_at: Of this attempt.
        stop: Why it is being brought to an end; None: it is not.
        probing: Its outcome is unknown, and a probe is under way to find out.
        faults: How often in a row its turns did not come to an answer.
        fence: Grows with each claim: who holds an older number has lost the step.
        owner, leased_until: Who turns it now, and until when it is nobody else's, by the clock of the database.
        place: Where its command runs, if only workers at that place can see it.
    """

    run: str
    plan: StepPlan
    state: StepState = StepState.WAITING
    attempt: int = 1
    first_attempt: int = 1
    memory: Document = field(default_factory=dict)
    outcome: Document = field(default_factory=dict)
    why: str = ""
    due_at: int = 0
    deadline_at: int | None = None
    started_at: int | None = None
    finished_at: int | None = None
    stop: Stop | None = None
    probing: bool = False
    faults: int = 0
    fence: int = 0
    owner: str = ""
    leased_until: int = 0
    place: str = ""

    @property
    def name(self) -> str:
        """Its name, unique in the run."""
        return self.plan.name

    @property
    def kind(self) -> str:
        """Which action turns it."""
        return self.plan.kind

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the steps that must be over before."""
        return self.plan.needs

    @property
    def document(self) -> Document:
        """What it is to do."""
        return self.plan.document

    @property
    def key(self) -> str:
        """What names this attempt: the same whenever it is asked for, and never that of another."""
        return f"{self.run}/{self.name}/{self.attempt}"


@dataclass(frozen=True, slots=True)
class Run:
    """A run as it stands.

    Attributes:
        id: Names it for machines. *number*: names it for people, such as 1207; grows.
        ticket: Its place in the queue of its group.
        cancelled_by: Who wants it to end; empty: nobody. *reason*: why.
        started_at, finished_at: UTC epoch seconds; None: not yet.
        steps: In the order of the plan.
    """

    id: str
    number: int
    kind: str
    service: str
    title: str
    group: str
    key: str
    document: Document
    by: str
    state: RunState
    ticket: int
    created_at: int
    started_at: int | None = None
    finished_at: int | None = None
    cancelled_by: str = ""
    reason: str = ""
    steps: tuple[Step, ...] = ()

    def step(self, name: str) -> Step:
        """The step of that name; raises `KeyError`."""
        for step in self.steps:
            if step.name == name:
                return step
        raise KeyError(name)


@dataclass(frozen=True, slots=True)
class Change:
    """What happened to a run, or to one of its steps: for those who tell others of it in the same transaction.

    Attributes:
        run: As it is afterwards, with all its steps.
        step: As it is afterwards; None: it is the run that changed.
        before, after: States; for a retry the same state may stand on both sides.
        at: UTC epoch seconds.
    """

    run: Run
    step: Step | None
    before: str
    after: str
    at: int


# --- actions -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Again:
    """Turn the step again at *at* (or earlier, when it is woken), and remember *memory* until then."""

    at: int
    memory: Document = field(default_factory=dict)
    why: str = ""


@dataclass(frozen=True, slots=True)
class Done:
    """The step is over.

    Attributes:
        outcome: What came of it.
        ok: Whether it did what it should.
        retry: Whether a failure is worth the tries that the plan allows.
        why: For people, why it failed.
    """

    outcome: Document = field(default_factory=dict)
    ok: bool = True
    retry: bool = True
    why: str = ""


@dataclass(frozen=True, slots=True)
class Unknown:
    """Nobody can tell whether the effect happened: the step's policy decides, and nothing is repeated in silence."""

    why: str
    outcome: Document = field(default_factory=dict)


Answer = Again | Done | Unknown


@dataclass(frozen=True, slots=True)
class Intent:
    """What is about to be done to the world; on the disk before it is done.

    Attributes:
        key: Run, step, attempt and *what*: the same in every turn of the attempt. Hand it to whoever takes such keys.
        document: What was intended, as of the first time.
        new: It was announced only now, so it cannot have happened. Else it may have: look before acting.
        result: What came of it; None: not settled.
        made_at: When it was announced first, UTC epoch seconds.
    """

    key: str
    document: Document
    new: bool
    result: Document | None
    made_at: int


class Effects(Protocol):
    """What a turn may do to the world, and what it may know of its run."""

    @property
    def run(self) -> Run:
        """The run as it is when the turn first asks, with the outcomes of all steps."""
        ...

    def intend(self, what: str, document: Document | None = None, *, place: str = "") -> Intent:
        """Announce a side effect: committed when this returns. The second time the first intent is handed out, not new.

        Args:
            what: Tells the effects of one attempt apart; part of the key.
            document: What is intended, for people and for whoever finds it open.
            place: Only workers at this place can see what is begun; others take the step when all of those are gone.

        Raises:
            LeaseLostError: Another worker has taken the step over. Let it pass through.
        """
        ...

    def settle(self, intent: Intent, result: Document) -> Intent:
        """Keep what came of it, once and for all turns; raises `LeaseLostError`."""
        ...

    def hold(self) -> None:
        """Make sure that the step is still ours, right before what cannot be undone; raises `LeaseLostError`."""
        ...

    def waker(self) -> Callable[[], None]:
        """A function for any thread to call: the step is turned again at once, in place of at its time."""
        ...


class Action(Protocol):
    """What turns all steps of one kind. Any thread may call it; it keeps nothing that it could not read again.

    Errors of the tree `TightropeError` mean: not now. The step is turned again after a pause that grows. After many in
    a row, or at the step's deadline, it fails, or is unknown if an intent of it is open.
    """

    def turn(self, step: Step, now: int, effects: Effects) -> Answer:
        """Look at the world, do the next thing, answer; within seconds, for a worker has few threads.

        Args:
            step: As it was claimed; ``step.memory`` is what the last turn of this attempt answered.
            now: By the clock of the database, UTC epoch seconds.
            effects: For everything that changes the world.
        """
        ...

    def stop(self, step: Step, now: int, effects: Effects) -> Answer:
        """Called in place of `turn` once ``step.stop`` says why: bring to an end what was begun, then answer done.

        Unless an action says otherwise there is nothing to bring to an end.
        """
        return Done(ok=False, retry=False)

    def probe(self, step: Step, now: int, effects: Effects) -> Answer:
        """Called in place of `turn` where the outcome is unknown and the plan says ``probe``: find out.

        Done and ok: it happened. Done and not ok: it did not, and may be done again. Unknown: a person is asked.
        """
        return Unknown("there is no way to find out")

    def recalls(self, step: Step) -> bool:
        """Whether the outcome of a step that is unknown can be told here after all: then it is turned again."""
        return False

    def log(self, key: str, offset: int, limit: int) -> LogPart:
        """Read what the attempt with this key (`Step.key`) has written so far; most kinds of steps write nothing."""
        return LogPart(offset, b"", ended=True)

    def forget(self, key: str) -> None:
        """Let go of what is kept outside of the store of the attempt with this key; the run is over."""
        return

    def tidy(self, before: int) -> None:
        """Let go of what is kept outside of the store of all attempts that ended before an instant."""
        return
