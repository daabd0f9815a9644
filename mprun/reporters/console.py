"""Shows a run while it is running: tasks' output on stdout, mprun's own lines on stderr."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Any

from mprun.outcomes import BAD, EXIT_INTERNAL, format_reason
from mprun.record.events import (
    Event,
    RunFinished,
    RunStarted,
    TaskExited,
    TaskFinished,
    TaskJoined,
    TaskReady,
    TaskRetrying,
    TaskStarted,
    TaskStopping,
)
from mprun.reporters import table
from mprun.reporters.door import wants_colour
from mprun.reporters.format import counts_text, display_width, format_duration, headline, resumed_line
from mprun.reporters.tail import Tail
from mprun.reporters.terminal import MAIN, Output, can_be_drawn_on, silence, terminal_width

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from mprun.record.run_state import RunState
    from mprun.record.state_dir import RunDirectory
    from mprun.reporters.base import RunSources
    from mprun.reporters.incidents import Incidents
    from mprun.reporters.lineage import Lineage
    from mprun.reporters.live import LiveView
    from mprun.reporters.stop_notice import StopNotice
    from mprun.reporters.task_details import TaskDetails
    from mprun.scheduling.stop_limit import StopLimit

# How to show the output of tasks: line by line, whole at the join, of failed tasks only, or not at all.
OUTPUTS = ("prefix", "group", "failed", "none")
_SHOWN_AT = {"prefix": TaskExited, "group": TaskJoined, "failed": TaskFinished}

# How to show how far a run is: by rows that are drawn again and again at the bottom of a terminal, by lines,
# or not at all; `auto` is `live` if that is possible, else `plain`.
PROGRESS = ("auto", "live", "plain", "none")

# After this many seconds without a line the console reports the progress of the run, and again
# after twice as many, up to the longest: twice in a run of a minute, 150 times in one of a day.
FIRST_SILENCE = 10.0
LONGEST_SILENCE = 600.0

# So many logs are held open while they are empty; each open file counts.
_MAX_HELD = 100

# After so many seconds the live view begins: what is shorter pays nothing for it.
VIEW_DELAY = 0.3


class Console:
    """Shows a run while it is running; see `mprun.reporters.base.Reporter`.

    `names` are the tasks that are known before the run, and `lists` those of them that results expand.
    `total` is how many there will be, None until `lists` are expanded. `stop_signal` returns the first
    signal that stops the run, None so far, and `stop_limit` how long running tasks may take to end, by
    their names. Without `sources` there is no live view, and no one can ask what the tasks are doing.
    """

    # Seconds: the console is at most this far behind the output of a task.
    interval: float | None = 0.1

    def __init__(
        self,
        directory: RunDirectory,
        names: Iterable[str],
        *,
        stop_signal: Callable[[], int | None],
        stop_limit: Callable[[Sequence[str]], StopLimit],
        output: str = "prefix",
        verbosity: int = 0,
        total: int | None = None,
        lists: Sequence[str] = (),
        retries: Mapping[str, int] | None = None,
        progress: str = "plain",
        sources: RunSources | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._directory = directory
        self._stop_signal, self._stop_limit = stop_signal, stop_limit
        self._mode = output
        # The kind of event after which all of a task's output is shown.
        self._shown_at = _SHOWN_AT.get(output)
        self._verbosity, self._progress = verbosity, progress
        self._sources = sources
        self._wants_view = sources is not None and verbosity >= 0 and can_be_drawn_on(sys.stderr, progress)
        self._view: LiveView | None = None
        self._inquiries = 0
        self._details: TaskDetails | None = None
        self._output = Output(
            names,
            prefix=output != "none",
            on_error=self._warn_of_output,
            whole_lines=self._shows_whole_lines if self._wants_view else None,
        )
        self._lineage: Lineage | None = None
        if verbosity > 0:
            # Most runs do not show it.
            from mprun.reporters.lineage import Lineage

            self._lineage = Lineage()
        self._tails: dict[str, Tail] = {}
        self._main = Tail(directory.log_file(MAIN, 0))
        self._stderr_broken = False
        self._state: RunState | None = None
        self._total, self._lists = total, list(lists)
        self._retries = retries or {}
        self._incidents: Incidents | None = None
        # How many tasks have ended, and how many of them as a failure that counts.
        self._ended = self._failed = 0
        self._clock = clock
        self._start = self._silent_since = clock()
        self._silence = FIRST_SILENCE
        self._lines_written = self._last_written = 0
        self._stop_notice: StopNotice | None = None
        # Whether the end of the run was shown.
        self.has_shown_end = False
        self._rich_imported = not sys.stderr.isatty() or verbosity < 0

    def handle(self, event: Event, state: RunState) -> None:
        # Not `isinstance`: it takes 0.2 µs for a class that has a metaclass, and this is done for each event.
        if type(event) is RunStarted:
            self._state = state
            self._write_header(event)
        if self._view is not None:
            self._view.handle(event)
        self._show_output(event)
        if type(event) is TaskStopping:
            self._mention_stop(state, event.reason)
        if type(event) is TaskFinished or type(event) is TaskRetrying:
            self._tell(event, state)
        if self._lineage is not None:
            for line in self._lineage.lines(event, state):
                self._write(line)
        if type(event) is RunFinished:
            self._end_view()
            self._output.notice_error()
            self._write_summary(event, state)
            self.has_shown_end = True

    def tick(self) -> None:
        # The logs keep what is printed until the reader has taken what was shown before.
        if self._mode == "prefix" and not self._output.is_behind:
            # Half of the descriptors of this process are for other files.
            most = os.sysconf("SC_OPEN_MAX") // 2
            hold = len(self._tails) <= min(_MAX_HELD, most)
            for name, tail in ((MAIN, self._main), *self._tails.items()):
                if tail.has_news(hold=hold):
                    self._output.write_new(name, tail, self._clock)
                    if len(self._tails) > most:
                        tail.set_aside()
        if self._state is not None:
            if self._sources is not None:
                self._answer(self._state, self._sources)
            if self._verbosity == 0 and self._progress != "none" and self._view is None:
                self._break_silence(self._state)
            if self._stop_notice is not None or self._stop_signal() is not None:
                self._mention_stop(self._state)
        if not self._rich_imported and self._tails:
            # The table at the end needs it, and tasks are running now.
            import rich.table  # noqa: F401

            self._rich_imported = True

    def lost_output(self, task: str) -> int:
        return self._tails[task].lost_bytes() if task in self._tails else 0

    def close(self) -> None:
        self._end_view()
        if not self._output.is_behind:
            for tail in (self._main, *self._tails.values()):
                tail.close()
        self._to_stderr(lambda: None)

    # ---- the live view, and what someone asks for

    def _answer(self, state: RunState, sources: RunSources) -> None:
        """Begin the live view if it is time, draw it, and answer what someone has asked for."""
        if self._view is None and self._wants_view and self._clock() - self._start >= VIEW_DELAY:
            from mprun.reporters.live import LiveView

            before = self._output.end_line_before_stderr
            self._view = LiveView(state, self._directory, sources, before, self._lists)
        is_asked = sources.signals.inquiries != self._inquiries
        if self._view is not None and self._view.take_keys(self._write):
            is_asked = True
        if is_asked and self._details is None:
            from mprun.reporters.task_details import TaskDetails

            self._inquiries = sources.signals.inquiries
            self._details = TaskDetails(state, self._directory, sources)
        if self._details is not None and (lines := self._details.lines()) is not None:
            self._details = None
            for line in lines:
                self._write(line)
        if self._view is not None:
            self._view.refresh()

    def _shows_whole_lines(self) -> bool:
        """Whether the live view shows lines that have not ended, or will."""
        if self._view is not None:
            return self._view.is_shown
        from mprun.linux.foreground import in_foreground

        return self._wants_view and in_foreground(sys.stderr.fileno())

    def _end_view(self) -> None:
        if self._view is not None:
            self._view.close()
        self._view, self._wants_view = None, False

    # ---- the output of tasks

    def _show_output(self, event: Any) -> None:
        """Show what is due; a task's log is read to its end before its end is shown."""
        kind, mode = type(event), self._mode
        if kind is self._shown_at:
            if mode == "failed" and event.outcome not in BAD:
                self._tails.pop(event.task, None)
            else:
                self._drain(event.task)
        elif mode == "none":
            return
        elif kind is TaskStarted:
            if mode == "group":
                # The output of the previous attempt comes before that of the next one.
                self._drain(event.task)
            self._tails[event.task] = Tail(self._directory.log_file(event.task, event.attempt))
        elif mode == "failed":
            return
        elif kind is RunStarted or kind is RunFinished:
            self._output.write(MAIN, self._main.read(to_end=True))
            for name in list(self._tails):
                self._drain(name)
        elif kind is TaskReady and mode == "prefix" and event.task in self._tails:
            self._output.write(event.task, self._tails[event.task].read())

    def _drain(self, name: str) -> None:
        if (tail := self._tails.pop(name, None)) is not None:
            self._output.write_rest(name, tail)

    def _warn_of_output(self, error: OSError) -> None:
        self._write(
            f"warning: cannot write the output of tasks: {error.strerror}; "
            "the run continues, and the logs are complete"
        )

    # ---- mprun's own lines

    def _write(self, text: str, style: str = "") -> None:
        if style and wants_colour(sys.stderr):
            text = f"\x1b[{style}m{text}\x1b[0m"
        self._lines_written += 1
        self._output.end_line_before_stderr()
        self._to_stderr(lambda: sys.stderr.write(text + "\n"))

    def _to_stderr(self, write: Callable[[], object]) -> None:
        """Write to stderr and flush it, unless writing has failed before."""
        if self._stderr_broken:
            return
        try:
            write()
            sys.stderr.flush()
        except (OSError, ValueError):
            self._stderr_broken = True
            silence(sys.stderr)

    def _tell(self, event: TaskFinished | TaskRetrying, state: RunState) -> None:
        """Count what has ended, and say at once if it failed, was skipped, or is tried again."""
        if self._total is None and not state.may_expand(self._lists):
            self._total = len(state.known_names())
        if isinstance(event, TaskFinished):
            self._ended += 1
            requested = table.is_by_request(event) and self._stop_signal() is None
            if not (table.is_incident(event, state) or requested) or event.reused:
                return
            self._failed += event.outcome in BAD and not event.allowed
        # The lineage has a line about another attempt, too.
        if self._verbosity < 0 or (self._verbosity > 0 and isinstance(event, TaskRetrying)):
            return
        if self._incidents is None:
            # Most runs have none.
            from mprun.reporters.incidents import Incidents

            self._incidents = Incidents(self._retries)
        if told := self._incidents.line(event, state):
            self._write(self._counter() + told[0], told[1])

    def _counter(self) -> str:
        """How many tasks are done, `[16/50, 1 failed] `, in a pipe and in CI."""
        if self._progress == "none" or self._wants_view:
            return ""
        if self._progress == "auto" and sys.stderr.isatty() and not os.environ.get("CI"):
            return ""
        failed = f", {self._failed} failed" if self._failed else ""
        total = "?" if self._total is None else self._total
        return f"[{self._ended - self._failed}/{total}{failed}] "

    def _break_silence(self, state: RunState) -> None:
        """Report the progress of the run if nothing was shown for long."""
        now, written = self._clock(), self._output.written + self._lines_written
        if written != self._last_written:
            self._last_written, self._silent_since = written, now
        elif now - self._silent_since >= self._silence:
            from mprun.reporters.progress import progress

            self._silence = min(2 * self._silence, LONGEST_SILENCE)
            self._write(progress(state, self._total, now - self._start), "2")

    def _write_header(self, event: RunStarted) -> None:
        if self._verbosity < 0:
            return
        numbers = (event.tasks, event.mode, event.at_once, event.cpus)
        head, run = headline(event.job, *numbers, event.start_method), f"run {event.run}"
        # In a narrow terminal, the id is whole in a line of its own.
        width = terminal_width(sys.stderr)
        fits = width is None or display_width(head) + 2 + len(run) <= width
        for line in [f"{head}, {run}"] if fits else [head, run]:
            self._write(line, "1")
        if "seed" in event.options:
            self._write(f"copies are started in the order of --seed {event.options['seed']}")
        if event.resumed_from is not None:
            self._write(resumed_line(event.resumed_from))

    def _mention_stop(self, state: RunState, reason: str = "") -> None:
        """Say that the run is being stopped, if that is due; `reason` is why a task is."""
        if self._stop_notice is None:
            # Most runs end before anything is stopped.
            from mprun.reporters.stop_notice import StopNotice

            self._stop_notice = StopNotice(self._stop_limit)
        self._stop_notice.task_stopping(reason, self._clock())
        number = self._stop_signal()
        if number is None and self._verbosity < 0:
            return
        line = self._stop_notice.line(state, number, self._clock())
        if line is not None:
            self._write(line, "1")

    def _write_table(self, state: RunState) -> None:
        """A table of all tasks or, if there are very many, of those that did not succeed."""
        colour = wants_colour(sys.stderr)
        if _is_repeated(state):
            from mprun.reporters.repeat_table import write_repeats

            self._to_stderr(lambda: write_repeats(state, sys.stderr, colour))
            return
        if len(state.tasks) <= table.MAX_ROWS:
            if rows := table.rows(state):
                self._to_stderr(lambda: table.write_tasks(state, rows, sys.stderr, colour))
            return
        # Few runs have so many.
        from mprun.reporters.long_table import bad_rows, omitted_line

        if bad := bad_rows(state):
            shown = bad[: table.MAX_ROWS]
            self._to_stderr(lambda: table.write_tasks(state, shown, sys.stderr, colour))
        self._write(omitted_line(self._directory, len(bad), len(state.tasks)))

    def _write_summary(self, event: RunFinished, state: RunState) -> None:
        if self._verbosity < 0 and event.exit_code == 0:
            return
        if self._verbosity >= 0 or _is_repeated(state):
            self._write_table(state)
        failed = table.failing_tasks(state.tasks.values(), event)
        if failed or event.exit_code:
            # Most runs succeed.
            from mprun.reporters.failure_summary import causes

            for line, style in causes(event, failed, is_repeated=_is_repeated(state)):
                self._write(line, style)
        counts = counts_text(event.counts, event.allowed, event.flaky)
        # An error of mprun itself has a line of its own.
        is_told = event.exit_code == EXIT_INTERNAL or not event.reason
        why = "" if is_told else f" ({format_reason(event.reason)})"
        outcome = f"{event.outcome}{why} in {format_duration(event.duration)}"
        self._write(f"{outcome}: {counts}" if counts else outcome, "31" if event.exit_code else "32")
        if event.exit_code and self._directory.has_record():
            from mprun.reporters.failure_summary import next_steps

            for line, style in next_steps(self._directory, state):
                self._write(line, style)


def _is_repeated(state: RunState) -> bool:
    return state.started is not None and "seed" in state.started.options
