"""A chunk is read back as it was written, however odd its counts are, and a damaged one is told."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tightrope.base.errors import DataError
from tightrope.telemetry.chunks import Chunk, packed, per_chunk, unpacked

COUNTS = st.one_of(st.just(0), st.integers(0, 300), st.integers(0, 2**40), st.integers(2**62, 2**63 - 1))


@st.composite
def chunks(draw: st.DrawFn) -> Chunk:
    size = draw(st.integers(1, 60))
    total = draw(st.lists(COUNTS, min_size=size, max_size=size))
    bad = [draw(st.integers(0, most)) for most in total]
    covered = draw(st.lists(st.booleans(), min_size=size, max_size=size))
    return Chunk(
        draw(st.integers(0, 2**33)), np.array(bad, np.int64), np.array(total, np.int64), np.array(covered, np.bool_)
    )


@given(chunks())
def test_a_chunk_is_read_back_as_it_was_written(chunk: Chunk) -> None:
    found = unpacked(chunk.first, packed(chunk))
    assert found.first == chunk.first
    assert found.bad.tolist() == chunk.bad.tolist()
    assert found.total.tolist() == chunk.total.tolist()
    assert found.covered.tolist() == chunk.covered.tolist()


def test_a_quiet_day_takes_little_room() -> None:
    total = np.random.default_rng(1).poisson(900, 1440)
    bad = np.random.default_rng(2).binomial(total, 0.0005)
    size = len(packed(Chunk(0, bad, total, np.ones(1440, np.bool_))))
    assert size / 1440 < 2.0


@pytest.mark.parametrize("harm", [lambda blob: blob[:5], lambda blob: blob[:-4], lambda blob: b"\x09" + blob[1:]])
def test_a_damaged_chunk_is_told(harm: object) -> None:
    blob = packed(Chunk(0, np.zeros(10, np.int64), np.arange(10), np.ones(10, np.bool_)))
    with pytest.raises(DataError, match="a chunk of slices cannot be read"):
        unpacked(0, harm(blob))  # type: ignore[operator]


@pytest.mark.parametrize(("step_s", "slices"), [(60, 1440), (300, 288), (3600, 24), (86400, 1), (7 * 86400, 1)])
def test_a_chunk_has_room_for_a_day(step_s: int, slices: int) -> None:
    assert per_chunk(step_s) == slices
