"""Tokens, sessions and teams in a store: who is known, until when, and what the journal tells of it."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy.event import listen

from tightrope.access import tokens
from tightrope.access.roles import LOCAL, Actor, Permission, Role
from tightrope.access.sessions import IDLE_S, LONGEST_S
from tightrope.access.store import AccessStore
from tightrope.access.usecases import (
    FAILURES_OF_ADDRESS,
    FAILURES_OF_TOKEN,
    FAILURES_WITHIN_S,
    FRESH_S,
    Access,
    Credentials,
    list_tokens,
    make_token,
    revoke_token,
    token_document,
)
from tightrope.base.errors import (
    BusyError,
    ConflictError,
    ForbiddenError,
    NotFoundError,
    StoreError,
    UnauthorizedError,
    UsageError,
)
from tightrope.state.database import Database, opened
from tightrope.state.journal import Journal

NOON = 1_772_366_400
HERE = Credentials(peer="127.0.0.1", host="localhost:8080")


def _token(access: Access, name: str = "ci", role: Role = Role.OPERATOR, **others: object) -> tokens.Issued:
    wanted = {"by": LOCAL, "now": NOON, "expires_at": NOON + 90 * 86400} | others
    return access.create_token(name, role, **wanted)  # type: ignore[arg-type]


def _bearer(text: str) -> Credentials:
    return Credentials(authorization=f"Bearer {text}")


def _events(database: Database) -> list[tuple[str, str]]:
    return [
        (entry.event.type.removeprefix("dev.tightrope.access."), entry.event.subject)
        for entry in Journal(database).read()
    ]


def _everything(database: Database) -> str:
    """All that the store holds, as text."""
    with database.reading() as connection:
        names = ("access_token", "access_session", "access_member", "access_failure", "journal", "journal_head")
        rows = [connection.exec_driver_sql(f"SELECT * FROM {name}").all() for name in names]
    return repr(rows)


# --- tokens -------------------------------------------------------------------------------------------------------


def test_a_token_names_its_actor(access: Access) -> None:
    text = _token(access, services=["checkout"], only=[Permission.GATE]).text
    for authorization in (
        f"Bearer {text}",
        f"bearer   {text} ",
        "Basic " + base64.b64encode(f"anybody:{text}".encode()).decode(),
    ):
        actor = access.actor_of(Credentials(authorization=authorization), NOON)
        assert actor == Actor.of("ci", Role.OPERATOR, services=["checkout"], only=[Permission.GATE])


def test_a_token_for_a_team_is_for_what_the_team_owns_now(database: Database) -> None:
    owned = {"payments": frozenset({"checkout"})}
    access = Access(database, owned=lambda: owned)
    text = _token(access, teams=["payments"], services=["ledger"]).text
    assert access.actor_of(_bearer(text), NOON).services == frozenset({"checkout", "ledger"})
    owned["payments"] = frozenset({"checkout", "refunds"})
    assert access.actor_of(_bearer(text), NOON + FRESH_S + 1).services == frozenset({"checkout", "ledger", "refunds"})


@pytest.mark.parametrize(
    ("authorization", "message"),
    [
        ("", "this takes a token"),
        ("Bearer", "not a token of Tightrope"),
        ("Bearer abc", "not a token of Tightrope"),
        ("Basic !!!", "can't be read"),
        ("Basic " + base64.b64encode(b"\xff\xfe").decode(), "can't be read"),
        ("Digest abc", "neither Bearer nor Basic"),
        ("\udcff", "neither Bearer nor Basic"),
    ],
)
def test_what_is_no_token_is_refused(access: Access, authorization: str, message: str) -> None:
    with pytest.raises(UnauthorizedError, match=message):
        access.actor_of(Credentials(authorization=authorization), NOON)


def test_a_token_of_another_store_is_not_known(access: Access) -> None:
    with pytest.raises(UnauthorizedError, match="the token is not known here"):
        access.actor_of(_bearer(tokens.new_text()), NOON)


def test_an_id_with_another_secret_is_not_known(access: Access) -> None:
    issued = _token(access)
    head = f"tr_{issued.token.id}_{tokens.random_text()}"
    forged = head + tokens._checksum(head)
    assert tokens.spelt(forged).id == issued.token.id
    with pytest.raises(UnauthorizedError, match="the token is not known here"):
        access.actor_of(_bearer(forged), NOON)


def test_a_token_expires(access: Access) -> None:
    text = _token(access, expires_at=NOON + 100).text
    assert access.actor_of(_bearer(text), NOON + 99).name == "ci"
    with pytest.raises(UnauthorizedError, match="the token ci expired at 2026-03-01T12:01:40Z"):
        access.actor_of(_bearer(text), NOON + 101)
    endless = _token(access, "forever", expires_at=None).text
    assert access.actor_of(_bearer(endless), NOON + 10**9).name == "forever"


def test_a_revocation_acts_within_two_seconds_in_other_processes(store: str, access: Access) -> None:
    text = _token(access).text
    with opened(store) as elsewhere:
        other = Access(elsewhere)
        assert other.actor_of(_bearer(text), NOON + 10).name == "ci"
        access.revoke_token("ci", by=LOCAL, now=NOON + 10)
        with pytest.raises(UnauthorizedError, match="the token ci was revoked at 2026-03-01T12:00:10Z"):
            access.actor_of(_bearer(text), NOON + 10)
        with pytest.raises(UnauthorizedError, match="was revoked"):
            other.actor_of(_bearer(text), NOON + 12)


def test_between_two_looks_nothing_is_read(access: Access, database: Database) -> None:
    text = _token(access).text
    first = access.actor_of(_bearer(text), NOON)
    database.engine.dispose()
    with database.writing() as connection:
        connection.exec_driver_sql("DELETE FROM access_token")
    assert access.actor_of(_bearer(text), NOON + FRESH_S) is first
    with pytest.raises(UnauthorizedError):
        access.actor_of(_bearer(text), NOON + FRESH_S + 1)


def test_a_clock_that_was_set_back_does_not_keep_a_revoked_token(access: Access, store: str) -> None:
    text = _token(access).text
    with opened(store) as elsewhere:
        other = Access(elsewhere)
        other.actor_of(_bearer(text), NOON + 5000)
        access.revoke_token("ci", by=LOCAL, now=NOON)
        with pytest.raises(UnauthorizedError):
            other.actor_of(_bearer(text), NOON)


def test_a_token_is_revoked_by_id_or_name_and_only_once(access: Access, database: Database) -> None:
    first, second = _token(access).token, _token(access, "deploys").token
    assert access.revoke_token(first.id, by=LOCAL, now=NOON + 1).revoked_at == NOON + 1
    assert access.revoke_token(first.id, by=LOCAL, now=NOON + 9).revoked_at == NOON + 1
    assert access.revoke_token("deploys", by=LOCAL, now=NOON + 2).id == second.id
    for which in ("deploys", "nobody"):
        with pytest.raises(NotFoundError, match="there is no token"):
            access.revoke_token(which, by=LOCAL, now=NOON + 3)
    assert _events(database) == [
        ("token.created.v1", "ci"),
        ("token.created.v1", "deploys"),
        ("token.revoked.v1", "ci"),
        ("token.revoked.v1", "deploys"),
    ]


def test_a_name_is_free_again_when_its_token_can_be_used_no_more(access: Access) -> None:
    _token(access, expires_at=NOON + 100)
    with pytest.raises(ConflictError, match="there is a token ci already"):
        _token(access)
    _token(access, now=NOON + 100)
    standing = {one.created_at: one.standing(NOON + 200) for one in access.tokens(LOCAL)}
    assert standing == {NOON: "expired", NOON + 100: "active"}


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"name": " "}, "the name of a token"),
        ({"name": "a\nb"}, "the name of a token"),
        ({"name": "x" * 201}, "the name of a token"),
        ({"services": [""]}, "the name of a service"),
        ({"teams": ["\x00"]}, "the name of a team"),
        ({"expires_at": NOON}, "would have expired at 2026-03-01T12:00:00Z"),
        ({"role": Role.VIEWER, "only": [Permission.GATE]}, "the role viewer may not gate"),
        ({"only": []}, "could not be used for anything"),
    ],
)
def test_a_token_that_makes_no_sense_is_refused(access: Access, wanted: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        _token(access, **wanted)  # type: ignore[arg-type]
    assert access.tokens(LOCAL) == []


def test_only_an_admin_of_everything_manages_access(access: Access, database: Database) -> None:
    _token(access)
    limited = Actor.of("mara", Role.ADMIN, services=["checkout"])
    attempts: list[Callable[[Actor], object]] = [
        lambda actor: _token(access, "mine", by=actor),
        access.tokens,
        lambda actor: access.revoke_token("ci", by=actor, now=NOON),
        lambda actor: access.end_session("x", by=actor, now=NOON),
        lambda actor: access.set_members("payments", ["mara"], by=actor, now=NOON),
    ]
    for actor in (Actor.of("mara", Role.APPROVER), limited, Actor.of("mara", Role.ADMIN, only=[Permission.READ])):
        for attempt in attempts:
            with pytest.raises(ForbiddenError, match="may not manage"):
                attempt(actor)
    assert _events(database) == [("token.created.v1", "ci")]


def test_uses_are_noted_once_a_minute(access: Access, database: Database) -> None:
    text = _token(access).text
    assert access.tokens(LOCAL)[0].last_used_at is None
    access.actor_of(_bearer(text), NOON + 5)
    access.tend(NOON + 6)
    access.actor_of(_bearer(text), NOON + 30)
    access.tend(NOON + 31)
    assert access.tokens(LOCAL)[0].last_used_at == NOON + 5
    access.tend(NOON + 66)
    assert access.tokens(LOCAL)[0].last_used_at == NOON + 30
    with database.writing() as connection:
        AccessStore(connection).note_token_uses({access.tokens(LOCAL)[0].id: NOON + 7})
    assert access.tokens(LOCAL)[0].last_used_at == NOON + 30


def test_who_is_known_stays_known_though_the_store_cannot_be_written(access: Access, database: Database) -> None:
    text = _token(access).text
    if database.engine.dialect.name == "postgresql":
        only_read = "SET TRANSACTION READ ONLY"
    else:
        only_read = "PRAGMA query_only = ON"
    listen(database.engine, "begin", lambda one: one.exec_driver_sql(only_read))
    with pytest.raises(StoreError):
        access.tend(NOON)
    assert access.actor_of(_bearer(text), NOON + 60).name == "ci"


def test_a_use_is_noted_without_anybody_tending(access: Access) -> None:
    text = _token(access).text
    access.actor_of(_bearer(text), NOON + 5)
    assert access.tokens(LOCAL)[0].last_used_at == NOON + 5


def test_the_first_admin_is_made_once(access: Access) -> None:
    issued = access.first_admin(NOON)
    assert issued is not None
    actor = access.actor_of(_bearer(issued.text), NOON)
    assert actor.may(Permission.MANAGE)
    assert issued.token.expires_at == NOON + 86400
    access.revoke_token(issued.token.id, by=actor, now=NOON)
    assert access.first_admin(NOON + 1) is None


def test_a_document_tells_everything_but_the_secret(access: Access) -> None:
    issued = _token(access, teams=["payments"])
    document = token_document(issued.token)
    assert document == {
        "id": issued.token.id,
        "name": "ci",
        "role": "operator",
        "teams": ["payments"],
        "services": [],
        "only": None,
        "createdAt": "2026-03-01T12:00:00Z",
        "createdBy": "local",
        "expiresAt": "2026-05-30T12:00:00Z",
        "lastUsedAt": None,
        "revokedAt": None,
    }


# --- nobody shows who they are ------------------------------------------------------------------------------------


def test_without_a_token_only_this_machine_is_heard_and_only_where_that_is_allowed(database: Database) -> None:
    open_here = Access(database, required=False)
    assert open_here.actor_of(HERE, NOON) is LOCAL
    others = [
        Credentials(peer="10.0.0.7", host="localhost:8080"),
        Credentials(peer="127.0.0.1", host="evil.example"),
        Credentials(peer="127.0.0.1", host="localhost", forwarded=True),
    ]
    for other in others:
        with pytest.raises(UnauthorizedError, match="this takes a token"):
            open_here.actor_of(other, NOON)
    with pytest.raises(UnauthorizedError):
        Access(database).actor_of(HERE, NOON)


def test_a_wrong_token_is_refused_even_where_none_is_needed(database: Database) -> None:
    open_here = Access(database, required=False)
    with pytest.raises(UnauthorizedError):
        open_here.actor_of(Credentials("Bearer nonsense", "", "127.0.0.1", "localhost"), NOON)


# --- sessions -----------------------------------------------------------------------------------------------------


def test_a_session_is_its_tokens_actor(access: Access, database: Database) -> None:
    issued = _token(access, role=Role.APPROVER, teams=["payments"])
    entered = access.log_in(f" {issued.text}\n", NOON, address="10.0.0.7", return_to="/services/checkout")
    assert entered.return_to == "/services/checkout"
    assert entered.ends_at == NOON + LONGEST_S
    actor = access.actor_of(Credentials(cookie=entered.cookie), NOON + 1)
    assert actor == entered.actor
    assert (actor.name, actor.how, actor.services) == ("ci", "session", frozenset({"checkout", "refunds"}))
    assert access.csrf_fits(entered.cookie, entered.csrf)
    assert access.csrf_of(entered.cookie) == entered.csrf
    assert _events(database)[1:] == [("session.begun.v1", "ci")]
    access.log_out(entered.cookie, NOON + 2)
    access.log_out(entered.cookie, NOON + 3)
    with pytest.raises(UnauthorizedError, match="the session is over"):
        access.actor_of(Credentials(cookie=entered.cookie), NOON + 2)
    assert _events(database)[2:] == [("session.ended.v1", "ci")]


def test_a_session_is_over_when_it_was_not_used_or_after_a_week(access: Access) -> None:
    text = _token(access, expires_at=None).text
    idle, busy = (access.log_in(text, NOON, address="10.0.0.7").cookie for _ in range(2))
    now = NOON
    while now < NOON + LONGEST_S - IDLE_S:
        now += IDLE_S - 60
        assert access.actor_of(Credentials(cookie=busy), now).name == "ci"
        access.tend(now)
    with pytest.raises(UnauthorizedError, match="the session is over"):
        access.actor_of(Credentials(cookie=idle), NOON + IDLE_S)
    assert [one.used_at for one in access.sessions(LOCAL, now)] == [now]
    with pytest.raises(UnauthorizedError, match="the session is over"):
        access.actor_of(Credentials(cookie=busy), NOON + LONGEST_S)


def test_a_session_ends_with_its_token(access: Access, store: str, database: Database) -> None:
    expiring, revoked = _token(access, "a", expires_at=NOON + 50), _token(access, "b")
    first, second = (access.log_in(one.text, NOON, address="10.0.0.7") for one in (expiring, revoked))
    assert first.ends_at == NOON + 50
    with opened(store) as elsewhere:
        other = Access(elsewhere)
        assert other.actor_of(Credentials(cookie=second.cookie), NOON).name == "b"
        access.revoke_token("b", by=LOCAL, now=NOON)
        with pytest.raises(UnauthorizedError):
            other.actor_of(Credentials(cookie=second.cookie), NOON + 2)
    assert [one.name for one in access.sessions(LOCAL, NOON)] == ["a"]
    with pytest.raises(UnauthorizedError):
        access.actor_of(Credentials(cookie=first.cookie), NOON + 50)
    assert _events(database)[-2:] == [("token.revoked.v1", "b"), ("session.ended.v1", "b")]


@pytest.mark.parametrize("cookie", ["", "x", "trs_short", "trs_" + "a" * 43, "trs_" + "ä" * 43])
def test_a_cookie_of_nobody_is_refused(access: Access, cookie: str) -> None:
    with pytest.raises(UnauthorizedError):
        access.actor_of(Credentials(cookie=cookie), NOON)
    access.log_out(cookie, NOON)


def test_an_admin_sees_and_ends_sessions_and_others_see_their_own(access: Access) -> None:
    mara, nils = (access.log_in(_token(access, name).text, NOON, address="10.0.0.7") for name in ("mara", "nils"))
    assert {one.name for one in access.sessions(LOCAL, NOON)} == {"mara", "nils"}
    (own,) = access.sessions(mara.actor, NOON)
    assert own.name == "mara"
    access.end_session(own.hash, by=LOCAL, now=NOON)
    with pytest.raises(UnauthorizedError):
        access.actor_of(Credentials(cookie=mara.cookie), NOON)
    assert access.actor_of(Credentials(cookie=nils.cookie), NOON).name == "nils"
    with pytest.raises(NotFoundError, match="there is no such session"):
        access.end_session(own.hash, by=LOCAL, now=NOON)


# --- guessing -----------------------------------------------------------------------------------------------------


def test_guessing_from_one_address_is_stopped_for_a_while(access: Access, database: Database) -> None:
    text = _token(access).text
    for _ in range(FAILURES_OF_ADDRESS):
        with pytest.raises(UnauthorizedError):
            access.log_in(tokens.new_text(), NOON, address="10.0.0.7:1234")
    with pytest.raises(BusyError, match="too many attempts") as told:
        access.log_in(text, NOON + 100, address="10.0.0.7:1235")
    assert told.value.retry_after_s == FAILURES_WITHIN_S - 100
    assert access.log_in(text, NOON + 100, address="10.0.0.8").actor.name == "ci"
    assert access.actor_of(_bearer(text), NOON + 100).name == "ci"
    assert access.log_in(text, NOON + FAILURES_WITHIN_S, address="10.0.0.7").actor.name == "ci"
    assert _events(database)[1] == ("login.refused.v1", "address:10.0.0.7")


def test_guessing_one_tokens_secret_from_everywhere_is_stopped(access: Access, database: Database) -> None:
    issued = _token(access)
    for number in range(FAILURES_OF_TOKEN):
        head = f"tr_{issued.token.id}_{tokens.random_text()}"
        with pytest.raises(UnauthorizedError):
            access.log_in(head + tokens._checksum(head), NOON, address=f"10.1.{number}.1")
    with pytest.raises(BusyError):
        access.log_in(issued.text, NOON, address="10.2.0.1")
    assert ("login.refused.v1", f"token:{issued.token.id}") in _events(database)


def test_guesses_at_what_is_no_token_leave_one_row(access: Access, database: Database) -> None:
    for number in range(5):
        with pytest.raises(UnauthorizedError):
            access.log_in(f"tr_{number:010}_nonsense", NOON, address="10.0.0.7")
    with database.reading() as connection:
        assert connection.exec_driver_sql("SELECT key, failures FROM access_failure").all() == [("address:10.0.0.7", 5)]
    access.tend(NOON + FAILURES_WITHIN_S)
    with database.reading() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM access_failure").scalar() == 0


# --- teams --------------------------------------------------------------------------------------------------------


def test_a_team_has_the_members_that_an_admin_named(access: Access, database: Database) -> None:
    assert access.teams() == {"payments": (), "search": ()}
    access.set_members("payments", ["nils", "mara", "mara "], by=LOCAL, now=NOON)
    access.set_members("payments", ["mara", "nils"], by=LOCAL, now=NOON)
    access.set_members("growth", ["ida"], by=LOCAL, now=NOON)
    assert access.teams() == {"growth": ("ida",), "payments": ("mara", "nils"), "search": ()}
    access.set_members("growth", [], by=LOCAL, now=NOON)
    assert "growth" not in access.teams()
    changes = [entry.event.data for entry in Journal(database).read()]
    assert changes[0] == {"members": ["mara", "nils"], "before": [], "by": "local"}
    assert len(changes) == 3


# --- secrets ------------------------------------------------------------------------------------------------------


def test_no_secret_is_in_the_store_the_journal_or_a_log(
    access: Access, database: Database, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(0)
    issued = _token(access)
    entered = access.log_in(issued.text, NOON, address="10.0.0.7")
    shown = Credentials(authorization=f"Bearer {issued.text}", cookie=entered.cookie)
    access.actor_of(shown, NOON)
    access.actor_of(Credentials(cookie=entered.cookie), NOON)
    access.tend(NOON)
    access.log_out(entered.cookie, NOON)
    access.revoke_token("ci", by=LOCAL, now=NOON)
    kept, out = _everything(database), capsys.readouterr()
    said = "".join((kept, caplog.text, out.out, out.err, repr(issued), repr(entered), repr(shown), repr(access)))
    for secret in (issued.text, tokens.spelt(issued.text).secret, entered.cookie, entered.cookie[4:], entered.csrf):
        assert secret not in said
    assert issued.token.id in kept


def test_the_journal_holds_after_all_of_it(access: Access, database: Database) -> None:
    text = _token(access).text
    access.log_in(text, NOON, address="10.0.0.7")
    access.set_members("payments", ["mara"], by=LOCAL, now=NOON)
    access.revoke_token("ci", by=LOCAL, now=NOON)
    found = Journal(database).verify()
    assert (found.rows, found.broken) == (5, ())


# --- from the command line ----------------------------------------------------------------------------------------


@pytest.fixture
def server(store: str) -> Iterator[Access]:
    """What a running server knows, while somebody uses the command line beside it."""
    with opened(store, create=True) as one:
        yield Access(one)


def test_a_running_server_follows_the_command_line(server: Access, store: str) -> None:
    issued = make_token(store, "ci", Role.OPERATOR, lasts_s=3600)
    now = issued.token.created_at
    assert server.actor_of(_bearer(issued.text), now).name == "ci"
    assert [(one.name, standing) for one, standing in list_tokens(store)] == [("ci", "active")]
    script = f"from tightrope.access.usecases import revoke_token; print(revoke_token({store!r}, 'ci').name)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "ci\n"
    with pytest.raises(UnauthorizedError, match="was revoked"):
        server.actor_of(_bearer(issued.text), now + 2)
    assert revoke_token(store, issued.token.id).id == issued.token.id
    assert json.dumps([token_document(one) for one, _ in list_tokens(store)]).count("revokedAt") == 1
