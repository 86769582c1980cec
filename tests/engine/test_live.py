"""Live evaluation of many objectives at once says, tick by tick, what each record says on its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.oracle import strategies
from tests.oracle.bridge import incidents_of, plan_of, slices_of
from tests.oracle.reference import Promise
from tightrope.base.errors import DataError
from tightrope.base.units import DAY_S, HOUR_S, MINUTE_S, Duration
from tightrope.budget.statement import Statement, state_of
from tightrope.engine.fleet import LiveFleet
from tightrope.engine.live import LiveEvaluator
from tightrope.engine.plan import Incident, Plan, compile_plan
from tightrope.engine.slow import SlowTracks
from tightrope.engine.step import Memory, advance
from tightrope.engine.ticks import UNWRITTEN, Change, Evaluator, Member, Rows, Tick
from tightrope.sli.coverage import Stretch
from tightrope.sli.slices import Slices
from tightrope.specs.defaults import DEFAULT_POLICY, LOOKBACKS_S, default_conditions
from tightrope.specs.model import (
    AlertFiring,
    AllOf,
    AnyOf,
    CalendarWindow,
    ChangeKind,
    Comparison,
    Condition,
    ConditionKind,
    ErrorBudgetPolicy,
    Expression,
    Flow,
    Gaps,
    IncidentOpen,
    Not,
    PolicyState,
    RemainingIs,
    RollingWindow,
)


@dataclass(slots=True)
class Alone:
    """One objective, evaluated over its whole record by the engine's step: what live evaluation must agree with."""

    key: str
    plan: Plan
    units: Slices
    incidents: tuple[Incident, ...] = ()
    out_of_scope: tuple[Stretch, ...] = ()
    memory: Memory = field(default_factory=Memory)
    at: int = -1

    def __post_init__(self) -> None:
        self.at = self.units.start if self.at < 0 else self.at

    def start_at(self, at: int) -> None:
        self.at = at
        self.memory, _ = advance(
            self.plan,
            Memory(),
            self.units.between(self.units.start, at),
            incidents=self.incidents,
            out_of_scope=self.out_of_scope,
        )

    def member(self, *, with_record: bool) -> Member:
        record = self.units.between(self.units.start, self.at) if with_record else None
        return Member(
            self.key, self.plan, self.at, self.memory, self.incidents, self.out_of_scope, record=record or None
        )

    def step(self) -> Change | None:
        """Evaluate one more slice; None if nothing is remembered otherwise than before."""
        before, self.at = self.memory, self.at + self.units.step_s
        self.memory, outcome = advance(
            self.plan,
            before,
            self.units.between(self.units.start, self.at),
            since=self.at - self.units.step_s,
            incidents=self.incidents,
            out_of_scope=self.out_of_scope,
        )
        return Change(self.key, self.memory, outcome) if self.memory != before else None

    def statement(self) -> Statement:
        plan = self.plan
        return state_of(
            self.units.between(self.units.start, self.at),
            plan.target,
            plan.window,
            self.at,
            lookbacks_s=LOOKBACKS_S,
            history_start=self.memory.history_start,
            gaps=plan.gaps,
            stale_after=plan.stale_after,
            weight=plan.weight,
        )


@dataclass(slots=True)
class World:
    """Some objectives, alone and together."""

    evaluator: Evaluator
    members: dict[str, Alone]
    seats: dict[str, int] = field(default_factory=dict)

    def admit(self, keys: Sequence[str], *, with_record: bool = False) -> None:
        seats = self.evaluator.admit([self.members[key].member(with_record=with_record) for key in keys])
        self.seats |= dict(zip(keys, seats.tolist(), strict=True))

    def dismiss(self, key: str) -> None:
        self.evaluator.dismiss([key])
        del self.seats[key]

    def tick(self, end: int) -> list[Change]:
        """Hand in the slices that end at an instant, of all that are so far; compares all that can be asked."""
        step_s = next(iter(self.members.values())).units.step_s
        ready = [
            one
            for key, one in self.members.items()
            if key in self.seats and one.at == end - step_s and end <= one.units.end
        ]
        if not ready:
            return []
        rows = [one.units.between(end - step_s, end) for one in ready]
        tick = Tick(
            step_s,
            end,
            np.asarray([self.seats[one.key] for one in ready], np.int64),
            np.concatenate([row.bad for row in rows]),
            np.concatenate([row.total for row in rows]),
            np.concatenate([row.covered for row in rows]),
            np.concatenate([np.zeros(1, np.bool_) if row.excluded is None else row.excluded for row in rows]),
        )
        told = self.evaluator.tick(tick)
        expected = [change for one in ready if (change := one.step()) is not None]
        assert {one.key: one for one in told} == {one.key: one for one in expected}
        assert len(told) == len(expected)
        for one in ready:
            assert self.evaluator.memory(one.key) == one.memory
            assert self.evaluator.evaluated_to(one.key) == one.at == end
        return told

    def compare_statements(self) -> None:
        gauges = self.evaluator.gauges(LOOKBACKS_S)
        assert sorted(gauges.keys) == sorted(self.seats)
        for number, key in enumerate(gauges.keys):
            expected = self.members[key].statement()
            assert self.evaluator.statement(key) == expected
            begun = self.members[key].memory.history_start is not None
            assert self.evaluator.known_to(key) == (expected.last_known if begun else None)
            left = expected.budget(self.members[key].plan.basis).remaining_ratio
            assert bool(gauges.known[number]) == (left is not None)
            assert gauges.remaining[number] == pytest.approx(0.0 if left is None else float(left), rel=1e-9, abs=1e-9)
            assert gauges.burns[:, number] == pytest.approx([float(burn.rate) for burn in expected.burns], rel=1e-9)
            assert bool(gauges.stale[number]) == expected.stale


def rows_of(members: dict[str, Alone], unwritten: int) -> Rows:
    """Reads records back, and sees to it that nothing is asked for that need not be written yet."""

    def rows(keys: Sequence[str], start: int, end: int) -> list[Slices]:
        for key in keys:
            one = members[key]
            assert end <= one.at - unwritten * one.units.step_s
        return [members[key].units.between(start, end) for key in keys]

    return rows


def alone(key: str, promise: Promise, *, shift: int = 0) -> Alone:
    (member,) = promise.members
    units = slices_of(member.record)
    return Alone(
        key,
        plan_of(promise),
        replace(units, start=units.start + shift * units.step_s),
        incidents_of(promise),
        promise.out_of_scope,
    )


def small_fleet(block: int) -> Callable[[int, Rows], Evaluator]:
    return lambda step_s, rows: LiveFleet(step_s, rows, block=block, unwritten=0)


EVALUATORS: dict[str, Callable[[int, Rows], Evaluator]] = {
    "fleet of small blocks": small_fleet(2),
    "fleet of blocks": small_fleet(5),
    "fleet": LiveFleet,
    "slow": lambda _, rows: SlowTracks(rows),
    "both": lambda _, rows: LiveEvaluator(rows),
}


def taken(promise: Promise) -> Promise:
    """A promise that a fleet takes."""
    conditions = tuple(
        replace(one, kind=ConditionKind.BURN_RATE, confidence=None) if one.kind is ConditionKind.SIGNIFICANCE else one
        for one in promise.conditions
    )
    return replace(promise, conditions=conditions, gaps=Gaps.IGNORE)


def go_through(world: World, data: st.DataObject, *, most: int = 10_000, revise: bool = True) -> None:
    """Admit members somewhere in their records, and tick to the end, some of them leaving and coming again."""
    step_s = next(iter(world.members.values())).units.step_s
    for one in world.members.values():
        one.start_at(one.units.start + data.draw(st.integers(0, len(one.units))) * step_s)
    world.admit(list(world.members), with_record=data.draw(st.booleans()))
    world.compare_statements()
    first = min(one.at for one in world.members.values())
    last = max(one.units.end for one in world.members.values())
    breaks = data.draw(st.sets(st.integers(1, max(1, (last - first) // step_s)), max_size=3))
    for number, end in enumerate(range(first + step_s, last + 1, step_s), 1):
        world.tick(end)
        if number in breaks:
            world.compare_statements()
            world.evaluator.prepare()
            key = data.draw(st.sampled_from(sorted(world.members)))
            if revise and data.draw(st.booleans()):
                one = world.members[key]
                one.incidents = data.draw(
                    st.sampled_from([one.incidents, (), (*one.incidents, Incident(end, end + 3 * step_s, "sev1"))])
                )
                stretch = (end - 2 * step_s, end + data.draw(st.integers(1, 5)) * step_s)
                one.out_of_scope = data.draw(st.sampled_from([one.out_of_scope, (), (*one.out_of_scope, stretch)]))
                world.evaluator.revise(key, one.incidents, one.out_of_scope)
            else:
                world.dismiss(key)
                world.admit([key])
        if number >= most:
            break
    world.compare_statements()


@pytest.mark.parametrize("evaluator", EVALUATORS)
@settings(max_examples=12)
@given(data=st.data())
def test_live_ticks_say_what_each_record_says(evaluator: str, data: st.DataObject) -> None:
    promises = [data.draw(strategies.promises()) for _ in range(data.draw(st.integers(1, 3)))]
    (member,) = promises[0].members
    step_s = member.record.step_s
    found = {}
    for number, promise in enumerate(promises):
        if promise.members[0].record.step_s == step_s:
            given_up = promise if evaluator in ("slow", "both") else taken(promise)
            found[f"slo-{number}"] = alone(f"slo-{number}", given_up)
    for copy in range(data.draw(st.integers(0, 2))):
        twin = found["slo-0"]
        found[f"twin-{copy}"] = replace(twin, key=f"twin-{copy}")
    world = World(EVALUATORS[evaluator](step_s, rows_of(found, 0)), found)
    go_through(world, data)


POLICY = ErrorBudgetPolicy(
    "short",
    (
        PolicyState("free", Flow.FEATURE, frozenset(ChangeKind)),
        PolicyState(
            "spent",
            Flow.STABILITY,
            frozenset(),
            enter=RemainingIs(Comparison.LTE, Fraction(0)),
            exit=RemainingIs(Comparison.GT, Fraction(1, 10)),
            exit_for_s=HOUR_S,
        ),
    ),
)


def minutes(days: int, seed: int, *, start: int = 20_000 * DAY_S, step_s: int = MINUTE_S) -> Slices:
    """Busy slices with outages, a lost hour and an excluded one."""
    random = np.random.default_rng(seed)
    count = days * DAY_S // step_s
    total = random.poisson(900, count)
    share = np.full(count, 0.0009)
    for begin in random.integers(0, count, 6).tolist():
        share[begin : begin + count // 100] = 0.02
    bad = random.binomial(total, share)
    covered, excluded = np.ones(count, np.bool_), np.zeros(count, np.bool_)
    gap, out = random.integers(0, count - 60, 2).tolist()
    covered[gap : gap + 60] = False
    covered[out : out + 30], excluded[out : out + 30] = False, True
    return Slices(start, step_s, bad * covered, total * covered, covered, excluded & ~covered)


def promised(units: Slices, **changes: object) -> Plan:
    """A week at 99.9 %, the default alerts, and a policy."""
    given = {
        "step_s": units.step_s,
        "target": Fraction(999, 1000),
        "window": RollingWindow(Duration(7, "d")),
        "conditions": default_conditions(7 * DAY_S),
        "policy": DEFAULT_POLICY,
    }
    return compile_plan(**{**given, **changes})  # type: ignore[arg-type]


def test_long_lookbacks_are_read_back_only_where_all_is_written() -> None:
    units = {f"slo-{n}": minutes(9, n) for n in range(3)}
    members = {key: Alone(key, promised(one), one) for key, one in units.items()}
    asked: list[int] = []

    def rows(keys: Sequence[str], start: int, end: int) -> list[Slices]:
        assert end <= min(members[key].at for key in keys) - UNWRITTEN * MINUTE_S
        asked.append(len(keys))
        return [members[key].units.between(start, end) for key in keys]

    world = World(LiveEvaluator(rows), members)
    for one in members.values():
        one.start_at(one.units.start + 8 * DAY_S)
    world.admit(list(members), with_record=True)
    first = next(iter(members.values())).at
    told = 0
    for number, end in enumerate(range(first + MINUTE_S, first + 320 * MINUTE_S, MINUTE_S)):
        told += len(world.tick(end))
        if number % 97 == 0:
            world.compare_statements()
    world.compare_statements()
    assert told
    assert asked


def test_counts_that_outgrow_a_fleet_go_on_exactly() -> None:
    """A member of a few events a minute sees a billion billion of them: more than rows of 32 bits hold."""
    condition = Condition("page", "page", Fraction(1), (600, 120), op=Comparison.GTE)
    members = {}
    for key, times in (("grown", 10**13), ("small", 1)):
        total = np.full(120, 1000)
        bad = np.zeros(120, np.int64)
        bad[40:80] = 1  # exactly what the target allows
        total[20:], bad[20:] = total[20:] * times, bad[20:] * times
        bad[70] -= 1
        units = Slices(0, 60, bad, total, np.ones(120, np.bool_))
        plan = promised(units, conditions=[condition], window=RollingWindow(Duration(90, "m")), policy=POLICY)
        members[key] = Alone(key, plan, units)
    world = World(LiveFleet(60, rows_of(members, 0), block=7, unwritten=0), members)
    world.admit(list(members))
    fired = []
    for end in range(60, 121 * 60, 60):
        fired += [
            (event.at, change.key) for change in world.tick(end) for event in change.outcome.alerts if event.fired
        ]
        world.compare_statements()
    assert {key for _, key in fired} == {"small", "grown"}


def test_a_tick_that_cannot_be_counted_changes_nothing() -> None:
    units = minutes(1, 3)
    huge = replace(units, total=units.total + 2**61, bad=units.bad)
    members = {"a": Alone("a", promised(units), units), "b": Alone("b", promised(units, target=Fraction(0)), units)}
    world = World(LiveEvaluator(rows_of(members, 0)), members)
    for one in members.values():
        one.start_at(units.start + 60 * MINUTE_S)
    world.admit(["a", "b"])
    end = members["a"].at + MINUTE_S
    row = huge.between(end - MINUTE_S, end)
    world.tick(end)
    seats = np.asarray([world.seats["a"], world.seats["b"]])
    evaluator = world.evaluator

    def tick(end: int) -> list[Change]:
        return evaluator.tick(Tick(MINUTE_S, end, seats, np.zeros(2, np.int64), np.append(units.total[:1], row.total)))

    tick(end + MINUTE_S)
    before = [evaluator.statement(key) for key in ("a", "b")]
    with pytest.raises(DataError, match="of b hold more units"):
        tick(end + 2 * MINUTE_S)
    assert [evaluator.statement(key) for key in ("a", "b")] == before


@pytest.mark.parametrize(
    ("zone", "start"),
    [("Europe/London", "2026-10-22"), ("America/New_York", "2026-03-05"), ("Australia/Lord_Howe", "2026-04-02")],
)
def test_a_calendar_window_that_crosses_a_change_of_clocks(zone: str, start: str) -> None:
    begin = int(datetime.fromisoformat(f"{start}T00:00:00+00:00").timestamp())
    units = minutes(6, 5, start=begin, step_s=1800)
    window = CalendarWindow(Duration(1, "d"), datetime(2026, 1, 1), zone)
    members = {
        key: Alone(key, promised(units, window=window, target=target), units)
        for key, target in (("a", Fraction(999, 1000)), ("b", Fraction(99, 100)))
    }
    world = World(LiveFleet(1800, rows_of(members, 0), block=3, unwritten=0), members)
    world.admit(list(members))
    lengths = set()
    for end in range(units.start + 1800, units.end + 1, 1800):
        world.tick(end)
        told = world.evaluator.statement("a")
        assert told == members["a"].statement()
        lengths.add(told.window_end - told.window_start)
    assert len(lengths) == 2


def test_a_slice_that_comes_late_is_replayed() -> None:
    units = minutes(2, 8)
    late = 1500
    holed = replace(units, covered=units.covered.copy(), bad=units.bad.copy(), total=units.total.copy())
    holed.covered[late], holed.bad[late], holed.total[late] = False, 0, 0
    members = {"a": Alone("a", promised(units, window=RollingWindow(Duration(1, "d"))), holed)}
    world = World(LiveEvaluator(rows_of(members, 0)), members)
    members["a"].start_at(units.start + 1440 * MINUTE_S)
    world.admit(["a"])
    for end in range(members["a"].at + MINUTE_S, units.start + 1600 * MINUTE_S, MINUTE_S):
        world.tick(end)
    world.dismiss("a")
    members["a"].units = units
    members["a"].start_at(members["a"].at)
    world.admit(["a"], with_record=True)
    for end in range(members["a"].at + MINUTE_S, units.start + 1700 * MINUTE_S, MINUTE_S):
        world.tick(end)
    world.compare_statements()


@pytest.mark.parametrize("evaluator", ["fleet of blocks", "slow"])
def test_what_is_learned_of_incidents_later_counts_from_then_on(evaluator: str) -> None:
    """A cause out of scope that is told afterwards takes bad units out of sums that were made already."""
    units = minutes(1, 4)
    bad = np.zeros(len(units), np.int64)
    bad[300:310], bad[340:420] = units.total[300:310] // 50, 3
    units = replace(units, bad=np.minimum(bad, units.total))
    spent = PolicyState(
        "spent",
        Flow.STABILITY,
        frozenset(),
        enter=AnyOf((RemainingIs(Comparison.LTE, Fraction(0)), IncidentOpen(frozenset()))),
        exit=AllOf((RemainingIs(Comparison.GT, Fraction(1, 10)), Not(IncidentOpen(frozenset())))),
    )
    policy = replace(POLICY, states=(POLICY.states[0], spent))
    plan = promised(units, window=RollingWindow(Duration(3, "h")), policy=policy)
    members = {key: Alone(key, plan, units) for key in ("a", "b", "c")}
    world = World(EVALUATORS[evaluator](60, rows_of(members, 0)), members)
    for one in members.values():
        one.start_at(units.start + 400 * MINUTE_S)
    at = members["a"].at
    # nobody has evaluated anything with this incident yet
    members["c"].incidents = (Incident(at - HOUR_S, at + HOUR_S, "sev1"),)
    world.admit(list(members))
    causes = [(at - 100 * MINUTE_S, at - 90 * MINUTE_S), (at - 60 * MINUTE_S, at + 20 * MINUTE_S)]
    states = set()
    for number, end in enumerate(range(at + MINUTE_S, at + 300 * MINUTE_S, MINUTE_S)):
        if number in (5, 50, 100, 150):
            one = members["a"]
            one.out_of_scope = {5: (causes[0],), 50: (causes[0], causes[1]), 100: (causes[1],), 150: ()}[number]
            world.evaluator.revise("a", one.incidents, one.out_of_scope)
        world.tick(end)
        states.add(tuple(one.memory.policy.state for one in members.values()))
    assert len(states) > 2
    assert any(a != b for a, b, _ in states)


def test_a_fleet_that_all_have_left_takes_others_in() -> None:
    units = minutes(1, 6)
    members = {key: Alone(key, promised(units), units) for key in ("a", "b", "c")}
    world = World(LiveFleet(60, rows_of(members, 0), block=4, unwritten=0), members)
    world.admit(["a", "b"])
    for end in range(units.start + 60, units.start + 600, 60):
        world.tick(end)
    world.dismiss("b")
    world.dismiss("a")
    assert world.evaluator.gauges((HOUR_S,)).keys == ()
    world.admit(["c"])
    for end in range(units.start + 60, units.start + 600, 60):
        world.tick(end)
    world.admit(["b", "a"])
    for end in range(units.start + 600, units.start + 3000, 60):
        world.tick(end)
    world.compare_statements()


def test_members_of_many_steps_and_plans_share_an_evaluator() -> None:
    """One of minutes, one of hours, and one that asks CEL, which no fleet takes."""
    asking = replace(
        POLICY,
        states=(POLICY.states[0], replace(POLICY.states[1], enter=Expression("remaining < 0.5"), exit_for_s=0)),
    )
    alert = replace(
        POLICY,
        states=(
            POLICY.states[0],
            replace(POLICY.states[1], enter=AlertFiring(frozenset()), exit=RemainingIs(Comparison.GT, Fraction(-9))),
        ),
    )
    hourly = minutes(40, 2, step_s=HOUR_S)
    units = minutes(1, 1, step_s=5 * MINUTE_S)
    plans = {
        "minutes": (promised(units, policy=alert), units),
        "hours": (promised(hourly), hourly),
        "asks": (promised(units, policy=asking), units),
    }
    assert [LiveFleet.takes(plan) for plan, _ in plans.values()] == [True, True, False]
    members = {key: Alone(key, plan, record) for key, (plan, record) in plans.items()}

    def ask(text: str, facts: Mapping[str, object]) -> bool:
        assert text == "remaining < 0.5"
        return isinstance(facts["remaining"], float) and facts["remaining"] < 0.5

    evaluator = LiveEvaluator(rows_of(members, 0))
    seats = evaluator.admit([Member(key, plan, record.start, ask=ask) for key, (plan, record) in plans.items()])
    assert evaluator.seats(["hours", "asks"]).tolist() == seats[1:].tolist()
    for number, (plan, record) in enumerate(plans.values()):
        key = list(plans)[number]
        for end in range(record.start + record.step_s, record.end + 1, record.step_s):
            members[key].at = end
            row = record.between(end - record.step_s, end)
            evaluator.tick(
                Tick(record.step_s, end, seats[number : number + 1], row.bad, row.total, row.covered, row.excluded)
            )
        expected, _ = advance(plan, Memory(), record, ask=ask)
        assert evaluator.memory(key) == expected
    assert len(evaluator) == 3
    evaluator.dismiss(["minutes"])
    assert "minutes" not in evaluator
    assert sorted(evaluator.gauges((HOUR_S,)).keys) == ["asks", "hours"]


@pytest.mark.parametrize(
    "changes",
    [
        {"gaps": Gaps.HOLD},
        {"gaps": Gaps.BAD},
        {"conditions": [Condition("s", "page", Fraction(2), (3600,), ConditionKind.SIGNIFICANCE)]},
        {"policy": replace(POLICY, states=(POLICY.states[0], replace(POLICY.states[1], exit=Expression("true"))))},
    ],
)
def test_what_needs_more_than_sums_is_not_taken(changes: dict[str, object]) -> None:
    assert not LiveFleet.takes(promised(minutes(1, 0), **changes))


def test_slices_come_one_after_the_other() -> None:
    units = minutes(1, 0)
    for evaluator in (LiveFleet(60, lambda *_: [units]), SlowTracks(lambda *_: [units.between(0, 0)])):
        seats = evaluator.admit([Member("a", promised(units), units.start + 600)])
        one = np.ones(1, np.int64)
        for wrong in (units.start + 600, units.start + 720):
            with pytest.raises(AssertionError, match="next slice"):
                evaluator.tick(Tick(60, wrong, seats, one, one))
        with pytest.raises(AssertionError, match="already"):
            evaluator.admit([Member("a", promised(units), units.start + 600)])
        evaluator.tick(Tick(60, units.start + 660, seats, one, one))


def test_plans_with_other_bounds_are_computed_as_one() -> None:
    units = minutes(2, 4)
    targets = [Fraction(99, 100) + Fraction(n, 3000) for n in range(12)]
    members = {
        str(n): Alone(str(n), promised(units, target=target, window=RollingWindow(Duration(1, "d"))), units)
        for n, target in enumerate(targets)
    }
    fleet = LiveFleet(60, rows_of(members, 0), block=50, unwritten=0)
    world = World(fleet, members)
    world.admit(list(members))
    told = sum(len(world.tick(end)) for end in range(units.start + 60, units.start + 120 * 60, 60))
    assert told
    assert fleet.shapes == 1
