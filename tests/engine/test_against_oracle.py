"""The engine says what the oracle says: every budget, alert, state and stale moment, slice by slice."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.oracle import strategies
from tests.oracle.bridge import incidents_of, plan_of, slices_of
from tests.oracle.reference import Member, Promise, Record, Row, budget, burn, burn_of, consumed_of, evaluate, tail
from tests.oracle.reference import period as naive_period
from tests.oracle.stories import SCANNERS, assert_same_story, scanner_of
from tightrope.alerting.conditions import is_significant
from tightrope.base.units import Duration
from tightrope.budget.statement import state_of
from tightrope.budget.windows import period
from tightrope.engine.replay import replay
from tightrope.engine.step import Memory, advance
from tightrope.specs.model import Basis, CalendarWindow, Comparison, Condition, Gaps, RollingWindow


@given(strategies.promises(), st.data())
def test_every_statement_is_the_oracles(promise: Promise, data: st.DataObject) -> None:
    (member,) = promise.members
    record = member.record
    lookbacks_s = tuple(data.draw(st.lists(strategies.lookbacks(record.step_s), max_size=2)))
    units = slices_of(record)
    for moment in evaluate(promise):
        statement = state_of(
            units,
            member.target,
            promise.window,
            moment.at,
            lookbacks_s=lookbacks_s,
            gaps=promise.gaps,
            stale_after=promise.stale_after,
            weight=member.weight,
        )
        assert (statement.at, statement.stale) == (moment.at, moment.stale)
        for basis in Basis:
            told = statement.budget(basis)
            account = budget(record, member.target, promise.window, moment.at, basis)
            weighted = consumed_of((member,), promise.window, moment.at, basis)
            assert told.consumed_ratio == weighted
            assert told.remaining_ratio == (None if weighted is None else 1 - weighted)
            if account.allowed is not None:
                assert told.allowed * member.weight == account.allowed / record.scale
            assert told.consumed == Fraction(account.bad, record.scale)
            assert statement.good == Fraction(account.valid - account.bad, record.scale)
            assert statement.total == Fraction(account.valid, record.scale)
            assert statement.coverage == account.coverage
        interval = budget(record, member.target, promise.window, moment.at, Basis.PROJECTED).interval
        if promise.gaps is not Gaps.IGNORE or interval is None:
            assert statement.interval is None
        else:
            assert statement.interval == tuple(member.weight * share for share in interval)
        for lookback_s, told_burn in zip(lookbacks_s, statement.burns, strict=True):
            rate, no_traffic = burn(record, member.target, lookback_s, moment.at)
            assert (told_burn.rate, told_burn.no_traffic) == (member.weight * rate, no_traffic)


@pytest.mark.parametrize("scanner", SCANNERS)
@given(promise=strategies.promises())
def test_a_replay_tells_the_oracles_story(scanner: str, promise: Promise) -> None:
    assert_same_story(promise, scanner_of(scanner))


@pytest.mark.parametrize("scanner", SCANNERS)
@settings(max_examples=12)
@given(promise=strategies.promises(run=200, reach=500))
def test_long_records_and_lookbacks_tell_the_oracles_story(scanner: str, promise: Promise) -> None:
    assert_same_story(promise, scanner_of(scanner))


@pytest.mark.parametrize("scanner", SCANNERS)
@settings(max_examples=5)
@given(promise=strategies.promises())
def test_any_number_of_conditions_tells_the_oracles_story(scanner: str, promise: Promise) -> None:
    step_s = promise.members[0].record.step_s
    many = tuple(
        Condition(f"condition-{n}", "page", Fraction(n, 9), (step_s * (n % 3 + 1),), op=list(Comparison)[n % 4])
        for n in range(140)
    )
    assert_same_story(replace(promise, conditions=many), scanner_of(scanner))


@pytest.mark.parametrize("scanner", SCANNERS)
@given(promise=strategies.promises(), slices=st.sampled_from((1, 2, 6)))
def test_peaks_are_the_oracles(scanner: str, promise: Promise, slices: int) -> None:
    (member,) = promise.members
    lookback_s = max(1, slices * member.record.step_s // 2)
    moments = evaluate(promise)
    history = replay(plan_of(promise, (lookback_s,)), slices_of(member.record), scanner=scanner_of(scanner))
    shares = [m.consumed for m in moments if m.consumed is not None]
    assert history.worst_consumed.value == pytest.approx(float(max(shares, default=0)), rel=1e-9)
    rates = [burn_of((member,), lookback_s, m.at) for m in moments]
    assert history.burns[0].value == pytest.approx(float(max(rates, default=0)), rel=1e-9)
    if history.burns[0].at is not None:
        at_peak = burn_of((member,), lookback_s, history.burns[0].at)
        assert float(at_peak) == pytest.approx(history.burns[0].value, rel=1e-9)


@given(strategies.promises())
def test_live_turns_of_one_slice_are_the_oracles(promise: Promise) -> None:
    (member,) = promise.members
    record = member.record
    plan = plan_of(promise)
    units = slices_of(record)
    incidents = incidents_of(promise)
    memory = Memory()
    expected = {moment.at: moment for moment in evaluate(promise)}
    for at in range(record.start + record.step_s, record.end + 1, record.step_s):
        since = at - record.step_s
        seen = units.between(since - plan.longest_s, at)
        memory, outcome = advance(
            plan, memory, seen, since=since, incidents=incidents, out_of_scope=promise.out_of_scope
        )
        if at not in expected:
            assert outcome.evaluated is None
            continue
        moment = expected[at]
        assert outcome.evaluated == (at, at)
        assert memory.stale == moment.stale == bool(outcome.stale_s)
        assert promise.policy.states[memory.policy.state].name == moment.state
        firing = [c.name for c, alert in zip(promise.conditions, memory.alerts, strict=True) if alert.firing]
        assert tuple(firing) == moment.firing


@given(strategies.promises(run=30), st.data())
def test_any_cut_into_blocks_is_one_replay(promise: Promise, data: st.DataObject) -> None:
    (member,) = promise.members
    record = member.record
    plan = plan_of(promise)
    units = slices_of(record)
    incidents = incidents_of(promise)
    whole_memory, whole = advance(plan, Memory(), units, incidents=incidents, out_of_scope=promise.out_of_scope)
    inner = st.integers(0, len(units)).map(record.begin)
    cuts = sorted({*data.draw(st.lists(inner, max_size=5)), record.start, record.end})
    memory, alerts, transitions, stale_s = Memory(), list[object](), list[object](), 0
    for since, until in pairwise(cuts):
        seen = units.between(since - plan.longest_s, until)
        memory, outcome = advance(
            plan, memory, seen, since=since, incidents=incidents, out_of_scope=promise.out_of_scope
        )
        alerts += outcome.alerts
        transitions += outcome.transitions
        stale_s += outcome.stale_s
    assert (tuple(alerts), tuple(transitions), stale_s) == (whole.alerts, whole.transitions, whole.stale_s)
    assert memory == whole_memory


@given(strategies.promises(), st.data())
def test_a_history_told_from_an_instant_on_is_the_end_of_the_whole(promise: Promise, data: st.DataObject) -> None:
    (member,) = promise.members
    units = slices_of(member.record)
    since = data.draw(st.integers(0, len(units)).map(member.record.begin))
    plan, incidents = plan_of(promise), incidents_of(promise)
    whole = replay(plan, units, incidents=incidents, out_of_scope=promise.out_of_scope)
    end = replay(plan, units, incidents=incidents, out_of_scope=promise.out_of_scope, since=since)
    assert end.memory == whole.memory
    assert end.final_state == whole.final_state
    assert end.transitions == tuple(t for t in whole.transitions if t.at > since)
    assert {e for e in end.episodes if e.start > since} == {e for e in whole.episodes if e.start > since}


@given(
    strategies.windows(21600).filter(lambda window: isinstance(window, CalendarWindow)),
    st.sampled_from(strategies.TURNS),
    st.integers(-40 * 86400, 400 * 86400),
)
def test_calendar_periods_are_the_oracles(window: CalendarWindow, turn: int, more: int) -> None:
    start, end = period(window, turn + more)
    assert start <= turn + more < end
    assert (start, end) == naive_period(window, turn + more)


@given(
    st.integers(0, 60),
    st.integers(0, 60),
    st.fractions(0, 2, max_denominator=50),
    st.sampled_from([Fraction(text) for text in ("0.5", "0.8", "0.9", "0.95", "0.99", "0.999")]),
)
def test_significance_is_the_exact_binomial_tail(bad: int, good: int, ratio: Fraction, confidence: Fraction) -> None:
    total = bad + good
    expected = total > 0 and tail(Fraction(bad), total, ratio) < 1 - confidence
    assert is_significant(bad, total, ratio, confidence) == expected


@pytest.mark.parametrize("power", range(1, 8))
def test_a_tail_just_at_its_bound_is_not_significant(power: int) -> None:
    tenth = Fraction(1, 10)
    assert not is_significant(power, power, tenth, 1 - tenth**power)
    assert is_significant(power, power, tenth, 1 - tenth**power - Fraction(1, 10**15))


@pytest.mark.parametrize("scanner", SCANNERS)
def test_one_event_in_a_quadrillion_decides(scanner: str) -> None:
    """Counts whose products no float64 can tell apart: the comparison falls back on whole numbers."""
    total = 10**15
    condition = Condition("page", "page", Fraction(1), (120, 60), op=Comparison.GTE)
    for bad, fires in ((10**12, True), (10**12 - 1, False)):
        record = Record(0, 60, (Row(bad, total),) * 50)
        member = Member(record, Fraction(999, 1000))
        promise = Promise((member,), RollingWindow(Duration(40, "m")), conditions=(condition,))
        moments = assert_same_story(promise, scanner_of(scanner))
        assert any(moment.fired for moment in moments) is fires
