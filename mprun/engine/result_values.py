"""Gives the tasks of a run the results of other tasks, and says which of these they cannot receive."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mprun.jobfile.references import ReferenceProblem, SiblingReference
from mprun.outcomes import Outcome
from mprun.record import results

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mprun.engine.receivers import Receivers
    from mprun.engine.task_table import TaskTable
    from mprun.jobfile.references import Reference
    from mprun.record.state_dir import RunDirectory
    from mprun.scheduling.plan import Plan


class ResultValues:
    """The results of the tasks of one run; `ends` has outcome and attempts of those that have finished."""

    def __init__(
        self, plan: Plan, table: TaskTable, directory: RunDirectory, ends: Mapping[int, tuple[str, int]]
    ) -> None:
        self._plan = plan
        self._table = table
        self._directory = directory
        self._ends = ends
        # The path, value and kind of the last result: the tasks that refer to it often start in a row.
        self._last_result: tuple[str, Any, str] = ("", None, "")
        self._receivers: Receivers | None = None
        # The tasks, by their ids, of whose results `warning` has warned.
        self._warned_of: set[int] = set()

    def of(self, reference: Reference, receiver: str) -> Any:
        """The result of a task, or the list of the results of a group, in the order of the plan.

        `receiver` is the task that refers to it. Raises ReferenceProblem if it cannot receive it.
        """
        if isinstance(reference, SiblingReference):
            number = self._table.siblings.find(reference, receiver)
            if self._table.tasks[number].task.foreach is not None and not self._table.tasks[number].values:
                raise ReferenceProblem(f"`{reference}`: `{reference.name}` has no instances", reference)
            return self._result_of(number, reference, receiver)
        name, names = reference.name, self._table.names
        numbers = names.resolve(name)
        if not numbers and name not in names.groups:
            raise ReferenceProblem(f"task `{name}` is not part of this run", reference)
        if name in names.numbers:
            (number,) = numbers
            if not self._table.is_expanded(number):
                return self._result_of(number, reference, receiver)
        # A group has both the numbers of its instances and that of the task they were expanded from.
        instances = [one for number in numbers for one in self._table.instances(number)]
        return [self._result_of(number, reference, receiver) for number in dict.fromkeys(instances)]

    def _result_of(self, number: int, reference: Reference, receiver: str) -> Any:
        planned = self._table.tasks[number]
        if number not in self._ends:
            raise ReferenceProblem(f"task `{planned.name}` has not finished", reference)
        outcome, attempts = self._ends[number]
        if outcome != Outcome.SUCCEEDED or not attempts:
            return [] if planned.task.foreach is not None and outcome == Outcome.SUCCEEDED else None
        value, problem = self._read(planned.name, attempts)
        if problem is not None:
            from mprun.engine.receivers import refusal

            raise ReferenceProblem(refusal(planned.name, problem, [receiver]), reference)
        return value

    def _read(self, name: str, attempts: int) -> tuple[Any, results.ResultProblem | None]:
        """The result of a task, and why it cannot be passed on; None if it can be."""
        files = self._directory.result_files(name, attempts)
        if files.name != self._last_result[0]:
            self._last_result = (files.name, *results.read_value(files))
        _, value, kind = self._last_result
        return value, results.read_problem(files) if kind == "repr" else None

    def warning(self, number: int) -> str:
        """Why tasks that refer to the result of a task will fail; empty if they can receive it.

        Once for all instances of a task.
        """
        planned = self._table.tasks[number]
        outcome, attempts = self._ends[number]
        if outcome != Outcome.SUCCEEDED or planned.reused is not None or id(planned.task) in self._warned_of:
            return ""
        # Few results need it.
        from mprun.engine.receivers import Receivers, refusal

        if self._receivers is None:
            self._receivers = Receivers(self._plan, self._table)
        receivers = self._receivers.of(planned)
        problem = self._read(planned.name, attempts)[1] if receivers else None
        if problem is None:
            return ""
        self._warned_of.add(id(planned.task))
        return refusal(planned.name, problem, receivers)
