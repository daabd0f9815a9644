"""Finds out whether tasks with `inputs` or `outputs` are unchanged; keeps what the next run needs for it."""

from __future__ import annotations

import contextlib
import os
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

from mprun.diagnostics import quote, redact
from mprun.engine.preflight import env_texts
from mprun.engine.unchanged_worker import UnchangedWorker
from mprun.executors.base import ExecutorLost, Exited
from mprun.jobfile.model import STANDARD_INPUT_PATH
from mprun.jobfile.references import Reference, ReferenceProblem
from mprun.outcomes import Outcome
from mprun.record.fingerprint import canonical
from mprun.record.last_results import LastResults
from mprun.record.results import MODULES
from mprun.record.unchanged import Answer, Question, explain, relative_job
from mprun.scheduling.instructions import RUN_FINISHED
from mprun.scheduling.plan import Reused
from mprun.scheduling.retry import UNCHANGED, is_flaky

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mprun.clock import Clock
    from mprun.engine.resolver import TaskResolver
    from mprun.engine.task_table import TaskTable
    from mprun.executors.base import Executor, Report
    from mprun.jobfile.model import Task
    from mprun.launcher.channel import AttemptKey
    from mprun.record.state_dir import RunDirectory
    from mprun.scheduling.instructions import Finish, Instruction
    from mprun.scheduling.plan import Plan, PlannedTask
    from mprun.scheduling.scheduler import Scheduler

# How settings are called.
_COMMAND, _ARGUMENT = "its command", "argument "
# The options of Python with which the same code may do something else: without its `assert`, for one.
_FLAGS = ("optimize", "bytes_warning", "dev_mode", "utf8_mode")
# Longer values are not shown, in characters.
_MAX_SHOWN = 80


class UnchangedChecks:
    """Asks of each such task, when nothing else is missing, whether it would do again what it did last.

    The end of an attempt that may have succeeded is held back until its files are hashed: what starts
    then may change them.
    """

    def __init__(
        self,
        plan: Plan,
        executor: Executor,
        directory: RunDirectory,
        scheduler: Scheduler,
        table: TaskTable,
        resolver: TaskResolver,
        clock: Clock,
        act: Callable[[list[Instruction]], None],
        warn: Callable[[str], None],
    ) -> None:
        self._plan = plan
        self._directory = directory
        self._job = relative_job(plan.job.path, directory.state.path)
        self._scheduler = scheduler
        self._table = table
        self._resolver = resolver
        self._clock = clock
        self._act = act
        self._warn = warn
        self._has_warned = False
        # The tasks of this run that were asked about and run, by their numbers.
        self._runs: set[int] = set()
        self._held: dict[AttemptKey, Exited] = {}
        self._released: list[Report] = []
        self._executor = executor

        def first() -> dict[str, Any]:
            # Nothing is asked if they are not known.
            about = {"directory": directory.path, "job": self._job}
            return {**about, **(executor.imports() or {})}

        self._worker = UnchangedWorker(first)

    def fileno(self) -> int:
        """Readable when `proceed` has something to do."""
        return self._worker.fileno()

    def begin(self, number: int) -> bool:
        """Ask about a task whose references are resolved; False if it is none of these, and starts now."""
        planned = self._table.tasks[number]
        task = planned.task
        if not task.is_compared:
            return False
        if why := self._never(planned):
            self._explain(planned.name, why)
            return False
        if why := runs_always(task):
            self._forget(planned.name)
            self._explain(planned.name, why)
            return False
        try:
            values = _task_values(self._plan, planned, number, self._resolver)
        except ReferenceProblem:
            # It starts, and fails as it does without these keys.
            return False
        # Not in the engine's loop: a value may be large.
        self._worker.ask(number, lambda: ["check", _question(self._plan, planned, *values).to_dict()])
        return True

    def _never(self, planned: PlannedTask) -> str:
        """Why a task is not asked about in this run; empty if it is."""
        if planned.copy:
            return "a run with `--repeat` skips nothing"
        if self._plan.job.path == STANDARD_INPUT_PATH:
            return "a job from standard input has no file by which an earlier run could be found"
        if self._executor.imports() is None:
            return "this executor does not say what the job has imported"
        return ""

    def proceed(self) -> None:
        """Act on the answers that have come."""
        for key, answer, problem in self._worker.take():
            if isinstance(key, int):
                self._handle_checked(key, self._lost(key, problem) if problem else Answer(**answer))
                continue
            number, attempt = key
            if attempt and key in self._held:
                self._released.append(self._held.pop(key))
            if (answer or problem) and not self._worker.failure:
                name = quote(self._table.tasks[number].name)
                self._warn(
                    f"nothing is kept to compare task {name} with in the next run: {answer or problem}"
                )
        if self._worker.failure and not self._has_warned:
            self._has_warned = True
            lacks = "no task is skipped as unchanged, and nothing is kept for the next run"
            self._warn(f"{lacks}: {self._worker.failure}")

    def _lost(self, number: int, problem: str) -> Answer:
        """What is done without an answer: the task runs, and what it did before says nothing any more."""
        name = self._table.tasks[number].name
        self._forget(name)
        self._explain(name, f"it could not be compared: {problem}")
        return Answer(warning="" if self._worker.failure else problem)

    def _forget(self, name: str) -> None:
        with contextlib.suppress(OSError):
            LastResults(self._directory.state, self._job).forget(name)

    def _explain(self, name: str, why: str) -> None:
        # It is for `mprun why` alone.
        with contextlib.suppress(OSError):
            explain(self._directory, name, Answer(why=why))

    def _handle_checked(self, number: int, answer: Answer) -> None:
        planned, now = self._table.tasks[number], self._clock.timed()
        if answer.warning:
            self._warn(f"task {quote(planned.name)} is not skipped when it is unchanged: {answer.warning}")
        if not answer.since:
            if not answer.warning and not self._worker.failure:
                self._runs.add(number)
                if planned.task.target is not None:
                    self._resolver.tell_modules.add(number)
            self._act(self._scheduler.handle_resolved(number, now))
            return
        reused = Reused(
            outcome=Outcome.SUCCEEDED, attempts=answer.attempts, reason=f"{UNCHANGED}{answer.since}"
        )
        self._table.tasks[number] = planned.replace(reused=reused)
        self._act(self._scheduler.handle_unchanged(number, reused, now))

    def admit(self, reports: Sequence[Report], end_reason: str | None) -> list[Report]:
        """The reports that can be handled now: of these, and of those that were held back."""
        admitted: list[Report] = [*self._released]
        self._released.clear()
        for report in reports:
            is_over = isinstance(report, ExecutorLost)
            if isinstance(report, Exited) and self._may_succeed(report, end_reason):
                self._held[report.key] = report
                name = self._table.tasks[report.key[0]].name
                self._worker.ask(report.key, partial(list, ["finish", name, report.key[1]]))
                continue
            if is_over:
                admitted += self._give_up()
            if isinstance(report, Exited):
                self._drop_modules(report)
            admitted.append(report)
        if self._held and end_reason not in (None, RUN_FINISHED):
            admitted += self._give_up()
        return admitted

    def _drop_modules(self, report: Exited) -> None:
        """Nothing is kept of an attempt: remove what its process has said of its imports."""
        number, attempt = report.key
        if number in self._resolver.tell_modules:
            file = self._directory.result_files(self._table.tasks[number].name, attempt).with_suffix(MODULES)
            with contextlib.suppress(OSError):
                file.folder.unlink(file.name)

    def _may_succeed(self, report: Exited, end_reason: str | None) -> bool:
        # What else is a success, only its `expect` says.
        expects = self._table.tasks[report.key[0]].task.expect is not None
        return (
            (report.exit_code == 0 or (expects and report.exit_code is not None))
            and report.key[0] in self._runs
            and not self._worker.failure
            and end_reason in (None, RUN_FINISHED)
        )

    def _give_up(self) -> list[Exited]:
        """All held reports; nothing is kept of these tasks."""
        self._runs -= {number for number, _ in self._held}
        held = [*self._held.values()]
        for report in held:
            self._drop_modules(report)
        self._held.clear()
        return held

    def handle_finished(self, finish: Finish) -> None:
        """A task has its outcome: if it has succeeded, keep what it depended on and made."""
        if finish.task not in self._runs or finish.outcome != Outcome.SUCCEEDED:
            return
        planned, attempts = self._table.tasks[finish.task], finish.attempts
        flaky = is_flaky(planned, finish.outcome, attempts - finish.excused)
        # Attempts have numbers from 1.
        request = ["keep", planned.name, attempts, flaky]
        self._worker.ask((finish.task, 0), partial(list, request), needed=True)

    def close(self) -> None:
        """Have written what is kept, and end the process."""
        self._worker.close()


def runs_always(task: Task) -> str:
    """Why a task is never skipped as unchanged, by the use of its recipe; empty if it may be."""
    if task.whole is None or not task.whole.retry.retries:
        return ""
    return f"all of {quote(task.whole.name)} runs again if one of its tasks fails"


def question_of(plan: Plan, planned: PlannedTask, number: int, resolver: TaskResolver) -> Question:
    """What a task is asked about. Raises ReferenceProblem."""
    return _question(plan, planned, *_task_values(plan, planned, number, resolver))


def _question(
    plan: Plan, planned: PlannedTask, values: dict[str, Any], folder: str, origins: dict[str, str]
) -> Question:
    task = planned.task
    return Question(
        task=planned.name,
        settings={label: canonical(value) for label, value in values.items()},
        shown={**_shown(plan, task, values), **origins},
        targets=(task.target, *plan.job.preload) if task.target is not None else (),
        artifacts=task.artifacts,
        is_fresh=planned.start_method == "spawn",
        inputs=task.inputs or (),
        outputs=task.outputs or (),
        folder=folder,
        forced=plan.force,
        fails_if_flaky=plan.fails_if_flaky(task),
    )


def _task_values(
    plan: Plan, planned: PlannedTask, number: int, resolver: TaskResolver
) -> tuple[dict[str, Any], str, dict[str, str]]:
    """What a task does by the job file, by label, and the directory in which it does it.

    Also which of it are results, in words, by label. Raises ReferenceProblem.
    """
    task = planned.task
    call, expect = resolver.call(number), resolver.expect(number)
    # However a param is given, its value counts where it is named; where it is not, what the task sees of it.
    env = {**env_texts(plan.job.env), **resolver.uncompared(task), **call.env}
    folder = call.cwd or resolver.cwd
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    if call.command is not None:
        values[_COMMAND] = [*call.command]
        values["`capture`"] = task.capture
    else:
        values["its target"] = task.target
        flags = [getattr(sys.flags, name) for name in _FLAGS]
        values["an option of Python"] = [*flags, sys.get_int_max_str_digits(), *sys.warnoptions]
        values["the directory of Python"] = sys.prefix
        values["`preload`"] = [*plan.job.preload]
        values["`start_method`"] = planned.start_method
    given = [(str(place), value) for place, value in enumerate(call.args, start=1)]
    given += [(quote(name), value) for name, value in call.kwargs.items()]
    for (name, value), node in zip(given, (*task.args, *task.kwargs.values()), strict=False):
        label = f"{_ARGUMENT}{name}"
        values[label] = value
        if isinstance(node, Reference) and node.root == "tasks":
            origins[label] = f"the result of {quote(node.name)}"
    values |= {f"environment variable {quote(name)}": value for name, value in env.items()}
    values["its working directory"] = os.path.relpath(folder, os.path.dirname(plan.job.path))
    values["`expect`"] = None if expect is None else expect.to_dict()
    return values, folder, origins


def _shown(plan: Plan, task: Task, values: dict[str, Any]) -> dict[str, str]:
    """The values that `mprun why` shows: short ones of arguments and the command, without any secret."""
    from mprun.engine.param_variables import may_hold_environment

    # Variables may be secret although no param says so.
    files = (plan.job.path, task.document.source.path)
    if may_hold_environment(task, is_of_recipe=len({*map(os.path.abspath, files)}) > 1):
        return {}
    found = {}
    for label, value in values.items():
        if label == _COMMAND:
            text = _command_text(value)
        elif label.startswith(_ARGUMENT):
            text = canonical(value)
        else:
            continue
        if len(text) <= _MAX_SHOWN and redact(text) == text:
            found[label] = quote(text)
    return found


def _command_text(words: list[str]) -> str:
    if words[:2] == ["/bin/sh", "-c"]:
        return words[2]
    import shlex

    return shlex.join(words)
