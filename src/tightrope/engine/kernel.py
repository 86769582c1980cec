"""The compiled scan: the same answers as NumPy's in one pass that stays in a core's cache.

This module needs numba (the extra ``fast``) and a second to load, so it is imported only where `best_scanner` chose it.
Compiled once on a machine, the code is kept on disk. It lets go of the interpreter, and so runs beside itself on other
records.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from tightrope.engine.program import Page
from tightrope.engine.record import Record, Sums
from tightrope.engine.scan import Codes, Indices, Peaks, Scanner, Span, compared_exactly
from tightrope.sli.slices import Counts

_compiled: Callable[[Callable[..., Any]], Callable[..., Any]] = njit(nogil=True, cache=True, error_model="numpy")

_BLOCK = 512
_POINTS = 65_536
_SERIES = ("bad", "scoped", "total", "missing")
_NO_BOUND = 1e300


def compiled_scanner() -> Scanner:
    """The compiled scan."""
    return Scanner(sum_up, read)


def sum_up(values: Counts, into: Sums) -> None:
    """Sum up, compiled (`Summing`)."""
    _summing(values, into)


def read(page: Page, record: Record, spans: Sequence[Span], peaks: Peaks) -> tuple[Indices, Codes]:
    """Read a record with compiled code (`Reader`)."""
    tables = _tables(page)
    missing = record.total if record.missing is None else record.missing
    seen = record.total if record.seen is None else record.seen
    space = record.workspace
    out = (
        space.array("points", _POINTS, np.int64),
        space.array("codes", _POINTS, np.uint64),
        space.array("doubts", _POINTS, np.uint64),
    )
    slices: list[Indices] = []
    codes: list[Codes] = []
    carry = np.zeros(3, np.uint64)
    for span in spans:
        at = span.first
        while at < span.last:
            found, at = _walk(
                record.bad, record.scoped, record.total, missing, seen, record.seen is not None, record.lead,
                span.first, at, span.last, -1 if span.lower is None else max(span.lower, -record.lead),
                span.lower is not None, span.full, -1 if span.elapsed is None else span.elapsed,
                *tables, peaks.values, peaks.slices, carry, *out,
            )  # fmt: skip
            points, code, doubts = (one[:found].copy() for one in out)
            _settle(page, record, span, points, code, doubts)
            slices.append(points)
            codes.append(code)
    return np.concatenate(slices), np.concatenate(codes)


@lru_cache(maxsize=4096)
def _tables(page: Page) -> tuple[npt.NDArray[Any], ...]:
    """A page as arrays: what to read, its marks, and what to count. A lookback of -1 is the window."""

    def whole(numbers: Sequence[int | None]) -> npt.NDArray[np.int64]:
        return np.asarray([-1 if one is None else one for one in numbers], np.int64)

    readings, marks = page.readings, [mark for reading in page.readings for mark in reading.marks]
    return (
        whole([_SERIES.index("scoped" if one.ratio.scoped else "bad") for one in readings]),
        whole([one.ratio.top for one in readings]),
        whole([one.ratio.bottom for one in readings]),
        np.asarray([one.ratio.projected for one in readings], np.bool_),
        np.asarray([one.peak for one in readings], np.bool_),
        whole(np.cumsum([0, *(len(one.marks) for one in readings)]).tolist()),
        np.asarray([mark.low for mark, _ in marks], np.float64),
        np.asarray([mark.high for mark, _ in marks], np.float64),
        np.asarray([1 << bit for _, bit in marks], np.uint64),
        whole([_SERIES.index(one.series) for one, _ in page.counts]),
        whole([one.lookback for one, _ in page.counts]),
        whole([one.at_least for one, _ in page.counts]),
        np.asarray([1 << bit for _, bit in page.counts], np.uint64),
    )


def _settle(page: Page, record: Record, span: Span, points: Indices, codes: Codes, doubts: Codes) -> None:
    """Compare exactly where the floats were too close to tell."""
    if not doubts.any():
        return
    for reading in page.readings:
        for mark, bit in reading.marks:
            flag = np.uint64(1 << bit)
            doubtful = np.flatnonzero(doubts & flag)
            if len(doubtful):
                above = compared_exactly(record, span, mark, points[doubtful])
                codes[doubtful[above]] |= flag


# --- compiled ------------------------------------------------------------------------------------------------------


@_compiled
def _summing(values: Counts, into: Sums) -> None:
    total = 0
    for index in range(len(values)):
        total += values[index]
        into[index] = total


@_compiled
def _differences(ends, starts, slides, into):  # type: ignore[no-untyped-def]
    if slides:
        for i in range(len(into)):
            into[i] = ends[i] - starts[i]
    else:
        start = starts[0]
        for i in range(len(into)):
            into[i] = ends[i] - start


@_compiled
def _stays(bad_ends, bad_starts, total_ends, total_starts, above, below):  # type: ignore[no-untyped-def]
    """Whether a ratio of two differences stays above one bound, unless that is negative, and does not pass another."""
    outside = 0
    if above >= 0:
        for i in range(len(bad_ends)):
            bad, total = float(bad_ends[i] - bad_starts[i]), float(total_ends[i] - total_starts[i])
            outside += 1 if (bad <= above * total) | (bad > below * total) else 0
    else:
        for i in range(len(bad_ends)):
            outside += 1 if float(bad_ends[i] - bad_starts[i]) > below * float(total_ends[i] - total_starts[i]) else 0
    return outside == 0


@_compiled
def _walk(  # type: ignore[no-untyped-def]
    bad, scoped, total, missing, seen, gappy, lead,
    origin, begin, end, lower, fixed, full, elapsed,
    series, tops, bottoms, projected, peaking, starts, lows, highs, flags,
    count_series, count_lookbacks, count_least, count_flags,
    peak_values, peak_slices, carry, points, codes, doubts,
):  # fmt: skip
    """Walk over slices *begin* to *end* (exclusive) until the room for changes is used up.

    Block by block, each ratio is bounded first by the running sums at the block's ends, then by one look at its slices;
    only where a mark may turn or a peak be passed, the slices are taken one by one. A code is written where it changes,
    and wherever a mark is in doubt: such a mark is left unset, with its flag among the doubts.

    Returns:
        How many changes were written, and the slice to go on from.
    """
    above, below = np.empty(_BLOCK), np.empty(_BLOCK)
    code, doubt = np.zeros(_BLOCK, np.uint64), np.zeros(_BLOCK, np.uint64)
    nothing = np.uint64(0)
    found, at = 0, begin
    while at < end and found + _BLOCK <= len(points):
        stop = min(at + _BLOCK, end)
        size = stop - at
        high = lead + at + 1
        base = nothing
        now_code, now_doubt = code[:size], doubt[:size]
        turning, doubtful = False, False
        for number in range(len(series)):
            sums = scoped if series[number] == 1 else bad
            window = tops[number] < 0
            top_slides = not (window and fixed)
            top = high - (full if window else tops[number]) if top_slides else lead + lower
            top_last = top + size - 1 if top_slides else top
            most = sums[high + size - 1] - sums[top]
            if most == 0:
                continue
            window = bottoms[number] < 0
            bottom_slides = not (window and fixed)
            bottom = high - (full if window else bottoms[number]) if bottom_slides else lead + lower
            bottom_last = bottom + size - 1 if bottom_slides else bottom
            growing = projected[number] and (gappy or elapsed >= 0)
            first_share, least_share, last_share = 1.0, 1.0, 1.0
            seen_low = lead + lower if fixed else high - full
            if growing and gappy:
                seen_last = seen_low if fixed else seen_low + size - 1
                first_share = float(seen[high] - seen[seen_low]) / float(full)
                least_share = max(0.0, float(seen[high] - seen[seen_last]) / float(full))
                last_share = float(seen[high + size - 1] - seen[seen_low]) / float(full)
            elif growing:
                first_share = float(elapsed + (at - origin)) / float(full)
                least_share = first_share
                last_share = float(elapsed + (stop - 1 - origin)) / float(full)
            # the ratio lies between these two throughout the block
            few = total[high] - total[bottom_last]
            many = total[high + size - 1] - total[bottom]
            least_bad = sums[high] - sums[top_last]
            floor, ceiling = 0.0, _NO_BOUND
            if few > 0:
                ceiling = float(most) / float(few) * last_share
                if least_bad > 0:
                    floor = float(least_bad) / float(many) * least_share
            known = nothing
            open_yet = False
            for mark in range(starts[number], starts[number + 1]):
                if floor > highs[mark]:
                    known |= flags[mark]
                elif ceiling > lows[mark]:
                    open_yet = True
            passing = peaking[number] and ceiling * (1 + 1e-12) >= peak_values[number]
            if not (open_yet or passing):
                base |= known
                continue
            # the marks next to the ratio at the first slice, and the peak: nothing turns while it stays between them
            first_bad, first_total = float(sums[high] - sums[top]), float(total[high] - total[bottom])
            if first_total == 0:
                first_bad = 0.0
            if growing:
                first_bad *= first_share
            from_above, from_below, known = -1.0, _NO_BOUND, nothing
            for mark in range(starts[number], starts[number + 1]):
                if first_bad > highs[mark] * first_total:
                    from_above = max(from_above, highs[mark])
                    known |= flags[mark]
                else:
                    from_below = min(from_below, lows[mark])
            peak_bound = peak_values[number] * (1 - 1e-12) if peaking[number] else _NO_BOUND
            if top_slides and tops[number] == bottoms[number] and not growing:
                stays = _stays(
                    sums[high : high + size], sums[top : top + size],
                    total[high : high + size], total[bottom : bottom + size],
                    from_above, min(from_below, peak_bound),
                )  # fmt: skip
                if stays:
                    base |= known
                    continue
            bads, totals = above[:size], below[:size]
            _differences(sums[high : high + size], sums[top : top_last + 1], top_slides, bads)
            _differences(total[high : high + size], total[bottom : bottom_last + 1], bottom_slides, totals)
            if tops[number] != bottoms[number] and few <= 0:
                for i in range(size):
                    if totals[i] == 0:
                        bads[i] = 0
            if growing and gappy:
                for i in range(size):
                    low = seen_low if fixed else seen_low + i
                    bads[i] *= float(seen[high + i] - seen[low]) / float(full)
            elif growing:
                share = elapsed + (at - origin)
                for i in range(size):
                    bads[i] *= float(share + i) / float(full)
            outside, passed = 0, 0
            if from_above >= 0:
                for i in range(size):
                    outside += 1 if bads[i] <= from_above * totals[i] else 0
            for i in range(size):
                outside += 1 if bads[i] > from_below * totals[i] else 0
                passed += 1 if bads[i] > peak_bound * totals[i] else 0
            if passed:
                bound, best = peak_bound, peak_values[number]
                for i in range(size):
                    if bads[i] > bound * totals[i]:
                        value = bads[i] / totals[i]
                        if value > best:
                            best = value
                            bound = best * (1 - 1e-12)
                            peak_slices[number] = at + i
                peak_values[number] = best
            if not outside:
                base |= known
                continue
            if not turning:
                turning = True
                for i in range(size):
                    now_code[i] = nothing
                    now_doubt[i] = nothing
            for mark in range(starts[number], starts[number + 1]):
                low_bound, high_bound, flag = lows[mark], highs[mark], flags[mark]
                close = 0
                for i in range(size):
                    sure = bads[i] > high_bound * totals[i]
                    close += 1 if (bads[i] > low_bound * totals[i]) != sure else 0
                    now_code[i] |= flag if sure else nothing
                if close:
                    doubtful = True
                    for i in range(size):
                        if bads[i] > low_bound * totals[i] and not bads[i] > high_bound * totals[i]:
                            now_doubt[i] |= flag
        for number in range(len(count_series)):
            which = count_series[number]
            counted = bad if which == 0 else scoped if which == 1 else total if which == 2 else missing
            window = count_lookbacks[number] < 0
            slides = not (window and fixed)
            low = high - (full if window else count_lookbacks[number]) if slides else lead + lower
            low_last = low + size - 1 if slides else low
            least, flag = count_least[number], count_flags[number]
            if counted[high + size - 1] - counted[low] < least:
                continue
            if counted[high] - counted[low_last] >= least:
                base |= flag
                continue
            if not turning:
                turning = True
                for i in range(size):
                    code[i] = nothing
                    doubt[i] = nothing
            move = 1 if slides else 0
            for i in range(size):
                code[i] |= flag if counted[high + i] - counted[low + i * move] >= least else nothing
        # carry: the last code, whether it was in doubt, and whether there was one
        if not turning:
            if carry[2] == 0 or carry[1] != 0 or carry[0] != base:
                points[found], codes[found], doubts[found] = at, base, nothing
                found += 1
                carry[0], carry[1], carry[2] = base, 0, 1
        else:
            for i in range(size):
                now = code[i] | base
                if carry[2] == 0 or carry[0] != now or carry[1] != 0 or (doubtful and doubt[i] != 0):
                    points[found], codes[found], doubts[found] = at + i, now, doubt[i]
                    found += 1
                    carry[0], carry[1], carry[2] = now, doubt[i], 1
        at = stop
    return found, at
