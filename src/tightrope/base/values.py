"""Frozen, slotted dataclasses that are quick to make: a short command waits mostly for the making of classes.

`dataclass` is the one of the standard library to type checkers, and to `replace`, `fields` and `asdict`. That one
compiles six methods for each class from text; this one compiles the constructor, and takes a quarter of the time.
What is more than a plain value (other options, base classes, fields that are told apart) it leaves to the other.
"""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING, Any

__all__ = ["dataclass", "field"]

if TYPE_CHECKING:
    from dataclasses import dataclass
else:
    import dataclasses
    from functools import partial
    from operator import attrgetter

    @dataclasses.dataclass(frozen=True, slots=True)
    class _Model:
        """What quick classes are made after."""

        value: Any

    _FIELD = _Model.__dataclass_fields__["value"]
    _SHARED = {
        name: _Model.__dict__[name]
        for name in ("__dataclass_params__", "__getstate__", "__setstate__", "__replace__")
        if name in _Model.__dict__
    }
    _OWN = {"__init__", "__repr__", "__eq__", "__hash__", "__setattr__", "__delattr__", "__getstate__", "__slots__"}
    _APART = ("ClassVar", "InitVar", "KW_ONLY")
    _USUAL = (True, True, True, None, dataclasses.MISSING)

    def dataclass(cls: type | None = None, /, **options: bool) -> Any:
        """Make *cls* a dataclass; the options are those of the standard library."""
        if cls is None:
            return partial(dataclass, **options)
        told = cls.__dict__.get("__annotations__", {})  # noqa: RUF063 - `inspect` takes longer than all of this
        plain = (
            options == {"frozen": True, "slots": True}
            and cls.__bases__ == (object,)
            and cls.__doc__
            and _OWN.isdisjoint(cls.__dict__)
            and "self" not in told
            and all(isinstance(text, str) and not any(word in text for word in _APART) for text in told.values())
            and all(_is_usual(cls.__dict__[name]) for name in told if name in cls.__dict__)
        )
        return _made(cls, told) if plain else dataclasses.dataclass(cls, **options)

    def _is_usual(default: object) -> bool:
        if isinstance(default, dataclasses.Field):
            return (default.init, default.repr, default.compare, default.hash, default.kw_only) == _USUAL
        return type(default).__hash__ is not None  # a default that may change is refused by the standard library

    def _made(cls: type, told: dict[str, str]) -> type:
        members = {name: value for name, value in cls.__dict__.items() if name not in {"__dict__", "__weakref__"}}
        fields = {name: _field(name, text, members.pop(name, dataclasses.MISSING)) for name, text in told.items()}
        names = tuple(fields)
        members |= {"__qualname__": cls.__qualname__, "__dataclass_fields__": fields}
        members |= {"__slots__": names, "__match_args__": names}
        made = type(cls)(cls.__name__, cls.__bases__, _SHARED | members | _methods(names))
        made.__init__ = _constructor(made, told)
        return made

    def _field(name: str, text: str, default: Any) -> dataclasses.Field[Any]:
        one = default if isinstance(default, dataclasses.Field) else field(default=default)
        one.name, one.type, one.kw_only = name, text, False
        one._field_type = _FIELD._field_type  # noqa: SLF001 - by this `fields` knows them
        return one

    def _constructor(made: type, told: dict[str, str]) -> Any:
        known: dict[str, Any] = {"_absent": dataclasses.MISSING, "__name__": made.__module__}
        given, lines = ["self"], []
        for name, one in made.__dataclass_fields__.items():
            value = name
            known[f"_set_{name}"] = made.__dict__[name].__set__
            if one.default_factory is not dataclasses.MISSING:
                known[f"_make_{name}"] = one.default_factory
                given.append(f"{name}=_absent")
                value = f"_make_{name}() if {name} is _absent else {name}"
            elif one.default is not dataclasses.MISSING:
                known[f"_default_{name}"] = one.default
                given.append(f"{name}=_default_{name}")
            else:
                given.append(name)
            lines.append(f" _set_{name}(self, {value})")
        if hasattr(made, "__post_init__"):
            lines.append(" self.__post_init__()")
        exec(f"def __init__({', '.join(given)}):\n" + ("\n".join(lines) or " pass"), known)  # noqa: S102 - only names
        constructor = known["__init__"]
        constructor.__qualname__ = f"{made.__qualname__}.__init__"
        constructor.__annotations__ = told | {"return": None}
        return constructor

    def _methods(names: tuple[str, ...]) -> dict[str, Any]:
        """The methods that follow from the names of the fields alone."""
        if len(names) > 1:
            values = attrgetter(*names)
        else:

            def values(one: Any) -> tuple[Any, ...]:
                return tuple([getattr(one, name) for name in names])

        def shown(one: Any) -> str:
            return f"{type(one).__qualname__}({', '.join([f'{name}={getattr(one, name)!r}' for name in names])})"

        def equal(one: Any, other: object) -> bool:
            return values(one) == values(other) if other.__class__ is one.__class__ else NotImplemented

        def hashed(one: Any) -> int:
            return hash(values(one))

        def refuse(_: Any, name: str, *value: Any) -> None:
            raise dataclasses.FrozenInstanceError(f"cannot {'assign to' if value else 'delete'} field {name!r}")

        return {
            "__repr__": shown,
            "__eq__": equal,
            "__hash__": hashed,
            "__setattr__": refuse,
            "__delattr__": refuse,
        }
