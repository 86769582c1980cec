"""How a service stands, from the assessments of its objectives: what sentences and fleet tables are made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction

from tightrope.base.units import span_text
from tightrope.budget.words import Standing, amount_text, outlook_text
from tightrope.loop.assess import Assessment
from tightrope.loop.forecasting import forecast_of
from tightrope.policy.decision import Forecast
from tightrope.policy.states import named
from tightrope.specs.model import ChangeKind


def standing_of(
    assessment: Assessment, now: int, *, foresee: Callable[[Assessment], Forecast | None] = forecast_of
) -> Standing:
    """How one objective stands at *now*, which may be later than its telemetry; *foresee* tells what is coming."""
    statement, state = assessment.statement, named(assessment.policy, assessment.history.final_state)
    forecast = foresee(assessment)
    return Standing(
        service=assessment.slo.service,
        budget=assessment.budget,
        unit_s=statement.unit_s,
        flow=state.flow,
        ship=state.ship,
        stale=assessment.stale,
        age_s=assessment.age_s(now),
        coming=forecast.what if forecast is not None else None,
        coming_at=forecast.at if forecast is not None else None,
        holds_features=ChangeKind.FEATURE not in state.allows,
        at=now,
    )


def tightest(assessments: Sequence[Assessment]) -> Assessment:
    """The objective of one service that decides: the strictest state, then a silent one, then the least budget."""
    policy = assessments[0].policy
    order = [state.name for state in policy.states]

    def key(one: Assessment) -> tuple[int, bool, Fraction]:
        remaining = one.budget.remaining_ratio
        state = one.history.final_state
        strict = -order.index(state) if state in order else 0
        return strict, not one.stale, Fraction(2) if remaining is None else remaining

    return min((one for one in assessments if one.watched), key=key, default=assessments[0])


def by_service(assessments: Sequence[Assessment]) -> dict[str, list[Assessment]]:
    """Assessments by service, in order."""
    found: dict[str, list[Assessment]] = {}
    for one in assessments:
        found.setdefault(one.slo.service, []).append(one)
    return found


def outlook_of(assessment: Assessment, standing: Standing) -> str:
    """What is coming for one objective that stands so, to follow its name or stand in a column."""
    firing = [condition.severity for condition in assessment.firing]
    if standing.stale:
        age = "never any data" if standing.age_s is None else f"no data for {span_text(standing.age_s)}"
        return f"{age}, the gate waits, then stops"
    text = outlook_text(standing.coming, standing.coming_at, assessment.statement.at)
    if standing.holds_features:
        text = f"features wait, {text}"
    return f"{firing[0]} firing, {text}" if firing and assessment.watched else text


def left_of(assessment: Assessment) -> str:
    """How much of an objective's budget is left, with its unit; empty where that is not known."""
    if assessment.budget.remaining_ratio is None:
        return ""
    return amount_text(assessment.budget.allowed - assessment.budget.consumed, assessment.statement.unit_s)
