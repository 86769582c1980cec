"""``explain --budget``: where a budget went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tightrope.base.units import MINUTE_S, percent_text, span_text
from tightrope.cli.options import spec_paths
from tightrope.cli.output import progress, say, structured, table


def tell_where_it_went(
    name: str,
    files: tuple[str, ...],
    at: int | None,
    form: str,
    incidents: str | None,
    deployments: str | None,
    *,
    strict: bool,
) -> None:
    """Print every objective of a service or SLO with the causes of its bad units."""
    from tightrope.app import assess_specs, choose, load_specs
    from tightrope.backtest.labels import read_deployments, read_incidents
    from tightrope.loop.attribution import account_document, account_of
    from tightrope.loop.standing import by_service

    specs = load_specs(spec_paths(files))
    known = read_incidents(incidents) if incidents else ()
    deployed = read_deployments(deployments) if deployments else ()
    chosen = choose(specs, (name,))
    wanted = {slo.name for slo in chosen}
    needed = {service for slo in chosen for service in slo.depends_on}
    slos = tuple(slo for slo in specs.slos if slo.name in wanted or slo.service in needed)
    with progress() as tell:
        found = assess_specs(specs, slos, at=at, incidents=known, strict=strict, tell=tell)
    others = by_service(found)
    accounts = [
        account_of(
            one,
            deployments=[each for each in deployed if at is None or each.at <= at],
            dependencies={service: others.get(service, []) for service in one.slo.depends_on},
        )
        for one in found
        if one.slo.name in wanted and one.watched
    ]
    show([account_document(one) for one in accounts], form)


def show(accounts: Sequence[Mapping[str, Any]], form: str) -> None:
    """Print the accounts of some objectives."""
    if form != "table":
        structured(accounts, form)
        return
    for account in accounts:
        say(f"{account['slo']}: {account['summary']}", bold=True)
        rows = [
            [
                one["cause"],
                one["name"],
                "–" if one["shareOfBudget"] is None else percent_text(one["shareOfBudget"]),
                one["amount"],
                "–" if one.get("minutes") is None else span_text(one["minutes"] * MINUTE_S),
            ]
            for one in account["causes"]
        ]
        for line in table(rows, right=(2, 3, 4), header=["", "cause", "of budget", "amount", "as outage"]):
            say(f"  {line}")
