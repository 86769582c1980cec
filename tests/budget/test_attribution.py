"""Every bad unit has one cause, the parts sum to the whole, and nobody is blamed for what began before them."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tightrope.budget.attribution import Cause, Change, Dependency, Part, Trouble, attribute, price_of
from tightrope.sli.slices import Slices

START, STEP = 1_772_323_200, 60


def record(bad: list[int], total: int = 1000) -> Slices:
    count = len(bad)
    return Slices(START, STEP, np.array(bad, np.int64), np.full(count, total, np.int64), np.ones(count, np.bool_))


def at(minute: int) -> int:
    return START + minute * STEP


def test_a_worked_example() -> None:
    """A quiet day at 1 in 1000; a release that adds 9; an incident; a neighbour that burns."""
    bad = [1] * 1440
    bad[200:260] = [10] * 60  # after v2 went out
    bad[600:630] = [500] * 30  # declared
    bad[900:920] = [21] * 20  # while search was burning
    parts = attribute(
        record(bad),
        START,
        at(1440),
        troubles=[Trouble("INC-1", at(600), at(630))],
        changes=[Change("v2", at(200))],
        dependencies=[Dependency("search", ((at(895), at(920)),))],
    )
    assert parts == (
        Part(Cause.INFRA, "INC-1", 15_000),
        Part(Cause.BACKGROUND, "", 1440 - 30 - 25),
        Part(Cause.DEPLOY, "v2", 540),
        Part(Cause.UPSTREAM, "search", 425),
    )
    assert sum(one.bad for one in parts) == sum(bad)
    assert price_of(parts, "v2") == 540


def test_what_began_before_a_change_is_not_its_doing() -> None:
    bad = [0] * 600 + [200] * 120
    assert attribute(record(bad), START, at(720), changes=[Change("v2", at(640))]) == (
        Part(Cause.BACKGROUND, "", 24_000),
    )


def test_a_change_answers_for_what_got_worse() -> None:
    bad = [0] * 600 + [100] * 30 + [150] * 60 + [0] * 30
    parts = attribute(record(bad), START, at(720), changes=[Change("v2", at(630))])
    assert parts == (Part(Cause.BACKGROUND, "", 30 * 100 + 60 * 100), Part(Cause.DEPLOY, "v2", 60 * 50))


def test_the_later_of_two_changes_answers_from_its_beginning_on() -> None:
    bad = [0] * 600 + [10] * 30 + [60] * 30 + [0] * 60
    parts = attribute(record(bad), START, at(720), changes=[Change("v3", at(630)), Change("v2", at(600))])
    assert parts == (Part(Cause.DEPLOY, "v3", 1500), Part(Cause.BACKGROUND, "", 300), Part(Cause.DEPLOY, "v2", 300))


def test_an_incident_put_down_to_a_change_is_a_deploys_cost() -> None:
    bad = [0] * 60 + [100] * 10 + [0] * 30
    parts = attribute(record(bad), START, at(100), troubles=[Trouble("INC-2", at(60), at(70), Cause.DEPLOY)])
    assert parts == (Part(Cause.DEPLOY, "INC-2", 1000),)


def test_only_the_window_counts() -> None:
    bad = [5] * 100
    assert attribute(record(bad), at(40), at(60)) == (Part(Cause.BACKGROUND, "", 100),)
    assert attribute(record(bad), at(200), at(300)) == ()
    assert attribute(record([]), START, at(10)) == ()


MINUTES = st.integers(-50, 400)


@st.composite
def worlds(draw: st.DrawFn) -> tuple[Slices, int, int, list[Trouble], list[Change], list[Dependency]]:
    totals = draw(st.lists(st.integers(0, 50), min_size=1, max_size=300))
    bad = [draw(st.integers(0, most)) if draw(st.booleans()) else 0 for most in totals]
    units = replace(record(bad), total=np.array(totals, np.int64))
    start = at(draw(MINUTES))
    troubles = [
        Trouble(f"INC-{number}", at(minute), at(minute + length), draw(st.sampled_from(list(Cause))))
        for number, (minute, length) in enumerate(draw(st.lists(st.tuples(MINUTES, st.integers(0, 60)), max_size=3)))
    ]
    changes = [
        Change(f"v{number}", at(minute) + draw(st.integers(0, 59)), draw(st.integers(0, 7200)))
        for number, minute in enumerate(draw(st.lists(MINUTES, max_size=4)))
    ]
    burning = [
        Dependency(f"d{number}", ((at(minute), at(minute + 30)),))
        for number, minute in enumerate(draw(st.lists(MINUTES, max_size=2)))
    ]
    return units, start, start + draw(st.integers(0, 400)) * STEP, troubles, changes, burning


@given(worlds(), st.randoms())
def test_the_parts_sum_to_the_whole_in_any_order(
    world: tuple[Slices, int, int, list[Trouble], list[Change], list[Dependency]], random: Random
) -> None:
    units, start, end, troubles, changes, burning = world
    parts = attribute(units, start, end, troubles=troubles, changes=changes, dependencies=burning)
    assert sum(one.bad for one in parts) == int(units.between(start, end).bad.sum())
    assert all(one.bad > 0 for one in parts)
    random.shuffle(troubles)
    random.shuffle(changes)
    assert attribute(units, start, end, troubles=troubles, changes=changes, dependencies=burning) == parts


@given(worlds(), st.integers(0, 299), st.integers(0, 50))
def test_a_late_correction_gives_what_a_fresh_look_gives(
    world: tuple[Slices, int, int, list[Trouble], list[Change], list[Dependency]], index: int, count: int
) -> None:
    units, start, end, troubles, changes, burning = world
    index %= len(units)
    bad = units.bad.copy()
    bad[index] = min(count, int(units.total[index]))
    parts = attribute(replace(units, bad=bad), start, end, troubles=troubles, changes=changes, dependencies=burning)
    assert sum(one.bad for one in parts) == int(replace(units, bad=bad).between(start, end).bad.sum())


@pytest.mark.parametrize("minute", [30, 60, 89])
def test_a_change_without_harm_costs_nothing(minute: int) -> None:
    units = record([3] * 200)
    assert price_of(attribute(units, START, at(200), changes=[Change("v2", at(minute))]), "v2") == 0
