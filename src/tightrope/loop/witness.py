"""The witness: history's word on alerts and on the gate, for one objective."""

from __future__ import annotations

from collections.abc import Sequence

from tightrope.backtest.labels import Deployment
from tightrope.backtest.score import Score, score, stopped
from tightrope.loop.assess import Assessment


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
