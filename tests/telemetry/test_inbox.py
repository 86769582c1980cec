"""The inbox takes many at once, and states are kept in pieces."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.state.conftest import new_database, postgresql, store  # noqa: F401  the fixtures
from tightrope.base.errors import StoreError
from tightrope.state.database import opened
from tightrope.telemetry.store import SliceStore


@pytest.fixture
def slices(store: str) -> Iterator[SliceStore]:  # noqa: F811
    with opened(store, create=True) as database:
        yield SliceStore(database)


def test_what_comes_together_has_places_in_its_order_and_what_came_before_its_old_one(slices: SliceStore) -> None:
    (before,) = slices.receive_many([("push", b"old", 1, "known")])
    items = [("push", b"%d" % number, 2, "") for number in range(3)]
    items += [("push", b"again", 2, "known"), ("push", b"new", 2, "twice"), ("push", b"new again", 2, "twice")]
    places = slices.receive_many(items)
    assert before < places[0] < places[1] < places[2] < places[4]
    assert places[3] == before
    assert places[5] == places[4]
    assert [row.body for row in slices.waiting(0, 10)] == [b"old", b"0", b"1", b"2", b"new"]
    assert [row.sequence for row in slices.waiting(0, 10)] == sorted({before, *places})


def test_states_are_kept_by_their_names_and_let_go_of_when_empty(slices: SliceStore) -> None:
    with slices._database.writing() as connection:
        slices.save_states_in(connection, "one.", {"a": b"1", "b": b"2", "c": b"3"})
        slices.save_states_in(connection, "one%.", {"a": b"other"})
        slices.save_states_in(connection, "one.", {"a": b"4", "b": b""})
    assert slices.load_states("one.") == {"a": b"4", "c": b"3"}
    assert slices.load_state("one.a") == b"4"


def test_a_store_that_is_closed_takes_nothing_and_says_so(slices: SliceStore) -> None:
    slices.receive("push", b"a", 1)
    slices.close()
    with pytest.raises(StoreError, match="the server ends"):
        slices.receive("push", b"b", 2)
    assert [row.body for row in slices.waiting(0, 10)] == [b"a"]
