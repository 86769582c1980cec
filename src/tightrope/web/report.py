"""The report: one HTML file that needs nothing else, and one SVG picture, from the same assessments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from shlex import quote
from typing import TYPE_CHECKING

from tightrope import __version__
from tightrope.backtest.labels import Deployment
from tightrope.backtest.score import Score
from tightrope.base.units import time_text
from tightrope.budget.series import Ledger, fewer
from tightrope.budget.words import Standing, fleet_sentence, service_sentence, standing_word
from tightrope.loop.assess import Assessment
from tightrope.loop.forecasting import forecast_of
from tightrope.loop.standing import by_service, standing_of, tightest
from tightrope.policy.decision import Decision, Verdict
from tightrope.policy.rendering import decision_lines
from tightrope.specs.model import ShipHow
from tightrope.web.charts import burn_down, rows_of
from tightrope.web.marks import TONES, OnLine, budget_bar, fleet_line, safe, sparkline
from tightrope.web.pictures import Picture, ledger_of, narrowed, picture_of
from tightrope.web.sections import MOST_ROWS, Line, Section, anchors, line_of, section_of

if TYPE_CHECKING:
    from jinja2 import Environment

OPEN_SECTIONS = 30
"""At most so many sections stand open, those that need attention first; folded ones have smaller drawings."""

OPEN_ANYWAY = 8
"""So many stand open even where all is well."""

_POINTS = 360
_FOLDED_POINTS = 60
_NARROW_POINTS = 150
_ORDER = {"x": 0, "!": 1, "?": 2, "ok": 3}
_RECENT = 1.6
_LABEL = 11  # columns of the labels in `decision_lines`
_OPEN_BLOCKS = 6

Refused = Sequence[tuple[Deployment, str]]
"""Deployments that the policy would have stopped, each with the state that would have."""


@dataclass(frozen=True, slots=True)
class _Chart:
    """One chart in both drawings, with its table."""

    title: str
    hint: str
    wide: str
    narrow: str
    rows: list[tuple[str, str, str]]
    legend: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Block:
    """One decision as the page sets it: verdict, the rows of the block the command line prints, and every rule."""

    decision: Decision
    word: str
    tone: str
    headline: str
    rows: list[tuple[str, str]]
    command: str


@dataclass(frozen=True, slots=True)
class _Part:
    """One objective's section with its charts; folded ones open on demand."""

    section: Section
    charts: list[_Chart]
    folded: bool


@dataclass(frozen=True, slots=True)
class _Row:
    """One row of the fleet's table with its two small drawings."""

    line: Line
    bar: str
    spark: str


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
        key=_urgency,
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
            specs=specs,
            most_rows=4 if folded else MOST_ROWS,
        )
        shipped = _shipped(deployments, given_stops[id(one)])
        account = ledger_of(one)  # one at a time: a fleet's running sums need not fit into memory together
        parts.append(_Part(section, _charts(one, account, section, shipped, folded=folded), folded))
        if one is worst[one.slo.service]:
            sparks[one.slo.service] = _spark(one, account)
    services = [standings[id(one)] for one in worst.values()]
    page = _environment().get_template("report.html")
    return page.render(
        title=title,
        answer=fleet_sentence(services, newest),
        lead=_lead(services, lines, newest),
        rows=[_Row(line, budget_bar(line.remaining, line.tone), sparks[line.service]) for line in lines],
        attention=sum(line.letter != "ok" for line in lines),
        fleet=_fleet(lines),
        tally=_tally(lines),
        blocks=[_block(one, specs) for one in sorted(decisions, key=_weight)],
        open_blocks=_OPEN_BLOCKS,
        parts=parts,
        has_scores=any(part.section.scores for part in parts),
        as_of=time_text(newest),
        generated=time_text(generated_at),
        version=__version__,
        command=command,
        css="\n".join(_asset(name) for name in ("tokens.css", "page.css", "charts.css")),
        script=_asset("page.js"),
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


def _urgency(line: Line) -> tuple[int, float, str]:
    return _ORDER[line.letter], 2.0 if line.remaining is None else line.remaining, line.service


def _lead(services: Sequence[Standing], lines: Sequence[Line], now: int) -> str:
    """The two most urgent services, in a sentence each, where the answer did not name them already."""
    if len(services) < 2:
        return ""
    of = {one.service: one for one in services}
    return " ".join(service_sentence(of[line.service], now) for line in lines[:2] if line.letter != "ok")


def _fleet(lines: Sequence[Line]) -> tuple[str, str] | None:
    shown = [
        OnLine(line.service, line.remaining, line.tone, line.letter != "ok")
        for line in lines
        if line.remaining is not None
    ]
    return (fleet_line(shown), fleet_line(shown, narrow=True)) if len(shown) > 1 else None


def _tally(lines: Sequence[Line]) -> list[tuple[str, str, int]]:
    """How many services stand under each word, with its tone."""
    counts = dict.fromkeys(TONES, 0)
    for line in lines:
        counts[line.word] += 1
    return [(word, TONES[word], count) for word, count in counts.items() if count]


def _spark(one: Assessment, account: Ledger) -> str:
    if one.history.evaluated is None:
        return ""
    end = one.history.evaluated[1]
    start = end - (one.statement.window_end - one.statement.window_start)
    return sparkline(fewer(account.remaining(start, end), 40))


def _charts(
    one: Assessment, account: Ledger, section: Section, deployments: Sequence[tuple[Deployment, bool]], *, folded: bool
) -> list[_Chart]:
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
            small = burn_down(narrowed(picture, _NARROW_POINTS), narrow=True)
            rows = rows_of(picture, 12 if folded else 40)
            found.append(_Chart(title, hint, burn_down(picture), small, rows, _legend(picture)))
    return found


def _legend(picture: Picture) -> frozenset[str]:
    """Which marks stand in the picture."""
    marks = {stay.kind for stay in picture.stays}
    marks |= {
        "needless" if call.use == "needless" else "found" if call.use else call.severity for call in picture.calls
    }
    marks |= {"missed" if one.missed else "incident" for one in picture.troubles}
    marks |= {"stopped" if one.stopped else "deploy" for one in picture.ships}
    marks |= {"silent"} if picture.silent else set()
    marks |= {"forecast"} if picture.ahead is not None else set()
    return frozenset(marks)


def _block(decision: Decision, specs: str) -> _Block:
    word = "Exempt" if decision.exempt else decision.verdict.value.title()
    lines = decision_lines(decision, width=10_000)
    rows = [(line[:_LABEL].strip(), line[_LABEL:]) for line in lines[1:]]
    rows = [(label, text) for label, text in rows if label != "more"]
    request = decision.request
    command = (
        f"tightrope gate {quote(request.service)} -f {specs} --kind {request.kind.value}"
        f"{f' --change {quote(request.change)}' if request.change else ''} --at {time_text(request.asked_at)}"
    )
    tones = {"Go": "good", "Stop": "bad", "Wait": "acc", "Exempt": "acc"}
    return _Block(decision, word, tones[word], lines[0][8:], rows, command)


def _weight(decision: Decision) -> tuple[int, bool]:
    """Stops first, then what waits, then exceptions, then goes, the guarded ones before the others."""
    rank = {Verdict.STOP: 0, Verdict.WAIT: 1, Verdict.GO: 2 + (not decision.exempt)}[decision.verdict]
    return rank, decision.ship is ShipHow.STANDARD


def _shipped(deployments: Sequence[Deployment], stopped: Refused | None) -> list[tuple[Deployment, bool]]:
    """All known deployments, each with whether it would have been stopped, by time."""
    refused = [one for one, _ in stopped or ()]
    marked = frozenset(refused)
    found = [*((one, False) for one in deployments if one not in marked), *((one, True) for one in refused)]
    return sorted(found, key=lambda pair: pair[0].at)


@lru_cache(maxsize=1)
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("tightrope.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@lru_cache(maxsize=8)
def _asset(name: str) -> str:
    return files("tightrope.web").joinpath("assets", name).read_text(encoding="utf-8").strip()


@lru_cache(maxsize=1)
def _flat_style() -> str:
    """The charts' style with the colours of both themes written out."""
    tokens = _asset("tokens.css")
    themes = tokens.split(':root[data-theme="dark"]', 1)
    light, dark = (_variables(part.split("}", 1)[0]) for part in themes)
    rules = (
        _asset("charts.css")
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
