"""From rows to sums per slice: rows come in batches, are read once for all questions, and are forgotten."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from tightrope.base.errors import DataError
from tightrope.base.units import DAY_S, time_text
from tightrope.base.values import dataclass, field
from tightrope.sli.slices import MILLIONTH, Counts, Mask
from tightrope.specs.model import Comparison
from tightrope.telemetry.cells import NEGATIVE, Bad, Cells, Signs
from tightrope.telemetry.options import did_you_mean, nearest
from tightrope.telemetry.order import Clock, Labels
from tightrope.telemetry.questions import EXAMPLES, Answer, Role, Tally
from tightrope.telemetry.reading import BadRow
from tightrope.telemetry.stamps import END_MICROS, MICROS

GRAIN_S = 60
"""Length of a slice where nobody says otherwise, seconds."""

MOST_SLICES = 2**24
"""32 years of minutes; a record that is longer has a wrong timestamp in it."""

_LARGEST_SUM = float(2**62)
_FEW = 10  # a counter that is ambiguous in more rows, and in more than one of so many, is no accident
_NEVER = np.iinfo(np.int64).min
_FAR = 3653 * DAY_S * MICROS  # ten years: no record is silent for so long
_MOST_WORDS = 1000  # texts of a column that are kept to find the one that was meant


# --- rows, and what is asked of them -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Test:
    """What one column must be for a row to count.

    Two tests are the same when *column* and *says* are; *passes* is asked once for each distinct text. *named* tells
    that somebody wrote down what stands in the column, and may have mistyped it; a class of statuses can't be.
    """

    column: str
    says: str
    passes: Callable[[str], bool] = field(compare=False)
    named: bool = field(default=True, compare=False)


@dataclass(frozen=True, slots=True)
class StateOf:
    """A column whose state holds from a row until the next one, sampled at multiples of *every_s*.

    *counts* tells which states count. After *hold_s* without a row the state is unknown. *named* are the states that
    were written down as those that count, and may have been mistyped.
    """

    column: str
    counts: Callable[[str], bool] = field(compare=False)
    every_s: int
    hold_s: int
    named: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RowQuestion:
    """A question compiled to columns.

    Attributes:
        role, counter, scale, op, bound: As in `Question`.
        tests: All must pass for a row to count.
        ignore: A row for which all tests of one of these groups pass does not count.
        column: Holds the count, ratio or value; empty: a row is one event.
        series: Columns whose values tell one counter, or one thing that has a state, from another.
        below: A column and a bound: only a row whose value is below it counts, and one without a value is bad.
        state: For state rows; *column* is then not used.
    """

    role: Role
    tests: tuple[Test, ...] = ()
    ignore: tuple[tuple[Test, ...], ...] = ()
    column: str = ""
    series: tuple[str, ...] = ()
    counter: bool = False
    scale: int = 1
    op: Comparison | None = None
    bound: Fraction | None = None
    below: tuple[str, Fraction] | None = None
    state: StateOf | None = None

    @property
    def reads(self) -> str:
        """The column whose cells must make sense; empty: there is none."""
        return self.below[0] if self.below else self.state.column if self.state else self.column


@dataclass(frozen=True, slots=True)
class RowAsk:
    """The questions of one indicator to one stream of rows, and the grain to sum at.

    ``resolution_s`` is the resolution as far as it is known; None: infer it from the spacing of the rows.
    ``events`` tells that rows are single events, so that silence between two rows means no traffic; ``strays`` that
    rows which can't be used are normal, as other lines in a log are, even most of them.
    """

    questions: tuple[RowQuestion, ...]
    grain_s: int
    resolution_s: int | None = None
    events: bool = False
    strays: bool = False


def columns_of(asks: Sequence[RowAsk]) -> list[str]:
    """List the columns that questions need, each once."""
    names: dict[str, None] = {}
    for question in (question for ask in asks for question in ask.questions):
        for group in (question.tests, *question.ignore):
            names |= dict.fromkeys(test.column for test in group)
        names |= dict.fromkeys(question.series)
        if question.reads:
            names[question.reads] = None
    return list(names)


class Batch:
    """Some rows of a file, column by column; what is computed of a column is computed once for all questions.

    Args:
        file: Name of the file, for messages.
        lines: Line of each row, int64 ``(n,)``, counted from 1.
        instants: Microseconds since the epoch, int64 ``(n,)``.
        columns: Those that questions ask for.
        bad: Rows that no question can use: their line and why. They are not among the others.
        labels: Tells by its line what a row says beside its time and its numbers; None: rows may stand in any order.
    """

    def __init__(
        self,
        file: str,
        lines: Counts,
        instants: Counts,
        columns: Mapping[str, Cells],
        bad: Sequence[tuple[int, str]] = (),
        labels: Labels | None = None,
    ) -> None:
        self.file = file
        self.lines = lines
        self.instants = instants
        self.columns = columns
        self.bad = bad
        self.labels = labels
        self._codes: dict[str, tuple[Counts, list[str]]] = {}
        self._passed: dict[Test, Mask] = {}
        self._counts: dict[tuple[str, int], tuple[Counts, Bad]] = {}
        self._signs: dict[tuple[str, Fraction], tuple[Signs, Bad]] = {}

    @classmethod
    def timed(
        cls,
        file: str,
        lines: Counts,
        stamps: tuple[Counts, Bad],
        columns: Mapping[str, Cells],
        bad: Sequence[tuple[int, str]],
        labels: Labels | None = None,
    ) -> Batch:
        """Make a batch of rows whose times were just read; those without a time that can be join the bad ones."""
        instants, unreadable = stamps
        strange = np.flatnonzero((instants < 0) | (instants >= END_MICROS)).tolist()
        unreadable = dict.fromkeys(strange, "has a time outside the years 1970 to 2199") | unreadable
        if unreadable:
            bad = [*bad, *((int(lines[row]), why) for row, why in unreadable.items())]
            read = np.ones(len(lines), np.bool_)
            read[list(unreadable)] = False
            lines, instants = lines[read], instants[read]
            columns = {name: cells.keep(read) for name, cells in columns.items()}
        return cls(file, lines, instants, columns, bad, labels)

    def __len__(self) -> int:
        return len(self.lines)

    def before(self, until: int | None) -> Batch:
        """Cut off the rows at or after *until*, epoch seconds."""
        if until is None:
            return self
        return self.keep(self.instants < until * MICROS)

    def keep(self, rows: Mask, why: Callable[[int], str] | None = None) -> Batch:
        """Cut out some rows; with a reason (asked by row) the others are bad, without it they do not exist."""
        if rows.all():
            return self
        others = [] if why is None else [(int(self.lines[row]), why(row)) for row in np.flatnonzero(~rows).tolist()]
        columns = {name: cells.keep(rows) for name, cells in self.columns.items()}
        return Batch(self.file, self.lines[rows], self.instants[rows], columns, [*self.bad, *others], self.labels)

    def codes(self, column: str) -> tuple[Counts, list[str]]:
        """Number the distinct texts of a column, once; hands out each row's number, and the texts by number."""
        found = self._codes.get(column)
        if found is None:
            found = self._codes[column] = self.columns[column].numbered()
        return found

    def passed(self, test: Test) -> Mask:
        """Tell which rows pass a test."""
        found = self._passed.get(test)
        if found is None:
            codes, words = self.codes(test.column)
            found = self._passed[test] = np.fromiter((test.passes(word) for word in words), np.bool_, len(words))[codes]
        return found

    def selected(self, question: RowQuestion) -> Mask:
        """Tell which rows a question is about."""
        mask = self.passed_all(question.tests)
        for group in question.ignore:
            mask &= ~self.passed_all(group)
        return mask

    def passed_all(self, tests: Iterable[Test]) -> Mask:
        """Tell which rows pass every one of some tests."""
        mask = np.ones(len(self), np.bool_)
        for test in tests:
            mask &= self.passed(test)
        return mask

    def counts(self, column: str, scale: int) -> tuple[Counts, Bad]:
        """Read a column as counts, once."""
        key = (column, scale)
        if key not in self._counts:
            self._counts[key] = self.columns[column].counts(scale)
        return self._counts[key]

    def signs(self, column: str, bound: Fraction) -> tuple[Signs, Bad]:
        """Compare a column with a bound, once."""
        key = (column, bound)
        if key not in self._signs:
            self._signs[key] = self.columns[column].signs(bound)
        return self._signs[key]


# --- sums that grow ----------------------------------------------------------------------------------------------


class Ends:
    """The earliest and the latest row that were counted, and where they stand."""

    def __init__(self) -> None:
        self._earliest: tuple[int, str] | None = None
        self._latest: tuple[int, str] | None = None

    def take(self, batch: Batch, rows: Mask) -> None:
        """Hear of the rows of a batch that are counted."""
        numbers = np.flatnonzero(rows)
        if not len(numbers):
            return
        instants = batch.instants[numbers]
        low, high = int(np.argmin(instants)), int(np.argmax(instants))
        if self._earliest is None or instants[low] < self._earliest[0]:
            self._earliest = int(instants[low]), f"{batch.file}:{batch.lines[numbers[low]]}"
        if self._latest is None or instants[high] > self._latest[0]:
            self._latest = int(instants[high]), f"{batch.file}:{batch.lines[numbers[high]]}"

    def __str__(self) -> str:
        if self._earliest is None or self._latest is None:
            return ""
        return f"; the earliest is {self._earliest[1]}, the latest {self._latest[1]}"


class Ledger:
    """Sums per slice that grow to both sides as rows arrive, in any order of time; *ends* are named in errors."""

    def __init__(self, grain_s: int, ends: Ends | None = None) -> None:
        self.grain_s = grain_s
        self._ends = ends or Ends()
        self._first = 0
        self._amounts = np.zeros(0, np.int64)
        self._points = np.zeros(0, np.int64)
        self._lowest: int | None = None
        self._highest = 0
        self._sum = 0.0

    def add(self, slices: Counts, amounts: Counts, points: Counts | int = 1) -> None:
        """Add amounts to slices by number; the same slice may come many times.

        Raises:
            DataError: The record would be longer than `MOST_SLICES`, or the sum too large for 62 bits.
        """
        if not len(slices):
            return
        self._reach(int(slices.min()), int(slices.max()))
        self._sum += float(amounts.sum(dtype=np.float64))
        if self._sum > _LARGEST_SUM:
            raise DataError("the counts sum to more than 2^62", remedy="check the column, or declare a smaller scale")
        places = slices - self._first
        np.add.at(self._amounts, places, amounts)
        np.add.at(self._points, places, points)

    def tally(self) -> Tally:
        """Hand out the sums from the first slice that has points to the last."""
        if self._lowest is None:
            return Tally(self.grain_s, 0, np.zeros(0, np.int64), np.zeros(0, np.int64))
        cut = slice(self._lowest - self._first, self._highest - self._first + 1)
        return Tally(self.grain_s, self._lowest, self._amounts[cut].copy(), self._points[cut].copy())

    def _reach(self, low: int, high: int) -> None:
        lowest = low if self._lowest is None else min(low, self._lowest)
        highest = high if self._lowest is None else max(high, self._highest)
        if highest - lowest >= MOST_SLICES:
            raise DataError(
                f"times reach from {time_text(lowest * self.grain_s)} to {time_text(highest * self.grain_s)}, "
                f"more than {MOST_SLICES} slices of {self.grain_s} s{self._ends}",
                remedy="look for a wrong timestamp, name the unit of epoch times, or declare a coarser resolution",
            )
        if self._lowest is None:
            self._first = lowest
        spare = len(self._amounts)
        end = self._first + spare
        if lowest < self._first or highest >= end:
            first = lowest - spare if lowest < self._first else self._first
            size = (highest + 1 + spare if highest >= end else end) - first
            self._amounts = _moved(self._amounts, self._first - first, size)
            self._points = _moved(self._points, self._first - first, size)
            self._first = first
        self._lowest, self._highest = lowest, highest


def _moved(values: Counts, by: int, size: int) -> Counts:
    grown = np.zeros(size, np.int64)
    grown[by : by + len(values)] = values
    return grown


# --- one follower for each kind of question ----------------------------------------------------------------------


class _Sums:
    """Counts, points of a value, or ratios: every row stands for itself."""

    def __init__(self, question: RowQuestion, grain_s: int, ends: Ends) -> None:
        self._question = question
        self._ledger = Ledger(grain_s, ends)

    def values(self, batch: Batch) -> tuple[Counts, Bad]:
        question = self._question
        if question.role is Role.VALUE:
            assert question.bound is not None
            assert question.op is not None
            signs, bad = batch.signs(question.column, question.bound)
            return _holds(signs, question.op).astype(np.int64), bad
        if question.below:
            signs, bad = batch.signs(*question.below)
            return (signs < 0) * np.int64(question.scale), bad
        if not question.column:
            return np.full(len(batch), question.scale, np.int64), {}
        if question.role is Role.RAW:
            counts, bad = batch.counts(question.column, MILLIONTH)
            above = np.flatnonzero(counts > MILLIONTH)
            return counts, bad | {int(row): "is above 1: a ratio lies between 0 and 1" for row in above}
        return batch.counts(question.column, question.scale)

    def take(self, batch: Batch, rows: npt.NDArray[np.intp], values: Counts) -> Bad:
        self._ledger.add(batch.instants[rows] // (self._ledger.grain_s * MICROS), values[rows])
        return {}

    @property
    def backwards(self) -> str:
        """Where rows that must stand in order run back in time, in words; empty: nowhere."""
        return ""

    def tally(self, end: int) -> Tally:
        return self._ledger.tally()

    def absences(self) -> Iterable[str]:
        """What no row has, though it was asked for, in words."""
        return ()

    def notes(self) -> list[str]:
        return []


@dataclass(frozen=True, slots=True)
class _Last:
    instant: int
    value: int


class _Differences(_Sums):
    """Ever-growing counters: the difference to the row before, series by series, and all of it after a reset."""

    def __init__(self, question: RowQuestion, grain_s: int, ends: Ends) -> None:
        super().__init__(question, grain_s, ends)
        self._last: dict[tuple[str, ...], _Last] = {}
        self._resets = 0
        self._late: dict[str, int] = {"series": 0, "units": 0}
        self._begun: int | None = None
        self._backwards = ""

    @property
    def backwards(self) -> str:
        return self._backwards

    def take(self, batch: Batch, rows: npt.NDArray[np.intp], values: Counts) -> Bad:
        bad: Bad = {}
        slices: list[Counts] = []
        amounts: list[Counts] = []
        for name, members in _by_series(batch, rows, self._question.series):
            last = self._last.get(name)
            instants, counts = batch.instants[members], values[members]
            floor = np.maximum.accumulate(instants if last is None else np.append(last.instant, instants))
            before = floor[:-1] if last is not None else np.append(_NEVER, floor[:-1])
            earlier = instants < before
            previous = counts if last is None else np.append(last.value, counts)
            previous = previous[:-1] if last is not None else np.append(-1, previous[:-1])
            twice = (instants == before) & (counts != previous)
            doubled = int(twice.sum())
            if doubled > max(_FEW, len(twice) // _FEW):
                line = int(batch.lines[int(members[int(np.argmax(twice))])])
                raise DataError(
                    f"{batch.file}:{line}: a counter has two values at one time, and so in {doubled:,} of "
                    f"{len(twice):,} rows: they are of several counters",
                    remedy="choose one with where: {column: value}, or tell them apart with series: [columns]",
                )
            for row in np.flatnonzero(earlier).tolist():
                bad[int(members[row])] = why = (
                    f"runs back in time, behind {time_text(int(before[row]) // MICROS)}: "
                    "a counter's rows must stand in order"
                )
                self._backwards = self._backwards or f"{batch.file}:{batch.lines[members[row]]} {why}"
            for row in np.flatnonzero(twice).tolist():
                bad[int(members[row])] = (
                    "gives a counter a second value at one time; tell counters apart with series: [columns]"
                )
            used = ~(earlier | twice)
            instants, counts = instants[used], counts[used]
            if not len(counts):
                continue
            if last is None:
                self._greet(int(instants[0]), int(counts[0]))
                last = _Last(int(instants[0]), int(counts[0]))
                instants, counts = instants[1:], counts[1:]
            deltas = np.diff(counts, prepend=last.value)
            reset = deltas < 0
            self._resets += int(reset.sum())
            slices.append(instants // (self._ledger.grain_s * MICROS))
            amounts.append(np.where(reset, counts, deltas))
            if len(counts):
                last = _Last(int(instants[-1]), int(counts[-1]))
            self._last[name] = last
        if slices:
            self._ledger.add(np.concatenate(slices), np.concatenate(amounts))
        return bad

    def _greet(self, instant: int, value: int) -> None:
        if self._begun is None:
            self._begun = instant
        elif value and instant - self._begun > 2 * self._ledger.grain_s * MICROS:
            self._late["series"] += 1
            self._late["units"] += value

    def notes(self) -> list[str]:
        notes = []
        if self._resets:
            notes.append(f"{self._resets} counter reset{'s' * (self._resets != 1)} resolved ({self._question.role})")
        if self._late["series"]:
            notes.append(
                f"{self._late['series']} counters began within the record ({self._question.role}); "
                f"their first values, {self._late['units']} in all, have no row before them and are not counted"
            )
        return notes


class _States(_Sums):
    """State rows: per series and sampling step only the last row matters, whatever the order they arrive in."""

    def __init__(self, question: RowQuestion, grain_s: int, ends: Ends, state: StateOf) -> None:
        super().__init__(question, grain_s, ends)
        self._state = state
        self._tracks: dict[tuple[str, ...], _Track] = {}
        self._seen: set[str] = set()

    def values(self, batch: Batch) -> tuple[Counts, Bad]:
        codes, words = batch.codes(self._state.column)
        self._seen |= {word for word in words if len(self._seen) < _MOST_WORDS or word in self._state.named}
        counts = np.fromiter((self._state.counts(word) for word in words), np.int64, len(words))
        empty = codes == words.index("") if "" in words else np.zeros(len(codes), np.bool_)
        return counts[codes], dict.fromkeys(np.flatnonzero(empty).tolist(), "is empty")

    def take(self, batch: Batch, rows: npt.NDArray[np.intp], values: Counts) -> Bad:
        for name, members in _by_series(batch, rows, self._question.series):
            self._tracks.setdefault(name, _Track(self._state.every_s)).take(batch.instants[members], values[members])
        return {}

    def absences(self) -> Iterable[str]:
        """States that no row has: all that count, or one that was perhaps meant to be another."""
        named, seen = self._state.named, sorted(self._seen - {""})
        absent = [word for word in named if word not in self._seen]
        for word in absent if seen else ():
            others = [one for one in seen if one not in named]
            if len(absent) == len(named) or nearest(word, others):
                role, column = self._question.role, self._state.column
                yield f"no row has {column} {word!r}, which counts as {role}: {did_you_mean(word, seen, 'it has')}"

    def tally(self, end: int) -> Tally:
        for track in self._tracks.values():
            samples, counts = track.samples(end, self._state.hold_s)
            self._ledger.add(samples // self._ledger.grain_s, counts * self._question.scale)
        return self._ledger.tally()


class _Track:
    """The last row before each sampling instant, of one thing that has a state."""

    def __init__(self, every_s: int) -> None:
        self._every_s = every_s
        self._instants: dict[int, int] = {}
        self._values: dict[int, int] = {}

    def take(self, instants: Counts, values: Counts) -> None:
        order = np.argsort(instants, kind="stable")
        instants, values = instants[order], values[order]
        samples = -(-instants // (self._every_s * MICROS))
        ends = np.flatnonzero(np.diff(samples, append=samples[-1:] + 1))
        for sample, instant, value in zip(
            samples[ends].tolist(), instants[ends].tolist(), values[ends].tolist(), strict=True
        ):
            if instant >= self._instants.get(sample, instant):
                self._instants[sample], self._values[sample] = instant, value

    def samples(self, end: int, hold_s: int) -> tuple[Counts, Counts]:
        """Sample the state: the instants at which it is known, epoch seconds before *end* (µs), and its values."""
        step = self._every_s * MICROS
        marks = np.array(sorted(self._instants), np.int64)
        instants = np.array([self._instants[mark] for mark in marks.tolist()], np.int64)
        values = np.array([self._values[mark] for mark in marks.tolist()], np.int64)
        held_to = (instants + hold_s * MICROS) // step + 1
        stops = np.minimum(np.minimum(np.append(marks[1:], held_to[-1]), held_to), -(-end // step))
        lengths = np.maximum(stops - marks, 0)
        if lengths.sum() > MOST_SLICES:
            raise DataError(
                f"states from {time_text(int(instants[0]) // MICROS)} to {time_text(int(instants[-1]) // MICROS)} "
                f"are more than {MOST_SLICES} samples",
                remedy="look for a wrong timestamp, or sample less often with every:",
            )
        offsets = np.arange(int(lengths.sum())) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        return (np.repeat(marks, lengths) + offsets) * self._every_s, np.repeat(values, lengths)


def _follower(question: RowQuestion, grain_s: int, ends: Ends) -> _Sums:
    if question.state is not None:
        return _States(question, grain_s, ends, question.state)
    return _Differences(question, grain_s, ends) if question.counter else _Sums(question, grain_s, ends)


def _by_series(
    batch: Batch, rows: npt.NDArray[np.intp], series: tuple[str, ...]
) -> Iterable[tuple[tuple[str, ...], npt.NDArray[np.intp]]]:
    """Part rows by series, each part in the order of the rows."""
    if not series:
        return [((), rows)] if len(rows) else []
    codes = np.zeros(len(rows), np.int64)
    for column in series:
        column_codes, words = batch.codes(column)
        codes = codes * len(words) + column_codes[rows]
    order = np.argsort(codes, kind="stable")
    ends = np.flatnonzero(np.diff(codes[order])) + 1
    parts = [part for part in np.split(rows[order], ends) if len(part)]
    return [
        (tuple(batch.codes(column)[1][batch.codes(column)[0][part[0]]] for column in series), part) for part in parts
    ]


def _holds(signs: Signs, op: Comparison) -> Mask:
    if op is Comparison.LT:
        return signs < 0
    if op is Comparison.LTE:
        return signs <= 0
    return signs > 0 if op is Comparison.GT else signs >= 0


# --- the whole ---------------------------------------------------------------------------------------------------


class _Desk:
    """Answers one ask: hears every batch, keeps sums and the account of bad rows."""

    def __init__(self, ask: RowAsk) -> None:
        self._ask = ask
        self._ends = Ends()
        self._followers = [_follower(question, ask.grain_s, self._ends) for question in ask.questions]
        self._rows = 0
        self._bad = 0
        self._examples: list[BadRow] = []
        self._negative = ""
        self._clocks = [
            None if question.state or question.counter or ask.events else Clock() for question in ask.questions
        ]
        self._first: int | None = None
        self._last = 0
        # Tests that no row has passed yet, and what stood in their columns instead.
        self._unmet: dict[Test, dict[str, None]] = {test: {} for question in ask.questions for test in question.tests}
        self._spoilt: set[int] = set()
        self._about = [0] * len(ask.questions)
        self._useless = [0] * len(ask.questions)
        self._named = [False] * len(ask.questions)
        # A good or a total alone is one part of a ratio whose other part another source holds.
        self._a_part = len(ask.questions) == 1 and ask.questions[0].role in {Role.GOOD, Role.BAD, Role.TOTAL}

    def take(self, batch: Batch) -> None:
        self._rows += len(batch) + len(batch.bad)
        unusable = list(batch.bad)
        if len(batch):
            first, last = int(batch.instants.min()), int(batch.instants.max())
            self._first = first if self._first is None else min(self._first, first)
            self._last = max(self._last, last)
            bad = self._take_rows(batch)
            unusable += [(int(batch.lines[row]), why) for row, why in bad.items()]
        if unusable:
            self._bad += len(unusable)
            if not self._negative:
                negative = next((one for one in sorted(unusable) if one[1].endswith(NEGATIVE)), None)
                self._negative = f"{batch.file}:{negative[0]} {negative[1]}" if negative else ""
            shown = sorted(unusable)[: EXAMPLES - len(self._examples)]
            self._examples += [BadRow(batch.file, line, why) for line, why in shown]

    def _take_rows(self, batch: Batch) -> Bad:
        questions = self._ask.questions
        masks = [batch.selected(question) for question in questions]
        read = [follower.values(batch) for follower in self._followers]
        bad: Bad = {}
        for question, mask, (_, reasons) in zip(questions, masks, read, strict=True):
            for row, why in reasons.items():
                if mask[row]:
                    bad.setdefault(row, f"column {question.reads!r} {why}")
        usable = np.ones(len(batch), np.bool_)
        usable[list(bad)] = False
        self._ends.take(batch, np.logical_or.reduce(masks) & usable)
        late: Bad = {}
        for follower, mask, (values, _) in zip(self._followers, masks, read, strict=True):
            late |= follower.take(batch, np.flatnonzero(mask & usable), values)
        bad |= late
        usable[list(late)] = False
        for clock, mask in zip(self._clocks, masks, strict=True):
            if clock is not None and batch.labels is not None:
                rows = np.flatnonzero(mask & usable)
                clock.take(batch.file, batch.lines[rows], batch.instants[rows], batch.labels)
        for number, (question, mask) in enumerate(zip(questions, masks, strict=True)):
            self._about[number] += int(mask.sum())
            self._useless[number] += int((mask & ~usable).sum())
            if not self._about[number] and not self._named[number]:
                self._named[number] = bool(batch.passed_all(test for test in question.tests if test.named).any())
        for test, words in list(self._unmet.items()):
            if batch.passed(test).any():
                del self._unmet[test]
            elif len(words) < _MOST_WORDS:
                words |= dict.fromkeys(batch.codes(test.column)[1][:_MOST_WORDS])
        for row in bad:
            if self._a_part or not all(mask[row] for mask in masks):
                self._spoilt.add(int(batch.instants[row]) // (self._ask.grain_s * MICROS))
        return bad

    def answer(self, until: int | None, *, whole: bool) -> Answer:
        if whole and self._negative:
            # Like more good than total: where one count cannot be true, the others are not to be trusted either.
            raise DataError(self._negative, remedy="mend the rows, or look for what wrote them; is it a difference?")
        if whole:
            self._check_clocks()
        for question, about, useless in zip(self._ask.questions, self._about, self._useless, strict=True):
            if whole and useless and (useless == about if self._ask.strays else 2 * useless > about):
                named = "; ".join(f"{row.source}:{row.line} {row.why}" for row in self._examples[:3])
                count = (
                    f"none of {about} rows has" if useless == about else f"only {about - useless} of {about} rows have"
                )
                raise DataError(
                    f"{count} a {question.role} that can be used: {named}",
                    remedy="check the column, or where: and what it lets through",
                )
        notes = [note for follower in self._followers for note in follower.notes()]
        if whole:
            notes += dict.fromkeys([*self._absences(), *(one for each in self._followers for one in each.absences())])
        alive = None
        if self._ask.events and self._first is not None:
            grain = self._ask.grain_s * MICROS
            alive = self._first // grain, self._last // grain
        end = self._last + 1 if until is None else until * MICROS
        return Answer(
            tuple(follower.tally(end) for follower in self._followers),
            self._ask.resolution_s,
            alive,
            frozenset(self._spoilt),
            self._rows,
            self._bad,
            tuple(self._examples),
            tuple(notes),
            self._ask.strays,
        )

    def _check_clocks(self) -> None:
        """Refuse rows of one series in which time runs forth and back: one of the two times is wrong."""
        for clock in self._clocks:
            if clock is not None and clock.turn:
                raise DataError(
                    f"{clock.turn}: time runs backwards",
                    remedy="mend the times, or sort the rows by them; where their order means nothing, say order: any "
                    "under connectionDetails",
                )
        for follower in self._followers:
            if follower.backwards:
                raise DataError(follower.backwards, remedy="mend the times, or sort the rows by them")

    def _absences(self) -> Iterable[str]:
        """Tell of questions that no row is about; raises `DataError` for a good that never was, beside a total."""
        roles = [question.role for question in self._ask.questions]
        total = sum(about for role, about in zip(roles, self._about, strict=True) if role is Role.TOTAL)
        for question, about, named in zip(self._ask.questions, self._about, self._named, strict=True):
            if about or self._first is None:
                continue
            absent, remedy = self._absent(question)
            if not total or question.role not in {Role.GOOD, Role.BAD}:
                yield f"{absent}; {remedy}"
            elif not named and question.role is Role.BAD:
                yield f"bad has no rows: {absent}; {remedy}: taken as 0"
            elif not named:
                # Nobody's good is truly never there: it is a name that was mistyped, and would read as an outage.
                raise DataError(f"good has no rows, though total has {total}: {absent}", remedy=remedy)

    def _absent(self, question: RowQuestion) -> tuple[str, str]:
        """Say what no row has, and what was perhaps meant."""
        for test in question.tests:
            if test in self._unmet:
                words = sorted(self._unmet[test])
                return f"no row has {test.column} {test.says}", did_you_mean(test.says, words, "it has")
        listed = " and ".join(f"{test.column} {test.says}" for test in question.tests)
        return f"no row has {listed}", "check where: and what it lets through"


class _Bulk:
    """The stretch of time in which most rows lie, ten years of silence apart from any that do not."""

    def __init__(self) -> None:
        self._span: tuple[int, int] | None = None
        self._rows = 0

    def screened(self, batch: Batch) -> Batch:
        """Make rows bad whose time is more than ten years from most others; where no stretch has most, none is."""
        if not len(batch):
            return batch
        instants = np.sort(batch.instants)
        cuts = np.flatnonzero(np.diff(instants) > _FAR) + 1
        spans = [(int(part[0]), int(part[-1]), len(part)) for part in np.split(instants, cuts)]
        if self._span is not None:
            low, high = self._span
            near = [span for span in spans if span[1] >= low - _FAR and span[0] <= high + _FAR]
            spans = [span for span in spans if span not in near]
            ends = [low, high, *(end for span in near for end in span[:2])]
            spans.append((min(ends), max(ends), self._rows + sum(span[2] for span in near)))
        low, high, rows = max(spans, key=lambda span: span[2])
        if 2 * rows <= sum(span[2] for span in spans):
            return batch
        self._span, self._rows = (low, high), rows
        inside = (batch.instants >= low) & (batch.instants <= high)
        return batch.keep(
            inside,
            lambda row: (
                f"has the time {time_text(int(batch.instants[row]) // MICROS)}, more than ten years from most rows"
            ),
        )


def tally_rows(
    batches: Iterable[Batch], asks: Sequence[RowAsk], until: int | None, *, whole: bool = True
) -> list[Answer]:
    """Answer every ask in one pass over the rows, in memory that does not grow with them.

    Args:
        batches: The rows, file by file and in the order they stand there; times may come in any order.
        asks: What is asked of them.
        until: Nothing at or after this instant (epoch seconds) is seen; None: no limit.
        whole: Whether these are all rows, from which it can be told that something is missing or most of it useless.

    Returns:
        One answer for each ask, in their order.

    Raises:
        DataError: The rows can't be true together: too long a record, counts too large, too few rows that can be
            used, a negative count, or a good that no row is about.
    """
    desks = [_Desk(ask) for ask in asks]
    bulk = _Bulk()
    for batch in batches:
        visible = bulk.screened(batch.before(until))
        for desk in desks:
            desk.take(visible)
    return [desk.answer(until, whole=whole) for desk in desks]
