"""A PostgreSQL with the server's own defaults, fsync included: a line on stdin makes a database and prints its URL.

The tests' server would not do: it never waits for the disk.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests import postgres


@contextmanager
def started() -> Iterator[postgres.PostgresServer]:
    """The server that the tests are told to use, or one from the same wheel."""
    if given := os.environ.get(postgres.ADMIN_URL):
        yield postgres.PostgresServer(given)
        return
    home = Path(tempfile.mkdtemp(prefix="pg-"))
    user: dict[str, int] = {}
    if os.getuid() == 0:
        os.chown(home, postgres.NOBODY, postgres.NOBODY)
        user = {"user": postgres.NOBODY, "group": postgres.NOBODY}
    binaries, data, port = postgres._binaries(home), home / "data", postgres._free_port()
    try:
        initdb = [binaries / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C"]
        subprocess.run(initdb, check=True, capture_output=True, cwd=home, **user)  # type: ignore[call-overload]
        command = [binaries / "postgres", "-D", data, "-k", home, "-h", "127.0.0.1", "-p", str(port)]
        with (home / "log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, cwd=home, **user)  # type: ignore[call-overload]
        try:
            server = postgres.PostgresServer(f"postgresql://postgres@127.0.0.1:{port}/postgres", process, data)
            postgres._wait_for(server, home / "log")
            yield server
        finally:
            process.terminate()
            process.wait()
    finally:
        shutil.rmtree(home)


def main() -> None:
    """Until stdin ends."""
    with started() as server, ExitStack() as databases:
        for _ in sys.stdin:
            print(databases.enter_context(server.database()), flush=True)


if __name__ == "__main__":
    main()
