"""The budget-bounded plan: what it promises holds in every run, and it is careful where the budget is short."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from benchmarks.trials import SEED, SIGNAL, Trials, two_by_two_evidence
from tightrope.base.errors import UsageError
from tightrope.delivery.canary import (
    Analysis,
    Batch,
    Counts,
    ErrorTest,
    Harm,
    Rules,
    Safe,
    Undecided,
    update,
    verdict,
)
from tightrope.delivery.planner import (
    Act,
    Plan,
    Progress,
    Promise,
    Reaction,
    Stage,
    Terms,
    detects_in_s,
    next_weight,
    plan,
    proves_in_s,
    slower,
)
from tightrope.delivery.planner import given as given_steps

THOUSANDTH = Fraction(1, 1000)
PLAIN = Terms(inflation=Fraction(1))
SAFE = Safe(0, 10**10, 0, "proven", ())
HARM = Harm(10**10, 0, 0, "worse", ())
EARLY = Undecided(0, 0, 0, "early", ())
SILENT = Undecided(0, 0, 0, "no traffic", (), silent=True)


def _promise(
    per_s: int | Fraction = 100, *, left: Fraction = Fraction(1), bad: Fraction = Fraction(1, 5000), name: str = "shop"
) -> Promise:
    """An objective of 99.9 % over 28 days."""
    allowed = per_s * 28 * 86400 * THOUSANDTH
    return Promise(name, allowed, allowed * left, Fraction(per_s), Fraction(per_s), bad, THOUSANDTH, THOUSANDTH)


def _by_time(slices: int = 40) -> Promise:
    """An objective in minutes."""
    rate = Fraction(1, 60)
    return Promise("uptime", Fraction(slices), Fraction(slices), rate, rate, Fraction(0), THOUSANDTH, THOUSANDTH, 60)


# --- the plan -------------------------------------------------------------------------------------------------------


def test_the_first_weight_is_what_the_step_rule_allows() -> None:
    found = plan([_promise()], PLAIN)
    allowance = Fraction(100 * 28 * 86400, 1000 * 100)
    for stage in found.stages[:-1]:
        assert stage.reserved
        assert stage.weight * 100 * 105 <= allowance
    assert found.stages[-1].weight == 1
    assert not found.stages[-1].reserved
    assert found.costs[0].allowance == allowance
    assert found.costs[0].in_flight == 100 * 105
    assert found.costs[0].share == Fraction(1, 100) + Fraction(100 * 105, 100 * 28 * 86400) * 1000
    assert found.costs[0].outage_s == round((allowance + 100 * 105) / 100)


def test_exposure_is_what_the_reference_table_has() -> None:
    """99.9 %, 28 days, five minutes of total failure: 1 % of the traffic takes 0.124 % of the budget."""
    promise = _promise()
    for weight, share in ((1, 0.124), (5, 0.62), (10, 1.24), (25, 3.1), (100, 12.4)):
        cost = promise.worst(Fraction(weight, 100), 300) / promise.allowed
        assert float(cost) * 100 == pytest.approx(share, rel=0.005)


def test_plenty_of_budget_is_fast_and_little_is_careful() -> None:
    durations: list[int] = []
    weights: list[Fraction] = []
    for left in (Fraction(1), Fraction(1, 4), Fraction(1, 20)):
        found = plan([_promise(left=left)], PLAIN)
        durations.append(found.duration_s)
        weights.append(found.proof_weight or Fraction(0))
    assert durations == sorted(durations)
    assert durations[0] < durations[-1]
    assert weights == sorted(weights, reverse=True)
    whole = plan([_promise()], replace(PLAIN, allowance=Fraction(1, 2)))
    assert all(stage.reserved for stage in whole.stages)
    assert whole.costs[0].in_flight == 0


def test_nothing_left_is_no_plan_and_says_so() -> None:
    for left in (Fraction(0), Fraction(-1, 5)):
        found = plan([_promise(), _promise(left=left, name="search")], PLAIN)
        assert found.stages == ()
        assert found.why == "nothing is left of the budget of search"
        assert next_weight(found, Progress(None, 0, (Fraction(0),) * 2, (0, 0))).act is Act.ASK


def test_an_allowance_below_one_step_is_no_plan_and_says_so() -> None:
    found = plan([_promise()], replace(PLAIN, allowance=Fraction(1, 10**7)))
    assert found.stages == ()
    assert found.why.startswith("even 0.1 % of the traffic could spend more of shop")


def test_low_traffic_is_said_to_be_too_low_to_tell() -> None:
    found = plan([_promise(Fraction(1, 5))], PLAIN)
    assert [one.after_s for one in found.detections] == [None, None, None]
    assert any("traffic too low: a 20 % canary cannot show 10× the errors in 6 h" in note for note in found.notes)
    plenty = plan([_promise(1000)], PLAIN)
    times = [one.after_s for one in plenty.detections]
    assert times == sorted(times, key=lambda one: one or 0, reverse=True)
    assert None not in times


def test_slices_of_time_get_no_help_from_weights() -> None:
    found = plan([_by_time()], replace(PLAIN, allowance=Fraction(1, 10)))
    assert all(stage.reserved for stage in found.stages)
    assert found.costs[0].allowance == 4
    assert plan([_by_time()], replace(PLAIN, allowance=Fraction(1, 20))).stages == ()
    both = plan([_promise(), _by_time()], replace(PLAIN, allowance=Fraction(1, 10)))
    assert both.stages[-1].weight == 1


def test_the_plan_fits_every_objective() -> None:
    tight = _promise(left=Fraction(1, 50), name="tight")
    found = plan([_promise(), tight], PLAIN)
    assert all(stage.weight * 100 * 105 <= PLAIN.allowance_of(tight) for stage in found.stages if stage.reserved)


shares = st.sampled_from([Fraction(1, 1000), Fraction(1, 100), Fraction(1, 20), Fraction(1, 4), Fraction(1)])
promises = st.builds(
    lambda per_s, left, bad: _promise(per_s, left=left, bad=bad),
    st.sampled_from([1, 10, 100, 3000]),
    shares,
    st.sampled_from([Fraction(0), Fraction(1, 10_000), Fraction(1, 2000)]),
)


@settings(deadline=None, max_examples=40)
@given(promises, shares, st.booleans(), st.sampled_from([Fraction(1), Fraction(2)]))
def test_every_plan_rises_to_all_of_the_traffic_and_stays_inside(
    promise: Promise, allowance: Fraction, guarded: bool, guard: Fraction
) -> None:
    terms = Terms(allowance=allowance, guarded=guarded, inflation=guard)
    found = plan([promise], terms)
    assert found.why
    assert found.costs[0].allowance <= allowance * promise.remaining
    if not found.stages:
        return
    assert all(one.weight < other.weight for one, other in pairwise(found.stages))
    assert found.stages[-1].weight == 1
    assert found.stages[0].reserved
    paid = Fraction(0)
    for stage in found.stages:
        paid += promise.background(stage.weight, stage.bake_s)
        assert paid <= found.costs[0].allowance
        if stage.reserved:
            assert paid + promise.worst(stage.weight, terms.reaction.total_s) <= found.costs[0].allowance
        else:
            assert promise.worst(stage.weight, terms.reaction.total_s) <= found.costs[0].in_flight
        assert terms.reaction.total_s <= stage.bake_s <= terms.longest_s


@settings(deadline=None, max_examples=30)
@given(promises, shares)
def test_caution_slows_down_by_itself(promise: Promise, allowance: Fraction) -> None:
    free = plan([promise], Terms(allowance=allowance))
    careful = plan([promise], Terms(allowance=allowance, guarded=True))
    assert careful.costs[0].allowance == free.costs[0].allowance / 2
    assume(careful.stages)
    assert free.stages
    assert careful.duration_s >= free.duration_s


def test_caution_begins_with_less_goes_in_smaller_steps_and_shows_smaller_regressions() -> None:
    free, careful = plan([_promise()], PLAIN), plan([_promise()], replace(PLAIN, guarded=True))
    assert careful.stages[0].weight < free.stages[0].weight
    assert len(careful.stages) > len(free.stages)
    assert any(stage.purpose.startswith("shows 2× the errors") for stage in careful.stages)
    assert any(stage.purpose.startswith("shows 5× the errors") for stage in free.stages)
    assert careful.duration_s > free.duration_s


# --- power ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("weight", "ratio"), [(Fraction(1, 2), 2), (Fraction(1, 2), 5), (Fraction(1, 20), 5)])
def test_a_regression_shows_within_the_time_that_was_said_in_four_of_five_cases(weight: Fraction, ratio: int) -> None:
    promise = _promise(20, bad=THOUSANDTH)
    seconds = detects_in_s(promise, weight, Fraction(ratio), PLAIN)
    assert seconds is not None
    looks = math.ceil(seconds / 60)
    rng = np.random.default_rng(SEED)
    canary, baseline = round(1200 * weight), round(1200 * (1 - weight))
    shape = (1500, looks)
    trials = Trials(rng.binomial(canary, 0.001 * ratio, shape), rng.binomial(baseline, 0.001, shape), canary, baseline)
    shown = float((two_by_two_evidence(trials).max(1) >= SIGNAL).mean())
    assert 0.76 <= shown <= 0.98


def test_no_harm_is_proven_within_the_time_that_was_said() -> None:
    promise = _promise(20, bad=THOUSANDTH)
    seconds = proves_in_s(promise, Fraction(1, 2), PLAIN)
    assert seconds is not None
    rng, proven = np.random.default_rng(SEED), 0
    for _ in range(60):
        state = Analysis((ErrorTest("shop", THOUSANDTH, THOUSANDTH, inflation=Fraction(1)),))
        for _ in range(math.ceil(seconds / 300)):
            arms = (Counts(int(rng.binomial(3000, 0.001)), 3000) for _ in range(2))
            canary, baseline = arms
            state = update(state, {"shop": Batch(canary, baseline, 300)})
        proven += isinstance(verdict(state, Rules(least_s=0)), Safe)
    assert proven >= 60 * 0.65


def test_a_cluster_guard_takes_longer_and_a_second_objective_a_little() -> None:
    promise = _promise(20)
    free, guarded = (
        detects_in_s(promise, Fraction(1, 2), Fraction(5), replace(PLAIN, inflation=one))
        for one in (Fraction(1), Fraction(2))
    )
    shared = detects_in_s(promise, Fraction(1, 2), Fraction(5), PLAIN, tests=2)
    assert free is not None
    assert guarded is not None
    assert shared is not None
    assert free < shared < guarded
    assert detects_in_s(promise, Fraction(1), Fraction(5), PLAIN) is None


# --- the step rule --------------------------------------------------------------------------------------------------


def _at(drawn: Plan, stage: int | None, **more: object) -> Progress:
    facts: dict[str, object] = {
        "since_s": 10**6,
        "spent": (Fraction(0),) * len(drawn.promises),
        "unseen_s": (60,) * len(drawn.promises),
        "verdict": EARLY,
    }
    return Progress(stage, **(facts | more))  # type: ignore[arg-type]


def test_it_begins_bakes_rises_and_takes_a_proof_where_total_failure_does_not_fit() -> None:
    drawn = plan([_promise()], PLAIN)
    begun = next_weight(drawn, _at(drawn, None, since_s=0, unseen_s=(0,), verdict=None))
    assert (begun.act, begun.weight, begun.stage) == (Act.RAISE, drawn.stages[0].weight, 0)
    baking = next_weight(drawn, _at(drawn, 0, since_s=drawn.stages[0].bake_s - 1))
    assert baking.act is Act.HOLD or drawn.stages[0].bake_s == PLAIN.reaction.total_s
    assert next_weight(drawn, _at(drawn, 0)).act is Act.RAISE
    top = len(drawn.stages) - 2
    assert next_weight(drawn, _at(drawn, top, since_s=drawn.stages[top].bake_s)).act is Act.HOLD
    assert next_weight(drawn, _at(drawn, top)).act is Act.ASK
    risen = next_weight(drawn, _at(drawn, top, since_s=PLAIN.reaction.total_s, verdict=SAFE))
    assert (risen.act, risen.weight) == (Act.RAISE, Fraction(1))
    assert next_weight(drawn, _at(drawn, top + 1)).act is Act.DONE
    assert next_weight(drawn, _at(drawn, top + 1, since_s=1, verdict=SAFE)).act is Act.HOLD


def test_harm_a_page_and_a_spent_allowance_roll_back_at_any_time() -> None:
    drawn = plan([_promise()], PLAIN)
    for number, stage in enumerate(drawn.stages):
        for more in ({"verdict": HARM}, {"paging": True}, {"spent": (drawn.costs[0].allowance,)}):
            found = next_weight(drawn, _at(drawn, number, since_s=0, **more))
            assert (found.act, found.weight, found.stage) == (Act.ROLL_BACK, Fraction(0), None)
            assert found.why
        if stage.reserved:
            room = drawn.costs[0].allowance - drawn.promises[0].worst(stage.weight, 105)
            assert next_weight(drawn, _at(drawn, number, spent=(room,))).act is not Act.ROLL_BACK
            assert next_weight(drawn, _at(drawn, number, spent=(room + 1,))).act is Act.ROLL_BACK


def test_without_data_it_waits_then_goes_back_before_the_allowance_could_be_spent() -> None:
    drawn = plan([_promise()], PLAIN)
    assert next_weight(drawn, _at(drawn, 0, verdict=SILENT)).act is Act.HOLD
    assert next_weight(drawn, _at(drawn, 0, verdict=None)).act is Act.HOLD
    assert next_weight(drawn, _at(drawn, 0, unseen_s=(61,))).act is Act.HOLD
    longest = drawn.costs[0].allowance / (drawn.stages[0].weight * 100) - 45
    assert next_weight(drawn, _at(drawn, 0, unseen_s=(int(longest),))).act is Act.HOLD
    assert next_weight(drawn, _at(drawn, 0, unseen_s=(int(longest) + 1,))).act is Act.ROLL_BACK
    blind = next_weight(drawn, _at(drawn, len(drawn.stages) - 1, unseen_s=(61,)))
    assert blind.act is Act.LOWER
    assert drawn.stages[blind.stage or 0].reserved


@dataclass(frozen=True, slots=True)
class _World:
    """What may happen in a run, piece by piece; each list is gone through again and again.

    Attributes:
        failing: Seconds and how many of a thousand canary requests are bad.
        traffic: Seconds and how many of a thousand of the peak's requests come.
        blind: Seconds and whether telemetry comes through.
        verdicts: What the analysis says, evaluation by evaluation.
        delays: Seconds that a change of weight takes.
        lags: Seconds by which telemetry is late.
    """

    failing: list[tuple[int, int]]
    traffic: list[tuple[int, int]]
    blind: list[tuple[int, bool]]
    verdicts: list[Safe | Undecided | Harm | None]
    delays: list[int]
    lags: list[int]


REACTION = Reaction(20, 5, 10)


def _second(pieces: list[tuple[int, int]] | list[tuple[int, bool]], second: int) -> int:
    at = second % sum(length for length, _ in pieces)
    for length, value in pieces:
        if at < length:
            return int(value)
        at -= length
    raise AssertionError


def _spent(drawn: Plan, world: _World, *, seconds: int) -> Fraction:
    """Run a rollout second by second and tell what its canary spent in all, in events."""
    peak = drawn.promises[0].peak
    stage: int | None = None
    weight, coming = Fraction(0), Fraction(0)
    landing: list[tuple[int, Fraction]] = []  # what was asked of the target lands in its order
    total, spent, seen_until, since = Fraction(0), [Fraction(0)], 0, 0
    for now in range(seconds):
        while landing and landing[0][0] <= now:
            weight, since = landing.pop(0)[1], now
        if now % REACTION.evaluate_s == 0:
            if not _second(world.blind, now):
                seen_until = max(seen_until, now - world.lags[now // 5 % len(world.lags)])
            unseen = now - seen_until
            settled = now - since if weight == coming else 0
            said = world.verdicts[now // 5 % len(world.verdicts)]
            step = next_weight(drawn, Progress(stage, settled, (spent[seen_until],), (unseen,), said))
            if step.weight != coming:
                coming = step.weight
                lands = now + world.delays[now // 5 % len(world.delays)]
                landing.append((max(lands, landing[-1][0] if landing else 0), coming))
            stage = step.stage
            if stage is None and step.act is not Act.RAISE and now:
                if weight == 0 and coming == 0:
                    break
                coming = Fraction(0)
                for second in range(now, landing[-1][0] if landing else now):
                    while landing and landing[0][0] <= second:
                        weight = landing.pop(0)[1]
                    total += weight * peak * _flow(world, second)
                return total
        total += weight * peak * _flow(world, now)
        spent.append(total)
    return total


def _flow(world: _World, second: int) -> Fraction:
    return Fraction(_second(world.traffic, second) * _second(world.failing, second), 10**6)


lengths = st.integers(1, 90)
thousandths = st.sampled_from([0, 0, 0, 1, 5, 100, 500, 1000])
worlds = st.builds(
    _World,
    st.lists(st.tuples(lengths, thousandths), min_size=1, max_size=6),
    st.lists(st.tuples(lengths, st.sampled_from([0, 100, 900, 1000, 1000])), min_size=1, max_size=3),
    st.lists(st.tuples(lengths, st.booleans()), min_size=1, max_size=3).map(lambda found: [(200, False), *found]),
    st.lists(st.sampled_from([SAFE, SAFE, EARLY, SILENT, None]), min_size=1, max_size=5),
    st.lists(st.integers(0, REACTION.act_s), min_size=1, max_size=4),
    st.lists(st.integers(0, REACTION.measure_s), min_size=1, max_size=4),
)


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(
    worlds,
    st.sampled_from([Fraction(1, 1000), Fraction(1, 100), Fraction(1, 10)]),
    st.booleans(),
)
def test_no_run_ever_spends_more_than_the_allowance_and_what_was_declared_in_flight(
    world: _World, allowance: Fraction, guarded: bool
) -> None:
    drawn = plan(
        [_promise(3000, bad=Fraction(1, 5000))],
        Terms(allowance=allowance, guarded=guarded, reaction=REACTION, inflation=Fraction(1)),
    )
    assume(drawn.stages)
    found = _spent(drawn, world, seconds=900)
    assert found <= drawn.costs[0].at_most


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(worlds)
def test_where_all_of_the_traffic_fits_no_run_spends_more_than_the_allowance(world: _World) -> None:
    terms = Terms(allowance=Fraction(1, 20), reaction=REACTION, inflation=Fraction(1))
    drawn = plan([_promise(3000)], terms)
    assert drawn.costs[0].in_flight == 0
    assert _spent(drawn, world, seconds=900) <= drawn.costs[0].allowance


def test_the_bound_is_tight_total_failure_after_the_proof_spends_most_of_it() -> None:
    drawn = plan([_promise(3000)], Terms(reaction=REACTION, inflation=Fraction(1)))
    assert drawn.costs[0].in_flight
    worst = Fraction(0)
    for begin in range(50, 200):
        world = _World([(begin, 0), (10_000, 1000)], [(1, 1000)], [(1, False)], [SAFE], [REACTION.act_s], [20])
        worst = max(worst, _spent(drawn, world, seconds=1200))
    assert worst > drawn.costs[0].in_flight * Fraction(1, 2)
    assert worst <= drawn.costs[0].at_most


def test_a_weight_at_the_very_limit_keeps_the_allowance_whenever_and_however_it_fails() -> None:
    promise = _promise(3000)
    terms = Terms(reaction=REACTION, inflation=Fraction(1))
    allowance = terms.allowance_of(promise)
    limit = allowance / (promise.peak * REACTION.total_s)
    drawn = replace(plan([promise], terms), stages=(Stage(limit, 600, True, ""), Stage(Fraction(1), 600, False, "")))
    most = Fraction(0)
    for begin in range(20, 140, 3):
        for before in (0, 100, 300):
            world = _World([(begin, before), (9000, 1000)], [(1, 1000)], [(1, False)], [EARLY], [REACTION.act_s], [20])
            found = _spent(drawn, world, seconds=400)
            assert found <= allowance
            most = max(most, found)
    assert most > allowance * Fraction(9, 10)


def test_a_rollout_that_is_well_arrives_in_the_time_that_was_planned() -> None:
    drawn = plan([_promise(3000)], Terms(reaction=REACTION, inflation=Fraction(1)))
    stage, since, now = None, 0, 0
    for now in range(0, 40_000, 5):
        step = next_weight(
            drawn, Progress(stage, now - since, (Fraction(0),), (20,), SAFE if now - since > 60 else EARLY)
        )
        if step.act is Act.DONE:
            break
        if step.stage != stage:
            stage, since = step.stage, now
    assert now <= drawn.duration_s + 10 * len(drawn.stages)


def test_wrong_terms_are_refused() -> None:
    for share in (Fraction(0), Fraction(-1), Fraction(2)):
        with pytest.raises(UsageError, match="cannot be allowed"):
            Terms(allowance=share)
    with pytest.raises(UsageError, match="takes time"):
        Reaction(0, 1, 1)
    with pytest.raises(UsageError, match="as long as the reaction"):
        Terms(longest_s=10)
    with pytest.raises(UsageError, match="against promises"):
        plan([], PLAIN)
    drawn = plan([_promise()], PLAIN)
    with pytest.raises(UsageError, match="every promise"):
        next_weight(drawn, Progress(0, 0, (), ()))
    assert isinstance(drawn.stages[0], Stage)


# --- steps that are given -------------------------------------------------------------------------------------------


def test_given_steps_are_taken_as_they_are_and_their_cost_is_told() -> None:
    steps = [(Fraction(1, 100), 600), (Fraction(1, 2), 30)]
    drawn = given_steps([_promise()], PLAIN, steps)
    assert [(stage.weight, stage.bake_s) for stage in drawn.stages] == [
        (Fraction(1, 100), 600),
        (Fraction(1, 2), PLAIN.reaction.total_s),
        (Fraction(1), 2 * PLAIN.reaction.total_s),
    ]
    assert drawn.stages[0].reserved
    assert drawn.costs[0].in_flight == max(
        drawn.promises[0].worst(stage.weight, PLAIN.reaction.total_s) for stage in drawn.stages if not stage.reserved
    )
    careful = given_steps([_promise()], replace(PLAIN, guarded=True), steps)
    assert careful.stages[0].bake_s == 1200
    assert drawn.proof_weight == Fraction(1, 2)


def test_given_steps_that_make_no_sense_are_refused() -> None:
    for steps in ([], [(Fraction(1, 2), 60), (Fraction(1, 4), 60)], [(Fraction(0), 60)], [(Fraction(3, 2), 60)]):
        with pytest.raises(UsageError):
            given_steps([_promise()], PLAIN, steps)
    spent = given_steps([_promise(left=Fraction(0))], PLAIN, [(Fraction(1, 2), 60)])
    assert not spent.stages
    assert "nothing is left" in spent.why


def test_a_target_that_is_coarse_gets_weights_that_it_can_give() -> None:
    coarse = plan([_promise()], replace(PLAIN, grain=Fraction(1, 20)))
    assert coarse.stages
    assert all((stage.weight * 20).denominator == 1 for stage in coarse.stages)


def test_the_least_exposure_makes_bakes_longer() -> None:
    free, exposed = plan([_promise(1)], PLAIN), plan([_promise(1)], replace(PLAIN, least_requests=500))
    assert exposed.duration_s >= free.duration_s
    assert all(stage.bake_s * stage.weight >= 499 or stage.bake_s == PLAIN.longest_s for stage in exposed.stages)


@settings(deadline=None, max_examples=40)
@given(promises, shares, st.integers(0, 6))
def test_more_care_on_the_way_promises_no_other_cost(promise: Promise, allowance: Fraction, at: int) -> None:
    drawn = plan([promise], Terms(allowance=allowance, inflation=Fraction(1)))
    assume(drawn.stages)
    stage = min(at, len(drawn.stages) - 1)
    slow = slower(drawn, stage, planned=True)
    assert slow.stages[:stage] == drawn.stages[:stage]
    assert slow.stages[stage].bake_s == 2 * drawn.stages[stage].bake_s
    assert slow.costs == drawn.costs
    assert all(one.weight < other.weight for one, other in pairwise(slow.stages))
    assert slow.stages[-1].weight == 1
    reach = drawn.terms.reaction.total_s
    loose = [promise.worst(one.weight, reach) for one in slow.stages[stage + 1 :] if not one.reserved]
    assert max(loose, default=Fraction(0)) <= drawn.costs[0].in_flight


def test_a_bake_does_not_claim_to_show_what_it_cannot() -> None:
    few = replace(_promise(Fraction(1, 600)), allowed=Fraction(50), remaining=Fraction(50))
    drawn = plan([few], Terms(allowance=Fraction(1, 10)))
    assert {one.purpose for one in drawn.stages[:-1]} == {"shows what it can"}
    by_time = plan([_by_time(400)], Terms(allowance=Fraction(1, 2)))
    assert {one.purpose for one in by_time.stages[:-1]} == {"watched for slices that turn bad"}
