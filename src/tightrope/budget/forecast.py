"""Forecast: when the budget will be spent, or when a bound will be met again, and under which assumption."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from tightrope.budget.windows import span
from tightrope.sli.slices import Slices
from tightrope.specs.model import RollingWindow, Window

_HOUR_S = 3600
_WEEK_S = 7 * 86400
_DRAWS = 200
_RECENT_DAYS = 14


@dataclass(frozen=True, slots=True)
class Outlook:
    """When something is expected, UTC epoch seconds; None: not within the horizon of one window.

    ``earliest`` and ``latest`` hold the middle 80 % of futures drawn from recent days; None on either side: beyond
    the horizon.
    """

    at: int | None
    earliest: int | None
    latest: int | None
    assumption: str


def outlook(
    units: Slices,
    target: Fraction,
    window: Window,
    at: int,
    reached: Callable[[npt.NDArray[np.float64]], npt.NDArray[np.bool_]],
    *,
    burning: bool,
    hold_s: int = 0,
) -> Outlook:
    """Tell when the consumed share of the budget will have *reached* a bound.

    The future is made hour by hour: valid units as in the same hour of last week (or the mean of the window where there
    was none), bad units at a baseline ratio. While *burning* the baseline is the ratio of the last 6 hours; else the
    median daily ratio of the last 14 days, a quiet day. What leaves a rolling window is known exactly. The interval
    draws the ratio of each coming day from those recent days.

    Args:
        units: Unit slices, gaps filled.
        target: The objective.
        at: Now: the end of the last slice that counts.
        reached: Tells for consumed shares whether the bound is met; elementwise.
        burning: Whether the present burn goes on, or a quiet baseline follows.
        hold_s: How long the bound must be met without a break.
    """
    seen = units.between(units.start, at)
    hours = _hourly(seen)
    if not len(hours[1]) or not hours[1].any():
        return Outlook(None, None, None, "nothing was measured")
    bad, total = hours
    horizon = max(24, min(_window_hours(window, at), 24 * 92))
    traffic = _traffic_ahead(total, horizon)
    daily = _daily_ratios(bad, total)
    recent = seen.between(at - 6 * _HOUR_S, at)
    recent_total = int(recent.total.sum())
    now_ratio = int(recent.bad.sum()) / recent_total if recent_total else 0.0
    base = now_ratio if burning else float(np.median(daily))
    what = "the burn of the last 6 h goes on" if burning else f"a quiet day's {base:.2%} bad units"
    assumption = f"{what}, traffic as last week"
    future = np.full((1, horizon), base)
    centre = _first(future, bad, total, traffic, target, window, at, reached, hold_s)[0]
    generator = np.random.default_rng(at)
    days = -(-horizon // 24)
    draws = np.repeat(generator.choice(daily, size=(_DRAWS, days)), 24, axis=1)[:, :horizon]
    if burning:
        draws[:, :6] = now_ratio
    found = _first(draws, bad, total, traffic, target, window, at, reached, hold_s)
    order = sorted(horizon + 1 if one is None else one for one in found)
    low, high = order[_DRAWS // 10], order[-_DRAWS // 10 - 1]
    return Outlook(
        None if centre is None else at + centre * _HOUR_S,
        None if low > horizon else at + low * _HOUR_S,
        None if high > horizon else at + high * _HOUR_S,
        assumption,
    )


def _hourly(seen: Slices) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Bad and total by hour, the last hour ending at the end of the record."""
    per = max(1, _HOUR_S // seen.step_s)
    count = len(seen) // per
    cut = len(seen) - count * per
    bad = seen.bad[cut:].reshape(count, per).sum(axis=1) / seen.scale
    total = seen.total[cut:].reshape(count, per).sum(axis=1) / seen.scale
    if seen.step_s > _HOUR_S:
        times = seen.step_s // _HOUR_S
        bad, total = np.repeat(bad / times, times), np.repeat(total / times, times)
    return bad, total


def _window_hours(window: Window, at: int) -> int:
    start, end = span(window, at)
    return (end - start) // _HOUR_S if isinstance(window, RollingWindow) else max(1, (end - at) // _HOUR_S)


def _traffic_ahead(total: npt.NDArray[np.float64], horizon: int) -> npt.NDArray[np.float64]:
    week = _WEEK_S // _HOUR_S
    if len(total) >= week:
        return np.resize(total[-week:], horizon)
    return np.full(horizon, total.mean())


def _daily_ratios(bad: npt.NDArray[np.float64], total: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    days = min(_RECENT_DAYS, len(total) // 24)
    if not days:
        return np.array([bad.sum() / total.sum()])
    by_day = total[-24 * days :].reshape(days, 24).sum(axis=1)
    spent = bad[-24 * days :].reshape(days, 24).sum(axis=1)
    if not by_day.any():
        return np.array([bad.sum() / total.sum()])
    return np.asarray(spent[by_day > 0] / by_day[by_day > 0])


def _first(
    ratios: npt.NDArray[np.float64],
    bad: npt.NDArray[np.float64],
    total: npt.NDArray[np.float64],
    traffic: npt.NDArray[np.float64],
    target: Fraction,
    window: Window,
    at: int,
    reached: Callable[[npt.NDArray[np.float64]], npt.NDArray[np.bool_]],
    hold_s: int,
) -> list[int | None]:
    """Hours until the bound is met, for each row of *ratios* (shape ``(draws, horizon)``)."""
    horizon = ratios.shape[1]
    start, end = span(window, at)
    inside = (at - start) // _HOUR_S
    past_bad, past_total = bad[-inside:] if inside else bad[:0], total[-inside:] if inside else total[:0]
    new_bad = np.cumsum(ratios * traffic, axis=1)
    new_total = np.cumsum(traffic)
    if isinstance(window, RollingWindow):
        short = max(0, inside - len(past_bad))
        leaving = np.arange(1, horizon + 1) - short
        gone_bad = np.concatenate(([0.0], np.cumsum(past_bad)))[np.clip(leaving, 0, len(past_bad))]
        gone_total = np.concatenate(([0.0], np.cumsum(past_total)))[np.clip(leaving, 0, len(past_total))]
        units = past_total.sum() + new_total - gone_total
        full = inside / np.minimum(inside, len(past_total) + np.arange(1, horizon + 1))
        consumed = (past_bad.sum() + new_bad - gone_bad) / np.maximum(units * full * float(1 - target), 1e-300)
    else:
        hours = (end - start) / _HOUR_S
        elapsed = np.maximum(inside + np.arange(1, horizon + 1), 1)
        units = (past_total.sum() + new_total) * hours / elapsed
        consumed = (past_bad.sum() + new_bad) / np.maximum(units * float(1 - target), 1e-300)
    held = reached(consumed)
    hold = -(-hold_s // _HOUR_S)
    answers: list[int | None] = []
    for row in held:
        if hold:
            sums = np.concatenate(([0], np.cumsum(row)))
            whole = np.zeros(horizon, np.bool_)
            whole[hold - 1 :] = (sums[hold:] - sums[:-hold]) == hold if horizon >= hold else False
            row = whole
        answers.append(int(row.argmax()) + 1 if row.any() else None)
    return answers
