"""Rehearsal: play a scenario through the same engine and gate that decide for real."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from tightrope.backtest.scenario import AbsentError, Scenario, Situation
from tightrope.loop.assess import assess
from tightrope.loop.gatekeeper import ask_gate
from tightrope.policy.decision import GateRequest
from tightrope.policy.states import named
from tightrope.specs.defaults import DEFAULT_POLICY
from tightrope.specs.model import ChangeKind, Objective, Slo, Specs
from tightrope.telemetry.reading import Reading


def rehearse(specs: Specs, scenario: Scenario) -> Callable[[Scenario, int, Sequence[ChangeKind]], Situation]:
    """Make the function that tells a scenario's situation at an instant.

    Raises:
        AbsentError: The scenario's policy is not among the specs, or has no state of an expected name.
    """
    policies = {policy.name: policy for policy in (DEFAULT_POLICY, *specs.policies)}
    if scenario.policy not in policies:
        raise AbsentError(
            f"the test {scenario.name!r} names the policy {scenario.policy!r}, which is not there",
            "spec.policy",
            remedy=f"policies are {', '.join(policies)}",
        )
    policy = policies[scenario.policy]
    states = [state.name for state in policy.states]
    for number, expected in enumerate(scenario.expectations):
        if expected.state is not None and expected.state not in states:
            raise AbsentError(
                f"the test {scenario.name!r} expects the state {expected.state!r}, which the policy {policy.name!r} "
                "does not have",
                f"spec.expect[{number}].state",
                remedy=f"states are {', '.join(states)}",
            )
    world = replace(
        specs,
        slos=(scenario.slo,),
        policies=(replace(policy, services=frozenset()),),
        exclusions=(),  # the specs' own maintenance is no part of a made-up world
        silver_bullets=scenario.bullets,
    )

    def situation(scene: Scenario, at: int, kinds: Sequence[ChangeKind]) -> Situation:
        def read(wanted: Sequence[tuple[Slo, Objective]]) -> list[Reading]:
            return [Reading(scene.slices.between(scene.slices.start, at)) for _ in wanted]

        found = assess(world, world.slos, read, at=at, incidents=scene.incidents)
        state = named(policy, found[0].history.final_state)
        verdicts = {
            kind: str(ask_gate(world, GateRequest(scene.slo.service, at, kind=kind), found).verdict) for kind in kinds
        }
        return state.name, str(state.flow), verdicts

    return situation
