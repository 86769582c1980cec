"""The documents of the API as OpenAPI has them. They describe what is answered, and check only what is sent to us.

Keys are never taken away and never change their meaning; new ones may come.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Ratio = float
"""A share, 1 is all; or a count, exact where it is whole."""


class Asked(BaseModel):
    """What is sent to us: a key that we do not know is a fault, not a wish that is quietly not granted."""

    model_config = ConfigDict(extra="forbid", str_max_length=20_000)


# --- budget --------------------------------------------------------------------------------------------------------


class WindowDocument(BaseModel):
    type: Literal["rolling", "calendar"]
    duration: str = Field(examples=["28d"])
    start: str
    end: str
    timeZone: str | None = None


class BudgetDocument(BaseModel):
    """A budget, in units of the SLO's method."""

    basis: Literal["observed", "projected"]
    allowed: Ratio
    consumed: Ratio
    consumedRatio: Ratio | None
    remainingRatio: Ratio | None = Field(description="Below 0: overspent; null: nothing is known.")
    unit: Literal["events", "slices"]


class AlertState(BaseModel):
    name: str
    severity: str
    firing: bool


class Quality(BaseModel):
    """What is to be told of the telemetry, and of what makes the state uncertain."""

    rows: int
    badRows: int
    examples: list[str]
    notes: list[str]


class Status(BaseModel):
    """Where one objective stands; the same document as ``tightrope status -o json``."""

    service: str
    slo: str
    objective: Ratio
    budgetingMethod: str
    window: WindowDocument
    good: Ratio | None
    total: Ratio | None
    sli: Ratio | None
    budget: BudgetDocument
    budgets: dict[str, BudgetDocument] | None = Field(None, description="Both bases, where they differ.")
    coverage: Ratio
    burnRates: dict[str, Ratio | None]
    noTraffic: list[str] | None = None
    alerts: list[AlertState]
    flow: Literal["feature", "stability"]
    state: str
    stateSince: str | None
    stale: bool
    policy: str
    asOf: str
    quality: Quality | None = None


class Transition(BaseModel):
    """A move of the policy."""

    model_config = ConfigDict(populate_by_name=True)

    at: str
    from_: str = Field(alias="from")
    to: str
    reason: str


class Objective(Status):
    """Where one objective stands, and how it came there."""

    transitions: list[Transition]
    firing: list[str]


class Service(BaseModel):
    """How a service stands: the objective that decides, and all of them."""

    name: str
    displayName: str
    summary: str = Field(description="The answer sentence.")
    flow: Literal["feature", "stability"] | None = Field(description="null: nothing watches it.")
    state: str | None
    remainingRatio: Ratio | None
    firing: list[AlertState]
    stale: bool
    slos: list[str]
    asOf: str | None


class ServiceInFull(Service):
    objectives: list[Status]


class Services(BaseModel):
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


class ReasonDocument(BaseModel):
    rule: str = Field(examples=["state-allows-kind"])
    outcome: Literal["ok", "warn", "wait", "stop"]
    says: str
    measured: str
    bound: str
    slo: str


class GateBudget(BaseModel):
    remainingRatio: Ratio | None
    consumed: Ratio | None
    allowed: Ratio | None
    unit: str


class Firing(BaseModel):
    condition: str
    severity: str


class GateSlo(BaseModel):
    slo: str
    objective: Ratio
    state: str
    budget: GateBudget
    coverage: Ratio
    burnRates: dict[str, Ratio | None]
    dataAgeSeconds: int | None
    stale: bool
    firing: list[Firing]


class ForecastDocument(BaseModel):
    what: str
    at: str | None
    earliest: str | None
    latest: str | None
    assumption: str


class Decision(BaseModel):
    """The gate's answer; the same document as ``tightrope gate -o json``."""

    id: str = Field(examples=["D-0123456789"])
    verdict: Literal["go", "stop", "wait"]
    exempt: bool
    service: str
    environment: str
    kind: Kind
    kindFrom: str
    change: str
    title: str
    askedBy: str
    flow: Literal["feature", "stability"]
    state: str
    stateSince: str | None
    ship: Literal["standard", "guarded"]
    summary: str
    reasons: list[ReasonDocument]
    slos: list[GateSlo]
    allows: list[Kind]
    forecast: ForecastDocument | None
    wouldChange: list[str]
    exception: str
    exceptionsLeft: int | None
    policy: str
    policyVersion: str
    inputsDigest: str
    decidedAt: str
    expiresAt: str
    exitCode: Literal[0, 3, 4]


class Explanation(BaseModel):
    """Why a service is in its state; the same document as ``tightrope explain -o json``."""

    service: str
    decision: Decision
    objectives: list[Objective]


class KeptDecision(BaseModel):
    """A recorded decision in its place in the journal."""

    sequence: int
    recordedAt: str
    decidedBy: str = Field(description="The version of Tightrope that decided.")
    decision: Decision


class KeptDecisionInFull(KeptDecision):
    inputs: dict[str, Any] = Field(description="What was asked and what was true, exact: fractions are text, `p/q`.")


class KeptDecisions(BaseModel):
    items: list[KeptDecision]
    next: str | None


class Recomputed(BaseModel):
    """A recorded decision, decided again from its recorded inputs."""

    decision: str
    sequence: int
    agrees: bool
    differs: str = Field(description="What comes out otherwise; empty: nothing.")
    decidedBy: str
    version: str = Field(description="The version that decided again.")


# --- the journal ---------------------------------------------------------------------------------------------------


class JournalEvent(BaseModel):
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


class JournalPage(BaseModel):
    items: list[JournalEvent]
    next: str | None


class BrokenRow(BaseModel):
    sequence: int | None
    what: str


class DifferingDecision(BaseModel):
    sequence: int
    decision: str
    what: str
    decidedBy: str


class Verified(BaseModel):
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


class SpecEntry(BaseModel):
    kind: str
    name: str
    source: str = Field(description="`file:PATH`, or `applied`.")
    version: int
    etag: str
    file: str
    line: int
    appliedAt: str | None
    appliedBy: str | None


class SpecInFull(SpecEntry):
    text: str = Field(description="Its YAML.")


class SpecEntries(BaseModel):
    items: list[SpecEntry]
    next: str | None


class Finding(BaseModel):
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


class ChangedSpec(BaseModel):
    kind: str
    name: str
    change: Literal["created", "updated", "unchanged", "withdrawn"]


class AppliedSpecs(BaseModel):
    """What an application changed, or would change."""

    changed: list[ChangedSpec]
    findings: list[Finding]
    digest: str = Field(description="Names the whole set of specs that comes out.")
    dryRun: bool


class CheckedSpecs(BaseModel):
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

    model_config = ConfigDict(
        extra="forbid", populate_by_name=True, str_max_length=4_200_000, json_schema_extra={"examples": [{}]}
    )

    specs: str | None = Field(None, description="Edited documents as YAML; none: the specs as they are.")
    names: list[str] | None = Field(None, max_length=1000, description="These services or SLOs only.")
    from_: str | None = Field(None, alias="from", description="Tell only what happened after this instant.")
    to: str | None = Field(None, description="Only episodes and transitions before this instant.")
    labels: list[IncidentLabel] | None = Field(None, max_length=10_000, description="Incidents to score alerts by.")
    deployments: list[DeploymentLabel] | None = Field(None, max_length=100_000, description="Would they be stopped?")


class Episode(BaseModel):
    start: str
    end: str | None
    severity: str
    condition: str


class BacktestDocument(BaseModel):
    """What a replay of one objective found; the same document as ``tightrope backtest -o json``."""

    model_config = ConfigDict(populate_by_name=True)

    service: str
    slo: str
    objective: Ratio
    policy: str
    from_: str | None = Field(alias="from")
    to: str | None
    episodes: list[Episode]
    transitions: list[Transition]
    hoursInState: dict[str, float]
    hoursStale: float
    worstRemaining: float | None
    worstAt: str | None
    peakBurnRates: dict[str, float]
    finalState: str
    quality: Quality | None = None


class Tally(BaseModel):
    """What one set of rules did to one objective."""

    pages: int
    tickets: int
    frozenHours: float = Field(description="Time in states that let no feature through.")
    worstRemaining: float | None


class Compared(BaseModel):
    slo: str
    service: str
    now: Tally | None
    then: Tally | None


class Previewed(BaseModel):
    """What edited specs would have done, beside what the present ones do."""

    summary: str
    slos: list[Compared]


class Backtested(BaseModel):
    documents: list[BacktestDocument]
    preview: Previewed | None = Field(description="null: no specs were sent.")
    findings: list[Finding]


# --- alerts --------------------------------------------------------------------------------------------------------


class AlertCondition(BaseModel):
    name: str
    severity: str
    since: str


class Alert(BaseModel):
    """One alert, from its opening to its end."""

    id: str = Field(examples=["A-0123ABCD"])
    name: str
    service: str
    slo: str
    objective: str
    state: Literal["firing", "frozen", "resolved"]
    severity: str
    severitySince: str
    worstSeverity: str
    openedAt: str
    resolvedAt: str | None
    frozenSince: str | None = Field(description="Telemetry is missing since then.")
    times: int
    conditions: list[AlertCondition]
    labels: dict[str, str]


class Alerts(BaseModel):
    items: list[Alert]
    next: str | None


class AlertStep(BaseModel):
    at: str
    change: str
    severity: str
    before: str
    conditions: list[str]
    why: str


class Message(BaseModel):
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
    createdAt: str
    dueAt: str | None
    sentAt: str | None
    attempts: int
    error: str


class Messages(BaseModel):
    items: list[Message]
    next: str | None


class Channel(BaseModel):
    name: str
    type: str
    default: bool
    severities: list[str]
    services: list[str]
    what: list[str]
    repeatInterval: str | None
    sendResolved: bool
    waiting: int
    dead: int
    lastSentAt: str | None
    lastError: str
    problem: str = Field(description="Why it cannot be used as it stands; empty: it can.")


class Channels(BaseModel):
    items: list[Channel]
    next: str | None


class Silence(BaseModel):
    """For a while, nobody is told of the alerts that all matchers fit."""

    id: str
    matchers: list[str]
    startsAt: str
    endsAt: str
    createdBy: str
    reason: str
    createdAt: str
    endedBy: str | None
    active: bool = True


class AlertInFull(Alert):
    history: list[AlertStep]
    messages: list[Message]
    silencedBy: list[Silence]


class Silences(BaseModel):
    items: list[Silence]
    next: str | None


class AddSilence(Asked):
    """For a while, nobody is told of the alerts that all matchers fit."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"matchers": ["service=checkout"], "duration": "2h", "reason": "Migration"}]}
    )

    matchers: list[str] = Field(min_length=1, max_length=50, examples=[["service=checkout"]])
    startsAt: str | None = Field(None, description="Default: now.")
    endsAt: str | None = None
    duration: str | None = Field(None, description="In place of `endsAt`.", examples=["2h"])
    reason: str = Field(min_length=1, max_length=2000, description="Somebody will wonder.")


# --- access --------------------------------------------------------------------------------------------------------

RoleName = Literal["viewer", "operator", "approver", "admin"]


class Token(BaseModel):
    id: str
    name: str
    role: RoleName
    teams: list[str]
    services: list[str]
    only: list[str] | None
    createdAt: str
    createdBy: str
    expiresAt: str | None
    lastUsedAt: str | None
    revokedAt: str | None
    standing: Literal["active", "expired", "revoked"]


class Tokens(BaseModel):
    items: list[Token]
    next: str | None


class IssuedToken(Token):
    token: str = Field(description="Shown this once, and kept nowhere.")


class AddToken(Asked):
    name: str = Field(min_length=1, max_length=200)
    role: RoleName
    expiresAt: str | None = None
    expiresIn: str | None = Field(None, description="In place of `expiresAt`.", examples=["90d"])
    teams: list[str] = Field(default=[], max_length=1000)
    services: list[str] = Field(default=[], max_length=1000)
    only: list[str] | None = Field(None, max_length=20, description="Of what the role may do, this much.")


class LogInWith(Asked):
    token: str = Field(max_length=200)


class Session(BaseModel):
    """A session of the browser."""

    name: str
    role: RoleName
    csrf: str = Field(description="To be sent as `X-CSRF-Token` with every change.")
    endsAt: str | None


class Me(BaseModel):
    """Who asks, and what they may do."""

    name: str
    role: RoleName
    teams: list[str]
    services: list[str] | None = Field(description="null: all.")
    how: Literal["token", "session", "local"]
    permissions: list[str]


# --- the server itself ---------------------------------------------------------------------------------------------


class Version(BaseModel):
    version: str
    api: Literal["v1"]
    replayed: bool = Field(description="Recorded data is shown, moved in time.")
    now: str


class Backfill(BaseModel):
    series: str
    doneSeconds: int
    ofSeconds: int
    reachedAt: str | None
    error: str | None


class Backfills(BaseModel):
    items: list[Backfill]
    next: str | None


class Problems(BaseModel):
    """What is wrong with a newer edit of the specs: the last good set is followed since *since*."""

    items: list[Finding]
    next: str | None
    since: str | None


class Receipt(BaseModel):
    """Telemetry that was taken: on the disk, and going to be counted."""

    accepted: int = Field(description="Samples and slices.")
