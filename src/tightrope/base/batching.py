"""Group commit: many threads each ask for something, one thread does all that is waiting at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import Generic, TypeVar

from tightrope.base.errors import StoreError

Item = TypeVar("Item")
Result = TypeVar("Result")


class Batching(Generic[Item, Result]):
    """Hands items that wait together to one call, and each asker its own result.

    Args:
        name: Of the thread.
        work: Does all items, and hands back a result for each, in order. What it raises, every asker is told.
        most: At most so many items in one call.
    """

    def __init__(self, name: str, work: Callable[[Sequence[Item]], Sequence[Result]], most: int = 256) -> None:
        self._work = work
        self._most = most
        self._waiting: SimpleQueue[tuple[Item, Future[Result]] | None] = SimpleQueue()
        self._lock = Lock()
        self._closed = False
        self._thread = Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, item: Item) -> Future[Result]:
        """Ask for one item; the result is there when the call that did it has returned.

        After `close` nothing is done any more, and the result is a `StoreError`.
        """
        asked: Future[Result] = Future()
        with self._lock:  # nothing is put behind the mark of the end
            if self._closed:
                asked.set_exception(StoreError("nothing is stored any more: the server ends", remedy="ask again later"))
            else:
                self._waiting.put((item, asked))
        return asked

    def close(self) -> None:
        """Do what is waiting, and end."""
        with self._lock:
            if not self._closed:
                self._waiting.put(None)
            self._closed = True
        self._thread.join()

    def _run(self) -> None:
        going = True
        while going:
            taken = [self._waiting.get()]
            try:
                while len(taken) < self._most:
                    taken.append(self._waiting.get_nowait())
            except Empty:
                pass
            going = None not in taken
            asked = [one for one in taken if one is not None]
            if not asked:
                continue
            try:
                results = self._work([item for item, _ in asked])
            except BaseException as error:  # noqa: BLE001  told to whoever asked, whatever it is
                for _, future in asked:
                    future.set_exception(error)
            else:
                for (_, future), result in zip(asked, results, strict=True):
                    future.set_result(result)
