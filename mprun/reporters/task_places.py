"""Where the tasks of a run are in their job files, and their tags: what the record of a run does not have."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mprun.frozen import Frozen
from mprun.jobfile.model import STANDARD_INPUT_PATH
from mprun.jobfile.syntax.document import span_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mprun.record.run_state import RunState
    from mprun.scheduling.plan import Plan, PlannedTask

# Where a CI service has checked out the repository: GitHub, GitLab, Jenkins, Buildkite.
_CHECKOUTS = ("GITHUB_WORKSPACE", "CI_PROJECT_DIR", "WORKSPACE", "BUILDKITE_BUILD_CHECKOUT_PATH")


class TaskPlace(Frozen):
    """The file and the line, from 1, in which a task is declared; None if unknown. `tags` are the task's."""

    file: str | None = None
    line: int | None = None
    tags: tuple[str, ...] = ()


class TaskPlaces:
    """The places of the tasks of a plan, by name.

    Paths are relative to the directory `base` if they are in it. Without a plan, only the path of the job
    file is known.
    """

    def __init__(self, plan: Plan | None, state: RunState, base: str) -> None:
        self._base, self._cwd = base, present_directory(state)
        self._planned = {planned.name: planned for planned in plan.tasks} if plan is not None else {}
        # What was expanded during the run is in the plan by the name of its group.
        self._groups = {name: group for group, names in state.expansions().items() for name in names}
        file = state.started.file if state.started else STANDARD_INPUT_PATH
        self._unknown = TaskPlace(file=self._shown_path(file))
        self._lines: dict[tuple[int, int], int] = {}

    def of(self, name: str) -> TaskPlace:
        """The place of a task."""
        planned = self._planned.get(name) or self._planned.get(self._groups.get(name, ""))
        if planned is None:
            return self._unknown
        file = self._shown_path(planned.task.document.source.path)
        return TaskPlace(file=file, line=self._line(planned) if file else None, tags=planned.task.tags)

    def _line(self, planned: PlannedTask) -> int:
        task = planned.task
        # Instances share it, and to find one takes longer than to look it up.
        key = (id(task.document), task.position)
        if key not in self._lines:
            self._lines[key] = span_of(task.document, task.origin.path).line
        return self._lines[key]

    def _shown_path(self, path: str) -> str | None:
        if path == STANDARD_INPUT_PATH:
            return None
        absolute = os.path.normpath(os.path.join(self._cwd, path))
        return absolute.removeprefix(self._base.rstrip("/") + "/")


def present_directory(state: RunState) -> str:
    """The working directory, or the one in which the run began: a task may have removed it."""
    try:
        return os.getcwd()
    except OSError:
        return (state.started and state.started.cwd) or "/"


def checkout(environ: Mapping[str, str], cwd: str) -> str:
    """The directory that paths are relative to: a CI service's checkout if `cwd` is in it, else `cwd`."""
    for name in _CHECKOUTS:
        directory = environ.get(name, "").rstrip("/")
        if directory.startswith("/") and f"{cwd}/".startswith(f"{directory}/"):
            return directory
    return cwd
