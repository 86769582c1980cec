"""Access logs: the common and combined formats of Apache and nginx, and JSON lines. Every line is one request."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from tightrope.base.errors import DataError
from tightrope.specs.model import DataSource
from tightrope.telemetry.cells import Words
from tightrope.telemetry.options import Options, did_you_mean, remembered
from tightrope.telemetry.questions import Answer, Ask, Horizon, Question, Role, Tell
from tightrope.telemetry.sources.files import NO_ROWS, Pieces, find
from tightrope.telemetry.stamps import StampColumn
from tightrope.telemetry.tally import GRAIN_S, Batch, RowAsk, RowQuestion, Test, columns_of, tally_rows

_QUOTED = r'"((?:[^"\\]|\\.)*)"'
_LINE = re.compile(
    r"(?:(\S+) )?(\S+) (\S+) (\S+) \[([^\]]+)\] "
    rf"{_QUOTED} (\d{{3}}) (\d+|-)(?: {_QUOTED} {_QUOTED}(?: (.*))?)?\s*",
    re.ASCII,
)
_MONTHS = {
    name: f"{number:02}"
    for number, name in enumerate(
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"], start=1
    )
}
_FIELDS = {
    "time": ("time", "@timestamp", "timestamp", "ts", "time_iso8601", "time_local", "datetime"),
    "status": ("status", "status_code", "http.response.status_code", "response.status", "code"),
    "method": ("method", "request_method", "http.request.method", "request.method"),
    "path": ("path", "uri", "request_uri", "url.path", "url", "request.uri"),
    "host": ("host", "http_host", "server_name", "url.domain", "request.host"),
    "latency": ("request_time", "duration", "latency", "response_time", "upstream_response_time"),
}
_POWERS = {"s": 0, "ms": -3, "us": -6, "ns": -9}
_UNITS = {unit: Fraction(10) ** power for unit, power in _POWERS.items()}
_LATENCY = re.compile(r"(\d+(?:\.\d+)?)\s*(ns|us|ms|s)", re.ASCII)
_LATENCY_OF = "latency"  # the column of latencies; of a named field: latency:name
_STATUS = re.compile(r"[1-5](\d\d|xx)", re.ASCII)
_CODE = re.compile(r"\d{3}", re.ASCII)


class AccessLogs:
    """``connectionDetails``: path; format (auto, common, combined, json), fields (for json), latencyUnit, resolution.

    A metric: ``status`` or ``not`` (classes such as 5xx and codes), ``latencyBelow`` with ``latencyField``, ``where``
    and ``ignore``. Good without a status is every status below 500, bad every one from 500 on, total every request.
    """

    asks_the_present = False

    def __init__(self, source: DataSource) -> None:
        where = f"{source.place}: data source {source.name!r}: connectionDetails"
        self._options = options = Options(source.connection, where)
        self._folder = source.folder
        self._format = options.choice("format", ("auto", "common", "combined", "json"), "auto")
        self._unit = options.choice("latencyUnit", tuple(_UNITS), "s")
        self._resolution_s = options.seconds("resolution")
        fields = options.mapping("fields")
        for name in fields:
            if name not in _FIELDS:
                raise options.wrong(
                    f"fields has an unknown name {name!r}", did_you_mean(name, list(_FIELDS), "it can name")
                )
        self._fields = {name: (str(fields[name]),) if name in fields else known for name, known in _FIELDS.items()}
        self._stamps = StampColumn()
        options.given("path")
        options.done()

    def answer(self, asks: Sequence[Ask], horizon: Horizon, tell: Tell) -> list[Answer]:
        """Answer all asks in one pass over the files."""
        row_asks = [self.compiled(ask) for ask in asks]
        return tally_rows(self._batches(self.files(), columns_of(row_asks), tell), row_asks, horizon.until)

    def compiled(self, ask: Ask) -> RowAsk:
        """Compile the questions of one indicator; raises `UsageError` for a wrong metric spec."""
        resolution_s = ask.step_s or self._resolution_s
        questions = tuple(self._question(question) for question in ask.questions)
        return RowAsk(questions, resolution_s or GRAIN_S, resolution_s, events=True, strays=True)

    def files(self) -> list[Path]:
        """Find the files of the log; raises `NotFoundError` where there is none."""
        return find(self._options, self._folder, (".log", ".json", ".jsonl", ".ndjson"))

    def literal_paths(self) -> list[Path]:
        """List the files that are named one by one, whether they are there or not."""
        return [Path(self._folder) / text for text in self._options.texts("path")]

    def batch(self, file: str, first: int, lines: list[bytes], columns: Sequence[str]) -> Batch:
        """Read some lines of a file, of which the first is line *first*."""
        return self._batch(file, first, lines, columns, self._stamps)

    def _question(self, question: Question) -> RowQuestion:
        options = Options(question.spec, f"{question.place}: metric ({question.role})")
        if question.counter:
            raise options.wrong("lines of a log are no counters", "set counter: false")
        tests = _where(options.mapping("where"), options)
        wanted, unwanted = options.texts("status"), options.texts("not")
        if wanted and unwanted:
            raise options.wrong("status and not exclude each other", "keep one of them")
        field = options.text("latencyField", "")
        latency = f"{_LATENCY_OF}:{field}" if field else _LATENCY_OF
        value = question.role in {Role.VALUE, Role.RAW}
        if wanted or unwanted:
            tests += (_status_test(wanted or unwanted, bool(wanted), options),)
        elif question.role is Role.GOOD:
            tests += (Test("status", "below 500", lambda word: word < "500", named=False),)
        elif question.role is Role.BAD:
            tests += (Test("status", "from 500 on", lambda word: word >= "500", named=False),)
        limit = options.text("latencyBelow", "")
        if limit and question.role is not Role.GOOD:
            raise options.wrong("latencyBelow tells the good requests", "use it in good")
        below = (latency, _limit(limit, options) / _UNITS[self._unit]) if limit else None
        ignored = options.given("ignore") or []
        if not isinstance(ignored, list) or not all(isinstance(group, Mapping) for group in ignored):
            raise options.wrong("ignore must be a list of maps", "write each as where:, such as [{path: /healthz}]")
        ignore = tuple(_where(group, options) for group in ignored)
        options.done()
        return RowQuestion(
            question.role,
            tests,
            ignore,
            column=latency if value else "",
            scale=question.scale,
            op=question.op,
            bound=question.bound,
            below=below,
        )

    def _batches(self, files: Sequence[Path], columns: Sequence[str], tell: Tell) -> Iterator[Batch]:
        rows = 0
        stamps = StampColumn()
        for path in files:
            line = 1
            for lines in Pieces(path, tell).lines():
                batch = self._batch(path.name, line, lines, columns, stamps)
                rows += len(batch) + len(batch.bad)
                line += len(lines)
                yield batch
        if not rows:
            raise DataError(f"{', '.join(map(str, files[:3]))} has no lines", remedy=NO_ROWS)

    def _batch(self, file: str, first: int, lines: list[bytes], columns: Sequence[str], stamps: StampColumn) -> Batch:
        rows: list[tuple[int, list[str]]] = []
        bad: list[tuple[int, str]] = []
        names = ["time", *columns]
        for number, line in enumerate(lines, start=first):
            if not line:
                continue
            text = line.decode("utf-8", "replace")
            is_json = self._format == "json" or (self._format == "auto" and text.startswith("{"))
            cells = self._of_json(text, names) if is_json else self._of_text(text, names)
            if isinstance(cells, str):
                bad.append((number, cells))
            else:
                rows.append((number, cells))
        numbers = np.array([number for number, _ in rows], np.int64)
        cut = {name: Words([cells[place] for _, cells in rows]) for place, name in enumerate(names)}
        return Batch.timed(file, numbers, stamps.instants(cut["time"], file, numbers), cut, bad)

    def _of_text(self, text: str, names: Sequence[str]) -> list[str] | str:
        match = _LINE.fullmatch(text)
        if match is None or (self._format == "combined" and match[9] is None):
            return f"is not in the {self._format if self._format != 'auto' else 'common or combined'} log format"
        method, _, rest = match[6].partition(" ")
        known = {
            "time": _iso(match[5]),
            "status": match[7],
            "method": method,
            "path": rest.partition(" ")[0].partition("?")[0],
            "host": match[1] or "",
            "vhost": match[1] or "",
            "client": match[2],
            "user": match[4],
            "bytes": match[8],
            "referrer": match[9] or "",
            "agent": match[10] or "",
        }
        return [
            self._extra(match[11] or "", name.partition(":")[2])
            if name.partition(":")[0] == _LATENCY_OF
            else known.get(name, "")
            for name in names
        ]

    def _extra(self, extras: str, field: str) -> str:
        """Find the latency among what follows the combined format: the last part, the n-th, or ``field=``."""
        parts = [part.strip('"') for part in extras.split()]
        if not field:
            found = parts[-1] if parts else ""
        elif field.isdigit():
            found = parts[int(field) - 1] if 0 < int(field) <= len(parts) else ""
        else:
            found = next((part.removeprefix(field + "=") for part in parts if part.startswith(field + "=")), "")
        return self._in_unit(found.partition("=")[2] or found)

    def _of_json(self, text: str, names: Sequence[str]) -> list[str] | str:
        try:
            record = json.loads(text)
        except (ValueError, RecursionError) as error:
            return f"is not JSON: {error}"
        if not isinstance(record, dict):
            return "is not a JSON object"
        cells = []
        for name in names:
            if name.partition(":")[0] == _LATENCY_OF:
                field = name.partition(":")[2]
                cell = self._in_unit(_found(record, (field,) if field else self._fields["latency"]))
            else:
                cell = _found(record, self._fields.get(name, (name,)))
            if name == "time":
                cell = _iso(cell)
            elif name == "path":
                cell = cell.partition("?")[0]
            elif name == "status" and _CODE.fullmatch(cell) is None:
                return f"has {cell[:20]!r} where a status should stand" if cell else "has no status"
            cells.append(cell)
        return cells

    def _in_unit(self, latency: str) -> str:
        """Bring a latency that names its unit, such as ``12ms``, to the log's unit; others are in it already."""
        match = _LATENCY.fullmatch(latency)
        if match is None:
            return "" if latency == "-" else latency
        return str(Decimal(match[1]).scaleb(_POWERS[match[2]] - _POWERS[self._unit]))


def _found(record: Mapping[str, Any], names: Sequence[str]) -> str:
    """Find the first of some fields in a JSON object: by its whole name, else along the dots."""
    for name in names:
        value: Any = record.get(name)
        if value is None and "." in name:
            value = record
            for part in name.split("."):
                value = value.get(part) if isinstance(value, dict) else None
        if value is not None and not isinstance(value, (dict, list)):
            return str(value).lower() if isinstance(value, bool) else str(value)
    return ""


def _iso(time: str) -> str:
    """Rewrite ``17/May/2015:10:05:03 +0000`` as ISO 8601; anything else stays as it is."""
    month = _MONTHS.get(time[3:6])
    if month is None or len(time) != len("17/May/2015:10:05:03 +0000"):
        return time
    return f"{time[7:11]}-{month}-{time[:2]}T{time[12:20]}{time[21:]}"


def _where(where: Mapping[str, Any], options: Options) -> tuple[Test, ...]:
    """Compile a filter: each field must be the value, or one of the list.

    A path is matched from its start, without the query; ``=/x`` is that path alone. ``~`` before a text makes it a
    regular expression. A status may be a class such as ``5xx``.
    """
    tests = []
    for field, wanted in where.items():
        values = [str(value) for value in (wanted if isinstance(wanted, list) else [wanted])]
        if field == "status":
            tests.append(_status_test(values, True, options))
            continue
        checks = [_check(str(field), value, options) for value in values]
        tests.append(Test(str(field), " or ".join(values), _any_of(checks)))
    return tuple(tests)


def _check(field: str, value: str, options: Options) -> Callable[[str], bool]:
    if value.startswith("~"):
        try:
            pattern = re.compile(value[1:])
        except re.error as error:
            raise options.wrong(f"{value!r} is no regular expression: {error}") from None
        return lambda word: pattern.search(word) is not None
    if field == "path" and not value.startswith("="):
        return lambda word: word.startswith(value)
    exactly = value.removeprefix("=")
    return lambda word: word == exactly


def _any_of(checks: Sequence[Callable[[str], bool]]) -> Callable[[str], bool]:
    return remembered(lambda word: any(check(word) for check in checks))


def _status_test(values: Sequence[str], wanted: bool, options: Options) -> Test:
    for value in values:
        if _STATUS.fullmatch(value) is None:
            raise options.wrong(
                f"status {value!r} is neither a class nor a code", "write 2xx, 3xx, 4xx, 5xx or a code such as 404"
            )
    classes = {value[0] for value in values if value.endswith("xx")}
    codes = {value for value in values if not value.endswith("xx")}
    says = " or ".join(values) if wanted else "other than " + ", ".join(values)
    return Test("status", says, lambda word: (word[:1] in classes or word in codes) is wanted, named=False)


def _limit(text: str, options: Options) -> Fraction:
    match = _LATENCY.fullmatch(text)
    if match is None:
        raise options.wrong(f"latencyBelow is {text!r}", "write a number and its unit: 300ms, 1.5s, 800us")
    return Fraction(match[1]) * _UNITS[match[2]]
