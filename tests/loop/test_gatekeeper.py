"""What the gate is told of a service, also where its telemetry can't be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.world import MINUTES, SPECS, START, write_world
from tightrope.app import assess_specs, decide_gate, decide_on, load_specs
from tightrope.base.errors import DataError, NotFoundError, TightropeError
from tightrope.engine.plan import Incident
from tightrope.policy.decision import Decision, GateRequest, Verdict
from tightrope.policy.rendering import decision_lines
from tightrope.specs.model import ChangeKind, ShipHow, Specs

END = START + 60 * MINUTES
PASSING = (ChangeKind.RELIABILITY, ChangeKind.SECURITY, ChangeKind.EMERGENCY, ChangeKind.ROLLBACK)


def a_world_without_telemetry(folder: Path) -> Specs:
    specs = load_specs([str(write_world(folder))])
    (folder / "shop.csv").unlink()
    return specs


def asked(specs: Specs, kind: ChangeKind, incidents: tuple[Incident, ...] = ()) -> Decision:
    return decide_gate(specs, GateRequest("checkout", END, kind=kind), incidents=incidents)[0]


@pytest.mark.parametrize("kind", PASSING)
def test_what_passes_without_data_passes_without_readable_data(tmp_path: Path, kind: ChangeKind) -> None:
    decision = asked(a_world_without_telemetry(tmp_path), kind)
    assert decision.verdict is Verdict.GO
    assert decision.ship is ShipHow.GUARDED
    (reason,) = [one for one in decision.reasons if one.rule == "telemetry-fresh"]
    assert reason.outcome == "warn"
    assert "can't be read" in reason.says
    assert "shop.csv" in reason.says
    assert "the telemetry of checkout can't be read" in decision.summary.lower()
    assert set(decision.allows) == set(PASSING)
    assert any("can't be read" in line for line in decision_lines(decision))


@pytest.mark.parametrize("kind", [kind for kind in ChangeKind if kind not in PASSING])
def test_what_needs_data_ends_with_the_error_itself(tmp_path: Path, kind: ChangeKind) -> None:
    with pytest.raises(NotFoundError, match=r"shop\.csv"):
        asked(a_world_without_telemetry(tmp_path), kind)


def test_a_file_of_another_shape_stops_no_rollback(tmp_path: Path) -> None:
    specs = load_specs([str(write_world(tmp_path))])
    (tmp_path / "shop.csv").write_text("hour,service,good,total\n", encoding="utf-8")
    with pytest.raises(TightropeError, match="time"):
        asked(specs, ChangeKind.FEATURE)
    assert asked(specs, ChangeKind.ROLLBACK).verdict is Verdict.GO


def test_an_instant_far_ahead_stops_no_rollback_either(tmp_path: Path) -> None:
    specs = load_specs([str(write_world(tmp_path))])
    late = START + 100 * 365 * 86400
    with pytest.raises(DataError, match="after the end of the data"):
        decide_gate(specs, GateRequest("checkout", late))
    assert decide_gate(specs, GateRequest("checkout", late, kind=ChangeKind.ROLLBACK))[0].verdict is Verdict.GO


def test_open_incidents_are_known_without_telemetry(tmp_path: Path) -> None:
    burning = Incident(END - 60, END + 60, "sev1", id="INC-1", service="checkout")
    over = Incident(END - 120, END - 60, "sev1", id="INC-2", service="checkout")
    other = Incident(END - 60, END + 60, "sev1", id="INC-3", service="search")
    specs = a_world_without_telemetry(tmp_path)
    decision = asked(specs, ChangeKind.EMERGENCY, (burning, over, other))
    assert [one.says for one in decision.reasons if one.rule == "incidents-closed"] == ["INC-1 (sev1) is open"]


def test_a_service_without_an_slo_follows_the_policy_that_names_it(tmp_path: Path) -> None:
    path = write_world(
        tmp_path,
        specs=SPECS
        + """---
apiVersion: openslo/v1
kind: Service
metadata: {name: ledger}
spec: {description: Keeps the books}
---
apiVersion: tightrope.dev/v1
kind: ErrorBudgetPolicy
metadata: {name: books}
spec:
  services: [ledger]
  states:
    - {name: open, flow: feature, allows: all}
""",
    )
    decision, _ = decide_gate(load_specs([str(path)]), GateRequest("ledger", END))
    assert (decision.verdict, decision.policy) == (Verdict.GO, "books")


def test_the_gate_reads_nothing_anew_where_assessments_are_as_of_then(tmp_path: Path) -> None:
    specs = load_specs([str(write_world(tmp_path, {20_000: (60, 100)}))])
    at = START + 60 * 20_100
    found = assess_specs(specs, specs.slos, at=at)
    fresh, _ = decide_gate(specs, GateRequest("checkout", at + 30))
    (tmp_path / "shop.csv").unlink()
    assert decide_on(specs, GateRequest("checkout", at + 30), found) == fresh
    with pytest.raises(NotFoundError):
        decide_on(specs, GateRequest("checkout", at + 60), found)
