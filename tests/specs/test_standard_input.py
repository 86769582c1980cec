"""What `validate` and `status` make of the same specs: from standard input, and with policy tests among them."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.cli.world import SPECS, write_world
from tests.specs.samples import POLICY, swapped
from tightrope.app import examine_specs, load_specs, run_policy_tests
from tightrope.base.errors import SpecsInvalidError
from tightrope.cli.main import cli
from tightrope.specs.positions import BYTES_MAX

SCENARIO = """\
apiVersion: tightrope.dev/v1
kind: PolicyTest
metadata: {name: quiet}
spec:
  policy: careful
  start: 2026-01-01T00:00:00Z
  slices: [{for: 1d, total: 100}]
  expect: [{at: 1d, state: feature}]
"""


def piped(text: str | bytes, *arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments, input=text)


def test_specs_from_standard_input_are_validated() -> None:
    good = piped(SPECS, "validate", "-f", "-", "-")
    assert (good.exit_code, good.stdout) == (0, "ok: 1 SLO of 1 service, 0 policies in 1 file\n")
    bad = piped(swapped(SPECS, "target: 0.999", "target: 99.9"), "validate", "-")
    assert bad.exit_code == 2
    assert "<stdin>:16:25" in bad.output


def test_status_reads_specs_from_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_world(tmp_path)
    monkeypatch.chdir(tmp_path)  # paths in standard input start where the command runs
    done = piped(SPECS, "status", "-f", "-", "-o", "json")
    assert done.exit_code == 0
    assert '"checkout-availability"' in done.stdout


def test_policy_tests_come_from_standard_input_too() -> None:
    done = piped(f"{POLICY}---\n{SCENARIO}", "policy", "test", "-")
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (b"kind: \xff\n", "TR005"),
        (SPECS.encode("utf-16"), "TR005"),
        (b"", "TR004"),
        (b"\xef\xbb\xbf" + SPECS.encode() + b"#" * BYTES_MAX, "TR006"),
    ],
)
def test_standard_input_that_is_no_spec_is_one_finding(text: bytes, code: str) -> None:
    done = piped(text, "validate", "-")
    assert done.exit_code == 2
    assert code in done.output


@pytest.mark.parametrize(
    ("old", "new", "says", "path"),
    [
        ("policy: careful", "policy: carefull", "names the policy 'carefull', which is not there", "spec.policy"),
        ("state: feature", "state: featur", "expects the state 'featur'", "spec.expect[0].state"),
        ("total: 100", "totals: 100", "spec.slices[0].totals is not a field", "spec.slices[0].totals"),
        ("total: 100", "total: many", "spec.slices[0].total is 'many', not a whole number", "spec.slices[0].total"),
    ],
)
def test_policy_tests_are_read_when_specs_are_validated(
    tmp_path: Path, old: str, new: str, says: str, path: str
) -> None:
    wrong = swapped(SCENARIO, old, new)
    file = tmp_path / "all.yaml"
    file.write_text(f"{POLICY}---\n{wrong}---\n{wrong.replace('quiet', 'other')}", encoding="utf-8")
    specs, findings = examine_specs([str(file)])
    assert specs is None
    assert [one.code for one in findings if one.severity == "error"] == ["TR090"] * 2
    assert all(says in one.message and one.place.file == str(file) and one.path == path for one in findings)
    for one in findings:
        start = one.place.column - 1
        assert one.source_line[start : start + one.place.length] == new
    assert load_specs([str(file)]).policies  # no gate waits for a test to be mended


def test_a_policy_test_is_read_although_something_else_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "all.yaml"
    wrong = swapped(SCENARIO, "total: 100", "totals: 100")
    path.write_text(f"{swapped(POLICY, 'name: caution', 'nam: caution')}---\n{wrong}", encoding="utf-8")
    assert {"TR011", "TR090"} <= {one.code for one in examine_specs([str(path)])[1]}
    with pytest.raises(SpecsInvalidError):
        run_policy_tests([str(path)])


def test_good_policy_tests_are_no_finding(tmp_path: Path) -> None:
    path = tmp_path / "all.yaml"
    path.write_text(f"{POLICY}---\n{SCENARIO}", encoding="utf-8")
    specs, findings = examine_specs([str(path)])
    assert specs is not None
    assert findings == ()
