"""Telling people: what a turn of the loop found out, handed to alerts and messages within the turn's transaction."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, Protocol

from tightrope.alerting.grouping import Seen, Watched
from tightrope.delivery.documents import deployment_line
from tightrope.delivery.usecases import Deliveries
from tightrope.engine.step import Memory, Outcome
from tightrope.loop.assess import Assessment
from tightrope.loop.exclusions import stretches_of
from tightrope.loop.moves import Flowed
from tightrope.loop.standing import standing_of, tightest
from tightrope.loop.tracks import Track
from tightrope.notify.messages import Facts, FlowChange, Recent, facts_of
from tightrope.notify.usecases import Alerting
from tightrope.policy.states import named
from tightrope.sli.coverage import Stretch
from tightrope.specs.model import Slo, Specs
from tightrope.state.journal import Event


class Loop(Protocol):
    """The loop that is looked after."""

    def now(self) -> int:
        """The present, UTC epoch seconds."""

    def nudge(self) -> None:
        """Let the next turn begin at once."""

    def assessment(self, key: str) -> Assessment:
        """Where a track stands; raises `KeyError` where it was not evaluated yet."""

    def assessments(self, service: str) -> list[Assessment]:
        """Where the objectives of a service stand."""


def changed_lately(deliveries: Deliveries, service: str, since: int) -> list[Recent]:
    """What was deployed to a service since an instant, oldest first."""
    return [Recent(one.at, deployment_line(one)) for one in deliveries.recent(service, since)]


class Teller:
    """Looks after alerts for one loop.

    Args:
        base_url: Where the pages are, for links.
        recent: Tells what changed in a service since an instant.
    """

    def __init__(self, base_url: str, recent: Callable[[str, int], Sequence[Recent]] | None = None) -> None:
        self._live: Loop | None = None
        self._specs = Specs()
        self._alerting = Alerting(base_url=base_url, facts=self._facts, recent=recent, stretches=self._stretches)

    def look_after(self, live: Loop) -> None:
        """Answer for this loop from now on."""
        self._live = live

    def due(self, now: int) -> bool:
        """Whether there is something to do although nothing was evaluated, such as saying an alert again."""
        return self._alerting.due(now)

    def nudge(self) -> None:
        """Look at everything in the next turn: a silence came or went."""
        self._alerting.nudge()
        if self._live is not None:
            self._live.nudge()

    def turn_in(
        self,
        connection: Any,
        outcomes: Sequence[tuple[Track, Memory, Outcome]],
        flows: Sequence[Flowed],
        specs: Specs,
        now: int,
        *,
        watched: Collection[str] | None = None,
    ) -> list[Event]:
        """Keep what became of alerts and put into the outbox what is to be told; returns events for the journal."""
        self._specs = specs
        return self._alerting.turn_in(
            connection,
            [_seen(track, outcome) for track, _, outcome in outcomes],
            specs,
            now,
            flows=[self._flow(one, now) for one in flows],
            watched=watched,
        )

    def _facts(self, track: str) -> Facts | None:
        one = self._assessment(track)
        if one is None or self._live is None:
            return None
        standing = standing_of(one, self._live.now())
        return facts_of(one.slo, one.objective, one.statement, standing, scale=one.plan.scale)

    def _assessment(self, track: str) -> Assessment | None:
        if self._live is None:
            return None
        try:
            return self._live.assessment(track)
        except KeyError:
            return None

    def _stretches(self, slo: Slo, start: int, end: int) -> Sequence[Stretch]:
        return stretches_of(self._specs.exclusions, slo, start, end)

    def _flow(self, one: Flowed, now: int) -> FlowChange:
        if self._live is None:
            raise AssertionError("a loop is looked after before it turns")
        before, after = named(one.policy, one.before), named(one.policy, one.after)
        standing = standing_of(tightest(self._live.assessments(one.service)), now)
        return FlowChange(
            one.service, one.at, one.before, one.after, before.flow, after.flow, one.reason, standing, after.allows
        )


def _seen(track: Track, outcome: Outcome) -> Seen:
    if track.plan is None or track.evaluated_to is None:
        raise AssertionError("only what was evaluated is told of")
    slo: Slo = track.slo
    return Seen(
        Watched(track.key, slo.service, slo.name, track.plan.conditions, track.plan.step_s),
        tuple(one.firing_since for one in track.memory.alerts) or (None,) * len(track.plan.conditions),
        track.memory.stale,
        track.evaluated_to,
        outcome.alerts,
        track.memory.history_start is not None,
    )
