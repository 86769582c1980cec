"""Scores: alerts held against incidents at the edges of the stretch, and what a service's state would have refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tightrope.backtest.labels import Deployment
from tightrope.backtest.score import score, stopped
from tightrope.engine.plan import Incident
from tightrope.engine.replay import Episode, History
from tightrope.engine.scan import Peak
from tightrope.engine.step import Memory, Seen, Transition
from tightrope.specs.defaults import DEFAULT_POLICY
from tightrope.specs.model import ChangeKind

FIRST, LAST = 10_000, 100_000
NOTHING_SEEN = Seen(0, 0, (), (), ())


def page(start: int, end: int | None) -> Episode:
    return Episode("page-1h", "page", start, end)


def test_an_alert_that_is_still_out_has_reset_at_no_time_before_the_end() -> None:
    found = score([page(20_000, None)], [Incident(20_000, 30_000)], (FIRST, LAST))
    assert (found.found, found.reset_s) == (1, LAST - 30_000)


def test_an_incident_that_is_still_open_has_no_reset() -> None:
    found = score([page(20_000, 21_000)], [Incident(20_000, 2**62)], (FIRST, LAST))
    assert (found.found, found.detect_s, found.reset_s) == (1, 0, None)


def test_an_alert_of_an_incident_that_ended_just_before_the_stretch_is_useful() -> None:
    found = score([page(FIRST + 60, FIRST + 120)], [Incident(FIRST - 900, FIRST - 60)], (FIRST, LAST))
    assert (found.episodes, found.useful, found.needless) == (1, 1, 0)
    assert (found.incidents, found.found, found.missed, found.recall) == (0, 0, 0, None)


def test_an_incident_long_before_the_stretch_explains_nothing() -> None:
    found = score([page(FIRST + 60, FIRST + 120)], [Incident(0, FIRST - 3600)], (FIRST, LAST))
    assert (found.useful, found.needless) == (0, 1)


@pytest.mark.parametrize("wait", [3600, 3601])
def test_the_tolerance_ends_where_it_says(wait: int) -> None:
    found = score([page(30_000 + wait, None)], [Incident(20_000, 30_000)], (FIRST, LAST))
    assert found.useful == (wait == 3600)


def history(*moves: tuple[int, str], evaluated: tuple[int, int] | None = (FIRST, LAST)) -> History:
    """A history that begins free and moves as told."""
    states = ["feature", *(state for _, state in moves)]
    transitions = tuple(
        Transition(at, states[number], state, None, 0, NOTHING_SEEN) for number, (at, state) in enumerate(moves)
    )
    return History(evaluated, (), transitions, {}, "feature", states[-1], None, Peak(0.0, None), (), 0, Memory())


def refused(kind: str, *histories: History, at: int = 50_000) -> list[str]:
    return [state for _, state in stopped([Deployment(at, "shop", kind)], histories, DEFAULT_POLICY)]


def test_a_service_is_as_strict_as_its_strictest_objective() -> None:
    strict, free = history((20_000, "stability")), history((20_000, "caution"))
    assert refused("feature", free) == []
    assert refused("feature", free, strict) == refused("feature", strict, free) == ["stability"]
    assert refused("feature", strict, at=15_000) == []


@pytest.mark.parametrize("kind", list(ChangeKind))
def test_a_rollback_is_never_refused(kind: ChangeKind) -> None:
    closed = replace(
        DEFAULT_POLICY, states=tuple(replace(state, allows=frozenset[ChangeKind]()) for state in DEFAULT_POLICY.states)
    )
    found = stopped([Deployment(50_000, "shop", kind.value)], [history()], closed)
    assert bool(found) == (kind is not ChangeKind.ROLLBACK)


def test_what_was_not_evaluated_then_has_no_say() -> None:
    late = history((70_000, "stability"), evaluated=(60_000, LAST))
    assert refused("feature", late) == []
    assert refused("feature", late, at=80_000) == ["stability"]
    assert refused("feature", history((20_000, "stability"), evaluated=None)) == []
