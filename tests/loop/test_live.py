"""The live loop gives what a replay of the same record gives, however it is fed, stopped, started and corrected."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread

import numpy as np
import pytest

from tests.loop.live_worlds import SOURCE, START, STEP, Begin, World, cut, replayed, slo, traffic
from tightrope.base.errors import SourceUnreachableError
from tightrope.loop.feeds import Fed
from tightrope.sli.hours import by_the_hour
from tightrope.sli.slices import Slices
from tightrope.state.database import opened
from tightrope.telemetry.rollup.store import HourStore

FLEET = (
    SOURCE
    + slo("plain")
    + slo("held", annotations="tightrope.dev/gaps: hold")
    + slo(
        "coarse", "search", spec="budgetingMethod: Timeslices", objective=", timeSliceTarget: 0.95, timeSliceWindow: 5m"
    )
    + slo("ratio", "search", spec="budgetingMethod: RatioTimeslices", objective=", timeSliceWindow: 1m")
    + slo("calendar", "shop").replace(
        "[{duration: 1d, isRolling: true}]",
        "[{duration: 1d, isRolling: false, calendar: {startTime: '2026-01-01 00:00:00', timeZone: Europe/Berlin}}]",
    )
    + """
---
apiVersion: tightrope.dev/v1
kind: Exclusion
metadata: {name: works}
spec: {startsAt: "2026-03-01 20:00:00", duration: 30m, services: [checkout], reason: works}
"""
)
TRACKS = ("plain", "held", "coarse", "ratio", "calendar")


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Begin]:
    made: list[World] = []

    def make(text: str = FLEET, **others: object) -> World:
        made.append(World(tmp_path / "store", text, tmp_path, **others))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for one in made:
        one.close()


def records(minutes: int, *, gaps: bool = True) -> dict[str, Slices]:
    return {track: traffic(number, minutes, gaps=gaps) for number, track in enumerate(TRACKS)}


def agree(world: World, whole: dict[str, Slices], first: int) -> None:
    """Every track stands where a replay of its record stands, and was told of the same moves.

    What had moved by the *first* evaluation was history then: only where it had led was told.
    """
    for track in world.live.tracks:
        assert track.evaluated_to is not None
        then = replayed(world.folder, whole, track.evaluated_to)[track.key]
        assert track.memory == then.history.memory, track.key
        now = world.live.assessment(track.key)
        assert now.statement == then.statement, track.key
        assert now.history.reason == then.history.reason, track.key
        moves = [
            (one.event.time, one.event.data["from"], one.event.data["to"])
            for one in world.events("dev.tightrope.state.changed.v1")
            if one.event.data["track"] == track.key
        ]
        past = [one for one in then.history.transitions if one.at <= first][-1:]
        news = [one for one in then.history.transitions if one.at > first]
        assert moves == [(one.at, one.before, one.after) for one in past + news], track.key


def test_slice_by_slice_is_a_replay(begin: Begin) -> None:
    world, whole = begin(), records(700)
    for at in range(START + STEP, START + 700 * STEP + 1, STEP):
        for track, one in whole.items():
            world.feed(track, cut(one, at - STEP, at))
        world.turn(at + 5)
    agree(world, whole, START + STEP)


@pytest.mark.parametrize("seed", range(3))
def test_in_pieces_with_restarts_is_a_replay(begin: Begin, seed: int) -> None:
    chance = np.random.default_rng(seed)
    world, whole = begin(), records(700)
    at = first = START
    while at < START + 700 * STEP:
        until = min(at + int(chance.integers(1, 60)) * STEP, START + 700 * STEP)
        for track, one in whole.items():
            world.feed(track, cut(one, at, until))
        world.turn(until + 5)
        first = until if first == START else first
        at = until
        if chance.random() < 0.2:
            world.begin()
        if chance.random() < 0.1:
            world.slices.compact()
    agree(world, whole, first)


def test_what_comes_late_is_as_if_it_had_come_in_time(begin: Begin) -> None:
    world, whole = begin(SOURCE + slo("plain")), {"plain": traffic(5, 900, gaps=False)}
    record = whole["plain"]
    for at in range(START + 10 * STEP, START + 900 * STEP + 1, 10 * STEP):
        if at == START + 400 * STEP:
            continue  # this piece comes an hour later
        world.feed("plain", cut(record, at - 10 * STEP, at))
        world.turn(at + 5)
        if at == START + 460 * STEP:
            world.feed("plain", cut(record, START + 390 * STEP, START + 400 * STEP))
            world.turn(at + 6)
    now = world.live.assessment("plain")
    then = replayed(world.folder, whole, now.statement.at)["plain"]
    assert (now.history.memory, now.statement) == (then.history.memory, then.statement)


def test_what_is_corrected_counts_as_it_is_now(begin: Begin) -> None:
    world, record = begin(SOURCE + slo("plain")), traffic(6, 600, gaps=False)
    world.feed("plain", record)
    world.turn(record.end + 5)
    bad = record.bad.copy()
    bad[300:320] = record.total[300:320]
    corrected = replace(record, bad=bad)
    world.feed("plain", cut(corrected, START + 295 * STEP, START + 325 * STEP))
    world.turn(record.end + 6)
    now = world.live.assessment("plain")
    then = replayed(world.folder, {"plain": corrected}, now.statement.at)["plain"]
    assert (now.history.memory, now.statement) == (then.history.memory, then.statement)
    assert now.history.memory.policy.state > 0


def test_silence_becomes_unknown_and_freezes_what_is_known(begin: Begin) -> None:
    world, record = begin(SOURCE + slo("plain")), traffic(7, 300, gaps=False)
    world.feed("plain", record)
    world.turn(record.end + 5)
    assert not world.live.assessment("plain").stale
    world.fail(SourceUnreachableError("http://nowhere can't be reached"))
    world.turn(record.end + 20 * 60)
    silent = world.live.assessment("plain")
    assert silent.stale
    assert silent.doubts == ("http://nowhere can't be reached",)
    assert silent.age_s(world.at) == 20 * 60


def test_a_broken_edit_keeps_the_last_good_specs_and_is_shown(begin: Begin) -> None:
    world, record = begin(SOURCE + slo("plain")), traffic(8, 300)
    world.feed("plain", record)
    world.turn(record.end + 5)
    world.write(SOURCE + slo("plain").replace("0.99", "99"))
    world.turn(record.end + 10)
    assert [one.code for one in world.live.snapshot.problems] == ["TR012"]
    assert set(world.live.snapshot.assessments) == {"plain"}
    world.write(SOURCE + slo("plain").replace("0.99", "0.9"))
    world.turn(record.end + 15)
    assert world.live.snapshot.problems == ()
    (track,) = world.live.tracks
    assert track.objective.target * 10 == 9
    assert track.evaluated_to == record.end, "the record is known, and judged anew at once"


def test_another_indicator_is_another_record(begin: Begin) -> None:
    world, record = begin(SOURCE + slo("plain")), traffic(9, 300)
    world.feed("plain", record)
    world.turn(record.end + 5)
    world.write(SOURCE + slo("plain").replace("column: good", "column: fine"))
    world.turn(record.end + 10)
    assert set(world.live.snapshot.assessments) == set()
    world.feed("plain", cut(record, START, START + 100 * STEP))
    world.turn(record.end + 15)
    assert world.live.assessment("plain").statement.total == int(record.total[:100].sum())


def test_a_long_history_is_judged_when_all_of_it_is_here(begin: Begin) -> None:
    world, record = begin(SOURCE + slo("plain")), traffic(10, 900)
    world.feed("plain", cut(record, START, START + 450 * STEP), caught_up=False)
    world.turn(record.end + 5)
    assert set(world.live.snapshot.assessments) == set()
    assert [(one.series, one.done_s) for one in world.live.backfills()] == [("plain", 450 * STEP)]
    world.begin()  # stopped in the middle, it goes on
    world.feed("plain", cut(record, START + 450 * STEP, record.end))
    world.turn(record.end + 10)
    agree_one = replayed(world.folder, {"plain": record}, record.end)["plain"]
    assert world.live.assessment("plain").history.memory == agree_one.history.memory
    assert world.events("dev.tightrope.state.changed.v1")[:-1] == [], "the past is not told as news"


def test_what_is_let_go_of_changes_nothing_that_is_told(begin: Begin) -> None:
    world, record = begin(SOURCE + slo("plain"), keep_s=2 * 86400), traffic(11, 9 * 1440)
    first = START + 8 * 1440 * STEP
    world.feed("plain", cut(record, START, first))
    world.turn(first + 5)
    world.live.tidy()
    (track,) = world.live.tracks
    assert track.series is not None
    (span,) = world.slices.spans([track.series])
    assert span is not None
    assert span[0] > START
    world.begin()
    world.feed("plain", cut(record, first, first + 600 * STEP))
    world.turn(first + 600 * STEP + 5)
    world.feed("plain", cut(record, first - 5 * STEP, first + 900 * STEP))  # again, and more
    world.turn(first + 900 * STEP + 5)
    now = world.live.assessment("plain")
    then = replayed(world.folder, {"plain": record}, now.statement.at)["plain"]
    assert (now.history.memory, now.statement) == (then.history.memory, then.statement)


def test_a_restart_hears_its_source_before_it_takes_silence_for_a_gap(begin: Begin) -> None:
    world, record = begin(SOURCE + slo("plain")), traffic(12, 900, gaps=False)
    half = START + 450 * STEP
    world.feed("plain", cut(record, START, half))
    world.turn(half + 5)
    told = len(world.events("dev.tightrope.state.changed.v1"))
    world.at = record.end + 5  # it was away for hours
    world.begin()
    assert world.live.assessment("plain").statement.at == half, "the gate answers at once, from what is known"
    world.turn(record.end + 30)
    assert world.live.assessment("plain").statement.at == half
    world.feed("plain", cut(record, half - 3 * STEP, record.end))
    world.turn(record.end + 31)
    assert world.live.assessment("plain").statement.at == record.end
    agree(world, {"plain": record}, half)
    assert told <= len(world.events("dev.tightrope.state.changed.v1"))


def test_a_source_that_never_answers_after_a_restart_is_not_waited_for_long(begin: Begin) -> None:
    world, record = begin(SOURCE + slo("plain")), traffic(12, 450, gaps=False)
    world.feed("plain", record)
    world.turn(record.end + 5)
    world.at = record.end + 3600
    world.begin()
    assert not world.live.assessment("plain").stale
    world.turn(record.end + 3600 + 61)
    assert world.live.assessment("plain").stale


def test_a_clock_that_is_set_back_over_a_restart_evaluates_nothing_twice(begin: Begin) -> None:
    world, record = begin(SOURCE + slo("plain")), traffic(12, 600, gaps=False)
    bad = record.bad.copy()
    bad[500:560] = record.total[500:560]  # it burns for an hour
    record = replace(record, bad=bad)
    world.feed("plain", record)
    world.turn(record.end + 5)
    (track,) = world.live.tracks
    memory, events = track.memory, len(world.events("dev.tightrope.state.changed.v1"))
    world.at = START + 530 * STEP
    world.begin()
    world.feed("plain", cut(record, START + 520 * STEP, START + 530 * STEP))
    for at in range(world.at, world.at + 40 * STEP, STEP):
        world.turn(at)
    (track,) = world.live.tracks
    assert (track.memory, track.evaluated_to) == (memory, record.end)
    assert len(world.events("dev.tightrope.state.changed.v1")) == events
    world.turn(record.end + 10 * STEP)
    assert world.live.assessment("plain").statement.at > record.end, "and goes on when that time has come"


def test_one_objective_that_cannot_be_read_leaves_the_others_alone(begin: Begin) -> None:
    world = begin(SOURCE + slo("plain") + slo("other"))
    one = world.idle[-1]
    record = traffic(13, 300)
    found = [
        Fed("plain", record, (record.start, record.end), caught_up=True),
        Fed("other", cut(record, START, START), (START, START), caught_up=False, error="parse error"),
    ]
    one.out(one.feed, found, None)
    world.turn(record.end + 5)
    assert world.live.assessment("plain").doubts == ()
    assert [(each.series, each.error) for each in world.live.backfills()] == [("other", "parse error")]


def test_what_a_feed_remembers_is_stored_with_its_slices(begin: Begin) -> None:
    world, record = begin(SOURCE + slo("plain")), traffic(14, 300)
    one = world.idle[-1]
    one.out(one.feed, [Fed("plain", record, (START, record.end), caught_up=True, state=("log.x", b"half way"))], None)
    assert world.live.remembered("log.x") is None
    world.turn(record.end + 5)
    assert world.live.remembered("log.x") == b"half way"
    former = world.idle[-1]
    world.write(SOURCE + slo("plain").replace("0.99", "0.9"))
    world.turn(record.end + 6)
    world.live._hear(
        former.feed, [Fed("plain", record, (START, record.end), caught_up=True, state=("log.x", b""))], None
    )
    world.turn(record.end + 7)
    assert world.live.remembered("log.x") == b"half way", "a feed of former specs has no say any more"


# --- what is received ----------------------------------------------------------------------------------------------

PUSHED = SOURCE.replace("csv, connectionDetails: {path: log.csv}", "push, connectionDetails: {}")


def received(name: str) -> str:
    """An SLO to which whole slices are pushed."""
    text = slo(name).replace("ratioMetric:", "ratioMetric:\n        counter: false")
    for column in ("good", "total"):
        text = text.replace(f"{{column: {column}, where: {{name: {name}}}}}", f"{{series: {name}}}")
    return text


def push(world: World, name: str, minute: int, bad: int = 0) -> None:
    one = {"series": name, "time": START + minute * STEP, "bad": bad, "total": 10}
    world.live.receive("push", json.dumps(one).encode(), {"content-type": "application/json"})


def test_what_is_stored_but_not_counted_yet_is_not_let_go_of(begin: Begin) -> None:
    world = begin(PUSHED + received("plain"))
    real, stored, go_on = world.slices.receive, Event(), Event()

    def slow(kind: str, body: bytes, at: int) -> int:
        sequence = real(kind, body, at)
        world.slices.receive = real  # type: ignore[method-assign]
        stored.set()
        go_on.wait(10)
        return sequence

    world.slices.receive = slow  # type: ignore[method-assign,assignment]
    sender = Thread(target=push, args=(world, "plain", 1, 7))
    sender.start()
    assert stored.wait(10)
    push(world, "plain", 2)  # another sender, who was quicker
    world.turn(START + 10 * STEP)
    world.turn(START + 30 * STEP)  # what was counted is covered by now, and its deliveries are let go of
    world.begin()  # killed, before the first was counted
    go_on.set()
    sender.join()
    world.turn(START + 31 * STEP)
    statement = world.live.assessment("plain").statement
    assert [int(statement.good), int(statement.total)] == [13, 20]


def test_a_wrong_metric_of_one_objective_leaves_the_others_received(begin: Begin) -> None:
    world = begin(PUSHED + received("plain") + received("wrong").replace("{series: wrong}", "{series: 'a{b='}"))
    push(world, "plain", 1)
    world.turn(START + 10 * STEP)
    assert world.live.assessment("plain").statement.total == 10
    (wrong,) = [one for one in world.live.backfills() if one.series == "wrong"]
    assert "a{b=" in wrong.error


def test_what_is_let_go_of_stays_by_the_hour_and_changes_no_figure(begin: Begin) -> None:
    world, record = begin(SOURCE + slo("plain"), keep_s=2 * 86400), traffic(15, 9 * 1440)
    world.feed("plain", record)
    world.turn(record.end + 5)
    told = world.live.assessment("plain")
    (track,) = world.live.tracks
    assert track.series is not None
    world.live.tidy()
    start = world.slices.begin_of(track.series)
    assert start is not None
    assert start > START
    with opened(world.where) as database:
        hours = HourStore(database).read(track.series, STEP, 1)
    wanted = by_the_hour(record.between(START, start))
    assert [one.tolist() for one in hours.columns] == [one.tolist() for one in wanted.columns]
    world.begin()
    world.feed("plain", record)  # a file that is read again tells of what was let go of
    world.turn(record.end + 6)
    now = world.live.assessment("plain")
    assert (now.statement, now.history.memory) == (told.statement, told.history.memory)
    world.live.tidy()
    with opened(world.where) as database:
        again = HourStore(database).read(track.series, STEP, 1)
    assert [one.tolist() for one in again.columns] == [one.tolist() for one in wanted.columns]
    assert world.slices.too_late == 0
