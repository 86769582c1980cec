"""Tracks: the objectives that the live loop watches, one each, and the whole of a time-based composite."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from tightrope.engine.plan import Incident, Plan
from tightrope.engine.step import Memory
from tightrope.loop.assess import conditions_of, plan_of, title_of, whole_of
from tightrope.loop.marks import UNKNOWN, Marks
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
from tightrope.telemetry.received import RECEIVED


class _Instant:
    """A time of a track, kept in its column of `Marks`; None: not known."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, track: Track, owner: type) -> int | None:
        value = int(getattr(track.marks, self._name)[track.column])
        return None if value < 0 else value

    def __set__(self, track: Track, value: int | None) -> None:
        getattr(track.marks, self._name)[track.column] = UNKNOWN if value is None else value


class _Number:
    """A number of a track, kept in its column of `Marks`."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, track: Track, owner: type) -> int:
        return int(getattr(track.marks, self._name)[track.column])

    def __set__(self, track: Track, value: int) -> None:
        getattr(track.marks, self._name)[track.column] = value


class _Flag:
    """Whether something is so of a track, kept in its column of `Marks`."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, track: Track, owner: type) -> bool:
        return bool(getattr(track.marks, self._name)[track.column])

    def __set__(self, track: Track, value: bool) -> None:
        getattr(track.marks, self._name)[track.column] = value


@dataclass(slots=True, eq=False)
class Track:
    """One objective being watched; changed by the turn of the loop only.

    How far it has come is kept in the arrays of `Marks`, with what is known of all other tracks, and read from there.

    Attributes:
        key: Its name: the SLO's, and the objective's where there are several.
        slo, objective, number, policy: What was promised, which of the SLO's objectives, and who watches.
        members: For the whole of a composite, the tracks it is made of; else none.
        watched: Its alerts and policy count.
        indicator: Digest of how it is measured: another one is another record.
        definition: Digest of all that its evaluation rests on but telemetry: another one needs another memory.
        kind: The type of its data source, lower case.
        incidents: Known incidents of the service.
        marks, column: Where its marks are.
        scale: The unit of its record in the slice store.
        plan: Compiled, once the resolution is known.
        memory, reason: Where its evaluation stands after ``evaluated_to``, and why it is in its state.
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
    marks: Marks
    column: int
    scale: int = EVENT
    plan: Plan | None = None
    memory: Memory = field(default_factory=Memory)
    reason: str = ""
    carry: tuple[int, int] | None = None
    quality: Quality = field(default_factory=Quality)
    error: str = ""

    evaluated_to = _Instant()
    asked_from = _Instant()
    asked_to = _Instant()
    fed_to = _Instant()
    complete_to = _Instant()
    series = _Instant()
    step_s = _Instant()
    saved_to = _Number()
    patient_to = _Number()
    rests_to = _Number()
    caught_up = _Flag()
    late = _Flag()

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
        self.marks.unit_s[self.column] = self.plan.step_s
        return self.plan

    def succeed(self, former: Track) -> None:
        """Take over what *former* knows, as far as it is measured and evaluated alike."""
        if former.indicator != self.indicator:
            return
        mine, theirs = self.column, former.column
        names = ["series", "step_s", "asked_from", "asked_to", "fed_to", "complete_to", "caught_up"]
        self.scale, self.quality = former.scale, former.quality
        if former.definition == self.definition:
            names += ["evaluated_to", "saved_to", "patient_to", "late", "unit_s"]
            self.plan, self.memory, self.reason = former.plan, former.memory, former.reason
            self.carry, self.incidents = former.carry, former.incidents
        for name in names:
            getattr(self.marks, name)[mine] = getattr(former.marks, name)[theirs]

    @property
    def state(self) -> str:
        """The name of the policy state that it is in."""
        return self.policy.states[self.memory.policy.state].name


def tracks_of(specs: Specs, incidents: Sequence[Incident]) -> list[Track]:
    """Every objective of the specs as a track, the whole of a composite after its members."""
    found: list[Track] = []
    marks = Marks(sum(len(slo.objectives) + _split(slo) for slo in specs.slos))
    for slo in specs.slos:
        own = tuple(one for one in incidents if not one.service or one.service == slo.service)
        policy = policy_of(specs.policies, slo.service, slo.policy)
        outside = [
            one
            for one in specs.exclusions
            if (not one.services or slo.service in one.services) and (not one.slos or slo.name in one.slos)
        ]
        kinds = sorted({source.type.lower() for source in sources_of(slo)})
        split = _split(slo)

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
            first: int = len(found),
        ) -> Track:
            measured = [
                slo.indicator if objective.indicator is None else objective.indicator,
                objective.op,
                objective.value,
                slo.step_s,
                slo.scale,
            ]
            promised = [slo.name, objective, slo.method, slo.window, slo.gaps, slo.basis, slo.stale_after, *rest]
            made = Track(
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
                marks,
                first + number,
            )
            marks.received[made.column] = kind in RECEIVED and not members
            marks.plain[made.column] = made.plain
            return made

        rest = (outside, own)
        members = tuple(
            track(objective, number, (), not split, rest) for number, objective in enumerate(slo.objectives)
        )
        if split:
            members = (*members, track(whole_of(slo), len(members), members, True, rest))
        found += members
    return found


def _split(slo: Slo) -> bool:
    """Whether an SLO has a whole beside its objectives."""
    return slo.composite and slo.method is not BudgetingMethod.OCCURRENCES


def _digest(value: object) -> str:
    text = json.dumps(plain(value, essence=True), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]
