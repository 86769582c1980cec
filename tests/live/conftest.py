"""Real servers on loopback, started for the tests that need them and stopped with them."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

StartPrometheus = Callable[[str], str]
"""Takes a record as OpenMetrics text, and hands out the address of a Prometheus that holds it."""

_STARTS_WITHIN_S = 30


def free_port() -> int:
    """Find a port on loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def start_prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartPrometheus]:
    """Start real Prometheus servers, each filled with a record by promtool; skips where the programs are missing."""
    prometheus, promtool = shutil.which("prometheus"), shutil.which("promtool")
    if prometheus is None or promtool is None:
        pytest.skip("prometheus and promtool are not installed (Debian: apt-get install prometheus)")
    with ExitStack() as running:

        def start(record: str) -> str:
            folder = tmp_path_factory.mktemp("prometheus")
            (folder / "record.om").write_text(record, encoding="utf-8")
            (folder / "prometheus.yml").write_text("global: {}\n", encoding="utf-8")
            subprocess.run(
                [
                    promtool,
                    "tsdb",
                    "create-blocks-from",
                    "--max-block-duration=64h",
                    "openmetrics",
                    "record.om",
                    "data",
                ],
                cwd=folder,
                check=True,
                capture_output=True,
                timeout=60,
            )
            return running.enter_context(_running(prometheus, folder))

        yield start


@pytest.fixture
def alertmanager(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start a real Alertmanager that tells nobody, and hand out its address; skips where the program is missing."""
    program = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")
    if program is None:
        pytest.skip("Alertmanager is not installed (Debian: apt-get install prometheus-alertmanager)")
    folder = tmp_path_factory.mktemp("alertmanager")
    program = _at_home(Path(program), folder)
    (folder / "alertmanager.yml").write_text(
        "route: {receiver: nobody}\nreceivers: [{name: nobody}]\n", encoding="utf-8"
    )
    with _running_alertmanager(program, folder) as url:
        yield url


_SHARE = Path("/usr/share/prometheus/alertmanager")


def _at_home(program: Path, folder: Path) -> str:
    """A copy of an Alertmanager that was unpacked and not installed, which finds its templates where they are.

    Debian's build looks for them under /usr/share only; a path of the same length leads to *folder* in its place.
    """
    templates = program.resolve().parent.parent / "share" / _SHARE.relative_to("/usr/share")
    if (_SHARE / "default.tmpl").exists() or not (templates / "default.tmpl").exists():
        return str(program)
    here = "t".rjust(len(str(_SHARE)), "/").replace("//", "./")
    shutil.copytree(templates, folder / "t", ignore=shutil.ignore_patterns("ui", "no-ui"))
    copy = folder / "alertmanager"
    copy.write_bytes(program.read_bytes().replace(str(_SHARE).encode(), here.encode()))
    copy.chmod(0o755)
    return str(copy)


class _running:  # noqa: N801  reads as what it is: with _running(...) as url
    def __init__(self, prometheus: str, folder: Path) -> None:
        self._prometheus = prometheus
        self._folder = folder

    def __enter__(self) -> str:
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        self._log = (self._folder / "log").open("wb")
        self._process = subprocess.Popen(
            self._command(f"127.0.0.1:{port}"),
            cwd=self._folder,
            stdout=self._log,
            stderr=self._log,
        )
        try:
            self._wait_for(url)
        except BaseException:
            self.__exit__()
            raise
        return url

    def _command(self, address: str) -> list[str]:
        return [
            self._prometheus,
            "--config.file=prometheus.yml",
            "--storage.tsdb.path=data",
            "--storage.tsdb.retention.time=100y",
            f"--web.listen-address={address}",
        ]

    def _wait_for(self, url: str) -> None:
        end = time.monotonic() + _STARTS_WITHIN_S  # noqa: TID251  waits for a real process
        while time.monotonic() < end and self._process.poll() is None:  # noqa: TID251
            try:
                with urllib.request.urlopen(f"{url}/-/ready", timeout=1):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)
        log = (self._folder / "log").read_text(encoding="utf-8", errors="replace")
        pytest.fail(f"{Path(self._prometheus).name} did not start:\n{log[-2000:]}")

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()


class _running_alertmanager(_running):  # noqa: N801  as above
    def _command(self, address: str) -> list[str]:
        return [
            self._prometheus,
            "--config.file=alertmanager.yml",
            "--storage.path=data",
            "--cluster.listen-address=",
            f"--web.listen-address={address}",
        ]
