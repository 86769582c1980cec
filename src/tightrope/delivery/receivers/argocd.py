"""Argo CD's notifications, with the bodies of the templates in docs/integrations/webhooks-argocd.md.

Source:
    argo-cd, ``docs/operator-manual/notifications`` (webhook service, triggers of the catalogue).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tightrope.base.errors import DataError
from tightrope.delivery.changes import DeploymentState
from tightrope.delivery.facts import Deployed, Told
from tightrope.delivery.mapping import repository_name
from tightrope.delivery.receivers import Named
from tightrope.delivery.receivers.bodies import bears, digest, document_of, items, moment, text

NO_VALUE = "<no value>"
"""What a template writes where there is nothing."""

_TRIGGERS = {
    "on-sync-running": DeploymentState.STARTED,
    "on-deployed": DeploymentState.SUCCEEDED,
    "on-sync-failed": DeploymentState.FAILED,
}


class ArgoCd:
    """See `Receiver`."""

    def genuine(self, headers: Mapping[str, str], body: bytes, secret: str, now: int) -> bool:
        return bears(secret, headers)

    def named(self, headers: Mapping[str, str], body: bytes) -> Named:
        event = said(document_of(body, headers), "trigger")
        if not event:
            raise DataError("there is no trigger", remedy="use the templates of docs/integrations/webhooks-argocd.md")
        return Named(event, digest(body))

    def read(self, headers: Mapping[str, str], body: bytes, received_at: int) -> Told:
        document = document_of(body, headers)
        event = said(document, "trigger")
        if event not in _TRIGGERS:
            return Told(event, ignored=f"{event} says not that a deployment began or ended")
        name, namespace = said(document, "app"), said(document, "namespace")
        if not name:
            raise DataError("app is missing")
        app = f"{namespace}/{name}" if namespace else name
        state = _TRIGGERS[event]
        begin, end = moment_said(document, "startedAt"), moment_said(document, "finishedAt")
        at = begin if state is DeploymentState.STARTED else end
        revision = said(document, "revision")
        image = next((one for one in items(document, "images") if isinstance(one, str)), "")
        fact = Deployed(
            external=f"{app}@{revision}#{'' if begin is None else begin}",
            at=received_at if at is None else at,
            state=state,
            app=app,
            repository=repository_name(said(document, "repository")),
            artifact=image,
            environment=said(document, "environment"),
            version=said(document, "version") or tag_of(image),
            revision=revision,
            by=said(document, "by"),
            url=said(document, "url"),
            decision=said(document, "decision"),
            started_at=begin if begin is not None and at is not None and begin <= at else None,
        )
        return Told(event, (fact,))


def said(document: Any, name: str) -> str:
    """A text of a template; empty where it had nothing to write."""
    found = text(document, name).strip()
    return "" if found in {NO_VALUE, "<nil>"} else found


def moment_said(document: Any, name: str) -> int | None:
    """An instant of a template; None where it had nothing to write."""
    return moment({name: said(document, name)}, name)


def tag_of(image: str) -> str:
    """The tag of an image; none where it has only a digest."""
    return image.partition("@")[0].rpartition("/")[2].partition(":")[2]
