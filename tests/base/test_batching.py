"""Group commit: what waits together is done together, and nobody waits for ever."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest

from tightrope.base.batching import Batching, Together
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


def test_of_those_who_ask_at_once_one_does_it_for_all() -> None:
    go_on, calls = Event(), []

    def work(items: Sequence[int]) -> list[int]:
        calls.append(list(items))
        go_on.wait(10)
        return [2 * item for item in items]

    together = Together(work)
    with ThreadPoolExecutor(8) as threads:
        first = threads.submit(together.ask, 0)
        while not calls:
            pass
        others = [threads.submit(together.ask, number) for number in range(1, 7)]
        while together.waiting < 6:
            pass
        go_on.set()
        assert [one.result(10) for one in (first, *others)] == [2 * number for number in range(7)]
    assert [len(one) for one in calls] == [1, 6]


def test_whoever_is_announced_is_waited_for_and_whoever_stays_away_is_not() -> None:
    calls: list[list[int]] = []

    def work(items: Sequence[int]) -> list[int]:
        calls.append(list(items))
        return list(items)

    together = Together(work, patience_s=30)
    with ThreadPoolExecutor(1) as thread:
        with together.coming():
            early = thread.submit(together.ask, 1)
            while not together.waiting:
                pass
            assert not calls
            assert together.ask(2) == 2
        assert early.result(10) == 1
        assert calls == [[1, 2]]
        with together.coming():
            pass
        assert together.ask(3) == 3
    hasty = Together(work, patience_s=0.001)
    with hasty.coming():
        assert hasty.ask(4) == 4


def test_everybody_gets_an_own_answer_however_they_come() -> None:
    sizes: list[int] = []

    def work(items: Sequence[int]) -> list[int]:
        sizes.append(len(items))
        if 13 in items:
            raise StoreError("no thirteen")
        return [-item for item in items]

    together = Together(work, most=3, patience_s=0.0001)

    def ask(number: int) -> int:
        if number % 3:
            return together.ask(number)
        with together.coming():
            return together.ask(number)

    with ThreadPoolExecutor(8) as threads:
        numbers = range(100, 2100)
        assert list(threads.map(ask, numbers)) == [-number for number in numbers]
        with pytest.raises(StoreError, match="no thirteen"):
            together.ask(13)
        assert together.ask(14) == -14
    assert max(sizes) <= 3
    assert sum(sizes) == 2002


def test_after_the_end_nobody_is_served_and_everybody_was() -> None:
    go_on = Event()

    def work(items: Sequence[int]) -> list[int]:
        go_on.wait(10)
        return list(items)

    together = Together(work)
    with ThreadPoolExecutor(3) as threads:
        asked = [threads.submit(together.ask, number) for number in range(2)]
        while not (together.busy and together.waiting):
            pass
        closing = threads.submit(together.close)
        assert not closing.done()
        go_on.set()
        closing.result(10)
        assert [one.result(10) for one in asked] == [0, 1]
    with pytest.raises(StoreError, match="the server ends"):
        together.ask(1)
    together.close()
