"""A notifier that is killed at any moment loses no message, and what it sent before goes out again as the same."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.alerting.worlds import FAST, NOON, TICKET, seen
from tests.conftest import ROOT
from tests.notify.worlds import Receiver, channel, receiver, specs
from tightrope.base.clock import now
from tightrope.notify.outgoing import State
from tightrope.notify.usecases import LEASE_S, Alerting, Notifications, Notifier
from tightrope.state.database import opened

_ROUNDS = 4
_ALERTS = 20


def test_killed_again_and_again_every_message_arrives_in_order_under_one_key(tmp_path: Path) -> None:
    store = str(tmp_path / "store")
    with receiver() as hook, opened(store, create=True) as database:
        channels = tuple(channel(f"hook-{number}", urls=(f"{hook.url}/{number}",)) for number in range(3))
        alerting, followed = Alerting(), specs(*channels)
        for number in range(_ALERTS):
            at = NOON + 3600 * number
            for step, look in enumerate(
                (seen(at, {TICKET: at}), seen(at + 60, {TICKET: at, FAST: at + 60}), seen(at + 120))
            ):
                with database.writing() as connection:
                    alerting.turn_in(connection, [look], followed, at + 60 * step)
        fronts = Notifications(database, lambda: channels)
        expected = {one.key for one in fronts.messages(limit=1000)}
        assert len(expected) == 3 * 3 * _ALERTS
        for round_ in range(_ROUNDS):
            _kill_a_sender(store, hook, 3 + 7 * round_)
        assert fronts.messages(state="waiting", limit=1), "the rounds should not suffice"
        last = Notifier(database, lambda: channels)
        for _ in range(3 * _ALERTS):
            if last.run_once(now() + LEASE_S).due is None:
                break
        last.close()
        assert {one.state for one in fronts.messages(limit=1000)} == {State.SENT}
        arrived = [(got.path, got.json["id"], got.json["data"]) for got in hook.got]
        assert {key for _, key, _ in arrived} == expected
        assert len(arrived) <= len(expected) + 3 * _ROUNDS  # one at most of each channel at each kill
        first: dict[tuple[str, str], list[str]] = {}
        for path, _, data in arrived:
            order = first.setdefault((path, data["about"]), [])
            if data["change"] not in order:
                order.append(data["change"])
        assert set(map(tuple, first.values())) == {("opened", "escalated", "resolved")}


def _kill_a_sender(store: str, hook: Receiver, more: int) -> None:
    """Start a sender, and kill it in the midst of its work, when so many more messages have arrived."""
    enough = len(hook.got) + more
    command = [sys.executable, "-m", "tests.notify.sender", store, hook.url]
    surroundings = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}"}  # noqa: TID251
    with subprocess.Popen(command, cwd=ROOT, env=surroundings, stdout=subprocess.PIPE, text=True) as sender:
        assert sender.stdout is not None
        assert sender.stdout.readline().strip() == "ready"
        while len(hook.got) < enough:
            time.sleep(0.001)
        sender.send_signal(signal.SIGKILL)
    assert sender.returncode == -signal.SIGKILL
