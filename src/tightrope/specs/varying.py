"""Variants: the same specs with one value or another changed, as ``backtest --set objective=0.995`` asks for."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from tightrope.base.errors import NotFoundError, UsageError
from tightrope.base.values import dataclass

SHORT = {"objective": "spec.objectives[*].target", "window": "spec.timeWindow[0].duration"}
"""Words for what is changed most often."""

_SETTING = re.compile(r"(?:(?P<kind>[A-Za-z]+)/(?P<name>[^:=]+):)?(?P<path>[^=:]+)=(?P<value>.*)", re.DOTALL)
_PART = re.compile(r"([^.\[\]]+)|\[(\d+|\*)\]")
_REMEDY = "write it as objective=0.995, or as ErrorBudgetPolicy/shipping:spec.states[1].enter.remaining='< 10%'"


@dataclass(frozen=True, slots=True)
class Setting:
    """One change: where it is made, and the value, as YAML has it.

    Attributes:
        kind, name: The document; empty: the SLOs that are looked at.
        path: Such as ``spec.objectives[0].target``; ``[*]`` is every item of a list.
        value: A plain YAML value.
    """

    kind: str
    name: str
    path: str
    value: Any


def read_setting(text: str) -> Setting:
    """Read ``[KIND/NAME:]PATH=VALUE``; raises `UsageError`."""
    found = _SETTING.fullmatch(text)
    if found is None:
        raise UsageError(f"{text!r} sets nothing", remedy=_REMEDY)
    try:
        value = yaml.safe_load(found["value"])
    except yaml.YAMLError:
        raise UsageError(f"{found['value']!r} is no value that YAML knows", remedy=_REMEDY) from None
    path = SHORT.get(found["path"].strip(), found["path"].strip())
    if not path.startswith(("spec.", "metadata.")):
        short = " and ".join(SHORT)
        raise UsageError(f"{found['path']!r} is no path", remedy=f"it begins with spec. or metadata., or is {short}")
    return Setting(found["kind"] or "", (found["name"] or "").strip(), path, value)


def varied(
    documents: Mapping[tuple[str, str], str], slos: Sequence[str], settings: Sequence[Setting]
) -> dict[tuple[str, str], str]:
    """The documents that some settings change, changed, by kind and name.

    Args:
        documents: The text of every document, by kind and name.
        slos: Names of the SLOs that settings without a document mean.
        settings: In their order; a later one may change what an earlier one made.

    Raises:
        NotFoundError: There is no such document.
        UsageError: A path leads nowhere.
    """
    changed: dict[tuple[str, str], Any] = {}
    for setting in settings:
        meant = [(setting.kind, setting.name)] if setting.kind else [("SLO", name) for name in slos]
        for key in meant:
            if key not in documents:
                raise NotFoundError(f"there is no {key[0]} called {key[1]!r}", remedy=_REMEDY)
            _put(changed.setdefault(key, yaml.safe_load(documents[key])), setting, " ".join(key))
    return {key: yaml.safe_dump(document, sort_keys=False) for key, document in changed.items()}


def _put(document: Any, setting: Setting, called: str) -> None:
    """Put a value where a path leads to; what does not exist on the way there is no place."""
    parts = [name or int(index) if index != "*" else "*" for name, index in _PART.findall(setting.path)]
    places = [document]
    for part in parts[:-1]:
        places = [each for place in places for each in _inside(place, part)]
    done = False
    for place in places:
        last = parts[-1]
        if isinstance(place, dict) and isinstance(last, str) and last != "*":
            place[last] = setting.value
            done = True
        elif isinstance(place, list) and last == "*":
            place[:] = [setting.value] * len(place)
            done = bool(place)
        elif isinstance(place, list) and isinstance(last, int) and last < len(place):
            place[last] = setting.value
            done = True
    if not done:
        raise UsageError(f"{called} has no {setting.path}", remedy="give a path that is there, as its YAML has it")


def _inside(place: Any, part: str | int) -> list[Any]:
    if isinstance(place, list):
        return place if part == "*" else [place[part]] if isinstance(part, int) and part < len(place) else []
    return [place[part]] if isinstance(place, dict) and part in place else []
