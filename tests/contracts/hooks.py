"""Deliveries of others, made anew from the field lists that they publish, and signed as they sign them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any

SECRET = "It's a Secret to Everybody"
AT = "2026-03-17T12:00:00Z"
NOON = 1_773_748_800
ZERO = "0" * 40


def sha(number: int) -> str:
    return f"{number:x}" * 40 if number < 16 else f"{number:040x}"


def encoded(document: Any) -> bytes:
    return json.dumps(document).encode()


def signature(body: bytes, secret: str = SECRET) -> str:
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def standard(body: bytes, name: str, at: int, secret: str = SECRET) -> dict[str, str]:
    """The headers of Standard Webhooks."""
    key = base64.b64decode(secret.removeprefix("whsec_")) if secret.startswith("whsec_") else secret.encode()
    made = hmac.new(key, f"{name}.{at}.".encode() + body, hashlib.sha256).digest()
    return {
        "webhook-id": name,
        "webhook-timestamp": str(at),
        "webhook-signature": f"v1,{base64.b64encode(made).decode()}",
    }


# --- GitHub (docs.github.com, "Webhook events and payloads") -------------------------------------------------------

REPOSITORY = {
    "id": 35129377,
    "full_name": "acme/shop",
    "name": "shop",
    "html_url": "https://github.com/acme/shop",
    "clone_url": "https://github.com/acme/shop.git",
    "default_branch": "main",
}


def github(
    event: str, document: Any, delivery: str = "72d3162e-cc78-11e3-81ab-4c9367dc0958"
) -> tuple[dict[str, str], bytes]:
    body = encoded(document)
    headers = {
        "content-type": "application/json",
        "user-agent": "GitHub-Hookshot/044aadd",
        "x-github-event": event,
        "x-github-delivery": delivery,
        "x-github-hook-id": "292430182",
        "x-hub-signature-256": f"sha256={signature(body)}",
    }
    return headers, body


def github_commit(number: int, message: str, at: str = AT) -> dict[str, Any]:
    return {
        "id": sha(number),
        "tree_id": sha(15),
        "distinct": True,
        "message": message,
        "timestamp": at,
        "url": f"https://github.com/acme/shop/commit/{sha(number)}",
        "author": {"name": "Ann Lee", "email": "ann@example.org", "username": "ann"},
        "committer": {"name": "GitHub", "email": "noreply@github.com", "username": "web-flow"},
        "added": ["shop/new.py"],
        "removed": [],
        "modified": ["shop/a.py"],
    }


def github_push(*commits: dict[str, Any], before: int = 1, **more: Any) -> dict[str, Any]:
    return {
        "ref": "refs/heads/main",
        "before": sha(before),
        "after": commits[-1]["id"] if commits else ZERO,
        "repository": REPOSITORY,
        "pusher": {"name": "ann", "email": "ann@example.org"},
        "sender": {"login": "ann", "id": 1},
        "created": False,
        "deleted": False,
        "forced": False,
        "base_ref": None,
        "compare": "https://github.com/acme/shop/compare/a...b",
        "commits": list(commits),
        "head_commit": commits[-1] if commits else None,
    } | more


def github_deployment(state: str, at: str = AT, **more: Any) -> dict[str, Any]:
    deployment = {
        "id": 145988746,
        "sha": sha(3),
        "ref": "v2.36.0",
        "task": "deploy",
        "payload": {},
        "original_environment": "prod",
        "environment": "prod",
        "description": None,
        "creator": {"login": "ann"},
        "created_at": "2026-03-17T11:50:00Z",
        "updated_at": at,
        "url": "https://api.github.com/repos/acme/shop/deployments/145988746",
    } | more
    return {
        "action": "created",
        "deployment_status": {
            "id": 209916254,
            "state": state,
            "creator": {"login": "github-actions[bot]"},
            "description": "",
            "environment": "prod",
            "target_url": "https://github.com/acme/shop/actions/runs/1",
            "log_url": "https://github.com/acme/shop/actions/runs/1",
            "created_at": at,
            "updated_at": at,
        },
        "deployment": deployment,
        "repository": REPOSITORY,
        "sender": {"login": "ann"},
    }


def github_pull(labels: tuple[str, ...] = (), **more: Any) -> dict[str, Any]:
    pull = {
        "number": 7,
        "state": "closed",
        "title": "Bump the library",
        "user": {"login": "ben"},
        "html_url": "https://github.com/acme/shop/pull/7",
        "merged": True,
        "merged_at": AT,
        "merge_commit_sha": sha(3),
        "labels": [{"id": 1, "name": name, "color": "ededed"} for name in labels],
    } | more
    return {"action": "closed", "number": 7, "pull_request": pull, "repository": REPOSITORY, "sender": {"login": "ben"}}


def github_run(status: str, conclusion: str | None, at: str = AT) -> dict[str, Any]:
    return {
        "action": status,
        "workflow_run": {
            "id": 30433642,
            "name": "Build",
            "head_branch": "main",
            "head_sha": sha(3),
            "run_number": 562,
            "run_attempt": 1,
            "event": "push",
            "status": status,
            "conclusion": conclusion,
            "html_url": "https://github.com/acme/shop/actions/runs/30433642",
            "created_at": "2026-03-17T11:40:00Z",
            "updated_at": at,
            "run_started_at": "2026-03-17T11:41:00Z",
        },
        "repository": REPOSITORY,
    }


# --- GitLab (docs.gitlab.com, "Webhook events") --------------------------------------------------------------------

PROJECT = {
    "id": 30,
    "name": "shop",
    "web_url": "https://gitlab.example.org/acme/shop",
    "path_with_namespace": "acme/shop",
    "default_branch": "main",
}


def gitlab(document: Any, key: str = "e1", *, event: str = "Hook", **headers: str) -> tuple[dict[str, str], bytes]:
    told = {
        "content-type": "application/json",
        "x-gitlab-event": event,
        "x-gitlab-event-uuid": "13792a34-cac6-4fda-95a8-c58e00a3954e",
        "idempotency-key": key,
        "x-gitlab-token": SECRET,
    } | headers
    return {name: value for name, value in told.items() if value}, encoded(document)


def gitlab_push(*numbers: int, total: int | None = None) -> dict[str, Any]:
    commits = [
        {
            "id": sha(number),
            "message": f"fix: number {number}\n\nbody",
            "title": f"fix: number {number}",
            "timestamp": "2026-03-17T13:00:00+01:00",
            "url": f"https://gitlab.example.org/acme/shop/-/commit/{sha(number)}",
            "author": {"name": "Ann Lee", "email": "ann@example.org"},
            "added": [],
            "modified": ["shop/a.py"],
            "removed": [],
        }
        for number in numbers
    ]
    return {
        "object_kind": "push",
        "event_name": "push",
        "before": sha(1),
        "after": sha(numbers[-1]),
        "ref": "refs/heads/main",
        "checkout_sha": sha(numbers[-1]),
        "user_username": "ann",
        "project": PROJECT,
        "commits": commits,
        "total_commits_count": len(commits) if total is None else total,
    }


def gitlab_deployment(status: str, at: str = "2026-03-17 13:00:00 +0100") -> dict[str, Any]:
    return {
        "object_kind": "deployment",
        "status": status,
        "status_changed_at": at,
        "deployment_id": 15,
        "deployable_id": 796,
        "deployable_url": "https://gitlab.example.org/acme/shop/-/jobs/796",
        "environment": "prod",
        "environment_tier": "production",
        "environment_slug": "prod",
        "environment_external_url": "https://shop.example.org",
        "project": PROJECT,
        "short_sha": sha(3)[:8],
        "user": {"id": 1, "name": "Ann Lee", "username": "ann"},
        "user_url": "https://gitlab.example.org/ann",
        "commit_url": f"https://gitlab.example.org/acme/shop/-/commit/{sha(3)}",
        "commit_title": "fix: number 3",
    }


# --- Gitea (go-gitea/gitea, modules/structs/hook.go) ---------------------------------------------------------------


def gitea(event: str, document: Any, kin: str = "gitea", delivery: str = "f6266f16") -> tuple[dict[str, str], bytes]:
    body = encoded(document)
    headers = {
        "content-type": "application/json",
        f"x-{kin}-event": event,
        f"x-{kin}-event-type": event,
        f"x-{kin}-delivery": delivery,
        f"x-{kin}-signature": signature(body),
        "x-github-event": event,
        "x-github-delivery": delivery,
        "x-hub-signature-256": f"sha256={signature(body)}",
    }
    return headers, body


def gitea_push(*numbers: int) -> dict[str, Any]:
    """Gitea lists the newest commit first."""
    commits = [
        {
            "id": sha(number),
            "message": f"fix: number {number}\n",
            "url": f"https://git.example.org/acme/shop/commit/{sha(number)}",
            "author": {"name": "Ann Lee", "email": "ann@example.org", "username": "ann"},
            "committer": {"name": "Ann Lee", "email": "ann@example.org", "username": "ann"},
            "verification": None,
            "timestamp": "2026-03-17T13:00:00+01:00",
            "added": [],
            "removed": [],
            "modified": ["shop/a.py"],
        }
        for number in reversed(numbers)
    ]
    return {
        "ref": "refs/heads/main",
        "before": sha(1),
        "after": sha(numbers[-1]),
        "compare_url": "https://git.example.org/acme/shop/compare/a...b",
        "commits": commits,
        "total_commits": len(commits),
        "head_commit": commits[0],
        "repository": {"id": 1, "full_name": "acme/shop", "html_url": "https://git.example.org/acme/shop"},
        "pusher": {"login": "ann"},
        "sender": {"login": "ann"},
    }


# --- Argo CD, Argo Rollouts and Flux -------------------------------------------------------------------------------


def bearer(document: Any, secret: str = SECRET) -> tuple[dict[str, str], bytes]:
    return {"content-type": "application/json", "authorization": f"Bearer {secret}"}, encoded(document)


def argocd(trigger: str, **more: Any) -> dict[str, Any]:
    return {
        "trigger": trigger,
        "app": "checkout",
        "namespace": "argocd",
        "project": "shop",
        "repository": "https://github.com/acme/deploy.git",
        "revision": sha(4),
        "startedAt": "2026-03-17T11:59:00Z",
        "finishedAt": "<no value>" if trigger == "on-sync-running" else AT,
        "phase": "Succeeded",
        "health": "Healthy",
        "images": ["ghcr.io/acme/shop:v2.36.0", "docker.io/library/redis:7"],
        "environment": "production",
        "decision": "<no value>",
        "by": "ann",
        "url": "https://argocd.example.org/applications/argocd/checkout",
    } | more


def rollout(trigger: str, **more: Any) -> dict[str, Any]:
    return {
        "trigger": trigger,
        "rollout": "checkout",
        "namespace": "shop",
        "revision": "7",
        "hash": "6c54544bf9",
        "message": "<no value>",
        "images": ["ghcr.io/acme/shop:v2.36.0"],
        "environment": "production",
        "decision": "D-7",
    } | more


def flux(reason: str, kind: str = "Kustomization", **metadata: str) -> tuple[dict[str, str], bytes]:
    body = encoded(
        {
            "involvedObject": {
                "kind": kind,
                "namespace": "flux-system",
                "name": "checkout",
                "uid": "1d0f59b1",
                "apiVersion": "kustomize.toolkit.fluxcd.io/v1",
                "resourceVersion": "106",
            },
            "severity": "error" if "Failed" in reason else "info",
            "timestamp": AT,
            "message": "Reconciliation finished in 1.5s, next run in 10m0s",
            "reason": reason,
            "metadata": metadata,
            "reportingController": "kustomize-controller",
            "reportingInstance": "kustomize-controller-7c7b47f5f",
        }
    )
    return {"content-type": "application/json", "x-signature": f"sha256={signature(body)}"}, body


# --- CDEvents (cdevents/spec, conformance) -------------------------------------------------------------------------


def cdevent(kind: str, content: dict[str, Any], *, id: str = "271069a8", custom: Any = None) -> dict[str, Any]:  # noqa: A002
    document: dict[str, Any] = {
        "context": {
            "specversion": "0.5.0",
            "id": id,
            "source": "/ci/acme",
            "type": f"dev.cdevents.{kind}.0.3.0",
            "timestamp": AT,
        },
        "subject": {"id": "checkout", "source": "/ci/acme", "content": content},
    }
    return document | ({"customData": custom, "customDataContentType": "application/json"} if custom else {})


def envelope(event: dict[str, Any]) -> dict[str, Any]:
    """An event in the structured mode of CloudEvents."""
    context = event["context"]
    return {
        "specversion": "1.0",
        "id": context["id"],
        "source": context["source"],
        "type": context["type"],
        "time": context["timestamp"],
        "subject": event["subject"]["id"],
        "datacontenttype": "application/json",
        "data": event,
    }


def binary(event: dict[str, Any]) -> dict[str, str]:
    """The headers of an event in the binary mode of CloudEvents."""
    context = event["context"]
    return {
        "content-type": "application/json",
        "ce-specversion": "1.0",
        "ce-id": context["id"],
        "ce-source": context["source"],
        "ce-type": context["type"],
        "ce-time": context["timestamp"],
        "ce-subject": event["subject"]["id"],
    }
