"""A small Prometheus: instant queries on our own gauges, so that Argo Rollouts, Flagger, KEDA and Grafana read them.

What is understood: selectors, numbers, arithmetic and comparisons of a selector with a number, ``min max sum avg
count`` with ``by`` or ``without``, and brackets. Everything else is refused, in Prometheus' own words.

Source:
    The HTTP API of Prometheus; PromQL's operators and their precedence.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import eq, ge, gt, le, lt, ne
from typing import Annotated, Any, NoReturn

import msgspec
from fastapi import APIRouter, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from tightrope.access.roles import Permission
from tightrope.api.metrics import families_for, number_text
from tightrope.api.visitor import Visitor, needs, visitor
from tightrope.base.errors import UsageError
from tightrope.base.units import parse_duration, parse_time
from tightrope.loop.gauges import Family
from tightrope.telemetry.selectors import NAME, Selector, parse_selector

router = APIRouter(tags=["prometheus"])

LOOKBACK_S = 300
"""How long a sample counts, as in Prometheus."""

MOST_POINTS = 11_000
_MOST_QUERY, _DEEPEST = 10_000, 100
_EXTRA_S = 300

Labels = Mapping[str, str]


class QueryError(Exception):
    """A query that is wrong or beyond us, told as Prometheus tells it."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One series with its value now."""

    labels: Labels
    value: float


Vector = list[Sample]
Result = float | Vector


# --- the HTTP API --------------------------------------------------------------------------------------------------

_SUCCESS = {
    "description": "As Prometheus answers.",
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/PrometheusAnswer"}}},
}
_ERROR = {
    "description": "As Prometheus errs: `status` is `error`.",
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/PrometheusError"}}},
}
_SAID = {200: _SUCCESS, 400: _ERROR}
_FORM = {
    "requestBody": {
        "content": {
            "application/x-www-form-urlencoded": {
                "schema": {"type": "object", "additionalProperties": {"type": "string"}}
            }
        }
    }
}
SCHEMAS: dict[str, Any] = {
    "PrometheusAnswer": {
        "title": "PrometheusAnswer",
        "type": "object",
        "required": ["status", "data"],
        "properties": {"status": {"const": "success"}, "data": {}},
    },
    "PrometheusError": {
        "title": "PrometheusError",
        "type": "object",
        "required": ["status", "errorType", "error"],
        "properties": {
            "status": {"const": "error"},
            "errorType": {"type": "string", "examples": ["bad_data"]},
            "error": {"type": "string"},
        },
    },
}


def _both(path: str, answer: Callable[[Visitor, _Params], Any], summary: str, says: str, *wanted: str) -> None:
    """Make a route that takes its parameters in the address or in a form, as Prometheus does."""

    async def endpoint(request: Request) -> Response:
        form = await _form(request) if request.method == "POST" else []
        params = _Params([*request.query_params.multi_items(), *form])
        return await run_in_threadpool(_answered, request, params, answer)

    endpoint.__doc__ = says
    parameters = {
        "parameters": [
            {"name": name.rstrip("*"), "in": "query", "required": False, "schema": {"type": "string"}}
            for name in wanted
        ]
    }
    tail = path.strip("/").replace("/", "_").replace("{", "").replace("}", "")
    for method in ("GET", "POST"):
        extra = {**parameters, **(_FORM if method == "POST" else {})}
        router.add_api_route(
            path,
            endpoint,
            methods=[method],
            summary=summary,
            operation_id=f"prometheus_{tail}_{method.lower()}",
            **needs(Permission.READ, also=_SAID, extra=extra),
        )


class _Params:
    """Parameters of a query."""

    def __init__(self, pairs: Sequence[tuple[str, str]]) -> None:
        self._pairs = pairs

    def one(self, name: str) -> str:
        return next((value for key, value in self._pairs if key == name), "")

    def all(self, name: str) -> list[str]:
        return [value for key, value in self._pairs if key == name]


async def _form(request: Request) -> list[tuple[str, str]]:
    from urllib.parse import parse_qsl

    body = await request.body()
    try:
        return parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=200, errors="strict")
    except ValueError:
        raise UsageError("the form cannot be read", remedy="send application/x-www-form-urlencoded") from None


def _answered(request: Request, params: _Params, answer: Callable[[Visitor, _Params], Any]) -> Response:
    visit = visitor(request)
    visit.must(Permission.READ)
    try:
        data = answer(visit, params)
    except QueryError as error:
        told = {"status": "error", "errorType": "bad_data", "error": str(error)}
        return Response(msgspec.json.encode(told), 400, media_type="application/json")
    return Response(msgspec.json.encode({"status": "success", "data": data}), media_type="application/json")


def _instant(visit: Visitor, params: _Params) -> dict[str, Any]:
    at = _time(params.one("time"), "time", float(visit.now))
    query = params.one("query")
    parsed = parse(query)
    if at < visit.now - _EXTRA_S and parsed.reads:
        raise QueryError(
            f'invalid parameter "time": {params.one("time")} is past, and only the present is known here; ask '
            "the Prometheus that scrapes /metrics"
        )
    result = parsed(_series(visit))
    stamp = _stamp(at)
    if isinstance(result, list):
        return {
            "resultType": "vector",
            "result": [{"metric": dict(one.labels), "value": [stamp, number_text(one.value)]} for one in result],
        }
    return {"resultType": "scalar", "result": [stamp, number_text(result)]}


def _range(visit: Visitor, params: _Params) -> dict[str, Any]:
    """Only the newest value is known: it stands at the steps since it was taken, as a first scrape would."""
    start = _time(params.one("start"), "start", None)
    end = _time(params.one("end"), "end", None)
    step = _step(params.one("step"))
    if end < start:
        raise QueryError('invalid parameter "end": end timestamp must not be before start time')
    if (end - start) / step > MOST_POINTS:
        raise QueryError(
            "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution "
            "(?step=XX)"
        )
    parsed = parse(params.one("query"))
    result = parsed(_series(visit))
    steps = [start + number * step for number in range(math.floor((end - start) / step) + 1)]
    taken = visit.server.live.snapshot.taken_at
    series = result if isinstance(result, list) else [Sample({}, result)]
    shown = [at for at in steps if not parsed.reads or taken <= at < taken + LOOKBACK_S]
    return {
        "resultType": "matrix",
        "result": [
            {"metric": dict(one.labels), "values": [[_stamp(at), number_text(one.value)] for at in shown]}
            for one in series
            if shown
        ],
    }


def _label_names(visit: Visitor, params: _Params) -> list[str]:
    return sorted({name for one in _matching(visit, params.all("match[]")) for name in one.labels})


def _series_list(visit: Visitor, params: _Params) -> list[Labels]:
    wanted = params.all("match[]")
    if not wanted:
        raise QueryError("no match[] parameter provided")
    return [one.labels for one in _matching(visit, wanted)]


def _metadata(visit: Visitor, params: _Params) -> dict[str, list[dict[str, str]]]:
    named = params.one("metric")
    return {
        one.name: [{"type": one.type, "help": one.help, "unit": ""}]
        for one in families_for(visit)
        if named in {"", one.name}
    }


_both(
    "/query",
    _instant,
    "Query the gauges",
    "An instant query of Prometheus on our own series, such as `tightrope_burn_rate < 2`.",
    "query",
    "time",
    "timeout",
)
_both(
    "/query_range",
    _range,
    "Query the gauges over a range",
    "Only the present value is known; history is with the Prometheus that scrapes `/metrics`.",
    "query",
    "start",
    "end",
    "step",
)
_both("/labels", _label_names, "List the names of labels", "As Prometheus has it.", "match[]")
_both("/series", _series_list, "List series", "Those that a `match[]` selects.", "match[]")


@router.get(
    "/label/{name}/values",
    summary="List the values of a label",
    operation_id="prometheus_label_values",
    **needs(Permission.READ, also=_SAID),
)
def label_values(
    request: Request, name: str, match: Annotated[list[str] | None, Query(alias="match[]")] = None
) -> Response:
    """As Prometheus has it; `__name__` lists the metrics."""

    def values(visit: Visitor, _params: _Params) -> list[str]:
        if not re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_]*", name):
            raise QueryError(f"invalid label name: {name!r}")
        return sorted({one.labels[name] for one in _matching(visit, match or []) if name in one.labels})

    return _answered(request, _Params([]), values)


@router.get(
    "/metadata",
    summary="Say what the metrics mean",
    operation_id="prometheus_metadata",
    **needs(Permission.READ, also=_SAID),
)
def metadata(request: Request, metric: Annotated[str, Query(max_length=500)] = "") -> Response:
    """As Prometheus has it."""
    return _answered(request, _Params([("metric", metric)]), _metadata)


def _series(visit: Visitor) -> Vector:
    return vector_of(families_for(visit))


def vector_of(families: Iterable[Family]) -> Vector:
    """All series, with their names among the labels."""
    return [Sample({NAME: one.name, **labels}, float(value)) for one in families for labels, value in one.samples]


def _matching(visit: Visitor, selectors: Sequence[str]) -> Vector:
    chosen = [_selector(one) for one in selectors]
    return [one for one in _series(visit) if not chosen or any(each.matches(one.labels) for each in chosen)]


def _time(text: str, name: str, default: float | None) -> float:
    if not text:
        if default is None:
            raise QueryError(f'invalid parameter "{name}": cannot parse "" to a valid timestamp')
        return default
    try:
        found = float(text)
    except ValueError:
        try:
            found = float(parse_time(text))
        except UsageError:
            raise QueryError(f'invalid parameter "{name}": cannot parse {text!r} to a valid timestamp') from None
    if not math.isfinite(found) or abs(found) > 2**40:
        raise QueryError(f'invalid parameter "{name}": cannot parse {text!r} to a valid timestamp')
    return found


def _step(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        try:
            found = float(parse_duration(text).seconds)
        except UsageError:
            raise QueryError(f'invalid parameter "step": cannot parse {text!r} to a valid duration') from None
    if not 0 < found < 2**40:
        raise QueryError(
            'invalid parameter "step": zero or negative query resolution step widths are not accepted. '
            "Try a positive integer"
        )
    return found


def _stamp(at: float) -> int | float:
    return int(at) if at == int(at) else round(at, 3)


# --- the language --------------------------------------------------------------------------------------------------

_TOKEN = re.compile(
    r"\s*(?:#[^\n]*\n?\s*)*(?:"
    r"(?P<number>(?:0[xX][0-9a-fA-F]+|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)(?![\w.]))"
    r"|(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)"
    r"|(?P<op>==|!=|>=|<=|[-+*/%^<>(){},])"
    r"|(?P<end>\Z))"
)
_COMPARE: dict[str, Callable[[float, float], bool]] = {"==": eq, "!=": ne, ">": gt, "<": lt, ">=": ge, "<=": le}
_PRECEDENCE = {**dict.fromkeys(_COMPARE, 1), "+": 2, "-": 2, "*": 3, "/": 3, "%": 3, "^": 4}
_AGGREGATES: dict[str, Callable[[Sequence[float]], float]] = {
    "min": min,
    "max": max,
    "sum": math.fsum,
    "avg": lambda values: math.fsum(values) / len(values),
    "count": lambda values: float(len(values)),
}
_WORDS = {"inf": math.inf, "nan": math.nan}


@dataclass(frozen=True, slots=True)
class Parsed:
    """A query, ready to be answered from all series; ``reads`` tells whether it looks at any."""

    answer: Callable[[Vector], Result]
    reads: bool

    def __call__(self, series: Vector) -> Result:
        return self.answer(series)


def parse(query: str) -> Parsed:
    """Read a query; raises `QueryError`."""
    if not query.strip():
        raise QueryError('invalid parameter "query": unknown position: parse error: no expression found in input')
    if len(query) > _MOST_QUERY:
        raise QueryError(f'invalid parameter "query": it has over {_MOST_QUERY} characters')
    return _Query(query).whole()


class _Query:
    """Reads one query by recursive descent."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._depth = 0

    def whole(self) -> Parsed:
        found = self._expression(0)
        kind, word, _ = self._peek()
        if kind != "end":
            self._refuse(f"unexpected {word!r}")
        return found

    def _peek(self) -> tuple[str, str, int]:
        match = _TOKEN.match(self._text, self._at)
        if match is None or match.lastgroup is None:
            rest = self._text[self._at :].lstrip()
            if rest.startswith("["):
                self._refuse("ranges and functions over them are not known here")
            if rest.startswith(("@", "offset")):
                self._refuse("only the present is known here")
            self._refuse(f"unexpected {rest[:20]!r}")
        return match.lastgroup, match[match.lastgroup], match.end()

    def _next(self) -> tuple[str, str]:
        kind, word, self._at = self._peek()
        return kind, word

    def _expect(self, wanted: str) -> None:
        _, word = self._next()
        if word != wanted:
            self._refuse(f"unexpected {word!r}, expected {wanted!r}")

    def _expression(self, floor: int) -> Parsed:
        self._depth += 1
        if self._depth > _DEEPEST:
            self._refuse("it is nested too deeply")
        left = self._unary()
        while True:
            kind, word, _ = self._peek()
            if kind == "name" and word in {"and", "or", "unless"}:
                self._refuse(f"the operator {word!r} is not known here")
            level = _PRECEDENCE.get(word, 0) if kind == "op" else 0
            if not level or level <= floor - (word == "^"):
                self._depth -= 1
                return left
            self._next()
            as_bool = False
            if self._peek()[:2] == ("name", "bool"):
                if word not in _COMPARE:
                    self._refuse("bool modifier can only be used on comparison operators")
                self._next()
                as_bool = True
            if self._peek()[:2] in {("name", "on"), ("name", "ignoring")}:
                self._refuse("matching of two vectors is not known here")
            right = self._expression(level)
            left = self._joined(word, as_bool, left, right)

    def _unary(self) -> Parsed:
        kind, word, _ = self._peek()
        if kind == "op" and word in {"-", "+"}:
            self._next()
            inner = self._expression(3)
            return _negated(inner) if word == "-" else inner
        return self._primary()

    def _primary(self) -> Parsed:
        start = self._at
        kind, word = self._next()
        if kind == "number":
            value = float(int(word, 16)) if word[:2].lower() == "0x" else float(word)
            return Parsed(lambda _series: value, reads=False)
        if kind == "op" and word == "(":
            inner = self._expression(0)
            self._expect(")")
            return inner
        if kind == "op" and word == "{":
            return self._selected(start)
        if kind == "name":
            following = self._peek()[1]
            if word.lower() in _WORDS and following != "{":
                number = _WORDS[word.lower()]
                return Parsed(lambda _series: number, reads=False)
            if word in _AGGREGATES and following in {"(", "by", "without"}:
                return self._aggregate(word)
            if following == "(":
                self._refuse(f"the function {word!r} is not known here")
            return self._selected(start)
        if kind == "end":
            self._refuse("unexpected end of input")
        return self._refuse(f"unexpected {word!r}")

    def _selected(self, start: int) -> Parsed:
        """Take a selector, from its beginning to its closing brace."""
        self._at = start
        match = re.compile(r"\s*(?:#[^\n]*\n?\s*)*[a-zA-Z0-9_:]*\s*").match(self._text, start)
        end = match.end() if match is not None else start
        if self._text[end : end + 1] == "{":
            end = _closing(self._text, end)
            if end < 0:
                self._refuse("unexpected end of input inside braces")
        selector = _selector(self._text[start:end].strip())
        self._at = end
        if re.match(r"\s*\[", self._text[end:]):
            self._refuse("ranges and functions over them are not known here")
        if re.match(r"\s*(?:@|offset\b)", self._text[end:]):
            self._refuse("only the present is known here")
        return Parsed(lambda series: [one for one in series if selector.matches(one.labels)], reads=True)

    def _aggregate(self, name: str) -> Parsed:
        grouped = self._grouping()
        self._expect("(")
        inner = self._expression(0)
        self._expect(")")
        if not grouped:
            grouped = self._grouping()
        if not inner.reads:
            self._refuse(f"expected type instant vector in aggregation expression, got scalar, in {name}")
        keep, labels = grouped or (True, ())

        def answer(series: Vector) -> Result:
            found = inner(series)
            groups: dict[tuple[tuple[str, str], ...], list[float]] = {}
            for one in found if isinstance(found, list) else ():
                left = {
                    key: value for key, value in one.labels.items() if (key in labels) is keep and (keep or key != NAME)
                }
                groups.setdefault(tuple(sorted(left.items())), []).append(one.value)
            fold = _AGGREGATES[name]
            return [Sample(dict(key), fold(values)) for key, values in groups.items()]

        return Parsed(answer, reads=True)

    def _grouping(self) -> tuple[bool, tuple[str, ...]] | None:
        kind, word, _ = self._peek()
        if kind != "name" or word not in {"by", "without"}:
            return None
        self._next()
        self._expect("(")
        labels: list[str] = []
        while True:
            kind, label = self._next()
            if label == ")":
                return word == "by", tuple(labels)
            if kind != "name":
                self._refuse(f"unexpected {label!r} in grouping opts, expected label")
            labels.append(label)
            _, following, _ = self._peek()
            if following == ",":
                self._next()
            elif following != ")":
                self._refuse(f"unexpected {following!r} in grouping opts, expected ',' or ')'")

    def _joined(self, op: str, as_bool: bool, left: Parsed, right: Parsed) -> Parsed:
        if left.reads and right.reads:
            self._refuse(f"the operator {op!r} between two vectors is not known here")
        if op in _COMPARE and not (left.reads or right.reads or as_bool):
            self._refuse("comparisons between scalars must use BOOL modifier")

        def answer(series: Vector) -> Result:
            return _combined(op, as_bool, left(series), right(series))

        return Parsed(answer, reads=left.reads or right.reads)

    def _refuse(self, why: str) -> NoReturn:
        raise QueryError(f'invalid parameter "query": 1:{self._at + 1}: parse error: {why}')


def _negated(inner: Parsed) -> Parsed:
    def answer(series: Vector) -> Result:
        found = inner(series)
        return [Sample(_nameless(one.labels), -one.value) for one in found] if isinstance(found, list) else -found

    return Parsed(answer, reads=inner.reads)


def _combined(op: str, as_bool: bool, left: Result, right: Result) -> Result:
    if isinstance(left, list):
        assert not isinstance(right, list)
        return [made for one in left if (made := _of_sample(op, as_bool, one, one.value, right)) is not None]
    if isinstance(right, list):
        return [made for one in right if (made := _of_sample(op, as_bool, one, left, one.value)) is not None]
    return float(_COMPARE[op](left, right)) if op in _COMPARE else _arithmetic(op, left, right)


def _of_sample(op: str, as_bool: bool, one: Sample, left: float, right: float) -> Sample | None:
    """What becomes of one series: a comparison keeps it or not, anything else changes it and takes its name."""
    if op not in _COMPARE:
        return Sample(_nameless(one.labels), _arithmetic(op, left, right))
    holds = _COMPARE[op](left, right)
    if as_bool:
        return Sample(_nameless(one.labels), float(holds))
    return one if holds else None


def _nameless(labels: Labels) -> Labels:
    return {key: value for key, value in labels.items() if key != NAME}


def _arithmetic(op: str, left: float, right: float) -> float:
    """As IEEE 754 has it, and Go: division by zero is infinite, or no number."""
    try:
        match op:
            case "+":
                return left + right
            case "-":
                return left - right
            case "*":
                return left * right
            case "/":
                if right == 0:
                    undefined = left == 0 or math.isnan(left)
                    return math.nan if undefined else math.copysign(math.inf, left) * math.copysign(1, right)
                return left / right
            case "%":
                return math.nan if right == 0 or math.isinf(left) else math.fmod(left, right)
            case _:
                return float(left**right) if not (left < 0 and right != int(right)) else math.nan
    except OverflowError:
        return math.inf
    except ZeroDivisionError:
        return math.inf
    except ValueError:
        return math.nan


def _selector(text: str) -> Selector:
    try:
        return parse_selector(text)
    except UsageError as error:
        raise QueryError(f'invalid parameter "query": parse error: {error.message}') from None


def _closing(text: str, opening: int) -> int:
    """The position behind the brace that closes the one at *opening*; -1 where none does."""
    quote = ""
    at = opening + 1
    while at < len(text):
        sign = text[at]
        if quote:
            if sign == "\\" and quote != "`":
                at += 1
            elif sign == quote:
                quote = ""
        elif sign in "\"'`":
            quote = sign
        elif sign == "}":
            return at + 1
        at += 1
    return -1
