"""Private files, on the disk when they are said to be."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from etl.errors import CannotCreate
from etl.files import make_private_directory, replace_file, write_and_flush
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
