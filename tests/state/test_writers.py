"""Processes that write at once, and processes that are killed while they write."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from random import Random

import pytest

from tests.conftest import ROOT
from tests.state.worlds import journal

_ROUNDS = 3


def _start(store: str, name: str, events: int, output: Path) -> subprocess.Popen[bytes]:
    with output.open("ab") as told:
        command = [sys.executable, "-m", "tests.state.writer", store, name, str(events)]
        return subprocess.Popen(command, cwd=ROOT, stdout=told, stderr=subprocess.PIPE)


def _acknowledged(output: Path) -> list[tuple[str, str, int, int]]:
    """What a writer was told is recorded; a last line that was cut short was not told."""
    lines = output.read_text().rpartition("\n")[0].splitlines()
    rows = [line.split() for line in lines]
    return [(name, number, int(first), int(second)) for name, number, first, second in rows]


def _check(store: str, outputs: list[Path]) -> int:
    """Everything acknowledged is there, in pairs, in its place, and the chain holds."""
    with journal(store) as one:
        ids = {entry.sequence: entry.event.id for entry in one.read()}
        findings = one.verify()
    assert findings.broken == ()
    assert list(ids) == list(range(1, findings.rows + 1))
    acknowledged = 0
    for output in outputs:
        for name, number, first, second in _acknowledged(output):
            assert (ids[first], ids[second]) == (f"{name}-{number}-a", f"{name}-{number}-b")
            acknowledged += 1
    halves = {half: {text[:-1] for text in ids.values() if text.endswith(half)} for half in "ab"}
    assert halves["a"] == halves["b"]  # no append is there by half
    return acknowledged


def test_writers_at_once_share_one_chain(store: str, tmp_path: Path) -> None:
    """Both begin with an empty store: only one of them makes the tables."""
    outputs = [tmp_path / name for name in ("one", "two", "three")]
    writers = [_start(store, output.name, 25, output) for output in outputs]
    for writer in writers:
        _, complaint = writer.communicate(timeout=50)
        assert (writer.returncode, complaint) == (0, b"")
    assert _check(store, outputs) == 75


def test_a_kill_loses_nothing_that_was_acknowledged(store: str, tmp_path: Path) -> None:
    random = Random(3)
    outputs: list[Path] = []
    for number in range(_ROUNDS):
        ours = [tmp_path / f"{name}{number}" for name in ("one", "two")]
        outputs += ours
        writers = [_start(store, output.name, 0, output) for output in ours]
        try:
            _until_both_write(ours, writers)
            for writer in writers:
                time.sleep(random.random() / 5)
                writer.send_signal(signal.SIGKILL)
        finally:
            for writer in writers:
                writer.kill()
        complaints = [writer.communicate()[1] for writer in writers]
        assert [(writer.returncode, *complaints) for writer in writers] == [(-signal.SIGKILL, b"", b"")] * 2
        assert _check(store, outputs) >= 6 * (number + 1)


def _until_both_write(outputs: list[Path], writers: list[subprocess.Popen[bytes]]) -> None:
    for _ in range(400):
        if all(output.exists() and len(_acknowledged(output)) >= 3 for output in outputs):
            return
        if any(writer.poll() is not None for writer in writers):
            break
        time.sleep(0.05)
    pytest.fail("the writers did not get to write")
