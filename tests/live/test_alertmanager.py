"""A real Alertmanager takes our alerts: they fire, are known as one, are said again, change severity, and end."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.alerting.worlds import FAST, TICKET, seen
from tests.notify.worlds import channel, facts, specs
from tightrope.alerting.grouping import Seen
from tightrope.base.clock import now
from tightrope.base.units import time_text
from tightrope.notify.usecases import Alerting, Notifications, Notifier, Run
from tightrope.specs.model import ChannelType, Specs
from tightrope.state.database import Database, opened

pytestmark = pytest.mark.live


class Told:
    """A store whose only channel is the Alertmanager."""

    def __init__(self, database: Database, url: str) -> None:
        self.url = url
        self.database = database
        self.specs: Specs = specs(channel("am", type=ChannelType.ALERTMANAGER, urls=(url,)))
        self.alerting = Alerting(base_url="https://tightrope.example", facts=lambda _: facts(now=now()))
        self.fronts = Notifications(database, lambda: self.specs.channels)
        self.notifier = Notifier(database, lambda: self.specs.channels)

    def turn(self, at: int, look: Seen) -> None:
        with self.database.writing() as connection:
            self.alerting.turn_in(connection, [look], self.specs, at)

    def alerts(self, **query: str) -> list[dict[str, Any]]:
        """What its API tells, with the labels as they are there."""
        parts = "&".join(f"{name}={value}" for name, value in query.items())
        with urllib.request.urlopen(f"{self.url}/api/v2/alerts?{parts}", timeout=5) as answer:
            found: list[dict[str, Any]] = json.load(answer)
        return found

    def post(self, path: str, document: dict[str, Any]) -> Any:
        request = urllib.request.Request(
            f"{self.url}{path}", json.dumps(document).encode(), {"content-type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=5) as answer:
            return json.load(answer)


@pytest.fixture
def told(alertmanager: str, tmp_path: Path) -> Iterator[Told]:
    with opened(str(tmp_path / "store"), create=True) as database:
        one = Told(database, alertmanager)
        yield one
        one.notifier.close()


def test_an_alert_fires_is_known_as_one_and_ends(told: Told) -> None:
    at = now()
    told.turn(at, seen(at, {FAST: at - 600}))
    assert told.notifier.run_once(at).sent == 1
    (alert,) = told.alerts()
    assert alert["labels"] == {
        "alertname": "ErrorBudgetBurn",
        "service": "checkout",
        "slo": "checkout-availability",
        "objective": "checkout-availability",
        "severity": "page",
    }
    assert alert["status"]["state"] == "active"
    assert alert["annotations"]["summary"].startswith("checkout-availability burns its budget 21.4×")
    assert datetime.fromisoformat(alert["startsAt"]).timestamp() == at - 600
    ends = datetime.fromisoformat(alert["endsAt"])
    # a minute later it is said again, and is still the same alert
    assert told.notifier.run_once(at + 61) == Run(due=at + 121)
    (again,) = told.alerts()
    assert again["fingerprint"] == alert["fingerprint"]
    assert (datetime.fromisoformat(again["endsAt"]) - ends).total_seconds() == 61
    told.turn(at, seen(at))
    assert told.notifier.run_once(at).sent == 1
    assert told.alerts() == []
    told.notifier.run_once(at + 181)  # the end is said again
    assert told.alerts() == []


def test_another_severity_is_another_alert_and_the_old_one_ends(told: Told) -> None:
    at = now()
    told.turn(at, seen(at, {TICKET: at - 60}))
    told.notifier.run_once(at)
    told.turn(at, seen(at, {TICKET: at - 60, FAST: at}))
    told.notifier.run_once(at)
    assert [alert["labels"]["severity"] for alert in told.alerts()] == ["page"]
    told.notifier.run_once(at + 61)  # saying it again does not bring the old one back
    assert [alert["labels"]["severity"] for alert in told.alerts()] == ["page"]


def test_a_silence_of_its_own_is_seen_through_its_api(told: Told) -> None:
    at = now()
    told.turn(at, seen(at, {FAST: at}))
    told.notifier.run_once(at)
    silence = told.post(
        "/api/v2/silences",
        {
            "matchers": [{"name": "service", "value": "check.*", "isRegex": True, "isEqual": True}],
            "startsAt": time_text(at),
            "endsAt": time_text(at + 600),
            "createdBy": "mara",
            "comment": "load test",
        },
    )["silenceID"]
    (alert,) = told.alerts(silenced="true")
    assert (alert["status"]["state"], alert["status"]["silencedBy"]) == ("suppressed", [silence])
    assert told.alerts(silenced="false") == []


def test_what_we_silence_it_never_hears_of_until_the_silence_ends(told: Told) -> None:
    at = now()
    silence = told.fronts.add_silence(["service=checkout"], ends_at=at + 600, who="mara", why="load test", now=at)
    told.turn(at, seen(at, {FAST: at}))
    assert told.notifier.run_once(at).sent == 0
    assert told.alerts() == []
    told.fronts.end_silence(silence.id, who="mara", now=at + 1)
    told.turn(at + 1, seen(at + 1, {FAST: at}))
    assert told.notifier.run_once(at + 1).sent == 1
    assert len(told.alerts()) == 1


def test_another_alertmanager_that_is_down_changes_nothing(told: Told, alertmanager: str) -> None:
    gone = "http://127.0.0.1:9"
    told.specs = specs(channel("am", type=ChannelType.ALERTMANAGER, urls=(gone, alertmanager)))
    at = now()
    told.turn(at, seen(at, {FAST: at}))
    assert told.notifier.run_once(at).sent == 1
    assert len(told.alerts()) == 1


def test_a_test_of_the_channel_arrives(told: Told) -> None:
    at = now()
    told.fronts.test_channel("am", who="mara", now=at)
    assert told.notifier.run_once(at).sent == 1
    (alert,) = told.alerts()
    assert alert["labels"] == {"alertname": "TightropeTest", "channel": "am", "severity": "info"}
