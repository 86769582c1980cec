"""The first page of all: nothing is watched yet, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from shlex import quote

from starlette.responses import Response
from starlette.routing import BaseRoute

from tightrope.base.units import percent_text
from tightrope.web.settings import Filling, fillings
from tightrope.web.visit import Desk, Visit


@dataclass(frozen=True, slots=True)
class Step:
    """One step on the way to a gate that is asked: done, running (the next to do), or to come."""

    name: str
    words: str
    state: str


def routes(desk: Desk) -> list[BaseRoute]:
    """The page of the first steps."""
    return [desk.route("/start", start)]


def start(visit: Visit) -> Response:
    """Say how to begin, and what is done already."""
    board = visit.board
    watched, measured = bool(board.snapshot.specs.slos), board.newest is not None
    reading = fillings(visit.server.backfills())
    asked = bool(visit.server.decisions(limit=1))
    policies = bool(board.snapshot.specs.policies)
    facts = [
        ("Write a first SLO", "a promise, and how it is measured", watched),
        ("Let telemetry in", "pulled or pushed", measured),
        ("See the budget", "on the overview", measured and watched),
        ("Ask the gate in CI", "one line, recorded", asked),
        ("Agree on a policy", "what waits, who may except", policies),
    ]
    following = next((number for number, (_, _, done) in enumerate(facts) if not done), None)
    steps = [
        Step(name, words, "ok" if done else "run" if number == following else "")
        for number, (name, words, done) in enumerate(facts)
    ]
    folder = next(iter(visit.server.settings.spec_paths), "slo")
    return visit.page(
        "start.html",
        title="Get started",
        current="",
        answer=_answer(watched, measured, asked, reading, len(board.snapshot.problems)),
        reading=reading[:12],
        more_reading=max(0, len(reading) - 12),
        steps=steps,
        watched=watched,
        folder=quote(folder),
        follows=bool(visit.server.settings.spec_paths),
        base_url=visit.server.settings.base_url,
        service=next((slo.service for slo in board.snapshot.specs.slos), "checkout"),
    )


def _answer(watched: bool, measured: bool, asked: bool, reading: list[Filling], problems: int) -> str:
    if not watched and problems:
        return f"The specs have {problems} {'error' if problems == 1 else 'errors'}, so nothing is watched yet."
    if not watched:
        return "No SLO yet. Write one, or let Tightrope draft it, and this page fills itself."
    if not measured and any(not one.error for one in reading):
        share = sum(one.share for one in reading) / len(reading)
        many = f"{len(reading):,} SLOs" if len(reading) > 1 else "the SLO"
        return f"The history of {many} is being read, {percent_text(share, 0)} of it so far."
    if not measured:
        return "The promise stands; no telemetry was evaluated for it yet."
    if not asked:
        return "The budget is known. Ask the gate from your pipeline next."
    return "All of it works: promise, telemetry, budget and gate."
