"""The messages between the engine and the launcher, and the socket on which they travel.

A frame is a length in four bytes, followed by a list of messages, which are tuples, written by
`marshal`. It is part of the interpreter, so it costs no import, leaves little for a fork to copy,
and keeps types of YAML that JSON does not have, such as integer keys. Both ends are one program on one
machine; a task closes its copy of the socket before anything else.
"""

from __future__ import annotations

import marshal
from _operator import attrgetter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from typing import Any

    # An attempt: the task's index in the plan, from 0, and the attempt's number, from 1.
    AttemptKey = tuple[int, int]
    # A start request as it travels: the fields of START_REQUEST.
    PackedStartRequest = tuple[Any, ...]

# The fields of `mprun.executors.base.StartRequest`, in the order in which they travel. A request is
# packed as a plain tuple, because a task pays for every object that its fork copies, and is read by
# the positions below. Only the worker unpacks it in one statement, because a spawned child imports
# the worker and nothing else; a test compares the order of its names.
START_REQUEST = (
    *("key", "name", "position", "daemon", "start_method", "target", "command", "limits"),
    *("args", "kwargs", "log", "result", "env", "cwd", "stacks", "after", "capture"),
)
KEY, NAME, POSITION, DAEMON, START_METHOD, TARGET, COMMAND, LIMITS = range(8)
ARGS, KWARGS, LOG, RESULT, ENV, CWD, STACKS, AFTER, CAPTURE = range(8, 17)
# What the launcher appends before it passes the request to a process: the function that it has
# resolved for a fork, else None, the pid that the process must find as its parent, and the
# descriptor for its output, -1 if it opens its log itself. If `capture` of a command is not 0, the launcher
# replaces it by the descriptor for standard output alone.
PROCESS_REQUEST = (*START_REQUEST, "function", "parent", "output")

# The suffix of the result file that has what a captured command prints, and how much of that it has at
# most, in bytes; one byte more shows that there is more.
STDOUT = ".stdout"
MAX_CAPTURED_BYTES = 16 * 1024 * 1024

pack_start_request = attrgetter(*START_REQUEST)

# The size of a frame's length, and how much is read at once, in bytes.
_LENGTH_BYTES = 4
_CHUNK_BYTES = 1 << 18
# For the launcher: Python would map new pages for a larger buffer, and unmap them again.
_SMALL_CHUNK_BYTES = 1 << 13
# The last version without references, which cost a look-up for each object at both ends.
_MARSHAL_VERSION = 2


def attempt_succeeded(
    exit_code: int | None, *, asked: bool = False, seconds: float = 0.0, timeout: float | None = None
) -> bool:
    """Whether the way in which an attempt ended proves that it succeeded.

    It does if the exit code is 0, no signal asked the attempt to end (`asked`), and it ran for less
    than `timeout` seconds, if there is a timeout.
    """
    # The launcher starts dependents by this rule before the engine hears of the exit;
    # `mprun.scheduling.attempt_outcome` says for which tasks it is enough.
    return exit_code == 0 and not asked and (timeout is None or seconds < timeout)


class FrameDecoder:
    """Cuts a stream of bytes into frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The frames that are complete now."""
        buffer = self._buffer
        if not buffer and len(data) == _LENGTH_BYTES + int.from_bytes(data[:_LENGTH_BYTES], "big"):
            return [data[_LENGTH_BYTES:]]
        buffer += data
        frames = []
        start = 0
        while len(buffer) - start >= _LENGTH_BYTES:
            end = start + _LENGTH_BYTES + int.from_bytes(buffer[start : start + _LENGTH_BYTES], "big")
            if len(buffer) < end:
                break
            frames.append(bytes(buffer[start + _LENGTH_BYTES : end]))
            start = end
        del buffer[:start]
        return frames


def frame(messages: list[tuple[Any, ...]]) -> bytes:
    """These messages as they travel."""
    data = marshal.dumps(messages, _MARSHAL_VERSION)
    return len(data).to_bytes(_LENGTH_BYTES, "big") + data


def messages_of(frames: FrameDecoder, data: bytes) -> list[tuple[Any, ...]] | None:
    """The messages that `data` completes; None if it is the end of the stream."""
    if not data:
        return None
    messages: list[tuple[Any, ...]] = []
    for frame in frames.feed(data):
        messages += marshal.loads(frame)  # noqa: S302  from our own process
    return messages


class EngineChannel:
    """The engine's end: sends requests without blocking, receives reports."""

    # A launcher that is forking does not read; if the engine waited for it, each could wait for the other.

    def __init__(self, sock: socket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._frames = FrameDecoder()
        self._requests: list[tuple[Any, ...]] = []
        self._unsent = bytearray()

    def fileno(self) -> int:
        return self._sock.fileno()

    def send(self, *request: Any) -> None:
        """Queue a request; `flush` sends it."""
        self._requests.append(request)

    def flush(self) -> bool:
        """Send as much as the socket takes; False if something is left to send.

        Raises OSError if the other end is gone.
        """
        if self._requests:
            self._unsent += frame(self._requests)
            self._requests.clear()
        while self._unsent:
            try:
                sent = self._sock.send(self._unsent)
            except BlockingIOError:
                return False
            del self._unsent[:sent]
        return True

    def receive(self) -> list[tuple[Any, ...]] | None:
        """The reports that have arrived; None if the other end is gone."""
        try:
            data = self._sock.recv(_CHUNK_BYTES)
        except BlockingIOError:
            return []
        except ConnectionError:
            return None
        return messages_of(self._frames, data)

    def close(self) -> None:
        self._sock.close()


class LauncherChannel:
    """The launcher's end: receives requests and sends reports, both blocking; `reports` are queued."""

    def __init__(self, sock: socket) -> None:
        self._sock = sock
        self._frames = FrameDecoder()
        self.reports: list[tuple[Any, ...]] = []
        # Queues a report, a tuple; `flush` sends all that are queued. Not a method of this class, which would
        # cost the launcher two more pages between two forks.
        self.send = self.reports.append

    def fileno(self) -> int:
        return self._sock.fileno()

    def receive(self) -> list[tuple[Any, ...]] | None:
        """Wait for requests; None if the engine is gone."""
        try:
            data = self._sock.recv(_SMALL_CHUNK_BYTES)
        except ConnectionError:
            return None
        return messages_of(self._frames, data)

    def flush(self) -> None:
        """Send the queued reports. Raises OSError if the engine is gone."""
        if self.reports:
            self._sock.sendall(frame(self.reports))
            self.reports.clear()
