"""Corrections: slices that are others than when they were evaluated, what that led to, and how it is told."""

from __future__ import annotations

import zlib
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from tightrope.sli.slices import Slices

SETTLING_SLICES = 3
"""Slices behind the newest evaluated one that may grow without a word, as long as nothing follows from it."""

MOST_REMEMBERED = 50_000
"""Slices of one record that are remembered as they were."""

Sums = tuple[int, int, int]
"""Bad units, valid units, and slices that were measured."""


@dataclass(frozen=True, slots=True, eq=False)
class Correction:
    """Slices of one record that were evaluated, and are others now.

    Attributes:
        start, end: From the first one to the end of the last one, UTC epoch seconds.
        slices: How many they are.
        before, after: Their sums then and now.
        were: The slices as they were: when each begins, bad and valid units, and whether it was measured, int64 of
            shape ``(4, n)``. None: there are too many to remember.
    """

    start: int
    end: int
    slices: int
    before: Sums
    after: Sums
    were: npt.NDArray[np.int64] | None

    def and_then(self, other: Correction) -> Correction:
        """Both of one record; slices that were corrected twice are told twice."""
        were = None
        if self.were is not None and other.were is not None:
            were = np.concatenate([other.were, self.were], axis=1)  # the later one counts, and this is the older
        return Correction(
            min(self.start, other.start),
            max(self.end, other.end),
            self.slices + other.slices,
            _added(self.before, other.before),
            _added(self.after, other.after),
            were,
        )

    def undone(self, raw: Slices) -> Slices:
        """A record that holds the correction as it was before."""
        if self.were is None:
            return raw
        begins, *values = self.were
        at = (begins - raw.start) // raw.step_s
        inside = (at >= 0) & (at < len(raw))
        bad, total, covered = raw.bad.copy(), raw.total.copy(), raw.covered.copy()
        for array, value in zip((bad, total, covered), values, strict=True):
            array[at[inside]] = value[inside]
        return replace(raw, bad=bad, total=total, covered=covered)

    def document(self) -> list[Any]:
        """As plain JSON values, for the store."""
        were = None if self.were is None else b64encode(zlib.compress(self.were.astype("<i8").tobytes())).decode()
        return [self.start, self.end, self.slices, list(self.before), list(self.after), were]

    @classmethod
    def of(cls, document: Sequence[Any]) -> Correction:
        """The correction that `document` wrote."""
        start, end, slices, before, after, were = document
        rows = None
        if were is not None:
            rows = np.frombuffer(zlib.decompress(b64decode(were)), "<i8").astype(np.int64).reshape(4, -1)
        return cls(start, end, slices, tuple(before), tuple(after), rows)


def changed_rows(old: Slices, new: Slices) -> npt.NDArray[np.intp]:
    """Which slices of *new* are not what *old* says, by their place in it; a gap that nothing was known of is none."""
    known = aligned(old, new)
    alike = (new.bad == known.bad) & (new.total == known.total)
    return np.flatnonzero((new.covered != known.covered) | (new.covered & ~alike))


def aligned(old: Slices, new: Slices) -> Slices:
    """What *old* says of the slices of *new*: gaps where it says nothing."""
    count, step = len(new), new.step_s
    bad, total, covered = np.zeros(count, np.int64), np.zeros(count, np.int64), np.zeros(count, np.bool_)
    if len(old):
        first, last = max(old.start, new.start), min(old.end, new.end)
        if first < last:
            theirs = old.between(first, last)
            at = (first - new.start) // step
            into = slice(at, at + len(theirs))
            bad[into], total[into], covered[into] = theirs.bad, theirs.total, theirs.covered
    return Slices(new.start, step, bad, total, covered, scale=new.scale)


def correction_of(old: Slices, new: Slices, rows: npt.NDArray[np.intp], before: int) -> Correction | None:
    """What changed of slices that begin before an instant; *rows* of *new* are others than in *old*."""
    step = new.step_s
    rows = rows[new.start + rows * step < before]
    if not len(rows):
        return None
    known = aligned(old, new)
    return Correction(
        new.start + int(rows[0]) * step,
        new.start + (int(rows[-1]) + 1) * step,
        len(rows),
        _sums(known, rows),
        _sums(new, rows),
        None
        if len(rows) > MOST_REMEMBERED
        else np.stack([new.start + rows * step, known.bad[rows], known.total[rows], known.covered[rows]]),
    )


def together(of: Mapping[str, Correction], keys: Iterable[str]) -> Correction | None:
    """The corrections of several records as one; None: there is none."""
    found: Correction | None = None
    for key in keys:
        one = of.get(key)
        if one is not None:
            found = one if found is None else found.and_then(one)
    return found


def _sums(slices: Slices, rows: npt.NDArray[np.intp]) -> Sums:
    covered = slices.covered[rows]
    return int(slices.bad[rows][covered].sum()), int(slices.total[rows][covered].sum()), int(covered.sum())


def _added(one: Sums, other: Sums) -> Sums:
    return one[0] + other[0], one[1] + other[1], one[2] + other[2]
