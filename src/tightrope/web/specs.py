"""The specs, and an editor for them: every finding as it is written, and what a change would have done."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

from starlette.responses import Response
from starlette.routing import BaseRoute

from tightrope.access.roles import Permission
from tightrope.base.errors import (
    ConflictError,
    ForbiddenError,
    NotFoundError,
    SpecError,
    SpecsInvalidError,
    TightropeError,
)
from tightrope.base.units import DAY_S, percent_text, span_text, time_text
from tightrope.loop.assess import Assessment
from tightrope.loop.server import Preview
from tightrope.policy.states import named
from tightrope.specs.excerpt import render
from tightrope.specs.model import ChangeKind, Specs
from tightrope.specs.usecases import SpecDocument
from tightrope.web.visit import Desk, Visit

QUARTER_S = 90 * DAY_S
"""How far back a preview looks."""

KINDS = (
    "SLO",
    "Service",
    "SLI",
    "DataSource",
    "AlertPolicy",
    "MultiWindowAlertPolicy",
    "AlertCondition",
    "AlertNotificationTarget",
    "ErrorBudgetPolicy",
    "Exclusion",
    "SilverBullet",
    "NotificationChannel",
    "Integration",
    "PolicyTest",
)
"""All kinds of documents, what people look for first at the front."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding with its excerpt and caret, as text."""

    severity: str
    code: str
    text: str
    line: int

    @property
    def head(self) -> str:
        """What is wrong: prose, which may be wrapped."""
        return self.text.partition("\n")[0]

    @property
    def frame(self) -> str:
        """The place and the line with its mark, which may not."""
        return "\n".join(one for one in self._rest() if not one.startswith("= "))

    @property
    def notes(self) -> list[str]:
        """Where it is in the document, and how to mend it."""
        return [one.removeprefix("= ") for one in self._rest() if one.startswith("= ")]

    def _rest(self) -> list[str]:
        lines = self.text.splitlines()[1:]
        return [one.strip() if one.lstrip().startswith("= ") else one for one in lines]


@dataclass(frozen=True, slots=True)
class Tally:
    """What one set of rules did in a stretch: pages, tickets, time without features, budget at its least and now."""

    pages: int
    tickets: int
    frozen_s: int
    least: str
    left: str

    @property
    def frozen(self) -> str:
        """The time without features, in words."""
        return span_text(self.frozen_s) if self.frozen_s else "never"


@dataclass(frozen=True, slots=True)
class Compared:
    """One objective as it was with the present specs and with the edited ones; None where it is not among them."""

    title: str
    now: Tally | None
    then: Tally | None


def routes(desk: Desk) -> list[BaseRoute]:
    """The list of specs, the editor, and a draft of a new document."""
    return [
        desk.route("/specs", specs),
        desk.route("/specs/new", draft, do=worked),
        desk.route("/specs/{kind}/{name:path}", document, do=worked),
    ]


def specs(visit: Visit) -> Response:
    """List the documents, and what is wrong with them."""
    known = [one for one in visit.server.documents() if _seen(visit, one.kind, one.name)]
    found = sorted(known, key=lambda one: (_rank(one.kind), one.name))
    groups: dict[str, list[SpecDocument]] = {}
    for one in found:
        groups.setdefault(one.kind, []).append(one)
    problems = visit.board.snapshot.problems
    warnings = visit.board.snapshot.specs.warnings
    return visit.page(
        "specs.html",
        title="Specs",
        current="specs",
        answer=_answer(found, problems, warnings, visit.board.snapshot.since),
        groups=groups,
        findings=[finding_of(one) for one in problems],
        warnings=[finding_of(one) for one in warnings],
        paths=list(visit.server.settings.spec_paths),
        path_of=path_of,
        kinds=KINDS,
        saves=visit.may_somewhere(Permission.APPLY),
    )


def document(visit: Visit) -> Response:
    """Show one document in the editor."""
    return _editor(visit, _there(visit))


def draft(visit: Visit) -> Response:
    """Begin a new document."""
    kind = visit.asked("kind", "SLO")
    return _editor(visit, None, text=_draft(visit, kind if kind in KINDS else "SLO"))


def worked(visit: Visit) -> Response:
    """Do what a form of the editor asks for: check, preview, save, withdraw."""
    one = _edited(visit)
    text, what = visit.form.get("text", "").replace("\r\n", "\n"), visit.form.get("do", "check")
    match what:
        case "check":
            findings = checked(visit, text)
            return visit.page("findings.html", title="Findings", current="specs", cached=False, findings=findings)
        case "preview":
            shown, findings = _previewed(visit, text)
            if visit.asked("piece"):
                return visit.page(
                    "preview.html", title="Preview", current="specs", cached=False, preview=shown, findings=findings
                )
            return _editor(visit, one, text=text, findings=findings, preview=shown)
        case "diff":
            return _editor(visit, one, text=text, findings=checked(visit, text))
        case "withdraw":
            if one is None:
                raise NotFoundError("there is nothing to withdraw")
            _must_change(visit, [(one.kind, one.name)], visit.board.snapshot.specs)
            visit.server.withdraw(one.kind, one.name, actor=visit.actor.name, if_match=visit.form.get("etag") or None)
            return visit.go("/specs", done="withdrawn")
        case _:
            return _saved(visit, one, text)


def checked(visit: Visit, text: str) -> list[Finding]:
    """All findings of an edited text, read together with everything else that is live."""
    try:
        applied = visit.server.apply(text, actor=visit.actor.name, dry_run=True)
    except SpecsInvalidError as error:
        return [finding_of(one) for one in error.findings]
    except ConflictError as error:
        return [Finding("note", "", error.message, 0)]
    return [finding_of(one) for one in applied.findings]


def finding_of(error: SpecError) -> Finding:
    """Set one finding."""
    return Finding(error.severity, error.code, render(error), error.place.line)


def tally_of(one: Assessment) -> Tally:
    """Count what happened to one objective in the stretch that its history tells of."""
    episodes = one.history.episodes
    free = {state.name for state in one.policy.states if ChangeKind.FEATURE in state.allows}
    remaining = one.budget.remaining_ratio
    return Tally(
        sum(each.severity == "page" for each in episodes),
        sum(each.severity != "page" for each in episodes),
        sum(seconds for name, seconds in one.history.state_s.items() if named(one.policy, name).name not in free),
        percent_text(1 - one.history.worst_consumed.value),
        "not known" if remaining is None else percent_text(remaining),
    )


def compared(preview: Preview) -> list[Compared]:
    """Put the objectives of both sides beside each other; those that nothing changes for are left out."""
    now = {one.title: tally_of(one) for one in preview.now if one.watched}
    then = {one.title: tally_of(one) for one in preview.then if one.watched}
    rows = [Compared(title, now.get(title), then.get(title)) for title in {**now, **then}]
    return [one for one in rows if one.now != one.then]


def preview_sentence(rows: Sequence[Compared], preview: Preview, days: int = QUARTER_S // DAY_S) -> str:
    """Say what the change would have done: pages and frozen time, and what they are now."""
    if not rows:
        many = len([one for one in preview.then if one.watched])
        about = "any of them" if many != 1 else "it"
        return (
            f"This change would have made no difference to {about} in the last {days} days."
            if many
            else ("This change touches no SLO that has a history.")
        )
    pages = [sum(one.pages for one in side if one) for side in ([row.then for row in rows], [row.now for row in rows])]
    frozen = [
        sum(one.frozen_s for one in side if one) for side in ([row.then for row in rows], [row.now for row in rows])
    ]
    now = f"{_times(pages[1])}, {_frozen(frozen[1])}" if any(row.now for row in rows) else "no such SLO"
    return (
        f"This change would have paged {_times(pages[0])} and frozen features {_frozen(frozen[0])} in the last {days} "
        f"days (now: {now})."
    )


def path_of(kind: str, name: str) -> str:
    """Where the page of a document is."""
    return f"/specs/{quote(kind, safe='')}/{quote(name, safe='')}"


# --- pieces ---------------------------------------------------------------------------------------------------------


def _editor(
    visit: Visit,
    one: SpecDocument | None,
    *,
    text: str | None = None,
    findings: Sequence[Finding] | None = None,
    preview: dict[str, object] | None = None,
    conflict: str = "",
    status: int = 200,
) -> Response:
    given = text if text is not None else one.text if one is not None else ""
    held = one is not None and one.source.startswith("file:")
    changed = one is not None and given != one.text
    return visit.page(
        "editor.html",
        title=one.name if one is not None else "New document",
        current="specs",
        status=status,
        cached=False,
        one=one,
        text=given,
        lines=max(given.count("\n") + 1, 1),
        held=held,
        path=one.source.removeprefix("file:") if one is not None and held else "",
        answer=_says(one, held),
        findings=findings,
        preview=preview,
        conflict=conflict,
        diff=difference(one, given) if one is not None and held and changed else "",
        action=path_of(one.kind, one.name) if one is not None else "/specs/new",
        saves=visit.may_somewhere(Permission.APPLY),
    )


def _says(one: SpecDocument | None, held: bool) -> str:
    if one is None:
        return "A new document: every finding is told as you write."
    if held:
        return f"{one.name} lives in a file, so it is edited there."
    return f"{one.name} was applied here; its version is {one.version}."


def difference(one: SpecDocument, text: str) -> str:
    """What an edit changes in a document's file, as a patch."""
    path = one.source.removeprefix("file:")
    return "".join(
        difflib.unified_diff(
            one.text.splitlines(keepends=True), text.splitlines(keepends=True), f"a/{path}", f"b/{path}", n=3
        )
    )


def _edited(visit: Visit) -> SpecDocument | None:
    return _there(visit) if "kind" in visit.request.path_params else None


def _there(visit: Visit) -> SpecDocument:
    kind, name = visit.path("kind"), visit.path("name")
    if not _seen(visit, kind, name):
        raise NotFoundError(f"there is no {kind} called {name!r}", remedy="the list of specs shows what there is")
    return visit.server.document(kind, name)


def _seen(visit: Visit, kind: str, name: str) -> bool:
    """Whether a visitor may see a document: of SLOs and services only those of services that they may see."""
    allowed, about = visit.actor.services, visit.board.snapshot.specs.services_about(kind, name)
    return allowed is None or not about or bool(about & allowed)


def _must_change(visit: Visit, changed: Sequence[tuple[str, str]], *specs: Specs | None) -> None:
    """Raise `ForbiddenError` unless the visitor may change these documents, as they are in any of *specs*."""
    for kind, name in changed:
        permission = Permission.GRANT if kind == "SilverBullet" else Permission.APPLY
        about = set[str]().union(*(one.services_about(kind, name) for one in specs if one is not None))
        for service in sorted(about) or [""]:
            visit.must(permission, service)


def _previewed(visit: Visit, text: str) -> tuple[dict[str, object] | None, list[Finding]]:
    try:
        preview = visit.server.preview(text, last_s=QUARTER_S)
    except SpecsInvalidError as error:
        return None, [finding_of(one) for one in error.findings]
    rows = compared(preview)
    findings = [finding_of(one) for one in preview.findings]
    if any(one.severity == "error" for one in findings):
        return None, findings
    return {"sentence": preview_sentence(rows, preview), "rows": rows}, findings


def _saved(visit: Visit, one: SpecDocument | None, text: str) -> Response:
    etag = visit.form.get("etag") or ("" if one is None else None)
    try:
        tried = visit.server.apply(text, actor=visit.actor.name, if_match=etag, dry_run=True)
        changed = [(kind, name) for kind, name, what in tried.changed if what != "unchanged"]
        _must_change(visit, changed, visit.board.snapshot.specs, tried.specs)
        applied = visit.server.apply(text, actor=visit.actor.name, if_match=etag)
    except ForbiddenError:
        raise
    except SpecsInvalidError as error:
        return _editor(visit, one, text=text, findings=[finding_of(each) for each in error.findings], status=422)
    except ConflictError as error:
        said = f"{error.message}. Your text is still here; the newest version is on its own page."
        return _editor(visit, one, text=text, conflict=said, status=409)
    except TightropeError as error:
        return _editor(visit, one, text=text, conflict=f"{error.message}. {error.remedy}", status=400)
    first = changed or [(kind, name) for kind, name, _ in applied.changed]
    where = path_of(*first[0]) if first else "/specs"
    return visit.go(where, done="saved" if changed else "unchanged")


def _answer(
    found: Sequence[SpecDocument], problems: Sequence[SpecError], warnings: Sequence[SpecError], since: int
) -> str:
    if problems:
        count = f"{len(problems)} {'error' if len(problems) == 1 else 'errors'}"
        if not since:
            return f"The specs have {count}; nothing is watched until they are mended."
        return f"The last edit has {count}; the last good set is live."
    slos = sum(one.kind == "SLO" for one in found)
    fine = f"{len(warnings)} {'warning' if len(warnings) == 1 else 'warnings'}" if warnings else "all is well with them"
    return (
        f"{len(found):,} {'document is' if len(found) == 1 else 'documents are'} live, {slos:,} of them SLOs; {fine}."
    )


def _rank(kind: str) -> int:
    return KINDS.index(kind) if kind in KINDS else len(KINDS)


def _times(number: int) -> str:
    return {0: "never", 1: "once", 2: "twice"}.get(number, f"{number:,} times")


def _frozen(seconds: int) -> str:
    if not seconds:
        return "never"
    text = span_text(seconds)
    return f"for {text[:-2]} days" if text.endswith(" d") else f"for {text}"


def _draft(visit: Visit, kind: str) -> str:
    """The beginning of a document of a kind, for somebody to go on from."""
    service = visit.asked("service") or "checkout"
    if kind == "SilverBullet":
        change = visit.asked("change")
        return "\n".join([
            "apiVersion: tightrope.dev/v1",
            "kind: SilverBullet",
            "metadata:",
            f"  name: {_slug(service)}-exception",
            "spec:",
            f"  service: {_scalar(service)}",
            *([f"  change: {_scalar(change)}"] if change else []),
            f"  requestedBy: {_scalar(visit.actor.name)}",
            "  approvedBy: WHO GRANTS IT",
            "  reason: WHY IT CANNOT WAIT",
            f"  grantedAt: {time_text(visit.now)}",
            f"  expiresAt: {time_text(visit.now + DAY_S)}",
            "",
        ])  # fmt: skip
    if kind == "SLO":
        from tightrope.specs.starter import starter

        try:
            return next(iter(starter(_slug(service), "prometheus").values()))
        except (TightropeError, StopIteration):
            pass
    ours = kind in {
        "ErrorBudgetPolicy",
        "MultiWindowAlertPolicy",
        "Exclusion",
        "NotificationChannel",
        "Integration",
        "PolicyTest",
    }
    version = "tightrope.dev/v1" if ours else "openslo/v1"
    return f"apiVersion: {version}\nkind: {kind}\nmetadata:\n  name: {_slug(service)}\nspec: {{}}\n"


def _slug(text: str) -> str:
    """A name that a document may have."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:60] or "service"


def _scalar(text: str) -> str:
    """Text as a YAML scalar that can mean nothing else."""
    plain = text.replace("-", "").replace("_", "")
    if plain.isascii() and plain.isalpha():
        return text
    return json.dumps(text, ensure_ascii=False)
