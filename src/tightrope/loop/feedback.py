"""Feedback: once a release has baked, its price is worked out, and those who wrote it are told where they work."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from tightrope.base.errors import TightropeError
from tightrope.base.units import DAY_S
from tightrope.budget.attribution import BAKE_S
from tightrope.delivery.changes import Deployment, DeploymentState
from tightrope.delivery.feedback import Price, calls_of, key_of
from tightrope.delivery.holds.telling import Call
from tightrope.delivery.holds.usecases import Holds
from tightrope.delivery.mapping import same_repository
from tightrope.delivery.usecases import Deliveries
from tightrope.specs.model import Integration, Specs

NEWS_S = DAY_S
"""A release that baked longer ago is no news any more."""

LOOKS_EVERY_S = 60

PricesOf = Callable[[Deployment], Sequence[Price]]
"""Tells what a release cost each objective of its service so far."""

_MOST = 200
_LOG = logging.getLogger("tightrope.feedback")


class Feedback:
    """Tells the authors of releases what these cost.

    Args:
        deliveries: What went out.
        holds: Sends calls to forges, each until it is taken.
        specs: The specs as they are now: which integration wants feedback.
        prices: Tells what a release cost.
        base_url: Where our pages are.
        now: Tells the time, UTC epoch seconds.
    """

    def __init__(
        self,
        deliveries: Deliveries,
        holds: Holds,
        *,
        specs: Callable[[], Specs],
        prices: PricesOf,
        base_url: str,
        now: Callable[[], int],
    ) -> None:
        self._deliveries = deliveries
        self._holds = holds
        self._specs = specs
        self._prices = prices
        self._base_url = base_url
        self._now = now
        self._looked_at = 0

    def turn(self) -> int:
        """Tell of what has baked since the last time, at most once a minute; returns how many calls were planned."""
        now = self._now()
        wanting = [one for one in self._specs().integrations if one.feedback]
        if not wanting or 0 <= now - self._looked_at < LOOKS_EVERY_S:
            return 0
        self._looked_at = now
        planned = 0
        for one in self._deliveries.deployments(since=now - BAKE_S - NEWS_S, limit=_MOST):
            if one.state is DeploymentState.SUCCEEDED and one.at + BAKE_S <= now and one.revision:
                try:
                    planned += self._tell(one, wanting)
                except TightropeError as error:  # what cannot be said of one release says nothing of the others
                    _LOG.warning("no feedback for %s: %s", one.id, error.message)
        return planned

    def _tell(self, deployment: Deployment, wanting: Sequence[Integration]) -> int:
        integration = next((one for one in wanting if _hears_of(one, deployment)), None)
        if integration is None or self._holds.was_said(key_of(deployment)):
            return 0
        calls: tuple[Call, ...] = calls_of(
            deployment, self._prices(deployment), integration, bake_s=BAKE_S, base_url=self._base_url
        )
        self._holds.say(calls)
        return len(calls)


def _hears_of(integration: Integration, deployment: Deployment) -> bool:
    """Whether an integration is the forge that a deployment's repository lives in."""
    if not deployment.repository:
        return False
    return any(one.repository and same_repository(one.repository, deployment.repository) for one in integration.map)
