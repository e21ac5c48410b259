"""The program as a process, against a sandbox, with nothing in its environment but what a test puts there."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from etl.grid import parse_instant
from etl.sandbox.exchange import Exchange
from etl.sandbox.limits import NO_LIMITS
from etl.sandbox.serve import environment
from etl.sandbox.server import SandboxServer
from tests.cli import warm
from tests.reading import rows

# Short enough to see several slots, long enough that a run begun with one ends in it.
SHORT = "4s"
ROOT = Path(__file__).parents[2]
# How long to wait for what is certain to come, on a machine that has other things to do.
PATIENCE_SECONDS = 45.0
RUNS_WITHIN_SECONDS = 60.0
T = TypeVar("T")


def eventually(condition: Callable[[], T], within: float = PATIENCE_SECONDS) -> T:
    """What the condition returns as soon as that is true."""
    deadline = time.monotonic() + within
    while not (value := condition()):
        assert time.monotonic() < deadline, "what was waited for never came"
        time.sleep(0.05)
    return value


def unix(instant: str | datetime) -> float:
    """An instant as either database gives it, in Unix seconds."""
    return (instant if isinstance(instant, datetime) else parse_instant(instant)).timestamp()


@dataclass(frozen=True, slots=True)
class Ran:
    """How a run ended."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Stdout as one JSON object per line."""
        return [json.loads(line) for line in self.out.splitlines()]


@dataclass
class Running:
    """A process that was not told to end yet, and will be at the end of its block. What it says goes into a file."""

    process: "subprocess.Popen[bytes]"
    log: Path

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if error is not None:
            error.add_note(f"{self.log.name}:\n{self.said}")

    @property
    def said(self) -> str:
        """Everything so far."""
        return self.log.read_text()

    @property
    def lines(self) -> list[str]:
        """The same, line by line."""
        return self.said.splitlines()

    def at(self, level: str) -> list[str]:
        """The lines of one level."""
        return [line for line in self.lines if line.split()[1:2] == [f"level={level}"]]

    def send(self, number: int) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def code(self, within: float = PATIENCE_SECONDS) -> int:
        """Its exit code, when it has ended."""
        return self.process.wait(within)

    def stop(self) -> int:
        """Ask it to end; its exit code."""
        self.send(signal.SIGTERM)
        return self.code()


@dataclass
class Program:
    """One user's installation: a home, a state directory, a database, and an exchange of its own."""

    home: Path
    server: SandboxServer
    database_url: str
    environ: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.environ = {
            "HOME": str(self.home),
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "BINGX_ETL_STATE_DIR": str(self.state),
            "BINGX_ETL_DATABASE_URL": self.database_url,
            "BINGX_ETL_RETRY_FOR": "0s",
            # Long, so that a test does not straddle two slots unless it wants to.
            "BINGX_ETL_INTERVAL": "1d",
            **environment(self.exchange, self.server.url),
        }

    @property
    def state(self) -> Path:
        """The state directory."""
        return self.home / "state"

    @property
    def exchange(self) -> Exchange:
        """What the sandbox knows."""
        return self.server.exchange

    def _environ(self, changes: Mapping[str, str | None]) -> dict[str, str]:
        """Its environment; a variable that is None is taken out of it."""
        merged = {**self.environ, **changes}
        return {name: value for name, value in merged.items() if value is not None}

    def start(self, *arguments: str, **environ: str | None) -> "subprocess.Popen[str]":
        """Start it; a variable that is None is taken out of its environment."""
        return subprocess.Popen(
            [sys.executable, "-m", "etl", *arguments],
            env=self._environ(environ),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
            cwd=self.home,
        )

    def run(self, *arguments: str, **environ: str | None) -> Ran:
        """Run it to its end: a process of its own, whose libraries are there already wherever that is all the same."""
        merged = self._environ(environ)
        if warm.is_all_the_same(merged):
            return Ran(*warm.run(arguments, merged, self.home, RUNS_WITHIN_SECONDS))
        with self.start(*arguments, **environ) as process:
            try:
                out, err = process.communicate(timeout=RUNS_WITHIN_SECONDS)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                raise
        return Ran(process.returncode, out, err)

    def daemon(self, *arguments: str, **environ: str | None) -> Running:
        """Start ``run``."""
        log = self.home / f"run-{len(list(self.home.glob('run-*.log')))}.log"
        with log.open("wb") as stderr:
            process = subprocess.Popen(
                [sys.executable, "-m", "etl", *arguments, "run"],
                env=self._environ(environ),
                stdout=stderr,
                stderr=stderr,
                stdin=subprocess.DEVNULL,
                cwd=self.home,
            )
        return Running(process, log)

    def in_next_slot(self) -> None:
        """Wait for the beginning of the next slot of :data:`SHORT`."""
        time.sleep(4.02 - time.time() % 4)

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """What its database says."""
        return rows(self.database_url, sql)

    def recorded(self) -> list[float]:
        """The slots that have a snapshot, in Unix seconds, as often as they have one."""
        return [unix(slot_at) for (slot_at,) in self._rows_so_far("SELECT slot_at FROM snapshot ORDER BY slot_at")]

    def failed(self) -> dict[float, str]:
        """The slots that have no snapshot, and why."""
        sql = (
            "SELECT slot_at, reason FROM failure f WHERE NOT EXISTS"
            " (SELECT 1 FROM snapshot s WHERE s.account_id = f.account_id AND s.slot_at = f.slot_at)"
        )
        return {unix(slot_at): reason for slot_at, reason in self._rows_so_far(sql)}

    def _rows_so_far(self, sql: str) -> list[tuple[Any, ...]]:
        """None before the program has made its SQLite database, which looking for it must not do."""
        if self.database_url.startswith("sqlite:///"):
            file = Path(self.database_url.removeprefix("sqlite:///"))
            if not file.is_file() or not self.rows("SELECT 1 FROM sqlite_schema WHERE name = 'slot_gap'"):
                return []
        return self.rows(sql)

    def spooled(self) -> list[Path]:
        """The files that wait."""
        return sorted((self.state / "spool").glob("*.outcome"))

    def everything_written(self) -> bytes:
        """Every byte of every file under its home."""
        return b"".join(path.read_bytes() for path in self.home.rglob("*") if path.is_file())


@contextmanager
def installed(home: Path, database_url: str | None = None) -> Iterator[Program]:
    """An installation of its own, for tests that need several: with SQLite where no database is given."""
    home.mkdir(parents=True)
    with SandboxServer(Exchange(3, 7, limits=NO_LIMITS, refuse_replays=False)) as server:
        yield Program(home, server, database_url or f"sqlite:///{home / 'state' / 'balances.db'}")
