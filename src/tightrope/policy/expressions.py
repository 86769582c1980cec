"""CEL, the Common Expression Language: for what the structure of a policy cannot say. Checked, bounded, yes or no.

The language runs in the library `cel`, which has no limit on cost; so an expression is bounded before it runs
(`LONGEST`, `DEEPEST`, `MOST_LOOPS`), and so are the facts it sees (`LONGEST_LIST`).
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from fractions import Fraction
from functools import lru_cache
from importlib.machinery import PathFinder
from importlib.util import find_spec, module_from_spec
from threading import Lock
from typing import Any, NoReturn

from tightrope.base.errors import Place, SpecError
from tightrope.specs.model import Expression

LONGEST = 1_000
"""Characters of an expression."""

DEEPEST = 20
"""Brackets within brackets."""

MOST_LOOPS = 2
"""Uses of all, exists, exists_one, map and filter in one expression: each runs over a whole list."""

LONGEST_LIST = 100
"""Items of a list or map that an expression sees."""

EXPRESSION_CODE = "TR022"
"""The code of the finding that an expression can't be used."""

PREDICATE_FACTS = frozenset({"remaining", "consumed", "burn", "coverage", "incidents"})
"""What a state's condition sees: shares of the budget, burn rates by lookback text, coverage, severities open."""

GATE_FACTS = PREDICATE_FACTS | frozenset(
    {
        "service",
        "environment",
        "kind",
        "change",
        "title",
        "askedBy",
        "state",
        "flow",
        "firing",
        "rollouts",
        "slos",
        "weekday",
        "hour",
        "minute",
    }
)
"""What a rule of the gate sees; docs/policy.md has the table."""

_LOADING = Lock()
_LOOPS = frozenset({"all", "exists", "exists_one", "existsOne", "map", "filter"})
_STRINGS = re.compile(r"""'''.*?'''|\"\"\".*?\"\"\"|'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*\"""", re.DOTALL)
_WHERE = re.compile(r"<input>:(\d+):(\d+): (?:Syntax error: )?([^\n]*)")


def check(expression: Expression, facts: frozenset[str] = PREDICATE_FACTS) -> None:
    """Find out whether an expression can be used: its form, its size, and that it names known facts only.

    Raises:
        SpecError: It can't be; the message has the position within the expression, counted from 1.
    """
    program = _program(expression.text, expression.place)
    bound = set(re.findall(r"\b(?:all|exists|exists_one|existsOne|map|filter)\(\s*([A-Za-z_]\w*)\s*,", expression.text))
    unknown = sorted(set(program.variables()) - facts - bound)
    if unknown:
        at = re.search(rf"\b{re.escape(unknown[0])}\b", _blanked(expression.text))
        _refuse(
            expression.text,
            expression.place,
            f"{unknown[0]!r} is not a fact",
            f"the facts are {', '.join(sorted(facts))}",
            at.start() if at else 0,
        )


def evaluate(expression: Expression, facts: Mapping[str, Any]) -> bool | None:
    """Tell whether an expression holds over facts; None where it asks for something that is not known (null).

    Args:
        expression: CEL text and its place.
        facts: By name; numbers may be `Fraction` and become CEL doubles, None becomes null. A comparison with null
            is unknown and so is all that depends on it.

    Raises:
        SpecError: The expression can't be read, is too large, fails for a reason other than an unknown fact,
            or is no yes or no.
    """
    program = _program(expression.text, expression.place)
    try:
        outcome = program.execute({name: _plain(value) for name, value in facts.items()})
    except (ValueError, TypeError, RuntimeError, ArithmeticError, LookupError) as error:
        used = program.variables()
        if isinstance(error, TypeError) and any(_has_unknown(facts.get(name, 0)) for name in used):
            return None
        _refuse(expression.text, expression.place, _failure(error, facts), _REMEDY)
    if outcome is None and any(_has_unknown(facts.get(name, 0)) for name in program.variables()):
        return None
    if not isinstance(outcome, bool):
        _refuse(
            expression.text,
            expression.place,
            f"the answer is {outcome!r:.60}, not yes or no",
            "compare it with something, such as `remaining < 0.25`",
        )
    return outcome


_REMEDY = "write numbers with a decimal point where they meet shares (100.0), and look up only what is there"


def _failure(error: Exception, facts: Mapping[str, Any]) -> str:
    if isinstance(error, ZeroDivisionError):
        return "it divides by zero"
    if isinstance(error, LookupError):
        held = [name for name, value in facts.items() if isinstance(value, Mapping)]
        return f"there is no {str(error).strip(chr(34))} in {' or '.join(sorted(held)) or 'the facts'}"
    if isinstance(error, TypeError):
        return "two things of different kinds meet, such as a text and a number, or a whole number and a share"
    return str(error).partition(". Check")[0]


@lru_cache(maxsize=512)
def _program(text: str, place: Place) -> Any:
    _bounded(text, place)
    try:
        program = _language().compile(text)
    except ValueError as error:
        found = _WHERE.search(str(error))
        if found is None:
            _refuse(text, place, "it can't be read", "look at its brackets and quotes")
        line, column, what = int(found[1]), int(found[2]), found[3]
        offset = sum(len(part) + 1 for part in text.split("\n")[: line - 1]) + column - 1
        _refuse(
            text, place, re.sub(r",? expecting \{.*", "", what), "look at what stands there and just before it", offset
        )
    return program


def _language() -> Any:
    """The library, without its command line: that comes along with the package, and takes ten times as long to load."""
    with _LOADING:
        loaded = sys.modules.get("cel.cel")
        if loaded is not None:
            return loaded
        package = find_spec("cel")
        places = package.submodule_search_locations if package is not None else None
        inner = PathFinder.find_spec("cel.cel", places) if places is not None else None
        if inner is None or inner.loader is None:
            import cel

            return cel
        loaded = module_from_spec(inner)
        inner.loader.exec_module(loaded)
        sys.modules["cel.cel"] = loaded  # it can be loaded once only: whoever imports the package later gets this one
        return loaded


def _bounded(text: str, place: Place) -> None:
    if not text.strip():
        _refuse(text, place, "it is empty", "write a condition such as `remaining < 0.25`")
    if len(text) > LONGEST:
        _refuse(text, place, f"it has {len(text):,} characters", f"keep it below {LONGEST:,}; make it several rules")
    blanked = _blanked(text)
    depth = 0
    for position, sign in enumerate(blanked):
        depth += (sign in "([{") - (sign in ")]}")
        if depth > DEEPEST:
            _refuse(
                text, place, f"more than {DEEPEST} brackets stand within each other", "make it several rules", position
            )
    loops = [match for match in re.finditer(r"\.\s*(\w+)\s*\(", blanked) if match[1] in _LOOPS]
    if len(loops) > MOST_LOOPS:
        _refuse(
            text,
            place,
            f"it goes over lists {len(loops)} times",
            f"use at most {MOST_LOOPS} of {', '.join(sorted(_LOOPS - {'existsOne'}))}",
            loops[MOST_LOOPS].start(1),
        )


def _blanked(text: str) -> str:
    """The expression with the inside of its string literals blanked, each sign at its old place."""
    return _STRINGS.sub(lambda match: " " * len(match[0]), text)


def _refuse(text: str, place: Place, what: str, remedy: str, offset: int | None = None) -> NoReturn:
    line = " ".join(text.split())
    shown = line if len(line) <= 80 else f"{line[:77]}..."
    where = f", at character {offset + 1}" if offset is not None else ""
    raise SpecError(EXPRESSION_CODE, f"expression `{shown}`{where}: {what}", place, remedy=remedy)


def _plain(value: Any) -> Any:
    """The value as CEL knows it; lists and maps cut to the first `LONGEST_LIST` items."""
    if isinstance(value, Fraction):
        return float(value)
    if isinstance(value, Mapping):
        return {str(name): _plain(held) for name, held in list(value.items())[:LONGEST_LIST]}
    if isinstance(value, (list, tuple, set, frozenset)):
        held = sorted(value) if isinstance(value, (set, frozenset)) else list(value)
        return [_plain(one) for one in held[:LONGEST_LIST]]
    return value if value is None or isinstance(value, (bool, int, float)) else str(value)


def _has_unknown(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(_has_unknown(held) for held in value.values())
    if isinstance(value, (list, tuple)):
        return any(_has_unknown(held) for held in value)
    return value is None
