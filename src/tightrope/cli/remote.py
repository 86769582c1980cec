"""Commands against a server: the same questions and the same answers, over its API instead of specs and telemetry."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from email.utils import parsedate_to_datetime
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Self
from urllib.parse import quote, urlencode

import click

from tightrope.base.errors import (
    BusyError,
    ConflictError,
    ForbiddenError,
    NotFoundError,
    Place,
    SourceError,
    SourceUnreachableError,
    SpecError,
    SpecsInvalidError,
    TightropeError,
    TooLargeError,
    UnauthorizedError,
    UsageError,
)
from tightrope.base.http import HttpClient, HttpSettings, Reply, shown_url
from tightrope.base.settings import environment
from tightrope.base.units import percent_text, span_text
from tightrope.cli.fleet import Line, show_lines
from tightrope.cli.output import say, structured, table, warn

if TYPE_CHECKING:
    from tightrope.backtest.labels import Deployment
    from tightrope.engine.plan import Incident

ENDINGS = frozenset({".yaml", ".yml", ".json"})
SKEW_S = 30
"""By how much the clocks may differ without a word."""

_AGAIN_S, _MOST, _OPEN_END = 15, 20, 2**40
_EXIT_CODES = {"go": 0, "stop": 3, "wait": 4}
_DECISION = re.compile(r"D-[0-9a-f]+")
_ERRORS: dict[int, type[TightropeError]] = {
    401: UnauthorizedError,
    403: ForbiddenError,
    404: NotFoundError,
    409: ConflictError,
    412: ConflictError,
    413: TooLargeError,
}


class Remote:
    """A server, as the command line asks it.

    Args:
        url: Where it is.
        settings: How to speak to it; by default with the token in TIGHTROPE_TOKEN.
    """

    def __init__(self, url: str, settings: HttpSettings | None = None) -> None:
        token = environment("TIGHTROPE_TOKEN")
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._url = url
        self._client = HttpClient(url, settings or HttpSettings(headers=headers, attempts=3))
        self._told_skew = False

    def get(self, path: str, **params: Any) -> Any:
        """Ask for a document."""
        return self._document(self._asked(path, params))

    def plain(self, path: str, **params: Any) -> Reply:
        """Ask for what is no document."""
        reply = self._asked(path, params)
        if reply.status >= 300:
            self._document(reply)
        return reply

    def post(self, path: str, document: Mapping[str, Any]) -> Any:
        """Send a document; to be repeated without harm."""
        headers = {"Content-Type": "application/json"}
        return self._document(self._sent("POST", f"/api/v1{path}", json.dumps(document).encode(), headers))

    def text(self, path: str, document: Mapping[str, Any]) -> str:
        """Send a document whose answer is for people."""
        headers = {"Content-Type": "application/json"}
        reply = self._sent("POST", f"/api/v1{path}", json.dumps(document).encode(), headers)
        if reply.status >= 300:
            self._document(reply)
        self._tell_skew(reply.headers.get("date", ""))
        return reply.text

    def put(self, path: str, text: str) -> Any:
        """Send YAML."""
        headers = {"Content-Type": "application/yaml"}
        return self._document(self._sent("PUT", f"/api/v1{path}", text.encode(), headers))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def _asked(self, path: str, params: Mapping[str, Any]) -> Reply:
        query = urlencode([(name, one) for name, value in params.items() for one in _each(value)])
        return self._sent("GET", f"/api/v1{path}{'?' + query if query else ''}")

    def _sent(self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Reply:
        try:
            return self._client.send(method, path, body, headers or {})
        except SourceUnreachableError as error:
            raise SourceUnreachableError(
                error.message, remedy="check --server or TIGHTROPE_SERVER, and that `tightrope serve` runs there"
            ) from None

    def _document(self, reply: Reply) -> Any:
        """Read an answer; raises the error that the server tells of."""
        self._tell_skew(reply.headers.get("date", ""))
        try:
            document = json.loads(reply.text) if reply.text else None
        except ValueError:
            raise SourceError(
                f"{shown_url(self._url)} is no server of Tightrope: it answers {reply.status} and no JSON",
                remedy="check --server",
            ) from None
        if reply.status < 300:
            return document
        problem = document if isinstance(document, dict) else {}
        detail, remedy = (
            str(problem.get("detail", f"the server answers {reply.status}")),
            str(problem.get("remedy", "")),
        )
        faults = [one for one in problem.get("errors", ()) if isinstance(one, dict)]
        if any(one.get("code") for one in faults):
            raise SpecsInvalidError(tuple(_finding(one) for one in faults))
        if reply.status == 401 and not environment("TIGHTROPE_TOKEN"):
            remedy = "set TIGHTROPE_TOKEN to a token; `tightrope token create` makes one on the server"
        if reply.status == 429:
            raise BusyError(detail, retry_after_s=int(reply.headers.get("retry-after", "1")), remedy=remedy)
        if reply.status >= 500:
            raise SourceUnreachableError(f"{shown_url(self._url)}: {detail}", remedy=remedy)
        if len(faults) > 1:
            detail = "; ".join([detail, *(f"{one.get('pointer')}: {one.get('detail')}" for one in faults)])
        raise _ERRORS.get(reply.status, UsageError)(detail, remedy=remedy)

    def _tell_skew(self, date: str) -> None:
        """Say once if this machine's clock is not the server's: instants that it sends mean others there."""
        if self._told_skew or not date:
            return
        from tightrope.app import now

        try:
            ahead = now() - int(parsedate_to_datetime(date).timestamp())
        except (ValueError, TypeError):
            return
        if abs(ahead) > SKEW_S:
            self._told_skew = True
            way = "ahead of" if ahead > 0 else "behind"
            warn(f"warning: this machine's clock is {span_text(abs(ahead))} {way} the server's")


# --- status and explain --------------------------------------------------------------------------------------------


def status(server: str, names: Sequence[str], form: str, basis: str | None, *, everything: bool) -> None:
    """Print ``status`` as a server has it."""
    from tightrope.base.units import parse_time

    with Remote(server) as remote:
        services = remote.get("/services", limit=1000)
        asked: dict[str, Any] = {"service": [], "slo": []}
        known = {one["name"] for one in services["items"]}
        for name in names:
            asked["service" if name in known else "slo"].append(name)
        asked |= {"basis": basis} if basis else {}
        found = _named(remote, asked if form != "table" else asked | {"outlook": "true"})
    if form != "table":
        structured(found, form)
        return
    if not found:
        say("The server watches no SLO yet.")
        return
    lines = []
    for one in found:
        words, left = one["outlook"], one["budget"]["remainingRatio"]
        lines.append(
            Line(
                words["letter"],
                words["flow"],
                one["service"],
                words["title"],
                Fraction(str(one["objective"])),
                None if one["stale"] else left,
                left,
                words["left"],
                (_burn(one, "1h"), _burn(one, "6h")),
                words["says"],
            )
        )
    as_of = {parse_time(one["asOf"]) for one in found}
    show_lines(services["summary"], lines, as_of, everything=everything or bool(names) or len(found) <= 12)


def _named(remote: Remote, asked: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The status of services and of SLOs that were named; of all where none was."""
    if asked["service"] and asked["slo"]:
        both = [{**asked, "slo": []}, {**asked, "service": []}]
        found = {
            (one["service"], one["slo"], one.get("objectiveName")): one for each in both for one in _named(remote, each)
        }
        return list(found.values())
    documents: list[dict[str, Any]] = remote.get("/status", **asked)
    return documents


def explain(server: str, name: str, form: str) -> None:
    """Print ``explain`` of a service, or of the service of an SLO, as a server has it."""
    with Remote(server) as remote:
        services = remote.get("/services", limit=1000)["items"]
        service = next((one["name"] for one in services if one["name"] == name), "")
        of_slo = next((one["name"] for one in services if name in one["slos"]), "")
        if not service and not of_slo and _DECISION.fullmatch(name):
            _explain_decision(remote.get(f"/decisions/{name}"), form)
            return
        only = {} if service or not of_slo else {"slo": name}
        only |= {"outlook": "true"} if form == "table" else {}
        found = remote.get(f"/services/{quote(service or of_slo or name, safe='')}/explain", **only)
    if form != "table":
        structured(found, form)
        return
    decision = found["decision"]
    for line in found["text"]:
        say(line)
    say()
    rows = [[one["rule"], one["measured"], one["bound"], one["outcome"]] for one in decision["reasons"]]
    for line in table(rows, header=["rule", "measured", "bound", ""]):
        say(line)
    if decision["wouldChange"]:
        say()
        say("What would change it", bold=True)
        for sentence in decision["wouldChange"]:
            say(f"  {sentence}")
    for one in found["objectives"]:
        _explain_objective(one)


def _explain_decision(kept: Mapping[str, Any], form: str) -> None:
    """Print a recorded decision: what was answered, by which rules, and what would have changed it."""
    if form != "table":
        structured(kept, form)
        return
    decision = kept["decision"]
    word = "EXEMPT" if decision["exempt"] else decision["verdict"].upper()
    about = (decision["change"], f'"{decision["title"]}"' if decision["title"] else "", decision["kind"])
    say(f"{word:<7} {' · '.join(part for part in (decision['service'], *about) if part)}", bold=True)
    say(decision["summary"])
    say()
    rows = [[one["rule"], one["measured"], one["bound"], one["outcome"]] for one in decision["reasons"]]
    for line in table(rows, header=["rule", "measured", "bound", ""]):
        say(line)
    if decision["wouldChange"]:
        say()
        say("What would have changed it", bold=True)
        for sentence in decision["wouldChange"]:
            say(f"  {sentence}")
    say()
    say(f"recorded as row {kept['sequence']} at {kept['recordedAt']} by Tightrope {kept['decidedBy']}", dim=True)


def tell_where_it_went(server: str, name: str, form: str) -> None:
    """Print ``explain --budget`` as a server has it."""
    from tightrope.cli.attribution import show

    with Remote(server) as remote:
        services = remote.get("/services", limit=1000)["items"]
        known = any(one["name"] == name for one in services)
        of_slo = next((one["name"] for one in services if name in one["slos"]), "")
        only = {} if known or not of_slo else {"slo": name}
        found = remote.get(f"/services/{quote(name if known else of_slo or name, safe='')}/attribution", **only)
    show(found["items"], form)


def _explain_objective(one: Mapping[str, Any]) -> None:
    words, budget = one["outlook"], one["budget"]
    target = f"{one['objective'] * 100:.6g} %"
    say()
    say(f"{words['title']}  {target} over {one['window']['duration']}, {one['budgetingMethod']}", bold=True)
    say(f"  budget    {words['budget']} ({budget['basis']} basis)")
    if budget["remainingRatio"] is not None:
        say(f"  spent     {words['spent']} where {words['allowed']} are allowed")
    say(f"  measured  {percent_text(one['coverage'])} of the window, to {one['asOf']}")
    say(f"  burn      {'  '.join(f'{lookback} {_burn(one, lookback)}' for lookback in one['burnRates'])}")
    for alert in one["alerts"]:
        state = click.style("firing", fg="red") if alert["firing"] else "quiet"
        say(f"  alert     {alert['name']}: {state}")
    for move in one["transitions"][-5:]:
        say(f"  {move['at']}  {move['from']} → {move['to']}: {move['reason']}")
    if one["stateSince"]:
        say(f"  since     {one['stateSince']}")


def _burn(one: Mapping[str, Any], lookback: str) -> str:
    from tightrope.budget.words import burn_text

    return burn_text(None if lookback in one.get("noTraffic", ()) else one["burnRates"].get(lookback))


# --- the gate ------------------------------------------------------------------------------------------------------


def ask_gate(server: Remote, service: str, question: Mapping[str, Any], *, plain: bool) -> tuple[str, Any]:
    """Ask a server's gate.

    Returns:
        The verdict, and the decision as a document; *plain*, as the lines that the server writes for people.

    Raises:
        SourceUnreachableError: It can't be reached, or has no answer just now.
    """
    path = f"/gate/{quote(service, safe='')}"
    try:
        if not plain:
            document = server.post(path, question)
            return document["verdict"], document
        lines = server.text(f"{path}?dialect=plain", question).splitlines()
    except BusyError as error:
        raise SourceUnreachableError(error.message, remedy=error.remedy) from None
    word = lines[0].partition(" ")[0].lower() if lines else ""
    return ("go" if word == "exempt" else word), lines


def gate(
    server: str,
    service: str,
    question: Mapping[str, Any],
    form: str,
    *,
    hold_s: int,
    allow: bool,
    paint: Callable[[str, str], str],
) -> NoReturn:
    """Ask a server's gate, print its answer as ``gate`` does, and exit with the code of its verdict.

    Args:
        server: Where it is.
        service, question: What is asked.
        form: How to print.
        hold_s: For how many seconds to wait for go or stop; 0: not at all.
        allow: Go on, with a warning, if the gate can't be asked.
        paint: Colours the first word.
    """
    from tightrope.app import now

    deadline, plain = now() + hold_s, form == "table"
    while True:
        try:
            with Remote(server) as remote:
                verdict, told = ask_gate(remote, service, question, plain=plain)
        except SourceUnreachableError as error:
            if _goes_back(question):
                warn(
                    f"warning: the gate could not be asked: {error.message}; going on, since rollbacks are never gated"
                )
                raise click.exceptions.Exit(0) from None
            if now() < deadline:
                warn(f"waiting: {error.message}")
                time.sleep(_AGAIN_S)
                continue
            if allow:
                warn(f"warning: the gate could not be asked: {error.message}; going on, as --on-unavailable allow says")
                raise click.exceptions.Exit(0) from None
            click.echo(f"error: the gate could not be asked: {error.message}", err=True)
            if error.remedy:
                click.echo(f"  = help: {error.remedy}", err=True)
            raise click.exceptions.Exit(5) from None
        if verdict != "wait" or now() >= deadline:
            break
        warn(f"waiting: {told[1].strip() if plain else told['summary']}")
        time.sleep(_AGAIN_S)
    if plain:
        word = told[0].partition(" ")[0]
        for line in [paint(word, word.lower()) + told[0][len(word) :], *told[1:]]:
            say(line)
    else:
        structured(told, form)
        for reason in told["reasons"]:
            if reason["outcome"] == "warn":
                warn(f"warning: {reason['says']}")
    raise click.exceptions.Exit(_EXIT_CODES[verdict])


def _goes_back(question: Mapping[str, Any]) -> bool:
    """Whether the change is a rollback by what is told of it: that needs no answer."""
    from tightrope.policy.change_kinds import kind_of_release
    from tightrope.specs.model import ChangeKind

    told = question.get("kind")
    if told:
        return bool(told == ChangeKind.ROLLBACK.value)
    message, labels = question.get("message", ()), question.get("labels", ())
    return bool(message or labels) and kind_of_release(message, labels).kind is ChangeKind.ROLLBACK


# --- backtest and apply --------------------------------------------------------------------------------------------


def backtest(
    server: str,
    names: Sequence[str],
    files: Sequence[str],
    form: str,
    *,
    since: int | None,
    until: int | None,
    incidents: Sequence[Incident] | None,
    deployments: Sequence[Deployment] | None,
) -> None:
    """Print ``backtest`` over what a server has stored: of its specs, or of edited ones in *files*."""
    from tightrope.base.units import time_text

    asked: dict[str, Any] = {"names": list(names)} if names else {}
    if files:
        asked["specs"] = gathered(files)[0]
    if since is not None:
        asked["from"] = time_text(since)
    if until is not None:
        asked["to"] = time_text(until)
    if incidents is not None:
        asked["labels"] = [_label(one) for one in incidents]
    if deployments is not None:
        asked["deployments"] = [
            {
                "time": time_text(one.at),
                "service": one.service,
                "kind": one.kind,
                "change": one.change,
                "environment": one.environment,
            }
            for one in deployments
        ]
    with Remote(server) as remote:
        found = remote.post("/backtest", asked)
    if form != "table":
        structured(found["documents"], form)
    else:
        for one in found["documents"]:
            _show_backtest(one)
    if found["preview"]:
        warn(found["preview"]["summary"])


def _label(one: Incident) -> dict[str, Any]:
    from tightrope.base.units import time_text

    label = {"start": time_text(one.start), "service": one.service, "severity": one.severity, "cause": one.cause}
    end = {"end": time_text(one.end)} if one.end < _OPEN_END else {}
    return label | {"id": one.id} | end


def _show_backtest(one: Mapping[str, Any]) -> None:
    title = one["slo"] + (f"/{one['objectiveName']}" if one.get("objectiveName") else "")
    if one["from"] is None:
        say(f"{title}: nothing was measured", bold=True)
        return
    say(f"{title}  {one['service']}, {one['from']} to {one['to']}", bold=True)
    when = f" at {one['worstAt']}" if one["worstAt"] else ""
    say(f"  worst budget left  {percent_text(one['worstRemaining'])}{when}")
    total = sum(one["hoursInState"].values()) or 1
    spent = [
        f"{name} {span_text(hours * 3600)} ({percent_text(hours / total, 0)})"
        for name, hours in one["hoursInState"].items()
    ]
    say(f"  time in states     {', '.join(spent)}")
    if one["hoursStale"]:
        say(f"  without data       {span_text(one['hoursStale'] * 3600)}")
    counts: dict[str, int] = {}
    for episode in one["episodes"]:
        counts[episode["condition"]] = counts.get(episode["condition"], 0) + 1
    say("  alerts             " + (", ".join(f"{name} {count}×" for name, count in counts.items()) or "none"))
    for name, score in one.get("scores", {}).items():
        found = f"{score['found']} of {score['incidents']} incidents, {score['needless']} needless alerts"
        say(f"  {name:<17}  {found}")
    for move in one["transitions"][-_MOST:]:
        say(f"  {move['at']}  {move['from']} → {move['to']}: {move['reason']}")
    if len(one["transitions"]) > _MOST:
        say(f"  … and {len(one['transitions']) - _MOST} earlier transitions (-o json lists all)", dim=True)
    stopped = one.get("deploymentsStopped", [])
    if stopped:
        say(f"  {len(stopped)} deployments would have been stopped (-o json lists them)")
    say("")


def apply(server: str, paths: Sequence[str], form: str, *, dry_run: bool) -> None:
    """Send specs to a server and print what changed."""
    text, lines = gathered(paths)
    try:
        with Remote(server) as remote:
            done = remote.put(f"/specs{'?dryRun=true' if dry_run else ''}", text)
    except SpecsInvalidError as error:
        raise SpecsInvalidError(tuple(_placed(one, lines, text) for one in error.findings)) from None
    if form != "table":
        structured(done, form)
        return
    would = "would be " if dry_run else ""
    for one in done["changed"]:
        say(f"{one['kind']} {one['name']}: {would if one['change'] != 'unchanged' else ''}{one['change']}")
    for finding in done["findings"]:
        if finding["severity"] == "warning":
            warn(f"warning[{finding['code']}]: {finding['detail']}")


def gathered(paths: Sequence[str]) -> tuple[str, list[tuple[int, str]]]:
    """Put the specs in files and directories together to one text; with the line at which each file begins.

    In a directory only files that are specs count, by what is in them.

    Raises:
        NotFoundError: A path does not exist, or there is no spec there.
    """
    files: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir():
            inside = sorted(one for one in path.rglob("*") if one.suffix.lower() in ENDINGS and one.is_file())
            visible = [one for one in inside if not any(part.startswith(".") for part in one.relative_to(path).parts)]
            files += [one for one in visible if _is_ours(one)]
        elif path.is_file():
            files.append(path)
        else:
            raise NotFoundError(f"{path} does not exist", remedy="check -f")
    text, lines = "", []
    for file in files:
        text += "---\n" if text else ""
        lines.append((text.count("\n"), str(file)))
        content = _read(file)
        text += content if content.endswith("\n") else content + "\n"
    if not lines:
        raise NotFoundError(f"there is no spec in {', '.join(paths)}", remedy="check -f")
    return text, lines


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} cannot be read: {error}") from None


def _is_ours(file: Path) -> bool:
    content = _read(file)
    return "openslo/v1" in content or "tightrope.dev/v1" in content


def _placed(finding: SpecError, lines: Sequence[tuple[int, str]], text: str) -> SpecError:
    """Give a finding on the text that was sent its place in the file that it came from."""
    place = finding.place
    if not place.file.startswith("<"):
        return finding
    begin, file = max(one for one in lines if one[0] < place.line)
    written = text.splitlines()
    source = written[place.line - 1] if place.line <= len(written) else ""
    return SpecError(
        finding.code,
        finding.message,
        Place(file, place.line - begin, place.column, place.length),
        path=finding.path,
        severity=finding.severity,
        remedy=finding.remedy,
        source_line=source,
    )


def _finding(fault: Mapping[str, Any]) -> SpecError:
    place = Place(
        str(fault.get("file", "")), fault.get("line") or 1, fault.get("column") or 1, fault.get("length") or 1
    )
    return SpecError(
        str(fault.get("code") or ""),
        str(fault.get("detail", "")),
        place,
        path=str(fault.get("pointer") or "").removeprefix("#/").replace("/", "."),
        severity=str(fault.get("severity") or "error"),
        remedy=str(fault.get("remedy") or ""),
    )


def _each(value: Any) -> list[str]:
    return [str(one) for one in value] if isinstance(value, (list, tuple)) else [str(value)]
