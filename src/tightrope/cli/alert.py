"""Commands on alerts: what fires and fired, who was told, and what nobody is told of for a while."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import click

from tightrope.cli.options import Instant, data_option, output_option, spec_paths, specs_option
from tightrope.cli.output import say, structured, table

if TYPE_CHECKING:
    from tightrope.notify.outgoing import Outgoing
    from tightrope.notify.usecases import Notifications


@click.group()
def alert() -> None:
    """Show alerts and who was told, silence them, and test the channels.

    Alerts come from `tightrope serve`; docs/alerts.md tells their life.
    """


@alert.command("list")
@data_option(required=True)
@output_option
@click.option("--all", "everything", is_flag=True, help="Those that ended, too.")
@click.option("--service", default="", help="Only alerts of this service.")
@click.option("--silences", is_flag=True, help="List silences in place of alerts.")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="At most so many.")
def list_(data: str, form: str, everything: bool, service: str, silences: bool, limit: int) -> None:
    """List alerts that fire, or the silences that hold, newest first."""
    if silences:
        _list_silences(data, form, everything)
        return
    from tightrope.app import now
    from tightrope.budget.words import moment_text
    from tightrope.notify.documents import alert_document

    with _opened(data) as fronts:
        found = fronts.alerts(open_only=not everything, service=service, limit=limit)
    if form != "table":
        structured([alert_document(one) for one in found], form)
        return
    if not found:
        say(f"no alert{f' of {service}' if service else ''} {'is known' if everything else 'fires'}")
        return
    moment, rows = now(), []
    for one in found:
        state = "ended" if not one.open else "frozen" if one.frozen_since is not None else "fires"
        colour = {"fires": "red" if one.severity == "page" else "yellow", "frozen": "cyan"}.get(state)
        end = moment_text(one.resolved_at, moment) if one.resolved_at is not None else ""
        rules = ", ".join(condition.name for condition in one.out) or one.name
        opened = moment_text(one.opened_at, moment)
        rows.append([one.id, click.style(state, fg=colour), one.severity, one.service, one.track, opened, end, rules])
    header = ["alert", "", "", "service", "objective", "since", "until", "rules"]
    for line in table(rows, header=header, expendable=(7, 6, 3)):
        say(line)


@alert.command("show")
@click.argument("name", metavar="ALERT")
@data_option(required=True)
@output_option
def show(name: str, data: str, form: str) -> None:
    """Show one ALERT (A-...): what happened, who was told, and what keeps it quiet."""
    from tightrope.app import now
    from tightrope.base.units import time_text
    from tightrope.notify.documents import account_document

    with _opened(data) as fronts:
        account = fronts.alert(name, now=now())
    if form != "table":
        structured(account_document(account), form)
        return
    one = account.alert
    say(f"{one.id}  {one.severity}  {one.service} · {one.track}")
    for step in account.steps:
        before = f"{step.before} to {step.alert.severity}" if step.before else step.alert.severity
        say(
            f"  {time_text(step.at)}  {step.change.value:<9}  {' · '.join(part for part in (before, step.why) if part)}"
        )
    for silence in account.silences:
        say(f"  silent until {time_text(silence.until)}: {silence.why} ({silence.who}, {silence.id})")
    _say_messages(list(reversed(account.messages)))


@alert.command("silence")
@click.argument("matchers", metavar="NAME=VALUE...", nargs=-1, required=True)
@data_option(required=True)
@output_option
@click.option("--for", "duration", metavar="DURATION", help="For how long, such as 2h.")
@click.option("--until", type=Instant(), metavar="TIME", help="Until when, in place of --for.")
@click.option("--from", "begin", type=Instant(), metavar="TIME", help="Since when; now, if absent.")
@click.option("--why", required=True, help="The reason, for those who wonder.")
@click.option("--who", default="", help="Who silences; the user of this shell, if absent.")
def silence_(
    matchers: tuple[str, ...],
    data: str,
    form: str,
    duration: str | None,
    until: int | None,
    begin: int | None,
    why: str,
    who: str,
) -> None:
    """Tell nobody of alerts that all of NAME=VALUE fit: alertname, service, slo, severity or objective.

    The operators are =, !=, =~ and !~ as Alertmanager has them. What still fires when the silence ends is told then.
    """
    from tightrope.app import now
    from tightrope.base.units import parse_duration, time_text
    from tightrope.notify.documents import silence_document

    if (duration is None) is (until is None):
        raise click.UsageError("Give either --for or --until.")
    moment = now()
    ends_at = until if until is not None else (begin or moment) + parse_duration(duration or "").seconds
    with _opened(data) as fronts:
        made = fronts.add_silence(matchers, ends_at=ends_at, starts_at=begin, who=who or _user(), why=why, now=moment)
    if form != "table":
        structured(silence_document(made), form)
        return
    say(f"{made.id}  {', '.join(map(str, made.matchers))}  until {time_text(made.ends_at)}")
    say(f"    tightrope alert unsilence {made.id}", dim=True)


@alert.command("unsilence")
@click.argument("name", metavar="SILENCE")
@data_option(required=True)
@output_option
@click.option("--who", default="", help="Who ends it; the user of this shell, if absent.")
def unsilence(name: str, data: str, form: str, who: str) -> None:
    """End a SILENCE (S-...) before its time; what still fires is told then."""
    from tightrope.app import now
    from tightrope.base.units import time_text
    from tightrope.notify.documents import silence_document

    with _opened(data) as fronts:
        over = fronts.end_silence(name, who=who or _user(), now=now())
    if form != "table":
        structured(silence_document(over), form)
        return
    say(f"{over.id}  ended {time_text(over.until)}")


@alert.command("channels")
@data_option(required=True)
@specs_option
@output_option
def channels(data: str, files: tuple[str, ...], form: str) -> None:
    """Show the channels of the specs and how they do: exit 3 if one cannot be used or refused a message."""
    from tightrope.app import now
    from tightrope.budget.words import moment_text
    from tightrope.notify.documents import channel_document

    with _opened(data, files) as fronts:
        found = fronts.channels()
    if form == "table":
        rows = []
        for one in found:
            bad = one.problem or (one.last_error if one.waiting or one.dead else "")
            mark = click.style("x", fg="red") if one.problem or one.dead else "!" if one.waiting else "ok"
            last = moment_text(one.last_sent_at, now()) if one.last_sent_at is not None else "never"
            counts = f"{one.waiting} wait, {one.dead} dead" if one.waiting or one.dead else ""
            name = f"{one.channel.name} (default)" if one.channel.default else one.channel.name
            rows.append([mark, name, one.channel.type.value, f"last {last}", counts, bad])
        for line in table(rows):
            say(line)
        if not found:
            say("the specs hold no NotificationChannel: nobody is told of alerts")
    else:
        structured([channel_document(one) for one in found], form)
    if any(one.problem or one.dead for one in found):
        raise click.exceptions.Exit(3)


@alert.command("test")
@click.argument("channel", metavar="CHANNEL")
@data_option(required=True)
@specs_option
@output_option
@click.option("--who", default="", help="Who asks; the user of this shell, if absent.")
def test_(channel: str, data: str, files: tuple[str, ...], form: str, who: str) -> None:
    """Send a test message by CHANNEL: exit 0 if the receiver took it, 3 if not."""
    from tightrope.app import now

    with _opened(data, files, create=True) as fronts:
        moment = now()
        asked = fronts.test_channel(channel, who=who or _user(), now=moment)
        fronts.deliver(moment)
        (result,) = fronts.messages(about=asked.about)
    _say_or_write([result], form)
    if result.state.value != "sent":
        raise click.exceptions.Exit(3)


@alert.command("outbox")
@data_option(required=True)
@output_option
@click.option("--state", type=click.Choice(["waiting", "sent", "dead"]), help="Only messages of this state.")
@click.option("--channel", default="", help="Only messages of this channel.")
@click.option("--retry", metavar="MESSAGE", help="Have a message (M-...) sent again that was refused or waits.")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="At most so many.")
def outbox(data: str, form: str, state: str | None, channel: str, retry: str | None, limit: int) -> None:
    """List messages: those that wait, were sent, or were refused for good; newest first."""
    from tightrope.app import now

    with _opened(data) as fronts:
        if retry:
            found = [fronts.retry_message(retry, now=now())]
        else:
            found = fronts.messages(state=state or "", channel=channel, limit=limit)
    _say_or_write(found, form)
    if not found and form == "table":
        say("the outbox is empty")


def _list_silences(data: str, form: str, everything: bool) -> None:
    from tightrope.app import now
    from tightrope.budget.words import moment_text
    from tightrope.notify.documents import silence_document

    moment = now()
    with _opened(data) as fronts:
        found = fronts.silences(now=moment, ended=everything)
    if form != "table":
        structured([silence_document(one) for one in found], form)
        return
    if not found:
        say("no silence is known" if everything else "no silence holds")
        return
    rows = []
    for one in found:
        state = "holds" if one.active(moment) else "to come" if moment < one.starts_at else "ended"
        until = moment_text(one.until, moment)
        rows.append([one.id, state, ", ".join(map(str, one.matchers)), f"until {until}", one.who, one.why])
    for line in table(rows, expendable=(5, 4)):
        say(line)


def _say_or_write(found: list[Outgoing], form: str) -> None:
    if form == "table":
        _say_messages(found)
        return
    from tightrope.notify.documents import message_document

    structured([message_document(one) for one in found], form)


def _say_messages(found: list[Outgoing]) -> None:
    from tightrope.base.units import time_text

    rows = []
    for one in found:
        colour = {"sent": "green", "dead": "red"}.get(one.state.value)
        said = one.error or one.message.title
        tries = f"{one.attempts} tries" if one.attempts > 1 else ""
        rows.append(
            [time_text(one.created_at), one.id, click.style(one.state.value, fg=colour), one.channel, tries, said]
        )
    for line in table(rows, expendable=(4, 0)):
        say(line)


def _opened(
    data: str, files: tuple[str, ...] | None = None, *, create: bool = False
) -> AbstractContextManager[Notifications]:
    from tightrope.notify.usecases import at_hand

    channels: Any = ()
    if files is not None:
        from tightrope.app import load_specs

        channels = load_specs(spec_paths(files)).channels
    return at_hand(data, channels, create=create)


def _user() -> str:
    from tightrope.base.settings import environment

    return environment("USER") or environment("USERNAME") or "somebody at a shell"
