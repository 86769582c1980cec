"""Burn-rate conditions: the exact binomial bound that keeps quiet services from paging on one error."""

from __future__ import annotations

import math
from fractions import Fraction
from functools import lru_cache

from tightrope.specs.model import Condition, ConditionKind

_TINY = 1e-300
_CLOSE = 1e-9  # relative; float64 tails are better than this, so what differs more is told apart rightly
_EXACT_TOTAL = 5_000


def is_significant(bad: int, total: int, ratio: Fraction, confidence: Fraction) -> bool:
    """Tell whether the exact one-sided lower bound of the bad ratio lies above *ratio*.

    The Clopper-Pearson lower bound at confidence q lies above p exactly where seeing at least *bad* of *total* has a
    probability below 1 − q if the true ratio were p; without traffic nothing is significant.

    Source:
        C. J. Clopper, E. S. Pearson, "The use of confidence or fiducial limits", Biometrika 26 (1934).
    """
    if total <= 0:
        return False
    tail, doubt = binomial_tail(bad, total, float(ratio)), float(1 - confidence)
    if total <= _EXACT_TOTAL and abs(tail - doubt) <= _CLOSE * doubt:
        return _exact_tail(bad, total, ratio) < 1 - confidence
    return tail < doubt


@lru_cache(maxsize=65536)
def binomial_tail(bad: int, total: int, probability: float) -> float:
    """P(X >= bad) for X binomial of *total* trials, through the regularised incomplete beta function."""
    if bad <= 0:
        return 1.0
    if probability <= 0:
        return 0.0
    if probability >= 1 or bad > total:
        return float(bad <= total)
    a, b, x = float(bad), float(total - bad + 1), probability
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    front = math.exp(log_front)
    if x < (a + 1) / (a + b + 2):
        return front * _continued_fraction(a, b, x) / a
    return 1 - front * _continued_fraction(b, a, 1 - x) / b


def _exact_tail(bad: int, total: int, ratio: Fraction) -> Fraction:
    """P(X >= bad) as a fraction: for the few cases that float64 cannot tell from the bound."""
    if bad <= 0:
        return Fraction(1)
    hit, whole = ratio.numerator, ratio.denominator
    ways = sum(math.comb(total, k) * hit**k * (whole - hit) ** (total - k) for k in range(bad, total + 1))
    return Fraction(ways, whole**total)


def _continued_fraction(a: float, b: float, x: float) -> float:
    """Evaluate the incomplete beta function's continued fraction (DLMF 8.17.22) by Lentz's method."""
    c, d = 1.0, 1 - (a + b) * x / (a + 1)
    d = 1 / (d if abs(d) > _TINY else _TINY)
    value = d
    for m in range(1, 10_000 + int(10 * math.sqrt(max(a, b)))):
        for term in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 + term * d
            d = 1 / (d if abs(d) > _TINY else _TINY)
            c = 1 + term / c
            c = c if abs(c) > _TINY else _TINY
            value *= d * c
        if abs(d * c - 1) < 1e-15:
            break
    return value


def error_ratio_needed(condition: Condition, target: Fraction) -> Fraction:
    """The bad ratio at which a burn-rate condition fires; above 1 it never can."""
    return condition.threshold * (1 - target) if condition.kind is not ConditionKind.CONSUMED else Fraction(0)
