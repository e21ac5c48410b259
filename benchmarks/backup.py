"""A backup of years of snapshots while the daemon records a slot a second into the same file."""

import signal
import sqlite3
import statistics
import subprocess
import sys
import time
from contextlib import closing
from datetime import datetime
from pathlib import Path

from benchmarks import sandboxes
from benchmarks.measuring import ROOT, Row, environment, progress, run

ETL = [sys.executable, "-m", "etl"]
SLOTS = "SELECT slot_at FROM snapshot s JOIN account a ON a.id = s.account_id WHERE a.name = 'main'"


def measure(directory: Path, runs: int, years: int) -> list[Row]:
    """The row: how long a backup takes, and how many slots were missed from the first to the last."""
    database = directory / "years.db"
    settings = {"BINGX_ETL_DATABASE_URL": f"sqlite:///{database}", "BINGX_ETL_STATE_DIR": str(directory / "state")}
    run([*ETL, "db", "upgrade"], environment(**settings))
    progress("years of snapshots")
    run([sys.executable, "-m", "benchmarks.rigs.years", directory, str(years)], environment())
    with closing(sqlite3.connect(database)) as there, there:
        there.execute("UPDATE account SET name = 'of years'")
    with sandboxes.unlimited(directory / "sandbox") as sandbox:
        program = sandbox.settings_of_program(**settings, BINGX_ETL_INTERVAL="1s")
        with subprocess.Popen([*ETL, "run"], env=program, cwd=ROOT, stderr=subprocess.DEVNULL) as daemon:
            try:
                while len(_recorded(database)) < 3:
                    time.sleep(0.2)
                began, walls = time.time(), []
                for number in range(runs):
                    progress(f"backup {number + 1}/{runs}")
                    walls.append(run([*ETL, "db", "backup", directory / "copy.db", "--force"], program).wall)
                ended = time.time()
                time.sleep(2)
            finally:
                daemon.send_signal(signal.SIGTERM)
    progress("")
    expected = set(range(int(began) + 1, int(ended)))
    missed = len(expected - _recorded(database))
    seconds, megabytes = statistics.median(walls), (directory / "copy.db").stat().st_size / 1e6
    return [
        Row(
            f"a backup of {years} year{'s' * (years > 1)} of 5-minute snapshots, whole process, in slots of a second",
            "",
            f"{seconds:.1f} s for {megabytes:.0f} MB; {missed} of {len(expected)} slots missed",
            "no slot missed",
            not missed,
            {"seconds": seconds, "megabytes": megabytes, "slots": len(expected), "missed": missed},
        )
    ]


def _recorded(database: Path) -> set[int]:
    with closing(sqlite3.connect(database, timeout=30)) as there:
        return {round(datetime.fromisoformat(slot_at).timestamp()) for (slot_at,) in there.execute(SLOTS)}
