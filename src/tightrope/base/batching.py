"""Group commit: many threads each ask for something, one thread does all that is waiting at once.

`Together` lets one of those who ask do it, which spares two changes of thread; `Batching` has a thread of its own, for
those who cannot wait where they stand.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from threading import Lock, Thread, get_ident
from typing import Generic, TypeVar

from tightrope.base.errors import StoreError

Item = TypeVar("Item")
Result = TypeVar("Result")


PATIENCE_S = 0.0005
"""How long those who ask wait for others that said that they are coming, unless told otherwise."""


class Together(Generic[Item, Result]):
    """Of those who ask at the same time one does what all of them wait for, in one call; the next does what came since.

    Args:
        work: Does all items, and hands back a result for each, in order. What it raises, every asker is told.
        most: At most so many items in one call.
        patience_s: How long those who ask wait for others that said that they are coming.
    """

    def __init__(
        self,
        work: Callable[[Sequence[Item]], Sequence[Result]],
        most: int = 256,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._work = work
        self._most = most
        self._patience_s = patience_s
        self._waiting: deque[_Asked[Item, Result]] = deque()
        self._lock = Lock()
        self._busy = False
        self._coming: set[int] = set()  # threads
        self._closed = False

    @property
    def waiting(self) -> int:
        """How many wait, and are not being served."""
        return len(self._waiting)

    @property
    def busy(self) -> bool:
        """Whether something is being done."""
        return self._busy

    @contextmanager
    def coming(self) -> Iterator[None]:
        """Say that this thread is about to ask for something: whoever asks now waits a moment for it."""
        with self._lock:
            self._coming.add(get_ident())
        try:
            yield
        finally:
            with self._lock:
                self._coming.discard(get_ident())

    def ask(self, item: Item) -> Result:
        """Have one item done, and wait for it.

        Raises:
            StoreError: It is closed.
        """
        asked = _Asked[Item, Result]([item])
        self._join(asked)
        if asked.error is not None:
            raise asked.error
        return asked.results[0]

    def close(self) -> None:
        """Wait for what was asked for, and do nothing any more."""
        self._join(_Asked([]), last=True)

    def _join(self, asked: _Asked[Item, Result], *, last: bool = False) -> None:
        """Wait until what is asked for was done, by whomever."""
        with self._lock:
            if self._closed and not last:
                raise StoreError("nothing is stored any more: the server ends", remedy="ask again later")
            self._closed |= last
            self._coming.discard(get_ident())
            self._waiting.append(asked)
        in_time = True
        while True:
            with self._lock:
                if asked.done:
                    return
                busy = self._busy
                leads = not busy and not (in_time and self._coming)
                self._busy |= leads
            if leads:
                self._lead()
            else:
                in_time = asked.woken.acquire(timeout=-1 if busy else self._patience_s)

    def _lead(self) -> None:
        """Do what is waiting, tell who asked, and let the first of those that came meanwhile go on."""
        with self._lock:
            batch = [self._waiting.popleft() for _ in range(min(self._most, len(self._waiting)))]
        asked = [one for one in batch if one.items]
        error = None
        try:
            found = self._work([one.items[0] for one in asked]) if asked else ()
            for one, result in zip(asked, found, strict=True):
                one.results.append(result)
        except BaseException as raised:  # noqa: BLE001  told to whoever asked, whatever it is
            error = raised
        with self._lock:
            for one in batch:
                one.error, one.done = error, True
            self._busy = False
            for one in [*batch, *self._waiting][: len(batch) + 1]:
                if one.woken.locked():
                    one.woken.release()


class _Asked(Generic[Item, Result]):
    """What one thread asked for, nothing or one item, and what became of it."""

    __slots__ = ("done", "error", "items", "results", "woken")

    def __init__(self, items: list[Item]) -> None:
        self.items = items
        self.results: list[Result] = []
        self.error: BaseException | None = None
        self.done = False
        self.woken = Lock()
        self.woken.acquire()


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
