"""A decision with all that it rests on, as it is kept, and decided again from that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from tightrope.base.errors import DataError, TightropeError
from tightrope.base.values import dataclass
from tightrope.policy.decision import Decision, GateFacts, GateRequest
from tightrope.policy.gate import decide
from tightrope.policy.notation import plain, read_as

ACTED_ON = ("id", "verdict", "exempt", "ship", "reasons")
"""What another version must decide alike on the same inputs; other wording is no other decision."""


@dataclass(frozen=True, slots=True)
class DecisionRecord:
    """What was asked, what was true, what was decided, and by which version of Tightrope."""

    request: GateRequest
    facts: GateFacts
    decision: Decision
    decided_by: str


@dataclass(frozen=True, slots=True)
class Kept:
    """A record in its place in the journal: its row, and when it was recorded, UTC epoch seconds."""

    sequence: int
    recorded_at: int
    record: DecisionRecord


def document_of(record: DecisionRecord) -> dict[str, Any]:
    """Write a record as plain JSON without floats."""
    return {
        "tightrope": record.decided_by,
        "request": plain(record.request),
        "facts": plain(record.facts),
        "decision": plain(record.decision),
    }


def record_of(document: Mapping[str, Any]) -> DecisionRecord:
    """Read a record; raises `DataError` where it is none, or was written by a version that knew more."""
    decided_by = document.get("tightrope")
    if not isinstance(decided_by, str):
        raise DataError("a recorded decision cannot be read: it does not say which version decided")
    return DecisionRecord(
        read_as(GateRequest, document.get("request")),
        read_as(GateFacts, document.get("facts")),
        read_as(Decision, document.get("decision")),
        decided_by,
    )


def recompute(record: DecisionRecord, version: str) -> str:
    """Decide again from the recorded inputs, and say what differs; empty if nothing does.

    The *version* that decided must agree with itself in every field; another one in what is acted on, `ACTED_ON`.
    """
    then = record.decision
    try:
        now = decide(record.request, record.facts)
    except TightropeError as error:
        return f"was {then.verdict}, and cannot be decided now: {error.message}"
    compared = [one.name for one in fields(Decision)] if record.decided_by == version else ACTED_ON
    told: list[str] = []
    for name in compared:
        before, after = getattr(then, name), getattr(now, name)
        if before != after and name == "reasons":
            told.append(f"other rules speak, or otherwise: {', '.join(_rules(then, now))}")
        elif before != after:
            shown = isinstance(before, str) and isinstance(after, str)
            told.append(f"{name} was {before}, is {after} now" if shown else f"{name} is another now")
    return "; ".join(told)


def _rules(then: Decision, now: Decision) -> list[str]:
    odd = set(then.reasons) ^ set(now.reasons)
    return sorted({reason.rule for reason in odd}) or ["the same, in another order"]
