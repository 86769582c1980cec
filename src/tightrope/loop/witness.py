"""The witness: history's word on alerts and incidents, for one objective, and on the gate, for its service."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from tightrope.backtest.labels import Deployment
from tightrope.backtest.score import Score, score, stopped
from tightrope.engine.record import record_of
from tightrope.engine.scan import window_bounds
from tightrope.loop.assess import Assessment
from tightrope.policy.incident_rules import (
    IncidentCost,
    RecurringClass,
    postmortems_needed,
    recurring_classes,
)
from tightrope.specs.model import Basis


def scores_of(assessment: Assessment) -> dict[str, Score] | None:
    """Score the alerts of an objective against its known incidents, by severity and over all; None without history."""
    evaluated = assessment.history.evaluated
    if evaluated is None:
        return None
    severities = sorted({condition.severity for condition in assessment.plan.conditions})
    episodes, incidents = assessment.history.episodes, assessment.incidents
    found = {name: score(episodes, incidents, evaluated, severities=frozenset({name})) for name in severities}
    return {"all": score(episodes, incidents, evaluated, severities=frozenset(severities))} | found


def stopped_of(
    assessment: Assessment, deployments: Sequence[Deployment], fleet: Sequence[Assessment] = ()
) -> tuple[tuple[Deployment, str], ...]:
    """The deployments of the objective's service that the service's state at the time would have refused.

    Args:
        assessment: The objective.
        deployments: Of any service.
        fleet: Among them all that are watched of the service; without any, the objective speaks alone.
    """
    service = assessment.slo.service
    group = [one for one in fleet if one.watched and one.slo.service == service] or [assessment]
    own = [one for one in deployments if one.service == service]
    return stopped(own, [one.history for one in group], assessment.policy)


def costs_of(assessment: Assessment) -> tuple[IncidentCost, ...]:
    """What each known incident of the stretch spent, as a share of the budget of the window in which it ended.

    Only what lies within that window counts, and each slice once: where incidents overlap, the one that began first
    has it.
    """
    plan, units, evaluated = assessment.plan, assessment.units, assessment.history.evaluated
    if evaluated is None or not assessment.incidents:
        return ()
    record = record_of(units, plan.longest_s, history_start=assessment.history.memory.history_start)
    found = []
    taken = 0
    for incident in sorted(assessment.incidents, key=lambda one: (one.start, one.end, one.id)):
        first = max(taken, (incident.start - units.start) // units.step_s)
        last = min(len(units), -((units.start - incident.end) // units.step_s))
        if first >= last:
            continue
        taken = last
        if incident.end <= evaluated[0] or incident.start >= evaluated[1]:
            continue
        low, full, elapsed = window_bounds(plan, record, last - 1)
        bad = record.counts("bad", max(first, low), last)
        if not bad:
            continue
        total = Fraction(record.counts("total", low, last))
        if plan.basis is Basis.PROJECTED and elapsed:
            total = total * full / elapsed
        if total:
            found.append(
                IncidentCost(incident.id, incident.cause, incident.start, Fraction(bad) / (plan.share * total))
            )
    return tuple(sorted(found, key=lambda cost: (-cost.share, cost.started_at)))


def duties_of(assessment: Assessment) -> tuple[tuple[IncidentCost, ...], tuple[RecurringClass, ...]]:
    """What the policy asks for after the known incidents: postmortems, and objectives for classes that recur."""
    costs = costs_of(assessment)
    window_s = assessment.slo.window.duration.seconds
    return (
        postmortems_needed(assessment.policy, costs),
        recurring_classes(assessment.policy, costs, window_s),
    )
