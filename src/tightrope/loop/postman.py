"""The postman: empties the outbox in a thread of its own, after each turn and whenever something is due again."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from queue import Empty, Queue
from threading import Event, Thread

from tightrope.base.errors import TightropeError
from tightrope.base.units import DAY_S
from tightrope.loop.snapshot import Turned
from tightrope.notify.usecases import Notifier

LOOKS_EVERY_S = 5.0
"""How long an outbox is left alone at most."""

_NAP_S = 0.2


class Postman:
    """Sends what is in the outbox until it is stopped.

    Args:
        notifier: Sends what is due.
        now: Tells the time, UTC epoch seconds.
        tidy: Lets go of what is long told; called once a day with the present instant.
    """

    def __init__(
        self, notifier: Notifier, now: Callable[[], int], tidy: Callable[[int], object] = lambda _now: None
    ) -> None:
        self._notifier = notifier
        self._tidy = tidy
        self._tidied_at = 0
        self._now = now
        self._stop = Event()
        self._thread: Thread | None = None
        self.failure = ""

    def start(self, listen: Callable[[], AbstractContextManager[Queue[Turned]]]) -> None:
        """Look into the outbox after every turn that *listen* tells of, and every few seconds."""
        self._thread = Thread(target=self._run, args=(listen,), name="postman", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End after the messages under way; what is not sent waits for the next start."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(15)
        self._notifier.close()

    def _run(self, listen: Callable[[], AbstractContextManager[Queue[Turned]]]) -> None:
        with listen() as ear:
            while not self._stop.is_set():
                try:
                    now = self._now()
                    self._notifier.run_once(now)
                    if now - self._tidied_at >= DAY_S:
                        self._tidy(now)
                        self._tidied_at = now
                    self.failure = ""
                except TightropeError as error:
                    self.failure = error.message
                except Exception as fault:  # noqa: BLE001  a postman who leaves in silence would leave all mail
                    self.failure = f"{type(fault).__name__}: {fault}"
                patience_s = LOOKS_EVERY_S / 5 if self.failure else LOOKS_EVERY_S
                while patience_s > 0 and not self._stop.is_set():
                    try:
                        ear.get(timeout=_NAP_S)
                        break
                    except Empty:
                        patience_s -= _NAP_S
