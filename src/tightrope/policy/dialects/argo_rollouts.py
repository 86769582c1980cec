"""Argo Rollouts, metric provider ``web``: an object with the decision, the reason and the address of the evidence.

Source:
    argoproj/argo-rollouts, metricproviders/webmetric/webmetric.go, utils/evaluate/evaluate.go, analysis/analysis.go:
    any answer but 2xx is an error, and more than four errors in a row abort the rollout.
"""

from __future__ import annotations

from tightrope.policy.decision import Decision
from tightrope.policy.dialects.hearing import Answer, Course, Heard, cut, firm_word, page_of, running, says

_MOST_REASON = 500


def answer(heard: Heard, base_url: str = "", *, under_way: bool = False) -> Answer:
    """Say go, wait or stop, always with 200: an error here would be counted against the release.

    Args:
        heard: What the gate came to; without a decision, and for want of telemetry, the caller waits.
        base_url: Where the pages are.
        under_way: The analysis runs beside a release that users meet already: stop then means that it does harm, and
            not that the policy would not let it begin.
    """
    decision, reason = firm_word(heard).value, says(heard)
    if under_way:
        told = running(heard)
        decision, reason = "stop" if told.course is Course.ROLLBACK else told.course.value, told.says
    document = {
        "decision": decision,
        "reason": cut(reason, _MOST_REASON),
        "url": page_of(heard, base_url),
        "id": heard.id if isinstance(heard, Decision) else "",
    }
    return Answer(200, document)
