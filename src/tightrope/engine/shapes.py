"""Shapes: what the plans of a fleet have in common, so that many members are computed as one.

Two plans are of one shape if they compare the same sums in the same way; the bounds they compare with may differ.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tightrope.base.values import dataclass
from tightrope.budget.burn import slices_in
from tightrope.engine.plan import WINDOW, Asked, Check, Firing, Floor, Open, Plan, Significance, Test, parts_of
from tightrope.engine.program import PAGE, Joined, Mark, Ratio, Term, Turned, program_of
from tightrope.specs.defaults import LOOKBACKS_S
from tightrope.specs.model import Gaps, Window

_MOST_COLUMNS = 200


@dataclass(frozen=True, slots=True)
class Shape:
    """How members are computed together.

    Attributes:
        window: The window they share.
        lookbacks: All lookbacks that anything asks for, in slices, rising.
        ratios: The ratios that are compared.
        marks: For each mark the place of its ratio, whether it is strict, and its bit.
        counts: For each count its series, its lookback (None: the window), and its bit.
        bits: How many bits there are.
        terms: How each column follows from the bits.
        opens: What is asked of open incidents.
        scoped: Whether causes out of scope are told apart.
    """

    window: Window
    lookbacks: tuple[int, ...]
    ratios: tuple[Ratio, ...]
    marks: tuple[tuple[int, bool, int], ...]
    counts: tuple[tuple[str, int | None, int], ...]
    bits: int
    terms: tuple[Term, ...]
    opens: tuple[Open, ...]
    scoped: bool


@dataclass(frozen=True, slots=True, eq=False)
class Kind:
    """A plan with its shape, and the bounds in the shape's order.

    Attributes:
        marks: The marks, in the order of the shape.
        at_least: What the counts are held against, in the order of the shape.
        outlooks: The slices of each of the plan's lookbacks whose peaks are told.
    """

    plan: Plan
    shape: Shape
    marks: tuple[Mark, ...]
    at_least: tuple[int, ...]
    outlooks: tuple[int, ...]


def covers(plan: Plan) -> bool:
    """Whether plans like this one have a shape: sums decide, gaps are ignored, and the rest is known beforehand."""
    checks = [*plan.columns, *(one for one in (*plan.enter, *plan.exit) if not isinstance(one, int | None))]
    return (
        plan.gaps is Gaps.IGNORE
        and len(plan.columns) <= _MOST_COLUMNS
        and not any(isinstance(leaf, Significance | Asked) for check in checks for leaf in _leaves(check))
    )


def kind_of(plan: Plan, *, scoped: bool) -> Kind:
    """Find the shape of a plan that is covered."""
    program = program_of(plan, scoped=scoped, gaps=False)
    ratios: dict[Ratio, int] = {}
    marks: list[tuple[int, bool, int]] = []
    exact: list[Mark] = []
    counts: list[tuple[str, int | None, int]] = []
    at_least: list[int] = []
    for number, page in enumerate(program.pages):
        for reading in page.readings:
            for mark, bit in reading.marks:
                marks.append((ratios.setdefault(reading.ratio, len(ratios)), mark.strict, bit + number * PAGE))
                exact.append(mark)
        for count, bit in page.counts:
            counts.append((count.series, count.lookback, bit + number * PAGE))
            at_least.append(count.at_least)
    shape = Shape(
        plan.window,
        _lookbacks(plan),
        tuple(ratios),
        tuple(marks),
        tuple(counts),
        len(marks) + len(counts),
        program.terms[:-1],
        tuple(dict.fromkeys(_opens(program.terms))),
        scoped,
    )
    outlooks = tuple(slices_in(lookback_s, plan.step_s) for lookback_s in plan.lookbacks_s)
    return Kind(plan, shape, tuple(exact), tuple(at_least), outlooks)


def _lookbacks(plan: Plan) -> tuple[int, ...]:
    found = {*LOOKBACKS_S, *plan.lookbacks_s}
    for check in plan.columns:
        for leaf in _leaves(check):
            if isinstance(leaf, Test):
                found |= {leaf.top, leaf.bottom}
            elif isinstance(leaf, Floor):
                found.add(leaf.lookback_s)
    return tuple(sorted({slices_in(lookback_s, plan.step_s) for lookback_s in found - {WINDOW}}))


def _leaves(check: Check) -> Iterator[Check]:
    parts = parts_of(check)
    if not parts and not isinstance(check, Firing):
        yield check
    for part in parts:
        yield from _leaves(part)


def _opens(terms: Sequence[Term]) -> Iterator[Open]:
    for term in terms:
        match term:
            case Open():
                yield term
            case Joined():
                yield from _opens(term.parts)
            case Turned():
                yield from _opens((term.part,))
            case _:
                pass
