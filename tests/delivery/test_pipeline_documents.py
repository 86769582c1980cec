"""What a stage comes to by its steps, and what a command ends with by its run."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tightrope.delivery.pipelines.documents import exit_code, stage_state
from tightrope.delivery.pipelines.watching import Sight, judged, noted

STATES = ("waiting", "ready", "running", "succeeded", "failed", "cancelled", "skipped", "unknown")
STEPS = st.lists(st.tuples(st.sampled_from(STATES), st.booleans()), min_size=1, max_size=6)


@given(STEPS)
def test_a_stage_is_as_good_as_its_worst_step_that_matters(steps: list[tuple[str, bool]]) -> None:
    states, optional = [one for one, _ in steps], [may for _, may in steps]
    found = stage_state(states, optional)
    serious = {state for state, may in steps if not (may and state == "failed")}
    if found == "succeeded":
        assert serious <= {"succeeded", "skipped"}
    if "unknown" in serious:
        assert found == "unknown"
    elif "failed" in serious:
        assert found in {"failed", "running"}
    assert (found in {"waiting", "ready", "running"}) <= bool(serious & {"waiting", "ready", "running", "succeeded"})


@given(STEPS, st.randoms(use_true_random=False))
def test_the_order_of_steps_does_not_matter(steps: list[tuple[str, bool]], random: Any) -> None:
    shuffled = list(steps)
    random.shuffle(shuffled)
    assert stage_state([one for one, _ in steps], [may for _, may in steps]) == stage_state(
        [one for one, _ in shuffled], [may for _, may in shuffled]
    )


@pytest.mark.parametrize(
    ("state", "verdict", "code"),
    [
        ("succeeded", "go", 0),
        ("failed", "stop", 3),
        ("failed", "wait", 4),
        ("failed", "", 6),
        ("cancelled", "", 6),
        ("unknown", "", 4),
        ("running", "", None),
        ("queued", "", None),
    ],
)
def test_a_command_ends_with_what_the_run_came_to(state: str, verdict: str, code: int | None) -> None:
    gate = {"does": "gate", "state": "failed", "outcome": {"verdict": verdict} if verdict else {}}
    told = {"state": state, "stages": [{"steps": [gate if state == "failed" else gate | {"state": "succeeded"}]}]}
    assert exit_code(told) == code


@given(st.lists(st.sampled_from(["a", "b", "c"]), unique=True), st.booleans())
def test_what_paged_before_is_not_held_against_a_version_and_what_is_new_is(alerts: list[str], stale: bool) -> None:
    begun = noted([Sight("slo", tuple(alerts[:1]))])
    seen = judged(begun, ["slo"], [Sight("slo", tuple(alerts), stale=stale)])
    assert bool(seen.bad) == (len(alerts) > 1)
    if not seen.bad:
        assert bool(seen.waits) == (stale or bool(alerts))


def test_an_slo_that_is_not_there_is_waited_for() -> None:
    assert judged({}, ["slo"], []).waits == "nothing is known of slo"
