"""Tracks: the objectives that the live loop watches, one each, and the whole of a time-based composite."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from tightrope.engine.plan import Incident, Plan
from tightrope.engine.step import Memory
from tightrope.loop.assess import conditions_of, plan_of, title_of, whole_of
from tightrope.policy.notation import plain
from tightrope.sli.slices import BILLIONTH, EVENT
from tightrope.specs.defaults import policy_of
from tightrope.specs.model import (
    BudgetingMethod,
    ErrorBudgetPolicy,
    Gaps,
    Objective,
    Slo,
    Specs,
)
from tightrope.specs.openslo import sources_of
from tightrope.telemetry.reading import Quality


@dataclass(slots=True, eq=False)
class Track:
    """One objective being watched; changed by the turn of the loop only.

    Attributes:
        key: Its name: the SLO's, and the objective's where there are several.
        slo, objective, number, policy: What was promised, which of the SLO's objectives, and who watches.
        members: For the whole of a composite, the tracks it is made of; else none.
        watched: Its alerts and policy count.
        indicator: Digest of how it is measured: another one is another record.
        definition: Digest of all that its evaluation rests on but telemetry: another one needs another memory.
        kind: The type of its data source, lower case.
        incidents: Known incidents of the service.
        series, step_s, scale: Its record in the slice store, and the resolution and unit of that; None: not known yet.
        plan: Compiled, once the resolution is known.
        memory, evaluated_to, reason: Where its evaluation stands: after which instant, and why it is in its state.
        saved_to: The evaluation at which the memory was last stored.
        asked_from, asked_to: The stretch its source was asked for.
        fed_to: End of its newest slice with data.
        complete_to: End of the last slice that is whole, where the source tells.
        caught_up: Its history is here.
        late: A slice that was evaluated has changed since, so its history is to be replayed.
        patient_to: Until then, UTC epoch seconds, its source has not had the time to say what it has: what is not known
            is no gap yet.
        carry: Bad and valid units of its last covered slice, where gaps are filled.
        quality, error: What its rows were like, and why its source could not be read the last time (empty: it could).
    """

    key: str
    slo: Slo
    objective: Objective
    number: int
    policy: ErrorBudgetPolicy
    members: tuple[Track, ...]
    watched: bool
    indicator: str
    definition: str
    kind: str
    incidents: tuple[Incident, ...]
    series: int | None = None
    step_s: int | None = None
    scale: int = EVENT
    plan: Plan | None = None
    memory: Memory = field(default_factory=Memory)
    evaluated_to: int | None = None
    reason: str = ""
    saved_to: int = 0
    asked_from: int | None = None
    asked_to: int | None = None
    fed_to: int | None = None
    complete_to: int | None = None
    caught_up: bool = False
    late: bool = False
    patient_to: int = 0
    carry: tuple[int, int] | None = None
    quality: Quality = field(default_factory=Quality)
    error: str = ""

    @property
    def whole(self) -> bool:
        """Whether it is the whole of a composite."""
        return bool(self.members)

    @property
    def plain(self) -> bool:
        """Whether its units are its raw counts: what one slice says is all there is to know of it."""
        return self.slo.method is BudgetingMethod.OCCURRENCES and self.slo.gaps is Gaps.IGNORE and not self.members

    @property
    def unit_step_s(self) -> int:
        """Length of a unit slice, seconds; the resolution must be known."""
        window = self.objective.time_slice_window
        step = self.step_s or 0
        if self.slo.method is BudgetingMethod.OCCURRENCES or window is None:
            return step
        return window.seconds

    def compile(self, specs: Specs) -> Plan:
        """Make its plan, now that the resolution is known."""
        scale = {
            BudgetingMethod.OCCURRENCES: self.scale,
            BudgetingMethod.TIMESLICES: EVENT,
            BudgetingMethod.RATIO_TIMESLICES: BILLIONTH,
        }[self.slo.method]
        self.plan = plan_of(specs, self.slo, self.objective, self.unit_step_s, scale)
        return self.plan

    @property
    def state(self) -> str:
        """The name of the policy state that it is in."""
        return self.policy.states[self.memory.policy.state].name


def tracks_of(specs: Specs, incidents: Sequence[Incident]) -> list[Track]:
    """Every objective of the specs as a track, the whole of a composite after its members."""
    found: list[Track] = []
    for slo in specs.slos:
        own = tuple(one for one in incidents if not one.service or one.service == slo.service)
        policy = policy_of(specs.policies, slo.service, slo.policy)
        outside = [
            one
            for one in specs.exclusions
            if (not one.services or slo.service in one.services) and (not one.slos or slo.name in one.slos)
        ]
        kinds = sorted({source.type.lower() for source in sources_of(slo)})
        split = slo.composite and slo.method is not BudgetingMethod.OCCURRENCES

        def track(
            objective: Objective,
            number: int,
            members: tuple[Track, ...],
            watched: bool,
            rest: tuple[object, ...],
            slo: Slo = slo,
            policy: ErrorBudgetPolicy = policy,
            own: tuple[Incident, ...] = own,
            kind: str = kinds[0] if kinds else "",
        ) -> Track:
            measured = [
                slo.indicator if objective.indicator is None else objective.indicator,
                objective.op,
                objective.value,
                slo.step_s,
                slo.scale,
            ]
            promised = [slo.name, objective, slo.method, slo.window, slo.gaps, slo.basis, slo.stale_after, *rest]
            return Track(
                title_of(slo, objective, number, whole=bool(members)),
                slo,
                objective,
                number,
                policy,
                members,
                watched,
                _digest(measured),
                _digest([measured, promised, conditions_of(slo), policy]),
                kind,
                own,
            )

        rest = (outside, own)
        members = tuple(
            track(objective, number, (), not split, rest) for number, objective in enumerate(slo.objectives)
        )
        found += members
        if split:
            found.append(track(whole_of(slo), len(members), members, True, rest))
    return found


def _digest(value: object) -> str:
    text = json.dumps(plain(value, essence=True), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]
