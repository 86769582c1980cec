"""Recorded deployments are told as their time comes, moved with their services, once, and nobody is blamed for them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tightrope.backtest.labels import Deployment
from tightrope.base.errors import UsageError
from tightrope.delivery.changes import DeploymentState
from tightrope.delivery.usecases import Deliveries
from tightrope.loop.retelling import Retelling, report_of
from tightrope.state.database import opened

NOON = 1_772_366_400
DAY = 86_400
KNOWN = [
    Deployment(NOON + 60, "shop", "feature", "v3"),
    Deployment(NOON - 3 * DAY, "shop", "feature", "v1"),
    Deployment(NOON - DAY, "shop", "rollback", "v0"),
    Deployment(NOON - DAY, "search", "config", "v7"),
]


def test_a_rollback_is_told_as_one_and_times_move() -> None:
    told = report_of(KNOWN[2], 7 * DAY).checked()
    assert (told.at, told.rollback, told.version, told.state) == (NOON + 6 * DAY, True, "v0", DeploymentState.SUCCEEDED)


def test_deployments_are_told_once_and_as_their_time_comes(tmp_path: Path) -> None:
    now = [NOON]
    with opened(str(tmp_path), create=True) as database:
        deliveries = Deliveries(database, clock=lambda: now[0])
        retelling = Retelling(deliveries, KNOWN, False, lambda: now[0])
        assert (retelling.turn(), retelling.turn()) == (3, 0)
        assert [one.version for one in deliveries.deployments("shop")] == ["v0", "v1"]
        now[0] += 60
        assert retelling.turn() == 1
        assert deliveries.live("search") is not None
        assert Retelling(deliveries, KNOWN, False, lambda: now[0]).turn() == 4  # a restart tells all of it again
        assert [one.version for one in deliveries.deployments("shop")] == ["v3", "v0", "v1"]
        assert deliveries.findings.listed() == []


def test_where_telemetry_moves_nothing_is_told_before_it_is_known_by_how_much(tmp_path: Path) -> None:
    with opened(str(tmp_path), create=True) as database:
        deliveries = Deliveries(database, clock=lambda: NOON)
        retelling = Retelling(deliveries, KNOWN, True, lambda: NOON)
        assert retelling.turn() == 0
        retelling.moved({"shop": -60})
        assert retelling.turn() == 4
        assert [one.started_at for one in deliveries.deployments("shop", limit=1)] == [NOON]
        retelling.start()
        retelling.stop()


def test_a_deployment_that_says_too_little_is_refused_before_anything_is_told(tmp_path: Path) -> None:
    with opened(str(tmp_path), create=True) as database:
        deliveries = Deliveries(database, clock=lambda: NOON)
        with pytest.raises(UsageError, match="a deployment without service"):
            Retelling(deliveries, [*KNOWN, Deployment(NOON, "", "feature", "v9")], False, lambda: NOON)
