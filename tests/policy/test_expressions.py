"""CEL: bounded before it runs, yes or no or unknown after, and clear about what is wrong and where."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tightrope.base.errors import Place, SpecError
from tightrope.policy.expressions import (
    DEEPEST,
    GATE_FACTS,
    LONGEST,
    LONGEST_LIST,
    MOST_LOOPS,
    check,
    evaluate,
)
from tightrope.specs.model import Expression

FACTS: dict[str, object] = {
    "remaining": Fraction(1, 5),
    "consumed": None,
    "burn": {"6h": Fraction(4), "1h": None},
    "coverage": Fraction(1),
    "incidents": ["sev1", "sev3"],
}


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("remaining < 0.25", True),
        ("remaining == 0.2", True),
        ("remaining < 0.25 && burn['6h'] >= 5", False),
        ("burn['6h'] >= 3", True),
        ("incidents.exists(i, i == 'sev1')", True),
        ("'sev2' in incidents", False),
        ("size(incidents) == 2 && coverage >= 0.95", True),
        ("!(remaining >= 0.25)", True),
        ("remaining * 100.0 < 25.0", True),
        ("consumed == null", True),
        ("consumed > 1.0", None),
        ("burn['1h'] >= 1.0", None),
        ("burn['6h'] > burn['1h']", None),
        ("consumed", None),
        ("consumed > 1.0 || remaining < 0.25", True),
        ("remaining > 0.25 && consumed > 1.0", False),
        ("'((((((((((((((((((((((((((((((' == 'x'", False),
    ],
)
def test_an_expression_is_yes_no_or_unknown(text: str, answer: bool | None) -> None:
    check(Expression(text))
    assert evaluate(Expression(text), FACTS) is answer


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "it is empty"),
        ("remaining <", "at character 12: mismatched input '<EOF>'"),
        ("remaining < 0,25", "at character 14: mismatched input ','"),
        ("remaining\n  < )", "at character 15: mismatched input ')'"),
        ("remaning < 0.25", "at character 1: 'remaning' is not a fact"),
        ("true && budget < 1.0", "at character 9: 'budget' is not a fact"),
        ("x" * (LONGEST + 1), "it has 1,001 characters"),
        ("(" * (DEEPEST + 1) + "true" + ")" * (DEEPEST + 1), "more than 20 brackets stand within each other"),
        ("incidents.all(a, incidents.all(b, incidents.all(c, true)))", "it goes over lists 3 times"),
    ],
)
def test_a_check_finds_what_can_never_be_asked_and_where(text: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        check(Expression(text, Place("policy.yaml", 9)))
    assert message in caught.value.message
    assert caught.value.place == Place("policy.yaml", 9)
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("remaining", "the answer is 0.2, not yes or no"),
        ("size(incidents)", "the answer is 2, not yes or no"),
        ("burn['9h'] > 1.0", "there is no '9h' in burn"),
        ("remaining * 100 > 2", "two things of different kinds meet"),
        ("1 / 0 > 1", "it divides by zero"),
        ("nonsense(remaining)", "Undefined variable or function: 'nonsense'"),
        ("incidents[7] == 'sev1'", ""),
    ],
)
def test_an_expression_that_fails_says_why(text: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        evaluate(Expression(text), FACTS)
    assert message in caught.value.message


def test_the_rules_of_a_gate_may_name_more_than_the_conditions_of_a_state() -> None:
    rule = Expression("kind == 'feature' && rollouts > 0")
    check(rule, GATE_FACTS)
    with pytest.raises(SpecError, match="'kind' is not a fact"):
        check(rule)


def test_two_loops_over_the_longest_list_are_allowed_and_longer_lists_are_cut() -> None:
    assert MOST_LOOPS == 2
    crowd = {"incidents": ["sev1"] * 100_000}
    assert evaluate(Expression(f"size(incidents) == {LONGEST_LIST}"), crowd) is True
    assert evaluate(Expression("incidents.all(a, incidents.exists(b, a == b))"), crowd) is True


@given(st.text(alphabet="remaining<>=!&|()[]{}'\"0.25 +-*/?:,\nburnx", max_size=60))
def test_no_text_makes_the_evaluator_stumble(text: str) -> None:
    try:
        answer = evaluate(Expression(text), FACTS)
    except SpecError as error:
        assert error.message.startswith("expression `")  # noqa: PT017 - one of two outcomes
    else:
        assert answer in {True, False, None}


@given(st.fractions(-3, 3, max_denominator=1000), st.integers(-300, 300))
def test_a_comparison_agrees_with_the_exact_one(remaining: Fraction, percent: int) -> None:
    bound = Fraction(percent, 100)
    answer = evaluate(Expression(f"remaining < {float(bound):.2f}"), {"remaining": remaining})
    assert answer is (remaining < bound)


def test_the_language_comes_without_its_command_line_and_may_be_imported_later_all_the_same() -> None:
    code = (
        "import sys\n"
        "from tightrope.base.errors import Place\n"
        "from tightrope.policy.expressions import evaluate\n"
        "from tightrope.specs.model import Expression\n"
        "assert evaluate(Expression('remaining < 0.5', Place('x')), {'remaining': 0.2}) is True\n"
        "assert not {'typer', 'prompt_toolkit', 'cel.cli'} & set(sys.modules)\n"
        "import cel\n"
        "assert cel.evaluate('1 + 1') == 2\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
