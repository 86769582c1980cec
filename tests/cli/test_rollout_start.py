"""``rollout start`` and what tells of it: two lines while it goes, one answer at its end, a store that is needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tightrope.cli.main import cli
from tightrope.cli.rollout import broken, heard, progress_lines
from tightrope.state.database import opened

EVIDENCE = {
    "verdict": "undecided",
    "text": "1.3 of 20",
    "harmInSeconds": None,
    "safeInSeconds": 420,
    "explanations": [{"slo": "shop", "bad": 12, "text": "3 of the last 12 bad requests hit the canary, 1.9 expected"}],
}
OBJECTIVE: dict[str, Any] = {"slo": "shop", "spentShare": 0.0018, "allowanceShare": 0.006, "worstShare": 0.0041}
OBJECTIVE["difference"] = {"value": 0.0003, "low": -0.001, "high": 0.0016, "tolerated": 0.001}
GOING: dict[str, Any] = {
    "phase": "baking",
    "weight": 0.25,
    "begunAt": "2026-01-01T00:00:00Z",
    "elapsedSeconds": 540,
    "why": "it bakes for another 3 min",
    "evidence": EVIDENCE,
    "objectives": [OBJECTIVE],
}


def test_a_release_under_way_is_two_lines_and_a_reason() -> None:
    first, second, third = progress_lines(GOING, alone=True)
    assert first.startswith(
        "..  baking        25 %    9.0 min, +0.03 pp bad (-0.10 to +0.16), 3 of the last 12 bad requests hit the canary"
    )
    assert "evidence 1.3 of 20, verdict in ~7.0 min" in first
    assert second.strip() == (
        "spent 0.18 of 0.60 % budget · worst case of this step 0.41 % · Ctrl-C pauses, again rolls back"
    )
    assert third.strip() == "it bakes for another 3 min"
    assert "again lets go" in progress_lines(GOING, alone=False)[1]


def test_a_release_that_waits_for_the_gate_says_why() -> None:
    (line,) = progress_lines({"phase": "gated", "why": "the gate says stop: the budget is spent"}, alone=True)
    assert line == "..  gated                 the gate says stop: the budget is spent"


def test_a_line_that_is_too_long_for_the_terminal_is_broken_and_every_part_is_counted() -> None:
    first = progress_lines(GOING, alone=True)[0]
    parts = broken(first, 80)
    assert len(parts) == 3
    assert all(len(one) < 80 for one in parts)
    assert parts[1].startswith("    ")
    assert "".join(parts).replace(" ", "") == first.replace(" ", "")
    assert broken(progress_lines(GOING, alone=True)[2], 80) == ["    it bakes for another 3 min"]


def test_what_the_target_complains_of_is_told_while_it_goes() -> None:
    assert progress_lines(GOING | {"trouble": "no answer"}, alone=True)[2].endswith("3 min; no answer")


class Slow:
    """A server whose rollout hears a word at its next turn."""

    def __init__(self, hears_after: int) -> None:
        self.asked = 0
        self.hears_after = hears_after

    def tell(self, name: str, verb: str, document: dict[str, Any]) -> dict[str, Any]:
        return GOING | {"over": False, "unheard": 1}

    def rollout(self, name: str) -> dict[str, Any]:
        self.asked += 1
        has = self.asked >= self.hears_after
        return GOING | {"over": False, "unheard": int(not has), "phase": "holding" if has else "baking"}


def test_who_tells_a_rollout_something_hears_what_came_of_it() -> None:
    desk: Any = Slow(3)
    assert heard(desk, {"id": "R-1"}, "pause", {})["phase"] == "holding"
    assert desk.asked == 3


def test_commands_need_a_store_or_a_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TIGHTROPE_SERVER", "TIGHTROPE_DATA"):
        monkeypatch.delenv(name, raising=False)
    run = CliRunner()
    for words in (["status"], ["list"], ["promote"], ["abort"], ["replay"]):
        ended = run.invoke(cli, ["rollout", *words])
        assert ended.exit_code == 2
        assert "--data" in ended.output
    with opened(str(tmp_path / "data"), create=True):
        pass
    data = ["--data", str(tmp_path / "data")]
    assert "none: tightrope rollout start" in run.invoke(cli, ["rollout", "list", *data]).output
    assert run.invoke(cli, ["rollout", "list", *data, "-o", "json"]).output.strip() == "[]"
    assert "There is no rollout" in run.invoke(cli, ["rollout", "status", *data]).output
    ended = run.invoke(cli, ["rollout", "start", "shop", "--version", "2", "--no-watch", "-f", "nowhere", *data])
    assert ended.exit_code == 2
    assert "nobody watches" in ended.output
