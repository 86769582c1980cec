"""Members are taken in all or none: one whose record cannot be read leaves the others to be taken in without it."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import pytest

from tightrope.base.errors import DataError
from tightrope.base.units import DAY_S, MINUTE_S, Duration
from tightrope.engine.live import LiveEvaluator
from tightrope.engine.plan import Plan, compile_plan
from tightrope.engine.ticks import Member, Tick
from tightrope.sli.slices import Slices
from tightrope.specs.defaults import DEFAULT_POLICY, default_conditions
from tightrope.specs.model import Gaps, RollingWindow

START = 20_000 * DAY_S


def plan_of(gaps: Gaps = Gaps.IGNORE) -> Plan:
    return compile_plan(
        step_s=MINUTE_S,
        target=Fraction(99, 100),
        window=RollingWindow(Duration(1, "d")),
        conditions=default_conditions(DAY_S),
        policy=DEFAULT_POLICY,
        gaps=gaps,
    )


def test_one_record_that_cannot_be_read_keeps_nobody_else_out() -> None:
    count = 2 * 1440
    record = Slices(START, 60, np.zeros(count, np.int64), np.full(count, 10), np.ones(count, np.bool_))
    damaged = {"hurt", "hurt too"}

    def rows(keys: Sequence[str], start: int, end: int) -> list[Slices]:
        if damaged & set(keys):
            raise DataError("a chunk of slices cannot be read")
        return [record.between(start, end) for _ in keys]

    evaluator = LiveEvaluator(rows)
    quick, slow = plan_of(), plan_of(Gaps.HOLD)
    names = [
        *(f"quick {number}" for number in range(80)),
        "hurt",
        *(f"slow {number}" for number in range(3)),
        "hurt too",
    ]
    members = [Member(name, slow if "slow" in name or "too" in name else quick, record.end) for name in names]
    with pytest.raises(DataError, match="cannot be read"):
        evaluator.admit(members)
    assert len(evaluator) == 0
    sound = [one for one in members if one.key not in damaged]
    with pytest.raises(DataError, match="cannot be read"):
        evaluator.admit([*sound, members[-1]])
    seats = evaluator.admit(sound)
    assert len(evaluator) == len(set(seats.tolist())) == len(sound)
    counts = np.full(len(sound), 10)
    evaluator.tick(Tick(60, record.end + 60, seats, counts * 0, counts))
    assert {evaluator.statement(one.key).total for one in sound} == {14400}
    damaged.clear()
    evaluator.admit([one for one in members if one.key not in evaluator])
    with pytest.raises(AssertionError, match="is in already"):
        evaluator.admit([members[0]])
