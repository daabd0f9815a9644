"""A pipe by which the kernel kills a command that was not forked, if the launcher ends."""

from __future__ import annotations

import fcntl
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
        before, write_end = os.pipe2(os.O_CLOEXEC)
        # The signal comes when the write end is closed and a read end is still open. In whichever order the
        # kernel closes the descriptors of a process that ends, one of these two comes after the write end.
        self._read_ends, self._write_end = [before], write_end
        try:
            self._read_ends.append(_open_after(write_end, before))
            for read_end in self._read_ends:
                pipe_close.arm(read_end)
        except OSError:
            self.close()
            raise
        fork.private_descriptors.update((*self._read_ends, write_end))

    def watch(self, pid: int) -> None:
        """Be for this process from now on, also after its end, until this is called again. Raises OSError."""
        for read_end in self._read_ends:
            pipe_close.aim(read_end, pid)
        run_tags.stand_ins[self._number] = pid
        starting_tags.set_tag(pid, worker.run_tag | pid)

    def close(self) -> None:
        """Be for none any more."""
        # In this order there is no signal.
        for descriptor in (*self._read_ends, self._write_end):
            fork.private_descriptors.discard(descriptor)
            os.close(descriptor)


def _open_after(smaller: int, read_end: int) -> int:
    """The read end of a pipe opened once more, with a descriptor that is larger than another one."""
    opened = os.open(f"/proc/self/fd/{read_end}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        return fcntl.fcntl(opened, fcntl.F_DUPFD_CLOEXEC, smaller + 1)
    finally:
        os.close(opened)
