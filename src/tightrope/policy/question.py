"""What the gate is asked: the request and its facts, in the order in which rules and answer speak of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from tightrope.base.errors import TightropeError, UsageError
from tightrope.base.values import dataclass
from tightrope.policy.blackouts import blackouts_at, next_blackouts
from tightrope.policy.decision import GateFacts, GateRequest, SloFacts
from tightrope.policy.digest import canonical_json
from tightrope.policy.freezes import Freeze, freezes_at, next_freezes
from tightrope.policy.states import named, strictest
from tightrope.specs.model import ErrorBudgetPolicy, FreezeCalendar, PolicyState, ShipHow


@dataclass(frozen=True, slots=True)
class Closed:
    """A freeze or blackout that holds or is coming; ``rule`` is its id, ``called`` its name in a sentence."""

    rule: str
    called: str
    stretch: Freeze


@dataclass(frozen=True, slots=True)
class Question:
    """The request, and all facts in the order in which they are spoken of: what does not depend on the kind."""

    request: GateRequest
    facts: GateFacts
    slos: tuple[SloFacts, ...]  # the one that decides first
    state: PolicyState
    closed: tuple[Closed, ...]
    coming: tuple[Closed, ...]
    unreadable: tuple[tuple[str, str], ...]  # rule and message of a calendar that can't be read

    @property
    def policy(self) -> ErrorBudgetPolicy:
        return self.facts.policy

    @property
    def at(self) -> int:
        return self.request.asked_at

    @property
    def service(self) -> str:
        return self.request.service

    def stops_at(self, slo: SloFacts) -> int | None:
        """When missing data turns wait into stop; None if there never was any."""
        return None if slo.data_age_s is None else self.at - slo.data_age_s + self.policy.unknown.stop_after_s

    @property
    def guarded(self) -> bool:
        """Whether a release goes out in smaller steps: a state says so, data is missing, or a page is out."""
        return self.state.ship is ShipHow.GUARDED or any(
            named(self.policy, slo.state).ship is ShipHow.GUARDED
            or slo.stale
            or any(severity == "page" for _, severity in slo.firing)
            for slo in self.slos
        )

    @staticmethod
    def of(request: GateRequest, facts: GateFacts) -> Question:
        """Put request and facts in order: the strictest state first, then the least budget left, then the name.

        Raises:
            UsageError: An SLO is in a state that the policy does not have.
        """
        policy, at = facts.policy, request.asked_at
        rank = {state.name: index for index, state in enumerate(policy.states)}
        for slo in facts.slos:
            if slo.state not in rank:
                raise UsageError(
                    f"{slo.slo} is in state {slo.state!r}, which policy {policy.name} does not have",
                    remedy=f"let all SLOs of {request.service} follow one policy",
                )
        slos = sorted(
            (replace(slo, firing=tuple(sorted(slo.firing))) for slo in facts.slos),
            key=lambda slo: (
                -rank[slo.state],
                slo.remaining is None,
                slo.remaining or 0,
                slo.slo,
                canonical_json(slo),
            ),
        )
        closed: list[Closed] = []
        coming: list[Closed] = []
        unreadable: list[tuple[str, str]] = []
        for calendar in sorted(policy.freezes, key=lambda calendar: calendar.name):
            try:
                closed += _stretches(freezes_at, calendar, request)
                coming += _stretches(next_freezes, calendar, request)
            except TightropeError as error:
                unreadable.append((f"freeze:{calendar.name}", error.message))
        environment = request.environment
        for stretches, found in (
            (closed, blackouts_at(policy.blackouts, environment, at)),
            (coming, next_blackouts(policy.blackouts, environment, at)),
        ):
            stretches += [Closed(f"blackout:{one.name}", f"the blackout hours {one.name}", one) for one in found]
        return Question(
            request=request,
            facts=facts,
            slos=tuple(slos),
            state=named(policy, strictest(policy, [slo.state for slo in slos])),
            closed=tuple(closed),
            coming=tuple(sorted(coming, key=lambda one: (one.stretch.starts_at, one.rule))),
            unreadable=tuple(unreadable),
        )


def _stretches(
    find: Callable[[Iterable[FreezeCalendar], str, str, int], tuple[Freeze, ...]],
    calendar: FreezeCalendar,
    request: GateRequest,
) -> list[Closed]:
    found = find((calendar,), request.service, request.environment, request.asked_at)
    return [Closed(f"freeze:{one.name}", f"the freeze {one.name}", one) for one in found]
