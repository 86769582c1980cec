"""A real Chromium for the tests that look at pages; they are skipped, and say why, where there is none."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Make the mark known: these tests need a browser on this machine."""
    config.addinivalue_line("markers", "browser: needs Chromium and its driver on this machine")


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Chromium without a window, a fresh profile, and a record of its console and network."""
    selenium = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("no Chromium with chromedriver on this machine (apt-get install chromium chromium-driver)")
    options = selenium.ChromeOptions()
    options.binary_location = chromium
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        f"--user-data-dir={tmp_path_factory.mktemp('profile')}",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = selenium.ChromeService(driver)
    window = selenium.Chrome(options=options, service=service)
    try:
        yield window
    finally:
        window.quit()


@pytest.fixture(scope="session")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of the hand-made fleet, written to a file."""
    from tests.web.worlds import DEPLOYMENTS, END, decisions, fleet
    from tightrope.loop.witness import scores_of, stopped_of
    from tightrope.web.report import fleet_report

    found = fleet()
    text = fleet_report(
        "A fleet",
        found,
        decisions(found),
        scores=[scores_of(one) if one.incidents else None for one in found],
        stopped=[stopped_of(one, DEPLOYMENTS) for one in found],
        deployments=DEPLOYMENTS,
        generated_at=END + 60,
        command="tightrope demo",
    )
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(text, encoding="utf-8")
    return path
