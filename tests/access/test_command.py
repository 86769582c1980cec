"""What ``tightrope token`` promises."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.cli.world import answer, error_of, run
from tightrope.access.roles import Permission, Role
from tightrope.access.tokens import PATTERN
from tightrope.base.errors import ConflictError, NotFoundError, UsageError
from tightrope.cli.access import PERMISSIONS, ROLES
from tightrope.state.database import opened


def test_a_token_is_printed_once_and_alone(tmp_path: Path) -> None:
    made = run("token", "create", "ci", "--role", "operator", "--data", tmp_path)
    assert made.exit_code == 0
    assert re.fullmatch(PATTERN, made.stdout.strip())
    assert re.match(r"token \w{10} of ci \(operator\), good until 2\d\d\d-.*; it is not shown again", made.stderr)
    again = run("token", "list", "--data", tmp_path)
    assert made.stdout.strip() not in again.stdout
    assert again.stdout.splitlines()[1].split()[1:5] == ["ci", "active", "operator", "everywhere"]


def test_a_token_as_a_document_holds_its_text_only_when_it_is_made(tmp_path: Path) -> None:
    options = ("--service", "checkout", "--team", "payments", "--only", "gate", "--only", "read", "--expires", "never")
    made = answer("token", "create", "ci", "--role", "operator", *options, "--data", tmp_path)
    text = made.pop("token")
    (listed,) = answer("token", "list", "--data", tmp_path)
    assert listed == made | {"standing": "active"}
    assert (made["services"], made["teams"], made["only"]) == (["checkout"], ["payments"], ["gate", "read"])
    assert made["expiresAt"] is None
    assert text not in json.dumps(listed)
    assert "gate, read" in run("token", "list", "--data", tmp_path).stdout


def test_a_revoked_token_stays_listed(tmp_path: Path) -> None:
    made = answer("token", "create", "ci", "--role", "viewer", "--data", tmp_path)
    assert run("token", "revoke", "ci", "--data", tmp_path).stdout == f"revoked {made['id']} of ci\n"
    (listed,) = answer("token", "list", "--data", tmp_path)
    assert listed["standing"] == "revoked"
    assert listed["revokedAt"] >= listed["createdAt"]


def test_what_goes_wrong_is_told(tmp_path: Path) -> None:
    create = ("token", "create", "ci", "--role", "viewer", "--data", tmp_path)
    run(*create)
    assert isinstance(error_of(run(*create)), ConflictError)
    assert isinstance(error_of(run(*create, "--only", "gate")), UsageError)
    assert isinstance(error_of(run(*create, "--expires", "soon")), UsageError)
    assert isinstance(error_of(run("token", "revoke", "nobody", "--data", tmp_path)), NotFoundError)
    assert isinstance(error_of(run("token", "list", "--data", tmp_path / "none")), NotFoundError)
    assert run("token", "create", "ci", "--data", tmp_path).exit_code == 2


def test_a_store_without_tokens_says_so(tmp_path: Path) -> None:
    with opened(str(tmp_path), create=True):
        pass
    assert run("token", "list", "--data", tmp_path).stdout == "no token was made yet\n"
    assert answer("token", "list", "--data", tmp_path) == []


@pytest.mark.parametrize(("shown", "there"), [(ROLES, Role), (PERMISSIONS, Permission)])
def test_the_command_knows_every_role_and_permission(shown: tuple[str, ...], there: type[Role | Permission]) -> None:
    assert shown == tuple(str(one) for one in there)
