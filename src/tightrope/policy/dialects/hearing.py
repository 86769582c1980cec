"""What all dialects share: a question before it has an instant, an answer, and what is said without a decision."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from tightrope.policy.change_kinds import kind_of_release
from tightrope.policy.decision import Decision, GateRequest, Verdict
from tightrope.specs.model import ChangeKind

LONGEST = {"service": 200, "environment": 200, "change": 500, "title": 500, "asked_by": 200}
"""Signs that a question keeps of each of its texts; a longer one is cut."""

_KINDS = {kind.value: kind for kind in ChangeKind}
_FIXES = frozenset({ChangeKind.RELIABILITY, ChangeKind.SECURITY, ChangeKind.EMERGENCY, ChangeKind.ROLLBACK})


class Trouble(StrEnum):
    """Why there is no decision."""

    UNKNOWN = "unknown"
    """Nobody knows the service, or which one is meant."""
    STRANGER = "stranger"
    """Nobody knows who asks, or they may not."""
    UNREADABLE = "unreadable"
    """The request makes no sense."""
    FAILED = "failed"
    """We could not decide, or not record it."""


@dataclass(frozen=True, slots=True)
class NoDecision:
    """There is none: why, and what is wrong, in one sentence without secrets."""

    trouble: Trouble
    says: str


Heard = Decision | NoDecision
"""What the gate came to."""


@dataclass(frozen=True, slots=True)
class Asking:
    """What a caller asks, before it is given an instant."""

    service: str
    environment: str = "production"
    kind: ChangeKind = ChangeKind.FEATURE
    kind_from: str = "default"
    change: str = ""
    title: str = ""
    asked_by: str = ""

    def at(self, now: int) -> GateRequest:
        """The question at an instant."""
        return GateRequest(
            self.service, now, self.environment, self.kind, self.kind_from, self.change, self.title, self.asked_by
        )


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer over HTTP: a JSON document, or a text where there is none."""

    status: int
    document: Any = None
    text: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


def asking(
    given: Mapping[str, Any],
    *,
    service: str = "",
    environment: str = "production",
    change: str = "",
    title: str = "",
    asked_by: str = "",
) -> Asking:
    """Read a question from fields that a caller gave, tolerant of those that are missing or no text.

    Args:
        given: ``service``, ``environment``, ``kind``, ``message``, ``labels``, ``change``, ``title``. A kind that is
            none counts as a feature.
        service, environment, change, title: What holds where the field says nothing.
        asked_by: Who asks.
    """
    kind, found_in = kind_of(given.get("kind"), given.get("message"), given.get("labels"))
    return Asking(
        cut(given.get("service"), LONGEST["service"]) or cut(service, LONGEST["service"]),
        cut(given.get("environment"), LONGEST["environment"]) or environment or "production",
        kind,
        found_in,
        cut(given.get("change"), LONGEST["change"]) or cut(change, LONGEST["change"]),
        cut(given.get("title"), LONGEST["title"]) or cut(title, LONGEST["title"]),
        cut(asked_by, LONGEST["asked_by"]),
    )


def kind_of(kind: Any, messages: Any = None, labels: Any = None) -> tuple[ChangeKind, str]:
    """The kind of a change and how it was found: as given, else from messages and labels, else a feature."""
    named = cut(kind, 50).lower()
    if named in _KINDS:
        return _KINDS[named], "given"
    told, marks = texts(messages), texts(labels)
    if told or marks:
        found = kind_of_release(told, marks)
        return found.kind, found.source
    return ChangeKind.FEATURE, f"default: there is no kind {named!r}" if named else "default"


def texts(given: Any) -> list[str]:
    """A text or a list of texts as a list; anything else is none."""
    many: Iterable[Any] = given if isinstance(given, (list, tuple)) else [given]
    return [one for one in many if isinstance(one, str) and one]


def cut(given: Any, most: int) -> str:
    """A text fit to be kept and shown: on one line, without control signs, at most so long; empty for what is none."""
    if not isinstance(given, str):
        return ""
    line = " ".join("".join(sign if sign.isprintable() else " " for sign in given).split())
    return line if len(line) <= most else line[: most - 1] + "…"


def at(document: Any, *path: str | int) -> Any:
    """What stands at a path in a document that came from outside; None where there is no such place."""
    for step in path:
        if isinstance(step, int):
            document = document[step] if isinstance(document, list) and step < len(document) else None
        else:
            document = document.get(step) if isinstance(document, Mapping) else None
    return document


# --- what is said --------------------------------------------------------------------------------------------------


def word(heard: Heard) -> Verdict:
    """Go, stop or wait; without a decision there is nothing to do but wait."""
    return heard.verdict if isinstance(heard, Decision) else Verdict.WAIT


def firm_word(heard: Heard) -> Verdict:
    """The same for callers that take a release back when they hear a stop: one for want of telemetry alone is a wait.

    Telemetry that is lost says nothing of the release; a healthy one must not be rolled back for it.
    """
    if isinstance(heard, Decision) and heard.verdict is Verdict.STOP:
        stops = {reason.rule for reason in heard.reasons if reason.outcome == "stop"}
        return Verdict.WAIT if stops <= {"telemetry-fresh"} else Verdict.STOP
    return word(heard)


def says(heard: Heard) -> str:
    """The answer in one sentence."""
    return heard.summary if isinstance(heard, Decision) else heard.says


def line(heard: Heard, most: int = 200, first: str = "") -> str:
    """The answer as a short line that begins with the word for it, *first* instead of the verdict if given."""
    tail = f" ({heard.id})" if isinstance(heard, Decision) else ""
    return cut(f"{first or word(heard).value}: {says(heard)}", most - len(tail)) + tail


def page_of(heard: Heard, base_url: str) -> str:
    """The address of the page that shows the decision; empty without one."""
    return f"{base_url}/decisions/{heard.id}" if isinstance(heard, Decision) and base_url else ""


def refusal_status(heard: Heard) -> int:
    """The status of an answer that is not go: never 429 nor 5xx, with which some callers throw the text away."""
    if isinstance(heard, Decision):
        return 403
    return {Trouble.UNKNOWN: 404, Trouble.STRANGER: 401, Trouble.UNREADABLE: 400, Trouble.FAILED: 409}[heard.trouble]


# --- a release that is under way -----------------------------------------------------------------------------------


class Course(StrEnum):
    """What becomes of a release that users meet already."""

    GO = "go"
    WAIT = "wait"
    ROLLBACK = "rollback"


@dataclass(frozen=True, slots=True)
class Running:
    """What a running release is told, and why."""

    course: Course
    says: str


def running(heard: Heard) -> Running:
    """Tell a running release to go on, to stay where it is, or to go back.

    It goes back for evidence of harm only: a page is firing on fresh telemetry of the service. That the policy would
    not let it begin now is a reason to stay where it is. Without a decision, without telemetry, and for a release that
    is itself the remedy (a fix or a rollback), nothing is rolled back.
    """
    if not isinstance(heard, Decision):
        return Running(Course.WAIT, heard.says)
    harmed = next(
        (
            (slo.slo, condition)
            for slo in heard.slos
            if not slo.stale
            for condition, severity in slo.firing
            if severity == "page"
        ),
        None,
    )
    if harmed is not None and heard.request.kind not in _FIXES:
        return Running(Course.ROLLBACK, f"{harmed[0]} burns at page level ({harmed[1]}); {heard.summary}")
    return Running(Course.GO if heard.verdict is Verdict.GO else Course.WAIT, heard.summary)
