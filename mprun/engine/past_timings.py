"""How long the tasks of a job file took in earlier runs, read from their records."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mprun.jobfile.model import STANDARD_INPUT_PATH
from mprun.record.history import past_runs_in_steps

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mprun.scheduling.estimates import RunTimings
    from mprun.scheduling.plan import Plan


class PastTimings:
    """The timings of the runs of a plan's job file below `state_dir`; of those `before` one run, by its id.

    They are read once, a bounded part at a time, and none before someone asks. A job from standard input has
    none, because any other job may have been read from there.
    """

    def __init__(self, plan: Plan, state_dir: str, before: str = "") -> None:
        self._found: list[RunTimings] | None = None
        self._steps: Iterator[list[RunTimings] | None] = iter(([],))
        if plan.job.path != STANDARD_INPUT_PATH:
            services = {planned.name for planned in plan.tasks if planned.task.ready is not None}
            self._steps = past_runs_in_steps(
                state_dir, plan.job.path, services, before=before, copies=plan.repetition is not None
            )

    def read_more(self) -> list[RunTimings] | None:
        """Read the next part: see `past_runs_in_steps`. The timings, None until all of them are read."""
        if self._found is None:
            self._found = next(self._steps)
        return self._found

    def read_all(self) -> list[RunTimings]:
        """Read what is left, and return all of them."""
        while (found := self.read_more()) is None:
            pass
        return found
