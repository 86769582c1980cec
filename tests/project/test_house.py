"""The house keeps its own rules: sources, the lock and the examples."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.conftest import ROOT

_SUFFIXES = {".py", ".md", ".toml", ".lock", ".sh", ".in", ".yaml", ".yml", ".json", ".txt", ".css", ".html", ""}

# Pieces are joined here so that this file does not name what it looks for.
_HOMES = "|".join(("wo" + "rk", "ro" + "ot", "t" + "mp"))
_REGISTRIES = "|".join(("py" + "pi" + r"\.(?:org|io|python)", "pythonho" + "sted"))
_FORBIDDEN = {
    "a path of somebody's machine": re.compile(rf"(?<![\w.])/(?:{_HOMES})/"),
    "the host of a package registry": re.compile(_REGISTRIES, re.IGNORECASE),
}


def _files() -> list[Path]:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    if listed.returncode != 0:
        pytest.skip("not a git checkout: no way to tell the project's files from what tools left behind")
    paths = (ROOT / name for name in listed.stdout.decode().split("\0") if name)
    return [path for path in paths if path.is_file() and path.suffix in _SUFFIXES]


def _modules() -> list[Path]:
    return sorted(path for folder in ("src", "tests", "benchmarks", "tools") for path in (ROOT / folder).rglob("*.py"))


def test_every_module_says_what_it_is_for() -> None:
    silent = [str(path.relative_to(ROOT)) for path in _modules() if not ast.get_docstring(ast.parse(path.read_bytes()))]
    assert silent == []


def test_no_file_knows_the_machine_it_was_written_on() -> None:
    found = []
    for path in _files():
        text = path.read_text(encoding="utf-8", errors="replace")
        found += [f"{path.relative_to(ROOT)}: {what}" for what, pattern in _FORBIDDEN.items() if pattern.search(text)]
    assert found == []


@pytest.mark.parametrize("lock", ["requirements.lock", "tools/requirements.lock"])
def test_a_lock_has_a_hash_for_every_package_and_no_address(lock: str) -> None:
    text = (ROOT / lock).read_text(encoding="utf-8")
    entries = re.split(r"\n(?=\S)", text.replace("\\\n", "").strip())
    assert entries
    assert [entry for entry in entries if not re.search(r"--hash=sha256:[0-9a-f]{64}", entry)] == []
    assert [entry for entry in entries if not re.match(r"[\w.\-\[\]]+==\S+", entry)] == []
    assert "://" not in text


def test_the_lock_holds_everything_that_the_project_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    asked = [*project["project"]["dependencies"], *project["dependency-groups"]["dev"]]
    for extra in project["project"]["optional-dependencies"].values():
        asked += extra
    names = {re.split(r"[<>=!~\[; ]", one)[0].lower() for one in asked}
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    locked = {line.split("==")[0] for line in lock.splitlines() if line[:1].isalnum()}
    assert names - locked == set()


@pytest.mark.parametrize(
    ("entry", "heavy"),
    [
        ("tightrope.cli.main", {"numpy", "yaml", "rich", "httpx2", "icalendar", "dateutil", "numba", "pyarrow"}),
        ("tightrope.specs.store", {"numpy", "rich", "httpx2", "icalendar", "numba", "pyarrow", "pydantic"}),
        ("tightrope.telemetry.usecases", {"httpx2", "pyarrow", "numba", "rich", "icalendar"}),
    ],
)
def test_what_a_command_does_not_need_is_not_imported(entry: str, heavy: set[str]) -> None:
    script = f"import sys, {entry}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert heavy.intersection(loaded) == set()
