"""``demo``: the whole loop on recorded telemetry, from slices to a gate decision and a report."""

from __future__ import annotations

from pathlib import Path

import click

from tightrope.base.units import time_text
from tightrope.cli.output import progress, room_for_lines, say, warn


@click.command()
@click.option(
    "--report", default="out/report.html", show_default=True, type=click.Path(dir_okay=False), help="The report."
)
@click.option("--examples", type=click.Path(file_okay=False), help="Another folder with slo/ and incidents.csv.")
def demo(report: str, examples: str | None) -> None:
    """Run the whole loop on recorded data: fleet status, a gate decision in each flow, an HTML report."""
    from tightrope.app import assess_specs, decide_on, examples_folder, load_specs, now
    from tightrope.backtest.labels import read_deployments, read_incidents
    from tightrope.cli.backtest import write_report
    from tightrope.cli.budget import show_status, tell_quality
    from tightrope.cli.policy import painted
    from tightrope.loop.standing import by_service, tightest
    from tightrope.loop.witness import scores_of, stopped_of
    from tightrope.policy.decision import GateRequest
    from tightrope.policy.rendering import decision_lines
    from tightrope.web.report import fleet_report

    folder = Path(examples) if examples else examples_folder()
    specs = load_specs([str(folder / "slo")])
    labels, deployments = folder / "incidents.csv", folder / "deployments.csv"
    incidents = read_incidents(str(labels)) if labels.exists() else ()
    deployed = read_deployments(str(deployments)) if deployments.exists() else ()
    with progress() as tell:
        found = assess_specs(specs, specs.slos, incidents=incidents, tell=tell)
    show_status(found, everything=True)
    tell_quality(found)

    shown: set[str] = set()
    decisions = []
    for service, group in by_service(found).items():
        worst = tightest(group)
        request = GateRequest(service, worst.statement.at, title="a feature")
        decision = decide_on(specs, request, group, incidents=incidents)
        decisions.append(decision)
        if worst.history.final_state not in shown:
            shown.add(worst.history.final_state)
            say()
            say(f"$ tightrope gate {service} -f {_near(folder / 'slo')} --at {time_text(worst.statement.at)}", dim=True)
            for line in decision_lines(decision, style=painted, width=min(100, room_for_lines())):
                say(line)
    scores = [scores_of(one) if one.incidents else None for one in found]
    stopped = [stopped_of(one, deployed, found) if deployed else None for one in found]
    page = fleet_report(
        "Tightrope on recorded data",
        found,
        decisions,
        scores=scores,
        stopped=stopped,
        deployments=deployed,
        generated_at=now(),
        specs=str(_near(folder / "slo")),
        command="tightrope demo",
    )
    say()
    write_report(report, page)
    say(f"The report: {report}")
    warn("next: tightrope init, and point the starter at your own data (README, 'Your first own SLO')")


def _near(path: Path) -> Path:
    """The path from here if it lies below, so that a shown command can be pasted."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
