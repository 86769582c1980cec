"""What is wanted of telemetry that is sent to us: which series, what a sample of them means, for which objective."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from fractions import Fraction
from typing import Any

from tightrope.base.errors import UsageError
from tightrope.base.values import dataclass
from tightrope.sli.slices import MILLIONTH
from tightrope.specs.model import Comparison, DataSource, RatioMetric
from tightrope.telemetry.options import Options
from tightrope.telemetry.plan import Request, questions
from tightrope.telemetry.questions import Question, Role
from tightrope.telemetry.samples import label_bytes
from tightrope.telemetry.selectors import NAME, Matcher, Selector, parse_selector
from tightrope.telemetry.tally import GRAIN_S

REMOTE_WRITE, OTLP, PUSH = "remote-write", "otlp", "push"
RECEIVED = (REMOTE_WRITE, OTLP, PUSH)
"""Types of data source whose telemetry is sent to us, and never asked for."""

CONNECTION_OPTIONS = ("resolution", "labels", "newSeries")
"""``connectionDetails`` of a received source."""

METRIC_OPTIONS = {REMOTE_WRITE: ("series",), OTLP: ("series",), PUSH: ("series", "slo")}
"""``spec`` of a metric, by the type of its source."""

NEW_SERIES = ("ignore", "count")
"""What ``newSeries`` may be: whether the first value of a counter that appears later on is an increase from 0."""

SLO_LABEL = "slo"
"""The label that a slice pushed for an SLO, and not for a series, is known by."""


class Measure(StrEnum):
    """What a sample means: a counter's state, a count of its own, a ratio, or a value that is compared."""

    COUNTER = "counter"
    COUNT = "count"
    RATIO = "ratio"
    VALUE = "value"


@dataclass(frozen=True, slots=True)
class Meter:
    """A sum per slice over the series of some selectors.

    Attributes:
        selectors: A series counts if one of them selects it.
        measure: What to make of each sample.
        step_s: Length of a slice, seconds.
        scale: Counts are in units of 1 / scale.
        op, bound: For values: when one is good.
        from_nothing: Whether a counter that appears later on began at 0.
    """

    selectors: tuple[Selector, ...]
    measure: Measure
    step_s: int
    scale: int = 1
    op: Comparison | None = None
    bound: Fraction | None = None
    from_nothing: bool = False

    @property
    def identity(self) -> str:
        """One text for equal meters, whatever their selectors were written like."""
        chosen = sorted(str(one) for one in self.selectors)
        facts = (self.measure, self.step_s, self.scale, self.op, self.bound, self.from_nothing)
        return " ".join(str(fact) for fact in (*facts, *chosen))


@dataclass(frozen=True, slots=True)
class Track:
    """One objective, and the meters its slices are put together from.

    Attributes:
        number: The caller's number.
        base: Tells whether a slice was measured: total, ratio or value. None: only whole slices are pushed to it.
        part: Good or bad; None for a ratio or value.
        role: Good, bad, raw or value.
        failure: Whether a ratio is one of failures.
        pushed: The label set by which whole slices are pushed to it; empty: none are.
        step_s, scale, op, bound: Of its slices.
    """

    number: int
    base: Meter | None
    part: Meter | None
    role: Role
    step_s: int
    scale: int
    failure: bool = False
    pushed: bytes = b""
    op: Comparison | None = None
    bound: Fraction | None = None


def track(kind: str, number: int, request: Request) -> Track:
    """Compile an objective whose telemetry is received.

    Raises:
        UsageError: A setting or selector is wrong, or its parts come from sources that can't be counted together.
    """
    asked = questions(request)
    for source, question in asked:
        if source.type.lower() != kind:
            raise UsageError(
                f"{question.place}: SLO {request.slo.name!r} takes {question.role} from the data source "
                f"{source.name!r} of type {source.type}, and the rest from one of type {kind}",
                remedy="take all parts of an indicator from sources of one type where they are received",
            )
    settings = [_Settings(source) for source, _ in asked]
    steps = [request.slo.step_s or one.resolution_s or GRAIN_S for one in settings]
    if len(set(steps)) > 1:
        raise UsageError(
            f"SLO {request.slo.name!r}: its data sources have different resolutions",
            remedy="declare tightrope.dev/resolution on the SLO",
        )
    first = asked[0][1]
    metric = request.indicator.metric
    failure = isinstance(metric, RatioMetric) and metric.raw_type == "failure"
    chosen = [_chosen(kind, question, one) for (_, question), one in zip(asked, settings, strict=True)]
    pushed = _pushed(first, chosen) if kind == PUSH and not first.counter else b""
    bare = Track(
        number,
        None,
        None,
        first.role,
        steps[0],
        MILLIONTH if first.role is Role.RAW else 1 if first.role is Role.VALUE else request.slo.scale,
        failure,
        pushed,
        first.op,
        first.bound,
    )
    if kind == PUSH and not first.counter and first.role in {Role.GOOD, Role.BAD}:
        return bare
    meters = [
        _meter(question, selectors, steps[0], one)
        for (_, question), selectors, one in zip(asked, chosen, settings, strict=True)
        if all(NAME in {matcher.label for matcher in selector.matchers} or kind != PUSH for selector in selectors)
    ]
    if len(meters) == 2:
        return replace(bare, part=meters[0], base=meters[1])
    return replace(bare, base=meters[0] if meters else None)


class _Settings:
    """``connectionDetails`` of a received source, read."""

    def __init__(self, source: DataSource) -> None:
        options = Options(source.connection, f"{source.place}: data source {source.name!r}: connectionDetails")
        self.resolution_s = options.seconds("resolution")
        self.labels = {name: str(value) for name, value in options.mapping("labels").items()}
        self.from_nothing = options.choice("newSeries", NEW_SERIES, NEW_SERIES[0]) == "count"
        options.done()


def _chosen(kind: str, question: Question, settings: _Settings) -> tuple[Selector, ...]:
    options = Options(question.spec, f"{question.place}: metric ({question.role})")
    written = options.texts("series")
    slo = options.text("slo", "") if "slo" in METRIC_OPTIONS[kind] else ""
    options.done()
    if bool(written) == bool(slo):
        both = "series and slo exclude each other" if slo else "series is missing"
        raise options.wrong(both, 'write series: with a selector such as http_requests_total{code!~"5.."}')
    if slo:
        if question.counter:
            raise options.wrong("slices that are pushed are no counters", "set counter: false")
        return (Selector((Matcher(SLO_LABEL, "=", slo),)),)
    selectors = []
    for text in written:
        try:
            selector = pushed_series(text) if kind == PUSH else parse_selector(text)
        except UsageError as error:
            raise options.wrong(f"series: {error.message}", error.remedy) from None
        fixed = tuple(Matcher(name, "=", value) for name, value in settings.labels.items())
        matchers = selector.matchers + fixed
        if kind == OTLP:
            # Labels stand with underscores where OpenTelemetry has dots; names of metrics are known by both.
            matchers = tuple(replace(one, label=one.label.replace(".", "_")) for one in matchers)
        selectors.append(Selector(matchers, selector.text))
    return tuple(selectors)


def pushed_series(text: str) -> Selector:
    """Read what names a series that is pushed: a name of any characters, or a selector with braces."""
    name = text.strip()
    return parse_selector(text) if "{" in name or not name else Selector((Matcher(NAME, "=", name),), name)


def _meter(question: Question, selectors: tuple[Selector, ...], step_s: int, settings: _Settings) -> Meter:
    if question.role is Role.VALUE:
        return Meter(selectors, Measure.VALUE, step_s, op=question.op, bound=question.bound)
    if question.role is Role.RAW:
        return Meter(selectors, Measure.RATIO, step_s, MILLIONTH)
    if question.counter:
        return Meter(selectors, Measure.COUNTER, step_s, question.scale, from_nothing=settings.from_nothing)
    return Meter(selectors, Measure.COUNT, step_s, question.scale)


def _pushed(question: Question, chosen: Sequence[tuple[Selector, ...]]) -> bytes:
    """Tell the one label set that slices are pushed by; empty where values of several series may be meant."""
    keys = {label_bytes(_fixed_labels(selectors)) for selectors in chosen if _exact(selectors)}
    ratio = question.role in {Role.GOOD, Role.BAD}
    if ratio and (len(keys) != 1 or not all(_exact(selectors) for selectors in chosen)):
        raise UsageError(
            f"{question.place}: metric ({question.role}): a slice is pushed with its parts together, so all of them "
            "name one and the same series, without patterns",
            remedy="write series: checkout (or slo: NAME) in both parts; or set counter: true and push text",
        )
    return keys.pop() if keys else b""


def _exact(selectors: Sequence[Selector]) -> bool:
    return len(selectors) == 1 and all(one.op == "=" for one in selectors[0].matchers)


def _fixed_labels(selectors: Sequence[Selector]) -> Mapping[str, Any]:
    return {one.label: one.value for one in selectors[0].matchers}
