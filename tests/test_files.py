"""Private files, on the disk when they are said to be."""

import errno
import os
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from etl.errors import CannotCreate
from etl.files import lock, make_private_directory, replace_file, write_and_flush
from tests.disk import Disk


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
