"""Has a task write the stacks of its threads before a signal ends it, and puts them into its log."""

from __future__ import annotations

from mprun.launcher.requested_stacks import Dump, ask
from mprun.launcher.worker import STACKS_NAME

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mprun.launcher.channel import AttemptKey
    from mprun.launcher.requested_stacks import SignalRequest


class StackDumps:
    """The dumps that were requested and may still be going on."""

    def __init__(self) -> None:
        self.pending: list[Dump] = []

    def request(self, request: SignalRequest, title: str, log: str, pid: int, pidfd: int) -> bool:
        """Ask a process for a dump; False if it cannot make one.

        `request` is the signal that is due once the dump is in the `log`, below its `title`.
        """
        requested = ask(pid, pidfd, (STACKS_NAME,))
        if requested is None:
            return False
        self.pending.append(Dump(request, title, log, pid, *requested))
        return True

    def take_finished(self) -> list[Dump]:
        """Remove and return the dumps that are complete, or have taken too long; they are in the log."""
        return self._write([dump for dump in self.pending if dump.is_finished()])

    def end(self, key: AttemptKey) -> None:
        """Write what an attempt that has ended has dumped: its log is read once its end is reported."""
        self._write([dump for dump in self.pending if dump.request[0] == key])

    def _write(self, finished: list[Dump]) -> list[Dump]:
        for dump in finished:
            self.pending.remove(dump)
            dump.write_to_log()
        return finished
