"""Decides which attempts the executor is given: their conditions are met, or a success will meet them."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from mprun.jobfile.model import PASSED
from mprun.scheduling.attempt_outcome import exit_code_decides
from mprun.scheduling.instructions import Instruction, Resolve, Start
from mprun.scheduling.task_run import DISPATCHED, HELD, RESOLVING, STARTING, WAITING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mprun.scheduling.ready_queue import ReadyQueue
    from mprun.scheduling.task_run import Key, TaskRun
    from mprun.scheduling.task_runs import TaskRuns

# Attempts that have to succeed first: task, attempt, and its timeout in seconds.
Attempts = tuple[tuple[int, int, float | None], ...]

# A task that depends on more attempts than this is not held: to look at all of them each time that one
# of them starts takes too long.
MAX_AWAITED_ATTEMPTS = 8

# The conditions that the success of an attempt meets. An allowed failure meets the first one, too: then
# the executor cancels the held start, and the scheduler starts the task.
_BY_SUCCESS = (PASSED, "succeeded")


# How many tasks become ready, or are resolved, in one decision: some milliseconds.
MAX_TAKEN = 1000


class Dispatcher:
    """Gives attempts to the executor, and keeps those that are not over; `instructions` gets the starts."""

    def __init__(
        self,
        task_runs: TaskRuns,
        ready_queue: ReadyQueue,
        dependents: Dependents,
        instructions: list[Instruction],
    ) -> None:
        self._task_runs = task_runs
        self._ready_queue = ready_queue
        self._dependents = dependents
        self._instructions = instructions
        # The tasks whose attempts the executor has, in the order in which it was given these attempts.
        self._dispatched: dict[int, None] = {}

    def __bool__(self) -> bool:
        return bool(self._dispatched)

    def __reversed__(self) -> Iterator[TaskRun]:
        return (self._task_runs.all[number] for number in reversed(self._dispatched))

    def fill(self) -> None:
        """Start ready tasks while there are slots and tokens, then hold dependents."""
        while (task_run := self._ready_queue.take()) is not None:
            task_run.dispatch(self._ready_queue.lacked)
            self._start(task_run, ())
        # A ready task is first in line for a slot.
        while self._dependents and not self._ready_queue.waits:
            if (found := self._dependents.take()) is None:
                break
            task_run, after = found
            task_run.hold()
            self._start(task_run, after)

    def _start(self, task_run: TaskRun, after: Attempts) -> None:
        self._dispatched[task_run.number] = None
        self._instructions.append(Start(task=task_run.number, attempt=task_run.attempts, after=after))
        self._dependents.add_dependents_of(task_run)

    def starting(self) -> set[int]:
        """The tasks that have a slot and no process yet."""
        task_runs = [self._task_runs.all[number] for number in self._dispatched]
        takers = [run.number for run in task_runs if run.state is not HELD and not run.task.daemon]
        # The last ones were dispatched ahead of the slots: no one waits for them to start.
        ahead = takers[len(takers) - max(0, -self._ready_queue.slots) :]
        return {run.number for run in task_runs if run.state is STARTING}.difference(ahead)

    def release_hold(self, task_run: TaskRun) -> None:
        """If this task is held, its dependencies have succeeded: it takes the next slot."""
        if task_run.state is HELD:
            task_run.release_hold()
            self._dependents.release()
            self._ready_queue.take_slot()

    def release(self, task_run: TaskRun) -> None:
        """An attempt is over, or will never start: its slot and its tokens are free."""
        self._dispatched.pop(task_run.number, None)
        if task_run.state is HELD:
            self._dependents.release()
        else:
            self._ready_queue.release(task_run.task)


class ReleasedTasks:
    """Takes the tasks whose conditions are all met: each is ready, or has its references resolved first.

    It takes at most `max_taken` in one decision. `backlog` has the others, which `take_more` takes, the
    last ones of the order first; `to_resolve` has those that `ask_to_resolve` will ask for.
    """

    def __init__(
        self,
        task_runs: TaskRuns,
        ready_queue: ReadyQueue,
        dispatcher: Dispatcher,
        instructions: list[Instruction],
        max_taken: int,
    ) -> None:
        self._task_runs = task_runs
        self._released = task_runs.released
        self._ready_queue = ready_queue
        self._dispatcher = dispatcher
        self._instructions = instructions
        self._max_taken = max_taken
        self.backlog: list[TaskRun] = []
        self.to_resolve: list[TaskRun] = []

    def take(self) -> None:
        """Take the tasks that were released, or the first ones if there are many."""
        released = self._released
        # Those that the executor starts by itself come first: each takes a slot.
        for task_run in released:
            self._dispatcher.release_hold(task_run)
        if len(released) > self._max_taken:
            self.backlog = sorted((*self.backlog, *released), key=lambda one: one.key, reverse=True)
            released.clear()
            released += [self.backlog.pop() for _ in range(self._max_taken)]
        for task_run in released:
            self._take(task_run)
        released.clear()

    def take_more(self) -> None:
        """Take the next ones of many."""
        for _ in range(min(self._max_taken, len(self.backlog))):
            self._take(self.backlog.pop())

    def hold_back(self, to_be_added: Key | None, *, is_ending: bool) -> None:
        """Let no task go that comes after one that `take_more` takes, or after this one.

        With `is_ending`, `take_more` takes none.
        """
        if is_ending:
            self.backlog.clear()
        keys = [self.backlog[-1].key] if self.backlog else []
        if to_be_added is not None:
            keys.append(to_be_added)
        self._ready_queue.held_back = min(keys, default=None)

    def ask_to_resolve(self) -> None:
        """Ask for the values of what the tasks refer to."""
        for task_run in self.to_resolve:
            # Unless the run has ended since.
            if task_run.state is RESOLVING and not self._task_runs.is_cancelled(task_run):
                self._instructions.append(Resolve(task=task_run.number))
        self.to_resolve.clear()

    def make_ready(self, task_run: TaskRun) -> None:
        """Nothing is missing but a slot and tokens."""
        task_run.become_ready(self._task_runs.now, self._ready_queue.passes)
        self._ready_queue.add(task_run)

    def _take(self, task_run: TaskRun) -> None:
        if task_run.state is not WAITING or self._task_runs.is_cancelled(task_run):
            return
        if task_run.planned.late:
            task_run.begin_resolving()
            if not task_run.task.is_compared:
                # Its files may be large: others go meanwhile.
                self._ready_queue.expect(task_run)
            self.to_resolve.append(task_run)
        else:
            self.make_ready(task_run)


class Dependents:
    """Finds tasks that lack nothing but the success of attempts that the executor has.

    The executor sees the exit codes of these attempts first. If it has the dependents too, a chain
    of tasks runs on without a message in between. This works for tasks whose exit code alone
    decides whether they succeeded; at most `max_held` dependents are held at a time.
    """

    def __init__(self, task_runs: TaskRuns, max_held: int) -> None:
        self._task_runs = task_runs
        self._max_held = self._free = max_held
        # For each task that was dispatched, the dependents that were not looked at, in their order.
        self._candidates: deque[Iterator[TaskRun]] = deque()

    def __bool__(self) -> bool:
        """Whether `take` may find a task."""
        return self._free > 0 and bool(self._candidates)

    def add_dependents_of(self, task_run: TaskRun) -> None:
        """This task was dispatched: its dependents may be held."""
        needed_by = self._task_runs.dependents_of(task_run)
        if needed_by and self._max_held and exit_code_decides(task_run):
            dependents = [self._task_runs.all[number] for number, _ in needed_by]
            dependents.sort(key=lambda after: after.key)
            self._candidates.append(iter(dependents))

    def take(self) -> tuple[TaskRun, Attempts] | None:
        """The next task that may be held, with the attempts that have to succeed first."""
        while self:
            for task_run in self._candidates[0]:
                if after := self._awaited_attempts(task_run):
                    self._free -= 1
                    return task_run, after
            self._candidates.popleft()
        return None

    def release(self) -> None:
        """A task is held no longer."""
        self._free += 1

    def _awaited_attempts(self, task_run: TaskRun) -> Attempts:
        """The attempts that have to succeed before this task; () if it needs anything else, or nothing."""
        task = task_run.task
        if task_run.state is not WAITING or task_run.planned.late or task.daemon or task.resources:
            return ()
        if task_run.unmet > MAX_AWAITED_ATTEMPTS or self._task_runs.is_cancelled(task_run):
            return ()
        needed = [
            self._task_runs.all[number]
            for number, condition in task_run.planned.needs
            if condition in _BY_SUCCESS and self._task_runs.all[number].state in DISPATCHED
        ]
        # Conditions that are met are not counted any more; any other one would still be unmet.
        if len(needed) != task_run.unmet or not all(map(exit_code_decides, needed)):
            return ()
        return tuple((before.number, before.attempts, before.task.timeout) for before in needed)
