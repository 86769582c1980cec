"""Binomial tails are right for any count, and a tie is decided exactly and soon."""

from __future__ import annotations

from decimal import Decimal, localcontext
from fractions import Fraction
from math import comb

import pytest

from tightrope.alerting.conditions import binomial_tail, is_significant


def tail(bad: int, total: int, chance: float) -> Decimal:
    """P(X >= bad), term by term with 60 digits, until the terms no longer matter."""
    with localcontext() as context:
        context.prec = 60
        hit, miss = Decimal(chance), 1 - Decimal(chance)
        term, sum_of_them = comb(total, bad) * hit**bad * miss ** (total - bad), Decimal(0)
        while bad <= total and term >= sum_of_them.scaleb(-30):
            sum_of_them += term
            term = term * (total - bad) * hit / ((bad + 1) * miss)
            bad += 1
        return sum_of_them


@pytest.mark.parametrize(
    ("bad", "total", "chance"),
    [
        (1, 50, 0.02),
        (16, 17, 0.9),
        (100, 100, 0.3),
        (45, 100, 0.3),
        (2_600, 5_000, 0.5),
        (1_100, 10**6, 1e-3),
        (30_100, 10**7, 3e-3),
        (1_060, 10**9, 1e-6),
        (1_000, 10**12, 1e-9),
        (1_150, 10**12, 1e-9),
    ],
)
def test_a_tail_is_right_to_twelve_digits_from_tens_to_billions_of_events(bad: int, total: int, chance: float) -> None:
    expected = tail(bad, total, chance)
    assert abs(Decimal(binomial_tail(bad, total, chance)) - expected) < expected * Decimal("1e-12")


@pytest.mark.timeout(5)
def test_a_tie_of_thousands_of_events_is_decided_exactly_and_soon() -> None:
    bad, total, whole = 2_600, 5_000, 10**10
    hit = 5_123_456_789
    ways = sum(comb(total, k) * hit**k * (whole - hit) ** (total - k) for k in range(4_990, total + 1))
    assert not is_significant(4_990, total, Fraction(hit, whole), 1 - Fraction(ways, whole**total))
    near = Fraction(binomial_tail(bad, total, hit / whole))
    assert not is_significant(bad, total, Fraction(hit, whole), 1 - near * (1 - Fraction(1, 10**13)))
    assert is_significant(bad, total, Fraction(hit, whole), 1 - near * (1 + Fraction(1, 10**13)))
