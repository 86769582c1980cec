"""How many questions the gate answers a second, with the whole decision in the body: `tightrope serve` under wrk."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2

from benchmarks.tables import show

ROOT = Path(__file__).resolve().parent.parent
SECONDS, CONNECTIONS = 8, 16
GOAL_A_SECOND, GOAL_P99_MS = 20_000, 2.0


@contextmanager
def served(folder: Path) -> Iterator[tuple[str, int]]:
    """Run the example services; yields the address and the process id."""
    log = (folder / "log").open("w+")
    command = [
        *(sys.executable, "-m", "tightrope", "serve", "--replay", "--port", "0"),
        *("-f", str(ROOT / "examples" / "real" / "slo"), "--data", str(folder / "data")),
    ]
    process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    try:
        yield _address(process, Path(log.name)), process.pid
    finally:
        process.terminate()
        process.wait(20)
        log.close()


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    end = time.monotonic() + 60
    while time.monotonic() < end and process.poll() is None:
        found = re.search(r"http://localhost:(\d+)", log.read_text())
        if found:
            address = f"http://127.0.0.1:{found[1]}"
            try:
                if httpx2.get(f"{address}/api/v1/backfills").json()["items"] == []:
                    return address
            except httpx2.TransportError:
                pass
        time.sleep(0.2)
    raise RuntimeError(f"the server did not come up: {log.read_text()}")


def asked(url: str, process: int) -> list[str]:
    """Ask for some seconds; a row of the table."""
    before = _cpu_s(process)
    told = subprocess.run(
        ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", "--latency", url],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    spent = _cpu_s(process) - before
    requests = int(re.search(r"(\d+) requests in", told)[1])  # type: ignore[index]
    failed = re.search(r"Non-2xx or 3xx responses: (\d+)", told)
    latency = {share: _ms(text) for share, text in re.findall(r"^\s+(50|99)%\s+(\S+)", told, re.MULTILINE)}
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", told)[1])  # type: ignore[index]
    body = len(httpx2.get(url).content)
    return [
        f"{rate:,.0f}",
        f"{latency['50']:.2f} ms",
        f"{latency['99']:.2f} ms",
        f"{spent / requests * 1e6:.1f} µs",
        f"{body:,} B",
        failed[1] if failed else "0",
    ]


def _ms(text: str) -> float:
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s)", text).groups()  # type: ignore[union-attr]
    return float(number) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[unit]


def _cpu_s(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def main() -> None:
    """Print requests a second and latencies, of the gate and for comparison of a route that looks nothing up."""
    title = f"The gate: one worker, {CONNECTIONS} connections, the whole decision in the body (wrk on the same machine)"
    if shutil.which("wrk") is None:
        print(f"\n{title}\n  wrk is not installed (Debian: apt-get install wrk)")
        return
    with tempfile.TemporaryDirectory() as folder, served(Path(folder)) as (address, process):
        service = httpx2.get(f"{address}/api/v1/services").json()["items"][0]["name"]
        rows = [
            ["gate", *asked(f"{address}/api/v1/gate/{service}", process)],
            ["gate, for people", *asked(f"{address}/api/v1/gate/{service}?dialect=plain", process)],
            ["/healthz, as any route", *asked(f"{address}/healthz", process)],
        ]
    header = ["", "a second", "median", "p99", "CPU each", "body", "failed"]
    load = f"load when done: {os.getloadavg()[0]:.1f}; beside other work the p99 is that of waiting for a core"
    goal = f"goal: {GOAL_A_SECOND:,} a second, p99 under {GOAL_P99_MS:g} ms, with a core for the server and one for wrk"
    show(title, header, rows, notes=[goal, load])


if __name__ == "__main__":
    main()
