"""What kind of file something is, in words, and whether it is one that this user has to himself."""

from __future__ import annotations

import os
import stat

_KINDS = {
    stat.S_IFLNK: "symbolic link",
    stat.S_IFIFO: "FIFO",
    stat.S_IFSOCK: "socket",
    stat.S_IFDIR: "directory",
    stat.S_IFREG: "file",
}


def kind_of(mode: int) -> str:
    """What a file with this mode is: `FIFO`, `symbolic link`; `device` for all that have no other name."""
    return _KINDS.get(stat.S_IFMT(mode), "device")


def why_not_own(found: os.stat_result) -> str:
    """What a file is that is not a regular one of this user with a single name; "" if it is that.

    What is written to it would go to another process, another user or another file.
    """
    if not stat.S_ISREG(found.st_mode):
        return f"a {kind_of(found.st_mode)}"
    if found.st_uid != os.geteuid():
        return f"a file of another user (uid {found.st_uid})"
    # Removed meanwhile, it has none.
    return "a file that has another name, too (a hard link)" if found.st_nlink > 1 else ""
