"""What a person sees: the report in a real browser, wide and narrow, light and dark."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]

THEMES = ("light", "dark")
WIDTHS = (1440, 390, 320)


def opened(browser: Any, page: Path, *, width: int = 1440, theme: str = "light", at: str = "") -> Any:
    """Open the page at a width and in a theme; what was logged before is forgotten."""
    browser.get("about:blank")
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600},
    )
    browser.get_log("browser")
    browser.get_log("performance")
    browser.get(f"{page.as_uri()}?theme={theme}{at}")
    return browser


def seen(browser: Any, script: str) -> Any:
    return browser.execute_script(f"return ({script})")


@pytest.mark.parametrize("theme", THEMES)
def test_nothing_is_complained_about_in_the_console(browser: Any, page: Path, theme: str) -> None:
    opened(browser, page, theme=theme)
    assert browser.get_log("browser") == []


def test_the_page_is_the_only_thing_that_is_asked_for(browser: Any, page: Path) -> None:
    opened(browser, page)
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [
        message["params"]["request"]["url"] for message in messages if message["method"] == "Network.requestWillBeSent"
    ]
    assert [one for one in asked if not one.startswith((page.as_uri(), "data:"))] == []
    assert any(one.startswith(page.as_uri()) for one in asked)


@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_never_scrolls_sideways(browser: Any, page: Path, width: int) -> None:
    opened(browser, page, width=width)
    seen(browser, "document.querySelectorAll('details').forEach(one => one.open = true)")
    assert seen(browser, "document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("width", [390, 320])
def test_no_table_scrolls_sideways_on_a_small_screen(browser: Any, page: Path, width: int) -> None:
    opened(browser, page, width=width)
    seen(browser, "document.querySelectorAll('details').forEach(one => one.open = true)")
    wide = """
      [...document.querySelectorAll('.tw')].filter(one => one.scrollWidth > one.clientWidth)
        .map(one => `${one.getAttribute('aria-label')}: ${one.scrollWidth} in ${one.clientWidth}`)
    """
    assert seen(browser, wide) == []


def test_a_table_that_became_cards_says_what_each_value_is(browser: Any, page: Path) -> None:
    opened(browser, page, width=390)
    told = """
      [...document.querySelectorAll('table.rowcards td')]
        .map(one => getComputedStyle(one, '::before').content).filter(one => one === 'none' || one === '""').length
    """
    assert seen(browser, "document.querySelectorAll('table.rowcards td').length") > 20
    assert seen(browser, told) == 0


@pytest.mark.parametrize("width", [1440, 390])
@pytest.mark.parametrize("theme", THEMES)
def test_the_page_is_accessible(browser: Any, page: Path, theme: str, width: int) -> None:
    axe = pytest.importorskip("axe_core_python", reason="axe-core-python is not installed")
    rules = Path(axe.__file__).parent / "axe.min.js"
    opened(browser, page, width=width, theme=theme)
    seen(browser, "document.querySelectorAll('details').forEach(one => one.open = true)")
    browser.execute_script(rules.read_text(encoding="utf-8"))
    found = browser.execute_async_script(
        "const done = arguments[0]; axe.run(document, {resultTypes: ['violations']}).then(r => done(r.violations))"
    )
    assert [(one["id"], [node["html"][:120] for node in one["nodes"][:3]]) for one in found] == []


def test_small_screens_get_their_own_drawing(browser: Any, page: Path) -> None:
    shown = "[...document.querySelectorAll('.chart')].map(one => getComputedStyle(one).display !== 'none')"
    narrow = "[...document.querySelectorAll('.chart')].map(one => one.classList.contains('n'))"
    opened(browser, page, width=390)
    assert seen(browser, shown) == seen(browser, narrow)
    opened(browser, page, width=1440)
    assert seen(browser, shown) == [not one for one in seen(browser, narrow)]


def test_text_in_charts_stays_inside_the_drawing(browser: Any, page: Path) -> None:
    script = """
      [...document.querySelectorAll('.chart')].filter(one => one.getBoundingClientRect().width).flatMap(chart => {
        const edge = chart.getBoundingClientRect();
        return [...chart.querySelectorAll('text')].filter(text => {
          const box = text.getBoundingClientRect();
          return box.left < edge.left - 1 || box.right > edge.right + 1 || box.bottom > edge.bottom + 2;
        }).map(text => text.textContent);
      })
    """
    for width in (1440, 390):
        opened(browser, page, width=width)
        assert seen(browser, script) == []


def test_the_theme_changes_at_the_press_of_a_button(browser: Any, page: Path) -> None:
    opened(browser, page, theme="light")
    colour = "getComputedStyle(document.body).backgroundColor"
    before = seen(browser, colour)
    button = browser.find_element("id", "theme")
    assert button.get_attribute("aria-pressed") == "false"
    button.click()
    assert seen(browser, colour) != before
    assert button.get_attribute("aria-pressed") == "true"


def test_the_keyboard_comes_to_the_content_first(browser: Any, page: Path) -> None:
    opened(browser, page)
    keys = pytest.importorskip("selenium.webdriver.common.keys").Keys
    browser.find_element("tag name", "body").send_keys(keys.TAB)
    assert seen(browser, "document.activeElement.className") == "skip"
    browser.switch_to.active_element.send_keys(keys.ENTER)
    assert seen(browser, "document.activeElement.id") == "main"


def test_a_link_to_an_objective_leads_to_it(browser: Any, page: Path) -> None:
    opened(browser, page, at="#slo-burning-slo")
    top = seen(browser, "document.getElementById('slo-burning-slo').getBoundingClientRect().top")
    assert -2 <= top <= 120


def test_motion_is_left_out_for_who_asks_for_it(browser: Any, page: Path) -> None:
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-reduced-motion", "value": "reduce"}]}
    )
    try:
        opened(browser, page)
        still = "[...document.querySelectorAll('*')].every(one => getComputedStyle(one).transitionDuration === '0s')"
        assert seen(browser, still)
        assert seen(browser, "document.getAnimations().length") == 0
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
