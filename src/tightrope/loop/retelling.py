"""Retelling: deployments that are known from elsewhere are told as if their sender had, each as its time comes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from threading import Event, Lock, Thread

from tightrope.backtest.labels import Deployment
from tightrope.base.errors import TightropeError
from tightrope.delivery.changes import DeploymentReport, DeploymentState
from tightrope.delivery.usecases import Deliveries
from tightrope.specs.model import ChangeKind

SOURCE = "recording"
"""Who tells of them, as it is kept."""

LOOKS_EVERY_S = 5.0
_AT_ONCE = 100  # in one transaction

_LOG = logging.getLogger("tightrope.deployments")


class Retelling:
    """Tells of recorded deployments until it is stopped; told again they change nothing.

    Args:
        deliveries: Hears of them.
        known: The deployments, those of services that move with their telemetry included.
        moving: Whether telemetry is moved in time: then nothing is told before it is known by how much.
        now: Tells the time, UTC epoch seconds.

    Raises:
        UsageError: One of them says too little to be told apart.
    """

    def __init__(
        self, deliveries: Deliveries, known: Iterable[Deployment], moving: bool, now: Callable[[], int]
    ) -> None:
        self._deliveries = deliveries
        self._known = sorted(known, key=lambda one: one.at)
        for one in self._known:
            report_of(one, 0).checked()
        self._shifts: Mapping[str, int] | None = None if moving else {}
        self._now = now
        self._lock = Lock()
        self._came, self._stop = Event(), False
        self._thread: Thread | None = None

    def moved(self, shifts: Mapping[str, int]) -> None:
        """Telemetry was moved in time by so many seconds, by service: deployments move with it."""
        with self._lock:
            self._shifts = {**(self._shifts or {}), **shifts}
        self._came.set()

    def start(self) -> None:
        """Begin, in a thread of its own."""
        if self._known:
            self._thread = Thread(target=self._run, name="reteller", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End after what is being told."""
        self._stop = True
        self._came.set()
        if self._thread is not None:
            self._thread.join(15)

    def turn(self) -> int:
        """Tell of those whose time has come and that were not told yet; how many there were."""
        with self._lock:
            shifts = self._shifts
        if shifts is None:
            return 0
        now, count = self._now(), 0
        due = [one for one in self._known if one.at + shifts.get(one.service, 0) <= now]
        later = [one for one in self._known if one.at + shifts.get(one.service, 0) > now]
        while count < len(due) and not self._stop:
            some = due[count : count + _AT_ONCE]
            self._deliveries.record_all([report_of(one, shifts.get(one.service, 0)) for one in some])
            count += len(some)
            self._known = due[count:] + later
        return count

    def _run(self) -> None:
        while not self._stop:
            self._came.clear()
            try:
                self.turn()
            except TightropeError as error:
                _LOG.warning("recorded deployments: %s", error.message)
            if not self._known:
                return
            if not self._stop:
                self._came.wait(LOOKS_EVERY_S)


def report_of(one: Deployment, shift_s: int) -> DeploymentReport:
    """What its sender would have told of a recorded deployment, moved in time by so many seconds."""
    kind = ChangeKind(one.kind)
    return DeploymentReport(
        SOURCE,
        f"{one.change or 'change'}@{one.at}",
        one.service,
        one.environment,
        one.at + shift_s,
        DeploymentState.SUCCEEDED,
        version=one.change or f"of {one.at}",
        kind=kind,
        kind_from="recording",
        rollback=kind is ChangeKind.ROLLBACK,
        started_at=one.at + shift_s,
    )
