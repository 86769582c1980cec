"""What is sent twice is done once."""

from __future__ import annotations

import pytest
from starlette.responses import Response

from tests.api.world import World
from tightrope.api import idempotency
from tightrope.api.idempotency import Once
from tightrope.api.problems import InvalidError
from tightrope.base.errors import ConflictError, StoreError

WHICH = ("somebody", "POST", "/path", "key")


def test_a_silence_that_is_sent_twice_is_one(world: World) -> None:
    wanted = {"matchers": ["service=checkout"], "duration": "1h", "reason": "twice"}
    headers = {"Idempotency-Key": "silence-1"}
    first, second = (world.post("/api/v1/silences", json=wanted, headers=headers) for _ in range(2))
    assert (first.status_code, first.json()) == (second.status_code, second.json())
    assert first.headers["x-request-id"] != second.headers["x-request-id"]
    other = world.post("/api/v1/silences", json=wanted | {"reason": "other"}, headers=headers)
    assert other.status_code == 422
    assert other.json()["errors"][0]["pointer"] == "header:Idempotency-Key"
    somebody_else = world.post("/api/v1/silences", "operator", json=wanted, headers=headers)
    assert somebody_else.json()["createdBy"] == "operator"


def test_a_token_that_is_asked_for_twice_is_one(world: World) -> None:
    wanted = {"name": "asked-for-twice", "role": "viewer"}
    first, second = (world.post("/api/v1/tokens", json=wanted, headers={"Idempotency-Key": "t"}) for _ in range(2))
    assert first.json()["token"] == second.json()["token"]


def test_what_failed_may_be_tried_again_with_the_same_key() -> None:
    once = Once()

    def fail() -> Response:
        raise StoreError("full")

    with pytest.raises(StoreError):
        once.do(WHICH, "asked", 0, fail)
    assert once.do(WHICH, "asked", 0, lambda: Response(b"done")).body == b"done"


def test_the_second_of_two_at_once_is_told_to_wait() -> None:
    once = Once()

    def meanwhile() -> Response:
        with pytest.raises(ConflictError):
            once.do(WHICH, "asked", 0, lambda: Response(b"second"))
        return Response(b"first")

    assert once.do(WHICH, "asked", 0, meanwhile).body == b"first"


def test_a_key_is_forgotten_after_a_while_and_when_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    once = Once()
    once.do(WHICH, "asked", 0, lambda: Response(b"first"))
    with pytest.raises(InvalidError):
        once.do(WHICH, "other", idempotency.KEPT_S, lambda: Response(b"second"))
    assert once.do(WHICH, "other", idempotency.KEPT_S + 1, lambda: Response(b"second")).body == b"second"
    monkeypatch.setattr(idempotency, "MOST_KEPT", 1)
    once.do(("somebody", "POST", "/path", "next"), "asked", idempotency.KEPT_S + 1, lambda: Response(b""))
    assert once.do(WHICH, "again", idempotency.KEPT_S + 1, lambda: Response(b"third")).body == b"third"
