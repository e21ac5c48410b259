"""The daemon while it waits, and its work over many slots: what it uses must not grow."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from benchmarks import sandboxes
from benchmarks.measuring import ROOT, Row, Samples, progress

SETTLING_SECONDS = 5.0
SAMPLES = 10
WARM_UP_SLOTS = 3_000
MOST_GROWTH = 0.02


def measure_idle(directory: Path, seconds: float) -> list[Row]:
    """CPU time of all threads of ``bingx-etl run``, between two slots that are an hour apart."""
    with sandboxes.strict(directory / "sandbox") as sandbox:
        settings = sandbox.settings_of_program(BINGX_ETL_STATE_DIR=str(directory / "state"), BINGX_ETL_INTERVAL="1h")
        process = subprocess.Popen(
            [sys.executable, "-m", "etl", "run"], env=settings, cwd=ROOT, stderr=subprocess.PIPE, text=True
        )
        try:
            assert process.stderr is not None
            while "slot recorded" not in (line := process.stderr.readline()):
                if not line:
                    raise RuntimeError("the daemon ended")
            time.sleep(SETTLING_SECONDS)
            began, used = time.monotonic(), cpu_seconds(process.pid)
            time.sleep(seconds)
            share = (cpu_seconds(process.pid) - used) / (time.monotonic() - began)
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate()
    return [
        Row(
            "the daemon idle between slots",
            "",
            f"{share:.3%} of a core, over {seconds:g} s",
            "< 0.1 %",
            share < 0.001,
            {"share": share, "seconds": seconds},
        )
    ]


def cpu_seconds(pid: int) -> float:
    """What a process has used so far: to the nanosecond on Linux, else as ``ps`` tells it."""
    tasks = Path(f"/proc/{pid}/task")
    if tasks.exists():
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks.iterdir()) / 1e9
    told = subprocess.run(["ps", "-o", "time=", "-p", str(pid)], capture_output=True, text=True, check=True).stdout
    minutes, _, rest = told.strip().rpartition(":")
    return float(minutes.rpartition(":")[2] or 0) * 60 + float(rest)


def measure_flat(directory: Path, slots: int) -> list[Row]:
    """Real source, extract, spool and load with a clock of our own; in memory rather than on a disk, where that is."""
    with sandboxes.unlimited(directory / "sandbox") as sandbox:
        settings = sandbox.settings_of_program(
            BINGX_ETL_STATE_DIR=str(directory / "state"), BINGX_ETL_IP_LIMIT="1000000/1s"
        )
        with Samples([sys.executable, "-m", "benchmarks.rigs.slots"], settings) as rig:
            last = first = rig.sample(WARM_UP_SLOTS)
            for number in range(SAMPLES):
                progress(f"slots: {slots // SAMPLES * (number + 1):,}/{slots:,}")
                last = rig.sample(slots // SAMPLES)
    progress("")
    growth = last.memory_bytes / first.memory_bytes - 1
    met = growth <= MOST_GROWTH and last.descriptors <= first.descriptors and last.threads <= first.threads
    return [
        Row(
            f"its memory, descriptors, threads after {slots:,} slots",
            f"those after {WARM_UP_SLOTS:,} before, in which its allocators settle",
            f"{last.memory_bytes / 1e6:.1f} : {first.memory_bytes / 1e6:.1f} MB ({growth:+.1%}),"
            f" {last.descriptors} : {first.descriptors}, {last.threads} : {first.threads}",
            f"flat (≤ {MOST_GROWTH:+.0%})",
            met,
            {"slots": slots, "memory_bytes": last.memory_bytes, "growth": growth},
        )
    ]


def quick_directory() -> str | None:
    """Where files cost no disk, if there is such a place."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
