"""The kind Pipeline: what starts it, and its stages from the commit to production and back. Here is its table."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import product

from tightrope.base.errors import Place, UsageError
from tightrope.base.values import dataclass
from tightrope.specs.model import ChangeKind
from tightrope.specs.pipeline import Condition, StageKind
from tightrope.specs.positions import ListNode, MapNode, Node, Report, ScalarNode, clipped, described, is_null
from tightrope.specs.secrets import VARIABLE
from tightrope.specs.shapes import (
    DNS_LABEL,
    Either,
    Field,
    Flag,
    Form,
    Law,
    ListOf,
    MapOf,
    Number,
    OneOf,
    Record,
    Schema,
    Span,
    Spot,
    Table,
    Text,
    Word,
    Zone,
    nearest,
)

MOST_CELLS = 256
FROM_COMMITS = "commits"

_UNITS = "smhdw"
_NAME = Form(
    "^[A-Za-z0-9]([A-Za-z0-9 ._-]{0,61}[A-Za-z0-9])?$",
    "is no name",
    "use at most 63 letters, digits, spaces and . _ -, with a letter or digit at both ends",
    63,
)
_KEY = Form(VARIABLE.pattern, VARIABLE.says, "use letters, digits and _, such as DEPLOY_TOKEN", 255)
_PATH = Form(
    "^(?!/)(?!~)(?!(.*/)?[.][.](/|$)).+$",
    "leads out of the workspace",
    "write a path below the root of the repository, without ..",
)
_CLAIM = Form(
    "^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$",
    "is no name of a claim",
    "use at most 253 lower-case letters, digits, - and .",
    253,
)
_WHOLE_PATH = Form("^/.+$", "is no absolute path", "write the whole path")


# --- small shapes --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Plain:
    """Any single value, as text just as it is written: variables of an environment are text."""

    def read(self, node: Node, spot: Spot, report: Report) -> str | None:
        if isinstance(node, ScalarNode) and not is_null(node):
            if "\0" not in node.text:
                return node.text
            report.add("TR015", f"{spot.name} holds a zero byte", node.place, path=spot.path, remedy="remove it")
            return None
        report.add(
            "TR014",
            f"{spot.name} should be a single value, not {described(node)}",
            spot.key,
            path=spot.path,
            note="a value",
            remedy='write one value, which is taken as text; "" for an empty one',
        )
        return None

    def schema(self, _defs: dict[str, Schema], /) -> Schema:
        return {"type": ["string", "number", "boolean"]}


@dataclass(frozen=True, slots=True)
class CronText:
    """A cron expression of five fields, or ``@daily`` and its like."""

    def read(self, node: Node, spot: Spot, report: Report) -> str | None:
        from tightrope.specs.cron import parse_cron

        text = node.text.strip() if isinstance(node, ScalarNode) else ""
        try:
            parse_cron(text)
        except UsageError as error:
            place = node.place if isinstance(node, ScalarNode) and node.text else spot.key
            report.add("TR060", error.message, place, path=spot.path, remedy=error.remedy)
            return None
        return text

    def schema(self, _defs: dict[str, Schema], /) -> Schema:
        return {"type": "string", "pattern": r"^\s*(@[a-z]+|\S+(\s+\S+){4})\s*$", "examples": ["30 2 * * mon-fri"]}


@dataclass(frozen=True, slots=True)
class MatrixShape:
    """Axes by name, each a list of values, with ``include`` and ``exclude`` beside them."""

    def read(self, node: Node, spot: Spot, report: Report) -> Table | None:
        if not isinstance(node, MapNode):
            said = f"{spot.name} should be a mapping, not {described(node)}"
            remedy = "write an axis with its values: `python: ['3.11', '3.12']`"
            report.add("TR014", said, spot.key, path=spot.path, note="axes", remedy=remedy)
            return None
        table = Table(spot, node.place)
        for key, value in node.entries:
            shape = _CELLS if key.text in {"include", "exclude"} else _VALUES
            here = spot.field(key.text, key.place)
            if shape is _VALUES and re.fullmatch(VARIABLE.pattern, key.text) is None:
                said = f"the axis {clipped(key.text)!r} {VARIABLE.says}"
                report.add("TR015", said, key.place, path=here.path, remedy="use letters, digits and _")
                continue
            table.nodes[key.text], table.keys[key.text] = value, key.place
            good = shape.read(value, here, report)
            if good is not None:
                table.values[key.text] = good
        _check_matrix(table, report)
        return table

    def schema(self, defs: dict[str, Schema], /) -> Schema:
        return {
            "type": "object",
            "properties": {"include": _CELLS.schema(defs), "exclude": _CELLS.schema(defs)},
            "propertyNames": {"pattern": VARIABLE.pattern},
            "additionalProperties": _VALUES.schema(defs),
            "minProperties": 1,
        }


_VALUES = ListOf(Plain(), 1)
_CELLS = ListOf(MapOf(_KEY, Plain()), 1)


def axes_of(table: Table) -> list[tuple[str, tuple[str, ...]]]:
    """The axes of a matrix with their values, in their order."""
    return [(name, table.texts(name)) for name in table.nodes if name not in {"include", "exclude"}]


def cells_of(table: Table, name: str) -> list[Mapping[str, str]]:
    """What ``include`` or ``exclude`` lists."""
    return [one for one in table.get(name, tuple) or () if isinstance(one, dict)]


def cells(
    axes: Sequence[tuple[str, tuple[str, ...]]],
    include: Sequence[Mapping[str, str]],
    exclude: Sequence[Mapping[str, str]],
) -> list[dict[str, str]]:
    """Every combination of the axes, without those that hold all that an exclusion says, and with those included.

    An inclusion that agrees with combinations in all axes that it names adds its other values to them; else it is a
    cell of its own.
    """
    names = [name for name, _ in axes]
    found = [dict(zip(names, values, strict=True)) for values in product(*(values for _, values in axes))]
    if not axes:
        found = []
    found = [one for one in found if not any(_holds(one, wanted) for wanted in exclude)]
    own: list[dict[str, str]] = []
    for more in include:
        known = {name: value for name, value in more.items() if name in names}
        fitting = [one for one in found if known and _holds(one, known)]
        if not fitting:
            if dict(more) not in own:
                own.append(dict(more))
            continue
        for one in fitting:
            one.update(more)
    return found + own


def _holds(cell: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    return all(cell.get(name) == value for name, value in wanted.items())


def _check_matrix(table: Table, report: Report) -> None:
    axes = axes_of(table)
    names = [name for name, _ in axes]
    for one, spot in _with_spots(table, "exclude"):
        strange = [name for name in one if name not in names]
        if strange:
            report.add(
                "TR061",
                f"exclude names {strange[0]!r}, which is no axis of the matrix",
                spot,
                path=table.path("exclude"),
                note=f"did you mean {close}?" if (close := nearest(strange[0], names)) else "",
                remedy=f"write one of {', '.join(names)}" if names else "add the axis, or remove the exclusion",
            )
    for name, values in axes:
        double = next((value for number, value in enumerate(values) if value in values[:number]), None)
        if double is not None:
            said = f"the axis {name} has the value {clipped(double)!r} twice"
            report.add("TR061", said, table.keys[name], path=table.path(name), remedy="remove one")
    size = 1
    for _, values in axes:
        size *= max(1, len(values))
    if size > 50 * MOST_CELLS:
        count = size
    elif all(name in table.values for name in table.nodes):
        count = len(cells(axes, cells_of(table, "include"), cells_of(table, "exclude")))
    else:
        return  # what cannot be read has its finding
    if count == 0 or count > MOST_CELLS:
        said = "no cell is left of the matrix" if count == 0 else f"the matrix has {count} cells"
        report.add(
            "TR061",
            said,
            table.spot.key,
            path=table.spot.path,
            note="" if count == 0 else f"at most {MOST_CELLS}",
            remedy="exclude less, or add an axis" if count == 0 else "use fewer values, or exclude some",
        )


def _with_spots(table: Table, name: str) -> Iterator[tuple[Mapping[str, str], Place]]:
    node = table.nodes.get(name)
    items = node.items if isinstance(node, ListNode) else ()
    good = cells_of(table, name)
    if len(good) == len(items):
        yield from ((one, item.place) for one, item in zip(good, items, strict=True))


# --- the table -----------------------------------------------------------------------------------------------------

_COMMAND = Either(Text(), ListOf(Text(empty=True), 1))
_ENV = MapOf(_KEY, Plain())
_PATHS = ListOf(Text(_PATH), 1)
_NAMES = ListOf(Text())
_IF = Field(Word(tuple(Condition)), says="success, failure or always: when it runs; success if absent.")
_COUNT = Number(at_least=Fraction(0), at_most=Fraction(20), whole=True)
_ABOVE_0 = Number(at_least=Fraction(1), whole=True)

_LIMITS = Record(
    {
        "cpu": Field(Span(units=_UNITS), says="Processor time of each process."),
        "memoryMiB": Field(_ABOVE_0, says="Memory of each process; of a container all together."),
        "fileMiB": Field(_ABOVE_0, says="The largest file it may write."),
        "processes": Field(_ABOVE_0, says="How many processes its user may have."),
        "logMiB": Field(_ABOVE_0, says="How much of its output is kept; 10 if absent."),
    },
    name="CommandLimits",
)

_CACHE = Record(
    {
        "key": Field(_PATHS, True, "Files whose content names the cache, such as requirements.lock"),
        "paths": Field(_PATHS, True, "What is kept from run to run"),
    },
    name="PipelineCache",
    synonyms={"files": "key"},
)

_ARTIFACTS = Record({"paths": Field(_PATHS, True, "Globs of files to keep, each with its digest")}, name="Artifacts")

_RUNS = {
    "env": Field(_ENV, says="Variables of its environment."),
    "secrets": Field(_NAMES, says="Names of the pipeline's secrets that it gets as variables."),
    "workingDirectory": Field(Text(_PATH), says="Where it runs, below the root of the repository."),
    "timeout": Field(Span(units=_UNITS), says="When it is stopped; 1h if absent."),
    "grace": Field(Span(zero=True, units=_UNITS), says="From being asked to end until it is killed; 10s if absent."),
    "retries": Field(
        Either(
            _COUNT,
            Record(
                {
                    "count": Field(_COUNT, True, "How often it is tried again"),
                    "backoff": Field(Span(units=_UNITS), says="Pause before the first, doubled each time; 10s."),
                }
            ),
        ),
        says="How often it is tried again after a failure; 0 if absent.",
    ),
    "limits": Field(_LIMITS, says="What it may use."),
}

_STEP = Record(
    {
        "name": Field(Text(_NAME), True, "Unique in its stage"),
        "run": Field(_COMMAND, True, "Line for the shell, or a list of program and arguments"),
        "needs": Field(_NAMES, says="Steps of this stage that must be over; the one before it, if absent."),
        "if": _IF,
        **_RUNS,
        "cache": Field(_CACHE, says="What is kept from run to run."),
        "artifacts": Field(Either(Text(_PATH), _ARTIFACTS), says="Files to keep, each with its digest."),
        "continueOnError": Field(Flag(), says="Whether its failure does no harm."),
    },
    name="PipelineStep",
    synonyms={"command": "run", "script": "run", "environment": "env", "retry": "retries", "cwd": "workingDirectory"},
)

_GATE = Record(
    {
        "service": Field(Text(), says="The service; the pipeline's, if absent."),
        "environment": Field(Text(), says="Where it goes; production if absent."),
        "kind": Field(
            Word((FROM_COMMITS, *ChangeKind)), says="The kind of change; commits, if absent: as its commits say."
        ),
        "every": Field(Span(units=_UNITS), says="How often to ask again while the answer is wait; 1m if absent."),
        "timeout": Field(Span(units=_UNITS), says="For how long the answer may be wait; 1d if absent."),
    },
    name="PipelineGate",
    synonyms={"env": "environment"},
)

_DEPLOY = Record(
    {
        "service": Field(Text(), says="The service; the pipeline's, if absent."),
        "environment": Field(Text(), says="Where it goes; production if absent."),
        "run": Field(_COMMAND, says="The command that deploys this version."),
        "rollout": Field(Text(DNS_LABEL), says="Name of a RolloutStrategy, in place of a command."),
        "observe": Field(_COMMAND, says="Ends with 0 if this version is there, with 1 if not."),
        "rollback": Field(_COMMAND, says="Brings back what was there; runs when a later stage fails."),
        **_RUNS,
    },
    rules=(OneOf(("run", "rollout")),),
    name="PipelineDeploy",
    synonyms={"command": "run", "probe": "observe", "strategy": "rollout", "undo": "rollback"},
)


def _verifies(table: Table, report: Report) -> None:
    if table.given("slos") != table.given("bake"):
        given, missing = ("slos", "bake") if table.given("slos") else ("bake", "slos")
        report.add(
            "TR018",
            f"{given} needs {missing} beside it",
            table.keys[given],
            path=table.spot.path,
            remedy="add `bake: 10m`" if missing == "bake" else "add `slos:` with the names to watch",
        )
    if not table.given("run") and not table.given("slos") and not table.given("bake"):
        report.add(
            "TR018",
            "verify has nothing to look at",
            table.spot.key,
            path=table.spot.path,
            note="needs run, or slos and bake",
            remedy="add `run:` with a command, or `slos:` and `bake:`",
        )


_VERIFY = Record(
    {
        "service": Field(Text(), says="The service; the pipeline's, if absent."),
        "run": Field(_COMMAND, says="A command that ends with 0 if all is well."),
        "slos": Field(ListOf(Text(), 1), says="SLOs that must not page nor spend too fast meanwhile."),
        "bake": Field(Span(units=_UNITS), says="For how long they are watched."),
        "every": Field(Span(units=_UNITS), says="How often they are looked at; 15s if absent."),
        **_RUNS,
    },
    rules=(Law(_verifies, {"anyOf": [{"required": ["run"]}, {"required": ["slos", "bake"]}]}),),
    name="PipelineVerify",
    synonyms={"command": "run"},
)

_PROMOTE = Record(
    {"run": Field(_COMMAND, True, "The command that lets all users have it"), **_RUNS},
    name="PipelinePromote",
    synonyms={"command": "run"},
)
_ROLLBACK = Record(
    {"run": Field(_COMMAND, says="The command; that of the deployments before it, if absent."), **_RUNS},
    name="PipelineRollback",
    synonyms={"command": "run"},
)


def _claimed(table: Table, report: Report) -> None:
    if table.given("mountPath") and not table.given("claim"):
        report.add(
            "TR018",
            "mountPath needs claim beside it",
            table.keys["mountPath"],
            path=table.spot.path,
            remedy="add `claim:` with the name of the PersistentVolumeClaim",
        )


_EXECUTOR = Either(
    Word(("local",)),
    Record(
        {
            "container": Field(
                Record({"image": Field(Text(), True, "Such as python:3.12-slim")}), says="A container on this machine."
            ),
            "kubernetes": Field(
                Record(
                    {
                        "image": Field(Text(), True, "Such as python:3.12-slim"),
                        "namespace": Field(Text(DNS_LABEL), says="default if absent."),
                        "claim": Field(
                            Text(_CLAIM), says="The PersistentVolumeClaim with the workspace; it gets none, if absent."
                        ),
                        "mountPath": Field(
                            Text(_WHOLE_PATH), says="Where the server has the claim's volume; its --work, if absent."
                        ),
                    },
                    rules=(Law(_claimed),),
                    synonyms={"pvc": "claim", "claimName": "claim", "volume": "claim"},
                ),
                says="A Job in a cluster.",
            ),
        },
        rules=(OneOf(("container", "kubernetes")),),
    ),
)

_STAGE = Record(
    {
        "name": Field(Text(_NAME), True, "Unique in the pipeline"),
        "needs": Field(_NAMES, says="Stages that must be over; the one before it, if absent; [] for none."),
        "if": _IF,
        "matrix": Field(MatrixShape(), says="Axes with their values: the steps run once for each combination."),
        "env": Field(_ENV, says="Variables of all its steps."),
        "executor": Field(_EXECUTOR, says="local, or a container or kubernetes with an image."),
        "continueOnError": Field(Flag(), says="Whether its failure does no harm."),
        "steps": Field(ListOf(_STEP, 1), says="Commands, one after the other."),
        "gate": Field(_GATE, says="Ask whether the change may go out."),
        "deploy": Field(_DEPLOY, says="Bring the version into an environment."),
        "verify": Field(_VERIFY, says="Look whether it is good."),
        "promote": Field(_PROMOTE, says="Let all users have it."),
        "rollback": Field(_ROLLBACK, says="Bring back what was there."),
    },
    rules=(OneOf(tuple(StageKind)), OneOf(("matrix", "gate"), needed=False)),
    name="PipelineStage",
    synonyms={"jobs": "steps", "when": "if", "dependsOn": "needs", "strategy": "matrix"},
)

_SECRET = Record(
    {
        "fromEnvironment": Field(Text(VARIABLE), says="Variable of the server's environment that holds it."),
        "fromFile": Field(Text(_WHOLE_PATH), says="File."),
    },
    rules=(OneOf(("fromEnvironment", "fromFile")),),
    name="PipelineSecret",
    synonyms={"env": "fromEnvironment", "file": "fromFile"},
)

_INPUT = Record(
    {
        "description": Field(Text(empty=True), says="What it is for."),
        "default": Field(Plain(), says="Taken where nothing is said."),
        "required": Field(Flag(), says="Whether something must be said."),
        "oneOf": Field(_VALUES, says="What may be said; anything, if absent."),
    },
    synonyms={"options": "oneOf", "enum": "oneOf", "choices": "oneOf"},
)

_TRIGGERS = Record(
    {
        "push": Field(
            Record(
                {
                    "branches": Field(ListOf(Text(), 1), says="Globs of branches; all, if absent."),
                    "paths": Field(ListOf(Text(), 1), says="Globs: only if a changed file fits one."),
                    "pathsIgnore": Field(ListOf(Text(), 1), says="Globs: changes of these alone start nothing."),
                }
            ),
            says="Pushes to branches.",
        ),
        "tags": Field(ListOf(Text(), 1), says='Globs of tags, such as "v*".'),
        "schedule": Field(
            ListOf(
                Record(
                    {
                        "cron": Field(CronText(), True, "Such as 30 2 * * mon-fri"),
                        "timeZone": Field(Zone(), says="UTC if absent."),
                        "branch": Field(Text(), says="main if absent."),
                    }
                ),
                1,
            ),
            says="Times; what was missed while nothing ran happens once.",
        ),
        "manual": Field(
            Record({"inputs": Field(MapOf(_KEY, _INPUT), says="What may be said when starting it.")}),
            says="Starting it by hand.",
        ),
    },
    name="PipelineTriggers",
    synonyms={"tag": "tags", "cron": "schedule", "workflow_dispatch": "manual", "schedules": "schedule"},
)


# --- what must hold over several fields ----------------------------------------------------------------------------


def _stages_add_up(table: Table, report: Report) -> None:
    stages = table.tables("stages")
    _needs_add_up(stages, "stage", report)
    for stage in stages:
        _needs_add_up(stage.tables("steps"), "step", report)
    secrets = table.get("secrets", dict) or {}
    for part in _parts(stages):
        for number, name in enumerate(part.texts("secrets")):
            if name not in secrets:
                close = nearest(name, secrets)
                report.add(
                    "TR062",
                    f"the pipeline has no secret {clipped(name)!r}",
                    _item(part, "secrets", number),
                    path=part.path("secrets"),
                    note=f"did you mean {close}?" if close else "",
                    remedy=f"write {close}" if close else f"add it: `secrets: {{{name}: {{fromEnvironment: {name}}}}}`",
                )
    for stage in stages:
        for kind in ("gate", "deploy", "verify"):
            asking = stage.get(kind, Table)
            if asking is not None and not asking.text("service") and not table.text("service"):
                if kind == "verify" and not asking.given("slos"):
                    continue
                report.add(
                    "TR013",
                    f"{asking.path('service')} is missing",
                    stage.keys[kind],
                    path=asking.path("service"),
                    note="whose?",
                    remedy="add `service:` to the spec of the pipeline, or here",
                )
        if not _has_workspace(stage, table):
            for part in _parts([stage]):
                for name in ("cache", "artifacts", "workingDirectory"):
                    if part.given(name):
                        report.add(
                            "TR018",
                            f"{name} needs the workspace, and a Job without a claim has none",
                            part.keys[name],
                            path=part.path(name),
                            remedy="add `claim:` to `kubernetes:`, with the volume that the server works on",
                        )
    _gated(stages, report)


def _has_workspace(stage: Table, pipeline: Table) -> bool:
    executor = (stage if stage.given("executor") else pipeline).get("executor", Table)
    job = executor.get("kubernetes", Table) if executor is not None else None
    return job is None or job.given("claim")


def _parts(stages: Sequence[Table]) -> Iterator[Table]:
    """Everything that runs a command."""
    for stage in stages:
        yield from stage.tables("steps")
        for kind in ("deploy", "verify", "promote", "rollback"):
            part = stage.get(kind, Table)
            if part is not None:
                yield part


def _item(table: Table, name: str, number: int) -> Place:
    node = table.nodes.get(name)
    if isinstance(node, ListNode) and number < len(node.items):
        return node.items[number].place
    return table.at(name)


def _needs_add_up(tables: Sequence[Table], what: str, report: Report) -> None:
    """Names are unique, needs lead to one of them, and to no circle."""
    seen: dict[str, Table] = {}
    for one in tables:
        name = one.text("name")
        if name in seen:
            report.add(
                "TR027",
                f"two {what}s are called {name}",
                one.at("name"),
                path=one.path("name"),
                note=f"first on line {seen[name].at('name').line}",
                remedy="rename one",
            )
        elif name:
            seen[name] = one
    whole = all(one.text("name") for one in tables)
    for one in tables:
        for number, need in enumerate(one.texts("needs")):
            if need in seen or not whole:
                continue
            close = nearest(need, seen)
            report.add(
                "TR063",
                f"there is no {what} {clipped(need)!r} to need",
                _item(one, "needs", number),
                path=one.path("needs"),
                note=f"did you mean {close}?" if close else "",
                remedy=f"write {close}" if close else f"write one of {', '.join(seen)}",
            )
    circle = _circle({name: needs for name, needs in needed(tables).items() if name in seen})
    if circle:
        first = seen[circle[0]]
        report.add(
            "TR064",
            f"{what}s need each other in a circle: {' → '.join((*circle, circle[0]))}",
            first.keys.get("needs", first.spot.key),
            path=first.path("needs"),
            remedy=f"let one {what} not need the next",
        )


def needed(tables: Sequence[Table]) -> dict[str, tuple[str, ...]]:
    """What each stage or step needs, by name: what it says, else what stands before it and is not for failures."""
    found: dict[str, tuple[str, ...]] = {}
    before: tuple[str, ...] = ()
    for one in tables:
        name = one.text("name")
        found.setdefault(name, one.texts("needs") if one.given("needs") else before)
        if condition_of(one) is not Condition.FAILURE:
            before = (name,)
    return found


def condition_of(table: Table) -> Condition:
    """When a stage or step runs; a rollback unless it says otherwise on failure."""
    return Condition(table.text("if", Condition.FAILURE if table.given("rollback") else Condition.SUCCESS))


def _circle(needs: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Names that need each other, each the next; empty where there is no circle."""
    done: set[str] = set()
    for first in needs:
        path: list[str] = []
        ahead = [(first, iter(needs[first]))] if first not in done else []
        path += [first] if ahead else []
        while ahead:
            name, rest = ahead[-1]
            following = next((one for one in rest if one in needs and one not in done), None)
            if following is None:
                done.add(name)
                ahead.pop()
                path.pop()
            elif following in path:
                return tuple(path[path.index(following) :])
            else:
                path.append(following)
                ahead.append((following, iter(needs[following])))
    return ()


def _gated(stages: Sequence[Table], report: Report) -> None:
    """Warn of a way to production that passes no gate, and of a deployment that nobody could look at."""
    needs = needed(stages)
    by_name = {one.text("name"): one for one in stages}
    for stage in stages:
        deploy = stage.get("deploy", Table)
        if deploy is None:
            continue
        environment = deploy.text("environment", "production")
        if not any(by_name[name].given("gate") for name in _before(stage.text("name"), needs) if name in by_name):
            report.add(
                "TR065",
                f"nothing asks the gate before {stage.text('name')} brings a version to {environment}",
                stage.keys["deploy"],
                path=deploy.spot.path,
                note="no gate on the way here",
                remedy="put a stage `gate: {}` before it",
            )
        if deploy.given("run") and not deploy.given("observe"):
            report.add(
                "TR066",
                f"nobody could tell whether {stage.text('name')} went through when it is cut short",
                stage.keys["deploy"],
                path=deploy.spot.path,
                note="no observe",
                remedy="add `observe:` with a command that ends with 0 if this version is there, and with 1 if not",
            )


def _before(name: str, needs: Mapping[str, Sequence[str]]) -> set[str]:
    found: set[str] = set()
    ahead = list(needs.get(name, ()))
    while ahead:
        one = ahead.pop()
        if one not in found:
            found.add(one)
            ahead += needs.get(one, ())
    return found


def pipeline_spec(description: Field) -> Record:
    """The table of a spec of this kind."""
    return Record(
        {
            "description": description,
            "service": Field(Text(), says="What its gates and deployments are about, unless they say otherwise."),
            "repository": Field(Text(), says="Address or path that git can clone; where the file is, if absent."),
            "file": Field(
                Text(_PATH), says="On a server: take the pipeline from this file of the repository, as of the commit."
            ),
            "triggers": Field(_TRIGGERS, says="What starts it; a person always may."),
            "env": Field(_ENV, says="Variables of all its commands."),
            "secrets": Field(MapOf(_KEY, _SECRET), says="Where secrets are; never the secrets themselves."),
            "concurrency": Field(Text(_NAME), says="Runs of one group go one after the other; its name, if absent."),
            "executor": Field(_EXECUTOR, says="Where commands run; local if absent."),
            "stages": Field(ListOf(_STAGE, 1), True, "From the commit to production"),
        },
        rules=(Law(_stages_add_up),),
        synonyms={"on": "triggers", "jobs": "stages", "environment": "env", "steps": "stages", "group": "concurrency"},
    )
