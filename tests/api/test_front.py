"""Pages and API behind one door: each answers for its own, and the door is the same for both."""

from __future__ import annotations

from starlette.testclient import TestClient

from tests.api.world import World
from tightrope.cli.serve import front


def test_pages_and_api_stand_behind_the_same_door(local: World) -> None:
    app = front(local.server)
    with TestClient(app, base_url="http://localhost", client=("127.0.0.1", 50000)) as client:
        page = client.get("/")
        assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert "default-src 'self'" in page.headers["content-security-policy"]
        assert "x-request-id" in page.headers
        assert client.get("/nothing").headers["content-type"].startswith("text/html")
        assert client.get("/api/v1/nothing").headers["content-type"] == "application/problem+json"
        assert [client.get("/healthz").status_code, client.post("/healthz").status_code] == [200, 405]
        assert client.get("/api/v1/gate/checkout").json()["verdict"] == "go"
        assert client.get("/", headers={"Host": "evil.example"}).status_code == 421
        routes = {one[1] for one in app.state.door.counts}
        assert {"/healthz", "other"} <= routes
