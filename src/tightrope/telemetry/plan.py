"""What to ask of which source: each source once, for all the objectives that need it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from tightrope.base.errors import UsageError
from tightrope.base.values import dataclass
from tightrope.sli.slices import MILLIONTH
from tightrope.specs.model import DataSource, Indicator, MetricSource, Objective, Slo, ThresholdMetric
from tightrope.telemetry.questions import Ask, Question, Role


@dataclass(frozen=True, slots=True)
class Request:
    """One objective whose slices are wanted."""

    slo: Slo
    objective: Objective

    @property
    def indicator(self) -> Indicator:
        """The objective's own indicator in a composite, else the SLO's; raises `UsageError` where there is none."""
        indicator = self.objective.indicator or self.slo.indicator
        if indicator is None:
            raise UsageError(
                f"SLO {self.slo.name!r} has no indicator", remedy="add spec.indicator, or one to each objective"
            )
        return indicator


@dataclass(frozen=True, slots=True)
class Job:
    """One source, and all that is asked of it."""

    source: DataSource
    asks: tuple[Ask, ...]


@dataclass(frozen=True, slots=True)
class Share:
    """Where the answer to a part of a request comes from: which job, which of its asks."""

    job: int
    ask: int


@dataclass(frozen=True, slots=True)
class Plan:
    """Jobs, and for each request the shares its answer is put together from."""

    jobs: tuple[Job, ...]
    shares: tuple[tuple[Share, ...], ...]


def questions(request: Request) -> list[tuple[DataSource, Question]]:
    """List the questions of one objective with the source each goes to.

    Raises:
        UsageError: A value metric without ``op`` and ``value``, or a ratio without its parts.
    """
    metric, objective, slo = request.indicator.metric, request.objective, request.slo
    if isinstance(metric, ThresholdMetric):
        if objective.op is None or objective.value is None:
            raise UsageError(
                f"SLO {slo.name!r} measures a value, but its objective does not say which values are good",
                remedy="add op (lte, gte, lt, gt) and value to the objective",
            )
        asked = Question(
            metric.metric.spec, Role.VALUE, op=objective.op, bound=objective.value, place=metric.metric.place
        )
        return [(metric.metric.source, asked)]
    if metric.raw is not None:
        return [(metric.raw.source, Question(metric.raw.spec, Role.RAW, scale=MILLIONTH, place=metric.raw.place))]
    numerator = metric.good or metric.bad
    if metric.total is None or numerator is None:
        raise UsageError(
            f"SLO {slo.name!r} has a ratio without its parts", remedy="give total, and good or bad; or raw"
        )

    def count(part: MetricSource, role: Role) -> tuple[DataSource, Question]:
        return part.source, Question(part.spec, role, metric.counter, slo.scale, place=part.place)

    return [count(numerator, Role.GOOD if metric.good else Role.BAD), count(metric.total, Role.TOTAL)]


def plan(requests: Sequence[Request]) -> Plan:
    """Group what is asked by source, so that each is read once; equal questions are asked once."""
    sources: dict[str, int] = {}
    jobs: list[tuple[DataSource, list[Ask]]] = []
    known: dict[tuple[int, str], int] = {}
    shares: list[tuple[Share, ...]] = []
    for request in requests:
        parts: dict[int, list[Question]] = {}
        for source, question in questions(request):
            key = _written([source.type, source.folder, source.connection])
            if key not in sources:
                sources[key] = len(jobs)
                jobs.append((source, []))
            parts.setdefault(sources[key], []).append(question)
        own = []
        for job, asked in parts.items():
            ask = Ask(tuple(asked), request.slo.step_s)
            asks = jobs[job][1]
            identity = (job, _identity(ask))
            if identity not in known:
                known[identity] = len(asks)
                asks.append(ask)
            own.append(Share(job, known[identity]))
        shares.append(tuple(own))
    return Plan(tuple(Job(source, tuple(asks)) for source, asks in jobs), tuple(shares))


def _identity(ask: Ask) -> str:
    return _written([ask.step_s] + [[q.spec, q.role, q.counter, q.scale, q.op, str(q.bound)] for q in ask.questions])


def _written(value: object) -> str:
    return json.dumps(
        value, sort_keys=True, default=lambda other: dict(other) if isinstance(other, Mapping) else str(other)
    )
