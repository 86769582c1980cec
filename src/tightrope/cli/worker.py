"""``worker``: a further process that turns the steps of runs, beside a server or without one."""

from __future__ import annotations

import click

from tightrope.cli.options import data_option
from tightrope.cli.output import say, warn


@click.command()
@data_option(required=True)
@click.option("--work", default="", metavar="DIR", help="Where logs of commands are kept. Default: in --data DIR.")
@click.option(
    "--threads", default=4, show_default=True, type=click.IntRange(1, 64), help="How many steps are turned at once."
)
def worker(data: str, work: str, threads: int) -> None:
    """Turn the steps of runs, beside a server and other workers on the same store, until told to stop.

    SIGTERM and Ctrl-C end it after the turns under way. Commands run on; whoever works next with the same --work goes
    on with them. Of a worker that never comes back, what ran is unknown, and not repeated in silence.
    """
    import signal
    from threading import Event

    from tightrope.app import working

    stop = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with working(data, work=work, threads=threads) as runs:
        say(f"working on {', '.join(sorted(runs.kinds))}")
        told = ""
        while not stop.wait(0.5):
            if runs.failure != told:
                told = runs.failure
                warn(f"warning: {told}" if told else "the work goes on")
        say("ending after the turns under way; commands run on")
