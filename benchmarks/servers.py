"""Real servers on loopback, filled with our slices, for comparison in the same run."""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tightrope.sli.slices import Slices

_READY_S = 60.0


@dataclass(frozen=True, slots=True)
class Server:
    """A server that answers the query API of Prometheus."""

    name: str
    url: str
    options: tuple[tuple[str, str], ...] = ()

    def ask(self, query: str, start: int, end: int, step_s: int) -> bytes:
        """Ask for a range; the raw answer, read to its last byte."""
        form = [("query", query), ("start", str(start)), ("end", str(end)), ("step", str(step_s)), *self.options]
        body = urllib.parse.urlencode(form).encode()
        try:
            with urllib.request.urlopen(f"{self.url}/api/v1/query_range", body, timeout=600) as answer:
                return bytes(answer.read())
        except urllib.error.HTTPError as error:
            raise RuntimeError(f"{self.name} refused {query}: {error.read().decode()}") from error

    def metrics(self) -> dict[str, float]:
        """What the server tells of itself: sums over all series of each name."""
        found: dict[str, float] = {}
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=60) as answer:
            for line in answer.read().decode().splitlines():
                if not line.startswith("#"):
                    name, _, value = line.rpartition(" ")
                    name = name.partition("{")[0]
                    found[name] = found.get(name, 0.0) + float(value)
        return found

    def columns(self, query: str, start: int, end: int, step_s: int) -> dict[str, np.ndarray]:
        """Ask for a range; values of shape ``((end - start) / step_s + 1,)`` by the label ``slo``, absent ones NaN."""
        found = {}
        for series in json.loads(self.ask(query, start, end, step_s))["data"]["result"]:
            values = np.full((end - start) // step_s + 1, np.nan)
            for at, value in series["values"]:
                values[(int(at) - start) // step_s] = float(value)
            found[series["metric"]["slo"]] = values
        return found


def missing(program: str) -> bool:
    """Whether a program is not on the path."""
    return shutil.which(program) is None


def _exposition(fleet: Sequence[Slices], unit_s: int) -> Iterator[str]:
    """Every slice as samples in its middle: events of the slice as gauges, and the counters that they add up to.

    A sample in the middle lies in the same windows whether a window's edges count as inside or not.
    """
    kinds = {"bad": "gauge", "events": "gauge", "bad_ever": "counter", "events_ever": "counter"}
    for name, kind in kinds.items():
        if unit_s == 1:
            yield f"# TYPE {name} {kind}"
        for number, slices in enumerate(fleet):
            counts = slices.bad if name.startswith("bad") else slices.total
            values = 1_000_000 + np.cumsum(counts) if kind == "counter" else counts
            middle = (slices.start + slices.step_s // 2) * unit_s
            sample = f'{name}{"_total" if kind == "counter" else ""}{{slo="{number}"}}'
            for k, value in enumerate(values.tolist()):
                yield f"{sample} {value} {middle + k * slices.step_s * unit_s}"
    if unit_s == 1:
        yield "# EOF"


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextmanager
def _running(command: list[str], ready: str, folder: Path) -> Iterator[None]:
    with (folder / "log").open("wb") as log, subprocess.Popen(command, cwd=folder, stdout=log, stderr=log) as process:
        try:
            give_up = time.monotonic() + _READY_S
            while True:
                try:
                    with urllib.request.urlopen(ready, timeout=1) as answer:
                        if answer.status == 200:
                            break
                except OSError:
                    if process.poll() is not None or time.monotonic() > give_up:
                        raise RuntimeError(f"{command[0]} did not start:\n{(folder / 'log').read_text()}") from None
                    time.sleep(0.1)
            yield
        finally:
            process.terminate()


def _version(text: str) -> str:
    found = re.search(r"\bv?(\d+\.\d+\.\d+)", text)
    return found[1] if found else "of unknown version"


def _packaged_version(program: str) -> str:
    """The version of a Debian package, from the changelog beside the program; the program itself does not tell."""
    changelog = Path(shutil.which(program) or "").parents[1] / "share" / "doc" / program / "changelog.Debian.gz"
    return _version(gzip.decompress(changelog.read_bytes())[:200].decode()) if changelog.exists() else _version("")


@contextmanager
def prometheus(fleet: Sequence[Slices], folder: Path) -> Iterator[Server]:
    """Start Prometheus with the slices in its blocks, merged as far as they go."""
    with prometheus_of(_exposition(fleet, 1), folder, "scrape_configs: []\n") as server:
        yield server


@contextmanager
def prometheus_of(samples: Iterable[str], folder: Path, settings: str) -> Iterator[Server]:
    """Start Prometheus with samples (lines of OpenMetrics text) in its blocks, and settings of its own."""
    told = subprocess.run(["prometheus", "--version"], capture_output=True, text=True, check=True)
    text = folder / "samples.txt"
    with text.open("w", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in samples)
    blocks = ["promtool", "tsdb", "create-blocks-from", "openmetrics", "--max-block-duration=744h", "-q"]
    subprocess.run([*blocks, str(text), str(folder / "data")], check=True, capture_output=True)
    (folder / "prometheus.yml").write_text(settings, encoding="utf-8")
    url = f"http://127.0.0.1:{_free_port()}"
    command = [
        "prometheus",
        "--config.file=prometheus.yml",
        "--storage.tsdb.path=data",
        "--storage.tsdb.retention.time=100y",
        "--query.timeout=10m",
        f"--web.listen-address={url.removeprefix('http://')}",
    ]
    with _running(command, f"{url}/-/ready", folder):
        yield Server(f"Prometheus {_version(told.stdout + told.stderr)}", url)


@contextmanager
def victoria_metrics(fleet: Sequence[Slices], folder: Path) -> Iterator[Server]:
    """Start VictoriaMetrics and import the slices; its cache of earlier answers is not used."""
    url = f"http://127.0.0.1:{_free_port()}"
    command = [
        "victoria-metrics",
        "-storageDataPath=data",
        "-retentionPeriod=100y",
        "-search.maxPointsPerTimeseries=1000000",
        "-search.maxQueryDuration=10m",
        "-search.maxSamplesPerQuery=10000000000",
        f"-httpListenAddr={url.removeprefix('http://')}",
    ]
    with _running(command, f"{url}/health", folder):
        lines = list(_exposition(fleet, 1000))
        for first in range(0, len(lines), 200_000):
            body = "\n".join(lines[first : first + 200_000]).encode()
            urllib.request.urlopen(f"{url}/api/v1/import/prometheus", body, timeout=120).close()
        urllib.request.urlopen(f"{url}/internal/force_flush", timeout=120).close()
        yield Server(f"VictoriaMetrics {_packaged_version('victoria-metrics')}", url, (("nocache", "1"),))


def cores() -> int:
    """How many queries are sent at a time."""
    return os.cpu_count() or 1
