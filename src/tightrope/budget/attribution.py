"""Attribution: every bad unit of a window gets exactly one cause, and the parts sum to the whole.

Slice by slice, and in this order: a declared incident takes all bad units of its slices; a change takes what its bake
interval has beyond what was usual before it; a dependency takes what is left while its own objective was burning; the
rest is background. All of it is integers, so nothing is lost to rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from fractions import Fraction

import numpy as np

from tightrope.base.units import DAY_S, HOUR_S
from tightrope.base.values import dataclass
from tightrope.sli.coverage import Stretch, overlapping
from tightrope.sli.slices import Counts, Mask, Slices

USUAL_S = DAY_S
"""How long before a change its service is looked at for what is usual, seconds."""

JUST_BEFORE_S = HOUR_S // 2
"""If it was worse than usual so shortly before a change, that is what the change is held against: it began earlier."""

BAKE_S = HOUR_S
"""How long after a change what is unusual is put down to it, unless it says so itself, seconds."""


class Cause(StrEnum):
    """Where bad units come from: the letters that tables and charts use."""

    DEPLOY = "D"
    UPSTREAM = "U"
    INFRA = "I"
    BACKGROUND = "B"


@dataclass(frozen=True, slots=True)
class Trouble:
    """A declared incident: open in ``[start, end)``, UTC epoch seconds, put down to a cause."""

    id: str
    start: int
    end: int
    cause: Cause = Cause.INFRA


@dataclass(frozen=True, slots=True)
class Change:
    """A deployment that reached users at an instant, and how long it is watched after that."""

    id: str
    at: int
    bake_s: int = BAKE_S


@dataclass(frozen=True, slots=True)
class Dependency:
    """A service that this one declares to depend on, and when an objective of it was burning."""

    service: str
    burning: tuple[Stretch, ...]


@dataclass(frozen=True, slots=True)
class Part:
    """What one cause took: *bad* units, of a class, by name; the name of the background is empty."""

    cause: Cause
    name: str
    bad: int


def attribute(
    units: Slices,
    start: int,
    end: int,
    *,
    troubles: Sequence[Trouble] = (),
    changes: Sequence[Change] = (),
    dependencies: Sequence[Dependency] = (),
) -> tuple[Part, ...]:
    """Give every bad unit of ``[start, end)`` its cause.

    A change that came when it was bad already answers only for what got worse. Of two changes whose bake intervals
    overlap, the later one answers from its own beginning on; of two incidents, the one that began first.

    Args:
        units: Unit slices, gaps filled, from at least `USUAL_S` before *start* where there is that much.
        start, end: The window, UTC epoch seconds.
        troubles: Declared incidents.
        changes: Deployments, in any order.
        dependencies: What else was burning, in the order in which it is held against the service.

    Returns:
        The parts that are not empty, the largest first; they sum to the bad units of the window, exactly.
    """
    step = units.step_s
    first = min(max(0, -((units.start - start) // step)), len(units))
    last = max(first, min(len(units), (end - units.start) // step))
    left: Counts = units.bad.astype(np.int64, copy=True)
    left[:first] = 0
    left[last:] = 0
    taken: dict[tuple[Cause, str], int] = {}

    def take(cause: Cause, name: str, amounts: Counts) -> None:
        count = int(amounts.sum())
        if count:
            taken[cause, name] = taken.get((cause, name), 0) + count

    told = np.zeros(len(units), np.bool_)
    for trouble in sorted(troubles, key=lambda one: (one.start, one.end, one.id)):
        here = overlapping(units, [(trouble.start, trouble.end)])
        take(trouble.cause, trouble.id, left * here)
        left[here] = 0
        told |= here
    baked, bakes = _bakes(units, changes)
    for change, begin, until in bakes:
        begin_in, until_in = max(begin, first), min(until, last)
        if begin_in < until_in:
            usual = _usual(units, begin, told | baked)
            excess = _beyond(left, units.total, told, begin_in, until_in, usual)
            take(Cause.DEPLOY, change.id, excess)
            left[begin_in:until_in] -= excess
    for dependency in dependencies:
        here = overlapping(units, dependency.burning)
        take(Cause.UPSTREAM, dependency.service, left * here)
        left[here] = 0
    take(Cause.BACKGROUND, "", left)
    parts = [Part(cause, name, bad) for (cause, name), bad in taken.items()]
    return tuple(sorted(parts, key=lambda one: (-one.bad, one.cause, one.name)))


def price_of(parts: Sequence[Part], name: str) -> int:
    """The bad units that a release cost."""
    return sum(one.bad for one in parts if one.cause is Cause.DEPLOY and one.name == name)


def _bakes(units: Slices, changes: Sequence[Change]) -> tuple[Mask, list[tuple[Change, int, int]]]:
    """The slices of each change's bake interval, cut where the next change begins; and all of them as a mask.

    The slice in which a change happens is not its own: what came before it in that slice cannot be told apart.
    """
    ordered = sorted(changes, key=lambda one: (one.at, one.id))
    mask = np.zeros(len(units), np.bool_)
    found = []
    for number, change in enumerate(ordered):
        begin = max(0, -((units.start - change.at) // units.step_s))
        until = (change.at + change.bake_s - units.start) // units.step_s
        if number + 1 < len(ordered):
            until = min(until, -((units.start - ordered[number + 1].at) // units.step_s))
        until = min(until, len(units))
        if begin < until:
            mask[begin:until] = True
            found.append((change, begin, until))
    return mask, found


def _usual(units: Slices, begin: int, apart: Mask) -> Fraction:
    """The ratio of bad units that was usual before slice *begin*: of the day before, or of just before if worse."""

    def ratio(seconds: int, without: Mask | None) -> Fraction:
        low = max(0, begin - seconds // units.step_s)
        keep = slice(low, begin)
        bad, total = units.bad[keep], units.total[keep]
        if without is not None:
            bad, total = bad[~without[keep]], total[~without[keep]]
        valid = int(total.sum())
        return Fraction(int(bad.sum()), valid) if valid else Fraction(0)

    return max(ratio(USUAL_S, apart), ratio(JUST_BEFORE_S, None))


def _beyond(left: Counts, total: Counts, told: Mask, begin: int, until: int, usual: Fraction) -> Counts:
    """Bad units of slices *begin* to *until* beyond the usual ratio; what was expected and did not come carries."""
    found = np.zeros(until - begin, np.int64)
    valid = expected = slack = 0
    for index in range(begin, until):
        if told[index]:
            continue
        valid += int(total[index])
        due = valid * usual.numerator // usual.denominator
        slack += due - expected
        expected = due
        bad = int(left[index])
        ordinary = min(bad, slack)
        slack -= ordinary
        found[index - begin] = bad - ordinary
    return found
