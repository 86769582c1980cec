"""The gate's values as plain JSON, and back: exact, so that a recorded decision can be decided again."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from fractions import Fraction
from functools import cache
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from tightrope.base.canonical import canonical
from tightrope.base.errors import DataError, Place

Value = TypeVar("Value")

_FRACTION = re.compile(r"-?\d+/[1-9]\d*")


def plain(value: Any, *, essence: bool = False) -> Any:
    """Write a value as plain JSON: dataclasses say what they are, fractions are ``"p/q"``, sets are sorted lists.

    Args:
        value: Dataclasses, enums, fractions, sets and what is in them.
        essence: Without places in files, and without fields at their default: so a field that a later version adds
            leaves what was digested before as it is. Not to be read back.
    """
    if is_dataclass(value) and not isinstance(value, type):
        held = [(one, getattr(value, one.name)) for one in fields(value)]
        if essence:
            held = [(one, part) for one, part in held if part != one.default and not isinstance(part, Place)]
        return {"is": type(value).__name__} | {one.name: plain(part, essence=essence) for one, part in held}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Fraction):
        return f"{value.numerator}/{value.denominator}"
    if isinstance(value, (set, frozenset)):
        return sorted((plain(one, essence=essence) for one in value), key=canonical)
    if isinstance(value, (list, tuple)):
        return [plain(one, essence=essence) for one in value]
    return value


def read_as(kind: type[Value], written: Any) -> Value:
    """Read a value that `plain` wrote; a field that is not there takes its default.

    Raises:
        DataError: It is no such value, or has a field that this version does not know.
    """
    value: Value = _read(kind, written, kind.__name__)
    return value


def _read(kind: Any, written: Any, path: str) -> Any:
    origin = get_origin(kind)
    if origin in (Union, UnionType):
        return _read(_member(kind, written, path), written, path)
    if origin is tuple:
        return _tuple(get_args(kind), written, path)
    if origin is frozenset:
        return frozenset(_tuple((*get_args(kind), ...), written, path))
    if isinstance(kind, type) and is_dataclass(kind):
        return _dataclass(kind, written, path)
    if kind is Fraction and isinstance(written, str) and _FRACTION.fullmatch(written):
        return Fraction(written)
    if isinstance(kind, type) and issubclass(kind, Enum) and written in [one.value for one in kind]:
        return kind(written)
    if kind in (str, int, bool, NoneType) and type(written) is kind:
        return written
    raise DataError(f"{path} cannot be read: {_short(written)} is no {getattr(kind, '__name__', kind)}")


def _member(kind: Any, written: Any, path: str) -> Any:
    """The member of a union that was written: by name for dataclasses, else None or the only other one."""
    members = [one for one in get_args(kind) if one is not NoneType]
    if written is None and NoneType in get_args(kind):
        return NoneType
    if len(members) == 1:
        return members[0]
    name = written.get("is") if isinstance(written, Mapping) else None
    found = [one for one in members if one.__name__ == name]
    if not found:
        raise DataError(f"{path} cannot be read: {_short(written)} is none of what may stand here")
    return found[0]


def _tuple(kinds: tuple[Any, ...], written: Any, path: str) -> tuple[Any, ...]:
    if isinstance(written, list):
        if kinds[1:] == (...,):
            return tuple(_read(kinds[0], one, f"{path}[{number}]") for number, one in enumerate(written))
        if len(written) == len(kinds):
            pairs = zip(kinds, written, strict=True)
            return tuple(_read(kind, one, f"{path}[{number}]") for number, (kind, one) in enumerate(pairs))
    raise DataError(f"{path} cannot be read: {_short(written)} is no such list")


def _dataclass(kind: type, written: Any, path: str) -> Any:
    if not isinstance(written, Mapping) or written.get("is") != kind.__name__:
        raise DataError(f"{path} cannot be read: {_short(written)} is no {kind.__name__}")
    hints, needed = _shape(kind)
    unknown = sorted(set(written) - set(hints) - {"is"})
    missing = sorted(needed - set(written))
    if unknown or missing:
        what = f"this version knows no {unknown[0]!r}" if unknown else f"there is no {missing[0]!r}"
        raise DataError(f"{path} cannot be read: {what}", remedy="read it with the version of Tightrope that wrote it")
    return kind(**{name: _read(hints[name], part, f"{path}.{name}") for name, part in written.items() if name != "is"})


@cache
def _shape(kind: type) -> tuple[Mapping[str, Any], frozenset[str]]:
    """The types of a dataclass's fields, and the names of those without a default."""
    needed = (one.name for one in fields(kind) if one.default is MISSING and one.default_factory is MISSING)
    return get_type_hints(kind), frozenset(needed)


def _short(written: Any) -> str:
    text = repr(written)
    return text if len(text) <= 60 else f"{text[:57]}..."
