"""Creating once: a request that comes again with the same ``Idempotency-Key`` gets the answer of the first.

Answers are kept in memory for a while, so that a sender that saw no answer may ask again; no restart is survived.

Source:
    draft-ietf-httpapi-idempotency-key-header.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from typing import Annotated

from fastapi import Header
from pydantic import BaseModel
from starlette.responses import Response

from tightrope.api.problems import InvalidError
from tightrope.api.visitor import Visitor
from tightrope.base.errors import ConflictError
from tightrope.base.units import HOUR_S

KEPT_S = HOUR_S
MOST_KEPT = 10_000

Key = Annotated[
    str,
    Header(
        alias="Idempotency-Key", max_length=200, description="The same key with the same body is done once in an hour."
    ),
]


@dataclass(slots=True)
class _Done:
    at: int
    asked: str
    response: Response | None


class Once:
    """The answers that were given lately to requests with a key."""

    def __init__(self) -> None:
        self._done: OrderedDict[tuple[str, str, str, str], _Done] = OrderedDict()
        self._lock = Lock()

    def do(self, which: tuple[str, str, str, str], asked: str, now: int, make: Callable[[], Response]) -> Response:
        """Make an answer, or give the one that was made; what failed may be tried again.

        Raises:
            ConflictError: The first one is still under way.
            InvalidError: The key was used for something else.
        """
        with self._lock:
            while self._done and (len(self._done) >= MOST_KEPT or now - next(iter(self._done.values())).at > KEPT_S):
                self._done.popitem(last=False)
            found = self._done.get(which)
            if found is not None:
                if found.asked != asked:
                    raise InvalidError(
                        "this Idempotency-Key was used for another request",
                        [{"detail": "the body is another one", "pointer": "header:Idempotency-Key"}],
                        remedy="use a key of its own for each thing that is to be done",
                    )
                if found.response is None:
                    raise ConflictError("the same request is under way", remedy="try again in a moment")
                return found.response
            self._done[which] = _Done(now, asked, None)
        try:
            response = make()
        except BaseException:
            with self._lock:
                self._done.pop(which, None)
            raise
        with self._lock:
            self._done[which] = _Done(now, asked, response)
        return response


def once(visit: Visitor, key: str, asked: BaseModel, make: Callable[[], Response]) -> Response:
    """Do what a request asks for; once only, where it has a key."""
    if not key:
        return make()
    request = visit.request
    digest = hashlib.sha256(asked.model_dump_json().encode()).hexdigest()
    book: Once = request.app.state.once
    return book.do((visit.actor.name, request.method, request.url.path, key), digest, visit.now, make)
