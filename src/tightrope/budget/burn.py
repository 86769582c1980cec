"""Burn rates: how many times faster than planned the error budget is spent."""

from __future__ import annotations

from fractions import Fraction

from tightrope.base.errors import UsageError
from tightrope.base.values import dataclass
from tightrope.sli.slices import Slices


@dataclass(frozen=True, slots=True)
class Burn:
    """A burn rate over one lookback, exact, with the counts it was made of; 1 spends just the budget in one window."""

    lookback_s: int
    bad: int
    total: int
    rate: Fraction
    no_traffic: bool


def allowed_share(target: Fraction, weight: Fraction = Fraction(1)) -> Fraction:
    """Share of units that may be bad: 1 − target, over the *weight* of a member of a composite.

    Raises:
        UsageError: *target* is outside ``[0, 1)``.
    """
    if not 0 <= target < 1:
        raise UsageError(
            f"an objective of {float(target):g} leaves no error budget to manage",
            remedy="choose a target of at least 0 and below 1, such as 0.999",
        )
    return (1 - target) / weight


def slices_in(lookback_s: int, step_s: int) -> int:
    """How many slices a lookback or a rolling window holds: the whole ones, but at least one.

    A lookback shorter than a slice sees the newest slice: nothing finer was measured, and a look at nothing would let
    no alert fire at all.
    """
    return max(1, lookback_s // step_s)


def burn_rate(units: Slices, target: Fraction, at: int, lookback_s: int, *, weight: Fraction = Fraction(1)) -> Burn:
    """Tell the burn rate over the lookback that ends at *at*.

    Args:
        units: Unit slices, gaps filled; those that start at or after ``at - lookback_s`` and end by *at* count, at
            least the newest.
        target: The objective, in ``[0, 1)``.
        weight: What the objective weighs in a composite; its burn rate is told times it.

    Returns:
        Bad ratio / allowed ratio, 0 and flagged where there was no traffic.

    Source:
        The Site Reliability Workbook, ch. 5 "Alerting on SLOs".
    """
    last = at - at % units.step_s
    part = units.between(last - slices_in(lookback_s, units.step_s) * units.step_s, last)
    return burn_of(lookback_s, int(part.bad.sum()), int(part.total.sum()), allowed_share(target, weight))


def burn_of(lookback_s: int, bad: int, total: int, share: Fraction) -> Burn:
    """The burn rate of what was counted over a lookback; *share* of the units may be bad."""
    rate = Fraction(bad, total) / share if total else Fraction(0)
    return Burn(lookback_s, bad, total, rate, no_traffic=total == 0)
