"""What the console says at the end of a run that failed: by which tasks, and how to resume it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mprun.diagnostics import visible
from mprun.jobfile.model import STANDARD_INPUT_PATH
from mprun.outcomes import EXIT_INTERNAL
from mprun.record.commands import command, short_path
from mprun.reporters.resume_hint import resume_words
from mprun.reporters.table import MAX_ROWS, outcome_words

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mprun.record.events import RunFinished
    from mprun.record.run_state import RunState
    from mprun.record.state_dir import RunDirectory
    from mprun.record.task_state import TaskState

# Of repeated tasks so many failures are listed, since the table counts them.
_MAX_FAILED_COPIES = 10


def causes(
    event: RunFinished, failed: Sequence[TaskState], *, is_repeated: bool
) -> Iterator[tuple[str, str]]:
    """Lines about what failed, each with its style: the first of these tasks, and mprun itself."""
    most = _MAX_FAILED_COPIES if is_repeated else MAX_ROWS
    for task in failed[:most]:
        yield f"{visible(task.name)} {visible(outcome_words(task))}", "31"
    if len(failed) > most:
        yield f"… and {len(failed) - most} more", "31"
    if event.exit_code == EXIT_INTERNAL:
        yield f"error: {visible(event.reason)}", "1;31"


def next_steps(directory: RunDirectory, state: RunState) -> Iterator[tuple[str, str]]:
    """Lines about a run with a record: where that is, and the command that resumes the run."""
    yield f"record: {short_path(directory.path)}", ""
    if state.started and state.started.file != STANDARD_INPUT_PATH:
        yield f"resume: {visible(command(directory, *resume_words(state)))}", "2"
