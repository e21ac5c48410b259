"""One-shot ``snapshot`` against three ways to do without this program: whole processes, a new slot each time."""

import sys
import time
from pathlib import Path

from benchmarks import sandboxes
from benchmarks.measuring import ROOT, Cost, Row, duel, environment, interleaved, run

CONTESTANTS = ROOT / "benchmarks" / "contestants"
WHAT = "one-shot `snapshot`, whole process, SQLite"


def measure(directory: Path, rivals: Path, runs: int) -> list[Row]:
    """``rivals`` is the Python of the environment with ccxt and dlt."""
    with sandboxes.strict(directory / "sandbox") as sandbox:
        program = sandbox.settings_of_program(BINGX_ETL_STATE_DIR=str(directory / "state"), BINGX_ETL_INTERVAL="1s")
        script = sandbox.settings(DLT_TELEMETRY="0", RUNTIME__DLTHUB_TELEMETRY="false")

        def ours() -> Cost:
            time.sleep(1 - time.time() % 1 + 0.01)  # a new slot, for a second snapshot of one would cost less
            return run([sys.executable, "-m", "etl", "snapshot"], program)

        costs = interleaved(
            {
                "ours": ours,
                "bare": lambda: run([sys.executable, CONTESTANTS / "bare.py", directory / "bare.db"], script),
                "ccxt": lambda: run([rivals, CONTESTANTS / "ccxt_orm.py", directory / "ccxt.db"], script),
                "dlt": lambda: run(
                    [rivals, CONTESTANTS / "dlt_pipeline.py", directory / "dlt.db", directory / "pipelines"], script
                ),
                "python": lambda: run([sys.executable, "-c", "pass"], environment()),
            },
            runs,
        )
    return [
        duel(WHAT, costs["ours"], "a bare script: requests + sqlite3, no checks", costs["bare"], most=3),
        duel("", costs["ours"], "ccxt + SQLAlchemy ORM, flat table", costs["ccxt"], most=0.7),
        duel("", costs["ours"], "a dlt pipeline, SQLite", costs["dlt"], most=0.5),
    ]
