"""A rollout turn by turn: it stays inside its allowance whatever happens, goes back after harm, waits without data."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from fractions import Fraction

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tightrope.base.errors import DataError
from tightrope.delivery.canary import Analysis, Batch, Counts, ErrorTest, Undecided
from tightrope.delivery.planner import Plan, Promise, Reaction, Terms, plan
from tightrope.delivery.planner import given as given_plan
from tightrope.delivery.rollout import (
    GIVE_UP_S,
    Asked,
    AskPerson,
    Conduct,
    Deed,
    Facts,
    Measured,
    Phase,
    Promote,
    RollBack,
    Rollout,
    Said,
    SetWeight,
    Word,
    prepared,
    read_rollout,
    rollout_memory,
    turn,
)
from tightrope.specs.model import WhenOver

NAME = "shop"
REACTION = Reaction(20, 5, 10)
THOUSANDTH = Fraction(1, 1000)
GO = Asked("go", "", "D-1")
BEGIN = 1_700_000_000


def _promise(per_s: int = 3000, *, left: Fraction = Fraction(1), bad: Fraction = Fraction(1, 5000)) -> Promise:
    allowed = Fraction(per_s * 28 * 86_400) * THOUSANDTH
    return Promise(NAME, allowed, allowed * left, Fraction(per_s), Fraction(per_s), bad, THOUSANDTH, THOUSANDTH)


def _terms(**more: object) -> Terms:
    return replace(Terms(reaction=REACTION, inflation=Fraction(1)), **more)  # type: ignore[arg-type]


def _analysis(guard: Fraction = Fraction(1)) -> Analysis:
    return Analysis((ErrorTest(NAME, THOUSANDTH, THOUSANDTH, inflation=guard, history=Counts(40, 200_000)),))


def _rollout(drawn: Plan, conduct: Conduct | None = None, analysis: Analysis | None = None) -> Rollout:
    return prepared(drawn, conduct or Conduct(least_s=20), _analysis() if analysis is None else analysis, BEGIN)


# --- a world to roll out in -----------------------------------------------------------------------------------------


@dataclass
class World:
    """Two versions behind a target, second by second; what may go wrong is a function of the second.

    Attributes:
        failing: Bad requests of the canary, in thousandths.
        traffic: Requests, in thousandths of the peak.
        sees: Whether telemetry comes through.
        keeps: Whether what did not come through is known later; else it never is.
        delay: Seconds until a change of weight has taken effect, at most what the plan reckons with.
        lag: Seconds by which telemetry is late.
        awake: Whether a turn is taken.
        words: What people say, by second.
        pages: Whether an alert pages.
        obeys: Whether the target does what it is asked.
        reachable: Whether the target can be seen.
    """

    drawn: Plan
    failing: Callable[[int], int] = lambda _: 0
    traffic: Callable[[int], int] = lambda _: 1000
    sees: Callable[[int], bool] = lambda _: True
    keeps: bool = True
    delay: Callable[[int], int] = lambda _: 1
    lag: Callable[[int], int] = lambda _: 1
    awake: Callable[[int], bool] = lambda _: True
    words: dict[int, Said] = field(default_factory=dict)
    pages: Callable[[int], bool] = lambda _: False
    guarded: Callable[[int], bool] = lambda _: False
    obeys: Callable[[int], bool] = lambda _: True
    reachable: Callable[[int], bool] = lambda _: True
    baseline_failing: Callable[[int], int] = lambda _: 0

    state: Rollout | None = None
    spent: int = 0
    record: list[tuple[Facts, int, Rollout, tuple[Deed, ...]]] = field(default_factory=list)
    weight: Fraction = Fraction(0)
    promoted: bool = False

    def run(self, state: Rollout, seconds: int) -> Rollout:
        """Live through it, and let what is still in flight land."""
        coming: list[tuple[int, Fraction]] = []  # what was asked of the target lands in its order
        log: list[tuple[int, int, int, int]] = []  # canary bad, canary total, baseline bad, baseline total
        missing: set[int] = set()
        counted_to, said, heard = 0, [], 0
        for now in range(seconds):
            while coming and coming[0][0] <= now:
                self.weight = coming.pop(0)[1]
            peak = int(self.drawn.promises[0].peak)
            calls = peak * self.traffic(now) // 1000
            canary = int(calls * self.weight)
            bad = canary * self.failing(now) // 1000
            others = calls - canary
            log.append((bad, canary, others * self.baseline_failing(now) // 1000, others))
            if state.phase is not Phase.PROMOTED:
                self.spent += bad
            if not self.sees(now) and not self.keeps:
                missing.add(now)
            if now in self.words:
                heard += 1
                said.append(Word(heard, self.words[now], "ada"))
            if now % REACTION.evaluate_s or not self.awake(now) or state.phase.over:
                continue
            until = max(counted_to, now - self.lag(now)) if self.sees(now) else counted_to
            measured: tuple[Measured, ...] = ()
            if until > counted_to and state.begun_at is not None:
                begun = state.begun_at - BEGIN
                known = [log[one] for one in range(max(counted_to, begun), until) if one not in missing]
                sums = [sum(row[place] for row in known) for place in range(4)]
                batch = Batch(Counts(sums[0], sums[1]), Counts(sums[2], sums[3]), max(1, len(known)))
                lost = sum(1 for one in range(max(counted_to, begun), until) if one in missing)
                last = max((one for one in range(counted_to, until) if log[one][1]), default=None)
                measured = (
                    Measured(
                        NAME,
                        max(BEGIN + until, state.begun_at),
                        sums[0],
                        sums[1],
                        (batch,) if known else (),
                        unmeasured_s=lost,
                        canary_at=None if last is None else BEGIN + last,
                    ),
                )
            counted_to = max(counted_to, until)
            facts = Facts(
                self.weight if self.reachable(now) else None,
                self.promoted,
                measured=measured,
                pages=("page-1h",) if self.pages(now) else (),
                guarded=self.guarded(now),
                asked=GO,
                words=tuple(said),
            )
            state, deeds = turn(state, facts, BEGIN + now)
            self.record.append((facts, BEGIN + now, state, deeds))
            for deed in deeds:
                if not self.obeys(now):
                    continue
                if isinstance(deed, SetWeight | RollBack):
                    wanted = deed.weight if isinstance(deed, SetWeight) else Fraction(0)
                    if not coming or coming[-1][1] != wanted:
                        lands = now + self.delay(now)
                        coming.append((max(lands, coming[-1][0]) if coming else lands, wanted))
                if isinstance(deed, Promote):
                    self.promoted = True
        self.state = state
        return state

    @property
    def phases(self) -> list[Phase]:
        found: list[Phase] = []
        for _, _, state, _ in self.record:
            if not found or found[-1] is not state.phase:
                found.append(state.phase)
        return found


def _pieces(pieces: list[tuple[int, int]]) -> Callable[[int], int]:
    whole = sum(length for length, _ in pieces)

    def value(second: int) -> int:
        at = second % whole
        for length, found in pieces:
            if at < length:
                return found
            at -= length
        raise AssertionError

    return value


def _seen_by(value: Callable[[int], int]) -> Callable[[int], bool]:
    return lambda second: bool(value(second))


lengths = st.integers(1, 90)
failing = st.lists(st.tuples(lengths, st.sampled_from([0, 0, 0, 1, 5, 100, 500, 1000])), min_size=1, max_size=6)
traffic = st.lists(st.tuples(lengths, st.sampled_from([0, 100, 900, 1000, 1000])), min_size=1, max_size=3)
blind = st.lists(st.tuples(lengths, st.sampled_from([0, 1, 1])), min_size=1, max_size=3).map(
    lambda found: [(200, 1), *found]
)
delays = st.lists(st.tuples(st.just(5), st.integers(0, REACTION.act_s)), min_size=1, max_size=4)
lags = st.lists(st.tuples(st.just(5), st.integers(0, REACTION.measure_s)), min_size=1, max_size=4)
words = st.dictionaries(st.integers(0, 900), st.sampled_from(list(Said)), max_size=3)


@st.composite
def _worlds(draw: st.DrawFn) -> tuple[World, Rollout]:
    allowance = draw(st.sampled_from([Fraction(1, 1000), Fraction(1, 100), Fraction(1, 10)]))
    terms = _terms(allowance=allowance, guarded=draw(st.booleans()))
    if draw(st.booleans()):
        drawn = plan([_promise()], terms)
    else:
        weights = sorted(draw(st.sets(st.sampled_from([1, 2, 5, 10, 25, 50]), min_size=1, max_size=3)))
        steps = [(Fraction(one, 100), draw(st.integers(20, 120))) for one in weights]
        drawn = given_plan([_promise()], terms, steps, beyond=draw(st.booleans()))
    assume(drawn.stages)
    guarded_from = draw(st.integers(0, 2000))
    world = World(
        drawn,
        _pieces(draw(failing)),
        _pieces(draw(traffic)),
        _seen_by(_pieces(draw(blind))),
        draw(st.booleans()),
        _pieces(draw(delays)),
        _pieces(draw(lags)),
        words=draw(words),
        guarded=lambda second: second >= guarded_from,
    )
    conduct = Conduct(
        planned=drawn.notes != (),
        least_s=draw(st.integers(0, 40)),
        least_requests=draw(st.sampled_from([0, 100, 10_000])),
        longest_s=draw(st.sampled_from([200, 500, 5000])),
        when_over=draw(st.sampled_from(list(WhenOver))),
        when_lost=draw(st.sampled_from([WhenOver.HOLD, WhenOver.ROLLBACK])),
    )
    return world, _rollout(drawn, conduct)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(_worlds())
def test_no_run_ever_spends_more_than_the_allowance_and_what_was_declared_in_flight(
    case: tuple[World, Rollout],
) -> None:
    world, state = case
    world.run(state, 900)
    assert world.spent <= world.drawn.costs[0].at_most


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(_worlds())
def test_the_same_facts_give_the_same_acts_from_memory_as_plain_text(case: tuple[World, Rollout]) -> None:
    world, state = case
    world.run(state, 600)
    again = state
    for facts, now, following, deeds in world.record:
        kept = read_rollout(json.loads(json.dumps(rollout_memory(again))))
        assert kept == again
        again, done = turn(kept, facts, now)
        assert (again, done) == (following, deeds)


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(_worlds())
def test_nothing_goes_on_by_itself_without_exposure(case: tuple[World, Rollout]) -> None:
    world, state = case
    world.words = {}
    world.run(state, 900)
    before = state
    for facts, now, following, deeds in world.record:
        rises = any(isinstance(deed, Promote) for deed in deeds) or (
            following.weight > before.weight and before.stage is not None
        )
        if rises and before.phase is not Phase.PROMOTING:
            asked = before.tallies[0].at_stage + sum(one.canary_total for one in facts.measured)
            assert asked >= state.conduct.least_requests
            since = now - (before.settled_at or now)
            assert since >= state.conduct.least_s
        before = following


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 600), st.sampled_from([20, 100, 1000]), st.booleans())
def test_whenever_it_turns_harmful_it_goes_back_and_proves_it(begin: int, thousandths: int, sighted: bool) -> None:
    drawn = plan([_promise()], _terms())
    world = World(
        drawn,
        failing=lambda second: thousandths if second >= begin else 0,
        sees=lambda second: sighted or second < begin + 40 or second > begin + 70,
    )
    state = world.run(_rollout(drawn), 2400)
    assert state.phase in {Phase.ROLLED_BACK, Phase.PROMOTED}
    assert state.phase is Phase.ROLLED_BACK or begin > (state.ended_at or 0) - BEGIN - 60
    if state.phase is Phase.ROLLED_BACK:
        assert world.weight == 0
        assert "weight 0 seen" in state.proof
        assert "its last request" in state.proof
    assert world.spent <= drawn.costs[0].at_most


# --- one life at a time ---------------------------------------------------------------------------------------------


def test_a_healthy_release_arrives_through_its_stages() -> None:
    drawn = plan([_promise()], _terms())
    world = World(drawn)
    state = world.run(_rollout(drawn), drawn.duration_s + 600)
    assert state.phase is Phase.PROMOTED
    assert "all of the traffic seen on the new version" in state.proof
    weights = [deed.weight for _, _, _, deeds in world.record for deed in deeds if isinstance(deed, SetWeight)]
    assert weights == [stage.weight for stage in drawn.stages]
    assert state.decision == "D-1"
    assert [one for one in world.phases if one.over] == [Phase.PROMOTED]


def test_harm_goes_back_with_the_reason_in_counts() -> None:
    drawn = plan([_promise()], _terms())
    world = World(drawn, failing=lambda _: 20, baseline_failing=lambda _: 1)
    state = world.run(_rollout(drawn), 1200)
    assert state.phase is Phase.ROLLED_BACK
    assert "bad requests hit the canary" in state.why
    assert Phase.ROLLING_BACK in world.phases


def test_the_allowance_goes_back_whatever_the_statistics_say() -> None:
    drawn = plan([_promise()], _terms())
    # both versions fail alike, so there is no harm to see; the canary pays all the same
    world = World(drawn, failing=lambda _: 600, baseline_failing=lambda _: 600)
    state = world.run(_rollout(drawn), 1200)
    assert state.phase is Phase.ROLLED_BACK
    assert "allowance" in state.why
    assert world.spent <= drawn.costs[0].at_most


def test_a_page_goes_back_unless_it_was_out_before() -> None:
    drawn = plan([_promise()], _terms())
    fresh = World(drawn, pages=lambda second: second > 30)
    assert "somebody is paged (page-1h)" in fresh.run(_rollout(drawn), 900).why
    old = World(drawn, pages=lambda second: second < 150)
    assert old.run(_rollout(drawn), drawn.duration_s + 600).phase is Phase.PROMOTED
    again = World(drawn, pages=lambda second: second < 20 or second > 40)
    assert again.run(_rollout(drawn), 900).phase is Phase.ROLLED_BACK


def test_without_data_it_waits_and_blind_time_is_paid_for_by_the_worst_case() -> None:
    drawn = plan([_promise()], _terms())
    dark = World(drawn, sees=lambda second: not 10 <= second < 70, keeps=False, lag=lambda _: 0)
    state = dark.run(_rollout(drawn), 80)
    assert not state.phase.over
    assert state.tallies[0].charged == drawn.promises[0].worst(drawn.stages[0].weight, 60)
    assert any(one.phase is Phase.HOLDING and "no telemetry" in one.why for _, _, one, _ in dark.record)
    known = World(drawn, sees=lambda second: not 10 <= second < 70)
    assert known.run(_rollout(drawn), 80).tallies[0].charged == 0
    for_ever = World(drawn, sees=lambda second: second < 10)
    state = for_ever.run(_rollout(drawn), 2000)
    assert state.phase is Phase.ROLLED_BACK
    assert "could be spent before the next decision" in state.why


def test_without_traffic_it_waits() -> None:
    drawn = plan([_promise()], _terms())
    world = World(drawn, traffic=lambda _: 0)
    state = world.run(_rollout(drawn), 900)
    assert state.phase is Phase.HOLDING
    assert state.stage == 0
    assert "without data the rollout waits" in state.why or "requests at this weight" in state.why


def test_the_gate_comes_first_and_opens_by_itself() -> None:
    drawn = plan([_promise()], _terms())
    state = _rollout(drawn)
    waiting, deeds = turn(state, Facts(Fraction(0), asked=Asked("stop", "the budget is spent")), BEGIN)
    assert (waiting.phase, deeds) == (Phase.GATED, ())
    assert "the budget is spent" in waiting.why
    unseen, deeds = turn(waiting, Facts(None, asked=GO, trouble="refused"), BEGIN + 5)
    assert not deeds
    assert "refused" in unseen.why
    busy, deeds = turn(waiting, Facts(Fraction(1, 10), asked=GO), BEGIN + 5)
    assert not deeds
    assert "10 %" in busy.why
    begun, deeds = turn(waiting, Facts(Fraction(0), asked=GO), BEGIN + 10)
    assert deeds == (SetWeight(drawn.stages[0].weight),)
    assert begun.phase is Phase.STEPPING
    tired, deeds = turn(waiting, Facts(Fraction(0), asked=Asked("wait", "")), BEGIN + 100_000)
    assert (tired.phase, deeds) == (Phase.ROLLED_BACK, ())
    assert "never had traffic" in tired.proof


def test_people_may_push_pause_and_abort_but_not_past_the_allowance() -> None:
    drawn = plan([_promise()], _terms())
    pushed = World(drawn, words={20: Said.PROMOTE})
    pushed.run(_rollout(drawn), 26)
    assert pushed.state is not None
    assert pushed.state.stage == 1
    assert pushed.state.waived
    paused = World(drawn, words={20: Said.PAUSE}).run(_rollout(drawn), 1500)
    assert (paused.phase, paused.why) == (Phase.HOLDING, "a person paused it")
    resumed = World(drawn, words={20: Said.PAUSE, 300: Said.RESUME})
    assert resumed.run(_rollout(drawn), drawn.duration_s + 1000).phase is Phase.PROMOTED
    aborted = World(drawn, words={20: Said.ABORT}).run(_rollout(drawn), 400)
    assert aborted.phase is Phase.ROLLED_BACK
    assert "aborted by ada" in aborted.why
    whole = World(drawn, words={20: Said.PROMOTE_ALL})
    whole.run(_rollout(drawn), 25)
    assert whole.weight == 1
    early = World(drawn, words={0: Said.ABORT}).run(_rollout(drawn), 20)
    assert early.phase is Phase.ROLLED_BACK
    small = plan([_promise(bad=Fraction(0))], _terms(allowance=Fraction(1, 20)))
    assert small.costs[0].in_flight == 0
    costly = World(small, failing=lambda _: 400, baseline_failing=lambda _: 400, words={20: Said.PROMOTE_ALL})
    costly.run(_rollout(small), 900)
    assert costly.spent <= small.costs[0].at_most


def test_a_word_that_cannot_be_followed_is_answered_and_changes_nothing() -> None:
    drawn = given_plan([_promise(bad=Fraction(0))], _terms(allowance=Fraction(1, 200)), [(Fraction(1, 10), 600)])
    drawn = replace(drawn, stages=(drawn.stages[0], replace(drawn.stages[0], weight=Fraction(9, 10))))
    state = World(drawn, words={40: Said.PROMOTE}).run(_rollout(drawn), 50)
    assert state.stage == 0
    assert state.refused == "not promoted: what is left of the allowance does not bear 90 %"
    state, _ = turn(state, Facts(state.weight, words=(Word(2, Said.PAUSE, "ada"),)), BEGIN + 55)
    assert (state.refused, state.paused) == ("", True)
    back, _ = turn(state, Facts(state.weight, words=(Word(3, Said.ABORT, "ada", "why"),)), BEGIN + 60)
    late, _ = turn(back, Facts(Fraction(0), words=(Word(4, Said.PROMOTE, "ada"),)), BEGIN + 65)
    assert (late.phase, late.refused) == (Phase.ROLLING_BACK, "promote: too late, it is rolling back")
    stop = Facts(Fraction(0), asked=Asked("stop", "a freeze"), words=(Word(1, Said.PROMOTE, "ada"),))
    early, _ = turn(_rollout(drawn), stop, BEGIN)
    assert (early.phase, early.refused) == (
        Phase.GATED,
        "not promoted: it has not begun, and the gate comes first",
    )


def test_while_the_target_cannot_be_seen_no_weight_is_raised_and_it_is_said() -> None:
    drawn = given_plan([_promise()], _terms(allowance=Fraction(1, 2)), [(Fraction(1, 10), 60), (Fraction(1, 2), 60)])
    hidden = World(drawn, reachable=lambda second: second < 30, words={100: Said.PROMOTE})
    state = hidden.run(_rollout(drawn), 250)
    assert (state.stage, state.phase) == (0, Phase.HOLDING)
    assert state.why == "the target cannot be seen: no answer"
    assert state.refused == "not promoted: the target cannot be seen: no answer"
    brief = World(drawn, reachable=lambda second: not 30 <= second < 40)
    brief.run(_rollout(drawn), 60)
    assert Phase.HOLDING not in brief.phases
    waits = _rollout(drawn, Conduct(least_s=20, when_lost=WhenOver.HOLD))
    hidden = World(drawn, reachable=lambda second: second < 30)
    assert hidden.run(waits, 900).phase is Phase.HOLDING
    asked = [deed for _, _, _, deeds in hidden.record for deed in deeds if isinstance(deed, AskPerson)]
    assert asked == [AskPerson("the target cannot be seen")]


def test_at_all_of_the_traffic_no_verdict_is_promised() -> None:
    drawn = plan([_promise()], _terms())
    whole = World(drawn, words={20: Said.PROMOTE_ALL}).run(_rollout(drawn), 60)
    said = whole.verdict
    assert isinstance(said, Undecided)
    assert (said.harm_in_s, said.safe_in_s) == (None, None)
    assert "nothing runs beside it" in said.why


def test_a_long_wait_ends_as_the_strategy_says() -> None:
    drawn = given_plan([_promise(bad=Fraction(0))], _terms(), [(Fraction(1, 5), 30)])
    for when_over, expected in (
        (WhenOver.HOLD, Phase.HOLDING),
        (WhenOver.ROLLBACK, Phase.ROLLED_BACK),
        (WhenOver.PROMOTE, Phase.PROMOTED),
    ):
        # a trickle of traffic, too little for the proof that all of it would take
        world = World(drawn, traffic=lambda second: 10 if second % 10 == 0 else 0)
        conduct = Conduct(least_requests=10, least_s=20, longest_s=300, when_over=when_over)
        state = world.run(_rollout(drawn, conduct, _analysis(Fraction(50))), 900)
        assert state.phase is expected
        asked = [deed for _, _, _, deeds in world.record for deed in deeds if isinstance(deed, AskPerson)]
        assert (when_over is not WhenOver.HOLD) or len(asked) == 1


def test_when_nobody_watched_for_long_it_goes_back_or_goes_on_as_the_strategy_says() -> None:
    drawn = plan([_promise()], _terms())
    for when_lost, expected in ((WhenOver.ROLLBACK, Phase.ROLLED_BACK), (WhenOver.HOLD, Phase.PROMOTED)):
        conduct = Conduct(least_s=20, lost_after_s=60, when_lost=when_lost)
        away = World(drawn, awake=lambda second: not 20 < second < 100)
        assert away.run(_rollout(drawn, conduct), drawn.duration_s + 900).phase is expected
        cut_off = World(drawn, reachable=lambda second: not 20 < second < 100)
        assert cut_off.run(_rollout(drawn, conduct), drawn.duration_s + 900).phase is expected


def test_evidence_outlives_a_crash() -> None:
    drawn = plan([_promise()], _terms())
    conduct = Conduct(least_s=20, lost_after_s=600)
    crashed = World(drawn, failing=lambda _: 2, baseline_failing=lambda _: 1, awake=lambda second: not 10 < second < 30)
    straight = World(drawn, failing=lambda _: 2, baseline_failing=lambda _: 1)
    for world in (crashed, straight):
        world.run(_rollout(drawn, conduct), 41)
    assert crashed.state is not None
    assert straight.state is not None
    assert crashed.state.tallies[0].bad == straight.state.tallies[0].bad
    assert crashed.state.tallies[0].requests == straight.state.tallies[0].requests


def test_a_target_that_does_not_obey_is_asked_again_and_told_of() -> None:
    drawn = plan([_promise()], _terms())
    stubborn = World(drawn, obeys=lambda second: second < 5, words={20: Said.ABORT})
    state = stubborn.run(_rollout(drawn), GIVE_UP_S + 200)
    assert state.phase is Phase.FAILED
    assert "last seen at" in state.proof
    assert sum(1 for _, _, _, deeds in stubborn.record for deed in deeds if isinstance(deed, RollBack)) > 100
    asked = [deed.why for _, _, _, deeds in stubborn.record for deed in deeds if isinstance(deed, AskPerson)]
    assert asked == ["the rollback has not landed after 1.8 min", state.proof]
    late = World(drawn, obeys=lambda second: second < 5 or second > 200, words={20: Said.ABORT})
    assert late.run(_rollout(drawn), 900).phase is Phase.ROLLED_BACK


def test_where_only_the_canary_has_traffic_it_is_said_that_the_old_version_is_not_found() -> None:
    drawn = plan([_promise()], _terms())
    state = World(drawn).run(_rollout(drawn), 1)
    for second in range(5, 80, 5):
        alone = Measured(NAME, BEGIN + second - 1, 0, 10, (Batch(Counts(0, 10), Counts(0, 0), 5),))
        state, _ = turn(state, Facts(state.weight, measured=(alone,)), BEGIN + second)
    assert state.phase is Phase.HOLDING
    assert state.why.startswith("no request of the old version is known to compare with")


def test_a_target_that_says_0_while_the_canary_is_still_asked_is_found_out() -> None:
    drawn = plan([_promise()], _terms())
    begun = World(drawn, words={20: Said.ABORT})
    state = begun.run(_rollout(drawn), 26)
    deeds: tuple[Deed, ...] = ()
    second = 26
    while not state.phase.over:
        second += 5
        still = Measured(NAME, BEGIN + second - 1, 0, 10, canary_at=BEGIN + second - 2)
        state, deeds = turn(state, Facts(Fraction(0), measured=(still,)), BEGIN + second)
    assert state.phase is Phase.ROLLED_BACK
    assert "weight 0 seen at" in state.proof
    assert "and yet requests of the canary came until" in state.proof
    assert deeds == (AskPerson(state.proof),)


def test_caution_on_the_way_slows_it_down() -> None:
    drawn = plan([_promise()], _terms())
    careful = World(drawn, guarded=lambda second: second > 10)
    state = careful.run(_rollout(drawn), 4 * drawn.duration_s)
    free = World(drawn)
    free_state = free.run(_rollout(drawn), 4 * drawn.duration_s)
    assert state.slowed
    assert state.phase is free_state.phase is Phase.PROMOTED
    assert (state.ended_at or 0) > (free_state.ended_at or 0)
    assert state.plan.costs == drawn.costs


def test_blue_and_green_switch_at_once_and_are_watched_by_the_allowance() -> None:
    with_room = given_plan([_promise()], _terms(allowance=Fraction(1, 10)), [(Fraction(1), 120)])
    assert with_room.stages[0].reserved
    well = World(with_room)
    assert well.run(prepared(with_room, Conduct(planned=False), None, BEGIN), 600).phase is Phase.PROMOTED
    ill = World(with_room, failing=lambda _: 900)
    state = ill.run(prepared(with_room, Conduct(planned=False), None, BEGIN), 600)
    assert state.phase is Phase.ROLLED_BACK
    assert "900.0 times what shop bears" in state.why
    doubtful = World(with_room, failing=lambda _: 2)
    state = doubtful.run(prepared(with_room, Conduct(planned=False), None, BEGIN), 600)
    assert (state.phase, state.told) == (Phase.HOLDING, state.why)
    assert "2.0 times" in state.why
    assert ill.spent <= with_room.costs[0].at_most
    without = given_plan([_promise()], _terms(), [(Fraction(1), 120)])
    assert not without.stages
    assert "100 % of the traffic could spend" in without.why
    accepted = given_plan([_promise()], _terms(), [(Fraction(1), 120)], beyond=True)
    assert accepted.costs[0].in_flight > 0
    burnt = World(accepted, failing=lambda _: 900)
    assert burnt.run(prepared(accepted, Conduct(planned=False), None, BEGIN), 600).phase is Phase.ROLLED_BACK
    assert burnt.spent <= accepted.costs[0].at_most


def test_a_plan_without_a_step_never_begins_and_says_so_once() -> None:
    drawn = given_plan([_promise()], _terms(), [(Fraction(1), 60)])
    state, deeds = turn(_rollout(drawn), Facts(Fraction(0), asked=GO), BEGIN)
    assert (state.phase, deeds) == (Phase.GATED, (AskPerson(drawn.why),))
    state, deeds = turn(state, Facts(Fraction(0), asked=GO), BEGIN + 5)
    assert (state.phase, deeds) == (Phase.GATED, ())


def test_what_cannot_have_been_measured_is_refused() -> None:
    drawn = plan([_promise()], _terms())
    begun, _ = turn(_rollout(drawn), Facts(Fraction(0), asked=GO), BEGIN)
    for wrong in (
        Measured(NAME, BEGIN - 10),
        Measured(NAME, BEGIN + 5, canary_bad=2, canary_total=1),
        Measured(NAME, BEGIN + 5, unmeasured_s=-1),
    ):
        with pytest.raises(DataError, match="cannot be true"):
            turn(begun, Facts(Fraction(0), measured=(wrong,)), BEGIN + 5)
    with pytest.raises(DataError):
        read_rollout({"is": "Rollout"})
