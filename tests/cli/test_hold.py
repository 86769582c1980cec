"""What the commands on holds promise: who waits, why, what they were told, and giving it up."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.world import answer, error_of, run
from tests.delivery.hold_worlds import Clock, Gate, close_all, holds_of
from tightrope.base.errors import NotFoundError
from tightrope.delivery.holds.hold import Caller
from tightrope.policy.dialects.hearing import Asking
from tightrope.state.database import opened


@pytest.fixture
def store(tmp_path: Path) -> str:
    """A store in which one stage waits, and one went."""
    where, gate, clock = str(tmp_path / "store"), Gate("stop"), Clock()
    with opened(where, create=True) as database:
        holds = holds_of(database, gate, clock)
        holds.open(Caller.SPINNAKER, "waits", Asking("checkout", change="abc123", title="A wallet"), {})
        gate.says = "go"
        clock.forward(60)
        holds.open(Caller.SPINNAKER, "went", Asking("checkout"), {})
        close_all()
    return where


def test_holds_are_listed_shown_and_given_up(store: str) -> None:
    listed = answer("hold", "list", "--data", store)
    assert [(one["state"], one["verdict"]) for one in listed] == [("approved", "go"), ("waiting", "stop")]
    assert [one["state"] for one in answer("hold", "list", "--state", "waiting", "--data", store)] == ["waiting"]
    text = run("hold", "list", "--data", store).stdout
    assert "waiting" in text
    assert "checkout has overspent" in text
    name = listed[1]["id"]
    shown = run("hold", "show", name, "--data", store).stdout
    assert f"{name}  spinnaker for checkout: waiting" in shown
    assert "abc123 · A wallet · feature" in shown
    assert answer("hold", "cancel", name, "--data", store)["state"] == "cancelled"
    assert run("hold", "list", "--state", "waiting", "--data", store).stdout == "nobody waits\n"
    assert run("hold", "list", "--state", "refused", "--data", store).stdout == "no hold is refused\n"


def test_a_hold_that_is_not_there_and_a_store_that_is_not_are_told(store: str) -> None:
    assert isinstance(error_of(run("hold", "show", "H-none", "--data", store)), NotFoundError)
    assert isinstance(error_of(run("hold", "list", "--data", f"{store}-none")), NotFoundError)
