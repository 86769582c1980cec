"""Decisions as a page sets them: the verdict, and the rows of the block that the command line prints."""

from __future__ import annotations

from dataclasses import dataclass
from shlex import quote

from tightrope.base.units import time_text
from tightrope.policy.decision import Decision, Verdict
from tightrope.policy.rendering import decision_lines
from tightrope.specs.model import ShipHow

TONES_OF_VERDICTS = {"Go": "good", "Stop": "bad", "Wait": "acc", "Exempt": "acc"}
"""The colour of each word that a decision opens with."""

_LABEL = 11  # columns of the labels in `decision_lines`


@dataclass(frozen=True, slots=True)
class Block:
    """One decision as the page sets it: verdict, the rows of the block the command line prints, and every rule."""

    decision: Decision
    word: str
    tone: str
    headline: str
    rows: list[tuple[str, str]]
    command: str


def verdict_word(decision: Decision) -> tuple[str, str]:
    """Name a verdict for a person, with its colour: an exempt go is called by its exception."""
    word = "Exempt" if decision.exempt else decision.verdict.value.title()
    return word, TONES_OF_VERDICTS[word]


def block_of(decision: Decision, asks: str) -> Block:
    """Set one decision; *asks* tells the command that asks again where: ``-f slo``, or ``--server URL``."""
    word, tone = verdict_word(decision)
    lines = decision_lines(decision, width=10_000)
    rows = [(line[:_LABEL].strip(), line[_LABEL:]) for line in lines[1:]]
    rows = [(label, text) for label, text in rows if label != "more"]
    request = decision.request
    command = (
        f"tightrope gate {quote(request.service)} {asks} --kind {request.kind.value}"
        f"{f' --change {quote(request.change)}' if request.change else ''}"
        f"{'' if asks.startswith('--server') else f' --at {time_text(request.asked_at)}'}"
    )
    return Block(decision, word, tone, lines[0][8:], rows, command)


def weight(decision: Decision) -> tuple[int, bool]:
    """Stops first, then what waits, then exceptions, then goes, the guarded ones before the others."""
    rank = {Verdict.STOP: 0, Verdict.WAIT: 1, Verdict.GO: 2 + (not decision.exempt)}[decision.verdict]
    return rank, decision.ship is ShipHow.STANDARD
