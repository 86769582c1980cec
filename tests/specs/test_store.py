"""Files, directories and standard input."""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path
from subprocess import run

import pytest

from tests.specs.samples import EVERYTHING, POLICY, SLO, SOURCE, codes, found, read, swapped, together
from tightrope.base.errors import NotFoundError, SpecsInvalidError
from tightrope.specs.positions import BYTES_MAX
from tightrope.specs.store import examine, load, survey


def write(folder: Path, **files: str) -> str:
    for name, text in files.items():
        path = folder / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    return str(folder)


def test_everything_together_is_good_and_quiet() -> None:
    assert codes(*EVERYTHING) == []


def test_a_directory_is_read_to_the_bottom_and_in_order(tmp_path: Path) -> None:
    write(tmp_path / "b", source=SOURCE)
    write(tmp_path / "a" / "deep", slo=SLO)
    (tmp_path / "c.json").write_text(
        '{"apiVersion": "openslo/v1", "kind": "Service", "metadata": {"name": "checkout"}}'
    )
    (tmp_path / "notes.txt").write_text("apiVersion: openslo/v1")
    write(tmp_path / ".hidden", slo=SLO)
    write(tmp_path, **{".hidden": SLO})
    specs = load([str(tmp_path)])
    assert specs.files == tuple(str(tmp_path / name) for name in ("a/deep/slo.yaml", "b/source.yaml", "c.json"))
    assert [slo.name for slo in specs.slos] == ["checkout-availability"]


def test_foreign_files_of_a_directory_are_passed_over_with_one_warning(tmp_path: Path) -> None:
    write(tmp_path, slo=together(SLO, SOURCE), deploy="apiVersion: apps/v1\nkind: Deployment\n", chart="{{ if }}: [\n")
    (tmp_path / "data.json").write_bytes(b"\xff\xfe[]")
    specs, findings = examine([str(tmp_path)])
    assert specs is not None
    assert [finding.code for finding in findings] == ["TR041"]
    assert "3 files" in findings[0].message


def test_a_foreign_file_that_is_named_is_an_error(tmp_path: Path) -> None:
    write(tmp_path, deploy="apiVersion: apps/v1\nkind: Deployment\n")
    _, findings = examine([str(tmp_path / "deploy.yaml")])
    assert [finding.code for finding in findings] == ["TR008"]


def test_a_directory_without_specs_is_an_error(tmp_path: Path) -> None:
    assert [finding.code for finding in examine([str(tmp_path)])[1]] == ["TR004"]


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing\n", "---\n---\n"])
def test_an_empty_file_is_an_error(tmp_path: Path, text: str) -> None:
    write(tmp_path, empty=text)
    assert [finding.code for finding in examine([str(tmp_path / "empty.yaml")])[1]] == ["TR004"]


def test_a_path_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="nowhere"):
        load([str(tmp_path / "nowhere.yaml")])
    with pytest.raises(NotFoundError):
        load(["a\0b"])
    with pytest.raises(NotFoundError, match="too long"):
        load(["x" * 5000])


@pytest.mark.parametrize(
    ("content", "said"), [(b"a: \xff", "0xff"), ("a: b".encode("utf-16"), "UTF-16"), (b"a: 1\nb: \xc3(", "0xc3")]
)
def test_a_file_that_is_not_utf_8_is_an_error(tmp_path: Path, content: bytes, said: str) -> None:
    file = tmp_path / "x.yaml"
    file.write_bytes(content)
    _, (finding,) = examine([str(file)])
    assert finding.code == "TR005"
    assert said in finding.message


def test_a_byte_order_mark_is_no_problem(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_bytes(b"\xef\xbb\xbf" + together(SLO, SOURCE).encode())
    assert len(load([str(file)]).slos) == 1


def test_a_huge_file_is_refused_unread(tmp_path: Path) -> None:
    file = tmp_path / "huge.yaml"
    with file.open("wb") as opened:
        opened.truncate(10 * 1024**3)
    _, (finding,) = examine([str(file)])
    assert finding.code == "TR006"
    assert str(BYTES_MAX) in finding.message
    assert [one.code for one in examine([str(tmp_path)])[1]] == ["TR004", "TR041"]


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    assert [finding.code for finding in examine([str(tmp_path / "pipe.yaml")])[1]] == ["TR009"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_without_permission_is_an_error(tmp_path: Path) -> None:
    write(tmp_path, slo=SLO)
    (tmp_path / "slo.yaml").chmod(0)
    assert [finding.code for finding in examine([str(tmp_path / "slo.yaml")])[1]] == ["TR009"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every directory")
def test_a_directory_without_permission_is_an_error(tmp_path: Path) -> None:
    write(tmp_path, slo=together(SLO, SOURCE))
    (tmp_path / "closed").mkdir(mode=0)
    assert [finding.code for finding in examine([str(tmp_path)])[1]] == ["TR009"]


def test_a_file_named_twice_is_read_once(tmp_path: Path) -> None:
    write(tmp_path, slo=together(SLO, SOURCE))
    file = str(tmp_path / "slo.yaml")
    specs = load([file, f"{tmp_path}/./slo.yaml", str(tmp_path)])
    assert specs.files == (file,)


def test_a_list_of_documents_is_as_good_as_many_documents() -> None:
    listed = "".join("- " + text.replace("\n", "\n  ").rstrip() + "\n" for text in (SLO, SOURCE))
    assert read(listed).slos[0].objectives == read(listed).slos[0].objectives
    assert read(listed).digest == read(SLO, SOURCE).digest


def test_the_digest_is_of_the_content_and_not_of_its_layout(tmp_path: Path) -> None:
    first = read(*EVERYTHING)
    shuffled = list(EVERYTHING)
    random.Random(7).shuffle(shuffled)
    assert read("# a note\n" + shuffled[0], *shuffled[1:]).digest == first.digest
    changed = [text.replace("0.999", "0.998") for text in EVERYTHING]
    assert read(*changed).digest != first.digest
    assert len(first.digest) == 64


def test_findings_come_by_file_and_line_errors_and_warnings_alike(tmp_path: Path) -> None:
    write(tmp_path, b=swapped(SLO, "28d", "1m").replace("0.999", "99"), a=swapped(SOURCE, "type: csv", "typ: csv"))
    with pytest.raises(SpecsInvalidError) as caught:
        load([str(tmp_path)])
    places = [(finding.place.file, finding.place.line) for finding in caught.value.findings]
    assert places == sorted(places)
    assert {finding.severity for finding in caught.value.findings} == {"error", "warning"}
    assert str(caught.value) == "2 errors in the specs"


def test_warnings_travel_with_the_specs() -> None:
    specs = read(swapped(SLO, "0.999", "0"), SOURCE)
    assert [warning.code for warning in specs.warnings] == ["TR034"]


def test_every_finding_shows_the_line_it_means() -> None:
    for finding in found(swapped(SLO, "0.999", "99.9"), SOURCE):
        start = finding.place.column - 1
        assert finding.source_line[start : start + finding.place.length] == "99.9"


def test_policy_tests_are_handed_over_raw() -> None:
    text = together(
        POLICY, "apiVersion: tightrope.dev/v1\nkind: PolicyTest\nmetadata: {name: t}\nspec: {given: [1, x]}\n"
    )
    found = survey(["-"], stdin=text)
    (test,) = found.policy_tests
    assert test.values["spec"] == {"given": [1, "x"]}
    assert (test.place.file, test.place.line) == ("<stdin>", 26)
    assert found.specs is not None
    assert found.specs.policies
    bad = survey(["-"], stdin="apiVersion: tightrope.dev/v1\nkind: PolicyTest\nmetadata: {name: t}\n")
    assert (bad.specs, bad.policy_tests, [one.code for one in bad.findings]) == (None, (), ["TR013"])


def test_standard_input_has_the_limits_of_a_file() -> None:
    assert [one.code for one in examine(["-"], stdin="#" * (BYTES_MAX + 1))[1]][:1] == ["TR006"]


def test_reading_specs_stays_light(tmp_path: Path, root: Path) -> None:
    write(tmp_path, slo=together(SLO, SOURCE))
    code = (
        "import sys; from tightrope.specs.store import load; load([sys.argv[1]])\n"
        "heavy = {'numpy', 'pydantic', 'dateutil', 'difflib', 'zoneinfo', 'click'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = run(
        [sys.executable, "-c", code, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(root / "src")},
    )
    assert done.returncode == 0, done.stderr
