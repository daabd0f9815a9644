"""Says before a run which tasks would be skipped as unchanged, as far as that is known without imports."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from mprun.diagnostics import quote
from mprun.engine.resolver import TaskResolver, param_variables
from mprun.engine.task_table import TaskTable
from mprun.engine.unchanged_checks import question_of, runs_always
from mprun.frozen import Frozen
from mprun.jobfile.model import STANDARD_INPUT_PATH
from mprun.jobfile.references import ReferenceProblem
from mprun.record.file_hashes import Unusable
from mprun.record.last_results import LastResults, Unknown
from mprun.record.state_dir import RunDirectory
from mprun.record.unchanged import flaky_failure, recorded_difference, relative_job
from mprun.scheduling.plan import start_order

if TYPE_CHECKING:
    from mprun.scheduling.plan import Plan, PlannedTask


class Expected(Frozen):
    """Whether a task would be `skipped`, None if only the run can say; `why` says why, or why not.

    `since` is the run since which nothing has changed, "" if that is not so.
    """

    skipped: bool | None
    why: str
    since: str = ""


def expected_skips(plan: Plan, state_dir: str) -> dict[str, Expected]:
    """What is expected of each task with `inputs` or `outputs`, by name.

    Nothing is written, and no target is imported: where a module is found is looked up on the path that a
    run would have at its start.
    """
    return _Forecast(plan, os.path.abspath(state_dir)).all()


class _Forecast:
    def __init__(self, plan: Plan, state_dir: str) -> None:
        self._plan = plan
        # No such run is ever made: only its state directory is used.
        directory = RunDirectory(os.path.join(state_dir, "runs", "plan"))
        self._resolver = TaskResolver(plan, TaskTable(plan), directory, param_variables())
        self._last = LastResults(directory.state, relative_job(plan.job.path, state_dir))
        self._has_last = self._open()
        # As the launcher has it.
        self._path = [*plan.job.import_path, plan.cwd or os.getcwd(), *sys.path]
        # The tasks that would run, or may.
        self._runs: set[int] = set()

    def _open(self) -> bool:
        try:
            self._last.open(create=False)
        except OSError:
            return False
        return self._plan.job.path != STANDARD_INPUT_PATH

    def all(self) -> dict[str, Expected]:
        found = {}
        for number in start_order(self._plan):
            planned = self._plan.tasks[number]
            if planned.skipped or planned.reused is not None:
                continue
            if not planned.task.is_compared:
                self._runs.add(number)
                continue
            expected = found[planned.name] = self._expect(number, planned)
            if not expected.skipped:
                self._runs.add(number)
        return found

    def _never(self, planned: PlannedTask) -> str:
        """Why a task runs whatever has changed; empty if there is no such reason."""
        if planned.copy:
            return "it is repeated"
        if planned.task.artifacts:
            return "`artifacts` cannot be compared"
        if why := runs_always(planned.task):
            return why
        return f"{quote(self._plan.force)} was given" if self._plan.force else ""

    def _expect(self, number: int, planned: PlannedTask) -> Expected:
        if why := self._never(planned):
            return Expected(skipped=False, why=why)
        last = self._last.read(planned.name) if self._has_last else None
        if last is None:
            return Expected(
                skipped=False, why="no earlier run of this job file has left anything to compare with"
            )
        if planned.task.foreach is not None and not planned.values:
            return Expected(skipped=None, why="its instances are known only during the run")
        if isinstance(last, Unknown):
            return Expected(skipped=False, why=last.why)
        try:
            question = question_of(self._plan, planned, number, self._resolver)
            if why := flaky_failure(self._last, last, question):
                return Expected(skipped=False, why=why)
            why = recorded_difference(self._last, last, question, self._path)
        except ReferenceProblem:
            return Expected(skipped=None, why="it refers to results that are known only during the run")
        except Unusable as error:
            return Expected(skipped=False, why=str(error))
        if why:
            return Expected(skipped=False, why=f"{why} since run {self._last.named_run(last)}")
        if self._last.result(planned.name, last) is None:
            return Expected(skipped=False, why=f"the record of run {last.holder} was removed or has changed")
        for need, _ in planned.needs:
            if need in self._runs:
                return Expected(skipped=None, why=f"{quote(self._plan.tasks[need].name)} runs before it")
        since = self._last.named_run(last)
        return Expected(skipped=True, why=f"unchanged since {since}", since=since)
