"""What tasks refer to, looked up while the run goes on: results, lists, conditions, arguments."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from mprun.errors import JobFileError
from mprun.executors.base import StartRequest
from mprun.frozen import Frozen
from mprun.jobfile.dependencies import NameIndex
from mprun.jobfile.expansion import TooManyTasks, expand_over
from mprun.jobfile.references import ReferenceProblem, Resolver, as_text, is_true, references, resolve
from mprun.outcomes import Outcome
from mprun.record import results
from mprun.scheduling.plan import plan_instance
from mprun.scheduling.task_run import WHEN_IS_FALSE

if TYPE_CHECKING:
    from mprun.jobfile.model import Expect, Limits, Task
    from mprun.jobfile.references import Reference
    from mprun.record.state_dir import RunDirectory
    from mprun.scheduling.dispatch import Attempts
    from mprun.scheduling.plan import Plan, PlannedTask


class Resolved(Frozen):
    """The task can be started: all that it refers to is there."""


class Skipped(Frozen):
    """The task is not to run, and why."""

    reason: str


class Failed(Frozen):
    """The task cannot run, and why."""

    reason: str


class Expanded(Frozen):
    """The task stands for these."""

    tasks: tuple[PlannedTask, ...]


Answer = Resolved | Skipped | Failed | Expanded


class Call(Frozen):
    """What an attempt is to do, with every reference resolved."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    command: tuple[str, ...] | None
    env: dict[str, str]
    cwd: str | None


class TaskResolver:
    """Hands results from task to task; `tasks` is the engine's own list, which grows."""

    def __init__(self, plan: Plan, tasks: list[PlannedTask], directory: RunDirectory) -> None:
        self._plan = plan
        self._tasks = tasks
        self._directory = directory
        self._tokens = plan.job.resources
        self._names: NameIndex | None = None
        # By place in the plan: how it ended, and after how many attempts.
        self._ends: dict[int, tuple[str, int]] = {}
        # Most end alike, and a hundred thousand tuples are worth sharing.
        self._shared: dict[tuple[str, int], tuple[str, int]] = {}
        self._instances: dict[int, list[int]] = {}
        self._plain: dict[int, bool] = {}
        # The result that was read last: those who refer to one often start one after another.
        self._last: tuple[str, Any, str] = ("", None, "")

    def finished(self, number: int, outcome: str, attempts: int) -> None:
        """A task has its outcome."""
        end = (outcome, attempts)
        self._ends[number] = self._shared.setdefault(end, end)

    def expanded(self, number: int, instances: list[int]) -> None:
        """A task stands for these from now on."""
        self._instances[number] = instances
        self._names = None

    def instances(self, number: int) -> list[int]:
        """What a task stands for: itself, or what came of its list."""
        return self._instances.get(number, [number])

    # ---- before it starts

    def answer(self, number: int) -> Answer:
        """What becomes of a task whose dependencies hold."""
        planned = self._tasks[number]
        task = planned.task
        lookup = self._lookup(planned)
        try:
            for node in (*task.inherited_conditions, task.when):
                value = resolve(node, lookup)
                # What is of one item is asked of each instance.
                if next(references([value]), None) is None and not is_true(value):
                    return Skipped(reason=WHEN_IS_FALSE)
            if task.foreach is not None and not planned.values:
                return self._expand(planned, resolve(task.foreach, lookup))
            self.call(number)
        except ReferenceProblem as error:
            return Failed(reason=str(error))
        return Resolved()

    def _expand(self, planned: PlannedTask, items: Any) -> Answer:
        if not isinstance(items, list):
            return Failed(reason=f"`foreach` needs a list, and `{planned.task.foreach}` is {_kind(items)}")
        try:
            instances = expand_over(planned.task, items)
        except JobFileError as error:
            return Failed(reason=error.diagnostics[0].message)
        except TooManyTasks as error:
            return Failed(reason=str(error))
        excess = self._excess([instance.task for instance in instances])
        if excess:
            return Failed(reason=excess)
        reused = self._plan.reused
        return Expanded(tasks=tuple(plan_instance(instance, planned, reused) for instance in instances))

    def _excess(self, tasks: list[Task]) -> str:
        """What of the tokens new tasks claim that somebody would wait for in vain; empty for nothing."""
        for task in tasks:
            for token, number in task.resources.items():
                if token not in self._tokens:
                    return f"the job has no token `{token}`"
                if number > self._tokens[token]:
                    return f"it claims {number} of `{token}`, and the job has {self._tokens[token]}"
        if not any(task.daemon and task.resources for task in tasks):
            return ""
        everyone = [
            *(planned.task for planned in self._tasks if planned.task.deferred_expansion is None),
            *tasks,
        ]
        held: dict[str, int] = {}
        for task in everyone:
            for token, number in task.resources.items() if task.daemon else ():
                held[token] = held.get(token, 0) + number
        for task in everyone:
            for token, number in task.resources.items() if not task.daemon else ():
                if number + held.get(token, 0) > self._tokens[token]:
                    hold = f"its daemons would hold {held[token]} of `{token}`"
                    return f"{hold}, and `{task.name}` claims {number}"
        return ""

    def call(self, number: int) -> Call | Task:
        """What an attempt of the task is to do: what the task says, where that is all known.

        Raises ReferenceProblem.
        """
        planned = self._tasks[number]
        task = planned.task
        if self._is_plain(task):
            return task
        lookup = self._lookup(planned)
        args, kwargs = resolve(task.args, lookup), resolve(task.kwargs, lookup)
        if not isinstance(args, list):
            raise ReferenceProblem(f"`args` must be a list, and `{task.args}` is {_kind(args)}")
        if not isinstance(kwargs, dict):
            raise ReferenceProblem(f"`kwargs` must be a mapping, and `{task.kwargs}` is {_kind(kwargs)}")
        command = None if task.command is None else resolve(task.command, lookup)
        if command is not None and len(command) == 3 and isinstance(command[2], list):
            # Written as one reference, it was taken for a text; a list is run as it is.
            command = command[2]
        cwd = resolve(task.cwd, lookup)
        return Call(
            args=tuple(args),
            kwargs=kwargs,
            command=None if command is None else tuple(map(as_text, command)),
            env={name: as_text(value) for name, value in resolve(task.env, lookup).items()},
            cwd=None if cwd is None else self._absolute(task, as_text(cwd)),
        )

    def _absolute(self, task: Task, path: str) -> str:
        folder = os.path.dirname(os.path.abspath(task.document.source.path))
        return os.path.normpath(os.path.join(folder, path))

    def start_request(self, number: int, attempt: int, after: Attempts = ()) -> StartRequest:
        """The request to start an attempt. Raises ReferenceProblem."""
        planned = self._tasks[number]
        task = planned.task
        call = self.call(number)
        return StartRequest(
            key=(number, attempt),
            name=planned.name,
            position=task.position,
            daemon=task.daemon,
            # A command needs neither a fork server nor a new Python.
            start_method=planned.start_method if call.command is None else "fork",
            target=task.target,
            command=call.command,
            args=call.args,
            kwargs=call.kwargs,
            log=self._directory.log(planned.name, attempt),
            result=self._directory.result(planned.name, attempt),
            env=call.env,
            cwd=call.cwd,
            limits=process_limits(task.limits),
            after=tuple(((before, which), seconds) for before, which, seconds in after),
        )

    def expect(self, number: int) -> Expect | None:
        """What is expected of the task's end, resolved. Raises ReferenceProblem."""
        planned = self._tasks[number]
        expect = planned.task.expect
        if expect is None or not expect.has_result or next(references([expect.result]), None) is None:
            return expect
        return expect.replace(result=resolve(expect.result, self._lookup(planned)))

    def _is_plain(self, task: Task) -> bool:
        """Whether a task refers to nothing, as most do."""
        plain = self._plain.get(id(task)) if task.refers else True
        if plain is None:
            nodes = (task.args, task.kwargs, task.command, task.env, task.cwd)
            plain = self._plain[id(task)] = next(references(nodes), None) is None
        return plain

    # ---- results

    def _lookup(self, planned: PlannedTask) -> Resolver:
        task = planned.task
        return Resolver(task.scope, task.axes, planned.values, results=self._result, reveal=True)

    def _result(self, reference: Reference) -> Any:
        """The result of a task, or the list of those of a group's, in the order of the plan."""
        if self._names is None:
            self._names = NameIndex(self._tasks, self._plan.job.empty)
        name = reference.name
        numbers = self._names.resolve(name)
        if not numbers and name not in self._names.groups:
            raise ReferenceProblem(f"the task `{name}` is no part of this run", str(reference))
        if name in self._names.numbers:
            (number,) = numbers
            if number not in self._instances:
                return self._result_of(number, reference)
        # The group that it was before stands before its instances, which come after all.
        places = [one for number in numbers for one in self.instances(number)]
        return [self._result_of(number, reference) for number in dict.fromkeys(places)]

    def _result_of(self, number: int, reference: Reference) -> Any:
        planned = self._tasks[number]
        if number not in self._ends:
            raise ReferenceProblem(f"the task `{planned.name}` has not ended", str(reference))
        outcome, attempts = self._ends[number]
        if outcome != Outcome.SUCCEEDED or not attempts:
            return [] if planned.task.foreach is not None and outcome == Outcome.SUCCEEDED else None
        path = self._directory.result(planned.name, attempts)
        if path != self._last[0]:
            self._last = (path, *results.read_value(path))
        _, value, kind = self._last
        if kind == "repr":
            message = f"the result of `{planned.name}` is no JSON value: only its repr was kept"
            raise ReferenceProblem(message, str(reference))
        return value


def process_limits(limits: Limits | None) -> dict[str, Any] | None:
    """The limits that a process sets for itself, by name; None if there are none."""
    if limits is None:
        return None
    return {name: value for name, value in limits.to_dict().items() if name != "log" and value is not None}


def _kind(value: Any) -> str:
    kinds = {dict: "a mapping", list: "a list", str: "a string", bool: "a boolean", type(None): "null"}
    return kinds.get(type(value), "a number")
