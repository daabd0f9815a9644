"""Matches the output of attempts with the patterns that their tasks expect, in a thread of its own."""

from __future__ import annotations

import contextlib
import os
import re
import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING

from mprun.engine.expectations import output_problem
from mprun.engine.signals import block_in_this_thread
from mprun.jobfile.matcher import Matcher
from mprun.jobfile.matcher_process import SEARCH
from mprun.jobfile.patterns import MatchError, may_take_long
from mprun.record.holes import skip_hole

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mprun.launcher.channel import AttemptKey
    from mprun.record.state_files import StateFile

# An expected output is searched for in the end of a log, of this size.
MAX_SEARCHED_BYTES = 16 * 1024 * 1024
_PART_BYTES = 256 * 1024


class OutputChecks:
    """Checks the output of attempts; `fileno` becomes readable when there is an answer.

    What takes long goes to a process that can be ended (`mprun.jobfile.matcher`), and the thread waits
    for it. All methods are for one thread, and none of them blocks.
    """

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(self._writer, False)
        self._matcher = Matcher()
        self._requests: SimpleQueue[tuple[AttemptKey, str, StateFile] | None] = SimpleQueue()
        self._answers: SimpleQueue[tuple[AttemptKey, str]] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def fileno(self) -> int:
        """The descriptor, readable when `take` has an answer."""
        return self._reader

    def check(self, key: AttemptKey, pattern: str, log: StateFile) -> str | None:
        """Why the output is not as expected, empty if it is; None if `take` has the answer later."""
        if not may_take_long(pattern, log.size()):
            text = b"".join(_end_of(log)).decode("utf-8", "backslashreplace")
            return output_problem(pattern, re.search(pattern, text, re.MULTILINE) is not None)
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="output checks", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:  # The system has as many threads as it allows.
                return output_problem(pattern, False, str(error))
            self._thread = thread
        self._requests.put((key, pattern, log))
        return None

    def wake(self) -> None:
        """Make `fileno` readable, so that `take` is called soon."""
        with contextlib.suppress(BlockingIOError):
            os.write(self._writer, b"\0")

    def take(self) -> dict[AttemptKey, str]:
        """The answers since the last call: why the output of an attempt is not as expected."""
        with contextlib.suppress(BlockingIOError):
            os.read(self._reader, 4096)
        answers = {}
        while not self._answers.empty():
            key, problem = self._answers.get()
            answers[key] = problem
        return answers

    def close(self) -> None:
        """End the thread and the process; there are no further answers. May be called again."""
        self._matcher.close()
        self._requests.put(None)
        if self._thread is not None:
            self._thread.join()
        if self._reader >= 0:
            os.close(self._reader)
            os.close(self._writer)
            # Later they are other files'.
            self._reader = self._writer = -1

    def _run(self) -> None:
        block_in_this_thread()
        while (request := self._requests.get()) is not None:
            key, pattern, log = request
            try:
                problem = output_problem(pattern, self._matcher.search(SEARCH, pattern, _end_of(log)))
            except MatchError as error:
                problem = output_problem(pattern, False, str(error))
            self._answers.put((key, problem))
            with contextlib.suppress(OSError):
                os.write(self._writer, b"\0")


def _end_of(log: StateFile) -> Iterator[bytes]:
    """The end of a log in parts; nothing if it cannot be read."""
    with contextlib.suppress(OSError), open(log.open(), "rb", buffering=0) as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - MAX_SEARCHED_BYTES))
        left = MAX_SEARCHED_BYTES
        while left > 0 and (part := file.read(min(left, _PART_BYTES))):
            # One part of a hole is enough.
            left -= skip_hole(file.fileno(), part) or len(part)
            yield part
