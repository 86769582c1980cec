"""A small fleet behind a real server on loopback: a few services, their telemetry, and a token for every role."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from tightrope.access.roles import LOCAL, Role
from tightrope.api.application import Api, api_app
from tightrope.api.wire import Serving
from tightrope.app import serving
from tightrope.loop.server import Server, ServeSettings

STEP_S = 60
DAYS = 3

SPECS = """\
apiVersion: openslo/v1
kind: DataSource
metadata: {name: shop-log}
spec:
  type: csv
  connectionDetails: {path: shop.csv, timestamp: time}
---
apiVersion: openslo/v1
kind: DataSource
metadata: {name: pushed}
spec: {type: push, connectionDetails: {}}
---
apiVersion: openslo/v1
kind: DataSource
metadata: {name: written}
spec: {type: remote-write, connectionDetails: {}}
---
apiVersion: openslo/v1
kind: Service
metadata: {name: basket, displayName: The basket}
spec: {description: Holds what people want.}
---
apiVersion: openslo/v1
kind: Service
metadata: {name: checkout}
spec: {description: Takes the money.}
---
apiVersion: openslo/v1
kind: Service
metadata: {name: search}
spec: {description: Finds things.}
---
apiVersion: openslo/v1
kind: Service
metadata: {name: depot}
spec: {description: What tests promise is promised here.}
---
apiVersion: openslo/v1
kind: Service
metadata: {name: quiet, displayName: Not watched}
spec: {description: Nothing is promised here.}
---
apiVersion: openslo/v1
kind: SLO
metadata: {name: checkout-availability, annotations: {tightrope.dev/owner: payments}}
spec:
  service: checkout
  budgetingMethod: Occurrences
  timeWindow: [{duration: 1d, isRolling: true}]
  objectives: [{target: 0.99}]
  indicator:
    metadata: {name: checkout-success}
    spec:
      ratioMetric:
        counter: false
        good: {metricSource: {metricSourceRef: shop-log, spec: {column: good, where: {service: checkout}}}}
        total: {metricSource: {metricSourceRef: shop-log, spec: {column: total, where: {service: checkout}}}}
---
apiVersion: openslo/v1
kind: SLO
metadata: {name: basket-availability}
spec:
  service: basket
  budgetingMethod: Occurrences
  timeWindow: [{duration: 1d, isRolling: true}]
  objectives: [{target: 0.99}]
  indicator:
    metadata: {name: basket-success}
    spec:
      ratioMetric:
        counter: false
        good: {metricSource: {metricSourceRef: shop-log, spec: {column: good, where: {service: basket}}}}
        total: {metricSource: {metricSourceRef: shop-log, spec: {column: total, where: {service: basket}}}}
---
apiVersion: openslo/v1
kind: SLO
metadata: {name: search-pushed}
spec:
  service: search
  budgetingMethod: Occurrences
  timeWindow: [{duration: 1d, isRolling: true}]
  objectives: [{target: 0.9}]
  indicator:
    metadata: {name: search-success}
    spec:
      ratioMetric:
        counter: false
        good: {metricSource: {metricSourceRef: pushed, spec: {series: search}}}
        total: {metricSource: {metricSourceRef: pushed, spec: {series: search}}}
---
apiVersion: tightrope.dev/v1
kind: NotificationChannel
metadata: {name: nowhere}
spec:
  type: webhook
  url: http://127.0.0.1:9/hook
"""

EXTRA = """\
apiVersion: openslo/v1
kind: SLO
metadata: {{name: {name}}}
spec:
  service: {service}
  description: {description}
  budgetingMethod: Occurrences
  timeWindow: [{{duration: 1d, isRolling: true}}]
  objectives: [{{target: {target}}}]
  indicator:
    metadata: {{name: {name}-success}}
    spec:
      ratioMetric:
        counter: false
        good: {{metricSource: {{metricSourceRef: shop-log, spec: {{column: good, where: {{service: {service}}}}}}}}}
        total: {{metricSource: {{metricSourceRef: shop-log, spec: {{column: total, where: {{service: {service}}}}}}}}}
"""


def extra(name: str, *, service: str = "depot", target: str = "0.95", description: str = "One more") -> str:
    """The text of one more SLO."""
    return EXTRA.format(name=name, service=service, target=target, description=description)


def write_fleet(folder: Path, now: int) -> None:
    """Write specs, and telemetry up to *now*: the basket has spent its budget, checkout none of it."""
    end = now - now % STEP_S
    rows = ["time,service,good,total"]
    for at in range(end - DAYS * 86400, end, STEP_S):
        ill = end - 4 * 3600 <= at < end - 2 * 3600
        rows += [f"{at},checkout,100,100", f"{at},basket,{50 if ill else 100},100", f"{at},depot,100,100"]
    (folder / "shop.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    (folder / "shop.yaml").write_text(SPECS, encoding="utf-8")


@dataclass(slots=True, eq=False)
class World:
    """A server that runs, and ways to ask it.

    Attributes:
        server, app: What runs.
        url: Where.
        tokens: A token for each role, and ``basket`` and ``applier`` for an operator and an approver of that
            service only.
    """

    server: Server
    app: Api
    url: str
    tokens: Mapping[str, str]
    _clients: dict[str, httpx2.Client]

    def client(self, who: str = "admin") -> httpx2.Client:
        """Somebody's way to ask; empty for who shows nothing."""
        if who not in self._clients:
            headers = {"Authorization": f"Bearer {self.tokens[who]}"} if who else {}
            self._clients[who] = httpx2.Client(base_url=self.url, headers=headers, timeout=20)
        return self._clients[who]

    def get(self, path: str, who: str = "admin", **more: Any) -> httpx2.Response:
        return self.client(who).get(path, **more)

    def post(self, path: str, who: str = "admin", **more: Any) -> httpx2.Response:
        return self.client(who).post(path, **more)

    def ask(self, method: str, path: str, who: str = "admin", **more: Any) -> httpx2.Response:
        return self.client(who).request(method, path, **more)


@contextmanager
def running(folder: Path, *, required: bool, host: str = "127.0.0.1") -> Iterator[World]:
    """Run a server over the specs in *folder*, with its store beside them, until the block ends."""
    with socket.create_server((host, 0)) as listener:
        port = listener.getsockname()[1]
        settings = ServeSettings(
            host, port, f"http://localhost:{port}", required, False, str(folder / "data"), (str(folder / "shop.yaml"),)
        )
        with serving(settings, str(folder / "data"), every_s=0.2) as server:
            app = api_app(server)
            uvicorn = Serving(app)
            thread = threading.Thread(target=uvicorn.run, args=([listener],), name="uvicorn")
            thread.start()
            clients: dict[str, httpx2.Client] = {}
            try:
                until(lambda: uvicorn.started and server.ready()[0])
                assert not server.problems(), [str(one) for one in server.problems()]
                until(lambda: not [one for one in server.backfills() if one.series != "search-pushed"])
                yield World(server, app, f"http://127.0.0.1:{port}", _tokens(server), clients)
            finally:
                for client in clients.values():
                    client.close()
                app.state.hub.close()
                uvicorn.should_exit = True
                thread.join(15)


def until(holds: Callable[[], object], *, within_s: float = 20) -> None:
    """Wait until something holds."""
    end = time.monotonic() + within_s  # noqa: TID251 - tests wait on the real clock
    while not holds():
        if time.monotonic() > end:  # noqa: TID251 - tests wait on the real clock
            raise AssertionError("it did not come to hold in time")
        time.sleep(0.02)


def _tokens(server: Server) -> dict[str, str]:
    def token(name: str, role: Role, *services: str) -> str:
        return server.access.create_token(
            name, role, by=LOCAL, now=server.now(), expires_at=None, services=services
        ).text

    return {str(role): token(str(role), role) for role in Role} | {
        "basket": token("basket", Role.OPERATOR, "basket"),
        "applier": token("applier", Role.APPROVER, "basket"),
    }
