"""Live evaluation of many objectives: each in the fleet of its step, or the slow way where a fleet does not cover it.

How a turn uses it: admit objectives with what is stored of them, hand in the newest slices with `LiveEvaluator.tick`,
oldest end first, and write down every `Change` along with the slices, in one transaction. If that fails, what was
evaluated is ahead of what is stored: dismiss the members concerned and admit them as stored.

A slice that comes late, behind a member's ``evaluated_to``, changes what was evaluated after it. Dismiss the member,
replay its record with the slice in its place, and admit it with the memory that the replay ends in; hand over the
record with it, so that nothing is read that is not written yet.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tightrope.base.errors import DataError
from tightrope.budget.statement import Statement
from tightrope.engine.fleet import LiveFleet
from tightrope.engine.plan import Incident
from tightrope.engine.scan import Scanner, scan
from tightrope.engine.slow import SlowTracks
from tightrope.engine.step import Memory
from tightrope.engine.ticks import Change, Evaluator, Gauges, Member, Rows, Tick
from tightrope.sli.coverage import Stretch


class LiveEvaluator:
    """An `Evaluator` of objectives of any step and any plan."""

    def __init__(self, rows: Rows, *, scanner: Scanner = scan) -> None:
        self._rows = rows
        self._slow = SlowTracks(rows, scanner=scanner)
        self._fleets: dict[int, int] = {}
        self._rooms: list[Evaluator] = [self._slow]
        self._room_of: dict[str, int] = {}
        self._seat_of: dict[str, int] = {}
        self._keys: list[str] = []
        self._free: list[int] = []
        # by seat: in which room, and on which seat there
        self._room = np.zeros(0, np.int64)
        self._inner = np.zeros(0, np.int64)
        self._split: tuple[npt.NDArray[np.int64], list[tuple[int, npt.NDArray[np.int64], npt.NDArray[np.int64]]]] | None
        self._split = None

    def __len__(self) -> int:
        return len(self._room_of)

    def __contains__(self, key: str) -> bool:
        return key in self._room_of

    def admit(self, members: Sequence[Member]) -> npt.NDArray[np.int64]:
        """Take in objectives, and tell their seats.

        Raises:
            DataError: A record cannot be read, or counted exactly; none is taken in then.
        """
        seats = np.zeros(len(members), np.int64)
        by_room: dict[int, list[int]] = {}
        keys: set[str] = set()
        for number, member in enumerate(members):
            if member.key in self._room_of or member.key in keys:
                raise AssertionError(f"{member.key} is in already")
            keys.add(member.key)
            by_room.setdefault(self._room_for(member), []).append(number)
        done: list[str] = []
        try:
            for room, numbers in by_room.items():
                some = [members[number] for number in numbers]
                for number, inner in zip(numbers, self._rooms[room].admit(some).tolist(), strict=True):
                    seats[number] = self._seat(members[number].key, room, inner)
                    done.append(members[number].key)
        except DataError:
            self.dismiss(done)
            raise
        self._split = None
        return seats

    def seats(self, keys: Sequence[str]) -> npt.NDArray[np.int64]:
        """Where members sit."""
        return np.asarray([self._seat_of[key] for key in keys], np.int64)

    def dismiss(self, keys: Sequence[str]) -> None:
        """Let objectives go."""
        for key in keys:
            self._rooms[self._room_of.pop(key)].dismiss([key])
            self._free.append(self._seat_of.pop(key))
        self._split = None

    def revise(self, key: str, incidents: Sequence[Incident], out_of_scope: Sequence[Stretch] = ()) -> None:
        """Let a member know of other incidents from the next tick on."""
        self._rooms[self._room_of[key]].revise(key, incidents, out_of_scope)

    def tick(self, tick: Tick) -> list[Change]:
        """Evaluate one more slice of each of the tick's members, and tell whose memory changed.

        Raises:
            DataError: A member has more units than can be counted exactly; nothing was evaluated then.
        """
        if self._split is None or self._split[0] is not tick.seats:
            rooms = self._room[tick.seats]
            places = [(room, np.flatnonzero(rooms == room)) for room in np.unique(rooms).tolist()]
            self._split = tick.seats, [(room, at, self._inner[tick.seats[at]]) for room, at in places]
        if len(self._split[1]) == 1:
            ((number, _, seats),) = self._split[1]
            whole = Tick(tick.step_s, tick.end, seats, tick.bad, tick.total, tick.covered, tick.excluded)
            return self._rooms[number].tick(whole)
        parts = [(self._rooms[number], tick.of(at, seats)) for number, at, seats in self._split[1]]
        for room, part in parts:
            if isinstance(room, LiveFleet):
                room.check(part)
        # the slow ones first: theirs is the last chance to fail
        return [change for room, part in parts for change in room.tick(part)]

    def prepare(self) -> None:
        """Read ahead what later ticks will need."""
        for room in self._rooms:
            room.prepare()

    def memory(self, key: str) -> Memory:
        """What a member remembers."""
        return self._rooms[self._room_of[key]].memory(key)

    def evaluated_to(self, key: str) -> int:
        """End of the last slice that was evaluated of a member."""
        return self._rooms[self._room_of[key]].evaluated_to(key)

    def known_to(self, key: str) -> int | None:
        """End of the newest slice that was measured or excluded; None: nothing was ever measured."""
        return self._rooms[self._room_of[key]].known_to(key)

    def statement(self, key: str) -> Statement:
        """The account of a member as of its last evaluated slice."""
        return self._rooms[self._room_of[key]].statement(key)

    def gauges(self, lookbacks_s: Sequence[int]) -> Gauges:
        """Where all members stand."""
        parts = [room.gauges(lookbacks_s) for room in self._rooms]
        return Gauges(
            tuple(key for part in parts for key in part.keys),
            np.concatenate([part.remaining for part in parts]),
            np.concatenate([part.known for part in parts]),
            np.concatenate([part.burns for part in parts], axis=1),
            np.concatenate([part.stale for part in parts]),
        )

    def _room_for(self, member: Member) -> int:
        plan = member.plan
        if not LiveFleet.takes(plan):
            return 0
        if plan.step_s not in self._fleets:
            self._fleets[plan.step_s] = len(self._rooms)
            self._rooms.append(LiveFleet(plan.step_s, self._rows))
        return self._fleets[plan.step_s]

    def _seat(self, key: str, room: int, inner: int) -> int:
        if not self._free:
            more = max(64, len(self._room) // 2)
            self._free = list(range(len(self._room) + more - 1, len(self._room) - 1, -1))
            self._room, self._inner = (np.append(one, np.zeros(more, np.int64)) for one in (self._room, self._inner))
        seat = self._free.pop()
        self._room[seat], self._inner[seat] = room, inner
        self._room_of[key], self._seat_of[key] = room, seat
        return seat
