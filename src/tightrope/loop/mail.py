"""The reader of deliveries: empties the inbox in a thread of its own, as soon as something comes into it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from threading import Event, Thread

from tightrope.base.errors import TightropeError
from tightrope.base.units import DAY_S
from tightrope.delivery.receiving.usecases import Inbox

LOOKS_EVERY_S = 2.0
"""How long an inbox is left alone at most: another process may have put something into it."""

_LOG = logging.getLogger("tightrope.deliveries")


class MailReader:
    """Reads what was sent to us until it is stopped.

    Args:
        inbox: What was sent.
        now: Tells the time, UTC epoch seconds.
    """

    def __init__(self, inbox: Inbox, now: Callable[[], int]) -> None:
        self._inbox = inbox
        self._now = now
        self._tidied_at = 0
        self._stop = Event()
        self._thread: Thread | None = None
        self.failure = ""

    def start(self) -> None:
        """Begin with what is left of the last time."""
        self._thread = Thread(target=self._run, name="mail-reader", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End after the delivery under way; what is not read waits for the next start."""
        self._stop.set()
        self._inbox.came.set()
        if self._thread is not None:
            self._thread.join(15)

    def _run(self) -> None:
        while not self._stop.is_set():
            self._inbox.came.clear()
            try:
                while not self._stop.is_set() and self._inbox.process(1):
                    pass
                now = self._now()
                if now - self._tidied_at >= DAY_S:
                    self._inbox.prune(now)
                    self._tidied_at = now
                self.failure = ""
            except TightropeError as error:
                self.failure = error.message
            except Exception as fault:  # noqa: BLE001 - a reader who leaves in silence would leave all mail unread
                _LOG.exception("deliveries are not read")
                self.failure = f"{type(fault).__name__}: {fault}"
            if not self._stop.is_set():
                self._inbox.came.wait(LOOKS_EVERY_S)
