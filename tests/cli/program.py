"""The program as a process, against a sandbox, with nothing in its environment but what a test puts there."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from etl.sandbox.exchange import Exchange
from etl.sandbox.serve import environment
from etl.sandbox.server import SandboxServer
from tests.reading import rows

# Short enough to see several slots, long enough that a run begun with one ends in it.
SHORT = "4s"
ROOT = Path(__file__).parents[2]


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

    def start(self, *arguments: str, **environ: str | None) -> "subprocess.Popen[str]":
        """Start it; a variable that is None is taken out of its environment."""
        merged: Mapping[str, str | None] = {**self.environ, **environ}
        return subprocess.Popen(
            [sys.executable, "-m", "etl", *arguments],
            env={name: value for name, value in merged.items() if value is not None},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
            cwd=self.home,
        )

    def run(self, *arguments: str, **environ: str | None) -> Ran:
        """Run it to its end."""
        with self.start(*arguments, **environ) as process:
            try:
                out, err = process.communicate(timeout=60)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                raise
        return Ran(process.returncode, out, err)

    def in_next_slot(self) -> None:
        """Wait for the beginning of the next slot of :data:`SHORT`."""
        time.sleep(4.02 - time.time() % 4)

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """What its database says."""
        return rows(self.database_url, sql)

    def spooled(self) -> list[Path]:
        """The files that wait."""
        return sorted((self.state / "spool").glob("*.outcome"))

    def everything_written(self) -> bytes:
        """Every byte of every file under its home."""
        return b"".join(path.read_bytes() for path in self.home.rglob("*") if path.is_file())
