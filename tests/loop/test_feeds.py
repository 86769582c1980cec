"""Feeds: what one source refuses, forgets or has not yet holds up nobody, and a restart goes on where it stopped."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from threading import Event

import numpy as np
import pytest

from tests.loop.live_worlds import START, STEP
from tests.telemetry.builders import data_source, ratio
from tightrope.base.errors import NotFoundError, SourceError, SourceUnreachableError, TightropeError
from tightrope.base.units import DAY_S
from tightrope.loop.feeds import (
    CHUNK_S,
    LATE_EVERY_S,
    LATE_S,
    REST_S,
    Fed,
    Feed,
    Files,
    Follow,
    Probing,
    Pull,
    Pump,
    Read,
    Replay,
    Wanted,
)
from tightrope.sli.slices import Slices
from tightrope.specs.model import DataSource, Objective, Slo
from tightrope.telemetry.plan import Request
from tightrope.telemetry.probing import ProbeResult
from tightrope.telemetry.reading import Reading
from tightrope.telemetry.usecases import open_tailing

SOURCE = data_source("prometheus", ".", {"url": "http://127.0.0.1:1"})
NOW = START + 10


def wanted(track: str, source: DataSource = SOURCE, *, begin: int = START - DAY_S, **more: int) -> Wanted:
    request = ratio(source, {}, {})
    return Wanted(track, replace(request.slo, name=track), request.objective, begin, **more)


def answer(since: int, until: int) -> Reading:
    count = (until - since) // STEP
    return Reading(Slices(since, STEP, np.zeros(count, np.int64), np.ones(count, np.int64), np.ones(count, np.bool_)))


class Server:
    """A source that knows everything, minds some objectives, and notes what it was asked."""

    def __init__(self, *minded: str, longest_s: int = 10**9, down: bool = False) -> None:
        self.minded, self.longest_s, self.down = set(minded), longest_s, down
        self.asked: list[tuple[tuple[str, ...], int, int]] = []

    def __call__(
        self, group: Sequence[tuple[Slo, Objective]], since: int | None, until: int | None
    ) -> Sequence[Reading]:
        assert since is not None
        assert until is not None
        names = tuple(slo.name for slo, _ in group)
        self.asked.append((names, since, until))
        if self.down:
            raise SourceUnreachableError("nobody is there")
        if self.minded & set(names) or until - since > self.longest_s:
            raise SourceError(f"{', '.join(names)}: parse error")
        return [answer(since, until) for _ in group]


def brought(found: Sequence[Fed]) -> dict[str, str]:
    return {one.track: one.error or f"{len(one.slices)}" for one in found}


def test_a_query_that_is_refused_holds_up_no_other_objective() -> None:
    server = Server("c")
    pull = Pull("prometheus", [wanted(name) for name in "abcdefgh"], server)
    found = pull.read(NOW)
    assert brought(found) == dict.fromkeys("abdefgh", "1439") | {"c": "c: parse error"}
    server.asked.clear()
    assert brought(pull.read(NOW + 50)) == dict.fromkeys("abdefgh", "4"), "what is minded is left alone a while"
    assert len(server.asked) == 1
    found = pull.read(NOW + 2 * REST_S)
    assert brought(found) == dict.fromkeys("abdefgh", "4") | {"c": "c: parse error"}, "and asked again"
    server.minded.clear()
    assert brought(pull.read(NOW + 5 * REST_S))["c"] == "1440", "the furthest behind goes first"


def test_a_server_that_minds_everything_is_not_asked_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"n{number}" for number in range(300)]
    server = Server(*names)
    found = Pull("prometheus", [wanted(name) for name in names], server).read(NOW)
    assert len(found) == 300
    assert all(one.error for one in found)
    assert len(server.asked) < 100


def test_a_history_that_is_too_long_for_the_server_is_asked_for_in_days() -> None:
    server = Server(longest_s=2 * DAY_S)
    pull = Pull("prometheus", [wanted("a", begin=START - 5 * DAY_S)], server)
    found = [pull.read(NOW) for _ in range(6)]
    assert [bool(one.error) for each in found for one in each] == [True] + [False] * 5
    assert sum(len(one.slices) for each in found for one in each) >= 5 * DAY_S // STEP - 1
    assert [one.caught_up for each in found for one in each] == [False] * 5 + [True]


def test_a_history_is_whole_only_when_its_last_piece_is_here() -> None:
    server = Server()
    one = wanted("a", begin=START - 2 * CHUNK_S + DAY_S)
    pull = Pull("prometheus", [one], server)
    assert [each.caught_up for each in pull.read(NOW)] == [False]
    assert one.asked_to == START - CHUNK_S + DAY_S
    assert [each.caught_up for each in pull.read(NOW)] == [True]
    again = Pull("prometheus", [wanted("a", begin=one.begin, asked_to=START - DAY_S, step_s=STEP)], server)
    again.read(NOW)
    assert server.asked[-1][1:] == (START - DAY_S - LATE_S, START - STEP), "it goes on where it stopped"


def test_now_and_then_it_asks_for_what_may_have_come_late() -> None:
    server = Server()
    pull = Pull("sql", [wanted("a", asked_to=START - STEP, step_s=STEP)], server)
    reach = []
    for minute in range(1, 25):
        pull.read(NOW + minute * STEP)
        _, since, until = server.asked[-1]
        reach.append(until - since)
    often = LATE_EVERY_S // STEP
    assert [number for number, one in enumerate(reach) if one > LATE_S] == [0, often, 2 * often]
    assert set(reach) - {reach[0], LATE_S + STEP} == {4 * STEP}


def test_a_server_that_is_down_is_asked_once() -> None:
    server = Server(down=True)
    pull = Pull("prometheus", [wanted("a"), wanted("b")], server)
    with pytest.raises(SourceUnreachableError):
        pull.read(NOW)
    assert len(server.asked) == 1


def test_a_clock_that_is_set_back_asks_for_the_last_day_again() -> None:
    server = Server()
    pull = Pull("prometheus", [wanted("a")], server)
    pull.read(NOW + 30 * DAY_S)
    while not pull.read(NOW + 30 * DAY_S)[0].caught_up:
        pass
    found = pull.read(NOW)
    assert found[0].asked == (START - STEP - DAY_S - LATE_S, START - STEP)
    assert pull.read(NOW) == []


def test_files_that_come_back_as_they_were_are_read_again() -> None:
    there = True

    def read(group: Sequence[tuple[Slo, Objective]], _since: int | None, _until: int | None) -> Sequence[Reading]:
        if not there:
            raise NotFoundError("it is not there")
        return [answer(START, START + STEP) for _ in group]

    files = Files("log", [wanted("a")], read, lambda: there)
    assert len(files.read(NOW)) == 1
    assert files.read(NOW) == []
    there = False
    with pytest.raises(NotFoundError):
        files.read(NOW)
    there = True
    assert len(files.read(NOW)) == 1, "and so it is known that they can be read again"


# --- logs that grow ------------------------------------------------------------------------------------------------


class Site:
    """A service that writes a log, and a server that remembers what it is told to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.source = data_source("access-log", folder, {"path": "access.log*"})
        self.kept: dict[str, bytes] = {}
        self.record: dict[int, tuple[int, int]] = {}

    def write(self, at: int, *statuses: int) -> None:
        moment = datetime.fromtimestamp(at, UTC).strftime("%d/%b/%Y:%H:%M:%S +0000")
        with (self.folder / "access.log").open("a", encoding="utf-8") as log:
            for status in statuses:
                log.write(f'10.0.0.1 - - [{moment}] "GET / HTTP/1.1" {status} 5 "-" "-"\n')

    def follow(self, asked_to: int | None = None) -> Follow:
        def opened(requests: Sequence[tuple[int, Request]]) -> object:
            return open_tailing(self.source, requests)

        one = wanted("a", self.source)
        one.asked_to = asked_to
        return Follow("log", [one], opened, self.kept.get)  # type: ignore[arg-type]

    def store(self, found: Sequence[Fed]) -> None:
        for fed in found:
            for number, slot in enumerate(range(fed.slices.start, fed.slices.end, STEP)):
                self.record[(slot - START) // STEP] = int(fed.slices.bad[number]), int(fed.slices.total[number])
            if fed.state is not None:
                self.kept[fed.state[0]] = fed.state[1]

    def drain(self, follow: Follow, now: int) -> None:
        while found := follow.read(now):
            self.store(found)


def test_a_log_is_counted_once_through_restarts_and_rotation(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.write(START + 1, 200, 500)
    follow = site.follow()
    site.drain(follow, NOW)
    site.write(START + 2, 200)
    lost = follow.read(NOW + 1)  # killed before it was stored
    assert len(lost) == 1
    (tmp_path / "access.log").rename(tmp_path / "access.log.1")
    site.write(START + 61, 200, 200)
    site.drain(site.follow(START), NOW + 61)
    assert site.record == {0: (1, 3), 1: (0, 2)}
    follow = site.follow(START + STEP)
    site.write(START + 62, 500)
    site.drain(follow, NOW + 62)
    assert site.record == {0: (1, 3), 1: (1, 3)}


def test_what_lies_between_late_lines_stays_as_it_was(tmp_path: Path) -> None:
    site = Site(tmp_path)
    for minute in range(10):
        site.write(START + minute * STEP, 200)
    follow = site.follow()
    site.drain(follow, START + 600)
    site.write(START + 9 * STEP + 5, 500)
    site.write(START + 2 * STEP, 500)
    found = follow.read(START + 601)
    assert [(one.slices.start, len(one.slices)) for one in found] == [(START + 2 * STEP, 1), (START + 9 * STEP, 1)]


def test_lines_of_the_future_are_left_out_and_told_of(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.write(START + 5, 200)
    site.write(START + 400 * DAY_S, 500)
    site.write(START + 6, 200)
    follow = site.follow()
    found = follow.read(NOW)
    site.store(found)
    site.store(follow.read(NOW))
    assert site.record == {0: (0, 2)}
    assert found[0].quality.notes == ("1 requests are of a time that is still to come, and left out",)
    site.write(START + 65, 200)
    site.drain(follow, NOW + 60)
    assert site.record == {0: (0, 2), 1: (0, 1)}, "and what comes after them counts"


def test_what_was_counted_of_lines_that_are_gone_stays_when_the_state_is_lost(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.write(START + 3, 200)
    site.write(START + 3 * 3600, 200)
    site.record = {0: (1, 9), 180: (0, 1)}
    site.drain(site.follow(START + 3 * 3600), START + 3 * 3600 + 5)
    assert (site.record[0], site.record[180], min(set(site.record) - {0})) == ((1, 9), (0, 1), 60)


def test_a_log_that_is_not_there_yet_is_waited_for(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.source = data_source("access-log", tmp_path, {"path": "access.log"})
    follow = site.follow()
    assert [(len(one.slices), one.caught_up) for one in follow.read(NOW)] == [(0, True)]
    site.write(START + 5, 200)
    site.drain(follow, NOW)
    assert site.record == {0: (0, 1)}


# --- probes --------------------------------------------------------------------------------------------------------

PROBED = data_source("probe", ".", {"url": "http://127.0.0.1:1", "every": "20s"})


def probing(kept: dict[str, bytes], up: Callable[[int], bool] = lambda _: True) -> Probing:
    one = wanted("a", PROBED)
    request = ratio(PROBED, {}, {})
    one.slo = request.slo

    def probe(at: int) -> ProbeResult:
        return ProbeResult(at, up(at), "" if up(at) else "it answers 500, not 2xx or 3xx", 200, 1000)

    return Probing(PROBED, [one], 20, probe, kept.get)


def test_probes_of_one_slice_add_up_also_over_a_restart() -> None:
    kept: dict[str, bytes] = {}
    feed = probing(kept)
    for at in (START, START + 20):
        (fed,) = feed.read(at)
        assert fed.state is not None
        kept[fed.state[0]] = fed.state[1]
    (fed,) = probing(kept, lambda _: False).read(START + 40)
    assert (int(fed.slices.bad[0]), int(fed.slices.total[0]), fed.asked) == (1, 3, (START, START))
    assert fed.quality.notes == ("the probe fails: it answers 500, not 2xx or 3xx",)
    (fed,) = feed.read(START + 60)
    assert fed.asked == (START + 60, START + 60), "the slice before is whole"


def test_a_clock_that_is_set_back_does_not_stop_the_probes() -> None:
    feed = probing({})
    feed.read(START + DAY_S)
    (fed,) = feed.read(START)
    assert (fed.slices.start, fed.slices.total.tolist()) == (START, [1])


# --- turning them --------------------------------------------------------------------------------------------------


class Odd:
    """A feed that does what a test tells it to."""

    name = "odd"
    wanted: Sequence[Wanted] = ()
    every_s = 0.01

    def __init__(self, read: Callable[[], list[Fed]]) -> None:
        self._read = read

    def read(self, now: int) -> list[Fed]:
        return self._read()


def test_a_feed_that_breaks_is_told_of_and_turned_on() -> None:
    heard: list[TightropeError | None] = []
    enough = Event()

    def broken() -> list[Fed]:
        raise ZeroDivisionError("by nothing")

    def out(_feed: Feed, _found: list[Fed], error: TightropeError | None) -> None:
        heard.append(error)
        if len(heard) > 1:
            enough.set()

    pump = Pump(Odd(broken), lambda: NOW, out)
    assert enough.wait(10)
    pump.stop()
    assert heard[0] is not None
    assert heard[0].message == "odd cannot be read: ZeroDivisionError: by nothing"


def test_an_objective_that_is_refused_does_not_make_a_feed_ask_without_pause() -> None:
    times = []
    server = Server("a")

    class Counted(Pull):
        every_s = 5.0

        def read(self, now: int) -> list[Fed]:
            times.append(now)
            return super().read(now)

    read: Read = server
    pump = Pump(Counted("prometheus", [wanted("a")], read, every_s=5), lambda: NOW, lambda *_: None)
    time.sleep(0.3)
    pump.stop()
    assert len(times) == 1


# --- recordings ----------------------------------------------------------------------------------------------------


def test_a_recording_ends_within_the_coming_day_and_one_service_is_amid_what_was_named() -> None:
    def of(service: str) -> Wanted:
        one = wanted(service)
        return replace(one, slo=replace(one.slo, service=service))

    old = answer(START - 900 * DAY_S, START - 880 * DAY_S)

    def read(asked: Sequence[tuple[Slo, Objective]], _: int | None, __: int | None) -> list[Reading]:
        return [old for _one in asked]

    trouble = old.slices.start + 7 * DAY_S + 1234
    moved: dict[str, int] = {}
    amid = {"burning": trouble, "unheard-of": 5}
    fed = Replay("recording", [of("calm"), of("burning")], read, moved.update, amid).read(NOW)
    assert [one.asked[1] for one in fed] == [NOW // STEP * STEP] * 2
    assert moved["calm"] % DAY_S == 0
    assert 0 <= old.slices.end + moved["calm"] - NOW < DAY_S
    assert moved["burning"] % 3600 == 0
    assert 1800 <= NOW - (trouble + moved["burning"]) < 5400
    assert set(moved) == {"calm", "burning"}
