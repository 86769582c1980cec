"""What comes late or is corrected: every move that follows is told, and nothing else is lost or held up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread, current_thread
from typing import Any

import numpy as np
import pytest
from sqlalchemy import text

from tests.loop.live_worlds import SOURCE, START, STEP, Begin, World, agree, cut, replayed, slo, traffic
from tightrope.base.errors import StoreError
from tightrope.loop.corrections import MOST_REMEMBERED, Correction, changed_rows, correction_of
from tightrope.loop.feeds import Fed, Replay, Wanted
from tightrope.sli.slices import Slices
from tightrope.specs.model import Objective, Slo
from tightrope.specs.store import load
from tightrope.telemetry.reading import Quality, Reading

MOVED, CORRECTED = "dev.tightrope.state.changed.v1", "dev.tightrope.slice.corrected.v1"


def burning(record: Slices, first: int, last: int) -> Slices:
    """The same record with nothing but errors between two minutes."""
    bad = record.bad.copy()
    bad[first:last] = record.total[first:last]
    return replace(record, bad=bad)


def quiet(seed: int, minutes: int) -> Slices:
    record = traffic(seed, minutes, gaps=False)
    return replace(record, bad=record.bad * 0)


def moves(world: World, track: str = "plain") -> list[tuple[int, str, str]]:
    return [
        (one.event.time, one.event.data["from"], one.event.data["to"])
        for one in world.events(MOVED)
        if one.event.data["track"] == track
    ]


def test_every_move_that_a_correction_finds_is_told_and_so_is_the_correction(begin: Begin) -> None:
    world, record = begin(SOURCE + slo("plain")), quiet(1, 900)
    world.feed("plain", record)
    world.turn(record.end + 5)
    assert moves(world) == []
    wrong = burning(record, 300, 330)
    world.feed("plain", cut(wrong, START + 290 * STEP, START + 340 * STEP))
    world.turn(record.end + 6)
    agree(world, plain=wrong)
    then = replayed(world.folder, {"plain": wrong}, record.end)["plain"].history.transitions
    assert len(then) > 1
    assert moves(world) == [(one.at, one.before, one.after) for one in then]
    assert all(one.event.data["foundAt"] == "2026-03-01T15:00:06Z" for one in world.events(MOVED))
    (told,) = world.events(CORRECTED)
    assert told.event.subject == "checkout"
    data = told.event.data
    assert (data["track"], data["start"], data["end"], data["slices"]) == (
        "plain",
        "2026-03-01T05:00:00Z",
        "2026-03-01T05:30:00Z",
        int(np.count_nonzero(record.total[300:330])),
    )
    total = int(record.total[300:330][record.total[300:330] > 0].sum())
    covered = data["slices"]
    assert data["before"] == {"bad": 0, "total": total, "covered": covered}
    assert data["after"] == {"bad": total, "total": total, "covered": covered}
    assert [one["to"] for one in data["moves"]] == [one.after for one in then]

    world.feed("plain", cut(record, START + 290 * STEP, START + 340 * STEP))  # it was right after all
    world.turn(record.end + 7)
    agree(world, plain=record)
    last = world.events(CORRECTED)[-1].event.data
    assert [(one["from"], one["to"]) for one in last["movesGone"]] == [(one.before, one.after) for one in then]
    assert last["moves"] == []
    assert len(moves(world)) == len(then), "what never was is not told as a move"


def test_moves_that_were_told_are_not_told_again(begin: Begin) -> None:
    world, record = begin(SOURCE + slo("plain")), burning(quiet(2, 900), 500, 530)
    for at in range(START + 100 * STEP, record.end + 1, 100 * STEP):
        world.feed("plain", cut(record, at - 100 * STEP, at))
        world.turn(at + 5)
    before = moves(world)
    assert before
    total = record.total.copy()
    total[200] += 1  # so little that nothing follows
    wrong = replace(record, total=total)
    world.feed("plain", cut(wrong, START + 190 * STEP, START + 210 * STEP))
    world.turn(record.end + 6)
    agree(world, plain=wrong)
    then = replayed(world.folder, {"plain": wrong}, record.end)["plain"].history.transitions
    assert moves(world) == [(one.at, one.before, one.after) for one in then] == before
    assert world.events(CORRECTED)[-1].event.data["moves"] == []


def test_a_newest_slice_that_grows_is_no_news(begin: Begin) -> None:
    world, record = begin(SOURCE + slo("plain")), quiet(3, 300)
    world.feed("plain", record)
    world.turn(record.end + 5)
    total = record.total.copy()
    total[-1] += 3
    grown = replace(record, total=total)
    world.feed("plain", cut(grown, record.end - 2 * STEP, record.end))
    world.turn(record.end + 6)
    agree(world, plain=grown)
    assert world.events(CORRECTED) == []


def test_a_kill_between_a_correction_and_its_replay_loses_neither(
    begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, record = begin(SOURCE + slo("plain")), quiet(4, 900)
    world.feed("plain", record)
    world.turn(record.end + 5)
    wrong = burning(record, 300, 330)
    world.feed("plain", cut(wrong, START + 290 * STEP, START + 340 * STEP))

    def killed(*_: object) -> None:
        raise StoreError("killed")

    with monkeypatch.context() as patched:
        patched.setattr(world.live._journal, "append_in", killed)
        with pytest.raises(StoreError, match="killed"):
            world.turn(record.end + 6)
    world.begin()
    world.turn(record.end + 70)
    world.turn(record.end + 71)
    then = replayed(world.folder, {"plain": wrong}, record.end)["plain"].history.transitions
    assert moves(world)[: len(then)] == [(one.at, one.before, one.after) for one in then]
    assert len(world.events(CORRECTED)) == 1
    now = world.live.assessment("plain")
    assert (
        now.history.memory.policy == replayed(world.folder, {"plain": wrong}, record.end)["plain"].history.memory.policy
    )
    world.begin()
    world.turn(record.end + 72)
    assert len(world.events(CORRECTED)) == 1, "a replay that was stored is not done again"


def test_a_correction_is_undone_as_it_is_written_down() -> None:
    record = traffic(5, 400)
    wrong = burning(record, 100, 160)
    rows = changed_rows(record, wrong)
    correction = correction_of(record, wrong, rows, record.end)
    assert correction is not None
    again = Correction.of(correction.document())
    undone = again.undone(wrong)
    assert (undone.bad == record.bad).all()
    assert (undone.covered == record.covered).all()
    twice = correction_of(wrong, record, rows, record.end)
    assert twice is not None
    assert (again.and_then(twice).undone(record).bad == record.bad).all(), "what was evaluated is what was first"
    assert MOST_REMEMBERED >= 30 * 1440, "a month of minutes is remembered"


def test_exclusions_count_in_a_stretch_of_many_days_that_comes_at_once(begin: Begin) -> None:
    works = """
---
apiVersion: tightrope.dev/v1
kind: Exclusion
metadata: {name: works}
spec: {startsAt: "2026-03-02 06:00:00", duration: 2h, services: [checkout], reason: works}
"""
    world, record = begin(SOURCE + slo("plain") + works), traffic(6, 26 * 60 + 4 * 1440, gaps=False)
    record = burning(record, 30 * 60 + 10, 30 * 60 + 90)  # while the works go on
    first = START + 26 * 60 * STEP
    world.feed("plain", cut(record, START, first))
    world.turn(first + 5)
    world.feed("plain", cut(record, first, record.end))
    world.turn(record.end + 5)
    agree(world, plain=record)


def test_a_damaged_record_is_told_and_holds_up_no_other(begin: Begin) -> None:
    world, record = begin(SOURCE + slo("plain") + slo("hurt")), quiet(7, 300)
    for key in ("plain", "hurt"):
        world.feed(key, record)
    world.turn(record.end + 5)
    world.slices.compact()
    (hurt,) = [one.series for one in world.live.tracks if one.key == "hurt"]

    def rows(written: bytes | None = None) -> bytes:
        with world.live._database.writing() as connection:
            found = connection.execute(text("SELECT rows FROM slice_chunk WHERE series = :s"), {"s": hurt}).scalar()
            if written is not None:
                connection.execute(
                    text("UPDATE slice_chunk SET rows = :r WHERE series = :s"), {"s": hurt, "r": written}
                )
        return bytes(found)  # type: ignore[arg-type]

    whole = rows(b"damaged")
    world.begin()
    world.turn(record.end + 61)
    assert world.live.evaluated("plain")
    assert not world.live.evaluated("hurt")
    (told,) = world.live.backfills()
    assert told.series == "hurt"
    assert told.error.startswith("a chunk of slices cannot be read")
    for key in ("plain", "hurt"):  # what comes for it is kept, and the other one goes on
        world.feed(key, replace(record, start=record.start + 10 * STEP))
    world.turn(record.end + 10 * STEP + 5)
    assert world.live.assessment("plain").statement.at == record.end + 10 * STEP
    rows(whole)
    world.turn(record.end + 10 * STEP + 200)
    assert world.live.evaluated("hurt")


def test_whoever_replays_a_history_holds_up_nobody(begin: Begin) -> None:
    world, record = begin(SOURCE + slo("plain")), quiet(8, 300)
    world.feed("plain", record)
    world.turn(record.end + 5)
    reading, go_on, real = Event(), Event(), world.slices.read

    def slow(ids: Sequence[int], start: int | None = None, end: int | None = None) -> list[Slices]:
        if current_thread() is asker:
            reading.set()
            go_on.wait(20)
        return real(ids, start, end)

    world.slices.read = slow  # type: ignore[method-assign]
    found: list[Any] = []
    asker = Thread(target=lambda: found.extend(world.live.history(world.live.snapshot.specs.slos)))
    asker.start()
    assert reading.wait(10)
    turner = Thread(target=world.turn, args=(record.end + 300,))
    turner.start()
    turner.join(10)
    assert not turner.is_alive(), "the loop turns on"
    assert world.live.assessment("plain").statement.at > record.end
    go_on.set()
    asker.join(10)
    assert [one.statement.at for one in found] == [record.end]


def test_a_recording_stays_where_it_was_put_when_specs_are_edited_days_later(tmp_path: Path) -> None:
    (tmp_path / "slo.yaml").write_text(SOURCE + slo("plain") + slo("more"), encoding="utf-8")
    slos = {one.name: one for one in load([str(tmp_path)]).slos}
    record = replace(traffic(9, 600), start=START - 100 * 86400)

    def read(wanted: Sequence[tuple[Slo, Objective]], _: int | None, __: int | None) -> list[Reading]:
        return [Reading(record, Quality()) for _one in wanted]

    def wanted(name: str, shift_s: int | None) -> Wanted:
        one = slos[name]
        return Wanted(name, one, one.objectives[0], START, 60, START, shift_s)

    told: list[dict[str, int]] = []
    now = START + 5 * 3600

    def tell(shifts: Mapping[str, int]) -> None:
        told.append(dict(shifts))

    (first,) = Replay("recording", [wanted("plain", None)], read, tell).read(now)
    assert first.shift_s == told[-1]["checkout"] == 100 * 86400
    both = [wanted("plain", first.shift_s), wanted("more", None)]
    again: list[Fed] = Replay("recording", both, read, tell).read(now + 3 * 86400)
    assert {one.shift_s for one in again} == {first.shift_s}
    assert {one.slices.start for one in again} == {first.slices.start}
    assert told[-1] == told[0]


def test_how_far_a_recording_was_moved_is_stored_with_its_slices(begin: Begin) -> None:
    world, record = begin(SOURCE + slo("plain")), quiet(10, 300)
    one = world.idle[-1]
    one.out(one.feed, [Fed("plain", record, (START, record.end), caught_up=True, shift_s=5 * 86400)], None)
    world.turn(record.end + 5)
    assert one.feed.wanted[0].shift_s is None
    world.write(SOURCE + slo("plain").replace("0.99", "0.9"))
    world.turn(record.end + 10)
    assert world.idle[-1].feed.wanted[0].shift_s == 5 * 86400


def test_whoever_asks_for_what_was_drawn_up_does_not_wait_for_the_turn(begin: Begin) -> None:
    world, record = begin(SOURCE + slo("plain")), quiet(8, 300)
    world.feed("plain", record)
    world.turn(record.end + 5)
    drawn = world.live.assessment("plain")
    world.feed("plain", replace(record, start=record.start + STEP))
    turning, go_on, real = Event(), Event(), world.slices.write_in

    def slow(connection: Any, batch: Any) -> None:
        turning.set()
        go_on.wait(20)
        real(connection, batch)

    world.slices.write_in = slow  # type: ignore[method-assign]
    turner = Thread(target=world.turn, args=(record.end + STEP + 5,))
    turner.start()
    assert turning.wait(10)
    found: list[Any] = []
    asker = Thread(target=lambda: found.append(world.live.assessment("plain")))
    asker.start()
    asker.join(10)
    assert found == [drawn]
    go_on.set()
    turner.join(10)
    assert world.live.assessment("plain").statement.at == record.end + STEP
