"""From a pipeline and its trigger to the steps of a run."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tightrope.base.errors import UsageError
from tightrope.delivery.pipelines.globs import fits
from tightrope.delivery.pipelines.plan import CHECKOUT, Push, Trigger, plan, variables, wants
from tightrope.runs.steps import OnUnknown, RunPlan, StepPlan, When
from tightrope.specs.pipeline import (
    Condition,
    DeploySpec,
    GateSpec,
    Input,
    Matrix,
    Pipeline,
    PushTrigger,
    Stage,
    StageKind,
    StepSpec,
    Triggers,
    VerifySpec,
)
from tightrope.specs.store import load

BY_HAND = Trigger("manual", "ann", "/srv/shop.git", "a" * 40)


def step(name: str, *, needs: tuple[str, ...] | None = None, when: Condition = Condition.SUCCESS) -> StepSpec:
    return StepSpec(name, ("true",), needs, when)


def stage(name: str, *steps: StepSpec, needs: tuple[str, ...] | None = None, **more: object) -> Stage:
    return Stage(name, StageKind.STEPS, needs, steps=steps or (step("one"),), **more)  # type: ignore[arg-type]


def drawn(*stages: Stage, trigger: Trigger = BY_HAND) -> dict[str, StepPlan]:
    return {one.name: one for one in plan(Pipeline("shop", stages, service="shop"), trigger).steps}


def written(text: str, folder: Path) -> RunPlan:
    file = folder / "tightrope.yaml"
    head = "apiVersion: tightrope.dev/v1\nkind: Pipeline\nmetadata: {name: shop}\nspec:\n  service: shop\n"
    file.write_text(head + text, encoding="utf-8")
    return plan(load([str(file)]).pipelines[0], BY_HAND)


DELIVERY = (
    stage("build"),
    Stage("ask", StageKind.GATE, gate=GateSpec("shop")),
    Stage(
        "ship", StageKind.DEPLOY, deploy=DeploySpec("shop", step=step("ship"), observe=("look",), rollback=("back",))
    ),
    Stage("look", StageKind.VERIFY, verify=VerifySpec("shop", step("look"))),
    Stage("all", StageKind.PROMOTE, steps=(step("all"),)),
)


def test_stages_go_one_after_the_other_unless_they_say_otherwise() -> None:
    steps = drawn(stage("build"), stage("test"), stage("lint", needs=()), stage("pack", needs=("test", "lint")))
    assert steps["build/one"].needs == (CHECKOUT,)
    assert steps["test/one"].needs == ("build/one",)
    assert steps["lint/one"].needs == (CHECKOUT,)
    assert steps["pack/one"].needs == ("test/one", "lint/one")


def test_steps_of_a_stage_go_one_after_the_other_unless_they_say_otherwise() -> None:
    steps = drawn(stage("build", step("a"), step("b"), step("c", needs=()), step("d", needs=("b", "c"))))
    assert [steps[f"build/{name}"].needs for name in "abcd"] == [
        (CHECKOUT,),
        ("build/a",),
        (CHECKOUT,),
        ("build/b", "build/c"),
    ]


def test_what_is_there_for_failures_keeps_nobody_waiting() -> None:
    steps = drawn(
        stage("build", step("make"), step("cry", when=Condition.FAILURE), step("tidy", when=Condition.ALWAYS)),
        stage("tell", when=Condition.FAILURE),
        stage("test"),
    )
    assert steps["test/one"].needs == ("build/make", "build/tidy")
    assert steps["tell/one"].when is When.FAILURE
    assert steps["build/tidy"].needs == ("build/make",)


def test_a_matrix_is_spread_out_and_each_cell_has_a_workspace_of_its_own() -> None:
    matrix = Matrix(
        (("python", ("3.11", "3.12")), ("db", ("pg", "lite"))), ({"python": "3.13"},), ({"db": "pg", "python": "3.11"},)
    )
    steps = drawn(stage("build"), stage("test", matrix=matrix, env={"V": "py${matrix.python}"}), stage("pack"))
    cells = [name for name in steps if name.startswith("test")]
    assert cells == ["test (3.11, lite)/one", "test (3.12, pg)/one", "test (3.12, lite)/one", "test (3.13)/one"]
    assert steps["pack/one"].needs == tuple(cells)
    assert steps["test (3.12, pg)/one"].document["env"] == {"V": "py3.12"}
    assert len({steps[name].document["workspace"] for name in cells}) == 4
    assert variables(steps[cells[0]].document, {}, 1, "x", 1)["MATRIX_PYTHON"] == "3.11"


def test_what_is_included_adds_to_the_cells_that_it_agrees_with() -> None:
    matrix = Matrix((("python", ("3.11", "3.12")),), ({"python": "3.12", "extra": "yes"}, {"python": "3.12"}))
    steps = drawn(stage("test", matrix=matrix))
    assert [name for name in steps if name != CHECKOUT] == ["test (3.11)/one", "test (3.12, yes)/one"]


def test_a_deployment_is_taken_back_when_a_later_stage_fails() -> None:
    steps = drawn(*DELIVERY)
    undo = steps["ship/rollback"]
    assert (undo.kind, undo.when, undo.needs) == ("rollback", When.FAILURE, ("ship", "look", "all"))
    assert undo.document["of"] == ["ship"]
    assert steps["look"].needs == ("ship",)
    assert steps["ship"].needs == ("ask",)


def test_a_stage_that_rolls_back_takes_the_place_of_what_would_happen_by_itself() -> None:
    back = Stage("back", StageKind.ROLLBACK, when=Condition.FAILURE, steps=(StepSpec("back", ()),))
    steps = drawn(*DELIVERY[:4], back, DELIVERY[4])
    assert "ship/rollback" not in steps
    assert steps["back"].document["run"] == ["back"]
    assert steps["back"].needs == ("look",)
    assert steps["all"].needs == ("look",)


def test_a_rollback_with_nothing_to_do_is_refused() -> None:
    back = Stage("back", StageKind.ROLLBACK, when=Condition.FAILURE, steps=(StepSpec("back", ()),))
    with pytest.raises(UsageError, match="nothing to roll back with"):
        drawn(stage("build"), back)


def test_only_what_may_be_repeated_is_repeated_when_nobody_knows() -> None:
    steps = drawn(stage("build", StepSpec("a", ("x",), retries=1), StepSpec("b", ("x",))), *DELIVERY[1:])
    assert steps["build/a"].on_unknown is OnUnknown.RETRY
    assert steps["build/b"].on_unknown is OnUnknown.HUMAN
    assert steps["ship"].on_unknown is OnUnknown.PROBE
    assert steps["ship/rollback"].on_unknown is OnUnknown.HUMAN
    blind = Stage("ship", StageKind.DEPLOY, deploy=DeploySpec("shop", step=step("ship")))
    assert drawn(blind)["ship"].on_unknown is OnUnknown.HUMAN


def test_secrets_are_in_no_document_but_where_they_are(tmp_path: Path) -> None:
    steps = "[{name: b, run: c, secrets: [TOKEN]}]"
    text = f"  secrets: {{TOKEN: {{fromEnvironment: SHOP_TOKEN}}}}\n  stages: [{{name: a, steps: {steps}}}]\n"
    document = written(text, tmp_path).steps[1].document
    assert document["secrets"] == {"TOKEN": {"environment": "SHOP_TOKEN"}}


def test_inputs_are_checked_and_become_variables() -> None:
    pipeline = Pipeline(
        "shop",
        (stage("build"),),
        triggers=Triggers(inputs=(Input("region", "eu", choices=("eu", "us")), Input("why", required=True))),
    )
    run = plan(pipeline, Trigger("manual", "ann", inputs={"why": "because"}))
    assert run.document["inputs"] == {"region": "eu", "why": "because"}
    assert variables({}, run.document, 7, "build/one", 2)["INPUT_REGION"] == "eu"
    for wrong in ({}, {"why": "x", "region": "mars"}, {"why": "x", "regoin": "eu"}):
        with pytest.raises(UsageError):
            plan(pipeline, Trigger("manual", "ann", inputs=wrong))
    pushed = plan(pipeline, Trigger("push", "ann"))
    assert pushed.document["inputs"] == {"region": "eu", "why": ""}, "a push cannot be asked for what is required"


# --- what starts it ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("glob", "text", "whether"),
    [
        ("main", "main", True),
        ("main", "maintenance", False),
        ("release/*", "release/1", True),
        ("release/*", "release/1/x", False),
        ("release/**", "release/1/x", True),
        ("**/*.md", "README.md", True),
        ("**/*.md", "docs/a/b.md", True),
        ("src/**", "src/a/b.py", True),
        ("v[0-9]*", "v1.2", True),
        ("v[!0-9]*", "v1.2", False),
        ("{main,next}", "next", True),
        ("v1.?", "v1.2", True),
        ("v1.?", "v112", False),
        ("[", "[", True),
        ("a{b", "a{b", True),
    ],
)
def test_globs_fit_as_a_whole(glob: str, text: str, whether: bool) -> None:
    assert fits(glob, text) is whether


@given(st.text(alphabet="ab*?[]{},/!-\\.", max_size=12), st.text(alphabet="ab/.-", max_size=8))
def test_no_glob_breaks(glob: str, text: str) -> None:
    assert fits(glob, text) in {True, False}


@pytest.mark.parametrize(
    ("push", "whether"),
    [
        (Push("r", branch="main", paths=("src/a.py",)), True),
        (Push("r", branch="other", paths=("src/a.py",)), False),
        (Push("r", branch="main", paths=("docs/a.md",)), False),
        (Push("r", branch="main", paths=("src/a.md",)), False),
        (Push("r", branch="main", paths=("src/a.md", "src/b.py")), True),
        (Push("r", branch="main", paths=None), True),
        (Push("r", tag="v1"), True),
        (Push("r", tag="nightly"), False),
    ],
)
def test_a_push_starts_what_wants_it(push: Push, whether: bool) -> None:
    triggers = Triggers(PushTrigger(("main",), ("src/**",), ("**/*.md",)), ("v*",))
    assert wants(Pipeline("shop", (stage("build"),), triggers=triggers), push) is whether


def test_nothing_starts_by_itself_what_has_no_triggers() -> None:
    assert not wants(Pipeline("shop", (stage("build"),)), Push("r", branch="main"))


# --- laws ----------------------------------------------------------------------------------------------------------


@st.composite
def pipelines(draw: st.DrawFn) -> Pipeline:
    """Pipelines whose stages need any of those before them, in any order of the file."""
    names = [f"s{number}" for number in range(draw(st.integers(1, 6)))]
    stages = []
    for number, name in enumerate(names):
        needs = tuple(draw(st.lists(st.sampled_from(names[:number]), unique=True))) if number else ()
        steps: list[StepSpec] = []
        for inner in range(draw(st.integers(1, 3))):
            wanted = tuple(draw(st.lists(st.sampled_from([one.name for one in steps]), unique=True))) if steps else ()
            steps.append(step(f"t{inner}", needs=wanted, when=draw(st.sampled_from(Condition))))
        matrix = draw(st.sampled_from([None, Matrix((("x", ("1", "2")),)), Matrix((), ({"x": "1"},))]))
        made = stage(name, *steps, needs=needs, matrix=matrix, when=draw(st.sampled_from(Condition)))
        stages.append(made)
    return Pipeline("shop", tuple(draw(st.permutations(stages))), service="shop")


@given(pipelines())
def test_every_step_comes_after_all_that_its_stage_needs(pipeline: Pipeline) -> None:
    drawn_run = plan(pipeline, BY_HAND)
    steps = {one.name: one for one in drawn_run.steps}
    above: dict[str, set[str]] = {}

    def before(name: str) -> set[str]:
        if name not in above:
            above[name] = set()
            for need in steps[name].needs:
                above[name] |= {need} | before(need)
        return above[name]

    for name, one in steps.items():
        assert name not in before(name)
        if name == CHECKOUT:
            continue
        assert CHECKOUT in before(name)
        mine = pipeline.stage(one.document["stage"])
        for need in mine.needs or ():
            theirs = {other.name for other in steps.values() if other.document["stage"] == need}
            lasting = {other for other in theirs if steps[other].when is not When.FAILURE} or theirs
            assert lasting <= before(name)


@given(pipelines(), st.randoms(use_true_random=False))
def test_the_order_of_the_file_changes_no_step(pipeline: Pipeline, random: object) -> None:
    stages = list(pipeline.stages)
    random.shuffle(stages)  # type: ignore[attr-defined]
    other = Pipeline(pipeline.name, tuple(stages), service=pipeline.service)
    first = {one.name: (one.kind, one.document, one.when, set(one.needs)) for one in plan(pipeline, BY_HAND).steps}
    second = {one.name: (one.kind, one.document, one.when, set(one.needs)) for one in plan(other, BY_HAND).steps}
    assert first == second
    assert plan(pipeline, BY_HAND) == plan(pipeline, BY_HAND)


def test_a_verification_first_runs_its_command_and_then_watches() -> None:
    both = Stage("look", StageKind.VERIFY, verify=VerifySpec("shop", step("look"), ("a",), 600))
    steps = drawn(stage("build"), both, stage("after"))
    assert (steps["look"].kind, steps["look"].needs) == ("verify", ("build/one",))
    assert (steps["look/watch"].kind, steps["look/watch"].needs) == ("watch", ("look",))
    assert steps["after/one"].needs == ("look", "look/watch")
    only = Stage("look", StageKind.VERIFY, verify=VerifySpec("shop", None, ("a",), 600))
    assert drawn(only)["look"].kind == "watch"
