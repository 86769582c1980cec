"""The report: one HTML file that needs nothing else, and one SVG picture, from the same assessments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from tightrope import __version__
from tightrope.backtest.labels import Deployment
from tightrope.backtest.score import Score
from tightrope.base.units import time_text
from tightrope.budget.series import Ledger
from tightrope.budget.words import fleet_sentence, service_sentence, standing_word
from tightrope.loop.assess import Assessment
from tightrope.loop.forecasting import forecast_of
from tightrope.loop.standing import by_service, standing_of, tightest
from tightrope.policy.decision import Decision
from tightrope.web.blocks import block_of, weight
from tightrope.web.charts import burn_down
from tightrope.web.fleet import Row, drawn, lead_of, tally, urgency
from tightrope.web.marks import budget_bar, safe
from tightrope.web.pages import asset, environment
from tightrope.web.pictures import ledger_of, picture_of
from tightrope.web.plots import Plot, plot_of, spark_of
from tightrope.web.sections import MOST_ROWS, Section, anchors, line_of, section_of

OPEN_SECTIONS = 30
"""At most so many sections stand open, those that need attention first; folded ones have smaller drawings."""

OPEN_ANYWAY = 8
"""So many stand open even where all is well."""

_POINTS = 360
_FOLDED_POINTS = 60
_RECENT = 1.6
_OPEN_BLOCKS = 6

Refused = Sequence[tuple[Deployment, str]]
"""Deployments that the policy would have stopped, each with the state that would have."""


@dataclass(frozen=True, slots=True)
class _Part:
    """One objective's section with its charts; folded ones open on demand."""

    section: Section
    charts: list[Plot]
    folded: bool


def fleet_report(
    title: str,
    assessments: Sequence[Assessment],
    decisions: Sequence[Decision],
    *,
    scores: Sequence[Mapping[str, Score] | None] | None = None,
    stopped: Sequence[Refused | None] | None = None,
    deployments: Sequence[Deployment] = (),
    generated_at: int,
    specs: str = "SPECS",
    command: str = "",
) -> str:
    """Write the report of a fleet as one HTML page without any outside request.

    Args:
        title: What the report is about, for the window's title.
        assessments: One for each objective.
        decisions: Gate decisions to explain, in order.
        scores: For each assessment, by the name of the severities scored; None where no incident is labelled.
        stopped: For each assessment, the deployments the policy would have refused, with the state that would have.
        deployments: All known deployments, for the ticks of the charts; those in *stopped* need not be repeated.
        generated_at: Now, UTC epoch seconds.
        specs: What stood after ``-f``, for the commands that reproduce each figure.
        command: The command line that made the report; may be empty.

    Returns:
        The page. Up to 1,000 objectives stay well below 20 MB: what needs attention comes first and in full.
    """
    names = dict(zip((id(one) for one in assessments), anchors(one.title for one in assessments), strict=True))
    standings = {id(one): standing_of(one, one.statement.at) for one in assessments}
    groups = by_service(assessments)
    worst = {service: tightest(group) for service, group in groups.items()}
    newest = max((one.statement.at for one in assessments), default=generated_at)
    lines = sorted(
        (
            line_of(one, standings[id(one)], names[id(one)], sum(each.watched for each in groups[service]) - 1, newest)
            for service, one in worst.items()
        ),
        key=urgency,
    )
    rank = {line.service: number for number, line in enumerate(lines)}
    ordered = sorted(assessments, key=lambda one: (rank[one.slo.service], one is not worst[one.slo.service]))
    given_scores = dict(zip((id(one) for one in assessments), scores or [None] * len(assessments), strict=True))
    given_stops = dict(zip((id(one) for one in assessments), stopped or [None] * len(assessments), strict=True))
    parts: list[_Part] = []
    sparks: dict[str, str] = {}
    for number, one in enumerate(ordered):
        fine = standing_word(standings[id(one)], one.statement.at)[1] == "ok"
        folded = number >= (OPEN_ANYWAY if fine else OPEN_SECTIONS)
        section = section_of(
            one,
            standings[id(one)],
            names[id(one)],
            scores=given_scores[id(one)],
            stopped=given_stops[id(one)] or (),
            asks=f"-f {specs}",
            most_rows=4 if folded else MOST_ROWS,
        )
        shipped = _shipped(deployments, given_stops[id(one)])
        account = ledger_of(one)  # one at a time: a fleet's running sums need not fit into memory together
        parts.append(_Part(section, _charts(one, account, section, shipped, folded=folded), folded))
        if one is worst[one.slo.service]:
            sparks[one.slo.service] = spark_of(one, account)
    services = [standings[id(one)] for one in worst.values()]
    page = environment().get_template("report.html")
    return page.render(
        title=title,
        answer=fleet_sentence(services, newest),
        lead=lead_of(services, lines, newest),
        rows=[Row(line, budget_bar(line.remaining, line.tone), sparks[line.service]) for line in lines],
        attention=sum(line.letter != "ok" for line in lines),
        fleet=drawn(lines),
        tally=tally(lines),
        blocks=[block_of(one, f"-f {specs}") for one in sorted(decisions, key=weight)],
        open_blocks=_OPEN_BLOCKS,
        parts=parts,
        has_scores=any(part.section.scores for part in parts),
        as_of=time_text(newest),
        generated=time_text(generated_at),
        version=__version__,
        command=command,
        css="\n".join(asset(name) for name in ("tokens.css", "page.css", "charts.css")),
        script=asset("page.js"),
    )


def backtest_report(
    assessments: Sequence[Assessment],
    *,
    scores: Sequence[Mapping[str, Score] | None] | None = None,
    stopped: Sequence[Refused | None] | None = None,
    deployments: Sequence[Deployment] = (),
    generated_at: int,
    specs: str = "SPECS",
    command: str = "",
) -> str:
    """Write the report of a replay: as `fleet_report`, without a gate decision."""
    return fleet_report(
        "Backtest",
        assessments,
        (),
        scores=scores,
        stopped=stopped,
        deployments=deployments,
        generated_at=generated_at,
        specs=specs,
        command=command,
    )


def svg_report(
    assessment: Assessment,
    *,
    deployments: Sequence[Deployment] = (),
    stopped: Refused | None = None,
    points: int = _POINTS,
) -> str:
    """Draw one objective's budget over time as a picture of its own, in light or dark as the reader's system has it.

    Colours are written out, for programs that do not know CSS variables.
    """
    picture = picture_of(assessment, ledger_of(assessment), "svg", points, deployments=_shipped(deployments, stopped))
    standing = standing_of(assessment, assessment.statement.at)
    sentence = service_sentence(standing, assessment.statement.at)
    if picture is None:
        body, height = "", 60
    else:
        chart = burn_down(picture)
        height = int(chart.split('viewBox="0 0 1160 ', 1)[1].split('"', 1)[0]) + 84
        body = f'<g transform="translate(20 64)">{chart.split(">", 1)[1].removesuffix("</svg>")}</g>'
    hint = f"{assessment.title} · budget left over time"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1200 {height}" width="1200" height="{height}" '
        f'role="img" aria-label="{safe(picture.finding if picture else sentence)}"><style>{_flat_style()}</style>'
        f'<rect class="paper" width="1200" height="{height}" rx="10"/>'
        f'<text class="headline" x="24" y="34">{safe(sentence)}</text>'
        f'<text class="ax" x="24" y="54">{safe(hint)}</text>{body}</svg>\n'
    )


def _charts(
    one: Assessment, account: Ledger, section: Section, deployments: Sequence[tuple[Deployment, bool]], *, folded: bool
) -> list[Plot]:
    """The last window with what is forecast, and the whole history where that is longer."""
    if one.history.evaluated is None:
        return []
    window_s = one.statement.window_end - one.statement.window_start
    began, ended = one.history.evaluated
    spans: list[tuple[str, str, int | None]] = []
    if ended - began > _RECENT * window_s:
        if not folded:
            spans.append(("Budget left", f"the last {one.slo.window.duration}, and what is coming", ended - window_s))
        spans.append(("Budget left, whole history", f"{section.window_words}, replayed", None))
    else:
        spans.append(("Budget left over time", f"{section.window_words}, replayed", None))
    found = []
    for number, (title, hint, since) in enumerate(spans):
        picture = picture_of(
            one,
            account,
            f"{section.anchor}-{number}",
            _FOLDED_POINTS if folded else _POINTS,
            since=since,
            forecast=forecast_of(one) if not number and one.watched else None,
            deployments=deployments,
        )
        if picture is not None:
            found.append(plot_of(picture, title, hint, rows=12 if folded else 40))
    return found


def _shipped(deployments: Sequence[Deployment], stopped: Refused | None) -> list[tuple[Deployment, bool]]:
    """All known deployments, each with whether it would have been stopped, by time."""
    refused = [one for one, _ in stopped or ()]
    marked = frozenset(refused)
    found = [*((one, False) for one in deployments if one not in marked), *((one, True) for one in refused)]
    return sorted(found, key=lambda pair: pair[0].at)


@lru_cache(maxsize=1)
def _flat_style() -> str:
    """The charts' style with the colours of both themes written out."""
    tokens = asset("tokens.css")
    themes = tokens.split(':root[data-theme="dark"]', 1)
    light, dark = (_variables(part.split("}", 1)[0]) for part in themes)
    rules = (
        asset("charts.css")
        + "\n.paper{fill:var(--panel);stroke:var(--line)}"
        + "\n.headline{fill:var(--text);font-size:20px;font-weight:640}"
    )
    return f"{_written_out(rules, light)}\n@media (prefers-color-scheme:dark){{{_written_out(rules, light | dark)}}}"


def _variables(text: str) -> dict[str, str]:
    pairs = (part.split(":", 1) for part in text.replace("\n", " ").split("{", 1)[-1].split(";") if ":" in part)
    return {name.strip(): value.strip() for name, value in pairs}


def _written_out(rules: str, values: Mapping[str, str]) -> str:
    for name, value in values.items():
        rules = rules.replace(f"var({name})", value.replace('"', "'"))
    return rules
