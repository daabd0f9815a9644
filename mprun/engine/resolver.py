"""Resolves what an attempt runs, with the references to results of other tasks."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from mprun.executors.base import StartRequest
from mprun.frozen import Frozen
from mprun.jobfile.model import PARAM_VARIABLE
from mprun.jobfile.references import references
from mprun.jobfile.resolution import Resolver, as_text, resolve
from mprun.record.state_dir import attempt_name, log_name

if TYPE_CHECKING:
    from mprun.engine.param_variables import ParamVariables
    from mprun.engine.result_values import ResultValues
    from mprun.engine.task_table import TaskTable
    from mprun.jobfile.model import Expect, Limits, Task
    from mprun.jobfile.references import Reference
    from mprun.record.state_dir import RunDirectory
    from mprun.scheduling.dispatch import Attempts
    from mprun.scheduling.instructions import Finish
    from mprun.scheduling.member_runs import Settle
    from mprun.scheduling.plan import Plan, PlannedTask
    from mprun.trace_context import TraceIds


# The environment variable of a repeated task that has the number of its copy.
COPY_VARIABLE = "MPRUN_COPY"


class Call(Frozen):
    """What an attempt runs, with every reference resolved."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    command: tuple[str, ...] | None
    env: dict[str, str]
    cwd: str | None


class TaskResolver:
    """Resolves what the tasks of a run refer to."""

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
        # By the number of a task that has finished: its outcome, and how many attempts it took.
        self.ends: dict[int, tuple[str, int]] = {}
        # The tasks whose processes say what they have imported.
        self.tell_modules: set[int] = set()
        # Most tasks end alike, and share one tuple: there may be 100,000 tasks.
        self._shared_ends: dict[tuple[str, int], tuple[str, int]] = {}
        self._plain: dict[int, bool] = {}
        # What the task that was resolved last is started with, by its number, until it starts.
        self.resolved: dict[int, Call | Task] = {}
        self._results: ResultValues | None = None

    def handle_finished(self, finish: Finish | Settle) -> None:
        """A task has its outcome, or has ended in a round of its recipe."""
        end = (finish.outcome, finish.attempts)
        self.ends[finish.task] = self._shared_ends.setdefault(end, end)

    @property
    def cwd(self) -> str:
        """The directory in which tasks without a `cwd` run."""
        return self._plan.cwd or os.getcwd()

    def call(self, number: int) -> Call | Task:
        """What an attempt of the task runs: the task itself if it contains no reference.

        Raises ReferenceProblem.
        """
        planned = self._table.tasks[number]
        task = planned.task
        if self._is_plain(task):
            return task
        resolver = self.values_for(planned)
        found = {}
        # Many jobs have no references.
        from mprun.jobfile.key_types import TYPED_KEYS, require_type

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
        call = self.resolved.pop(number, None) or self.call(number)
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
            log=log_name(planned.name, attempt),
            result=attempt_name(planned.name, attempt),
            env=env,
            cwd=call.cwd,
            limits=process_limits(task.limits),
            stacks=self._may_hang(task),
            after=tuple(((before, which), seconds) for before, which, seconds in after),
            capture=int(task.capture is not None or number in self.tell_modules),
            artifacts=os.path.basename(self._directory.artifacts_of(planned.name)) if task.artifacts else "",
            host=task.host,
        )

    def _may_hang(self, task: Task) -> bool:
        """Whether a process may be asked for its stacks: something sets a limit to its time."""
        of_recipe = task.whole is not None and task.whole.timeout is not None
        return (
            task.timeout is not None
            or task.ready is not None
            or of_recipe
            or self._plan.job.timeout is not None
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

    def uncompared(self, task: Task) -> dict[str, str]:
        """The variables of a task that set params which are in nothing that is compared."""
        return {} if self._param_variables is None else self._param_variables.uncompared(task)

    def expect(self, number: int) -> Expect | None:
        """The `expect` of a task, resolved. Raises ReferenceProblem."""
        planned = self._table.tasks[number]
        expect = planned.task.expect
        if expect is None or not expect.has_result or next(references([expect.result]), None) is None:
            return expect
        return expect.replace(result=resolve(expect.result, self.values_for(planned)))

    def _is_plain(self, task: Task) -> bool:
        """Whether a task contains no reference, like most tasks."""
        plain = self._plain.get(id(task)) if task.refers else True
        if plain is None:
            nodes = (task.args, task.kwargs, task.command, task.env, task.cwd)
            plain = self._plain[id(task)] = next(references(nodes), None) is None
        return plain

    # ---- results

    def values_for(self, planned: PlannedTask) -> Resolver:
        """What the references of a task are resolved with."""
        task = planned.task

        def result(reference: Reference) -> Any:
            return self.results.of(self._table.own(reference, planned.copy), planned.name)

        return Resolver(task.scope, task.axes, planned.values, results=result, reveal=True)

    @property
    def results(self) -> ResultValues:
        """The results of the tasks that have finished."""
        if self._results is None:
            # Few jobs refer to any.
            from mprun.engine.result_values import ResultValues

            self._results = ResultValues(self._plan, self._table, self._directory, self.ends)
        return self._results


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
