"""Reading many objectives: each source once, servers up to the present, everything put together at the end."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from tests.telemetry.builders import NOON, data_source, ratio
from tightrope.base.errors import DataError
from tightrope.specs.model import DataSource
from tightrope.telemetry.plan import Request
from tightrope.telemetry.questions import Answer, Ask, Horizon, Role, Tally, Tell
from tightrope.telemetry.usecases import read_many


class Known:
    """A source that answers every question with the same amounts."""

    def __init__(self, amounts: dict[Role, list[int]], grain_s: int = 60, *, live: bool = False) -> None:
        self.asks_the_present = live
        self.asked: list[tuple[Sequence[Ask], Horizon]] = []
        self._amounts = amounts
        self._grain_s = grain_s

    def answer(self, asks: Sequence[Ask], horizon: Horizon, tell: Tell) -> list[Answer]:
        self.asked.append((asks, horizon))
        return [Answer(tuple(self._tally(question.role) for question in ask.questions), self._grain_s) for ask in asks]

    def _tally(self, role: Role) -> Tally:
        amounts = np.array(self._amounts[role], np.int64)
        return Tally(self._grain_s, NOON // self._grain_s, amounts, np.ones(len(amounts), np.int64))


LOG = data_source("csv", "a", {"path": "x"})
OTHER = data_source("csv", "b", {"path": "x"})


def test_one_source_is_asked_once_and_equal_questions_are_one() -> None:
    source = Known({Role.GOOD: [1, 2], Role.TOTAL: [2, 2]})
    again = DataSource("another name", LOG.type, dict(LOG.connection), LOG.folder)
    requests = [ratio(LOG), ratio(again), ratio(LOG, {"column": "other"})]
    readings = read_many(requests, since=NOON, until=NOON + 120, connect=lambda _: source)
    assert [len(asks) for asks, _ in source.asked] == [2]
    assert [reading.slices.good.tolist() for reading in readings] == [[1, 2]] * 3


def test_a_server_is_asked_up_to_now_for_the_longest_window() -> None:
    server = Known({Role.GOOD: [1], Role.TOTAL: [1]}, live=True)
    read_many([ratio(LOG)], connect=lambda _: server)
    horizon = server.asked[0][1]
    assert horizon.since is not None
    assert horizon.until is not None
    assert horizon.until > NOON
    assert horizon.until - horizon.since == 28 * 86400


def test_files_are_not_cut_to_the_window_because_a_server_is_asked_too() -> None:
    file, server = Known({Role.TOTAL: [5]}), Known({Role.GOOD: [3]}, live=True)
    request = ratio(OTHER, total_source=LOG)
    read_many([request], until=NOON + 60, connect=lambda source: file if source is LOG else server)
    assert file.asked[0][1] == Horizon(None, NOON + 60)


def test_parts_of_different_resolution_meet_at_a_common_one() -> None:
    fine, coarse = Known({Role.TOTAL: [1, 1, 1, 1, 1]}), Known({Role.GOOD: [4]}, 300)
    request = ratio(OTHER, total_source=LOG)
    slices = read_many([request], connect=lambda source: fine if source is LOG else coarse)[0].slices
    assert (slices.step_s, slices.good.tolist(), slices.total.tolist()) == (300, [4], [5])


@pytest.mark.parametrize(("role", "word"), [(Role.GOOD, "good"), (Role.BAD, "bad")])
def test_neither_good_nor_bad_may_be_above_total(role: Role, word: str) -> None:
    source = Known({role: [1, 9, 8], Role.TOTAL: [2, 2, 2]})
    request: Request = ratio(LOG, bad={"column": "bad"} if role is Role.BAD else None)
    with pytest.raises(DataError, match=f"at 2026-01-01T12:01:00Z {word} is 9 of 2, and so in 1 more slices"):
        read_many([request], connect=lambda _: source)
