"""What the control group of this process says of memory: its limit, and how many were killed for it.

Version 2 of cgroups has a file `memory.events` in each directory of /sys/fs/cgroup (cgroups(7)), version 1
`memory.oom_control`.
"""

from __future__ import annotations

import os
from time import monotonic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = "/sys/fs/cgroup"
# For how long a kill that was counted may explain the end of a process, in seconds: a busy machine takes a
# while to report it.
MAX_AGE_SECONDS = 2.0
# Limits from here on mean none (version 1).
_NO_LIMIT = 1 << 60


class OutOfMemoryKills:
    """Counts the processes that the kernel has killed in this process's cgroup because memory ran out."""

    def __init__(self, root: str = ROOT, own: str = "/proc/self/cgroup") -> None:
        """Find the files and read the count. `root` is where cgroups are mounted, `own` names this one's."""
        self._directories: list[str] = []
        self._limit_file = ""
        self._file = -1
        for directory, top, events, limit in _candidates(root, own):
            try:
                self._file = os.open(f"{directory}/{events}", os.O_RDONLY | os.O_CLOEXEC)
            except OSError:
                continue
            self._limit_file = limit
            # With those above it, whose limits hold for it, too.
            while directory.startswith(top):
                self._directories.append(directory)
                directory = os.path.dirname(directory)
            break
        self._count = self._read()
        self._unexplained, self._seen_at = 0, 0.0

    def take_one(self) -> str | None:
        """Whether one more process was killed lately: the limit that was reached, in bytes, "" for none.

        None if no kill was counted that has not been returned before.
        """
        self.look()
        if not self._unexplained or monotonic() - self._seen_at > MAX_AGE_SECONDS:
            return None
        self._unexplained -= 1
        limits = [limit for each in self._directories if (limit := self._limit(each)) is not None]
        return str(min(limits)) if limits else ""

    def look(self) -> None:
        """Read the count again."""
        count = self._read()
        if count > self._count:
            fresh = monotonic() - self._seen_at <= MAX_AGE_SECONDS
            self._unexplained = count - self._count + (self._unexplained if fresh else 0)
            self._count, self._seen_at = count, monotonic()

    def close(self) -> None:
        """Close the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _read(self) -> int:
        if self._file < 0:
            return 0
        try:
            words = os.pread(self._file, 4096, 0).split()
        except OSError:
            return 0
        counts = dict(zip(words[::2], words[1::2], strict=False))
        return int(counts.get(b"oom_kill", 0))

    def _limit(self, directory: str) -> int | None:
        try:
            with open(f"{directory}/{self._limit_file}", "rb") as file:
                text = file.read().strip()
        except OSError:
            return None
        # Version 2 says `max` for none.
        return int(text) if text.isdigit() and int(text) < _NO_LIMIT else None


def _candidates(root: str, own: str) -> Iterator[tuple[str, str, str, str]]:
    """Directories of the cgroup, with the top of their hierarchy, and the names of the two files there."""
    try:
        file = os.open(own, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        text = os.fsdecode(os.read(file, 1 << 16))
    finally:
        os.close(file)
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            tops, names = [root, f"{root}/unified"], ("memory.events", "memory.max")
        elif "memory" in controllers.split(","):
            tops, names = [f"{root}/memory"], ("memory.oom_control", "memory.limit_in_bytes")
        else:
            continue
        for top in tops:
            # In a container the path may be the host's, and the own cgroup be mounted at the top.
            for directory in dict.fromkeys(((top + path).rstrip("/"), top)):
                yield directory, top, *names
