"""Rollouts carried out: through a target of commands, a log that grows, and a process that dies at every commit."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from tightrope.base.errors import ConflictError, DataError, NotFoundError, UsageError
from tightrope.base.units import time_text
from tightrope.delivery.canary import Counts
from tightrope.delivery.changes import DeploymentReport, DeploymentState
from tightrope.delivery.planner import Promise
from tightrope.delivery.rollout import Phase, Said
from tightrope.delivery.rollouts.standing import Standing
from tightrope.delivery.rollouts.usecases import Rollouts, View, Wish
from tightrope.policy.decision import Decision, GateRequest, Reason, Verdict
from tightrope.runs.steps import RunPlan, RunState, StepPlan
from tightrope.runs.usecases import Runs
from tightrope.specs.model import ChangeKind, Flow, ShipHow
from tightrope.specs.store import load
from tightrope.state.database import Database, opened
from tightrope.state.journal import Journal

BEGIN = 1_767_225_600
SPECS = """\
apiVersion: openslo/v1
kind: DataSource
metadata: {name: shop-log}
spec: {type: access-log, connectionDetails: {path: access.log, format: json}}
---
apiVersion: openslo/v1
kind: SLO
metadata: {name: shop-availability}
spec:
  service: shop
  budgetingMethod: Occurrences
  timeWindow: [{duration: 28d, isRolling: true}]
  objectives: [{target: 0.99}]
  indicator:
    metadata: {name: shop-success}
    spec:
      ratioMetric:
        counter: false
        good: {metricSource: {metricSourceRef: shop-log, spec: {where: {path: /}}}}
        total: {metricSource: {metricSourceRef: shop-log, spec: {where: {path: /}}}}
---
apiVersion: tightrope.dev/v1
kind: RolloutStrategy
metadata: {name: shop}
spec:
  service: shop
  strategy: STRATEGY
  steps: STEPS
  reaction: {measure: 4s, evaluate: 2s, act: 4s}
  lostContact: {after: 10m, then: rollback}
  analysis:
    clusterGuard: 1
    latency: LATENCY
    minimumExposure: {requests: 20, for: 4s}
    arms: ARMS
  target:
    shell:
      setWeight: test -e stubborn || echo "$TIGHTROPE_WEIGHT" > weight; echo "$TIGHTROPE_WEIGHT" >> asked
      observe: cat weight
"""
CANARY = ("canary", "[{weight: 10%, bake: 10s}]", "{field: version, canary: $version, baseline: $previous}")
WISH = Wish("shop", "v2", previous="v1", kind=ChangeKind.FEATURE, kind_from="given", change="abc")


class KilledError(BaseException):
    """The process ends here, and nothing of it is left."""


class Mortal(Database):
    """A store whose process ends right after its n-th commit."""

    lives = 10**9

    @contextmanager
    def writing(self) -> Iterator[Any]:
        with super().writing() as connection:
            yield connection
        Mortal.lives -= 1
        if Mortal.lives == 0:
            raise KilledError


@dataclass
class Shop:
    """A service that is released, second by second; the clock is ours."""

    folder: Path
    database: Database
    strategy: tuple[str, str, str] = CANARY
    now: int = BEGIN
    fails: Fraction = Fraction(0)
    rate: int = 200
    latency: str = "false"
    slower_ms: int = 0
    runs_now: str = ""
    verdict: Verdict = Verdict.GO
    guarded: bool = False
    pages: tuple[str, ...] = ()
    remaining: Fraction = Fraction(1)
    reports: list[DeploymentReport] = field(default_factory=list)
    asked: list[GateRequest] = field(default_factory=list)
    written: dict[str, int] = field(default_factory=dict)
    counted: int = 0

    def __post_init__(self) -> None:
        how, steps, arms = self.strategy
        text = (
            SPECS.replace("STRATEGY", how)
            .replace("STEPS", steps)
            .replace("ARMS", arms)
            .replace("LATENCY", self.latency)
        )
        if arms == "none":
            text = text.replace("    arms: none\n", "")
        (self.folder / "specs.yaml").write_text(text)
        (self.folder / "weight").write_text("0\n")
        (self.folder / "access.log").write_text("")
        self.specs = load([str(self.folder / "specs.yaml")])
        self.anew()

    def anew(self) -> None:
        """Begin as a process that knows only what is on the disk."""
        self.runs = Runs(self.database, clock=lambda: self.now)
        self.rollouts = Rollouts(
            self.database,
            self.runs,
            specs=lambda: self.specs,
            ask=self._ask,
            weigh=self._weigh,
            stands=self._stands,
            pages=lambda _: (self.pages, self.guarded),
            slices=lambda *_: None,
            report=self.reports.append,
            live=lambda *_: self.runs_now,
            environment=lambda _: "",
            clock=lambda: self.now,
        )

    def second(self) -> None:
        """Serve for a second, then let the work be done."""
        weight = Fraction((self.folder / "weight").read_text().strip())
        canary = int(self.rate * weight)
        lines = []
        for version, calls, bad in (("v2", canary, int(canary * self.fails)), ("v1", self.rate - canary, 0)):
            for number in range(calls):
                status = 500 if number < bad else 200
                at = time_text(self.now)
                took = 20 + number * 7 % 40 + (self.slower_ms if version == "v2" else 0)
                line = {"time": at, "status": status, "path": "/", "version": version, "request_time": took / 1000}
                lines.append(json.dumps(line))
            self.written[version] = self.written.get(version, 0) + calls
        with (self.folder / "access.log").open("a") as log:
            log.writelines(f"{line}\n" for line in lines)
        self.now += 1
        self.runs.work_until_idle(50)

    def live(self, view: View, seconds: int = 200) -> View:
        """Serve until the rollout is over."""
        for _ in range(seconds):
            self.second()
            found = self.rollouts.view(view.run.id)
            if found.step.state.over:
                return found
        return self.rollouts.view(view.run.id)

    def weights(self) -> list[str]:
        """What the target was asked for, repeats left out."""
        asked = (self.folder / "asked").read_text().split() if (self.folder / "asked").exists() else []
        return [one for number, one in enumerate(asked) if not number or asked[number - 1] != one]

    def events(self) -> list[str]:
        found = Journal(self.database).read(left_out=lambda *_: None)
        return [one.event.type.split(".")[3] for one in found if ".rollout." in one.event.type]

    def _decision(self, request: GateRequest) -> Decision:
        note = Reason("window-measured", "warn", "the window is measured only in part")
        stop = Reason("budget-left", self.verdict.value, "the budget is spent")
        says = (note,) if self.verdict is Verdict.GO else (note, stop)
        ship = ShipHow.GUARDED if self.guarded else ShipHow.STANDARD
        return Decision(
            id="D-1",
            request=request,
            verdict=self.verdict,
            exempt=False,
            flow=Flow.FEATURE,
            state="feature",
            ship=ship,
            reasons=says,
            **_rest_of_a_decision(),
        )

    def _ask(self, request: GateRequest) -> Decision:
        self.asked.append(request)
        return self._decision(request)

    def _weigh(self, request: GateRequest) -> Decision:
        return self._decision(request)

    def _stands(self, service: str, slos: tuple[str, ...]) -> Standing:
        slo = self.specs.of_service(service)[0]
        allowed = Fraction(self.rate * 28 * 86_400, 100)
        promise = Promise(
            slo.name,
            allowed,
            allowed * self.remaining,
            Fraction(self.rate),
            Fraction(self.rate),
            Fraction(1, 2000),
            Fraction(1, 100),
            Fraction(1, 100),
        )
        return Standing((promise,), ((slo, slo.objectives[0]),), (Counts(10, 50_000),), self.guarded, 60)


class Ledger(Shop):
    """The same service, whose requests are counted in a file of rows, every two seconds."""

    def __post_init__(self) -> None:
        (self.folder / "shop.csv").write_text("time,version,good,total\n")
        super().__post_init__()
        text = (self.folder / "specs.yaml").read_text()
        text = text.replace(
            "{type: access-log, connectionDetails: {path: access.log, format: json}}",
            "{type: csv, connectionDetails: {path: shop.csv, timestamp: time, resolution: 2s}}",
        )
        text = text.replace("good: {metricSource: {metricSourceRef: shop-log, spec: {where: {path: /}}}}", "GOOD")
        text = text.replace("total: {metricSource: {metricSourceRef: shop-log, spec: {where: {path: /}}}}", "TOTAL")
        text = text.replace("GOOD", "good: {metricSource: {metricSourceRef: shop-log, spec: {column: good}}}")
        text = text.replace("TOTAL", "total: {metricSource: {metricSourceRef: shop-log, spec: {column: total}}}")
        text = text.replace("metadata: {name: shop-availability}", SECONDS)
        (self.folder / "specs.yaml").write_text(text)
        self.specs = load([str(self.folder / "specs.yaml")])

    def second(self) -> None:
        weight = Fraction((self.folder / "weight").read_text().strip())
        canary = int(self.rate * weight)
        rows = ((("v2", canary, int(canary * self.fails))), ("v1", self.rate - canary, 0))
        with (self.folder / "shop.csv").open("a") as file:
            file.writelines(f"{self.now},{version},{calls - bad},{calls}\n" for version, calls, bad in rows)
        super().second()


SECONDS = 'metadata: {name: shop-availability, annotations: {tightrope.dev/resolution: "2s"}}'


def _rest_of_a_decision() -> dict[str, Any]:
    """Whatever a decision needs besides, by what its fields say of themselves."""
    from dataclasses import MISSING, fields

    known = {"id", "request", "verdict", "exempt", "flow", "state", "ship", "reasons"}
    plain: dict[str, Any] = {"str": "", "int": 0, "int | None": None, "bool": False}
    found: dict[str, Any] = {}
    for one in fields(Decision):
        if one.name not in known and one.default is MISSING and one.default_factory is MISSING:
            found[one.name] = plain.get(str(one.type), ())
    return found


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with opened(str(tmp_path / "data"), create=True) as database:
        yield database


def test_a_release_goes_from_the_gate_to_its_end(database: Database, tmp_path: Path) -> None:
    shop = Shop(tmp_path, database)
    view = shop.rollouts.start(WISH, by="ada")
    assert view.phase is Phase.PREPARING
    ended = shop.live(view)
    assert (ended.phase, ended.run.state) == (Phase.PROMOTED, RunState.SUCCEEDED)
    assert shop.weights() == ["0.1", "1"]
    assert shop.events() == ["preparing", "stepping", "baking", "stepping", "baking", "promoting", "promoted"]
    assert [(one.state, one.version) for one in shop.reports] == [
        (DeploymentState.STARTED, "v2"),
        (DeploymentState.SUCCEEDED, "v2"),
    ]
    assert [(one.service, one.change, one.kind) for one in shop.asked] == [("shop", "abc", ChangeKind.FEATURE)]
    assert ended.state is not None
    assert ended.state.tallies[0].requests >= 0.9 * shop.written["v2"]
    told = shop.rollouts.turns(ended.run.id)
    assert [one.number for one in told] == list(range(1, len(told) + 1))
    assert told[-1].shown["phase"] == "promoted"
    replayed = shop.rollouts.replay(ended.run.id)
    assert (replayed.differs_at, replayed.state) == (None, ended.state)


def test_a_release_is_carried_out_on_either_database(store: str, tmp_path: Path) -> None:
    with opened(store, create=True) as database:
        shop = Shop(tmp_path, database, strategy=("canary", "[{weight: 50%, bake: 10s}]", CANARY[2]))
        view = shop.rollouts.start(WISH, by="ada")
        for _ in range(8):
            shop.second()
        shop.anew()
        ended = shop.live(view)
        assert ended.phase is Phase.PROMOTED
        assert shop.rollouts.replay(view.run.id).differs_at is None
        assert shop.events()[-1] == "promoted"


def test_harm_goes_back_and_tells_of_both_deployments(database: Database, tmp_path: Path) -> None:
    shop = Shop(tmp_path, database, fails=Fraction(1, 4))
    ended = shop.live(shop.rollouts.start(WISH, by="ada"))
    assert (ended.phase, ended.run.state) == (Phase.ROLLED_BACK, RunState.FAILED)
    assert shop.weights() == ["0.1", "0"]
    assert shop.events()[-2:] == ["rolling-back", "rolled-back"]
    assert [(one.state, one.version, one.rollback) for one in shop.reports] == [
        (DeploymentState.STARTED, "v2", False),
        (DeploymentState.FAILED, "v2", False),
        (DeploymentState.SUCCEEDED, "v1", True),
    ]
    assert "hit the canary" in shop.reports[-1].title


@pytest.mark.parametrize(("slower_ms", "phase"), [(0, Phase.PROMOTED), (25, Phase.ROLLED_BACK)])
def test_a_slow_release_goes_back_though_nothing_fails(
    database: Database, tmp_path: Path, slower_ms: int, phase: Phase
) -> None:
    shop = Shop(tmp_path, database, latency="[10ms, 25ms, 50ms, 100ms]", slower_ms=slower_ms)
    ended = shop.live(shop.rollouts.start(WISH, by="ada"))
    assert ended.phase is phase
    assert ended.state is not None
    assert ended.state.analysis is not None
    (test,) = ended.state.analysis.latencies
    assert 0 < test.canary <= ended.state.tallies[0].requests
    if slower_ms:
        assert "slower than the baseline" in ended.state.why


@pytest.mark.parametrize(("fails", "phase"), [(Fraction(0), Phase.PROMOTED), (Fraction(1, 4), Phase.ROLLED_BACK)])
def test_versions_in_a_file_of_rows_are_compared_slice_by_slice(
    database: Database, tmp_path: Path, fails: Fraction, phase: Phase
) -> None:
    shop = Ledger(tmp_path, database, fails=fails)
    ended = shop.live(shop.rollouts.start(WISH, by="ada"))
    assert ended.phase is phase
    assert ended.state is not None
    tally = ended.state.tallies[0]
    assert tally.charged == 0
    assert 0 < tally.requests <= shop.written["v2"]
    assert tally.bad == int(tally.requests * fails)


def test_the_gate_is_waited_for_and_asked_for_the_record_twice_only(database: Database, tmp_path: Path) -> None:
    shop = Shop(tmp_path, database, verdict=Verdict.STOP)
    view = shop.rollouts.start(WISH, by="ada")
    for _ in range(20):
        shop.second()
    waiting = shop.rollouts.view(view.run.id)
    assert (waiting.phase, shop.weights()) == (Phase.GATED, [])
    assert waiting.step.why == "the gate says stop: the budget is spent"
    assert shop.rollouts.running() == 0
    shop.verdict = Verdict.GO
    assert shop.live(view).phase is Phase.PROMOTED
    assert len(shop.asked) == 2


def test_those_under_way_are_counted(database: Database, tmp_path: Path) -> None:
    shop = Shop(tmp_path, database)
    view = shop.rollouts.start(WISH, by="ada")
    for _ in range(6):
        shop.second()
    assert (shop.rollouts.running(), shop.rollouts.running("shop"), shop.rollouts.running("other")) == (1, 1, 0)
    shop.anew()
    assert shop.rollouts.running("shop") == 1
    shop.live(view)
    assert shop.rollouts.running() == 0
    assert [one.run.id for one in shop.rollouts.views(service="shop")] == [view.run.id]
    assert shop.rollouts.views(running=True) == []


def test_a_release_waits_behind_the_one_that_is_under_way_and_says_so(database: Database, tmp_path: Path) -> None:
    shop = Shop(tmp_path, database)
    first = shop.rollouts.start(WISH, by="ada")
    for _ in range(6):
        shop.second()
    behind = shop.rollouts.start(replace(WISH, version="3.0"), by="ada")
    waits = f"it waits behind run {first.run.number} of shop"
    assert [one.why for one in shop.rollouts.views()][:1] == [waits]
    assert shop.rollouts.view(behind.run.id).why == waits
    shop.live(first)
    for _ in range(2):
        shop.second()
    assert shop.rollouts.view(behind.run.id).ahead is None


def test_one_that_waits_behind_another_is_called_off_at_once(database: Database, tmp_path: Path) -> None:
    shop = Shop(tmp_path, database)
    first = shop.rollouts.start(WISH, by="ada")
    for _ in range(6):
        shop.second()
    behind = shop.rollouts.start(replace(WISH, version="v3"), by="ada")
    with pytest.raises(ConflictError, match="has not begun: it waits behind"):
        shop.rollouts.say(behind.run.id, Said.PROMOTE, by="bob")
    off = shop.rollouts.say(behind.run.id, Said.ABORT, by="bob", reason="wrong build")
    assert (off.phase, off.why) == (Phase.ROLLED_BACK, "aborted by bob: wrong build")
    assert "never had traffic" in off.proof
    assert [one.version for one in shop.reports] == ["v2"]
    assert not shop.rollouts.view(first.run.id).phase.over
    assert shop.live(first).phase is Phase.PROMOTED


def test_what_runs_now_is_looked_up_when_a_release_begins_not_when_it_is_asked_for(
    database: Database, tmp_path: Path
) -> None:
    shop = Shop(tmp_path, database, runs_now="v1")
    first = shop.rollouts.start(replace(WISH, previous=""), by="ada")
    shop.second()
    behind = shop.rollouts.start(replace(WISH, version="v3", previous=""), by="ada")
    shop.runs_now = "v2"
    assert shop.live(first).wish.previous == "v1"
    (tmp_path / "weight").write_text("0\n")
    for _ in range(4):
        shop.second()
    assert shop.rollouts.view(behind.run.id).wish.previous == "v2"


def test_a_target_that_does_not_obey_is_asked_again_without_a_rush_and_without_noise(
    database: Database, tmp_path: Path
) -> None:
    shop = Shop(tmp_path, database)
    view = shop.rollouts.start(WISH, by="ada")
    for _ in range(4):
        shop.second()
    (tmp_path / "stubborn").touch()
    shop.rollouts.say(view.run.id, Said.PROMOTE, by="ada")
    for _ in range(60):
        shop.second()
    assert (tmp_path / "asked").read_text().split().count("1") in range(10, 35)
    assert shop.events().count("stepping") == 2
    held = shop.rollouts.view(view.run.id)
    assert (held.phase, held.why) == (Phase.STEPPING, "the target has 10 %, and was asked for 100 %")
    (tmp_path / "stubborn").unlink()
    assert shop.live(view).phase is Phase.PROMOTED


def test_people_are_heard_once_and_a_cancelled_run_goes_back(database: Database, tmp_path: Path) -> None:
    shop = Shop(tmp_path, database)
    view = shop.rollouts.start(WISH, by="ada")
    for _ in range(4):
        shop.second()
    shop.rollouts.say(view.run.id, Said.PAUSE, by="bob")
    assert shop.rollouts.view(view.run.id).unheard == 1
    for _ in range(40):
        shop.second()
    paused = shop.rollouts.view(view.run.id)
    assert paused.unheard == 0
    assert (paused.phase, paused.state and paused.state.why) == (Phase.HOLDING, "a person paused it")
    shop.rollouts.say(str(view.run.number), Said.RESUME, by="bob")
    shop.runs.cancel(view.run.id, by="eve", reason="wrong build")
    ended = shop.live(view)
    assert (ended.phase, ended.run.state) == (Phase.ROLLED_BACK, RunState.CANCELLED)
    assert ended.state is not None
    assert "aborted by eve: wrong build" in ended.state.why
    assert shop.weights() == ["0.1", "0"]
    with pytest.raises(ConflictError, match="is over"):
        shop.rollouts.say(view.run.id, Said.ABORT, by="eve")


def test_a_step_of_a_pipeline_may_be_a_rollout(database: Database, tmp_path: Path) -> None:
    shop = Shop(tmp_path, database, runs_now="v1")
    document = {
        "service": "shop",
        "environment": "production",
        "strategy": "shop",
        "version": "v2",
        "revision": "abc",
        "change": "v2",
        "title": "Express wallet",
        "kind": "security",
        "kind_from": "conventional commit",
        "previous": "",
        "url": "",
        "stage": "ship",
        "cell": {},
    }
    run = shop.runs.start(RunPlan("pipeline", (StepPlan("ship", "rollout", document),), service="shop"))
    for _ in range(6):
        shop.second()
    assert shop.rollouts.running("shop") == 1
    shop.anew()
    assert shop.rollouts.running("shop") == 1
    view = shop.rollouts.view(run.id)
    assert (view.wish.previous, view.wish.kind) == ("v1", ChangeKind.SECURITY)
    assert [one.run.id for one in shop.rollouts.views(service="shop", running=True)] == [run.id]
    ended = shop.live(view)
    assert (ended.phase, ended.run.state) == (Phase.PROMOTED, RunState.SUCCEEDED)
    assert ended.step.outcome["phase"] == "promoted"
    assert shop.reports[-1].previous == "v1"
    unknown = shop.runs.start(RunPlan("pipeline", (StepPlan("ship", "rollout", document | {"strategy": "other"}),)))
    shop.runs.turn_once()
    assert shop.rollouts.view(unknown.id).phase is Phase.PREPARING
    assert "no RolloutStrategy other" in shop.runs.show(unknown.id).step("ship").why


def test_a_page_and_caution_reach_a_release_under_way(database: Database, tmp_path: Path) -> None:
    shop = Shop(tmp_path, database)
    view = shop.rollouts.start(WISH, by="ada")
    for _ in range(4):
        shop.second()
    shop.guarded = True
    shop.second()
    shop.second()
    slowed = shop.rollouts.view(view.run.id).state
    assert slowed is not None
    assert slowed.slowed
    shop.pages = ("shop-availability page-1h",)
    ended = shop.live(view)
    assert ended.state is not None
    assert "paged (shop-availability page-1h)" in ended.state.why


def test_a_service_switched_at_once_is_judged_by_what_it_serves(database: Database, tmp_path: Path) -> None:
    arms = "{push: true}"
    shop = Shop(tmp_path, database, strategy=("blueGreen", "[{weight: 100%, bake: 10s}]", arms))
    view = shop.rollouts.start(WISH, by="ada")
    for second in range(60):
        shop.second()
        if second > 2 and not shop.rollouts.view(view.run.id).phase.over:
            counts = Counts(60, 200), Counts(0, 0)
            shop.rollouts.counts(view.run.id, "shop-availability", shop.now, *counts, by="ci")
            shop.rollouts.counts(view.run.id, "shop-availability", shop.now, *counts, by="ci")
        if shop.rollouts.view(view.run.id).phase.over:
            break
    ended = shop.live(view)
    assert ended.phase is Phase.ROLLED_BACK
    assert ended.state is not None
    assert "30.0 times what shop-availability bears" in ended.state.why
    assert ended.state.tallies[0].bad % 60 == 0


def test_counts_of_both_versions_may_be_sent(database: Database, tmp_path: Path) -> None:
    shop = Shop(tmp_path, database, strategy=("canary", "[{weight: 10%, bake: 10s}]", "{push: true}"))
    view = shop.rollouts.start(WISH, by="ada")
    for _ in range(100):
        shop.second()
        found = shop.rollouts.view(view.run.id)
        if found.step.state.over:
            break
        if found.state is not None and found.state.begun_at is not None and not found.phase.over:
            shop.rollouts.counts(view.run.id, "shop-availability", shop.now, Counts(0, 20), Counts(0, 180), by="ci")
    assert shop.rollouts.view(view.run.id).phase is Phase.PROMOTED
    with pytest.raises(ConflictError):
        shop.rollouts.counts(view.run.id, "shop-availability", shop.now, Counts(0, 1), Counts(0, 1), by="ci")


def test_a_target_and_a_log_in_trouble_hold_it_and_are_named(database: Database, tmp_path: Path) -> None:
    shop = Shop(tmp_path, database)
    view = shop.rollouts.start(WISH, by="ada")
    for _ in range(4):
        shop.second()
    (tmp_path / "access.log").rename(tmp_path / "elsewhere")
    weight = (tmp_path / "weight").read_text()
    (tmp_path / "weight").write_text("who knows\n")
    for _ in range(6):
        shop.now += 2
        shop.runs.work_until_idle(50)
    held = shop.rollouts.view(view.run.id)
    assert held.phase in {Phase.HOLDING, Phase.BAKING, Phase.STEPPING}
    assert held.state is not None
    assert held.state.unreached_at is not None
    (tmp_path / "weight").write_text(weight)
    (tmp_path / "elsewhere").rename(tmp_path / "access.log")
    assert shop.live(view).phase is Phase.PROMOTED


def test_what_cannot_be_begun_is_refused_at_once(database: Database, tmp_path: Path) -> None:
    shop = Shop(tmp_path, database)
    with pytest.raises(NotFoundError, match="no RolloutStrategy"):
        shop.rollouts.start(replace(WISH, service="other"), by="ada")
    with pytest.raises(NotFoundError, match="for staging"):
        shop.rollouts.start(replace(WISH, environment="staging"), by="ada")
    with pytest.raises(UsageError, match="needs a version"):
        shop.rollouts.start(replace(WISH, version=" "), by="ada")
    with pytest.raises(UsageError, match="old version"):
        shop.rollouts.start(replace(WISH, previous=""), by="ada")
    with pytest.raises(UsageError, match="both called v2"):
        shop.rollouts.start(replace(WISH, previous="v2"), by="ada")
    shop.remaining = Fraction(0)
    with pytest.raises(UsageError, match="nothing is left of the budget"):
        shop.rollouts.start(WISH, by="ada")
    fix = shop.rollouts.start(replace(WISH, kind=ChangeKind.RELIABILITY), by="ada", key="fix")
    assert shop.rollouts.start(replace(WISH, kind=ChangeKind.RELIABILITY), by="ada", key="fix").run == fix.run
    assert shop.live(fix).phase is Phase.PROMOTED
    with pytest.raises(NotFoundError):
        shop.rollouts.view("R-0")
    with pytest.raises((NotFoundError, DataError)):
        shop.rollouts.counts(fix.run.id + "x", "shop-availability", 1, Counts(0, 0), Counts(0, 0), by="ci")


def test_a_process_that_dies_after_any_commit_leaves_a_release_that_ends_all_the_same(tmp_path: Path) -> None:
    def lived(folder: Path, lives: int) -> tuple[Shop, View, int]:
        folder.mkdir()
        with ExitStack() as stack:
            database = stack.enter_context(opened(str(folder / "data"), create=True))
            mortal = Mortal(database.engine, database.where)
            shop = Shop(folder, mortal, strategy=("canary", "[{weight: 50%, bake: 10s}]", CANARY[2]))
            view = shop.rollouts.start(WISH, by="ada")
            Mortal.lives = lives
            died = 0
            for _ in range(200):
                try:
                    shop.second()
                except KilledError:
                    died += 1
                    Mortal.lives = 10**9
                    shop.anew()
                    shop.now += 35
                if shop.rollouts.view(view.run.id).step.state.over:
                    break
            spent = lives - Mortal.lives
            ended = shop.rollouts.view(view.run.id)
            assert died <= 1
            assert ended.phase is Phase.PROMOTED, (lives, ended.step.why)
            assert shop.weights() == ["0.5", "1"], lives
            assert shop.events() == [
                "preparing",
                "stepping",
                "baking",
                "stepping",
                "baking",
                "promoting",
                "promoted",
            ], lives
            assert {(one.external, one.state) for one in shop.reports} == {
                (shop.reports[0].external, DeploymentState.STARTED),
                (shop.reports[0].external, DeploymentState.SUCCEEDED),
            }
            assert ended.state is not None
            assert shop.rollouts.replay(view.run.id).differs_at is None, lives
            assert not Journal(mortal).verify().broken
            return shop, ended, spent

    _, straight, commits = lived(tmp_path / "straight", 10**9 - 1)
    assert straight.state is not None
    assert commits > 30
    for lives in range(2, commits, 12):
        _, ended, _ = lived(tmp_path / str(lives), lives)
        assert ended.state is not None
        assert ended.state.tallies[0].bad == straight.state.tallies[0].bad == 0
