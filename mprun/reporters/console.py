"""What a run shows: tasks' output on stdout, mprun's own words on stderr."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING

from mprun.diagnostics import visible
from mprun.outcomes import BAD, TASK_OUTCOMES
from mprun.record.events import (
    Event,
    RunFinished,
    RunStarted,
    TaskExited,
    TaskFinished,
    TaskJoined,
    TaskReady,
    TaskStarted,
    TaskStopping,
)
from mprun.record.state_dir import DEFAULT
from mprun.reporters import table
from mprun.reporters.format import format_duration, format_reason, headline, resumed_line
from mprun.reporters.lineage import Lineage
from mprun.reporters.tail import Tail
from mprun.reporters.terminal import MAIN, Output, silence, wants_colour

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from mprun.record.run_state import RunState
    from mprun.record.state_dir import RunDirectory

OUTPUTS = ("prefix", "group", "failed", "none")

# After so many seconds without a line the plain view says how far the run is, and again after
# twice as many, up to the longest: in a run of a minute twice, in one of a day 150 times.
FIRST_SILENCE = 10.0
LONGEST_SILENCE = 600.0


class Console:
    """Shows a run while it goes on; see `mprun.reporters.base.Reporter`.

    `total` is how many tasks there will be, None where only the run will tell.
    """

    # The view is this far behind a task's output at most (DESIGN.md section 2), in seconds.
    interval: float | None = 0.1

    def __init__(
        self,
        directory: RunDirectory,
        names: Iterable[str],
        *,
        is_ended: Callable[[], bool],
        output: str = "prefix",
        verbosity: int = 0,
        total: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._directory = directory
        self._is_ended = is_ended
        self._mode = output
        self._verbosity = verbosity
        self._output = Output(names, prefix=output != "none", lost=self._output_is_lost)
        self._lineage = Lineage()
        self._tails: dict[str, Tail] = {}
        self._main = Tail(directory.main_log)
        self._stderr_broken = False
        self._said = 0
        self._state: RunState | None = None
        self._total = total
        self._clock = clock
        self._begun = self._silent_since = clock()
        self._silence = FIRST_SILENCE
        self._shown = 0
        self._stopping = False
        self._warm = not sys.stderr.isatty() or verbosity < 0

    def handle(self, event: Event, state: RunState) -> None:
        if isinstance(event, RunStarted):
            self._state = state
            self._header(event)
        self._show_output(event, state)
        if isinstance(event, TaskStopping) and self._is_ended() and not self._stopping:
            self._stopping = True
            if self._verbosity >= 0:
                self._say("stopping; what does not end in time is killed, at once by another Ctrl-C", "1")
        if self._verbosity > 0:
            for line in self._lineage.lines(event, state):
                self._say(line)
        if isinstance(event, RunFinished):
            self._summary(event, state)

    def tick(self) -> None:
        if self._mode == "prefix":
            self._output.write(MAIN, self._main.read())
            for name, tail in self._tails.items():
                self._output.write(name, tail.read())
        if self._verbosity == 0 and self._state is not None:
            self._break_silence(self._state)
        if not self._warm and self._tails:
            # The table at the end needs it; now there is time.
            import rich.table  # noqa: F401

            self._warm = True

    def close(self) -> None:
        for tail in (self._main, *self._tails.values()):
            tail.close()
        self._to_stderr(lambda: None)

    # ---- tasks' output

    def _show_output(self, event: Event, state: RunState) -> None:
        """A task's log is read to its end before its end is shown, or what depended on it."""
        if self._mode == "none":
            return
        if isinstance(event, TaskStarted):
            if self._mode == "group":
                # What an earlier attempt printed comes before what the next one will.
                self._drain(event.task)
            self._tails[event.task] = Tail(self._directory.log(event.task, event.attempt))
        elif isinstance(event, TaskReady):
            if self._mode == "prefix" and event.task in self._tails:
                self._output.write(event.task, self._tails[event.task].read())
        elif isinstance(event, (TaskExited, TaskJoined, TaskFinished)):
            if self._is_due(event):
                self._drain(event.task)
            elif self._mode == "failed" and isinstance(event, TaskFinished):
                self._tails.pop(event.task, None)
        elif isinstance(event, (RunStarted, RunFinished)) and self._mode in ("prefix", "group"):
            self._output.write(MAIN, self._main.read(to_end=True))
            for name in list(self._tails):
                self._drain(name)

    def _is_due(self, event: TaskExited | TaskJoined | TaskFinished) -> bool:
        """Whether now is the time for the rest of a task's output."""
        if isinstance(event, TaskExited):
            return self._mode == "prefix"
        if isinstance(event, TaskJoined):
            return self._mode == "group"
        return self._mode == "failed" and event.outcome in BAD

    def _drain(self, name: str) -> None:
        tail = self._tails.pop(name, None)
        if tail is not None:
            self._output.write(name, tail.read(to_end=True))
            tail.close()

    def _output_is_lost(self, error: OSError) -> None:
        self._say(
            f"warning: tasks' output cannot be written any more: {error.strerror}; "
            "the run goes on, and the logs have all of it"
        )

    # ---- mprun's own words

    def _say(self, text: str, style: str = "") -> None:
        if style and wants_colour(sys.stderr):
            text = f"\x1b[{style}m{text}\x1b[0m"
        self._said += 1
        self._to_stderr(lambda: sys.stderr.write(text + "\n"))

    def _to_stderr(self, write: Callable[[], object]) -> None:
        """Write to stderr and flush it, unless nobody takes what goes there."""
        if self._stderr_broken:
            return
        try:
            write()
            sys.stderr.flush()
        except (OSError, ValueError):
            self._stderr_broken = True
            silence(sys.stderr)

    def _break_silence(self, state: RunState) -> None:
        """Say how far the run is, where nothing was shown for long."""
        now, shown = self._clock(), self._output.written + self._said
        if shown != self._shown:
            self._shown, self._silent_since = shown, now
        elif now - self._silent_since >= self._silence:
            from mprun.reporters.progress import progress

            self._silence = min(2 * self._silence, LONGEST_SILENCE)
            self._say(progress(state, self._total, now - self._begun), "2")

    def _header(self, event: RunStarted) -> None:
        if self._verbosity < 0:
            return
        numbers = (event.tasks, event.mode, event.at_once, event.cpus)
        self._say(f"{headline(event.job, *numbers, event.start_method)}, run {event.run}", "1")
        if event.resumed_from is not None:
            self._say(resumed_line(event.resumed_from))

    def _table(self, event: RunFinished, state: RunState) -> None:
        """All tasks; of very many, those that did not do what they were to do."""
        colour = wants_colour(sys.stderr)
        everything = len(state.tasks) <= table.MOST_ROWS
        rows = table.rows(state) if everything else table.bad_rows(state)
        if rows:
            listed = rows[: table.MOST_ROWS]
            self._to_stderr(lambda: table.write(table.HEAD, listed, sys.stderr, colour))
        if not everything:
            self._say(self._left_out(len(rows), len(state.tasks)))

    def _left_out(self, bad: int, tasks: int) -> str:
        """What a table has no row for."""
        parts = []
        if bad > table.MOST_ROWS:
            parts.append(f"these are {table.MOST_ROWS} of the {bad} tasks that did not succeed")
        if bad < tasks:
            parts.append(f"{tasks - bad} of {tasks} tasks succeeded or were skipped, and have no row here")
        return "; ".join([*parts, f"`{self._command('show')}` lists all"])

    def _command(self, *words: str) -> str:
        """A command of mprun that looks where this run is."""
        state_dir = os.path.dirname(os.path.dirname(self._directory.path))
        if state_dir != os.path.abspath(DEFAULT):
            import shlex

            words = (*words, "--state-dir", shlex.quote(os.path.relpath(state_dir)))
        return visible(" ".join(["mprun", *words]))

    def _summary(self, event: RunFinished, state: RunState) -> None:
        if self._verbosity < 0 and event.exit_code == 0:
            return
        if self._verbosity >= 0:
            self._table(event, state)
        bad = [task for task in state.tasks.values() if task.outcome in BAD]
        failed = [task for task in bad if task.finished and not task.finished.allowed]
        for task in failed[: table.MOST_ROWS]:
            self._say(f"{visible(task.name)} {visible(table.outcome_words(task))}", "31")
        if len(failed) > table.MOST_ROWS:
            self._say(f"… and {len(failed) - table.MOST_ROWS} more", "31")
        counts = ", ".join(f"{event.counts[word]} {word}" for word in TASK_OUTCOMES if word in event.counts)
        why = f" ({format_reason(event.reason)})" if event.reason else ""
        self._say(
            f"{event.outcome}{why}: {counts} in {format_duration(event.duration)}",
            "31" if event.exit_code else "32",
        )
        if event.exit_code:
            self._say(f"record: {os.path.relpath(self._directory.path)}")
            if self._verbosity >= 0:
                self._say(f"resume: {self._command('resume', self._directory.run_id)}", "2")
