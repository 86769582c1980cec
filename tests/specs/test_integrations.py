"""Integrations: what they mean, what is refused, and what a service may say of itself."""

from __future__ import annotations

import pytest

from tests.specs.samples import SLO, SOURCE, found, only, read
from tightrope.specs.model import Integration, IntegrationType, Mapped

HEAD = "apiVersion: tightrope.dev/v1\nkind: Integration\nmetadata: {name: hub}\n"
SERVICE = "apiVersion: openslo/v1\nkind: Service\nmetadata: {name: checkout, annotations: {%s}}\nspec: {}\n"


def integration_of(spec: str) -> Integration:
    (integration,) = read(f"{HEAD}spec: {spec}\n").integrations
    return integration


def test_an_integration_may_say_everything() -> None:
    one = integration_of(
        "{type: github, secretFrom: {env: HOOK}, url: 'https://api.github.com/', "
        "app: {id: 7, installation: 8, privateKeyFrom: {env: KEY}}, map: [{repository: acme/shop, service: checkout, "
        "environment: test, environments: {prod: production, 'review/*': review}, paths: [shop/]}]}"
    )
    assert (one.type, one.secret_from, one.url) == (IntegrationType.GITHUB, "HOOK", "https://api.github.com")
    assert (one.app, one.installation, one.app_key_from, one.token_from) == (7, 8, "KEY", "")
    environments = (("prod", "production"), ("review/*", "review"))
    assert one.map == (Mapped("checkout", "acme/shop", "", "", "test", environments, ("shop/",)),)


@pytest.mark.parametrize("kind", ["flagger", "kubernetes", "spinnaker", "drone"])
def test_who_only_asks_the_gate_needs_no_secret(kind: str) -> None:
    assert integration_of(f"{{type: {kind}}}").secret_from == ""


@pytest.mark.parametrize(
    ("spec", "code", "says"),
    [
        ("{type: github}", "TR013", "secretFrom"),
        ("{type: flux, map: []}", "TR013", "secretFrom"),
        ("{type: flagger, map: []}", "TR019", "map"),
        ("{type: bitbucket}", "TR016", "bitbucket"),
        ("{type: drone, url: 'drone.example'}", "TR015", "no address"),
        ("{type: drone, secret: x}", "TR011", "secret"),
        ("{type: drone, secretFrom: {env: A-B}}", "TR015", "A-B"),
        ("{type: drone, map: [{service: checkout}]}", "TR018", "tells nothing apart"),
        ("{type: drone, map: [{repository: acme/shop}]}", "TR013", "service"),
        ("{type: drone, app: {id: 1}}", "TR013", "privateKeyFrom"),
    ],
)
def test_an_integration_that_cannot_work_is_a_finding(spec: str, code: str, says: str) -> None:
    findings = found(f"{HEAD}spec: {spec}\n")
    assert any(one.code == code and says in one.message for one in findings), findings


def test_a_service_says_what_is_its_own() -> None:
    text = SERVICE % "tightrope.dev/repository: github.com/acme/shop, tightrope.dev/paths: 'shop/, lib/'"
    assert read(text).mapped == (Mapped("checkout", "github.com/acme/shop", paths=("shop/", "lib/")),)
    assert read(SERVICE % "tightrope.dev/argocd-app: shop/checkout").mapped == (
        Mapped("checkout", app="shop/checkout"),
    )
    assert read(SERVICE % "").mapped == ()


@pytest.mark.parametrize(
    ("annotation", "says"),
    [
        ("tightrope.dev/repo: acme/shop", "unknown annotation tightrope.dev/repo"),
        ("tightrope.dev/resolution: 1m", "tightrope.dev/resolution has no effect on a Service"),
        ("tightrope.dev/repository: ''", "should be text, not empty"),
    ],
)
def test_an_annotation_of_a_service_that_nobody_reads_is_a_finding(annotation: str, says: str) -> None:
    assert says in only(SERVICE % annotation).message


def test_a_map_to_a_service_that_nobody_knows_is_warned_of() -> None:
    mapped = f"{HEAD}spec: {{type: drone, map: [{{repository: acme/shop, service: chekout}}]}}\n"
    (finding,) = found(mapped, SLO, SOURCE)
    assert (finding.code, finding.severity) == ("TR039", "warning")
    assert "chekout" in finding.message
    assert found(mapped.replace("chekout", "checkout"), SLO, SOURCE) == ()
