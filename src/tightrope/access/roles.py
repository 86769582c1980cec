"""Roles, what each of them may do, and for which services."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum
from functools import total_ordering

from tightrope.base.errors import ForbiddenError, UsageError

Owned = Mapping[str, frozenset[str]]
"""The services that each team owns."""


@total_ordering
class Role(Enum):
    """What somebody is trusted with; each role may do all that the ones before it may."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    APPROVER = "approver"
    ADMIN = "admin"

    def __lt__(self, other: object) -> bool:
        if not isinstance(other, Role):
            return NotImplemented
        return _RANK[self] < _RANK[other]

    def __str__(self) -> str:
        return self.value


_RANK = {role: rank for rank, role in enumerate(Role)}


class Permission(StrEnum):
    """One thing that may be allowed or not."""

    READ = "read"
    """See budgets, decisions, alerts, specs and the journal."""
    PUSH = "push"
    """Send telemetry: remote write, OTLP, push."""
    GATE = "gate"
    """Ask the gate; the decision is recorded."""
    RECORD = "record"
    """Tell of commits, builds and deployments."""
    RUN = "run"
    """Start, promote, cancel and roll back pipelines and rollouts; the gate is asked all the same."""
    BREAK_GLASS = "break-glass"
    """Let changes through with nobody's leave, for a short time and seen by all."""
    SILENCE = "silence"
    """Silence and acknowledge alerts, send messages again."""
    APPLY = "apply"
    """Apply and withdraw specs; they say what is promised, so whoever may apply them can open every gate."""
    GRANT = "grant"
    """Grant exceptions: silver bullets and freezes."""
    APPROVE = "approve"
    """Approve what waits for a person."""
    MANAGE = "manage"
    """Create and revoke tokens, end sessions, name the members of teams."""


NEEDS: Mapping[Permission, Role] = {
    Permission.READ: Role.VIEWER,
    Permission.PUSH: Role.OPERATOR,
    Permission.GATE: Role.OPERATOR,
    Permission.RECORD: Role.OPERATOR,
    Permission.RUN: Role.OPERATOR,
    Permission.BREAK_GLASS: Role.OPERATOR,
    Permission.SILENCE: Role.OPERATOR,
    Permission.APPLY: Role.APPROVER,
    Permission.GRANT: Role.APPROVER,
    Permission.APPROVE: Role.APPROVER,
    Permission.MANAGE: Role.ADMIN,
}
"""The least role that each permission takes."""


@dataclass(frozen=True, slots=True)
class Grant:
    """A role, for all services or for some.

    Attributes:
        role: What its holder is trusted with.
        services: For these only; None: for all.
        only: Of what the role may do, this much; None: all of it.
    """

    role: Role
    services: frozenset[str] | None = None
    only: frozenset[Permission] | None = None

    def allows(self, permission: Permission, service: str = "") -> bool:
        """Whether this grant is enough for *permission* on *service*; see `Actor.may`."""
        if self.role < NEEDS[permission] or (self.only is not None and permission not in self.only):
            return False
        if self.services is None:
            return True
        return service in self.services if service else permission is Permission.READ


@dataclass(frozen=True, slots=True)
class Actor:
    """Somebody who asks: a person, or a program with a token.

    Attributes:
        name: As the journal will have it.
        grants: What it may do: any one that allows it is enough.
        teams: The teams it belongs to.
        how: How we know: ``token``, ``session``, or ``local`` for whoever sits at this machine.
    """

    name: str
    grants: tuple[Grant, ...]
    teams: tuple[str, ...] = ()
    how: str = "token"

    @classmethod
    def of(
        cls,
        name: str,
        role: Role,
        *,
        teams: Iterable[str] = (),
        services: Iterable[str] | None = None,
        only: Iterable[Permission] | None = None,
        how: str = "token",
    ) -> Actor:
        """An actor with one grant."""
        grant = Grant(
            role,
            None if services is None else frozenset(services),
            None if only is None else frozenset(only),
        )
        return cls(name, (grant,), tuple(teams), how)

    @property
    def role(self) -> Role:
        """The highest role it has anywhere."""
        return max((grant.role for grant in self.grants), default=Role.VIEWER)

    @property
    def services(self) -> frozenset[str] | None:
        """The services it may do anything about; None: all, those of tomorrow too."""
        named: set[str] = set()
        for grant in self.grants:
            if grant.services is None:
                return None
            named |= grant.services
        return frozenset(named)

    def may(self, permission: Permission, service: str = "") -> bool:
        """Tell whether it may do this.

        Args:
            permission: What.
            service: To which service. Empty: to what belongs to no one service, which a grant for some services allows
                for reading only; a list then leaves out the services that may not be read.
        """
        return any(grant.allows(permission, service) for grant in self.grants)

    def must(self, permission: Permission, service: str = "") -> None:
        """Raise `ForbiddenError`, with what is missing, unless it may do this."""
        if self.may(permission, service):
            return
        needed = NEEDS[permission]
        about = f" for {service}" if service else ""
        if self.role < needed:
            remedy = f"it takes the role {needed}; an admin can give it"
        elif service or self.services is not None:
            remedy = (
                f"its token or role is limited{'' if service else ' to some services'}; ask an admin for a wider one"
            )
        else:
            remedy = "its token is limited to other things; ask an admin for a wider one"
        raise ForbiddenError(f"{self.name} ({self.role}) may not {permission}{about}", remedy=remedy)


LOCAL = Actor.of("local", Role.ADMIN, how="local")
"""Whoever sits at the machine where the store is."""


def parse_role(text: str) -> Role:
    """Read the name of a role; raises `UsageError`."""
    try:
        return Role(text.strip().lower())
    except ValueError:
        raise UsageError(f"there is no role {text!r}", remedy=f"roles are {', '.join(map(str, Role))}") from None


def parse_permission(text: str) -> Permission:
    """Read the name of a permission; raises `UsageError`."""
    try:
        return Permission(text.strip().lower())
    except ValueError:
        raise UsageError(
            f"there is no permission {text!r}", remedy=f"permissions are {', '.join(map(str, Permission))}"
        ) from None


def scope(teams: Iterable[str], services: Iterable[str], owned: Owned) -> frozenset[str] | None:
    """The services that a token for *teams* and *services* is for: None, all of them, where it names neither."""
    teams, services = tuple(teams), frozenset(services)
    if not teams and not services:
        return None
    return services.union(*(owned.get(team, frozenset()) for team in teams))
