"""``sandbox``: the local BingX."""

from pathlib import Path

import click

from etl.cli.command import Command
from etl.config.settings import PROGRAM
from etl.errors import CannotCreate
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
    if config_dir is not None:
        _refuse_others_config(config_dir / f"{PROGRAM}.toml")
    return 128 + serve(port, accounts, seed, lambda line: click.echo(line, err=True), config_dir)


def _refuse_others_config(path: Path) -> None:
    """A config file that a sandbox has written may be written anew, a person's may not."""
    try:
        is_others = path.exists() and "sandbox" not in path.read_text(encoding="utf-8", errors="replace")[:200]
    except OSError as error:
        raise CannotCreate(f"cannot look at {path}: {error.strerror}; name another --config-dir") from None
    if is_others:
        raise CannotCreate(f"{path} is not of a sandbox and stays as it is: name another --config-dir")
