"""Who is asking, and all changes to who may do what; each change is in the journal, and no secret ever is."""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from tightrope.access import sessions, tokens
from tightrope.access.local import is_local, neighbourhood
from tightrope.access.roles import LOCAL, NEEDS, Actor, Owned, Permission, Role
from tightrope.access.sessions import LogIn, PersonalGrant, Session
from tightrope.access.store import AccessStore
from tightrope.access.tokens import Issued, Token
from tightrope.base.clock import now as present
from tightrope.base.errors import (
    BusyError,
    ConflictError,
    ForbiddenError,
    NotFoundError,
    StoreError,
    UnauthorizedError,
    UsageError,
)
from tightrope.base.units import DAY_S, time_text
from tightrope.state.database import Database, opened
from tightrope.state.journal import Event, Journal

if TYPE_CHECKING:
    from tightrope.access.oidc import OidcSettings, Person, Start
    from tightrope.access.providers.oidc import OidcProvider

SOURCE = "/tightrope/access"
TOKEN_CREATED = "dev.tightrope.access.token.created.v1"  # noqa: S105  the type of an event
TOKEN_REVOKED = "dev.tightrope.access.token.revoked.v1"  # noqa: S105  the type of an event
SESSION_BEGUN = "dev.tightrope.access.session.begun.v1"
SESSION_ENDED = "dev.tightrope.access.session.ended.v1"
LOGIN_REFUSED = "dev.tightrope.access.login.refused.v1"
TEAM_CHANGED = "dev.tightrope.access.team.changed.v1"

FRESH_S = 1
"""For how many seconds what is known of a token or session is taken without looking: a revocation acts within 2 s."""

NOTED_EVERY_S = 60
"""How often uses are written down."""

FAILURES_WITHIN_S = 600
FAILURES_OF_ADDRESS, FAILURES_OF_TOKEN = 10, 30
"""How many attempts to log in may fail within that time, from one address and with one token's id."""

FIRST_ADMIN_S = DAY_S
_REMEDY = "send Authorization: Bearer tr_...; `tightrope token create` makes one"


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a request shows of who sent it.

    Attributes:
        authorization: The header as it came: ``Bearer tr_...``, or ``Basic`` with the token as the password.
        cookie: The value of the session's cookie.
        peer: The address at the other end of the connection.
        host: The Host header.
        forwarded: Whether there is a header such as X-Forwarded-For or Forwarded.
    """

    authorization: str = field(default="", repr=False)
    cookie: str = field(default="", repr=False)
    peer: str = ""
    host: str = ""
    forwarded: bool = False


@dataclass(frozen=True, slots=True)
class _Known:
    actor: Actor
    checked_at: int


class Access:
    """Who may do what, by one store. Any number of threads and processes may use it at once.

    Args:
        database: Where it is kept.
        required: Whether everybody must show who they are; else requests from this machine to this machine are `LOCAL`.
        owned: Tells the services that each team owns, as of now.
        oidc: How people log in by OpenID Connect; None: they don't.
    """

    def __init__(
        self,
        database: Database,
        *,
        required: bool = True,
        owned: Callable[[], Owned] = dict,
        oidc: OidcSettings | None = None,
    ) -> None:
        self._database = database
        self._journal = Journal(database)
        self._required = required
        self._owned = owned
        self._oidc = oidc
        self._provider: OidcProvider | None = None
        self._known: dict[bytes, _Known] = {}
        self._token_uses: dict[str, int] = {}
        self._session_uses: dict[str, int] = {}
        self._noting = Lock()
        self._noted_at = 0

    @property
    def required(self) -> bool:
        """Whether everybody must show who they are."""
        return self._required

    @property
    def oidc(self) -> bool:
        """Whether people may log in by OpenID Connect."""
        return self._oidc is not None

    # --- who asks -------------------------------------------------------------------------------------------------

    def actor_of(self, credentials: Credentials, now: int) -> Actor:
        """Tell who sent a request: by its token, else by its session, else as local where that is allowed.

        Raises:
            UnauthorizedError: Nobody that we know, or not any more.
            StoreError: Who it is could not be looked up.
        """
        shown = credentials.authorization or credentials.cookie
        if not shown:
            if not self._required and is_local(credentials.peer, credentials.host, credentials.forwarded):
                return LOCAL
            raise UnauthorizedError("this takes a token", remedy=_REMEDY)
        key = hashlib.sha256(shown.encode(errors="surrogatepass")).digest()
        known = self._known.get(key)
        if known is not None and 0 <= now - known.checked_at <= FRESH_S:
            return known.actor
        try:
            if credentials.authorization:
                actor = self._bearer(_token_text(credentials.authorization), now)
            else:
                actor = self._in_session(credentials.cookie, now)
        except UnauthorizedError:
            self._known.pop(key, None)
            raise
        self._known[key] = _Known(actor, now)
        # Who is known stays known, though the note of it must wait; the next minute tries again.
        with suppress(StoreError):
            self.tend(now)
        return actor

    def _bearer(self, text: str, now: int) -> Actor:
        with self._database.reading() as connection:
            token = _presented(AccessStore(connection), text, now)
        with self._noting:
            self._token_uses[token.id] = now
        return self._actor(token, "token")

    def _in_session(self, cookie: str, now: int) -> Actor:
        over = UnauthorizedError("the session is over", remedy="log in again")
        if not sessions.is_cookie(cookie):
            raise over
        with self._database.reading() as connection:
            store = AccessStore(connection)
            session = store.session(sessions.cookie_hash(cookie))
            if session is None or not session.stands(now):
                raise over
            if session.token:
                found = store.token(session.token)
                if found is None:
                    raise over
                found[0].must_stand(now)
                actor = self._actor(found[0], "session")
            else:
                actor = self._person(session, store.teams_of(session.name))
        with self._noting:
            self._session_uses[session.hash] = now
            if session.token:
                self._token_uses[session.token] = now
        return actor

    def _actor(self, token: Token, how: str) -> Actor:
        return Actor(token.name, (token.grant(self._owned()),), token.teams, how)

    def _person(self, session: Session, member_of: tuple[str, ...]) -> Actor:
        teams = tuple(sorted({*session.teams, *member_of}))
        owned = self._owned()
        own = frozenset[str]().union(*(owned.get(team, frozenset()) for team in teams))
        return Actor(session.name, sessions.grants_of(session.grants, own), teams, "session")

    # --- logging in and out ---------------------------------------------------------------------------------------

    def log_in(self, text: str, now: int, *, address: str, return_to: str = "/") -> LogIn:
        """Begin a session with a token.

        Args:
            text: The token.
            now: UTC epoch seconds.
            address: Where the attempt comes from; behind a proxy that is trusted, what the proxy says.
            return_to: The path of the page that was wanted.

        Raises:
            UnauthorizedError: The token is not known, or not any more.
            BusyError: Too many attempts failed.
        """
        place = f"address:{neighbourhood(address)}"
        id_ = text[3:13] if text.startswith("tr_") else ""
        self._refuse_guessing({place: FAILURES_OF_ADDRESS, f"token:{id_}": FAILURES_OF_TOKEN}, now)
        try:
            with self._database.reading() as connection:
                token = _presented(AccessStore(connection), text.strip(), now)
        except UnauthorizedError:
            self._count_failure(place, id_, now)
            raise
        cookie = sessions.new_cookie()
        ends_at = min(now + sessions.LONGEST_S, token.expires_at or now + sessions.LONGEST_S)
        session = Session(sessions.cookie_hash(cookie), token.name, (), (), token.id, now, now, ends_at)
        self._begin(session, {"token": token.id})
        actor = self._actor(token, "session")
        return LogIn(cookie, sessions.csrf_of(cookie), actor, ends_at, sessions.local_path(return_to))

    def log_out(self, cookie: str, now: int) -> None:
        """End the session of a cookie; nothing happens where there is none."""
        if sessions.is_cookie(cookie):
            self._end(sessions.cookie_hash(cookie), "", now)

    def csrf_fits(self, cookie: str, given: str) -> bool:
        """Whether a change that came with a session's cookie came from a page of ours."""
        return sessions.csrf_fits(cookie, given)

    def csrf_of(self, cookie: str) -> str:
        """What a page sends back with every change."""
        return sessions.csrf_of(cookie)

    def begin_oidc(self, now: int, *, redirect_url: str, return_to: str = "/") -> Start:
        """Send somebody to the identity provider.

        Args:
            now: UTC epoch seconds.
            redirect_url: Where the provider sends them back to; registered there.
            return_to: The path of the page that was wanted.

        Raises:
            NotFoundError: OpenID Connect is not set up.
            SourceUnreachableError, SourceError: The provider can't be reached, or makes no sense.
        """
        from tightrope.access import oidc

        settings, provider = self._identity_provider()
        return oidc.start(settings, provider.endpoints(now), now, redirect_url, sessions.local_path(return_to))

    def finish_oidc(self, flow: str, answer: Mapping[str, str], now: int, *, redirect_url: str) -> LogIn:
        """Begin a session for who comes back from the identity provider.

        Args:
            flow: The cookie that `begin_oidc` gave; it is to be deleted whatever comes out.
            answer: The parameters with which they came back.
            now: UTC epoch seconds.
            redirect_url: As given to `begin_oidc`.

        Raises:
            UnauthorizedError: It is not the answer to what this browser began, or the provider refused.
            ForbiddenError: None of the person's groups has a role here.
            SourceUnreachableError, SourceError: The provider can't be reached, or makes no sense.
        """
        from tightrope.access import oidc

        settings, provider = self._identity_provider()
        begun = oidc.resume(flow, answer, settings, now)
        person = provider.person(answer["code"], begun, redirect_url, now)
        if not person.grants:
            raise ForbiddenError(
                f"{person.name} has no role here", remedy="ask an admin for a group that has one; docs/access.md"
            )
        return self._welcome(person, begun.return_to, now)

    def _welcome(self, person: Person, return_to: str, now: int) -> LogIn:
        cookie, ends_at = sessions.new_cookie(), now + sessions.LONGEST_S
        session = Session(sessions.cookie_hash(cookie), person.name, person.grants, person.teams, "", now, now, ends_at)
        self._begin(
            session,
            {
                "issuer": person.issuer,
                "person": person.subject,
                "teams": list(person.teams),
                "grants": [_told(one) for one in person.grants],
            },
        )
        with self._database.reading() as connection:
            actor = self._person(session, AccessStore(connection).teams_of(person.name))
        return LogIn(cookie, sessions.csrf_of(cookie), actor, ends_at, return_to)

    def _identity_provider(self) -> tuple[OidcSettings, OidcProvider]:
        if self._oidc is None:
            raise NotFoundError("nobody logs in by OpenID Connect here", remedy="set it up as docs/access.md says")
        if self._provider is None:
            from tightrope.access.providers.oidc import OidcProvider

            self._provider = OidcProvider(self._oidc)
        return self._oidc, self._provider

    def _refuse_guessing(self, limits: Mapping[str, int], now: int) -> None:
        with self._database.reading() as connection:
            failures = AccessStore(connection).failures(limits, now - FAILURES_WITHIN_S)
        for key, (count, since) in failures.items():
            if count >= limits[key]:
                raise BusyError(
                    "too many attempts to log in have failed",
                    retry_after_s=max(1, since + FAILURES_WITHIN_S - now),
                    remedy="wait; programs that send a token with each request are not held up",
                )

    def _count_failure(self, place: str, id_: str, now: int) -> None:
        events = []
        with self._database.writing() as connection:
            store = AccessStore(connection)
            keys = {place: FAILURES_OF_ADDRESS}
            if id_ and store.token(id_) is not None:
                keys[f"token:{id_}"] = FAILURES_OF_TOKEN
            for key, limit in keys.items():
                if store.count_failure(key, now, now - FAILURES_WITHIN_S) == limit:
                    told = {"key": key, "failures": limit, "within": FAILURES_WITHIN_S}
                    events.append(_event(LOGIN_REFUSED, key, _unique(key), now, told))
            self._journal.append_in(connection, events)

    def _begin(self, session: Session, told: Mapping[str, Any]) -> None:
        data = {"session": session.hash[:16], "endsAt": time_text(session.ends_at), **told}
        event = _event(SESSION_BEGUN, session.name, f"{session.hash[:32]}.begun", session.begun_at, data)
        with self._database.writing() as connection:
            AccessStore(connection).add_session(session)
            self._journal.append_in(connection, [event])

    def _end(self, hash_: str, by: str, now: int) -> bool:
        with self._database.writing() as connection:
            store = AccessStore(connection)
            session = store.session(hash_)
            if session is None:
                return False
            store.end_sessions([hash_])
            self._journal.append_in(connection, [_ended(session, by or session.name, now)])
        self._known.clear()
        return True

    # --- tokens ---------------------------------------------------------------------------------------------------

    def create_token(
        self,
        name: str,
        role: Role,
        *,
        by: Actor,
        now: int,
        expires_at: int | None,
        teams: Iterable[str] = (),
        services: Iterable[str] = (),
        only: Iterable[Permission] | None = None,
    ) -> Issued:
        """Make a token, and show its text for the only time.

        Args:
            name: Who will use it; the name of the actor in the journal.
            role: What it is trusted with.
            by: Who makes it.
            now: UTC epoch seconds.
            expires_at: UTC epoch seconds; None: never.
            teams, services: For the services of these teams and for these services; neither: for all.
            only: Of what the role may do, this much; None: all of it.

        Raises:
            ForbiddenError: *by* may not.
            UsageError: The token could not be used for anything, or a name is none.
            ConflictError: There is a token of that name already that may be used.
        """
        by.must(Permission.MANAGE)
        made = Token(
            id="",
            name=_named(name, "the name of a token"),
            role=role,
            teams=tuple(sorted({_named(one, "the name of a team") for one in teams})),
            services=tuple(sorted({_named(one, "the name of a service") for one in services})),
            only=None if only is None else _useful(role, only),
            created_at=now,
            created_by=by.name,
            expires_at=expires_at,
        )
        if expires_at is not None and expires_at <= now:
            raise UsageError(f"the token would have expired at {time_text(expires_at)}", remedy="let it end later")
        text = tokens.new_text()
        parts = tokens.spelt(text)
        made = replace(made, id=parts.id)
        with self._database.writing() as connection:
            store = AccessStore(connection)
            if any(one.name == made.name for one in store.active(now)):
                raise ConflictError(
                    f"there is a token {made.name} already", remedy="revoke that one first, or give another name"
                )
            store.add_token(made, tokens.hash_of(parts.secret))
            told = token_document(made)
            for later in ("lastUsedAt", "revokedAt"):
                del told[later]
            event = _event(TOKEN_CREATED, made.name, f"{made.id}.created", now, told)
            self._journal.append_in(connection, [event])
        return Issued(made, text)

    def first_admin(self, now: int) -> Issued | None:
        """Make a token for the first admin, good for a day; None where there ever was a token."""
        with self._database.reading() as connection:
            if AccessStore(connection).ever_had_a_token():
                return None
        return self.create_token("first-admin", Role.ADMIN, by=LOCAL, now=now, expires_at=now + FIRST_ADMIN_S)

    def tokens(self, by: Actor) -> list[Token]:
        """All tokens, newest first, also those that can't be used any more; raises `ForbiddenError`."""
        by.must(Permission.MANAGE)
        with self._database.reading() as connection:
            return AccessStore(connection).tokens()

    def revoke_token(self, which: str, *, by: Actor, now: int) -> Token:
        """Let a token be used no more, nor the sessions that it began; one that was revoked before stays so.

        Args:
            which: Its id, or its name while it may be used.
            by: Who revokes it.
            now: UTC epoch seconds.

        Raises:
            ForbiddenError: *by* may not.
            NotFoundError: There is no such token.
        """
        by.must(Permission.MANAGE)
        with self._database.writing() as connection:
            store = AccessStore(connection)
            found = store.token(which)
            token = found[0] if found else next((one for one in store.active(now) if one.name == which), None)
            if token is None:
                raise NotFoundError(f"there is no token {which!r}", remedy="`tightrope token list` shows what there is")
            if token.revoked_at is not None:
                return token
            store.revoke_token(token.id, now)
            begun = store.sessions(token=token.id)
            store.end_sessions(one.hash for one in begun)
            told = {"id": token.id, "by": by.name}
            events = [_event(TOKEN_REVOKED, token.name, f"{token.id}.revoked", now, told)]
            events += [_ended(session, by.name, now) for session in begun]
            self._journal.append_in(connection, events)
        self._known.clear()
        return replace(token, revoked_at=now)

    # --- sessions and teams ---------------------------------------------------------------------------------------

    def sessions(self, by: Actor, now: int) -> list[Session]:
        """The sessions that stand, the last used first; one's own, or all for who manages access."""
        with self._database.reading() as connection:
            found = AccessStore(connection).sessions(name="" if by.may(Permission.MANAGE) else by.name)
        return [one for one in found if one.stands(now)]

    def end_session(self, hash_: str, *, by: Actor, now: int) -> None:
        """End somebody's session; raises `ForbiddenError`, and `NotFoundError` where it is over."""
        by.must(Permission.MANAGE)
        if not self._end(hash_, by.name, now):
            raise NotFoundError("there is no such session")

    def teams(self) -> dict[str, tuple[str, ...]]:
        """The members of every team, also of those that own services and have no members named."""
        with self._database.reading() as connection:
            members = AccessStore(connection).members()
        return {team: members.get(team, ()) for team in sorted({*members, *self._owned()})}

    def set_members(self, team: str, members: Iterable[str], *, by: Actor, now: int) -> None:
        """Let a team have these members and no others; raises `ForbiddenError`, or `UsageError` for what is no name."""
        by.must(Permission.MANAGE)
        team = _named(team, "the name of a team")
        wanted = tuple(sorted({_named(one, "the name of a member") for one in members}))
        with self._database.writing() as connection:
            store = AccessStore(connection)
            before = store.members().get(team, ())
            if before == wanted:
                return
            store.set_members(team, wanted)
            told = {"members": list(wanted), "before": list(before), "by": by.name}
            self._journal.append_in(connection, [_event(TEAM_CHANGED, team, _unique(team), now, told)])
        self._known.clear()

    # --- housekeeping ---------------------------------------------------------------------------------------------

    def tend(self, now: int) -> None:
        """Write down what was used, and forget what is over: once a minute, and whenever somebody is looked up then.

        Raises:
            StoreError: It could not be written down.
        """
        if 0 <= now - self._noted_at < NOTED_EVERY_S:
            return
        with self._noting:
            token_uses, self._token_uses = self._token_uses, {}
            session_uses, self._session_uses = self._session_uses, {}
            self._noted_at = now
        self._known = {key: one for key, one in list(self._known.items()) if 0 <= now - one.checked_at <= FRESH_S}
        with self._database.writing() as connection:
            store = AccessStore(connection)
            store.note_token_uses(token_uses)
            store.note_session_uses(session_uses)
            store.prune(now, now - FAILURES_WITHIN_S)


def oidc_settings(read: Callable[[str], str]) -> OidcSettings | None:
    """Read how people log in from variables of the environment, the secret from a file where one is named.

    Raises:
        UsageError: A setting is missing or makes no sense.
    """
    from tightrope.access.oidc import settings_from

    file = read("TIGHTROPE_OIDC_CLIENT_SECRET_FILE")
    if not file:
        return settings_from(read)
    try:
        secret = Path(file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"the client's secret can't be read from {file}: {error}", remedy="mend TIGHTROPE_OIDC_CLIENT_SECRET_FILE"
        ) from None
    return settings_from(lambda name: secret if name == "TIGHTROPE_OIDC_CLIENT_SECRET" else read(name))


# --- for the command line: one question, one store ----------------------------------------------------------------


def make_token(
    where: str,
    name: str,
    role: Role,
    *,
    lasts_s: int | None,
    teams: Iterable[str] = (),
    services: Iterable[str] = (),
    only: Iterable[Permission] | None = None,
) -> Issued:
    """Make a token in a store, which is made where there is none; see `Access.create_token`."""
    now = present()
    with opened(where, create=True) as database:
        return Access(database).create_token(
            name,
            role,
            by=LOCAL,
            now=now,
            expires_at=None if lasts_s is None else now + lasts_s,
            teams=teams,
            services=services,
            only=only,
        )


def list_tokens(where: str) -> list[tuple[Token, str]]:
    """All tokens of a store, newest first, each with its standing as of now."""
    now = present()
    with opened(where) as database:
        return [(one, one.standing(now)) for one in Access(database).tokens(LOCAL)]


def revoke_token(where: str, which: str) -> Token:
    """Revoke a token of a store by its id or name; see `Access.revoke_token`."""
    with opened(where) as database:
        return Access(database).revoke_token(which, by=LOCAL, now=present())


def token_document(token: Token) -> dict[str, Any]:
    """A token as a document: all that is kept, and nothing of its secret."""
    return {
        "id": token.id,
        "name": token.name,
        "role": str(token.role),
        "teams": list(token.teams),
        "services": list(token.services),
        "only": None if token.only is None else [str(one) for one in token.only],
        "createdAt": time_text(token.created_at),
        "createdBy": token.created_by,
        "expiresAt": _when(token.expires_at),
        "lastUsedAt": _when(token.last_used_at),
        "revokedAt": _when(token.revoked_at),
    }


# --- pieces -------------------------------------------------------------------------------------------------------


def _token_text(authorization: str) -> str:
    scheme, _, rest = authorization.strip().partition(" ")
    rest = rest.strip()
    if scheme.lower() == "bearer":
        return rest
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(rest, validate=True).decode().partition(":")[2]
        except (binascii.Error, ValueError):
            raise UnauthorizedError("the Authorization header can't be read", remedy=_REMEDY) from None
    raise UnauthorizedError("the Authorization header is neither Bearer nor Basic", remedy=_REMEDY)


def _presented(store: AccessStore, text: str, now: int) -> Token:
    """The token whose text was shown, if it may be used."""
    parts = tokens.spelt(text)
    found = store.token(parts.id)
    # Where there is no such token, as much is computed: the time tells nothing about which ids there are.
    fits = tokens.fits(parts.secret, found[1] if found else "")
    if found is None or not fits:
        raise UnauthorizedError("the token is not known here", remedy=_REMEDY)
    found[0].must_stand(now)
    return found[0]


def _useful(role: Role, only: Iterable[Permission]) -> tuple[Permission, ...]:
    wanted = tuple(sorted(set(only)))
    for one in wanted:
        if role < NEEDS[one]:
            raise UsageError(f"the role {role} may not {one}", remedy=f"give the role {NEEDS[one]}")
    if not wanted:
        raise UsageError("the token could not be used for anything", remedy="name a permission, or leave them all")
    return wanted


def _named(text: str, what: str) -> str:
    name = text.strip()
    if not name or len(name) > 200 or not name.isprintable():
        raise UsageError(f"{what} is {text[:40]!r}", remedy="write 1 to 200 printable characters")
    return name


def _event(kind: str, subject: str, id_: str, now: int, data: Mapping[str, Any]) -> Event:
    return Event(id_, SOURCE, kind, subject, now, dict(data))


def _ended(session: Session, by: str, now: int) -> Event:
    told = {"session": session.hash[:16], "by": by}
    return _event(SESSION_ENDED, session.name, f"{session.hash[:32]}.ended", now, told)


def _unique(what: str) -> str:
    return f"{what}.{secrets.token_hex(8)}"


def _told(grant: PersonalGrant) -> str:
    return f"{grant.role}:own" if grant.own else str(grant.role)


def _when(instant: int | None) -> str | None:
    return None if instant is None else time_text(instant)
