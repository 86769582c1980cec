"""The live pages in a real browser: accessible, by keyboard, up to date in place, without asking anybody else."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from queue import Empty
from typing import Any

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

from tests.browser.test_report import seen
from tests.web.standin import World, notified, standin
from tests.web.worlds import END, INCIDENTS, WICKED, fleet, reading
from tightrope.policy.decision import GateRequest
from tightrope.specs.model import Specs
from tightrope.web.routes import web_routes
from tightrope.web.visit import service_path

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]


class Site:
    """A server with its address."""

    def __init__(self, world: World, address: str) -> None:
        self.world = world
        self.address = address


def _stream(world: World) -> Any:
    """The stream of turns, as the API has it."""

    async def told(request: Request) -> AsyncIterator[str]:
        with world.server.listen() as ear:
            yield "retry: 500\n\n"
            while not (world.still.failure or await request.is_disconnected()):
                try:
                    yield f"event: turn\ndata: {json.dumps(asdict(ear.get_nowait()))}\n\n"
                except Empty:
                    await asyncio.sleep(0.05)

    async def stream(request: Request) -> StreamingResponse:
        return StreamingResponse(told(request), media_type="text/event-stream")

    return stream


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The small fleet on a port of this machine, with a few decisions, a file of specs, and a stream of turns."""
    folder = tmp_path_factory.mktemp("site")
    specs = folder / "slo"
    specs.mkdir()
    (specs / "policy.yaml").write_text(POLICY, encoding="utf-8")
    found = fleet()
    with ExitStack() as stack:
        world = stack.enter_context(
            standin(
                folder,
                found,
                Specs(slos=tuple(one.slo for one in found)),
                at=END + 20,
                paths=[str(specs)],
                alerts=notified,
            )
        )
        world.still.read, world.still.incidents = reading, INCIDENTS
        world.server.alerts.add_silence(['service="fine"'], ends_at=END + 9_000, who="me", why="a test", now=END + 20)
        world.server.alerts.deliver(END + 20)
        for number, one in enumerate(found):
            world.server.decide(GateRequest(one.slo.service, world.clock - 600 * number, change=f"4f2a9c{number}"))
        pages = Starlette(routes=[Route("/api/v1/events/stream", _stream(world)), *web_routes(world.server)])
        server = uvicorn.Server(uvicorn.Config(pages, port=0, log_level="error", timeout_graceful_shutdown=1))
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.02)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield Site(world, f"http://127.0.0.1:{port}")
        world.still.failure = "over"
        server.should_exit = True
        thread.join(10)


POLICY = """\
apiVersion: tightrope.dev/v1
kind: ErrorBudgetPolicy
metadata:
  name: strict
spec:
  services: [fine]
  states:
    - {name: feature, flow: feature, allows: all}
    - name: stability
      flow: stability
      allows: [reliability, security, emergency, rollback]
      enter: {remaining: "< 99.9%"}
      exit: {remaining: ">= 99.95%"}
"""


def paths(site: Site) -> list[str]:
    stop = next(one for one in site.world.server.decisions() if one.record.request.service == WICKED)
    return [
        "/",
        "/services",
        service_path(WICKED),
        "/services/silent",
        "/decisions",
        f"/decisions/{stop.record.decision.id}",
        "/alerts",
        f"/alerts/{site.world.server.alerts.alerts(service='burning')[0].id}",
        "/journal",
        "/specs",
        "/specs/ErrorBudgetPolicy/strict",
        "/settings",
        "/start",
        "/more",
        "/login",
        "/nowhere",
    ]


def opened(browser: Any, site: Site, path: str, *, width: int = 1440, theme: str = "light") -> Any:
    """Open a page at a width and in a theme; what was logged before is forgotten."""
    browser.get("about:blank")
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600},
    )
    browser.get_log("browser")
    browser.get_log("performance")
    joint = "&" if "?" in path else "?"
    browser.get(f"{site.address}{path}{joint}theme={theme}")
    return browser


def until(what: str, browser: Any, within_s: float = 8.0) -> Any:
    """Wait until a script says something true."""
    ends = time.monotonic() + within_s  # noqa: TID251  a browser has a clock of its own
    while True:
        found = seen(browser, what)
        if found:
            return found
        assert time.monotonic() < ends, what  # noqa: TID251  a browser has a clock of its own
        time.sleep(0.05)


def keys(browser: Any, *pressed: str) -> None:
    for one in pressed:
        browser.switch_to.active_element.send_keys(one)


@pytest.mark.parametrize(("theme", "width"), [("light", 1440), ("dark", 390), ("dark", 1440), ("light", 390)])
def test_every_page_is_accessible(browser: Any, site: Site, theme: str, width: int) -> None:
    axe = pytest.importorskip("axe_core_python", reason="axe-core-python is not installed")
    rules = (Path(axe.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
    every = (theme, width) in {("light", 1440), ("dark", 390)}  # the other two differ in nothing but what these have
    wrong = {}
    for path in paths(site) if every else ["/", service_path(WICKED), "/specs/ErrorBudgetPolicy/strict"]:
        opened(browser, site, path, width=width, theme=theme)
        seen(browser, "document.querySelectorAll('details').forEach(one => one.open = true)")
        browser.execute_script(rules)
        found = browser.execute_async_script(
            "const done = arguments[0]; axe.run(document, {resultTypes: ['violations']}).then(r => done(r.violations))"
        )
        if found:
            wrong[path] = [(one["id"], [node["html"][:160] for node in one["nodes"][:3]]) for one in found]
    assert wrong == {}


@pytest.mark.parametrize("width", [901, 390, 320])
def test_no_page_scrolls_sideways_and_fingers_find_their_targets(browser: Any, site: Site, width: int) -> None:
    small = """
      [...document.querySelectorAll('.btn, .tabbar a, .seg a, select, header button')].filter(one => {
        const box = one.getBoundingClientRect();
        return box.width && (box.height < 44 || box.width < 30);
      }).map(one => one.outerHTML.slice(0, 90))
    """
    wide = {}
    for path in paths(site):
        opened(browser, site, path, width=width)
        assert width > 900 or seen(browser, small) == [], path
        seen(browser, "document.querySelectorAll('details').forEach(one => one.open = true)")
        found = seen(browser, "document.documentElement.scrollWidth")
        if found > width:
            wide[path] = found
    assert wide == {}


def test_no_page_complains_or_asks_anybody_else(browser: Any, site: Site) -> None:
    for path in paths(site):
        opened(browser, site, path)
        logged = [
            one for one in browser.get_log("browser") if one["level"] != "DEBUG" and "/nowhere" not in one["message"]
        ]
        assert logged == [], path
        messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
        asked = [one["params"]["request"]["url"] for one in messages if one["method"] == "Network.requestWillBeSent"]
        assert [one for one in asked if not one.startswith((site.address, "data:"))] == [], path
        assert any(one.startswith(site.address) for one in asked)


def test_the_keyboard_goes_everywhere(browser: Any, site: Site) -> None:
    for pressed, path in (
        ("gs", "/services"),
        ("gd", "/decisions"),
        ("ga", "/alerts"),
        ("gj", "/journal"),
        ("go", "/"),
    ):
        opened(browser, site, "/settings")
        keys(browser, *pressed)
        until(f"location.pathname === '{path}'", browser)


def test_a_list_is_walked_by_keyboard(browser: Any, site: Site) -> None:
    opened(browser, site, "/")
    order = seen(browser, "[...document.querySelectorAll('[data-row] a')].map(one => one.textContent)")
    keys(browser, "j", "j")
    assert seen(browser, "document.activeElement.textContent") == order[1]
    keys(browser, "k")
    assert seen(browser, "document.activeElement.textContent") == order[0]
    enter = pytest.importorskip("selenium.webdriver.common.keys").Keys.ENTER
    keys(browser, "j", enter)
    until("location.pathname.startsWith('/services/')", browser)


def test_services_are_found_as_one_types(browser: Any, site: Site) -> None:
    named = pytest.importorskip("selenium.webdriver.common.keys").Keys
    opened(browser, site, "/")
    keys(browser, "/")
    assert seen(browser, "document.activeElement.id") == "find"
    keys(browser, "b", "u", "r")
    until("document.querySelectorAll('#found a').length === 1", browser)
    assert seen(browser, "document.getElementById('find').getAttribute('aria-expanded')") == "true"
    keys(browser, named.ARROW_DOWN, named.ENTER)
    until("location.pathname === '/services/burning'", browser)


def test_keys_do_nothing_while_one_writes(browser: Any, site: Site) -> None:
    opened(browser, site, "/services")
    browser.find_element("id", "q").click()
    keys(browser, "g", "d", "?")
    assert seen(browser, "location.pathname") == "/services"
    assert seen(browser, "document.getElementById('q').value") == "gd?"
    assert not seen(browser, "document.getElementById('help').open")


def test_help_and_the_time_range_are_a_key_away(browser: Any, site: Site) -> None:
    named = pytest.importorskip("selenium.webdriver.common.keys").Keys
    opened(browser, site, "/services/burning")
    keys(browser, "?")
    assert seen(browser, "document.getElementById('help').open")
    keys(browser, named.ESCAPE)
    until("!document.getElementById('help').open", browser)
    keys(browser, "t")
    assert seen(browser, "document.activeElement.closest('#range') !== null")
    assert seen(browser, "document.activeElement.getAttribute('aria-current')") == "true"


def test_a_theme_that_was_chosen_stays(browser: Any, site: Site) -> None:
    opened(browser, site, "/", theme="light")
    try:
        browser.find_element("id", "theme").click()
        assert seen(browser, "document.getElementById('theme').getAttribute('aria-pressed')") == "true"
        browser.get(f"{site.address}/decisions")
        assert seen(browser, "document.documentElement.getAttribute('data-theme')") == "dark"
    finally:
        browser.delete_all_cookies()


def test_times_can_be_read_in_ones_own_zone(browser: Any, site: Site) -> None:
    browser.execute_cdp_cmd("Emulation.setTimezoneOverride", {"timezoneId": "Asia/Kolkata"})
    try:
        opened(browser, site, "/decisions")
        stamp = "document.querySelector('#log time').textContent"
        assert seen(browser, stamp) == "21 Jan 00:00"
        browser.find_element("id", "zone").click()
        assert seen(browser, stamp) == "21 Jan 05:30"
        assert seen(browser, "document.querySelector('#log time').title").endswith("UTC")
        browser.get(f"{site.address}/decisions")
        assert seen(browser, stamp) == "21 Jan 05:30"
        browser.find_element("id", "zone").click()
        assert seen(browser, stamp) == "21 Jan 00:00"
    finally:
        browser.execute_cdp_cmd("Emulation.setTimezoneOverride", {"timezoneId": ""})
        browser.execute_script("localStorage.clear()")


def test_a_page_follows_what_happens_without_being_loaded_again(browser: Any, site: Site) -> None:
    opened(browser, site, "/")
    before = seen(browser, "document.getElementById('answer').textContent")
    browser.execute_script("window.mark = document.querySelector('#r-burning')")
    fine = [one for one in fleet() if one.slo.service in {"fine", "burning"}]
    try:
        site.world.turn(fine, at=END + 60)
        until(f"document.getElementById('answer').textContent !== {json.dumps(before)}", browser)
        assert seen(browser, "window.mark === document.querySelector('#r-burning')")  # the same row, not another one
        assert seen(browser, "document.querySelector('#r-silent')") is None
        told = until("document.getElementById('told').textContent", browser)
        assert told == seen(browser, "document.getElementById('answer').textContent")
    finally:
        site.world.turn(fleet(), at=END + 20)


def test_rows_under_the_pointer_stay_where_they_are(browser: Any, site: Site) -> None:
    actions = pytest.importorskip("selenium.webdriver").ActionChains
    opened(browser, site, "/")
    row = browser.find_element("id", "r-burning")
    actions(browser).move_to_element(row).perform()
    before = seen(browser, "document.querySelector('#r-burning').getBoundingClientRect().top")
    others = [one for one in fleet() if one.slo.service != WICKED]
    worse = [replace(one, slo=replace(one.slo, service="a-new-one", name="new")) for one in fleet()[2:3]]
    try:
        site.world.turn([*others, *worse], at=END + 120)
        until("document.title && document.getElementById('answer').textContent.includes('stability')", browser)
        time.sleep(0.3)
        assert abs(seen(browser, "document.querySelector('#r-burning').getBoundingClientRect().top") - before) <= 1
    finally:
        site.world.turn(fleet(), at=END + 20)


def test_what_is_open_stays_open_when_the_page_is_brought_up_to_date(browser: Any, site: Site) -> None:
    opened(browser, site, "/services/burning")
    browser.execute_script(
        "document.querySelector('details.tbl').open = true; document.querySelector('#ask').open = true"
    )
    browser.execute_script("document.querySelector('#ask input[name=change]').value = 'half a thought'")
    stamp = seen(browser, "document.body.textContent.includes('Telemetry 20 s old')")
    assert stamp
    try:
        site.world.turn(fleet(), at=END + 110)
        until("/ (1[.][89]|2[.]0) min old/.test(document.querySelector('.age').textContent)", browser)
        assert seen(browser, "document.querySelector('details.tbl').open")
        assert seen(browser, "document.querySelector('#ask input[name=change]').value") == "half a thought"
    finally:
        site.world.turn(fleet(), at=END + 20)


def test_findings_come_as_one_writes_and_a_preview_on_demand(browser: Any, site: Site) -> None:
    opened(browser, site, "/specs/ErrorBudgetPolicy/strict")
    until("document.getElementById('findings').textContent.includes('may go live')", browser)
    assert seen(browser, "document.querySelector('.lines').textContent.trim().split('\\n').length") >= 13
    script = "const t = document.getElementById('text'); t.value = t.value.replace(arguments[0], arguments[1]);"
    browser.execute_script(script + "t.dispatchEvent(new Event('input'))", "allows: all", "allow: all")
    until("document.querySelectorAll('#findings [data-severity=error]').length > 0", browser)
    assert seen(browser, "document.querySelector('.lines b').textContent.trim()") == "8"
    assert seen(browser, "document.getElementById('checking').textContent").endswith("error") or seen(
        browser, "document.getElementById('checking').textContent"
    ).endswith("errors")
    browser.execute_script(script + "t.dispatchEvent(new Event('input'))", "allow: all", "allows: all")
    until("document.getElementById('findings').textContent.includes('may go live')", browser)
    browser.find_element("css selector", "button[value=preview]").click()
    until("/This change would have|touches no SLO/.test(document.getElementById('preview').textContent)", browser)


def test_the_gate_is_asked_by_a_form(browser: Any, site: Site) -> None:
    opened(browser, site, "/services/fine")
    browser.find_element("css selector", "#ask summary").click()
    browser.find_element("css selector", "#ask input[name=change]").send_keys("4f2a9c1")
    browser.find_element("css selector", "#ask button").click()
    until("location.pathname.startsWith('/decisions/D-')", browser)
    assert "Decided, and recorded." in seen(browser, "document.getElementById('done').textContent")


def test_a_server_that_cannot_be_reached_is_told_with_the_age_of_what_is_shown(browser: Any, site: Site) -> None:
    opened(browser, site, "/")
    browser.execute_script("window.fetch = () => Promise.reject(new Error('gone'))")
    site.world.turn(fleet(), at=END + 20)
    time.sleep(2.2)
    site.world.turn(fleet(), at=END + 20)
    text = until("!document.getElementById('lost').hidden && document.getElementById('lost').textContent", browser)
    assert text == "Tightrope cannot be reached. What you see is as of 00:00 UTC."


def test_motion_is_left_out_for_who_asks_for_it(browser: Any, site: Site) -> None:
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-reduced-motion", "value": "reduce"}]}
    )
    try:
        opened(browser, site, "/")
        still = "[...document.querySelectorAll('*')].every(one => getComputedStyle(one).transitionDuration === '0s')"
        assert seen(browser, still)
        assert seen(browser, "document.getAnimations().length") == 0
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_a_thousand_services_are_there_at_once(browser: Any, site: Site) -> None:
    found = fleet()
    many = [*found[1:]]
    many += [replace(found[0], slo=replace(found[0].slo, name=f"slo-{n}", service=f"service-{n}")) for n in range(997)]
    try:
        site.world.turn(many, at=END + 20)
        opened(browser, site, "/")
        opened(browser, site, "/")
        timing = "performance.getEntriesByType('navigation')[0]"
        until("document.querySelectorAll('[data-row]').length === 1000", browser)
        assert seen(browser, f"{timing}.domContentLoadedEventEnd") < 2_000  # ten times what an idle machine takes
        keys(browser, "j")
        assert seen(browser, "document.activeElement.closest('[data-row]') !== null")
    finally:
        site.world.turn(found, at=END + 20)
