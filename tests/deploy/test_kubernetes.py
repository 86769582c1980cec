"""The manifests are what Kubernetes takes: by its own schemas, old and new, and by its strictest rules for pods."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from tests.conftest import ROOT
from tightrope.app import load_specs
from tightrope.cli.serve import serve

MANIFESTS = ROOT / "deploy" / "kubernetes"
SCHEMAS = ROOT / "tests" / "contracts" / "kubernetes"
VERSIONS = ("1.25", "1.37")
RENDERED = ("base", "postgresql", "example")
_OF_THE_OPERATOR = {"ServiceMonitor"}  # no kind of Kubernetes' own: checked by hand, see docs/install.md


@cache
def _validator(version: str, kind: str) -> Draft202012Validator:
    told = json.loads((SCHEMAS / f"v{version}.json").read_text(encoding="utf-8"))
    return Draft202012Validator({**told["kinds"][kind], "$defs": told["$defs"]})


def _problems(version: str, document: dict[str, Any]) -> list[str]:
    found = _validator(version, document["kind"]).iter_errors(document)
    return [f"{document['kind']} {'.'.join(map(str, error.path))}: {error.message[:200]}" for error in found]


def _written() -> list[tuple[Path, dict[str, Any]]]:
    """Every manifest as it lies there, but for what only kustomize reads, and patches."""
    found = []
    for path in sorted(MANIFESTS.rglob("*.yaml")):
        if path.name != "kustomization.yaml" and "specs" not in path.parts and path.parent.name != "postgresql":
            found += [(path, one) for one in yaml.safe_load_all(path.read_text(encoding="utf-8"))]
    return found


@cache
def _render(name: str) -> tuple[dict[str, Any], ...]:
    program = shutil.which("kubectl") or shutil.which("kustomize")
    if program is None:
        pytest.skip("neither kubectl nor kustomize is here to render with")
    command = [program, *(["kustomize"] if program.endswith("kubectl") else ["build"]), str(MANIFESTS / name)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=50)
    assert done.returncode == 0, done.stderr
    return tuple(yaml.safe_load_all(done.stdout))


def _one(documents: tuple[dict[str, Any], ...], kind: str) -> dict[str, Any]:
    (found,) = [one for one in documents if one["kind"] == kind]
    return found


@pytest.mark.parametrize("version", VERSIONS)
def test_every_manifest_is_valid_as_it_lies_there(version: str) -> None:
    written = _written()
    assert {one["kind"] for _, one in written} >= {"StatefulSet", "Service", "NetworkPolicy", "ServiceAccount"}
    checked = [one for _, one in written if one["kind"] not in _OF_THE_OPERATOR]
    assert [problem for one in checked for problem in _problems(version, one)] == []


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", RENDERED)
def test_every_manifest_is_valid_as_it_is_rendered(name: str, version: str) -> None:
    checked = [one for one in _render(name) if one["kind"] not in _OF_THE_OPERATOR]
    assert [problem for one in checked for problem in _problems(version, one)] == []


@pytest.mark.parametrize("version", VERSIONS)
def test_a_misspelt_field_would_be_found(version: str) -> None:
    (broken,) = [one for _, one in _written() if one["kind"] == "StatefulSet"]
    broken["spec"]["template"]["spec"]["containers"][0]["readinesProbe"] = {}
    broken["spec"]["replicas"] = "one"
    found = " ".join(_problems(version, broken))
    assert "readinesProbe" in found
    assert "'one' is not of type" in found


# --- the strictest of the Pod Security Standards ------------------------------------------------------------------


def _breaches(pod: dict[str, Any]) -> Iterator[str]:
    """What the profile "restricted" does not let pass (Pod Security Standards, Kubernetes 1.25 and later)."""
    whole = pod.get("securityContext", {})
    for name in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.get(name):
            yield name
    allowed = {
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "persistentVolumeClaim",
        "projected",
        "secret",
    }
    yield from (f"volume {volume}" for volume in pod.get("volumes", []) if not (set(volume) - {"name"}) <= allowed)
    for container in [*pod["containers"], *pod.get("initContainers", [])]:
        own = container.get("securityContext", {})
        if own.get("allowPrivilegeEscalation") is not False:
            yield "allowPrivilegeEscalation"
        if own.get("privileged"):
            yield "privileged"
        if own.get("capabilities", {}).get("drop") != ["ALL"] or own["capabilities"].get("add"):
            yield "capabilities"
        if not own.get("runAsNonRoot", whole.get("runAsNonRoot")) or own.get("runAsUser", whole.get("runAsUser")) == 0:
            yield "runAsNonRoot"
        if own.get("seccompProfile", whole.get("seccompProfile", {})).get("type") not in {
            "RuntimeDefault",
            "Localhost",
        }:
            yield "seccompProfile"


@pytest.mark.parametrize("name", RENDERED)
def test_the_pod_is_let_into_a_restricted_namespace(name: str) -> None:
    pod = _one(_render(name), "StatefulSet")["spec"]["template"]["spec"]
    assert list(_breaches(pod)) == []
    assert pod["containers"][0]["securityContext"]["readOnlyRootFilesystem"] is True
    assert pod["automountServiceAccountToken"] is False


def test_a_pod_that_is_not_restricted_would_be_found() -> None:
    pod = {"hostNetwork": True, "volumes": [{"name": "x", "hostPath": {}}], "containers": [{"name": "x"}]}
    assert len(list(_breaches(pod))) == 6


# --- what belongs together ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RENDERED)
def test_the_server_takes_its_arguments(name: str) -> None:
    (container,) = _one(_render(name), "StatefulSet")["spec"]["template"]["spec"]["containers"]
    environment = {one["name"]: one.get("value", "") for one in container["env"]}
    command, *rest = [one.replace("$(TIGHTROPE_DATA)", environment["TIGHTROPE_DATA"]) for one in container["args"]]
    assert command == "serve"
    given = serve.make_context("serve", list(rest)).params
    assert given["host"] == "0.0.0.0"
    assert given["auth"] is None  # beyond loopback it is always required
    assert given["data"] == environment["TIGHTROPE_DATA"]
    assert [given["port"]] == [one["containerPort"] for one in container["ports"]]
    assert given["base_url"] == ("https://tightrope.example.com" if name == "example" else "")


@pytest.mark.parametrize("name", RENDERED)
def test_what_is_mounted_is_there_and_every_selector_finds_the_pod(name: str) -> None:
    documents = _render(name)
    whole = _one(documents, "StatefulSet")
    pod, labels = whole["spec"]["template"]["spec"], whole["spec"]["template"]["metadata"]["labels"].items()
    claims = [one["metadata"]["name"] for one in whole["spec"].get("volumeClaimTemplates", [])]
    volumes = {*claims, *(one["name"] for one in pod["volumes"])}
    assert {one["name"] for one in pod["containers"][0]["volumeMounts"]} == volumes
    assert ("data" in volumes) is (name != "postgresql")
    assert whole["spec"]["replicas"] == 1
    assert whole["spec"]["selector"]["matchLabels"].items() <= labels
    assert _one(documents, "Service")["spec"]["selector"].items() <= labels
    assert _one(documents, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"].items() <= labels
    ports = {one["name"] for one in pod["containers"][0]["ports"]}
    probes = [pod["containers"][0][f"{kind}Probe"]["httpGet"] for kind in ("startup", "liveness", "readiness")]
    assert {one["port"] for one in probes} <= ports
    assert {one["targetPort"] for one in _one(documents, "Service")["spec"]["ports"]} <= ports
    if name == "example":
        monitor = _one(documents, "ServiceMonitor")["spec"]
        assert monitor["selector"]["matchLabels"].items() <= _one(documents, "Service")["metadata"]["labels"].items()
        assert {one["port"] for one in monitor["endpoints"]} <= {
            one["name"] for one in _one(documents, "Service")["spec"]["ports"]
        }
        specs = _one(documents, "ConfigMap")
        assert specs["metadata"]["name"] in [one["configMap"]["name"] for one in pod["volumes"] if "configMap" in one]


def test_no_password_stands_in_a_manifest_or_an_argument() -> None:
    for name in RENDERED:
        (container,) = _one(_render(name), "StatefulSet")["spec"]["template"]["spec"]["containers"]
        assert not [one for one in container["env"] if "PASSWORD" in one["name"] and "value" in one]
        assert not [one for one in container["args"] if "@" in one and ":" in one.split("@")[0].partition("//")[2]]
        assert "Secret" not in {one["kind"] for one in _render(name)}


def test_specs_from_a_config_map_are_read_once(tmp_path: Path) -> None:
    """Kubernetes shows a ConfigMap as links into a folder that it swaps; the folder must not count as well."""
    hidden = tmp_path / "..2026_03_01"
    hidden.mkdir()
    shutil.copy(MANIFESTS / "example" / "specs" / "checkout.yaml", hidden)
    (tmp_path / "..data").symlink_to(hidden.name)
    (tmp_path / "checkout.yaml").symlink_to("..data/checkout.yaml")
    assert [slo.name for slo in load_specs([str(tmp_path)]).slos] == ["checkout-availability"]
