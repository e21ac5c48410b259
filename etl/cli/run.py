"""``run``: the daemon."""

import logging
import os
import sys

import click

from etl.absence import Absence
from etl.bootstrap import build_recorder
from etl.cli.command import Command, settings
from etl.cli.telling import tell
from etl.daemon import Crew, Daemon
from etl.keys import read_keys
from etl.logs import configure


@click.command(cls=Command)
def run() -> None:
    """Record every slot, until told to stop.

    The same as `snapshot` in every slot of the interval, on the UTC grid. What it missed (stopped, crashed, suspended,
    the clock set, busy) is recorded as failures with that reason. Running it on two hosts over one PostgreSQL, or
    beside `snapshot`, is harmless.

    SIGTERM or SIGINT: keeps what it holds and ends within 10 seconds; the second one at once. SIGHUP: reads settings
    and keys again, so that a new key needs no restart.
    """
    daemon = Daemon(_muster, Absence(settings().state_dir), tell)
    number = daemon.run()
    logging.shutdown()
    sys.stdout.flush()
    # A thread that waits for a name to resolve would be waited for; what it could bring has a failure already.
    os._exit(128 + number)


def _muster() -> Crew:
    chosen = settings()
    keys = read_keys(chosen)
    configure(chosen.log_format, [text for key in keys.usable.values() for text in (key.key, key.secret)])
    return Crew(
        recorder=build_recorder(chosen, keys),
        accounts=list(keys.usable),
        keyless={name: str(error) for name, error in keys.unusable.items()},
        interval_seconds=chosen.interval_seconds,
    )
