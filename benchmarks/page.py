"""The page of a report over years: its size, what it takes to build it, and when a browser shows it."""

import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.measuring import ROOT, Row, environment, run
from tests.browser import CHROMIUM, started

FIRST_PAINT = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
DRAWN = "performance.getEntriesByName('drawn')[0]?.startTime"


def measure(directory: Path, years: int, runs: int) -> list[Row]:
    """The daily query takes turns with it in one process; the browser is a new one each time."""
    database, page = directory / "years.db", directory / "page.html"
    state = environment(BINGX_ETL_DATABASE_URL=f"sqlite:///{database}", BINGX_ETL_STATE_DIR=str(directory))
    run([sys.executable, "-m", "etl", "db", "upgrade"], state)
    _rig("years", directory, years)
    daily, built, size = map(float, _rig("page", database, page, runs).split())
    ratio = built / daily
    what = f"HTML page for {years} year{'s' * (years > 1)} of 5-minute snapshots, 8 types (SQLite)"
    rows = [
        Row(what, "", f"{size / 1e6:.1f} MB", "< 8 MB", size < 8e6, {"bytes": size}),
        Row(
            "building it, in-process",
            "`SELECT * FROM daily_equity` for that account",
            f"{ratio:.1f} times ({built:.2f} s : {daily:.2f} s)",
            "≤ 10 times",
            ratio <= 10,
            {"ratio": ratio, "seconds": built, "daily_seconds": daily, "runs": runs},
        ),
    ]
    if CHROMIUM is None:
        return [*rows, Row("its first paint", "", "NOT MEASURED: there is no chromium here", "< 2 s", met=False)]
    painted, drawn = zip(*(_seen(page) for _ in range(runs)), strict=True)
    paint, charts = statistics.median(painted), statistics.median(drawn)
    reached = f"{paint:.2f} s; all charts drawn after {charts:.2f} s"
    return [
        *rows,
        Row(
            "its first paint in Chromium", "", reached, "< 2 s", paint < 2, {"seconds": paint, "drawn_seconds": charts}
        ),
    ]


def _rig(name: str, *arguments: object) -> str:
    command = [sys.executable, "-m", f"benchmarks.rigs.{name}", *map(str, arguments)]
    return subprocess.run(command, env=environment(), cwd=ROOT, capture_output=True, text=True, check=True).stdout


def _seen(file: Path) -> tuple[float, float]:
    """Seconds from the beginning of the navigation to the first paint, and until the charts are there."""
    with tempfile.TemporaryDirectory(prefix="chromium-") as home, started(Path(home)) as browser:
        page = browser.new_page()
        page.resize(1440)
        page.open(file.as_uri())
        page.until(f"{FIRST_PAINT} && {DRAWN}")
        return page.run(FIRST_PAINT) / 1000, page.run(DRAWN) / 1000
