"""A fleet: many objectives of one step, evaluated together at every tick.

Members whose plans are of one shape sit side by side in arrays. A tick slides their sums on, compares them with the
bounds in float64, and again with whole numbers where rounding could decide, as a scan does. Only a member in which a
column changed, or something that was waited for falls due, is looked at on its own: there the same code unfolds alerts
and policy as in a replay.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from tightrope.base.errors import DataError
from tightrope.budget.statement import Statement
from tightrope.engine.groups import (
    FAR_AWAY,
    MOST_UNITS,
    Beginning,
    Group,
    Places,
    Whole,
    end_of_last,
    part_of,
    uncountable,
)
from tightrope.engine.plan import Incident, Plan
from tightrope.engine.shapes import Kind, Shape, covers, kind_of
from tightrope.engine.step import Memory
from tightrope.engine.sums import BLOCK, NARROW, Columns, SlidingSums
from tightrope.engine.ticks import UNWRITTEN, Change, Gauges, Member, Rows, Tick
from tightrope.sli.coverage import Stretch
from tightrope.sli.slices import Slices

_AT_ONCE = 32


class LiveFleet:
    """An `Evaluator` of objectives of one step whose plans it `takes`."""

    def __init__(self, step_s: int, rows: Rows, *, block: int = BLOCK, unwritten: int = UNWRITTEN) -> None:
        self.step_s = step_s
        self._rows = rows
        self._block, self._unwritten = block, unwritten
        self._groups: list[Group] = []
        self._group_of: dict[tuple[Shape, bool], int] = {}
        # the kinds of plans, and of the very objects that came with members: to tell these apart costs nothing
        self._kinds: dict[tuple[Plan, bool], Kind] = {}
        self._seen: dict[tuple[int, bool], tuple[Plan, Kind]] = {}
        self._seat_of: dict[str, int] = {}
        self._free: list[int] = []
        # by seat: in which group, and in which column there
        self._group = np.zeros(0, np.int64)
        self._column = np.zeros(0, np.int64)
        self._split: tuple[Whole, list[tuple[Group, Places]]] | None = None

    def __len__(self) -> int:
        return len(self._seat_of)

    @property
    def shapes(self) -> int:
        """How many groups of members are computed as one: what a tick costs at least grows with them."""
        return len(self._groups)

    @staticmethod
    def takes(plan: Plan) -> bool:
        """Whether a fleet of the plan's step evaluates it.

        It takes burn rates and consumed shares with their floors over any lookbacks, rolling and calendar windows,
        both bases, incidents and causes out of scope. It does not take what needs more than sums: CEL, significance,
        and gaps that are filled.
        """
        return covers(plan)

    # --- members that come and go ----------------------------------------------------------------------------------

    def admit(self, members: Sequence[Member]) -> Whole:
        """Take in objectives, and tell their seats.

        Raises:
            DataError: A record cannot be read, or counted exactly; none is taken in then.
        """
        seats = np.zeros(len(members), np.int64)
        try:
            for first in range(0, len(members), _AT_ONCE):
                seats[first : first + _AT_ONCE] = self._admitted(members[first : first + _AT_ONCE])
        except DataError:
            self.dismiss([one.key for one in members[:first]])
            raise
        self._split = None
        return seats

    def _admitted(self, some: Sequence[Member]) -> Whole:
        """Take in some objectives, all or none."""
        seats = np.zeros(len(some), np.int64)
        entries: dict[tuple[int, int], list[tuple[int, Kind, Beginning]]] = defaultdict(list)
        for number, member in enumerate(some):
            if member.key in self._seat_of:
                raise AssertionError(f"{member.key} is in already")
            if member.plan.step_s != self.step_s or member.evaluated_to % self.step_s:
                raise AssertionError(f"{member.key} does not go by steps of {self.step_s} s")
            kind = self._kind(member.plan, scoped=bool(member.out_of_scope))
            beginning = self._beginning(member, self._record(member, kind))
            group = self._place(kind.shape, wide=beginning.wide)
            entries[group, member.evaluated_to // self.step_s].append((number, kind, beginning))
        for (group, slot), found in entries.items():
            columns = self._groups[group].enter(slot, [(some[one], kind, begin) for one, kind, begin in found])
            for (number, _, _), column in zip(found, columns.tolist(), strict=True):
                seats[number] = self._seat(some[number].key, group, column)
        return seats

    def dismiss(self, keys: Sequence[str]) -> None:
        """Let objectives go."""
        for key in keys:
            seat = self._seat_of.pop(key)
            self._groups[self._group[seat]].leave(int(self._column[seat]))
            self._free.append(seat)
        self._split = None

    def revise(self, key: str, incidents: Sequence[Incident], out_of_scope: Sequence[Stretch] = ()) -> None:
        """Let a member know of other incidents from the next tick on."""
        group, column = self._where(key)
        if group.revise(column, tuple(incidents), tuple(out_of_scope)):
            return
        member = replace(group.member(column), incidents=tuple(incidents), out_of_scope=tuple(out_of_scope))
        seat = self._seat_of[key]
        self.dismiss([key])
        # the seat goes to the same member again
        (again,) = self.admit([member]).tolist()
        if again != seat:
            raise AssertionError("a seat that was just left is the next to be taken")

    def _kind(self, plan: Plan, *, scoped: bool) -> Kind:
        seen = self._seen.get((id(plan), scoped))
        if seen is not None:
            return seen[1]
        if len(self._seen) > 2 * len(self._seat_of) + 64:
            self._seen.clear()
            self._kinds.clear()
        kind = self._kinds.get((plan, scoped))
        if kind is None:
            kind = self._kinds[plan, scoped] = kind_of(plan, scoped=scoped)
        self._seen[id(plan), scoped] = plan, kind
        return kind

    def _record(self, member: Member, kind: Kind) -> Slices:
        """The slices of a member as far back as anything looks."""
        plan, end = member.plan, member.evaluated_to
        slices = max(*kind.shape.lookbacks, plan.stale_after, plan.window_s_at_most // self.step_s + 1)
        start = end - slices * self.step_s
        record = member.record
        if record is None or not len(record):
            return self._rows([member.key], start, end)[0].between(start, end)
        if record.end != end:
            raise AssertionError(f"the record of {member.key} does not end where it was evaluated to")
        record = record.between(start, end)
        if record.start > start:
            older = self._rows([member.key], start, record.start)[0].between(start, record.start)
            if len(older):
                return _joined(older, record)
        return record

    def _beginning(self, member: Member, record: Slices) -> Beginning:
        step = self.step_s
        first = record.start // step
        begun = member.memory.history_start
        if begun is not None:
            history = -(-begun // step)
        else:
            history = first + int(np.argmax(record.covered)) if record.covered.any() else FAR_AWAY
        most = int(record.total.max()) if len(record) else 0
        if most * len(record) >= MOST_UNITS and float(record.total.sum(dtype=np.float64)) >= MOST_UNITS:
            raise uncountable(member.key)
        slot = member.evaluated_to // step
        covered_to = end_of_last(record.covered, first)
        known_to = covered_to
        if record.excluded is not None:
            known_to = max(known_to, end_of_last(record.excluded, first))
        if covered_to < 0 and begun is not None and begun < record.start:
            older = self._rows([member.key], begun, record.start)[0]
            covered_to = end_of_last(older.covered, older.start // step)
            known_to = max(known_to, covered_to)
            if older.excluded is not None:
                known_to = max(known_to, end_of_last(older.excluded, older.start // step))
        gap_run = slot - known_to if known_to >= 0 else FAR_AWAY // 2
        part = part_of(record, history, member.out_of_scope)
        return Beginning(part, history, covered_to, gap_run, wide=most >= NARROW)

    def _place(self, shape: Shape, *, wide: bool) -> int:
        number = self._group_of.get((shape, wide))
        if number is None:
            number = self._group_of[shape, wide] = len(self._groups)
            sums = SlidingSums(
                self.step_s,
                shape.lookbacks,
                shape.window,
                scoped=shape.scoped,
                wide=wide,
                block=self._block,
                unwritten=self._unwritten,
            )
            self._groups.append(Group(self.step_s, shape, self._rows, sums))
        return number

    def _seat(self, key: str, group: int, column: int) -> int:
        if not self._free:
            more = max(64, len(self._group) // 4)
            self._free = list(range(len(self._group) + more - 1, len(self._group) - 1, -1))
            self._group, self._column = (
                np.append(one, np.zeros(more, np.int64)) for one in (self._group, self._column)
            )
        seat = self._free.pop()
        self._group[seat], self._column[seat] = group, column
        self._seat_of[key] = seat
        return seat

    def _where(self, key: str) -> tuple[Group, int]:
        seat = self._seat_of[key]
        return self._groups[self._group[seat]], int(self._column[seat])

    # --- ticks -----------------------------------------------------------------------------------------------------

    def tick(self, tick: Tick) -> list[Change]:
        """Evaluate one more slice of each of the tick's members, and tell whose memory changed.

        Raises:
            DataError: A member has more units than can be counted exactly; nothing was evaluated then.
        """
        self.check(tick)
        if self._split is None:
            raise AssertionError("a tick was split when it was checked")
        return [change for group, places in self._split[1] for change in group.tick(tick, places)]

    def check(self, tick: Tick) -> None:
        """Refuse a tick that cannot be evaluated, before anything of it is.

        Raises:
            DataError: A member has more units than can be counted exactly.
        """
        if len(tick.total) and int(tick.total.max()) >= NARROW:
            self._widen(tick)
        if self._split is None or self._split[0] is not tick.seats:
            self._split = tick.seats, list(self._divided(tick.seats))
        for group, places in self._split[1]:
            group.check(tick, places)

    def _divided(self, seats: Whole) -> Iterator[tuple[Group, Places]]:
        groups = self._group[seats]
        for number in np.unique(groups).tolist():
            group = self._groups[number]
            places = np.flatnonzero(groups == number)
            columns = self._column[seats[places]]
            chosen: Columns = columns
            if len(columns) == group.alive and len(columns) >= group.width // 2:
                chosen = slice(0, group.width)
            everywhere = len(places) == len(seats)
            in_order = isinstance(chosen, slice) and np.array_equal(columns, np.arange(group.width))
            yield group, Places(chosen, columns, None if everywhere else places, in_order)

    def _widen(self, tick: Tick) -> None:
        """Move members whose counts have outgrown the rows of their group."""
        for seat in tick.seats[tick.total >= NARROW].tolist():
            group = self._groups[self._group[seat]]
            if not group.sums.wide:
                number = self._place(group.shape, wide=True)
                column = self._groups[number].take_over(group, int(self._column[seat]))
                group.leave(int(self._column[seat]))
                self._group[seat], self._column[seat] = number, column
                self._split = None

    def prepare(self) -> None:
        """Read ahead what later ticks will need."""
        for group in self._groups:
            group.prepare()

    # --- where members stand ---------------------------------------------------------------------------------------

    def memory(self, key: str) -> Memory:
        """What a member remembers."""
        group, column = self._where(key)
        return group.memories[column]

    def evaluated_to(self, key: str) -> int:
        """End of the last slice that was evaluated of a member."""
        group, column = self._where(key)
        return int(group.slots[column]) * self.step_s

    def known_to(self, key: str) -> int | None:
        """End of the newest slice that was measured or excluded; None: nothing was ever measured."""
        group, column = self._where(key)
        return group.known_to(column) if group.memories[column].history_start is not None else None

    def statement(self, key: str) -> Statement:
        """The account of a member as of its last evaluated slice."""
        group, column = self._where(key)
        return group.statement(column)

    def gauges(self, lookbacks_s: Sequence[int]) -> Gauges:
        """Where all members stand."""
        parts = [group.gauges(lookbacks_s) for group in self._groups]
        return Gauges(
            tuple(key for part in parts for key in part.keys),
            np.concatenate([np.zeros(0), *(part.remaining for part in parts)]),
            np.concatenate([np.zeros(0, np.bool_), *(part.known for part in parts)]),
            np.concatenate([np.zeros((len(lookbacks_s), 0)), *(part.burns for part in parts)], axis=1),
            np.concatenate([np.zeros(0, np.bool_), *(part.stale for part in parts)]),
        )


def _joined(older: Slices, newer: Slices) -> Slices:
    excluded = None
    if older.excluded is not None or newer.excluded is not None:
        excluded = np.concatenate(
            [np.zeros(len(one), np.bool_) if one.excluded is None else one.excluded for one in (older, newer)]
        )
    if older.end != newer.start:
        raise AssertionError("a record that is read back reaches up to where it goes on")
    return replace(
        newer,
        start=older.start,
        bad=np.concatenate([older.bad, newer.bad]),
        total=np.concatenate([older.total, newer.total]),
        covered=np.concatenate([older.covered, newer.covered]),
        excluded=excluded,
    )
