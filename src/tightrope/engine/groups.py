"""A group: the members of a fleet whose plans are of one shape, each in a column of shared arrays."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import reduce
from typing import Any

import numpy as np
import numpy.typing as npt

from tightrope.base.errors import DataError
from tightrope.base.values import dataclass
from tightrope.budget.burn import burn_of, slices_in
from tightrope.budget.statement import Counted, Statement, stated
from tightrope.budget.windows import span
from tightrope.engine.plan import Incident, Plan
from tightrope.engine.program import Bit, Joined, Known, Mark, Term, Turned
from tightrope.engine.scan import Peak
from tightrope.engine.shapes import Kind, Shape
from tightrope.engine.step import Memory, Outcome, unfold
from tightrope.engine.sums import (
    BAD,
    COVERED,
    EXCLUDED,
    SCOPED,
    SEEN,
    TOTAL,
    Columns,
    Flags,
    Part,
    SlidingSums,
    Values,
)
from tightrope.engine.ticks import Change, Gauges, Member, Rows, Tick
from tightrope.sli.coverage import Stretch, forgive
from tightrope.sli.slices import Mask, Slices
from tightrope.specs.defaults import LOOKBACKS_S
from tightrope.specs.model import Basis

FAR_AWAY = 2**62
"""An instant, or the number of a slice, that never comes."""

MOST_UNITS = 2**62
"""Units that are too many to be counted exactly, as in a record."""

Whole = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Places:
    """Where the members of a group are in a tick.

    Attributes:
        columns: The members; a stretch where the tick has them all, those that left among it.
        chosen: The members, one by one, as the tick has them.
        places: Where the tick has them; None: it has no others.
        in_order: The tick has them in the order of the stretch.
    """

    columns: Columns
    chosen: Whole
    places: Whole | None
    in_order: bool

    def of(self, values: npt.NDArray[Any], width: int, otherwise: int) -> npt.NDArray[Any]:
        """What the tick says of the columns, and *otherwise* of those that members have left."""
        mine = values if self.places is None else values[self.places]
        if self.in_order or not isinstance(self.columns, slice):
            return mine
        spread = np.full(width, otherwise, values.dtype)
        spread[self.chosen] = mine
        return spread


@dataclass(frozen=True, slots=True, eq=False)
class Beginning:
    """What a member comes in with: its record, where history begins, what was measured last, how long a gap is."""

    part: Part
    history: int
    covered_to: int
    gap_run: int
    wide: bool


def part_of(record: Slices, history: int, out_of_scope: Sequence[Stretch]) -> Part:
    """The series and flags of a record whose history begins at slice number *history*."""
    first = record.start // record.step_s
    series = [record.bad, record.total]
    if out_of_scope:
        series.append(forgive(record, out_of_scope).bad)
    if record.excluded is None and record.covered.all():
        flags: Flags = np.full(len(record), 1 << SEEN | 1 << COVERED, np.uint8)
    else:
        known = record.covered if record.excluded is None else record.covered | record.excluded
        flags = ((known | (record.total > 0)).astype(np.uint8) << np.uint8(SEEN)) | (
            record.covered.astype(np.uint8) << np.uint8(COVERED)
        )
        if record.excluded is not None:
            flags |= record.excluded.astype(np.uint8) << np.uint8(EXCLUDED)
    if history > first:
        flags[: history - first] &= np.uint8(1 << COVERED)
    return first, tuple(series), flags


def end_of_last(marked: Mask, first: int) -> int:
    """The number of the slice after the last marked one; -1 if none is."""
    if not marked.any():
        return -1
    return first + len(marked) - int(np.argmax(marked[::-1]))


def uncountable(key: str) -> DataError:
    return DataError(
        f"the slices of {key} hold more units than can be counted exactly",
        remedy="count in larger units, or read a shorter stretch",
    )


class Group:
    """The members of one shape, each in a column of its own.

    Attributes:
        width: Columns in use, those that members have left among them.
        alive: Members.
        slots: The number of each member's next slice, which is the end of its last one over the step.
    """

    def __init__(self, step_s: int, shape: Shape, rows: Rows, sums: SlidingSums) -> None:
        self.step_s, self.shape = step_s, shape
        self._rows = rows
        self.sums = sums
        self.width = self.alive = 0
        self.keys: list[str] = []
        self.memories: list[Memory] = []
        self._kinds: list[Kind] = []
        self._units_s: list[int] = []
        self._incidents: dict[int, tuple[Incident, ...]] = {}
        self._out_of_scope: dict[int, tuple[Stretch, ...]] = {}
        self._free: list[int] = []
        self.slots = np.zeros(0, np.int64)
        self._history = np.zeros(0, np.int64)
        self._covered_to = np.zeros(0, np.int64)
        self._gap_run = np.zeros(0, np.int64)
        self._due = np.zeros(0, np.int64)
        self._turn = np.zeros(0, np.int64)
        self._scope_turn = np.zeros(0, np.int64)
        self._forgiven = np.zeros(0, np.bool_)
        self._stale_after = np.zeros(0, np.int64)
        self._low = np.zeros((len(shape.marks), 0))
        self._high = np.zeros((len(shape.marks), 0))
        self._at_least = np.zeros((len(shape.counts), 0), np.int64)
        self._opens = np.zeros((len(shape.opens), 0), np.bool_)
        self._held = np.zeros((len(shape.terms) + 1, 0), np.bool_)
        self._share = np.zeros(0)
        self._projected = np.zeros(0, np.bool_)
        self._unbegun = False
        self._open_at = {one: number for number, one in enumerate(shape.opens)}

    _ARRAYS = (
        "slots",
        "_history",
        "_covered_to",
        "_gap_run",
        "_due",
        "_turn",
        "_scope_turn",
        "_forgiven",
        "_stale_after",
        "_low",
        "_high",
        "_at_least",
        "_opens",
        "_held",
        "_share",
        "_projected",
    )

    # --- members that come and go ----------------------------------------------------------------------------------

    def enter(self, slot: int, entries: Sequence[tuple[Member, Kind, Beginning]]) -> Whole:
        """Take members in whose next slice is *slot*; tells their columns."""
        columns = np.zeros(len(entries), np.int64)
        for number, (member, kind, beginning) in enumerate(entries):
            columns[number] = column = self._column()
            self._sit(column, member.key, member.memory, kind, member.unit_s)
            self.slots[column] = slot
            self._history[column] = beginning.history
            self._covered_to[column], self._gap_run[column] = beginning.covered_to, beginning.gap_run
            self._unbegun |= beginning.history == FAR_AWAY
            self._know(column, member.incidents, member.out_of_scope)
        self.sums.enter(columns, slot, [beginning.part for _, _, beginning in entries])
        # what its memory has seen already need not be looked at again
        held = self._columns(columns, slot - 1)
        self._held[:, columns] = held
        for place, column in enumerate(columns.tolist()):
            plan, memory = self._kinds[column].plan, self.memories[column]
            if self._history[column] < slot and _has_seen(plan, memory, held[:, place].tolist()):
                self._due[column] = _due(plan, memory, slot * self.step_s)
        return columns

    def _column(self) -> int:
        if self._free:
            return self._free.pop()
        if self.width == self.sums.capacity:
            capacity = self.width + max(8, self.width // 4)
            self.sums.grow(capacity)
            for name in self._ARRAYS:
                held: npt.NDArray[Any] = getattr(self, name)
                wider = np.zeros((*held.shape[:-1], capacity), held.dtype)
                wider[..., : self.width] = held[..., : self.width]
                setattr(self, name, wider)
        self.width += 1
        return self.width - 1

    def _sit(self, column: int, key: str, memory: Memory, kind: Kind, unit_s: int) -> None:
        if column == len(self.keys):
            self.keys.append(key)
            self.memories.append(memory)
            self._kinds.append(kind)
            self._units_s.append(unit_s)
        self.keys[column], self.memories[column], self._kinds[column] = key, memory, kind
        self._units_s[column] = unit_s
        self._due[column] = -FAR_AWAY
        self._stale_after[column] = kind.plan.stale_after
        self._low[:, column] = [mark.low for mark in kind.marks]
        self._high[:, column] = [mark.high for mark in kind.marks]
        self._at_least[:, column] = [min(one, FAR_AWAY) for one in kind.at_least]
        self._share[column] = float(kind.plan.share)
        self._projected[column] = kind.plan.basis is Basis.PROJECTED
        self.alive += 1

    def leave(self, column: int) -> None:
        """Forget a member."""
        self.sums.leave(column)
        self.slots[column] = -1
        self._history[column] = 0
        self._due[column] = FAR_AWAY
        self._held[:, column] = False
        self._low[:, column] = self._high[:, column] = 0
        self._turn[column] = self._scope_turn[column] = FAR_AWAY
        self._incidents.pop(column, None)
        self._out_of_scope.pop(column, None)
        self.keys[column] = ""
        self.memories[column] = Memory()
        self._free.append(column)
        self.alive -= 1
        if not self.alive:
            self._clear()

    def _clear(self) -> None:
        """Nobody is left: give the room back."""
        self.sums.clear()
        for name in self._ARRAYS:
            setattr(self, name, getattr(self, name)[..., :0].copy())
        for held in (self.keys, self.memories, self._kinds, self._units_s, self._free):
            held.clear()
        self.width, self._unbegun = 0, False

    def take_over(self, other: Group, theirs: int) -> int:
        """Take in a member of a group that differs only in how wide it is; tells its column."""
        ours = self._column()
        self._sit(ours, other.keys[theirs], other.memories[theirs], other._kinds[theirs], other._units_s[theirs])
        for name in self._ARRAYS:
            getattr(self, name)[..., ours] = getattr(other, name)[..., theirs]
        for mine, yours in ((self._incidents, other._incidents), (self._out_of_scope, other._out_of_scope)):
            if theirs in yours:
                mine[ours] = yours[theirs]  # type: ignore[assignment]
        self._unbegun |= other._unbegun
        self.sums.take_over(other.sums, theirs, ours)
        return ours

    def member(self, column: int) -> Member:
        """A member as it would come in again."""
        return Member(
            self.keys[column],
            self._kinds[column].plan,
            int(self.slots[column]) * self.step_s,
            self.memories[column],
            self._incidents.get(column, ()),
            self._out_of_scope.get(column, ()),
            unit_s=self._units_s[column],
        )

    def _know(self, column: int, incidents: tuple[Incident, ...], out_of_scope: tuple[Stretch, ...]) -> None:
        for of, known in ((self._incidents, incidents), (self._out_of_scope, out_of_scope)):
            if known:
                of[column] = known  # type: ignore[assignment]
            else:
                of.pop(column, None)
        self._turn[column] = self._scope_turn[column] = -FAR_AWAY

    def revise(self, column: int, incidents: tuple[Incident, ...], out_of_scope: tuple[Stretch, ...]) -> bool:
        """Let a member know of other incidents; False if its sums are others then."""
        before = self._out_of_scope.get(column, ())
        if bool(out_of_scope) != bool(before):
            return False
        slot = int(self.slots[column])
        if self._runs(before, slot) != self._runs(out_of_scope, slot):
            return False
        self._know(column, incidents, out_of_scope)
        return True

    def _runs(self, stretches: Sequence[Stretch], slot: int) -> list[tuple[int, int]]:
        """The slices before *slot* that overlap some stretches, as runs."""
        runs: list[tuple[int, int]] = []
        for first, last in sorted(self._slices_of(stretches)):
            last = min(last, slot)
            if runs and first <= runs[-1][1]:
                runs[-1] = runs[-1][0], max(runs[-1][1], last)
            elif first < last:
                runs.append((first, last))
        return runs

    def _slices_of(self, stretches: Sequence[Stretch]) -> Iterator[tuple[int, int]]:
        for start, end in stretches:
            if end > start:
                yield start // self.step_s, -(-end // self.step_s)

    # --- ticks -----------------------------------------------------------------------------------------------------

    def check(self, tick: Tick, places: Places) -> None:
        """Refuse a tick that cannot be evaluated."""
        wrong = self.slots[places.chosen] != tick.end // self.step_s - 1
        if wrong.any() or tick.end % self.step_s or tick.step_s != self.step_s:
            column = int(places.chosen[int(np.argmax(wrong))])
            raise AssertionError(f"the next slice of {self.keys[column]} is not the one that ends at {tick.end}")
        if self.sums.wide:
            total = tick.total if places.places is None else tick.total[places.places]
            most = self.sums.sums[TOTAL][:, places.chosen].max(axis=0).astype(np.float64) + total
            if len(most) and float(most.max()) >= MOST_UNITS:
                raise uncountable(self.keys[int(places.chosen[int(np.argmax(most))])])

    def tick(self, tick: Tick, places: Places) -> list[Change]:
        """Evaluate one more slice of some members, and tell whose memory changed."""
        columns, width = places.columns, self.width
        slot = tick.end // self.step_s - 1
        bad, total = places.of(tick.bad, width, 0), places.of(tick.total, width, 0)
        covered = None if tick.covered is None else places.of(tick.covered, width, True)
        excluded = None if tick.excluded is None else places.of(tick.excluded, width, False)
        if excluded is not None and not excluded.any():
            excluded = None
        if covered is not None and excluded is None and covered.all():
            covered = None
        flags = self._flags(columns, slot, total, covered, excluded)
        self.sums.push(slot, columns, self._values(columns, slot, bad, total), flags, self._read)
        self.slots[columns] = slot + 1
        held = self._columns(columns, slot)
        before = self._held[:, columns]
        woken = (held != before).any(axis=0)
        woken |= self._due[columns] <= tick.end
        if self._unbegun:
            woken &= self._history[columns] <= slot
        self._held[:, columns] = held
        if isinstance(columns, slice) and self.alive < width:
            self.slots[self._free] = -1
            woken[self._free] = False
        changes = []
        for place in np.flatnonzero(woken).tolist():
            column = place if isinstance(columns, slice) else int(columns[place])
            change = self._unfold(column, held[:, place], tick.end)
            if change is not None:
                changes.append(change)
        return changes

    def _values(self, columns: Columns, slot: int, bad: Whole, total: Whole) -> Values:
        if not self.shape.scoped:
            return np.stack([bad, total])
        turning = np.flatnonzero(self._scope_turn[columns] <= slot)
        for place in turning.tolist():
            column = place if isinstance(columns, slice) else int(columns[place])
            runs = list(self._slices_of(self._out_of_scope.get(column, ())))
            self._forgiven[column] = any(first <= slot < last for first, last in runs)
            later = [at for run in runs for at in run if at > slot]
            self._scope_turn[column] = min(later, default=FAR_AWAY)
        return np.stack([bad, total, bad * ~self._forgiven[columns]])

    def _flags(self, columns: Columns, slot: int, total: Whole, covered: Mask | None, excluded: Mask | None) -> Flags:
        """Take note of what was measured, and of where history begins; tells the flags of the slice."""
        count = len(total)
        if self._unbegun:
            history = self._history[columns]
            begins = (history == FAR_AWAY) & (True if covered is None else covered)
            self._history[columns] = np.where(begins, slot, history)
            self._unbegun = bool((self._history[: self.width] == FAR_AWAY).any())
        if covered is None:
            self._covered_to[columns] = slot + 1
            self._gap_run[columns] = 0
            return np.full(count, 1 << SEEN | 1 << COVERED, np.uint8)
        known = covered if excluded is None else covered | excluded
        self._covered_to[columns] = np.where(covered, slot + 1, self._covered_to[columns])
        self._gap_run[columns] = np.where(known, 0, self._gap_run[columns] + 1)
        begun = self._history[columns] <= slot
        flags: Flags = (((known | (total > 0)) & begun).astype(np.uint8) << np.uint8(SEEN)) | (
            covered.astype(np.uint8) << np.uint8(COVERED)
        )
        if excluded is not None:
            flags |= (excluded & begun).astype(np.uint8) << np.uint8(EXCLUDED)
        return flags

    def _columns(self, columns: Columns, slot: int) -> Mask:
        """Every column of the plans, and last whether the evaluation is stale; bool of shape ``(columns + 1, n)``."""
        bits = self._bits(columns, slot)
        if self.shape.opens:
            self._turn_incidents(columns, (slot + 1) * self.step_s)
        held = np.empty((len(self.shape.terms) + 1, len(self.slots[columns])), np.bool_)
        for number, term in enumerate(self.shape.terms):
            held[number] = self._holds(term, bits, columns)
        np.greater_equal(self._gap_run[columns], self._stale_after[columns], out=held[-1])
        return held

    def _bits(self, columns: Columns, slot: int) -> list[Mask]:
        """Every mark and count, in the order of their bits."""
        shape = self.shape
        bits: list[Mask] = [np.zeros(0, np.bool_)] * shape.bits
        sums = self.sums.sums[:, :, columns]
        _, full = self.sums.bounds(slot)
        seen = self.sums.counts[SEEN, columns]
        partly = bool((seen != full).any())
        sides = []
        for ratio in shape.ratios:
            bad = sums[SCOPED if ratio.scoped else BAD, self._at(ratio.top)]
            total = sums[TOTAL, self._at(ratio.bottom)]
            above, below = bad.astype(np.float64, copy=False), total.astype(np.float64, copy=False)
            if ratio.top != ratio.bottom and not total.all():
                above = np.where(total > 0, above, 0.0)
            if ratio.projected and partly:
                above = above * (seen / full)
            sides.append((above, below, bad, total, ratio.projected and partly))
        for number, (of, _, bit) in enumerate(shape.marks):
            above, below, bad, total, scaled = sides[of]
            bits[bit] = perhaps = above > self._low[number, columns] * below
            places = np.flatnonzero(perhaps)
            if not len(places):
                continue
            mine = places if isinstance(columns, slice) else columns[places]
            sure = above[places] > self._high[number, mine] * below[places]
            for place, column in zip(places[~sure].tolist(), mine[~sure].tolist(), strict=True):
                measured, whole = (int(seen[place]), full) if scaled else (1, 1)
                mark = self._kinds[column].marks[number]
                perhaps[place] = _above(mark, int(bad[place]) * measured, int(total[place]) * whole)
        for number, (series, lookback, bit) in enumerate(shape.counts):
            counted = sums[BAD if series == "bad" else TOTAL, self._at(lookback)]
            bits[bit] = counted >= self._at_least[number, columns]
        return bits

    def _at(self, lookback: int | None) -> int:
        return self.sums.window_place if lookback is None else self.sums.places[lookback]

    def _holds(self, term: Term, bits: Sequence[Mask], columns: Columns) -> Any:
        match term:
            case Bit():
                return ~bits[term.index] if term.inverted else bits[term.index]
            case Known():
                return term.holds
            case Joined():
                parts = [self._holds(part, bits, columns) for part in term.parts]
                return reduce(np.logical_and if term.every else np.logical_or, parts)
            case Turned():
                return np.logical_not(self._holds(term.part, bits, columns))
            case _:
                return self._opens[self._open_at[term], columns]  # type: ignore[index]

    def _turn_incidents(self, columns: Columns, end: int) -> None:
        """Open and close incidents whose time has come."""
        for place in np.flatnonzero(self._turn[columns] <= end).tolist():
            column = place if isinstance(columns, slice) else int(columns[place])
            incidents = self._incidents.get(column, ())
            now = [one.severity for one in incidents if one.start <= end < one.end]
            for asked, number in self._open_at.items():
                self._opens[number, column] = any(not asked.severities or one in asked.severities for one in now)
            later = [at for one in incidents for at in (one.start, one.end) if at > end]
            self._turn[column] = min(later, default=FAR_AWAY)

    def _unfold(self, column: int, held: Mask, end: int) -> Change | None:
        """Unfold alerts and policy of one member over one evaluation."""
        plan, before = self._kinds[column].plan, self.memories[column]
        memory = before
        if memory.history_start is None:
            memory = replace(memory, history_start=int(self._history[column]) * self.step_s)
        code = sum(1 << int(number) for number in np.flatnonzero(held))
        told = unfold(
            plan,
            memory,
            [(code, end, end)],
            lambda _: _Column(self, column),
            self._incidents.get(column, ()),
        )
        self._due[column] = _due(plan, told.memory, end)
        if told.memory == before:
            return None
        self.memories[column] = told.memory
        burns = tuple(self._peak(column, slices, end) for slices in self._kinds[column].outlooks)
        consumed = self._peak(column, None, end)
        outcome = Outcome(told.alerts, told.transitions, burns, consumed, (end, end), told.stale_s)
        return Change(self.keys[column], told.memory, outcome)

    def _peak(self, column: int, lookback: int | None, end: int) -> Peak:
        place = self._at(lookback)
        bad, total = self.sums.at(BAD, place, column), self.sums.at(TOTAL, place, column)
        if not bad or not total:
            return Peak()
        value = float(bad)
        if lookback is None and self._projected[column]:
            value *= int(self.sums.counts[SEEN, column]) / self._window(column)[2]
        ratio = value / float(total)
        return Peak(ratio / float(self._share[column]), end) if ratio > 0 else Peak()

    def prepare(self) -> None:
        """Read ahead what later ticks will need."""
        slots = self.slots[: self.width].copy()
        slots[self._free] = 0
        self.sums.prepare(slots, self._read)

    def _read(self, columns: Whole, first: int, last: int) -> list[Part]:
        """Read slices back (`sums.Read`)."""
        keys = [self.keys[column] for column in columns.tolist()]
        start, end = first * self.step_s, last * self.step_s
        counts = np.zeros(0, np.int64)
        nothing: Part = first, (counts,) * len(self.sums.sums), np.zeros(0, np.uint8)
        parts = []
        for column, record in zip(columns.tolist(), self._rows(keys, start, end), strict=True):
            if not len(record):
                parts.append(nothing)
                continue
            stretches = self._out_of_scope.get(column, ())
            part = part_of(record.between(start, end), int(self._history[column]), stretches)
            if self.shape.scoped and not stretches:
                part = part[0], (*part[1], part[1][BAD]), part[2]
            parts.append(part)
        return parts

    # --- where members stand ---------------------------------------------------------------------------------------

    def known_to(self, column: int) -> int | None:
        """End of the newest slice that was measured or excluded; None: there is none."""
        run = int(self._gap_run[column])
        return (int(self.slots[column]) - run) * self.step_s if run < FAR_AWAY // 2 else None

    def _window(self, column: int) -> tuple[int, int, int]:
        """Of the window of the last evaluation: its first slice, the slice after the last, how many a full one has."""
        slot = int(self.slots[column])
        low, full = self.sums.bounds(slot - 1)
        return low, slot, full

    def counted(self, column: int, series: int, place: int) -> tuple[int, int]:
        """Bad units of a series, and valid ones."""
        return self.sums.at(series, place, column), self.sums.at(TOTAL, place, column)

    def statement(self, column: int) -> Statement:
        """The account of a member as of its last evaluated slice."""
        plan, step = self._kinds[column].plan, self.step_s
        low, slot, full = self._window(column)
        bad, total = self.counted(column, BAD, self.sums.window_place)
        seen, covered, excluded = self.sums.counts[:, column].tolist()
        burns = []
        for lookback_s in LOOKBACKS_S:
            spent, valid = self.counted(column, BAD, self.sums.places[slices_in(lookback_s, step)])
            burns.append(burn_of(lookback_s, spent, valid, plan.share))
        covered_to = int(self._covered_to[column])
        known_to = self.known_to(column)
        counted = Counted(
            at=slot * step,
            window=span(plan.window, slot * step, step),
            slots=slot - low,
            full=full,
            bad=bad,
            total=total,
            covered=covered,
            excluded=excluded,
            elapsed=max(0, slot - max(low, int(self._history[column]))),
            seen=seen,
            burns=tuple(burns),
            last_covered=covered_to * step if covered_to >= 0 else None,
            last_known=known_to,
            stale=bool(self._gap_run[column] >= self._stale_after[column]),
        )
        return stated(counted, plan.share, scale=plan.scale, bounded=True, unit_s=self._units_s[column])

    def gauges(self, lookbacks_s: Sequence[int]) -> Gauges:
        """Where all members stand."""
        columns = np.flatnonzero(self.slots[: self.width] >= 0)
        sums, share = self.sums.sums, self._share[columns]
        bad, total = (sums[series, self.sums.window_place, columns].astype(np.float64) for series in (BAD, TOTAL))
        known = total > 0
        if self.sums.full is not None:
            full: Any = self.sums.full
        else:
            slots, places = np.unique(self.slots[columns], return_inverse=True)
            full = np.asarray([self.sums.bounds(slot - 1)[1] for slot in slots.tolist()], np.int64)[places]
        scaled = np.where(self._projected[columns], self.sums.counts[SEEN, columns] / full, 1.0)
        spent = np.divide(bad * scaled, total * share, out=np.zeros(len(columns)), where=known)
        burns = np.zeros((len(lookbacks_s), len(columns)))
        for number, lookback_s in enumerate(lookbacks_s):
            place = self.sums.places[slices_in(lookback_s, self.step_s)]
            bad, total = (sums[series, place, columns].astype(np.float64) for series in (BAD, TOTAL))
            np.divide(bad, total * share, out=burns[number], where=total > 0)
        stale = self._gap_run[columns] >= self._stale_after[columns]
        keys = tuple(self.keys[column] for column in columns.tolist())
        return Gauges(keys, np.where(known, 1 - spent, 0.0), known, burns, stale)


@dataclass(frozen=True, slots=True)
class _Column:
    """What a member's sums say at its last evaluation (`step.Counted`)."""

    group: Group
    column: int

    def window(self) -> tuple[int, int, int, int]:
        sums, column = self.group.sums, self.column
        _, full = sums.bounds(int(self.group.slots[column]) - 1)
        return *self._counts(sums.window_place), full, int(sums.counts[SEEN, column])

    def over(self, slices: int) -> tuple[int, int]:
        return self._counts(self.group.sums.places[slices])

    def _counts(self, place: int) -> tuple[int, int]:
        return self.group.counted(self.column, SCOPED if self.group.shape.scoped else BAD, place)


def _above(mark: Mark, bad: int, total: int) -> bool:
    """Whether a mark holds, in whole numbers."""
    left, right = bad * mark.bound.denominator, total * mark.bound.numerator
    return total > 0 and (left > right if mark.strict else left >= right)


def _has_seen(plan: Plan, memory: Memory, held: Sequence[bool]) -> bool:
    """Whether the last evaluation that went into a memory saw just these columns, as far as that can be told."""
    if memory.history_start is None or held[-1] or memory.stale or len(memory.alerts) != len(plan.conditions):
        return False
    for column, alert in zip(plan.condition_columns, memory.alerts, strict=True):
        if (alert.held_since is not None) is not held[column] or (alert.firing and not held[column]):
            return False
    policy = memory.policy
    for checks, since in ((plan.enter, policy.enter_since), (plan.exit, policy.exit_since)):
        if len(since) != len(checks):
            return False
        for check, one in zip(checks, since, strict=True):
            if not isinstance(check, int | None) or (one is not None) is not (check is not None and held[check]):
                return False
    return True


def _due(plan: Plan, memory: Memory, end: int) -> int:
    """The first evaluation after *end* at which something may happen though no column changes, or one before it."""
    found = [
        one.held_since + condition.alert_after_s
        for condition, one in zip(plan.conditions, memory.alerts, strict=True)
        if one.held_since is not None and one.firing_since is None
    ]
    policy, states = memory.policy, plan.policy.states
    for index, since in enumerate(policy.enter_since):
        if since is not None and index > policy.state:
            found.append(since + states[index].enter_for_s)
    since = policy.exit_since[policy.state] if policy.state and policy.exit_since else None
    if since is not None:
        stay = -FAR_AWAY if policy.since is None else policy.since + states[policy.state].minimum_stay_s
        found.append(max(since + states[policy.state].exit_for_s, stay))
    return max(end + plan.step_s, min(found, default=FAR_AWAY))
