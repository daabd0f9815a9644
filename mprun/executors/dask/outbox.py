"""What an agent sends of its attempts: logs while they run, the rest of their files at the end, and reports.

A report waits for the files of its own attempt alone, and for the ends of the attempts after which that was
started. The attempts take turns, each of a piece, so that what takes long to send holds up no other one, and
only about a piece of it is in memory. All else stays in files on the host, and is removed once it was sent.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections import deque
from typing import TYPE_CHECKING, Any

from mprun.begun_logs import begun_logs
from mprun.executors.base import ExecutorLost, Exited, NotStarted, Probed, StartCancelled, Started
from mprun.executors.dask import artifacts, reports
from mprun.executors.dask.pieces import PIECE_BYTES, length_of, read_piece
from mprun.launcher.channel import STDOUT

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from mprun.executors.base import Report, StartRequest
    from mprun.executors.dask.pieces import Piece
    from mprun.launcher.channel import AttemptKey

# What a message counts beside its piece of a file, in bytes.
_MESSAGE_BYTES = 1 << 10
# What the names of an attempt's result files may end with. `a.1` is an attempt of `a`, and `a.1.x.1` one of a
# task `a.1.x`, so a pattern would match the files of another attempt.
RESULT_SUFFIXES = (".json", ".repr", ".problem.json", ".error.json", ".usage.json", STDOUT)
# How often the logs of running attempts are looked at, in seconds.
LOG_INTERVAL = 0.05
# So many of the last bytes that were read show whether a log was truncated and has grown again since.
_REMEMBERED = 64


class LogTail:
    """Reads a log from where the last piece of it ended; again from its start if a task has truncated it."""

    def __init__(self, folder: int, name: str) -> None:
        self.name = name
        self._folder = folder
        self._file = -1
        self._offset = 0
        # What is in front of the offset, and the size and time of the file that had it.
        self._last = b""
        self._seen = (0, 0)
        self._has_begun_again = False

    def read(self) -> Piece:
        """The next piece; b"" if there is nothing more by now."""
        try:
            self._look()
            piece = read_piece(self._file, self._offset)
        except OSError:
            # Its process is about to create it, or it is a command that has printed nothing.
            return b""
        self._offset += length_of(piece)
        # Holes read as zeros.
        data = bytes(min(piece, _REMEMBERED)) if isinstance(piece, int) else piece[-_REMEMBERED:]
        self._last = (self._last + data)[-_REMEMBERED:]
        return piece

    def has_begun_again(self) -> bool:
        """Whether what was read before the last piece is in the log no more; asked once for each piece."""
        has_begun_again, self._has_begun_again = self._has_begun_again, False
        return has_begun_again

    def _look(self) -> int:
        """How long it is now; it is opened if it was not. Raises OSError."""
        if self._file < 0:
            self._file = self._open()
        found = os.fstat(self._file)
        if not found.st_nlink:
            # The launcher gives a log that a task reads a new inode, with the same bytes.
            with contextlib.suppress(OSError):
                file = self._open()
                os.close(self._file)
                self._file, found = file, os.fstat(file)
        seen = found.st_size, found.st_mtime_ns
        if self._offset and seen != self._seen and self._was_truncated():
            self._offset, self._last, self._has_begun_again = 0, b"", True
        self._seen = seen
        return found.st_size

    def _open(self) -> int:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        return os.open(self.name, flags, dir_fd=self._folder)

    def _was_truncated(self) -> bool:
        """Whether what was read is in the log no more: it may have grown again since."""
        length = len(self._last)
        return os.pread(self._file, length, self._offset - length) != self._last

    def rest(self) -> Iterator[Piece]:
        """The pieces up to where it ends by now, each read when it is asked for."""
        # The times of files have steps of some milliseconds.
        self._seen = (-1, 0)
        try:
            end = self._look()
        except OSError:
            return
        if self._has_begun_again and not end:
            yield b""
        while self._offset < end and (piece := self.read()):
            yield piece

    def remove(self) -> None:
        """Close the log, and remove it."""
        if self._file >= 0:
            os.close(self._file)
        with contextlib.suppress(OSError):
            os.unlink(self.name, dir_fd=self._folder)


class _Sender:
    """What is to be sent of one attempt, or of the launcher itself: messages in order, and its log.

    It sends no report before the ends of the attempts in `after`, if they have ended.
    """

    def __init__(
        self, tail: LogTail, key: AttemptKey | None = None, result: str = "", artifacts: str = ""
    ) -> None:
        self.tail, self.key = tail, key
        # The name of its result files without a suffix, and its directory for artifacts, "" if it has none.
        self.result = result
        self.artifacts = artifacts
        self.after: Collection[AttemptKey] = ()
        self.messages: deque[Iterator[tuple[Any, ...]]] = deque()
        self.has_ended = False
        # When its logs are looked at next, None if they are not.
        self.look_at: float | None = None


class Outbox:
    """Sends by `send`, a message at a time; the directories of logs and result files are open descriptors."""

    def __init__(self, logs: int, results: int, main_log: str, send: Callable[..., None]) -> None:
        self._logs, self._results = logs, results
        self._send = send
        self._main = _Sender(LogTail(logs, main_log))
        self._main.look_at = 0.0
        # The attempts that are not over.
        self._senders: dict[AttemptKey, _Sender] = {}
        # What the probe of an attempt prints, if it has one now. Its answer may come after the attempt's end.
        self._outputs: dict[AttemptKey | None, LogTail] = {}
        # Those that may have something to send, in the order of their turns.
        self._line = deque([self._main])

    # ---- what there is to send

    def add(self, request: StartRequest, artifacts: str) -> None:
        """An attempt will be started, whose artifacts will be in this directory, "" if it has none."""
        sender = _Sender(LogTail(self._logs, request.log), request.key, request.result, artifacts)
        sender.after = tuple(key for key, _ in request.after)
        self._senders[request.key] = sender

    def artifacts_of(self, key: AttemptKey) -> str:
        """The directory for the artifacts of an attempt, "" if it has none."""
        return self._senders[key].artifacts if key in self._senders else ""

    def begin_output(self, key: AttemptKey, name: str) -> None:
        """A command that probes an attempt will print into this log."""
        # What the try before has printed is not read again.
        (self._outputs.pop(key, None) or LogTail(self._logs, name)).remove()
        self._send("new_log", name)
        self._outputs[key] = LogTail(self._logs, name)

    def put(self, report: Report) -> None:
        """Send a report, once what comes before it was sent."""
        key: Any = getattr(report, "key", None)
        sender = self._senders.get(key, self._main)
        messages: Iterable[tuple[Any, ...]]
        if isinstance(report, Exited):
            messages = self._end(sender, self._with_disk_error(report))
            sender.has_ended = True
        elif isinstance(report, (NotStarted, StartCancelled)):
            messages = self._no_start(sender, report)
        elif isinstance(report, Probed):
            messages = self._probed(report)
        elif isinstance(report, Started):
            sender.look_at = 0.0
            messages = (reports.pack(report),)
        else:
            if isinstance(report, ExecutorLost):
                # After that, the end of an attempt is unknown.
                sender.after = tuple(self._senders)
            messages = self._of_launcher(report)
        sender.messages.append(iter(messages))
        if sender not in self._line:
            self._line.append(sender)

    def _with_disk_error(self, report: Exited) -> Exited:
        """The report, with that the disk of the logs is full: a task that fails for that cannot say so."""
        if not report.exit_code or report.log_error:
            return report
        found = os.fstatvfs(self._logs)
        if found.f_bavail or not found.f_blocks:
            return report
        return report.replace(log_error=os.strerror(errno.ENOSPC))

    # ---- sending

    @property
    def has_more(self) -> bool:
        """Whether there is something to send at once."""
        return any(sender.messages and not self._is_held(sender) for sender in self._line)

    def _is_held(self, sender: _Sender) -> bool:
        """Whether one of those before it has ended, and that was not sent."""
        return any(key in self._senders and self._senders[key].has_ended for key in sender.after)

    def send(self, now: float) -> bool:
        """Send about a piece, beginning with who is next in line; whether there was anything."""
        room = PIECE_BYTES
        for _ in range(len(self._line)):
            if room <= 0:
                break
            sender = self._line.popleft()
            room -= self._take_turn(sender, room, now)
            if sender.messages or sender.look_at is not None:
                self._line.append(sender)
        return room < PIECE_BYTES

    def _take_turn(self, sender: _Sender, room: int, now: float) -> int:
        """Send what a sender has, until there is no more room; how much that was, in bytes."""
        sent = 0
        if sender.messages and not self._is_held(sender):
            while sender.messages and sent < room:
                message = next(sender.messages[0], None)
                if message is None:
                    sender.messages.popleft()
                    continue
                self._send(*message)
                sent += _size_of(message)
        elif sender.look_at is not None and now >= sender.look_at:
            sender.look_at = now + LOG_INTERVAL
            for tail in (sender.tail, self._outputs.get(sender.key)):
                for message in self._new(tail, tail.read()) if tail is not None else ():
                    self._send(*message)
                    sent += _size_of(message)
        return sent

    # ---- messages, each made when it is sent

    def _rest(self, tail: LogTail) -> Iterator[tuple[Any, ...]]:
        for data in tail.rest():
            yield from self._new(tail, data)

    def _new(self, tail: LogTail, data: Piece) -> Iterator[tuple[Any, ...]]:
        """What has come to a log, and that it has begun again, as it must in the record, too."""
        # The log of the launcher is that of the launchers on all hosts in the record.
        if tail.has_begun_again() and tail is not self._main.tail:
            yield "new_log", tail.name
        if data:
            yield "log", tail.name, data

    def _of_launcher(self, report: Report) -> Iterator[tuple[Any, ...]]:
        yield from self._rest(self._main.tail)
        if isinstance(report, ExecutorLost):
            begun = begun_logs(self._logs)
            yield "begun", [key for key, sender in self._senders.items() if sender.tail.name in begun]
        yield reports.pack(report)

    def _probed(self, report: Probed) -> Iterator[tuple[Any, ...]]:
        if (output := self._outputs.pop(report.key, None)) is not None:
            yield from self._rest(output)
            output.remove()
            yield "end_log", output.name
        yield reports.pack(report)

    def _no_start(self, sender: _Sender, report: NotStarted | StartCancelled) -> Iterator[tuple[Any, ...]]:
        if sender.artifacts:
            shutil.rmtree(sender.artifacts, ignore_errors=True)
        self._forget(report.key, sender)
        yield reports.pack(report)

    def _end(self, sender: _Sender, report: Exited) -> Iterator[tuple[Any, ...]]:
        yield from self._rest(sender.tail)
        names = set(os.listdir(self._results))
        for suffix in RESULT_SUFFIXES:
            if (name := sender.result + suffix) in names:
                yield from self._file(name)
        if sender.artifacts:
            yield from self._artifacts(report.key, sender.artifacts)
        self._forget(report.key, sender)
        yield reports.pack(report)

    def _forget(self, key: AttemptKey, sender: _Sender) -> None:
        if self._senders.pop(key, None) is not None:
            sender.tail.remove()
            sender.look_at = None

    def _file(self, name: str) -> Iterator[tuple[Any, ...]]:
        tail = LogTail(self._results, name)
        last: Piece = b""
        for piece in tail.rest():
            if last:
                yield "file", name, last, False
            last = piece
        yield "file", name, last, True
        tail.remove()

    def _artifacts(self, key: AttemptKey, path: str) -> Iterator[tuple[Any, ...]]:
        error = ""
        try:
            for piece in artifacts.pieces(path):
                yield "artifact", key, *piece
        except OSError as failure:
            error = failure.strerror or str(failure)
        shutil.rmtree(path, ignore_errors=True)
        yield "end_artifacts", key, os.path.basename(path), error


def _size_of(message: tuple[Any, ...]) -> int:
    return _MESSAGE_BYTES + sum(len(part) for part in message if isinstance(part, bytes))
