"""Which series a metric is about: PromQL's vector selectors, read and matched as Prometheus does."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Generic, NoReturn, TypeVar

from tightrope.base.errors import UsageError
from tightrope.base.values import dataclass, field
from tightrope.telemetry.cells import exact

T = TypeVar("T")

NAME = "__name__"
"""The label that holds the name of a metric."""

_METRIC_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:.]*", re.ASCII)
_LABEL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_.]*", re.ASCII)
_OP = re.compile(r"=~|!~|!=|=")
_BLANKS = re.compile(r"(?:\s|#[^\n]*)*")
_ESCAPE = re.compile(r"""\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{3})|(.))""", re.DOTALL)
_ESCAPED = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\"}
_AS_NUMBERS = frozenset({"le", "quantile"})
_EXAMPLE = 'write one such as http_requests_total{job="shop",code!~"5.."}'


@dataclass(frozen=True, slots=True)
class Matcher:
    """What one label must be: ``op`` is ``=``, ``!=``, ``=~`` or ``!~``. A label that is absent is the empty text."""

    label: str
    op: str
    value: str
    pattern: re.Pattern[str] | None = field(default=None, compare=False)

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Tell whether a series passes."""
        found = labels.get(self.label, "")
        if self.pattern is not None:
            return (self.pattern.fullmatch(found) is not None) is (self.op == "=~")
        return (plain_value(self.label, found) == plain_value(self.label, self.value)) is (self.op == "=")

    def __str__(self) -> str:
        escaped = self.value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
        return f'{self.label}{self.op}"{escaped}"'


@dataclass(frozen=True, slots=True)
class Selector:
    """A vector selector: every matcher must pass. ``text`` is how it was written."""

    matchers: tuple[Matcher, ...]
    text: str = field(default="", compare=False)

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Tell whether a series, given as its labels with ``__name__`` among them, is selected."""
        return all(matcher.matches(labels) for matcher in self.matchers)

    def __str__(self) -> str:
        """Write the selector in one form, whatever it was written in."""
        name = next((one.value for one in self.matchers if one.label == NAME and one.op == "="), "")
        plain = name if _METRIC_NAME.fullmatch(name) else ""
        rest = [str(one) for one in self.matchers if not (plain and one.label == NAME and one.op == "=")]
        return plain + ("{" + ",".join(sorted(rest)) + "}" if rest else "")


def parse_selector(text: str) -> Selector:
    """Read a vector selector.

    Besides PromQL's own notation, names may hold dots as OpenTelemetry's do, without quotes.

    Raises:
        UsageError: It is none; says at which column, counted from 1.
    """
    return _Parser(text).selector()


def plain_value(label: str, value: str) -> str:
    """Bring the bound of a bucket or quantile to one notation, since it is a number: 0.30 is 0.3, and 1.0 is 1."""
    if label in _AS_NUMBERS:
        number = exact(value)
        return value.lstrip("+") if isinstance(number, str) else str(number)
    return value


class Selectors(Generic[T]):
    """Many selectors, and what each stands for; finds those that select a series without trying every one."""

    def __init__(self) -> None:
        # By the labels that must have one value, and by those values: a few look-ups for any number of selectors.
        self._exact: dict[tuple[str, ...], dict[tuple[str, ...], list[tuple[Selector, T]]]] = {}
        self._names: set[str] | None = set()

    def add(self, selector: Selector, item: T) -> None:
        """Remember that *item* is about the series that *selector* selects."""
        fixed = sorted({(one.label, plain_value(one.label, one.value)) for one in _fixed(selector)})
        labels = tuple(label for label, _ in fixed)
        values = tuple(value for _, value in fixed)
        self._exact.setdefault(labels, {}).setdefault(values, []).append((selector, item))
        if self._names is not None:
            name = next((one.value for one in _fixed(selector) if one.label == NAME), None)
            self._names = None if name is None else self._names | {name}

    def find(self, labels: Mapping[str, str]) -> list[T]:
        """List what the selectors of a series stand for, in no particular order."""
        if self._names is not None and labels.get(NAME, "") not in self._names:
            return []
        found = []
        for names, by_values in self._exact.items():
            values = tuple(plain_value(name, labels.get(name, "")) for name in names)
            found += [item for selector, item in by_values.get(values, ()) if selector.matches(labels)]
        return found


def _fixed(selector: Selector) -> list[Matcher]:
    return [one for one in selector.matchers if one.op == "=" and one.value]


class _Parser:
    """Reads one selector from left to right."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def selector(self) -> Selector:
        matchers: list[Matcher] = []
        self._blanks()
        name = self._take(_METRIC_NAME)
        if name:
            matchers.append(Matcher(NAME, "=", name))
            self._blanks()
        if self._peek() == "{":
            self._at += 1
            self._matchers(matchers)
        elif not name:
            self._fail("a selector begins with the name of a metric, or with {")
        self._blanks()
        rest = self._text[self._at :]
        if rest:
            self._fail(_beyond(rest))
        if not any(_wants_something(one) for one in matchers):
            self._at = 0
            self._fail("it selects everything: at least one matcher must not match the empty text")
        return Selector(tuple(matchers), self._text.strip())

    def _matchers(self, into: list[Matcher]) -> None:
        while True:
            self._blanks()
            if self._peek() == "}":
                self._at += 1
                return
            self._matcher(into)
            self._blanks()
            mark = self._peek()
            if mark == ",":
                self._at += 1
            elif mark != "}":
                self._fail('"," or "}" is missing' if mark else 'it ends without "}"')

    def _matcher(self, into: list[Matcher]) -> None:
        begin = self._at
        quoted = self._peek() in {'"', "'", "`"}
        label = self._string() if quoted else self._take(_LABEL_NAME)
        if not label:
            self._fail("the name of a label must stand here" if self._peek() else 'it ends without "}"')
        self._blanks()
        op = self._take(_OP)
        if not op and quoted and self._peek() in {",", "}"}:
            label, op, value = NAME, "=", label
        elif not op:
            self._fail(f'one of = != =~ !~ must follow the label "{label}"')
        else:
            self._blanks()
            if self._peek() not in {'"', "'", "`"}:
                self._fail("the value must stand in quotes")
            place = self._at
            value = self._string()
            if op in {"=~", "!~"}:
                self._at, end = place, self._at
                pattern = self._pattern(value)
                self._at = end
                into.append(Matcher(label, op, value, pattern))
                return
        if label == NAME and op == "=" and any(one.label == NAME and one.op == "=" for one in into):
            self._at = begin
            self._fail("the name of the metric is set twice")
        into.append(Matcher(label, op, value))

    def _string(self) -> str:
        quote = self._text[self._at]
        begin = self._at
        at = begin + 1
        while at < len(self._text) and self._text[at] != quote:
            at += 2 if self._text[at] == "\\" and quote != "`" else 1
        if at >= len(self._text):
            self._fail("a quote is opened and not closed")
        self._at = at + 1
        inner = self._text[begin + 1 : at]
        return inner if quote == "`" else _ESCAPE.sub(lambda one: self._unescaped(one, begin, quote), inner)

    def _unescaped(self, one: re.Match[str], begin: int, quote: str) -> str:
        for group, base in ((1, 16), (2, 16), (3, 16), (4, 8)):
            if one[group] and int(one[group], base) < 0x110000:
                return chr(int(one[group], base))
        if one[5] == quote:
            return quote
        if one[5] not in _ESCAPED:
            self._at = begin + 1 + one.start()
            self._fail(rf"{one[0]} is no escape; a backslash is written \\")
        return _ESCAPED[one[5]]

    def _pattern(self, value: str) -> re.Pattern[str]:
        try:
            return compiled_pattern(value)
        except UsageError as error:
            self._fail(error.message)

    def _blanks(self) -> None:
        self._take(_BLANKS)

    def _take(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self._text, self._at)
        if match is None:
            return ""
        self._at = match.end()
        return match[0]

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _fail(self, why: str) -> NoReturn:
        raise UsageError(f"{self._text!r} is no selector: column {self._at + 1}: {why}", remedy=_EXAMPLE)


def _wants_something(matcher: Matcher) -> bool:
    return not matcher.matches({})


def _beyond(rest: str) -> str:
    if rest[0] in "[(":
        return "a selector alone is wanted, without a range or function: samples are differenced here"
    if rest.startswith("offset") or rest[0] == "@":
        return "a selector alone is wanted, without offset or @"
    return f"nothing may follow the selector, but {rest[:20]!r} does"


# --- regular expressions -----------------------------------------------------------------------------------------

_POSIX = {
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "ascii": r"\x00-\x7F",
    "blank": r"\t ",
    "cntrl": r"\x00-\x1F\x7F",
    "digit": "0-9",
    "graph": "!-~",
    "lower": "a-z",
    "print": " -~",
    "punct": r"!-/:-@\[-`{-~",
    "space": r"\t\n\v\f\r ",
    "upper": "A-Z",
    "word": "0-9A-Za-z_",
    "xdigit": "0-9A-Fa-f",
}
_PLAIN = {"$": r"\Z", "{": r"\{"}  # $ is the very end, and a brace that repeats nothing stands for itself
_LIKE_PYTHON = frozenset("dDwWsSbBafnrtv")
_GROUP = re.compile(r"\((?:\?(?:P?<([a-zA-Z_]\w*)>|([a-zA-Z]*(?:-[a-zA-Z]+)?)([:)])))?", re.ASCII)
_REPEAT = re.compile(r"[*+?]|\{\d+(?:,\d*)?\}", re.ASCII)
_HEX = re.compile(r"\\x(?:\{([0-9a-fA-F]+)\}|([0-9a-fA-F]{2}))")


@lru_cache(maxsize=4096)
def compiled_pattern(text: str) -> re.Pattern[str]:
    """Compile a regular expression in RE2's notation, as Prometheus takes it; matched against the whole value.

    What RE2 does not know (look-around, back references) is refused rather than understood differently.

    Raises:
        UsageError: It is no regular expression, or one that RE2 or this reader does not know.
    """
    try:
        return re.compile("".join(_translated(text)), re.ASCII | re.DOTALL)
    except (re.error, OverflowError, RecursionError) as error:
        raise UsageError(f"{text!r} is no regular expression: {error}") from None


def _translated(text: str) -> Iterator[str]:
    at = 0
    repeated = False
    while at < len(text):
        mark = text[at]
        repeat = _REPEAT.match(text, at)
        if repeat is not None:
            lazy = text[repeat.end() : repeat.end() + 1] == "?"
            if repeated:
                raise UsageError(f"{text!r} is no regular expression: {repeat[0]} follows another repetition")
            yield repeat[0] + ("?" if lazy else "")
            at = repeat.end() + lazy
            repeated = True
            continue
        repeated = False
        if mark == "\\":
            piece, at = _escape(text, at)
        elif mark == "[":
            piece, at = _class(text, at)
        elif mark == "(":
            piece, at = _group(text, at)
        else:
            piece, at = _PLAIN.get(mark, mark), at + 1
        yield piece


def _group(text: str, at: int) -> tuple[str, int]:
    match = _GROUP.match(text, at)
    assert match is not None
    if text[match.end() : match.end() + 1] == "?" and match[0] == "(":
        raise UsageError(f"{text!r}: {text[at : at + 4]!r} is unknown to RE2, which has no look-around")
    flags = match[2] or ""
    if match[0] == "(" or match[1]:
        return "(", match.end()
    for flag in flags.replace("-", ""):
        if flag not in "ims":
            raise UsageError(f"{text!r}: the flag {flag!r} is not supported; i, m and s are")
    if match[3] == ")":
        if at:
            raise UsageError(f"{text!r}: flags must stand at the beginning, or in a group as in (?i:x)")
        if not flags or "-" in flags:
            raise UsageError(f"{text!r}: {match[0]!r} is not supported")
    return match[0], match.end()


def _escape(text: str, at: int) -> tuple[str, int]:
    mark = text[at + 1 : at + 2]
    if mark in _LIKE_PYTHON and mark:
        return text[at : at + 2], at + 2
    if mark in {"A", "z"}:
        return (r"\A" if mark == "A" else r"\Z"), at + 2
    if mark == "Q":
        end = text.find(r"\E", at)
        end = len(text) if end < 0 else end
        return re.escape(text[at + 2 : end]), end + 2
    if mark == "x":
        match = _HEX.match(text, at)
        if match and int(match[1] or match[2], 16) < 0x110000:
            return re.escape(chr(int(match[1] or match[2], 16))), match.end()
    if mark and not mark.isalnum():
        return re.escape(mark), at + 2
    what = text[at : at + 2]
    raise UsageError(f"{text!r}: {what!r} is " + ("unknown to RE2" if mark != "p" else "not supported"))


def _class(text: str, at: int) -> tuple[str, int]:
    pieces = ["["]
    at += 1
    if text[at : at + 1] == "^":
        pieces.append("^")
        at += 1
    first = True
    while at < len(text) and (text[at] != "]" or first):
        first = False
        if text.startswith("[:", at) and ":]" in text[at:]:
            end = text.index(":]", at)
            name = text[at + 2 : end]
            if name not in _POSIX:
                raise UsageError(f"{text!r}: [:{name}:] is no class of characters that is supported")
            pieces.append(_POSIX[name])
            at = end + 2
        elif text[at] == "\\":
            piece, at = _escape(text, at)
            pieces.append(piece)
        else:
            # Python warns of [, && and the like within a class, and may come to read them differently.
            pieces.append("\\" + text[at] if text[at] in "[]&~|" else text[at])
            at += 1
    if at >= len(text):
        raise UsageError(f"{text!r} is no regular expression: [ is opened and not closed")
    return "".join(pieces) + "]", at + 1
