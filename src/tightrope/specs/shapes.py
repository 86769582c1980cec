"""How a value in a spec may look, said once as data: the same shapes check documents and become JSON Schemas.

`read` hands back the value of a good node, and None after noting a finding for a bad one. It never stops at the first.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet
from datetime import datetime
from fractions import Fraction
from typing import Any, Protocol, TypeVar

from tightrope.base.errors import Place, UsageError
from tightrope.base.units import Duration, parse_duration, parse_time
from tightrope.base.values import dataclass, field
from tightrope.specs.model import Comparison
from tightrope.specs.positions import (
    ListNode,
    MapNode,
    Node,
    Report,
    ScalarNode,
    clipped,
    described,
    flag_of,
    is_null,
    is_text,
    number_of,
)

Schema = dict[str, Any]
Value = TypeVar("Value")

_MISSPELT = 0.8  # so alike are a field and its name with a slip of the hand
_LONGEST_S = 100 * 365 * 86400


@dataclass(frozen=True, slots=True)
class Spot:
    """Where a value stands: its path in the document, the place of its key for findings on what is missing, its name.

    The name is the last part of the path, which no text of the path tells: keys of annotations hold dots.
    """

    path: str
    key: Place
    name: str = ""

    def field(self, name: str, key: Place) -> Spot:
        """The spot of a field below this one."""
        return Spot(f"{self.path}.{name}" if self.path else name, key, name)

    def item(self, index: int, place: Place) -> Spot:
        """The spot of a list item below this one."""
        return Spot(f"{self.path}[{index}]", place, f"{self.name}[{index}]")


class Shape(Protocol):
    """What a value may be."""

    def read(self, node: Node, spot: Spot, report: Report, /) -> object | None:
        """Hand back the value, or note findings and hand back None."""

    def schema(self, defs: dict[str, Schema], /) -> Schema:
        """The shape as JSON Schema; shapes with a name are put into *defs*."""


@dataclass(slots=True)
class Table:
    """A mapping that was read: good values by name, and the places of all that was given."""

    spot: Spot
    place: Place
    values: dict[str, object] = field(default_factory=dict)
    nodes: dict[str, Node] = field(default_factory=dict)
    keys: dict[str, Place] = field(default_factory=dict)

    def given(self, name: str) -> bool:
        """Whether the field was given at all, good or bad."""
        return name in self.nodes

    def at(self, name: str) -> Place:
        """The place of a field's value (of its key when the value is a mapping or list), or of the table."""
        node = self.nodes.get(name)
        if node is None:
            return self.spot.key
        return node.place if isinstance(node, ScalarNode) else self.keys[name]

    def path(self, name: str) -> str:
        """The path of a field in the document."""
        return f"{self.spot.path}.{name}" if self.spot.path else name

    def get(self, name: str, kind: type[Value]) -> Value | None:
        """The field's value if it was given and good."""
        value = self.values.get(name)
        return value if isinstance(value, kind) else None

    def text(self, name: str, default: str = "") -> str:
        """A text field; *default* where it was not given."""
        value = self.get(name, str)
        return default if value is None else value

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of texts; empty where it was not given."""
        return tuple(item for item in self.get(name, tuple) or () if isinstance(item, str))

    def tables(self, name: str) -> tuple[Table, ...]:
        """A list of mappings, the bad ones left out."""
        return tuple(item for item in self.get(name, tuple) or () if isinstance(item, Table))


# --- single values -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Form:
    """A form that text must have: a regular expression, and the words for it."""

    pattern: str
    says: str
    remedy: str
    longest: int = 0


DNS_LABEL = Form(
    "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
    "is no DNS label",
    "use at most 63 characters of a-z, 0-9 and -, with a letter or digit at both ends",
    63,
)


@dataclass(frozen=True, slots=True)
class Text:
    """Text, perhaps of a form; never empty unless it may be."""

    form: Form | None = None
    longest: int = 0
    empty: bool = False

    def read(self, node: Node, spot: Spot, report: Report) -> str | None:
        if not isinstance(node, ScalarNode) or not is_text(node):
            remedy = f'put it in quotes: "{clipped(node.text)}"' if isinstance(node, ScalarNode) else "write text here"
            _wrong_type(node, "text", spot, report, remedy)
            return None
        text, form = node.text, self.form
        if not text.strip() and not self.empty:
            report.add(
                "TR015", f"{_name(spot)} is empty", node.place, path=spot.path, remedy="write something, or remove it"
            )
            return None
        longest = form.longest if form and form.longest else self.longest
        if longest and len(text) > longest:
            report.add(
                "TR015",
                f"{_name(spot)} has {len(text)} characters",
                node.place,
                path=spot.path,
                note=f"at most {longest}",
                remedy=f"shorten it to {longest} characters",
            )
            return None
        if form is not None and re.fullmatch(form.pattern, text) is None:
            report.add(
                "TR015",
                f"{_name(spot)} {clipped(text)!r} {form.says}",
                node.place,
                path=spot.path,
                note=_proposal(text, form),
                remedy=form.remedy,
            )
            return None
        return text

    def schema(self, _defs: dict[str, Schema], /) -> Schema:
        schema: Schema = {"type": "string"}
        longest = self.form.longest if self.form and self.form.longest else self.longest
        if longest:
            schema["maxLength"] = longest
        if not self.empty:
            schema["minLength"] = 1
        if self.form:
            schema["pattern"] = self.form.pattern
        return schema


@dataclass(frozen=True, slots=True)
class Word:
    """One word of a fixed list."""

    words: tuple[str, ...]

    def read(self, node: Node, spot: Spot, report: Report) -> str | None:
        if isinstance(node, ScalarNode) and node.text in self.words and is_text(node):
            return node.text
        if not isinstance(node, ScalarNode):
            _wrong_type(node, f"one of {_listed(self.words)}", spot, report, "write one word")
            return None
        close = nearest(node.text, self.words)
        report.add(
            "TR016",
            f"{_name(spot)} {clipped(node.text)!r} is not one of {_listed(self.words)}",
            node.place,
            path=spot.path,
            note=f"did you mean {close}?" if close else "",
            remedy=f"write {close}" if close else f"write one of {_listed(self.words)}",
        )
        return None

    def schema(self, _defs: dict[str, Schema], /) -> Schema:
        return {"type": "string", "enum": list(self.words)}


Objection = Callable[[Fraction], "tuple[str, str, str] | None"]
"""Says what is wrong with a number as message, note and remedy; None if nothing is."""


@dataclass(frozen=True, slots=True)
class Number:
    """An exact number within bounds. ``objection`` may say it in better words than the bounds can."""

    at_least: Fraction | None = None
    above: Fraction | None = None
    at_most: Fraction | None = None
    below: Fraction | None = None
    whole: bool = False
    objection: Objection | None = None

    def read(self, node: Node, spot: Spot, report: Report) -> Fraction | None:
        number = number_of(node)
        if number is None:
            quoted = isinstance(node, ScalarNode) and not node.plain
            remedy = "write it without quotes" if quoted else "write a decimal such as 0.5"
            _wrong_type(node, "a number", spot, report, remedy)
            return None
        said = self.objection(number) if self.objection else None
        if said is None and not self._inside(number):
            bounds = self._bounds()
            said = (f"{_name(spot)} {_scalar_text(node)} is out of range", bounds, f"write {bounds}")
        if said is not None:
            report.add("TR012", said[0], node.place, path=spot.path, note=said[1], remedy=said[2])
            return None
        return number

    def _inside(self, number: Fraction) -> bool:
        return (
            (self.at_least is None or number >= self.at_least)
            and (self.above is None or number > self.above)
            and (self.at_most is None or number <= self.at_most)
            and (self.below is None or number < self.below)
            and (not self.whole or number.denominator == 1)
        )

    def _bounds(self) -> str:
        parts = [
            f"{word} {bound}"
            for word, bound in (
                ("at least", self.at_least),
                ("above", self.above),
                ("at most", self.at_most),
                ("below", self.below),
            )
            if bound is not None
        ]
        number = "a whole number" if self.whole else "a number"
        return f"{number} {' and '.join(parts)}"

    def schema(self, _defs: dict[str, Schema], /) -> Schema:
        schema: Schema = {"type": "integer" if self.whole else "number"}
        bounds = {
            "minimum": self.at_least,
            "exclusiveMinimum": self.above,
            "maximum": self.at_most,
            "exclusiveMaximum": self.below,
        }
        return schema | {key: int(bound) for key, bound in bounds.items() if bound is not None}


@dataclass(frozen=True, slots=True)
class Share:
    """A share above 0: ``20%`` or 0.2."""

    at_most: Fraction | None = Fraction(1)

    def read(self, node: Node, spot: Spot, report: Report) -> Fraction | None:
        share = share_of(node.text) if isinstance(node, ScalarNode) else None
        if share is None:
            _wrong_type(node, "a share", spot, report, "write a percentage such as 20%, or a ratio such as 0.2")
            return None
        if share <= 0 or (self.at_most is not None and share > self.at_most):
            report.add(
                "TR012",
                f"{_name(spot)} {_scalar_text(node)} is {percent_text(share)}",
                node.place,
                path=spot.path,
                note="above 0 %" + (f", at most {percent_text(self.at_most)}" if self.at_most is not None else ""),
                remedy=f"for {percent_text(share / 100)} write {_scalar_text(node)}%"
                if share > 1
                else "write a share such as 20%",
            )
            return None
        return share

    def schema(self, _defs: dict[str, Schema], /) -> Schema:
        number: Schema = {"type": "number", "exclusiveMinimum": 0}
        if self.at_most is not None:
            number["maximum"] = int(self.at_most)
        return {"anyOf": [number, {"type": "string", "pattern": r"^\s*[0-9]+(\.[0-9]+)?\s*%\s*$"}]}


@dataclass(frozen=True, slots=True)
class Flag:
    """True or false."""

    def read(self, node: Node, spot: Spot, report: Report) -> bool | None:
        flag = flag_of(node)
        if flag is None:
            _wrong_type(node, "true or false", spot, report, "write true or false, without quotes")
            return None
        return flag

    def schema(self, _defs: dict[str, Schema], /) -> Schema:
        return {"type": "boolean"}


@dataclass(frozen=True, slots=True)
class Span:
    """A duration. OpenSLO's units, and seconds for our own kinds; 0 only where it means something."""

    zero: bool = False
    units: str = "mhdwMQY"

    def read(self, node: Node, spot: Spot, report: Report) -> Duration | None:
        text = node.text.strip() if isinstance(node, ScalarNode) else ""
        try:
            duration = parse_duration(text)
            if duration.unit not in self.units:
                raise UsageError("")
        except (UsageError, ValueError):
            self._refuse(node, text, spot, report)
            return None
        if duration.count == 0 and not self.zero:
            report.add(
                "TR017", f"{_name(spot)} is no time at all", node.place, path=spot.path, remedy="write 1m or more"
            )
            return None
        if duration.seconds > _LONGEST_S:
            report.add(
                "TR017",
                f"{_name(spot)} {clipped(text)} is over 100 years",
                node.place,
                path=spot.path,
                remedy="write less",
            )
            return None
        return duration

    def _refuse(self, node: Node, text: str, spot: Spot, report: Report) -> None:
        if not isinstance(node, ScalarNode):
            _wrong_type(node, "a duration", spot, report, "write a duration such as 5m, 6h or 28d")
            return
        units = " ".join(self.units)
        remedy = f"write a whole number and one unit of {units}, such as 5m, 6h or 28d"
        if re.fullmatch(r"[0-9]{1,9}", text):
            remedy = f"write {text}m for minutes; the units are {units}"
        report.add(
            "TR017",
            f"{_name(spot)} {clipped(node.text)!r} is not a duration",
            node.place,
            path=spot.path,
            note="a number and a unit",
            remedy=remedy,
        )

    def schema(self, _defs: dict[str, Schema], /) -> Schema:
        return {"type": "string", "pattern": rf"^{'[0-9]+' if self.zero else '0*[1-9][0-9]*'}[{self.units}]$"}


@dataclass(frozen=True, slots=True)
class Zone:
    """An IANA time zone."""

    def read(self, node: Node, spot: Spot, report: Report) -> str | None:
        from zoneinfo import ZoneInfo, available_timezones

        if not isinstance(node, ScalarNode) or not is_text(node):
            _wrong_type(node, "a time zone", spot, report, "write an IANA name such as Europe/Berlin, or UTC")
            return None
        try:
            return ZoneInfo(node.text).key
        except (KeyError, ValueError, OSError):
            close = nearest(node.text, available_timezones())
            report.add(
                "TR020",
                f"{_name(spot)} {clipped(node.text)!r} is not a time zone",
                node.place,
                path=spot.path,
                note=f"did you mean {close}?" if close else "",
                remedy=f"write {close}" if close else "write an IANA name such as Europe/Berlin, or UTC",
            )
            return None

    def schema(self, _defs: dict[str, Schema], /) -> Schema:
        return {"type": "string", "minLength": 1}


@dataclass(frozen=True, slots=True)
class LocalTime:
    """A time on the wall clock of a zone that stands beside it: no offset."""

    strict: bool = False  # OpenSLO: exactly YYYY-MM-DD HH:MM:SS

    def read(self, node: Node, spot: Spot, report: Report) -> datetime | None:
        text = node.text.strip() if isinstance(node, ScalarNode) else ""
        pattern = (
            r"\d{4}-\d{2}-\d{2} \d{2}:\d{2}:\d{2}" if self.strict else r"\d{4}-\d{2}-\d{2}([ T]\d{2}:\d{2}(:\d{2})?)?"
        )
        try:
            if re.fullmatch(pattern, text, re.ASCII):
                return datetime.fromisoformat(text)
        except ValueError:
            pass  # such as the 30th of February
        zoned = re.search(r"\d(Z|[-+]\d{2}:?\d{2})$", text) is not None
        report.add(
            "TR020",
            f"{_name(spot)} {clipped(text)!r} is not a local time",
            node.place,
            path=spot.path,
            note="without offset" if zoned else "",
            remedy="write YYYY-MM-DD HH:MM:SS" + ("; the zone stands in timeZone" if zoned else ""),
        )
        return None

    def schema(self, _defs: dict[str, Schema], /) -> Schema:
        rest = r" \d{2}:\d{2}:\d{2}" if self.strict else r"([ T]\d{2}:\d{2}(:\d{2})?)?"
        return {"type": "string", "pattern": rf"^\d{{4}}-\d{{2}}-\d{{2}}{rest}$"}


@dataclass(frozen=True, slots=True)
class Instant:
    """An instant: ISO 8601, UTC unless it says; becomes UTC epoch seconds."""

    def read(self, node: Node, spot: Spot, report: Report) -> int | None:
        text = node.text.strip() if isinstance(node, ScalarNode) else ""
        try:
            if re.match(r"\d{4}-\d{2}-\d{2}", text, re.ASCII):
                return parse_time(text)
        except (UsageError, ValueError, OverflowError):
            pass
        report.add(
            "TR020",
            f"{_name(spot)} {clipped(text)!r} is not an instant",
            node.place,
            path=spot.path,
            remedy="write ISO 8601 such as 2026-03-21T09:40:00Z",
        )
        return None

    def schema(self, _defs: dict[str, Schema], /) -> Schema:
        return {"type": "string", "pattern": r"^\d{4}-\d{2}-\d{2}"}


@dataclass(frozen=True, slots=True)
class ClockTime:
    """A time of day, ``00:00`` to ``24:00``; becomes minutes."""

    def read(self, node: Node, spot: Spot, report: Report) -> int | None:
        text = node.text.strip() if isinstance(node, ScalarNode) else ""
        match = re.fullmatch(r"([01]\d|2[0-4]):([0-5]\d)", text, re.ASCII)
        minutes = int(match[1]) * 60 + int(match[2]) if match else 9999
        if minutes > 24 * 60:
            report.add(
                "TR020",
                f"{_name(spot)} {clipped(text)!r} is not a time of day",
                node.place,
                path=spot.path,
                remedy='write "HH:MM", "00:00" to "24:00"',
            )
            return None
        return minutes

    def schema(self, _defs: dict[str, Schema], /) -> Schema:
        return {"type": "string", "pattern": r"^(([01]\d|2[0-3]):[0-5]\d|24:00)$"}


@dataclass(frozen=True, slots=True)
class Bound:
    """A comparison with a bound, as text: ``"< 25%"``, ``">= 3"``."""

    _PATTERN = r"^\s*(<=|>=|<|>)\s*(-?[0-9]+(?:\.[0-9]+)?\s*%?)\s*$"

    def read(self, node: Node, spot: Spot, report: Report) -> tuple[Comparison, Fraction] | None:
        match = re.match(self._PATTERN, node.text) if isinstance(node, ScalarNode) and len(node.text) < 64 else None
        bound = share_of(match[2]) if match else None
        if match is None or bound is None:
            report.add(
                "TR022",
                f"{_name(spot)} is not a comparison",
                node.place,
                path=spot.path,
                note="an operator and a number",
                remedy='write one of < <= > >= and a number, in quotes: "< 25%"',
            )
            return None
        op = {"<": Comparison.LT, "<=": Comparison.LTE, ">": Comparison.GT, ">=": Comparison.GTE}[match[1]]
        return op, bound

    def schema(self, _defs: dict[str, Schema], /) -> Schema:
        return {"type": "string", "pattern": self._PATTERN, "examples": ["< 25%", ">= 3"]}


@dataclass(frozen=True, slots=True)
class Anything:
    """Any YAML at all; stays a node."""

    def read(self, node: Node, _spot: Spot, _report: Report, /) -> Node:
        return node

    def schema(self, _defs: dict[str, Schema], /) -> Schema:
        return {"type": ["object", "array", "string", "number", "boolean"]}


@dataclass(frozen=True, slots=True)
class AnyMap:
    """A mapping with any YAML in it, at least one key; stays a node."""

    def read(self, node: Node, spot: Spot, report: Report) -> MapNode | None:
        if not isinstance(node, MapNode):
            _wrong_type(node, "a mapping", spot, report, "write `name: value` below it")
            return None
        if not node.entries:
            report.add(
                "TR019", f"{_name(spot)} is empty", node.place, path=spot.path, remedy="say at least one thing in it"
            )
            return None
        return node

    def schema(self, _defs: dict[str, Schema], /) -> Schema:
        return {"type": "object", "minProperties": 1}


# --- shapes of shapes --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ListOf:
    """A list of one shape; becomes a tuple of the good items."""

    item: Shape
    at_least: int = 0
    at_most: int = 0
    remedy: str = ""

    def read(self, node: Node, spot: Spot, report: Report) -> tuple[object, ...] | None:
        if not isinstance(node, ListNode):
            _wrong_type(node, "a list", spot, report, "write a list: `- …` lines, or [a, b]")
            return None
        count = len(node.items)
        if count < self.at_least or (self.at_most and count > self.at_most):
            wanted = f"exactly {self.at_least}" if self.at_least == self.at_most else f"at least {self.at_least}"
            report.add(
                "TR019",
                f"{_name(spot)} has {count} item{'s' if count != 1 else ''}",
                spot.key,
                path=spot.path,
                note=f"{wanted} needed",
                remedy=self.remedy or f"give {wanted}",
            )
        read = (self.item.read(item, spot.item(index, item.place), report) for index, item in enumerate(node.items))
        return tuple(value for value in read if value is not None)

    def schema(self, defs: dict[str, Schema], /) -> Schema:
        schema: Schema = {"type": "array", "items": self.item.schema(defs)}
        if self.at_least:
            schema["minItems"] = self.at_least
        if self.at_most:
            schema["maxItems"] = self.at_most
        return schema


@dataclass(frozen=True, slots=True)
class MapOf:
    """A mapping of free keys of one form to values of one shape; becomes a dict."""

    key: Form
    value: Shape
    known: Schema = field(default_factory=dict)  # more schema: what is known of some keys

    def read(self, node: Node, spot: Spot, report: Report) -> dict[str, object] | None:
        if not isinstance(node, MapNode):
            _wrong_type(node, "a mapping", spot, report, "write `name: value` below it")
            return None
        found: dict[str, object] = {}
        for key, value in node.entries:
            path = spot.field(key.text, key.place)
            if re.fullmatch(self.key.pattern, key.text) is None or len(key.text) > self.key.longest:
                report.add(
                    "TR015",
                    f"the key {clipped(key.text)!r} {self.key.says}",
                    key.place,
                    path=path.path,
                    remedy=self.key.remedy,
                )
                continue
            good = self.value.read(value, path, report)
            if good is not None:
                found[key.text] = good
        return found

    def schema(self, defs: dict[str, Schema], /) -> Schema:
        keys = {"pattern": self.key.pattern, "maxLength": self.key.longest}
        return {"type": "object", "propertyNames": keys, "additionalProperties": self.value.schema(defs)} | self.known


@dataclass(frozen=True, slots=True)
class Either:
    """One of two shapes, told apart by whether the value is a scalar."""

    scalar: Shape
    other: Shape

    def read(self, node: Node, spot: Spot, report: Report) -> object | None:
        if isinstance(node, MapNode) and isinstance(self.other, ListOf):
            _wrong_type(node, "one value or a list of them", spot, report, "write a value, or [a, b]")
            return None
        shape = self.scalar if isinstance(node, ScalarNode) else self.other
        return shape.read(node, spot, report)

    def schema(self, defs: dict[str, Schema], /) -> Schema:
        return {"anyOf": [self.scalar.schema(defs), self.other.schema(defs)]}


@dataclass(frozen=True, slots=True)
class Later:
    """A shape that is defined further down, for shapes that hold themselves."""

    shape: Callable[[], Shape]

    def read(self, node: Node, spot: Spot, report: Report) -> object | None:
        return self.shape().read(node, spot, report)

    def schema(self, defs: dict[str, Schema], /) -> Schema:
        return self.shape().schema(defs)


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a record: its shape, whether it must be there, and a line for the editor."""

    shape: Shape
    required: bool = False
    says: str = ""


class Rule(Protocol):
    """What fields of a record must keep among themselves."""

    def check(self, table: Table, report: Report) -> None:
        """Note a finding where the rule is broken."""

    def schema(self) -> Schema:
        """The rule as a part of the record's JSON Schema; empty where JSON Schema cannot say it."""


@dataclass(frozen=True, slots=True)
class OneOf:
    """Exactly one of these fields; or at most one."""

    names: tuple[str, ...]
    needed: bool = True
    code: str = "TR018"

    def check(self, table: Table, report: Report) -> None:
        given = sorted(
            (name for name in self.names if table.given(name)),
            key=lambda name: (table.keys[name].line, table.keys[name].column),
        )
        choice = _listed(self.names, "or")
        if self.needed and not given:
            report.add(
                self.code,
                f"{_name(table.spot)} needs {'one of ' if len(self.names) > 2 else ''}{choice}",
                table.spot.key,
                path=table.spot.path,
                note="neither is given" if len(self.names) == 2 else "none is given",
                remedy=f"add {choice}",
            )
        for name in given[1:]:
            report.add(
                self.code,
                f"{given[0]} and {name} exclude each other",
                table.keys[name],
                path=table.path(name),
                note=f"{given[0]} is on line {table.keys[given[0]].line}",
                remedy=f"keep one of {choice}",
            )

    def schema(self) -> Schema:
        single = [{"required": [name]} for name in self.names]
        if self.needed:
            return {"oneOf": single}
        return {"not": {"anyOf": [{"required": [a, b]} for i, a in enumerate(self.names) for b in self.names[i + 1 :]]}}


@dataclass(frozen=True, slots=True)
class Needs:
    """Where *name* is given, all of *others* must be; or one of them."""

    name: str
    others: tuple[str, ...]
    any_of: bool = False

    def check(self, table: Table, report: Report) -> None:
        if not table.given(self.name):
            return
        missing = [other for other in self.others if not table.given(other)]
        if self.any_of:
            missing = [_listed(missing, "or")] if len(missing) == len(self.others) else []
        for other in missing:
            report.add(
                "TR018",
                f"{self.name} needs {other} beside it",
                table.keys[self.name],
                path=table.spot.path,
                remedy=f"add {other}",
            )

    def schema(self) -> Schema:
        if not self.any_of:
            return {"dependentRequired": {self.name: list(self.others)}}
        return {"if": {"required": [self.name]}, "then": {"anyOf": [{"required": [other]} for other in self.others]}}


@dataclass(frozen=True, slots=True)
class Law:
    """A rule said in code, with its JSON Schema beside it where there is one."""

    law: Callable[[Table, Report], None]
    as_schema: Schema = field(default_factory=dict)

    def check(self, table: Table, report: Report) -> None:
        self.law(table, report)

    def schema(self) -> Schema:
        return self.as_schema


@dataclass(frozen=True, slots=True)
class Record:
    """A mapping with known fields. Unknown ones are refused; null counts as not given."""

    fields: dict[str, Field]
    rules: tuple[Rule, ...] = ()
    name: str = ""  # its place in $defs, for shapes used more than once
    says: str = ""
    synonyms: dict[str, str] = field(default_factory=dict)  # words people try, and the field they mean

    def read(self, node: Node, spot: Spot, report: Report) -> Table | None:
        if not isinstance(node, MapNode):
            if is_null(node) and not any(item.required for item in self.fields.values()) and not self.rules:
                return Table(spot, node.place)
            _wrong_type(
                node, "a mapping", spot, report, f"write fields such as {_listed(list(self.fields)[:3])} below it"
            )
            return None
        table = Table(spot, node.place)
        given = {key.text for key, _ in node.entries}
        for key, value in node.entries:
            self._read_field(key, value, given, table, report)
        for name, item in self.fields.items():
            if item.required and not table.given(name):
                report.add(
                    "TR013",
                    f"{table.path(name)} is missing",
                    spot.key,
                    path=table.path(name),
                    note=f"needs {name}",
                    remedy=f"add `{name}:`" + (f" ({_begun_small(item.says)})" if item.says else ""),
                )
        for rule in self.rules:
            rule.check(table, report)
        return table

    def _read_field(self, key: ScalarNode, value: Node, given: AbstractSet[str], table: Table, report: Report) -> None:
        item, name = self.fields.get(key.text), key.text
        if item is None:
            close = self.synonyms.get(key.text) or nearest(key.text, self.fields)
            report.add(
                "TR011",
                f"unknown field {clipped(key.text)!r}" + (f" in {table.spot.path}" if table.spot.path else ""),
                key.place,
                path=table.path(clipped(key.text)),
                note=f"did you mean {close}?" if close else "",
                remedy=f"write {close}" if close else f"known here: {_listed(self.fields)}",
            )
            # What is nearly a field is read as that field, so that all errors come at once, and none that is none.
            certain = close and nearest(key.text, self.fields, alike=_MISSPELT) == close
            if not certain or close in {*given, *table.nodes}:
                return
            item, name = self.fields[close], close
        if is_null(value):
            return
        table.nodes[name], table.keys[name] = value, key.place
        good = item.shape.read(value, table.spot.field(key.text, key.place), report)
        if good is not None:
            table.values[name] = good

    def schema(self, defs: dict[str, Schema], /) -> Schema:
        if not self.name:
            return self._schema(defs)
        if self.name not in defs:
            defs[self.name] = {}  # holds the place while the shape refers to itself
            defs[self.name] = self._schema(defs)
        return {"$ref": f"#/$defs/{self.name}"}

    def _schema(self, defs: dict[str, Schema]) -> Schema:
        properties: dict[str, Schema] = {}
        for name, item in self.fields.items():
            schema = item.shape.schema(defs)
            if not item.required:
                schema = _nullable(schema)
            properties[name] = ({"description": item.says} if item.says else {}) | schema
        required = [name for name, item in self.fields.items() if item.required]
        schema = {"type": "object", "additionalProperties": False, "properties": properties}
        if self.says:
            schema["description"] = self.says
        if required:
            schema["required"] = required
        rules = [part for rule in self.rules if (part := rule.schema())]
        if rules:
            schema["allOf"] = rules
        return schema


# --- words -------------------------------------------------------------------------------------------------------


def nearest(word: str, words: Iterable[str], *, alike: float = 0.6) -> str:
    """Find the word that was probably meant; empty if none is close: *alike* from 0 (any) to 1 (but for its case)."""
    from difflib import get_close_matches

    by_lower = {known.lower(): known for known in sorted(words, reverse=True)}
    found = get_close_matches(word.lower()[:100], by_lower, n=1, cutoff=alike)
    return by_lower[found[0]] if found else ""


def share_of(text: str) -> Fraction | None:
    """Read ``20%``, ``20 %`` or ``0.2`` exactly; None for anything else."""
    match = re.fullmatch(r"\s*(-?[0-9]+(?:\.[0-9]+)?)\s*(%?)\s*", text, re.ASCII) if len(text) < 64 else None
    if match is None:
        return None
    return Fraction(match[1]) / (100 if match[2] else 1)


def percent_text(share: Fraction) -> str:
    """Write a share for a message: ``144 %``, ``0.1 %``; whole if its decimals end, ``99.99999 %``, else rounded."""
    percent = share * 100
    exact = f"{float(percent):.15g}"
    return f"{exact if Fraction(exact) == percent else f'{float(percent):.6g}'} %"


def _name(spot: Spot) -> str:
    return clipped(spot.name) or "the document"


def _listed(words: Iterable[str], joint: str = "") -> str:
    listed = list(words)
    if joint and len(listed) > 1:
        return f"{', '.join(listed[:-1])} {joint} {listed[-1]}"
    return ", ".join(listed)


def _begun_small(says: str) -> str:
    """The words as part of a sentence; an abbreviation at their begin stays as it is."""
    return says if says[:2].isupper() else says[:1].lower() + says[1:]


def _scalar_text(node: Node) -> str:
    return clipped(node.text) if isinstance(node, ScalarNode) else ""


def _wrong_type(node: Node, wanted: str, spot: Spot, report: Report, remedy: str) -> None:
    place = node.place if isinstance(node, ScalarNode) and node.text else spot.key
    message = f"{_name(spot)} should be {wanted}, not {described(node)}"
    report.add("TR014", message, place, path=spot.path, note=f"{wanted} needed", remedy=remedy)


def _proposal(text: str, form: Form) -> str:
    if form is not DNS_LABEL:
        return ""
    label = re.sub(r"[^a-z0-9]+", "-", re.sub(r"([a-z0-9])([A-Z])", r"\1-\2", text).lower()).strip("-")[:63].strip("-")
    return f"{label} would do" if label else ""


def _nullable(schema: Schema) -> Schema:
    """Let null stand for a field that is not given."""
    kind = schema.get("type")
    if kind is None:
        return {"anyOf": [schema, {"type": "null"}]}
    schema = schema | {"type": [*([kind] if isinstance(kind, str) else kind), "null"]}
    if "enum" in schema:
        schema["enum"] = [*schema["enum"], None]
    return schema
