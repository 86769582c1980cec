"""From checked documents of our own kinds to plain values."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from fractions import Fraction

from tightrope.base.units import Duration
from tightrope.specs.documents import Document, Library
from tightrope.specs.integrations import APP, PATHS, REPOSITORY
from tightrope.specs.kinds import DAYS, PERIODS, PREFIX
from tightrope.specs.lints import lint_policy
from tightrope.specs.model import (
    AlertFiring,
    AllOf,
    AnyOf,
    Basis,
    BlackoutHours,
    BurnRateIs,
    ChangeKind,
    ChannelType,
    Comparison,
    ErrorBudgetPolicy,
    ExceptionQuota,
    Exclusion,
    Expression,
    Flow,
    FreezeCalendar,
    GateRule,
    IncidentOpen,
    Integration,
    IntegrationType,
    Mapped,
    Not,
    NotificationChannel,
    OnStop,
    PolicyState,
    Predicate,
    RemainingIs,
    ShipHow,
    SilverBullet,
    Topic,
    WhenUnknown,
)
from tightrope.specs.positions import Report, canonical
from tightrope.specs.shapes import Table

ReadBeside = Callable[[str, str], str]
"""Reads the text of a file, given the folder of the spec and the path in it; raises `OSError` or `ValueError`."""

UNFROZEN = frozenset({ChangeKind.RELIABILITY, ChangeKind.SECURITY, ChangeKind.ROLLBACK, ChangeKind.EMERGENCY})
"""What a freeze or blackout lets pass where it says nothing."""

_CALENDAR = "BEGIN:VCALENDAR"
_REPEAT_S = 4 * 3600
_MACHINES = frozenset({ChannelType.ALERTMANAGER, ChannelType.PAGERDUTY})
"""Channels that remind by themselves, and that are no place for news without an alert."""


def error_budget_policies(library: Library, read_beside: ReadBeside) -> tuple[ErrorBudgetPolicy, ...]:
    """All error budget policies that are good; calendars are read from beside their spec."""
    report = library.report
    policies: list[ErrorBudgetPolicy] = []
    covered: dict[str, Document] = {}
    for document in library.of_kind("ErrorBudgetPolicy"):
        _tell_overlap(document, covered, report)
        calendars = tuple(
            _calendar(table, document.folder, read_beside, report) for table in document.spec.tables("freezes")
        )
        if document.good:
            policy = _policy(document, tuple(calendar or "" for calendar in calendars))
            lint_policy(policy, document.spec.tables("states"), report)
            policies.append(policy)
    return tuple(policies)


def exclusions(library: Library) -> tuple[Exclusion, ...]:
    """All exclusions that are good."""
    return tuple(_exclusion(document) for document in library.of_kind("Exclusion") if document.good)


def silver_bullets(library: Library) -> tuple[SilverBullet, ...]:
    """All granted exceptions that are good."""
    return tuple(_silver_bullet(document) for document in library.of_kind("SilverBullet") if document.good)


def notification_channels(library: Library) -> tuple[NotificationChannel, ...]:
    """All channels that are good."""
    return tuple(_channel(document) for document in library.of_kind("NotificationChannel") if document.good)


def integrations(library: Library) -> tuple[Integration, ...]:
    """All integrations that are good."""
    return tuple(_integration(document) for document in library.of_kind("Integration") if document.good)


def mapped_services(library: Library) -> tuple[Mapped, ...]:
    """What Service documents say of the repositories and applications that are theirs."""
    found = []
    for document in library.of_kind("Service"):
        values = document.metadata.values
        repository, app, paths = (str(values.get(f"{PREFIX}{name}") or "") for name in (REPOSITORY, APP, PATHS))
        if document.good and (repository or app):
            parts = tuple(part.strip() for part in paths.split(",") if part.strip())
            found.append(Mapped(document.name, repository, app, paths=parts))
    return tuple(found)


def _policy(document: Document, calendars: tuple[str, ...]) -> ErrorBudgetPolicy:
    spec = document.spec
    content = json.dumps([canonical(document.node), calendars], sort_keys=True)
    policy = ErrorBudgetPolicy(
        name=document.name,
        states=tuple(_state(table) for table in spec.tables("states")),
        services=frozenset(spec.texts("services")),
        basis=Basis(spec.text("basis", Basis.PROJECTED)),
        freezes=tuple(_freeze(table, text) for table, text in zip(spec.tables("freezes"), calendars, strict=True)),
        blackouts=tuple(_blackout(table) for table in spec.tables("blackoutHours")),
        exceptions=_quota(spec.get("exceptions", Table)),
        out_of_scope=frozenset(spec.texts("outOfScope")),
        max_concurrent_rollouts=_whole(spec, "maxConcurrentRollouts"),
        rules=tuple(_rule(table) for table in spec.tables("rules")),
        description=spec.text("description"),
        version=hashlib.sha256(content.encode()).hexdigest()[:16],
        place=document.place,
    )
    unknown = spec.get("unknown", Table)
    return replace(
        policy,
        unknown=_when_unknown(unknown, policy.unknown) if unknown else policy.unknown,
        postmortem_share=_share_or_off(spec, "postmortem", policy.postmortem_share),
        recurring_share=_share_or_off(spec, "recurring", policy.recurring_share),
    )


def _state(table: Table) -> PolicyState:
    enter, leave = table.get("enter", Table), table.get("exit", Table)
    return PolicyState(
        name=table.text("name"),
        flow=Flow(table.text("flow")),
        allows=_allows(table, frozenset()),
        ship=ShipHow(table.text("rollout", ShipHow.STANDARD)),
        enter=_predicate(enter) if enter else None,
        exit=_predicate(leave) if leave else None,
        enter_for_s=_seconds(enter, "for", 0),
        exit_for_s=_seconds(leave, "for", 0),
        minimum_stay_s=_seconds(table, "minimumStay", 0),
    )


def _predicate(table: Table) -> Predicate:
    """The one condition that a checked table holds."""
    if table.given("any"):
        return AnyOf(tuple(_predicate(part) for part in table.tables("any")))
    if table.given("all"):
        return AllOf(tuple(_predicate(part) for part in table.tables("all")))
    denied, burn = table.get("not", Table), table.get("burnRate", Table)
    if denied is not None:
        return Not(_predicate(denied))
    if burn is not None:
        return BurnRateIs(_seconds(burn, "over", 0), *_bound(burn, "is"))
    if table.given("remaining"):
        return RemainingIs(*_bound(table, "remaining"))
    if table.given("openIncident"):
        return IncidentOpen(frozenset(table.texts("openIncident")))
    if table.given("alertFiring"):
        return AlertFiring(frozenset(table.texts("alertFiring")))
    return Expression(table.text("cel"), table.at("cel"))


def _bound(table: Table, name: str) -> tuple[Comparison, Fraction]:
    op, bound = table.get(name, tuple) or ()
    assert isinstance(op, Comparison)
    assert isinstance(bound, Fraction)
    return op, bound


def _allows(table: Table, default: frozenset[ChangeKind], name: str = "allows") -> frozenset[ChangeKind]:
    if not table.given(name):
        return default
    word = table.get(name, str)
    if word is not None:
        return frozenset(ChangeKind) if word == "all" else frozenset()
    return frozenset(ChangeKind(kind) for kind in table.texts(name))


def _when_unknown(table: Table, default: WhenUnknown) -> WhenUnknown:
    return WhenUnknown(
        passes=_allows(table, default.passes, "passes"), stop_after_s=_seconds(table, "stopAfter", default.stop_after_s)
    )


def _freeze(table: Table, calendar: str) -> FreezeCalendar:
    return FreezeCalendar(
        name=table.text("name"),
        calendar=calendar,
        allows=_allows(table, UNFROZEN),
        services=frozenset(table.texts("services")),
        environments=frozenset(table.texts("environments")),
        reason=table.text("reason"),
        place=table.at("calendar"),
    )


def _calendar(table: Table, folder: str, read_beside: ReadBeside, report: Report) -> str | None:
    """The iCalendar text of a freeze, inline or from its file; a finding where there is none."""
    text = table.text("calendar")
    if not text:
        return None
    if _CALENDAR in text:
        return text
    problem = "it is not iCalendar"
    try:
        if "\n" not in text.strip():
            read = read_beside(folder, text)
            if _CALENDAR in read:
                return read
    except FileNotFoundError:
        problem = "there is no such file beside the spec"
    except OSError as error:
        problem = (error.strerror or "it cannot be opened").lower()
    except ValueError as error:
        problem = str(error)
    report.add(
        "TR028",
        f"the calendar {text.strip().partition(chr(10))[0][:60]!r} cannot be read: {problem}",
        table.at("calendar"),
        path=table.path("calendar"),
        remedy=f"name an .ics file, relative to the spec, or write its text; it begins with {_CALENDAR}",
    )
    return None


def _blackout(table: Table) -> BlackoutHours:
    return BlackoutHours(
        name=table.text("name"),
        days=frozenset(DAYS.index(day) for day in table.texts("days")),
        from_minute=table.get("from", int) or 0,
        to_minute=table.get("to", int) or 0,
        time_zone=table.text("timeZone", "UTC"),
        allows=_allows(table, UNFROZEN),
        environments=frozenset(table.texts("environments")),
    )


def _quota(table: Table | None) -> ExceptionQuota | None:
    if table is None:
        return None
    quota = ExceptionQuota(_whole(table, "count") or 0, PERIODS[table.text("per")], table.texts("approvers"))
    return replace(quota, longest_s=_seconds(table, "longest", quota.longest_s))


def _rule(table: Table) -> GateRule:
    return GateRule(
        table.text("id"), table.text("when"), table.text("verdict"), table.text("message"), table.at("when")
    )


def _share_or_off(spec: Table, name: str, default: Fraction | None) -> Fraction | None:
    if spec.get(name, str) == "off":
        return None
    table = spec.get(name, Table)
    return table.get("share", Fraction) if table else default


def _tell_overlap(document: Document, covered: dict[str, Document], report: Report) -> None:
    """No service follows two policies; the empty name stands for all that no other policy covers."""
    spec = document.spec
    for service in spec.texts("services") or ("",):
        first = covered.setdefault(service, document)
        if first is not document:
            what = f"service {service}" if service else "all services that no other names"
            report.add(
                "TR030",
                f"{document.name} and {first.name} ({first.place}) both cover {what}",
                spec.at("services") if service else document.place,
                path="spec.services",
                remedy="name each service in one policy, and let one policy at most have no services",
            )


def _exclusion(document: Document) -> Exclusion:
    spec = document.spec
    return Exclusion(
        name=document.name,
        starts_at=_local_time(spec, "startsAt"),
        duration_s=_seconds(spec, "duration", 0),
        time_zone=spec.text("timeZone", "UTC"),
        rrule=spec.text("rrule").strip().removeprefix("RRULE:"),
        services=frozenset(spec.texts("services")),
        slos=frozenset(spec.texts("slos")),
        reason=spec.text("reason"),
        cause=spec.text("cause", "maintenance"),
        retroactive=bool(spec.get("retroactive", bool)),
        declared_at=spec.get("declaredAt", int),
        place=document.place,
    )


def _silver_bullet(document: Document) -> SilverBullet:
    spec = document.spec
    return SilverBullet(
        name=document.name,
        service=spec.text("service"),
        requested_by=spec.text("requestedBy"),
        approved_by=spec.text("approvedBy"),
        reason=spec.text("reason"),
        granted_at=spec.get("grantedAt", int) or 0,
        expires_at=spec.get("expiresAt", int) or 0,
        change=spec.text("change"),
        environment=spec.text("environment"),
        place=document.place,
    )


def _channel(document: Document) -> NotificationChannel:
    spec = document.spec
    kind, default = ChannelType(spec.text("type")), bool(spec.get("default", bool))
    usual = {Topic.ALERTS, Topic.FLOW} if default and kind not in _MACHINES else {Topic.ALERTS}
    resolved = spec.get("sendResolved", bool)
    return NotificationChannel(
        name=document.name,
        type=kind,
        urls=_one_or_more(spec, "url"),
        url_from=_variable(spec, "urlFrom"),
        token_from=_variable(spec, "tokenFrom"),
        secret_from=_variable(spec, "secretFrom"),
        password_from=_variable(spec, "passwordFrom"),
        user=spec.text("user"),
        room=spec.text("channel"),
        sender=spec.text("from"),
        recipients=_one_or_more(spec, "to"),
        severities=frozenset(spec.texts("severities")),
        services=frozenset(spec.texts("services")),
        default=default,
        repeat_s=_seconds(spec, "repeatInterval", 0 if kind in _MACHINES else _REPEAT_S),
        send_resolved=resolved is not False,
        what=frozenset(Topic(word) for word in spec.texts("what")) or frozenset(usual),
        place=document.place,
    )


def _integration(document: Document) -> Integration:
    spec = document.spec
    app = spec.get("app", Table)
    return Integration(
        name=document.name,
        type=IntegrationType(spec.text("type")),
        secret_from=_variable(spec, "secretFrom"),
        token_from=_variable(spec, "tokenFrom"),
        url=spec.text("url").rstrip("/"),
        app=_whole(app, "id") if app else None,
        installation=_whole(app, "installation") if app else None,
        app_key_from=_variable(app, "privateKeyFrom") if app else "",
        map=tuple(_mapped(table) for table in spec.tables("map")),
        on_stop=OnStop(spec.text("onStop") or OnStop.HOLD),
        wait_s=_seconds(spec, "waitAtMost", 0) or None,
        feedback=spec.texts("feedback"),
        place=document.place,
    )


def _mapped(table: Table) -> Mapped:
    environments = table.get("environments", dict) or {}
    return Mapped(
        service=table.text("service"),
        repository=table.text("repository"),
        app=table.text("app"),
        artifact=table.text("artifact"),
        environment=table.text("environment"),
        environments=tuple((str(theirs), str(ours)) for theirs, ours in environments.items()),
        paths=table.texts("paths"),
    )


def _one_or_more(spec: Table, name: str) -> tuple[str, ...]:
    single = spec.get(name, str)
    return spec.texts(name) if single is None else (single,)


def _variable(spec: Table, name: str) -> str:
    table = spec.get(name, Table)
    return table.text("env") if table else ""


def _local_time(table: Table, name: str) -> datetime:
    local = table.get(name, datetime)
    assert local is not None
    return local


def _seconds(table: Table | None, name: str, default: int) -> int:
    duration = table.get(name, Duration) if table else None
    return default if duration is None else duration.seconds


def _whole(table: Table, name: str) -> int | None:
    number = table.get(name, Fraction)
    return None if number is None else int(number)
