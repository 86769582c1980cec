"""``doctor``: looks at specs, sources, store and server, and says what to do about what is not well."""

from __future__ import annotations

import click

from tightrope.cli.options import data_option, output_option, spec_paths
from tightrope.cli.output import say, structured, table


@click.command()
@click.option("-f", "--specs", "files", multiple=True, metavar="PATH", help="Specs: files or directories.")
@data_option(required=False)
@output_option
@click.pass_context
def doctor(ctx: click.Context, files: tuple[str, ...], data: str, form: str) -> None:
    """Look whether everything is well: specs, sources, store, journal, disk. Exit code 2 where something is not."""
    from tightrope.app import load_specs
    from tightrope.loop.usecases import examine, worst

    paths = spec_paths(files)
    checks = list(examine(lambda: load_specs(paths), data))
    if form != "table":
        structured(
            [{"check": one.name, "mark": one.mark, "says": one.says, "remedy": one.remedy} for one in checks], form
        )
    else:
        colours = {"ok": "green", "!": "yellow", "x": "red"}
        rows = [
            [
                click.style(one.mark, fg=colours[one.mark]),
                one.name,
                one.says + (f" ({one.remedy})" if one.remedy else ""),
            ]
            for one in checks
        ]
        for line in table(rows, right=(0,)):
            say(line)
    ctx.exit(worst(checks))
