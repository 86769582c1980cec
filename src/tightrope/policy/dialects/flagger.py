"""Flagger's hooks: what each of them is asked with, and which status means what.

Flagger takes 200 to 202 for a yes and any other status for a no: 204 is a no. With 429 and 5xx it throws the text away.
A hook of the type ``rollback`` asks the other way round: a yes rolls back.

Source:
    fluxcd/flagger, pkg/controller/webhook.go, scheduler_hooks.go and scheduler.go; docs/gitbook/usage/webhooks.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from tightrope.policy.decision import Decision, Verdict
from tightrope.policy.dialects.hearing import (
    Answer,
    Asking,
    Course,
    Heard,
    asking,
    at,
    cut,
    firm_word,
    line,
    refusal_status,
    running,
    word,
)


class Hook(StrEnum):
    """The types of hook, each with a URL of its own: what is a yes to one is a no to another."""

    CONFIRM_ROLLOUT = "confirm-rollout"
    CONFIRM_TRAFFIC_INCREASE = "confirm-traffic-increase"
    CONFIRM_PROMOTION = "confirm-promotion"
    PRE_ROLLOUT = "pre-rollout"
    ROLLOUT = "rollout"
    POST_ROLLOUT = "post-rollout"
    EVENT = "event"
    ROLLBACK = "rollback"


ASKING = frozenset(Hook) - {Hook.POST_ROLLOUT, Hook.EVENT}
"""The hooks whose answer matters; the others only tell."""

_HOLDING = frozenset({Hook.CONFIRM_ROLLOUT, Hook.CONFIRM_TRAFFIC_INCREASE, Hook.CONFIRM_PROMOTION})


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a hook.

    Attributes:
        asking: The question: the service is ``metadata.service``, else what the URL says, else the canary's name; the
            change is ``metadata.change``, else Flagger's checksum of the canary's spec.
        token: From ``metadata.token``: Flagger can send no header; empty: none.
        name: Of this release of the canary: namespace, canary and checksum; empty where one of them is missing.
        version: What is released: ``metadata.version``, else the checksum.
        ended: Whether it went through (``Succeeded``) or did not (``Failed``); None: it is under way.
    """

    asking: Asking
    token: str
    name: str = ""
    version: str = ""
    ended: bool | None = None


def read(payload: Any, service: str = "") -> Call:
    """Read what Flagger posts; whatever is missing is left open."""
    metadata = at(payload, "metadata")
    given: Mapping[str, Any] = metadata if isinstance(metadata, Mapping) else {}
    name, namespace = cut(at(payload, "name"), 253), cut(at(payload, "namespace"), 253)
    checksum = cut(at(payload, "checksum"), 200)
    canary = f"{namespace}/{name}".strip("/")
    question = asking(
        given, service=service or name, change=checksum, title=canary, asked_by=f"flagger {canary}".strip()
    )
    token = given.get("token")
    release = f"{canary} {checksum}" if name and namespace and checksum else ""
    ended = {"Succeeded": True, "Failed": False}.get(cut(at(payload, "phase"), 50))
    version = cut(given.get("version"), 200) or checksum
    return Call(question, token if isinstance(token, str) else "", release, version, ended)


def answer(hook: Hook, heard: Heard) -> Answer:
    """Answer a hook.

    * ``confirm-…`` waits for as long as the answer is not go, and so for whatever keeps us from answering.
    * ``pre-rollout`` and ``rollout`` count a no as a failed check, and roll back after some of them. They can't wait:
      only a stop by the policy, or harm done by what is running, is a no; a wait, lost telemetry and our own trouble
      let the release go on.
    * ``rollback`` hears a yes only where a running release does harm, and a no for everything else.
    * ``post-rollout`` and ``event`` only tell.
    """
    if hook not in ASKING:
        return Answer(202, text="noted\n")
    if hook is Hook.ROLLBACK:
        told = running(heard)
        if told.course is Course.ROLLBACK and isinstance(heard, Decision):
            return Answer(200, text=cut(f"rollback: {told.says}", 300) + "\n")
        return Answer(refusal_status(heard), text=line(heard, 300, "no rollback") + "\n")
    if word(heard) is Verdict.GO and not (hook is Hook.ROLLOUT and running(heard).course is Course.ROLLBACK):
        return Answer(200, text=line(heard, 300) + "\n")
    if hook in _HOLDING:
        return Answer(refusal_status(heard), text=line(heard, 300) + "\n")
    if firm_word(heard) is Verdict.WAIT and not (hook is Hook.ROLLOUT and running(heard).course is Course.ROLLBACK):
        return Answer(202, text=line(heard, 300, "wait, which this hook cannot") + "\n")
    return Answer(403, text=line(heard, 300, "stop") + "\n")
