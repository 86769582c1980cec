"""Replay: a whole history through the same step that runs live, with the account of what happened."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue

from tightrope.base.values import dataclass
from tightrope.engine.plan import Incident, Plan
from tightrope.engine.record import Workspace
from tightrope.engine.scan import Ask, Peak, Scanner, scan
from tightrope.engine.step import Memory, Outcome, Transition, advance
from tightrope.sli.coverage import Stretch
from tightrope.sli.slices import Slices


@dataclass(frozen=True, slots=True)
class Episode:
    """An alert from firing to resolution; ``end`` is None while it still fires."""

    condition: str
    severity: str
    start: int
    end: int | None


@dataclass(frozen=True, slots=True)
class History:
    """What a replay found.

    Attributes:
        evaluated: First and last evaluation, UTC epoch seconds; None if nothing was measured.
        episodes: Alerts, by their start.
        transitions: Moves of the policy.
        state_s: Seconds spent in each of the policy's states, by name.
        first_state: The state at the beginning.
        final_state, since: The state at the end, and when it was entered (None: from the start).
        worst_consumed: Peak consumed share of the budget, on the plan's basis.
        burns: Peak burn rate for each of the plan's lookbacks.
        stale_s: Seconds that were stale.
        memory: To go on from here.
        told: Why it is in its final state, where the moves are not told.
    """

    evaluated: tuple[int, int] | None
    episodes: tuple[Episode, ...]
    transitions: tuple[Transition, ...]
    state_s: dict[str, int]
    first_state: str
    final_state: str
    since: int | None
    worst_consumed: Peak
    burns: tuple[Peak, ...]
    stale_s: int
    memory: Memory
    told: str = ""

    @property
    def reason(self) -> str:
        """Why it is in its final state, in words; empty: it started there."""
        return self.transitions[-1].reason if self.transitions else self.told

    def state_at(self, at: int) -> str:
        """The policy state in force at an instant of the stretch."""
        name = self.first_state
        for transition in self.transitions:
            if transition.at > at:
                break
            name = transition.after
        return name


def replay(
    plan: Plan,
    units: Slices,
    *,
    incidents: Sequence[Incident] = (),
    out_of_scope: Sequence[Stretch] = (),
    since: int | None = None,
    ask: Ask | None = None,
    scanner: Scanner = scan,
    workspace: Workspace | None = None,
) -> History:
    """Run a record through `advance` from its beginning and gather what happened.

    Args:
        plan: The compiled objective.
        units: Unit slices, gaps filled, the whole record.
        since: Tell only what happened after this instant; what came before is replayed to know the state then.

    Returns:
        Episodes, transitions, time in each state and peaks: slice by slice what live evaluation gives.
    """
    before = Memory()
    if since is not None:
        before, _ = advance(
            plan,
            before,
            units.between(units.start, since),
            incidents=incidents,
            out_of_scope=out_of_scope,
            ask=ask,
            scanner=scanner,
            workspace=workspace,
        )
    memory, outcome = advance(
        plan,
        before,
        units,
        since=since,
        incidents=incidents,
        out_of_scope=out_of_scope,
        ask=ask,
        scanner=scanner,
        workspace=workspace,
    )
    return history_of(plan, memory, outcome, before=before)


def history_of(plan: Plan, memory: Memory, outcome: Outcome, *, before: Memory = Memory()) -> History:
    """Gather a history from the outcome of an `advance` that went from *before* to *memory*."""
    names = [state.name for state in plan.policy.states]
    state_s = dict.fromkeys(names, 0)
    if outcome.evaluated is not None:
        began = outcome.evaluated[0] - plan.step_s
        name = names[before.policy.state]
        for transition in outcome.transitions:
            state_s[name] += transition.at - began
            began, name = transition.at, transition.after
        state_s[name] += outcome.evaluated[1] - began
    return History(
        outcome.evaluated,
        episodes_of(plan, outcome, before),
        outcome.transitions,
        state_s,
        names[before.policy.state],
        names[memory.policy.state],
        memory.policy.since,
        outcome.consumed,
        outcome.burns,
        outcome.stale_s,
        memory,
    )


def episodes_of(plan: Plan, outcome: Outcome, before: Memory = Memory()) -> tuple[Episode, ...]:
    """Pair firings with their resolutions, by their start; alerts that were out *before* are among them."""
    open_now = {
        number: Episode(condition.name, condition.severity, memory.firing_since, None)
        for number, (condition, memory) in enumerate(zip(plan.conditions, before.alerts, strict=False))
        if memory.firing_since is not None
    }
    done: list[Episode] = []
    for event in outcome.alerts:
        if event.fired:
            open_now[event.number] = Episode(event.condition, event.severity, event.at, None)
        elif event.number in open_now:
            one = open_now.pop(event.number)
            done.append(Episode(one.condition, one.severity, one.start, event.at))
    return tuple(sorted([*done, *open_now.values()], key=lambda one: (one.start, one.condition)))


def replay_fleet(
    jobs: Iterable[tuple[Plan, Slices]], *, workers: int = 2, scanner: Scanner = scan
) -> Iterator[History]:
    """Replay many objectives, in order, holding no more than twice *workers* records at a time.

    Args:
        jobs: Plans with their records, best made lazily: each is let go once it is replayed.
        workers: Threads; NumPy and the compiled scan let go of the interpreter while they compute.
        scanner: The scan to use (`engine.scanners.best_scanner`).
    """
    if workers <= 1:
        space = Workspace()
        for plan, units in jobs:
            yield replay(plan, units, scanner=scanner, workspace=space)
        return
    spaces: SimpleQueue[Workspace] = SimpleQueue()
    for _ in range(workers):
        spaces.put(Workspace())

    def one(plan: Plan, units: Slices) -> History:
        space = spaces.get()
        try:
            return replay(plan, units, scanner=scanner, workspace=space)
        finally:
            spaces.put(space)

    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[History]] = deque()
        for plan, units in jobs:
            waiting.append(pool.submit(one, plan, units))
            if len(waiting) >= 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
