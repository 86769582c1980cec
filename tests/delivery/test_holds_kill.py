"""Who lets go of what is held may be killed at any moment: each job is approved once, and none that must wait."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from tests.conftest import ROOT
from tests.delivery.forges import GitHubServer, app_key, listening
from tests.delivery.hold_worlds import Gate, close_all, github_of, holds_of, protection
from tightrope.base.clock import now
from tightrope.state.database import opened

_ROUNDS, _JOBS, _LEASE_S = 3, 16, 61


def test_killed_again_and_again_each_job_is_approved_once_and_none_after_a_stop(tmp_path: Path) -> None:
    store = str(tmp_path / "store")
    # the clocks of those who are killed run ahead of GitHub's by less than its tokens are good for
    github = GitHubServer(now=lambda: now() + 150, runs=set(range(_JOBS)))
    with listening(github), opened(store, create=True) as database:
        stopped = holds_of(database, Gate("stop"), now, github_of(github.url))
        for run in range(1, _JOBS):
            stopped.take(github_of(github.url), "deployment_protection_rule", protection(github.url, run, run))
        for round_ in range(_ROUNDS):
            _kill(store, github, more=2 + 2 * round_, ahead_s=round_ * _LEASE_S)
        assert len(github.reviews) < _JOBS - 1, "the rounds should not suffice"
        # The gate closes: what is on its way and was never sent must not go out when its time is over.
        later = holds_of(database, Gate("stop"), lambda: now() + 3600, github_of(github.url))
        approved = dict(github.reviews)
        github.now = lambda: now() + 3600
        for _ in range(3):
            later.turn(), later.deliver()
        assert github.reviews == approved
        # And opens again.
        last = holds_of(database, Gate("go"), lambda: now() + 7200, github_of(github.url))
        github.now = lambda: now() + 7200
        for _ in range(_JOBS):
            last.turn()
            if last.deliver() is None:
                break
        assert set(github.reviews.values()) == {"approved"}
        assert len(github.reviews) == _JOBS - 1
        attempts = Counter(
            one.path for one in github.got if isinstance(one.body, dict) and one.body.get("state") == "approved"
        )
        assert sum(attempts.values()) <= _JOBS - 1 + 2 * _ROUNDS, "one more at most for each that was killed"
        assert {one.state.value for one in last.holds(limit=1000)} == {"approved"}
        close_all()


def _kill(store: str, github: GitHubServer, *, more: int, ahead_s: int) -> None:
    """Start a doorkeeper, and kill it in the midst of its work, when so many more approvals have arrived."""
    enough = len(github.reviews) + more
    command = [sys.executable, "-m", "tests.delivery.doorkeeper", store, github.url, "go", str(ahead_s)]
    surroundings = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}", "APP_KEY": app_key()}  # noqa: TID251
    with subprocess.Popen(command, cwd=ROOT, env=surroundings, stdout=subprocess.PIPE, text=True) as keeper:
        assert keeper.stdout is not None
        assert keeper.stdout.readline().strip() == "ready"
        while len(github.reviews) < enough and keeper.poll() is None:
            time.sleep(0.001)
        keeper.send_signal(signal.SIGKILL)
    assert keeper.returncode == -signal.SIGKILL
