"""What can be looked at without asking anybody: directories, modes, space, spool and quarantine."""

import os
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from etl.ops.filesystems import IN_MEMORY, MOUNTS, file_system_of, is_network
from etl.ops.finding import Finding, Verdict
from etl.ops.waiting import look

MEGABYTE = 1_000_000
SCARCE, SCANT = 100 * MEGABYTE, 500 * MEGABYTE
FEW_FILES = 1000
# An outcome waits for a moment in every run; one that waits for longer than so many intervals is not being stored.
INTERVALS = 3
PATIENCE_SECONDS = 900.0
OTHERS = stat.S_IRWXG | stat.S_IRWXO


def check_state(state_dir: Path) -> Iterator[Finding]:
    """Whether the state directory can be written, and by its owner only."""
    check = "state"
    if not state_dir.exists():
        above = next(each for each in state_dir.parents if each.exists())
        if os.access(above, os.W_OK | os.X_OK):
            yield Finding(check, Verdict.OK, f"{state_dir} is not there yet, and the first run makes it")
        else:
            says = f"{state_dir} is not there, and cannot be made in {above}"
            yield Finding(check, Verdict.PROBLEM, says, "create it for the user who records, or set state_dir")
        return
    if not state_dir.is_dir():
        yield Finding(check, Verdict.PROBLEM, f"{state_dir} is not a directory", "set state_dir")
        return
    # What is not there yet is made by the first run.
    shut = [
        place
        for place in (state_dir, *(state_dir / name for name in ("spool", "quarantine", "remembered", "stored")))
        if place.exists() and not os.access(place, os.R_OK | os.W_OK | os.X_OK)
    ]
    for place in shut:
        says = f"{place} cannot be written by this user"
        yield Finding(
            check, Verdict.PROBLEM, says, "mend its owner, its mode or its disk; or run as the user who records"
        )
    if not shut:
        yield Finding(check, Verdict.OK, f"{state_dir} can be written")


def check_modes(private: list[Path]) -> Iterator[Finding]:
    """Whether others can read what is the owner's: secrets, and what accounts are worth."""
    check = "modes"
    open_to_others = []
    for path in private:
        try:
            if path.stat().st_mode & OTHERS:
                open_to_others.append(path)
        except FileNotFoundError:
            continue
        except OSError as error:
            yield Finding(check, Verdict.UNKNOWN, f"{path} cannot be looked at ({error.strerror})")
    for path in open_to_others:
        mode = "700" if path.is_dir() else "600"
        yield Finding(check, Verdict.WARNING, f"others can get at {path}", f"chmod {mode} {path}")
    if not open_to_others:
        yield Finding(check, Verdict.OK, "files and directories are their owner's alone")


def check_file_system(places: dict[str, Path], mounts: Path = MOUNTS) -> Iterator[Finding]:
    """Whether the disk is one that keeps its promises. ``places`` by what they are: ``state_dir``, ``database``."""
    check = "filesystem"
    for what, path in places.items():
        kind = file_system_of(path, mounts)
        if kind is None:
            yield Finding(check, Verdict.UNKNOWN, f"this system does not tell on what {what} is")
        elif is_network(kind):
            says = f"{what} is on a network file system ({kind}), whose locks and flushes cannot be relied upon"
            yield Finding(check, Verdict.WARNING, says, "put it on a local disk, or use PostgreSQL")
        elif kind in IN_MEMORY:
            says = f"{what} is in memory ({kind}) and is gone when the machine starts again"
            yield Finding(check, Verdict.WARNING, says, "set state_dir and database_url to a disk")
        else:
            yield Finding(check, Verdict.OK, f"{what} is on {kind}")


def check_space(
    places: dict[str, Path], look_at: Callable[[Path], os.statvfs_result] = os.statvfs
) -> Iterator[Finding]:
    """How much is free where readings are kept."""
    check = "space"
    for what, path in places.items():
        there = next(each for each in (path, *path.parents) if each.exists())
        found = look_at(there)
        free = found.f_bavail * found.f_frsize
        remedy = "make room: readings are lost when neither disk nor database takes them"
        # Some file systems have no fixed number of files, and say 0.
        if free < SCARCE or (found.f_files and found.f_favail < FEW_FILES // 10):
            yield Finding(check, Verdict.PROBLEM, f"{what} has hardly any space: {_size(free)}", remedy)
        elif free < SCANT or (found.f_files and found.f_favail < FEW_FILES):
            yield Finding(check, Verdict.WARNING, f"{what} has little space left: {_size(free)}", remedy)
        else:
            yield Finding(check, Verdict.OK, f"{what} has {_size(free)} free")


def check_spool(state_dir: Path, interval_seconds: int) -> Iterator[Finding]:
    """Whether what waits on disk gets into the database."""
    check = "spool"
    unreadable = _unreadable(state_dir / "spool")
    if unreadable:
        yield Finding(check, Verdict.PROBLEM, unreadable, "mend its owner or mode")
        return
    found = look(state_dir / "spool")
    age = 0.0 if found.oldest_at is None else time.time() - found.oldest_at
    if not found.outcomes:
        yield Finding(check, Verdict.OK, "nothing waits")
    elif age > max(PATIENCE_SECONDS, INTERVALS * interval_seconds):
        says = f"{found.outcomes} outcomes wait, the oldest for {_duration(age)}"
        yield Finding(check, Verdict.PROBLEM, says, "bingx-etl spool load stores them, or says why it cannot")
    else:
        yield Finding(check, Verdict.OK, f"{found.outcomes} outcomes wait for the next run, which is as it should be")


def check_quarantine(state_dir: Path) -> Iterator[Finding]:
    """Whether something was set aside that a person has not looked at."""
    check = "quarantine"
    unreadable = _unreadable(state_dir / "quarantine")
    if unreadable:
        yield Finding(check, Verdict.PROBLEM, unreadable, "mend its owner or mode")
        return
    found = look(state_dir / "quarantine")
    if found.outcomes:
        since = "" if found.oldest_at is None else f", the oldest {_duration(time.time() - found.oldest_at)} old"
        remedy = "bingx-etl spool quarantine tells why; delete what you have looked at"
        yield Finding(check, Verdict.PROBLEM, f"{found.outcomes} answers were set aside{since}", remedy)
    else:
        yield Finding(check, Verdict.OK, "empty")


def _unreadable(directory: Path) -> str | None:
    if directory.exists() and not os.access(directory, os.R_OK | os.X_OK):
        return f"{directory} cannot be looked into"
    return None


def _size(count: int) -> str:
    return f"{count / MEGABYTE:,.0f} MB"


def _duration(seconds: float) -> str:
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "m")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"
