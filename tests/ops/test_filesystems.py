"""Which file system a path is on, from what Linux tells in /proc/self/mountinfo."""

from pathlib import Path

import pytest

from etl.ops.filesystems import MOUNTS, file_system_of, is_network

MOUNTINFO = r"""22 1 259:1 / / rw,relatime shared:1 - ext4 /dev/root rw
30 22 0:26 / /srv/nfs rw,relatime shared:9 - nfs4 server:/export rw,vers=4.2
31 22 0:27 / /srv/my\040disk rw - cifs //server/share rw
32 30 259:2 / /srv/nfs/local rw - xfs /dev/sdb rw
33 22 0:28 / /over rw - ext4 /dev/sdc rw
34 22 0:29 / /over rw master:3 propagate_from:2 - tmpfs none rw
35 22 0:30 / /sshfs rw - fuse.sshfs me@host: rw
not a line of it
"""


@pytest.fixture
def mounts(tmp_path: Path) -> Path:
    file = tmp_path / "mountinfo"
    file.write_text(MOUNTINFO)
    return file


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/lib", "ext4"),
        ("/", "ext4"),
        ("/srv/nfs", "nfs4"),
        ("/srv/nfs/a/b.db", "nfs4"),
        ("/srv/nfs-not/b.db", "ext4"),
        ("/srv/nfs/local/b.db", "xfs"),
        ("/srv/my disk/b.db", "cifs"),
        ("/over/b.db", "tmpfs"),
        ("/sshfs/b.db", "fuse.sshfs"),
    ],
)
def test_the_nearest_mount_counts_and_the_last_of_several(mounts: Path, path: str, kind: str) -> None:
    assert file_system_of(Path(path), mounts) == kind


def test_a_link_is_followed(mounts: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to("/srv/nfs/state")
    assert file_system_of(link / "balances.db", mounts) == "nfs4"


def test_where_nobody_tells_nothing_is_known(tmp_path: Path) -> None:
    assert file_system_of(tmp_path, tmp_path / "nothing") is None
    if MOUNTS.exists():
        assert file_system_of(tmp_path) not in {None, ""}


def test_what_is_another_machine_s_is_known_by_its_name() -> None:
    assert all(map(is_network, ("nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "fuse.rclone", "ceph")))
    assert not any(map(is_network, ("ext4", "xfs", "btrfs", "zfs", "overlay", "tmpfs", "fuse.ntfs", "nfsd")))
