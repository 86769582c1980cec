"""``init``, ``validate`` and ``generate``: specs from first draft to checked."""

from __future__ import annotations

import json

import click

from tightrope.base.errors import UsageError
from tightrope.cli.options import output_option, spec_paths, specs_option
from tightrope.cli.output import say, structured, warn


@click.command()
@click.argument("directory", default="slo", type=click.Path(file_okay=False))
@click.option("--service", default="checkout", show_default=True, help="The service to write it for.")
@click.option(
    "--from",
    "source",
    type=click.Choice(["csv", "access-log", "prometheus"]),
    default="csv",
    show_default=True,
    help="Where its telemetry is.",
)
@click.option("--force", is_flag=True, help="Write over files that are there.")
def init(directory: str, service: str, source: str, force: bool) -> None:
    """Write a commented starter into DIRECTORY: one SLO, its alerts and an error budget policy."""
    from tightrope.app import write_starter

    for path in write_starter(directory, service, source, force=force):
        say(f"wrote {path}")
    say("")
    say(f"next: tightrope validate -f {directory}")


@click.command()
@click.argument("paths", nargs=-1)
@specs_option
@output_option
@click.option("--strict", is_flag=True, help="Warnings fail, too.")
def validate(paths: tuple[str, ...], files: tuple[str, ...], form: str, strict: bool) -> None:
    """Check specs in PATHS (files or directories): all findings at once, with place and remedy."""
    from tightrope.app import examine_specs
    from tightrope.cli.output import findings

    specs, found = examine_specs(spec_paths((*paths, *files)))
    errors = [one for one in found if one.severity == "error"]
    if form != "table":
        structured(
            {
                "valid": not errors,
                "findings": [
                    {
                        "code": one.code,
                        "severity": one.severity,
                        "file": one.place.file,
                        "line": one.place.line,
                        "column": one.place.column,
                        "path": one.path,
                        "message": one.message,
                        "help": one.remedy,
                    }
                    for one in found
                ],
            },
            form,
        )
    elif found:
        findings(found, files=len(specs.files) if specs is not None else None)
    if specs is not None and form == "table":
        slos, services = len(specs.slos), len({slo.service for slo in specs.slos})
        say(
            f"ok: {slos} SLO{'s' if slos != 1 else ''} of {services} service{'s' if services != 1 else ''}, "
            f"{len(specs.policies)} polic{'ies' if len(specs.policies) != 1 else 'y'} in {len(specs.files)} "
            f"file{'s' if len(specs.files) != 1 else ''}"
            + (f", {count} pipeline{'s' if count != 1 else ''}" if (count := len(specs.pipelines)) else "")
        )
    if errors or (strict and found):
        raise click.exceptions.Exit(2)


@click.group()
def generate() -> None:
    """Write files for other tools."""


@generate.command()
@click.option("-d", "--directory", type=click.Path(file_okay=False), help="Write one file a kind there, not to stdout.")
@click.option("--kind", help="Only this kind, such as SLO or ErrorBudgetPolicy.")
def schemas(directory: str | None, kind: str | None) -> None:
    """Write the JSON Schemas of all kinds, for editors (yaml-language-server) and CI."""
    from pathlib import Path

    from tightrope.specs.schemas import schemas as make

    found = make()
    if kind is not None:
        if kind not in found:
            raise UsageError(f"there is no kind {kind!r}", remedy=f"kinds are {', '.join(found)}")
        found = {kind: found[kind]}
    if directory is None:
        click.echo(json.dumps(found[kind] if kind is not None else found, indent=2))
        return
    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    for name, schema in found.items():
        path = folder / f"{name}.schema.json"
        path.write_text(json.dumps(schema, indent=2) + "\n", encoding="utf-8")
        say(f"wrote {path}")
    warn("next: put `# yaml-language-server: $schema=PATH` on the first line of a spec")


@generate.command("grafana-dashboard")
@click.argument("which", type=click.Choice(["fleet", "service"]), required=False)
@click.option("-d", "--directory", type=click.Path(file_okay=False), help="Write a file each there, not to stdout.")
@click.option("--server", default="", metavar="URL", help="Link to Tightrope's own pages there.")
def grafana_dashboard(which: str | None, directory: str | None, server: str) -> None:
    """Write Grafana dashboards of the whole fleet and of one service, from the gauges at /metrics.

    WHICH is fleet or service; without it both are written, which takes --directory.
    """
    from pathlib import Path

    from tightrope.interchange.grafana import dashboards

    found = dashboards(server)
    if which is not None:
        found = {which: found[which]}
    if directory is None:
        if which is None:
            raise UsageError(
                "there are two dashboards", remedy="name fleet or service, or write both with -d DIRECTORY"
            )
        click.echo(json.dumps(found[which], indent=2))
        return
    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    for name, dashboard in found.items():
        path = folder / f"tightrope-{name}.json"
        path.write_text(json.dumps(dashboard, indent=2) + "\n", encoding="utf-8")
        say(f"wrote {path}")
