"""The door to tokens, sessions, the members of teams, and failed attempts to log in."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Index,
    Integer,
    Row,
    Table,
    Text,
    case,
    delete,
    exists,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from tightrope.access.roles import Permission, Role
from tightrope.access.sessions import IDLE_S, PersonalGrant, Session
from tightrope.access.tokens import Token
from tightrope.state.tables import TABLES

_TOKEN = Table(
    "access_token",
    TABLES,
    Column("id", Text, primary_key=True),
    Column("hash", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("teams", Text, nullable=False),
    Column("services", Text, nullable=False),
    Column("only", Text),
    Column("created_at", BigInteger, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("expires_at", BigInteger),
    Column("last_used_at", BigInteger),
    Column("revoked_at", BigInteger),
)
_SESSION = Table(
    "access_session",
    TABLES,
    Column("hash", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("grants", Text, nullable=False),
    Column("teams", Text, nullable=False),
    Column("token", Text, nullable=False),
    Column("begun_at", BigInteger, nullable=False),
    Column("used_at", BigInteger, nullable=False),
    Column("ends_at", BigInteger, nullable=False),
)
_MEMBER = Table(
    "access_member",
    TABLES,
    Column("team", Text, primary_key=True),
    Column("member", Text, primary_key=True),
    Index("access_member_member", "member"),
)
_FAILURE = Table(
    "access_failure",
    TABLES,
    Column("key", Text, primary_key=True),
    Column("failures", Integer, nullable=False),
    Column("since", BigInteger, nullable=False),
)


class AccessStore:
    """Reads and writes within the caller's transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    # --- tokens ---------------------------------------------------------------------------------------------------

    def token(self, name: str) -> tuple[Token, str] | None:
        """The token with that id, and the hash of its secret; None where there is none."""
        row = self._connection.execute(select(_TOKEN).where(_TOKEN.c.id == name)).one_or_none()
        return None if row is None else (_token(row), row.hash)

    def tokens(self) -> list[Token]:
        """All tokens, newest first, also those that can't be used any more."""
        query = select(_TOKEN).order_by(_TOKEN.c.created_at.desc(), _TOKEN.c.id)
        return [_token(row) for row in self._connection.execute(query)]

    def active(self, now: int) -> list[Token]:
        """The tokens that may be used, newest first."""
        return [one for one in self.tokens() if one.standing(now) == "active"]

    def add_token(self, token: Token, hash_: str) -> None:
        """Keep a new token and the hash of its secret."""
        self._connection.execute(
            _TOKEN.insert().values(
                id=token.id,
                hash=hash_,
                name=token.name,
                role=str(token.role),
                teams=json.dumps(token.teams),
                services=json.dumps(token.services),
                only=None if token.only is None else json.dumps([str(one) for one in token.only]),
                created_at=token.created_at,
                created_by=token.created_by,
                expires_at=token.expires_at,
            )
        )

    def revoke_token(self, name: str, now: int) -> None:
        """Note that a token may not be used any more."""
        self._connection.execute(update(_TOKEN).where(_TOKEN.c.id == name).values(revoked_at=now))

    def note_token_uses(self, uses: Mapping[str, int]) -> None:
        """Note when tokens were used last; what another process noted later stands."""
        for name, at in uses.items():
            earlier = or_(_TOKEN.c.last_used_at.is_(None), _TOKEN.c.last_used_at < at)
            self._connection.execute(update(_TOKEN).where(_TOKEN.c.id == name, earlier).values(last_used_at=at))

    # --- sessions -------------------------------------------------------------------------------------------------

    def session(self, hash_: str) -> Session | None:
        """The session with that hash; None where there is none, or it was ended."""
        row = self._connection.execute(select(_SESSION).where(_SESSION.c.hash == hash_)).one_or_none()
        return None if row is None else _session(row)

    def sessions(self, *, name: str = "", token: str = "") -> list[Session]:
        """Sessions, the last used first: of one person, or begun with one token, or all."""
        query = select(_SESSION).order_by(_SESSION.c.used_at.desc(), _SESSION.c.hash)
        if name:
            query = query.where(_SESSION.c.name == name)
        if token:
            query = query.where(_SESSION.c.token == token)
        return [_session(row) for row in self._connection.execute(query)]

    def add_session(self, session: Session) -> None:
        """Keep a new session."""
        self._connection.execute(
            _SESSION.insert().values(
                hash=session.hash,
                name=session.name,
                grants=json.dumps([[str(one.role), one.own] for one in session.grants]),
                teams=json.dumps(session.teams),
                token=session.token,
                begun_at=session.begun_at,
                used_at=session.used_at,
                ends_at=session.ends_at,
            )
        )

    def end_sessions(self, hashes: Iterable[str]) -> None:
        """Forget sessions."""
        self._connection.execute(delete(_SESSION).where(_SESSION.c.hash.in_(list(hashes))))

    def note_session_uses(self, uses: Mapping[str, int]) -> None:
        """Note when sessions were used last, which puts off their end."""
        for hash_, at in uses.items():
            later = update(_SESSION).where(_SESSION.c.hash == hash_, _SESSION.c.used_at < at)
            self._connection.execute(later.values(used_at=at))

    # --- teams ----------------------------------------------------------------------------------------------------

    def members(self) -> dict[str, tuple[str, ...]]:
        """The members of every team that has any."""
        found: dict[str, list[str]] = {}
        for row in self._connection.execute(select(_MEMBER).order_by(_MEMBER.c.team, _MEMBER.c.member)):
            found.setdefault(row.team, []).append(row.member)
        return {team: tuple(members) for team, members in found.items()}

    def teams_of(self, member: str) -> tuple[str, ...]:
        """The teams that somebody is a member of."""
        query = select(_MEMBER.c.team).where(_MEMBER.c.member == member).order_by(_MEMBER.c.team)
        return tuple(self._connection.execute(query).scalars())

    def set_members(self, team: str, members: Iterable[str]) -> None:
        """Let a team have these members and no others."""
        self._connection.execute(delete(_MEMBER).where(_MEMBER.c.team == team))
        for member in members:
            self._connection.execute(_MEMBER.insert().values(team=team, member=member))

    # --- failed attempts ------------------------------------------------------------------------------------------

    def failures(self, keys: Iterable[str], since: int) -> dict[str, tuple[int, int]]:
        """How many attempts failed, and since when they are counted, for each key whose count began after *since*."""
        query = select(_FAILURE).where(_FAILURE.c.key.in_(list(keys)), _FAILURE.c.since > since)
        return {row.key: (row.failures, row.since) for row in self._connection.execute(query)}

    def count_failure(self, key: str, now: int, since: int) -> int:
        """Count one more, from 1 where the count began at *since* or before; returns the count."""
        postgresql = self._connection.dialect.name == "postgresql"
        adding = (postgresql_insert if postgresql else sqlite_insert)(_FAILURE).values(key=key, failures=1, since=now)
        stale = _FAILURE.c.since <= since
        fresh = {
            "failures": case((stale, 1), else_=_FAILURE.c.failures + 1),
            "since": case((stale, now), else_=_FAILURE.c.since),
        }
        counting = adding.on_conflict_do_update(index_elements=[_FAILURE.c.key], set_=fresh).returning(
            _FAILURE.c.failures
        )
        count: int = self._connection.execute(counting).scalar_one()
        return count

    # --- housekeeping ---------------------------------------------------------------------------------------------

    def prune(self, now: int, since: int) -> None:
        """Forget sessions that have ended, and counts that began at *since* or before."""
        ended = or_(_SESSION.c.ends_at <= now, _SESSION.c.used_at <= now - IDLE_S)
        self._connection.execute(delete(_SESSION).where(ended))
        self._connection.execute(delete(_FAILURE).where(_FAILURE.c.since <= since))

    def ever_had_a_token(self) -> bool:
        """Whether any token was ever made."""
        return bool(self._connection.execute(select(exists().select_from(_TOKEN))).scalar())


def _token(row: Row[Any]) -> Token:
    return Token(
        id=row.id,
        name=row.name,
        role=Role(row.role),
        teams=tuple(json.loads(row.teams)),
        services=tuple(json.loads(row.services)),
        only=None if row.only is None else tuple(Permission(one) for one in json.loads(row.only)),
        created_at=row.created_at,
        created_by=row.created_by,
        expires_at=row.expires_at,
        last_used_at=row.last_used_at,
        revoked_at=row.revoked_at,
    )


def _session(row: Row[Any]) -> Session:
    return Session(
        hash=row.hash,
        name=row.name,
        grants=tuple(PersonalGrant(Role(role), own) for role, own in json.loads(row.grants)),
        teams=tuple(json.loads(row.teams)),
        token=row.token,
        begun_at=row.begun_at,
        used_at=row.used_at,
        ends_at=row.ends_at,
    )
