"""Commands on exceptions: leave to ship what the policy refuses, asked for by one and granted by another."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote

import click

from tightrope.cli.options import chosen_server, data_option, output_option, server_option, spec_paths, specs_option
from tightrope.cli.output import say, structured, table, warn

if TYPE_CHECKING:
    from tightrope.cli.remote import Remote
    from tightrope.policy.usecases import Exceptions

Document = dict[str, Any]


class Desk(Protocol):
    """Where exceptions are asked for and answered: a server, or the store itself."""

    def asked(self, path: str, wanted: Document) -> Document:
        """Ask for one, or answer one."""

    def listed(self, service: str, limit: int) -> list[Document]:
        """The newest ones."""

    def named(self, name: str) -> Document:
        """One by its id."""


@click.group()
def exception() -> None:
    """Ask for leave to ship what the policy refuses, grant it, and break the glass.

    Somebody else than who asks has to grant it. docs/policy.md, "Silver bullets", has the rules.
    """


_service = click.argument("service", metavar="SERVICE")
_name = click.argument("name", metavar="EXCEPTION")
_change = click.option("--change", default="", help="The commit, tag or release that it is for; any, if absent.")
_environment = click.option("--environment", default="", help="The environment that it is for; any, if absent.")
_reason = click.option("--reason", required=True, help="Why: somebody has to judge it.")
_for = click.option("--for", "duration", metavar="DURATION", help="For how long, from the grant on, such as 4h.")
_who = click.option("--who", default="", help="Who you are; the user of this shell, if absent.")
_note = click.option("--note", default="", help="What you have to say to it.")


def _asking(command: Any) -> Any:
    for option in (_who, _for, _environment, _change, _reason, output_option, server_option, specs_option):
        command = option(command)
    return data_option(required=False)(_service(command))


def _answering(command: Any) -> Any:
    for option in (_who, _note, output_option, server_option, specs_option):
        command = option(command)
    return data_option(required=False)(_name(command))


@exception.command("request")
@_asking
def request(
    service: str,
    data: str,
    files: tuple[str, ...],
    server: str,
    form: str,
    reason: str,
    change: str,
    environment: str,
    duration: str | None,
    who: str,
) -> None:
    """Ask for an exception for SERVICE; it waits until somebody grants or refuses it."""
    wanted = _wanted(service, reason, change, environment, duration)
    with _desk(server, data, files) as desk:
        made = desk.asked("", wanted | _by(who, server))
    _show(made, form)
    if form == "table":
        say(f"    tightrope exception grant {made['id']}", dim=True)


@exception.command("break-glass")
@_asking
def break_glass(
    service: str,
    data: str,
    files: tuple[str, ...],
    server: str,
    form: str,
    reason: str,
    change: str,
    environment: str,
    duration: str | None,
    who: str,
) -> None:
    """Let changes of SERVICE through at once, with nobody's leave: an hour, at most four, and seen by all."""
    wanted = _wanted(service, reason, change, environment, duration)
    with _desk(server, data, files) as desk:
        made = desk.asked("/break-glass", wanted | _by(who, server))
    _show(made, form)
    if form == "table":
        warn("recorded in the journal; whoever reads it will ask what happened")


@exception.command("grant")
@_answering
@_for
def grant(
    name: str,
    data: str,
    files: tuple[str, ...],
    server: str,
    form: str,
    note: str,
    who: str,
    duration: str | None,
) -> None:
    """Grant EXCEPTION (X-...): it counts against the quota, used or not."""
    wanted = {"note": note} | ({"duration": duration} if duration else {})
    with _desk(server, data, files) as desk:
        _show(desk.asked(f"/{name}/grant", wanted | _by(who, server)), form)


@exception.command("refuse")
@_answering
def refuse(name: str, data: str, files: tuple[str, ...], server: str, form: str, note: str, who: str) -> None:
    """Refuse EXCEPTION (X-...)."""
    with _desk(server, data, files) as desk:
        _show(desk.asked(f"/{name}/refuse", {"note": note} | _by(who, server)), form)


@exception.command("revoke")
@_answering
def revoke(name: str, data: str, files: tuple[str, ...], server: str, form: str, note: str, who: str) -> None:
    """End EXCEPTION (X-...) before its time."""
    with _desk(server, data, files) as desk:
        _show(desk.asked(f"/{name}/revoke", {"note": note} | _by(who, server)), form)


@exception.command("show")
@_name
@data_option(required=False)
@server_option
@output_option
def show(name: str, data: str, server: str, form: str) -> None:
    """Show EXCEPTION (X-...): what was asked for, and what became of it."""
    with _desk(server, data, ()) as desk:
        _show(desk.named(name), form)


@exception.command("list")
@data_option(required=False)
@server_option
@output_option
@click.option("--service", default="", help="Only those of this service.")
@click.option("--limit", type=click.IntRange(min=1, max=1000), default=50, show_default=True, help="At most so many.")
def list_(data: str, server: str, form: str, service: str, limit: int) -> None:
    """List exceptions, newest first: those that wait, that hold, and that were."""
    with _desk(server, data, ()) as desk:
        found = desk.listed(service, limit)
    if form != "table":
        structured(found, form)
        return
    if not found:
        say("no exception was ever asked for")
        return
    rows = [
        [
            one["id"],
            one["standing"],
            one["service"],
            one["change"] or "any change",
            one["requestedBy"],
            one["expiresAt"] or "",
            one["reason"],
        ]
        for one in found
    ]
    header = ["exception", "", "service", "for", "asked by", "until", "reason"]
    for line in table(rows, header=header, expendable=(6, 4)):
        say(line)


def _show(one: Document, form: str) -> None:
    if form != "table":
        structured(one, form)
        return
    what = " · ".join(part for part in (one["service"], one["environment"], one["change"] or "any change") if part)
    say(f"{one['id']}  {one['standing']}  {what}", bold=True)
    say(f"  asked    by {one['requestedBy']}, {one['requestedAt']}: {one['reason']}")
    if one["decidedBy"]:
        note = f": {one['note']}" if one["note"] else ""
        say(f"  answer   by {one['decidedBy']}, {one['decidedAt']}{note}")
    if one["expiresAt"]:
        say(f"  until    {one['expiresAt']}")


def _wanted(service: str, reason: str, change: str, environment: str, duration: str | None) -> Document:
    wanted: Document = {"service": service, "reason": reason, "change": change, "environment": environment}
    return wanted | ({"duration": duration} if duration else {})


def _by(who: str, server: str) -> Document:
    """Who asks or answers. A token speaks for its own name, so a server is told only what was said on purpose."""
    from tightrope.base.settings import environment

    if not who and environment("TIGHTROPE_TOKEN") and chosen_server(server):
        return {}
    return {"by": who or environment("USER") or environment("USERNAME") or "somebody at a shell"}


@contextmanager
def _desk(server: str, data: str, files: tuple[str, ...]) -> Iterator[Desk]:
    asked = chosen_server(server)
    if asked:
        from tightrope.cli.remote import Remote

        with Remote(asked) as remote:
            yield _Served(remote)
        return
    if not data:
        raise click.UsageError("Give --server URL, or --data DIR with the store.")
    from tightrope.app import load_specs, quota_in
    from tightrope.policy.usecases import exceptions_at_hand

    with exceptions_at_hand(data, lambda service: quota_in(load_specs(spec_paths(files)), service)) as fronts:
        yield _Kept(fronts)


class _Served:
    def __init__(self, remote: Remote) -> None:
        self._remote = remote

    def asked(self, path: str, wanted: Document) -> Document:
        found: Document = self._remote.post(f"/exceptions{quote(path)}", wanted)
        return found

    def listed(self, service: str, limit: int) -> list[Document]:
        found: list[Document] = self._remote.get("/exceptions", service=service, limit=limit)["items"]
        return found

    def named(self, name: str) -> Document:
        found: Document = self._remote.get(f"/exceptions/{quote(name)}")
        return found


class _Kept:
    def __init__(self, fronts: Exceptions) -> None:
        self._fronts = fronts

    def asked(self, path: str, wanted: Document) -> Document:
        from tightrope.app import now
        from tightrope.base.units import parse_duration
        from tightrope.policy.exceptions import document_of

        moment = now()
        lasts_s = parse_duration(wanted["duration"]).seconds if "duration" in wanted else None
        fronts, by = self._fronts, wanted["by"]
        if path in ("", "/break-glass"):
            begin = fronts.break_glass if path else fronts.request
            made = begin(
                wanted["service"],
                by=by,
                reason=wanted["reason"],
                now=moment,
                environment=wanted["environment"],
                change=wanted["change"],
                lasts_s=lasts_s,
            )
        else:
            _, name, verb = path.split("/")
            if verb == "grant":
                made = fronts.grant(name, by=by, note=wanted["note"], lasts_s=lasts_s, now=moment)
            else:
                answer = fronts.refuse if verb == "refuse" else fronts.revoke
                made = answer(name, by=by, note=wanted["note"], now=moment)
        return document_of(made, moment)

    def listed(self, service: str, limit: int) -> list[Document]:
        from tightrope.app import now
        from tightrope.policy.exceptions import document_of

        return [document_of(one, now()) for one in self._fronts.listed(service=service, limit=limit)]

    def named(self, name: str) -> Document:
        from tightrope.app import now
        from tightrope.policy.exceptions import document_of

        return document_of(self._fronts.named(name), now())
