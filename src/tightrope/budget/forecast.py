"""Forecast: the account of a budget carried into futures that are assumed, not known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tightrope.base.units import DAY_S, HOUR_S
from tightrope.base.values import dataclass
from tightrope.budget.burn import slices_in
from tightrope.budget.windows import periods
from tightrope.sli.slices import Counts, Slices
from tightrope.specs.model import RollingWindow, Window

Floats = npt.NDArray[np.float64]

RECENT_S = 6 * HOUR_S
"""The stretch whose bad ratio is the burn of now."""

_WEEK_S = 7 * DAY_S
_RECENT_DAYS = 14
_DRAWS = 200


@dataclass(frozen=True, slots=True)
class Outlook:
    """When something is expected, UTC epoch seconds; None: not within the horizon.

    ``earliest`` and ``latest`` hold the middle 80 % of futures drawn from recent days, and ``at``; None on either side:
    beyond the horizon.
    """

    at: int | None
    earliest: int | None
    latest: int | None


@dataclass(frozen=True, slots=True, eq=False)
class Past:
    """What is known of one objective at ``at``, as far as a forecast looks back.

    Attributes:
        at: The end of the last slice, UTC epoch seconds.
        step_s: Length of a slice, seconds.
        window: Of the objective.
        began: When history began, UTC epoch seconds.
        bad, scoped, total: Running sums of all bad units, of those that count for the policy, and of the valid ones,
            shape ``(n + 1,)``, the last one at ``at``.
        unseen: Running count of gaps without units since history began, as long.
        week: Running sums of a week's valid units as the coming weeks are assumed to have them.
        daily: Bad ratio of each recent day that had traffic.
        recent: Bad ratio of the last `RECENT_S`; 0 without traffic.
    """

    at: int
    step_s: int
    window: Window
    began: int
    bad: Floats
    scoped: Floats
    total: Floats
    unseen: Floats
    week: Floats
    daily: Floats
    recent: float

    @property
    def quiet(self) -> float:
        """The bad ratio of a quiet day: the median of the recent ones."""
        return float(np.median(self.daily)) if len(self.daily) else 0.0

    def traffic(self, slices: Counts) -> Floats:
        """Valid units to come up to so many slices ahead."""
        weeks, rest = np.divmod(slices, len(self.week) - 1)
        return np.asarray(weeks * self.week[-1] + self.week[rest])


@dataclass(frozen=True, slots=True, eq=False)
class Futures:
    """Futures of one objective, and the sums over any lookback in each; the same traffic comes in all of them.

    Attributes:
        past: What is known.
        columns: Slices after ``past.at`` at whose ends is looked, rising from 0, shape ``(m,)``.
        starts: Slices after ``past.at`` from which on each bad ratio holds, rising from 0, shape ``(k,)``.
        ratios: The bad ratios of each future, shape ``(futures, k)``.
        before: Bad units to come before each of *starts*, shape ``(futures, k)``.
        ahead: Bad units to come up to each column, shape ``(futures, m)``.
        first: First slice of the window at each column, counted from ``past.at``, shape ``(m,)``.
        scale_up: How many times more a full window holds than has elapsed of it at each column, shape ``(m,)``.
    """

    past: Past
    columns: Counts
    starts: Counts
    ratios: Floats
    before: Floats
    ahead: Floats
    first: Counts
    scale_up: Floats

    @classmethod
    def of(cls, past: Past, columns: Counts, starts: Counts, ratios: Floats) -> Futures:
        """Futures in which the bad ratios hold one after the other."""
        whole = np.cumsum(ratios[:, :-1] * np.diff(past.traffic(starts)), axis=1)
        before = np.concatenate((np.zeros((len(ratios), 1)), whole), axis=1)
        first, scale_up = _window(past, columns)
        ahead = _bad_ahead(past, starts, ratios, before, columns)
        return cls(past, columns, starts, ratios, before, ahead, first, scale_up)

    @property
    def times(self) -> Counts:
        """The instants at which is looked, UTC epoch seconds; the first is now."""
        return self.past.at + self.columns * self.past.step_s

    def bad(self, lookback_s: int | None, *, scoped: bool) -> Floats:
        """Bad units over a lookback, or over the window for None; shape ``(futures, m)``."""
        known = self.past.scoped if scoped else self.past.bad
        low = self._low(lookback_s)
        bad: Floats = self.ahead + (known[-1] - _known(known, low))
        if low[-1] > 0:
            bad -= _bad_ahead(self.past, self.starts, self.ratios, self.before, np.maximum(low, 0))
        return bad

    def valid(self, lookback_s: int | None, *, projected: bool) -> Floats:
        """Valid units over a lookback, or over the window for None, scaled up to the full one if asked; ``(m,)``."""
        known = self.past.total
        low = self._low(lookback_s)
        ahead = self.past.traffic(self.columns) - self.past.traffic(np.maximum(low, 0))
        units = ahead + (known[-1] - _known(known, low))
        return np.asarray(units * self.scale_up if projected else units)

    def _low(self, lookback_s: int | None) -> Counts:
        return self.first if lookback_s is None else self.columns - slices_in(lookback_s, self.past.step_s)


def past_of(units: Slices, forgiven: Slices, window: Window, at: int, *, began: int, longest_s: int) -> Past:
    """Gather what a forecast needs to know.

    Args:
        units: Unit slices, gaps filled, up to *at*.
        forgiven: The same without the bad units that do not count for the policy.
        window: The objective's.
        at: Now: the end of the last slice that counts.
        began: When history began, UTC epoch seconds.
        longest_s: How far back a check may look, seconds.
    """
    step = units.step_s
    since = at - max(longest_s, _RECENT_DAYS * DAY_S + step)
    seen, scoped = units.between(since, at), forgiven.between(since, at).bad
    day, recent = slices_in(DAY_S, step), slices_in(RECENT_S, step)
    days = min(_RECENT_DAYS, len(seen) // day) or 1
    by_day = _by(seen.total, day, days)
    lively = by_day > 0
    traffic = int(seen.total[-recent:].sum())
    return Past(
        at,
        step,
        window,
        began,
        _running(seen.bad),
        _running(scoped),
        _running(seen.total),
        _running(_unseen(seen, began)),
        _running(_week(seen)),
        _by(scoped, day, days)[lively] / by_day[lively],
        int(scoped[-recent:].sum()) / traffic if traffic else 0.0,
    )


def expected(past: Past, ratio: float, horizon_s: int) -> Futures:
    """The one future in which valid units come as last week, with an unchanging share of bad ones.

    It is looked at hour by hour, or slice by slice where slices are longer.
    """
    return Futures.of(past, _columns(past, horizon_s, HOUR_S), np.zeros(1, np.int64), np.array([[ratio]]))


def drawn(past: Past, burning: bool, horizon_s: int, blocks: int = 160) -> Futures:
    """Futures whose days have the bad ratio of a recent day each, drawn at random, the same ones for the same past.

    While *burning*, the next `RECENT_S` go on as the last did. They are looked at in about so many *blocks*.
    """
    columns = _columns(past, horizon_s, max(HOUR_S, horizon_s // blocks))
    day = slices_in(DAY_S, past.step_s)
    starts = np.arange(0, columns[-1] + 1, day)
    daily = past.daily if len(past.daily) else np.zeros(1)
    ratios = np.random.default_rng(past.at).choice(daily, size=(_DRAWS, len(starts)))
    if burning:
        starts = np.append(0, starts + slices_in(RECENT_S, past.step_s))
        ratios = np.concatenate((np.full((_DRAWS, 1), past.recent), ratios), axis=1)
    return Futures.of(past, columns, starts, ratios)


def outlook(centre: int | None, draws: Sequence[int | None]) -> Outlook:
    """Put together when something happens in the expected future, and in each of the drawn ones."""
    beyond = np.iinfo(np.int64).max
    order = sorted(beyond if one is None else one for one in draws)
    low, high = order[len(order) // 10], order[-(len(order) // 10) - 1]
    if centre is not None:
        low = min(low, centre)
    high = max(high, beyond if centre is None else centre)
    return Outlook(centre, None if low == beyond else low, None if high == beyond else high)


def _columns(past: Past, horizon_s: int, block_s: int) -> Counts:
    """Slices ahead, block by block, up to the slice that holds the horizon, and the first ones of calendar periods."""
    step = past.step_s
    last, block = max(1, -(-horizon_s // step)), slices_in(block_s, step)
    columns = np.append(np.arange(0, last, block), last)
    if isinstance(past.window, RollingWindow):
        return columns
    # a budget is at its fullest right after a reset, if only for a moment
    begun = np.array([begin for begin, _ in periods(past.window, past.at, past.at + (last - 1) * step)])
    first = -(-(begun - past.at) // step) + 1
    return np.union1d(columns, first[(first > 0) & (first < last)])


def _bad_ahead(past: Past, starts: Counts, ratios: Floats, before: Floats, slices: Counts) -> Floats:
    """Bad units to come up to so many slices ahead, for each future; shape ``(futures, len(slices))``."""
    part = np.searchsorted(starts, slices, side="right") - 1
    since = past.traffic(slices) - past.traffic(starts)[part]
    return np.asarray(before[:, part] + ratios[:, part] * since)


def _unseen(slices: Slices, began: int) -> Counts:
    """Which slices of history are gaps without units."""
    gaps = ~slices.covered if slices.excluded is None else ~(slices.covered | slices.excluded)
    starts = slices.start + np.arange(len(slices)) * slices.step_s
    unseen = gaps & (slices.total == 0) & (starts >= began)
    return np.asarray(unseen, np.int64)


def _window(past: Past, columns: Counts) -> tuple[Counts, Floats]:
    """The first slice of the window at each column, counted from now, and how much of it is still to come."""
    step, times = past.step_s, past.at + columns * past.step_s
    if isinstance(past.window, RollingWindow):
        full = np.full(len(columns), slices_in(past.window.duration.seconds, past.step_s))
        first = columns - full
    else:
        found = np.array(periods(past.window, int(times[0]) - step, int(times[-1]) - step))
        # a slice is of the period in which it starts, and so is the evaluation at its end
        begin, end = found[np.searchsorted(found[:, 0], times - step, side="right") - 1].T
        first = -(-(begin - past.at) // step)
        full = -(-(end - past.at) // step) - first
    elapsed = columns - np.maximum(first, -(-(past.began - past.at) // step))
    elapsed -= (past.unseen[-1] - _known(past.unseen, first)).astype(np.int64)
    return first, full / np.clip(elapsed, 1, full)


def _known(sums: Floats, low: Counts) -> Floats:
    """The running sum up to a slice counted from now; what lies before the record is 0, what lies ahead its end."""
    return np.asarray(sums[np.clip(low + len(sums) - 1, 0, len(sums) - 1)])


def _running(values: npt.NDArray[np.int64] | Floats) -> Floats:
    return np.concatenate((np.zeros(1), np.cumsum(values, dtype=np.float64)))


def _by(values: Counts, size: int, count: int) -> Floats:
    """Sums over the last *count* stretches of *size* slices; the whole where there is not even one."""
    tail = values[-size * count :]
    return np.asarray(tail.reshape(count, -1).sum(axis=1), dtype=np.float64)


def _week(seen: Slices) -> Floats:
    """Valid units of the last week, the mean of all where a slice was not measured."""
    length = slices_in(_WEEK_S, seen.step_s)
    mean = float(seen.total[seen.covered].mean()) if seen.covered.any() else float(seen.total.mean())
    if len(seen) < length:
        return np.full(length, mean)
    return np.where(seen.covered[-length:], seen.total[-length:], mean)
