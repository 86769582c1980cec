"""Argo Rollouts' notifications, with the bodies of the templates in docs/integrations/webhooks-argocd.md.

Source:
    argo-rollouts, ``docs/features/notifications.md`` (triggers of the catalogue).
"""

from __future__ import annotations

from collections.abc import Mapping

from tightrope.base.errors import DataError
from tightrope.delivery.changes import DeploymentState
from tightrope.delivery.facts import Deployed, Told
from tightrope.delivery.receivers.argocd import ArgoCd, moment_said, said, tag_of
from tightrope.delivery.receivers.bodies import document_of, items

_TRIGGERS = {
    "on-rollout-updated": DeploymentState.STARTED,
    "on-rollout-completed": DeploymentState.SUCCEEDED,
    "on-rollout-aborted": DeploymentState.FAILED,
}


class ArgoRollouts(ArgoCd):
    """See `Receiver`. Its notifications are those of Argo CD, with other templates."""

    def read(self, headers: Mapping[str, str], body: bytes, received_at: int) -> Told:
        document = document_of(body, headers)
        event = said(document, "trigger")
        if event not in _TRIGGERS:
            return Told(event, ignored=f"{event} says not that a deployment began or ended")
        name, namespace, revision = (said(document, key) for key in ("rollout", "namespace", "revision"))
        if not name:
            raise DataError("rollout is missing")
        app = f"{namespace}/{name}" if namespace else name
        image = next((one for one in items(document, "images") if isinstance(one, str)), "")
        at = moment_said(document, "at")
        fact = Deployed(
            external=f"{app}#{said(document, 'hash')}#{revision}",
            at=received_at if at is None else at,
            state=_TRIGGERS[event],
            app=app,
            artifact=image,
            environment=said(document, "environment"),
            version=said(document, "version") or tag_of(image) or (f"revision {revision}" if revision else ""),
            title=said(document, "message"),
            decision=said(document, "decision"),
        )
        return Told(event, (fact,))
