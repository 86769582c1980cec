"""The statement of an error budget: the account of one objective at one instant, with its coverage."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from tightrope.base.values import dataclass
from tightrope.budget.burn import Burn, allowed_share, burn_rate, slices_in
from tightrope.budget.windows import span
from tightrope.sli.slices import Mask, Slices
from tightrope.specs.model import Basis, Gaps, RollingWindow, Window


@dataclass(frozen=True, slots=True)
class Budget:
    """Allowed, consumed and left, in units of the method (events or slices), exact.

    ``consumed`` is the bad units B. The ratios are None where nothing is known: no valid unit in the window.
    """

    basis: Basis
    allowed: Fraction
    consumed: Fraction

    @property
    def consumed_ratio(self) -> Fraction | None:
        """Share of the budget that is spent: C = B / A; above 1 when overspent."""
        return self.consumed / self.allowed if self.allowed else None

    @property
    def remaining_ratio(self) -> Fraction | None:
        """Share of the budget that is left: 1 − C; negative when overspent, never clamped."""
        ratio = self.consumed_ratio
        return None if ratio is None else 1 - ratio


@dataclass(frozen=True, slots=True)
class Statement:
    """What one objective's budget looks like at one instant (docs/maths.md).

    Attributes:
        at: The instant of the evaluation: the end of the last slice that is complete at the time asked for.
        window_start, window_end: The full window in UTC epoch seconds; a calendar period ends at or after *at*,
            unless its last slice reaches over its end.
        good, total: Units in the window, exact (fractions of a slice under RatioTimeslices).
        projected, observed: The budget on either basis.
        coverage: Share of the window's slices that were measured, ``[0, 1]``.
        interval: Consumed share had all gaps been good, and had they all been bad; None where gaps are filled or
            nothing is known.
        burns: Burn rates by lookback, in the order asked for.
        last_covered: End of the newest slice with data; None if there is none.
        last_known: End of the newest slice with data or excluded; None if there is none.
        stale: The newest slices were all gaps, as many as the SLO's staleAfter.
        unit_s: Seconds that one unit stands for under the time-based methods, 0 for events.
    """

    at: int
    window_start: int
    window_end: int
    good: Fraction
    total: Fraction
    projected: Budget
    observed: Budget
    coverage: Fraction
    interval: tuple[Fraction, Fraction] | None
    burns: tuple[Burn, ...]
    last_covered: int | None
    last_known: int | None
    stale: bool
    unit_s: int

    @property
    def sli(self) -> Fraction | None:
        """Good / total over the window; None without units."""
        return self.good / self.total if self.total else None

    def budget(self, basis: Basis) -> Budget:
        """The budget on one basis."""
        return self.projected if basis is Basis.PROJECTED else self.observed


def state_of(
    units: Slices,
    target: Fraction,
    window: Window,
    at: int,
    *,
    lookbacks_s: Sequence[int] = (),
    history_start: int | None = None,
    gaps: Gaps = Gaps.IGNORE,
    stale_after: int = 10,
    unit_s: int = 0,
    weight: Fraction = Fraction(1),
) -> Statement:
    """Draw up the statement of one objective as of *at*, seeing nothing later.

    Args:
        units: Unit slices of the method, gaps filled as *gaps* says.
        target: The objective, in ``[0, 1)``.
        at: UTC epoch seconds; the last slice that is complete by then counts.
        history_start: When measuring began; None takes the first covered slice of *units*.
        weight: What the objective weighs in a composite: it may spend 1 / weight of what it could alone, so its
            consumed share and its burn rates come out times the weight.

    Raises:
        UsageError: *target* is outside ``[0, 1)``.
    """
    step = units.step_s
    share = allowed_share(target, weight)
    at -= at % step
    visible = units.between(units.start, at)
    if history_start is None:
        history_start = units.start + int(np.argmax(units.covered)) * step if units.covered.any() else at
    begin, end = span(window, at, step)
    if isinstance(window, RollingWindow):
        full = slices_in(end - begin, step)
        first = at - full * step
    else:
        first = -(-begin // step) * step
        full = -(-end // step) - first // step
    elapsed = max(0, (at - max(first, history_start)) // step)
    part = visible.between(first, at)
    lived = visible.between(max(first, history_start), at)
    gaps_in = 0 if lived.covered.all() else int((_gaps(lived) & (lived.total == 0)).sum())
    known = visible.covered if visible.excluded is None else visible.covered | visible.excluded
    counted = Counted(
        at=at,
        window=(begin, end),
        slots=(at - first) // step,
        full=full,
        bad=int(part.bad.sum()),
        total=int(part.total.sum()),
        covered=int(part.covered.sum()),
        excluded=0 if lived.excluded is None else int(lived.excluded.sum()),
        elapsed=elapsed,
        seen=elapsed - gaps_in,
        burns=tuple(burn_rate(visible, target, at, lookback, weight=weight) for lookback in lookbacks_s),
        last_covered=last_end(visible, visible.covered),
        last_known=last_end(visible, known),
        stale=gaps is Gaps.IGNORE and is_stale(visible, stale_after),
    )
    return stated(counted, share, scale=units.scale, bounded=gaps is Gaps.IGNORE, unit_s=unit_s)


@dataclass(frozen=True, slots=True)
class Counted:
    """What a statement rests on, counted already.

    Attributes:
        at: The end of the last slice that counts.
        window: The full window, UTC epoch seconds.
        slots: Slices from the beginning of the window to *at*.
        full: Slices of the full window.
        bad, total: Counts in the window.
        covered: Slices of the window that were measured.
        excluded, elapsed, seen: Slices of the window since history began: taken out, all of them, and all but gaps
            without units.
        burns: Burn rates by lookback.
        last_covered, last_known: End of the newest slice with data, and of the newest that was measured or excluded;
            None if there is none.
        stale: The newest slices were all gaps.
    """

    at: int
    window: tuple[int, int]
    slots: int
    full: int
    bad: int
    total: int
    covered: int
    excluded: int
    elapsed: int
    seen: int
    burns: tuple[Burn, ...]
    last_covered: int | None
    last_known: int | None
    stale: bool


def stated(counted: Counted, share: Fraction, *, scale: int, bounded: bool, unit_s: int) -> Statement:
    """Draw up the statement of what was counted.

    Args:
        share: How much of the valid units may be bad.
        scale: What one count is a part of.
        bounded: Whether gaps leave an interval, rather than being filled.
        unit_s: Seconds that one unit stands for under the time-based methods, 0 for events.
    """
    bad, total = Fraction(counted.bad, scale), Fraction(counted.total, scale)
    slots, full, elapsed = counted.slots - counted.excluded, counted.full, counted.elapsed
    projected = total * full / counted.seen if counted.seen else Fraction(0)
    all_elapsed = total * full / elapsed if elapsed else Fraction(0)
    gaps = elapsed - counted.excluded - counted.covered
    return Statement(
        at=counted.at,
        window_start=counted.window[0],
        window_end=counted.window[1],
        good=total - bad,
        total=total,
        projected=Budget(Basis.PROJECTED, share * projected, bad),
        observed=Budget(Basis.OBSERVED, share * total, bad),
        coverage=Fraction(counted.covered, slots) if slots > 0 else Fraction(0),
        interval=_interval(bad, total, share * all_elapsed, counted.covered, gaps) if bounded else None,
        burns=counted.burns,
        last_covered=counted.last_covered,
        last_known=counted.last_known,
        stale=counted.stale,
        unit_s=unit_s,
    )


def is_stale(visible: Slices, stale_after: int) -> bool:
    """Tell whether the last *stale_after* slices were all gaps; excluded slices are not gaps."""
    tail = visible.covered[-stale_after:]
    if visible.excluded is not None:
        tail = tail | visible.excluded[-stale_after:]
    return not bool(tail.any())


def last_end(slices: Slices, marked: Mask) -> int | None:
    """The end of the newest marked slice; None where none is."""
    back = int(np.argmax(marked[::-1])) if len(marked) else 0
    return slices.end - back * slices.step_s if len(marked) and marked[len(marked) - 1 - back] else None


def _gaps(slices: Slices) -> Mask:
    """Which slices are gaps; excluded ones are none."""
    return ~slices.covered if slices.excluded is None else ~(slices.covered | slices.excluded)


def _interval(
    bad: Fraction, total: Fraction, allowed: Fraction, covered: int, gaps: int
) -> tuple[Fraction, Fraction] | None:
    if not allowed or not covered:
        return None
    whole = covered + max(0, gaps)
    low = bad * covered / (allowed * whole)
    return low, (bad * covered + total * max(0, gaps)) / (allowed * whole)
