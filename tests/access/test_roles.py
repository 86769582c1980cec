"""What roles may do, and that more of anything never allows less."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tightrope.access.roles import (
    LOCAL,
    NEEDS,
    Actor,
    Grant,
    Permission,
    Role,
    parse_permission,
    parse_role,
    scope,
)
from tightrope.base.errors import ForbiddenError, UsageError

SERVICES = ("checkout", "refunds", "search")
_services = st.none() | st.frozensets(st.sampled_from(SERVICES))
_only = st.none() | st.frozensets(st.sampled_from(Permission))
_grants = st.builds(Grant, st.sampled_from(Role), _services, _only)
_actors = st.builds(Actor, st.just("mara"), st.lists(_grants, max_size=3).map(tuple))
_asked = st.tuples(st.sampled_from(Permission), st.sampled_from(("", *SERVICES)))


def _allowed(actor: Actor) -> set[tuple[Permission, str]]:
    return {(one, service) for one in Permission for service in ("", *SERVICES) if actor.may(one, service)}


@given(_grants, st.sampled_from(Role))
def test_a_higher_role_may_all_that_a_lower_one_may(grant: Grant, other: Role) -> None:
    lower, higher = sorted((grant.role, other))
    before, after = (Actor("mara", (replace(grant, role=role),)) for role in (lower, higher))
    assert _allowed(before) <= _allowed(after)


@given(_grants, st.frozensets(st.sampled_from(SERVICES)))
def test_more_services_never_allow_less(grant: Grant, more: frozenset[str]) -> None:
    some = grant.services or frozenset()
    narrow = Actor("mara", (replace(grant, services=some),))
    wider = Actor("mara", (replace(grant, services=some | more),))
    everywhere = Actor("mara", (replace(grant, services=None),))
    assert _allowed(narrow) <= _allowed(wider) <= _allowed(everywhere)


@given(_grants, st.frozensets(st.sampled_from(Permission)))
def test_a_looser_limit_never_allows_less(grant: Grant, more: frozenset[Permission]) -> None:
    some = grant.only or frozenset()
    strict = Actor("mara", (replace(grant, only=some),))
    looser = Actor("mara", (replace(grant, only=some | more),))
    unlimited = Actor("mara", (replace(grant, only=None),))
    assert _allowed(strict) <= _allowed(looser) <= _allowed(unlimited)


@given(_actors, _grants)
def test_one_more_grant_never_allows_less(actor: Actor, grant: Grant) -> None:
    more = replace(actor, grants=(*actor.grants, grant))
    assert _allowed(more) == _allowed(actor) | _allowed(Actor("mara", (grant,)))


@given(_actors, _asked)
def test_nobody_may_what_the_role_or_the_services_do_not_reach(actor: Actor, asked: tuple[Permission, str]) -> None:
    permission, service = asked
    if actor.may(permission, service):
        assert actor.role >= NEEDS[permission]
        reach = actor.services
        assert reach is None or service in reach or (service == "" and permission is Permission.READ)


@given(_actors, _asked)
def test_must_raises_exactly_where_may_says_no(actor: Actor, asked: tuple[Permission, str]) -> None:
    if actor.may(*asked):
        actor.must(*asked)
    else:
        with pytest.raises(ForbiddenError, match=f"may not {asked[0]}") as told:
            actor.must(*asked)
        assert told.value.remedy


def test_every_permission_has_a_least_role() -> None:
    assert set(NEEDS) == set(Permission)
    assert {role: sum(NEEDS[one] <= role for one in Permission) for role in Role} == {
        Role.VIEWER: 1,
        Role.OPERATOR: 7,
        Role.APPROVER: 10,
        Role.ADMIN: 11,
    }


def test_roles_are_in_order_and_not_in_that_of_the_alphabet() -> None:
    assert sorted(Role) == [Role.VIEWER, Role.OPERATOR, Role.APPROVER, Role.ADMIN]
    assert max(Role) is Role.ADMIN
    assert [str(role) for role in Role] == ["viewer", "operator", "approver", "admin"]


def test_whoever_sits_at_the_machine_may_everything() -> None:
    assert all(LOCAL.may(one, service) for one in Permission for service in ("", "checkout"))


def test_an_actor_for_some_services_reads_lists_and_changes_nothing_common() -> None:
    actor = Actor.of("ci", Role.ADMIN, services=["checkout"])
    assert [one for one in Permission if actor.may(one)] == [Permission.READ]
    assert actor.may(Permission.APPLY, "checkout")
    assert not actor.may(Permission.READ, "search")


def test_a_refusal_says_what_is_missing() -> None:
    cases = [
        (Actor.of("mara", Role.VIEWER), "checkout", "it takes the role operator; an admin can give it"),
        (Actor.of("mara", Role.ADMIN, services=["search"]), "checkout", "its token or role is limited; ask"),
        (Actor.of("mara", Role.ADMIN, services=["search"]), "", "its token or role is limited to some services"),
        (Actor.of("mara", Role.ADMIN, only=[Permission.READ]), "", "its token is limited to other things"),
    ]
    for actor, service, remedy in cases:
        with pytest.raises(ForbiddenError) as told:
            actor.must(Permission.GATE, service)
        assert told.value.message.startswith(f"mara ({actor.role}) may not gate")
        assert told.value.remedy.startswith(remedy)


def test_the_services_of_teams_and_those_named_come_together() -> None:
    owned = {"payments": frozenset({"checkout"}), "search": frozenset({"search"})}
    assert scope((), (), owned) is None
    assert scope(("payments",), ("ledger",), owned) == frozenset({"checkout", "ledger"})
    assert scope(("nobody",), (), owned) == frozenset()


def test_an_actor_without_grants_is_nobody() -> None:
    nobody = Actor("nobody", ())
    assert not any(nobody.may(one) for one in Permission)
    assert nobody.services == frozenset()


@pytest.mark.parametrize("text", ["", "root", "admin viewer"])
def test_what_is_no_role_or_permission_is_told(text: str) -> None:
    with pytest.raises(UsageError, match="there is no role"):
        parse_role(text)
    with pytest.raises(UsageError, match="there is no permission"):
        parse_permission(text)
    assert (parse_role(" Admin "), parse_permission("GATE")) == (Role.ADMIN, Permission.GATE)
