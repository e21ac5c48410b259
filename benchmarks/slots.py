"""Each further slot inside one process, against the same loop in a script: rounds of both in turn."""

import sys
from pathlib import Path

from benchmarks import sandboxes
from benchmarks.measuring import Rounds, Row, duel, interleaved
from benchmarks.snapshot import CONTESTANTS

SLOTS_PER_ROUND = 40


def measure(directory: Path, runs: int) -> list[Row]:
    """The row."""
    with sandboxes.unlimited(directory / "sandbox") as sandbox:
        program = sandbox.settings_of_program(
            BINGX_ETL_STATE_DIR=str(directory / "state"), BINGX_ETL_IP_LIMIT="1000000/1s"
        )
        bare: list[str | Path] = [sys.executable, CONTESTANTS / "bare.py", directory / "bare.db", "-"]
        with (
            Rounds([sys.executable, "-m", "benchmarks.rigs.slots"], program) as ours,
            Rounds(bare, sandbox.settings()) as theirs,
        ):
            costs = interleaved({"slot": lambda: ours(SLOTS_PER_ROUND), "bare": lambda: theirs(SLOTS_PER_ROUND)}, runs)
    return [
        duel(
            "each further slot inside the daemon, spool and fsync included",
            costs["slot"],
            "the bare script's loop",
            costs["bare"],
            most=2.5,
            unit="ms",
        )
    ]
