"""What happened, told: each event of the journal as a line that a person reads, with a sign and a way on."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from tightrope.delivery.changes import called
from tightrope.loop.record import Entry
from tightrope.web.blocks import TONES_OF_VERDICTS

DECISION_MADE = "dev.tightrope.decision.made.v1"
"""The type of the event that holds a decision."""

_VERB = re.compile(r"\.v\d+$")


@dataclass(frozen=True, slots=True)
class Told:
    """One event as a line.

    Attributes:
        sequence, at: Its row of the journal, and when it happened, UTC epoch seconds.
        sign: Name of the icon.
        head: What happened, the first words of the line; *subject* follows it, *detail* stands below.
        href: Where to read on; may be empty.
        kind: The type of the event, as it is recorded.
        actor: Who did it; may be empty.
    """

    sequence: int
    at: int
    sign: str
    head: str
    subject: str
    detail: str
    href: str
    kind: str
    actor: str = ""


def told(entry: Entry) -> Told:
    """Tell one event."""
    event = entry.event
    kind = _VERB.sub("", event.type.removeprefix("dev.tightrope.").removeprefix("dev.cdevents."))
    sign, head, detail, href = _words(kind, event.subject, event.data)
    actor = _text(event.data, "actor", "by", "askedBy")
    return Told(entry.sequence, event.time, sign, head, event.subject, detail, href, event.type, actor)


def _words(kind: str, subject: str, data: Mapping[str, Any]) -> tuple[str, str, str, str]:
    service = f"/services/{quote(_text(data, 'service') or subject, safe='')}"
    match kind.split("."):
        case ["decision", *_]:
            return _decision(data)
        case ["alert", verb, *_]:
            return _alert(verb, data, service)
        case ["flow", *_]:
            flow, reason = _text(data, "flow"), _text(data, "reason")
            return (
                "stability" if flow == "stability" else _state_sign(_text(data, "to")),
                f"{_text(data, 'to').capitalize() or 'Another state'} now holds for",
                _moved(data, reason),
                service,
            )
        case ["state", *_]:
            slo = _text(data, "slo")
            return (
                _state_sign(_text(data, "to")),
                f"{slo or 'The policy'} moved to {_text(data, 'to')} in",
                _moved(data),
                f"{service}?slo={quote(slo)}",
            )
        case ["slice", "correction", *_] | ["slice_correction", *_]:
            return "none", "Late data corrected", _listed(data), service
        case ["specs", verb, *_]:
            name, what = _text(data, "name"), _text(data, "kind")
            href = f"/specs/{quote(what, safe='')}/{quote(name, safe='')}" if verb == "applied" else "/specs"
            version = f"version {data['version']}" if isinstance(data.get("version"), int) else ""
            return "specs", f"Specs {verb}:", version, href if name and what else "/specs"
        case ["service", "deployed" | "upgraded" | "rolledback", *_]:
            return _deployment("succeeded", data.get("customData", {}), service)
        case ["deployment", "started" | "failed" | "updated" as verb]:
            return _deployment(verb, data, service)
        case ["environment", "created", *_]:
            return "none", f"First deployment to {_part(data, 'subject', 'id')}:", "", service
        case ["commits", *_]:
            count, commits = data.get("count"), data.get("commits")
            first = commits[0] if isinstance(commits, list) and commits else {}
            return "none", f"{count} commit{'s' if count != 1 else ''} known of", _text(first, "title"), ""
        case ["change", "merged", *_]:
            custom = data.get("customData", {})
            return "none", f"Merged {_text(custom, 'pullRequest')} into", _text(custom, "title"), ""
        case ["build", "finished", *_]:
            custom = data.get("customData", {})
            good = _text(custom, "outcome") == "succeeded"
            said = " · ".join(part for part in (_text(custom, "name"), _text(custom, "revision")[:12]) if part)
            return "good" if good else "warn", f"Build {_text(custom, 'outcome')} of", said, ""
        case ["artifact", "published", *_]:
            return "none", "Artifact published of", _part(data, "subject", "id"), ""
        case ["finding", verb]:
            sign = "warn" if verb == "opened" else "good"
            said = _text(data, "says") if verb == "opened" else _text(data, "reason")
            return sign, "Went past the gate:" if verb == "opened" else "Finding closed of", said, "/delivery"
        case ["silence", verb, *_]:
            return "none", f"Silence {verb}:", _text(data, "why", "reason", "comment"), "/alerts#silences"
        case ["access", "token", verb]:
            return "person", f"Token {verb}:", _text(data, "role"), "/settings#access"
        case ["access", "session", verb]:
            return "person", "Logged in:" if verb == "begun" else "Logged out:", "", ""
        case ["access", "login", _]:
            return "warn", "Log-in refused for", "too many attempts failed", ""
        case ["access", "team", _]:
            return "person", "Members changed of", ", ".join(map(str, data.get("members", ()))), "/settings#access"
        case _:
            return "none", f"{' '.join(kind.replace('_', ' ').split('.')).capitalize()}:", _listed(data), ""


def _state_sign(state: str) -> str:
    """The sign of a state by its name; of one with a name of its own, that of a rung between the two ends."""
    return state if state in {"feature", "stability"} else "guarded"


def _moved(data: Mapping[str, Any], reason: str = "") -> str:
    before, after = _text(data, "from"), _text(data, "to")
    moved = f"{before} to {after}" if before and after else after
    return " · ".join(part for part in (moved, reason or _text(data, "reason")) if part)


def verdict_of(data: Mapping[str, Any]) -> str:
    """The word for the verdict of a recorded decision."""
    decision = data.get("decision", data)
    return "Exempt" if decision.get("exempt") else str(decision.get("verdict", "")).title()


def _decision(data: Mapping[str, Any]) -> tuple[str, str, str, str]:
    decision, request = data.get("decision", data), data.get("request", data)
    word = verdict_of(data)
    sign = word.lower() if word in TONES_OF_VERDICTS else "none"
    change = " ".join(part for part in (_text(request, "change"), _text(request, "kind")) if part)
    said = _text(decision, "summary")
    name = _text(decision, "id")
    head = {
        "Go": "Gate let go",
        "Stop": "Gate stopped",
        "Wait": "Gate waits for",
        "Exempt": "Gate made an exception for",
    }
    return sign, f"{head.get(word, 'Gate decided on')} {change} in", said, f"/decisions/{quote(name, safe='')}"


def _deployment(verb: str, one: Mapping[str, Any], service: str) -> tuple[str, str, str, str]:
    """A deployment that began, ended, or of which more is known than before."""
    what = called(_text(one, "version"), _text(one, "revision"), _text(one, "artifact"))
    place, back = _text(one, "environment"), one.get("rollback") is True
    heads = {
        "started": f"{'Going back to' if back else 'Deploying'} {what} in {place} of",
        "succeeded": f"{'Rolled back to' if back else 'Deployed'} {what} in {place} of",
        "failed": f"{'Rollback to' if back else 'Deployment of'} {what} failed in {place} of",
        "updated": f"More is known of {what} in {place} of",
    }
    count, authors = one.get("commitCount"), one.get("authors")
    told = [_text(one, "because") if back else _text(one, "kind")]
    if isinstance(count, int) and count:
        told.append(f"{count} commit{'s' if count != 1 else ''}")
    if isinstance(authors, list) and authors:
        told.append(f"by {', '.join(map(str, authors[:3]))}")
    sign = "bad" if verb == "failed" else "warn" if back else "good" if verb == "succeeded" else "none"
    return sign, heads[verb], " · ".join(part for part in told if part), service


_CALMER = {"eased": "warn", "resolved": "good", "frozen": "none", "thawed": "none"}


def _alert(verb: str, data: Mapping[str, Any], service: str) -> tuple[str, str, str, str]:
    severity = _text(data, "severity") or "alert"
    sign = _CALMER.get(verb) or ("bad" if severity == "page" else "warn")
    name = _text(data, "alert")
    href = f"/alerts/{quote(name, safe='')}" if name else service
    return sign, f"{severity.capitalize()} {verb} for", _text(data, "summary") or _text(data, "slo"), href


def _part(data: Mapping[str, Any], *path: str) -> str:
    """The text at a path; empty where there is none."""
    found: Any = data
    for name in path:
        found = found.get(name) if isinstance(found, Mapping) else None
    return found if isinstance(found, str) else ""


def _text(data: Mapping[str, Any], *names: str) -> str:
    """The first of some fields that holds text."""
    return next((str(data[name]) for name in names if isinstance(data.get(name), str) and data[name]), "")


def _listed(data: Mapping[str, Any]) -> str:
    """What an event holds, where nothing better is known: its short plain values."""
    shown = [
        f"{name} {value}" for name, value in data.items() if isinstance(value, (str, int)) and len(str(value)) < 60
    ]
    return ", ".join(shown[:5])
