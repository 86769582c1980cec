"""Hours: slices summed up, so that a long past takes little room and its sums stay exact."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tightrope.base.units import HOUR_S
from tightrope.base.values import dataclass
from tightrope.sli.slices import EVENT, Counts, Slices


@dataclass(frozen=True, slots=True, eq=False)
class Hours:
    """A stretch of time cut into hours, oldest first, without holes; each with the sums of the slices within it.

    Attributes:
        start: First instant, UTC epoch seconds, a multiple of *step_s*.
        step_s: Length of an hour, seconds: 3600, or what `hour_s` makes of slices that do not divide it.
        bad, total: Sums of the counts, int64 of shape ``(n,)``.
        known: Slices that were measured, or taken out by an exclusion, int64 of shape ``(n,)``.
        slices: Slices that were summed up, gaps included; 0 where the record does not reach.
        scale: What one count is a part of, as in `Slices`.
    """

    start: int
    step_s: int
    bad: Counts
    total: Counts
    known: Counts
    slices: Counts
    scale: int = EVENT

    def __len__(self) -> int:
        return len(self.total)

    @property
    def end(self) -> int:
        """The instant at which the last hour is over."""
        return self.start + len(self.total) * self.step_s

    @property
    def columns(self) -> tuple[Counts, Counts, Counts, Counts]:
        """All that is counted: bad, total, known, slices."""
        return self.bad, self.total, self.known, self.slices

    def from_hour(self, first: int, last: int) -> Hours:
        """Cut out some hours by their place in it."""
        first = min(max(0, first), len(self))
        last = max(first, min(last, len(self)))
        bad, total, known, slices = (column[first:last] for column in self.columns)
        return replace(self, start=self.start + first * self.step_s, bad=bad, total=total, known=known, slices=slices)


def hour_s(step_s: int) -> int:
    """How long an hour of slices of that length is: as many of them as have room in 3600 s, at least one."""
    return step_s * max(1, HOUR_S // step_s)


def no_hours(step_s: int, scale: int, start: int = 0) -> Hours:
    """No hours at all, of slices of that length."""
    nothing = np.zeros(0, np.int64)
    return Hours(
        start // hour_s(step_s) * hour_s(step_s), hour_s(step_s), nothing, nothing, nothing, nothing, scale=scale
    )


def by_the_hour(slices: Slices) -> Hours:
    """Sum slices up by the hour; the first and the last hour may hold fewer of them."""
    hour, step = hour_s(slices.step_s), slices.step_s
    if not len(slices):
        return no_hours(step, slices.scale, slices.start)
    per = hour // step
    start = slices.start // hour * hour
    lead = (slices.start - start) // step
    count = -(-(lead + len(slices)) // per)
    known = slices.covered if slices.excluded is None else slices.covered | slices.excluded

    def summed(values: Counts) -> Counts:
        padded = np.zeros(count * per, np.int64)
        padded[lead : lead + len(values)] = values
        found: Counts = padded.reshape(count, per).sum(axis=1)
        return found

    return Hours(
        start,
        hour,
        summed(slices.bad),
        summed(slices.total),
        summed(known.astype(np.int64)),
        summed(np.ones(len(slices), np.int64)),
        scale=slices.scale,
    )


def added(one: Hours, other: Hours) -> Hours:
    """Both together: an hour of which each holds a part holds all of it then."""
    if not len(one) or not len(other):
        return one if len(one) else other
    if one.step_s != other.step_s or one.scale != other.scale:
        raise AssertionError("only hours of one record are added")
    start, end = min(one.start, other.start), max(one.end, other.end)
    sums = np.zeros((4, (end - start) // one.step_s), np.int64)
    for hours in (one, other):
        at = (hours.start - start) // one.step_s
        for row, column in zip(sums, hours.columns, strict=True):
            row[at : at + len(hours)] += column
    return Hours(start, one.step_s, sums[0], sums[1], sums[2], sums[3], scale=one.scale)
