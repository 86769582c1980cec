"""Metrics, read back by Prometheus' own parsers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as text_format

from tests.api.world import World
from tightrope.api.metrics import number_text, written
from tightrope.loop.gauges import Family

_READ: dict[bool, Callable[[str], Iterable[Metric]]] = {False: text_format, True: open_metrics}


@pytest.mark.parametrize("wants_open", [False, True])
def test_prometheus_reads_what_is_exported(world: World, wants_open: bool) -> None:
    world.get("/healthz")
    accept = {"Accept": "application/openmetrics-text; version=1.0.0" if wants_open else "text/plain"}
    answer = world.get("/metrics", headers=accept)
    assert answer.headers["content-type"].startswith("application/openmetrics-text" if wants_open else "text/plain")
    families = {one.name: one for one in _READ[wants_open](answer.text)}
    left = {one.labels["service"]: one.value for one in families["tightrope_budget_remaining_ratio"].samples}
    assert left["checkout"] == 1
    assert left["basket"] < 0
    requests = families["tightrope_http_requests"]
    assert requests.type == "counter"
    assert ("/healthz", "200") in {(one.labels["route"], one.labels["status"]) for one in requests.samples}
    assert families["tightrope_gate_requests"].samples[0].name == "tightrope_gate_requests_total"


@pytest.mark.parametrize("wants_open", [False, True])
@given(value=st.text(alphabet=st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from('\n"\\'), max_size=20))
def test_any_label_comes_back_as_it_was(wants_open: bool, value: str) -> None:
    text = written([Family("a", 'say "what"\\\n', "gauge", (({"x": value}, 1.5),))], open_metrics=wants_open)
    (family,) = _READ[wants_open](text)
    assert [(one.labels, one.value) for one in family.samples] == [({"x": value}, 1.5)]


def test_values_are_written_as_prometheus_writes_them() -> None:
    values: list[int | float | Fraction] = [0, 1, True, 0.5, 1e300, float("inf"), float("-inf"), float("nan")]
    values += [Fraction(1, 4), 12.0, -0.25]
    expected = ["0", "1", "1", "0.5", "1e+300", "+Inf", "-Inf", "NaN", "0.25", "12", "-0.25"]
    assert [number_text(one) for one in values] == expected
