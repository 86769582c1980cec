"""Metrics of tables (csv, parquet): which rows, which column."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

from tightrope.base.units import DAY_S, HOUR_S
from tightrope.telemetry.cells import exact
from tightrope.telemetry.options import Options
from tightrope.telemetry.questions import Ask, Question, Role
from tightrope.telemetry.stamps import read_stamp
from tightrope.telemetry.tally import GRAIN_S, RowAsk, RowQuestion, StateOf, Test

ORDERS = ("time", "any")
"""How the rows of a table may stand: by time, forth or back; or as they like."""

HOLD_S = DAY_S + 2 * HOUR_S
"""How long a state holds without a new row: a day, and two hours for the daily one to be late."""


def compiled(ask: Ask, resolution_s: int | None, events: bool) -> RowAsk:
    """Compile the questions of one indicator to columns; raises `UsageError` for a wrong metric spec.

    Args:
        ask: The questions.
        resolution_s: What the data source declares; the SLO's own declaration goes first.
        events: Whether rows are single events.
    """
    questions = tuple(_question(question, ask.step_s) for question in ask.questions)
    resolution_s = ask.step_s or resolution_s
    steps = [question.state.every_s for question in questions if question.state]
    if steps and resolution_s is None:
        resolution_s = max(steps)
    return RowAsk(questions, resolution_s or GRAIN_S, resolution_s, events)


def _question(question: Question, step_s: int | None) -> RowQuestion:
    options = Options(question.spec, f"{question.place}: metric ({question.role})")
    tests, series = where_tests(options.mapping("where"))
    series += options.texts("series")
    state = None
    column = ""
    if "state" in options:
        if question.role not in (Role.GOOD, Role.BAD, Role.TOTAL) or question.counter:
            raise options.wrong(
                "state rows count samples", "use them as good, bad and total of a ratio with counter: false"
            )
        states = options.texts("in")
        state = StateOf(
            options.text("state"),
            (lambda word: word in states) if states else bool,
            options.seconds("every") or step_s or GRAIN_S,
            options.seconds("holdAtMost") or HOLD_S,
            states,
        )
    else:
        column = options.text("column", "" if question.role in (Role.GOOD, Role.BAD, Role.TOTAL) else None)
        if question.counter and not column:
            raise options.wrong("a counter needs its column", "add column:, or set counter: false to count rows")
    options.done()
    return RowQuestion(
        question.role,
        tests,
        column=column,
        series=series if question.counter or state else (),
        counter=question.counter,
        scale=question.scale,
        op=question.op,
        bound=question.bound,
        state=state,
    )


def label_of(text: str) -> str:
    """What a cell says beside times and numbers, which do not tell one series from another."""
    text = text.strip()
    return text if isinstance(exact(text), str) and isinstance(read_stamp(text), str) else ""


def where_tests(where: Mapping[str, Any]) -> tuple[tuple[Test, ...], tuple[str, ...]]:
    """Compile ``where``: a column must be the value, or one of the list; also names those that take several."""
    tests = tuple(
        Test(column, _listed(wanted), _one_of(wanted if isinstance(wanted, list) else [wanted]))
        for column, wanted in where.items()
    )
    return tests, tuple(column for column, wanted in where.items() if isinstance(wanted, list) and len(wanted) > 1)


def _listed(wanted: Any) -> str:
    return " or ".join(str(value) for value in wanted) if isinstance(wanted, list) else str(wanted)


def _one_of(wanted: list[Any]) -> Callable[[str], bool]:
    texts = {"" if value is None else str(value) for value in wanted}
    flags = {str(value).lower() for value in wanted if isinstance(value, bool)}
    numbers = {
        Fraction(str(value)) for value in wanted if isinstance(value, (int, float)) and not isinstance(value, bool)
    }

    def passes(word: str) -> bool:
        return word in texts or word.lower() in flags or (bool(numbers) and exact(word) in numbers)

    return passes
