"""Where a budget went: an objective's bad units by cause, with the deployments, incidents and dependencies known."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from tightrope.backtest.labels import Deployment
from tightrope.base.errors import NotFoundError
from tightrope.base.units import MINUTE_S, time_text
from tightrope.budget.attribution import BAKE_S, Cause, Change, Dependency, Part, Trouble, attribute
from tightrope.budget.words import amount_text
from tightrope.delivery.changes import Deployment as Recorded
from tightrope.delivery.feedback import Price
from tightrope.loop.assess import Assessment
from tightrope.loop.documents import number

CAUSES = {
    "deploy": Cause.DEPLOY,
    "deployment": Cause.DEPLOY,
    "change": Cause.DEPLOY,
    "release": Cause.DEPLOY,
    "dependency": Cause.UPSTREAM,
    "upstream": Cause.UPSTREAM,
}
"""What an incident's declared cause counts as; any other word is infrastructure."""

NAMES = {Cause.DEPLOY: "deploys", Cause.UPSTREAM: "upstream", Cause.INFRA: "infra", Cause.BACKGROUND: "background"}


@dataclass(frozen=True, slots=True)
class Share:
    """A part with what it means.

    Attributes:
        part: The bad units of one cause.
        of_budget: The share of the budget that they took.
        amount: The same in words, in the unit of the budget.
        minutes: The same as minutes in which nothing works, of those that the objective allows in its window.
    """

    part: Part
    of_budget: Fraction | None
    amount: str
    minutes: Fraction | None = None


@dataclass(frozen=True, slots=True)
class Account:
    """Where the budget of one objective went in a window; the shares sum to what is consumed."""

    title: str
    start: int
    end: int
    consumed: Fraction | None
    bad: Fraction
    shares: tuple[Share, ...]

    def by_cause(self) -> dict[Cause, tuple[Share, ...]]:
        """The shares of each class of cause, the largest class first."""
        found: dict[Cause, list[Share]] = {}
        for one in self.shares:
            found.setdefault(one.part.cause, []).append(one)
        return {
            cause: tuple(shares)
            for cause, shares in sorted(found.items(), key=lambda each: -sum(one.part.bad for one in each[1]))
        }


def account_of(
    assessment: Assessment,
    *,
    deployments: Sequence[Deployment] = (),
    dependencies: Mapping[str, Sequence[Assessment]] | None = None,
    bake_s: int = BAKE_S,
) -> Account:
    """Give every bad unit of an objective's window its cause.

    Args:
        assessment: The objective, with its known incidents.
        deployments: What went out, of any service.
        dependencies: Of the services that the SLO declares to depend on, their objectives, replayed over the window.
        bake_s: How long after a deployment what is unusual is put down to it, seconds.
    """
    statement, slo, units = assessment.statement, assessment.slo, assessment.units
    start, end = statement.window_start, statement.at
    burning = [
        Dependency(service, tuple((one.start, one.end or end) for each in objectives for one in each.history.episodes))
        for service, objectives in (dependencies or {}).items()
        if service in slo.depends_on
    ]
    parts = attribute(
        units,
        start,
        end,
        troubles=[
            Trouble(one.id or time_text(one.start), one.start, one.end, CAUSES.get(one.cause.lower(), Cause.INFRA))
            for one in assessment.incidents
        ],
        changes=[
            Change(one.change or time_text(one.at), one.at, bake_s) for one in deployments if one.service == slo.service
        ],
        dependencies=burning,
    )
    allowed = assessment.budget.allowed
    allowed_s = (1 - assessment.objective.target) * (statement.window_end - start)
    shares = []
    for part in parts:
        amount = Fraction(part.bad, units.scale)
        share = amount / allowed if allowed else None
        minutes = None if share is None else share * allowed_s / MINUTE_S
        shares.append(Share(part, share, amount_text(amount, statement.unit_s), minutes))
    return Account(
        assessment.title,
        start,
        end,
        assessment.budget.consumed_ratio,
        Fraction(sum(part.bad for part in parts), units.scale),
        tuple(shares),
    )


def shipped(recorded: Iterable[Recorded], *, by_id: bool = False) -> list[Deployment]:
    """Deployments that were recorded, as attribution takes them: from when they began, since users meet them from then.

    Those that go on are left out until they end: nobody knows yet whether they reached anybody. They go by the name
    that people call them, or by id: a version may go out twice.
    """
    return [
        Deployment(one.started_at, one.service, one.kind.value, one.id if by_id else one.called, one.environment)
        for one in recorded
        if one.finished_at is not None
    ]


def accounts_of(
    assessments: Sequence[Assessment],
    history: Callable[[str], Sequence[Assessment]],
    deployments: Sequence[Deployment] = (),
) -> list[Account]:
    """Say of each objective that is watched where its budget went.

    Args:
        assessments: The objectives, replayed over their windows.
        history: Tells the same of another service, one that they depend on.
        deployments: What went out.

    A service that is depended on and that nobody watches is left out.
    """
    others: dict[str, Sequence[Assessment]] = {}
    for service in sorted({name for one in assessments for name in one.slo.depends_on}):
        with suppress(NotFoundError):
            others[service] = history(service)
    return [account_of(one, deployments=deployments, dependencies=others) for one in assessments if one.watched]


def prices_of(accounts: Sequence[Account], name: str) -> list[Price]:
    """What the release of that name cost each objective; one that it cost nothing is left out."""
    return [
        Price(account.title, share.of_budget, share.amount, share.minutes)
        for account in accounts
        for share in account.shares
        if share.part.cause is Cause.DEPLOY and share.part.name == name
    ]


def account_document(account: Account) -> dict[str, Any]:
    """The account as plain values: a stable JSON contract."""
    return {
        "slo": account.title,
        "start": time_text(account.start),
        "end": time_text(account.end),
        "consumedRatio": number(account.consumed),
        "bad": number(account.bad),
        "summary": account_line(account),
        "causes": [
            {
                "cause": one.part.cause.value,
                "name": one.part.name or NAMES[one.part.cause],
                "bad": number(account.bad * one.part.bad / sum(each.part.bad for each in account.shares)),
                "shareOfBudget": number(one.of_budget),
                "amount": one.amount,
                "minutes": number(one.minutes),
            }
            for one in account.shares
        ],
    }


def account_line(account: Account, *, most: int = 4) -> str:
    """One line: ``spent 112.4 % = D 69.5 (v2 45.8, v1 23.7) + U 21.5 + B 21.4``, in percent of the budget."""
    if account.consumed is None:
        return "nothing is known of this budget"
    pieces = []
    for cause, shares in account.by_cause().items():
        whole = sum((one.of_budget or Fraction(0) for one in shares), Fraction(0))
        named = [one for one in shares if one.part.name]
        shown = ", ".join(f"{one.part.name} {float(one.of_budget or 0) * 100:.1f}" for one in named[:most])
        more = f", {len(named) - most} more" if len(named) > most else ""
        pieces.append(f"{cause.value} {float(whole) * 100:.1f}" + (f" ({shown}{more})" if shown else ""))
    said = f"spent {float(account.consumed) * 100:.1f} %"
    return f"{said} = {' + '.join(pieces)}" if pieces else said
