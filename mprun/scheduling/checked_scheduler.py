"""A scheduler for tests: it checks each event against the table, and records the story of each task.

A run uses `Scheduler` and `TaskRun` as they are, so it does not pay for the checks.
"""

from __future__ import annotations

from functools import wraps
from itertools import count
from typing import TYPE_CHECKING, Any, ClassVar

from mprun.scheduling.member_runs import MemberRun
from mprun.scheduling.round_scheduler import RoundScheduler
from mprun.scheduling.scheduler import Scheduler
from mprun.scheduling.task_run import (
    DISPATCHED,
    EXPANDED,
    FINISHED,
    HELD,
    PAUSED,
    PENDING,
    READY,
    RUNNING,
    SETTLED,
    WAITING,
    TaskRun,
)
from mprun.scheduling.transitions import TRANSITIONS

if TYPE_CHECKING:
    from collections.abc import Callable

    from mprun.scheduling.instructions import Instruction
    from mprun.scheduling.task_run import TaskState

# The events of the table: methods of `TaskRun`.
EVENTS = tuple(dict.fromkeys(event for _, event in TRANSITIONS))

# The methods of `Scheduler` that report a fact or a request: about one task, and about the run.
TASK_FACTS = (
    "handle_resolved",
    "handle_skipped",
    "handle_resolve_failed",
    "handle_expanded",
    "handle_started",
    "handle_ready",
    "handle_exited",
    "handle_exit_unknown",
    "handle_host_lost",
    "handle_start_cancelled",
    "handle_attempt_lost",
    "stop_attempt",
)
RUN_FACTS = (
    "begin",
    "proceed",
    "handle_deadline",
    "handle_executor_lost",
    "handle_slots",
    "stop",
    "stop_tasks",
)

# Numbers the entries of stories, so that those of a task and those of the run can be merged.
_entry_numbers = count()


class ImpossibleEvent(AssertionError):
    """An event has no row in the table, or led to another state; the message has the task's story."""

    def __init__(self, task: int, message: str) -> None:
        super().__init__(message)
        self.task = task


class InvalidState(AssertionError):
    """The state of a task contradicts its fields or the scheduler; the message has the task's story."""


class CheckedTaskRun(MemberRun):
    """A task whose events are looked up in the table.

    `reached` collects the rows that events have used, `changed` the tasks that had an event since
    the last fact; both over all runs.
    """

    __slots__ = ("story",)

    reached: ClassVar[set[tuple[TaskState, str]]] = set()
    changed: ClassVar[set[CheckedTaskRun]] = set()

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        # Transitions and instructions, each with the number of its entry.
        self.story: list[tuple[int, str, tuple[Any, ...]]] = []


def _checked(event: str) -> Callable[..., Any]:
    method = getattr(MemberRun, event)

    @wraps(method)
    def check(self: CheckedTaskRun, *args: Any, **named: Any) -> Any:
        before = self.state
        row = before, event
        after = TRANSITIONS.get(row)
        if after is None:
            raise ImpossibleEvent(
                self.number, f"a task that is {before.value} cannot have the event `{event}`"
            )
        answer = method(self, *args, **named)
        self.story.append((next(_entry_numbers), "transition", (before, event, args, named, self.state)))
        if self.state is not after:
            raise ImpossibleEvent(self.number, f"`{event}` led from {before.value} to {self.state.value}")
        CheckedTaskRun.reached.add(row)
        CheckedTaskRun.changed.add(self)
        return answer

    return check


for _event in EVENTS:
    setattr(CheckedTaskRun, _event, _checked(_event))


class CheckedScheduler(Scheduler):
    """A scheduler that checks each event, and after each fact the state of the tasks that changed."""

    task_run_type = CheckedTaskRun

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        # Facts, each with the number of its entry and its task; the task is None for a fact of the run.
        self._facts: list[tuple[int, int | None, str, tuple[Any, ...]]] = []

    def story(self, task: int) -> str:
        """The facts, transitions and instructions of a task so far, one a line."""
        task_run = self._checked_run(task)
        lines = [(number, _format(kind, details)) for number, kind, details in task_run.story]
        lines += [
            (number, f"  {name}({', '.join(map(str, args))})")
            for number, about, name, args in self._facts
            if about is None or about == task
        ]
        title = f"story of task {task} `{task_run.planned.name}`, now {task_run.state.value}:"
        return "\n".join([title, *(line for _, line in sorted(lines))])

    def validate(self, task: int) -> None:
        """Raise InvalidState if the state of a task contradicts its fields or the scheduler."""
        task_run = self._checked_run(task)
        state, attempts = task_run.state, task_run.attempts
        # It will be finished, and nothing else happens to it.
        given_up = state in PENDING and self._task_runs.is_cancelled(task_run)
        if state is SETTLED and not self._task_runs.is_ending:
            # It waits for the others of its recipe.
            given_up = False
        rules = (
            ("the dispatcher has its attempt", state in DISPATCHED, task in self._dispatcher._dispatched),
            ("it has an outcome", state is FINISHED, self.outcomes[task] is not None),
            ("it is a group", state is EXPANDED, task in self.expanded),
            ("it is in the ready queue", state is READY and not given_up, self._is_queued(task_run)),
            (
                "a condition is unmet",
                state is WAITING,
                self._must_wait(task_run) or (state is WAITING and given_up),
            ),
            ("it will be finished", True, not given_up or self._cancellation.has_more),
            ("it has an attempt", True, attempts > 0 or not (state in DISPATCHED or state is PAUSED)),
            (
                "it has a pending outcome",
                True,
                state not in (PAUSED, SETTLED) or task_run.pending_outcome is not None,
            ),
            (
                "it runs if it waits to be asked to end",
                True,
                state is RUNNING or task not in self._termination._due,
            ),
            ("its ready attempt is one of its attempts", True, task_run.ready_attempt <= attempts),
        )
        for fact, expected, found in rules:
            if expected is not found:
                message = f"task {task} is {state.value}, but `{fact}` is {found}"
                raise InvalidState(f"{message}\n{self.story(task)}")

    def _checked_run(self, task: int) -> CheckedTaskRun:
        task_run = self._task_runs.all[task]
        if not isinstance(task_run, CheckedTaskRun):
            raise TypeError(task_run)
        return task_run

    def _is_queued(self, task_run: TaskRun) -> bool:
        return any(task_run.key in queue.keys for queue in self._ready_queue._queues.values())

    def _must_wait(self, task_run: CheckedTaskRun) -> bool:
        """Whether a condition is unmet, or the scheduler has not taken notice that all are met."""
        return _is_unmet(task_run) or (task_run.state is WAITING and task_run in self._released.backlog)

    def _note_fact(self, name: str, task: int | None, args: tuple[Any, ...]) -> None:
        CheckedTaskRun.changed.clear()
        self._facts.append((next(_entry_numbers), task, name, args))

    def _check_decision(self, instructions: list[Instruction]) -> None:
        for instruction in instructions:
            entry = next(_entry_numbers), "instruction", (instruction,)
            self._checked_run(instruction.task).story.append(entry)
        for number in sorted(task_run.number for task_run in CheckedTaskRun.changed):
            self.validate(number)


def _is_unmet(task_run: TaskRun) -> bool:
    """Whether a condition is unmet, as far as the state of the task says anything about that."""
    if task_run.state in (HELD, SETTLED, FINISHED):
        return False
    return task_run.unmet > 0


def _format(kind: str, details: tuple[Any, ...]) -> str:
    if kind == "instruction":
        return f"    instruction: {details[0]}"
    before, event, args, named, after = details
    arguments = ", ".join([*map(str, args), *(f"{name}={value}" for name, value in named.items())])
    return f"    {before.value} -> {after.value}: {event}({arguments})"


def _noted(name: str) -> Callable[..., list[Instruction]]:
    method = getattr(Scheduler, name)

    @wraps(method)
    def note(self: CheckedScheduler, *args: Any, **named: Any) -> list[Instruction]:
        task = args[0] if name in TASK_FACTS else None
        self._note_fact(name, task, (*args, *named.values()))
        try:
            instructions: list[Instruction] = method(self, *args, **named)
        except ImpossibleEvent as error:
            raise ImpossibleEvent(error.task, f"{error}\n{self.story(error.task)}") from None
        self._check_decision(instructions)
        return instructions

    return note


for _name in (*TASK_FACTS, *RUN_FACTS):
    setattr(CheckedScheduler, _name, _noted(_name))


class CheckedRoundScheduler(RoundScheduler, CheckedScheduler):
    """The same for a run with recipes that are taken as one."""

    task_run_type = CheckedTaskRun
