"""Who is told what becomes of each slot, besides the log: as the settings have it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import click

from etl.bootstrap import build_changes, build_post, metrics_told
from etl.cli.command import CONFIG, read_settings_of
from etl.cli.exits import code_of
from etl.cli.interruption import leaving_in_order
from etl.config.keys import Keys
from etl.config.settings import PingSettings, Settings, read_ping_settings
from etl.errors import SettingsError
from etl.watchers import Watcher, Watchers

if TYPE_CHECKING:
    from etl.ops.pings import Pings

# What is still to be told when the program ends: a run may wait for the deadline of its two pings, and of commands; the
# daemon has to be gone within 10 seconds of being told to.
RUN_WAITS_SECONDS = 10.0
COMMANDS_WAIT_SECONDS = 65.0
DAEMON_WAITS_SECONDS = 0.7


def others_of(latest: Callable[[], Settings], *, stays: bool = False, is_whole: bool = True) -> list[Watcher]:
    """Those who are told besides the log. ``latest`` are the settings, which the daemon may read again.

    ``is_whole``: all accounts are read. What becomes of some says nothing of all, and is not pinged.
    """

    def pings() -> PingSettings:
        chosen = latest()
        return PingSettings(chosen.ping_url, chosen.proxy, chosen.ca_bundle)

    others: list[Watcher] = []
    if is_whole and (stays or latest().ping_url is not None):
        others.append(_pings(pings, DAEMON_WAITS_SECONDS if stays else RUN_WAITS_SECONDS))
    if stays or latest().on_change is not None:
        others.append(build_changes(latest, DAEMON_WAITS_SECONDS if stays else COMMANDS_WAIT_SECONDS))
    return others


def metrics_of(chosen: Settings, keys: Keys) -> list[Watcher]:
    """A file for node_exporter, where the settings want one. ``keys`` are those of every account."""
    if chosen.metrics_textfile is None:
        return []
    from etl.ops.metrics import Metrics  # noqa: PLC0415 - for those who want metrics

    metrics = Metrics()
    metrics.follow(metrics_told(chosen, keys, stays=False))
    return [metrics]


@contextmanager
def false_start_told() -> Iterator[None]:
    """What keeps its block from beginning a slot is told, as far as the settings can be read."""
    try:
        yield
    except Exception as error:
        config = click.get_current_context().meta.get(CONFIG)
        told: list[Watcher] = []
        chosen = read_ping_settings(config)
        if chosen is not None and chosen.url is not None:
            told.append(_pings(lambda: chosen, RUN_WAITS_SECONDS))
        with suppress(SettingsError):
            settings = read_settings_of(config)
            if settings.on_change is not None:
                told.append(build_changes(lambda: settings, COMMANDS_WAIT_SECONDS))
        watchers = Watchers(told)
        with leaving_in_order(watchers.leave):
            watchers.fails(error)
            watchers.finish()
        raise


def _pings(latest: Callable[[], PingSettings], patience_seconds: float) -> "Pings":
    from etl.ops.pings import Pings  # noqa: PLC0415 - for those who are pinged

    post = build_post(latest)
    return Pings(lambda: latest().url, post, code_of, patience_seconds=patience_seconds)
