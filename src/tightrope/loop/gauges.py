"""Gauges: where every objective and service stands, and how the server itself does, as numbers to be scraped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields

from tightrope.base.errors import StoreError
from tightrope.base.units import duration_text
from tightrope.delivery.canary import bound_nano, evidence_of_harm
from tightrope.delivery.pipelines.plan import KIND as PIPELINE
from tightrope.delivery.receiving.usecases import Inbox
from tightrope.delivery.rollout import Phase, Rollout
from tightrope.delivery.rollouts.usecases import KIND as ROLLOUT
from tightrope.delivery.rollouts.usecases import Rollouts
from tightrope.delivery.usecases import Deliveries
from tightrope.loop.assess import Assessment
from tightrope.loop.live import Live
from tightrope.loop.standing import by_service, tightest
from tightrope.policy.states import named
from tightrope.runs.steps import RunState
from tightrope.runs.usecases import Runs
from tightrope.specs.model import ChangeKind

Sample = tuple[Mapping[str, str], float]

_MOST_ROLLOUTS = 1000


@dataclass(frozen=True, slots=True)
class Family:
    """Samples of one name: what it means, whether it is a ``gauge`` or a ``counter``, labels with values."""

    name: str
    help: str
    type: str
    samples: tuple[Sample, ...]


def gauges_of(live: Live, now: int) -> list[Family]:
    """Everything there is to scrape, as of the last turn.

    A share or rate that is not known has no sample: it is neither 0 nor 1.
    """
    found = [one for one in live.snapshot.assessments.values() if one.watched]
    return [*_objectives(found, now), *_services(found), *_own(live, now)]


def gauges_of_deliveries(inbox: Inbox, deliveries: Deliveries) -> list[Family]:
    """What came in of changes, and what went past the gate; no sample where the store cannot tell."""
    outcomes, refusals = inbox.counts()
    try:
        findings = deliveries.findings.open_counts()
    except StoreError:
        findings = {}
    told = [({"integration": name, "state": state}, float(count)) for (name, state), count in sorted(outcomes.items())]
    told += [({"integration": name, "state": "refused"}, float(count)) for name, count in sorted(refusals.items())]
    return [
        Family(
            "tightrope_deliveries_total",
            "Deliveries of webhooks since the start, by what became of them.",
            "counter",
            tuple(told),
        ),
        Family(
            "tightrope_findings_open",
            "Deployments that went out past the gate, and that nobody has closed.",
            "gauge",
            tuple(({"service": service}, float(count)) for service, count in sorted(findings.items())),
        ),
    ]


def gauges_of_runs(runs: Runs) -> list[Family]:
    """How much is queued and under way, of runs and of steps; none where the store cannot tell."""
    try:
        found, steps = runs.counts()
    except StoreError:
        return []
    open_states = [one.value for one in RunState if not one.over]
    kinds = sorted({PIPELINE, ROLLOUT, *(kind for kind, _ in found)})
    return [
        Family(
            "tightrope_runs",
            "Runs that are not over: queued behind others of their group, running, or unknown and to be settled.",
            "gauge",
            tuple(
                ({"kind": kind, "state": state}, float(found.get((kind, state), 0)))
                for kind in kinds
                for state in open_states
            ),
        ),
        Family(
            "tightrope_run_steps",
            "Steps that wait for their turn (ready), are under way (running), or are unknown and to be settled.",
            "gauge",
            tuple(({"kind": kind, "state": state}, float(count)) for (kind, state), count in sorted(steps.items())),
        ),
    ]


def gauges_of_rollouts(rollouts: Rollouts) -> list[Family]:
    """How the rollouts that are not over stand; none where the store cannot tell.

    What is not known has no sample: the weight before one was seen, evidence where nothing is compared.
    """
    try:
        found = rollouts.views(running=True, limit=_MOST_ROLLOUTS)
    except StoreError:
        return []
    each = [({"service": one.wish.service, "environment": one.wish.environment}, one.phase, one.state) for one in found]
    known = [(labels, state) for labels, _, state in each if state is not None]
    judged = [(labels, state, state.analysis) for labels, state in known if state.analysis is not None]
    spent = [(labels, name, share) for labels, state in known for name, share in _spent(state)]
    return [
        Family(
            "tightrope_rollout_phase",
            "Whether the rollout that is under way is in the phase.",
            "gauge",
            tuple(
                ({**labels, "phase": phase.value}, float(phase is now))
                for labels, now, _ in each
                for phase in Phase
                if not phase.over
            ),
        ),
        Family(
            "tightrope_rollout_weight_ratio",
            "Share of the traffic that the new version was last seen to have.",
            "gauge",
            tuple((labels, float(state.seen)) for labels, state in known if state.seen is not None),
        ),
        Family(
            "tightrope_rollout_evidence_nats",
            "Evidence of harm as of now, as a natural logarithm: 0 is none; at the bound the rollout goes back.",
            "gauge",
            tuple((labels, evidence_of_harm(analysis) / 1e9) for labels, _, analysis in judged),
        ),
        Family(
            "tightrope_rollout_evidence_bound_nats",
            "The evidence at which the rollout goes back.",
            "gauge",
            tuple((labels, bound_nano(state.plan.terms.alpha) / 1e9) for labels, state, _ in judged),
        ),
        Family(
            "tightrope_rollout_allowance_spent_ratio",
            "Share of what the rollout may cost at most that it has spent, by objective.",
            "gauge",
            tuple(({**labels, "slo": name}, share) for labels, name, share in spent),
        ),
    ]


def _spent(state: Rollout) -> Iterator[tuple[str, float]]:
    for cost, tally in zip(state.plan.costs, state.tallies, strict=True):
        if cost.at_most > 0:
            yield tally.name, float(tally.spent / cost.at_most)


def _objectives(found: Sequence[Assessment], now: int) -> Iterator[Family]:
    def each(name: str, text: str, samples: Iterator[tuple[Assessment, Mapping[str, str], float]]) -> Family:
        told = tuple(({**_labels(one), **more}, value) for one, more, value in samples)
        return Family(name, text, "gauge", told)

    budgets = [(one, one.budget.remaining_ratio) for one in found]
    yield each(
        "tightrope_budget_remaining_ratio",
        "Share of the error budget that is left, on the basis of the policy; negative when overspent.",
        ((one, {}, float(left)) for one, left in budgets if left is not None),
    )
    yield each(
        "tightrope_budget_consumed_ratio",
        "Share of the error budget that is spent.",
        ((one, {}, 1 - float(left)) for one, left in budgets if left is not None),
    )
    yield each(
        "tightrope_objective_ratio",
        "The objective: the share of units that should be good.",
        ((one, {}, float(one.objective.target)) for one in found),
    )
    slis = [(one, one.statement.sli) for one in found]
    yield each(
        "tightrope_sli_ratio",
        "Share of good units in the window.",
        ((one, {}, float(sli)) for one, sli in slis if sli is not None),
    )
    yield each(
        "tightrope_sli_coverage_ratio",
        "Share of the window's slices that were measured.",
        ((one, {}, float(one.statement.coverage)) for one in found),
    )
    yield each(
        "tightrope_burn_rate",
        "How many times faster than planned the budget is spent over a lookback; none without traffic.",
        (
            (one, {"lookback": duration_text(burn.lookback_s)}, float(burn.rate))
            for one in found
            for burn in one.statement.burns
            if not burn.no_traffic
        ),
    )
    yield each(
        "tightrope_alert_firing",
        "Whether an alert of the severity fires.",
        (
            (one, {"severity": severity}, float(any(each.severity == severity for each in one.firing)))
            for one in found
            for severity in sorted({each.severity for each in one.plan.conditions})
        ),
    )
    yield each(
        "tightrope_sli_stale",
        "Whether the data is too old to go by.",
        ((one, {}, float(one.stale)) for one in found),
    )
    ages = [(one, one.age_s(now)) for one in found]
    yield each(
        "tightrope_sli_age_seconds",
        "Seconds since the newest slice with data.",
        ((one, {}, float(age)) for one, age in ages if age is not None),
    )


def _services(found: Sequence[Assessment]) -> Iterator[Family]:
    flows: list[Sample] = []
    states: list[Sample] = []
    decisions: list[Sample] = []
    for service, group in by_service(found).items():
        one = tightest(group)
        now = named(one.policy, one.history.final_state)
        flows += [
            ({"service": service, "flow": flow}, float(now.flow.value == flow))
            for flow in sorted({each.flow.value for each in one.policy.states})
        ]
        states += [
            ({"service": service, "state": each.name}, float(each.name == now.name)) for each in one.policy.states
        ]
        stale = any(each.stale for each in group if each.watched)
        for kind in ChangeKind:
            verdict = _verdict(kind, one, stale)
            decisions += [
                ({"service": service, "kind": kind.value, "verdict": each}, float(each == verdict))
                for each in ("go", "wait", "stop")
            ]
    yield Family("tightrope_flow", "Whether the service is in the flow.", "gauge", tuple(flows))
    yield Family("tightrope_state", "Whether the service is in the policy state.", "gauge", tuple(states))
    yield Family(
        "tightrope_gate_decision",
        "What state and telemetry say to a kind of change; freezes, exceptions and rules only the gate knows.",
        "gauge",
        tuple(decisions),
    )


def _verdict(kind: ChangeKind, one: Assessment, stale: bool) -> str:
    if kind is ChangeKind.ROLLBACK:
        return "go"
    if stale:
        return "go" if kind in one.policy.unknown.passes else "wait"
    return "go" if kind in named(one.policy, one.history.final_state).allows else "stop"


def _own(live: Live, now: int) -> Iterator[Family]:
    snapshot, counts = live.snapshot, live.counts()
    yield Family(
        "tightrope_lag_seconds",
        "Seconds from the end of an objective's last evaluation to now.",
        "gauge",
        tuple(
            ({"track": track.key}, float(max(0, now - track.evaluated_to)))
            for track in live.tracks
            if track.evaluated_to is not None
        ),
    )
    yield _one("tightrope_turns_total", "Turns of the loop.", counts["turns"], "counter")
    yield _one("tightrope_turn_seconds", "How long the last turn took.", counts["turn_s"])
    yield _one("tightrope_inbox_samples", "Received samples that wait to be counted.", counts["waiting"])
    yield _one("tightrope_objectives", "Objectives that are watched.", len(live.tracks))
    yield _one("tightrope_backfills", "Objectives whose history is still being read.", len(live.backfills()))
    yield _one("tightrope_spec_problems", "Findings of a spec edit that is not followed.", len(snapshot.problems))
    yield _one("tightrope_loop_failing", "Whether the last turn could not be completed.", bool(live.failure))
    late = "Slices that were not taken, since retention had let go of them."
    yield _one("tightrope_slices_too_late_total", late, counts["too_late"], "counter")
    accounts = counts["accounts"]
    yield Family(
        "tightrope_received_total",
        "What became of received samples, by type of source.",
        "counter",
        tuple(
            ({"source": kind, "fate": field.name}, float(getattr(account, field.name)))
            for kind, account in accounts.items()
            for field in fields(account)
            if isinstance(getattr(account, field.name), int)
        ),
    )


def _one(name: str, text: str, value: float, kind: str = "gauge") -> Family:
    return Family(name, text, kind, (({}, float(value)),))


def _labels(one: Assessment) -> dict[str, str]:
    return {"service": one.slo.service, "slo": one.slo.name, "objective": one.title}
