"""The generated pages of the documentation, and the check of all links: ``make docs``."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from tightrope.api.page import api_page
from tightrope.specs.findings import catalogue_page

ROOT = Path(__file__).resolve().parent.parent
SKIPPED = {".git", ".venv", "build", "dist", "out", "node_modules"}

_FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"!?\[[^\]]*\]\(\s*<?([^)\s>]+)>?[^)]*\)")
_HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*#*$", re.MULTILINE)
_ENVIRONMENT = (
    ("NO_COLOR", "Not empty: plain text, as with `--no-color`."),
    ("TIGHTROPE_DATA", "Where decisions are recorded, for commands that take `--data`; that option goes first."),
    ("TIGHTROPE_SERVER", "The server that is asked, for commands that take `--server`; `-f` and that option go first."),
    ("TIGHTROPE_TOKEN", "The token that is shown to that server."),
    ("TIGHTROPE_DEBUG", "Not empty: a bug ends in its traceback, for a report; known errors never do."),
)


def pages() -> dict[Path, str]:
    """Every generated page, by its path, as it should be on disk."""
    return {
        ROOT / "docs" / "api.md": api_page(),
        ROOT / "docs" / "cli.md": cli_page(program()),
        ROOT / "docs" / "findings.md": catalogue_page(),
    }


def program() -> click.Group:
    """The root of the command line."""
    module = importlib.import_module("tightrope.cli.main")
    for value in (module.main, *vars(module).values()):
        if isinstance(value, click.Group):
            return value
    raise LookupError("tightrope.cli.main holds no click group")


def commands(group: click.Group, context: click.Context | None = None) -> Iterator[tuple[str, click.Context]]:
    """Walk all commands that are not hidden, depth first: full name such as ``tightrope policy test``, and context."""
    context = context or click.Context(group, info_name="tightrope", **group.context_settings)
    yield context.command_path, context
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is None or command.hidden:
            continue
        inner = click.Context(command, info_name=name, parent=context, **command.context_settings)
        if isinstance(command, click.Group):
            yield from commands(command, inner)
        else:
            yield inner.command_path, inner


def cli_page(group: click.Group) -> str:
    """Write the reference of the command line from the help texts that the program itself shows."""
    lines = ["# The command line", "", "Written by `make docs` from the program's own help; do not edit.", ""]
    for path, context in commands(group):
        command = context.command
        lines += [f"## {path}", "", "```text", " ".join([path, *command.collect_usage_pieces(context)]), "```", ""]
        if command.help:
            lines += [_unwrapped(command.help), ""]
        helps = [option.get_help_record(context) for option in command.get_params(context)]
        records = [record for record in helps if record is not None and record[1]]
        if command.epilog:
            lines += [_unwrapped(command.epilog), ""]
        if records:
            lines += ["| option | meaning |", "|---|---|"]
            lines += [f"| `{_cell(option)}` | {_cell(meaning)} |" for option, meaning in records]
            lines.append("")
    lines += ["## Environment", "", "| variable | meaning |", "|---|---|"]
    lines += [f"| `{name}` | {meaning} |" for name, meaning in _ENVIRONMENT]
    return "\n".join(lines) + "\n"


def _unwrapped(help_text: str) -> str:
    r"""Join the lines of each paragraph; paragraphs marked with ``\b`` keep theirs."""
    paragraphs = help_text.replace("\r", "").split("\f")[0].split("\n\n")
    written = []
    for paragraph in paragraphs:
        if paragraph.startswith("\b"):
            written.append("```text\n" + paragraph.lstrip("\b\n").rstrip() + "\n```")
        else:
            written.append(" ".join(paragraph.split()))
    return "\n\n".join(written)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def documents() -> list[Path]:
    """All Markdown files of the project."""
    return sorted(path for path in ROOT.rglob("*.md") if not SKIPPED.intersection(path.relative_to(ROOT).parts))


def broken_links() -> list[str]:
    """Every link inside the project that leads nowhere, as ``file: link``; links to the outside are not followed."""
    broken = []
    for document in documents():
        text = _FENCE.sub("", document.read_text(encoding="utf-8"))
        for link in _LINK.findall(text):
            if re.match(r"[a-z][a-z0-9+.-]*:", link):
                continue
            path, _, anchor = link.partition("#")
            target = (document.parent / path).resolve() if path else document
            if not target.exists() or not target.is_relative_to(ROOT):
                broken.append(f"{document.relative_to(ROOT)}: {link}")
            elif anchor and target.suffix == ".md" and anchor not in _anchors(target):
                broken.append(f"{document.relative_to(ROOT)}: {link} (no such heading)")
    return broken


def _anchors(document: Path) -> set[str]:
    text = _FENCE.sub("", document.read_text(encoding="utf-8"))
    found: set[str] = set()
    for heading in _HEADING.findall(text):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", plain).strip().replace(" ", "-")
        number = 1
        unique = slug
        while unique in found:
            unique = f"{slug}-{number}"
            number += 1
        found.add(unique)
    return found


def main() -> int:
    """Write the generated pages and report broken links; 1 if there are any."""
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
        print(f"docs: wrote {path.relative_to(ROOT)}")
    broken = broken_links()
    for one in broken:
        print(f"docs: broken link in {one}", file=sys.stderr)
    print(f"docs: {len(documents())} pages, {len(broken)} broken links")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
