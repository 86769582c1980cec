"""The kind Pipeline: what is read, and what is found wrong, each with its place."""

from __future__ import annotations

from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from tightrope.base.errors import SpecError
from tightrope.specs.pipeline import Condition, ExecutorType, Pipeline, StageKind
from tightrope.specs.positions import Report, plain_value, read_documents
from tightrope.specs.schemas import schemas
from tightrope.specs.store import examine

WHOLE = """\
apiVersion: tightrope.dev/v1
kind: Pipeline
metadata: {name: shop}
spec:
  service: shop
  triggers:
    push: {branches: [main, "release/*"], paths: ["src/**"], pathsIgnore: ["**/*.md"]}
    tags: ["v*"]
    schedule: [{cron: "30 2 * * mon-fri", timeZone: Europe/Berlin}]
    manual: {inputs: {region: {default: eu, oneOf: [eu, us]}}}
  env: {LEVEL: 3, DEBUG: false}
  secrets: {TOKEN: {fromEnvironment: SHOP_TOKEN}, KEY: {fromFile: /etc/shop/key}}
  concurrency: shop-production
  stages:
    - name: build
      steps:
        - {name: deps, run: make deps, cache: {key: [a.lock], paths: [.cache]}}
        - {name: compile, run: [make, all], artifacts: {paths: ["dist/*"]}, limits: {memoryMiB: 512, cpu: 5m}}
    - name: test
      matrix: {python: ["3.11", "3.12"], include: [{python: "3.13", extra: "1"}], exclude: [{python: "3.11"}]}
      executor: {container: {image: python}}
      steps:
        - {name: unit, run: make test, retries: {count: 2, backoff: 5s}, secrets: [TOKEN], timeout: 10m}
        - {name: report, run: make report, if: always, continueOnError: true}
    - {name: ask, gate: {kind: reliability, every: 30s}}
    - {name: ship, deploy: {run: ./ship, observe: ./live, rollback: ./back}}
    - {name: look, verify: {run: ./smoke, slos: [shop-availability], bake: 10m}}
    - {name: back, rollback: {}}
    - {name: all, promote: {run: ./all}}
"""


def read(text: str, folder: Path) -> tuple[Pipeline | None, list[SpecError]]:
    file = folder / "tightrope.yaml"
    file.write_text(text, encoding="utf-8")
    specs, findings = examine([str(file)])
    return (specs.pipelines[0] if specs else None), list(findings)


def pipeline(text: str, folder: Path) -> Pipeline:
    found, findings = read(text, folder)
    assert found is not None, findings
    return found


def test_a_whole_pipeline_is_read(tmp_path: Path) -> None:
    found = pipeline(WHOLE, tmp_path)
    assert [stage.kind for stage in found.stages] == [
        StageKind.STEPS,
        StageKind.STEPS,
        StageKind.GATE,
        StageKind.DEPLOY,
        StageKind.VERIFY,
        StageKind.ROLLBACK,
        StageKind.PROMOTE,
    ]
    assert found.env == {"LEVEL": "3", "DEBUG": "false"}
    assert [(one.name, one.environment, one.file) for one in found.secrets] == [
        ("TOKEN", "SHOP_TOKEN", ""),
        ("KEY", "", "/etc/shop/key"),
    ]
    build, test = found.stage("build"), found.stage("test")
    assert build.steps[0].run == ("/bin/sh", "-e", "-c", "make deps")
    assert build.steps[1].run == ("make", "all")
    assert build.steps[1].artifacts == ("dist/*",)
    assert build.steps[1].limits.cpu_s == 300
    assert test.executor is not None
    assert test.executor.type is ExecutorType.CONTAINER
    assert (test.steps[0].retries, test.steps[0].backoff_s, test.steps[0].timeout_s) == (2, 5, 600)
    assert (test.steps[1].when, test.steps[1].optional) == (Condition.ALWAYS, True)
    assert found.stage("back").when is Condition.FAILURE
    ship = found.stage("ship").deploy
    assert ship is not None
    assert (ship.service, ship.environment) == ("shop", "production")
    assert found.triggers.schedules[0].zone == "Europe/Berlin"


def test_a_whole_pipeline_fits_its_schema() -> None:
    document = plain_value(read_documents(WHOLE, "a", Report())[0])
    assert list(Draft202012Validator(schemas()["Pipeline"]).iter_errors(document)) == []


def test_the_digest_follows_what_is_said_and_not_how(tmp_path: Path) -> None:
    same = WHOLE.replace("{LEVEL: 3, DEBUG: false}", "{DEBUG: false, LEVEL: 3}  # a comment")
    assert pipeline(WHOLE, tmp_path).version == pipeline(same, tmp_path).version
    assert pipeline(WHOLE.replace("make deps", "make dep"), tmp_path).version != pipeline(WHOLE, tmp_path).version


@pytest.mark.parametrize(
    ("old", "new", "code", "at", "said"),
    [
        ("cron: \"30 2 * * mon-fri\"", 'cron: "30 25 * * *"', "TR060", "spec.triggers.schedule[0].cron", "hour"),
        ("timeZone: Europe/Berlin", "timeZone: Berlin", "TR020", "spec.triggers.schedule[0].timeZone", "time zone"),
        ("exclude: [{python: \"3.11\"}]", "exclude: [{ptyhon: x}]", "TR061", "matrix.exclude", "did you mean python"),
        ("[\"3.11\", \"3.12\"]", '["3.11", "3.11"]', "TR061", "matrix.python", "twice"),
        ("secrets: [TOKEN]", "secrets: [TOKN]", "TR062", "steps[0].secrets", "did you mean TOKEN"),
        ("{name: ask,", "{name: ask, needs: [tets],", "TR063", "spec.stages[2].needs", "did you mean test"),
        ("if: always,", "if: always, needs: [unti],", "TR063", "steps[1].needs", "did you mean unit"),
        ("- name: build\n", "- name: build\n      needs: [look]\n", "TR064", "needs", "build → look → ship"),
        ("- {name: deps,", "- {name: compile,", "TR027", "steps[1].name", "two steps are called compile"),
        ("{name: look,", "{name: ship,", "TR027", "spec.stages[4].name", "two stages are called ship"),
        ("run: make deps, ", "", "TR013", "steps[0].run", "run is missing"),
        ("run: make deps", 'run: ""', "TR015", "steps[0].run", "empty"),
        ("run: [make, all]", "run: []", "TR019", "steps[1].run", "0 items"),
        ("run: ./ship, ", "", "TR018", "deploy", "needs run or rollout"),
        ("timeout: 10m", "timeout: 10", "TR017", "steps[0].timeout", "duration"),
        ("timeout: 10m", "timout: 10m", "TR011", "steps[0].timout", "did you mean timeout"),
        ("if: always", "if: allways", "TR016", "steps[1].if", "did you mean always"),
        ("gate: {kind: reliability", "gate: {kind: feture", "TR016", "gate.kind", "did you mean feature"),
        ("gate: {kind: reliability, every: 30s}", "needs: []", "TR018", "stages[2]", "one of steps, gate"),
        ("  service: shop\n", "", "TR013", "gate.service", "service"),
        ("paths: [.cache]", "paths: [../.cache]", "TR015", "cache.paths[0]", "leads out of the workspace"),
        ('paths: ["dist/*"]', "paths: [/etc/passwd]", "TR015", "artifacts.paths[0]", "leads out of the workspace"),
        ("fromFile: /etc/shop/key", "fromFile: key", "TR015", "secrets.KEY.fromFile", "absolute"),
        ("{fromFile: /etc/shop/key}", "{value: hunter2}", "TR011", "secrets.KEY.value", "unknown field"),
        (", bake: 10m", "", "TR018", "verify", "slos needs bake"),
        ("{run: ./smoke, slos: [shop-availability], bake: 10m}", "{every: 5s}", "TR018", "verify", "nothing to"),
        ("executor: {container: {image: python}}", "executor: {container: {}}", "TR013", "container.image", "missing"),
        ("    - name: build\n", "    - name: build\n      executor: {kubernetes: {image: python}}\n", "TR018",
         "steps[0].cache", "without a claim"),
        ("executor: {container: {image: python}}", "executor: {kubernetes: {image: python, mountPath: /work}}", "TR018",
         "executor.kubernetes", "mountPath needs claim"),
        ("executor: {container: {image: python}}", "executor: {kubernetes: {image: python, claim: No_Name}}", "TR015",
         "kubernetes.claim", "no name of a claim"),
        ("retries: {count: 2", "retries: {count: 200", "TR012", "retries.count", "out of range"),
        ("matrix: {python: [", "matrix: {python: [[", "TR001", "", ""),
    ],
)  # fmt: skip
def test_what_is_wrong_is_found_at_its_place(tmp_path: Path, old: str, new: str, code: str, at: str, said: str) -> None:
    assert old in WHOLE
    found, findings = read(WHOLE.replace(old, new, 1), tmp_path)
    assert found is None
    fitting = [one for one in findings if one.code == code and at in one.path]
    assert fitting, findings
    assert any(said in f"{one.message} {one.note} {one.remedy}" for one in fitting), [
        (one.message, one.note) for one in fitting
    ]
    assert all(one.place.line > 0 and one.place.file.endswith("tightrope.yaml") for one in findings)


def test_all_findings_come_at_once(tmp_path: Path) -> None:
    text = WHOLE.replace("mon-fri", "nofri").replace("[TOKEN]", "[TOKN]").replace("run: make deps", "rnu: make deps")
    assert {one.code for one in read(text, tmp_path)[1] if one.severity == "error"} == {
        "TR060",
        "TR062",
        "TR011",
        "TR013",
    }


def test_a_large_matrix_is_refused_without_being_made(tmp_path: Path) -> None:
    axes = ", ".join(f"a{number}: [{', '.join(map(str, range(99)))}]" for number in range(6))
    _, findings = read(
        WHOLE.replace('python: ["3.11", "3.12"]', axes).replace(', exclude: [{python: "3.11"}]', ""), tmp_path
    )
    assert [one.code for one in findings if one.severity == "error"] == ["TR061"]


def test_a_way_around_the_gate_and_an_unobservable_deployment_are_warned_of(tmp_path: Path) -> None:
    text = WHOLE.replace("    - {name: ask, gate: {kind: reliability, every: 30s}}\n", "").replace(
        "observe: ./live, ", ""
    )
    found, findings = read(text, tmp_path)
    assert found is not None
    assert {one.code for one in findings} == {"TR065", "TR066"}


def test_a_strategy_that_is_not_there_is_told(tmp_path: Path) -> None:
    strategy = (
        "---\napiVersion: tightrope.dev/v1\nkind: RolloutStrategy\nmetadata: {name: careful}\n"
        "spec: {service: shop, target: {shell: {observe: [./o], setWeight: [./s]}}}\n"
    )
    text = WHOLE.replace("run: ./ship, observe: ./live", "rollout: carefull") + strategy
    assert "TR026" in [one.code for one in read(text, tmp_path)[1]]
