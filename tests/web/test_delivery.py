"""The pages of delivery: what is on its way, what a step writes, a rollout with its evidence, and what one may do."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection
from dataclasses import replace
from fractions import Fraction
from html import unescape

import pytest
from starlette.testclient import TestClient

from tests.delivery.test_rollout import World as Rolled
from tests.delivery.test_rollout import _promise, _rollout, _terms
from tests.runs.worlds import Scripted
from tests.web.standin import World
from tests.web.test_report import Page
from tests.web.worlds import WICKED as WICKED_SERVICE
from tightrope.delivery.canary import ErrorTest
from tightrope.delivery.changes import DeploymentReport, DeploymentState
from tightrope.delivery.pipelines.plan import Push
from tightrope.delivery.planner import plan
from tightrope.delivery.rollout import Phase
from tightrope.delivery.rollouts.usecases import Shown as Turn
from tightrope.delivery.rollouts.usecases import _shown
from tightrope.policy.decision import GateRequest, Verdict
from tightrope.runs.commands import LogPart
from tightrope.runs.steps import Again, Answer, Done, Effects, OnUnknown, Run, RunPlan, RunState, Step, StepPlan
from tightrope.specs.defaults import DEFAULT_POLICY
from tightrope.specs.model import ExceptionQuota
from tightrope.specs.pipeline import Pipeline
from tightrope.web.rollouts import sentence, shown

WICKED = "<script>alert(1)</script>"


class Chatty(Scripted):
    """Steps that have written something."""

    def log(self, key: str, offset: int, limit: int) -> LogPart:
        text = f"first line of {key}\n{WICKED}\n".encode() + b"\xff\x00 no text\n"
        return LogPart(offset, text[offset : offset + limit], ended=True)


@pytest.fixture
def runs(world: World) -> World:
    world.server.runs.register("command", Chatty())
    return world


def begin(
    world: World, *scripts: list[str], service: str = "burning", title: str = "", optional: Collection[int] = ()
) -> Run:
    steps = tuple(
        StepPlan(
            f"step {number}",
            "command",
            {"script": script, "stage": f"stage {number // 2}"},
            (f"step {number - 1}",) if number else (),
            on_unknown=OnUnknown.HUMAN,
            optional=number in optional,
        )
        for number, script in enumerate(scripts)
    )
    run = world.server.runs.start(RunPlan("pipeline", steps, service=service, title=title, by="dev"))
    world.server.runs.work_until_idle()
    return world.server.runs.show(run.id)


def heading(client: TestClient, path: str) -> str:
    return Page(client.get(path).text).text("h1")


def csrf(client: TestClient, path: str) -> str:
    found = re.search(r'name="csrf" value="([^"]+)"', client.get(path).text)
    assert found is not None
    return found[1]


def test_an_empty_page_says_how_to_begin(client: TestClient) -> None:
    page = client.get("/delivery").text
    assert "Nothing was delivered yet." in page
    assert "tightrope pipeline run" in page
    assert "tightrope deployment record" in page


def test_runs_are_listed_newest_first_with_what_tells_most(runs: World, client: TestClient) -> None:
    begin(runs, ["ok"], ["ok"], title="Fine")
    begin(runs, ["ok"], ["hopeless"], title=WICKED)
    page = client.get("/delivery").text
    assert page.index('id="r-2"') < page.index('id="r-1"')
    assert "step 1: it never will" in page
    assert WICKED not in page


def test_a_failure_that_does_no_harm_is_not_why_a_run_failed(runs: World, client: TestClient) -> None:
    one = begin(runs, ["hopeless"], ["hopeless"], optional={0})
    assert heading(client, f"/delivery/runs/{one.number}").startswith("Failed at step 1: it never will")


def test_a_run_shows_its_stages_steps_and_logs(runs: World, client: TestClient) -> None:
    one = begin(runs, ["ok"], ["ok"], ["hopeless"], title="Rank by margin")
    assert one.state is RunState.FAILED
    where = f"/delivery/runs/{one.number}"
    assert heading(client, where).startswith("Failed at step 2: it never will")
    page = client.get(where).text
    assert page.count('<li class="ok">') == 1
    assert "2 steps" in page
    assert f'href="{where}/steps/step%201"' in page
    log = client.get(f"{where}/steps/step%201").text
    assert f"first line of {one.id}/step 1/1" in log
    assert WICKED not in log
    assert client.get(f"{where}/steps/none").status_code == 404
    assert client.get("/delivery/runs/77").status_code == 404
    assert client.get("/delivery/runs/x").status_code == 404


def test_a_run_that_waits_in_its_group_says_behind_which(runs: World, client: TestClient) -> None:
    def queued(*script: str) -> Run:
        steps = (StepPlan("ship", "command", {"script": list(script)}, on_unknown=OnUnknown.HUMAN),)
        made = runs.server.runs.start(RunPlan("pipeline", steps, service="burning", group="pipeline/shop"))
        runs.server.runs.work_until_idle()
        return made

    first, second = queued("unknown"), queued("ok")
    assert heading(client, f"/delivery/runs/{second.number}") == (
        f"Queued: run {first.number} of shop waits for somebody to say what became of it."
    )
    assert f"behind run {first.number}" in client.get("/delivery").text


class Building(Scripted):
    """Steps that leave an artifact."""

    def turn(self, step: Step, now: int, effects: Effects) -> Answer:
        return Done({"artifacts": [{"path": "dist/<b>.tar", "size": 12_345, "digest": "ab" * 32}]})


def test_the_artifacts_of_a_run_can_be_fetched_from_its_page(world: World, client: TestClient) -> None:
    world.server.runs.register("command", Building())
    one = begin(world, ["ok"])
    page = client.get(f"/delivery/runs/{one.number}").text
    assert f'href="/api/v1/runs/{one.number}/artifacts/{"ab" * 32}"' in page
    assert "dist/&lt;b&gt;.tar" in page
    assert "12,345 B" in page


def test_what_keeps_a_pipeline_from_being_started_stands_on_the_page(world: World, client: TestClient) -> None:
    pipelines = world.server.pipelines
    known = Pipeline("shop", (), repository="/no/such/place.git", file="tightrope.yaml")
    pipelines._definitions = lambda: [known]
    assert "Not started" not in client.get("/delivery").text
    assert pipelines.pushed(Push("/no/such/place.git", branch="main", after="1" * 40)) == []
    page = unescape(client.get("/delivery").text)
    assert "Not started" in page
    assert pipelines.trouble["shop"] in page


class Gated(Scripted):
    """The gate says what the step asks for."""

    def turn(self, step: Step, now: int, effects: Effects) -> Answer:
        says = {"verdict": step.document["says"], "decision": ""}
        if says["verdict"] == "wait":
            return Again(now + 60, says, "no data for 13 min; features wait.")
        return Done(says, ok=False, retry=False, why="the budget is overspent; features wait.")


@pytest.mark.parametrize(
    ("says", "sentence"),
    [("wait", "The gate says wait; 0 of 1 steps are over."), ("stop", "The gate said stop after 0 s.")],
)
def test_a_run_that_the_gate_holds_says_so_in_few_words(
    world: World, client: TestClient, says: str, sentence: str
) -> None:
    world.server.runs.register("gate", Gated())
    one = world.server.runs.start(RunPlan("pipeline", (StepPlan("ask", "gate", {"says": says}),), service="burning"))
    world.server.runs.work_until_idle()
    assert heading(client, f"/delivery/runs/{one.number}") == sentence
    assert "features wait." in client.get(f"/delivery/runs/{one.number}").text


def test_an_unknown_outcome_is_put_to_a_person_who_settles_it(runs: World, client: TestClient) -> None:
    one = begin(runs, ["unknown"])
    where = f"/delivery/runs/{one.number}"
    assert heading(client, "/delivery") == f"Somebody has to say what became of run {one.number}."
    assert "Nobody knows what became of step 0: the line went dead" in heading(client, where)
    form = {"csrf": csrf(client, where), "do": "settle", "step": "step 0", "as": "succeeded", "reason": "I looked"}
    assert client.post(where, data=form | {"csrf": "none"}).status_code == 403
    answer = client.post(where, data=form)
    assert (answer.status_code, answer.headers["location"]) == (303, f"{where}?done=told")
    assert runs.server.runs.show(one.id).state is RunState.SUCCEEDED
    assert heading(client, where).startswith("Done in")


def test_a_failed_run_is_tried_again_and_a_running_one_cancelled(runs: World, client: TestClient) -> None:
    failed = begin(runs, ["hopeless", "ok"])
    where = f"/delivery/runs/{failed.number}"
    client.post(where, data={"csrf": csrf(client, where), "do": "retry"})
    runs.server.runs.work_until_idle()
    assert runs.server.runs.show(failed.id).state is RunState.SUCCEEDED
    endless = begin(runs, ["again 1000"])
    where = f"/delivery/runs/{endless.number}"
    assert "data-busy" in client.get(where).text
    client.post(where, data={"csrf": csrf(client, where), "do": "cancel", "reason": "not needed"})
    runs.server.runs.work_until_idle()
    assert heading(client, where) == "Cancelled by local: not needed."
    assert client.post(where, data={"csrf": csrf(client, "/settings"), "do": "dance"}).status_code == 400


def test_a_release_that_went_past_the_gate_is_told_and_closed(world: World, client: TestClient) -> None:
    world.server.deliveries.record(
        DeploymentReport(
            source="cli", external="1", service="burning", environment="production", version="v9", at=world.clock - 60,
            state=DeploymentState.SUCCEEDED,
        )
    )  # fmt: skip
    page = client.get("/delivery").text
    assert "1 release went past the gate." in page
    assert "v9" in page
    (finding,) = world.server.deliveries.findings.listed(open_only=True)
    client.post(f"/findings/{finding.id}", data={"csrf": csrf(client, "/delivery"), "reason": "agreed by phone"})
    assert world.server.deliveries.findings.listed(open_only=True) == []
    assert "went past" not in heading(client, "/delivery")


def test_a_run_links_the_decision_that_it_went_on(runs: World, client: TestClient) -> None:
    made = runs.server.decide(GateRequest("burning", runs.clock))
    one = begin(runs, ["ok"])
    step = replace(one.steps[0], outcome={"decision": made.id})
    runs.server.runs.show = lambda _: replace(one, steps=(step,))  # type: ignore[method-assign,assignment]
    page = client.get(f"/delivery/runs/{one.number}").text
    assert f"/decisions/{made.id}" in page
    assert f"Why the gate said {made.verdict.value}" in page


def test_an_exception_is_asked_for_on_the_page_of_a_decision_and_granted_there_by_another(
    world: World, client: TestClient
) -> None:
    quota = ExceptionQuota(2, "Q")
    world.change(specs=replace(world.server.live.snapshot.specs, policies=(replace(DEFAULT_POLICY, exceptions=quota),)))
    made = world.server.decide(GateRequest(WICKED_SERVICE, world.clock))
    assert made.verdict is Verdict.STOP
    where = f"/decisions/{made.id}"
    assert f"tightrope exception request {shlex.quote(made.request.service)}" in unescape(client.get(where).text)
    form = {"csrf": csrf(client, where), "do": "request", "reason": f"contract date {WICKED}"}
    assert client.post(where, data=form).headers["location"] == f"{where}?done=told"
    (asked,) = world.server.exceptions.listed(service=made.request.service)
    page = client.get(where).text
    assert f"{asked.id} · waiting" in page
    assert WICKED not in page
    grant = form | {"do": "grant", "exception": asked.id, "reason": ""}
    assert client.post(where, data=grant).status_code == 403, "nobody grants what they asked for"
    other = world.server.exceptions.request(made.request.service, by="dev", reason="date", now=world.clock)
    client.post(where, data=grant | {"exception": other.id})
    assert world.server.exceptions.named(other.id).holds(world.clock)
    client.post(where, data=grant | {"do": "refuse"})
    assert f"{asked.id} · waiting" not in client.get(where).text
    assert client.post(where, data=form | {"do": "dance"}).status_code == 400


# --- rollouts ------------------------------------------------------------------------------------------------------


def rolled(seconds: int, *, failing: int = 0) -> tuple[Rolled, list[Turn]]:
    """A rollout in a world of its own, with what its turns showed."""
    drawn = plan([_promise()], _terms(allowance=Fraction(1, 100)))
    made = Rolled(drawn, failing=lambda _: failing)
    made.run(_rollout(drawn), seconds)
    return made, [Turn(number, at, _shown(state, deeds)) for number, (_, at, state, deeds) in enumerate(made.record)]


def test_a_rollout_that_bakes_says_so_with_what_it_can_still_cost() -> None:
    made, turns = rolled(90)
    assert made.state is not None
    found = shown(made.state, turns, made.state.turned_at)
    assert not found.over
    assert "this step could cost at most" in found.lead
    assert [stop.kind for stop in found.stops].count("run") == 1
    (check,) = found.checks
    assert check.word != "Harm"
    assert 0 <= check.share < 1
    (spending,) = found.spending
    assert 0 <= spending.used + spending.at_risk <= 1
    assert found.chart.startswith("<svg")
    assert found.chart.count("<svg") == found.chart.count("</svg>") == 1


def test_a_time_at_the_edge_of_a_narrow_chart_is_whole() -> None:
    made, turns = rolled(90)
    assert made.state is not None
    by = 61 - turns[-1].at % 60  # the last turn is a second after a minute
    moved = [replace(one, at=one.at + by) for one in turns]
    chart = shown(made.state, moved, made.state.turned_at).narrow
    (width,) = re.findall(r'viewBox="0 0 (\d+) ', chart)
    labels = re.findall(r'x="([\d.]+)" y="\d+" text-anchor="(middle|end)">\d\d:\d\d<', chart)
    assert float(labels[-1][0]) > 340
    assert all(float(across) + (18 if anchor == "middle" else 0) <= int(width) for across, anchor in labels)


def test_a_rollout_that_does_harm_is_rolled_back_and_says_why() -> None:
    made, turns = rolled(3600, failing=500)
    assert made.state is not None
    assert made.state.phase is Phase.ROLLED_BACK
    found = shown(made.state, turns, made.state.turned_at)
    assert found.sentence.startswith("Rolled back: ")
    assert found.lead.startswith("Weight 0 seen at ")
    assert found.lead.endswith(" UTC.")
    assert "T" not in found.lead.replace("UTC", "")
    assert (found.word, found.over) == ("Rolled back", True)
    ended = [number for number, stop in enumerate(found.stops) if stop.lines == ("ended here",)]
    assert len(ended) == 1
    assert found.stops[ended[0]].kind == "bad"
    assert {stop.lines for stop in found.stops[ended[0] + 1 :]} <= {("not reached",)}
    assert found.why == ""
    assert found.explained


def test_of_two_objectives_only_the_one_that_was_harmed_says_so() -> None:
    made, turns = rolled(3600, failing=500)
    assert made.state is not None
    assert made.state.analysis is not None
    speed = ErrorTest("speed", Fraction(1, 20), Fraction(1, 20), inflation=Fraction(1))
    both = replace(made.state.analysis, errors=(*made.state.analysis.errors, speed))
    harmed, spared = shown(replace(made.state, analysis=both), turns, made.state.turned_at).checks
    assert (harmed.word, harmed.share) == ("Harm", 1)
    assert (spared.word, spared.evidence, spared.share) == ("No proof of harm", "1.0 of 40", 0)
    assert harmed.difference.endswith(" pp")
    assert re.fullmatch(r"[+−]\d+\.\d\d to [+−]\d+\.\d\d", harmed.band)


def test_with_all_of_the_traffic_nothing_is_compared_and_no_verdict_is_promised() -> None:
    made, turns = rolled(90)
    assert made.state is not None
    whole = replace(made.state, phase=Phase.BAKING, weight=Fraction(1), seen=Fraction(1), why="it bakes")
    assert sentence(whole) == "No alarm at 100 %. It bakes."
    assert "nothing runs beside it" in shown(whole, turns, whole.turned_at).why.lower()


def test_one_that_waits_for_its_gate_shows_no_traffic_and_offers_no_step() -> None:
    made, turns = rolled(90)
    assert made.state is not None
    gated = replace(made.state, phase=Phase.GATED, begun_at=None, stage=None, weight=Fraction(0), seen=Fraction(1))
    found = shown(gated, turns, made.state.turned_at)
    assert (found.begun, found.chart, found.checks) == (False, "", ())
    assert re.fullmatch(r"The release may spend \d.\d\d % of the budget.", found.lead)
    assert [one.worst for one in found.spending] == [""]


def test_one_that_goes_back_offers_no_other_way() -> None:
    made, turns = rolled(20)
    assert made.state is not None
    back = replace(made.state, phase=Phase.ROLLING_BACK, stage=None, weight=Fraction(0))
    found = shown(back, turns, made.state.turned_at)
    assert found.returning
    assert "until weight 0 is seen" in found.lead
    assert found.stops[-1].lines == ("not reached",)


def test_what_could_not_be_followed_and_what_is_in_trouble_is_noted() -> None:
    made, turns = rolled(90)
    assert made.state is not None
    refused = replace(made.state, refused="not promoted: the allowance")
    found = shown(refused, turns, made.state.turned_at, "nginx is gone")
    assert found.notes == ("Not promoted: the allowance", "Nginx is gone")


def test_every_phase_has_its_sentence() -> None:
    made, _ = rolled(90)
    assert made.state is not None
    told = {phase: sentence(replace(made.state, phase=phase, why="so it is")) for phase in Phase}
    assert len(set(told.values())) >= len(Phase) - 1
    assert all(text.endswith(".") for text in told.values())
