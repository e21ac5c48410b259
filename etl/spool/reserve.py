"""Space on the disk that is kept free for the readings in flight when the disk runs full."""

import errno
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from etl.files import write_and_flush

log = logging.getLogger(__name__)

FULL = {errno.ENOSPC, errno.EDQUOT}
# Room for the readings of a thousand accounts, a block of 4 KiB each; on a small disk, an eighth of what is free.
MOST_BYTES = 4 << 20
LEAST_BYTES = 64 << 10


class Reserve:
    """A file in the state directory that holds nothing but space.

    Before it goes ``spare``, which gives back some space that is needed less, and says whether there was any.
    """

    def __init__(self, file: Path, spare: Callable[[], bool] = lambda: False) -> None:
        self._file = file
        self._spare = spare

    def hold(self) -> None:
        """Set the space aside, unless that is done or there is too little: it is a help, and no condition.

        What was set aside when there was little becomes more as soon as there is room for twice as much.
        """
        try:
            held = self._file.stat().st_size if self._file.exists() else 0
            if held >= MOST_BYTES:
                return
            size = min(MOST_BYTES, (shutil.disk_usage(self._file.parent).free + held) // 8)
            if size >= max(LEAST_BYTES, 2 * held):
                self._fill(size)
        except OSError as error:
            log.debug("no space is held in reserve: %s", error.strerror)

    def write(self, path: Path, content: bytes) -> None:
        """Write a file and wait for the disk; where that is full, give the space back, and try once more."""
        while True:
            try:
                write_and_flush(path, content)
            except OSError as error:
                if error.errno not in FULL:
                    raise
                if self._spare():
                    continue
                self._release()
                write_and_flush(path, content)  # another thread, or process, may have released it meanwhile
            return

    def _release(self) -> None:
        try:
            self._file.unlink()
        except OSError:
            return
        log.warning(
            "the disk of %s is full: space held in reserve was released for the readings in flight; make room",
            self._file.parent,
        )

    def _fill(self, size: int) -> None:
        # Real blocks, not a hole; and not the final name before it has them. One name for all processes, so that none
        # that is killed leaves blocks behind; those of two that meet here are one file, whoever names it.
        unfinished = self._file.with_name(f".{self._file.name}.unfinished")
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(descriptor, 0, size)
            else:  # macOS
                while os.fstat(descriptor).st_size < size:
                    os.write(descriptor, bytes(LEAST_BYTES))
            unfinished.rename(self._file)
        except OSError:
            unfinished.unlink(missing_ok=True)
            raise
        finally:
            os.close(descriptor)
