"""A decision as others get it: the stable JSON document, the block of text for people, the exit code."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from shlex import quote as shell_word
from textwrap import wrap
from typing import Any

from tightrope.base.units import span_text, time_text
from tightrope.policy.answer import liftable
from tightrope.policy.decision import Decision, Forecast, Reason, SloFacts, Verdict
from tightrope.policy.silver_bullets import period_word
from tightrope.policy.wording import forecast_text, instant_text, kinds_text
from tightrope.specs.model import ShipHow

_HEAD, _INDENT = 8, 11  # columns before the headline, and before the text of a row
_EXIT_CODES = {Verdict.GO: 0, Verdict.STOP: 3, Verdict.WAIT: 4}
_ASCII = str.maketrans({
    "−": "-", "·": "-", "×": "x", "≥": ">=", "≤": "<=", "“": '"', "”": '"', "’": "'", "…": "...", "–": "-",
})  # fmt: skip


Paint = Callable[[str, str], str]
"""Colours a text by its role: ``go``, ``stop``, ``wait``, ``exempt`` or ``label``."""


def plain(text: str, role: str) -> str:  # noqa: ARG001 - the shape of a Paint
    """Colour nothing."""
    return text


def exit_code(decision: Decision) -> int:
    """The exit code of a gate command: go 0 (also by exception), stop 3, wait 4."""
    return _EXIT_CODES[decision.verdict]


def decision_document(decision: Decision) -> dict[str, Any]:
    """Write a decision as the JSON document that others build on.

    Instants are ISO 8601 in UTC, shares are ratios (1 is all), counts are in ``unit``; null is what is not known.
    Keys are never taken away and never change their meaning; new ones may come.
    """
    request = decision.request
    return {
        "id": decision.id,
        "verdict": decision.verdict.value,
        "exempt": decision.exempt,
        "service": request.service,
        "environment": request.environment,
        "kind": request.kind.value,
        "kindFrom": request.kind_from,
        "change": request.change,
        "title": request.title,
        "askedBy": request.asked_by,
        "flow": decision.flow.value,
        "state": decision.state,
        "stateSince": _time(decision.state_since),
        "ship": decision.ship.value,
        "summary": decision.summary,
        "reasons": [
            {
                "rule": reason.rule,
                "outcome": reason.outcome,
                "says": reason.says,
                "measured": reason.measured,
                "bound": reason.bound,
                "slo": reason.slo,
            }
            for reason in decision.reasons
        ],
        "slos": [_slo_document(slo) for slo in decision.slos],
        "allows": [kind.value for kind in decision.allows],
        "forecast": _forecast_document(decision.forecast),
        "wouldChange": list(decision.would_change),
        "exception": decision.exception,
        "exceptionsLeft": decision.exceptions_left,
        "policy": decision.policy,
        "policyVersion": decision.policy_version,
        "inputsDigest": decision.inputs_digest,
        "decidedAt": _time(decision.decided_at),
        "expiresAt": _time(decision.expires_at),
        "exitCode": exit_code(decision),
    }


def _slo_document(slo: SloFacts) -> dict[str, Any]:
    return {
        "slo": slo.slo,
        "objective": float(slo.objective),
        "state": slo.state,
        "budget": {
            "remainingRatio": _number(slo.remaining),
            "consumed": _number(slo.consumed),
            "allowed": _number(slo.allowed),
            "unit": slo.unit,
        },
        "coverage": float(slo.coverage),
        "burnRates": {lookback: _number(rate) for lookback, rate in slo.burn_rates},
        "dataAgeSeconds": slo.data_age_s,
        "stale": slo.stale,
        "firing": [{"condition": condition, "severity": severity} for condition, severity in slo.firing],
    }


def _forecast_document(forecast: Forecast | None) -> dict[str, Any] | None:
    if forecast is None:
        return None
    return {
        "what": forecast.what,
        "at": _time(forecast.at),
        "earliest": _time(forecast.earliest),
        "latest": _time(forecast.latest),
        "assumption": forecast.assumption,
    }


def _time(at: int | None) -> str | None:
    return None if at is None else time_text(at)


def _number(value: Fraction | None) -> float | None:
    return None if value is None else float(value)


# --- for people --------------------------------------------------------------------------------------------------


def decision_lines(
    decision: Decision, *, style: Paint = plain, width: int = 100, ascii_only: bool = False, more: str = ""
) -> list[str]:
    """Write a decision for a person: a headline, and under it all that helps to understand it and to go on.

    Args:
        decision: What was decided.
        style: Colours the first word and the labels.
        width: Columns; rows are wrapped at spaces.
        ascii_only: Write signs such as − and ≥ in ASCII.
        more: Where to read on, a command or an address; empty takes ``tightrope explain``.
    """
    word = "exempt" if decision.exempt else decision.verdict.value
    written = _ascii if ascii_only else _printable
    lines = [f"{style(word.upper(), word)}{' ' * (_HEAD - len(word))}{written(_headline(decision))}"]
    for label, texts in _rows(decision, more or f"tightrope explain {decision.request.service}"):
        shown = [
            part
            for text in texts
            for part in wrap(written(text), max(width - _INDENT, 20), break_long_words=False, break_on_hyphens=False)
        ]
        lines.append(f"  {style(label, 'label')}{' ' * (_INDENT - 2 - len(label))}{shown[0]}")
        lines += [" " * _INDENT + part for part in shown[1:]]
    return lines


def _headline(decision: Decision) -> str:
    request = decision.request
    title = f' "{request.title}"' if request.title else ""
    parts = [request.service, f"{request.change}{title}".strip(), request.kind.value]
    if request.environment != "production":
        parts.append(request.environment)
    if decision.verdict is Verdict.GO:
        parts.append("guarded: smaller steps, longer bake" if decision.ship is ShipHow.GUARDED else "standard")
    return " · ".join(part for part in parts if part)


def _rows(decision: Decision, more: str) -> list[tuple[str, list[str]]]:
    blocking = [reason for reason in decision.reasons if reason.outcome in {"stop", "wait"}]
    warnings = [reason.says for reason in decision.reasons if reason.outcome == "warn"]
    rows: list[tuple[str, list[str]]] = []
    if decision.exempt:
        granted = [reason.says for reason in decision.reasons if reason.rule == f"exception:{decision.exception}"]
        rows += [("why", [_why(decision, reason) for reason in blocking]), ("exempt", granted)]
    elif decision.verdict is Verdict.GO:
        first = decision.summary.partition(";")[0]
        rows.append(("why", [first]))
    else:
        rows += [
            ("why", [_why(decision, reason) for reason in blocking]),
            ("since", _since(decision, blocking)),
            ("until", _until(decision, blocking)),
            ("now ok", [kinds_text(decision.allows)]),
            ("or ask", _ask(decision) if all(liftable(reason) for reason in blocking) else []),
        ]
    rows += [("note", warnings), ("as of", [time_text(decision.decided_at)])]
    if decision.verdict is not Verdict.GO or decision.exempt:
        rows.append(("more", [more]))
    spoken = [(label, [text for text in texts if text.strip()]) for label, texts in rows]
    return [(label, texts) for label, texts in spoken if texts]


def _why(decision: Decision, reason: Reason) -> str:
    if reason.rule == "state-allows-kind":
        named = f" of {reason.slo}" if len(decision.slos) > 1 else ""
        measured = reason.measured.replace("budget", f"budget{named}", 1)
        needs = f"; {decision.request.kind.value} needs {reason.bound}" if reason.bound else f"; {reason.says}"
        return f"{measured}{needs}"
    return reason.says


def _since(decision: Decision, blocking: list[Reason]) -> list[str]:
    refusing = next((reason.slo for reason in blocking if reason.rule == "state-allows-kind"), None)
    slo = next((one for one in decision.slos if one.slo == refusing), None)
    if slo is None:
        return []
    since = ""
    if slo.state_since is not None:
        ago = span_text(decision.decided_at - slo.state_since)
        since = f"{instant_text(slo.state_since, decision.decided_at)}, {ago} ago"
    text = " · ".join(part for part in (since, slo.state_reason) if part)
    return [text] if text else []


def _until(decision: Decision, blocking: list[Reason]) -> list[str]:
    texts: list[str] = []
    for reason in blocking:
        if reason.rule == "state-allows-kind":
            forecast = decision.forecast
            if forecast is not None and forecast.what == "recovered":
                texts.append(forecast_text(forecast, decision.decided_at))
        elif reason.rule == "telemetry-fresh":
            turn = reason.bound.partition("; ")[2]
            texts.append(f"data returns{f'; {turn}' if turn else ''}")
        elif reason.bound.startswith("until "):
            texts.append(f"{reason.bound.removeprefix('until ')}, the end of {reason.measured}")
    return list(dict.fromkeys(texts))


def _ask(decision: Decision) -> list[str]:
    """Who can grant an exception, and how many are left."""
    quota, left = decision.quota, decision.exceptions_left
    if quota is None or left is None:
        return []
    word = period_word(quota)
    who = ", ".join(quota.approvers) or "anybody but who asks"
    if not left:
        return [f"no exception is left this {word} ({quota.count} granted)"]
    change = f" --change {shell_word(decision.request.change)}" if decision.request.change else ""
    command = f'tightrope exception request {shell_word(decision.request.service)}{change} --reason "..."'
    return [f"{who} · {left} of {quota.count} exceptions left this {word}", command]


def _printable(text: str) -> str:
    """The text without control signs: titles and reasons come from outside and must not steer a terminal."""
    return "".join(sign if sign.isprintable() else " " for sign in text)


def _ascii(text: str) -> str:
    return _printable(text).translate(_ASCII).encode("ascii", "replace").decode()
