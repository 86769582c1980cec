"""A program: a plan's checks taken apart into few comparisons of counts, and how they are put together again."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from functools import lru_cache

from tightrope.base.values import dataclass, field
from tightrope.budget.burn import slices_in
from tightrope.engine.plan import (
    WINDOW,
    Asked,
    Check,
    Every,
    Firing,
    Floor,
    Never,
    Open,
    Plan,
    Significance,
    Some,
    Test,
)
from tightrope.policy.states import compare
from tightrope.specs.model import Basis, Comparison, Gaps

PAGE = 62
"""Bits that one pass over a record looks for; a plan that needs more is read in several passes."""

_SLACK = Fraction(1, 10**12)


@dataclass(frozen=True, slots=True)
class Ratio:
    """Bad units over *top* / valid units over *bottom*: lookbacks in slices, or None for the window."""

    scoped: bool
    top: int | None
    bottom: int | None
    projected: bool


@dataclass(frozen=True, slots=True)
class Mark:
    """Whether a ratio lies above a bound (*strict*), or at or above it; without valid units it does not.

    The bound is above 0, or 0 and strict. A ratio that float64 finds above *high* is above, one that it does not find
    above *low* is not, and what lies between is compared again, exactly.
    """

    ratio: Ratio
    bound: Fraction
    strict: bool
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Count:
    """Whether there are at least so many units of a series over a lookback in slices, or None for the window."""

    series: str
    lookback: int | None
    at_least: int


@dataclass(frozen=True, slots=True)
class Reading:
    """One ratio and all that is asked of it: marks with their bits, by rising bound, and whether its peak is kept."""

    ratio: Ratio
    marks: tuple[tuple[Mark, int], ...]
    peak: bool


@dataclass(frozen=True, slots=True, eq=False)
class Page:
    """What one pass over a record looks for: at most `PAGE` marks and counts; the first page keeps the peaks."""

    readings: tuple[Reading, ...]
    counts: tuple[tuple[Count, int], ...]


@dataclass(frozen=True, slots=True)
class Bit:
    """A mark or a count, by its place among all of the program's; its opposite if *inverted*."""

    index: int
    inverted: bool = False


@dataclass(frozen=True, slots=True)
class Known:
    """The same answer on every slice."""

    holds: bool


@dataclass(frozen=True, slots=True)
class Joined:
    """All of the parts hold, or at least one does."""

    parts: tuple[Term, ...]
    every: bool


@dataclass(frozen=True, slots=True)
class Turned:
    """The part does not hold."""

    part: Term


Term = Bit | Known | Joined | Turned | Open | Significance | Asked


@dataclass(frozen=True, slots=True, eq=False)
class Program:
    """A plan, ready to be scanned.

    Attributes:
        pages: One pass over the record each.
        terms: How each of the plan's columns follows from the bits; last, whether the evaluation is stale.
        peaks: The readings whose peaks are those of the plan's lookbacks, and of the window last.
        slice_by_slice: Whether some column may change where no bit does.
    """

    pages: tuple[Page, ...]
    terms: tuple[Term, ...]
    peaks: tuple[int, ...]
    slice_by_slice: bool


@dataclass(frozen=True, slots=True, eq=False)
class _Known:
    """A plan as a key: the same object, not an equal one, for that would cost more than compiling it."""

    plan: Plan

    def __hash__(self) -> int:
        return id(self.plan)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Known) and self.plan is other.plan


def program_of(plan: Plan, *, scoped: bool, gaps: bool) -> Program:
    """Take a plan apart, once for each plan.

    Args:
        plan: The compiled objective.
        scoped: Whether the record has causes out of scope.
        gaps: Whether the record has gaps.
    """
    return _program(_Known(plan), scoped, gaps and plan.gaps is Gaps.IGNORE)


@lru_cache(maxsize=4096)
def _program(known: _Known, scoped: bool, gaps: bool) -> Program:
    plan = known.plan
    bits = _Bits(plan.step_s, plan.scale, scoped)
    terms = [bits.term(column) for column in plan.columns]
    terms.append(Bit(bits.of(Count("missing", plan.stale_after, plan.stale_after))) if gaps else Known(False))
    peaks = [Ratio(False, slices, slices, False) for slices in map(bits.slices, plan.lookbacks_s)]
    peaks.append(Ratio(False, None, None, plan.basis is Basis.PROJECTED))
    pages = tuple(bits.pages(peaks))
    place = {reading.ratio: number for number, reading in enumerate(pages[0].readings)}
    return Program(
        pages,
        tuple(terms),
        tuple(place[ratio] for ratio in peaks),
        any(_may_change_anywhere(term) for term in terms),
    )


@dataclass(slots=True)
class _Bits:
    """The marks and counts found so far, in the order of their bits; equal ones share one."""

    step_s: int
    scale: int
    scoped: bool
    found: dict[Mark | Count, int] = field(default_factory=dict)

    def of(self, one: Mark | Count) -> int:
        return self.found.setdefault(one, len(self.found))

    def slices(self, lookback_s: int) -> int | None:
        return None if lookback_s == WINDOW else slices_in(lookback_s, self.step_s)

    def term(self, check: Check) -> Term:
        match check:
            case Test():
                return self._test(check)
            case Floor():
                least = check.at_least * self.scale
                return Bit(self.of(Count("bad" if check.bad else "total", self.slices(check.lookback_s), least)))
            case Every() | Some():
                return Joined(tuple(self.term(part) for part in check.parts), every=isinstance(check, Every))
            case Never():
                return Turned(self.term(check.part))
            case Open() | Significance() | Asked():
                return check
            case Firing():
                raise AssertionError("a firing alert is known only while unfolding")

    def _test(self, test: Test) -> Term:
        inverted = test.op in (Comparison.LT, Comparison.LTE)
        strict = test.op in (Comparison.GT, Comparison.LTE)
        bound = test.threshold
        held: Term
        if bound < 0 or (bound == 0 and not strict):
            held = Known(not inverted)
        else:
            ratio = Ratio(test.scoped and self.scoped, self.slices(test.top), self.slices(test.bottom), test.projected)
            mark = Mark(ratio, bound, strict, float(bound * (1 - _SLACK)), float(bound * (1 + _SLACK)))
            held = Bit(self.of(mark), inverted)
        if compare(Fraction(0), test.op, bound) == test.when_empty:
            return held
        some = self.of(Count("total", self.slices(test.bottom), 1))
        return Joined((held, Bit(some, inverted=test.when_empty)), every=not test.when_empty)

    def pages(self, peaks: list[Ratio]) -> Iterator[Page]:
        everything = list(self.found.items())
        for first in range(0, max(1, len(everything)), PAGE):
            marks: dict[Ratio, list[tuple[Mark, int]]] = {} if first else {ratio: [] for ratio in peaks}
            counts: list[tuple[Count, int]] = []
            for one, bit in everything[first : first + PAGE]:
                if isinstance(one, Mark):
                    marks.setdefault(one.ratio, []).append((one, bit - first))
                else:
                    counts.append((one, bit - first))
            yield Page(
                tuple(
                    Reading(ratio, tuple(sorted(found, key=lambda each: each[0].low)), not first and ratio in peaks)
                    for ratio, found in marks.items()
                ),
                tuple(counts),
            )


def _may_change_anywhere(term: Term) -> bool:
    match term:
        case Significance() | Asked():
            return True
        case Joined():
            return any(_may_change_anywhere(part) for part in term.parts)
        case Turned():
            return _may_change_anywhere(term.part)
        case _:
            return False
