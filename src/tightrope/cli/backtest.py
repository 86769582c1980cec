"""``backtest``: what a set of specs would have done over history."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tightrope.base.units import percent_text, span_text, time_text
from tightrope.cli.budget import tell_quality
from tightrope.cli.options import (
    Instant,
    chosen_server,
    output_option,
    server_option,
    spec_paths,
    specs_option,
    strict_option,
)
from tightrope.cli.output import progress, say, shown_command, structured, table, warn

if TYPE_CHECKING:
    from tightrope.backtest.score import Score
    from tightrope.loop.assess import Assessment
    from tightrope.loop.documents import Duties

_MOST = 20
_COMPARED = ["", "pages", "tickets", "features wait", "worst left"]
_SCORED = ["needless", "missed", "precision", "recall"]


@click.command()
@click.argument("names", nargs=-1, metavar="[SERVICE|SLO]...")
@specs_option
@output_option
@strict_option
@click.option("--from", "since", type=Instant(), metavar="TIME", help="Tell only what happened after this instant.")
@click.option("--to", "until", type=Instant(), metavar="TIME", help="Nothing later is visible.")
@click.option(
    "--labels", metavar="CSV", help="Known incidents (start,end[,service,severity,cause,id]) to score alerts by."
)
@click.option(
    "--deployments", metavar="CSV", help="Deployments (time,service[,kind,change]): which would have been stopped?"
)
@click.option("--report", type=click.Path(dir_okay=False), help="Write an HTML report there.")
@click.option(
    "--svg", type=click.Path(dir_okay=False), help="Write the burn-down with alert episodes there, of one SLO."
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Compare with a variant, such as objective=0.995 or spec.timeWindow[0].duration=7d; several make one variant.",
)
@server_option
def backtest(
    names: tuple[str, ...],
    files: tuple[str, ...],
    form: str,
    strict: bool,
    since: int | None,
    until: int | None,
    labels: str | None,
    deployments: str | None,
    report: str | None,
    svg: str | None,
    settings: tuple[str, ...],
    server: str,
) -> None:
    """Run specs over history: alert episodes, policy states, and what the gate would have stopped.

    With --set it compares what is with what would have been. KIND/NAME:PATH=VALUE changes another document than the
    SLOs, such as their policy.
    """
    from tightrope.app import assess_specs, choose, load_specs, now
    from tightrope.backtest.labels import read_deployments, read_incidents
    from tightrope.loop.documents import backtest_document
    from tightrope.loop.witness import duties_of, scores_of, stopped_of

    if since is not None and until is not None and since >= until:
        raise click.UsageError(f"--from {time_text(since)} is not before --to {time_text(until)}.")
    if report and report.lower().endswith(".svg"):
        raise click.UsageError(f"--report writes HTML. For a picture give --svg {report}.")
    if settings and (report or svg):
        raise click.UsageError("--set compares two variants; --report and --svg show one.")
    asked = chosen_server(server, files, strict=strict, report=report, svg=svg, set=settings)
    if asked:
        from tightrope.cli import remote

        remote.backtest(
            asked,
            names,
            files,
            form,
            since=since,
            until=until,
            incidents=read_incidents(labels) if labels else None,
            deployments=read_deployments(deployments) if deployments else None,
        )
        return
    specs = load_specs(spec_paths(files))
    incidents = read_incidents(labels) if labels else ()
    deployed = read_deployments(deployments) if deployments else ()
    chosen = choose(specs, names)
    if svg and len(chosen) != 1:
        raise click.UsageError(f"--svg draws one objective, not those of {len(chosen)} SLOs; name it.")
    if settings:
        from tightrope.app import vary_specs

        other = vary_specs(spec_paths(files), [slo.name for slo in chosen], settings)
        sides = []
        for name, side in (("now", specs), (", ".join(settings), other)):
            picked = tuple(slo for slo in side.slos if slo.name in {one.name for one in chosen})
            with progress() as tell:
                sides.append(
                    (
                        name,
                        assess_specs(
                            side, picked, at=until, since=since, incidents=incidents, strict=strict, tell=tell
                        ),
                    )
                )
        _compare(sides, form, labelled=labels is not None)
        return
    told, services = {slo.name for slo in chosen}, {slo.service for slo in chosen}
    # A deployment meets the state of the whole service, of which perhaps one SLO was asked for.
    others = tuple(slo for slo in specs.slos if deployments and slo.service in services and slo.name not in told)
    with progress() as tell:
        fleet = assess_specs(
            specs, (*chosen, *others), at=until, since=since, incidents=incidents, strict=strict, tell=tell
        )
    found = [one for one in fleet if one.slo.name in told]
    scores = [scores_of(one) if labels else None for one in found]
    stopped = [stopped_of(one, deployed, fleet) if deployments else None for one in found]
    duties = [duties_of(one) if labels else None for one in found]
    if form != "table":
        rows = zip(found, scores, stopped, duties, strict=True)
        structured([backtest_document(*row) for row in rows], form)
    else:
        for one, score, duty in zip(found, scores, duties, strict=True):
            _show(one, score)
            if duty is not None:
                _show_duties(one, duty)
        by_service = {one.slo.service: refused for one, refused in zip(found, stopped, strict=True)}
        for service, refused in by_service.items():
            if refused:
                deployments_text = "1 deployment" if len(refused) == 1 else f"{len(refused)} deployments"
                say(f"{service}: {deployments_text} would have been stopped", bold=True)
                for deployment, state in refused[:_MOST]:
                    say(f"  {time_text(deployment.at)}  {deployment.kind}  {deployment.change}  in {state}")
                if len(refused) > _MOST:
                    say(f"  … and {len(refused) - _MOST} more (-o json lists all)", dim=True)
    tell_quality(found)
    if report:
        from tightrope.web.report import backtest_report

        write_report(
            report,
            backtest_report(
                found,
                scores=scores,
                stopped=stopped,
                deployments=deployed,
                generated_at=now(),
                specs=" -f ".join(spec_paths(files)),
                command=shown_command(),
            ),
        )
    if svg:
        from tightrope.web.report import svg_report

        if len(found) != 1:
            raise click.UsageError(f"--svg draws one objective, not {len(found)}; name it.")
        write_report(svg, svg_report(found[0], deployments=deployed, stopped=stopped[0]))


def write_report(path: str, text: str) -> None:
    """Write a report, making its folder; raises `UsageError` where it cannot be written."""
    from tightrope.base.errors import UsageError

    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from None
    warn(f"wrote {path}")


def _show(one: Assessment, scores: dict[str, Score] | None) -> None:
    history = one.history
    if history.evaluated is None:
        say(f"{one.title}: nothing was measured", bold=True)
        return
    first, last = history.evaluated
    say(f"{one.title}  {one.slo.service}, {time_text(first)} to {time_text(last)}", bold=True)
    worst = 1 - history.worst_consumed.value
    when = f" at {time_text(history.worst_consumed.at)}" if history.worst_consumed.at is not None else ""
    say(f"  worst budget left  {percent_text(worst)}{when}")
    total = sum(history.state_s.values()) or 1
    say(
        "  time in states     "
        + ", ".join(
            f"{name} {span_text(seconds)} ({percent_text(seconds / total, 0)})"
            for name, seconds in history.state_s.items()
        )
    )
    if history.stale_s:
        say(f"  without data       {span_text(history.stale_s)}")
    counts: dict[str, int] = {}
    for episode in history.episodes:
        counts[episode.condition] = counts.get(episode.condition, 0) + 1
    say("  alerts             " + (", ".join(f"{name} {count}×" for name, count in counts.items()) or "none"))
    if scores:
        say("")
        header = [
            "",
            "alerts",
            "useful",
            "needless",
            "incidents",
            "missed",
            "precision",
            "recall",
            "detects in",
            "resets in",
        ]
        rows = [[name, *_cells(score)] for name, score in scores.items()]
        for line in table(rows, right=range(1, 10), header=header):
            say(f"    {line}")
        say("")
    for transition in history.transitions[-_MOST:]:
        say(f"  {time_text(transition.at)}  {transition.before} → {transition.after}: {transition.reason}")
    if len(history.transitions) > _MOST:
        say(f"  … and {len(history.transitions) - _MOST} earlier transitions (-o json lists all)", dim=True)
    say("")


def _show_duties(one: Assessment, duties: Duties) -> None:
    postmortems, recurring = duties
    if postmortems:
        share = percent_text(one.policy.postmortem_share or 0, 0)
        say(f"  {len(postmortems)} incidents took more than {share} of the budget each and need a postmortem:")
        for cost in postmortems[:_MOST]:
            say(f"    {time_text(cost.started_at)}  {cost.id}  {percent_text(cost.share)}")
    for one_class in recurring:
        say(
            f"  the outage class {one_class.outage_class!r} took {percent_text(one_class.share)} of the budget "
            f"of the quarter from {time_text(one_class.quarter_start)[:10]}: it needs an objective of its own"
        )
    if postmortems or recurring:
        say()


def _cells(score: Score) -> Sequence[str]:
    def share(value: float | None) -> str:
        return "–" if value is None else percent_text(value, 0)

    def span(value: float | None) -> str:
        return "–" if value is None else span_text(value)

    return [
        str(score.episodes),
        str(score.useful),
        str(score.needless),
        str(score.incidents),
        str(score.missed),
        share(score.precision),
        share(score.recall),
        span(score.detect_s),
        span(score.reset_s),
    ]


def _compare(sides: Sequence[tuple[str, Sequence[Assessment]]], form: str, *, labelled: bool) -> None:
    """Print what each variant would have done, side by side."""
    from tightrope.loop.documents import backtest_document
    from tightrope.loop.witness import scores_of

    if form != "table":
        structured(
            [
                {"variant": name} | backtest_document(one, scores_of(one) if labelled else None, None, None)
                for name, found in sides
                for one in found
            ],
            form,
        )
        return
    header = ["", "pages", "tickets", "features wait", "worst left", *_SCORED] if labelled else _COMPARED
    for number, one in enumerate(sides[0][1]):
        say(f"{one.title}", bold=True)
        rows = []
        for name, found in sides:
            each = found[number]
            pages = sum(episode.severity == "page" for episode in each.history.episodes)
            waits = sum(seconds for state, seconds in each.history.state_s.items() if _holds(each, state))
            row = [
                name,
                str(pages),
                str(len(each.history.episodes) - pages),
                span_text(waits) if waits else "never",
                percent_text(1 - each.history.worst_consumed.value),
            ]
            score = (scores_of(each) or {}).get("page") if labelled else None
            if labelled:
                row += ["–"] * len(_SCORED) if score is None else _scored(score)
            rows.append(row)
        for line in table(rows, right=tuple(range(1, len(header))), header=header):
            say(f"  {line}")


def _holds(one: Assessment, name: str) -> bool:
    """Whether a state of the policy lets no feature go."""
    from tightrope.policy.states import named
    from tightrope.specs.model import ChangeKind

    return ChangeKind.FEATURE not in named(one.policy, name).allows


def _scored(score: Score) -> list[str]:
    """What pages were worth, by labelled incidents."""
    shares = ["–" if share is None else percent_text(share, 0) for share in (score.precision, score.recall)]
    return [str(score.needless), str(score.missed), *shares]
