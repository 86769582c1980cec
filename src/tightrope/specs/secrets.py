"""Secrets are never in a spec: only the name of the environment variable that holds one."""

from __future__ import annotations

from tightrope.specs.shapes import Field, Form, Record, Text

VARIABLE = Form(
    "^[A-Za-z_][A-Za-z0-9_]*$", "is no name of an environment variable", "use letters, digits and _, such as SLACK_URL"
)
SECRET = Record({"env": Field(Text(VARIABLE), True, "Name of the environment variable that holds it")}, name="Secret")
