"""Scanning: every check of a plan on every slice of a record, exact.

A plan's checks rest on a few comparisons of counts, the marks of its program. A reader goes over the record and tells
where these change; what the checks make of them is worked out at those slices only. Running sums only ever grow, so two
of them bound a ratio over a whole grain of slices, and most grains are settled by that. The others are read slice by
slice in float64; where both sides of a comparison are so close that rounding could decide, and only there, it is made
again with integers of any size. So the answer is always that of exact arithmetic.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from tightrope.alerting.conditions import is_significant
from tightrope.base.units import duration_text
from tightrope.base.values import dataclass
from tightrope.budget.burn import slices_in
from tightrope.budget.windows import period, periods
from tightrope.engine.plan import Asked, Incident, Open, Plan, Significance
from tightrope.engine.program import (
    PAGE,
    Bit,
    Count,
    Joined,
    Known,
    Mark,
    Page,
    Program,
    Ratio,
    Reading,
    Term,
    Turned,
    program_of,
)
from tightrope.engine.record import Record, Summing, Sums, running_sums
from tightrope.policy.expressions import PREDICATE_FACTS
from tightrope.sli.slices import Mask
from tightrope.specs.model import Basis, RollingWindow

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
Codes = npt.NDArray[np.uint64]
Ask = Callable[[str, Mapping[str, object]], bool]

BLOCK = 32_768
"""Slices read at once: two arrays of this many float64 stay in a core's cache."""

_FAR = 4_096
"""Settled slices between two unsettled stretches above which it pays to skip them."""

_BITS = 64
"""Columns that an unsigned integer holds."""

_FEW = 100
"""Lookbacks of fewer slices are read slice by slice: bounds over a grain say little about them."""


@dataclass(frozen=True, slots=True)
class Peak:
    """The highest value seen, and the evaluation at which it was first seen (UTC epoch seconds)."""

    value: float = 0.0
    at: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Scanned:
    """What a scan found on slices ``first`` to ``last`` (exclusive).

    Attributes:
        indices: Slices at which the code changes, the first slice of the scan among them, int64.
        codes: The code from there on, bit k for column k and the highest bit for stale; uint64, or whole numbers of any
            size (dtype object) where 64 bits are too few.
        burns: The peak burn rate of each of the plan's lookbacks.
        consumed: The peak share of the budget consumed, on the plan's basis.
    """

    first: int
    last: int
    indices: Indices
    codes: npt.NDArray[Any]
    burns: tuple[Peak, ...]
    consumed: Peak


@dataclass(frozen=True, slots=True)
class Span:
    """Slices *first* to *last* (exclusive) over which the full window keeps its shape.

    Attributes:
        lower: First slice of a calendar period; None for a rolling window.
        full: Slices of the full window.
        elapsed: Slices of the window that had elapsed at the end of slice *first*, growing by one a slice; None: *full*
            throughout.
    """

    first: int
    last: int
    lower: int | None
    full: int
    elapsed: int | None

    def low_of(self, lookback: int | None) -> tuple[int, bool]:
        """The first slice of a lookback at slice *first*, and whether it moves on from there."""
        if lookback is not None:
            return self.first + 1 - lookback, True
        return (self.first + 1 - self.full, True) if self.lower is None else (self.lower, False)


@dataclass(frozen=True, slots=True, eq=False)
class Peaks:
    """The highest ratio of each reading so far, and the slice at which it was first seen; 0 and -1: none yet."""

    values: Floats
    slices: Indices

    @classmethod
    def of(cls, page: Page) -> Peaks:
        """Nothing seen yet."""
        return cls(np.zeros(len(page.readings)), np.full(len(page.readings), -1, np.int64))


Reader = Callable[[Page, Record, Sequence[Span], Peaks], tuple[Indices, Codes]]
"""Tells the slices at which a page's code may change, the very first among them, and the exact codes from there on."""


@dataclass(frozen=True, slots=True)
class Scanner:
    """A way to scan: how running sums are made, and how a record is read.

    Called, it evaluates every column of a plan at the end of each of a stretch of slices; all scanners answer alike.
    """

    summing: Summing
    reader: Reader

    def __call__(
        self,
        plan: Plan,
        record: Record,
        first: int,
        last: int,
        *,
        incidents: Sequence[Incident] = (),
        ask: Ask | None = None,
    ) -> Scanned:
        """Evaluate every column of *plan* at the end of each of the slices ``first`` to ``last`` (exclusive).

        Args:
            plan: The compiled objective.
            record: Its slices; the lookbacks before *first* must be in it.
            first, last: Indices into the record; slices before history are left out.
            incidents: Known incidents, for checks that ask whether one is open.
            ask: Answers CEL expressions over the facts of one slice.
        """
        first = max(first, record.first)
        last = max(first, last)
        program = program_of(plan, scoped=record.scoped is not record.bad, gaps=record.missing is not None)
        spans = _spans(plan, record, first, last)
        peaks = [Peaks.of(page) for page in program.pages]
        nothing = np.zeros(0, np.int64), np.zeros(0, np.uint64)
        read = [
            self.reader(page, record, spans, high) if spans else nothing
            for page, high in zip(program.pages, peaks, strict=True)
        ]
        facts = _Facts(plan, record, incidents, ask)
        indices, codes = _columns(program, facts, read, first, last)
        return Scanned(first, last, indices, codes, *_told(plan, record, program, peaks[0]))


# --- from bits to columns ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class _Facts:
    """What terms may ask for beyond bits."""

    plan: Plan
    record: Record
    incidents: Sequence[Incident]
    ask: Ask | None


@dataclass(frozen=True, slots=True, eq=False)
class _Points:
    """Some slices, with the code of each page there."""

    slices: Indices
    codes: tuple[Codes, ...]
    facts: _Facts


def _columns(
    program: Program, facts: _Facts, read: Sequence[tuple[Indices, Codes]], first: int, last: int
) -> tuple[Indices, npt.NDArray[Any]]:
    """Put the columns together wherever they may change, and keep the slices at which one does."""
    kind: type[Any] = np.uint64 if len(program.terms) <= _BITS else object
    indices: list[Indices] = [np.zeros(0, np.int64)]
    codes: list[npt.NDArray[Any]] = [np.zeros(0, kind)]
    before: int | None = None
    for slices in _where_to_look(program, facts, read, first, last):
        at = _Points(slices, tuple(_codes_at(slices, *one) for one in read), facts)
        code = np.zeros(len(slices), kind)
        for bit, term in enumerate(program.terms):
            code |= np.where(_held(term, at), np.asarray(1 << bit, kind), np.asarray(0, kind))
        changed = np.flatnonzero(code[1:] != code[:-1]) + 1
        if before is None or before != int(code[0]):
            changed = np.concatenate(([0], changed))
        indices.append(slices[changed])
        codes.append(code[changed])
        before = int(code[-1])
    return np.concatenate(indices), np.concatenate(codes)


def _where_to_look(
    program: Program, facts: _Facts, read: Sequence[tuple[Indices, Codes]], first: int, last: int
) -> Iterator[Indices]:
    """The slices at which a column may change, in stretches that bound the memory they take."""
    if first == last:
        return
    if program.slice_by_slice:
        for at in range(first, last, BLOCK):
            yield np.arange(at, min(at + BLOCK, last), dtype=np.int64)
        return
    units = facts.record.units
    turns = [-(-(at - units.start) // units.step_s) - 1 for one in facts.incidents for at in (one.start, one.end)]
    turns = [at for at in turns if first < at < last]
    if len(read) == 1 and not turns:
        yield read[0][0]
    else:
        yield np.unique(np.concatenate([np.asarray(turns, np.int64), *(slices for slices, _ in read)]))


def _codes_at(slices: Indices, known: Indices, codes: Codes) -> Codes:
    return codes if slices is known else codes[np.searchsorted(known, slices, "right") - 1]


def _held(term: Term, at: _Points, among: Mask | None = None) -> Mask:
    """Where a term holds, bool of one flag a point; costly terms are asked for only *among* these points."""
    match term:
        case Bit():
            page, bit = divmod(term.index, PAGE)
            wanted = np.uint64(0 if term.inverted else 1)
            return np.asarray(at.codes[page] >> np.uint64(bit) & np.uint64(1) == wanted, np.bool_)
        case Known():
            return np.full(len(at.slices), term.holds)
        case Joined(every=True):
            return _every(term.parts, at, among)
        case Joined():
            held = np.zeros(len(at.slices), np.bool_)
            for part in term.parts:
                held |= _held(part, at, among)
            return held
        case Turned():
            return ~_held(term.part, at, among)
        case Open():
            return _open(term, at)
        case Significance():
            return _significant(term, at, among)
        case Asked():
            return _asked(term, at, among)


def _every(parts: Sequence[Term], at: _Points, among: Mask | None) -> Mask:
    """All parts; what is costly is asked for only where everything else holds."""
    held = np.ones(len(at.slices), np.bool_) if among is None else among
    for part in parts:
        if not isinstance(part, Significance | Asked):
            held = held & _held(part, at, among)
    for part in parts:
        if isinstance(part, Significance | Asked):
            held = held & _held(part, at, held)
    return held


def _significant(term: Significance, at: _Points, among: Mask | None) -> Mask:
    plan, record = at.facts.plan, at.facts.record
    held = np.zeros(len(at.slices), np.bool_)
    chosen = np.arange(len(held)) if among is None else np.flatnonzero(among)
    high = at.slices[chosen] + (record.lead + 1)
    low = high - slices_in(term.lookback_s, plan.step_s)
    bads, totals = ((sums[high] - sums[low]).tolist() for sums in (record.bad, record.total))
    for place, bad, total in zip(chosen.tolist(), bads, totals, strict=True):
        # at least B of N, in whole units: both rounded up
        counts = -(-int(bad) // plan.scale), -(-int(total) // plan.scale)
        held[place] = is_significant(*counts, term.ratio, term.confidence)
    return held


def _open(term: Open, at: _Points) -> Mask:
    """Open at the evaluation, which is the end of a slice: ``start <= t < end``."""
    units = at.facts.record.units
    ends = units.start + (at.slices + 1) * units.step_s
    held = np.zeros(len(ends), np.bool_)
    for incident in at.facts.incidents:
        if not term.severities or incident.severity in term.severities:
            held |= (ends >= incident.start) & (ends < incident.end)
    return held


def _asked(term: Asked, at: _Points, among: Mask | None) -> Mask:
    facts = at.facts
    if facts.ask is None:
        raise AssertionError("a plan with CEL needs somebody to ask")
    held = np.zeros(len(at.slices), np.bool_)
    chosen = np.arange(len(held)) if among is None else np.flatnonzero(among)
    if not len(chosen):
        return held
    names, rows = _seen_by(term.text, facts, at.slices[chosen])
    answers: dict[tuple[object, ...], bool] = {}
    for place, row in zip(chosen.tolist(), rows, strict=True):
        answer = answers.get(row)
        if answer is None:
            answer = answers[row] = facts.ask(term.text, _facts_of(names, row))
        held[place] = answer
    return held


def _seen_by(text: str, facts: _Facts, slices: Indices) -> tuple[list[tuple[str, str]], Iterator[tuple[object, ...]]]:
    """What a CEL expression looks at, as rows of one value a slice, and the name of each column.

    Equal rows get equal answers, so nothing that the text does not name may tell them apart.

    Args:
        text: The expression.
        slices: Indices into the record, rising.

    Returns:
        Names (the fact, and the lookback for a burn rate) and rows: floats, None for what is not known, and a tuple of
        the severities open.
    """
    plan, record = facts.plan, facts.record
    used = {name for name in PREDICATE_FACTS if re.search(rf"\b{name}\b", text)}
    low, full, elapsed = _windows(plan, record, slices)
    columns: dict[tuple[str, str], Sequence[object]] = {}
    if used & {"remaining", "consumed"}:
        # scaled up to the full window, as far as the basis is a projection
        projected = plan.basis is Basis.PROJECTED
        consumed = _shares(plan, record, low, slices, elapsed if projected else None, full if projected else None)
        columns["consumed", ""] = consumed
        columns["remaining", ""] = [None if one is None else 1 - one for one in consumed]
    if "burn" in used:
        for lookback_s in _lookbacks_in(text, plan.lookbacks_s):
            begin = np.maximum(slices + 1 - slices_in(lookback_s, plan.step_s), -record.lead)
            rates = _shares(plan, record, begin, slices, None, None)
            columns["burn", duration_text(lookback_s)] = [0.0 if one is None else one for one in rates]
    if "coverage" in used:
        columns["coverage", ""] = _coverage(record, low, slices)
    if "incidents" in used:
        ends = record.units.start + (slices + 1) * plan.step_s
        columns["incidents", ""] = [
            tuple(one.severity for one in facts.incidents if one.start <= at < one.end) for at in ends.tolist()
        ]
    names = [name for name in columns if name[0] in used]
    rows = zip(*(columns[name] for name in names), strict=True) if names else iter([()] * len(slices))
    return names, rows


def _facts_of(names: Sequence[tuple[str, str]], row: tuple[object, ...]) -> dict[str, object]:
    """One row as the facts of an expression."""
    seen: dict[str, object] = {}
    burns: dict[str, object] = {}
    for (name, lookback), value in zip(names, row, strict=True):
        if name == "burn":
            burns[lookback] = value
            seen["burn"] = burns
        else:
            seen[name] = list(value) if isinstance(value, tuple) else value
    return seen


def _lookbacks_in(text: str, lookbacks_s: Sequence[int]) -> list[int]:
    """The lookbacks that an expression asks for; all where it does more than look one up by its name."""
    asked = re.findall(r"""\bburn\b(?:\s*\[\s*["'](\w+)["']\s*\])?""", text)
    known = {duration_text(one): one for one in lookbacks_s}
    if not all(name in known for name in asked):
        return list(lookbacks_s)
    return [one for name, one in known.items() if name in asked]


def _shares(
    plan: Plan, record: Record, low: Indices, slices: Indices, elapsed: Indices | None, full: Indices | None
) -> list[float | None]:
    """Bad units out of scope left aside / allowed units, each the float64 nearest to the exact ratio; None: no unit."""
    share, high = plan.share, record.lead + slices + 1
    spent, valid = (
        (sums[high] - sums[np.maximum(record.lead + low, 0)]).astype(np.int64).tolist()
        for sums in (record.scoped, record.total)
    )
    times = [1] * len(slices) if elapsed is None else elapsed.tolist()
    over = [1] * len(slices) if full is None else full.tolist()
    # whole numbers of any size: their quotient is rounded once
    return [
        bad * measured * share.denominator / (total * whole * share.numerator) if total else None
        for bad, total, measured, whole in zip(spent, valid, times, over, strict=True)
    ]


def _coverage(record: Record, low: Indices, slices: Indices) -> list[float]:
    """Share of the window's slices that were measured, excluded ones left aside; 0 if none is left to divide by."""
    begin = np.minimum(np.maximum(low, record.first), slices + 1)
    nothing = np.zeros(len(record.units), np.bool_)
    excluded = nothing if record.units.excluded is None else record.units.excluded
    covered_sums, excluded_sums = (
        np.concatenate(([0], np.cumsum(marks, dtype=np.int64))) for marks in (record.units.covered, excluded)
    )
    covered = covered_sums[slices + 1] - covered_sums[begin]
    slots = slices + 1 - low - (excluded_sums[slices + 1] - excluded_sums[begin])
    return [one / of if of > 0 else 0.0 for one, of in zip(covered.tolist(), slots.tolist(), strict=True)]


def _told(plan: Plan, record: Record, program: Program, peaks: Peaks) -> tuple[tuple[Peak, ...], Peak]:
    """The peaks as burn rates and as share of the budget, with their instants."""
    share, units = float(plan.share), record.units
    told = tuple(
        Peak(float(peaks.values[at]) / share, units.start + (int(peaks.slices[at]) + 1) * units.step_s)
        if peaks.slices[at] >= 0
        else Peak()
        for at in program.peaks
    )
    return told[:-1], told[-1]


# --- the shape of the window ---------------------------------------------------------------------------------------


def _spans(plan: Plan, record: Record, first: int, last: int) -> list[Span]:
    """Cut slices ``first`` to ``last`` into spans within which the window's shape does not change."""
    if first >= last:
        return []
    step, start = plan.step_s, record.units.start
    if isinstance(plan.window, RollingWindow):
        return list(_growing(first, last, None, slices_in(plan.window.duration.seconds, step), record.first))
    spans: list[Span] = []
    for begin, end in periods(plan.window, start + first * step, start + (last - 1) * step):
        # a slice is of the period in which it starts, and so is the evaluation at its end
        lower, upper = -((start - begin) // step), -((start - end) // step)
        spans += _growing(max(lower, first), min(upper, last), lower, upper - lower, max(record.first, lower))
    return spans


def _growing(first: int, last: int, lower: int | None, full: int, began: int) -> Iterator[Span]:
    """Tell the slices by which the window has not filled up yet from those by which it has."""
    filled = min(max(began + full - 1, first), last)
    if first < filled:
        yield Span(first, filled, lower, full, first + 1 - began)
    if filled < last:
        yield Span(filled, last, lower, full, None)


def window_bounds(plan: Plan, record: Record, index: int) -> tuple[int, int, int]:
    """The window at the end of slice *index*: its first slice, how many a full one has, how many were seen."""
    units = record.units
    if isinstance(plan.window, RollingWindow):
        full, began = slices_in(plan.window.duration.seconds, plan.step_s), record.first
        low = index + 1 - full
    else:
        begin, end = period(plan.window, units.start + index * plan.step_s)
        lower, upper = -((units.start - begin) // plan.step_s), -((units.start - end) // plan.step_s)
        low, full, began = max(lower, -record.lead), upper - lower, max(record.first, lower)
    if record.seen is None:
        return low, full, min(full, index + 1 - began)
    return low, full, int(record.seen[record.lead + index + 1] - record.seen[record.lead + low])


def _windows(plan: Plan, record: Record, slices: Indices) -> tuple[Indices, Indices, Indices]:
    """`window_bounds` at the end of each of some slices, whose indices rise."""
    low, full, elapsed = (np.empty(len(slices), np.int64) for _ in range(3))
    for span in _spans(plan, record, int(slices[0]), int(slices[-1]) + 1):
        part = slice(*np.searchsorted(slices, (span.first, span.last)).tolist())
        low[part] = _lows(span, None, slices[part], record.lead)
        full[part] = span.full
        elapsed[part] = _seen_in(record, span, slices[part])
    return low, full, elapsed


# --- sums and exact comparisons ------------------------------------------------------------------------------------


def series_of(record: Record, ratio: Ratio) -> tuple[Sums, Sums]:
    """The running sums above and below the line."""
    return (record.scoped if ratio.scoped else record.bad), record.total


def compared_exactly(record: Record, span: Span, mark: Mark, slices: Indices) -> Mask:
    """Where a mark holds, in whole numbers: B / N' against the bound, with N' = N n / e.

    Args:
        slices: Indices into the record, within *span*.
    """
    lead = record.lead
    bad, total = (
        (sums[lead + slices + 1] - sums[lead + _lows(span, lookback, slices, lead)]).astype(np.int64)
        for sums, lookback in zip(series_of(record, mark.ratio), (mark.ratio.top, mark.ratio.bottom), strict=True)
    )
    elapsed, full = np.ones(1, np.int64), 1
    if mark.ratio.projected and (record.seen is not None or span.elapsed is not None):
        elapsed, full = _seen_in(record, span, slices), span.full
    largest = max(
        int(bad.max()) * int(elapsed.max()) * mark.bound.denominator, int(total.max()) * full * mark.bound.numerator
    )
    if largest >= 2**63:
        bad, total, elapsed = bad.astype(object), total.astype(object), elapsed.astype(object)
    left, right = bad * elapsed * mark.bound.denominator, total * (full * mark.bound.numerator)
    above = left > right if mark.strict else left >= right
    return np.asarray(above & (total > 0), np.bool_)


def _seen_in(record: Record, span: Span, slices: Indices) -> Indices:
    """How many slices of the window have elapsed and are no gap without units, at the end of each of some slices."""
    if record.seen is not None:
        lows = record.lead + _lows(span, None, slices, record.lead)
        return (record.seen[record.lead + slices + 1] - record.seen[lows]).astype(np.int64)
    return np.full(len(slices), span.full) if span.elapsed is None else slices + (span.elapsed - span.first)


def _lows(span: Span, lookback: int | None, slices: Indices, lead: int) -> Indices:
    low, moves = span.low_of(lookback)
    return slices + (low - span.first) if moves else np.full(len(slices), max(low, -lead))


# --- reading with NumPy --------------------------------------------------------------------------------------------


class _Turns:
    """Where bits change, gathered bit by bit."""

    def __init__(self) -> None:
        self._slices: list[Indices] = []
        self._bits: list[int] = []
        self._set: set[int] = set()

    def constant(self, bit: int, first: int, holds: bool) -> None:
        """The bit is the same from slice *first* on, for a span."""
        if holds != (bit in self._set):
            self._add(bit, np.asarray([first], np.int64), holds)

    def varying(self, bit: int, first: int, held: Mask) -> None:
        """The bit is as *held* says from slice *first* on."""
        self.constant(bit, first, bool(held[0]))
        turns = np.flatnonzero(held[1:] != held[:-1])
        if len(turns):
            self._add(bit, turns + (first + 1), bool(held[-1]))

    def _add(self, bit: int, slices: Indices, holds: bool) -> None:
        self._slices.append(slices)
        self._bits.append(bit)
        (self._set.add if holds else self._set.discard)(bit)

    def codes(self, first: int) -> tuple[Indices, Codes]:
        """All changes in order, and the codes from there on; *first* is among them."""
        slices = np.concatenate([np.asarray([first], np.int64), *self._slices])
        flips = np.repeat(
            np.asarray([0, *(1 << bit for bit in self._bits)], np.uint64), [1, *(len(one) for one in self._slices)]
        )
        order = np.argsort(slices, kind="stable")
        slices = slices[order]
        last = np.append(slices[1:] != slices[:-1], True)
        return slices[last], np.bitwise_xor.accumulate(flips[order])[last]


def read(page: Page, record: Record, spans: Sequence[Span], peaks: Peaks) -> tuple[Indices, Codes]:
    """Read a record with NumPy (`Reader`)."""
    turns = _Turns()
    for span in spans:
        for number, reading in enumerate(page.readings):
            _read_ratio(reading, number, record, span, peaks, turns)
        for count, bit in page.counts:
            _read_count(count, bit, record, span, turns)
    return turns.codes(spans[0].first)


def _read_ratio(reading: Reading, number: int, record: Record, span: Span, peaks: Peaks, turns: _Turns) -> None:
    ratio = reading.ratio
    grains = _Grains.of(span, ratio.top, ratio.bottom)
    low, high = grains.ratios(record, ratio)
    unsettled = [(low > mark.high) != (high > mark.low) for mark, _ in reading.marks]
    look = np.logical_or.reduce(unsettled) if unsettled else np.zeros(grains.count, np.bool_)
    if reading.peak:
        known = max(float(low.max()), float(peaks.values[number]))
        look |= (high * (1 + 1e-12) >= known) & (high > 0)
    varying = []
    for (mark, bit), open_yet in zip(reading.marks, unsettled, strict=True):
        sure = low > mark.high
        if open_yet.any() or (sure.any() and not sure.all()):
            varying.append((mark, bit, open_yet, grains.spread(sure)))
        else:
            turns.constant(bit, span.first, bool(sure[0]))
    for begin, end, some in grains.stretches(look):
        values = _ratios(record, span, ratio, begin, end)
        if reading.peak:
            top = float(values.max())
            if top > peaks.values[number]:
                peaks.values[number] = top
                peaks.slices[number] = begin + int(values.argmax())
        for mark, _, open_yet, held in varying:
            if open_yet[some].any():
                _compare(mark, values, record, span, begin, held[begin - span.first : end - span.first])
    for _, bit, _, held in varying:
        turns.varying(bit, span.first, held)


def _compare(mark: Mark, values: Floats, record: Record, span: Span, begin: int, into: Mask) -> None:
    np.greater(values, mark.high, out=into)
    perhaps = values > mark.low
    if np.count_nonzero(into) != np.count_nonzero(perhaps):
        doubtful = np.flatnonzero(into != perhaps)
        into[doubtful] = compared_exactly(record, span, mark, doubtful + begin)


def _read_count(count: Count, bit: int, record: Record, span: Span, turns: _Turns) -> None:
    grains = _Grains.of(span, count.lookback)
    sums = getattr(record, count.series)
    low, high = grains.sums(record, sums, count.lookback)
    sure, perhaps = low >= count.at_least, high >= count.at_least
    if sure.all() or not perhaps.any():
        turns.constant(bit, span.first, bool(sure[0]))
        return
    held = grains.spread(sure)
    for begin, end, _ in grains.stretches(sure != perhaps):
        part = held[begin - span.first : end - span.first]
        counted = _window_sums(record, "counted", sums, span, count.lookback, begin, end)
        np.greater_equal(counted, count.at_least, out=part)
    turns.varying(bit, span.first, held)


@dataclass(frozen=True, slots=True, eq=False)
class _Grains:
    """A span cut into grains, so short against the lookback that what is summed hardly changes within one."""

    span: Span
    size: int
    edges: Indices
    coarse: bool

    @classmethod
    def of(cls, span: Span, *lookbacks: int | None) -> _Grains:
        shortest = min(span.full if one is None else one for one in lookbacks)
        coarse = shortest < _FEW
        size = 64 if coarse else min(512, max(16, shortest // 4))
        return cls(span, size, np.append(np.arange(span.first, span.last, size), span.last), coarse)

    @property
    def count(self) -> int:
        return len(self.edges) - 1

    def sums(self, record: Record, sums: Sums, lookback: int | None) -> tuple[Sums, Sums]:
        """The least and the most that a lookback can hold within each grain."""
        begin, end, lead = self.edges[:-1] + 1, self.edges[1:], record.lead
        low, moves = self.span.low_of(lookback)
        if moves:
            back = self.span.first + 1 - low
            first, last = sums[begin + (lead - back)], sums[end + (lead - back)]
        else:
            first = last = sums[lead + max(low, -lead)]
        return np.maximum(sums[begin + lead] - last, 0), sums[end + lead] - first

    def ratios(self, record: Record, ratio: Ratio) -> tuple[Floats, Floats]:
        """The least and the highest that a ratio can be within each grain; infinite where nothing bounds it."""
        above, below = series_of(record, ratio)
        bad_low, bad_high = self.sums(record, above, ratio.top)
        low, high = np.zeros(self.count), np.zeros(self.count)
        if self.coarse:
            high[bad_high > 0] = np.inf
            return low, high
        if not bad_high.any():
            return low, high
        total_low, total_high = self.sums(record, below, ratio.bottom)
        some = total_low > 0
        np.divide(bad_low, total_high, out=low, where=some)
        high[bad_high > 0] = np.inf
        np.divide(bad_high, total_low, out=high, where=some)
        if ratio.projected and record.seen is not None:
            least, most = self.sums(record, record.seen, None)
            low *= least / self.span.full
            high *= most / self.span.full
        elif ratio.projected and self.span.elapsed is not None:
            elapsed = self.edges + (self.span.elapsed - self.span.first)
            low *= elapsed[:-1] / self.span.full
            high *= (elapsed[1:] - 1) / self.span.full
        return low, high

    def spread(self, sure: Mask) -> Mask:
        """A flag of each grain for each of its slices."""
        return np.repeat(sure, np.diff(self.edges))

    def stretches(self, look: Mask) -> Iterator[tuple[int, int, slice]]:
        """The slices to look at, in stretches of at most `BLOCK`, each with its grains."""
        chosen = np.flatnonzero(look)
        if not len(chosen):
            return
        breaks = np.flatnonzero(np.diff(chosen) > max(1, _FAR // self.size))
        begins, ends = chosen[np.append(0, breaks + 1)], chosen[np.append(breaks, len(chosen) - 1)] + 1
        most = BLOCK // self.size
        for begin, end in zip(begins.tolist(), ends.tolist(), strict=True):
            for at, until in pairwise([*range(begin, end, most), end]):
                yield int(self.edges[at]), int(self.edges[until]), slice(at, until)


def _window_sums(record: Record, name: str, sums: Sums, span: Span, lookback: int | None, begin: int, end: int) -> Sums:
    """Sums over a lookback at slices *begin* to *end* (exclusive)."""
    lead = record.lead
    into: Sums = record.workspace.array(name, end - begin, sums.dtype.type)
    low, moves = span.low_of(lookback)
    if moves:
        low += lead + begin - span.first
        np.subtract(sums[lead + begin + 1 : lead + end + 1], sums[low : low + end - begin], out=into)
    else:
        np.subtract(sums[lead + begin + 1 : lead + end + 1], sums[lead + max(low, -lead)], out=into)
    return into


def _ratios(record: Record, span: Span, ratio: Ratio, begin: int, end: int) -> Floats:
    """Bad over valid units at slices *begin* to *end* (exclusive), 0 where there are no valid units."""
    above, below = series_of(record, ratio)
    bad = _window_sums(record, "above", above, span, ratio.top, begin, end)
    total = _window_sums(record, "below", below, span, ratio.bottom, begin, end)
    if not total.min():
        bad[total == 0] = 0
        np.maximum(total, 1, out=total)
    if ratio.projected and record.seen is not None:
        bad = np.multiply(bad, _window_sums(record, "seen inside", record.seen, span, None, begin, end) / span.full)
    elif ratio.projected and span.elapsed is not None:
        elapsed = np.arange(begin, end) + (span.elapsed - span.first)
        bad = np.multiply(bad, elapsed / span.full)
    values: Floats = record.workspace.array("ratios", end - begin, np.float64)
    return np.divide(bad, total, out=values)


scan = Scanner(running_sums, read)
