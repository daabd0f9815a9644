"""Which files never wait for another machine or program, by the text of mountinfo (proc(5)).

A file system that does not answer holds up all who look at it, also to find out what it is (statfs(2)).
So each directory on the way to a file is looked up in that text before it is touched.
"""

from __future__ import annotations

import errno
import os
from stat import S_ISLNK

# Those of disks and of memory. All others may wait: for a server (NFS), or for a program (FUSE).
LOCAL_TYPES = frozenset(
    (
        *(b"ext2", b"ext3", b"ext4", b"xfs", b"btrfs", b"zfs", b"bcachefs", b"f2fs", b"jfs", b"reiserfs"),
        *(b"overlay", b"tmpfs", b"ramfs", b"rootfs", b"squashfs", b"erofs", b"iso9660", b"vfat", b"exfat"),
    )
)
# What mountinfo has in place of these characters in a path, the backslash last.
_ESCAPES = ((b"\\040", b" "), (b"\\011", b"\t"), (b"\\012", b"\n"), (b"\\043", b"#"), (b"\\134", b"\\"))
# The major number of file systems that are not on a block device: of networks, programs and memory.
_WITHOUT_DEVICE = 0
# More than any path has; then it is a link that leads to itself.
_MAX_STEPS = 1000


class MayWait(Exception):
    """A path leads to a file system that may wait for another machine or program, or that is not known."""


class LocalFiles:
    """The files that can be reached without such a wait, as it is now. Raises OSError without /proc."""

    def __init__(self) -> None:
        with open("/proc/self/mountinfo", "rb") as file:
            self._mounts = _parse(file.read())
        if b"/" not in self._mounts:
            # After chroot(2) the root is not a mount. To look at it waits for nothing that this process does
            # not wait for anyway. What comes over a network has no device of its own.
            self._mounts[b"/"] = os.major(os.stat("/").st_dev) != _WITHOUT_DEVICE

    def resolve(self, path: bytes) -> bytes:
        """The absolute path without links of a file that exists.

        Raises MayWait before a directory is looked at that may wait, and OSError if there is no such file.
        """
        at, left = b"/", _parts(path)
        if not path.startswith(b"/"):
            left += _parts(os.getcwdb())
        if not self._mounts[at]:
            raise MayWait
        for _ in range(_MAX_STEPS):
            if not left:
                return at
            part = left.pop()
            if part == b"..":
                at = os.path.dirname(at)
            elif part not in (b"", b"."):
                below = os.path.join(at, part)
                if not self._mounts.get(below, True):
                    raise MayWait
                if S_ISLNK(os.lstat(below).st_mode):
                    target = os.readlink(below)
                    left += _parts(target)
                    at = b"/" if target.startswith(b"/") else at
                else:
                    at = below
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))


def _parts(path: bytes) -> list[bytes]:
    """The names in a path, the first one last."""
    return path.split(b"/")[::-1]


def _parse(mountinfo: bytes) -> dict[bytes, bool]:
    """Whether all that is mounted at a directory is local, by its path."""
    mounts: dict[bytes, bool] = {}
    for line in mountinfo.split(b"\n")[:-1]:
        before, _, after = line.partition(b" - ")
        point, kind = before.split(b" ")[4], after.partition(b" ")[0]
        for escape, character in _ESCAPES:
            point = point.replace(escape, character)
        # The last one hides those before it, but some may hide others in another order.
        mounts[point] = mounts.get(point, True) and kind in LOCAL_TYPES
    return mounts
