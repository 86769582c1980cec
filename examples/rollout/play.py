"""A shop to release: two versions of a small web service behind nginx, with people who buy.

    python examples/rollout/play.py shop            # stays until Ctrl-C; writes everything into the folder shop
    curl -X POST http://127.0.0.1:PORT/fail/20      # lets the version at that port fail 20 % of its requests

It needs nginx on the PATH, and nothing else than Python.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

BASE_ERRORS = 0.002
BUYERS, PAUSE_S = 4, 0.02
HISTORY_S = 600


class Version(ThreadingHTTPServer):
    """One version of the shop; it answers what it is, and fails as often as it was told to."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, name: str, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Answers)
        self.name = name
        self.fails = BASE_ERRORS
        self.slow_s = 0.0
        threading.Thread(target=self.serve_forever, args=(0.1,), daemon=True).start()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.server_address[1])


class _Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Version

    def do_GET(self) -> None:
        if self.server.slow_s:
            time.sleep(self.server.slow_s)
        failed = random.random() < self.server.fails
        self._answer(500 if failed else 200, f"version {self.server.name}\n")

    def do_POST(self) -> None:
        word, _, value = self.path.strip("/").partition("/")
        try:
            number = float(value)
        except ValueError:
            word = ""
        if word == "fail":
            self.server.fails = number / 100
            self._answer(200, f"version {self.server.name} fails {number:g} %\n")
        elif word == "slow":
            self.server.slow_s = number / 1000
            self._answer(200, f"version {self.server.name} takes {number:g} ms longer\n")
        else:
            self._answer(404, "POST /fail/PERCENT or /slow/MILLISECONDS\n")

    def _answer(self, status: int, text: str) -> None:
        content = text.encode()
        self.send_response(status)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


NGINX = """\
worker_processes 1;
daemon off;
pid nginx.pid;
error_log nginx-error.log;
worker_shutdown_timeout 5s;
events {{ worker_connections 512; }}
http {{
    access_log off;
    client_body_temp_path temp/body;
    proxy_temp_path temp/proxy;
    fastcgi_temp_path temp/fastcgi;
    uwsgi_temp_path temp/uwsgi;
    scgi_temp_path temp/scgi;

    # What Tightrope writes: both slots, how requests are split between them, and what it was.
    include weights.con[f];

    log_format rollout escape=json
        '{{"time":"$time_iso8601","status":"$status","path":"$uri","request_time":"$request_time",'
        '"upstream_addr":"$upstream_addr","slot":"$tightrope_slot"}}';

    server {{
        listen 127.0.0.1:{port};

        location / {{
            proxy_pass http://$tightrope_slot;
            access_log access.log rollout;
        }}

        # Tells the weight that the running workers have: the proof that a change, or a rollback, has landed.
        location = /tightrope {{
            allow 127.0.0.1;
            deny all;
            default_type text/plain;
            return 200 $tightrope_slot_now;
        }}
    }}
}}
"""

FIRST_WEIGHTS = """\
# Written by Tightrope; edits are lost. \
{{"canary": "green", "weight": "0", "before": "0", "generation": "000000000000"}}
upstream blue {{ server 127.0.0.1:{blue}; }}
upstream green {{ server 127.0.0.1:{green}; }}
split_clients "$request_id" $tightrope_slot {{ * blue; }}
map "" $tightrope_slot_now {{ default "canary=green weight=0/1 generation=000000000000"; }}
"""

SPECS = """\
apiVersion: openslo/v1
kind: DataSource
metadata: {{name: shop-log}}
spec:
  type: access-log
  connectionDetails: {{path: access.log, format: json}}
---
apiVersion: openslo/v1
kind: SLO
metadata: {{name: checkout-availability}}
spec:
  service: checkout
  budgetingMethod: Occurrences
  timeWindow: [{{duration: 28d, isRolling: true}}]
  objectives: [{{target: 0.99}}]
  indicator:
    metadata: {{name: checkout-success}}
    spec:
      ratioMetric:
        counter: false
        good: {{metricSource: {{metricSourceRef: shop-log, spec: {{where: {{path: /}}}}}}}}
        total: {{metricSource: {{metricSourceRef: shop-log, spec: {{where: {{path: /}}}}}}}}
---
apiVersion: tightrope.dev/v1
kind: RolloutStrategy
metadata: {{name: checkout}}
spec:
  service: checkout
  environment: production
  strategy: canary
  steps: [{steps}]
  allowance: 1%
  reaction: {{measure: 2s, evaluate: 1s, act: 2s}}
  longest: 30m
  lostContact: {{after: 2m, then: rollback}}
  analysis:
    clusterGuard: 1
    minimumExposure: {{requests: 20, for: 3s}}
    arms: {{field: upstream_addr}}
  target:
    nginx:
      file: weights.conf
      slots: {{blue: "127.0.0.1:{blue}", green: "127.0.0.1:{green}"}}
      probe: http://127.0.0.1:{port}/tightrope
      program: {program}
      configuration: nginx.conf
      prefix: .
      pidFile: nginx.pid
"""


class Shop:
    """Everything at once: both versions, nginx, some history in its log, and buyers."""

    def __init__(
        self,
        folder: Path,
        *,
        nginx: str = "",
        port: int = 0,
        bake: str = "15s",
        weights: tuple[int, ...] = (5, 25, 50),
    ) -> None:
        program = nginx or shutil.which("nginx") or "/usr/sbin/nginx"
        if not Path(program).is_file():
            raise FileNotFoundError("nginx is not installed; on Debian: apt-get install nginx-light")
        self.folder = folder.resolve()
        (self.folder / "temp").mkdir(parents=True, exist_ok=True)
        self.blue, self.green = Version("1.0"), Version("2.0")
        self.port = port or _free_port()
        steps = ", ".join(f"{{weight: {weight}%, bake: {bake}}}" for weight in weights)
        facts = {
            "port": self.port,
            "blue": self.blue.port,
            "green": self.green.port,
            "program": program,
            "steps": steps,
        }
        for name, text in (("nginx.conf", NGINX), ("weights.conf", FIRST_WEIGHTS), ("specs.yaml", SPECS)):
            (self.folder / name).write_text(text.format(**facts), encoding="utf-8")
        self._write_history()
        self.nginx = subprocess.Popen(
            [program, "-p", f"{self.folder}/", "-c", "nginx.conf"],
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._closing = threading.Event()
        self._buyers = [threading.Thread(target=self._buy, daemon=True) for _ in range(BUYERS)]
        self._wait()
        for buyer in self._buyers:
            buyer.start()

    @property
    def url(self) -> str:
        """Where people buy."""
        return f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        """Close the shop."""
        self._closing.set()
        for buyer in self._buyers:
            if buyer.is_alive():
                buyer.join(3)
        if self.nginx.poll() is None:
            os.kill(self.nginx.pid, signal.SIGTERM)
            self.nginx.wait(10)
        for version in (self.blue, self.green):
            version.shutdown()
            version.server_close()

    def log(self) -> list[dict[str, str]]:
        """What nginx has written about its requests, without the history."""
        lines = (self.folder / "access.log").read_text(encoding="utf-8").splitlines()
        found = [json.loads(line) for line in lines if line.endswith("}")]
        return [one for one in found if one["slot"]]

    def _buy(self) -> None:
        connection: http.client.HTTPConnection | None = None
        while not self._closing.wait(PAUSE_S):
            try:
                connection = connection or http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
                connection.request("GET", "/buy")
                connection.getresponse().read()
            except (OSError, http.client.HTTPException):
                if connection is not None:
                    connection.close()
                connection = None
        if connection is not None:
            connection.close()

    def _wait(self) -> None:
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            if self.nginx.poll() is not None:
                break
            time.sleep(0.05)
        said = (self.folder / "nginx-error.log").read_text(encoding="utf-8")[-500:]
        raise RuntimeError(f"nginx does not start: {said}")

    def _write_history(self) -> None:
        """Requests of before: a budget is known of a service that has been there for a while."""
        now = int(time.time())  # noqa: TID251
        rate = BUYERS / (PAUSE_S + 0.005)
        with (self.folder / "access.log").open("w", encoding="utf-8") as log:
            for second in range(now - HISTORY_S, now):
                at = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(second))
                for _ in range(round(rate * random.uniform(0.8, 1.1) / 10)):
                    for _ in range(10):
                        status = 500 if random.random() < BASE_ERRORS else 200
                        log.write(f'{{"time":"{at}","status":"{status}","path":"/buy","upstream_addr":"","slot":""}}\n')


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> None:
    """Keep the shop open until Ctrl-C."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("folder", type=Path, help="where everything is written")
    words.add_argument("--port", type=int, default=8088, help="where people buy")
    words.add_argument("--bake", default="15s", help="how long each step bakes")
    words.add_argument("--fails", type=float, default=0.2, help="percent of its requests that version 2.0 fails")
    given = words.parse_args()
    shop = Shop(given.folder, port=given.port, bake=given.bake)
    shop.green.fails = given.fails / 100
    print(f"the shop is open at {shop.url}; version 2.0 waits at http://127.0.0.1:{shop.green.port}")
    print("release it:  tightrope rollout start checkout --version 2.0 --previous 1.0 \\")
    print(f"                 -f {given.folder}/specs.yaml --data {given.folder}/data")
    print(f"make it bad: curl -X POST http://127.0.0.1:{shop.green.port}/fail/20", flush=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        while shop.nginx.poll() is None:
            time.sleep(0.5)
    except KeyboardInterrupt:
        pass
    finally:
        shop.close()


if __name__ == "__main__":
    main()
