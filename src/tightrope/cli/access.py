"""``token``: who may ask a server, and for what."""

from __future__ import annotations

import click

from tightrope.cli.options import data_option, output_option
from tightrope.cli.output import say, structured, table, warn

ROLES = ("viewer", "operator", "approver", "admin")
PERMISSIONS = ("read", "push", "gate", "record", "run", "break-glass", "silence", "apply", "grant", "approve", "manage")


@click.group()
def token() -> None:
    """Create, list and revoke the tokens that a server takes.

    Whoever may write to the store may do so; docs/access.md says what each role may do.
    """


@token.command("create")
@click.argument("name")
@data_option(required=True)
@output_option
@click.option("--role", type=click.Choice(ROLES), required=True, help="What its holder is trusted with.")
@click.option("--service", "services", multiple=True, help="For this service only; may be repeated.")
@click.option("--team", "teams", multiple=True, help="For the services that this team owns; may be repeated.")
@click.option(
    "--only",
    type=click.Choice(PERMISSIONS),
    multiple=True,
    help="Of what the role may do, this much; may be repeated. Default: all of it.",
)
@click.option(
    "--expires",
    default="90d",
    show_default=True,
    metavar="DURATION",
    help="How long it is good: 12h, 90d, 1Y or never.",
)
def create(
    name: str,
    data: str,
    form: str,
    role: str,
    services: tuple[str, ...],
    teams: tuple[str, ...],
    only: tuple[str, ...],
    expires: str,
) -> None:
    """Make a token for NAME, and print it: this once, since only a hash of it is kept."""
    from tightrope.access.roles import parse_permission, parse_role
    from tightrope.access.usecases import make_token, token_document
    from tightrope.base.units import parse_duration, time_text

    issued = make_token(
        data,
        name,
        parse_role(role),
        lasts_s=None if expires == "never" else parse_duration(expires).seconds,
        teams=teams,
        services=services,
        only=[parse_permission(one) for one in only] or None,
    )
    made = issued.token
    if form != "table":
        structured(token_document(made) | {"token": issued.text}, form)
        return
    click.echo(issued.text)
    until = f"until {time_text(made.expires_at)}" if made.expires_at is not None else "for good"
    warn(f"token {made.id} of {made.name} ({made.role}), good {until}; it is not shown again")


@token.command("list")
@data_option(required=True)
@output_option
def list_(data: str, form: str) -> None:
    """List all tokens, newest first, also those that expired or were revoked; never their secrets."""
    from tightrope.access.usecases import list_tokens, token_document
    from tightrope.base.units import time_text

    found = list_tokens(data)
    if form != "table":
        structured([token_document(one) | {"standing": standing} for one, standing in found], form)
        return
    if not found:
        say("no token was made yet")
        return
    rows = []
    for one, standing in found:
        reach = [*one.services, *(f"team {team}" for team in one.teams)] or ["everywhere"]
        limits = ", ".join(map(str, one.only)) if one.only is not None else ""
        used = time_text(one.last_used_at) if one.last_used_at is not None else "never"
        until = time_text(one.expires_at) if one.expires_at is not None else "never"
        rows.append([one.id, one.name, standing, str(one.role), limits, ", ".join(reach), until, used])
    header = ["id", "name", "standing", "role", "only", "for", "expires", "last used"]
    for line in table(rows, header=header, expendable=(4, 7)):
        say(line)


@token.command("revoke")
@click.argument("which", metavar="TOKEN")
@data_option(required=True)
def revoke(which: str, data: str) -> None:
    """Let TOKEN, an id or name, be used no more; a running server follows within two seconds."""
    from tightrope.access.usecases import revoke_token

    gone = revoke_token(data, which)
    say(f"revoked {gone.id} of {gone.name}")
