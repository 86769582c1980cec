"""Prometheus, and whatever speaks its HTTP API: range queries in chunks, on one grid of instants for good and total."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tightrope.base.errors import SourceError, SourceUnreachableError
from tightrope.base.http import HttpClient, HttpSettings, Reply, may_pass, shown_body, shown_url
from tightrope.base.settings import environment
from tightrope.base.units import duration_text, time_text
from tightrope.base.values import dataclass
from tightrope.specs.model import DataSource
from tightrope.telemetry.cells import Words
from tightrope.telemetry.options import Options
from tightrope.telemetry.questions import Answer, Ask, Horizon, Question, Role, Tell
from tightrope.telemetry.stamps import MICROS
from tightrope.telemetry.tally import GRAIN_S, Batch, RowAsk, RowQuestion, Test, tally_rows

MOST_POINTS = 11_000
"""Points of one series that Prometheus gives in one answer."""

_PLACEHOLDER = re.compile(r"\{\{\s*\.window\s*\}\}|\$\{?(?:__(?:rate_)?interval|window)\}?")
_DIFFERENCES = re.compile(r"\b(rate|irate|increase|delta|idelta)\s*\(")
_QUERY, _SERIES, _VALUE = "query", "series", "value"
_API = "/api/v1/query_range"

Opens = Callable[[str, HttpSettings], HttpClient]


@dataclass(frozen=True, slots=True)
class _Range:
    """One range query: the expression, how far apart its instants are, and the length of the slices they tell of."""

    query: str
    step_s: int
    resolution_s: int
    counter: bool

    @property
    def key(self) -> str:
        return f"{self.query} every {duration_text(self.step_s)}"

    def chunks(self, since: int, until: int) -> list[tuple[int, int]]:
        """Cut the time into first and last instants of queries of at most `MOST_POINTS` points.

        A counter is read at the beginning of the first slice too; everything else at the ends of slices only.
        """
        first = -(-since // self.resolution_s) * self.resolution_s + (0 if self.counter else self.resolution_s)
        last = until // self.resolution_s * self.resolution_s
        reach = (MOST_POINTS - 1) * self.step_s
        return [(start, min(start + reach, last)) for start in range(first, last + 1, reach + self.step_s)]


class Prometheus:
    """``connectionDetails``: url; headers, basicAuth, timeout, caFile, tlsInsecure, resolution, step.

    A metric is a ``query``. With ``counter: true`` it is a bare counter, read every ``step`` and differenced here,
    series by series before the sum and without extrapolation; else its value at the end of a slice is the slice's
    events, ratio or value. ``{{.window}}`` and ``$__interval`` in it stand for the length of a slice.
    """

    asks_the_present = True

    def __init__(self, source: DataSource, opens: Opens = HttpClient) -> None:
        where = f"{source.place}: data source {source.name!r}: connectionDetails"
        options = Options(source.connection, where)
        self._name = source.name
        self._url = options.text("url").rstrip("/")
        self._resolution_s = options.seconds("resolution")
        self._step_s = options.seconds("step")
        headers = {name: _secret(value, name, options) for name, value in options.mapping("headers").items()}
        basic = options.mapping("basicAuth")
        auth = None
        if basic:
            parts = Options(basic, where + ".basicAuth")
            auth = tuple(_secret(parts.given(name), name, parts) for name in ("username", "password"))
            parts.done()
        settings = HttpSettings(
            headers,
            (auth[0], auth[1]) if auth else None,
            float(options.seconds("timeout") or 30),
            ca_file=_beside(source.folder, options.text("caFile", "")),
            verify=not options.flag("tlsInsecure"),
        )
        options.done()
        self._client = opens(self._url, settings)

    def answer(self, asks: Sequence[Ask], horizon: Horizon, tell: Tell) -> list[Answer]:
        """Answer all asks; equal queries are sent once."""
        assert horizon.since is not None
        assert horizon.until is not None
        ranges: dict[str, _Range] = {}
        row_asks = [self._compiled(ask, ranges) for ask in asks]
        gaps: dict[str, set[int]] = {}
        warnings: dict[str, None] = {}
        try:
            batches = self._batches(list(ranges.values()), horizon.since, horizon.until, tell, gaps, warnings)
            answers = tally_rows(batches, row_asks, horizon.until)
        finally:
            self._client.close()
        return [
            replace(
                answer,
                spoilt=answer.spoilt | _slices_of(gaps, row_ask),
                notes=answer.notes + _absences(row_ask, answer) + tuple(warnings),
            )
            for row_ask, answer in zip(row_asks, answers, strict=True)
        ]

    def _compiled(self, ask: Ask, ranges: dict[str, _Range]) -> RowAsk:
        resolution_s = ask.step_s or self._resolution_s or max(GRAIN_S, self._step_s or 0)
        questions = []
        for question in ask.questions:
            asked = self._range(question, resolution_s)
            ranges[asked.key] = asked
            questions.append(
                RowQuestion(
                    question.role,
                    (Test(_QUERY, asked.key, asked.key.__eq__, named=False),),
                    column=_VALUE,
                    series=(_SERIES,) if question.counter else (),
                    counter=question.counter,
                    scale=question.scale,
                    op=question.op,
                    bound=question.bound,
                )
            )
        return RowAsk(tuple(questions), resolution_s, resolution_s)

    def _range(self, question: Question, resolution_s: int) -> _Range:
        options = Options(question.spec, f"{question.place}: metric ({question.role})")
        written = options.text("query")
        options.done()
        query = _PLACEHOLDER.sub(duration_text(resolution_s), written).strip()
        difference = _DIFFERENCES.search(query) if question.counter else None
        if difference:
            raise options.wrong(
                f"counter: true wants the bare counter, but the query takes its {difference[1]}() already",
                'write the counter alone, such as http_requests_total{job="shop"}, or set counter: false',
            )
        step_s = resolution_s
        if question.counter and self._step_s and resolution_s % self._step_s == 0:
            step_s = self._step_s
        return _Range(query, step_s, resolution_s, question.counter)

    def _batches(
        self,
        ranges: Sequence[_Range],
        since: int,
        until: int,
        tell: Tell,
        gaps: dict[str, set[int]],
        warnings: dict[str, None],
    ) -> Iterator[Batch]:
        chunks = [(asked, *chunk) for asked in ranges for chunk in asked.chunks(since, until)]
        rows: dict[str, int] = {}
        for done, (asked, start, end) in enumerate(chunks, start=1):
            data, heard = self._ask(asked, start, end)
            warnings |= dict.fromkeys(heard)
            series: list[str] = []
            instants: list[int] = []
            values: list[str] = []
            for labels, points in data:
                name = json.dumps(labels, sort_keys=True)
                for at, value in points:
                    # The value at an instant tells of the slice that ends there: put it just before.
                    micros = round(at * MICROS) - 1
                    if value == "NaN":
                        gaps.setdefault(asked.key, set()).add(micros // (asked.resolution_s * MICROS))
                        continue
                    series.append(name)
                    instants.append(micros)
                    values.append(value)
            first = rows.get(asked.key, 0) + 1
            rows[asked.key] = first + len(values) - 1
            columns = {_QUERY: Words([asked.key] * len(values)), _SERIES: Words(series), _VALUE: Words(values)}
            lines = np.arange(first, first + len(values))
            yield Batch(f"{self._name} {asked.query}", lines, np.array(instants, np.int64), columns)
            tell(self._name, done, len(chunks))

    def _ask(self, asked: _Range, start: int, end: int) -> tuple[list[tuple[Any, list[tuple[float, str]]]], list[str]]:
        form = {"query": asked.query, "start": str(start), "end": str(end), "step": str(asked.step_s)}
        reply = self._client.post_form(_API, form)
        where = shown_url(self._url)
        body = _json(reply, where)
        if reply.status != 200 or body.get("status") != "success":
            raise _refusal(reply, body, asked, where)
        try:
            if body["data"]["resultType"] != "matrix":
                raise TypeError
            found = [
                (dict(one["metric"]), [(float(at), str(value)) for at, value in one["values"]])
                for one in body["data"]["result"]
            ]
        except (KeyError, TypeError, ValueError):
            raise SourceError(
                f"{where} answers the query {asked.query!r} with something other than series of numbers",
                remedy="check that the query gives an instant vector or a number",
            ) from None
        warned = [str(warning) for warning in body.get("warnings") or ()]
        return found, [f"{self._name} warns: {shown_body(warning)}" for warning in warned]


def _secret(value: Any, name: str, options: Options) -> str:
    """Read a text that may come from the environment: ``{fromEnv: NAME, prefix: "Bearer "}``. No message shows it."""
    if not isinstance(value, Mapping):
        if value is None or isinstance(value, list):
            raise options.wrong(f"{name} must be a text or {{fromEnv: NAME}}")
        return str(value)
    parts = Options(value, name)
    variable, prefix = parts.text("fromEnv"), parts.text("prefix", "")
    parts.done()
    found = environment(variable)
    if not found:
        raise options.wrong(
            f"{name} wants the environment variable {variable}, which is not set", f"export {variable}=…"
        )
    return prefix + found


def _beside(folder: str, path: str) -> str:
    return str(Path(folder) / path) if path else ""


def _json(reply: Reply, where: str) -> Mapping[str, Any]:
    try:
        body = json.loads(reply.text)
    except ValueError:
        body = None
    if isinstance(body, Mapping):
        return body
    if reply.status != 200:
        return {}
    kind = reply.headers.get("content-type", "").partition(";")[0] or "text"
    what = "JSON that is cut off or broken" if "json" in kind else f"{kind} instead of JSON"
    raise SourceError(
        f"{where} answers with {what}: {shown_body(reply.text) or 'nothing'}",
        remedy="check that url is the address of the Prometheus API, what stands before /api/v1",
    )


def _refusal(reply: Reply, body: Mapping[str, Any], asked: _Range, where: str) -> SourceError:
    says = shown_body(str(body.get("error") or reply.text)) or "nothing more"
    remedies = {
        400: "mend the query",
        401: "check headers or basicAuth in connectionDetails",
        403: "check headers or basicAuth in connectionDetails",
        404: "check that url is the address of the Prometheus API, what stands before /api/v1",
        422: "make the query cheaper, or mend it",
        429: "ask less often, or raise the server's limit",
    }
    remedy = remedies.get(reply.status, "look at the server's log, and try again")
    # What may pass and did not, after all tries, is a server out of reach: nobody has to mend a setting.
    kind = SourceUnreachableError if may_pass(reply.status) else SourceError
    return kind(f"{where} answers {reply.status} to the query {asked.query!r}: {says}", remedy=remedy)


def _slices_of(gaps: Mapping[str, set[int]], ask: RowAsk) -> frozenset[int]:
    return frozenset().union(*(gaps.get(question.tests[0].says, ()) for question in ask.questions))


def _absences(ask: RowAsk, answer: Answer) -> tuple[str, ...]:
    """Tell where a part is absent though the total is there: that part is 0 then, which may be wrong."""
    by_role = dict(zip((question.role for question in ask.questions), answer.tallies, strict=True))
    total = by_role.get(Role.TOTAL)
    notes = []
    for role in (Role.GOOD, Role.BAD):
        if total is None or role not in by_role:
            continue
        part = by_role[role]
        measured = np.flatnonzero((total.points > 0) & (total.amounts > 0)) + total.first
        there = np.flatnonzero(part.points) + part.first
        absent = np.setdiff1d(measured, there)
        if len(absent):
            first = time_text(int(absent[0]) * total.grain_s)
            notes.append(f"{role} is absent in {len(absent)} slices with traffic, first at {first}: taken as 0")
    return tuple(notes)
