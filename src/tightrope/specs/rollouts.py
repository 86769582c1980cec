"""The kind RolloutStrategy: how a service is released in an environment, and what may be spent on it."""

from __future__ import annotations

import re
from fractions import Fraction

from tightrope.specs.model import RolloutHow, TargetType, WhenOver
from tightrope.specs.positions import Report
from tightrope.specs.secrets import SECRET, VARIABLE
from tightrope.specs.shapes import (
    Either,
    Field,
    Flag,
    Form,
    Law,
    ListOf,
    MapOf,
    Needs,
    Number,
    OneOf,
    Record,
    Share,
    Span,
    Table,
    Text,
    Word,
    percent_text,
)

GRAIN = Fraction(1, 10_000)
"""The smallest share of traffic that is given: a hundredth of a percent."""

_OURS = "smhdwMQY"
_LONGEST_S = 30 * 86_400
_COMMAND = Either(Text(), ListOf(Text(), 1))
_VALUES = Either(Text(), ListOf(Text(), 1))
_SLOT = Form(
    "^[A-Za-z_][A-Za-z0-9_]*$",
    "is no name that nginx takes for a variable or an upstream",
    "use letters, digits and _",
    63,
)
_NAME = Form(VARIABLE.pattern, VARIABLE.says, VARIABLE.remedy, 200)
_ADDRESS = Form(r"^(unix:/\S+|[^\s;{}]+:\d{1,5})$", "is no address of a server", "write host:port, or unix:/path", 200)

_MILLISECONDS = Form(r"^[1-9]\d{0,6}ms$", "is no bound of a bucket", "write milliseconds, such as 250ms", 12)

_STEP = Record(
    {
        "weight": Field(Share(), True, "Share of the traffic, such as 5%"),
        "bake": Field(Span(units=_OURS), True, "How long it stays there, such as 10m"),
    },
    name="RolloutStep",
)


def _two_slots(table: Table, report: Report) -> None:
    slots = table.get("slots", dict)
    if slots is not None and len(slots) != 2:
        report.add(
            "TR019",
            f"slots has {len(slots)} entr{'y' if len(slots) == 1 else 'ies'}",
            table.at("slots"),
            path=table.path("slots"),
            note="exactly two needed",
            remedy="name the two places that take turns: {blue: host:port, green: host:port}",
        )
    elif slots is not None and len(set(slots.values())) != 2:
        report.add(
            "TR015",
            "both slots have the same address",
            table.at("slots"),
            path=table.path("slots"),
            remedy="give each its own",
        )


def _is_address(*names: str) -> Law:
    def check(table: Table, report: Report) -> None:
        for name in names:
            url = table.text(name)
            if url and not re.match(r"https?://[^/\s:@]", url):
                report.add(
                    "TR015",
                    f"{name} {url[:60]!r} is no address",
                    table.at(name),
                    path=table.path(name),
                    remedy="write one such as http://127.0.0.1:8080/tightrope",
                )

    return Law(check)


_NGINX = Record(
    {
        "file": Field(Text(), True, "File that Tightrope writes, and nginx includes in its http block"),
        "slots": Field(MapOf(_SLOT, Text(_ADDRESS)), True, "The two places that take turns, and their addresses"),
        "variable": Field(Text(_SLOT), says="Variable that holds the slot of a request; tightrope_slot if absent."),
        "mode": Field(
            Word(("split", "upstream")), says="split_clients by `key`, or one upstream with weights; split if absent."
        ),
        "key": Field(Text(), says="What requests are split by; $request_id if absent, $remote_addr keeps a user."),
        "probe": Field(Text(), True, "Address at which the running workers tell the weight they have"),
        "program": Field(Text(), says="nginx if absent."),
        "configuration": Field(Text(), says="Configuration file, as in nginx -c."),
        "prefix": Field(Text(), says="Prefix, as in nginx -p."),
        "pidFile": Field(Text(), says="Where nginx writes its process id: old workers are waited for."),
        "promote": Field(_COMMAND, says="What is run besides, once all of the traffic has moved."),
    },
    rules=(Law(_two_slots), _is_address("probe")),
)

_SHELL = Record(
    {
        "setWeight": Field(_COMMAND, True, "Gives the new version the share in $TIGHTROPE_WEIGHT (and _PERCENT)"),
        "observe": Field(_COMMAND, True, "Prints the share that the new version has: 0, 0.05, 5%"),
        "promote": Field(_COMMAND, says="Makes the new version the only one; without it all of the traffic does."),
        "rollback": Field(_COMMAND, says="Gives all traffic to the old version; setWeight with 0 if absent."),
        "folder": Field(Text(), says="Where the commands run; the folder of this file if absent."),
        "timeout": Field(Span(units=_OURS), says="The longest that one of them may take; 30s if absent."),
        "env": Field(MapOf(_NAME, Text(empty=True)), says="Variables for the commands."),
        "secrets": Field(MapOf(_NAME, SECRET), says="Variables of ours that they get under these names."),
        "grain": Field(Share(), says="The smallest share it can give; 0.01% if absent."),
    },
)

_HTTP = Record(
    {
        "url": Field(Text(), True, "Address that takes GET, PUT {weight}, POST promote and POST rollback"),
        "tokenFrom": Field(SECRET, says="Bearer token."),
        "timeout": Field(Span(units=_OURS), says="The longest that one answer may take; 30s if absent."),
        "grain": Field(Share(), says="The smallest share it can give; 0.01% if absent."),
    },
    rules=(_is_address("url"),),
)

_KUBERNETES = Record(
    {
        "namespace": Field(Text(), says="default if absent."),
        "stable": Field(Text(), True, "Deployment of the old version"),
        "canary": Field(Text(), True, "Deployment of the new version"),
        "replicas": Field(Number(at_least=Fraction(1), whole=True), True, "Replicas that both have together"),
        "service": Field(Text(), says="Service whose selector is switched, for blueGreen and allAtOnce."),
        "label": Field(Text(), says="Label that the selector tells them apart by; version if absent."),
        "kubectl": Field(_COMMAND, says="kubectl, and arguments such as --context; kubectl if absent."),
    },
)

_ARGO = Record(
    {
        "namespace": Field(Text(), says="default if absent."),
        "rollout": Field(Text(), True, "Name of the Rollout, whose strategy is canary"),
        "kubectl": Field(_COMMAND, says="kubectl, and arguments such as --context; kubectl if absent."),
    },
)

_TARGET = Record(
    {
        TargetType.NGINX: Field(_NGINX, says="nginx on this machine."),
        TargetType.SHELL: Field(_SHELL, says="Commands of your own."),
        TargetType.HTTP: Field(_HTTP, says="A service of your own."),
        TargetType.KUBERNETES: Field(_KUBERNETES, says="Replicas of two Deployments, or the selector of a Service."),
        TargetType.ARGO_ROLLOUTS: Field(_ARGO, says="An Argo Rollout."),
    },
    rules=(OneOf(tuple(TargetType)),),
    synonyms={"argo": "argoRollouts", "command": "shell", "webhook": "http", "k8s": "kubernetes"},
)

_QUERY = Record(
    {
        "slo": Field(Text(), True, "SLO that they are the requests of"),
        "good": Field(Text(), says="Query of good requests; $arm stands for the version's value."),
        "bad": Field(Text(), says="Query of bad requests."),
        "total": Field(Text(), True, "Query of all requests"),
        "latency": Field(
            Text(), says='Query of a histogram\'s buckets, with $le in it: x_bucket{version=~"$arm",le=~"$le"}.'
        ),
        "counter": Field(Flag(), says="Whether the values grow for ever."),
    },
    rules=(OneOf(("good", "bad")),),
)


def _speaks_of_arm(table: Table, report: Report) -> None:
    for query in table.tables("queries"):
        for name in ("good", "bad", "total", "latency"):
            if query.text(name) and "$arm" not in query.text(name):
                report.add(
                    "TR018",
                    f"{name} counts both versions alike: there is no $arm in it",
                    query.at(name),
                    path=query.path(name),
                    remedy='tell them apart, as in http_requests_total{version="$arm"}',
                )
        if query.text("latency") and "$le" not in query.text("latency"):
            report.add(
                "TR018",
                "latency counts all buckets alike: there is no $le in it",
                query.at("latency"),
                path=query.path("latency"),
                remedy='ask for one bucket, as in http_request_duration_seconds_bucket{version=~"$arm",le=~"$le"}',
            )


_ARMS = Record(
    {
        "field": Field(Text(), says="Column of the SLO's own log or file, such as upstream_addr or version."),
        "queries": Field(ListOf(_QUERY, 1), says="Queries to the SLO's own source, with $arm in them."),
        "slos": Field(
            ListOf(
                Record(
                    {
                        "slo": Field(Text(), True, "SLO that they are the requests of"),
                        "canary": Field(Text(), True, "SLO that sees the new version alone"),
                        "baseline": Field(Text(), True, "SLO that sees the old version alone"),
                    }
                ),
                1,
            ),
            says="SLOs that see one version each.",
        ),
        "push": Field(Flag(), says="Counts are sent to /api/v1/rollouts/ID/counts."),
        "canary": Field(_VALUES, says="Value of the new version; $version stands for it, the target's if absent."),
        "baseline": Field(_VALUES, says="Value of the old version; $previous stands for it, the target's if absent."),
    },
    rules=(OneOf(("field", "queries", "slos", "push")), Law(_speaks_of_arm)),
)


def _latency_has_a_source(table: Table, report: Report) -> None:
    """Buckets rise, and come from an access log or from a query for them; such a query is not there for nothing."""
    arms = table.get("arms", Table)
    asked = [one for one in arms.tables("queries") if one.text("latency")] if arms is not None else []
    if not table.given("latency") or table.get("latency", bool) is False:
        for query in asked:
            report.add(
                "TR021",
                "the latencies that this query counts are not compared",
                query.at("latency"),
                path=query.path("latency"),
                remedy="say by which buckets: `latency: [50ms, 200ms]` beside arms, or `latency: true`",
            )
        return
    if arms is None or not (arms.given("field") or asked):
        report.add(
            "TR021",
            "latencies are compared where versions are told apart by a field of an access log, or by a query for them",
            table.keys["latency"],
            path=table.path("latency"),
            remedy="remove latency, give `arms: {field: …}`, or give a `latency` query with $arm and $le; an SLO with "
            "latencyBelow judges by a threshold",
        )
    bounds = [int(text.removesuffix("ms")) for text in table.texts("latency")]
    if bounds != sorted(set(bounds)):
        report.add(
            "TR018",
            "the bounds of the buckets do not rise",
            table.at("latency"),
            path=table.path("latency"),
            remedy="write them from the lowest to the highest",
        )


_ANALYSIS = Record(
    {
        "slos": Field(ListOf(Text(), 1), says="SLOs that judge; all of the service, if absent."),
        "arms": Field(_ARMS, says="How requests of both versions are told apart; a canary cannot do without."),
        "latency": Field(
            Either(Flag(), ListOf(Text(_MILLISECONDS), 1)),
            says="Whether latencies are compared, too, in buckets with these bounds; of access logs and histograms.",
        ),
        "alpha": Field(Share(Fraction(1, 2)), says="Chance of a false alarm; 5% if absent."),
        "clusterGuard": Field(
            Number(at_least=Fraction(1)),
            says="How much more bad requests vary than independent ones would; measured if absent.",
        ),
        "minimumExposure": Field(
            Record(
                {
                    "requests": Field(Number(at_least=Fraction(0), whole=True), says="100 if absent."),
                    "for": Field(Span(zero=True, units=_OURS), says="1m if absent."),
                }
            ),
            says="What the new version must have had at a weight before it goes on.",
        ),
    },
    rules=(Law(_latency_has_a_source),),
)


def _then(*words: WhenOver) -> Word:
    return Word(tuple(words))


def _adds_up(table: Table, report: Report) -> None:
    """The steps rise, and the way of releasing has what it needs."""
    how, steps = table.text("strategy", RolloutHow.CANARY), table.tables("steps")
    before = Fraction(0)
    for step in steps:
        weight = step.get("weight", Fraction)
        if weight is None:
            continue
        if weight <= before:
            report.add(
                "TR018",
                f"the weight {percent_text(weight)} does not rise",
                step.at("weight"),
                path=step.path("weight"),
                note=f"above {percent_text(before)}",
                remedy="give each step more traffic than the one before",
            )
        if (weight / GRAIN).denominator != 1:
            report.add(
                "TR012",
                f"the weight {percent_text(weight)} is finer than 0.01 %",
                step.at("weight"),
                path=step.path("weight"),
                remedy="round it to hundredths of a percent",
            )
        before = max(before, weight)
    at_once = how in {RolloutHow.BLUE_GREEN, RolloutHow.ALL_AT_ONCE}
    if at_once and (len(steps) > 1 or (steps and before not in {Fraction(0), Fraction(1)})):
        report.add(
            "TR021",
            f"a rollout of strategy {how} has one step, to 100 %",
            table.at("steps"),
            path=table.path("steps"),
            remedy="write `steps: [{weight: 100%, bake: 10m}]`, or choose the strategy canary",
        )
    analysis = table.get("analysis", Table)
    arms = analysis.get("arms", Table) if analysis else None
    if how == RolloutHow.CANARY and arms is None and not (analysis and analysis.given("arms")):
        report.add(
            "TR013",
            f"{table.path('analysis.arms')} is missing",
            table.keys.get("analysis", table.spot.key),
            path=table.path("analysis.arms"),
            note="a canary is compared with what runs beside it",
            remedy="add `arms: {field: upstream_addr}`, queries, slos or push",
        )
    target = table.get("target", Table)
    if target is None:
        return
    nginx = target.given(TargetType.NGINX)
    needs_values = arms is not None and (arms.given("field") or arms.given("queries"))
    values = arms is not None and arms.given("canary") and arms.given("baseline")
    if arms is not None and needs_values and not values and not (nginx and arms.given("field")):
        report.add(
            "TR018",
            "nothing tells which requests are whose",
            arms.spot.key,
            path=arms.spot.path,
            note="canary and baseline",
            remedy="add `canary: $version` and `baseline: $previous`, or what stands in the field",
        )
    kubernetes = target.get(TargetType.KUBERNETES, Table)
    if kubernetes is not None and at_once and not kubernetes.given("service"):
        report.add(
            "TR013",
            f"{kubernetes.path('service')} is missing",
            kubernetes.spot.key,
            path=kubernetes.path("service"),
            note=f"{how} switches a Service",
            remedy="add `service:` with its name",
        )


def rollout_spec(description: Field) -> Record:
    """The table of a spec of this kind."""
    return Record(
        {
            "description": description,
            "service": Field(Text(), True, "Service that is released"),
            "environment": Field(Text(), says="production if absent."),
            "strategy": Field(Word(tuple(RolloutHow)), says="canary, blueGreen or allAtOnce; canary if absent."),
            "steps": Field(
                Either(Word(("planned",)), ListOf(_STEP, 1)),
                says="Weights and bakes; or `planned`, the default: as fast as the allowance bears.",
            ),
            "allowance": Field(
                Share(), says="Share of the budget, or of what is left if less, that a release may spend; 1% if absent."
            ),
            "beyondAllowance": Field(
                Word(("refuse", "accept")),
                says="Whether the first step may cost more than the allowance; refuse if absent.",
            ),
            "reaction": Field(
                Record(
                    {
                        "measure": Field(Span(units=_OURS), says="How old the newest telemetry may be."),
                        "evaluate": Field(Span(units=_OURS), says="From one look to the next; 15s if absent."),
                        "act": Field(Span(units=_OURS), says="Until a changed weight has taken effect; 30s if absent."),
                    }
                ),
                says="How long a failure can go on until a rollback takes effect.",
            ),
            "longestBake": Field(Span(units=_OURS), says="The longest that one step may bake; 6h if absent."),
            "longest": Field(Span(units=_OURS), says="The longest that all of it may take; 1d if absent."),
            "afterLongest": Field(_then(*WhenOver), says="hold, rollback or promote; hold if absent."),
            "lostContact": Field(
                Record(
                    {
                        "after": Field(Span(units=_OURS), says="5m if absent."),
                        "then": Field(_then(WhenOver.HOLD, WhenOver.ROLLBACK), says="rollback if absent."),
                    }
                ),
                says="When nobody watched, or the target was out of reach, for so long.",
            ),
            "analysis": Field(_ANALYSIS, says="How both versions are compared."),
            "target": Field(_TARGET, True, "What moves the traffic: nginx, shell, http, kubernetes or argoRollouts"),
        },
        rules=(Law(_adds_up), Needs("afterLongest", ("longest",))),
        synonyms={
            "weights": "steps",
            "bake": "longestBake",
            "maxDuration": "longest",
            "budget": "allowance",
            "executor": "target",
            "slos": "analysis",
        },
    )
