"""``python -m tests.mutants``: take the safeguards away one at a time; each time, a test has to fail.

Exits with 1 if any mutant survives, with 2 if the table does not fit the code or the tests fail without a mutant.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from pathlib import Path

from tests.mutants.table import Mutant, complaints, read_table
from tests.mutants.trial import Outcome, Trial, copy_checkout, run_tests, try_mutant


def main(arguments: Sequence[str] | None = None) -> int:
    """Its exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__.partition("\n")[0])
    parser.add_argument("names", metavar="NAME", nargs="*", help="only mutants whose name contains one of these words")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the table")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, metavar="N", help="how many at a time")
    chosen = parser.parse_args(arguments)
    mutants = [m for m in read_table() if not chosen.names or any(name in m.name for name in chosen.names)]
    if not mutants:
        parser.error("no mutant has such a name")
    if stale := complaints(mutants):
        sys.stderr.write("\n".join(stale) + "\n")
        return 2
    began = time.monotonic()
    directory = Path(tempfile.mkdtemp(prefix="mutants-"))
    try:
        copy_checkout(directory / "pristine")
        without, trials = _try_all(mutants, directory, chosen.jobs)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    if without.outcome not in {Outcome.SURVIVED, Outcome.NOT_TRIED}:
        sys.stderr.write(f"{without.said}\nthe tests fail without any mutant: mend that first\n")
        return 2
    seconds = time.monotonic() - began
    sys.stdout.write(_as_json(mutants, trials, seconds) if chosen.json else _as_table(mutants, trials, seconds))
    for mutant in mutants:
        if (trial := trials[mutant.name]).outcome is not Outcome.KILLED:
            sys.stderr.write(f"\n--- {mutant.name}: {trial.outcome} ({mutant.promise})\n{trial.said}")
    return int(any(trial.outcome is not Outcome.KILLED for trial in trials.values()))


def _try_all(mutants: Sequence[Mutant], directory: Path, jobs: int) -> tuple[Trial, dict[str, Trial]]:
    """How the tests end without any mutant, and how with each."""
    pristine, trials = directory / "pristine", dict[str, Trial]()
    with ThreadPoolExecutor(max(1, jobs)) as pool:
        shutil.copytree(pristine, directory / "without")
        tests = sorted({test for mutant in mutants for test in mutant.tests})
        without = pool.submit(run_tests, tests, directory / "without")
        running: dict[Future[Trial], Mutant] = {
            pool.submit(try_mutant, mutant, pristine, directory / str(number)): mutant
            for number, mutant in enumerate(mutants)
        }
        try:
            for future in as_completed([without, *running]):
                if future is not without:
                    trials[running[future].name] = future.result()
                elif future.result().killed_by:
                    pool.shutdown(wait=False, cancel_futures=True)
                    break
                _show(len(trials), len(mutants), sum(t.outcome is not Outcome.KILLED for t in trials.values()))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    if sys.stderr.isatty():
        sys.stderr.write("\r\x1b[K")
    return without.result(), trials


def _show(done: int, of: int, alive: int) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{done} of {of} mutants" + (f", {alive} not killed" if alive else ""))
        sys.stderr.flush()


def _as_table(mutants: Sequence[Mutant], trials: Mapping[str, Trial], seconds: float) -> str:
    width = max(len(mutant.name) for mutant in mutants)
    lines = [f"{'without':{width}}  {'':9}  {'s':>5}  first test that failed"]
    for mutant in mutants:
        trial = trials[mutant.name]
        killed_by = trial.killed_by.removeprefix("tests/")
        lines.append(f"{mutant.name:{width}}  {trial.outcome:9}  {trial.seconds:5.1f}  {killed_by}".rstrip())
    killed = sum(trial.outcome is Outcome.KILLED for trial in trials.values())
    return "\n".join(lines) + f"\n{killed} of {len(mutants)} mutants killed in {seconds:.0f} s\n"


def _as_json(mutants: Sequence[Mutant], trials: Mapping[str, Trial], seconds: float) -> str:
    told = [
        {
            "name": mutant.name,
            "promise": mutant.promise,
            "file": mutant.file,
            "outcome": trials[mutant.name].outcome,
            "killed_by": trials[mutant.name].killed_by or None,
            "seconds": round(trials[mutant.name].seconds, 2),
        }
        for mutant in mutants
    ]
    killed = sum(each["outcome"] is Outcome.KILLED for each in told)
    return json.dumps({"mutants": told, "killed": killed, "of": len(told), "seconds": round(seconds, 1)}) + "\n"


if __name__ == "__main__":
    sys.exit(main())
