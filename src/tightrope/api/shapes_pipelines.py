"""The documents of pipelines and their runs, as OpenAPI has them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from tightrope.api.shapes import Asked, Shape

StepWord = Literal["waiting", "ready", "running", "succeeded", "failed", "cancelled", "skipped", "unknown"]
RunWord = Literal["queued", "running", "unknown", "succeeded", "failed", "cancelled"]
Reason = Annotated[str, Field(max_length=2000, description="Why; it is recorded.")]
Name = Annotated[str, Field(max_length=500)]


class StepDocument(Shape):
    """A step as it stands."""

    name: str
    does: str
    state: StepWord
    attempt: int
    needs: list[str]
    why: str = Field(description="What it waits for, why it failed, what nobody knows.")
    waits: bool = Field(description="The gate says wait.")
    optional: bool
    started_at: str | None
    finished_at: str | None
    outcome: dict[str, Any] = Field(description="What came of it: exit code, artifacts with digests, the decision.")


class StageDocument(Shape):
    name: str
    does: str
    needs: list[str]
    state: StepWord
    started_at: str | None
    finished_at: str | None
    steps: list[StepDocument]


class RunDocument(Shape):
    """A run of a pipeline."""

    number: int
    id: str
    pipeline: str
    state: RunWord
    summary: str
    service: str
    title: str
    by: str
    trigger: str
    repository: str
    revision: str
    branch: str
    tag: str
    version: str
    inputs: dict[str, str]
    group: str = Field(description="Of one group, one run is under way; others queue.")
    created_at: str
    started_at: str | None
    finished_at: str | None
    cancelled_by: str
    reason: str
    stages: list[StageDocument]


class RunList(Shape):
    items: list[RunDocument]
    next: str | None


class StageOfPipeline(Shape):
    name: str
    does: str


class ScheduleDocument(Shape):
    cron: str
    time_zone: str
    branch: str


class TriggersDocument(Shape):
    branches: list[str]
    tags: list[str]
    schedules: list[ScheduleDocument]


class InputDocument(Shape):
    name: str
    description: str
    default: str
    required: bool
    one_of: list[str]


class LastRun(Shape):
    number: int
    state: RunWord
    created_at: str
    summary: str


class PipelineDocument(Shape):
    """A pipeline that is applied, with its newest run."""

    name: str
    service: str
    description: str
    repository: str
    file: str
    version: str
    concurrency: str
    stages: list[StageOfPipeline]
    triggers: TriggersDocument
    inputs: list[InputDocument]
    trouble: str = Field(description="What keeps pushes and schedules from starting it; empty: nothing.")
    last_run: LastRun | None


class PipelineList(Shape):
    items: list[PipelineDocument]


class LogDocument(Shape):
    """A stretch of a log; what is no UTF-8 in it is replaced."""

    step: str
    offset: int
    next_offset: int
    ended: bool
    text: str


class Started(Shape):
    items: list[RunDocument]
    trouble: dict[str, str] = Field(description="Why a pipeline that wants the push was not started, by its name.")


class StartRun(Asked):
    revision: Annotated[
        str, Field(max_length=500, description="Commit, branch or tag; the main branch, if absent.")
    ] = ""
    inputs: Annotated[
        dict[str, str], Field(max_length=100, default_factory=dict, description="What the pipeline asks for.")
    ]
    key: Annotated[str, Field(max_length=200, description="Started twice with one key, it runs once.")] = ""


class TellPush(Asked):
    """A push to a repository of this server's machine, or to any that pipelines name."""

    repository: Annotated[str, Field(min_length=1, max_length=2000, description="As the pipelines name it.")]
    ref: Annotated[str, Field(pattern=r"^refs/(heads|tags)/.+$", max_length=500)]
    before: Annotated[str, Field(pattern=r"^([0-9a-f]{40}|[0-9a-f]{64})?$")] = ""
    after: Annotated[str, Field(pattern=r"^([0-9a-f]{40}|[0-9a-f]{64})$")]
    by: Name = ""


class CancelRun(Asked):
    reason: Reason = ""


class RetryRun(Asked):
    steps: Annotated[
        list[Name],
        Field(max_length=1000, default_factory=list, description="Steps to do again; what failed, if empty."),
    ]


class SettleStep(Asked):
    step: Annotated[str, Field(min_length=1, max_length=500)]
    as_: Annotated[Literal["succeeded", "failed", "again"], Field(alias="as", description="What became of it.")]
    reason: Annotated[str, Field(min_length=1, max_length=2000, description="How that is known.")]
