"""The states of an error budget policy and the machine that moves between them, with hysteresis."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction

from tightrope.base.units import duration_text, first_reached, percent_text
from tightrope.base.values import dataclass
from tightrope.specs.model import (
    AlertFiring,
    AllOf,
    AnyOf,
    BurnRateIs,
    Comparison,
    ErrorBudgetPolicy,
    Expression,
    IncidentOpen,
    Not,
    PolicyState,
    Predicate,
    RemainingIs,
)

_SIGN = {Comparison.LT: "<", Comparison.LTE: "≤", Comparison.GT: ">", Comparison.GTE: "≥"}


@dataclass(frozen=True, slots=True)
class PolicyMemory:
    """What the machine remembers between evaluations, UTC epoch seconds.

    Attributes:
        state: Index into the policy's states; 0 is the free one.
        since: When that state was entered; None: it is the state it started in.
        enter_since, exit_since: For each state, the first evaluation of the unbroken run in which its condition holds.
    """

    state: int = 0
    since: int | None = None
    enter_since: tuple[int | None, ...] = ()
    exit_since: tuple[int | None, ...] = ()


@dataclass(frozen=True, slots=True)
class Move:
    """The policy went from one state to another at an evaluation."""

    at: int
    before: int
    after: int


@dataclass(frozen=True, slots=True)
class Holding:
    """Which conditions hold during a run of evaluations: one flag for each state; the first state's are ignored."""

    enter: tuple[bool, ...]
    exit: tuple[bool, ...]


def unfold(
    memory: PolicyMemory, states: Sequence[PolicyState], holding: Holding, begin: int, end: int, step_s: int
) -> tuple[PolicyMemory, tuple[Move, ...]]:
    """Carry the machine through evaluations *begin* to *end* (inclusive) during which no condition changes.

    Up goes before down, at most one move an evaluation; the rules are in docs/maths.md, "The policy".
    """
    machine = Machine(memory, states, step_s)
    moves = tuple(machine.go_through(holding, begin, end))
    return machine.memory, moves


def pause(memory: PolicyMemory) -> PolicyMemory:
    """What the machine remembers after a stale evaluation: it does not move, and holding starts anew."""
    nothing: tuple[int | None, ...] = (None,) * len(memory.enter_since)
    return PolicyMemory(memory.state, memory.since, nothing, nothing)


class Machine:
    """The policy machine on its way over run after run of evaluations (`unfold`)."""

    __slots__ = ("_enter_since", "_exit_since", "_since", "_state", "_states", "_step_s")

    def __init__(self, memory: PolicyMemory, states: Sequence[PolicyState], step_s: int) -> None:
        self._states, self._step_s = states, step_s
        self._state, self._since = memory.state, memory.since
        self._enter_since = list(memory.enter_since or (None,) * len(states))
        self._exit_since = list(memory.exit_since or (None,) * len(states))

    @property
    def memory(self) -> PolicyMemory:
        """What it remembers now."""
        return PolicyMemory(self._state, self._since, tuple(self._enter_since), tuple(self._exit_since))

    def pause(self) -> None:
        """A stale evaluation follows: the machine does not move, and holding starts anew."""
        self._enter_since = [None] * len(self._states)
        self._exit_since = [None] * len(self._states)

    def go_through(self, holding: Holding, begin: int, end: int) -> list[Move]:
        """Go through evaluations *begin* to *end* (inclusive) during which no condition changes."""
        for since, holds in ((self._enter_since, holding.enter), (self._exit_since, holding.exit)):
            for index, held in enumerate(holds):
                if not held:
                    since[index] = None
                elif since[index] is None:
                    since[index] = begin
        moves: list[Move] = []
        at = begin
        while at <= end:
            move = self._next_move(holding, at)
            if move is None or move.at > end:
                break
            moves.append(move)
            self._state, self._since = move.after, move.at
            at = move.at + self._step_s
        return moves

    def _next_move(self, holding: Holding, at: int) -> Move | None:
        """The first move at or after *at* if no condition changes; None if there is none."""
        state, states, step_s = self._state, self._states, self._step_s
        first_up, highest = None, state
        for index in range(state + 1, len(states)):
            held = self._enter_since[index]
            if held is not None:
                when = first_reached(held, states[index].enter_for_s, at, step_s)
                if first_up is None or when <= first_up:
                    first_up, highest = when, index
        down: int | None = None
        held = self._exit_since[state] if state else None
        if held is not None:
            down = first_reached(held, states[state].exit_for_s, at, step_s)
            if self._since is not None:
                down = max(down, first_reached(self._since, states[state].minimum_stay_s, at, step_s))
        if first_up is not None and (down is None or first_up <= down):
            return Move(first_up, state, highest)
        if down is not None:
            return Move(down, state, _landing(state, holding))
        return None


def _landing(state: int, holding: Holding) -> int:
    """The strictest freer state whose way out is not earned yet."""
    for index in range(state - 1, 0, -1):
        if holding.enter[index] or not holding.exit[index]:
            return index
    return 0


def strictest(policy: ErrorBudgetPolicy, names: Sequence[str]) -> str:
    """The strictest of several states of one policy: a service's state over its SLOs."""
    order = {state.name: index for index, state in enumerate(policy.states)}
    return max(names, key=lambda name: order[name], default=policy.states[0].name)


def named(policy: ErrorBudgetPolicy, name: str) -> PolicyState:
    """Find a state of the policy by name."""
    return next(state for state in policy.states if state.name == name)


# --- words ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured at one evaluation, for words only: budget left, burn rates, open incidents, firing alerts."""

    remaining: Fraction | None
    burn: Callable[[int], Fraction | None]
    incidents: tuple[str, ...] = ()
    firing: tuple[str, ...] = ()


def bound_text(predicate: RemainingIs | BurnRateIs) -> str:
    """Write a bound as the policy has it: ``≤ 0 %``, ``≥ 3×``."""
    if isinstance(predicate, RemainingIs):
        return f"{_SIGN[predicate.op]} {float(predicate.bound) * 100:g} %"
    return f"{_SIGN[predicate.op]} {float(predicate.bound):g}×"


def words(predicate: Predicate) -> str:
    """Say a predicate in plain words, such as ``budget left ≥ 10 % and burn over 6h < 1×``."""
    match predicate:
        case RemainingIs():
            return f"budget left {bound_text(predicate)}"
        case BurnRateIs():
            return f"burn over {duration_text(predicate.lookback_s)} {bound_text(predicate)}"
        case IncidentOpen():
            return f"an open {_either(predicate.severities)} incident".replace("  ", " ")
        case AlertFiring():
            return f"a firing {_either(predicate.severities)} alert".replace("  ", " ")
        case Expression():
            return f"`{predicate.text}`"
        case Not():
            return f"no {words(predicate.part).removeprefix('an ')}"
        case AllOf():
            return " and ".join(words(part) for part in predicate.parts)
        case AnyOf():
            return " or ".join(words(part) for part in predicate.parts)


def because(predicate: Predicate, measured: Measured) -> str:
    """Say which leaves of a predicate that holds made it hold, with what was measured."""
    found = list(_true_leaves(predicate, measured))
    return "; ".join(found) if found else words(predicate)


def leaf_holds(predicate: Predicate, measured: Measured) -> bool | None:
    """Tell whether a predicate holds by what was measured; None for what words cannot tell (CEL)."""
    match predicate:
        case RemainingIs():
            return measured.remaining is not None and compare(measured.remaining, predicate.op, predicate.bound)
        case BurnRateIs():
            burn = measured.burn(predicate.lookback_s)
            return burn is not None and compare(burn, predicate.op, predicate.bound)
        case IncidentOpen():
            return _any_of(predicate.severities, measured.incidents)
        case AlertFiring():
            return _any_of(predicate.severities, measured.firing)
        case Expression():
            return None
        case Not():
            inner = leaf_holds(predicate.part, measured)
            return None if inner is None else not inner
        case AllOf():
            known = [leaf_holds(part, measured) for part in predicate.parts]
            return False if False in known else None if None in known else True
        case AnyOf():
            known = [leaf_holds(part, measured) for part in predicate.parts]
            return True if True in known else None if None in known else False


def compare(value: Fraction, op: Comparison, bound: Fraction) -> bool:
    """Compare exactly by one of OpenSLO's operators."""
    match op:
        case Comparison.LT:
            return value < bound
        case Comparison.LTE:
            return value <= bound
        case Comparison.GT:
            return value > bound
        case Comparison.GTE:
            return value >= bound


def _true_leaves(predicate: Predicate, measured: Measured) -> Iterator[str]:
    match predicate:
        case AllOf() | AnyOf():
            for part in predicate.parts:
                yield from _true_leaves(part, measured)
        case RemainingIs() if leaf_holds(predicate, measured) and measured.remaining is not None:
            yield f"budget left {percent_text(measured.remaining)} ({bound_text(predicate)})"
        case BurnRateIs() if leaf_holds(predicate, measured):
            burn = measured.burn(predicate.lookback_s) or Fraction(0)
            yield f"burn over {duration_text(predicate.lookback_s)} {float(burn):.1f}× ({bound_text(predicate)})"
        case _:
            if leaf_holds(predicate, measured) is not False:
                yield words(predicate)


def _any_of(wanted: frozenset[str], present: tuple[str, ...]) -> bool:
    return bool(present) if not wanted else any(one in wanted for one in present)


def _either(severities: frozenset[str]) -> str:
    return " or ".join(sorted(severities))
