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
from tightrope.engine.record import Parts, Record, Room, Sums
from tightrope.engine.scan import Codes, Indices, Peaks, Scanner, Span, compared_exactly
from tightrope.sli.slices import Counts

_compiled: Callable[[Callable[..., Any]], Callable[..., Any]] = njit(nogil=True, cache=True, error_model="numpy")
# without NaN and negative zero, a least may be found in any order
_unordered: Callable[[Callable[..., Any]], Callable[..., Any]] = njit(
    nogil=True, cache=True, error_model="numpy", fastmath={"nnan", "nsz"}
)

_PART = 64
_PARTS = 128
_SHORT = 4
"""Parts that a lookback may reach back for the least of their single slices to tell something of its units."""
_PAD = 2
_POINTS = 65_536
_SERIES = ("bad", "scoped", "total", "missing")
_NO_BOUND = 1e300
_MOST = 2**63 - 1


def compiled_scanner() -> Scanner:
    """The compiled scan."""
    return Scanner(sum_up, read)


def sum_up(values: Counts, into: Sums, lead: int, room: Room) -> Parts:
    """Sum up, compiled, and cut into parts on the way (`Summing`)."""
    count = len(into) // _PART + 1
    parts = Parts(
        room("begins", count + _PAD + 1, into.dtype.type), room("least", count, np.int64), room("most", count, np.int64)
    )
    _summing(values, into, lead, parts.begins, parts.least, parts.most)
    return parts


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
    bad, total = record.parts["bad"], record.parts["total"]
    scoped, seen_parts = record.parts.get("scoped", bad), record.parts.get("seen", total)
    parts = bad.begins, scoped.begins, total.begins, seen_parts.begins, bad.most, scoped.most, total.least
    slices: list[Indices] = []
    codes: list[Codes] = []
    carry = np.zeros(3, np.uint64)
    for span in spans:
        at = span.first
        while at < span.last:
            found, at = _walk(
                record.bad, record.scoped, record.total, missing, seen, *parts, record.seen is not None, record.lead,
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
def _summing(values, into, lead, begins, least, most):  # type: ignore[no-untyped-def]
    first, total, large = lead // _PART, 0, False
    begins[: min(first + 1 + _PAD, len(begins))] = 0
    least[:first] = 0
    most[:first] = 0
    for part in range(first, len(least)):
        low, high = max(0, part * _PART - lead), min((part + 1) * _PART - lead, len(values))
        size, start, ahead = np.uint64(max(0, high - low)), np.uint64(low), np.uint64(lead + 1 + low)
        fewest, greatest = _MOST if part * _PART >= lead else 0, 0
        for i in range(size):
            fewest = min(fewest, values[start + i])
            greatest = max(greatest, values[start + i])
        for i in range(size):
            total += values[start + i]
            into[ahead + i] = total
        begins[part + 1 + _PAD], least[part], most[part] = total, fewest, greatest
        large |= total < 0 or greatest > _MOST // _PART
    if large:  # perhaps beyond what 64 bits hold: then the sum of floats tells how far
        rough = 0.0
        for value in values:
            rough += value
        if rough > _MOST // 2:
            into[-1] = rough


@_compiled
def _walk(  # type: ignore[no-untyped-def]
    bad, scoped, total, missing, seen,
    bad_begins, scoped_begins, total_begins, seen_begins, bad_most, scoped_most, least, gappy, lead,
    origin, begin, end, lower, fixed, full, elapsed,
    series, tops, bottoms, projected, peaking, starts, lows, highs, flags,
    count_series, count_lookbacks, count_least, count_flags,
    peak_values, peak_slices, carry, points, codes, doubts,
):  # fmt: skip
    """Walk over slices *begin* to *end* (exclusive) until the room for changes is used up.

    Block by block, every ratio and every count is read on its own. A code is written where it changes, and wherever a
    mark is in doubt: such a mark is left unset, with its flag among the doubts. A block is cut into parts, and so are
    the running sums: slice ``i`` is in the part ``(lead + i) // _PART``.

    Returns:
        How many changes were written, and the slice to go on from.
    """
    sure, turning = np.empty(_PARTS, np.uint64), np.empty(_PARTS, np.bool_)
    code, doubt = np.empty(_PARTS * _PART, np.uint64), np.empty(_PARTS * _PART, np.uint64)
    bounds, opened = np.empty((5, _PARTS)), np.empty(_PARTS, np.uint64)
    above, below, ratios = np.empty(_PART), np.empty(_PART), np.empty(_PART)
    nothing = np.uint64(0)
    found, at = 0, begin
    while at < end and found + len(code) <= len(points):
        first_part = (lead + at) // _PART
        stop = min((first_part + _PARTS) * _PART - lead, end)
        parts = (lead + stop - 1) // _PART + 1 - first_part
        sure[:parts] = nothing
        turning[:parts] = False
        for number in range(len(series)):
            how = (
                lead, origin, at, stop, full,
                lead + lower if fixed and tops[number] < 0 else -1, full if tops[number] < 0 else tops[number],
                lead + lower if fixed and bottoms[number] < 0 else -1, full if bottoms[number] < 0 else bottoms[number],
                lead + lower if fixed else -1,
                elapsed if projected[number] and not gappy else -1, projected[number] and gappy,
                number, starts[number], starts[number + 1], peaking[number],
            )  # fmt: skip
            if series[number] == 1:
                _read(
                    scoped, total, seen, scoped_begins, total_begins, seen_begins, scoped_most, least, how,
                    lows, highs, flags, peak_values, peak_slices, sure, turning, code, doubt, bounds, opened,
                    above, below, ratios,
                )  # fmt: skip
            else:
                _read(
                    bad, total, seen, bad_begins, total_begins, seen_begins, bad_most, least, how,
                    lows, highs, flags, peak_values, peak_slices, sure, turning, code, doubt, bounds, opened,
                    above, below, ratios,
                )  # fmt: skip
        for number in range(len(count_series)):
            back = full if count_lookbacks[number] < 0 else count_lookbacks[number]
            pinned = lead + lower if fixed and count_lookbacks[number] < 0 else -1
            which, enough, flag = count_series[number], count_least[number], count_flags[number]
            if which == 0:
                _count(bad, lead, at, stop, pinned, back, enough, flag, sure, turning, code, doubt)
            elif which == 1:
                _count(scoped, lead, at, stop, pinned, back, enough, flag, sure, turning, code, doubt)
            elif which == 2:
                _count(total, lead, at, stop, pinned, back, enough, flag, sure, turning, code, doubt)
            else:
                _count(missing, lead, at, stop, pinned, back, enough, flag, sure, turning, code, doubt)
        # carry: the last code, whether it was in doubt, and whether there was one
        for part in range(parts):
            base, here = sure[part], max(at, (first_part + part) * _PART - lead)
            if not turning[part]:
                if carry[2] == 0 or carry[1] != 0 or carry[0] != base:
                    points[found], codes[found], doubts[found] = here, base, nothing
                    found += 1
                    carry[0], carry[1], carry[2] = base, 0, 1
                continue
            room = part * _PART - here
            for i in range(here, min((first_part + part + 1) * _PART - lead, stop)):
                now, unsure = code[room + i] | base, doubt[room + i]
                if carry[2] == 0 or carry[0] != now or carry[1] != 0 or unsure != 0:
                    points[found], codes[found], doubts[found] = i, now, unsure
                    found += 1
                    carry[0], carry[1], carry[2] = now, unsure, 1
        at = stop
    return found, at


@_compiled
def _read(  # type: ignore[no-untyped-def]
    sums, total, seen, begins, total_begins, seen_begins, greatest, least, how,
    lows, highs, flags, peak_values, peak_slices, sure, turning, code, doubt, bounds, opened, above, below, ratios,
):  # fmt: skip
    """Read one ratio on a block: its marks into *sure* (part by part) or *code* and *doubt* (slice by slice), its peak.

    The sums at the beginnings of parts bound the ratio in each; where that leaves a mark or the peak open, those at the
    ends of what it looks at do, and then one look at the part's slices. The rest is taken slice by slice.
    """
    (
        lead, origin, at, stop, full, top_pinned, back, bottom_pinned, beneath, seen_pinned, elapsed, gappy,
        number, first_mark, last_mark, peaking,
    ) = how  # fmt: skip
    nothing = np.uint64(0)
    top_slides, bottom_slides = top_pinned < 0, bottom_pinned < 0
    plain = top_slides and bottom_slides and back == beneath and elapsed < 0 and not gappy
    peak = peak_values[number] if peaking else _NO_BOUND
    first_part = (lead + at) // _PART
    parts = (lead + stop - 1) // _PART + 1 - first_part
    if not _bound(
        sums, total, seen, begins, total_begins, seen_begins, greatest, least, how, first_part, parts, bounds
    ):
        return
    # the peak is no lower than what some part reaches at least
    bar = max(peak, _highest(bounds[2], bounds[3], parts, bounds[4]) * (1 - 1e-12)) if peaking else _NO_BOUND
    if not _settle_parts(bounds, parts, first_mark, last_mark, lows, highs, flags, bar, sure, opened):
        return
    for part in range(parts):
        if opened[part] == 0:
            continue
        here = max(at, (first_part + part) * _PART - lead)
        size = min((first_part + part + 1) * _PART - lead, stop) - here
        high = lead + here + 1
        last = high + size - 1
        top = high - back if top_slides else top_pinned
        bottom = high - beneath if bottom_slides else bottom_pinned
        seen_low = high - full if seen_pinned < 0 else seen_pinned
        most = float(sums[last] - sums[top])
        few = float(total[high] - total[bottom + size - 1 if bottom_slides else bottom])
        fewest = float(sums[high] - sums[top + size - 1 if top_slides else top])
        many = float(total[last] - total[bottom])
        first_bad, first_total = float(sums[high] - sums[top]), float(total[high] - total[bottom])
        if first_total == 0:
            first_bad = 0.0
        if gappy:
            fewest *= float(seen[high] - seen[min(high, seen_low + size - 1 if seen_pinned < 0 else seen_low)]) / full
            most *= float(seen[last] - seen[seen_low]) / full
            first_bad *= float(seen[high] - seen[seen_low]) / full
        elif elapsed >= 0:
            fewest *= float(elapsed + (here - origin)) / full
            most *= float(elapsed + (here + size - 1 - origin)) / full
            first_bad *= float(elapsed + (here - origin)) / full
        most, few = min(most, bounds[0, part]), max(few, bounds[1, part])
        if few <= 0:
            fewest = 0.0
        open_yet, known = most > 0 and most * (1 + 1e-12) >= bar * few, nothing
        # the marks next to the ratio at the first slice, and the peak: nothing turns while it stays between them
        from_above, from_below, at_first = -1.0, _NO_BOUND, nothing
        for mark in range(first_mark, last_mark):
            if fewest > highs[mark] * many:
                known |= flags[mark]
            elif most > lows[mark] * few:
                open_yet = True
            if first_bad > highs[mark] * first_total:
                from_above = max(from_above, highs[mark])
                at_first |= flags[mark]
            else:
                from_below = min(from_below, lows[mark])
        if not open_yet:
            sure[part] |= known
            continue
        peak_bound = bar * (1 - 1e-12)
        if plain and _stays(sums, total, high, top, size, from_above, min(from_below, peak_bound)):
            sure[part] |= at_first
            continue
        _differences(sums, high, top, top_slides, size, above)
        _differences(total, high, bottom, bottom_slides, size, below)
        if not plain:
            for i in range(size):
                if below[i] == 0:
                    above[i] = 0
            if gappy:
                for i in range(size):
                    low = seen_low + i if seen_pinned < 0 else seen_low
                    above[i] *= float(seen[high + i] - seen[low]) / full
            elif elapsed >= 0:
                share = elapsed + (here - origin)
                for i in range(size):
                    above[i] *= float(share + i) / full
        outside, passed = 0, 0
        for i in range(size):
            outside += 1 if (above[i] <= from_above * below[i]) | (above[i] > from_below * below[i]) else 0
            passed += 1 if above[i] > peak_bound * below[i] else 0
        if passed:
            value = _highest(above, below, size, ratios)
            if value > peak:
                peak = value
                i = 0
                while ratios[i] < peak:
                    i += 1
                peak_values[number], peak_slices[number], bar = peak, here + i, max(bar, peak)
        if not outside:
            sure[part] |= at_first
            continue
        _turn(part, size, turning, code, doubt)
        start = np.uint64(part * _PART)
        for mark in range(first_mark, last_mark):
            low_bound, high_bound, flag = lows[mark], highs[mark], flags[mark]
            close = 0
            for i in range(np.uint64(size)):
                held = above[i] > high_bound * below[i]
                close += 1 if (above[i] > low_bound * below[i]) != held else 0
                code[start + i] |= flag if held else nothing
            if close:
                for i in range(np.uint64(size)):
                    if above[i] > low_bound * below[i] and not above[i] > high_bound * below[i]:
                        doubt[start + i] |= flag


@_compiled
def _bound(  # type: ignore[no-untyped-def]
    sums, total, seen, begins, total_begins, seen_begins, greatest, least, how, first, parts, bounds
):
    """Bound a ratio in some parts: the most bad units, the fewest valid ones, and the fewest bad, the most valid ones.

    Returns:
        Whether there is any bad unit.
    """
    lead, origin, _, _, full, top_pinned, back, bottom_pinned, beneath, seen_pinned, elapsed, gappy, _, _, _, _ = how
    most, few, fewest, many = bounds[0, :parts], bounds[1, :parts], bounds[2, :parts], bounds[3, :parts]
    starts, ends = _ends(begins, first, parts)
    if top_pinned < 0:
        highest, lowest = _begins(begins, first, parts, back)
        if ends[parts - 1] == highest[0]:
            return False
        for i in range(parts):
            most[i] = ends[i] - highest[i]
            fewest[i] = starts[i] - lowest[i]
        behind = (back + _PART - 2) // _PART
        if behind <= _SHORT and first >= behind:
            highest = _extreme(greatest, first, parts, behind, True)
            for i in range(parts):
                most[i] = min(most[i], float(highest[i]) * back)
    else:
        if ends[parts - 1] == sums[top_pinned]:
            return False
        for i in range(parts):
            most[i] = ends[i] - sums[top_pinned]
            fewest[i] = starts[i] - sums[top_pinned]
    starts, ends = _ends(total_begins, first, parts)
    if bottom_pinned < 0:
        highest, lowest = _begins(total_begins, first, parts, beneath)
        for i in range(parts):
            few[i] = max(0.0, starts[i] - lowest[i])
            many[i] = ends[i] - highest[i]
        behind = (beneath + _PART - 2) // _PART
        if behind <= _SHORT and first >= behind:
            lowest = _extreme(least, first, parts, behind, False)
            for i in range(parts):
                few[i] = max(few[i], float(lowest[i]) * beneath)
    else:
        for i in range(parts):
            few[i] = max(0.0, starts[i] - total[bottom_pinned])
            many[i] = ends[i] - total[bottom_pinned]
    if gappy:
        starts, ends = _ends(seen_begins, first, parts)
        if seen_pinned < 0:
            highest, lowest = _begins(seen_begins, first, parts, full)
            for i in range(parts):
                most[i] *= float(ends[i] - highest[i]) / full
                fewest[i] = max(0.0, fewest[i]) * max(0.0, float(starts[i] - lowest[i]) / full)
        else:
            for i in range(parts):
                most[i] *= float(ends[i] - seen[seen_pinned]) / full
                fewest[i] = max(0.0, fewest[i]) * max(0.0, float(starts[i] - seen[seen_pinned]) / full)
    elif elapsed >= 0:
        shift = elapsed + first * _PART - lead - origin
        for i in range(parts):
            most[i] *= float(shift + (i + 1) * _PART - 1) / full
            fewest[i] *= max(0.0, float(shift + i * _PART) / full)
    for i in range(parts):  # without valid units nothing holds
        fewest[i] = fewest[i] if few[i] > 0 else 0.0
    return True


@_compiled
def _extreme(values, first, parts, behind, greatest):  # type: ignore[no-untyped-def]
    """For some parts, the most or the least of a value of the part and of so many before it."""
    found = values[first : first + parts].copy()
    for j in range(1, behind + 1):
        others = values[first - j : first - j + parts]
        if greatest:
            for i in range(parts):
                found[i] = max(found[i], others[i])
        else:
            for i in range(parts):
                found[i] = min(found[i], others[i])
    return found


@_compiled
def _ends(begins, first, parts):  # type: ignore[no-untyped-def]
    """What may be the least and the most of the running sums at the ends of some parts' slices."""
    low = first + _PAD
    return begins[low : low + parts], begins[low + 1 : low + 1 + parts]


@_compiled
def _begins(begins, first, parts, back):  # type: ignore[no-untyped-def]
    """What may be the least and the most of the running sums so many slices before the ends of some parts' slices."""
    low, high = first + _PAD - (back + _PART - 2) // _PART, first + _PAD + 1 - back // _PART
    return begins[low : low + parts], begins[high : high + parts]


@_compiled
def _settle_parts(bounds, parts, first_mark, last_mark, lows, highs, flags, bar, sure, opened):  # type: ignore[no-untyped-def]
    """Note the marks that surely hold throughout a part, and which parts leave a mark or the peak open.

    Returns:
        How many parts are open; of these nothing is noted.
    """
    most, few, fewest, many = bounds[0, :parts], bounds[1, :parts], bounds[2, :parts], bounds[3, :parts]
    one, nothing = np.uint64(1), np.uint64(0)
    for i in range(parts):
        opened[i] = one if (most[i] > 0) & (most[i] * (1 + 1e-12) >= bar * few[i]) else nothing
    for mark in range(first_mark, last_mark):
        low, high = lows[mark], highs[mark]
        for i in range(parts):
            opened[i] |= one if (most[i] > low * few[i]) & (fewest[i] <= high * many[i]) else nothing
    count = nothing
    for i in range(parts):
        count += opened[i]
    for mark in range(first_mark, last_mark):
        high, flag = highs[mark], flags[mark]
        for i in range(parts):
            sure[i] |= flag if (opened[i] == nothing) & (fewest[i] > high * many[i]) else nothing
    return count


@_compiled
def _count(counted, lead, at, stop, pinned, back, enough, flag, sure, turning, code, doubt):  # type: ignore[no-untyped-def]
    """Read one count on a block: where there are enough units over its lookback."""
    nothing = np.uint64(0)
    move = 1 if pinned < 0 else 0
    here, part, size = at, 0, stop - at
    while here < stop:
        high = lead + here + 1
        low = high - back if pinned < 0 else pinned
        if counted[high + size - 1] - counted[low] < enough:
            pass
        elif counted[high] - counted[low + (size - 1) * move] >= enough:
            for i in range(part, part + (lead + here + size - 1) // _PART + 1 - (lead + here) // _PART):
                sure[i] |= flag
        elif (lead + here + size - 1) // _PART > (lead + here) // _PART:
            size = (lead + here) // _PART * _PART + _PART - lead - here
            continue
        else:
            _turn(part, size, turning, code, doubt)
            start = part * _PART
            for i in range(size):
                code[start + i] |= flag if counted[high + i] - counted[low + i * move] >= enough else nothing
        here += size
        part += 1
        size = min(_PART, stop - here)


@_compiled
def _turn(part, size, turning, code, doubt):  # type: ignore[no-untyped-def]
    """From here on, the slices of a part are told one by one."""
    if not turning[part]:
        turning[part] = True
        start = np.uint64(part * _PART)
        for i in range(np.uint64(size)):
            code[start + i] = 0
            doubt[start + i] = 0


@_unordered
def _highest(above, below, size, ratios):  # type: ignore[no-untyped-def]
    """All ratios, and the highest of them; where there are valid units at all, there is at least 1."""
    highest = 0.0
    for i in range(size):
        ratios[i] = above[i] / max(below[i], 1.0)
        highest = max(highest, ratios[i])
    return highest


@_compiled
def _differences(sums, high, low, slides, size, into):  # type: ignore[no-untyped-def]
    ends, starts = np.uint64(high), np.uint64(low)
    if slides:
        for i in range(np.uint64(size)):
            into[i] = sums[ends + i] - sums[starts + i]
    else:
        for i in range(np.uint64(size)):
            into[i] = sums[ends + i] - sums[starts]


@_compiled
def _stays(sums, total, high, low, size, above, below):  # type: ignore[no-untyped-def]
    """Whether a ratio of two differences stays above one bound, unless that is negative, and does not pass another."""
    ends, starts = np.uint64(high), np.uint64(low)
    outside = 0
    if above >= 0:
        for i in range(np.uint64(size)):
            bad, valid = float(sums[ends + i] - sums[starts + i]), float(total[ends + i] - total[starts + i])
            outside += 1 if (bad <= above * valid) | (bad > below * valid) else 0
    else:
        for i in range(np.uint64(size)):
            bad, valid = float(sums[ends + i] - sums[starts + i]), float(total[ends + i] - total[starts + i])
            outside += 1 if bad > below * valid else 0
    return outside == 0
