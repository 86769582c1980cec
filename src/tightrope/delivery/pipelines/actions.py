"""What the steps of a pipeline do, turn by turn: commands, the gate, deployments, verification, rollback.

Nothing here reads the clock or opens a door: what a turn needs to know it is handed as functions.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from tightrope.base.errors import DataError, NotFoundError, UsageError
from tightrope.base.units import span_text
from tightrope.base.values import dataclass
from tightrope.delivery.pipelines.plan import command_of
from tightrope.delivery.pipelines.telling import began, title_of
from tightrope.delivery.pipelines.watching import WatchSlos, bake_text, judged, noted
from tightrope.policy.decision import Decision, GateRequest, Verdict
from tightrope.runs.commands import Absent, Command, Ended, Lost, Running
from tightrope.runs.steps import Action, Again, Answer, Document, Done, Effects, Run, Step, StepState, Stop, Unknown
from tightrope.runs.usecases import CommandAction
from tightrope.specs.model import ChangeKind

AskGate = Callable[[GateRequest], Decision]
"""Answers whether a change may go out; the decision is recorded before it is told."""

OBSERVE_S = 300
"""How long a look at a deployment may take."""

_LOOKED_EVERY_S = 2
_TRIES = 10
_NOT_RUN = frozenset({126, 127})  # what a shell ends with where it cannot run a command: trying again mends nothing
_PASSED_OVER = frozenset({StepState.SKIPPED, StepState.CANCELLED})
_TAIL = 4000
_APART = "deployments are told apart by the second"


@dataclass(frozen=True, slots=True)
class ChangeTold:
    """What a gate is told of a change: its kind, how that was found, and a title."""

    kind: ChangeKind
    kind_from: str
    title: str = ""


ChangeOf = Callable[[Run, Document], ChangeTold]
"""Tells what kind of change a run brings to the service and environment that a step's document names."""


class StepAction(CommandAction):
    """Turns steps that are commands in the workspace of a run."""

    here: Callable[[str], bool]
    """Whether the workspace of a run is on this machine."""

    def turn(self, step: Step, now: int, effects: Effects) -> Answer:
        """Start the command, or look how it does; what belongs to a stage that did not begin is passed over."""
        roots = step.document.get("roots", ())
        if roots and all(effects.run.step(name).state in _PASSED_OVER for name in roots):
            return Done({"skipped": "its stage did not begin"})
        if step.place and step.place != self.executor.place:
            return self.gone(step)
        if step.kind != "checkout" and not self.here(step.run):
            return Again(now + 1, step.memory, "waits for a worker on the machine with its workspace")
        answer = super().turn(step, now, effects)
        if isinstance(answer, Done) and answer.ok and answer.outcome.get("missing"):
            return replace(answer, ok=False, why=str(answer.outcome["missing"]))
        return answer

    def observed(self, step: Step, now: int, effects: Effects, what: str, command: Command | str) -> int | str | Again:
        """Run a command beside the step's own, once: its exit status, or in words why there is none, or wait for it."""
        if isinstance(command, str):
            return command
        intent = effects.intend(what, {}, place=self.executor.place)
        if intent.result is not None:
            code, why = intent.result.get("code"), intent.result.get("why", "")
            return code if isinstance(code, int) and not why else str(why)
        key, tries = f"{step.key}/{what}", int(step.memory.get(what, 0))
        seen = self.executor.look(key)
        if isinstance(seen, Absent) and tries >= _TRIES:
            why = f"it did not begin, though it was tried {tries} times"
            effects.settle(intent, {"why": why})
            return why
        if isinstance(seen, Absent):
            self._wakers[key] = effects.waker()
            effects.hold()
            self.executor.start(key, replace(command, timeout_s=OBSERVE_S))
            seen = self.executor.look(key)
        match seen:
            case Absent():
                return Again(now + _LOOKED_EVERY_S, {**step.memory, what: tries + 1}, "looks at what is there")
            case Running():
                return Again(now + _LOOKED_EVERY_S, step.memory, "looks at what is there")
            case Lost(why):
                effects.settle(intent, {"why": why})
                return why
            case Ended():
                why = seen.why or (f"ended by signal {seen.signal}" if seen.signal is not None else "")
                effects.settle(intent, {"code": seen.code, "why": why})
                return seen.code if seen.code is not None and not why else why


class CheckoutAction(StepAction):
    """Brings the commit into the workspace; says what git said where that fails."""

    def turn(self, step: Step, now: int, effects: Effects) -> Answer:
        """Check out, or look how that does."""
        answer = super().turn(step, now, effects)
        if isinstance(answer, Done) and not answer.ok and answer.outcome:
            said = _last_line(self.log(step.key, 0, 1 << 20).data)
            source = step.document.get("repository") or step.document.get("folder") or "the repository"
            return replace(answer, why=f"{source} cannot be checked out: {said or answer.why}")
        return answer


class DeployAction(StepAction):
    """Deploys: looks whether the version is there already, runs the command, and looks again."""

    prepared: Callable[[Step, Effects, Sequence[str]], Command]
    """Makes a command of the step's surroundings."""

    last: Callable[[Document], int]
    """When something was deployed last where a step deploys."""

    def turn(self, step: Step, now: int, effects: Effects) -> Answer:
        """Observe, act, observe."""
        if step.started_at == now == self.last(step.document):
            return Again(now + 1, step.memory, _APART)
        look = self._look(step, effects)
        if look is None:
            return self._judged(step, super().turn(step, now, effects))
        if not self.here(step.run) or step.place not in {"", self.executor.place}:
            return super().turn(step, now, effects)
        first = self.observed(step, now, effects, "observe", look)
        if isinstance(first, Again):
            return first
        if first == 0:
            return Done({"already": True})
        blind = isinstance(first, str) or first in _NOT_RUN or (first != 1 and step.attempt > 1)
        if blind and not step.memory.get("began") and isinstance(self.executor.look(step.key), Absent):
            return Done(
                {"untouched": True},
                ok=False,
                retry=not isinstance(look, str) and first not in _NOT_RUN,
                why=f"`observe` could not tell what is there, so nothing was deployed: {_status(first)}",
            )
        answer = super().turn(step, now, effects)
        if not isinstance(answer, Done) or not answer.outcome:
            return answer  # it runs still, nobody knows, or it never began
        return self._proved(step, now, effects, look, answer)

    def stop(self, step: Step, now: int, effects: Effects) -> Answer:
        """End the command; whether it had its effect by then is looked at, or a person says."""
        answer = super().stop(step, now, effects)
        if isinstance(answer, Again) or (isinstance(answer, Done) and (answer.ok or not answer.outcome)):
            if isinstance(self.executor.look(f"{step.key}/observe"), Running):
                self.executor.stop(f"{step.key}/observe", 0)
            return answer
        look = self._look(step, effects) if step.place in {"", self.executor.place} else None
        if isinstance(answer, Unknown):  # its supervisor was killed, and it is over now
            if look is None:
                return answer
            answer = Done({"lost": True, **answer.outcome}, ok=False, why=answer.why)
        why = "stopped" if step.stop is Stop.CANCELLED else "timed out"
        if look is None:
            return Unknown(f"{why} in the midst of it, and there is no `observe` to tell what is there", answer.outcome)
        return self._proved(step, now, effects, look, answer)

    def _proved(self, step: Step, now: int, effects: Effects, look: Command | str, answer: Done) -> Answer:
        """Hold what the command says of itself against what is there."""
        after = self.observed(step, now, effects, "observe-after", look)
        if isinstance(after, Again):
            return after
        cut_short = answer.outcome.get("code") is None or step.stop is not None
        outcome = {**answer.outcome, "observed": after == 0}
        if after == 0:
            if answer.ok or cut_short:
                return Done(outcome)
            why = f"{answer.why}, though `observe` says that this version is there"
            return replace(answer, outcome=outcome, why=why)
        if after == 1:
            why = "the command ended well, but `observe` says that this version is not there"
            return Done(outcome, ok=False, why=why if answer.ok else answer.why)
        if answer.ok or cut_short:
            return Unknown(f"`observe` could not tell what is there: {_status(after)}", answer.outcome)
        return answer

    def _judged(self, step: Step, answer: Answer) -> Answer:
        """Without a way to look: a command that was killed may have done its work or not."""
        if isinstance(answer, Done) and not answer.ok and answer.outcome.get("signal"):
            return Unknown(f"{answer.why} in the midst of it, and there is no `observe`", answer.outcome)
        return answer

    def _look(self, step: Step, effects: Effects) -> Command | str | None:
        """The command that looks at what is there, or why it cannot be run; None: there is none."""
        argv = command_of(step.document, "observe")
        if not argv or not self.here(step.run):
            return None
        try:
            return self.prepared(step, effects, argv)
        except (UsageError, NotFoundError, DataError) as error:
            return error.message


class WatchAction(Action):
    """Watches SLOs while a version bakes.

    Args:
        watch: Tells what they say.
    """

    def __init__(self, watch: WatchSlos) -> None:
        self._watch = watch

    def turn(self, step: Step, now: int, effects: Effects) -> Answer:
        """Look at them until the bake is over; what was seen first is what all later looks are held against."""
        names: list[str] = list(step.document["slos"])
        sights = self._watch(str(step.document["service"]), names)
        intent = effects.intend("watch", {"begun": noted(sights)})
        seen = judged(intent.document["begun"], names, sights)
        if seen.bad:
            effects.settle(intent, {"bad": seen.bad})
            return Done({"bad": seen.bad, "slos": names}, ok=False, retry=False, why=seen.bad)
        bake_s, every_s = int(step.document["bake_s"]), int(step.document["every_s"])
        over = intent.made_at + bake_s
        if seen.waits:
            return Again(now + every_s, step.memory, f"waits: {seen.waits}")
        if now < over:
            return Again(min(over, now + every_s), step.memory, bake_text(now, intent.made_at, bake_s))
        effects.settle(intent, {})
        return Done({"bakedS": now - intent.made_at, "slos": names})

    def stop(self, step: Step, now: int, effects: Effects) -> Answer:
        """Nothing was begun; what cannot be told in time is not verified."""
        return Done({}, ok=False, retry=False, why=step.why)


class RollbackAction(StepAction):
    """Brings back what was there, if anything was deployed; no gate is asked."""

    def turn(self, step: Step, now: int, effects: Effects) -> Answer:
        """Run the command, unless there is nothing to take back."""
        of = [effects.run.step(name) for name in step.document.get("of", ())]
        if of and not any(began(one) for one in of):
            return Done({"skipped": "nothing was deployed"})
        if any(one.finished_at is not None and one.finished_at >= now for one in of):
            return Again(now + 1, step.memory, _APART)
        return super().turn(step, now, effects)

    def stop(self, step: Step, now: int, effects: Effects) -> Answer:
        """End the command; what a rollback that was cut short has done a person must say."""
        answer = super().stop(step, now, effects)
        if isinstance(answer, Done) and not answer.ok and answer.outcome:
            return Unknown("the rollback was cut short", answer.outcome)
        return answer


class GateAction(Action):
    """Asks the gate, again and again while it says wait.

    Args:
        ask: The gate.
        change_of: What is to be told of the change.
    """

    def __init__(self, ask: AskGate, change_of: ChangeOf) -> None:
        self._ask = ask
        self._change_of = change_of

    def turn(self, step: Step, now: int, effects: Effects) -> Answer:
        """Ask; go ends the step well, stop ends it for good, wait is asked again until it was waited for too long."""
        run, asked = effects.run, step.document
        told = self._change_of(run, asked)
        if asked["kind"]:
            told = replace(told, kind=ChangeKind(asked["kind"]), kind_from="given")
        change = str(run.document.get("version") or run.document.get("revision") or "")
        request = GateRequest(
            service=str(asked["service"]),
            asked_at=now,
            environment=str(asked["environment"]),
            kind=told.kind,
            kind_from=told.kind_from,
            change=change,
            title=told.title or title_of(run),
            asked_by=run.by,
        )
        try:
            decision = self._ask(request)
        except NotFoundError as error:
            return Done({}, ok=False, retry=False, why=error.message)
        outcome = _decided(decision) | {"change": change, "kind": str(told.kind), "kindFrom": told.kind_from}
        match decision.verdict:
            case Verdict.GO:
                return Done(outcome)
            case Verdict.STOP:
                return Done(outcome, ok=False, retry=False, why=decision.summary)
            case Verdict.WAIT:
                began_at = step.started_at if step.started_at is not None else now
                hold_s = int(asked["hold_s"])
                if now >= began_at + hold_s:
                    why = f"still waiting after {span_text(hold_s)}: {decision.summary}"
                    return Done(outcome, ok=False, retry=False, why=why)
                at = min(now + int(asked["every_s"]), began_at + hold_s)
                return Again(at, {"verdict": "wait", "decision": decision.id}, decision.summary)

    def stop(self, step: Step, now: int, effects: Effects) -> Answer:
        """Nothing was begun."""
        return Done({}, ok=False, retry=False)


def _decided(decision: Decision) -> dict[str, Any]:
    return {
        "verdict": str(decision.verdict),
        "decision": decision.id,
        "exempt": decision.exempt,
        "ship": str(decision.ship),
        "says": decision.summary,
        "expiresAt": decision.expires_at,
        "reasons": [
            {"rule": one.rule, "outcome": one.outcome, "says": one.says, "measured": one.measured, "bound": one.bound}
            for one in decision.reasons
        ],
    }


def _status(said: int | str) -> str:
    return said if isinstance(said, str) else f"status {said}"


def _last_line(log: bytes) -> str:
    lines = [line.strip() for line in log[-_TAIL:].decode("utf-8", "replace").splitlines()]
    said = [line for line in lines if line]
    fatal = [line for line in said if re.match(r"(fatal|error|tar|cp|sh):", line)]
    return (fatal or said or [""])[0 if fatal else -1][:300]


def secret_values(
    refs: Mapping[str, Mapping[str, str]], variable: Callable[[str], str], file: Callable[[str], str]
) -> dict[str, str]:
    """The secrets that a step asked for, read where they are.

    Raises:
        NotFoundError: One is not there; its value is in no message.
    """
    found: dict[str, str] = {}
    for name, ref in refs.items():
        if ref.get("environment"):
            value = variable(ref["environment"])
            if not value:
                raise NotFoundError(
                    f"the secret {name} is not there: the variable {ref['environment']} is not set",
                    remedy="set it where the server, worker or command runs",
                )
        else:
            try:
                value = file(ref["file"]).rstrip("\r\n")
            except (OSError, ValueError) as error:
                said = error.strerror if isinstance(error, OSError) else "it is no text"
                raise NotFoundError(f"the secret {name} is not there: {ref['file']}: {said}") from None
        found[name] = value
    return found
