"""The page on specs agrees with what is read."""

from __future__ import annotations

import re
from pathlib import Path

from tests.specs.samples import found, together
from tightrope.specs.kinds import ANNOTATIONS, KINDS


def page(root: Path) -> str:
    return (root / "docs" / "specs.md").read_text("utf-8")


def test_the_examples_of_the_page_are_valid_together(root: Path) -> None:
    blocks = re.findall(r"^```yaml\n(apiVersion.*?)^```", page(root), re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 7
    assert [str(finding) for finding in found(together(*blocks))] == []


def test_the_page_names_every_kind_and_annotation(root: Path) -> None:
    text = page(root)
    assert [kind for kinds in KINDS.values() for kind in kinds if kind not in text] == []
    assert [name for name in ANNOTATIONS if f"| `{name}` |" not in text] == []
