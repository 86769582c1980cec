"""Live evaluation of many objectives at once says, tick by tick, what each record says on its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
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
    CalendarWindow,
    ChangeKind,
    Comparison,
    Condition,
    ConditionKind,
    ErrorBudgetPolicy,
    Expression,
    Flow,
    Gaps,
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
    at: int = 0

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
            assert end <= one.at - unwritten * one.units.step_s or end <= one.at
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
    "fleet": lambda step_s, rows: LiveFleet(step_s, rows),
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
@settings(max_examples=300)
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
