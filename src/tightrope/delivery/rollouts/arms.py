"""The two versions of a service told apart: an SLO's own measure, for the requests of one version only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

from tightrope.base.errors import UsageError
from tightrope.base.values import dataclass
from tightrope.specs.model import Arms, ArmsFrom, DataSource, MetricSource, Objective, RatioMetric, Slo


@dataclass(frozen=True, slots=True)
class Versions:
    """What the telemetry calls the new and the old version."""

    canary: tuple[str, ...]
    baseline: tuple[str, ...]


def versions_of(arms: Arms, told: tuple[str, str], version: str, previous: str) -> Versions:
    """What to look for: as the strategy says, else as the target tells; raises `UsageError` where nothing does."""

    def filled(values: tuple[str, ...], otherwise: str) -> tuple[str, ...]:
        found = values or ((otherwise,) if otherwise else ())
        return tuple(one.replace("$version", version).replace("$previous", previous) for one in found)

    canary, baseline = filled(arms.canary, told[0]), filled(arms.baseline, told[1])
    if arms.come_from in {ArmsFrom.LOG, ArmsFrom.QUERIES} and not (
        all(canary) and all(baseline) and canary and baseline
    ):
        raise UsageError(
            "nothing tells which requests are those of the old version",
            remedy="say what runs now with --previous, or write analysis.arms.baseline",
        )
    both = sorted(set(canary) & set(baseline))
    if both:
        raise UsageError(
            f"the new and the old version are both called {both[0]}, so their requests cannot be told apart",
            remedy="check --version and --previous; without --previous, it is what was deployed last",
        )
    return Versions(canary, baseline)


def source_of(slo: Slo) -> DataSource:
    """The one source that an SLO is read from; raises `UsageError`."""
    return _ratio(slo).total.source  # type: ignore[union-attr]


def arm_of(
    slo: Slo, objective: Objective, arms: Arms, values: tuple[str, ...], *, step_s: int | None
) -> tuple[Slo, Objective]:
    """The same SLO for the requests of one version.

    Args:
        values: What the telemetry calls it.
        step_s: Length of the slices to count in; None: the SLO's own.
    """
    metric = _ratio(slo)
    if arms.come_from is ArmsFrom.QUERIES:
        wanted = next((one for one in arms.queries if one.slo == slo.name), None)
        if wanted is None:
            raise UsageError(f"there are no queries that tell the versions of {slo.name} apart", remedy="add them")
        pattern = "|".join(values)
        asked = {
            name: MetricSource(source_of(slo), {"query": text.replace("$arm", pattern)}, slo.place)
            for name, text in (("good", wanted.good), ("bad", wanted.bad), ("total", wanted.total))
            if text
        }
        changed = RatioMetric(
            total=asked["total"], good=asked.get("good"), bad=asked.get("bad"), counter=wanted.counter
        )
    else:
        changed = replace(
            metric,
            **{
                name: replace(part, spec=_narrowed(part.spec, arms.field, values))
                for name in ("total", "good", "bad")
                if (part := getattr(metric, name)) is not None
            },
        )
    indicator = slo.indicator
    assert indicator is not None
    narrowed = replace(slo, indicator=replace(indicator, metric=changed), step_s=step_s or slo.step_s)
    return narrowed, objective


def slower_than(slo: Slo, objective: Objective, bound_ms: int) -> tuple[Slo, Objective]:
    """The same requests, of which those are good that took less than a bound, whatever came of them."""
    total = _ratio(slo).total
    assert total is not None
    answered = {} if {"status", "not"} & total.spec.keys() else {"status": ["1xx", "2xx", "3xx", "4xx", "5xx"]}
    good = replace(total, spec={**total.spec, **answered, "latencyBelow": f"{bound_ms}ms"})
    indicator = slo.indicator
    assert indicator is not None
    timed = replace(indicator, metric=RatioMetric(total=total, good=good))
    return replace(slo, indicator=timed), objective


def histogram_of(
    slo: Slo, objective: Objective, arms: Arms, values: tuple[str, ...], bounds_ms: Sequence[int]
) -> list[tuple[Slo, Objective]]:
    """The same SLO once for each bound: good are the requests of one version that took no longer, by its histogram.

    Client libraries write a whole bound as ``1`` or ``1.0``; ``$le`` is a regular expression that fits both.
    """
    wanted = next(one for one in arms.queries if one.slo == slo.name and one.latency)
    source, indicator = source_of(slo), slo.indicator
    assert indicator is not None

    def upto(bound: str) -> MetricSource:
        text = wanted.latency.replace("$arm", "|".join(values)).replace("$le", bound)
        return MetricSource(source, {"query": text}, slo.place)

    found = []
    for bound_ms in bounds_ms:
        metric = RatioMetric(total=upto("[+]Inf"), good=upto(_bound_pattern(bound_ms)), counter=wanted.counter)
        found.append((replace(slo, indicator=replace(indicator, metric=metric)), objective))
    return found


def _bound_pattern(bound_ms: int) -> str:
    """What fits the label ``le`` of a bound: ``0[.]05``, ``2[.]5``, ``1([.]0)?``."""
    whole_s, part = divmod(bound_ms, 1000)
    return f"{whole_s}[.]{f'{part:03d}'.rstrip('0')}" if part else f"{whole_s}([.]0)?"


def _narrowed(spec: Mapping[str, Any], field: str, values: tuple[str, ...]) -> dict[str, Any]:
    where = dict(spec.get("where") or {})
    if field in where:
        raise UsageError(
            f"the SLO itself looks at {field}, by which the versions are told apart",
            remedy="tell them apart by another field, or take it out of the SLO",
        )
    return {**spec, "where": where | {field: list(values)}}


def _ratio(slo: Slo) -> RatioMetric:
    metric = slo.indicator.metric if slo.indicator is not None else None
    if not isinstance(metric, RatioMetric) or metric.total is None or slo.scale != 1:
        raise UsageError(
            f"the requests of {slo.name} cannot be counted one by one for each version",
            remedy="take an SLO with a ratioMetric of good or bad and total, or write queries for it",
        )
    return metric


def whole(count: int, scale: int) -> int:
    """So many events, of counts that are parts of one; rounded up."""
    return -(-count // scale)


def share_of(bad: int, total: int) -> Fraction | None:
    """Bad of all; None without any."""
    return Fraction(bad, total) if total else None
