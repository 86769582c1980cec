"""The settings of a source and of a metric, read one by one; what nobody asked for is an error, not a shrug."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, TypeVar

from tightrope.base.errors import UsageError
from tightrope.base.units import parse_duration

T = TypeVar("T")


class Options:
    """A mapping out of a spec, with the words to name it in an error: ``data source 'shop-log': connectionDetails``."""

    def __init__(self, values: Any, where: str) -> None:
        self._where = where
        if not isinstance(values, Mapping):
            raise self.wrong(f"it must be a map, not {values!r}")
        self._values: Mapping[str, Any] = values
        self._asked: set[str] = set()

    def wrong(self, message: str, remedy: str = "") -> UsageError:
        """Make an error that names this mapping."""
        return UsageError(f"{self._where}: {message}", remedy=remedy)

    def __contains__(self, key: str) -> bool:
        return self._values.get(key) is not None

    def given(self, key: str) -> Any:
        """Hand out a setting as it stands; None where it is not set."""
        self._asked.add(key)
        return self._values.get(key)

    def text(self, key: str, default: str | None = None) -> str:
        """Hand out a setting as text; raises `UsageError` where it is missing without a default, or no text."""
        value = self.given(key)
        if value is None:
            if default is None:
                raise self.wrong(f"{key} is missing", f"add {key}: to it")
            return default
        if isinstance(value, (list, dict)):
            raise self.wrong(f"{key} must be one value, not a {_shape(value)}")
        return str(value)

    def texts(self, key: str) -> tuple[str, ...]:
        """Hand out a setting as several texts; one value is a list of one, nothing is none."""
        value = self.given(key)
        if value is None:
            return ()
        if isinstance(value, dict):
            raise self.wrong(f"{key} must be a value or a list of values, not a map")
        return tuple(str(part) for part in value) if isinstance(value, list) else (str(value),)

    def whole(self, key: str, default: int) -> int:
        """Hand out a whole number; raises `UsageError` for anything else."""
        value = self.given(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.wrong(f"{key} must be a whole number, not {value!r}")
        return value

    def flag(self, key: str, default: bool = False) -> bool:
        """Hand out true or false; raises `UsageError` for anything else."""
        value = self.given(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self.wrong(f"{key} must be true or false, not {value!r}")
        return value

    def seconds(self, key: str) -> int | None:
        """Hand out a duration in whole seconds, above 0; None where it is not set. A bare number is seconds."""
        value = self.given(key)
        if value is None:
            return None
        if isinstance(value, int) and not isinstance(value, bool):
            seconds = value
        else:
            try:
                seconds = parse_duration(str(value)).seconds
            except UsageError as error:
                raise self.wrong(f"{key}: {error.message}", error.remedy) from None
        if seconds <= 0:
            raise self.wrong(f"{key} must be longer than nothing, not {value}")
        return seconds

    def mapping(self, key: str) -> Mapping[str, Any]:
        """Hand out a map; empty where it is not set."""
        value = self.given(key)
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            raise self.wrong(f"{key} must be a map such as {{name: value}}, not {value!r}")
        return {str(name): part for name, part in value.items()}

    def choice(self, key: str, choices: Sequence[str], default: str) -> str:
        """Hand out one of several words; raises `UsageError` naming them all."""
        value = self.text(key, default)
        if value not in choices:
            raise self.wrong(f"{key} is {value!r}", did_you_mean(value, choices, "it can be"))
        return value

    def done(self) -> None:
        """Refuse settings that nobody asked for, which are mistyped more often than not."""
        for key in self._values:
            if key not in self._asked:
                raise self.wrong(f"unknown setting {key!r}", did_you_mean(str(key), sorted(self._asked), "it knows"))


def did_you_mean(word: str, known: Sequence[str], lead: str) -> str:
    """Write a remedy: the nearest of the known words, then all of them (at most 20)."""
    near = nearest(word, known)
    listed = ", ".join(known[:20]) + (", …" if len(known) > 20 else "")
    return (f"did you mean {near!r}? " if near else "") + f"{lead}: {listed}"


def nearest(word: str, known: Sequence[str]) -> str:
    """Find the word that was probably meant, whatever its case; empty if none is close."""
    by_lower = {one.lower(): one for one in reversed(known)}
    found = get_close_matches(word.lower(), by_lower, n=1)
    return by_lower[found[0]] if found else ""


def remembered(answer: Callable[[str], T], most: int = 100_000) -> Callable[[str], T]:
    """Remember the answers of a pure function of a text, in bounded memory: telemetry repeats itself."""
    known: dict[str, T] = {}

    def ask(text: str) -> T:
        found = known.get(text, known)
        if found is not known:
            return found  # type: ignore[return-value]
        if len(known) >= most:
            known.clear()
        known[text] = value = answer(text)
        return value

    return ask


def _shape(value: object) -> str:
    return "list" if isinstance(value, list) else "map"
