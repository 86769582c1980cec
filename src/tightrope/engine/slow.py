"""The slow way through a tick: `advance` over a record that is read back, for whatever a fleet does not cover."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from tightrope.base.values import dataclass, field
from tightrope.budget.statement import Statement, last_end, state_of
from tightrope.engine.plan import Incident
from tightrope.engine.record import Workspace
from tightrope.engine.scan import Scanner, scan
from tightrope.engine.step import Memory, advance
from tightrope.engine.ticks import UNWRITTEN, Change, Gauges, Member, Rows, Tick
from tightrope.sli.coverage import Stretch
from tightrope.sli.slices import Slices
from tightrope.specs.defaults import LOOKBACKS_S

_AT_ONCE = 64


@dataclass(slots=True, eq=False)
class _Track:
    """A member, and its newest slices, which may not be written yet."""

    member: Member
    seat: int
    newest: Slices
    memory: Memory = field(default_factory=Memory)

    @property
    def reach_s(self) -> int:
        return max(self.member.plan.longest_s, *LOOKBACKS_S) + self.member.plan.step_s


class SlowTracks:
    """An `Evaluator` that reads every record anew at every tick: a millisecond for 30 days of minutes."""

    def __init__(self, rows: Rows, *, scanner: Scanner = scan) -> None:
        self._rows, self._scanner = rows, scanner
        self._tracks: dict[str, _Track] = {}
        self._seats: list[str] = []
        self._free: list[int] = []
        self._workspace = Workspace()

    def __len__(self) -> int:
        return len(self._tracks)

    def admit(self, members: Sequence[Member]) -> npt.NDArray[np.int64]:
        """Take in objectives, and tell their seats.

        Raises:
            DataError: A record cannot be read; none is taken in then.
        """
        seats = np.zeros(len(members), np.int64)
        found = []
        for member in members:
            step, end = member.plan.step_s, member.evaluated_to
            if member.key in self._tracks:
                raise AssertionError(f"{member.key} is in already")
            start = end - UNWRITTEN * step
            record = self._rows([member.key], start, end)[0] if member.record is None else member.record
            found.append(_dense(record.between(start, end), max(start, min(record.start, end)), end, member))
        for number, (member, newest) in enumerate(zip(members, found, strict=True)):
            if not self._free:
                self._free.append(len(self._seats))
                self._seats.append("")
            seats[number] = seat = self._free.pop()
            self._seats[seat] = member.key
            self._tracks[member.key] = _Track(replace(member, record=None), seat, newest, member.memory)
        return seats

    def dismiss(self, keys: Sequence[str]) -> None:
        """Let objectives go."""
        for key in keys:
            self._free.append(self._tracks.pop(key).seat)

    def revise(self, key: str, incidents: Sequence[Incident], out_of_scope: Sequence[Stretch] = ()) -> None:
        """Let a member know of other incidents from the next tick on."""
        track = self._tracks[key]
        track.member = replace(track.member, incidents=tuple(incidents), out_of_scope=tuple(out_of_scope))

    def tick(self, tick: Tick) -> list[Change]:
        """Evaluate one more slice of each of the tick's members, and tell whose memory changed."""
        changes = []
        covered = np.ones(len(tick.seats), np.bool_) if tick.covered is None else tick.covered
        excluded = np.zeros(len(tick.seats), np.bool_) if tick.excluded is None else tick.excluded
        columns = (tick.seats, tick.bad, tick.total, covered, excluded)
        tracks = []
        for seat, bad, total, seen, out in zip(*(one.tolist() for one in columns), strict=True):
            track = self._tracks[self._seats[seat]]
            if track.newest.end != tick.end - tick.step_s or track.member.plan.step_s != tick.step_s:
                raise AssertionError(f"the next slice of {track.member.key} is not the one that ends at {tick.end}")
            tracks.append(replace(track, newest=_longer(track.newest, bad, total, seen, out)))
        for track, units in self._records(tracks):
            member, before = track.member, track.memory
            track.memory, outcome = advance(
                member.plan,
                before,
                units,
                since=tick.end - tick.step_s,
                incidents=member.incidents,
                out_of_scope=member.out_of_scope,
                ask=member.ask,
                scanner=self._scanner,
                workspace=self._workspace,
            )
            if track.memory != before:
                changes.append(Change(member.key, track.memory, outcome))
        # only now, so that a tick that fails leaves everything as it was
        for track in tracks:
            self._tracks[track.member.key] = track
        return changes

    def prepare(self) -> None:
        """Nothing is read ahead."""

    def memory(self, key: str) -> Memory:
        """What a member remembers."""
        return self._tracks[key].memory

    def evaluated_to(self, key: str) -> int:
        """End of the last slice that was evaluated of a member."""
        return self._tracks[key].newest.end

    def known_to(self, key: str) -> int | None:
        """End of the newest slice that was measured or excluded; None: nothing was ever measured."""
        track = self._tracks[key]
        begin = track.memory.history_start
        if begin is None:
            return None
        for units in (track.newest, *self._rows([key], begin, track.newest.start)):
            known = units.covered if units.excluded is None else units.covered | units.excluded
            end = last_end(units, known)
            if end is not None:
                return end
        return begin

    def statement(self, key: str) -> Statement:
        """The account of a member as of its last evaluated slice."""
        track = self._tracks[key]
        ((_, units),) = self._records([track])
        statement = self._stated(track, units)
        begin = track.memory.history_start
        if statement.last_covered is not None or begin is None or begin >= units.start:
            return statement
        # the newest slice that was measured lies further back than anything else is looked for
        (older,) = self._rows([key], begin, units.start)
        known = older.covered if older.excluded is None else older.covered | older.excluded
        told = statement.last_known if statement.last_known is not None else last_end(older, known)
        return replace(statement, last_covered=last_end(older, older.covered), last_known=told)

    def gauges(self, lookbacks_s: Sequence[int]) -> Gauges:
        """Where all members stand."""
        tracks = list(self._tracks.values())
        remaining, known, stale = (
            np.zeros(len(tracks)),
            np.zeros(len(tracks), np.bool_),
            np.zeros(len(tracks), np.bool_),
        )
        burns = np.zeros((len(lookbacks_s), len(tracks)))
        keys = []
        for number, (track, units) in enumerate(self._records(tracks)):
            keys.append(track.member.key)
            told = self._stated(track, units)
            left = told.budget(track.member.plan.basis).remaining_ratio
            known[number], remaining[number] = left is not None, 0.0 if left is None else float(left)
            rates = {burn.lookback_s: float(burn.rate) for burn in told.burns}
            burns[:, number] = [rates[lookback] for lookback in lookbacks_s]
            stale[number] = told.stale
        return Gauges(tuple(keys), remaining, known, burns, stale)

    def _records(self, tracks: Sequence[_Track]) -> Iterable[tuple[_Track, Slices]]:
        """Each track with its record, those that look back equally far read together."""
        alike: dict[tuple[int, int], list[_Track]] = defaultdict(list)
        for track in tracks:
            alike[track.newest.end - track.reach_s, track.newest.start].append(track)
        for (start, until), some in alike.items():
            for first in range(0, len(some), _AT_ONCE):
                part = some[first : first + _AT_ONCE]
                keys = [track.member.key for track in part]
                for track, older in zip(part, self._rows(keys, start, until), strict=True):
                    yield track, _joined(older, track.newest)

    @staticmethod
    def _stated(track: _Track, units: Slices) -> Statement:
        plan = track.member.plan
        return state_of(
            units,
            plan.target,
            plan.window,
            units.end,
            lookbacks_s=LOOKBACKS_S,
            history_start=track.memory.history_start,
            gaps=plan.gaps,
            stale_after=plan.stale_after,
            unit_s=track.member.unit_s,
            weight=plan.weight,
        )


def _dense(units: Slices, start: int, end: int, member: Member) -> Slices:
    """A record from *start* to *end*; what is not in *units* is a gap."""
    step = member.plan.step_s
    count = (end - start) // step
    bad, total = np.zeros(count, np.int64), np.zeros(count, np.int64)
    covered, excluded = np.zeros(count, np.bool_), np.zeros(count, np.bool_)
    at = slice((units.start - start) // step, (units.start - start) // step + len(units))
    if len(units):
        bad[at], total[at], covered[at] = units.bad, units.total, units.covered
        if units.excluded is not None:
            excluded[at] = units.excluded
    return Slices(start, step, bad, total, covered, excluded, scale=member.plan.scale)


def _longer(units: Slices, bad: int, total: int, covered: bool, excluded: bool) -> Slices:
    """The record with one more slice, without those that are old enough to be read back."""
    drop = max(0, len(units) + 1 - UNWRITTEN)
    out = np.zeros(len(units), np.bool_) if units.excluded is None else units.excluded
    return replace(
        units,
        start=units.start + drop * units.step_s,
        bad=np.append(units.bad[drop:], bad),
        total=np.append(units.total[drop:], total),
        covered=np.append(units.covered[drop:], covered),
        excluded=np.append(out[drop:], excluded),
    )


def _joined(older: Slices, newer: Slices) -> Slices:
    """Two stretches of a record, the second right after the first; what is missing in between is a gap."""
    if not len(older):
        return newer
    out = [np.zeros(len(one), np.bool_) if one.excluded is None else one.excluded for one in (older, newer)]
    between = (newer.start - older.end) // newer.step_s
    nothing, gap = np.zeros(between, np.int64), np.zeros(between, np.bool_)
    return replace(
        newer,
        start=older.start,
        bad=np.concatenate([older.bad, nothing, newer.bad]),
        total=np.concatenate([older.total, nothing, newer.total]),
        covered=np.concatenate([older.covered, gap, newer.covered]),
        excluded=np.concatenate([out[0], gap, out[1]]),
    )
