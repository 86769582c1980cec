"""A record: the slices of one objective with their running sums, so that every window is one subtraction."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tightrope.base.errors import DataError
from tightrope.base.values import dataclass, field
from tightrope.sli.coverage import Stretch, forgive
from tightrope.sli.slices import Counts, Mask, Slices

Sums = npt.NDArray[np.float64] | npt.NDArray[np.int64]
Room = Callable[[str, int, type[np.generic]], npt.NDArray[Any]]
"""Gives memory for a purpose: an array of so many numbers of a kind, with whatever they were before."""

_EXACT_FLOAT64 = 2**53
_EXACT_INT64 = 2**62  # half of what an int64 holds, for the float64 sum that is held against it is rounded


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """A series cut into parts of equal length, so that few numbers bound what many slices hold.

    Attributes:
        begins: The running sum at the beginning of each part.
        least, most: The least and the most of the single slices of each part, int64.
    """

    begins: Sums
    least: Counts
    most: Counts


Summing = Callable[[Counts, Sums, int, Room], Parts | None]
"""Writes the running sums of counts, shape ``(n,)``, behind so many leading zeros and one more; may cut into parts."""


class Workspace:
    """Memory that one thread uses again for record after record; fresh pages cost more than the sums put into them.

    Whatever was made in it is overwritten by the next record, so it must be let go of by then.
    """

    def __init__(self) -> None:
        self._held: dict[str, npt.NDArray[Any]] = {}

    def array(self, name: str, size: int, kind: type[np.generic]) -> npt.NDArray[Any]:
        """An array of shape ``(size,)`` with whatever it held before."""
        held = self._held.get(name)
        if held is None or held.dtype != kind or len(held) < size:
            held = self._held[name] = np.empty(size, kind)
        return held[:size]


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
        seen: Running count of the slices of history but for gaps without units, as float64 or int64 like the sums; None
            where history has no such gap, and all that has elapsed was seen.
        first: Index of the first slice of history.
        parts: The series in parts, by name, where the sums were made so.
        workspace: Where a scan of this record may keep its intermediate results.
    """

    units: Slices
    lead: int
    bad: Sums
    total: Sums
    scoped: Sums
    missing: Sums | None
    seen: Sums | None
    first: int
    parts: Mapping[str, Parts] = field(default_factory=dict)
    workspace: Workspace = field(default_factory=Workspace)

    def counts(self, series: str, start: int, end: int) -> int:
        """Sum of a series (``bad``, ``scoped``, ``total``) over slices ``start`` to ``end`` (exclusive), exact."""
        sums: Sums = getattr(self, series)
        return int(sums[self.lead + max(0, end)] - sums[self.lead + max(-self.lead, min(start, end))])


def running_sums(values: Counts, into: Sums, lead: int, _room: Room) -> None:
    """Sum up with NumPy (`Summing`)."""
    np.cumsum(values, out=into[lead + 1 :])


def record_of(
    units: Slices,
    longest_s: int,
    *,
    history_start: int | None = None,
    out_of_scope: Sequence[Stretch] = (),
    summing: Summing = running_sums,
    workspace: Workspace | None = None,
) -> Record:
    """Sum up *units* for evaluation; gaps are filled already.

    Args:
        units: Unit slices, oldest first.
        longest_s: How far back an evaluation looks, seconds.
        history_start: When measuring began, UTC epoch seconds; None takes the first covered slice.
        out_of_scope: Stretches whose bad units do not count for the policy.
        summing: Makes the running sums: NumPy's, or the compiled one.
        workspace: Memory to use again; None takes new memory, which the record may keep.

    Raises:
        DataError: There are more units than whole numbers of 64 bits can count.
    """
    space = Workspace() if workspace is None else workspace
    count = len(units)
    lead = -(-longest_s // units.step_s)
    if history_start is None:
        first = int(np.argmax(units.covered)) if units.covered.any() else count
    else:
        first = max(0, -((units.start - history_start) // units.step_s))

    parts: dict[str, Parts] = {}

    def running(name: str, values: Counts, kind: type[np.float64 | np.int64]) -> Sums:
        sums: Sums = space.array(name, lead + count + 1, kind)
        sums[: lead + 1] = 0
        cut = summing(values, sums, lead, lambda what, size, kind: space.array(f"{name}, {what}", size, kind))
        if cut is not None:
            parts[name] = cut
        return sums

    kind: type[np.float64 | np.int64] = np.float64
    total = running("total", units.total, kind)
    if total[-1] >= _EXACT_FLOAT64:  # floats round, but never from above this bound to below it
        if total[-1] >= _EXACT_INT64:
            raise DataError(
                f"the slices hold about {float(total[-1]):.1e} units, more than can be counted exactly",
                remedy="count in larger units, or read a shorter stretch",
            )
        kind = np.int64
        total = running("total", units.total, kind)
    bad = running("bad", units.bad, kind)
    forgiven = forgive(units, out_of_scope) if out_of_scope else units
    scoped = bad if forgiven is units else running("scoped", forgiven.bad, kind)
    gaps = _gaps(units)
    missing = None if gaps is None else running("missing", gaps.astype(np.int64), kind)
    unseen = None if gaps is None else gaps & (units.total == 0)
    seen = None
    if unseen is not None and unseen[first:].any():
        unseen[:first] = True
        seen = running("seen", (~unseen).astype(np.int64), kind)
    return Record(units, lead, bad, total, scoped, missing, seen, first, parts, space)


def _gaps(units: Slices) -> Mask | None:
    """Which slices are gaps; None where none is."""
    if units.covered.all():
        return None
    gaps: Mask = ~units.covered if units.excluded is None else ~(units.covered | units.excluded)
    return gaps if gaps.any() else None
