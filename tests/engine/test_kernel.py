"""Both scans say what naive arithmetic says: NumPy's and the compiled one, bit for bit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tightrope.alerting.conditions import is_significant
from tightrope.base.units import Duration
from tightrope.engine.plan import (
    WINDOW,
    Asked,
    Check,
    Every,
    Firing,
    Floor,
    Incident,
    Never,
    Open,
    Plan,
    Significance,
    Some,
    compile_plan,
)
from tightrope.engine.plan import (
    Test as CountTest,
)
from tightrope.engine.record import Record, Workspace, record_of
from tightrope.engine.replay import replay, replay_fleet
from tightrope.engine.scan import Scanned, Scanner, scan, window_bounds
from tightrope.engine.scanners import WORTHWHILE, best_scanner
from tightrope.policy.states import compare
from tightrope.sli.slices import Slices
from tightrope.specs.defaults import DEFAULT_POLICY
from tightrope.specs.model import (
    AllOf,
    AnyOf,
    Basis,
    BurnRateIs,
    CalendarWindow,
    Comparison,
    Condition,
    ConditionKind,
    Expression,
    Gaps,
    RemainingIs,
    RollingWindow,
    Window,
)

STEP_S = 60
START = 20_000 * 86_400


def compiled() -> Scanner:
    pytest.importorskip("numba", reason="the compiled scan needs numba (the extra `fast`)")
    return best_scanner(0, compiled=True)


@dataclass(frozen=True, repr=False)
class World:
    plan: Plan
    units: Slices
    incidents: tuple[Incident, ...]
    out_of_scope: tuple[tuple[int, int], ...]

    def record(self, scanner: Scanner) -> Record:
        return record_of(self.units, self.plan.longest_s, out_of_scope=self.out_of_scope, summing=scanner.summing)

    def scanned(self, scanner: Scanner, first: int = 0) -> Scanned:
        record = self.record(scanner)
        return scanner(self.plan, record, first, len(self.units), incidents=self.incidents, ask=ask)


def ask(text: str, facts: Mapping[str, object]) -> bool:
    """Answers every expression alike: has more than half of the budget been consumed?"""
    return isinstance(facts["consumed"], float) and facts["consumed"] > 0.5


WINDOWS: list[Window] = [
    RollingWindow(Duration(45, "m")),
    RollingWindow(Duration(10, "h")),
    CalendarWindow(Duration(1, "d"), datetime(2024, 1, 1, 5), "Europe/Berlin"),
]

ratios = st.sampled_from([Fraction(0), Fraction(1, 2), Fraction(1), Fraction(3), Fraction(72, 5)])
steps = st.sampled_from([1, 5, 31, 60, 120, 400])


@st.composite
def units(draw: st.DrawFn, most: int) -> Slices:
    """Stretches of steady, quiet, failing, empty, missing and excluded time; counts from a few to beyond 2**53."""
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    scale = draw(st.sampled_from([3, 1_000, 10**6, 10**15 if most < 2_000 else 10**12]))
    bad, total, covered, excluded = [], [], [], []
    for kind in draw(st.lists(st.sampled_from("sqfenx"), min_size=1, max_size=10)):
        n = int(random.integers(1, most // 10))
        many = np.full(n, scale) if kind == "s" else random.integers(0, scale, n)
        if kind in "enx":
            many = np.zeros(n, np.int64)
        share = {"s": 0.002, "q": 0.0, "f": 0.2}.get(kind, 0.0)
        few = (many * share).astype(np.int64) if kind == "s" else random.binomial(many, share)
        bad.append(few)
        total.append(many)
        covered.append(np.full(n, kind in "sqfe"))
        excluded.append(np.full(n, kind == "x"))
    return Slices(
        START,
        STEP_S,
        np.concatenate(bad).astype(np.int64),
        np.concatenate(total).astype(np.int64),
        np.concatenate(covered),
        np.concatenate(excluded),
    )


@st.composite
def conditions(draw: st.DrawFn, number: int) -> Condition:
    return Condition(
        f"condition-{number}",
        "page",
        draw(ratios),
        tuple(STEP_S * n for n in draw(st.lists(steps, min_size=1, max_size=2))),
        kind=draw(st.sampled_from(ConditionKind)),
        op=draw(st.sampled_from(Comparison)),
        at_least_bad=draw(st.sampled_from([0, 0, 7])),
        at_least_total=draw(st.sampled_from([0, 0, 500])),
    )


@st.composite
def worlds(draw: st.DrawFn, most: int = 1_500, *, odd: bool = True) -> World:
    record = draw(units(most))
    window = draw(st.sampled_from(WINDOWS))
    policy = DEFAULT_POLICY
    if odd:
        first, caution, *others = policy.states
        enter = AnyOf((RemainingIs(draw(st.sampled_from(Comparison)), draw(ratios)), Expression("consumed > 0.5")))
        leave = AllOf((BurnRateIs(STEP_S * draw(steps), draw(st.sampled_from(Comparison)), draw(ratios)),))
        policy = replace(policy, states=(first, replace(caution, enter=enter, exit=leave), *others))
    plan = compile_plan(
        step_s=STEP_S,
        target=draw(st.sampled_from([Fraction(0), Fraction(9, 10), Fraction(999, 1000)])),
        window=window,
        conditions=[draw(conditions(number)) for number in range(draw(st.integers(0, 3)))],
        policy=policy,
        basis=draw(st.sampled_from(Basis)),
        gaps=draw(st.sampled_from([Gaps.IGNORE, Gaps.GOOD])),
        stale_after=draw(st.sampled_from([1, 10, 5_000])),
        lookbacks_s=[STEP_S * n for n in draw(st.lists(steps, max_size=4, unique=True))],
    )
    instants = st.integers(START, record.end)
    stretches = draw(st.lists(st.tuples(instants, instants), max_size=3))
    return World(
        plan,
        record,
        tuple(Incident(min(pair), max(pair), "sev1") for pair in stretches),
        tuple(draw(st.lists(st.tuples(instants, instants), max_size=2))),
    )


def slice_by_slice(scanned: Scanned) -> list[int]:
    lengths = np.diff([*scanned.indices.tolist(), scanned.last])
    return np.repeat(scanned.codes, lengths).tolist() if len(lengths) else []


class Naive:
    """The plan's checks at one slice, in fractions, every sum added up anew."""

    def __init__(self, world: World, record: Record, index: int) -> None:
        self.world, self.record, self.index = world, record, index
        low, self.full, self.elapsed = window_bounds(world.plan, record, index)
        self.window = max(0, low)
        forgiven = {
            number
            for number in range(len(world.units))
            for start, end in world.out_of_scope
            if start < START + (number + 1) * STEP_S and end > START + number * STEP_S and end > start
        }
        self.scoped = [0 if n in forgiven else count for n, count in enumerate(world.units.bad.tolist())]

    def sum(self, series: str, lookback_s: int) -> int:
        low = self.window if lookback_s == WINDOW else max(0, self.index + 1 - max(1, lookback_s // STEP_S))
        counts = self.scoped if series == "scoped" else getattr(self.world.units, series)[low : self.index + 1].tolist()
        return sum(counts[low : self.index + 1] if series == "scoped" else counts)

    def holds(self, check: Check) -> bool:
        match check:
            case CountTest():
                valid = Fraction(self.sum("total", check.bottom))
                if not valid:
                    return check.when_empty
                if check.projected:
                    valid = valid * self.full / self.elapsed
                spent = self.sum("scoped" if check.scoped else "bad", check.top)
                return compare(spent / valid, check.op, check.threshold)
            case Floor():
                return self.sum("bad" if check.bad else "total", check.lookback_s) >= check.at_least
            case Significance():
                counts = self.sum("bad", check.lookback_s), self.sum("total", check.lookback_s)
                return is_significant(*counts, check.ratio, check.confidence)
            case Open():
                at = START + (self.index + 1) * STEP_S
                return any(
                    one.start <= at < one.end and (not check.severities or one.severity in check.severities)
                    for one in self.world.incidents
                )
            case Every():
                return all(self.holds(part) for part in check.parts)
            case Some():
                return any(self.holds(part) for part in check.parts)
            case Never():
                return not self.holds(check.part)
            case Asked() | Firing():
                raise AssertionError(f"{check} is not for a naive reader")

    def stale(self) -> bool:
        plan, seen = self.world.plan, self.world.units
        low = self.index + 1 - plan.stale_after
        excluded = seen.excluded if seen.excluded is not None else np.zeros(len(seen), np.bool_)
        gaps = ~(seen.covered | excluded)
        return plan.gaps is Gaps.IGNORE and low >= 0 and bool(gaps[low : self.index + 1].all())


def asks(check: Check) -> bool:
    match check:
        case Asked():
            return True
        case Every() | Some():
            return any(asks(part) for part in check.parts)
        case Never():
            return asks(check.part)
        case _:
            return False


@settings(max_examples=60)
@given(worlds())
def test_the_compiled_scan_is_numpys_bit_for_bit(world: World) -> None:
    ours, theirs = world.scanned(compiled()), world.scanned(scan)
    assert (ours.first, ours.last) == (theirs.first, theirs.last)
    assert ours.indices.tolist() == theirs.indices.tolist()
    assert ours.codes.tolist() == theirs.codes.tolist()
    assert (ours.burns, ours.consumed) == (theirs.burns, theirs.consumed)


@settings(max_examples=40)
@given(worlds(most=60_000, odd=False), st.integers(0, 3_000))
def test_over_many_blocks_the_compiled_scan_is_numpys_bit_for_bit(world: World, first: int) -> None:
    ours, theirs = world.scanned(compiled(), first), world.scanned(scan, first)
    assert ours.indices.tolist() == theirs.indices.tolist()
    assert ours.codes.tolist() == theirs.codes.tolist()
    assert (ours.burns, ours.consumed) == (theirs.burns, theirs.consumed)


@settings(max_examples=40)
@given(worlds(), st.data())
def test_columns_are_those_of_naive_arithmetic(world: World, data: st.DataObject) -> None:
    scanned = world.scanned(scan)
    codes = slice_by_slice(scanned)
    record = world.record(scan)
    if not codes:
        return
    turns = [index for turn in scanned.indices.tolist() for index in (turn - 1, turn)][:20]
    others = data.draw(st.lists(st.integers(scanned.first, scanned.last - 1), max_size=10))
    for index in {one for one in (*turns, *others) if scanned.first <= one < scanned.last}:
        naive = Naive(world, record, index)
        code = codes[index - scanned.first]
        for column, check in enumerate(world.plan.columns):
            if not asks(check):
                assert bool(code >> column & 1) == naive.holds(check), (index, check)
        assert bool(code >> len(world.plan.columns) & 1) == naive.stale()


@settings(max_examples=25)
@given(worlds(most=900), st.integers(0, 900))
def test_a_scan_may_begin_anywhere(world: World, first: int) -> None:
    whole = slice_by_slice(world.scanned(scan))
    history = world.record(scan).first
    for scanner in (scan, compiled()):
        part = world.scanned(scanner, first)
        assert slice_by_slice(part) == whole[max(0, first - history) :]


def hovering(n: int) -> Slices:
    """A bad ratio that lies exactly on what a 99.9 % target allows, in every slice."""
    return Slices(START, STEP_S, np.full(n, 2), np.full(n, 2_000), np.ones(n, np.bool_))


@pytest.mark.parametrize(("op", "holds"), [("gte", True), ("lte", True), ("gt", False), ("lt", False)])
def test_a_ratio_exactly_on_its_bound_is_told_exactly(op: str, holds: bool) -> None:
    condition = Condition("edge", "page", Fraction(1), (3_600, 300), op=Comparison(op))
    plan = compile_plan(
        step_s=STEP_S,
        target=Fraction(999, 1000),
        window=RollingWindow(Duration(1, "d")),
        conditions=[condition],
        policy=DEFAULT_POLICY,
    )
    world = World(plan, hovering(3_000), (), ())
    for scanner in (scan, compiled()):
        codes = slice_by_slice(world.scanned(scanner))
        assert {bool(code >> plan.condition_columns[0] & 1) for code in codes} == {holds}


@settings(max_examples=10)
@given(worlds(most=600, odd=False), worlds(most=600, odd=False))
def test_memory_used_again_leaks_nothing_from_record_to_record(one: World, other: World) -> None:
    for scanner in (scan, compiled()):
        space = Workspace()
        told = [replay(w.plan, w.units, scanner=scanner, workspace=space) for w in (one, other, one)]
        assert told[0] == told[2] == replay(one.plan, one.units, scanner=scanner)
        assert told[1] == replay(other.plan, other.units, scanner=scanner)


def test_a_fleet_tells_what_its_members_tell_in_their_order() -> None:
    random = np.random.default_rng(7)
    jobs = []
    for number in range(9):
        total = random.integers(0, 100, 2_000)
        bad = random.binomial(total, 0.001 * (1 + number))
        plan = compile_plan(
            step_s=STEP_S,
            target=Fraction(995, 1000),
            window=RollingWindow(Duration(6, "h")),
            conditions=[Condition("page", "page", Fraction(2), (3_600, 300))],
            policy=DEFAULT_POLICY,
        )
        jobs.append((plan, Slices(START, STEP_S, bad, total, np.ones(2_000, np.bool_))))
    alone = [replay(plan, record) for plan, record in jobs]
    assert any(history.episodes for history in alone)
    for workers in (1, 2, 3):
        for scanner in (scan, compiled()):
            assert list(replay_fleet(iter(jobs), workers=workers, scanner=scanner)) == alone


def test_short_work_is_done_with_numpy() -> None:
    assert best_scanner(WORTHWHILE - 1) is scan
    assert best_scanner(10 * WORTHWHILE, compiled=False) is scan


def test_long_work_is_compiled_where_numba_is_at_hand() -> None:
    assert best_scanner(WORTHWHILE) == compiled() != scan
