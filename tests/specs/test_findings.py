"""The catalogue of findings is whole."""

from __future__ import annotations

import re
from pathlib import Path

from tightrope.specs.findings import CATALOGUE
from tightrope.specs.positions import Report, read_documents


def test_every_code_that_is_used_is_explained_and_every_explanation_is_used(root: Path) -> None:
    sources = [path for path in (root / "src").rglob("*.py") if path.name != "findings.py"]
    used = {code for path in sources for code in re.findall(r'"(TR\d{3})"', path.read_text("utf-8"))}
    assert used == set(CATALOGUE)


def test_every_example_is_yaml() -> None:
    for rule in CATALOGUE.values():
        report = Report()
        read_documents(rule.example, rule.code, report)
        assert report.findings == [], rule.code
