"""The digest of what a decision rests on: the same inputs give the same one, wherever they were read."""

from __future__ import annotations

import hashlib
from typing import Any

from tightrope.base.canonical import canonical
from tightrope.policy.decision import GateFacts, GateRequest
from tightrope.policy.notation import plain


def inputs_digest(request: GateRequest, facts: GateFacts) -> str:
    """Digest a request and its facts: hex sha256 over canonical JSON, whatever the order of SLOs and exceptions.

    Places in files do not count: the same policy read from elsewhere gives the same decision. Nor do fields at their
    default, so that decisions recorded before a field was added keep their id.
    """
    unordered = {
        name: sorted((plain(one, essence=True) for one in getattr(facts, name)), key=canonical)
        for name in ("slos", "bullets", "open_incidents")
    }
    document = canonical({"request": plain(request, essence=True), "facts": plain(facts, essence=True) | unordered})
    return hashlib.sha256(document.encode()).hexdigest()


def canonical_json(value: Any) -> str:
    """Write a value (dataclasses, enums, fractions, sets and what is in them) as JSON that depends on nothing else."""
    return canonical(plain(value, essence=True))
