"""Flux's notification controller, provider ``generic-hmac``.

Source:
    fluxcd/notification-controller, ``docs/spec/v1beta3/providers.md``: X-Signature is ``sha256=`` and the hex HMAC of
    the body, which is the event of fluxcd/pkg ``apis/event/v1beta1``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from tightrope.base.errors import DataError
from tightrope.delivery.changes import DeploymentState
from tightrope.delivery.facts import Deployed, Told
from tightrope.delivery.receivers import Named
from tightrope.delivery.receivers.bodies import digest, document_of, moment, part, signed, text

_BEGUN = frozenset({"Progressing"})
_ENDED = frozenset({"ReconciliationSucceeded", "InstallSucceeded", "UpgradeSucceeded", "RollbackSucceeded"})
_FAILED = frozenset(
    {
        "ReconciliationFailed",
        "BuildFailed",
        "HealthCheckFailed",
        "InstallFailed",
        "UpgradeFailed",
        "RollbackFailed",
    }
)
_REVISION = re.compile(r"(?:(?P<branch>.+)[@/])?(?:sha1:)?(?P<sha>[0-9a-f]{40})")


class Flux:
    """See `Receiver`."""

    def genuine(self, headers: Mapping[str, str], body: bytes, secret: str, now: int) -> bool:
        return signed(secret, body, headers.get("x-signature", ""))

    def named(self, headers: Mapping[str, str], body: bytes) -> Named:
        document = document_of(body, headers)
        event = text(document, "reason")
        if not event or not text(document, "involvedObject", "kind"):
            raise DataError("this is no event of Flux: it has no reason and involvedObject")
        return Named(event, digest(body))

    def read(self, headers: Mapping[str, str], body: bytes, received_at: int) -> Told:
        document = document_of(body, headers)
        reason, kind = text(document, "reason"), text(document, "involvedObject", "kind")
        if kind not in {"Kustomization", "HelmRelease"}:
            return Told(reason, ignored=f"a {kind} deploys nothing")
        if reason in _ENDED:
            state = DeploymentState.SUCCEEDED
        elif reason in _FAILED:
            state = DeploymentState.FAILED
        elif reason in _BEGUN:
            state = DeploymentState.STARTED
        else:
            return Told(reason, ignored=f"{reason} says not that a deployment began or ended")
        metadata = _bare(part(document, "metadata"))
        told = metadata.get("revision", "")
        if not told:
            return Told(reason, ignored="it names no revision")
        at = moment(document, "timestamp")
        at = received_at if at is None else at
        app = f"{text(document, 'involvedObject', 'namespace')}/{text(document, 'involvedObject', 'name')}"
        match = _REVISION.fullmatch(told)
        # a Kustomization says again and again that a revision is applied; a HelmRelease tells of each change once
        again = f"{kind}/{app}@{told}" if kind == "Kustomization" else f"{kind}/{app}@{told}#{at}"
        fact = Deployed(
            external=again,
            at=at,
            state=state,
            app=app,
            environment=metadata.get("environment", "") or metadata.get("env", ""),
            version="" if match else told,
            revision=match["sha"] if match else "",
            rollback=True if reason.startswith("Rollback") else None,
            decision=metadata.get("decision", ""),
            by=text(document, "reportingController"),
        )
        return Told(reason, (fact,))


def _bare(metadata: object) -> dict[str, str]:
    """The metadata by their last names: ``kustomize.toolkit.fluxcd.io/revision`` is the revision."""
    if not isinstance(metadata, dict):
        return {}
    return {str(key).rpartition("/")[2]: value for key, value in metadata.items() if isinstance(value, str)}
