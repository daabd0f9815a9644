"""Shows what the tasks of an active run print, until the run ends."""

from __future__ import annotations

import select
import sys
from typing import TYPE_CHECKING

from mprun.cli.messages import warn
from mprun.cli.views.logs import Printer, known_tasks, require_matches, what_lacks_a_log
from mprun.outcomes import MPRUN_KILLED
from mprun.record.events import TaskExited, TaskStarted
from mprun.record.reader import RecordFollower
from mprun.reporters.tail import Tail
from mprun.reporters.terminal import MAIN

if TYPE_CHECKING:
    from mprun.cli.views.logs import Selection
    from mprun.record.events import Event
    from mprun.record.run_state import RunState
    from mprun.record.state_dir import RunDirectory

# Seconds between two looks at the logs, as in the console of a run.
_POLL_INTERVAL_SECONDS = 0.1
# Intervals without news between two checks that mprun itself is still alive.
_INTERVALS_PER_CHECK = 10


def follow_logs(
    directory: RunDirectory,
    selection: Selection,
    state: RunState,
    *,
    as_json: bool = False,
    timestamps: bool = False,
) -> None:
    """Write what tasks have printed, then what they print, until the run ends.

    `state` is that of the run so far. With `timestamps`, each line that is printed from
    now on has the time at which it was seen.
    """
    following = RecordFollower(directory)
    names = known_tasks(state)
    printer = Printer(selection.words, selection.of(names), as_json=as_json, timestamps=timestamps)
    for word in selection.unmatched(names):
        warn(f"{what_lacks_a_log(directory, word, state)} yet; waiting for it")
    try:
        _Follower(following, selection, printer).follow()
    finally:
        following.close()


class _Follower:
    """Reads the record, and the logs of the attempts that are running."""

    def __init__(self, following: RecordFollower, selection: Selection, printer: Printer) -> None:
        self._record = following
        self._selection = selection
        self._printer = printer
        self._tails: dict[tuple[str, int], Tail] = {}
        self._damage_shown = 0

    def follow(self) -> None:
        if self._selection.takes(MAIN) and self._selection.attempt is None:
            self._tails[MAIN, 0] = Tail(self._record.directory.log_file(MAIN, 0), lines=self._selection.tail)
        self._record.catch_up(self._take, self._selection.takes)
        self._show_damage()
        intervals = 0
        while self._record.state.finished is None and not self._printer.broken:
            # Checked before the record is read, which is then read to its end.
            ended = intervals % _INTERVALS_PER_CHECK == 0 and self._record.finished
            intervals = 1 if self._read_record() else intervals + 1
            if ended:
                break
            self._show()
            self._printer.live = True
            self._pause()
        for task, attempt in sorted(self._tails, key=self._changed):
            self._drain(task, attempt)
        if not self._printer.broken:
            self._conclude()

    def _read_record(self) -> bool:
        """Read the new events of the record; whether there were any."""
        found = False
        for event in self._record.read():
            found = True
            self._take(event)
        self._show_damage()
        return found

    def _take(self, event: Event) -> None:
        if isinstance(event, TaskExited):
            self._drain(event.task, event.attempt)
        elif isinstance(event, TaskStarted):
            self._begin(event.task, event.attempt)

    def _show_damage(self) -> None:
        for description in self._record.damage[self._damage_shown :]:
            warn(f"{self._record.directory.events}: {description}, left out")
        self._damage_shown = len(self._record.damage)

    def _begin(self, task: str, attempt: int) -> None:
        if not self._selection.takes(task) or self._selection.attempt not in (None, attempt):
            return
        if attempt > 1 and self._selection.attempt is None:
            self._printer.separate(f"{task}: attempt {attempt}")
        self._tails[task, attempt] = Tail(
            self._record.directory.log_file(task, attempt), lines=self._selection.tail
        )

    def _show(self) -> None:
        """Write the new output of all logs, the most recently written log last."""
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
        """Wait for an interval, or until the reader of stdout is gone (`mprun logs -f | head`)."""
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)
        if poll.poll(_POLL_INTERVAL_SECONDS * 1000):
            self._printer.stop()

    def _conclude(self) -> None:
        directory, state = self._record.directory, self._record.state
        if state.finished is None:
            self._record.end()
            self._show_damage()
            warn(f"run {directory.run_id} was interrupted: {MPRUN_KILLED}")
        require_matches(directory, self._selection, state)
