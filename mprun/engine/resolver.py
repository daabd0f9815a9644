"""Resolves references to results during the run: conditions, lists, arguments, expectations."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from mprun.errors import JobFileError, TooManyTasks, refuse_too_many
from mprun.executors.base import StartRequest
from mprun.frozen import Frozen
from mprun.jobfile import job_checks
from mprun.jobfile.model import PARAM_VARIABLE, PASSED, SiblingDependency
from mprun.jobfile.names import NameIndex
from mprun.jobfile.references import ReferenceProblem, SiblingReference, references
from mprun.jobfile.resolution import TYPED_KEYS, Resolver, as_text, is_true, require_type, resolve
from mprun.outcomes import Outcome
from mprun.record import results
from mprun.scheduling.plan import needed_by_instances, plan_instance
from mprun.scheduling.task_run import WHEN_IS_FALSE

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Sequence

    from mprun.engine.param_variables import ParamVariables
    from mprun.engine.receivers import Receivers
    from mprun.engine.task_table import TaskTable
    from mprun.jobfile.model import Expect, Instance, Limits, Needs, Task
    from mprun.jobfile.references import Reference
    from mprun.record.state_dir import RunDirectory
    from mprun.scheduling.dispatch import Attempts
    from mprun.scheduling.instructions import Finish
    from mprun.scheduling.plan import Plan, PlannedTask
    from mprun.trace_context import TraceIds


# The environment variable of a repeated task that has the number of its copy.
COPY_VARIABLE = "MPRUN_COPY"


class Resolved(Frozen):
    """The task can be started: every reference has a value."""


class Skipped(Frozen):
    """The task is skipped, for this reason."""

    reason: str


class Failed(Frozen):
    """The task fails without an attempt, for this reason."""

    reason: str


class Expanded(Frozen):
    """The task is expanded to these instances."""

    tasks: tuple[PlannedTask, ...]


Answer = Resolved | Skipped | Failed | Expanded


class Expanding:
    """The task is being expanded; each `step` takes some milliseconds, and the last one has the answer."""

    def __init__(self, number: int, steps: Generator[None, None, Expanded]) -> None:
        self.number = number
        self._steps = steps

    def step(self) -> Answer | None:
        """Take a step; the answer, None if another step has to be taken."""
        try:
            next(self._steps)
        except StopIteration as end:
            answer: Expanded = end.value
            return answer
        except JobFileError as error:
            return Failed(reason=error.diagnostics[0].message)
        except (ReferenceProblem, TooManyTasks, _Refused) as error:
            return Failed(reason=str(error))
        return None


class _Refused(Exception):
    """The instances of a task cannot be added to the run."""


class Call(Frozen):
    """What an attempt runs, with every reference resolved."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    command: tuple[str, ...] | None
    env: dict[str, str]
    cwd: str | None


class TaskResolver:
    """Gives the tasks of a run the results of other tasks."""

    def __init__(
        self,
        plan: Plan,
        table: TaskTable,
        directory: RunDirectory,
        param_variables: ParamVariables | None = None,
        trace: TraceIds | None = None,
    ) -> None:
        self._plan = plan
        self._param_variables = param_variables
        self._trace = trace
        self._table = table
        self._directory = directory
        # By the number of a task: its outcome, and how many attempts it took.
        self._ends: dict[int, tuple[str, int]] = {}
        # Most tasks end alike, and share one tuple: there may be 100,000 tasks.
        self._shared_ends: dict[tuple[str, int], tuple[str, int]] = {}
        self._plain: dict[int, bool] = {}
        # The path, value and kind of the last result: the tasks that refer to it often start in a row.
        self._last_result: tuple[str, Any, str] = ("", None, "")
        self._receivers: Receivers | None = None
        # The tasks, by their ids, of whose results `warning` has warned.
        self._warned_of: set[int] = set()

    def handle_finished(self, finish: Finish) -> None:
        """A task has its outcome."""
        end = (finish.outcome, finish.attempts)
        self._ends[finish.task] = self._shared_ends.setdefault(end, end)

    @property
    def cwd(self) -> str:
        """The directory in which tasks without a `cwd` run."""
        return self._plan.cwd or os.getcwd()

    # ---- before the start

    def answer(self, number: int) -> Answer | Expanding:
        """What becomes of a task whose dependencies are met: it runs, or is skipped, expanded or failed."""
        planned = self._table.tasks[number]
        task = planned.task
        resolver = self._resolver(planned)
        try:
            for node in (*task.inherited_conditions, task.when):
                # One that refers to `item` stays a reference, which is true, and is evaluated for each
                # instance. Nothing looks inside of its value, which may be large.
                if not is_true(resolve(node, resolver)):
                    return Skipped(reason=WHEN_IS_FALSE)
            if task.foreach is not None and not planned.values:
                return Expanding(number, self._expand(planned, resolve(task.foreach, resolver)))
            self.call(number)
        except ReferenceProblem as error:
            return Failed(reason=str(error))
        return Resolved()

    def _expand(self, planned: PlannedTask, found: Any) -> Generator[None, None, Expanded]:
        # Few jobs have a list or matrix that is known only during the run.
        from mprun.jobfile.expander import INSTANCES_A_STEP, expand_over

        instances = yield from expand_over(planned.task, found)
        if planned.copy:
            from mprun.scheduling.repetition import copy_of

            instances = [copy_of(instance, planned.copy) for instance in instances]
        refuse_too_many(len(self._table.tasks) + len(instances))
        # A task that has finished neither holds nor needs tokens.
        known = (
            task
            for number, task in enumerate(self._table.tasks)
            if task.task.deferred_expansion is None and number not in self._ends
        )
        shortage = job_checks.shortage_of_new_tasks(instances, known, self._plan.job.resources)
        if shortage:
            raise _Refused(shortage)
        tasks = []
        for task in self._planned(planned, instances):
            tasks.append(task)
            if not len(tasks) % INSTANCES_A_STEP:
                yield
        return Expanded(tasks=tuple(tasks))

    def _planned(self, group: PlannedTask, instances: Sequence[Instance]) -> Iterator[PlannedTask]:
        """The plans of new instances, with what they select, and what selects them, as dependencies."""
        shared = needed_by_instances(group)
        # A dictionary, as there may be as many as instances.
        selecting = dict.fromkeys(pair for pair in shared if self._selected_from(pair[0], group))
        if selecting:
            shared = tuple(pair for pair in shared if pair not in selecting)
        own = self._selectors(group, instances, selecting) if selecting else {}
        for number, instance in enumerate(instances):
            yield plan_instance(
                instance,
                group,
                self._plan.reused,
                needs=self._siblings_of(instance),
                needed_by=(*shared, *own[number]) if number in own else shared,
            )

    def _selected_from(self, after: int, group: PlannedTask) -> list[SiblingDependency]:
        """The dependencies of a task that select one of a group's instances."""
        task = self._table.tasks[after].task
        found = (one for one in task.depends_on if isinstance(one, SiblingDependency))
        return [dependency for dependency in found if dependency.task == group.name]

    def _selectors(
        self, group: PlannedTask, instances: Sequence[Instance], selecting: Iterable[tuple[int, str]]
    ) -> dict[int, list[tuple[int, str]]]:
        """The dependents that select an instance, by its index; those that select none are left out."""
        from mprun.jobfile.siblings import Siblings, selected

        siblings = Siblings(instances, NameIndex(instances))
        found: dict[int, list[tuple[int, str]]] = {}
        for after, condition in selecting:
            dependent = self._table.tasks[after]
            for dependency in self._selected_from(after, group):
                with suppress(ReferenceProblem):
                    number = siblings.find(selected(dependent, dependency), dependent.name)
                    found.setdefault(number, []).append((after, condition))
        return found

    def _siblings_of(self, instance: Instance) -> Needs:
        """The tasks that a new instance selects; none for what is not there, which its start finds out."""
        found: dict[tuple[int, str], None] = {}
        for dependency in instance.task.depends_on:
            if isinstance(dependency, SiblingDependency):
                from mprun.jobfile.siblings import selected

                with suppress(ReferenceProblem):
                    reference = self._table.own(selected(instance, dependency), instance.copy)
                    found[self._table.siblings.find(reference, instance.name), PASSED] = None
        return tuple(found)

    def call(self, number: int) -> Call | Task:
        """What an attempt of the task runs: the task itself if it contains no reference.

        Raises ReferenceProblem.
        """
        planned = self._table.tasks[number]
        task = planned.task
        if self._is_plain(task):
            return task
        resolver = self._resolver(planned)
        found = {}
        for key in TYPED_KEYS:
            node = getattr(task, key)
            # What is empty has no reference.
            found[key] = resolve(node, resolver) if node else node
            if node:
                require_type(key, found[key], node)
        command, cwd = found["command"], found["cwd"]
        if command is not None and command[:2] == ["/bin/sh", "-c"] and isinstance(command[2], list):
            # A command that is one reference was taken for a shell script; a list runs without a shell.
            command = command[2]
        return Call(
            args=tuple(found["args"]),
            kwargs=found["kwargs"],
            command=None if command is None else tuple(map(as_text, command)),
            env={name: as_text(value) for name, value in found["env"].items()},
            cwd=None if cwd is None else self._absolute(task, as_text(cwd)),
        )

    def _absolute(self, task: Task, path: str) -> str:
        folder = os.path.dirname(os.path.abspath(task.document.source.path))
        return os.path.normpath(os.path.join(folder, path))

    def start_request(self, number: int, attempt: int, after: Attempts = ()) -> StartRequest:
        """The request to start an attempt. Raises ReferenceProblem."""
        planned = self._table.tasks[number]
        task = planned.task
        call = self.call(number)
        env = self.env(number, call)
        if self._trace is not None:
            # What the task sets itself counts.
            env = {**self._trace.variables(planned.name, attempt), **env}
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
            log=self._directory.log_file(planned.name, attempt).name,
            result=self._directory.result_files(planned.name, attempt).name,
            env=env,
            cwd=call.cwd,
            limits=process_limits(task.limits),
            stacks=task.timeout is not None or task.ready is not None or self._plan.job.timeout is not None,
            after=tuple(((before, which), seconds) for before, which, seconds in after),
            capture=int(task.capture is not None),
        )

    def env(self, number: int, call: Call | Task) -> dict[str, str]:
        """The variables of an attempt, with those that set params as far as its task refers to them."""
        planned, env = self._table.tasks[number], call.env
        if planned.copy:
            env = {COPY_VARIABLE: str(planned.copy), **env}
        if self._param_variables is not None:
            env = {**self._param_variables.of(planned.task), **env}
        if planned.task.artifacts:
            env = {**env, "MPRUN_TASK_DIR": self._directory.artifacts_of(planned.name)}
        return env

    def expect(self, number: int) -> Expect | None:
        """The `expect` of a task, resolved. Raises ReferenceProblem."""
        planned = self._table.tasks[number]
        expect = planned.task.expect
        if expect is None or not expect.has_result or next(references([expect.result]), None) is None:
            return expect
        return expect.replace(result=resolve(expect.result, self._resolver(planned)))

    def _is_plain(self, task: Task) -> bool:
        """Whether a task contains no reference, like most tasks."""
        plain = self._plain.get(id(task)) if task.refers else True
        if plain is None:
            nodes = (task.args, task.kwargs, task.command, task.env, task.cwd)
            plain = self._plain[id(task)] = next(references(nodes), None) is None
        return plain

    # ---- results

    def _resolver(self, planned: PlannedTask) -> Resolver:
        task = planned.task

        def result(reference: Reference) -> Any:
            return self._result(self._table.own(reference, planned.copy), planned.name)

        return Resolver(task.scope, task.axes, planned.values, results=result, reveal=True)

    def _result(self, reference: Reference, receiver: str) -> Any:
        """The result of a task, or the list of the results of a group, in the order of the plan.

        `receiver` is the task that refers to it.
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
            raise ReferenceProblem(_refusal(planned.name, problem, f"`{receiver}`"), reference)
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
        if self._receivers is None:
            # Few results need it.
            from mprun.engine.receivers import Receivers

            self._receivers = Receivers(self._plan, self._table)
        receivers = self._receivers.of(planned)
        problem = self._read(planned.name, attempts)[1] if receivers else None
        if problem is None:
            return ""
        self._warned_of.add(id(planned.task))
        first, *others = receivers
        more = f" and {len(others)} other task{'s' if len(others) > 1 else ''}" if others else ""
        return _refusal(planned.name, problem, f"`{first}`{more}")


def _refusal(name: str, problem: results.ResultProblem, receiver: str) -> str:
    return f"`{name}` returned {problem.what}, so {receiver} cannot receive it; {problem.remedy}"


def process_limits(limits: Limits | None) -> dict[str, Any] | None:
    """The limits that a process sets for itself, by name; None if there are none."""
    if limits is None:
        return None
    return {name: value for name, value in limits.to_dict().items() if name != "log" and value is not None}


def param_variables() -> ParamVariables | None:
    """The variables of this process that set params; None if there are none."""
    if not any(name.startswith(PARAM_VARIABLE) for name in os.environ):
        return None
    # Few runs have one.
    from mprun.engine.param_variables import ParamVariables

    return ParamVariables(os.environ)
