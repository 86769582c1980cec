"""Drone's validator: whether a build may begin, told by a status; and the signature by which we know Drone.

Source:
    drone/drone-go, plugin/validator/handler.go: 204 go, 498 skip, 499 block, 400 error; plugin/internal/client:
    signed with HMAC-SHA256 over accept, accept-encoding, content-type, date and digest
    (draft-cavage-http-signatures). Woodpecker's extensions are signed otherwise, and take other answers.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

from tightrope.policy.decision import Decision, Verdict
from tightrope.policy.dialects.hearing import Answer, Asking, Heard, asking, at, cut, line, texts, word

OLDEST_S = 300
"""A request that is dated otherwise is a replay."""

DEPLOYING = frozenset({"promote", "rollback"})
"""Events of builds that deploy; others are not gated."""

_PARAMETER = re.compile(r'\s*([A-Za-z]+)\s*=\s*"([^"]*)"\s*(?:,|$)')


def signed(headers: Mapping[str, str], body: bytes, secret: str, now: int) -> bool:
    """Whether a request is signed by who knows the secret, for this body, just now.

    Args:
        headers: Names in lower case.
        body: As it came.
        secret: Shared with Drone.
        now: UTC epoch seconds.
    """
    text = headers.get("signature", "") or headers.get("authorization", "").removeprefix("Signature ")
    told = dict(_PARAMETER.findall(text))
    names = told.get("headers", "date").lower().split()
    if not secret or told.get("algorithm") != "hmac-sha256" or not {"date", "digest"} <= set(names):
        return False
    if any(name not in headers for name in names):
        return False
    digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
    if not hmac.compare_digest(headers["digest"].encode(), f"SHA-256={digest}".encode()):
        return False
    try:
        dated = int(parsedate_to_datetime(headers["date"]).timestamp())
        shown = base64.b64decode(told.get("signature", ""), validate=True)
    except (ValueError, TypeError, OverflowError, binascii.Error):
        return False
    wanted = "\n".join(f"{name}: {headers[name]}" for name in names)
    made = hmac.new(secret.encode(), wanted.encode("latin-1", "replace"), hashlib.sha256).digest()
    return hmac.compare_digest(made, shown) and abs(now - dated) <= OLDEST_S


def read(payload: Any) -> tuple[str, str, Asking] | None:
    """Read a request: repository, environment as Drone calls it, and the question; None where nothing is deployed."""
    event = cut(at(payload, "build", "event"), 50)
    if event not in DEPLOYING:
        return None
    repository = cut(at(payload, "repo", "slug"), 300)
    environment = cut(at(payload, "build", "deploy_to"), 200) or "production"
    title = cut(at(payload, "build", "title"), 500)
    given = {"message": texts(at(payload, "build", "message")), **({"kind": "rollback"} if event == "rollback" else {})}
    question = asking(
        given,
        environment=environment,
        change=cut(at(payload, "build", "after"), 64),
        title=title,
        asked_by=f"drone {cut(at(payload, 'build', 'trigger'), 100)}",
    )
    return repository, environment, question


def answer(heard: Heard | None) -> Answer:
    """Say go, or block the build until a person lets it on: there is no wait.

    A repository that nobody knows, and a build that deploys nothing, is not gated; our own failure blocks, too: a
    blocked build is held and not lost. Drone tells the statuses apart only where they have no body, so the reason goes
    into a header.
    """
    if heard is None or word(heard) is Verdict.GO:
        return Answer(204)
    if not isinstance(heard, Decision) and heard.trouble.value == "unknown":
        return Answer(204)
    if not isinstance(heard, Decision) and heard.trouble.value in {"stranger", "unreadable"}:
        return Answer(400, {"code": 400, "message": cut(heard.says, 300)})
    return Answer(499, headers={"X-Tightrope-Reason": line(heard, 300).encode("ascii", "replace").decode()})
