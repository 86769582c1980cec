"""What follows from the states of steps, as laws: over any graph, any outcomes and any order of events."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.runs.worlds import NOON, plan, step
from tightrope.base.errors import UsageError
from tightrope.runs.reconcile import LEASE_S, advanced, anew, answered, changes, claimed
from tightrope.runs.steps import (
    Again,
    Answer,
    Done,
    OnUnknown,
    Run,
    RunPlan,
    RunState,
    Step,
    StepPlan,
    StepState,
    Stop,
    Unknown,
    When,
    check_plan,
)


@st.composite
def _plans(draw: st.DrawFn) -> tuple[StepPlan, ...]:
    """Steps that need earlier ones only, in any order of telling."""
    count = draw(st.integers(1, 8))
    steps = []
    for number in range(count):
        needs = draw(st.sets(st.integers(0, number - 1), max_size=3)) if number else set()
        steps.append(
            StepPlan(
                f"s{number}",
                "any",
                needs=tuple(f"s{one}" for one in sorted(needs)),
                when=draw(st.sampled_from(list(When))),
                retries=draw(st.integers(0, 2)),
                backoff_s=draw(st.integers(0, 3)),
                on_unknown=draw(st.sampled_from(list(OnUnknown))),
                optional=draw(st.booleans()),
            )
        )
    return tuple(draw(st.permutations(steps)))


_answers: st.SearchStrategy[Answer] = st.sampled_from(
    [Done(), Done(), Done(ok=False), Done(ok=False, retry=False), Again(NOON, {"turn": 1}), Unknown("dark")]
)


def _run(plans: tuple[StepPlan, ...]) -> Run:
    run = Run(
        id="R-1",
        number=1,
        kind="pipeline",
        service="",
        title="",
        group="",
        key="k",
        document={},
        by="ada",
        state=RunState.RUNNING,
        ticket=1,
        created_at=NOON,
        steps=tuple(Step("R-1", one) for one in plans),
    )
    return advanced(run, NOON)


def _with(run: Run, after: Step, now: int) -> Run:
    return advanced(replace(run, steps=tuple(after if one.name == after.name else one for one in run.steps)), now)


def _played(run: Run, data: st.DataObject, *, turns: int = 400) -> Run:
    """Turn any step that may be turned, with any answer, until none may; perhaps the run is cancelled on the way."""
    now = NOON
    for _ in range(turns):
        free = [one for one in run.steps if one.state in {StepState.READY, StepState.RUNNING}]
        if not free:
            return run
        if data.draw(st.integers(0, 15), "cancel?") == 0 and not run.cancelled_by:
            run = advanced(replace(run, cancelled_by="ada"), now)
            _holds_together(run)
            continue
        chosen = data.draw(st.sampled_from(free), "step")
        now = max(now + 1, chosen.due_at)
        mine = claimed(chosen, "worker", now)
        run = _with(run, mine, now)
        _holds_together(run)
        answer = data.draw(_answers, "answer")
        if isinstance(answer, Again):
            answer = replace(answer, at=now)
        run = _with(run, answered(run.step(mine.name), answer, now), now)
        _holds_together(run)
    return run


def _holds_together(run: Run) -> None:
    """What is so at any time, by the plan alone."""
    steps = {one.name: one for one in run.steps}
    for one in run.steps:
        needed = [steps[name] for name in one.needs]
        if one.state in {StepState.READY, StepState.RUNNING, StepState.SUCCEEDED, StepState.FAILED, StepState.UNKNOWN}:
            assert all(need.state.over for need in needed), "nothing begins before what it needs is over"
            if one.plan.when is When.SUCCESS:
                assert all(_fine(need) for need in needed)
        if one.state is StepState.SKIPPED:
            assert all(need.state.over for need in needed)
            assert one.plan.when is not When.ALWAYS
        assert one.attempt - one.first_attempt <= max(one.plan.retries, 3) * 2 + 1
    assert (run.state is RunState.UNKNOWN) == any(one.state is StepState.UNKNOWN for one in run.steps)
    assert run.state.over == all(one.state.over for one in run.steps)
    assert advanced(run, NOON) == run, "to look again changes nothing"


def _fine(one: Step) -> bool:
    return one.state is StepState.SUCCEEDED or (one.state is StepState.FAILED and one.plan.optional)


@given(_plans(), st.data())
def test_a_run_always_comes_to_an_end_or_waits_for_a_person(plans: tuple[StepPlan, ...], data: st.DataObject) -> None:
    run = _played(_run(plans), data)
    waiting = [one for one in run.steps if one.state in {StepState.READY, StepState.RUNNING}]
    if not waiting:
        assert run.state.over or run.state is RunState.UNKNOWN
    for one in run.steps:
        if one.state is StepState.WAITING:
            assert run.state is RunState.UNKNOWN, "only an unknown outcome keeps a step waiting"


@given(_plans())
def test_where_all_goes_well_all_that_was_asked_for_is_done_whatever_the_order(plans: tuple[StepPlan, ...]) -> None:
    def through(order: int) -> dict[str, StepState]:
        run, now = _run(plans), NOON
        while True:
            free = [one for one in run.steps if one.state is StepState.READY]
            if not free:
                return {one.name: one.state for one in run.steps}
            chosen = free[0 if order > 0 else -1]
            run = _with(run, answered(claimed(chosen, "w", now), Done(), now), now)

    states = through(1)
    assert states == through(-1)
    assert set(states.values()) <= {StepState.SUCCEEDED, StepState.SKIPPED}
    for one in plans:
        if one.when is When.FAILURE:
            assert states[one.name] is StepState.SKIPPED
        if one.when is When.ALWAYS:
            assert states[one.name] is StepState.SUCCEEDED


@given(_plans(), st.data())
def test_every_change_of_state_is_told_once(plans: tuple[StepPlan, ...], data: st.DataObject) -> None:
    before = _run(plans)
    after = _played(before, data, turns=5)
    told = changes(before, after, NOON)
    differing = {
        one.name
        for one, other in zip(before.steps, after.steps, strict=True)
        if (one.state, one.attempt) != (other.state, other.attempt)
    }
    assert [one.step.name for one in told if one.step is not None].sort() == list(differing).sort()
    assert sum(1 for one in told if one.step is None) == (before.state != after.state)


@given(st.integers(2, 7), st.data())
def test_a_circle_is_refused_and_named(length: int, data: st.DataObject) -> None:
    steps = [StepPlan(f"s{n}", "any", needs=(f"s{(n + 1) % length}",)) for n in range(length)]
    others = [StepPlan("start", "any"), StepPlan("tail", "any", needs=("s0", "start"))]
    with pytest.raises(UsageError, match="in a circle") as refused:
        check_plan(plan(*data.draw(st.permutations([*steps, *others]))))
    named = refused.value.message.split(": ")[1].split(" → ")
    assert set(named) == {f"s{n}" for n in range(length)}
    assert named[0] == named[-1]


@pytest.mark.parametrize("name", ["a/1", "a/2/start", "a/b/3"])
def test_a_step_whose_keys_could_be_those_of_another_is_refused(name: str) -> None:
    steps = [StepPlan(one, "scripted") for one in ("a", "a/b", name)]
    with pytest.raises(UsageError, match="could be taken for"):
        check_plan(plan(*steps))


@given(
    st.lists(
        st.lists(st.sampled_from(["a", "b", "1", "2"]), min_size=1, max_size=4).map("/".join),
        min_size=2,
        max_size=4,
        unique=True,
    )
)
def test_no_two_steps_of_a_plan_that_is_taken_share_a_key(names: list[str]) -> None:
    steps = [StepPlan(name, "scripted") for name in names]
    try:
        check_plan(plan(*steps))
    except UsageError:
        return
    keys = [f"{Step('R', one, attempt=attempt).key}/" for one in steps for attempt in (1, 2)]
    assert not [one for one in keys for other in keys if one != other and one.startswith(other)]


@given(_plans())
def test_what_has_no_circle_is_taken(plans: tuple[StepPlan, ...]) -> None:
    check_plan(plan(*plans))


@pytest.mark.parametrize(
    ("refused", "says"),
    [
        (RunPlan("pipeline", ()), "without steps"),
        (plan(step("")), "is no name"),
        (plan(step("a\n")), "is no name"),
        (plan(step("a"), step("a")), "two steps are named 'a'"),
        (plan(step("a", "b")), "needs 'b', which is no step"),
        (plan(step("a", "a")), "a → a"),
        (plan(step("a", retries=-1)), "negative number"),
        (plan(step("a", timeout_s=0)), "negative number"),
    ],
)
def test_plans_that_make_no_sense_are_refused(refused: RunPlan, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        check_plan(refused)


def test_a_very_long_chain_is_checked() -> None:
    steps = [StepPlan(f"s{n}", "any", needs=(f"s{n - 1}",) if n else ()) for n in range(5000)]
    check_plan(plan(*reversed(steps)))


@given(st.integers(0, 3), st.integers(1, 5))
def test_a_claim_that_follows_a_claim_counts_a_death_and_an_answer_forgives(deaths: int, fence: int) -> None:
    one = replace(Step("R-1", StepPlan("a", "any")), state=StepState.READY, fence=fence)
    for number in range(deaths + 1):
        one = claimed(one, f"w{number}", NOON)
    assert (one.faults, one.fence, one.leased_until) == (deaths, fence + deaths + 1, NOON + LEASE_S)
    assert answered(one, Again(NOON), NOON).faults == 0


def test_a_deadline_counts_from_the_first_claim_and_is_looked_at_in_time() -> None:
    plan_ = StepPlan("a", "any", timeout_s=100)
    first = claimed(Step("R-1", plan_, state=StepState.READY), "w", NOON)
    assert first.deadline_at == NOON + 100
    waiting = answered(first, Again(NOON + 500), NOON)
    assert waiting.due_at == NOON + 100
    again = claimed(waiting, "w", NOON + 99)
    assert (again.deadline_at, again.stop) == (NOON + 100, None)
    assert claimed(waiting, "w", NOON + 100).stop is Stop.TIMED_OUT


def test_a_new_attempt_remembers_nothing_of_the_last() -> None:
    old = Step("R-1", StepPlan("a", "any"), state=StepState.FAILED, memory={"x": 1}, outcome={"y": 2}, why="no",
               deadline_at=5, started_at=1, finished_at=2, stop=Stop.TIMED_OUT, faults=3, owner="w", place="here",
               fence=9)  # fmt: skip
    fresh = anew(old, NOON)
    assert fresh == Step("R-1", old.plan, attempt=2, first_attempt=2, due_at=NOON, fence=9)
