"""From checked OpenSLO documents to plain values: references resolved, numbers exact, every value knowing its place."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from fractions import Fraction
from typing import Any

from tightrope.base.errors import Place
from tightrope.base.units import Duration
from tightrope.base.values import dataclass, field
from tightrope.specs.defaults import burn_factor
from tightrope.specs.documents import Document, Library
from tightrope.specs.kinds import PREFIX, needs_op_and_value, needs_whole_slices
from tightrope.specs.lints import lint_conditions, lint_resolution, lint_source, told_step_s
from tightrope.specs.model import (
    AlertPolicy,
    Basis,
    BudgetingMethod,
    CalendarWindow,
    Comparison,
    Condition,
    ConditionKind,
    DataSource,
    Gaps,
    Indicator,
    MetricSource,
    Objective,
    RatioMetric,
    RollingWindow,
    Slo,
    ThresholdMetric,
    Window,
    questions_of,
)
from tightrope.specs.positions import MapNode, Node, clipped, plain_value
from tightrope.specs.settings import tell_unknown_connection, tell_unknown_metric
from tightrope.specs.shapes import Table, nearest

_SHORT_PART = 12  # the short lookback is a twelfth of the long one (SRE Workbook ch. 5)
_CONFIDENCE = Fraction(95, 100)


@dataclass(slots=True)
class Reader:
    """Builds values from the documents of a library; what refers to nothing becomes a finding, once."""

    library: Library
    _indicators: dict[str, Indicator | None] = field(default_factory=dict)
    _types: dict[Place, tuple[Place, str]] = field(default_factory=dict)  # of each source: where its type is written

    def slos(self) -> tuple[Slo, ...]:
        """All SLOs that are good; the references of every other document are looked at as well."""
        for document in self.library.of_kind("DataSource"):
            details, path = document.spec.nodes.get("connectionDetails"), document.spec.path("connectionDetails")
            tell_unknown_connection(document.spec.text("type"), details, path, self.library.report)
        for document in self.library.of_kind("SLI"):
            self._indicator_of(document)
        for document in self.library.of_kind("AlertPolicy", "MultiWindowAlertPolicy"):
            self._alert_policy_of(document, 0)
        return tuple(slo for document in self.library.of_kind("SLO") if (slo := self._slo(document)) is not None)

    def services(self) -> dict[str, str]:
        """Service documents: name, and display name or description."""
        return {
            document.name: document.metadata.text("displayName") or document.spec.text("description")
            for document in self.library.of_kind("Service")
        }

    # --- indicators ----------------------------------------------------------------------------------------------

    def _indicator_at(self, table: Table, folder: str) -> Indicator | None:
        """The SLI of an SLO or of a member of a composite, inlined or referred to; None if absent or bad."""
        inline = table.get("indicator", Table)
        if inline is not None:
            metadata, spec = inline.get("metadata", Table), inline.get("spec", Table)
            return self._indicator(metadata.text("name"), spec, folder) if metadata and spec else None
        name = table.text("indicatorRef")
        if not name:
            return None
        document = self.library.find("SLI", name, table.at("indicatorRef"), table.path("indicatorRef"))
        return self._indicator_of(document) if document else None

    def _indicator_of(self, document: Document) -> Indicator | None:
        if document.name not in self._indicators:
            built = self._indicator(document.name, document.spec, document.folder)
            self._indicators[document.name] = built if document.good else None
        return self._indicators[document.name]

    def _indicator(self, name: str, spec: Table, folder: str) -> Indicator | None:
        threshold, ratio = spec.get("thresholdMetric", Table), spec.get("ratioMetric", Table)
        if threshold is not None:
            source = self._metric_source(name, threshold, folder)
            return Indicator(name, ThresholdMetric(source), spec.place) if source else None
        if ratio is None:
            return None
        sources: dict[str, MetricSource] = {}
        parts = [part for part in ("good", "bad", "total", "raw") if ratio.given(part)]
        for part in parts:
            metric = ratio.get(part, Table)
            source = self._metric_source(name, metric, folder) if metric else None
            if source is not None:
                sources[part] = source
        if len(sources) < len(parts):
            return None
        raw_type = ratio.get("rawType", str) if "raw" in sources else None
        return Indicator(
            name, RatioMetric(**sources, raw_type=raw_type, counter=bool(ratio.get("counter", bool))), spec.place
        )

    def _metric_source(self, indicator: str, metric: Table, folder: str) -> MetricSource | None:
        table = metric.get("metricSource", Table)
        question = table.get("spec", MapNode) if table else None
        if table is None or question is None:
            return None
        spec = _mapping(question)
        if not table.given("metricSourceRef"):
            kind = table.text("type")
            # Without a DataSource the details of the connection can stand beside the question.
            connection = spec.pop("connectionDetails", None)
            source = DataSource(
                f"{indicator}/{kind}", kind, connection if isinstance(connection, dict) else {}, folder, table.place
            )
            self._types[source.place] = table.at("type"), table.path("type")
            tell_unknown_metric(kind, question, table.path("spec"), self.library.report, inlined=True)
            details, path = question.get("connectionDetails"), f"{table.path('spec')}.connectionDetails"
            tell_unknown_connection(kind, details, path, self.library.report)
            return MetricSource(source, spec, table.at("spec"))
        name = table.text("metricSourceRef")
        if not name:
            return None
        document = self.library.find("DataSource", name, table.at("metricSourceRef"), table.path("metricSourceRef"))
        if document is None or not document.good:
            return None
        self._types[document.place] = document.spec.at("type"), document.spec.path("type")
        kind = document.spec.text("type")
        tell_unknown_metric(kind, question, table.path("spec"), self.library.report, inlined=False)
        return MetricSource(_data_source(document), spec, table.at("spec"))

    # --- alerting ------------------------------------------------------------------------------------------------

    def _alert_policies(self, spec: Table, window_s: int) -> tuple[tuple[AlertPolicy, tuple[Table, ...]], ...] | None:
        """The alert policies of an SLO with the tables of their conditions; None if one of them is bad."""
        found = []
        for item in spec.tables("alertPolicies"):
            built = self._alert_policy_at(item, window_s)
            if built is None:
                return None
            found.append(built)
        return tuple(found)

    def _alert_policy_at(self, item: Table, window_s: int) -> tuple[AlertPolicy, tuple[Table, ...]] | None:
        inline = item.get("spec", Table)
        if inline is not None:
            metadata = item.get("metadata", Table)
            return self._open_alert_policy(metadata.text("name") if metadata else "", inline)
        name = item.text("alertPolicyRef")
        document = (
            self.library.find("AlertPolicy", name, item.at("alertPolicyRef"), item.path("alertPolicyRef"))
            if name
            else None
        )
        return self._alert_policy_of(document, window_s) if document else None

    def _alert_policy_of(self, document: Document, window_s: int) -> tuple[AlertPolicy, tuple[Table, ...]] | None:
        if document.kind == "AlertPolicy":
            built = self._open_alert_policy(document.name, document.spec)
        else:
            tiers = document.spec.tables("tiers")
            conditions = tuple(_tier(tier, window_s) for tier in tiers) if document.good else ()
            built = self._policy(document.name, document.spec, conditions), tiers
        return built if document.good else None

    def _open_alert_policy(self, name: str, spec: Table) -> tuple[AlertPolicy, tuple[Table, ...]] | None:
        conditions: list[Condition] = []
        tables: list[Table] = []
        for item in spec.tables("conditions"):
            table, label = item.get("spec", Table), item.get("metadata", Table)
            title = label.text("name") if label else ""
            if table is None and item.text("conditionRef"):
                title = item.text("conditionRef")
                document = self.library.find(
                    "AlertCondition", title, item.at("conditionRef"), item.path("conditionRef")
                )
                table = document.spec if document and document.good else None
            condition = _condition(title, table) if table else None
            if table is not None and condition is not None:
                conditions.append(condition)
                tables.append(table.get("condition", Table) or table)
        policy = self._policy(name, spec, tuple(conditions))
        return (policy, tuple(tables)) if conditions else None

    def _policy(self, name: str, spec: Table, conditions: tuple[Condition, ...]) -> AlertPolicy:
        return AlertPolicy(
            name=name,
            conditions=conditions,
            notification_targets=self._targets(spec),
            alert_when_no_data=spec.get("alertWhenNoData", bool),
            alert_when_breaching=spec.get("alertWhenBreaching", bool),
            alert_when_resolved=spec.get("alertWhenResolved", bool),
            place=spec.place,
        )

    def _targets(self, spec: Table) -> tuple[str, ...]:
        """The channels that the targets name, by ``spec.target`` or by their own name; else what they say."""
        found: list[str] = []
        for item in spec.tables("notificationTargets"):
            inline, name = item.get("spec", Table), item.text("targetRef")
            if name and ("AlertNotificationTarget", name) not in self.library.by_name and self._is_channel(name):
                found.append(name)
                continue
            if inline is None and name:
                document = self.library.find(
                    "AlertNotificationTarget", name, item.at("targetRef"), item.path("targetRef")
                )
                inline = document.spec if document else None
            elif inline is not None:
                metadata = item.get("metadata", Table)
                name = metadata.text("name") if metadata else ""
            if inline is not None:
                found.append(self._channel(inline.text("target"), name, inline.at("target"), inline.path("target")))
        return tuple(found)

    def _is_channel(self, name: str) -> bool:
        return ("NotificationChannel", name) in self.library.by_name

    def _channel(self, target: str, name: str, place: Place, path: str) -> str:
        """Find the channel that a target means; a warning where there are channels, but not this one."""
        for meant in (target, name):
            if meant and self._is_channel(meant):
                return meant
        known = [other for kind, other in self.library.by_name if kind == "NotificationChannel"]
        if known and target and not self.library.report.unread:
            close = nearest(target, known) or nearest(name, known)
            self.library.report.add(
                "TR045",
                f"there is no NotificationChannel called {clipped(target)!r}"
                + (f" or {clipped(name)!r}" if name and name != target else ""),
                place,
                path=path,
                note=f"did you mean {close}?" if close else "",
                remedy=f"write {close}" if close else "add the channel; until then the default channels are told",
            )
        return target

    # --- the SLO -------------------------------------------------------------------------------------------------

    def _slo(self, document: Document) -> Slo | None:
        spec, report = document.spec, self.library.report
        errors_before = report.errors()
        indicator = self._indicator_at(spec, document.folder)
        members = tuple((table, self._indicator_at(table, document.folder)) for table in spec.tables("objectives"))
        window = _window(spec)
        policies = self._alert_policies(spec, window.duration.seconds if window else 0)
        annotations = document.metadata.values
        policy = annotations.get(f"{PREFIX}policy")
        if isinstance(policy, str):
            node = document.metadata.nodes.get("annotations")
            value = node.get(f"{PREFIX}policy") if isinstance(node, MapNode) else None
            place = value.place if value else document.place
            self.library.find("ErrorBudgetPolicy", policy, place, f"metadata.annotations.{PREFIX}policy")
        for table, own in members:
            measured = own or indicator
            if measured and isinstance(measured.metric, ThresholdMetric) and document.good:
                needs_op_and_value(table, report)
        own_indicators = all(own is not None for _, own in members)
        complete = policies is not None and (indicator is not None or own_indicators)
        if not document.good or window is None or not complete or report.errors() > errors_before:
            return None
        slo = Slo(
            name=document.name,
            service=spec.text("service"),
            method=BudgetingMethod(spec.text("budgetingMethod")),
            window=window,
            objectives=tuple(_objective(table, own) for table, own in members),
            indicator=indicator,
            alert_policies=tuple(_named_apart(policy for policy, _ in policies or ())),
            description=spec.text("description"),
            display_name=document.metadata.text("displayName"),
            labels=_labels(document.metadata),
            place=document.place,
            **_annotated(annotations),
        )
        for policy_read, tables in policies or ():
            lint_conditions(slo, tuple(zip(policy_read.conditions, tables, strict=True)), report)
        lint_resolution(slo, spec, report)
        for source in sources_of(slo):
            lint_source(source.type, *self._types[source.place], report)
        step_s = told_step_s(slo)
        if step_s is not None and slo.method is not BudgetingMethod.OCCURRENCES:
            for table, _ in members:
                needs_whole_slices(table, step_s, report)
        return slo


def sources_of(slo: Slo) -> tuple[DataSource, ...]:
    """The data sources that an SLO is measured by, in the order of its objectives; one may come several times."""
    return tuple(question.source for question in questions_of(slo))


def _data_source(document: Document) -> DataSource:
    details = document.spec.get("connectionDetails", object)
    return DataSource(
        name=document.name,
        type=document.spec.text("type"),
        connection=_mapping(details) if isinstance(details, Node) else {},
        folder=document.folder,
        place=document.place,
    )


def _mapping(node: Node) -> dict[str, Any]:
    """Connection details as one mapping: a list of mappings is joined, a single value stands under ``value``."""
    value = plain_value(node)
    if isinstance(value, dict):
        return value
    if isinstance(value, list) and all(isinstance(item, dict) for item in value):
        return {key: part for item in value for key, part in item.items()}
    return {"value": value}


def _condition(name: str, spec: Table) -> Condition | None:
    table = spec.get("condition", Table)
    lookback, threshold = (
        (table.get("lookbackWindow", Duration), table.get("threshold", Fraction)) if table else (None, None)
    )
    if table is None or lookback is None or threshold is None:
        return None
    after = table.get("alertAfter", Duration)
    return Condition(
        name=name,
        severity=spec.text("severity"),
        threshold=threshold,
        lookbacks_s=(lookback.seconds,),
        op=Comparison(table.text("op", Comparison.GTE)),
        alert_after_s=after.seconds if after else 0,
        place=table.at("threshold"),
    )


def _tier(tier: Table, window_s: int) -> Condition:
    """One tier of a MultiWindowAlertPolicy; a budget share becomes a burn factor by the SLO's window."""
    kind = ConditionKind(tier.text("type", ConditionKind.BURN_RATE))
    long, short = tier.get("long", Duration), tier.get("short", Duration)
    long_s = long.seconds if long else 0
    after = tier.get("alertAfter", Duration)
    if kind is ConditionKind.CONSUMED:
        lookbacks: tuple[int, ...] = (long_s,)
        measure = "share"
        threshold = tier.get("share", Fraction) or Fraction(0)
    else:
        lookbacks = (long_s, short.seconds if short else max(1, long_s // _SHORT_PART))
        measure = "factor" if tier.given("factor") else "budget"
        share = tier.get("budget", Fraction) or Fraction(0)
        threshold = tier.get("factor", Fraction) or burn_factor(share, window_s, max(1, long_s))
    significance = kind is ConditionKind.SIGNIFICANCE
    return Condition(
        name=tier.text("name"),
        severity=tier.text("severity"),
        threshold=threshold,
        lookbacks_s=lookbacks,
        kind=kind,
        alert_after_s=after.seconds if after else 0,
        at_least_bad=_count(tier, "atLeastBad"),
        at_least_total=_count(tier, "atLeastTotal"),
        confidence=(tier.get("confidence", Fraction) or _CONFIDENCE) if significance else None,
        place=tier.at(measure),
    )


def _count(table: Table, name: str) -> int:
    number = table.get(name, Fraction)
    return int(number) if number is not None else 0


def _named_apart(policies: Any) -> list[AlertPolicy]:
    """Give conditions of the same name in different policies the name of their policy as well."""
    from collections import Counter
    from dataclasses import replace

    listed = list(policies)
    names = Counter(condition.name for policy in listed for condition in policy.conditions)
    return [
        replace(
            policy,
            conditions=tuple(
                replace(condition, name=f"{policy.name}/{condition.name}") if names[condition.name] > 1 else condition
                for condition in policy.conditions
            ),
        )
        for policy in listed
    ]


def _window(spec: Table) -> Window | None:
    table = next(iter(spec.tables("timeWindow")), None)
    duration = table.get("duration", Duration) if table else None
    if table is None or duration is None:
        return None
    calendar = table.get("calendar", Table)
    if calendar is None:
        return RollingWindow(duration)
    start = calendar.get("startTime", datetime)
    return CalendarWindow(duration, start, calendar.text("timeZone")) if start else None


def _objective(table: Table, own: Indicator | None) -> Objective:
    target, percent = table.get("target", Fraction), table.get("targetPercent", Fraction)
    op = table.text("op")
    return Objective(
        target=target if target is not None else (percent or Fraction(0)) / 100,
        display_name=table.text("displayName"),
        op=Comparison(op) if op else None,
        value=table.get("value", Fraction),
        time_slice_target=table.get("timeSliceTarget", Fraction),
        time_slice_window=table.get("timeSliceWindow", Duration),
        indicator=own,
        weight=table.get("compositeWeight", Fraction) or Fraction(1),
        place=table.place,
    )


def _annotated(values: Mapping[str, object]) -> dict[str, Any]:
    """The fields of an SLO that our annotations set; absent ones keep the model's defaults."""
    fields: dict[str, Any] = {}
    for name, value in values.items():
        match name.removeprefix(PREFIX), value:
            case "resolution", Duration():
                fields["step_s"] = value.seconds
            case "gaps", str():
                fields["gaps"] = Gaps(value)
            case "basis", str():
                fields["basis"] = Basis(value)
            case "staleAfter", Fraction():
                fields["stale_after"] = int(value)
            case "scale", Fraction():
                fields["scale"] = int(value)
            case "policy" | "owner" as plain, str():
                fields[plain] = value
            case "dependsOn", str():
                fields["depends_on"] = tuple(part.strip() for part in value.split(",") if part.strip())
            case "compositeTarget", Fraction():
                fields["composite_target"] = value
            case _:
                pass  # the metadata's own fields
    return fields


def _labels(metadata: Table) -> dict[str, tuple[str, ...]]:
    labels = metadata.get("labels", dict) or {}
    return {key: (value,) if isinstance(value, str) else tuple(value) for key, value in labels.items()}
