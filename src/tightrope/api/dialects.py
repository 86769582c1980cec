"""The gate in the dialects of its callers: Flagger, Argo Rollouts, Kubernetes, Spinnaker, Kayenta, Drone.

Each caller shows who it is as it can: a bearer token; the same token in the path, for those that can send no header
(`KEYED`); in Flagger's metadata; or a signature. Whoever is not known hears what its dialect says without a decision,
and not a 401 that it would count against a healthy release.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Annotated, Any
from urllib.parse import quote

import msgspec
from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response
from starlette.types import Scope

from tightrope.access.roles import Actor, Permission
from tightrope.api.answers import answer as written
from tightrope.api.visitor import Visit, known, needs
from tightrope.base.errors import (
    DataError,
    ForbiddenError,
    NotFoundError,
    SourceUnreachableError,
    TightropeError,
    UnauthorizedError,
)
from tightrope.base.settings import environment as variable
from tightrope.delivery.changes import DeploymentReport, DeploymentState
from tightrope.delivery.holds.hold import Caller, Hold
from tightrope.loop.server import Server
from tightrope.policy.decision import Decision, GateRequest, Verdict
from tightrope.policy.dialects import argo_rollouts, drone, flagger, kayenta, kubernetes, remote_judge, spinnaker
from tightrope.policy.dialects.hearing import Answer, Asking, Heard, NoDecision, Trouble, asking, cut, says, word
from tightrope.specs.model import Integration, IntegrationType, OnStop

ROOT = "/api/v1/dialects"
KEYED = f"{ROOT}/key/"
"""What follows is a token, and then the rest of an address below `ROOT`: for callers that can send no header."""

router = APIRouter(prefix="/dialects", tags=["dialects"])

_LOG = logging.getLogger("tightrope.api")


class _Strangers:
    """Tells the log of callers that are not known: what they hear in their dialect is easily overlooked."""

    EVERY = 100

    def __init__(self) -> None:
        self._count = 0

    def note(self, why: str) -> None:
        """Count one, and tell of the first and then of every hundredth."""
        if self._count % self.EVERY == 0:
            _LOG.warning("a caller of a dialect is not known, or may not ask: %s (%d so far)", why, self._count + 1)
        self._count += 1


_STRANGERS = _Strangers()


def unlocked(scope: Scope) -> Scope:
    """The request with the token of its path in the header where tokens belong: no address that is shown has it.

    A token in the path counts before one in a header.
    """
    token, _, rest = scope["path"][len(KEYED) :].partition("/")
    raw_token, _, raw_rest = scope.get("raw_path", b"")[len(KEYED) :].partition(b"/")
    headers = [pair for pair in scope["headers"] if pair[0] != b"authorization"]
    headers.append((b"authorization", b"Bearer " + token.encode("utf-8", "replace")))
    return {
        **scope,
        "path": f"{ROOT}/{rest}",
        "raw_path": f"{ROOT}/".encode() + raw_rest,
        "headers": headers,
        "dialect_base": KEYED.encode() + raw_token,
    }


async def _body(request: Request) -> bytes:
    return await request.body()


Body = Annotated[bytes, Depends(_body)]
Service = Annotated[str, Query(max_length=200, description="The service, where the request itself does not say it.")]


# --- who asks what -------------------------------------------------------------------------------------------------


def _heard(request: Request, question: Asking, token: str = "") -> Heard:
    """Ask the gate for a caller; whatever keeps it from answering is told, and never raised."""
    server: Server = request.app.state.server
    return _attempt(lambda: _decided(server, request, question, token))


def _decided(server: Server, request: Request, question: Asking, token: str) -> Heard:
    actor = _actor(request, token)
    if not question.service:
        return NoDecision(Trouble.UNKNOWN, "the request names no service")
    actor.must(Permission.GATE, question.service)
    return _gate(server, server.decide, _by(question, actor))


def _gate(server: Server, ask: Callable[[GateRequest], Decision], question: Asking) -> Heard:
    """Ask, once there is something to decide on: before the first turn every service is one that nobody knows."""
    if not server.live.snapshot.number:
        return NoDecision(Trouble.FAILED, server.ready()[1])
    return ask(question.at(server.now()))


def _attempt(ask: Callable[[], Heard]) -> Heard:
    try:
        return ask()
    except (UnauthorizedError, ForbiddenError) as error:
        _STRANGERS.note(error.message)
        return NoDecision(Trouble.STRANGER, error.message)
    except NotFoundError as error:
        return NoDecision(Trouble.UNKNOWN, error.message)
    except TightropeError as error:
        return NoDecision(Trouble.FAILED, error.message)
    except Exception:  # noqa: BLE001 - a bug is no verdict, and no caller may take it for one
        _LOG.exception("a bug in an answer to a dialect")
        return NoDecision(Trouble.FAILED, "this is a bug in Tightrope, and no verdict")


def _actor(request: Request, token: str = "") -> Actor:
    """Who asks: raises as `visitor` does."""
    server: Server = request.app.state.server
    headers: Mapping[str, str] = dict(request.headers)
    if token:
        headers = {**headers, "authorization": f"Bearer {token}"}
    peer = request.client.host if request.client else ""
    return known(server, request.method, headers, peer, request.url.scheme == "https", server.now())


def _by(question: Asking, actor: Actor) -> Asking:
    who = f"{question.asked_by} (by {actor.name})" if question.asked_by else actor.name
    return replace(question, asked_by=cut(who, 200))


def _once(request: Request) -> str:
    """A name for a question that has none: each is another one."""
    return secrets.token_hex(8) + str(request.scope.get("request_id", ""))[:40]


def _json(body: bytes) -> Any:
    """The document in a body; None for what is none."""
    try:
        return msgspec.json.decode(body) if body.strip() else None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _said(answer: Answer, kind: str = "text/plain; charset=utf-8") -> Response:
    if answer.document is not None:
        return written(answer.document, answer.status, answer.headers)
    if answer.status == 204 or not answer.text:
        return Response(None, answer.status, dict(answer.headers))
    return Response(answer.text, answer.status, dict(answer.headers), kind)


def _base_url(request: Request) -> str:
    server: Server = request.app.state.server
    return server.settings.base_url


def _here(request: Request, path: str) -> str:
    """The whole address of something of ours, as this caller reaches it; with its token, if that is how it came."""
    host = f"{request.url.scheme}://{request.headers.get('host', 'localhost')}"
    base: bytes = request.scope.get("dialect_base", ROOT.encode())
    return f"{_base_url(request) or host}{base.decode('latin-1')}{path}"


def _text(*statuses: int) -> dict[Any, Any]:
    return {one: {"description": "A short text.", "content": {"text/plain": {}}} for one in statuses}


def _document(says: str, *statuses: int) -> dict[Any, Any]:
    shape = {"application/json": {"schema": {"type": ["object", "array"]}}}
    return {one: {"description": says, "content": shape} for one in statuses or (200,)}


_OBJECT = {"requestBody": {"content": {"application/json": {"schema": {"type": "object"}}}}}


# --- Flagger -------------------------------------------------------------------------------------------------------


@router.post(
    "/flagger/{hook}",
    summary="Answer a hook of Flagger",
    **needs(None, also=_text(200, 202, 401, 403, 404, 409), extra=_OBJECT),
)
def ask_flagger(request: Request, hook: str, body: Body, service: Service = "") -> Response:
    """200 and 202 are a yes, all else is a no; for `rollback`, a yes rolls back, and only harm is a yes.

    Takes a token that may `gate`: in `metadata.token`, in the path (`/dialects/key/TOKEN/flagger/...`), or as a header.
    `post-rollout` records the deployment if the token may `record`.
    """
    if hook not in {one.value for one in flagger.Hook}:
        return _said(Answer(404, text=f"Flagger has no hook of this name; there are {', '.join(flagger.Hook)}\n"))
    named = flagger.Hook(hook)
    payload = _json(body)
    call = flagger.read(payload, service)
    if named is flagger.Hook.POST_ROLLOUT:
        _attempt(lambda: _recorded(request, call))
    if named not in flagger.ASKING:
        return _said(flagger.answer(named, NoDecision(Trouble.UNKNOWN, "")))
    if payload is None:
        return _said(flagger.answer(named, NoDecision(Trouble.UNREADABLE, "the body is no JSON")))
    return _said(flagger.answer(named, _heard(request, call.asking, call.token)))


def _recorded(request: Request, call: flagger.Call) -> Heard:
    """Record how a release ended, for whoever may; what is not told apart is left out."""
    server: Server = request.app.state.server
    actor, question = _actor(request, call.token), call.asking
    actor.must(Permission.RECORD, question.service)
    known_services = {*server.live.snapshot.specs.services, *(one.service for one in server.live.snapshot.specs.slos)}
    if call.ended is None or not call.name or question.service not in known_services:
        return NoDecision(Trouble.UNKNOWN, "it is not known what ended")
    server.deliveries.record(
        DeploymentReport(
            "flagger",
            call.name,
            question.service,
            question.environment,
            server.now(),
            DeploymentState.SUCCEEDED if call.ended else DeploymentState.FAILED,
            version=call.version,
            kind=question.kind if question.kind_from == "given" else None,
            kind_from=question.kind_from if question.kind_from == "given" else "",
            change=question.change,
            by=actor.name,
        )
    )
    return NoDecision(Trouble.UNKNOWN, "")


# --- Argo Rollouts -------------------------------------------------------------------------------------------------

Kind = Annotated[str, Query(max_length=50, description="Kind of the change; a feature, if absent.")]
Environment = Annotated[str, Query(max_length=200, description="Where it goes.")]
Text500 = Annotated[str, Query(max_length=500)]
Running = Annotated[bool, Query(description="Users meet the release already: stop means that it does harm.")]


@router.get(
    "/argo-rollouts/{service}",
    summary="Answer a web metric of Argo Rollouts",
    **needs(None, also=_document("`decision`: go, wait or stop; `reason`, `url`, `id`.")),
)
def ask_argo(
    request: Request,
    service: str,
    kind: Kind = "",
    environment: Environment = "production",
    change: Text500 = "",
    title: Text500 = "",
    message: Text500 = "",
    running: Running = False,
) -> Response:
    """Always 200: an error would count against the release, so whatever is not known is a wait.

    Takes a token that may `gate`.
    """
    given = {"kind": kind, "environment": environment, "change": change, "title": title, "message": message}
    question = asking(given, service=service, asked_by="argo-rollouts")
    return _said(argo_rollouts.answer(_heard(request, question), _base_url(request), under_way=running))


@router.post(
    "/argo-rollouts/{service}",
    summary="Answer a web metric of Argo Rollouts",
    **needs(None, also=_document("`decision`: go, wait or stop; `reason`, `url`, `id`."), extra=_OBJECT),
)
def ask_argo_with_body(request: Request, service: str, body: Body, running: Running = False) -> Response:
    """As GET, with the question in the body: `kind`, `environment`, `change`, `title`, `message`, `labels`."""
    given = _json(body)
    question = asking(given if isinstance(given, dict) else {}, service=service, asked_by="argo-rollouts")
    return _said(argo_rollouts.answer(_heard(request, question), _base_url(request), under_way=running))


# --- Kubernetes ----------------------------------------------------------------------------------------------------


@router.post(
    "/kubernetes/admission",
    summary="Admit a workload to Kubernetes, or not",
    **needs(None, also={**_document("An AdmissionReview."), **_text(400, 401, 500)}, extra=_OBJECT),
)
def admit(request: Request, body: Body) -> Response:
    """An AdmissionReview v1: a changed pod template asks the gate; replicas, rollbacks and system namespaces do not.

    Takes a token that may `gate`. Where there is no decision for reasons of ours the answer is no AdmissionReview, and
    the `failurePolicy` of the webhook decides.
    """
    server: Server = request.app.state.server
    document = _json(body)
    try:
        _actor(request)
        review = kubernetes.read(document)
        if review.goes_in is None and server.holds.goes_back(review, kubernetes.template_before(document)):
            review = kubernetes.going_back(review)
    except (UnauthorizedError, ForbiddenError) as error:
        return _said(Answer(401, text=error.message))
    except DataError as error:
        return _said(Answer(400, text=error.message))
    except TightropeError as error:
        return _said(Answer(500, text=error.message))
    heard: Heard | None = None
    if review.goes_in is None or review.goes_in is kubernetes.Pass.KNOWN_GOOD:
        heard = _weighed(request, review.asking) if review.dry_run else _heard(request, review.asking)
    if review.goes_in is not None and heard is not None and word(heard) is not Verdict.GO:
        heard = None  # a way back is open, whatever keeps us from deciding
    answer = kubernetes.answer(review, heard)
    let_in = answer.status == 200 and answer.document["response"]["allowed"]
    if let_in and review.template and not review.dry_run:
        try:
            server.holds.let_in(review)
        except TightropeError as error:
            _LOG.warning("what was let in is not noted: %s", error.message)
    return _said(answer)


def _weighed(request: Request, question: Asking) -> Heard:
    """The same answer for what nobody will keep: nothing is recorded."""
    server: Server = request.app.state.server

    def ask() -> Heard:
        actor = _actor(request)
        actor.must(Permission.GATE, question.service)
        return _gate(server, server.weigh, _by(question, actor))

    return _attempt(ask)


# --- Spinnaker -----------------------------------------------------------------------------------------------------


@router.post(
    "/spinnaker/{service}",
    status_code=202,
    summary="Hold a stage of Spinnaker",
    **needs(
        Permission.GATE,
        also=_document("Held; `Location` and `statusUrl` tell how it stands.", 202),
        extra=_OBJECT,
    ),
)
def hold_spinnaker(visit: Visit, service: str, body: Body) -> Response:
    """Taken at once. Body: `kind`, `environment`, `change`, `title`, `message`, `execution`, `onStop: hold|refuse`."""
    visit.must(Permission.GATE, service)
    given = _json(body)
    given = given if isinstance(given, dict) else {}
    question = replace(asking({**given, "service": ""}, service=service, asked_by="spinnaker"), service=service)
    execution = cut(given.get("execution"), 200) or _once(visit.request)
    key = f"{service} {question.environment} {question.change} {execution}"
    terms = OnStop.REFUSE if given.get("onStop") == "refuse" else OnStop.HOLD
    address = {"url": cut(given.get("url"), 500)}
    hold = visit.server.holds.open(Caller.SPINNAKER, key, _by(question, visit.actor), address, on_stop=terms)
    place = _here(visit.request, f"/spinnaker/{quote(service, safe='')}/{hold.id}")
    return _said(spinnaker.accepted(hold.id, hold.state.value, hold.reason, place))


@router.get(
    "/spinnaker/{service}/{hold}",
    summary="Tell Spinnaker how a stage stands",
    **needs(
        Permission.GATE,
        also=_document("`status`: RUNNING, SUCCEEDED, TERMINAL or CANCELED; `progress` is a string."),
    ),
)
def spinnaker_status(visit: Visit, service: str, hold: str) -> Response:
    """For `statusJsonPath: $.status` and `progressJsonPath: $.progress`. What is not known goes on running."""
    visit.must(Permission.GATE, service)
    found = visit.server.holds.polled(hold)
    if found is None or found.caller is not Caller.SPINNAKER or found.service != service:
        return _said(spinnaker.status(cut(hold, 50), "waiting", "there is no such hold; cancel the stage, or wait"))
    url = f"{_base_url(visit.request)}/decisions/{found.decision}" if found.decision else ""
    return _said(spinnaker.status(found.id, found.state.value, found.reason, found.decision, url))


@router.post(
    "/spinnaker/{service}/{hold}/cancel",
    summary="Give up a stage of Spinnaker",
    **needs(Permission.GATE, also=_document("`status` of the stage.")),
)
def cancel_spinnaker(visit: Visit, service: str, hold: str) -> Response:
    """What Spinnaker calls when the stage is cancelled or fails; a hold that is over stays as it is."""
    visit.must(Permission.GATE, service)
    try:
        found = visit.server.holds.hold(hold)
    except NotFoundError:
        return _said(spinnaker.status(cut(hold, 50), "cancelled", "there is no such hold"))
    if found.service != service or found.caller is not Caller.SPINNAKER:
        return _said(spinnaker.status(cut(hold, 50), "cancelled", "there is no such hold"))
    ended = visit.server.holds.cancel(found.id, by=visit.actor.name)
    return _said(spinnaker.status(ended.id, ended.state.value, ended.reason, ended.decision))


# --- Kayenta -------------------------------------------------------------------------------------------------------


@router.get(
    "/kayenta/canaryConfig",
    summary="List the canary configs, as Kayenta does",
    **needs(None, also=_document("One config, by the name of `tightrope`.")),
)
def kayenta_configs(request: Request, application: Text500 = "") -> Response:
    """The one there is, whatever is asked for; so Argo Rollouts finds its `canaryConfigName: tightrope`."""
    server: Server = request.app.state.server
    return _said(kayenta.configs(application, server.now()))


@router.get(
    "/kayenta/canaryConfig/{config}",
    summary="Show a canary config, as Kayenta does",
    **needs(None, also=_document("The config.")),
)
def kayenta_config(config: str) -> Response:
    """The same for every name."""
    return _said(kayenta.config(config))


@router.post("/kayenta/canary/", include_in_schema=False)
@router.post(
    "/kayenta/canary/{name}",
    summary="Begin a canary execution, as Kayenta does",
    **needs(None, also=_document("`canaryExecutionId`."), extra=_OBJECT),
)
def kayenta_begin(request: Request, body: Body, name: str = kayenta.CONFIG) -> Response:
    """A hold of the service that `application` names; who may not ask begins one that never completes.

    Takes a token that may `gate`, in the path for Argo Rollouts.
    """
    return _said(kayenta.started(_executed(request, name, body)))


@router.get(
    "/kayenta/canary/{name}",
    summary="Tell how a canary execution stands, as Kayenta does",
    **needs(None, also=_document("`complete`, and once it is, `result.judgeResult.score.score`.")),
)
def kayenta_execution(request: Request, name: str) -> Response:
    """Incomplete for as long as the gate says wait, and for whatever is not known: an error would abort the rollout."""
    found, reason = _execution(request, name)
    if found is None:
        return _said(kayenta.execution(cut(name, 50), "waiting", reason, {}))
    return _said(
        kayenta.execution(
            found.id,
            found.state.value,
            found.reason,
            found.address,
            application=found.service,
            begun_at=found.opened_at,
            ended_at=found.closed_at,
        )
    )


@router.post(
    "/kayenta/standalone_canary_analysis/{name}",
    summary="Begin a standalone canary analysis, as Kayenta does",
    **needs(None, also=_document("`canaryAnalysisExecutionId`."), extra=_OBJECT),
)
def kayenta_begin_standalone(request: Request, name: str, body: Body) -> Response:
    """As a canary execution, for those who call Kayenta without Spinnaker."""
    return _said(kayenta.started(_executed(request, name, body), standalone=True))


@router.get(
    "/kayenta/standalone_canary_analysis/{name}",
    summary="Tell how a standalone canary analysis stands, as Kayenta does",
    **needs(None, also=_document("`complete`, and once it is, `canaryAnalysisExecutionResult.didPassThresholds`.")),
)
def kayenta_standalone(request: Request, name: str) -> Response:
    """Incomplete for as long as the gate says wait."""
    found, reason = _execution(request, name)
    if found is None:
        return _said(kayenta.standalone(cut(name, 50), "waiting", reason, {}))
    return _said(
        kayenta.standalone(
            found.id,
            found.state.value,
            found.reason,
            found.address,
            application=found.service,
            begun_at=found.opened_at,
            ended_at=found.closed_at,
        )
    )


def _executed(request: Request, config: str, body: bytes) -> str:
    """Begin an execution; its name, also where there is none to wait for: then it stays incomplete."""
    server: Server = request.app.state.server
    question, thresholds = kayenta.read(dict(request.query_params), _json(body))
    begun: list[Hold] = []

    def begin() -> Heard:
        actor = _actor(request)
        actor.must(Permission.GATE, question.service)
        terms = OnStop.HOLD if request.query_params.get("onStop") == "hold" else OnStop.REFUSE
        key = f"{config} {question.service} {question.environment} {_once(request)}"
        begun.append(server.holds.open(Caller.KAYENTA, key, _by(question, actor), dict(thresholds), on_stop=terms))
        return NoDecision(Trouble.UNKNOWN, "")

    told = _attempt(begin)
    if begun:
        return begun[0].id
    _LOG.warning("a canary execution of %s begins that will wait for ever: %s", question.service[:200], says(told))
    return "H-none"


def _execution(request: Request, execution: str) -> tuple[Hold | None, str]:
    server: Server = request.app.state.server
    found: list[Hold] = []

    def look() -> Heard:
        actor = _actor(request)
        hold = server.holds.polled(execution)
        if hold is None or hold.caller is not Caller.KAYENTA:
            return NoDecision(Trouble.UNKNOWN, f"there is no execution {cut(execution, 50)!r}")
        actor.must(Permission.GATE, hold.service)
        found.append(hold)
        return NoDecision(Trouble.UNKNOWN, hold.reason)

    told = _attempt(look)
    return (found[0] if found else None), says(told)


@router.post(
    "/kayenta/judge",
    summary="Judge a canary for Kayenta",
    **needs(None, also={**_document("A CanaryJudgeResult."), **_text(400)}, extra=_OBJECT),
)
def kayenta_judge(request: Request, body: Body, service: Service = "") -> Response:
    """Kayenta's RemoteJudge: every pair of metrics is judged, and where the gate says stop the score is a fail.

    Takes a token that may `gate`, in the path; without one, or for a service nobody knows, the metrics alone count.
    """
    payload = _json(body)
    if not isinstance(payload, dict):
        return _said(Answer(400, text="the body is no JSON object"))
    named = service or remote_judge.application(payload)
    heard = _heard(request, asking({}, service=named, asked_by="kayenta"))
    return _said(remote_judge.answer(payload, heard))


# --- GitLab ---------------------------------------------------------------------------------------------------------


@router.post(
    "/gitlab/{integration}",
    status_code=202,
    summary="Hold a merge request of GitLab",
    **needs(Permission.GATE, also=_document("Held, or nothing that waits: `hold` and `state`.", 202), extra=_OBJECT),
)
def hold_gitlab(visit: Visit, integration: str, body: Body) -> Response:
    """For external status checks, which can show no token but in the path (`/dialects/key/TOKEN/gitlab/...`).

    Webhooks go to `/api/v1/hooks/{integration}`. Whatever is genuine is answered with 202, also what does not wait:
    GitLab stops calling a hook that errs.
    """
    visit.must(Permission.GATE)
    found = _integration(visit.server, integration, IntegrationType.GITLAB)
    if found is None and not visit.server.live.following:
        raise SourceUnreachableError("no specs are followed yet", remedy="send it again in a moment")
    if found is None:
        raise NotFoundError(f"there is no integration {integration!r} of the type gitlab")
    try:
        hold = visit.server.holds.take(found, "", _json(body))
    except TightropeError as error:
        _LOG.warning("%s: %s", found.name, error.message)
        hold = None
    state = hold.state.value if hold is not None else "ignored"
    return _said(Answer(202, {"hold": hold.id if hold is not None else "", "state": state}))


def _integration(server: Server, name: str, kind: IntegrationType) -> Integration | None:
    integrations = server.live.snapshot.specs.integrations
    return next((one for one in integrations if one.name == name and one.type is kind), None)


# --- Drone ---------------------------------------------------------------------------------------------------------


@router.post(
    "/drone/{integration}",
    summary="Validate a build of Drone",
    **needs(
        None,
        also={
            **_document("The request is not signed by who knows the secret of the integration.", 400),
            204: {"description": "It may begin."},
            499: {"description": "It is blocked until somebody lets it on."},
        },
        extra=_OBJECT,
    ),
)
def validate_drone(request: Request, integration: str, body: Body) -> Response:
    """Known by its signature with the secret of an Integration of type `drone`. Promotions and rollbacks are gated."""
    server: Server = request.app.state.server
    found = _integration(server, integration, IntegrationType.DRONE)
    if found is None and not server.live.following:
        return _said(drone.answer(NoDecision(Trouble.FAILED, "no specs are followed yet")))
    secret = variable(found.secret_from) if found is not None and found.secret_from else ""
    if found is None or not drone.signed(dict(request.headers), body, secret, server.now()):
        return _said(drone.answer(NoDecision(Trouble.STRANGER, "Invalid or Missing Signature")))
    payload = _json(body)
    if not isinstance(payload, dict):
        return _said(drone.answer(NoDecision(Trouble.UNREADABLE, "Invalid Input")))
    read = drone.read(payload)
    if read is None:
        return _said(drone.answer(None))
    repository, where, question = read
    heard = server.holds.answer(found, repository, where, question)
    if heard is None:
        heard = NoDecision(Trouble.UNKNOWN, f"no integration says whose {repository} is")
    return _said(drone.answer(heard))
