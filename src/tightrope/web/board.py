"""The board: how every service stands after the last turn, kept from page to page and told anew where it changed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from threading import Lock

from tightrope.base.errors import NotFoundError
from tightrope.base.units import HOUR_S, MINUTE_S
from tightrope.budget.words import Standing
from tightrope.loop.assess import Assessment
from tightrope.loop.forecasting import forecast_of
from tightrope.loop.server import Server
from tightrope.loop.snapshot import Snapshot
from tightrope.loop.standing import by_service, standing_of, tightest
from tightrope.policy.decision import Forecast
from tightrope.web.fleet import urgency
from tightrope.web.pictures import ledger_of
from tightrope.web.plots import spark_of
from tightrope.web.sections import Line, line_of

_RECENT_S = 6 * HOUR_S
_FORESEEN_S, _AT_LAST_S, _MOST_ANEW = MINUTE_S, 15 * MINUTE_S, 6
"""A forecast holds for a minute; of older ones so many are made anew for one board, and all after the longer time."""

_MOST_SPARKS = 40
_FRESH_S, _PATIENCE_S = 30, 0.1
"""A board that is not older is shown while a newer one is drawn up, if that takes longer than the shorter time."""


@dataclass(frozen=True, slots=True)
class Post:
    """One service on the board: its line, how it stands, the objective that decides, and whether somebody is called."""

    line: Line
    standing: Standing
    worst: Assessment
    spark: str = ""
    pages: bool = False

    @property
    def needs_attention(self) -> bool:
        """Whether it is not simply fine."""
        return self.pages or self.line.letter != "ok"


@dataclass(frozen=True, slots=True)
class Board:
    """How the fleet stands.

    Attributes:
        snapshot: What it was drawn up from.
        now: The instant it is told for, UTC epoch seconds.
        drawn_at: When it was drawn up.
        posts: The services, those that need attention first.
        groups: All objectives, by service.
        newest: The end of the newest slice that was measured anywhere; None: nothing was.
        firing: Alerts that are out, one an objective: (worst severity, conditions, objective).
    """

    snapshot: Snapshot
    now: int
    drawn_at: int
    posts: tuple[Post, ...]
    groups: dict[str, list[Assessment]]
    newest: int | None
    firing: tuple[tuple[str, tuple[str, ...], Assessment], ...]

    @property
    def attention(self) -> tuple[Post, ...]:
        """The services that are not simply fine."""
        return tuple(one for one in self.posts if one.needs_attention)

    @property
    def age_s(self) -> int | None:
        """Age of the newest telemetry."""
        return None if self.newest is None else max(0, self.now - self.newest)

    @property
    def stale(self) -> bool:
        """Whether the newest telemetry of all is older than two evaluations of the quickest objective."""
        steps = [one.plan.step_s for group in self.groups.values() for one in group]
        return bool(steps) and (self.age_s is None or self.age_s > 2 * min(steps) + MINUTE_S)

    def post(self, service: str) -> Post:
        """One service; raises `NotFoundError`."""
        for one in self.posts:
            if one.line.service == service:
                return one
        raise NotFoundError(f"there is no service named {service!r}", remedy="the overview lists all there are")

    def only(self, services: frozenset[str] | None) -> Board:
        """What somebody sees who may see these services only; None: all."""
        if services is None:
            return self
        groups = {name: group for name, group in self.groups.items() if name in services}
        return replace(
            self,
            posts=tuple(one for one in self.posts if one.line.service in services),
            groups=groups,
            newest=_newest(groups.values()),
            firing=tuple(one for one in self.firing if one[2].slo.service in services),
        )


@dataclass(frozen=True, slots=True)
class _Foreseen:
    """A forecast of one objective, with the state that it was made in, and when."""

    of: str
    state: int
    at: int
    forecast: Forecast | None


@dataclass(frozen=True, slots=True)
class _Kept:
    """A post with the assessment and the minute that it was made for."""

    of: Assessment
    others: int
    minute: int | None
    post: Post


class Boards:
    """Hands out the present board. Any number of threads may ask at once; a board is drawn up once a turn, by one."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._lock = Lock()
        self._drawer = ThreadPoolExecutor(1, "board")
        self._drawing: Future[Board] | None = None
        self._board: Board | None = None
        self._kept: dict[str, _Kept] = {}
        self._foreseen: dict[str, _Foreseen] = {}
        self._anew = 0

    def present(self) -> Board:
        """The board of the last turn; of a large fleet perhaps one a little older, while a newer one is drawn up.

        Raises:
            TightropeError: It could not be drawn up.
        """
        now = self._server.now()
        board = self._board
        if board is None or not self._current(board, now):
            board = self._renewed(board, now)
        return board if board.now == now else replace(board, now=now)

    def behind(self, board: Board) -> bool:
        """Whether the loop has turned since a board was drawn up."""
        return board.snapshot is not self._server.live.snapshot

    def _current(self, board: Board, now: int) -> bool:
        return board.snapshot is self._server.live.snapshot and now // MINUTE_S == board.drawn_at // MINUTE_S

    def _renewed(self, board: Board | None, now: int) -> Board:
        with self._lock:
            if self._drawing is None or self._drawing.done():
                self._drawing = self._drawer.submit(self._draw)
            drawing = self._drawing
        if board is None or not self._will_do(board, now):
            return drawing.result()
        try:
            return drawing.result(_PATIENCE_S)
        except TimeoutError:
            return board

    def _will_do(self, board: Board, now: int) -> bool:
        """Whether an older board is good enough while a newer one is drawn up: of the same services, and just now."""
        same = board.snapshot.specs is self._server.live.snapshot.specs
        return bool(board.posts) and same and 0 <= now - board.drawn_at < _FRESH_S

    def _draw(self) -> Board:
        self._board = self._drawn_up(self._server.live.snapshot, self._server.now())
        return self._board

    def _drawn_up(self, snapshot: Snapshot, now: int) -> Board:
        groups = by_service(list(snapshot.assessments.values()))
        kept: dict[str, _Kept] = {}
        self._anew = 0
        for service, group in groups.items():
            worst, others = tightest(group), sum(one.watched for one in group) - 1
            before = self._kept.get(service)
            if (
                before is None
                or before.of is not worst
                or before.others != others
                or before.minute
                not in (
                    None,
                    now // MINUTE_S,
                )
            ):
                before = self._told(worst, others, now)
            if before.post.pages != _pages(group):
                before = replace(before, post=replace(before.post, pages=not before.post.pages))
            kept[service] = before
        posts = sorted((one.post for one in kept.values()), key=lambda one: (not one.pages, urgency(one.line)))
        for number, post in enumerate(posts[:_MOST_SPARKS]):
            if not post.spark and (post.needs_attention or number < _MOST_SPARKS // 2):
                posts[number] = replace(post, spark=spark_of(post.worst, ledger_of(post.worst)))
                service = post.line.service
                kept[service] = replace(kept[service], post=posts[number])
        self._kept = kept
        return Board(snapshot, now, now, tuple(posts), groups, _newest(groups.values()), _firing(groups.values()))

    def _told(self, worst: Assessment, others: int, now: int) -> _Kept:
        standing = standing_of(worst, now, foresee=lambda one: self._forecast(one, now))
        line = line_of(worst, standing, "", others, now)
        passing = standing.stale or standing.coming is not None
        return _Kept(worst, others, now // MINUTE_S if passing else None, Post(line, standing, worst))

    def _forecast(self, one: Assessment, now: int) -> Forecast | None:
        """As `foreseen`; what was foreseen a little while ago in the same state still holds."""
        state, before = one.history.memory.policy.state, self._foreseen.get(one.slo.service)
        if before is not None and before.of == one.title and before.state == state:
            age = now - before.at
            if age < _FORESEEN_S or (age < _AT_LAST_S and self._anew >= _MOST_ANEW):
                return before.forecast
        forecast = foreseen(one)
        if forecast is not None:
            self._anew += 1
            self._foreseen[one.slo.service] = _Foreseen(one.title, state, now, forecast)
        else:
            self._foreseen.pop(one.slo.service, None)
        return forecast


def foreseen(one: Assessment) -> Forecast | None:
    """As `forecast_of`, without a look at the record where that would tell nothing: free, and nothing burns."""
    if not one.history.memory.policy.state and one.plan.step_s <= _RECENT_S:
        rate = next((burn.rate for burn in one.statement.burns if burn.lookback_s == _RECENT_S), None)
        if rate is not None and rate <= 1:
            return None
    return forecast_of(one)


def _newest(groups: Iterable[Sequence[Assessment]]) -> int | None:
    known = [
        one.statement.last_known
        for group in groups
        for one in group
        if one.statement.last_known is not None and one.history.memory.history_start is not None
    ]
    return max(known, default=None)


def _firing(groups: Iterable[Sequence[Assessment]]) -> tuple[tuple[str, tuple[str, ...], Assessment], ...]:
    found = [
        (worst_of([each.severity for each in one.firing]), tuple(each.name for each in one.firing), one)
        for group in groups
        for one in group
        if one.watched and one.firing
    ]
    return tuple(sorted(found, key=lambda each: (each[0] != "page", each[2].slo.service, each[1])))


def _pages(group: Sequence[Assessment]) -> bool:
    """Whether somebody is called for a service just now: that goes before every budget."""
    return any(one.watched and any(each.severity == "page" for each in one.firing) for one in group)


def worst_of(severities: Sequence[str]) -> str:
    """The severity of an alert whose conditions have these: a page goes before everything."""
    return "page" if "page" in severities else severities[0]
