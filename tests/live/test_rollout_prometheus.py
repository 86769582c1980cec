"""A release judged by queries to a real Prometheus, which scrapes both versions."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.live.conftest import _running
from tests.live.serving import wait_for
from tightrope.app import serving
from tightrope.base.errors import TightropeError
from tightrope.delivery.rollout import Phase
from tightrope.delivery.rollouts.usecases import View, Wish
from tightrope.loop.server import Server, ServeSettings

pytestmark = [pytest.mark.live, pytest.mark.timeout(240)]

SPECS = """\
apiVersion: openslo/v1
kind: DataSource
metadata: {{name: metrics}}
spec: {{type: prometheus, connectionDetails: {{url: "{url}", resolution: 2s, step: 1s}}}}
---
apiVersion: openslo/v1
kind: SLO
metadata: {{name: shop-availability, annotations: {{tightrope.dev/resolution: "2s"}}}}
spec:
  service: shop
  budgetingMethod: Occurrences
  timeWindow: [{{duration: 1h, isRolling: true}}]
  objectives: [{{target: 0.9}}]
  indicator:
    metadata: {{name: shop-success}}
    spec:
      ratioMetric:
        counter: true
        bad: {{metricSource: {{metricSourceRef: metrics, spec: {{query: 'requests_total{{code="500"}}'}}}}}}
        total: {{metricSource: {{metricSourceRef: metrics, spec: {{query: requests_total}}}}}}
---
apiVersion: tightrope.dev/v1
kind: RolloutStrategy
metadata: {{name: shop}}
spec:
  service: shop
  steps: [{{weight: 50%, bake: 10s}}]
  allowance: 50%
  reaction: {{measure: 8s, evaluate: 1s, act: 1s}}
  analysis:
    clusterGuard: 1
    latency: [50ms, 250ms, 1000ms]
    minimumExposure: {{requests: 20, for: 2s}}
    arms:
      queries:
        - slo: shop-availability
          bad: requests_total{{code="500",version="$arm"}}
          total: requests_total{{version="$arm"}}
          latency: seconds_bucket{{version="$arm",le=~"$le"}}
          counter: true
      canary: $version
      baseline: $previous
  target:
    shell: {{setWeight: 'echo "$TIGHTROPE_WEIGHT" > weight', observe: cat weight}}
"""


BOUNDS = ("0.05", "0.25", "1.0", "+Inf")


class Shop(ThreadingHTTPServer):
    """Serves 200 requests a second, and tells Prometheus of them, by version and code."""

    daemon_threads = True

    def __init__(self, weight: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Metrics)
        self.weight = weight
        self.fails = 0.0
        self.slow = False
        self.begun = time.monotonic()  # noqa: TID251  a real clock
        self.served = 0
        self.counts = {(version, code): 0 for version in ("v1", "v2") for code in (200, 500)}
        self.buckets = {(version, le): 0 for version in ("v1", "v2") for le in BOUNDS}
        self.lock = threading.Lock()
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def metrics(self) -> str:
        """Serve what is due, then count it out."""
        with self.lock:
            due = int((time.monotonic() - self.begun) * 200) - self.served  # noqa: TID251
            self.served += due
            canary = int(due * Fraction(self.weight.read_text().strip() or "0"))
            for version, calls, fails in (("v2", canary, self.fails), ("v1", due - canary, 0.0)):
                self.counts[version, 500] += int(calls * fails)
                self.counts[version, 200] += calls - int(calls * fails)
                shares = (0.2, 0.6, 1.0, 1.0) if version == "v2" and self.slow else (0.6, 0.9, 1.0, 1.0)
                for le, share in zip(BOUNDS, shares, strict=True):
                    self.buckets[version, le] += int(calls * share)
            lines = [
                f'requests_total{{version="{version}",code="{code}"}} {count}'
                for (version, code), count in self.counts.items()
            ]
            lines += [
                f'seconds_bucket{{version="{version}",le="{le}"}} {count}'
                for (version, le), count in self.buckets.items()
            ]
        return "# TYPE requests_total counter\n" + "\n".join(lines) + "\n"


class _Metrics(BaseHTTPRequestHandler):
    server: Shop

    def do_GET(self) -> None:
        content = self.server.metrics().encode()
        self.send_response(200)
        self.send_header("content-type", "text/plain; version=0.0.4")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def watched(folder: Path, shop: Shop) -> Iterator[Server]:
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("prometheus is not installed (Debian: apt-get install prometheus)")
    (folder / "prometheus.yml").write_text(
        "global: {scrape_interval: 1s, scrape_timeout: 1s}\n"
        f"scrape_configs: [{{job_name: shop, static_configs: [{{targets: ['127.0.0.1:{shop.server_address[1]}']}}]}}]\n"
    )
    with _running(program, folder) as url:
        (folder / "specs.yaml").write_text(SPECS.format(url=url))
        settings = ServeSettings(spec_paths=(str(folder / "specs.yaml"),))
        with serving(settings, str(folder / "store"), every_s=0.5) as server:
            wait_for(lambda: _plannable(server), 90)
            yield server


def _plannable(server: Server) -> bool:
    try:
        return bool(server.rollouts.plan("shop").stages)
    except TightropeError:
        return False


@pytest.mark.parametrize(
    ("fails", "slow", "phase"),
    [
        pytest.param(0.0, False, Phase.PROMOTED, marks=pytest.mark.kills),
        pytest.param(0.4, False, Phase.ROLLED_BACK, marks=pytest.mark.kills),
        (0.0, True, Phase.ROLLED_BACK),
    ],
)
def test_both_versions_are_asked_for(tmp_path: Path, fails: float, slow: bool, phase: Phase) -> None:
    (tmp_path / "weight").write_text("0\n")
    shop = Shop(tmp_path / "weight")
    shop.fails, shop.slow = fails, slow
    try:
        with watched(tmp_path, shop) as server:
            begun = server.rollouts.start(Wish("shop", "v2", previous="v1"), by="ada")

            def now() -> View:
                return server.rollouts.view(begun.run.id)

            wait_for(lambda: now().step.state.over, 150)
            state = now().state
            assert state is not None
            assert state.phase is phase, state.why
            tally = state.tallies[0]
            told = shop.counts["v2", 200] + shop.counts["v2", 500]
            assert 0 < tally.requests <= told
            assert (tally.bad > 0) is (fails > 0)
            if fails:
                assert "hit the canary" in state.why
            if slow:
                assert "shop-availability latency: the canary is slower than the baseline" in state.why
            assert state.analysis is not None
            (timed,) = state.analysis.latencies
            assert min(timed.canary, timed.baseline) > 0
            assert sum(timed.seen) == timed.canary + timed.baseline
    finally:
        shop.shutdown()
        shop.server_close()
