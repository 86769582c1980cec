"""Burn-rate conditions: the exact binomial bound that keeps quiet services from paging on one error."""

from __future__ import annotations

import math
from fractions import Fraction
from functools import lru_cache

_TINY = 1e-300
_EXACT_TOTAL = 5_000
_CLOSE = 1e-12  # relative; up to that total float64 tails are better by far, so what differs more is told apart rightly
_STIRLING = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360)


def is_significant(bad: int, total: int, ratio: Fraction, confidence: Fraction) -> bool:
    """Tell whether the exact one-sided lower bound of the bad ratio lies above *ratio*.

    The Clopper-Pearson lower bound at confidence q lies above p exactly where seeing at least *bad* of *total* has a
    probability below 1 − q if the true ratio were p; without traffic nothing is significant.

    Up to 5,000 units the answer is that of exact arithmetic; beyond, a tail that lies within a relative 1e-12 of 1 − q
    is told as float64 finds it.

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
    # x^a (1-x)^b / B(a, b) is a single term of the binomial in either direction; so nothing large cancels
    if x < (a + 1) / (a + b + 2):
        return (1 - x) * _term(bad, total, x) * _continued_fraction(a, b, x)
    return 1 - x * _term(bad - 1, total, x) * _continued_fraction(b, a, 1 - x)


def _term(bad: int, total: int, probability: float) -> float:
    """P(X = bad) for X binomial, to nearly the last digit for any total.

    Source:
        C. Loader, "Fast and accurate computation of binomial probabilities" (2000): Stirling's series leaves small
        numbers to subtract, where logarithms of factorials would cancel.
    """
    good = total - bad
    if bad == 0:
        return math.exp(total * math.log1p(-probability))
    if good == 0:
        return math.exp(total * math.log(probability))
    shortfall = _stirling_error(total) - _stirling_error(bad) - _stirling_error(good)
    distance = _deviance(bad, total * probability) + _deviance(good, total * (1 - probability))
    return math.exp(shortfall - distance) * math.sqrt(total / bad / good / (2 * math.pi))


def _stirling_error(number: int) -> float:
    """log(n!) less Stirling's formula √(2πn) (n/e)^n, for n of at least 1."""
    if number < 16:
        return math.log(math.factorial(number) / math.sqrt(2 * math.pi * number)) - number * (math.log(number) - 1)
    square, value = float(number) * number, 0.0
    for term in reversed(_STIRLING):
        value = term + value / square
    return value / number


def _deviance(seen: int, mean: float) -> float:
    """Tell x log(x / m) + m − x, by its series where x and m are close."""
    gap = seen - mean
    if abs(gap) >= 0.1 * (seen + mean):
        return seen * math.log(seen / mean) - gap
    ratio = gap / (seen + mean)
    value, power, order = gap * ratio, 2 * seen * ratio, 1
    while True:
        power *= ratio * ratio
        order += 2
        more = value + power / order
        if more == value:
            return value
        value = more


def _exact_tail(bad: int, total: int, ratio: Fraction) -> Fraction:
    """P(X >= bad) as a fraction: for the few cases that float64 cannot tell from the bound."""
    if bad <= 0:
        return Fraction(1)
    hit, miss, whole = ratio.numerator, ratio.denominator - ratio.numerator, ratio.denominator
    if miss <= 0:
        return Fraction(int(bad <= total))
    # each term follows from the one before it; its powers are not raised anew
    term = math.comb(total, bad) * hit**bad * miss ** (total - bad)
    ways = 0
    for seen in range(bad, total + 1):
        ways += term
        term = term * ((total - seen) * hit) // ((seen + 1) * miss)
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
