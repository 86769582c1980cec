"""The exported JSON Schemas agree with validation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tests.specs.samples import CONDITION, EVERYTHING, POLICY, SLO, SOURCE, TIERS, codes, swapped
from tightrope.specs.kinds import KINDS
from tightrope.specs.positions import Report, plain_value, read_documents
from tightrope.specs.schemas import COMBINED, schemas
from tightrope.specs.starter import SOURCES, starter

SCHEMAS = schemas()


def plain(text: str) -> list[Any]:
    found: list[Any] = []
    for node in read_documents(text, "a.yaml", Report()):
        value = plain_value(node)
        found += value if isinstance(value, list) else [value]
    return found


def fits(document: Any) -> bool:
    """Whether the document fits its own schema and the combined one, which must agree."""
    alone = Draft202012Validator(SCHEMAS[document["kind"]]).is_valid(document)
    together = Draft202012Validator(SCHEMAS[COMBINED]).is_valid(document)
    assert alone == together
    return alone


def test_there_is_a_good_schema_for_every_kind() -> None:
    assert set(SCHEMAS) == {COMBINED, *(kind for kinds in KINDS.values() for kind in kinds)}
    for schema in SCHEMAS.values():
        Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize("text", EVERYTHING)
def test_good_documents_fit_their_schema(text: str) -> None:
    assert all(fits(document) for document in plain(text))


@pytest.mark.parametrize("source", SOURCES)
def test_the_starters_fit_their_schemas(source: str) -> None:
    for text in starter("checkout", source).values():
        assert all(fits(document) for document in plain(text))


def test_the_good_documents_of_the_standard_fit_their_schemas(recorded: Path) -> None:
    files = sorted((recorded / "fixtures").glob("OpenSLO*/**/*.yaml"))
    assert len(files) == 10
    for file in files:
        text = file.read_text("utf-8").replace(" op: gt\n", "\n", file.name.startswith(("ratio", "timeslices", "slos")))
        assert all(fits(document) for document in plain(text)), file


@pytest.mark.parametrize(
    ("text", "old", "new"),
    [
        (SLO, "  service: checkout", "  servcie: checkout"),
        (SLO, "target: 0.999", "target: 99.9"),
        (SLO, "target: 0.999", "target: 1"),
        (SLO, "target: 0.999", "targetPercent: 100"),
        (SLO, "target: 0.999", "{target: 0.9, targetPercent: 90}"),
        (SLO, "target: 0.999", "{target: 0.999, op: gt}"),
        (SLO, "target: 0.999", "displayName: none"),
        (SLO, "Occurrences", "occurrences"),
        (SLO, "Occurrences", "Timeslices"),
        (SLO, "28d", "28 days"),
        (SLO, "28d", "0d"),
        (SLO, "isRolling: true", "isRolling: false"),
        (SLO, "name: checkout-availability", "name: Checkout"),
        (SLO, "name: checkout-availability", "name: a\n  annotations: {tightrope.dev/resolutoin: 5m}"),
        (SLO, "{column: good}", "{}"),
        (SLO, "        good: ", "        raw: "),
        (SOURCE, "type: csv, ", ""),
        (CONDITION, "burnrate", "burnRate"),
        (TIERS, "budget: 2%", "budget: 2"),
        (POLICY, '{remaining: "<= 0%"}', "{remaining: 0%}"),
        (POLICY, '{remaining: "<= 0%"}', '{remaining: "<= 0%", openIncident: []}'),
        (POLICY, "{openIncident: [sev1, sev2]}]}\n      exit", "{openIncidents: [sev1]}]}\n      exit"),
        (POLICY, "allows: [reliability, security, rollback, emergency]", "allows: [bugfix]"),
    ],
)
def test_what_validation_refuses_the_schema_refuses_too(text: str, old: str, new: str) -> None:
    broken = swapped(text, old, new)
    assert not all(fits(document) for document in plain(broken))
    assert codes(broken, *(() if text is SOURCE else (SOURCE,)))


def test_a_list_of_documents_fits_the_combined_schema() -> None:
    documents = plain("---\n".join(EVERYTHING))
    validator = Draft202012Validator(SCHEMAS[COMBINED])
    assert validator.is_valid(documents)
    assert not validator.is_valid([*documents, {"kind": "SLO"}])
