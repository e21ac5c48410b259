"""``sandbox``: the local BingX."""

from pathlib import Path

import click

from etl.cli.command import Command
from etl.sandbox.serve import serve


@click.command(cls=Command, short_help="A BingX on this machine, to try things with.")
@click.option("--port", type=int, default=0, show_default="any free one", help="Port on loopback.")
@click.option("--accounts", type=int, default=1, show_default=True, help="How many accounts it knows.")
@click.option("--seed", type=int, default=0, show_default=True, help="The same seed gives the same keys and balances.")
@click.option(
    "--config-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write a config file for its accounts, with their secret files, into this directory.",
)
def sandbox(port: int, accounts: int, seed: int, config_dir: Path | None) -> int:
    """A BingX on this machine, to try things with: no money, no network. Runs until interrupted.

    Prints its URL first, on stdout, then on stderr the environment that makes this program use it. It is as strict as
    what is known of BingX: keys, signatures, time windows and rate limits are checked.
    """
    return 128 + serve(port, accounts, seed, lambda line: click.echo(line, err=True), config_dir)
