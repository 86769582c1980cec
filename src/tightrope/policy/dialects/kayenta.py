"""Kayenta's routes, as far as Argo Rollouts and users of standalone analysis call them.

A hold is an execution: incomplete while it waits, with a score once there is a verdict.

Source:
    argoproj/argo-rollouts, metricproviders/kayenta/kayenta.go: any status but 200 is an error, and so is an execution
    without ``complete`` or without a score; fractions of a score are dropped. spinnaker/kayenta,
    kayenta-standalone-canary-analysis, CanaryAnalysisExecutionStatusResponse.java.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tightrope.base.units import time_text
from tightrope.policy.dialects.hearing import Answer, Asking, asking, at, cut

CONFIG = "tightrope"
"""The name of the one canary config there is: ``canaryConfigName`` of the analysis template."""

_PASS, _MARGINAL = 95, 75
_STATUSES = {
    "waiting": "running",
    "approved": "succeeded",
    "refused": "succeeded",
    "expired": "succeeded",
    "cancelled": "canceled",
    "superseded": "canceled",
}


def configs(application: str, now: int) -> Answer:
    """The list of canary configs: one, for whatever application is asked for."""
    return Answer(
        200,
        [
            {
                "id": CONFIG,
                "name": CONFIG,
                "updatedTimestamp": now * 1000,
                "updatedTimestampIso": time_text(now),
                "applications": [application] if application else [],
            }
        ],
    )


def config(name: str) -> Answer:
    """The one canary config, under whatever name it is asked for, as those who read it whole want it."""
    return Answer(
        200,
        {
            "id": cut(name, 200),
            "name": CONFIG,
            "description": "The gate of Tightrope: the error budget decides, not these metrics.",
            "configVersion": "1",
            "applications": [],
            "judge": {"name": "tightrope", "judgeConfigurations": {}},
            "metrics": [],
            "templates": {},
            "classifier": {"groupWeights": {}},
        },
    )


def read(query: Mapping[str, str], body: Any) -> tuple[Asking, dict[str, int]]:
    """Read what starts an execution: the application is the service, the experiment's location the environment.

    Returns:
        The question, and the thresholds ``pass`` and ``marginal``, which the score must be seen against.
    """
    scopes = at(body, "scopes")
    if not isinstance(scopes, Mapping):
        scopes = {}
    first = next(iter(scopes.values()), None)
    experiment = at(first, "experimentScope")
    thresholds = at(body, "thresholds")
    if thresholds is None:
        thresholds = at(body, "executionRequest", "thresholds")
    change = cut(at(experiment, "extendedScopeParams", "change"), 500) or query.get("change", "")
    given = {name: query[name] for name in ("kind", "environment", "message") if query.get(name)}
    question = asking(
        {**given, "change": change},
        service=query.get("application", ""),
        title=cut(at(experiment, "scope"), 500),
        asked_by="kayenta",
    )
    return question, {
        "pass": _whole(at(thresholds, "pass"), _PASS),
        "marginal": _whole(at(thresholds, "marginal"), _MARGINAL),
    }


def started(hold: str, *, standalone: bool = False) -> Answer:
    """The execution has begun."""
    return Answer(200, {"canaryAnalysisExecutionId" if standalone else "canaryExecutionId": hold})


def execution(
    hold: str,
    state: str,
    reason: str,
    thresholds: Mapping[str, Any],
    *,
    application: str = "",
    begun_at: int = 0,
    ended_at: int | None = None,
) -> Answer:
    """How an execution stands: ``complete`` once there is a verdict, with a score that the thresholds cannot turn."""
    document: dict[str, Any] = {
        "application": application,
        "pipelineId": hold,
        "complete": state != "waiting",
        "status": _STATUSES.get(state, "running"),
        "stageStatus": {"gate": _STATUSES.get(state, "running")},
        "startTimeIso": time_text(begun_at),
        "startTimeMillis": begun_at * 1000,
        "metricsAccountName": "",
        "storageAccountName": "",
    }
    if state != "waiting":
        ended = ended_at if ended_at is not None else begun_at
        document |= {"endTimeIso": time_text(ended), "endTimeMillis": ended * 1000}
        document["result"] = {
            "application": application,
            "judgeResult": {
                "judgeName": "tightrope",
                "results": [],
                "groupScores": [],
                "score": _score(state, reason, thresholds),
            },
        }
    return Answer(200, document)


def standalone(
    hold: str,
    state: str,
    reason: str,
    thresholds: Mapping[str, Any],
    *,
    application: str = "",
    begun_at: int = 0,
    ended_at: int | None = None,
) -> Answer:
    """The same for users of standalone analysis."""
    score = _score(state, reason, thresholds)
    document: dict[str, Any] = {
        "application": application,
        "user": "anonymous",
        "pipelineId": hold,
        "stageStatus": [
            {"type": "gate", "name": "gate", "status": _STATUSES.get(state, "running"), "executionId": hold}
        ],
        "complete": state != "waiting",
        "executionStatus": _STATUSES.get(state, "running").upper(),
        "status": _STATUSES.get(state, "running"),
        "startTimeIso": time_text(begun_at),
        "startTimeMillis": begun_at * 1000,
        "metricsAccountName": "",
        "storageAccountName": "",
    }
    if state != "waiting":
        ended = ended_at if ended_at is not None else begun_at
        document |= {"endTimeIso": time_text(ended), "endTimeMillis": ended * 1000}
        document["canaryAnalysisExecutionResult"] = {
            "didPassThresholds": state == "approved",
            "hasWarnings": False,
            "canaryScoreMessage": score["classificationReason"],
            "canaryScores": [score["score"]],
            "canaryExecutionResults": [],
        }
    return Answer(200, document)


def _score(state: str, reason: str, thresholds: Mapping[str, Any]) -> dict[str, Any]:
    """A pass or a fail whatever the thresholds: a fail lies below ``marginal``, even where that is 0."""
    passed = state == "approved"
    least, marginal = _whole(thresholds.get("pass"), _PASS), _whole(thresholds.get("marginal"), _MARGINAL)
    return {
        "score": max(100, least) if passed else min(0, marginal - 1),
        "classification": "Pass" if passed else "Fail",
        "classificationReason": cut(reason, 500),
    }


def _whole(given: Any, otherwise: int) -> int:
    sound = isinstance(given, (int, float)) and not isinstance(given, bool) and abs(given) < 1e9
    return int(given) if sound else otherwise
