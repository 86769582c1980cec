"""Catching up: tracks that are new to this process, and those whose past has changed, are replayed from the store."""

from __future__ import annotations

import gc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tightrope.base.errors import DataError
from tightrope.engine.plan import Plan
from tightrope.engine.scan import Peak
from tightrope.engine.step import Memory, Outcome, Transition, advance
from tightrope.engine.ticks import Member
from tightrope.loop.assess import Asker, asks, out_of_scope_of, padded, units_of
from tightrope.loop.corrections import Correction, together
from tightrope.loop.moves import Found
from tightrope.loop.records import Records
from tightrope.loop.tracks import Track
from tightrope.loop.turning import Turn
from tightrope.sli.slices import Slices
from tightrope.specs.model import BudgetingMethod, Gaps

ADMITTED_AT_ONCE = 200
"""Tracks whose records are held at once while they are replayed."""

RESTS_S = 60
"""For how long a track is left alone whose record cannot be read, before it is tried again."""

_NOTHING = Outcome((), (), (), Peak(), None, 0)


@dataclass(frozen=True, slots=True, eq=False)
class _Ready:
    """A track that is to be brought to a mark.

    Attributes:
        mark: Up to where.
        plan: Its plan.
        start: From where its units are wanted; None: from its first slice on.
        resumed: Its memory still holds, and is gone on from.
        correction: What was corrected of what it rests on; None: nothing.
    """

    track: Track
    mark: int
    plan: Plan
    start: int | None
    resumed: bool
    correction: Correction | None


class CatchingUp:
    """Brings tracks to their watermarks by replay.

    Args:
        records: What is known of slices.
    """

    def __init__(self, records: Records) -> None:
        self._records = records
        self._watch = records.watch

    def bring(self, turn: Turn) -> None:
        """Replay the history of tracks that are new to this process, and of those whose past has changed."""
        watch = self._watch
        marks = watch.marks
        behind = (marks.evaluated_to < 0) | marks.late
        if not behind.any():
            return
        until = watch.watermarks(turn.at)
        columns = np.flatnonzero(behind & (until >= 0) & (marks.rests_to <= turn.at))
        ready = [
            (track, max(int(until[track.column]), track.evaluated_to or track.saved_to))  # never back, if the clock is
            for track in (watch.in_order[column] for column in columns.tolist())
        ]
        late = {track.key for track, _ in ready if track.late}
        ready += [
            (track, track.evaluated_to)
            for track in watch.in_order
            if track.members and track.evaluated_to is not None and any(one.key in late for one in track.members)
        ]
        if not ready:
            return
        watch.know_outside(turn.at, turn.at)
        new = any(track.evaluated_to is None for track, _ in ready)
        corrections = dict(watch.corrections)
        for at in range(0, len(ready), ADMITTED_AT_ONCE):
            self._admit(ready[at : at + ADMITTED_AT_ONCE], corrections, turn)
        for track, _ in ready:
            track.late = False
            watch.corrections.pop(track.key, None)
        watch.take_seats([track for track, _ in ready])
        if new:
            gc.unfreeze()
            gc.collect()
            gc.freeze()  # what is new stays: the collector need not look through all of it in the middle of a turn

    def _admit(self, ready: Sequence[tuple[Track, int]], corrections: Mapping[str, Correction], turn: Turn) -> None:
        """Bring tracks to their marks, and hand them to the evaluator together."""
        readied = [self._readied(track, mark, corrections) for track, mark in ready]
        at_hand = self._read(readied)
        members: list[Member] = []
        admitted: list[_Ready] = []
        for one in readied:
            track = one.track
            try:
                units = at_hand.get(track.key)
                if isinstance(units, DataError):
                    raise units
                if units is None:
                    units = self._records.units(track, one.start, one.mark)
                member = self._replayed(one, units, corrections, turn)
            except DataError as error:  # what one record holds is no matter of the others
                self._give_up(track, error, turn)
                continue
            if one.start is None or units.start > one.start:
                self._watch.begins[track.key] = units.start
            members.append(member)
            admitted.append(one)
        self._seat(admitted, members, turn)
        self._have_at_hand(admitted)

    def _readied(self, track: Track, mark: int, corrections: Mapping[str, Correction]) -> _Ready:
        if track.key in self._watch.evaluator:
            self._watch.evaluator.dismiss([track.key])
        if track.whole:
            track.step_s = track.members[0].step_s
        plan = track.compile(self._watch.following)
        correction = together(corrections, [track.key, *(one.key for one in track.members)])
        resumed = bool(
            track.evaluated_to is None and track.saved_to and track.slo.gaps is Gaps.IGNORE and correction is None
        )
        start = track.saved_to - plan.longest_s - plan.step_s if resumed else None
        return _Ready(track, mark // plan.step_s * plan.step_s, plan, start, resumed, correction)

    def _read(self, readied: Sequence[_Ready]) -> dict[str, Slices | DataError]:
        """The units of plain tracks, those of one stretch in one question to the store."""
        wanted: dict[tuple[int | None, int], list[Track]] = {}
        for one in readied:
            if one.track.plain and one.track.series is not None:
                wanted.setdefault((one.start, one.mark), []).append(one.track)
        found: dict[str, Slices | DataError] = {}
        for (start, end), group in wanted.items():
            for track, raw in self._records.read_each(group, start, end):
                found[track.key] = (
                    raw
                    if isinstance(raw, DataError)
                    else units_of(self._watch.following, track.slo, track.objective, padded(raw, end))
                )
        return found

    def _give_up(self, track: Track, error: DataError, turn: Turn) -> None:
        """Leave a track alone for a while, and tell why."""
        track.error, track.evaluated_to, track.rests_to = error.message, None, turn.at + RESTS_S
        turn.changed.pop(track.key, None)
        turn.outcomes[:] = [one for one in turn.outcomes if one[0] is not track]
        turn.found[:] = [one for one in turn.found if one.track is not track]
        turn.services.add(track.slo.service)

    def _seat(self, admitted: list[_Ready], members: Sequence[Member], turn: Turn) -> None:
        """Hand members to the evaluator; where it cannot take one in, the others all the same."""
        try:
            self._watch.evaluator.admit(members)
        except DataError as error:
            if len(members) == 1:
                self._give_up(admitted[0].track, error, turn)
                admitted.clear()
                return
            seated: list[_Ready] = []
            for one, member in zip(admitted, members, strict=True):
                alone = [one]
                self._seat(alone, [member], turn)
                seated += alone
            admitted[:] = seated

    def _have_at_hand(self, admitted: Sequence[_Ready]) -> None:
        """Take the rows behind the marks from the store, where it has some: they are evaluated as their time comes."""
        ahead: dict[int, list[_Ready]] = {}
        for one in admitted:
            track = one.track
            if track.series is not None and track.fed_to is not None and track.fed_to > one.mark:
                ahead.setdefault(one.mark, []).append(one)
        for mark, group in ahead.items():
            for track, found in self._records.read_each([one.track for one in group], mark, None):
                if isinstance(found, DataError):
                    track.error = found.message
                    continue
                board = self._watch.board(found.step_s)
                board.take(board.seat(track), mark // found.step_s, found, covered_only=True)

    def _replayed(self, one: _Ready, units: Slices, corrections: Mapping[str, Correction], turn: Turn) -> Member:
        """Bring a track to its mark: from its memory if that still holds, else from the first slice."""
        track, plan, mark = one.track, one.plan, one.mark
        again = track.evaluated_to is not None
        before, known_to = track.memory, track.evaluated_to if again else (track.saved_to or None)
        asker = Asker() if asks(track.policy) else None
        scope = tuple(out_of_scope_of(track.policy, track.incidents))
        base = self._watch.bases.get(track.key)
        since: int | None
        if one.resumed:
            since, from_then = track.saved_to, track.memory
        elif base is not None and base.definition == track.definition:
            since, from_then = base.evaluated_to, base.memory
        else:
            since, from_then = None, Memory()

        def replayed(record: Slices) -> tuple[Memory, Outcome]:
            return advance(
                plan,
                from_then,
                record,
                since=since,
                incidents=track.incidents,
                out_of_scope=scope,
                ask=asker,
            )

        if one.resumed and mark == track.saved_to:  # nothing new: what is remembered is as of then
            memory, outcome = track.memory, _NOTHING
        else:
            memory, outcome = replayed(units)
        if outcome.transitions:
            track.reason = outcome.transitions[-1].reason
        elif since is None:
            track.reason = ""
        if one.correction is not None and known_to is not None:
            then: tuple[Transition, ...] = ()
            if before.policy.since is not None and before.policy.since > one.correction.start:
                was = self._records.units(track, None, known_to, corrections)
                then = replayed(was)[1].transitions
            found = Found.of(track, one.correction, known_to, before, outcome.transitions, then)
            turn.found.append(found)
        if known_to is not None and not one.resumed:  # what happened before was told before
            outcome = replace(
                outcome,
                alerts=tuple(each for each in outcome.alerts if each.at > known_to),
                transitions=tuple(each for each in outcome.transitions if each.at > known_to),
            )
        elif known_to is None:
            outcome = replace(outcome, alerts=(), transitions=outcome.transitions[-1:])
        track.memory, track.evaluated_to = memory, mark
        track.carry = _carry(units)
        if track.watched and (again or known_to is not None or memory != before):
            turn.outcomes.append((track, before if known_to is not None else Memory(), outcome))
        turn.changed[track.key] = track
        turn.services.add(track.slo.service)
        turn.redrawn.add(track.key)
        return Member(
            track.key,
            plan,
            mark,
            memory,
            track.incidents,
            scope,
            asker,
            0 if track.slo.method is BudgetingMethod.OCCURRENCES else plan.step_s,
            record=units.between(mark - plan.longest_s - 2 * plan.step_s, mark),
        )


def _carry(units: Slices) -> tuple[int, int] | None:
    covered = np.flatnonzero(units.covered)
    return (int(units.bad[covered[-1]]), int(units.total[covered[-1]])) if len(covered) else None
