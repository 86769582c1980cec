"""Who tells us of changes: for each type of integration how a delivery is proved, named and read.

Nothing here reaches out or remembers: a delivery is bytes and headers, and what is made of it are plain values.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from tightrope.base.errors import UsageError
from tightrope.delivery.facts import Told
from tightrope.specs.model import IntegrationType


class Named(NamedTuple):
    """What the sender calls what happened, and by what a delivery that comes again is known."""

    event: str
    key: str


class Receiver(Protocol):
    """One type of sender. Names of headers are lower-case."""

    def genuine(self, headers: Mapping[str, str], body: bytes, secret: str, now: int) -> bool:
        """Whether whoever sent it knows the secret; takes as long whether or not."""

    def named(self, headers: Mapping[str, str], body: bytes) -> Named:
        """Name a delivery; raises `DataError` where it is none."""

    def read(self, headers: Mapping[str, str], body: bytes, received_at: int) -> Told:
        """Read what it tells; *received_at* is for what has no time of its own. Raises `DataError`."""


def receiver_of(kind: IntegrationType) -> Receiver:
    """The reader for a type; raises `UsageError` where that type sends us nothing."""
    from tightrope.delivery.receivers import argo_rollouts, argocd, cdevents, flux, gitea, github, gitlab

    known: dict[IntegrationType, Receiver] = {
        IntegrationType.GITHUB: github.GitHub(),
        IntegrationType.GITLAB: gitlab.GitLab(),
        IntegrationType.GITEA: gitea.Gitea(),
        IntegrationType.CDEVENTS: cdevents.CdEvents(),
        IntegrationType.ARGOCD: argocd.ArgoCd(),
        IntegrationType.FLUX: flux.Flux(),
        IntegrationType.ARGO_ROLLOUTS: argo_rollouts.ArgoRollouts(),
    }
    if kind not in known:
        raise UsageError(f"{kind} asks the gate, and sends no deliveries", remedy="see docs/integrations.md")
    return known[kind]


KEPT_HEADERS = (
    "content-type",
    "user-agent",
    "x-github-event",
    "x-github-delivery",
    "x-github-hook-id",
    "x-gitlab-event",
    "x-gitlab-event-uuid",
    "x-gitlab-instance",
    "idempotency-key",
    "webhook-id",
    "webhook-timestamp",
    "x-gitea-event",
    "x-gitea-event-type",
    "x-gitea-delivery",
    "x-forgejo-event",
    "x-forgejo-delivery",
    "x-gogs-event",
    "x-gogs-delivery",
    "ce-specversion",
    "ce-id",
    "ce-source",
    "ce-type",
    "ce-time",
    "ce-subject",
)
"""What is kept of the headers of a delivery: nothing that proves it, such as a token."""
