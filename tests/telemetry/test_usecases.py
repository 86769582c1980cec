"""Reading many objectives: each source once, servers up to the present, everything put together at the end."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from tests.telemetry.builders import NOON, counts, data_source, ratio
from tightrope.base.errors import DataError
from tightrope.specs.model import DataSource
from tightrope.telemetry.assembly import inferred_step
from tightrope.telemetry.plan import Request
from tightrope.telemetry.questions import Answer, Ask, Horizon, Role, Tally, Tell
from tightrope.telemetry.usecases import read_many


class Known:
    """A source that answers every question with the same amounts."""

    def __init__(
        self,
        amounts: dict[Role, list[int]],
        grain_s: int = 60,
        *,
        live: bool = False,
        start: int = NOON,
        alive: tuple[int, int] | None = None,
    ) -> None:
        self.asks_the_present = live
        self._start = start
        self._alive = alive
        self.asked: list[tuple[Sequence[Ask], Horizon]] = []
        self._amounts = amounts
        self._grain_s = grain_s

    def answer(self, asks: Sequence[Ask], horizon: Horizon, tell: Tell) -> list[Answer]:
        self.asked.append((asks, horizon))
        return [
            Answer(tuple(self._tally(question.role) for question in ask.questions), self._grain_s, self._alive)
            for ask in asks
        ]

    def _tally(self, role: Role) -> Tally:
        amounts = np.array(self._amounts[role], np.int64)
        return Tally(self._grain_s, self._start // self._grain_s, amounts, np.ones(len(amounts), np.int64))


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


@pytest.mark.parametrize("role", [Role.GOOD, Role.BAD])
def test_where_the_other_source_does_not_reach_nothing_is_known(role: Role) -> None:
    total, part = Known({Role.TOTAL: [5] * 6}), Known({role: [1, 0]}, start=NOON + 120)
    request = ratio(OTHER, bad={"column": "bad"} if role is Role.BAD else None, total_source=LOG)
    reading = read_many([request], connect=lambda source: total if source is LOG else part)[0]
    assert reading.slices.start == NOON + 120
    assert counts(reading) == ([(1, 5), (0, 5)] if role is Role.GOOD else [(4, 5), (5, 5)])
    (note,) = reading.quality.notes
    assert note.startswith(f"{role} is there from 2026-01-01T12:02:00Z to 2026-01-01T12:04:00Z only; ")
    assert note.endswith("slices that have a total alone are gaps: 4")


def test_a_source_of_events_reaches_from_its_first_event_to_its_last() -> None:
    first = NOON // 60
    total = Known({Role.TOTAL: [5] * 6})
    part = Known({Role.GOOD: [5]}, start=NOON + 120, alive=(first + 1, first + 4))
    reading = read_many([ratio(OTHER, total_source=LOG)], connect=lambda source: total if source is LOG else part)[0]
    assert (reading.slices.start, counts(reading)) == (NOON + 60, [(0, 5), (5, 5), (0, 5), (0, 5)])


def test_without_a_single_row_of_good_nothing_was_measured() -> None:
    total, part = Known({Role.TOTAL: [5] * 6}), Known({Role.GOOD: []})
    reading = read_many([ratio(OTHER, total_source=LOG)], connect=lambda source: total if source is LOG else part)[0]
    assert len(reading.slices) == 0
    assert reading.quality.notes == ("good has no rows; slices that have a total alone are gaps: 6",)


def test_what_is_not_visible_is_not_told() -> None:
    total, part = Known({Role.TOTAL: [5] * 6}), Known({Role.GOOD: [5, 5]})
    reading = read_many(
        [ratio(OTHER, total_source=LOG)],
        since=NOON,
        until=NOON + 120,
        connect=lambda source: total if source is LOG else part,
    )[0]
    assert (counts(reading), reading.quality.notes) == ([(5, 5), (5, 5)], ())


def test_one_source_that_answers_both_is_believed() -> None:
    class Short(Known):
        """Answers good for the first slices only, as a server without a series does."""

        def _tally(self, role: Role) -> Tally:
            tally = super()._tally(role)
            return tally if role is Role.TOTAL else Tally(60, tally.first, tally.amounts[:1], tally.points[:1])

    source = Short({Role.GOOD: [5, 5], Role.TOTAL: [5, 5]})
    reading = read_many([ratio(LOG)], connect=lambda _: source)[0]
    assert (counts(reading), reading.quality.notes) == ([(5, 5), (0, 5)], ())


def spaced(gaps_s: Sequence[int]) -> Tally:
    """Samples of one grain of a minute, so far apart."""
    at = np.cumsum([0, *gaps_s]) // 60
    points = np.zeros(int(at[-1]) + 1, np.int64)
    points[at] = 1
    return Tally(60, NOON // 60, points, points)


def test_a_resolution_once_inferred_stays_as_the_record_grows() -> None:
    known = [300] * 1_200
    assert inferred_step(spaced(known)) == 300
    assert inferred_step(spaced(known + [60] * 20_000)) == 300
    assert inferred_step(spaced([60] * 1_200 + [300] * 20_000)) == 60


@pytest.mark.parametrize(("role", "word"), [(Role.GOOD, "good"), (Role.BAD, "bad")])
def test_neither_good_nor_bad_may_be_above_total(role: Role, word: str) -> None:
    source = Known({role: [1, 9, 8], Role.TOTAL: [2, 2, 2]})
    request: Request = ratio(LOG, bad={"column": "bad"} if role is Role.BAD else None)
    with pytest.raises(DataError, match=f"at 2026-01-01T12:01:00Z {word} is 9 of 2, and so in 1 more slices"):
        read_many([request], connect=lambda _: source)
