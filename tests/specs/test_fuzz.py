"""Whatever is done to a good spec, the answer is findings and never another exception."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.specs.samples import EVERYTHING, together
from tightrope.specs.excerpt import render
from tightrope.specs.findings import CATALOGUE
from tightrope.specs.positions import Report, plain_value, read_documents
from tightrope.specs.store import examine

GOOD = together(*EVERYTHING)
DOCUMENTS = [plain_value(node) for node in read_documents(GOOD, "good", Report())]


def answered(text: str) -> None:
    """Examine the text; check that every finding is fit to be shown."""
    specs, findings = examine(["-"], stdin=text)
    errors = [finding for finding in findings if finding.severity == "error"]
    assert (specs is None) == bool(errors)
    for finding in findings:
        assert finding.code in CATALOGUE
        assert finding.message
        assert finding.remedy
        assert finding.place.line >= 1
        assert finding.place.column >= 1
        assert "\n" not in finding.message
        assert render(finding)


@given(st.text(max_size=200))
def test_any_text_is_answered(text: str) -> None:
    answered(text)


@settings(max_examples=150)
@given(st.data())
def test_a_good_text_with_a_piece_replaced_is_answered(data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(GOOD)))
    end = data.draw(st.integers(start, min(len(GOOD), start + 30)))
    piece = data.draw(
        st.one_of(st.text(max_size=12), st.sampled_from(["\t", "- ", "{", "]", ": ", "&a ", "*a", "!x ", "'", "|"]))
    )
    answered(GOOD[:start] + piece + GOOD[end:])


ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(
        ["1m", "0d", "9" * 30 + "d", "1e999", "openslo/v1", "< 5%", "FREQ=DAILY", "2026-01-01 00:00:00", ".."]
    ),
    st.lists(st.one_of(st.integers(), st.text(max_size=5)), max_size=3),
    st.dictionaries(st.text(max_size=8), st.integers(), max_size=3),
)


@settings(max_examples=150)
@given(st.data())
def test_good_documents_with_an_odd_value_somewhere_are_answered(data: st.DataObject) -> None:
    documents = json.loads(json.dumps(DOCUMENTS))
    at: Any = documents
    while True:
        keys = list(at) if isinstance(at, dict) else list(range(len(at)))
        key = data.draw(st.sampled_from(keys))
        deeper = isinstance(at[key], (dict, list)) and at[key] and data.draw(st.integers(0, 3)) > 0
        if not deeper:
            break
        at = at[key]
    if data.draw(st.booleans()) and isinstance(at, dict):
        at[data.draw(st.text(max_size=10))] = data.draw(ODD)
    else:
        at[key] = data.draw(ODD)
    answered(json.dumps(documents))


@settings(max_examples=50)
@given(st.permutations(EVERYTHING))
def test_the_order_of_documents_never_matters(documents: list[str]) -> None:
    specs, findings = examine(["-"], stdin=together(*documents))
    assert findings == ()
    assert specs is not None
    assert specs.digest == examine(["-"], stdin=GOOD)[0].digest  # type: ignore[union-attr]
