"""Moves: what became of states, flows and corrected slices, as events of the journal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tightrope.base.canonical import digest
from tightrope.base.units import time_text
from tightrope.engine.step import Memory, Outcome, Transition
from tightrope.loop.corrections import SETTLING_SLICES, Correction, Sums
from tightrope.loop.tracks import Track
from tightrope.policy.states import named
from tightrope.specs.model import ErrorBudgetPolicy, Specs
from tightrope.state.journal import Event

SOURCE = "/tightrope/loop"
STATE_CHANGED = "dev.tightrope.state.changed.v1"
FLOW_CHANGED = "dev.tightrope.flow.changed.v1"
SLICE_CORRECTED = "dev.tightrope.slice.corrected.v1"
SPECS_FOLLOWED = "dev.tightrope.specs.followed.v1"


@dataclass(frozen=True, slots=True)
class Flowed:
    """The strictest state over a service's objectives is another one than before: when, from, to, and why."""

    service: str
    at: int
    before: str
    after: str
    reason: str
    policy: ErrorBudgetPolicy


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """What the replay of a corrected record found.

    Attributes:
        track: Whose.
        correction: What was corrected.
        before: What was remembered before.
        moves: The moves from the correction on, up to *known_to*, where it was evaluated before.
        gone: The moves that were told of that stretch, and are not so.
    """

    track: Track
    correction: Correction
    known_to: int
    before: Memory
    moves: tuple[Transition, ...]
    gone: tuple[Transition, ...]

    @classmethod
    def of(
        cls,
        track: Track,
        correction: Correction,
        known_to: int,
        before: Memory,
        now: Sequence[Transition],
        then: Sequence[Transition],
    ) -> Found:
        """Hold the moves of a replay against those of the record as it was."""
        theirs = {_which(one) for one in then}
        ours = {_which(one) for one in now}
        return cls(
            track,
            correction,
            known_to,
            before,
            tuple(one for one in now if _which(one) not in theirs and correction.start < one.at <= known_to),
            tuple(one for one in then if _which(one) not in ours and correction.start < one.at <= known_to),
        )


def _which(one: Transition) -> tuple[int, str, str]:
    return one.at, one.before, one.after


def moves_of(track: Track, outcome: Outcome) -> Iterator[Event]:
    """A track's moves from state to state."""
    for one in outcome.transitions:
        yield _event(STATE_CHANGED, track.slo.service, one.at, _move(track, one))


def flow_event(one: Flowed) -> Event:
    """A service's flow is another one."""
    data = {
        "from": one.before,
        "to": one.after,
        "flow": str(named(one.policy, one.after).flow),
        "at": time_text(one.at),
        "reason": one.reason,
        "policy": one.policy.name,
    }
    return _event(FLOW_CHANGED, one.service, one.at, data)


def specs_event(specs: Specs, now: int) -> Event:
    """Other specs are followed."""
    data = {"digest": specs.digest, "files": list(specs.files), "slos": len(specs.slos)}
    return Event(f"specs.{now}.{specs.digest[:16]}", SOURCE, SPECS_FOLLOWED, "specs", now, data)


def found_late(found: Found, now: int) -> Iterator[Event]:
    """What a correction changed: moves that nobody knew of, each; and the correction itself, if it matters.

    A correction matters where another state, alert or move follows from it, or where it reaches further back than the
    newest slices, which may still be settling.
    """
    track, correction, at = found.track, found.correction, time_text(now)
    moves = found.moves if track.watched else ()
    for one in moves:
        data = {**_move(track, one), "foundAt": at}
        yield _event(STATE_CHANGED, track.slo.service, one.at, data)
    settling = correction.start >= found.known_to - SETTLING_SLICES * (track.step_s or 0)
    if settling and not found.moves and not found.gone and _acted_on(found.before) == _acted_on(track.memory):
        return
    data = {
        "slo": track.slo.name,
        "track": track.key,
        "start": time_text(correction.start),
        "end": time_text(correction.end),
        "slices": correction.slices,
        "before": _sums(correction.before, track.scale),
        "after": _sums(correction.after, track.scale),
        "foundAt": at,
        "state": track.state,
        "moves": [{"at": time_text(one.at), "from": one.before, "to": one.after} for one in found.moves],
        "movesGone": [{"at": time_text(one.at), "from": one.before, "to": one.after} for one in found.gone],
    }
    yield _event(SLICE_CORRECTED, track.slo.service, now, data)


def _acted_on(memory: Memory) -> object:
    """What somebody acts on: the state, and which alerts are out."""
    return memory.policy.state, memory.policy.since, [one.firing_since for one in memory.alerts], memory.stale


def _sums(sums: Sums, scale: int) -> dict[str, Any]:
    bad, total, covered = sums
    return {"bad": _units(bad, scale), "total": _units(total, scale), "covered": covered}


def _units(count: int, scale: int) -> int | str:
    return count // scale if count % scale == 0 else f"{count}/{scale}"


def _move(track: Track, one: Transition) -> dict[str, Any]:
    return {
        "slo": track.slo.name,
        "track": track.key,
        "from": one.before,
        "to": one.after,
        "at": time_text(one.at),
        "reason": one.reason,
        "policy": track.policy.name,
    }


def _event(kind: str, service: str, at: int, data: Mapping[str, Any]) -> Event:
    """An event whose id follows from what it says, so that telling it twice is telling it once."""
    return Event(f"{service}.{at}.{digest([kind, service, data])[:24]}", SOURCE, kind, service, at, data)
