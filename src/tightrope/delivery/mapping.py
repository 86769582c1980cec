"""Whom a sender means: from its names of repositories, applications, artifacts and environments to ours."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from tightrope.delivery.facts import Deployed
from tightrope.specs.model import Integration, Mapped

PRODUCTION = "production"
"""The environment that is meant where nobody says another."""

_SCHEME = re.compile(r"^(?:[a-z][a-z0-9+.-]*://)?(?:[^/@\s]+@)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Whom:
    """A service, and one of its environments."""

    service: str
    environment: str


def repository_name(text: str) -> str:
    """Name a repository by its address without what may differ: ``github.com/acme/shop``; or by owner and name.

    Addresses over https and ssh, ``git@github.com:acme/shop.git`` and ``owner/name`` are read; a path stays a path.
    """
    stripped = text.strip()
    if stripped.startswith(("/", ".", "file://")):
        return stripped.removeprefix("file://").rstrip("/")
    bare = _SCHEME.sub("", stripped, count=1)
    host, colon, path = bare.partition(":")
    if colon and "/" not in host:
        port, _, rest = path.partition("/")
        bare = f"{host}/{rest if port.isdecimal() and rest else path}"
    bare = bare.rstrip("/").removesuffix(".git")
    host, slash, path = bare.partition("/")
    return f"{host.lower()}/{path}" if slash and "." in host else bare


def same_repository(one: str, other: str) -> bool:
    """Whether two names mean one repository: the shorter, without a host, may be the end of the longer."""
    first, second = (repository_name(name).lower() for name in (one, other))
    if not first or not second:
        return False
    shorter, longer = sorted((first, second), key=len)
    return shorter == longer or ("/" in shorter and longer.endswith(f"/{shorter}"))


def mapped_for(integration: Integration | None, own: Sequence[Mapped]) -> tuple[Mapped, ...]:
    """What counts for an integration: its own map, then what services say of themselves."""
    return (*(integration.map if integration else ()), *own)


def services_of(repository: str, mapped: Iterable[Mapped], known: Collection[str]) -> list[str]:
    """The services that are built from a repository; one of the same name where none is mapped."""
    found = [one.service for one in mapped if one.repository and same_repository(one.repository, repository)]
    if not found:
        found = [name for name in _last_parts(repository) if name in known][:1]
    return list(dict.fromkeys(found))


def repository_of(service: str, mapped: Iterable[Mapped]) -> str:
    """The repository that a service is built from, as it is mapped; empty: none is."""
    return next((repository_name(one.repository) for one in mapped if one.service == service and one.repository), "")


def paths_of(service: str, repository: str, mapped: Iterable[Mapped]) -> tuple[str, ...]:
    """What in a repository belongs to a service; empty: all.

    A line of a map that names no paths says nothing of them: an application or image is mapped beside the repository.
    """
    fits = [
        one
        for one in mapped
        if one.service == service and (not one.repository or same_repository(one.repository, repository))
    ]
    return tuple(dict.fromkeys(path for one in fits for path in one.paths))


def whom(fact: Deployed, mapped: Sequence[Mapped], known: Collection[str]) -> list[Whom]:
    """The services and environments that a deployment is of.

    The sender's own word for a service counts if it is one of ours, then its application, its artifact, its repository.
    A deployment goes to one environment of a service, however often the service is mapped. Where lines of one service
    name the environment, it is not of another whose lines name only others.
    """
    if fact.service and fact.service in known:
        named = [one for one in mapped if one.service == fact.service and one.environments]
        return [Whom(fact.service, _environment(fact.environment, named))]
    for fits in (_by_app, _by_artifact, _by_repository):
        found: dict[str, list[Mapped]] = {}
        for one in mapped:
            if fits(one, fact):
                found.setdefault(one.service, []).append(one)
        if any(_names(fact.environment, lines) for lines in found.values()):
            found = {
                service: lines
                for service, lines in found.items()
                if _names(fact.environment, lines) or not any(one.environments for one in lines)
            }
        if found:
            return [Whom(service, _environment(fact.environment, lines)) for service, lines in found.items()]
    for name in (fact.service, fact.app, fact.artifact, fact.repository):
        for part in _last_parts(name):
            if part in known:
                return [Whom(part, _environment(fact.environment, ()))]
    return []


def _by_app(one: Mapped, fact: Deployed) -> bool:
    return bool(one.app and fact.app) and _same_app(one.app, fact.app)


def _by_artifact(one: Mapped, fact: Deployed) -> bool:
    return bool(one.artifact and fact.artifact) and bare_artifact(one.artifact) == bare_artifact(fact.artifact)


def _by_repository(one: Mapped, fact: Deployed) -> bool:
    return bool(one.repository and fact.repository) and same_repository(one.repository, fact.repository)


def _environment(theirs: str, mapped: Sequence[Mapped]) -> str:
    """What we call an environment: by the first line of a map that says so; else as the sender does."""
    for one in mapped:
        for pattern, ours in one.environments:
            if _is(theirs, pattern):
                return ours
    return next((one.environment for one in mapped if one.environment), theirs or PRODUCTION)


def _names(theirs: str, mapped: Sequence[Mapped]) -> bool:
    return any(_is(theirs, pattern) for one in mapped for pattern, _ in one.environments)


def _is(theirs: str, pattern: str) -> bool:
    return theirs == pattern or fnmatchcase(theirs, pattern)


def _same_app(mine: str, theirs: str) -> bool:
    """Whether two names of applications are one; a name without a namespace fits any."""
    return mine == theirs or ("/" not in mine and theirs.rpartition("/")[2] == mine)


def bare_artifact(text: str) -> str:
    """An image or package without its version, as registry and path or as a package URL without qualifiers."""
    if text.startswith("pkg:"):
        path, _, qualifiers = text.partition("?")
        told = re.search(r"(?:^|&)repository_url=([^&]+)", qualifiers)
        return told[1].lower() if told else path.rpartition("@")[0].lower() or path.lower()
    name = text.partition("@")[0]
    head, slash, last = name.rpartition("/")
    return f"{head}{slash}{last.partition(':')[0]}".lower()


def _last_parts(name: str) -> list[str]:
    """What a service may be called after: the whole name, and its last part."""
    bare = bare_artifact(name) if name.startswith("pkg:") else repository_name(name)
    return [part for part in dict.fromkeys((name, bare.rpartition("/")[2], bare.rpartition(":")[2])) if part]
