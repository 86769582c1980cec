"""A real repository, a real store, and pipelines that really run."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tightrope.base.clock import ticks
from tightrope.delivery.pipelines.actions import AskGate
from tightrope.delivery.pipelines.store import Shelves
from tightrope.delivery.pipelines.usecases import Pipelines, read_pipeline, trigger_here
from tightrope.delivery.pipelines.watching import WatchSlos
from tightrope.delivery.usecases import Deliveries
from tightrope.runs.executors import Executor
from tightrope.runs.executors.container import ContainerExecutor
from tightrope.runs.executors.local import LocalExecutor
from tightrope.runs.steps import Run
from tightrope.runs.usecases import Runs
from tightrope.specs.pipeline import Pipeline
from tightrope.specs.store import load
from tightrope.state.database import Database, opened

HEAD = "apiVersion: tightrope.dev/v1\nkind: Pipeline\nmetadata: {name: shop}\nspec:\n  service: shop\n"


def git(folder: Path, *words: str) -> str:
    """Ask git, as somebody."""
    done = subprocess.run(
        ["git", "-c", "user.name=Ann", "-c", "user.email=ann@example.org", "-c", "init.defaultBranch=main", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


class Shop:
    """A bare repository with a clone to commit in."""

    def __init__(self, folder: Path) -> None:
        self.bare, self.clone = folder / "shop.git", folder / "clone"
        folder.mkdir(parents=True, exist_ok=True)
        git(folder, "init", "--quiet", "--bare", str(self.bare))
        git(folder, "clone", "--quiet", str(self.bare), str(self.clone))
        git(self.clone, "checkout", "--quiet", "-b", "main")

    def commit(self, files: Mapping[str, str], message: str = "feat: more", *, push: bool = True, tag: str = "") -> str:
        """Commit files, push them, and tell the commit."""
        for name, text in files.items():
            path = self.clone / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        git(self.clone, "add", "-A")
        git(self.clone, "commit", "--quiet", "--allow-empty", "-m", message)
        if tag:
            git(self.clone, "tag", tag)
        if push:
            git(self.clone, "push", "--quiet", "origin", "main", "--tags")
        return git(self.clone, "rev-parse", "HEAD")


class World:
    """A store with everything that carries pipelines out."""

    def __init__(
        self, folder: Path, database: Database, runs: Runs, pipelines: Pipelines, deliveries: Deliveries
    ) -> None:
        self.folder, self.database, self.runs, self.pipelines = folder, database, runs, pipelines
        self.deliveries = deliveries

    def start(self, shop: Shop, **more: Any) -> Run:
        """Start what is checked out."""
        found = load([str(shop.clone / "tightrope.yaml")]).pipelines[0]
        trigger, _ = trigger_here(found, by="ann", as_is=False)
        return self.pipelines.start(found, trigger, **more)

    def until(self, run: Run, what: Callable[[Run], bool] = lambda run: run.state.over, within_s: float = 20.0) -> Run:
        """Work until something is so."""
        self.runs.start_working()
        end = ticks() + within_s
        while not what(found := self.pipelines.show(run.id)):
            assert ticks() < end, [(one.name, one.state, one.why) for one in found.steps]
            time.sleep(0.02)
        self.runs.stop_working()  # all that follows from it is told then, too
        return self.pipelines.show(run.id)

    def log(self, run: Run, step: str, attempt: int | None = None) -> bytes:
        """All that a step wrote."""
        data, offset = b"", 0
        while part := self.pipelines.logs(run.id, step, attempt=attempt, offset=offset).data:
            data, offset = data + part, offset + len(part)
        return data


@contextmanager
def world(
    folder: Path,
    *,
    ask: AskGate | None = None,
    watch: WatchSlos | None = None,
    definitions: Callable[[], list[Pipeline]] = list,
    secrets: Mapping[str, str] | None = None,
    shelves: Shelves | None = None,
    where: str = "",
    part: str = "",
    engine: str = "",
) -> Iterator[World]:
    """Open a store, new or known, with all that carries pipelines out; or with the ``part`` of a server or worker."""
    with opened(where or str(folder), create=True) as database:
        executor = LocalExecutor(folder / "runs")
        runs, deliveries = Runs(database, place="" if part == "server" else executor.place), Deliveries(database)
        executors: dict[str, Executor] = {} if part == "server" else {"local": executor}
        if engine:
            executors["container"] = ContainerExecutor(engine, place=executor.place, image="none")
        pipelines = Pipelines(
            runs,
            shelves or Shelves(folder / "pipelines"),
            executors,
            ask=ask,
            watch=watch,
            definitions=definitions,
            deliveries=deliveries,
            secret=lambda name: (secrets or {}).get(name, ""),
        )
        try:
            yield World(folder, database, runs, pipelines, deliveries)
        finally:
            runs.stop_working()
            executor.close()


def written(stages: str, *, repository: Path | None = None, head: str = HEAD, more: str = "") -> Pipeline:
    """A pipeline from the text of its stages."""
    at = f"  repository: {repository}\n" if repository is not None else ""
    return read_pipeline(f"{head}{at}{more}  stages:\n{stages}", "tightrope.yaml")


def states(run: Run) -> dict[str, str]:
    """What became of each step."""
    return {step.name: str(step.state) for step in run.steps}
