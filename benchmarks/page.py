"""How long a person waits for the overview of a large fleet: `tightrope serve` and a real Chromium on one machine."""

from __future__ import annotations

import gzip
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import numpy as np

from benchmarks.tables import show

SLOS, STEP_S, DAYS = 1_000, 300, 7
VISITS = 9
GOAL_MS = 500
_ONCE_INTERACTIVE = """
  document.addEventListener('DOMContentLoaded', () => {
    requestAnimationFrame(() => setTimeout(() => { window.interactive = performance.now(); }, 0));
    const rows = () => document.querySelectorAll('[data-row]').length;
    new MutationObserver(() => { if (rows() === SLOS && !window.whole) window.whole = performance.now(); })
      .observe(document.body, {childList: true, subtree: true});
  });
""".replace("SLOS", str(SLOS))
"""Interactive: the document is read, its scripts have run, it is painted, and the page's thread is free again.
Whole: every row is there."""


def written(folder: Path) -> None:
    """Write so many SLOs, each on columns of its own of one file that ends about now; one in forty has had trouble."""
    end = int(time.time()) // STEP_S * STEP_S
    times = np.arange(end - DAYS * 86_400, end, STEP_S)
    chance = np.random.default_rng(7)
    total = chance.poisson(400, (len(times), SLOS))
    bad = chance.binomial(total, 0.0002)
    for number in range(0, SLOS, 40):
        since = int(chance.integers(0, len(times) - 12))
        bad[since : since + 12, number] = total[since : since + 12, number] // int(chance.integers(2, 30))
    names = [f"{kind}_{number}" for number in range(SLOS) for kind in ("total", "good")]
    table = np.empty((len(times), 2 * SLOS), np.int64)
    table[:, 0::2], table[:, 1::2] = total, total - bad
    with gzip.open(folder / "fleet.csv.gz", "wt", compresslevel=1) as file:
        file.write(",".join(["time", *names]) + "\n")
        for at, row in zip(times.tolist(), table.tolist(), strict=True):
            file.write(",".join(map(str, [at, *row])) + "\n")
    source = (
        "apiVersion: openslo/v1\nkind: DataSource\nmetadata: {name: fleet}\n"
        "spec: {type: csv, connectionDetails: {path: fleet.csv.gz, timestamp: time}}\n"
    )
    slo = (
        "---\napiVersion: openslo/v1\nkind: SLO\n"
        "metadata: {{name: slo-{0}, annotations: {{tightrope.dev/resolution: 5m}}}}\n"
        "spec:\n  service: service-{0}\n  budgetingMethod: Occurrences\n"
        "  timeWindow: [{{duration: 28d, isRolling: true}}]\n  objectives: [{{target: 0.999}}]\n"
        "  indicator:\n    metadata: {{name: sli-{0}}}\n    spec:\n      ratioMetric:\n        counter: false\n"
        "        good: {{metricSource: {{metricSourceRef: fleet, spec: {{column: good_{0}}}}}}}\n"
        "        total: {{metricSource: {{metricSourceRef: fleet, spec: {{column: total_{0}}}}}}}\n"
    )
    (folder / "fleet.yaml").write_text(source + "".join(slo.format(number) for number in range(SLOS)))


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve the fleet; yields the address once every objective was evaluated."""
    written(folder)
    with (folder / "log").open("w+") as log:
        command = [sys.executable, "-m", "tightrope", "serve", "--port", "0", "-f", str(folder / "fleet.yaml")]
        process = subprocess.Popen([*command, "--data", str(folder / "data")], stdout=log, stderr=subprocess.STDOUT)
        try:
            yield _address(process, folder / "log")
        finally:
            process.terminate()
            process.wait(30)


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    end = time.monotonic() + 180
    while time.monotonic() < end and process.poll() is None:
        found = re.search(r"http://localhost:(\d+)", log.read_text())
        if found:
            address = f"http://127.0.0.1:{found[1]}"
            try:
                if len(httpx2.get(f"{address}/api/v1/status?limit=1000", timeout=60).json()) == SLOS:
                    return address
            except httpx2.TransportError:
                pass
        time.sleep(0.5)
    raise RuntimeError(f"the server did not come up: {log.read_text()}")


@contextmanager
def browser() -> Iterator[Any]:
    """Chromium without a window."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium") or shutil.which("chromium-browser"))
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"):
        options.add_argument(argument)
    window = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        window.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": _ONCE_INTERACTIVE})
        window.execute_cdp_cmd("Network.enable", {})
        yield window
    finally:
        window.quit()


def visits(window: Any, address: str, width: int, *, cold: bool) -> list[dict[str, float]]:
    """Open the overview again and again; what each visit took, milliseconds from the click."""
    found = []
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    window.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    window.execute_cdp_cmd("Network.setCacheDisabled", {"cacheDisabled": cold})
    for _ in range(VISITS):
        window.get("about:blank")
        time.sleep(0.7)  # of the loop's turns some fall into a visit and some do not
        window.get(f"{address}/")
        for _ in range(200):
            if window.execute_script("return window.interactive && window.whole"):
                break
            time.sleep(0.01)
        found.append(
            window.execute_script(
                "const n = performance.getEntriesByType('navigation')[0];"
                "const p = performance.getEntriesByName('first-contentful-paint')[0];"
                "return {first: n.responseStart, last: n.responseEnd, loaded: n.domContentLoadedEventEnd,"
                " painted: p ? p.startTime : 0, interactive: window.interactive, whole: window.whole,"
                " bytes: n.decodedBodySize,"
                " sent: n.encodedBodySize, rows: document.querySelectorAll('[data-row]').length}"
            )
        )
    return found


def main() -> None:
    """Print what the server and the browser take, until the overview can be used."""
    title = f"The overview of {SLOS:,} SLOs in Chromium, {VISITS} visits each, medians"
    if not (shutil.which("chromium") or shutil.which("chromium-browser")) or shutil.which("chromedriver") is None:
        print(f"\n{title}\n  Chromium is not installed (Debian: apt-get install chromium chromium-driver)")
        return
    rows, told = [], ""
    with tempfile.TemporaryDirectory() as folder, served(Path(folder)) as address, browser() as window:
        visits(window, address, 1440, cold=True)  # the browser itself is cold
        for name, width, cold in (
            ("1440 px, first visit", 1440, True),
            ("1440 px, again", 1440, False),
            ("390 px, again", 390, False),
        ):
            found = visits(window, address, width, cold=cold)
            middle = {key: statistics.median(one[key] for one in found) for key in found[0]}
            worst = max(one["interactive"] for one in found)
            told = f"{middle['rows']:,.0f} rows, {middle['bytes'] / 1024:,.0f} KiB of HTML"
            keys = ("first", "last", "painted", "loaded", "interactive")
            rows.append([name, *(f"{middle[key]:,.0f} ms" for key in (*keys, "whole")), f"{worst:,.0f} ms"])
    header = [
        "",
        "first byte",
        "last byte",
        "painted",
        "scripts ran",
        "interactive",
        "every row",
        "slowest interactive",
    ]
    show(title, header, rows, notes=[f"goal: interactive under {GOAL_MS} ms; {told}"])


if __name__ == "__main__":
    main()
