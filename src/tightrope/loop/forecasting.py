"""Forecasting: carry one objective's checks and policy through assumed futures, to tell what comes and when."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache, reduce

import numpy as np

from tightrope.base.units import DAY_S, HOUR_S
from tightrope.budget.forecast import RECENT_S, Futures, Outlook, Past, drawn, expected, outlook, past_of
from tightrope.budget.windows import period
from tightrope.engine.plan import (
    WINDOW,
    Asked,
    Check,
    Every,
    Firing,
    Floor,
    Never,
    Open,
    Plan,
    Significance,
    Some,
    Test,
    parts_of,
)
from tightrope.loop.assess import Assessment
from tightrope.policy.decision import Forecast
from tightrope.policy.states import Holding, PolicyMemory, unfold
from tightrope.sli.coverage import forgive
from tightrope.sli.slices import Counts, Mask
from tightrope.specs.model import Basis, Comparison, RollingWindow

REMEMBERED = 1024
"""Assessments whose forecast is remembered: a forecast is about the assessment's instant, and stays as it is."""

_COMPARE: dict[Comparison, Callable[..., Mask]] = {
    Comparison.LT: np.less,
    Comparison.LTE: np.less_equal,
    Comparison.GT: np.greater,
    Comparison.GTE: np.greater_equal,
}


@lru_cache(maxsize=REMEMBERED)
def forecast_of(assessment: Assessment) -> Forecast | None:
    """Tell when the budget will be spent, if it burns; else when the policy comes down from a strict state.

    Both are about what counts for the policy: on its basis, by the objective's weight, without causes out of scope. A
    running calendar period is forecast up to its end for a burn, and into the next one for the way back. Traffic is
    assumed as in the last week. For a burn (the last 6 h above 1) the bad ratio stays as it is; for the way back it
    becomes that of a quiet day, the median of the last 14. The 80 % interval draws each day's ratio from those days.

    Returns:
        ``exhausted`` or ``recovered``, with an instant within one hour (one slice, where slices are longer) of what the
        engine finds in that future; None where nothing is known, or nothing burns and nothing holds back.
    """
    if assessment.budget.remaining_ratio is None:
        return None
    plan, memory = assessment.plan, assessment.history.memory
    if not memory.policy.state and not _may_burn(assessment):
        return None
    past = _past(assessment)
    if past.recent > plan.share and assessment.budget.remaining_ratio > 0:
        assumption = f"the burn of the last {max(RECENT_S, plan.step_s) / HOUR_S:g} h goes on"
        spent = _exhausted(past, plan)
        if _earning(memory.policy):  # a way out that is being earned may be reached in spite of the burn
            back = _recovered(past, plan, memory.policy, past.recent, burning=True)
            if back.at is not None and (spent.at is None or back.at < spent.at):
                return _told("recovered", back, assumption)
        return _told("exhausted", spent, assumption)
    if not memory.policy.state or plan.exit[memory.policy.state] is None:
        return None
    back = _recovered(past, plan, memory.policy, past.quiet, burning=False)
    assumption = f"a quiet day's {past.quiet:.2%} bad units"
    return _told("recovered", back, assumption + _unforeseen(assessment))


def _may_burn(assessment: Assessment) -> bool:
    """Whether the last 6 h may have burned above 1, by the statement: known without reading the record."""
    rate = next((burn.rate for burn in assessment.statement.burns if burn.lookback_s == RECENT_S), None)
    return rate is None or rate > 1 or assessment.plan.step_s > RECENT_S


def _past(assessment: Assessment) -> Past:
    plan, units, at = assessment.plan, assessment.units, assessment.statement.at
    began = assessment.history.memory.history_start
    scope = [(one.start, one.end) for one in assessment.incidents if one.cause in assessment.policy.out_of_scope]
    seen = units.between(at - max(plan.longest_s, 15 * DAY_S), at)
    return past_of(
        seen,
        forgive(seen, scope),
        plan.window,
        at,
        began=seen.start if began is None else began,
        longest_s=plan.longest_s,
    )


def _earning(memory: PolicyMemory) -> bool:
    """Whether the way out of a strict state holds already, and only has to go on."""
    return memory.state > 0 and bool(memory.exit_since) and memory.exit_since[memory.state] is not None


def _told(what: str, out: Outlook, assumption: str) -> Forecast:
    return Forecast(what, out.at, out.earliest, out.latest, f"{assumption}, traffic as last week")


def _unforeseen(assessment: Assessment) -> str:
    """What the way out asks for that no past tells of, if it stands in the way now."""
    asked = assessment.plan.exit[assessment.history.memory.policy.state]
    check = assessment.plan.columns[asked] if isinstance(asked, int) else asked
    at = assessment.statement.at
    found = ""
    if _contains(check, Open) and any(one.start <= at < one.end for one in assessment.incidents):
        found += ", no incident open"
    return found + (", the policy's expressions agreeing" if _contains(check, Asked) else "")


def _contains(check: Check | None, kind: type[Open | Asked]) -> bool:
    return check is not None and (isinstance(check, kind) or any(_contains(part, kind) for part in parts_of(check)))


# --- what comes ----------------------------------------------------------------------------------------------------


def _exhausted(past: Past, plan: Plan) -> Outlook:
    """When bad units reach all that is allowed: within one window, or before a calendar period ends."""
    window = plan.window
    if isinstance(window, RollingWindow):
        horizon_s = max(DAY_S, window.duration.seconds)
    else:
        horizon_s = period(window, past.at)[1] - past.at
    whole = Test(
        WINDOW, WINDOW, plan.share, Comparison.GTE, False, scoped=True, projected=plan.basis is Basis.PROJECTED
    )

    def first(futures: Futures) -> list[int | None]:
        spent = _Signs(plan, futures).test(whole)[:, 1:]
        return [int(futures.times[1 + row.argmax()]) if row.any() else None for row in spent]

    return outlook(first(expected(past, past.recent, horizon_s))[0], first(drawn(past, True, horizon_s)))


def _recovered(past: Past, plan: Plan, memory: PolicyMemory, ratio: float, *, burning: bool) -> Outlook:
    """When the policy first comes down from the state it is in, within one window and the time it has to hold."""
    window, state = plan.window, plan.policy.states[memory.state]
    if isinstance(window, RollingWindow):
        horizon_s = max(DAY_S, window.duration.seconds)
    else:
        horizon_s = period(window, period(window, past.at)[1])[1] - past.at
    horizon_s += state.exit_for_s + state.minimum_stay_s
    centre = _ways_down(plan, memory, expected(past, ratio, horizon_s))[0]
    return outlook(centre, _ways_down(plan, memory, drawn(past, burning, horizon_s)))


def _ways_down(plan: Plan, memory: PolicyMemory, futures: Futures) -> list[int | None]:
    """For each future, the first move to a state freer than that of now."""
    signs = _Signs(plan, futures)
    codes = np.zeros((len(futures.ratios), len(futures.columns)), np.int64)
    # what nobody can foresee does not stand in the way: no stricter state is entered by it, and none held
    asked = [(one, False) for one in plan.enter] + [(one, True) for one in plan.exit]
    for bit, (one, favour) in enumerate(asked):
        if one is not None:
            codes |= signs.holds(plan.columns[one] if isinstance(one, int) else one, favour).astype(np.int64) << bit
    times, turns = futures.times, codes[:, 1:] != codes[:, :-1]
    return [
        _way_down(plan, memory, times, row, np.flatnonzero(turning) + 1)
        for row, turning in zip(codes, turns, strict=True)
    ]


def _way_down(plan: Plan, memory: PolicyMemory, times: Counts, codes: Counts, turns: Counts) -> int | None:
    """Carry the policy machine over one future, from turn to turn of its conditions."""
    step, count, state = plan.step_s, len(plan.enter), memory.state
    # between two looks that differ, only what holds at both is taken to hold: nothing is said to have held for too long
    runs = [(int(times[0]) + step, int(codes[0]))]
    for turn in turns.tolist():
        before, after = int(codes[turn - 1]), int(codes[turn])
        runs += [(int(times[turn - 1]) + step, before & after), (int(times[turn]), after)]
    ends = [*(begin - step for begin, _ in runs[1:]), int(times[-1])]
    for (begin, code), end in zip(runs, ends, strict=True):
        if begin > end:
            continue
        flags = [code >> bit & 1 == 1 for bit in range(2 * count)]
        holding = Holding(tuple(flags[:count]), tuple(flags[count:]))
        memory, moves = unfold(memory, plan.policy.states, holding, begin, end, step)
        for move in moves:
            if move.after < state:
                return move.at
    return None


@dataclass(slots=True, eq=False)
class _Signs:
    """A plan's checks in each of some futures; masks of shape ``(futures, columns)``."""

    plan: Plan
    futures: Futures
    known: dict[Test, Mask] = field(default_factory=dict)

    def holds(self, check: Check, favour: bool) -> Mask:
        """Where a check holds; *favour* is the answer for parts that cannot be foreseen."""
        match check:
            case Test():
                return self.test(check)
            case Floor():
                least = check.at_least * self.plan.scale
                if check.bad:
                    return self.futures.bad(check.lookback_s or None, scoped=False) >= least
                return self._all(self.futures.valid(check.lookback_s or None, projected=False) >= least)
            case Open() | Asked() | Significance():
                return self._all(np.full(len(self.futures.columns), favour))
            case Firing():
                return self._firing(check, favour)
            case Every():
                return reduce(np.logical_and, [self.holds(part, favour) for part in check.parts])
            case Some():
                return reduce(np.logical_or, [self.holds(part, favour) for part in check.parts])
            case Never():
                return ~self.holds(check.part, not favour)

    def test(self, test: Test) -> Mask:
        """Where an exact comparison holds, as far as floats tell."""
        known = self.known.get(test)
        if known is None:
            bad = self.futures.bad(test.top or None, scoped=test.scoped)
            valid = self.futures.valid(test.bottom or None, projected=test.projected)
            known = _COMPARE[test.op](bad, float(test.threshold) * valid)
            known = self.known[test] = np.where(valid > 0, known, test.when_empty)
        return known

    def _firing(self, check: Firing, favour: bool) -> Mask:
        """Where a condition holds whose alert is meant; what is out resolves at once, so no waiting is looked at."""
        meant = [
            self.holds(self.plan.columns[column], favour)
            for condition, column in zip(self.plan.conditions, self.plan.condition_columns, strict=True)
            if not check.severities or condition.severity in check.severities
        ]
        return reduce(np.logical_or, meant) if meant else self._all(np.zeros(len(self.futures.columns), np.bool_))

    def _all(self, row: Mask) -> Mask:
        """The same answer in all futures."""
        return np.broadcast_to(row, (len(self.futures.ratios), len(row)))
