"""Bypass detection: a deployment that went out past the gate opens a finding.

A rollback never does, nor what went out with others of its repository and was not changed.

A decision belongs to a deployment by its id where the deployment names one; else it is the newest that was made for the
service, the environment and that change before the deployment began, or, where nobody asked for that change, for any.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from tightrope.base.units import DAY_S, span_text
from tightrope.delivery.changes import Deployment, is_sha

SKEW_S = 60
"""By how much the clock of whoever tells of a deployment may be behind ours."""

LOOKS_BACK_S = 7 * DAY_S
"""Older decisions are of no deployment."""


class Bypass(StrEnum):
    """How a deployment got past the gate."""

    UNASKED = "no-decision"
    STOPPED = "after-stop"
    WAITED = "while-waiting"
    EXPIRED = "decision-expired"


@dataclass(frozen=True, slots=True)
class Asked:
    """A decision, as far as it matters here."""

    id: str
    service: str
    environment: str
    change: str
    verdict: str
    decided_at: int
    expires_at: int


@dataclass(frozen=True, slots=True)
class Finding:
    """A deployment that went out past the gate.

    Attributes:
        says: One plain sentence.
        decision: Id of the decision that it went against; empty: there was none.
        closed_by, reason: Who closed it and why; ``tightrope`` where it turned out to be none.
    """

    id: str
    bypass: Bypass
    service: str
    environment: str
    deployment: str
    decision: str
    says: str
    opened_at: int
    closed_at: int | None = None
    closed_by: str = ""
    reason: str = ""

    @property
    def open(self) -> bool:
        """Whether nobody has closed it."""
        return self.closed_at is None

    def closed(self, by: str, reason: str, now: int) -> Finding:
        """The finding, closed."""
        return replace(self, closed_at=now, closed_by=by, reason=reason)


CLEARED_BY = "tightrope"
"""Who closes a finding that turns out to be none once more is known of the deployment."""


def bypass_of(deployment: Deployment, asked: Sequence[Asked]) -> tuple[Bypass, Asked | None] | None:
    """Tell how a deployment got past the gate; None where it did not.

    Args:
        deployment: What went out.
        asked: Decisions of its service, in any order; and the one that it names, whatever that is of.
    """
    if deployment.rollback or deployment.untouched:
        return None
    began = deployment.started_at + SKEW_S
    mine = decision_of(deployment, asked)
    if mine is None:
        return Bypass.UNASKED, None
    if mine.verdict == "stop":
        return Bypass.STOPPED, mine
    if mine.verdict == "wait":
        return Bypass.WAITED, mine
    if mine.expires_at + 2 * SKEW_S < began:
        return Bypass.EXPIRED, mine
    return None


def decision_of(deployment: Deployment, asked: Sequence[Asked]) -> Asked | None:
    """Find the decision that a deployment went out on."""
    here = [
        one
        for one in asked
        if one.service == deployment.service
        and one.environment == deployment.environment
        and one.decided_at <= deployment.started_at + SKEW_S
    ]
    if deployment.decision:
        named = [one for one in here if one.id == deployment.decision]
        return max(named, key=_newest, default=None)
    meant = [one for one in here if one.change and _means(one.change, deployment)]
    return max(meant or [one for one in here if not one.change], key=_newest, default=None)


def finding_of(deployment: Deployment, bypass: Bypass, decision: Asked | None, now: int) -> Finding:
    """Write the finding."""
    digest = hashlib.sha256(f"{deployment.id}\n{bypass}".encode()).hexdigest()
    return Finding(
        id=f"F-{digest[:12].upper()}",
        bypass=bypass,
        service=deployment.service,
        environment=deployment.environment,
        deployment=deployment.id,
        decision=decision.id if decision else "",
        says=_sentence(deployment, bypass, decision),
        opened_at=now,
    )


def _sentence(deployment: Deployment, bypass: Bypass, decision: Asked | None) -> str:
    went = f"{deployment.service} {deployment.called} went to {deployment.environment}"
    if decision is None:
        named = f": there is no decision {deployment.decision} for it" if deployment.decision else ""
        return f"{went} without a decision of the gate{named}"
    if bypass is Bypass.STOPPED:
        return f"{went} although the gate had said stop ({decision.id})"
    if bypass is Bypass.WAITED:
        return f"{went} while the gate said wait ({decision.id})"
    late = span_text(max(0, deployment.started_at - decision.expires_at))
    return f"{went} {late} after the decision {decision.id} had expired"


def _newest(one: Asked) -> tuple[int, str]:
    return one.decided_at, one.id


def _means(change: str, deployment: Deployment) -> bool:
    """Whether the change that the gate was asked about is the one that was deployed."""
    for name in (deployment.change, deployment.revision, deployment.version, deployment.artifact):
        if not name:
            continue
        if name == change:
            return True
        if is_sha(change) and is_sha(name) and (name.startswith(change) or change.startswith(name)):
            return True
    return False
