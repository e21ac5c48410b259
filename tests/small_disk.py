"""A disk that runs full, for tests."""

import contextlib
import os
import resource
import subprocess
from pathlib import Path


class SmallDisk:
    """A disk of its own with little room; where that may not be mounted, a limit on the size of every file."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(directory)]
        self.is_mounted = os.getuid() == 0 and subprocess.run(mount, check=False, capture_output=True).returncode == 0
        self._unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
        self._filler = directory / "filler"

    def leave(self, room: int) -> None:
        """So many bytes can be written and no more."""
        self.free()
        if not self.is_mounted:
            sizes = [path.stat().st_size for path in self.directory.rglob("*") if path.is_file()]
            resource.setrlimit(resource.RLIMIT_FSIZE, (max(sizes, default=0) + room, self._unlimited[1]))
            return
        with self._filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(bytes(4096)):
                pass
        os.truncate(self._filler, max(0, self._filler.stat().st_size // 4096 * 4096 - room))

    def free(self) -> None:
        """There is room again."""
        resource.setrlimit(resource.RLIMIT_FSIZE, self._unlimited)
        self._filler.unlink(missing_ok=True)

    def close(self) -> None:
        """Nothing of it stays."""
        self.free()
        if self.is_mounted:
            subprocess.run(["umount", "-l", str(self.directory)], check=True)
