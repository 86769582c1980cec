"""``apply``: specs to a server."""

from __future__ import annotations

import click

from tightrope.cli.options import chosen_server, output_option, server_option, spec_paths, specs_option


@click.command()
@specs_option
@server_option
@output_option
@click.option("--dry-run", is_flag=True, help="Only tell what would change.")
def apply(files: tuple[str, ...], server: str, form: str, dry_run: bool) -> None:
    """Send specs to the server in --server or TIGHTROPE_SERVER: all of them or, if one has an error, none.

    Documents that the server has and that are not sent stay. The token in TIGHTROPE_TOKEN must be an approver's.
    """
    from tightrope.cli import remote

    asked = chosen_server(server)
    if not asked:
        raise click.UsageError("There is no server: give --server URL, or set TIGHTROPE_SERVER.")
    remote.apply(asked, spec_paths(files), form, dry_run=dry_run)
