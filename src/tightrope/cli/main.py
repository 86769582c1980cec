"""The command ``tightrope``: finds the sub-command, and turns every known error into one clear message."""

from __future__ import annotations

import atexit
import gc
import sys
from importlib import import_module
from typing import NoReturn

import click

from tightrope import __version__

COMMANDS = {
    "init": ("specs:init", "Write a commented starter: one SLO, its alerts and an error budget policy."),
    "validate": ("specs:validate", "Check specs; all findings at once, each with its place and how to mend it."),
    "status": ("budget:status", "Show every objective: budget left, burn, alerts, flow."),
    "gate": ("policy:gate", "Ask whether a change may go out now: go, stop or wait."),
    "exception": ("exception:exception", "Ask for leave to ship what the policy refuses, grant it, break the glass."),
    "explain": ("budget:explain", "Say why a service is in its state, what would change it, and when."),
    "deployment": ("deployment:deployment", "Record what was deployed; show what went where and what it carried."),
    "finding": ("deployment:finding", "Show and close findings: deployments that went out past the gate."),
    "hold": ("hold:hold", "Show releases that wait for an answer of the gate, and give them up."),
    "pipeline": ("pipeline:pipeline", "Carry a commit to production and back; watch, retry, cancel."),
    "rollout": ("rollout:rollout", "Release in steps that stay inside a share of the budget, and go back if need be."),
    "backtest": ("backtest:backtest", "Run specs over history: alerts, states, what would have been stopped."),
    "policy": ("policy:policy", "Test error budget policies against scenarios."),
    "apply": ("apply:apply", "Send specs to a server, which follows them from then on."),
    "audit": ("audit:audit", "Look up recorded decisions, and verify that the record is as it was written."),
    "token": ("access:token", "Create, list and revoke the tokens that a server takes."),
    "alert": ("alert:alert", "Show alerts and who was told, silence them, test the channels."),
    "generate": ("specs:generate", "Write files for other tools, such as JSON Schemas for editors."),
    "serve": ("serve:serve", "Watch, remember, alert and show: API, web page and loop in one process."),
    "worker": ("worker:worker", "Turn the steps of runs, beside a server and other workers."),
    "store": ("store:store", "Look after the store: backup, restore, export."),
    "doctor": ("doctor:doctor", "Look whether specs, sources, store and server are well."),
    "demo": ("demo:demo", "Run the whole loop on recorded data and write a report."),
    "completion": ("completion:completion", "Print the completion script for bash, zsh or fish."),
}
"""Each command: the module and name that hold it, and its line in the help. Modules are imported when called."""


class LazyGroup(click.Group):
    """A group whose sub-commands are imported when they are called, so that ``--help`` is instant."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name all commands, in the order people meet them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        if cmd_name not in COMMANDS:
            return None
        module, name = COMMANDS[cmd_name][0].split(":")
        command: click.Command = getattr(import_module(f"tightrope.cli.{module}"), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; a misspelt one names the nearest."""
        name = args[0] if args else ""
        if name and not name.startswith("-") and name not in COMMANDS:
            from difflib import get_close_matches

            close = get_close_matches(name, COMMANDS, n=1)
            hint = f" Did you mean '{close[0]}'?" if close else ""
            raise click.UsageError(f"There is no command '{name}'.{hint}", ctx)
        return super().resolve_command(ctx, args)


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 go or done, 2 wrong use or invalid specs, 3 stop, 4 wait, 5 gate out of reach, 6 a pipeline "
    "failed, 1 a bug.",
)
@click.version_option(__version__, prog_name="tightrope")
@click.option("--no-color", is_flag=True, help="Plain text; so does the variable NO_COLOR, and a pipe.")
@click.option("--ascii", "ascii_only", is_flag=True, help="No characters beyond ASCII.")
@click.option("-q", "--quiet", is_flag=True, help="No progress and no warnings on stderr.")
@click.pass_context
def cli(ctx: click.Context, no_color: bool, ascii_only: bool, quiet: bool) -> None:
    """Tightrope: ship fast, stay up.

    Turns telemetry into error budgets, and error budgets into the decision whether a change may ship.
    """
    from tightrope.base.settings import environment

    plain = no_color or bool(environment("NO_COLOR"))
    ctx.color = False if plain else None
    ctx.obj = {"ascii": ascii_only, "quiet": quiet}


def main() -> None:
    """Run the command line; never ends in a traceback unless TIGHTROPE_DEBUG is set."""
    from tightrope.base.errors import TightropeError

    atexit.register(gc.freeze)  # spares a process that ends a last search for rubbish, a tenth of what `validate` takes
    try:
        code = _answer()
    except TightropeError as error:
        from tightrope.cli.output import complain

        complain(error)
        sys.exit(error.exit_code)
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        sys.exit(130)
    except OSError as error:
        if error.filename is not None:
            _report_bug(error)
        click.echo(f"error: the answer cannot be written: {error.strerror}", err=True)
        sys.exit(2)
    except Exception as error:  # noqa: BLE001 - whatever is left is a bug, and said to be one
        _report_bug(error)
    sys.exit(code)


def _answer() -> int:
    try:
        code = cli.main(standalone_mode=False)
    except SystemExit:
        return 0  # click ends so when whoever read the help has gone away: a pipe that closes is no bug
    return code if isinstance(code, int) else 0


def _report_bug(error: Exception) -> NoReturn:
    from tightrope.base.settings import environment

    if environment("TIGHTROPE_DEBUG"):
        raise error
    click.echo(
        f"error: this is a bug in Tightrope {__version__}: {type(error).__name__}: {error}\n"
        "  = help: set TIGHTROPE_DEBUG=1 to see where, and report it with the command you ran",
        err=True,
    )
    sys.exit(1)
