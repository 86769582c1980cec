"""What was not measured: exclusions take time out, gaps are filled as the SLO declares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tightrope.sli.slices import Mask, Slices
from tightrope.specs.model import Gaps

Stretch = tuple[int, int]
"""``(start, end)`` in UTC epoch seconds, end exclusive."""


def exclude(raw: Slices, stretches: Sequence[Stretch]) -> Slices:
    """Take out every slice that overlaps one of the *stretches*: its counts go, and it is no gap."""
    out = overlapping(raw, stretches)
    if not out.any():
        return raw
    keep = ~out
    return replace(
        raw,
        bad=raw.bad * keep,
        total=raw.total * keep,
        covered=raw.covered & keep,
        excluded=out if raw.excluded is None else raw.excluded | out,
    )


def overlapping(slices: Slices, stretches: Sequence[Stretch]) -> Mask:
    """Mark the slices that overlap one of the *stretches*, bool of shape ``(n,)``."""
    marks = np.zeros(len(slices), np.bool_)
    for start, end in stretches:
        if end > start:
            first = max(0, (start - slices.start) // slices.step_s)
            last = max(0, -((slices.start - end) // slices.step_s))
            marks[first:last] = True
    return marks


def forgive(units: Slices, stretches: Sequence[Stretch]) -> Slices:
    """Count no bad unit in slices that overlap one of the *stretches* (causes out of scope); their total stays."""
    out = overlapping(units, stretches)
    return replace(units, bad=units.bad * ~out) if out.any() else units


def fill_gaps(units: Slices, gaps: Gaps) -> Slices:
    """Let gaps carry the valid units of the last covered slice, with the bad units that *gaps* asks for.

    Gaps before the first covered slice stay empty, and a filled gap is still not covered.
    """
    if gaps is Gaps.IGNORE or not len(units):
        return units
    missing = ~units.covered if units.excluded is None else ~(units.covered | units.excluded)
    if not missing.any():
        return units
    last = np.maximum.accumulate(np.where(units.covered, np.arange(len(units)), -1))
    fill = missing & (last >= 0)
    total = units.total.copy()
    bad = units.bad.copy()
    total[fill] = units.total[last[fill]]
    bad[fill] = {Gaps.GOOD: np.zeros_like(total), Gaps.BAD: total, Gaps.HOLD: units.bad[last]}[gaps][fill]
    return replace(units, bad=bad, total=total)
