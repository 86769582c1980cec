"""What holds where a spec is silent: the alert tiers of the SRE Workbook and its example error budget policy."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from tightrope.base.units import DAY_S, HOUR_S, MINUTE_S, duration_text
from tightrope.specs.model import (
    AllOf,
    AnyOf,
    BurnRateIs,
    ChangeKind,
    Comparison,
    Condition,
    ErrorBudgetPolicy,
    ExceptionQuota,
    Flow,
    IncidentOpen,
    Not,
    PolicyState,
    RemainingIs,
    ShipHow,
)

LOOKBACKS_S = (5 * MINUTE_S, 30 * MINUTE_S, HOUR_S, 2 * HOUR_S, 6 * HOUR_S, DAY_S, 3 * DAY_S)
"""The lookbacks whose burn rates every statement shows."""

_LONG_S = 28 * DAY_S
_MONTH_S = 30 * DAY_S

_TIERS = (
    ("page", Fraction(2, 100), HOUR_S, 5 * MINUTE_S),
    ("page", Fraction(5, 100), 6 * HOUR_S, 30 * MINUTE_S),
    ("ticket", Fraction(10, 100), DAY_S, 2 * HOUR_S),
    ("ticket", Fraction(10, 100), 3 * DAY_S, 6 * HOUR_S),
)


def burn_factor(share: Fraction, window_s: int, long_s: int) -> Fraction:
    """The burn rate that spends *share* of a window's budget within *long_s* (SRE Workbook ch. 5): p * W / long."""
    return share * window_s / long_s


def default_conditions(window_s: int) -> tuple[Condition, ...]:
    """The multiwindow, multi-burn-rate tiers of the SRE Workbook ch. 5, for a window.

    From four weeks on each tier spends its share of the budget, so factors follow from the window. In shorter windows
    these shares would be spent at burn rates that are within plan, so there the factors of 30 d stay and the shares
    follow; a tier that could only fire once the budget is gone is left out.
    """
    return tuple(
        Condition(
            name=f"{severity}-{duration_text(long_s)}",
            severity=severity,
            threshold=burn_factor(share, window_s if window_s >= _LONG_S else _MONTH_S, long_s),
            lookbacks_s=(long_s, short_s),
        )
        for severity, share, long_s, short_s in _TIERS
        if window_s >= _LONG_S or burn_factor(share, _MONTH_S, long_s) * long_s <= window_s
    )


_SEVERE = IncidentOpen(frozenset({"sev1", "sev2"}))

DEFAULT_POLICY = ErrorBudgetPolicy(
    name="default",
    description="Features ship while the budget lasts; when it is spent, stability comes first (SRE Workbook, app. B).",
    states=(
        PolicyState("feature", Flow.FEATURE, frozenset(ChangeKind), ShipHow.STANDARD),
        PolicyState(
            "caution",
            Flow.FEATURE,
            frozenset(ChangeKind),
            ShipHow.GUARDED,
            enter=AnyOf(
                (
                    RemainingIs(Comparison.LT, Fraction(1, 4)),
                    BurnRateIs(6 * HOUR_S, Comparison.GTE, Fraction(3)),
                    _SEVERE,
                )
            ),
            exit=AllOf(
                (
                    RemainingIs(Comparison.GT, Fraction(35, 100)),
                    BurnRateIs(6 * HOUR_S, Comparison.LT, Fraction(1)),
                    Not(_SEVERE),
                )
            ),
        ),
        PolicyState(
            "stability",
            Flow.STABILITY,
            frozenset({ChangeKind.RELIABILITY, ChangeKind.SECURITY, ChangeKind.ROLLBACK, ChangeKind.EMERGENCY}),
            ShipHow.GUARDED,
            enter=RemainingIs(Comparison.LTE, Fraction(0)),
            exit=RemainingIs(Comparison.GTE, Fraction(1, 10)),
            exit_for_s=DAY_S,
        ),
    ),
    exceptions=ExceptionQuota(2, "Q"),
    out_of_scope=frozenset({"dependency", "maintenance"}),
    version="built-in-1",
)


def policy_of(policies: Sequence[ErrorBudgetPolicy], service: str, named: str | None = None) -> ErrorBudgetPolicy:
    """The policy an SLO names, else the one that selects its service, else one that selects all, else the default."""
    for policy in policies:
        if policy.name == named:
            return policy
    for policy in policies:
        if service in policy.services:
            return policy
    return next((policy for policy in policies if not policy.services), DEFAULT_POLICY)
