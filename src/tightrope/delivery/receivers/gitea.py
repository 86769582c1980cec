"""Gitea, Forgejo and Gogs: GitHub's words, with a signature of their own.

Source:
    go-gitea/gitea, ``services/webhook/deliver.go`` and ``modules/structs/hook.go``; Forgejo and Gogs name the same
    headers after themselves.
"""

from __future__ import annotations

from collections.abc import Mapping

from tightrope.base.errors import DataError
from tightrope.delivery.facts import Told
from tightrope.delivery.receivers import Named, github
from tightrope.delivery.receivers.bodies import digest, document_of, signed

_KIN = ("forgejo", "gitea", "gogs")


class Gitea:
    """See `Receiver`."""

    def genuine(self, headers: Mapping[str, str], body: bytes, secret: str, now: int) -> bool:
        given = next((headers[name] for kin in _KIN if (name := f"x-{kin}-signature") in headers), "")
        return signed(secret, body, given or headers.get("x-hub-signature-256", ""))

    def named(self, headers: Mapping[str, str], body: bytes) -> Named:
        document_of(body, headers)
        event, delivery = _header(headers, "event"), _header(headers, "delivery")
        if not event:
            raise DataError("there is no X-Gitea-Event", remedy="let Gitea itself send it")
        return Named(event, delivery or digest(event, body))

    def read(self, headers: Mapping[str, str], body: bytes, received_at: int) -> Told:
        event = _header(headers, "event")
        if event in {"deployment", "deployment_status", "check_run"}:
            return Told(event, ignored=f"{event} is no matter of ours")
        return github.told(event, document_of(body, headers), received_at)


def _header(headers: Mapping[str, str], name: str) -> str:
    return next((headers[full] for kin in _KIN if headers.get(full := f"x-{kin}-{name}")), "")
