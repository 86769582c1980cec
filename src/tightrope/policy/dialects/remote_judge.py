"""Kayenta's RemoteJudge: a canary judged from pairs of series, and held to what the gate says of its service.

Each metric is compared by the rank-sum test of Mann and Whitney, corrected for ties and for continuity, as Kayenta's
own judge does; with exact numbers throughout. A group's score is the share of its metrics that pass, the whole score
their mean by weight. A critical metric that fails, or a stop of the gate, makes the whole a fail.

Source:
    spinnaker/kayenta, kayenta-judge: RemoteJudge.java, RemoteJudgeService.java, NetflixACAJudge; MetricSetPair.java.
    H. B. Mann and D. R. Whitney, On a test of whether one of two random variables is stochastically larger (1947).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from typing import Any

from tightrope.policy.decision import Decision, Verdict
from tightrope.policy.dialects.hearing import Answer, Heard, at, cut, says, word

JUDGE = "tightrope"
Z_SQUARED = Fraction("5.4119")
"""Two-sided 98 %, squared: what Kayenta's judge takes, too."""

_PASS, _MARGINAL = Fraction(95), Fraction(75)


class Classification(StrEnum):
    """What became of a metric."""

    PASS = "Pass"  # noqa: S105 - a word of Kayenta's
    HIGH = "High"
    LOW = "Low"
    NODATA = "Nodata"
    NODATA_FAIL = "NodataFailMetric"


_FAILS = frozenset({Classification.HIGH, Classification.LOW, Classification.NODATA_FAIL})


@dataclass(frozen=True, slots=True)
class Judged:
    """One metric, judged."""

    name: str
    id: str
    tags: Mapping[str, Any]
    classification: Classification
    reason: str
    groups: tuple[str, ...]
    critical: bool
    experiment: Mapping[str, Any]
    control: Mapping[str, Any]


def application(payload: Mapping[str, Any]) -> str:
    """The service that is meant: the first application of the canary config; empty where there is none."""
    return cut(at(payload, "canaryConfig", "applications", 0), 200)


def answer(payload: Mapping[str, Any], heard: Heard) -> Answer:
    """Judge what Kayenta sends.

    Args:
        payload: ``canaryConfig``, ``scoreThresholds`` and ``metricSetPairList``.
        heard: What the gate came to. Only a stop counts; a wait, and no decision, leave the word to the metrics.
    """
    config = at(payload, "canaryConfig")
    pairs = at(payload, "metricSetPairList")
    judged = [
        _judged(pair, _metric(config, cut(at(pair, "name"), 500)))
        for pair in (pairs if isinstance(pairs, list) else [])
    ]
    groups = _group_scores(judged)
    score = _whole_score(groups, at(config, "classifier", "groupWeights"))
    failed = [one.name for one in judged if one.critical and one.classification in _FAILS]
    reason = f"critical metrics failed: {', '.join(failed)}" if failed else ""
    if isinstance(heard, Decision) and word(heard) is Verdict.STOP:
        reason = f"the gate says stop: {says(heard)}"
    if reason:
        score = Fraction(0)
    least = _number(at(payload, "scoreThresholds", "pass")) or _PASS
    marginal = _number(at(payload, "scoreThresholds", "marginal"))
    marginal = _MARGINAL if marginal is None else marginal
    document = {
        "judgeName": JUDGE,
        "results": [_result(one) for one in judged],
        "groupScores": [
            {
                "name": name,
                "score": _shown(value),
                "classification": _word(value, least, marginal),
                "classificationReason": "",
            }
            for name, value in groups.items()
        ],
        "score": {
            "score": 0 if score is None else _shown(score),
            "classification": "Fail" if reason else _word(score, least, marginal),
            "classificationReason": cut(reason or _why(judged), 500),
        },
    }
    return Answer(200, document)


def rank_sum(experiment: Sequence[Fraction], control: Sequence[Fraction]) -> tuple[int, Fraction]:
    """Compare two samples by ranks: which is larger, and how surely.

    Returns:
        1 where the experiment is larger, -1 where it is smaller, 0 where neither; and the square of the standard score,
        0 where all values are equal.
    """
    n, m = len(experiment), len(control)
    everything = sorted([*experiment, *control])
    ranks, tied = {}, 0
    first = 0
    while first < len(everything):
        last = first
        while last + 1 < len(everything) and everything[last + 1] == everything[first]:
            last += 1
        count = last - first + 1
        ranks[everything[first]] = Fraction(first + last + 2, 2)
        tied += count**3 - count
        first = last + 1
    u = sum((ranks[one] for one in experiment), Fraction(0)) - Fraction(n * (n + 1), 2)
    apart = u - Fraction(n * m, 2)
    total = n + m
    variance = Fraction(n * m, 12) * (total + 1 - Fraction(tied, total * (total - 1))) if total > 1 else Fraction(0)
    if not variance or not apart:
        return 0, Fraction(0)
    surely = max(abs(apart) - Fraction(1, 2), Fraction(0)) ** 2 / variance
    return (1 if apart > 0 else -1), surely


def _judged(pair: Any, metric: Any) -> Judged:
    terms = at(metric, "analysisConfigurations", "canary")
    replaces = cut(at(terms, "nanStrategy"), 20).lower() == "replace"
    experiment = _values(at(pair, "values", "experiment"), replaces=replaces)
    control = _values(at(pair, "values", "control"), replaces=replaces)
    kind, reason = _classified(experiment, control, terms)
    groups = at(metric, "groups")
    tags = at(pair, "tags")
    return Judged(
        cut(at(pair, "name"), 500),
        cut(at(pair, "id"), 500),
        tags if isinstance(tags, Mapping) else {},
        kind,
        reason,
        tuple(cut(one, 200) for one in groups if cut(one, 200)) if isinstance(groups, list) else (),
        at(terms, "critical") is True,
        _stats(experiment),
        _stats(control),
    )


def _classified(experiment: Sequence[Fraction], control: Sequence[Fraction], terms: Any) -> tuple[Classification, str]:
    if not experiment or not control:
        must = at(terms, "mustHaveData") is True
        missing = " and ".join(name for name, one in (("experiment", experiment), ("control", control)) if not one)
        return (Classification.NODATA_FAIL if must else Classification.NODATA), f"no data of {missing}"
    larger, surely = rank_sum(experiment, control)
    direction = cut(at(terms, "direction"), 20).lower() or "either"
    if surely <= Z_SQUARED:
        return Classification.PASS, ""
    before, after = _mean(control), _mean(experiment)
    ratio = after / before if before else None
    sizes = at(terms, "effectSize")
    if (
        larger > 0
        and direction in {"increase", "either"}
        and _beyond(ratio, _number(at(sizes, "allowedIncrease")), above=True)
    ):
        return Classification.HIGH, f"the experiment is higher: {_share(ratio)} of the control"
    if (
        larger < 0
        and direction in {"decrease", "either"}
        and _beyond(ratio, _number(at(sizes, "allowedDecrease")), above=False)
    ):
        return Classification.LOW, f"the experiment is lower: {_share(ratio)} of the control"
    return Classification.PASS, ""


def _beyond(ratio: Fraction | None, allowed: Fraction | None, *, above: bool) -> bool:
    """Whether a change goes beyond what is allowed; where nothing is allowed, every sure change does."""
    if allowed is None or ratio is None:
        return True
    return ratio > allowed if above else ratio < allowed


def _group_scores(judged: Sequence[Judged]) -> dict[str, Fraction]:
    counts: dict[str, tuple[int, int]] = {}
    for one in judged:
        if one.classification is Classification.NODATA:
            continue
        for group in one.groups:
            passed, total = counts.get(group, (0, 0))
            counts[group] = (passed + (one.classification is Classification.PASS), total + 1)
    return {group: Fraction(100 * passed, total) for group, (passed, total) in counts.items()}


def _whole_score(groups: Mapping[str, Fraction], weights: Any) -> Fraction | None:
    """The mean of the groups by weight; those without one share what is left of 100. None: nothing was measured."""
    if not groups:
        return None
    given = {name: weight for name in groups if (weight := _number(at(weights, name))) is not None and weight >= 0}
    left = max(Fraction(100) - sum(given.values(), Fraction(0)), Fraction(0))
    others = [name for name in groups if name not in given]
    shares = {**given, **{name: left / len(others) for name in others}}
    total = sum(shares.values(), Fraction(0))
    return sum((groups[name] * share for name, share in shares.items()), Fraction(0)) / total if total else None


def _word(score: Fraction | None, least: Fraction, marginal: Fraction) -> str:
    if score is None:
        return "Nodata"
    return "Pass" if score >= least else "Marginal" if score >= marginal else "Fail"


def _why(judged: Sequence[Judged]) -> str:
    failing = [one.name for one in judged if one.classification in _FAILS]
    if failing:
        return f"{len(failing)} of {len(judged)} metrics failed: {', '.join(failing)}"
    return "" if judged else "there were no metrics"


def _result(one: Judged) -> dict[str, Any]:
    return {
        "name": one.name,
        "id": one.id,
        "tags": dict(one.tags),
        "classification": one.classification.value,
        "classificationReason": one.reason,
        "groups": list(one.groups),
        "experimentMetadata": {"stats": dict(one.experiment)},
        "controlMetadata": {"stats": dict(one.control)},
        "resultMetadata": {},
        "critical": one.critical,
        "muted": False,
    }


def _stats(values: Sequence[Fraction]) -> dict[str, Any]:
    if not values:
        return {"count": 0}
    return {"count": len(values), "mean": float(_mean(values)), "min": float(min(values)), "max": float(max(values))}


def _mean(values: Sequence[Fraction]) -> Fraction:
    return sum(values, Fraction(0)) / len(values)


def _metric(config: Any, name: str) -> Any:
    metrics = at(config, "metrics")
    return (
        next((one for one in metrics if cut(at(one, "name"), 500) == name), None) if isinstance(metrics, list) else None
    )


def _values(given: Any, *, replaces: bool) -> list[Fraction]:
    """A series as exact numbers; what is none is left out, or counts as 0 where the metric wants that."""
    found = []
    for one in given if isinstance(given, list) else []:
        number = _number(one)
        if number is not None:
            found.append(number)
        elif replaces:
            found.append(Fraction(0))
    return found


def _number(given: Any) -> Fraction | None:
    if isinstance(given, bool) or not isinstance(given, (int, float)) or not math.isfinite(given):
        return None
    return Fraction(given)


def _shown(score: Fraction) -> float:
    return round(float(score), 2)


def _share(ratio: Fraction | None) -> str:
    return "many times that" if ratio is None else f"{float(ratio) * 100:.1f} %"
