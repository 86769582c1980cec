"""A real Prometheus writes to our receiver; what is counted agrees with what the same Prometheus tells when asked."""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.live.conftest import free_port
from tests.telemetry.builders import data_source, ratio, read
from tightrope.base.errors import TightropeError
from tightrope.telemetry.counting import Counting
from tightrope.telemetry.receivers.remote_write import RemoteWrite
from tightrope.telemetry.samples import Checked

pytestmark = pytest.mark.live

STEP_S = 2
PATIENCE_S = 45


class _Shop:
    """Counters that grow by known steps, as a service exposes them; the pod restarts once, after a quiet while.

    Quiet, since a late scrape is closer to the next one than the grain of a query, which then sees the latter only.
    """

    def __init__(self) -> None:
        self._begun = time.monotonic()  # noqa: TID251  a real server scrapes in real time

    def page(self) -> str:
        seconds = int(time.monotonic() - self._begun)  # noqa: TID251
        since_restart = min(seconds, 6) if seconds < 10 else seconds - 10
        return (
            "# TYPE shop_requests_total counter\n"
            f'shop_requests_total{{code="200"}} {7 * since_restart}\n'
            f'shop_requests_total{{code="500"}} {since_restart // 2}\n'
            f"# TYPE shop_seconds histogram\n"
            f'shop_seconds_bucket{{le="0.3"}} {5 * since_restart}\n'
            f'shop_seconds_bucket{{le="+Inf"}} {6 * since_restart}\n'
            f"shop_seconds_sum {since_restart}.5\nshop_seconds_count {6 * since_restart}\n"
        )


class _Receiver:
    """Takes bodies over HTTP and counts them; refuses the first, which is then sent again."""

    def __init__(self) -> None:
        self.reader = RemoteWrite()
        self.checked: list[Checked] = []
        self.errors: list[str] = []
        self.refused = 0

    def take(self, body: bytes, headers: dict[str, str]) -> int:
        if not self.refused:
            self.refused = 1
            return 503
        try:
            self.checked.append(self.reader.check(body, headers, int(time.time())))  # noqa: TID251
        except TightropeError as error:
            self.errors.append(error.message)
            return 400
        return 204


@contextmanager
def _serving(shop: _Shop, receiver: _Receiver) -> Iterator[int]:
    class Pages(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(200, shop.page().encode())

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            self._answer(receiver.take(body, dict(self.headers.items())), b"")

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("content-type", "text/plain; version=0.0.4")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def _prometheus(folder: Path, port: int) -> Iterator[str]:
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("prometheus is not installed (Debian: apt-get install prometheus)")
    own = free_port()
    (folder / "prometheus.yml").write_text(
        "global: {scrape_interval: 1s, scrape_timeout: 1s, external_labels: {cluster: eu}}\n"
        f"scrape_configs: [{{job_name: shop, static_configs: [{{targets: ['127.0.0.1:{port}']}}]}}]\n"
        f"remote_write: [{{url: 'http://127.0.0.1:{port}/write', "
        "queue_config: {batch_send_deadline: 500ms, min_backoff: 100ms}, metadata_config: {send_interval: 2s}}]\n",
        encoding="utf-8",
    )
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                program,
                "--config.file=prometheus.yml",
                "--storage.tsdb.path=data",
                f"--web.listen-address=127.0.0.1:{own}",
            ],
            cwd=folder,
            stdout=log,
            stderr=log,
        )
        try:
            yield f"http://127.0.0.1:{own}"
        finally:
            process.terminate()
            process.wait(15)


def test_what_prometheus_writes_counts_as_what_it_tells(tmp_path: Path) -> None:
    pushed = data_source("remote-write", ".", {})
    errors, everything = '{code=~"5.."}', "shop_requests_total"
    wanted = [
        ratio(
            pushed,
            bad={"series": f'{everything}{{code=~"5..",cluster="eu"}}'},
            total={"series": everything},
            counter=True,
            step_s=STEP_S,
        ),
        ratio(
            pushed,
            {"series": 'shop_seconds_bucket{le="0.3"}'},
            {"series": "shop_seconds_count"},
            counter=True,
            step_s=STEP_S,
        ),
    ]
    shop, receiver = _Shop(), _Receiver()
    counting = Counting("remote-write", list(enumerate(wanted)))
    found: dict[tuple[int, int], tuple[int, int]] = {}
    with _serving(shop, receiver) as port, _prometheus(tmp_path, port) as url:
        end = time.monotonic() + PATIENCE_S  # noqa: TID251
        while (len({slot for _, slot in found}) < 7 or not counting.account.resets) and (
            time.monotonic() < end  # noqa: TID251
        ):
            time.sleep(0.5)
            new, receiver.checked = receiver.checked, []
            counting.take(*(one.delivery for one in new))
            counting.take(*(receiver.reader.read(one.kept) for one in new))  # all of it twice
            touched = counting.drain()
            rows = zip(
                touched.tracks.tolist(),
                touched.slots.tolist(),
                touched.bad.tolist(),
                touched.total.tolist(),
                strict=True,
            )
            found |= {(track, slot): (bad, total) for track, slot, bad, total in rows}
        complete = counting.complete()
        pulled = data_source("prometheus", ".", {"url": url, "step": "1s"})
        asked = [
            ratio(pulled, bad={"query": everything + errors}, total={"query": everything}, counter=True, step_s=STEP_S),
            ratio(
                pulled,
                {"query": 'shop_seconds_bucket{le="0.3"}'},
                {"query": "shop_seconds_count"},
                counter=True,
                step_s=STEP_S,
            ),
        ]
        first = min(slot for _, slot in found) + 1
        for track, request in enumerate(asked):
            until = complete[track]
            slices = read(request, since=first * STEP_S, until=until).slices
            told = {
                slices.start // STEP_S + number: (bad, total)
                for number, (bad, total) in enumerate(zip(slices.bad.tolist(), slices.total.tolist(), strict=True))
            }
            counted = {
                slot: figures
                for (of, slot), figures in found.items()
                if of == track and first <= slot < until // STEP_S
            }
            assert len(counted) >= 3
            assert counted == told
    assert receiver.errors == []
    assert receiver.refused == 1
    assert counting.account.resets > 0
    assert counting.account.repeated + counting.account.late == counting.account.taken + counting.account.ended
