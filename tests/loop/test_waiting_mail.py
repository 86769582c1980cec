"""A message that waits outlives a restart, also one after which nobody knows yet which channels there are."""

from __future__ import annotations

import time
from pathlib import Path

from tests.api.world import until
from tests.loop.test_server_gate import SPEC
from tests.notify.worlds import receiver
from tightrope.app import serving
from tightrope.base.clock import now
from tightrope.loop.server import Server, ServeSettings
from tightrope.notify.outgoing import Outgoing, State

_HOOK = """
---
apiVersion: tightrope.dev/v1
kind: NotificationChannel
metadata: {{name: hook}}
spec: {{type: webhook, url: "{url}", default: true}}
"""


def _only(server: Server) -> Outgoing:
    (message,) = server.alerts.messages()
    assert isinstance(message, Outgoing)
    return message


def test_a_message_waits_until_channels_are_known_and_is_sent_then(tmp_path: Path) -> None:
    specs = tmp_path / "slo.yaml"
    settings = ServeSettings(data=str(tmp_path / "store"), spec_paths=(str(specs),))
    with receiver() as hook:
        good = SPEC + _HOOK.format(url=hook.url)
        specs.write_text(good, encoding="utf-8")
        hook.will(503)
        with serving(settings, settings.data, every_s=0.1) as server:
            until(lambda: server.live.snapshot.specs.channels)
            server.alerts.test_channel("hook", who="ada", now=server.now())
            until(lambda: hook.got and _only(server).error)
        specs.write_text(good.replace("target: 0.99", "target: 99"), encoding="utf-8")
        with serving(settings, settings.data, every_s=0.1, clock_now=lambda: now() + 3600) as later:
            until(lambda: later.live.snapshot.number)
            time.sleep(1.5)  # the postman looks as soon as it starts
            assert (_only(later).state, len(hook.got)) == (State.WAITING, 1)
            specs.write_text(good, encoding="utf-8")
            until(lambda: _only(later).state is State.SENT)
        assert len(hook.got) == 2
