"""Options that many commands share, with the same words and the same meaning."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import click

from tightrope.base.units import parse_time
from tightrope.cli.output import FORMATS


class Instant(click.ParamType[int]):
    """An instant: ISO 8601 (UTC unless it says), epoch seconds, or ``now``."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read it as UTC epoch seconds."""
        from tightrope.base.errors import UsageError

        if isinstance(value, int):
            return value
        if value == "now":
            from tightrope.app import now

            return now()
        try:
            return parse_time(value)
        except UsageError as error:
            self.fail(f"{error.message}; {error.remedy}", param, ctx)


def specs_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """``-f``: where the specs are."""
    return click.option(
        "-f",
        "--file",
        "files",
        multiple=True,
        metavar="PATH",
        help="Spec file or directory; may be repeated. Default: slo/ or tightrope/ in this directory.",
    )(command)


def at_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--at``: the instant asked about."""
    return click.option(
        "--at",
        type=Instant(),
        metavar="TIME",
        help="As of this instant, nothing later visible. ISO 8601 or epoch seconds.",
    )(command)


def output_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """``-o``: table for people, JSON or YAML for machines."""
    return click.option(
        "-o", "--output", "form", type=FORMATS, default="table", show_default=True, help="How to print."
    )(command)


def incidents_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--incidents``: what is known to have happened."""
    return click.option(
        "--incidents",
        metavar="CSV",
        help="Known incidents: a CSV with start, end and if known service, severity, cause, id.",
    )(command)


def strict_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--strict``: refuse bad rows."""
    return click.option("--strict", is_flag=True, help="Refuse telemetry with bad rows instead of counting them.")(
        command
    )


def data_option(*, required: bool) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """``--data``: where decisions are kept; the variable TIGHTROPE_DATA says it for all commands."""

    def given(ctx: click.Context, _: click.Parameter, value: str | None) -> str:
        from tightrope.base.settings import environment

        found = value or environment("TIGHTROPE_DATA")
        if required and not found:
            raise click.UsageError("There is no store: give --data DIR, or set TIGHTROPE_DATA.", ctx)
        return found

    return click.option(
        "--data",
        metavar="DIR",
        callback=given,
        help="Where decisions are recorded: a directory, or postgresql://user@host/database. Default: TIGHTROPE_DATA.",
    )


def server_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--server``: ask a running server instead."""
    return click.option(
        "--server",
        metavar="URL",
        default="",
        help="Ask this server instead of specs and telemetry. Default: TIGHTROPE_SERVER, unless -f is given.",
    )(command)


def chosen_server(server: str, files: Sequence[str] = (), **unfit: object) -> str:
    """Which server is meant, if any; *unfit* are options that have no meaning for a server.

    Raises:
        UsageError: Such an option was given.
    """
    from tightrope.base.errors import UsageError
    from tightrope.base.settings import environment

    found = server or ("" if files else environment("TIGHTROPE_SERVER"))
    given = [name for name, value in unfit.items() if value]
    if found and given:
        option = given[0].replace("_", "-")
        raise UsageError(
            f"--{option} goes with specs, and not with a server", remedy="leave it out, or give -f in place of --server"
        )
    return found


def spec_paths(files: tuple[str, ...]) -> tuple[str, ...]:
    """The paths that ``-f`` gave, or the directories where specs usually are."""
    if files:
        return files
    import os

    found = tuple(name for name in ("slo", "tightrope") if os.path.isdir(name))  # noqa: PTH112 - pathlib takes 4 ms
    if not found:
        raise click.UsageError("There are no specs: give -f PATH, or write a starter with `tightrope init`.")
    return found
