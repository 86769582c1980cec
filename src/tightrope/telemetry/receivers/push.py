"""Our own push API: whole slices as JSON, each taking the place of what was there; or metrics in text form."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from fractions import Fraction
from math import isfinite
from typing import Any, NoReturn

from tightrope.base.errors import UsageError
from tightrope.telemetry.cells import LARGEST_COUNT
from tightrope.telemetry.options import did_you_mean
from tightrope.telemetry.received import SLO_LABEL, pushed_series
from tightrope.telemetry.receivers.bodies import media_type, opened, sealed, unpacked
from tightrope.telemetry.samples import Book, Checked, Delivery, PushedSlice, label_bytes, samples_of
from tightrope.telemetry.selectors import NAME
from tightrope.telemetry.stamps import END_MICROS, MICROS, epoch_micros, read_stamp

_JSON, _LINES, _TEXT = 1, 2, 3
_FORMS = {
    "application/json": _JSON,
    "application/x-ndjson": _LINES,
    "application/ndjson": _LINES,
    "application/jsonl": _LINES,
    "text/plain": _TEXT,
    "application/openmetrics-text": _TEXT,
}
_GENERIC = frozenset({"", "application/octet-stream", "application/x-www-form-urlencoded"})
_FIELDS = ("series", "slo", "time", "good", "bad", "total", "value", "values")
_MOST_VALUES = 100_000
_MOST_DIGITS = 40

_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_SAMPLE = re.compile(
    rf'({_NAME}[ \t]*(?:\{{(?:[^"}}]|"(?:[^"\\]|\\.)*")*\}})?)[ \t]*(?<=[ \t}}])'
    r"(\S+)(?:[ \t]+(\S+))?(?:[ \t]+\#.*)?[ \t]*",
    re.ASCII,
)
_LABEL = re.compile(r'\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*=\s*"((?:[^"\\]|\\.)*)"\s*(?:,|$)', re.ASCII)
_ESCAPES = {r"\\": "\\", r"\"": '"', r"\n": "\n"}
_NUMBER = re.compile(r"[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?|inf|infinity|nan)", re.ASCII | re.IGNORECASE)
_SUFFIXES = ("_total", "_bucket", "_count", "_sum")
_CREATED = "_created"


class Push:
    """Reads what is pushed in our own format, or as metrics in the text form of Prometheus and OpenMetrics."""

    kind = "push"

    def __init__(self) -> None:
        self._book = Book()

    def check(self, body: bytes, headers: Mapping[str, str], now: int) -> Checked:
        """Read a body, and check that it is whole; see `Receiver.check`."""
        plain = unpacked(body, headers)
        form = _form(plain, headers)
        delivery = self._read(form, plain, now)
        if not len(delivery):
            raise UsageError("the body holds nothing", remedy=_EXAMPLE)
        return Checked(len(delivery), sealed(form, now, plain), delivery)

    def read(self, kept: bytes) -> Delivery:
        """Read what was kept of a body."""
        form, at, body = opened(kept)
        return self._read(form, body, at)

    def _read(self, form: int, body: bytes, at: int) -> Delivery:
        if self._book.full:
            self._book = Book()
        try:
            text = body.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise UsageError(f"the body is not UTF-8: byte {error.start}", remedy="send UTF-8") from None
        if form == _TEXT:
            return _exposition(text, self._book, at)
        records = _lines(text) if form == _LINES else _whole(text)
        return Delivery(samples_of(self._book, []), tuple(_slice(record, where) for where, record in records), at)


_EXAMPLE = 'send {"series": "checkout", "time": "2026-03-21T09:40:00Z", "good": 118, "total": 120}'


def _form(body: bytes, headers: Mapping[str, str]) -> int:
    kind, _ = media_type(headers)
    form = _FORMS.get(kind)
    if form is not None:
        return form
    if kind not in _GENERIC and not kind.endswith("+json"):
        remedy = did_you_mean(kind, list(_FORMS), "send one of")
        raise UsageError(f"bodies of the type {kind!r} are not read here", remedy=remedy)
    return _JSON if body.lstrip()[:1] in {b"{", b"["} else _TEXT


# --- slices as JSON ----------------------------------------------------------------------------------------------


def _whole(text: str) -> Iterator[tuple[str, Any]]:
    content = _json(text, "the body")
    if isinstance(content, list):
        yield from ((f"record {number}", record) for number, record in enumerate(content, start=1))
    else:
        yield "the body", content


def _lines(text: str) -> Iterator[tuple[str, Any]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield f"line {number}", _json(line, f"line {number}")


def _json(text: str, where: str) -> Any:
    def refuse(word: str) -> NoReturn:
        raise UsageError(f"{where} holds {word}, which is no number", remedy=_EXAMPLE)

    try:
        return json.loads(text, parse_float=Decimal, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{where} is not JSON: {error}", remedy=_EXAMPLE) from None


def _slice(record: Any, where: str) -> PushedSlice:
    """Read one record; raises `UsageError` that names it."""

    def wrong(why: str, remedy: str = _EXAMPLE) -> UsageError:
        return UsageError(f"{where}: {why}", remedy=remedy)

    if not isinstance(record, dict):
        raise wrong("a slice must be an object")
    for key in record:
        if key not in _FIELDS:
            raise wrong(f"unknown field {key!r}", did_you_mean(key, _FIELDS, "it knows"))
    given = {key: value for key, value in record.items() if value is not None}
    if ("series" in given) == ("slo" in given):
        raise wrong("it must name a series or an slo" + (", not both" if "slo" in given else ""))
    labels = _labels(given, wrong)
    time = _time(given, wrong)
    if "value" in given or "values" in given:
        if "value" in given and "values" in given:
            raise wrong("value and values exclude each other")
        if given.keys() & {"good", "bad", "total"}:
            raise wrong("a slice has values, or good and total, not both")
        listed = given["values"] if "values" in given else [given["value"]]
        if not isinstance(listed, list) or not 0 < len(listed) <= _MOST_VALUES:
            raise wrong(f"values must be a list of 1 to {_MOST_VALUES:,} numbers")
        return PushedSlice(labels, time, values=tuple(_number(value, "value", wrong) for value in listed))
    if "total" not in given or ("good" in given) == ("bad" in given):
        raise wrong("a slice needs total, and good or bad")
    total = _count(given["total"], "total", wrong)
    part = "good" if "good" in given else "bad"
    count = _count(given[part], part, wrong)
    if count > total:
        raise wrong(f"{part} is {given[part]} of {given['total']}", f"{part} can't be above total")
    return PushedSlice(labels, time, total, count if part == "good" else total - count)


def _labels(given: Mapping[str, Any], wrong: Callable[..., UsageError]) -> bytes:
    key = "series" if "series" in given else "slo"
    name = given[key]
    if not isinstance(name, str) or not name.strip():
        raise wrong(f"{key} must be a text")
    if key == "slo":
        return label_bytes({SLO_LABEL: name})
    selector = pushed_series(name)
    if any(matcher.op != "=" for matcher in selector.matchers):
        raise wrong(f"{name!r} must be one series, without patterns")
    labels = {matcher.label: matcher.value for matcher in selector.matchers}
    if len(labels) < len(selector.matchers):
        raise wrong(f"{name!r} names a label twice")
    return label_bytes(labels)


def _time(given: Mapping[str, Any], wrong: Callable[..., UsageError]) -> int:
    time = given.get("time")
    if time is None or isinstance(time, (bool, list, dict)):
        raise wrong("time is missing: any instant within the slice")
    stamp = read_stamp(str(time))
    if isinstance(stamp, str):
        raise wrong(f"it {stamp}", "write ISO 8601 such as 2026-03-21T09:40:00Z, or seconds since the epoch")
    if not 0 <= stamp.micros < END_MICROS:
        raise wrong(f"its time {time} is outside the years 1970 to 2199")
    return stamp.micros // MICROS


def _number(value: Any, name: str, wrong: Callable[..., UsageError]) -> Fraction:
    if isinstance(value, bool) or not isinstance(value, (int, Decimal)):
        raise wrong(f"{name} must be a number, not {value!r}")
    number = Decimal(value)
    if number and abs(number.adjusted()) > _MOST_DIGITS:
        raise wrong(f"{name} is out of range")
    return Fraction(number)


def _count(value: Any, name: str, wrong: Callable[..., UsageError]) -> Fraction:
    number = _number(value, name, wrong)
    if number < 0:
        raise wrong(f"{name} is {value}: a count can't be negative")
    if number > LARGEST_COUNT:
        raise wrong(f"{name} is {value}: too large to count")
    return number


# --- metrics as text ---------------------------------------------------------------------------------------------


def _exposition(text: str, book: Book, at: int) -> Delivery:
    rows: list[tuple[int, int, float]] = []
    created: dict[tuple[str, bytes], int] = {}
    owners: list[tuple[str, bytes] | None] = []
    for line_number, line in enumerate(text.split("\n"), start=1):
        line = line.rstrip("\r")
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _SAMPLE.fullmatch(line.lstrip())
        if match is None or not _NUMBER.fullmatch(match[2]):
            raise UsageError(
                f"line {line_number} is no sample: {line[:80]!r}",
                remedy='write a name, labels, a value and perhaps a time: http_requests_total{code="200"} 42',
            )
        value = float(match[2])
        time = at * 1000 if match[3] is None else _stamp(match[3], line_number)
        name, labels = _series(match[1].strip(), line_number)
        if name.endswith(_CREATED):
            created[name.removesuffix(_CREATED), _without_bound(labels)] = int(value * 1000) if isfinite(value) else 0
        key = match[1].strip().encode()
        number = book.numbers.get(key)
        if number is None:
            number = book.add(key, label_bytes(labels))
        rows.append((number, time, value))
        suffix = next((one for one in _SUFFIXES if name.endswith(one)), None)
        owners.append(None if suffix is None else (name.removesuffix(suffix), _without_bound(labels)))
    begun = [0 if owner is None else created.get(owner, 0) for owner in owners]
    return Delivery(samples_of(book, rows, begun if created else None), (), at)


def _series(text: str, line: int) -> tuple[str, dict[str, str]]:
    name, _, inner = text.partition("{")
    name, inner = name.strip(), inner.removesuffix("}").strip()
    labels = {NAME: name}
    at = 0
    while at < len(inner):
        match = _LABEL.match(inner, at)
        if match is None:
            raise UsageError(f"line {line}: its labels can't be read: {text[:80]!r}", remedy='write {name="value"}')
        if match[1] in labels:
            raise UsageError(f"line {line}: the label {match[1]!r} stands there twice", remedy="keep one of them")
        labels[match[1]] = re.sub(r"\\.", lambda escape: _ESCAPES.get(escape[0], escape[0]), match[2])
        at = match.end()
    return name, labels


def _without_bound(labels: Mapping[str, str]) -> bytes:
    return label_bytes({name: value for name, value in labels.items() if name not in {NAME, "le", "quantile"}})


def _stamp(text: str, line: int) -> int:
    """Read a time: milliseconds in Prometheus' form, seconds in OpenMetrics'; its size tells."""
    if _NUMBER.fullmatch(text) and "e" in text.lower() and len(text) < 30:
        text = f"{Decimal(text):f}"
    micros = epoch_micros(text)
    if micros is None:
        raise UsageError(f"line {line}: {text[:40]!r} is no time", remedy="write seconds or ms since the epoch")
    return micros // 1000
