"""What happened, told by the oracle in the engine's words, so that both can be laid side by side."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import pytest

from tests.oracle.bridge import incidents_of, plan_of, slices_of
from tests.oracle.reference import Moment, Promise, evaluate
from tightrope.engine.replay import replay
from tightrope.engine.scan import Scanner, scan

SCANNERS = ("numpy", "compiled")


@cache
def scanner_of(name: str) -> Scanner:
    """NumPy's scan or the compiled one; a test that wants the latter is skipped where numba is absent."""
    if name == "numpy":
        return scan
    pytest.importorskip("numba", reason="the compiled scan needs numba (the extra `fast`)")
    from tightrope.engine.scanners import best_scanner

    return best_scanner(0, compiled=True)


def episodes(moments: Sequence[Moment]) -> set[tuple[str, int, int | None]]:
    """Alerts from firing to resolution: condition, start, end."""
    found: dict[tuple[str, int], int | None] = {}
    open_since: dict[str, int] = {}
    for moment in moments:
        for name in moment.fired:
            open_since[name] = moment.at
            found[name, moment.at] = None
        for name in moment.resolved:
            found[name, open_since.pop(name)] = moment.at
    return {(name, start, end) for (name, start), end in found.items()}


def moves(moments: Sequence[Moment], first: str) -> list[tuple[int, str, str]]:
    """Transitions of the policy: when, from, to."""
    befores = [first, *(moment.state for moment in moments)]
    return [(m.at, before, m.state) for before, m in zip(befores, moments, strict=False) if before != m.state]


def assert_same_story(promise: Promise, scanner: Scanner) -> list[Moment]:
    """Replay a promise of one member, and hold every alert, state and stale moment against the oracle's."""
    (member,) = promise.members
    moments = evaluate(promise)
    history = replay(
        plan_of(promise),
        slices_of(member.record),
        incidents=incidents_of(promise),
        out_of_scope=promise.out_of_scope,
        scanner=scanner,
    )
    if not moments:
        assert history.evaluated is None
        return moments
    step_s = member.record.step_s
    assert history.evaluated == (moments[0].at, moments[-1].at)
    assert {(e.condition, e.start, e.end) for e in history.episodes} == episodes(moments)
    assert [(t.at, t.before, t.after) for t in history.transitions] == moves(moments, promise.policy.states[0].name)
    assert [history.state_at(moment.at) for moment in moments] == [moment.state for moment in moments]
    assert history.final_state == moments[-1].state
    assert history.stale_s == step_s * sum(moment.stale for moment in moments)
    # a slice was spent in the state that was in force before the evaluation at its end
    states = [promise.policy.states[0].name, *(moment.state for moment in moments[:-1])]
    for state in promise.policy.states:
        assert history.state_s.get(state.name, 0) == step_s * states.count(state.name)
    assert all(transition.reason for transition in history.transitions)
    return moments
