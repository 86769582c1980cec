"""Holds over a store, with a gate and a clock in the hands of the test."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.delivery.forges import APP, INSTALLATION, app_key
from tests.policy.worlds import facts, overspent, silent, slo
from tightrope.base.errors import NotFoundError
from tightrope.base.settings import environment
from tightrope.delivery.holds.usecases import Holds
from tightrope.policy.decision import Decision, GateRequest
from tightrope.policy.gate import decide
from tightrope.specs.model import Integration, IntegrationType, Mapped, OnStop, Specs
from tightrope.state.database import Database

START = 1_900_000_000
SECRETS = {"APP_KEY": "", "GITLAB_TOKEN": "glpat-secret", "GITHUB_TOKEN": "ghp_secret"}
OPEN: list[Holds] = []
"""Holds that tests made, to be closed after each."""

MAP = (Mapped("checkout", repository="acme/shop", environments=(("prod*", "production"),)),)


@dataclass
class Gate:
    """A gate that says what the test wants: ``go``, ``stop``, ``wait`` or ``unknown``; of some services something else.

    Attributes:
        leaves: Services that no change is about.
    """

    says: str = "stop"
    of: dict[str, str] = field(default_factory=dict)
    leaves: frozenset[str] = frozenset()
    recorded: list[Decision] = field(default_factory=list)
    weighed: int = 0

    def weigh(self, request: GateRequest) -> Decision:
        self.weighed += 1
        return self._decided(request)

    def ask(self, request: GateRequest) -> Decision:
        decision = self._decided(request)
        self.recorded.append(decision)
        return decision

    def _decided(self, request: GateRequest) -> Decision:
        says = self.of.get(request.service, self.says)
        if says == "unknown":
            raise NotFoundError(f"there is no service named {request.service!r}")
        one = {"go": slo(), "stop": overspent(), "wait": silent(900)}[says]
        return decide(request, facts(one))


@dataclass
class Clock:
    """The time, as the test has it."""

    at: int = START

    def __call__(self) -> int:
        return self.at

    def forward(self, seconds: int) -> None:
        self.at += seconds


def github_of(url: str, **more: Any) -> Integration:
    """GitHub as an App."""
    whole = {"app": APP, "installation": INSTALLATION, "app_key_from": "APP_KEY", "map": MAP, "url": url, **more}
    return Integration("github", IntegrationType.GITHUB, "HOOK", **whole)


def gitlab_of(url: str, **more: Any) -> Integration:
    """GitLab with a token."""
    whole = {"token_from": "GITLAB_TOKEN", "map": MAP, "url": f"{url}/api/v4", **more}
    return Integration("gitlab", IntegrationType.GITLAB, "HOOK", **whole)


def secret(name: str) -> str:
    """What the environment of the tests would say."""
    return (environment("APP_KEY") or app_key()) if name == "APP_KEY" else SECRETS.get(name, "")


def holds_of(
    database: Database,
    gate: Gate,
    clock: Callable[[], int],
    *integrations: Integration,
    ready: Callable[[], bool] = lambda: True,
) -> Holds:
    """Holds with these integrations."""
    specs = Specs(integrations=integrations, services={"checkout": "Checkout", "basket": "Basket"})
    made = Holds(
        database,
        lambda: specs,
        ask=gate.ask,
        weigh=gate.weigh,
        concerns=lambda request: request.service not in gate.leaves,
        ready=ready,
        base_url="https://tightrope.example",
        now=clock,
        variable=secret,
    )
    OPEN.append(made)
    return made


def close_all() -> None:
    """Let go of every connection that a test opened."""
    while OPEN:
        OPEN.pop().close()


def protection(url: str, run: int = 42, deployment: int = 1, **more: Any) -> dict[str, Any]:
    """What GitHub sends when a job waits for us."""
    return {
        "action": "requested",
        "environment": "prod-eu",
        "event": "push",
        "deployment_callback_url": f"{url}/repos/acme/shop/actions/runs/{run}/deployment_protection_rule",
        "deployment": {"id": deployment, "sha": "a" * 40, "ref": "main", "task": "deploy", "payload": {}},
        "pull_requests": [{"number": 7, "title": "feat: a new wallet", "labels": []}],
        "repository": {"full_name": "acme/shop"},
        "installation": {"id": INSTALLATION},
        "sender": {"login": "dev"},
        **more,
    }


def status_check(sha: str, merge_request: int = 3) -> dict[str, Any]:
    """What GitLab sends for an external status check."""
    return {
        "object_kind": "merge_request",
        "user": {"username": "dev"},
        "project": {"id": 7, "path_with_namespace": "acme/shop"},
        "object_attributes": {
            "iid": merge_request,
            "title": "feat: a new wallet",
            "target_branch": "main",
            "last_commit": {"id": sha, "message": "feat: a new wallet"},
        },
        "external_approval_rule": {"id": 5, "name": "tightrope", "external_url": "https://tightrope.example"},
    }


def blocked(deployment: int = 15, job: int = 796) -> dict[str, Any]:
    """What GitLab sends for a deployment that waits for an approval."""
    return {
        "object_kind": "deployment",
        "status": "blocked",
        "deployment_id": deployment,
        "deployable_id": job,
        "environment": "production",
        "project": {"id": 7, "path_with_namespace": "acme/shop"},
        "short_sha": "279484c0",
        "user": {"username": "dev"},
        "commit_url": f"https://gitlab.com/acme/shop/-/commit/{'b' * 40}",
        "commit_title": "feat: a new wallet",
    }


Payload = Mapping[str, Any]
REFUSE = OnStop.REFUSE
