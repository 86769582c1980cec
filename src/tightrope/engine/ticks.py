"""Ticks: what a live evaluation is handed and hands back, however it gets there.

An evaluator holds many objectives, each with its memory, and takes in their newest slices tick by tick. What it tells
is what `engine.step.advance` tells of the same record, slice by slice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from tightrope.base.values import dataclass, field
from tightrope.budget.statement import Statement
from tightrope.engine.plan import Incident, Plan
from tightrope.engine.scan import Ask
from tightrope.engine.step import Memory, Outcome
from tightrope.sli.coverage import Stretch
from tightrope.sli.slices import Counts, Mask, Slices

UNWRITTEN = 128
"""How many of the newest slices an evaluator remembers itself; older ones it may read back with `Rows`."""

Rows = Callable[[Sequence[str], int, int], Sequence[Slices]]
"""Reads unit slices, as ticks have them, back from where they are kept.

Called with keys and ``[start, end)``; hands back one `Slices` for each key, in order, cut off where the record begins
or ends, and empty where there is none. Asked only for slices that are at least `UNWRITTEN` slices older than the newest
tick, or end before a member's ``evaluated_to`` while it is admitted; an answer must hold what was handed in by then.
"""


@dataclass(frozen=True, slots=True)
class Member:
    """One objective on its way into an evaluator.

    Attributes:
        key: Its name, unique within the evaluator.
        plan: The compiled objective.
        memory: What its evaluations up to *evaluated_to* left.
        evaluated_to: End of the last slice that was evaluated, a multiple of the plan's step.
        incidents: Known incidents of the service.
        out_of_scope: Stretches whose bad units do not count for the policy.
        ask: Answers CEL expressions; needed where the plan has some.
        unit_s: Seconds that one unit stands for under the time-based methods, 0 for events; statements say so.
        record: Its unit slices through *evaluated_to*, at least as far back as the plan looks, where the caller has
            them at hand; else they are read with `Rows`.
    """

    key: str
    plan: Plan
    evaluated_to: int
    memory: Memory = field(default_factory=Memory)
    incidents: tuple[Incident, ...] = ()
    out_of_scope: tuple[Stretch, ...] = ()
    ask: Ask | None = None
    unit_s: int = 0
    record: Slices | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Tick:
    """The unit slices of some members that end at one instant, each the one after its member's last.

    A member that has no slice is handed a gap or left out; left out, it stays where it was, and is handed the slice
    later. Slices are those of the budgeting method, exclusions taken out and gaps filled, as `advance` wants them.

    Attributes:
        step_s: Their length, seconds.
        end: Their end, UTC epoch seconds.
        seats: The members, as `Evaluator.admit` seated them; int64 of shape ``(n,)``. It costs less to use the same
            array again from tick to tick than an equal one, and it must not be written to.
        bad, total: Counts, int64 of shape ``(n,)``, ``0 <= bad <= total``.
        covered: Whether the slice was measured, bool of shape ``(n,)``; None: all were.
        excluded: Whether it was taken out, bool of shape ``(n,)``; None: none was.
    """

    step_s: int
    end: int
    seats: npt.NDArray[np.int64]
    bad: Counts
    total: Counts
    covered: Mask | None = None
    excluded: Mask | None = None

    def of(self, places: npt.NDArray[np.int64], seats: npt.NDArray[np.int64]) -> Tick:
        """The part at some places, for other seats."""
        return Tick(
            self.step_s,
            self.end,
            seats,
            self.bad[places],
            self.total[places],
            None if self.covered is None else self.covered[places],
            None if self.excluded is None else self.excluded[places],
        )


@dataclass(frozen=True, slots=True)
class Change:
    """A member's memory is another than before the tick, with what happened: alerts, moves, staleness."""

    key: str
    memory: Memory
    outcome: Outcome


@dataclass(frozen=True, slots=True, eq=False)
class Gauges:
    """Where many members stand, as floats for a screen.

    Attributes:
        keys: The members.
        remaining: Share of the budget left on the basis of the plan, float64 of shape ``(n,)``; 0 where not *known*.
        known: Whether the budget is known: there are valid units in the window; bool of shape ``(n,)``.
        burns: Burn rates, float64 of shape ``(lookbacks, n)``, 0 without traffic.
        stale: Whether the newest slices were all gaps; bool of shape ``(n,)``.
    """

    keys: tuple[str, ...]
    remaining: npt.NDArray[np.float64]
    known: Mask
    burns: npt.NDArray[np.float64]
    stale: Mask


class Evaluator(Protocol):
    """Many objectives, evaluated tick by tick by one thread; the same thread asks where they stand."""

    def admit(self, members: Sequence[Member]) -> npt.NDArray[np.int64]:
        """Take in objectives, and tell their seats. A key must not be in already."""

    def dismiss(self, keys: Sequence[str]) -> None:
        """Let objectives go; their seats may be given to others."""

    def revise(self, key: str, incidents: Sequence[Incident], out_of_scope: Sequence[Stretch] = ()) -> None:
        """Let a member know of other incidents from the next tick on."""

    def tick(self, tick: Tick) -> list[Change]:
        """Evaluate one more slice of each of the tick's members, and tell whose memory changed."""

    def prepare(self) -> None:
        """Read ahead what later ticks will need; between ticks, so that they need not wait for it."""

    def memory(self, key: str) -> Memory:
        """What a member remembers."""

    def evaluated_to(self, key: str) -> int:
        """End of the last slice that was evaluated of a member."""

    def known_to(self, key: str) -> int | None:
        """End of the newest slice that was measured or excluded; None: nothing was ever measured."""

    def statement(self, key: str) -> Statement:
        """The account of a member as of its last evaluated slice (`budget.statement.state_of`)."""

    def gauges(self, lookbacks_s: Sequence[int]) -> Gauges:
        """Where all members stand; *lookbacks_s* are among `specs.defaults.LOOKBACKS_S`."""
