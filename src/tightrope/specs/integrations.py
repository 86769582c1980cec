"""The kind Integration: who tells us of commits, builds and deployments, and which of our services they mean.

Here is its table; a Service may say the same of itself by annotations, which suits a service with one repository.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from tightrope.specs.model import IntegrationType, OnStop
from tightrope.specs.positions import Report
from tightrope.specs.secrets import SECRET
from tightrope.specs.shapes import Field, Form, Law, ListOf, MapOf, Number, Record, Span, Table, Text, Word

REPOSITORY, APP, PATHS = "repository", "argocd-app", "paths"

SERVICE_ANNOTATIONS: Mapping[str, Field] = {
    REPOSITORY: Field(Text(), says="Repository that the service is built from, such as github.com/acme/shop."),
    APP: Field(Text(), says="Application of Argo CD, or object of Flux, that deploys it."),
    PATHS: Field(Text(), says="Paths in the repository that belong to it, separated by commas; all, if absent."),
}
"""Our annotations on a Service; each is text, as OpenSLO wants it."""

SIGNED = frozenset(
    {
        IntegrationType.GITHUB,
        IntegrationType.GITLAB,
        IntegrationType.GITEA,
        IntegrationType.CDEVENTS,
        IntegrationType.ARGOCD,
        IntegrationType.FLUX,
        IntegrationType.ARGO_ROLLOUTS,
    }
)
"""Types that send us deliveries: each needs a secret by which we know them."""

_ANY = Form(r"^\S(.{0,198}\S)?$", "is no name of an environment", "write the name as the sender has it", 200)
_SPEAKS_OF = ("repository", "app", "artifact")


def _means_something(table: Table, report: Report) -> None:
    """A part of the map needs something by which the sender's own name of a service is known."""
    if any(table.given(name) for name in _SPEAKS_OF):
        return
    report.add(
        "TR018",
        "this part of the map tells nothing apart",
        table.spot.key,
        path=table.spot.path,
        note="one of repository, app, artifact",
        remedy="add `repository: owner/name`, `app: name` or `artifact: registry/name`",
    )


_MAPPED = Record(
    {
        "repository": Field(Text(), says="Repository: owner/name, or its address."),
        "app": Field(Text(), says="Application of Argo CD, object of Flux, or Rollout: name or namespace/name."),
        "artifact": Field(Text(), says="Image or package without its version, such as ghcr.io/acme/shop."),
        "service": Field(Text(), True, "Service that is meant"),
        "environment": Field(Text(), says="Environment of whatever is not in `environments`."),
        "environments": Field(
            MapOf(_ANY, Text()), says="Their names of environments, and ours; * stands for anything."
        ),
        "paths": Field(ListOf(Text(), 1), says="Paths in the repository that belong to the service; all, if absent."),
    },
    rules=(Law(_means_something, {"anyOf": [{"required": [name]} for name in _SPEAKS_OF]}),),
)

_APP = Record(
    {
        "id": Field(Number(whole=True), True, "Number of the GitHub App"),
        "installation": Field(Number(whole=True), says="Number of its installation."),
        "privateKeyFrom": Field(SECRET, True, "Where its private key is, in PEM"),
    }
)


def _can_speak(table: Table, report: Report) -> None:
    """Whoever sends us deliveries is known by a secret; an address is one of HTTP."""
    word = table.get("type", str)
    if word is not None and IntegrationType(word) in SIGNED and not table.given("secretFrom"):
        report.add(
            "TR013",
            f"{table.path('secretFrom')} is missing",
            table.spot.key,
            path=table.path("secretFrom"),
            note="anybody could send deliveries",
            remedy="add `secretFrom: {env: HOOK_SECRET}`, and set that variable for the server",
        )
    url = table.text("url")
    if url and not re.match(r"https?://[^/\s:@]", url):
        report.add(
            "TR015",
            f"url {url[:60]!r} is no address",
            table.at("url"),
            path=table.path("url"),
            remedy="write one such as https://api.github.com",
        )


def integration_spec(description: Field) -> Record:
    """The table of a spec of this kind."""
    return Record(
        {
            "description": description,
            "type": Field(Word(tuple(IntegrationType)), True, "Who speaks, such as github, gitlab, argocd"),
            "secretFrom": Field(SECRET, says="What their deliveries are signed with, or the token they show."),
            "url": Field(Text(), says="Address of their API, for answers; the public one, if absent."),
            "tokenFrom": Field(SECRET, says="Token to answer them with."),
            "app": Field(_APP, says="GitHub App to answer as, in place of a token."),
            "map": Field(ListOf(_MAPPED, 1), says="Which service and environment their names mean."),
            "feedback": Field(
                ListOf(Word(("status", "comment")), 1),
                says="What authors are told there of the price of their releases; nothing, if absent.",
            ),
            "onStop": Field(
                Word(tuple(OnStop)), says="Whether a release that can wait waits through a stop (hold) or is refused."
            ),
            "waitAtMost": Field(Span(), says="For how long a release is held at most, such as 7d; else for ever."),
        },
        rules=(Law(_can_speak),),
        synonyms={"secret": "secretFrom", "token": "tokenFrom", "mapping": "map", "services": "map"},
    )
