"""From checked documents of the kind RolloutStrategy to plain values."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from tightrope.base.units import Duration
from tightrope.specs.documents import Document, Library
from tightrope.specs.model import ArmQuery, Arms, ArmsFrom, RolloutHow, RolloutStrategy, TargetType, WhenOver
from tightrope.specs.positions import plain_value
from tightrope.specs.shapes import Table

BUCKETS_MS = (5, 10, 25, 50, 75, 100, 150, 250, 500, 1000, 2500)
"""The buckets of latencies where none are given; a further one has no bound."""

HISTOGRAM_MS = (5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000)
"""Bounds that the histograms of all client libraries of Prometheus have, unless they were given others."""


def rollout_strategies(library: Library) -> tuple[RolloutStrategy, ...]:
    """All strategies that are good. Names of SLOs are looked up, and a service has one strategy in an environment."""
    taken: dict[tuple[str, str], Document] = {}
    found = []
    for document in library.of_kind("RolloutStrategy"):
        _tell_taken(document, taken, library)
        _tell_missing(document, library)
        if document.good:
            found.append(_strategy(document))
    return tuple(found)


def _tell_taken(document: Document, taken: dict[tuple[str, str], Document], library: Library) -> None:
    service = document.spec.text("service")
    first = taken.setdefault((service, document.spec.text("environment", "production")), document)
    if service and first is not document:
        library.report.add(
            "TR027",
            f"{document.name} and {first.name} ({first.place}) both release {service} in the same environment",
            document.spec.at("service"),
            path="spec.service",
            remedy="give one of them another environment, or remove it",
        )


def _tell_missing(document: Document, library: Library) -> None:
    analysis = document.spec.get("analysis", Table)
    if analysis is None:
        return
    for name in analysis.texts("slos"):
        library.find("SLO", name, analysis.at("slos"), analysis.path("slos"))
    arms = analysis.get("arms", Table)
    for table in (*arms.tables("queries"), *arms.tables("slos")) if arms else ():
        for field in ("slo", "canary", "baseline"):
            if table.text(field):
                library.find("SLO", table.text(field), table.at(field), table.path(field))


def _strategy(document: Document) -> RolloutStrategy:
    spec = document.spec
    analysis = spec.get("analysis", Table)
    exposure = analysis.get("minimumExposure", Table) if analysis else None
    reaction, lost = spec.get("reaction", Table), spec.get("lostContact", Table)
    target = spec.get("target", Table)
    assert target is not None
    kind = next(one for one in TargetType if target.given(one))
    settings: dict[str, Any] = plain_value(target.nodes[kind])
    how = RolloutHow(spec.text("strategy", RolloutHow.CANARY))
    guard = analysis.get("clusterGuard", Fraction) if analysis else None
    alpha = analysis.get("alpha", Fraction) if analysis else None
    return RolloutStrategy(
        name=document.name,
        service=spec.text("service"),
        how=how,
        target=kind,
        settings=settings,
        arms=_arms(analysis.get("arms", Table) if analysis else None),
        environment=spec.text("environment", "production"),
        steps=tuple(
            (step.get("weight", Fraction) or Fraction(0), _seconds(step, "bake", 0)) for step in spec.tables("steps")
        ),
        allowance=spec.get("allowance", Fraction) or Fraction(1, 100),
        beyond=spec.text("beyondAllowance") == "accept",
        measure_s=_seconds(reaction, "measure", 0) or None,
        evaluate_s=_seconds(reaction, "evaluate", 15),
        act_s=_seconds(reaction, "act", 30),
        longest_bake_s=_seconds(spec, "longestBake", 21_600),
        longest_s=_seconds(spec, "longest", 86_400),
        when_over=WhenOver(spec.text("afterLongest", WhenOver.HOLD)),
        lost_after_s=_seconds(lost, "after", 300),
        when_lost=WhenOver(lost.text("then", WhenOver.ROLLBACK)) if lost else WhenOver.ROLLBACK,
        alpha=alpha or Fraction(1, 20),
        cluster_guard=guard,
        least_requests=_whole(exposure, "requests", 100),
        least_s=_seconds(exposure, "for", 60),
        slos=analysis.texts("slos") if analysis else (),
        latency_ms=_latency(analysis),
        folder=document.folder,
        place=document.place,
    )


def _latency(table: Table | None) -> tuple[int, ...]:
    if table is None or table.get("latency", bool) is False:
        return ()
    if table.get("latency", bool):
        arms = table.get("arms", Table)
        return BUCKETS_MS if arms is not None and arms.given("field") else HISTOGRAM_MS
    return tuple(int(text.removesuffix("ms")) for text in table.texts("latency"))


def _arms(table: Table | None) -> Arms:
    if table is None:
        return Arms(ArmsFrom.SERVICE)
    queries = tuple(
        ArmQuery(
            one.text("slo"),
            one.text("good"),
            one.text("bad"),
            one.text("total"),
            bool(one.get("counter", bool)),
            latency=one.text("latency"),
        )
        for one in table.tables("queries")
    )
    queries += tuple(
        ArmQuery(one.text("slo"), canary_slo=one.text("canary"), baseline_slo=one.text("baseline"))
        for one in table.tables("slos")
    )
    kind = next(
        word
        for name, word in (
            ("field", ArmsFrom.LOG),
            ("queries", ArmsFrom.QUERIES),
            ("slos", ArmsFrom.SLOS),
            ("push", ArmsFrom.PUSH),
        )
        if table.given(name)
    )
    return Arms(kind, table.text("field"), _values(table, "canary"), _values(table, "baseline"), queries)


def _values(table: Table, name: str) -> tuple[str, ...]:
    single = table.get(name, str)
    return table.texts(name) if single is None else (single,)


def _seconds(table: Table | None, name: str, default: int) -> int:
    duration = table.get(name, Duration) if table else None
    return default if duration is None else duration.seconds


def _whole(table: Table | None, name: str, default: int) -> int:
    number = table.get(name, Fraction) if table else None
    return default if number is None else int(number)
