"""A pipe by which the kernel kills a command that was not forked, if the launcher ends."""

from __future__ import annotations

import os

from mprun.launcher import fork, worker
from mprun.linux import pipe_close, run_tags, starting_tags


class Guard:
    """A pipe that no process writes to. If the launcher ends, the kernel kills the process that it is for.

    `tag` is what the process has for its tag until its pid is known. Raises OSError.
    """

    def __init__(self, number: int) -> None:
        self._number = starting_tags.UNKNOWN | number
        self.tag = worker.run_tag | self._number
        # Each has the signal for when the other one is closed by all who have it: the launcher, and its forks
        # and what it executes for a moment. Whichever end that is first, and in whatever order a process
        # closes its descriptors, the other end is still there then.
        self._ends = os.pipe2(os.O_CLOEXEC)
        try:
            for end in self._ends:
                pipe_close.arm(end)
        except OSError:
            self.close()
            raise
        fork.private_descriptors.update(self._ends)

    def watch(self, pid: int) -> None:
        """Be for this process from now on, also after its end, until this is called again. Raises OSError."""
        for end in self._ends:
            pipe_close.aim(end, pid)
        run_tags.stand_ins[self._number] = pid
        starting_tags.set_tag(pid, worker.run_tag | pid)

    def close(self) -> None:
        """Be for none any more."""
        for end in self._ends:
            pipe_close.disarm(end)
        for end in self._ends:
            fork.private_descriptors.discard(end)
            os.close(end)
