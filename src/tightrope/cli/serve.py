"""``serve``: the server that watches, remembers, alerts and shows."""

from __future__ import annotations

from typing import Any

import click

from tightrope.cli.options import spec_paths
from tightrope.cli.output import say, warn

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


@click.command()
@click.option("-f", "--specs", "files", multiple=True, metavar="PATH", help="Specs to follow: files or directories.")
@click.option(
    "--data",
    default="tightrope-data",
    show_default=True,
    metavar="DIR",
    help="The store: a directory, or postgresql://user@host/database.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option("--port", default=8080, show_default=True, type=click.IntRange(0, 65535), help="The port; 0: any.")
@click.option("--base-url", default="", metavar="URL", help="How people reach it, for links in messages.")
@click.option(
    "--auth/--no-auth",
    "auth",
    default=None,
    help="Whether every request needs a token or a session. Default: only when listening beyond loopback.",
)
@click.option("--replay", is_flag=True, help="Move recorded telemetry in time, so that it ends about now.")
@click.option("--keep", metavar="DURATION", help="How long slices are kept, such as 400d. Default: for ever.")
@click.option("--incidents", metavar="CSV", help="Known incidents: start, end, service, severity, cause, id.")
@click.option("--deployments", metavar="CSV", help="Known deployments: time, service, environment, kind, change.")
@click.option("--amid", default="", metavar="ID", help="With --replay: let this one of the incidents be under way now.")
@click.option("--work", default="", metavar="DIR", help="Where logs of commands are kept. Default: in --data DIR.")
def serve(
    files: tuple[str, ...],
    data: str,
    host: str,
    port: int,
    base_url: str,
    auth: bool | None,
    replay: bool,
    keep: str | None,
    incidents: str | None,
    deployments: str | None,
    amid: str,
    work: str,
) -> None:
    """Watch, remember, alert and show: API, web page and loop in one process."""
    from tightrope.app import fresh_store, serving
    from tightrope.backtest.labels import read_deployments, read_incidents
    from tightrope.base.errors import UsageError
    from tightrope.base.units import parse_duration
    from tightrope.loop.server import ServeSettings

    required = host not in LOOPBACK if auth is None else auth
    if not required and host not in LOOPBACK:
        raise UsageError(
            f"without authentication nobody but this machine may ask, and {host} is more than that",
            remedy="leave out --no-auth, or listen on 127.0.0.1",
        )
    known = read_incidents(incidents) if incidents else ()
    told = read_deployments(deployments) if deployments else ()
    under_way = {one.service: one.start for one in known if amid and one.id == amid}
    if amid and not under_way:
        raise UsageError(f"there is no incident {amid!r}", remedy="--incidents names the file that lists it")
    listener = _listener(host, port)
    port = listener.getsockname()[1]
    address = base_url.rstrip("/") or f"http://{'localhost' if host in LOOPBACK else host}:{port}"
    settings = ServeSettings(host, port, address, required, replay, data, _paths(files))
    keep_s = None if keep is None else parse_duration(keep).seconds
    if replay:
        fresh_store(data)
    with serving(settings, data, incidents=known, deployments=told, keep_s=keep_s, work=work, amid=under_way) as server:
        places = "1 place" if len(settings.spec_paths) == 1 else f"{len(settings.spec_paths)} places"
        specs = f"follows the specs in {places}" if settings.spec_paths else "waits for `tightrope apply`"
        say(f"Tightrope {specs}, and keeps its store in {data}")
        say(f"open {address}")
        if replay:
            _ask_for_a_feature(server)
        if required:
            _tell_first_token(server, data)
        book = _logbook(server)
        try:
            _run(server, listener)
        finally:
            book.stop()


def _paths(files: tuple[str, ...]) -> tuple[str, ...]:
    """The paths to follow; none where there are none, since a server also takes what is applied."""
    try:
        return spec_paths(files)
    except click.UsageError:
        return ()


def _tell_first_token(server: Any, data: str) -> None:
    """Show the first admin's token, on a terminal only: a log is read by others."""
    import sys

    if not sys.stderr.isatty():
        warn(f"a first token: tightrope token create NAME --role admin --data {data}")
        return
    issued = server.access.first_admin(server.now())
    if issued is not None:
        warn(f"first token, for an admin, good for 24 h: {issued.text}")


def _logbook(server: Any) -> Any:
    """Tell on stderr what goes wrong and what is well again, for whoever runs the server."""
    from tightrope.loop.logbook import Logbook, troubles_of

    book = Logbook(lambda: troubles_of(server), server.now, lambda line: click.echo(line, err=True))
    book.start()
    return book


def _ask_for_a_feature(server: Any) -> None:
    """Ask the gate about one service in each state, in the background, so that there are decisions to look at."""
    import time
    from threading import Thread

    from tightrope.policy.decision import GateRequest

    def ask() -> None:
        for _ in range(60):
            if len(server.live.snapshot.assessments) == len(server.live.tracks) > 0:
                break
            time.sleep(0.5)
        seen = set()
        for one in list(server.live.snapshot.assessments.values()):
            if one.watched and one.history.final_state not in seen:
                seen.add(one.history.final_state)
                server.decide(GateRequest(one.slo.service, server.now(), title="a feature", asked_by="make run"))

    Thread(target=ask, daemon=True).start()


def _listener(host: str, port: int) -> Any:
    import socket

    from tightrope.base.errors import UsageError

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(2048)  # whoever comes before the server is up waits, and is not turned away
    except OSError as error:
        raise UsageError(
            f"{host}:{port} cannot be listened on: {error.strerror}",
            remedy="choose another --port, or end the program that listens there",
        ) from None
    return listener


def _run(server: Any, listener: Any) -> None:
    from tightrope.api.wire import serve as answer_requests

    answer_requests(front(server), listener)


def front(server: Any) -> Any:
    """All that the server answers: pages and the API, as one ASGI application."""
    from tightrope.api.application import api_app
    from tightrope.web.routes import web_routes

    app = api_app(server)
    app.router.routes.extend(web_routes(server))
    return app
