"""Simulated releases and the rules that judge them: what the lab table of canary statistics is made of.

All rules look every minute for an hour. A trial is a row: bad requests of canary and baseline, minute by minute.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from tightrope.delivery.canary import MOVED, TILT_STAKES, TILTS, WORSE, WORSE_STAKES
from tightrope.delivery.evidence import Array, buckets, grown, stakes, two_by_two, worse_by, worth

Ints = npt.NDArray[np.int64]

SEED = 20240607
LOOKS = 60
REQUESTS = 600
BASE = 0.001
ALPHA = 0.05
SIGNAL = float(np.log(1 / ALPHA))


@dataclass(frozen=True, slots=True)
class Trials:
    """Bad requests of both arms, shape ``(trials, looks)``, and the requests of each per minute."""

    canary: Ints
    baseline: Ints
    canary_total: int = REQUESTS
    baseline_total: int = REQUESTS


def releases(
    rng: np.random.Generator,
    count: int,
    *,
    times: float = 1.0,
    shocks: bool = False,
    clusters: bool = False,
    canary_total: int = REQUESTS,
    baseline_total: int = REQUESTS,
    looks: int = LOOKS,
) -> Trials:
    """Draw releases whose canary has *times* the errors.

    Args:
        shocks: One minute in ten has twenty times the errors, on both arms.
        clusters: The error rate of each arm and minute varies by itself (gamma, shape 1/2): counts vary 2.2 times as
            much as independent ones.
    """
    shape = (count, looks)
    canary, baseline = np.full(shape, BASE * times), np.full(shape, BASE)
    if shocks:
        shock = np.where(rng.random(shape) < 0.1, 20, 1)
        canary, baseline = canary * shock, baseline * shock
    if clusters:
        canary, baseline = canary * rng.gamma(0.5, 2, shape), baseline * rng.gamma(0.5, 2, shape)
    return Trials(
        rng.binomial(canary_total, np.minimum(canary, 1)),
        rng.binomial(baseline_total, np.minimum(baseline, 1)),
        canary_total,
        baseline_total,
    )


# --- rules: each tells at which looks it would alarm ----------------------------------------------------------------


def z_test(trials: Trials) -> npt.NDArray[np.bool_]:
    """The one-sided z-test at the nominal 5 %, at every look."""
    difference, variance = _difference(trials)
    return _of(difference, np.sqrt(variance)) > 1.6449


def msprt(trials: Trials, *, spread: float = 2 * BASE) -> npt.NDArray[np.bool_]:
    """The mixture SPRT of Johari et al., with a normal prior of this spread; alarms where the canary is worse."""
    difference, variance = _difference(trials)
    known = np.where(variance > 0, variance, 1.0)
    square = spread * spread
    log = np.log(known / (known + square)) / 2 + difference**2 * square / (2 * known * (known + square))
    return np.where((variance > 0) & (difference > 0), log, -np.inf) >= SIGNAL


def conditional_rule(trials: Trials, *, share: float = 0.5, concentration: float = 10.0) -> npt.NDArray[np.bool_]:
    """The conditional test with a known split; alarms where the canary is worse."""
    from scipy.special import betaln

    hits, others = np.cumsum(trials.canary, 1), np.cumsum(trials.baseline, 1)
    a, b = concentration * share, concentration * (1 - share)
    log = betaln(a + hits, b + others) - betaln(a, b) - hits * np.log(share) - others * np.log1p(-share)
    found: npt.NDArray[np.bool_] = (log >= SIGNAL) & (hits > share * (hits + others))
    return found


def two_by_two_evidence(trials: Trials, *, guard: float = 1.0, promised: float = BASE) -> Array:
    """The evidence of our test, look by look: the maths of `delivery.canary` on many releases at once, nats."""
    count, looks = trials.canary.shape
    wealth = np.tile(stakes(WORSE_STAKES), (count, 1))
    found = np.zeros((count, looks))
    seen_bad, seen = np.zeros(count), 0
    for look in range(looks):
        usual = ((seen_bad + 1) / (seen + 1 / promised))[:, None]
        gain = two_by_two(
            trials.canary[:, look, None],
            trials.canary_total,
            trials.baseline[:, look, None],
            trials.baseline_total,
            worse_by(usual, np.array(WORSE)),
            usual,
        )
        wealth = grown(wealth, gain / guard, WORSE_STAKES, moved=MOVED)
        found[:, look] = worth(wealth)
        seen_bad, seen = seen_bad + trials.baseline[:, look], seen + trials.baseline_total
    return found


def two_by_two_rule(trials: Trials, *, guard: float = 1.0, signal: float = SIGNAL) -> npt.NDArray[np.bool_]:
    """Our default: roll back once the evidence reaches 1/α."""
    return two_by_two_evidence(trials, guard=guard) >= signal


def plug_in_evidence(trials: Trials, *, worth: float = 3.0, times: float = 2.0) -> Array:
    """The 2x2 test as it is published: one bet a minute, on the rates that were estimated from the minutes before.

    Args:
        worth: The first estimates count for so many bad baseline requests. *times*: what the canary's begins at.
    """
    count, looks = trials.canary.shape
    hits, others = np.full(count, worth * times), np.full(count, worth)
    one, other = worth / BASE, worth / BASE
    log, found = np.zeros(count), np.zeros((count, looks))
    for look in range(looks):
        pooled, worse = (hits + others) / (one + other), hits / one > others / other
        log = log + two_by_two(
            trials.canary[:, look],
            trials.canary_total,
            trials.baseline[:, look],
            trials.baseline_total,
            np.where(worse, hits / one, pooled),
            np.where(worse, others / other, pooled),
        )
        found[:, look] = log
        hits, others = hits + trials.canary[:, look], others + trials.baseline[:, look]
        one, other = one + trials.canary_total, other + trials.baseline_total
    return found


def flagger(trials: Trials, *, least: float, failures: int = 5) -> npt.NDArray[np.bool_]:
    """A threshold on each minute's success rate, with so many failed checks."""
    failed = 1 - trials.canary / trials.canary_total < least
    return np.cumsum(failed, 1) >= failures


def mann_whitney(trials: Trials, *, first: int = 10, paths: int = 200) -> npt.NDArray[np.bool_]:
    """Kayenta's judge, with the errors of each minute as samples: alarms where it calls the canary's High.

    The lower end of the two-sided 98 % Mann-Whitney interval of the shift (normal approximation, ties and continuity
    corrected) must lie above a quarter of the Hodges-Lehmann estimate. Both are roots of a step function, searched to
    1e-4 as Kayenta does; where both are 0, it is chance on which side of 0 the search ends. Only the first *paths*
    releases are judged, which takes long enough.
    """
    from scipy.optimize import brentq

    found = np.zeros((min(paths, len(trials.canary)), trials.canary.shape[1]), np.bool_)
    for path, look in np.ndindex(*found.shape):
        if look + 1 < first or found[path, :look].any():
            continue
        one, other = trials.canary[path, : look + 1], trials.baseline[path, : look + 1]
        shifted = _RankSum(one, other)
        if not shifted.spread or shifted.low == shifted.high:
            continue
        found[path, look] = shifted.lower(brentq) > 0.25 * abs(shifted.estimate(brentq))
    return found


_SURE_98 = 2.3263478740408408  # normal quantile of 99 %


class _RankSum:
    """The rank sum of one sample moved by a shift against another; both hold whole numbers."""

    def __init__(self, one: Ints, other: Ints) -> None:
        self._one, self._other, self._size = one, other, len(one)
        self.low, self.high = int(one.min() - other.max()), int(one.max() - other.min())
        self._pairs = np.bincount((one[:, None] - other[None, :]).ravel() - self.low)
        self._above = len(one) ** 2 - np.cumsum(self._pairs)
        self.spread = self._sigma(np.bincount(one), np.bincount(other))

    def z(self, shift: float, correction: float) -> float:
        """How far the rank sum lies above its mean, in standard deviations."""
        whole = math.floor(shift)
        place = whole - self.low
        above, spread = float(self._above[min(max(place, 0), len(self._above) - 1)]), self.spread
        if place < 0:
            above = float(self._size**2)
        if shift == whole and 0 <= place < len(self._pairs):
            above += float(self._pairs[place]) / 2
            least = min(int(self._one.min()) - whole, int(self._other.min()))
            spread = self._sigma(np.bincount(np.concatenate([self._one - whole, self._other]) - least)) or 1e-9
        return (above - self._size**2 / 2 - correction) / spread

    def lower(self, search: Callable[..., float]) -> float:
        """The lower end of the 98 % interval of the shift."""
        return self._root(lambda shift: self.z(shift, 0.5) - _SURE_98, search)

    def estimate(self, search: Callable[..., float]) -> float:
        """The Hodges-Lehmann estimate of the shift."""
        return self._root(lambda shift: self.z(shift, 0.0), search)

    def _root(self, function: Callable[[float], float], search: Callable[..., float]) -> float:
        """Where the function crosses 0, to 1e-4; the end that is nearest where it does not."""
        if function(self.low) <= 0:
            return self.low
        return self.high if function(self.high) >= 0 else search(function, self.low, self.high, xtol=1e-4)

    def _sigma(self, *ties: Ints) -> float:
        whole = 2 * self._size
        tied = sum(int((one**3 - one).sum()) for one in ties)
        return math.sqrt(max(0.0, self._size**2 / 12 * ((whole + 1) - tied / (whole * (whole - 1)))))


# --- what a rule does -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Score:
    """Share of releases alarmed, the median minute of their alarm, and mean bad canary requests until then."""

    alarmed: float
    minute: float
    bad: float


def score(alarms: npt.NDArray[np.bool_], trials: Trials) -> Score:
    """Judge a rule by its first alarms."""
    hit = alarms.any(1)
    first = np.where(hit, alarms.argmax(1), alarms.shape[1] - 1)
    spent = np.cumsum(trials.canary[: len(first)], 1)[np.arange(len(first)), first]
    return Score(float(hit.mean()), float(np.median(first[hit] + 1)) if hit.any() else 0.0, float(spent.mean()))


def at_end(alarms: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Look only once, at the end."""
    found = np.zeros_like(alarms)
    found[:, -1] = alarms[:, -1]
    return found


# --- group sequential tests -----------------------------------------------------------------------------------------


def crossing(rng: np.random.Generator, bounds: Sequence[float], *, paths: int = 400_000) -> Array:
    """Share of normal random walks that have left the two-sided z bounds by each look, the looks equally spaced."""
    left, sums = np.zeros(paths, np.bool_), np.zeros(paths)
    found = []
    for look, limit in enumerate(bounds, 1):
        sums += rng.standard_normal(paths)
        left |= np.abs(sums) > limit * np.sqrt(look)
        found.append(left.mean())
    return np.array(found)


# --- latency --------------------------------------------------------------------------------------------------------

BOUNDS = (0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0)
"""Upper bounds of the histogram's buckets in seconds; a twelfth one has no bound."""


def latencies(rng: np.random.Generator, count: int, *, times: float = 1.0, looks: int = LOOKS) -> tuple[Ints, Ints]:
    """Histograms of canary and baseline, shape ``(count, looks, 12)``: lognormal, median 100 ms, σ 0.6."""
    return _histograms(rng, (count, looks), 0.1 * times), _histograms(rng, (count, looks), 0.1)


def _histograms(rng: np.random.Generator, shape: tuple[int, int], median: float) -> Ints:
    from scipy.stats import norm

    reached = norm.cdf((np.log(BOUNDS) - np.log(median)) / 0.6)
    found: Ints = rng.multinomial(REQUESTS, np.diff([0.0, *reached, 1.0]), size=shape)
    return found


def latency_evidence(canary: Ints, baseline: Ints) -> Array:
    """The evidence of the bucket test, look by look; the first look only teaches."""
    count, looks, _ = canary.shape
    wealth = np.tile(stakes(TILT_STAKES), (count, 1))
    found = np.zeros((count, looks))
    seen = canary[:, 0] + baseline[:, 0] + 0.5
    for look in range(1, looks):
        gain = buckets(canary[:, look], baseline[:, look], seen / seen.sum(-1, keepdims=True), TILTS)
        wealth = grown(wealth, gain, TILT_STAKES, moved=MOVED)
        found[:, look] = worth(wealth)
        seen = seen + canary[:, look] + baseline[:, look]
    return found


def _difference(trials: Trials) -> tuple[Array, Array]:
    """Difference of the two rates and its variance under equal ones, look by look."""
    looks = np.arange(1, trials.canary.shape[1] + 1)
    canary, baseline = trials.canary_total * looks, trials.baseline_total * looks
    hits, others = np.cumsum(trials.canary, 1), np.cumsum(trials.baseline, 1)
    rate = (hits + others) / (canary + baseline)
    return hits / canary - others / baseline, rate * (1 - rate) * (1 / canary + 1 / baseline)


def _of(part: Array, whole: Array) -> Array:
    found: Array = np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
    return found


def percent(share: float | Fraction) -> str:
    """A share for a table: ``1.6``."""
    return f"{float(share) * 100:.1f}"
