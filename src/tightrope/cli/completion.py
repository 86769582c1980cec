"""Completions for shells."""

from __future__ import annotations

import click


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script for SHELL.

    bash: eval "$(tightrope completion bash)" in ~/.bashrc. zsh: the same in ~/.zshrc.
    fish: tightrope completion fish > ~/.config/fish/completions/tightrope.fish
    """
    from click.shell_completion import get_completion_class

    from tightrope.cli.main import cli

    script = get_completion_class(shell)
    if script is None:
        raise click.UsageError(f"There is no completion for {shell}.")
    click.echo(script(cli, {}, "tightrope", "_TIGHTROPE_COMPLETE").source())
