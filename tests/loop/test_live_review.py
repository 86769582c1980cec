"""What is easily lost between two turns: long windows, restarts in the middle of a slice, edits, and corrections."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.loop.live_worlds import SOURCE, START, STEP, Begin, agree, cut, replayed, slo, traffic
from tightrope.base.errors import DataError, SourceUnreachableError, StoreError
from tightrope.loop.gatekeeper import gather
from tightrope.policy.decision import GateRequest, Verdict
from tightrope.policy.gate import decide
from tightrope.specs.model import ChangeKind
from tightrope.telemetry.usecases import open_receiver

WORKS = """
---
apiVersion: tightrope.dev/v1
kind: Exclusion
metadata: {name: works}
spec: {startsAt: "2026-03-01 20:00:00", duration: 2h, services: [checkout], reason: works}
"""


def test_an_exclusion_leaves_a_long_window_as_it_came(begin: Begin) -> None:
    text = SOURCE + slo("plain").replace("duration: 1d", "duration: 7d") + WORKS
    world, record = begin(text), traffic(21, 8 * 1440 + 300, gaps=False)
    first = START + 2 * 1440 * STEP
    world.feed("plain", cut(record, START, first))
    world.turn(first + 5)
    for at in range(first, record.end, 180 * STEP):  # the works leave the window six days later
        until = min(at + 180 * STEP, record.end)
        world.feed("plain", cut(record, at, until))
        world.turn(until + 5)
    agree(world, plain=record)


def test_what_was_stored_ahead_of_the_mark_counts_after_a_restart(begin: Begin) -> None:
    world, record = (
        begin(
            SOURCE
            + slo("plain")
            + slo(
                "coarse", spec="budgetingMethod: Timeslices", objective=", timeSliceTarget: 0.95, timeSliceWindow: 5m"
            )
        ),
        traffic(22, 400, gaps=False),
    )
    other = traffic(23, 400, gaps=False)
    half = START + 300 * STEP
    world.feed("plain", record)  # all of it, while the present is only half way
    world.feed("coarse", other)
    world.turn(half + 5)
    world.begin()
    for at in range(half, record.end + 1, STEP):
        world.turn(at + 5)
    agree(world, plain=record, coarse=other)


def test_a_row_of_another_record_is_no_gap_of_this_one(begin: Begin) -> None:
    coarse = slo("coarse", spec="budgetingMethod: Timeslices", objective=", timeSliceTarget: 0.95, timeSliceWindow: 5m")
    world = begin(SOURCE + coarse + slo("plain"))
    record, other = traffic(24, 310, gaps=False), traffic(25, 310, gaps=False)
    record.bad[300:303] = record.total[300:303]
    record.bad[303:305] = 0
    middle = START + 303 * STEP  # three slices of a unit of five are here when it stops
    for key, one in {"coarse": record, "plain": other}.items():
        world.feed(key, cut(one, START, middle))
    world.turn(middle + 5)
    world.begin()
    bad = other.bad.copy()
    bad[300:303] = other.total[300:303]
    other = replace(other, bad=bad)  # the other one is corrected just there
    world.feed("plain", cut(other, START + 300 * STEP, other.end))
    world.feed("coarse", cut(record, middle, record.end))
    world.turn(record.end + 5)
    agree(world, plain=other, coarse=record)


def test_whoever_looked_before_a_correction_sees_it_too(begin: Begin) -> None:
    world, record = begin(SOURCE + slo("plain")), traffic(26, 600, gaps=False)
    world.feed("plain", record)
    world.turn(record.end + 5)
    assert world.live.assessment("plain").statement.at == record.end
    bad = record.bad.copy()
    bad[300:320] = record.total[300:320]
    corrected = replace(record, bad=bad)
    world.feed("plain", cut(corrected, START + 295 * STEP, START + 325 * STEP))
    world.turn(record.end + 6)
    agree(world, plain=corrected)
    then = replayed(world.folder, {"plain": corrected}, record.end)["plain"]
    assert then.history.reason
    assert world.live.assessment("plain").history.reason == then.history.reason


def test_a_source_that_fails_is_told_at_once_and_forgotten_when_it_is_back(begin: Begin) -> None:
    world, record = begin(SOURCE + slo("plain")), traffic(27, 300, gaps=False)
    world.feed("plain", record)
    world.turn(record.end + 5)
    assert world.live.assessment("plain").doubts == ()
    world.fail(SourceUnreachableError("http://nowhere can't be reached"))
    world.turn(record.end + 6)
    assert world.live.assessment("plain").doubts == ("http://nowhere can't be reached",)
    world.feed("plain", cut(record, record.end - STEP, record.end))
    world.turn(record.end + 7)
    assert world.live.assessment("plain").doubts == ()


def test_rows_at_hand_do_not_pile_up_behind_an_objective_that_is_gone(begin: Begin) -> None:
    world = begin(SOURCE + slo("plain") + slo("gone"))
    record = traffic(28, 500, gaps=False)
    first = START + 100 * STEP
    for key in ("plain", "gone"):
        world.feed(key, cut(record, START, first))
    world.turn(first + 5)
    world.write(SOURCE + slo("plain"))
    world.turn(first + 10)
    for at in range(first, record.end, STEP):
        world.feed("plain", cut(record, at, at + STEP))
        world.turn(at + STEP + 5)
    agree(world, plain=record)
    assert max(len(board.rows) for board in world.live._watch.boards.values()) < 40


def test_specs_that_could_not_be_followed_at_first_are_told_when_they_are(
    begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = begin(SOURCE + slo("plain"))
    world.turn(START + 5)
    kind = "dev.tightrope.specs.followed.v1"
    assert len(world.events(kind)) == 1
    world.write(SOURCE + slo("plain").replace("0.99", "0.9"))
    append = world.live._journal.append_in

    def full(*_: object) -> None:
        raise StoreError("the disk is full")

    monkeypatch.setattr(world.live._journal, "append_in", full)
    with pytest.raises(StoreError):
        world.turn(START + 6)
    world.live._broken = True  # as the turner notes
    monkeypatch.setattr(world.live._journal, "append_in", append)
    world.turn(START + 7)
    assert len(world.events(kind)) == 2


def test_another_measurement_does_not_inherit_rows_at_hand(begin: Begin) -> None:
    world, record = begin(SOURCE + slo("plain")), traffic(29, 300, gaps=False)
    half = START + 200 * STEP
    world.feed("plain", record)  # ahead of the present
    world.turn(half + 5)
    world.write(SOURCE + slo("plain").replace("column: good", "column: fine"))
    world.turn(half + 10)
    other = traffic(30, 300, gaps=False)
    world.feed("plain", cut(other, START, half))
    world.turn(half + 15)
    covered = other.covered.copy()
    covered[200:] = False
    world.turn(record.end + 5)
    agree(world, plain=replace(other, bad=other.bad * covered, total=other.total * covered, covered=covered))


def test_no_feature_ships_before_every_objective_of_its_service_was_evaluated(begin: Begin) -> None:
    world, record = begin(SOURCE + slo("plain") + slo("other")), traffic(31, 300, gaps=False)

    def verdict(kind: ChangeKind) -> Verdict:
        request = GateRequest("checkout", world.at, kind=kind)
        return decide(request, gather(world.live.snapshot.specs, request, world.live.assessments("checkout"))).verdict

    quiet = replace(record, bad=record.bad * 0)
    world.turn(record.end + 5)
    assert verdict(ChangeKind.FEATURE) is not Verdict.GO, "nothing is known of either"
    assert verdict(ChangeKind.ROLLBACK) is Verdict.GO
    world.feed("plain", quiet)
    world.turn(record.end + 6)
    assert verdict(ChangeKind.FEATURE) is not Verdict.GO, "nothing is known of the other one"
    world.feed("other", quiet)
    world.turn(record.end + 7)
    assert verdict(ChangeKind.FEATURE) is Verdict.GO


def test_what_nobody_counts_does_not_stay_in_the_inbox(begin: Begin) -> None:
    world = begin(SOURCE + slo("plain"))
    world.live._receiving.receivers = {"push": open_receiver("push")}
    body = b'{"series": "x", "value": 1, "time": %d}' % (START + 30)
    world.at = START + 40
    assert world.live.receive("push", body, {"content-type": "application/json"}) == 1
    assert len(world.slices.waiting(0, 10)) == 1
    world.turn(START + 3600)
    assert world.slices.waiting(0, 10) == []
    assert world.live.counts()["waiting"] == 0


def test_a_record_that_cannot_be_counted_holds_up_no_other(begin: Begin) -> None:
    world, record = begin(SOURCE + slo("plain") + slo("huge")), traffic(32, 300, gaps=False)
    first = START + 200 * STEP
    for key in ("plain", "huge"):
        world.feed(key, cut(record, START, first))
    world.turn(first + 5)
    world.feed("plain", cut(record, first, first + 50 * STEP))
    most = replace(record, total=record.total + (1 << 61))
    world.feed("huge", cut(most, first, first + 50 * STEP))
    with pytest.raises(DataError, match="more units than can be counted"):
        world.turn(first + 50 * STEP + 5)
    world.live._broken = True  # as the turner notes
    world.turn(first + 50 * STEP + 6)
    world.feed("plain", cut(record, first + 50 * STEP, record.end))
    world.turn(record.end + 5)
    assert world.live.evaluated("plain")
    assert not world.live.evaluated("huge")
    now, then = world.live.assessment("plain"), replayed(world.folder, {"plain": record, "huge": record}, record.end)
    assert (now.history.memory, now.statement) == (then["plain"].history.memory, then["plain"].statement)
    assert [(one.series, "counted exactly" in one.error) for one in world.live.backfills()] == [("huge", True)]


def test_what_members_let_go_of_changes_nothing_of_their_whole(begin: Begin) -> None:
    member = "{target: 0.99, timeSliceTarget: 0.95, timeSliceWindow: 1m, compositeWeight: %d, indicator: %s}"

    def indicator(name: str) -> str:
        parts = [
            f"{part}: {{metricSource: {{metricSourceRef: log, spec: {{column: {part}, where: {{name: {name}}}}}}}}}"
            for part in ("good", "total")
        ]
        return f"{{metadata: {{name: {name}-sli}}, spec: {{ratioMetric: {{{', '.join(parts)}}}}}}}"

    two = ", ".join(member % (weight, indicator(f"part{weight}")) for weight in (1, 2))
    text = f"""
---
apiVersion: openslo/v1
kind: SLO
metadata: {{name: both}}
spec:
  service: checkout
  budgetingMethod: RatioTimeslices
  timeWindow: [{{duration: 1d, isRolling: true}}]
  objectives: [{two}]
"""
    world = begin(SOURCE + text, keep_s=2 * 86400)
    keys = [one.key for one in world.live.tracks if not one.whole]
    whole = next(one.key for one in world.live.tracks if one.whole)
    records = {key: traffic(40 + number, 9 * 1440, gaps=False) for number, key in enumerate(keys)}
    first = START + 8 * 1440 * STEP
    for key, record in records.items():
        world.feed(key, cut(record, START, first))
    world.turn(first + 5)
    world.live.tidy()
    spans = world.slices.spans([one.series for one in world.live.tracks if one.series is not None])
    assert all(span is not None and span[0] > START for span in spans)
    late = records[keys[0]]
    bad = late.bad.copy()
    bad[8 * 1440 - 5] = 0
    records[keys[0]] = replace(late, bad=bad)
    for key, record in records.items():
        world.feed(key, cut(record, first - 10 * STEP, record.end))
    world.turn(first + 1440 * STEP + 5)
    now = world.live.assessment(whole)
    then = replayed(world.folder, records, now.statement.at)[whole]
    assert (now.history.memory, now.statement) == (then.history.memory, then.statement)
