"""``report --html``: asks for all that the page shows, and puts the page in its place in one step."""

import os
import secrets
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from etl.errors import CannotCreate, DiskError
from etl.files import write_all
from etl.report.equity import Question
from etl.report.sheet import SheetSource, sheet

DOCTYPE = b"<!doctype html>"
LARGE_BYTES = 8_000_000
"""More than people like to mail."""


def write_page(
    source: SheetSource,
    asked: Question,
    now: datetime,
    file: Path,
    progress: Callable[[float], None] = lambda _: None,
) -> bool:
    """Write the page; whether there is anything on it. Raises CannotCreate and DiskError."""
    from etl.report.page import page  # noqa: PLC0415 - and what it draws with, for this alone

    with placed(file) as place:
        found = sheet(source, asked, now, progress)
        size = place(page(found))
    if size > LARGE_BYTES:
        sys.stderr.write(f"{size / 1e6:.0f} MB: --since, --account or --every month make it smaller\n")
    return bool(found.parts)


@contextmanager
def placed(file: Path) -> Iterator[Callable[[str], int]]:
    """Gives a function that puts a text in place of a file, in one step, and returns its bytes.

    Where nothing can be created there, it raises CannotCreate at the beginning of the block.
    """
    # Where the file is a link, it stays one.
    target = Path(os.path.realpath(file))
    unfinished = target.with_name(f".{target.name[:100]}.{secrets.token_hex(4)}.unfinished")
    try:
        if target.exists() and not target.is_file():
            raise CannotCreate(f"cannot write {file}: it is no file; --html names another place")
        if target.exists() and not _is_page(target):
            raise CannotCreate(f"{file} is there and is no page, so it stays as it is; --html names another place")
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise CannotCreate(f"cannot write {file}: {error.strerror}; --html names another place") from None

    def place(text: str) -> int:
        content = text.encode()
        try:
            write_all(descriptor, content)
            os.fsync(descriptor)
        except OSError as error:
            raise DiskError(f"cannot write {file}: {error.strerror}; --html names another place") from None
        try:
            unfinished.replace(target)
        except OSError as error:
            raise CannotCreate(f"cannot write {file}: {error.strerror}; --html names another place") from None
        return len(content)

    try:
        yield place
    finally:
        os.close(descriptor)
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)


def _is_page(file: Path) -> bool:
    """Whether it is a page of whoever made it, or empty: one slip of the fingers away is the database."""
    with file.open("rb") as there:
        beginning = there.read(len(DOCTYPE))
    return beginning.lower() in {b"", DOCTYPE}
