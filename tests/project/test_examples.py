"""The examples are what they say: specs without findings, data as declared, a service in each flow at the end of it."""

from __future__ import annotations

import gzip
import hashlib
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tightrope.app import assess_specs, examine_specs, load_specs
from tightrope.backtest.labels import read_deployments, read_incidents
from tightrope.base.units import parse_time
from tightrope.loop.assess import Assessment
from tightrope.loop.standing import by_service, tightest
from tightrope.policy.states import named
from tightrope.specs.model import Flow, ShipHow

EXAMPLES = ROOT / "examples"
REAL = EXAMPLES / "real"
_DECLARED = re.compile(r"^\| (real/\S+) \| (\d+) \| ([^|]+) \| `([0-9a-f]{64})` \|$", re.MULTILINE)
_LICENCES = {"ODbL 1.0", "MIT", "CC BY 4.0", "Apache-2.0"}
_STANDING = re.compile(r"^\| (\d{4}-\d\d-\d\d) (\d\d:\d\d) \|(.*)\|$", re.MULTILINE)


def _declared() -> dict[str, tuple[int, str, str]]:
    told = (EXAMPLES / "PROVENANCE.md").read_text(encoding="utf-8")
    return {name: (int(lines), licence.strip(), digest) for name, lines, licence, digest in _DECLARED.findall(told)}


def _contents(path: Path) -> bytes:
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()


@cache
def _assessed(with_incidents: bool) -> list[Assessment]:
    specs = load_specs([str(REAL / "slo")])
    incidents = read_incidents(str(REAL / "incidents.csv")) if with_incidents else ()
    return assess_specs(specs, specs.slos, incidents=incidents)


@pytest.mark.parametrize("folder", ["real/slo", "prometheus"])
def test_example_specs_are_without_findings(folder: str) -> None:
    specs, findings = examine_specs([str(EXAMPLES / folder)])
    assert [str(finding) for finding in findings] == []
    assert specs is not None
    assert specs.slos


def test_each_data_file_is_declared_with_its_licence_and_digest() -> None:
    data = sorted(path for path in REAL.rglob("*") if path.suffix in (".gz", ".csv"))
    found = {}
    for path in data:
        contents = _contents(path)
        found[str(path.relative_to(EXAMPLES))] = (contents.count(b"\n"), hashlib.sha256(contents).hexdigest())
    declared = _declared()
    assert {name: (lines, digest) for name, (lines, _, digest) in declared.items()} == found
    assert {licence for _, licence, _ in declared.values()} <= _LICENCES


def test_the_examples_stay_small() -> None:
    assert sum(path.stat().st_size for path in REAL.rglob("*") if path.is_file()) < 2_000_000


def test_the_cut_can_be_made_again(tmp_path: Path, recorded: Path) -> None:
    command = [sys.executable, str(EXAMPLES / "cut.py"), str(recorded), str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True)
    for name in _declared():
        assert _contents(tmp_path / Path(name).relative_to("real")) == _contents(EXAMPLES / name), name


def test_the_cut_says_what_it_misses(tmp_path: Path) -> None:
    command = [sys.executable, str(EXAMPLES / "cut.py"), str(tmp_path)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 2
    assert "no folder uptime-probes" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("with_incidents", [False, True])
def test_at_the_end_of_the_data_there_is_a_service_in_each_flow(with_incidents: bool) -> None:
    flows = set()
    for group in by_service(_assessed(with_incidents)).values():
        state = named(group[0].policy, tightest(group).history.final_state)
        flows.add((state.flow, state.ship))
    assert flows == {
        (Flow.FEATURE, ShipHow.STANDARD),
        (Flow.FEATURE, ShipHow.GUARDED),
        (Flow.STABILITY, ShipHow.GUARDED),
    }


def test_the_services_stand_as_the_examples_readme_says() -> None:
    told: dict[str, tuple[str, int]] = {}
    for day, hour, cells in _STANDING.findall((EXAMPLES / "README.md").read_text(encoding="utf-8")):
        for state, names in zip(("stability", "caution", "feature"), cells.split("|"), strict=True):
            told |= {name: (state, parse_time(f"{day}T{hour}Z")) for name in names.replace(",", " ").split()}
    found = {
        service: (tightest(group).history.final_state, group[0].statement.at)
        for service, group in by_service(_assessed(False)).items()
    }
    assert told == found


def test_no_example_is_stale_or_loses_rows_unsaid() -> None:
    for one in _assessed(False):
        assert not one.statement.stale, one.title
        assert one.quality.rows > 0, one.title
    # One line of the access log is not in the combined format; it is counted, for each of the two SLOs that read it.
    assert {one.slo.service for one in _assessed(False) if one.quality.bad_rows} == {"web-server"}
    assert {one.quality.bad_rows for one in _assessed(False)} == {0, 1}


def test_a_service_never_seen_down_raises_no_alert() -> None:
    quiet = [one for one in _assessed(False) if one.slo.service in ("digital-editions", "login-node")]
    assert len(quiet) == 2
    for one in quiet:
        assert one.budget.remaining_ratio == 1
        assert one.history.episodes == ()
        assert one.history.transitions == ()


def test_nine_blind_hours_are_neither_good_nor_a_gap() -> None:
    (one,) = [one for one in _assessed(False) if one.slo.name == "digital-editions-up"]
    first, last = parse_time("2026-08-06T15:22:00Z"), parse_time("2026-08-07T00:31:00Z")
    units = one.units
    assert units.excluded is not None
    taken = [units.start + index * units.step_s for index, out in enumerate(units.excluded.tolist()) if out]
    assert taken[0] == first - first % 300
    assert taken[-1] == last - last % 300
    assert len(taken) == (taken[-1] - taken[0]) // 300 + 1
    assert not (units.covered & units.excluded).any()


def test_labels_and_deployments_name_services_that_have_a_promise() -> None:
    services = {one.slo.service for one in _assessed(False)}
    assert {one.service for one in read_incidents(str(REAL / "incidents.csv"))} <= services
    assert {one.service for one in read_deployments(str(REAL / "deployments.csv"))} <= services
