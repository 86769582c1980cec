"""Bodies of deliveries as values, and proofs that they are genuine; nothing in them is trusted to be there."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qs

from tightrope.base.errors import DataError, UsageError
from tightrope.base.units import parse_time
from tightrope.delivery.changes import Recorded

FRESH_S = 86_400
"""So old may a signed timestamp be; what comes again within that time is known by its id."""

MOST_FILES = 3000
"""So many paths of one commit are kept."""

_SHA = re.compile(r"[0-9a-f]{7,64}")
_UNWRITABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_LONGEST = 20_000
_SPACED = re.compile(r"(\d{4}-\d{2}-\d{2})[ T](\d{2}:\d{2}:\d{2})(\.\d+)? ?(UTC|Z|[+-]\d{2}:?\d{2})?")
_DEEPEST = 60


# --- proofs --------------------------------------------------------------------------------------------------------


def signed(secret: str, body: bytes, given: str) -> bool:
    """Whether *given* is the hex HMAC-SHA256 of a body, with or without ``sha256=`` before it; in constant time."""
    made = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return bool(given) and hmac.compare_digest(made.encode(), given.strip().removeprefix("sha256=").lower().encode())


def shows(secret: str, given: str) -> bool:
    """Whether a token that is shown is the secret; in constant time."""
    return bool(given) and hmac.compare_digest(secret.encode(), given.encode("utf-8", "replace"))


def bears(secret: str, headers: Mapping[str, str]) -> bool:
    """Whether ``Authorization`` shows the secret: as a bearer token, or as the password of anybody."""
    scheme, _, given = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return shows(secret, given.strip())
    if scheme.lower() == "basic":
        try:
            pair = base64.b64decode(given.strip(), validate=True).decode()
        except (binascii.Error, ValueError):
            return False
        return shows(secret, pair.partition(":")[2])
    return False


def standard_webhook(secret: str, headers: Mapping[str, str], body: bytes, now: int) -> bool:
    """Whether one of the signatures in ``webhook-signature`` is right, and made lately.

    Source:
        Standard Webhooks 1.0: ``v1,`` and the base64 of HMAC-SHA256 over ``{id}.{timestamp}.{body}``.
    """
    name, stamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not name or not (stamp.isascii() and stamp.isdecimal()) or abs(now - int(stamp[:12])) > FRESH_S:
        return False
    key = secret.encode()
    if secret.startswith("whsec_"):
        try:
            key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
        except (binascii.Error, ValueError):
            return False
    made = base64.b64encode(hmac.new(key, f"{name}.{stamp}.".encode() + body, hashlib.sha256).digest())
    given = [one.partition(",") for one in headers.get("webhook-signature", "").split()]
    return any(
        version == "v1" and hmac.compare_digest(made, text.encode("utf-8", "replace")) for version, _, text in given
    )


def digest(*parts: bytes | str) -> str:
    """A name for something that has none."""
    made = hashlib.sha256()
    for part in parts:
        made.update(part.encode("utf-8", "replace") if isinstance(part, str) else part)
        made.update(b"\0")
    return made.hexdigest()[:32]


# --- values --------------------------------------------------------------------------------------------------------


def json_of(body: bytes, headers: Mapping[str, str]) -> Any:
    """Read a body: JSON, or a form with JSON in its field ``payload``; without characters that nobody can keep.

    Raises:
        DataError: It is neither.
    """
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    try:
        text = body.decode("utf-8-sig")
        if kind == "application/x-www-form-urlencoded":
            fields = parse_qs(text, max_num_fields=20, strict_parsing=True)
            text = fields.get("payload", [""])[0]
        return _writable(json.loads(text, parse_constant=_no_number), 0)
    except (ValueError, RecursionError) as error:
        raise DataError(f"the body is no JSON: {str(error)[:120]}", remedy="send it as it was made") from None


def document_of(body: bytes, headers: Mapping[str, str]) -> dict[str, Any]:
    """As `json_of`, a mapping."""
    found = json_of(body, headers)
    if not isinstance(found, dict):
        raise DataError("the body is JSON, but no object", remedy="send it as it was made")
    return found


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is no number")


def _writable(value: Any, depth: int) -> Any:
    if depth > _DEEPEST:
        raise DataError("the body is nested too deeply", remedy="send it as it was made")
    match value:
        case str():
            return _UNWRITABLE.sub("�", value)[:_LONGEST]
        case dict():
            return {_UNWRITABLE.sub("�", key): _writable(part, depth + 1) for key, part in value.items()}
        case list():
            return [_writable(part, depth + 1) for part in value]
    return value


def part(value: Any, *path: str) -> Any:
    """What stands at a path; None where nothing does."""
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def text(value: Any, *path: str) -> str:
    """The text, or whole number as text, that stands at a path; empty where none does."""
    found = part(value, *path)
    if isinstance(found, bool):
        return ""
    return found if isinstance(found, str) else str(found) if isinstance(found, int) else ""


def items(value: Any, *path: str) -> list[Any]:
    """The list that stands at a path; empty where none does."""
    found = part(value, *path)
    return found if isinstance(found, list) else []


def needed(value: Any, *path: str) -> str:
    """The text at a path; raises `DataError` where there is none."""
    found = text(value, *path)
    if not found:
        raise DataError(f"{'.'.join(path)} is missing")
    return found


def sha(value: Any, *path: str) -> str:
    """The name of a commit at a path; empty where there is none, or only zeros."""
    found = text(value, *path).lower()
    return found if _SHA.fullmatch(found) and found.strip("0") else ""


def moment(value: Any, *path: str) -> int | None:
    """The instant at a path, UTC epoch seconds: epoch, ISO 8601, or as GitLab writes it; None where there is none.

    Raises:
        DataError: What stands there is no instant.
    """
    found = part(value, *path)
    if found is None or found == "":
        return None
    if isinstance(found, bool) or not isinstance(found, (str, int, float)):
        raise DataError(f"{'.'.join(path)} is no instant")
    written = str(int(found) if isinstance(found, float) and found.is_integer() else found).strip()
    spaced = _SPACED.fullmatch(written)
    if spaced:
        zone = spaced[4] or "Z"
        zone = "Z" if zone == "UTC" else zone if ":" in zone or zone == "Z" else f"{zone[:3]}:{zone[3:]}"
        written = f"{spaced[1]}T{spaced[2]}{zone}"
    try:
        return parse_time(written)
    except UsageError as error:
        raise DataError(f"{'.'.join(path)}: {error.message}") from None


def line_of(commits: Sequence[Recorded], before: str, after: str) -> tuple[Recorded, ...]:
    """Commits of a push as a line, each on the one before it, the first on *before*; empty: that is not known.

    Some senders list the oldest first, some the newest; *after* tells which. A line says less than git does where
    branches were merged, but nothing wrong of the last commit: all of them are in its past.
    """
    ordered = list(commits)
    if len(ordered) > 1 and ordered[0].sha == after != ordered[-1].sha:
        ordered.reverse()
    found, last = [], before
    for one in ordered:
        found.append(
            Recorded(
                one.sha,
                one.message,
                one.author,
                one.committed_at,
                one.authored_at,
                one.url,
                (last,) if last else (),
                files=one.files,
            )
        )
        last = one.sha
    return tuple(found)
