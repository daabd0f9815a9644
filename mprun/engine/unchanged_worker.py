"""Asks a process of its own what has changed, in a thread: files may be large, and file systems may hang."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
from _queue import SimpleQueue
from _socket import SHUT_RDWR, socketpair
from signal import SIGKILL
from typing import TYPE_CHECKING, Any

from mprun.engine.signals import block_in_this_thread
from mprun.record import unchanged_process
from mprun.record.unchanged_process import describe

if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Callable
    from typing import TextIO

# What the run has to keep at its end is written in some milliseconds, unless a file system hangs.
_CLOSE_SECONDS = 5.0
_ENDED = "the process that compares has ended"


class UnchangedWorker:
    """Sends requests one after the other; `fileno` becomes readable when `take` has an answer.

    `first` makes the request that says which run it is. The methods are for one thread, and none but
    `close` blocks.
    """

    def __init__(self, first: Callable[[], Any]) -> None:
        self._first = first
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(self._writer, False)
        self._requests: SimpleQueue[tuple[Any, Callable[[], Any], bool] | None] = SimpleQueue()
        self._answers: SimpleQueue[tuple[Any, Any, str]] = SimpleQueue()
        self._thread: threading.Thread | None = None
        # The thread alone starts, ends and reaps the process; `close` hangs up, and names no pid, which may
        # have become 0, this process's own group, or another process's. The lock is for the socket.
        self._lock = threading.Lock()
        self._socket: socket | None = None
        self._is_ending = self._is_hung_up = False
        # How many requests must not be dropped at the end, and how many of these are over. Each number is
        # changed by one thread alone.
        self._needed = self._needed_done = 0
        self.failure = ""

    def fileno(self) -> int:
        """The descriptor, readable when `take` has an answer."""
        return self._reader

    def ask(self, key: Any, request: Callable[[], Any], *, needed: bool = False) -> None:
        """Ask for what `request` returns, in JSON; `take` has the answer, or why there is none.

        What is `needed` is also asked at the end.
        """
        self._needed += needed
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="changes", daemon=True)
            try:
                self._thread.start()
            except RuntimeError as error:  # The system has as many threads as it allows.
                self.failure = self.failure or str(error)
                self._answer(key, None, self.failure)
                self._thread = None
                return
        self._requests.put((key, request, needed))

    def take(self) -> list[tuple[Any, Any, str]]:
        """The answers since the last call: the key, the answer, and why there is none, "" if there is."""
        with contextlib.suppress(BlockingIOError):
            os.read(self._reader, 4096)
        found = []
        while not self._answers.empty():
            found.append(self._answers.get())
        return found

    def close(self) -> None:
        """Answer what is needed, then end the process. May be called again."""
        self._is_ending = True
        if self._thread is not None:
            self._requests.put(None)
            if self._needed > self._needed_done:
                self._thread.join(_CLOSE_SECONDS)
            self._hang_up()
            self._thread.join()
            self._thread = None
        if self._reader >= 0:
            os.close(self._reader)
            os.close(self._writer)
            # Later they are other files'.
            self._reader = self._writer = -1

    def _hang_up(self) -> None:
        """Let the thread wait for no answer any more, and end the process."""
        with self._lock:
            self._is_hung_up = True
            if self._socket is not None:
                with contextlib.suppress(OSError):
                    self._socket.shutdown(SHUT_RDWR)

    # ---- in the thread

    def _run(self) -> None:
        block_in_this_thread()
        pid = 0
        try:
            # Not of the module `socket`, whose import takes as long as that of all else here.
            ours, pid = _start_process()
            with self._lock:
                self._socket = ours
                if self._is_hung_up:
                    raise EOFError
            with open(ours.fileno(), encoding="ascii", closefd=False) as answers:
                if problem := _exchange(ours, answers, json.dumps(self._first()))[1]:
                    raise OSError(problem)
                self._serve(ours, answers)
        except (EOFError, ConnectionError):
            self._fail(_ENDED)
        except Exception as error:  # A task waits for each answer.
            self._fail(str(error) or type(error).__name__)
        finally:
            with self._lock:
                if self._socket is not None:
                    self._socket.close()
                    self._socket = None
            if pid:
                _end(pid)
        # There is no process any more.
        while (request := self._requests.get()) is not None:
            self._needed_done += request[2]
            self._answer(request[0], None, self.failure or _ENDED)

    def _fail(self, why: str) -> None:
        if not self._is_ending:
            self.failure = why

    def _serve(self, ours: socket, answers: TextIO) -> None:
        while (request := self._requests.get()) is not None:
            key, make, is_needed = request
            answer, problem = None, _ENDED
            try:
                if is_needed or not self._is_ending:
                    answer, problem = self._ask(ours, answers, make)
            finally:
                self._needed_done += is_needed
                self._answer(key, answer, problem)
        # For the loop after this one.
        self._requests.put(None)

    def _ask(self, ours: socket, answers: TextIO, make: Callable[[], Any]) -> tuple[Any, str]:
        try:
            line = json.dumps(make())
        except Exception as error:  # One bad request is not the end of all.
            return None, describe(error)
        return _exchange(ours, answers, line)

    def _answer(self, key: Any, answer: Any, problem: str) -> None:
        self._answers.put((key, answer, problem))
        with contextlib.suppress(OSError):
            os.write(self._writer, b"\0")


def _exchange(ours: socket, answers: TextIO, request: str) -> tuple[Any, str]:
    ours.sendall(f"{request}\n".encode("ascii"))
    line = answers.readline()
    if not line:
        raise EOFError
    answer, problem = json.loads(line)
    return answer, problem


def _end(pid: int) -> None:
    """Kill a child, unless it has been reaped, and reap it."""
    # By a program that embeds mprun, or with all children once the launcher was lost.
    with contextlib.suppress(ProcessLookupError, ChildProcessError):
        if os.waitpid(pid, os.WNOHANG) == (0, 0):
            os.kill(pid, SIGKILL)
            os.waitpid(pid, 0)


def _start_process() -> tuple[socket, int]:
    ours, theirs = socketpair()
    script = os.path.abspath(unchanged_process.__file__)
    # No standard output and error: it prints nothing, and /dev/null may be missing.
    actions = [(os.POSIX_SPAWN_DUP2, theirs.fileno(), 0), *((os.POSIX_SPAWN_CLOSE, n) for n in (1, 2))]
    try:
        pid = os.posix_spawn(
            sys.executable,
            [sys.executable, "-I", script, str(os.getpid())],
            os.environ,
            file_actions=actions,
            # Ctrl-C is for mprun alone.
            setpgroup=0,
            setsigmask=(),
        )
    except OSError:
        ours.close()
        raise
    finally:
        theirs.close()
    return ours, pid
