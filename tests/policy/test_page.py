"""docs/policy.md tells the truth: its examples work, its tables are complete, and reading it costs no import."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.policy.worlds import NOW, asking, bullet, calendar, facts, freeze, overspent, slo
from tightrope.app import examine_specs, run_policy_tests
from tightrope.base.units import parse_time
from tightrope.policy.decision import Reason
from tightrope.policy.expressions import GATE_FACTS, PREDICATE_FACTS
from tightrope.policy.gate import decide
from tightrope.policy.rendering import decision_document
from tightrope.policy.silver_bullets import refusal
from tightrope.specs.defaults import DEFAULT_POLICY
from tightrope.specs.model import BlackoutHours, ChangeKind, GateRule


@pytest.fixture(scope="module")
def page(root: Path) -> str:
    return (root / "docs" / "policy.md").read_text(encoding="utf-8")


@pytest.fixture
def examples(page: str, tmp_path: Path) -> str:
    blocks = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    file = tmp_path / "policy.yaml"
    file.write_text("---\n".join(blocks), encoding="utf-8")
    return str(file)


def test_the_examples_are_valid_and_the_policy_passes_its_test(examples: str) -> None:
    specs, findings = examine_specs([examples])
    assert findings == ()
    assert specs is not None
    (result,) = run_policy_tests([examples])
    assert result.failures == ()
    assert result.checks == 10


def test_the_policy_of_the_page_is_the_default_one_with_more_rules(examples: str) -> None:
    specs, _ = examine_specs([examples])
    assert specs is not None
    (policy,) = specs.policies
    assert policy.states == DEFAULT_POLICY.states
    assert policy.unknown == DEFAULT_POLICY.unknown


def test_the_silver_bullet_of_the_page_counts(examples: str) -> None:
    specs, _ = examine_specs([examples])
    assert specs is not None
    (granted,) = specs.silver_bullets
    request = asking(at=parse_time("2026-03-12T14:00:00Z"), change="4f2a9c1e77")
    assert refusal(granted, request, specs.policies[0].exceptions, specs.silver_bullets, ()) == ""


def test_the_table_of_facts_names_every_fact(page: str) -> None:
    rows = re.findall(r"^\| (`[^|]*) \|[^|]*\|([^|]*)\| yes \|", page, re.MULTILINE)
    told = {name: in_states.strip() == "yes" for names, in_states in rows for name in re.findall(r"`(\w+)`", names)}
    assert set(told) == GATE_FACTS
    assert {name for name, in_states in told.items() if in_states} == PREDICATE_FACTS


def _every_reason() -> list[Reason]:
    policy_with_all = DEFAULT_POLICY.__class__(
        name="all",
        states=DEFAULT_POLICY.states,
        freezes=(freeze(calendar("DTSTART;VALUE=DATE:20260312")),),
        blackouts=(BlackoutHours("hours", frozenset({3}), 0, 1440, "UTC", frozenset()),),
        exceptions=DEFAULT_POLICY.exceptions,
        max_concurrent_rollouts=1,
        rules=(GateRule("own", "true", "stop", "no"),),
    )
    known = facts(
        overspent(), slo(firing=(("page-1h", "page"),), name="b"), policy=policy_with_all, bullets=(bullet(),)
    )
    return [
        reason
        for kind in (ChangeKind.FEATURE, ChangeKind.ROLLBACK)
        for reason in decide(asking(kind, at=NOW), known).reasons
    ]


def test_the_table_of_rules_names_every_rule_that_speaks(page: str) -> None:
    told = set(re.findall(r"^\| `([a-z-]+)(?::[A-Z]+)?` \|", page, re.MULTILINE))
    spoken = {reason.rule.partition(":")[0] for reason in _every_reason()}
    assert len(spoken) >= 9
    assert spoken <= told


def test_the_table_of_the_document_names_every_key(page: str) -> None:
    section = page.partition("## The decision as JSON")[2].partition("\n## ")[0]
    told = set(re.findall(r"`(\w+)(?:\[\])?`", section))
    document = decision_document(decide(asking(), facts(overspent())))
    keys = set(document) | set(document["slos"][0]) | set(document["reasons"][0]) | set(document["slos"][0]["budget"])
    assert keys <= told


@pytest.mark.parametrize(
    ("modules", "heavy"),
    [
        ("tightrope.policy.gate, tightrope.policy.rendering", ("icalendar", "dateutil", "cel")),
        ("tightrope.policy.check", ("icalendar", "dateutil", "cel", "numpy")),
    ],
)
def test_a_library_is_loaded_when_it_is_needed_and_not_before(modules: str, heavy: tuple[str, ...]) -> None:
    program = f"import sys, {modules}; print([name for name in {heavy} if name in sys.modules])"
    environment = {"PYTHONPATH": ":".join(sys.path)}
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment)
    assert run.stdout.strip() == "[]"
