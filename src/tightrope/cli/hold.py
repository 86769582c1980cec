"""``hold``: who waits for an answer of ours, why, what they were told, and giving it up."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote

import click

from tightrope.cli.options import chosen_server, data_option, output_option, server_option
from tightrope.cli.output import say, structured, table

if TYPE_CHECKING:
    from tightrope.cli.remote import Remote
    from tightrope.delivery.holds.usecases import Holds

STATES = ("waiting", "approved", "refused", "expired", "cancelled", "superseded")
_COLOURS = {"waiting": "yellow", "approved": "green", "refused": "red", "expired": "red"}

Document = dict[str, Any]


class Desk(Protocol):
    """Where holds are asked for: a server, or the store itself."""

    def holds(self, service: str, state: str, limit: int) -> list[Document]:
        """The newest ones."""

    def hold(self, name: str) -> Document:
        """One, with what its caller was told."""

    def cancel(self, name: str) -> Document:
        """Give one up."""


@click.group()
def hold() -> None:
    """Show releases that wait for an answer of the gate, and give them up.

    docs/integrations.md tells who can wait, and how they are answered.
    """


@hold.command("list")
@data_option(required=False)
@server_option
@output_option
@click.option("--service", default="", help="Only those of this service.")
@click.option("--state", type=click.Choice(STATES), default=None, help="Only those in this state.")
@click.option("--limit", type=click.IntRange(min=1, max=1000), default=50, show_default=True, help="At most so many.")
def list_(data: str, server: str, form: str, service: str, state: str | None, limit: int) -> None:
    """List holds, newest first."""
    with _desk(server, data) as desk:
        found = desk.holds(service, state or "", limit)
    if form != "table":
        structured(found, form)
        return
    if not found:
        say("nobody waits" if state in {None, "waiting"} else f"no hold is {state}")
        return
    rows = [
        [
            one["openedAt"],
            one["id"],
            click.style(one["state"], fg=_COLOURS.get(one["state"])),
            one["caller"],
            one["service"] or "?",
            one["environment"],
            one["change"][:12],
            one["reason"],
        ]
        for one in found
    ]
    header = ["since", "hold", "", "who", "service", "environment", "change", "why"]
    for line in table(rows, header=header, expendable=(7,)):
        say(line)


@hold.command("show")
@click.argument("name", metavar="HOLD")
@data_option(required=False)
@server_option
@output_option
def show(name: str, data: str, server: str, form: str) -> None:
    """Show HOLD (H-...): why it waits, and what its caller was told."""
    with _desk(server, data) as desk:
        _show(desk.hold(name), form)


@hold.command("cancel")
@click.argument("name", metavar="HOLD")
@data_option(required=False)
@server_option
@output_option
def cancel(name: str, data: str, server: str, form: str) -> None:
    """Give HOLD up: we answer it no more. Whoever waits is not told, and is to be answered by hand."""
    with _desk(server, data) as desk:
        _show(desk.cancel(name), form)


def _show(one: Document, form: str) -> None:
    if form != "table":
        structured(one, form)
        return
    say(f"{one['id']}  {one['caller']} for {one['service'] or 'nobody knows which service'}: {one['state']}", bold=True)
    rows = {
        "since": one["openedAt"],
        "until": one["closedAt"] or f"{one['until']} at most",
        "change": " · ".join(part for part in (one["change"], one["title"], one["kind"]) if part),
        "asked by": one["askedBy"],
        "why": one["reason"],
        "decision": one["decision"],
        "on stop": one["onStop"],
    }
    for label, text in rows.items():
        if text:
            say(f"  {label:<9} {text}")
    for call in one["calls"]:
        why = f": {call['error']}" if call["error"] else ""
        say(f"  told      {call['createdAt']} {call['verb']}, {call['state']} after {call['attempts']} attempts{why}")


@contextmanager
def _desk(server: str, data: str) -> Iterator[Desk]:
    asked = chosen_server(server) if server or not data else ""
    if asked:
        from tightrope.cli.remote import Remote

        with Remote(asked) as remote:
            yield _Served(remote)
        return
    if not data:
        raise click.UsageError("Give --server URL, or --data DIR with the store.")
    from tightrope.delivery.holds.usecases import at_hand

    with at_hand(data) as holds:
        yield _Kept(holds)


class _Served:
    def __init__(self, remote: Remote) -> None:
        self._remote = remote

    def holds(self, service: str, state: str, limit: int) -> list[Document]:
        wanted = {name: value for name, value in (("service", service), ("state", state)) if value}
        found: list[Document] = self._remote.get("/holds", limit=limit, **wanted)["items"]
        return found

    def hold(self, name: str) -> Document:
        found: Document = self._remote.get(f"/holds/{quote(name, safe='')}")
        return found

    def cancel(self, name: str) -> Document:
        found: Document = self._remote.post(f"/holds/{quote(name, safe='')}/cancel", {})
        return found


class _Kept:
    def __init__(self, holds: Holds) -> None:
        self._holds = holds

    def holds(self, service: str, state: str, limit: int) -> list[Document]:
        found = self._holds.holds(service=service, state=state, limit=limit)
        return [self._holds.document(one) for one in found]

    def hold(self, name: str) -> Document:
        return self._holds.document(self._holds.hold(name))

    def cancel(self, name: str) -> Document:
        from tightrope.base.settings import environment

        by = environment("USER") or environment("USERNAME") or "somebody at a shell"
        return self._holds.document(self._holds.cancel(name, by=by))
