"""Canary analysis: is the new version worse, proven harmless, or is it too early to tell?

The state of an analysis is a small value of counts and evidence: as plain JSON it survives a crash and loses nothing.
Evidence is kept in whole billionths of a nat, rounded down: what was forgotten by rounding never raises an alarm.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from typing import Any, Final

import numpy as np

from tightrope.base.errors import DataError, UsageError
from tightrope.delivery.evidence import (
    USUAL_INFLATION,
    Array,
    averaged,
    bound,
    buckets,
    conditional,
    grown,
    stakes,
    two_by_two,
    worse_by,
    worth,
)

NANO = 10**9
"""Evidence is counted in billionths of a nat."""

WORSE: Final = (2.0, 5.0, 25.0)
"""Alternatives of the test for harm: how many times the baseline's odds of an error."""

WORSE_STAKES: Final = (0.04, 0.52, 0.37, 0.07)
SPARED: Final = (0.0, 0.25, 0.5)
"""Alternatives of the test for no harm: the canary is worse by this part of what is tolerated."""

SPARED_STAKES: Final = (0.04, 0.64, 0.16, 0.16)
TILTS: Final = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Alternatives of the test on latency; see `evidence.buckets`."""

TILT_STAKES: Final = (0.05, 0.19, 0.19, 0.19, 0.19, 0.19)
MOVED: Final = 0.002
"""Share of the wealth that is bet anew in each batch, for a canary that turns bad late."""

Wealth = tuple[int, ...]
"""Log wealth of cash and of each alternative, billionths of a nat."""


# --- what is measured ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Counts:
    """Requests of one arm: how many, and how many of them were bad; ``0 <= bad <= total``."""

    bad: int
    total: int

    def __post_init__(self) -> None:
        if not 0 <= self.bad <= self.total:
            raise DataError(
                f"{self.bad} of {self.total} requests are said to be bad",
                remedy="bad must lie between 0 and total; a counter that began anew must be read as such",
            )

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.bad + other.bad, self.total + other.total)


@dataclass(frozen=True, slots=True)
class Batch:
    """What both arms did in the same interval.

    Attributes:
        canary, baseline: Their requests.
        seconds: How long the interval was, above 0.
    """

    canary: Counts
    baseline: Counts
    seconds: int


@dataclass(frozen=True, slots=True)
class LatencyBatch:
    """Latency histograms of both arms over the same interval: requests per bucket, not cumulated, fastest first."""

    canary: tuple[int, ...]
    baseline: tuple[int, ...]
    seconds: int

    def __post_init__(self) -> None:
        if len(self.canary) != len(self.baseline) or min((*self.canary, *self.baseline), default=-1) < 0:
            raise DataError(
                "the latency histograms of canary and baseline do not match",
                remedy="both need the same buckets, at least one, and no negative counts; a counter that began anew "
                "must be read as such",
            )


# --- the state of the tests -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ErrorTest:
    """The test of one objective on bad and good requests, and all it has seen.

    Attributes:
        name: Which objective.
        promised: Share of bad requests that the objective allows, in ``(0, 1)``: a first guess until data speak.
        tolerated: Excess share of bad requests that counts as no harm, above 0.
        margin: Excess share of bad requests that the test for harm forgives.
        inflation: The cluster guard: evidence of a batch is divided by it; 1 trusts that requests are independent.
        history: What the baseline did before the canary began; it makes the first minutes sharper.
        canary, baseline: Sums since the beginning.
        expected_nano: How many of the bad requests would have hit the canary by its traffic, in billionths.
        seconds: Time in which both arms had traffic.
        stage: Canary requests and seconds since the weight was last raised.
        harm, spared: Wealth of the tests for harm and for no harm; *spared* begins anew with each weight.
        proof_nano: The most evidence of no harm at this weight.
    """

    name: str
    promised: Fraction
    tolerated: Fraction
    margin: Fraction = Fraction(0)
    inflation: Fraction = USUAL_INFLATION
    history: Counts = Counts(0, 0)
    canary: Counts = Counts(0, 0)
    baseline: Counts = Counts(0, 0)
    expected_nano: int = 0
    seconds: int = 0
    stage: tuple[int, int] = (0, 0)
    harm: Wealth = ()
    spared: Wealth = ()
    proof_nano: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.promised < 1 or not 0 < self.tolerated < 1 or not 0 <= self.margin < 1:
            raise UsageError(
                f"the canary test of {self.name} has a share outside its range",
                remedy="promised and tolerated lie between 0 and 1, the margin may be 0",
            )
        if self.inflation < 1:
            raise UsageError(f"the cluster guard of {self.name} is {self.inflation}", remedy="give 1 or more")


@dataclass(frozen=True, slots=True)
class LatencyTest:
    """The test of one latency histogram: is the canary slower, anywhere in the distribution?

    Attributes:
        seen: Requests per bucket, both arms and history together; the first batch only teaches where there is none.
        canary, baseline: Requests of each arm since the beginning.
        harm: Wealth of the alternatives.
    """

    name: str
    inflation: Fraction = USUAL_INFLATION
    seen: tuple[int, ...] = ()
    canary: int = 0
    baseline: int = 0
    seconds: int = 0
    stage: tuple[int, int] = (0, 0)
    harm: Wealth = ()


@dataclass(frozen=True, slots=True)
class Analysis:
    """A canary's analysis over several objectives.

    Attributes:
        errors, latencies: The tests.
        peak_nano: The most evidence of harm there ever was, all tests averaged: once over the bound, it stays so.
    """

    errors: tuple[ErrorTest, ...] = ()
    latencies: tuple[LatencyTest, ...] = ()
    peak_nano: int = 0

    @property
    def tests(self) -> tuple[ErrorTest | LatencyTest, ...]:
        """All tests."""
        return (*self.errors, *self.latencies)

    def __post_init__(self) -> None:
        names = [one.name for one in self.tests]
        if not names or len(set(names)) < len(names):
            raise UsageError("a canary needs tests, each with a name of its own", remedy="name each objective once")


@dataclass(frozen=True, slots=True)
class Rules:
    """What a verdict needs.

    Attributes:
        alpha: Chance that a canary no worse than its baseline is ever called harmful, and that harm beyond what is
            tolerated is ever called safe; in ``(0, 1)``.
        least_requests: Canary requests at this weight without which nothing is called safe.
        least_s: Seconds with traffic at this weight without which nothing is called safe.
    """

    alpha: Fraction = Fraction(1, 20)
    least_requests: int = 100
    least_s: int = 300

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 1:
            raise UsageError(f"the chance of a false alarm is {self.alpha}", remedy="give a share between 0 and 1")


def update(state: Analysis, batches: Mapping[str, Batch | LatencyBatch]) -> Analysis:
    """Take in what both arms did in one interval, objective by objective; one without a batch is left as it is.

    An interval in which an arm had no traffic proves nothing and moves nothing.

    Raises:
        UsageError: A batch names no test, or is of the wrong kind for it.
        DataError: A histogram has other buckets than before.
    """
    known = {one.name: one for one in state.tests}
    for name, batch in batches.items():
        if isinstance(batch, Batch) is not isinstance(known.get(name), ErrorTest) or name not in known:
            raise UsageError(
                f"the canary has no such test: {name}", remedy=f"it knows {', '.join(sorted(known))}, each of its kind"
            )
        if batch.seconds <= 0:
            raise DataError(f"a batch of {name} lasted {batch.seconds} s", remedy="an interval is longer than nothing")
    errors = tuple(_counted(one, batches.get(one.name)) for one in state.errors)
    latencies = tuple(_timed(one, batches.get(one.name)) for one in state.latencies)
    following = replace(state, errors=errors, latencies=latencies)
    return replace(following, peak_nano=max(state.peak_nano, evidence_of_harm(following)))


def raise_weight(state: Analysis) -> Analysis:
    """Begin a new stage: harm seen before still counts, but what was proven at a lower weight is to be proven anew."""
    return replace(
        state,
        errors=tuple(replace(one, stage=(0, 0), spared=(), proof_nano=0) for one in state.errors),
        latencies=tuple(replace(one, stage=(0, 0)) for one in state.latencies),
    )


def evidence_of_harm(state: Analysis) -> int:
    """The evidence of harm as of now, all tests averaged; billionths of a nat."""
    return _nano(averaged(list(_evidence_of_each(state).values())))


def evidence_of_each(state: Analysis, alpha: Fraction) -> dict[str, tuple[int, int]]:
    """The evidence of harm of each test as of now, and what it takes to bring the mean of all over the bound alone.

    Both in billionths of a nat.
    """
    alone = bound_nano(alpha) + _nano(math.log(len(state.tests)))
    return {name: (_nano(found), alone) for name, found in _evidence_of_each(state).items()}


def _evidence_of_each(state: Analysis) -> dict[str, float]:
    """The log evidence of harm of each test by itself."""
    found = {one.name: float(worth(_floats(one.harm, WORSE_STAKES))) for one in state.errors}
    return found | {one.name: float(worth(_floats(one.harm, TILT_STAKES))) for one in state.latencies}


def evidence_text(found_nano: int, bound_nano: int) -> str:
    """Evidence for people, beside its bound: ``1.3 of 20``."""
    return f"{_odds(found_nano)} of {_odds(bound_nano)}"


def _counted(test: ErrorTest, batch: Batch | LatencyBatch | None) -> ErrorTest:
    if not isinstance(batch, Batch) or not batch.canary.total or not batch.baseline.total:
        return test
    canary, baseline = batch.canary, batch.baseline
    for_harm, for_safety = gains(test, canary.bad, canary.total, baseline.bad, baseline.total)
    spared = _bet(test.spared, for_safety, SPARED_STAKES, test.inflation)
    total, bad = canary.total + baseline.total, canary.bad + baseline.bad
    return replace(
        test,
        canary=test.canary + canary,
        baseline=test.baseline + baseline,
        expected_nano=test.expected_nano + bad * canary.total * NANO // total,
        seconds=test.seconds + batch.seconds,
        stage=(test.stage[0] + canary.total, test.stage[1] + batch.seconds),
        harm=_bet(test.harm, for_harm, WORSE_STAKES, test.inflation),
        spared=spared,
        proof_nano=max(test.proof_nano, _nano(float(worth(_floats(spared, SPARED_STAKES))))),
    )


def gains(
    test: ErrorTest, canary_bad: float, canary_total: float, baseline_bad: float, baseline_total: float
) -> tuple[Array, Array]:
    """What a batch is worth to the alternatives of the two tests, from what was known before it: log e-values."""
    known = test.history + test.baseline
    # one request that was bad, and as many good ones as the promise has it, stand for what is not known yet
    usual = (known.bad + 1) / (known.total + float(1 / test.promised))
    counted = (canary_bad, canary_total, baseline_bad, baseline_total)
    margin, tolerated = float(test.margin), float(test.tolerated)
    worse = worse_by(usual, np.array(WORSE)) + margin
    spared = usual + tolerated * np.array(SPARED)
    return (
        two_by_two(*counted, worse, np.full(len(WORSE), usual), margin=margin),
        two_by_two(*counted, spared, np.full(len(SPARED), usual), margin=tolerated),
    )


def _timed(test: LatencyTest, batch: Batch | LatencyBatch | None) -> LatencyTest:
    if not isinstance(batch, LatencyBatch) or not sum(batch.canary) or not sum(batch.baseline):
        return test
    if test.seen and len(test.seen) != len(batch.canary):
        raise DataError(
            f"{test.name} had {len(test.seen)} latency buckets and now has {len(batch.canary)}",
            remedy="keep the buckets during a rollout, or begin the analysis anew",
        )
    seen = test.seen or (0,) * len(batch.canary)
    harm = test.harm
    if any(seen):
        known = np.array(seen, float) + 0.5
        gain = buckets(batch.canary, batch.baseline, known / known.sum(), TILTS)
        harm = _bet(harm, gain, TILT_STAKES, test.inflation)
    return replace(
        test,
        seen=tuple(old + one + other for old, one, other in zip(seen, batch.canary, batch.baseline, strict=True)),
        canary=test.canary + sum(batch.canary),
        baseline=test.baseline + sum(batch.baseline),
        seconds=test.seconds + batch.seconds,
        stage=(test.stage[0] + sum(batch.canary), test.stage[1] + batch.seconds),
        harm=harm,
    )


def _bet(wealth: Wealth, gain: Array, weights: Sequence[float], guard: Fraction) -> Wealth:
    after = grown(_floats(wealth, weights), gain / float(guard), weights, moved=MOVED)
    return tuple(_nano(float(one)) for one in after)


def _floats(wealth: Wealth, weights: Sequence[float]) -> Array:
    return np.array(wealth, float) / NANO if wealth else stakes(weights)


def _nano(nats: float) -> int:
    return math.floor(nats * NANO)


@lru_cache(maxsize=64)
def bound_nano(alpha: Fraction) -> int:
    """The evidence that a verdict takes, ln(1/α), rounded up; billionths of a nat."""
    return math.ceil(bound(alpha) * NANO)


# --- the verdict ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why, in counts: so many of the last bad requests hit the canary, where its traffic lets expect so many.

    Attributes:
        hits, bad: Bad requests of the canary, and of both arms.
        expected: How many would have hit the canary by its share of the traffic.
        log_evidence: Of the conditional test, nats; shown, never decided on.
    """

    name: str
    hits: int
    bad: int
    expected: Fraction
    log_evidence: float

    def __str__(self) -> str:
        return f"{self.hits} of the last {self.bad:,} bad requests hit the canary, {float(self.expected):.1f} expected"


@dataclass(frozen=True, slots=True)
class Difference:
    """How much worse the canary's share of bad requests is, and a band that holds whenever one looks; shares.

    Shown, never decided on: the band rests on the normal approximation, the tests do not.
    """

    value: float
    low: float
    high: float


def difference(
    canary: Counts, baseline: Counts, spread: Fraction, alpha: Fraction, guard: Fraction
) -> Difference | None:
    """The difference of both shares with its always-valid band; None while one of them had no requests.

    The band holds all differences at which the mixture SPRT would not stop.

    Args:
        spread: Of the normal prior around 0: what difference is worth telling, such as the share that is promised.
        guard: The cluster guard, by which the variance grows.

    Source:
        Johari, Koomen, Pekelis, Walsh, "Always Valid Inference" (Operations Research 2022).
    """
    if not canary.total or not baseline.total:
        return None
    share = (canary.bad + baseline.bad + 1) / (canary.total + baseline.total + 2)
    variance = share * (1 - share) * (1 / canary.total + 1 / baseline.total) * float(guard)
    prior = float(spread) ** 2
    value = canary.bad / canary.total - baseline.bad / baseline.total
    whole = variance + prior
    reach = math.sqrt(variance * whole / prior * (2 * bound(alpha) + math.log(whole / variance)))
    return Difference(value, max(-1.0, value - reach), min(1.0, value + reach))


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the evidence says.

    Attributes:
        harm_nano: The most evidence of harm so far, all tests averaged; billionths of a nat.
        proof_nano: The least evidence of no harm of any error test; None without such a test.
        bound_nano: What either takes.
        why: One sentence, without its full stop.
        explanations: One for each error test.
    """

    harm_nano: int
    proof_nano: int | None
    bound_nano: int
    why: str
    explanations: tuple[Explanation, ...]

    @property
    def evidence(self) -> str:
        """The evidence of harm for people, beside its bound: ``1.3 of 20``."""
        return evidence_text(self.harm_nano, self.bound_nano)


@dataclass(frozen=True, slots=True)
class Harm(Verdict):
    """The canary is worse: roll back."""


@dataclass(frozen=True, slots=True)
class Safe(Verdict):
    """The canary is proven to be no worse than tolerated, on every objective: go on."""


@dataclass(frozen=True, slots=True)
class Undecided(Verdict):
    """Too early to tell: wait.

    Attributes:
        harm_in_s, safe_in_s: When the verdict would fall if everything went on as measured so far, seconds; None: not
            in sight, as what was measured points the other way, or there is no traffic.
        silent: There was no traffic to compare at this weight.
    """

    harm_in_s: int | None = None
    safe_in_s: int | None = None
    silent: bool = False


def verdict(state: Analysis, rules: Rules) -> Safe | Undecided | Harm:
    """Tell what the evidence says of the canary. Harm goes before proof, and without data the answer is to wait.

    Several objectives are combined validly: harm by the mean of their e-values, safety by every one of its own.
    """
    needed = bound_nano(rules.alpha)
    proof = min((one.proof_nano for one in state.errors), default=None)
    explanations = tuple(_explained(one) for one in state.errors)
    common = (state.peak_nano, proof, needed)
    if state.peak_nano >= needed:
        return Harm(*common, _why_harm(state, explanations), explanations)
    silent = [one.name for one in state.tests if not one.stage[1]]
    if silent:
        return Undecided(
            *common, f"no traffic to compare at this weight yet: {', '.join(silent)}", explanations, silent=True
        )
    requests = min(one.stage[0] for one in state.tests)
    seconds = min(one.stage[1] for one in state.tests)
    short = requests < rules.least_requests or seconds < rules.least_s
    if proof is not None and proof >= needed and not short:
        return Safe(*common, "the canary is worse by no more than is tolerated", explanations)
    if short:
        why = f"{requests:,} of at least {rules.least_requests:,} canary requests, {seconds:,} of {rules.least_s:,} s"
    elif proof is None:
        why = "a latency test proves harm only; safety takes an objective on good and bad requests"
    else:
        why = f"evidence of harm {_odds(state.peak_nano)} and of no harm {_odds(proof)}; either takes {_odds(needed)}"
    return Undecided(*common, why, explanations, _harm_in_s(state, needed), _safe_in_s(state, rules, needed))


def _explained(test: ErrorTest) -> Explanation:
    bad = test.canary.bad + test.baseline.bad
    expected = Fraction(test.expected_nano, NANO)
    share = float(expected / bad) if bad else 0.5
    evidence = conditional(test.canary.bad, test.baseline.bad, share) if 0 < share < 1 else 0.0
    return Explanation(test.name, test.canary.bad, bad, expected, evidence)


def _why_harm(state: Analysis, explanations: Sequence[Explanation]) -> str:
    each = _evidence_of_each(state)
    strongest = max(each, key=lambda name: (each[name], name))
    said = next((str(one) for one in explanations if one.name == strongest), "the canary is slower than the baseline")
    return f"{strongest}: {said}"


def _harm_in_s(state: Analysis, needed: int) -> int | None:
    """When the strongest test would bring the mean over the bound, at the drift that the sums so far have."""
    alone = needed / NANO + math.log(len(state.tests))
    found = [
        when
        for test in state.errors
        if (when := _reached(test, alone, test.harm, WORSE_STAKES, lambda pair: pair[0])) is not None
    ]
    return min(found, default=None)


def _safe_in_s(state: Analysis, rules: Rules, needed: int) -> int | None:
    """When the last test would prove no harm, and the least exposure be reached."""
    found: list[int] = []
    for test in state.errors:
        when: int | None = 0
        if test.proof_nano < needed:
            when = _reached(test, needed / NANO, test.spared, SPARED_STAKES, lambda pair: pair[1])
        if when is None:
            return None
        found.append(when)
    for one in state.tests:
        lacking = max(0, rules.least_requests - one.stage[0])
        found += [max(0, rules.least_s - one.stage[1]), -(-lacking * one.stage[1] // max(1, one.stage[0]))]
    return max(found) if state.errors else None


def _reached(
    test: ErrorTest,
    needed: float,
    wealth: Wealth,
    weights: Sequence[float],
    side: Callable[[tuple[Array, Array]], Array],
) -> int | None:
    """Seconds until one alternative alone reaches the bound, if each second goes on to bring what the mean one did."""
    if not test.seconds:
        return None
    each = 1 / test.seconds
    per_second = side(
        gains(
            test,
            test.canary.bad * each,
            test.canary.total * each,
            test.baseline.bad * each,
            test.baseline.total * each,
        )
    ) / float(test.inflation)
    now = _floats(wealth, weights)
    waits = [
        max(0.0, needed - float(have)) / float(drift)
        for have, drift in zip(now[1:], per_second, strict=True)
        if drift > 1e-12
    ]
    return math.ceil(min(waits)) if waits else None


def _odds(nano: int) -> str:
    """Evidence for people: how many times more likely; ``1.3``, ``20``, ``71,808``."""
    nats = nano / NANO
    if nats > math.log(1e6):
        return "over 1,000,000"
    text = f"{math.exp(max(nats, -30)):.3g}" if nats >= math.log(10) else f"{math.exp(max(nats, -30)):.1f}"
    return text if "e" not in text else f"{math.exp(nats):,.0f}"


# --- as plain JSON --------------------------------------------------------------------------------------------------


def analysis_document(state: Analysis) -> dict[str, Any]:
    """Write the state as plain JSON, exactly: whole numbers, and fractions as text."""
    return {
        "errors": [
            {
                "name": one.name,
                "promised": str(one.promised),
                "tolerated": str(one.tolerated),
                "margin": str(one.margin),
                "inflation": str(one.inflation),
                "history": [one.history.bad, one.history.total],
                "canary": [one.canary.bad, one.canary.total],
                "baseline": [one.baseline.bad, one.baseline.total],
                "expectedNano": one.expected_nano,
                "seconds": one.seconds,
                "stage": list(one.stage),
                "harm": list(one.harm),
                "spared": list(one.spared),
                "proofNano": one.proof_nano,
            }
            for one in state.errors
        ],
        "latencies": [
            {
                "name": one.name,
                "inflation": str(one.inflation),
                "seen": list(one.seen),
                "canary": one.canary,
                "baseline": one.baseline,
                "seconds": one.seconds,
                "stage": list(one.stage),
                "harm": list(one.harm),
            }
            for one in state.latencies
        ],
        "peakNano": state.peak_nano,
    }


def read_analysis(document: Mapping[str, Any]) -> Analysis:
    """Read what `analysis_document` wrote; raises `DataError` for anything else."""
    try:
        return Analysis(
            errors=tuple(
                ErrorTest(
                    name=one["name"],
                    promised=Fraction(one["promised"]),
                    tolerated=Fraction(one["tolerated"]),
                    margin=Fraction(one["margin"]),
                    inflation=Fraction(one["inflation"]),
                    history=Counts(*one["history"]),
                    canary=Counts(*one["canary"]),
                    baseline=Counts(*one["baseline"]),
                    expected_nano=one["expectedNano"],
                    seconds=one["seconds"],
                    stage=(one["stage"][0], one["stage"][1]),
                    harm=tuple(one["harm"]),
                    spared=tuple(one["spared"]),
                    proof_nano=one["proofNano"],
                )
                for one in document["errors"]
            ),
            latencies=tuple(
                LatencyTest(
                    name=one["name"],
                    inflation=Fraction(one["inflation"]),
                    seen=tuple(one["seen"]),
                    canary=one["canary"],
                    baseline=one["baseline"],
                    seconds=one["seconds"],
                    stage=(one["stage"][0], one["stage"][1]),
                    harm=tuple(one["harm"]),
                )
                for one in document["latencies"]
            ),
            peak_nano=document["peakNano"],
        )
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise DataError(
            f"the kept state of a canary cannot be read: {error!r}", remedy="begin the analysis anew"
        ) from None
