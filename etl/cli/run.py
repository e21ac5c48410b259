"""``run``: the daemon."""

import faulthandler
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from etl.bootstrap import build_recorder, metrics_told
from etl.cli.command import CONFIG, LoggedCommand, read_settings_of, settings
from etl.cli.telling import Teller
from etl.cli.watching import false_start_told, others_of
from etl.config.keys import Keys, read_keys
from etl.config.settings import Settings
from etl.daemon.absence import Absence
from etl.daemon.supervisor import Reporter, Supervisor
from etl.errors import SettingsError
from etl.logs import configure
from etl.watchers import Watchers

if TYPE_CHECKING:
    from etl.daemon.daemon import Crew


@click.command(cls=LoggedCommand, short_help="The daemon: record every slot, until told to stop.")
def run() -> None:
    """Record every slot, until told to stop.

    The same as `snapshot` in every slot of the interval, on the UTC grid. What it missed (stopped, crashed, suspended,
    the clock set, busy) is recorded as failures with that reason. Running it on two hosts over one PostgreSQL, or
    beside `snapshot`, is harmless.

    SIGTERM or SIGINT: keeps what it holds and ends within 10 seconds; the second one at once. SIGHUP: reads settings
    and keys again, so that a new key needs no restart.

    Under systemd (Type=notify) it says when it is ready, and feeds the watchdog for as long as its work gets on.
    """
    from etl.daemon.daemon import Daemon  # noqa: PLC0415 - the help of the program must not pay for a scheduler
    from etl.ops.metrics import Metrics  # noqa: PLC0415

    faulthandler.enable(file=2)  # a watchdog ends what hangs with SIGABRT: the log then says where it hung
    supervisor = Supervisor()
    with false_start_told():
        metrics = Metrics()
        muster = _Muster(
            settings().state_dir, lambda chosen, keys: metrics.follow(metrics_told(chosen, keys, stays=True))
        )
        teller = Teller(stays=True, is_private=lambda: muster.chosen.log_private)
        others = others_of(lambda: muster.chosen, stays=True)
        watchers = Watchers([Reporter(supervisor), teller, *others, metrics])
        daemon = Daemon(muster, Absence(muster.state_dir), watchers, supervisor=supervisor)
    number = daemon.run()
    logging.shutdown()
    sys.stdout.flush()
    # A thread that waits for a name to resolve would be waited for; what it could bring has a failure already.
    os._exit(128 + number)


class _Muster:
    """Reads settings and keys, as often as it is called."""

    def __init__(self, state_dir: Path, follow: Callable[[Settings, Keys], None] = lambda *_: None) -> None:
        """``follow`` is told of all that was read, last of all."""
        self.state_dir = state_dir
        self._follow = follow
        self.chosen: Settings
        # Those of before too: a slot that began with them may still be read, and what fails may speak of them.
        self._secrets: set[str] = set()

    def __call__(self) -> "Crew":
        """Raises SettingsError, and then nothing has changed."""
        from etl.daemon.daemon import Crew  # noqa: PLC0415

        chosen = read_settings_of(click.get_current_context().meta.get(CONFIG))
        if chosen.state_dir != self.state_dir:
            raise SettingsError("another state_dir needs a restart: what waits in the present one would stay there")
        keys = read_keys(chosen)
        recorder = build_recorder(chosen, keys)
        self.chosen = chosen
        self._secrets |= {*chosen.secrets} | {text for key in keys.usable.values() for text in (key.key, key.secret)}
        configure(chosen.log_format, sorted(self._secrets, key=len, reverse=True))
        self._follow(chosen, keys)
        return Crew(
            recorder=recorder,
            accounts=list(keys.usable),
            keyless={name: str(error) for name, error in keys.unusable.items()},
            interval_seconds=chosen.interval_seconds,
        )
