"""``status`` and ``explain``: where the budget stands, why, and what would change it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from tightrope.base.units import duration_text, percent_text, span_text, time_text
from tightrope.cli.fleet import Line, show_lines, target_text
from tightrope.cli.options import (
    at_option,
    chosen_server,
    incidents_option,
    output_option,
    server_option,
    spec_paths,
    specs_option,
    strict_option,
)
from tightrope.cli.output import progress, room_for_lines, say, structured, table, warn

if TYPE_CHECKING:
    from tightrope.loop.assess import Assessment

_FEW = 12


@click.command()
@click.argument("names", nargs=-1, metavar="[SERVICE|SLO]...")
@specs_option
@at_option
@output_option
@incidents_option
@strict_option
@click.option(
    "--basis", type=click.Choice(["observed", "projected"]), help="Which budget to show. Default: the policy's."
)
@click.option("--all", "everything", is_flag=True, help="Show also the services that are fine.")
@server_option
def status(
    names: tuple[str, ...],
    files: tuple[str, ...],
    at: int | None,
    form: str,
    incidents: str | None,
    strict: bool,
    basis: str | None,
    everything: bool,
    server: str,
) -> None:
    """Show where every objective stands: budget left, burn, alerts, flow.

    Without --at, files are shown as of the end of their data, and servers as of now.
    """
    asked = chosen_server(server, files, at=at, incidents=incidents, strict=strict)
    if asked:
        from tightrope.cli import remote

        remote.status(asked, names, form, basis, everything=everything)
        return
    from tightrope.app import assess_specs, choose, load_specs
    from tightrope.backtest.labels import read_incidents
    from tightrope.loop.documents import status_document
    from tightrope.specs.model import Basis

    specs = load_specs(spec_paths(files))
    known = read_incidents(incidents) if incidents else ()
    with progress() as tell:
        found = assess_specs(specs, choose(specs, names), at=at, incidents=known, strict=strict, tell=tell)
    chosen = Basis(basis) if basis else None
    if form != "table":
        structured([status_document(one, chosen) for one in found], form)
        return
    show_status(found, everything=everything or bool(names) or len(found) <= _FEW)
    tell_quality(found)


def show_status(found: Sequence[Assessment], *, everything: bool) -> None:
    """Print the fleet sentence and one line an objective, attention first."""
    from tightrope.budget.words import fleet_sentence, flow_word, standing_word
    from tightrope.loop.standing import by_service, left_of, outlook_of, standing_of, tightest

    if not found:
        say("There is no SLO in the specs. `tightrope init` writes one.")
        return
    standings = {id(one): standing_of(one, one.statement.at) for one in found}
    worst = [standings[id(tightest(group))] for group in by_service(found).values()]
    lines = []
    for one in found:
        standing = standings[id(one)]
        lines.append(
            Line(
                standing_word(standing, one.statement.at)[1],
                flow_word(standing.flow, standing.ship)[1] if one.watched and not standing.stale else "",
                one.slo.service,
                one.title,
                one.objective.target,
                standing.remaining,
                one.budget.remaining_ratio,
                left_of(one),
                (_burn(one, 3600), _burn(one, 6 * 3600)),
                outlook_of(one, standing),
            )
        )
    as_of = {one.statement.at for one in found}
    show_lines(fleet_sentence(worst, max(as_of)), lines, as_of, everything=everything)


def tell_quality(found: Sequence[Assessment]) -> None:
    """Say on stderr what was wrong with the rows, never silently dropped, and what makes a state uncertain."""
    told: set[tuple[object, ...]] = set()
    told_notes: set[str] = set()
    for one in found:
        quality = one.quality
        key = (quality.bad_rows, quality.examples)
        if quality.bad_rows and key not in told:
            told.add(key)
            named = ", ".join(f"line {row.line} ({row.why})" for row in quality.examples[:3])
            more = ", …" if quality.bad_rows > 3 else ""
            source = quality.examples[0].source if quality.examples else one.slo.name
            warn(f"warning: {source}: {quality.bad_rows:,} of {quality.rows:,} rows could not be used: {named}{more}")
        for note in quality.notes:
            if note not in told_notes:
                told_notes.add(note)
                warn(f"note: {one.title}: {note}")
        for doubt in one.doubts:
            warn(f"warning: {one.title}: {doubt}")


def _burn(one: Assessment, lookback_s: int) -> str:
    from tightrope.budget.words import burn_text

    burn = next((burn for burn in one.statement.burns if burn.lookback_s == lookback_s), None)
    return burn_text(None if burn is None or burn.no_traffic else burn.rate)


@click.command()
@click.argument("name", metavar="SERVICE|SLO|TRnnn|D-id")
@specs_option
@at_option
@output_option
@incidents_option
@strict_option
@server_option
@click.option("--budget", is_flag=True, help="Tell where the budget went instead: every bad unit by its cause.")
@click.option("--deployments", metavar="CSV", help="With --budget: what went out: time, service, change, kind.")
def explain(
    name: str,
    files: tuple[str, ...],
    at: int | None,
    form: str,
    incidents: str | None,
    strict: bool,
    server: str,
    budget: bool,
    deployments: str | None,
) -> None:
    """Say why SERVICE (or SLO) is in its state: since when, what would change it, and when.

    It speaks of the same instant as the gate, and agrees with it: now, or --at. With a code such as TR012, explain that
    finding of `tightrope validate`; with the id of a decision, such as D-2c1eeff3b4, what the server recorded of it.
    """
    if name[:2].upper() == "TR" and name[2:].isdigit():
        from tightrope.app import explain_finding

        say(explain_finding(name.upper()))
        return
    if budget:
        from tightrope.cli.attribution import tell_where_it_went

        asked = chosen_server(server, files, at=at, incidents=incidents, strict=strict, deployments=deployments)
        if asked:
            from tightrope.cli import remote

            remote.tell_where_it_went(asked, name, form)
            return
        tell_where_it_went(name, files, at, form, incidents, deployments, strict=strict)
        return
    asked = chosen_server(server, files, at=at, incidents=incidents, strict=strict)
    if asked:
        from tightrope.cli import remote

        remote.explain(asked, name, form)
        return
    from tightrope.app import assess_specs, choose, decide_on, load_specs, now
    from tightrope.backtest.labels import read_incidents
    from tightrope.loop.documents import explain_document
    from tightrope.policy.decision import GateRequest
    from tightrope.policy.rendering import decision_document, decision_lines

    specs = load_specs(spec_paths(files))
    known = read_incidents(incidents) if incidents else ()
    chosen = choose(specs, (name,))
    service = chosen[0].service
    shown = {slo.name for slo in chosen if slo.service == service}
    when = now() if at is None else at
    with progress() as tell:
        of_service = assess_specs(specs, specs.of_service(service), at=when, incidents=known, strict=strict, tell=tell)
    found = [one for one in of_service if one.slo.name in shown]
    decision = decide_on(specs, GateRequest(service, when), of_service, incidents=known, strict=strict)
    if form != "table":
        structured(explain_document(decision_document(decision), found), form)
        return
    from tightrope.cli.policy import painted

    for line in decision_lines(decision, style=painted, width=min(100, room_for_lines())):
        say(line)
    say()
    rows = [[reason.rule, reason.measured, reason.bound, reason.outcome] for reason in decision.reasons]
    for line in table(rows, header=["rule", "measured", "bound", ""]):
        say(line)
    if decision.would_change:
        say()
        say("What would change it", bold=True)
        for sentence in decision.would_change:
            say(f"  {sentence}")
    for one in found:
        _explain_objective(one)
    tell_quality(found)
    ends = [one.statement.last_known for one in found if one.stale and one.statement.last_known is not None]
    if ends and at is None:
        end = time_text(max(ends))
        warn(f"note: the data of {service} ends at {end}; --at {end} tells how it stood then")


def _explain_objective(one: Assessment) -> None:
    from tightrope.budget.words import amount_text, budget_text
    from tightrope.loop.witness import costs_of

    statement = one.statement
    say()
    say(f"{one.title}  {target_text(one.objective.target)} over {one.slo.window.duration}, {one.slo.method}", bold=True)
    say(f"  budget    {budget_text(one.budget, statement.unit_s)} ({one.plan.basis} basis)")
    if one.budget.remaining_ratio is not None:
        spent = amount_text(one.budget.consumed, statement.unit_s)
        say(f"  spent     {spent} where {amount_text(one.budget.allowed, statement.unit_s)} are allowed")
    say(f"  measured  {percent_text(statement.coverage)} of the window, to {time_text(statement.at)}")
    if statement.interval is not None and statement.coverage < 1:
        low, high = statement.interval
        say(f"            had the gaps been all good or all bad: {percent_text(low)} to {percent_text(high)} spent")
    burns = "  ".join(f"{duration_text(burn.lookback_s)} {_burn(one, burn.lookback_s)}" for burn in statement.burns)
    say(f"  burn      {burns}")
    for condition in one.plan.conditions:
        state = click.style("firing", fg="red") if condition in one.firing else "quiet"
        lookbacks = " and ".join(duration_text(lookback) for lookback in condition.lookbacks_s)
        unit = (
            f"{float(condition.threshold):.4g}×" if condition.kind != "consumed" else percent_text(condition.threshold)
        )
        say(f"  alert     {condition.name}: {state} (needs {unit} over {lookbacks})")
    for transition in one.history.transitions[-5:]:
        say(f"  {time_text(transition.at)}  {transition.before} → {transition.after}: {transition.reason}")
    bound = one.policy.postmortem_share
    recent = [cost for cost in costs_of(one) if cost.started_at >= statement.window_start]
    for cost in recent[:5]:
        duty = "; needs a postmortem" if bound is not None and cost.share > bound else ""
        name = cost.id or f"of {time_text(cost.started_at)}"
        say(f"  incident  {name} took {percent_text(cost.share)} of the budget{duty}")
    if one.history.since is not None:
        say(f"  since     {time_text(one.history.since)}, {span_text(statement.at - one.history.since)}")
