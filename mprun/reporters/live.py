"""The live view: keeps the rows at the bottom of the terminal up to date during a run.

The `ViewState` is a fold over the events, `frame` makes rows of it, and the `Region` draws them. This adds
what is not in the events (CPU, memory, the last lines of the logs, keys) and decides when to draw.
"""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING

from mprun.linux import procfs, usage_now
from mprun.linux.foreground import in_foreground
from mprun.record.events import TaskFinished, TasksPlanned
from mprun.reporters.door import wants_colour
from mprun.reporters.frame import Style, counts, frame, shown_tasks, time_left
from mprun.reporters.keys import Keys
from mprun.reporters.last_lines import last_lines
from mprun.reporters.region import Region, terminal_reflows
from mprun.reporters.token_waits import TokenWaits
from mprun.reporters.view_state import RunningTask, ViewState

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from mprun.record.events import Event, TaskStarted
    from mprun.record.run_state import RunState
    from mprun.record.state_dir import RunDirectory
    from mprun.reporters.base import RunSources
    from mprun.reporters.outlet import OutletStream
    from mprun.scheduling.time_left import TimeLeft

# Seconds between two frames: if there are events, and if nothing has happened but that time has passed.
# Output of tasks does not wait for that.
BUSY_INTERVAL, IDLE_INTERVAL = 0.2, 0.5
# How often CPU and memory of the tasks that are shown are read, in seconds.
SAMPLE_INTERVAL = 1.0


class LiveView:
    """The view of one run on the terminal of standard error, from the middle of the run to its end."""

    def __init__(
        self,
        run: RunState,
        directory: RunDirectory,
        sources: RunSources,
        before_shown: Callable[[], object],
        lists: Sequence[str],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._directory = directory
        self._sources = sources
        self._clock = clock
        self._state = ViewState(run, self._began, lists)
        stream: OutletStream = sys.stderr.buffer  # type: ignore[assignment]
        self._terminal = stream.fileno()
        self._region = Region(stream, self._size, reflows=terminal_reflows())
        self._style = Style(colour=wants_colour(sys.stderr), unicode=has_unicode())
        self._keys = Keys(self._terminal)
        self._run = run
        # None if it is not known how long tasks take, or not yet.
        self._time_left: TimeLeft | None = None
        self._is_estimated = False
        self._token_waits = TokenWaits(sources.plan, run)
        self._samples = _Samples(directory)
        self._drawn = self._sampled = 0.0
        self._is_dirty = True
        self._resumptions = sources.signals.resumptions
        sources.signals.before_suspend = self._region.close
        self._before_shown = before_shown
        # Whether the rows are on the terminal: this process is in its foreground.
        self.is_shown = False

    def handle(self, event: Event) -> None:
        """Take an event."""
        self._state.apply(event)
        self._is_dirty = True
        if self._time_left is not None:
            if type(event) is TaskFinished:
                self._time_left.end(event.task)
            elif type(event) is TasksPlanned and event.group:
                self._time_left.expand(event.group, event.tasks)

    def take_keys(self, write: Callable[[str], object]) -> bool:
        """Write how far the run is at each Enter; whether someone asks what the tasks are doing."""
        lines = self._keys.read() if self.is_shown else []
        if self._keys.echoed_lines:
            self._region.typed_lines += self._keys.echoed_lines
            self._keys.echoed_lines = 0
        for _ in range(lines.count("")):
            write("  ".join(filter(None, [*counts(self._state), time_left(self._state, self._style)])))
        return "t" in lines

    def refresh(self) -> None:
        """Draw the rows if they are due: with output, soon after an event, else now and then."""
        if not self._is_estimated:
            self._estimate()
        now = self._clock()
        due = BUSY_INTERVAL if self._is_dirty else IDLE_INTERVAL
        if self._region.is_holding or now - self._drawn >= due:
            self._draw(now)

    def close(self) -> None:
        """Remove the rows."""
        self._sources.signals.before_suspend = None
        self._region.close()

    def _draw(self, now: float) -> None:
        self._drawn, self._is_dirty = now, False
        if self._sources.signals.resumptions != self._resumptions:
            self._resumptions = self._sources.signals.resumptions
            self._region.forget()
        if not in_foreground(self._terminal):
            self._region.close()
            self.is_shown = False
            return
        shown = shown_tasks(self._state, now)
        if now - self._sampled >= SAMPLE_INTERVAL:
            self._sampled = now
            self._samples.read_usage(shown, now)
            self._state.waiting = self._token_waits.find()
            if self._time_left is not None:
                running = self._state.running.items()
                self._state.left = self._time_left.seconds(
                    (name, now - self._began(started)) for name, started in running
                )
        else:
            self._samples.read_usage([task for task in shown if task.memory is None], now)
        self._samples.read_lines(shown)
        size = self._size()
        rows = frame(self._state, size, now, self._style)
        self._state.least_rows = max(self._state.least_rows, len(rows))
        if not self.is_shown:
            self._before_shown()
            self.is_shown = True
        self._region.open()
        self._region.draw(rows)

    def _size(self) -> tuple[int, int]:
        try:
            columns, rows = os.get_terminal_size(self._terminal)
        except OSError:
            return 80, 24
        # Some terminals do not say.
        return columns or 80, rows or 24

    def _began(self, event: TaskStarted) -> float:
        now = self._clock()
        if self._run.started is not None and event.host != self._run.started.host:
            # There, ticks are counted from another boot.
            from mprun.reporters.format import seconds_since

            return now - seconds_since(event.time)
        return now if event.start_ticks is None else now - procfs.seconds_since(event.start_ticks)

    def _estimate(self) -> None:
        """Read more of how long the tasks took, and estimate what is left once that is known."""
        timings = self._sources.timings()
        self._is_estimated = timings is not None
        if not timings:
            return
        from mprun.scheduling.time_left import TimeLeft

        left = TimeLeft(self._sources.plan, timings)
        for group, instances in self._run.expansions().items():
            left.expand(group, instances)
        for name, task in self._run.tasks.items():
            if task.outcome is not None:
                left.end(name)
        self._time_left = left


class _Samples:
    """Reads what the events do not say of tasks that are running."""

    def __init__(self, directory: RunDirectory) -> None:
        self._directory = directory
        self._host = os.uname().nodename
        # By task: its CPU seconds, and when they were read.
        self._cpu: dict[str, tuple[int, float, float]] = {}
        # By task: pid and size of the log when its last line was read.
        self._sizes: dict[str, tuple[int, int]] = {}

    def read_usage(self, tasks: list[RunningTask], now: float) -> None:
        """Read the CPU and the memory of tasks."""
        for task in tasks:
            if task.host != self._host:
                # Its pid may be that of another process here.
                continue
            usage = usage_now.read_usage_now(task.pid, task.start_ticks)
            if usage is None:
                continue
            cpu, task.memory = usage
            pid, cpu_before, at = self._cpu.get(task.name, (0, 0.0, 0.0))
            if pid != task.pid:
                cpu_before, at = 0.0, task.began
            task.cpu = 100 * max(0.0, cpu - cpu_before) / max(now - at, 0.01)
            self._cpu[task.name] = task.pid, cpu, now

    def read_lines(self, tasks: list[RunningTask]) -> None:
        """Read the last lines of the logs that have grown."""
        for task in tasks:
            log = self._directory.log_file(task.name, task.attempt)
            size = log.size()
            if size and self._sizes.get(task.name) != (task.pid, size):
                task.line = "".join(last_lines(log, 1))
            self._sizes[task.name] = task.pid, size


def has_unicode(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether the user's locale has characters that are not ASCII: see locale(7)."""
    # Python has set LC_CTYPE to UTF-8 if there was no locale (PEP 538).
    names = (environ.get(name) for name in ("LC_ALL", "LC_CTYPE", "LANG"))
    locale = next(filter(None, names), "").lower().replace("-", "")
    return "utf8" in locale
