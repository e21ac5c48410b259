"""One load of a state directory at a time: what one has stored is noted before another looks at the history."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from etl.files import lock

# Who is halted with it in hand must not stop the others for longer: storing comes before what is noted of it.
PATIENCE_SECONDS = 10.0


@contextmanager
def turn(directory: Path) -> Iterator[None]:
    """Other threads and processes wait until the block ends, as far as the filesystem has locks. Not to be nested."""
    descriptor = -1
    try:
        with suppress(OSError):
            descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            lock(descriptor, PATIENCE_SECONDS)
        yield
    finally:
        if descriptor != -1:
            os.close(descriptor)
