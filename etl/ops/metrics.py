"""Metrics for Prometheus: over HTTP from the daemon, and as a file for node_exporter from whoever records.

What is told was noted when a slot ended, so a scrape asks neither the database nor, but for the names of what waits,
the disk. Nothing in here can harm the recording: what does not work is said once, and tried again.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from etl.load.lineage import Lineage
from etl.ops import textfile
from etl.ops.ledger import Ledger
from etl.ops.ledger_file import LedgerFile
from etl.ops.waiting import Lookout
from etl.recorder import Slot, Stored
from etl.watchers import Watcher

if TYPE_CHECKING:  # the library costs as much as a tenth of a run, and is imported where metrics are wanted
    from etl.ops.exposition import View
    from etl.ops.metrics_server import MetricsServer

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Told:
    """What the settings say of metrics: what is expected, and who is to be told. ``listen`` is a host and a port."""

    state_dir: Path
    accounts: tuple[str, ...]
    interval_seconds: int
    ip_limit: tuple[int, float]
    needed_revision: str
    listen: tuple[str, int] | None
    textfile: Path | None


class Metrics(Watcher):
    """Notes every slot, and tells. Any thread may call; nothing is noted before :meth:`follow` was."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._told: Told | None = None
        self._file: LedgerFile | None = None
        self._lookout: Lookout | None = None
        self._ledger = Ledger()  # never changed, only exchanged: who renders it needs no lock
        self._server: MetricsServer | None = None
        self._said = {"listen": "", "textfile": ""}
        self._rendering = threading.Lock()
        self._rendered: dict[bool, tuple[Ledger, Told, bytes]] = {}

    def follow(self, told: Told) -> None:
        """Go by these settings from now on: at the start, and whenever they were read again. Raises nothing."""
        try:
            self._follow(told)
        except Exception:
            log.exception("a defect of the metrics: recording goes on")

    def _follow(self, told: Told) -> None:
        before, self._told = self._told, told
        if before is None or before.listen != told.listen:
            self._close()
        if told.listen is None and told.textfile is None:
            self._file = None
            return
        if self._file is None:
            self._file, self._lookout = LedgerFile(told.state_dir), Lookout(told.state_dir)
        with self._file.changing() as ledger:
            ledger.expect(told.accounts, self._now())
        self._ledger = ledger
        self._listen()

    def begins(self) -> None:
        """A port that was taken may be free by now."""
        self._listen()

    def ends(self, slots: Sequence[Slot], stored: Stored) -> None:
        """Note what became of the slots, and tell."""
        told = self._told
        if told is None:
            return

        def note(ledger: Ledger) -> None:
            ledger.note(slots, stored, self._now(), told.needed_revision)
            with suppress(OSError):
                known = Lineage(told.state_dir).known()
                ledger.history_begun_anew = None if known is None else known.instead is not None

        self._change(note)

    def fails(self, error: Exception) -> None:
        """A slot without any outcome."""
        del error
        told = self._told
        if told is not None:
            now = self._now()
            slot_at = now // told.interval_seconds * told.interval_seconds
            self._change(lambda ledger: ledger.note_failed_run(told.accounts, slot_at, now))

    def finish(self) -> None:
        """The program ends."""
        self._close()

    def render(self, *, openmetrics: bool) -> bytes:
        """What is served. What was noted is rendered once for all readers until the next slot."""
        from etl.ops.exposition import noted, present  # noqa: PLC0415

        told, view = self._told, self._view()
        if told is None or view is None:
            return b""
        with self._rendering:
            ledger, settings, content = self._rendered.get(openmetrics, (None, None, b""))
            if ledger is not view.ledger or settings is not told:
                content = noted(view, openmetrics=openmetrics)
                self._rendered[openmetrics] = view.ledger, told, content
        return content + present(view, openmetrics=openmetrics)

    def _change(self, change: Callable[[Ledger], None]) -> None:
        file, told = self._file, self._told
        if file is None or told is None:
            return
        with file.changing() as ledger:
            ledger.expect(told.accounts, self._now())
            change(ledger)
            self._ledger = ledger
            if told.textfile is not None:
                self._write(told.textfile)  # while others wait, so that no older file takes the place of a newer one

    def _write(self, path: Path) -> None:
        from etl.ops.exposition import text  # noqa: PLC0415

        view = self._view(now=True)
        if view is None:
            return
        try:
            textfile.write(path, text(view))
        except OSError as error:
            self._tell("textfile", f"metrics_textfile {path} cannot be written: {error.strerror}; recording goes on")
        else:
            self._tell("textfile", "")

    def _view(self, *, now: bool = False) -> "View | None":
        from etl.ops.exposition import View  # noqa: PLC0415

        told, lookout = self._told, self._lookout
        if told is None or lookout is None:
            return None
        spool, quarantine = lookout.look(now=now)
        return View(
            ledger=self._ledger,
            accounts=told.accounts,
            interval_seconds=told.interval_seconds,
            limit_requests=told.ip_limit[0],
            limit_seconds=told.ip_limit[1],
            needed_revision=told.needed_revision,
            spool=spool,
            quarantine=quarantine,
        )

    def _listen(self) -> None:
        """Recording is worth more than metrics: a port that is taken is told, and tried again in the next slot."""
        told = self._told
        if told is None or told.listen is None or self._server is not None:
            return
        from etl.ops.metrics_server import MetricsServer  # noqa: PLC0415

        host, port = told.listen
        try:
            self._server = MetricsServer(told.listen, lambda openmetrics: self.render(openmetrics=openmetrics))
        except OSError as error:
            why = error.strerror or type(error).__name__
            self._tell("listen", f"metrics_listen {host}:{port} cannot be had: {why}; recording goes on without it")
        else:
            self._tell("listen", "")
            log.info("metrics are at %s", self._server.url)

    def _close(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.close()

    def _tell(self, what: str, trouble: str) -> None:
        """Once, until it is another."""
        if trouble and trouble != self._said[what]:
            log.warning("%s", trouble)
        self._said[what] = trouble
