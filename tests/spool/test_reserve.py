"""Space in reserve, on disks that are really full."""

import errno
import os
import threading
from pathlib import Path

import pytest

from etl.spool.reserve import LEAST_BYTES, MOST_BYTES, Reserve


@pytest.fixture
def reserve(tmp_path: Path) -> Reserve:
    """Held."""
    held = Reserve(tmp_path / "reserve")
    held.hold()
    return held


class FullDisk:
    """Writes are refused as long as a file is there."""

    def __init__(self, patch: pytest.MonkeyPatch, file: Path, number: int = errno.ENOSPC) -> None:
        self._file = file
        self._number = number
        self._write = os.write
        patch.setattr(os, "write", self.write)

    def write(self, descriptor: int, content: bytes) -> int:
        """As os.write."""
        if self._file.exists():
            raise OSError(self._number, os.strerror(self._number))
        return self._write(descriptor, content)


def test_the_space_is_real_and_nobody_elses(tmp_path: Path, reserve: Reserve) -> None:
    file = (tmp_path / "reserve").stat()
    assert LEAST_BYTES <= file.st_size <= MOST_BYTES
    assert file.st_blocks * 512 >= file.st_size, "a hole would hold nothing"
    assert file.st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["reserve"]


def test_of_programs_that_were_killed_while_setting_it_aside_nothing_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kill(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "rename", kill)
    for process in (1, 2):
        monkeypatch.setattr(os, "getpid", lambda process=process: process)
        with pytest.raises(KeyboardInterrupt):
            Reserve(tmp_path / "reserve").hold()
    monkeypatch.undo()
    Reserve(tmp_path / "reserve").hold()
    assert [path.name for path in tmp_path.iterdir()] == ["reserve"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_on_a_full_disk_it_is_given_back_once_and_said_so(
    tmp_path: Path, reserve: Reserve, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, number: int
) -> None:
    FullDisk(monkeypatch, tmp_path / "reserve", number)
    for name in "ab":
        reserve.write(tmp_path / name, b"reading")
        assert (tmp_path / name).read_bytes() == b"reading"
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "make room" in caplog.text


def test_threads_that_meet_the_full_disk_together_are_all_helped(
    tmp_path: Path, reserve: Reserve, monkeypatch: pytest.MonkeyPatch
) -> None:
    FullDisk(monkeypatch, tmp_path / "reserve")
    threads = [threading.Thread(target=reserve.write, args=(tmp_path / str(n), b"x")) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all((tmp_path / str(n)).read_bytes() == b"x" for n in range(20))


def test_another_fault_of_the_disk_releases_nothing(
    tmp_path: Path, reserve: Reserve, monkeypatch: pytest.MonkeyPatch
) -> None:
    FullDisk(monkeypatch, tmp_path / "reserve", errno.EIO)
    with pytest.raises(OSError, match="Input/output"):
        reserve.write(tmp_path / "a", b"reading")
    assert (tmp_path / "reserve").exists()


def test_without_a_reserve_a_full_disk_is_told_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "other").touch()
    FullDisk(monkeypatch, tmp_path / "other")
    with pytest.raises(OSError, match="No space left"):
        Reserve(tmp_path / "reserve").write(tmp_path / "a", b"reading")


def test_a_disk_with_little_room_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 8 * LEAST_BYTES - 1}))
    Reserve(tmp_path / "reserve").hold()
    assert list(tmp_path.iterdir()) == []


def test_what_was_taken_while_there_was_little_room_becomes_the_whole_when_there_is_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, sizes = tmp_path / "reserve", []
    for free in (1 << 20, 1 << 20, 1 << 30, 1 << 30):
        monkeypatch.setattr("shutil.disk_usage", lambda _, free=free: type("Usage", (), {"free": free}))
        Reserve(file).hold()
        sizes.append((file.stat().st_size, file.stat().st_ino))
    assert [size for size, _ in sizes] == [1 << 17, 1 << 17, MOST_BYTES, MOST_BYTES]
    assert (sizes[0], sizes[2]) == (sizes[1], sizes[3]), "nothing is written anew for little more"
    assert [path.name for path in tmp_path.iterdir()] == ["reserve"]


def test_a_disk_that_fills_up_meanwhile_leaves_no_half_reserve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", refuse, raising=False)
    Reserve(tmp_path / "reserve").hold()
    assert list(tmp_path.iterdir()) == []


def test_where_blocks_cannot_be_asked_for_they_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "posix_fallocate", raising=False)
    Reserve(tmp_path / "reserve").hold()
    file = (tmp_path / "reserve").stat()
    assert file.st_blocks * 512 >= file.st_size >= LEAST_BYTES
