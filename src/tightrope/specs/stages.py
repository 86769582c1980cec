"""From checked documents of the kind Pipeline to plain values."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from fractions import Fraction

from tightrope.base.units import Duration
from tightrope.specs.documents import Document, Library
from tightrope.specs.model import ChangeKind
from tightrope.specs.pipeline import (
    PRODUCTION,
    Cache,
    Command,
    DeploySpec,
    ExecutorSpec,
    ExecutorType,
    GateSpec,
    Input,
    Matrix,
    Pipeline,
    PushTrigger,
    ResourceLimits,
    ScheduleTrigger,
    SecretRef,
    Stage,
    StageKind,
    StepSpec,
    Triggers,
    VerifySpec,
)
from tightrope.specs.pipelines import FROM_COMMITS, axes_of, cells_of, condition_of
from tightrope.specs.positions import canonical
from tightrope.specs.shapes import Table

SHELL = ("/bin/sh", "-e", "-c")
"""What runs a command that is a text: it ends at the first line that fails."""


def pipelines(library: Library) -> tuple[Pipeline, ...]:
    """All pipelines that are good; a rollout strategy that is named must be there if there are any."""
    strategies = library.of_kind("RolloutStrategy")
    found = []
    for document in library.of_kind("Pipeline"):
        for stage in document.spec.tables("stages") if strategies else ():
            deploy = stage.get("deploy", Table)
            if deploy is not None and deploy.text("rollout"):
                library.find("RolloutStrategy", deploy.text("rollout"), deploy.at("rollout"), deploy.path("rollout"))
        if document.good:
            found.append(_pipeline(document))
    return tuple(found)


def _pipeline(document: Document) -> Pipeline:
    spec = document.spec
    service = spec.text("service")
    content = json.dumps(canonical(document.node), sort_keys=True)
    executor = _executor(spec)
    return Pipeline(
        name=document.name,
        stages=tuple(_stage(table, service) for table in spec.tables("stages")),
        service=service,
        repository=spec.text("repository"),
        file=spec.text("file"),
        description=spec.text("description"),
        triggers=_triggers(spec.get("triggers", Table)),
        env=_texts(spec, "env"),
        secrets=tuple(
            SecretRef(name, table.text("fromEnvironment"), table.text("fromFile"))
            for name, table in (spec.get("secrets", dict) or {}).items()
        ),
        concurrency=spec.text("concurrency"),
        executor=ExecutorSpec() if executor is None else executor,
        version=hashlib.sha256(content.encode()).hexdigest()[:16],
        folder=document.folder,
        place=document.place,
    )


def _triggers(table: Table | None) -> Triggers:
    if table is None:
        return Triggers()
    push, manual = table.get("push", Table), table.get("manual", Table)
    inputs: Mapping[str, Table] = (manual.get("inputs", dict) if manual else None) or {}
    return Triggers(
        push=None
        if push is None
        else PushTrigger(push.texts("branches"), push.texts("paths"), push.texts("pathsIgnore")),
        tags=table.texts("tags"),
        schedules=tuple(
            ScheduleTrigger(one.text("cron"), one.text("timeZone", "UTC"), one.text("branch", "main"))
            for one in table.tables("schedule")
        ),
        inputs=tuple(
            Input(
                name, one.text("default"), bool(one.get("required", bool)), one.texts("oneOf"), one.text("description")
            )
            for name, one in inputs.items()
        ),
    )


def _stage(table: Table, service: str) -> Stage:
    kind = next(one for one in StageKind if table.given(one))
    part = table.get(kind, Table) or Table(table.spot, table.place)
    matrix = table.get("matrix", Table)
    name = table.text("name")
    about = part.text("service", service)
    environment = part.text("environment", PRODUCTION)
    steps: tuple[StepSpec, ...] = ()
    gate, deploy, verify = None, None, None
    match kind:
        case StageKind.STEPS:
            steps = tuple(_step(one) for one in table.tables("steps"))
        case StageKind.GATE:
            word = part.text("kind", FROM_COMMITS)
            gate = GateSpec(
                about,
                environment,
                None if word == FROM_COMMITS else ChangeKind(word),
                _seconds(part, "every", 60),
                _seconds(part, "timeout", 86_400),
            )
        case StageKind.DEPLOY:
            step = _step(part, name) if part.given("run") else None
            rollback, observe = _command(part, "rollback"), _command(part, "observe")
            deploy = DeploySpec(about, environment, step, observe, rollback, part.text("rollout"))
        case StageKind.VERIFY:
            step = _step(part, name) if part.given("run") else None
            bake_s, every_s = _seconds(part, "bake", 0), _seconds(part, "every", 15)
            verify = VerifySpec(about, step, part.texts("slos"), bake_s, every_s)
        case StageKind.PROMOTE | StageKind.ROLLBACK:
            steps = (_step(part, name),)
    return Stage(
        name=name,
        kind=kind,
        needs=table.texts("needs") if table.given("needs") else None,
        when=condition_of(table),
        matrix=Matrix(tuple(axes_of(matrix)), tuple(cells_of(matrix, "include")), tuple(cells_of(matrix, "exclude")))
        if matrix
        else None,
        env=_texts(table, "env"),
        executor=_executor(table),
        steps=steps,
        gate=gate,
        deploy=deploy,
        verify=verify,
        optional=bool(table.get("continueOnError", bool)),
    )


def _step(table: Table, name: str = "") -> StepSpec:
    retries = table.get("retries", Table)
    count = retries.get("count", Fraction) if retries else table.get("retries", Fraction)
    cache, artifacts = table.get("cache", Table), table.get("artifacts", Table)
    single = table.get("artifacts", str)
    return StepSpec(
        name=name or table.text("name"),
        run=_command(table, "run"),
        needs=table.texts("needs") if table.given("needs") else None,
        when=condition_of(table) if not name else condition_of(Table(table.spot, table.place)),
        env=_texts(table, "env"),
        secrets=table.texts("secrets"),
        folder=table.text("workingDirectory"),
        timeout_s=_seconds(table, "timeout", 3600),
        retries=int(count or 0),
        backoff_s=_seconds(retries, "backoff", 10),
        grace_s=_seconds(table, "grace", 10),
        cache=Cache(cache.texts("key"), cache.texts("paths")) if cache else None,
        artifacts=(single,) if single else artifacts.texts("paths") if artifacts else (),
        optional=bool(table.get("continueOnError", bool)),
        limits=_limits(table.get("limits", Table)),
    )


def _limits(table: Table | None) -> ResourceLimits:
    if table is None:
        return ResourceLimits()
    cpu = table.get("cpu", Duration)
    return ResourceLimits(
        None if cpu is None else cpu.seconds,
        _whole(table, "memoryMiB"),
        _whole(table, "fileMiB"),
        _whole(table, "processes"),
        _whole(table, "logMiB"),
    )


def _executor(table: Table) -> ExecutorSpec | None:
    if table.get("executor", str):
        return ExecutorSpec()
    given = table.get("executor", Table)
    if given is None:
        return None
    kind = ExecutorType.CONTAINER if given.given("container") else ExecutorType.KUBERNETES
    part = given.get(kind, Table)
    assert part is not None
    return ExecutorSpec(kind, part.text("image"), part.text("namespace"), part.text("claim"), part.text("mountPath"))


def _command(table: Table, name: str) -> Command:
    text = table.get(name, str)
    return table.texts(name) if text is None else (*SHELL, text)


def _texts(table: Table, name: str) -> dict[str, str]:
    return {key: value for key, value in (table.get(name, dict) or {}).items() if isinstance(value, str)}


def _seconds(table: Table | None, name: str, default: int) -> int:
    duration = table.get(name, Duration) if table else None
    return default if duration is None else duration.seconds


def _whole(table: Table, name: str) -> int | None:
    number = table.get(name, Fraction)
    return None if number is None else int(number)
