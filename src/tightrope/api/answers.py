"""How a document is written as an answer, in whole or in pages."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import urlencode

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from tightrope.base.errors import UsageError

T = TypeVar("T")

MOST_A_PAGE = 1000


def answer(document: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Answer with a document of plain values as JSON."""
    return Response(msgspec.json.encode(document), status, headers, "application/json")


def page(request: Request, items: Sequence[T], limit: int, place: Callable[[T], str]) -> dict[str, Any]:
    """Write one page of a list, with the address of the next.

    Args:
        request: Whose parameters the next page keeps.
        items: One more than *limit* where there are more.
        limit: How many to show.
        place: Where an item stands in the list; the next page begins after it.
    """
    shown = list(items[:limit])
    more = len(items) > limit and bool(shown)
    return {"items": shown, "next": next_page(request, place(shown[-1])) if more else None}


def next_page(request: Request, place: str) -> str:
    """The address of the page that begins after *place*."""
    given = [(name, value) for name, value in request.query_params.multi_items() if name != "cursor"]
    return f"{request.url.path}?{urlencode([*given, ('cursor', cursor_of(place))])}"


def cursor_of(place: str) -> str:
    """Write a place in a list so that nobody is tempted to make one up."""
    return base64.urlsafe_b64encode(place.encode()).decode().rstrip("=")


def place_after(cursor: str) -> str:
    """Read a cursor; empty for none. Raises `UsageError` for what is no cursor of ours."""
    if not cursor:
        return ""
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        if not re.fullmatch(r"[A-Za-z0-9_-]+={0,3}", padded):
            raise ValueError(cursor)
        return base64.b64decode(padded, altchars=b"-_", validate=True).decode()
    except ValueError:
        raise _no_cursor() from None


def row_before(cursor: str) -> int | None:
    """Read the cursor of a list of journal rows, newest first; None for the first page."""
    place = place_after(cursor)
    if not place:
        return None
    if not (place.isascii() and place.isdecimal() and len(place) < 18):
        raise _no_cursor()
    return int(place)


def paged(rows: Sequence[T], cursor: str, limit: int, place: Callable[[T], str]) -> list[T]:
    """Cut a page, and one more, out of a list that is at hand and sorted by *place*."""
    after = place_after(cursor)
    begin = next((number for number, row in enumerate(rows) if place(row) > after), len(rows)) if after else 0
    return list(rows[begin : begin + limit + 1])


def _no_cursor() -> UsageError:
    return UsageError("the cursor is none of this list", remedy="follow `next` of the page before, as it is")
