"""Probes of our own: what a look at an address tells, and the slices that are made of one look after another."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from tightrope.base.errors import DataError, UsageError
from tightrope.base.units import DAY_S
from tightrope.base.values import dataclass
from tightrope.specs.model import Comparison, DataSource
from tightrope.telemetry.counting import Touched
from tightrope.telemetry.options import Options
from tightrope.telemetry.plan import Request, questions
from tightrope.telemetry.questions import Question, Role
from tightrope.telemetry.tally import GRAIN_S

CONNECTION_OPTIONS = (
    "url",
    "method",
    "headers",
    "body",
    "every",
    "timeout",
    "expectStatus",
    "bodyMatch",
    "maxLatency",
    "tlsExpiresIn",
    "followRedirects",
    "caFile",
    "tlsInsecure",
    "resolution",
)
"""``connectionDetails`` of a probe."""

METRIC_OPTIONS = ("check", "latencyBelow", "tlsExpiresIn", "value")
"""``spec`` of a metric."""

CHECKS = ("any", "up", "down")
"""What ``check`` may be: every probe, those that found all as it should be, or those that did not."""

VALUES = ("latency", "tlsDays")
"""What ``value`` may be: seconds until the answer, or days until the certificate ends."""

_LENGTH = re.compile(r"(\d+(?:\.\d+)?)\s*(us|ms|s)", re.ASCII)
_MICROS = {"us": 1, "ms": 1000, "s": 1_000_000}
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """What one probe found.

    Attributes:
        at: When it began, UTC epoch seconds.
        up: Whether there was an answer, and everything about it was as the data source demands.
        why: What was not; empty where it is up.
        status: Of the answer; None: there was none.
        micros: Until the answer was there, microseconds; None: there was none.
        tls_left_s: Until the certificate ends, seconds, below 0 once it has; None: there was none to see.
    """

    at: int
    up: bool
    why: str = ""
    status: int | None = None
    micros: int | None = None
    tls_left_s: int | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """Which probes count as one part of an indicator, or which of their values is compared."""

    check: str = "any"
    latency_below: Fraction | None = None  # microseconds
    tls_at_least_s: int | None = None
    value: str = ""
    op: Comparison | None = None
    bound: Fraction | None = None

    def counts(self, result: ProbeResult) -> bool:
        """Tell whether a probe counts; for a value, whether it is good. What there was no answer to is never good."""
        if self.value == "latency":
            return result.micros is not None and self._holds(Fraction(result.micros, 1_000_000))
        if self.value == "tlsDays":
            return result.tls_left_s is not None and self._holds(Fraction(result.tls_left_s, DAY_S))
        if self.check == "down":
            return not result.up
        if self.check == "up" and not result.up:
            return False
        if self.latency_below is not None and not (result.micros is not None and result.micros < self.latency_below):
            return False
        return self.tls_at_least_s is None or (
            result.tls_left_s is not None and result.tls_left_s >= self.tls_at_least_s
        )

    def _holds(self, value: Fraction) -> bool:
        assert self.bound is not None
        if self.op is Comparison.LT:
            return value < self.bound
        if self.op is Comparison.LTE:
            return value <= self.bound
        return value > self.bound if self.op is Comparison.GT else value >= self.bound


@dataclass(frozen=True, slots=True)
class ProbeTrack:
    """One objective that is probed for.

    Attributes:
        number: The caller's number.
        source: Its data source.
        step_s: Length of its slices, seconds.
        scale: A probe counts as so many units.
        part: Which probes are good, or bad.
        base: Which probes count at all.
        is_bad: Whether *part* is the bad ones.
    """

    number: int
    source: DataSource
    step_s: int
    scale: int
    part: Part
    base: Part
    is_bad: bool


def probe_track(number: int, request: Request) -> ProbeTrack:
    """Compile an objective on probes; raises `UsageError` for what can't be measured by them."""
    asked = questions(request)
    sources = {(source.type.lower(), source.name, source.folder) for source, _ in asked}
    if len(sources) > 1:
        raise UsageError(
            f"{asked[0][1].place}: SLO {request.slo.name!r}: good and total are of the same probe",
            remedy="name one data source in both parts",
        )
    source = asked[0][0]
    options = Options(source.connection, f"{source.place}: data source {source.name!r}: connectionDetails")
    step_s = request.slo.step_s or options.seconds("resolution") or max(GRAIN_S, options.seconds("every") or 0)
    parts = [_part(question) for _, question in asked]
    first = asked[0][1]
    return ProbeTrack(
        number,
        source,
        step_s,
        1 if first.role is Role.VALUE else request.slo.scale,
        parts[0],
        parts[-1] if len(parts) == 2 else Part(),
        first.role is Role.BAD,
    )


def _part(question: Question) -> Part:
    options = Options(question.spec, f"{question.place}: metric ({question.role})")
    if question.role is Role.RAW:
        raise options.wrong("a probe gives counts, or values", "use good and total, or a thresholdMetric")
    if question.counter:
        raise options.wrong("probes are no counters", "set counter: false")
    if question.role is Role.VALUE:
        value = options.choice("value", VALUES, VALUES[0])
        options.done()
        return Part(value=value, op=question.op, bound=question.bound)
    defaults = {Role.GOOD: "up", Role.BAD: "down", Role.TOTAL: "any"}
    check = options.choice("check", CHECKS, defaults[question.role])
    below, left_s = latency(options, "latencyBelow"), options.seconds("tlsExpiresIn")
    if (below is not None or left_s is not None) and question.role is not Role.GOOD:
        raise options.wrong("latencyBelow and tlsExpiresIn tell the good probes", "use them in good")
    options.done()
    return Part(check, below, left_s)


def latency(options: Options, key: str) -> Fraction | None:
    """Hand out a length of time such as ``300ms`` or ``1.5s``, in microseconds; None where it is not set."""
    text = options.text(key, "")
    if not text:
        return None
    match = _LENGTH.fullmatch(text)
    if match is None:
        raise options.wrong(f"{key} is {text!r}", "write a number and its unit: 300ms, 1.5s, 800us")
    return Fraction(match[1]) * _MICROS[match[2]]


class Probed:
    """Slices of the objectives that are probed for; a slice without a probe was not measured.

    A probe belongs to the slice in which it began. The sums of the newest slice are kept, so that several probes of one
    slice add up; probes of one data source come in the order of time.

    Args:
        wanted: The objectives, each with the number that its slices are handed out by.
    """

    def __init__(self, wanted: Sequence[tuple[int, Request]]) -> None:
        self._tracks: dict[tuple[str, str], list[ProbeTrack]] = {}
        self._steps: dict[int, int] = {}
        for number, request in wanted:
            one = probe_track(number, request)
            self._steps[number] = one.step_s
            self._tracks.setdefault((one.source.folder, one.source.name), []).append(one)
        self._sums: dict[int, tuple[int, int, int]] = {}  # slot, bad, total
        self._touched: list[tuple[int, int, int, int]] = []

    @property
    def sources(self) -> list[DataSource]:
        """The data sources to probe, each once."""
        return [tracks[0].source for tracks in self._tracks.values()]

    def step_of(self, number: int) -> int:
        """Length of the slices of an objective, seconds."""
        return self._steps[number]

    def take(self, source: DataSource, result: ProbeResult) -> None:
        """Count a probe; one that is older than the newest slice of an objective is left out."""
        for one in self._tracks.get((source.folder, source.name), ()):
            slot = result.at // one.step_s
            newest, bad, total = self._sums.get(one.number, (slot, 0, 0))
            if slot < newest:
                continue
            if slot > newest:
                bad = total = 0
            if one.base.counts(result) or one.part.value:
                counted = one.part.counts(result)
                total += one.scale
                bad += one.scale if counted is one.is_bad else 0
            self._sums[one.number] = slot, bad, total
            self._touched.append((one.number, slot, bad, total))

    def drain(self) -> Touched:
        """Hand out the present figures of every slice that changed since the last time."""
        touched, self._touched = self._touched, []
        columns = np.array(touched, np.int64).reshape(len(touched), 4).T
        return Touched(columns[0], columns[1], columns[2], columns[3], np.ones(len(touched), np.bool_))

    def snapshot(self, names: Mapping[int, str]) -> bytes:
        """Write down the sums of the newest slices; *names* tell the objectives by something that stays."""
        kept = {names[number]: sums for number, sums in self._sums.items() if number in names}
        return json.dumps({"format": _FORMAT, "sums": kept}, sort_keys=True).encode()

    def restore(self, blob: bytes, names: Mapping[int, str]) -> None:
        """Go on where a snapshot was taken; raises `DataError` where it is none."""
        try:
            content: Any = json.loads(blob)
            if content["format"] != _FORMAT:
                raise ValueError(content)
            kept = {name: tuple(map(int, sums)) for name, sums in content["sums"].items()}
        except (ValueError, KeyError, TypeError, AttributeError):
            raise DataError("what is kept of the probes is none of this version's", remedy="begin without it") from None
        for number, name in names.items():
            if name in kept:
                slot, bad, total = kept[name]
                self._sums[number] = slot, bad, total
