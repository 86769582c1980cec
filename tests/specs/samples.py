"""Small specs to break in one place each, and short ways to ask what was found."""

from __future__ import annotations

from textwrap import dedent

from tightrope.base.errors import SpecError
from tightrope.specs.model import Specs
from tightrope.specs.store import examine, load

SLO = """\
apiVersion: openslo/v1
kind: SLO
metadata:
  name: checkout-availability
spec:
  service: checkout
  budgetingMethod: Occurrences
  timeWindow:
    - duration: 28d
      isRolling: true
  objectives:
    - target: 0.999
  indicator:
    metadata:
      name: checkout-success
    spec:
      ratioMetric:
        good: {metricSource: {metricSourceRef: shop, spec: {column: good}}}
        total: {metricSource: {metricSourceRef: shop, spec: {column: total}}}
"""

SOURCE = """\
apiVersion: openslo/v1
kind: DataSource
metadata: {name: shop}
spec: {type: csv, connectionDetails: {path: shop.csv, timestamp: time}}
"""

SLI = """\
apiVersion: openslo/v1
kind: SLI
metadata: {name: latency}
spec:
  thresholdMetric: {metricSource: {metricSourceRef: shop, spec: {column: p99}}}
"""

CONDITION = """\
apiVersion: openslo/v1
kind: AlertCondition
metadata: {name: fast-burn}
spec:
  severity: page
  condition: {kind: burnrate, op: gte, threshold: 14.4, lookbackWindow: 1h, alertAfter: 5m}
"""

ALERT_POLICY = """\
apiVersion: openslo/v1
kind: AlertPolicy
metadata: {name: burning}
spec:
  conditions: [{conditionRef: fast-burn}]
  notificationTargets: [{targetRef: on-call}]
"""

NOTIFICATION = """\
apiVersion: openslo/v1
kind: AlertNotificationTarget
metadata: {name: on-call}
spec: {target: pagerduty}
"""

TIERS = """\
apiVersion: tightrope.dev/v1
kind: MultiWindowAlertPolicy
metadata: {name: tiers}
spec:
  tiers:
    - {name: page-1h, severity: page, budget: 2%, long: 1h}
    - {name: slow, severity: ticket, factor: 0.9, long: 3d, short: 6h, alertAfter: 10m, atLeastBad: 20}
    - {name: spent, severity: page, type: consumed, share: 5%, long: 6h, atLeastTotal: 100}
    - {name: sure, severity: page, type: significance, factor: 6, confidence: 99%, long: 6h}
"""

POLICY = """\
apiVersion: tightrope.dev/v1
kind: ErrorBudgetPolicy
metadata: {name: careful}
spec:
  services: [checkout]
  states:
    - name: feature
      flow: feature
      allows: all
    - name: caution
      flow: feature
      rollout: guarded
      allows: all
      enter: {any: [{remaining: "< 25%"}, {burnRate: {over: 6h, is: ">= 3"}}, {openIncident: [sev1, sev2]}]}
      exit: {all: [{remaining: "> 35%"}, {burnRate: {over: 6h, is: "< 1"}}, {not: {openIncident: [sev1, sev2]}}]}
    - name: stability
      flow: stability
      rollout: guarded
      allows: [reliability, security, rollback, emergency]
      enter: {remaining: "<= 0%"}
      exit: {remaining: ">= 10%", for: 24h}
      minimumStay: 30m
"""

EXCLUSION = """\
apiVersion: tightrope.dev/v1
kind: Exclusion
metadata: {name: sunday}
spec:
  startsAt: 2026-03-01 02:00:00
  duration: 2h
  timeZone: Europe/Berlin
  rrule: FREQ=WEEKLY;BYDAY=SU
  slos: [checkout-availability]
  declaredAt: 2026-02-01T00:00:00Z
"""

BULLET = """\
apiVersion: tightrope.dev/v1
kind: SilverBullet
metadata: {name: contract}
spec:
  service: checkout
  requestedBy: shop team
  approvedBy: sre lead
  reason: contract date
  grantedAt: 2026-03-12T10:00:00Z
  expiresAt: 2026-03-12T18:00:00Z
"""

CHANNEL = """\
apiVersion: tightrope.dev/v1
kind: NotificationChannel
metadata: {name: on-call}
spec:
  type: slack
  urlFrom: {env: SLACK_URL}
  severities: [page, ticket]
  services: [checkout]
  default: true
  repeatInterval: 2h
  sendResolved: false
  what: [alerts, flow]
"""

STRATEGY = """\
apiVersion: tightrope.dev/v1
kind: RolloutStrategy
metadata: {name: checkout-canary}
spec:
  description: In small steps, through the proxy.
  service: checkout
  environment: staging
  strategy: canary
  steps: [{weight: 5%, bake: 10m}, {weight: 50%, bake: 30m}]
  allowance: 2%
  beyondAllowance: accept
  reaction: {measure: 20s, evaluate: 5s, act: 10s}
  longestBake: 2h
  longest: 4h
  afterLongest: rollback
  lostContact: {after: 2m, then: hold}
  analysis:
    slos: [checkout-availability]
    arms: {field: upstream_addr}
    alpha: 1%
    clusterGuard: 1.5
    minimumExposure: {requests: 500, for: 2m}
  target:
    nginx:
      file: weights.conf
      slots: {blue: "127.0.0.1:9001", green: "127.0.0.1:9002"}
      mode: split
      probe: http://127.0.0.1:8080/tightrope
"""
EVERYTHING = (
    SLO,
    SOURCE,
    SLI,
    CONDITION,
    ALERT_POLICY,
    NOTIFICATION,
    TIERS,
    POLICY,
    EXCLUSION,
    BULLET,
    CHANNEL,
    STRATEGY,
)


def together(*documents: str) -> str:
    """Join documents into one text."""
    return "---\n".join(dedent(document) for document in documents)


def read(*documents: str) -> Specs:
    """Read documents that should be good."""
    return load(["-"], stdin=together(*documents))


def found(*documents: str) -> tuple[SpecError, ...]:
    """All findings of documents."""
    return examine(["-"], stdin=together(*documents))[1]


def codes(*documents: str) -> list[str]:
    """The codes of all findings, in order."""
    return [finding.code for finding in found(*documents)]


def only(*documents: str) -> SpecError:
    """The one finding there should be."""
    (finding,) = found(*documents)
    return finding


def swapped(text: str, old: str, new: str) -> str:
    """Replace a part that is there exactly once."""
    assert text.count(old) == 1, (old, text)
    return text.replace(old, new)
