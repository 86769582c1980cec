"""The documentation agrees with the code: commands, options, settings, pages and links."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

from tests.conftest import ROOT
from tightrope.specs.schemas import schemas
from tightrope.telemetry.usecases import SOURCES
from tools import docs

_FENCED = re.compile(r"^```(?:console|sh|shell|bash|text)?\n(.*?)^```", re.MULTILINE | re.DOTALL)


def test_the_generated_pages_are_up_to_date() -> None:
    # In a process of its own: what other tests ask of click must not show in the pages.
    script = "import json; from tools import docs; print(json.dumps({str(p): t for p, t in docs.pages().items()}))"
    told = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    stale = [path for path, text in json.loads(told.stdout).items() if Path(path).read_text("utf-8") != text]
    assert stale == [], "run `make docs`"


def test_no_link_leads_nowhere() -> None:
    assert docs.broken_links() == []


def test_the_index_of_the_documentation_names_every_page() -> None:
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    folder = ROOT / "docs"
    pages = [path.relative_to(folder).as_posix() for path in folder.rglob("*.md") if path != folder / "README.md"]
    assert [page for page in pages if f"({page})" not in index] == []


def _shown_commands() -> list[tuple[str, str]]:
    """Every line of a fenced block that runs the program, with the page it stands on."""
    shown = []
    for document in docs.documents():
        if document.name == "cli.md":
            continue
        for block in _FENCED.findall(document.read_text(encoding="utf-8")):
            joined = block.replace("\\\n", " ")
            for line in joined.splitlines():
                match = re.match(r"(?:\$ )?(?:\S*/bin/)?(tightrope [a-z].*)", line.strip())
                if match:
                    shown.append((document.name, match[1]))
    return shown


def _problem(line: str) -> str | None:
    """What is wrong with a command line that a page shows; None if the program would take it."""
    words = shlex.split(line.split("|")[0].split(">")[0], comments=True)[1:]
    program = docs.program()
    # click keeps the help option it first makes for a command, so each context must have the program's settings
    context = click.Context(program, info_name="tightrope", **program.context_settings)
    while words and isinstance(context.command, click.Group) and not words[0].startswith("-"):
        command = context.command.get_command(context, words[0])
        if command is None:
            return f"there is no command {words[0]!r}"
        context = click.Context(command, info_name=words.pop(0), parent=context, **command.context_settings)
    options = context.command.get_params(context)
    known = {spelling for option in options for spelling in (*option.opts, *option.secondary_opts)}
    unknown = [word for word in words if re.match(r"--?[a-z]", word) and word.split("=")[0] not in known]
    return f"{context.command_path} has no option {unknown[0]}" if unknown else None


def test_every_command_that_a_page_shows_exists_with_its_options() -> None:
    shown = _shown_commands()
    assert shown
    assert [f"{page}: {line}: {problem}" for page, line in shown if (problem := _problem(line))] == []


@pytest.mark.parametrize("line", ["tightrope nonsense", "tightrope status --nonsense"])
def test_a_command_that_does_not_exist_would_be_found(line: str) -> None:
    assert _problem(line) is not None


def test_every_command_and_option_explains_itself() -> None:
    silent = []
    for path, context in docs.commands(docs.program()):
        options = [
            one for one in context.command.get_params(context) if isinstance(one, click.Option) and not one.hidden
        ]
        silent += [path] if not context.command.help else []
        silent += [f"{path} {option.opts[0]}" for option in options if not option.help]
    assert silent == []


def test_every_setting_of_the_environment_is_documented() -> None:
    sources = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py"))
    written = "\n".join(path.read_text(encoding="utf-8") for path in docs.documents())
    settings = set(re.findall(r"\bTIGHTROPE_[A-Z_]+\b", sources))
    assert {setting for setting in settings if setting not in written} == set()


def test_every_kind_of_document_is_documented() -> None:
    page = (ROOT / "docs" / "specs.md").read_text(encoding="utf-8")
    assert [kind for kind in schemas() if kind not in page] == []


def test_every_type_of_source_is_documented() -> None:
    page = (ROOT / "docs" / "sources.md").read_text(encoding="utf-8")
    assert [kind for kind in SOURCES if f"`{kind}`" not in page and f"type: {kind}" not in page] == []
