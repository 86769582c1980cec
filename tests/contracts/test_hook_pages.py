"""What the pages on webhooks show is what works: integrations are valid, and filled-in templates are read."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.contracts import hooks
from tests.contracts.hooks import NOON, SECRET, sha
from tests.specs.samples import found
from tightrope.delivery.changes import DeploymentState
from tightrope.delivery.facts import Deployed
from tightrope.delivery.receivers import receiver_of
from tightrope.specs.model import IntegrationType

PAGES = ("github", "gitlab", "gitea", "argocd", "flux", "cdevents")
_BLOCK = re.compile(r"^```yaml\n(.*?)^```", re.MULTILINE | re.DOTALL)

# what the engine would write in the place of each action of a template; toJson quotes
VALUES: dict[str, Any] = {
    ".app.metadata.name | toJson": "checkout",
    ".app.metadata.namespace | toJson": "argocd",
    ".app.metadata.name": "checkout",
    ".app.metadata.namespace": "argocd",
    ".context.argocdUrl": "https://argocd.example.org",
    'dig "spec" "source" "repoURL" "" .app | toJson': "https://github.com/acme/deploy.git",
    'dig "status" "operationState" "operation" "sync" "revision" "" .app | toJson': sha(4),
    'dig "status" "operationState" "syncResult" "revision" "" .app | toJson': sha(4),
    'dig "status" "operationState" "startedAt" "" .app | toJson': "2026-03-17T11:59:00Z",
    'dig "status" "operationState" "finishedAt" "" .app | toJson': hooks.AT,
    'dig "status" "operationState" "operation" "initiatedBy" "username" "" .app | toJson': "",
    'dig "status" "summary" "images" (list) .app | toJson': ["ghcr.io/acme/shop:v2.36.0"],
    'dig "metadata" "annotations" "tightrope.dev/decision" "" .app | toJson': "D-7",
    ".rollout.metadata.name | toJson": "checkout",
    ".rollout.metadata.namespace | toJson": "shop",
    'dig "metadata" "annotations" "rollout.argoproj.io/revision" "" .rollout | toJson': "7",
    'dig "status" "currentPodHash" "" .rollout | toJson': "6c54544bf9",
    'dig "status" "message" "" .rollout | toJson': "aborted",
    'dig "metadata" "annotations" "tightrope.dev/decision" "" .rollout | toJson': "",
    "(first .rollout.spec.template.spec.containers).image | toJson": "ghcr.io/acme/shop:v2.36.0",
}


def blocks(root: Path, page: str) -> list[str]:
    return _BLOCK.findall((root / "docs" / "integrations" / f"webhooks-{page}.md").read_text("utf-8"))


def filled(template: str) -> str:
    def value(match: re.Match[str]) -> str:
        action = match[1].strip()
        return json.dumps(VALUES[action]) if action.endswith("toJson") else str(VALUES[action])

    return re.sub(r"{{(.*?)}}", value, template)


@pytest.mark.parametrize("page", PAGES)
def test_the_integrations_that_are_shown_are_valid(root: Path, page: str) -> None:
    shown = [one for one in blocks(root, page) if "kind: Integration" in one]
    assert shown
    for one in shown:
        assert [str(each) for each in found(one)] == []


@pytest.mark.parametrize(
    ("number", "kind", "token", "states"),
    [
        (0, IntegrationType.ARGOCD, "Bearer $tightrope-token", {"running", "deployed", "failed"}),
        (1, IntegrationType.ARGO_ROLLOUTS, "Bearer $tightrope-token", {"updated", "completed", "aborted"}),
    ],
)
def test_the_templates_for_argo_say_what_is_read(
    root: Path, number: int, kind: IntegrationType, token: str, states: set[str]
) -> None:
    maps = [one for one in blocks(root, "argocd") if "kind: ConfigMap" in one]
    data: dict[str, str] = yaml.safe_load(maps[number])["data"]
    service = yaml.safe_load(data["service.webhook.tightrope"])
    assert {"name": "Authorization", "value": token} in service["headers"]
    templates = {name: text for name, text in data.items() if name.startswith("template.")}
    assert {name.rpartition("-")[2] for name in templates} == states
    told = {}
    for name, text in templates.items():
        body = filled(yaml.safe_load(text)["webhook"]["tightrope"]["body"]).encode()
        headers = {"authorization": f"Bearer {SECRET}", "content-type": "application/json"}
        receiver = receiver_of(kind)
        assert receiver.genuine(headers, body, SECRET, NOON)
        (fact,) = receiver.read(headers, body, NOON).facts
        assert isinstance(fact, Deployed)
        told[name.rpartition("-")[2]] = fact
    assert sorted(one.state for one in told.values()) == sorted(DeploymentState)
    assert len({one.external for one in told.values()}) == 1
    assert {one.version for one in told.values()} == {"v2.36.0"}
    sent = {
        one for name, text in data.items() if name.startswith("trigger.") for one in yaml.safe_load(text)[0]["send"]
    }
    assert sent == {name.removeprefix("template.") for name in templates}
    (subscription,) = yaml.safe_load(data["subscriptions"])
    assert {f"trigger.{one}" for one in subscription["triggers"]} == {
        name for name in data if name.startswith("trigger.")
    }


def test_the_objects_for_flux_belong_together(root: Path) -> None:
    (text,) = [one for one in blocks(root, "flux") if "kind: Provider" in one]
    secret, provider, alert = yaml.safe_load_all(text)
    assert provider["spec"]["type"] == "generic-hmac"
    assert provider["spec"]["secretRef"]["name"] == secret["metadata"]["name"]
    assert alert["spec"]["providerRef"]["name"] == provider["metadata"]["name"]
    assert provider["spec"]["address"].endswith("/api/v1/hooks/flux")
