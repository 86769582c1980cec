"""CDEvents over CloudEvents: one in headers and body, one in an envelope, many in a list, or as it is.

Source:
    CloudEvents 1.0.2, HTTP protocol binding; cdevents/spec, ``cloudevents-binding.md``.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote_to_bytes

from tightrope.base.errors import DataError
from tightrope.delivery.cdevents import CdEvent, read_event
from tightrope.delivery.changes import DeploymentState, is_sha
from tightrope.delivery.facts import BuildState, Built, Deployed, Fact, Merged, Published, Told
from tightrope.delivery.mapping import repository_name
from tightrope.delivery.receivers import Named
from tightrope.delivery.receivers.bodies import bears, digest, json_of, signed, standard_webhook, text

STRUCTURED, BATCH = "application/cloudevents+json", "application/cloudevents-batch+json"
MOST_IN_A_BATCH = 1000

_BUILDS = {"queued": BuildState.QUEUED, "started": BuildState.RUNNING}
_OUTCOMES = {
    "success": BuildState.SUCCEEDED,
    "pass": BuildState.SUCCEEDED,
    "": BuildState.SUCCEEDED,
    "cancel": BuildState.CANCELLED,
    "canceled": BuildState.CANCELLED,
    "cancelled": BuildState.CANCELLED,
}


class CdEvents:
    """See `Receiver`."""

    def genuine(self, headers: Mapping[str, str], body: bytes, secret: str, now: int) -> bool:
        proofs = (
            bears(secret, headers),
            signed(secret, body, headers.get("x-hub-signature-256", "")),
            standard_webhook(secret, headers, body, now),
        )
        return any(proofs)

    def named(self, headers: Mapping[str, str], body: bytes) -> Named:
        events = events_of(headers, body)
        names = sorted(digest(one.source, one.id) for one in events)
        if len(events) == 1:
            return Named(events[0].kind, names[0])
        return Named("batch", f"batch-{digest(*names)}")

    def read(self, headers: Mapping[str, str], body: bytes, received_at: int) -> Told:
        events = events_of(headers, body)
        facts = [fact for one in events for fact in _facts(one)]
        kinds = ", ".join(sorted({one.kind for one in events}))
        event = events[0].kind if len(events) == 1 else "batch"
        return Told(event, tuple(facts), ignored="" if facts else f"{kinds or 'nothing'} is no matter of ours")


def events_of(headers: Mapping[str, str], body: bytes) -> list[CdEvent]:
    """Read the events of a request, in whichever mode they come.

    Raises:
        DataError: One of them is none, or its envelope tells otherwise than it does.
    """
    document = json_of(body, headers)
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == BATCH:
        if not isinstance(document, list):
            raise DataError("a batch is a list of events")
        if len(document) > MOST_IN_A_BATCH:
            raise DataError(f"a batch of {len(document)} events is too large", remedy=f"send {MOST_IN_A_BATCH} at most")
        return [_unwrapped(one) for one in document]
    if kind == STRUCTURED:
        return [_unwrapped(document)]
    if "ce-specversion" in headers or "ce-id" in headers:
        names = ("specversion", "id", "source", "type", "time", "subject")
        return [_agreeing({name: decoded(headers.get(f"ce-{name}", "")) for name in names}, read_event(document))]
    return [read_event(document)]


def decoded(value: str) -> str:
    """Read the value of a header of CloudEvents: percent-encoded UTF-8, perhaps in quotes; raises `DataError`."""
    stripped = value.strip()
    if len(stripped) >= 2 and stripped[0] == stripped[-1] == '"':
        stripped = stripped[1:-1].replace('\\"', '"').replace("\\\\", "\\")
    try:
        return unquote_to_bytes(stripped).decode()
    except UnicodeDecodeError:
        raise DataError("a header of the event is no valid UTF-8", remedy="write it percent-encoded") from None


def _unwrapped(document: Any) -> CdEvent:
    if not isinstance(document, dict):
        raise DataError("an event is an object")
    data = document.get("data")
    if data is None and isinstance(document.get("data_base64"), str):
        try:
            data = json.loads(base64.b64decode(document["data_base64"], validate=True))
        except (binascii.Error, ValueError, RecursionError):
            raise DataError("data_base64 holds no JSON") from None
    return _agreeing(
        {name: text(document, name) for name in ("specversion", "id", "source", "type", "time", "subject")},
        read_event(data),
    )


def _agreeing(envelope: Mapping[str, str], event: CdEvent) -> CdEvent:
    """The event, if its envelope tells the same of it."""
    if envelope["specversion"] != "1.0":
        raise DataError(f"CloudEvents {envelope['specversion'][:20]!r} is not known", remedy="send specversion 1.0")
    for name in ("id", "source", "type"):
        if not envelope[name]:
            raise DataError(f"the envelope has no {name}")
    if (envelope["id"], envelope["source"]) != (event.id, event.source):
        raise DataError("the envelope names another event than it holds")
    if envelope["subject"] and envelope["subject"] != event.subject:
        raise DataError("the envelope names another subject than it holds")
    return event


def _facts(event: CdEvent) -> list[Fact]:
    subject, _, predicate = event.kind.partition(".")
    if event.tool:
        return []
    revision = next(
        (one for name in ("revision", "sha", "commit") if is_sha(one := text(event.custom, name).lower())), ""
    )
    repository = repository_name(text(event.custom, "repository") or event.text("repository", "id"))
    match subject, predicate:
        case "service", ("deployed" | "upgraded" | "rolledback"):
            artifact = event.text("artifactId")
            return [
                Deployed(
                    external=text(event.custom, "externalId") or f"{event.source} {event.id}",
                    at=event.at,
                    state=DeploymentState.SUCCEEDED,
                    service=event.subject,
                    repository=repository,
                    artifact=artifact,
                    environment=event.text("environment", "id"),
                    version=text(event.custom, "version") or _version(artifact),
                    revision=revision,
                    rollback=True if predicate == "rolledback" else None,
                    decision=text(event.custom, "decision"),
                    by=text(event.custom, "by"),
                    url=text(event.custom, "url"),
                )
            ]
        case "change", "merged":
            if not repository:
                return []
            labels = event.custom.get("labels")
            return [
                Merged(
                    repository,
                    event.subject,
                    text(event.custom, "title") or event.text("description"),
                    revision,
                    event.at,
                    text(event.custom, "author"),
                    tuple(sorted(one for one in labels if isinstance(one, str))) if isinstance(labels, list) else (),
                    text(event.custom, "url"),
                )
            ]
        case (("build" | "pipelinerun" | "taskrun"), ("queued" | "started" | "finished")):
            outcome = (event.text("outcome") or text(event.custom, "outcome")).lower()
            found: list[Fact] = [
                Built(
                    external=f"{event.source}/{subject}/{event.subject}",
                    repository=repository,
                    revision=revision,
                    name=event.text("pipelineName") or event.text("taskName") or event.subject,
                    state=_BUILDS.get(predicate) or _OUTCOMES.get(outcome, BuildState.FAILED),
                    at=event.at,
                    url=event.text("uri") or event.text("url"),
                )
            ]
            if event.kind == "build.finished" and event.text("artifactId"):
                found.append(Published(event.text("artifactId"), event.at, repository, revision))
            return found
        case "artifact", ("packaged" | "published"):
            change = event.text("change", "id").lower()
            return [Published(event.subject, event.at, repository, revision or (change if is_sha(change) else ""))]
    return []


def _version(purl: str) -> str:
    """The version in a package URL; none where it is a digest."""
    path = purl.partition("?")[0]
    found = unquote_to_bytes(path.rpartition("@")[2]).decode("utf-8", "replace") if "@" in path else ""
    return "" if found.startswith("sha256:") or is_sha(found) else found
