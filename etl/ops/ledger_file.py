"""The ledger of the metrics on the disk, shared by all processes of a state directory, so that counters go on."""

import logging
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec

from etl.files import lock, make_private_directory, replace_file
from etl.ops.ledger import Ledger

log = logging.getLogger(__name__)

# Who holds the lock needs it for some milliseconds; who is stopped with it in hand must not stop the others.
PATIENCE_SECONDS = 1.0


class LedgerFile:
    """``remembered/metrics.json``. It is a convenience: whatever is wrong with it costs counts, and never a reading.

    It is not flushed to the disk, which would cost a slot more than it is worth: losing power may lose it.
    """

    def __init__(self, state_dir: Path) -> None:
        self._file = state_dir / "remembered" / "metrics.json"
        self._lock = state_dir / "remembered" / "metrics.lock"
        self._unwritten: bytes | None = None  # what the disk would not take is remembered as long as this process lives
        self._said = ""

    @contextmanager
    def changing(self) -> Iterator[Ledger]:
        """A ledger that nobody else has, to be changed within the block, and kept at its end. Others wait meanwhile."""
        with ExitStack() as held:
            trouble = self._prepare(held)
            ledger = self._read()
            yield ledger
            content = msgspec.json.encode(ledger)
            try:
                replace_file(self._file, content, flush=False)
                self._unwritten = None
            except OSError as error:
                self._unwritten = content
                trouble = f"{self._file} cannot be written: {error.strerror}"
            self._tell(trouble)

    def _prepare(self, held: ExitStack) -> str:
        try:
            make_private_directory(self._file.parent.parent)
            make_private_directory(self._file.parent)
            descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except Exception as error:  # noqa: BLE001 - whatever refuses it, the metrics go on in memory
            return f"{self._lock} cannot be used: {type(error).__name__}"
        held.callback(os.close, descriptor)
        try:
            lock(descriptor, PATIENCE_SECONDS)
        except OSError:
            return f"{self._lock} is held by another process: some of its counts may be lost"
        return ""

    def _read(self) -> Ledger:
        try:
            content = self._file.read_bytes() if self._unwritten is None else self._unwritten
            return msgspec.json.decode(content, type=Ledger)
        except (FileNotFoundError, NotADirectoryError):
            return Ledger()
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            log.warning("%s is passed over, and counting begins anew: %s", self._file, type(error).__name__)
            return Ledger()

    def _tell(self, trouble: str) -> None:
        if trouble and trouble != self._said:
            log.warning("%s; the metrics go on, recording as well", trouble)
        self._said = trouble
