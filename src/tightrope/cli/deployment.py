"""Commands on deployments and on findings: what went where, what it carried, and what went past the gate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote

import click

from tightrope.cli.options import Instant, chosen_server, data_option, output_option, server_option, specs_option
from tightrope.cli.output import say, structured, table, warn

if TYPE_CHECKING:
    from tightrope.cli.remote import Remote
    from tightrope.delivery.usecases import Deliveries, FromGit

KINDS = ("feature", "config", "reliability", "security", "emergency", "rollback")
STATES = ("started", "succeeded", "failed")

Document = dict[str, Any]


class Desk(Protocol):
    """Where deployments are told of and asked for: a server, or the store itself."""

    def record(self, told: Document) -> Document:
        """Tell of one."""

    def deployments(self, wanted: Mapping[str, Any]) -> list[Document]:
        """The newest ones."""

    def deployment(self, name: str) -> Document:
        """One by its id, in full."""

    def findings(self, service: str, *, open_only: bool, limit: int) -> list[Document]:
        """The newest findings."""

    def close(self, name: str, by: str, reason: str) -> Document:
        """Close a finding."""


@click.group()
def deployment() -> None:
    """Record what was deployed, and show what went where and what it carried.

    docs/deployments.md tells how commits, kinds and rollbacks are found.
    """


@deployment.command("record")
@click.argument("service", metavar="SERVICE")
@data_option(required=False)
@server_option
@specs_option
@output_option
@click.option("--version", default="", help="The release; the tag on the revision, if absent.")
@click.option("--revision", default="", help="The commit; with --repo a branch or tag as well.")
@click.option("--artifact", default="", help="Image or package, such as ghcr.io/acme/shop@sha256:...")
@click.option("--previous", default="", help="What was live before; found by itself, if absent.")
@click.option(
    "--repo", metavar="PATH", help="A clone, for the commits since what was live; without --revision its HEAD."
)
@click.option("--repository", default="", help="The repository's address; that of the clone's origin, if absent.")
@click.option("--environment", default="production", show_default=True, help="Where it went.")
@click.option("--state", type=click.Choice(STATES), default="succeeded", show_default=True, help="How far it is.")
@click.option("--kind", type=click.Choice(KINDS), help="What the change is for; found from its commits, if absent.")
@click.option("--rollback/--no-rollback", default=None, help="Whether it goes back; found by itself, if absent.")
@click.option("--decision", default="", help="Id of the gate's decision (D-...).")
@click.option("--change", default="", help="What the gate was asked about, if neither version nor revision.")
@click.option("--title", default="", help="A line for people.")
@click.option("--url", default="", help="Where more is to be seen, such as the run of a pipeline.")
@click.option("--id", "name", default="", help="Your name of the deployment: told again, it is the same one.")
@click.option("--at", type=Instant(), metavar="TIME", help="When it was so; now, if absent.")
@click.option("--started-at", type=Instant(), metavar="TIME", help="When it began.")
@click.option("--by", default="", help="Who deploys; the user of this shell, if absent.")
def record(
    service: str,
    data: str,
    server: str,
    files: tuple[str, ...],
    form: str,
    repo: str | None,
    name: str,
    at: int | None,
    started_at: int | None,
    by: str,
    **told: Any,
) -> None:
    """Tell that SERVICE was deployed, is being deployed, or could not be deployed."""
    from tightrope.base.units import time_text
    from tightrope.delivery.documents import told_commit

    with _desk(server, data, files, create=True) as desk:
        document: Document = {"service": service, "source": "cli", "id": name, "by": by or _user(server)} | told
        if repo is not None:
            found = _from_git(desk, document, repo)
            document["revision"] = found.revision
            document["previous"] = found.previous if document["previous"] else ""
            document["version"] = document["version"] or found.version
            document["repository"] = document["repository"] or found.repository
            document["history"] = [told_commit(one) for one in found.history]
            if found.lacking:
                warn(f"warning: {found.lacking}")
        document |= {"at": time_text(at)} if at is not None else {}
        document |= {"startedAt": time_text(started_at)} if started_at is not None else {}
        made = desk.record({key: value for key, value in document.items() if value not in (None, "")})
    _show(made, form)


def _from_git(desk: Desk, told: Document, repo: str) -> FromGit:
    """What the clone tells, held against what is live as far as somebody knows that."""
    from tightrope.delivery.usecases import read_git

    previous, given = told["previous"], bool(told["previous"])
    if not given:
        live = desk.deployments(
            {"service": told["service"], "environment": told["environment"], "state": "succeeded", "limit": 1}
        )
        previous = live[0]["revision"] if live else ""
    return read_git(repo, told["revision"], previous, given=given)


@deployment.command("list")
@data_option(required=False)
@server_option
@output_option
@click.option("--service", default="", help="Only those of this service.")
@click.option("--environment", default="", help="Only those in this environment.")
@click.option("--state", type=click.Choice(STATES), default=None, help="Only those in this state.")
@click.option("--since", type=Instant(), metavar="TIME", help="Only those since this instant.")
@click.option("--limit", type=click.IntRange(min=1, max=1000), default=50, show_default=True, help="At most so many.")
def list_(
    data: str,
    server: str,
    form: str,
    service: str,
    environment: str,
    state: str | None,
    since: int | None,
    limit: int,
) -> None:
    """List deployments, newest first."""
    from tightrope.base.units import time_text

    wanted: Document = {"service": service, "environment": environment, "state": state or "", "limit": limit}
    wanted["since"] = "" if since is None else time_text(since)
    with _desk(server, data) as desk:
        found = desk.deployments({key: value for key, value in wanted.items() if value})
    if form != "table":
        structured(found, form)
        return
    if not found:
        say("no deployment is known")
        return
    rows = []
    for one in found:
        colour = "yellow" if one["rollback"] else {"failed": "red", "started": "cyan"}.get(one["state"])
        state = "rollback" if one["rollback"] and one["state"] == "succeeded" else one["state"]
        count = one["commitCount"]
        commits = f"{count} commit{'s' if count != 1 else ''}" if count else ""
        rows.append(
            [
                one["finishedAt"] or one["startedAt"],
                one["id"],
                click.style(state, fg=colour),
                one["service"],
                one["environment"],
                _called(one),
                one["kind"],
                commits,
                one["by"],
            ]
        )
    header = ["at", "deployment", "", "service", "environment", "what", "kind", "", "by"]
    for line in table(rows, header=header, expendable=(8, 7)):
        say(line)


@deployment.command("show")
@click.argument("name", metavar="DEPLOYMENT")
@data_option(required=False)
@server_option
@output_option
def show(name: str, data: str, server: str, form: str) -> None:
    """Show DEPLOYMENT (DEP-...): what it carried, who wrote it, and how it went past the gate."""
    with _desk(server, data) as desk:
        _show(desk.deployment(name), form)


@click.group()
def finding() -> None:
    """Show and close findings: deployments that went out past the gate.

    A deployment without a decision of the gate, after its stop, or after the decision had expired; never a rollback.
    """


@finding.command("list")
@data_option(required=False)
@server_option
@output_option
@click.option("--all", "everything", is_flag=True, help="Those that are closed, too.")
@click.option("--service", default="", help="Only those of this service.")
@click.option("--limit", type=click.IntRange(min=1, max=1000), default=50, show_default=True, help="At most so many.")
def findings(data: str, server: str, form: str, everything: bool, service: str, limit: int) -> None:
    """List findings, newest first."""
    with _desk(server, data) as desk:
        found = desk.findings(service, open_only=not everything, limit=limit)
    if form != "table":
        structured(found, form)
        return
    if not found:
        say("nothing went past the gate" if everything else "no finding is open")
        return
    rows = [
        [
            one["openedAt"],
            one["id"],
            "open" if one["open"] else f"closed by {one['closedBy']}",
            one["says"],
            one["reason"],
            one["deployment"],
        ]
        for one in found
    ]
    for line in table(rows, header=["at", "finding", "", "what", "why", "deployment"], expendable=(4, 3)):
        say(line)


@finding.command("close")
@click.argument("name", metavar="FINDING")
@data_option(required=False)
@server_option
@output_option
@click.option("--reason", required=True, help="What came of it.")
@click.option("--who", default="", help="Who closes it; the user of this shell, if absent.")
def close(name: str, data: str, server: str, form: str, reason: str, who: str) -> None:
    """Close FINDING (F-...), for a reason that is recorded."""
    with _desk(server, data) as desk:
        closed = desk.close(name, who or _user(""), reason)
    if form != "table":
        structured(closed, form)
        return
    say(f"{closed['id']}  closed by {closed['closedBy']}: {closed['reason']}")


def _show(one: Document, form: str) -> None:
    if form != "table":
        structured(one, form)
        return
    from tightrope.base.units import percent_text
    from tightrope.delivery.changes import called
    from tightrope.delivery.feedback import minutes_text

    say(f"{one['id']}  {one['service']} {_called(one)} to {one['environment']}: {one['state']}", bold=True)
    ended = one["finishedAt"]
    times = one["startedAt"] if ended in (None, one["startedAt"]) else f"{one['startedAt']} to {ended}"
    say(f"  when      {times}")
    before = called(one["previousVersion"], one["previous"])
    if before:
        say(f"  before    {before}")
    kind = one["kind"] if one["rollback"] else f"{one['kind']} ({one['kindFrom']})"
    say(f"  kind      {kind}")
    if one["rollback"]:
        say(f"  rollback  {one['because']}")
    for name, says in (("revision", one["revision"]), ("artifact", one["artifact"]), ("decision", one["decision"])):
        if says:
            say(f"  {name:<9} {says}")
    for each in one.get("price", ()):
        share = each["shareOfBudget"]
        part = "" if share is None else f"{percent_text(share)} of its budget, "
        outage = "" if each.get("minutes") is None else f", {minutes_text(each['minutes'])}"
        say(f"  price     {each['slo']}: {part}{each['amount']}{outage}")
    say(f"  by        {' · '.join(part for part in (one['by'], one['source'], one['url']) if part)}")
    for build in one["builds"]:
        say(f"  build     {build['name']}: {build['state']} {build['url']}".rstrip())
    for each in one["findings"]:
        state = "open" if each["open"] else f"closed by {each['closedBy']}: {each['reason']}"
        say(f"  finding   {each['id']} {each['says']} ({state})")
    commits = one["commits"]
    if commits:
        missing = "" if one["commitsComplete"] else ", and others that are not known"
        say(f"  commits   {len(commits)}{missing}")
        for line in table(
            [[each["sha"][:12], each["kind"], each["author"], each["title"]] for each in commits], expendable=(3,)
        ):
            say(f"    {line}")
    elif not one["rollback"] and not one["commitsComplete"]:
        if before:
            say("  commits   not known: give --repo, or let the repository's pushes be told of (docs/deployments.md)")
        else:
            say("  commits   not known: nothing is known to have been live before")


def _called(one: Document) -> str:
    from tightrope.delivery.changes import called

    return called(one["version"], one["revision"], one["artifact"])


def _user(server: str) -> str:
    """Who deploys. A token speaks for its own name."""
    from tightrope.base.settings import environment

    if environment("TIGHTROPE_TOKEN") and chosen_server(server):
        return ""
    return environment("USER") or environment("USERNAME") or "somebody at a shell"


@contextmanager
def _desk(server: str, data: str, files: tuple[str, ...] = (), *, create: bool = False) -> Iterator[Desk]:
    asked = chosen_server(server) if server or not data else ""
    if asked:
        from tightrope.cli.remote import Remote

        with Remote(asked) as remote:
            yield _Served(remote)
        return
    if not data:
        raise click.UsageError("Give --server URL, or --data DIR with the store.")
    from tightrope.delivery.usecases import at_hand

    specs = None
    if files:
        from tightrope.app import load_specs

        specs = load_specs(files)
    with at_hand(data, specs, create=create) as deliveries:
        yield _Kept(deliveries)


class _Served:
    def __init__(self, remote: Remote) -> None:
        self._remote = remote

    def record(self, told: Document) -> Document:
        found: Document = self._remote.post("/deployments", told)
        return found

    def deployments(self, wanted: Mapping[str, Any]) -> list[Document]:
        found: list[Document] = self._remote.get("/deployments", **wanted)["items"]
        return found

    def deployment(self, name: str) -> Document:
        found: Document = self._remote.get(f"/deployments/{quote(name, safe='')}")
        return found

    def findings(self, service: str, *, open_only: bool, limit: int) -> list[Document]:
        wanted = {"service": service, "open": str(open_only).lower(), "limit": limit}
        found: list[Document] = self._remote.get("/findings", **wanted)["items"]
        return found

    def close(self, name: str, by: str, reason: str) -> Document:
        found: Document = self._remote.post(f"/findings/{quote(name, safe='')}/close", {"reason": reason})
        return found


class _Kept:
    def __init__(self, deliveries: Deliveries) -> None:
        self._deliveries = deliveries

    def record(self, told: Document) -> Document:
        from tightrope.app import now
        from tightrope.delivery.documents import commit_told, report_told
        from tightrope.delivery.usecases import named

        report = named(self._deliveries, report_told(told, by="", now=now()))
        made = self._deliveries.record(report, [commit_told(one) for one in told.get("history", ())])
        return self.deployment(made.id)

    def deployments(self, wanted: Mapping[str, Any]) -> list[Document]:
        from tightrope.base.units import parse_time
        from tightrope.delivery.documents import deployment_document

        found = self._deliveries.deployments(
            wanted.get("service", ""),
            wanted.get("environment", ""),
            state=wanted.get("state", ""),
            since=parse_time(wanted["since"]) if "since" in wanted else None,
            limit=wanted["limit"],
        )
        return [deployment_document(one) for one in found]

    def deployment(self, name: str) -> Document:
        from tightrope.delivery.documents import deployment_in_full

        return deployment_in_full(*self._deliveries.about(name))

    def findings(self, service: str, *, open_only: bool, limit: int) -> list[Document]:
        from tightrope.delivery.documents import finding_document

        found = self._deliveries.findings.listed(service=service, open_only=open_only, limit=limit)
        return [finding_document(one) for one in found]

    def close(self, name: str, by: str, reason: str) -> Document:
        from tightrope.delivery.documents import finding_document

        return finding_document(self._deliveries.findings.close(name, by=by, reason=reason))
