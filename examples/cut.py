"""Cut the example data down from the recordings they come from: ``python examples/cut.py SOURCE [TARGET]``.

SOURCE is a folder of recordings laid out as `examples/PROVENANCE.md` says (``uptime-probes/``, ``incidents/``, ...);
TARGET is where the example lives, by default ``real`` beside this file. Rows are chosen, columns are dropped, and a
column ``service`` joins the names of what was renamed; nothing is invented, moved in time or smoothed. The same source
gives the same contents, and so the same digests.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

Row = dict[str, str]

SITES = {
    "dhbern": {
        "Parzival": "parzival",
        "Parzival legacy": "parzival-legacy",
        "Gossembrot Bibliothek": "gossembrot",
        "hallerNet (data)": "hallernet",
        "RdL – hallerNet (data)": "hallernet",
        "Digital Editions - University of Bern": "digital-editions",
        "Digital Editions – University of Bern": "digital-editions",
    },
    "curc": {
        "ACCESS Registry (Technical Endpoint)": "access-registry",
        "CURC Data Transfer Node SSH (TCP Reachability)": "data-transfer",
        "Globus Transfer API (Technical Endpoint)": "globus-transfer",
        "Alpine Login Node SSH (TCP Reachability)": "login-node",
        "⛰️🚪 Alpine Login Node SSH (TCP Reachability)": "login-node",
    },
}
"""Sites kept, with the service each belongs to. Two names with one service are one site that was renamed."""

COMPONENTS = {
    "Git Operations": "github-git",
    "API Requests": "github-api",
    "Pull Requests": "github-pull-requests",
    "Copilot": "github-copilot",
    "GitHub Actions": "github-actions",
    "Actions": "github-actions",
}
"""Components kept, with their service; GitHub Actions was renamed Actions in August 2022."""

APPS = {"frontend": "govuk-frontend", "asset-manager": "govuk-asset-manager"}
"""The applications with an SLO of their own."""

SEVERITIES = {"critical": "sev1", "major": "sev2", "minor": "sev3"}


def main(arguments: list[str]) -> int:
    """Cut everything; returns the exit code."""
    if len(arguments) not in (1, 2):
        print(__doc__, file=sys.stderr)
        return 2
    source = Path(arguments[0])
    target = Path(arguments[1]) if len(arguments) == 2 else Path(__file__).resolve().parent / "real"
    if not (source / "uptime-probes").is_dir():
        print(f"{source}: no folder uptime-probes in it; examples/PROVENANCE.md says what is expected", file=sys.stderr)
        return 2
    for name, contents in cuts(source).items():
        file = target / name
        file.parent.mkdir(parents=True, exist_ok=True)
        # Without a name and a time in its header, equal contents give an equal archive.
        file.write_bytes(gzip.compress(contents, 9, mtime=0) if file.suffix == ".gz" else contents)
        lines = contents.count(b"\n")
        print(f"{name:32} {lines:6} lines  {hashlib.sha256(contents).hexdigest()}")
    return 0


def cuts(source: Path) -> dict[str, bytes]:
    """Make every file: its path below the example, and its contents before compression."""
    return {
        "data/dhbern_probes.csv.gz": table(probes(source, "dhbern")),
        "data/curc_probes.csv.gz": table(probes(source, "curc")),
        "data/github_components.csv.gz": table(components(source)),
        "data/govuk_deployments.csv.gz": table(production(source)),
        "data/petsite.csv.gz": table(petsite(source)),
        "data/apache_2015-05.log.gz": gzip.decompress((source / "access-logs/apache_2015-05.log.gz").read_bytes()),
        "incidents.csv": table([*outages(source), *declared(source)]),
        "deployments.csv": table(deployments(source)),
    }


def probes(source: Path, group: str) -> Iterator[Row]:
    """Every observation of the chosen sites, all columns, and the service that the site belongs to."""
    for row in rows(source / f"uptime-probes/{group}/probes.csv.gz"):
        if row["site"] in SITES[group]:
            yield {"service": SITES[group][row["site"]], **row}


def outages(source: Path) -> Iterator[Row]:
    """The outages of the chosen sites, but those whose end is not known, graded by how long they lasted."""
    for group, sites in SITES.items():
        for row in rows(source / f"uptime-probes/{group}/outages.csv"):
            if row["site"] in sites and row["open_at_end"] == "0":
                lasted = int(row["duration_s"])
                severity = "sev1" if lasted >= 4 * 3600 else "sev2" if lasted >= 1800 else "sev3"
                start = row["start"].translate(str.maketrans("", "", "-:"))
                yield label(row["start"], row["end"], sites[row["site"]], severity, f"{group}-{start}")


def components(source: Path) -> Iterator[Row]:
    """Changes of state of the chosen components, by the provider's own time of change."""
    for row in rows(source / "incidents/github_component_transitions.csv.gz"):
        if row["component"] in COMPONENTS:
            yield {
                "time": row["provider_updated_at"],
                "service": COMPONENTS[row["component"]],
                "component": row["component"],
                "status": row["status"],
                "seen_at": row["seen_at"],
            }


def declared(source: Path) -> Iterator[Row]:
    """The provider's declared incidents, one row for each chosen component that the provider itself named."""
    for row in rows(source / "incidents/github_incidents.csv"):
        if row["components_source"] or row["impact"] not in SEVERITIES:
            continue
        for service in sorted({COMPONENTS[name] for name in row["components"].split("|") if name in COMPONENTS}):
            start, end = row["downtime_start"] or row["started_at"], row["downtime_end"] or row["resolved_at"]
            yield label(start, end, service, SEVERITIES[row["impact"]], f"github-{row['incident_id']}")


def label(start: str, end: str, service: str, severity: str, name: str) -> Row:
    """One labelled incident; nobody published a cause, so that stays empty."""
    return {"start": start, "end": end, "service": service, "severity": severity, "cause": "", "id": name}


def production(source: Path) -> Iterator[Row]:
    """Every change of a version in production that is known to go forward (deploy) or back (rollback)."""
    for row in rows(source / "delivery/govuk_image_tags.csv.gz"):
        if row["env"] == "production" and row["change"] in ("deploy", "rollback"):
            yield {name: row[name] for name in ("time", "app", "change", "old_tag", "new_tag", "sha")}


def deployments(source: Path) -> Iterator[Row]:
    """The production deployments of the applications with an SLO of their own."""
    for row in production(source):
        if row["app"] in APPS:
            yield {
                "time": row["time"],
                "service": APPS[row["app"]],
                "environment": "production",
                "kind": "rollback" if row["change"] == "rollback" else "feature",
                "change": row["new_tag"],
            }


def petsite(source: Path) -> Iterator[Row]:
    """The front end's 49 hours of normal running; whole counts are written without the ``.0``."""
    for row in rows(source / "petshop/metrics.csv.gz"):
        if (row["scenario"], row["window"], row["service"]) == ("high_traffic", "noissue", "PetSite"):
            yield {
                "time": row["time"],
                "requests": row["requests"].removesuffix(".0"),
                "errors_est": row["errors_est"].removesuffix(".0"),
                "latency_p95_s": row["latency_p95_s"],
            }


def rows(path: Path) -> Iterator[Row]:
    """Read a table, packed or not."""
    with (
        gzip.open(path, "rt", encoding="utf-8", newline="")
        if path.suffix == ".gz"
        else path.open(encoding="utf-8", newline="") as lines
    ):
        yield from csv.DictReader(lines)


def table(cut: Iterable[Row]) -> bytes:
    """Write rows as CSV in UTF-8, lines ended by a line feed, in the order of their first time column."""
    chosen = list(cut)
    columns = list(chosen[0])
    when = next(name for name in ("time", "timestamp", "start") if name in columns)
    chosen.sort(key=lambda row: instant(row[when]))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(chosen)
    return text.getvalue().encode()


def instant(text: str) -> datetime:
    """Read an ISO 8601 time."""
    return datetime.fromisoformat(text).astimezone(UTC)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
