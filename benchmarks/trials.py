"""Simulated releases and the rules that judge them: what the lab table of canary statistics is made of.

All rules look every minute for an hour. A trial is a row: bad requests of canary and baseline, minute by minute.
"""

from __future__ import annotations

from collections.abc import Sequence
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


def flagger(trials: Trials, *, least: float, failures: int = 5) -> npt.NDArray[np.bool_]:
    """A threshold on each minute's success rate, with so many failed checks."""
    failed = 1 - trials.canary / trials.canary_total < least
    return np.cumsum(failed, 1) >= failures


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
    spent = np.cumsum(trials.canary, 1)[np.arange(len(first)), first]
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
