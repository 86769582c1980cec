"""Slices: integer counts of bad and total units, step by step, with a mask of what was measured."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from tightrope.base.errors import DataError
from tightrope.base.values import dataclass

Counts = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

EVENT = 1
MILLIONTH = 1_000_000
BILLIONTH = 1_000_000_000


@dataclass(frozen=True, slots=True, eq=False)
class Slices:
    """A stretch of time cut into equal steps, oldest first, without holes.

    Slice ``k`` covers ``[start + k * step_s, start + (k + 1) * step_s)`` in UTC epoch seconds; *start* is a multiple
    of *step_s*. A gap (nothing was measured) has ``covered`` False and zero counts; no traffic is covered with
    ``total == 0``.

    Attributes:
        start: First instant, UTC epoch seconds.
        step_s: Length of a slice (the SLI's resolution), seconds.
        bad: Bad units, int64 of shape ``(n,)``, ``0 <= bad <= total``.
        total: Valid units, int64 of shape ``(n,)``.
        covered: Whether the slice was measured, bool of shape ``(n,)``.
        excluded: Slices taken out by an exclusion (maintenance); zero counts, and no gap. None means no slice.
        scale: What one count is a part of: 1 for events, 1_000_000 for millionths of a unit, and so on.
    """

    start: int
    step_s: int
    bad: Counts
    total: Counts
    covered: Mask
    excluded: Mask | None = None
    scale: int = EVENT

    def __len__(self) -> int:
        return len(self.total)

    @property
    def end(self) -> int:
        """The instant at which the last slice is complete."""
        return self.start + len(self.total) * self.step_s

    @property
    def good(self) -> Counts:
        """Good units, total less bad."""
        return self.total - self.bad

    def between(self, start: int, end: int) -> Slices:
        """Cut out the slices that lie wholly in ``[start, end)``; times outside the record are cut off, not padded."""
        first = min(max(0, -((self.start - start) // self.step_s)), len(self))
        last = max(first, min(len(self), (end - self.start) // self.step_s))
        return replace(
            self,
            start=self.start + first * self.step_s,
            bad=self.bad[first:last],
            total=self.total[first:last],
            covered=self.covered[first:last],
            excluded=None if self.excluded is None else self.excluded[first:last],
        )


def checked(slices: Slices) -> Slices:
    """Hand *slices* back if they obey their own rules; raises `DataError` naming the first slice that does not."""
    wrong = (slices.bad < 0) | (slices.bad > slices.total)
    if wrong.any():
        at = int(np.argmax(wrong))
        raise DataError(
            f"slice {at} has {int(slices.bad[at])} bad of {int(slices.total[at])} units",
            remedy="good must lie between 0 and total in every slice",
        )
    if slices.start % slices.step_s:
        raise DataError(f"slices start at {slices.start}, which is no multiple of their step of {slices.step_s} s")
    return slices
