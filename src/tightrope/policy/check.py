"""What is wrong with a policy beyond its form: calendars and expressions that can't be used."""

from __future__ import annotations

from collections.abc import Iterator

from tightrope.base.errors import SpecError
from tightrope.policy import expressions, freezes
from tightrope.specs.model import ErrorBudgetPolicy, Expression, leaves


def findings(policy: ErrorBudgetPolicy) -> tuple[SpecError, ...]:
    """Find every calendar and expression of a policy that can't be used, in the order of the document.

    The gate itself does not fail on them: there a rule that can't be asked is a fact to decide on.
    """
    return tuple(_findings(policy))


def _findings(policy: ErrorBudgetPolicy) -> Iterator[SpecError]:
    for state in policy.states:
        for predicate in (state.enter, state.exit):
            for leaf in leaves(predicate) if predicate is not None else ():
                if isinstance(leaf, Expression):
                    yield from _wrong(leaf, expressions.PREDICATE_FACTS)
    for freeze in policy.freezes:
        try:
            freezes.check(freeze)
        except SpecError as error:
            yield error
    for rule in policy.rules:
        yield from _wrong(Expression(rule.when, rule.place), expressions.GATE_FACTS)


def _wrong(expression: Expression, facts: frozenset[str]) -> Iterator[SpecError]:
    try:
        expressions.check(expression, facts)
    except SpecError as error:
        yield error
