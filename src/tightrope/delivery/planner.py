"""The budget-bounded plan of a rollout: the fastest weights and bakes whose worst case stays inside the allowance.

The promise rests on arithmetic, not on statistics. A weight is taken, and kept, only while total failure of the canary
until a rollback takes effect would still fit into what is left of the allowance. Where the whole traffic does not fit,
the last stages take a proof of no harm, and what may be in flight when they fail is declared beforehand.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise

import numpy as np

from tightrope.base.errors import UsageError
from tightrope.base.units import span_text
from tightrope.delivery.canary import SPARED, SPARED_STAKES, WORSE, WORSE_STAKES, Harm, Safe, Undecided
from tightrope.delivery.evidence import USUAL_INFLATION, Array, bound, two_by_two, worse_by

WEIGHTS = tuple(Fraction(1, parts) for parts in (1000, 500, 200, 100, 50, 20, 10, 5, 4, 2))
"""The weights that a plan chooses from, besides all of the traffic."""

RATIOS = (2, 5, 10)
"""How many times more errors people ask about."""

ALL = Fraction(1)
_HALF_BAD = Fraction(1, 2)
_SHOWS_HALF = "shows whether half of the requests fail"
_POWER = 0.8416  # normal quantile of 80 %
_HEADROOM = 2
_LEAST_ERRORS = Fraction(1, 10)


@dataclass(frozen=True, slots=True)
class Reaction:
    """How long a failure goes on until a rollback takes effect, seconds, each above 0.

    Attributes:
        measure_s: How old the newest telemetry may be: the scrape interval, or the length of a slice, and its delay.
        evaluate_s: Time from one evaluation to the next.
        act_s: Time from a decision until the traffic has moved.
    """

    measure_s: int = 60
    evaluate_s: int = 15
    act_s: int = 30

    def __post_init__(self) -> None:
        if min(self.measure_s, self.evaluate_s, self.act_s) <= 0:
            raise UsageError("a reaction takes time", remedy="give more than 0 s for measuring, evaluating and acting")

    @property
    def total_s(self) -> int:
        """All of it: the longest that a failure can go on."""
        return self.measure_s + self.evaluate_s + self.act_s


@dataclass(frozen=True, slots=True)
class Promise:
    """What a plan needs to know of one objective.

    Attributes:
        name: Which objective.
        allowed, remaining: Bad units that the window bears, and how many of them are left; below 0 when overspent.
        peak: The most units a second that the worst case reckons with: the promise holds up to this traffic.
        usual: Units a second that detection may count on.
        bad_ratio: Share of bad units as the service runs now.
        allowed_ratio: Share of bad units that the objective allows.
        tolerated: Excess share of bad units that counts as no harm once proven.
        unit_s: Seconds that one unit stands for under the time-based methods, 0 for events. A slice may turn bad at any
            weight, so there the weight does not help.
    """

    name: str
    allowed: Fraction
    remaining: Fraction
    peak: Fraction
    usual: Fraction
    bad_ratio: Fraction
    allowed_ratio: Fraction
    tolerated: Fraction
    unit_s: int = 0

    def worst(self, weight: Fraction, seconds: int) -> Fraction:
        """Bad units if the canary fails totally at *weight* for so long."""
        if not weight:
            return Fraction(0)
        return Fraction(-(-seconds // self.unit_s) + 1) if self.unit_s else weight * self.peak * seconds

    def background(self, weight: Fraction, seconds: int) -> Fraction:
        """Bad units of a canary that is as good as its baseline: it pays them out of its allowance, too."""
        return (ALL if self.unit_s else weight) * self.usual * self.bad_ratio * seconds


@dataclass(frozen=True, slots=True)
class Terms:
    """Under which terms a rollout is planned.

    Attributes:
        allowance: Share of the budget, or of what is left of it if less, that the release may spend; ``(0, 1]``.
        guarded: The policy's state asks for care: half of the allowance, smaller first steps, and a bake that would
            show two times the errors, not five times.
        reaction: How long a failure goes on.
        alpha: Chance of a false alarm of the canary's test.
        inflation: Its cluster guard.
        longest_s: The longest bake of one stage; what cannot be told until then, a person decides.
        least_requests: Requests that the canary must have had at a weight before a higher one.
        grain: The smallest share that the target can give; weights are multiples of it.
    """

    allowance: Fraction = Fraction(1, 100)
    guarded: bool = False
    reaction: Reaction = Reaction()
    alpha: Fraction = Fraction(1, 20)
    inflation: Fraction = USUAL_INFLATION
    longest_s: int = 6 * 3600
    least_requests: int = 0
    grain: Fraction = Fraction(1, 10_000)

    def __post_init__(self) -> None:
        if not 0 < self.allowance <= 1:
            raise UsageError(
                f"a release cannot be allowed {_percent(self.allowance)} of the budget",
                remedy="give a share above 0 and at most 100 %",
            )
        if self.longest_s < self.reaction.total_s:
            raise UsageError("a stage must last as long as the reaction at least", remedy="give a longer longest bake")

    def weights(self) -> tuple[Fraction, ...]:
        """The weights to choose from that the target can give."""
        return tuple(one for one in WEIGHTS if (one / self.grain).denominator == 1)

    def share(self) -> Fraction:
        """The share that is given out: half of the allowance where care is asked for."""
        return self.allowance / 2 if self.guarded else self.allowance

    def allowance_of(self, promise: Promise) -> Fraction:
        """Bad units that the release may spend of one promise; never below 0."""
        return self.share() * max(Fraction(0), min(promise.remaining, promise.allowed))


@dataclass(frozen=True, slots=True)
class Stage:
    """One weight and how long it bakes.

    Attributes:
        weight: Share of the traffic that meets the new version, ``(0, 1]``.
        bake_s: How long, unless proof of no harm comes sooner.
        reserved: Total failure here fits into the allowance; else the stage takes a proof, and declares what may be in
            flight.
        purpose: What the bake is for, in a few words.
    """

    weight: Fraction
    bake_s: int
    reserved: bool
    purpose: str


@dataclass(frozen=True, slots=True)
class Cost:
    """What the rollout can cost one promise at most, in its units.

    Attributes:
        allowance: What it may spend.
        in_flight: What may be spent beyond it, after a proof of no harm, until a rollback takes effect; 0 where even
            all of the traffic fits.
        share: Allowance and flight together as a share of the whole budget; None without a budget.
        outage_s: The same as seconds of total outage at usual traffic; None without traffic.
    """

    name: str
    allowance: Fraction
    in_flight: Fraction
    share: Fraction | None
    outage_s: int | None

    @property
    def at_most(self) -> Fraction:
        """Allowance and flight together."""
        return self.allowance + self.in_flight


@dataclass(frozen=True, slots=True)
class Detection:
    """How soon a regression shows at the weight of the proof.

    Attributes:
        ratio: How many times the errors.
        after_s: Within this time in 80 % of all cases; None: not within the longest bake, traffic is too low to tell.
        cost: Bad units of the canary until then, of the promise that shows it last; None with *after_s*.
    """

    ratio: int
    after_s: int | None
    cost: Fraction | None


@dataclass(frozen=True, slots=True)
class Plan:
    """A rollout that stays inside its allowance.

    Attributes:
        stages: Rising weights, the last one all of the traffic; none: no weight fits, and *why* tells.
        costs: One for each promise.
        detections: What shows in what time at *proof_weight*.
        proof_weight: Where the canary is compared longest; None without stages.
        why: What keeps the rollout from being faster, or from beginning; one sentence.
        notes: What else is to be known.
    """

    promises: tuple[Promise, ...]
    terms: Terms
    stages: tuple[Stage, ...]
    costs: tuple[Cost, ...]
    detections: tuple[Detection, ...]
    proof_weight: Fraction | None
    why: str
    notes: tuple[str, ...] = ()

    @property
    def duration_s(self) -> int:
        """How long a healthy rollout takes, if no proof comes sooner."""
        return sum(stage.bake_s for stage in self.stages)


# --- power ----------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=4096)
def detects_in_s(promise: Promise, weight: Fraction, ratio: Fraction, terms: Terms, *, tests: int = 1) -> int | None:
    """Tell within what time the 2x2 test shows a regression in 80 % of all cases; None: it never does.

    The evidence drifts by its mean and spreads by its variance, both times traffic; the bound is ln(tests/α) and what
    the right one of several alternatives costs. The cluster guard divides the evidence, and clusters widen its spread.

    Args:
        weight: Share of the traffic on the canary.
        ratio: How many times the errors of the baseline, above 1.
        tests: How many objectives share the bound.
    """
    usual = float(usual_errors(promise))
    worse = min(float(ratio) * usual, 0.999)
    needed = bound(terms.alpha) + math.log(tests)
    alternatives = worse_by(usual, np.array(WORSE))
    return _reaches_in_s(promise, weight, (worse, usual), alternatives, WORSE_STAKES, 0.0, needed, terms)


@lru_cache(maxsize=4096)
def proves_in_s(promise: Promise, weight: Fraction, terms: Terms) -> int | None:
    """Tell within what time a canary as good as its baseline is proven harmless in 80 % of all cases; None: never.

    Harm is an excess of `Promise.tolerated`.
    """
    usual, tolerated = float(usual_errors(promise)), float(promise.tolerated)
    alternatives = usual + tolerated * np.array(SPARED)
    needed = bound(terms.alpha)
    return _reaches_in_s(promise, weight, (usual, usual), alternatives, SPARED_STAKES, tolerated, needed, terms)


def _reaches_in_s(
    promise: Promise,
    weight: Fraction,
    truth: tuple[float, float],
    alternatives: Array,
    weights: Sequence[float],
    margin: float,
    needed: float,
    terms: Terms,
) -> int | None:
    """When one of the alternatives reaches the bound in 80 % of all cases, if both arms err as *truth* has it.

    Evidence drifts by its mean and spreads by its variance, both times traffic.
    """
    if promise.unit_s or not promise.usual or not 0 < weight < 1:
        return None
    flows = float(promise.usual * weight), float(promise.usual * (1 - weight))
    guard = float(terms.inflation)
    # log e-values are linear in the counts, so one bad and one good request of each arm tell all of it
    single = ([1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 1, 1])
    hits, calls, others, more = (np.array(each) for each in single)
    worth = two_by_two(hits, calls, others, more, alternatives[:, None], truth[1], margin=margin, split=flows)
    found: list[float] = []
    for (canary_bad, canary_good, baseline_bad, baseline_good), stake in zip(worth, weights[1:], strict=True):
        drift = variance = 0.0
        arms = ((canary_bad, canary_good), (baseline_bad, baseline_good))
        for flow, share, (bad, good) in zip(flows, truth, arms, strict=True):
            drift += flow * (share * float(bad) + (1 - share) * float(good)) / guard
            variance += flow * share * (1 - share) * float(bad - good) ** 2 / guard
        if drift <= 0:
            continue
        reach = _POWER * math.sqrt(variance)
        missing = needed - math.log(stake)
        found.append(((reach + math.sqrt(reach * reach + 4 * drift * missing)) / (2 * drift)) ** 2)
    return math.ceil(min(found)) if found and min(found) < 1e12 else None


def usual_errors(promise: Promise) -> Fraction:
    """The share of errors that a regression multiplies: what is measured, at least a tenth of what is allowed."""
    floor = max(promise.allowed_ratio * _LEAST_ERRORS, Fraction(1, 10**7))
    return min(max(promise.bad_ratio, floor), Fraction(999, 1000))


# --- the plan -------------------------------------------------------------------------------------------------------


def plan(promises: Sequence[Promise], terms: Terms) -> Plan:
    """Draw up the fastest rollout whose worst case stays inside the allowance of every promise.

    Raises:
        UsageError: There is no promise.
    """
    if not promises:
        raise UsageError("a rollout is planned against promises", remedy="name a service that has an SLO")
    return _drawn(tuple(promises), terms)


@lru_cache(maxsize=64)
def _drawn(known: tuple[Promise, ...], terms: Terms) -> Plan:
    spent = [one.name for one in known if terms.allowance_of(one) <= 0]
    if spent:
        return _none(known, terms, f"nothing is left of the budget of {' and '.join(spent)}")
    best: tuple[int, Fraction, tuple[Stage, ...], Fraction | None] | None = None
    for watched in (*((Fraction(2),) if terms.guarded else ()), Fraction(5), Fraction(10), Fraction(0), None):
        for weight in terms.weights():
            stages = _stages(known, terms, weight, watched)
            if stages is None:
                continue
            length = sum(stage.bake_s for stage in stages)
            # the fastest; where nothing tells, the one that tells most
            if best is None or watched is None or length < best[0]:
                best = length, weight, stages, watched
        if best is not None:
            break
    if best is None:
        return _none(known, terms, _why_none(known, terms))
    _, weight, stages, watched = best
    detections = tuple(_detection(known, terms, weight, ratio) for ratio in RATIOS)
    return Plan(
        known,
        terms,
        stages,
        tuple(_cost(one, terms, stages) for one in known),
        detections,
        weight,
        _limit(known, terms, weight, watched),
        tuple(_notes(known, terms, stages, weight, watched)),
    )


def _stages(
    promises: tuple[Promise, ...], terms: Terms, proof: Fraction, watched: Fraction | None
) -> tuple[Stage, ...] | None:
    """The stages with the proof at one weight; None where they do not fit, or do not tell in time.

    Args:
        watched: How many times the errors the bake is to show; 0 stands for half of the requests, None for nothing.
    """
    first = max((one for one in terms.weights() if one <= proof / (10 if terms.guarded else 4)), default=None)
    between = max((one for one in terms.weights() if one <= proof / 3), default=None) if terms.guarded else None
    reaction_s = terms.reaction.total_s
    before = sorted({one for one in (first, between) if one is not None})
    ladder = [(weight, _slowest(promises, weight, Fraction(0), terms), _SHOWS_HALF) for weight in before]
    if watched is None:
        compared = any(not one.unit_s for one in promises)
        can = "shows what it can" if compared else "watched for slices that turn bad"
        ladder = [
            (
                weight,
                min(told or reaction_s, terms.longest_s),
                says if compared and told is not None and told <= terms.longest_s else can,
            )
            for weight, told, says in ladder
        ]
        ladder.append((proof, terms.longest_s, can))
    else:
        purpose = f"shows {watched}× the errors" if watched else _SHOWS_HALF
        told = _slowest(promises, proof, watched, terms)
        if terms.guarded and told is not None and told <= terms.longest_s and watched not in {2, 5}:
            told = terms.longest_s  # care that can show so little takes all the time it has
        ladder.append((proof, told, purpose))
    if terms.guarded and proof < _HALF_BAD:
        ladder.append((_HALF_BAD, ladder[-1][1], "shows what only load brings out"))
    ladder.append((ALL, reaction_s * (4 if terms.guarded else 2), "watched for a burn that pages"))
    stages: list[Stage] = []
    paid = [Fraction(0)] * len(promises)
    for place, (weight, told_s, purpose) in enumerate(ladder):
        if told_s is None or told_s > terms.longest_s:
            return None
        seconds = max(reaction_s, told_s, min(_exposed_s(promises, weight, terms), terms.longest_s))
        after = _after(promises, paid, weight, seconds)
        reserved = _is_inside(promises, terms, after, weight)
        if not reserved and weight <= proof:
            return None
        if place + 1 < len(ladder) and not _is_inside(promises, terms, after, ladder[place + 1][0]):
            proven = _slowest_proof(promises, weight, terms)
            if watched is not None:
                if proven is None or proven > terms.longest_s:
                    return None
                if proven > seconds:
                    seconds, purpose = proven, f"{purpose}, and proves no harm"
            after = _after(promises, paid, weight, seconds)
            reserved = _is_inside(promises, terms, after, weight)
            if not reserved and weight <= proof:
                return None
        if any(spent > terms.allowance_of(one) for one, spent in zip(promises, after, strict=True)):
            return None  # errors as they are now would end it, though the release is fine
        stages.append(Stage(weight, seconds, reserved, purpose))
        paid = after
    return tuple(stages)


def given(
    promises: Sequence[Promise], terms: Terms, steps: Sequence[tuple[Fraction, int]], *, beyond: bool = False
) -> Plan:
    """Take weights and bakes as they were given, and tell what they can cost at most.

    Where care is asked for, bakes are twice as long. What does not fit into the allowance takes a proof; the first
    step has nothing before it that could prove anything, so there somebody must have accepted the cost.

    Args:
        steps: Rising weights, each with its bake in seconds; all of the traffic is added where it is missing.
        beyond: The first step may cost more than the allowance.

    Raises:
        UsageError: There is no promise or no step, or the weights do not rise.
    """
    if not promises or not steps:
        raise UsageError("a rollout is planned against promises, in steps", remedy="name an SLO, and one step or more")
    known = tuple(promises)
    ladder = [*steps] if steps[-1][0] >= ALL else [*steps, (ALL, 2 * _reach(terms))]
    weights = [Fraction(0), *(weight for weight, _ in ladder)]
    if any(one >= other for one, other in pairwise(weights)) or weights[-1] > ALL:
        raise UsageError("the weights of a rollout rise, up to 100 %", remedy="give each step more than the last")
    spent = [one.name for one in known if terms.allowance_of(one) <= 0]
    if spent:
        return _none(known, terms, f"nothing is left of the budget of {' and '.join(spent)}")
    stages: list[Stage] = []
    paid = [Fraction(0)] * len(known)
    for weight, bake_s in ladder:
        seconds = max(_reach(terms), bake_s * (2 if terms.guarded else 1))
        inside = _is_inside(known, terms, paid, weight)
        if not inside and not stages and not beyond:
            return _none(known, terms, _why_beyond(known, terms, weight))
        stages.append(Stage(weight, seconds, inside, "as given"))
        paid = _after(known, paid, weight, seconds)
    costs = tuple(_cost(one, terms, stages) for one in known)
    proof = next((stage.weight for stage in reversed(stages) if stage.weight < ALL), None)
    detections = tuple(_detection(known, terms, proof, ratio) for ratio in RATIOS) if proof else ()
    notes = []
    if any(before > terms.allowance_of(one) for one, before in zip(known, paid, strict=True)):
        notes.append("errors as they are now would spend the allowance before the end, though the release is fine")
    if any(not stage.reserved for stage in stages[1:]):
        notes.append("where total failure does not fit, the stage takes a proof of no harm, and its flight is declared")
    return Plan(known, terms, tuple(stages), costs, detections, proof, "weights and bakes are as given", tuple(notes))


def _why_beyond(promises: Sequence[Promise], terms: Terms, weight: Fraction) -> str:
    reach = _reach(terms)
    one = next(one for one in promises if one.worst(weight, reach) > terms.allowance_of(one))
    return (
        f"{_percent(weight)} of the traffic could spend {float(one.worst(weight, reach)):,.1f} of {one.name} "
        f"within the {span_text(reach)} until a rollback, and the allowance is {float(terms.allowance_of(one)):,.1f}"
    )


def slower(plan: Plan, stage: int | None, *, planned: bool) -> Plan:
    """The same rollout with more care from its present stage on: smaller steps, longer bakes, the same promise of cost.

    Args:
        stage: Where it is; None: before the first weight.
        planned: Its steps may be drawn up anew; given ones only bake longer.
    """
    if not plan.stages:
        return plan
    kept = plan.stages[: 0 if stage is None else stage + 1]
    weight = kept[-1].weight if kept else Fraction(0)
    rest = plan.stages[len(kept) :]
    if planned:
        guarded = _drawn(plan.promises, replace(plan.terms, guarded=True))
        rest = tuple(one for one in guarded.stages if one.weight > weight) or rest
    stages = [replace(one, bake_s=2 * one.bake_s) if one is kept[-1] else one for one in kept]
    for one in rest:
        inside = _is_inside(plan.promises, plan.terms, [Fraction(0)] * len(plan.promises), one.weight)
        stages.append(replace(one, bake_s=one.bake_s if planned else 2 * one.bake_s, reserved=inside))
    return replace(plan, stages=tuple(stages), notes=(*plan.notes, "slowed down: the policy asks for care now"))


def _exposed_s(promises: Sequence[Promise], weight: Fraction, terms: Terms) -> int:
    """How long the canary takes for the requests that it must have had."""
    flows = [one.usual * weight for one in promises if not one.unit_s and one.usual]
    return math.ceil(terms.least_requests / min(flows)) if terms.least_requests and flows else 0


def _after(promises: Sequence[Promise], paid: Sequence[Fraction], weight: Fraction, seconds: int) -> list[Fraction]:
    """What the errors there are anyway may have cost after a bake."""
    return [before + _HEADROOM * one.background(weight, seconds) for one, before in zip(promises, paid, strict=True)]


def _is_inside(promises: Sequence[Promise], terms: Terms, paid: Sequence[Fraction], weight: Fraction) -> bool:
    return all(
        before + one.worst(weight, _reach(terms)) <= terms.allowance_of(one)
        for one, before in zip(promises, paid, strict=True)
    )


def _slowest_proof(promises: Sequence[Promise], weight: Fraction, terms: Terms) -> int | None:
    """When the last test would prove no harm; None where one never does, or there is none."""
    found = [proves_in_s(one, weight, terms) for one in promises if not one.unit_s]
    known = [one for one in found if one is not None]
    return max(known) if known and len(known) == len(found) else None


def _why_none(promises: Sequence[Promise], terms: Terms) -> str:
    least = min(terms.weights(), default=ALL)
    for one in promises:
        if one.worst(least, _reach(terms)) > terms.allowance_of(one):
            return (
                f"even {_percent(least)} of the traffic could spend more of {one.name} than its allowance of "
                f"{float(terms.allowance_of(one)):,.1f} within the {span_text(_reach(terms))} until a rollback"
            )
    return "a canary no worse than what runs now would spend the allowance on the errors there are anyway"


def _reach(terms: Terms) -> int:
    return terms.reaction.total_s


def _slowest(promises: Sequence[Promise], weight: Fraction, ratio: Fraction, terms: Terms) -> int | None:
    """When the slowest test would tell; None where one never does. A *ratio* of 0: that half of the requests fail."""
    asked = [one for one in promises if not one.unit_s]
    found: list[int] = []
    for one in asked:
        times = ratio or max(Fraction(2), _HALF_BAD / usual_errors(one))
        seconds = detects_in_s(one, weight, times, terms, tests=len(asked))
        if seconds is None:
            return None
        found.append(seconds)
    return max(found, default=None)


def _detection(promises: tuple[Promise, ...], terms: Terms, weight: Fraction, ratio: int) -> Detection:
    seconds = _slowest(promises, weight, Fraction(ratio), terms)
    if seconds is None or seconds > terms.longest_s:
        return Detection(ratio, None, None)
    seconds = max(seconds, terms.reaction.total_s)
    asked = [one for one in promises if not one.unit_s]
    slow = max(asked, key=lambda one: detects_in_s(one, weight, Fraction(ratio), terms, tests=len(asked)) or 0)
    return Detection(ratio, seconds, weight * slow.usual * min(ALL, usual_errors(slow) * ratio) * seconds)


def _cost(promise: Promise, terms: Terms, stages: Sequence[Stage]) -> Cost:
    in_flight = max(
        (promise.worst(stage.weight, _reach(terms)) for stage in stages if not stage.reserved), default=Fraction(0)
    )
    allowance = terms.allowance_of(promise)
    most = allowance + in_flight
    return Cost(
        promise.name,
        allowance,
        in_flight,
        most / promise.allowed if promise.allowed else None,
        round(most * promise.unit_s if promise.unit_s else most / promise.usual) if promise.usual else None,
    )


def _none(promises: tuple[Promise, ...], terms: Terms, why: str) -> Plan:
    nothing = tuple(Cost(one.name, terms.allowance_of(one), Fraction(0), Fraction(0), 0) for one in promises)
    return Plan(promises, terms, (), nothing, (), None, why)


def _limit(promises: Sequence[Promise], terms: Terms, proof: Fraction, watched: Fraction | None) -> str:
    larger = min((one for one in (*terms.weights(), ALL) if one > proof), default=ALL)
    for one in promises:
        if one.worst(larger, _reach(terms)) > terms.allowance_of(one):
            return f"more than {_percent(proof)} could spend the allowance of {one.name} before a rollback takes effect"
    if not watched:
        return "the traffic is too low to tell a regression from chance"
    return f"the bake is what it takes to show {watched}× the errors, or no harm, at this traffic"


def _notes(
    promises: Sequence[Promise], terms: Terms, stages: Sequence[Stage], proof: Fraction, watched: Fraction | None
) -> list[str]:
    found: list[str] = []
    blind = [one.name for one in promises if one.unit_s]
    if blind:
        found.append(f"{', '.join(blind)} counts slices of time, so a canary's requests cannot be compared by it")
    shown = _slowest(promises, proof, Fraction(RATIOS[-1]), terms)
    if shown is None or shown > terms.longest_s:
        found.append(
            f"traffic too low: a {_percent(proof)} canary cannot show {RATIOS[-1]}× the errors in "
            f"{span_text(terms.longest_s)}"
        )
    if any(not stage.reserved for stage in stages):
        found.append("where total failure does not fit, the stage takes a proof of no harm, and its flight is declared")
        if watched is None:
            found.append(f"no such proof is to be expected within {span_text(terms.longest_s)}; then a person decides")
    if terms.guarded:
        found.append("guarded: half of the allowance, smaller first steps, longer bakes")
    return found


def _percent(share: Fraction) -> str:
    return f"{float(share * 100):.4g} %"


# --- the step rule --------------------------------------------------------------------------------------------------


class Act(StrEnum):
    """What a rollout does next."""

    HOLD = "hold"
    RAISE = "raise"
    LOWER = "lower"
    ASK = "ask"
    DONE = "done"
    ROLL_BACK = "rollback"


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a rollout is.

    Attributes:
        stage: Index of its stage; None: it has not begun, and all of the traffic meets the old version.
        since_s: Seconds since the weight has taken effect.
        spent: Bad units of the canary that were seen so far, one number for each promise, in the plan's order.
        unseen_s: Age of the newest telemetry, seconds, one number for each promise.
        verdict: What the analysis says; None: there is none yet.
        paging: A page-level burn is out for the service.
    """

    stage: int | None
    since_s: int
    spent: tuple[Fraction, ...]
    unseen_s: tuple[int, ...]
    verdict: Safe | Undecided | Harm | None = None
    paging: bool = False


@dataclass(frozen=True, slots=True)
class NextStep:
    """The next step, the weight and stage it leads to (None: back to the old version), and why, in one sentence."""

    act: Act
    weight: Fraction
    stage: int | None
    why: str


def next_weight(plan: Plan, progress: Progress) -> NextStep:
    """Tell what the rollout does now. To be asked at least every `Reaction.evaluate_s`.

    A rollback goes before all else, and none of it takes data. A weight is kept only while total failure until the next
    decision takes effect would still fit, counting all that nobody has seen yet as bad; without telemetry that room
    shrinks by itself. So the canary spends the allowance at most, and after a proof what was declared as in flight.
    """
    if len(progress.spent) != len(plan.promises) or len(progress.unseen_s) != len(plan.promises):
        raise UsageError("a rollout's progress must speak of every promise of its plan, in order")
    if progress.stage is None:
        return _begin(plan, progress)
    here = plan.stages[progress.stage]
    danger = _danger(plan, progress, here)
    if danger:
        return NextStep(Act.ROLL_BACK, Fraction(0), None, danger)
    if not here.reserved and max(progress.unseen_s) > plan.terms.reaction.measure_s:
        why = f"nothing was measured for {span_text(max(progress.unseen_s))}, and this weight is not covered blindly"
        back = max((number for number, stage in enumerate(plan.stages) if stage.reserved), default=None)
        if back is None or back > progress.stage:
            return NextStep(Act.ROLL_BACK, Fraction(0), None, why)
        return NextStep(Act.LOWER, plan.stages[back].weight, back, why)
    return _onward(plan, progress, here, progress.stage)


def _begin(plan: Plan, progress: Progress) -> NextStep:
    if not plan.stages:
        return NextStep(Act.ASK, Fraction(0), None, plan.why)
    if plan.stages[0].reserved and not _fits(plan, progress, plan.stages[0].weight):
        return NextStep(Act.ASK, Fraction(0), None, "the first weight does not fit into the allowance now")
    return NextStep(Act.RAISE, plan.stages[0].weight, 0, plan.stages[0].purpose)


def _danger(plan: Plan, progress: Progress, here: Stage) -> str:
    """Why the rollout must go back now; empty: it need not."""
    if isinstance(progress.verdict, Harm):
        return progress.verdict.why
    if progress.paging:
        return "the budget burns so fast that somebody is paged"
    for one, spent in zip(plan.promises, progress.spent, strict=True):
        if spent >= plan.terms.allowance_of(one):
            return f"the allowance of {one.name} is spent: {float(spent):,.1f}"
    if here.reserved and not _fits(plan, progress, here.weight):
        return "what is left of the allowance could be spent before the next decision takes effect"
    return ""


def _fits(plan: Plan, progress: Progress, weight: Fraction) -> bool:
    """Whether total failure at *weight*, seen and unseen, until the next decision takes effect is inside."""
    ahead = plan.terms.reaction.evaluate_s + plan.terms.reaction.act_s
    return all(
        spent + one.worst(weight, unseen + ahead) <= plan.terms.allowance_of(one)
        for one, spent, unseen in zip(plan.promises, progress.spent, progress.unseen_s, strict=True)
    )


def _onward(plan: Plan, progress: Progress, here: Stage, number: int) -> NextStep:
    def stay(why: str, act: Act = Act.HOLD) -> NextStep:
        return NextStep(act, here.weight, number, why)

    if progress.since_s < plan.terms.reaction.total_s:
        return stay("what this weight does is not seen yet")
    if max(progress.unseen_s) > plan.terms.reaction.measure_s:
        return stay("no telemetry: without data the rollout waits")
    safe = isinstance(progress.verdict, Safe)
    last = number + 1 == len(plan.stages)
    if progress.since_s < here.bake_s and (last or not safe):
        return stay(f"it bakes for another {span_text(here.bake_s - progress.since_s)}")
    if last:
        return NextStep(Act.DONE, here.weight, number, "all of the traffic has met it, and no alarm came")
    after = plan.stages[number + 1]
    silent = progress.verdict is None or (isinstance(progress.verdict, Undecided) and progress.verdict.silent)
    if silent and any(not one.unit_s for one in plan.promises):
        return stay("no traffic to compare: without data the rollout waits")
    if not after.reserved and not safe:
        late = progress.since_s >= max(here.bake_s, plan.terms.longest_s)
        why = f"{_percent(after.weight)} takes a proof of no harm"
        return stay(f"{why}; the longest bake is over", Act.ASK) if late else stay(why)
    if after.reserved and not _fits(plan, progress, after.weight):
        return stay(f"what is left of the allowance does not bear {_percent(after.weight)}", Act.ASK)
    return NextStep(Act.RAISE, after.weight, number + 1, after.purpose)
