"""The gate's answer as a value: what was asked, what was true, what was decided and why."""

from __future__ import annotations

from enum import StrEnum
from fractions import Fraction

from tightrope.base.values import dataclass
from tightrope.specs.model import ChangeKind, ErrorBudgetPolicy, ExceptionQuota, Flow, ShipHow, SilverBullet


class Verdict(StrEnum):
    """Go, stop, or wait. An exempt decision is a go by exception."""

    GO = "go"
    STOP = "stop"
    WAIT = "wait"


@dataclass(frozen=True, slots=True)
class GateRequest:
    """Who asks for what, and when."""

    service: str
    asked_at: int
    environment: str = "production"
    kind: ChangeKind = ChangeKind.FEATURE
    kind_from: str = "default"  # how the kind was found: "given", "conventional commit", "label", ...
    change: str = ""  # commit, tag or release
    title: str = ""
    asked_by: str = ""


@dataclass(frozen=True, slots=True)
class Forecast:
    """When a bound is expected to be met, in UTC epoch seconds; None: not within the horizon.

    ``earliest`` and ``latest`` are the 80 % interval from the bootstrap of recent days.
    """

    what: str  # "exhausted" or "recovered"
    at: int | None
    earliest: int | None = None
    latest: int | None = None
    assumption: str = ""


@dataclass(frozen=True, slots=True)
class SloFacts:
    """What was true of one objective when the gate was asked. Ratios are None where nothing is known."""

    slo: str
    objective: Fraction
    state: str  # name of the policy state
    state_since: int | None
    state_reason: str
    remaining: Fraction | None
    allowed: Fraction | None
    consumed: Fraction | None
    unit: str
    unit_s: int  # seconds that one unit stands for under the time-based methods, else 0
    window_s: int
    coverage: Fraction
    data_age_s: int | None  # since the newest slice that was measured or excluded; None: nothing was ever measured
    stale: bool
    stale_after_s: int
    burn_rates: tuple[tuple[str, Fraction | None], ...]
    firing: tuple[tuple[str, str], ...] = ()  # (condition, severity)
    forecast: Forecast | None = None
    doubts: tuple[str, ...] = ()  # why the state may be another, in sentences without their full stop
    unread: str = ""  # why its telemetry could not be read; empty: it was


@dataclass(frozen=True, slots=True)
class GateFacts:
    """All that the gate may look at, gathered by the caller; nothing is read or written while deciding.

    ``states`` and ``policy`` agree: each `SloFacts.state` is the name of one of the policy's states.
    ``bullets`` are all granted for the service, also expired and used ones (they count against the quota);
    ``bullets_used`` are names already spent.
    """

    policy: ErrorBudgetPolicy
    slos: tuple[SloFacts, ...]
    bullets: tuple[SilverBullet, ...] = ()
    bullets_used: frozenset[str] = frozenset()
    open_incidents: tuple[tuple[str, str], ...] = ()  # (id, severity)
    rollouts_running: int = 0


@dataclass(frozen=True, slots=True)
class Reason:
    """One rule that spoke.

    Attributes:
        rule: Stable id, such as ``state-allows-kind`` or ``freeze:christmas``.
        outcome: ``ok``, ``warn``, ``wait`` or ``stop``.
        says: One plain sentence.
        measured, bound: The value and what it was held against, as text a person reads; may be empty.
        slo: The SLO it speaks of, or empty.
    """

    rule: str
    outcome: str
    says: str
    measured: str = ""
    bound: str = ""
    slo: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """The recorded answer. ``id`` and ``inputs_digest`` follow from the inputs alone.

    ``slos`` begins with the one that decides. ``allows`` are the kinds that the rules let through, exceptions apart.
    """

    id: str
    verdict: Verdict
    exempt: bool
    request: GateRequest
    flow: Flow
    state: str
    state_since: int | None
    ship: ShipHow
    summary: str  # the answer sentence that every surface opens with
    reasons: tuple[Reason, ...]
    slos: tuple[SloFacts, ...]
    allows: tuple[ChangeKind, ...]  # what may ship now
    forecast: Forecast | None
    would_change: tuple[str, ...]  # what would turn it, in words
    exception: str  # name of the silver bullet used, or empty
    exceptions_left: int | None
    policy: str
    policy_version: str
    inputs_digest: str
    decided_at: int
    expires_at: int
    quota: ExceptionQuota | None = None  # the policy's rule for exceptions: how many, and who may grant one
