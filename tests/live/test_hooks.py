"""Webhooks and a served process that is killed: what was answered with 202 becomes a deployment, once."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contracts import hooks
from tests.contracts.hooks import SECRET
from tests.live.serving import Served, _asked, wait_for
from tests.state.conftest import new_database, postgresql, store  # noqa: F401  the fixtures

pytestmark = [pytest.mark.live, pytest.mark.kills]

SPECS = """\
apiVersion: openslo/v1
kind: Service
metadata: {name: checkout}
spec: {description: Takes the money.}
---
apiVersion: tightrope.dev/v1
kind: Integration
metadata: {name: github}
spec:
  type: github
  secretFrom: {env: TEST_HOOK_SECRET}
  map: [{repository: acme/shop, service: checkout, environments: {prod: production}}]
"""
COUNT = 12


@pytest.fixture
def served(tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:  # noqa: F811  a fixture
    monkeypatch.setenv("TEST_HOOK_SECRET", SECRET)
    folder = tmp_path / "specs"
    folder.mkdir()
    (folder / "shop.yaml").write_text(SPECS, encoding="utf-8")
    found = Served(folder, store)
    yield found
    found.kill()


def send(served: Served, number: int) -> int:
    status = hooks.github_deployment("success", id=number, ref=f"v1.{number}.0", sha=hooks.sha(20 + number))
    status["deployment_status"]["created_at"] = f"2026-03-17T10:{number:02}:00Z"
    headers, body = hooks.github("deployment_status", status, f"live-{number}")
    return _asked(urllib.request.Request(f"{served.url}/api/v1/hooks/github", body, headers))[0]


def test_a_kill_right_after_the_answer_loses_no_delivery_and_repeats_none(served: Served) -> None:
    served.start()
    for number in range(COUNT):
        wait_for(lambda one=number: send(served, one) in {200, 202})  # type: ignore[misc]
        if number % 3 == 2:
            served.kill()
            served.start()
    wait_for(lambda: len(served.document("/api/v1/deployments?service=checkout")["items"]) == COUNT)
    assert [send(served, number) for number in range(COUNT)] == [200] * COUNT
    deliveries = served.document("/api/v1/hooks/github/deliveries")["items"]
    assert {(one["state"], one["attempts"]) for one in deliveries} == {("done", 1)}
    told = served.document("/api/v1/journal?limit=1000")["items"]
    assert sum(one["type"].startswith("dev.cdevents.service.") for one in told) == COUNT
    assert served.document("/api/v1/journal/verify")["holds"]
