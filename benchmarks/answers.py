"""The question that matters, "is the budget spent?", answered slice by slice by the engine, exactly, and by a mean."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import accumulate

import numpy as np

from tightrope.base.units import MINUTE_S, Duration
from tightrope.engine.plan import Plan, compile_plan
from tightrope.engine.replay import replay
from tightrope.engine.scan import Scanner, scan
from tightrope.sli.slices import Mask, Slices
from tightrope.specs.model import (
    Basis,
    ChangeKind,
    Comparison,
    Condition,
    ErrorBudgetPolicy,
    Flow,
    Gaps,
    PolicyState,
    RemainingIs,
    RollingWindow,
)

_LEFT_OR_SPENT = ErrorBudgetPolicy(
    name="left or spent",
    states=(
        PolicyState("left", Flow.FEATURE, frozenset(ChangeKind)),
        PolicyState(
            "spent",
            Flow.STABILITY,
            frozenset(),
            enter=RemainingIs(Comparison.LTE, Fraction(0)),
            exit=RemainingIs(Comparison.GT, Fraction(0)),
        ),
    ),
)


def plan_for(
    units: Slices,
    target: Fraction,
    window_s: int,
    *,
    conditions: Sequence[Condition] = (),
    policy: ErrorBudgetPolicy = _LEFT_OR_SPENT,
) -> Plan:
    """Compile an objective over a rolling window on the observed basis, which is what a query over the window sees."""
    return compile_plan(
        step_s=units.step_s,
        target=target,
        window=RollingWindow(Duration(window_s, "s")),
        conditions=conditions,
        policy=policy,
        basis=Basis.OBSERVED,
        gaps=Gaps.GOOD,  # a gap leaves sums as they are, and no evaluation is left out as stale
    )


def spent_by_engine(units: Slices, target: Fraction, window_s: int, *, scanner: Scanner = scan) -> Mask:
    """Whether the budget is spent at the end of each slice, as a replay says."""
    spent = np.zeros(len(units), np.bool_)
    for move in replay(plan_for(units, target, window_s), units, scanner=scanner).transitions:
        spent[(move.at - units.start) // units.step_s - 1 :] = move.after == "spent"
    return spent


def window_counts(counts: Sequence[int], steps: int) -> list[int]:
    """Sums over the last *steps* slices for each slice, in Python's integers."""
    sums = [0, *accumulate(counts)]
    return [sums[k + 1] - sums[max(0, k + 1 - steps)] for k in range(len(counts))]


def spent_exactly(units: Slices, target: Fraction, window_s: int) -> Mask:
    """The same in Python's integers; where nothing is known, the answer stays as it was."""
    share, steps = 1 - target, window_s // units.step_s
    spent: list[bool] = []
    for bad, total in zip(
        window_counts(units.bad.tolist(), steps), window_counts(units.total.tolist(), steps), strict=True
    ):
        before = spent[-1] if spent else False
        spent.append(bad * share.denominator >= share.numerator * total if total else before)
    return np.array(spent, np.bool_)


def consumed_exactly(units: Slices, target: Fraction, window_s: int) -> np.ndarray:
    """Share of the budget consumed at the end of each slice, NaN where nothing is known."""
    steps = window_s // units.step_s
    bad = np.array(window_counts(units.bad.tolist(), steps), np.float64)
    total = np.array(window_counts(units.total.tolist(), steps), np.float64)
    return bad / np.where(total > 0, total, np.nan) / float(1 - target)


def consumed_by_mean_of_ratios(units: Slices, target: Fraction, window_s: int) -> np.ndarray:
    """The same as widely used recording rules have it: the plain mean of the error ratios over 5 minutes.

    Generous: a ratio without traffic is left out here, where the rules would keep NaN for the whole window.
    """
    step, count = units.step_s, len(units)

    def trailing(values: np.ndarray, length: int) -> np.ndarray:
        sums = np.concatenate(([0.0], np.cumsum(values, dtype=np.float64)))
        ends = np.arange(1, count + 1)
        return np.asarray(sums[ends] - sums[np.maximum(0, ends - length)])

    short = max(1, 5 * MINUTE_S // step)
    bad, total = trailing(units.bad, short), trailing(units.total, short)
    ratio = np.divide(bad, total, out=np.zeros(count), where=total > 0)
    present = trailing((total > 0).astype(np.float64), window_s // step)
    mean = trailing(ratio, window_s // step) / np.where(present > 0, present, np.nan)
    return np.asarray(mean / float(1 - target))
