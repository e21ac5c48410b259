"""A file for the textfile collector of node_exporter, which reads whatever ends in ``.prom`` at any moment."""

import contextlib
import os
import secrets
import time
from pathlib import Path

# node_exporter runs as another user, and nothing in it is secret.
MODE = 0o644
ABANDONED_AFTER_SECONDS = 600


def write(path: Path, content: bytes) -> None:
    """Put new content in place of the file's in one step: a reader sees the old or the new. Raises OSError.

    It is not flushed to the disk: after a loss of power the next run writes it anew.
    """
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(4)}.unfinished")
    _clear_up(path)
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, MODE)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), MODE)  # whatever the umask
            file.write(content)
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def _clear_up(path: Path) -> None:
    """What a writer has left that was killed in the middle."""
    with contextlib.suppress(OSError):
        for left in path.parent.glob(f".{path.name}.*.unfinished"):
            if abs(time.time() - left.stat().st_mtime) > ABANDONED_AFTER_SECONDS:
                left.unlink(missing_ok=True)
