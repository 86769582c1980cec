"""The documents that every front shares: statements and backtests as plain values, a stable JSON contract."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from tightrope.backtest.labels import Deployment
from tightrope.backtest.score import Score
from tightrope.base.units import duration_text, time_text
from tightrope.budget.statement import Budget
from tightrope.loop.assess import Assessment
from tightrope.policy.incident_rules import IncidentCost, RecurringClass
from tightrope.policy.states import named
from tightrope.specs.model import Basis, CalendarWindow

Duties = tuple[tuple[IncidentCost, ...], tuple[RecurringClass, ...]]
"""Incidents that need a postmortem, and classes of outage that need an objective."""


def status_document(assessment: Assessment, basis: Basis | None = None) -> dict[str, Any]:
    """One objective's status; *basis* chooses the budget shown, None the one the policy sees."""
    statement, slo = assessment.statement, assessment.slo
    basis = basis if basis is not None else assessment.plan.basis
    state = named(assessment.policy, assessment.history.final_state)
    firing = {condition.name for condition in assessment.firing}
    window: dict[str, Any] = {
        "type": "calendar" if isinstance(slo.window, CalendarWindow) else "rolling",
        "duration": str(slo.window.duration),
        "start": time_text(statement.window_start),
        "end": time_text(statement.window_end),
    }
    if isinstance(slo.window, CalendarWindow):
        window["timeZone"] = slo.window.time_zone
    document: dict[str, Any] = {
        "service": slo.service,
        "slo": slo.name,
        "objective": number(assessment.objective.target),
        "budgetingMethod": str(slo.method),
        "window": window,
        "good": number(statement.good),
        "total": number(statement.total),
        "sli": number(statement.sli),
        "budget": budget_document(assessment, statement.budget(basis)),
        "coverage": number(statement.coverage),
        "burnRates": {duration_text(burn.lookback_s): number(burn.rate) for burn in statement.burns},
        "alerts": [
            {"name": one.name, "severity": one.severity, "firing": one.name in firing}
            for one in (assessment.plan.conditions if assessment.watched else ())
        ],
        "flow": str(state.flow),
        "state": state.name,
        "stateSince": None if assessment.history.since is None else time_text(assessment.history.since),
        "stale": assessment.stale,
        "policy": assessment.policy.name,
        "asOf": time_text(statement.at),
    }
    quiet = [duration_text(burn.lookback_s) for burn in statement.burns if burn.no_traffic]
    if quiet:
        document["noTraffic"] = quiet
    if statement.projected != statement.observed and _differ(statement.projected, statement.observed):
        document["budgets"] = {
            str(each.basis): budget_document(assessment, each) for each in (statement.projected, statement.observed)
        }
    if statement.interval is not None:
        document["consumedInterval"] = [number(bound) for bound in statement.interval]
    if len(slo.objectives) > 1 or assessment.whole:
        document["objectiveName"] = assessment.objective.display_name or str(assessment.number + 1)
    if slo.composite:
        document["composite"] = "whole" if assessment.whole else "member"
    if assessment.plan.weight != 1:
        document["weight"] = number(assessment.plan.weight)
    return document | quality_document(assessment)


def quality_document(assessment: Assessment) -> dict[str, Any]:
    """What is to be told of the rows and of what makes the state uncertain; empty where there is nothing."""
    quality = assessment.quality
    if not (quality.bad_rows or quality.notes or assessment.doubts):
        return {}
    return {
        "quality": {
            "rows": quality.rows,
            "badRows": quality.bad_rows,
            "examples": [f"{one.source}:{one.line}: {one.why}" for one in quality.examples],
            "notes": [*quality.notes, *assessment.doubts],
        }
    }


def budget_document(assessment: Assessment, budget: Budget) -> dict[str, Any]:
    """A budget on one basis, in its own units."""
    return {
        "basis": str(budget.basis),
        "allowed": number(budget.allowed),
        "consumed": number(budget.consumed),
        "consumedRatio": number(budget.consumed_ratio),
        "remainingRatio": number(budget.remaining_ratio),
        "unit": "slices" if assessment.statement.unit_s else "events",
    }


def explain_document(decision: dict[str, Any], assessments: Sequence[Assessment]) -> dict[str, Any]:
    """Why a service is in its state: the decision (as a document) on a feature, and how each objective came there."""
    return {
        "service": decision["service"],
        "decision": decision,
        "objectives": [
            status_document(one)
            | {
                "transitions": transitions_document(one),
                "firing": [condition.name for condition in one.firing],
            }
            for one in assessments
        ],
    }


def transitions_document(assessment: Assessment) -> list[dict[str, str]]:
    """The moves of the policy, oldest first."""
    return [
        {"at": time_text(one.at), "from": one.before, "to": one.after, "reason": one.reason}
        for one in assessment.history.transitions
    ]


def backtest_document(
    assessment: Assessment,
    scores: dict[str, Score] | None = None,
    stopped: Sequence[tuple[Deployment, str]] | None = None,
    duties: Duties | None = None,
) -> dict[str, Any]:
    """What a replay of one objective found."""
    history = assessment.history
    document: dict[str, Any] = {
        "service": assessment.slo.service,
        "slo": assessment.slo.name,
        "objective": number(assessment.objective.target),
        "policy": assessment.policy.name,
        "from": None if history.evaluated is None else time_text(history.evaluated[0]),
        "to": None if history.evaluated is None else time_text(history.evaluated[1]),
        "episodes": [
            {
                "start": time_text(one.start),
                "end": None if one.end is None else time_text(one.end),
                "severity": one.severity,
                "condition": one.condition,
            }
            for one in history.episodes
        ],
        "transitions": transitions_document(assessment),
        "hoursInState": {name: seconds / 3600 for name, seconds in history.state_s.items()},
        "hoursStale": history.stale_s / 3600,
        "worstRemaining": None if history.evaluated is None else 1 - history.worst_consumed.value,
        "worstAt": None if history.worst_consumed.at is None else time_text(history.worst_consumed.at),
        "peakBurnRates": {
            duration_text(lookback): peak.value
            for lookback, peak in zip(assessment.plan.lookbacks_s, history.burns, strict=True)
        },
        "finalState": history.final_state,
    }
    document |= quality_document(assessment)
    if len(assessment.slo.objectives) > 1:
        document["objectiveName"] = assessment.objective.display_name or str(assessment.number + 1)
    if scores is not None:
        document["scores"] = {
            name: {
                "alerts": one.episodes,
                "useful": one.useful,
                "needless": one.needless,
                "incidents": one.incidents,
                "found": one.found,
                "missed": one.missed,
                "precision": one.precision,
                "recall": one.recall,
                "timeToDetect": one.detect_s,
                "timeToReset": one.reset_s,
            }
            for name, one in scores.items()
        }
        overall = scores.get("all") or next(iter(scores.values()))
        document |= {
            "precision": overall.precision,
            "recall": overall.recall,
            "timeToDetect": overall.detect_s,
            "timeToReset": overall.reset_s,
        }
    if duties is not None:
        document["postmortemsNeeded"] = [
            {"incident": one.id, "start": time_text(one.started_at), "share": float(one.share)} for one in duties[0]
        ]
        document["recurringClasses"] = [
            {
                "class": one.outage_class,
                "quarterStart": time_text(one.quarter_start),
                "share": float(one.share),
                "incidents": list(one.incidents),
            }
            for one in duties[1]
        ]
    if stopped is not None:
        document["deploymentsStopped"] = [
            {
                "time": time_text(one.at),
                "change": one.change,
                "kind": one.kind,
                "environment": one.environment,
                "state": state,
            }
            for one, state in stopped
        ]
    return document


def number(value: Fraction | None) -> int | float | None:
    """An exact value as JSON has it: a whole number stays one, the rest is the nearest float."""
    if value is None:
        return None
    return int(value) if value.denominator == 1 else float(value)


def _differ(one: Budget, other: Budget) -> bool:
    return (one.allowed, one.consumed) != (other.allowed, other.consumed)
