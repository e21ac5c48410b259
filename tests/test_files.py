"""Private files, on the disk when they are said to be."""

import errno
import os
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from etl.errors import CannotCreate
from etl.files import ROOM_TO_GROW, lock, make_private_directory, replace_file, rewrite_text, write_and_flush
from tests.disk import Disk
from tests.small_disk import SmallDisk


@pytest.fixture(params=[0, 0o022, 0o077])
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whatever the user's is."""
    before = os.umask(request.param)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    """Who may do what with it."""
    return stat.S_IMODE(path.stat().st_mode)


def test_only_the_owner_can_read_what_is_written(tmp_path: Path, umask: None) -> None:
    write_and_flush(tmp_path / "new", b"1")
    replace_file(tmp_path / "replaced", b"2")
    make_private_directory(tmp_path / "deep" / "directory")
    assert mode(tmp_path / "new") == mode(tmp_path / "replaced") == 0o600
    assert mode(tmp_path / "deep" / "directory") == 0o700


def test_a_write_is_whole_and_takes_the_place_of_what_was_there(tmp_path: Path) -> None:
    content = os.urandom(3_000_000)
    path = tmp_path / "file"
    path.write_bytes(b"x" * 4_000_000)
    write_and_flush(path, content)
    assert path.read_bytes() == content
    replace_file(path, b"")
    assert path.read_bytes() == b""
    assert list(tmp_path.iterdir()) == [path], "nothing unfinished stays"


def test_a_reader_of_the_old_file_goes_on_reading_it(tmp_path: Path) -> None:
    path = tmp_path / "file"
    replace_file(path, b"old")
    with path.open("rb") as reader:
        replace_file(path, b"new")
        assert reader.read() == b"old"
    assert path.read_bytes() == b"new"


def test_a_directory_that_is_there_stays_as_it_is(tmp_path: Path) -> None:
    directory = tmp_path / "there"
    directory.mkdir(mode=0o750)
    (directory / "file").write_text("mine")
    make_private_directory(directory)
    assert mode(directory) == 0o750
    assert (directory / "file").read_text() == "mine"


@pytest.mark.parametrize("place", ["file", "file/below", "file/far/below"])
def test_a_file_in_the_way_is_named(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CannotCreate, match=str(tmp_path / place)):
        make_private_directory(tmp_path / place)


def test_new_content_is_on_the_disk_before_it_takes_the_place_of_the_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    replace_file(path, b"old")
    with monkeypatch.context() as patch:
        disk = Disk(patch)
        replace_file(path, b"new")
    assert -1 < disk.last("write", path) < disk.last("flush", path) < disk.last("name", path)


def test_what_others_are_to_read_they_can_read(tmp_path: Path, umask: None) -> None:
    replace_file(tmp_path / "metrics.prom", b"", mode=0o644)
    assert mode(tmp_path / "metrics.prom") == 0o644


def test_what_is_written_anew_after_a_loss_of_power_does_not_wait_for_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        disk = Disk(patch)
        replace_file(tmp_path / "file", b"new", flush=False)
    assert disk.last("flush", tmp_path / "file") == -1 < disk.last("name", tmp_path / "file")


@pytest.mark.parametrize("step", ["write", "fsync"])
def test_a_refusal_of_the_disk_leaves_the_old_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = tmp_path / "file"
    replace_file(path, b"old")
    with monkeypatch.context() as patch:
        patch.setattr(os, step, refuse)
        with pytest.raises(OSError, match="No space"):
            replace_file(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_text_can_be_rewritten_on_a_full_disk_again_and_again(tmp_path: Path) -> None:
    with closing(SmallDisk(tmp_path / "small")) as disk:
        file = disk.directory / "text"
        rewrite_text(file, b"before")
        for number in range(5):
            disk.leave(0)
            if disk.is_mounted:
                with pytest.raises(OSError, match="No space left"):
                    replace_file(disk.directory / "other", b"x" * ROOM_TO_GROW)
            rewrite_text(file, b"%d" % number * (number + 1) * 1000)
            assert file.read_bytes().rstrip() == b"%d" % number * (number + 1) * 1000
        assert mode(file) == 0o600


@pytest.mark.parametrize("sizes", [(1, ROOM_TO_GROW, ROOM_TO_GROW + 1, 3 * ROOM_TO_GROW, 1, 0, 5)])
@pytest.mark.parametrize("links", [True, False])
def test_a_text_grows_and_shrinks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sizes: tuple[int, ...], *, links: bool
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    if not links:
        monkeypatch.setattr(os, "link", refuse)
    for size in sizes:
        rewrite_text(tmp_path / "text", b"x" * size)
        assert (tmp_path / "text").read_bytes().rstrip() == b"x" * size
    assert len(list(tmp_path.iterdir())) == 1 + links


@pytest.mark.parametrize("is_new", [True, False])
def test_a_text_that_is_being_rewritten_is_the_old_or_the_new_wherever_it_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_new: bool
) -> None:
    class Killed(BaseException):
        pass

    file, left = tmp_path / "text", 0

    def killing(call: Callable[..., Any]) -> Callable[..., Any]:
        def killed(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - whatever the system says
            nonlocal left
            if left == 0:
                raise Killed
            left -= 1
            return call(*arguments, **options)

        return killed

    names = ("open", "write", "ftruncate", "fsync", "close", "link", "rename", "replace", "unlink")
    expected = {b"old"} if not is_new else {None}
    deaths = 0
    while True:
        for each in tmp_path.iterdir():
            each.unlink()
        if not is_new:
            rewrite_text(file, b"older")
            rewrite_text(file, b"old")
        left = deaths
        try:
            with monkeypatch.context() as patch:
                for name in names:
                    patch.setattr(os, name, killing(getattr(os, name)))
                rewrite_text(file, b"new")
        except Killed:
            found = file.read_bytes().rstrip() if file.exists() else None
            assert found in {*expected, b"new"}
            rewrite_text(file, b"newest")
            assert file.read_bytes().rstrip() == b"newest"
            deaths += 1
        else:
            break
    assert deaths >= 8
    assert file.read_bytes().rstrip() == b"new"


def test_a_text_is_on_the_disk_before_it_takes_the_place_of_the_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rewrite_text(tmp_path / "text", b"old")
    disk = Disk(monkeypatch)
    rewrite_text(tmp_path / "text", b"new")
    assert disk.last("write", tmp_path / "text") < disk.last("flush", tmp_path / "text")
    assert disk.last("flush", tmp_path / "text") < disk.last("name", tmp_path / "text")


def test_a_lock_is_waited_for_as_long_as_was_said(tmp_path: Path) -> None:
    with (tmp_path / "lock").open("wb") as holder, (tmp_path / "lock").open("wb") as other:
        lock(holder.fileno(), 0.0)
        began = time.monotonic()
        with pytest.raises(BlockingIOError):
            lock(other.fileno(), 0.2)
        assert time.monotonic() - began >= 0.2
        waiting = threading.Thread(target=lock, args=(other.fileno(), 60.0))
        waiting.start()
        holder.close()
        waiting.join(30)
        assert not waiting.is_alive(), "it is let go of when its holder closes it, or dies"
