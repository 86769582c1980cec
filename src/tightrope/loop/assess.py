"""Assess: read the telemetry of a set of specs and draw up where every objective stands."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache

import numpy as np

from tightrope.base.errors import DataError, SpecError
from tightrope.base.units import span_text, time_text
from tightrope.budget.statement import Budget, Statement, state_of
from tightrope.engine.plan import Incident, Plan, compile_plan
from tightrope.engine.replay import History, replay
from tightrope.engine.scan import Scanner
from tightrope.engine.scanners import best_scanner
from tightrope.engine.step import Memory, advance
from tightrope.loop.exclusions import stretches_of
from tightrope.policy.states import PolicyMemory
from tightrope.sli.coverage import Stretch, exclude, fill_gaps
from tightrope.sli.methods import combine, unit_slices
from tightrope.sli.slices import Slices
from tightrope.specs.defaults import LOOKBACKS_S, default_conditions, policy_of
from tightrope.specs.model import (
    Basis,
    BudgetingMethod,
    BurnRateIs,
    Condition,
    ErrorBudgetPolicy,
    Expression,
    Gaps,
    Objective,
    Slo,
    Specs,
    Window,
    leaves,
)
from tightrope.telemetry.reading import Quality, Reading

Read = Callable[[Sequence[tuple[Slo, Objective]]], Sequence[Reading]]
"""Hands over the raw slices of several objectives at once; the telemetry room's door, already told since and until."""

_MOST_BEYOND = 10_000_000
"""Slices that a record is stretched at most, to reach the instant asked about: 19 years of minutes."""


@dataclass(frozen=True, slots=True, eq=False)
class Assessment:
    """Where one objective stands as of one instant, and how it came there.

    Attributes:
        slo, objective: What was promised. For the whole of a composite the objective is made up and *whole* is set.
        number: Which of the SLO's objectives, from 0.
        policy: The error budget policy that watches it.
        plan, record: What was computed on what: the compiled objective and its unit slices (gaps filled), or what reads
            them when somebody asks.
        statement: The account as of `Statement.at`.
        history: The replay that led there.
        incidents: Known incidents of the service.
        quality: What the rows were like.
        doubts: What makes the state uncertain, in sentences without their full stop; empty: nothing does.
        whole: This is the whole of a composite SLO.
        watched: Its alerts and policy count; the members of a time-based composite are shown only.
    """

    slo: Slo
    objective: Objective
    number: int
    policy: ErrorBudgetPolicy
    plan: Plan
    record: Slices | Callable[[], Slices]
    statement: Statement
    history: History
    incidents: tuple[Incident, ...]
    quality: Quality
    doubts: tuple[str, ...] = ()
    whole: bool = False
    watched: bool = True

    @property
    def units(self) -> Slices:
        """The unit slices, gaps filled, up to the statement's instant."""
        return self.record if isinstance(self.record, Slices) else self.record()

    @property
    def budget(self) -> Budget:
        """The budget on the basis that the policy sees."""
        return self.statement.budget(self.plan.basis)

    @property
    def stale(self) -> bool:
        """Whether the data is too old to go by, or nothing was ever measured."""
        return self.statement.stale or self.history.memory.history_start is None

    def age_s(self, now: int) -> int | None:
        """Seconds since the newest slice that was measured or excluded; None: nothing was ever measured."""
        if self.history.memory.history_start is None or self.statement.last_known is None:
            return None
        return max(0, now - self.statement.last_known)

    @property
    def firing(self) -> tuple[Condition, ...]:
        """The conditions whose alerts are out."""
        memories = self.history.memory.alerts
        return tuple(one for one, memory in zip(self.plan.conditions, memories, strict=False) if memory.firing)

    @property
    def title(self) -> str:
        """The SLO's name, and the objective's where there are several."""
        return title_of(self.slo, self.objective, self.number, whole=self.whole)


def title_of(slo: Slo, objective: Objective, number: int, *, whole: bool = False) -> str:
    """What an objective is called: the SLO's name, and the objective's where there are several."""
    if whole or len(slo.objectives) == 1:
        return slo.name
    return f"{slo.name}/{objective.display_name or number + 1}"


def conditions_of(slo: Slo) -> tuple[Condition, ...]:
    """The SLO's alert conditions; the default tiers where it names no alert policy."""
    if slo.alert_policies:
        return tuple(condition for policy in slo.alert_policies for condition in policy.conditions)
    return default_conditions(slo.window.duration.seconds)


def looks_back_s(specs: Specs, slo: Slo) -> int:
    """How far back anything looks that is told or decided of an SLO, seconds."""
    predicates = [one for state in _policy(specs, slo).states for one in (state.enter, state.exit) if one is not None]
    burns = [leaf.lookback_s for one in predicates for leaf in leaves(one) if isinstance(leaf, BurnRateIs)]
    alerts = [lookback for condition in conditions_of(slo) for lookback in condition.lookbacks_s]
    return max(slo.window.duration.seconds, *LOOKBACKS_S, *burns, *alerts)


def reach_s(specs: Specs, slo: Slo) -> int:
    """How much history the state of an SLO rests on, seconds: what a source that has no beginning is asked for.

    What is looked back at once to know all of it, once more for the state to settle, and the longest that something
    must hold or last.
    """
    waits = [
        wait
        for state in _policy(specs, slo).states
        for wait in (state.enter_for_s, state.exit_for_s, state.minimum_stay_s)
    ]
    return 2 * looks_back_s(specs, slo) + max(waits)


def _policy(specs: Specs, slo: Slo) -> ErrorBudgetPolicy:
    return policy_of(specs.policies, slo.service, slo.policy)


@dataclass(frozen=True, slots=True)
class _How:
    """What is asked of every objective alike."""

    at: int | None
    since: int | None
    known_at: int | None
    scanner: Scanner
    newest: int | None
    begun_at: int | None


def assess(
    specs: Specs,
    slos: Sequence[Slo],
    read: Read,
    *,
    at: int | None,
    since: int | None = None,
    incidents: Sequence[Incident] = (),
    exclusions_known_at: int | None = None,
    begun_at: int | None = None,
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
        begun_at: Where reading began though telemetry may not; None: there is nothing older than what is read.
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
    how = _How(at, since, exclusions_known_at, chosen, newest if at is None else at, begun_at)
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
    _refuse_far_beyond(slo, raw, until)
    raw = padded(raw, until)
    units = units_of(specs, slo, objective, raw, known_at=how.known_at)
    return _drawn_up(specs, slo, objective, number, units, until, incidents, reading.quality, how)


def units_of(specs: Specs, slo: Slo, objective: Objective, raw: Slices, *, known_at: int | None = None) -> Slices:
    """Turn raw counts into the units of the SLO's method: exclusions taken out, gaps filled as it declares."""
    outside = stretches_of(specs.exclusions, slo, raw.start, raw.end, known_at=known_at)
    return fill_gaps(unit_slices(exclude(raw, outside), slo, objective), slo.gaps)


def whole_of(slo: Slo) -> Objective:
    """The objective of the whole of a time-based composite: its own target, or the lowest of its members."""
    target = slo.composite_target if slo.composite_target is not None else min(one.target for one in slo.objectives)
    return Objective(target=target, display_name="whole", time_slice_window=slo.objectives[0].time_slice_window)


def plan_of(specs: Specs, slo: Slo, objective: Objective, step_s: int, scale: int) -> Plan:
    """Compile one objective with its alert conditions and the policy that watches it."""
    policy = _policy(specs, slo)
    basis = Basis.OBSERVED if Basis.OBSERVED in (slo.basis, policy.basis) else Basis.PROJECTED
    weight = objective.weight if slo.composite and slo.method is BudgetingMethod.OCCURRENCES else Fraction(1)
    key = (step_s, objective.target, slo.window, conditions_of(slo), policy, basis, slo.gaps, slo.stale_after)
    return _compiled(*key, scale, weight)


@lru_cache(maxsize=1024)
def _compiled(
    step_s: int,
    target: Fraction,
    window: Window,
    conditions: tuple[Condition, ...],
    policy: ErrorBudgetPolicy,
    basis: Basis,
    gaps: Gaps,
    stale_after: int,
    scale: int,
    weight: Fraction,
) -> Plan:
    """Objectives that are promised and watched alike share one plan, and all that is worked out from it."""
    return compile_plan(
        step_s=step_s,
        target=target,
        window=window,
        conditions=conditions,
        policy=policy,
        basis=basis,
        gaps=gaps,
        stale_after=stale_after,
        scale=scale,
        weight=weight,
    )


def out_of_scope_of(policy: ErrorBudgetPolicy, incidents: Sequence[Incident]) -> list[Stretch]:
    """The stretches of incidents whose cause does not count for the policy."""
    return [(one.start, one.end) for one in incidents if one.cause in policy.out_of_scope]


def statement_of(plan: Plan, slo: Slo, units: Slices, at: int, history_start: int | None) -> Statement:
    """Draw up the account of one objective as of *at*."""
    return state_of(
        units,
        plan.target,
        slo.window,
        at,
        lookbacks_s=LOOKBACKS_S,
        history_start=history_start,
        gaps=slo.gaps,
        stale_after=slo.stale_after,
        unit_s=0 if slo.method is BudgetingMethod.OCCURRENCES else units.step_s,
        weight=plan.weight,
    )


def _whole(
    specs: Specs, slo: Slo, members: Sequence[Assessment], incidents: tuple[Incident, ...], how: _How
) -> Assessment:
    units = combine([(member.units, member.objective.weight) for member in members], slo.method)
    objective = whole_of(slo)
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
) -> Assessment:
    policy = _policy(specs, slo)
    out_of_scope = out_of_scope_of(policy, incidents)
    asker = Asker()
    ask = asker if asks(policy) else None
    plan = plan_of(specs, slo, objective, units.step_s, units.scale)
    history = replay(
        plan,
        units,
        incidents=incidents,
        out_of_scope=out_of_scope,
        since=how.since,
        ask=ask,
        scanner=how.scanner,
    )
    doubts = list(asker.failures.values())
    if how.begun_at is not None:
        # from where on everything looked back at was read, the strictest state may have held as well as the free one
        other, _ = advance(
            plan,
            Memory(history.memory.history_start, policy=PolicyMemory(state=len(policy.states) - 1)),
            units,
            since=how.begun_at + looks_back_s(specs, slo),
            incidents=incidents,
            out_of_scope=out_of_scope,
            ask=ask,
            scanner=how.scanner,
        )
        if other.policy.state != history.memory.policy.state:
            doubts.append(
                f"the state may depend on telemetry older than {time_text(how.begun_at)}: it is {history.final_state} "
                f"if all was well then, and {policy.states[other.policy.state].name} if it was in "
                f"{policy.states[-1].name}"
            )
    statement = statement_of(plan, slo, units, at, history.memory.history_start)
    return Assessment(
        slo, objective, number, policy, plan, units, statement, history, incidents, quality, tuple(doubts)
    )


def _refuse_far_beyond(slo: Slo, raw: Slices, until: int) -> None:
    """A record is stretched to the instant asked about; a mistaken one must not take all memory."""
    if until - raw.end > _MOST_BEYOND * raw.step_s:
        raise DataError(
            f"{time_text(until)} is {span_text(until - raw.end)} after the end of the data of {slo.name}, "
            f"{time_text(raw.end)}",
            remedy="ask about an earlier instant, or read telemetry that goes on",
        )


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


def asks(policy: ErrorBudgetPolicy) -> bool:
    """Whether the states of a policy ask CEL expressions."""
    predicates = [one for state in policy.states for one in (state.enter, state.exit) if one is not None]
    return any(isinstance(leaf, Expression) for one in predicates for leaf in leaves(one))


class Asker:
    """Answers the policy's CEL expressions. One that fails does not hold, and *failures* tell once why."""

    def __init__(self) -> None:
        self.failures: dict[str, str] = {}

    def __call__(self, text: str, facts: Mapping[str, object]) -> bool:
        from tightrope.policy.expressions import evaluate

        try:
            return evaluate(Expression(text), facts) is True
        except SpecError as error:
            self.failures.setdefault(text, f"{error.message}; it counts as not holding")
            return False
