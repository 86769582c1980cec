"""``rollout``: what a release may cost, how fast it may go for that, and the release itself, watched to its end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Protocol

import click

from tightrope.base.units import parse_duration, parse_fraction, percent_text, span_text, time_text
from tightrope.cli.options import (
    at_option,
    chosen_server,
    data_option,
    incidents_option,
    output_option,
    server_option,
    spec_paths,
    specs_option,
    strict_option,
)
from tightrope.cli.output import fitted, progress, quiet, say, structured, table, warn

if TYPE_CHECKING:
    from tightrope.cli.remote import Remote
    from tightrope.delivery.planner import Plan
    from tightrope.delivery.rollouts.usecases import Rollouts

KINDS = ("feature", "config", "reliability", "security", "emergency", "rollback")

Document = dict[str, Any]
_CODES = {"promoted": 0, "rolled back": 3, "failed": 5}
_LOOKS_S = 0.5
_HEARD_LOOKS_S, _HEARD_WITHIN_S = 0.1, 10
_HISTORY_WITHIN_S = 120


@click.group()
def rollout() -> None:
    """Release in steps that stay inside a share of the error budget, and go back by themselves.

    docs/rollouts.md tells how a service says how it is released.
    """


@rollout.command()
@click.argument("service")
@specs_option
@at_option
@output_option
@incidents_option
@strict_option
@click.option("--environment", default="production", show_default=True, help="Where: its RolloutStrategy is followed.")
@click.option(
    "--allowance",
    default="1%",
    show_default=True,
    help="Share of the budget (or of what is left, if less) it may spend.",
)
@click.option("--evaluate-every", default="15s", show_default=True, help="Time from one look to the next.")
@click.option("--act-within", default="30s", show_default=True, help="Time until a changed weight has taken effect.")
@click.option("--longest-bake", default="6h", show_default=True, help="The longest that one stage may take.")
@click.option(
    "--cluster-guard",
    default="2",
    show_default=True,
    help="How much more bad requests vary than independent ones would; 1 trusts that they are.",
)
def plan(
    service: str,
    files: tuple[str, ...],
    at: int | None,
    form: str,
    incidents: str | None,
    strict: bool,
    environment: str,
    allowance: str,
    evaluate_every: str,
    act_within: str,
    longest_bake: str,
    cluster_guard: str,
) -> None:
    """Plan the fastest rollout of SERVICE whose worst case stays inside the allowance.

    It tells the weights and bakes, what the release can cost at most, and what regression would show in what time. A
    RolloutStrategy of the service is followed; an option takes the place of what it says, and then the steps are
    planned anew.
    Where the policy's state asks for care, the plan is guarded: half of the allowance, smaller steps, longer bakes.
    Exit 0 with a plan, 3 where no weight fits.
    """
    from tightrope.app import assess_specs, choose, load_specs
    from tightrope.backtest.labels import read_incidents
    from tightrope.base.errors import UsageError
    from tightrope.delivery import planner
    from tightrope.loop.rollouts import is_guarded, plan_document, promises_of, slice_s, standing_of

    guard = parse_fraction(cluster_guard)
    if guard < 1:
        raise UsageError(f"a cluster guard of {cluster_guard} would sharpen the evidence", remedy="give 1 or more")
    share, evaluate_s, act_s, longest_s = (
        parse_fraction(allowance),
        parse_duration(evaluate_every).seconds,
        parse_duration(act_within).seconds,
        parse_duration(longest_bake).seconds,
    )
    specs = load_specs(spec_paths(files))
    known = read_incidents(incidents) if incidents else ()
    with progress() as tell:
        found = assess_specs(specs, choose(specs, (service,)), at=at, incidents=known, strict=strict, tell=tell)
    strategy = next((one for one in specs.rollouts if (one.service, one.environment) == (service, environment)), None)
    context = click.get_current_context()
    fields: dict[str, tuple[str, Any]] = {
        "allowance": ("allowance", share),
        "evaluate_every": ("evaluate_s", evaluate_s),
        "act_within": ("act_s", act_s),
        "longest_bake": ("longest_bake_s", longest_s),
        "cluster_guard": ("cluster_guard", guard),
    }
    command_line = click.core.ParameterSource.COMMANDLINE
    asked = dict(field for name, field in fields.items() if context.get_parameter_source(name) is command_line)
    if strategy is not None:
        from dataclasses import replace

        from tightrope.delivery.rollouts.usecases import plan_by

        drawn = plan_by(
            replace(strategy, **asked, steps=() if asked else strategy.steps), standing_of(found, strategy.slos)
        )
    else:
        terms = planner.Terms(
            allowance=share,
            guarded=is_guarded(found),
            reaction=planner.Reaction(slice_s(found), evaluate_s, act_s),
            inflation=guard,
            longest_s=longest_s,
        )
        drawn = planner.plan(promises_of(found), terms)
    when = time_text(max(one.statement.at for one in found))
    if form != "table":
        structured(plan_document(drawn, found[0].slo.service, when), form)
    else:
        _show(drawn, found[0].slo.service, when)
    if not drawn.stages:
        raise click.exceptions.Exit(3)


def _show(drawn: Plan, service: str, when: str) -> None:
    from tightrope.budget.words import amount_text

    how = "guarded" if drawn.terms.guarded else "standard"
    share = percent_text(drawn.terms.share(), 2)
    if not drawn.stages:
        say(f"NO PLAN  {service} · {how} · may spend {share}", bold=True)
        say(f"  why      {drawn.why}")
        say(f"  as of    {when}")
        return
    length = span_text(drawn.duration_s)
    say(f"PLAN  {service} · {how} · may spend {share} · {length} if all is well, sooner with a proof", bold=True)
    say()
    reach = drawn.terms.reaction.total_s
    rows = []
    for stage in drawn.stages:
        worst = (amount_text(one.worst(stage.weight, reach), one.unit_s) for one in drawn.promises)
        rows.append(
            [
                f"{float(stage.weight * 100):.4g} %",
                span_text(stage.bake_s),
                ", ".join(worst),
                "inside" if stage.reserved else "after proof",
                stage.purpose,
            ]
        )
    header = ["weight", "bake", "total failure costs", "allowance", "the bake"]
    for line in table(rows, right=(0, 1, 2), header=header, expendable=(4,)):
        say(f"  {line}")
    say()
    for cost, promise in zip(drawn.costs, drawn.promises, strict=True):
        parts = amount_text(cost.allowance, promise.unit_s)
        if cost.in_flight:
            parts = f"{parts}, and {amount_text(cost.in_flight, promise.unit_s)} in flight after the proof"
        whole = "" if cost.share is None else f"{percent_text(cost.share, 2)} of {cost.name}: "
        outage = "" if cost.outage_s is None or promise.unit_s else f"; {span_text(cost.outage_s)} of total outage"
        say(f"  at most  {whole}{parts}{outage}")
    for one in drawn.detections:
        if one.after_s is None or one.cost is None:
            bake = span_text(drawn.terms.longest_s)
            say(f"  {one.ratio:>2}× errors  traffic too low to tell in {bake}")
        else:
            say(f"  {one.ratio:>2}× errors  show in {span_text(one.after_s)}, {amount_text(one.cost, 0)} until then")
    say(f"  why      {drawn.why}")
    say(f"  as of    {when}", dim=True)
    for note in drawn.notes:
        warn(f"note: {note}")


# --- the release itself ---------------------------------------------------------------------------------------------


class Desk(Protocol):
    """Where rollouts are begun and told: a server, or the store itself."""

    def start(self, wanted: Document) -> Document:
        """Begin one."""

    def rollout(self, name: str) -> Document:
        """One by its id or number."""

    def rollouts(self, service: str, *, running: bool, limit: int) -> list[Document]:
        """The newest."""

    def tell(self, name: str, verb: str, document: Document) -> Document:
        """Tell one something."""

    def replay(self, name: str) -> Document:
        """Decide one again."""


@rollout.command()
@click.argument("service")
@specs_option
@data_option(required=False)
@server_option
@output_option
@click.option("--version", required=True, help="What is released, as telemetry and target call it.")
@click.option("--previous", default="", help="What runs now; what was deployed last, if absent.")
@click.option("--environment", default="production", show_default=True, help="Where it is released.")
@click.option("--revision", default="", help="The commit.")
@click.option("--kind", type=click.Choice(KINDS), help="What the change is for; feature, if absent.")
@click.option("--change", default="", help="What the gate is asked about, if neither version nor revision.")
@click.option("--title", default="", help="A line for people.")
@click.option("--url", default="", help="Where more is to be seen.")
@click.option("--no-watch", is_flag=True, help="Begin it on the server, and do not wait for its end.")
def start(
    service: str,
    files: tuple[str, ...],
    data: str,
    server: str,
    form: str,
    no_watch: bool,
    **wanted: Any,
) -> None:
    """Release SERVICE by its RolloutStrategy, and watch it to its end.

    With --server that server does it. With --data and -f this command does it alone, and is the one who watches: it
    must not be ended before the release is over; started again, it goes on where it was. Ctrl-C pauses; a second one
    rolls back, or lets go of a server's.

    Exit 0 promoted, 3 rolled back, 5 where its end is unknown.
    """
    asked = chosen_server(server) if server or not files else ""
    document = {"service": service} | {name: value for name, value in wanted.items() if value}
    if asked:
        from tightrope.cli.remote import Remote

        with Remote(asked) as remote:
            desk: Desk = _Served(remote)
            begun = desk.start(document)
            warn(f"open {asked.rstrip('/')}/delivery/runs/{begun['number']}")
            if no_watch:
                _answer(begun, form)
                return
            _watch(desk, begun, form, alone=False)
        return
    if no_watch:
        raise click.UsageError("Without a server nobody watches the release: leave --no-watch out, or give --server.")
    if not data:
        raise click.UsageError("Give --server URL, or --data DIR with the store, and -f PATH with the specs.")
    from tightrope.app import load_specs, serving
    from tightrope.loop.server import ServeSettings

    paths = spec_paths(files)
    load_specs(paths)
    with serving(ServeSettings(spec_paths=paths, data=data), data) as alone:
        desk = _Alone(alone.rollouts, alone.now)
        going = _left_over(desk, service, str(document["version"]), str(document["environment"]))
        if going is None:
            _wait_for_history(alone.live, service)
            going = desk.start(document)
        else:
            warn(f"rollout {going['number']} goes on where it was left")
        _watch(desk, going, form, alone=True)


@rollout.command()
@click.argument("name", metavar="[ROLLOUT]", default="")
@data_option(required=False)
@server_option
@output_option
@click.option("--watch", is_flag=True, help="Watch it to its end.")
def status(name: str, data: str, server: str, form: str, watch: bool) -> None:
    """Show a rollout, by its id or number; the newest, if absent."""
    with _desk(server, data) as desk:
        found = _meant(desk, name)
        if watch:
            _watch(desk, found, form, alone=False)
        else:
            _answer(found, form)


@rollout.command()
@click.argument("name", metavar="[ROLLOUT]", default="")
@data_option(required=False)
@server_option
@output_option
@click.option("--all", "whole", is_flag=True, help="All of the traffic at once, and not the next step.")
@click.option("--reason", default="", help="Why; it is recorded.")
def promote(name: str, data: str, server: str, form: str, whole: bool, reason: str) -> None:
    """Take the next step now, without waiting for its bake or a proof; the allowance holds all the same."""
    with _desk(server, data) as desk:
        found = _meant(desk, name, running=True)
        _answer(heard(desk, found, "promote", {"all": whole, "reason": reason}), form)


@rollout.command()
@click.argument("name", metavar="[ROLLOUT]", default="")
@data_option(required=False)
@server_option
@output_option
@click.option("--reason", default="", help="Why; it is recorded.")
@click.option("--no-watch", is_flag=True, help="Do not wait until the old version has all of the traffic.")
def abort(name: str, data: str, server: str, form: str, reason: str, no_watch: bool) -> None:
    """Roll back; no gate is asked."""
    with _desk(server, data) as desk:
        found = _meant(desk, name, running=True)
        if no_watch:
            _answer(heard(desk, found, "abort", {"reason": reason}), form)
        else:
            _watch(desk, desk.tell(str(found["id"]), "abort", {"reason": reason}), form, alone=False)


@rollout.command()
@click.argument("name", metavar="[ROLLOUT]", default="")
@data_option(required=False)
@server_option
@output_option
@click.option("--reason", default="", help="Why; it is recorded.")
def pause(name: str, data: str, server: str, form: str, reason: str) -> None:
    """Let it keep its weight until somebody resumes it; harm takes it back all the same."""
    with _desk(server, data) as desk:
        found = _meant(desk, name, running=True)
        _answer(heard(desk, found, "pause", {"reason": reason}), form)


@rollout.command()
@click.argument("name", metavar="[ROLLOUT]", default="")
@data_option(required=False)
@server_option
@output_option
@click.option("--reason", default="", help="Why; it is recorded.")
def resume(name: str, data: str, server: str, form: str, reason: str) -> None:
    """Let a rollout that was paused go on."""
    with _desk(server, data) as desk:
        found = _meant(desk, name, running=True)
        _answer(heard(desk, found, "resume", {"reason": reason}), form)


@rollout.command("list")
@data_option(required=False)
@server_option
@output_option
@click.option("--service", default="", help="Only those of this service.")
@click.option("--running", is_flag=True, help="Only those that are not over.")
@click.option("--limit", type=click.IntRange(min=1, max=1000), default=50, show_default=True, help="At most so many.")
def list_(data: str, server: str, form: str, service: str, running: bool, limit: int) -> None:
    """List rollouts, newest first."""
    with _desk(server, data) as desk:
        found = desk.rollouts(service, running=running, limit=limit)
    if form != "table":
        structured(found, form)
        return
    if not found:
        say("none: tightrope rollout start SERVICE --version V begins one")
    rows = [
        [
            str(one["number"]),
            one["service"],
            one["environment"],
            one["version"],
            one["phase"],
            _percent(one.get("weight")),
            one["createdAt"],
            one["why"],
        ]
        for one in found
    ]
    header = ["no", "service", "environment", "version", "phase", "weight", "created", "why"]
    for line in table(rows, right=(0, 5), header=header if rows else (), expendable=(7, 6)):
        say(line)


@rollout.command()
@click.argument("name", metavar="[ROLLOUT]", default="")
@data_option(required=False)
@server_option
@output_option
def replay(name: str, data: str, server: str, form: str) -> None:
    """Decide a rollout again from its record, and tell whether every turn comes out as it did.

    Exit 0 where it does, 3 where it does not.
    """
    with _desk(server, data) as desk:
        found = _meant(desk, name)
        told = desk.replay(str(found["id"]))
    if form != "table":
        structured(told, form)
    elif told["agrees"]:
        say(f"AGREES  rollout {found['number']} · {told['turns']} turns come out as they did", bold=True)
    else:
        say(f"DIFFERS  rollout {found['number']} · from turn {told['differsAtTurn']} of {told['turns']} on", bold=True)
    if not told["agrees"]:
        raise click.exceptions.Exit(3)


def heard(desk: Desk, one: Document, verb: str, document: Document) -> Document:
    """Tell a rollout something, and wait a moment until it has heard it: what it answers is what it does now."""
    import time

    found = desk.tell(str(one["id"]), verb, document)
    for _ in range(round(_HEARD_WITHIN_S / _HEARD_LOOKS_S)):
        if found["over"] or not found.get("unheard"):
            return found
        time.sleep(_HEARD_LOOKS_S)
        found = desk.rollout(str(one["id"]))
    if found.get("unheard"):
        warn("it is written down, and was not heard yet: rollout status tells when it is")
    return found


# --- watching -------------------------------------------------------------------------------------------------------


def _watch(desk: Desk, found: Document, form: str, *, alone: bool) -> None:
    """Show how a rollout goes until it is over; exit as it ended."""
    import time

    name, interrupts = str(found["id"]), 0
    screen = _Screen(alone=alone)
    while not found["over"]:
        try:
            screen.show(found)
            time.sleep(_LOOKS_S)
            found = desk.rollout(name)
        except KeyboardInterrupt:
            interrupts += 1
            if interrupts == 1:
                desk.tell(name, "pause", {"reason": "Ctrl-C"})
            elif alone:
                desk.tell(name, "abort", {"reason": "Ctrl-C"})
            else:
                screen.close()
                warn(f"it stays paused on the server: tightrope rollout resume {found['number']}, or abort")
                raise click.exceptions.Exit(130) from None
    screen.close()
    _answer(found, form)
    code = _CODES.get(found["phase"], 5)
    if code:
        raise click.exceptions.Exit(code)


class _Screen:
    """Two lines that are drawn again on a terminal; in a pipe a line for everything that changes."""

    def __init__(self, *, alone: bool) -> None:
        import sys

        self._alone = alone
        self._live = sys.stderr.isatty() and not quiet()
        self._drawn = 0
        self._last: tuple[Any, ...] = ()

    def show(self, one: Document) -> None:
        """Draw it as it is now; a line that is too long for the terminal is broken here, so that all are counted."""
        lines = progress_lines(one, alone=self._alone)
        if self._live:
            self._clear()
            drawn = [part for line in lines for part in broken(line, self._columns())]
            for line in drawn:
                click.echo(fitted(line), err=True)
            self._drawn = len(drawn)
            return
        now = (one["phase"], one.get("weight"), one.get("paused"))
        if now != self._last and not quiet():
            click.echo(fitted(lines[0].strip()), err=True)
        self._last = now

    def _columns(self) -> int:
        """Columns of the terminal that stderr is, whatever stdout is; a terminal may not know."""
        import os
        import sys

        with suppress(OSError, ValueError):
            return os.get_terminal_size(sys.stderr.fileno()).columns or 100
        return 100

    def close(self) -> None:
        """Leave the screen to what follows."""
        self._clear()

    def _clear(self) -> None:
        if self._live and self._drawn:
            click.echo(f"\x1b[{self._drawn}F\x1b[J", nl=False, err=True)
            self._drawn = 0


def broken(line: str, columns: int) -> list[str]:
    """A line as so many as it takes."""
    import textwrap

    return textwrap.wrap(
        line, max(40, columns - 1), subsequent_indent="    ", replace_whitespace=False, break_on_hyphens=False
    ) or [""]


def progress_lines(one: Mapping[str, Any], *, alone: bool) -> list[str]:
    """A rollout under way in two lines: weight, evidence and verdict; what was spent, and what this step may cost."""
    said, objectives = one.get("evidence"), one.get("objectives") or []
    parts = []
    if one.get("begunAt"):
        parts.append(span_text(one["elapsedSeconds"]))
    differences = [each["difference"] for each in objectives if each.get("difference")]
    if differences:
        worst_of = max(differences, key=lambda each: each["value"] / each["tolerated"])
        parts.append(_points(worst_of))
    if said:
        parts += [each["text"] for each in said["explanations"] if each["bad"]][:1]
        parts.append(f"evidence {said['text']}")
        verdicts = [each for each in (said["harmInSeconds"], said["safeInSeconds"]) if each is not None]
        if verdicts and said["verdict"] == "undecided":
            parts.append(f"verdict in ~{span_text(max(1, min(verdicts)))}")
    trouble = one.get("trouble")
    why = f"{one['why']}; {trouble}" if trouble else one["why"]
    first = f"..  {one['phase']:<12}{_percent(one.get('weight')):>6}    {', '.join(parts) or why}"
    if not objectives or not one.get("begunAt"):
        return [first]
    worst = max(objectives, key=lambda each: (each["spentShare"] or 0) / (each["allowanceShare"] or 1))
    spent = f"spent {_share(worst['spentShare'])} of {_share(worst['allowanceShare'])} % budget"
    flight = f" · worst case of this step {_share(worst['worstShare'])} %" if worst["worstShare"] is not None else ""
    keys = "Ctrl-C pauses, again rolls back" if alone else "Ctrl-C pauses, again lets go"
    return [first, f"    {spent}{flight} · {keys}", f"    {why}"]


def _points(difference: Mapping[str, float]) -> str:
    """How much worse in percentage points, with the band: ``+0.03 pp bad (-0.10 to +0.16)``."""
    value, low, high = (f"{difference[name] * 100:+.2f}" for name in ("value", "low", "high"))
    return f"{value} pp bad ({low} to {high})"


def _answer(one: Document, form: str) -> None:
    if form != "table":
        structured(one, form)
        return
    word = one["phase"].upper()
    say(f"{word}  {one['service']} · {one['version']} · {one['environment']} · rollout {one['number']}", bold=True)
    if one["why"]:
        say(f"  why      {one['why']}")
    if one.get("trouble"):
        say(f"  trouble  {one['trouble']}")
    if one.get("refused") and not one["over"]:
        say(f"  refused  {one['refused']}")
    if one.get("proof"):
        say(f"  proof    {one['proof']}")
    if not one["over"] and one.get("stage"):
        step = f"step {one['stage']} of {len(one['stages'])}"
        say(f"  weight   {_percent(one['weight'])}, {step}, seen {_percent(one['seenWeight'])}")
    said = one.get("evidence")
    if said:
        say(f"  evidence {said['text']} of harm")
        for each in said["explanations"]:
            if each["bad"]:
                say(f"           {each['slo']}: {each['text']}")
    for each in one.get("objectives") or []:
        of = f"{each['canaryBad']:,} bad of {each['canaryTotal']:,} requests"
        shares = f"{_share(each['spentShare'])} of {_share(each['allowanceShare'])} % budget spent"
        say(f"  cost     {each['slo']}: {of}, {shares}")
    if one.get("decision"):
        say(f"  gate     {one['decision']}")


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share * 100:.4g} %"


def _share(share: float | None) -> str:
    return "?" if share is None else f"{share * 100:.2f}"


# --- where it is asked ----------------------------------------------------------------------------------------------


def _meant(desk: Desk, name: str, *, running: bool = False) -> Document:
    """The rollout that is meant: by its name, else the newest; of several that run one must be named."""
    if name:
        return desk.rollout(name)
    found = desk.rollouts("", running=running, limit=2)
    if not found:
        raise click.UsageError("There is no rollout under way." if running else "There is no rollout yet.")
    if running and len(found) > 1:
        raise click.UsageError("Several rollouts are under way: name one; tightrope rollout list --running has them.")
    return found[0]


@contextmanager
def _desk(server: str, data: str) -> Iterator[Desk]:
    asked = chosen_server(server) if server or not data else ""
    if asked:
        from tightrope.cli.remote import Remote

        with Remote(asked) as remote:
            yield _Served(remote)
        return
    if not data:
        raise click.UsageError("Give --server URL, or --data DIR with the store.")
    from tightrope.app import now, rollouts_at_hand

    with rollouts_at_hand(data) as rollouts:
        yield _Alone(rollouts, now)


def _left_over(desk: Desk, service: str, version: str, environment: str) -> Document | None:
    """A release that nobody carried to its end, because whoever did ended before it."""
    for one in desk.rollouts(service, running=True, limit=10):
        if one["environment"] == environment:
            if one["version"] == version:
                return one
            raise click.UsageError(
                f"{service} {one['version']} is still being released: start it again with --version {one['version']} "
                "to carry it to its end."
            )
    return None


def _wait_for_history(live: Any, service: str) -> None:
    """Wait until the service's objectives were evaluated once: nothing is known of the budget before."""
    import time

    from tightrope.base.errors import NotFoundError

    for _ in range(_HISTORY_WITHIN_S * 10):
        with suppress(NotFoundError):
            wanted = len(live.snapshot.specs.of_service(service))
            if wanted and len(live.assessments(service)) >= wanted and not live.backfills():
                return
        time.sleep(0.1)


class _Served:
    def __init__(self, remote: Remote) -> None:
        self._remote = remote

    def start(self, wanted: Document) -> Document:
        found: Document = self._remote.post("/rollouts", wanted)
        return found

    def rollout(self, name: str) -> Document:
        from urllib.parse import quote

        found: Document = self._remote.get(f"/rollouts/{quote(name, safe='')}")
        return found

    def rollouts(self, service: str, *, running: bool, limit: int) -> list[Document]:
        more = {"service": service} if service else {}
        found: list[Document] = self._remote.get(
            "/rollouts", running="true" if running else "false", limit=limit, **more
        )["items"]
        return found

    def tell(self, name: str, verb: str, document: Document) -> Document:
        found: Document = self._remote.post(f"/rollouts/{name}/{verb}", document)
        return found

    def replay(self, name: str) -> Document:
        found: Document = self._remote.get(f"/rollouts/{name}/replay")
        return found


class _Alone:
    def __init__(self, rollouts: Rollouts, now: Any) -> None:
        self._rollouts = rollouts
        self._now = now

    def start(self, wanted: Document) -> Document:
        from tightrope.delivery.rollouts.usecases import Wish
        from tightrope.specs.model import ChangeKind

        told: Document = dict(wanted)
        if "kind" in told:
            told |= {"kind": ChangeKind(told["kind"]), "kind_from": "given"}
        return self._document(self._rollouts.start(Wish(**told), by=_user()))

    def rollout(self, name: str) -> Document:
        return self._document(self._rollouts.view(name))

    def rollouts(self, service: str, *, running: bool, limit: int) -> list[Document]:
        return [self._document(one) for one in self._rollouts.views(service=service, running=running, limit=limit)]

    def tell(self, name: str, verb: str, document: Document) -> Document:
        from tightrope.delivery.rollout import Said

        said = Said.PROMOTE_ALL if document.get("all") else Said(verb)
        return self._document(self._rollouts.say(name, said, by=_user(), reason=str(document.get("reason", ""))))

    def replay(self, name: str) -> Document:
        found = self._rollouts.replay(name)
        return {"turns": found.turns, "agrees": found.differs_at is None, "differsAtTurn": found.differs_at}

    def _document(self, view: Any) -> Document:
        from tightrope.loop.rollouts import rollout_document

        return rollout_document(view, self._now())


def _user() -> str:
    from tightrope.base.settings import environment

    return environment("USER") or environment("USERNAME") or "somebody at a shell"
