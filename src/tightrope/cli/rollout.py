"""``rollout``: what a release may cost, and how fast it may go for that."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tightrope.base.units import parse_duration, parse_fraction, percent_text, span_text, time_text
from tightrope.cli.options import at_option, incidents_option, output_option, spec_paths, specs_option, strict_option
from tightrope.cli.output import progress, say, structured, table, warn

if TYPE_CHECKING:
    from tightrope.delivery.planner import Plan


@click.group()
def rollout() -> None:
    """Plan a release in steps that stays inside its share of the error budget."""


@rollout.command()
@click.argument("service")
@specs_option
@at_option
@output_option
@incidents_option
@strict_option
@click.option(
    "--allowance",
    default="1%",
    show_default=True,
    help="Share of the budget (or of what is left, if less) it may spend.",
)
@click.option("--evaluate-every", default="15s", show_default=True, help="Time from one look to the next.")
@click.option("--act-within", default="30s", show_default=True, help="Time until a changed weight has taken effect.")
@click.option("--longest-bake", default="6h", show_default=True, help="The longest that one stage may take.")
@click.option(
    "--cluster-guard",
    default="2",
    show_default=True,
    help="How much more bad requests vary than independent ones would; 1 trusts that they are.",
)
def plan(
    service: str,
    files: tuple[str, ...],
    at: int | None,
    form: str,
    incidents: str | None,
    strict: bool,
    allowance: str,
    evaluate_every: str,
    act_within: str,
    longest_bake: str,
    cluster_guard: str,
) -> None:
    """Plan the fastest rollout of SERVICE whose worst case stays inside the allowance.

    It tells the weights and bakes, what the release can cost at most, and what regression would show in what time.
    Where the policy's state asks for care, the plan is guarded: half of the allowance, smaller steps, longer bakes.
    Exit 0 with a plan, 3 where no weight fits.
    """
    from tightrope.app import assess_specs, choose, load_specs
    from tightrope.backtest.labels import read_incidents
    from tightrope.base.errors import UsageError
    from tightrope.delivery import planner
    from tightrope.loop.rollouts import is_guarded, plan_document, promises_of, slice_s

    guard = parse_fraction(cluster_guard)
    if guard < 1:
        raise UsageError(f"a cluster guard of {cluster_guard} would sharpen the evidence", remedy="give 1 or more")
    share, evaluate_s, act_s, longest_s = (
        parse_fraction(allowance),
        parse_duration(evaluate_every).seconds,
        parse_duration(act_within).seconds,
        parse_duration(longest_bake).seconds,
    )
    specs = load_specs(spec_paths(files))
    known = read_incidents(incidents) if incidents else ()
    with progress() as tell:
        found = assess_specs(specs, choose(specs, (service,)), at=at, incidents=known, strict=strict, tell=tell)
    terms = planner.Terms(
        allowance=share,
        guarded=is_guarded(found),
        reaction=planner.Reaction(slice_s(found), evaluate_s, act_s),
        inflation=guard,
        longest_s=longest_s,
    )
    drawn = planner.plan(promises_of(found), terms)
    when = time_text(max(one.statement.at for one in found))
    if form != "table":
        structured(plan_document(drawn, found[0].slo.service, when), form)
    else:
        _show(drawn, found[0].slo.service, when)
    if not drawn.stages:
        raise click.exceptions.Exit(3)


def _show(drawn: Plan, service: str, when: str) -> None:
    from tightrope.budget.words import amount_text

    how = "guarded" if drawn.terms.guarded else "standard"
    share = percent_text(drawn.terms.share(), 2)
    if not drawn.stages:
        say(f"NO PLAN  {service} · {how} · may spend {share}", bold=True)
        say(f"  why      {drawn.why}")
        say(f"  as of    {when}")
        return
    length = span_text(drawn.duration_s)
    say(f"PLAN  {service} · {how} · may spend {share} · {length} if all is well, sooner with a proof", bold=True)
    say()
    reach = drawn.terms.reaction.total_s
    rows = []
    for stage in drawn.stages:
        worst = (amount_text(one.worst(stage.weight, reach), one.unit_s) for one in drawn.promises)
        rows.append(
            [
                f"{float(stage.weight * 100):.4g} %",
                span_text(stage.bake_s),
                ", ".join(worst),
                "inside" if stage.reserved else "after proof",
                stage.purpose,
            ]
        )
    header = ["weight", "bake", "total failure costs", "allowance", "the bake"]
    for line in table(rows, right=(0, 1, 2), header=header, expendable=(4,)):
        say(f"  {line}")
    say()
    for cost, promise in zip(drawn.costs, drawn.promises, strict=True):
        parts = amount_text(cost.allowance, promise.unit_s)
        if cost.in_flight:
            parts = f"{parts}, and {amount_text(cost.in_flight, promise.unit_s)} in flight after the proof"
        whole = "" if cost.share is None else f"{percent_text(cost.share, 2)} of {cost.name}: "
        outage = "" if cost.outage_s is None or promise.unit_s else f"; {span_text(cost.outage_s)} of total outage"
        say(f"  at most  {whole}{parts}{outage}")
    for one in drawn.detections:
        if one.after_s is None or one.cost is None:
            bake = span_text(drawn.terms.longest_s)
            say(f"  {one.ratio:>2}× errors  traffic too low to tell in {bake}")
        else:
            say(f"  {one.ratio:>2}× errors  show in {span_text(one.after_s)}, {amount_text(one.cost, 0)} until then")
    say(f"  why      {drawn.why}")
    say(f"  as of    {when}", dim=True)
    for note in drawn.notes:
        warn(f"note: {note}")
