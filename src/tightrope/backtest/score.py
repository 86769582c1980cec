"""Score: how well alerts found the incidents that are known, and what the gate would have stopped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from tightrope.backtest.labels import Deployment
from tightrope.engine.plan import Incident
from tightrope.engine.replay import Episode, History
from tightrope.specs.model import ErrorBudgetPolicy


@dataclass(frozen=True, slots=True)
class Score:
    """Alert episodes held against labelled incidents.

    An episode is *useful* if it overlaps an incident (stretched by the tolerance at its end), else *needless*; an
    incident is *found* if an episode overlaps it, else *missed*. Ratios are None where there is nothing to divide by.
    Detection runs from an incident's start to the first firing at or after it (0 if one was out already), reset from
    its end to the end of the last episode that found it; both in seconds, medians.
    """

    episodes: int
    useful: int
    needless: int
    incidents: int
    found: int
    missed: int
    precision: float | None
    recall: float | None
    detect_s: float | None
    reset_s: float | None


def score(
    episodes: Sequence[Episode],
    incidents: Sequence[Incident],
    evaluated: tuple[int, int],
    *,
    severities: frozenset[str] = frozenset({"page"}),
    tolerance_s: int = 3600,
) -> Score:
    """Hold the episodes of some severities against the incidents within the evaluated stretch."""
    first, last = evaluated
    alerts = [one for one in episodes if one.severity in severities]
    known = [one for one in incidents if one.start <= last and one.end >= first]
    useful = sum(any(_overlap(alert, one, tolerance_s) for one in known) for alert in alerts)
    detect: list[float] = []
    reset: list[float] = []
    for one in known:
        found = [alert for alert in alerts if _overlap(alert, one, tolerance_s)]
        if found:
            detect.append(max(0, min(alert.start for alert in found) - one.start))
            ends = [alert.end for alert in found if alert.end is not None]
            if ends:
                reset.append(max(0, max(ends) - one.end))
    return Score(
        len(alerts),
        useful,
        len(alerts) - useful,
        len(known),
        len(detect),
        len(known) - len(detect),
        useful / len(alerts) if alerts else None,
        len(detect) / len(known) if known else None,
        median(detect) if detect else None,
        median(reset) if reset else None,
    )


def _overlap(alert: Episode, incident: Incident, tolerance_s: int) -> bool:
    return alert.start <= incident.end + tolerance_s and (alert.end is None or alert.end >= incident.start)


def stopped(
    deployments: Sequence[Deployment], history: History, policy: ErrorBudgetPolicy
) -> tuple[tuple[Deployment, str], ...]:
    """List the deployments whose kind the policy's state at the time would have refused, with that state."""
    if history.evaluated is None:
        return ()
    allows = {state.name: {str(kind) for kind in state.allows} for state in policy.states}
    found = []
    for deployment in deployments:
        if history.evaluated[0] <= deployment.at <= history.evaluated[1]:
            state = history.state_at(deployment.at)
            if deployment.kind not in allows[state]:
                found.append((deployment, state))
    return tuple(found)
