"""What goes over the wire to each kind of receiver, held against golden files; notifications/README.md says whence."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from tests.alerting.worlds import FAST, NOON, TICKET, seen
from tests.notify.worlds import RECENT, Receiver, channel, facts, paging, receiver
from tightrope.alerting.grouping import Change, unfold
from tightrope.base.errors import UsageError
from tightrope.notify.channels import Parcel, open_channel
from tightrope.notify.channels.alertmanager import FIRES_FOR_S, Alertmanager
from tightrope.notify.channels.pagerduty import LARGEST, alert_event
from tightrope.notify.channels.posting import json_bytes
from tightrope.notify.channels.slack import ALL, HEADER, SECTION, body_of, fitted
from tightrope.notify.messages import FlowChange, Message, alert_message, flow_message
from tightrope.notify.retries import Answer
from tightrope.specs.model import ChangeKind, ChannelType, Flow, NotificationChannel

GOLDEN = Path(__file__).parent / "notifications"
KEY = "whsec_" + base64.b64encode(b"a key of twenty-four byte").decode()
SECRETS = {"TOKEN": "secret-token-of-the-test", "KEY": KEY}
BASE = "https://tightrope.example"


def environment(name: str) -> str:
    return SECRETS.get(name, "")


def opened() -> Message:
    alert = paging()
    return alert_message(
        alert,
        Change.OPENED,
        severity="page",
        out=alert.out,
        now=NOON + 30,
        facts=facts(now=NOON + 30),
        recent=RECENT,
        base_url=BASE,
    )


def escalated() -> Message:
    ticket, _ = unfold(None, seen(NOON, {TICKET: NOON}))
    alert, _ = unfold(ticket, seen(NOON + 60, {TICKET: NOON, FAST: NOON + 60}))
    assert alert is not None
    return alert_message(
        alert,
        Change.ESCALATED,
        severity="page",
        before="ticket",
        out=alert.out,
        now=NOON + 60,
        facts=facts(now=NOON + 60),
        base_url=BASE,
    )


def resolved() -> Message:
    alert = replace(paging(), resolved_at=NOON + 1200)
    return alert_message(
        alert, Change.RESOLVED, severity="page", out=alert.out, now=NOON + 1230, facts=facts(), base_url=BASE
    )


def flow() -> Message:
    change = FlowChange(
        "checkout",
        NOON,
        "feature",
        "stability",
        Flow.FEATURE,
        Flow.STABILITY,
        "budget left ≤ 0 %",
        replace(facts(remaining=Fraction(-1, 8)).standing, coming="recovered", coming_at=NOON + 20 * 86400),
        frozenset({ChangeKind.RELIABILITY, ChangeKind.ROLLBACK}),
    )
    return flow_message(change, NOON + 30, base_url=BASE)


MESSAGES: dict[str, Callable[[], Message]] = {
    "opened": opened,
    "escalated": escalated,
    "resolved": resolved,
    "flow": flow,
}
CHANNELS: dict[str, dict[str, Any]] = {
    "alertmanager": {"type": ChannelType.ALERTMANAGER},
    "pagerduty": {"type": ChannelType.PAGERDUTY, "token_from": "TOKEN"},
    "slack": {"type": ChannelType.SLACK},
    "webhook": {"type": ChannelType.WEBHOOK, "secret_from": "KEY"},
}


@pytest.fixture
def hook() -> Iterator[Receiver]:
    with receiver() as one:
        yield one


def sent(spec: NotificationChannel, message: Message, *, thread: str = "", now: int = NOON + 30) -> Answer:
    door = open_channel(spec, environment)
    try:
        return door.send(Parcel(f"{message.about}/{spec.name}/1", message, now, thread))
    finally:
        door.close()


@pytest.mark.parametrize("kind", CHANNELS)
@pytest.mark.parametrize("name", MESSAGES)
def test_each_message_goes_out_as_its_golden_file_says(hook: Receiver, kind: str, name: str) -> None:
    answer = sent(channel(kind, urls=(hook.url,), **CHANNELS[kind]), MESSAGES[name]())
    assert answer.sent
    (got,) = hook.got
    golden = json.loads((GOLDEN / f"{kind}-{name}.json").read_text(encoding="utf-8"))
    assert {"path": got.path, "content-type": got.headers["content-type"], "body": got.json} == golden


def test_every_golden_file_is_used() -> None:
    assert {one.stem for one in GOLDEN.glob("*.json")} == {f"{kind}-{name}" for kind in CHANNELS for name in MESSAGES}


# --- Alertmanager --------------------------------------------------------------------------------------------------


def test_what_fires_is_said_again_and_an_end_is_repeated(hook: Receiver) -> None:
    door = open_channel(channel(urls=(hook.url,), type=ChannelType.ALERTMANAGER), environment)
    assert isinstance(door, Alertmanager)
    door.refresh([(opened(), None), (resolved(), NOON + 1200)], NOON + 1260)
    firing, ended = hook.got[0].json
    assert (firing["startsAt"], firing["endsAt"]) == ("2026-03-01T12:00:00Z", "2026-03-01T12:25:00Z")
    assert ended["endsAt"] == "2026-03-01T12:20:00Z"
    assert FIRES_FOR_S == 240
    door.refresh([], NOON)
    assert len(hook.got) == 1
    door.close()


def test_one_alertmanager_of_several_that_takes_it_is_enough(hook: Receiver) -> None:
    urls = ("http://127.0.0.1:9", f"{hook.url}/prefix/")
    spec = channel(urls=urls, type=ChannelType.ALERTMANAGER)
    assert sent(spec, opened()) == Answer(sent=True)
    assert hook.got[0].path == "/prefix/api/v2/alerts"
    hook.will(400, "bad")
    assert sent(spec, opened()).passing  # the other may still come back
    assert not sent(channel(urls=("http://127.0.0.1:9",), type=ChannelType.ALERTMANAGER), opened()).sent


# --- PagerDuty -----------------------------------------------------------------------------------------------------


def test_an_event_of_pagerduty_has_at_most_half_a_megabyte() -> None:
    lines = tuple((f"Line {number}", "x" * 10_000) for number in range(100))
    event = alert_event(replace(opened(), lines=lines), "key")
    assert len(json_bytes(event)) <= LARGEST
    assert "more was left out" in event["payload"]["custom_details"]["cut"]
    assert "Line 0" in event["payload"]["custom_details"]


def test_an_event_of_pagerduty_keeps_to_its_published_schema() -> None:
    event = alert_event(replace(opened(), title="x" * 5_000, about="y" * 400), "key")
    payload = event["payload"]
    assert len(payload["summary"]) == 1024
    assert len(event["dedup_key"]) == 255
    assert event["event_action"] in {"trigger", "acknowledge", "resolve"}
    assert payload["severity"] in {"critical", "warning", "error", "info"}
    assert payload["source"], "a trigger needs a summary, a severity and a source"
    known = {"summary", "timestamp", "severity", "source", "component", "group", "class", "custom_details"}
    assert set(payload) <= known
    assert set(event) <= {
        "payload",
        "routing_key",
        "event_action",
        "dedup_key",
        "client",
        "client_url",
        "links",
        "images",
    }
    assert all(set(link) <= {"href", "text"} and link["href"] for link in event["links"])


def test_a_test_of_pagerduty_is_over_at_once(hook: Receiver) -> None:
    from tightrope.notify.messages import trial_message

    hook.will(202, '{"status":"success"}')
    assert sent(channel(urls=(hook.url,), **CHANNELS["pagerduty"]), trial_message("hook", "mara", NOON)).sent
    assert [got.json["event_action"] for got in hook.got] == ["trigger", "resolve"]


@pytest.mark.parametrize(("status", "passing"), [(400, False), (429, True), (500, True), (408, True), (404, False)])
def test_what_may_pass_is_told_from_what_never_will(hook: Receiver, status: int, passing: bool) -> None:
    hook.will(status, f"no {SECRETS['TOKEN']} here", retry_after="17")
    answer = sent(channel(urls=(hook.url,), **CHANNELS["pagerduty"]), opened())
    assert (answer.sent, answer.passing, answer.retry_after_s) == (False, passing, 17)
    assert SECRETS["TOKEN"] not in answer.said
    assert answer.said == f"127.0.0.1 answers {status}: no … here"


def test_a_receiver_that_points_elsewhere_is_not_followed(hook: Receiver) -> None:
    hook.will(302, location="http://127.0.0.1:9/elsewhere")
    answer = sent(channel(urls=(f"{hook.url}/secret-path",), **CHANNELS["webhook"]), opened())
    assert (answer.sent, answer.passing) == (False, False)
    assert "secret-path" not in answer.said


# --- Slack ---------------------------------------------------------------------------------------------------------


def test_slack_gets_no_more_than_it_takes() -> None:
    lines = tuple((f"Line {number}", "<&>" * 2000) for number in range(100))
    body = body_of(replace(opened(), title="<" * 400, lines=lines))
    blocks = body["blocks"]
    assert len(blocks) <= 50
    assert len(blocks[0]["text"]["text"]) <= HEADER
    texts = [block["text"]["text"] for block in blocks if block["type"] == "section"]
    assert all(0 < len(text) <= SECTION for text in texts)
    assert sum(map(len, texts)) <= ALL
    assert "<" not in "".join(texts)


@pytest.mark.parametrize(("status", "passing"), [(429, True), (503, True), (403, False), (410, False)])
def test_a_webhook_of_slack_that_is_asked_too_often_is_given_time(hook: Receiver, status: int, passing: bool) -> None:
    hook.will(status, "no", retry_after="30")
    answer = sent(channel(urls=(f"{hook.url}/services/T0/B0/geheim",), type=ChannelType.SLACK), opened())
    assert (answer.sent, answer.passing, answer.retry_after_s) == (False, passing, 30)
    assert "geheim" not in answer.said


def test_a_cut_never_goes_through_an_escape() -> None:
    assert fitted("a&b", 5) == "a…"
    assert fitted("a&b", 7) == "a&amp;b"


def test_by_token_an_alert_is_one_message_with_a_thread(hook: Receiver) -> None:
    spec = channel(urls=(hook.url,), type=ChannelType.SLACK, token_from="TOKEN", room="#alerts")
    hook.will(200, '{"ok":true,"channel":"C123","ts":"17.5"}')
    first = sent(spec, opened())
    assert (first.sent, first.reference) == (True, "C123 17.5")
    for _ in range(2):
        hook.will(200, '{"ok":true,"channel":"C123","ts":"18.5"}')
    assert sent(spec, resolved(), thread=first.reference).reference == "C123 17.5"
    paths = [got.path for got in hook.got]
    assert paths == ["/api/chat.postMessage", "/api/chat.postMessage", "/api/chat.update"]
    assert hook.got[0].json["channel"] == "#alerts"
    assert (hook.got[1].json["channel"], hook.got[1].json["thread_ts"]) == ("C123", "17.5")
    assert (hook.got[2].json["ts"], hook.got[2].json["text"][:10]) == ("17.5", "[resolved]")
    assert {got.headers["authorization"] for got in hook.got} == {f"Bearer {SECRETS['TOKEN']}"}


@pytest.mark.parametrize(
    ("text", "passing", "said"),
    [
        ('{"ok":false,"error":"ratelimited"}', True, "Slack says ratelimited"),
        ('{"ok":false,"error":"channel_not_found"}', False, "Slack says channel_not_found"),
        ("<html>", False, "127.0.0.1 answers what is no answer of Slack"),
    ],
)
def test_slack_refuses_with_200(hook: Receiver, text: str, passing: bool, said: str) -> None:
    spec = channel(urls=(hook.url,), type=ChannelType.SLACK, token_from="TOKEN", room="#alerts")
    hook.will(200, text)
    assert sent(spec, opened()) == Answer(sent=False, passing=passing, said=said)


def test_a_thread_whose_first_message_is_gone_begins_anew(hook: Receiver) -> None:
    spec = channel(urls=(hook.url,), type=ChannelType.SLACK, token_from="TOKEN", room="#alerts")
    hook.will(200, '{"ok":false,"error":"thread_not_found"}')
    hook.will(200, '{"ok":true,"channel":"C123","ts":"19.5"}')
    assert sent(spec, resolved(), thread="C123 17.5").reference == "C123 19.5"


# --- webhook -------------------------------------------------------------------------------------------------------


def test_a_webhook_is_signed_as_standard_webhooks_says(hook: Receiver) -> None:
    assert sent(channel("hook", urls=(hook.url,), **CHANNELS["webhook"]), opened()).sent
    (got,) = hook.got
    name, moment = got.headers["webhook-id"], got.headers["webhook-timestamp"]
    key = base64.b64decode(KEY.removeprefix("whsec_"))
    expected = hmac.new(key, f"{name}.{moment}.".encode() + got.body, hashlib.sha256).digest()
    assert got.headers["webhook-signature"] == f"v1,{base64.b64encode(expected).decode()}"
    assert (name, moment) == (got.json["id"], str(NOON + 30))


def test_the_signature_is_that_of_the_published_example() -> None:
    from tightrope.notify.channels.webhook import signature

    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    found = signature(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert found["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_without_a_key_a_webhook_is_not_signed(hook: Receiver) -> None:
    assert sent(channel(urls=(hook.url,)), opened()).sent
    assert "webhook-signature" not in hook.got[0].headers
    assert hook.got[0].headers["webhook-id"] == f"{paging().id}/hook/1"


def test_a_key_that_is_none_is_refused_without_showing_it() -> None:
    spec = channel(secret_from="TOKEN", urls=("http://127.0.0.1:9",))
    with pytest.raises(UsageError, match="holds no key of a webhook") as told:
        open_channel(spec, environment)
    assert SECRETS["TOKEN"] not in told.value.message + told.value.remedy
