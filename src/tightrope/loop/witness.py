"""The witness: history's word on alerts and on the gate, for one objective."""

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


def stopped_of(assessment: Assessment, deployments: Sequence[Deployment]) -> tuple[tuple[Deployment, str], ...]:
    """The deployments of the service that the policy's state at the time would have refused."""
    own = [one for one in deployments if one.service == assessment.slo.service]
    return stopped(own, assessment.history, assessment.policy)


def costs_of(assessment: Assessment) -> tuple[IncidentCost, ...]:
    """What each known incident of the stretch spent, as a share of the budget of the window in which it ended."""
    plan, units, evaluated = assessment.plan, assessment.units, assessment.history.evaluated
    if evaluated is None or not assessment.incidents:
        return ()
    record = record_of(units, plan.longest_s, history_start=assessment.history.memory.history_start)
    found = []
    for incident in assessment.incidents:
        if incident.end <= evaluated[0] or incident.start >= evaluated[1]:
            continue
        first = max(0, (incident.start - units.start) // units.step_s)
        last = min(len(units), -((units.start - incident.end) // units.step_s))
        bad = record.counts("bad", first, last) if first < last else 0
        if not bad:
            continue
        low, full, elapsed = window_bounds(plan, record, last - 1)
        total = Fraction(record.counts("total", low, last))
        if plan.basis is Basis.PROJECTED and elapsed:
            total = total * full / elapsed
        if total:
            found.append(
                IncidentCost(incident.id, incident.cause, incident.start, Fraction(bad) / ((1 - plan.target) * total))
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
