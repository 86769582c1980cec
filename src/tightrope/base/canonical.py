"""JSON with one spelling only, to be digested."""

from __future__ import annotations

import hashlib
import json
from typing import Any


def canonical(plain: Any) -> str:
    """Write plain values as JSON that depends on nothing else: keys sorted, no spaces, no escape that is not needed.

    Without floats this is RFC 8785 as long as keys hold no characters beyond U+FFFF, which that RFC sorts otherwise.
    """
    return json.dumps(plain, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def digest(plain: Any) -> str:
    """SHA-256 of plain values in that spelling, as 64 hexadecimal digits."""
    return hashlib.sha256(canonical(plain).encode()).hexdigest()
