"""What the control group of this process says of memory: its limit, and how many were killed for it.

Version 2 of cgroups has a file `memory.events` in each directory whose memory is counted (cgroups(7)),
version 1 `memory.oom_control`. The cgroup of a run is below that of the engine, which counts for it, too.
"""

from __future__ import annotations

import os
from time import monotonic

from mprun.linux.procfs import MOUNTS, OWN_CGROUP, own_cgroup

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

# For how long a kill that was counted may explain the end of a process, in seconds: a busy machine takes a
# while to report it.
MAX_AGE_SECONDS = 2.0
# Limits from here on mean none (version 1).
_NO_LIMIT = 1 << 60


class OutOfMemoryKills:
    """Counts the processes that the kernel has killed in this process's cgroup because memory ran out."""

    def __init__(self, own: str = OWN_CGROUP, mounts: str = MOUNTS) -> None:
        """Find the files and read the count. `own` and `mounts` are files as in /proc/self."""
        self._directories: list[str] = []
        self._limit_file = ""
        self._file = -1
        for directory, top, events, limit in _candidates(own, mounts):
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
        # What the file said when it was last looked, and how many were killed by then.
        self._text, self.count = b"", 0
        self.count = self._read()
        self._unexplained, self._seen_at = 0, 0.0

    def take_one(self, since: int = 0) -> str | None:
        """Whether one more process was killed lately: the limit that was reached, in bytes, "" for none.

        None if no kill was counted that has not been returned before, or none after `since`, which is the
        count when the process began.
        """
        self.look()
        if self.count <= since or not self._unexplained or monotonic() - self._seen_at > MAX_AGE_SECONDS:
            return None
        self._unexplained -= 1
        limits = [limit for each in self._directories if (limit := self._limit(each)) is not None]
        return str(min(limits)) if limits else ""

    def look(self) -> None:
        """Read the count again."""
        count = self._read()
        if count > self.count:
            fresh = monotonic() - self._seen_at <= MAX_AGE_SECONDS
            self._unexplained = count - self.count + (self._unexplained if fresh else 0)
            self.count, self._seen_at = count, monotonic()

    def close(self) -> None:
        """Close the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _read(self) -> int:
        if self._file < 0:
            return 0
        try:
            text = os.pread(self._file, 4096, 0)
        except OSError:
            return 0
        if text == self._text:
            # It is looked at twice for each task, and hardly ever changes.
            return self.count
        self._text, words = text, text.split()
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


def _candidates(own: str, mounts: str) -> Iterator[tuple[str, str, str, str]]:
    """Directories that may count kills, with the top of their hierarchy, and the names of the two files."""
    files = ("memory.events", "memory.max"), ("memory.oom_control", "memory.limit_in_bytes")
    for controller, names in zip(("", "memory"), files, strict=True):
        directory, top = own_cgroup(controller, own, mounts)
        # Without a controller of its own, a cgroup of version 2 is counted in one above it.
        while directory and directory.startswith(top):
            yield directory, top, *names
            directory = os.path.dirname(directory)
