"""What is asked of the disk, in its order: short of a power cut, a flush shows nowhere else."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


class Disk:
    """Records, by file and not by name, what is written, flushed and named."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.asked: list[tuple[str, int]] = []
        for name in ("fsync", "fdatasync"):
            if hasattr(os, name):
                patch.setattr(os, name, self._noting("flush", getattr(os, name)))
        patch.setattr(os, "write", self._noting("write", os.write))
        for name in ("rename", "replace", "link", "unlink"):
            patch.setattr(os, name, self._noting("unname" if name == "unlink" else "name", getattr(os, name)))

    def _noting(self, what: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def noted(file: int | str | Path, *more: Any, **options: Any) -> Any:  # noqa: ANN401 - whatever the system says
            inode = (os.fstat(file) if isinstance(file, int) else Path(file).stat()).st_ino
            result = call(file, *more, **options)
            self.asked.append((what, inode))
            return result

        return noted

    def last(self, what: str, path: Path) -> int:
        """When something was last asked of a file, by the name that it has now; -1 for never."""
        wanted = (what, path.stat().st_ino)
        return max((number for number, asked in enumerate(self.asked) if asked == wanted), default=-1)
