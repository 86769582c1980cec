"""Pipelines started by people, pushes and schedules, carried out, shown, cancelled and retried.

The run of a pipeline is a run of steps like any other (see `tightrope.runs`); here its steps learn what they need: the
workspace, secrets, caches and artifacts of commands, the gate, the SLOs to watch, and who hears of deployments.
"""

from __future__ import annotations

import os
import pwd
import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from tightrope.base.clock import now as clock_now
from tightrope.base.errors import (
    ConflictError,
    DataError,
    NotFoundError,
    SpecsInvalidError,
    TightropeError,
    UsageError,
)
from tightrope.base.settings import environment as variable
from tightrope.base.values import dataclass
from tightrope.delivery.changes import Deployment, Recorded, deployment_id, kind_of_commits
from tightrope.delivery.executors import checkouts
from tightrope.delivery.executors.git import Repository
from tightrope.delivery.mapping import repository_name
from tightrope.delivery.pipelines.actions import (
    AskGate,
    ChangeTold,
    CheckoutAction,
    DeployAction,
    GateAction,
    RollbackAction,
    StepAction,
    WatchAction,
    secret_values,
)
from tightrope.delivery.pipelines.documents import run_document
from tightrope.delivery.pipelines.plan import (
    CHECKOUT,
    COMMAND,
    DEPLOY,
    GATE,
    KIND,
    MAIN,
    PROMOTE,
    ROLLBACK,
    VERIFY,
    WATCH,
    Push,
    Trigger,
    command_of,
    plan,
    variables,
    wants,
)
from tightrope.delivery.pipelines.pushes import push_of
from tightrope.delivery.pipelines.store import Shelves
from tightrope.delivery.pipelines.telling import FROM, SOURCE, action_of, done_again, events_of, report_of, title_of
from tightrope.delivery.pipelines.watching import WatchSlos
from tightrope.delivery.usecases import Deliveries
from tightrope.runs.commands import MEBIBYTE, Command, Ended, Limits, LogPart
from tightrope.runs.executors import Executor
from tightrope.runs.steps import Change, Document, Effects, Run, RunState, Step, StepState
from tightrope.runs.usecases import Runs, run_id
from tightrope.specs.cron import parse_cron
from tightrope.specs.model import ChangeKind, IntegrationType
from tightrope.specs.pipeline import FILE, Pipeline, SecretRef
from tightrope.specs.store import Written, survey
from tightrope.state.journal import Event

EVERY_S = 20
"""How often schedules are looked at."""

KEPT_WORKSPACES = 20
"""The workspaces of so many of the newest runs are kept, and those of all that are not over."""

_MOST_SECRET_BYTES = 64 * 1024
_CAUGHT_UP = 50
_TAKES = {"container": "it takes docker or podman on the PATH", "kubernetes": "it takes kubectl on the PATH"}
_CHECKOUT = """\
set -e
rm -rf main main.half
if [ -n "$REPOSITORY" ]; then
  git clone --quiet --no-checkout -- "$REPOSITORY" main.half
  cd main.half
  if ! git cat-file -e "$REVISION^{commit}" 2>/dev/null; then
    git fetch --quiet origin "$REVISION"
  fi
  git -c advice.detachedHead=false checkout --quiet --detach "$REVISION" --
  echo "checked out $(git log -1 --format='%h %s')"
  cd ..
else
  mkdir main.half
  (cd "$FOLDER" && tar -c --exclude="$LEFT_OUT" --exclude=./.git -f - .) | tar -x -C main.half -f -
  echo "took $FOLDER as it stands"
fi
mv main.half main
"""


@dataclass(frozen=True, slots=True)
class Shown:
    """The newest run of a pipeline, beside the pipeline; None: it never ran."""

    pipeline: Pipeline
    run: Run | None


class Workbench:
    """What commands of a pipeline need around them: their folder, variables, secrets, caches; and what they leave.

    Args:
        shelves: Where workspaces, caches and artifacts are.
        secret: Reads a variable that a secret is in.
        left_out: A folder that is never part of a workspace.
    """

    def __init__(self, shelves: Shelves, secret: Callable[[str], str] = variable, left_out: str = "") -> None:
        self.shelves = shelves
        self._secret = secret
        self._left_out = left_out

    def here(self, run: str) -> bool:
        """Whether the workspace of a run is on this machine."""
        return self.shelves.has(run, MAIN)

    def checkout(self, step: Step, _effects: Effects) -> Command:
        """The command that brings the commit, or a folder as it stands, into the workspace."""
        repository, folder = str(step.document["repository"]), str(step.document["folder"])
        source = repository or folder
        if not (repository and checkouts.is_address(repository)) and not Path(source).is_dir():
            raise NotFoundError(f"the repository {source} is not there any more")
        room = self.shelves.room(step.run)
        inside = os.path.relpath(self._left_out, folder) if folder and self._left_out else "../"
        told = {
            "REPOSITORY": repository,
            "REVISION": str(step.document["revision"]),
            "FOLDER": folder,
            "LEFT_OUT": f"./{inside}" if not inside.startswith("..") else "./.tightrope-nothing",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "core.hooksPath",
            "GIT_CONFIG_VALUE_0": "/dev/null",
        }
        agent = variable("SSH_AUTH_SOCK")
        told |= _plain() | ({"SSH_AUTH_SOCK": agent} if agent else {})
        return Command(("/bin/sh", "-c", _CHECKOUT), str(room), told)

    def checked_out(self, step: Step, _effects: Effects, ended: Ended) -> Document:
        """The title of the commit that is in the workspace now, for who started the run may not have known it."""
        if not ended.ok or not step.document["repository"] or not self.here(step.run):
            return {}
        try:
            there = str(self.shelves.workspace(step.run, MAIN, MAIN))
            title = checkouts.resolve(there, str(step.document["revision"]))[1]
        except TightropeError:
            return {}
        return {"title": title[:500]} if title else {}

    def prepared(self, step: Step, effects: Effects, argv: Sequence[str]) -> Command:
        """A command of a step, with all that is around it.

        Raises:
            NotFoundError: A secret, or the folder, is not there. UsageError: The folder leads out of the workspace.
        """
        run, document = effects.run, step.document
        workspace = self._workspace(run, document).resolve()
        folder = (self._base(run, document) / str(document.get("folder", ""))).resolve()
        if not folder.is_dir():
            raise NotFoundError(f"there is no folder {document.get('folder')!r} in the workspace")
        if not folder.is_relative_to(workspace):
            raise UsageError(f"the folder {document.get('folder')!r} leads out of the workspace")
        where: Mapping[str, str] = document.get("executor", {})
        mounted_at = Path(where.get("mountPath") or self.shelves.folder.parent).resolve()
        if where.get("claim") and not workspace.is_relative_to(mounted_at):
            raise UsageError(
                f"the workspace {workspace} is not on the volume that is mounted at {mounted_at}",
                remedy="run the server with --work on it, or say as `mountPath` where the server has it mounted",
            )
        limits: Mapping[str, int] = document.get("limits", {})
        bounds = Limits(
            cpu_s=limits.get("cpu_s"),
            memory_bytes=_mebibytes(limits.get("memory_mib")),
            file_bytes=_mebibytes(limits.get("file_mib")),
            processes=limits.get("processes"),
        )
        log_bytes = _mebibytes(limits.get("log_mib"))
        return Command(
            argv=tuple(argv),
            folder=str(folder),
            # a container has its own PATH and HOME
            environment=({} if where else _plain())
            | variables(document, run.document, run.number, step.name, step.attempt),
            secrets=secret_values(document.get("secrets", {}), self._secret, _secret_file),
            grace_s=int(document.get("grace_s", 10)),
            limits=bounds if log_bytes is None else replace(bounds, log_bytes=log_bytes),
            image=where.get("image", ""),
            workspace=str(workspace),
            claim=where.get("claim", ""),
            mounted_at=str(mounted_at),
        )

    def command(self, step: Step, effects: Effects) -> Command:
        """The step's own command; its cache is brought in before."""
        command = self.prepared(step, effects, command_of(step.document))
        cache = step.document.get("cache")
        if cache and self.shelves.mark(step.run, step.key) is None:
            base = self._base(effects.run, step.document)
            salt = [str(effects.run.document.get("pipeline")), *cache["paths"], command.image]
            key = self.shelves.cache_key(base, cache["key"], salt)
            self.shelves.mark(step.run, step.key, {"key": key, "hit": self.shelves.restore(key, base)})
        return command

    def finished(self, step: Step, effects: Effects, ended: Ended) -> Document:
        """Keep what a command left behind: the cache if it is a new one, and the artifacts.

        What cannot be kept is told in the outcome; it makes no step fail that did its work, but artifacts that are
        promised and not there do.
        """
        found: dict[str, Any] = {}
        cache, artifacts = step.document.get("cache"), step.document.get("artifacts")
        if not (cache or artifacts) or not self.here(step.run):
            return found
        base = self._base(effects.run, step.document)
        mark = self.shelves.mark(step.run, step.key)
        if cache and mark is not None:
            told = {"key": mark["key"][:12], "hit": bool(mark["hit"])}
            if ended.ok and not mark["hit"]:
                try:
                    size = self.shelves.keep(mark["key"], base, cache["paths"])
                    told |= {"kept": size} if size is not None else {"notKept": "there was nothing, or too much"}
                except DataError as error:
                    told["notKept"] = error.message
            found["cache"] = told
        if artifacts and ended.ok:
            try:
                kept = self.shelves.gather(base, artifacts)
            except (UsageError, DataError) as error:
                found["missing"] = error.message
            else:
                found["artifacts"] = [{"path": one.path, "size": one.size, "digest": one.digest} for one in kept]
        return found

    def _base(self, run: Run, document: Document) -> Path:
        """The folder of ``tightrope.yaml`` in the workspace of a step."""
        below = str(run.document.get("folder", "")) if run.document.get("repository") else ""
        return self._workspace(run, document) / below

    def _workspace(self, run: Run, document: Document) -> Path:
        return self.shelves.workspace(run.id, str(document.get("workspace", MAIN)), MAIN)


class Pipelines:
    """The pipelines of a store, and their runs.

    Args:
        runs: Carries the runs; the actions of the steps are registered with it.
        shelves: Where workspaces, caches and artifacts are.
        executors: Where commands run, by type; ``local`` is where nothing else is said. Empty: nothing runs here.
        definitions: The pipelines as they are now.
        ask: The gate; *watch*: what SLOs say. None: this process has none, and leaves those steps to one that has.
        deliveries: Hears of deployments; None: nobody does.
        base_url: Where people find the server; empty: there is none.
        secret: Reads a variable that a secret is in.
        clock: Tells the time, UTC epoch seconds.
    """

    def __init__(
        self,
        runs: Runs,
        shelves: Shelves,
        executors: Mapping[str, Executor],
        *,
        definitions: Callable[[], Sequence[Pipeline]] = tuple,
        ask: AskGate | None = None,
        watch: WatchSlos | None = None,
        deliveries: Deliveries | None = None,
        base_url: str = "",
        secret: Callable[[str], str] = variable,
        left_out: str = "",
        clock: Callable[[], int] = clock_now,
    ) -> None:
        self._runs = runs
        self.shelves = shelves
        self._definitions = definitions
        self._deliveries = deliveries
        self._base_url = base_url
        self._now = clock
        self._bench = Workbench(shelves, secret, left_out)
        self._trouble: dict[str, str] = {}
        bench = self._bench
        for name, executor in executors.items():
            suffix = "" if name == "local" else f".{name}"

            def joined(action: StepAction, kind: str, suffix: str = suffix) -> None:
                action.here = bench.here
                runs.register(f"{kind}{suffix}", action)

            if not suffix:
                joined(CheckoutAction(executor, bench.checkout, bench.checked_out), CHECKOUT)
            joined(StepAction(executor, bench.command, bench.finished), COMMAND)
            joined(StepAction(executor, bench.command), PROMOTE)
            joined(RollbackAction(executor, self._deploying), ROLLBACK)
            deploy = DeployAction(executor, self._deploying, self._deployed, self._probe)
            deploy.prepared, deploy.last = bench.prepared, self._last
            joined(deploy, DEPLOY)
            joined(StepAction(executor, bench.command), VERIFY)
        if ask is not None:
            runs.register(GATE, GateAction(ask, self._change_of))
        if watch is not None:
            runs.register(WATCH, WatchAction(watch))
        runs.tell(self._told)
        runs.on_change(self._changed)

    # --- definitions

    def definitions(self) -> list[Shown]:
        """Every pipeline with its newest run, by name."""
        newest: dict[str, Run] = {}
        for run in self._runs.runs(kind=KIND, limit=100):
            newest.setdefault(str(run.document.get("pipeline")), run)
        return [Shown(one, newest.get(one.name)) for one in sorted(self._definitions(), key=lambda one: one.name)]

    def definition(self, name: str) -> Pipeline:
        """One pipeline; raises `NotFoundError`."""
        found = {one.name: one for one in self._definitions()}
        if name not in found:
            raise NotFoundError(
                f"there is no pipeline {name!r}",
                remedy=f"there are: {', '.join(sorted(found))}"
                if found
                else "apply one: `tightrope apply -f tightrope.yaml`",
            )
        return found[name]

    def document(self, run: Run) -> dict[str, Any]:
        """A run as command line and API show it."""
        return run_document(run, self._runs.ahead_of(run))

    @property
    def trouble(self) -> Mapping[str, str]:
        """What keeps pushes and schedules from starting a pipeline, by its name."""
        return dict(self._trouble)

    def trouble_of(self, repository: str) -> dict[str, str]:
        """What keeps pushes to a repository from starting pipelines, by their names."""
        return {one.name: self._trouble[one.name] for one in self._of(repository) if one.name in self._trouble}

    # --- starting

    def start(self, pipeline: Pipeline, trigger: Trigger) -> Run:
        """Start a run of a definition that is at hand; one that was started under the same key is handed out.

        Raises:
            UsageError: An input does not fit, or nobody can carry a stage out.
        """
        known = self._known(trigger.key)
        if known is not None:
            return known
        if trigger.repository and not checkouts.is_commit(trigger.revision):
            raise UsageError(f"{trigger.revision!r} is no full name of a commit")
        drawn = plan(pipeline, self._with_kinds(pipeline, trigger))
        self._must_carry((step.name, step.kind) for step in drawn.steps)
        return self._runs.start(drawn)

    def must_carry(self, run: Run) -> None:
        """Raise `UsageError` where this process cannot carry out what is left of a run."""
        self._must_carry((step.name, step.kind) for step in run.steps if not step.state.over)

    def _must_carry(self, steps: Iterable[tuple[str, str]]) -> None:
        if COMMAND not in self._runs.kinds:
            return  # others do
        for name, kind in steps:
            if kind in self._runs.kinds:
                continue
            elsewhere = kind.partition(".")[2]
            if kind in {GATE, WATCH}:
                what = "there is no gate" if kind == GATE else "nobody knows the SLOs"
                raise UsageError(
                    f"{what} here for {name!r}", remedy="give the specs of the service (--specs), or run it on a server"
                )
            raise UsageError(
                f"nothing here can carry out {name!r}: {elsewhere or kind}",
                remedy=_TAKES.get(elsewhere, "run it on a server"),
            )

    def _known(self, key: str) -> Run | None:
        """The run that was started under a key, whatever it was planned as; None: there is none."""
        if not key:
            return None
        try:
            return self._runs.show(run_id(KIND, key))
        except NotFoundError:
            return None

    def run(
        self,
        name: str,
        *,
        by: str,
        revision: str = "",
        inputs: Mapping[str, str] | None = None,
        key: str = "",
    ) -> Run:
        """Start a pipeline by hand.

        Args:
            name: Of the pipeline.
            by: Who asks.
            revision: Commit, branch or tag; the repository's main branch, if absent.
            inputs: What the pipeline asks for.
            key: Who asks again with the same key is handed the run that is there.

        Raises:
            NotFoundError: There is no such pipeline, repository or commit. UsageError: An input does not fit.
            SpecsInvalidError: The pipeline in the repository has errors.
        """
        known = self.definition(name)
        if not known.repository:
            raise UsageError(
                f"nobody knows where the commits of {name} are",
                remedy="add `repository:` to its spec, and apply it again",
            )
        sha, title = checkouts.resolve(known.repository, revision)
        branch = revision if revision and not sha.startswith(revision) else ""
        trigger = Trigger("manual", by, known.repository, sha, branch=branch, title=title, inputs=inputs or {}, key=key)
        return self.start(self._as_of(known, sha), trigger)

    def pushed(self, push: Push) -> list[Run]:
        """Start what a push starts; delivered twice, it starts once. What cannot be started is told as trouble."""
        return [
            run for one in self._of(push.repository) if (run := self._pushed(one, push, one.repository)) is not None
        ]

    def _of(self, repository: str) -> list[Pipeline]:
        """The pipelines of a repository, however it is called."""
        name = repository_name(repository)
        return [one for one in self._definitions() if one.repository and repository_name(one.repository) == name]

    def told(self, kind: IntegrationType, headers: Mapping[str, str], document: Any) -> list[Run]:
        """Start what a forge's delivery starts, if it tells of a push."""
        push = push_of(kind, headers, document)
        return [] if push is None else self.pushed(push)

    def received(self, repository: str, ref: str, before: str, after: str, *, by: str, file: str = FILE) -> Run | None:
        """Start what a bare repository of this machine says of itself after a push: its own pipeline, as of the commit.

        Raises:
            NotFoundError: There is no such repository. SpecsInvalidError: Its pipeline has errors.
        """
        if not after.strip("0"):
            return None  # a branch or tag was removed
        text = checkouts.file_at(repository, after, file)
        if text is None:
            return None
        push = Push(
            repository=repository,
            branch=ref.removeprefix("refs/heads/") if ref.startswith("refs/heads/") else "",
            tag=ref.removeprefix("refs/tags/") if ref.startswith("refs/tags/") else "",
            before=before,
            after=checkouts.resolve(repository, after)[0],
            paths=checkouts.changed_paths(repository, before, after),
            title=checkouts.resolve(repository, after)[1],
            by=by,
        )
        found = read_pipeline(text, f"{file} at {after[:12]}")
        return self._pushed(found, push, repository, itself=True) if wants(found, push) else None

    def tick(self, now: int) -> list[Run]:
        """Start what is due by its schedule. What was missed while nothing ran happens once, and not once for each."""
        started = []
        for one in self._definitions():
            for schedule in one.triggers.schedules:
                what = f"{one.name} {schedule.cron} {schedule.zone}"
                since = self.shelves.known_since(what, now)
                due = parse_cron(schedule.cron, schedule.zone).last(since, now)
                if due is None or not one.repository:
                    continue
                with self._minding(one.name):
                    sha, title = checkouts.resolve(one.repository, schedule.branch)
                    trigger = Trigger(
                        what="schedule",
                        by=f"schedule {schedule.cron}",
                        repository=one.repository,
                        revision=sha,
                        branch=schedule.branch,
                        title=title,
                        key=f"schedule/{what}/{due}",
                    )
                    with suppress(ConflictError):  # it was started for this instant, of another commit
                        started.append(self.start(self._as_of(one, sha), trigger))
                    self.shelves.happened(what, due)
        return started

    def _pushed(self, known: Pipeline, push: Push, repository: str, *, itself: bool = False) -> Run | None:
        with self._minding(known.name):
            found = known if itself else self._as_of(known, push.after)
            if push.paths is None and not checkouts.is_address(repository):
                push = replace(push, paths=checkouts.changed_paths(repository, push.before, push.after))
            if not push.title and not checkouts.is_address(repository):
                push = replace(push, title=checkouts.resolve(repository, push.after)[1])
            if not wants(found, push):
                return None
            trigger = Trigger(
                what="tag" if push.tag else "push",
                by=push.by or "push",
                repository=repository,
                revision=push.after,
                branch=push.branch,
                tag=push.tag,
                title=push.title,
                key=f"push/{known.name}/{repository_name(repository)}/{push.branch or push.tag}/{push.after}",
            )
            with suppress(ConflictError):  # it was started by this push, of another definition
                return self.start(found, trigger)
        return None

    def _as_of(self, known: Pipeline, revision: str) -> Pipeline:
        """The definition as of a commit, where the pipeline is read from its repository.

        Secrets, service and group stay those that somebody applied: who may push says what is done, but not with whose
        secrets.
        """
        if not known.file:
            return known
        where = known.repository
        if checkouts.is_address(where):
            where = checkouts.mirror(where, revision, self.shelves.folder / "mirrors")
        text = checkouts.file_at(where, revision, known.file)
        if text is None:
            raise NotFoundError(f"{known.repository} has no {known.file} at {revision[:12]}")
        found = read_pipeline(text, f"{known.file} at {revision[:12]}")
        foreign = _foreign(found.secrets, known.secrets)
        if foreign:
            raise UsageError(
                f"{known.file} at {revision[:12]} asks for the secret {foreign}, which {known.name} was not given",
                remedy="add it to the pipeline that is applied here, if its commits may have it",
            )
        return replace(
            found,
            name=known.name,
            repository=known.repository,
            file=known.file,
            service=known.service or found.service,
            concurrency=known.concurrency or known.name,
        )

    def _minding(self, name: str) -> _Minding:
        return _Minding(self._trouble, name)

    # --- runs

    def show(self, name: str | int) -> Run:
        """One run of a pipeline; raises `NotFoundError`."""
        run = self._runs.show(name)
        if run.kind != KIND:
            raise NotFoundError(f"run {run.number} is a {run.kind}, and no run of a pipeline")
        return run

    def recent(
        self,
        *,
        pipeline: str = "",
        service: str = "",
        states: Collection[RunState] = (),
        before: int | None = None,
        limit: int = 50,
    ) -> list[Run]:
        """Runs, newest first."""
        found: list[Run] = []
        while len(found) < limit:
            page = self._runs.runs(kind=KIND, service=service, states=states, before=before, limit=limit)
            found += [run for run in page if not pipeline or run.document.get("pipeline") == pipeline]
            if len(page) < limit:
                break
            before = page[-1].number
        return found[:limit]

    def logs(self, name: str | int, step: str, *, attempt: int | None = None, offset: int = 0) -> LogPart:
        """A stretch of what a step wrote; secrets are redacted before it is written. Raises `NotFoundError`."""
        return self._runs.log(self.show(name).id, step, attempt=attempt, offset=offset)

    def cancel(self, name: str | int, *, by: str, reason: str = "") -> Run:
        """Bring a run to an end; raises `NotFoundError` and `ConflictError`."""
        return self._runs.cancel(self.show(name).id, by=by, reason=reason)

    def retry(self, name: str | int, *, by: str, steps: Iterable[str] = ()) -> Run:
        """Go on from what failed; a run whose workspace is gone begins anew.

        What was taken back is deployed again, and nothing is without asking the gate again. Raises as `Runs.retry`.
        """
        run, wanted = self.show(name), set(steps)
        if not wanted and run.state is RunState.SUCCEEDED:
            raise ConflictError(f"nothing in run {run.number} failed", remedy="start it again, or name the steps")
        if not self.shelves.has(run.id, MAIN) and any(step.name == CHECKOUT for step in run.steps):
            wanted = {CHECKOUT}
        return self._runs.retry(run.id, by=by, steps=done_again(run, wanted))

    def settle(self, name: str | int, step: str, as_: str, *, by: str, reason: str) -> Run:
        """Say what became of a step whose outcome nobody knows; raises as `Runs.settle`."""
        return self._runs.settle(self.show(name).id, step, as_, by=by, reason=reason)

    def catch_up(self) -> None:
        """After a crash: tell of deployments whose end nobody heard of, and look at once at commands that run."""
        for run in self._runs.runs(kind=KIND, limit=_CAUGHT_UP):
            for step in run.steps:
                if step.state.over:
                    self._report(run, step)
                elif step.state is StepState.RUNNING:
                    self._runs.wake(run.id, step.name)

    def tidy(self) -> int:
        """Remove workspaces of runs that are over, but for the newest; how many there were."""
        newest = self._runs.runs(kind=KIND, limit=500)
        keep = {run.id for number, run in enumerate(newest) if number < KEPT_WORKSPACES or not run.state.over}
        return self.shelves.tidy(keep)

    # --- what steps need

    def _deploying(self, step: Step, effects: Effects) -> Command:
        """The command of a deployment or rollback; that it begins is told before it does."""
        command = self._bench.command(step, effects)
        history = self._carried(effects.run, step.document) if action_of(step) == DEPLOY else ()
        self._report(effects.run, step, history)
        return command

    def _deployed(self, step: Step, effects: Effects, ended: Ended) -> Document:
        """What a deployment left behind, and its id."""
        external = f"{step.run}/{step.name}/{step.first_attempt}"
        about = (str(step.document["service"]), str(step.document["environment"]))
        return {**self._bench.finished(step, effects, ended), "deployment": deployment_id(FROM, external, *about)}

    def _carried(self, run: Run, document: Document) -> Sequence[Recorded]:
        """The commits that a deployment brings, as far as the workspace knows them."""
        if self._deliveries is None or not run.document.get("repository"):
            return ()
        live, revision = self._live(str(document["service"]), str(document["environment"])), run.document["revision"]
        try:
            repository = Repository(str(self.shelves.workspace(run.id, MAIN, MAIN)))
            if live is not None and live.revision and repository.has(live.revision):
                return repository.between(live.revision, revision)
            return [repository.one(revision)]
        except TightropeError:
            return ()  # a deployment without its commits is told all the same

    def _probe(self, step: Step, effects: Effects) -> Command | None:
        argv = command_of(step.document, "observe")
        return self._bench.prepared(step, effects, argv) if argv and self._bench.here(step.run) else None

    def _change_of(self, run: Run, document: Document) -> ChangeTold:
        """What a run brings to a service: the kind of the commits since what is live there."""
        if not run.document.get("repository") or not self.shelves.has(run.id, MAIN):
            told = document.get("told")  # as of the start of the run, where the commits were at hand
            if told:
                return ChangeTold(ChangeKind(told[0]), str(told[1]), title_of(run))
            return ChangeTold(ChangeKind.FEATURE, "default: no commit is known", title_of(run))
        live = self._live(str(document["service"]), str(document["environment"]))
        workspace = str(self.shelves.workspace(run.id, MAIN, MAIN))
        return self._kind_between(
            workspace, str(run.document["revision"]), live.revision if live else "", title_of(run)
        )

    def _kind_between(self, folder: str, revision: str, live: str, title: str) -> ChangeTold:
        try:
            repository = Repository(folder)
            known = live and repository.has(live)
            if known and repository.resolve(live) == repository.resolve(revision):
                return ChangeTold(ChangeKind.CONFIG, "the same revision again", title)
            recorded = repository.commits([revision], [live]) if known else [repository.one(revision)]
        except TightropeError as error:
            return ChangeTold(ChangeKind.FEATURE, f"default: {error.message}", title)
        told = kind_of_commits([one.commit() for one in recorded])
        return ChangeTold(told.kind, told.source, title)

    def _with_kinds(self, pipeline: Pipeline, trigger: Trigger) -> Trigger:
        """What kind of change gates and rollouts are asked about, where the commits are at hand already."""
        kinds: dict[str, tuple[str, str]] = {}
        if not trigger.repository or checkouts.is_address(trigger.repository):
            return trigger
        for stage in pipeline.stages:
            about = stage.gate if stage.gate is not None else stage.deploy
            if about is None or (stage.deploy is not None and not stage.deploy.rollout):
                continue
            live = self._live(about.service, about.environment)
            told = self._kind_between(
                trigger.repository, trigger.revision, live.revision if live else "", trigger.title
            )
            kinds[f"{about.service}/{about.environment}"] = (str(told.kind), told.kind_from)
        return replace(trigger, kinds=kinds)

    def _last(self, document: Document) -> int:
        """When something was deployed last where a step deploys, UTC epoch seconds; 0: never."""
        live = self._live(str(document["service"]), str(document["environment"]))
        return live.at if live is not None else 0

    def _live(self, service: str, environment: str) -> Deployment | None:
        return self._deliveries.live(service, environment) if self._deliveries is not None else None

    # --- telling

    def _told(self, changes: Sequence[Change]) -> list[Event]:
        return [Event(one.id, SOURCE, one.type, one.subject, one.at, dict(one.document)) for one in events_of(changes)]

    def _changed(self, change: Change) -> None:
        if change.run.kind == KIND and change.step is not None and change.step.state.over:
            with suppress(TightropeError):  # told with the next change, or when the store is opened again
                self._report(change.run, change.step)

    def _report(self, run: Run, step: Step, history: Sequence[Recorded] = ()) -> None:
        """Tell of a deployment or a rollback; the same again changes nothing."""
        if self._deliveries is None or action_of(step) not in {DEPLOY, ROLLBACK}:
            return
        url = f"{self._base_url}/delivery/runs/{run.number}" if self._base_url else ""
        taken_back = self._taken_back(run, step) if action_of(step) == ROLLBACK else []
        newest = max(taken_back, key=lambda one: one.at, default=None)
        previous = (newest.previous_version or newest.previous) if newest else ""
        report = report_of(run, step, previous=previous, url=url)
        if report is not None:
            self._deliveries.record(report, history)

    def _taken_back(self, run: Run, step: Step) -> list[Deployment]:
        """The deployments that a rollback takes back, as they are known."""
        assert self._deliveries is not None
        found = []
        for name in step.document.get("of", ()):
            deploy = run.step(name)
            external = f"{run.id}/{name}/{deploy.first_attempt}"
            service, place = str(deploy.document["service"]), str(deploy.document["environment"])
            with suppress(NotFoundError):
                found.append(self._deliveries.deployment(deployment_id(FROM, external, service, place)))
        return found


class _Minding:
    """Notes what keeps a pipeline from being started, in place of letting it out: others are started all the same."""

    def __init__(self, trouble: dict[str, str], name: str) -> None:
        self._trouble = trouble
        self._name = name

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> bool:
        if error is None:
            self._trouble.pop(self._name, None)
            return False
        if isinstance(error, TightropeError):
            findings = error.findings if isinstance(error, SpecsInvalidError) else ()
            said = "; ".join(f"{one.place}: {one.message}" for one in findings if one.severity == "error")
            self._trouble[self._name] = said or error.message
            return True
        return False


class Clockwork:
    """A thread that starts pipelines by their schedules, and tidies up.

    Args:
        pipelines: Whose schedules.
        clock: Tells the time, UTC epoch seconds.
    """

    def __init__(self, pipelines: Pipelines, clock: Callable[[], int] = clock_now) -> None:
        self._pipelines = pipelines
        self._now = clock
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tightrope-schedules", daemon=True)
        self.failure = ""

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, after what is under way."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(10)

    def _run(self) -> None:
        caught_up, turns = False, 0
        while True:
            try:
                if not caught_up:
                    self._pipelines.catch_up()
                    caught_up = True
                self._pipelines.tick(self._now())
                if turns % 180 == 0:
                    self._pipelines.tidy()
                self.failure = ""
            except TightropeError as error:
                self.failure = error.message
            turns += 1
            if self._stop.wait(EVERY_S):
                return


# --- reading -------------------------------------------------------------------------------------------------------


def read_pipeline(text: str, called: str) -> Pipeline:
    """The one pipeline in a text.

    Raises:
        SpecsInvalidError: It has errors. UsageError: There is none, or more than one.
    """
    found = survey((), texts=[Written(called, ".", text)])
    if found.specs is None:
        raise SpecsInvalidError(found.findings)
    return one_pipeline(found.specs.pipelines, called)


def one_pipeline(found: Sequence[Pipeline], called: str, name: str = "") -> Pipeline:
    """The pipeline of that name, or the only one; raises `UsageError`."""
    fitting = [one for one in found if not name or one.name == name]
    if len(fitting) == 1:
        return fitting[0]
    names = ", ".join(one.name for one in found)
    if not found:
        raise UsageError(f"there is no pipeline in {called}", remedy="write one: kind: Pipeline")
    what = f"{called} has no pipeline {name!r}" if name else f"{called} has {len(found)} pipelines"
    raise UsageError(what, remedy=f"name one of {names}")


def trigger_here(
    pipeline: Pipeline, *, by: str, as_is: bool, revision: str = "", left_out: str = ""
) -> tuple[Trigger, str]:
    """What a run by hand of a file on this machine is of; with a word of warning, or none.

    The commit that is checked out where the file is, or *revision*; the folder as it stands where it is in no
    repository, or with *as_is*.

    Raises:
        NotFoundError: There is no such commit. UsageError: The folder is too large to be taken as it stands.
    """
    folder = str(Path(pipeline.folder).resolve())
    there = checkouts.standing(folder)
    if as_is or not there.revision:
        if revision:
            raise UsageError("a folder as it stands is of no revision", remedy="leave out --as-is or --revision")
        digest = checkouts.digest_of(folder, (left_out,) if left_out else ())
        return Trigger("manual", by, folder=folder, version=f"as-is-{digest[:12]}", title="as it stands"), ""
    if revision:
        sha, title = checkouts.resolve(there.root, revision)
        branch = revision if not sha.startswith(revision) else ""
        return Trigger("manual", by, there.root, sha, branch=branch, title=title, folder=there.below), ""
    warning = "what is not committed is not part of the run; --as-is takes it along" if there.changed else ""
    trigger = Trigger(
        "manual", by, there.root, there.revision, there.branch, there.tag, title=there.title, folder=there.below
    )
    return trigger, warning


def written_hook(repository: str, line: str, *, force: bool = False) -> str:
    """Write the post-receive hook of a repository, which runs *line*; the path that it has. See `install_hook`."""
    return checkouts.install_hook(repository, line, force=force)


def who() -> str:
    """The user of this process, for the record of who started what."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def _foreign(wanted: Sequence[SecretRef], given: Sequence[SecretRef]) -> str:
    known = {(one.environment, one.file) for one in given}
    return next((one.name for one in wanted if (one.environment, one.file) not in known), "")


def _plain() -> dict[str, str]:
    """The variables that commands have of their server: where programs are, and home."""
    return {name: value for name in ("PATH", "HOME", "LANG", "TMPDIR") if (value := variable(name))}


def _secret_file(path: str) -> str:
    with Path(path).open("rb") as file:
        content = file.read(_MOST_SECRET_BYTES + 1)
    if len(content) > _MOST_SECRET_BYTES or b"\0" in content:
        raise ValueError("no text")
    return content.decode()


def _mebibytes(count: int | None) -> int | None:
    return None if count is None else count * MEBIBYTE
