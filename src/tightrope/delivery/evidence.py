"""Evidence that grows: e-values on counts of a canary and its baseline, which may be looked at however often.

An e-value has mean 1 at most while the null hypothesis holds. Those of successive batches multiply to an e-process, and
the chance that it ever reaches 1/α is α at most (Ville): no schedule of looks and no rule for stopping can break that.
All functions work on natural logarithms, and element by element on arrays, so that one decision and ten thousand
simulated ones are the same code. Counts may be fractions here, for what is expected rather than counted.

Source:
    Turner, Ly, Grünwald, "Generic e-variables for exact sequential k-sample tests" (arXiv 2106.02693, 2203.09785);
    Lindon, Malek, "Anytime-valid inference for multinomial count data" (NeurIPS 2022).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Numbers = Any
"""A number or an array of them; every function follows the shape it is given."""

_HALVINGS = 44
_NEVER, _ALWAYS = 1e-9, 1 - 1e-9


def bound(alpha: Fraction) -> float:
    """The log evidence at which the chance of a false alarm is *alpha*: ln(1/α)."""
    return math.log(alpha.denominator) - math.log(alpha.numerator)


# --- bad and good ---------------------------------------------------------------------------------------------------


def two_by_two(
    canary_bad: Numbers,
    canary_total: Numbers,
    baseline_bad: Numbers,
    baseline_total: Numbers,
    canary_rate: Numbers,
    baseline_rate: Numbers,
    *,
    margin: float = 0.0,
    split: tuple[float, float] | None = None,
) -> Array:
    """The log e-value of one batch in the 2x2 test of Turner, Ly and Grünwald.

    Where the two rates lie above the line ``canary = baseline + margin``, the null is "the canary is worse by at most
    the margin"; where they lie below it, the null is "worse by at least the margin". Only the rates must be predictable
    (chosen before the batch is seen); they need not be true, the split may be any, and the error rate may swing between
    batches as long as it does so on both arms.

    Args:
        canary_bad, canary_total, baseline_bad, baseline_total: Counts of the batch.
        canary_rate, baseline_rate: The alternative: shares of bad requests in ``(0, 1)``.
        margin: How much worse the canary may be, as a share of its requests, ``[0, 1)``.
        split: Traffic of both arms, if these counts are only a part of the batch: single requests, to plan with.

    Returns:
        The log likelihood ratio of the alternative to the point of the null nearest to it, in nats.
    """
    canary = np.clip(canary_rate, _NEVER, _ALWAYS)
    baseline = np.clip(baseline_rate, _NEVER, _ALWAYS)
    canary_flow, baseline_flow = split or (canary_total, baseline_total)
    null_baseline = _nearest(canary, baseline, canary_flow, baseline_flow, margin)
    null_canary = np.clip(null_baseline + margin, _NEVER, _ALWAYS)
    found: Array = np.asarray(
        canary_bad * np.log(canary / null_canary)
        + (canary_total - canary_bad) * np.log((1 - canary) / (1 - null_canary))
        + baseline_bad * np.log(baseline / null_baseline)
        + (baseline_total - baseline_bad) * np.log((1 - baseline) / (1 - null_baseline))
    )
    return found


def _nearest(canary: Array, baseline: Array, canary_total: Numbers, baseline_total: Numbers, margin: float) -> Array:
    """The baseline rate of the point on the line ``canary = baseline + margin`` nearest by Kullback and Leibler."""
    total = np.maximum(canary_total + baseline_total, 1e-300)
    if not margin:
        mean: Array = np.asarray((canary_total * canary + baseline_total * baseline) / total)
        return np.clip(mean, _NEVER, _ALWAYS)
    low = np.clip(np.minimum(canary - margin, baseline), _NEVER, _ALWAYS - margin)
    high = np.clip(np.maximum(canary - margin, baseline), _NEVER, _ALWAYS - margin)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        shifted = middle + margin
        slope = canary_total * (shifted - canary) / (shifted * (1 - shifted)) + baseline_total * (middle - baseline) / (
            middle * (1 - middle)
        )
        low, high = np.where(slope < 0, middle, low), np.where(slope < 0, high, middle)
    return np.asarray((low + high) / 2)


def worse_by(rate: Numbers, ratio: Numbers) -> Array:
    """The rate whose odds are *ratio* times those of *rate*; for rare errors, so many times as many."""
    odds = rate / (1 - rate) * ratio
    return np.asarray(odds / (1 + odds))


# --- which arm the bad ones hit -------------------------------------------------------------------------------------


def conditional(canary_bad: int, baseline_bad: int, share: float, *, concentration: float = 10.0) -> float:
    """The log e-value of the conditional test: given that a request was bad, did it hit the canary too often?

    Args:
        share: Share of all requests that the canary gets, ``(0, 1)``; it must be exact, or the test drifts.
        concentration: Weight of the prior around *share*, in bad requests.
    """
    prior = concentration * share, concentration * (1 - share)
    return float(
        _log_beta(prior[0] + canary_bad, prior[1] + baseline_bad)
        - _log_beta(*prior)
        - canary_bad * math.log(share)
        - baseline_bad * math.log1p(-share)
    )


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


# --- latency --------------------------------------------------------------------------------------------------------


def buckets(canary: Numbers, baseline: Numbers, shares: Numbers, tilts: Sequence[float]) -> Array:
    """The log e-values of one batch of two latency histograms, one for each tilt.

    The alternative moves the canary's requests to slower buckets: its share of bucket j is proportional to
    ``shares[j] * exp(tilt * rank[j])``, where the rank is the middle of the bucket in the cumulated shares. A tilt of
    0.28 is a latency that is longer by 8 % of the standard deviation of its logarithm. The likelihood ratio
    rises with the bucket, so a canary that is stochastically no slower than its baseline has e-values of mean 1 at
    most, whatever the latencies are and however they move from batch to batch.

    Args:
        canary, baseline: Requests per bucket, not cumulated, fastest first: shape ``(..., buckets)``.
        shares: Predicted shares of the buckets, all above 0, of the same shape.
        tilts: Alternatives, each above 0.

    Returns:
        Shape ``(..., tilts)``.
    """
    canary, baseline = np.asarray(canary, float), np.asarray(baseline, float)
    shares = np.asarray(shares, float)
    ranks = np.cumsum(shares, -1) - shares / 2
    slower = shares[..., None, :] * np.exp(np.asarray(tilts)[:, None] * ranks[..., None, :])
    slower /= slower.sum(-1, keepdims=True)
    canary_total, baseline_total = canary.sum(-1)[..., None, None], baseline.sum(-1)[..., None, None]
    usual = shares[..., None, :]
    total = np.maximum(canary_total + baseline_total, 1e-300)
    null = (canary_total * slower + baseline_total * usual) / total
    null = np.where(null > 0, null, usual)
    found: Array = (canary[..., None, :] * np.log(slower / null) + baseline[..., None, :] * np.log(usual / null)).sum(
        -1
    )
    return found


# --- wealth: several alternatives at once ---------------------------------------------------------------------------


def stakes(weights: Sequence[float]) -> Array:
    """The log wealth that each alternative starts with; the first one is cash, which never bets."""
    found: Array = np.log(np.asarray(weights, float))
    return found


def grown(wealth: Numbers, gains: Numbers, weights: Sequence[float], *, moved: float) -> Array:
    """Carry the wealth of several alternatives over one batch.

    Betting on a mixture is an e-process again. Before each batch a small share of all wealth is moved back to the first
    stakes, so that a canary that turns bad late is noticed soon although the alternatives have lost until then.

    Args:
        wealth: Log wealth, alternatives last.
        gains: Log e-values of the batch, without that of cash: it is 0.
        weights: The first stakes, cash first; their sum is 1.
        moved: Share of all wealth that is moved, ``[0, 1)``.
    """
    wealth = np.asarray(wealth, float)
    whole = worth(wealth)[..., None]
    placed = np.logaddexp(math.log1p(-moved) + wealth, math.log(moved) + whole + stakes(weights)) if moved else wealth
    return np.concatenate([placed[..., :1], placed[..., 1:] + gains], -1)


def worth(wealth: Numbers) -> Array:
    """The log of all wealth together: the evidence."""
    wealth = np.asarray(wealth, float)
    most = wealth.max(-1)
    found: Array = most + np.log(np.exp(wealth - most[..., None]).sum(-1))
    return found


def averaged(evidence: Sequence[float]) -> float:
    """The log of the mean of several e-values: valid together, however they depend on each other."""
    most = max(evidence)
    return most + math.log(sum(math.exp(one - most) for one in evidence) / len(evidence))


# --- the cluster guard ----------------------------------------------------------------------------------------------

USUAL_INFLATION = Fraction(2)
"""What the cluster guard assumes where there is too little history to tell."""

_LEAST_BAD = 50
_LEAST_INTERVALS = 20
_AGGREGATED = (1, 2, 4, 8, 16)
_SURE = 1.2816  # normal quantile of 90 %


def inflation(pairs: Sequence[tuple[int, int, int, int]]) -> Fraction:
    """Estimate how much more the split of bad requests varies than independent requests would: the cluster guard.

    Bad requests often come in clusters that hit one arm (a bad host, one client that retries); a test that takes them
    for independent raises false alarms. The estimate compares, over past intervals in which both arms ran the same
    version, the spread of the bad requests between the arms with the binomial one, also over intervals joined by 2, 4,
    8 and 16, because clusters may outlast an interval, and takes the greatest.

    Args:
        pairs: Bad and total of one arm, bad and total of the other, interval by interval, oldest first.

    Returns:
        The upper 90 % bound of the variance ratio, at least 1, in hundredths; `USUAL_INFLATION` where there are fewer
        than 20 intervals or 50 bad requests.
    """
    table = np.asarray(pairs, np.float64).reshape(-1, 4)
    if len(table) < _LEAST_INTERVALS or table[:, 0].sum() + table[:, 2].sum() < _LEAST_BAD:
        return USUAL_INFLATION
    found = 1.0
    for size in _AGGREGATED:
        count = len(table) // size
        if count < _LEAST_INTERVALS:
            break
        joined = table[: count * size].reshape(count, size, 4).sum(1)
        bad, total = joined[:, 0] + joined[:, 2], joined[:, 1] + joined[:, 3]
        share = np.divide(joined[:, 1], total, out=np.zeros(count), where=total > 0)
        expected = float((bad * share * (1 - share)).sum())
        if not expected:
            continue
        ratio = float(((joined[:, 0] - bad * share) ** 2).sum()) / expected
        freedom = int((bad > 0).sum())
        spread = 2 / (9 * freedom)
        found = max(found, ratio / max(0.1, 1 - spread - _SURE * math.sqrt(spread)) ** 3)
    return Fraction(math.ceil(found * 100), 100)
