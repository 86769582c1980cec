"""A record: the slices of one objective with their running sums, so that every window is one subtraction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tightrope.sli.coverage import Stretch, forgive
from tightrope.sli.slices import Mask, Slices

Sums = npt.NDArray[np.float64] | npt.NDArray[np.int64]
_EXACT_FLOAT64 = 2**53


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """Running sums over unit slices, with room in front for the longest lookback.

    ``bad[lead + i]`` is the sum over the slices before slice ``i``; what lies before the first slice is 0. Sums are
    held as float64 where all of them stay below 2**53 (there a float64 is an exact integer, and divides faster), else
    as int64.

    Attributes:
        units: The unit slices.
        lead: Number of leading zeros.
        bad, total: Running sums, shape ``(lead + n + 1,)``.
        scoped: As *bad*, without causes out of scope; the same array where there are none.
        missing: Running count of gaps; None where there are none.
        first: Index of the first slice of history.
    """

    units: Slices
    lead: int
    bad: Sums
    total: Sums
    scoped: Sums
    missing: Sums | None
    first: int

    def counts(self, series: str, start: int, end: int) -> int:
        """Sum of a series (``bad``, ``scoped``, ``total``) over slices ``start`` to ``end`` (exclusive), exact."""
        sums: Sums = getattr(self, series)
        return int(sums[self.lead + max(0, end)] - sums[self.lead + max(-self.lead, min(start, end))])


def record_of(
    units: Slices, longest_s: int, *, history_start: int | None = None, out_of_scope: Sequence[Stretch] = ()
) -> Record:
    """Sum up *units* for evaluation; gaps are filled already.

    Args:
        units: Unit slices, oldest first.
        longest_s: How far back an evaluation looks, seconds.
        history_start: When measuring began, UTC epoch seconds; None takes the first covered slice.
        out_of_scope: Stretches whose bad units do not count for the policy.
    """
    count = len(units)
    lead = -(-longest_s // units.step_s)
    if history_start is None:
        first = int(np.argmax(units.covered)) if units.covered.any() else count
    else:
        first = max(0, -((units.start - history_start) // units.step_s))
    kind: type[np.float64] | type[np.int64] = np.float64 if int(units.total.sum()) < _EXACT_FLOAT64 else np.int64
    bad = _running(units.bad, lead, kind)
    forgiven = forgive(units, out_of_scope) if out_of_scope else units
    scoped = bad if forgiven is units else _running(forgiven.bad, lead, kind)
    gaps: Mask = ~units.covered if units.excluded is None else ~(units.covered | units.excluded)
    missing = _running(gaps, lead, np.int64) if gaps.any() else None
    return Record(units, lead, bad, _running(units.total, lead, kind), scoped, missing, first)


def _running(values: npt.NDArray[np.int64] | Mask, lead: int, kind: type[np.float64] | type[np.int64]) -> Sums:
    sums = np.empty(lead + len(values) + 1, kind)
    sums[: lead + 1] = 0
    np.cumsum(values, out=sums[lead + 1 :])
    return sums
