"""What a run shows, written without waiting for a reader: a pipe that is full, a terminal after Ctrl-S.

O_NONBLOCK belongs to an open file description, which the shell and other processes share, so it is not
set on standard output and error. Instead, each is opened again through /proc, which gives a description of
its own. Where that is refused (a socket, a terminal of another user), a thread does the waiting: bytes go
to it through a pipe. A thread for all would need no /proc, but each write would wait for a switch of threads.
"""

from __future__ import annotations

import contextlib
import io
import math
import os
import select
import stat
import sys
import time
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any

from mprun.reporters.door import Door

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from types import FrameType
    from typing import Protocol, TextIO

    from mprun.reporters.relay import Relay

    # For types alone: most runs have none.
    class Footer(Protocol):
        """Rows below all that is written: `mprun.reporters.region.Region`."""

        stream: OutletStream

        @property
        def is_full(self) -> bool:
            """Whether no more is to be held."""

        def hold(self, data: bytes) -> None:
            """Hold bytes until the rows are drawn next."""

        def take_held(self) -> bytes:
            """All that is held, with the rows below it."""


# What is shown in one turn of the engine's loop, in bytes.
TURN_BYTES = 1024 * 1024
# What may wait for a reader: pieces of text, and their bytes. The output of tasks waits in its logs.
MAX_WAITING = 20_000
MAX_WAITING_BYTES = 1024 * 1024
# At the end, so many seconds are given to the readers, and so many to count what was not shown.
FINISH_SECONDS = 5.0
_COUNT_SECONDS = 1.0
# How soon a signal is noticed at the end, in milliseconds.
_SLICE_MILLISECONDS = 50


class Outlet:
    """What waits for one reader, in order: bytes, and steps that write more of them.

    Standard output and error share one if they are the same terminal, pipe or file.
    """

    def __init__(self) -> None:
        # Steps that are done once there is room for what they write, and bytes, with their stream.
        self._waiting: deque[Iterator[object] | tuple[OutletStream, bytes]] = deque()
        self._waiting_bytes = 0
        # What is being written, and what the present step has written.
        self._unwritten: deque[tuple[OutletStream, bytes]] = deque()
        self._in_step = False
        # How many bytes the reader has taken in this turn of the engine's loop.
        self._taken = 0
        self._is_stalled = self._is_given_up = False
        # Whether the reader did not take all that was written last.
        self.is_blocked = False
        self._default: int | None = None
        # The rows below what is written, if there are any: they hold it until they are drawn again.
        self.footer: Footer | None = None
        self._has_inserted = False
        # Called after each write, if all that is written has to be read.
        self.keep_up: Callable[[], None] | None = None
        # How many lines were not shown, and whether there are more that were not counted.
        self.lost = 0
        self.lost_more = False

    @property
    def is_behind(self) -> bool:
        """Whether something waits for the reader."""
        return bool(self._waiting or self._unwritten)

    @property
    def takes_insert(self) -> bool:
        """Whether the reader has taken all that was inserted."""
        return not self._has_inserted

    def descriptor(self) -> int | None:
        """The descriptor that has to be writable before `pump`; None if there is nothing to write.

        Also None if it was called writable and then took nothing, as a terminal with room for one byte:
        `pump` is to be called some time later.
        """
        if self._is_stalled or not self.is_behind:
            return None
        first = self._unwritten or self._waiting
        return first[0][0].own if isinstance(first[0], tuple) else self._default

    def add(self, stream: OutletStream) -> None:
        """Write the bytes of this stream."""
        self._default = stream.own

    def show(self, steps: Iterator[object]) -> None:
        """Do all steps, each once what the one before has written is written."""
        if len(self._waiting) >= MAX_WAITING:
            self.lost_more = True
            return
        self._waiting.append(steps)
        if len(self._waiting) == 1 and not self._unwritten:
            self.pump()

    def put(self, stream: OutletStream, data: bytes) -> None:
        """Write bytes, behind what is waiting."""
        if self._in_step:
            self._send(stream, data)
        elif not self.is_behind:
            self._send(stream, data)
            self._write()
        elif len(self._waiting) >= MAX_WAITING or self._waiting_bytes + len(data) > MAX_WAITING_BYTES:
            self.lost += data.count(b"\n")
        else:
            self._waiting.append((stream, data))
            self._waiting_bytes += len(data)

    def insert(self, stream: OutletStream, data: bytes) -> None:
        """Write bytes, before what is waiting."""
        self._has_inserted = True
        self._unwritten.append((stream, data))
        self._write()

    def pump(self, *, is_writable: bool = False) -> None:
        """Write what the reader takes, at most TURN_BYTES or a little more.

        `is_writable` says that the descriptor was found to be writable.
        """
        self._taken = 0
        while (not self._unwritten or self._write()) and self._waiting and self._taken < TURN_BYTES:
            self._next_step()
        self._is_stalled = not self._taken and self.is_behind and (is_writable or self._is_stalled)

    def give_up(self, deadline: float) -> None:
        """Drop what is waiting, and count its lines until `deadline`, a reading of time.monotonic."""
        self._is_given_up = True
        while self._write() and self._waiting:
            if time.monotonic() >= deadline:
                self.lost_more = True
                self._waiting.clear()
                break
            self._next_step()
        # What is said now is shown if there is room for it.
        self._is_given_up = self.is_blocked

    def _next_step(self) -> None:
        first = self._waiting[0]
        if isinstance(first, tuple):
            self._waiting.popleft()
            self._waiting_bytes -= len(first[1])
            self._send(*first)
            return
        self._in_step = True
        try:
            if next(first, self) is self:
                self._waiting.popleft()
        except BaseException:
            self._waiting.popleft()
            raise
        finally:
            self._in_step = False

    def _send(self, stream: OutletStream, data: bytes) -> None:
        """Have bytes written next, or with the footer."""
        if self.footer is None:
            self._unwritten.append((stream, data))
            return
        self._taken += len(data)
        self.footer.hold(data)
        if self.footer.is_full:
            self._unwritten.append((self.footer.stream, self.footer.take_held()))

    def _write(self) -> bool:
        """Write what is unwritten as far as it is taken; whether all of it was."""
        while self._unwritten:
            stream, data = self._unwritten[0]
            if self._is_given_up:
                self.lost += data.count(b"\n")
                written = len(data)
            else:
                written = stream.write_some(data)
                self.is_blocked = written < len(data)
                self._taken += written
            if written < len(data):
                self._unwritten[0] = (stream, data[written:])
                return False
            self._unwritten.popleft()
        self._has_inserted = False
        return True


class OutletStream(io.BufferedIOBase):
    """A descriptor's stream of bytes, which writes to an outlet.

    `own` is the descriptor that is written: of another description, unless the file is regular. An error
    is raised once, perhaps by a later call; after it, what is written is dropped.
    """

    def __init__(self, descriptor: int, outlet: Outlet, own: int) -> None:
        self._descriptor = descriptor
        self.outlet = outlet
        self.own = own
        self._error: OSError | None = None
        self._is_broken = False
        outlet.add(self)

    def write(self, data: bytes) -> int:  # type: ignore[override]
        """Write bytes now or later; how many, which is always all of them."""
        if not self._is_broken:
            self.outlet.put(self, bytes(data))
            if self.outlet.keep_up is not None:
                self.outlet.keep_up()
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        return len(data)

    def write_some(self, data: bytes) -> int:
        """Write what is taken at once; how many bytes. An error is kept for `write`, and takes all."""
        written = 0
        try:
            while written < len(data) and not self._is_broken:
                written += os.write(self.own, memoryview(data)[written:])
        except BlockingIOError:
            return written
        except OSError as error:
            self._error, self._is_broken = error, True
        return len(data)

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)


class Display:
    """The outlets of a run: standard output and error, and a file of `--events`.

    Engine and reporters use it as `mprun.reporters.base.Display`.
    """

    def __init__(self) -> None:
        self._relays: list[tuple[Outlet, Relay]] = []
        self._outlets: dict[str, Outlet] = {}
        self._was_interrupted = False
        # Whether standard output has only what a program is to read.
        self.is_stdout_for_program = False
        # Where everything is that is shown.
        self.directory = ""

    def replace_standard_streams(self) -> None:
        """Have sys.stdout and sys.stderr write to outlets from now on."""
        shared = _is_same_file(1, 2)
        sys.stdout = self._replaced(sys.stdout, "stdout")
        sys.stderr = self._replaced(sys.stderr, "stdout" if shared else "stderr")

    def open(self, descriptor: int, name: str) -> TextIO:
        """A stream that writes to this descriptor, whose description is its own."""
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.set_blocking(descriptor, False)
        outlet = self._outlets.setdefault(name, Outlet())
        buffer: Any = OutletStream(descriptor, outlet, descriptor)
        return io.TextIOWrapper(buffer, "utf-8", "backslashreplace")

    def waiting(self) -> list[int]:
        """The descriptors that have to be writable before `pump` can go on."""
        found = (outlet.descriptor() for outlet in self._outlets.values())
        return [descriptor for descriptor in found if descriptor is not None]

    def pump(self, writable: Collection[int] = ()) -> None:
        """Write what the readers take; `writable` are descriptors of `waiting` that are."""
        for outlet in self._outlets.values():
            if outlet.is_behind:
                outlet.pump(is_writable=outlet.descriptor() in writable)

    def interrupt(self, _number: int = 0, _frame: FrameType | None = None) -> None:
        """Give the readers no more time; a handler of signals."""
        self._was_interrupted = True

    def wait_for_reader(self) -> None:
        """The run has ended: what stdout gets from now on waits until it is read, or until a signal comes."""
        # A command that reads an earlier run has none.
        if outlet := self._outlets.get("stdout"):
            outlet.keep_up = partial(self._keep_up, [outlet])

    def finish(self, seconds: float = FINISH_SECONDS) -> str:
        """Give the readers so many seconds; what they have not read by then is dropped, but not for a file.

        What was not shown, empty if all was.
        """
        self._keep_up([*self._outlets.values()], time.monotonic() + seconds)
        counted_until = time.monotonic() + _COUNT_SECONDS
        lost = [self._lost(name, outlet, counted_until) for name, outlet in self._outlets.items()]
        return " and ".join(filter(None, lost))

    def _keep_up(self, outlets: list[Outlet], deadline: float = math.inf) -> None:
        """Wait until all is read that these have, a signal comes, or until the deadline for each reader."""
        while not self._was_interrupted:
            is_late = time.monotonic() >= deadline
            if not any(self._is_behind(one) and not (is_late and self._waits(one)) for one in outlets):
                break
            poller = select.poll()
            for descriptor in self.waiting():
                poller.register(descriptor, select.POLLOUT)
            self.pump([descriptor for descriptor, _ in poller.poll(_SLICE_MILLISECONDS)])

    def _lost(self, name: str, outlet: Outlet, counted_until: float) -> str:
        """What an outlet has not shown, empty if it has shown everything; what waits is dropped."""
        relays = [relay for one, relay in self._relays if one is outlet and relay.is_busy()]
        outlet.is_blocked = outlet.is_blocked or bool(relays)
        if outlet.is_behind or relays:
            outlet.give_up(counted_until)
        count = outlet.lost + sum(relay.left() for relay in relays)
        if not count and not outlet.lost_more:
            return ""
        more = "more than " if outlet.lost_more else ""
        return f"{more}{count} line{'' if count == 1 else 's'} of {name} not shown, because not read in time"

    def _is_behind(self, outlet: Outlet) -> bool:
        return outlet.is_behind or self._is_relay_busy(outlet)

    def _waits(self, outlet: Outlet) -> bool:
        """Whether another program has to read; a file takes what is written, if only as fast as the disk."""
        return outlet.is_blocked or self._is_relay_busy(outlet)

    def _is_relay_busy(self, outlet: Outlet) -> bool:
        return any(one is outlet and relay.is_busy() for one, relay in self._relays)

    def stream_that_works(self) -> TextIO | None:
        """Standard error, else standard output, if it takes what is written and texts; for the end."""
        for stream in (sys.stderr, *([] if self.is_stdout_for_program else [sys.stdout])):
            outlet: Outlet | None = getattr(stream.buffer, "outlet", None)
            if outlet is None or not outlet.is_blocked:
                return stream
        return None

    def _replaced(self, stream: TextIO, name: str) -> TextIO:
        descriptor = stream.fileno()
        stream.flush()
        outlet = self._outlets.setdefault(name, Outlet())
        own = self._own(descriptor, outlet)
        if hasattr(stream.buffer, "redirect"):
            # The guard for a CI service, which stays in front of it.
            stream.buffer.redirect(OutletStream(descriptor, outlet, own))
            return stream
        buffer: Any = OutletStream(descriptor, outlet, own)
        new = Door(buffer, "utf-8", "backslashreplace", line_buffering=True)
        new.before, new.is_json = stream, getattr(stream, "is_json", False)
        return new

    def _own(self, descriptor: int, outlet: Outlet) -> int:
        """A descriptor of the same file that never blocks."""
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            # To open it again would lose its position; a disk does not stop for a reader.
            return descriptor
        flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        with contextlib.suppress(OSError):
            if sys.platform == "linux":
                return os.open(f"/proc/self/fd/{descriptor}", flags)
        from mprun.reporters.relay import Relay

        relay = Relay(descriptor)
        self._relays.append((outlet, relay))
        return relay.writer


# The display of this process; it is empty unless a job is run.
display = Display()


def _is_same_file(one: int, other: int) -> bool:
    try:
        return os.path.samestat(os.fstat(one), os.fstat(other))
    except OSError:
        return False
