"""``pipeline``: start runs of pipelines and watch them; show, cancel, retry and settle them; hooks of repositories."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import Event, current_thread, main_thread
from typing import TYPE_CHECKING, Any, NoReturn, Protocol
from urllib.parse import quote

import click

from tightrope.base.errors import NotFoundError, TightropeError, UsageError
from tightrope.cli.options import chosen_server, data_option, output_option, server_option
from tightrope.cli.output import fitted, room_for_lines, say, structured, table, warn

if TYPE_CHECKING:
    from tightrope.cli.remote import Remote
    from tightrope.delivery.pipelines.usecases import Pipelines
    from tightrope.runs.usecases import Runs
    from tightrope.specs.model import Specs

Document = dict[str, Any]

_MARKS = {
    "succeeded": ("ok", "green"),
    "failed": ("x", "red"),
    "running": ("..", "blue"),
    "ready": ("..", "blue"),
    "waiting": ("", ""),
    "queued": ("..", ""),
    "skipped": ("-", ""),
    "cancelled": ("x", "yellow"),
    "unknown": ("?", "yellow"),
}
_LOOKS_EVERY_S, _ASKS_EVERY_S = 0.1, 1.0
_TAIL_LINES, _TAIL_BYTES = 12, 20_000
_PAUSED = 130

_work_option = click.option(
    "--work", default="", metavar="DIR", help="Where workspaces and logs are kept. Default: in --data DIR."
)
_verbose_option = click.option("-v", "--verbose", is_flag=True, help="Print what the steps write, as they write it.")
_wait_option = click.option("--wait", "hold", is_flag=True, help="Hold while the gate says wait; else end with 4.")


class Desk(Protocol):
    """Where pipelines are started and asked for: a server, or the store itself."""

    def run(self, number: str) -> Document:
        """One run."""

    def runs(self, wanted: Mapping[str, Any]) -> list[Document]:
        """The newest ones."""

    def log(self, number: str, step: str, attempt: int | None, offset: int) -> tuple[bytes, int, bool]:
        """A stretch of a log, where the next begins, and whether it is the last."""

    def cancel(self, number: str, reason: str) -> Document:
        """Bring a run to an end."""

    def retry(self, number: str, steps: Sequence[str]) -> Document:
        """Let it go on from what failed."""

    def settle(self, number: str, step: str, as_: str, reason: str) -> Document:
        """Say what became of a step."""

    def page(self, number: str) -> str:
        """The address of the page that shows a run; empty: there is none."""

    def work(self, number: str) -> None:
        """Carry a run out, if nobody else does."""

    def resume_with(self, number: int) -> str:
        """The command that goes on with a run; empty: a server does."""

    def retry_with(self, number: str) -> str:
        """The command that goes on from what failed in a run."""

    def settle_with(self, number: str, step: str) -> str:
        """The command that says what became of a step."""


@click.group()
def pipeline() -> None:
    """Carry a commit to production and back: start pipelines, watch them, go on after a failure.

    With --data they run on this machine, in this process; with --server on the server. docs/pipelines.md tells more.
    """


@pipeline.command("run")
@click.argument("name", required=False)
@click.option("-f", "--file", "file", metavar="FILE", help="The pipeline. Default: tightrope.yaml, without --server.")
@data_option(required=False)
@server_option
@_work_option
@output_option
@click.option("--specs", "spec_files", multiple=True, metavar="PATH", help="SLOs and policies that the gate rests on.")
@click.option("--revision", default="", help="Commit, branch or tag; what is checked out, if absent.")
@click.option("--as-is", is_flag=True, help="Take the folder as it stands, with what is not committed.")
@click.option("-i", "--input", "inputs", multiple=True, metavar="NAME=VALUE", help="What the pipeline asks for.")
@click.option("--key", default="", help="Started twice with one key, it runs once; the second goes on with the first.")
@click.option("--detach", is_flag=True, help="With --server: do not wait for the end.")
@_wait_option
@_verbose_option
def run_pipeline(
    name: str | None,
    file: str | None,
    data: str,
    server: str,
    work: str,
    form: str,
    spec_files: tuple[str, ...],
    revision: str,
    as_is: bool,
    inputs: tuple[str, ...],
    key: str,
    detach: bool,
    hold: bool,
    verbose: bool,
) -> None:
    """Start the pipeline NAME, and show how it does, a line for each stage.

    Exit 0 if it succeeds, 3 if the gate stops it, 4 if it waits (for the gate, or for somebody to settle a step), 6 if
    it fails or is cancelled. Ctrl-C pauses: what runs goes on, and `tightrope pipeline resume` goes on with the rest.
    """
    said = _inputs(inputs)
    asked = "" if data and not server else chosen_server(server, (file,) if file else (), as_is=as_is, specs=spec_files)
    if asked:
        if not name:
            raise click.UsageError("Which pipeline? Give its NAME.")
        from tightrope.cli.remote import Remote

        with Remote(asked) as remote:
            told = {"revision": revision, "inputs": said, "key": key}
            started = remote.post(f"/pipelines/{quote(name, safe='')}/runs", {k: v for k, v in told.items() if v})
            _end(_follow(_Distant(remote, asked), started, form, verbose=verbose, hold=hold, detach=detach))
    if not data:
        raise click.UsageError("Where does it run? Give --data DIR for this machine, or --server URL.")
    from dataclasses import replace

    from tightrope.app import load_specs, piping
    from tightrope.delivery.pipelines.usecases import one_pipeline, trigger_here, who
    from tightrope.specs.pipeline import FILE

    path = file or FILE
    specs = load_specs([path, *_with_specs(spec_files)])
    found = one_pipeline(
        [one for one in specs.pipelines if one.place.file.endswith(path)] or specs.pipelines, path, name or ""
    )
    for finding in specs.warnings:
        warn(f"warning[{finding.code}]: {finding.place}: {finding.message}")
    trigger, warning = trigger_here(
        found, by=who(), as_is=as_is, revision=revision, left_out="" if "://" in data else data
    )
    if warning:
        warn(f"warning: {warning}")
    with piping(data, _known(specs), work=work) as (pipelines, runs):
        made = pipelines.start(found, replace(trigger, inputs=said, key=key))
        desk = _AtHand(pipelines, runs, data, work, spec_files)
        code = _follow(desk, pipelines.document(made), form, verbose=verbose, hold=hold)
    _end(code)


@pipeline.command("resume")
@click.argument("run", metavar="RUN")
@data_option(required=True)
@_work_option
@output_option
@click.option("--specs", "spec_files", multiple=True, metavar="PATH", help="SLOs and policies that the gate rests on.")
@_wait_option
@_verbose_option
def resume(run: str, data: str, work: str, form: str, spec_files: tuple[str, ...], hold: bool, verbose: bool) -> None:
    """Go on with a RUN that was paused, or whose process was killed: what is done is not done again."""
    with _at_hand(data, work, spec_files) as desk:
        code = _follow(desk, desk.run(run), form, verbose=verbose, hold=hold)
    _end(code)


@pipeline.command("list")
@data_option(required=False)
@server_option
@_work_option
@output_option
@click.option("--pipeline", "name", default="", help="Only runs of this pipeline.")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 500), help="At most so many.")
def list_runs(data: str, server: str, work: str, form: str, name: str, limit: int) -> None:
    """List runs, the newest first."""
    with _desk(server, data, work) as desk:
        found = desk.runs({"pipeline": name, "limit": limit})
    if form != "table":
        structured(found, form)
        return
    if not found:
        say("No pipeline ran yet. `tightrope pipeline run -f tightrope.yaml --data DIR` starts one.")
    rows = [
        [
            str(one["number"]),
            _marked(one["state"])[1],
            one["pipeline"],
            one["version"][:12],
            _spent(one),
            one["by"],
            one["createdAt"],
            one["title"],
        ]
        for one in found
    ]
    for line in table(rows, right=(0,), header=["run", "", "pipeline", "version", "took", "by", "started", "title"]):
        say(line)


@pipeline.command("show")
@click.argument("run", metavar="RUN")
@data_option(required=False)
@server_option
@_work_option
@output_option
def show(run: str, data: str, server: str, work: str, form: str) -> None:
    """Show a RUN: its stages and steps, what they came to, artifacts with their digests."""
    with _desk(server, data, work) as desk:
        found = desk.run(run)
    if form != "table":
        structured(found, form)
        return
    say(found["summary"], bold=True)
    about = [f"{found['trigger']} by {found['by']}", found["repository"], found["version"][:12], found["title"]]
    say(f"  {' · '.join(one for one in about if one)}")
    say()
    rows = []
    for stage in found["stages"]:
        for step in stage["steps"]:
            times = f"attempt {step['attempt']}" if step["attempt"] > 1 else ""
            rows.append(
                [_marked(step["state"])[1], step["name"], _spent(step), " · ".join(filter(None, (times, _note(step))))]
            )
    for line in table(rows):
        say(f"  {line}")
    artifacts = [
        one for stage in found["stages"] for step in stage["steps"] for one in step["outcome"].get("artifacts", ())
    ]
    if artifacts:
        say()
        say("Artifacts", bold=True)
        for line in table(
            [[one["path"], _size(one["size"]), f"sha256:{one['digest']}"] for one in artifacts], right=(1,)
        ):
            say(f"  {line}")


@pipeline.command("logs")
@click.argument("run", metavar="RUN")
@click.argument("step", required=False)
@data_option(required=False)
@server_option
@_work_option
@click.option("--attempt", type=click.IntRange(1), help="Of this attempt; the newest, if absent.")
@click.option("--follow", "-f", "-F", "follow", is_flag=True, help="Go on until the step has ended.")
def logs(run: str, step: str | None, data: str, server: str, work: str, attempt: int | None, follow: bool) -> None:
    """Print what a STEP of a RUN wrote, just as it did; all steps one after the other, if none is named."""
    with _desk(server, data, work) as desk:
        found = desk.run(run)
        names = [one["name"] for stage in found["stages"] for one in stage["steps"]]
        if step is not None and step not in names:
            raise NotFoundError(f"run {run} has no step {step!r}", remedy=f"there are: {', '.join(names)}")
        for name in [step] if step is not None else names:
            offset, began = 0, step is not None
            while True:
                data_, following, ended = desk.log(run, name, attempt, offset)
                if data_ and not began:
                    say(f"--- {name}", dim=True)
                    began = True
                sys.stdout.buffer.write(data_)
                sys.stdout.buffer.flush()
                if following == offset and (ended or not follow):
                    break
                if following == offset:
                    time.sleep(_ASKS_EVERY_S / 2)
                offset = following


@pipeline.command("cancel")
@click.argument("run", metavar="RUN")
@data_option(required=False)
@server_option
@_work_option
@output_option
@click.option("--reason", default="", help="Why.")
def cancel(run: str, data: str, server: str, work: str, form: str, reason: str) -> None:
    """Bring a RUN to an end: what runs is stopped, what did not begin never does, except what always runs."""
    with _desk(server, data, work) as desk:
        found = desk.cancel(run, reason)
    structured(found, form) if form != "table" else say(found["summary"])


@pipeline.command("retry")
@click.argument("run", metavar="RUN")
@data_option(required=False)
@server_option
@_work_option
@output_option
@click.option("--step", "steps", multiple=True, help="Do this again, with all that needs it; what failed, if absent.")
@click.option("--specs", "spec_files", multiple=True, metavar="PATH", help="SLOs and policies that the gate rests on.")
@_wait_option
@_verbose_option
def retry(
    run: str,
    data: str,
    server: str,
    work: str,
    form: str,
    steps: tuple[str, ...],
    spec_files: tuple[str, ...],
    hold: bool,
    verbose: bool,
) -> None:
    """Let a RUN go on from what failed; what succeeded is not done again, unless it needs what is."""
    with _desk(server, data, work, spec_files) as desk:
        code = _follow(desk, desk.retry(run, steps), form, verbose=verbose, hold=hold)
    _end(code)


@pipeline.command("settle")
@click.argument("run", metavar="RUN")
@click.argument("step")
@click.argument("became", type=click.Choice(["succeeded", "failed", "again"]))
@data_option(required=False)
@server_option
@_work_option
@output_option
@click.option("--reason", required=True, help="How you know.")
def settle(run: str, step: str, became: str, data: str, server: str, work: str, form: str, reason: str) -> None:
    """Say what became of a STEP of a RUN whose outcome nobody knows; ``again`` does it once more."""
    with _desk(server, data, work) as desk:
        found = desk.settle(run, step, became, reason)
        line = desk.resume_with(found["number"])
    structured(found, form) if form != "table" else say(found["summary"])
    if line and found["state"] == "running":
        warn(f"next: {line}")


@pipeline.command("trigger")
@click.option("--repo", "repository", required=True, metavar="PATH", help="The repository that was pushed to.")
@data_option(required=False)
@server_option
@click.option("--file", "file", default="tightrope.yaml", show_default=True, help="The pipeline in the repository.")
@click.option("--by", default="", help="Who pushed; the user of this process, if absent.")
def trigger(repository: str, data: str, server: str, file: str, by: str) -> None:
    """Start what a push starts: reads lines of old commit, new commit and ref, as git gives them to post-receive.

    With --data the run is put into the store, for a server or worker there to carry out; with --server it is told of
    the push, and starts the pipelines that are applied there. It never fails the push.
    """
    from pathlib import Path

    from tightrope.delivery.pipelines.usecases import who

    where = str(Path(repository).resolve())
    lines = [line.split() for line in sys.stdin.read().splitlines()]
    pushes = [(one[0], one[1], one[2]) for one in lines if len(one) == 3]
    if not pushes:
        raise UsageError("there is no push on standard input", remedy="give lines of: OLD NEW REF")
    asked = "" if data and not server else chosen_server(server)
    if asked:
        from tightrope.cli.remote import Remote

        trouble: dict[str, str] = {}
        with Remote(asked) as remote:
            for before, after, ref in pushes:
                told = {"repository": where, "ref": ref, "before": before, "after": after, "by": by or who()}
                heard = remote.post("/pipelines/pushes", told)
                trouble |= heard["trouble"]
                for one in heard["items"]:
                    say(f"tightrope: run {one['number']} of {one['pipeline']} started")
                    say(f"tightrope: {asked.rstrip('/')}/delivery/runs/{one['number']}")
        for name, why in trouble.items():
            warn(f"tightrope: {name} was not started: {why}")
        return
    if not data:
        raise click.UsageError("Who carries it out? Give --data DIR or --server URL.")
    from tightrope.app import piping

    with piping(data, carry=False) as (pipelines, _):
        for before, after, ref in pushes:
            made = pipelines.received(where, ref, before, after, by=by or who(), file=file)
            if made is not None:
                say(f"tightrope: run {made.number} of {made.document['pipeline']} started")
        for name, why in pipelines.trouble.items():
            warn(f"tightrope: {name} was not started: {why}")


@pipeline.command("install-hook")
@click.argument("repository", metavar="REPO")
@data_option(required=False)
@server_option
@click.option("--force", is_flag=True, help="Write over a hook that is there.")
def install_hook(repository: str, data: str, server: str, force: bool) -> None:
    """Write the post-receive hook of the repository REPO, so that pushes start pipelines."""
    import shlex
    import shutil
    from pathlib import Path

    from tightrope.delivery.pipelines.usecases import written_hook

    if bool(data) == bool(server) and not server:
        raise click.UsageError("Who carries pipelines out? Give --data DIR or --server URL.")
    program = shutil.which("tightrope") or sys.argv[0]
    where = ["--server", server] if server else ["--data", data if "://" in data else str(Path(data).resolve())]
    words = [str(Path(program).resolve()), "pipeline", "trigger", "--repo", str(Path(repository).resolve()), *where]
    say(f"wrote {written_hook(repository, shlex.join(words), force=force)}")


@pipeline.command("validate")
@click.argument("file", default="tightrope.yaml")
@output_option
def validate(file: str, form: str) -> None:
    """Check the pipeline in FILE, and show the steps that it comes to."""
    from tightrope.app import examine_specs
    from tightrope.base.errors import SpecsInvalidError
    from tightrope.cli.output import findings
    from tightrope.delivery.pipelines.plan import Trigger, plan
    from tightrope.delivery.pipelines.usecases import one_pipeline

    specs, found = examine_specs([file])
    if specs is None:
        raise SpecsInvalidError(found)
    told = one_pipeline(specs.pipelines, file)
    defaults = {one.name: one.default or (one.choices[0] if one.choices else "?") for one in told.triggers.inputs}
    drawn = plan(told, Trigger("manual", "validate", inputs=defaults))
    if form != "table":
        steps = [
            {"name": one.name, "does": one.kind, "needs": list(one.needs), "if": str(one.when), "retries": one.retries}
            for one in drawn.steps
        ]
        structured({"pipeline": told.name, "version": told.version, "steps": steps}, form)
        return
    if found:
        findings(found, files=1)
    rows = [
        [one.name, one.kind, str(one.when) if one.when != "success" else "", ", ".join(one.needs)]
        for one in drawn.steps
    ]
    for line in table(rows, header=["step", "does", "if", "needs"]):
        say(line)


# --- desks -----------------------------------------------------------------------------------------------------------


class _Distant:
    """A server."""

    def __init__(self, remote: Remote, url: str) -> None:
        self._remote = remote
        self._url = url

    def run(self, number: str) -> Document:
        found: Document = self._remote.get(f"/runs/{quote(str(number), safe='')}")
        return found

    def runs(self, wanted: Mapping[str, Any]) -> list[Document]:
        found: list[Document] = self._remote.get("/runs", **{key: value for key, value in wanted.items() if value})[
            "items"
        ]
        return found

    def log(self, number: str, step: str, attempt: int | None, offset: int) -> tuple[bytes, int, bool]:
        wanted = {"step": step, "offset": offset} | ({"attempt": attempt} if attempt else {})
        reply = self._remote.plain(f"/runs/{quote(str(number), safe='')}/logs", **wanted)
        ended = reply.headers.get("x-log-ended") == "true"
        return reply.body, int(reply.headers.get("x-next-offset", offset + len(reply.body))), ended

    def cancel(self, number: str, reason: str) -> Document:
        found: Document = self._remote.post(f"/runs/{quote(str(number), safe='')}/cancel", {"reason": reason})
        return found

    def retry(self, number: str, steps: Sequence[str]) -> Document:
        found: Document = self._remote.post(f"/runs/{quote(str(number), safe='')}/retry", {"steps": list(steps)})
        return found

    def settle(self, number: str, step: str, as_: str, reason: str) -> Document:
        told = {"step": step, "as": as_, "reason": reason}
        found: Document = self._remote.post(f"/runs/{quote(str(number), safe='')}/settle", told)
        return found

    def page(self, number: str) -> str:
        return f"{self._url.rstrip('/')}/delivery/runs/{number}"

    def work(self, number: str) -> None:
        """The server does."""

    def resume_with(self, number: int) -> str:
        return ""

    def retry_with(self, number: str) -> str:
        import shlex

        return shlex.join(["tightrope", "pipeline", "retry", number, "--server", self._url])

    def settle_with(self, number: str, step: str) -> str:
        return _settle_with(number, step, "--server", self._url)


class _AtHand:
    """The store itself; runs are carried out in this process while it looks at them."""

    def __init__(
        self, pipelines: Pipelines, runs: Runs, data: str, work: str = "", spec_files: Sequence[str] = ()
    ) -> None:
        self._pipelines = pipelines
        self._runs = runs
        self._data, self._work, self._spec_files = data, work, spec_files

    def run(self, number: str) -> Document:
        return self._pipelines.document(self._pipelines.show(number))

    def runs(self, wanted: Mapping[str, Any]) -> list[Document]:
        return [self._pipelines.document(one) for one in self._pipelines.recent(**wanted)]

    def log(self, number: str, step: str, attempt: int | None, offset: int) -> tuple[bytes, int, bool]:
        part = self._pipelines.logs(number, step, attempt=attempt, offset=offset)
        return part.data, part.next_offset, part.ended

    def cancel(self, number: str, reason: str) -> Document:
        from tightrope.delivery.pipelines.usecases import who

        run = self._pipelines.cancel(number, by=who(), reason=reason)
        if not run.state.over:
            self._begin()
            while not (run := self._pipelines.show(number)).state.over and run.state != "unknown":
                time.sleep(_LOOKS_EVERY_S)
        return self._pipelines.document(run)

    def retry(self, number: str, steps: Sequence[str]) -> Document:
        from tightrope.delivery.pipelines.usecases import who

        return self._pipelines.document(self._pipelines.retry(number, by=who(), steps=steps))

    def settle(self, number: str, step: str, as_: str, reason: str) -> Document:
        from tightrope.delivery.pipelines.usecases import who

        return self._pipelines.document(self._pipelines.settle(number, step, as_, by=who(), reason=reason))

    def page(self, number: str) -> str:
        return ""

    def work(self, number: str) -> None:
        self._pipelines.must_carry(self._pipelines.show(number))
        self._begin()

    def _begin(self) -> None:
        self._pipelines.catch_up()
        self._runs.start_working()

    def resume_with(self, number: int) -> str:
        import shlex

        words = ["tightrope", "pipeline", "resume", str(number), "--data", self._data]
        words += ["--work", self._work] if self._work else []
        words += [word for path in self._spec_files for word in ("--specs", path)]
        return shlex.join(words)

    def retry_with(self, number: str) -> str:
        return self.resume_with(int(number)).replace(" resume ", " retry ", 1)

    def settle_with(self, number: str, step: str) -> str:
        return _settle_with(number, step, "--data", self._data)


def _settle_with(number: str, step: str, *where: str) -> str:
    import shlex

    named = shlex.join(["tightrope", "pipeline", "settle", number, step])
    return f"{named} succeeded|failed|again --reason '...' {shlex.join(where)}"


@contextmanager
def _at_hand(data: str, work: str, spec_files: Sequence[str] = ()) -> Iterator[_AtHand]:
    from tightrope.app import load_specs, piping

    paths = _with_specs(spec_files)
    specs = load_specs(paths) if paths else None
    with piping(data, _known(specs), work=work, create=False) as (pipelines, runs):
        yield _AtHand(pipelines, runs, data, work, spec_files)


@contextmanager
def _desk(server: str, data: str, work: str, spec_files: Sequence[str] = ()) -> Iterator[Desk]:
    asked = server if server or data else chosen_server(server)
    if asked and not (data and not server):
        from tightrope.cli.remote import Remote

        with Remote(asked) as remote:
            yield _Distant(remote, asked)
        return
    if not data:
        raise click.UsageError("Where are the runs? Give --data DIR or --server URL.")
    with _at_hand(data, work, spec_files) as desk:
        yield desk


def _known(specs: Specs | None) -> Specs | None:
    """Specs that a gate can rest on; those of a pipeline alone are none."""
    return specs if specs is not None and (specs.slos or specs.services) else None


def _with_specs(files: Sequence[str]) -> list[str]:
    """What ``--specs`` gave, or the directories where specs usually are."""
    from pathlib import Path

    return list(files) or [name for name in ("slo", "tightrope") if Path(name).is_dir()]


def _inputs(given: Sequence[str]) -> dict[str, str]:
    found = {}
    for one in given:
        name, equals, value = one.partition("=")
        if not equals or not name:
            raise UsageError(f"{one!r} is no input", remedy="write --input NAME=VALUE")
        found[name] = value
    return found


# --- watching --------------------------------------------------------------------------------------------------------


def _end(code: int) -> NoReturn:
    raise click.exceptions.Exit(code)


@contextmanager
def _interruption() -> Iterator[Event]:
    """Hear of Ctrl-C between two looks: in the middle of a library's work it can get lost."""
    heard = Event()
    if current_thread() is not main_thread():
        yield heard
        return
    before = signal.signal(signal.SIGINT, lambda *_: heard.set())
    try:
        yield heard
    finally:
        signal.signal(signal.SIGINT, before)


def _follow(
    desk: Desk, begun: Document, form: str, *, verbose: bool = False, hold: bool = False, detach: bool = False
) -> int:
    """Show how a run does until it is over; the code to end with."""
    from tightrope.delivery.pipelines.documents import exit_code

    number, every_s = str(begun["number"]), _ASKS_EVERY_S if isinstance(desk, _Distant) else _LOOKS_EVERY_S
    told = begun
    if page := desk.page(number):
        warn(f"open {page}")
    if detach:
        structured(told, form) if form != "table" else say(told["summary"])
        return 0
    lines = _Lines(desk, number, verbose=verbose) if form == "table" else None
    try:
        with _interruption() as interrupted:
            desk.work(number)
            while True:
                told = desk.run(number)
                code = exit_code(told)
                if lines is not None:
                    lines.draw(told)
                if code is not None:
                    break
                waiting = next((one for one in _steps(told) if one["waits"] and one["state"] == "running"), None)
                if waiting is not None and not hold:
                    code = 4
                    break
                if interrupted.wait(every_s):
                    raise KeyboardInterrupt
    except KeyboardInterrupt:
        if lines is not None:
            lines.leave()
        line = desk.resume_with(int(number))
        warn(f"paused: commands that run go on. Next: {line}" if line else f"run {number} goes on at the server")
        return _PAUSED
    if lines is not None:
        lines.leave(told)
        _conclude(desk, told, number)
    else:
        structured(told, form)
    return code


def _conclude(desk: Desk, told: Document, number: str) -> None:
    """The last lines: what it came to, and what to do next."""
    waiting = next((one for one in _steps(told) if one["waits"] and one["state"] == "running"), None)
    if waiting is not None:
        say(f"    WAIT  {waiting['why']}")
    line = desk.resume_with(int(number))
    match told["state"]:
        case "succeeded":
            say(f"    {told['pipeline']} #{number} succeeded in {_spent(told)}")
        case "unknown":
            lost = next(one for one in _steps(told) if one["state"] == "unknown")
            say(f"    nobody knows what became of {lost['name']}: {lost['why']}")
            warn(f"next: {desk.settle_with(number, lost['name'])}")
        case "running" | "queued" if line:
            warn(f"next: {line}")
        case "failed" | "cancelled":
            say(f"    {told['summary']}")
            warn(f"next: {desk.retry_with(number)}")


class _Lines:
    """A line for each stage: drawn anew on a terminal, written once it is over elsewhere."""

    def __init__(self, desk: Desk, number: str, *, verbose: bool) -> None:
        self._desk = desk
        self._number = number
        self._verbose = verbose
        self._redraws = sys.stdout.isatty() and not verbose
        self._drawn = 0
        self._done: set[tuple[str, int, int]] = set()
        self._offsets: dict[tuple[str, int], int] = {}
        self._waits: set[str] = set()

    def draw(self, told: Document) -> None:
        """Show where it is."""
        if self._verbose:
            self._follow_logs(told)
        if told["state"] == "queued":
            self._waits_for(told["summary"])
        if self._redraws:
            self._erase()
            shown = [_line(stage) for stage in told["stages"] if _is_shown(stage)]
            for line in shown:
                say(line)
            self._drawn = len(shown)
            return
        for step in _steps(told):
            if step["state"] == "running" and step["why"].startswith("waits"):
                self._waits_for(f"{step['name']} {step['why']}")
        for stage in told["stages"]:
            back = [
                one for one in stage["steps"] if one["does"] == "rollback" and _ended(one) and one["state"] != "skipped"
            ]
            mark = (stage["name"], max((one["attempt"] for one in stage["steps"]), default=1), len(back))
            if stage["state"] in {"succeeded", "failed", "cancelled", "unknown"} and mark not in self._done:
                self._done.add(mark)
                say(_line(stage))
                self._tail(stage)

    def _waits_for(self, what: str) -> None:
        """Say once what keeps it, where nothing else would for a long time."""
        if what not in self._waits:
            self._waits.add(what)
            warn(what)

    def leave(self, told: Document | None = None) -> None:
        """Draw no more; on a terminal the ends of logs of what failed come last."""
        if self._redraws and told is not None:
            for stage in told["stages"]:
                self._tail(stage)

    def _erase(self) -> None:
        if self._drawn:
            sys.stdout.write(f"\x1b[{self._drawn}A\x1b[J")

    def _tail(self, stage: Document) -> None:
        """The last lines of what a failed step wrote."""
        if self._verbose:
            return
        for step in stage["steps"]:
            if step["state"] not in {"failed", "unknown"} or step["optional"]:
                continue
            written = int(step["outcome"].get("logBytes", 0))
            try:
                data, _, _ = self._desk.log(self._number, step["name"], None, max(0, written - _TAIL_BYTES))
            except TightropeError:
                continue
            for line in _printable(data).splitlines()[-_TAIL_LINES:]:
                say(f"    | {line[: max(20, room_for_lines() - 6)]}", dim=True)

    def _follow_logs(self, told: Document) -> None:
        for step in _steps(told):
            if step["startedAt"] is None:
                continue
            mark = (step["name"], step["attempt"])
            while True:
                offset = self._offsets.get(mark, 0)
                try:
                    data, following, _ = self._desk.log(self._number, step["name"], step["attempt"], offset)
                except TightropeError:
                    break
                whole = data if step["finishedAt"] else data[: data.rfind(b"\n") + 1]
                if not whole:
                    break
                self._offsets[mark] = following - (len(data) - len(whole))
                for line in _printable(whole).splitlines():
                    say(f"{step['name']} | {line}")


def _ended(step: Document) -> bool:
    return step["state"] not in {"waiting", "ready", "running"}


def _is_shown(stage: Document) -> bool:
    return bool(stage["state"] not in {"waiting", "skipped"} and stage["steps"])


def _line(stage: Document) -> str:
    mark, painted = _marked(stage["state"])
    pad = " " * (2 - len(mark))
    notes = [note for step in stage["steps"] if (note := _note(step, brief=step["name"] != stage["name"]))]
    return fitted(f"{painted}{pad}  {stage['name']:<12} {_spent(stage):>7}   {'; '.join(notes[:3])}".rstrip())


def _note(step: Document, *, brief: bool = False) -> str:
    """What there is to say of a step."""
    outcome, name = step["outcome"], step["name"].rpartition("/")[2]
    before = f"{name}: " if brief else ""
    if outcome.get("verdict"):
        how = "" if outcome["verdict"] != "go" else "EXEMPT, " if outcome.get("exempt") else "GO, "
        return f"{how}{outcome['ship']} {outcome['decision']}" if how else str(step["why"])
    if step["state"] in {"failed", "unknown", "cancelled"}:
        said = f"{before}{step['why'] or step['state']}"
        return f"{said} (may fail)" if step["optional"] else said
    if step["state"] in {"running", "ready"}:
        return f"{before}{step['why']}" if step["why"] and step["why"] != "running" else name if brief else ""
    if step["does"] == "rollback" and step["state"] == "succeeded":
        return "rolled back"
    if outcome.get("already"):
        return f"{before}was there already"
    if outcome.get("artifacts"):
        count, size = len(outcome["artifacts"]), sum(one["size"] for one in outcome["artifacts"])
        return f"{before}{count} artifact{'s' if count != 1 else ''}, {_size(size)}"
    if outcome.get("cache", {}).get("hit"):
        return f"{before}from cache"
    return ""


def _marked(state: str) -> tuple[str, str]:
    mark, colour = _MARKS.get(state, ("", ""))
    return mark, click.style(mark, fg=colour) if colour else mark


def _spent(one: Mapping[str, Any]) -> str:
    """How long it took, or takes."""
    from tightrope.app import now
    from tightrope.base.units import parse_time

    if not one["startedAt"]:
        return ""
    until = parse_time(one["finishedAt"]) if one["finishedAt"] else now()
    seconds = max(0, until - parse_time(one["startedAt"]))
    return f"{seconds}s" if seconds < 60 else f"{seconds // 60}m{seconds % 60:02}s"


def _steps(told: Document) -> Iterator[Document]:
    for stage in told["stages"]:
        yield from stage["steps"]


def _size(size: int) -> str:
    for unit, bytes_ in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= bytes_:
            return f"{size / bytes_:.3g} {unit}"
    return f"{size} B"


def _printable(data: bytes) -> str:
    """A log as a terminal may have it: what is no text shows as marks, and no control sequence gets through."""
    text = data.decode("utf-8", "replace")
    return "".join(sign if sign in "\n\t" or sign.isprintable() else "·" for sign in text)
