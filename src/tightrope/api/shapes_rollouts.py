"""The documents of rollouts, as OpenAPI has them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tightrope.api.shapes import Asked, Shape

Kind = Literal["feature", "config", "reliability", "security", "emergency", "rollback"]
Phase = Literal[
    "preparing",
    "gated",
    "stepping",
    "baking",
    "holding",
    "promoting",
    "rolling back",
    "promoted",
    "rolled back",
    "failed",
]
Name = Annotated[str, Field(max_length=500)]
Reason = Annotated[str, Field(max_length=2000, description="Why; it is recorded.")]
Count = Annotated[int, Field(ge=0, le=2**53)]


class StageDocument(Shape):
    stage: int
    weight: float
    bake_seconds: int
    inside_allowance: bool = Field(description="Whether total failure here fits into the allowance.")
    needs_proof: bool
    purpose: str
    worst: list[float] = Field(description="What total failure costs until a rollback, objective by objective.")


class CostDocument(Shape):
    slo: str
    unit: Literal["events", "slices"]
    allowance: float
    in_flight: float
    at_most: float
    share: float | None
    outage_seconds: int | None
    peak_per_second: float


class DetectionDocument(Shape):
    ratio: int
    within_seconds: int | None
    cost: float | None
    traffic_too_low: bool


class RolloutPlan(Shape):
    """What a release would do now, and what it can cost at most."""

    service: str
    as_of: str
    guarded: bool
    allowance: float
    reaction_seconds: int
    cluster_guard: float
    possible: bool
    stages: list[StageDocument]
    duration_seconds: int
    costs_at_most: list[CostDocument]
    detects: list[DetectionDocument]
    proof_weight: float | None
    why: str
    notes: list[str]


class ExplanationDocument(Shape):
    slo: str
    hits: int
    bad: int
    expected: float
    text: str


class EvidenceDocument(Shape):
    verdict: Literal["safe", "undecided", "harm"]
    harm: float = Field(description="Natural logarithm of the evidence of harm; at `bound` it goes back.")
    proof: float | None
    bound: float
    text: str = Field(examples=["1.3 of 20"])
    why: str
    harm_in_seconds: int | None
    safe_in_seconds: int | None
    explanations: list[ExplanationDocument]


class DifferenceDocument(Shape):
    """How much worse the new version's share of bad requests is: a ratio, with a band that holds whenever one looks."""

    value: float
    low: float
    high: float
    tolerated: float


class ObjectiveOfRollout(Shape):
    slo: str
    unit: Literal["events", "slices"]
    allowed: float
    spent: float
    blind: float = Field(description="What of it nobody could measure, and is reckoned with as lost.")
    allowance: float
    in_flight: float
    spent_share: float | None
    allowance_share: float | None
    worst_share: float | None = Field(description="What may be spent if this step fails totally.")
    canary_bad: int
    canary_total: int
    at_stage: int
    difference: DifferenceDocument | None
    measured_to: str | None


class RolloutDocument(Shape):
    """A release in steps; what is not known before its first turn is left out."""

    id: str
    number: int
    service: str
    environment: str
    version: str
    previous: str | None
    kind: Kind
    by: str
    phase: Phase
    over: bool
    why: str
    created_at: str
    proof: str | None = Field(None, description="What was seen of its end.")
    decision: str | None = None
    unheard: int = Field(0, description="Words of people that its next turn will hear.")
    refused: str | None = Field(None, description="Why the last word of a person could not be followed.")
    trouble: str | None = Field(None, description="What target or telemetry complain of now.")
    weight: float | None = None
    seen_weight: float | None = None
    stage: int | None = None
    stages: list[StageDocument] = Field(default_factory=list)
    guarded: bool = False
    paused: bool = False
    begun_at: str | None = None
    settled_at: str | None = None
    ended_at: str | None = None
    elapsed_seconds: int | None = None
    bake_seconds: int | None = None
    baked_seconds: int | None = None
    evidence: EvidenceDocument | None = None
    objectives: list[ObjectiveOfRollout] = Field(default_factory=list)


class RolloutList(Shape):
    items: list[RolloutDocument]
    next: str | None


class ArmsDocument(Shape):
    canary_bad: int
    canary_total: int
    baseline_bad: int
    baseline_total: int


class TurnDocument(Shape):
    """One turn as it is drawn: weights, evidence in nats, bad units spent by objective."""

    turn: int
    at: str
    phase: Phase
    weight: float
    seen_weight: float | None
    harm: float | None
    bound: float
    spent: dict[str, float]
    arms: dict[str, ArmsDocument]
    why: str
    deeds: list[str]


class Turns(Shape):
    items: list[TurnDocument]


class ReplayDocument(Shape):
    """The rollout decided again from its record."""

    turns: int
    agrees: bool
    differs_at_turn: int | None


class StartRollout(Asked):
    """What is to be released."""

    service: Name
    version: Name
    environment: Name = "production"
    previous: Name = Field("", description="What runs now, as telemetry and target call it.")
    revision: Name = ""
    kind: Kind = "feature"
    change: Name = Field("", description="What the gate is asked about, if neither version nor revision.")
    title: Annotated[str, Field(max_length=2000)] = ""
    url: Annotated[str, Field(max_length=2000)] = ""


class PromoteRollout(Asked):
    all: bool = Field(False, description="All of the traffic at once, and not the next step.")
    reason: Reason = ""


class TellRollout(Asked):
    reason: Reason = ""


class ArmCounts(Asked):
    bad: Count
    total: Count


class SendCounts(Asked):
    """Requests of both versions since the last that were sent, up to `until`."""

    slo: Name
    until: Annotated[str, Field(max_length=40)]
    canary: ArmCounts
    baseline: ArmCounts
