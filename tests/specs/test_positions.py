"""YAML and JSON as nodes with places and exact scalars."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from tests.specs.samples import SLO, SOURCE, only, swapped
from tightrope.specs.positions import (
    NODES_MAX,
    MapNode,
    Node,
    Report,
    canonical,
    number_of,
    plain_value,
    read_documents,
)


def documents(text: str) -> tuple[tuple[Node, ...], list[str]]:
    report = Report()
    nodes = read_documents(text, "a.yaml", report)
    return nodes, [finding.code for finding in report.findings]


def value_of(text: str) -> Any:
    (node,), found = documents(f"key: {text}\n")
    assert found == []
    return plain_value(node)["key"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on", "on"),
        ("yes", "yes"),
        ("12:30", "12:30"),
        ("1m", "1m"),
        ("2026-01-01 12:00:00", "2026-01-01 12:00:00"),
        ("1_000", "1_000"),
        ("0.999", 0.999),
        ("007", 7),
        ("0o17", 15),
        ("0xff", 255),
        ("1e3", 1000.0),
        ("true", True),
        ("False", False),
        ("~", None),
        ("", None),
        ("'true'", "true"),
        ('"5"', "5"),
        ("!!str 5", "5"),
        (".nan", ".nan"),
        ("[1, {a: b}]", [1, {"a": "b"}]),
    ],
)
def test_scalars_follow_the_core_schema_and_not_yaml_1_1(text: str, value: object) -> None:
    read = value_of(text)
    assert read == value
    assert type(read) is type(value)


def test_numbers_are_exact() -> None:
    (node,), _ = documents("key: 0.999\n")
    assert isinstance(node, MapNode)
    value = node.get("key")
    assert value is not None
    assert number_of(value) == Fraction(999, 1000)


def test_an_absurd_exponent_is_no_number() -> None:
    (node,), _ = documents("1e999999999\n")
    assert number_of(node) is None


def test_places_count_from_one_in_characters() -> None:
    (node,), _ = documents("größe:\n  - a\n  - bee\n")
    assert isinstance(node, MapNode)
    items = node.get("größe")
    assert items is not None
    place = items.items[1].place  # type: ignore[union-attr]
    assert (place.file, place.line, place.column, place.length) == ("a.yaml", 3, 5, 3)


def test_json_is_read_as_yaml_with_tabs_between_values() -> None:
    (node,), found = documents('{"a":\t1,\n\t"b": [true, null, "\\u00e9"]}\n')
    assert found == []
    assert plain_value(node) == {"a": 1, "b": [True, None, "é"]}


def test_many_documents_are_read_and_empty_ones_left_out() -> None:
    nodes, found = documents("---\na: 1\n---\n# nothing\n---\nb: 2\n...\n")
    assert found == []
    assert [plain_value(node) for node in nodes] == [{"a": 1}, {"b": 2}]


def test_the_documents_before_a_broken_one_are_kept() -> None:
    nodes, found = documents("a: 1\n---\nb: [\n")
    assert [plain_value(node) for node in nodes] == [{"a": 1}]
    assert found == ["TR001"]


def test_an_alias_stands_for_its_anchor_and_a_merge_key_for_its_entries() -> None:
    (node,), found = documents("base: &b {x: 1, y: 2}\nown: {<<: *b, y: 3}\nsame: *b\n")
    assert found == []
    assert plain_value(node) == {"base": {"x": 1, "y": 2}, "own": {"y": 3, "x": 1}, "same": {"x": 1, "y": 2}}


def test_a_key_given_twice_names_the_first_line() -> None:
    finding = only(swapped(SLO, "  service: checkout\n", "  service: checkout\n  service: shop\n"), SOURCE)
    assert (finding.code, finding.place.line, finding.note) == ("TR003", 7, "first on line 6")


def test_a_tab_is_called_a_tab() -> None:
    finding = only("apiVersion: openslo/v1\nspec:\n\tservice: x\n")
    assert (finding.code, finding.place.line, finding.place.column) == ("TR002", 3, 1)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("a: 'open", "TR001"),
        ("a: {b: 1", "TR001"),
        ("a: b: c", "TR001"),
        ("a: 1\n b: 2", "TR001"),
        ("a: \x01", "TR001"),
        ("? [a, b]\n: c", "TR001"),
        ("%YAML 1.9\n---\na: 1", "TR001"),
        ("a: \udc80", "TR005"),
        ("a: *nobody", "TR007"),
        ("a: &a [*a]", "TR007"),
        ("a: !!python/object:os.system x", "TR007"),
        ("a: !Ref x", "TR007"),
        ("a: {<<: 5}", "TR007"),
        ("[" * 100 + "]" * 100, "TR006"),
        ("[" * 5000, "TR006"),
    ],
)
def test_what_cannot_be_read_is_one_finding(text: str, code: str) -> None:
    assert documents(text)[1] == [code]


def test_aliases_that_multiply_are_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    nodes, found = documents("\n".join(lines))
    assert (nodes, found) == ((), ["TR006"])


def test_aliases_that_nest_are_refused() -> None:
    lines = ["- &a0 [x]"] + [f"- &a{n} [*a{n - 1}]" for n in range(1, 5000)]
    assert documents("\n".join(lines)) == ((), ["TR006"])


def test_a_document_with_too_many_values_is_refused() -> None:
    assert documents("- x\n" * (NODES_MAX + 1)) == ((), ["TR006"])


def test_the_same_content_has_the_same_canonical_form() -> None:
    first, second = (documents(text)[0][0] for text in ("a: 1.0\nb: [x]\n", "# note\nb:\n- 'x'\na: 1\n"))
    assert canonical(first) == canonical(second)
    (other,), _ = documents("a: '1'\nb: [x]\n")
    assert canonical(first) != canonical(other)
