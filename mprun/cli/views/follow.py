"""Follows what the tasks of a run print, until the run is over."""

from __future__ import annotations

import select
import sys
from typing import TYPE_CHECKING

from mprun.cli.messages import warn
from mprun.cli.views.logs import Printer, known_tasks, refuse_meaningless
from mprun.diagnostics import quote
from mprun.record.events import TaskExited, TaskStarted
from mprun.record.reader import RecordFollower
from mprun.reporters.tail import Tail
from mprun.reporters.terminal import MAIN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mprun.cli.views.logs import Selection
    from mprun.record.state_dir import RunDirectory

# The view is this far behind, in seconds (as that of a run: DESIGN.md section 2).
INTERVAL = 0.1
# Where there is no news, it is looked this often whether the run still goes on, in intervals.
_LOOK = 10


def follow_logs(
    directory: RunDirectory, selection: Selection, names: Sequence[str], *, as_json: bool = False
) -> None:
    """Write what tasks have printed, and what they print as it comes; returns when the run is over.

    `names` are those of the tasks that are known by now.
    """
    following = RecordFollower(directory)
    printer = Printer(selection.words, selection.of(names), as_json=as_json)
    for word in selection.meaningless(names):
        warn(f"run {directory.run_id} has no task {quote(word)} by now; waiting for it")
    try:
        _Follower(following, selection, printer).follow()
    finally:
        following.close()


class _Follower:
    """Reads the record and the logs of the attempts that run."""

    def __init__(self, following: RecordFollower, selection: Selection, printer: Printer) -> None:
        self._record = following
        self._selection = selection
        self._printer = printer
        self._tails: dict[tuple[str, int], Tail] = {}
        self._told = 0

    def follow(self) -> None:
        if self._selection.takes(MAIN) and self._selection.attempt is None:
            self._tails[MAIN, 0] = Tail(self._record.directory.main_log)
        self._read_record()
        quiet = 0
        while self._record.state.finished is None and not self._printer.broken:
            # Asked before the record is read: what was written by then is read now.
            over = quiet % _LOOK == 0 and self._record.finished
            quiet = 1 if self._read_record() else quiet + 1
            if over:
                break
            self._show()
            self._pause()
        for task, attempt in sorted(self._tails, key=self._changed):
            self._drain(task, attempt)
        if not self._printer.broken:
            self._conclude()

    def _read_record(self) -> bool:
        """Take what is new in the record; whether anything was."""
        news = False
        for event in self._record.read():
            news = True
            if isinstance(event, TaskExited):
                self._drain(event.task, event.attempt)
            elif isinstance(event, TaskStarted):
                self._begin(event.task, event.attempt)
        self._tell_damage()
        return news

    def _tell_damage(self) -> None:
        for what in self._record.damage[self._told :]:
            warn(f"{self._record.directory.events}: {what}, left out")
        self._told = len(self._record.damage)

    def _begin(self, task: str, attempt: int) -> None:
        if not self._selection.takes(task) or self._selection.attempt not in (None, attempt):
            return
        if attempt > 1 and self._selection.attempt is None:
            self._printer.separate(task, attempt)
        self._tails[task, attempt] = Tail(self._record.directory.log(task, attempt))

    def _show(self) -> None:
        """Write what is new in the logs, that which was written to last at the end."""
        for key in sorted(self._tails, key=self._changed):
            self._printer.write(*key, self._tails[key])

    def _changed(self, key: tuple[str, int]) -> int:
        return self._tails[key].changed()

    def _drain(self, task: str, attempt: int) -> None:
        tail = self._tails.pop((task, attempt), None)
        if tail is not None:
            self._printer.write(task, attempt, tail, to_end=True)
            tail.close()

    def _pause(self) -> None:
        """Wait a while, or until nobody reads any more (`mprun logs -f | head`)."""
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)
        if poll.poll(INTERVAL * 1000):
            self._printer.leave()

    def _conclude(self) -> None:
        directory, state = self._record.directory, self._record.state
        if state.finished is None:
            self._record.end()
            self._tell_damage()
            warn(f"run {directory.run_id} was interrupted: mprun itself was killed")
        refuse_meaningless(directory, self._selection, known_tasks(state))
