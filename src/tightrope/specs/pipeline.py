"""A pipeline as plain values: what starts it, and its stages from the commit to production and back."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from tightrope.base.errors import Place
from tightrope.base.values import dataclass, field
from tightrope.specs.model import NOWHERE, ChangeKind

FILE = "tightrope.yaml"
"""Where a repository has its pipeline, unless it says otherwise."""

PRODUCTION = "production"


class Condition(StrEnum):
    """What must have become of what a step or stage needs, for it to run."""

    SUCCESS = "success"
    FAILURE = "failure"
    ALWAYS = "always"


class StageKind(StrEnum):
    """What a stage does; the name of the field that says so."""

    STEPS = "steps"
    GATE = "gate"
    DEPLOY = "deploy"
    VERIFY = "verify"
    PROMOTE = "promote"
    ROLLBACK = "rollback"


class ExecutorType(StrEnum):
    """Where commands run."""

    LOCAL = "local"
    CONTAINER = "container"
    KUBERNETES = "kubernetes"


@dataclass(frozen=True, slots=True)
class ExecutorSpec:
    """Where commands run.

    Attributes:
        type: What runs them.
        image: For those that run containers.
        namespace: For Kubernetes: where the Jobs are.
        claim: The PersistentVolumeClaim that the workspaces are on; empty: Jobs are given none.
        mount_path: Where the server has its volume; empty: where it keeps its workspaces.
    """

    type: ExecutorType = ExecutorType.LOCAL
    image: str = ""
    namespace: str = ""
    claim: str = ""
    mount_path: str = ""


@dataclass(frozen=True, slots=True)
class PushTrigger:
    """Pushes to branches that fit one of the globs, if a changed path fits; empty: any."""

    branches: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    paths_ignored: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ScheduleTrigger:
    """A cron expression on the wall clock of a zone, and the branch that is taken then."""

    cron: str
    zone: str = "UTC"
    branch: str = "main"


@dataclass(frozen=True, slots=True)
class Input:
    """What a person may say when starting it: ``choices`` empty: anything."""

    name: str
    default: str = ""
    required: bool = False
    choices: tuple[str, ...] = ()
    description: str = ""


@dataclass(frozen=True, slots=True)
class Triggers:
    """What starts a pipeline; a person always may."""

    push: PushTrigger | None = None
    tags: tuple[str, ...] = ()
    schedules: tuple[ScheduleTrigger, ...] = ()
    inputs: tuple[Input, ...] = ()


@dataclass(frozen=True, slots=True)
class SecretRef:
    """Where a secret is: a variable of the server's environment, or a file on its machine. Never the secret."""

    name: str
    environment: str = ""
    file: str = ""


@dataclass(frozen=True, slots=True)
class Matrix:
    """One cell for each combination of the axes, without those excluded, and with those included."""

    axes: tuple[tuple[str, tuple[str, ...]], ...] = ()
    include: tuple[Mapping[str, str], ...] = ()
    exclude: tuple[Mapping[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Cache:
    """Paths of the workspace that are kept from run to run, under a key of what is in the files."""

    key: tuple[str, ...]
    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ResourceLimits:
    """What a command may use; None: as much as there is."""

    cpu_s: int | None = None
    memory_mib: int | None = None
    file_mib: int | None = None
    processes: int | None = None
    log_mib: int | None = None


Command = tuple[str, ...]
"""A program and its arguments; a text is run by a shell: ``("sh", "-e", "-c", text)``."""


@dataclass(frozen=True, slots=True)
class StepSpec:
    """One command of a stage.

    Attributes:
        needs: Steps of the same stage that must be over; None: the one before it.
        cache: What is kept from run to run.
        artifacts: Globs of files in the workspace that are kept, each with its digest.
        optional: Its failure does no harm.
    """

    name: str
    run: Command
    needs: tuple[str, ...] | None = None
    when: Condition = Condition.SUCCESS
    env: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    folder: str = ""
    timeout_s: int = 3600
    retries: int = 0
    backoff_s: int = 10
    grace_s: int = 10
    cache: Cache | None = None
    artifacts: tuple[str, ...] = ()
    optional: bool = False
    limits: ResourceLimits = ResourceLimits()


@dataclass(frozen=True, slots=True)
class GateSpec:
    """Asks whether the change may go out. ``kind`` None: that of its commits. ``hold_s``: how long *wait* may last."""

    service: str
    environment: str = PRODUCTION
    kind: ChangeKind | None = None
    every_s: int = 60
    hold_s: int = 86_400


@dataclass(frozen=True, slots=True)
class DeploySpec:
    """Brings a version into an environment: by a command, or by a rollout strategy.

    Attributes:
        observe: Tells whether this version is there: status 0 yes, 1 no. Without it a person says what became of a
            deployment whose outcome nobody knows.
        rollback: Brings back what was there; run without being asked for when a later stage fails.
        rollout: Name of a RolloutStrategy, in place of ``step``.
    """

    service: str
    environment: str = PRODUCTION
    step: StepSpec | None = None
    observe: Command = ()
    rollback: Command = ()
    rollout: str = ""


@dataclass(frozen=True, slots=True)
class VerifySpec:
    """Looks whether the version is good: by a command, then by watching SLOs for a while."""

    service: str
    step: StepSpec | None = None
    slos: tuple[str, ...] = ()
    bake_s: int = 0
    every_s: int = 15


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage. ``needs`` None: the stage before it that is not there for a failure.

    Attributes:
        steps: The commands of a stage of steps; the one command of promote and rollback, where it has one.
    """

    name: str
    kind: StageKind
    needs: tuple[str, ...] | None = None
    when: Condition = Condition.SUCCESS
    matrix: Matrix | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    executor: ExecutorSpec | None = None
    steps: tuple[StepSpec, ...] = ()
    gate: GateSpec | None = None
    deploy: DeploySpec | None = None
    verify: VerifySpec | None = None
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Pipeline:
    """From a commit to production, and back.

    Attributes:
        service: What its gates and deployments are about, unless they say otherwise.
        repository: Where its commits are: an address or a path that git can clone; empty: where the file stands.
        file: Its definition is this file of the repository, as of the commit; empty: this document.
        concurrency: Of runs of one group, one is under way; others queue. Empty: the name of the pipeline.
        version: Digest of the document.
    """

    name: str
    stages: tuple[Stage, ...]
    service: str = ""
    repository: str = ""
    file: str = ""
    description: str = ""
    triggers: Triggers = Triggers()
    env: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[SecretRef, ...] = ()
    concurrency: str = ""
    executor: ExecutorSpec = ExecutorSpec()
    version: str = ""
    folder: str = "."
    place: Place = NOWHERE

    def stage(self, name: str) -> Stage:
        """The stage of that name; raises `KeyError`."""
        for stage in self.stages:
            if stage.name == name:
                return stage
        raise KeyError(name)
