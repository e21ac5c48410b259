"""Loading what an outage has left in the spool, against the driver's executemany of the rows that come of it."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.measuring import ROOT, Cost, Row, duel, environment, median, progress, run

DRIVER = [sys.executable, "-m", "benchmarks.rigs.driver"]
ETL = [sys.executable, "-m", "etl"]
MOST_GROWTH = 1.25


def measure(directory: Path, runs: int, outcomes: int) -> list[Row]:
    """A row of time for each database, and one of memory."""
    for count in (outcomes // 10, outcomes):
        run([sys.executable, "-m", "benchmarks.rigs.outage", directory / f"outage-{count}", str(count)], environment())
    numbers = iter(range(10**6))

    def sqlite() -> str:
        return f"sqlite:///{directory}/{next(numbers)}.db"

    rows = _duel(directory, "SQLite", sqlite, runs, outcomes)
    with postgresql() as create:
        rows += _duel(directory, "PostgreSQL", create, runs, outcomes)
    return rows


def _duel(directory: Path, name: str, create: Callable[[], str], runs: int, outcomes: int) -> list[Row]:
    _, few = _ours(directory, create, outcomes // 10)
    dump = directory / f"{name}.rows"
    ours, theirs = list[Cost](), list[Cost]()
    for number in range(runs):
        progress(f"{name} {number + 1}/{runs}: spool load")
        url, cost = _ours(directory, create, outcomes)
        ours.append(cost)
        if not dump.exists():
            run([*DRIVER, "dump", url, dump], environment())
        progress(f"{name} {number + 1}/{runs}: executemany")
        theirs.append(_theirs(_empty(create), dump))
    progress("")
    growth = median(ours).peak_bytes / few.peak_bytes
    return [
        duel(f"loading {outcomes:,} outcomes, {name}", ours, "executemany by the driver alone", theirs, most=6),
        Row(
            "",
            f"its peak memory with {outcomes // 10:,}",
            f"{growth:.2f} times ({median(ours).peak_bytes / 1e6:.0f} MB : {few.peak_bytes / 1e6:.0f} MB)",
            f"flat (≤ {MOST_GROWTH:g} times)",
            growth <= MOST_GROWTH,
            {"peak_bytes": median(ours).peak_bytes, "peak_bytes_of_a_tenth": few.peak_bytes},
        ),
    ]


def _empty(create: Callable[[], str]) -> str:
    url = create()
    state = url.removeprefix("sqlite:///") + ".state" if url.startswith("sqlite") else "/tmp"
    run([*ETL, "db", "upgrade"], environment(BINGX_ETL_DATABASE_URL=url, BINGX_ETL_STATE_DIR=state))
    return url


def _ours(directory: Path, create: Callable[[], str], count: int) -> tuple[str, Cost]:
    """``bingx-etl spool load``, the whole process."""
    url, state = _empty(create), directory / "state"
    shutil.rmtree(state, ignore_errors=True)
    shutil.copytree(directory / f"outage-{count}", state, copy_function=os.link)
    cost = run([*ETL, "spool", "load"], environment(BINGX_ETL_DATABASE_URL=url, BINGX_ETL_STATE_DIR=str(state)))
    if next((state / "spool").iterdir(), None) is not None:
        raise RuntimeError("not everything was loaded")
    return url, cost


def _theirs(url: str, dump: Path) -> Cost:
    done = subprocess.run(
        [*DRIVER, "load", url, dump], env=environment(), cwd=ROOT, capture_output=True, text=True, check=True
    )
    wall, cpu = map(float, done.stdout.split())
    return Cost(wall, cpu)


@contextmanager
def postgresql() -> Iterator[Callable[[], str]]:
    """Makes databases in a server of its own, and gives their URLs."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.rigs.postgres"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=environment(),
    )
    assert process.stdin is not None
    assert process.stdout is not None
    wishes, urls = process.stdin, process.stdout

    def create() -> str:
        wishes.write("\n")
        wishes.flush()
        return urls.readline().strip()

    try:
        yield create
    finally:
        process.communicate()
