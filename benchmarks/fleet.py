"""A thousand accounts at once with the limit lifted, and fifteen hundred under it."""

import json
import shutil
import sqlite3
import sys
import urllib.request
from contextlib import closing
from pathlib import Path

from benchmarks import sandboxes
from benchmarks.measuring import Cost, Row, duel, environment, interleaved, median, run
from benchmarks.snapshot import CONTESTANTS

ACCOUNTS, LIMITED_ACCOUNTS = 1_000, 1_500
LIMIT, WINDOW_SECONDS = 300, 10.0
MOST_MEMORY = 150_000_000
OVERVIEW = "/openApi/account/v1/allAccountBalance"
SNAPSHOT = [sys.executable, "-m", "etl", "snapshot"]
# No slot ends while it is measured.
SETTINGS = {"BINGX_ETL_INTERVAL": "1d"}
LIFTED = {"BINGX_ETL_IP_LIMIT": "1000000/1s"}


def measure(directory: Path, runs: int) -> list[Row]:
    """Each run has its slot to itself, and knows the UIDs from a first one."""
    accounts = directory / "accounts"
    with sandboxes.unlimited(directory / "sandbox", ACCOUNTS) as sandbox:
        accounts.write_text("".join(f"{a.name} {a.key} {a.secret}\n" for a in sandbox.accounts))
        state, known = directory / "state", directory / "known"
        settings = environment(
            BINGX_ETL_CONFIG=str(sandbox.config), BINGX_ETL_STATE_DIR=str(state), **SETTINGS, **LIFTED
        )
        run(SNAPSHOT, settings)
        _check(state, ACCOUNTS)
        _forget_slot(state)
        state.rename(known)

        def ours() -> Cost:
            shutil.rmtree(state, ignore_errors=True)
            shutil.copytree(known, state)
            cost = run(SNAPSHOT, settings)
            _check(state, ACCOUNTS)
            return cost

        bare: list[str | Path] = [sys.executable, CONTESTANTS / "bare.py", directory / "bare.db", accounts]
        costs = interleaved({"fleet": ours, "bare": lambda: run(bare, sandbox.settings())}, runs)
    peak = median(costs["fleet"]).peak_bytes
    return [
        duel(
            f"{ACCOUNTS:,} accounts in one slot, limit lifted, whole process",
            costs["fleet"],
            "the bare script's loop with a Session over the same requests, one commit",
            costs["bare"],
            most=3,
        ),
        Row("", "", f"peak memory {peak / 1e6:.0f} MB", "< 150 MB", peak < MOST_MEMORY, {"peak_bytes": peak}),
    ]


def measure_limited(directory: Path) -> list[Row]:
    """The rate is that after the first burst, which the limit allows at once: an average over whole windows."""
    state = directory / "state"
    with sandboxes.unlimited(directory / "lifted", LIMITED_ACCOUNTS) as lifted:
        settings = environment(BINGX_ETL_CONFIG=str(lifted.config), BINGX_ETL_STATE_DIR=str(state), **SETTINGS)
        run(SNAPSHOT, settings | LIFTED)
        _forget_slot(state)
    with sandboxes.strict(directory / "strict", LIMITED_ACCOUNTS) as sandbox:
        run(SNAPSHOT, settings | {"BINGX_ETL_CONFIG": str(sandbox.config)})
        with urllib.request.urlopen(f"{sandbox.url}/sandbox/requests") as answer:
            asked = json.load(answer)
    _check(state, LIMITED_ACCOUNTS)
    times = sorted(request["at"] for request in asked["requests"] if request["path"] == OVERVIEW)
    others = sum(number for path, _, number in asked["counts"] if path != OVERVIEW)
    refused = sum(number for _, outcome, number in asked["counts"] if outcome != "ok")
    if len(times) != LIMITED_ACCOUNTS + refused or others:
        raise RuntimeError(f"{len(times)} requests and {others} others: {asked['counts']}")
    rate = (len(times) - LIMIT) / (times[-1] - times[LIMIT - 1])
    share = rate / (LIMIT / WINDOW_SECONDS)
    return [
        Row(
            f"{LIMITED_ACCOUNTS:,} accounts under {LIMIT} per {WINDOW_SECONDS:g} s",
            "the limit",
            f"{share:.1%} of the allowed rate ({rate:.1f} a second); {refused} rate-limit answers",
            "≥ 95 %, and none",
            share >= 0.95 and not refused,
            {"rate_per_second": rate, "share": share, "refused": refused, "seconds": times[-1] - times[0]},
        )
    ]


def _forget_slot(state: Path) -> None:
    """As if the slot had not been recorded yet, nor anything been asked for."""
    with closing(sqlite3.connect(state / "balances.db")) as database, database:
        for table in ("balance", "payload", "snapshot"):
            database.execute(f"DELETE FROM {table}")
    for file in state.glob("*.limit"):
        file.unlink()


def _check(state: Path, accounts: int) -> None:
    with closing(sqlite3.connect(state / "balances.db")) as database:
        [stored] = database.execute("SELECT count(*) FROM snapshot WHERE status = 'complete'").fetchone()
    if stored != accounts:
        raise RuntimeError(f"{stored} of {accounts} accounts were recorded")
