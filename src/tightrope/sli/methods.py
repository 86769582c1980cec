"""The three budgeting methods: from raw good and total counts to the units a budget is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from math import lcm
from typing import Any

import numpy as np

from tightrope.base.errors import DataError
from tightrope.sli.slices import BILLIONTH, EVENT, Counts, Mask, Slices
from tightrope.specs.model import BudgetingMethod, Objective, Slo

_EXACT_INT64 = 2**62


def unit_slices(raw: Slices, slo: Slo, objective: Objective) -> Slices:
    """Turn raw counts into the bad and valid units of the SLO's budgeting method (docs/maths.md).

    Args:
        raw: Counts at the SLI's resolution, exclusions already taken out.
        slo: Names the method.
        objective: Gives ``time_slice_target`` and ``time_slice_window`` where the method needs them.

    Returns:
        Slices at the method's step, gaps still empty: events (the raw scale), whole slices (scale 1), or billionths
        of a slice. A time slice at the end that is not complete is left out.

    Raises:
        DataError: The time slice is no whole multiple of the resolution.
    """
    if slo.method is BudgetingMethod.OCCURRENCES:
        return raw
    window = objective.time_slice_window
    coarse = _coarsened(raw, raw.step_s if window is None else window.seconds)
    if slo.method is BudgetingMethod.TIMESLICES:
        target = objective.time_slice_target if objective.time_slice_target is not None else Fraction(1)
        bad = _below(coarse.total - coarse.bad, coarse.total, target)
        return replace(coarse, bad=bad.astype(np.int64), total=coarse.covered.astype(np.int64), scale=EVENT)
    busy = coarse.total > 0
    return replace(
        coarse, bad=_share(coarse.bad, coarse.total), total=busy.astype(np.int64) * BILLIONTH, scale=BILLIONTH
    )


def combine(members: Sequence[tuple[Slices, Fraction]], method: BudgetingMethod) -> Slices:
    """Join the unit slices of a composite's members, each with its weight, into those of the whole (docs/maths.md).

    Timeslices: bad if bad for any member. RatioTimeslices: the weighted missing parts add up, at most one slice.

    Args:
        members: Unit slices of one step, with their weights; their stretches may differ.
        method: Timeslices or RatioTimeslices; for Occurrences a composite has no slices of its own.
    """
    step = members[0][0].step_s
    start = min(units.start for units, _ in members)
    count = max((units.end - start) // step for units, _ in members)
    scale = members[0][0].scale
    # weighted parts add up as whole numbers of 1 / parts, and are rounded once
    parts = lcm(*(weight.denominator for _, weight in members))
    most = sum((weight for _, weight in members), Fraction(0)) * parts * scale * 4
    bad = np.zeros(count, np.int64) if most < _EXACT_INT64 else np.zeros(count, object)
    total = np.zeros(count, np.int64)
    covered = np.zeros(count, np.bool_)
    reached = np.zeros(count, np.bool_)
    counted = np.zeros(count, np.bool_)
    for units, weight in members:
        if units.step_s != step:
            raise DataError(
                f"the members of a composite have steps of {step} s and {units.step_s} s",
                remedy="give all of them the same timeSliceWindow",
            )
        at = slice((units.start - start) // step, (units.start - start) // step + len(units))
        if method is BudgetingMethod.RATIO_TIMESLICES:
            bad[at] += units.bad.astype(bad.dtype) * int(weight * parts)
        else:
            bad[at] = np.maximum(bad[at], units.bad)
        total[at] = np.maximum(total[at], units.total)
        covered[at] |= units.covered
        reached[at] = True
        counted[at] |= True if units.excluded is None else ~units.excluded
    if method is BudgetingMethod.RATIO_TIMESLICES:
        bad = ((2 * bad + parts) // (2 * parts)).astype(np.int64)
    excluded = reached & ~counted
    return Slices(
        start, step, np.minimum(bad, total), total, covered, excluded if excluded.any() else None, scale=scale
    )


def _coarsened(raw: Slices, step_s: int) -> Slices:
    """Sum slices into longer ones, aligned to multiples of *step_s*."""
    if step_s == raw.step_s:
        return raw
    if step_s % raw.step_s:
        raise DataError(
            f"a time slice of {step_s} s is no whole multiple of the resolution of {raw.step_s} s",
            remedy="choose a timeSliceWindow that the resolution divides, or annotate tightrope.dev/resolution",
        )
    per = step_s // raw.step_s
    start = raw.start - raw.start % step_s
    lead = (raw.start - start) // raw.step_s
    count = (lead + len(raw)) // per
    used = max(0, count * per - lead)

    def blocks(values: Counts | Mask, empty: int) -> Any:
        padded = np.full(count * per, empty, values.dtype)
        padded[lead : lead + used] = values[:used]
        return padded.reshape(count, per)

    excluded = None if raw.excluded is None else blocks(raw.excluded, True).all(axis=1)
    covered = blocks(raw.covered, False).any(axis=1)
    return replace(
        raw,
        start=start,
        step_s=step_s,
        bad=blocks(raw.bad, 0).sum(axis=1),
        total=blocks(raw.total, 0).sum(axis=1),
        covered=covered,
        excluded=excluded,
    )


def _below(good: Counts, total: Counts, target: Fraction) -> np.ndarray:
    """Where good / total < target, exactly; never where total is 0."""
    if len(total) and int(total.max()) * max(target.numerator, target.denominator) >= _EXACT_INT64:
        exact = good.astype(object) * target.denominator < total.astype(object) * target.numerator
        return np.asarray(exact, dtype=np.bool_)
    return np.asarray(good * target.denominator < total * target.numerator)


def _share(bad: Counts, total: Counts) -> Counts:
    """Bad / total in billionths, rounded half up; 0 where total is 0."""
    if len(total) and int(total.max()) * 2 * BILLIONTH >= _EXACT_INT64:
        pairs = zip(bad.tolist(), total.tolist(), strict=True)
        return np.array([(2 * BILLIONTH * b + t) // (2 * t) if t else 0 for b, t in pairs], dtype=np.int64)
    divisor = np.where(total > 0, 2 * total, 1)
    return np.asarray(np.where(total > 0, (2 * BILLIONTH * bad + total) // divisor, 0))
