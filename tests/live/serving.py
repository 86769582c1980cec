"""``tightrope serve`` as a process of its own: started on a free port, waited for, asked, stopped or killed."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.bodies import body_of

STARTS_WITHIN_S = 30


class Served:
    """One server over a store and a folder of specs; after `kill` or `stop` it can be started again."""

    def __init__(self, folder: Path, data: str, port: int = 0, options: Sequence[str] = ()) -> None:
        self.options = tuple(options)
        self.folder = folder
        self.data = data
        self.port = port
        self.process: subprocess.Popen[str] | None = None
        self.ready_after_s = 0.0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> Served:
        """Start it, and wait until it is ready."""
        began = time.monotonic()  # noqa: TID251  a real process
        command = [sys.executable, "-m", "tightrope", "serve", "-f", str(self.folder), "--data", self.data]
        self.process = subprocess.Popen(
            [*command, "--port", str(self.port), *self.options],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},  # noqa: TID251
        )
        assert self.process.stdout is not None
        said = []
        for line in self.process.stdout:
            said.append(line)
            if line.startswith("open "):
                self.port = int(line.rsplit(":", 1)[1].strip().rstrip("/"))
                break
        else:
            pytest.fail(f"the server ended: {''.join(said)}")
        threading.Thread(target=self.process.stdout.read, daemon=True).start()
        wait_for(lambda: self.get("/readyz")[0] == 200, STARTS_WITHIN_S)
        self.ready_after_s = time.monotonic() - began  # noqa: TID251
        return self

    def kill(self) -> None:
        """End it without a word, as a power cut does."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Ask it to end."""
        self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> None:
        if self.process is None:
            return
        self.process.send_signal(how)
        self.process.wait(20)
        if self.process.stdout is not None:
            self.process.stdout.close()
        self.process = None

    def get(self, path: str) -> tuple[int, str]:
        """Ask; status 0 where nobody answers."""
        return _asked(urllib.request.Request(f"{self.url}{path}"))

    def document(self, path: str) -> Any:
        """Ask for a document that must be there."""
        status, text = self.get(path)
        assert status == 200, text
        return json.loads(text)

    def push(self, slices: list[dict[str, Any]]) -> int:
        """Push slices; the status of the answer, 0 where there is none."""
        request = urllib.request.Request(
            f"{self.url}/api/v1/push", json.dumps(slices).encode(), {"content-type": "application/json"}
        )
        return _asked(request)[0]

    def status(self) -> dict[str, dict[str, Any]]:
        """Where every SLO stands, by name."""
        return {one["slo"]: one for one in self.document("/api/v1/status")}


def _asked(request: urllib.request.Request) -> tuple[int, str]:
    try:
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
    except (OSError, http.client.HTTPException):  # a server that is killed may leave half an answer
        return 0, ""


def wait_for(holds: Callable[[], Any], seconds: float = 20) -> None:
    """Wait until something is so; fails when it does not become so."""
    end = time.monotonic() + seconds  # noqa: TID251
    while not holds():
        if time.monotonic() > end:  # noqa: TID251
            pytest.fail(f"it did not become so within {seconds} s")
        time.sleep(0.05)


def stateless_status(folder: Path, at: str) -> dict[str, dict[str, Any]]:
    """What ``tightrope status`` says as of an instant, by SLO."""
    done = subprocess.run(
        [sys.executable, "-m", "tightrope", "status", "-f", str(folder), "--at", at, "-o", "json"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return {one["slo"]: one for one in json.loads(done.stdout)}


@contextmanager
def listening(answer: Callable[[str, str, bytes], tuple[int, bytes]]) -> Iterator[str]:
    """A small HTTP server: *answer* gets method, path and body, and hands out a status and a body."""

    class Pages(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            body = body_of(self)
            if body is None:
                return
            status, text = answer(self.command, self.path, body)
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = _answer  # noqa: N815  the names that the library calls

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            pass  # clients are killed here

    server = Server(("127.0.0.1", 0), Pages)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
