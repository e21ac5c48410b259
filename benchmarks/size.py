"""Bytes per balance in SQLite, payload apart, against a flat table with an index on time."""

import subprocess
import sys
from pathlib import Path

from benchmarks.measuring import ROOT, Row, environment, run


def measure(directory: Path, years: int) -> list[Row]:
    """Both databases grow by whole rows in order of time, so that a year tells what five come to."""
    state = environment(BINGX_ETL_DATABASE_URL=f"sqlite:///{directory}/years.db", BINGX_ETL_STATE_DIR=str(directory))
    run([sys.executable, "-m", "etl", "db", "upgrade"], state)
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.rigs.years", directory, str(years)],
        env=environment(),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    ours, flat, balances, types = map(float, done.stdout.split())
    ratio = ours / flat
    return [
        Row(
            f"{years} year{'s' * (years > 1)} of 5-minute snapshots, {types:g} types (SQLite): bytes per balance,"
            " payload apart",
            "flat table (time, type, amount as text) with an index on time",
            f"{ratio:.2f} times ({ours / balances:.1f} : {flat / balances:.1f} bytes)",
            "≤ 0.75 times",
            ratio <= 0.75,
            {"ratio": ratio, "bytes": ours / balances, "flat_bytes": flat / balances, "balances": balances},
        )
    ]
