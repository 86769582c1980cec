"""Scanning: every check of a plan on every slice of a record, exact, block by block, in NumPy.

A comparison is made in float64 first. Where both sides are so close that rounding could decide, and only there, it is
made again with integers of any size, so the answer is always that of exact arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from tightrope.alerting.conditions import is_significant
from tightrope.base.units import duration_text
from tightrope.budget.windows import periods
from tightrope.engine.plan import (
    WINDOW,
    Asked,
    Check,
    Every,
    Firing,
    Floor,
    Incident,
    Never,
    Open,
    Plan,
    Significance,
    Some,
    Test,
)
from tightrope.engine.record import Record
from tightrope.policy.states import compare
from tightrope.sli.coverage import overlapping
from tightrope.sli.slices import Mask
from tightrope.specs.model import Comparison, Gaps, RollingWindow

Floats = npt.NDArray[np.float64]
Ask = Callable[[str, Mapping[str, object]], bool]

BLOCK = 16_384
_SLACK = 1e-12


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
        codes: The code from there on, bit k for column k and the highest bit for stale, uint64.
        burns: The peak burn rate of each of the plan's lookbacks.
        consumed: The peak share of the budget consumed, on the plan's basis.
    """

    first: int
    last: int
    indices: npt.NDArray[np.int64]
    codes: npt.NDArray[np.uint64]
    burns: tuple[Peak, ...]
    consumed: Peak


@dataclass(frozen=True, slots=True)
class _Span:
    """Where the full window stands for a block: rolling ``lower`` is None, a calendar period starts at slice ``lower``."""

    first: int
    last: int
    lower: int | None
    full: int


class _Block:
    """Sums and ratios of one block, each made once."""

    def __init__(self, plan: Plan, record: Record, span: _Span) -> None:
        self.plan, self.record, self.span = plan, record, span
        self.size = span.last - span.first
        self._sums: dict[tuple[str, int], npt.NDArray[np.generic] | None] = {}
        self._ratios: dict[tuple[bool, int, int, bool], Floats | None] = {}

    def sums(self, series: str, lookback_s: int) -> npt.NDArray[np.generic] | None:
        """Units over the lookback for each slice of the block, shape ``(size,)``; None where all are 0."""
        key = (series, lookback_s)
        if key not in self._sums:
            running = getattr(self.record, series)
            lead, first, last = self.record.lead, self.span.first, self.span.last
            if lookback_s == WINDOW and self.span.lower is not None:
                lower = running[lead + max(self.span.lower, -lead)]
                nothing = running[lead + last] == lower
                self._sums[key] = None if nothing else running[lead + first + 1 : lead + last + 1] - lower
            else:
                steps = self.span.full if lookback_s == WINDOW else lookback_s // self.plan.step_s
                low = lead + first + 1 - steps
                nothing = running[lead + last] == running[low]
                self._sums[key] = (
                    None if nothing else running[lead + first + 1 : lead + last + 1] - running[low : low + self.size]
                )
        return self._sums[key]

    def ratio(self, top: int, bottom: int, *, scoped: bool, projected: bool) -> Floats | None:
        """Bad over *top* / valid over *bottom*, 0 where there are no valid units; None where all are 0."""
        key = (scoped and self.record.scoped is not self.record.bad, top, bottom, projected)
        if key not in self._ratios:
            bad = self.sums("scoped" if scoped else "bad", top)
            total = self.sums("total", bottom)
            if bad is None or total is None:
                self._ratios[key] = None
            else:
                if not total.all():
                    ratio = np.divide(bad, total, out=np.zeros(self.size), where=total > 0)
                else:
                    ratio = np.true_divide(bad, total)
                if projected:
                    elapsed = self.elapsed()
                    if elapsed is not None:
                        ratio = ratio * (elapsed / self.span.full)
                self._ratios[key] = ratio
        return self._ratios[key]

    def elapsed(self) -> npt.NDArray[np.int64] | None:
        """Elapsed slices of the window for each slice of the block; None where the window is full throughout."""
        first, full = self.span.first, self.span.full
        start = self.record.first if self.span.lower is None else max(self.record.first, self.span.lower)
        if first + 1 - start >= full:
            return None
        return np.minimum(np.arange(first + 1 - start, first + 1 - start + self.size, dtype=np.int64), full)

    def test(self, test: Test) -> Mask:
        """Where the comparison holds, bool of shape ``(size,)``."""
        ratio = self.ratio(test.top, test.bottom, scoped=test.scoped, projected=test.projected)
        at_zero = compare(Fraction(0), test.op, test.threshold)
        held = np.full(self.size, at_zero) if ratio is None else self._filtered(test, ratio)
        if at_zero != test.when_empty:
            total = self.sums("total", test.bottom)
            if total is None:
                return np.full(self.size, test.when_empty)
            if not total.all():
                held = np.where(total > 0, held, test.when_empty)
        return held

    def _filtered(self, test: Test, ratio: Floats) -> Mask:
        threshold = float(test.threshold)
        slack = abs(threshold) * _SLACK
        if test.op in (Comparison.GTE, Comparison.LT):
            sure, perhaps = ratio >= threshold + slack, ratio >= threshold - slack
        else:
            sure, perhaps = ratio > threshold + slack, ratio > threshold - slack
        above = sure
        if np.count_nonzero(sure) != np.count_nonzero(perhaps):
            rising = Comparison.GTE if test.op in (Comparison.GTE, Comparison.LT) else Comparison.GT
            for index in np.flatnonzero(sure != perhaps).tolist():
                above[index] = self._exact(test, rising, index)
        return above if test.op in (Comparison.GTE, Comparison.GT) else ~above

    def _exact(self, test: Test, op: Comparison, index: int) -> bool:
        """Compare one slice in integers: B / N' op threshold, with N' = N n / e."""
        bad = self.sums("scoped" if test.scoped else "bad", test.top)
        total = self.sums("total", test.bottom)
        units = 0 if total is None else int(total[index])  # type: ignore[call-overload]
        if not units:
            return False
        value = Fraction(0 if bad is None else int(bad[index]), units)  # type: ignore[call-overload]
        elapsed = self.elapsed() if test.projected else None
        if elapsed is not None:
            value = value * int(elapsed[index]) / self.span.full
        return compare(value, op, test.threshold)


def scan(
    plan: Plan, record: Record, first: int, last: int, *, incidents: Sequence[Incident] = (), ask: Ask | None = None
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
    indices: list[npt.NDArray[np.int64]] = []
    codes: list[npt.NDArray[np.uint64]] = []
    peaks = [Peak() for _ in plan.lookbacks_s]
    consumed = Peak()
    before: int | None = None
    for span in _spans(plan, record, first, last):
        block = _Block(plan, record, span)
        code = _stale(plan, record, span).astype(np.uint64) << np.uint64(len(plan.columns))
        for bit, check in enumerate(plan.columns):
            column = _column(check, block, incidents, ask)
            code |= column.astype(np.uint64) << np.uint64(bit)
        changed = np.flatnonzero(code[1:] != code[:-1]) + 1
        if before is None or before != int(code[0]):
            changed = np.concatenate(([0], changed))
        indices.append(changed + span.first)
        codes.append(code[changed])
        before = int(code[-1])
        share = float(1 - plan.target)
        for number, lookback in enumerate(plan.lookbacks_s):
            ratio = block.ratio(lookback, lookback, scoped=False, projected=False)
            peaks[number] = _higher(peaks[number], ratio, share, record, span)
        ratio = block.ratio(WINDOW, WINDOW, scoped=False, projected=plan.basis.value == "projected")
        consumed = _higher(consumed, ratio, share, record, span)
    return Scanned(
        first,
        max(first, last),
        np.concatenate(indices) if indices else np.zeros(0, np.int64),
        np.concatenate(codes) if codes else np.zeros(0, np.uint64),
        tuple(peaks),
        consumed,
    )


def _spans(plan: Plan, record: Record, first: int, last: int) -> list[_Span]:
    """Cut slices ``first`` to ``last`` into blocks within which the window's shape does not change."""
    if first >= last:
        return []
    step, start = plan.step_s, record.units.start
    shapes: list[_Span] = []
    if isinstance(plan.window, RollingWindow):
        shapes.append(_Span(first, last, None, plan.window.duration.seconds // step))
    else:
        for begin, end in periods(plan.window, start + (first + 1) * step, start + last * step):
            # the period of an evaluation is the one that contains its instant, the end of its slice
            low, high = -(-(begin - start) // step) - 1, -(-(end - start) // step) - 1
            lower = -(-(begin - start) // step)
            full = (end - start) // step - lower
            if max(low, first) < min(high, last):
                shapes.append(_Span(max(low, first), min(high, last), lower, full))
    return [
        _Span(at, min(at + BLOCK, shape.last), shape.lower, shape.full)
        for shape in shapes
        for at in range(shape.first, shape.last, BLOCK)
    ]


def _stale(plan: Plan, record: Record, span: _Span) -> Mask:
    size = span.last - span.first
    if record.missing is None or plan.gaps is not Gaps.IGNORE:
        return np.zeros(size, np.bool_)
    top = record.lead + span.first + 1
    low = max(0, top - plan.stale_after)
    gone = record.missing[top : top + size] - record.missing[low : low + size]
    return np.asarray(gone == plan.stale_after)


def _column(check: Check, block: _Block, incidents: Sequence[Incident], ask: Ask | None) -> Mask:
    match check:
        case Test():
            return block.test(check)
        case Floor():
            units = block.sums("bad" if check.bad else "total", check.lookback_s)
            # float64 sums are exact integers here, so this comparison is exact too
            return np.zeros(block.size, np.bool_) if units is None else np.asarray(units >= check.at_least)
        case Every():
            return _every(check, block, incidents, ask)
        case Some():
            held = np.zeros(block.size, np.bool_)
            for part in check.parts:
                held = held | _column(part, block, incidents, ask)
            return held
        case Never():
            return ~_column(check.part, block, incidents, ask)
        case Open():
            return _open(check, block, incidents)
        case Significance():
            return _significant(check, block, np.ones(block.size, np.bool_))
        case Asked():
            return _asked(check, block, incidents, ask)
        case Firing():
            raise AssertionError("a firing alert is known only while unfolding")


def _every(check: Every, block: _Block, incidents: Sequence[Incident], ask: Ask | None) -> Mask:
    """All parts; the costly binomial bound is asked for only where everything else holds."""
    held = np.ones(block.size, np.bool_)
    for part in check.parts:
        if not isinstance(part, Significance):
            held = held & _column(part, block, incidents, ask)
    for part in check.parts:
        if isinstance(part, Significance):
            held = _significant(part, block, held)
    return held


def _significant(check: Significance, block: _Block, among: Mask) -> Mask:
    bad, total = block.sums("bad", check.lookback_s), block.sums("total", check.lookback_s)
    held = np.zeros(block.size, np.bool_)
    if bad is None or total is None:
        return held
    scale = block.plan.scale
    for index in np.flatnonzero(among).tolist():
        counts = int(bad[index]) // scale, int(total[index]) // scale  # type: ignore[call-overload]
        held[index] = is_significant(*counts, check.ratio, check.confidence)
    return held


def _open(check: Open, block: _Block, incidents: Sequence[Incident]) -> Mask:
    """Open at the evaluation, which is the end of a slice: ``start <= t < end``."""
    units = block.record.units
    step = units.step_s
    held = np.zeros(block.size, np.bool_)
    begin = units.start + (block.span.first + 1) * step
    for incident in incidents:
        if not check.severities or incident.severity in check.severities:
            low = max(0, -((begin - incident.start) // step))
            high = max(0, -((begin - incident.end) // step))
            held[low:high] = True
    return held


def _asked(check: Asked, block: _Block, incidents: Sequence[Incident], ask: Ask | None) -> Mask:
    if ask is None:
        raise AssertionError("a plan with CEL needs somebody to ask")
    held = np.zeros(block.size, np.bool_)
    for index in range(block.size):
        held[index] = ask(check.text, facts_at(block.plan, block.record, block.span.first + index, incidents))
    return held


def facts_at(plan: Plan, record: Record, index: int, incidents: Sequence[Incident]) -> dict[str, object]:
    """What a CEL expression may look at for one slice: remaining, consumed, burn, coverage, incidents; floats."""
    at = record.units.start + (index + 1) * plan.step_s
    share = 1 - plan.target
    low, full, elapsed = window_bounds(plan, record, index)
    total = record.counts("total", low, index + 1)
    bad = record.counts("scoped", low, index + 1)
    projected = Fraction(total) * (full if plan.basis.value == "projected" else elapsed) / max(1, elapsed)
    consumed = float(bad / (share * projected)) if projected else 0.0
    burns: dict[str, float] = {}
    for lookback in plan.lookbacks_s:
        steps = lookback // plan.step_s
        units = record.counts("total", index + 1 - steps, index + 1)
        spent = record.counts("scoped", index + 1 - steps, index + 1)
        burns[duration_text(lookback)] = float(Fraction(spent, units) / share) if units else 0.0
    missing = 0 if record.missing is None else int(
        record.missing[record.lead + index + 1] - record.missing[record.lead + max(0, low)]
    )
    open_now = [one.severity for one in incidents if one.start <= at < one.end]
    return {
        "remaining": 1 - consumed,
        "consumed": consumed,
        "known": bool(projected),
        "burn": burns,
        "coverage": (elapsed - missing) / max(1, index + 1 - low),
        "incidents": open_now,
    }


def window_bounds(plan: Plan, record: Record, index: int) -> tuple[int, int, int]:
    """The window at the end of slice *index*: its first slice, how many a full one has, how many have elapsed."""
    span = _spans(plan, record, index, index + 1)[0]
    low = index + 1 - span.full if span.lower is None else span.lower
    return low, span.full, min(span.full, index + 1 - max(low, record.first))


def _higher(peak: Peak, ratio: Floats | None, share: float, record: Record, span: _Span) -> Peak:
    if ratio is None:
        return peak
    top = float(ratio.max()) / share
    if top <= peak.value:
        return peak
    return Peak(top, record.units.start + (span.first + int(ratio.argmax()) + 1) * record.units.step_s)
