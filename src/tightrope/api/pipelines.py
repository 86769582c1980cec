"""Pipelines and their runs: started, followed live, cancelled, retried and settled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import FileResponse, Response, StreamingResponse

from tightrope.access.roles import Permission
from tightrope.api.answers import answer, page, row_before
from tightrope.api.budget import Cursor, Limit
from tightrope.api.shapes_pipelines import (
    CancelRun,
    LogDocument,
    PipelineDocument,
    PipelineList,
    RetryRun,
    RunDocument,
    RunList,
    SettleStep,
    Started,
    StartRun,
    TellPush,
)
from tightrope.api.visitor import Visit, Visitor, needs, visitor
from tightrope.base.errors import BusyError, NotFoundError, TightropeError
from tightrope.delivery.pipelines.documents import pipeline_document
from tightrope.delivery.pipelines.plan import Push
from tightrope.runs.steps import Run, RunState

router = APIRouter(tags=["delivery"])

MOST_FOLLOWERS = 100
LOOKS_EVERY_S, HEARTBEAT_S = 0.5, 15.0
_PIECE = 64 * 1024
_FILE = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
_following = 0

RunStates = Literal["queued", "running", "unknown", "succeeded", "failed", "cancelled"]
StepName = Annotated[str, Query(max_length=500, description="Which step.")]
Attempt = Annotated[int | None, Query(ge=1, le=10_000, description="Of this attempt; the newest, if absent.")]


@router.get("/pipelines", summary="List pipelines", **needs(Permission.READ, also={200: {"model": PipelineList}}))
def pipelines(visit: Visit) -> Response:
    """Those that are applied, by name, each with its newest run."""
    visit.must(Permission.READ)
    trouble = visit.server.pipelines.trouble
    found = [one for one in visit.server.pipelines.definitions() if visit.sees(one.pipeline.service)]
    items = [pipeline_document(one.pipeline, one.run, trouble.get(one.pipeline.name, "")) for one in found]
    return answer({"items": items})


@router.get(
    "/pipelines/{pipeline}",
    summary="Show a pipeline",
    **needs(Permission.READ, also={200: {"model": PipelineDocument}}),
)
def pipeline(visit: Visit, pipeline: str) -> Response:
    """With its stages, triggers and inputs."""
    known = visit.server.pipelines.definition(pipeline)
    visit.must(Permission.READ, known.service)
    newest = visit.server.pipelines.recent(pipeline=pipeline, limit=1)
    trouble = visit.server.pipelines.trouble.get(pipeline, "")
    return answer(pipeline_document(known, newest[0] if newest else None, trouble))


@router.post(
    "/pipelines/{pipeline}/runs",
    status_code=201,
    summary="Start a pipeline",
    **needs(Permission.RUN, also={201: {"model": RunDocument, "description": "It is started, or queued."}}),
)
def start(visit: Visit, pipeline: str, wanted: StartRun) -> Response:
    """Its gates are asked all the same; so is the concurrency group, in which it may queue."""
    _runs_anything(visit)
    known = visit.server.pipelines.definition(pipeline)
    visit.must(Permission.RUN, known.service)
    run = visit.server.pipelines.run(
        pipeline, by=visit.actor.name, revision=wanted.revision, inputs=wanted.inputs, key=wanted.key
    )
    return answer(visit.server.pipelines.document(run), 201, {"Location": f"/api/v1/runs/{run.number}"})


@router.post(
    "/pipelines/pushes",
    summary="Tell of a push",
    **needs(
        Permission.RUN, also={200: {"model": Started, "description": "The runs that it started; none: nobody asked."}}
    ),
)
def pushed(visit: Visit, wanted: TellPush) -> Response:
    """For hooks of bare repositories. Of what wants the push, only applied pipelines are started."""
    visit.must(Permission.RUN)
    if not wanted.after.strip("0"):
        return answer({"items": [], "trouble": {}})
    push = Push(
        repository=wanted.repository,
        branch=wanted.ref.removeprefix("refs/heads/") if wanted.ref.startswith("refs/heads/") else "",
        tag=wanted.ref.removeprefix("refs/tags/") if wanted.ref.startswith("refs/tags/") else "",
        before=wanted.before,
        after=wanted.after,
        by=wanted.by or visit.actor.name,
    )
    known = visit.server.pipelines
    runs = known.pushed(push)
    trouble = known.trouble_of(push.repository)
    return answer({"items": [known.document(run) for run in runs], "trouble": trouble})


@router.get("/runs", summary="List runs of pipelines", **needs(Permission.READ, also={200: {"model": RunList}}))
def runs(
    visit: Visit,
    pipeline: Annotated[str, Query(max_length=500, description="Only of this pipeline.")] = "",
    service: Annotated[str, Query(max_length=500, description="Only of this service.")] = "",
    state: Annotated[list[RunStates] | None, Query(description="Only in one of these states.")] = None,
    limit: Limit = 50,
    cursor: Cursor = "",
) -> Response:
    """The newest first."""
    visit.must(Permission.READ, service)
    before, found = row_before(cursor), list[Run]()
    states = [RunState(one) for one in state or ()]
    while True:
        rows = visit.server.pipelines.recent(
            pipeline=pipeline, service=service, states=states, before=before, limit=limit + 1
        )
        found += [one for one in rows if visit.sees(one.service)]
        if len(found) > limit or len(rows) <= limit:
            break
        before = rows[-1].number
    listed = page(visit.request, found[: limit + 1], limit, lambda one: str(one.number))
    return answer(listed | {"items": [visit.server.pipelines.document(one) for one in listed["items"]]})


@router.get("/runs/{run}", summary="Show a run", **needs(Permission.READ, also={200: {"model": RunDocument}}))
def show(visit: Visit, run: str) -> Response:
    """By its number or id: stages, steps, what came of them."""
    return answer(visit.server.pipelines.document(_seen(visit, run)))


@router.get(
    "/runs/{run}/logs",
    summary="Read what a step wrote",
    **needs(
        Permission.READ,
        also={
            200: {
                "model": LogDocument,
                "description": "As plain text, just as it was written, or a stretch of it as a document. The headers "
                "`X-Next-Offset` and `X-Log-Ended` tell where to go on, and whether more may come.",
                "content": {"text/plain": {"schema": {"type": "string"}}},
            }
        },
    ),
)
def logs(
    visit: Visit,
    run: str,
    step: StepName,
    offset: Annotated[int, Query(ge=0, le=2**40, description="From this byte on.")] = 0,
    attempt: Attempt = None,
    form: Annotated[Literal["plain", "json"], Query(description="Plain text, or a document.")] = "plain",
) -> Response:
    """At most 1 MiB at once. Secrets were replaced before it was written; long output has a mark where it was cut."""
    found = _seen(visit, run)
    part = visit.server.pipelines.logs(found.id, step, attempt=attempt, offset=offset)
    if form == "json":
        text = part.data.decode("utf-8", "replace")
        told = {"step": step, "offset": offset, "nextOffset": part.next_offset, "ended": part.ended, "text": text}
        return answer(told)
    headers = {"X-Next-Offset": str(part.next_offset), "X-Log-Ended": "true" if part.ended else "false"}
    return Response(part.data, media_type="text/plain; charset=utf-8", headers=headers)


@router.get(
    "/runs/{run}/stream",
    summary="Follow a run",
    **needs(
        Permission.READ,
        also={
            200: {
                "description": "Server-sent events: `run` with the whole run whenever it changed, `log` with what "
                "a step wrote since (step, attempt, offset, text), `end` when it is over. A comment comes every 15 s.",
                "content": {"text/event-stream": {"schema": {"type": "string"}}},
            }
        },
    ),
)
async def stream(
    request: Request,
    run: str,
    step: Annotated[str, Query(max_length=500, description="Only the log of this step; of all, if absent.")] = "",
    offset: Annotated[int, Query(ge=0, le=2**40, description="With step: from this byte on.")] = 0,
) -> Response:
    """Live, until it is over."""
    visit = await run_in_threadpool(visitor, request)
    found = await run_in_threadpool(_seen, visit, run)
    if step and step not in {one.name for one in found.steps}:
        raise NotFoundError(f"run {found.number} has no step {step!r}")
    if _following >= MOST_FOLLOWERS:
        raise BusyError(f"{MOST_FOLLOWERS} clients follow runs already", retry_after_s=10)
    return StreamingResponse(
        _pieces(visit, found.id, step, offset),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


@router.get(
    "/runs/{run}/artifacts/{digest}",
    summary="Fetch an artifact",
    **needs(Permission.READ, also={200: {"description": "The file.", "content": _FILE}}),
)
def artifact(visit: Visit, run: str, digest: str) -> Response:
    """By its sha256, in hex."""
    found = _seen(visit, run)
    kept = [one for step in found.steps for one in step.outcome.get("artifacts", ()) if one["digest"] == digest]
    if not kept:
        raise NotFoundError(f"run {found.number} has no artifact with the digest {digest[:80]!r}")
    name = str(kept[0]["path"]).rpartition("/")[2]
    path = visit.server.pipelines.shelves.artifact(digest)
    return FileResponse(path, media_type="application/octet-stream", filename=name)


@router.post(
    "/runs/{run}/cancel",
    summary="Cancel a run",
    **needs(Permission.RUN, also={200: {"model": RunDocument, "description": "What runs is being stopped."}}),
)
def cancel(visit: Visit, run: str, wanted: CancelRun) -> Response:
    """What runs is stopped; what did not begin never does, except steps that always run."""
    found = _mine(visit, run)
    known = visit.server.pipelines
    return answer(known.document(known.cancel(found.id, by=visit.actor.name, reason=wanted.reason)))


@router.post(
    "/runs/{run}/retry",
    summary="Retry a run",
    **needs(Permission.RUN, also={200: {"model": RunDocument, "description": "It goes on, or queues."}}),
)
def retry(visit: Visit, run: str, wanted: RetryRun) -> Response:
    """From what failed on; what succeeded is not done again, unless it needs what is."""
    found = _mine(visit, run)
    known = visit.server.pipelines
    return answer(known.document(known.retry(found.id, by=visit.actor.name, steps=wanted.steps)))


@router.post(
    "/runs/{run}/settle",
    summary="Settle a step",
    **needs(Permission.RUN, also={200: {"model": RunDocument, "description": "It is settled, and the run goes on."}}),
)
def settle(visit: Visit, run: str, wanted: SettleStep) -> Response:
    """Say what became of a step whose outcome nobody knows: nothing is repeated in silence."""
    found = _mine(visit, run)
    done = visit.server.pipelines.settle(found.id, wanted.step, wanted.as_, by=visit.actor.name, reason=wanted.reason)
    return answer(visit.server.pipelines.document(done))


def _runs_anything(visit: Visitor) -> None:
    if not any(visit.actor.may(Permission.RUN, one) for one in ["", *sorted(visit.actor.services or ())]):
        visit.must(Permission.RUN)


def _seen(visit: Visitor, run: str) -> Run:
    found = visit.server.pipelines.show(run)
    visit.must(Permission.READ, found.service)
    return found


def _mine(visit: Visitor, run: str) -> Run:
    """A run that the visitor may change; who may run nothing hears nothing of what there is."""
    _runs_anything(visit)
    found = visit.server.pipelines.show(run)
    visit.must(Permission.RUN, found.service)
    return found


# --- live ------------------------------------------------------------------------------------------------------------


async def _pieces(visit: Visitor, run: str, step: str, offset: int) -> AsyncIterator[bytes]:
    """What is to be told of a run, until it is over or its follower may not follow any more."""
    global _following  # noqa: PLW0603 - how many there are is a matter of the process
    _following += 1
    try:
        follower = _Follower(visit, run, step, offset)
        quiet_s, checked_s = 0.0, 0.0
        while True:
            pieces, over = await run_in_threadpool(follower.look)
            for piece in pieces:
                yield piece
            if over:
                return
            quiet_s = 0.0 if pieces else quiet_s + LOOKS_EVERY_S
            checked_s += LOOKS_EVERY_S
            if quiet_s >= HEARTBEAT_S:
                quiet_s = 0.0
                yield b": still here\n\n"
            if checked_s >= HEARTBEAT_S:
                checked_s = 0.0
                if not await run_in_threadpool(_still, visit, run):
                    return
            await asyncio.sleep(LOOKS_EVERY_S)
    finally:
        _following -= 1


class _Follower:
    """Looks at a run, and tells what is new since."""

    def __init__(self, visit: Visitor, run: str, step: str, offset: int) -> None:
        self._pipelines = visit.server.pipelines
        self._run = run
        self._step = step
        self._offsets: dict[tuple[str, int], int] = {}
        self._first = offset
        self._told: Any = None

    def look(self) -> tuple[list[bytes], bool]:
        """Pieces of the stream, and whether these are the last."""
        found: list[bytes] = []
        try:
            run = self._pipelines.show(self._run)
            document = self._pipelines.document(run)
        except TightropeError:
            return [], False  # the store is busy; what was missed comes with the next look
        if document != self._told:
            self._told = document
            found.append(_piece("run", document))
        more = False
        for step in run.steps:
            if step.started_at is None or (self._step and step.name != self._step):
                continue
            mark = (step.name, step.attempt)
            offset = self._offsets.setdefault(mark, self._first if self._step else 0)
            try:
                part = self._pipelines.logs(run.id, step.name, attempt=step.attempt, offset=offset)
            except TightropeError:
                continue  # it is kept elsewhere
            data = part.data[:_PIECE]
            if data:
                told = {"step": step.name, "attempt": step.attempt, "offset": offset}
                found.append(_piece("log", told | {"text": data.decode("utf-8", "replace")}))
                self._offsets[mark] = offset + len(data)
                more = more or len(part.data) > len(data)
        over = run.state.over and not more
        if over:
            found.append(_piece("end", {"state": str(run.state)}))
        return found, over


def _still(visit: Visitor, run: str) -> bool:
    try:
        return visitor(visit.request).actor.may(Permission.READ, visit.server.pipelines.show(run).service)
    except TightropeError:
        return False


def _piece(kind: str, document: Any) -> bytes:
    return f"event: {kind}\n".encode() + b"data: " + msgspec.json.encode(document) + b"\n\n"
