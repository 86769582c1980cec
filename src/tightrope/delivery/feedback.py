"""What the authors of a release hear of it, where they work: what it cost of the budget, on the commit. Pure.

Blame falls on changes, never on people: nobody is named.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any
from urllib.parse import quote

from tightrope.base.units import MINUTE_S, percent_text, span_text
from tightrope.delivery.changes import Deployment
from tightrope.delivery.holds.telling import Call, Verb, mark_of
from tightrope.delivery.mapping import repository_name
from tightrope.specs.model import Integration, IntegrationType

NOTABLE = Fraction(1, 5)
"""A release that took such a share of a budget is marked as a failure: as the default policy has it of an incident."""

_CONTEXT = "tightrope/budget"
_LINE_MOST = 140


@dataclass(frozen=True, slots=True)
class Price:
    """What a release cost one objective.

    Attributes:
        slo: Which objective.
        of_budget: The share of its budget; None where it has none.
        amount: The bad units, in words.
        minutes: The same as minutes in which nothing works; None where it has no budget.
    """

    slo: str
    of_budget: Fraction | None
    amount: str
    minutes: Fraction | None = None

    @property
    def share(self) -> Fraction:
        """The share of the budget, 0 where nothing is known of it."""
        return self.of_budget or Fraction(0)


def price_document(one: Price) -> dict[str, Any]:
    """A price as plain values, the same in every front."""
    share = None if one.of_budget is None else float(one.of_budget)
    minutes = None if one.minutes is None else float(one.minutes)
    return {"slo": one.slo, "shareOfBudget": share, "amount": one.amount, "minutes": minutes}


def minutes_text(minutes: float) -> str:
    """A price as time in which nothing works."""
    return f"as much as {span_text(minutes * MINUTE_S)} of outage"


def key_of(deployment: Deployment) -> str:
    """What the calls about a deployment begin with: what is said once is not said again."""
    return f"feedback/{deployment.id}/"


def line_of(deployment: Deployment, prices: Sequence[Price], bake_s: int) -> str:
    """Say in a line of at most 140 characters what a release cost until its bake ended."""
    dearest = max(prices, key=lambda one: one.share, default=None)
    if dearest is None or not dearest.share:
        text = f"{deployment.called} cost nothing of the budget of {deployment.service} in {span_text(bake_s)}"
    else:
        text = f"{deployment.called} cost {_share(dearest.share)} of the budget of {dearest.slo} ({dearest.amount})"
    return text if len(text) <= _LINE_MOST else f"{text[: _LINE_MOST - 1]}…"


def comment_of(deployment: Deployment, prices: Sequence[Price], bake_s: int, page: str) -> str:
    """Say at length, in Markdown, what a release cost: every objective, how it was told, and where to look."""
    what = "rollback" if deployment.rollback else "release"
    lines = [f"**{_safe(line_of(deployment, prices, bake_s))}.**", ""]
    if prices:
        lines += ["| objective | of its budget | amount | as outage |", "|---|---:|---:|---:|"]
        lines += [
            f"| {_safe(one.slo)} | {_share(one.share)} | {_safe(one.amount)} | {_outage(one)} |"
            for one in sorted(prices, key=lambda one: (-one.share, one.slo))
        ]
        lines.append("")
    lines.append(
        f"This {what} went to {_safe(deployment.environment)}, and was watched for {span_text(bake_s)}: what was worse "
        "than usual in that time, and has no other cause, is its price."
    )
    if page:
        lines.append(f"[Where the budget went]({page})")
    return "\n".join(lines)


def calls_of(
    deployment: Deployment, prices: Sequence[Price], integration: Integration, *, bake_s: int, base_url: str = ""
) -> tuple[Call, ...]:
    """The calls that tell the authors, as their integration wants it; none where it cannot be said there.

    Args:
        deployment: What went out, with the repository and the revision.
        prices: What it cost, one for each objective.
        integration: GitHub or GitLab, and what it asks for: a status, a comment. A comment is left out where the
            release cost nothing.
        bake_s: How long it was watched.
        base_url: Where our pages are.
    """
    repository = _path_of(deployment.repository)
    if not repository or not deployment.revision:
        return ()
    page = f"{base_url.rstrip('/')}/services/{quote(deployment.service, safe='')}#spent" if base_url else ""
    dear = any(one.share >= NOTABLE for one in prices)
    line = line_of(deployment, prices, bake_s)
    sha = deployment.revision
    match integration.type:
        case IntegrationType.GITHUB:
            root = f"/repos/{quote(repository)}"
            status = (f"{root}/statuses/{sha}", {"state": "failure" if dear else "success", "context": _CONTEXT})
            comment = (f"{root}/commits/{sha}/comments", "body")
        case IntegrationType.GITLAB:
            root = f"/projects/{quote(repository, safe='')}"
            status = (f"{root}/statuses/{sha}", {"state": "failed" if dear else "success", "name": _CONTEXT})
            comment = (f"{root}/repository/commits/{sha}/comments", "note")
        case _:
            return ()
    found = []
    if "status" in integration.feedback:
        body = {**status[1], "description": line} | ({"target_url": page} if page else {})
        found.append(_call(deployment, integration, Verb.STATUS, status[0], body))
    if "comment" in integration.feedback and any(one.share for one in prices):
        text = comment_of(deployment, prices, bake_s, page)
        body = {comment[1]: f"{text}\n\n{mark_of(_key(deployment, Verb.COMMENT))}"}
        found.append(_call(deployment, integration, Verb.COMMENT, comment[0], body))
    return tuple(found)


def _call(deployment: Deployment, integration: Integration, verb: Verb, path: str, body: dict[str, str]) -> Call:
    return Call(_key(deployment, verb), deployment.id, integration.name, verb, "POST", path, body)


def _key(deployment: Deployment, verb: Verb) -> str:
    return f"{key_of(deployment)}{verb.value}"


def _path_of(repository: str) -> str:
    """Owner and name, as the API of a forge wants them."""
    name = repository_name(repository)
    host, slash, path = name.partition("/")
    return path if slash and "." in host else name


def _outage(one: Price) -> str:
    return "" if one.minutes is None else span_text(float(one.minutes * MINUTE_S))


def _share(share: Fraction) -> str:
    return percent_text(share, 1 if share >= Fraction(1, 100) else 2)


def _safe(text: str) -> str:
    """Text that stays text in Markdown, within a cell of a table."""
    return "".join(f"\\{char}" if char in "\\`*_[]<>|#" else char for char in " ".join(text.split()))
