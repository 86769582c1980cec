"""Turning: every objective is evaluated up to its watermark, slice by slice, all that end at one instant together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from tightrope.base.units import DAY_S
from tightrope.engine.step import Memory, Outcome
from tightrope.engine.ticks import Change, Tick
from tightrope.loop.board import KEPT_ROWS
from tightrope.loop.marks import Column
from tightrope.loop.moves import Flowed, Found
from tightrope.loop.records import Records
from tightrope.loop.tracks import Track
from tightrope.policy.states import strictest
from tightrope.state.journal import Event

SAVED_EVERY_S = DAY_S
"""A memory that does not change is stored again after that long, so that a restart need not look back further."""

SAVED_AT_ONCE = 200
"""Memories that are stored again in one turn for no other reason."""


@dataclass(slots=True, eq=False)
class Turn:
    """What one turn found out, to be stored and told.

    Attributes:
        changed: Tracks whose memory is to be stored.
        outcomes: What happened to those that are watched, with what they remembered before.
        found: What replays of corrected records found.
        services: Services of which something was found out, beside those of *crews*.
        crews: The services of the tracks that were evaluated together.
        redrawn: Tracks that were evaluated again up to the same instant: what was drawn up of them is not so any more.
    """

    at: int
    changed: dict[str, Track] = field(default_factory=dict)
    outcomes: list[tuple[Track, Memory, Outcome]] = field(default_factory=list)
    found: list[Found] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    services: set[str] = field(default_factory=set)
    crews: dict[int, frozenset[str]] = field(default_factory=dict)
    redrawn: set[str] = field(default_factory=set)


class Turning:
    """Evaluates what is due.

    Args:
        records: What is known of slices.
    """

    def __init__(self, records: Records) -> None:
        self._records = records
        self._watch = records.watch

    def evaluate(self, turn: Turn) -> None:
        """Tick every objective up to its watermark."""
        watch = self._watch
        marks, until = watch.marks, watch.watermarks(turn.at)
        done, unit = marks.evaluated_to, marks.unit_s
        due = np.flatnonzero((done >= 0) & (unit > 0) & (until >= done + unit))
        watch.know_outside(int(done[due].min()) if len(due) else turn.at, turn.at)
        for unit_s in np.unique(unit[due]).tolist():
            group = due[unit[due] == unit_s]
            while len(group):
                end = int(done[group].min()) + unit_s
                self._tick(unit_s, end, group[done[group] == end - unit_s], turn)
                group = group[done[group] + unit_s <= until[group]]
        if len(due):
            self._trim()
        stale = np.flatnonzero((done >= 0) & (done - marks.saved_to >= SAVED_EVERY_S))[:SAVED_AT_ONCE]
        for column in stale.tolist():
            track = watch.in_order[column]
            turn.changed[track.key] = track

    def _trim(self) -> None:
        """Let go of rows that nothing looks back at."""
        marks = self._watch.marks
        for step_s, board in self._watch.boards.items():
            ends = marks.evaluated_to[(marks.step_s == step_s) & (marks.place >= 0) & (marks.evaluated_to >= 0)]
            if len(ends):
                board.trim(int(ends.min()) // step_s - KEPT_ROWS)

    def _tick(self, unit_s: int, end: int, columns: Column, turn: Turn) -> None:
        watch = self._watch
        crew = watch.crew(unit_s, columns)
        count = len(columns)
        bad, total = np.zeros(count, np.int64), np.zeros(count, np.int64)
        covered = np.zeros(count, np.bool_)
        board = watch.boards.get(unit_s)
        row = None if board is None else board.rows.get(end // unit_s - 1)
        if row is not None and len(crew.plain) == count:
            bad, total, covered = row.bad[crew.places], row.total[crew.places], row.covered[crew.places]
        elif row is not None:
            bad[crew.plain], total[crew.plain] = row.bad[crew.places], row.total[crew.places]
            covered[crew.plain] = row.covered[crew.places]
        excluded = crew.excluded(end - unit_s, end)
        if excluded is not None:
            bad[excluded], total[excluded], covered[excluded] = 0, 0, False
        for number, track in crew.others:
            one = self._records.unit(track, end - unit_s, end)
            bad[number], total[number], covered[number] = one.bad[-1], one.total[-1], one.covered[-1]
            if one.excluded is not None and one.excluded[-1]:
                excluded = np.zeros(count, np.bool_) if excluded is None else excluded
                excluded[number] = True
            if covered[number]:
                track.carry = int(bad[number]), int(total[number])
        changes = watch.evaluator.tick(Tick(unit_s, end, crew.seats, bad, total, covered, excluded))
        watch.marks.evaluated_to[crew.columns] = end
        turn.crews[id(crew.services)] = crew.services
        for change in changes:
            self._changed(watch.tracks[change.key], change, turn)

    def _changed(self, track: Track, change: Change, turn: Turn) -> None:
        before, track.memory = track.memory, change.memory
        if change.outcome.transitions:
            track.reason = change.outcome.transitions[-1].reason
        turn.changed[track.key] = track
        if track.watched:
            turn.outcomes.append((track, before, change.outcome))

    def flows(self, turn: Turn) -> list[Flowed]:
        """Services whose flow is another one than before the turn: the strictest state over their objectives."""
        concerned: dict[str, list[tuple[Track, Memory, Outcome]]] = {}
        for outcome in turn.outcomes:
            if outcome[1].policy.state != outcome[0].memory.policy.state or outcome[2].transitions:
                concerned.setdefault(outcome[0].slo.service, []).append(outcome)
        found = []
        for service, outcomes in sorted(concerned.items()):
            tracks = [self._watch.tracks[key] for key in self._watch.of_service[service]]
            one = _flowed(service, [track for track in tracks if track.watched], outcomes, turn.at)
            if one is not None:
                found.append(one)
        return found


def _flowed(
    service: str, group: Sequence[Track], outcomes: Sequence[tuple[Track, Memory, Outcome]], at: int
) -> Flowed | None:
    before = {track.key: memory for track, memory, _ in reversed(outcomes)}
    policy = group[0].policy
    then = strictest(policy, [policy.states[before.get(one.key, one.memory).policy.state].name for one in group])
    now = strictest(policy, [one.state for one in group])
    if then == now:
        return None
    moves = [one.at for _, _, outcome in outcomes for one in outcome.transitions]
    reason = next((one.reason for one in group if one.state == now and one.reason), "")
    return Flowed(service, max(moves, default=at), then, now, reason, policy)
