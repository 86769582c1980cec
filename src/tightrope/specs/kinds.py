"""The kinds of documents as tables: OpenSLO v1's seven, as strict as its Go SDK, and our own (``tightrope.dev/v1``).

Source: OpenSLO go-sdk, ``pkg/openslo/v1``. Where the standard's README and its SDK differ, the SDK holds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction

from tightrope.base.units import Duration, duration_text
from tightrope.specs.integrations import SERVICE_ANNOTATIONS, integration_spec
from tightrope.specs.model import (
    Basis,
    BudgetingMethod,
    ChangeKind,
    ChannelType,
    Comparison,
    ConditionKind,
    Flow,
    Gaps,
    ShipHow,
    Topic,
)
from tightrope.specs.pipelines import pipeline_spec
from tightrope.specs.positions import Report
from tightrope.specs.rollouts import rollout_spec
from tightrope.specs.secrets import SECRET
from tightrope.specs.shapes import (
    DNS_LABEL,
    AnyMap,
    Anything,
    Bound,
    ClockTime,
    Either,
    Field,
    Flag,
    Form,
    Instant,
    Later,
    Law,
    ListOf,
    LocalTime,
    MapOf,
    Needs,
    Number,
    Objection,
    OneOf,
    Record,
    Shape,
    Share,
    Span,
    Table,
    Text,
    Word,
    Zone,
    percent_text,
)

OPENSLO = "openslo/v1"
TIGHTROPE = "tightrope.dev/v1"
PREFIX = "tightrope.dev/"

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
PERIODS = {"month": "M", "quarter": "Q", "year": "Y"}

_LONGEST_DESCRIPTION = 1050
_OURS = "smhdwMQY"
_WHOLE_FROM_0 = Number(at_least=Fraction(0), whole=True)


# --- what several kinds share ------------------------------------------------------------------------------------

_LABEL_KEY = Form(
    "^[a-zA-Z0-9]([-._a-zA-Z0-9]{0,61}[a-zA-Z0-9])?$",
    "is no label key",
    "use at most 63 letters, digits and - . _, with a letter or digit at both ends",
    63,
)
_ANNOTATION_KEY = Form(
    r"^(?=(.{0,253}/)?.{0,63}$)([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*/)?"
    r"[a-zA-Z0-9]([-._a-zA-Z0-9]{0,61}[a-zA-Z0-9])?$",
    "is no annotation key",
    "use a name of at most 63 letters, digits and - . _, perhaps with a domain before it: example.com/name",
    317,
)


def _target_objection(whole: int) -> Objection:
    """What to say of a target outside ``[0, whole)``; *whole* is 1 for ratios and 100 for percentages."""

    def objection(number: Fraction) -> tuple[str, str, str] | None:
        name = "target" if whole == 1 else "targetPercent"
        text = f"{float(number):.10g}"
        if number == whole:
            return (
                f"{name} {text} leaves no error budget: there would be nothing to manage",
                f"below {whole}",
                "take the highest target you can defend, such as `target: 0.9999`",
            )
        if whole == 1 and 1 < number < 100:
            ratio = f"{float(number / 100):.10g}"
            return (
                f"target {text} is read as {percent_text(number)}; OpenSLO wants a ratio here",
                "between 0 and 1",
                f"write `target: {ratio}` or `targetPercent: {text}`",
            )
        if number < 0 or number > whole:
            return (
                f"{name} {text} is out of range",
                f"at least 0 and below {whole}",
                "write `target: 0.999` for 99.9 %",
            )
        return None

    return objection


_TARGET = Number(at_least=Fraction(0), below=Fraction(1), objection=_target_objection(1))

ANNOTATIONS: dict[str, Field] = {
    "resolution": Field(Span(units=_OURS), says="Length of a slice, such as 1m: how often the indicator has a value."),
    "gaps": Field(Word(tuple(Gaps)), says="How slices without data count: ignore, good, bad or hold."),
    "basis": Field(Word(tuple(Basis)), says="Of what the budget is a share while history does not fill the window."),
    "staleAfter": Field(
        Number(at_least=Fraction(1), whole=True),
        says="Slices without data after which the state is unknown; 10 if absent.",
    ),
    "policy": Field(Text(DNS_LABEL), says="Name of the ErrorBudgetPolicy that this SLO follows."),
    "dependsOn": Field(Text(), says="Services whose own failures explain this one's, separated by commas."),
    "compositeTarget": Field(_TARGET, says="Target of a composite SLO; without it the lowest of its members."),
    "owner": Field(Text(), says="Team that owns the SLO."),
    "scale": Field(
        Number(at_least=Fraction(1), at_most=Fraction(10**9), whole=True),
        says="What one count is a part of: 1 for events, 1000000 for millionths of a unit.",
    ),
}
"""Our annotations on an SLO, for what OpenSLO has no field for; each is text, as OpenSLO wants it."""


def _metadata(annotations: Mapping[str, Field] | None = None, name: str = "Metadata") -> Record:
    known = "|".join(annotations or ())
    ours = {
        "properties": {
            f"{PREFIX}{key}": {"type": "string", "description": item.says} for key, item in (annotations or {}).items()
        },
        "patternProperties": {rf"^tightrope\.dev/(?!({known})$)" if known else r"^tightrope\.dev/": False},
    }
    return Record(
        {
            "name": Field(Text(DNS_LABEL), True, "Unique name: a-z, 0-9 and -"),
            "displayName": Field(Text(longest=63, empty=True), says="Name for people."),
            "labels": Field(MapOf(_LABEL_KEY, Either(Text(empty=True), ListOf(Text(empty=True)))), says="Free labels."),
            "annotations": Field(MapOf(_ANNOTATION_KEY, Text(empty=True), ours), says="Text for tools."),
        },
        name=name,
    )


METADATA = _metadata()
DESCRIPTION = Field(Text(longest=_LONGEST_DESCRIPTION, empty=True), says="What it is for.")
OPERATOR = Word(tuple(Comparison))
NAME_REF = Text(DNS_LABEL)


def _inline(ref: str, kind: str, spec: Record, says: str) -> Record:
    """A reference by name, or the object itself."""
    return Record(
        {
            ref: Field(NAME_REF, says=f"Name of {says}."),
            "kind": Field(Word((kind,))),
            "metadata": Field(METADATA),
            "spec": Field(spec),
        },
        rules=(
            OneOf((ref, "spec")),
            OneOf((ref, "kind"), needed=False),
            OneOf((ref, "metadata"), needed=False),
            Needs("spec", ("kind", "metadata")),
        ),
        name=f"{kind}OrRef",
    )


# --- indicators --------------------------------------------------------------------------------------------------


def _needs_a_source(table: Table, report: Report) -> None:
    if not table.given("metricSourceRef") and not table.given("type"):
        report.add(
            "TR013",
            "metricSource names no source",
            table.spot.key,
            path=table.spot.path,
            note="needs metricSourceRef or type",
            remedy="add `metricSourceRef:` with the name of a DataSource, or `type:`",
        )


_METRIC = Record(
    {
        "metricSource": Field(
            Record(
                {
                    "metricSourceRef": Field(NAME_REF, says="Name of a DataSource."),
                    "type": Field(Text(), says="Type of the source, where no DataSource is referred to."),
                    "spec": Field(AnyMap(), True, "The question, in the words of the source"),
                },
                rules=(Law(_needs_a_source, {"anyOf": [{"required": ["metricSourceRef"]}, {"required": ["type"]}]}),),
            ),
            True,
            "Where to read it",
        )
    },
    name="Metric",
)

_RATIO = Record(
    {
        "counter": Field(
            Flag(), says="Whether the values grow for ever (true) or are counts of events since the last."
        ),
        "good": Field(_METRIC, says="Good events."),
        "bad": Field(_METRIC, says="Bad events."),
        "total": Field(_METRIC, says="All valid events."),
        "rawType": Field(Word(("success", "failure")), says="What the raw ratio counts."),
        "raw": Field(_METRIC, says="A ratio that already is one."),
    },
    rules=(
        OneOf(("total", "raw")),
        OneOf(("raw", "good", "bad"), needed=False),
        Needs("total", ("good", "bad"), any_of=True),
        Needs("raw", ("rawType",)),
    ),
    name="RatioMetric",
)

SLI_SPEC = Record(
    {
        "description": DESCRIPTION,
        "thresholdMetric": Field(_METRIC, says="A value that each objective compares with its op and value."),
        "ratioMetric": Field(_RATIO, says="Good or bad events out of all."),
    },
    rules=(OneOf(("thresholdMetric", "ratioMetric")),),
    name="SLISpec",
)

_INDICATOR = Record(
    {"metadata": Field(METADATA, True), "spec": Field(SLI_SPEC, True)},
    name="InlineIndicator",
)


# --- alerting ----------------------------------------------------------------------------------------------------

_CONDITION_SPEC = Record(
    {
        "description": DESCRIPTION,
        "severity": Field(Text(), True, "`page`, `ticket` or a word of your own"),
        "condition": Field(
            Record(
                {
                    "kind": Field(Word(("burnrate",)), True, "`burnrate`"),
                    "op": Field(OPERATOR, True, "`gte` for an alert that fires when the burn is high"),
                    "threshold": Field(Number(), True, "Burn rate at which it fires, such as 14.4"),
                    "lookbackWindow": Field(Span(), True, "Stretch that the burn rate is measured over"),
                    "alertAfter": Field(Span(zero=True), says="How long it must hold first."),
                }
            ),
            True,
        ),
    },
    name="AlertConditionSpec",
)

_TARGET_SPEC = Record(
    {"description": DESCRIPTION, "target": Field(Text(), True, "Who is told, such as email or slack")},
    name="AlertNotificationTargetSpec",
)

_TARGETS = ListOf(
    _inline("targetRef", "AlertNotificationTarget", _TARGET_SPEC, "an AlertNotificationTarget"), at_least=1
)

_WHEN = {
    "alertWhenNoData": Field(Flag(), says="Alert when telemetry is missing."),
    "alertWhenBreaching": Field(Flag(), says="Alert when the objective is missed."),
    "alertWhenResolved": Field(Flag(), says="Tell when the alert is over."),
}

_ALERT_POLICY_SPEC = Record(
    {
        "description": DESCRIPTION,
        **_WHEN,
        "conditions": Field(
            ListOf(
                _inline("conditionRef", "AlertCondition", _CONDITION_SPEC, "an AlertCondition"),
                1,
                1,
                remedy="OpenSLO allows exactly one condition; for more use a MultiWindowAlertPolicy",
            ),
            True,
        ),
        "notificationTargets": Field(_TARGETS, True, "A list of targets or `targetRef`s"),
    },
    name="AlertPolicySpec",
)


# --- the SLO -----------------------------------------------------------------------------------------------------


_OBJECTIVE = Record(
    {
        "displayName": Field(Text(empty=True), says="Name for people."),
        "op": Field(OPERATOR, says="How a thresholdMetric is compared with `value`; never with a ratioMetric."),
        "value": Field(Number(), says="Bound of a thresholdMetric."),
        "target": Field(
            _TARGET,
            says="Share of units that should be good, such as 0.999.",
        ),
        "targetPercent": Field(
            Number(at_least=Fraction(0), below=Fraction(100), objection=_target_objection(100)),
            says="The same in percent, such as 99.9.",
        ),
        "timeSliceTarget": Field(
            Number(above=Fraction(0), at_most=Fraction(1)), says="Share of good events that makes a slice good."
        ),
        "timeSliceWindow": Field(Span(), says="Length of a slice, such as 1m."),
        "indicator": Field(_INDICATOR, says="In a composite: the SLI of this member."),
        "indicatorRef": Field(NAME_REF, says="In a composite: name of the SLI of this member."),
        "compositeWeight": Field(Number(above=Fraction(0)), says="In a composite: weight of this member; 1 if absent."),
    },
    rules=(OneOf(("target", "targetPercent")), OneOf(("indicator", "indicatorRef"), needed=False)),
    name="Objective",
)


def _rolling_or_calendar(table: Table, report: Report) -> None:
    if table.given("isRolling") and table.get("isRolling", bool) is None:
        return  # what it says cannot be read, and has its finding
    rolling = table.get("isRolling", bool) or False
    if rolling and table.given("calendar"):
        report.add(
            "TR018",
            "a rolling window has no calendar",
            table.keys["calendar"],
            path=table.path("calendar"),
            remedy="remove the calendar, or write `isRolling: false`",
        )
    elif not rolling and not table.given("calendar"):
        report.add(
            "TR018",
            "a window that is not rolling needs a calendar",
            table.keys.get("isRolling", table.spot.key),
            path=table.path("calendar"),
            note="isRolling is false" + ("" if table.given("isRolling") else " unless it is given"),
            remedy="write `isRolling: true`, or add a `calendar` with startTime and timeZone",
        )


_TIME_WINDOW = Record(
    {
        "duration": Field(Span(), True, "Such as 28d, or 1M for a calendar month"),
        "isRolling": Field(Flag(), says="Whether the window ends now (true) or follows a calendar."),
        "calendar": Field(
            Record(
                {
                    "startTime": Field(LocalTime(strict=True), True, "Start of any one period: YYYY-MM-DD HH:MM:SS"),
                    "timeZone": Field(Zone(), True, "IANA name such as Europe/Berlin"),
                }
            )
        ),
    },
    rules=(
        Law(
            _rolling_or_calendar,
            {
                "if": {"properties": {"isRolling": {"const": True}}, "required": ["isRolling"]},
                "then": {"not": {"required": ["calendar"]}},
                "else": {"required": ["calendar"]},
            },
        ),
    ),
    name="TimeWindow",
)


def _members(table: Table) -> tuple[Table, ...]:
    return tuple(item for item in table.tables("objectives") if item.given("indicator") or item.given("indicatorRef"))


def _indicator_somewhere(table: Table, report: Report) -> None:
    """An SLI stands at the SLO (standard), or at every objective (composite); never at both."""
    members = _members(table)
    own = next((name for name in ("indicator", "indicatorRef") if table.given(name)), "")
    if not members and not own:
        report.add(
            "TR018",
            "spec has no indicator",
            table.spot.key,
            path=table.path("indicator"),
            note="needs indicator or indicatorRef",
            remedy="add `indicator:` or `indicatorRef:`, here, or at every objective for a composite",
        )
    if members and own:
        report.add(
            "TR018",
            f"{own} stands both at the SLO and at an objective",
            table.keys[own],
            path=table.path(own),
            note=f"an objective has its own on line {members[0].place.line}",
            remedy="remove one: at the SLO for a standard SLO, at every objective for a composite",
        )
    if members and not own:
        for item in table.tables("objectives"):
            if item not in members:
                report.add(
                    "TR018",
                    "a member of a composite has no indicator",
                    item.spot.key,
                    path=item.path("indicator"),
                    note="the other objectives have one",
                    remedy="add `indicator:` or `indicatorRef:`",
                )


_SLICE_FIELDS = {
    BudgetingMethod.TIMESLICES: ("timeSliceTarget", "timeSliceWindow"),
    BudgetingMethod.RATIO_TIMESLICES: ("timeSliceWindow",),
}


def _slices_for_time_methods(table: Table, report: Report) -> None:
    method = table.text("budgetingMethod")
    names = next((names for known, names in _SLICE_FIELDS.items() if known == method), ())
    for item in table.tables("objectives"):
        for name in names:
            if not item.given(name):
                example = "0.95" if name == "timeSliceTarget" else "1m"
                report.add(
                    "TR013",
                    f"{item.path(name)} is missing",
                    item.spot.key,
                    path=item.path(name),
                    note=f"{method} needs {name}",
                    remedy=f"add `{name}: {example}`",
                )


def _op_and_value(table: Table, report: Report) -> None:
    """What the SDK can tell from an inlined SLI; references are looked at once they are resolved."""
    shared = table.get("indicator", Table)
    for item in table.tables("objectives"):
        own = item.get("indicator", Table)
        spec = (own or shared or item).get("spec", Table)
        if spec is None:
            continue
        if spec.given("thresholdMetric"):
            needs_op_and_value(item, report)
        elif spec.given("ratioMetric") and own is None:
            for name in ("op", "value"):
                if item.given(name):
                    report.add(
                        "TR021",
                        f"{name} has no place with a ratioMetric",
                        item.keys[name],
                        path=item.path(name),
                        note="nothing to compare",
                        remedy=f"remove {name}; it belongs to a thresholdMetric",
                    )


def needs_op_and_value(item: Table, report: Report) -> None:
    """Ask an objective for the comparison that its thresholdMetric needs."""
    for name, example in (("op", "lte"), ("value", "300")):
        if not item.given(name):
            report.add(
                "TR013",
                f"{item.path(name)} is missing",
                item.spot.key,
                path=item.path(name),
                note=f"a thresholdMetric needs {name}",
                remedy=f"add `{name}: {example}`",
            )


def needs_whole_slices(item: Table, step_s: int, report: Report) -> None:
    """Ask an objective of a time-based method for a time slice that is made of whole slices of *step_s* seconds."""
    window = item.get("timeSliceWindow", Duration)
    if window is not None and window.seconds % step_s:
        step = duration_text(step_s)
        report.add(
            "TR044",
            f"timeSliceWindow {window} is no whole multiple of the resolution of {step}",
            item.at("timeSliceWindow"),
            path=item.path("timeSliceWindow"),
            note=f"{step}, or a multiple",
            remedy=f"write {duration_text(-(-window.seconds // step_s) * step_s)}, or a tightrope.dev/resolution that "
            "divides it",
        )


_SLO_SPEC = Record(
    {
        "description": DESCRIPTION,
        "service": Field(Text(), True, "Name of the service that makes the promise"),
        "indicator": Field(_INDICATOR, says="The SLI, written out here."),
        "indicatorRef": Field(NAME_REF, says="Name of an SLI."),
        "budgetingMethod": Field(
            Word(tuple(BudgetingMethod)), True, "`Occurrences`, `Timeslices` or `RatioTimeslices`"
        ),
        "timeWindow": Field(
            ListOf(_TIME_WINDOW, 1, 1, remedy="give exactly one time window"), True, "A list of one window"
        ),
        "objectives": Field(ListOf(_OBJECTIVE, 1), True, "A list with at least one target"),
        "alertPolicies": Field(
            ListOf(
                _inline("alertPolicyRef", "AlertPolicy", _ALERT_POLICY_SPEC, "an AlertPolicy or MultiWindowAlertPolicy")
            ),
            says="Who is called when; the four tiers of the SRE Workbook if absent.",
        ),
    },
    rules=(
        OneOf(("indicator", "indicatorRef"), needed=False),
        Law(_indicator_somewhere),
        Law(
            _slices_for_time_methods,
            {
                "allOf": [
                    {
                        "if": {
                            "properties": {"budgetingMethod": {"const": method.value}},
                            "required": ["budgetingMethod"],
                        },
                        "then": {"properties": {"objectives": {"items": {"required": list(names)}}}},
                    }
                    for method, names in _SLICE_FIELDS.items()
                ]
            },
        ),
        Law(
            _op_and_value,
            {
                "if": {
                    "properties": {
                        "indicator": {"properties": {"spec": {"required": ["ratioMetric"]}}, "required": ["spec"]}
                    },
                    "required": ["indicator"],
                },
                "then": {"properties": {"objectives": {"items": {"properties": {"op": False, "value": False}}}}},
            },
        ),
    ),
    name="SLOSpec",
)


# --- our own kinds -----------------------------------------------------------------------------------------------

_PREDICATE_WORDS = ("any", "all", "not", "remaining", "burnRate", "openIncident", "alertFiring", "cel")


def _predicate_fields() -> dict[str, Field]:
    parts = ListOf(Later(lambda: PREDICATE), 1)
    return {
        "any": Field(parts, says="At least one of these holds."),
        "all": Field(parts, says="All of these hold."),
        "not": Field(Later(lambda: PREDICATE), says="This does not hold."),
        "remaining": Field(Bound(), says='Share of the budget left, such as "< 25%".'),
        "burnRate": Field(
            Record(
                {
                    "over": Field(Span(units=_OURS), True, "Lookback, such as 6h"),
                    "is": Field(Bound(), True, 'Comparison, such as ">= 3"'),
                }
            ),
            says="Burn rate over a lookback.",
        ),
        "openIncident": Field(
            ListOf(Text()), says="An incident of one of these severities is open; any, if the list is empty."
        ),
        "alertFiring": Field(
            ListOf(Text()), says="An alert of one of these severities fires; any, if the list is empty."
        ),
        "cel": Field(Text(), says="A CEL expression over remaining, consumed, burn, coverage and incidents."),
    }


PREDICATE: Shape = Record(_predicate_fields(), rules=(OneOf(_PREDICATE_WORDS, code="TR022"),), name="Predicate")
_TRIGGER = Record(
    {**_predicate_fields(), "for": Field(Span(zero=True, units=_OURS), says="How long it must hold first.")},
    rules=(OneOf(_PREDICATE_WORDS, code="TR022"),),
    name="Trigger",
)

_KINDS_OF_CHANGE = ListOf(Word(tuple(ChangeKind)))
_ALLOWS = Either(Word(("all", "none")), _KINDS_OF_CHANGE)

_STATE = Record(
    {
        "name": Field(Text(), True, "Such as feature, caution, stability"),
        "flow": Field(Word(tuple(Flow)), True, "feature or stability"),
        "allows": Field(_ALLOWS, True, "`all`, or a list of kinds of change"),
        "rollout": Field(Word(tuple(ShipHow)), says="How releases go out: standard or guarded."),
        "enter": Field(_TRIGGER, says="When the state begins."),
        "exit": Field(_TRIGGER, says="When it ends."),
        "minimumStay": Field(Span(zero=True, units=_OURS), says="It does not end sooner than this."),
    },
    name="PolicyState",
    synonyms={"ship": "rollout", "allow": "allows", "when": "enter"},
)


def _states_in_order(table: Table, report: Report) -> None:
    states = table.tables("states")
    seen: dict[str, Table] = {}
    for index, state in enumerate(states):
        name = state.text("name")
        for field_name in ("enter", "exit"):
            if index == 0 and state.given(field_name):
                report.add(
                    "TR024",
                    f"the first state holds when no other does, so it has no {field_name}",
                    state.keys[field_name],
                    path=state.path(field_name),
                    remedy=f"remove {field_name}, or put a free state before this one",
                )
            if index > 0 and not state.given(field_name):
                report.add(
                    "TR024",
                    f"state {name or index + 1} has no {field_name}",
                    state.spot.key,
                    path=state.path(field_name),
                    note=f"needs {field_name}",
                    remedy=f"add `{field_name}:`; only the first state has none",
                )
        if name in seen:
            report.add(
                "TR024",
                f"two states are called {name}",
                state.at("name"),
                path=state.path("name"),
                note=f"first on line {seen[name].at('name').line}",
                remedy="rename one",
            )
        elif name:
            seen[name] = state


def _hours_differ(table: Table, report: Report) -> None:
    if table.get("from", int) is not None and table.get("from", int) == table.get("to", int):
        report.add(
            "TR020",
            "from and to are the same time",
            table.at("to"),
            path=table.path("to"),
            remedy='for the whole day write from "00:00" to "24:00"',
        )


_NAMES = ListOf(Text())
_SHARE_OR_OFF = Either(Word(("off",)), Record({"share": Field(Share(), True, "Share of the budget, such as 20%")}))

_POLICY_SPEC = Record(
    {
        "description": DESCRIPTION,
        "services": Field(_NAMES, says="Services it covers; all that no other policy names, if absent."),
        "basis": Field(
            Word(tuple(Basis)), says="Of what the budget is a share while history does not fill the window."
        ),
        "states": Field(ListOf(_STATE, 1), True, "From free to strict"),
        "unknown": Field(
            Record(
                {
                    "passes": Field(_ALLOWS, says="Kinds of change that go while data is stale, with a warning."),
                    "stopAfter": Field(Span(zero=True, units=_OURS), says="The others wait this long, then stop."),
                }
            ),
            says="What follows while telemetry is stale.",
        ),
        "freezes": Field(
            ListOf(
                Record(
                    {
                        "name": Field(Text(), True),
                        "calendar": Field(Text(), True, "An .ics file beside the spec, or its text"),
                        "allows": Field(_ALLOWS, says="What may ship all the same."),
                        "services": Field(_NAMES, says="Services it holds for; all of the policy, if absent."),
                        "environments": Field(_NAMES, says="Environments it holds for; all, if absent."),
                        "reason": Field(Text(empty=True)),
                    }
                )
            ),
            says="Stretches of a calendar without features.",
        ),
        "blackoutHours": Field(
            ListOf(
                Record(
                    {
                        "name": Field(Text(), True),
                        "days": Field(ListOf(Word(DAYS), 1), True, "mon to sun: the days on which it begins"),
                        "from": Field(ClockTime(), True, 'Such as "16:00"'),
                        "to": Field(ClockTime(), True, 'Such as "08:00"; past midnight if smaller than `from`'),
                        "timeZone": Field(Zone(), says="UTC if absent."),
                        "allows": Field(_ALLOWS, says="What may ship all the same."),
                        "environments": Field(_NAMES, says="Environments it holds for; all, if absent."),
                    },
                    rules=(Law(_hours_differ),),
                )
            ),
            says="Hours of the week without features.",
        ),
        "exceptions": Field(
            Record(
                {
                    "count": Field(_WHOLE_FROM_0, True, "Silver bullets a service has in a period"),
                    "per": Field(Word(tuple(PERIODS)), True, "month, quarter or year"),
                    "approvers": Field(_NAMES, says="Who may grant one."),
                    "longest": Field(Span(units=_OURS), says="How long one may last at most; 7d if absent."),
                }
            ),
            says="How many exceptions (silver bullets) there are.",
        ),
        "postmortem": Field(
            _SHARE_OR_OFF, says="An incident that spends more than this share needs a postmortem; or `off`."
        ),
        "recurring": Field(
            _SHARE_OR_OFF, says="A class of outage above this share of a quarter needs an objective; or `off`."
        ),
        "outOfScope": Field(_NAMES, says="Causes that do not count towards the states, such as dependency."),
        "maxConcurrentRollouts": Field(Number(at_least=Fraction(1), whole=True), says="No limit if absent."),
        "rules": Field(
            ListOf(
                Record(
                    {
                        "id": Field(Text(DNS_LABEL), True),
                        "when": Field(Text(), True, "A CEL expression over what the gate knows"),
                        "verdict": Field(Word(("stop", "wait", "warn")), True, "stop, wait or warn"),
                        "message": Field(Text(), True, "What the person reads"),
                    }
                )
            ),
            says="Rules of your own.",
        ),
    },
    rules=(Law(_states_in_order),),
    synonyms={"blackouts": "blackoutHours", "silverBullets": "exceptions"},
)


def _tier_measures(table: Table, report: Report) -> None:
    """Each type of tier has its own threshold: burn rates a budget share or a factor, `consumed` a share."""
    kind = table.text("type", ConditionKind.BURN_RATE)
    if table.given("type") and table.get("type", str) is None:
        return
    wanted = ("share",) if kind == ConditionKind.CONSUMED else ("budget", "factor")
    OneOf(wanted).check(table, report)
    foreign = {"share", "budget", "factor"} - set(wanted)
    if kind != ConditionKind.SIGNIFICANCE:
        foreign.add("confidence")
    if kind == ConditionKind.CONSUMED:
        foreign.add("short")
    for name in sorted(foreign):
        if table.given(name):
            report.add(
                "TR021",
                f"{name} has no place in a tier of type {kind}",
                table.keys[name],
                path=table.path(name),
                remedy=f"remove {name}; this type takes {' or '.join(wanted)}",
            )
    long, short = table.get("long", object), table.get("short", object)
    if long is not None and short is not None and getattr(short, "seconds", 0) > getattr(long, "seconds", 0):
        report.add(
            "TR012",
            f"short ({short}) is longer than long ({long})",
            table.at("short"),
            path=table.path("short"),
            remedy="swap them; short is a twelfth of long where it is absent",
        )


_TIER = Record(
    {
        "name": Field(Text(), True, "Such as page-1h"),
        "severity": Field(Text(), True, "`page`, `ticket` or a word of your own"),
        "type": Field(
            Word(tuple(ConditionKind)),
            says="burnrate; consumed: true share of the budget spent; significance: burn rate, but only when certain.",
        ),
        "budget": Field(Share(), says="Share of the window's budget that is spent within `long`, such as 2%."),
        "factor": Field(Number(above=Fraction(0)), says="Burn rate, such as 14.4, in place of `budget`."),
        "share": Field(Share(), says="For `consumed`: share of the budget."),
        "confidence": Field(Share(), says="For `significance`: how certain, such as 95%."),
        "long": Field(Span(units=_OURS), True, "Long lookback, such as 1h"),
        "short": Field(Span(units=_OURS), says="Short lookback; a twelfth of `long` if absent."),
        "alertAfter": Field(Span(zero=True, units=_OURS), says="How long it must hold first."),
        "atLeastBad": Field(_WHOLE_FROM_0, says="Bad units within `long` below which it never fires."),
        "atLeastTotal": Field(_WHOLE_FROM_0, says="Units within `long` below which it never fires."),
    },
    rules=(Law(_tier_measures),),
    name="AlertTier",
)


def _tier_names_differ(table: Table, report: Report) -> None:
    seen: set[str] = set()
    for tier in table.tables("tiers"):
        name = tier.text("name")
        if name in seen:
            report.add(
                "TR027", f"two tiers are called {name}", tier.at("name"), path=tier.path("name"), remedy="rename one"
            )
        if name:
            seen.add(name)


_MULTI_WINDOW_SPEC = Record(
    {
        "description": DESCRIPTION,
        **_WHEN,
        "tiers": Field(ListOf(_TIER, 1), True, "A list of conditions"),
        "notificationTargets": Field(_TARGETS, says="Who is told."),
    },
    rules=(Law(_tier_names_differ),),
)


_FREQUENCIES = ("DAILY", "WEEKLY", "MONTHLY", "YEARLY")


def _recurs(table: Table, report: Report) -> None:
    rule = table.text("rrule")
    problem = rule and recurrence_problem(rule)
    if problem:
        report.add(
            "TR020",
            f"rrule is no recurrence: {problem}",
            table.at("rrule"),
            path=table.path("rrule"),
            remedy="write an RRULE (RFC 5545) of DAILY, WEEKLY, MONTHLY or YEARLY, such as FREQ=WEEKLY;BYDAY=SU",
        )


def recurrence_problem(rule: str) -> str:
    """Say what is wrong with an RRULE; empty if nothing is."""
    from datetime import UTC, datetime

    from dateutil.rrule import rrulestr

    text = rule.strip().removeprefix("RRULE:")
    if "\n" in text or "=" not in text:
        return "one line of NAME=VALUE parts is needed"
    parts = {name: value for name, _, value in (part.partition("=") for part in text.upper().split(";"))}
    if "COUNT" in parts and "UNTIL" in parts:
        return "it has both COUNT and UNTIL"
    # dateutil wants the start to have a zone where UNTIL has one, and to have none where it has none.
    zoned = re.search(r"UNTIL=\d{8}T\d{6}Z", text, re.IGNORECASE) is not None
    start = datetime(2026, 1, 1, tzinfo=UTC if zoned else None)
    try:
        rrulestr(text, dtstart=start)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError) as error:
        return str(error).partition("\n")[0] or "it cannot be read"
    if parts["FREQ"] not in _FREQUENCIES:
        return f"FREQ={parts['FREQ']} is more often than daily"
    low = next((name for name in ("INTERVAL", "COUNT") if int(parts.get(name, 1)) < 1), "")
    return f"{low} is below 1" if low else ""


_EXCLUSION_SPEC = Record(
    {
        "description": DESCRIPTION,
        "startsAt": Field(LocalTime(), True, "Local time in timeZone: YYYY-MM-DD HH:MM:SS"),
        "duration": Field(Span(units=_OURS), True, "Such as 2h"),
        "timeZone": Field(Zone(), says="UTC if absent."),
        "rrule": Field(Text(), says="Recurrence (RFC 5545), DAILY or rarer, such as FREQ=WEEKLY;BYDAY=SU."),
        "services": Field(_NAMES, says="Services it holds for; all, if absent."),
        "slos": Field(_NAMES, says="SLOs it holds for; all, if absent."),
        "reason": Field(Text(empty=True)),
        "cause": Field(Text(), says="Cause in the attribution; maintenance if absent."),
        "retroactive": Field(Flag(), says="Whether it counts although it was declared after it began."),
        "declaredAt": Field(Instant(), says="When it became known: ISO 8601, UTC unless it says."),
    },
    rules=(Law(_recurs),),
)


def _two_people(table: Table, report: Report) -> None:
    asked, approved = table.text("requestedBy").strip(), table.text("approvedBy").strip()
    if asked and asked.casefold() == approved.casefold():
        report.add(
            "TR025",
            f"{asked} asked for the exception and approved it",
            table.at("approvedBy"),
            path=table.path("approvedBy"),
            note="somebody else approves",
            remedy="let one of the approvers of the policy grant it",
        )
    granted, expires = table.get("grantedAt", int), table.get("expiresAt", int)
    if granted is not None and expires is not None and expires <= granted:
        report.add(
            "TR025",
            "the exception ends before it begins",
            table.at("expiresAt"),
            path=table.path("expiresAt"),
            remedy="write an expiresAt after grantedAt",
        )


_BULLET_SPEC = Record(
    {
        "description": DESCRIPTION,
        "service": Field(Text(), True),
        "requestedBy": Field(Text(), True),
        "approvedBy": Field(Text(), True, "Somebody else than requestedBy"),
        "reason": Field(Text(), True),
        "grantedAt": Field(Instant(), True, "ISO 8601, UTC unless it says"),
        "expiresAt": Field(Instant(), True, "ISO 8601, UTC unless it says"),
        "change": Field(Text(empty=True), says="Commit, tag or release; any, if absent."),
        "environment": Field(Text(empty=True), says="Any, if absent."),
    },
    rules=(Law(_two_people),),
)


_CHANNEL_NEEDS: dict[ChannelType, tuple[tuple[str, ...], frozenset[str]]] = {
    ChannelType.ALERTMANAGER: (
        ("url",),
        frozenset({"url", "urlFrom", "tokenFrom", "user", "passwordFrom"}),
    ),
    ChannelType.PAGERDUTY: (("tokenFrom",), frozenset({"url", "urlFrom", "tokenFrom"})),
    ChannelType.SLACK: (("url",), frozenset({"url", "urlFrom", "tokenFrom", "channel"})),
    ChannelType.WEBHOOK: (
        ("url",),
        frozenset({"url", "urlFrom", "tokenFrom", "secretFrom", "user", "passwordFrom"}),
    ),
    ChannelType.EMAIL: (("url", "from", "to"), frozenset({"url", "urlFrom", "user", "passwordFrom", "from", "to"})),
}
"""For each type of channel the fields of its connection: what it needs, and all that it knows."""

_CONNECTION = ("url", "urlFrom", "tokenFrom", "secretFrom", "passwordFrom", "user", "channel", "from", "to")
_URL_EXAMPLES = {
    ChannelType.ALERTMANAGER: "http://alertmanager:9093",
    ChannelType.PAGERDUTY: "https://events.pagerduty.com",
    ChannelType.SLACK: "https://hooks.slack.com/services/…",
    ChannelType.WEBHOOK: "https://example.org/hooks/tightrope",
    ChannelType.EMAIL: "smtp://mail:587",
}
_MAIL_ADDRESS = re.compile(r"^[^@<>\r\n]*<[^@\s<>]+@[^@\s<>]+>$|^[^@\s<>]+@[^@\s<>]+$")
_SECRET_URL = re.compile(
    r"//[^/\s@]*:[^/\s@]+@|hooks\.slack\.com/services/\w|[?&](key|token|secret|password|sig)=", re.IGNORECASE
)


def _channel_connects(table: Table, report: Report) -> None:
    """Each type of channel has fields of its own; a Slack channel has an address, or a token and a room."""
    word = table.get("type", str)
    if word is None:
        return
    kind = ChannelType(word)
    needed, known = _CHANNEL_NEEDS[kind]
    if kind is ChannelType.SLACK and (table.given("tokenFrom") or table.given("channel")):
        needed = ("tokenFrom", "channel")
    for name in needed:
        if table.given(name) or (name == "url" and table.given("urlFrom")):
            continue
        hint = f"a channel of type {kind} needs {'url or urlFrom' if name == 'url' else name}"
        remedy = f"add `{name}: {_URL_EXAMPLES[kind]}`" if name == "url" else f"add `{name}:`"
        if name == "url" and kind is ChannelType.SLACK:
            remedy = "add `urlFrom: {env: SLACK_URL}`, or tokenFrom and channel"
        report.add(
            "TR013", f"{table.path(name)} is missing", table.spot.key, path=table.path(name), note=hint, remedy=remedy
        )
    for name in _CONNECTION:
        if table.given(name) and name not in known:
            report.add(
                "TR021",
                f"{name} has no place in a channel of type {kind}",
                table.keys[name],
                path=table.path(name),
                remedy=f"remove {name}",
            )
    urls = (table.text("url"),) if table.get("url", str) else table.texts("url")
    if len(urls) > 1 and kind is not ChannelType.ALERTMANAGER:
        report.add(
            "TR019",
            "only Alertmanagers may be several",
            table.at("url"),
            path=table.path("url"),
            remedy="give one url; for more, make more channels",
        )
    recipients = (table.text("to"),) if table.get("to", str) else table.texts("to")
    for name, addresses in (("from", (table.text("from"),)), ("to", recipients)):
        wrong = next((one for one in addresses if table.given(name) and not _MAIL_ADDRESS.search(one)), "")
        if wrong:
            report.add(
                "TR015",
                f"{name} {wrong[:60]!r} is no mail address",
                table.at(name),
                path=table.path(name),
                remedy="write one such as oncall@example.org, or Name <oncall@example.org>",
            )
    schemes = ("smtp", "smtps") if kind is ChannelType.EMAIL else ("http", "https")
    for url in urls:
        if not re.match(rf"({'|'.join(schemes)})://[^/\s:@]", re.sub(r"//[^/@\s]*@", "//", url)):
            report.add(
                "TR015",
                f"url {url.partition('?')[0][:60]!r} is no address that a channel of type {kind} can use",
                table.at("url"),
                path=table.path("url"),
                remedy=f"write one such as {_URL_EXAMPLES[kind]}",
            )
        elif _SECRET_URL.search(url):
            report.add(
                "TR046",
                "the url holds a secret",
                table.at("url"),
                path=table.path("url"),
                note="everybody who reads this file can use it",
                remedy="put it into an environment variable, and write urlFrom: {env: NAME}",
            )


_CHANNEL_SPEC = Record(
    {
        "description": DESCRIPTION,
        "type": Field(Word(tuple(ChannelType)), True, "alertmanager, pagerduty, slack, webhook or email"),
        "url": Field(Either(Text(), ListOf(Text(), 1)), says="Address; or a list of equal Alertmanagers."),
        "urlFrom": Field(SECRET, says="Where the address is, if it is a secret, as Slack's are."),
        "tokenFrom": Field(SECRET, says="Slack's bot token, PagerDuty's routing key, or a bearer token."),
        "secretFrom": Field(SECRET, says="Key that a webhook is signed with (Standard Webhooks), whsec_… or base64."),
        "user": Field(Text(), says="User of basic authentication, or of the mail server."),
        "passwordFrom": Field(SECRET, says="The password of `user`."),
        "channel": Field(Text(), says="Slack's channel, with tokenFrom."),
        "from": Field(Text(), says="Sender of mail."),
        "to": Field(Either(Text(), ListOf(Text(), 1)), says="Recipients of mail."),
        "severities": Field(ListOf(Text()), says="Only alerts of these severities; all, if absent."),
        "services": Field(_NAMES, says="Only these services; all, if absent."),
        "default": Field(Flag(), says="Whether it is told of alerts that name no channel."),
        "repeatInterval": Field(
            Span(zero=True, units=_OURS),
            says="How often to tell again of what still fires; 4h if absent, never for alertmanager and pagerduty.",
        ),
        "sendResolved": Field(Flag(), says="Whether it is told of the end; true if absent."),
        "what": Field(
            ListOf(Word(tuple(Topic)), 1),
            says="alerts, flow; alerts if absent, and flow as well for a default channel that people read.",
        ),
    },
    rules=(OneOf(("url", "urlFrom"), needed=False), Needs("passwordFrom", ("user",)), Law(_channel_connects)),
    synonyms={"urls": "url", "webhook": "url", "token": "tokenFrom", "secret": "secretFrom", "recipients": "to"},
)


def _kind(version: str, kind: str, spec: Shape, says: str, metadata: Record = METADATA) -> Record:
    return Record(
        {
            "apiVersion": Field(Word((version,)), True),
            "kind": Field(Word((kind,)), True),
            "metadata": Field(metadata, True, "With at least a name"),
            "spec": Field(spec, kind != "Service"),
        },
        says=says,
    )


KINDS: dict[str, dict[str, Record]] = {
    OPENSLO: {
        "Service": _kind(
            OPENSLO,
            "Service",
            Record({"description": DESCRIPTION}),
            "A thing that users depend on.",
            _metadata(SERVICE_ANNOTATIONS, "ServiceMetadata"),
        ),
        "DataSource": _kind(
            OPENSLO,
            "DataSource",
            Record(
                {
                    "description": DESCRIPTION,
                    "type": Field(Text(), True, "Such as csv, access-log or prometheus"),
                    "connectionDetails": Field(Anything(), True, "How to reach it"),
                }
            ),
            "Where telemetry comes from.",
        ),
        "SLI": _kind(OPENSLO, "SLI", SLI_SPEC, "How something is measured."),
        "SLO": _kind(OPENSLO, "SLO", _SLO_SPEC, "A promise on one service.", _metadata(ANNOTATIONS, "SloMetadata")),
        "AlertPolicy": _kind(OPENSLO, "AlertPolicy", _ALERT_POLICY_SPEC, "Who is called when."),
        "AlertCondition": _kind(OPENSLO, "AlertCondition", _CONDITION_SPEC, "What fires an alert."),
        "AlertNotificationTarget": _kind(OPENSLO, "AlertNotificationTarget", _TARGET_SPEC, "Who is told."),
    },
    TIGHTROPE: {
        "ErrorBudgetPolicy": _kind(TIGHTROPE, "ErrorBudgetPolicy", _POLICY_SPEC, "What happens as the budget goes."),
        "MultiWindowAlertPolicy": _kind(
            TIGHTROPE, "MultiWindowAlertPolicy", _MULTI_WINDOW_SPEC, "Who is called when, with many conditions."
        ),
        "Exclusion": _kind(TIGHTROPE, "Exclusion", _EXCLUSION_SPEC, "Time that does not count."),
        "SilverBullet": _kind(TIGHTROPE, "SilverBullet", _BULLET_SPEC, "A granted exception."),
        "NotificationChannel": _kind(TIGHTROPE, "NotificationChannel", _CHANNEL_SPEC, "Where messages go."),
        "Integration": _kind(
            TIGHTROPE, "Integration", integration_spec(DESCRIPTION), "Who tells of changes, and asks the gate."
        ),
        "RolloutStrategy": _kind(
            TIGHTROPE, "RolloutStrategy", rollout_spec(DESCRIPTION), "How a service is released, and for what price."
        ),
        "Pipeline": _kind(TIGHTROPE, "Pipeline", pipeline_spec(DESCRIPTION), "From a commit to production, and back."),
        "PolicyTest": _kind(TIGHTROPE, "PolicyTest", AnyMap(), "A scenario that a policy must pass."),
    },
}
"""Every kind by its apiVersion and name."""

ANNOTATED: Mapping[str, Mapping[str, Field]] = {"SLO": ANNOTATIONS, "Service": SERVICE_ANNOTATIONS}
"""The annotations of ours that each kind may have."""
