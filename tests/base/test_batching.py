"""Group commit: what waits together is done together, and nobody waits for ever."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Event

import pytest

from tightrope.base.batching import Batching
from tightrope.base.errors import StoreError


def test_what_waits_is_done_at_once_and_each_hears_its_own() -> None:
    go_on, calls = Event(), []

    def work(items: Sequence[int]) -> list[int]:
        calls.append(list(items))
        go_on.wait(10)
        return [2 * item for item in items]

    batching = Batching("twice", work)
    asked = [batching.submit(0)]
    while not calls:
        pass
    asked += [batching.submit(number) for number in range(1, 5)]
    go_on.set()
    assert [one.result(10) for one in asked] == [0, 2, 4, 6, 8]
    assert calls == [[0], [1, 2, 3, 4]]
    batching.close()


def test_whoever_asks_after_the_end_is_told_so() -> None:
    batching: Batching[int, int] = Batching("as they are", list)
    batching.close()
    with pytest.raises(StoreError, match="the server ends"):
        batching.submit(1).result(5)
    batching.close()
