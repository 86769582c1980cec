"""Assess: read the telemetry of a set of specs and draw up where every objective stands."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from tightrope.base.errors import DataError
from tightrope.base.units import HOUR_S
from tightrope.budget.forecast import outlook
from tightrope.budget.statement import Budget, Statement, state_of
from tightrope.engine.plan import Incident, Plan, compile_plan
from tightrope.engine.replay import History, replay
from tightrope.engine.scan import Ask, Scanner
from tightrope.engine.scanners import best_scanner
from tightrope.loop.exclusions import stretches_of
from tightrope.policy.decision import Forecast
from tightrope.policy.states import strictest
from tightrope.sli.coverage import exclude, fill_gaps
from tightrope.sli.methods import combine, unit_slices
from tightrope.sli.slices import Slices
from tightrope.specs.defaults import DEFAULT_POLICY, LOOKBACKS_S, default_conditions
from tightrope.specs.model import (
    Basis,
    BudgetingMethod,
    Comparison,
    Condition,
    ErrorBudgetPolicy,
    Expression,
    Objective,
    RemainingIs,
    Slo,
    Specs,
    leaves,
)
from tightrope.telemetry.reading import Quality, Reading

Read = Callable[[Sequence[tuple[Slo, Objective]]], Sequence[Reading]]
"""Hands over the raw slices of several objectives at once; the telemetry room's door, already told since and until."""


@dataclass(frozen=True, slots=True, eq=False)
class Assessment:
    """Where one objective stands as of one instant, and how it came there.

    Attributes:
        slo, objective: What was promised. For the whole of a composite the objective is made up and *whole* is set.
        number: Which of the SLO's objectives, from 0.
        policy: The error budget policy that watches it.
        plan, units: What was computed on what: the compiled objective and its unit slices (gaps filled).
        statement: The account as of `Statement.at`.
        history: The replay that led there.
        incidents: Known incidents of the service.
        quality: What the rows were like.
        whole: This is the whole of a composite SLO.
        watched: Its alerts and policy count; the members of a time-based composite are shown only.
    """

    slo: Slo
    objective: Objective
    number: int
    policy: ErrorBudgetPolicy
    plan: Plan
    units: Slices
    statement: Statement
    history: History
    incidents: tuple[Incident, ...]
    quality: Quality
    whole: bool = False
    watched: bool = True

    @property
    def budget(self) -> Budget:
        """The budget on the basis that the policy sees."""
        return self.statement.budget(self.plan.basis)

    @property
    def firing(self) -> tuple[Condition, ...]:
        """The conditions whose alerts are out."""
        memories = self.history.memory.alerts
        return tuple(one for one, memory in zip(self.plan.conditions, memories, strict=False) if memory.firing)

    @property
    def title(self) -> str:
        """The SLO's name, and the objective's where there are several."""
        if self.whole or len(self.slo.objectives) == 1:
            return self.slo.name
        return f"{self.slo.name}/{self.objective.display_name or self.number + 1}"


def policy_of(specs: Specs, slo: Slo) -> ErrorBudgetPolicy:
    """The policy the SLO names, else the one that selects its service, else one that selects all, else the default."""
    for policy in specs.policies:
        if policy.name == slo.policy:
            return policy
    for policy in specs.policies:
        if slo.service in policy.services:
            return policy
    return next((policy for policy in specs.policies if not policy.services), DEFAULT_POLICY)


def conditions_of(slo: Slo) -> tuple[Condition, ...]:
    """The SLO's alert conditions; the default tiers where it names no alert policy."""
    if slo.alert_policies:
        return tuple(condition for policy in slo.alert_policies for condition in policy.conditions)
    return default_conditions(slo.window.duration.seconds)


@dataclass(frozen=True, slots=True)
class _How:
    """What is asked of every objective alike."""

    at: int | None
    since: int | None
    known_at: int | None
    scanner: Scanner
    newest: int | None


def assess(
    specs: Specs,
    slos: Sequence[Slo],
    read: Read,
    *,
    at: int | None,
    since: int | None = None,
    incidents: Sequence[Incident] = (),
    exclusions_known_at: int | None = None,
    progress: Callable[[str, int, int], None] | None = None,
    scanner: Scanner | None = None,
) -> list[Assessment]:
    """Draw up where the objectives of *slos* stand.

    Args:
        specs: All that was read together, for policies and exclusions.
        slos: The ones to assess.
        read: Hands over raw slices; nothing later than *at* is in them.
        at: The instant; None takes the end of each SLO's own data.
        since: Tell of the history only what happened after this instant.
        incidents: Known incidents, of any service.
        exclusions_known_at: Exclusions declared later are not known yet; None knows all.
        progress: Told the SLO's name, how many are done, and of how many.
        scanner: How to scan; None chooses what is done soonest. All scanners answer alike.

    Returns:
        One assessment for each objective, in order, and one more for the whole of a time-based composite.
    """
    wanted = [(slo, objective) for slo in slos for objective in slo.objectives]
    read_out = list(read(wanted))
    newest = max((one.slices.end for one in read_out if len(one.slices)), default=None)
    if at is None and newest is None and wanted:
        raise DataError(
            "no telemetry matches any of the SLOs", remedy="check the `where` of their metrics, or give --at"
        )
    readings = iter(read_out)
    chosen = scanner if scanner is not None else best_scanner(sum(len(one.slices) for one in read_out))
    how = _How(at, since, exclusions_known_at, chosen, newest if at is None else at)
    found: list[Assessment] = []
    for done, slo in enumerate(slos):
        if progress is not None:
            progress(slo.name, done, len(slos))
        own = tuple(one for one in incidents if not one.service or one.service == slo.service)
        members = [
            _member(specs, slo, objective, number, next(readings), own, how)
            for number, objective in enumerate(slo.objectives)
        ]
        if slo.composite and slo.method is not BudgetingMethod.OCCURRENCES:
            found += [replace(member, watched=False) for member in members]
            found.append(_whole(specs, slo, members, own, how))
        else:
            found += members
    return found


def _member(
    specs: Specs,
    slo: Slo,
    objective: Objective,
    number: int,
    reading: Reading,
    incidents: tuple[Incident, ...],
    how: _How,
) -> Assessment:
    raw = reading.slices
    if not len(raw) and how.newest is not None:
        raw = replace(raw, start=how.newest - how.newest % raw.step_s)
    until = raw.end if how.at is None else how.at
    raw = padded(raw, until)
    outside = stretches_of(specs.exclusions, slo, raw.start, raw.end, known_at=how.known_at)
    units = fill_gaps(unit_slices(exclude(raw, outside), slo, objective), slo.gaps)
    weight = objective.weight if slo.composite and slo.method is BudgetingMethod.OCCURRENCES else Fraction(1)
    return _drawn_up(specs, slo, objective, number, units, until, incidents, reading.quality, how, weight=weight)


def _whole(
    specs: Specs, slo: Slo, members: Sequence[Assessment], incidents: tuple[Incident, ...], how: _How
) -> Assessment:
    units = combine([(member.units, member.objective.weight) for member in members], slo.method)
    target = slo.composite_target if slo.composite_target is not None else min(one.target for one in slo.objectives)
    objective = Objective(target=target, display_name="whole", time_slice_window=slo.objectives[0].time_slice_window)
    until = units.end if how.at is None else how.at
    drawn = _drawn_up(specs, slo, objective, len(members), units, until, incidents, Quality(), how)
    return replace(drawn, whole=True)


def _drawn_up(
    specs: Specs,
    slo: Slo,
    objective: Objective,
    number: int,
    units: Slices,
    at: int,
    incidents: tuple[Incident, ...],
    quality: Quality,
    how: _How,
    *,
    weight: Fraction = Fraction(1),
) -> Assessment:
    policy = policy_of(specs, slo)
    plan = compile_plan(
        step_s=units.step_s,
        target=objective.target,
        window=slo.window,
        conditions=conditions_of(slo),
        policy=policy,
        basis=Basis.OBSERVED if Basis.OBSERVED in (slo.basis, policy.basis) else Basis.PROJECTED,
        gaps=slo.gaps,
        stale_after=slo.stale_after,
        scale=units.scale,
        weight=weight,
    )
    history = replay(
        plan,
        units,
        incidents=incidents,
        out_of_scope=[(one.start, one.end) for one in incidents if one.cause in policy.out_of_scope],
        since=how.since,
        ask=_asker(policy),
        scanner=how.scanner,
    )
    statement = state_of(
        units,
        objective.target,
        slo.window,
        at,
        lookbacks_s=LOOKBACKS_S,
        history_start=history.memory.history_start,
        gaps=slo.gaps,
        stale_after=slo.stale_after,
        unit_s=0 if slo.method is BudgetingMethod.OCCURRENCES else units.step_s,
    )
    return Assessment(slo, objective, number, policy, plan, units, statement, history, incidents, quality)


def padded(raw: Slices, until: int) -> Slices:
    """Stretch the record to *until* with gaps, or cut it there: what came later is not visible."""
    count = (until - raw.start) // raw.step_s
    if count <= len(raw):
        return raw.between(raw.start, until)
    more = count - len(raw)
    nothing = np.zeros(more, np.int64)
    return replace(
        raw,
        bad=np.concatenate([raw.bad, nothing]),
        total=np.concatenate([raw.total, nothing]),
        covered=np.concatenate([raw.covered, np.zeros(more, np.bool_)]),
        excluded=None if raw.excluded is None else np.concatenate([raw.excluded, np.zeros(more, np.bool_)]),
    )


def _asker(policy: ErrorBudgetPolicy) -> Ask | None:
    """Somebody to answer the policy's CEL expressions, if it has any."""
    predicates = [one for state in policy.states for one in (state.enter, state.exit) if one is not None]
    if not any(isinstance(leaf, Expression) for one in predicates for leaf in leaves(one)):
        return None
    from tightrope.policy.expressions import evaluate

    def ask(text: str, facts: Mapping[str, object]) -> bool:
        return evaluate(Expression(text), facts) is True

    return ask


def service_state(assessments: Sequence[Assessment]) -> str:
    """A service's state: the strictest over its objectives."""
    watched = [one for one in assessments if one.watched]
    return strictest(watched[0].policy, [one.history.final_state for one in watched])


def forecast_of(assessment: Assessment) -> Forecast | None:
    """When the budget will be spent, if it burns; when the way out of a strict state is met, if it is in one."""
    states = {state.name: state for state in assessment.policy.states}
    state = states[assessment.history.final_state]
    budget, statement = assessment.budget, assessment.statement
    if budget.remaining_ratio is None:
        return None
    common = (assessment.units, assessment.plan.target, assessment.plan.window, statement.at)
    six_hours = next((burn for burn in statement.burns if burn.lookback_s == 6 * HOUR_S), None)
    if six_hours is not None and six_hours.rate > 1 and budget.remaining_ratio > 0:
        out = outlook(*common, lambda spent: spent >= 1, burning=True)
        return Forecast("exhausted", out.at, out.earliest, out.latest, out.assumption)
    exit_bound = next((one for one in leaves(state.exit) if isinstance(one, RemainingIs)), None) if state.exit else None
    if exit_bound is None or budget.remaining_ratio > exit_bound.bound:
        return None
    bound = 1 - float(exit_bound.bound)
    upward = exit_bound.op in {Comparison.GT, Comparison.GTE}
    out = outlook(
        *common,
        (lambda spent: spent <= bound) if upward else (lambda spent: spent >= bound),
        burning=False,
        hold_s=state.exit_for_s,
    )
    return Forecast("recovered", out.at, out.earliest, out.latest, out.assumption)
