"""Runs of one group: one at a time, in their order, none dropped, whatever people ask for meanwhile."""

from __future__ import annotations

import tempfile
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.live.serving import wait_for
from tests.runs.worlds import plan, step, world
from tightrope.base.errors import ConflictError
from tightrope.runs.steps import Action, Answer, Done, Effects, Run, RunState, Step, StepPlan
from tightrope.runs.usecases import Runs
from tightrope.state.database import opened
from tightrope.state.journal import Journal

_UNDER_WAY = {RunState.RUNNING, RunState.UNKNOWN}
_scripts = st.sampled_from(["ok", "fail", "unknown", "again 2"])
_asks = st.one_of(
    st.tuples(st.just("start"), st.sampled_from(["a", "b"]), _scripts),
    st.tuples(st.sampled_from(["turn", "wait"])),
    st.tuples(st.sampled_from(["cancel", "retry", "settle"]), st.integers(0, 9)),
)


def _holds(runs: list[Run]) -> None:
    for group in ("a", "b"):
        mine = [run for run in runs if run.group == group]
        under_way = [run for run in mine if run.state in _UNDER_WAY]
        queued = [run for run in mine if run.state is RunState.QUEUED]
        assert len(under_way) <= 1
        assert not queued or under_way, "nobody waits for nobody"
        if under_way:
            assert all(run.ticket > under_way[0].ticket for run in queued), "who came first goes first"
        assert len({run.ticket for run in mine}) == len(mine)


@settings(max_examples=25)
@given(st.lists(_asks, max_size=25))
def test_whatever_is_asked_for_one_goes_at_a_time_in_order_and_all_come_to_an_end(
    asks: list[tuple[object, ...]],
) -> None:
    with tempfile.TemporaryDirectory() as folder, world(str(Path(folder) / "store")) as here:
        for ask in asks:
            runs = here.runs.runs(limit=1000)
            try:
                match ask:
                    case ("start", str(group), str(script)):
                        here.runs.start(plan(step("one", script=script), step("two", "one"), group=group))
                    case ("turn",):
                        here.runs.turn_once()
                    case ("wait",):
                        here.clock.wait(5)
                    case (str(verb), int(number)) if runs:
                        run = runs[number % len(runs)]
                        match verb:
                            case "cancel":
                                here.runs.cancel(run.id, by="ada")
                            case "retry":
                                here.runs.retry(run.id, by="ada")
                            case "settle":
                                here.runs.settle(run.id, "one", "failed", by="ada", reason="I looked")
            except ConflictError:
                pass  # it was over, or was not, or nothing was unknown
            _holds(here.runs.runs(limit=1000))
        for _ in range(len(asks) * 3 + 3):
            here.runs.work_until_idle()
            here.clock.wait(5)
            for run in here.runs.runs(limit=1000, states=[RunState.UNKNOWN]):
                here.runs.settle(run.id, "one", "succeeded", by="ada", reason="I looked")
            _holds(here.runs.runs(limit=1000))
        assert all(run.state.over for run in here.runs.runs(limit=1000)), "none is dropped, none waits for ever"


class _Alone(Action):
    """Notes how many of a group are at work at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._now: Counter[str] = Counter()
        self.most = 0
        self.order: list[int] = []

    def turn(self, step: Step, now: int, effects: Effects) -> Answer:
        group = effects.run.group
        with self._lock:
            self._now[group] += 1
            self.most = max(self.most, self._now[group])
            self.order.append(effects.run.ticket)
        threading.Event().wait(0.01)
        with self._lock:
            self._now[group] -= 1
        return Done()


def test_many_who_ask_at_once_through_several_workers_go_one_at_a_time(store: str) -> None:
    action = _Alone()
    with opened(store, create=True) as database, opened(store) as another:
        workers = [Runs(database), Runs(another)]
        for runs in workers:
            runs.register("alone", action)
            runs.start_working(threads=3)
        try:
            with ThreadPoolExecutor(4) as pool:
                asked = [
                    pool.submit(workers[number % 2].start, plan(StepPlan("go", "alone"), group="production"))
                    for number in range(12)
                ]
                assert len({one.result().id for one in asked}) == 12
            wait_for(lambda: all(run.state is RunState.SUCCEEDED for run in workers[0].runs()), 40)
        finally:
            for runs in workers:
                runs.stop_working()
        assert action.most == 1
        assert action.order == list(range(1, 13))
        assert [runs.failure for runs in workers] == ["", ""]
        assert Journal(database).verify().broken == ()


def test_many_who_ask_under_one_key_get_one_run(store: str) -> None:
    with opened(store, create=True) as database, opened(store) as another, ThreadPoolExecutor(6) as pool:
        several = [Runs(database), Runs(another)]
        asked = [pool.submit(several[n % 2].start, plan(step("go"), group="p", key="push/abc")) for n in range(12)]
        assert len({one.result().number for one in asked}) == 1
        assert len(several[0].runs()) == 1
