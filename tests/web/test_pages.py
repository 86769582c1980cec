"""The live pages: each opens with the answer, escapes what it is given, and lets nobody do what they may not."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from html import unescape
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.access.provider import CLIENT, SECRET, Provider
from tests.web.conftest import client_of
from tests.web.standin import CHANNELS, World, notified, standin
from tests.web.test_report import Page
from tests.web.worlds import END, START, WICKED, fleet
from tightrope.access.oidc import OidcSettings, parse_rules
from tightrope.access.roles import LOCAL, Role
from tightrope.base.errors import Place, SpecError, StoreError
from tightrope.base.units import DAY_S, percent_text, time_text
from tightrope.budget.words import fleet_sentence, service_sentence
from tightrope.loop.assess import Assessment
from tightrope.loop.snapshot import Backfill
from tightrope.loop.standing import standing_of
from tightrope.policy.decision import GateRequest
from tightrope.specs.model import ChangeKind, Specs
from tightrope.state.documents import etag_of
from tightrope.web.board import Boards
from tightrope.web.pages import assets
from tightrope.web.visit import service_path

PAGES = (
    "/",
    "/services",
    "/services/burning",
    service_path(WICKED),
    "/services/silent",
    "/delivery",
    "/decisions",
    "/alerts",
    "/journal",
    "/specs",
    "/specs/new",
    "/settings",
    "/start",
    "/more",
    "/nowhere",
)


def csrf(client: TestClient, path: str = "/settings") -> str:
    found = re.search(r'name="csrf" value="([^"]+)"', client.get(path).text)
    assert found is not None
    return found[1]


def shown(client: TestClient, path: str) -> Page:
    return Page(client.get(path).text)


def heading(client: TestClient, path: str) -> str:
    return shown(client, path).text("h1")


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A client of a server to which nothing happens."""
    found = fleet()
    specs = Specs(slos=tuple(one.slo for one in found))
    with standin(tmp_path_factory.mktemp("quiet"), found, specs, at=END + 20) as made, client_of(made) as client:
        yield client


# --- every page -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PAGES)
def test_every_page_is_well_formed_and_opens_with_one_sentence(quiet: TestClient, path: str) -> None:
    page = shown(quiet, path)
    assert page.wrong == []
    assert len(page.of("h1")) == 1
    assert page.text("h1")
    assert page.text("h1")[-1] in ".?" or path == "/nowhere"


@pytest.mark.parametrize("path", PAGES)
def test_ids_are_used_once_and_labels_lead_somewhere(quiet: TestClient, path: str) -> None:
    page = shown(quiet, path)
    ids = [one["id"] for _, one in page.elements if one.get("id")]
    assert len(ids) == len(set(ids))
    named = [one[key] for _, one in page.elements for key in ("aria-labelledby", "for") if one.get(key)]
    assert set(named) <= set(ids)
    assert {(one.get("href") or "")[1:] for one in page.of("use")} <= set(ids)


@pytest.mark.parametrize("path", PAGES)
def test_no_page_holds_a_script_or_a_style_of_its_own(quiet: TestClient, path: str) -> None:
    answer = quiet.get(path)
    page = Page(answer.text)
    assert page.of("style") == []
    assert all(one.get("src", "").startswith("/assets/") for one in page.of("script"))  # type: ignore[union-attr]
    assert [one for _, one in page.elements if any(key == "style" or key.startswith("on") for key in one)] == []
    policy = answer.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", PAGES)
def test_no_page_asks_anybody_else_for_anything(quiet: TestClient, path: str) -> None:
    page = shown(quiet, path)
    asked = [
        value
        for _, attributes in page.elements
        for name, value in attributes.items()
        if name in {"href", "src", "srcset", "action", "formaction", "poster", "data"} and value
    ]
    assert [one for one in asked if not one.startswith(("/", "#"))] == []
    assert [one for one in asked if one.startswith("//")] == []


def test_nothing_that_was_given_becomes_markup(client: TestClient, world: World) -> None:
    world.server.decide(GateRequest(WICKED, world.clock, change="<b>c", title="<i>wallet</i>", asked_by="<u>me"))
    world.note("flow.changed", WICKED, {"reason": "<s>because</s>", "to": "<em>"}, world.clock)
    wrong = SpecError("TR012", "<q>target</q>", Place("slo/<x>.yaml", 21, 6, 4), source_line="  t: <var>")
    world.change(problems=(wrong,))
    for path in PAGES:
        text = client.get(path).text
        for markup in ("<script>alert", "<i>wallet", "<b>c", "<u>me", "<s>because", "<em>", "INC-<7>", "<q>", "<var>"):
            assert markup not in text, path


def test_broken_specs_are_told_on_every_page(client: TestClient, world: World) -> None:
    wrong = SpecError("TR012", "target 99.9 is read as 9990 %", Place("slo/x.yaml", 21, 6, 4), source_line="  t: 99.9")
    world.change(problems=(wrong,))
    for path in PAGES:
        text = shown(client, path).text("p")
        assert "The last edit of the specs has 1 error, so it is not live." in text, path


def test_the_last_good_set_is_live_and_what_is_wrong_is_shown_with_a_caret(client: TestClient, world: World) -> None:
    wrong = SpecError("TR012", "target 99.9 is read as 9990 %", Place("slo/x.yaml", 21, 6, 4), source_line="  t: 99.9")
    world.change(problems=(wrong,))
    assert heading(client, "/specs") == "The last edit has 1 error; the last good set is live."
    assert "error[TR012]: target 99.9" in shown(client, "/specs").text()
    assert "^^^^" in shown(client, "/specs").text("pre")


def test_telemetry_that_stopped_is_told_on_every_page(client: TestClient, world: World) -> None:
    assert "No telemetry arrives." not in client.get("/").text
    world.clock = END + 3600
    assert "No telemetry arrives." in client.get("/").text
    assert "Telemetry 60.0 min old" in client.get("/").text


# --- assets and fragments -------------------------------------------------------------------------------------------


def test_assets_are_kept_for_ever_under_names_that_change_with_them(client: TestClient) -> None:
    for one in assets().values():
        answer = client.get(f"/assets/{one.name}")
        assert answer.content == one.body
        assert "immutable" in answer.headers["cache-control"]
        assert gzip.decompress(one.packed) == one.body
    assert client.get("/assets/tightrope.000000000000.css").status_code == 404
    assert client.get("/assets/tightrope.css").status_code == 404
    assert client.get("/favicon.ico").headers["content-type"].startswith("image/svg")


def test_styles_ask_nobody_else_for_anything() -> None:
    text = assets()["tightrope.css"].body.decode()
    assert "url(" not in text
    assert "@import" not in text


def test_a_fragment_is_the_inside_of_the_page_and_answers_304_when_nothing_changed(
    client: TestClient, world: World
) -> None:
    answer = client.get("/?fragment=1")
    assert "<html" not in answer.text
    assert '<main id="main">' in answer.text
    tag = answer.headers["etag"]
    assert client.get("/?fragment=1", headers={"If-None-Match": tag}).status_code == 304
    world.turn(fleet()[:2], at=END + 60)
    assert client.get("/?fragment=1", headers={"If-None-Match": tag}).status_code == 200


def test_the_theme_that_was_chosen_is_there_from_the_first_paint(client: TestClient) -> None:
    client.cookies.set("tightrope_theme", "dark")
    assert '<html lang="en" data-theme="dark">' in client.get("/").text
    client.cookies.set("tightrope_theme", '"><script>')
    assert '<html lang="en">' in client.get("/").text


def test_instants_are_elements_that_a_browser_can_show_in_its_own_zone(client: TestClient, world: World) -> None:
    world.server.decide(GateRequest("fine", world.clock))
    stamps = shown(client, "/decisions").of("time")
    assert [one["datetime"] for one in stamps] == [time_text(world.clock)]


# --- the fleet ------------------------------------------------------------------------------------------------------


def test_the_overview_answers_with_the_sentence_of_the_fleet(client: TestClient, world: World) -> None:
    standings = [standing_of(one, world.clock) for one in fleet()]
    assert heading(client, "/") == fleet_sentence(standings, world.clock)


def test_services_that_need_attention_come_first(client: TestClient) -> None:
    page = shown(client, "/")
    order = [word for path, word in page.words if path[-3:] == ("tr", "th", "a")]
    assert order == [WICKED, "burning", "silent", "fine"]
    assert "Need attention, 3" in page.text("th")
    assert "Free to ship, 1" in page.text("th")


def test_what_is_stale_is_never_shown_as_good(client: TestClient) -> None:
    row = client.get("/").text.split('id="r-silent"', 1)[1].split("</tr>", 1)[0]
    assert "No data" in row
    assert "held" in row
    assert "Healthy" not in row


def test_the_four_numbers_are_those_of_the_fleet(client: TestClient, world: World) -> None:
    world.server.decide(GateRequest(WICKED, world.clock))
    text = shown(client, "/").text("div")
    assert "Free to ship 2 of 4 1 held, 1 guarded, 1 silent" in text
    assert "Decisions, 24 h 1 1 stop" in text


@pytest.mark.parametrize(
    ("asked", "found"),
    [("burn", ["burning"]), ("flow:stability", [WICKED]), ("is:no-data", ["silent"]), ("nothing-like-it", [])],
)
def test_services_are_found_by_name_flow_and_word(client: TestClient, asked: str, found: list[str]) -> None:
    answer = client.get("/services", params={"q": asked, "fragment": "1"})
    page = Page(answer.text)
    assert [word for path, word in page.words if path[-3:] == ("tr", "th", "a")] == found


def test_a_search_with_one_answer_leads_to_it(client: TestClient) -> None:
    answer = client.get("/services?q=burn")
    assert (answer.status_code, answer.headers["location"]) == (303, "/services/burning")
    assert "burning" in client.get("/find?q=bu").text
    assert "No service is called so." in client.get("/find?q=zzz").text


def test_of_a_thousand_services_a_page_begins_with_those_that_matter_and_the_rest_is_light(tmp_path: Path) -> None:
    found = fleet()
    fine = found[0]
    many = [*found[1:], *(replace(fine, slo=replace(fine.slo, name=f"n{n}", service=f"s {n}")) for n in range(997))]
    with standin(tmp_path, many, Specs(), at=END + 20) as world, client_of(world) as client:
        answer, more = client.get("/"), client.get("/rest")
        page, rest = Page(answer.text), Page(f"<main>{more.text}</main>")
        again = client.get("/rest", headers={"If-None-Match": more.headers["etag"]})
    assert page.wrong == []
    assert len(page.elements) < 3_500
    assert len(answer.content) < 200_000
    assert "937 more that are fine" in answer.text, "without a script there is a way to them"
    rows = [one["id"] for shown in (page, rest) for one in shown.of("tr") if (one.get("id") or "").startswith("r-")]
    assert len(rows) == len(set(rows)) == 1_000
    assert len(more.content) < 600_000
    assert again.status_code == 304


def test_an_older_board_serves_while_a_newer_one_is_drawn_up_but_never_an_empty_one(tmp_path: Path) -> None:
    found = fleet()
    specs = Specs(slos=tuple(one.slo for one in found))
    slow = Event()

    class Slow(dict[str, Assessment]):
        def values(self) -> Any:
            assert slow.wait(10)
            return super().values()

    with standin(tmp_path, [], specs, at=END) as world:
        boards = Boards(world.server)
        assert boards.present().posts == ()
        world.turn(found, at=END + 20)
        first = boards.present()
        assert len(first.posts) == 4
        world.change(assessments=Slow({one.title: one for one in found[:1]}))
        assert boards.present().posts == first.posts
        assert boards.behind(boards.present())
        slow.set()
        world.clock += 60
        assert [one.line.service for one in boards.present().posts] == ["fine"]
        assert not boards.behind(boards.present())


# --- a service ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("service", ["fine", "burning", WICKED, "silent"])
def test_the_page_of_a_service_opens_with_its_sentence_and_its_numbers(
    client: TestClient, world: World, service: str
) -> None:
    one = next(each for each in fleet() if each.slo.service == service)
    page = shown(client, service_path(service))
    standing = replace(standing_of(one, world.clock), service=one.title)
    assert page.text("h1") == service_sentence(standing, one.statement.at)
    remaining = one.budget.remaining_ratio
    assert remaining is not None
    assert percent_text(remaining) in page.text("div")


def test_every_kind_of_change_is_answered_without_being_recorded(client: TestClient, world: World) -> None:
    page = client.get(service_path(WICKED)).text
    table = page.split('class="cards ship"', 1)[1].split("</table>", 1)[0]
    rows = re.findall(r'<th scope="row" class="b">(\w+)</th>.*?</svg>(\w+)</span>', table, re.DOTALL)
    assert dict(rows) == {
        "feature": "Stop",
        "config": "Stop",
        "reliability": "Go",
        "security": "Go",
        "emergency": "Go",
        "rollback": "Go",
    }
    assert world.server.decisions() == []


@pytest.mark.parametrize(
    "query",
    [
        "range=7d",
        "range=1h",
        "range=nonsense",
        "range=99999999d",
        f"range={time_text(START)}..{time_text(END)}",
        "range=..",
        "unit=amount",
        "unit=%3Cx%3E",
        "range=24h&unit=amount",
    ],
)
def test_any_range_and_unit_gives_a_page(quiet: TestClient, query: str) -> None:
    answer = quiet.get(f"/services/burning?{query}")
    assert answer.status_code == 200
    page = Page(answer.text)
    assert page.wrong == []
    assert page.text("figcaption") == ""
    assert "<x>" not in answer.text


def test_a_relative_range_can_be_pinned_to_instants(client: TestClient) -> None:
    page = shown(client, "/services/burning?range=24h")
    pinned = next(one["href"] for one in page.of("a") if ".." in (one.get("href") or ""))
    assert pinned is not None
    assert time_text(END - DAY_S).replace(":", "%3A") in pinned
    assert "Pin this range" not in client.get(pinned).text


def test_a_budget_can_be_read_in_its_own_units(client: TestClient) -> None:
    assert " %</text>" in client.get("/services/burning").text.split("<figure", 1)[1].split("</svg>", 1)[0]
    shown_in_events = client.get("/services/burning?unit=amount").text.split("<figure", 1)[1].split("</svg>", 1)[0]
    assert " %</text>" not in shown_in_events
    assert "events</text>" in shown_in_events


def test_an_unknown_service_is_told_in_words(client: TestClient) -> None:
    answer = client.get("/services/<nobody>")
    assert answer.status_code == 404
    assert "There is no service named &#39;&lt;nobody&gt;&#39;." in answer.text
    assert client.get("/services/burning?slo=nothing").status_code == 404


def test_a_service_that_was_not_measured_yet_is_no_mistake(tmp_path: Path) -> None:
    found = fleet()
    specs = Specs(slos=tuple(one.slo for one in found), services={"planned": "Planned"})
    with standin(tmp_path, found[:1], specs, at=END) as world, client_of(world) as client:
        assert heading(client, "/services/burning") == "burning is not evaluated yet."
        assert heading(client, "/services/planned") == "Nothing is promised of planned yet: it has no SLO."
        assert client.get("/services/nobody").status_code == 404


def test_a_store_that_fails_is_told_and_breaks_nothing(
    client: TestClient, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> Any:
        raise StoreError("the store is locked by another process", remedy="end that one, or wait")

    monkeypatch.setattr(world.still, "history", fail)
    answer = client.get("/services/fine")
    assert answer.status_code == 503
    assert "The store is locked by another process." in answer.text
    assert client.get("/").status_code == 200
    monkeypatch.setattr(world.server.access, "actor_of", fail)
    bare = client.get("/")
    assert bare.status_code == 503
    assert Page(bare.text).wrong == []
    assert "Try again" in bare.text


# --- decisions ------------------------------------------------------------------------------------------------------


def test_a_stop_says_why_until_when_what_may_ship_and_who_can_grant(client: TestClient, world: World) -> None:
    made = world.server.decide(GateRequest(WICKED, world.clock, change="4f2a9c1", title="Express wallet button"))
    page = shown(client, f"/decisions/{made.id}")
    assert page.text("h1") == made.summary
    text = page.text()
    for reason in made.reasons:
        assert reason.says in text
        assert reason.rule in text
        if reason.bound:
            assert reason.bound in text
    assert "Ship other work now" in text
    assert "Reliability, security, emergency and rollback may ship." in text
    assert "Decided again just now from its recorded inputs: the same." in text
    assert f"tightrope explain {made.id} --server http://127.0.0.1:8080" in text


def test_every_command_that_a_page_shows_says_whom_to_ask(client: TestClient, world: World) -> None:
    made = world.server.decide(GateRequest(WICKED, world.clock))
    found = [
        line
        for path in ("/start", service_path(WICKED), service_path("fine"), f"/decisions/{made.id}")
        for block in re.findall(r"<(?:pre|code)[^>]*>(.*?)</(?:pre|code)>", client.get(path).text, re.DOTALL)
        for line in unescape(block).splitlines()
        if re.match(r"tightrope (gate|status|explain|backtest)\b", line)
    ]
    assert len(found) >= 8
    assert [one for one in found if "--server http://127.0.0.1:8080" not in one] == []


def test_the_parts_of_what_was_spent_sum_to_the_whole(client: TestClient) -> None:
    page = shown(client, service_path(WICKED))
    text = page.text()
    assert "Where did the budget go?" in text
    whole = float(re.search(r"the parts add up to ([\d,.]+) %", text)[1].replace(",", ""))  # type: ignore[index]
    told = next(
        one["aria-label"] for one in page.of("svg") if "Of the budget was spent" in (one.get("aria-label") or "")
    )
    parts = [float(one.replace(",", "")) for one in re.findall(r"([\d,.]+) %", str(told))]
    assert abs(sum(parts) - whole) <= 0.1 * len(parts)


def test_specs_that_were_never_good_have_no_last_good_set(client: TestClient, world: World) -> None:
    wrong = SpecError("TR013", "spec.service is missing", Place("slo/x.yaml", 4, 1, 4))
    world.change(problems=(wrong,), since=0)
    for path in ("/", "/specs", "/settings"):
        text = client.get(path).text
        assert "nothing is watched yet" in text, path
        assert "1970" not in text, path
        assert "last good set" not in text, path


def test_a_decision_that_nobody_made_is_not_found(client: TestClient) -> None:
    assert client.get("/decisions/D-0000000000").status_code == 404


def test_decisions_are_filtered_and_paged(client: TestClient, world: World) -> None:
    kinds = list(ChangeKind)
    for number in range(110):
        service = ("fine", WICKED)[number % 2]
        world.server.decide(GateRequest(service, world.clock - number, kind=kinds[number % 6], change=f"c{number}"))
    page = shown(client, "/decisions")
    assert len(page.of("tr")) == 51
    older = next(one["href"] for one in page.of("a") if one.get("rel") == "next")
    assert older is not None
    assert len(Page(client.get(older).text).of("tr")) == 51
    stops = shown(client, "/decisions?answer=stop")
    assert {word for path, word in stops.words if "tbody" in path and path[-1] == "a" and "td" in path} == {
        "Stop",
        WICKED,
    }
    assert "No decision fits" in shown(client, "/decisions?answer=exempt").text("p")
    assert heading(client, "/decisions?service=fine").startswith("55 decisions about fine in the last 24 hours: ")


def test_the_gate_is_asked_from_the_page_and_the_answer_recorded(client: TestClient, world: World) -> None:
    token = csrf(client, "/services/fine")
    form = {"csrf": token, "service": "fine", "kind": "config", "change": "abc1234", "title": "A switch"}
    answer = client.post("/decisions", data=form)
    (kept,) = world.server.decisions()
    assert answer.headers["location"] == f"/decisions/{kept.record.decision.id}?done=asked"
    assert (kept.record.request.kind, kept.record.request.asked_by) == (ChangeKind.CONFIG, "local")
    assert client.post("/decisions", data=form | {"kind": "nonsense"}).status_code == 400


# --- journal --------------------------------------------------------------------------------------------------------


def test_the_journal_tells_what_happened_and_can_be_filtered(client: TestClient, world: World) -> None:
    world.server.decide(GateRequest(WICKED, world.clock, change="4f2a9c1"))
    world.note("flow.changed", "fine", {"from": "feature", "to": "caution", "reason": "low"}, world.clock)
    page = shown(client, "/journal")
    assert page.text("h1") == "2 events are on record, the newest just now."
    assert "Caution now holds for" in page.text("b")
    assert "Gate stopped 4f2a9c1 feature in" in page.text("b")
    assert "Caution now holds for" not in shown(client, "/journal?kind=dev.tightrope.decision.made.v1").text("b")
    assert "Gate stopped" not in shown(client, "/journal?subject=fine").text("b")
    assert "Nothing fits." in shown(client, "/journal?subject=nobody").text("p")


def test_a_long_journal_is_paged_without_a_hole(client: TestClient, world: World) -> None:
    for number in range(125):
        world.note("flow.changed", "fine", {"number": number}, world.clock + number)
    seen: list[str] = []
    path: str | None = "/journal"
    while path:
        page = shown(client, path)
        seen += [one["id"] or "" for one in page.of("li") if (one.get("id") or "").startswith("e-")]
        path = next((one["href"] for one in page.of("a") if one.get("rel") == "next"), None)
    assert seen == [f"e-{number}" for number in range(125, 0, -1)]


def test_the_chain_is_verified_on_demand(client: TestClient, world: World) -> None:
    world.server.decide(GateRequest("fine", world.clock))
    assert heading(client, "/journal?verify=1") == (
        "The only event is as it was written, and 1 decision comes out alike."
    )
    with world.journal._database.writing() as connection:
        connection.exec_driver_sql("UPDATE journal SET subject = 'other' WHERE sequence = 1")
    assert heading(client, "/journal?verify=1") == "1 of 1 event is not as written."
    assert "does not match its hash" in client.get("/journal?verify=1").text


# --- changes are ours, and allowed ----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/decisions", "/settings/tokens", "/specs/new"])
def test_a_form_without_the_token_of_our_pages_is_refused(client: TestClient, world: World, path: str) -> None:
    form = {"service": "fine", "name": "x", "role": "admin", "text": "", "do": "save"}
    assert client.post(path, data=form).status_code == 403
    assert client.post(path, data=form | {"csrf": "guess"}).status_code == 403
    good = form | {"csrf": csrf(client)}
    for foreign in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "null"}):
        assert client.post(path, data=good, headers=foreign).status_code == 403
    assert world.server.decisions() == []
    assert world.server.access.tokens(LOCAL) == []


def test_what_is_no_form_or_too_large_is_refused(client: TestClient) -> None:
    assert client.post("/decisions", content=b"{}", headers={"Content-Type": "application/json"}).status_code == 400
    assert client.post("/decisions", data={"title": "x" * (6 * 2**20)}).status_code == 413
    assert client.post("/decisions", content=b"a=%ff%fe", headers={"Content-Type": "application/x-www-form-urlencoded"}
    ).status_code in {400, 403}  # fmt: skip


def test_a_page_from_elsewhere_that_points_at_this_machine_sees_nothing(world: World) -> None:
    with client_of(world) as client:
        answer = client.get("/", headers={"Host": "rebound.example"})
        assert (answer.status_code, answer.headers["location"]) == (303, "/login?to=%2F")
        assert client.get("/", headers={"X-Forwarded-For": "10.0.0.1"}).status_code == 303


@pytest.fixture
def closed(tmp_path: Path) -> Iterator[World]:
    """The fleet behind a log-in."""
    found = fleet()
    with standin(tmp_path, found, Specs(slos=tuple(one.slo for one in found)), at=END + 20, required=True) as made:
        yield made


def logged_in(world: World, role: Role, **limits: list[str]) -> TestClient:
    issued = world.server.access.create_token(
        f"{role} {limits}",
        role,
        by=LOCAL,
        now=world.clock,
        expires_at=world.clock + DAY_S,
        **limits,  # type: ignore[arg-type]
    )
    client = client_of(world)
    answer = client.post("/login", data={"token": issued.text, "to": "/alerts"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/alerts")
    return client


def test_who_has_not_logged_in_is_asked_to_and_comes_back(closed: World) -> None:
    with client_of(closed) as client:
        answer = client.get("/services/fine?range=7d")
        assert answer.headers["location"] == "/login?to=%2Fservices%2Ffine%3Frange%3D7d"
        assert client.get("/?fragment=1").status_code == 401
        assert client.post("/decisions", data={"service": "fine"}).status_code == 401
        page = shown(client, answer.headers["location"])
        assert page.wrong == []
        assert {"name": "to", "value": "/services/fine?range=7d"}.items() <= page.of("input")[1].items()
        assert "fine" not in page.text()


def test_a_wrong_token_opens_nothing_and_says_so(closed: World) -> None:
    with client_of(closed) as client:
        answer = client.post("/login", data={"token": "tr_nonsense", "to": "/"})
        assert answer.status_code == 401
        assert "That is not a token of Tightrope." in answer.text
        assert "set-cookie" not in answer.headers


def test_a_session_is_kept_from_scripts_and_ends_on_demand(closed: World) -> None:
    client = logged_in(closed, Role.VIEWER)
    answer = client.get("/")
    assert answer.status_code == 200
    token = csrf(client)
    (cookie,) = list(client.cookies.jar)
    assert cookie.has_nonstandard_attr("HttpOnly")
    out = client.post("/logout", data={"csrf": token})
    assert out.headers["location"] == "/login"
    client.cookies.set(cookie.name, cookie.value or "")
    assert client.get("/").status_code == 303


def test_a_log_in_leads_only_to_our_own_pages(closed: World) -> None:
    issued = closed.server.access.create_token("x", Role.VIEWER, by=LOCAL, now=closed.clock, expires_at=None)
    with client_of(closed) as client:
        answer = client.post("/login", data={"token": issued.text, "to": "https://evil.example"})
        assert answer.headers["location"] == "/"


def test_a_viewer_sees_and_changes_nothing(closed: World) -> None:
    client = logged_in(closed, Role.VIEWER)
    page = client.get("/services/fine").text
    assert "Ask and record" not in page
    token = csrf(client)
    assert client.post("/decisions", data={"csrf": token, "service": "fine"}).status_code == 403
    made = client.post("/settings/tokens", data={"csrf": token, "name": "x", "role": "admin"})
    assert made.status_code == 403
    assert "may not manage" in made.text
    tried = client.post("/specs/new", data={"csrf": token, "text": POLICY, "do": "save"})
    assert tried.status_code == 403
    assert closed.server.documents() == []
    assert closed.server.decisions() == []


def test_who_may_see_some_services_sees_no_others(closed: World) -> None:
    closed.server.decide(GateRequest(WICKED, closed.clock))
    client = logged_in(closed, Role.VIEWER, services=["fine"])
    for path in ("/", "/services", "/decisions", "/alerts", "/journal", "/settings", "/find?q=s"):
        text = client.get(path).text
        assert "burning" not in text
        assert "alert(" not in text
    assert client.get("/services/burning").status_code == 404
    (kept,) = closed.server.decisions()
    assert client.get(f"/decisions/{kept.record.decision.id}").status_code == 403


def test_people_log_in_at_their_identity_provider(tmp_path: Path) -> None:
    with ExitStack() as stack:
        provider = stack.enter_context(Provider())
        provider.claims = {"sub": "u-1", "email": "mara@shop.example", "email_verified": True, "groups": ["staff"]}
        settings = OidcSettings(provider.issuer, CLIENT, SECRET, parse_rules("*=viewer"))
        closed = stack.enter_context(standin(tmp_path, fleet(), Specs(), at=END, required=True, oidc=settings))
        client = stack.enter_context(client_of(closed))
        page = shown(client, "/login?to=/alerts")
        assert {"class": "btn p", "href": "/login/oidc?to=/alerts"} in page.of("a")
        away = client.get("/login/oidc?to=/alerts")
        back = provider.visit(away.headers["location"], END)
        foreign = client_of(closed).get("/login/callback", params=back)
        assert foreign.status_code == 401
        assert "This browser did not begin that login." in foreign.text
        entered = client.get("/login/callback", params=back)
        assert (entered.status_code, entered.headers["location"]) == (303, "/alerts")
        assert client.get("/alerts").status_code == 200


def test_without_an_identity_provider_there_is_only_the_token(closed: World) -> None:
    with client_of(closed) as client:
        assert "/login/oidc" not in client.get("/login").text
        assert client.get("/login/oidc").status_code == 404


# --- settings -------------------------------------------------------------------------------------------------------


def test_a_new_token_is_shown_once_and_can_be_revoked(client: TestClient, world: World) -> None:
    form = {"csrf": csrf(client), "name": "ci", "role": "operator", "lasts": "30d", "services": "fine, burning"}
    answer = client.post("/settings/tokens", data=form)
    (secret,) = re.findall(r"tr_[0-9a-z]{10}_\w{49}", answer.text)
    assert answer.headers["cache-control"] == "no-store"
    assert secret not in client.get("/settings").text
    (token,) = world.server.access.tokens(LOCAL)
    assert (token.name, token.role, token.services) == ("ci", Role.OPERATOR, ("burning", "fine"))
    assert token.expires_at == world.clock + 30 * DAY_S
    again = client.post("/settings/tokens", data=form)
    assert again.status_code == 400
    assert "there is a token ci already" in again.text
    revoked = client.post(f"/settings/tokens/{token.id}", data={"csrf": form["csrf"]})
    assert revoked.headers["location"] == "/settings?done=revoked"
    assert world.server.access.tokens(LOCAL)[0].standing(world.clock) == "revoked"


def test_sources_are_listed_with_lag_and_coverage_the_worst_first(client: TestClient) -> None:
    text = client.get("/settings").text
    table = text.split('id="srcs"', 1)[1].split("</tbody>", 1)[0]
    assert re.findall(r'href="/services/([^"]+)"', table)[0] == "silent"
    assert "Silent" in table
    assert "1 of 5,760 rows could not be used" in table


# --- alerts ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def told(tmp_path: Path) -> Iterator[World]:
    """The fleet with alerts that opened, channels that cannot be reached, and nobody listening."""
    found = fleet()
    specs = Specs(slos=tuple(one.slo for one in found), channels=CHANNELS)

    with standin(tmp_path, found, specs, at=END + 20, alerts=notified) as made:
        yield made


def test_who_is_paged_for_comes_before_who_has_the_least_budget(client: TestClient, world: World) -> None:
    fine, burning, *others = fleet()
    pages = tuple(replace(one, severity="page") for one in burning.plan.conditions)
    paged = replace(burning, plan=replace(burning.plan, conditions=pages))
    assert {one.severity for one in paged.firing} == {"page"}
    world.turn([fine, paged, *others], at=END + 20)
    page = shown(client, "/")
    rows = [one["id"] for one in page.of("tr") if str(one.get("id", "")).startswith("r-")]
    assert rows[0] == "r-burning"
    assert "1 page" in page.text()
    assert "A page is out for burning." in page.text()
    world.turn(fleet(), at=END + 20)
    again = shown(client, "/")
    assert next(one["id"] for one in again.of("tr") if str(one.get("id", "")).startswith("r-")) == f"r-{WICKED}"


def test_alerts_say_what_fires_and_what_comes_near(client: TestClient) -> None:
    page = shown(client, "/alerts")
    assert page.text("h1") == "1 ticket fires for burning."
    assert {row for path, row in page.words if "tbody" in path and path[-1] == "a"} == {"burning"}
    assert "Quiet" in shown(client, "/alerts?state=quiet").text("td")
    assert "None is rising." in shown(client, "/alerts?state=rising").text("p")


def test_an_alert_tells_what_happened_and_who_was_told(told: World) -> None:
    (one,) = told.server.alerts.alerts(service="burning")
    with client_of(told) as client:
        listed = shown(client, "/alerts")
        assert listed.wrong == []
        assert {"href": f"/alerts/{one.id}", "class": "b"} in listed.of("a")
        page = shown(client, f"/alerts/{one.id}")
        assert page.wrong == []
        assert page.text("h1").startswith("burning-slo has burned its error budget too fast for ")
        assert "Opened" in page.text("b")
        assert "hook<1>" in page.text("b")
        around = next(value for value in (each.get("href") for each in page.of("a")) if value and ".." in value)
        assert client.get(around).status_code == 200
        assert client.get("/alerts/A-NOTHING").status_code == 404
        assert f"/alerts/{one.id}" in client.get("/journal").text


def test_a_service_is_silenced_with_a_reason_and_heard_again(told: World) -> None:
    (one,) = told.server.alerts.alerts(service="burning")
    with client_of(told) as client:
        form = {"csrf": csrf(client), "service": "burning", "severity": "ticket", "lasts": "4h", "why": "known <b>"}
        assert client.post("/silences", data=form).headers["location"] == "/alerts?done=silenced"
        (silence,) = told.server.alerts.silences(now=told.clock)
        assert (silence.who, silence.why, silence.ends_at) == ("local", "known <b>", told.clock + 4 * 3600)
        assert silence.fits(one.labels("ticket"))
        assert not silence.fits({"service": "fine", "severity": "ticket"})
        page = client.get("/alerts").text
        assert "known &lt;b&gt;" in page
        assert "Silenced." in shown(client, f"/alerts/{one.id}").text("b")
        over = client.post(f"/silences/{silence.id}", data={"csrf": form["csrf"]})
        assert over.headers["location"] == "/alerts?done=ended"
        assert told.server.alerts.silences(now=told.clock) == []
        nothing = client.post("/silences", data=form | {"why": " "})
        assert (nothing.status_code, "A silence needs who set it, and why." in nothing.text) == (400, True)
        odd = client.post("/silences", data=form | {"service": 'a"b\\c\nd'})
        assert odd.status_code == 303


def test_channels_show_their_health_and_messages_go_out_again(told: World) -> None:
    told.server.alerts.deliver(told.clock)
    with client_of(told) as client:
        page = shown(client, "/alerts")
        assert page.wrong == []
        channels = page.text("span")
        assert "NO_SUCH_VARIABLE" in channels
        assert "Cannot be used" in channels
        (stuck,) = [one for one in told.server.alerts.messages(state="waiting") if one.attempts]
        assert stuck.message.title in page.text("b")
        token = csrf(client)
        assert client.post(f"/messages/{stuck.id}", data={"csrf": token}).headers["location"] == "/alerts?done=retried"
        assert client.post("/messages/M-NONE", data={"csrf": token}).status_code == 404
        before = len(told.server.alerts.messages(channel="hook<1>"))
        tried = client.post("/channels/hook%3C1%3E", data={"csrf": token})
        assert tried.headers["location"] == "/alerts?done=tested"
        assert len(told.server.alerts.messages(channel="hook<1>")) == before + 1


def test_who_watches_only_silences_nothing(closed: World) -> None:
    client = logged_in(closed, Role.VIEWER)
    token = csrf(client)
    answer = client.post("/silences", data={"csrf": token, "service": "burning", "why": "x"})
    assert answer.status_code == 403


# --- specs ----------------------------------------------------------------------------------------------------------

POLICY = """\
apiVersion: tightrope.dev/v1
kind: ErrorBudgetPolicy
metadata:
  name: strict
spec:
  services: [fine]
  states:
    - name: feature
      flow: feature
      allows: all
    - name: stability
      flow: stability
      allows: [reliability, security, emergency, rollback]
      enter: {remaining: "< 99%"}
      exit: {remaining: ">= 99.9%"}
"""


@pytest.fixture
def library(tmp_path: Path) -> Iterator[World]:
    """The fleet with its policy in a file."""
    folder = tmp_path / "slo"
    folder.mkdir()
    (folder / "policy.yaml").write_text(POLICY, encoding="utf-8")
    found = fleet()
    specs = Specs(slos=tuple(one.slo for one in found))
    with standin(tmp_path, found, specs, at=END + 20, paths=[str(folder)]) as made:
        yield made


@pytest.fixture
def desk(library: World) -> Iterator[TestClient]:
    with client_of(library) as found:
        yield found


EDITOR = "/specs/ErrorBudgetPolicy/strict"


def test_a_document_of_a_file_is_edited_there_and_the_edit_is_a_patch(desk: TestClient, library: World) -> None:
    page = desk.get(EDITOR).text
    assert "strict lives in a file, so it is edited there." in page
    assert 'value="save"' not in page
    form = {"csrf": csrf(desk, EDITOR), "text": POLICY.replace("99%", "97%"), "do": "diff"}
    text = Page(desk.post(EDITOR, data=form).text).text("pre")
    assert '-      enter: {remaining: "&lt; 99%"}'.replace("&lt;", "<") in text
    assert '+      enter: {remaining: "< 97%"}' in text
    assert desk.post(EDITOR, data=form | {"do": "save"}).status_code == 409


def test_findings_are_told_as_one_writes(desk: TestClient, library: World) -> None:
    form = {"csrf": csrf(desk, EDITOR), "text": POLICY.replace("allows: all", "allow: all"), "do": "check"}
    answer = desk.post(f"{EDITOR}?piece=1", data=form)
    assert "error[TR011]" in answer.text
    assert "^^^^^" in answer.text
    assert 'data-line="10"' in answer.text
    fine = desk.post(f"{EDITOR}?piece=1", data=form | {"text": POLICY})
    assert "No finding: this may go live." in fine.text


def test_what_is_applied_here_is_saved_by_its_version(desk: TestClient, library: World) -> None:
    text = POLICY.replace("name: strict", "name: own").replace("[fine]", "[burning]")
    token = csrf(desk, "/specs/new")
    saved = desk.post("/specs/new", data={"csrf": token, "text": text, "do": "save"})
    assert saved.headers["location"] == "/specs/ErrorBudgetPolicy/own?done=saved"
    path = "/specs/ErrorBudgetPolicy/own"
    etag = library.server.document("ErrorBudgetPolicy", "own").etag
    second = text.replace("99%", "98%")
    form = {"csrf": token, "etag": etag, "text": second, "do": "save"}
    assert desk.post(path, data=form).headers["location"] == f"{path}?done=saved"
    late = desk.post(path, data=form | {"text": text.replace("99%", "95%")})
    assert late.status_code == 409
    assert "is another one by now" in late.text
    assert "95%" in late.text  # what was written is not lost
    assert library.server.document("ErrorBudgetPolicy", "own").text == second
    same = desk.post(path, data=form | {"etag": etag_of(second)})
    assert same.headers["location"] == f"{path}?done=unchanged"
    broken = desk.post(path, data=form | {"etag": etag_of(second), "text": "kind: ["})
    assert broken.status_code == 422
    assert "TR001" in broken.text
    gone = desk.post(path, data={"csrf": token, "do": "withdraw"})
    assert gone.headers["location"] == "/specs?done=withdrawn"
    assert desk.get(path).status_code == 404


def test_an_exception_is_drafted_from_a_decision(client: TestClient, world: World) -> None:
    text = client.get("/specs/new?kind=SilverBullet&service=a%22b&change=4f2a9c1").text
    assert "kind: SilverBullet" in text
    assert "service: &#34;a\\&#34;b&#34;" in text
    assert f"expiresAt: {time_text(world.clock + DAY_S)}" in text


# --- nothing yet ----------------------------------------------------------------------------------------------------


def test_an_empty_server_says_what_to_do(tmp_path: Path) -> None:
    with standin(tmp_path, [], Specs(), at=END) as world, client_of(world) as client:
        answer = client.get("/")
        assert (answer.status_code, answer.headers["location"]) == (303, "/start")
        for path in PAGES:
            if path != "/" and not path.startswith("/services/"):
                page = shown(client, path)
                assert page.wrong == [], path
                assert page.text("h1"), path
        begun = shown(client, "/start")
    assert begun.text("h1").startswith("No SLO yet.")
    assert "tightrope init" in begun.text("pre")


def test_a_server_that_reads_history_says_how_far_it_is(tmp_path: Path) -> None:
    specs = Specs(slos=tuple(one.slo for one in fleet()))
    with standin(tmp_path, [], specs, at=END) as world, client_of(world) as client:
        world.still.filling += [
            Backfill("fine-slo", 3 * DAY_S, 4 * DAY_S, None),
            Backfill("burning-slo", DAY_S, 4 * DAY_S, None, "prometheus <x> refused"),
        ]
        page = shown(client, "/")
        assert page.wrong == []
        assert page.text("h1") == "The history of 2 SLOs is being read, 50 % of it so far."
        assert [one["value"] for one in page.of("progress")] == ["0.75", "0.25"]
        assert "prometheus <x> refused; it is tried again" in page.text("span")
        assert "prometheus <x> refused" in shown(client, "/settings").text("span")
