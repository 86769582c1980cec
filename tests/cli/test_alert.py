"""What the commands on alerts promise: what fires, who was told, silences with a reason, channels that are tried."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.alerting.worlds import FAST, NOON, seen
from tests.cli.world import answer, error_of, run
from tests.notify.worlds import Receiver, channel, facts, receiver, specs
from tightrope.base.errors import ConflictError, NotFoundError, UsageError
from tightrope.notify.usecases import Alerting
from tightrope.state.database import opened

CHANNEL = """
apiVersion: tightrope.dev/v1
kind: NotificationChannel
metadata: {{name: hook}}
spec: {{type: webhook, url: {url}, default: true}}
---
apiVersion: tightrope.dev/v1
kind: NotificationChannel
metadata: {{name: pager}}
spec: {{type: pagerduty, tokenFrom: {{env: TIGHTROPE_TEST_ABSENT}}, severities: [page]}}
"""


@pytest.fixture
def hook() -> Iterator[Receiver]:
    with receiver() as one:
        yield one


@pytest.fixture
def store(tmp_path: Path) -> str:
    """A store with an alert that fires and one that ended."""
    where = str(tmp_path / "store")
    alerting = Alerting(facts=lambda _: facts())
    with opened(where, create=True) as database:
        for look in (seen(NOON, {FAST: NOON}), seen(NOON + 60), seen(NOON + 7200, {FAST: NOON + 7200})):
            with database.writing() as connection:
                alerting.turn_in(connection, [look], specs(channel()), look.at)
    return where


def write_channels(folder: Path, url: str) -> Path:
    path = folder / "channels.yaml"
    path.write_text(CHANNEL.format(url=url), encoding="utf-8")
    return path


def test_alerts_that_fire_are_listed_and_with_all_those_that_ended(store: str) -> None:
    (firing,) = answer("alert", "list", "--data", store)
    assert (firing["state"], firing["severity"], firing["service"]) == ("firing", "page", "checkout")
    assert firing["conditions"] == [{"name": "page-1h", "severity": "page", "since": "2026-03-01T14:00:00Z"}]
    assert [one["state"] for one in answer("alert", "list", "--all", "--data", store)] == ["firing", "resolved"]
    assert "fires" in run("alert", "list", "--data", store).stdout
    assert run("alert", "list", "--service", "search", "--data", store).stdout == "no alert of search fires\n"


def test_one_alert_is_shown_with_its_history_and_who_was_told(store: str) -> None:
    ended = answer("alert", "list", "--all", "--data", store)[1]
    account = answer("alert", "show", ended["id"], "--data", store)
    assert [step["change"] for step in account["history"]] == ["opened", "resolved"]
    assert [message["change"] for message in account["messages"]] == ["resolved", "opened"]
    shown = run("alert", "show", ended["id"], "--data", store).stdout
    assert "2026-03-01T12:00:00Z  opened     page" in shown
    assert isinstance(error_of(run("alert", "show", "A-NONE", "--data", store)), NotFoundError)


def test_a_silence_is_made_listed_and_ended(store: str) -> None:
    asked = ("alert", "silence", "service=checkout", "severity=~page|ticket", "--data", store)
    made = answer(*asked, "--for", "2h", "--why", "load test", "--who", "mara")
    assert made["matchers"] == ['service="checkout"', 'severity=~"page|ticket"']
    (listed,) = answer("alert", "list", "--silences", "--data", store)
    assert listed == made
    over = answer("alert", "unsilence", made["id"], "--who", "jo", "--data", store)
    assert over["endedBy"] == "jo"
    assert answer("alert", "list", "--silences", "--data", store) == []
    assert len(answer("alert", "list", "--silences", "--all", "--data", store)) == 1
    assert isinstance(error_of(run("alert", "unsilence", made["id"], "--data", store)), ConflictError)


@pytest.mark.parametrize("given", [("servcie=checkout", "--for", "1h"), ("service=checkout", "--for", "soon")])
def test_a_silence_that_cannot_be_is_refused(store: str, given: tuple[str, ...]) -> None:
    assert isinstance(error_of(run("alert", "silence", *given, "--why", "x", "--data", store)), UsageError)


@pytest.mark.parametrize("given", [(), ("--for", "1h", "--until", "2100-01-01")])
def test_a_silence_has_one_end(store: str, given: tuple[str, ...]) -> None:
    result = run("alert", "silence", "service=checkout", *given, "--why", "x", "--data", store)
    assert result.exit_code == 2
    assert "either --for or --until" in result.stderr


def test_a_channel_is_tested_for_real(store: str, hook: Receiver, tmp_path: Path) -> None:
    path = write_channels(tmp_path, hook.url)
    result = run("alert", "test", "hook", "-f", path, "--data", store)
    assert result.exit_code == 0
    assert "This is a test of the channel hook" in result.stdout
    assert hook.got[-1].json["data"]["kind"] == "test"
    assert run("alert", "test", "pager", "-f", path, "--data", store).exit_code == 3


def test_channels_tell_what_is_wrong_with_them_but_no_address(store: str, tmp_path: Path) -> None:
    path = write_channels(tmp_path, "http://127.0.0.1:9/hidden-path")
    result = run("alert", "channels", "-f", path, "--data", store)
    assert result.exit_code == 3
    assert "the environment variable TIGHTROPE_TEST_ABSENT is not set" in result.stdout
    assert "hidden-path" not in result.stdout
    listed = run("alert", "channels", "-f", path, "--data", store, "-o", "json")
    assert '"waiting": 3' in listed.stdout
    assert "hidden-path" not in listed.stdout


def test_the_outbox_shows_what_waits_and_sends_again_what_was_refused(store: str) -> None:
    waiting = answer("alert", "outbox", "--state", "waiting", "--data", store)
    assert [one["change"] for one in waiting] == ["opened", "resolved", "opened"]
    (again,) = answer("alert", "outbox", "--retry", waiting[0]["id"], "--data", store)
    assert (again["id"], again["state"]) == (waiting[0]["id"], "waiting")
    assert "waiting" in run("alert", "outbox", "--data", store).stdout
    assert run("alert", "outbox", "--state", "dead", "--data", store).stdout == "the outbox is empty\n"
