"""A store with what is told of deployments, and short ways to tell it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tightrope.delivery.changes import Deployment, DeploymentReport, DeploymentState, Recorded
from tightrope.delivery.usecases import Deliveries
from tightrope.policy.store import DECISION_MADE
from tightrope.specs.model import Specs
from tightrope.state.database import Database, opened
from tightrope.state.journal import Event, Journal

NOON = 1_773_748_800
"""2026-03-17T12:00:00Z."""

REPOSITORY = "github.com/acme/shop"


def sha(number: int) -> str:
    """A commit's name."""
    return f"{number:040x}"


def report(name: str, at: int, state: DeploymentState = DeploymentState.SUCCEEDED, **more: Any) -> DeploymentReport:
    """What is told of checkout in production, ``at`` seconds after noon."""
    told: dict[str, Any] = {"source": "ci", "service": "checkout", "environment": "production"} | more
    if not {"version", "revision", "artifact"} & set(told):
        told["version"] = f"v{name}"
    return DeploymentReport(external=name, at=NOON + at, state=state, **told)


def commit(number: int, message: str = "feat: more", parents: tuple[int, ...] | None = None, **more: Any) -> Recorded:
    """A commit on the one before it."""
    before = (number - 1,) if parents is None else parents
    return Recorded(
        sha(number), message, "Ann", NOON - 10_000 + number * 10, parents=tuple(sha(one) for one in before), **more
    )


@dataclass
class Shop:
    """A store that is open, and the clock that it goes by."""

    database: Database
    clock: list[int] = field(default_factory=lambda: [NOON])
    specs: Specs = field(default_factory=Specs)

    @property
    def deliveries(self) -> Deliveries:
        return Deliveries(self.database, specs=lambda: self.specs, clock=lambda: self.clock[0])

    @property
    def journal(self) -> Journal:
        return Journal(self.database)

    def kinds(self) -> list[str]:
        """The types of all events, oldest first."""
        return [entry.event.type for entry in self.journal.read()]

    def decided(self, name: str, verdict: str = "go", at: int = -60, **more: Any) -> None:
        """Record as much of a decision as bypass detection reads."""
        request = {"service": "checkout", "environment": "production", "change": ""}
        request |= {key: more.pop(key) for key in list(more) if key in request}
        times = {"decided_at": NOON + at, "expires_at": NOON + at + 900}
        decision = {"id": name, "verdict": verdict, "request": request} | times | more
        data = {"decision": decision}
        event = Event(f"{name}.{at}", "/tightrope/gate", DECISION_MADE, request["service"], NOON + at, data)
        self.journal.append([event])


@contextmanager
def shop(where: str) -> Iterator[Shop]:
    """A new store."""
    with opened(where, create=True) as database:
        yield Shop(database)


def essence(one: Deployment) -> tuple[Any, ...]:
    """What is worked out of a deployment."""
    return (
        one.external,
        one.state,
        one.version,
        one.previous,
        one.previous_version,
        one.rollback,
        one.kind,
        tuple(each.sha for each in one.commits),
        one.complete,
        one.started_at,
        one.finished_at,
        one.by,
    )
