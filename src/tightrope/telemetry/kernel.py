"""The compiled counting: samples of the usual kind are added to the sums of their slices in two passes over them.

Of the usual kind is a whole counter that goes on from its last value. At the first sample that is not, or that
something stands in the way of, a pass ends; what follows goes the way of all samples, which has the same outcome. This
module needs numba (the extra ``fast``) and is imported only where it was chosen; once compiled, it is kept on disk.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

from tightrope.sli.slices import Counts, Mask
from tightrope.telemetry.samples import Values

_compiled: Callable[[Callable[..., Any]], Callable[..., Any]] = njit(cache=True, error_model="numpy")

_NEVER = 2**63 - 1


@_compiled
def pick(
    numbers: Counts,
    times: Counts,
    values: Values,
    of_book: Counts,
    newest: Counts,
    last: Values,
    known: Mask,
    ended: Mask,
    earliest: int,
    latest: int,
    series: Counts,
    when: Counts,
    now: Values,
    before: Values,
) -> tuple[int, int]:
    """Pick the samples that go on from the last of their series, and remember them as the last.

    Args:
        numbers, times, values: Samples.
        of_book: The series by the number of its labels; below 0: nobody wants it, or it is not known yet (-2).
        newest, last, known, ended: The newest sample of each series.
        earliest, latest: Which times are believed.
        series, when, now, before: Become what was picked, with the value before each.

    Returns:
        How many samples were looked at before one of another kind, and how many of them were picked.
    """
    count = 0
    for at in range(len(numbers)):
        one = of_book[numbers[at]]
        if one == -1:
            continue
        if one < 0:
            return at, count
        time, value = times[at], values[at]
        if time < earliest or time > latest or time <= newest[one]:
            return at, count
        if not known[one] or not (value >= last[one] and value < np.inf):
            return at, count
        series[count], when[count], now[count], before[count] = one, time, value, last[one]
        newest[one], last[one], ended[one] = time, value, False
        count += 1
    return len(numbers), count


@_compiled
def add(
    series: Counts,
    times: Counts,
    values: Values,
    before: Values,
    link_from: Counts,
    link_count: Counts,
    linked: Counts,
    begun: Counts,
    slots: Counts,
    amounts: Counts,
    points: Counts,
    spoilt: Mask,
    dirty: Mask,
    touched: Mask,
    unstored: Mask,
    meters: int,
    step_ms: int,
    scale: int,
    most: float,
) -> int:
    """Add increases of counters to the sums of their meters; tells before which one it stopped.

    Args:
        series, times, values, before: What `pick` picked.
        link_from, link_count, linked: The meters of each series.
        begun, slots, amounts, points, spoilt, dirty, touched, unstored: Of the board.
        meters, step_ms, scale: How many meters it has, the length of its slices, and its units.
        most: The largest value that can be counted.
    """
    depth = len(touched)
    time, slot, row = np.int64(-1), np.int64(0), np.int64(0)
    for at in range(len(series)):
        first = link_from[series[at]]
        end = first + link_count[series[at]]
        if first == end:
            continue
        value, previous = values[at], before[at]
        if value > most or value != np.floor(value) or previous != np.floor(previous):
            return at
        if times[at] != time:
            time = times[at]
            slot = (time - 1) // step_ms
            row = slot % depth
        for place in range(first, end):
            cell = row * meters + linked[place]
            if begun[linked[place]] == 0 or slot < slots[cell] or (slot > slots[cell] and dirty[cell]):
                return at
        amount = (np.int64(value) - np.int64(previous)) * scale
        for place in range(first, end):
            cell = row * meters + linked[place]
            if slot > slots[cell]:
                slots[cell], amounts[cell], points[cell], spoilt[cell] = slot, 0, 0, False
            amounts[cell] += amount
            points[cell] += 1
            dirty[cell] = True
        touched[row] = unstored[row] = True
    return len(series)


@_compiled
def hand_out(
    row: int,
    slots: Counts,
    amounts: Counts,
    points: Counts,
    spoilt: Mask,
    dirty: Mask,
    users: Counts,
    users_from: Counts,
    base: Counts,
    part: Counts,
    is_bad: Mask,
    used: Mask,
    tracks: Counts,
    bad: Counts,
    total: Counts,
    covered: Mask,
) -> tuple[int, int]:
    """Put together the slices of one row of the ring of which a part changed.

    Args:
        row: Which one.
        slots, amounts, points, spoilt, dirty: Of the board.
        users, users_from: The objectives that are put together from each meter.
        base, part, is_bad: The meters of each objective; whether its part counts the bad ones.
        used: All False, by objective.
        tracks, bad, total, covered: Become the slices, by objective, ascending.

    Returns:
        Their slot, and how many they are; -1: something is dirty of several slots, and nothing was done.
    """
    meters = len(users_from) - 1
    first = row * meters
    slot = -1
    for meter in range(meters):
        if dirty[first + meter]:
            if slot >= 0 and slots[first + meter] != slot:
                return slot, -1
            slot = slots[first + meter]
    for meter in range(meters):
        if dirty[first + meter]:
            dirty[first + meter] = False
            for place in range(users_from[meter], users_from[meter + 1]):
                used[users[place]] = True
    count = 0
    for one in range(len(base)):
        if not used[one]:
            continue
        used[one] = False
        of_all, of_part = first + base[one], first + part[one]
        measured, amount, whole = False, np.int64(0), True
        if slots[of_all] == slot:
            measured, amount, whole = points[of_all] > 0, amounts[of_all], not spoilt[of_all]
        if not measured and whole:
            continue
        some = np.int64(0)
        fine = measured and whole
        if slots[of_part] == slot:
            some = min(amounts[of_part], amount)  # counters that are read at different moments
            fine = fine and not spoilt[of_part]
        tracks[count], covered[count] = one, fine
        total[count] = amount if fine else 0
        bad[count] = (some if is_bad[one] else amount - some) if fine else 0
        count += 1
    return slot, count


@_compiled
def heard(
    meters: Counts,
    series: Counts,
    times: Counts,
    ended: Mask,
    base: Counts,
    part: Counts,
    size: int,
    quiet_ms: int,
    step_s: int,
    until: Counts,
) -> None:
    """Tell until when all series of each objective were heard, UTC epoch seconds; -1: none was.

    Args:
        meters, series: Which series feed which meters, link by link.
        times, ended: The newest sample of each series.
        base, part: The meters of each objective, -1: it has none.
        size: How many meters there are.
        quiet_ms: A series that lags by more is not waited for.
        step_s: The length of a slice.
        until: Becomes the answer.
    """
    newest, latest = np.zeros(size, np.int64), np.zeros(size, np.int64)
    for link in range(len(meters)):
        newest[meters[link]] = max(newest[meters[link]], times[series[link]])
    for one in range(len(base)):
        found = newest[base[one]]
        if part[one] >= 0:
            found = max(found, newest[part[one]])
            latest[part[one]] = max(latest[part[one]], found)
        latest[base[one]] = max(latest[base[one]], found)
        until[one] = found
    lowest = np.zeros(size, np.int64)
    for meter in range(size):
        if newest[meter] > 0:
            lowest[meter] = _NEVER
    for link in range(len(meters)):
        meter, time = meters[link], times[series[link]]
        if not ended[series[link]] and time > latest[meter] - quiet_ms:
            lowest[meter] = min(lowest[meter], time)
    for one in range(len(base)):
        if newest[base[one]] <= 0:
            until[one] = -1
            continue
        low = lowest[base[one]]
        if part[one] >= 0 and lowest[part[one]] > 0:
            low = min(low, lowest[part[one]])
        until[one] = min(low, until[one]) // (step_s * 1000) * step_s
