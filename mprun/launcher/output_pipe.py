"""The pipe into which a command writes its output, and which is drained into the log of its attempt.

A script may open its output once more (`echo x > /dev/stderr`), which would truncate a file, and a
program may read every file of its directory (`grep -r`), where its own log would be a trap. With a
pipe both work.
"""

from __future__ import annotations

import contextlib
import errno
import os
from select import POLLIN, poll

from mprun.launcher import fork, worker
from mprun.launcher.channel import MAX_CAPTURED_BYTES
from mprun.launcher.own_files import AS_FILE, create_anew, open_own
from mprun.linux.splice import PASS_BYTES, PIPE_BYTES, move

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mprun.launcher.channel import AttemptKey

# From this size on a log is looked at each time that its size has doubled, in bytes: whether a process
# of its task has it open, and would read what it writes without an end.
MIN_LOOK_BYTES = 1 << 13


class OutputPipe:
    """A pipe by its `read_end`, and the log of the attempt that uses it, by its `name`, "" if it is idle.

    The log is created once there is something to move: many commands print nothing. `log`
    is its descriptor if `is_open`, else one that is reserved for it, or -1. `slot` is its number for
    the keeper. `has_ended` says that no process has it open for writing, `error` why the log could not
    be written. `copy` is where a copy of what it has put into the log goes, a descriptor or -1; `copied`
    is how many bytes are there. `moved` is how many have come through the pipe; when they are
    `next_look`, the log is looked at. `rest_ends` is a monotonic time, 0 if the pipe does not rest;
    `flood_passes` are left. `rate_from` is where the measurement of its rate began, in bytes, and
    `rate_since` when. `capacity` is what it can hold, in bytes.
    """

    __slots__ = (
        *(
            "_poll",
            "capacity",
            "copied",
            "copy",
            "error",
            "flood_passes",
            "has_ended",
            "is_open",
            "_write_end",
        ),
        *("key", "log", "moved", "name", "next_look", "rate_from", "rate_since"),
        *("read_end", "rest_ends", "slot"),
    )

    key: AttemptKey

    def __init__(self, slot: int) -> None:
        self.slot = slot
        self.read_end, write_end = os.pipe2(os.O_CLOEXEC)
        self._write_end = f"/proc/self/fd/{self.read_end}"
        self.log, self.is_open = write_end, False
        self._reserve_log()
        os.set_blocking(self.read_end, False)
        self._poll = poll()
        self._poll.register(self.read_end, POLLIN)
        self.name, self.error, self.has_ended = "", "", True
        self.copy = -1
        self.capacity = PIPE_BYTES

    def begin(self, name: str) -> None:
        """Drain it into this file from now on."""
        self.name, self.error, self.has_ended = name, "", False
        self.moved = self.copied = self.flood_passes = self.rate_from = 0
        self.next_look = MIN_LOOK_BYTES
        self.rest_ends = self.rate_since = 0.0

    def open_write_end(self) -> int:
        """A new descriptor for writing, which blocks."""
        try:
            return os.open(self._write_end, os.O_WRONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise OSError(errno.ENOENT, "a command needs /proc, which is not mounted") from None

    def create_log(self) -> None:
        """Create the log, or open it if it is there. Raises OSError."""
        # Its descriptor is free for that.
        self._close_log()
        # Not opened for appending, which splice(2) refuses. No other process writes to it.
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | AS_FILE
            self._use_log(os.open(self.name, flags, 0o600, dir_fd=worker.logs))
        except FileExistsError:
            # It was closed for a while, or a task has put something in its place.
            self._use_log(open_own(worker.logs, self.name, os.O_RDWR | os.O_CREAT))

    def open_log(self) -> None:
        """The same; if the directory is gone, what would go into the log is lost. Raises OSError."""
        try:
            self.create_log()
        except FileNotFoundError:
            # The task has removed it.
            self._use_log(os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC))

    def _use_log(self, log: int) -> None:
        self.log = log
        fork.private_descriptors.add(self.log)
        os.lseek(self.log, 0, os.SEEK_END)
        self.is_open = True

    def _close_log(self) -> None:
        if self.log >= 0:
            fork.private_descriptors.discard(self.log)
            os.close(self.log)
        self.log, self.is_open = -1, False

    def share_log(self, other: OutputPipe, copy: str) -> None:
        """Have it drained into the log of another pipe, and into a file of its own. Raises OSError."""
        # One open file, so that each continues where the other has ended.
        os.dup2(other.log, self.log, inheritable=False)
        self.is_open = True
        folder = worker.open_results()
        try:
            self.copy = create_anew(folder, copy, os.O_WRONLY)
        finally:
            os.close(folder)
        fork.private_descriptors.add(self.copy)

    def close_files(self) -> None:
        """Close the log, and the copy, and reserve a descriptor for the next log."""
        if self.copy >= 0:
            fork.private_descriptors.discard(self.copy)
            os.close(self.copy)
            self.copy = -1
        if self.is_open:
            self._reserve_log()

    def _reserve_log(self) -> None:
        # By any file that is open: a duplicate takes no room on a disk, and no time.
        os.dup2(self.read_end, self.log, inheritable=False)
        self.is_open = False

    def close(self) -> None:
        """Close its descriptors. Who writes to it gets SIGPIPE."""
        fork.private_descriptors.discard(self.read_end)
        os.close(self.read_end)
        self.read_end = -1
        self._close_log()

    def position(self) -> int:
        """Where in its log the next byte comes, in bytes from the start."""
        return os.lseek(self.log, 0, os.SEEK_CUR)

    def _has_data(self) -> bool:
        """Whether there is something to read; sets `has_ended` if there will never be."""
        events = self._poll.poll(0)
        self.has_ended = bool(events) and not events[0][1] & POLLIN
        return bool(events) and not self.has_ended

    def drain(self) -> int:
        """Move one pass into the log; the number of bytes. Sets `has_ended` or `error`."""
        try:
            if not self.is_open:
                # Looked at, not read: it is in the pipe until it is in the log.
                if not self._has_data():
                    return 0
                self.open_log()
            moved = move(self.read_end, self.log)
            if moved and self.copy >= 0:
                self._copy(moved)
        except BlockingIOError:
            return 0
        except OSError as error:
            self.error = error.strerror or str(error)
            return 0
        self.has_ended = not moved
        self.moved += moved
        return moved

    def _copy(self, moved: int) -> None:
        """Copy the last bytes of the log, up to the limit: they are safe there already."""
        start = self.position() - moved
        left = memoryview(os.pread(self.log, min(moved, MAX_CAPTURED_BYTES + 1 - self.copied), start))
        self.copied += len(left)
        while left:
            left = left[os.write(self.copy, left) :]

    def drain_rest(self) -> None:
        """Move all that is in the pipe now, and no more: a process may write without an end."""
        left = PASS_BYTES
        while left > 0 and (moved := self.drain()):
            left -= moved
        if self.is_open and not self.has_ended and not self.error:
            # Shows whether any process has it open.
            self.drain()

    def replace_log(self, sharing: list[OutputPipe]) -> None:
        """Give the log a new inode, if the disk has room, so that readers of the old one come to its end.

        `sharing` are all pipes that are drained into it.
        """
        path = f"{self.name}.new"
        try:
            copy = create_anew(worker.logs, path, os.O_RDWR)
        except OSError:
            return
        try:
            left, copied = self.position(), 0
            while moved := os.sendfile(copy, self.log, copied, left - copied):
                copied += moved
            if copied < left:
                # It was truncated in the meantime.
                os.unlink(path, dir_fd=worker.logs)
                return
            os.rename(path, self.name, src_dir_fd=worker.logs, dst_dir_fd=worker.logs)
            for pipe in sharing:
                os.dup2(copy, pipe.log, inheritable=False)
        except OSError:
            # The directory may be gone, or the copy may have its name already.
            with contextlib.suppress(OSError):
                os.unlink(path, dir_fd=worker.logs)
        finally:
            os.close(copy)
