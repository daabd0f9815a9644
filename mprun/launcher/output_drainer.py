"""A process that drains one pipe into its log while a command writes more than the launcher should move.

The launcher has one thread, so it would be the bottleneck of several floods. The pipe is not made larger for
this process: splice(2) locks it while it writes to the log, and a writer that waits for the lock uses a core.

If this process or the launcher is killed, nothing is lost: splice(2) takes a byte out of the pipe once it is
in the log. Before anything else drains the pipe, this process has ended: the launcher waits for that, and so
does the keeper, which knows of this process before it begins.
"""

from __future__ import annotations

import contextlib
import os
import signal

from mprun.launcher import fork
from mprun.launcher.output_keeper import close_all_but, set_name
from mprun.linux import pidfd_signals, prctl
from mprun.linux.splice import PASS_BYTES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mprun.launcher.output_keeper import Keeper
    from mprun.launcher.output_pipe import OutputPipe

# Each pass waits until there is something, so a writer of single lines would wake it with each. It ends
# after so many passes that have moved fewer bytes each, on average.
_PASSES = 1024
_SMALL_BYTES = 1024
# Its exit code if the log is to be looked at. After any other one the launcher finds out by itself.
_IS_LARGER = 17


class Drainer:
    """Drains `pipe` until its log is to be looked at, little comes through it, or the log cannot be written.

    Until `stop`, the launcher must use neither. Raises OSError if there is no room for the process.
    """

    def __init__(self, pipe: OutputPipe, keeper: Keeper) -> None:
        self.pipe = pipe
        self._keeper = keeper
        self._launcher = os.getpid()
        self._begin = pipe.position()
        needed = {pipe.read_end, pipe.log, keeper.fileno()}
        # A fork closes the launcher's own descriptors.
        fork.private_descriptors.difference_update(needed)
        try:
            self._process = fork.Fork(self)
        finally:
            fork.private_descriptors.update(needed)

    @property
    def pid(self) -> int:
        return self._process.pid

    def fileno(self) -> int:
        """The descriptor that is readable once the process has ended."""
        return self._process.pidfd

    def stop(self) -> bool:
        """End it, and note what it has moved; whether it has ended because the log is to be looked at."""
        # A module's handler of SIGCHLD may have reaped it.
        with contextlib.suppress(ProcessLookupError):
            pidfd_signals.send(self.pid, self.fileno(), signal.SIGKILL)
        code = self._process.poll(0)
        self._process.close()
        self.pipe.moved += max(0, self.pipe.position() - self._begin)
        return code == _IS_LARGER

    # ---- in the process

    def _bootstrap(self, _parent_sentinel: int | None, _barrier: int) -> int:
        prctl.die_with_parent(self._launcher)
        # Who kills the launcher may kill its group, and terminals signal other sessions.
        os.setsid()
        close_all_but(self.pipe.read_end, self.pipe.log, self._keeper.fileno())
        set_name()
        self._keeper.announce_drainer(self.pipe.slot)
        return self._drain()

    def _drain(self) -> int:
        # The launcher's own description does not block.
        pipe = os.open(f"/proc/self/fd/{self.pipe.read_end}", os.O_RDONLY | os.O_CLOEXEC)
        log, left = self.pipe.log, self.pipe.next_look - self.pipe.moved
        while left > 0:
            begin = left
            for _ in range(_PASSES):
                moved = os.splice(pipe, log, PASS_BYTES)
                if not moved:
                    return 0
                left -= moved
                if left <= 0:
                    break
            else:
                if begin - left < _PASSES * _SMALL_BYTES:
                    return 0
        return _IS_LARGER
