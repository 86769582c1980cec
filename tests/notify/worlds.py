"""Channels, promises and facts to tell of, and a real HTTP server that keeps what it is told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any

from tests.alerting.worlds import CHECKOUT, FAST, NOON, TIERS, seen
from tests.bodies import body_of
from tightrope.alerting.grouping import Alert, unfold
from tightrope.base.units import Duration
from tightrope.budget.burn import Burn
from tightrope.budget.statement import Budget
from tightrope.budget.words import Standing
from tightrope.notify.messages import Facts, Recent
from tightrope.specs.model import (
    AlertPolicy,
    Basis,
    BudgetingMethod,
    ChannelType,
    Flow,
    NotificationChannel,
    Objective,
    RollingWindow,
    ShipHow,
    Slo,
    Specs,
    Topic,
)

HOUR, DAY = 3600, 86400
SLO = Slo(
    "checkout-availability",
    "checkout",
    BudgetingMethod.OCCURRENCES,
    RollingWindow(Duration(28, "d")),
    (Objective(Fraction(999, 1000)),),
)
HOOK = NotificationChannel("hook", ChannelType.WEBHOOK, urls=("http://127.0.0.1:9",), default=True, repeat_s=4 * HOUR)
RECENT = (Recent(NOON - 300, "deployment v2.35.0 of checkout (production)"),)


def channel(name: str = "hook", **others: Any) -> NotificationChannel:
    """A channel that takes everything by default."""
    given: dict[str, Any] = {"type": ChannelType.WEBHOOK, "urls": ("http://127.0.0.1:9",), "default": True}
    return NotificationChannel(name, **(given | others))


def promised(*policies: AlertPolicy) -> Slo:
    """The promise with alert policies of its own."""
    return Slo(SLO.name, SLO.service, SLO.method, SLO.window, SLO.objectives, alert_policies=policies)


def specs(*channels: NotificationChannel, slo: Slo = SLO) -> Specs:
    return Specs(slos=(slo,), channels=channels)


def paging(at: int = NOON) -> Alert:
    """An alert that pages."""
    alert, _ = unfold(None, seen(at, {FAST: at}))
    assert alert is not None
    return alert


def facts(*, remaining: Fraction = Fraction(124, 1000), now: int = NOON) -> Facts:
    """Checkout burns 21.4 times too fast, with a budget of 5,000 events."""
    budget = Budget(Basis.PROJECTED, Fraction(5000), Fraction(5000) * (1 - remaining))
    standing = Standing(
        "checkout", budget, 0, Flow.FEATURE, ShipHow.GUARDED, coming="exhausted", coming_at=now + 4 * HOUR, age_s=60
    )
    burns = tuple(
        Burn(lookback, 107, 5000, Fraction(107, 5000) / Fraction(1, 1000), no_traffic=False)
        for lookback in (300, HOUR, 6 * HOUR)
    )
    return Facts("checkout-availability", Fraction(999, 1000), 28 * DAY, standing, burns)


@dataclass(slots=True)
class Received:
    """A request as the server saw it."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(slots=True)
class Receiver:
    """A server on loopback: it keeps what it gets, and answers as told, 200 when nothing is left to say."""

    url: str = ""
    got: list[Received] = field(default_factory=list)
    answers: list[tuple[int, dict[str, str], str]] = field(default_factory=list)

    def will(self, status: int, text: str = "", **headers: str) -> None:
        """Answer the next request so; underscores in names of headers become hyphens."""
        self.answers.append((status, {name.replace("_", "-"): value for name, value in headers.items()}, text))


@contextmanager
def receiver(*, hold: Event | None = None) -> Iterator[Receiver]:
    """Start a server; it does not answer before *hold* is set."""
    told = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = body_of(self)
            if body is None:
                return
            told.got.append(Received(self.path, {k.lower(): v for k, v in self.headers.items()}, body))
            if hold is not None:
                hold.wait(30)
            status, headers, text = told.answers.pop(0) if told.answers else (200, {}, "ok")
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        told.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield told
        finally:
            server.shutdown()
            thread.join()


__all__ = ["CHECKOUT", "NOON", "TIERS", "Topic"]
