"""What was promised, as plain values: references resolved, numbers exact, every value knowing its place.

Readers (`specs.openslo`, `specs.policies`) turn documents into these values once, at the edge; everything downstream
works on them and never sees YAML.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from enum import StrEnum
from fractions import Fraction
from typing import Any

from tightrope.base.errors import Place
from tightrope.base.units import Duration
from tightrope.base.values import dataclass, field

NOWHERE = Place("<built in>")


class BudgetingMethod(StrEnum):
    """What a unit of the budget is (OpenSLO's names)."""

    OCCURRENCES = "Occurrences"
    TIMESLICES = "Timeslices"
    RATIO_TIMESLICES = "RatioTimeslices"


class Gaps(StrEnum):
    """How a slice without data counts: not at all, as good, as bad, or as the last slice that had data."""

    IGNORE = "ignore"
    GOOD = "good"
    BAD = "bad"
    HOLD = "hold"


class Basis(StrEnum):
    """Which N the allowance is taken of, while history does not yet fill the window."""

    PROJECTED = "projected"
    OBSERVED = "observed"


class Comparison(StrEnum):
    """The four comparison operators of OpenSLO."""

    LTE = "lte"
    GTE = "gte"
    LT = "lt"
    GT = "gt"


class Flow(StrEnum):
    """Where the work of a service goes: into features, or into stability."""

    FEATURE = "feature"
    STABILITY = "stability"


class ShipHow(StrEnum):
    """How a release goes out: at the usual pace, or in smaller steps with a longer bake."""

    STANDARD = "standard"
    GUARDED = "guarded"


class ChangeKind(StrEnum):
    """What a change is for; listed from the most feature-like to the least."""

    FEATURE = "feature"
    CONFIG = "config"
    RELIABILITY = "reliability"
    SECURITY = "security"
    EMERGENCY = "emergency"
    ROLLBACK = "rollback"


# --- telemetry ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DataSource:
    """Where telemetry comes from.

    ``type`` is any text; ``specs.lints.SOURCE_TYPES`` lists those that the telemetry room knows.

    ``connection`` is ``connectionDetails`` as plain YAML values, scalars as the YAML types. ``folder`` is the
    directory of the spec file: relative paths start there.
    """

    name: str
    type: str
    connection: Mapping[str, Any]
    folder: str = "."
    place: Place = NOWHERE


@dataclass(frozen=True, slots=True)
class MetricSource:
    """One question to a data source: ``spec`` is the source's own query language as plain YAML values."""

    source: DataSource
    spec: Mapping[str, Any]
    place: Place = NOWHERE


@dataclass(frozen=True, slots=True)
class RatioMetric:
    """Good (or bad) and total counts; or ``raw``, a ratio that already is one. Unused parts are None."""

    total: MetricSource | None = None
    good: MetricSource | None = None
    bad: MetricSource | None = None
    raw: MetricSource | None = None
    raw_type: str | None = None  # "success" or "failure"
    counter: bool = False


@dataclass(frozen=True, slots=True)
class ThresholdMetric:
    """A value per point in time, compared with the objective's ``op`` and ``value``; points count as events."""

    metric: MetricSource


@dataclass(frozen=True, slots=True)
class Indicator:
    """An SLI: a name and how to measure it."""

    name: str
    metric: RatioMetric | ThresholdMetric
    place: Place = NOWHERE


# --- the promise -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RollingWindow:
    """The stretch of *duration* that ends now."""

    duration: Duration


@dataclass(frozen=True, slots=True)
class CalendarWindow:
    """Periods of *duration* on the wall clock of *time_zone*, counted from *start_time* (naive local time)."""

    duration: Duration
    start_time: datetime
    time_zone: str


Window = RollingWindow | CalendarWindow


class ConditionKind(StrEnum):
    """What a condition compares.

    ``burnrate``: burn rate over every lookback against ``threshold``.
    ``consumed``: true share of the window's budget spent within the first lookback, against ``threshold``.
    ``significance``: as burnrate, but the exact one-sided binomial lower bound of the bad ratio at ``confidence``
    must pass the threshold too.
    """

    BURN_RATE = "burnrate"
    CONSUMED = "consumed"
    SIGNIFICANCE = "significance"


@dataclass(frozen=True, slots=True)
class Condition:
    """When somebody is called: every lookback must pass the threshold, and the floors must be reached.

    Attributes:
        name: Short and unique within the SLO, such as ``page-1h``.
        severity: ``page``, ``ticket`` or the spec's own word.
        kind: What is compared.
        threshold: Burn factor (burnrate, significance) or share of the budget (consumed), exact.
        lookbacks_s: Lookback lengths in seconds, the long one first; one or more.
        op: How measured and threshold compare; ``gte`` unless the spec says otherwise.
        alert_after_s: How long it must hold before the alert fires.
        at_least_bad: Floor on bad units within the longest lookback; 0 is no floor.
        at_least_total: Floor on valid units within the longest lookback; 0 is no floor.
        confidence: For significance: q of the one-sided lower bound, such as 19/20.
    """

    name: str
    severity: str
    threshold: Fraction
    lookbacks_s: tuple[int, ...]
    kind: ConditionKind = ConditionKind.BURN_RATE
    op: Comparison = Comparison.GTE
    alert_after_s: int = 0
    at_least_bad: int = 0
    at_least_total: int = 0
    confidence: Fraction | None = None
    place: Place = NOWHERE


@dataclass(frozen=True, slots=True)
class AlertPolicy:
    """Conditions under one name, and who is told. OpenSLO allows one condition, our own kind as many as it takes.

    ``notification_targets`` are names of channels; where a target leads to none, what it says. The flags are None where
    the spec does not say: then a breach is told, missing data is not, and the end is as the channel has it.
    """

    name: str
    conditions: tuple[Condition, ...]
    notification_targets: tuple[str, ...] = ()
    alert_when_no_data: bool | None = None
    alert_when_breaching: bool | None = None
    alert_when_resolved: bool | None = None
    place: Place = NOWHERE


@dataclass(frozen=True, slots=True)
class Objective:
    """One goal: at least *target* of the units must be good.

    ``indicator`` is set on the members of a composite SLO only, which then carry their own ``weight``.
    """

    target: Fraction
    display_name: str = ""
    op: Comparison | None = None
    value: Fraction | None = None
    time_slice_target: Fraction | None = None
    time_slice_window: Duration | None = None
    indicator: Indicator | None = None
    weight: Fraction = Fraction(1)
    place: Place = NOWHERE


@dataclass(frozen=True, slots=True)
class Slo:
    """A promise on one service.

    Attributes:
        name, service: As the spec has them.
        method: The budgeting method.
        window: Rolling or calendar.
        objectives: One or more; several with indicators of their own make a composite.
        indicator: The SLI; None for a composite.
        alert_policies: Empty means the default tiers (2 % in 1 h, 5 % in 6 h, 10 % in 1 d, 10 % in 3 d).
        step_s: The SLI's resolution, seconds; None lets the source tell, or 60.
        gaps: How slices without data count.
        basis: For the budget that the policy sees.
        stale_after: Slices without data after which the state is unknown.
        policy: Name of its ErrorBudgetPolicy; None takes the one that selects the service, else the default.
        depends_on: Services whose own burning explains this one's (attribution).
        composite_target: Target of the composite; None means the lowest of its members.
        owner: Team that owns it, for people; may be empty.
        scale: Declared scale of counts (`sli.slices.Slices.scale`).
    """

    name: str
    service: str
    method: BudgetingMethod
    window: Window
    objectives: tuple[Objective, ...]
    indicator: Indicator | None = None
    alert_policies: tuple[AlertPolicy, ...] = ()
    description: str = ""
    display_name: str = ""
    step_s: int | None = None
    gaps: Gaps = Gaps.IGNORE
    basis: Basis = Basis.PROJECTED
    stale_after: int = 10
    policy: str | None = None
    depends_on: tuple[str, ...] = ()
    composite_target: Fraction | None = None
    owner: str = ""
    scale: int = 1
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    place: Place = NOWHERE

    @property
    def composite(self) -> bool:
        """Whether the objectives measure different things."""
        return self.indicator is None


# --- the error budget policy -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RemainingIs:
    """Share of the budget left, compared with a bound: ``remaining < 0.25``. False while the budget is unknown."""

    op: Comparison
    bound: Fraction


@dataclass(frozen=True, slots=True)
class BurnRateIs:
    """Burn rate over a lookback, compared with a bound. A lookback without valid units burns 0."""

    lookback_s: int
    op: Comparison
    bound: Fraction


@dataclass(frozen=True, slots=True)
class IncidentOpen:
    """An incident of one of these severities is open on the service; no severity means any."""

    severities: frozenset[str]


@dataclass(frozen=True, slots=True)
class AlertFiring:
    """An alert of one of these severities fires on the SLO."""

    severities: frozenset[str]


@dataclass(frozen=True, slots=True)
class Expression:
    """A CEL expression over ``remaining``, ``consumed``, ``burn`` (by lookback), ``coverage`` and ``incidents``."""

    text: str
    place: Place = NOWHERE


@dataclass(frozen=True, slots=True)
class AllOf:
    """Every part holds."""

    parts: tuple[Predicate, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """At least one part holds."""

    parts: tuple[Predicate, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The part does not hold."""

    part: Predicate


Predicate = RemainingIs | BurnRateIs | IncidentOpen | AlertFiring | Expression | AllOf | AnyOf | Not


def questions_of(slo: Slo) -> Iterator[MetricSource]:
    """All that an SLO asks its data sources, in the order of its objectives."""
    for objective in slo.objectives:
        indicator = objective.indicator or slo.indicator
        match indicator.metric if indicator is not None else None:
            case RatioMetric() as metric:
                yield from (part for part in (metric.good, metric.bad, metric.total, metric.raw) if part is not None)
            case ThresholdMetric() as metric:
                yield metric.metric


def leaves(predicate: Predicate) -> Iterator[Predicate]:
    """Walk over the leaves of a predicate tree."""
    match predicate:
        case AllOf() | AnyOf():
            for part in predicate.parts:
                yield from leaves(part)
        case Not():
            yield from leaves(predicate.part)
        case _:
            yield predicate


@dataclass(frozen=True, slots=True)
class PolicyState:
    """One rung of the policy, from free to strict. The first state has neither ``enter`` nor ``exit``.

    Attributes:
        enter, enter_for_s: When the rung is entered, and how long that must hold first.
        exit, exit_for_s: When it is left for a freer rung, and how long that must hold first (hysteresis).
        minimum_stay_s: It is not left for a freer rung sooner than this.
    """

    name: str
    flow: Flow
    allows: frozenset[ChangeKind]
    ship: ShipHow = ShipHow.STANDARD
    enter: Predicate | None = None
    exit: Predicate | None = None
    enter_for_s: int = 0
    exit_for_s: int = 0
    minimum_stay_s: int = 0


@dataclass(frozen=True, slots=True)
class FreezeCalendar:
    """Stretches in which only some kinds of change may ship.

    ``calendar`` is iCalendar text (VEVENTs, RRULE, EXDATE, time zones); ``duration`` and ``schedule`` are not needed.
    Empty ``services`` means all that the policy covers.
    """

    name: str
    calendar: str
    allows: frozenset[ChangeKind]
    services: frozenset[str] = frozenset()
    environments: frozenset[str] = frozenset()
    reason: str = ""
    place: Place = NOWHERE


@dataclass(frozen=True, slots=True)
class BlackoutHours:
    """Hours of the week in which only some kinds ship: ``days`` are 0 Monday to 6, hours local, end exclusive."""

    name: str
    days: frozenset[int]
    from_minute: int  # minute of the local day
    to_minute: int  # may be smaller than from_minute: past midnight
    time_zone: str
    allows: frozenset[ChangeKind]
    environments: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class ExceptionQuota:
    """How many silver bullets a period gives a service: ``period`` is M, Q or Y on the UTC calendar."""

    count: int
    period: str
    approvers: tuple[str, ...] = ()
    longest_s: int = 7 * 86400


@dataclass(frozen=True, slots=True)
class WhenUnknown:
    """While data is stale, kinds in ``passes`` go with a warning; others wait, and stop after ``stop_after_s``."""

    passes: frozenset[ChangeKind]
    stop_after_s: int = 3600


@dataclass(frozen=True, slots=True)
class GateRule:
    """A rule of one's own: when the CEL expression holds over the gate's facts, the verdict is at least this."""

    id: str
    when: str
    verdict: str  # "stop" or "wait" or "warn"
    message: str
    place: Place = NOWHERE


@dataclass(frozen=True, slots=True)
class ErrorBudgetPolicy:
    """What happens as the budget goes: states from free to strict, and the rules around them.

    Attributes:
        services: Names it covers; empty means every service that names no other policy.
        states: At least one, the free one first.
        postmortem_share: A single incident that spends more than this share needs a postmortem; None: no such rule.
        recurring_share: A class of outage that spends more than this share of a quarter's budget needs an objective.
        out_of_scope: Causes that do not count towards the states, such as ``dependency`` and ``maintenance``.
        max_concurrent_rollouts: None means no limit.
        version: Digest of the document, for the record of each decision.
    """

    name: str
    states: tuple[PolicyState, ...]
    services: frozenset[str] = frozenset()
    basis: Basis = Basis.PROJECTED
    unknown: WhenUnknown = WhenUnknown(
        frozenset({ChangeKind.RELIABILITY, ChangeKind.SECURITY, ChangeKind.EMERGENCY, ChangeKind.ROLLBACK})
    )
    freezes: tuple[FreezeCalendar, ...] = ()
    blackouts: tuple[BlackoutHours, ...] = ()
    exceptions: ExceptionQuota | None = None
    postmortem_share: Fraction | None = Fraction(1, 5)
    recurring_share: Fraction | None = Fraction(1, 5)
    out_of_scope: frozenset[str] = frozenset()
    max_concurrent_rollouts: int | None = None
    rules: tuple[GateRule, ...] = ()
    description: str = ""
    version: str = ""
    place: Place = NOWHERE


@dataclass(frozen=True, slots=True)
class Exclusion:
    """Time that does not count: maintenance windows, once or by RRULE (RFC 5545), retroactive if it says so.

    ``starts_at`` is naive local time in ``time_zone``; ``declared_at`` is when it became known: a stretch that began
    before that counts only when ``retroactive``. ``services`` and ``slos`` empty mean all.
    """

    name: str
    starts_at: datetime
    duration_s: int
    time_zone: str = "UTC"
    rrule: str = ""
    services: frozenset[str] = frozenset()
    slos: frozenset[str] = frozenset()
    reason: str = ""
    cause: str = "maintenance"
    retroactive: bool = False
    declared_at: int | None = None
    place: Place = NOWHERE


@dataclass(frozen=True, slots=True)
class SilverBullet:
    """A granted exception: one service may ship what its state refuses, until it expires; nobody approves their own.

    With ``break_glass`` nobody approved it: whoever was there took it upon themselves, it lifts whatever stands in the
    way, and it counts against no quota. No document of the specs can be one.
    """

    name: str
    service: str
    requested_by: str
    approved_by: str
    reason: str
    granted_at: int
    expires_at: int
    change: str = ""  # empty: any change
    environment: str = ""  # empty: any
    break_glass: bool = False
    place: Place = NOWHERE


class ChannelType(StrEnum):
    """How a channel speaks."""

    ALERTMANAGER = "alertmanager"
    PAGERDUTY = "pagerduty"
    SLACK = "slack"
    WEBHOOK = "webhook"
    EMAIL = "email"


class Topic(StrEnum):
    """What a channel may be told of: alerts, or changes of a service's flow."""

    ALERTS = "alerts"
    FLOW = "flow"


@dataclass(frozen=True, slots=True)
class NotificationChannel:
    """Where messages go. Secrets are never here, only the names of the environment variables that hold them.

    Attributes:
        urls: Addresses; several only for Alertmanagers that stand in for each other.
        url_from, token_from, secret_from, password_from: Names of variables; empty: none.
        user: For basic authentication, and for the mail server.
        room: Slack's channel, where messages go by token.
        sender, recipients: Of mail.
        severities, services: Only alerts of these; empty: all.
        default: Told of all that names no channel.
        repeat_s: After that long it is told again of what still fires; 0: never.
        send_resolved: Told of the end, too.
        what: The topics.
    """

    name: str
    type: ChannelType
    urls: tuple[str, ...] = ()
    url_from: str = ""
    token_from: str = ""
    secret_from: str = ""
    password_from: str = ""
    user: str = ""
    room: str = ""
    sender: str = ""
    recipients: tuple[str, ...] = ()
    severities: frozenset[str] = frozenset()
    services: frozenset[str] = frozenset()
    default: bool = False
    repeat_s: int = 0
    send_resolved: bool = True
    what: frozenset[Topic] = frozenset({Topic.ALERTS})
    place: Place = NOWHERE


class IntegrationType(StrEnum):
    """Who speaks."""

    GITHUB = "github"
    GITLAB = "gitlab"
    GITEA = "gitea"
    CDEVENTS = "cdevents"
    ARGOCD = "argocd"
    FLUX = "flux"
    ARGO_ROLLOUTS = "argo-rollouts"
    FLAGGER = "flagger"
    KUBERNETES = "kubernetes"
    SPINNAKER = "spinnaker"
    DRONE = "drone"


class OnStop(StrEnum):
    """What a stop does to somebody who can wait: they go on waiting, for it may end; or they are refused."""

    HOLD = "hold"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Mapped:
    """Which of our services a sender's names mean; of ``repository``, ``app`` and ``artifact`` at least one is given.

    Attributes:
        environment: Where ``environments`` has no answer; empty: as the sender calls it.
        environments: Their names, with ``*`` for anything, and ours, in the order of the spec.
        paths: Prefixes of paths in the repository; empty: all of it.
    """

    service: str
    repository: str = ""
    app: str = ""
    artifact: str = ""
    environment: str = ""
    environments: tuple[tuple[str, str], ...] = ()
    paths: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Integration:
    """Who tells us of changes, or asks the gate in a dialect of its own. Never a secret, only names of variables.

    Attributes:
        secret_from, token_from, app_key_from: Names of variables; empty: none.
        url: Of their API, for answers; empty: the public one.
        app, installation: Numbers of a GitHub App; None: none.
        wait_s: For how long who waits for an answer is held at most; None: as long as they can.
    """

    name: str
    type: IntegrationType
    secret_from: str = ""
    token_from: str = ""
    url: str = ""
    app: int | None = None
    installation: int | None = None
    app_key_from: str = ""
    map: tuple[Mapped, ...] = ()
    on_stop: OnStop = OnStop.HOLD
    feedback: tuple[str, ...] = ()  # what authors are told of their releases there: status, comment
    wait_s: int | None = None
    place: Place = NOWHERE


class RolloutHow(StrEnum):
    """How a release takes over: by rising shares of the traffic, by one switch and back, or at once."""

    CANARY = "canary"
    BLUE_GREEN = "blueGreen"
    ALL_AT_ONCE = "allAtOnce"


class TargetType(StrEnum):
    """What moves the traffic."""

    SHELL = "shell"
    HTTP = "http"
    NGINX = "nginx"
    KUBERNETES = "kubernetes"
    ARGO_ROLLOUTS = "argoRollouts"


class WhenOver(StrEnum):
    """What follows where nobody can tell, or is there to tell: stay, go back, or go on."""

    HOLD = "hold"
    ROLLBACK = "rollback"
    PROMOTE = "promote"


class ArmsFrom(StrEnum):
    """Where the requests of the new version and of the old one are told apart.

    ``log``: by a field of the rows that the SLO itself is read from. ``queries``: by queries of their own. ``slos``: by
    an SLO for each. ``push``: they are sent. ``service``: they are not; all requests count as those of the new version.
    """

    LOG = "log"
    QUERIES = "queries"
    SLOS = "slos"
    PUSH = "push"
    SERVICE = "service"


@dataclass(frozen=True, slots=True)
class ArmQuery:
    """How both versions are counted for one SLO: queries with ``$arm`` in them; or the names of two SLOs.

    Attributes:
        latency: Query of requests that took no longer than ``$le``, a bound of the histogram; empty: none are compared.
    """

    slo: str
    good: str = ""
    bad: str = ""
    total: str = ""
    counter: bool = False
    canary_slo: str = ""
    baseline_slo: str = ""
    latency: str = ""


@dataclass(frozen=True, slots=True)
class Arms:
    """How the requests of both versions are told apart.

    Attributes:
        field: Column of the log or file.
        canary, baseline: What stands there, or in place of ``$arm``; ``$version`` and ``$previous`` stand for the
            versions. Empty: the target knows.
    """

    come_from: ArmsFrom
    field: str = ""
    canary: tuple[str, ...] = ()
    baseline: tuple[str, ...] = ()
    queries: tuple[ArmQuery, ...] = ()


@dataclass(frozen=True, slots=True)
class RolloutStrategy:
    """How one service is released in one environment.

    Attributes:
        steps: Weights and seconds of bake; empty: the planner draws them up.
        allowance: Share of the budget, or of what is left if less, that a release may spend.
        beyond: The first step may cost more than that; what it may cost is declared.
        measure_s: How old the newest telemetry may be; None: a slice and a little.
        evaluate_s, act_s: From one look to the next, and until a changed weight has taken effect.
        longest_bake_s: The longest bake of one step.
        longest_s, when_over: The longest that all of it may take, and what follows then.
        lost_after_s, when_lost: For how long nobody may watch, or the target be out of reach; hold or roll back.
        alpha: Chance of a false alarm.
        cluster_guard: How much more bad requests vary than independent ones; None: it is measured.
        least_requests, least_s: What the new version must have had at a weight before it goes on.
        slos: Names of those that judge; empty: all of the service.
        latency_ms: Upper bounds of buckets in which the latencies of both versions are compared; empty: they are not.
        target: What moves the traffic; ``settings`` are plain YAML values, ``folder`` is that of the spec.
    """

    name: str
    service: str
    how: RolloutHow
    target: TargetType
    arms: Arms
    settings: Mapping[str, Any] = field(default_factory=dict)
    environment: str = "production"
    steps: tuple[tuple[Fraction, int], ...] = ()
    allowance: Fraction = Fraction(1, 100)
    beyond: bool = False
    measure_s: int | None = None
    evaluate_s: int = 15
    act_s: int = 30
    longest_bake_s: int = 21_600
    longest_s: int = 86_400
    when_over: WhenOver = WhenOver.HOLD
    lost_after_s: int = 300
    when_lost: WhenOver = WhenOver.ROLLBACK
    alpha: Fraction = Fraction(1, 20)
    cluster_guard: Fraction | None = None
    least_requests: int = 100
    least_s: int = 60
    slos: tuple[str, ...] = ()
    latency_ms: tuple[int, ...] = ()
    folder: str = "."
    place: Place = NOWHERE


@dataclass(frozen=True, slots=True)
class Specs:
    """All that was read together, references resolved; each collection in the order of files and documents."""

    slos: tuple[Slo, ...] = ()
    policies: tuple[ErrorBudgetPolicy, ...] = ()
    exclusions: tuple[Exclusion, ...] = ()
    silver_bullets: tuple[SilverBullet, ...] = ()
    services: Mapping[str, str] = field(default_factory=dict)  # name -> display name or description
    warnings: tuple[Any, ...] = ()  # SpecError with severity "warning"
    files: tuple[str, ...] = ()
    digest: str = ""
    channels: tuple[NotificationChannel, ...] = ()
    integrations: tuple[Integration, ...] = ()
    mapped: tuple[Mapped, ...] = ()  # what Services say of themselves, for every integration
    rollouts: tuple[RolloutStrategy, ...] = ()
    pipelines: tuple[Any, ...] = ()  # specs.pipeline.Pipeline

    def services_about(self, kind: str, name: str) -> set[str]:
        """The services that a document is about; none where it is about no one service."""
        match kind:
            case "SLO":
                return {slo.service for slo in self.slos if slo.name == name}
            case "Service":
                return {name}
            case "SilverBullet":
                return {one.service for one in self.silver_bullets if one.name == name}
            case _:
                return set()

    def slo(self, name: str) -> Slo | None:
        """Find one SLO by name."""
        return next((slo for slo in self.slos if slo.name == name), None)

    def of_service(self, service: str) -> tuple[Slo, ...]:
        """All SLOs of a service."""
        return tuple(slo for slo in self.slos if slo.service == service)
