"""The file for node_exporter: whole at every moment, readable for another user, nothing left behind."""

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from etl.ops import textfile


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "bingx-etl.prom"


def test_another_user_may_read_it_whatever_the_umask(path: Path) -> None:
    before = os.umask(0o077)
    try:
        textfile.write(path, b"x 1\n")
    finally:
        os.umask(before)
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"x 1\n", 0o644)


def test_readers_see_a_whole_file_and_nothing_else_that_node_exporter_would_read(path: Path) -> None:
    contents = [bytes([letter]) * 200_000 for letter in b"abcd"]
    done = threading.Event()
    seen: set[str] = set()

    def read() -> None:
        while not done.is_set():
            seen.update(found.name for found in path.parent.glob("*.prom"))
            if path.exists():
                content = path.read_bytes()
                assert content in contents
        assert not done.is_set() or seen

    with ThreadPoolExecutor(5) as pool:
        reader = pool.submit(read)
        list(pool.map(lambda number: textfile.write(path, contents[number % 4]), range(80)))
        done.set()
        reader.result()
    assert seen <= {path.name}
    assert [found.name for found in path.parent.iterdir()] == [path.name]


def test_a_link_is_replaced_and_not_followed(path: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    path.symlink_to(victim)
    textfile.write(path, b"x 1\n")
    assert (victim.read_bytes(), path.is_symlink(), path.read_bytes()) == (b"mine", False, b"x 1\n")


def test_what_a_killed_writer_left_is_cleared_up_and_nothing_else(path: Path, tmp_path: Path) -> None:
    old, new, other = (
        tmp_path / name for name in (f".{path.name}.a.unfinished", f".{path.name}.b.unfinished", "x.prom")
    )
    for each in (old, new, other):
        each.write_bytes(b"half")
    long_ago = time.time() - textfile.ABANDONED_AFTER_SECONDS - 60
    for each in (old, other):
        os.utime(each, (long_ago, long_ago))
    textfile.write(path, b"x 1\n")
    assert {found.name for found in tmp_path.iterdir()} == {path.name, new.name, other.name}


def test_what_cannot_be_written_leaves_the_old_one_and_no_other(path: Path) -> None:
    path.mkdir()
    with pytest.raises(OSError, match="directory"):
        textfile.write(path, b"x 1\n")
    assert [found.name for found in path.parent.iterdir()] == [path.name]
    with pytest.raises(FileNotFoundError):
        textfile.write(path / "nowhere" / "x.prom", b"x 1\n")
