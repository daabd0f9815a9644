"""The command that resumes a run so that it can succeed: with the options that it needs."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mprun.jobfile.model import param_variable
from mprun.jobfile.resolution import HIDDEN
from mprun.outcomes import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mprun.record.run_state import RunState


def resume_words(state: RunState) -> Iterator[str]:
    """The words after `mprun`: `resume`, the run's id and options.

    Without `--rerun-unknown`, tasks whose exit status is unknown would stay so. A secret is not in the
    record, so it must be given again.
    """
    yield "resume"
    started = state.started
    if started is None:
        return
    yield started.run
    if any(task.outcome == Outcome.UNKNOWN for task in state.tasks.values()):
        yield "--rerun-unknown"
    for name, value in started.params.items():
        if value == HIDDEN and param_variable(name) not in os.environ:
            yield f"-p {name}=@FILE"
