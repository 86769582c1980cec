"""Commands on the store: what it holds, its backup and way back, its chunks, its slices as Parquet."""

from __future__ import annotations

import click

from tightrope.cli.options import data_option, output_option
from tightrope.cli.output import say, structured, table


@click.group()
def store() -> None:
    """Look after the store: back it up, restore it, fold it, export its slices."""


@store.command("info")
@data_option(required=True)
@output_option
def info(data: str, form: str) -> None:
    """Tell what the store holds, record by record."""
    from tightrope.base.units import duration_text, time_text
    from tightrope.loop.usecases import look_into

    found = look_into(data)
    if form != "table":
        records = [
            {
                "track": one.name,
                "series": one.series,
                "stepSeconds": one.step_s,
                "start": None if one.start is None else time_text(one.start),
                "end": None if one.end is None else time_text(one.end),
            }
            for one in found.shelves
        ]
        document = {"store": found.where, "schema": found.schema, "journalRows": found.journal_rows}
        structured(document | {"waiting": found.waiting, "records": records}, form)
        return
    waiting = f", {found.waiting:,} deliveries waiting" if found.waiting else ""
    say(f"{found.where}: schema {found.schema}, {found.journal_rows:,} rows of journal{waiting}")
    rows = [
        [
            one.name,
            duration_text(one.step_s),
            "–" if one.start is None else time_text(one.start),
            "–" if one.end is None else time_text(one.end),
        ]
        for one in found.shelves
    ]
    for line in table(rows, header=["record", "slices", "from", "to"]):
        say(line)


@store.command("backup")
@click.argument("file", type=click.Path(dir_okay=False))
@data_option(required=True)
def backup(file: str, data: str) -> None:
    """Copy the store into FILE, as of one instant, while a server writes; the copy is checked."""
    from tightrope.loop.usecases import back_up

    made = back_up(data, file)
    say(f"wrote {made.path}: {made.size:,} bytes, {made.rows:,} rows of journal; note its head: {made.head}")


@store.command("restore")
@click.argument("file", type=click.Path(dir_okay=False))
@data_option(required=True)
@click.option("--force", is_flag=True, help="Take the place of a store that is there.")
def restore(file: str, data: str, force: bool) -> None:
    """Bring the backup FILE back as the store. Stop the server first."""
    from tightrope.loop.usecases import restore as bring_back

    made = bring_back(file, data, force=force)
    say(f"restored {made.path}: {made.rows:,} rows of journal, its head is {made.head}")


@store.command("compact")
@data_option(required=True)
def compact(data: str) -> None:
    """Fold what was stored turn by turn into day chunks; a server does so by itself."""
    from tightrope.loop.usecases import compact as fold

    folded = fold(data)
    say(f"folded {folded:,} tick{'s' if folded != 1 else ''}")


@store.command("export")
@click.argument("file", type=click.Path(dir_okay=False))
@data_option(required=True)
@click.option("--hours", is_flag=True, help="Write the sums by the hour of slices that were let go of instead.")
def export(file: str, data: str, hours: bool) -> None:
    """Write every slice to the Parquet FILE."""
    from tightrope.loop.usecases import export as write
    from tightrope.loop.usecases import export_hours

    if hours:
        say(f"wrote {export_hours(data, file):,} hours to {file}")
        return
    say(f"wrote {write(data, file):,} slices to {file}")
