"""Callers of the gate, as their sources say that they behave; each small, and wrong in the way that the real one is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx2

# --- Flagger: fluxcd/flagger, pkg/controller/webhook.go, scheduler_hooks.go, scheduler.go ---------------------------


@dataclass
class Flagger:
    """One canary under Flagger, reduced to its hooks: what runs in which order, and what each answer does.

    ``retries`` as go-retryablehttp has them: 429 and 5xx are tried again, and after the last try the body is gone.
    """

    hooks: Sequence[tuple[str, str]]
    metadata: Mapping[str, str] = field(default_factory=dict)
    threshold: int = 3
    retries: int = 0
    name: str = "shop"
    phase: str = "Progressing"
    failed_checks: int = 0
    weight: int = 0
    events: list[str] = field(default_factory=list)

    def interval(self) -> None:
        """What Flagger does once an interval."""
        if self.phase in {"Failed", "Succeeded"}:
            return
        if any(not self._call(url)[0] for url in self._urls("confirm-rollout")):
            self.phase = "Waiting"
            return
        if self.phase == "Waiting":
            self.phase = "Progressing"
            return
        if any(self._call(url)[0] for url in self._urls("rollback")):
            self.events.append("Rollback hook signals a rollback")
            self.phase = "Failed"
            return
        if not self._all_pass("rollout" if self.weight else "pre-rollout"):
            self.failed_checks += 1
        else:
            self._advance()
        if self.failed_checks >= self.threshold:
            self.phase = "Failed"

    def _advance(self) -> None:
        if any(not self._call(url)[0] for url in self._urls("confirm-traffic-increase")):
            return
        if self.weight < 50:
            self.weight += 25
            return
        if all(self._call(url)[0] for url in self._urls("confirm-promotion")):
            self.phase = "Succeeded"
            for url in self._urls("post-rollout"):
                self._call(url)

    def _all_pass(self, kind: str) -> bool:
        for url in self._urls(kind):
            passed, body = self._call(url)
            if not passed:
                self.events.append(f"Halt advancement {kind} check failed {body}")
                return False
        return True

    def _urls(self, kind: str) -> list[str]:
        return [url for one, url in self.hooks if one == kind]

    def _call(self, url: str) -> tuple[bool, str]:
        payload = {
            "name": self.name,
            "namespace": "prod",
            "phase": self.phase,
            "checksum": "85d557f47b",
            "metadata": dict(self.metadata),
        }
        for attempt in range(self.retries + 1):
            try:
                answer = httpx2.post(url, json=payload, timeout=10)
            except httpx2.TransportError as error:
                return False, str(error)
            if (answer.status_code == 429 or answer.status_code >= 500) and attempt == self.retries:
                return False, "giving up after retries"  # the library drains the body
            if answer.status_code != 429 and answer.status_code < 500:
                return answer.status_code <= 202, answer.text
        return False, ""


# --- Argo Rollouts: metricproviders/webmetric, metricproviders/kayenta, analysis/analysis.go -------------------------

MOST_ERRORS = 4
"""utils/defaults: more errors in a row than this make the run an Error, and that aborts the rollout."""


@dataclass
class ArgoMetric:
    """One metric of an AnalysisRun: each measurement is assessed as analysis.go does.

    With both conditions set and neither true a measurement is Inconclusive. A run ends Successful after
    ``consecutive_success_limit``, Failed above ``failure_limit``, Inconclusive above ``inconclusive_limit``, and Error
    after ``consecutive_error_limit``.
    """

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    consecutive_success_limit: int = 1
    failure_limit: int = 0
    inconclusive_limit: int = 0
    consecutive_error_limit: int = MOST_ERRORS
    success: str = "go"
    failure: str = "stop"
    phases: list[str] = field(default_factory=list)
    values: list[str] = field(default_factory=list)

    def measure(self) -> str:
        """Take a measurement, and tell the phase of the run after it."""
        self.phases.append(self._measured())
        return self.phase

    @property
    def phase(self) -> str:
        """The phase of the run."""
        if self.phases.count("Failed") > self.failure_limit:
            return "Failed"
        if self.phases.count("Inconclusive") > self.inconclusive_limit:
            return "Inconclusive"
        if _tail(self.phases, "Error") > self.consecutive_error_limit:
            return "Error"
        if _tail(self.phases, "Successful") >= self.consecutive_success_limit:
            return "Successful"
        return "Running"

    def _measured(self) -> str:
        try:
            answer = httpx2.get(self.url, headers=dict(self.headers), timeout=10)
        except httpx2.TransportError:
            return "Error"
        if not 200 <= answer.status_code < 300:
            return "Error"
        result = answer.json()
        self.values = [*self.values, answer.text][-10:]  # only ten measurements are kept
        if result["decision"] == self.success:
            return "Successful"
        return "Failed" if result["decision"] == self.failure else "Inconclusive"


def _tail(phases: Sequence[str], phase: str) -> int:
    count = 0
    for one in reversed(phases):
        if one != phase:
            return count
        count += 1
    return count


@dataclass
class ArgoKayenta:
    """The ``kayenta`` provider: looks the config up by name, begins an execution, and resumes every 15 s."""

    address: str
    application: str
    least: int = 90
    marginal: int = 60
    config_name: str = "tightrope"
    execution: str = ""
    value: str = ""
    phase: str = ""

    def run(self) -> str:
        """Begin a measurement."""
        query = f"application={self.application}&configurationAccountName=s3"
        found = httpx2.get(f"{self.address}/canaryConfig?{query}", timeout=15)
        if found.status_code != 200:
            return self._error()
        config = next((one["id"] for one in found.json() if one["name"] == self.config_name), "")
        accounts = "metricsAccountName=p&configurationAccountName=s3&storageAccountName=s3"
        scope = {
            "scope": "app",
            "location": "eu",
            "step": 60,
            "start": "2026-01-01T00:00:00Z",
            "end": "2026-01-01T01:00:00Z",
        }
        body = {
            "scopes": {"default": {"controlScope": scope, "experimentScope": scope}},
            "thresholds": {"pass": self.least, "marginal": self.marginal},
        }
        url = f"{self.address}/canary/{config}?application={self.application}&{accounts}"
        begun = httpx2.post(url, json=body, timeout=15)
        if begun.status_code != 200:
            return self._error()
        self.execution = f"{begun.json().get('canaryExecutionId')}"
        self.phase = "Running" if self.execution else "Error"
        return self.phase

    def resume(self) -> str:
        """Look again, as it does every 15 s."""
        answer = httpx2.get(f"{self.address}/canary/{self.execution}", timeout=15)
        if answer.status_code != 200 or not isinstance(answer.json().get("complete"), bool):
            return self._error()
        document = answer.json()
        if not document["complete"]:
            return self.phase
        score = document["result"]["judgeResult"]["score"]["score"]
        if isinstance(score, bool) or not isinstance(score, (int, float)):
            return self._error()
        value = int(score)
        self.value = str(value)
        self.phase = "Successful" if value >= self.least else "Inconclusive" if value >= self.marginal else "Failed"
        return self.phase

    def _error(self) -> str:
        self.phase = "Error"
        return self.phase


# --- Spinnaker: spinnaker/orca, orca-webhook ------------------------------------------------------------------------


@dataclass
class SpinnakerStage:
    """A webhook stage that waits for completion, with the status URL in the header ``Location``."""

    url: str
    payload: Mapping[str, Any]
    headers: Mapping[str, str]
    success: str = "SUCCEEDED"
    canceled: str = "CANCELED"
    terminal: str = "TERMINAL"
    status_path: str = "status"
    progress_path: str = "progress"
    status_url: str = ""
    progress: str = ""
    status: str = "NOT_STARTED"

    def create(self) -> str:
        """The first call: a POST that is slower than 20 s is terminal."""
        answer = httpx2.post(self.url, json=dict(self.payload), headers=dict(self.headers), timeout=20)
        if answer.status_code >= 500 or answer.status_code == 429:
            self.status = "RUNNING"
        elif answer.status_code >= 400:
            self.status = "TERMINAL"
        else:
            self.status_url, self.status = answer.headers["location"], "RUNNING"
        return self.status

    def poll(self) -> str:
        """One look at the status."""
        try:
            answer = httpx2.get(self.status_url, headers=dict(self.headers), timeout=20)
        except httpx2.TimeoutException:
            return self.status
        except httpx2.TransportError:
            self.status = "TERMINAL"  # a refused connection is neither a name that is unknown nor a timeout
            return self.status
        if answer.status_code >= 500 or answer.status_code == 429:
            return self.status
        if answer.status_code >= 400:
            self.status = "TERMINAL"
            return self.status
        document = answer.json()
        result, progress = document.get(self.status_path), document.get(self.progress_path)
        if isinstance(result, (dict, list)) or result is None or not isinstance(progress, str):
            self.status = "TERMINAL"
            return self.status
        self.progress = progress
        words = {self.success: "SUCCEEDED", self.canceled: "CANCELED", self.terminal: "TERMINAL"}
        found = "SUCCEEDED" if result == 100 else words.get(str(result).upper(), "RUNNING")
        self.status = found
        return self.status

    def cancel(self) -> int:
        """What is called on cancel and on failure."""
        return httpx2.post(f"{self.status_url}/cancel", headers=dict(self.headers), timeout=20).status_code


# --- Kubernetes: the API server's side of a validating webhook ------------------------------------------------------


@dataclass
class ApiServer:
    """Sends AdmissionReviews, and does with the answer what an API server does."""

    url: str
    failure_policy: str = "Ignore"
    timeout_s: float = 10
    warnings: list[str] = field(default_factory=list)

    def admit(self, review: Mapping[str, Any]) -> tuple[bool, str]:
        """Whether an object is let in, and what `kubectl` says if not."""
        try:
            answer = httpx2.post(f"{self.url}?timeout={self.timeout_s:g}s", json=dict(review), timeout=self.timeout_s)
            if answer.status_code != 200:
                raise ValueError(f"the webhook answers {answer.status_code}")
            document = answer.json()
            response = document["response"]
            if (document["apiVersion"], document["kind"]) != (review["apiVersion"], review["kind"]):
                raise ValueError("another version")
            if response["uid"] != review["request"]["uid"]:
                raise ValueError("another uid")
        except (httpx2.TransportError, ValueError, KeyError) as error:
            return self.failure_policy == "Ignore", f"failed calling webhook: {error}"
        room = 4096
        for warning in response.get("warnings", []):
            text = warning[:256]
            room -= len(text.encode())
            if room >= 0:
                self.warnings.append(text)
        if response["allowed"]:
            return True, ""
        return False, f"admission webhook denied the request: {response['status']['message']}"
