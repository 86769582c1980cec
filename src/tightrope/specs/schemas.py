"""JSON Schemas (2020-12) of every kind, for editors: made from the same tables that check documents."""

from __future__ import annotations

from typing import Any

from tightrope.specs.kinds import KINDS

DIALECT = "https://json-schema.org/draft/2020-12/schema"
COMBINED = "tightrope"


def schemas() -> dict[str, dict[str, Any]]:
    """Make one schema per kind, by its name, and ``tightrope``, which fits a document of any kind or a list of them."""
    made: dict[str, dict[str, Any]] = {}
    shared: dict[str, Any] = {}
    whole: list[dict[str, Any]] = []
    for version, kinds in KINDS.items():
        for kind, record in kinds.items():
            defs: dict[str, Any] = {}
            body = record.schema(defs)
            made[kind] = {"$schema": DIALECT, "title": f"{kind} ({version})", **body} | (
                {"$defs": defs} if defs else {}
            )
            shared |= defs
            shared[kind] = body
            whole.append(
                {
                    "if": {
                        "properties": {"apiVersion": {"const": version}, "kind": {"const": kind}},
                        "required": ["kind"],
                    },
                    "then": {"$ref": f"#/$defs/{kind}"},
                }
            )
    names = {version: list(kinds) for version, kinds in KINDS.items()}
    shared["Document"] = {
        "type": "object",
        "required": ["apiVersion", "kind"],
        "properties": {
            "apiVersion": {"enum": list(names)},
            "kind": {"enum": [kind for kinds in names.values() for kind in kinds]},
        },
        "allOf": whole,
    }
    made[COMBINED] = {
        "$schema": DIALECT,
        "title": "Tightrope specs",
        "if": {"type": "array"},
        "then": {"items": {"$ref": "#/$defs/Document"}},
        "else": {"$ref": "#/$defs/Document"},
        "$defs": shared,
    }
    return made
