"""Who is told what becomes of each slot, besides the log: as the settings have it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from etl.bootstrap import build_post, metrics_told
from etl.cli.command import CONFIG
from etl.cli.exits import code_of
from etl.keys import Keys
from etl.settings import PingSettings, Settings, read_ping_settings
from etl.watchers import Watcher

if TYPE_CHECKING:
    from etl.ops.pings import Pings

# What is still to be told when the program ends: a run may wait for the deadline of its two pings, the daemon has to be
# gone within 10 seconds of being told to.
RUN_WAITS_SECONDS = 10.0
DAEMON_WAITS_SECONDS = 1.0


def others_of(latest: Callable[[], Settings], *, stays: bool = False) -> list[Watcher]:
    """Those who are told besides the log. ``latest`` are the settings, which the daemon may read again."""

    def pings() -> PingSettings:
        chosen = latest()
        return PingSettings(chosen.ping_url, chosen.proxy, chosen.ca_bundle)

    if not stays and latest().ping_url is None:
        return []
    return [_pings(pings, DAEMON_WAITS_SECONDS if stays else RUN_WAITS_SECONDS)]


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
        chosen = read_ping_settings(click.get_current_context().meta.get(CONFIG))
        if chosen is not None and chosen.url is not None:
            pings = _pings(lambda: chosen, RUN_WAITS_SECONDS)
            pings.fails(error)
            pings.finish()
        raise


def _pings(latest: Callable[[], PingSettings], patience_seconds: float) -> "Pings":
    from etl.ops.pings import Pings  # noqa: PLC0415 - for those who are pinged

    post = build_post(latest)
    return Pings(lambda: latest().url, post, code_of, patience_seconds=patience_seconds)
