"""The doorkeeper: lets go of held releases when the gate opens, in a thread of its own."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from queue import Empty, Queue
from threading import Event, Thread

from tightrope.base.errors import StoreError, TightropeError
from tightrope.base.units import DAY_S
from tightrope.delivery.holds.usecases import LOOKS_EVERY_S, Holds
from tightrope.loop.gauges import Family
from tightrope.loop.snapshot import Turned

_NAP_S = 0.2
_CALLS_EVERY_S = 2.0
_LOG = logging.getLogger("tightrope.holds")


def hold_gauges(holds: Holds) -> list[Family]:
    """Who waits, and what could not be told, as gauges; none where the store cannot be read."""
    try:
        waiting, calls = holds.counts()
    except StoreError:
        return []
    return [
        Family(
            "tightrope_holds_waiting",
            "Callers that wait for an answer of the gate.",
            "gauge",
            tuple(
                ({"service": service, "caller": caller}, count) for (service, caller), count in sorted(waiting.items())
            ),
        ),
        Family(
            "tightrope_hold_calls",
            "Answers to those who waited that are on their way, or dead: they will never be taken.",
            "gauge",
            tuple(({"integration": name, "state": state}, count) for (name, state), count in sorted(calls.items())),
        ),
    ]


class Doorkeeper:
    """Looks at what is held after each turn of the loop and every few seconds, until it is stopped.

    Args:
        holds: What is held.
        now: Tells the time, UTC epoch seconds.
        feedback: Plans what authors are to be told; it is sent with the other calls.
    """

    def __init__(self, holds: Holds, now: Callable[[], int], feedback: Callable[[], object] = lambda: None) -> None:
        self._holds = holds
        self._feedback = feedback
        self._now = now
        self._tidied_at = 0
        self._stop = Event()
        self._thread: Thread | None = None
        self.failure = ""

    def start(self, listen: Callable[[], AbstractContextManager[Queue[Turned]]]) -> None:
        """Begin; *listen* tells of the turns of the loop."""
        self._thread = Thread(target=self._run, args=(listen,), name="doorkeeper", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End after the call under way; what is not sent waits for the next start."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(20)
        self._holds.close()

    def _run(self, listen: Callable[[], AbstractContextManager[Queue[Turned]]]) -> None:
        with listen() as ear:
            looks_in_s = 0.0
            while not self._stop.is_set():
                try:
                    if looks_in_s <= 0:
                        self._holds.turn()
                        self._holds.sweep()
                        self._feedback()
                        looks_in_s = LOOKS_EVERY_S
                    self._holds.deliver()
                    now = self._now()
                    if now - self._tidied_at >= DAY_S:
                        self._holds.prune(now)
                        self._tidied_at = now
                    self.failure = ""
                except TightropeError as error:
                    self.failure = error.message
                except Exception as fault:  # noqa: BLE001 - a doorkeeper who leaves in silence would hold everybody for ever
                    _LOG.exception("holds are not looked at")
                    self.failure = f"{type(fault).__name__}: {fault}"
                looks_in_s = self._rest(ear, looks_in_s)

    def _rest(self, ear: Queue[Turned], looks_in_s: float) -> float:
        """Wait for the next turn of the loop, or a little; tells in how many seconds to look at what is held again."""
        patience_s = _CALLS_EVERY_S
        while patience_s > 0 and not self._stop.is_set():
            try:
                ear.get(timeout=_NAP_S)
                return 0.0
            except Empty:
                patience_s -= _NAP_S
                looks_in_s -= _NAP_S
        return looks_in_s
