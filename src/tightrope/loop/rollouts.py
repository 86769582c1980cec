"""From where a service stands to what a rollout of it may cost: the facts of the plan, and its document."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from tightrope.base.errors import DataError, NotFoundError
from tightrope.base.units import DAY_S, HOUR_S, WEEK_S, time_text
from tightrope.delivery.canary import NANO, Counts, Harm, Safe, Undecided, difference
from tightrope.delivery.planner import Plan, Promise, Stage
from tightrope.delivery.rollout import Rollout
from tightrope.delivery.rollouts.standing import Standing
from tightrope.loop.assess import Assessment
from tightrope.loop.documents import number
from tightrope.policy.states import named
from tightrope.sli.slices import Slices
from tightrope.specs.model import ShipHow

if TYPE_CHECKING:
    from tightrope.delivery.rollouts.usecases import Shown, View

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


def standing_of(assessments: Sequence[Assessment], names: Sequence[str] = ()) -> Standing:
    """Where the objectives of a service stand, those of the SLOs named, or all.

    Raises:
        NotFoundError: There is none. DataError: The telemetry is too old, or there was no traffic.
    """
    chosen = [one for one in assessments if one.watched and (not names or one.slo.name in names)]
    missing = [name for name in names if name not in {one.slo.name for one in chosen}]
    if missing or not chosen:
        what = f"the SLO {missing[0]}" if missing else "the SLOs of this service"
        raise NotFoundError(
            f"nothing was evaluated yet of {what}", remedy="wait for its first evaluation, or check its source"
        )
    guarded = is_guarded([one for one in assessments if one.watched])
    return Standing(
        promises=tuple(_promise(one) for one in chosen),
        objectives=tuple((one.slo, one.objective) for one in chosen),
        history=tuple(_last_hour(one) for one in chosen),
        guarded=guarded,
        slice_s=slice_s(chosen),
        pages=pages_of(assessments)[0],
    )


def pages_of(assessments: Sequence[Assessment]) -> tuple[tuple[str, ...], bool]:
    """Which alerts page for a service now, and whether its policy asks for care."""
    watched = [one for one in assessments if one.watched]
    pages = sorted(
        f"{one.title} {condition.name}" for one in watched for condition in one.firing if condition.severity == "page"
    )
    return tuple(pages), is_guarded(watched)


def slices_of(assessments: Sequence[Assessment], title: str, since: int, until: int) -> Slices | None:
    """The unit slices of one objective between two instants; None where nothing is known of it."""
    one = next((one for one in assessments if one.title == title and one.watched), None)
    return None if one is None else one.units.between(since, until)


def _last_hour(one: Assessment) -> Counts:
    """Bad and total events of the last hour: how often requests fail as the service runs now."""
    units = one.units
    recent = units.between(one.statement.at - HOUR_S, one.statement.at)
    return Counts(int(recent.bad.sum()) // units.scale, int(recent.total.sum()) // units.scale)


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


def rollout_document(view: View, now: int) -> dict[str, Any]:
    """A rollout as plain values, the same in every front."""
    run, wish, state = view.run, view.wish, view.state
    known: dict[str, Any] = {
        "id": run.id,
        "number": run.number,
        "service": wish.service,
        "environment": wish.environment,
        "version": wish.version,
        "previous": wish.previous or None,
        "kind": wish.kind.value,
        "by": run.by,
        "phase": view.phase.value,
        "over": view.phase.over or view.step.state.over,
        "why": view.why,
        "createdAt": time_text(run.created_at),
        "proof": view.proof or None,
    }
    if state is None:
        return known
    said = state.verdict
    stage = None if state.stage is None else state.plan.stages[state.stage]
    reach = state.plan.terms.reaction.total_s
    return known | {
        "decision": state.decision or None,
        "unheard": view.unheard,
        "refused": state.refused or None,
        "trouble": view.trouble or None,
        "weight": number(state.weight),
        "seenWeight": number(state.seen),
        "stage": None if state.stage is None else state.stage + 1,
        "stages": [_stage(state.plan, place, one) for place, one in enumerate(state.plan.stages)],
        "guarded": state.plan.terms.guarded or state.slowed,
        "paused": state.paused,
        "begunAt": None if state.begun_at is None else time_text(state.begun_at),
        "settledAt": None if state.settled_at is None else time_text(state.settled_at),
        "endedAt": None if state.ended_at is None else time_text(state.ended_at),
        "elapsedSeconds": None if state.begun_at is None else (state.ended_at or now) - state.begun_at,
        "bakeSeconds": None if stage is None else stage.bake_s,
        "bakedSeconds": None if state.settled_at is None or stage is None else max(0, now - state.settled_at),
        "evidence": None if said is None else _evidence(said),
        "objectives": [
            {
                "slo": tally.name,
                "unit": "slices" if promise.unit_s else "events",
                "allowed": number(promise.allowed),
                "spent": number(tally.spent),
                "blind": number(tally.charged),
                "allowance": number(cost.allowance),
                "inFlight": number(cost.in_flight),
                "spentShare": number(tally.spent / promise.allowed if promise.allowed else None),
                "allowanceShare": number(cost.allowance / promise.allowed if promise.allowed else None),
                "worstShare": number(
                    None
                    if stage is None or not promise.allowed
                    else (tally.spent + promise.worst(stage.weight, reach)) / promise.allowed
                ),
                "canaryBad": tally.bad,
                "canaryTotal": tally.requests,
                "atStage": tally.at_stage,
                "difference": _difference_of(state, tally.name),
                "measuredTo": None if tally.until is None else time_text(tally.until),
            }
            for promise, tally, cost in zip(state.plan.promises, state.tallies, state.plan.costs, strict=True)
        ],
    }


def _difference_of(state: Rollout, name: str) -> dict[str, float] | None:
    """How much worse the canary is, with its band and what is tolerated; None where nothing is compared."""
    tests = state.analysis.errors if state.analysis is not None else ()
    test = next((one for one in tests if one.name == name), None)
    if test is None:
        return None
    found = difference(test.canary, test.baseline, test.promised, state.plan.terms.alpha, test.inflation)
    if found is None:
        return None
    return {"value": found.value, "low": found.low, "high": found.high, "tolerated": float(test.tolerated)}


def turn_document(one: Shown) -> dict[str, Any]:
    """One turn of a rollout, as it is drawn."""
    shown = one.shown
    return {
        "turn": one.number,
        "at": time_text(one.at),
        "phase": shown["phase"],
        "weight": number(Fraction(shown["weight"])),
        "seenWeight": None if shown["seen"] is None else number(Fraction(shown["seen"])),
        "harm": None if shown["harmNano"] is None else round(shown["harmNano"] / NANO, 6),
        "bound": round(shown["boundNano"] / NANO, 6),
        "spent": {name: number(Fraction(text)) for name, text in shown["spent"].items()},
        "arms": {
            name: {"canaryBad": one[0], "canaryTotal": one[1], "baselineBad": one[2], "baselineTotal": one[3]}
            for name, one in shown["arms"].items()
        },
        "why": shown["why"],
        "deeds": list(shown["deeds"]),
    }


def _evidence(said: Safe | Undecided | Harm) -> dict[str, Any]:
    return {
        "verdict": type(said).__name__.lower(),
        "harm": round(said.harm_nano / NANO, 6),
        "proof": None if said.proof_nano is None else round(said.proof_nano / NANO, 6),
        "bound": round(said.bound_nano / NANO, 6),
        "text": said.evidence,
        "why": said.why,
        "harmInSeconds": said.harm_in_s if isinstance(said, Undecided) else None,
        "safeInSeconds": said.safe_in_s if isinstance(said, Undecided) else None,
        "explanations": [
            {"slo": one.name, "hits": one.hits, "bad": one.bad, "expected": number(one.expected), "text": str(one)}
            for one in said.explanations
        ],
    }
