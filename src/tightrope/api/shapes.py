"""The documents of the API as OpenAPI has them. They describe what is answered, and check only what is sent to us.

Keys are never taken away and never change their meaning; new ones may come.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

Ratio = float
"""A share, 1 is all; or a count, exact where it is whole."""


class Shape(BaseModel):
    """Keys are in camel case, as the command line's JSON has them."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class Asked(Shape):
    """What is sent to us: a key that we do not know is a fault, not a wish that is quietly not granted."""

    model_config = ConfigDict(extra="forbid", str_max_length=20_000)


# --- budget --------------------------------------------------------------------------------------------------------


class WindowDocument(Shape):
    type: Literal["rolling", "calendar"]
    duration: str = Field(examples=["28d"])
    start: str
    end: str
    time_zone: str | None = None


class BudgetDocument(Shape):
    """A budget, in units of the SLO's method."""

    basis: Literal["observed", "projected"]
    allowed: Ratio
    consumed: Ratio
    consumed_ratio: Ratio | None
    remaining_ratio: Ratio | None = Field(description="Below 0: overspent; null: nothing is known.")
    unit: Literal["events", "slices"]


class AlertState(Shape):
    name: str
    severity: str
    firing: bool


class Quality(Shape):
    """What is to be told of the telemetry, and of what makes the state uncertain."""

    rows: int
    bad_rows: int
    examples: list[str]
    notes: list[str]


class Status(Shape):
    """Where one objective stands; the same document as ``tightrope status -o json``."""

    service: str
    slo: str
    objective: Ratio
    budgeting_method: str
    window: WindowDocument
    good: Ratio | None
    total: Ratio | None
    sli: Ratio | None
    budget: BudgetDocument
    budgets: dict[str, BudgetDocument] | None = Field(None, description="Both bases, where they differ.")
    coverage: Ratio
    burn_rates: dict[str, Ratio | None]
    no_traffic: list[str] | None = None
    alerts: list[AlertState]
    flow: Literal["feature", "stability"]
    state: str
    state_since: str | None
    stale: bool
    policy: str
    as_of: str
    consumed_interval: list[Ratio] | None = Field(None, description="Spent, had the gaps been all good or all bad.")
    objective_name: str | None = Field(None, description="Where the SLO has several.")
    composite: Literal["whole", "member"] | None = None
    weight: Ratio | None = None
    quality: Quality | None = None
    outlook: OutlookDocument | None = None


class OutlookDocument(Shape):
    """How one objective stands, in words."""

    title: str
    word: str
    letter: Literal["ok", "!", "x", "?"]
    flow: Literal["F", "G", "S", ""]
    left: str
    budget: str
    spent: str
    allowed: str
    says: str = Field(description="What is coming.")


class Transition(Shape):
    """A move of the policy."""

    at: str
    from_: str = Field(alias="from")
    to: str
    reason: str


class Objective(Status):
    """Where one objective stands, and how it came there."""

    transitions: list[Transition]
    firing: list[str]


class CauseOfBurn(Shape):
    """What one cause took of a budget."""

    cause: Literal["D", "U", "I", "B"] = Field(description="Deploy, upstream, infrastructure, background.")
    name: str
    bad: Ratio | None
    share_of_budget: Ratio | None
    amount: str
    minutes: Ratio | None = Field(description="As minutes in which nothing works.")


class Attribution(Shape):
    """Where the budget of one objective went in its window; the causes sum to what is consumed."""

    slo: str
    start: str
    end: str
    consumed_ratio: Ratio | None
    bad: Ratio | None
    summary: str = Field(description="One line, in percent of the budget.")
    causes: list[CauseOfBurn]


class Attributions(Shape):
    items: list[Attribution]


class Service(Shape):
    """How a service stands: the objective that decides, and all of them."""

    name: str
    display_name: str
    summary: str = Field(description="The answer sentence.")
    flow: Literal["feature", "stability"] | None = Field(description="null: nothing watches it.")
    state: str | None
    remaining_ratio: Ratio | None
    firing: list[AlertState]
    stale: bool
    slos: list[str]
    as_of: str | None


class ServiceInFull(Service):
    objectives: list[Status]


class Services(Shape):
    summary: str = Field(description="The sentence about the whole fleet.")
    items: list[Service]
    next: str | None


# --- the gate ------------------------------------------------------------------------------------------------------

Kind = Literal["feature", "reliability", "security", "rollback", "emergency", "config"]


class AskGate(Asked):
    """A change that asks whether it may go out."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"kind": "feature", "change": "v2.34.0", "title": "New basket"}]}
    )

    kind: Kind | None = Field(None, description="Given, it counts; else it is found in `message` and `labels`.")
    environment: str = Field("production", min_length=1, max_length=200)
    change: str = Field("", max_length=500, description="Commit, tag or release.")
    title: str = Field("", max_length=500, description="What it is, for people.")
    message: str | list[str] | None = Field(None, description="Commit messages, for the kind (Conventional Commits).")
    labels: list[str] | None = Field(None, description="Labels of the change, for the kind.")
    as_: str = Field(
        "", alias="as", max_length=200, description="For whom the caller asks; recorded with its own name."
    )


class ReasonDocument(Shape):
    rule: str = Field(examples=["state-allows-kind"])
    outcome: Literal["ok", "warn", "wait", "stop"]
    says: str
    measured: str
    bound: str
    slo: str


class GateBudget(Shape):
    remaining_ratio: Ratio | None
    consumed: Ratio | None
    allowed: Ratio | None
    unit: str


class Firing(Shape):
    condition: str
    severity: str


class GateSlo(Shape):
    slo: str
    objective: Ratio
    state: str
    budget: GateBudget
    coverage: Ratio
    burn_rates: dict[str, Ratio | None]
    data_age_seconds: int | None
    stale: bool
    firing: list[Firing]


class ForecastDocument(Shape):
    what: str
    at: str | None
    earliest: str | None
    latest: str | None
    assumption: str


class Decision(Shape):
    """The gate's answer; the same document as ``tightrope gate -o json``."""

    id: str = Field(examples=["D-0123456789"])
    verdict: Literal["go", "stop", "wait"]
    exempt: bool
    service: str
    environment: str
    kind: Kind
    kind_from: str
    change: str
    title: str
    asked_by: str
    flow: Literal["feature", "stability"]
    state: str
    state_since: str | None
    ship: Literal["standard", "guarded"]
    summary: str
    reasons: list[ReasonDocument]
    slos: list[GateSlo]
    allows: list[Kind]
    forecast: ForecastDocument | None
    would_change: list[str]
    exception: str
    exceptions_left: int | None
    policy: str
    policy_version: str
    inputs_digest: str
    decided_at: str
    expires_at: str
    exit_code: Literal[0, 3, 4]


class Explanation(Shape):
    """Why a service is in its state; the same document as ``tightrope explain -o json``."""

    service: str
    decision: Decision
    objectives: list[Objective]
    text: list[str] | None = Field(None, description="The decision as lines for people; with `outlook`.")


class KeptDecision(Shape):
    """A recorded decision in its place in the journal."""

    sequence: int
    recorded_at: str
    decided_by: str = Field(description="The version of Tightrope that decided.")
    decision: Decision


class KeptDecisionInFull(KeptDecision):
    inputs: dict[str, Any] = Field(description="What was asked and what was true, exact: fractions are text, `p/q`.")


class KeptDecisions(Shape):
    items: list[KeptDecision]
    next: str | None


class Recomputed(Shape):
    """A recorded decision, decided again from its recorded inputs."""

    decision: str
    sequence: int
    agrees: bool
    differs: str = Field(description="What comes out otherwise; empty: nothing.")
    decided_by: str
    version: str = Field(description="The version that decided again.")


# --- the journal ---------------------------------------------------------------------------------------------------


class JournalEvent(Shape):
    """An event as a CloudEvent 1.0 in the structured mode, with the journal's chain as extensions."""

    specversion: Literal["1.0"]
    id: str
    source: str
    type: str
    subject: str
    time: str
    datacontenttype: str
    previoushash: str
    data: dict[str, Any]
    sequence: str
    hash: str


class JournalPage(Shape):
    items: list[JournalEvent]
    next: str | None


class BrokenRow(Shape):
    sequence: int | None
    what: str


class DifferingDecision(Shape):
    sequence: int
    decision: str
    what: str
    decided_by: str


class Verified(Shape):
    """What a check of the whole journal found."""

    holds: bool
    rows: int
    sequence: int
    head: str = Field(description="Hash of the last row; note it elsewhere.")
    noted: int | None = Field(description="The row whose hash was given as `head`.")
    broken: list[BrokenRow]
    recomputed: int | None = Field(description="How many decisions were decided again; null: none was to be.")
    differing: list[DifferingDecision]


# --- specs and history ---------------------------------------------------------------------------------------------


class SpecEntry(Shape):
    kind: str
    name: str
    source: str = Field(description="`file:PATH`, or `applied`.")
    version: int
    etag: str
    file: str
    line: int
    applied_at: str | None
    applied_by: str | None


class SpecInFull(SpecEntry):
    text: str = Field(description="Its YAML.")


class SpecEntries(Shape):
    items: list[SpecEntry]
    next: str | None


class Finding(Shape):
    """One finding on specs, with its place."""

    code: str
    severity: Literal["error", "warning"]
    detail: str
    remedy: str | None
    pointer: str | None
    file: str
    line: int
    column: int
    length: int


class ChangedSpec(Shape):
    kind: str
    name: str
    change: Literal["created", "updated", "unchanged", "withdrawn"]


class AppliedSpecs(Shape):
    """What an application changed, or would change."""

    changed: list[ChangedSpec]
    findings: list[Finding]
    digest: str = Field(description="Names the whole set of specs that comes out.")
    dry_run: bool


class CheckedSpecs(Shape):
    """All findings on specs that were only looked at."""

    valid: bool
    findings: list[Finding]
    changed: list[ChangedSpec]


class IncidentLabel(Asked):
    start: str
    end: str | None = None
    service: str = ""
    severity: str = ""
    cause: str = ""
    id: str = ""


class DeploymentLabel(Asked):
    time: str
    service: str
    kind: str = "feature"
    change: str = ""
    environment: str = "production"


class AskBacktest(Asked):
    """Which specs to run over the stored history, and what is known of it."""

    model_config = ConfigDict(extra="forbid", str_max_length=4_200_000, json_schema_extra={"examples": [{}]})

    specs: str | None = Field(None, description="Edited documents as YAML; none: the specs as they are.")
    names: list[str] | None = Field(None, max_length=1000, description="These services or SLOs only.")
    from_: str | None = Field(None, alias="from", description="Tell only what happened after this instant.")
    to: str | None = Field(None, description="Only episodes and transitions before this instant.")
    labels: list[IncidentLabel] | None = Field(None, max_length=10_000, description="Incidents to score alerts by.")
    deployments: list[DeploymentLabel] | None = Field(None, max_length=100_000, description="Would they be stopped?")


class Episode(Shape):
    start: str
    end: str | None
    severity: str
    condition: str


class ScoreDocument(Shape):
    """How well the alerts of a severity found the incidents that were known."""

    alerts: int
    useful: int
    needless: int
    incidents: int
    found: int
    missed: int
    precision: float | None
    recall: float | None
    time_to_detect: float | None = Field(description="Seconds.")
    time_to_reset: float | None = Field(description="Seconds.")


class Postmortem(Shape):
    incident: str
    start: str
    share: float


class RecurringClassDocument(Shape):
    class_: str = Field(alias="class")
    quarter_start: str
    share: float
    incidents: list[str]


class StoppedDeployment(Shape):
    time: str
    change: str
    kind: str
    environment: str
    state: str


class BacktestDocument(Shape):
    """What a replay of one objective found; the same document as ``tightrope backtest -o json``."""

    service: str
    slo: str
    objective: Ratio
    policy: str
    from_: str | None = Field(alias="from")
    to: str | None
    episodes: list[Episode]
    transitions: list[Transition]
    hours_in_state: dict[str, float]
    hours_stale: float
    worst_remaining: float | None
    worst_at: str | None
    peak_burn_rates: dict[str, float]
    final_state: str
    quality: Quality | None = None
    objective_name: str | None = None
    scores: dict[str, ScoreDocument] | None = Field(None, description="By severity, and over all; with labels.")
    precision: float | None = None
    recall: float | None = None
    time_to_detect: float | None = Field(None, description="Seconds.")
    time_to_reset: float | None = Field(None, description="Seconds.")
    postmortems_needed: list[Postmortem] | None = None
    recurring_classes: list[RecurringClassDocument] | None = None
    deployments_stopped: list[StoppedDeployment] | None = None


class Tally(Shape):
    """What one set of rules did to one objective."""

    pages: int
    tickets: int
    frozen_hours: float = Field(description="Time in states that let no feature through.")
    worst_remaining: float | None


class Compared(Shape):
    slo: str
    service: str
    now: Tally | None
    then: Tally | None


class Previewed(Shape):
    """What edited specs would have done, beside what the present ones do."""

    summary: str
    slos: list[Compared]


class Backtested(Shape):
    documents: list[BacktestDocument]
    preview: Previewed | None = Field(description="null: no specs were sent.")
    findings: list[Finding]


# --- alerts --------------------------------------------------------------------------------------------------------


class AlertCondition(Shape):
    name: str
    severity: str
    since: str


class Alert(Shape):
    """One alert, from its opening to its end."""

    id: str = Field(examples=["A-0123ABCD"])
    name: str
    service: str
    slo: str
    objective: str
    state: Literal["firing", "frozen", "resolved"]
    severity: str
    severity_since: str
    worst_severity: str
    opened_at: str
    resolved_at: str | None
    frozen_since: str | None = Field(description="Telemetry is missing since then.")
    times: int
    conditions: list[AlertCondition]
    labels: dict[str, str]


class Alerts(Shape):
    items: list[Alert]
    next: str | None


class AlertStep(Shape):
    at: str
    change: str
    severity: str
    before: str
    conditions: list[str]
    why: str


class Message(Shape):
    """One message of the outbox."""

    id: str
    key: str
    channel: str
    about: str
    kind: str
    change: str
    title: str
    text: str
    state: Literal["waiting", "sent", "dead"]
    created_at: str
    due_at: str | None
    sent_at: str | None
    attempts: int
    error: str


class Messages(Shape):
    items: list[Message]
    next: str | None


class Channel(Shape):
    name: str
    type: str
    default: bool
    severities: list[str]
    services: list[str]
    what: list[str]
    repeat_interval: str | None
    send_resolved: bool
    waiting: int
    dead: int
    last_sent_at: str | None
    last_error: str
    problem: str = Field(description="Why it cannot be used as it stands; empty: it can.")


class Channels(Shape):
    items: list[Channel]
    next: str | None


class Silence(Shape):
    """For a while, nobody is told of the alerts that all matchers fit."""

    id: str
    matchers: list[str]
    starts_at: str
    ends_at: str
    created_by: str
    reason: str
    created_at: str
    ended_by: str | None
    active: bool = True


class AlertInFull(Alert):
    history: list[AlertStep]
    messages: list[Message]
    silenced_by: list[Silence]


class Silences(Shape):
    items: list[Silence]
    next: str | None


class AddSilence(Asked):
    """For a while, nobody is told of the alerts that all matchers fit."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"matchers": ["service=checkout"], "duration": "2h", "reason": "Migration"}]}
    )

    matchers: list[str] = Field(min_length=1, max_length=50, examples=[["service=checkout"]])
    starts_at: str | None = Field(None, description="Default: now.")
    ends_at: str | None = None
    duration: str | None = Field(None, description="In place of `endsAt`.", examples=["2h"])
    reason: str = Field(min_length=1, max_length=2000, description="Somebody will wonder.")


# --- exceptions ----------------------------------------------------------------------------------------------------


class Exemption(Shape):
    """Leave to ship what the policy refuses: asked for, and what became of it."""

    id: str = Field(examples=["X-1F0A9C22"])
    service: str
    environment: str | None = Field(description="null: any.")
    change: str | None = Field(description="null: any.")
    standing: str = Field(examples=["waiting", "granted", "refused", "revoked", "lapsed", "over", "broken glass"])
    holds: bool = Field(description="Whether the gate counts it now.")
    break_glass: bool
    requested_by: str
    reason: str
    requested_at: str
    lasts_seconds: int
    decided_by: str | None
    decided_at: str | None
    note: str | None
    approved_by: str | None
    granted_at: str | None
    expires_at: str | None


class Exemptions(Shape):
    items: list[Exemption]
    next: str | None


class AskException(Asked):
    """Somebody else than who asks grants it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"service": "checkout", "change": "4f2a9c1", "reason": "contract date", "duration": "4h"}]
        }
    )

    service: str = Field(min_length=1, max_length=500)
    reason: str = Field(min_length=1, max_length=2000)
    environment: str = Field("", max_length=200, description="Empty: any.")
    change: str = Field("", max_length=500, description="A commit, tag or release; empty: any.")
    duration: str | None = Field(None, description="For how long, from the grant on.", examples=["4h"])
    by: str | None = Field(None, max_length=200, description="Who asks; only on this machine, without a token.")


class AnswerException(Asked):
    note: str = Field("", max_length=2000, description="What the one who answers says.")
    duration: str | None = Field(None, description="For how long, in place of what was asked for.", examples=["2h"])
    by: str | None = Field(None, max_length=200, description="Who answers; only on this machine, without a token.")


# --- access --------------------------------------------------------------------------------------------------------

RoleName = Literal["viewer", "operator", "approver", "admin"]


class Token(Shape):
    id: str
    name: str
    role: RoleName
    teams: list[str]
    services: list[str]
    only: list[str] | None
    created_at: str
    created_by: str
    expires_at: str | None
    last_used_at: str | None
    revoked_at: str | None
    standing: Literal["active", "expired", "revoked"]


class Tokens(Shape):
    items: list[Token]
    next: str | None


class IssuedToken(Token):
    token: str = Field(description="Shown this once, and kept nowhere.")


class AddToken(Asked):
    name: str = Field(min_length=1, max_length=200)
    role: RoleName
    expires_at: str | None = None
    expires_in: str | None = Field(None, description="In place of `expiresAt`.", examples=["90d"])
    teams: list[str] = Field(default=[], max_length=1000)
    services: list[str] = Field(default=[], max_length=1000)
    only: list[str] | None = Field(None, max_length=20, description="Of what the role may do, this much.")


class LogInWith(Asked):
    token: str = Field(max_length=200)


class Session(Shape):
    """A session of the browser."""

    name: str
    role: RoleName
    csrf: str = Field(description="To be sent as `X-CSRF-Token` with every change.")
    ends_at: str | None


class Me(Shape):
    """Who asks, and what they may do."""

    name: str
    role: RoleName
    teams: list[str]
    services: list[str] | None = Field(description="null: all.")
    how: Literal["token", "session", "local"]
    permissions: list[str]


# --- the server itself ---------------------------------------------------------------------------------------------


class Version(Shape):
    version: str
    api: Literal["v1"]
    replayed: bool = Field(description="Recorded data is shown, moved in time.")
    now: str


class Backfill(Shape):
    series: str
    done_seconds: int
    of_seconds: int
    reached_at: str | None
    error: str | None


class Backfills(Shape):
    items: list[Backfill]
    next: str | None


class Problems(Shape):
    """What is wrong with a newer edit of the specs: the last good set is followed since *since*."""

    items: list[Finding]
    next: str | None
    since: str | None


class Receipt(Shape):
    """Telemetry that was taken: on the disk, and going to be counted."""

    accepted: int = Field(description="Samples and slices.")
