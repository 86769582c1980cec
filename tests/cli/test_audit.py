"""What the commands on the record promise: decisions kept and verified, and a gate that never forgets silently."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.cli.world import MINUTES, START, answer, error_of, run, write_world
from tests.state.worlds import tamper
from tightrope.base.errors import UsageError
from tightrope.base.units import time_text
from tightrope.cli.main import cli

END = START + 60 * MINUTES
OVERSPENT = {40_000: (60, 100)}


@pytest.fixture
def kept(tmp_path: Path) -> tuple[Path, str]:
    """A store with a stop of checkout and a go; the path of the specs, and the store."""
    specs, store = write_world(tmp_path, OVERSPENT), str(tmp_path / "store")
    run("gate", "checkout", "-f", specs, "--at", END, "--change", "abc123", "--data", store)
    run("gate", "checkout", "-f", specs, "--at", END + 60, "--kind", "security", "--data", store)
    return specs, store


def test_a_recorded_gate_answers_as_an_unrecorded_one(tmp_path: Path) -> None:
    specs = write_world(tmp_path, OVERSPENT)
    asked = ("gate", "checkout", "-f", specs, "--at", END)
    for form in ("table", "json"):
        plain, recorded = run(*asked, "-o", form), run(*asked, "-o", form, "--data", tmp_path / "store")
        assert (plain.exit_code, recorded.exit_code) == (3, 3)
        assert plain.stdout == recorded.stdout
        assert recorded.stderr == plain.stderr
    assert len(answer("audit", "list", "--data", tmp_path / "store")) == 1


def test_decisions_are_listed_newest_first(kept: tuple[Path, str]) -> None:
    listed = answer("audit", "list", "--data", kept[1])
    assert [(one["sequence"], one["verdict"], one["kind"], one["change"]) for one in listed] == [
        (2, "go", "security", ""),
        (1, "stop", "feature", "abc123"),
    ]
    assert listed[0]["decidedAt"] == time_text(END + 60)
    assert listed[0]["recordedAt"] > "2026"
    assert [one["sequence"] for one in answer("audit", "list", "--data", kept[1], "--limit", 1)] == [2]
    assert answer("audit", "list", "--data", kept[1], "--service", "search") == []
    lines = run("audit", "list", "--data", kept[1]).stdout.splitlines()
    assert lines[1].split()[:5] == ["2", time_text(END + 60), listed[0]["id"], "go", "checkout"]
    none = run("audit", "list", "--data", kept[1], "--service", "search").stdout
    assert none == "no decision about search is recorded yet\n"


def test_a_decision_is_shown_as_it_was_given(kept: tuple[Path, str]) -> None:
    specs, store = kept
    told = run("gate", "checkout", "-f", specs, "--at", END, "--change", "abc123").stdout
    name = answer("audit", "list", "--data", store)[1]["id"]
    shown = run("audit", "show", name, "--data", store)
    assert shown.exit_code == 0
    assert shown.stdout.partition("  more ")[0] == told.partition("  more ")[0]
    assert "recorded as row 1 at " in shown.stdout
    (document,) = answer("audit", "show", name, "--data", store)
    assert document["id"] == name
    assert error_of(run("audit", "show", "D-0", "--data", store)).message == "there is no decision 'D-0'"


def test_a_sound_record_is_verified_with_exit_code_0(kept: tuple[Path, str]) -> None:
    told = run("audit", "verify", "--recompute", "--data", kept[1])
    assert told.exit_code == 0
    assert told.stdout.startswith("ok  2 rows, the chain holds, 2 decided again, 0 otherwise\n    head: row 2 ")
    head = told.stdout.split()[-1]
    noted = run("audit", "verify", "--head", head, "--data", kept[1])
    assert (noted.exit_code, "the noted head is row 2" in noted.stdout) == (0, True)
    assert answer("audit", "verify", "--data", kept[1]) == {
        "holds": True,
        "rows": 2,
        "head": {"sequence": 2, "hash": head},
        "notedHead": None,
        "broken": [],
        "recomputed": None,
        "differing": [],
    }


def test_a_broken_row_is_named_with_exit_code_3(kept: tuple[Path, str]) -> None:
    tamper(kept[1], "UPDATE journal SET data = replace(data, 'abc123', 'abc124') WHERE sequence = 1")
    told = run("audit", "verify", "--recompute", "--data", kept[1])
    assert told.exit_code == 3
    first, second = told.stdout.splitlines()[:2]
    assert first == "x   row 1: does not match its hash: it was changed after it was written"
    assert second == "x   2 rows, 1 broken, 1 decided again, 0 otherwise"
    assert [one["sequence"] for one in answer("audit", "verify", "--data", kept[1])["broken"]] == [1]
    listed = run("audit", "list", "--data", kept[1])
    assert "warning: row 1 is left out: does not match its hash" in listed.stderr
    assert "abc124" not in listed.stdout
    assert "row 1 of the journal" in error_of(run("audit", "export", "--data", kept[1])).message


def test_another_head_than_the_noted_one_is_exit_code_3(kept: tuple[Path, str]) -> None:
    told = run("audit", "verify", "--head", "f" * 64, "--data", kept[1])
    assert told.exit_code == 3
    assert told.stdout.startswith("x   the journal: no row has the hash that was noted elsewhere")
    assert isinstance(error_of(run("audit", "verify", "--head", "abc", "--data", kept[1])), UsageError)


def test_an_export_is_one_cloudevent_a_line(kept: tuple[Path, str]) -> None:
    lines = run("audit", "export", "--data", kept[1]).stdout.splitlines()
    events = [json.loads(line) for line in lines]
    assert [one["type"] for one in events] == ["dev.tightrope.decision.made.v1"] * 2
    assert events[0]["data"]["request"]["change"] == "abc123"
    assert events[1]["previoushash"] == events[0]["hash"]
    assert run("audit", "export", "--data", kept[1], "--since", "2199-01-01").stdout == ""


def test_a_gate_that_cannot_record_does_not_answer(tmp_path: Path) -> None:
    specs = write_world(tmp_path, OVERSPENT)
    asked = ("gate", "checkout", "-f", specs, "--at", END, "--data", specs)
    blocked = run(*asked)
    assert (blocked.exit_code, blocked.stdout) == (5, "")
    assert "could not be recorded: " in blocked.stderr
    assert "is not a directory" in blocked.stderr
    assert "  = help: give a directory" in blocked.stderr
    allowed = run(*asked, "--on-unavailable", "allow")
    assert allowed.exit_code == 3  # a stop stays a stop
    assert allowed.stdout.startswith("STOP")
    assert "going on, as --on-unavailable allow says" in allowed.stderr


@pytest.mark.parametrize("kind", ["rollback", "security"])
def test_what_is_not_gated_goes_on_where_it_cannot_be_recorded(tmp_path: Path, kind: str) -> None:
    specs = write_world(tmp_path, OVERSPENT)
    told = run("gate", "checkout", "-f", specs, "--at", END, "--kind", kind, "--data", specs)
    assert told.exit_code == 0
    assert told.stdout.startswith("GO")
    assert "could not be recorded: " in told.stderr
    assert ("never gated" in told.stderr) is (kind == "rollback")


def test_the_store_may_be_named_by_the_environment(kept: tuple[Path, str], tmp_path: Path) -> None:
    surroundings = {"TIGHTROPE_DATA": kept[1]}
    listed = CliRunner().invoke(cli, ["audit", "list", "-o", "json"], env=surroundings)
    assert len(json.loads(listed.stdout)) == 2
    elsewhere = CliRunner().invoke(cli, ["audit", "list", "--data", str(tmp_path / "none")], env=surroundings)
    assert error_of(elsewhere).message == f"there is no store in {tmp_path / 'none'}"
    without = CliRunner().invoke(cli, ["audit", "list"], env={"TIGHTROPE_DATA": ""})
    assert without.exit_code == 2
    assert "There is no store: give --data DIR" in without.stderr


@pytest.mark.parametrize("option", ["--change", "--title", "--env", "--as"])
def test_text_that_is_none_is_refused(tmp_path: Path, option: str) -> None:
    specs = write_world(tmp_path)
    error = error_of(run("gate", "checkout", "-f", specs, option, "\udcff"))
    assert error.message == f"{option} is not valid UTF-8"


def test_a_gate_without_a_store_loads_no_database(tmp_path: Path) -> None:
    specs = write_world(tmp_path)
    script = (
        "import sys\nfrom tightrope.cli.main import cli\n"
        f"cli.main(['gate', 'checkout', '-f', {str(specs)!r}, '--at', '{END}'], standalone_mode=False)\n"
        "print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert {"sqlalchemy", "alembic", "sqlite3", "tightrope.state"}.isdisjoint(done.stdout.split())
