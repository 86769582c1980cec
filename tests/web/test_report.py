"""The report says what the JSON documents say, escapes what it is given, and needs nothing but itself."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser
from typing import Any

import pytest

from tests.web.worlds import DEPLOYMENTS, END, WICKED, corner_cases, decisions, fleet
from tightrope.base.units import percent_text
from tightrope.budget.words import amount_text, burn_text, fleet_sentence
from tightrope.loop.assess import Assessment
from tightrope.loop.documents import status_document
from tightrope.loop.standing import standing_of
from tightrope.loop.witness import scores_of, stopped_of
from tightrope.web.report import backtest_report, fleet_report, svg_report
from tightrope.web.sections import anchors

VOID = {"meta", "link", "br", "img", "input", "hr", "col"}


class Page(HTMLParser):
    """A page as a list of elements, and the complaints about how they are nested."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.wrong: list[str] = []
        self.words: list[tuple[tuple[str, ...], str]] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        self.wrong += [f"<{tag}> is never closed" for tag in self._open]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open[-1] != tag:
            self.wrong.append(f"</{tag}> closes {self._open[-1:]} on line {self.getpos()[0]}")
        if tag in self._open:
            while self._open.pop() != tag:
                pass

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.words.append((tuple(self._open), data.strip()))

    def of(self, tag: str) -> list[dict[str, str | None]]:
        """The attributes of every element of one kind."""
        return [attributes for name, attributes in self.elements if name == tag]

    def text(self, inside: str | None = None) -> str:
        """All words, or those within elements of one kind."""
        return " ".join(word for path, word in self.words if inside is None or inside in path)


@cache
def world() -> tuple[Assessment, ...]:
    return tuple(fleet())


@cache
def report() -> str:
    found = world()
    return fleet_report(
        "A fleet",
        found,
        decisions(found),
        scores=[scores_of(one) if one.incidents else None for one in found],
        stopped=[stopped_of(one, DEPLOYMENTS) for one in found],
        deployments=DEPLOYMENTS,
        generated_at=END + 60,
        specs="slo/",
        command="tightrope demo",
    )


@cache
def page() -> Page:
    return Page(report())


def test_every_element_is_closed_where_it_was_opened() -> None:
    assert page().wrong == []


def test_the_page_opens_with_the_sentence_of_the_fleet() -> None:
    standings = [standing_of(one, END) for one in world()]
    assert page().text("h1") == fleet_sentence(standings, END)
    assert len(page().of("h1")) == 1


def test_nothing_that_was_given_becomes_markup() -> None:
    assert "<script>alert" not in report()
    assert "<i>wallet" not in report()
    assert "<b>?" not in report()
    assert "v2<b>" not in report()
    assert WICKED in page().text("h2")
    assert "INC-<7>" not in report()


def test_the_page_asks_nobody_for_anything() -> None:
    addresses = [
        value
        for _, attributes in page().elements
        for name, value in attributes.items()
        if name in {"href", "src", "srcset", "action", "poster", "data"} and value is not None
    ]
    assert [one for one in addresses if not one.startswith("#") and one != "data:,"] == []
    assert not re.search(r"url\((?!#)", report())
    assert "@import" not in report()
    assert not re.search(r"https?://(?!www\.w3\.org/)", report())


def test_ids_are_used_once_and_links_lead_somewhere() -> None:
    ids = [one["id"] for _, one in page().elements if one.get("id")]
    assert len(ids) == len(set(ids))
    links = [one["href"] for _, one in page().elements if (one.get("href") or "").startswith("#")]
    assert {link[1:] for link in links if link} <= set(ids)
    assert set(re.findall(r"url\(#([^)]+)\)", report())) <= set(ids)
    labelled = [one["aria-labelledby"] for _, one in page().elements if one.get("aria-labelledby")]
    assert set(labelled) <= set(ids)


@pytest.mark.parametrize("number", range(4))
def test_the_figures_are_those_of_the_document(number: int) -> None:
    one = world()[number]
    document: dict[str, Any] = status_document(one)
    text = page().text()
    remaining = document["budget"]["remainingRatio"]
    assert percent_text(remaining) in text
    assert amount_text(one.budget.allowed, one.statement.unit_s) in text
    assert percent_text(document["coverage"]) in text
    assert document["asOf"].replace("T", " ").replace("Z", " UTC") in text
    if not document["stale"]:
        assert burn_text(document["burnRates"]["1h"]) in text
    for move in one.history.transitions:
        assert move.reason in text


def test_what_is_stale_is_never_shown_as_good() -> None:
    silent = next(one for one in world() if one.slo.service == "silent")
    row = report().split('href="#slo-silent-slo"', 1)[1].split("</tr>", 1)[0]
    assert standing_of(silent, END).stale
    assert "No data" in row
    assert "Healthy" not in row
    assert "held" in row


def test_every_service_needs_attention_before_those_that_are_fine() -> None:
    order = [path_word for path, path_word in page().words if "tbody" in path and path[-1] == "a"]
    assert order[:4] == [WICKED, "burning", "silent", "fine"]


def test_every_decision_is_explained_with_all_its_rules() -> None:
    text = page().text("article")
    for decision in decisions(world()):
        assert decision.summary in text
        assert decision.id in text
        for reason in decision.reasons:
            assert reason.says in text


def test_charts_state_their_finding_and_come_with_a_table() -> None:
    drawn = [one for one in page().of("svg") if one.get("role") == "img"]
    assert drawn
    assert all((one.get("aria-label") or "").startswith("Budget left") for one in drawn)
    hidden = [one for one in page().of("svg") if one.get("role") != "img"]
    assert all(one.get("aria-hidden") == "true" for one in hidden)
    assert report().count("Show as table") == report().count("<figure")


def test_tables_have_real_headers() -> None:
    heads = page().of("th")
    assert heads
    assert all(one.get("scope") in {"col", "row"} for one in heads)
    assert len(page().of("table")) == report().count("<thead>")


def test_stopped_deployments_and_scores_are_told() -> None:
    text = page().text()
    assert "Deployments the gate would have stopped" in text
    assert "v2<b>" in text
    assert "Alerts against known incidents" in text


def test_every_figure_names_the_command_that_reproduces_it() -> None:
    assert "tightrope status fine-slo -f slo/ --at 2026-01-21T00:00:00Z" in page().text("pre")
    assert "tightrope gate fine -f slo/ --kind feature --change abc123 --at 2026-01-21T00:00:00Z" in page().text("pre")


def test_one_picture_stands_alone_and_is_well_formed() -> None:
    wicked = next(one for one in world() if one.slo.service == WICKED)
    drawing = svg_report(wicked, deployments=DEPLOYMENTS, stopped=stopped_of(wicked, DEPLOYMENTS))
    tree = ET.fromstring(drawing)
    assert tree.tag.endswith("svg")
    assert "var(--" not in drawing
    assert "−" in (tree.get("aria-label") or "")
    assert WICKED.split("&")[0].strip() in " ".join(tree.itertext())
    assert not re.search(r"https?://(?!www\.w3\.org/)", drawing)


def test_a_replay_reports_without_a_decision() -> None:
    text = backtest_report(list(world())[:1], generated_at=END)
    assert "May a change go out?" not in text
    assert Page(text).wrong == []


def test_nothing_to_report_is_said_with_what_to_do() -> None:
    text = fleet_report("Empty", [], [], generated_at=END)
    assert "No service is watched yet." in text
    assert "tightrope init" in text
    assert Page(text).wrong == []


def test_a_fleet_of_hundreds_folds_what_is_fine_and_stays_small() -> None:
    one = next(one for one in world() if one.slo.service == "fine")
    many = [replace(one, slo=replace(one.slo, name=f"slo {n}", service=f"service {n}")) for n in range(120)]
    text = fleet_report("Many", many, [], generated_at=END)
    assert text.count('class="fold"') == 112
    assert len(text) / len(many) < 30_000
    assert Page(text).wrong == []


def test_corner_cases_are_reported_in_words() -> None:
    found = corner_cases()
    text = fleet_report("Corners", found, [], generated_at=END)
    words = Page(text)
    assert words.wrong == []
    assert "never-slo has sent no data yet." in words.text("h2")
    assert "quiet-slo had no traffic in its window, so its budget is not known." in words.text("h2")
    assert "calendar 1w, Europe/Zurich" in words.text()
    assert words.text().count("a part of whole-slo") == 2
    assert "whole-slo/<back>" in words.text()
    assert "None" not in words.text()
    assert "Never measured" in words.text()
    assert "No traffic in the window" in words.text()
    assert "nothing is known here" in words.text()
    assert all(svg_report(one).startswith("<svg") for one in found)


def test_anchors_are_plain_and_unique() -> None:
    names = ["A b", "a-b", "🚪", "🚪", "x" * 200, '"><script>']
    found = anchors(names)
    assert len(set(found)) == len(names)
    assert all(re.fullmatch(r"slo-[a-z0-9-]+", one) for one in found)


def test_a_decision_needs_no_assessment_on_the_page() -> None:
    text = fleet_report("Gate", [], decisions(world())[:1], generated_at=END)
    assert "May a change go out?" in text
    assert Page(text).wrong == []
