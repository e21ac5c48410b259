"""A file for the textfile collector of node_exporter, which reads whatever ends in ``.prom`` at any moment."""

import contextlib
import time
from pathlib import Path

from etl.files import replace_file

# node_exporter runs as another user, and nothing in it is secret.
MODE = 0o644
ABANDONED_AFTER_SECONDS = 600


def write(path: Path, content: bytes) -> None:
    """Put new content in place of the file's in one step: a reader sees the old or the new. Raises OSError.

    It is not flushed to the disk: after a loss of power the next run writes it anew.
    """
    _clear_up(path)
    replace_file(path, content, mode=MODE, flush=False)


def _clear_up(path: Path) -> None:
    """What a writer has left that was killed in the middle."""
    with contextlib.suppress(OSError):
        for left in path.parent.glob(f".{path.name}.*.unfinished"):
            if abs(time.time() - left.stat().st_mtime) > ABANDONED_AFTER_SECONDS:
                left.unlink(missing_ok=True)
