"""The digest of what a decision rests on: the same inputs give the same one, wherever they were read."""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields, is_dataclass
from enum import Enum
from fractions import Fraction
from typing import Any

from tightrope.base.errors import Place
from tightrope.policy.decision import GateFacts, GateRequest


def inputs_digest(request: GateRequest, facts: GateFacts) -> str:
    """Digest a request and its facts: hex sha256 over canonical JSON, whatever the order of SLOs and exceptions.

    Places in files do not count: the same policy read from elsewhere gives the same decision.
    """
    unordered = {
        name: sorted((_plain(one) for one in getattr(facts, name)), key=_text)
        for name in ("slos", "bullets", "open_incidents")
    }
    document = _text({"request": _plain(request), "facts": _plain(facts) | unordered})
    return hashlib.sha256(document.encode()).hexdigest()


def canonical_json(value: Any) -> str:
    """Write a value (dataclasses, enums, fractions, sets and what is in them) as JSON that depends on nothing else."""
    return _text(_plain(value))


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        held = {one.name: getattr(value, one.name) for one in fields(value)}
        parts = {name: _plain(one) for name, one in held.items() if not isinstance(one, Place)}
        return {"is": type(value).__name__} | parts
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Fraction):
        return f"{value.numerator}/{value.denominator}"
    if isinstance(value, (set, frozenset)):
        return sorted((_plain(one) for one in value), key=_text)
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return value


def _text(plain: Any) -> str:
    return json.dumps(plain, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
