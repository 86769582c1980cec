"""The threads of a worker: one claims steps, some turn them, and one says that they are still being turned."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from tightrope.base.errors import TightropeError
from tightrope.runs.steps import Step

LOOKS_EVERY_S = 0.5
"""How long a worker sleeps at most before it looks for work of others."""

_STOPPED_WITHIN_S = 20.0
_NAP_S = 0.5
_TIDIED_AFTER_BEATS = 8640  # a day of beats ten seconds apart


class Work(Protocol):
    """What a worker turns: see `Runs`."""

    def claim(self, most: int, *, blindly: bool = False) -> list[tuple[Step, bool]]: ...

    def turn(self, step: Step, *, died: bool = False) -> None: ...

    def renew(self) -> None: ...

    def recall(self) -> int: ...

    def tidy(self) -> None: ...


class Worker:
    """The threads that turn steps: one claims, some turn, one renews the leases."""

    def __init__(self, runs: Work, threads: int, lease_s: int) -> None:
        self.failure = ""
        self._runs = runs
        self._threads = threads
        self._lease_s = lease_s
        self._pool = ThreadPoolExecutor(threads, "tightrope-step")
        self._wake = threading.Condition()
        self._busy = 0
        self._news = True
        self._stopping = threading.Event()
        self._claims = threading.Thread(target=self._claim, name="tightrope-runs", daemon=True)
        self._beats = threading.Thread(target=self._beat, name="tightrope-leases", daemon=True)
        self._claims.start()
        self._beats.start()

    def nudge(self) -> None:
        """Look for work now."""
        with self._wake:
            self._news = True
            self._wake.notify_all()

    def stop(self) -> None:
        """End after the turns under way."""
        self._stopping.set()
        self.nudge()
        self._claims.join(_STOPPED_WITHIN_S)
        with self._wake:
            for _ in range(int(_STOPPED_WITHIN_S / _NAP_S)):
                if not self._busy:
                    break
                self._wake.wait(_NAP_S)
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._beats.join(_STOPPED_WITHIN_S)

    def _claim(self) -> None:
        recalled = False
        while not self._stopping.is_set():
            with self._wake:
                while self._busy >= self._threads and not self._stopping.is_set():
                    self._wake.wait(1)
                free, news, self._news = self._threads - self._busy, self._news, False
            if self._stopping.is_set():
                return
            try:
                if not recalled:
                    self._runs.renew()
                    self._runs.recall()
                    recalled = True
                taken = self._runs.claim(free, blindly=news)
                self.failure = ""
            except TightropeError as error:
                self.failure, taken = error.message, []
            except Exception as fault:  # noqa: BLE001  a worker who leaves in silence would leave all work
                self.failure, taken = f"{type(fault).__name__}: {fault}", []
            with self._wake:
                self._busy += len(taken)
            for step, died in taken:
                self._pool.submit(self._turn, step, died)
            with self._wake:
                if not taken and not self._news and not self._stopping.is_set():
                    self._wake.wait(LOOKS_EVERY_S)

    def _turn(self, step: Step, died: bool) -> None:
        try:
            self._runs.turn(step, died=died)
        except TightropeError as error:  # the store: the lease ends, and the step is turned again
            self.failure = error.message
        except Exception as fault:  # noqa: BLE001  nobody else would hear of it
            self.failure = f"{type(fault).__name__}: {fault}"
        finally:
            with self._wake:
                self._busy -= 1
                self._news = True
                self._wake.notify_all()

    def _beat(self) -> None:
        beats = 0
        while not self._stopping.wait(self._lease_s / 3):
            try:
                self._runs.renew()
                if beats % _TIDIED_AFTER_BEATS == 0:
                    self._runs.tidy()
                beats += 1
            except TightropeError as error:
                self.failure = error.message
            except Exception as fault:  # noqa: BLE001  a worker without leases would do everything twice
                self.failure = f"{type(fault).__name__}: {fault}"
