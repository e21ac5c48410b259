"""``python -m benchmarks``: what this program costs, measured against what people would use without it.

Prints one table. Contestants take turns (A B A B …), and a figure is a ratio of medians of one invocation: on a machine
that does other things as well, nothing else means much.
"""

import argparse
import json
import platform
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import backup, daemon, fleet, health, loading, metrics, page, reading, size, slots, snapshot
from benchmarks.measuring import ROOT, Row

HEAD = ("what", "against", "reached", "to reach", "met?")


def main() -> None:
    """The rows that are asked for, or all."""
    options = _parser().parse_args()
    runs = options.runs
    rows: dict[str, Callable[[Path], list[Row]]] = {
        "snapshot": lambda directory: snapshot.measure(directory, options.rivals, runs or 15),
        "slots": lambda directory: slots.measure(directory, runs or 15),
        "fleet": lambda directory: fleet.measure(directory, runs or 5),
        "limit": fleet.measure_limited,
        "loading": lambda directory: loading.measure(directory, runs or 3, options.outcomes),
        "health": lambda directory: health.measure(directory, runs or 15),
        "metrics": lambda directory: metrics.measure(directory, runs or 25),
        "reading": lambda directory: reading.measure(directory, runs or 5, options.years),
        "page": lambda directory: page.measure(directory, options.years, runs or 5),
        "size": lambda directory: size.measure(directory, options.years),
        "backup": lambda directory: backup.measure(directory, runs or 5, options.years),
        "idle": lambda directory: daemon.measure_idle(directory, options.idle_seconds),
        "flat": lambda directory: daemon.measure_flat(directory, options.slots),
    }
    unknown = [name for name in options.rows if name not in rows]
    if unknown:
        sys.exit(f"no row {unknown[0]!r}; there are: {', '.join(rows)}")
    found: list[Row] = []
    failed = False
    for name in options.rows or rows:
        sys.stderr.write(f"{name} …\n")
        where = daemon.quick_directory() if name == "flat" else None
        with tempfile.TemporaryDirectory(prefix="bench-", dir=where) as directory:
            try:
                found += rows[name](Path(directory))
            except Exception as error:  # noqa: BLE001 - the other rows are still worth having; this one is not hidden
                failed = True
                found.append(Row(name, "", f"NOT MEASURED: {type(error).__name__}: {error}", "", met=False))
    if options.json:
        about = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "python": platform.python_version()}
        print(json.dumps({**about, "system": platform.platform(), "rows": [asdict(row) for row in found]}, indent=1))
    else:
        print(table(found))
    sys.exit(failed)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="benchmarks", description="What recording costs, and against what.")
    parser.add_argument(
        "rows",
        nargs="*",
        help="only these: snapshot slots fleet limit loading health metrics reading page size backup idle flat",
    )
    parser.add_argument("--json", action="store_true", help="every figure, for programs")
    parser.add_argument("--runs", type=int, help="of each contestant, instead of each row's own number")
    parser.add_argument("--slots", type=int, default=10_000, help="of the row flat; 100000 take a quarter of an hour")
    parser.add_argument("--outcomes", type=int, default=100_000, help="in the spool that is loaded")
    parser.add_argument("--years", type=int, default=1, help="of history that is read or shown, or whose size is taken")
    parser.add_argument("--idle-seconds", type=float, default=30, help="for which the idle daemon is watched")
    parser.add_argument(
        "--rivals",
        type=Path,
        default=ROOT / ".venv-bench" / "bin" / "python",
        help="the Python of the environment with ccxt and dlt",
    )
    return parser


def table(rows: list[Row]) -> str:
    """As Markdown, aligned."""
    cells = [HEAD, *((row.what, row.against, row.reached, row.to_reach, _said(row)) for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(HEAD))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in cells
    ]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])


def _said(row: Row) -> str:
    return "yes" if row.met else "NO"


if __name__ == "__main__":
    main()
