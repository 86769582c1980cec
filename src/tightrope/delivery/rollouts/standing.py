"""Where a service stands when it is released: what may be spent, how it runs now, and who pages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Protocol

from tightrope.base.errors import NotFoundError, UsageError
from tightrope.base.values import dataclass
from tightrope.delivery import planner
from tightrope.delivery.canary import Analysis, Counts, ErrorTest, LatencyTest
from tightrope.delivery.planner import Plan, Promise, Reaction, Terms
from tightrope.delivery.rollout import Conduct
from tightrope.sli.slices import Slices
from tightrope.specs.model import (
    ArmsFrom,
    ChangeKind,
    Objective,
    RatioMetric,
    RolloutHow,
    RolloutStrategy,
    Slo,
    Specs,
)

_LOG_S, _SENT_S = 10, 60
_UNSPENT = frozenset({ChangeKind.RELIABILITY, ChangeKind.SECURITY, ChangeKind.EMERGENCY, ChangeKind.ROLLBACK})
_BAKE_S = 600


@dataclass(frozen=True, slots=True)
class Standing:
    """Where the objectives of a service stand.

    Attributes:
        promises: What a plan needs to know, one for each objective.
        objectives: The SLO and objective of each promise, in the same order.
        history: What each served in the last hour.
        guarded: The policy's state asks for care.
        slice_s: The longest slice: nothing is measured sooner.
        pages: Alerts that page and are out.
    """

    promises: tuple[Promise, ...]
    objectives: tuple[tuple[Slo, Objective], ...]
    history: tuple[Counts, ...]
    guarded: bool
    slice_s: int
    pages: tuple[str, ...] = ()


class Stands(Protocol):
    """Tells where a service stands; raises `NotFoundError`, or `DataError` where its telemetry is too old."""

    def __call__(self, service: str, slos: tuple[str, ...]) -> Standing:
        """By the SLOs named; all of the service where none is."""
        ...


Pages = Callable[[str], tuple[tuple[str, ...], bool]]
"""Tells which alerts page for a service now, and whether its policy asks for care."""

SlicesOf = Callable[[str, int, int], Slices | None]
"""The unit slices of an SLO between two instants, as the server has them; None: it has none."""


def strategy_of(specs: Specs, service: str, environment: str, name: str = "") -> RolloutStrategy:
    """The strategy of a service in an environment, or the one of a *name*; raises `NotFoundError`."""
    for one in specs.rollouts:
        if name in {"", one.name} and (one.service, one.environment) == (service, environment):
            return one
    if name:
        raise NotFoundError(
            f"there is no RolloutStrategy {name} for {service} in {environment}",
            remedy="check the name, and the service and environment that it is for",
        )
    there = [one.environment for one in specs.rollouts if one.service == service]
    raise NotFoundError(
        f"{service} has no RolloutStrategy for {environment}",
        remedy=f"there is one for {', '.join(there)}" if there else "write one, see docs/rollouts.md",
    )


def reaction_of(strategy: RolloutStrategy, standing: Standing) -> Reaction:
    """How long a failure can go on; an access log is read to its end, rows and series are known slice by slice."""
    followed = strategy.arms.come_from is ArmsFrom.LOG and all(_is_log(slo) for slo, _ in standing.objectives)
    usual = _LOG_S if followed else _SENT_S if strategy.arms.come_from is ArmsFrom.PUSH else 2 * standing.slice_s
    return Reaction(strategy.measure_s or usual, strategy.evaluate_s, strategy.act_s)


def _is_log(slo: Slo) -> bool:
    metric = slo.indicator.metric if slo.indicator is not None else None
    return isinstance(metric, RatioMetric) and metric.total is not None and metric.total.source.type == "access-log"


def drawn_up(
    strategy: RolloutStrategy, standing: Standing, kind: ChangeKind, guard: Fraction, grain: Fraction
) -> tuple[Plan, Conduct]:
    """The plan of a release, and how it behaves besides.

    A change that helps may spend of the whole budget where nothing is left of it: else nothing could be mended.
    """
    promises = tuple(
        Promise(
            one.name,
            one.allowed,
            one.allowed if one.remaining <= 0 and kind in _UNSPENT else one.remaining,
            one.peak,
            one.usual,
            one.bad_ratio,
            one.allowed_ratio,
            one.tolerated,
            one.unit_s,
        )
        for one in standing.promises
    )
    terms = Terms(
        allowance=strategy.allowance,
        guarded=standing.guarded,
        reaction=reaction_of(strategy, standing),
        alpha=strategy.alpha,
        inflation=guard,
        longest_s=max(strategy.longest_bake_s, reaction_of(strategy, standing).total_s),
        least_requests=strategy.least_requests,
        grain=grain,
    )
    steps = strategy.steps
    if not steps and strategy.how is not RolloutHow.CANARY:
        steps = ((Fraction(1), _BAKE_S),)
    for weight, _ in steps:
        if (weight / grain).denominator != 1:
            raise UsageError(
                f"the target cannot give {float(weight * 100):.4g} % of the traffic",
                remedy=f"give multiples of {float(grain * 100):.4g} %",
            )
    drawn = planner.given(promises, terms, steps, beyond=strategy.beyond) if steps else planner.plan(promises, terms)
    return drawn, Conduct(
        planned=not steps,
        least_requests=strategy.least_requests,
        least_s=strategy.least_s,
        longest_s=strategy.longest_s,
        when_over=strategy.when_over,
        lost_after_s=strategy.lost_after_s,
        when_lost=strategy.when_lost,
    )


def analysis_of(strategy: RolloutStrategy, standing: Standing, guard: Fraction) -> Analysis | None:
    """The tests of a release; None where both versions never serve side by side, or cannot be told apart."""
    if strategy.how is not RolloutHow.CANARY or strategy.arms.come_from is ArmsFrom.SERVICE:
        return None
    tests = []
    for promise, (_, objective), history in zip(standing.promises, standing.objectives, standing.history, strict=True):
        share = promise.allowed_ratio
        if promise.unit_s and objective.time_slice_target is not None:
            share = 1 - objective.time_slice_target
        if 0 < share < 1:
            known = Counts(0, 0) if promise.unit_s else history
            tests.append(ErrorTest(promise.name, share, share, inflation=guard, history=known))
    timed = latency_of(strategy, standing.promises)
    slow = (LatencyTest(f"{timed} latency", inflation=guard),) if timed else ()
    return Analysis(tuple(tests), slow) if tests else None


def latency_of(strategy: RolloutStrategy, promises: Sequence[Promise]) -> str:
    """The promise whose requests the latencies are those of; empty where they are not compared."""
    if not strategy.latency_ms:
        return ""
    told = {one.slo for one in strategy.arms.queries if one.latency}
    found = [one.name for one in promises if not one.unit_s and (not told or one.name.partition("/")[0] in told)]
    return found[0] if found else ""
