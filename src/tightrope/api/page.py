"""The reference of the API, written from its own OpenAPI document: ``make docs``."""

from __future__ import annotations

from typing import Any

from tightrope.api.application import openapi_document
from tightrope.api.door import LIMITS, MIB
from tightrope.api.problems import SORTS

_INTRO = """\
# The HTTP API

Written by `make docs` from the API itself; do not edit. A running server has the same as OpenAPI 3.1, with the shape of
every document, at `/api/v1/openapi.json`. How Argo Rollouts, Flagger, KEDA, Grafana and Prometheus use it is in
[Integrations](integrations.md).

## Asking

Send a token, `Authorization: Bearer tr_...`; `tightrope token create` makes one. Prometheus and others that know only
basic authentication send it as the password. Without `--auth`, a server that listens on loopback alone takes who is on
the same machine for an admin. What a route takes stands after *Needs*: each role may do all that those before it may.

| role | may |
|---|---|
| viewer | `read` |
| operator | `push`, ask the `gate`, `record` deployments, `run` pipelines, `break-glass`, `silence` alerts |
| approver | `apply` specs, `grant` exceptions, `approve` |
| admin | `manage` tokens |

* Instants are ISO 8601 in UTC, or epoch seconds where they are sent. Shares are ratios: 1 is all. null is not known.
* Documents are those of the command line's `-o json`: keys are never taken away, new ones may come.
* Lists take `limit` and `cursor`; `next` is the address of the next page, or null. `/status` is a bare list, as the
  command line prints it, and names its next page in the header `Link`.
* A document of the specs has an `ETag`. To change or withdraw one, send it back in `If-Match`: 428 without, 412 if
  somebody else was first.
* A POST that creates takes an `Idempotency-Key`: with the same key and body it is done once within an hour. Telemetry
  may always be sent twice: a slice takes the place of itself, and a sample that is not newer is not counted.
* `HEAD` is answered wherever `GET` is. Bodies may be packed with gzip or deflate, remote write with snappy.
* Who sends a `Date` that is off by over 30 s is told in `X-Clock-Skew-Seconds`, positive if ahead of the server.
* A browser within a session sends `X-CSRF-Token` with every change, as `GET /api/v1/session` tells it. Other origins
  are not answered (no CORS), and on loopback only names of this machine are (`Host`).

"""

_ERRORS = """\
## Errors

Every error is an `application/problem+json` (RFC 9457): `type` leads to a page that says what it means, `detail` says
what is wrong this time, `remedy` how to mend it, `errors` lists every fault with its `pointer`, and `request_id` names
the request in the log. Two protocols err in their own way: queries that imitate Prometheus, and OTLP.

| status | sort | means |
|---|---|---|
"""

_EVENTS = """\
## Live changes

`GET /api/v1/events/stream` goes on for ever, as server-sent events. `hello` comes first. `turn` tells that the loop
turned and something changed: `{"number", "at", "services", "events"}`. `journal` is a row of the journal, a CloudEvent;
its `id` is the row's sequence. A client that comes back sends the last one as `Last-Event-ID`, as browsers do by
themselves, and misses nothing of the last 1,000 rows; `reset` tells it where it missed more. A comment comes every
15 s. Who does not keep up is let go, and may come back.

"""


def api_page() -> str:
    """The page as it should be on disk."""
    document = openapi_document("1")
    by_tag: dict[str, list[tuple[str, str, dict[str, Any]]]] = {one["name"]: [] for one in document["tags"]}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            by_tag[operation["tags"][0]].append((method.upper(), path, operation))
    parts = [_INTRO, "## Sizes\n\n", "A body may have, packed and unpacked:\n\n", "| where | at most |\n|---|---|\n"]
    parts += [f"| `{where}` | {limit / MIB:.3g} MiB |\n" for where, limit in LIMITS if where != "/"]
    parts.append("\n" + _ERRORS)
    parts += [f"| {one.status} | {one.name}: {one.title} | {one.says} |\n" for one in SORTS.values()]
    parts.append("\n" + _EVENTS)
    for tag in document["tags"]:
        parts.append(f"## {tag['name'].capitalize()}\n\n{tag['description']}\n\n")
        parts += [_route(*one) for one in by_tag[tag["name"]]]
    return "".join(parts).rstrip() + "\n"


def _route(method: str, path: str, operation: dict[str, Any]) -> str:
    needs = operation["x-permission"]
    lines = [f"### {method} {path}", "", f"{operation['summary']}. {' '.join(operation['description'].split())}", ""]
    lines += [f"Needs: {'nothing' if needs == 'none' else f'`{needs}`'}. {_answers(operation)}", ""]
    if operation.get("requestBody"):
        lines += [f"Body: {_body(operation['requestBody'])}.", ""]
    parameters = [one for one in operation.get("parameters", []) if one["in"] != "path"]
    if parameters:
        lines += ["| parameter | in | meaning |", "|---|---|---|"]
        lines += [
            f"| `{one['name']}` | {one['in']} | {_cell(one.get('description') or '')}{_choices(one['schema'])} |"
            for one in parameters
        ]
        lines.append("")
    return "\n".join(lines) + "\n"


def _answers(operation: dict[str, Any]) -> str:
    told = []
    for status, answer in operation["responses"].items():
        if status.startswith(("2", "3")):
            kinds = [_shape(kind, one.get("schema", {})) for kind, one in answer.get("content", {}).items()]
            told.append(f"{status}{' ' + ' or '.join(kinds) if kinds else ''}")
    return f"Answers: {', '.join(told)}."


def _body(body: dict[str, Any]) -> str:
    kinds = " or ".join(_shape(kind, one["schema"]) for kind, one in body["content"].items())
    says = body.get("description", "").rstrip(".")
    return f"{says}; as {kinds}" if says else kinds


def _shape(kind: str, schema: dict[str, Any]) -> str:
    named = schema.get("$ref", "") or schema.get("items", {}).get("$ref", "")
    name = named.rpartition("/")[2]
    many = "a list of " if "items" in schema else ""
    return f"{many}`{name}`" if name else f"`{kind}`"


def _choices(schema: dict[str, Any]) -> str:
    inner = [schema, *schema.get("anyOf", [])]
    options = [one for each in inner for one in each.get("enum", [])]
    shown = ", ".join(f"`{one}`" for one in options if one)
    return f" One of {shown}." if shown else ""


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
