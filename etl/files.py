"""Files that are private, on the disk when they are said to be, replaced in one step, and held by one process."""

import contextlib
import fcntl
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

from etl.errors import CannotCreate

ONE_READ = 1_000_000
ROOM_TO_GROW = 16 << 10
LOCK_LOOK_SECONDS = 0.002
# Who is halted with a directory in hand must not stop the others for longer.
ALONE_PATIENCE_SECONDS = 10.0


def make_private_directory(directory: Path) -> None:
    """Create a directory that only its owner can enter, and its parents, safely on the disk. Raises CannotCreate."""
    if directory.is_dir():
        return
    try:
        for above in reversed([each for each in directory.parents if not each.is_dir()]):
            above.mkdir(exist_ok=True)
            flush_directory(above.parent)
        directory.mkdir(mode=0o700, exist_ok=True)
        flush_directory(directory.parent)
    except OSError as error:
        raise CannotCreate(
            f"cannot create the directory {directory}: {error.strerror}; mend what is in its way, or set state_dir"
        ) from None


def read_file(path: str) -> bytes:
    """The content of a file. Raises OSError. Half the price of a file object, where there are very many to be read."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        content = os.read(descriptor, os.fstat(descriptor).st_size + 1)
        while more := os.read(descriptor, ONE_READ):
            content += more
    finally:
        os.close(descriptor)
    return content


def write_and_flush(path: Path, content: bytes) -> None:
    """Write a file that only its owner can read, and wait until its bytes are on the disk. Raises OSError."""
    _write(path, content, 0o600, flush=True)


def write_all(descriptor: int, content: bytes) -> None:
    """Write every byte, in as many steps as the system wants. Raises OSError."""
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]


def flush_file(path: Path) -> None:
    """Wait until the bytes of a file are on the disk. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def flush_directory(directory: Path) -> None:
    """Wait until the names in a directory are on the disk. Raises OSError."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_file(path: Path, content: bytes, *, mode: int = 0o600, flush: bool = True) -> None:
    """Put new content in place of a file's in one step, so that a reader sees the old or the new. Raises OSError.

    ``mode`` holds whatever the umask. Without ``flush``, a loss of power may leave neither: for what is written anew.
    """
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(4)}.unfinished")
    try:
        _write(unfinished, content, mode, flush=flush)
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def rewrite_text(path: Path, content: bytes) -> None:
    """As :func:`replace_file`, on a full disk too; blanks are added at the end. One process at a time. Raises OSError.

    The old and the new file take turns: neither gives its blocks back, so that nobody else can take them.
    """
    content = content.ljust(-(-len(content) // ROOM_TO_GROW) * ROOM_TO_GROW)
    spare, aside = path.with_name(f".{path.name}.spare"), path.with_name(f".{path.name}.aside")
    if not path.exists():
        replace_file(path, content)
    aside.unlink(missing_ok=True)
    _write(spare, content, 0o600, flush=True, anew=False)
    with contextlib.suppress(OSError):  # not every filesystem gives a file two names: the old one then goes
        os.link(path, aside)
    spare.replace(path)
    if aside.exists():
        aside.replace(spare)


def _write(path: Path, content: bytes, mode: int, *, flush: bool, anew: bool = True) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC * anew | os.O_CLOEXEC, 0o600)
    try:
        if mode != 0o600 or not anew:  # noqa: PLR2004 - what no umask in use takes away from
            os.fchmod(descriptor, mode)
        write_all(descriptor, content)
        if not anew:
            os.ftruncate(descriptor, len(content))
        if flush:
            # By the descriptor: by now another process may have given the file its final name.
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def lock(descriptor: int, patience_seconds: float) -> None:
    """Hold an open file for oneself until it is closed; the kernel lets go of it when its holder dies.

    Raises BlockingIOError where another process holds it for so long, other OSErrors where it cannot be held at all.
    """
    end = time.monotonic() + patience_seconds
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= end:
                raise
            time.sleep(LOCK_LOOK_SECONDS)
        else:
            return


@contextlib.contextmanager
def alone(directory: Path) -> Iterator[None]:
    """Other threads and processes that want to be alone in it wait until the block ends. Not to be nested.

    It is a help, and no condition: where the filesystem has no locks, or somebody does not let go, nobody waits for it.
    """
    descriptor = -1
    try:
        with contextlib.suppress(OSError):
            descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            lock(descriptor, ALONE_PATIENCE_SECONDS)
        yield
    finally:
        if descriptor != -1:
            os.close(descriptor)
