"""PromQL's vector selectors: what they select, and what is none."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tightrope.base.errors import UsageError
from tightrope.telemetry.selectors import Selectors, compiled_pattern, parse_selector

SHOP = {"__name__": "requests_total", "job": "shop", "code": "503", "path": "/a/b"}


@pytest.mark.parametrize(
    "text",
    [
        "requests_total",
        "requests_total{}",
        'requests_total{job="shop"}',
        "requests_total{job='shop'}",
        "requests_total{job=`shop`}",
        ' requests_total { job = "shop" , code != "200" , } ',
        '{__name__="requests_total"}',
        '{"requests_total"}',
        '{"requests_total", "job"="shop"}',
        '{__name__=~"requests_.*",code=~"5.."}',
        'requests_total{code=~"5..|4.."}',
        'requests_total{path=~"/a/.*"}',
        'requests_total{code!~"2.."}',
        'requests_total{absent=""}',
        'requests_total{absent!="x"}',
        'requests_total{absent=~".*"}',
        'requests_total{absent!~".+"}',
        'requests_total{job="s\\x68op"}',
        'requests_total{job="\\u0073hop"}',
        'requests_total{job=~"(?i)SHOP"}',
        'requests_total{job=~"(?i:SH)op"}',
        'requests_total{code=~"[[:digit:]]{3}"}',
        'requests_total{job="shop"} # what we sell',
    ],
)
def test_a_selector_selects(text: str) -> None:
    assert parse_selector(text).matches(SHOP)


@pytest.mark.parametrize(
    "text",
    [
        "requests",
        'requests_total{job="Shop"}',
        'requests_total{code=~"5"}',  # a pattern is matched against the whole value
        'requests_total{code=~"50"}',
        'requests_total{code!~"5.."}',
        'requests_total{absent!=""}',
        'requests_total{absent=~".+"}',
        'requests_total{absent="x"}',
        'requests_total{absent!~".*"}',
        'requests_total{job="shop",job!="shop"}',
        'requests_total{path=~"/a"}',
    ],
)
def test_a_selector_does_not_select(text: str) -> None:
    assert not parse_selector(text).matches(SHOP)


@pytest.mark.parametrize(
    ("text", "column", "why"),
    [
        ("", 1, "a selector begins with the name of a metric"),
        ("5xx", 1, "a selector begins with the name of a metric"),
        ("{}", 1, "it selects everything"),
        ('{code!~"5.."}', 1, "it selects everything"),
        ('{code=~".*"}', 1, "it selects everything"),
        ("x{", 3, 'it ends without "}"'),
        ('x{a="b"', 8, 'it ends without "}"'),
        ('x{a="b" c="d"}', 9, '"," or "}" is missing'),
        ("x{a}", 4, "one of = != =~ !~ must follow"),
        ("x{a=b}", 5, "must stand in quotes"),
        ('x{a="b}', 5, "a quote is opened and not closed"),
        (r'x{a="\d"}', 6, r"\d is no escape"),
        ('x{__name__="y"}', 3, "the name of the metric is set twice"),
        ('x{a=~"("}', 6, "is no regular expression"),
        ('x{a=~"(?=b)c"}', 6, "no look-around"),
        (r'x{a=~"(b)\\1"}', 6, "unknown to RE2"),
        ("x[5m]", 2, "without a range or function"),
        ("rate(x[5m])", 5, "without a range or function"),
        ("x offset 5m", 3, "without offset"),
        ("x + y", 3, "nothing may follow"),
        ("x{=1}", 3, "the name of a label must stand here"),
    ],
)
def test_what_is_no_selector_is_refused_with_its_column(text: str, column: int, why: str) -> None:
    with pytest.raises(UsageError, match=re.escape(f"column {column}: ") + ".*" + re.escape(why)):
        parse_selector(text)


@pytest.mark.parametrize(
    ("pattern", "value", "whole"),
    [
        ("a|b", "a", True),
        ("a|b", "ab", False),
        ("^a$", "a", True),
        ("a$", "a\n", False),  # not Python's meaning of $
        (".*", "a\nb", True),  # the dot matches every character, as in Prometheus
        (r"\d+", "१", False),  # ASCII digits only
        (r"\Qa.b\E+", "a.bb", True),
        (r"\Qa.b+\E", "a.b+", True),
        (r"\x41\x{1F600}", "A😀", True),
        (r"a\z", "a", True),
        ("[]a]+", "]a", True),
        ("[^]]", "]", False),
        ("[[:alpha:]_]+", "ab_", True),
        ("[a&&b]+", "&", True),
        ("a{2}", "aa", True),
        ("a{,2}", "a{,2}", True),
        ("(?P<n>a)(?<m>b)", "ab", True),
        ("(?:ab)*", "abab", True),
        ("a*?", "aa", True),
        ("", "", True),
    ],
)
def test_patterns_mean_what_they_mean_to_prometheus(pattern: str, value: str, whole: bool) -> None:
    assert (compiled_pattern(pattern).fullmatch(value) is not None) is whole


@pytest.mark.parametrize(
    "pattern", ["a**", "a++", "a*+", "(?>a)", r"\1", r"\pL", "(?#x)", "[b", "(?x)a", "a(?i)b", "*"]
)
def test_patterns_that_would_mean_something_else_are_refused(pattern: str) -> None:
    with pytest.raises(UsageError, match=re.escape(repr(pattern))):
        compiled_pattern(pattern)


def test_the_bound_of_a_bucket_is_a_number() -> None:
    bucket = {"__name__": "latency_bucket", "le": "0.30"}
    assert parse_selector('latency_bucket{le="0.3"}').matches(bucket)
    assert not parse_selector('latency_bucket{le!="3e-1"}').matches(bucket)
    assert parse_selector('latency_bucket{le="+Inf"}').matches({**bucket, "le": "+Inf"})
    index: Selectors[str] = Selectors()
    index.add(parse_selector('latency_bucket{le="0.3"}'), "fast")
    assert index.find(bucket) == ["fast"]


_LABELS = st.dictionaries(st.sampled_from(["__name__", "a", "b"]), st.sampled_from(["", "x", "y", "xy"]), max_size=3)
_SELECTORS = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "__name__"]),
        st.sampled_from(["=", "!=", "=~", "!~"]),
        st.sampled_from(["", "x", "x.*"]),
    ),
    min_size=1,
    max_size=3,
)


@given(st.lists(_SELECTORS, max_size=5), _LABELS)
def test_the_index_finds_what_trying_every_selector_finds(
    written: list[list[tuple[str, str, str]]], labels: dict[str, str]
) -> None:
    index: Selectors[int] = Selectors()
    expected = []
    for number, matchers in enumerate(written):
        text = "{" + ",".join(f'{label}{op}"{value}"' for label, op, value in matchers) + "}"
        try:
            selector = parse_selector(text)
        except UsageError:
            continue  # it selects everything, or sets the name twice
        index.add(selector, number)
        if selector.matches(labels):
            expected.append(number)
    assert sorted(index.find(labels)) == expected


@given(_SELECTORS)
def test_a_selector_written_in_its_one_form_means_the_same(matchers: list[tuple[str, str, str]]) -> None:
    text = "{" + ",".join(f'{label}{op}"{value}"' for label, op, value in matchers) + "}"
    try:
        selector = parse_selector(text)
    except UsageError:
        return
    assert set(parse_selector(str(selector)).matchers) == set(selector.matchers)
