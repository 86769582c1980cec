"""Spinnaker's webhook stage: taken at once, then polled until the status is one of those the stage names.

Source:
    spinnaker/orca, orca-webhook: MonitorWebhookTask compares strings in capitals, goes on for any that is in no list,
    and ends at once where ``progressJsonPath`` finds no string.
"""

from __future__ import annotations

from typing import Any

from tightrope.policy.dialects.hearing import Answer, cut

RUNNING, SUCCEEDED, TERMINAL, CANCELED = "RUNNING", "SUCCEEDED", "TERMINAL", "CANCELED"

_STATES = {
    "waiting": RUNNING,
    "approved": SUCCEEDED,
    "refused": TERMINAL,
    "expired": TERMINAL,
    "cancelled": CANCELED,
    "superseded": CANCELED,
}


def accepted(hold: str, state: str, reason: str, place: str) -> Answer:
    """Take the question: where its status is stands in ``Location`` and in the body."""
    return Answer(
        202,
        {**_document(hold, state, reason), "statusUrl": place, "cancelUrl": f"{place}/cancel"},
        headers={"Location": place},
    )


def status(hold: str, state: str, reason: str, decision: str = "", url: str = "") -> Answer:
    """Tell how it stands: a scalar status, and a progress that is always a string."""
    return Answer(200, {**_document(hold, state, reason), "decision": decision, "url": url})


def _document(hold: str, state: str, reason: str) -> dict[str, Any]:
    return {"id": hold, "status": _STATES.get(state, RUNNING), "progress": cut(reason, 500) or "waiting"}
