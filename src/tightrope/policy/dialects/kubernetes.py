"""Kubernetes: an AdmissionReview v1 read, and answered.

There is no wait: the API server wants yes or no within seconds. Only a change of the pod template is a change to us.

Source:
    kubernetes/website, extensible-admission-controllers.md: warnings of at most 120 signs are advised, each is cut at
    256, and all of them together at 4,096.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from tightrope.base.canonical import canonical
from tightrope.base.errors import DataError
from tightrope.policy.decision import Decision, Verdict
from tightrope.policy.dialects.hearing import Answer, Asking, Heard, Trouble, asking, at, cut, line
from tightrope.specs.model import ChangeKind

API_VERSION = "admission.k8s.io/v1"
BREAK_GLASS = "tightrope.dev/break-glass"
"""The annotation that lets a change in whatever the gate says; its value is the reason, new with each use."""

SYSTEM = frozenset({"kube-system", "kube-public", "kube-node-lease"})
"""Namespaces that are never gated."""

MOST_WARNING, MOST_WARNINGS = 120, 4096
_MOST_MESSAGE = 1000


class Pass(StrEnum):
    """Why a change goes in unasked."""

    NOTHING_NEW = "the pod template is the same"
    NOT_OURS = "it has no pod template"
    NOT_A_CHANGE = "it creates and changes nothing"
    SYSTEM = "namespaces of the system are not gated"
    KNOWN_GOOD = "it goes back to a template that was let in before"


@dataclass(frozen=True, slots=True)
class Review:
    """What the API server asks.

    Attributes:
        uid: Names the review; the answer repeats it.
        asking: The question to the gate.
        place: ``namespace/Kind/name`` of the object.
        template: Digest of the pod template; empty: it has none.
        goes_in: Why it need not be asked; None: it must.
        break_glass: The reason to let it in whatever the gate says; empty: none is given.
        dry_run: Nothing of it will be kept, and we keep nothing either.
        user: Who changes it, as the cluster knows them.
    """

    uid: str
    asking: Asking
    place: str
    template: str
    goes_in: Pass | None
    break_glass: str
    dry_run: bool
    user: str


def read(document: Any) -> Review:
    """Read an AdmissionReview.

    The service is the annotation ``tightrope.dev/service`` of the object or its pod template, else the label
    ``app.kubernetes.io/name`` or ``app``, else the object's name. ``tightrope.dev/environment``, ``…/kind``,
    ``…/change`` say the rest; ``kubernetes.io/change-cause`` is read as a commit message.

    Raises:
        DataError: It is none, or has no uid to answer to.
    """
    request, uid = at(document, "request"), at(document, "request", "uid")
    if at(document, "kind") != "AdmissionReview" or not isinstance(uid, str) or not uid:
        raise DataError("this is no AdmissionReview with a uid", remedy=f"send AdmissionReview of {API_VERSION}")
    if at(document, "apiVersion") != API_VERSION:
        raise DataError("this version of AdmissionReview is not known", remedy="set admissionReviewVersions to [v1]")
    new, old = at(request, "object"), at(request, "oldObject")
    marks = _marks(new)
    kind = cut(at(request, "kind", "kind"), 100)
    namespace = cut(at(request, "namespace"), 253) or cut(at(new, "metadata", "namespace"), 253)
    name = cut(at(request, "name"), 253) or cut(at(new, "metadata", "name"), 253)
    user = cut(at(request, "userInfo", "username"), 200)
    template = template_digest(new)
    labels = at(new, "metadata", "labels")
    named = (
        marks.get("service") or cut(at(labels, "app.kubernetes.io/name"), 200) or cut(at(labels, "app"), 200) or name
    )
    cause = cut(at(new, "metadata", "annotations", "kubernetes.io/change-cause"), 2000)
    question = asking(
        {**marks, "message": cause or None},
        service=named,
        change=template[:19],
        title=f"{kind} {namespace}/{name}".strip(),
        asked_by=user,
    )
    return Review(
        uid,
        question,
        f"{namespace}/{kind}/{name}",
        template,
        _goes_in(request, namespace, template, template_digest(old)),
        _broken_glass(new, old),
        at(request, "dryRun") is True,
        user,
    )


def template_before(document: Any) -> str:
    """The digest of the pod template that is to be replaced; empty where there is none."""
    return template_digest(at(document, "request", "oldObject"))


def going_back(review: Review) -> Review:
    """The review of a change that goes back to a template which was let in before."""
    kind = replace(review.asking, kind=ChangeKind.ROLLBACK, kind_from="a template that was let in before")
    return replace(review, goes_in=Pass.KNOWN_GOOD, asking=kind)


def answer(review: Review, heard: Heard | None) -> Answer:
    """Answer a review: let in, or refuse with the reason that `kubectl` shows.

    Args:
        review: What was asked.
        heard: What the gate came to; None: it was not asked, for `Review.goes_in` says why. A service that nobody knows
            is not gated, and the answer warns of it. Our own failure is no verdict: it leaves as 500, and the webhook's
            ``failurePolicy`` decides.
    """
    audit: dict[str, str] = {}
    if isinstance(heard, Decision):
        audit = {
            "decision": heard.id,
            "verdict": heard.verdict.value,
            "state": heard.state,
            "service": review.asking.service,
        }
    elif review.goes_in is not None:
        audit = {"passed": review.goes_in.value}
    if review.break_glass and review.goes_in is None:
        warning = f"break-glass: let in whatever the gate says ({review.break_glass})"
        return _review(review.uid, allowed=True, warnings=[warning], audit={**audit, "break-glass": review.break_glass})
    if heard is None:
        return _review(review.uid, allowed=True, audit=audit)
    if not isinstance(heard, Decision):
        if heard.trouble is Trouble.UNKNOWN:
            warning = f"not gated: {heard.says}; set the annotation tightrope.dev/service"
            return _review(review.uid, allowed=True, warnings=[warning], audit={"passed": cut(heard.says, 200)})
        return Answer(
            {Trouble.STRANGER: 401, Trouble.UNREADABLE: 400, Trouble.FAILED: 500}[heard.trouble], text=heard.says
        )
    if heard.verdict is Verdict.GO:
        return _review(review.uid, allowed=True, warnings=_warnings(heard), audit=audit)
    return _review(review.uid, allowed=False, audit=audit, message=line(heard, _MOST_MESSAGE))


def template_digest(workload: Any) -> str:
    """Name a workload's pod template; empty where it has none. Two templates with the same digest are the same."""
    template = at(workload, "spec", "template")
    if not isinstance(template, Mapping):
        template = at(workload, "spec", "jobTemplate", "spec", "template")
    if not isinstance(template, Mapping):
        return ""
    # Restarts by `kubectl rollout restart` put the instant here: the same code starts anew, and is no change.
    notes = at(template, "metadata", "annotations")
    kept = (
        {k: v for k, v in notes.items() if k != "kubectl.kubernetes.io/restartedAt"}
        if isinstance(notes, Mapping)
        else {}
    )
    metadata = at(template, "metadata")
    told = {**(metadata if isinstance(metadata, Mapping) else {}), "annotations": kept}
    told.pop("creationTimestamp", None)
    text = canonical(_without_floats({"metadata": told, "spec": template.get("spec")}))
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def _without_floats(value: Any) -> Any:
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, Mapping):
        return {str(key): _without_floats(one) for key, one in value.items()}
    return [_without_floats(one) for one in value] if isinstance(value, list) else value


def _marks(workload: Any) -> dict[str, str]:
    """What annotations of ours say, those of the object before those of its pod template."""
    found: dict[str, str] = {}
    for notes in (at(workload, "spec", "template", "metadata", "annotations"), at(workload, "metadata", "annotations")):
        if isinstance(notes, Mapping):
            for name in ("service", "environment", "kind", "change", "title"):
                text = cut(notes.get(f"tightrope.dev/{name}"), 500)
                if text:
                    found[name] = text
    return found


def _goes_in(request: Any, namespace: str, template: str, before: str) -> Pass | None:
    if namespace in SYSTEM:
        return Pass.SYSTEM
    if at(request, "operation") not in {"CREATE", "UPDATE"} or at(request, "subResource"):
        return Pass.NOT_A_CHANGE
    if not template:
        return Pass.NOT_OURS
    return Pass.NOTHING_NEW if template == before else None


def _broken_glass(new: Any, old: Any) -> str:
    """The reason to let a change in, which must be new: an annotation that stays there would keep the gate open."""
    reason = cut(at(new, "metadata", "annotations", BREAK_GLASS), 200)
    return "" if reason == cut(at(old, "metadata", "annotations", BREAK_GLASS), 200) else reason


def _warnings(decision: Decision) -> list[str]:
    told = [line(decision, MOST_WARNING, "exempt")] if decision.exempt else []
    if decision.ship.value == "guarded" and not decision.exempt:
        told.append(line(decision, MOST_WARNING, "guarded"))
    return told + [reason.says for reason in decision.reasons if reason.outcome == "warn"]


def _review(
    uid: str, *, allowed: bool, warnings: Sequence[str] = (), audit: Mapping[str, str] | None = None, message: str = ""
) -> Answer:
    response: dict[str, Any] = {"uid": uid, "allowed": allowed}
    if not allowed:
        response["status"] = {"code": 403, "message": message}
    kept, room = [], MOST_WARNINGS
    for warning in warnings:
        text = cut(warning, MOST_WARNING)
        room -= len(text.encode())
        if text and room >= 0:
            kept.append(text)
    if kept:
        response["warnings"] = kept
    if audit:
        response["auditAnnotations"] = dict(audit)
    return Answer(200, {"apiVersion": API_VERSION, "kind": "AdmissionReview", "response": response})
