"""The gatekeeper: gather what is true of a service, and let the gate decide on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from fractions import Fraction

from tightrope.base.units import MINUTE_S, duration_text
from tightrope.engine.plan import Incident
from tightrope.loop.assess import Assessment
from tightrope.loop.forecasting import forecast_of
from tightrope.policy.decision import Decision, GateFacts, GateRequest, SloFacts
from tightrope.policy.gate import decide
from tightrope.specs.defaults import policy_of
from tightrope.specs.model import BudgetingMethod, ErrorBudgetPolicy, Slo, Specs

NOT_YET = "it was not evaluated yet"


def facts_of(assessment: Assessment, now: int) -> SloFacts:
    """What the gate may know of one objective at *now*, which may be later than its telemetry."""
    statement, history, budget = assessment.statement, assessment.history, assessment.budget
    known = budget.remaining_ratio is not None
    return SloFacts(
        slo=assessment.title,
        objective=assessment.objective.target,
        state=history.final_state,
        state_since=history.since,
        state_reason=history.reason,
        remaining=budget.remaining_ratio,
        allowed=budget.allowed if known else None,
        consumed=budget.consumed if known else None,
        unit="events" if not statement.unit_s else "slices",
        unit_s=statement.unit_s,
        window_s=statement.window_end - statement.window_start,
        coverage=statement.coverage,
        data_age_s=assessment.age_s(now),
        stale=assessment.stale,
        stale_after_s=assessment.slo.stale_after * assessment.plan.step_s,
        burn_rates=tuple((duration_text(burn.lookback_s), burn.rate) for burn in statement.burns),
        firing=tuple((condition.name, condition.severity) for condition in assessment.firing),
        forecast=forecast_of(assessment),
        doubts=(*assessment.doubts, *_row_doubts(assessment)),
    )


def ask_gate(
    specs: Specs, request: GateRequest, assessments: Sequence[Assessment], *, rollouts_running: int = 0
) -> Decision:
    """Answer whether the change may go out at ``request.asked_at``, from assessments made as of then."""
    return decide(request, gather(specs, request, assessments, rollouts_running=rollouts_running))


def _row_doubts(assessment: Assessment) -> tuple[str, ...]:
    """Rows that could not be used make what was read from the others less certain."""
    quality = assessment.quality
    if not quality.bad_rows:
        return ()
    where = f", the first in {quality.examples[0].source}:{quality.examples[0].line}" if quality.examples else ""
    return (f"{quality.bad_rows:,} of {quality.rows:,} rows of telemetry could not be used{where}",)


def gather(
    specs: Specs, request: GateRequest, assessments: Sequence[Assessment], *, rollouts_running: int = 0
) -> GateFacts:
    """All that the gate may look at, for a change that asks at ``request.asked_at``.

    An SLO of the service without an assessment, or with fewer than it has objectives, was not evaluated yet: it counts
    as one whose telemetry can't be read, and not as if nothing were promised.
    """
    watched = [one for one in assessments if one.watched and one.slo.service == request.service]
    known = [incident for one in watched for incident in one.incidents]
    facts = tuple(facts_of(one, request.asked_at) for one in watched)
    found = Counter(one.slo.name for one in watched)
    policy = policy_of_service(specs, request.service)
    facts += tuple(
        _unread(slo, policy, NOT_YET) for slo in specs.of_service(request.service) if found[slo.name] < _watched_of(slo)
    )
    return _gathered(specs, request, facts, known, rollouts_running)


def gather_unread(specs: Specs, request: GateRequest, why: str, incidents: Sequence[Incident] = ()) -> GateFacts:
    """All that the gate may look at where telemetry can't be read, and *why* in words: nothing is known of any SLO.

    The freest state stands for the one that is not known; missing data decides before it.
    """
    unread = unread_facts(specs, specs.of_service(request.service), why)
    known = [one for one in incidents if one.service in ("", request.service)]
    return _gathered(specs, request, unread, known, 0)


def _watched_of(slo: Slo) -> int:
    """How many assessments of an SLO count: one for each objective, or that of the whole."""
    return 1 if slo.composite and slo.method is not BudgetingMethod.OCCURRENCES else len(slo.objectives)


def _unread(slo: Slo, policy: ErrorBudgetPolicy, why: str) -> SloFacts:
    return SloFacts(
        slo=slo.name,
        objective=slo.objectives[0].target,
        state=policy.states[0].name,
        state_since=None,
        state_reason="",
        remaining=None,
        allowed=None,
        consumed=None,
        unit="events",
        unit_s=0,
        window_s=slo.window.duration.seconds,
        coverage=Fraction(0),
        data_age_s=None,
        stale=True,
        stale_after_s=slo.stale_after * (slo.step_s or MINUTE_S),
        burn_rates=(),
        unread=why,
    )


def unread_facts(specs: Specs, slos: Sequence[Slo], why: str) -> tuple[SloFacts, ...]:
    """What the gate may know of SLOs of which nothing is known, and *why* that is so."""
    return tuple(_unread(slo, policy_of_service(specs, slo.service), why) for slo in slos)


def policy_of_service(specs: Specs, service: str) -> ErrorBudgetPolicy:
    """The policy that a service follows: all its SLOs have the same (`TR042`)."""
    return policy_of(specs.policies, service, next((slo.policy for slo in specs.of_service(service)), None))


def _gathered(
    specs: Specs, request: GateRequest, slos: tuple[SloFacts, ...], incidents: Sequence[Incident], rollouts: int
) -> GateFacts:
    at = request.asked_at
    return GateFacts(
        policy=policy_of_service(specs, request.service),
        slos=slos,
        bullets=tuple(one for one in specs.silver_bullets if one.service == request.service),
        open_incidents=tuple(
            sorted({(one.id or one.severity, one.severity) for one in incidents if one.start <= at < one.end})
        ),
        rollouts_running=rollouts,
    )
