"""What the command line prints: answers on stdout, progress and warnings on stderr, in words before colours."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click

from tightrope.base.errors import SpecError, SpecsInvalidError, TightropeError

FORMATS = click.Choice(["table", "json", "yaml"])

_ASCII = str.maketrans(
    {"−": "-", "×": "x", "≥": ">=", "≤": "<=", "·": "-", "…": "...", "█": "#", "▏": "|", "─": "-", "→": "->"}
)


def say(text: str = "", **style: Any) -> None:
    """Print a line of the answer."""
    click.echo(click.style(fitted(text), **style) if style else fitted(text))


def warn(text: str) -> None:
    """Print a warning or note on stderr; nothing with ``--quiet``."""
    if not quiet():
        click.echo(fitted(text), err=True)


def fitted(text: str) -> str:
    """The text as the terminal can show it: ASCII only where that was asked for, or where its encoding has no more."""
    encoding = (getattr(sys.stdout, "encoding", None) or "ascii").lower().replace("-", "")
    if _asked("ascii") or not encoding.startswith("utf"):
        return text.translate(_ASCII)
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

        click.echo(yaml.safe_dump(value, sort_keys=False, allow_unicode=True).rstrip())
    else:
        click.echo(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


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


def table(rows: Sequence[Sequence[str]], *, right: Sequence[int] = (), header: Sequence[str] = ()) -> Iterator[str]:
    """Lay out cells in columns, two spaces apart; styled text keeps its width."""
    everything = [list(header), *map(list, rows)] if header else [list(row) for row in rows]
    widths = (
        [max(_width(row[column]) for row in everything) for column in range(len(everything[0]))] if everything else []
    )
    for number, row in enumerate(everything):
        cells = []
        for column, cell in enumerate(row):
            room = " " * (widths[column] - _width(cell))
            cells.append(room + cell if column in right else cell + room)
        line = "  ".join(cells).rstrip()
        yield click.style(line, dim=True) if header and number == 0 else line


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
