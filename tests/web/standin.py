"""A server for the pages with a loop that stands still: assessments at hand, all else real, in a store of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from queue import Queue
from typing import Any, cast

from tightrope.access.oidc import OidcSettings
from tightrope.access.usecases import Access
from tightrope.alerting.grouping import Seen, Watched
from tightrope.app import _judged, quota_in
from tightrope.base.errors import NotFoundError
from tightrope.delivery.holds.usecases import Holds
from tightrope.delivery.pipelines.store import Shelves
from tightrope.delivery.pipelines.usecases import Pipelines
from tightrope.delivery.receiving.usecases import Inbox
from tightrope.delivery.rollouts.usecases import Rollouts
from tightrope.delivery.usecases import Deliveries
from tightrope.engine.plan import Incident
from tightrope.loop.assess import Assessment, Read, assess
from tightrope.loop.live import Live
from tightrope.loop.rollouts import pages_of, standing_of
from tightrope.loop.server import Server, ServeSettings
from tightrope.loop.snapshot import Backfill, Snapshot, Turned
from tightrope.loop.standing import by_service
from tightrope.notify.usecases import Alerting, Notifications
from tightrope.policy.decision import Decision, GateRequest
from tightrope.policy.usecases import DecisionBook, Exceptions
from tightrope.runs.usecases import Runs
from tightrope.specs.model import ChannelType, NotificationChannel, Slo, Specs
from tightrope.specs.usecases import Shelf
from tightrope.state.database import opened
from tightrope.state.journal import Event, Journal


@dataclass(eq=False)
class Still:
    """A loop that stands still until a test turns it."""

    snapshot: Snapshot
    read: Read | None = None
    incidents: Sequence[Incident] = ()
    filling: list[Backfill] = field(default_factory=list)
    listeners: list[Queue[Turned]] = field(default_factory=list)
    failure: str = ""

    def assessments(self, service: str) -> list[Assessment]:
        found = by_service(list(self.snapshot.assessments.values())).get(service)
        if found is None:
            raise NotFoundError(f"there is no service named {service!r}")
        return found

    def history(self, slos: Sequence[Slo], *, specs: Specs | None = None, since: int | None = None) -> list[Assessment]:
        names = {slo.name for slo in slos}
        if self.read is None:
            return [one for one in self.snapshot.assessments.values() if one.slo.name in names]
        own = specs if specs is not None else self.snapshot.specs
        return assess(own, slos, self.read, at=self.snapshot.at, since=since, incidents=self.incidents)

    def backfills(self) -> list[Backfill]:
        return self.filling

    def nudge(self) -> None:
        pass

    @contextmanager
    def listen(self) -> Iterator[Queue[Turned]]:
        ear: Queue[Turned] = Queue()
        self.listeners.append(ear)
        try:
            yield ear
        finally:
            self.listeners.remove(ear)


@dataclass(eq=False)
class World:
    """A server with what a test may do to it."""

    server: Server
    still: Still
    journal: Journal
    folder: Path
    clock: int

    def turn(self, assessments: Sequence[Assessment], *, at: int, **more: Any) -> None:
        """Put other assessments in place, and tell who listens."""
        self.clock = at
        number = self.still.snapshot.number + 1
        named = {one.title: one for one in assessments}
        self.still.snapshot = replace(self.still.snapshot, number=number, at=at, taken_at=at, assessments=named, **more)
        for ear in list(self.still.listeners):
            ear.put(Turned(number, at, tuple(sorted(by_service(assessments)))))

    def change(self, **more: Any) -> None:
        """Change something about the snapshot."""
        self.still.snapshot = replace(self.still.snapshot, **more)

    def note(self, kind: str, subject: str, data: Mapping[str, Any], at: int) -> None:
        """Record an event."""
        name = f"{kind}.{subject}.{at}"
        self.journal.append([Event(name, "/tightrope/loop", f"dev.tightrope.{kind}.v1", subject, at, data)])


@contextmanager
def standin(
    folder: Path,
    assessments: Sequence[Assessment],
    specs: Specs,
    *,
    at: int,
    required: bool = False,
    paths: Sequence[str] = (),
    alerts: Callable[[Any, Sequence[Assessment]], Any] | None = None,
    oidc: OidcSettings | None = None,
) -> Iterator[World]:
    """Make a server of these assessments, with its store in *folder*."""
    where = str(folder / "data")
    settings = ServeSettings(
        base_url="http://127.0.0.1:8080", auth_required=required, data=where, spec_paths=tuple(paths)
    )
    named = {one.title: one for one in assessments}
    still = Still(Snapshot(1, at, at, specs, at - 3600, named))
    with opened(where, create=True) as database:
        journal = Journal(database)
        world: World
        book = DecisionBook(database, lambda: world.clock)
        access = Access(database, required=required, oidc=oidc)
        shelf = Shelf(database, paths, _judged)
        told = alerts(database, assessments) if alerts is not None else None

        def decided(request: GateRequest) -> Decision:
            return world.server.decide(request)

        def weighed(request: GateRequest) -> Decision:
            return world.server.weigh(request)

        deliveries = Deliveries(database, specs=lambda: still.snapshot.specs, clock=lambda: world.clock)
        runs = Runs(database, clock=lambda: world.clock)
        rollouts = Rollouts(
            database,
            runs,
            specs=lambda: still.snapshot.specs,
            ask=decided,
            weigh=weighed,
            stands=lambda service, slos: standing_of(still.assessments(service), slos),
            pages=lambda service: pages_of(still.assessments(service)),
            slices=lambda *_: None,
            report=deliveries.record,
            clock=lambda: world.clock,
        )
        server = Server(
            settings,
            cast("Live", still),
            access,
            told,
            shelf,
            book,
            journal,
            where,
            lambda: world.clock,
            exceptions=Exceptions(database, lambda service: quota_in(still.snapshot.specs, service)),
            holds=Holds(
                database,
                lambda: still.snapshot.specs,
                ask=decided,
                weigh=weighed,
                now=lambda: world.clock,
            ),
            runs=runs,
            deliveries=deliveries,
            inbox=Inbox(database, deliveries, specs=lambda: still.snapshot.specs, clock=lambda: world.clock),
            rollouts=rollouts,
            pipelines=Pipelines(runs, Shelves(folder / "pipelines"), {}, deliveries=deliveries),
        )
        world = World(server, still, journal, folder, at)
        try:
            yield world
        finally:
            book.close()


CHANNELS = (
    NotificationChannel("hook<1>", ChannelType.WEBHOOK, urls=("http://127.0.0.1:1/",), default=True),
    NotificationChannel("chat", ChannelType.SLACK, url_from="NO_SUCH_VARIABLE"),
)
"""One that cannot be reached, and one that cannot be used."""


def notified(database: Any, assessments: Sequence[Assessment]) -> Notifications:
    """Turn where objectives stand into alerts, with messages for `CHANNELS`."""
    seen = [
        Seen(
            Watched(one.title, one.slo.service, one.slo.name, one.plan.conditions, one.plan.step_s),
            tuple(memory.firing_since for memory in one.history.memory.alerts),
            one.stale,
            one.statement.at,
        )
        for one in assessments
    ]
    specs = Specs(slos=tuple(one.slo for one in assessments), channels=CHANNELS)
    at = max(one.statement.at for one in assessments) + 20
    with database.writing() as connection:
        events = Alerting(base_url="http://127.0.0.1:8080").turn_in(connection, seen, specs, at)
        Journal(database).append_in(connection, events)
    return Notifications(database, channels=lambda: CHANNELS)
