"""Metrics in the text formats of OpenMetrics and Prometheus: snapshots of counters and gauges, in one file or many."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tightrope.base.errors import DataError
from tightrope.specs.model import DataSource
from tightrope.telemetry.cells import Words, exact
from tightrope.telemetry.options import Options, remembered
from tightrope.telemetry.questions import Answer, Ask, Horizon, Question, Tell
from tightrope.telemetry.sources.files import NO_ROWS, Pieces, find
from tightrope.telemetry.stamps import MICROS, StampColumn, read_stamp
from tightrope.telemetry.tally import GRAIN_S, Batch, RowAsk, RowQuestion, Test, tally_rows

_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:.]*"
_LABELS = r'\{(?:[^"}]|"(?:[^"\\]|\\.)*")*\}'
_SAMPLE = re.compile(rf"({_NAME})\s*({_LABELS})?\s+(\S+)(?:\s+(-?[\d.eE+]+))?(?:\s+#.*)?\s*", re.ASCII)
_SERIES = re.compile(rf"({_NAME})({_LABELS})?", re.ASCII)
_LABEL = re.compile(r'\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*(=~|!~|!=|=)\s*"((?:[^"\\]|\\.)*)"\s*(?:,|$)', re.ASCII)
_TIME_LINE = re.compile(r"#\s*time:?\s+(\S+)\s*", re.IGNORECASE)
_TIME_IN_NAME = re.compile(r"(\d{4}-?\d\d-?\d\d[T_]\d\d[-:]?\d\d[-:]?\d\dZ?|(?<!\d)\d{10}(?:\d{3})?(?!\d))")
_ESCAPES = {r"\\": "\\", r"\"": '"', r"\n": "\n"}
_LABEL_OPS = ("=~", "!~", "!=", "=")
_SERIES_COLUMN, _VALUE_COLUMN = "series", "value"

Matcher = Callable[[Mapping[str, str]], bool]


class Expositions:
    """``connectionDetails``: path (one file whose samples have times, or one snapshot a file); resolution.

    A sample without a time takes that of its snapshot: the ``# time …`` line above it, else the time in the file's
    name, else the file's modification time. A metric is ``metric`` with ``labels``, or a PromQL ``selector``.
    """

    asks_the_present = False

    def __init__(self, source: DataSource) -> None:
        where = f"{source.place}: data source {source.name!r}: connectionDetails"
        self._options = options = Options(source.connection, where)
        self._folder = source.folder
        self._resolution_s = options.seconds("resolution")
        options.given("path")
        options.done()

    def answer(self, asks: Sequence[Ask], horizon: Horizon, tell: Tell) -> list[Answer]:
        """Answer all asks in one pass over the snapshots, in the order of their times."""
        row_asks = []
        for ask in asks:
            resolution_s = ask.step_s or self._resolution_s
            questions = tuple(self._question(question) for question in ask.questions)
            row_asks.append(RowAsk(questions, resolution_s or GRAIN_S, resolution_s))
        files = find(self._options, self._folder, (".prom", ".txt", ".om", ".openmetrics", ".metrics"))
        snapshots = sorted((_Snapshot(path) for path in files), key=lambda snapshot: (snapshot.micros, snapshot.path))
        return tally_rows(self._batches(snapshots, tell), row_asks, horizon.until)

    def _question(self, question: Question) -> RowQuestion:
        options = Options(question.spec, f"{question.place}: metric ({question.role})")
        selector = options.text("selector", "")
        metric = options.text("metric", "")
        labels = options.mapping("labels")
        options.done()
        if bool(selector) == bool(metric):
            raise options.wrong(
                "metric is missing" if not metric else "metric and selector exclude each other", "give one"
            )
        if selector:
            match = _SERIES.fullmatch(selector.strip())
            parts = None if match is None else _label_parts(match[2] or "{}")
            if match is None or parts is None:
                raise options.wrong(
                    f"{selector!r} is no selector", 'write one such as http_requests_total{code=~"5.."}'
                )
            metric = match[1]
            matchers = [_matcher(name, op, value, options) for name, op, value in parts]
        else:
            matchers = [_label_matcher(name, wanted, options) for name, wanted in labels.items()]
        says = selector or metric + (str(dict(labels)) if labels else "")
        return RowQuestion(
            question.role,
            (Test(_SERIES_COLUMN, says, _selects(metric, matchers)),),
            column=_VALUE_COLUMN,
            series=(_SERIES_COLUMN,) if question.counter else (),
            counter=question.counter,
            scale=question.scale,
            op=question.op,
            bound=question.bound,
        )

    def _batches(self, snapshots: Sequence[_Snapshot], tell: Tell) -> Iterator[Batch]:
        rows = 0
        for snapshot in snapshots:
            for batch in snapshot.batches(tell):
                rows += len(batch) + len(batch.bad)
                yield batch
        if not rows:
            names = ", ".join(str(snapshot.path) for snapshot in snapshots[:3])
            raise DataError(f"{names} has no samples", remedy=NO_ROWS)


class _Snapshot:
    """One file of samples, and the time of those that have none of their own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.micros = _time_of(path)

    def batches(self, tell: Tell) -> Iterator[Batch]:
        line = 1
        micros = self.micros
        stamps = StampColumn()
        for lines in Pieces(self.path, tell).lines():
            numbers: list[int] = []
            times: list[str] = []
            series: list[str] = []
            values: list[str] = []
            bad: list[tuple[int, str]] = []
            for number, raw in enumerate(lines, start=line):
                text = raw.decode("utf-8", "replace")
                if not text.strip():
                    continue
                if text.startswith("#"):
                    timed = _TIME_LINE.fullmatch(text)
                    stamp = read_stamp(timed[1]) if timed else ""
                    micros = micros if isinstance(stamp, str) else stamp.micros
                    continue
                match = _SAMPLE.fullmatch(text)
                if match is None:
                    bad.append((number, "is no sample: a sample is a name, labels, a value and perhaps a time"))
                    continue
                numbers.append(number)
                times.append(_plain(match[4]) if match[4] else _seconds(micros))
                series.append(match[1] + (match[2] or ""))
                values.append(match[3])
            line += len(lines)
            at = np.array(numbers, np.int64)
            read = stamps.instants(Words(times), self.path.name, at)
            yield Batch.timed(
                self.path.name, at, read, {_SERIES_COLUMN: Words(series), _VALUE_COLUMN: Words(values)}, bad
            )


def _time_of(path: Path) -> int:
    """Find the time of a snapshot: in a ``# time`` line at its head, else in its name, else when it was modified."""
    for lines in Pieces(path, lambda *_: None).lines():
        for raw in lines:
            match = _TIME_LINE.fullmatch(raw.decode("utf-8", "replace"))
            stamp = read_stamp(match[1]) if match else ""
            if not isinstance(stamp, str):
                return stamp.micros
            if raw and not raw.startswith(b"#"):
                break
        break
    named = _TIME_IN_NAME.search(path.name)
    if named:
        digits = re.sub(r"\D", "", named[1])
        stamp = read_stamp(digits if len(digits) != 14 else f"{digits[:8]}T{digits[8:]}Z")
        if not isinstance(stamp, str):
            return stamp.micros
    return int(path.stat().st_mtime) * MICROS


def _plain(time: str) -> str:
    # Times may have an exponent in OpenMetrics (1.52087e9), which epoch numbers of other sources never have.
    value = exact(time)
    return time if isinstance(value, str) or "e" not in time.lower() else str(int(value))


def _seconds(micros: int) -> str:
    return f"{micros // MICROS}.{micros % MICROS:06}"


def _selects(metric: str, matchers: Sequence[Matcher]) -> Callable[[str], bool]:
    def passes(series: str) -> bool:
        name, _, labels = series.partition("{")
        if name != metric:
            return False
        parts = _label_parts("{" + labels if labels else "{}")
        if parts is None:
            return False
        values = {label: value for label, _, value in parts}
        return all(matcher(values) for matcher in matchers)

    return remembered(passes)


def _label_parts(text: str) -> list[tuple[str, str, str]] | None:
    """Read ``{name="value", …}`` into names, operators and values; None: it is not of that form."""
    inner = text[1:-1].strip()
    parts: list[tuple[str, str, str]] = []
    at = 0
    while at < len(inner):
        match = _LABEL.match(inner, at)
        if match is None:
            return None
        parts.append((match[1], match[2], re.sub(r"\\.", lambda escape: _ESCAPES.get(escape[0], escape[0]), match[3])))
        at = match.end()
    return parts


def _label_matcher(name: str, wanted: Any, options: Options) -> Matcher:
    """Compile one entry of ``labels``: a value or a list, each a regular expression of the whole label.

    A value may lead with an operator of PromQL: ``=``, ``!=``, ``=~`` or ``!~``.
    """
    if isinstance(wanted, list):
        choices = [_label_matcher(name, value, options) for value in wanted]
        return lambda labels: any(choice(labels) for choice in choices)
    text = str(wanted)
    op = next((mark for mark in _LABEL_OPS if text.startswith(mark)), "")
    return _matcher(name, op or ("=" if name == "le" else "=~"), text.removeprefix(op), options)


def _matcher(name: str, op: str, value: str, options: Options) -> Matcher:
    negative = op.startswith("!")
    if op in {"=", "!="}:
        number = exact(value)

        def same(labels: Mapping[str, str]) -> bool:
            found = labels.get(name, "")
            # The bound of a bucket is a number: 0.3 and 0.30 are the same bucket.
            equal = found == value or (name == "le" and not isinstance(number, str) and exact(found) == number)
            return equal is not negative

        return same
    try:
        pattern = re.compile(value)
    except re.error as error:
        raise options.wrong(f"label {name}: {value!r} is no regular expression: {error}") from None
    return lambda labels: (pattern.fullmatch(labels.get(name, "")) is not None) is not negative
