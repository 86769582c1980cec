"""The gatekeeper: gather what is true of a service, and let the gate decide on it."""

from __future__ import annotations

from collections.abc import Sequence

from tightrope.base.units import duration_text
from tightrope.loop.assess import Assessment, forecast_of, policy_of
from tightrope.policy.decision import Decision, GateFacts, GateRequest, SloFacts
from tightrope.policy.gate import decide
from tightrope.specs.model import Slo, Specs


def facts_of(assessment: Assessment, now: int) -> SloFacts:
    """What the gate may know of one objective at *now*, which may be later than its telemetry."""
    statement, history, budget = assessment.statement, assessment.history, assessment.budget
    age = None if statement.last_covered is None else max(0, now - statement.last_covered)
    stale_after_s = assessment.slo.stale_after * assessment.units.step_s
    last = history.transitions[-1] if history.transitions else None
    known = budget.remaining_ratio is not None
    return SloFacts(
        slo=assessment.title,
        objective=assessment.objective.target,
        state=history.final_state,
        state_since=history.since,
        state_reason=last.reason if last is not None else "",
        remaining=budget.remaining_ratio,
        allowed=budget.allowed if known else None,
        consumed=budget.consumed if known else None,
        unit="events" if not statement.unit_s else "slices",
        unit_s=statement.unit_s,
        window_s=statement.window_end - statement.window_start,
        coverage=statement.coverage,
        data_age_s=age,
        stale=age is None or age >= stale_after_s,
        stale_after_s=stale_after_s,
        burn_rates=tuple((duration_text(burn.lookback_s), burn.rate) for burn in statement.burns),
        firing=tuple((condition.name, condition.severity) for condition in assessment.firing),
        forecast=forecast_of(assessment),
    )


def ask_gate(
    specs: Specs, request: GateRequest, assessments: Sequence[Assessment], *, rollouts_running: int = 0
) -> Decision:
    """Answer whether the change may go out at ``request.asked_at``, from assessments made as of then."""
    watched = [one for one in assessments if one.watched and one.slo.service == request.service]
    policy = watched[0].policy if watched else policy_of(specs, _nobody(request.service))
    incidents = {
        (one.id or one.severity, one.severity)
        for each in watched
        for one in each.incidents
        if one.start <= request.asked_at < one.end
    }
    return decide(
        request,
        GateFacts(
            policy=policy,
            slos=tuple(facts_of(one, request.asked_at) for one in watched),
            bullets=tuple(one for one in specs.silver_bullets if one.service == request.service),
            open_incidents=tuple(sorted(incidents)),
            rollouts_running=rollouts_running,
        ),
    )


def _nobody(service: str) -> Slo:
    """An SLO that promises nothing, to look up the policy of a service that has none."""
    from fractions import Fraction

    from tightrope.base.units import Duration
    from tightrope.specs.model import BudgetingMethod, Objective, RollingWindow

    return Slo("", service, BudgetingMethod.OCCURRENCES, RollingWindow(Duration(28, "d")), (Objective(Fraction(0)),))
