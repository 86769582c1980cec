"""The catalogue of findings: what each code means and how a good spec looks. ``tightrope explain TR012`` reads it."""

from __future__ import annotations

from tightrope.base.values import dataclass


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule that a spec can break.

    Attributes:
        code: Stable id; codes are never reused.
        title: The rule in one line.
        severity: ``error`` or ``warning``; a warning never stops anything.
        says: Why the rule exists, and what to do.
        example: YAML that keeps it.
    """

    code: str
    title: str
    severity: str
    says: str
    example: str


def _error(code: str, title: str, says: str, example: str) -> Rule:
    return Rule(code, title, "error", says, example.strip("\n"))


def _warning(code: str, title: str, says: str, example: str) -> Rule:
    return Rule(code, title, "warning", says, example.strip("\n"))


_RULES = (
    _error(
        "TR001",
        "The file is not YAML or JSON",
        "The text breaks the grammar of YAML (of which JSON is a part), so nothing after this place can be read. The "
        "most common causes are wrong indentation, an open bracket or quote, and text with `: ` in it that needs "
        "quotes.",
        'description: "Search: answers within 300 ms"',
    ),
    _error(
        "TR002",
        "A tab indents a line",
        "YAML allows only spaces for indentation. Let the editor write spaces for `*.yaml`.",
        "spec:\n  service: checkout",
    ),
    _error(
        "TR003",
        "A key is given twice",
        "In one mapping each key may stand once. Readers differ in which of two they take, so neither is safe.",
        "objectives:\n  - target: 0.999",
    ),
    _error(
        "TR004",
        "There is no spec here",
        "The file is empty or holds comments only, or the directory holds no spec.",
        "apiVersion: openslo/v1\nkind: Service\nmetadata: {name: checkout}\nspec: {}",
    ),
    _error(
        "TR005",
        "The file is not UTF-8",
        "Specs are read as UTF-8. Some editors still save in a national encoding, or in UTF-16.",
        "metadata: {name: kasse, displayName: Käse-Kasse}",
    ),
    _error(
        "TR006",
        "The file is too large",
        "A spec has at most 4 MiB, 64 levels and 200,000 values with all aliases written out. More than that is an "
        "accident, such as a data file under the name of a spec, or an attack.",
        "# many small files in one directory are read together",
    ),
    _error(
        "TR007",
        "An anchor, alias or tag cannot be used",
        "An alias needs its anchor earlier in the same document and outside of itself. Tags other than YAML's own "
        "types mean nothing here.",
        "labels: &labels {team: [payments]}\nother: *labels",
    ),
    _error(
        "TR008",
        "This document is not ours",
        "A file that is named on the command line must hold OpenSLO (`openslo/v1`) or Tightrope (`tightrope.dev/v1`) "
        "documents only.",
        "apiVersion: openslo/v1\nkind: SLO",
    ),
    _error(
        "TR009",
        "The file cannot be opened",
        "The operating system refuses: the permission is missing, or it is not a regular file.",
        "tightrope validate slo/",
    ),
    _error(
        "TR010",
        "Unknown kind",
        "The `apiVersion` is known but has no such kind. OpenSLO v1 has seven; ours are ErrorBudgetPolicy, "
        "MultiWindowAlertPolicy, Exclusion, SilverBullet, NotificationChannel, Integration, RolloutStrategy, "
        "Pipeline and PolicyTest.",
        "apiVersion: tightrope.dev/v1\nkind: ErrorBudgetPolicy",
    ),
    _error(
        "TR011",
        "Unknown field",
        "A field that nobody reads is most often a typing error, and what it should have set is then silently missing. "
        "So every unknown field is refused, at every level, as the OpenSLO SDK does.",
        "spec:\n  budgetingMethod: Occurrences",
    ),
    _error(
        "TR012",
        "A number is out of range",
        "For `target` this is most often a percentage where OpenSLO wants a ratio. A target of exactly 1 (100 %) "
        "leaves no error budget, so there is nothing to manage; take the highest target you can defend, such as "
        "0.9999.",
        "objectives:\n  - target: 0.999        # or: targetPercent: 99.9",
    ),
    _error(
        "TR013",
        "A required field is missing",
        "The document cannot mean anything without this field.",
        "metadata:\n  name: checkout-availability",
    ),
    _error(
        "TR014",
        "A value has the wrong type",
        "A list stands where a mapping should, text where a number should, and so on. Numbers and `true` become text "
        "in quotes.",
        'annotations:\n  tightrope.dev/staleAfter: "15"',
    ),
    _error(
        "TR015",
        "A name or text has the wrong form",
        "Names are DNS labels (RFC 1123): at most 63 characters of a-z, 0-9 and `-`, with a letter or digit at both "
        "ends. Label and annotation keys and lengths of text follow OpenSLO.",
        "metadata:\n  name: checkout-availability",
    ),
    _error(
        "TR016",
        "Not one of the allowed words",
        "The field takes a word of a fixed list, in exactly that spelling.",
        "budgetingMethod: Timeslices",
    ),
    _error(
        "TR017",
        "Not a duration",
        "A duration is a whole number and one unit: `m` minute, `h` hour, `d` day, `w` week, `M` month, `Q` quarter, "
        "`Y` year; our own kinds know `s` as well. OpenSLO's text also speaks of bare minutes; its SDK, and so we, do "
        "not.",
        "timeSliceWindow: 5m",
    ),
    _error(
        "TR018",
        "Fields that exclude or need each other",
        "Of some fields exactly one may be given (`target` or `targetPercent`), and some need another beside them.",
        "ratioMetric:\n  good: …\n  total: …",
    ),
    _error(
        "TR019",
        "A list is too short or too long",
        "OpenSLO allows exactly one time window and exactly one condition in an AlertPolicy. For several conditions, "
        "use a MultiWindowAlertPolicy.",
        "timeWindow:\n  - duration: 28d\n    isRolling: true",
    ),
    _error(
        "TR020",
        "Not a date, time, time zone or recurrence",
        "Zones are IANA names such as `Europe/Berlin`; abbreviations such as `CET` hide daylight saving. Local times "
        "carry no offset, since the zone stands beside them. Recurrences are RRULEs (RFC 5545), DAILY or rarer.",
        "calendar:\n  startTime: 2026-01-01 00:00:00\n  timeZone: Europe/Berlin",
    ),
    _error(
        "TR021",
        "A field has no place here",
        "`op` and `value` compare the value of a thresholdMetric. A ratioMetric has nothing to compare, and the "
        "OpenSLO SDK forbids them there (some examples of the standard still carry them).",
        "ratioMetric: …\nobjectives:\n  - target: 0.999",
    ),
    _error(
        "TR022",
        "Not a condition",
        "A condition holds exactly one of remaining, burnRate, openIncident, alertFiring, cel, all, any, not. Bounds "
        'are text with an operator and a number: `"< 25%"`. A CEL expression names facts that exist.',
        'enter: {any: [{remaining: "< 25%"}, {burnRate: {over: 6h, is: ">= 3"}}]}',
    ),
    _error(
        "TR023",
        "An annotation of ours is wrong",
        "Annotations with the prefix `tightrope.dev/` say what OpenSLO has no field for; they belong on an SLO, and "
        "unknown ones are refused, since nobody would read them.",
        "metadata:\n  annotations:\n    tightrope.dev/resolution: 5m",
    ),
    _error(
        "TR024",
        "The states of a policy do not add up",
        "States are ordered from free to strict. The first one holds when no other does, so it has neither `enter` nor "
        "`exit`; each later one needs both, and names are unique.",
        "states:\n  - {name: feature, flow: feature, allows: all}\n"
        '  - {name: stability, flow: stability, allows: [reliability], enter: {remaining: "<= 0%"}, '
        'exit: {remaining: ">= 10%"}}',
    ),
    _error(
        "TR025",
        "A silver bullet is not valid",
        "An exception is granted by somebody other than who asks for it, and ends after it begins.",
        "requestedBy: mara\napprovedBy: sre-lead\ngrantedAt: 2026-03-12T10:00:00Z\nexpiresAt: 2026-03-12T18:00:00Z",
    ),
    _error(
        "TR026",
        "A reference leads nowhere",
        "The document that this name refers to is not among the files that were read. Give its file as well, or the "
        "directory of all specs.",
        "indicatorRef: checkout-success      # metadata.name of an SLI",
    ),
    _error(
        "TR027",
        "Two documents have the same name",
        "Within a kind, names are unique, over all files that are read together. AlertPolicy and "
        "MultiWindowAlertPolicy share their names, because `alertPolicyRef` may mean either.",
        "kind: SLO\nmetadata: {name: checkout-availability}",
    ),
    _error(
        "TR028",
        "A calendar cannot be read",
        "A freeze names an iCalendar file, relative to the spec, or holds its text. Every event in it needs a start, a "
        "recurrence that can be read, and a time zone that is known.",
        "freezes:\n  - name: holidays\n    calendar: holidays.ics",
    ),
    _error(
        "TR029",
        "This version of OpenSLO is not supported",
        "Tightrope reads `openslo/v1`. Documents of v1alpha and v2alpha have other fields and must be rewritten.",
        "apiVersion: openslo/v1",
    ),
    _error(
        "TR030",
        "Two policies cover the same service",
        "Each service follows one error budget policy. A policy without `services` covers all that no other names, and "
        "there may be one such policy.",
        "kind: ErrorBudgetPolicy\nspec:\n  services: [checkout]",
    ),
    _warning(
        "TR031",
        "The alert can never fire",
        "A burn rate is the error ratio divided by 1 - target, and the error ratio ends at 100 %. At a target of 90 % "
        "the burn rate cannot pass 10, so a threshold of 14.4 is never met. Lower the threshold, or raise the target.",
        "factor: 6        # at target 0.9: needs an error ratio of 60 %",
    ),
    _warning(
        "TR032",
        "The alert fires when all is well",
        "With `op: lte` or `lt` a burn-rate condition holds while the burn rate is low, which is always but in an "
        "outage. Some examples of the standard have this mistake.",
        "condition: {kind: burnrate, op: gte, threshold: 14.4, lookbackWindow: 1h}",
    ),
    _warning(
        "TR033",
        "The time window is very short",
        "`1m` is one minute; a month is `1M`. A window below an hour gives a budget that one request can exhaust.",
        "timeWindow:\n  - duration: 1M\n    isRolling: false",
    ),
    _warning(
        "TR034",
        "A target of 0 cannot be missed",
        "Every unit may fail, so no alert is possible and the budget never ends.",
        "objectives:\n  - target: 0.95",
    ),
    _warning(
        "TR035",
        "The target allows less than a minute of outage",
        "No alert and no person is fast enough to defend such a target. The SRE Workbook advises against it, unless "
        "failures are rare single events and traffic is high.",
        "objectives:\n  - target: 0.9995      # 20 minutes in 28 days",
    ),
    _warning(
        "TR036",
        "Shorter than the resolution",
        "The indicator has one slice per `tightrope.dev/resolution` or as its source declares, the budget under the "
        "time-based methods one per `timeSliceWindow`. A lookback below that counts the last whole slice: an alert "
        "meant for 5 minutes reacts to an hour where slices are hours. That goes for the default alerts and for the "
        "states of the policy, too.",
        "annotations: {tightrope.dev/resolution: 1m}\n# lookbacks of 5m and more",
    ),
    _warning(
        "TR037",
        "A lookback is longer than the time window",
        "It looks at time that the budget has already forgotten.",
        "timeWindow: [{duration: 28d, isRolling: true}]\n# lookbacks up to 28d",
    ),
    _warning(
        "TR038",
        "compositeWeight has no effect",
        "In a Timeslices composite a slice is bad when it is bad for any member; OpenSLO gives weights no part in "
        "that.",
        "budgetingMethod: Occurrences\nobjectives:\n  - {target: 0.99, indicatorRef: search, compositeWeight: 2}",
    ),
    _warning(
        "TR039",
        "The service has no document",
        "Service documents are optional. Where some exist and one is missing, a typing error is likely.",
        "kind: Service\nmetadata: {name: checkout}\nspec: {description: Takes the money}",
    ),
    _warning(
        "TR040",
        "The conditions of a state contradict each other",
        "A state whose exit holds while its enter holds flaps; one whose enter or exit can never hold is never "
        "entered, or never left. Leave a gap between both bounds.",
        'enter: {remaining: "< 25%"}\nexit: {remaining: "> 35%"}',
    ),
    _warning(
        "TR041",
        "Files were skipped",
        "In directories, files without any OpenSLO or Tightrope document are passed over.",
        "tightrope validate slo/",
    ),
    _error(
        "TR042",
        "The SLOs of a service follow different policies",
        "A service has one state, the strictest over its SLOs, and one gate; so all its SLOs follow one error budget "
        "policy. An SLO follows the policy it names in `tightrope.dev/policy`, else the one that lists its service, "
        "else the one without `services`, else the default.",
        "kind: ErrorBudgetPolicy\nspec:\n  services: [checkout]     # for all SLOs of checkout",
    ),
    _warning(
        "TR043",
        "The type of a data source cannot be read",
        "OpenSLO allows a DataSource of any type; Tightrope reads telemetry from csv, parquet, access-log, openmetrics "
        "and prometheus. The SLOs of any other source are checked, but have neither status nor gate. Often a recording "
        "of the same numbers, or the server's Prometheus interface, will do.",
        'kind: DataSource\nspec: {type: prometheus, connectionDetails: {url: "http://localhost:9090"}}',
    ),
    _error(
        "TR044",
        "A time slice is no whole number of slices",
        "Under Timeslices and RatioTimeslices the counts of `timeSliceWindow` are summed from slices of "
        "`tightrope.dev/resolution`. So the window must be the resolution or a whole multiple of it.",
        "annotations: {tightrope.dev/resolution: 1m}\n# timeSliceWindow: 5m",
    ),
    _warning(
        "TR045",
        "A notification target leads to no channel",
        "The `target` of an AlertNotificationTarget, or its own name, is the name of a NotificationChannel. Where it "
        "leads to none, the channels with `default: true` are told in its place, so that no alert is lost.",
        "kind: NotificationChannel\nmetadata: {name: oncall}\n# AlertNotificationTarget: spec: {target: oncall}",
    ),
    _warning(
        "TR046",
        "A secret stands in the spec",
        "Specs are read by many and kept for ever. An address with a password in it, or one that is itself a secret as "
        "those of Slack are, belongs into an environment variable of the server.",
        "kind: NotificationChannel\nspec: {type: slack, urlFrom: {env: SLACK_URL}}",
    ),
    _error(
        "TR060",
        "Not a cron expression",
        "A schedule has five fields: minute, hour, day of the month, month and day of the week, or one of @hourly, "
        "@daily, @weekly, @monthly and @yearly. Seconds are not known, and a day that no such month has never comes.",
        'schedule:\n  - {cron: "30 2 * * mon-fri", timeZone: Europe/Berlin}',
    ),
    _error(
        "TR061",
        "The matrix does not add up",
        "A matrix has at least one cell and at most 256. An exclusion names axes that are there, and no value stands "
        "twice in an axis.",
        'matrix:\n  python: ["3.11", "3.12"]\n  exclude: [{python: "3.11"}]',
    ),
    _error(
        "TR062",
        "The pipeline has no such secret",
        "Commands get only the secrets that they name, and the pipeline says where each of them is: in a variable of "
        "the server's environment, or in a file on its machine. The secret itself is never in a file of ours.",
        "secrets: {TOKEN: {fromEnvironment: SHOP_TOKEN}}\n# at the step: secrets: [TOKEN]",
    ),
    _error(
        "TR063",
        "Nothing has the name that is needed",
        "`needs` of a stage names stages of the same pipeline, `needs` of a step names steps of the same stage.",
        "stages:\n  - {name: build, steps: [{name: compile, run: make}]}\n"
        "  - {name: test, needs: [build], steps: [{name: unit, run: make test}]}",
    ),
    _error(
        "TR064",
        "Stages or steps need each other in a circle",
        "None of them could ever begin. A stage that says nothing needs the one before it, which may close the circle.",
        "stages:\n  - {name: build, needs: [], steps: [{name: compile, run: make}]}",
    ),
    _warning(
        "TR065",
        "A way to production that passes no gate",
        "A deployment that the gate was not asked about is a bypass, and is found and told as one. Put a gate "
        "before it.",
        "stages:\n  - {name: ask, gate: {}}\n  - {name: ship, deploy: {run: ./deploy.sh}}",
    ),
    _warning(
        "TR066",
        "Nobody could tell whether the deployment went through",
        "A command that is cut short, by a crash or by a timeout, may have done its work or not, and it is never "
        "simply repeated. With `observe` this is found out; without, a person must say.",
        "deploy: {run: ./deploy.sh, observe: ./is-deployed.sh}",
    ),
    _error(
        "TR090",
        "A PolicyTest is not valid",
        "A test needs a policy, an SLO's slices and what is expected at some instants; see docs/policy.md.",
        "apiVersion: tightrope.dev/v1\nkind: PolicyTest",
    ),
)

CATALOGUE = {rule.code: rule for rule in _RULES}
"""Every rule by its code."""


def severity_of(code: str) -> str:
    """Tell whether a finding of this code is an error or a warning."""
    return CATALOGUE[code].severity


def catalogue_page() -> str:
    """Render the catalogue as the Markdown page ``docs/findings.md``."""
    parts = [
        "# Findings",
        "",
        "Every finding of `tightrope validate` has a code. `tightrope explain CODE` shows the same text as this page.",
        "An error makes the specs invalid (exit code 2); a warning never stops anything.",
        "",
        "| code | | rule |",
        "| --- | --- | --- |",
        *(f"| [{rule.code}](#{rule.code.lower()}) | {rule.severity} | {rule.title} |" for rule in _RULES),
    ]
    for rule in _RULES:
        parts += ["", f"## {rule.code}", "", f"**{rule.title}** ({rule.severity}). {rule.says}", "", "```yaml"]
        parts += [rule.example, "```"]
    return "\n".join(parts) + "\n"
