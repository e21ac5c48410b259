"""``health`` against a bare script that imports sqlite3 and reads one row: whole processes."""

import sys
from pathlib import Path

from benchmarks import sandboxes
from benchmarks.measuring import Cost, Row, duel, environment, interleaved, run

WHAT = "`health`, whole process, SQLite"
BARE = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
print(connection.execute("SELECT taken_at FROM snapshot ORDER BY slot_at DESC LIMIT 1").fetchone()[0])
"""


def measure(directory: Path, runs: int) -> list[Row]:
    """Once with the settings in the environment, once with a config file, which has to be read as well."""
    database, config = directory / "state" / "balances.db", directory / "bingx-etl.toml"
    with sandboxes.strict(directory / "sandbox") as sandbox:
        program = sandbox.settings_of_program(BINGX_ETL_STATE_DIR=str(directory / "state"), BINGX_ETL_INTERVAL="1d")
        run([sys.executable, "-m", "etl", "snapshot"], program)
    config.write_text(f'state_dir = "{directory / "state"}"\ninterval = "1d"\n')

    def health(*more: str | Path, **settings: str) -> Cost:
        return run([sys.executable, "-m", "etl", "health", *more], environment(**settings))

    costs = interleaved(
        {
            "environment": lambda: health(BINGX_ETL_STATE_DIR=str(database.parent), BINGX_ETL_INTERVAL="1d"),
            "file": lambda: health("--config", config),
            "bare": lambda: run([sys.executable, "-c", BARE, database], environment()),
        },
        runs,
    )
    against = "a bare script that imports sqlite3 and reads one row"
    return [
        duel(WHAT, costs["environment"], against, costs["bare"], most=2, unit="ms"),
        duel("", costs["file"], "the same; `health` with a config file", costs["bare"], most=2, unit="ms"),
    ]
