"""A recorded decision is decided again from its inputs, and what differs is named."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.policy.test_gate_laws import worlds
from tests.policy.worlds import NOW, asking, facts, overspent, slo
from tightrope.base.canonical import canonical
from tightrope.base.errors import DataError, NotFoundError, StoreError
from tightrope.policy.decision import Decision, GateFacts, Verdict
from tightrope.policy.gate import decide
from tightrope.policy.record import DecisionRecord, document_of, recompute, record_of
from tightrope.policy.store import DECISION_MADE, Decisions
from tightrope.policy.usecases import exported, keep_decision, kept_decision, kept_decisions, verify
from tightrope.specs.model import ChangeKind
from tightrope.state.database import opened
from tightrope.state.journal import Event, Journal


def _record(world: GateFacts | None = None, kind: ChangeKind = ChangeKind.FEATURE, by: str = "1.0") -> DecisionRecord:
    world, request = world or facts(overspent()), asking(kind)
    return DecisionRecord(request, world, decide(request, world), by)


def _nobody(sequence: int, why: str) -> None:
    raise AssertionError(f"row {sequence} was left out: {why}")


@given(worlds(), st.sampled_from(ChangeKind))
@settings(max_examples=40)
def test_every_decision_comes_out_again_from_its_record(world: GateFacts, kind: ChangeKind) -> None:
    record = record_of(json.loads(canonical(document_of(_record(world, kind)))))
    assert record == _record(world, kind)
    assert recompute(record, "1.0") == ""
    assert recompute(record, "2.0") == ""


def test_a_verdict_that_its_inputs_do_not_give_is_named() -> None:
    record = _record()
    assert record.decision.verdict is Verdict.STOP
    forged = replace(record, decision=replace(record.decision, verdict=Verdict.GO, reasons=()))
    told = recompute(forged, "2.0")
    assert told.startswith("verdict was go, is stop now; other rules speak, or otherwise: change-kind, ")


def test_inputs_that_were_changed_later_give_another_id() -> None:
    record = _record()
    assert "id was D-" in recompute(replace(record, facts=facts(slo())), "2.0")


def test_other_wording_matters_to_the_version_that_wrote_it_only() -> None:
    record = _record()
    reworded = replace(record, decision=replace(record.decision, summary="all is well"))
    assert recompute(reworded, "1.0").startswith("summary was all is well, is checkout has overspent")
    assert recompute(reworded, "2.0") == ""


def test_inputs_that_cannot_be_decided_on_are_named() -> None:
    world = facts(slo("feature"))
    broken = replace(_record(world), facts=facts(slo("no such state")))
    assert recompute(broken, "1.0").startswith("was go, and cannot be decided now: checkout-availability is in state")


def test_a_record_says_which_version_decided() -> None:
    document = document_of(_record())
    del document["tightrope"]
    with pytest.raises(DataError, match="does not say which version decided"):
        record_of(document)


# --- in a store ----------------------------------------------------------------------------------------------------


def _made(world: GateFacts, kind: ChangeKind = ChangeKind.FEATURE, at: int = NOW) -> tuple[Decision, GateFacts]:
    return decide(asking(kind, at=at), world), world


def test_decisions_are_kept_listed_and_found(tmp_path: Path) -> None:
    store = str(tmp_path / "new")
    first, second = _made(facts(overspent())), _made(facts(slo()))
    assert [keep_decision(store, *one) for one in (first, second)] == [1, 2]
    listed = kept_decisions(store, service="checkout", limit=5, left_out=_nobody)
    assert [one.record.decision for one in listed] == [second[0], first[0]]
    assert [one.sequence for one in kept_decisions(store, service="", limit=1, left_out=_nobody)] == [2]
    assert kept_decisions(store, service="search", limit=5, left_out=_nobody) == []
    assert [one.record.facts for one in kept_decision(store, first[0].id)] == [first[1]]
    with pytest.raises(NotFoundError, match="there is no decision 'D-123'"):
        kept_decision(store, "D-123")


def test_the_same_decision_is_kept_once(tmp_path: Path) -> None:
    decision, world = _made(facts(overspent()))
    assert [keep_decision(str(tmp_path), decision, world) for _ in range(2)] == [1, 1]


def test_what_another_version_decides_on_the_same_inputs_is_kept_too(tmp_path: Path) -> None:
    with opened(str(tmp_path), create=True) as database:
        decisions = Decisions(Journal(database))
        assert [decisions.add(_record(by=version), NOW) for version in ("1.0", "2.0")] == [1, 2]
    assert [one.record.decided_by for one in kept_decision(str(tmp_path), _record().decision.id)] == ["1.0", "2.0"]


def test_a_whole_record_is_verified_and_decided_again(tmp_path: Path) -> None:
    for number, world in enumerate([facts(overspent()), facts(slo()), facts()]):
        keep_decision(str(tmp_path), *_made(world, at=NOW + number))
    told = verify(str(tmp_path), again=True)
    assert (told.holds, told.chain.rows, told.recomputed, told.differing) == (True, 3, 3, ())
    assert verify(str(tmp_path)).recomputed is None


def test_a_forged_decision_in_a_sound_chain_is_named(tmp_path: Path) -> None:
    record = _record()
    forged = replace(record, decision=replace(record.decision, verdict=Verdict.GO))
    with opened(str(tmp_path), create=True) as database:
        decisions = Decisions(Journal(database))
        decisions.add(_record(facts(slo())), NOW)
        decisions.add(forged, NOW)
    told = verify(str(tmp_path), again=True)
    assert told.chain.broken == ()
    (one,) = told.differing
    assert (one.sequence, one.decision, one.decided_by) == (2, record.decision.id, "1.0")
    assert one.what == "verdict was go, is stop now"
    assert not told.holds


def test_a_record_that_this_version_cannot_read_is_named_and_hides_no_other(tmp_path: Path) -> None:
    with opened(str(tmp_path), create=True) as database:
        journal = Journal(database)
        later = document_of(_record()) | {"request": {"is": "GateRequest", "mood": "good"}}
        journal.append([Event("D-1.x", "/later", DECISION_MADE, "checkout", NOW, later)])
        Decisions(journal).add(_record(), NOW)
    told = verify(str(tmp_path), again=True)
    assert [(one.sequence, one.what) for one in told.differing] == [
        (1, "GateRequest cannot be read: this version knows no 'mood'")
    ]
    assert told.recomputed == 1
    left_out: list[int] = []
    listed = kept_decisions(str(tmp_path), service="", limit=5, left_out=lambda row, _: left_out.append(row))
    assert ([one.sequence for one in listed], left_out) == ([2], [1])


def test_an_export_holds_the_inputs_as_exact_numbers(tmp_path: Path) -> None:
    keep_decision(str(tmp_path), *_made(facts(overspent())))
    (one,) = exported(str(tmp_path))
    assert (one["type"], one["subject"]) == ("dev.tightrope.decision.made.v1", "checkout")
    assert one["data"]["facts"]["slos"][0]["remaining"] == "-31/250"
    assert list(exported(str(tmp_path), since=10**10)) == []


def test_a_record_that_cannot_be_kept_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="is not a directory"):
        keep_decision(str(tmp_path / "file"), *_made(facts(slo())))
