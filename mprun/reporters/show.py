"""Views of a run that is over or still goes on, read from its record."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mprun import outcomes
from mprun.errors import UsageError
from mprun.problems import quote, suggest
from mprun.record import writer
from mprun.reporters import table
from mprun.reporters.console import MAIN, Output
from mprun.reporters.tail import Tail
from mprun.reporters.words import headline, span, visible

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TextIO

    from mprun.state import RunState
    from mprun.statedir import RunDirectory


def show_run(directory: RunDirectory, state: RunState, stream: TextIO, colour: bool) -> None:
    """Write one run: its head, a table of its tasks, how it ended."""
    started = state.started
    if started is not None:
        numbers = (started.tasks, started.mode, started.at_once, started.cpus)
        stream.write(
            f"{headline(started.job, *numbers, started.start_method)}, run {started.run}\n"
            f"file {visible(started.file)}, started {started.time}\n"
        )
    finished = state.finished
    alive = finished is not None or writer(directory.events) is not None
    table.write(table.HEAD, table.rows(state, alive=alive), stream, colour)
    if finished is not None:
        stream.write(f"{finished.outcome}: exit {finished.exit_code} after {span(finished.duration)}\n")
    elif alive:
        stream.write("running\n")
    else:
        stream.write(f"{outcomes.INTERRUPTED}: mprun itself was ended\n")


def show_logs(directory: RunDirectory, state: RunState, names: Sequence[str]) -> None:
    """Write what tasks printed to stdout: one task's as it is, several with their names."""
    # A task may be named `main`; then it is the one that is meant.
    known = [*(() if MAIN in state.tasks else (MAIN,)), *state.tasks]
    for name in names:
        if name not in known:
            hint = suggest(name, known)
            raise UsageError(f"run {directory.run_id} has no task {quote(name)}; {hint}")
    output = Output(known, prefix=len(names) != 1)
    for name in names or known:
        for path in _log_paths(directory, state, name):
            tail = Tail(path)
            output.write(name, tail.read(to_end=True))
            tail.close()


def _log_paths(directory: RunDirectory, state: RunState, name: str) -> list[str]:
    if name not in state.tasks:
        return [directory.main_log]
    return [directory.log(name, attempt.started.attempt) for attempt in state.tasks[name].attempts]
