"""CDEvents: what happens in delivery, in the words that tools share; written, and read with what the standard asks for.

Source:
    cdevents/spec 0.5.0 (types of 0.4 to the draft of 0.6 are read): its schemas, as far as they say what must be there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from tightrope.base.errors import DataError, UsageError
from tightrope.base.units import parse_time, time_text

SPECVERSION = "0.5.0"

VERSIONS: Mapping[str, str] = {
    "approval.closed": "0.1.0",
    "approval.created": "0.1.0",
    "approval.updated": "0.1.0",
    "artifact.published": "0.3.0",
    "build.finished": "0.3.0",
    "build.queued": "0.3.0",
    "build.started": "0.3.0",
    "change.merged": "0.3.0",
    "environment.created": "0.3.0",
    "environment.deleted": "0.3.0",
    "incident.detected": "0.3.0",
    "incident.reported": "0.3.0",
    "incident.resolved": "0.3.0",
    "pipelinerun.finished": "0.3.0",
    "pipelinerun.queued": "0.3.0",
    "pipelinerun.started": "0.3.0",
    "service.deployed": "0.3.0",
    "service.removed": "0.3.0",
    "service.rolledback": "0.3.0",
    "service.upgraded": "0.3.0",
    "taskrun.finished": "0.3.0",
    "taskrun.started": "0.3.0",
    "testcaserun.finished": "0.3.0",
    "testcaserun.started": "0.3.0",
}
"""The events that we write, each with the version of its type."""

_TYPE = re.compile(
    r"dev\.(?:cdevents\.(?P<subject>[a-z]+)|cdeventsx\.(?P<tool>[a-z0-9]+)-(?P<custom>[a-z]+))"
    r"\.(?P<predicate>[a-z]+)\.(?P<version>\d+\.\d+\.\d+(?:-draft)?)"
)
_REFERENCE, _TEXT, _ANY = "reference", "text", "any"
_REQUIRED: Mapping[str, Mapping[str, str]] = {
    "repository.created": {"name": _TEXT},
    "pipelinerun.finished": {"outcome": _TEXT},
    "taskrun.finished": {"outcome": _TEXT},
    "testcaserun.queued": {"environment": _REFERENCE},
    "testcaserun.started": {"environment": _REFERENCE},
    "testcaserun.finished": {"outcome": _TEXT, "environment": _REFERENCE},
    "testsuiterun.queued": {"environment": _REFERENCE},
    "testsuiterun.started": {"environment": _REFERENCE},
    "testsuiterun.finished": {"outcome": _TEXT, "environment": _REFERENCE},
    "testoutput.published": {"outputType": _TEXT, "format": _TEXT},
    "artifact.packaged": {"change": _REFERENCE},
    "artifact.signed": {"signature": _TEXT},
    "service.deployed": {"environment": _REFERENCE, "artifactId": _TEXT},
    "service.upgraded": {"environment": _REFERENCE, "artifactId": _TEXT},
    "service.rolledback": {"environment": _REFERENCE, "artifactId": _TEXT},
    "incident.detected": {"environment": _REFERENCE},
    "incident.reported": {"environment": _REFERENCE, "ticketURI": _TEXT},
    "incident.resolved": {"environment": _REFERENCE},
    "ticket.created": {"summary": _TEXT, "creator": _TEXT, "uri": _TEXT},
    "ticket.updated": {"uri": _TEXT},
    "ticket.closed": {"uri": _TEXT, "resolution": _TEXT},
    "approval.created": {"approvalDetailsUrl": _TEXT, "resourceTargetUrl": _TEXT, "requestor": _ANY},
    "approval.updated": {
        "approvalDetailsUrl": _TEXT,
        "resourceTargetUrl": _TEXT,
        "requestor": _ANY,
        "responder": _ANY,
        "decision": _TEXT,
    },
    "approval.closed": {
        "approvalDetailsUrl": _TEXT,
        "resourceTargetUrl": _TEXT,
        "requestor": _ANY,
        "responder": _ANY,
        "decision": _TEXT,
        "status": _TEXT,
    },
}
"""What the content of each kind of event must hold; of those that are not here, nothing."""

_SUBJECTS = frozenset(
    {
        "approval",
        "artifact",
        "branch",
        "build",
        "change",
        "environment",
        "incident",
        "pipelinerun",
        "repository",
        "service",
        "taskrun",
        "testcaserun",
        "testoutput",
        "testsuiterun",
        "ticket",
    }
)
_LINKS: Mapping[str, tuple[str, ...]] = {
    "RELATION": ("linkKind", "target"),
    "PATH": ("from",),
    "END": (),
    "START": (),
}


@dataclass(frozen=True, slots=True)
class CdEvent:
    """An event, read.

    Attributes:
        kind: Subject and predicate, such as ``service.deployed``.
        tool: Of a custom type; empty: it is one of the standard.
        at: UTC epoch seconds.
        content: Of the subject.
        custom: What the sender adds; empty where it is no mapping.
    """

    id: str
    source: str
    kind: str
    version: str
    at: int
    subject: str
    content: Mapping[str, Any]
    tool: str = ""
    subject_source: str = ""
    chain: str = ""
    custom: Mapping[str, Any] = field(default_factory=dict)

    def text(self, *path: str) -> str:
        """A text in the content; empty where there is none."""
        part: Any = self.content
        for name in path:
            part = part.get(name) if isinstance(part, Mapping) else None
        return part if isinstance(part, str) else ""


def event_type(kind: str) -> str:
    """The full type of an event that we write, such as ``dev.cdevents.service.deployed.0.3.0``."""
    return f"dev.cdevents.{kind}.{VERSIONS[kind]}"


def event_document(
    kind: str,
    *,
    id: str,  # noqa: A002 - it is called so in the standard
    source: str,
    at: int,
    subject: str,
    content: Mapping[str, Any],
    custom: Mapping[str, Any] | None = None,
    subject_source: str = "",
    chain: str = "",
) -> dict[str, Any]:
    """Write an event as a document that `read_event` reads.

    Args:
        kind: Subject and predicate; one of `VERSIONS`.
        id, source: Together they name the event.
        at: UTC epoch seconds.
        subject, subject_source: What it happened to.
        content: What the standard has of it.
        custom: All else: plain values without floats.
        chain: By which events of one delivery belong together.
    """
    context = {
        "specversion": SPECVERSION,
        "id": id,
        "source": source,
        "type": event_type(kind),
        "timestamp": time_text(at),
    }
    if chain:
        context["chainId"] = chain
    about: dict[str, Any] = {"id": subject, "content": dict(content)}
    if subject_source:
        about["source"] = subject_source
    document: dict[str, Any] = {"context": context, "subject": about}
    if custom:
        document |= {"customData": dict(custom), "customDataContentType": "application/json"}
    return document


def artifact_purl(service: str, version: str, revision: str, artifact: str) -> str:
    """The name of an artifact as the standard wants it, a package URL; a generic one where nobody told any."""
    if artifact.startswith("pkg:"):
        return artifact
    if artifact:
        name, _, digest = artifact.partition("@")
        base, _, tag = name.rpartition(":") if ":" in name.rpartition("/")[2] else (name, "", "")
        label = digest or tag
        short = base.rpartition("/")[2]
        told = f"?repository_url={quote(base, safe='/')}" if "/" in base else ""
        label = f"@{quote(label, safe='')}" if label else ""
        return f"pkg:oci/{quote(short, safe='')}{label}{told}"
    return f"pkg:generic/{quote(service, safe='')}@{quote(version or revision, safe='')}"


def read_event(document: Any) -> CdEvent:
    """Read an event, with all that the standard asks for.

    Raises:
        DataError: It is none; the message says what is missing or wrong, and where.
    """
    whole = _mapping(document, "the event")
    context, subject = _mapping(whole.get("context"), "context"), _mapping(whole.get("subject"), "subject")
    if not context.get("specversion") and context.get("version"):
        context = {**context, "specversion": context["version"]}  # so it was called before 0.4
    for name in ("specversion", "id", "source", "type", "timestamp"):
        _text(context.get(name), f"context.{name}")
    match = _TYPE.fullmatch(context["type"])
    if match is None:
        raise DataError(f"context.type {context['type'][:100]!r} is no type of CDEvents")
    if match["subject"] is not None and match["subject"] not in _SUBJECTS:
        raise DataError(f"CDEvents has no subject {match['subject']!r}")
    kind = f"{match['subject'] or match['custom']}.{match['predicate']}"
    _text(subject.get("id"), "subject.id")
    content = _mapping(subject.get("content"), "subject.content")
    if match["subject"] is not None:
        for name, how in _REQUIRED.get(kind, {}).items():
            _required(content.get(name), how, f"subject.content.{name}")
    for number, link in enumerate(_list(context.get("links"), "context.links")):
        _checked_link(link, f"context.links[{number}]")
    custom = whole.get("customData")
    if custom is not None and not isinstance(custom, (dict, str)):
        raise DataError("customData is neither a mapping nor a text")
    source = subject.get("source")
    chain = context.get("chainId")
    return CdEvent(
        context["id"],
        context["source"],
        kind,
        match["version"],
        instant(context["timestamp"], "context.timestamp"),
        subject["id"],
        content,
        match["tool"] or "",
        source if isinstance(source, str) else "",
        chain if isinstance(chain, str) else "",
        custom if isinstance(custom, dict) else {},
    )


def instant(text: str, path: str) -> int:
    """Read a timestamp of RFC 3339 as UTC epoch seconds; raises `DataError`."""
    try:
        return parse_time(text)
    except UsageError as error:
        raise DataError(f"{path}: {error.message}") from None


def _checked_link(link: Any, path: str) -> None:
    one = {_camel(name): value for name, value in _mapping(link, path).items()}
    word = one.get("linkType")
    if not isinstance(word, str) or word not in _LINKS:
        raise DataError(f"{path}.linkType {str(word)[:40]!r} is no type of link")
    for name in _LINKS[word]:
        if name == "linkKind":
            _text(one.get(name), f"{path}.{name}")
            continue
        target = {_camel(key): value for key, value in _mapping(one.get(name), f"{path}.{name}").items()}
        if not any(isinstance(target.get(key), str) and target[key] for key in ("contextId", "domainId")):
            raise DataError(f"{path}.{name} leads to nothing: it has no contextId")


def _camel(name: str) -> str:
    first, *rest = str(name).split("_")
    return first + "".join(part.capitalize() for part in rest)


def _required(value: Any, how: str, path: str) -> None:
    if how == _TEXT:
        _text(value, path)
    elif how == _REFERENCE:
        _text(_mapping(value, path).get("id"), f"{path}.id")
    elif value in (None, "", {}):
        raise DataError(f"{path} is missing")


def _mapping(value: Any, path: str) -> dict[str, Any]:
    if value is None:
        raise DataError(f"{path} is missing")
    if not isinstance(value, dict):
        raise DataError(f"{path} is no mapping")
    return value


def _list(value: Any, path: str) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise DataError(f"{path} is no list")
    return value


def _text(value: Any, path: str) -> None:
    if value is None or value == "":
        raise DataError(f"{path} is missing")
    if not isinstance(value, str):
        raise DataError(f"{path} is no text")
