"""The unit for systemd and the container file: sound, hardened, and in step with the command line and the lock."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tightrope.cli.serve import serve

UNIT = ROOT / "deploy" / "systemd" / "tightrope.service"
CONTAINERFILE = ROOT / "deploy" / "Containerfile"


def _analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd is not installed here")
    return subprocess.run([program, *arguments], capture_output=True, text=True, check=False, timeout=50)


def test_systemd_takes_the_unit_without_a_word(tmp_path: Path) -> None:
    here = tmp_path / UNIT.name
    here.write_text(UNIT.read_text(encoding="utf-8").replace("/opt/tightrope/bin/tightrope", sys.executable))
    done = _analyze("verify", "--man=no", str(here))
    assert (done.returncode, done.stderr.strip()) == (0, "")
    here.write_text(here.read_text().replace("ProtectSystem=strict", "ProtectSystm=strict"))
    assert "ProtectSystm" in _analyze("verify", "--man=no", str(here)).stderr


def test_systemd_finds_the_unit_hardly_exposed() -> None:
    """Of 10, where 10 is a service that may do anything; an ordinary one has 9.6."""
    if "--offline" not in _analyze("--help").stdout:
        pytest.skip("this systemd-analyze is too old to look at a file")
    done = _analyze("security", "--offline=yes", "--threshold=15", "--no-pager", str(UNIT))
    assert done.returncode == 0, done.stdout
    assert "Overall exposure level for tightrope.service: 1." in done.stdout


def test_the_unit_starts_the_server_with_options_that_it_has() -> None:
    unit = ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read(UNIT, encoding="utf-8")
    program, command, *rest = shlex.split(unit["Service"]["ExecStart"].replace("%S", "/var/lib"))
    assert (program, command) == ("/opt/tightrope/bin/tightrope", "serve")
    given = serve.make_context("serve", list(rest)).params
    assert (given["host"], given["auth"], given["data"]) == ("127.0.0.1", True, "/var/lib/tightrope")
    assert unit["Service"]["StateDirectory"] == "tightrope"


def _stages() -> list[list[str]]:
    """The instructions of each stage, continued lines joined."""
    text = re.sub(r"^#.*\n", "", CONTAINERFILE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    lines = [line.strip() for line in text.replace("\\\n", " ").splitlines() if line.strip()]
    stages: list[list[str]] = []
    for line in lines:
        if line.startswith("FROM "):
            stages.append([])
        if stages:
            stages[-1].append(" ".join(line.split()))
    return stages


def test_an_image_runs_as_nobody_and_says_how_it_is() -> None:
    build, final = _stages()
    assert build[0].endswith(" AS build")
    assert [line for line in final if line.startswith("USER ")] == ["USER 10001:10001"]
    assert any(line.startswith("HEALTHCHECK ") and "/healthz" in line for line in final)
    assert not [line for line in build + final if line.startswith("ADD ") or "curl" in line or "apt-get" in line]
    assert [line.split()[1] for line in final if line.startswith("COPY ")] == ["--from=build"]


def test_an_image_holds_only_what_the_lock_names() -> None:
    build, _ = _stages()
    (tools,) = [line for line in build if "tools/requirements.lock" in line and line.startswith("RUN")]
    assert "--require-hashes" in tools
    (install,) = [line for line in build if "uv pip install" in line]
    assert "--constraint requirements.lock" in install
    assert "--build-constraint requirements.lock" in install


def test_everything_that_an_image_copies_is_there_and_not_ignored() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    kept = {line[1:] for line in ignored if line.startswith("!")}
    assert "*" in ignored
    build, _ = _stages()
    copied = [name for line in build if line.startswith("COPY ") for name in line.split()[1:-1]]
    assert copied
    assert [name for name in copied if not (ROOT / name).exists() or name not in kept] == []


def test_an_image_starts_the_server_with_options_that_it_has() -> None:
    _, final = _stages()
    (line,) = [line for line in final if line.startswith("CMD [")]
    command, *rest = re.findall(r'"([^"]*)"', line)
    given = serve.make_context("serve", list(rest)).params
    assert (command, given["host"], given["auth"]) == ("serve", "0.0.0.0", None)
    assert f"VOLUME {given['data']}" in final
