"""The gate of the server never says go for want of facts."""

from __future__ import annotations

from pathlib import Path

from tightrope.app import serving
from tightrope.loop.server import ServeSettings
from tightrope.policy.decision import GateRequest, Verdict
from tightrope.specs.model import ChangeKind

SPEC = """
apiVersion: openslo/v1
kind: DataSource
metadata: {name: sent}
spec: {type: push, connectionDetails: {resolution: 1m}}
---
apiVersion: openslo/v1
kind: SLO
metadata: {name: up}
spec:
  service: checkout
  budgetingMethod: Occurrences
  timeWindow: [{duration: 28d, isRolling: true}]
  objectives: [{target: 0.99}]
  indicator:
    metadata: {name: up}
    spec:
      ratioMetric:
        good: {metricSource: {metricSourceRef: sent, spec: {slo: up}}}
        total: {metricSource: {metricSourceRef: sent, spec: {slo: up}}}
"""


def test_a_feature_of_a_service_of_which_nothing_is_known_does_not_go(tmp_path: Path) -> None:
    (tmp_path / "slo.yaml").write_text(SPEC)
    settings = ServeSettings(data=str(tmp_path / "store"), spec_paths=(str(tmp_path / "slo.yaml"),))
    with serving(settings, settings.data) as server:
        while not server.live.snapshot.number:
            assert not server.live.failure
        now = server.now()
        feature = server.decide(GateRequest("checkout", now))
        assert feature.verdict is not Verdict.GO
        assert "up" in " ".join(reason.slo for reason in feature.reasons)
        rollback = server.decide(GateRequest("checkout", now, kind=ChangeKind.ROLLBACK))
        assert rollback.verdict is Verdict.GO
        assert server.decision(feature.id) is not None
