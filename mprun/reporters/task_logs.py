"""What the tasks of a run printed, read from their logs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mprun.errors import UsageError
from mprun.problems import quote, suggest
from mprun.reporters.console import MAIN, Output
from mprun.reporters.tail import Tail

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mprun.state import RunState
    from mprun.statedir import RunDirectory


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
