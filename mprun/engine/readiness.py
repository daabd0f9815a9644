"""Asks whether tasks are ready, each in a thread of its own, and tells it through a descriptor.

The threads sleep, ask and note; what is waited for is bounded, so that a server that
accepts and says nothing, or says it drop by drop, costs one ask and not the probe.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mprun.jobfile.model import Ready

    AttemptKey = tuple[int, int]

# One ask may take the interval, or this, in seconds; between two there is this much at least.
SHORTEST_ASK = 1.0
SHORTEST_PAUSE = 0.01

# What one ask reads of a log, in bytes, and of a line at once: a pattern that looks again
# from each character takes the square of it, and no other thread runs meanwhile.
_TURN = 1024 * 1024
_CHUNK = 64 * 1024
_PIECE = 8 * 1024
# A reason has this many characters at most.
_REASON = 300
# How long it rests between two turns when a log grows faster than that, in seconds.
_REST = 0.05


class Question(Protocol):
    """What is asked of an attempt, again and again."""

    # Whether there is more to look at already, so that the next ask should not wait.
    hurry: bool

    def ask(self, deadline: float) -> str:
        """The empty text when the attempt is ready, else why not; `deadline` is by time.monotonic.

        Whatever it raises is a no, too.
        """


class _Probe:
    """One attempt that is asked about, what it is asked, and the last answer."""

    def __init__(self, ready: Ready) -> None:
        self.ready = ready
        self.over = threading.Event()
        self.why = ""


class Prober:
    """Asks, in a thread for each attempt, whether it is ready; tells by a descriptor.

    A key is an attempt's: its task's place and its number. All methods are for one thread,
    and none of them blocks.
    """

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(self._writer, False)
        self._lock = threading.Lock()
        self._probes: dict[AttemptKey, _Probe] = {}
        self._ready: list[AttemptKey] = []

    def fileno(self) -> int:
        """The descriptor, readable when `take` has something; -1 once closed."""
        return self._reader

    def watch(self, key: AttemptKey, ready: Ready, log: str, cwd: str | None, pid: int | None = None) -> None:
        """Ask now, and at every interval, until the attempt is ready or forgotten.

        `log` is the path of what it prints, `cwd` its working directory where that is not the
        current one. With `pid`, the attempt's process and session, a server that was on a
        port of this machine before it is not taken for its own (Linux).
        """
        self.forget(key)
        probe = self._probes[key] = _Probe(ready)
        thread = threading.Thread(
            target=self._run, args=(key, probe, ready, log, cwd, pid), name=f"probe {key}", daemon=True
        )
        try:
            thread.start()
        except RuntimeError as error:  # as many threads as the system allows
            probe.why = str(error)

    def forget(self, key: AttemptKey) -> None:
        """Ask no more, and say nothing of what was not taken yet."""
        with self._lock:
            probe = self._probes.pop(key, None)
            self._ready = [other for other in self._ready if other != key]
        if probe is not None:
            probe.over.set()

    def why(self, key: AttemptKey) -> str:
        """Why an attempt that is asked about is not ready, by the last answer; empty where there is none."""
        probe = self._probes.get(key)
        return probe.why if probe else ""

    def reason(self, key: AttemptKey) -> str:
        """As `why`, with what was asked; an answer of the network does not say that itself."""
        probe = self._probes.get(key)
        if probe is None or not probe.why:
            return ""
        asked = f"{probe.ready.kind} {probe.ready.what}: " if probe.ready.kind in ("tcp", "http") else ""
        return f"{asked}{probe.why}"[:_REASON]

    def give_up(self, key: AttemptKey) -> None:
        """Ask no more, and keep the last answer: what is being stopped answers nothing of interest."""
        probe = self._probes.get(key)
        if probe is not None:
            probe.over.set()

    def take(self) -> list[AttemptKey]:
        """The attempts that became ready since the last call, each once; they are forgotten."""
        with self._lock:
            if self._reader >= 0:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._reader, 4096)
            ready, self._ready = self._ready, []
            for key in ready:
                del self._probes[key]
        return ready

    def close(self) -> None:
        """End all threads as soon as their present ask allows; may be called again."""
        for key in list(self._probes):
            self.forget(key)
        with self._lock:
            if self._reader >= 0:
                os.close(self._reader)
                os.close(self._writer)
                self._reader = self._writer = -1

    def _run(
        self, key: AttemptKey, probe: _Probe, ready: Ready, log: str, cwd: str | None, pid: int | None
    ) -> None:
        import signal

        # Signals are the main thread's: they are to end its wait.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        question: Question | None = None
        while not probe.over.is_set():
            begun = time.monotonic()
            try:
                question = question or _question(ready, log, cwd, pid)
                why = question.ask(begun + max(ready.interval, SHORTEST_ASK))
            except Exception as error:
                # A thread that died would never say why it has no answer.
                why = getattr(error, "strerror", None) or str(error) or type(error).__name__
            if probe.over.is_set():
                return
            probe.why = why
            if not why:
                self._tell(key, probe)
                return
            pause = max(begun + ready.interval - time.monotonic(), SHORTEST_PAUSE)
            probe.over.wait(min(pause, _REST) if question and question.hurry else pause)

    def _tell(self, key: AttemptKey, probe: _Probe) -> None:
        with self._lock:
            # It may have been forgotten, or be another's by now, while the answer came.
            if self._probes.get(key) is not probe:
                return
            self._ready.append(key)
            with contextlib.suppress(OSError):
                os.write(self._writer, b"\0")


def _question(ready: Ready, log: str, cwd: str | None, pid: int | None) -> Question:
    if ready.kind == "log":
        return _Log(ready.what, log)
    if ready.kind == "file":
        return _File(os.path.join(cwd or os.getcwd(), ready.what))
    # With socket, 5 ms, for those who ask servers.
    from mprun.engine.network_probes import Http, Tcp

    return Tcp(ready.what, pid) if ready.kind == "tcp" else Http(ready.what, pid)


class _File:
    """Whether a file exists."""

    hurry = False

    def __init__(self, path: str) -> None:
        self._path = path

    def ask(self, deadline: float) -> str:
        return "" if os.path.exists(self._path) else f"there is no file `{self._path}`"


class _Log:
    """Whether a line that was printed matches; also one that is not at its end yet."""

    def __init__(self, pattern: str, path: str) -> None:
        self._search = re.compile(pattern).search
        self._why = f"no line matches `{pattern}`"
        self._path = path
        self._position = 0
        self._rest = b""
        self.hurry = False

    def ask(self, deadline: float) -> str:
        size = os.stat(self._path).st_size
        if size < self._position:  # somebody emptied it
            self._position, self._rest = 0, b""
        if size > self._position:
            with open(self._path, "rb", buffering=0) as file:
                file.seek(self._position)
                for _ in range(_TURN // _CHUNK):
                    chunk = file.read(_CHUNK)
                    self._position += len(chunk)
                    if chunk and self._is_found_in(chunk):
                        return ""
        self.hurry = size > self._position
        return self._why

    def _is_found_in(self, chunk: bytes) -> bool:
        *lines, rest = (self._rest + chunk).split(b"\n")
        # What stays for the next chunk is less than a piece.
        self._rest = rest[len(rest) // _PIECE * _PIECE :]
        return any(self._search(text) for line in (*lines, rest) for text in _pieces(line))


def _pieces(line: bytes) -> Iterator[str]:
    """A line as text, in pieces where it is long."""
    line = line.removesuffix(b"\r")
    for start in range(0, max(len(line), 1), _PIECE):
        yield line[start : start + _PIECE].decode("utf-8", "backslashreplace")
