"""The overview, and the list of services: is anything wrong, and who needs attention?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from starlette.responses import Response
from starlette.routing import BaseRoute

from tightrope.base.units import percent_text
from tightrope.budget.words import fleet_sentence, left_text
from tightrope.specs.model import ShipHow
from tightrope.web.board import Board, Post
from tightrope.web.fleet import drawn, lead_of, tally
from tightrope.web.marks import budget_bar, within
from tightrope.web.sections import Figure, Line
from tightrope.web.start import start
from tightrope.web.telling import Told, told
from tightrope.web.visit import Desk, Visit, service_path

_EVENTS = 9
_PAGE = 200
_FULL = 60  # rows of services that are fine and still have all drawings


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of the table: a line with its bar, and a sparkline where it needs attention.

    Of a large fleet, the rows of services that are simply fine have no drawing, but a bar of *width* fiftieths.
    """

    line: Line
    bar: str
    spark: str
    width: int = 0


def routes(desk: Desk) -> list[BaseRoute]:
    """The pages of the fleet."""
    return [
        desk.route("/", overview),
        desk.route("/rest", rest),
        desk.route("/services", services),
        desk.route("/find", find),
        desk.route("/more", more),
    ]


def overview(visit: Visit) -> Response:
    """Answer whether anything is wrong, and who needs attention."""
    board = visit.board
    if not board.posts:
        return start(visit) if board.snapshot.specs.slos else visit.go("/start")
    lines = [one.line for one in board.posts]
    standings = [one.standing for one in board.posts]
    attention, fine = board.attention, board.posts[len(board.attention) :]
    return visit.page(
        "overview.html",
        title="Overview",
        current="overview",
        answer=fleet_sentence(standings, board.now),
        lead=" ".join(part for part in (called(board), lead_of(standings, lines, board.now)) if part),
        figures=figures(visit),
        fleet=drawn(lines),
        tally=tally(lines),
        attention=[entry(one) for one in attention],
        fine=[entry(one) for one in fine[:_FULL]],
        rest=max(0, len(fine) - _FULL),
        events=lately(visit, _EVENTS),
        firing=firing(board),
    )


def rest(visit: Visit) -> Response:
    """The rows of a large fleet that the overview fetches once it can be used: those that are simply fine."""
    board = visit.board
    fine = board.posts[len(board.attention) + _FULL :]
    return visit.page(
        "rest.html", title="Overview", current="overview", light_rows=[light_entry(one) for one in fine], first=_FULL
    )


def services(visit: Visit) -> Response:
    """List services, or those of them that are meant."""
    words = visit.asked("q").lower().split()
    found = [one for one in visit.board.posts if _meant(one, words)]
    state = visit.asked("state")
    if state == "attention":
        found = [one for one in found if one.needs_attention]
    if len(found) == 1 and words and not visit.asked("fragment"):
        return visit.go(service_path(found[0].line.service))
    start = min((visit.number("from") or 1) - 1, max(0, len(found) - 1))
    return visit.page(
        "services.html",
        title="Services",
        current="services",
        answer=_counted(found, visit.board, words, state),
        q=visit.asked("q"),
        state=state,
        total=len(visit.board.posts),
        attention=len(visit.board.attention),
        rows=[entry(one) for one in found[start : start + _PAGE]],
        start=start,
        count=len(found),
        step=_PAGE,
    )


def find(visit: Visit) -> Response:
    """Suggest services for a few letters, as a piece of a page."""
    words = visit.asked("q").lower().split()
    found = [one.line for one in visit.board.posts if _meant(one, words)] if words else []
    return visit.page("found.html", title="Found", current="", found=found[:8], count=len(found), q=visit.asked("q"))


def more(visit: Visit) -> Response:
    """The entries of the navigation that the bar at the bottom has no room for."""
    return visit.page("more.html", title="More", current="more")


def entry(post: Post) -> Entry:
    """Set one service as a row."""
    return Entry(post.line, budget_bar(post.line.remaining, post.line.tone), post.spark)


def light_entry(post: Post) -> Entry:
    """Set one service that is simply fine as a row without drawings."""
    return Entry(post.line, "", "", round(50 * within(post.line.remaining or 0.0)))


def figures(visit: Visit) -> tuple[Figure, ...]:
    """The four numbers of the fleet."""
    board = visit.board
    posts = board.posts
    holding = sum(one.standing.holds_features for one in posts)
    silent = sum(one.standing.stale for one in posts)
    free = sum(not one.standing.holds_features and not one.standing.stale for one in posts)
    guarded = sum(
        one.standing.ship is ShipHow.GUARDED and not one.standing.holds_features and not one.standing.stale
        for one in posts
    )
    kept = [
        f"{count:,} {word}" for count, word in ((holding, "held"), (guarded, "guarded"), (silent, "silent")) if count
    ]
    known = [one for one in posts if one.standing.remaining is not None]
    least = min(known, key=lambda one: one.standing.remaining or 0, default=None)
    severities = Counter(severity for severity, _, _ in board.firing)
    verdicts, more = visit.counted()
    return (
        Figure("Free to ship", f"{free:,}", f"of {len(posts):,}", ", ".join(kept) or "at the usual pace"),
        Figure("Least budget left", "Not known", "", "nothing was measured", "none")
        if least is None or least.standing.remaining is None
        else Figure(
            "Least budget left",
            percent_text(least.standing.remaining),
            "",
            f"{least.line.service}, {left_text(least.standing.budget, least.standing.unit_s)}",
            least.line.tone if least.line.tone != "good" else "",
        ),
        Figure(
            "Alerts firing",
            f"{len(board.firing):,}",
            "",
            ", ".join(f"{count:,} {word}{'s' if count > 1 else ''}" for word, count in severities.most_common())
            or "all is quiet",
            "bad" if severities.get("page") else "warn" if board.firing else "",
        ),
        Figure(
            "Decisions, 24 h",
            f"{verdicts.total():,}{more}",
            "",
            ", ".join(f"{count:,} {word}" for word, count in verdicts.most_common()) or "nobody asked the gate",
        ),
    )


def lately(visit: Visit, count: int, service: str = "") -> list[Told]:
    """What happened last that the visitor may see, by when it happened: a long history is told of at once."""
    found = visit.server.events(subject=service, limit=count * 3)
    seen = visit.actor.services
    shown = [one for one in found if seen is None or one.event.subject in seen]
    quiet = [one for one in shown if ".access.session." not in one.event.type]
    newest = sorted(quiet, key=lambda one: (-one.event.time, -one.sequence))
    return [told(one) for one in newest[:count]]


def called(board: Board) -> str:
    """Say for whom somebody is called just now; empty where nobody is."""
    services = list(dict.fromkeys(one.slo.service for severity, _, one in board.firing if severity == "page"))
    if not services:
        return ""
    shown, more = services[:3], len(services) - 3
    names = ", ".join(shown) + (f" and {more:,} more" if more > 0 else "")
    return f"{'A page is' if len(services) == 1 else f'{len(services):,} pages are'} out for {names}."


def firing(board: Board) -> list[tuple[str, str, str, str, int | None]]:
    """Alerts that are out: severity, conditions, service, objective, since when."""
    found = []
    for severity, names, one in board.firing:
        memories = zip(one.plan.conditions, one.history.memory.alerts, strict=False)
        began = [memory.firing_since for condition, memory in memories if condition.name in names]
        since = min((at for at in began if at is not None), default=None)
        found.append((severity, ", ".join(names), one.slo.service, one.title, since))
    return found


def _meant(post: Post, words: Sequence[str]) -> bool:
    """Whether all words are found: in the name, or as ``flow:``, ``is:`` and ``team:`` with what they ask for."""
    line, slo = post.line, post.worst.slo
    for word in words:
        key, colon, value = word.partition(":")
        if colon and key in {"flow", "is", "team"}:
            told_of = {"flow": line.flow, "is": line.word, "team": slo.owner}[key].lower()
            if not told_of.replace(" ", "-").startswith(value):
                return False
        elif word not in line.service.lower() and word not in slo.name.lower():
            return False
    return True


def _counted(found: Sequence[Post], board: Board, words: Sequence[str], state: str) -> str:
    if words or state:
        what = (
            "service needs attention"
            if state and len(found) == 1
            else "services need attention"
            if state
            else ("service matches" if len(found) == 1 else "services match")
        )
        return f"{len(found):,} {what}." if found else f"No {what}."
    attention = len(board.attention)
    needs = f"{attention:,} {'needs' if attention == 1 else 'need'} attention" if attention else "none needs attention"
    return f"{len(found):,} {'service is' if len(found) == 1 else 'services are'} watched, and {needs}."
