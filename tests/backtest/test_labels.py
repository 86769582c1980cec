"""Labels: incidents and deployments as files have them, and what is said of a row that cannot be meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import ROOT
from tightrope.backtest.labels import read_deployments, read_incidents
from tightrope.base.errors import DataError

HEADER = "time,service,kind,change\n"


def write(folder: Path, text: str) -> str:
    path = folder / "labels.csv"
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        ("", "feature"),
        ("feature", "feature"),
        ("Rollback", "rollback"),
        ("SECURITY", "security"),
        ("emergency", "emergency"),
        ("revert", "rollback"),
        ("fix", "reliability"),
        ("Hotfix", "reliability"),
        ("chore", "config"),
        ("dependencies", "config"),
        ("enhancement", "feature"),
    ],
)
def test_the_kind_of_a_deployment_is_read_by_the_usual_words(tmp_path: Path, word: str, kind: str) -> None:
    (one,) = read_deployments(write(tmp_path, f"{HEADER}2026-03-01T00:00:00Z,shop, {word} ,v1\n"))
    assert one.kind == kind


@pytest.mark.parametrize("word", ["weekly", "roll out", "feature?", "the feature", "add: wallet"])
def test_a_kind_that_nobody_knows_is_an_error_that_names_the_line(tmp_path: Path, word: str) -> None:
    path = write(tmp_path, f"{HEADER}1772323200,shop,feature,v1\n1772323260,shop,{word},v2\n")
    with pytest.raises(DataError) as caught:
        read_deployments(path)
    assert caught.value.message.startswith(f"{path}:3: column kind: {word!r}")
    assert caught.value.remedy is not None
    assert "feature, config, reliability, security, emergency, rollback" in caught.value.remedy


def test_a_deployment_of_no_service_is_an_error_that_names_the_line(tmp_path: Path) -> None:
    path = write(tmp_path, f"{HEADER}1772323200,shop,feature,v1\n1772323260,,feature,v2\n")
    with pytest.raises(DataError, match=r":3: the deployment is of no service"):
        read_deployments(path)


def test_the_recorded_labels_are_read() -> None:
    recorded = ROOT / "examples" / "real"
    assert {one.kind for one in read_deployments(str(recorded / "deployments.csv"))} >= {"feature"}
    assert read_incidents(str(recorded / "incidents.csv"))
