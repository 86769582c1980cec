"""``explain --budget``: where a budget went."""

from __future__ import annotations

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
    from tightrope.loop.attribution import NAMES, account_document, account_line, account_of
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
    if form != "table":
        structured([account_document(one) for one in accounts], form)
        return
    for account in accounts:
        say(f"{account.title}: {account_line(account)}", bold=True)
        rows = [
            [
                one.part.cause.value,
                one.part.name or NAMES[one.part.cause],
                "–" if one.of_budget is None else f"{float(one.of_budget) * 100:.1f} %",
                one.amount,
            ]
            for one in account.shares
        ]
        for line in table(rows, right=(2, 3), header=["", "cause", "of budget", "amount"]):
            say(f"  {line}")
