"""From the oracle's plain values to the engine's, and back."""

from __future__ import annotations

from datetime import datetime

import numpy as np

from tests.oracle.reference import Promise, Record, Row
from tightrope.base.units import Duration
from tightrope.engine.plan import Incident, Plan, compile_plan
from tightrope.sli.slices import Slices
from tightrope.specs.model import BudgetingMethod, Objective, RollingWindow, Slo

NEVER = 2**40


def slices_of(record: Record) -> Slices:
    """The engine's view of a record."""
    return Slices(
        start=record.start,
        step_s=record.step_s,
        bad=np.array([row.bad for row in record.rows], dtype=np.int64),
        total=np.array([row.total for row in record.rows], dtype=np.int64),
        covered=np.array([row.covered for row in record.rows], dtype=np.bool_),
        excluded=np.array([row.excluded for row in record.rows], dtype=np.bool_),
        scale=record.scale,
    )


def record_of(slices: Slices) -> Record:
    """The oracle's view of slices."""
    excluded = [False] * len(slices) if slices.excluded is None else slices.excluded.tolist()
    columns = zip(slices.bad.tolist(), slices.total.tolist(), slices.covered.tolist(), excluded, strict=True)
    return Record(slices.start, slices.step_s, tuple(Row(*row) for row in columns), slices.scale)


def plan_of(promise: Promise, lookbacks_s: tuple[int, ...] = ()) -> Plan:
    """Compile a promise of one member for the engine."""
    (member,) = promise.members
    return compile_plan(
        step_s=member.record.step_s,
        target=member.target,
        window=promise.window,
        conditions=promise.conditions,
        policy=promise.policy,
        basis=promise.basis,
        gaps=promise.gaps,
        stale_after=promise.stale_after,
        lookbacks_s=lookbacks_s,
        scale=member.record.scale,
        weight=member.weight,
    )


def incidents_of(promise: Promise) -> tuple[Incident, ...]:
    """The promise's incidents as the engine knows them."""
    return tuple(Incident(i.start, NEVER if i.end is None else i.end, i.severity) for i in promise.incidents)


def slo_of(method: BudgetingMethod, objective: Objective, scale: int = 1) -> Slo:
    """An SLO that says no more than its method."""
    return Slo("front-door", "shop", method, RollingWindow(Duration(30, "d")), (objective,), scale=scale)


def epoch(text: str) -> int:
    """UTC epoch seconds of ISO 8601 text with an offset."""
    return int(datetime.fromisoformat(text).timestamp())
