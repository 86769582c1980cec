"""The API as one ASGI application: the gate in front, then the door, then all other routes."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypedDict

import msgspec
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.responses import Response
from starlette.routing import Route, compile_path
from starlette.types import Receive, Scope, Send

from tightrope.api import (
    access,
    alerting,
    backtest,
    budget,
    deliveries,
    dialects,
    events,
    exceptions,
    gate,
    holds,
    hooks,
    journal,
    metrics,
    pipelines,
    policy,
    prometheus,
    rollouts,
    specs,
    system,
    telemetry,
)
from tightrope.api.door import Door
from tightrope.api.events import Hub
from tightrope.api.gate import Gate
from tightrope.api.idempotency import Once
from tightrope.api.problems import Fault, Problem, Refusal, place_of, problem, problem_response, told
from tightrope.api.shapes import AskGate
from tightrope.base.errors import TightropeError
from tightrope.loop.server import Server

V1 = "/api/v1"

DESCRIPTION = """All that command line and pages can do.

* Documents are those of the command line's `--output json`: keys are never taken away, new ones may come.
* Instants are ISO 8601 in UTC, shares are ratios (1 is all), null is what is not known.
* Every error is an `application/problem+json` with `detail`, `remedy`, `errors[].pointer` and `request_id`; the
  queries that imitate Prometheus err as Prometheus does.
* Lists take `limit` and `cursor`, and name the next page in `next`.
* Send `Authorization: Bearer tr_...`, which `tightrope token create` makes; on this machine alone no token is needed.
"""

_V1_ROUTERS = (
    budget.router,
    gate.router,
    dialects.router,
    holds.router,
    deliveries.router,
    hooks.router,
    pipelines.router,
    rollouts.router,
    policy.router,
    exceptions.router,
    backtest.router,
    specs.router,
    alerting.router,
    telemetry.router,
    journal.router,
    events.router,
    access.router,
    prometheus.router,
    system.router,
)
_OUTER_ROUTERS = (telemetry.otlp_router, system.health_router, metrics.metrics_router)
_ROUTERS = (*((V1, one) for one in _V1_ROUTERS), *(("", one) for one in _OUTER_ROUTERS))
_TAGS = (
    ("budget", "Where budgets stand."),
    ("policy", "May a change go out now, and what was decided."),
    ("dialects", "The gate, as its callers speak."),
    ("delivery", "What is released, and what is held."),
    ("backtest", "What rules would have done."),
    ("specs", "The promises."),
    ("alerting", "What fires, who was told, and what is silenced."),
    ("telemetry", "What is sent to us."),
    ("journal", "What happened."),
    ("access", "Who may do what."),
    ("prometheus", "Our gauges, as Prometheus answers."),
    ("server", "The server itself."),
)


class Api(FastAPI):
    """The application; routes that are added to it later stand behind the door, too."""

    def __init__(self, server: Server) -> None:
        super().__init__(
            title="Tightrope",
            version=server.version,
            openapi_url=None,
            docs_url=None,
            redoc_url=None,
            redirect_slashes=False,
            lifespan=_lifespan,
        )
        self.state.server = server
        self.state.hub = Hub(server)
        self.state.once = Once()
        self._door = Door(super().__call__, server)
        self._gate = Gate(server, self._door)
        self.state.door, self.state.gate = self._door, self._gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer: questions to the gate at once, all others behind the door."""
        if scope["type"] == "http" and scope["path"].startswith(gate.PREFIX):
            await self._gate(scope, receive, send)
        elif scope["type"] == "http" and scope["path"].startswith(dialects.KEYED):
            await self._door(dialects.unlocked(scope), receive, send)
        else:
            await self._door(scope, receive, send)

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document, made once."""
        if not self.openapi_schema:
            self.openapi_schema = openapi_document(self.version)
        return self.openapi_schema


def openapi_document(version: str) -> dict[str, Any]:
    """Write the OpenAPI document of the API, which no server needs to run for."""
    app = FastAPI()
    for prefix, router in _ROUTERS:
        app.include_router(router, prefix=prefix)
    document = get_openapi(
        title="Tightrope",
        version=version,
        summary="An SLO and error-budget control loop.",
        description=DESCRIPTION,
        routes=app.routes,
        tags=[{"name": name, "description": says} for name, says in _TAGS],
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
    )
    return _finished(document)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    yield
    app.state.hub.close()
    app.state.gate.close()


def api_app(server: Server) -> Api:
    """Make the application.

    Args:
        server: What it fronts.

    Returns:
        The API under ``/api/v1``, ``/healthz``, ``/readyz`` and ``/metrics``. Pages are added to its routes.
    """
    app = Api(server)
    there = [(compile_path(f"{V1}/openapi.json")[0], frozenset({"GET"}))]
    for prefix, router in _ROUTERS:
        app.include_router(router, prefix=prefix)
        there += [
            (compile_path(prefix + route.path)[0], frozenset(route.methods or ()))
            for route in router.routes
            if isinstance(route, Route)
        ]
    app.add_route(f"{V1}/openapi.json", _openapi, methods=["GET"], include_in_schema=False)
    nothing = _Nothing(there)
    for path in (
        "/api/{rest:path}",
        *(route.path for one in _OUTER_ROUTERS for route in one.routes if isinstance(route, Route)),
    ):
        app.router.routes.append(Route(path, nothing, include_in_schema=False))
    app.add_exception_handler(TightropeError, _on_error)
    app.add_exception_handler(Refusal, _on_error)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(StarletteHTTPException, _on_http_error)
    app.add_exception_handler(Exception, _on_bug)
    return app


async def _openapi(request: Request) -> Response:
    return Response(msgspec.json.encode(request.app.openapi()), media_type="application/json")


class _Nothing:
    """Answers for a path or a method that is none.

    Args:
        there: What there is: a pattern of paths, and the methods that they take.
    """

    def __init__(self, there: Sequence[tuple[re.Pattern[str], frozenset[str]]]) -> None:
        self._there = there

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse."""
        path = scope["path"]
        allowed = {method for pattern, methods in self._there if pattern.match(path) for method in methods}
        if not allowed:
            raise Refusal(404, f"there is nothing at {path[:500]}", remedy=f"{V1}/openapi.json lists all there is")
        if "GET" in allowed:
            allowed.add("HEAD")
        raise Refusal(
            405,
            f"{scope['method'][:20]} is nothing that can be done here",
            headers={"Allow": ", ".join(sorted(allowed))},
        )


# --- errors --------------------------------------------------------------------------------------------------------


def _named(request: Request) -> _Named:
    server: Server = request.app.state.server
    return {"request_id": request.scope.get("request_id", ""), "base_url": server.settings.base_url}


class _Named(TypedDict):
    request_id: str
    base_url: str


async def _on_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, (TightropeError, Refusal))
    response = told(error, **_named(request))
    if request.url.path.endswith("/v1/metrics"):
        return telemetry.otlp_status(request, response)
    return response


async def _on_invalid(request: Request, error: Exception) -> Response:
    """What FastAPI found wrong with parameters or the body."""
    assert isinstance(error, RequestValidationError)
    found = error.errors()
    unreadable = [one for one in found if one["type"] == "json_invalid"]
    if unreadable:
        detail = f"the body is not JSON: {unreadable[0].get('ctx', {}).get('error', 'it cannot be read')}"
        faults = [{"detail": detail, "pointer": "#"}]
        return problem_response(problem(400, detail, errors=faults, **_named(request)))
    faults = [{"detail": _sentence(one), "pointer": place_of(one["loc"])} for one in found]
    detail = (
        f"{faults[0]['pointer']}: {faults[0]['detail']}" if len(faults) == 1 else f"{len(faults)} things do not fit"
    )
    return problem_response(problem(422, detail, errors=faults, **_named(request)))


def _sentence(fault: dict[str, Any]) -> str:
    if fault["type"] == "extra_forbidden":
        return "there is no such key"
    message = str(fault["msg"])
    return message[:1].lower() + message[1:]


async def _on_http_error(request: Request, error: Exception) -> Response:
    """What Starlette and FastAPI refuse by themselves."""
    assert isinstance(error, StarletteHTTPException)
    if isinstance(error.__cause__, Refusal):
        return told(error.__cause__, **_named(request))
    detail = {
        404: f"there is nothing at {request.url.path[:500]}",
        405: f"{request.method} is nothing that can be done here",
    }.get(error.status_code, str(error.detail))
    return problem_response(problem(error.status_code, detail, **_named(request)), error.headers)


async def _on_bug(request: Request, _error: Exception) -> Response:
    """What nobody foresaw; Starlette raises it again, so that it is logged with its traceback."""
    detail = "this is a bug in Tightrope; the log has more"
    return problem_response(problem(500, detail, **_named(request)))


# --- OpenAPI -------------------------------------------------------------------------------------------------------


def _finished(document: dict[str, Any]) -> dict[str, Any]:
    """Add what FastAPI does not know: problems, Prometheus' shapes, and how callers say who they are."""
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    template = "#/components/schemas/{model}"
    fault = Fault.model_json_schema(ref_template=template)
    whole = Problem.model_json_schema(ref_template=template)
    whole.pop("$defs", None)
    question = AskGate.model_json_schema(ref_template=template)
    schemas |= {"Fault": fault, "Problem": whole, "AskGate": question, **prometheus.SCHEMAS}
    schemas.pop("HTTPValidationError", None)
    schemas.pop("ValidationError", None)
    components["schemas"] = dict(sorted(schemas.items()))
    components["securitySchemes"] = {
        "token": {"type": "http", "scheme": "bearer", "description": "A token of `tightrope token create`."},
        "basic": {"type": "http", "scheme": "basic", "description": "Any name, and the token as the password."},
    }
    document["security"] = [{"token": []}, {"basic": []}]
    return document
