"""What can be looked at without asking anybody, where a test cannot have the real thing."""

import os
from pathlib import Path

import pytest

from etl.ops.finding import Finding, Verdict
from etl.ops.local_checks import check_file_system, check_space, check_state


@pytest.mark.parametrize(
    ("kind", "verdict"), [("nfs4", "warning"), ("tmpfs", "warning"), ("ext4", "ok"), ("fuse.sshfs", "warning")]
)
def test_a_disk_that_does_not_keep_what_it_promises_is_a_warning(tmp_path: Path, kind: str, verdict: str) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"22 1 0:1 / / rw - ext4 /dev/root rw\n30 22 0:26 / /srv rw - {kind} somewhere rw\n")
    places = {"state_dir": Path("/var/lib"), "the database": Path("/srv/balances.db")}
    first, second = check_file_system(places, mounts)
    assert (first.verdict, second.verdict) == (Verdict.OK, Verdict(verdict))
    assert kind in second.says
    [unknown] = check_file_system({"state_dir": Path("/")}, tmp_path / "nothing")
    assert unknown.verdict is Verdict.UNKNOWN


def space(free: int, files: int, free_files: int) -> Finding:
    """What is found on a disk with so many bytes free, and so many files."""
    result = os.statvfs_result((4096, 1, free, free, free, files, free_files, free_files, 0, 255))
    [finding] = check_space({"state_dir": Path("/somewhere/that/is/not")}, lambda _: result)
    return finding


def test_a_disk_without_space_or_without_room_for_files_is_told_before_it_is_full() -> None:
    megabyte = 1_000_000
    assert space(600 * megabyte, 10_000, 9_000).verdict is Verdict.OK
    assert space(600 * megabyte, 0, 0).verdict is Verdict.OK, "some have no fixed number of files"
    assert space(400 * megabyte, 10_000, 9_000).verdict is Verdict.WARNING
    assert space(600 * megabyte, 10_000, 900).verdict is Verdict.WARNING
    assert space(90 * megabyte, 10_000, 9_000).verdict is Verdict.PROBLEM
    assert space(600 * megabyte, 10_000, 90).verdict is Verdict.PROBLEM


def test_a_state_directory_that_is_a_file_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert [each.verdict for each in check_state(tmp_path / "file")] == [Verdict.PROBLEM]
    assert [each.verdict for each in check_state(tmp_path / "new")] == [Verdict.OK]


def test_where_nothing_can_be_kept_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "stored").touch()
    [finding] = check_state(tmp_path)
    assert (finding.verdict, str(tmp_path / "stored") in finding.says) == (Verdict.PROBLEM, True)
