"""Which kind of file system a path is on, as Linux tells it; nothing is known elsewhere."""

import re
from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")
NETWORK = re.compile(
    r"nfs[0-9]*|cifs|smb[0-9]*|smbfs|afs|9p|ceph|glusterfs|lustre|gpfs|beegfs|coda|ncpfs|ocfs2|gfs2|davfs|"
    r"fuse\.(sshfs|glusterfs|ceph|s3fs|rclone|davfs2?|smbnetfs|curlftpfs|goofys|gcsfuse|blobfuse2?|juicefs|mfs|lizardfs)"
)
IN_MEMORY = frozenset({"tmpfs", "ramfs"})


def file_system_of(path: Path, mounts: Path = MOUNTS) -> str | None:
    """The type of the file system that a path is on, or would be; None where nobody tells. Raises OSError."""
    if not mounts.exists():
        return None
    place, kind = "", None
    wanted = str(path.resolve())
    for line in mounts.read_text("utf-8", errors="surrogateescape").splitlines():
        # proc(5): number, parent, device, root, mount point, options, optional fields, a dash, type, source, options
        fields, dash, rest = line.partition(" - ")
        point = _unescaped(fields.split(" ")[4]) if dash and len(fields.split(" ")) > 5 else None  # noqa: PLR2004
        # Of several on one point, the last one lies above the others.
        if point is not None and len(point) >= len(place) and _is_below(wanted, point):
            place, kind = point, rest.split(" ")[0]
    return kind


def is_network(kind: str) -> bool:
    """Whether another machine keeps the files, so that locks and flushes are promises of a third party."""
    return NETWORK.fullmatch(kind) is not None


def _is_below(path: str, point: str) -> bool:
    return path == point or path.startswith(point if point.endswith("/") else f"{point}/")


def _unescaped(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)
