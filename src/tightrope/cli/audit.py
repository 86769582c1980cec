"""Commands on the record: which decisions were made, on what, and whether the record is as it was written."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from tightrope.cli.options import Instant, data_option, output_option
from tightrope.cli.output import room_for_lines, say, structured, table, warn

if TYPE_CHECKING:
    from tightrope.policy.record import Kept
    from tightrope.policy.usecases import Audit


@click.group()
def audit() -> None:
    """Look up recorded decisions, and verify that the record is as it was written.

    `tightrope gate SERVICE --data DIR` records them; docs/journal.md says what the record can show.
    """


@audit.command("list")
@data_option(required=True)
@output_option
@click.option("--service", default="", help="Only decisions about this service.")
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="At most so many.")
def list_(data: str, form: str, service: str, limit: int) -> None:
    """List recorded decisions, newest first."""
    from tightrope.base.units import time_text
    from tightrope.policy.usecases import kept_decisions

    found = kept_decisions(data, service=service, limit=limit, left_out=_left_out)
    if form != "table":
        structured([_document(one) for one in found], form)
        return
    if not found:
        say(f"no decision{f' about {service}' if service else ''} is recorded yet")
        return
    rows = []
    for one in found:
        made = one.record.decision
        word = "exempt" if made.exempt else made.verdict.value
        request = made.request
        asked = " ".join(part for part in (request.kind.value, request.change) if part)
        rows.append([str(one.sequence), time_text(made.decided_at), made.id, word, request.service, asked])
    for line in table(rows, right=(0,), header=["row", "decided", "id", "", "service", "change"]):
        say(line)


@audit.command("show")
@click.argument("decision", metavar="DECISION")
@data_option(required=True)
@output_option
def show(decision: str, data: str, form: str) -> None:
    """Show the recorded DECISION (D-...) as it was given, with who decided and when it was recorded."""
    from tightrope.base.units import time_text
    from tightrope.cli.policy import painted
    from tightrope.policy.rendering import decision_lines
    from tightrope.policy.usecases import kept_decision

    found = kept_decision(data, decision)
    if form != "table":
        structured([_document(one) for one in found], form)
        return
    for one in found:
        for line in decision_lines(one.record.decision, style=painted, width=min(100, room_for_lines())):
            say(line)
        say(
            f"recorded as row {one.sequence} at {time_text(one.recorded_at)} by Tightrope {one.record.decided_by}",
            dim=True,
        )


@audit.command("verify")
@data_option(required=True)
@output_option
@click.option("--recompute", is_flag=True, help="Decide every decision again from its recorded inputs, and compare.")
@click.option("--head", default="", metavar="HASH", help="The head as noted elsewhere at an earlier time.")
def verify_(data: str, form: str, recompute: bool, head: str) -> None:
    """Check every row of the journal and their chain: exit 0 if it holds, 3 if not, with each broken row named.

    Note the head that this prints in another place: only that shows if somebody writes the whole journal anew.
    """
    from tightrope.policy.usecases import verify

    found = verify(data, again=recompute, head=head)
    if form == "table":
        _tell(found)
    else:
        structured(_findings(found), form)
    if not found.holds:
        raise click.exceptions.Exit(3)


@audit.command("export")
@data_option(required=True)
@click.option("--since", type=Instant(), metavar="TIME", help="Only events at or after this instant.")
def export(data: str, since: int | None) -> None:
    """Print the journal as CloudEvents, one JSON document a line, oldest first."""
    from tightrope.policy.usecases import exported

    for one in exported(data, since):
        click.echo(json.dumps(one, ensure_ascii=False, separators=(",", ":")))


def _left_out(sequence: int, why: str) -> None:
    warn(f"warning: row {sequence} is left out: {why}")


def _document(one: Kept) -> dict[str, Any]:
    from tightrope.base.units import time_text
    from tightrope.policy.rendering import decision_document

    return decision_document(one.record.decision) | {
        "sequence": one.sequence,
        "recordedAt": time_text(one.recorded_at),
        "decidedBy": one.record.decided_by,
    }


def _findings(found: Audit) -> dict[str, Any]:
    chain = found.chain
    return {
        "holds": found.holds,
        "rows": chain.rows,
        "head": {"sequence": chain.sequence, "hash": chain.head},
        "notedHead": chain.noted,
        "broken": [{"sequence": one.sequence, "what": one.what} for one in chain.broken],
        "recomputed": found.recomputed,
        "differing": [
            {"sequence": one.sequence, "decision": one.decision, "decidedBy": one.decided_by, "what": one.what}
            for one in found.differing
        ],
    }


def _tell(found: Audit) -> None:
    chain = found.chain
    for one in chain.broken:
        where = f"row {one.sequence}" if one.sequence is not None else "the journal"
        say(f"{click.style('x ', fg='red')}  {where}: {one.what}")
    for other in found.differing:
        by = f" (decided by Tightrope {other.decided_by})" if other.decided_by else ""
        what = " ".join(part for part in (other.decision, other.what) if part)
        say(f"{click.style('x ', fg='red')}  row {other.sequence}: {what}{by}")
    mark = click.style("ok", fg="green") if found.holds else click.style("x ", fg="red")
    parts = [f"{chain.rows} row{'' if chain.rows == 1 else 's'}"]
    parts.append(f"{len(chain.broken)} broken" if chain.broken else "the chain holds")
    if found.recomputed is not None:
        parts.append(f"{found.recomputed} decided again, {len(found.differing)} otherwise")
    if chain.noted is not None:
        parts.append(f"the noted head is row {chain.noted}")
    say(f"{mark}  {', '.join(parts)}")
    say(f"    head: row {chain.sequence} {chain.head}")
