"""YAML and JSON read into nodes that remember file, line and column, and the text of every scalar.

Scalars follow the YAML 1.2 core schema, not PyYAML's 1.1: ``on`` and ``12:30`` are text, and ``0.999`` stays text until
somebody asks for a number, so that it becomes exactly 999/1000.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction
from typing import Any, NoReturn

import yaml

from tightrope.base.errors import Place, SpecError
from tightrope.base.values import dataclass, field
from tightrope.specs.findings import severity_of

BYTES_MAX = 4 * 1024 * 1024
NODES_MAX = 200_000
NESTING_MAX = 64

_NULL = re.compile(r"~|null|Null|NULL|")
_TRUE = re.compile(r"true|True|TRUE")
_FALSE = re.compile(r"false|False|FALSE")
_WHOLE = re.compile(r"[-+]?[0-9]+")
_BASED = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_DECIMAL = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]{1,2})?")
_DIGITS_MAX = 64
_CORE_TAGS = frozenset(f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null", "map", "seq"))


@dataclass(frozen=True, slots=True)
class ScalarNode:
    """One scalar as written; ``plain`` is False where quotes or a block made it text."""

    text: str
    plain: bool
    place: Place


@dataclass(frozen=True, slots=True)
class ListNode:
    """A list, in order."""

    items: tuple[Node, ...]
    place: Place


@dataclass(frozen=True, slots=True)
class MapNode:
    """A mapping, in order; no key comes twice."""

    entries: tuple[tuple[ScalarNode, Node], ...]
    place: Place

    def get(self, key: str) -> Node | None:
        """Find the value of a key."""
        return next((value for name, value in self.entries if name.text == key), None)


Node = ScalarNode | ListNode | MapNode


@dataclass(slots=True)
class Report:
    """Collects findings; knows the lines of every file for their excerpts."""

    findings: list[SpecError] = field(default_factory=list)
    lines: dict[str, list[str]] = field(default_factory=dict)
    unread: set[str] = field(default_factory=set)  # files of which some part could not be read at all

    def add(self, code: str, message: str, place: Place, *, path: str = "", note: str = "", remedy: str = "") -> None:
        """Note one finding; its severity follows from the code."""
        lines = self.lines.get(place.file, [])
        line = lines[place.line - 1] if place.line <= len(lines) else ""
        self.findings.append(
            SpecError(
                code,
                message,
                place,
                path=path,
                severity=severity_of(code),
                note=note,
                remedy=remedy,
                source_line=line,
            )
        )

    def errors(self) -> int:
        """Count the findings that are errors."""
        return sum(finding.severity == "error" for finding in self.findings)


def read_documents(text: str, file: str, report: Report) -> tuple[Node, ...]:
    """Read all YAML documents of *text*, JSON being YAML; empty documents are left out.

    What cannot be read becomes one finding, and the documents before it are still returned.
    """
    report.lines[file] = text.splitlines()
    documents: list[Node] = []
    try:
        # One by one, so that the documents before a broken one are kept.
        for document in _Composer(text, file, report).documents():
            documents.append(document)  # noqa: PERF402
    except _UnreadableError:
        report.unread.add(file)
    except UnicodeEncodeError as error:
        place = _place_at(text, error.start, file)
        report.add("TR005", "a character that is no Unicode text", place, remedy="save the file as UTF-8")
        report.unread.add(file)
    except yaml.YAMLError as error:
        _tell_yaml_error(error, text, file, report)
        report.unread.add(file)
    return tuple(documents)


def is_null(node: Node) -> bool:
    """Whether the node is YAML's null, or nothing at all."""
    return isinstance(node, ScalarNode) and node.plain and _NULL.fullmatch(node.text) is not None


def flag_of(node: Node) -> bool | None:
    """The node as true or false; None if it is neither."""
    if not isinstance(node, ScalarNode) or not node.plain:
        return None
    if _TRUE.fullmatch(node.text):
        return True
    return False if _FALSE.fullmatch(node.text) else None


def number_of(node: Node) -> Fraction | None:
    """The node as an exact decimal; None if it is no finite number, or an absurdly long one."""
    if not isinstance(node, ScalarNode) or not node.plain or len(node.text) > _DIGITS_MAX:
        return None
    return Fraction(node.text) if _DECIMAL.fullmatch(node.text) else None


def is_text(node: Node) -> bool:
    """Whether the node is text by the core schema: quoted, or nothing that reads as null, bool or number."""
    if not isinstance(node, ScalarNode):
        return False
    return not node.plain or not (
        is_null(node) or flag_of(node) is not None or isinstance(_number_plain(node.text), int | float)
    )


def plain_value(node: Node) -> Any:
    """The node as plain YAML values: dict, list, str, int, float, bool, None."""
    if isinstance(node, MapNode):
        return {key.text: plain_value(value) for key, value in node.entries}
    if isinstance(node, ListNode):
        return [plain_value(item) for item in node.items]
    if not node.plain:
        return node.text
    if is_null(node):
        return None
    flag = flag_of(node)
    return _number_plain(node.text) if flag is None else flag


def canonical(node: Node) -> Any:
    """The node as values whose JSON is the same for the same content: keys sorted, numbers exact, ``1.0`` as ``1``."""
    if isinstance(node, MapNode):
        return {key.text: canonical(value) for key, value in sorted(node.entries, key=lambda entry: entry[0].text)}
    if isinstance(node, ListNode):
        return [canonical(item) for item in node.items]
    number = number_of(node)
    if number is not None:
        return {"number": str(number)}
    return plain_value(node)


def described(node: Node) -> str:
    """Say what the node is, for a message: ``a list``, ``the number 5``, ``text``."""
    if isinstance(node, MapNode):
        return "a mapping"
    if isinstance(node, ListNode):
        return "a list"
    if is_null(node):
        return "empty"
    if is_text(node):
        return "text"
    kind = "number" if flag_of(node) is None else "truth value"
    return f"the {kind} {clipped(node.text)}"


def clipped(text: str, longest: int = 60) -> str:
    """Cut *text* to one short line, for a message."""
    line = " ".join(text.split())
    return line if len(line) <= longest else line[: longest - 1] + "…"


class _UnreadableError(Exception):
    """Reading of the file stops here; the finding is already noted."""


class _Composer:
    """Turns the events of libyaml into nodes, with limits on size, nesting and aliases."""

    def __init__(self, text: str, file: str, report: Report) -> None:
        # The C parser is part of every PyYAML wheel; the Python one gives the same events, ten times slower.
        loader = getattr(yaml, "CLoader", yaml.Loader)
        self._parser = loader(text)
        self._file = file
        self._report = report
        self._anchors: dict[str, tuple[Node, int, int] | None] = {}
        self._nodes = 0

    def documents(self) -> Iterator[Node]:
        """Yield the root of each document that is not empty."""
        while True:
            event = self._parser.get_event()
            if isinstance(event, yaml.StreamEndEvent):
                return
            if isinstance(event, yaml.DocumentStartEvent):
                self._anchors = {}
                self._nodes = 0
                node, _, _ = self._node(self._parser.get_event(), 0)
                if not is_null(node):
                    yield node

    def _node(self, event: Any, depth: int) -> tuple[Node, int, int]:
        """Read one node; also tell its size with all aliases written out, and its height."""
        place = self._place(event)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event.anchor or "", depth, place)
        if event.tag is not None and event.tag not in _CORE_TAGS and event.tag != "!":
            self._stop(
                "TR007",
                f"the tag {clipped(event.tag)} is not understood",
                place,
                "remove the tag; specs are plain YAML",
            )
        if event.anchor is not None:
            self._anchors[event.anchor] = None
        if depth >= NESTING_MAX:
            _tell_nesting(place, self._report)
            raise _UnreadableError
        if isinstance(event, yaml.ScalarEvent):
            plain = event.style in (None, "") and event.tag not in ("tag:yaml.org,2002:str", "!")
            built: tuple[Node, int, int] = (ScalarNode(event.value, plain, place), 1, 0)
        elif isinstance(event, yaml.SequenceStartEvent):
            built = self._list(place, depth)
        else:
            built = self._map(place, depth)
        self._count(built[1], place)
        if event.anchor is not None:
            self._anchors[event.anchor] = built
        return built

    def _list(self, place: Place, depth: int) -> tuple[Node, int, int]:
        items: list[Node] = []
        size, height = 1, 0
        while not isinstance(event := self._parser.get_event(), yaml.SequenceEndEvent):
            node, node_size, node_height = self._node(event, depth + 1)
            items.append(node)
            size, height = size + node_size, max(height, node_height + 1)
        return ListNode(tuple(items), place), size, height

    def _map(self, place: Place, depth: int) -> tuple[Node, int, int]:
        entries: dict[str, tuple[ScalarNode, Node]] = {}
        merged: list[tuple[ScalarNode, Node]] = []
        size, height = 1, 0
        while not isinstance(event := self._parser.get_event(), yaml.MappingEndEvent):
            key, _, _ = self._node(event, depth + 1)
            value, value_size, value_height = self._node(self._parser.get_event(), depth + 1)
            size, height = size + value_size + 1, max(height, value_height + 1)
            if not isinstance(key, ScalarNode):
                self._report.add("TR001", "a key must be text", key.place, remedy="write `name: value`")
            elif key.plain and key.text == "<<":
                merged += self._merge(value)
            elif key.text in entries:
                first = entries[key.text][0].place
                self._report.add(
                    "TR003",
                    f"{clipped(key.text)} is given twice in one mapping",
                    key.place,
                    note=f"first on line {first.line}",
                    remedy="keep one of the two",
                )
            else:
                entries[key.text] = (key, value)
        for key, value in merged:
            entries.setdefault(key.text, (key, value))
        return MapNode(tuple(entries.values()), place), size, height

    def _merge(self, value: Node) -> list[tuple[ScalarNode, Node]]:
        """The entries that ``<<`` brings in; the mapping's own keys and earlier ones win."""
        sources = value.items if isinstance(value, ListNode) else (value,)
        found: list[tuple[ScalarNode, Node]] = []
        for source in sources:
            if isinstance(source, MapNode):
                found += source.entries
            else:
                self._report.add(
                    "TR007", "`<<` merges mappings only", source.place, remedy="give it an alias of a mapping"
                )
        return found

    def _alias(self, name: str, depth: int, place: Place) -> tuple[Node, int, int]:
        if name not in self._anchors:
            self._stop(
                "TR007", f"the alias *{name} has no anchor &{name} before it", place, f"add &{name} where the value is"
            )
        built = self._anchors[name]
        if built is None:
            self._stop("TR007", f"the alias *{name} stands inside its own anchor", place, "write the value out")
        if depth + built[2] >= NESTING_MAX:
            self._stop("TR006", f"aliases nest deeper than {NESTING_MAX} levels", place, "write the values out")
        self._count(built[1], place)
        return built

    def _count(self, size: int, place: Place) -> None:
        """Refuse documents that grow beyond all measure once their aliases are written out."""
        self._nodes += 1
        if size > NODES_MAX or self._nodes > NODES_MAX:
            self._stop(
                "TR006",
                f"more than {NODES_MAX} values, aliases written out",
                place,
                "split the file, or use fewer aliases",
            )

    def _stop(self, code: str, message: str, place: Place, remedy: str) -> NoReturn:
        self._report.add(code, message, place, remedy=remedy)
        raise _UnreadableError

    def _place(self, event: Any) -> Place:
        start, end = event.start_mark, event.end_mark
        line, column = start.line, start.column
        length = end.column - column if end.line == line else 1
        if isinstance(event, yaml.ScalarEvent) and end.line != line:
            lines = self._report.lines[self._file]
            length = len(lines[line].rstrip()) - column if line < len(lines) else 1
        return Place(self._file, line + 1, column + 1, max(1, length))


def _number_plain(text: str) -> int | float | str:
    if len(text) > _DIGITS_MAX:
        return text
    if _WHOLE.fullmatch(text):
        return int(text)
    if _BASED.fullmatch(text):
        return int(text[2:], 8 if text[1] == "o" else 16)
    return float(text) if _DECIMAL.fullmatch(text) else text


def _tell_nesting(place: Place, report: Report) -> None:
    remedy = "a spec is never this deep; check the brackets"
    report.add("TR006", f"nested deeper than {NESTING_MAX} levels", place, remedy=remedy)


def _tell_yaml_error(error: yaml.YAMLError, text: str, file: str, report: Report) -> None:
    """Turn libyaml's words into one finding that says what to do."""
    if isinstance(error, yaml.reader.ReaderError):
        # The C reader numbers characters by their bytes, and does not say which.
        index = next((i for i, char in enumerate(text) if _unprintable(char)), 0)
        what = f"the control character U+{ord(text[index]):04X}" if text else "a control character"
        report.add("TR001", f"{what} cannot stand in YAML", _place_at(text, index, file), remedy="remove it")
        return
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    lines = report.lines[file]
    line, column = (mark.line, mark.column) if mark is not None else (0, 0)
    if line >= len(lines):  # "unexpected end" is reported on the line after the last one
        line, column = max(0, len(lines) - 1), max(0, len(lines[-1]) - 1 if lines else 0)
    place = Place(file, line + 1, column + 1)
    shown = lines[line] if line < len(lines) else ""
    if "\t" in shown[: column + 1] and not shown[: column + 1].strip():
        report.add("TR002", "a tab cannot indent YAML", place, note="a tab", remedy="indent with spaces")
        return
    problem = getattr(error, "problem", None) or "the text cannot be read"
    context = getattr(error, "context", None)
    if "nesting depth" in problem:  # newer versions of libyaml have a limit of their own, and meet theirs first
        _tell_nesting(place, report)
        return
    remedy = "put text that holds `: `, `#`, quotes or brackets in quotes, and check the indentation"
    if "mapping values are not allowed" in problem:
        remedy = "indent this line like its neighbours, or put the value in quotes when it holds `: `"
    elif context and "flow" in context:
        remedy = "close the bracket or brace"
    elif context and "quoted" in context and "end of stream" in problem:
        remedy = "close the quote"
    report.add("TR001", f"this is not YAML: {problem}" + (f" ({context})" if context else ""), place, remedy=remedy)


def _unprintable(char: str) -> bool:
    return (
        (ord(char) < 0x20 and char not in "\t\n\r")
        or (0x7F <= ord(char) < 0xA0 and char != "\x85")
        or char in "\ufffe\uffff"
    )


def _place_at(text: str, index: int, file: str) -> Place:
    before = text[:index]
    return Place(file, before.count("\n") + 1, index - (before.rfind("\n") + 1) + 1)
