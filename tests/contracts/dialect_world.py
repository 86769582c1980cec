"""A server with services in every standing, for callers of every dialect, and the clients that callers are."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.api.world import STEP_S, World, extra, running, until, write_fleet

GO, STOP, PAGE, WAIT, UNKNOWN = "checkout", "basket", "burning", "search", "nobody"
"""Services: budget left; budget spent; budget being spent at page level; no telemetry; none of that name."""

HELD = ("held-1", "held-2", "held-3", "held-4", "held-5", "held-6")
"""Services whose gate tests close and open."""

INTEGRATIONS = """\
---
apiVersion: tightrope.dev/v1
kind: Integration
metadata: {name: drone}
spec:
  type: drone
  secretFrom: {env: TIGHTROPE_TEST_DRONE}
  map:
    - {repository: acme/shop, service: checkout, environments: {prod: production}}
    - {repository: acme/basket, service: basket}
"""


@contextmanager
def dialect_world(folder: Path, more: str = "") -> Iterator[World]:
    """Run a server that wants a token of everybody."""
    now = int(time.time())  # noqa: TID251 - the server runs on the real clock
    write_fleet(folder, now)
    end = now - now % STEP_S
    rows = [f"{at},{PAGE},{50 if at >= end - 2400 else 100},100" for at in range(end - 2 * 86400, end, STEP_S)]
    with (folder / "shop.csv").open("a", encoding="utf-8") as log:
        log.write("\n".join(rows) + "\n")
    with (folder / "shop.yaml").open("a", encoding="utf-8") as specs:
        for name in (PAGE, *HELD):
            specs.write(
                f"---\napiVersion: openslo/v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{description: x}}\n"
            )
        specs.write("---\n" + extra("burning-availability", service=PAGE, target="0.99"))
        specs.write(INTEGRATIONS + more)
    with running(folder, required=True) as world:
        yield world


def close_gate(world: World, service: str) -> None:
    """Promise something for a service that it has broken already."""
    document = extra(f"{service}-slo", service=service, target="0.99").replace(
        f"where: {{service: {service}}}", "where: {service: basket}"
    )
    assert world.ask("PUT", "/api/v1/specs", content=document).status_code == 200
    until(lambda: world.get(f"/api/v1/gate/{service}").json().get("verdict") == "stop")


def open_gate(world: World, service: str) -> None:
    """Promise nothing any more."""
    path = f"/api/v1/specs/SLO/{service}-slo"
    assert world.ask("DELETE", path, headers={"If-Match": "*"}).status_code == 200
    until(lambda: world.get(f"/api/v1/gate/{service}").json().get("verdict") == "go")
