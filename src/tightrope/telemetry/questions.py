"""What is asked of a source, and what it answers: sums per slice, and what was wrong with the rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from fractions import Fraction
from typing import Any

from tightrope.base.errors import Place
from tightrope.base.values import dataclass, field
from tightrope.sli.slices import Counts
from tightrope.specs.model import NOWHERE, Comparison
from tightrope.telemetry.reading import BadRow

Tell = Callable[[str, int, int | None], None]
"""Hears of progress: what is read, how much of it, and how much there is (None: not known)."""

EXAMPLES = 20
"""How many bad rows are shown; all are counted."""


class Role(StrEnum):
    """Which part of an indicator a question is."""

    GOOD = "good"
    BAD = "bad"
    TOTAL = "total"
    RAW = "raw"
    VALUE = "value"


@dataclass(frozen=True, slots=True)
class Question:
    """One metric of an indicator.

    Attributes:
        spec: The metric in the source's own words, as the SLO has it.
        role: Which part of the indicator it is. Good, bad and total are counts; raw is a ratio in ``[0, 1)``;
            value is compared with *bound*.
        counter: Whether counts are ever-growing counters, to be differenced.
        scale: Counts are in units of 1 / scale.
        op, bound: For a value: when a point is good.
    """

    spec: Mapping[str, Any]
    role: Role
    counter: bool = False
    scale: int = 1
    op: Comparison | None = None
    bound: Fraction | None = None
    place: Place = field(default=NOWHERE, compare=False)


@dataclass(frozen=True, slots=True)
class Ask:
    """The questions of one indicator that one source answers together: a row is used for all of them or for none.

    ``step_s`` is the resolution that the SLO declares, None: it leaves that to the source.
    """

    questions: tuple[Question, ...]
    step_s: int | None = None


@dataclass(frozen=True, slots=True)
class Horizon:
    """What may be seen: rows before *until*; and from where on slices are wanted. None: no limit."""

    since: int | None = None
    until: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Tally:
    """Sums per slice of one question.

    Attributes:
        grain_s: Length of a slice, seconds.
        first: Number of the first slice: its start / *grain_s*.
        amounts: int64 ``(n,)``: counts; for a value the good points, for a raw ratio the sum of ratios in millionths.
        points: int64 ``(n,)``: how many rows, samples or differences each amount is made of; 0: nothing was measured.
    """

    grain_s: int
    first: int
    amounts: Counts
    points: Counts


@dataclass(frozen=True, slots=True)
class Answer:
    """What a source answers to one ask.

    Attributes:
        tallies: One for each question, in their order, all of one grain.
        resolution_s: The resolution, where the source knows it; None: it may be inferred.
        alive: First and last slice (number of the grain) between which silence means that nobody came;
            None: a slice without points is a gap.
        spoilt: Slices (numbers of the grain) in which a row was bad that only some of the questions need: their parts
            no longer belong together, and the slice is a gap.
        rows, bad_rows, examples, notes: As in `Quality`.
        strays: Whether rows that can't be used are normal there, even most of them.
    """

    tallies: tuple[Tally, ...]
    resolution_s: int | None
    alive: tuple[int, int] | None = None
    spoilt: frozenset[int] = frozenset()
    rows: int = 0
    bad_rows: int = 0
    examples: tuple[BadRow, ...] = ()
    notes: tuple[str, ...] = ()
    strays: bool = False

    @property
    def hopeless(self) -> bool:
        """Whether too few rows could be used to be trusted: less than half of them, or none where strays are normal."""
        return self.bad_rows == self.rows if self.strays else 2 * self.bad_rows > self.rows
