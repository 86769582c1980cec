"""From a pipeline and what started it to the steps of a run: matrix spread out, conditions and needs resolved. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from tightrope.base.errors import UsageError
from tightrope.base.values import dataclass, field
from tightrope.delivery.pipelines.globs import fits_any
from tightrope.runs.steps import OnUnknown, RunPlan, StepPlan, When, check_plan
from tightrope.specs.model import ChangeKind
from tightrope.specs.pipeline import (
    Command,
    Condition,
    ExecutorSpec,
    ExecutorType,
    Pipeline,
    Stage,
    StageKind,
    StepSpec,
)
from tightrope.specs.pipelines import cells

KIND = "pipeline"
CHECKOUT = "checkout"
COMMAND, GATE, DEPLOY, VERIFY, WATCH, PROMOTE, ROLLBACK, ROLLOUT = (
    "task",
    "gate",
    "deploy",
    "verify",
    "watch",
    "promote",
    "rollback",
    "rollout",
)
"""Kinds of steps; those of commands that run elsewhere have the executor behind a point: ``command.container``."""

_PATIENCE_S = 3600

MAIN = "main"
"""The workspace of all that is no cell of a matrix."""


@dataclass(frozen=True, slots=True)
class Trigger:
    """What started a run, and of which commit.

    Attributes:
        what: ``push``, ``tag``, ``schedule``, ``manual``, ``retry``.
        repository: Address or path that git can clone; empty: *folder* as it stands.
        revision: Full name of the commit; empty: *folder* as it stands.
        folder: Of the pipeline's file: below the root of the repository, or on this machine.
        inputs: What a person said.
        key: Who triggers twice with the same key starts one run; empty: always a new one.
        kinds: For ``service/environment``, the kind of the change and how it was found; where it is known already.
    """

    what: str
    by: str
    repository: str = ""
    revision: str = ""
    branch: str = ""
    tag: str = ""
    version: str = ""
    title: str = ""
    folder: str = ""
    inputs: Mapping[str, str] = field(default_factory=dict)
    key: str = ""
    kinds: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    @property
    def called(self) -> str:
        """What the change is called: its version, tag or commit."""
        return self.version or self.tag or self.revision


@dataclass(frozen=True, slots=True)
class Push:
    """What was pushed: a branch or a tag, the commits before and after, and the paths that changed; None: not known."""

    repository: str
    branch: str = ""
    tag: str = ""
    before: str = ""
    after: str = ""
    paths: tuple[str, ...] | None = None
    title: str = ""
    by: str = ""


def wants(pipeline: Pipeline, push: Push) -> bool:
    """Whether a push starts a pipeline."""
    if push.tag:
        return fits_any(pipeline.triggers.tags, push.tag)
    wanted = pipeline.triggers.push
    if wanted is None or not push.branch:
        return False
    if wanted.branches and not fits_any(wanted.branches, push.branch):
        return False
    if push.paths is None:
        return True  # what is not known is no reason to leave a change out
    relevant = [path for path in push.paths if not fits_any(wanted.paths_ignored, path)]
    if not relevant:
        return not push.paths and not wanted.paths
    return not wanted.paths or any(fits_any(wanted.paths, path) for path in relevant)


def inputs_of(pipeline: Pipeline, given: Mapping[str, str], *, asked: bool = True) -> dict[str, str]:
    """The inputs of a run: what was said, else what is taken by default.

    Args:
        pipeline: Whose inputs.
        given: What was said.
        asked: Somebody could be asked; a push or a schedule cannot, and starts without what is required.

    Raises:
        UsageError: One is unknown, missing, or none of what may be said.
    """
    known = {one.name: one for one in pipeline.triggers.inputs}
    for name in given:
        if name not in known:
            told = f"inputs are {', '.join(known)}" if known else "it has none"
            raise UsageError(f"{pipeline.name} has no input {name!r}", remedy=told)
    found: dict[str, str] = {}
    for name, one in known.items():
        value = given.get(name, one.default)
        if one.required and asked and not value:
            raise UsageError(f"{pipeline.name} needs the input {name!r}", remedy=f"give --input {name}=…")
        if value and one.choices and value not in one.choices:
            raise UsageError(f"{name} is {value!r}", remedy=f"give one of {', '.join(one.choices)}")
        found[name] = value
    return found


def plan(pipeline: Pipeline, trigger: Trigger) -> RunPlan:
    """Lay out the run: the same pipeline and trigger always give the same steps.

    Raises:
        UsageError: An input does not fit, or names that the plan makes collide.
    """
    inputs = inputs_of(pipeline, trigger.inputs, asked=trigger.what == "manual")
    needs = stage_needs(pipeline)
    counted: dict[str, tuple[str, ...]] = {}  # of each stage, the steps that others wait for
    steps: dict[str, list[StepPlan]] = {}
    undone: list[tuple[Stage, StepPlan]] = []
    drawing = _Drawing(pipeline, trigger, inputs)
    for name in _in_order(needs):
        stage = pipeline.stage(name)
        above = tuple(step for need in needs[name] for step in counted[need]) or (CHECKOUT,)
        made = drawing.stage(stage, above, _deploys_before(name, needs, pipeline))
        steps[name] = made
        lasting = tuple(step.name for step in made if _lasts(step, made))
        counted[name] = lasting or tuple(step.name for step in made)
        if stage.kind is StageKind.DEPLOY and stage.deploy is not None and stage.deploy.rollback:
            undone += [(stage, step) for step in made]
    for stage, deploy in undone:
        after = _stages_after(stage.name, needs)
        if any(pipeline.stage(name).kind is StageKind.ROLLBACK for name in after):
            continue  # what follows says for itself how to go back
        later = [
            step for name in counted if name in after and pipeline.stage(name).when is Condition.SUCCESS
            for step in counted[name]
        ]  # fmt: skip
        steps[stage.name].append(drawing.undo(stage, deploy, (deploy.name, *later)))
    ordered = [drawing.checkout()]
    for stage in pipeline.stages:
        ordered += steps[stage.name]
    group = pipeline.concurrency or pipeline.name
    drawn = RunPlan(
        kind=KIND,
        steps=tuple(ordered),
        service=pipeline.service,
        title=trigger.title,
        group=f"pipeline/{group}",
        key=trigger.key,
        document=_document(pipeline, trigger, inputs),
        by=trigger.by,
    )
    check_plan(drawn)
    return drawn


def stage_needs(pipeline: Pipeline) -> dict[str, tuple[str, ...]]:
    """What each stage needs: what it says, else the stage before it that is not there for a failure."""
    found: dict[str, tuple[str, ...]] = {}
    before: tuple[str, ...] = ()
    for stage in pipeline.stages:
        found[stage.name] = before if stage.needs is None else stage.needs
        if stage.when is not Condition.FAILURE:
            before = (stage.name,)
    return found


def _in_order(needs: Mapping[str, Sequence[str]]) -> list[str]:
    """Stages after what they need; those that could go either way in the order of the file."""
    done: dict[str, None] = {}
    while len(done) < len(needs):
        ready = [name for name in needs if name not in done and all(need in done for need in needs[name])]
        if not ready:
            raise UsageError("stages need each other in a circle", remedy="`tightrope validate` names them")
        done |= dict.fromkeys(ready)
    return list(done)


def _lasts(step: StepPlan, others: Sequence[StepPlan]) -> bool:
    """Whether others wait for a step: not for what only happens after a failure within its stage."""
    return step.when is not When.FAILURE or all(one.when is When.FAILURE for one in others)


def _stages_after(name: str, needs: Mapping[str, Sequence[str]]) -> set[str]:
    found: set[str] = set()
    growing = True
    while growing:
        more = {one for one, needed in needs.items() if (name in needed or found & set(needed)) and one not in found}
        found |= more
        growing = bool(more)
    return found


def _deploys_before(name: str, needs: Mapping[str, Sequence[str]], pipeline: Pipeline) -> list[Stage]:
    """The stages that deploy, of all that a stage needs, the latest first."""
    found = {one for one in needs if name in _stages_after(one, needs)}
    return [stage for stage in reversed(pipeline.stages) if stage.name in found and stage.kind is StageKind.DEPLOY]


def _document(pipeline: Pipeline, trigger: Trigger, inputs: Mapping[str, str]) -> dict[str, Any]:
    return {
        "pipeline": pipeline.name,
        "definition": pipeline.version,
        "trigger": trigger.what,
        "repository": trigger.repository,
        "revision": trigger.revision,
        "branch": trigger.branch,
        "tag": trigger.tag,
        "version": trigger.called,
        "folder": trigger.folder,
        "inputs": dict(inputs),
        "stages": [
            {"name": stage.name, "does": str(stage.kind), "needs": list(needs)}
            for stage, needs in zip(pipeline.stages, stage_needs(pipeline).values(), strict=True)
        ],
    }


class _Drawing:
    """Draws the steps of one run."""

    def __init__(self, pipeline: Pipeline, trigger: Trigger, inputs: Mapping[str, str]) -> None:
        self._pipeline = pipeline
        self._trigger = trigger
        self._inputs = inputs
        self._secrets = {
            one.name: {"environment": one.environment} if one.environment else {"file": one.file}
            for one in pipeline.secrets
        }

    def checkout(self) -> StepPlan:
        """The step that brings the commit here."""
        document = {
            "stage": CHECKOUT,
            "repository": self._trigger.repository,
            "revision": self._trigger.revision,
            "folder": self._trigger.folder,
        }
        return StepPlan(
            CHECKOUT, CHECKOUT, document, timeout_s=1800, retries=2, backoff_s=5, on_unknown=OnUnknown.RETRY
        )

    def stage(self, stage: Stage, above: tuple[str, ...], deploys: Sequence[Stage]) -> list[StepPlan]:
        """The steps of one stage; *above* is what they wait for."""
        found: list[StepPlan] = []
        for cell in _cells(stage):
            label = _label(stage, cell)
            match stage.kind:
                case StageKind.STEPS:
                    found += self._steps(stage, label, cell, above)
                case StageKind.GATE:
                    found.append(self._gate(stage, label, above))
                case StageKind.DEPLOY:
                    found.append(self._deploy(stage, label, cell, above))
                case StageKind.VERIFY:
                    found += self._verify(stage, label, cell, above)
                case StageKind.PROMOTE:
                    found.append(self._command(stage, label, cell, stage.steps[0], above, kind=PROMOTE))
                case StageKind.ROLLBACK:
                    found += self._rollback(stage, label, cell, above, deploys)
        return found

    def undo(self, stage: Stage, deploy: StepPlan, needs: tuple[str, ...]) -> StepPlan:
        """The step that takes a deployment back, should a later stage fail."""
        assert stage.deploy is not None
        cell = deploy.document.get("cell", {})
        step = StepSpec(
            name=ROLLBACK,
            run=stage.deploy.rollback,
            env=stage.deploy.step.env if stage.deploy.step else {},
            secrets=stage.deploy.step.secrets if stage.deploy.step else (),
            folder=stage.deploy.step.folder if stage.deploy.step else "",
        )
        more = {"of": [deploy.name], "service": stage.deploy.service, "environment": stage.deploy.environment}
        label = f"{deploy.name}/{ROLLBACK}"
        return self._command(stage, label, cell, step, needs, kind=ROLLBACK, when=When.FAILURE, more=more)

    def _steps(self, stage: Stage, label: str, cell: Mapping[str, str], above: tuple[str, ...]) -> list[StepPlan]:
        needs = _step_needs(stage.steps)
        roots = [f"{label}/{step.name}" for step in stage.steps if not needs[step.name]]
        found = []
        for step in stage.steps:
            first = not needs[step.name]
            wanted = above if first else tuple(f"{label}/{need}" for need in needs[step.name])
            when = When(stage.when) if first and step.when is Condition.SUCCESS else When(step.when)
            more = {} if first or step.when is Condition.SUCCESS else {"roots": roots}
            made = self._command(stage, f"{label}/{step.name}", cell, step, wanted, when=when, more=more)
            found.append(made)
        return found

    def _gate(self, stage: Stage, label: str, above: tuple[str, ...]) -> StepPlan:
        gate = stage.gate
        assert gate is not None
        document = {
            "stage": stage.name,
            "service": gate.service,
            "environment": gate.environment,
            "kind": "" if gate.kind is None else str(gate.kind),
            "every_s": gate.every_s,
            "hold_s": gate.hold_s,
            "told": list(self._trigger.kinds.get(f"{gate.service}/{gate.environment}", ())),
        }
        return StepPlan(label, GATE, document, above, When(stage.when), optional=stage.optional)

    def _deploy(self, stage: Stage, label: str, cell: Mapping[str, str], above: tuple[str, ...]) -> StepPlan:
        deploy = stage.deploy
        assert deploy is not None
        about = {"service": deploy.service, "environment": deploy.environment}
        if deploy.step is None:
            told = self._trigger.kinds.get(f"{deploy.service}/{deploy.environment}")
            kind, kind_from = told or (str(ChangeKind.FEATURE), "default")
            document = {
                "stage": stage.name,
                "cell": dict(cell),
                "workspace": _workspace(label, cell),
                "strategy": deploy.rollout,
                "revision": self._trigger.revision,
                "version": self._trigger.called,
                "change": self._trigger.called,
                "title": self._trigger.title,
                "kind": kind,
                "kind_from": kind_from,
                "previous": "",
                "url": "",
                **about,
            }
            return StepPlan(label, ROLLOUT, document, above, When(stage.when), optional=stage.optional)
        more = about | {"observe": list(deploy.observe)}
        unknown = OnUnknown.PROBE if deploy.observe else OnUnknown.HUMAN
        return self._command(stage, label, cell, deploy.step, above, kind=DEPLOY, more=more, unknown=unknown)

    def _verify(self, stage: Stage, label: str, cell: Mapping[str, str], above: tuple[str, ...]) -> list[StepPlan]:
        """The command if there is one, then the watch; for that, nothing but a server is needed."""
        verify = stage.verify
        assert verify is not None
        found: list[StepPlan] = []
        if verify.step is not None:
            about = {"service": verify.service} if verify.service else {}
            found.append(
                self._command(stage, label, cell, verify.step, above, kind=VERIFY, more=about, unknown=OnUnknown.RETRY)
            )
        if verify.slos:
            document = {
                "stage": stage.name,
                "service": verify.service,
                "slos": list(verify.slos),
                "bake_s": verify.bake_s,
                "every_s": verify.every_s,
            }
            found.append(
                StepPlan(
                    name=f"{label}/{WATCH}" if found else label,
                    kind=WATCH,
                    document=document,
                    needs=(label,) if found else above,
                    when=When.SUCCESS if found else When(stage.when),
                    timeout_s=_PATIENCE_S + 4 * verify.bake_s,  # without telemetry it waits, and not for ever
                    on_unknown=OnUnknown.RETRY,
                    optional=stage.optional,
                )
            )
        return found

    def _rollback(
        self, stage: Stage, label: str, cell: Mapping[str, str], above: tuple[str, ...], deploys: Sequence[Stage]
    ) -> list[StepPlan]:
        own = stage.steps[0]
        found: list[StepPlan] = []
        undoable = [one for one in deploys if one.deploy is not None and (own.run or one.deploy.rollback)]
        if own.run:
            of = undoable[0].deploy if undoable else None
            more: dict[str, Any] = {"of": _labels(undoable[0]) if undoable else []}
            more |= {"service": of.service, "environment": of.environment} if of else {}
            return [self._command(stage, label, cell, own, above, kind=ROLLBACK, more=more)]
        for number, one in enumerate(undoable):
            assert one.deploy is not None
            step = StepSpec(
                name=stage.name,
                run=one.deploy.rollback,
                env=dict(one.deploy.step.env if one.deploy.step else {}) | dict(own.env),
                secrets=own.secrets or (one.deploy.step.secrets if one.deploy.step else ()),
                folder=own.folder or (one.deploy.step.folder if one.deploy.step else ""),
                timeout_s=own.timeout_s,
                retries=own.retries,
                backoff_s=own.backoff_s,
                limits=own.limits,
            )
            about = {"of": _labels(one), "service": one.deploy.service, "environment": one.deploy.environment}
            name = label if len(undoable) == 1 else f"{label}/{one.name}"
            wanted = above if number == 0 else (found[-1].name,)
            when = None if number == 0 else When.ALWAYS
            found.append(self._command(stage, name, cell, step, wanted, kind=ROLLBACK, more=about, when=when))
        if not found:
            raise UsageError(
                f"{stage.name} has nothing to roll back with",
                remedy="give it `run:`, or a deploy before it `rollback:`",
            )
        return found

    def _command(
        self,
        stage: Stage,
        label: str,
        cell: Mapping[str, str],
        step: StepSpec,
        needs: tuple[str, ...],
        *,
        kind: str = COMMAND,
        when: When | None = None,
        more: Mapping[str, Any] | None = None,
        unknown: OnUnknown | None = None,
    ) -> StepPlan:
        executor = stage.executor or self._pipeline.executor
        env = dict(self._pipeline.env) | dict(stage.env) | dict(step.env)
        document: dict[str, Any] = {
            "stage": stage.name,
            "run": list(step.run),
"env": {name: _spread(value, cell) for name, value in env.items()},
            "workspace": _workspace(label, cell),
            "grace_s": step.grace_s,
        }  # fmt: skip
        if cell:
            document["cell"] = dict(cell)
        if step.secrets:
            document["secrets"] = {name: self._secrets[name] for name in step.secrets}
        if step.folder:
            document["folder"] = _spread(step.folder, cell)
        if step.cache is not None:
            document["cache"] = {
                "key": [_spread(one, cell) for one in step.cache.key],
                "paths": [_spread(one, cell) for one in step.cache.paths],
            }
        if step.artifacts:
            document["artifacts"] = [_spread(one, cell) for one in step.artifacts]
        limits = {
            name: value
            for name in ("cpu_s", "memory_mib", "file_mib", "processes", "log_mib")
            if (value := getattr(step.limits, name)) is not None
        }
        if limits:
            document["limits"] = limits
        if executor.type is not ExecutorType.LOCAL:
            document["executor"] = _executor(executor, cell)
        suffix = "" if executor.type is ExecutorType.LOCAL else f".{executor.type}"
        repeatable = OnUnknown.RETRY if step.retries and kind == COMMAND else OnUnknown.HUMAN
        return StepPlan(
            name=label,
            kind=f"{kind}{suffix}",
            document=document | dict(more or {}),
            needs=needs,
            when=When(stage.when) if when is None else when,
            timeout_s=step.timeout_s,
            retries=step.retries,
            backoff_s=step.backoff_s,
            on_unknown=repeatable if unknown is None else unknown,
            optional=step.optional or stage.optional,
        )


def _label(stage: Stage, cell: Mapping[str, str]) -> str:
    return f"{stage.name} ({', '.join(cell.values())})" if cell else stage.name


def _labels(stage: Stage) -> list[str]:
    return [_label(stage, cell) for cell in _cells(stage)]


def _cells(stage: Stage) -> list[dict[str, str]]:
    if stage.matrix is None:
        return [{}]
    return cells(stage.matrix.axes, stage.matrix.include, stage.matrix.exclude)


def _step_needs(steps: Sequence[StepSpec]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    before: tuple[str, ...] = ()
    for step in steps:
        found[step.name] = before if step.needs is None else step.needs
        if step.when is not Condition.FAILURE:
            before = (step.name,)
    return found


def _workspace(label: str, cell: Mapping[str, str]) -> str:
    return label.partition("/")[0] if cell else MAIN


def _spread(text: str, cell: Mapping[str, str]) -> str:
    """The text with ``${matrix.NAME}`` as the cell has it."""
    return re.sub(r"\$\{matrix\.([A-Za-z_][A-Za-z0-9_]*)\}", lambda match: cell.get(match[1], ""), text)


def _executor(executor: ExecutorSpec, cell: Mapping[str, str]) -> dict[str, str]:
    found = {
        "type": str(executor.type),
        "image": _spread(executor.image, cell),
        "namespace": executor.namespace or "default",
    }
    if executor.claim:
        found |= {"claim": executor.claim, "mountPath": executor.mount_path}
    return found


def variables(
    document: Mapping[str, Any], run: Mapping[str, Any], number: int, step: str, attempt: int
) -> dict[str, str]:
    """The variables that a command finds in its environment, beside its secrets.

    Args:
        document: Of the step.
        run: The document of the run.
        number, step, attempt: Which run, step and attempt it is.
    """
    found = {
        "CI": "true",
        "TIGHTROPE_PIPELINE": str(run.get("pipeline", "")),
        "TIGHTROPE_RUN": str(number),
        "TIGHTROPE_STAGE": str(document.get("stage", "")),
        "TIGHTROPE_STEP": step,
        "TIGHTROPE_ATTEMPT": str(attempt),
        "TIGHTROPE_REVISION": str(run.get("revision", "")),
        "TIGHTROPE_VERSION": str(run.get("version", "")),
        "TIGHTROPE_BRANCH": str(run.get("branch", "")),
        "TIGHTROPE_TAG": str(run.get("tag", "")),
    }
    found |= {f"INPUT_{name.upper()}": value for name, value in run.get("inputs", {}).items()}
    found |= {f"MATRIX_{name.upper()}": value for name, value in document.get("cell", {}).items()}
    for name in ("service", "environment"):
        if document.get(name):
            found[f"TIGHTROPE_{name.upper()}"] = str(document[name])
    return found | dict(document.get("env", {}))


def command_of(document: Mapping[str, Any], name: str = "run") -> Command:
    """The command that a step's document holds; empty: none."""
    return tuple(document.get(name) or ())
