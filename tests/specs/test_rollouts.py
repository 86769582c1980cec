"""Rollout strategies: what they mean, and what is refused where it stands."""

from __future__ import annotations

from fractions import Fraction

import pytest

from tests.specs.samples import SLO, SOURCE, STRATEGY, found, only, read, swapped
from tightrope.specs.model import Arms, ArmsFrom, RolloutHow, RolloutStrategy, TargetType, WhenOver

HEAD = """\
apiVersion: tightrope.dev/v1
kind: RolloutStrategy
metadata: {name: checkout}
spec:
  service: checkout
"""
SHELL = "  target: {shell: {setWeight: ./set, observe: ./see}}\n"
ARMS = "  analysis: {arms: {field: version, canary: $version, baseline: $previous}}\n"


def strategy(spec: str) -> RolloutStrategy:
    (one,) = read(HEAD + spec, SLO, SOURCE).rollouts
    return one


def test_a_strategy_may_say_everything() -> None:
    (one,) = read(STRATEGY, SLO, SOURCE).rollouts
    assert (one.name, one.service, one.environment) == ("checkout-canary", "checkout", "staging")
    assert one.steps == ((Fraction(1, 20), 600), (Fraction(1, 2), 1800))
    assert (one.allowance, one.beyond) == (Fraction(1, 50), True)
    assert (one.measure_s, one.evaluate_s, one.act_s) == (20, 5, 10)
    assert (one.longest_bake_s, one.longest_s, one.when_over) == (7200, 14_400, WhenOver.ROLLBACK)
    assert (one.lost_after_s, one.when_lost) == (120, WhenOver.HOLD)
    assert (one.alpha, one.cluster_guard) == (Fraction(1, 100), Fraction(3, 2))
    assert (one.least_requests, one.least_s, one.slos) == (500, 120, ("checkout-availability",))
    assert one.arms == Arms(ArmsFrom.LOG, "upstream_addr")
    assert one.target is TargetType.NGINX
    assert one.settings["slots"] == {"blue": "127.0.0.1:9001", "green": "127.0.0.1:9002"}


def test_what_is_not_said_is_planned_and_careful() -> None:
    one = strategy(ARMS + SHELL)
    assert (one.how, one.steps, one.allowance) == (RolloutHow.CANARY, (), Fraction(1, 100))
    assert (one.beyond, one.measure_s, one.cluster_guard) == (False, None, None)
    assert (one.when_over, one.when_lost) == (WhenOver.HOLD, WhenOver.ROLLBACK)
    assert one.environment == "production"
    assert strategy("  steps: planned\n" + ARMS + SHELL).steps == ()


def test_latencies_are_compared_where_that_is_said() -> None:
    assert strategy(ARMS + SHELL).latency_ms == ()
    assert strategy(ARMS.replace("{arms", "{latency: false, arms") + SHELL).latency_ms == ()
    assert strategy(ARMS.replace("{arms", "{latency: [50ms, 200ms], arms") + SHELL).latency_ms == (50, 200)
    assert len(strategy(ARMS.replace("{arms", "{latency: true, arms") + SHELL).latency_ms) > 5


QUERIES = (
    "  analysis: {{{latency}arms: {{queries: [{{slo: checkout-availability, good: 'a{{v=\"$arm\"}}', "
    "total: 'b{{v=\"$arm\"}}', latency: '{query}'}}], canary: a, baseline: b}}}}\n"
)
BUCKETS = 'c_bucket{v=~"$arm",le=~"$le"}'


def test_latencies_may_come_from_the_buckets_of_a_histogram() -> None:
    one = strategy(QUERIES.format(latency="latency: [50ms, 2500ms], ", query=BUCKETS) + SHELL)
    assert one.latency_ms == (50, 2500)
    assert one.arms.queries[0].latency == BUCKETS
    usual = strategy(QUERIES.format(latency="latency: true, ", query=BUCKETS) + SHELL).latency_ms
    assert {5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000} == set(usual)


def test_versions_are_told_apart_in_four_ways_or_not_at_all() -> None:
    query = "{slo: checkout-availability, good: 'a{v=\"$arm\"}', total: 'b{v=\"$arm\"}', counter: true}"
    arms = strategy(f"  analysis: {{arms: {{queries: [{query}], canary: v2, baseline: [v1, v0]}}}}\n{SHELL}").arms
    assert (arms.come_from, arms.canary, arms.baseline) == (ArmsFrom.QUERIES, ("v2",), ("v1", "v0"))
    assert arms.queries[0].counter
    pair = "{slo: checkout-availability, canary: checkout-availability, baseline: checkout-availability}"
    assert strategy(f"  analysis: {{arms: {{slos: [{pair}]}}}}\n{SHELL}").arms.come_from is ArmsFrom.SLOS
    assert strategy(f"  analysis: {{arms: {{push: true}}}}\n{SHELL}").arms.come_from is ArmsFrom.PUSH
    assert strategy(f"  strategy: blueGreen\n{SHELL}").arms.come_from is ArmsFrom.SERVICE


@pytest.mark.parametrize(
    ("spec", "code", "says"),
    [
        (ARMS, "TR013", "target is missing"),
        (SHELL, "TR013", "analysis.arms is missing"),
        (ARMS + "  target: {shell: {setWeight: ./set}}\n", "TR013", "observe is missing"),
        (ARMS + "  target: {}\n", "TR018", "needs one of"),
        (ARMS + SHELL.replace("}}", "}, http: {url: 'http://x'}}"), "TR018", "exclude each other"),
        (ARMS + "  target: {http: {url: elsewhere}}\n", "TR015", "no address"),
        ("  analysis: {arms: {field: version}}\n" + SHELL, "TR018", "whose"),
        ("  steps: [{weight: 50%, bake: 1m}, {weight: 5%, bake: 1m}]\n" + ARMS + SHELL, "TR018", "does not rise"),
        ("  steps: [{weight: 0.00001, bake: 1m}]\n" + ARMS + SHELL, "TR012", "finer than"),
        ("  steps: [{weight: 120%, bake: 1m}]\n" + ARMS + SHELL, "TR012", "120 %"),
        ("  analysis: {latency: true, arms: {push: true}}\n" + SHELL, "TR021", "access log"),
        (QUERIES.format(latency="", query=BUCKETS) + SHELL, "TR021", "are not compared"),
        (QUERIES.format(latency="latency: true, ", query='c{v="$arm"}') + SHELL, "TR018", "no $le"),
        (QUERIES.format(latency="latency: true, ", query='c{le="$le"}') + SHELL, "TR018", "no $arm"),
        (ARMS.replace("{arms", "{latency: [50ms, 20ms], arms") + SHELL, "TR018", "do not rise"),
        (ARMS.replace("{arms", "{latency: [50], arms") + SHELL, "TR014", "text"),
        (ARMS.replace("{arms", "{latency: [5s], arms") + SHELL, "TR015", "bound of a bucket"),
        ("  steps: soon\n" + ARMS + SHELL, "TR016", "not one of planned"),
        ("  strategy: blueGreen\n  steps: [{weight: 5%, bake: 1m}]\n" + SHELL, "TR021", "one step"),
        ("  strategy: green\n" + ARMS + SHELL, "TR016", "green"),
        ("  allowance: 0%\n" + ARMS + SHELL, "TR012", "0 %"),
        ("  lostContact: {then: promote}\n" + ARMS + SHELL, "TR016", "promote"),
        ("  afterLongest: rollback\n" + ARMS + SHELL, "TR018", "needs longest"),
        ("  weights: planned\n" + ARMS + SHELL, "TR011", "unknown field 'weights'"),
        ("  analysis: {slos: [checkout-availabilty], arms: {push: true}}\n" + SHELL, "TR026", "checkout-availabilty"),
        (
            "  analysis: {arms: {queries: [{slo: checkout-availability, good: a, total: 'b{v=\"$arm\"}'}], "
            "canary: a, baseline: b}}\n" + SHELL,
            "TR018",
            "no $arm",
        ),
        (
            "  strategy: blueGreen\n  target: {kubernetes: {stable: a, canary: b, replicas: 4}}\n",
            "TR013",
            "service is missing",
        ),
    ],
)
def test_what_is_wrong_is_told(spec: str, code: str, says: str) -> None:
    finding = only(HEAD + spec, SLO, SOURCE)
    assert finding.code == code
    assert says in finding.message
    assert finding.remedy


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ('slots: {blue: "127.0.0.1:9001", green: "127.0.0.1:9002"}', 'slots: {blue: "127.0.0.1:9001"}', "TR019"),
        ('green: "127.0.0.1:9002"', 'green: "127.0.0.1:9001"', "TR015"),
        ('green: "127.0.0.1:9002"', "green: nowhere", "TR015"),
        ('blue: "127.0.0.1:9001"', 'bl-ue: "127.0.0.1:9001"', "TR015"),
        ("probe: http://127.0.0.1:8080/tightrope", "probe: 127.0.0.1", "TR015"),
        ("mode: split", "mode: hash", "TR016"),
    ],
)
def test_an_nginx_that_cannot_be_is_told(old: str, new: str, code: str) -> None:
    assert code in {one.code for one in found(swapped(STRATEGY, old, new), SLO, SOURCE)}


def test_a_service_is_released_in_one_way_in_an_environment() -> None:
    again = swapped(STRATEGY, "name: checkout-canary", "name: another")
    finding = only(STRATEGY, again, SLO, SOURCE)
    assert (finding.code, "both release checkout" in finding.message) == ("TR027", True)
    elsewhere = swapped(again, "environment: staging", "environment: production")
    assert len(read(STRATEGY, elsewhere, SLO, SOURCE).rollouts) == 2
