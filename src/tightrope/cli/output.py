"""What the command line prints: answers on stdout, progress and warnings on stderr, in words before colours."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click

from tightrope.base.errors import SpecError, SpecsInvalidError, TightropeError
from tightrope.base.settings import environment

_READABLE = 16  # characters that a text is not cut below
FORMATS = click.Choice(["table", "json", "yaml"])

_ASCII = str.maketrans(
    {"−": "-", "–": "-", "×": "x", "≥": ">=", "≤": "<=", "·": "-", "…": "...", "█": "#", "▏": "|", "─": "-", "→": "->"}
)


def say(text: str = "", **style: Any) -> None:
    """Print a line of the answer; a reader that has gone away changes nothing, least of all an exit code."""
    _written(click.style(fitted(text), **style) if style else fitted(text))


def _written(text: str) -> None:
    try:
        click.echo(text)
    except BrokenPipeError:
        hush()


def warn(text: str) -> None:
    """Print a warning or note on stderr; nothing with ``--quiet``."""
    if not quiet():
        click.echo(fitted(text), err=True)


def fitted(text: str) -> str:
    """The text as the terminal can show it: ASCII only where that was asked for, or where its encoding has no more."""
    encoding = (getattr(sys.stdout, "encoding", None) or "ascii").lower().replace("-", "")
    if _asked("ascii") or not encoding.startswith("utf"):
        return text.translate(_ASCII).encode("ascii", "replace").decode()
    return text


def quiet() -> bool:
    """Whether progress and warnings are unwanted."""
    return _asked("quiet")


def _asked(name: str) -> bool:
    context = click.get_current_context(silent=True)
    root = context.find_root().obj if context is not None else None
    return bool(root and root.get(name))


def structured(value: Any, form: str) -> None:
    """Print a document as JSON or YAML."""
    if form == "yaml":
        import yaml

        _written(yaml.safe_dump(value, sort_keys=False, allow_unicode=True).rstrip())
    else:
        _written(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


def complain(error: TightropeError) -> None:
    """Print an error on stderr: what is wrong, where, how to mend it."""
    if isinstance(error, SpecsInvalidError):
        findings(error.findings)
        return
    click.echo(click.style("error", fg="red", bold=True) + f": {error.message}", err=True)
    if error.remedy:
        click.echo(f"  = help: {error.remedy}", err=True)


def findings(found: Sequence[SpecError], *, files: int | None = None, err: bool = True) -> None:
    """Print findings with their excerpts, and how many there are."""
    from tightrope.specs.excerpt import render

    for one in found:
        click.echo(fitted(render(one, style=_painted)), err=err)
    errors = sum(one.severity == "error" for one in found)
    warnings = len(found) - errors
    where = f" in {files} file{'s' if files != 1 else ''}" if files is not None else ""
    code = f". More: tightrope explain {found[0].code}" if found else ""
    click.echo(
        f"{errors} error{'s' if errors != 1 else ''}, {warnings} warning{'s' if warnings != 1 else ''}{where}{code}",
        err=err,
    )


def _painted(text: str, role: str) -> str:
    colours = {"error": "red", "warning": "yellow", "place": "blue", "caret": "red", "help": "cyan"}
    return click.style(text, fg=colours[role], bold=role in ("error", "warning")) if role in colours else text


def shown_command() -> str:
    """The command line that is running, as it can be pasted."""
    return shlex.join(["tightrope", *sys.argv[1:]])


def hush() -> None:
    """Keep Python from complaining about a closed pipe on its way out."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def table(
    rows: Sequence[Sequence[str]],
    *,
    right: Sequence[int] = (),
    header: Sequence[str] = (),
    expendable: Sequence[int] = (),
) -> Iterator[str]:
    """Lay out cells in columns, two spaces apart; styled text keeps its width.

    On a terminal too narrow for all of them, *expendable* columns are left out, the first ones first, the last one only
    where cutting the widest column is not enough.
    """
    everything = [list(header), *map(list, rows)] if header else [list(row) for row in rows]
    if not everything:
        return
    widths = [max(_width(row[column]) for row in everything) for column in range(len(everything[0]))]
    room, shown = room_for_lines(), [column for column, width in enumerate(widths) if width]
    for column in expendable:
        excess = sum(widths[one] + 2 for one in shown) - 2 - room
        spare = max(widths[one] for one in shown) - excess
        if excess <= 0 or (column == expendable[-1] and spare >= _READABLE):
            break
        if column in shown:
            shown.remove(column)
    excess = sum(widths[one] + 2 for one in shown) - 2 - room
    widest = max(shown, key=lambda column: widths[column])
    if excess > 0 and widths[widest] - excess >= _READABLE // 2:
        widths[widest] -= excess
        for row in everything:
            row[widest] = _cut(row[widest], widths[widest])
    for number, row in enumerate(everything):
        cells = []
        for column in shown:
            pad = " " * (widths[column] - _width(row[column]))
            cells.append(pad + row[column] if column in right else row[column] + pad)
        line = "  ".join(cells).rstrip()
        line = _cut(line, room)
        yield click.style(line, dim=True) if header and number == 0 else line


def _cut(text: str, width: int) -> str:
    return text if _width(text) <= width else click.unstyle(text)[: width - 1] + "…"


def room_for_lines() -> int:
    """Columns that a line may have: the terminal's, what COLUMNS says, or no limit in a file or pipe."""
    if sys.stdout.isatty() or environment("COLUMNS"):
        return max(20, shutil.get_terminal_size((100, 24)).columns)
    return 10_000


def _width(text: str) -> int:
    return len(click.unstyle(text))


def budget_bar(remaining: float | None, *, cells: int = 20) -> str:
    """Draw the budget left on a scale from −25 to 100 %, with a tick at 0: ``····▏████████········``."""
    left = cells // 5
    if remaining is None:
        return "?" * left + "▏" + "?" * (cells - left)
    spare = cells - left
    if remaining < 0:
        over = max(1, min(left, round(-remaining / 0.25 * left)))
        return click.style("·" * (left - over), dim=True) + click.style("█" * over, fg="red") + "▏" + "·" * spare
    full = min(spare, round(remaining * spare))
    colour = "green" if remaining >= 0.25 else "yellow"
    return (
        click.style("·" * left, dim=True)
        + "▏"
        + click.style("█" * full, fg=colour)
        + click.style("·" * (spare - full), dim=True)
    )


@contextmanager
def progress() -> Iterator[Callable[[str, int, int | None], None] | None]:
    """Show how far long work is: a bar on a terminal, nothing in a pipe or with ``--quiet``."""
    if quiet() or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bars:
        tasks: dict[str, Any] = {}

        def tell(what: str, done: int, of: int | None) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=of)
            bars.update(tasks[what], completed=done, total=of)

        yield tell
