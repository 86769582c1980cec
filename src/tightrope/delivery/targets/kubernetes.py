"""Traffic moved in a cluster: replicas of two Deployments, the selector of a Service, or the weight of an Argo Rollout.

What is sent is rendered here and handed to kubectl, which speaks to the cluster with the rights of whoever runs it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from tightrope.delivery.commands import RunCommand
from tightrope.delivery.targets import Release, Seen, TargetError, argv_of, done
from tightrope.specs.model import RolloutHow, RolloutStrategy

_MANAGER = "tightrope"


def scale_patch(replicas: int) -> dict[str, Any]:
    """How many replicas a Deployment should have."""
    return {"spec": {"replicas": replicas}}


def selector_patch(label: str, value: str) -> dict[str, Any]:
    """Which pods a Service sends its requests to."""
    return {"spec": {"selector": {label: value}}}


def weight_patch(percent: int) -> dict[str, Any]:
    """The steps of a canary that stays at a weight until it is told otherwise."""
    steps: list[dict[str, Any]] = [{"setWeight": percent}, {"pause": {}}]
    return {"spec": {"paused": False, "strategy": {"canary": {"steps": steps}}}}


class _Kubectl:
    """kubectl, with the namespace and whatever else is always said."""

    def __init__(self, settings: Mapping[str, Any], run: RunCommand, folder: str) -> None:
        self._argv = argv_of(settings["kubectl"]) if isinstance(settings.get("kubectl"), list) else []
        self._argv = self._argv or [str(settings.get("kubectl", "kubectl"))]
        self._space = ["--namespace", str(settings.get("namespace", "default"))]
        self._run = run
        self._folder = folder

    def read(self, kind: str, name: str) -> dict[str, Any]:
        """One object as the cluster has it."""
        text = self._call(["get", kind, name, "--output", "json"], "")
        try:
            found = json.loads(text)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise TargetError(f"kubectl tells nothing of {kind} {name}", remedy="run it by hand to see why")
        return found

    def patch(self, kind: str, name: str, patch: Mapping[str, Any], *, part: str = "") -> None:
        """Change one object: what the patch does not speak of stays."""
        words = ["patch", kind, name, "--type", "merge", "--patch-file", "/dev/stdin", "--field-manager", _MANAGER]
        self._call([*words, *(["--subresource", part] if part else [])], json.dumps(patch))

    def _call(self, words: Sequence[str], given: str) -> str:
        finished = self._run([*self._argv, *self._space, *words], folder=self._folder, given=given, timeout_s=30)
        return done(finished, f"kubectl {words[0]} {words[1]}")


class KubernetesTarget:
    """Two Deployments behind one Service: shares by replicas that are ready, or all at once by its selector."""

    def __init__(self, strategy: RolloutStrategy, release: Release, run: RunCommand) -> None:
        settings = strategy.settings
        self._kubectl = _Kubectl(settings, run, strategy.folder)
        self._stable, self._canary = str(settings["stable"]), str(settings["canary"])
        self._replicas = int(settings["replicas"])
        self._service = str(settings.get("service", "")) if strategy.how is not RolloutHow.CANARY else ""
        self._label = str(settings.get("label", "version"))
        self._release = release
        self.grain = Fraction(1) if self._service else Fraction(1, self._replicas)

    def begin(self) -> Mapping[str, str]:
        """Nothing is to be made ready."""
        return {}

    def arms(self) -> tuple[str, str]:
        """The names of both Deployments."""
        return self._canary, self._stable

    def observe(self) -> Seen:
        """See the replicas that are ready, or where the Service points."""
        if self._service:
            selector = self._kubectl.read("service", self._service).get("spec", {}).get("selector", {})
            on = selector.get(self._label) == self._release.version
            return Seen(Fraction(int(on)), on, f"service/{self._service} selects {selector.get(self._label)}")
        ready = [
            int(self._kubectl.read("deployment", name).get("status", {}).get("readyReplicas", 0))
            for name in (self._canary, self._stable)
        ]
        if not sum(ready):
            raise TargetError("no replica is ready, of either version", remedy="see kubectl get pods")
        share = Fraction(ready[0], sum(ready))
        return Seen(share, share == 1, f"{ready[0]} of {sum(ready)} ready replicas")

    def set_weight(self, weight: Fraction, key: str) -> None:
        """Scale both, the growing one first."""
        if self._service:
            version = self._release.version if weight == 1 else self._release.previous
            if not version:
                raise TargetError("nobody said what the previous version is", remedy="give it at the start: --previous")
            self._kubectl.patch("service", self._service, selector_patch(self._label, version))
            return
        new = round(weight * self._replicas)
        wanted = sorted(((self._canary, new), (self._stable, self._replicas - new)), key=lambda one: -one[1])
        for name, replicas in wanted:
            self._kubectl.patch("deployment", name, scale_patch(replicas))

    def promote(self, key: str) -> None:
        """Everything on the new version."""
        self.set_weight(Fraction(1), key)

    def roll_back(self, key: str) -> None:
        """Everything on the old version."""
        self.set_weight(Fraction(0), key)


class ArgoTarget:
    """An Argo Rollout whose canary steps are ours: it stays at the weight that it was given."""

    grain = Fraction(1, 100)

    def __init__(self, strategy: RolloutStrategy, release: Release, run: RunCommand) -> None:
        settings = strategy.settings
        self._kubectl = _Kubectl(settings, run, strategy.folder)
        self._rollout = str(settings["rollout"])

    def begin(self) -> Mapping[str, str]:
        """Nothing is to be made ready."""
        return {}

    def arms(self) -> tuple[str, str]:
        """The telemetry knows both by their pod template hashes."""
        status = self._kubectl.read("rollout", self._rollout).get("status", {})
        return str(status.get("currentPodHash", "")), str(status.get("stableRS", ""))

    def observe(self) -> Seen:
        """See the weight that Argo says the traffic has, and whether the new version is the stable one by now."""
        status = self._kubectl.read("rollout", self._rollout).get("status", {})
        stable = bool(status.get("stableRS")) and status.get("stableRS") == status.get("currentPodHash")
        if stable and not status.get("abort"):
            return Seen(Fraction(1), True, "Argo calls the new version stable")
        weights = status.get("canary", {}).get("weights", {}).get("canary", {})
        if "weight" in weights:
            share = Fraction(int(weights["weight"]), 100)
            return Seen(share, False, f"Argo says {weights['weight']} %")
        ready, updated = int(status.get("availableReplicas", 0)), int(status.get("updatedReplicas", 0))
        if not ready:
            raise TargetError("Argo tells neither weights nor replicas", remedy="see kubectl argo rollouts get rollout")
        return Seen(Fraction(min(updated, ready), ready), False, f"{updated} of {ready} replicas are updated")

    def set_weight(self, weight: Fraction, key: str) -> None:
        """Write the step that stays at this weight."""
        self._kubectl.patch("rollout", self._rollout, weight_patch(round(weight * 100)))

    def promote(self, key: str) -> None:
        """Let Argo skip whatever is left."""
        self._kubectl.patch("rollout", self._rollout, {"status": {"promoteFull": True}}, part="status")

    def roll_back(self, key: str) -> None:
        """Let Argo abort: all traffic to the stable version."""
        self._kubectl.patch("rollout", self._rollout, {"status": {"abort": True}}, part="status")
