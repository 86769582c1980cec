"""The OpenAPI document is true: schemathesis makes requests up, and every answer must be one that it promises."""

from __future__ import annotations

from typing import Any

import jsonschema
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis import Case
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.api.world import World
from tests.conftest import ROOT
from tightrope.api.application import api_app
from tightrope.api.shapes import Shape

FOR_EVER = "/api/v1/events/stream"
SHUTS_OUT = "/api/v1/session"
"""Too many attempts to log in are refused for ten minutes; test_routes.py has them."""

KNOWN = {
    "names": ["basket"],
    "labels": [{"start": "2026-01-01", "end": "2026-01-02", "service": "basket"}],
    "deployments": [{"time": "2026-01-01", "service": "basket"}],
}
CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
)


@schemathesis.serializer(
    "application/x-protobuf", "application/x-ndjson", "application/openmetrics-text", "application/yaml"
)
def as_it_is(_context: Any, value: Any) -> bytes:
    """Bodies that are no JSON are sent as they were made up."""
    return value if isinstance(value, bytes) else str(value).encode(errors="replace")


def test_every_answer_is_one_that_the_document_promises(local: World) -> None:
    schema = schemathesis.openapi.from_dict(local.app.openapi()).exclude(path=[FOR_EVER, SHUTS_OUT])
    schema.config.generation.update(with_security_parameters=False)
    tried = 0
    for result in schema.get_all_operations():
        assert isinstance(result, Ok)
        operation = result.ok()

        @seed(20260101)
        @settings(
            max_examples=10, deadline=None, database=None, phases=[Phase.generate], suppress_health_check=[*HealthCheck]
        )
        @given(case=operation.as_strategy())
        def asked(case: Case[Any]) -> None:
            case.call_and_validate(base_url=local.url, checks=list(CHECKS), timeout=20)

        asked()
        tried += 1
    assert tried > 50


def test_the_document_is_openapi_3_1_and_served_to_anybody(world: World) -> None:
    document = world.get("/api/v1/openapi.json", "").json()
    assert document["openapi"].startswith("3.1")
    assert document == world.app.openapi()
    assert document["components"]["schemas"]["Problem"]["required"] == [
        "type",
        "title",
        "status",
        "detail",
        "request_id",
    ]


def test_every_operation_explains_itself_and_names_its_own(world: World) -> None:
    operations = [
        (method, path, operation)
        for path, methods in world.app.openapi()["paths"].items()
        for method, operation in methods.items()
    ]
    silent = [(method, path) for method, path, one in operations if not (one.get("summary") and one.get("description"))]
    assert silent == []
    names = [one["operationId"] for _, _, one in operations]
    assert len(names) == len(set(names))
    for _, path, operation in operations:
        assert "application/problem+json" in operation["responses"]["default"]["content"], path


def test_every_route_is_on_the_page_of_the_documentation(world: World) -> None:
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    routes = [
        f"### {method.upper()} {path}\n" for path, methods in world.app.openapi()["paths"].items() for method in methods
    ]
    assert [route for route in routes if route not in page] == [], "run `make docs`"


def test_every_reference_leads_somewhere(world: World) -> None:
    document = world.app.openapi()
    jsonschema.Draft202012Validator.check_schema(document["components"]["schemas"]["Decision"])
    missing = [one for one in _references(document) if one.rpartition("/")[2] not in document["components"]["schemas"]]
    assert missing == []


def test_documents_have_no_key_that_the_document_does_not_know(world: World) -> None:
    """Keys may come, but not without being told of."""
    schemas = world.app.openapi()["components"]["schemas"]
    asked = {
        "Decision": world.get("/api/v1/gate/basket").json(),
        "Status": world.get("/api/v1/status?service=basket").json()[0],
        "Explanation": world.get("/api/v1/services/basket/explain").json(),
        "ServiceInFull": world.get("/api/v1/services/basket").json(),
        "KeptDecisionInFull": world.get(f"/api/v1/decisions/{world.get('/api/v1/gate/basket').json()['id']}").json(),
        "Backtested": world.post("/api/v1/backtest", json=KNOWN).json(),
        "Me": world.get("/api/v1/me").json(),
        "JournalPage": world.get("/api/v1/journal").json(),
        "SpecEntries": world.get("/api/v1/specs").json(),
        "Verified": world.get("/api/v1/journal/verify").json(),
        "Channels": world.get("/api/v1/channels").json(),
        "Version": world.get("/api/v1/version").json(),
    }
    for name, document in asked.items():
        assert _unknown(document, schemas[name], schemas) == [], name


def test_shapes_speak_camel_case() -> None:
    assert Shape.model_config.get("alias_generator") is not None


def test_two_applications_do_not_share_their_state(world: World) -> None:
    other = api_app(world.server)
    assert other.state.hub is not world.app.state.hub
    other.state.gate.close()


def _references(part: Any) -> list[str]:
    if isinstance(part, dict):
        own = [part["$ref"]] if isinstance(part.get("$ref"), str) else []
        return own + [one for value in part.values() for one in _references(value)]
    if isinstance(part, list):
        return [one for value in part for one in _references(value)]
    return []


def _unknown(value: Any, shape: dict[str, Any], schemas: dict[str, Any], path: str = "$") -> list[str]:
    """Keys of a document that its schema has not, with their places."""
    while "$ref" in shape:
        shape = schemas[shape["$ref"].rpartition("/")[2]]
    options = [one for one in shape.get("anyOf", []) if one.get("type") != "null"]
    if options:
        return min((_unknown(value, one, schemas, path) for one in options), key=len) if value is not None else []
    if isinstance(value, list):
        return [
            one
            for number, item in enumerate(value)
            for one in _unknown(item, shape.get("items", {}), schemas, f"{path}[{number}]")
        ]
    if not isinstance(value, dict) or "properties" not in shape:
        return []
    known = shape["properties"]
    return [f"{path}.{key}" for key in value if key not in known] + [
        one
        for key, item in value.items()
        if key in known
        for one in _unknown(item, known[key], schemas, f"{path}.{key}")
    ]
