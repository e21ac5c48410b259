"""The sandbox in a process of its own: as strict as ``bingx-etl sandbox``, or without any limit.

``python -m benchmarks.sandboxes ACCOUNTS`` is the one without limits: nobody is refused for asking often, and its clock
is that of whoever asks, so that a clock can be driven faster than time.
"""

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measuring import ROOT, environment

SEED = 7
TIMESTAMP = re.compile(r"[?&]timestamp=([0-9]{13})")


@dataclass(frozen=True, slots=True)
class Account:
    """What a contestant needs to ask for one account."""

    name: str
    key: str
    secret: str


@dataclass(frozen=True, slots=True)
class Sandbox:
    """A sandbox that runs; the config file of all its accounts is in ``directory``."""

    url: str
    directory: Path

    @property
    def config(self) -> Path:
        """The config file of the program."""
        return self.directory / "bingx-etl.toml"

    @property
    def accounts(self) -> list[Account]:
        """All of them, the main account first."""
        secrets = self.directory / "secrets"
        names = sorted((path.name.removesuffix(".api_key") for path in secrets.glob("*.api_key")), key=_number)
        return [
            Account(
                name,
                (secrets / f"{name}.api_key").read_text().strip(),
                (secrets / f"{name}.api_secret").read_text().strip(),
            )
            for name in names
        ]

    def settings(self, **more: str) -> dict[str, str]:
        """The environment in which contestants find the main account."""
        main = self.accounts[0]
        return environment(BASE_URL=self.url, API_KEY=main.key, API_SECRET=main.secret, **more)

    def settings_of_program(self, **more: str) -> dict[str, str]:
        """The environment in which the program finds the main account."""
        main = self.accounts[0]
        return environment(BINGX_ETL_BASE_URL=self.url, BINGX_API_KEY=main.key, BINGX_API_SECRET=main.secret, **more)


def _number(name: str) -> int:
    return 0 if name == "main" else int(name.partition("-")[2])


@contextmanager
def strict(directory: Path, accounts: int = 1) -> Iterator[Sandbox]:
    """``bingx-etl sandbox``."""
    command = ["-m", "etl", "sandbox", "--accounts", str(accounts), "--seed", str(SEED), "--config-dir", str(directory)]
    with _running(command, directory) as sandbox:
        yield sandbox


@contextmanager
def unlimited(directory: Path, accounts: int = 1) -> Iterator[Sandbox]:
    """The one below."""
    with _running(["-m", "benchmarks.sandboxes", str(accounts), str(directory)], directory) as sandbox:
        yield sandbox


@contextmanager
def _running(arguments: list[str], directory: Path) -> Iterator[Sandbox]:
    process = subprocess.Popen(
        [sys.executable, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=ROOT,
        env=environment(),
    )
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        config = directory / "bingx-etl.toml"
        end = time.monotonic() + 60
        while not config.exists():
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError("the sandbox did not start")
            time.sleep(0.05)
        yield Sandbox(url, directory)
    finally:
        process.terminate()
        process.wait()


def _serve(accounts: int, directory: Path) -> None:
    from etl.sandbox.exchange import Answered, Exchange
    from etl.sandbox.limits import NO_LIMITS
    from etl.sandbox.serve import example_config
    from etl.sandbox.server import SandboxServer

    clock = threading.local()

    class Lenient(Exchange):
        def answer(self, method: str, target: str, api_key: str | None, address: str) -> Answered:
            said = TIMESTAMP.search(target)
            clock.now = int(said[1]) / 1000 if said else time.time()
            return super().answer(method, target, api_key, address)

    exchange = Lenient(
        accounts, SEED, lambda: getattr(clock, "now", time.time()), limits=NO_LIMITS, refuse_replays=False
    )
    server = SandboxServer(exchange).start()
    print(server.url, flush=True)
    example_config(exchange, directory, server.url)
    while os.getppid() != 1:
        time.sleep(1)


if __name__ == "__main__":
    _serve(int(sys.argv[1]), Path(sys.argv[2]))
