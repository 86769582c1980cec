"""What was counted, written down piece by piece: as good as a snapshot, and little of it anew each time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.telemetry.builders import NOON, data_source, ratio
from tests.telemetry.test_counting import _EVENTS, ALL, Sender, _record, minute, wanted
from tightrope.base.errors import DataError
from tightrope.telemetry.counting import FORGOTTEN_S, Counting
from tightrope.telemetry.pieces import read, written


class Kept:
    """A store that holds pieces by name."""

    def __init__(self) -> None:
        self.pieces: dict[str, bytes] = {}

    def keep(self, counting: Counting) -> set[str]:
        """Keep what has changed; tells which pieces that were."""
        changed = counting.pieces()
        self.pieces |= changed
        self.pieces = {name: piece for name, piece in self.pieces.items() if piece}
        return set(changed)


def test_arrays_are_read_as_they_were_written() -> None:
    arrays = [
        np.array([0, 1 << 40, -5]),
        np.array([100, -3]),
        np.zeros(0, np.int64),
        np.array([0.1, 2.5]),
        np.array([True, False]),
    ]
    head, found = read(written({"kind": "x"}, arrays))
    assert head == {"kind": "x"}
    for one, other in zip(arrays, found, strict=True):
        assert one.dtype == other.dtype
        assert one.tolist() == other.tolist()
    with pytest.raises(DataError, match="a piece of what was counted cannot be read"):
        read(b"nonsense")


@settings(max_examples=60)
@given(_EVENTS, st.data())
def test_wherever_it_is_stopped_the_slices_are_the_same(
    events: list[tuple[str, int, int, int]], data: st.DataObject
) -> None:
    rows = _record(events)
    whole = Sender(wanted())
    whole.send(rows, at=10**5)
    parts, kept = Sender(wanted()), Kept()
    at = 0
    while at < len(rows):
        size = data.draw(st.integers(1, 20))
        parts.send(rows[at : at + size], at=10**5)
        if data.draw(st.booleans()):
            kept.keep(parts.counting)
        if data.draw(st.booleans()):
            kept.keep(parts.counting)
            fresh = Counting("remote-write", list(enumerate(parts.requests)))
            fresh.restore_pieces(kept.pieces)
            assert fresh.snapshot() == parts.counting.snapshot()
            parts.counting = fresh
        at += size
    assert parts.slices == whole.slices


def test_only_what_has_changed_is_written_again() -> None:
    sender, kept = Sender(wanted()), Kept()
    sender.send(minute(0, ok=0, err=0))
    sender.send(minute(1, ok=5, err=1))
    assert {name.partition(".")[0] for name in kept.keep(sender.counting)} == {"state", "series", "board"}
    assert kept.keep(sender.counting) == {"state"}
    sender.send(minute(2, ok=6, err=1))
    changed = kept.keep(sender.counting)
    assert len(changed) == 2
    assert "state" in changed
    fresh = Counting("remote-write", [(0, wanted())])
    fresh.restore_pieces(kept.pieces)
    kept.keep(fresh)
    assert kept.keep(fresh) == {"state"}, "what was restored is stored already"


def test_other_objectives_leave_nothing_of_the_former_ones_behind() -> None:
    sender, kept = Sender(wanted()), Kept()
    sender.send(minute(0, ok=0, err=0))
    sender.send(minute(1, ok=5, err=1))
    kept.keep(sender.counting)
    before = set(kept.pieces)
    other = ratio(data_source("remote-write", ".", {}), bad={"series": 'x{code=~"5.."}'}, total=ALL, counter=True)
    changed = Sender(other, wanted())
    changed.book = sender.book
    changed.counting.restore_pieces(kept.pieces)
    assert changed.send(minute(2, ok=9, err=2)) == {2: (4, 5)}
    kept.keep(changed.counting)
    again = Sender(other, wanted())
    again.book = sender.book
    again.counting.restore_pieces(kept.pieces)
    assert again.counting.snapshot() == changed.counting.snapshot()
    nothing = Counting(
        "remote-write", [(0, ratio(data_source("remote-write", ".", {}), {"series": "y"}, {"series": "y"}))]
    )
    nothing.restore_pieces(kept.pieces)
    assert nothing.series == 0
    kept.keep(nothing)
    assert len(kept.pieces) < len(before)


def test_series_that_are_forgotten_are_so_in_the_pieces_too() -> None:
    sender, kept = Sender(wanted()), Kept()
    sender.send(minute(0, ok=0, err=0))
    sender.send(minute(1, ok=5, err=1))
    kept.keep(sender.counting)
    assert sender.counting.forget(NOON + FORGOTTEN_S + 3600) == 2
    sender.send(minute(FORGOTTEN_S // 60 + 90, ok=0, other=1))
    kept.keep(sender.counting)
    fresh = Counting("remote-write", [(0, wanted())])
    fresh.restore_pieces(kept.pieces)
    assert fresh.series == sender.counting.series
    assert fresh.snapshot() == sender.counting.snapshot()


def test_what_are_no_pieces_is_refused() -> None:
    for pieces in ({}, {"state": Counting("otlp", []).pieces()["state"]}):
        with pytest.raises(DataError, match="none of this version's"):
            Counting("remote-write", [(0, wanted())]).restore_pieces(pieces)
