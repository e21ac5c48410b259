"""``run``: the daemon."""

import logging
import os
import sys
from typing import TYPE_CHECKING

import click

from etl.absence import Absence
from etl.bootstrap import build_recorder
from etl.cli.command import Command, settings
from etl.cli.telling import tell
from etl.keys import read_keys
from etl.logs import configure

if TYPE_CHECKING:
    from etl.daemon import Crew


@click.command(cls=Command, short_help="The daemon: record every slot, until told to stop.")
def run() -> None:
    """Record every slot, until told to stop.

    The same as `snapshot` in every slot of the interval, on the UTC grid. What it missed (stopped, crashed, suspended,
    the clock set, busy) is recorded as failures with that reason. Running it on two hosts over one PostgreSQL, or
    beside `snapshot`, is harmless.

    SIGTERM or SIGINT: keeps what it holds and ends within 10 seconds; the second one at once. SIGHUP: reads settings
    and keys again, so that a new key needs no restart.
    """
    from etl.daemon import Daemon  # noqa: PLC0415 - the help of the program must not pay for a scheduler

    daemon = Daemon(_muster, Absence(settings().state_dir), tell)
    number = daemon.run()
    logging.shutdown()
    sys.stdout.flush()
    # A thread that waits for a name to resolve would be waited for; what it could bring has a failure already.
    os._exit(128 + number)


def _muster() -> "Crew":
    from etl.daemon import Crew  # noqa: PLC0415

    chosen = settings()
    keys = read_keys(chosen)
    configure(chosen.log_format, [text for key in keys.usable.values() for text in (key.key, key.secret)])
    return Crew(
        recorder=build_recorder(chosen, keys),
        accounts=list(keys.usable),
        keyless={name: str(error) for name, error in keys.unusable.items()},
        interval_seconds=chosen.interval_seconds,
    )
