"""What docs/integrations/ gives to be pasted: it parses, its addresses and commands exist, and it does what it says."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from starlette.routing import compile_path

from tests.api.world import World
from tests.conftest import ROOT
from tests.contracts.callers import ApiServer, ArgoKayenta, ArgoMetric, Flagger, SpinnakerStage
from tests.contracts.dialect_world import GO, PAGE, STOP, UNKNOWN
from tests.policy.test_dialects import deployment, review
from tests.project.test_docs import _problem
from tightrope.api.application import openapi_document
from tightrope.api.dialects import KEYED
from tightrope.api.dialects import ROOT as DIALECTS
from tightrope.app import load_specs
from tightrope.policy.dialects.flagger import Hook

PAGES = ROOT / "docs" / "integrations"
HOST = "https://tightrope.example"
OURS = (
    "github",
    "gitlab",
    "argo-rollouts",
    "argocd",
    "flagger",
    "kubernetes",
    "spinnaker",
    "kayenta",
    "drone",
    "ci",
    "prometheus",
)
_FENCED = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_ADDRESS = re.compile(r"https://tightrope\.example(/[^\s\"'`\\)|,]*)?")


@dataclass(frozen=True)
class Snippet:
    """A fenced block of a page."""

    page: str
    language: str
    text: str

    def documents(self) -> list[Any]:
        return [one for one in yaml.safe_load_all(self.text) if one is not None]


def snippets() -> list[Snippet]:
    return [
        Snippet(name, language, text)
        for name in OURS
        for language, text in _FENCED.findall((PAGES / f"{name}.md").read_text(encoding="utf-8"))
    ]


def documents(kind: str = "", page: str = "") -> list[Any]:
    """Every document of a kind in YAML, or of a page."""
    return [
        document
        for one in snippets()
        if one.language == "yaml" and page in ("", one.page)
        for document in one.documents()
        if not kind or (isinstance(document, dict) and document.get("kind") == kind)
    ]


def texts(value: Any) -> Iterator[str]:
    """Every text in a document."""
    if isinstance(value, dict):
        for one in value.values():
            yield from texts(one)
    elif isinstance(value, list):
        for one in value:
            yield from texts(one)
    elif isinstance(value, str):
        yield value


def test_there_is_a_page_for_each_caller_and_it_says_what_was_not_tried() -> None:
    for name in OURS:
        page = (PAGES / f"{name}.md").read_text(encoding="utf-8")
        assert "\n## Not tried\n" in page, name
        assert f"(integrations/{name}.md)" in (ROOT / "docs" / "integrations.md").read_text(encoding="utf-8")


def test_every_snippet_parses() -> None:
    counted = {"yaml": 0, "json": 0}
    for one in snippets():
        if one.language == "yaml":
            assert one.documents(), one
        elif one.language == "json":
            json.loads(one.text)
        else:
            assert one.language in {"sh", "text", "groovy"}, one
            continue
        counted[one.language] += 1
    assert counted["yaml"] > 20
    assert counted["json"] >= 1


def test_every_address_of_ours_in_a_snippet_exists() -> None:
    known = [compile_path(path)[0] for path in openapi_document("1")["paths"]]
    found = 0
    for one in [*snippets(), Snippet("index", "text", (ROOT / "docs" / "integrations.md").read_text(encoding="utf-8"))]:
        for match in _ADDRESS.finditer(one.text):
            path = re.sub(r"\{\{.*?\}\}|\$\{.*?\}", "x", (match[1] or "").partition("?")[0]).rstrip("/.")
            if path.startswith(KEYED.rstrip("/")):
                token, _, rest = path.removeprefix(KEYED).partition("/")
                assert token in {"TOKEN", "x"}, one
                path = f"{DIALECTS}/{rest}".rstrip("/.")
            if not path or path.endswith(("/dialects", "/kayenta")):
                continue  # an address that a caller adds to
            assert any(pattern.match(path) for pattern in known), f"{one.page}: {path}"
            found += 1
    assert found >= 14


def test_every_command_in_a_snippet_exists_with_its_options() -> None:
    lines = []
    for one in snippets():
        for text in texts(one.documents()) if one.language == "yaml" else [one.text]:
            lines += re.findall(r"\btightrope gate [^\n;']*", text.replace("\\\n", " "))
    for document in documents("AnalysisTemplate"):
        for metric in document["spec"]["metrics"]:
            job = metric["provider"].get("job")
            if job:
                lines.append(" ".join(job["spec"]["template"]["spec"]["containers"][0]["command"]))
    assert len(lines) >= 8
    assert [
        f"{line}: {problem}" for line in lines if (problem := _problem(line.replace("{{args.service}}", "x")))
    ] == []


def test_every_integration_in_a_snippet_is_one_that_we_read(tmp_path: Path) -> None:
    found = documents("Integration")
    assert {one["spec"]["type"] for one in found} == {"github", "gitlab", "drone"}
    services = "---\napiVersion: openslo/v1\nkind: Service\nmetadata: {name: checkout}\nspec: {description: x}\n"
    (tmp_path / "specs.yaml").write_text(yaml.safe_dump_all(found) + services, encoding="utf-8")
    assert len(load_specs([str(tmp_path)]).integrations) == 3


# --- Argo ------------------------------------------------------------------------------------------------------------

METRIC_FIELDS = {
    "name", "interval", "initialDelay", "count", "successCondition", "failureCondition", "failureLimit",
    "inconclusiveLimit", "consecutiveErrorLimit", "consecutiveSuccessLimit", "provider",
}  # fmt: skip
"""Fields of a metric, argoproj/argo-rollouts pkg/apis/rollouts/v1alpha1/analysis_types.go."""

PROVIDER_FIELDS = {
    "web": {"url", "method", "headers", "body", "jsonBody", "jsonPath", "timeoutSeconds", "insecure", "authentication"},
    "kayenta": {
        "address", "application", "canaryConfigName", "metricsAccountName", "configurationAccountName",
        "storageAccountName", "threshold", "scopes",
    },
    "prometheus": {"address", "query", "authentication", "timeout", "insecure", "headers", "rangeQuery"},
    "job": {"metadata", "spec"},
}  # fmt: skip


def metric(template: str) -> Any:
    (found,) = [one for one in documents("AnalysisTemplate") if one["metadata"]["name"] == template]
    (only,) = found["spec"]["metrics"]
    return only


def test_analysis_templates_have_the_fields_of_argo_and_arguments_that_are_declared() -> None:
    templates = documents("AnalysisTemplate")
    assert len(templates) == 5
    for template in templates:
        assert template["apiVersion"] == "argoproj.io/v1alpha1"
        declared = {one["name"] for one in template["spec"]["args"]}
        used = {name for text in texts(template) for name in re.findall(r"\{\{args\.(\w+)\}\}", text)}
        assert used <= declared
        for one in template["spec"]["metrics"]:
            assert set(one) <= METRIC_FIELDS
            ((kind, fields),) = one["provider"].items()
            assert set(fields) <= PROVIDER_FIELDS[kind]
            assert "result" in one.get("successCondition", "result")


def web(world: World, template: str, service: str, token: str = "") -> ArgoMetric:
    """The metric of a page, as Argo would measure it against a server of ours."""
    one = metric(template)
    url = one["provider"]["web"]["url"].replace("{{args.service}}", service).replace("{{args.kind}}", "feature")
    (header,) = one["provider"]["web"]["headers"]
    success, failure = (
        re.fullmatch(r'result\.decision == "(\w+)"', one[name]) for name in ("successCondition", "failureCondition")
    )
    assert success is not None
    assert failure is not None
    return ArgoMetric(
        url.replace(HOST, world.url),
        {header["key"]: header["value"].replace("{{args.token}}", token or world.tokens["operator"])},
        one.get("consecutiveSuccessLimit", 1_000_000),
        one.get("failureLimit", 0),
        one.get("inconclusiveLimit", 0),
        one.get("consecutiveErrorLimit", 4),
        success[1],
        failure[1],
    )


def test_the_template_of_the_page_is_three_valued(fleet: World) -> None:
    assert web(fleet, "tightrope-gate", GO).measure() == "Successful"
    assert web(fleet, "tightrope-gate", STOP).measure() == "Failed"
    for service, token in ((UNKNOWN, ""), (GO, "tr_wrong")):
        waiting = web(fleet, "tightrope-gate", service, token)
        assert [waiting.measure() for _ in range(12)] == ["Running"] * 12


def test_the_template_beside_a_release_aborts_for_harm_only(fleet: World) -> None:
    phases = {one: [web(fleet, "tightrope-harm", one).measure() for _ in range(2)][-1] for one in (GO, STOP, PAGE)}
    assert phases == {GO: "Running", STOP: "Running", PAGE: "Failed"}


def test_an_outage_does_not_abort_with_the_templates_of_the_page(fleet: World) -> None:
    for template in ("tightrope-gate", "tightrope-harm"):
        down = web(fleet, template, GO)
        down.url = "http://127.0.0.1:9/nobody"
        assert [down.measure() for _ in range(30)][-1] == "Running"
    assert metric("tightrope-kayenta")["consecutiveErrorLimit"] > 10_000


def test_the_kayenta_template_of_the_page_works(fleet: World) -> None:
    fields = metric("tightrope-kayenta")["provider"]["kayenta"]
    address = fields["address"].replace(HOST, fleet.url).replace("{{args.token}}", fleet.tokens["operator"])
    for service, phase in ((GO, "Successful"), (STOP, "Failed"), (UNKNOWN, "Running")):
        threshold = fields["threshold"]
        one = ArgoKayenta(address, service, threshold["pass"], threshold["marginal"], fields["canaryConfigName"])
        one.run()
        assert one.resume() == phase
    assert set(fields["scopes"][0]) == {"name", "controlScope", "experimentScope"}


def test_the_job_of_argo_cd_is_a_hook_that_waits_and_is_never_tried_again_by_itself() -> None:
    (job,) = documents("Job", "argocd")
    notes = job["metadata"]["annotations"]
    assert notes["argocd.argoproj.io/hook"] == "PreSync"
    assert set(notes["argocd.argoproj.io/hook-delete-policy"].split(",")) <= {
        "HookSucceeded",
        "HookFailed",
        "BeforeHookCreation",
    }
    pod = job["spec"]["template"]["spec"]
    assert (job["spec"]["backoffLimit"], pod["restartPolicy"]) == (0, "Never")
    assert "3|4) sleep" in pod["containers"][0]["args"][0]


# --- Flagger ---------------------------------------------------------------------------------------------------------


def hooks() -> list[dict[str, Any]]:
    (canary,) = documents("Canary")
    (more,) = [one for one in documents(page="flagger") if "webhooks" in one]
    return [*canary["spec"]["analysis"]["webhooks"], *more["webhooks"]]


def test_each_hook_of_the_page_goes_to_the_url_of_its_own_type() -> None:
    assert len(hooks()) == 4
    for hook in hooks():
        assert set(hook) <= {"name", "type", "url", "timeout", "metadata", "retries", "muteAlert"}
        assert hook["type"] in set(Hook)
        assert hook["url"].rpartition("/")[2] == hook["type"]
        assert all(isinstance(one, str) for one in hook["metadata"].values()), "metadata is text, whatever it means"


def test_the_canary_of_the_page_goes_waits_and_goes_back(fleet: World) -> None:
    (canary,) = documents("Canary")
    token = fleet.tokens["operator"]
    chosen = [
        (one["type"], one["url"].replace(HOST, fleet.url).replace("TOKEN", token))
        for one in canary["spec"]["analysis"]["webhooks"]
    ]
    for service, phase in ((GO, "Succeeded"), (STOP, "Waiting"), (PAGE, "Waiting"), (UNKNOWN, "Waiting")):
        flagger = Flagger(chosen, {"service": service, "kind": "feature"}, canary["spec"]["analysis"]["threshold"])
        for _ in range(12):
            flagger.interval()
        assert (flagger.phase, flagger.failed_checks) == (phase, 0)
    (back,) = [url for kind, url in chosen if kind == "rollback"]
    flagger = Flagger([("rollback", back)], {"service": PAGE, "kind": "feature"}, weight=20)
    flagger.interval()
    assert flagger.phase == "Failed"


def test_the_metric_template_asks_for_a_gauge_that_there_is(fleet: World) -> None:
    (template,) = documents("MetricTemplate")
    assert template["apiVersion"] == "flagger.app/v1beta1"
    query = template["spec"]["query"].replace("{{ target }}", PAGE)
    answer = fleet.get("/api/v1/query", params={"query": query}).json()
    assert float(answer["data"]["result"][0]["value"][1]) > 1


def test_every_query_of_a_page_is_understood(fleet: World) -> None:
    queries = [one.replace("{{args.service}}", GO).replace("{{ target }}", GO) for one in _queries()]
    assert len(queries) == 3
    for query in queries:
        assert fleet.get("/api/v1/query", params={"query": query}).json()["status"] == "success", query


def _queries() -> list[str]:
    found = [one["spec"]["query"] for one in documents("MetricTemplate")]
    found += [one["metadata"]["query"] for each in documents("ScaledObject") for one in each["spec"]["triggers"]]
    return [*found, metric("tightrope-burn")["provider"]["prometheus"]["query"]]


# --- Kubernetes, Spinnaker and the rest -------------------------------------------------------------------------------


def test_the_webhook_configuration_has_what_kubernetes_wants(fleet: World) -> None:
    (configuration,) = documents("ValidatingWebhookConfiguration")
    assert configuration["apiVersion"] == "admissionregistration.k8s.io/v1"
    (webhook,) = configuration["webhooks"]
    assert {"name", "admissionReviewVersions", "sideEffects", "clientConfig", "rules"} <= set(webhook)
    assert webhook["sideEffects"] in {"None", "NoneOnDryRun"}
    assert webhook["failurePolicy"] in {"Ignore", "Fail"}
    assert 1 <= webhook["timeoutSeconds"] <= 30
    assert webhook["name"].count(".") >= 2
    for rule in webhook["rules"]:
        assert set(rule) == {"apiGroups", "apiVersions", "operations", "resources", "scope"}
        assert set(rule["operations"]) <= {"CREATE", "UPDATE", "DELETE", "CONNECT", "*"}
    url = webhook["clientConfig"]["url"].replace(HOST, fleet.url).replace("TOKEN", fleet.tokens["operator"])
    server = ApiServer(url, webhook["failurePolicy"], webhook["timeoutSeconds"])
    asked = review(deployment("shop:2", {"tightrope.dev/service": STOP}), deployment(), name="of-the-page")
    assert server.admit(asked)[0] is False


def test_the_annotations_of_the_page_are_those_that_are_read() -> None:
    (notes,) = [one["metadata"]["annotations"] for one in documents(page="kubernetes") if set(one) == {"metadata"}]
    source = (ROOT / "src" / "tightrope" / "policy" / "dialects" / "kubernetes.py").read_text(encoding="utf-8")
    for note in notes:
        name = note.removeprefix("tightrope.dev/")
        assert f'"{name}"' in source or f"tightrope.dev/{name}" in source, note


def test_the_stage_of_the_page_works(fleet: World) -> None:
    (text,) = [one.text for one in snippets() if one.page == "spinnaker" and one.language == "json"]
    fields = json.loads(text)
    headers = {
        name: value.replace("TOKEN", fleet.tokens["operator"]) for name, value in fields["customHeaders"].items()
    }
    for service, status in ((GO, "SUCCEEDED"), (STOP, "RUNNING")):
        stage = SpinnakerStage(
            fields["url"].replace(HOST, fleet.url).replace("checkout", service),
            {**fields["payload"], "execution": f"of-the-page-{service}"},
            headers,
            fields["successStatuses"],
            fields["canceledStatuses"],
            fields["terminalStatuses"],
            fields["statusJsonPath"].removeprefix("$."),
            fields["progressJsonPath"].removeprefix("$."),
        )
        assert (fields["method"], fields["statusUrlResolution"], fields["waitForCompletion"]) == (
            "POST",
            "locationHeader",
            True,
        )
        stage.create()
        assert stage.poll() == status


@pytest.mark.parametrize("page", ["github", "gitlab", "drone", "ci"])
def test_pipelines_have_the_shape_of_their_tool(page: str) -> None:
    pipelines = [one for one in documents(page=page) if "kind" not in one]
    assert pipelines
    for one in pipelines:
        if page == "github":
            assert all({"runs-on", "steps"} <= set(job) for job in one["jobs"].values())
        elif page == "gitlab":
            assert set(one["gate"]) <= {"stage", "image", "variables", "script", "allow_failure", "rules"}
            assert one["gate"]["allow_failure"] == {"exit_codes": [5]}
        else:
            assert all(isinstance(step, str) or {"name", "label"} & set(step) for step in one["steps"])
