"""A terminal with a shell on it: what is typed, and what can be seen, with everything that scrolled away."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import shlex
import signal
import struct
import sys
import termios
import time

import pyte

from support.runs import environment

TIMEOUT = 40
MPRUN = f"{shlex.quote(sys.executable)} -m mprun"


class Screen:
    """A bash with job control on a terminal of this size; a context manager."""

    def __init__(self, cwd, columns=80, rows=24, **env):
        self._screen = pyte.HistoryScreen(columns, rows, history=100_000, ratio=0.5)
        self._stream = pyte.ByteStream(self._screen)
        self.bytes = bytearray()
        variables = {"TERM": "xterm-256color", "LC_ALL": "C.UTF-8", "PS1": "$ ", "HISTFILE": "", **env}
        # pyte cuts rows that are too long, as xterm does.
        variables.setdefault("XTERM_VERSION", "XTerm(0)")
        self._pid, self._terminal = pty.fork()
        if self._pid == 0:
            try:
                os.chdir(cwd)
                kept = {name: text for name, text in environment(**variables).items() if name != "TMUX"}
                os.execvpe("bash", ["bash", "--norc", "--noprofile", "--noediting", "-i"], kept)
            finally:
                os._exit(127)
        self.resize(columns, rows)

    def __enter__(self):
        self.wait_for(lambda: self.lines()[-1:] == ["$"])
        return self

    def __exit__(self, *_):
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGHUP)
        os.close(self._terminal)
        os.waitpid(self._pid, 0)

    def type(self, text):
        """Type text; `\\n` is Enter."""
        os.write(self._terminal, text.encode())

    def run(self, arguments):
        """Start mprun with these arguments."""
        self.type(f"{MPRUN} {arguments}\n")

    def resize(self, columns, rows):
        """Give the terminal another size."""
        fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self._screen.resize(rows, columns)

    def settings(self):
        """The modes of the terminal."""
        return termios.tcgetattr(self._terminal)

    def foreground(self):
        """The process group that gets what is typed.

        A terminal without one says 0: a signal to that would be for the group of the tests.
        """
        group = os.tcgetpgrp(self._terminal)
        assert group > 1, "no process group is in the foreground"
        return group

    @property
    def shows_cursor(self):
        """Whether the cursor can be seen."""
        return not self._screen.cursor.hidden

    def lines(self):
        """The rows of the screen, without those that are empty at its end."""
        rows = [row.rstrip() for row in self._screen.display]
        while rows and not rows[-1]:
            rows.pop()
        return rows

    def all_lines(self):
        """What has scrolled away, too."""
        columns = range(self._screen.columns)
        above = ["".join(row[column].data for column in columns).rstrip() for row in self._screen.history.top]
        return above + self.lines()

    def shows(self, *texts):
        """Whether each of these texts is in a row of the screen."""
        rows = self.lines()
        return all(any(text in row for row in rows) for text in texts)

    def wait_for(self, condition):
        """Wait until a condition holds: a function, or a text that the screen shows."""
        until = time.monotonic() + TIMEOUT
        while not (self.shows(condition) if isinstance(condition, str) else condition()):
            assert time.monotonic() < until, "\n".join([f"never: {condition}", *self.all_lines()])
            if select.select([self._terminal], [], [], 0.05)[0]:
                data = os.read(self._terminal, 65536)
                self.bytes += data
                self._stream.feed(data)

    def wait_for_prompt(self):
        """Wait until the shell asks for the next command."""
        self.wait_for(lambda: self.lines()[-1:] == ["$"])
