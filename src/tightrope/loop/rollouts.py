"""From where a service stands to what a rollout of it may cost: the facts of the plan, and its document."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from tightrope.base.errors import DataError
from tightrope.base.units import DAY_S, HOUR_S, WEEK_S
from tightrope.delivery.planner import Plan, Promise, Stage
from tightrope.loop.assess import Assessment
from tightrope.loop.documents import number
from tightrope.policy.states import named
from tightrope.specs.model import ShipHow

_MORE = Fraction(11, 10)
"""What the peak has on top of the busiest hour."""


def promises_of(assessments: Sequence[Assessment]) -> tuple[Promise, ...]:
    """Read off what a plan needs to know: budget left, traffic at its peak and as usual, errors as they are.

    The peak is that of the busiest hour of the last week, and a tenth on top; usual traffic is that of the last day, as
    are the errors, by the median of its hours, so that an outage passes for neither.

    Raises:
        DataError: The telemetry is too old, or there was no traffic in the last week, so nothing can be planned on it.
    """
    return tuple(_promise(one) for one in assessments if one.watched)


def is_guarded(assessments: Sequence[Assessment]) -> bool:
    """Whether the policy's state asks for a guarded rollout, by any objective."""
    return any(named(one.policy, one.history.final_state).ship is ShipHow.GUARDED for one in assessments if one.watched)


def slice_s(assessments: Sequence[Assessment]) -> int:
    """The longest slice of the objectives, seconds: nothing is measured sooner."""
    return max(one.units.step_s for one in assessments if one.watched)


def _promise(one: Assessment) -> Promise:
    units, statement, budget = one.units, one.statement, one.budget
    if one.stale:
        raise DataError(
            f"the telemetry of {one.title} is too old to plan a rollout on",
            remedy="mend the source, or give --at to plan as of an earlier instant",
        )
    week = _by_hour(one, WEEK_S)
    day = _by_hour(one, DAY_S)
    if not day:
        raise DataError(
            f"{one.title} had no traffic in the last day, so nothing is known to plan a rollout on",
            remedy="plan it when there is traffic, or give --at",
        )
    time_based = bool(statement.unit_s)
    scale = units.scale
    peak = max(Fraction(total, scale * seconds) for _, total, seconds in week) * _MORE
    usual = Fraction(sum(total for _, total, _ in day), scale * sum(seconds for _, _, seconds in day))
    ratios = sorted(Fraction(bad, total) for bad, total, _ in day)
    return Promise(
        name=one.title,
        allowed=budget.allowed,
        remaining=budget.allowed - budget.consumed,
        peak=Fraction(1, statement.unit_s) if time_based else peak,
        usual=Fraction(1, statement.unit_s) if time_based else usual,
        bad_ratio=ratios[len(ratios) // 2],
        allowed_ratio=1 - one.objective.target,
        tolerated=1 - one.objective.target,
        unit_s=statement.unit_s,
    )


def _by_hour(one: Assessment, lookback_s: int) -> list[tuple[int, int, int]]:
    """Bad, total and measured seconds of each hour (each slice, where longer) with traffic before the statement."""
    units, at = one.units, one.statement.at
    recent = units.between(at - lookback_s, at)
    size = max(1, HOUR_S // units.step_s)
    found: list[tuple[int, int, int]] = []
    for first in range(0, len(recent), size):
        covered = int(recent.covered[first : first + size].sum())
        total = int(np.sum(recent.total[first : first + size]))
        if covered and total:
            found.append((int(np.sum(recent.bad[first : first + size])), total, covered * units.step_s))
    return found


# --- the document ---------------------------------------------------------------------------------------------------


def plan_document(plan: Plan, service: str, at: str) -> dict[str, Any]:
    """The plan as plain values, the same in every front."""
    return {
        "service": service,
        "asOf": at,
        "guarded": plan.terms.guarded,
        "allowance": number(plan.terms.share()),
        "reactionSeconds": plan.terms.reaction.total_s,
        "clusterGuard": number(plan.terms.inflation),
        "possible": bool(plan.stages),
        "stages": [_stage(plan, number_, stage) for number_, stage in enumerate(plan.stages)],
        "durationSeconds": plan.duration_s,
        "costsAtMost": [
            {
                "slo": cost.name,
                "unit": "slices" if promise.unit_s else "events",
                "allowance": number(cost.allowance),
                "inFlight": number(cost.in_flight),
                "atMost": number(cost.at_most),
                "share": number(cost.share),
                "outageSeconds": cost.outage_s,
                "peakPerSecond": number(promise.peak),
            }
            for cost, promise in zip(plan.costs, plan.promises, strict=True)
        ],
        "detects": [
            {
                "ratio": one.ratio,
                "withinSeconds": one.after_s,
                "cost": number(one.cost),
                "trafficTooLow": one.after_s is None,
            }
            for one in plan.detections
        ],
        "proofWeight": number(plan.proof_weight),
        "why": plan.why,
        "notes": list(plan.notes),
    }


def _stage(plan: Plan, index: int, stage: Stage) -> dict[str, Any]:
    reach = plan.terms.reaction.total_s
    return {
        "stage": index + 1,
        "weight": number(stage.weight),
        "bakeSeconds": stage.bake_s,
        "insideAllowance": stage.reserved,
        "needsProof": not stage.reserved,
        "purpose": stage.purpose,
        "worst": [number(one.worst(stage.weight, reach)) for one in plan.promises],
    }
