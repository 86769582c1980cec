"""Matchers fit as Alertmanager's do, and a silence says who, why and until when."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.alerting.worlds import NOON
from tightrope.alerting.silences import LABELS, Matcher, ended, in_maintenance, parse_matcher, silence_of, silencing
from tightrope.base.errors import ConflictError, UsageError
from tightrope.base.units import Duration
from tightrope.specs.model import BudgetingMethod, RollingWindow, Slo

CHECKOUT = {"alertname": "ErrorBudgetBurn", "service": "checkout", "slo": "checkout-latency", "severity": "page"}
HOUR = 3600


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("service=checkout", True),
        ('service="checkout"', True),
        (' service = "checkout" ', True),
        ("service=check", False),
        ("service!=check", True),
        ("service!=checkout", False),
        ("service=~check", False),  # the whole value must fit
        ("service=~check.*", True),
        ('severity=~"page|ticket"', True),
        ('severity!~"page|ticket"', False),
        ("objective=", True),  # what is missing counts as empty
        ("objective=~.+", False),
        ("objective!=x", True),
    ],
)
def test_a_matcher_fits_as_alertmanagers_do(text: str, fits: bool) -> None:
    assert parse_matcher(text).fits(CHECKOUT) is fits


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("checkout", "is no matcher"),
        ("service==~x y", "is no matcher"),
        ("servcie=checkout", "no label 'servcie'"),
        ("service=~(", "no regular expression"),
        ("service=~(a+)+", "could take forever"),
        ("service=~" + "a" * 400, "could take forever"),
    ],
)
def test_a_matcher_that_cannot_be_is_refused(text: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        parse_matcher(text)


def test_a_misspelt_label_names_the_one_that_was_meant() -> None:
    with pytest.raises(UsageError) as told:
        parse_matcher("servcie=checkout")
    assert told.value.remedy == "did you mean service?"


@given(st.sampled_from(LABELS), st.sampled_from(["=", "!="]), st.text())
def test_a_matcher_that_is_written_is_read_as_the_same(name: str, op: str, value: str) -> None:
    matcher = Matcher(name, op, value)
    assert parse_matcher(str(matcher)) == matcher


@given(st.sampled_from(LABELS), st.text(), st.text())
def test_not_is_the_opposite(name: str, value: str, other: str) -> None:
    labels = {name: other}
    assert Matcher(name, "=", value).fits(labels) is not Matcher(name, "!=", value).fits(labels)


def test_a_silence_holds_from_its_start_until_before_its_end() -> None:
    silence = silence_of(
        ["service=checkout"], starts_at=NOON, ends_at=NOON + HOUR, who="mara", why="load test", now=NOON - HOUR
    )
    active = [silence.active(NOON + seconds) for seconds in (-1, 0, HOUR - 1, HOUR)]
    assert active == [False, True, True, False]
    over = ended(silence, who="jo", now=NOON + 60)
    assert [over.active(NOON + seconds) for seconds in (59, 60)] == [True, False]
    with pytest.raises(ConflictError, match="over already"):
        ended(over, who="jo", now=NOON + 61)


def test_all_matchers_must_fit() -> None:
    both = silence_of(
        ["service=checkout", "severity=ticket"], starts_at=NOON, ends_at=NOON + HOUR, who="a", why="b", now=NOON
    )
    assert silencing([both], CHECKOUT, NOON) == []
    assert silencing([both], {**CHECKOUT, "severity": "ticket"}, NOON) == [both]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"matchers": []}, "every alert"),
        ({"matchers": ["objective="]}, "every alert"),
        ({"matchers": ["service=~.*"]}, "every alert"),
        ({"ends_at": NOON}, "ends before it begins"),
        ({"starts_at": NOON - 2 * HOUR, "ends_at": NOON - HOUR}, "ends before it begins"),
        ({"who": " "}, "needs who set it"),
        ({"why": ""}, "needs who set it"),
    ],
)
def test_a_silence_that_makes_no_sense_is_refused(given: dict[str, object], says: str) -> None:
    good: dict[str, object] = {
        "matchers": ["service=checkout"],
        "starts_at": NOON,
        "ends_at": NOON + HOUR,
        "who": "mara",
        "why": "load test",
    }
    with pytest.raises(UsageError, match=says):
        silence_of(**(good | given), now=NOON)  # type: ignore[arg-type]


def test_maintenance_is_quiet_like_a_silence() -> None:
    slo = Slo("a", "checkout", BudgetingMethod.OCCURRENCES, RollingWindow(Duration(28, "d")), ())

    def stretches(_: Slo, start: int, end: int) -> list[tuple[int, int]]:
        found = [(NOON, NOON + HOUR)]
        return [one for one in found if one[0] < end and one[1] > start]

    assert [in_maintenance(slo, NOON + seconds, stretches) for seconds in (-1, 0, HOUR - 1, HOUR)] == [
        False,
        True,
        True,
        False,
    ]
    assert not in_maintenance(None, NOON, stretches)
    assert not in_maintenance(slo, NOON, None)
