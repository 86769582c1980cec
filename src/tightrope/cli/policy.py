"""``gate`` and ``policy test``: may this change go out, and does the policy do what was meant."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, NoReturn

import click

from tightrope.base.errors import DataError, SourceUnreachableError, StoreError, TightropeError, UsageError
from tightrope.base.units import time_text
from tightrope.cli.options import (
    at_option,
    chosen_server,
    data_option,
    incidents_option,
    output_option,
    server_option,
    spec_paths,
    specs_option,
    strict_option,
)
from tightrope.cli.output import room_for_lines, say, structured, warn
from tightrope.specs.model import ChangeKind

if TYPE_CHECKING:
    from tightrope.policy.decision import GateRequest
    from tightrope.specs.model import Specs


@click.command()
@click.argument("service")
@specs_option
@at_option
@output_option
@incidents_option
@strict_option
@click.option("--kind", type=click.Choice([str(kind) for kind in ChangeKind]), help="What the change is for.")
@click.option("--message", multiple=True, help="Commit message to derive the kind from; once for each commit.")
@click.option("--label", multiple=True, help="Label of the change to derive the kind from.")
@click.option("--change", default="", help="Commit, tag or release that asks.")
@click.option("--title", default="", help="What it is, for people.")
@click.option("--env", "environment", default="production", show_default=True, help="Where it goes.")
@click.option("--as", "asked_by", default="", help="Who asks.")
@click.option("--wait", "hold", is_flag=True, help="Hold until the answer is go or stop.")
@click.option("--timeout", default="1h", show_default=True, help="With --wait: for how long at most.")
@click.option(
    "--on-unavailable",
    type=click.Choice(["block", "allow"]),
    default="block",
    show_default=True,
    help="When telemetry cannot be reached: block exits 5, allow exits 0 with a warning. When the decision cannot be "
    "recorded in --data: block exits 5 for what is gated without data, allow answers all the same, with a warning.",
)
@data_option(required=False)
@server_option
@click.pass_context
def gate(
    ctx: click.Context,
    service: str,
    files: tuple[str, ...],
    at: int | None,
    form: str,
    incidents: str | None,
    strict: bool,
    kind: str | None,
    message: tuple[str, ...],
    label: tuple[str, ...],
    change: str,
    title: str,
    environment: str,
    asked_by: str,
    hold: bool,
    timeout: str,
    on_unavailable: str,
    data: str,
    server: str,
) -> None:
    """Ask whether a change to SERVICE may go out: exit 0 go, 3 stop, 4 wait, 5 telemetry or record out of reach.

    Without --at it speaks of now. With --data the decision is recorded with all its inputs; `tightrope audit` shows and
    verifies what was. Rollbacks, and kinds that the policy lets pass without data, go on where that cannot be done.
    """
    _refuse_what_is_no_text(
        {"SERVICE": service, "--change": change, "--title": title, "--env": environment, "--as": asked_by}
    )
    asked = chosen_server(server, files, at=at, incidents=incidents, strict=strict)
    if asked:
        from tightrope.base.units import parse_duration
        from tightrope.cli import remote

        question: dict[str, object] = {"environment": environment, "change": change, "title": title, "as": asked_by}
        question |= {"kind": kind} if kind else {}
        question |= ({"message": message} if message else {}) | ({"labels": label} if label else {})
        remote.gate(
            asked,
            service,
            question,
            form,
            hold_s=parse_duration(timeout).seconds if hold else 0,
            allow=on_unavailable == "allow",
            paint=painted,
        )
    from tightrope.app import decide_gate, load_specs, now
    from tightrope.backtest.labels import read_incidents
    from tightrope.base.units import parse_duration
    from tightrope.policy.change_kinds import kind_of_release
    from tightrope.policy.decision import GateRequest, Verdict
    from tightrope.policy.rendering import decision_document, decision_lines, exit_code
    from tightrope.policy.wording import plural

    specs = load_specs(spec_paths(files))
    known = read_incidents(incidents) if incidents else ()
    if kind:
        what, found_in = ChangeKind(kind), "given"
    elif message or label:
        told = kind_of_release(message, label)
        what, found_in = told.kind, told.source
    else:
        what, found_in = ChangeKind.FEATURE, "default"
    deadline = now() + parse_duration(timeout).seconds
    while True:
        request = GateRequest(
            service, now() if at is None else at, environment, what, found_in, change, title, asked_by
        )
        asked_of, spent = _with_exceptions(specs, data, request) if data else (specs, frozenset())
        try:
            decision, facts = decide_gate(asked_of, request, incidents=known, strict=strict, spent=spent)
        except SourceUnreachableError as error:
            if hold and at is None and now() < deadline:
                warn(f"waiting: {error.message}")
                time.sleep(15)
                continue
            if on_unavailable == "allow":
                warn(f"warning: the gate could not be asked: {error.message}; going on, as --on-unavailable allow says")
                ctx.exit(0)
            _unavailable(f"the gate could not be asked: {error.message}", error)
        if not (hold and at is None and decision.verdict is Verdict.WAIT and now() < deadline):
            break
        warn(f"waiting: {decision.summary}")
        time.sleep(15)
    if data:
        from tightrope.policy.usecases import keep_decision

        try:
            keep_decision(data, decision, facts)
        except (StoreError, DataError) as error:
            unkept = f"the decision {decision.id} could not be recorded: {error.message}"
            if what is ChangeKind.ROLLBACK:
                warn(f"warning: {unkept}; going on, since rollbacks are never gated")
            elif what in facts.policy.unknown.passes:
                warn(f"warning: {unkept}; going on, since {facts.policy.name} lets {plural(what)} pass")
            elif on_unavailable == "allow":
                warn(f"warning: {unkept}; going on, as --on-unavailable allow says")
            else:
                _unavailable(unkept, error)
    if form == "table":
        where = " ".join(f"-f {shlex.quote(path)}" for path in files)
        more = f"tightrope explain {service} {where} --at {time_text(request.asked_at)}"
        for line in decision_lines(
            decision, style=painted, width=min(100, room_for_lines()), more=" ".join(more.split())
        ):
            say(line)
    else:
        structured(decision_document(decision), form)
        for reason in decision.reasons:
            if reason.outcome == "warn":
                warn(f"warning: {reason.says}")
    ctx.exit(exit_code(decision))


def _refuse_what_is_no_text(given: Mapping[str, str]) -> None:
    """A decision is digested and recorded; bytes of the command line that are no UTF-8 have no place in it."""
    for name, value in given.items():
        if not value.isascii() and any("\ud800" <= sign <= "\udfff" for sign in value):
            raise UsageError(f"{name} is not valid UTF-8", remedy="give it as text in UTF-8")


def _with_exceptions(specs: Specs, data: str, request: GateRequest) -> tuple[Specs, frozenset[str]]:
    """The specs with what was granted in the store, and which exceptions it knows as used.

    Where that cannot be read, without, and the warning says so.
    """
    from dataclasses import replace

    from tightrope.policy.usecases import granted_exceptions, spent_exceptions

    try:
        granted = granted_exceptions(data, request.service)
        specs = replace(specs, silver_bullets=(*specs.silver_bullets, *granted))
        mine = [one for one in specs.silver_bullets if one.service == request.service]
        return specs, spent_exceptions(data, request, mine)
    except StoreError as error:
        warn(f"warning: exceptions granted in the store do not count: {error.message}")
        return specs, frozenset()


def _unavailable(what: str, error: TightropeError) -> NoReturn:
    """End with exit code 5: the gate has no answer that may be acted on."""
    click.echo(f"error: {what}", err=True)
    if error.remedy:
        click.echo(f"  = help: {error.remedy}", err=True)
    raise click.exceptions.Exit(5)


def painted(text: str, role: str) -> str:
    """Colour a part of a decision by its role."""
    colours = {"go": "green", "stop": "red", "wait": "blue", "exempt": "cyan", "label": "bright_black"}
    return (
        click.style(text, fg=colours[role], bold=role in ("go", "stop", "wait", "exempt")) if role in colours else text
    )


@click.group()
def policy() -> None:
    """Work on error budget policies."""


@policy.command("test")
@click.argument("paths", nargs=-1)
@specs_option
@output_option
def policy_test(paths: tuple[str, ...], files: tuple[str, ...], form: str) -> None:
    """Run the PolicyTest scenarios in PATHS; exit 0 if all hold, 3 if one does not."""
    from tightrope.app import run_policy_tests

    results = run_policy_tests(spec_paths((*paths, *files)))
    failed = [one for one in results if one.failures]
    if form == "table":
        for one in results:
            mark = click.style("ok", fg="green") if not one.failures else click.style("x ", fg="red")
            say(f"{mark}  {one.name}  ({one.checks} check{'s' if one.checks != 1 else ''})")
            for failure in one.failures:
                say(f"      {failure}")
        say(f"{len(results) - len(failed)} passed, {len(failed)} failed")
    else:
        structured([{"name": one.name, "checks": one.checks, "failures": list(one.failures)} for one in results], form)
    if failed:
        raise click.exceptions.Exit(3)
