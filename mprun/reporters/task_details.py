"""What the running tasks are doing, for a person who asks: `t` in the live view, SIGUSR1 anywhere.

crunch[4]  pid 4711, running for 12.4s, 12.1s CPU, 212 MB
    reading part 3 of 9
    reading part 4 of 9
  stack of thread MainThread:
    File "work.py", line 7, in crunch
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from mprun.linux import procfs, usage_now
from mprun.reporters.format import format_duration, format_size
from mprun.reporters.last_lines import last_lines
from mprun.reporters.table import with_item

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mprun.record.events import TaskStarted
    from mprun.record.run_state import RunState
    from mprun.record.state_dir import RunDirectory
    from mprun.reporters.base import RunSources, Stacks

# So many tasks are shown.
MAX_TASKS = 50
# The run waits so long at once for stacks, in seconds, and looks so often whether they are there.
MAX_WAIT_SECONDS, _POLL_SECONDS = 0.05, 0.002
# The last lines of each log that are shown.
LINES = 3


class TaskDetails:
    """One answer about the tasks that are running now: `lines` has it once all stacks are there."""

    def __init__(self, state: RunState, directory: RunDirectory, sources: RunSources) -> None:
        self._state = state
        self._directory = directory
        running = [task.attempts[-1].started for task in state.tasks.values() if task.is_running]
        self._omitted = max(0, len(running) - MAX_TASKS)
        self._tasks = running[:MAX_TASKS]
        self._sources = sources
        self._stacks: dict[str, str] = {}
        # They are asked one by one: the stacks of two would be mixed.
        self._to_ask = self._tasks[::-1]
        self._asked: Stacks | None = None

    def lines(self) -> list[str] | None:
        """The lines to be shown; None while a task may still write its stacks."""
        until = time.monotonic() + MAX_WAIT_SECONDS
        while self._to_ask:
            task = self._to_ask[-1]
            if self._asked is None:
                self._asked = self._sources.request_stacks(task.pid, task.start_ticks)
            text = self._asked.read() if self._asked is not None else ""
            if text is not None:
                self._stacks[task.task], self._asked = text, None
                self._to_ask.pop()
            elif time.monotonic() > until:
                return None
            else:
                time.sleep(_POLL_SECONDS)
        if not self._tasks:
            return ["no task is running"]
        lines = [line for task in self._tasks for line in self._describe(task)]
        return [*lines, f"… and {self._omitted} more running"] if self._omitted else lines

    def _describe(self, task: TaskStarted) -> Iterator[str]:
        facts = [f"pid {task.pid}"]
        if task.start_ticks is not None:
            facts.append(f"running for {format_duration(procfs.seconds_since(task.start_ticks))}")
        usage = usage_now.read_usage_now(task.pid, task.start_ticks)
        if usage is not None:
            facts += [f"{format_duration(usage[0])} CPU", format_size(usage[1])]
        yield f"{with_item(task.task, self._state.items.get(task.task))}  {', '.join(facts)}"
        for line in last_lines(self._directory.log_file(task.task, task.attempt), LINES):
            yield f"    {line}"
        for line in self._stacks.get(task.task, "").splitlines():
            yield f"  {line}"
