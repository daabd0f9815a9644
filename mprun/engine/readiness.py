"""Readiness probes: each is tried again and again in a thread of its own, until its attempt is ready.

Every try has a deadline. A server that accepts a connection and does not answer, or answers one
byte at a time, fails the try, and the probe tries again.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
from typing import TYPE_CHECKING

from mprun.engine.signals import block_in_this_thread
from mprun.jobfile.matcher_process import LINES
from mprun.jobfile.patterns import MatchError, may_take_long
from mprun.jobfile.units import duration_text
from mprun.linux import probes
from mprun.record.holes import skip_hole

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mprun.jobfile.matcher import Matcher
    from mprun.jobfile.model import Ready
    from mprun.launcher.channel import AttemptKey
    from mprun.linux.probes import Probe
    from mprun.record.state_files import StateFile

# There is at least this pause between two tries.
MIN_PAUSE_SECONDS = 0.01
# A try that lasts this long says more of the attempt than the one before, even if it has no answer yet.
LONG_TRY_SECONDS = 1.0
# The pause before the next part of a log that grows faster than it is read.
_LOG_PAUSE_SECONDS = 0.05

# What one try reads of a log, and in what portions. A long line is searched in pieces: a pattern that
# starts over at each character takes time by the square of the length, and holds up all threads.
_LOG_BYTES_PER_TRY = 1024 * 1024
# So many tries, one after the other, read the log of an attempt that has ended before it was ready.
_LAST_TRIES = 16
_CHUNK_BYTES = 64 * 1024
_PIECE_BYTES = 8 * 1024
MAX_REASON_CHARACTERS = 300


class _ProbedAttempt:
    """An attempt that is probed, until it is `stopped`, and the last reason why it is not ready.

    `try_begun` is when the present try began, by time.monotonic, None between two tries.
    """

    def __init__(self, ready: Ready, cwd: str | None) -> None:
        self.ready = ready
        # Set when it is probed no more, or has ended: nothing is waited for.
        self.wake = threading.Event()
        self.stopped = self.has_ended = False
        # Whether its thread has ended, and the last answer is final.
        self.is_final = False
        self._cwd = cwd
        self.reason = ""
        self.try_begun: float | None = None

    def has_left_proof(self) -> bool:
        """Whether an attempt that has ended was ready, by the file that it has left."""
        if self.ready.kind != "file":
            return False
        self.reason = probes.make_probe("file", self.ready.what, self._cwd, None).check(0.0)
        return not self.reason

    def end(self) -> None:
        """It has ended: its thread reads its log to the end, and then there is a final answer."""
        self.has_ended = True
        self.wake.set()

    def stop(self) -> None:
        """Probe no more; if there is no answer to the present try, that is the last reason."""
        begun = self.try_begun
        self.stopped = True
        self.wake.set()
        if begun is not None:
            lasted = time.monotonic() - begun
            if not self.reason or lasted >= LONG_TRY_SECONDS:
                self.reason = no_answer_within(round(lasted, 1))


def no_answer_within(seconds: float) -> str:
    """The reason of a try that got no answer in so many seconds."""
    return f"no answer within {duration_text(seconds)}"


class Prober:
    """Runs the probes of a run's attempts, each in a thread; `fileno` becomes readable when one is ready.

    All methods are for one thread, and none of them blocks.
    """

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(self._writer, False)
        self._lock = threading.Lock()
        self._attempts: dict[AttemptKey, _ProbedAttempt] = {}
        self._ready: list[AttemptKey] = []
        self._matcher: Matcher | None = None

    def fileno(self) -> int:
        """The descriptor, readable when `take_ready` has an attempt; -1 once closed."""
        return self._reader

    def start(
        self, key: AttemptKey, ready: Ready, log: StateFile, cwd: str | None, pid: int | None = None
    ) -> None:
        """Probe now and at every interval, until the attempt is ready, stopped or forgotten.

        `log` is the attempt's log, `cwd` its working directory, None for the current
        one. With `pid`, the process of the attempt, a server on this machine that listened on
        the port before the attempt does not count (Linux).
        """
        self.forget(key)
        attempt = self._attempts[key] = _ProbedAttempt(ready, cwd)
        if ready.kind == "log" and self._matcher is None:
            from mprun.jobfile.matcher import Matcher

            self._matcher = Matcher()
        thread = threading.Thread(
            target=self._run, args=(key, attempt, log, cwd, pid), name=f"probe {key}", daemon=True
        )
        try:
            thread.start()
        except RuntimeError as error:  # The system has as many threads as it allows.
            attempt.reason = str(error)
            attempt.is_final = True

    def read_to_end(self, key: AttemptKey) -> bool:
        """Have the log of an attempt that has ended read to its end, if that may show that it was ready.

        False if it need not be; else `was_read_to_end` is true later, and `fileno` becomes readable then.
        """
        attempt = self._attempts.get(key)
        if attempt is None or attempt.ready.kind != "log" or attempt.stopped or attempt.is_final:
            return False
        attempt.end()
        return True

    def was_read_to_end(self, key: AttemptKey) -> bool:
        """Whether there is nothing more to read of the log of an attempt that has ended."""
        attempt = self._attempts.get(key)
        return attempt is None or attempt.stopped or attempt.is_final or not attempt.has_ended

    def stop(self, key: AttemptKey) -> None:
        """Probe no more, but keep the last reason."""
        attempt = self._attempts.get(key)
        if attempt is not None:
            attempt.stop()

    def forget(self, key: AttemptKey) -> None:
        """Probe no more, and drop the reason and an answer that was not taken yet."""
        with self._lock:
            attempt = self._attempts.pop(key, None)
            self._ready = [other for other in self._ready if other != key]
        if attempt is not None:
            attempt.stopped = True
            attempt.wake.set()

    def last_reason(self, key: AttemptKey) -> str:
        """Why a probed attempt was not ready at the last try; empty if it is unknown."""
        attempt = self._attempts.get(key)
        return attempt.reason if attempt else ""

    def reason(self, key: AttemptKey) -> str:
        """As `last_reason`, with the address of a server, for a person to read."""
        attempt = self._attempts.get(key)
        if attempt is None or not attempt.reason:
            return ""
        return f"{server_words(attempt.ready)}{attempt.reason}"[:MAX_REASON_CHARACTERS]

    def was_ready(self, key: AttemptKey) -> bool:
        """Whether a probed attempt that has ended by itself was ready; `take_ready` has not said so yet."""
        attempt = self._attempts.get(key)
        if attempt is None or attempt.stopped:
            return False
        with self._lock:
            if key in self._ready:
                return True
        return attempt.has_left_proof()

    def take_ready(self) -> list[AttemptKey]:
        """The attempts that became ready since the last call, each once; they are forgotten."""
        with self._lock:
            if self._reader >= 0:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._reader, 4096)
            ready, self._ready = self._ready, []
            for key in ready:
                del self._attempts[key]
        return ready

    def close(self) -> None:
        """Forget all attempts; each thread ends after its present try. May be called again."""
        for key in list(self._attempts):
            self.forget(key)
        if self._matcher is not None:
            self._matcher.close()
        with self._lock:
            if self._reader >= 0:
                os.close(self._reader)
                os.close(self._writer)
                self._reader = self._writer = -1

    def _run(
        self, key: AttemptKey, attempt: _ProbedAttempt, log: StateFile, cwd: str | None, pid: int | None
    ) -> None:
        block_in_this_thread()
        probe: Probe | None = None
        last_tries = _LAST_TRIES
        interval, longest = attempt.ready.interval, min(attempt.ready.try_timeout, attempt.ready.timeout)
        while not attempt.stopped:
            # If it has ended by now, this try sees all that it has printed.
            has_ended, is_final = attempt.has_ended, False
            last_tries -= has_ended
            attempt.try_begun = begun = time.monotonic()
            try:
                probe = probe or _make_probe(attempt.ready, log, cwd, pid, self._matcher)
                reason = probe.check(begun + longest)
            except MatchError as error:
                # Another try would take as long.
                reason, is_final = f"`{attempt.ready.what}` cannot be matched: {error}", True
            except Exception as error:
                # Whatever it is: without this thread, nothing would say why the attempt is not ready.
                reason = probes.error_reason(error) or no_answer_within(longest)
            attempt.try_begun = None
            if attempt.stopped:
                return
            attempt.reason = reason
            has_more = probe is not None and probe.has_more
            if not reason or is_final or (has_ended and not (has_more and last_tries)):
                self._notify(key, attempt)
                return
            pause = max(begun + interval - time.monotonic(), MIN_PAUSE_SECONDS)
            attempt.wake.wait(min(pause, _LOG_PAUSE_SECONDS) if has_more else pause)

    def _notify(self, key: AttemptKey, attempt: _ProbedAttempt) -> None:
        with self._lock:
            # It may have been forgotten during the try, and its key be probed anew.
            if self._attempts.get(key) is not attempt:
                return
            attempt.is_final = True
            if not attempt.reason:
                self._ready.append(key)
            with contextlib.suppress(OSError):
                os.write(self._writer, b"\0")


def server_words(ready: Ready) -> str:
    """The address of the server that is probed, for the beginning of a reason."""
    if ready.kind == "tcp":
        return f"tcp {ready.what}: "
    if ready.kind == "http":
        return f"http {ready.what.partition('://')[2].partition('/')[0].rpartition('@')[2]}: "
    return ""


def _make_probe(
    ready: Ready, log: StateFile, cwd: str | None, pid: int | None, matcher: Matcher | None
) -> Probe:
    if ready.kind == "log":
        return _LogProbe(ready.what, log, matcher)
    return probes.make_probe(ready.kind, ready.what, cwd, pid)


class _LogProbe:
    """Whether a line of the log matches a pattern, even before the line is complete.

    `matcher` matches what may take long; a `check` raises MatchError if that takes too long.
    """

    def __init__(self, pattern: str, log: StateFile, matcher: Matcher | None = None) -> None:
        self._pattern = pattern
        self._search = re.compile(pattern).search
        self._matcher = matcher
        self._reason = f"no line matches `{pattern}`"
        self._log = log
        self._position = 0
        self._unfinished_line = b""
        self.has_more = False

    def check(self, deadline: float) -> str:
        try:
            size = self._log.stat().st_size
        except FileNotFoundError:
            # A command that has printed nothing has none.
            size = 0
        if size < self._position:  # The task has truncated it.
            self._position, self._unfinished_line = 0, b""
        if size > self._position:
            with open(self._log.open(), "rb", buffering=0) as file:
                file.seek(self._position)
                for _ in range(_LOG_BYTES_PER_TRY // _CHUNK_BYTES):
                    chunk = file.read(_CHUNK_BYTES)
                    if skipped := skip_hole(file.fileno(), chunk):
                        # It ends a line: with its NULs, what comes next would be in two pieces.
                        self._position += skipped
                        self._unfinished_line = b""
                        continue
                    self._position += len(chunk)
                    if chunk and self._matches(chunk):
                        return ""
        self.has_more = size > self._position
        return self._reason

    def _matches(self, chunk: bytes) -> bool:
        chunk = self._unfinished_line + chunk
        *lines, last = chunk.split(b"\n")
        # Less than one piece is kept for the next chunk.
        self._unfinished_line = last[len(last) // _PIECE_BYTES * _PIECE_BYTES :]
        pieces = (piece for line in (*lines, last) for piece in _pieces(line))
        if self._matcher is not None and may_take_long(self._pattern, len(chunk)):
            return self._matcher.search(LINES, self._pattern, [b"\n".join(pieces)])
        return any(self._search(piece.decode("utf-8", "backslashreplace")) for piece in pieces)


def _pieces(line: bytes) -> Iterator[bytes]:
    """A line, a long one in pieces."""
    line = line.removesuffix(b"\r")
    for start in range(0, max(len(line), 1), _PIECE_BYTES):
        yield line[start : start + _PIECE_BYTES]
