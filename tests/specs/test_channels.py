"""Channels of notifications: what they mean, what is refused, and how alert policies find them."""

from __future__ import annotations

import pytest

from tests.specs.samples import ALERT_POLICY, CHANNEL, CONDITION, NOTIFICATION, SLO, SOURCE, found, only, read, swapped
from tightrope.specs.model import ChannelType, NotificationChannel, Topic

NAMED = swapped(swapped(CHANNEL, "  services: [checkout]\n", ""), "name: on-call", "name: oncall")
FOLLOWS = SLO + "  alertPolicies: [{alertPolicyRef: burning}]\n"
WORLD = (SOURCE, CONDITION, ALERT_POLICY, FOLLOWS)


def channel_of(spec: str) -> NotificationChannel:
    head = CHANNEL.partition("spec:\n")[0]
    (channel,) = read(f"{head}spec: {spec}\n").channels
    return channel


def test_a_channel_may_say_everything() -> None:
    (channel,) = read(CHANNEL, SLO, SOURCE).channels
    assert (channel.name, channel.type, channel.url_from) == ("on-call", ChannelType.SLACK, "SLACK_URL")
    assert (channel.severities, channel.services) == (frozenset({"page", "ticket"}), frozenset({"checkout"}))
    assert (channel.default, channel.repeat_s, channel.send_resolved) == (True, 7200, False)
    assert channel.what == {Topic.ALERTS, Topic.FLOW}


@pytest.mark.parametrize(
    ("spec", "repeat_s", "what"),
    [
        ('{type: webhook, url: "http://h/x"}', 4 * 3600, {Topic.ALERTS}),
        ('{type: webhook, url: "http://h/x", default: true}', 4 * 3600, {Topic.ALERTS, Topic.FLOW}),
        ("{type: pagerduty, tokenFrom: {env: KEY}, default: true}", 0, {Topic.ALERTS}),
        ('{type: alertmanager, url: ["http://a:9093", "http://b:9093"], default: true}', 0, {Topic.ALERTS}),
        ('{type: email, url: "smtp://mail", from: a@b.c, to: [d@e.f, g@h.i], repeatInterval: 0m}', 0, {Topic.ALERTS}),
        ("{type: slack, tokenFrom: {env: BOT}, channel: C1}", 4 * 3600, {Topic.ALERTS}),
    ],
)
def test_a_silent_channel_reminds_and_hears_as_its_type_does(spec: str, repeat_s: int, what: set[Topic]) -> None:
    channel = channel_of(spec)
    assert (channel.repeat_s, set(channel.what), channel.send_resolved) == (repeat_s, what, True)


def test_addresses_and_recipients_may_be_one_or_several() -> None:
    assert channel_of('{type: alertmanager, url: ["http://a", "http://b"]}').urls == ("http://a", "http://b")
    assert channel_of('{type: email, url: "smtp://m", from: a@b.c, to: d@e.f}').recipients == ("d@e.f",)


@pytest.mark.parametrize(
    ("spec", "code", "says"),
    [
        ("{type: teams}", "TR016", "teams"),
        ("{type: slack}", "TR013", "url"),
        ("{type: slack, tokenFrom: {env: BOT}}", "TR013", "channel"),
        ("{type: pagerduty}", "TR013", "tokenFrom"),
        ('{type: email, url: "smtp://m", from: a@b.c}', "TR013", "to"),
        ('{type: pagerduty, tokenFrom: {env: K}, channel: "#x"}', "TR021", "channel has no place"),
        ('{type: webhook, url: "http://a", urlFrom: {env: A}}', "TR018", "exclude each other"),
        ('{type: webhook, url: ["http://a", "http://b"]}', "TR019", "only Alertmanagers"),
        ("{type: webhook, url: hook}", "TR015", "no address"),
        ('{type: email, url: "http://m", from: a@b.c, to: d@e.f}', "TR015", "no address"),
        ('{type: email, url: "smtp://m", from: a@b.c, to: [d@e.f, nobody]}', "TR015", "'nobody' is no mail address"),
        ("{type: slack, urlFrom: {env: SLACK-URL}}", "TR015", "SLACK-URL"),
        ('{type: webhook, url: "http://a", passwordFrom: {env: P}}', "TR018", "user"),
        ('{type: webhook, url: "http://a", what: [alert]}', "TR016", "alert"),
        ('{type: webhook, url: "http://a", urls: b}', "TR011", "urls"),
        ('{type: webhook, url: "https://user:word@a/b"}', "TR046", "secret"),
        ('{type: slack, url: "https://hooks.slack.com/services/T0/B0/x"}', "TR046", "secret"),
    ],
)
def test_a_channel_that_cannot_work_is_a_finding(spec: str, code: str, says: str) -> None:
    head = CHANNEL.partition("spec:\n")[0]
    finding = only(f"{head}spec: {spec}\n")
    assert finding.code == code
    assert says in finding.message


def test_no_finding_repeats_a_secret() -> None:
    head = CHANNEL.partition("spec:\n")[0]
    finding = only(f'{head}spec: {{type: webhook, url: "https://user:word@a/b"}}\n')
    assert "word" not in finding.message + finding.remedy + finding.note


@pytest.mark.parametrize(
    ("target", "channel", "named"),
    [
        (swapped(NOTIFICATION, "target: pagerduty", "target: oncall"), NAMED, "oncall"),
        (NOTIFICATION, swapped(NAMED, "name: oncall", "name: on-call"), "on-call"),
        (NOTIFICATION, NAMED, "pagerduty"),
    ],
)
def test_a_target_names_a_channel_by_what_it_says_or_is_called(target: str, channel: str, named: str) -> None:
    (slo,) = read(*WORLD, target, channel).slos
    assert slo.alert_policies[0].notification_targets == (named,)


def test_a_target_that_leads_to_no_channel_is_a_warning_that_names_the_nearest() -> None:
    target = swapped(NOTIFICATION, "target: pagerduty", "target: oncal")
    (finding,) = [one for one in found(*WORLD, target, NAMED) if one.code == "TR045"]
    assert (finding.severity, finding.note) == ("warning", "did you mean oncall?")
    assert "oncal" in finding.message


def test_where_there_is_no_channel_at_all_nothing_is_said() -> None:
    assert [one.code for one in found(*WORLD, NOTIFICATION)] == []


def test_a_policy_may_refer_to_a_channel_directly() -> None:
    policy = swapped(ALERT_POLICY, "targetRef: on-call", "targetRef: oncall")
    (slo,) = read(SOURCE, CONDITION, policy, FOLLOWS, NAMED).slos
    assert slo.alert_policies[0].notification_targets == ("oncall",)


def test_a_channel_for_a_service_that_nobody_knows_is_a_warning() -> None:
    (finding,) = found(swapped(CHANNEL, "[checkout]", "[chekout]"), SLO, SOURCE)
    assert (finding.code, finding.severity) == ("TR039", "warning")


def test_what_a_policy_does_not_say_is_left_open() -> None:
    def flags(policy: str) -> tuple[bool | None, ...]:
        (slo,) = read(SOURCE, CONDITION, policy, FOLLOWS, NOTIFICATION).slos
        one = slo.alert_policies[0]
        return one.alert_when_breaching, one.alert_when_no_data, one.alert_when_resolved

    assert flags(ALERT_POLICY) == (None, None, None)
    said = "  alertWhenBreaching: false\n  alertWhenNoData: true\n  alertWhenResolved: false\n"
    assert flags(ALERT_POLICY + said) == (False, True, False)
