"""Decisions: may a change go out, why not, and what can be done; each with all that it rests on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from shlex import quote

from starlette.responses import Response
from starlette.routing import BaseRoute

from tightrope.access.roles import Permission
from tightrope.base.errors import NotFoundError, UsageError
from tightrope.base.units import DAY_S, duration_text, percent_text, span_text
from tightrope.budget.words import burn_text, sentence_case
from tightrope.policy.decision import Decision, GateRequest, Reason, SloFacts, Verdict
from tightrope.policy.exceptions import ExceptionRequest, standing_text
from tightrope.policy.record import Kept, recompute
from tightrope.policy.rendering import decision_lines
from tightrope.policy.silver_bullets import period_word, same_change
from tightrope.policy.wording import forecast_text, kinds_text
from tightrope.specs.model import ChangeKind
from tightrope.web.blocks import TONES_OF_VERDICTS, verdict_word
from tightrope.web.plots import Plot
from tightrope.web.service import plot, span_of
from tightrope.web.visit import Desk, Visit

_PAGE = 50
_READ = 200
_MOST_READ = 2_000
_BEFORE_S, _MOST_BEFORE_S = 3 * DAY_S, 90 * DAY_S  # how much of the past stands before a forecast
_TOLD_ABOVE = ("Expected ", "A change of kind ", "An exception approved ")
"""What would change a verdict and has a way of its own on the page."""

_SIGNS = {"ok": "good", "warn": "warn", "wait": "wait", "stop": "bad"}


@dataclass(frozen=True, slots=True)
class Row:
    """One decision in a list."""

    kept: Kept
    word: str
    tone: str


@dataclass(frozen=True, slots=True)
class Way:
    """A way forward after a stop: what to do, what it means, and the command or page for it."""

    head: str
    text: str = ""
    points: tuple[str, ...] = ()
    command: str = ""
    href: str = ""
    link: str = ""
    asks: bool = False  # it can be asked for on the page


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule that was evaluated, with its sign."""

    reason: Reason
    sign: str


@dataclass(frozen=True, slots=True)
class Seen:
    """What was true of one SLO when the gate was asked, in words."""

    slo: str
    state: str
    left: str
    burn: str
    measured: str
    age: str


def routes(desk: Desk) -> list[BaseRoute]:
    """The list of decisions, and the page of each."""
    return [
        desk.route("/decisions", decisions, do=ask),
        desk.route("/decisions/{name}", decision, do=respond),
    ]


def decisions(visit: Visit) -> Response:
    """List decisions, newest first."""
    service, word, kind = visit.asked("service"), visit.asked("answer").title(), visit.asked("kind")
    before = visit.number("before")
    found: list[Kept] = []
    more = False
    for kept in _read(visit, service, before):
        made = kept.record.decision
        if word and verdict_word(made)[0] != word:
            continue
        if kind and made.request.kind.value != kind:
            continue
        if len(found) == _PAGE:
            more = True
            break
        found.append(kept)
    return visit.page(
        "decisions.html",
        title="Decisions",
        current="decisions",
        answer=_day_sentence(*visit.counted(service), service),
        rows=[Row(one, *verdict_word(one.record.decision)) for one in found],
        service=service,
        answer_word=word,
        kind=kind,
        words=list(TONES_OF_VERDICTS),
        kinds=[one.value for one in ChangeKind],
        next=found[-1].sequence if more and found else None,
        first=before is None,
        services=[one.line.service for one in visit.board.posts][:2_000],
    )


def decision(visit: Visit) -> Response:
    """Show one decision: what may be done, every rule, and whether it comes out alike from its inputs."""
    kept = visit.server.decision(visit.path("name"))
    if kept is None:
        raise NotFoundError(
            f"there is no decision {visit.path('name')!r}", remedy="the list of decisions shows what there is"
        )
    made = kept.record.decision
    visit.must(Permission.READ, made.request.service)
    differs = recompute(kept.record, visit.server.version)
    word, tone = verdict_word(made)
    address = f"{visit.server.settings.base_url.rstrip('/')}/decisions/{made.id}"
    return visit.page(
        "decision.html",
        title=made.id,
        current="decisions",
        kept=kept,
        made=made,
        word=word,
        tone=tone,
        answer=made.summary,
        lead=_lead(made),
        ways=ways(made, visit.asks),
        requests=_requests(visit, made),
        may_ask=visit.actor.may(Permission.GATE, made.request.service),
        may_grant=visit.actor.may(Permission.GRANT, made.request.service),
        opens=_opens(visit, made),
        printed="\n".join(decision_lines(made, width=84, more=address)),
        rules=[Rule(one, _SIGNS.get(one.outcome, "none")) for one in made.reasons],
        seen=[seen(one) for one in made.slos],
        differs=differs,
        commands=_commands(visit, made),
        period=duration_text(max(0, made.expires_at - made.decided_at)),
    )


def ask(visit: Visit) -> Response:
    """Ask the gate on behalf of the visitor; the decision is recorded."""
    service = visit.form.get("service", "").strip()
    visit.must(Permission.GATE, service)
    try:
        kind = ChangeKind(visit.form.get("kind", "feature"))
    except ValueError:
        raise UsageError("there is no such kind of change", remedy="choose one from the list") from None
    request = GateRequest(
        service,
        visit.server.now(),
        kind=kind,
        kind_from="given",
        change=visit.form.get("change", "").strip()[:200],
        title=visit.form.get("title", "").strip()[:200],
        asked_by=visit.actor.name,
    )
    made = visit.server.decide(request)
    return visit.go(f"/decisions/{made.id}", done="asked")


def respond(visit: Visit) -> Response:
    """Ask for an exception, or grant or refuse one, as a form on the page of a decision says."""
    kept = visit.server.decision(visit.path("name"))
    if kept is None:
        raise NotFoundError(f"there is no decision {visit.path('name')!r}")
    request, form, desk = kept.record.decision.request, visit.form, visit.server.exceptions
    who, now, note = visit.actor.name, visit.server.now(), form.get("reason", "")
    match form.get("do", ""):
        case "request":
            visit.must(Permission.GATE, request.service)
            desk.request(
                request.service,
                by=who,
                reason=note,
                now=now,
                environment=request.environment,
                change=request.change,
            )
        case "grant" | "refuse" as verb:
            name = form.get("exception", "")
            visit.must(Permission.GRANT, desk.named(name).service)
            if verb == "grant":
                desk.grant(name, by=who, teams=visit.actor.teams, note=note, now=now)
            else:
                desk.refuse(name, by=who, note=note, now=now)
        case other:
            raise UsageError(f"{other[:40]!r} is nothing that can be done here", remedy="ask, grant or refuse")
    return visit.go(f"/decisions/{kept.record.decision.id}", done="told")


def _requests(visit: Visit, made: Decision) -> list[tuple[ExceptionRequest, str]]:
    """Exceptions that were asked for and would let this change through, newest first, with how far they have come."""
    request = made.request
    return [
        (one, standing_text(one, visit.now))
        for one in visit.server.exceptions.listed(service=request.service, limit=50)
        if (not one.change or same_change(one.change, request.change))
        and one.environment in ("", request.environment)
        and (one.waits(visit.now) or one.holds(visit.now))
    ]


def ways(made: Decision, asks: str) -> list[Way]:
    """The ways forward, from least to most effort, none for a go; *asks* tells a command where to ask."""
    if made.verdict is Verdict.GO:
        return []
    request, found = made.request, []
    forecast = made.forecast
    if forecast is not None and forecast.at is not None and forecast.what == "recovered":
        text = f"Nothing to do. Old burn leaves the window; expected {forecast_text(forecast, made.decided_at)}."
    elif made.verdict is Verdict.WAIT:
        text = "The gate goes by data again as soon as it arrives; ask again then."
    else:
        text = "Nothing tells when this opens; ask again when something below has changed."
    found.append(Way("Wait", text))
    if made.allows:
        kinds = kinds_text(made.allows)
        command = f"tightrope gate {quote(request.service)} --kind {made.allows[0].value} {asks}"
        found.append(Way("Ship other work now", f"{sentence_case(kinds)} may ship.", command=command))
    standing = tuple(text for text in made.would_change if not text.startswith(_TOLD_ABOVE))
    if standing:
        found.append(Way("Change what stands in the way", points=standing))
    if made.quota is not None and made.exceptions_left is not None:
        who = ", ".join(made.quota.approvers) or "anybody but who asks"
        period = period_word(made.quota)
        left = f"{made.exceptions_left} of {made.quota.count} left this {period}"
        text = f"{sentence_case(who)} can grant it; {left}. It is written to the journal."
        if made.exceptions_left:
            change = f" --change {quote(request.change)}" if request.change else ""
            command = f'tightrope exception request {quote(request.service)}{change} {asks} --reason "..."'
            found.append(Way("Ask for an exception", text, command=command, asks=True))
        else:
            found.append(Way("Ask for an exception", f"None is left this {period}; {made.quota.count} were granted."))
    return found


def seen(slo: SloFacts) -> Seen:
    """Say what was true of one SLO."""
    rates = dict(slo.burn_rates)
    return Seen(
        slo.slo,
        slo.state,
        "not known" if slo.remaining is None else percent_text(slo.remaining),
        burn_text(rates.get("1h")),
        percent_text(slo.coverage),
        "never measured" if slo.data_age_s is None else span_text(slo.data_age_s),
    )


def _read(visit: Visit, service: str, before: int | None) -> Iterator[Kept]:
    """Decisions that the visitor may see, newest first, a page at a time; so many at most."""
    allowed = visit.actor.services
    for _ in range(_MOST_READ // _READ):
        page = visit.server.decisions(service=service, limit=_READ, before=before)
        yield from (one for one in page if allowed is None or one.record.request.service in allowed)
        if len(page) < _READ:
            return
        before = page[-1].sequence


def _day_sentence(counts: Counter[str], more: str, service: str) -> str:
    about = f" about {service}" if service else ""
    total = counts.total()
    if not total:
        return f"Nobody has asked the gate{about} in the last 24 hours."
    told = ", ".join(f"{counts[word.lower()]:,} {word.lower()}" for word in TONES_OF_VERDICTS if counts[word.lower()])
    many = "decision" if total == 1 else "decisions"
    return f"{total:,}{more} {many}{about} in the last 24 hours: {told}."


def _lead(made: Decision) -> str:
    if made.verdict is Verdict.GO:
        return "Guarded: smaller steps, longer bake." if made.ship.value == "guarded" else ""
    return "Here is what you can do today."


def _commands(visit: Visit, made: Decision) -> list[str]:
    data = quote(visit.server.settings.data)
    return [
        f"tightrope explain {made.id} {visit.asks}",
        f"tightrope audit verify --data {data} --recompute",
    ]


def _opens(visit: Visit, made: Decision) -> Plot | None:
    """Draw when the gate is expected to open, as it is known today; None where nothing tells."""
    forecast = made.forecast
    if made.verdict is Verdict.GO or forecast is None or forecast.at is None or forecast.what != "recovered":
        return None
    shown_s = min(max(_BEFORE_S, 2 * (forecast.at - visit.now)), _MOST_BEFORE_S)
    try:
        group = visit.server.history(made.request.service, visit.now - shown_s)
    except NotFoundError:  # nobody watches it any more
        return None
    named = next((one.slo for one in made.slos if one.state == made.state), "")
    one = next((each for each in group if each.watched and each.slo.name == named), None)
    return None if one is None else plot(one, span_of(f"{shown_s}s", one.statement.at, _BEFORE_S))
