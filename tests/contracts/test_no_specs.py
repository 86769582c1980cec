"""A server whose specs were broken from the beginning: callers are told to come again, and nobody that all is well."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.api.world import SPECS, until
from tightrope.api.application import api_app
from tightrope.api.wire import Serving
from tightrope.app import serving
from tightrope.loop.server import ServeSettings

REVIEW = {
    "apiVersion": "admission.k8s.io/v1",
    "kind": "AdmissionReview",
    "request": {
        "uid": "u-1",
        "kind": {"group": "apps", "version": "v1", "kind": "Deployment"},
        "resource": {"group": "apps", "version": "v1", "resource": "deployments"},
        "namespace": "shop",
        "name": "checkout",
        "operation": "CREATE",
        "object": {
            "metadata": {"name": "checkout", "namespace": "shop"},
            "spec": {"template": {"spec": {"containers": [{"name": "app", "image": "shop:1"}]}}},
        },
    },
}


@pytest.fixture(scope="module")
def lost(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx2.Client]:
    """A server that has never had specs without errors."""
    folder: Path = tmp_path_factory.mktemp("lost")
    (folder / "shop.yaml").write_text(SPECS.replace("target: 0.99", "target: 99"), encoding="utf-8")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        settings = ServeSettings(
            "127.0.0.1", port, f"http://localhost:{port}", False, False, "", (str(folder / "shop.yaml"),)
        )
        with serving(settings, str(folder / "data"), every_s=0.2) as server:
            app = api_app(server)
            uvicorn = Serving(app)
            thread = threading.Thread(target=uvicorn.run, args=([listener],), name="uvicorn")
            thread.start()
            try:
                until(lambda: uvicorn.started and server.live.snapshot.number > 0)
                with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as client:
                    yield client
            finally:
                app.state.hub.close()
                uvicorn.should_exit = True
                thread.join(15)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/api/v1/gate/checkout", None),
        ("GET", "/api/v1/gate/checkout?kind=rollback", None),
        ("GET", "/api/v1/services/checkout", None),
        ("POST", "/api/v1/deployments", {"service": "checkout", "version": "v1"}),
        ("POST", "/api/v1/exceptions", {"service": "checkout", "reason": "a contract"}),
        ("POST", "/api/v1/hooks/github", {}),
        ("POST", "/api/v1/dialects/gitlab/gitlab", {}),
    ],
)
def test_who_asks_before_any_specs_are_followed_is_told_to_come_again(
    lost: httpx2.Client, method: str, path: str, body: Any
) -> None:
    answer = lost.request(method, path, json=body)
    assert answer.status_code == 503, answer.text
    assert int(answer.headers["retry-after"]) > 0
    assert "specs" in answer.json()["detail"]


@pytest.mark.parametrize("hook", ["confirm-rollout", "confirm-promotion", "confirm-traffic-increase", "rollback"])
def test_flagger_waits_and_rolls_nothing_back(lost: httpx2.Client, hook: str) -> None:
    answer = lost.post(
        f"/api/v1/dialects/flagger/{hook}", json={"name": "checkout", "namespace": "shop", "phase": "Progressing"}
    )
    assert 400 <= answer.status_code < 500
    assert answer.status_code != 429
    assert "specs" in answer.text


def test_argo_rollouts_waits(lost: httpx2.Client) -> None:
    answer = lost.get("/api/v1/dialects/argo-rollouts/checkout")
    assert (answer.status_code, answer.json()["decision"]) == (200, "wait")


def test_kubernetes_is_left_to_its_failure_policy(lost: httpx2.Client) -> None:
    assert lost.post("/api/v1/dialects/kubernetes/admission", json=REVIEW).status_code == 500


def test_drone_blocks_the_build_and_does_not_call_its_signature_wrong(lost: httpx2.Client) -> None:
    answer = lost.post("/api/v1/dialects/drone/drone", json={"build": {"event": "promote"}})
    assert (answer.status_code, answer.text) == (499, "")
    assert "specs" in answer.headers["x-tightrope-reason"]
