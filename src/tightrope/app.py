"""The parts, built and joined: the one place that knows every room, for the fronts to call."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, NoReturn

from tightrope.base import clock
from tightrope.base.errors import NotFoundError, SpecError, SpecsInvalidError, TightropeError, UsageError
from tightrope.specs.model import (
    DataSource,
    ErrorBudgetPolicy,
    ExceptionQuota,
    Expression,
    IntegrationType,
    NotificationChannel,
    Objective,
    Slo,
    Specs,
    leaves,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tightrope.backtest.labels import Deployment as KnownDeployment
    from tightrope.backtest.scenario import Result, Scenario
    from tightrope.delivery.changes import Deployment
    from tightrope.delivery.pipelines.store import Shelves
    from tightrope.delivery.pipelines.usecases import Pipelines
    from tightrope.delivery.rollouts.usecases import Rollouts
    from tightrope.engine.plan import Incident
    from tightrope.loop.assess import Assessment
    from tightrope.loop.feeds import Feed, Wanted
    from tightrope.loop.live import Live
    from tightrope.loop.server import Server, ServeSettings
    from tightrope.policy.decision import Decision, GateFacts, GateRequest
    from tightrope.runs.executors import Executor
    from tightrope.runs.executors.local import LocalExecutor
    from tightrope.runs.usecases import Runs
    from tightrope.specs.store import Survey
    from tightrope.telemetry.reading import Reading

Tell = Callable[[str, int, int | None], None]
LIVE_SOURCES = frozenset({"prometheus", "sql"})
"""Types of data source that know the present, and are asked for it."""

RECORDED = frozenset({"csv", "parquet", "access-log", "openmetrics"})
"""Types of data source that are files."""


def load_specs(paths: Sequence[str]) -> Specs:
    """Read specs from files, directories and ``-``, standard input; raises `SpecsInvalidError` with all findings."""
    specs, findings = _judged(_survey(paths))
    if specs is None:
        raise SpecsInvalidError(findings)
    return specs


def vary_specs(paths: Sequence[str], slos: Sequence[str], settings: Sequence[str]) -> Specs:
    """Read specs with some values changed, see `tightrope.specs.varying`; raises as `load_specs`, and `UsageError`."""
    from pathlib import Path

    from tightrope.specs.store import Written, survey
    from tightrope.specs.varying import read_setting, varied

    shelved = {(one.kind, one.name): one for one in _survey(paths).documents}
    wanted = [read_setting(one) for one in settings]
    changed = varied({key: one.text for key, one in shelved.items()}, slos, wanted)
    texts = [
        Written(f"<{key[0]} {key[1]} as set>", str(Path(shelved[key].place.file).parent), text)
        for key, text in changed.items()
    ]
    specs, findings = _judged(survey(paths, texts=texts, instead=changed.keys()))
    if specs is None:
        raise SpecsInvalidError(findings)
    return specs


def examine_specs(paths: Sequence[str]) -> tuple[Specs | None, tuple[SpecError, ...]]:
    """Read specs and hand back all findings with them; None instead of specs where one is an error.

    PolicyTests are read, too, but not run. `load_specs` leaves them alone: no gate waits for a test to be mended.
    """
    survey = _survey(paths)
    specs, findings = _judged(survey)
    if not survey.policy_tests:
        return specs, findings
    return _with_more(specs, findings, _scenarios(survey, specs)[1])


def explain_finding(code: str) -> str:
    """Tell what a finding of ``tightrope validate`` means and how to mend it; raises `NotFoundError`."""
    from tightrope.specs.findings import CATALOGUE

    if code not in CATALOGUE:
        raise NotFoundError(f"there is no finding {code}", remedy="docs/findings.md lists them all")
    rule = CATALOGUE[code]
    example = "\n".join(f"    {line}" for line in rule.example.splitlines())
    return f"{rule.severity}[{rule.code}]: {rule.title}\n\n{rule.says}\n\n{example}"


def write_starter(directory: str, service: str, source: str, *, force: bool = False) -> list[str]:
    """Write the commented starter specs; raises `UsageError` where a file is in the way."""
    from pathlib import Path

    from tightrope.specs.starter import starter

    folder = Path(directory)
    files = starter(service, source)
    there = [str(folder / name) for name in files if (folder / name).exists()]
    if there and not force:
        raise UsageError(
            f"{there[0]} is there already", remedy="choose another DIRECTORY, or write over it with --force"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (folder / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{directory} cannot be written: {error.strerror}") from None
    return [str(folder / name) for name in files]


def run_policy_tests(paths: Sequence[str]) -> list[Result]:
    """Run every PolicyTest among *paths* against the policies found there.

    Raises:
        SpecsInvalidError: A spec or a PolicyTest has errors, or names a policy or a state that is not there.
        NotFoundError: There is no PolicyTest.
    """
    from tightrope.backtest.scenario import run
    from tightrope.loop.rehearsal import rehearse

    survey = _survey(paths)
    specs, findings = _judged(survey)
    if specs is None:
        raise SpecsInvalidError(findings)
    scenarios, wrong = _scenarios(survey, specs)
    if wrong:
        raise SpecsInvalidError(tuple(wrong))
    if not scenarios:
        raise NotFoundError(
            "there is no PolicyTest in the specs", remedy="write one; see docs/policy.md, 'Policies have tests'"
        )
    return [run(scenario, rehearse(specs, scenario)) for scenario in scenarios]


def choose(specs: Specs, names: Sequence[str]) -> tuple[Slo, ...]:
    """Pick the SLOs that *names* mean, by service or by SLO name; all where there are no names.

    Raises:
        NotFoundError: A name means nothing; the message lists what there is.
    """
    if not names:
        return specs.slos
    meant: dict[str, list[Slo]] = {}
    for slo in specs.slos:
        for name in {slo.service, slo.name}:
            meant.setdefault(name, []).append(slo)
    chosen: dict[str, Slo] = {}
    for name in names:
        if name not in meant:
            raise NotFoundError(f"there is no service or SLO named {name!r}", remedy=_near(name, specs))
        chosen |= {slo.name: slo for slo in meant[name]}
    return tuple(chosen.values())


def assess_specs(
    specs: Specs,
    slos: Sequence[Slo],
    *,
    at: int | None = None,
    since: int | None = None,
    incidents: Sequence[Incident] = (),
    strict: bool = False,
    tell: Tell | None = None,
) -> list[Assessment]:
    """Read the telemetry of *slos* and draw up where they stand.

    Args:
        at: The instant, nothing later visible; None is now for live sources, and the end of the data for files.
        since: Tell of the history only what happened after this instant.
        incidents: Known incidents.
        strict: Refuse bad rows instead of counting them.
        tell: Hears how far the reading is.
    """
    found: list[Assessment] = []
    recorded: list[Slo] = []
    live: list[Slo] = []
    for slo in slos:
        (live if is_live(slo) else recorded).append(slo)
    for group, instant in ((recorded, at), (live, clock.now() if at is None else at)):
        if group:
            found += _assess(specs, group, instant, since, incidents, strict, tell)
    order = {slo.name: number for number, slo in enumerate(slos)}
    return sorted(found, key=lambda one: order[one.slo.name])


def decide_gate(
    specs: Specs,
    request: GateRequest,
    *,
    incidents: Sequence[Incident] = (),
    strict: bool = False,
    spent: frozenset[str] = frozenset(),
) -> tuple[Decision, GateFacts]:
    """Answer whether a change may go out at ``request.asked_at``, nothing later visible; and what that rests on.

    Telemetry that can't be read stops no rollback, and no kind that the policy lets pass without data: for them it is a
    fact to decide on. Exceptions in *spent* were used before.

    Raises:
        NotFoundError: No SLO and no Service document names the service.
        TightropeError: Telemetry can't be read, and the kind of change may not go without it.
    """
    from dataclasses import replace

    from tightrope.loop.gatekeeper import gather, gather_unread
    from tightrope.policy.gate import decide
    from tightrope.specs.model import ChangeKind

    slos = specs.of_service(request.service)
    if not slos and request.service not in specs.services:
        raise NotFoundError(f"there is no service named {request.service!r}", remedy=_near(request.service, specs))
    try:
        assessments = assess_specs(specs, slos, at=request.asked_at, incidents=incidents, strict=strict)
    except TightropeError as error:
        facts = gather_unread(specs, request, error.message, incidents)
        if request.kind is not ChangeKind.ROLLBACK and request.kind not in facts.policy.unknown.passes:
            raise
    else:
        facts = gather(specs, request, assessments)
    facts = replace(facts, bullets_used=spent)
    return decide(request, facts), facts


def decide_on(
    specs: Specs,
    request: GateRequest,
    assessments: Sequence[Assessment],
    *,
    incidents: Sequence[Incident] = (),
    strict: bool = False,
) -> Decision:
    """Answer as `decide_gate`, from assessments of the service at hand; read anew only if they are not as of then."""
    from tightrope.loop.gatekeeper import ask_gate

    if all(0 <= request.asked_at - one.statement.at < one.units.step_s for one in assessments):
        return ask_gate(specs, request, assessments)
    return decide_gate(specs, request, incidents=incidents, strict=strict)[0]


@contextmanager
def serving(
    settings: ServeSettings,
    where: str,
    *,
    incidents: Sequence[Incident] = (),
    deployments: Sequence[KnownDeployment] = (),
    every_s: float = 1.0,
    keep_s: int | None = None,
    work: str = "",
    amid: Mapping[str, int] | None = None,
    clock_now: Callable[[], int] = clock.now,
) -> Iterator[Server]:
    """Build a server over the store in *where* and turn its loop until the block ends.

    Commands run where *work* says: a folder for their logs, empty for one beside a store that is a directory. On
    PostgreSQL without *work* this server runs none, and leaves them to workers. A replay brings the instant of each
    service in *amid* to the present, see `Replay`, and recorded *deployments* move with their services.

    Raises:
        StoreError: The store cannot be opened. NotFoundError: A path of the specs does not exist.
    """
    from tightrope.access.usecases import Access, oidc_settings
    from tightrope.base.settings import environment
    from tightrope.delivery.holds.usecases import Holds
    from tightrope.delivery.pipelines.usecases import Clockwork, Pipelines
    from tightrope.delivery.receiving.usecases import Inbox
    from tightrope.delivery.rollouts.usecases import Rollouts
    from tightrope.delivery.usecases import Deliveries
    from tightrope.loop.feedback import Feedback
    from tightrope.loop.holding import Doorkeeper
    from tightrope.loop.live import Live
    from tightrope.loop.mail import MailReader
    from tightrope.loop.pipelines import sights_of
    from tightrope.loop.postman import Postman
    from tightrope.loop.retelling import Retelling
    from tightrope.loop.rollouts import pages_of, slices_of, standing_of
    from tightrope.loop.server import Server
    from tightrope.loop.store import LiveStore
    from tightrope.loop.telling import Teller, changed_lately
    from tightrope.notify.usecases import Notifications, Notifier
    from tightrope.policy.usecases import DecisionBook, Exceptions
    from tightrope.runs.usecases import Runs
    from tightrope.specs.usecases import Shelf
    from tightrope.state.database import opened
    from tightrope.state.journal import Journal
    from tightrope.telemetry.received import RECEIVED
    from tightrope.telemetry.store import SliceStore
    from tightrope.telemetry.usecases import open_receiver

    with opened(where, create=True) as database, database.held_alone():
        slices, journal = SliceStore(database), Journal(database)
        shelf = Shelf(database, settings.spec_paths, _judged)
        decisions = DecisionBook(database, clock_now)
        teller = Teller(settings.base_url, recent=lambda service, since: changed_lately(deliveries, service, since))

        def moved(shifts: Mapping[str, int]) -> None:
            live.moved(shifts)
            retelling.moved(shifts)

        live = Live(
            database,
            slices,
            LiveStore(database),
            journal,
            examine=shelf.examine,
            look=shelf.look,
            feeds=(lambda wanted, live: _replayed(wanted, live, moved, amid)) if settings.replayed else _feeds,
            receivers={kind: open_receiver(kind) for kind in RECEIVED},
            now=clock_now,
            incidents=incidents,
            every_s=every_s,
            keep_s=keep_s,
            teller=teller,
        )

        def channels() -> Sequence[NotificationChannel]:
            return live.snapshot.specs.channels

        def owned() -> Mapping[str, frozenset[str]]:
            found: dict[str, set[str]] = {}
            for slo in live.snapshot.specs.slos:
                if slo.owner:
                    found.setdefault(slo.owner, set()).add(slo.service)
            return {owner: frozenset(services) for owner, services in found.items()}

        def quota_of(service: str) -> ExceptionQuota | None:
            if not live.following:
                raise live.unknown(service)
            return quota_in(live.snapshot.specs, service)

        access = Access(database, required=settings.auth_required, owned=owned, oidc=oidc_settings(environment))
        notifications = Notifications(database, channels, base_url=settings.base_url, changed=teller.nudge)

        def decided(request: GateRequest) -> Decision:
            return server.decide(request)

        def weighed(request: GateRequest) -> Decision:
            return server.weigh(request)

        def concerned(request: GateRequest) -> bool:
            return deliveries.concerns(request.service, request.environment, request.change)

        def followed() -> bool:
            return bool(live.snapshot.number) and live.following

        holds = Holds(
            database,
            lambda: live.snapshot.specs,
            ask=decided,
            weigh=weighed,
            concerns=concerned,
            ready=followed,
            base_url=settings.base_url,
            now=clock_now,
        )

        def pushed(kind: IntegrationType, headers: Mapping[str, str], document: Any) -> object:
            return pipelines.told(kind, headers, document)

        deliveries = Deliveries(
            database,
            specs=lambda: live.snapshot.specs,
            clock=clock_now,
        )
        inbox = Inbox(
            database,
            deliveries,
            specs=lambda: live.snapshot.specs,
            clock=clock_now,
            holding=holds.take,
            pushing=pushed,
            ready=followed,
        )
        executor = _local_executor(where, work)
        runs = Runs(database, place="" if executor is None else executor.place)
        _join_steps(runs, executor)
        executors = _executors(executor, runs, environment)
        pipelines = Pipelines(
            runs,
            _shelves(where, work),
            executors,
            definitions=lambda: live.snapshot.specs.pipelines,
            ask=decided,
            watch=lambda service, slos: sights_of(live.assessments(service), slos),
            deliveries=deliveries,
            base_url=settings.base_url,
            clock=clock_now,
        )
        rollouts = Rollouts(
            database,
            runs,
            specs=lambda: live.snapshot.specs,
            ask=decided,
            weigh=weighed,
            stands=lambda service, slos: standing_of(live.assessments(service), slos),
            pages=lambda service: pages_of(live.assessments(service)),
            slices=lambda title, since, until: slices_of(_assessed(live, title), title, since, until),
            report=deliveries.record,
            live=lambda service, where_to: _version_of(deliveries.live(service, where_to)),
            environment=environment,
            clock=clock_now,
        )
        server = Server(
            settings,
            live,
            access,
            notifications,
            shelf,
            decisions,
            journal,
            where,
            clock_now,
            exceptions=Exceptions(database, quota_of),
            holds=holds,
            runs=runs,
            deliveries=deliveries,
            inbox=inbox,
            rollouts=rollouts,
            pipelines=pipelines,
        )
        clockwork = Clockwork(pipelines, clock_now)
        feedback = Feedback(
            deliveries,
            holds,
            specs=lambda: live.snapshot.specs,
            prices=server.prices,
            base_url=settings.base_url,
            now=clock_now,
        )
        doorkeeper = Doorkeeper(holds, clock_now, feedback.turn)
        notifier = Notifier(database, channels, ready=followed, clock=clock_now)
        postman = Postman(notifier, clock_now, notifications.prune)
        mail = MailReader(inbox, clock_now)
        retelling = Retelling(deliveries, deployments, settings.replayed, clock_now)
        for sender in (notifier, holds):
            sender.take_over()
        live.start()
        retelling.start()
        mail.start()
        postman.start(server.listen)
        doorkeeper.start(server.listen)
        runs.start_working()
        clockwork.start()
        try:
            yield server
        finally:
            clockwork.stop()
            runs.stop_working()
            for one in executors.values():
                one.close()
            live.stop()
            retelling.stop()
            mail.stop()
            doorkeeper.stop()
            postman.stop()
            decisions.close()
            slices.close()


@contextmanager
def working(where: str, *, work: str = "", threads: int = 0) -> Iterator[Runs]:
    """Turn steps of the runs in a store, beside a server or others like this, until the block ends.

    Args:
        where: The store, which must be there.
        work: The folder for logs of commands; empty: one beside a store that is a directory.
        threads: How many steps at once; 0: as many as a server.

    Raises:
        UsageError: The store is a server's, and there is no folder. NotFoundError, StoreError: There is no store.
    """
    from tightrope.base.settings import environment
    from tightrope.delivery.pipelines.usecases import Pipelines
    from tightrope.delivery.usecases import Deliveries
    from tightrope.runs.usecases import THREADS, Runs
    from tightrope.state.database import opened

    with opened(where) as database:
        executor = _local_executor(where, work)
        if executor is None:
            raise UsageError("a worker on PostgreSQL needs a folder for the logs of commands", remedy="give --work DIR")
        runs = Runs(database, place=executor.place)
        _join_steps(runs, executor)
        executors = _executors(executor, runs, environment)
        Pipelines(runs, _shelves(where, work), executors, deliveries=Deliveries(database))
        runs.start_working(threads or THREADS)
        try:
            yield runs
        finally:
            runs.stop_working()
            for one in executors.values():
                one.close()


def _local_executor(where: str, work: str) -> LocalExecutor | None:
    """What runs commands on this machine; None where nobody said in which folder."""
    from pathlib import Path

    from tightrope.runs.executors.local import LocalExecutor

    if work:
        return LocalExecutor(Path(work))
    return None if "://" in where else LocalExecutor(Path(where) / "runs")


def _executors(local: LocalExecutor | None, runs: Runs, environment: Callable[[str], str]) -> dict[str, Executor]:
    """Where commands of pipelines can run: here, in containers and as Jobs where a client for these is at hand.

    Whether an engine or a cluster answers is asked once a step needs it.
    """
    import shutil

    from tightrope.runs.executors import container, kubernetes

    if local is None:
        return {}

    def told(names: Sequence[str]) -> dict[str, str]:
        return {name: value for name in names if (value := environment(name))}

    found: dict[str, Executor] = {"local": local}
    named = environment("TIGHTROPE_CONTAINER_ENGINE")
    engines = [named] if named else [one for one in ("docker", "podman") if shutil.which(one)]
    if engines:
        variables = told(container.VARIABLES)
        found["container"] = container.ContainerExecutor(*engines, place=local.place, variables=variables)
    if shutil.which("kubectl"):
        namespace = lru_cache(maxsize=1024)(partial(_namespace_of, runs))  # asked for each word to the cluster
        variables = told(kubernetes.VARIABLES)
        found["kubernetes"] = kubernetes.KubernetesExecutor(namespace, clock=clock.now, variables=variables)
    return found


def _namespace_of(runs: Runs, key: str) -> str:
    """The namespace that the step of a command names."""
    name = key.partition("/")[0]
    with suppress(NotFoundError):
        found = [one for one in runs.show(name).steps if key.startswith(f"{name}/{one.name}/")]
        for step in sorted(found, key=lambda one: len(one.name), reverse=True):
            return str(step.document.get("executor", {}).get("namespace") or "default")
    return "default"


def _shelves(where: str, work: str) -> Shelves:
    """Where workspaces, caches and artifacts of pipelines are; without a folder of our own nothing is put there."""
    from pathlib import Path

    from tightrope.delivery.pipelines.store import Shelves

    return Shelves(Path(work or ("." if "://" in where else where)) / "pipelines")


@contextmanager
def piping(
    where: str, specs: Specs | None = None, *, work: str = "", create: bool = True, carry: bool = True
) -> Iterator[tuple[Pipelines, Runs]]:
    """Pipelines of a store on this machine, without a server: whoever starts one carries it out, see `Runs`.

    Args:
        where: The store: a directory, or the address of a database.
        create: Make the store where there is none.
        carry: Carry runs out; else they are only started and looked at.
        specs: What the gate and verifications rest on; None: there is no gate here.
        work: The folder for workspaces and logs; empty: one beside a store that is a directory.

    Raises:
        UsageError: The store is a database, and there is no folder. StoreError: It cannot be opened.
    """
    from pathlib import Path

    from tightrope.base.settings import environment
    from tightrope.delivery.pipelines.usecases import Pipelines
    from tightrope.delivery.usecases import Deliveries
    from tightrope.loop.pipelines import sights_of
    from tightrope.policy.usecases import DecisionBook
    from tightrope.runs.usecases import Runs
    from tightrope.state.database import opened

    if not create and not work and "://" not in where and not (Path(where) / "runs").is_dir():
        raise NotFoundError(f"no pipeline ever ran in {where}", remedy="start one: `tightrope pipeline run`")
    executor = _local_executor(where, work)
    if executor is None:
        raise UsageError("on PostgreSQL a folder for workspaces and logs is needed", remedy="give --work DIR")
    with opened(where, create=create) as database:
        book = DecisionBook(database)
        known = specs if specs is not None else Specs()

        def ask(request: GateRequest) -> Decision:
            decision, facts = decide_gate(known, request)
            book.keep(decision, facts)
            return decision

        runs = Runs(database, place=executor.place)
        executors = _executors(executor, runs, environment) if carry else {}
        pipelines = Pipelines(
            runs,
            _shelves(where, work),
            executors,
            definitions=lambda: known.pipelines,
            ask=ask if specs is not None and carry else None,
            watch=(lambda service, slos: sights_of(assess_specs(known, known.of_service(service)), slos))
            if specs is not None and carry
            else None,
            deliveries=Deliveries(database, specs=lambda: known),
            left_out="" if "://" in where else where,
        )
        try:
            yield pipelines, runs
        finally:
            runs.stop_working()
            for one in ({"local": executor} | executors).values():
                one.close()
            book.close()


def _join_steps(runs: Runs, executor: LocalExecutor | None) -> None:
    """Tell what turns steps that need nothing but a machine; a server and a worker both can."""
    from tightrope.runs.usecases import CommandAction, plain_command, plain_probe

    if executor is not None:
        runs.register("command", CommandAction(executor, plain_command, probe=plain_probe))


def quota_in(specs: Specs, service: str) -> ExceptionQuota | None:
    """The rule for exceptions of the policy that a service follows; raises `NotFoundError`."""
    from tightrope.loop.gatekeeper import policy_of_service

    if not specs.of_service(service) and service not in specs.services:
        raise NotFoundError(f"there is no service named {service!r}", remedy=_near(service, specs))
    return policy_of_service(specs, service).exceptions


@contextmanager
def rollouts_at_hand(where: str) -> Iterator[Rollouts]:
    """The rollouts of a store, to look at and to tell: whoever serves from it carries them out.

    Raises:
        NotFoundError, StoreError: There is no store.
    """
    from tightrope.delivery.rollouts.usecases import Rollouts
    from tightrope.runs.usecases import Runs
    from tightrope.state.database import opened

    def nothing(*_: object, **__: object) -> NoReturn:
        raise UsageError("only a server knows that", remedy="ask it with --server URL")

    with opened(where) as database:
        yield Rollouts(
            database,
            Runs(database),
            specs=Specs,
            ask=nothing,
            weigh=nothing,
            stands=nothing,
            pages=nothing,
            slices=nothing,
            report=nothing,
        )


def _version_of(deployment: Deployment | None) -> str:
    """What people call what runs; empty where that is not known."""
    return "" if deployment is None else deployment.version or deployment.revision


def _assessed(live: Live, title: str) -> Sequence[Assessment]:
    """Where the objectives of the service stand that an SLO is on; nothing where there is no such SLO."""
    slo = live.snapshot.specs.slo(title.partition("/")[0])
    return live.assessments(slo.service) if slo is not None else ()


def fresh_store(where: str) -> None:
    """Make room for a replay: each begins with an empty store, and only ever takes the place of another replay's.

    Raises:
        UsageError: There is a store that no replay made, or *where* is no directory.
        StoreError: A server runs on it.
    """
    from pathlib import Path

    from tightrope.state.database import alone_in

    folder = Path(where)
    mark = folder / "replay"
    if "://" in where or ((folder / "tightrope.db").exists() and not mark.exists()):
        raise UsageError(
            f"{where} is no place for a replay: it may hold a store of real telemetry",
            remedy="give a new directory with --data",
        )
    folder.mkdir(parents=True, exist_ok=True)
    with alone_in(folder):
        for file in folder.glob("tightrope.db*"):
            file.unlink()
        mark.write_text("The store beside this file is a replay of recorded data; the next replay replaces it.\n")


def _feeds(wanted: Sequence[Wanted], live: Live) -> list[Feed]:
    """One feed for each source, or for each set of sources that an indicator needs together."""
    from tightrope.loop.feeds import Files, Follow, Probing, Pull, Refused, grouped
    from tightrope.telemetry.usecases import open_probe, open_tailing

    def feed(name: str, group: Sequence[Wanted]) -> Feed:
        of = _sources(group)
        kinds = {source.type.lower() for source in of}
        if kinds & LIVE_SOURCES:
            return Pull(name, group, _read_slices)
        if len(of) == 1 and kinds == {"access-log"}:
            return Follow(name, group, lambda requests: open_tailing(of[0], requests), live.remembered)
        if len(of) == 1 and kinds == {"probe"}:
            prober = open_probe(of[0])
            return Probing(of[0], group, prober.every_s, prober.probe, live.remembered)
        return Files(name, group, _read_slices, lambda: _glance(of))

    found: list[Feed] = []
    for name, group in grouped(wanted, lambda one: "+".join(each.name for each in _sources([one]))).items():
        sound = []
        for one in group:  # what is wrong with one of them is no matter of the others
            try:
                _understood(one)
            except TightropeError as error:
                found.append(Refused(name, [one], error))
            else:
                sound.append(one)
        if sound:
            try:
                found.append(feed(name, sound))
            except TightropeError as error:
                found.append(Refused(name, sound, error))
    return found


def _sources(group: Sequence[Wanted]) -> list[DataSource]:
    """The data sources of some objectives, each once."""
    from tightrope.specs.openslo import sources_of

    found = {(each.name, each.folder): each for one in group for each in sources_of(one.slo)}
    return [found[key] for key in sorted(found)]


def _understood(one: Wanted) -> None:
    """Check what can be known of an objective's metric before its source is read; raises `UsageError`."""
    from tightrope.telemetry.plan import Request
    from tightrope.telemetry.probing import probe_track
    from tightrope.telemetry.usecases import open_tailing

    sources = _sources([one])
    if any(each.type.lower() == "probe" for each in sources):
        probe_track(0, Request(one.slo, one.objective))
    elif len(sources) == 1 and sources[0].type.lower() == "access-log":
        open_tailing(sources[0], [(0, Request(one.slo, one.objective))])


def _replayed(
    wanted: Sequence[Wanted],
    live: Live,
    moved: Callable[[Mapping[str, int]], None],
    amid: Mapping[str, int] | None = None,
) -> list[Feed]:
    """Recorded data, moved to the present; servers are asked as ever."""
    from tightrope.loop.feeds import Replay
    from tightrope.specs.openslo import sources_of

    recorded = [one for one in wanted if {each.type.lower() for each in sources_of(one.slo)} <= RECORDED]
    tracks = {one.track for one in recorded}
    found: list[Feed] = [Replay("the recording", recorded, _read_slices, moved, amid)] if recorded else []
    return found + _feeds([one for one in wanted if one.track not in tracks], live)


def _read_slices(wanted: Sequence[tuple[Slo, Objective]], since: int | None, until: int | None) -> Sequence[Reading]:
    from tightrope.telemetry.plan import Request
    from tightrope.telemetry.usecases import read_many

    return read_many([Request(slo, objective) for slo, objective in wanted], since=since, until=until)


def _glance(sources: Sequence[DataSource]) -> object:
    """What the files of some sources look like: a value that changes when they do."""
    from pathlib import Path

    seen = set()
    for source in sources:
        named = source.connection.get("path")
        for text in named if isinstance(named, (list, tuple)) else [named]:
            path = Path(source.folder) / str(text)
            matches = [path] if path.exists() else sorted(Path(path.anchor or ".").glob(str(path).lstrip("/")))
            for match in matches:
                inside = sorted(match.iterdir()) if match.is_dir() else [match]
                for file in inside:
                    with suppress(OSError):
                        status = file.stat()
                        seen.add((str(file), status.st_mtime_ns, status.st_size, status.st_ino))
    return frozenset(seen)


def examples_folder() -> Path:
    """Where the recorded examples are: beside the sources in a checkout, inside the package once installed.

    Raises:
        NotFoundError: They were left out of this installation.
    """
    from pathlib import Path

    package = Path(__file__).resolve().parent
    for folder in (package.parent.parent / "examples" / "real", package / "examples" / "real"):
        if folder.is_dir():
            return folder
    raise NotFoundError(
        "the recorded examples are not part of this installation", remedy="give their folder with --examples"
    )


def is_live(slo: Slo) -> bool:
    """Whether any of the SLO's telemetry comes from a server that knows the present."""
    from tightrope.specs.openslo import sources_of

    return any(source.type.lower() in LIVE_SOURCES for source in sources_of(slo))


def now() -> int:
    """The present instant, UTC epoch seconds."""
    return clock.now()


def _assess(
    specs: Specs,
    slos: Sequence[Slo],
    at: int | None,
    since: int | None,
    incidents: Sequence[Incident],
    strict: bool,
    tell: Tell | None,
) -> list[Assessment]:
    from tightrope.loop.assess import assess, reach_s
    from tightrope.telemetry.plan import Request
    from tightrope.telemetry.usecases import read_many

    begin = None
    if at is not None and any(is_live(slo) for slo in slos):
        begin = (at if since is None else since) - max(reach_s(specs, slo) for slo in slos)

    def read(wanted: Sequence[tuple[Slo, Objective]]) -> Sequence[Reading]:
        requests = [Request(slo, objective) for slo, objective in wanted]
        return read_many(requests, since=begin, until=at, strict=strict, progress=tell)

    return assess(
        specs,
        slos,
        read,
        at=at,
        since=since,
        incidents=incidents,
        exclusions_known_at=at,
        begun_at=begin,
    )


def _survey(paths: Sequence[str]) -> Survey:
    """Read *paths*; standard input is read once, where one of them is ``-``."""
    from tightrope.specs.positions import BYTES_MAX
    from tightrope.specs.store import STANDARD_INPUT, survey

    text = None
    if STANDARD_INPUT in paths:
        import sys
        from codecs import BOM_UTF8

        # What is not UTF-8 becomes characters that no text has: the reader tells their place, as it does of files.
        content = sys.stdin.buffer.read(len(BOM_UTF8) + BYTES_MAX + 1) if sys.stdin is not None else b""
        text = content.decode("utf-8-sig", "surrogateescape")
    return survey(paths, stdin=text)


def _judged(survey: Survey) -> tuple[Specs | None, tuple[SpecError, ...]]:
    """The specs that were found, with their calendars and expressions checked as well."""
    specs, findings = survey.specs, survey.findings
    if specs is None or not any(_needs_a_look(policy) for policy in specs.policies):
        return specs, findings
    from tightrope.policy.check import findings as findings_of_policy

    return _with_more(specs, findings, [one for policy in specs.policies for one in findings_of_policy(policy)])


def _with_more(
    specs: Specs | None, findings: Sequence[SpecError], more: Sequence[SpecError]
) -> tuple[Specs | None, tuple[SpecError, ...]]:
    from tightrope.specs.store import in_order

    return None if any(one.severity == "error" for one in more) else specs, in_order([*findings, *more])


def _scenarios(survey: Survey, specs: Specs | None = None) -> tuple[list[Scenario], list[SpecError]]:
    """Read the policy tests, and tell what is wrong with them; with *specs*, also names that their policy lacks."""
    from tightrope.backtest.scenario import AbsentError, read_scenario

    scenarios, wrong = [], []
    for test in survey.policy_tests:
        try:
            scenario = read_scenario(test.values, test.place)
            if specs is not None:
                from tightrope.loop.rehearsal import rehearse

                rehearse(specs, scenario)
        except SpecError as error:
            wrong.append(test.located(error))
        except AbsentError as error:
            found = SpecError("TR090", error.message, test.place, path=error.path, remedy=error.remedy)
            wrong.append(test.located(found))
        else:
            scenarios.append(scenario)
    return scenarios, wrong


def _needs_a_look(policy: ErrorBudgetPolicy) -> bool:
    """Whether a policy holds calendars or expressions, which take libraries to check."""
    predicates = [one for state in policy.states for one in (state.enter, state.exit) if one is not None]
    return bool(policy.freezes or policy.rules) or any(
        isinstance(leaf, Expression) for one in predicates for leaf in leaves(one)
    )


def _near(name: str, specs: Specs) -> str:
    from difflib import get_close_matches

    known = sorted({slo.service for slo in specs.slos} | {slo.name for slo in specs.slos} | set(specs.services))
    close = get_close_matches(name, known, n=1)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"there are {', '.join(known[:12])}{', …' if len(known) > 12 else ''}" if known else "the specs hold no SLO"
