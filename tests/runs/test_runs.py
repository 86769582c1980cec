"""Runs on both databases: begun once, turned in order, retried, stopped, settled; and everything is in the journal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.runs.worlds import Clock, Scripted, plan, states, step, world
from tightrope.base.errors import ConflictError, NotFoundError, StoreError, UsageError
from tightrope.runs.reconcile import LEASE_S, MOST_DEATHS, MOST_FAULTS
from tightrope.runs.steps import (
    Action,
    Again,
    Answer,
    Change,
    Done,
    Effects,
    LeaseLostError,
    OnUnknown,
    RunState,
    Step,
    StepPlan,
    StepState,
    When,
)
from tightrope.runs.store import locked_in
from tightrope.runs.usecases import Runs
from tightrope.state.database import opened
from tightrope.state.journal import Event, Journal


def test_steps_run_in_the_order_of_their_needs_and_are_told_in_the_journal(store: str) -> None:
    with world(store) as here:
        run = here.runs.start(plan(step("ship", "test"), step("test", "build"), step("build")))
        assert states(run) == {"ship": "waiting", "test": "waiting", "build": "ready"}
        done = here.go(run)
        assert [name for _, name, _ in here.action.turns] == ["build", "test", "ship"]
        assert done.state is RunState.SUCCEEDED
        assert done.step("ship").outcome == {"attempt": 1}
        assert done.number == 1
    with opened(store) as database:
        journal = Journal(database)
        assert journal.verify().broken == ()
        told = [(entry.event.type.split(".", 2)[2], entry.event.data.get("step", "")) for entry in journal.read()]
    assert told == [
        ("run.queued.v1", ""),
        ("step.ready.v1", "build"),
        ("run.started.v1", ""),
        ("step.started.v1", "build"),
        ("step.finished.v1", "build"),
        ("step.ready.v1", "test"),
        ("step.started.v1", "test"),
        ("step.finished.v1", "test"),
        ("step.ready.v1", "ship"),
        ("step.started.v1", "ship"),
        ("step.finished.v1", "ship"),
        ("run.finished.v1", ""),
    ]


def test_a_failure_skips_what_needs_it_and_calls_for_what_mends_it(store: str) -> None:
    steps = (
        step("deploy", script="fail"),
        step("verify", "deploy"),
        step("mend", "verify", when=When.FAILURE),
        step("tidy", "verify", when=When.ALWAYS),
        step("other"),
    )
    with world(store) as here:
        done = here.go(here.runs.start(plan(*steps)))
        assert done.state is RunState.FAILED
        assert states(done) == {
            "deploy": "failed",
            "verify": "skipped",
            "mend": "succeeded",
            "tidy": "succeeded",
            "other": "succeeded",
        }


def test_without_a_failure_nothing_is_mended(store: str) -> None:
    with world(store) as here:
        done = here.go(here.runs.start(plan(step("deploy"), step("mend", "deploy", when=When.FAILURE))))
        assert (done.state, states(done)) == (RunState.SUCCEEDED, {"deploy": "succeeded", "mend": "skipped"})


def test_an_optional_step_may_fail(store: str) -> None:
    with world(store) as here:
        done = here.go(here.runs.start(plan(step("lint", script="fail", optional=True), step("ship", "lint"))))
        assert (done.state, states(done)) == (RunState.SUCCEEDED, {"lint": "failed", "ship": "succeeded"})


def test_a_step_is_tried_again_after_pauses_that_double(store: str) -> None:
    with world(store) as here:
        run = here.runs.start(plan(step("flaky", script=["fail", "fail", "ok"], retries=2, backoff_s=10)))
        waiting = here.go(run)
        assert waiting.step("flaky").state is StepState.READY
        assert "it said no" in waiting.step("flaky").why
        assert len(here.action.turns) == 1
        here.go(run, for_s=9)
        assert len(here.action.turns) == 1
        here.go(run, for_s=1)
        assert len(here.action.turns) == 2
        here.go(run, for_s=19)
        assert len(here.action.turns) == 2
        done = here.go(run, for_s=1)
        assert (done.state, done.step("flaky").attempt) == (RunState.SUCCEEDED, 3)


def test_a_hopeless_failure_is_not_tried_again(store: str) -> None:
    with world(store) as here:
        done = here.go(here.runs.start(plan(step("one", script="hopeless", retries=5))), for_s=60)
        assert (done.state, len(here.action.turns)) == (RunState.FAILED, 1)


def test_what_a_step_remembers_is_there_in_the_next_turn(store: str) -> None:
    with world(store) as here:
        run = here.runs.start(plan(step("slow", script="again 3")))
        here.go(run)
        assert here.runs.show(run.id).step("slow").memory == {"turns": 1}
        done = here.go(run, for_s=10)
        assert done.step("slow").outcome == {"turns": 3}


def test_a_step_can_be_woken_before_its_time(store: str) -> None:
    with world(store) as here:
        run = here.runs.start(plan(step("slow", script="again 2")))
        here.go(run)
        assert here.runs.wake(run.id, "slow")
        assert here.go(run).state is RunState.SUCCEEDED
        assert not here.runs.wake(run.id, "slow")


def test_a_step_that_takes_too_long_is_stopped_and_counts_as_failed(store: str) -> None:
    with world(store) as here:
        run = here.runs.start(plan(step("slow", script="again 1000", timeout_s=12, document={"stubborn": True})))
        done = here.go(run, for_s=11)
        assert done.state is RunState.RUNNING
        done = here.go(run, for_s=5)
        assert [what for what, _, _ in here.action.turns] == ["turn", "turn", "turn", "stop", "stop"]
        assert done.state is RunState.FAILED
        assert done.step("slow").why == "timed out after 12 s"


def test_a_cancelled_run_stops_what_runs_and_begins_nothing_but_what_always_runs(store: str) -> None:
    steps = (step("slow", script="again 1000"), step("next", "slow"), step("tidy", "slow", when=When.ALWAYS))
    with world(store) as here:
        run = here.runs.start(plan(*steps))
        here.go(run)
        asked = here.runs.cancel(run.id, by="ada", reason="wrong branch")
        assert asked.cancelled_by == "ada"
        done = here.go(run)
        assert done.state is RunState.CANCELLED
        assert states(done) == {"slow": "cancelled", "next": "cancelled", "tidy": "succeeded"}
        with pytest.raises(ConflictError, match="was cancelled"):
            here.runs.cancel(run.id, by="ada")


def test_a_step_that_ends_well_while_it_is_being_cancelled_has_succeeded(store: str) -> None:
    with world(store) as here:
        run = here.runs.start(plan(step("slow", script="again 1000", document={"finishes": True})))
        here.go(run)
        here.runs.cancel(run.id, by="ada")
        assert here.go(run).state is RunState.SUCCEEDED


def test_runs_of_a_group_go_one_after_the_other_in_their_order_and_none_is_dropped(store: str) -> None:
    with world(store) as here:
        slow = [here.runs.start(plan(step("go", script="again 2"), group="production")) for _ in range(3)]
        other = here.runs.start(plan(step("go"), group="staging"))
        assert [here.runs.show(run.id).state for run in slow] == ["running", "queued", "queued"]
        assert here.go(other).state is RunState.SUCCEEDED
        here.runs.cancel(slow[1].id, by="ada")
        assert here.runs.show(slow[1].id).state is RunState.CANCELLED
        here.go(slow[0], for_s=5)
        assert [here.runs.show(run.id).state for run in slow] == ["succeeded", "cancelled", "running"]
        assert here.go(slow[2], for_s=5).state is RunState.SUCCEEDED


def test_a_run_is_begun_once_under_one_key(store: str) -> None:
    with world(store) as here:
        first = here.runs.start(plan(step("go"), key="push/abc"))
        assert here.runs.start(plan(step("go"), key="push/abc")).number == first.number
        assert here.runs.start(plan(step("go"))).number == 2
        with pytest.raises(ConflictError, match="with other steps"):
            here.runs.start(plan(step("stop"), key="push/abc"))
        assert [run.number for run in here.runs.runs()] == [2, 1]


def test_the_same_plan_in_other_words_is_the_same(store: str) -> None:
    with world(store) as here:
        first = here.runs.start(plan(step("go", document={"list": (1, 2), "map": {"b": 1, "a": 2}}), key="k"))
        assert here.runs.start(plan(step("go", document={"map": {"a": 2, "b": 1}, "list": [1, 2]}), key="k")) == first
        with pytest.raises(UsageError, match="plain JSON values"):
            here.runs.start(plan(step("go", document={"not plain": object()})))


@pytest.mark.parametrize("bad", ["a\0b", "\ud800", "line\r\x1b[31mred", "x" * 9000])
def test_texts_that_no_store_takes_are_mended_and_names_are_refused(store: str, bad: str) -> None:
    class Says(Action):
        def turn(self, step: Step, now: int, effects: Effects) -> Answer:
            return Done({"said": "a\0b"}, ok=False, why=bad)

    with world(store) as here:
        here.runs.register("says", Says())
        run = here.runs.start(plan(StepPlan("go", "says"), title=bad, by=bad))
        done = here.go(run)
        assert done.state is RunState.FAILED
        assert done.step("go").outcome == {"said": "a\0b"}
        for text in (done.title, done.by, done.step("go").why):
            assert text.replace("\n", "").isprintable() or "\ufffd" in text
            assert 0 < len(text) <= 4000
        here.runs.retry(run.id, by=bad)
        here.runs.cancel(run.id, by=bad, reason=bad)
        with pytest.raises(UsageError):
            here.runs.start(plan(step("go"), group=bad))
        with pytest.raises(UsageError):
            here.runs.start(plan(step("go", document={"x": "\ud800"})))


def test_a_listener_that_stumbles_undoes_nothing_and_is_told_of(store: str) -> None:
    def stumble(_: Change) -> None:
        raise ZeroDivisionError("oh")

    with world(store) as here:
        here.runs.on_change(stumble)
        assert here.go(here.runs.start(plan(step("go")))).state is RunState.SUCCEEDED
        assert here.runs.failure == "a listener: ZeroDivisionError: oh"


def test_a_failed_run_goes_on_from_where_it_failed(store: str) -> None:
    with world(store) as here:
        steps = (step("build"), step("deploy", "build", script=["fail", "ok"]), step("verify", "deploy"))
        run = here.runs.start(plan(*steps))
        assert here.go(run).state is RunState.FAILED
        here.runs.retry(run.id, by="ada")
        done = here.go(run)
        assert done.state is RunState.SUCCEEDED
        assert here.action.turns == [("turn", "build", 1), ("turn", "deploy", 1), ("turn", "deploy", 2),
                                     ("turn", "verify", 2)]  # fmt: skip
        with pytest.raises(ConflictError, match="nothing in run 1 failed"):
            here.runs.retry(run.id, by="ada")
        here.runs.retry(run.id, by="ada", steps=["deploy"])
        assert [name for _, name, _ in here.action.turns[4:]] == []
        here.go(run)
        assert [name for _, name, _ in here.action.turns[4:]] == ["deploy", "verify"]


def test_a_retried_run_waits_behind_those_that_came_before(store: str) -> None:
    with world(store) as here:
        first = here.runs.start(plan(step("go", script=["fail", "ok"]), group="production"))
        here.go(first)
        second = here.runs.start(plan(step("go", script="again 2"), group="production"))
        third = here.runs.start(plan(step("go"), group="production"))
        here.runs.retry(first.id, by="ada")
        here.go(first)
        assert [here.runs.show(run.id).state for run in (first, second, third)] == ["queued", "running", "queued"]
        done = here.go(first, for_s=5)
        assert done.state is RunState.SUCCEEDED
        assert [turn[2] for turn in here.action.turns] == [1, 1, 1, 1, 2]


def test_an_unknown_outcome_holds_up_the_run_and_its_group_until_a_person_settles_it(store: str) -> None:
    with world(store) as here:
        run = here.runs.start(plan(step("deploy", script="unknown", retries=3), step("next", "deploy"), group="p"))
        behind = here.runs.start(plan(step("go"), group="p"))
        held = here.go(run, for_s=120)
        assert (held.state, states(held)) == (RunState.UNKNOWN, {"deploy": "unknown", "next": "waiting"})
        assert held.step("deploy").why == "the line went dead"
        assert held.step("deploy").outcome == {"asked": True}
        assert here.runs.show(behind.id).state is RunState.QUEUED
        with pytest.raises(UsageError, match="with a reason"):
            here.runs.settle(run.id, "deploy", "succeeded", by="ada", reason=" ")
        with pytest.raises(UsageError, match="settled as 'maybe'"):
            here.runs.settle(run.id, "deploy", "maybe", by="ada", reason="?")
        here.runs.settle(run.id, "deploy", "succeeded", by="ada", reason="version 7 is live")
        done = here.go(run)
        assert done.state is RunState.SUCCEEDED
        assert done.step("deploy").why == "settled by ada: version 7 is live"
        assert here.runs.show(behind.id).state is RunState.SUCCEEDED
        with pytest.raises(ConflictError, match="not unknown"):
            here.runs.settle(run.id, "deploy", "failed", by="ada", reason="no")


@pytest.mark.parametrize(("as_", "state", "turns"), [("failed", RunState.FAILED, 1), ("again", RunState.SUCCEEDED, 2)])
def test_a_person_may_say_that_it_failed_or_that_it_is_to_be_done_again(
    store: str, as_: str, state: RunState, turns: int
) -> None:
    with world(store) as here:
        run = here.runs.start(plan(step("deploy", script=["unknown", "ok"])))
        here.go(run)
        here.runs.settle(run.id, "deploy", as_, by="ada", reason="I looked")
        assert (here.go(run).state, len(here.action.turns)) == (state, turns)


def test_a_policy_may_do_it_again_a_few_times_and_then_asks_a_person(store: str) -> None:
    with world(store) as here:
        once = here.runs.start(plan(step("ping", script=["unknown", "ok"], on_unknown=OnUnknown.RETRY)))
        assert here.go(once).state is RunState.SUCCEEDED
        ever = here.runs.start(plan(step("ping", script="unknown", on_unknown=OnUnknown.RETRY)))
        held = here.go(ever, for_s=60)
        assert (held.state, held.step("ping").attempt) == (RunState.UNKNOWN, 4)


@pytest.mark.parametrize(
    ("found", "state", "attempt"),
    [("yes", RunState.SUCCEEDED, 1), ("no", RunState.SUCCEEDED, 2), ("", RunState.UNKNOWN, 1)],
)
def test_a_policy_may_probe_for_what_became_of_it(store: str, found: str, state: RunState, attempt: int) -> None:
    with world(store) as here:
        document = {"probe": found}
        run = here.runs.start(
            plan(step("deploy", script=["unknown", "ok"], on_unknown=OnUnknown.PROBE, document=document))
        )
        done = here.go(run, for_s=1)
        assert (done.state, done.step("deploy").attempt) == (state, attempt)
        assert here.action.probes == ["deploy"]


def test_a_turn_without_an_answer_is_done_again_after_a_growing_pause_and_given_up_at_last(store: str) -> None:
    with world(store) as here:
        run = here.runs.start(plan(step("ask", script="fault")))
        waiting = here.go(run)
        assert (waiting.step("ask").state, waiting.step("ask").due_at) == (StepState.RUNNING, here.clock.now + 2)
        assert "nobody answers" in waiting.step("ask").why
        done = here.go(run, for_s=600)
        assert (done.state, len(here.action.turns)) == (RunState.FAILED, MOST_FAULTS)
        assert "given up after 12 turns" in done.step("ask").why


def test_a_fault_after_an_announced_effect_leaves_its_outcome_unknown(store: str) -> None:
    with world(store) as here:
        held = here.go(here.runs.start(plan(step("ask", script="acting fault"))), for_s=600)
        assert held.state is RunState.UNKNOWN


def test_a_bug_in_an_action_keeps_no_other_from_working(store: str) -> None:
    with world(store) as here:
        run = here.runs.start(plan(step("broken", script="crash"), step("fine")))
        here.go(run)
        assert "ZeroDivisionError" in here.runs.show(run.id).step("broken").why
        assert here.runs.show(run.id).step("fine").state is StepState.SUCCEEDED


def test_a_step_whose_worker_never_came_back_is_turned_by_another_when_its_lease_has_ended(store: str) -> None:
    with world(store) as here, opened(store) as database:
        run = here.runs.start(plan(step("go")))
        dead = Runs(database, clock=here.clock)
        dead.register("scripted", Scripted())
        ((taken, died),) = dead.claim(1)
        assert (taken.fence, died) == (1, False)
        assert here.go(run, for_s=LEASE_S - 1).state is RunState.RUNNING
        done = here.go(run, for_s=1)
        assert (done.state, done.step("go").fence) == (RunState.SUCCEEDED, 2)
        with pytest.raises(LeaseLostError):
            dead.intend(taken, "late", {}, "")
        with pytest.raises(LeaseLostError):
            dead.hold(taken)
        dead.turn(taken)  # its answer does not count
        assert here.runs.show(run.id) == done


def test_a_lease_that_is_renewed_is_nobody_elses(store: str) -> None:
    with world(store) as here, opened(store) as database:
        run = here.runs.start(plan(step("go")))
        slow = Runs(database, clock=here.clock)
        slow.register("scripted", Scripted())
        ((taken, _),) = slow.claim(1)
        for _ in range(5):
            here.go(run, for_s=LEASE_S - 5)
            slow.renew()
        assert here.action.turns == []
        slow.turn(taken)
        assert here.go(run).state is RunState.SUCCEEDED


def test_a_step_that_kills_its_workers_is_given_up(store: str) -> None:
    with world(store) as here, opened(store) as database:
        run = here.runs.start(plan(step("go")))
        for number in range(MOST_DEATHS):
            dead = Runs(database, clock=here.clock)
            dead.register("scripted", Scripted())
            assert [died for _, died in dead.claim(1)] == [number > 0]
            here.clock.wait(LEASE_S)
        done = here.go(run)
        assert (done.state, here.action.turns) == (RunState.FAILED, [])
        assert "its worker ended in the midst of it" in done.step("go").why


class _Deploy(Action):
    """Sets a version once: announces it, looks first where it was announced before."""

    def __init__(self) -> None:
        self.live: list[str] = []
        self.fails_after = 0

    def turn(self, step: Step, now: int, effects: Effects) -> Answer:
        intent = effects.intend("deploy", {"version": "7"})
        if intent.result is None and (intent.new or "7" not in self.live):
            self.live.append("7")
            if self.fails_after:
                self.fails_after -= 1
                raise ConflictError("cut off")
            intent = effects.settle(intent, {"live": "7"})
        return Done({"intent": intent.key, "result": intent.result})


def test_an_effect_that_was_announced_is_looked_for_before_it_is_done_again(store: str) -> None:
    clock, action = Clock(), _Deploy()
    with opened(store, create=True) as database:
        runs = Runs(database, clock=clock)
        runs.register("deploy", action)
        action.fails_after = 1
        run = runs.start(plan(StepPlan("ship", "deploy")))
        runs.work_until_idle()
        (open_,) = runs.intents(run.id)
        assert (open_.result, open_.key) == (None, f"{run.id}/ship/1/deploy")
        clock.wait(2)
        runs.work_until_idle()
        assert action.live == ["7"]
        assert runs.show(run.id).step("ship").outcome == {"intent": open_.key, "result": None}


def test_what_is_settled_first_stays(store: str) -> None:
    class Twice(Action):
        def turn(self, step: Step, now: int, effects: Effects) -> Answer:
            intent = effects.intend("act", {"n": 1})
            again = effects.intend("act", {"n": 2})
            assert (intent.new, again.new, again.document) == (True, False, {"n": 1})
            effects.hold()
            effects.settle(intent, {"said": "first"})
            return Done(effects.settle(again, {"said": "second"}).result or {})

    with opened(store, create=True) as database:
        runs = Runs(database, clock=Clock())
        runs.register("twice", Twice())
        run = runs.start(plan(StepPlan("go", "twice")))
        runs.work_until_idle()
        assert runs.show(run.id).step("go").outcome == {"said": "first"}


def test_others_may_tell_more_in_the_same_transaction(store: str) -> None:
    def told(changes: Any) -> list[Event]:
        return [
            Event(f"{one.run.id}-done", "/tests", "dev.cdevents.pipelinerun.finished.0.3.0", one.run.id, one.at, {})
            for one in changes
            if one.step is None and one.run.state.over
        ]

    heard: list[Change] = []
    with world(store) as here:
        here.runs.tell(told)
        here.runs.on_change(heard.append)
        here.go(here.runs.start(plan(step("go"))))
    assert [one.after for one in heard] == ["queued", "ready", "running", "running", "succeeded", "succeeded"]
    with opened(store) as database:
        assert len(list(Journal(database).read(kind="dev.cdevents.pipelinerun.finished.0.3.0"))) == 1


def test_a_hook_that_fails_leaves_nothing_half_done(store: str) -> None:
    def refuse(_: Any) -> list[Event]:
        raise UsageError("no")

    with world(store) as here:
        here.runs.tell(refuse)
        with pytest.raises(UsageError):
            here.runs.start(plan(step("go")))
        assert here.runs.runs() == []


def test_an_answer_outlives_a_store_that_cannot_be_written_for_a_moment(store: str) -> None:
    refusals = [2]

    def refuse(changes: Any) -> list[Event]:
        if any(one.after == StepState.SUCCEEDED for one in changes) and refusals[0]:
            refusals[0] -= 1
            raise StoreError("the disk is full")
        return []

    with world(store) as here:
        here.runs.tell(refuse)
        run = here.runs.start(plan(step("go")))
        assert here.go(run).state is RunState.SUCCEEDED
        assert (refusals, len(here.action.turns)) == ([0], 1)


def test_only_known_runs_steps_and_attempts_are_shown(store: str) -> None:
    with world(store) as here:
        run = here.runs.start(plan(step("go")))
        assert here.runs.show(run.number).id == here.runs.show(str(run.number)).id == run.id
        with pytest.raises(NotFoundError):
            here.runs.show(99)
        with pytest.raises(NotFoundError, match="has no step 'stop'"):
            here.runs.settle(run.id, "stop", "failed", by="ada", reason="?")
        with pytest.raises(NotFoundError, match="no attempt 2"):
            here.runs.log(run.id, "go", attempt=2)
        assert here.runs.log(run.id, "go").data == b""


def test_a_worker_takes_only_kinds_that_it_knows(store: str) -> None:
    with world(store) as here:
        run = here.runs.start(plan(step("go"), StepPlan("ask", "gate")))
        assert states(here.go(run)) == {"go": "succeeded", "ask": "ready"}


def test_runs_that_ended_long_ago_are_let_go_of(store: str) -> None:
    with world(store) as here:
        old = here.runs.start(plan(step("go")))
        here.go(old)
        here.clock.wait(1000)
        new = here.runs.start(plan(step("go")))
        here.go(new)
        assert here.runs.forget(here.clock.now - 10) == 1
        assert [run.id for run in here.runs.runs()] == [new.id]


class Quick(Action):
    """Wakes itself, and would sleep for an hour otherwise."""

    def turn(self, step: Step, now: int, effects: Effects) -> Answer:
        if not step.memory:
            effects.waker()()
            return Again(now + 3600, {"seen": True})
        return Done()


def test_a_step_that_was_woken_is_turned_though_others_were_woken_too(store: str) -> None:
    with opened(store, create=True) as database:
        runs = Runs(database)
        runs.register("quick", Quick())
        run = runs.start(plan(*[StepPlan(f"s{number}", "quick") for number in range(3)]))
        for _ in range(2 * 3):
            ((one, _),) = runs.claim(1)
            runs.turn(one)
        assert runs.show(run.id).state is RunState.SUCCEEDED
        assert runs.claim(1) == []


@pytest.mark.live
def test_a_step_that_was_woken_is_turned_though_its_run_was_locked_just_then(new_database: Callable[[], str]) -> None:
    address = new_database()
    with opened(address, create=True) as database, opened(address) as other:
        runs = Runs(database)
        runs.register("quick", Quick())
        run = runs.start(plan(StepPlan("asleep", "quick")))
        assert runs.turn_once() == 1
        with other.writing() as connection:
            assert locked_in(connection, run.id) is not None
            assert runs.claim(9) == []
        assert runs.turn_once() == 1
        assert runs.show(run.id).state is RunState.SUCCEEDED


def test_threads_turn_steps_and_stop_when_asked(store: str) -> None:
    with opened(store, create=True) as database:
        runs = Runs(database)
        runs.register("quick", Quick())
        runs.start_working()
        try:
            steps = [
                StepPlan(f"s{number}", "quick", needs=(f"s{number - 1}",) if number else ()) for number in range(5)
            ]
            run = runs.start(plan(*steps, StepPlan("aside", "quick")))
            from tests.live.serving import wait_for

            wait_for(lambda: runs.show(run.id).state.over, 10)
            assert runs.show(run.id).state is RunState.SUCCEEDED
            assert runs.failure == ""
        finally:
            runs.stop_working()
