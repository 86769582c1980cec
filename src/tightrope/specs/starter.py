"""The first specs of a new user: few, commented, and valid as they are."""

from __future__ import annotations

import re

from tightrope.base.errors import UsageError

SOURCES = ("csv", "access-log", "prometheus")

_DATA_SOURCE = {
    "csv": """\
# Where telemetry comes from: a CSV file beside this one, with one row a minute such as
#
#   time,good,total
#   2026-03-01T00:00:00Z,118,120
#
# `time` is ISO 8601 (UTC unless it says) or epoch seconds. `.csv.gz` and `type: parquet` work as well.
apiVersion: openslo/v1
kind: DataSource
metadata:
  name: {service}-data
spec:
  type: csv
  connectionDetails:
    path: {service}.csv
    timestamp: time
""",
    "access-log": """\
# Where telemetry comes from: an access log beside this file, plain or .gz; `format` is common, combined or json,
# or left out to be found by a look at the first lines.
apiVersion: openslo/v1
kind: DataSource
metadata:
  name: {service}-data
spec:
  type: access-log
  connectionDetails:
    path: access.log
    format: combined
""",
    "prometheus": """\
# Where telemetry comes from: a Prometheus, or whatever speaks its HTTP API (Mimir, Thanos, VictoriaMetrics).
apiVersion: openslo/v1
kind: DataSource
metadata:
  name: {service}-data
spec:
  type: prometheus
  connectionDetails:
    url: http://localhost:9090
""",
}

_RATIO = {
    "csv": """\
      ratioMetric:
        counter: false            # each row holds events since the last one; true: counters that only grow
        good:
          metricSource:
            metricSourceRef: {service}-data
            spec: {{column: good}}
        total:
          metricSource:
            metricSourceRef: {service}-data
            spec: {{column: total}}
""",
    "access-log": """\
      ratioMetric:
        counter: false            # each line is one request
        bad:
          metricSource:
            metricSourceRef: {service}-data
            spec: {{status: [5xx]}}
        total:
          metricSource:
            metricSourceRef: {service}-data
            spec: {{status: [1xx, 2xx, 3xx, 4xx, 5xx]}}
""",
    "prometheus": """\
      ratioMetric:
        counter: true             # the series are counters that only grow
        good:
          metricSource:
            metricSourceRef: {service}-data
            spec:
              query: http_requests_total{{job="{service}", code!~"5.."}}
        total:
          metricSource:
            metricSourceRef: {service}-data
            spec:
              query: http_requests_total{{job="{service}"}}
""",
}

_SLO = """\
# The promise: 99.9 % of requests to {service} succeed, over any 28 days. The other 0.1 % is the error budget.
apiVersion: openslo/v1
kind: SLO
metadata:
  name: {service}-availability
  annotations:
    tightrope.dev/resolution: 1m    # one slice of good and total a minute
spec:
  service: {service}
  budgetingMethod: Occurrences      # the budget counts requests; Timeslices counts minutes
  timeWindow:
    - duration: 28d
      isRolling: true
  objectives:
    - target: 0.999
  indicator:
    metadata:
      name: {service}-success
    spec:
{ratio}\
  alertPolicies:
    - alertPolicyRef: {service}-burn
"""

_ALERTS = """\
# Who is called when. A tier fires when the budget burns so fast, over a long and a short lookback (a twelfth of the
# long one), that `budget` of it would be gone within `long`. These are the tiers of the SRE Workbook, chapter 5.
apiVersion: tightrope.dev/v1
kind: MultiWindowAlertPolicy
metadata:
  name: {service}-burn
spec:
  tiers:
    - {{name: page-1h, severity: page, budget: 2%, long: 1h}}
    - {{name: page-6h, severity: page, budget: 5%, long: 6h}}
    - {{name: ticket-1d, severity: ticket, budget: 10%, long: 1d}}
    - {{name: ticket-3d, severity: ticket, budget: 10%, long: 3d}}
"""

_POLICY = """\
# What follows from the budget: states from free to strict. The gate asks the state whether a change may go out.
apiVersion: tightrope.dev/v1
kind: ErrorBudgetPolicy
metadata:
  name: {service}-policy
spec:
  services: [{service}]
  states:
    - name: feature                 # plenty of budget: everything ships
      flow: feature
      allows: all
    - name: caution                 # little left, or it goes fast: ship in smaller steps
      flow: feature
      rollout: guarded
      allows: all
      enter: {{any: [{{remaining: "< 25%"}}, {{burnRate: {{over: 6h, is: ">= 3"}}}}, {{openIncident: [sev1, sev2]}}]}}
      exit:
        all: [{{remaining: "> 35%"}}, {{burnRate: {{over: 6h, is: "< 1"}}}}, {{not: {{openIncident: [sev1, sev2]}}}}]
    - name: stability               # the budget is spent: only what makes the service better
      flow: stability
      rollout: guarded
      allows: [reliability, security, rollback, emergency]
      enter: {{remaining: "<= 0%"}}
      exit: {{remaining: ">= 10%", for: 24h}}   # a gap between both bounds, so that the state does not flap
  exceptions: {{count: 2, per: quarter}}        # silver bullets
  outOfScope: [dependency, maintenance]       # causes that do not count towards the states
"""

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,40}[a-z0-9])?")


def starter(service: str, source: str = "csv") -> dict[str, str]:
    """Write the starter specs of one service.

    Args:
        service: Name of the service: a DNS label of at most 42 characters, so that all names made of it fit.
        source: Where telemetry comes from: ``csv``, ``access-log`` or ``prometheus``.

    Returns:
        File name to text: ``slo.yaml`` with source, promise and alerts, and ``policy.yaml``.

    Raises:
        UsageError: No such source, or a service name that OpenSLO would refuse.
    """
    if source not in SOURCES:
        raise UsageError(f"there is no starter for {source!r}", remedy=f"choose one of {', '.join(SOURCES)}")
    if _NAME.fullmatch(service) is None:
        raise UsageError(
            f"{service!r} is no name for a service",
            remedy="use at most 42 characters of a-z, 0-9 and -, with a letter or digit at both ends",
        )
    ratio = _RATIO[source].format(service=service)
    promise = "---\n".join(
        (
            _DATA_SOURCE[source].format(service=service),
            _SLO.format(service=service, ratio=ratio),
            _ALERTS.format(service=service),
        )
    )
    return {"slo.yaml": promise, "policy.yaml": _POLICY.format(service=service)}
