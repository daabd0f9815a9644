"""The cgroup of a run: the launcher makes one at its start and enters it, so all its descendants are in it.

A process cannot leave it by a fork, a new session or an empty environment, and the kernel ends all of it at
once, however fast it forks: see `mprun.linux.cgroup_end`. It has no controllers, so it changes no limits.

It can be had if cgroups of version 2 are mounted and this process may make one below its own (as root, or
where a subtree is delegated to its user), since Linux 5.14. To enter it costs a wait of some 10 ms for the
kernel (a grace period of RCU): at its start the launcher waits longer than that for the engine.
"""

from __future__ import annotations

import contextlib
import os
from time import time

from mprun.linux import procfs

# How the names begin; the pid of the launcher follows, and the namespace of that.
PREFIX = "mprun-"
# The attribute of the directory that says whose it is.
MARK = "user.mprun"
# An empty one of a start that may be running is removed after this time, in seconds: it may be about to
# be entered.
UNUSED_SECONDS = 60.0

# The directory of the cgroup that this process has entered, "" for none.
entered = ""


def make_and_enter() -> None:
    """Make a cgroup below the one of this process, and enter it, if that is possible."""
    global entered
    own, _ = procfs.own_cgroup()
    # With controllers in its children, this run would compete as a whole with what is beside it.
    if not own or _read(f"{own}/cgroup.subtree_control").strip():
        return
    path = path_of(os.getpid(), own)
    try:
        with contextlib.suppress(FileNotFoundError):
            # One that an earlier process of this pid has left.
            os.rmdir(path)
        os.mkdir(path, 0o755)
    except OSError:
        return
    try:
        if os.path.exists(f"{path}/cgroup.kill"):
            write(f"{path}/cgroup.procs", b"0")
            entered = path
    except OSError:
        # It is not allowed to leave its own, or that is a threaded one.
        pass
    finally:
        if not entered:
            with contextlib.suppress(OSError):
                os.rmdir(path)
    _remove_unused(own)


def path_of(pid: int, own: str = "") -> str:
    """The cgroup that a launcher with this pid makes below the one of this process; "" if there is none."""
    own = own or procfs.own_cgroup()[0]
    return f"{own}/{PREFIX}{pid}-{_namespace()}" if own else ""


def _namespace() -> str:
    return procfs.pid_namespace().rpartition(":")[2]


def mark(identity: str) -> None:
    """Say whose the cgroup is, if there is one: the `identity` of a run's directory, which no copy has."""
    if entered:
        with contextlib.suppress(OSError):
            os.setxattr(entered, MARK, identity.encode())


def _remove_unused(own: str) -> None:
    """Remove what starts left that were killed early: nothing but an empty cgroup can be removed."""
    oldest = time() - UNUSED_SECONDS
    with contextlib.suppress(OSError):
        for name in os.listdir(own):
            path = f"{own}/{name}"
            if name.startswith(PREFIX) and path != entered:
                with contextlib.suppress(OSError):
                    if os.stat(path).st_ctime < oldest or _has_ended(name):
                        os.rmdir(path)


def _has_ended(name: str) -> bool:
    """Whether the launcher that made a cgroup of this name certainly has ended."""
    pid, _, namespace = name.removeprefix(PREFIX).partition("-")
    if namespace != _namespace() or not pid.isdecimal():
        return False
    return not procfs.is_alive(int(pid))


def write(path: str, text: bytes) -> None:
    """Write to a file of a cgroup. Raises OSError."""
    file = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(file, text)
    finally:
        os.close(file)


def _read(path: str) -> bytes:
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.read(file, 4096)
    finally:
        os.close(file)
