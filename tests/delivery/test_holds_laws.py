"""Laws of holds, whatever the gate says when, however the forge fails, and whenever somebody looks."""

from __future__ import annotations

import re
from pathlib import Path
from shutil import copytree
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.delivery.forges import GitHubServer, Got, Reply, listening
from tests.delivery.hold_worlds import Clock, Gate, close_all, github_of, holds_of, protection
from tightrope.delivery.holds.hold import HoldState
from tightrope.policy.decision import Verdict
from tightrope.specs.model import OnStop
from tightrope.state.database import opened
from tightrope.state.journal import Journal

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("gate"), st.sampled_from(["go", "stop", "wait", "unknown"])),
        st.tuples(st.just("time"), st.sampled_from([1, 15, 60, 599, 601, 3600, 86_400])),
        st.tuples(st.just("fails"), st.sampled_from([0, 401, 429, 500, 503])),
        st.tuples(st.just("again"), st.sampled_from([1, 2])),
        st.tuples(st.just("turn"), st.just(0)),
        st.tuples(st.just("deliver"), st.just(0)),
    ),
    max_size=30,
)


class Watched(GitHubServer):
    """Notes when it took which last word."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(now=clock)
        self.taken: list[tuple[int, str, str]] = []

    def answer(self, got: Got) -> Reply:
        reply = super().answer(got)
        if reply[0] == 204 and "state" in got.body:
            self.taken.append((self.now(), got.body["state"], got.body["comment"]))
        return reply


@pytest.fixture(scope="module", name="empty")
def _empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty store, to be copied: to make one takes longer than all else here."""
    folder = tmp_path_factory.mktemp("empty")
    with opened(str(folder), create=True):
        return folder


@settings(max_examples=12, suppress_health_check=[*HealthCheck])
@given(STEPS, st.sampled_from(OnStop))
def test_no_word_is_stale_or_said_twice_and_in_the_end_everybody_is_answered(
    empty: Path, steps: Any, on_stop: OnStop
) -> None:
    clock, gate = Clock(), Gate("wait")
    with TemporaryDirectory() as folder, opened(str(copytree(empty, Path(folder) / "store"))) as database:
        github = Watched(clock)
        with listening(github):
            integration = github_of(github.url, on_stop=on_stop)
            holds = holds_of(database, gate, clock, integration)
            holds.take(integration, "deployment_protection_rule", protection(github.url))
            for what, value in steps:
                if what == "gate":
                    gate.says = value
                elif what == "time":
                    clock.forward(value)
                elif what == "fails":
                    github.next.append((value, {}))
                elif what == "again":
                    holds.take(integration, "deployment_protection_rule", protection(github.url, deployment=1))
                elif what == "turn":
                    holds.turn()
                else:
                    holds.deliver()
            gate.says, github.next = "go", []
            for _ in range(6):
                clock.forward(1000)
                holds.turn()
                holds.deliver()
            _must_hold(github, gate, holds.holds()[0].state)
            assert Journal(database).verify().broken == ()
        close_all()


def _must_hold(github: Watched, gate: Gate, state: HoldState) -> None:
    assert all(len(told) <= 9 for told in github.comments.values())
    assert len(github.taken) == 1, "a job is answered, and once"
    at, word, comment = github.taken[0]
    named = re.search(r"\[(D-[0-9a-f]+)\]", comment)
    assert named is not None
    (decision,) = {one.id: one for one in gate.recorded if one.id == named[1]}.values()
    assert decision.verdict is (Verdict.GO if word == "approved" else Verdict.STOP)
    assert word == "rejected" or decision.decided_at <= at <= decision.expires_at
    assert state.value == {"approved": "approved", "rejected": "refused"}[word]
