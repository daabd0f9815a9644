"""Matches regular expressions in a process of its own, which ends when that takes too long.

Python's `re` can need hours for one line and cannot be interrupted; in a thread it holds up all
others. The kernel ends the process at its limit of CPU time, whatever this one is doing.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from _socket import AF_UNIX, SHUT_RDWR, SOCK_STREAM, socket, socketpair
from _thread import _local, allocate_lock
from typing import TYPE_CHECKING

from mprun.jobfile import matcher_process
from mprun.jobfile.matcher_process import FULL, MEMORY_LIMIT_BYTES, OUT_OF_MEMORY, YES
from mprun.jobfile.patterns import MatchError

if TYPE_CHECKING:
    from collections.abc import Iterable

# The limit of CPU time: a busy machine must not change what matches.
LIMIT_SECONDS = 2.0
# A process that was stopped, or gets no CPU time at all, is given up after this many seconds.
ANSWER_SECONDS = 30.0


class Matcher:
    """Matches patterns, one after the other; the process starts with the first one.

    With `shares_limit` the limit is for all of them together, else for each. May be used by several
    threads; each call blocks its own thread alone.
    """

    def __init__(self, *, shares_limit: bool = False) -> None:
        self._shares_limit = shares_limit
        self._lock = allocate_lock()
        self._socket: socket | None = None
        self._pid = 0
        self._is_used_up = self._is_closed = False

    def search(self, how: str, pattern: str, parts: Iterable[bytes]) -> bool:
        """Whether a pattern, which is valid, matches a text that is given in parts. Raises MatchError."""
        try:
            with self._lock:
                answer = self._answer(how, pattern, parts)
        finally:
            # `close` has left it to the thread that had the lock.
            if self._is_closed:
                self._end_unless_used()
        if answer == OUT_OF_MEMORY:
            raise MatchError(f"it takes more than {MEMORY_LIMIT_BYTES // 1024**2:,} MiB of memory")
        return answer == YES

    def close(self) -> None:
        """End the process, also while another thread waits for its answer, which gets a MatchError."""
        self._is_closed = True
        if not self._end_unless_used() and (its_socket := self._socket) is not None:
            with contextlib.suppress(OSError):
                its_socket.shutdown(SHUT_RDWR)

    def _end_unless_used(self) -> bool:
        """End the process, if there is one; False if a thread waits for its answer, or has just got it."""
        if not self._lock.acquire(blocking=False):
            return False
        self._end()
        self._lock.release()
        return True

    def _answer(self, how: str, pattern: str, parts: Iterable[bytes]) -> bytes:
        """The answer. Raises MatchError if there is none."""
        if self._is_used_up:
            raise self._too_long()
        try:
            answer = self._ask(how, pattern, parts)
        except TimeoutError:
            self._end()
            raise MatchError(f"no answer within {ANSWER_SECONDS:g}s") from None
        except OSError as error:
            self._end()
            raise MatchError(f"it could not be matched: {error.strerror}") from None
        if not answer:
            raise self._death()
        return answer

    def _ask(self, how: str, pattern: str, parts: Iterable[bytes]) -> bytes:
        """The answer; empty if the process has ended."""
        if self._is_closed:
            return b""
        if self._pid and os.waitpid(self._pid, os.WNOHANG) != (0, 0):
            # Someone has killed it while it had nothing to do.
            self._pid = 0
        if not self._pid or self._socket is None:
            self._socket = self._start()
            if self._is_closed:
                # `close` has found no socket yet.
                return b""
        try:
            for part in (how.encode(), pattern.encode("utf-8", "surrogatepass"), *parts):
                if part:
                    self._socket.sendall(len(part).to_bytes(4, "big") + part)
            self._socket.sendall(bytes(4))
            return self._socket.recv(1)
        except (BrokenPipeError, ConnectionResetError):
            return b""

    def _start(self) -> socket:
        """Start the process; a socket to it."""
        self._close_socket()
        ours, theirs = socketpair(AF_UNIX, SOCK_STREAM)
        ours.settimeout(ANSWER_SECONDS)
        script = os.path.abspath(matcher_process.__file__)
        # Isolated: nothing is imported from the working directory, the environment or site-packages.
        limit = [f"{LIMIT_SECONDS}", "shared" if self._shares_limit else "each"]
        command = [sys.executable, "-I", "-S", script, *limit]
        # No standard output and error: it prints nothing, and /dev/null may be missing.
        actions = [(os.POSIX_SPAWN_DUP2, theirs.fileno(), 0), *((os.POSIX_SPAWN_CLOSE, n) for n in (1, 2))]
        try:
            self._pid = os.posix_spawn(
                sys.executable,
                command,
                os.environ,
                file_actions=actions,
                # Ctrl-C is for mprun alone.
                setpgroup=0,
                setsigmask=(),
                setsigdef=(signal.SIGPROF, signal.SIGIO, signal.SIGTERM),
            )
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        return ours

    def _death(self) -> MatchError:
        """Why there is no answer: the process has ended."""
        status = self._end()
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGPROF:
            self._is_used_up = self._shares_limit
            return self._too_long()
        if self._is_closed:
            return MatchError("it was not matched before the end of the run")
        return MatchError("the process that matches it has ended")

    def _too_long(self) -> MatchError:
        what = "all patterns of the file take" if self._shares_limit else "it takes"
        return MatchError(f"{what} longer than {LIMIT_SECONDS:g}s of CPU time")

    def _end(self) -> int:
        """End the process, if there is one; its wait status."""
        self._close_socket()
        pid, self._pid = self._pid, 0
        if not pid:
            return 0
        # It may be a zombie, with the status that it ended with. Only this object reaps it.
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                return status
            os.kill(pid, signal.SIGKILL)
            return os.waitpid(pid, 0)[1]
        return 0

    def _close_socket(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


class _Load(_local):
    """The matcher of the job file that a thread is loading."""

    matcher: Matcher | None = None


_load = _Load()


def fullmatch(pattern: str, text: str) -> bool:
    """Whether a pattern matches all of a text, as `re.fullmatch`. Raises MatchError.

    All calls until `end_load` share one limit, so that a file with many patterns takes no longer.
    """
    if _load.matcher is None:
        _load.matcher = Matcher(shares_limit=True)
    return _load.matcher.search(FULL, pattern, [text.encode("utf-8", "surrogatepass")])


def end_load() -> None:
    """This thread has loaded a job file: end the process that has matched its patterns."""
    matcher, _load.matcher = _load.matcher, None
    if matcher is not None:
        matcher.close()
