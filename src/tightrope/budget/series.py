"""Budgets and burn rates over time, for pictures: the same maths as a statement, at many evaluations at once."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tightrope.base.values import dataclass
from tightrope.budget.burn import allowed_share, slices_in
from tightrope.budget.windows import periods
from tightrope.sli.coverage import Stretch
from tightrope.sli.slices import Counts, Mask, Slices
from tightrope.specs.model import Basis, RollingWindow, Window

Floats = npt.NDArray[np.float64]


class Series(NamedTuple):
    """Values at evaluations, oldest first.

    Attributes:
        times: Evaluations (ends of slices), UTC epoch seconds, int64 of shape ``(k,)``.
        values: float64 of shape ``(k,)``; 0 where nothing is known.
        known: Whether there was a valid unit to tell it from, bool of shape ``(k,)``.
    """

    times: Counts
    values: Floats
    known: Mask


@dataclass(frozen=True, slots=True)
class _Shape:
    """Slices *begin* to *end* whose windows have one shape: rolling (*lower* None), or periods starting at *lower*."""

    begin: int
    end: int
    lower: int | None
    full: int


@dataclass(frozen=True, slots=True, eq=False)
class Ledger:
    """Running sums over the unit slices of one objective, so that each account over time is one subtraction.

    ``bad[i]`` and ``total[i]`` are the sums over the slices before slice ``i``, shape ``(n + 1,)``; ``first`` is the
    index of the first slice of history; ``share`` of the valid units may be bad.
    """

    units: Slices
    share: Fraction
    window: Window
    basis: Basis
    bad: Counts
    total: Counts
    seen: Counts
    first: int

    def remaining(self, start: int | None = None, end: int | None = None) -> Series:
        """Share of the budget left at every evaluation after *start* and up to *end*, UTC epoch seconds."""
        low, high = self._range(start, end)
        consumed, allowed = self._account(low, high)
        known = allowed > 0
        return Series(self._times(low, high), np.where(known, 1 - consumed / np.where(known, allowed, 1.0), 0.0), known)

    def burn(self, lookback_s: int, start: int | None = None, end: int | None = None) -> Series:
        """Burn rate over a lookback at every evaluation after *start* and up to *end*, UTC epoch seconds."""
        begin, stop = self._range(start, end)
        at = np.arange(begin, stop, dtype=np.int64)
        low = np.maximum(at + 1 - slices_in(lookback_s, self.units.step_s), 0)
        total = self.total[at + 1] - self.total[low]
        ratio = (self.bad[at + 1] - self.bad[low]) / np.maximum(total, 1)
        return Series(self._times(begin, stop), ratio / float(self.share), total > 0)

    def _range(self, start: int | None, end: int | None) -> tuple[int, int]:
        step, origin = self.units.step_s, self.units.start
        low = self.first if start is None else max(self.first, (start - origin) // step)
        high = len(self.units) if end is None else min(len(self.units), (end - origin) // step)
        return low, max(low, high)

    def _times(self, begin: int, end: int) -> Counts:
        return self.units.start + np.arange(begin + 1, end + 1, dtype=np.int64) * self.units.step_s

    def _account(self, begin: int, end: int) -> tuple[Floats, Floats]:
        """Consumed and allowed units at the ends of slices *begin* to *end*, in counts; not before history."""
        consumed, allowed = np.zeros(max(0, end - begin)), np.zeros(max(0, end - begin))
        share = float(self.share)
        for shape in self._shapes(begin, end):
            at = np.arange(shape.begin, shape.end, dtype=np.int64)
            low = at + 1 - shape.full if shape.lower is None else np.full(len(at), shape.lower, np.int64)
            inside = np.minimum(np.maximum(low, 0), at + 1)
            total = (self.total[at + 1] - self.total[inside]).astype(np.float64)
            if self.basis is Basis.PROJECTED:
                total *= shape.full / np.maximum(self.seen[at + 1] - self.seen[inside], 1)
            part = slice(shape.begin - begin, shape.end - begin)
            consumed[part] = self.bad[at + 1] - self.bad[inside]
            allowed[part] = total * share
        return consumed, allowed

    def _shapes(self, begin: int, end: int) -> Iterator[_Shape]:
        if begin >= end:
            return
        step, origin = self.units.step_s, self.units.start
        if isinstance(self.window, RollingWindow):
            yield _Shape(begin, end, None, slices_in(self.window.duration.seconds, step))
            return
        for start, stop in periods(self.window, origin + begin * step, origin + (end - 1) * step):
            # a slice is of the period in which it starts, and so is the evaluation at its end
            lower, upper = -((origin - start) // step), -((origin - stop) // step)
            low, high = max(begin, lower), min(end, upper)
            if low < high:
                yield _Shape(low, high, lower, upper - lower)


def ledger(
    units: Slices,
    target: Fraction,
    window: Window,
    basis: Basis,
    history_start: int | None = None,
    *,
    weight: Fraction = Fraction(1),
) -> Ledger:
    """Sum up *units* for accounts over time.

    Args:
        units: Unit slices, gaps filled.
        target: The objective, in ``[0, 1)``.
        history_start: When measuring began, UTC epoch seconds; None takes the first covered slice.
        weight: What the objective weighs in a composite.
    """
    if history_start is None:
        first = int(np.argmax(units.covered)) if units.covered.any() else len(units)
    else:
        first = min(max(0, -((units.start - history_start) // units.step_s)), len(units))
    share = allowed_share(target, weight)
    gaps = ~units.covered if units.excluded is None else ~(units.covered | units.excluded)
    seen = _running(~(gaps & (units.total == 0)) & (np.arange(len(units)) >= first))
    return Ledger(units, share, window, basis, _running(units.bad), _running(units.total), seen, first)


def fewer(series: Series, points: int) -> Series:
    """Keep the lowest known value of each of *points* stretches, and the last value, so that no dip is lost.

    Args:
        series: Any, also one that was made fewer before.
        points: At least 2; with as many values or less all are kept.
    """
    count = len(series.times)
    if count <= points:
        return series
    edges = np.unique(np.linspace(0, count - 1, points).astype(np.int64))
    low = np.where(series.known, series.values, np.inf)
    chosen = [*(int(a) + int(np.argmin(low[a:b])) for a, b in pairwise(edges)), count - 1]
    return Series(series.times[chosen], series.values[chosen], series.known[chosen])


def silent_stretches(units: Slices, at_least: int) -> tuple[Stretch, ...]:
    """List the stretches of at least *at_least* gaps in a row; excluded slices are no gaps."""
    gaps = ~units.covered if units.excluded is None else ~(units.covered | units.excluded)
    edges = np.flatnonzero(np.diff(np.concatenate(([0], gaps.astype(np.int8), [0]))))
    begins, ends = edges[::2], edges[1::2]
    long = ends - begins >= at_least
    step, origin = units.step_s, units.start
    return tuple(
        (origin + int(low) * step, origin + int(high) * step)
        for low, high in zip(begins[long], ends[long], strict=True)
    )


def _running(values: Counts | Mask) -> Counts:
    return np.concatenate(([0], np.cumsum(values, dtype=np.int64)))
