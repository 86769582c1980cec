"""Score: how well alerts found the incidents that are known, and what the gate would have stopped."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from tightrope.backtest.labels import Deployment
from tightrope.base.values import dataclass
from tightrope.engine.plan import Incident
from tightrope.engine.replay import Episode, History
from tightrope.policy.states import strictest
from tightrope.specs.model import ChangeKind, ErrorBudgetPolicy


@dataclass(frozen=True, slots=True)
class Score:
    """Alert episodes held against labelled incidents.

    An episode is *useful* if it overlaps an incident (stretched by the tolerance at its end), else *needless*; an
    incident is *found* if an episode overlaps it, else *missed*. Ratios are None where there is nothing to divide by.
    Detection runs from an incident's start to the first firing at or after it (0 if one was out already), reset from
    its end to the end of the last episode that found it; both in seconds, medians. An episode that still fires has
    lasted until the end of the stretch; an incident that ends later has no reset.
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
    """Hold the episodes of some severities against the incidents within the evaluated stretch.

    An incident that ended before the stretch, but not by more than the tolerance, counts as no incident of it; yet it
    explains the episodes that overlap it.
    """
    first, last = evaluated
    alerts = [one for one in episodes if one.severity in severities]
    near = [one for one in incidents if one.start <= last and one.end + tolerance_s >= first]
    known = [one for one in near if one.end >= first]
    useful = sum(any(_overlap(alert, one, tolerance_s) for one in near) for alert in alerts)
    detect: list[float] = []
    reset: list[float] = []
    for one in known:
        found = [alert for alert in alerts if _overlap(alert, one, tolerance_s)]
        if found:
            detect.append(max(0, min(alert.start for alert in found) - one.start))
            if one.end <= last:
                reset.append(max(0, max(last if alert.end is None else alert.end for alert in found) - one.end))
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
    deployments: Sequence[Deployment], histories: Sequence[History], policy: ErrorBudgetPolicy
) -> tuple[tuple[Deployment, str], ...]:
    """List the deployments of a service whose kind its state at the time would have refused, with that state.

    Args:
        deployments: Of the one service.
        histories: Of its objectives; the strictest state of those evaluated at the time counts, as at the gate.
        policy: The policy that they follow. Rollbacks go in any state.
    """
    allows = {state.name: state.allows for state in policy.states}
    found = []
    for deployment in deployments:
        states = [
            one.state_at(deployment.at)
            for one in histories
            if one.evaluated is not None and one.evaluated[0] <= deployment.at <= one.evaluated[1]
        ]
        if not states or deployment.kind == ChangeKind.ROLLBACK:
            continue
        state = strictest(policy, states)
        if deployment.kind not in allows[state]:
            found.append((deployment, state))
    return tuple(found)
